//! Requests to the bridge and their answers.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::event::{BookLevel, BookSnapshot, Funding, Kline, Side, Trade, TradeId};
use crate::exchange::{DecodeError, FundingRow, PageRequest, RestRequest};
use crate::instrument::{Instrument, Market};
use crate::num::{Price, Qty, parse_fixed};
use crate::time::{Level, TsNanos};

/// Bars in one answer: what nearly every venue gives.
const BARS_MAX: u32 = 500;
/// Trades in one answer.
const TRADES_MAX: u32 = 1000;
/// Settlements in one answer.
const RATES_MAX: u32 = 100;

/// Text in a query, escaped.
fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => out.push(byte as char),
            // Writing to a string can't fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

fn request(path: String) -> RestRequest {
    RestRequest {
        path,
        budget: 0,
        weight: 1,
    }
}

fn of(instrument: &Instrument, what: &str, query: &str) -> RestRequest {
    let symbol = escaped(&instrument.name());
    let venue = &instrument.spec.exchange;
    request(format!("/venue/{venue}/{what}?symbol={symbol}{query}"))
}

fn paged(page: PageRequest, most: u32) -> String {
    let limit = page.limit.clamp(1, most);
    match page.start {
        Some(start) => format!("&since={}&limit={limit}", start.as_ms()),
        None => format!("&limit={limit}"),
    }
}

pub(super) fn markets(market: Market, venue: &str) -> RestRequest {
    request(format!("/venue/{}/markets?market={market}", escaped(venue)))
}

pub(super) fn book(instrument: &Instrument) -> RestRequest {
    of(instrument, "book", "")
}

pub(super) fn klines(
    instrument: &Instrument,
    level: Level,
    page: PageRequest,
) -> Option<RestRequest> {
    let query = format!("&level={}{}", level.as_str(), paged(page, BARS_MAX));
    instrument
        .spec
        .has_bars(level)
        .then(|| of(instrument, "ohlcv", &query))
}

/// Trades are asked for by time alone: ccxt knows no ids here.
pub(super) fn trades(instrument: &Instrument, page: PageRequest) -> Option<RestRequest> {
    if page.from_id.is_some() {
        return None;
    }
    Some(of(instrument, "trades", &paged(page, TRADES_MAX)))
}

pub(super) fn funding(instrument: &Instrument, page: PageRequest) -> RestRequest {
    of(instrument, "funding", &paged(page, RATES_MAX))
}

pub(super) fn time() -> RestRequest {
    request("/time".to_owned())
}

pub(super) fn read<T: DeserializeOwned>(
    body: &[u8],
    field: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => DecodeError::Field { field },
        _ => DecodeError::Json { at: error.column() },
    })
}

/// Milliseconds; an error beyond what can be represented.
pub(super) fn stamp(ms: i64, field: &'static str) -> Result<TsNanos, DecodeError> {
    ms.checked_mul(1_000_000)
        .filter(|nanos| *nanos > 0)
        .map(TsNanos)
        .ok_or(DecodeError::Field { field })
}

/// How an instrument's numbers are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    price: u8,
    qty: u8,
}

impl Scales {
    pub(super) const fn of(instrument: &Instrument) -> Self {
        Self {
            price: instrument.price_scale,
            qty: instrument.qty_scale,
        }
    }

    pub(super) fn price(self, text: &str, field: &'static str) -> Result<Price, DecodeError> {
        match text.starts_with('-') {
            true => Err(DecodeError::Field { field }),
            false => fixed(text, self.price, field).map(Price),
        }
    }

    pub(super) fn qty(self, text: &str, field: &'static str) -> Result<Qty, DecodeError> {
        match text.starts_with('-') {
            true => Err(DecodeError::Field { field }),
            false => fixed(text, self.qty, field).map(Qty),
        }
    }

    pub(super) fn level(
        self,
        row: &(String, String),
        field: &'static str,
    ) -> Result<BookLevel, DecodeError> {
        Ok(BookLevel {
            price: self.price(&row.0, field)?,
            qty: self.qty(&row.1, field)?,
        })
    }
}

pub(super) fn fixed(text: &str, scale: u8, field: &'static str) -> Result<i64, DecodeError> {
    parse_fixed(text.as_bytes(), scale).map_err(|error| DecodeError::Number { field, error })
}

/// A value that the venue computes and nobody trades at: digits beyond the scale are rounded.
pub(super) fn estimate(text: &str, scale: u8, field: &'static str) -> Result<i64, DecodeError> {
    let value = Decimal::from_str(text).map_err(|_| DecodeError::Field { field })?;
    fixed(&value.round_dp(u32::from(scale)).to_string(), scale, field)
}

#[derive(Deserialize)]
struct Book {
    seq: u64,
    ts: Option<i64>,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

pub(super) fn parse_book(
    instrument: &Instrument,
    body: &[u8],
) -> Result<BookSnapshot, DecodeError> {
    let book: Book = read(body, "bids")?;
    let scales = Scales::of(instrument);
    let side = |rows: &[(String, String)], field| -> Result<Vec<BookLevel>, DecodeError> {
        rows.iter().map(|row| scales.level(row, field)).collect()
    };
    Ok(BookSnapshot {
        seq: book.seq,
        ts_event: book.ts.and_then(|ms| stamp(ms, "ts").ok()),
        bids: side(&book.bids, "bids")?,
        asks: side(&book.asks, "asks")?,
    })
}

/// Open time in ms, open, high, low, close, volume. ccxt tells neither quote volume nor number of
/// trades.
pub(super) type Bar = (i64, Shown, Shown, Shown, Shown, Shown);
/// A number as text; null where the venue left it out.
pub(super) type Shown = Option<String>;

#[derive(Deserialize)]
struct Bars {
    bars: Vec<Bar>,
}

/// A bar out of its row; `None` where the venue left out a price: there was no trade.
pub(super) fn bar(
    scales: Scales,
    level: Level,
    row: &Bar,
    is_closed: bool,
    now: Option<TsNanos>,
) -> Result<Option<Kline>, DecodeError> {
    let (open_ms, Some(open), Some(high), Some(low), Some(close), volume) = row else {
        return Ok(None);
    };
    let open_time = stamp(*open_ms, "timestamp")?;
    let end = TsNanos(open_time.0.saturating_add(level.nanos() - 1));
    Ok(Some(Kline {
        level,
        open_time,
        open: scales.price(open, "open")?,
        high: scales.price(high, "high")?,
        low: scales.price(low, "low")?,
        close: scales.price(close, "close")?,
        volume: scales.qty(volume.as_deref().unwrap_or("0"), "volume")?,
        volume_quote: None,
        trade_count: None,
        is_closed,
        ts_event: match now {
            Some(now) if !is_closed => now.min(end),
            _ => end,
        },
    }))
}

pub(super) fn parse_klines(
    instrument: &Instrument,
    level: Level,
    body: &[u8],
    now: TsNanos,
) -> Result<Vec<Kline>, DecodeError> {
    let rows: Bars = read(body, "bars")?;
    let scales = Scales::of(instrument);
    let mut bars = Vec::with_capacity(rows.bars.len());
    for row in &rows.bars {
        let end = stamp(row.0, "timestamp")?.0.saturating_add(level.nanos());
        bars.extend(bar(scales, level, row, end <= now.0, Some(now))?);
    }
    bars.sort_by_key(|bar| bar.open_time);
    Ok(bars)
}

/// Id, price, quantity, the taker's side, time in ms.
pub(super) type TradeRow = (String, String, String, String, i64);

pub(super) fn trade(scales: Scales, row: &TradeRow) -> Result<Trade, DecodeError> {
    let (id, price, qty, side, ms) = row;
    Ok(Trade {
        trade_id: TradeId::parse(id),
        price: scales.price(price, "price")?,
        qty: scales.qty(qty, "amount")?,
        taker_side: match side.as_str() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => return Err(DecodeError::Field { field: "side" }),
        },
        ts_event: stamp(*ms, "timestamp")?,
        is_aggregate: false,
    })
}

#[derive(Deserialize)]
struct Trades {
    trades: Vec<TradeRow>,
}

pub(super) fn parse_trades(
    instrument: &Instrument,
    body: &[u8],
) -> Result<Vec<Trade>, DecodeError> {
    let rows: Trades = read(body, "trades")?;
    let scales = Scales::of(instrument);
    let mut trades = rows
        .trades
        .iter()
        .map(|row| trade(scales, row))
        .collect::<Result<Vec<_>, _>>()?;
    // Ids have no order that holds for every venue: within a time the venue's is kept.
    trades.sort_by_key(|trade| trade.ts_event);
    Ok(trades)
}

#[derive(Deserialize)]
struct Rates {
    rates: Vec<(i64, Shown)>,
}

pub(super) fn parse_funding(body: &[u8]) -> Result<Vec<FundingRow>, DecodeError> {
    const SECOND: i64 = 1_000_000_000;
    let rows: Rates = read(body, "rates")?;
    let mut found = Vec::with_capacity(rows.rates.len());
    for (ms, rate) in &rows.rates {
        let Some(rate) = rate else { continue };
        let time = stamp(*ms, "timestamp")?;
        found.push(FundingRow {
            // Some venues tell when they computed it, a few milliseconds late.
            time: TsNanos(time.0 - time.0.rem_euclid(SECOND)),
            rate: estimate(rate, Funding::RATE_SCALE, "fundingRate")?,
            mark_price: None,
        });
    }
    found.sort_by_key(|row| row.time);
    Ok(found)
}

#[derive(Deserialize)]
struct Time {
    time: i64,
}

pub(super) fn parse_time(body: &[u8]) -> Result<TsNanos, DecodeError> {
    let Time { time } = read(body, "time")?;
    Ok(TsNanos(time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_escaped() {
        assert_eq!(escaped("BTC/USDT:USDT"), "BTC%2FUSDT%3AUSDT");
        assert_eq!(escaped("a b&c=ä"), "a%20b%26c%3D%C3%A4");
    }
}
