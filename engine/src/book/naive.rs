//! The slow, obvious book that the fast one is compared with. Never part of the binary.

use std::collections::BTreeMap;

use crate::event::{BookLevel, BookSide};
use crate::num::{Price, Qty};

/// Both sides as ordered maps from price to quantity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NaiveBook {
    bids: BTreeMap<Price, Qty>,
    asks: BTreeMap<Price, Qty>,
}

impl NaiveBook {
    /// Replaces the whole book.
    pub fn load(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        *self = Self::default();
        self.apply(bids, asks);
    }

    /// Sets levels to absolute quantities; 0 removes.
    pub fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels {
                if level.qty.0 > 0 {
                    side.insert(level.price, level.qty);
                } else {
                    side.remove(&level.price);
                }
            }
        }
    }

    /// All levels of a side, best first.
    #[must_use]
    pub fn levels(&self, side: BookSide) -> Vec<BookLevel> {
        let row = |(price, qty): (&Price, &Qty)| BookLevel {
            price: *price,
            qty: *qty,
        };
        match side {
            BookSide::Bid => self.bids.iter().rev().map(row).collect(),
            BookSide::Ask => self.asks.iter().map(row).collect(),
        }
    }
}
