//! Whole-system tests: simulators that speak the exchanges' own protocols, the gateway as its users
//! start it, and clients that know nothing but the public contract.

// A test that can't go on should panic, helpers of tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod answers;
mod bridge;
mod bridge_orders;
mod browser;
mod captures;
mod ccxt;
mod channels;
mod chaos;
mod contract;
mod credentials;
mod deaths;
mod disconnects;
mod documents;
mod examples;
mod export;
mod faults;
mod history;
mod hostile;
mod kills;
mod klines;
mod limits;
mod load;
mod logs;
mod offered;
mod operations;
mod orders;
mod overload;
mod private;
mod python_client;
mod questdb;
mod reconcile;
mod refusals;
mod restart;
mod rig;
mod secrets;
mod settings;
mod sockets;
mod store_failures;
mod trading;
mod zvt;
