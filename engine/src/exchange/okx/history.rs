//! REST answers: snapshot, bars, trades, funding, the clock. All rows come newest first.
//!
//! Source: market and public data endpoints of the v5 documentation.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::event::{BookSnapshot, Kline, Trade};
use crate::exchange::{DecodeError, FundingRow};
use crate::instrument::Instrument;
use crate::time::{Level, TsNanos};

use super::frame::TradeRow;
use super::json::{Text, millis, read};
use super::message::{book_rows, kline, rate, trade};
use super::symbols::Symbol;

/// `{"code":"0","msg":"","data":[…]}`
#[derive(Deserialize)]
struct Answer<T> {
    data: Vec<T>,
}

#[derive(Deserialize)]
struct RawAnswer<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

pub(super) fn snapshot(instrument: &Instrument, body: &[u8]) -> Result<BookSnapshot, DecodeError> {
    let answer: RawAnswer<'_> = read(body, "data")?;
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    let head = book_rows(Symbol::of(instrument), answer.data, &mut bids, &mut asks)?;
    let seq = head.seq.and_then(|seq| u64::try_from(seq).ok());
    Ok(BookSnapshot {
        // Answers of before 2023 have none, and join no stream.
        seq: seq.ok_or(DecodeError::Field { field: "seqId" })?,
        ts_event: Some(head.time()?),
        bids,
        asks,
    })
}

pub(super) fn klines(
    instrument: &Instrument,
    level: Level,
    body: &[u8],
    now: TsNanos,
) -> Result<Vec<Kline>, DecodeError> {
    let answer: Answer<Vec<Text<'_>>> = read(body, "data")?;
    let symbol = Symbol::of(instrument);
    let mut bars = Vec::with_capacity(answer.data.len());
    for row in &answer.data {
        let mut bar = kline(symbol, level, row)?;
        if !bar.is_closed {
            bar.ts_event = now;
        }
        bars.push(bar);
    }
    bars.sort_by_key(|bar| bar.open_time);
    Ok(bars)
}

pub(super) fn trades(instrument: &Instrument, body: &[u8]) -> Result<Vec<Trade>, DecodeError> {
    let answer: Answer<TradeRow<'_>> = read(body, "data")?;
    let symbol = Symbol::of(instrument);
    let mut trades = Vec::with_capacity(answer.data.len());
    // Newest first, so that the other way round is their order.
    for row in answer.data.iter().rev() {
        trades.push(trade(symbol, row)?);
    }
    Ok(trades)
}

/// `{"instId":"BTC-USDT-SWAP","fundingRate":"0.00015","realizedRate":"0.00015",
/// "fundingTime":"1704067200000"}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FundingRateRow<'a> {
    #[serde(borrow)]
    funding_time: Text<'a>,
    /// As it was predicted.
    #[serde(borrow)]
    funding_rate: Text<'a>,
    /// As it was charged.
    #[serde(borrow, default)]
    realized_rate: Text<'a>,
}

pub(super) fn funding(body: &[u8]) -> Result<Vec<FundingRow>, DecodeError> {
    let answer: Answer<FundingRateRow<'_>> = read(body, "data")?;
    let mut found = Vec::with_capacity(answer.data.len());
    for row in &answer.data {
        let (text, field) = match row.realized_rate.filled() {
            Some(text) => (text, "realizedRate"),
            None => (row.funding_rate.0.as_ref(), "fundingRate"),
        };
        found.push(FundingRow {
            time: millis(&row.funding_time.0, "fundingTime")?,
            rate: rate(text, field)?.ok_or(DecodeError::Field { field })?,
            mark_price: None,
        });
    }
    found.sort_by_key(|row| row.time);
    Ok(found)
}

pub(super) fn time(body: &[u8]) -> Result<TsNanos, DecodeError> {
    #[derive(Deserialize)]
    struct Row<'a> {
        #[serde(borrow)]
        ts: Text<'a>,
    }
    let answer: Answer<Row<'_>> = read(body, "data")?;
    let row = answer
        .data
        .first()
        .ok_or(DecodeError::Field { field: "ts" })?;
    millis(&row.ts.0, "ts")
}
