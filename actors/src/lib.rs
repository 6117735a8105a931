//! bookwire's actors: who owns what, on which thread.

pub mod book;
pub mod clock;
pub mod connection;
pub mod dispatcher;
pub mod gateway;
pub mod history;
mod loader;
pub mod options;
pub mod recorder;
pub mod rest_client;
pub mod ring;
pub mod session;
pub mod shard;
pub mod state;
pub mod status;
pub mod supervisor;
pub mod tap;
pub mod topic;
pub mod upstream;
