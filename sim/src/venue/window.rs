//! A book cut to a depth: what changed in the part of it that a stream shows.

use std::collections::{BTreeMap, BTreeSet};

use crate::market::{BookSide, Depth, Price, Qty};

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

/// Prices at which something happened since the last message, whatever came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Touched {
    bids: BTreeSet<Price>,
    asks: BTreeSet<Price>,
}

impl Touched {
    pub(crate) fn note(&mut self, side: BookSide, price: Price) {
        match side {
            BookSide::Bid => self.bids.insert(price),
            BookSide::Ask => self.asks.insert(price),
        };
    }

    /// The larger number of prices of a side.
    pub(crate) fn most(&self) -> usize {
        self.bids.len().max(self.asks.len())
    }
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

    /// As [`Window::move_to`], for listeners that may have begun with an image of any moment since
    /// the last message: tells also what came and went in between.
    ///
    /// A touched level moves the window's end by one, so that as many levels on each side of the end
    /// may have been in the window or out of it for a while without being touched: they are told
    /// too. `depth` has to hold `most` levels and [`Touched::most`] more.
    pub(crate) fn move_past(&mut self, depth: &Depth, most: usize, touched: &Touched) -> Changes {
        let cut = |rows: &[Row]| rows[..most.min(rows.len())].to_vec();
        let net = self.move_to(&Depth {
            bids: cut(&depth.bids),
            asks: cut(&depth.asks),
            ..Depth::default()
        });
        let told = |net: &[Row], rows: &[Row], touched: &BTreeSet<Price>| {
            let (here, beyond) = rows.split_at(most.min(rows.len()));
            let first = most.saturating_sub(touched.len());
            let is_told = |(rank, row): &(usize, &Row)| *rank >= first || touched.contains(&row.0);
            let here = here.iter().enumerate().filter(is_told).map(|(_, row)| *row);
            let gone = touched.iter().chain(beyond.iter().map(|(price, _)| price));
            let mut told: BTreeMap<Price, Qty> = gone.map(|price| (*price, Qty(0))).collect();
            told.extend(here.chain(net.iter().copied()));
            told
        };
        let bids = told(&net.bids, &depth.bids, &touched.bids).into_iter();
        let asks = told(&net.asks, &depth.asks, &touched.asks).into_iter();
        Changes {
            bids: bids.rev().collect(),
            asks: asks.collect(),
        }
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

    #[test]
    fn tells_what_came_and_went_in_between() {
        let bids = [(10, 1), (9, 2), (8, 3), (7, 3), (5, 1)];
        let mut window = Window::of(&depth(&bids[..4], &[(11, 1), (12, 2)]));
        let mut touched = Touched::default();
        // 9 went, with 5 in the window, and came back; 11 changed.
        for (side, price) in [(BookSide::Bid, 9), (BookSide::Bid, 9), (BookSide::Ask, 11)] {
            touched.note(side, Price(price));
        }
        assert_eq!(touched.most(), 1);
        let end = depth(&bids, &[(11, 4), (12, 2)]);
        let changes = window.move_past(&end, 4, &touched);
        assert_eq!(changes.bids, rows(&[(9, 2), (7, 3), (5, 0)]));
        assert_eq!(changes.asks, rows(&[(11, 4)]));
        assert_eq!(window.bids, rows(&bids[..4]));
        // 6 came, with 7 out of the window, and went.
        let mut touched = Touched::default();
        touched.note(BookSide::Bid, Price(6));
        let changes = window.move_past(&end, 4, &touched);
        assert_eq!(changes.bids, rows(&[(7, 3), (6, 0), (5, 0)]));
        let still = depth(&bids[..4], &[(11, 4), (12, 2)]);
        let changes = window.move_past(&still, 4, &Touched::default());
        assert!(changes.is_empty());
    }
}
