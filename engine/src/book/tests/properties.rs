//! Random deltas, snapshots and moving touches: the ladder must be the ordered map.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{level, top};
use crate::book::naive::NaiveBook;
use crate::book::{Book, TopDiff};
use crate::event::{BookLevel, BookSide};
use crate::num::Price;

const SIDES: [BookSide; 2] = [BookSide::Bid, BookSide::Ask];

#[derive(Clone, Debug)]
enum Op {
    /// The touch moves by so many steps.
    Move(i64),
    /// Levels at these distances from the touch, in steps.
    Apply(Vec<(bool, i64, i64)>),
    /// The same, as a snapshot.
    Load(Vec<(bool, i64, i64)>),
    /// A level at an exact price, on the grid or not.
    Exact(bool, i64, i64),
    Clear,
}

fn distance() -> impl Strategy<Value = i64> {
    prop_oneof![
        6 => -3i64..40,
        3 => -20i64..600,
        2 => -5_000i64..200_000,
        1 => -40_000_000i64..40_000_000,
    ]
}

fn rows(max: usize) -> impl Strategy<Value = Vec<(bool, i64, i64)>> {
    let qty = prop_oneof![2 => Just(0i64), 3 => 1i64..1_000, 1 => Just(i64::MAX)];
    vec((any::<bool>(), distance(), qty), 0..max)
}

fn op() -> impl Strategy<Value = Op> {
    let price = prop_oneof![
        4 => any::<i64>(),
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => Just(0i64),
        4 => 0i64..10_000_000,
    ];
    prop_oneof![
        3 => (-100i64..100).prop_map(Op::Move),
        1 => (-300_000i64..300_000).prop_map(Op::Move),
        12 => rows(40).prop_map(Op::Apply),
        2 => rows(120).prop_map(Op::Load),
        1 => (any::<bool>(), price, 0i64..5).prop_map(|(bid, price, qty)| Op::Exact(bid, price, qty)),
        1 => Just(Op::Clear),
    ]
}

/// Both books, the touch and the step of the random prices.
struct Pair {
    fast: Book,
    naive: NaiveBook,
    touch: i64,
    step: i64,
}

impl Pair {
    fn split(&self, rows: &[(bool, i64, i64)]) -> (Vec<BookLevel>, Vec<BookLevel>) {
        let mut sides = (Vec::new(), Vec::new());
        for (is_bid, distance, qty) in rows {
            let away = if *is_bid { -distance } else { *distance };
            let price = self.touch.wrapping_add(away).wrapping_mul(self.step);
            let side = if *is_bid { &mut sides.0 } else { &mut sides.1 };
            side.push(level(price, *qty));
        }
        sides
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Move(steps) => self.touch += steps,
            Op::Apply(rows) => {
                let (bids, asks) = self.split(rows);
                self.fast.apply(&bids, &asks);
                self.naive.apply(&bids, &asks);
            }
            Op::Load(rows) => {
                let (bids, asks) = self.split(rows);
                self.fast.load(&bids, &asks);
                self.naive.load(&bids, &asks);
            }
            Op::Exact(is_bid, price, qty) => {
                let one = [level(*price, *qty)];
                let (bids, asks) = if *is_bid {
                    (&one[..], &[][..])
                } else {
                    (&[][..], &one[..])
                };
                self.fast.apply(bids, asks);
                self.naive.apply(bids, asks);
            }
            Op::Clear => {
                self.fast.clear();
                self.naive = NaiveBook::default();
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for side in SIDES {
            let expected = self.naive.levels(side);
            prop_assert_eq!(self.fast.len(side), expected.len());
            prop_assert_eq!(self.fast.best(side), expected.first().copied());
            prop_assert_eq!(&top(&self.fast, side, usize::MAX), &expected);
            let five = expected.len().min(5);
            prop_assert_eq!(&top(&self.fast, side, 5), &expected[..five]);
            for row in &expected {
                prop_assert_eq!(self.fast.at(side, row.price), row.qty);
                for price in [
                    row.price.0.wrapping_sub(1),
                    row.price.0.wrapping_add(self.step),
                ] {
                    let there = expected.iter().find(|other| other.price.0 == price);
                    let qty = there.map_or(0, |other| other.qty.0);
                    prop_assert_eq!(self.fast.at(side, Price(price)).0, qty);
                }
            }
        }
        let best = SIDES.map(|side| self.naive.levels(side).first().map(|level| level.price));
        let is_crossed = matches!(best, [Some(bid), Some(ask)] if bid >= ask);
        prop_assert_eq!(self.fast.is_crossed(), is_crossed);
        Ok(())
    }

    /// Removes every level one by one: nothing may be left.
    fn empty(&mut self) -> Result<(), TestCaseError> {
        for side in SIDES {
            for row in self.naive.levels(side) {
                let gone = [level(row.price.0, 0)];
                match side {
                    BookSide::Bid => self.fast.apply(&gone, &[]),
                    BookSide::Ask => self.fast.apply(&[], &gone),
                }
            }
        }
        self.naive = NaiveBook::default();
        self.check()?;
        prop_assert!(self.fast.is_empty());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_ladder_is_the_obvious_book(
        ops in vec(op(), 1..60),
        window in prop_oneof![Just(64usize), Just(256), Just(4096), Just(1 << 15)],
        growth in prop_oneof![Just(1usize), Just(4)],
        step in prop_oneof![Just(1i64), Just(10), Just(1_000_000), Just(3), Just(1 << 44)],
    ) {
        let mut pair = Pair {
            fast: Book::with_window(window, growth * window),
            naive: NaiveBook::default(),
            touch: 500_000,
            step,
        };
        for op in &ops {
            pair.run(op);
            pair.check()?;
        }
        pair.empty()?;
    }

    /// What a client holds that got one image and only changes since is the top of the book.
    #[test]
    fn changes_of_the_top_rebuild_the_top(
        ops in vec(op(), 1..40),
        depth in prop_oneof![Just(1usize), Just(5), Just(20), Just(1000)],
    ) {
        let mut pair = Pair {
            fast: Book::with_window(256, 1024),
            naive: NaiveBook::default(),
            touch: 500_000,
            step: 1,
        };
        let mut diff = TopDiff::new(depth);
        let mut client: [BTreeMap<_, _>; 2] = Default::default();
        diff.reset(&pair.fast);
        for op in &ops {
            let before = SIDES.map(|side| top(&pair.fast, side, depth));
            pair.run(op);
            let after = SIDES.map(|side| top(&pair.fast, side, depth));
            let changes = diff.update(&pair.fast);
            prop_assert_eq!(changes.is_none(), before == after, "silent exactly when equal");
            let Some((bids, asks)) = changes else { continue };
            for (mine, told) in client.iter_mut().zip([bids, asks]) {
                for row in told {
                    let old = mine.get(&row.price).copied();
                    prop_assert_ne!(old, Some(row.qty), "told without need");
                    if row.qty.0 == 0 {
                        prop_assert!(mine.remove(&row.price).is_some(), "removed but never told");
                    } else {
                        mine.insert(row.price, row.qty);
                    }
                }
            }
            for (mine, (side, expected)) in client.iter().zip(SIDES.into_iter().zip(after)) {
                let row = |(price, qty): (&_, &_)| BookLevel { price: *price, qty: *qty };
                let mut held: Vec<BookLevel> = mine.iter().map(row).collect();
                if side == BookSide::Bid {
                    held.reverse();
                }
                prop_assert_eq!(held, expected);
            }
        }
    }
}
