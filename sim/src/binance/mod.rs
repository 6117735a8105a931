//! Binance: spot and USDⓈ-M futures.
//!
//! Start at [`core::Core`], the exchange behind the wire; [`session`] is a stream connection,
//! [`rest`] the REST API.

pub(crate) mod api;
pub(crate) mod board;
pub(crate) mod core;
pub(crate) mod encode;
pub(crate) mod hub;
pub(crate) mod limits;
pub(crate) mod protocol;
pub(crate) mod rest;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod tape;

use crate::market::Segment;
use stream::{Kind, Topic};

/// What a host of the exchange serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// REST of a market; spot's trading host also has `/sapi`.
    Rest(Segment),
    /// Spot REST, public data only: no `/sapi`.
    DataRest,
    /// REST of coin-margined futures, of which none are listed.
    CoinRest,
    /// Streams of a market.
    Streams(Segment),
    /// Requests over WebSocket.
    Api,
}

/// The exchange's hosts, as clients name them.
pub(crate) const HOSTS: [(&str, Role); 10] = [
    ("api.binance.com", Role::Rest(Segment::Spot)),
    ("data-api.binance.vision", Role::DataRest),
    ("fapi.binance.com", Role::Rest(Segment::Linear)),
    ("dapi.binance.com", Role::CoinRest),
    ("stream.binance.com:9443", Role::Streams(Segment::Spot)),
    ("stream.binance.com", Role::Streams(Segment::Spot)),
    ("data-stream.binance.vision", Role::Streams(Segment::Spot)),
    ("fstream.binance.com", Role::Streams(Segment::Linear)),
    ("ws-api.binance.com:443", Role::Api),
    ("ws-fapi.binance.com", Role::Api),
];

/// A topic's stream name without the symbol.
pub(crate) fn stream_suffix(topic: &Topic) -> String {
    let spot = topic.market == Segment::Spot;
    let speed = |ms: u16| match (spot, ms) {
        (true, 1_000) | (false, 250) => String::new(),
        (_, ms) => format!("@{ms}ms"),
    };
    match topic.kind {
        Kind::Kline(bar) => format!("kline_{}", bar.as_str()),
        Kind::Depth(ms) => format!("depth{}", speed(ms)),
        Kind::Partial(levels, ms) => format!("depth{levels}{}", speed(ms)),
        Kind::MarkPrice(1) => "markPrice@1s".to_owned(),
        kind => kind.family().to_owned(),
    }
}
