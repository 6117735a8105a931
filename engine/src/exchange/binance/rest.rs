//! REST requests: paths, limits and weights.
//!
//! Sources: spot `rest-api.md` (2026-07-21); USDⓈ-M REST documentation of the official connector
//! 64.0.0 (2026-07-22).

use std::fmt::Write as _;

use crate::exchange::{PageRequest, RestRequest};
use crate::instrument::{Instrument, Market};
use crate::time::{Level, TsNanos};

/// The only limits that USDⓈ-M's depth takes, with their weights.
const PERP_DEPTHS: [(usize, u32); 7] = [
    (5, 2),
    (10, 2),
    (20, 2),
    (50, 2),
    (100, 5),
    (500, 10),
    (1000, 20),
];
/// Upper ends of spot's depth weights.
const SPOT_DEPTHS: [(usize, u32); 4] = [(100, 5), (500, 25), (1000, 50), (5000, 250)];

/// `fundingRate` and `fundingInfo` cost no weight but share 500 requests in 5 minutes. Charged like
/// this, a budget of 2400 a minute allows at most 100 a minute.
const FUNDING_WEIGHT: u32 = 24;

/// Times of `aggTrades` must lie less than an hour apart.
const AGG_TRADES_SPAN_NANOS: i64 = 3_600_000_000_000 - 1_000_000;

/// A path and query under construction.
struct Query(String);

impl Query {
    fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn of(path: &str, instrument: &Instrument) -> Self {
        let mut query = Self::new(path);
        query.add("symbol", &escape(&instrument.spec.native_symbol));
        query
    }

    fn add(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        // Writing to a string can't fail.
        let _ = write!(self.0, "{separator}{name}={value}");
    }

    /// Bounds in whole milliseconds that hold no instant outside the ones asked for.
    fn add_times(&mut self, start: Option<TsNanos>, end: Option<TsNanos>) {
        if let Some(start) = start {
            self.add("startTime", &ceil_ms(start).max(0));
        }
        if let Some(end) = end {
            self.add("endTime", &end.as_ms().max(0));
        }
    }

    fn costing(self, weight: u32) -> RestRequest {
        RestRequest {
            path: self.0,
            budget: 0,
            weight,
        }
    }
}

fn ceil_ms(ts: TsNanos) -> i64 {
    ts.as_ms() + i64::from(ts.0.rem_euclid(1_000_000) != 0)
}

/// Percent-encodes what can't stand in a query: symbols can hold characters beyond ASCII.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// What [`escape`] was given; what it never writes is left as it is.
pub(super) fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *byte == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

pub(super) fn instruments(market: Market) -> Vec<RestRequest> {
    match market {
        Market::Spot => {
            let mut query = Query::new("/api/v3/exchangeInfo");
            // Whose account may trade what is not asked here, and is most of the answer.
            query.add("showPermissionSets", &false);
            vec![query.costing(20)]
        }
        Market::Perp => vec![
            Query::new("/fapi/v1/exchangeInfo").costing(1),
            Query::new("/fapi/v1/fundingInfo").costing(FUNDING_WEIGHT),
        ],
    }
}

pub(super) fn snapshot(instrument: &Instrument, depth: usize) -> RestRequest {
    let (path, limit, weight) = match instrument.spec.market {
        Market::Spot => {
            let limit = depth.clamp(1, 5000);
            let row = SPOT_DEPTHS.iter().find(|(end, _)| limit <= *end);
            ("/api/v3/depth", limit, row.map_or(250, |row| row.1))
        }
        Market::Perp => {
            let row = PERP_DEPTHS.iter().find(|(limit, _)| depth <= *limit);
            let (limit, weight) = row.copied().unwrap_or((1000, 20));
            ("/fapi/v1/depth", limit, weight)
        }
    };
    let mut query = Query::of(path, instrument);
    query.add("limit", &limit);
    query.costing(weight)
}

pub(super) fn klines(instrument: &Instrument, level: Level, page: PageRequest) -> RestRequest {
    let (path, limit, weight) = match instrument.spec.market {
        Market::Spot => ("/api/v3/klines", page.limit.clamp(1, 1000), 2),
        Market::Perp => {
            let limit = page.limit.clamp(1, 1500);
            let weight = match limit {
                0..100 => 1,
                100..500 => 2,
                500..=1000 => 5,
                _ => 10,
            };
            ("/fapi/v1/klines", limit, weight)
        }
    };
    let mut query = Query::of(path, instrument);
    query.add("interval", &level);
    query.add_times(page.start, page.end);
    query.add("limit", &limit);
    query.costing(weight)
}

/// Spot's single trades can only be reached by id; a page with times and no id gives the newest.
pub(super) fn trades(instrument: &Instrument, page: PageRequest) -> RestRequest {
    let limit = page.limit.clamp(1, 1000);
    let (mut query, weight) = match (instrument.spec.market, page.from_id) {
        (Market::Spot, None) => (Query::of("/api/v3/trades", instrument), 25),
        (Market::Spot, Some(id)) => {
            let mut query = Query::of("/api/v3/historicalTrades", instrument);
            query.add("fromId", &id);
            (query, 25)
        }
        (Market::Perp, from_id) => {
            let mut query = Query::of("/fapi/v1/aggTrades", instrument);
            match from_id {
                // Refused together with times.
                Some(id) => query.add("fromId", &id),
                None => {
                    let (start, end) = hour(page.start, page.end);
                    query.add_times(start, end);
                }
            }
            (query, 20)
        }
    };
    query.add("limit", &limit);
    query.costing(weight)
}

/// Cuts a span to what `aggTrades` takes, keeping its start.
fn hour(start: Option<TsNanos>, end: Option<TsNanos>) -> (Option<TsNanos>, Option<TsNanos>) {
    match (start, end) {
        (Some(start), Some(end)) => {
            let latest = TsNanos(start.0.saturating_add(AGG_TRADES_SPAN_NANOS));
            (Some(start), Some(end.min(latest)))
        }
        other => other,
    }
}

pub(super) fn funding(instrument: &Instrument, page: PageRequest) -> RestRequest {
    let mut query = Query::of("/fapi/v1/fundingRate", instrument);
    query.add_times(page.start, page.end);
    query.add("limit", &page.limit.clamp(1, 1000));
    query.costing(FUNDING_WEIGHT)
}

pub(super) fn time(market: Market) -> RestRequest {
    match market {
        Market::Spot => Query::new("/api/v3/time").costing(1),
        Market::Perp => Query::new("/fapi/v1/time").costing(1),
    }
}
