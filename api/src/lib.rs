//! bookwire over HTTP and WebSocket, and its command line: the only room that knows either.
//!
//! Start reading at [`server`], which holds the one route table, and [`cli`], a file per command.
//! Requests pass [`gate`], which asks [`auth`] whose they are; what goes wrong is told by [`error`].

pub mod audit;
pub mod auth;
pub mod cli;
pub mod deviations;
pub mod engine;
pub mod error;
pub mod export;
pub mod gate;
pub mod limit;
pub mod logs;
pub mod net;
pub mod operator;
pub mod origin;
pub mod process;
pub mod rest;
pub mod server;
pub mod settings;
pub mod spec;
pub mod trading;
pub mod ws;
pub mod zvt;
