//! `/ws` over real sockets, with a shard that the tests play.

// Helpers of tests are tests, too; clippy's own exception knows only the functions marked so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod channels;
mod flow;
mod keys;
mod limits;
mod memory;
mod requests;
mod rig;
