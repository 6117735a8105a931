//! Answers and events about orders and accounts of every exchange.
#![no_main]

use bookwire_fuzz::trading;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    trading::check(data);
});
