//! What stands in `data`: levels, trades, bars.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, SeqAccess, Visitor};

use crate::event::{BookLevel, Event, EventSink, Kline, Side, Skipped, Ticker, Trade, TradeId};
use crate::exchange::DecodeError;
use crate::instrument::{Instrument, InstrumentId};
use crate::num::{Price, Qty};
use crate::time::Level;

use super::answer;
use super::frame::{Frame, Text, stamp};
use super::number::{fixed, wide};

/// Digits after the point of an instrument's prices and quantities.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales {
    price: u8,
    qty: u8,
}

impl Scales {
    pub(super) fn of(instrument: &Instrument) -> Self {
        Self {
            price: instrument.price_scale,
            qty: instrument.qty_scale,
        }
    }

    pub(super) fn price(self, text: &str, field: &'static str) -> Result<Price, DecodeError> {
        fixed(text, self.price, field).map(Price)
    }

    pub(super) fn qty(self, text: &str, field: &'static str) -> Result<Qty, DecodeError> {
        fixed(text, self.qty, field).map(Qty)
    }

    pub(super) fn value(self, text: &str, field: &'static str) -> Result<i128, DecodeError> {
        wide(text, self.price.saturating_add(self.qty), field)
    }
}

/// Levels of a message, between two messages empty.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    pub(super) bids: Vec<BookLevel>,
    pub(super) asks: Vec<BookLevel>,
}

/// Keeps the first error of ours and gives serde one of its own.
fn keep<T, E: serde::de::Error>(
    result: Result<T, DecodeError>,
    fault: &mut Option<DecodeError>,
) -> Result<T, E> {
    result.map_err(|error| {
        fault.get_or_insert(error);
        E::custom("out of range")
    })
}

/// `{"s":"BTCUSDT","b":[["16493.50","0.006"]],"a":[],"u":18521288,"seq":7961638724}`
struct BookSeed<'b> {
    scales: Scales,
    buffers: &'b mut Buffers,
    fault: &'b mut Option<DecodeError>,
}

/// Field names of a book that mean something.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
enum BookKey {
    #[serde(rename = "b")]
    Bids,
    #[serde(rename = "a")]
    Asks,
    #[serde(rename = "u")]
    Update,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for BookSeed<'_> {
    /// The update id, and which of the sides were there.
    type Value = (Option<u64>, bool, bool);

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for BookSeed<'_> {
    type Value = (Option<u64>, bool, bool);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a book")
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Self {
            scales,
            buffers,
            fault,
        } = self;
        buffers.bids.clear();
        buffers.asks.clear();
        let (mut update, mut has_bids, mut has_asks) = (None, false, false);
        while let Some(key) = map.next_key::<BookKey>()? {
            let (levels, field, is_there) = match key {
                BookKey::Bids => (&mut buffers.bids, "b", &mut has_bids),
                BookKey::Asks => (&mut buffers.asks, "a", &mut has_asks),
                BookKey::Update => {
                    update = Some(map.next_value::<u64>()?);
                    continue;
                }
                BookKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // Of a field that stands twice the last one counts.
            levels.clear();
            *is_there = true;
            map.next_value_seed(LevelsSeed {
                scales,
                levels,
                field,
                fault,
            })?;
        }
        Ok((update, has_bids, has_asks))
    }
}

/// `[["16493.50","0.006"],…]`
struct LevelsSeed<'b> {
    scales: Scales,
    levels: &'b mut Vec<BookLevel>,
    field: &'static str,
    fault: &'b mut Option<DecodeError>,
}

impl<'de> DeserializeSeed<'de> for LevelsSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for LevelsSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("levels")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(Row(price, qty)) = rows.next_element::<Row<'de>>()? {
            let price = keep(self.scales.price(&price.0, self.field), self.fault)?;
            let qty = keep(self.scales.qty(&qty.0, self.field), self.fault)?;
            self.levels.push(BookLevel { price, qty });
        }
        Ok(())
    }
}

/// `["16493.50","0.006"]`; what follows in a row is not needed.
struct Row<'a>(Text<'a>, Text<'a>);

impl<'de> Deserialize<'de> for Row<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Pair;

        impl<'de> Visitor<'de> for Pair {
            type Value = Row<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a price and a quantity")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<Row<'de>, A::Error> {
                let short = || A::Error::custom("the level ends early");
                let price = row.next_element()?.ok_or_else(short)?;
                let qty = row.next_element()?.ok_or_else(short)?;
                while row.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Row(price, qty))
            }
        }

        input.deserialize_seq(Pair)
    }
}

/// Reads a book's levels into `buffers` and gives its `u`.
pub(super) fn book(
    frame: &Frame<'_>,
    scales: Scales,
    buffers: &mut Buffers,
) -> Result<u64, DecodeError> {
    read_book(frame.data()?.get(), scales, buffers)
}

/// [`book`] of the text of an object.
pub(super) fn read_book(
    text: &str,
    scales: Scales,
    buffers: &mut Buffers,
) -> Result<u64, DecodeError> {
    let mut fault = None;
    let seed = BookSeed {
        scales,
        buffers,
        fault: &mut fault,
    };
    let mut input = serde_json::Deserializer::from_str(text);
    let found = seed.deserialize(&mut input);
    let (update, has_bids, has_asks) = found
        .map_err(|error| fault.unwrap_or_else(|| answer::fault(&error, text.as_bytes(), "data")))?;
    let missing = |field| DecodeError::Field { field };
    if !has_bids {
        return Err(missing("b"));
    }
    if !has_asks {
        return Err(missing("a"));
    }
    update.ok_or(missing("u"))
}

/// The best bid and ask out of `orderbook.1`, which has images only.
///
/// Its `u` is not the one of deeper books, so that the two can't be compared by it.
pub(super) fn touch(
    frame: &Frame<'_>,
    scales: Scales,
    buffers: &mut Buffers,
) -> Result<Ticker, DecodeError> {
    if !frame.is_snapshot()? {
        return Err(DecodeError::Field { field: "type" });
    }
    let ts_event = frame.match_time()?;
    book(frame, scales, buffers)?;
    Ok(Ticker {
        seq: None,
        bid: buffers.bids.first().copied().unwrap_or_default(),
        ask: buffers.asks.first().copied().unwrap_or_default(),
        ts_event: Some(ts_event),
    })
}

/// An array whose elements are given to `each`, one by one.
struct Each<'b, T, F> {
    each: F,
    fault: &'b mut Option<DecodeError>,
    element: PhantomData<T>,
}

impl<'de, T, F> DeserializeSeed<'de> for Each<'_, T, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<(), DecodeError>,
{
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de, T, F> Visitor<'de> for Each<'_, T, F>
where
    T: Deserialize<'de>,
    F: FnMut(T) -> Result<(), DecodeError>,
{
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<T>()? {
            keep((self.each)(row), self.fault)?;
        }
        Ok(())
    }
}

/// Gives the elements of `data` to `each` until one can't be read.
fn for_each<'de, T: Deserialize<'de>>(
    frame: &Frame<'de>,
    each: impl FnMut(T) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let text = frame.data()?.get();
    let mut fault = None;
    let seed = Each {
        each,
        fault: &mut fault,
        element: PhantomData,
    };
    let mut input = serde_json::Deserializer::from_str(text);
    seed.deserialize(&mut input)
        .map_err(|error| fault.unwrap_or_else(|| answer::fault(&error, text.as_bytes(), "data")))
}

/// An element of `publicTrade`.
#[derive(Deserialize)]
struct TradeItem<'a> {
    #[serde(rename = "T")]
    time: u64,
    #[serde(borrow, rename = "S")]
    side: Text<'a>,
    #[serde(borrow, rename = "v")]
    qty: Text<'a>,
    #[serde(borrow, rename = "p")]
    price: Text<'a>,
    #[serde(borrow, rename = "i")]
    id: Text<'a>,
    #[serde(default, rename = "BT")]
    is_block: bool,
}

/// Delivers the trades of a message in its order; those before one that can't be read too.
pub(super) fn trades(
    frame: &Frame<'_>,
    id: InstrumentId,
    scales: Scales,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    for_each(frame, |item: TradeItem<'_>| {
        if item.is_block {
            // Agreed on outside of the book, at a price of its own: not a match of this market.
            sink.skipped(Skipped::UnknownKind);
            return Ok(());
        }
        let trade = Trade {
            trade_id: TradeId::parse(&item.id.0),
            price: scales.price(&item.price.0, "p")?,
            qty: scales.qty(&item.qty.0, "v")?,
            taker_side: side(&item.side.0, "S")?,
            ts_event: stamp(item.time).ok_or(DecodeError::Field { field: "T" })?,
            is_aggregate: false,
        };
        sink.event(id, Event::Trade(trade));
        Ok(())
    })
}

/// `Buy` and `Sell`: the taker's side in trades.
pub(super) fn side(text: &str, field: &'static str) -> Result<Side, DecodeError> {
    match text {
        "Buy" => Ok(Side::Buy),
        "Sell" => Ok(Side::Sell),
        _ => Err(DecodeError::Field { field }),
    }
}

/// An element of `kline`.
#[derive(Deserialize)]
struct KlineItem<'a> {
    start: u64,
    #[serde(borrow)]
    open: Text<'a>,
    #[serde(borrow)]
    close: Text<'a>,
    #[serde(borrow)]
    high: Text<'a>,
    #[serde(borrow)]
    low: Text<'a>,
    #[serde(borrow)]
    volume: Text<'a>,
    #[serde(borrow)]
    turnover: Text<'a>,
    confirm: bool,
}

/// Delivers the bars of a message in its order; those before one that can't be read too.
pub(super) fn klines(
    frame: &Frame<'_>,
    id: InstrumentId,
    level: Level,
    scales: Scales,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let ts_event = frame.time()?;
    for_each(frame, |item: KlineItem<'_>| {
        let kline = Kline {
            level,
            open_time: stamp(item.start).ok_or(DecodeError::Field { field: "start" })?,
            open: scales.price(&item.open.0, "open")?,
            high: scales.price(&item.high.0, "high")?,
            low: scales.price(&item.low.0, "low")?,
            close: scales.price(&item.close.0, "close")?,
            volume: scales.qty(&item.volume.0, "volume")?,
            volume_quote: Some(scales.value(&item.turnover.0, "turnover")?),
            // Not told, neither here nor in the history.
            trade_count: None,
            is_closed: item.confirm,
            ts_event,
        };
        sink.event(id, Event::Kline(kline));
        Ok(())
    })
}
