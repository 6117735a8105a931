//! Frames of Bybit's streams and its REST answers.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| bookwire_fuzz::bybit::check(data));
