//! Text frames of WebSocket clients.
#![no_main]

use bookwire_fuzz::client;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    client::check(data);
});
