//! REST requests of public data: paths, limits and budgets; and the budgets of orders and accounts.
//!
//! Source: market and public data endpoints of the v5 documentation. Times are exclusive on both
//! sides, and `before` is the earlier one: rows are newer than it.

use std::fmt::Write as _;

use crate::exchange::{HistoryOf, PageRequest, RestBudget, RestRequest};
use crate::instrument::{Instrument, Market};
use crate::time::{Level, TsNanos};
use crate::trading::venue::{Access, Method, NativeRequest};

use super::stream::bar;

/// A budget of an endpoint: OKX counts each by itself, per address, and sends no headers.
const fn endpoint(name: &'static str, weight_per_window: u32) -> RestBudget {
    RestBudget {
        name,
        weight_per_window,
        weight_per_instrument: None,
        window_secs: 2,
        used_header: None,
        remaining_header: None,
    }
}

/// A budget that OKX counts by account and instrument: 60 in two seconds. Of all instruments together
/// a sub-account may place and change 1,000 orders in two seconds, which is divided here.
const fn by_instrument(name: &'static str, weight_per_window: u32) -> RestBudget {
    RestBudget {
        weight_per_instrument: Some(60),
        ..endpoint(name, weight_per_window)
    }
}

/// Budgets, in the order of the constants below.
pub(super) const BUDGETS: &[RestBudget] = &[
    endpoint("instruments", 20),
    endpoint("funding-rate", 10),
    endpoint("books", 40),
    endpoint("candles", 40),
    endpoint("history-candles", 20),
    endpoint("trades", 100),
    endpoint("history-trades", 20),
    endpoint("funding-rate-history", 10),
    endpoint("time", 10),
    RestBudget {
        window_secs: 5,
        ..endpoint("system-status", 1)
    },
    by_instrument("order", 700),
    by_instrument("cancel-order", 1_000),
    by_instrument("amend-order", 300),
    // Those below are counted by account, some by instrument too: here all of them share one.
    endpoint("order-algo", 20),
    endpoint("cancel-algos", 20),
    endpoint("amend-algos", 20),
    RestBudget {
        window_secs: 1,
        ..endpoint("cancel-all-after", 1)
    },
    endpoint("order-query", 60),
    endpoint("order-algo-query", 20),
    endpoint("orders-pending", 60),
    endpoint("orders-algo-pending", 20),
    endpoint("fills", 60),
    endpoint("fills-history", 10),
    endpoint("balance", 10),
    endpoint("positions", 10),
    endpoint("config", 5),
    endpoint("set-leverage", 20),
];
const INSTRUMENTS: usize = 0;
const FUNDING_RATE: usize = 1;
const BOOKS: usize = 2;
const CANDLES: usize = 3;
const HISTORY_CANDLES: usize = 4;
const TRADES: usize = 5;
const HISTORY_TRADES: usize = 6;
const FUNDING_HISTORY: usize = 7;
const TIME: usize = 8;
const SYSTEM_STATUS: usize = 9;
pub(super) const ORDER: usize = 10;
pub(super) const CANCEL_ORDER: usize = 11;
pub(super) const AMEND_ORDER: usize = 12;
pub(super) const ORDER_ALGO: usize = 13;
pub(super) const CANCEL_ALGOS: usize = 14;
pub(super) const AMEND_ALGOS: usize = 15;
pub(super) const CANCEL_ALL_AFTER: usize = 16;
pub(super) const ORDER_QUERY: usize = 17;
pub(super) const ORDER_ALGO_QUERY: usize = 18;
pub(super) const ORDERS_PENDING: usize = 19;
pub(super) const ORDERS_ALGO_PENDING: usize = 20;
pub(super) const FILLS: usize = 21;
pub(super) const FILLS_HISTORY: usize = 22;
pub(super) const BALANCE: usize = 23;
pub(super) const POSITIONS: usize = 24;
pub(super) const CONFIG: usize = 25;
pub(super) const SET_LEVERAGE: usize = 26;

/// Levels of the live book: a deeper image would keep levels that nothing ever deletes.
const DEPTH: usize = 400;
/// Rows of `candles`.
const CANDLES_MAX: u32 = 300;
/// Rows of `history-candles`, `history-trades` and `funding-rate-history`.
const HISTORY_MAX: u32 = 100;
/// Rows of `trades`.
const TRADES_MAX: u32 = 500;

/// A path and query under construction.
pub(super) struct Query(String);

impl Query {
    pub(super) fn new(path: &str) -> Self {
        Self(path.to_owned())
    }

    fn of(path: &str, instrument: &Instrument) -> Self {
        let mut query = Self::new(path);
        query.add("instId", &escape(&instrument.spec.native_symbol));
        query
    }

    pub(super) fn add(&mut self, name: &str, value: &dyn std::fmt::Display) {
        let separator = if self.0.contains('?') { '&' } else { '?' };
        // Writing to a string can't fail.
        let _ = write!(self.0, "{separator}{name}={value}");
    }

    /// Bounds, both inclusive, as OKX's exclusive ones.
    fn add_times(&mut self, start: Option<TsNanos>, end: Option<TsNanos>) {
        if let Some(start) = start {
            self.add("before", &(ceil_ms(start).max(1) - 1));
        }
        if let Some(end) = end {
            self.add("after", &(end.as_ms().max(0).saturating_add(1)));
        }
    }

    fn costing(self, budget: usize) -> RestRequest {
        RestRequest {
            path: self.0,
            budget,
            weight: 1,
        }
    }

    /// As a question about orders or an account.
    pub(super) fn signed(self, market: Market, budget: usize) -> NativeRequest {
        let (path, query) = self.0.split_once('?').unwrap_or((&self.0, ""));
        NativeRequest {
            method: Method::Get,
            market,
            path: path.to_owned(),
            query: query.to_owned(),
            body: String::new(),
            access: Access::Signed,
            budget: (budget, 1),
            counts_for: None,
        }
    }
}

fn ceil_ms(ts: TsNanos) -> i64 {
    ts.as_ms() + i64::from(ts.0.rem_euclid(1_000_000) != 0)
}

/// Percent-encodes what can't stand in a query.
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

pub(super) fn instruments(market: Market) -> Vec<RestRequest> {
    let list = |kind: &str| {
        let mut query = Query::new("/api/v5/public/instruments");
        query.add("instType", &kind);
        query.costing(INSTRUMENTS)
    };
    match market {
        Market::Spot => vec![list("SPOT")],
        Market::Perp => {
            let mut rates = Query::new("/api/v5/public/funding-rate");
            rates.add("instId", &"ANY");
            vec![list("SWAP"), rates.costing(FUNDING_RATE)]
        }
    }
}

pub(super) fn snapshot(instrument: &Instrument, depth: usize) -> RestRequest {
    let mut query = Query::of("/api/v5/market/books", instrument);
    query.add("sz", &depth.clamp(1, DEPTH));
    query.costing(BOOKS)
}

/// Bars from `start` on where there is one: OKX answers with the newest page of a span, so that the
/// span is cut to one page.
pub(super) fn klines(instrument: &Instrument, level: Level, page: PageRequest) -> RestRequest {
    // `candles` holds the last 1440 bars only.
    let (path, most, budget) = match (page.start, page.end) {
        (_, None) => ("/api/v5/market/candles", CANDLES_MAX, CANDLES),
        _ => (
            "/api/v5/market/history-candles",
            HISTORY_MAX,
            HISTORY_CANDLES,
        ),
    };
    let limit = page.limit.clamp(1, most);
    let end = match (page.start, page.end) {
        (Some(start), Some(end)) => {
            let span = level.nanos().saturating_mul(i64::from(limit));
            Some(end.min(TsNanos(start.0.saturating_add(span - 1))))
        }
        (_, end) => end,
    };
    let mut query = Query::of(path, instrument);
    query.add("bar", &bar(level));
    query.add_times(page.start, end);
    query.add("limit", &limit);
    query.costing(budget)
}

/// Trades by id, by time (the newest of the span), or the newest.
pub(super) fn trades(instrument: &Instrument, page: PageRequest) -> RestRequest {
    if page.from_id.is_none() && page.start.is_none() && page.end.is_none() {
        let mut query = Query::of("/api/v5/market/trades", instrument);
        query.add("limit", &page.limit.clamp(1, TRADES_MAX));
        return query.costing(TRADES);
    }
    let limit = page.limit.clamp(1, HISTORY_MAX);
    let mut query = Query::of("/api/v5/market/history-trades", instrument);
    match page.from_id {
        // Ids are consecutive: a span of ids as long as a page is the page that begins there.
        Some(id) => {
            query.add("type", &1);
            if let Some(before) = id.checked_sub(1) {
                query.add("before", &before);
            }
            query.add("after", &id.saturating_add(u64::from(limit)));
        }
        None => {
            query.add("type", &2);
            query.add_times(page.start, page.end);
        }
    }
    query.add("limit", &limit);
    query.costing(HISTORY_TRADES)
}

pub(super) fn funding(instrument: &Instrument, page: PageRequest) -> RestRequest {
    let mut query = Query::of("/api/v5/public/funding-rate-history", instrument);
    query.add_times(page.start, page.end);
    query.add("limit", &page.limit.clamp(1, HISTORY_MAX));
    query.costing(FUNDING_HISTORY)
}

/// Time that a page of bars, or of settled funding, holds at least: settlements are an hour apart
/// or more.
pub(super) const fn page_span(series: HistoryOf) -> i64 {
    let row = match series {
        HistoryOf::Klines(level) => level.nanos(),
        HistoryOf::Funding => Level::H1.nanos(),
    };
    HISTORY_MAX as i64 * row
}

pub(super) fn time() -> RestRequest {
    Query::new("/api/v5/public/time").costing(TIME)
}

pub(super) fn system_status() -> RestRequest {
    Query::new("/api/v5/system/status").costing(SYSTEM_STATUS)
}
