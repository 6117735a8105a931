//! bookwire over HTTP and WebSocket, and its command line: the only room that knows either.
//!
//! Requests pass [`gate`]; what goes wrong is told by [`error`].

pub mod error;
pub mod gate;
pub mod limit;
pub mod rest;
pub mod ws;
