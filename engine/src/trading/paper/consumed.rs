//! What a desk's own orders have taken of displayed quantity. The book does not know of it and goes on
//! showing it, and a second order must not be filled with the same.

use std::collections::BTreeMap;

use super::Depth;
use crate::event::{BookLevel, BookSide};
use crate::num::Price;

/// Taken of one level.
#[derive(Clone, Copy, Debug)]
struct Taken {
    /// What the level showed when it was last looked at.
    shown: i64,
    /// How much of that was taken.
    taken: i64,
}

impl Taken {
    /// What disappears from a level is taken to be what we took; what is added is new.
    fn follow(&mut self, shown: i64) {
        let gone = (self.shown - shown).max(0);
        self.taken = (self.taken - gone).clamp(0, shown.max(0));
        self.shown = shown;
    }
}

/// The memory of a desk, both sides.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumed {
    bids: BTreeMap<i64, Taken>,
    asks: BTreeMap<i64, Taken>,
}

impl Consumed {
    /// What can still be taken of a level.
    pub(super) fn available(&self, side: BookSide, level: BookLevel) -> i64 {
        let taken = self.side(side).get(&level.price.0).map_or(0, |taken| {
            let mut taken = *taken;
            taken.follow(level.qty.0);
            taken.taken
        });
        (level.qty.0 - taken).max(0)
    }

    /// Takes from a level.
    pub(super) fn take(&mut self, side: BookSide, level: BookLevel, quantity: i64) {
        let map = match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        };
        let taken = map.entry(level.price.0).or_insert(Taken {
            shown: level.qty.0,
            taken: 0,
        });
        taken.follow(level.qty.0);
        taken.taken = taken.taken.saturating_add(quantity).min(level.qty.0);
    }

    /// Follows the book: levels that are gone, or have given up what we took, are forgotten.
    pub(super) fn follow(&mut self, book: &dyn Depth) {
        for (side, map) in [
            (BookSide::Bid, &mut self.bids),
            (BookSide::Ask, &mut self.asks),
        ] {
            map.retain(|price, taken| {
                taken.follow(book.at(side, Price(*price)).0);
                taken.taken > 0
            });
        }
    }

    /// Forgets everything: the book has been made anew.
    pub(super) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    fn side(&self, side: BookSide) -> &BTreeMap<i64, Taken> {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::Book;
    use crate::num::Qty;

    fn level(price: i64, qty: i64) -> BookLevel {
        BookLevel {
            price: Price(price),
            qty: Qty(qty),
        }
    }

    #[test]
    fn nothing_is_taken_twice_until_it_changes() {
        let mut book = Book::new();
        let mut memory = Consumed::default();
        book.load(&[], &[level(100, 10), level(101, 5)]);
        memory.take(BookSide::Ask, level(100, 10), 8);
        assert_eq!(memory.available(BookSide::Ask, level(100, 10)), 2);
        assert_eq!(memory.available(BookSide::Bid, level(100, 10)), 10);
        assert_eq!(memory.available(BookSide::Ask, level(101, 5)), 5);
        // 3 more: new. 4 less: of what was taken.
        assert_eq!(memory.available(BookSide::Ask, level(100, 13)), 5);
        book.apply(&[], &[level(100, 6)]);
        memory.follow(&book);
        assert_eq!(memory.available(BookSide::Ask, level(100, 6)), 2);
        book.apply(&[], &[level(100, 9)]);
        memory.follow(&book);
        assert_eq!(memory.available(BookSide::Ask, level(100, 9)), 5);
        // Gone, and another of the same size: nobody has taken of it.
        book.apply(&[], &[level(100, 0)]);
        memory.follow(&book);
        assert!(memory.asks.is_empty());
        assert_eq!(memory.available(BookSide::Ask, level(100, 9)), 9);
    }
}
