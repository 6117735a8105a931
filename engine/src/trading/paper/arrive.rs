//! What happens when an order meets the book, and how it executes.

use rust_decimal::Decimal;

use super::consumed::Consumed;
use super::queue::Queue;
use super::work::{Phase, Work};
use super::{Depth, Fees, allows, met_by, rests_on};
use crate::event::{BookLevel, Side};
use crate::instrument::{Instrument, Market};
use crate::num::{Price, from_decimal, to_decimal};
use crate::time::TsNanos;
use crate::trading::order::{PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::{Facts, FillReport};

/// Levels that one order takes from at most: as many as exchanges show.
const LEVELS_MAX: usize = 1_000;

pub(super) const NO_BOOK: &str = "the order book is being resynchronised";
pub(super) const NO_POSITION: &str = "reduce only: there is no position to reduce";
const WOULD_TAKE: &str = "post only: the order would have executed at once";
const TOO_THIN: &str = "the order book has no more to execute against";
const NOT_WHOLE: &str = "fill or kill: the order book can't fill all of it at once";
const NOT_AT_ONCE: &str = "immediate or cancel: the rest could not execute at once";
const NO_MONEY: &str = "the balance held for the order does not pay for more of it";

/// What of a desk executions change.
#[derive(Clone, Debug)]
pub(super) struct Floor {
    pub(super) fees: Fees,
    pub(super) positions: Positions,
    /// The positions are its own.
    pub(super) has_executed: bool,
    pub(super) consumed: Consumed,
    /// Levels under way.
    pub(super) scratch: Vec<BookLevel>,
}

/// Signed positions, mantissas of base units.
#[derive(Clone, Debug, Default)]
pub(super) struct Positions {
    net: i64,
    long: i64,
    short: i64,
}

impl Positions {
    pub(super) const fn of(&mut self, side: Option<PositionSide>) -> &mut i64 {
        match side {
            None | Some(PositionSide::Net) => &mut self.net,
            Some(PositionSide::Long) => &mut self.long,
            Some(PositionSide::Short) => &mut self.short,
        }
    }

    /// How much an order that only reduces can execute.
    fn closable(&mut self, work: &Work) -> i64 {
        let position = *self.of(work.position_side);
        match work.side {
            Side::Buy => position.saturating_neg().max(0),
            Side::Sell => position.max(0),
        }
    }
}

impl Floor {
    /// How much of an order may execute now.
    pub(super) fn wanted(&mut self, work: &Work) -> i64 {
        match work.is_closing {
            true => work.remaining().min(self.positions.closable(work)),
            false => work.remaining(),
        }
    }

    /// An order meets the book: it takes what it may and rests, or ends. Returns it while it works.
    pub(super) fn arrive(
        &mut self,
        mut work: Work,
        instrument: &Instrument,
        book: Option<&dyn Depth>,
        now: TsNanos,
        out: &mut Facts,
    ) -> Option<Work> {
        // A stop that has been triggered works already: it ends, it can't be refused.
        let refusal = match work.is_triggered || work.filled > 0 {
            true => Word::Expired,
            false => Word::Refused,
        };
        let end = |work: &Work, word: Word, reason: &str, out: &mut Facts| -> Option<Work> {
            let report = work.report(instrument, word, Some(reason), now);
            out.orders.push(report);
            None
        };
        let wanted = self.wanted(&work);
        if wanted == 0 {
            return end(&work, refusal, NO_POSITION, out);
        }
        let lasts = match work.limit() {
            Some(_) => work.lasts,
            None => TimeInForce::Ioc,
        };
        let Some(book) = book else {
            if lasts != TimeInForce::Gtc && !work.is_triggered {
                return end(&work, refusal, NO_BOOK, out);
            }
            work.phase = Phase::Waiting;
            out.orders
                .push(work.report(instrument, work.word(), None, now));
            return Some(work);
        };
        let best = book.best(met_by(work.side));
        let meets = |level: BookLevel| {
            work.limit()
                .is_none_or(|limit| allows(work.side, limit, level.price))
        };
        if work.is_post_only && best.is_some_and(meets) {
            return end(&work, refusal, WOULD_TAKE, out);
        }
        if lasts == TimeInForce::Fok {
            let there = self.there(&work, instrument, book);
            if there < work.remaining() {
                return end(&work, Word::Expired, NOT_WHOLE, out);
            }
        }
        let is_paid = self.take(&mut work, instrument, book, now, out);
        if work.remaining() == 0 {
            out.orders
                .push(work.report(instrument, Word::Done, None, now));
            return None;
        }
        if !is_paid {
            return end(&work, Word::Expired, NO_MONEY, out);
        }
        if self.wanted(&work) == 0 {
            return end(&work, Word::Canceled, NO_POSITION, out);
        }
        match (lasts, work.limit()) {
            (TimeInForce::Gtc, Some(limit)) => {
                let ahead = book.at(rests_on(work.side), limit).0;
                work.phase = Phase::Resting(Queue::join(ahead, now));
                out.orders
                    .push(work.report(instrument, work.word(), None, now));
                Some(work)
            }
            (_, None) => end(&work, Word::Expired, TOO_THIN, out),
            _ => end(&work, Word::Expired, NOT_AT_ONCE, out),
        }
    }

    /// A resting order is met by the other side of the book, which has come to its price: it executes
    /// at its own, against what is displayed there.
    pub(super) fn meet_resting(
        &mut self,
        work: &mut Work,
        instrument: &Instrument,
        book: &dyn Depth,
        now: TsNanos,
        out: &mut Facts,
    ) {
        let Some(limit) = work.limit() else { return };
        let side = met_by(work.side);
        let is_met = |level: &BookLevel| allows(work.side, limit, level.price);
        if !book.best(side).as_ref().is_some_and(is_met) {
            return;
        }
        let wanted = self.wanted(work);
        let levels = self.levels(work.limit(), work.side, book, wanted);
        for level in &levels {
            let quantity = self.wanted(work).min(self.consumed.available(side, *level));
            if quantity > 0 {
                self.consumed.take(side, *level, quantity);
                self.execute(work, instrument, limit, quantity, true, now, out);
            }
        }
        self.scratch = levels;
    }

    /// Takes what the order may from the book. False when its money was not enough for more.
    fn take(
        &mut self,
        work: &mut Work,
        instrument: &Instrument,
        book: &dyn Depth,
        now: TsNanos,
        out: &mut Facts,
    ) -> bool {
        let side = met_by(work.side);
        let wanted = self.wanted(work);
        let levels = self.levels(work.limit(), work.side, book, wanted);
        let mut is_paid = true;
        for level in &levels {
            let wanted = self.wanted(work);
            let there = wanted.min(self.consumed.available(side, *level));
            let quantity = self.affordable(work, instrument, level.price, there);
            if quantity > 0 {
                self.consumed.take(side, *level, quantity);
                self.execute(work, instrument, level.price, quantity, false, now, out);
            }
            is_paid = quantity == there;
            if !is_paid || self.wanted(work) == 0 {
                break;
            }
        }
        self.scratch = levels;
        is_paid
    }

    /// What could be taken at once, as far as it is needed.
    fn there(&mut self, work: &Work, instrument: &Instrument, book: &dyn Depth) -> i64 {
        let side = met_by(work.side);
        let wanted = self.wanted(work);
        let levels = self.levels(work.limit(), work.side, book, wanted);
        let sum = levels.iter().fold(0_i64, |sum, level| {
            sum.saturating_add(self.consumed.available(side, *level))
        });
        let cost = levels.last().map_or(wanted, |level| {
            self.affordable(work, instrument, level.price, wanted)
        });
        self.scratch = levels;
        sum.min(wanted).min(cost)
    }

    /// Levels of the other side that an order may execute against, best first, until what can be
    /// taken of them is enough.
    fn levels(
        &mut self,
        limit: Option<Price>,
        taker: Side,
        book: &dyn Depth,
        wanted: i64,
    ) -> Vec<BookLevel> {
        let side = met_by(taker);
        let mut levels = std::mem::take(&mut self.scratch);
        let mut depth = 8;
        loop {
            levels.clear();
            book.top(side, depth, &mut levels);
            let shown = levels.len();
            let is_met =
                |level: &BookLevel| limit.is_none_or(|limit| allows(taker, limit, level.price));
            let met = levels.iter().take_while(|level| is_met(level)).count();
            levels.truncate(met);
            let mut sum = 0_i64;
            let enough = levels.iter().position(|level| {
                sum = sum.saturating_add(self.consumed.available(side, *level));
                sum >= wanted
            });
            if let Some(last) = enough {
                levels.truncate(last + 1);
                return levels;
            }
            if met < shown || shown < depth || depth >= LEVELS_MAX {
                return levels;
            }
            depth = (depth * 4).min(LEVELS_MAX);
        }
    }

    /// The part of a quantity that the order's budget pays for at a price, on the quantity step.
    fn affordable(&self, work: &Work, instrument: &Instrument, price: Price, there: i64) -> i64 {
        let Some(budget) = work.budget else {
            return there;
        };
        let scale = instrument.qty_scale;
        let price = to_decimal(price.0, instrument.price_scale);
        let each = price.checked_mul(Decimal::ONE + self.fees.taker.max(Decimal::ZERO));
        let Some(most) = each.and_then(|each| budget.checked_div(each)) else {
            return there;
        };
        let step = from_decimal(instrument.spec.qty_step, scale)
            .unwrap_or(1)
            .max(1);
        let cut = most.trunc_with_scale(u32::from(scale));
        // What does not fit a mantissa is more than any order.
        let most = from_decimal(cut, scale).unwrap_or(i64::MAX);
        match most >= there {
            true => there,
            false => (most - most % step).max(0),
        }
    }

    /// Executes.
    #[expect(clippy::too_many_arguments, reason = "all of what an execution is")]
    pub(super) fn execute(
        &mut self,
        work: &mut Work,
        instrument: &Instrument,
        price: Price,
        quantity: i64,
        is_maker: bool,
        now: TsNanos,
        out: &mut Facts,
    ) {
        let spec = &instrument.spec;
        let price = to_decimal(price.0, instrument.price_scale);
        let amount = to_decimal(quantity, instrument.qty_scale);
        let value = price.checked_mul(amount).unwrap_or_default();
        let fee = self.fees.on(value, is_maker);
        self.has_executed = true;
        work.filled = work.filled.saturating_add(quantity);
        work.value = work.value.saturating_add(value);
        if let Some(budget) = &mut work.budget {
            *budget = budget.saturating_sub(value).saturating_sub(fee);
        }
        if spec.market == Market::Perp {
            let position = self.positions.of(work.position_side);
            *position = match work.side {
                Side::Buy => position.saturating_add(quantity),
                Side::Sell => position.saturating_sub(quantity),
            };
        }
        out.fills.push(FillReport {
            market: spec.market,
            native_symbol: spec.native_key().into_owned(),
            // What has executed of an order only grows: the number is its own and comes again when
            // the same is done again.
            fill_id: format!("paper-{}-{}", work.client_id, work.filled),
            client_id: Some(work.client_id.clone()),
            exchange_id: work.exchange_id(),
            side: Some(work.side),
            price,
            quantity: amount,
            fee: Some(fee),
            fee_asset: Some(fee_asset(instrument)),
            is_maker: Some(is_maker),
            at: now,
        });
    }
}

/// Fees are taken in what the price is in: the settlement asset of perpetuals, the quote asset of
/// spot.
pub(super) fn fee_asset(instrument: &Instrument) -> String {
    let spec = &instrument.spec;
    let settlement = spec.settlement_symbol.as_ref();
    settlement.unwrap_or(&spec.quote_symbol).clone()
}
