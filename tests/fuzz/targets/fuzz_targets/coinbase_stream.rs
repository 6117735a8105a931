//! Coinbase's frames: read twice, they say the same or nothing.
#![no_main]

use bookwire_fuzz::coinbase;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    coinbase::check(data);
});
