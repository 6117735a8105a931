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
pub mod latency;
pub mod load;
pub mod order_entry;
pub mod plot;
mod python;
pub mod report;
pub mod rest;
pub mod slow_client;
pub mod soak;
pub mod source;
pub mod store;
pub mod tape;
pub mod target;
pub mod throughput;
pub mod trend;
pub mod ws;
mod zvt;
