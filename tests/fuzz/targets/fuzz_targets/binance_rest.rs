//! REST answers of both markets.
#![no_main]

use bookwire_fuzz::rest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    rest::check(data);
});
