//! What the market tells: events in time order.

use super::funding::{FundingRate, PremiumIndex};
use super::instrument::{InstrumentIx, Notional, Price, Qty};

/// Place in a book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookSide {
    /// Buyers.
    Bid,
    /// Sellers.
    Ask,
}

/// Direction of an order, or of the taker of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Buy.
    Buy,
    /// Sell.
    Sell,
}

impl Side {
    /// The side of the book such an order rests on.
    #[must_use]
    pub const fn rests_on(self) -> BookSide {
        match self {
            Side::Buy => BookSide::Bid,
            Side::Sell => BookSide::Ask,
        }
    }

    /// The other direction.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        }
    }
}

/// Order number, unique and rising within an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u64);

/// Who an order belongs to. [`OwnerId::HOUSE`] is the simulated crowd; accounts take the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerId(pub u32);

impl OwnerId {
    /// The simulated crowd.
    pub const HOUSE: Self = Self(0);
}

/// One price level changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BookChange {
    /// Number of this change. Spot: the previous one + 1. Linear: jumps.
    pub update_id: u64,
    /// Number of the change before it in this book.
    pub prev_update_id: u64,
    /// Side of the book.
    pub side: BookSide,
    /// The level.
    pub price: Price,
    /// New total quantity; 0 when the level is gone.
    pub qty: Qty,
}

/// One match between a taker and one resting order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Trade {
    /// Consecutive within the instrument.
    pub id: u64,
    /// Price of the resting order.
    pub price: Price,
    /// Quantity.
    pub qty: Qty,
    /// Direction of the taker.
    pub taker_side: Side,
    /// Match time, Unix µs.
    pub ts_us: i64,
}

/// All matches of one taker order at one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AggTrade {
    /// Consecutive within the instrument.
    pub id: u64,
    /// First trade id covered.
    pub first_trade_id: u64,
    /// Last trade id covered.
    pub last_trade_id: u64,
    /// Price.
    pub price: Price,
    /// Sum of the quantities.
    pub qty: Qty,
    /// Direction of the taker.
    pub taker_side: Side,
    /// Match time, Unix µs.
    pub ts_us: i64,
}

/// Best bid and ask after an order was handled; `None` when a side is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Bbo {
    /// The last [`BookChange::update_id`] before it: comparable with depth events.
    pub update_id: u64,
    /// Best bid and its quantity.
    pub bid: Option<(Price, Qty)>,
    /// Best ask and its quantity.
    pub ask: Option<(Price, Qty)>,
}

/// A part of an account's order was executed (never told for [`OwnerId::HOUSE`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fill {
    /// Whose order.
    pub owner: OwnerId,
    /// The order.
    pub order_id: OrderId,
    /// The public trade.
    pub trade_id: u64,
    /// Direction of this order.
    pub side: Side,
    /// Execution price.
    pub price: Price,
    /// Executed now.
    pub qty: Qty,
    /// Still open after it.
    pub left: Qty,
    /// Whether this order was resting.
    pub is_maker: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// A level changed. For one taker order: per price its trades, the aggregate, the change.
    Book(BookChange),
    /// A match.
    Trade(Trade),
    /// A taker's matches at one price, after them.
    AggTrade(AggTrade),
    /// The touch changed; at most one per order or cancel, after its changes.
    Bbo(Bbo),
    /// An account's order was executed; follows its trade.
    Fill(Fill),
    /// Mark, index and coming funding of a future, once a second of market time.
    Mark(PremiumIndex),
    /// Funding was settled; precedes the mark of that second.
    Funding(FundingRate),
}

/// Something that happened to an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// The instrument.
    pub instrument: InstrumentIx,
    /// When, Unix µs of market time; never before the event ahead of it.
    pub ts_us: i64,
    /// What.
    pub kind: EventKind,
}

/// Rolling 24 hours at minute resolution: the 1440 minute bars up to and with the running one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticker24h {
    /// Open time of the first bar, Unix ms.
    pub open_ms: i64,
    /// Now, Unix ms.
    pub close_ms: i64,
    /// First price.
    pub open: Price,
    /// Highest.
    pub high: Price,
    /// Lowest.
    pub low: Price,
    /// Last price.
    pub last: Price,
    /// Quantity of the last trade; 0 when none is kept.
    pub last_qty: Qty,
    /// Close of the bar before the window: what the venue calls previous close.
    pub prev_close: Price,
    /// Base volume in lots.
    pub volume: Qty,
    /// Quote volume.
    pub quote_volume: Notional,
    /// First and last trade id of the window, when it has trades.
    pub trade_ids: Option<(u64, u64)>,
    /// Number of trades.
    pub trades: u64,
}
