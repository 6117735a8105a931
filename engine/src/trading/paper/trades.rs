//! What a trade of the market does to the orders of a desk.

use super::desk::Desk;
use super::work::{Phase, Work};
use super::{Depth, allows};
use crate::event::{Side, Trade};
use crate::num::Price;
use crate::time::TsNanos;
use crate::trading::venue::Facts;

impl Desk {
    /// Gives a trade to resting orders: better prices first, then who joined first.
    pub(super) fn fill_resting(&mut self, trade: &Trade, now: TsNanos, out: &mut Facts) {
        let maker = match trade.taker_side {
            Side::Buy => Side::Sell,
            Side::Sell => Side::Buy,
        };
        let mut met: Vec<(Price, usize)> = Vec::new();
        for (index, work) in self.orders.iter().enumerate() {
            if let (Phase::Resting(_), Some(limit)) = (&work.phase, work.price)
                && work.side == maker
                && allows(maker, limit, trade.price)
            {
                met.push((limit, index));
            }
        }
        met.sort_by(|(a, _), (b, _)| match maker {
            Side::Buy => b.cmp(a),
            Side::Sell => a.cmp(b),
        });
        let mut left = trade.qty.0.max(0);
        let mut at_price = None;
        let mut ours = 0_i64;
        let mut changed = Vec::new();
        for (limit, index) in met {
            let Some(work) = self.orders.get_mut(index) else {
                continue;
            };
            let before = work.filled;
            let reaches = match &mut work.phase {
                // The market went through its price: nothing can have been ahead.
                Phase::Resting(queue) if limit != trade.price => {
                    queue.pass();
                    left
                }
                Phase::Resting(queue) => {
                    let left = *at_price.get_or_insert(left);
                    queue.on_trade(trade.qty.0, left, now).saturating_sub(ours)
                }
                _ => 0,
            };
            let quantity = self.floor.wanted(work).min(reaches);
            if quantity > 0 {
                let instrument = &self.instrument;
                self.floor
                    .execute(work, instrument, limit, quantity, true, now, out);
                left -= quantity;
                if at_price.is_some() {
                    ours += quantity;
                }
                changed.push((index, before));
            }
        }
        // From the back, so that indices stay true.
        changed.sort_unstable_by(|a, b| b.cmp(a));
        for (index, before) in changed {
            let work = self.orders.remove(index);
            if let Some(work) = self.told(work, before, now, out) {
                self.orders.insert(index, work);
            }
        }
    }

    /// Sends the stops that a price reaches to the book, in the order of their joining.
    pub(super) fn trigger(
        &mut self,
        price: Price,
        book: Option<&dyn Depth>,
        now: TsNanos,
        out: &mut Facts,
    ) {
        let is_reached = |work: &Work| match (&work.phase, work.stop) {
            (Phase::Stop(true), Some(stop)) => price >= stop,
            (Phase::Stop(false), Some(stop)) => price <= stop,
            _ => false,
        };
        let mut index = 0;
        while let Some(work) = self.orders.get(index) {
            if !is_reached(work) {
                index += 1;
                continue;
            }
            let mut work = self.orders.remove(index);
            work.is_triggered = true;
            let arrived = self.floor.arrive(work, &self.instrument, book, now, out);
            // At the end: it joins its queue now. It waits for no price any more.
            self.orders.extend(arrived);
        }
    }
}
