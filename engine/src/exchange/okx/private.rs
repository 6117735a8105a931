//! Connections that tell an account's events: orders, balances and positions on one, stops on the
//! other.
//!
//! Source: login and private channels of the v5 documentation. A login is answered before anything
//! may be subscribed to; each channel is acknowledged by itself.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::{DecodeError, Keepalive};
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::venue::{Facts, PrivateRoute, PrivateSession, Step};

use super::account::{AccountRow, PositionRow};
use super::errors;
use super::frame::Frame;
use super::json::read;
use super::reports::{AlgoRow, OrderRow};
use super::sign;

pub(super) const HOST: &str = "ws.okx.com:8443";
pub(super) const BASE_URL: &str = "wss://ws.okx.com:8443";
const MARKETS: &[Market] = &[Market::Spot, Market::Perp];
/// As on the public connections: a pong answers every ping.
pub(super) const SILENCE_SECS: u64 = 35;
/// A connection on which nothing is sent for half a minute is closed.
pub(super) const KEEPALIVE: Keepalive = Keepalive {
    every_secs: 25,
    text: "ping",
};

/// Stops have a connection of their own: elsewhere they are refused (64001).
pub(super) const ROUTES: &[PrivateRoute] = &[
    PrivateRoute {
        name: "private",
        host: HOST,
        base_url: BASE_URL,
        markets: MARKETS,
        silence_secs: SILENCE_SECS,
    },
    PrivateRoute {
        name: "private-business",
        host: HOST,
        base_url: BASE_URL,
        markets: MARKETS,
        silence_secs: SILENCE_SECS,
    },
];
const ROUTE_BUSINESS: usize = 1;

/// Larger than any frame of an account: a hundred orders are about 150 KB.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What is subscribed to on the first connection …
const CHANNELS: &str = r#"{"id":"1","op":"subscribe","args":[{"channel":"orders","instType":"ANY"},{"channel":"account"},{"channel":"positions","instType":"ANY"}]}"#;
/// … and on the second.
const ALGO_CHANNELS: &str =
    r#"{"id":"1","op":"subscribe","args":[{"channel":"orders-algo","instType":"ANY"}]}"#;

/// One life of a connection.
pub(super) struct Session {
    is_business: bool,
    is_logged_in: bool,
    /// Channels whose acknowledgement has not come.
    missing: Vec<&'static str>,
}

impl Session {
    pub(super) fn new(route: usize) -> Self {
        let is_business = route == ROUTE_BUSINESS;
        Self {
            is_business,
            is_logged_in: false,
            missing: match is_business {
                true => vec!["orders-algo"],
                false => vec!["orders", "account", "positions"],
            },
        }
    }

    /// The answer to a login or a subscription, or something that OKX says of the connection.
    fn event(&mut self, event: &str, frame: &Frame<'_>) -> Step {
        let text = |text: &Option<super::json::Text<'_>>| {
            text.as_ref()
                .map_or_else(String::new, |text| text.0.to_string())
        };
        let (code, message) = (text(&frame.code), text(&frame.msg));
        match event {
            "login" if code == "0" => {
                self.is_logged_in = true;
                let channels = if self.is_business {
                    ALGO_CHANNELS
                } else {
                    CHANNELS
                };
                Step::Send(vec![channels.to_owned()])
            }
            "subscribe" => {
                let channel = frame.arg.as_ref().map_or("", |arg| &arg.channel.0);
                let before = self.missing.len();
                self.missing.retain(|name| *name != channel);
                match before > 0 && self.missing.is_empty() {
                    true => Step::Ready,
                    false => Step::Wait,
                }
            }
            "login" | "error" => refused(&code, &message),
            // More than 30 connections have this channel.
            "channel-conn-count-error" => {
                let what = "okx: too many connections of this account";
                Step::Refused(CryptoError::new(CryptoCode::RateLimitExceeded, what))
            }
            "notice" => Step::Reconnect(format!("okx: {code} {message}")),
            _ => Step::Wait,
        }
    }

    fn push(
        &self,
        channel: &str,
        data: &RawValue,
        table: &InstrumentTable,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        match channel {
            "orders" => {
                for row in rows::<OrderRow<'_>>(data)? {
                    row.tell(table, now, facts)?;
                }
            }
            "orders-algo" => {
                for row in rows::<AlgoRow<'_>>(data)? {
                    row.tell(table, now, facts)?;
                }
            }
            "account" => {
                for row in rows::<AccountRow<'_>>(data)? {
                    row.tell(facts)?;
                }
            }
            "positions" => {
                for row in rows::<PositionRow<'_>>(data)? {
                    row.tell(table, facts)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn rows<'a, T: Deserialize<'a>>(data: &'a RawValue) -> Result<Vec<T>, DecodeError> {
    read(data.get().as_bytes(), "data")
}

/// What becomes of a connection whose login or channel was refused.
fn refused(code: &str, message: &str) -> Step {
    // Where another try can help (the clocks differ, it is too busy) the next login is another one.
    errors::refusal(code, message).map_or_else(
        || Step::Reconnect(format!("okx: {code} {message}")),
        Step::Refused,
    )
}

impl PrivateSession for Session {
    fn path(&self) -> String {
        let path = match self.is_business {
            true => "/ws/v5/business",
            false => "/ws/v5/private",
        };
        path.to_owned()
    }

    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Vec<String> {
        // Shared secrets can always be signed with.
        sign::login(keys, now).into_iter().collect()
    }

    fn frame(
        &mut self,
        frame: &[u8],
        table: &InstrumentTable,
        _keys: &Keys,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<Step, DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        // The answer to `ping`, as bare text.
        if frame.trim_ascii() == b"pong" {
            return Ok(Step::Wait);
        }
        let frame: Frame<'_> = read(frame, "frame")?;
        if let Some(event) = &frame.event {
            return Ok(self.event(&event.0, &frame));
        }
        let (Some(arg), Some(data)) = (&frame.arg, frame.data) else {
            return Err(DecodeError::Field { field: "arg" });
        };
        // A frame that can't be read whole tells nothing.
        let mut told = Facts::default();
        self.push(&arg.channel.0, data, table, now, &mut told)?;
        facts.orders.append(&mut told.orders);
        facts.fills.append(&mut told.fills);
        facts.balances.append(&mut told.balances);
        facts.positions.append(&mut told.positions);
        Ok(Step::Wait)
    }

    fn keepalive(&self) -> Option<Keepalive> {
        Some(KEEPALIVE)
    }
}
