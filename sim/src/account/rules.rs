//! In what exchanges differ, and the keys of an account.

use std::fmt;

use rust_decimal::Decimal;

use super::Wallet;
use crate::market::Segment;

/// Fees of a market, as shares of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fees {
    pub(crate) maker: Decimal,
    pub(crate) taker: Decimal,
}

/// What a spot fee is paid in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeeIn {
    /// What is received: base when buying, quote when selling.
    Received,
    /// Always the quote asset, on top of what a buyer pays.
    Quote,
}

/// When a client's order id may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientIds {
    /// When the order before has ended.
    UniqueWhileOpen,
    /// Never, as far as the exchange remembers.
    Unique,
}

/// What becomes of an order whose terms cannot be met on arrival (post-only, fill-or-kill).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is refused and never was.
    Refused,
    /// It is taken and ends at once.
    Ended,
}

/// What markets of one exchange differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PerMarket<T> {
    pub(crate) spot: T,
    pub(crate) linear: T,
}

impl<T: Copy> PerMarket<T> {
    pub(crate) fn of(&self, segment: Segment) -> T {
        match segment {
            Segment::Spot => self.spot,
            Segment::Linear => self.linear,
        }
    }
}

/// In what exchanges differ. Amounts are in units of their asset.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// One wallet for all markets, or one for each.
    pub(crate) is_unified: bool,
    /// Balances of a new account.
    pub(crate) balances: Vec<(Segment, &'static str, Decimal)>,
    pub(crate) spot: Fees,
    pub(crate) linear: Fees,
    pub(crate) fee_in: FeeIn,
    pub(crate) client_ids: ClientIds,
    pub(crate) post_only: Admission,
    pub(crate) fill_or_kill: PerMarket<Admission>,
    /// Whether orders that wait for their price on spot hold money back.
    pub(crate) waiting_locks: bool,
    /// Whether an order that could have rested and met another one of its account has been canceled, or else has
    /// expired.
    pub(crate) self_trade_cancels: bool,
    /// Whether an order whose trigger price has been passed already is refused.
    pub(crate) refuses_late_triggers: bool,
    /// Most open orders of an account in an instrument.
    pub(crate) open_orders_max: usize,
    /// Leverage of a position before one is chosen, and the largest.
    pub(crate) leverage: (u32, u32),
    /// Whether accounts begin with long and short held apart.
    pub(crate) is_hedged: bool,
    /// Maintenance margin, as a share of a position's value.
    pub(crate) maintenance: Decimal,
    /// Number of the first order.
    pub(crate) first_order_no: u64,
}

impl Default for Rules {
    /// An account with a little of everything, fees of 0.1 %, and the strictest of the manners.
    fn default() -> Self {
        let both =
            |asset| [Segment::Spot, Segment::Linear].map(|segment| (segment, asset, 100_000_i64));
        let spot = |asset, amount| (Segment::Spot, asset, amount);
        let balances = both("USDT").into_iter().chain([
            spot("BTC", 5),
            spot("ETH", 50),
            spot("SOL", 500),
            spot("DOGE", 500_000),
        ]);
        Self {
            is_unified: false,
            balances: balances
                .map(|(segment, asset, amount)| (segment, asset, Decimal::from(amount)))
                .collect(),
            spot: Fees {
                maker: Decimal::new(1, 3),
                taker: Decimal::new(1, 3),
            },
            linear: Fees {
                maker: Decimal::new(2, 4),
                taker: Decimal::new(5, 4),
            },
            fee_in: FeeIn::Received,
            client_ids: ClientIds::UniqueWhileOpen,
            post_only: Admission::Refused,
            fill_or_kill: PerMarket {
                spot: Admission::Ended,
                linear: Admission::Ended,
            },
            waiting_locks: true,
            self_trade_cancels: false,
            refuses_late_triggers: true,
            open_orders_max: 200,
            leverage: (20, 125),
            is_hedged: false,
            maintenance: Decimal::new(4, 3),
            first_order_no: 1,
        }
    }
}

impl Rules {
    /// Where a market's money is.
    pub(crate) fn wallet(&self, segment: Segment) -> Wallet {
        match segment {
            Segment::Linear if !self.is_unified => Wallet::Linear,
            _ => Wallet::Spot,
        }
    }

    pub(crate) fn fees(&self, segment: Segment) -> Fees {
        match segment {
            Segment::Spot => self.spot,
            Segment::Linear => self.linear,
        }
    }
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(crate) spot: bool,
    pub(crate) linear: bool,
    pub(crate) withdraw: bool,
}

impl Permissions {
    /// Trading everywhere.
    pub(crate) const TRADE: Self = Self {
        spot: true,
        linear: true,
        withdraw: false,
    };
    /// Reading alone.
    pub(crate) const READ: Self = Self {
        spot: false,
        linear: false,
        withdraw: false,
    };

    pub(crate) const fn may_trade(self, segment: Segment) -> bool {
        match segment {
            Segment::Spot => self.spot,
            Segment::Linear => self.linear,
        }
    }
}

/// An API key as the exchange knows it.
#[derive(Clone)]
pub(crate) struct Key {
    /// Its public name.
    pub(crate) name: String,
    /// What proves that a request is its owner's.
    pub(crate) proof: super::auth::Proof,
    pub(crate) passphrase: Option<String>,
    pub(crate) may: Permissions,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("may", &self.may)
            .finish_non_exhaustive()
    }
}
