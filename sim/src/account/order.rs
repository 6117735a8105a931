//! Orders, fills, and what is told about them.

use rust_decimal::Decimal;

use super::funds::Wallet;
use super::position::PositionRow;
use crate::market::{
    Instrument, InstrumentIx, Notional, OrderId, OrderKind, OwnerId, Price, Qty, Segment, Side,
    TimeInForce,
};

/// Number of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AccountId(pub(crate) u32);

impl AccountId {
    /// The account as the market knows it.
    pub(crate) const fn owner(self) -> OwnerId {
        OwnerId(self.0 + 1)
    }
}

/// Number of an order, unique and rising over the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OrderNo(pub(crate) u64);

/// Which position of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum PositionSide {
    /// The only one; spot too.
    Both,
    /// The long one of a hedged account.
    Long,
    /// The short one of a hedged account.
    Short,
}

/// What an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TriggerBy {
    /// Price of the last trade.
    Last,
    /// Mark price of a future.
    Mark,
    /// Index price of a future.
    Index,
}

/// A price that wakes an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub(crate) price: Price,
    /// It wakes at this price or higher; else at this price or lower.
    pub(crate) rises: bool,
    pub(crate) by: TriggerBy,
}

/// How much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// So many lots.
    Base(Qty),
    /// As much as can be had for (or: as brings) this much of the quote asset; market orders only.
    Quote(Decimal),
    /// The whole position when the order wakes.
    Position,
}

/// What an account's own resting orders do to its taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SelfTrade {
    /// They trade with each other.
    Allow,
    /// The resting ones expire.
    ExpireMaker,
    /// The taker expires when it meets one.
    ExpireTaker,
    /// Both.
    ExpireBoth,
}

/// An order as it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) ix: InstrumentIx,
    pub(crate) side: Side,
    pub(crate) kind: OrderKind,
    pub(crate) size: Size,
    /// [`PositionSide::Both`] on spot and in one-way mode.
    pub(crate) position: PositionSide,
    pub(crate) reduce_only: bool,
    pub(crate) trigger: Option<Trigger>,
    /// Never empty: an exchange makes one up where the client gave none.
    pub(crate) client_id: String,
    pub(crate) self_trade: SelfTrade,
    /// Of spot: what the account has not is borrowed.
    pub(crate) borrows: bool,
    /// What the exchange wants to remember in its own words.
    pub(crate) native: Vec<(&'static str, String)>,
}

/// A change to an open order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Amend {
    /// New total quantity, the filled part included.
    pub(crate) qty: Option<Qty>,
    pub(crate) price: Option<Price>,
    pub(crate) trigger: Option<Price>,
    pub(crate) client_id: Option<String>,
}

/// Where an order is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OrderState {
    /// For its trigger.
    Waiting,
    New,
    PartiallyFilled,
    Filled,
    Canceled,
    /// Not accepted after all: what was waiting could not go on.
    Rejected,
    Expired,
}

impl OrderState {
    pub(crate) const fn is_open(self) -> bool {
        matches!(self, Self::Waiting | Self::New | Self::PartiallyFilled)
    }
}

/// Why an order ended without being filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndReason {
    /// Its owner took it back.
    User,
    /// Immediate-or-cancel: the rest.
    Immediate,
    /// Fill-or-kill: it could not be filled.
    FillOrKill,
    /// Post-only: it would have taken.
    PostOnly,
    /// A market order found nothing more.
    NoLiquidity,
    /// It met another order of the same account.
    SelfTrade,
    /// There is no position left to reduce.
    ReduceOnly,
    /// The position was liquidated.
    Liquidation,
    /// There was not enough money when it woke.
    Funds,
    /// The countdown ran out.
    Countdown,
    /// It was replaced by another.
    Replaced,
}

impl EndReason {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Immediate => "immediate",
            Self::FillOrKill => "fill_or_kill",
            Self::PostOnly => "post_only",
            Self::NoLiquidity => "no_liquidity",
            Self::SelfTrade => "self_trade",
            Self::ReduceOnly => "reduce_only",
            Self::Liquidation => "liquidation",
            Self::Funds => "funds",
            Self::Countdown => "countdown",
            Self::Replaced => "replaced",
        }
    }
}

/// An order.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) no: OrderNo,
    /// Number of the order that a trigger made, for exchanges that number those apart.
    pub(crate) live_no: Option<OrderNo>,
    pub(crate) account: AccountId,
    pub(crate) segment: Segment,
    pub(crate) ix: InstrumentIx,
    pub(crate) client_id: String,
    pub(crate) side: Side,
    pub(crate) position: PositionSide,
    pub(crate) kind: OrderKind,
    /// As asked for, or what became of it: 0 until an order by value or for a position is placed.
    pub(crate) qty: Qty,
    pub(crate) size: Size,
    pub(crate) reduce_only: bool,
    pub(crate) trigger: Option<Trigger>,
    pub(crate) self_trade: SelfTrade,
    /// What the account has not is borrowed.
    pub(crate) borrows: bool,
    pub(crate) native: Vec<(&'static str, String)>,
    pub(crate) state: OrderState,
    pub(crate) reason: Option<EndReason>,
    pub(crate) filled: Qty,
    /// Price × quantity of that, ticks × lots.
    pub(crate) filled_value: Notional,
    /// Fees paid, in `fee_asset`.
    pub(crate) fee: Decimal,
    pub(crate) fee_asset: Option<String>,
    /// Profit of what it closed.
    pub(crate) realized: Decimal,
    /// Unix ms of market time: placed, went into the book, changed last.
    pub(crate) created_ms: i64,
    pub(crate) working_ms: Option<i64>,
    pub(crate) updated_ms: i64,
    /// When its trigger woke it.
    pub(crate) triggered_ms: Option<i64>,
    /// An order of the exchange's own, to close what the account cannot hold.
    pub(crate) is_liquidation: bool,
    pub(super) book_id: Option<OrderId>,
    /// Money held back for it.
    pub(super) locked: Decimal,
}

impl Order {
    /// Not filled yet.
    pub(crate) const fn left(&self) -> Qty {
        Qty(self.qty.0 - self.filled.0)
    }

    pub(crate) const fn price(&self) -> Option<Price> {
        match self.kind {
            OrderKind::Limit { price, .. } => Some(price),
            OrderKind::Market => None,
        }
    }

    pub(crate) const fn time_in_force(&self) -> Option<TimeInForce> {
        match self.kind {
            OrderKind::Limit { time_in_force, .. } => Some(time_in_force),
            OrderKind::Market => None,
        }
    }

    /// What the exchange remembered under that name.
    pub(crate) fn native(&self, name: &str) -> Option<&str> {
        let mut all = self.native.iter();
        all.find(|(key, _)| *key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Value of what is filled, in the quote asset.
    pub(crate) fn value(&self, it: &Instrument) -> Decimal {
        super::decimal(it.notional(self.filled_value))
    }

    /// Average price of what is filled.
    pub(crate) fn average(&self, it: &Instrument) -> Option<Decimal> {
        let filled = super::decimal(it.qty(self.filled));
        self.value(it).checked_div(filled)
    }
}

/// A part of an order was executed.
#[derive(Clone, Debug)]
pub(crate) struct FillRow {
    /// Of the account, rising over the exchange.
    pub(crate) id: u64,
    pub(crate) account: AccountId,
    pub(crate) no: OrderNo,
    pub(crate) client_id: String,
    pub(crate) segment: Segment,
    pub(crate) ix: InstrumentIx,
    /// The public trade.
    pub(crate) trade_id: u64,
    pub(crate) side: Side,
    pub(crate) position: PositionSide,
    pub(crate) price: Price,
    pub(crate) qty: Qty,
    pub(crate) is_maker: bool,
    pub(crate) fee: Decimal,
    pub(crate) fee_asset: String,
    pub(crate) realized: Decimal,
    /// Unix ms of market time.
    pub(crate) ts_ms: i64,
}

/// What happened to an order.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It was taken, to work or to wait.
    Accepted,
    /// Its trigger woke it.
    Triggered,
    Filled(Box<FillRow>),
    Amended,
    Canceled,
    Expired,
    Rejected,
}

/// Why a balance or a position changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountReason {
    /// Money is held back for an order, or no longer.
    Hold,
    /// A fill.
    Trade,
    /// Fee of a fill.
    Fee,
    /// Profit of a fill.
    Profit,
    Funding,
    Deposit,
    /// Settings of the position.
    Margin,
}

/// A balance as it now is.
#[derive(Clone, Debug)]
pub(crate) struct BalanceRow {
    pub(crate) wallet: Wallet,
    pub(crate) asset: String,
    pub(crate) total: Decimal,
    pub(crate) locked: Decimal,
}

impl BalanceRow {
    pub(crate) fn free(&self) -> Decimal {
        self.total - self.locked
    }
}

/// What is told to an account.
#[derive(Clone, Debug)]
pub(crate) enum PrivateKind {
    /// The order as it is after the change.
    Order { order: Box<Order>, change: Change },
    /// Balances and positions that changed, as they are now.
    Account {
        reason: AccountReason,
        segment: Segment,
        balances: Vec<BalanceRow>,
        positions: Vec<PositionRow>,
    },
    /// Leverage of an instrument was set.
    Leverage { ix: InstrumentIx, leverage: u32 },
}

/// Something that happened to an account.
#[derive(Clone, Debug)]
pub(crate) struct PrivateEvent {
    pub(crate) account: AccountId,
    /// Rising over the exchange.
    pub(crate) seq: u64,
    /// Unix ms of market time.
    pub(crate) ts_ms: i64,
    pub(crate) kind: PrivateKind,
}

/// Why a request is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    UnknownInstrument,
    /// The instrument does not trade.
    NotTrading,
    /// A fault says that no order is taken.
    Closed,
    /// A fault says so, with this code of the exchange's.
    Native(i32),
    PriceRange,
    QtyRange,
    NotionalMin,
    /// Money, margin on futures.
    Funds,
    /// The client's id is in use: by this order.
    DuplicateClientId(OrderNo),
    TooManyOrders,
    /// Post-only and would take.
    WouldTake,
    /// Fill-or-kill and cannot be filled.
    CannotFill,
    /// The trigger price has been passed.
    WouldTrigger,
    /// There is no position to reduce.
    ReduceOnly,
    /// The position's side does not fit the account's mode.
    PositionSide,
    /// Taker of its own order.
    SelfTrade,
    /// No such open order of the account.
    UnknownOrder,
    /// The new quantity is not more than what is filled.
    AmendFilled,
    /// Nothing would change.
    NoChange,
    /// Something that cannot be changed with this order.
    NotAmendable,
    LevelFull,
    Leverage,
    /// Not with open orders.
    HasOrders,
    /// Not with an open position.
    HasPositions,
}
