//! bookwire: REST, WebSocket and the command line.

pub mod ws;
