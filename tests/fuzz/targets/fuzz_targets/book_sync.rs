//! Sequences of deltas and snapshots against an obvious book.
#![no_main]

use bookwire_fuzz::book;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    book::check(data);
});
