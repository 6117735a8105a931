//! Where a resting order stands in its queue, told from what an exchange publishes: the quantity
//! displayed at a price and the trades.
//!
//! The order joins behind everything that is displayed at its price. Then:
//! - a trade at the price takes from the front (price-time priority), so all of it was ahead until
//!   nothing is ahead any more; what is left of it reaches the order;
//! - what disappears from the level without a trade was canceled, and cancellations strike every
//!   unit of the queue alike: of a decrease C of a level that showed S, with A ahead, A × C ÷ S was
//!   ahead of the order, rounded down. This is the usual assumption of Markov models of the book
//!   (cancellations at a rate proportional to what is queued: Cont, Stoikov and Talreja, "A
//!   stochastic model for order book dynamics", 2010) and lies between the extremes of all
//!   cancellations behind (only trades advance the order) and all ahead;
//! - what is added joins behind.
//!
//! Trades and books come on different streams, in any order. A trade that comes first explains the
//! decrease that follows. A decrease that comes first is taken for a cancellation, and that is undone
//! for as much as a trade explains it within [`PATIENCE`].

use crate::time::TsNanos;

/// How long a trade and the change of the level that it made may be apart, nanoseconds.
const PATIENCE: i64 = 1_000_000_000;

/// Quantities are mantissas at the instrument's scale, none ever negative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    /// Displayed quantity that executes before the order does.
    ahead: i64,
    /// What the level showed last.
    shown: i64,
    /// Traded, and not yet seen to leave the level.
    traded: i64,
    /// Taken for canceled, and not explained by a trade.
    removed: i64,
    /// What that moved the order forward.
    moved: i64,
    /// When one of the three above last grew.
    at: TsNanos,
}

impl Queue {
    /// Joins a level that shows `displayed`.
    pub(super) fn join(displayed: i64, now: TsNanos) -> Self {
        let displayed = displayed.max(0);
        Self {
            ahead: displayed,
            shown: displayed,
            traded: 0,
            removed: 0,
            moved: 0,
            at: now,
        }
    }

    /// Displayed quantity ahead.
    #[cfg(test)]
    pub(super) const fn ahead(&self) -> i64 {
        self.ahead
    }

    /// Takes a trade at the price. `left` is what remains of it after better priced orders of our own,
    /// which are not in the book and would have had it. Returns what reaches the order.
    pub(super) fn on_trade(&mut self, quantity: i64, left: i64, now: TsNanos) -> i64 {
        self.forget(now);
        let quantity = quantity.max(0);
        let left = left.clamp(0, quantity);
        let late = quantity.min(self.removed);
        if late > 0 {
            let undone = share(self.moved, late, self.removed, true);
            self.ahead = self.ahead.saturating_add(undone);
            self.moved -= undone;
            self.removed -= late;
        }
        self.traded = self.traded.saturating_add(quantity - late);
        self.at = now;
        let reaches = (left - self.ahead).max(0);
        self.ahead = (self.ahead - left).max(0);
        reaches
    }

    /// The market went through the price: nothing is ahead any more.
    pub(super) const fn pass(&mut self) {
        self.ahead = 0;
    }

    /// Takes what the level shows now.
    pub(super) fn on_level(&mut self, displayed: i64, now: TsNanos) {
        let displayed = displayed.max(0);
        if displayed < self.shown {
            self.forget(now);
            let gone = self.shown - displayed;
            let explained = gone.min(self.traded);
            self.traded -= explained;
            let canceled = gone - explained;
            if canceled > 0 {
                let moved =
                    share(self.ahead, canceled, self.shown - explained, false).min(canceled);
                self.ahead -= moved;
                self.moved = self.moved.saturating_add(moved);
                self.removed = self.removed.saturating_add(canceled);
                self.at = now;
            }
            self.ahead = self.ahead.min(displayed);
        }
        self.shown = displayed;
    }

    /// Goes on after a time in which the level was not seen.
    pub(super) fn rejoin(&mut self, displayed: i64, now: TsNanos) {
        let ahead = self.ahead.min(displayed.max(0));
        *self = Self::join(displayed, now);
        self.ahead = ahead;
    }

    fn forget(&mut self, now: TsNanos) {
        if now.0.saturating_sub(self.at.0) > PATIENCE {
            (self.traded, self.removed, self.moved) = (0, 0, 0);
        }
    }
}

/// value × part ÷ whole, at most `value`.
fn share(value: i64, part: i64, whole: i64, is_rounded_up: bool) -> i64 {
    if whole <= 0 {
        return value;
    }
    let (value_wide, part, whole) = (i128::from(value), i128::from(part), i128::from(whole));
    let product = value_wide * part;
    let result = match is_rounded_up {
        true => (product + whole - 1) / whole,
        false => product / whole,
    };
    i64::try_from(result).unwrap_or(value).min(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: TsNanos = TsNanos(5_000_000_000);

    /// 100 ahead; 60 trade; the order is reached by what goes beyond 100.
    #[test]
    fn trades_take_from_the_front() {
        let mut queue = Queue::join(100, NOW);
        assert_eq!(queue.on_trade(60, 60, NOW), 0);
        assert_eq!(queue.ahead(), 40);
        // The level follows: nothing is counted twice.
        queue.on_level(40, NOW);
        assert_eq!(queue.ahead(), 40);
        assert_eq!(queue.on_trade(55, 55, NOW), 15);
        assert_eq!(queue.on_trade(7, 7, NOW), 7);
    }

    /// 100 ahead and 300 joined behind: of 40 canceled a quarter was ahead.
    #[test]
    fn cancellations_strike_the_whole_queue_alike() {
        let mut queue = Queue::join(100, NOW);
        queue.on_level(400, NOW);
        assert_eq!(queue.ahead(), 100);
        queue.on_level(360, NOW);
        assert_eq!(queue.ahead(), 90);
        // 7 of 360 with 90 ahead: 1.75, rounded down.
        queue.on_level(353, NOW);
        assert_eq!(queue.ahead(), 89);
        queue.on_level(0, NOW);
        assert_eq!(queue.ahead(), 0);
    }

    #[test]
    fn a_trade_that_comes_after_its_level_counts_once() {
        for is_trade_first in [true, false] {
            let mut queue = Queue::join(100, NOW);
            queue.on_level(200, NOW);
            if is_trade_first {
                assert_eq!(queue.on_trade(80, 80, NOW), 0);
                queue.on_level(120, NOW);
            } else {
                queue.on_level(120, NOW);
                assert_eq!(queue.ahead(), 60);
                assert_eq!(queue.on_trade(80, 80, NOW), 0);
            }
            assert_eq!(queue.ahead(), 20);
        }
    }

    #[test]
    fn what_is_long_past_explains_nothing() {
        let later = TsNanos(NOW.0 + PATIENCE + 1);
        let mut queue = Queue::join(100, NOW);
        queue.on_level(200, NOW);
        queue.on_level(100, NOW);
        assert_eq!(queue.ahead(), 50);
        assert_eq!(queue.on_trade(60, 60, later), 10);
        let mut queue = Queue::join(100, NOW);
        queue.on_level(200, NOW);
        assert_eq!(queue.on_trade(50, 50, NOW), 0);
        queue.on_level(100, later);
        assert_eq!(queue.ahead(), 25);
    }

    proptest! {
        /// Whatever is told in whatever order: nothing is negative, and no more reaches the order than
        /// was traded.
        #[test]
        fn positions_are_never_negative(
            first in 0_i64..1_000,
            steps in prop::collection::vec((0_u8..3, 0_i64..1_000, 0_i64..3_000), 0..60),
        ) {
            let mut queue = Queue::join(first, NOW);
            let mut now = NOW;
            for (kind, quantity, ms) in steps {
                now = TsNanos(now.0 + ms * 1_000_000);
                match kind {
                    0 => {
                        let reached = queue.on_trade(quantity, quantity, now);
                        prop_assert!((0..=quantity).contains(&reached));
                    }
                    1 => {
                        queue.on_level(quantity, now);
                        let Queue { ahead, shown, .. } = queue;
                        prop_assert!(ahead <= shown.max(first + 1_000 * 60));
                    }
                    _ => queue.rejoin(quantity, now),
                }
                let Queue { ahead, shown, traded, removed, moved, .. } = queue;
                prop_assert!([ahead, shown, traded, removed, moved].iter().all(|q| *q >= 0));
                prop_assert!(moved <= removed);
            }
        }

        /// More ahead is never better.
        #[test]
        fn who_came_later_is_filled_later(
            first in 0_i64..500, behind in 0_i64..500,
            trades in prop::collection::vec(0_i64..200, 0..20),
        ) {
            let mut early = Queue::join(first, NOW);
            let mut late = Queue::join(first + behind, NOW);
            for quantity in trades {
                let (one, other) =
                    (early.on_trade(quantity, quantity, NOW), late.on_trade(quantity, quantity, NOW));
                prop_assert!(one >= other);
            }
        }
    }
}
