//! Frames and answers under Coinbase's own field names.
//!
//! Texts are borrowed from what is read. Every field is optional here: which ones a message can't
//! do without is for those to say who know what it means. Unknown fields appear often and are
//! passed over; `client_id` is one of them, in documents and absent on the wire.
//!
//! Source: WebSocket channel pages and AsyncAPI document of the Advanced Trade API (2026-07),
//! recorded frames of 2026-08.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::ops::Deref;

use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::event::BookLevel;
use crate::exchange::DecodeError;

use super::symbols::Symbol;

/// A text that is borrowed where it has no escapes, also inside an [`Option`].
#[derive(Debug, Deserialize)]
pub(super) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A frame of a connection: `{"channel":"ticker","timestamp":…,"sequence_num":…,"events":[…]}`, or
/// `{"type":"error","message":…}`.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow)]
    pub(super) channel: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) timestamp: Option<Text<'a>>,
    pub(super) sequence_num: Option<u64>,
    #[serde(borrow)]
    pub(super) events: Option<Vec<FrameEvent<'a>>>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) message: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) reason: Option<Text<'a>>,
}

/// An element of `events`; which members it has depends on the channel.
///
/// Lists stay text until the message is known to be wanted: a book's first image is 5 MB.
#[derive(Deserialize)]
pub(super) struct FrameEvent<'a> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) product_id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) updates: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) trades: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) tickers: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) candles: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) subscriptions: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) orders: Option<&'a RawValue>,
}

/// A match, of a channel or of REST.
#[derive(Deserialize)]
pub(super) struct TradeRow<'a> {
    #[serde(borrow)]
    pub(super) product_id: Text<'a>,
    #[serde(borrow)]
    pub(super) trade_id: Text<'a>,
    #[serde(borrow)]
    pub(super) price: Text<'a>,
    #[serde(borrow)]
    pub(super) size: Text<'a>,
    #[serde(borrow)]
    pub(super) time: Text<'a>,
    /// The maker's.
    #[serde(borrow)]
    pub(super) side: Text<'a>,
}

/// Best bid and ask among a day's figures. `ticker_batch` lacks the former.
#[derive(Deserialize)]
pub(super) struct TickerRow<'a> {
    #[serde(borrow)]
    pub(super) product_id: Text<'a>,
    #[serde(borrow)]
    pub(super) best_bid: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) best_bid_quantity: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) best_ask: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) best_ask_quantity: Option<Text<'a>>,
}

/// A bar, of a channel or, without `product_id`, of REST.
#[derive(Deserialize)]
pub(super) struct CandleRow<'a> {
    /// Epoch seconds as text.
    #[serde(borrow)]
    pub(super) start: Text<'a>,
    #[serde(borrow)]
    pub(super) high: Text<'a>,
    #[serde(borrow)]
    pub(super) low: Text<'a>,
    #[serde(borrow)]
    pub(super) open: Text<'a>,
    #[serde(borrow)]
    pub(super) close: Text<'a>,
    #[serde(borrow)]
    pub(super) volume: Text<'a>,
    #[serde(borrow)]
    pub(super) product_id: Option<Text<'a>>,
}

/// A level of a book.
#[derive(Deserialize)]
struct LevelRow<'a> {
    #[serde(borrow)]
    side: Text<'a>,
    #[serde(borrow)]
    price_level: Text<'a>,
    #[serde(borrow)]
    new_quantity: Text<'a>,
}

/// Levels in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) bids: Vec<BookLevel>,
    pub(super) asks: Vec<BookLevel>,
}

/// Levels that a quiet book's buffers keep room for between frames.
const LEVELS_KEPT: usize = 1_024;

impl Levels {
    /// Reads a list of `updates`; nothing is allocated for a level.
    ///
    /// # Errors
    /// [`DecodeError`] when one of them can't be read or does not fit the instrument's scales.
    pub(super) fn read(&mut self, updates: &RawValue, symbol: Symbol) -> Result<(), DecodeError> {
        self.bids.clear();
        self.asks.clear();
        let mut wrong = None;
        let reader = LevelReader {
            symbol,
            levels: self,
            wrong: &mut wrong,
        };
        let mut json = serde_json::Deserializer::from_str(updates.get());
        match reader.deserialize(&mut json) {
            Ok(()) => Ok(()),
            Err(_) => Err(wrong.unwrap_or(DecodeError::Field { field: "updates" })),
        }
    }

    /// Makes an image of what was read: best first, and only levels that hold something.
    pub(super) fn settle(&mut self) {
        for side in [&mut self.bids, &mut self.asks] {
            side.retain(|level| level.qty.0 != 0);
        }
        // As they come; sorted levels cost one comparison each.
        self.bids.sort_by_key(|level| Reverse(level.price));
        self.asks.sort_by_key(|level| level.price);
    }

    /// Gives the memory of a first image back: a connection's books have one each, and only one.
    pub(super) fn shrink(&mut self) {
        for side in [&mut self.bids, &mut self.asks] {
            side.clear();
            side.shrink_to(LEVELS_KEPT);
        }
    }
}

struct LevelReader<'a> {
    symbol: Symbol,
    levels: &'a mut Levels,
    /// The reason behind serde's error, which holds only text.
    wrong: &'a mut Option<DecodeError>,
}

impl<'de> DeserializeSeed<'de> for LevelReader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for LevelReader<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of levels")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        while let Some(row) = rows.next_element::<LevelRow<'de>>()? {
            let read = || -> Result<BookLevel, DecodeError> {
                Ok(BookLevel {
                    price: self.symbol.price(&row.price_level, "price_level")?,
                    qty: self.symbol.qty(&row.new_quantity, "new_quantity")?,
                })
            };
            let side = match &*row.side {
                "bid" => &mut self.levels.bids,
                "offer" => &mut self.levels.asks,
                _ => {
                    *self.wrong = Some(DecodeError::Field { field: "side" });
                    return Err(A::Error::custom("side"));
                }
            };
            match read() {
                Ok(level) => side.push(level),
                Err(error) => {
                    *self.wrong = Some(error);
                    return Err(A::Error::custom("level"));
                }
            }
        }
        Ok(())
    }
}

/// The subscriptions of a connection: `{"level2":["BTC-USD"],"heartbeats":["heartbeats"]}`.
pub(super) type Subscriptions = std::collections::BTreeMap<String, Vec<String>>;

/// Reads a whole text; `field` is named when it is JSON of another shape.
///
/// # Errors
/// [`DecodeError::Json`] or [`DecodeError::Field`].
pub(super) fn read<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    field: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| {
        if error.is_data() {
            return DecodeError::Field { field };
        }
        let starts = memchr::memchr_iter(b'\n', body).map(|at| at + 1);
        let line = std::iter::once(0)
            .chain(starts)
            .nth(error.line().saturating_sub(1));
        let at = line.unwrap_or(0) + error.column().saturating_sub(1);
        DecodeError::Json {
            at: at.min(body.len()),
        }
    })
}

/// Reads a list inside a frame.
///
/// # Errors
/// [`DecodeError::Field`] naming it.
pub(super) fn rows<'a, T: Deserialize<'a>>(
    raw: &'a RawValue,
    field: &'static str,
) -> Result<Vec<T>, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|_| DecodeError::Field { field })
}

/// Reads an owned value inside a frame.
///
/// # Errors
/// [`DecodeError::Field`] naming it.
pub(super) fn owned<T: DeserializeOwned>(
    raw: &RawValue,
    field: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_str(raw.get()).map_err(|_| DecodeError::Field { field })
}

/// The first product that a frame names, whatever its channel.
pub(super) fn product(frame: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        product_id: Text<'a>,
    }
    let frame: Frame<'_> = serde_json::from_slice(frame).ok()?;
    let found = frame.events?.into_iter().find_map(|event| {
        let lists = [event.trades, event.tickers, event.candles];
        let of_list = || {
            let list = lists.into_iter().flatten().next()?;
            let rows: Vec<Named<'_>> = serde_json::from_str(list.get()).ok()?;
            rows.first().map(|row| row.product_id.to_owned())
        };
        let own = event.product_id.as_deref().map(str::to_owned);
        own.or_else(of_list)
    })?;
    let is_product = !found.is_empty() && found.chars().count() <= 64;
    is_product.then_some(found)
}
