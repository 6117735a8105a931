//! REST requests: paths and limits.
//!
//! Source: `docs/v5/market/*` of the exchange's documentation repository (2026-07-24). Public
//! requests cost one each of what an address may ask, whatever they ask for.

use std::fmt::Write as _;

use crate::exchange::{HistoryOf, PageRequest, RestRequest};
use crate::instrument::{Instrument, Market};
use crate::time::{Level, TsNanos};

use super::stream::interval;

/// Most instruments on a page. The default of 500 would cut the list of linear contracts.
const INSTRUMENTS_MAX: u32 = 1000;
/// Most bars in an answer.
const KLINES_MAX: u32 = 1000;
/// Most settlements in an answer.
const FUNDING_MAX: u32 = 200;
/// Shortest time between two settlements of a contract. Intervals change (from eight hours to four
/// and to one when the rate is at its bound), so that the one in force says nothing of the past.
const FUNDING_INTERVAL_MIN_NANOS: i64 = 3_600_000_000_000;

/// A path and query under construction.
struct Query(String);

impl Query {
    fn new(name: &str) -> Self {
        Self(format!("/v5/market/{name}"))
    }

    /// A query of a market: without `category` linear would be meant.
    fn of(name: &str, market: Market) -> Self {
        let mut query = Self::new(name);
        let category = match market {
            Market::Spot => "spot",
            Market::Perp => "linear",
        };
        query.add("category", &category);
        query
    }

    fn of_symbol(name: &str, instrument: &Instrument) -> Self {
        let mut query = Self::of(name, instrument.spec.market);
        query.add("symbol", &escape(&instrument.spec.native_symbol));
        query
    }

    fn add(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        // Writing to a string can't fail.
        let _ = write!(self.0, "{separator}{name}={value}");
    }

    fn build(self) -> RestRequest {
        RestRequest {
            path: self.0,
            budget: 0,
            weight: 1,
        }
    }
}

/// Percent-encodes what can't stand in a query. Cursors hold such text already (`first%3DX`): the
/// exchange wants them back encoded once more.
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

/// The first millisecond that is not before an instant.
fn ceil_ms(ts: TsNanos) -> i64 {
    (ts.as_ms() + i64::from(ts.0.rem_euclid(1_000_000) != 0)).max(0)
}

fn floor_ms(ts: TsNanos) -> i64 {
    ts.as_ms().max(0)
}

/// Spans that have no more rows than an answer.
pub(super) fn page_span(series: HistoryOf) -> i64 {
    match series {
        HistoryOf::Klines(level) => level.nanos().saturating_mul(i64::from(KLINES_MAX)),
        HistoryOf::Funding => FUNDING_INTERVAL_MIN_NANOS.saturating_mul(i64::from(FUNDING_MAX)),
    }
}

/// Bounds of a page whose answer comes newest first: of a span with more rows than the answer
/// holds the oldest would be missing. Cut to `rows` rows from its start on, none is.
fn page_bounds(page: PageRequest, rows: u32, row_nanos: i64) -> (Option<TsNanos>, Option<TsNanos>) {
    let Some(start) = page.start else {
        return (None, page.end);
    };
    let reach = i64::from(rows).saturating_mul(row_nanos);
    let latest = TsNanos(start.0.saturating_add(reach).saturating_sub(1));
    (
        Some(start),
        Some(page.end.map_or(latest, |end| end.min(latest))),
    )
}

pub(super) fn instruments(market: Market, cursor: Option<&str>) -> RestRequest {
    let mut query = Query::of("instruments-info", market);
    // Spot answers all at once and takes neither.
    if market == Market::Perp {
        query.add("limit", &INSTRUMENTS_MAX);
        if let Some(cursor) = cursor {
            query.add("cursor", &escape(cursor));
        }
    }
    query.build()
}

/// The book of the 1000-level topic: its `u` is of no other depth.
pub(super) fn snapshot(instrument: &Instrument, depth: usize) -> RestRequest {
    let mut query = Query::of_symbol("orderbook", instrument);
    query.add("limit", &depth.clamp(1, 1000));
    query.build()
}

pub(super) fn klines(instrument: &Instrument, level: Level, page: PageRequest) -> RestRequest {
    let limit = page.limit.clamp(1, KLINES_MAX);
    let (start, end) = page_bounds(page, limit, level.nanos());
    let mut query = Query::of_symbol("kline", instrument);
    query.add("interval", &interval(level));
    if let Some(start) = start {
        query.add("start", &ceil_ms(start));
    }
    if let Some(end) = end {
        query.add("end", &floor_ms(end));
    }
    query.add("limit", &limit);
    query.build()
}

/// How many of the newest trades there are.
pub(super) const fn trades_shown(market: Market) -> u32 {
    match market {
        Market::Spot => 60,
        Market::Perp => 1000,
    }
}

/// Only the newest trades can be had: no time, no id, no second page.
pub(super) fn trades(instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
    if page.start.is_some() || page.end.is_some() || page.from_id.is_some() {
        return None;
    }
    let most = trades_shown(instrument.spec.market);
    let mut query = Query::of_symbol("recent-trade", instrument);
    query.add("limit", &page.limit.clamp(1, most));
    Some(query.build())
}

/// A start without an end is refused, so that both or only the end is sent.
pub(super) fn funding(instrument: &Instrument, page: PageRequest) -> RestRequest {
    let limit = page.limit.clamp(1, FUNDING_MAX);
    let (start, end) = page_bounds(page, limit, FUNDING_INTERVAL_MIN_NANOS);
    let mut query = Query::of_symbol("funding/history", instrument);
    if let Some(start) = start {
        query.add("startTime", &ceil_ms(start));
    }
    if let Some(end) = end {
        query.add("endTime", &floor_ms(end));
    }
    query.add("limit", &limit);
    query.build()
}

pub(super) fn time() -> RestRequest {
    Query::new("time").build()
}

pub(super) fn system_status() -> RestRequest {
    Query("/v5/system/status".to_owned()).build()
}
