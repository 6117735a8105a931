//! Connections to exchanges.

pub mod backoff;
