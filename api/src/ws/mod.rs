//! Our WebSocket dialect: frames to requests and answers to frames ([`protocol`]), sockets to and
//! from outboxes ([`pump`]), and who may connect ([`admission`]). Subscriptions are not known here.

pub mod admission;
mod inbound;
mod keys;
pub mod protocol;
pub mod pump;
pub mod state;

pub use state::{WsOptions, WsState, ws_route};
