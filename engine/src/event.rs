//! Normalised market events: what every exchange's frames become.
//!
//! Prices and quantities are mantissas at the scales of the event's instrument. Nothing here
//! allocates; levels are borrowed from the decoder's reused buffers.

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

/// A public match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// The exchange's id, increasing per instrument and kind.
    pub trade_id: u64,
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
    pub volume_quote: i128,
    /// Number of single matches.
    pub trade_count: u64,
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
    /// A request failed.
    Error {
        /// Our request id, where the exchange repeats it.
        id: Option<u64>,
        /// The exchange's code.
        code: i64,
        /// The exchange's text.
        message: String,
    },
    /// An answer to a list of subscriptions.
    Subscriptions {
        /// Our request id.
        id: u64,
        /// Native stream names.
        streams: Vec<String>,
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
}
