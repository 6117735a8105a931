//! Configuration files.
#![no_main]

use bookwire_fuzz::config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    config::check(data);
});
