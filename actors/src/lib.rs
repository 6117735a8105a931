//! bookwire's actors: who owns what, on which thread.

pub mod ring;
pub mod topic;
