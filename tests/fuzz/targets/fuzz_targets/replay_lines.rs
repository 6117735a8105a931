//! Lines of recordings, as users bring them.
#![no_main]

use bookwire_fuzz::replay;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    replay::check(data);
});
