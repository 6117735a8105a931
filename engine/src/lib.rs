//! The domain of bookwire: everything that can be decided without a socket, a thread or a clock.
//!
//! Invariants:
//! - no actix, no tokio, no socket; time and randomness are arguments, but for what [`vault`] and
//!   [`keys`] draw from the operating system: a nonce or a secret that is handed in can be one that was
//!   used before;
//! - prices and quantities are exact: `i64` mantissas at the instrument's scale on the hot path,
//!   [`rust_decimal::Decimal`] elsewhere, never a float;
//! - nothing here panics on outside data;
//! - only `exchange/<name>/` knows that exchange's field names, only [`wire`] knows ours.
//!
//! Read in this order: [`num`], [`instrument`], [`event`], [`exchange`], [`book`], [`kline`],
//! [`wire`], [`store`], [`vault`].

pub mod audit;
pub mod book;
pub mod config;
pub mod error;
pub mod event;
pub mod exchange;
pub mod instrument;
pub mod keys;
pub mod kline;
pub mod num;
pub mod prices;
pub mod quality;
pub mod replay;
pub mod store;
pub mod time;
pub mod trading;
pub mod vault;
pub mod wire;
