//! The domain of bookwire: everything that can be decided without a socket, a thread or a clock.
//!
//! Invariants:
//! - no actix, no tokio, no socket; time and randomness are arguments;
//! - prices and quantities are exact: `i64` mantissas at the instrument's scale on the hot path,
//!   [`rust_decimal::Decimal`] elsewhere, never a float;
//! - nothing here panics on outside data;
//! - only `exchange/<name>/` knows that exchange's field names, only [`wire`] knows ours.
//!
//! Read in this order: [`num`], [`instrument`], [`event`], [`exchange`], [`book`], [`kline`],
//! [`wire`], [`store`].

pub mod book;
pub mod config;
pub mod error;
pub mod event;
pub mod exchange;
pub mod instrument;
pub mod kline;
pub mod num;
pub mod quality;
pub mod replay;
pub mod store;
pub mod time;
pub mod trading;
pub mod wire;
