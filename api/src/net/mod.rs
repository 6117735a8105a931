//! Connections before they are requests: how many there are ([`places`]), how they are encrypted
//! ([`tls`]), how long each part of a request may take ([`guard`]), and whose they are when a proxy
//! stands in between ([`client`]).
//!
//! The framework's own server has a time limit for the first request of a connection only, and answers
//! what it can't read without our error form; so the pipeline from a socket to its HTTP/1.1 dispatcher is
//! put together here.

pub mod accept;
pub mod client;
pub mod files;
pub mod guard;
pub mod link;
pub mod places;
pub mod serve;
pub mod tls;
