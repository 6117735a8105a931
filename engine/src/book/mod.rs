//! The order book of one instrument: apply changes, read the best levels in order.
//!
//! Owns: [`Book`] (both sides), [`TopDiff`] (what changed in the top N), [`sync`] (when a book may
//! be trusted). Knows no exchange: a continuity rule comes in as data. Start reading at
//! [`sync::SyncedBook`]; the data structure underneath is in `ladder`.

mod diff;
mod ladder;
#[cfg(any(test, feature = "testkit"))]
pub mod naive;
pub mod sync;

#[cfg(test)]
mod tests;

pub use diff::TopDiff;

use crate::event::{BookLevel, BookSide};
use crate::num::{Price, Qty};
use ladder::Ladder;

/// Both sides of a book at one moment.
///
/// Applying a level costs no allocation while it lies in the ladder's window. A level is never
/// lost: prices far from the touch live in an ordered map.
#[derive(Clone, Debug)]
pub struct Book {
    bids: Ladder,
    asks: Ladder,
}

impl Default for Book {
    fn default() -> Self {
        Self::new()
    }
}

impl Book {
    /// An empty book. It takes its memory when the first level arrives.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bids: Ladder::new(BookSide::Bid),
            asks: Ladder::new(BookSide::Ask),
        }
    }

    /// An empty book whose windows hold `slots` price steps to begin with and up to `slots_max`
    /// later (powers of two, at least 64), so that tests and measurements can make windows move.
    #[cfg(any(test, feature = "testkit"))]
    #[must_use]
    pub fn with_window(slots: usize, slots_max: usize) -> Self {
        Self {
            bids: Ladder::with_slots(BookSide::Bid, slots, slots_max),
            asks: Ladder::with_slots(BookSide::Ask, slots, slots_max),
        }
    }

    /// Removes every level.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Replaces the whole book. Levels may come in any order; quantity 0 is no level.
    pub fn load(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        self.bids.load(bids);
        self.asks.load(asks);
    }

    /// Sets levels to absolute quantities, in order: of a price that comes twice the last counts.
    /// Quantity 0 removes; removing an absent level is normal.
    pub fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        self.bids.apply(bids);
        self.asks.apply(asks);
    }

    /// The best level of a side.
    #[must_use]
    pub fn best(&self, side: BookSide) -> Option<BookLevel> {
        self.side(side).best()
    }

    /// All that rests at a price; 0: there is no such level.
    #[must_use]
    pub fn at(&self, side: BookSide, price: Price) -> Qty {
        Qty(self.side(side).at(price.0))
    }

    /// Appends the best `n` levels of a side, best first; fewer when the side has fewer.
    pub fn top(&self, side: BookSide, n: usize, out: &mut Vec<BookLevel>) {
        self.side(side).top(n, out);
    }

    /// Number of levels of a side.
    #[must_use]
    pub fn len(&self, side: BookSide) -> usize {
        self.side(side).len()
    }

    /// True when neither side has a level.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len(BookSide::Bid) == 0 && self.len(BookSide::Ask) == 0
    }

    /// True when the best bid is at or above the best ask: such a book is wrong.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        match (self.best(BookSide::Bid), self.best(BookSide::Ask)) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }

    fn side(&self, side: BookSide) -> &Ladder {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }
}
