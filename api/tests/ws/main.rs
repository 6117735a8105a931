//! `/ws` over real sockets, with a shard that the tests play.

mod flow;
mod limits;
mod requests;
mod rig;
