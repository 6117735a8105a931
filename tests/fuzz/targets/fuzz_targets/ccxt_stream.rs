//! What the bridge to ccxt says: read twice, it means the same.
#![no_main]

use bookwire_fuzz::ccxt;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    ccxt::check(data);
});
