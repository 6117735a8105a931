//! One account's paper orders of one instrument, next to that instrument's live book.
//!
//! The caller tells what happens: [`Desk::on_book`] after every change of the book, [`Desk::on_trade`]
//! for every trade (single ones or aggregates, never both), [`Desk::advance`] when time has passed,
//! and takes what that leads to out of the [`Facts`]. An empty desk needs none of it.
//!
//! What the desk does not know of: other accounts (each fills as if it were alone), its own orders as
//! a counterpart (two of them never fill each other), and what its own executions would have moved.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::arrive::{Floor, NO_POSITION, Positions};
use super::consumed::Consumed;
use super::work::{Phase, Work, bare};
use super::{Depth, Fees, rests_on};
use crate::event::Trade;
use crate::instrument::Instrument;
use crate::num::{Price, from_decimal, to_decimal};
use crate::time::TsNanos;
use crate::trading::check::{only_reduces, waits_for_rise};
use crate::trading::order::{OrderTerms, PositionSide};
use crate::trading::state::Word;
use crate::trading::venue::Facts;

/// Orders of one desk at most, those under way included.
pub const ORDERS_MAX: usize = 1_000;

/// Changes of orders under way at most. Cancellations are not counted: there is one for each order.
const AMENDMENTS_MAX: usize = 4_000;

const NO_SUCH_ORDER: &str = "there is no such open order";
const TOO_MANY: &str = "the paper account has too many open orders of this instrument";

/// An order to be placed.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// What; checked before.
    pub terms: &'a OrderTerms,
    /// The client's id that facts will name it by; unique for all time.
    pub client_id: &'a str,
    /// What it may spend, fees included, quote units: of spot orders to buy at the market. `None`: no
    /// limit.
    pub budget: Option<Decimal>,
    /// Executed before, base units: of an order that is taken up again after a restart. It joins its
    /// queue anew.
    pub filled: Decimal,
    /// Average price of that.
    pub average_price: Option<Decimal>,
    /// It is a stop whose price was reached before that: its exchange order id was told.
    pub is_triggered: bool,
}

impl<'a> Placement<'a> {
    /// A new order.
    #[must_use]
    pub const fn new(terms: &'a OrderTerms, client_id: &'a str, budget: Option<Decimal>) -> Self {
        Self {
            terms,
            client_id,
            budget,
            filled: Decimal::ZERO,
            average_price: None,
            is_triggered: false,
        }
    }
}

/// What is under way.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Place(Box<Work>),
    Cancel(String),
    Amend {
        client_id: String,
        quantity: i64,
        price: Option<Price>,
    },
}

/// The desk. See the module's text.
#[derive(Clone, Debug)]
pub struct Desk {
    pub(super) instrument: Arc<Instrument>,
    pub(super) floor: Floor,
    /// Price of the last trade.
    last: Option<Price>,
    /// In the order of their joining: of two at one price the first is filled first.
    pub(super) orders: Vec<Work>,
    /// By the time from which they count, then by the order of their coming.
    pub(super) commands: BTreeMap<(TsNanos, u64), Command>,
    number: u64,
    is_synced: bool,
}

impl Desk {
    /// A desk without orders. `last`: price of the last trade, where one is known.
    #[must_use]
    pub fn new(instrument: Arc<Instrument>, fees: Fees, last: Option<Price>) -> Self {
        Self {
            instrument,
            floor: Floor {
                fees,
                positions: Positions::default(),
                consumed: Consumed::default(),
                scratch: Vec::new(),
            },
            last,
            orders: Vec::new(),
            commands: BTreeMap::new(),
            number: 0,
            is_synced: false,
        }
    }

    /// True when there is nothing that a book, a trade or time could change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.orders.is_empty() && self.commands.is_empty()
    }

    /// Orders that work, and those under way.
    #[must_use]
    pub fn len(&self) -> usize {
        let is_place = |command: &&Command| matches!(command, Command::Place(_));
        self.orders.len() + self.commands.values().filter(is_place).count()
    }

    /// The instrument. Its scales are the desk's: when they change a new desk is needed.
    #[must_use]
    pub fn instrument(&self) -> &Arc<Instrument> {
        &self.instrument
    }

    /// When the next command counts: [`Desk::advance`] is due then.
    #[must_use]
    pub fn next_due(&self) -> Option<TsNanos> {
        self.commands.first_key_value().map(|((at, _), _)| *at)
    }

    /// Sets a position that was there before the desk was, base units, negative: short. Later ones
    /// come from the desk's own executions.
    pub fn set_position(&mut self, side: PositionSide, quantity: Decimal) {
        let scale = self.instrument.qty_scale;
        if let Ok(quantity) = from_decimal(quantity, scale) {
            *self.floor.positions.of(Some(side)) = quantity;
        }
    }

    /// Takes an order that is there from `active_at` on. It may be refused at once.
    pub fn place(&mut self, placement: &Placement<'_>, active_at: TsNanos, out: &mut Facts) {
        let work = match self.work(placement, active_at) {
            Ok(_) if self.len() >= ORDERS_MAX => Err(TOO_MANY.to_owned()),
            other => other,
        };
        match work {
            Ok(work) => self.push(active_at, Command::Place(Box::new(work))),
            Err(reason) => {
                let id = placement.client_id;
                let report = bare(&self.instrument, id, Word::Refused, &reason, active_at);
                out.orders.push(report);
            }
        }
    }

    /// Takes a cancellation that counts from `active_at` on.
    pub fn cancel(&mut self, client_id: &str, active_at: TsNanos) {
        let mut waiting = self.commands.values();
        if !waiting.any(|command| matches!(command, Command::Cancel(id) if id == client_id)) {
            self.push(active_at, Command::Cancel(client_id.to_owned()));
        }
    }

    /// Takes a change of an order's total quantity (base units) and limit price that counts from
    /// `active_at` on. One that can't be made is answered with the order as it is.
    pub fn amend(
        &mut self,
        client_id: &str,
        quantity: Decimal,
        price: Option<Decimal>,
        active_at: TsNanos,
        out: &mut Facts,
    ) {
        let Instrument {
            price_scale,
            qty_scale,
            ..
        } = *self.instrument;
        let quantity = from_decimal(quantity, qty_scale);
        let price = price
            .map(|price| from_decimal(price, price_scale))
            .transpose();
        match (quantity, price) {
            (Ok(quantity), Ok(price)) if self.commands.len() < AMENDMENTS_MAX => {
                let command = Command::Amend {
                    client_id: client_id.to_owned(),
                    quantity,
                    price: price.map(Price),
                };
                self.push(active_at, command);
            }
            _ => {
                let work = self.orders.iter().find(|work| work.client_id == client_id);
                let report =
                    work.map(|work| work.report(&self.instrument, work.word(), None, active_at));
                out.orders.extend(report);
            }
        }
    }

    /// Lets all commands count whose time has come. `book`: `None` while it is not in sync.
    pub fn advance(&mut self, book: Option<&dyn Depth>, now: TsNanos, out: &mut Facts) {
        self.see(book, now);
        while let Some(entry) = self.commands.first_entry() {
            if entry.key().0 > now {
                break;
            }
            match entry.remove() {
                Command::Place(work) => self.begin(*work, book, now, out),
                Command::Cancel(id) => self.end(&id, now, out),
                Command::Amend {
                    client_id,
                    quantity,
                    price,
                } => self.change(&client_id, quantity, price, book, now, out),
            }
            self.drop_closed(now, out);
        }
    }

    /// Takes the book as it is after a change; `None` while it is not in sync.
    pub fn on_book(&mut self, book: Option<&dyn Depth>, now: TsNanos, out: &mut Facts) {
        self.advance(book, now, out);
        let Some(book) = book else { return };
        let mut kept = Vec::with_capacity(self.orders.len());
        for mut work in std::mem::take(&mut self.orders) {
            match &mut work.phase {
                Phase::Stop(_) => kept.push(work),
                Phase::Waiting => {
                    let arrived = self
                        .floor
                        .arrive(work, &self.instrument, Some(book), now, out);
                    kept.extend(arrived);
                }
                Phase::Resting(queue) => {
                    if let Some(limit) = work.price {
                        queue.on_level(book.at(rests_on(work.side), limit).0, now);
                    }
                    let before = work.filled;
                    self.floor
                        .meet_resting(&mut work, &self.instrument, book, now, out);
                    kept.extend(self.told(work, before, now, out));
                }
            }
        }
        self.orders = kept;
        self.drop_closed(now, out);
    }

    /// Takes a trade. While the book is not in sync it fills nothing; stops are reached all the same.
    pub fn on_trade(
        &mut self,
        trade: &Trade,
        book: Option<&dyn Depth>,
        now: TsNanos,
        out: &mut Facts,
    ) {
        self.advance(book, now, out);
        self.last = Some(trade.price);
        if book.is_some() {
            self.fill_resting(trade, now, out);
        }
        self.trigger(trade.price, book, now, out);
        self.drop_closed(now, out);
    }

    fn push(&mut self, at: TsNanos, command: Command) {
        self.commands.insert((at, self.number), command);
        self.number += 1;
    }

    fn work(&self, placement: &Placement<'_>, at: TsNanos) -> Result<Work, String> {
        let terms = placement.terms;
        let Instrument {
            price_scale,
            qty_scale,
            ..
        } = *self.instrument;
        let quantity = |value: Decimal| {
            from_decimal(value, qty_scale).map_err(|error| format!("quantity: {error}"))
        };
        let price = |field: &str, value: Option<Decimal>| {
            let mantissa = value
                .map(|value| from_decimal(value, price_scale))
                .transpose();
            let price = mantissa.map(|mantissa| mantissa.map(Price));
            price.map_err(|error| format!("{field}: {error}"))
        };
        let filled = quantity(placement.filled)?;
        let work = Work {
            client_id: placement.client_id.to_owned(),
            side: terms.side,
            kind: terms.order_type,
            lasts: terms.time_in_force,
            is_post_only: terms.post_only,
            is_reduce_only: terms.reduce_only,
            is_closing: only_reduces(terms),
            position_side: terms.position_side,
            quantity: quantity(terms.quantity)?,
            filled,
            value: placement
                .average_price
                .and_then(|average| average.checked_mul(placement.filled))
                .unwrap_or_default(),
            price: price("price", terms.price)?,
            stop: price("stop_price", terms.stop_price)?,
            is_triggered: placement.is_triggered,
            budget: placement.budget,
            placed_at: at,
            phase: Phase::Waiting,
        };
        let has_prices = (work.price.is_some() || !work.kind.has_price())
            && (work.stop.is_some() || !work.kind.is_stop());
        match has_prices && work.filled >= 0 && work.remaining() > 0 {
            true => Ok(work),
            false => Err("the order has no quantity or lacks a price".to_owned()),
        }
    }

    /// Notes whether there is a book; one that has come back is looked at anew.
    fn see(&mut self, book: Option<&dyn Depth>, now: TsNanos) {
        let was_synced = std::mem::replace(&mut self.is_synced, book.is_some());
        let Some(book) = book else { return };
        if was_synced {
            return self.floor.consumed.follow(book);
        }
        self.floor.consumed.clear();
        for work in &mut self.orders {
            if let (Phase::Resting(queue), Some(limit)) = (&mut work.phase, work.price) {
                queue.rejoin(book.at(rests_on(work.side), limit).0, now);
            }
        }
    }

    /// An order's time has come.
    fn begin(&mut self, mut work: Work, book: Option<&dyn Depth>, now: TsNanos, out: &mut Facts) {
        if let (Some(stop), false) = (work.stop, work.is_triggered) {
            let scale = self.instrument.price_scale;
            let decimal = |price: Price| to_decimal(price.0, scale);
            let rises = waits_for_rise(work.side, decimal(stop), self.last.map(decimal));
            work.phase = Phase::Stop(rises);
            out.orders
                .push(work.report(&self.instrument, work.word(), None, now));
            return self.orders.push(work);
        }
        let arrived = self.floor.arrive(work, &self.instrument, book, now, out);
        self.orders.extend(arrived);
    }

    fn end(&mut self, client_id: &str, now: TsNanos, out: &mut Facts) {
        let index = self
            .orders
            .iter()
            .position(|work| work.client_id == client_id);
        let is_it = |command: &Command| matches!(command, Command::Place(work) if work.client_id == client_id);
        let report = match index {
            Some(index) => {
                let work = self.orders.remove(index);
                work.report(&self.instrument, Word::Canceled, None, now)
            }
            // Overtaken on the way.
            None => match self.commands.iter().find(|(_, command)| is_it(command)) {
                Some((key, _)) => {
                    let key = *key;
                    self.commands.remove(&key);
                    let mut report = bare(&self.instrument, client_id, Word::Canceled, "", now);
                    report.news.reason = None;
                    report
                }
                None => bare(
                    &self.instrument,
                    client_id,
                    Word::NotThere,
                    NO_SUCH_ORDER,
                    now,
                ),
            },
        };
        out.orders.push(report);
    }

    /// Only a smaller quantity keeps the place in the queue.
    fn change(
        &mut self,
        client_id: &str,
        quantity: i64,
        price: Option<Price>,
        book: Option<&dyn Depth>,
        now: TsNanos,
        out: &mut Facts,
    ) {
        let index = self
            .orders
            .iter()
            .position(|work| work.client_id == client_id);
        let Some(index) = index else {
            let report = bare(
                &self.instrument,
                client_id,
                Word::NotThere,
                NO_SUCH_ORDER,
                now,
            );
            return out.orders.push(report);
        };
        let mut work = self.orders.remove(index);
        if quantity <= work.filled {
            let reason = "as much as the new quantity has executed already";
            let report = work.report(&self.instrument, Word::Canceled, Some(reason), now);
            return out.orders.push(report);
        }
        let price = price.filter(|_| work.kind.has_price()).or(work.price);
        let keeps = price == work.price && quantity <= work.quantity;
        (work.quantity, work.price) = (quantity, price);
        if keeps || matches!(work.phase, Phase::Stop(_)) {
            out.orders
                .push(work.report(&self.instrument, work.word(), None, now));
            return self.orders.insert(index, work);
        }
        let arrived = self.floor.arrive(work, &self.instrument, book, now, out);
        self.orders.extend(arrived);
    }

    /// Tells of an order that may have executed; returns it while it works.
    pub(super) fn told(
        &self,
        work: Work,
        before: i64,
        now: TsNanos,
        out: &mut Facts,
    ) -> Option<Work> {
        if work.filled != before {
            out.orders
                .push(work.report(&self.instrument, work.word(), None, now));
        }
        (work.remaining() > 0).then_some(work)
    }

    /// Ends resting orders that only reduce when there is nothing to reduce any more.
    fn drop_closed(&mut self, now: TsNanos, out: &mut Facts) {
        let (floor, instrument) = (&mut self.floor, &self.instrument);
        self.orders.retain(|work| {
            let is_over = work.is_closing
                && matches!(work.phase, Phase::Resting(_))
                && floor.wanted(work) == 0;
            if is_over {
                let report = work.report(instrument, Word::Canceled, Some(NO_POSITION), now);
                out.orders.push(report);
            }
            !is_over
        });
    }
}
