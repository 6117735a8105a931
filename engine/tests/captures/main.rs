//! Everything that was recorded or collected of the exchanges, against tables of what becomes of it:
//! streams, lists of instruments, single messages.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

mod fixtures;
mod lists;
mod streams;
mod support;
