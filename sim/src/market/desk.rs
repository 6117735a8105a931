//! One instrument's desk: its book, the numbers it gives out, its recent trades and its bars.

use std::collections::VecDeque;

use super::event::{
    AggTrade, Bbo, BookChange, BookSide, Event, EventKind, Fill, OrderId, OwnerId, Side, Trade,
};
use super::instrument::{Instrument, InstrumentIx, Notional, Price, Qty, Segment, Status};
use super::kline::LiveBars;
use super::matching::{OrderBook, Step};
use super::rng::Rng;

/// How an order executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Takes what the book has; the rest expires.
    Market,
    /// Executes at `price` or better; what happens to the rest is `time_in_force`.
    Limit {
        /// Worst price.
        price: Price,
        /// What becomes of the rest.
        time_in_force: TimeInForce,
    },
}

/// What becomes of the part of a limit order that does not execute at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeInForce {
    /// Rests.
    Gtc,
    /// Expires.
    Ioc,
    /// Nothing executes unless all of it can.
    Fok,
    /// Rejected if any of it would execute.
    PostOnly,
}

/// An order to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewOrder {
    /// Where.
    pub instrument: InstrumentIx,
    /// Whose.
    pub owner: OwnerId,
    /// Direction.
    pub side: Side,
    /// Base quantity.
    pub qty: Qty,
    /// How.
    pub kind: OrderKind,
}

/// What an order did on arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderReport {
    /// Its number.
    pub order_id: OrderId,
    /// Executed at once.
    pub executed: Qty,
    /// Price × quantity of that, in ticks × lots.
    pub executed_notional: Notional,
    /// Now resting; 0 if filled or expired.
    pub resting: Qty,
    /// Expired: neither executed nor resting.
    pub expired: Qty,
}

/// Why an order was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderReject {
    /// No such instrument.
    #[error("unknown instrument")]
    UnknownInstrument,
    /// The instrument does not trade.
    #[error("instrument does not trade")]
    NotTrading,
    /// Outside the instrument's price range.
    #[error("price outside the instrument's range")]
    PriceRange,
    /// Outside the instrument's quantity range.
    #[error("quantity outside the instrument's range")]
    QtyRange,
    /// Price × quantity too small.
    #[error("order value below the instrument's minimum")]
    NotionalMin,
    /// A post-only order would have executed at once.
    #[error("post-only order would execute")]
    WouldExecute,
    /// A fill-or-kill order could not be filled.
    #[error("fill-or-kill order cannot be filled")]
    CannotFill,
    /// The level's total would not fit 64 bits.
    #[error("price level is full")]
    LevelFull,
}

/// A resting order as its owner may see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOrder {
    /// Its number.
    pub order_id: OrderId,
    /// Whose.
    pub owner: OwnerId,
    /// Side of the book.
    pub side: BookSide,
    /// Its price.
    pub price: Price,
    /// Still open.
    pub left: Qty,
}

/// Where an instrument's numbers start.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstIds {
    pub(super) update: u64,
    pub(super) trade: u64,
    pub(super) agg: u64,
    pub(super) order: u64,
}

#[derive(Debug)]
pub(super) struct Desk {
    ix: InstrumentIx,
    pub(super) book: OrderBook,
    /// Numbers of futures updates jump; what they jump by comes from here.
    jumps: Option<Rng>,
    update_id: u64,
    next_trade: u64,
    next_agg: u64,
    next_order: u64,
    bbo: Bbo,
    pub(super) bars: LiveBars,
    pub(super) trades: VecDeque<Trade>,
    pub(super) aggs: VecDeque<AggTrade>,
    ring_max: usize,
    steps: Vec<Step>,
}

impl Desk {
    pub(super) fn new(
        ix: InstrumentIx,
        instrument: &Instrument,
        ids: FirstIds,
        bars: LiveBars,
        ring_max: usize,
        jumps: Rng,
    ) -> Self {
        Self {
            ix,
            book: OrderBook::default(),
            jumps: (instrument.segment == Segment::Linear).then_some(jumps),
            update_id: ids.update,
            next_trade: ids.trade,
            next_agg: ids.agg,
            next_order: ids.order,
            bbo: Bbo::default(),
            bars,
            trades: VecDeque::new(),
            aggs: VecDeque::new(),
            ring_max: ring_max.max(1),
            steps: Vec::new(),
        }
    }

    pub(super) fn bbo(&self) -> Bbo {
        Bbo {
            update_id: self.update_id,
            bid: self.book.best(BookSide::Bid),
            ask: self.book.best(BookSide::Ask),
        }
    }

    /// Middle of the touch in half ticks.
    pub(super) fn mid_x2(&self) -> Option<i64> {
        Some(self.book.best(BookSide::Bid)?.0.0 + self.book.best(BookSide::Ask)?.0.0)
    }

    fn emit(&self, now_us: i64, kind: EventKind, out: &mut Vec<Event>) {
        out.push(Event {
            instrument: self.ix,
            ts_us: now_us,
            kind,
        });
    }

    fn change(&mut self, now_us: i64, level: (BookSide, Price, Qty), out: &mut Vec<Event>) {
        let prev_update_id = self.update_id;
        // A linear venue numbers the changes of all its books in one row, so one book sees jumps.
        self.update_id += 1 + self.jumps.as_mut().map_or(0, |rng| rng.below(64));
        let (side, price, qty) = level;
        let change = BookChange {
            update_id: self.update_id,
            prev_update_id,
            side,
            price,
            qty,
        };
        self.emit(now_us, EventKind::Book(change), out);
    }

    /// Ends the handling of one order: tells the touch if it moved.
    fn settle_touch(&mut self, now_us: i64, out: &mut Vec<Event>) {
        let bbo = self.bbo();
        if (bbo.bid, bbo.ask) != (self.bbo.bid, self.bbo.ask) {
            self.bbo = bbo;
            self.emit(now_us, EventKind::Bbo(bbo), out);
        }
    }

    fn check(&self, instrument: &Instrument, order: &NewOrder) -> Result<(), OrderReject> {
        if instrument.status != Status::Trading {
            return Err(OrderReject::NotTrading);
        }
        let qty_max = match order.kind {
            OrderKind::Market => instrument.market_qty_max,
            OrderKind::Limit { .. } => instrument.qty_range.1,
        };
        if order.qty < instrument.qty_range.0 || order.qty > qty_max {
            return Err(OrderReject::QtyRange);
        }
        let price = match order.kind {
            OrderKind::Market => Price(self.bars.last_price()),
            OrderKind::Limit { price, .. } => {
                if price < instrument.price_range.0 || price > instrument.price_range.1 {
                    return Err(OrderReject::PriceRange);
                }
                price
            }
        };
        if !instrument.reaches_notional_min(price, order.qty) {
            return Err(OrderReject::NotionalMin);
        }
        Ok(())
    }

    /// Places an account's order: the venue's rules first, then the book.
    pub(super) fn submit(
        &mut self,
        instrument: &Instrument,
        order: &NewOrder,
        now_us: i64,
        out: &mut Vec<Event>,
    ) -> Result<OrderReport, OrderReject> {
        self.check(instrument, order)?;
        self.place(order, now_us, out)
    }

    /// Matches and rests an order.
    pub(super) fn place(
        &mut self,
        order: &NewOrder,
        now_us: i64,
        out: &mut Vec<Event>,
    ) -> Result<OrderReport, OrderReject> {
        let (limit, tif) = match order.kind {
            OrderKind::Market => (None, TimeInForce::Ioc),
            OrderKind::Limit {
                price,
                time_in_force,
            } => (Some(price), time_in_force),
        };
        let rests = matches!(tif, TimeInForce::Gtc | TimeInForce::PostOnly);
        match tif {
            TimeInForce::PostOnly if self.book.available(order.side, limit, Qty(1)) > Qty(0) => {
                return Err(OrderReject::WouldExecute);
            }
            TimeInForce::Fok if self.book.available(order.side, limit, order.qty) < order.qty => {
                return Err(OrderReject::CannotFill);
            }
            _ => {}
        }
        let order_id = OrderId(self.next_order);
        self.next_order += 1;
        let mut left = order.qty;
        let mut executed_notional = Notional(0);
        if tif != TimeInForce::PostOnly {
            let mut steps = std::mem::take(&mut self.steps);
            steps.clear();
            left = self.book.take(order.side, limit, order.qty, &mut steps);
            executed_notional = self.report_steps(order, order_id, &steps, now_us, out);
            self.steps = steps;
        }
        let executed = Qty(order.qty.0 - left.0);
        let mut resting = Qty(0);
        if let Some(price) = limit
            && rests
            && left.0 > 0
        {
            let side = order.side.rests_on();
            match self.book.rest(order_id, order.owner, side, price, left) {
                Some(total) => {
                    resting = left;
                    self.change(now_us, (side, price, total), out);
                }
                None if executed.0 == 0 => return Err(OrderReject::LevelFull),
                // The executed part stands; the rest expires.
                None => {}
            }
        }
        self.settle_touch(now_us, out);
        let expired = Qty(order.qty.0 - executed.0 - resting.0);
        Ok(OrderReport {
            order_id,
            executed,
            executed_notional,
            resting,
            expired,
        })
    }

    /// Turns the steps of one taker into trades, aggregates, changes and fills.
    fn report_steps(
        &mut self,
        order: &NewOrder,
        order_id: OrderId,
        steps: &[Step],
        now_us: i64,
        out: &mut Vec<Event>,
    ) -> Notional {
        let mut taker_left = order.qty;
        let mut notional = 0_i128;
        let mut agg: Option<AggTrade> = None;
        for step in steps {
            match *step {
                Step::Hit {
                    maker,
                    owner,
                    price,
                    qty,
                    maker_left,
                } => {
                    taker_left.0 -= qty.0;
                    notional += price.notional(qty).0;
                    let id = self.next_trade;
                    self.next_trade += 1;
                    let trade = Trade {
                        id,
                        price,
                        qty,
                        taker_side: order.side,
                        ts_us: now_us,
                    };
                    self.bars.add(&trade);
                    push_bounded(&mut self.trades, trade, self.ring_max);
                    self.emit(now_us, EventKind::Trade(trade), out);
                    let taker = (order.owner, order_id, taker_left);
                    self.tell_fills(&trade, (owner, maker, maker_left), taker, out);
                    match agg.as_mut() {
                        Some(agg) => {
                            agg.last_trade_id = id;
                            agg.qty.0 += qty.0;
                        }
                        None => {
                            agg = Some(AggTrade {
                                id: self.next_agg,
                                first_trade_id: id,
                                last_trade_id: id,
                                price,
                                qty,
                                taker_side: order.side,
                                ts_us: now_us,
                            });
                            self.next_agg += 1;
                        }
                    }
                }
                Step::Level { side, price, qty } => {
                    if let Some(agg) = agg.take() {
                        push_bounded(&mut self.aggs, agg, self.ring_max);
                        self.emit(now_us, EventKind::AggTrade(agg), out);
                    }
                    self.change(now_us, (side, price, qty), out);
                }
            }
        }
        Notional(notional)
    }

    /// Tells accounts, not the crowd, of their parts in a trade.
    fn tell_fills(
        &self,
        trade: &Trade,
        maker: (OwnerId, OrderId, Qty),
        taker: (OwnerId, OrderId, Qty),
        out: &mut Vec<Event>,
    ) {
        for ((owner, order_id, left), is_maker) in [(maker, true), (taker, false)] {
            if owner == OwnerId::HOUSE {
                continue;
            }
            let side = if is_maker {
                trade.taker_side.opposite()
            } else {
                trade.taker_side
            };
            let (trade_id, price, qty) = (trade.id, trade.price, trade.qty);
            let fill = Fill {
                owner,
                order_id,
                trade_id,
                side,
                price,
                qty,
                left,
                is_maker,
            };
            self.emit(trade.ts_us, EventKind::Fill(fill), out);
        }
    }

    /// Takes an order out of the book; `None` if it is not there or not `owner`'s.
    pub(super) fn cancel(
        &mut self,
        id: OrderId,
        owner: OwnerId,
        now_us: i64,
        out: &mut Vec<Event>,
    ) -> Option<OpenOrder> {
        if self.book.order(id)?.owner != owner {
            return None;
        }
        let (order, total) = self.book.remove(id)?;
        self.change(now_us, (order.side, order.price, total), out);
        self.settle_touch(now_us, out);
        let (side, price, left) = (order.side, order.price, order.left);
        Some(OpenOrder {
            order_id: id,
            owner,
            side,
            price,
            left,
        })
    }

    /// Makes an order smaller where it stands; false if it is not there, not `owner`'s, or not
    /// larger than `left`.
    pub(super) fn reduce(
        &mut self,
        id: OrderId,
        owner: OwnerId,
        left: Qty,
        now_us: i64,
        out: &mut Vec<Event>,
    ) -> bool {
        if self.book.order(id).is_none_or(|order| order.owner != owner) {
            return false;
        }
        let Some((side, price, total)) = self.book.reduce(id, left) else {
            return false;
        };
        self.change(now_us, (side, price, total), out);
        self.settle_touch(now_us, out);
        true
    }

    pub(super) fn open_order(&self, id: OrderId) -> Option<OpenOrder> {
        let order = self.book.order(id)?;
        let (owner, side, price, left) = (order.owner, order.side, order.price, order.left);
        Some(OpenOrder {
            order_id: id,
            owner,
            side,
            price,
            left,
        })
    }
}

fn push_bounded<T>(ring: &mut VecDeque<T>, item: T, max: usize) {
    if ring.len() >= max {
        ring.pop_front();
    }
    ring.push_back(item);
}
