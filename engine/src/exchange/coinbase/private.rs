//! The connection that tells an account's orders.
//!
//! Source: user channel page of the Advanced Trade API. Frames are counted as on the public
//! connections; a channel is subscribed to by a message of its own with a token of its own, within
//! five seconds.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::venue::{Facts, PrivateRoute, PrivateSession, Step};

use super::reports::UserRow;
use super::wire::{Frame, Subscriptions, owned, read, rows};
use super::{sign, time};

pub(super) const ROUTES: &[PrivateRoute] = &[PrivateRoute {
    name: "private",
    host: "advanced-trade-ws-user.coinbase.com",
    base_url: "wss://advanced-trade-ws-user.coinbase.com",
    markets: &[Market::Spot],
    // A heartbeat comes each second.
    silence_secs: 10,
}];

/// Larger than any frame of an account.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

#[derive(Serialize)]
struct Subscribe<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    channel: &'static str,
    jwt: &'a str,
}

/// One life of the connection.
#[derive(Default)]
pub(super) struct Session {
    /// Number of the next frame.
    expected: u64,
    is_ready: bool,
}

impl Session {
    /// The subscriptions of the connection, told anew with each change.
    fn subscribed(&mut self, told: &RawValue) -> Result<bool, DecodeError> {
        let all: Subscriptions = owned(told, "subscriptions")?;
        let is_new = !self.is_ready && all.contains_key("user");
        self.is_ready |= is_new;
        Ok(is_new)
    }
}

/// What becomes of a connection that tells an error: it does not say of what.
fn refused(message: &str) -> Step {
    let text = message.to_ascii_lowercase();
    if !text.contains("authentication") && !text.contains("unauthorized") {
        return Step::Reconnect(format!("coinbase: {message}"));
    }
    let what = format!("coinbase refused the private connection: {message}");
    let error = CryptoError::new(CryptoCode::Unauthorized, what)
        .with("provider", "coinbase")
        .with("exchange_message", message);
    Step::Refused(error)
}

impl PrivateSession for Session {
    fn path(&self) -> String {
        "/".to_owned()
    }

    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Vec<String> {
        // Heartbeats keep it from being closed while nothing happens. Keys that can't sign have been
        // refused by the first request.
        let channels = ["heartbeats", "user"].into_iter();
        let frames = channels.filter_map(|channel| {
            let jwt = sign::token(keys, now, &sign::nonce().ok()?, None).ok()?;
            let frame = Subscribe {
                kind: "subscribe",
                channel,
                jwt: &jwt,
            };
            serde_json::to_string(&frame).ok()
        });
        frames.collect()
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
        let frame: Frame<'_> = read(frame, "frame")?;
        if frame.kind.as_deref() == Some("error") {
            let message = frame.message.as_deref().or(frame.reason.as_deref());
            return Ok(refused(message.unwrap_or("no text")));
        }
        let Some(channel) = frame.channel.as_deref() else {
            return Err(DecodeError::Field { field: "channel" });
        };
        let Some(number) = frame.sequence_num else {
            let field = "sequence_num";
            return Err(DecodeError::Field { field });
        };
        if number < self.expected {
            return Ok(Step::Wait);
        }
        if number > self.expected {
            let missed = number - self.expected;
            return Ok(Step::Reconnect(format!("{missed} frames were lost")));
        }
        self.expected = number.saturating_add(1);
        let at = frame.timestamp.as_deref().and_then(time::parse);
        let mut told = Facts::default();
        let mut step = Step::Wait;
        for event in frame.events.iter().flatten() {
            match channel {
                "subscriptions" => {
                    if let Some(all) = event.subscriptions
                        && self.subscribed(all)?
                    {
                        step = Step::Ready;
                    }
                }
                "user" => {
                    let Some(orders) = event.orders else { continue };
                    let orders: Vec<UserRow<'_>> = rows(orders, "orders")?;
                    for row in &orders {
                        row.tell(table, at.unwrap_or(now), &mut told)?;
                    }
                    // An order that comes, executes or goes changes what is held; a snapshot tells
                    // what was so before.
                    let is_news = event.kind.as_deref() != Some("snapshot");
                    told.balances_are_stale |= is_news && !orders.is_empty();
                }
                _ => {}
            }
        }
        facts.orders.append(&mut told.orders);
        facts.balances_are_stale |= told.balances_are_stale;
        Ok(step)
    }
}
