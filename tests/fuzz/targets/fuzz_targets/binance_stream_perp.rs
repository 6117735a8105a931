//! USDⓈ-M frames: the two ways of reading must agree.
#![no_main]

use bookwire_engine::instrument::Market;
use bookwire_fuzz::stream;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    stream::check(Market::Perp, data);
});
