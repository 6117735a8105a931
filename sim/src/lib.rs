//! Exchange simulators: native REST and WebSocket protocols on loopback, fed by a seeded market.

pub mod market;
