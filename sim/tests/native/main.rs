//! Each exchange's simulator, spoken to over sockets as its clients speak: one program, because what
//! takes long to build of these tests is the servers under them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod accounts;
mod bybit;
mod coinbase;
mod faults;
mod okx;
mod replay;
mod rest;
mod streams;
mod support;
mod trading;
