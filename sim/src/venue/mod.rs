//! What all simulated exchanges share: connections and their subscriptions ([`hub`], [`session`]),
//! the market behind the wire and its faults ([`core`]), listeners ([`server`], [`start`]), request
//! limits ([`limits`]), and books cut to a depth ([`window`]).
//!
//! An exchange implements [`Venue`] (what its streams say) and [`server::Service`] (what its hosts
//! answer). What belongs to one protocol does not belong here.

pub(crate) mod control;
pub(crate) mod core;
pub(crate) mod hub;
pub(crate) mod limits;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod start;
pub(crate) mod window;

pub(crate) use self::core::{Core, Venue};
pub(crate) use hub::{Envelope, SessionId, Topic};

/// Slot number of a cadence.
pub(crate) fn slot(now_ms: i64, phase_ms: i64, every_ms: i64) -> i64 {
    (now_ms + phase_ms).div_euclid(every_ms.max(1))
}

/// Whether a slot of the cadence ends in `(before_ms, now_ms]`.
pub(crate) fn is_due(before_ms: i64, now_ms: i64, phase_ms: i64, every_ms: i64) -> bool {
    slot(before_ms, phase_ms, every_ms) != slot(now_ms, phase_ms, every_ms)
}

/// Undoes `%XX`; anything malformed stays as it is.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}
