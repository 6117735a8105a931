//! The harness behind `cargo run --release -p bench`: a file for each scenario, and what they share.
//!
//! The load scenario is also, in a short form, one of the whole-system tests.

pub mod captures;
pub mod contest;
pub mod crowd;
pub mod fake;
pub mod fan_out;
pub mod floor;
pub mod gateway;
pub mod histogram;
pub mod load;
pub mod plot;
pub mod report;
pub mod slow_client;
pub mod source;
pub mod tape;
pub mod throughput;
pub mod ws;
