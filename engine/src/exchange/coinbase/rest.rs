//! REST: requests with their limits, and their answers.
//!
//! Sources: REST pages of the Advanced Trade API and the official Python SDK 1.8.4 (2026-06),
//! limits also from ccxt 4.5.90.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::event::{BookLevel, BookSnapshot, Kline, Trade};
use crate::exchange::{DecodeError, PageRequest, RestRequest};
use crate::instrument::Instrument;
use crate::time::{Level, TsNanos};

use super::symbols::Symbol;
use super::wire::{CandleRow, Text, TradeRow, read};
use super::{candles, stream, time};

/// Public twins of the paths that an account sees.
const MARKET: &str = "/api/v3/brokerage/market";
/// Most bars in an answer; a span that holds more is refused.
pub(super) const BARS_MAX: u32 = 350;
/// Most trades in an answer.
const TRADES_MAX: u32 = 1_000;
const SECOND: i64 = 1_000_000_000;

/// All requests cost the same.
fn request(path: String) -> RestRequest {
    RestRequest {
        path,
        budget: 0,
        weight: 1,
    }
}

/// A page of the product list: the first one, or the one that a cursor leads to.
pub(super) fn products(cursor: Option<&str>) -> RestRequest {
    let mut path = format!("{MARKET}/products");
    if let Some(cursor) = cursor {
        path.push_str("?cursor=");
        path.push_str(&escape(cursor));
    }
    request(path)
}

/// A book without a sequence number: it can't be joined with the stream's changes.
pub(super) fn snapshot(instrument: &Instrument, depth: usize) -> RestRequest {
    let product = escape(&instrument.spec.native_symbol);
    request(format!(
        "{MARKET}/product_book?product_id={product}&limit={}",
        depth.max(1)
    ))
}

/// Levels that have a name in [`granularity`].
pub(super) const LEVELS: &[Level] = &[
    Level::M1,
    Level::M5,
    Level::M15,
    Level::M30,
    Level::H1,
    Level::D1,
];

/// Name of a level's bars; there are none of four hours.
fn granularity(level: Level) -> Option<&'static str> {
    match level {
        Level::M1 => Some("ONE_MINUTE"),
        Level::M5 => Some("FIVE_MINUTE"),
        Level::M15 => Some("FIFTEEN_MINUTE"),
        Level::M30 => Some("THIRTY_MINUTE"),
        Level::H1 => Some("ONE_HOUR"),
        Level::H4 => None,
        Level::D1 => Some("ONE_DAY"),
    }
}

/// Bars of a span. One that is too long is cut: from its start on where it has one, else before
/// its end.
pub(super) fn klines(
    instrument: &Instrument,
    level: Level,
    page: PageRequest,
) -> Option<RestRequest> {
    let granularity = granularity(level)?;
    let limit = page.limit.clamp(1, BARS_MAX);
    let reach = level.nanos().saturating_mul(i64::from(limit) - 1);
    let (start, end) = match (page.start, page.end) {
        (Some(start), end) => {
            let start = start.0.max(0);
            let latest = start.saturating_add(reach);
            (
                Some(start),
                Some(end.map_or(latest, |end| end.0.min(latest))),
            )
        }
        (None, Some(end)) => (Some(end.0.saturating_sub(reach).max(0)), Some(end.0)),
        (None, None) => (None, None),
    };
    let product = escape(&instrument.spec.native_symbol);
    let mut path =
        format!("{MARKET}/products/{product}/candles?granularity={granularity}&limit={limit}");
    // Bounds are in whole seconds, as bars are.
    for (name, bound) in [("start", start), ("end", end)] {
        if let Some(bound) = bound {
            // Writing to a string can't fail.
            let _ = write!(path, "&{name}={}", bound.max(0).div_euclid(SECOND));
        }
    }
    Some(request(path))
}

/// The newest trades of a span. They can't be had by id.
///
/// Bounds are in whole seconds and reach a little further than asked.
pub(super) fn trades(instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
    if page.from_id.is_some() {
        return None;
    }
    let product = escape(&instrument.spec.native_symbol);
    let limit = page.limit.clamp(1, TRADES_MAX);
    let mut path = format!("{MARKET}/products/{product}/ticker?limit={limit}");
    if let Some(start) = page.start {
        let _ = write!(path, "&start={}", start.0.max(0).div_euclid(SECOND));
    }
    if let Some(end) = page.end {
        let end = end.0.max(0).saturating_add(SECOND - 1).div_euclid(SECOND);
        let _ = write!(path, "&end={end}");
    }
    Some(request(path))
}

pub(super) fn clock() -> RestRequest {
    request("/api/v3/brokerage/time".to_owned())
}

/// Percent-encodes what can't stand in a path or query. Product ids are letters, digits and hyphens;
/// cursors are not promised to be.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[derive(Deserialize)]
struct BookAnswer<'a> {
    #[serde(borrow)]
    pricebook: PriceBook<'a>,
}

#[derive(Deserialize)]
struct PriceBook<'a> {
    #[serde(borrow)]
    bids: Vec<PriceRow<'a>>,
    #[serde(borrow)]
    asks: Vec<PriceRow<'a>>,
    #[serde(borrow)]
    time: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct PriceRow<'a> {
    #[serde(borrow)]
    price: Text<'a>,
    #[serde(borrow)]
    size: Text<'a>,
}

pub(super) fn parse_snapshot(
    instrument: &Instrument,
    body: &[u8],
) -> Result<BookSnapshot, DecodeError> {
    let BookAnswer { pricebook } = read(body, "pricebook")?;
    let symbol = Symbol::from(instrument);
    let side = |rows: &[PriceRow<'_>]| -> Result<Vec<BookLevel>, DecodeError> {
        rows.iter()
            .map(|row| {
                Ok(BookLevel {
                    price: symbol.price(&row.price, "price")?,
                    qty: symbol.qty(&row.size, "size")?,
                })
            })
            .collect()
    };
    Ok(BookSnapshot {
        seq: 0,
        ts_event: pricebook.time.as_deref().and_then(time::parse),
        bids: side(&pricebook.bids)?,
        asks: side(&pricebook.asks)?,
    })
}

#[derive(Deserialize)]
struct CandlesAnswer<'a> {
    #[serde(borrow)]
    candles: Vec<CandleRow<'a>>,
}

/// Bars, newest first in the answer. Those without trades are missing.
pub(super) fn parse_klines(
    instrument: &Instrument,
    level: Level,
    body: &[u8],
    now: TsNanos,
) -> Result<Vec<Kline>, DecodeError> {
    let answer: CandlesAnswer<'_> = read(body, "candles")?;
    let symbol = Symbol::from(instrument);
    let mut bars = Vec::with_capacity(answer.candles.len());
    for row in &answer.candles {
        let mut bar = candles::kline(row, symbol, level, now)?;
        let end = TsNanos(bar.open_time.0.saturating_add(level.nanos()));
        bar.is_closed = end <= now;
        if bar.is_closed {
            bar.ts_event = end;
        }
        bars.push(bar);
    }
    bars.sort_by_key(|bar| bar.open_time);
    Ok(bars)
}

#[derive(Deserialize)]
struct TradesAnswer<'a> {
    #[serde(borrow)]
    trades: Vec<TradeRow<'a>>,
}

/// Trades, newest first in the answer; their side is the maker's, as in the channel.
pub(super) fn parse_trades(
    instrument: &Instrument,
    body: &[u8],
) -> Result<Vec<Trade>, DecodeError> {
    let answer: TradesAnswer<'_> = read(body, "trades")?;
    let rows = answer.trades.iter().rev();
    let mut trades = rows
        .map(|row| stream::trade_of(row, instrument))
        .collect::<Result<Vec<Trade>, _>>()?;
    trades.sort_by_key(|trade| trade.ts_event);
    Ok(trades)
}

/// `{"iso":"2026-11-23T02:00:00Z","epochSeconds":"1795399200","epochMillis":"1795399200123"}`
pub(super) fn parse_time(body: &[u8]) -> Result<TsNanos, DecodeError> {
    #[derive(Deserialize)]
    struct Clock<'a> {
        #[serde(borrow, rename = "epochMillis")]
        epoch_millis: Text<'a>,
    }
    let clock: Clock<'_> = read(body, "epochMillis")?;
    let millis = clock.epoch_millis.parse::<i64>();
    millis
        .map(TsNanos::from_ms)
        .map_err(|_| DecodeError::Field {
            field: "epochMillis",
        })
}
