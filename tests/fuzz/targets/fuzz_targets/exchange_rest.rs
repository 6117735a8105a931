//! REST answers of every exchange: no crash, rows in order, a failure is never read as an answer.
#![no_main]

use bookwire_fuzz::answers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    answers::check(data);
});
