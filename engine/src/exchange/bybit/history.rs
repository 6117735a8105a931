//! REST answers: snapshot, bars, trades, funding, the clock.
//!
//! Source: `docs/v5/market/*` of the exchange's documentation repository (2026-07-24). Lists come
//! newest first; numbers and times are text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{BookSnapshot, Funding, Kline, Trade, TradeId};
use crate::exchange::{DecodeError, FundingRow};
use crate::instrument::Instrument;
use crate::num::parse_fixed;
use crate::time::{Level, TsNanos};

use super::answer;
use super::frame::{Text, stamp};
use super::payload::{self, Scales};

/// A time in milliseconds as text.
fn time_of(text: &str, field: &'static str) -> Result<TsNanos, DecodeError> {
    let ms = text.parse().ok().and_then(stamp);
    ms.ok_or(DecodeError::Field { field })
}

#[derive(Deserialize)]
struct BookTimes {
    ts: Option<u64>,
    cts: Option<u64>,
}

/// `{"s":"BTCUSDT","a":[["65557.7","16.606555"]],"b":[…],"ts":1716863719031,"u":230704,…}`
pub(super) fn snapshot(instrument: &Instrument, body: &[u8]) -> Result<BookSnapshot, DecodeError> {
    let book: &RawValue = answer::result(body, "result")?;
    let mut buffers = payload::Buffers::default();
    let seq = payload::read_book(book.get(), Scales::of(instrument), &mut buffers)?;
    let times: BookTimes = answer::read(book.get().as_bytes(), "ts")?;
    Ok(BookSnapshot {
        seq,
        ts_event: times.cts.or(times.ts).and_then(stamp),
        bids: buffers.bids,
        asks: buffers.asks,
    })
}

/// Start, open, high, low, close, volume in base units, turnover in quote units.
#[derive(Deserialize)]
struct KlineRow<'a>(#[serde(borrow)] [Text<'a>; 7]);

/// Rows have no mark that tells a closed bar: one that ends after `now` is open.
pub(super) fn klines(
    instrument: &Instrument,
    level: Level,
    body: &[u8],
    now: TsNanos,
) -> Result<Vec<Kline>, DecodeError> {
    let scales = Scales::of(instrument);
    let rows: Vec<KlineRow<'_>> = answer::rows(body, "list")?;
    let mut bars = Vec::with_capacity(rows.len());
    for KlineRow([start, open, high, low, close, volume, turnover]) in &rows {
        let open_time = time_of(&start.0, "startTime")?;
        // The last instant of the bar.
        let close_time = TsNanos(open_time.0.saturating_add(level.nanos() - 1));
        let is_closed = close_time < now;
        bars.push(Kline {
            level,
            open_time,
            open: scales.price(&open.0, "openPrice")?,
            high: scales.price(&high.0, "highPrice")?,
            low: scales.price(&low.0, "lowPrice")?,
            close: scales.price(&close.0, "closePrice")?,
            volume: scales.qty(&volume.0, "volume")?,
            volume_quote: Some(scales.value(&turnover.0, "turnover")?),
            trade_count: None,
            is_closed,
            ts_event: if is_closed { close_time } else { now },
        });
    }
    bars.sort_by_key(|bar| bar.open_time);
    Ok(bars)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow<'a> {
    #[serde(borrow)]
    exec_id: Cow<'a, str>,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    size: Cow<'a, str>,
    #[serde(borrow)]
    side: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(default)]
    is_block_trade: bool,
}

/// Block trades are left out, as on the stream.
pub(super) fn trades(instrument: &Instrument, body: &[u8]) -> Result<Vec<Trade>, DecodeError> {
    let scales = Scales::of(instrument);
    let rows: Vec<TradeRow<'_>> = answer::rows(body, "list")?;
    let mut trades = Vec::with_capacity(rows.len());
    for row in rows.iter().filter(|row| !row.is_block_trade) {
        trades.push(Trade {
            trade_id: TradeId::parse(&row.exec_id),
            price: scales.price(&row.price, "price")?,
            qty: scales.qty(&row.size, "size")?,
            taker_side: payload::side(&row.side, "side")?,
            ts_event: time_of(&row.time, "time")?,
            is_aggregate: false,
        });
    }
    // Ids of linear trades have no order: within a millisecond the exchange's is kept.
    trades.reverse();
    trades.sort_by_key(|trade| trade.ts_event);
    Ok(trades)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FundingRateRow<'a> {
    #[serde(borrow)]
    funding_rate: Cow<'a, str>,
    #[serde(borrow)]
    funding_rate_timestamp: Cow<'a, str>,
}

/// Rows have neither the interval nor the mark price.
pub(super) fn funding(body: &[u8]) -> Result<Vec<FundingRow>, DecodeError> {
    let rows: Vec<FundingRateRow<'_>> = answer::rows(body, "list")?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let rate = parse_fixed(row.funding_rate.as_bytes(), Funding::RATE_SCALE);
        found.push(FundingRow {
            time: time_of(&row.funding_rate_timestamp, "fundingRateTimestamp")?,
            rate: rate.map_err(|error| DecodeError::Number {
                field: "fundingRate",
                error,
            })?,
            mark_price: None,
        });
    }
    found.sort_by_key(|row| row.time);
    Ok(found)
}

/// `{"timeSecond":"1688639403","timeNano":"1688639403423213947"}`
pub(super) fn time(body: &[u8]) -> Result<TsNanos, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ServerTime<'a> {
        #[serde(borrow)]
        time_nano: Cow<'a, str>,
    }
    let time: ServerTime<'_> = answer::result(body, "timeNano")?;
    let nanos = time.time_nano.parse().ok().filter(|nanos| *nanos > 0);
    nanos
        .map(TsNanos)
        .ok_or(DecodeError::Field { field: "timeNano" })
}
