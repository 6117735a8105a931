//! What changed in the top of a book since it was last published.

use super::Book;
use crate::event::{BookLevel, BookSide};
use crate::num::Qty;

/// Remembers the top N of a book and tells which levels changed.
///
/// A client that starts from [`TopDiff::reset`]'s image and applies every change after it holds
/// exactly the top N: levels that fell out of it are told with quantity 0, levels that moved up
/// into it are told in full. Its buffers are reused.
#[derive(Clone, Debug)]
pub struct TopDiff {
    depth: usize,
    bids: SideDiff,
    asks: SideDiff,
}

#[derive(Clone, Debug, Default)]
struct SideDiff {
    held: Vec<BookLevel>,
    fresh: Vec<BookLevel>,
    changes: Vec<BookLevel>,
}

impl TopDiff {
    /// For the best `depth` levels of each side.
    #[must_use]
    pub fn new(depth: usize) -> Self {
        Self {
            depth,
            bids: SideDiff::default(),
            asks: SideDiff::default(),
        }
    }

    /// The depth asked for.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Takes the book's top as the new start and returns it: bids, asks.
    pub fn reset(&mut self, book: &Book) -> (&[BookLevel], &[BookLevel]) {
        for (side, diff) in [
            (BookSide::Bid, &mut self.bids),
            (BookSide::Ask, &mut self.asks),
        ] {
            diff.held.clear();
            book.top(side, self.depth, &mut diff.held);
        }
        self.top()
    }

    /// The top that was last taken: bids, asks.
    #[must_use]
    pub fn top(&self) -> (&[BookLevel], &[BookLevel]) {
        (&self.bids.held, &self.asks.held)
    }

    /// The changes from the top that was last taken to the book's, best first, and takes that as
    /// the new start; `None` when nothing in the top changed.
    pub fn update(&mut self, book: &Book) -> Option<(&[BookLevel], &[BookLevel])> {
        for (side, diff) in [
            (BookSide::Bid, &mut self.bids),
            (BookSide::Ask, &mut self.asks),
        ] {
            diff.fresh.clear();
            book.top(side, self.depth, &mut diff.fresh);
            diff.changes.clear();
            top_diff(side, &diff.held, &diff.fresh, &mut diff.changes);
            std::mem::swap(&mut diff.held, &mut diff.fresh);
        }
        let quiet = self.bids.changes.is_empty() && self.asks.changes.is_empty();
        (!quiet).then_some((&self.bids.changes, &self.asks.changes))
    }
}

/// Appends what turns `old` into `new`, both one side of a book best first; quantity 0 = gone.
pub(super) fn top_diff(
    side: BookSide,
    old: &[BookLevel],
    new: &[BookLevel],
    out: &mut Vec<BookLevel>,
) {
    let is_better = |a: &BookLevel, b: &BookLevel| match side {
        BookSide::Bid => a.price > b.price,
        BookSide::Ask => a.price < b.price,
    };
    let gone = |level: &BookLevel| BookLevel {
        price: level.price,
        qty: Qty(0),
    };
    let (mut old, mut new) = (old, new);
    // Most updates touch few of the best levels: skip what is equal on both ends' start.
    loop {
        match (old, new) {
            ([a, old_rest @ ..], [b, new_rest @ ..]) => {
                if a.price == b.price {
                    if a.qty != b.qty {
                        out.push(*b);
                    }
                    (old, new) = (old_rest, new_rest);
                } else if is_better(a, b) {
                    out.push(gone(a));
                    old = old_rest;
                } else {
                    out.push(*b);
                    new = new_rest;
                }
            }
            ([], rest) => {
                out.extend_from_slice(rest);
                return;
            }
            (rest, []) => {
                out.extend(rest.iter().map(gone));
                return;
            }
        }
    }
}
