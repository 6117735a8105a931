//! Frames of OKX's channels: no crash, and one meaning however they are written.
#![no_main]

use bookwire_fuzz::okx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    okx::check(data);
});
