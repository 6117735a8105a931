//! The matching engine of one instrument: a limit order book of individual orders with
//! price-time priority. Knows nothing of ids of trades, clocks or the model.

use std::collections::BTreeMap;

use ahash::AHashMap;

use super::event::{BookSide, OrderId, OwnerId, Side};
use super::instrument::{Notional, Price, Qty};
use super::rng::Rng;

const NIL: u32 = u32::MAX;

/// A resting order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resting {
    pub(super) id: OrderId,
    pub(super) owner: OwnerId,
    pub(super) side: BookSide,
    pub(super) price: Price,
    pub(super) left: Qty,
    next: u32,
    prev: u32,
    /// Place in `house`, or `NIL` for an account's order.
    house_at: u32,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    qty: i64,
    head: u32,
    tail: u32,
}

/// What matching did, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A resting order was hit.
    Hit {
        maker: OrderId,
        owner: OwnerId,
        price: Price,
        qty: Qty,
        maker_left: Qty,
    },
    /// A level has a new total.
    Level {
        side: BookSide,
        price: Price,
        qty: Qty,
    },
}

/// The book.
#[derive(Debug, Default)]
pub(super) struct OrderBook {
    bids: BTreeMap<Price, Level>,
    asks: BTreeMap<Price, Level>,
    orders: Vec<Resting>,
    free: Vec<u32>,
    by_id: AHashMap<OrderId, u32>,
    /// Slots of the crowd's orders, unordered, for drawing one at random.
    house: Vec<u32>,
    /// Resting orders per side: bids, asks.
    counts: [usize; 2],
}

impl OrderBook {
    fn side(&self, side: BookSide) -> &BTreeMap<Price, Level> {
        match side {
            BookSide::Bid => &self.bids,
            BookSide::Ask => &self.asks,
        }
    }

    fn side_mut(&mut self, side: BookSide) -> &mut BTreeMap<Price, Level> {
        match side {
            BookSide::Bid => &mut self.bids,
            BookSide::Ask => &mut self.asks,
        }
    }

    /// Best level of a side.
    pub(super) fn best(&self, side: BookSide) -> Option<(Price, Qty)> {
        let entry = match side {
            BookSide::Bid => self.bids.last_key_value(),
            BookSide::Ask => self.asks.first_key_value(),
        };
        entry.map(|(price, level)| (*price, Qty(level.qty)))
    }

    /// Appends up to `limit` levels, best first.
    pub(super) fn top(&self, side: BookSide, limit: usize, out: &mut Vec<(Price, Qty)>) {
        let row = |(price, level): (&Price, &Level)| (*price, Qty(level.qty));
        match side {
            BookSide::Bid => out.extend(self.bids.iter().rev().take(limit).map(row)),
            BookSide::Ask => out.extend(self.asks.iter().take(limit).map(row)),
        }
    }

    pub(super) fn levels(&self, side: BookSide) -> usize {
        self.side(side).len()
    }

    /// Number of resting orders of a side.
    pub(super) fn count(&self, side: BookSide) -> usize {
        self.counts[side as usize]
    }

    pub(super) fn order(&self, id: OrderId) -> Option<&Resting> {
        self.by_id.get(&id).map(|slot| &self.orders[*slot as usize])
    }

    /// A random order of the crowd.
    pub(super) fn draw_house(&self, rng: &mut Rng) -> Option<OrderId> {
        let at = rng.below(self.house.len() as u64) as usize;
        self.house
            .get(at)
            .map(|slot| self.orders[*slot as usize].id)
    }

    /// The first order of the crowd in the level at `from` or the next one away from the touch.
    pub(super) fn house_order_near(&self, side: BookSide, from: Price) -> Option<OrderId> {
        let level = match side {
            BookSide::Bid => self.bids.range(..=from).next_back(),
            BookSide::Ask => self.asks.range(from..).next(),
        };
        let mut slot = level?.1.head;
        while slot != NIL {
            let order = &self.orders[slot as usize];
            if order.owner == OwnerId::HOUSE {
                return Some(order.id);
            }
            slot = order.next;
        }
        None
    }

    /// What a taker could get at `limit` or better, counted up to `enough`.
    pub(super) fn available(&self, taker: Side, limit: Option<Price>, enough: Qty) -> Qty {
        let mut sum = 0_i64;
        let mut add = |price: Price, level: &Level| {
            let reachable = match (taker, limit) {
                (_, None) => true,
                (Side::Buy, Some(limit)) => price <= limit,
                (Side::Sell, Some(limit)) => price >= limit,
            };
            if reachable {
                sum = sum.saturating_add(level.qty);
            }
            reachable && sum < enough.0
        };
        match taker {
            Side::Buy => {
                let _ = self.asks.iter().all(|(price, level)| add(*price, level));
            }
            Side::Sell => {
                let _ = self
                    .bids
                    .iter()
                    .rev()
                    .all(|(price, level)| add(*price, level));
            }
        }
        Qty(sum)
    }

    /// Average price, in 10⁻⁸, of trading `value` (ticks × lots) against a side, or of all of it
    /// if it is worth less; `None` if it is empty. The last level counts whole.
    pub(super) fn impact_price(
        &self,
        side: BookSide,
        value: Notional,
        tick_e8: i64,
    ) -> Option<i64> {
        let (mut sum, mut lots) = (0_i128, 0_i128);
        let mut add = |(price, level): (&Price, &Level)| {
            sum += i128::from(price.0) * i128::from(level.qty);
            lots += i128::from(level.qty);
            sum < value.0
        };
        let _ = match side {
            BookSide::Bid => self.bids.iter().rev().all(&mut add),
            BookSide::Ask => self.asks.iter().all(&mut add),
        };
        (lots > 0).then(|| (sum * i128::from(tick_e8) / lots) as i64)
    }

    /// Executes up to `qty` against the book at `limit` or better, oldest order first within a
    /// price, and returns what is left of it.
    pub(super) fn take(
        &mut self,
        taker: Side,
        limit: Option<Price>,
        qty: Qty,
        out: &mut Vec<Step>,
    ) -> Qty {
        let book_side = taker.opposite().rests_on();
        let mut left = qty.0;
        while left > 0 {
            let Some((price, _)) = self.best(book_side) else {
                break;
            };
            let reachable = match (taker, limit) {
                (_, None) => true,
                (Side::Buy, Some(limit)) => price <= limit,
                (Side::Sell, Some(limit)) => price >= limit,
            };
            if !reachable {
                break;
            }
            let Some(mut level) = self.side(book_side).get(&price).copied() else {
                break;
            };
            while left > 0 && level.head != NIL {
                let slot = level.head;
                let maker = &mut self.orders[slot as usize];
                let hit = left.min(maker.left.0);
                maker.left.0 -= hit;
                left -= hit;
                level.qty -= hit;
                out.push(Step::Hit {
                    maker: maker.id,
                    owner: maker.owner,
                    price,
                    qty: Qty(hit),
                    maker_left: maker.left,
                });
                if maker.left.0 == 0 {
                    level.head = maker.next;
                    if level.head == NIL {
                        level.tail = NIL;
                    } else {
                        self.orders[level.head as usize].prev = NIL;
                    }
                    self.release(slot);
                }
            }
            self.store_level(book_side, price, level);
            out.push(Step::Level {
                side: book_side,
                price,
                qty: Qty(level.qty),
            });
        }
        Qty(left)
    }

    /// Adds an order behind the others of its price; the caller has made sure that it does not
    /// cross. Returns the new total of the level, or `None`, with nothing changed, if that total
    /// does not fit.
    pub(super) fn rest(
        &mut self,
        id: OrderId,
        owner: OwnerId,
        side: BookSide,
        price: Price,
        qty: Qty,
    ) -> Option<Qty> {
        let empty = Level {
            qty: 0,
            head: NIL,
            tail: NIL,
        };
        let mut level = self.side(side).get(&price).copied().unwrap_or(empty);
        level.qty = level.qty.checked_add(qty.0)?;
        let mut order = Resting {
            id,
            owner,
            side,
            price,
            left: qty,
            next: NIL,
            prev: level.tail,
            house_at: NIL,
        };
        let slot = self.free.pop().unwrap_or(self.orders.len() as u32);
        if owner == OwnerId::HOUSE {
            order.house_at = self.house.len() as u32;
            self.house.push(slot);
        }
        match self.orders.get_mut(slot as usize) {
            Some(place) => *place = order,
            None => self.orders.push(order),
        }
        if level.tail == NIL {
            level.head = slot;
        } else {
            self.orders[level.tail as usize].next = slot;
        }
        level.tail = slot;
        self.by_id.insert(id, slot);
        self.counts[side as usize] += 1;
        self.side_mut(side).insert(price, level);
        Some(Qty(level.qty))
    }

    /// Removes an order; returns it as it was and the new total of its level.
    pub(super) fn remove(&mut self, id: OrderId) -> Option<(Resting, Qty)> {
        let slot = *self.by_id.get(&id)?;
        let order = self.orders[slot as usize];
        let mut level = *self.side(order.side).get(&order.price)?;
        level.qty -= order.left.0;
        if order.prev == NIL {
            level.head = order.next;
        } else {
            self.orders[order.prev as usize].next = order.next;
        }
        if order.next == NIL {
            level.tail = order.prev;
        } else {
            self.orders[order.next as usize].prev = order.prev;
        }
        self.release(slot);
        self.store_level(order.side, order.price, level);
        Some((order, Qty(level.qty)))
    }

    /// Makes an order smaller where it stands: side, price and new total of its level. `None`,
    /// with nothing changed, unless something of it goes and something stays.
    pub(super) fn reduce(&mut self, id: OrderId, left: Qty) -> Option<(BookSide, Price, Qty)> {
        let slot = *self.by_id.get(&id)?;
        let order = self.orders.get_mut(slot as usize)?;
        if left.0 <= 0 || left >= order.left {
            return None;
        }
        let gone = order.left.0 - left.0;
        order.left = left;
        let (side, price) = (order.side, order.price);
        let level = self.side_mut(side).get_mut(&price)?;
        level.qty -= gone;
        Some((side, price, Qty(level.qty)))
    }

    /// Levels that a taker meets at `limit` or better, best first.
    fn met(&self, taker: Side, limit: Option<Price>) -> impl Iterator<Item = (Price, &Level)> {
        let levels: Box<dyn Iterator<Item = (&Price, &Level)>> = match taker {
            Side::Buy => Box::new(self.asks.iter()),
            Side::Sell => Box::new(self.bids.iter().rev()),
        };
        let reachable = move |price: Price| match (taker, limit) {
            (_, None) => true,
            (Side::Buy, Some(limit)) => price <= limit,
            (Side::Sell, Some(limit)) => price >= limit,
        };
        levels
            .map(|(price, level)| (*price, level))
            .take_while(move |(price, _)| reachable(*price))
    }

    /// What a taker would get: quantity up to `qty`, and its value.
    pub(super) fn takes(&self, taker: Side, limit: Option<Price>, qty: Qty) -> (Qty, Notional) {
        let (mut got, mut value) = (0_i64, 0_i128);
        for (price, level) in self.met(taker, limit) {
            if got >= qty.0 {
                break;
            }
            let part = level.qty.min(qty.0 - got);
            got += part;
            value += price.notional(Qty(part)).0;
        }
        (Qty(got), Notional(value))
    }

    /// The largest quantity that a taker gets for `value`.
    pub(super) fn takes_for(&self, taker: Side, value: Notional) -> Qty {
        let (mut got, mut left) = (0_i64, value.0);
        for (price, level) in self.met(taker, None) {
            let most = left / i128::from(price.0.max(1));
            let part = i64::try_from(most).unwrap_or(i64::MAX).min(level.qty);
            got = got.saturating_add(part);
            left -= price.notional(Qty(part)).0;
            if part < level.qty {
                break;
            }
        }
        Qty(got)
    }

    /// Orders of `owner` that a taker of that owner would meet, and what it gets of others before
    /// the first of them.
    pub(super) fn own_in_way(
        &self,
        owner: OwnerId,
        taker: Side,
        limit: Option<Price>,
        qty: Qty,
    ) -> (Vec<OrderId>, Qty) {
        let (mut own, mut ahead, mut got) = (Vec::new(), 0_i64, 0_i64);
        for (_, level) in self.met(taker, limit) {
            let mut slot = level.head;
            while slot != NIL && got < qty.0 {
                let order = &self.orders[slot as usize];
                if order.owner == owner {
                    own.push(order.id);
                } else {
                    got += order.left.0.min(qty.0 - got);
                    if own.is_empty() {
                        ahead = got;
                    }
                }
                slot = order.next;
            }
            if got >= qty.0 {
                break;
            }
        }
        (own, Qty(ahead))
    }

    fn store_level(&mut self, side: BookSide, price: Price, level: Level) {
        let side = self.side_mut(side);
        if level.head == NIL {
            debug_assert_eq!(level.qty, 0);
            side.remove(&price);
        } else {
            side.insert(price, level);
        }
    }

    /// Frees a slot already unlinked from its level.
    fn release(&mut self, slot: u32) {
        let order = self.orders[slot as usize];
        self.by_id.remove(&order.id);
        self.counts[order.side as usize] -= 1;
        if order.house_at != NIL {
            self.house.swap_remove(order.house_at as usize);
            if let Some(moved) = self.house.get(order.house_at as usize) {
                self.orders[*moved as usize].house_at = order.house_at;
            }
        }
        self.free.push(slot);
    }

    /// Places for orders, used or free.
    #[cfg(test)]
    pub(super) fn slots(&self) -> usize {
        self.orders.len()
    }

    /// Recomputes everything from the single orders and compares.
    ///
    /// # Errors
    /// Says what does not agree.
    pub(super) fn audit(&self) -> Result<(), String> {
        if let (Some((bid, _)), Some((ask, _))) =
            (self.best(BookSide::Bid), self.best(BookSide::Ask))
            && bid >= ask
        {
            return Err(format!("crossed: {bid:?} >= {ask:?}"));
        }
        let mut seen = 0;
        for side in [BookSide::Bid, BookSide::Ask] {
            let mut count = 0;
            for (price, level) in self.side(side) {
                let (mut sum, mut slot, mut prev) = (0_i64, level.head, NIL);
                while slot != NIL {
                    let order = &self.orders[slot as usize];
                    let linked = order.prev == prev
                        && order.side == side
                        && order.price == *price
                        && order.left.0 > 0
                        && self.by_id.get(&order.id) == Some(&slot);
                    if !linked {
                        return Err(format!("order {order:?} out of place at {price:?}"));
                    }
                    sum += order.left.0;
                    count += 1;
                    prev = slot;
                    slot = order.next;
                }
                if sum != level.qty || prev != level.tail || sum == 0 {
                    return Err(format!(
                        "level {price:?}: {} but orders sum {sum}",
                        level.qty
                    ));
                }
            }
            if count != self.counts[side as usize] {
                return Err(format!(
                    "{side:?}: {count} orders, counted {:?}",
                    self.counts
                ));
            }
            seen += count;
        }
        if seen != self.by_id.len() || seen + self.free.len() != self.orders.len() {
            return Err(format!("{seen} orders linked, {} known", self.by_id.len()));
        }
        Ok(())
    }
}
