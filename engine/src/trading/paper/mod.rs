//! Orders that are filled here, against the live book, without any exchange.
//!
//! A [`desk::Desk`] holds one account's orders of one instrument next to that instrument's book and
//! tells the same facts as an exchange's private stream would. An [`account::Account`] keeps what
//! the account has: balances, positions, margin, funding. Neither has a clock; both give the same
//! output for the same input.
//!
//! How orders are filled (`queue` has the queue position, `docs/decisions/015-paper-fills.md` the
//! reasons):
//! - an order is there `latency` after it was sent, and so are cancellations and amendments;
//! - what meets the book takes displayed quantity, level by level, and no quantity twice;
//! - what rests waits behind the quantity that was displayed at its price when it joined;
//! - while the book is not in sync nothing is filled.

pub mod account;
mod arrive;
mod consumed;
pub mod desk;
pub mod liquidate;
mod position;
mod queue;
mod reserve;
mod trades;
mod work;

#[cfg(test)]
mod account_tests;
#[cfg(test)]
mod desk_tests;
#[cfg(test)]
mod property_tests;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use crate::book::Book;
use crate::event::{BookLevel, BookSide, Side};
use crate::instrument::InstrumentSpec;
use crate::num::{Price, Qty};

/// A book as far as a desk looks at it. Implemented for [`Book`].
pub trait Depth {
    /// The best level of a side.
    fn best(&self, side: BookSide) -> Option<BookLevel>;

    /// Appends the best `n` levels of a side, best first.
    fn top(&self, side: BookSide, n: usize, out: &mut Vec<BookLevel>);

    /// What rests at a price; 0: nothing.
    fn at(&self, side: BookSide, price: Price) -> Qty;
}

impl Depth for Book {
    fn best(&self, side: BookSide) -> Option<BookLevel> {
        Self::best(self, side)
    }

    fn top(&self, side: BookSide, n: usize, out: &mut Vec<BookLevel>) {
        Self::top(self, side, n, out);
    }

    fn at(&self, side: BookSide, price: Price) -> Qty {
        Self::at(self, side, price)
    }
}

/// What executions cost, as fractions of their value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fees {
    /// Of an order that was resting; negative: a rebate.
    pub maker: Decimal,
    /// Of an order that met the book.
    pub taker: Decimal,
}

/// Digits after the point of a fee.
const FEE_DIGITS: u32 = 12;

impl Fees {
    /// Those of an instrument, where they are public, else `other`.
    #[must_use]
    pub fn of(spec: &InstrumentSpec, other: Self) -> Self {
        Self {
            maker: spec.maker_fee.unwrap_or(other.maker),
            taker: spec.taker_fee.unwrap_or(other.taker),
        }
    }

    /// The larger one, and no rebate: what has to be there before it is known which one it is.
    #[must_use]
    pub fn highest(self) -> Decimal {
        self.maker.max(self.taker).max(Decimal::ZERO)
    }

    /// The fee of a value. Cut to 12 digits, so that no fee is more than what was held back for it.
    fn on(self, value: Decimal, is_maker: bool) -> Decimal {
        let rate = if is_maker { self.maker } else { self.taker };
        let fee = value.checked_mul(rate).unwrap_or_default();
        fee.round_dp_with_strategy(FEE_DIGITS, RoundingStrategy::ToZero)
    }
}

/// The side of the book that an order meets.
const fn met_by(side: Side) -> BookSide {
    match side {
        Side::Buy => BookSide::Ask,
        Side::Sell => BookSide::Bid,
    }
}

/// The side of the book that an order rests on.
const fn rests_on(side: Side) -> BookSide {
    match side {
        Side::Buy => BookSide::Bid,
        Side::Sell => BookSide::Ask,
    }
}

/// True when an order with this limit price may execute at `price`.
fn allows(side: Side, limit: Price, price: Price) -> bool {
    match side {
        Side::Buy => price <= limit,
        Side::Sell => price >= limit,
    }
}
