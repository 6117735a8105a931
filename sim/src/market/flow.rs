//! The simulated crowd of one instrument: makers who quote around the latent price, takers who
//! come at random, and takers and makers who react when the book lags behind it. It acts only
//! through the desk, like any other owner of orders.

use super::catalog::FlowSpec;
use super::desk::{Desk, NewOrder, OrderKind, TimeInForce};
use super::event::{BookSide, Event, OwnerId, Side};
use super::instrument::{Instrument, InstrumentIx, Price, Qty};
use super::paths::Coupling;
use super::rng::Rng;

const PURPOSE_FLOW: u64 = 16;
/// Share of random takers among the events.
const TAKE_SHARE: f64 = 0.045;
/// Typical distance between quotes near the touch, in daily volatilities: a sixth of what the
/// price moves in a factor step, so that a step crosses a few levels.
const GAP_PER_VOL: f64 = 1.6e-4;
/// Moves of the latent price the crowd ignores, in gaps: three typical factor steps.
const STILL_GAPS: f64 = 20.0;
/// Near zone in gaps.
const NEAR_GAPS: f64 = 40.0;
/// Reach of the deep zone, relative to the price.
const DEEP_REACH: f64 = 0.06;

#[derive(Debug)]
pub(super) struct Flow {
    ix: InstrumentIx,
    rng: Rng,
    spec: FlowSpec,
    /// Latent price in ticks.
    fair: f64,
    gap: f64,
    deep: f64,
    gap_rel: f64,
    /// Lots for one unit of the quote asset, times the price in ticks.
    lots_per_value: f64,
    value_min: f64,
    qty_range: (i64, i64),
    price_range: (i64, i64),
    /// Trading begets trading: added by takers, fades.
    excited: f64,
    last_side: Side,
    /// When it acts next, Unix µs.
    pub(super) next_us: i64,
}

impl Flow {
    pub(super) fn new(
        seed: u64,
        ix: InstrumentIx,
        instrument: &Instrument,
        spec: FlowSpec,
        coupling: &Coupling,
    ) -> Self {
        let minimum = instrument.notional_min;
        let value_min = minimum.mantissa() as f64 * 10_f64.powi(-(minimum.scale() as i32));
        Self {
            ix,
            rng: Rng::new(seed, PURPOSE_FLOW, i64::from(ix.0)),
            spec,
            fair: 0.0,
            gap: 1.0,
            deep: 1.0,
            gap_rel: GAP_PER_VOL * coupling.daily_vol(),
            lots_per_value: 1.0 / (instrument.tick_f64() * instrument.lot_f64()),
            value_min: value_min * 1.05,
            qty_range: (instrument.qty_range.0.0, instrument.market_qty_max.0),
            price_range: (instrument.price_range.0.0, instrument.price_range.1.0),
            excited: 0.0,
            last_side: Side::Buy,
            next_us: i64::MAX,
        }
    }

    /// Takes a new latent price, once a factor step. The crowd is slow to change its mind: small
    /// moves pass by, a larger one makes everybody move at once. That gives still books with
    /// bursts between, as real ones are, where following every step would give a steady churn.
    pub(super) fn set_fair(&mut self, latent: f64) {
        self.excited *= 0.85;
        let band = (self.fair * self.gap_rel * STILL_GAPS).max(0.5);
        if (latent - self.fair).abs() < band {
            return;
        }
        self.fair = latent.max(4.0);
        self.gap = (self.fair * self.gap_rel).max(1.0);
        let room = 1.5 * self.spec.orders as f64;
        self.deep = (self.fair * DEEP_REACH).max(room).min(self.fair * 0.5);
    }

    /// Changes how often it acts, events a second in calm.
    pub(super) fn set_rate(&mut self, rate: f64) {
        self.spec.rate = rate;
    }

    /// Draws the time of the next event.
    pub(super) fn schedule(&mut self, now_us: i64, activity: f64) {
        let rate = self.spec.rate * activity * (1.0 + self.excited);
        let wait = self.rng.exponential() / rate * 1e6;
        // At least 1 µs, at most an hour: also for a rate of nearly nothing.
        self.next_us = now_us + (wait as i64).clamp(1, 3_600_000_000);
    }

    /// Lays out the first book.
    pub(super) fn fill_book(&mut self, desk: &mut Desk, now_us: i64, out: &mut Vec<Event>) {
        for n in 0..self.spec.orders {
            for side in [Side::Buy, Side::Sell] {
                let distance = match n {
                    0..4 => self.gap * n as f64,
                    _ if self.rng.chance(0.35) => self.near(),
                    _ => self.far(),
                };
                let price = self.at_distance(side, distance);
                self.quote(desk, side, price, now_us, out);
            }
        }
    }

    /// One event.
    pub(super) fn act(&mut self, desk: &mut Desk, now_us: i64, out: &mut Vec<Event>) {
        let bid = desk
            .book
            .best(BookSide::Bid)
            .map(|(price, _)| price.0 as f64);
        let ask = desk
            .book
            .best(BookSide::Ask)
            .map(|(price, _)| price.0 as f64);
        let edge = 0.6_f64.max(0.5 * self.gap);
        if ask.is_some_and(|ask| ask < self.fair - edge) {
            return self.react(desk, Side::Buy, now_us, out);
        }
        if bid.is_some_and(|bid| bid > self.fair + edge) {
            return self.react(desk, Side::Sell, now_us, out);
        }
        if self.rng.chance(TAKE_SHARE) {
            // Takers come in runs: large orders are worked in pieces.
            if self.rng.chance(0.35) {
                self.last_side = self.last_side.opposite();
            }
            let worst = match self.last_side {
                Side::Buy => ask.map(|ask| ask + 8.0 * self.gap),
                Side::Sell => bid.map(|bid| bid - 8.0 * self.gap),
            };
            let size = 0.6 + self.rng.exponential();
            return self.sweep(desk, self.last_side, worst, size, now_us, out);
        }
        let side = if self.rng.chance(0.5) {
            Side::Buy
        } else {
            Side::Sell
        };
        let book_side = side.rests_on();
        let fullness = desk.book.count(book_side) as f64 / self.spec.orders.max(1) as f64;
        if self
            .rng
            .chance((0.5 + 2.0 * (1.0 - fullness)).clamp(0.05, 0.95))
        {
            let (touch, inward) = match side {
                Side::Buy => (bid, 1.0),
                Side::Sell => (ask, -1.0),
            };
            let price = match touch {
                // Join the touch, better it by a tick, or quote somewhere behind.
                Some(touch) if (touch - self.fair).abs() < 3.0 * self.gap => {
                    match self.rng.unit() {
                        roll if roll < 0.10 => touch as i64,
                        roll if roll < 0.20 => (touch + inward) as i64,
                        roll if roll < 0.70 => {
                            let distance = self.near();
                            self.at_distance(side, distance)
                        }
                        _ => {
                            let distance = self.far();
                            self.at_distance(side, distance)
                        }
                    }
                }
                // The touch was eaten away: quote near the latent price.
                _ => {
                    let distance = self.gap * self.rng.exponential();
                    self.at_distance(side, distance)
                }
            };
            self.quote(desk, side, price, now_us, out);
        } else {
            self.withdraw(desk, side, now_us, out);
        }
    }

    /// The book lags: makers pull what is stale, takers pick it off.
    fn react(&mut self, desk: &mut Desk, taker: Side, now_us: i64, out: &mut Vec<Event>) {
        self.excited = (self.excited + 0.2).min(4.0);
        if self.rng.chance(0.5) {
            let stale = taker.opposite().rests_on();
            let best = desk.book.best(stale).map(|(price, _)| price);
            let order = best.and_then(|best| desk.book.house_order_near(stale, best));
            if let Some(order) = order {
                desk.cancel(order, OwnerId::HOUSE, now_us, out);
                return;
            }
        }
        let size = 2.0 + 4.0 * self.rng.exponential();
        self.sweep(desk, taker, Some(self.fair), size, now_us, out);
    }

    fn sweep(
        &mut self,
        desk: &mut Desk,
        side: Side,
        worst: Option<f64>,
        size: f64,
        now_us: i64,
        out: &mut Vec<Event>,
    ) {
        let Some(worst) = worst else { return };
        self.excited = (self.excited + 0.1).min(4.0);
        let price = match side {
            Side::Buy => worst.floor(),
            Side::Sell => worst.ceil(),
        };
        let kind = OrderKind::Limit {
            price: Price((price as i64).clamp(self.price_range.0, self.price_range.1)),
            time_in_force: TimeInForce::Ioc,
        };
        let qty = self.size(size);
        let order = NewOrder {
            instrument: self.ix,
            owner: OwnerId::HOUSE,
            side,
            qty,
            kind,
        };
        // An IOC order that finds nothing simply expires.
        let _ = desk.place(&order, now_us, out);
    }

    /// Distance within the near zone, in ticks.
    fn near(&mut self) -> f64 {
        let unit = self.rng.unit();
        self.gap * NEAR_GAPS * unit * unit
    }

    /// Distance within the deep zone: dense inside, thin outside.
    fn far(&mut self) -> f64 {
        let inner = (8.0 * self.gap).min(0.5 * self.deep);
        inner * (self.deep / inner).powf(self.rng.unit())
    }

    fn at_distance(&self, side: Side, distance: f64) -> i64 {
        let distance = distance + 0.1 * self.gap;
        let price = match side {
            Side::Buy => (self.fair - distance).floor(),
            Side::Sell => (self.fair + distance).ceil(),
        };
        (price as i64).clamp(self.price_range.0, self.price_range.1)
    }

    fn quote(
        &mut self,
        desk: &mut Desk,
        side: Side,
        mut price: i64,
        now_us: i64,
        out: &mut Vec<Event>,
    ) {
        match side {
            Side::Buy => {
                if let Some((ask, _)) = desk.book.best(BookSide::Ask) {
                    price = price.min(ask.0 - 1);
                }
            }
            Side::Sell => {
                if let Some((bid, _)) = desk.book.best(BookSide::Bid) {
                    price = price.max(bid.0 + 1);
                }
            }
        }
        if price < self.price_range.0 || price > self.price_range.1 {
            return;
        }
        let depth = (price as f64 - self.fair).abs() / self.deep;
        let qty = self.size(1.0 + 5.0 * depth.min(1.0));
        let kind = OrderKind::Limit {
            price: Price(price),
            time_in_force: TimeInForce::PostOnly,
        };
        let order = NewOrder {
            instrument: self.ix,
            owner: OwnerId::HOUSE,
            side,
            qty,
            kind,
        };
        // It does not cross, as its price was held behind the touch; a full level takes no more.
        let _ = desk.place(&order, now_us, out);
    }

    fn withdraw(&mut self, desk: &mut Desk, side: Side, now_us: i64, out: &mut Vec<Event>) {
        let near = if self.rng.chance(0.5) {
            let distance = self.near();
            let from = Price(self.at_distance(side, distance));
            desk.book.house_order_near(side.rests_on(), from)
        } else {
            None
        };
        let order = match near {
            Some(order) => Some(order),
            None => desk.book.draw_house(&mut self.rng),
        };
        if let Some(order) = order {
            desk.cancel(order, OwnerId::HOUSE, now_us, out);
        }
    }

    /// A random quantity, `scale` times the instrument's usual order.
    fn size(&mut self, scale: f64) -> Qty {
        let value = self.spec.order_value * scale * (0.9 * self.rng.normal() - 0.4).exp();
        let lots = value.max(self.value_min) / self.fair * self.lots_per_value;
        Qty((lots.ceil() as i64).clamp(self.qty_range.0, self.qty_range.1))
    }
}
