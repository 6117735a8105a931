//! The outside of a frame: topic, kind, times, or the answer to a request.
//!
//! Keys come in another order on spot than on linear, and books of one level differ from others:
//! nothing is read by its place.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::Skipped;
use crate::exchange::DecodeError;
use crate::time::{Level, TsNanos};

use super::answer;
use super::stream::interval;

/// Text that is borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// Any frame of a public connection.
#[derive(Debug, Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow)]
    pub(super) topic: Option<Text<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
    /// When the gateway made it, milliseconds.
    ts: Option<u64>,
    /// When the matching engine made what it tells, milliseconds; books only.
    cts: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    pub(super) success: Option<bool>,
    #[serde(borrow)]
    pub(super) op: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) ret_msg: Option<Text<'a>>,
    /// Text on both markets, empty where the request had none; a number in some answers.
    #[serde(borrow)]
    req_id: Option<&'a RawValue>,
}

impl<'a> Frame<'a> {
    pub(super) fn read(frame: &'a [u8]) -> Result<Self, DecodeError> {
        answer::read(frame, "topic")
    }

    pub(super) fn data(&self) -> Result<&'a RawValue, DecodeError> {
        self.data.ok_or(DecodeError::Field { field: "data" })
    }

    /// True for a whole image, false for changes.
    pub(super) fn is_snapshot(&self) -> Result<bool, DecodeError> {
        match self.kind.as_ref().map(|text| &*text.0) {
            Some("snapshot") => Ok(true),
            Some("delta") => Ok(false),
            _ => Err(DecodeError::Field { field: "type" }),
        }
    }

    /// When the gateway made it.
    pub(super) fn time(&self) -> Result<TsNanos, DecodeError> {
        self.ts
            .and_then(stamp)
            .ok_or(DecodeError::Field { field: "ts" })
    }

    /// When it happened: the matching engine's time, which is the clock of trades.
    pub(super) fn match_time(&self) -> Result<TsNanos, DecodeError> {
        match self.cts {
            Some(cts) => stamp(cts).ok_or(DecodeError::Field { field: "cts" }),
            None => self.time(),
        }
    }

    /// Our id of the request that it answers.
    pub(super) fn request_id(&self) -> Option<u64> {
        let raw = self.req_id?.get();
        match serde_json::from_str::<Text<'_>>(raw) {
            Ok(text) => text.0.parse().ok(),
            Err(_) => raw.parse().ok(),
        }
    }
}

/// Milliseconds of the exchange; `None` beyond what can be represented.
pub(super) fn stamp(ms: u64) -> Option<TsNanos> {
    let nanos = i64::try_from(ms).ok()?.checked_mul(1_000_000)?;
    Some(TsNanos(nanos))
}

/// A kind of topic that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Channel {
    Trades,
    Klines(Level),
    /// With its depth.
    Book(u32),
    Tickers,
}

/// A topic's name, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Topic<'a> {
    pub(super) channel: Channel,
    pub(super) symbol: &'a str,
}

impl<'a> Topic<'a> {
    /// Reads `orderbook.200.BTCUSDT`, or tells why the topic is left out.
    pub(super) fn parse(name: &'a str) -> Result<Self, Skipped> {
        let (channel, rest) = name.split_once('.').ok_or(Skipped::UnknownKind)?;
        let (channel, symbol) = match channel {
            "publicTrade" => (Channel::Trades, rest),
            "tickers" => (Channel::Tickers, rest),
            "orderbook" => {
                let (depth, symbol) = rest.split_once('.').ok_or(Skipped::UnknownKind)?;
                // `orderbook.rpi` has rows of three, `orderbook.full` has no image.
                let depth = depth.parse().map_err(|_| Skipped::UnknownKind)?;
                (Channel::Book(depth), symbol)
            }
            "kline" => {
                let (name, symbol) = rest.split_once('.').ok_or(Skipped::UnknownKind)?;
                let level = Level::ALL
                    .into_iter()
                    .find(|level| interval(*level) == name)
                    .ok_or(Skipped::UnservedLevel)?;
                (Channel::Klines(level), symbol)
            }
            _ => return Err(Skipped::UnknownKind),
        };
        Ok(Self { channel, symbol })
    }
}
