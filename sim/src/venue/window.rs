//! A book cut to a depth: what changed in the part of it that a stream shows.

use crate::market::{Depth, Price, Qty};

/// A level.
pub(crate) type Row = (Price, Qty);

/// The part of a book that listeners have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    /// Bids, highest first.
    pub(crate) bids: Vec<Row>,
    /// Asks, lowest first.
    pub(crate) asks: Vec<Row>,
}

/// Changed levels, quantity 0 for those that are gone or have left the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Bids, highest first.
    pub(crate) bids: Vec<Row>,
    /// Asks, lowest first.
    pub(crate) asks: Vec<Row>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.bids.is_empty() && self.asks.is_empty()
    }
}

impl Window {
    /// The window of a book that has been cut to the stream's depth.
    pub(crate) fn of(depth: &Depth) -> Self {
        Self {
            bids: depth.bids.clone(),
            asks: depth.asks.clone(),
        }
    }

    /// Moves on to a later state of the book, and tells the way there.
    pub(crate) fn move_to(&mut self, depth: &Depth) -> Changes {
        let changes = Changes {
            bids: difference(&self.bids, &depth.bids, |a, b| a > b),
            asks: difference(&self.asks, &depth.asks, |a, b| a < b),
        };
        *self = Self::of(depth);
        changes
    }
}

/// Rows that turn `old` into `new`, both best first; `is_better` orders prices.
fn difference(old: &[Row], new: &[Row], is_better: impl Fn(Price, Price) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let (mut old, mut new) = (old.iter().peekable(), new.iter().peekable());
    loop {
        match (old.peek().copied(), new.peek().copied()) {
            (None, None) => return rows,
            (Some(gone), Some(here)) if gone.0 == here.0 => {
                if gone.1 != here.1 {
                    rows.push(*here);
                }
                old.next();
                new.next();
            }
            (Some(gone), here) if here.is_none_or(|here| is_better(gone.0, here.0)) => {
                rows.push((gone.0, Qty(0)));
                old.next();
            }
            (_, Some(here)) => {
                rows.push(*here);
                new.next();
            }
            (Some(_), None) => return rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(levels: &[(i64, i64)]) -> Vec<Row> {
        levels.iter().map(|(p, q)| (Price(*p), Qty(*q))).collect()
    }

    fn depth(bids: &[(i64, i64)], asks: &[(i64, i64)]) -> Depth {
        Depth {
            bids: rows(bids),
            asks: rows(asks),
            ..Depth::default()
        }
    }

    #[test]
    fn tells_what_came_went_and_changed() {
        let mut window = Window::of(&depth(&[(10, 1), (9, 2), (7, 3)], &[(11, 1), (12, 2)]));
        let next = depth(&[(10, 5), (8, 2), (7, 3)], &[(12, 2), (14, 4)]);
        let changes = window.move_to(&next);
        assert_eq!(changes.bids, rows(&[(10, 5), (9, 0), (8, 2)]));
        assert_eq!(changes.asks, rows(&[(11, 0), (14, 4)]));
        assert_eq!(window, Window::of(&next));
        assert!(window.move_to(&next).is_empty());
        let gone = window.move_to(&depth(&[], &[]));
        assert_eq!(gone.bids, rows(&[(10, 0), (8, 0), (7, 0)]));
        assert_eq!(window.move_to(&next).asks, rows(&[(12, 2), (14, 4)]));
    }
}
