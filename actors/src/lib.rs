//! bookwire's actors: who owns what, on which thread.

pub mod dispatcher;
pub mod ring;
pub mod session;
pub mod topic;
