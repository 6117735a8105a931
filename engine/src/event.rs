//! Normalised market events: what every exchange's frames become.
//!
//! Prices and quantities are mantissas at the scales of the event's instrument. Nothing here
//! allocates; levels are borrowed from the decoder's reused buffers.

use std::fmt;

use crate::instrument::InstrumentId;
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

/// Direction of an order, or of a trade's taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Buys the base asset.
    Buy,
    /// Sells the base asset.
    Sell,
}

impl Side {
    /// `buy`, `sell`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// Place of a level in a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookSide {
    /// Orders to buy, highest price first.
    Bid,
    /// Orders to sell, lowest price first.
    Ask,
}

/// One row of a book: the absolute quantity at a price, 0 = the level is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BookLevel {
    /// The level's price.
    pub price: Price,
    /// All that rests there; 0 removes the level.
    pub qty: Qty,
}

/// Changes of a book between two sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookDelta<'a> {
    /// First sequence number that the delta covers (Binance `U`).
    pub first_seq: u64,
    /// Last sequence number that the delta covers (Binance `u`).
    pub last_seq: u64,
    /// `last_seq` of the delta before, where the exchange sends it (Binance USDⓈ-M `pu`).
    pub prev_seq: Option<u64>,
    /// The exchange's event time.
    pub ts_event: TsNanos,
    /// Changed bids, in the exchange's order.
    pub bids: &'a [BookLevel],
    /// Changed asks, in the exchange's order.
    pub asks: &'a [BookLevel],
}

/// A whole book that came by the stream: it replaces what was there, whatever its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookImage<'a> {
    /// The exchange's sequence number of the image.
    pub seq: u64,
    /// The exchange's event time.
    pub ts_event: TsNanos,
    /// Bids, best first.
    pub bids: &'a [BookLevel],
    /// Asks, best first.
    pub asks: &'a [BookLevel],
}

/// A whole book at a sequence number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookSnapshot {
    /// The exchange's sequence number of the image (Binance `lastUpdateId`).
    pub seq: u64,
    /// The exchange's time, where it sends one.
    pub ts_event: Option<TsNanos>,
    /// Bids, best first.
    pub bids: Vec<BookLevel>,
    /// Asks, best first.
    pub asks: Vec<BookLevel>,
}

/// Longest text of a [`TradeId`], bytes.
const TRADE_TEXT_MAX: usize = 71;

/// An exchange's text for a trade, kept inline so that trades stay values.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TradeText {
    len: u8,
    bytes: [u8; TRADE_TEXT_MAX],
}

impl TradeText {
    /// The text. A longer one than 71 bytes is replaced by the hexadecimal SHA-256 of it, which is
    /// as unique and fits.
    #[must_use]
    pub fn new(text: &str) -> Self {
        use std::fmt::Write as _;
        let mut kept = Self {
            len: 0,
            bytes: [0; TRADE_TEXT_MAX],
        };
        if text.len() <= TRADE_TEXT_MAX {
            kept.push(text.as_bytes());
            return kept;
        }
        let digest = <sha2::Sha256 as sha2::Digest>::digest(text.as_bytes());
        let mut hex = String::with_capacity(64);
        for byte in digest {
            // Writing to a string can't fail.
            let _ = write!(hex, "{byte:02x}");
        }
        kept.push(hex.as_bytes());
        kept
    }

    fn push(&mut self, text: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().zip(text) {
            *place = *byte;
            self.len += 1;
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.len)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for TradeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

/// An exchange's id of a trade: a number with Binance, OKX, Coinbase and Bybit's spot market, a
/// UUID with Bybit's perpetuals, any text elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TradeId {
    /// A number without sign and leading zeros.
    Number(u64),
    /// A UUID in its usual form: hyphens, lower case.
    Uuid(u128),
    /// Anything else.
    Text(TradeText),
}

impl TradeId {
    /// The id of an exchange's text. Printing it gives the text back (see [`TradeText::new`] for
    /// those that are too long).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.parse::<u64>() {
            Ok(number) if text == "0" || !text.starts_with(['0', '+']) => Self::Number(number),
            _ => match uuid(text) {
                Some(value) => Self::Uuid(value),
                None => Self::Text(TradeText::new(text)),
            },
        }
    }

    /// The number, where the id is one.
    #[must_use]
    pub const fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Uuid(_) | Self::Text(_) => None,
        }
    }
}

/// The value of `20f43950-d8dd-5b31-9112-a178eb6023af`; `None` for any other form.
fn uuid(text: &str) -> Option<u128> {
    if text.len() != 36 {
        return None;
    }
    let mut value = 0u128;
    for (at, byte) in text.bytes().enumerate() {
        let digit = match byte {
            b'-' if matches!(at, 8 | 13 | 18 | 23) => continue,
            _ if matches!(at, 8 | 13 | 18 | 23) => return None,
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(value)
}

impl From<u64> for TradeId {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl fmt::Display for TradeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text.as_str()),
            Self::Uuid(value) => write!(
                f,
                "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
                value >> 96,
                value >> 80 & 0xffff,
                value >> 64 & 0xffff,
                value >> 48 & 0xffff,
                value & 0xffff_ffff_ffff
            ),
        }
    }
}

/// A public match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The exchange's id, unique per instrument and kind; numbers increase.
    pub trade_id: TradeId,
    /// Price of the match.
    pub price: Price,
    /// Quantity in base units.
    pub qty: Qty,
    /// The taker's side.
    pub taker_side: Side,
    /// The exchange's time of the match.
    pub ts_event: TsNanos,
    /// True for an aggregate of one taker order's fills, false for a single match. The two kinds
    /// have separate ids and must not be mixed.
    pub is_aggregate: bool,
}

/// A bar as the exchange computes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kline {
    /// Bar length.
    pub level: Level,
    /// Start of the bar.
    pub open_time: TsNanos,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Traded quantity in base units, at `qty_scale`.
    pub volume: Qty,
    /// Traded value in quote units, at `price_scale + qty_scale`; wider than 64 bits in real data.
    /// `None` where the exchange does not tell it (Coinbase).
    pub volume_quote: Option<i128>,
    /// Number of single matches; `None` where the exchange does not tell it.
    pub trade_count: Option<u64>,
    /// The bar will not change any more.
    pub is_closed: bool,
    /// When the exchange sent this state of the bar.
    pub ts_event: TsNanos,
}

/// Best bid and ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticker {
    /// The book's sequence number that this top belongs to, where the exchange sends it.
    pub seq: Option<u64>,
    /// Best bid; quantity 0 when that side is empty.
    pub bid: BookLevel,
    /// Best ask; quantity 0 when that side is empty.
    pub ask: BookLevel,
    /// The exchange's time; `None` where it sends none (Binance spot).
    pub ts_event: Option<TsNanos>,
}

/// Mark price and funding of a perpetual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Funding {
    /// Rate that will be charged at `next_funding_time`, a fraction at scale 12; `None`: none sent.
    pub rate: Option<i64>,
    /// Mark price at scale 8 (it is not on the instrument's price step).
    pub mark_price: i64,
    /// Index price at scale 8; `None`: not sent.
    pub index_price: Option<i64>,
    /// Next settlement; `None` for instruments without funding.
    pub next_funding_time: Option<TsNanos>,
    /// The exchange's event time.
    pub ts_event: TsNanos,
}

impl Funding {
    /// Scale of [`Funding::rate`].
    pub const RATE_SCALE: u8 = 12;
    /// Scale of [`Funding::mark_price`] and [`Funding::index_price`].
    pub const PRICE_SCALE: u8 = 8;
}

/// A normalised market event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Changes of the book.
    Book(BookDelta<'a>),
    /// The whole book.
    BookImage(BookImage<'a>),
    /// A match.
    Trade(Trade),
    /// A bar, forming or closed.
    Kline(Kline),
    /// Best bid and ask.
    Ticker(Ticker),
    /// Mark price and funding.
    Funding(Funding),
}

/// What an exchange says on a connection besides market data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    /// A request succeeded.
    Ack {
        /// Our request id.
        id: u64,
    },
    /// One stream has been subscribed or unsubscribed (OKX answers each by name).
    StreamAck {
        /// Our [`crate::exchange::NativeStream::name`] of it.
        stream: String,
        /// Subscribed, or unsubscribed.
        is_subscribed: bool,
    },
    /// A request failed.
    Error {
        /// Our request id, where the exchange repeats it.
        id: Option<u64>,
        /// Our name of the stream that was refused, where the exchange tells it.
        stream: Option<String>,
        /// The exchange's code.
        code: i64,
        /// The exchange's text.
        message: String,
    },
    /// A stream that was subscribed has ended (the bridge to ccxt): it has to be asked for again.
    StreamLost {
        /// Our name of it.
        stream: String,
        /// Why.
        reason: String,
    },
    /// All that is subscribed on this connection.
    Subscriptions {
        /// Our request id, where the exchange repeats it.
        id: Option<u64>,
        /// Native stream names.
        streams: Vec<String>,
    },
    /// Frames of this connection were lost (Coinbase `sequence_num`): everything it carries is
    /// suspect.
    Lost {
        /// Number that had to come next.
        expected: u64,
        /// The one that came in its place.
        got: u64,
    },
    /// A book failed the exchange's own check (OKX `checksum`): it has to be fetched anew.
    BadBook {
        /// Whose.
        instrument: InstrumentId,
    },
    /// The exchange is being maintained, or will be.
    Maintenance {
        /// Its text.
        message: String,
    },
    /// The exchange will close the connection soon: reconnect now.
    Shutdown,
    /// A heartbeat of the exchange inside the data channel; proves nothing about data.
    Heartbeat,
}

/// Receives what a decoder finds in a frame, in the frame's order.
pub trait EventSink {
    /// A market event of an instrument.
    fn event(&mut self, instrument: InstrumentId, event: Event<'_>);
    /// A control message.
    fn control(&mut self, control: Control);
    /// Something well-formed that this decoder leaves out: `kind` names the message kind or the
    /// unknown symbol's reason. Counted, never silent.
    fn skipped(&mut self, kind: Skipped);
}

/// Why a well-formed message produced no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skipped {
    /// Its symbol is not in the instrument table.
    UnknownSymbol,
    /// A message kind that nobody asked for.
    UnknownKind,
    /// A bar level that the contract does not serve (Binance `1s`, `3m`, …).
    UnservedLevel,
    /// Another product line's symbol on a merged stream (Binance `st` ≠ 1).
    OtherMarket,
    /// What happened before the subscription (Coinbase's first list of trades and bars).
    History,
    /// A frame that has been seen already (Coinbase `sequence_num`).
    Duplicate,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ids_come_back_as_they_were_written() {
        for text in [
            "0",
            "7",
            "007",
            "+7",
            "",
            "18446744073709551615",
            "18446744073709551616",
            "20f43950-d8dd-5b31-9112-a178eb6023af",
            "00000000-0000-0000-0000-000000000000",
            "20F43950-D8DD-5B31-9112-A178EB6023AF",
            "20f43950ad8dd-5b31-9112-a178eb6023af",
            "TXID-42",
        ] {
            assert_eq!(TradeId::parse(text).to_string(), text);
        }
        let kind = |text| TradeId::parse(text);
        assert!(matches!(kind("42"), TradeId::Number(42)));
        assert!(matches!(
            kind("20f43950-d8dd-5b31-9112-a178eb6023af"),
            TradeId::Uuid(0x20f4_3950_d8dd_5b31_9112_a178_eb60_23af)
        ));
        assert!(matches!(kind("007"), TradeId::Text(_)));
    }

    #[test]
    fn a_text_that_is_too_long_becomes_its_digest() {
        let long = "a".repeat(72);
        let id = TradeId::parse(&long);
        assert_eq!(id.to_string().len(), 64);
        assert_eq!(id, TradeId::parse(&long));
        assert_ne!(id, TradeId::parse(&"a".repeat(73)));
        assert_eq!(TradeId::parse(&"a".repeat(71)).to_string(), "a".repeat(71));
    }

    proptest! {
        #[test]
        fn any_short_text_comes_back(text in ".{0,17}") {
            prop_assert_eq!(TradeId::parse(&text).to_string(), text);
        }

        #[test]
        fn any_uuid_comes_back(value in any::<u128>()) {
            let id = TradeId::Uuid(value);
            prop_assert_eq!(TradeId::parse(&id.to_string()), id);
        }
    }
}
