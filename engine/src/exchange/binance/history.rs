//! REST answers: snapshot, bars, trades, funding, the clock.
//!
//! Sources: spot `rest-api.md` (2026-07-21); USDⓈ-M REST documentation of the official connector
//! 64.0.0 (2026-07-22).

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};

use crate::event::{BookSnapshot, Funding, Kline, Side, Trade, TradeId};
use crate::exchange::{DecodeError, FundingRow};
use crate::instrument::Instrument;
use crate::num::{Price, Qty, parse_fixed};
use crate::time::{Level, TsNanos};

use super::digits::{fixed, fixed_wide};
use super::fields::stamp;
use super::instruments::read;
use super::scan::{self, Levels};
use super::symbols::Symbol;
use super::tape::{self, TapeBuffers};

fn symbol(instrument: &Instrument) -> Symbol {
    Symbol {
        id: instrument.id,
        price_scale: instrument.price_scale,
        qty_scale: instrument.qty_scale,
    }
}

fn number(text: &str, scale: u8, field: &'static str) -> Result<i64, DecodeError> {
    fixed(text.as_bytes(), scale).map_err(|error| DecodeError::Number { field, error })
}

/// `{"lastUpdateId":1,"bids":[["4.0","431.0"]],"asks":[]}`, on USDⓈ-M with `E` and `T`.
pub(super) fn snapshot(
    instrument: &Instrument,
    body: &mut [u8],
) -> Result<BookSnapshot, DecodeError> {
    let symbol = symbol(instrument);
    let mut levels = Levels::default();
    let (seq, time) = match scan::snapshot(body, symbol, &mut levels) {
        Some(found) => found,
        None => {
            TapeBuffers::new().with(body, |nodes| tape::snapshot(nodes, symbol, &mut levels))?
        }
    };
    Ok(BookSnapshot {
        seq,
        ts_event: time.map(stamp),
        bids: levels.bids,
        asks: levels.asks,
    })
}

/// `[1499040000000,"0.01634790",…]`: open time, prices, base volume, close time, quote volume,
/// number of matches; what follows is not needed.
struct KlineRow<'a> {
    open_time: u64,
    prices: [Cow<'a, str>; 4],
    volume: Cow<'a, str>,
    close_time: u64,
    volume_quote: Cow<'a, str>,
    trade_count: u64,
}

/// Text that is borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for KlineRow<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Row;

        impl<'de> Visitor<'de> for Row {
            type Value = KlineRow<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row of at least nine elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<Self::Value, A::Error> {
                fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
                    row: &mut A,
                ) -> Result<T, A::Error> {
                    row.next_element()?
                        .ok_or_else(|| A::Error::custom("the row ends early"))
                }
                let open_time = next(&mut row)?;
                let prices: [Text<'de>; 4] = [
                    next(&mut row)?,
                    next(&mut row)?,
                    next(&mut row)?,
                    next(&mut row)?,
                ];
                let found = KlineRow {
                    open_time,
                    prices: prices.map(|text| text.0),
                    volume: next::<A, Text<'de>>(&mut row)?.0,
                    close_time: next(&mut row)?,
                    volume_quote: next::<A, Text<'de>>(&mut row)?.0,
                    trade_count: next(&mut row)?,
                };
                while row.next_element::<IgnoredAny>()?.is_some() {}
                Ok(found)
            }
        }

        input.deserialize_seq(Row)
    }
}

pub(super) fn klines(
    instrument: &Instrument,
    level: Level,
    body: &[u8],
    now: TsNanos,
) -> Result<Vec<Kline>, DecodeError> {
    let rows: Vec<KlineRow<'_>> = read(body, "klines")?;
    let mut bars = Vec::with_capacity(rows.len());
    for row in rows {
        let price = |text: &str, field| number(text, instrument.price_scale, field).map(Price);
        let [open, high, low, close] = &row.prices;
        let close_time = stamp(row.close_time);
        let is_closed = close_time < now;
        bars.push(Kline {
            level,
            open_time: stamp(row.open_time),
            open: price(open, "open")?,
            high: price(high, "high")?,
            low: price(low, "low")?,
            close: price(close, "close")?,
            volume: Qty(number(&row.volume, instrument.qty_scale, "volume")?),
            volume_quote: Some(
                fixed_wide(
                    row.volume_quote.as_bytes(),
                    instrument.price_scale + instrument.qty_scale,
                )
                .map_err(|error| DecodeError::Number {
                    field: "quoteVolume",
                    error,
                })?,
            ),
            trade_count: Some(row.trade_count),
            is_closed,
            ts_event: if is_closed { close_time } else { now },
        });
    }
    bars.sort_by_key(|bar| bar.open_time);
    Ok(bars)
}

/// A single trade (`id`, `price`, …) or an aggregate (`a`, `p`, …).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TradeRow<'a> {
    id: Option<u64>,
    a: Option<u64>,
    #[serde(borrow, alias = "p")]
    price: Cow<'a, str>,
    #[serde(borrow, alias = "q")]
    qty: Cow<'a, str>,
    #[serde(alias = "T")]
    time: u64,
    #[serde(alias = "m")]
    is_buyer_maker: bool,
}

pub(super) fn trades(instrument: &Instrument, body: &[u8]) -> Result<Vec<Trade>, DecodeError> {
    let rows: Vec<TradeRow<'_>> = read(body, "trades")?;
    let mut trades = Vec::with_capacity(rows.len());
    for row in rows {
        let (trade_id, is_aggregate) = match (row.id, row.a) {
            (Some(id), _) => (id, false),
            (None, Some(id)) => (id, true),
            (None, None) => return Err(DecodeError::Field { field: "id" }),
        };
        trades.push(Trade {
            trade_id: TradeId::Number(trade_id),
            price: Price(number(&row.price, instrument.price_scale, "price")?),
            qty: Qty(number(&row.qty, instrument.qty_scale, "qty")?),
            taker_side: if row.is_buyer_maker {
                Side::Sell
            } else {
                Side::Buy
            },
            ts_event: stamp(row.time),
            is_aggregate,
        });
    }
    trades.sort_by_key(|trade| trade.trade_id.number());
    Ok(trades)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FundingRateRow<'a> {
    funding_time: u64,
    #[serde(borrow)]
    funding_rate: Cow<'a, str>,
    /// Missing or empty in old rows.
    #[serde(borrow)]
    mark_price: Option<Cow<'a, str>>,
}

pub(super) fn funding(body: &[u8]) -> Result<Vec<FundingRow>, DecodeError> {
    let rows: Vec<FundingRateRow<'_>> = read(body, "fundingRate")?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let mark = row.mark_price.filter(|text| !text.is_empty());
        found.push(FundingRow {
            time: to_second(stamp(row.funding_time)),
            rate: parse_fixed(row.funding_rate.as_bytes(), Funding::RATE_SCALE).map_err(
                |error| DecodeError::Number {
                    field: "fundingRate",
                    error,
                },
            )?,
            mark_price: mark
                .map(|text| number(&text, Funding::PRICE_SCALE, "markPrice"))
                .transpose()?,
        });
    }
    found.sort_by_key(|row| row.time);
    Ok(found)
}

/// Settlements are told some milliseconds late: the nearest full second is the key.
fn to_second(ts: TsNanos) -> TsNanos {
    const SECOND: i64 = 1_000_000_000;
    TsNanos(ts.0.saturating_add(SECOND / 2).div_euclid(SECOND) * SECOND)
}

pub(super) fn time(body: &[u8]) -> Result<TsNanos, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ServerTime {
        server_time: u64,
    }
    read::<ServerTime>(body, "serverTime").map(|row| stamp(row.server_time))
}

/// True for a line that is a depth snapshot: an object with `lastUpdateId` at its top level.
///
/// For recordings in which REST snapshots stand between stream messages. Partial books of the
/// streams carry the same field one level deeper and are none.
#[must_use]
pub fn is_depth_snapshot(line: &[u8]) -> bool {
    const NAME: &[u8] = b"\"lastUpdateId\"";
    let line = line.trim_ascii_start();
    if line.first() != Some(&b'{') || memchr::memmem::find(line, NAME).is_none() {
        return false;
    }
    let mut depth = 0_usize;
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let Some(len) = string_len(after) else {
                    return false;
                };
                let after_string = &after[len + 1..];
                let is_name = after_string.trim_ascii_start().first() == Some(&b':');
                if depth == 1 && is_name && &after[..len] == b"lastUpdateId" {
                    return true;
                }
                rest = after_string;
                continue;
            }
            _ => {}
        }
        rest = after;
    }
    false
}

/// Length of a string up to its closing quote; `None` when there is none.
fn string_len(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}
