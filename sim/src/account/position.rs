//! Positions in futures: average entry, profit, margin and where they are liquidated.

use rust_decimal::Decimal;

use super::order::PositionSide;
use crate::market::{Fixed, Instrument, InstrumentIx, Price};

/// Entry values are kept in so many parts of a tick × lot, so that a part of a position takes a
/// part of its value with it to the last digit that matters.
const PARTS: i128 = 100_000_000;
const PARTS_SCALE: u32 = 8;

/// How a position is backed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MarginMode {
    /// By all of the wallet.
    Cross,
    /// By its own margin alone.
    Isolated,
}

/// An account's settings of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) leverage: u32,
    pub(crate) mode: MarginMode,
}

/// A position; with nothing in it once it was closed.
#[derive(Clone, Debug)]
pub(crate) struct Position {
    pub(crate) ix: InstrumentIx,
    pub(crate) side: PositionSide,
    /// Lots; short is negative.
    pub(crate) lots: i64,
    /// Entry price × lots, positive, in parts of ticks × lots.
    cost: i128,
    /// Profit that was realised, fees aside, over the position's life.
    pub(crate) realized: Decimal,
    /// Funding that was received; negative: paid.
    pub(crate) funding: Decimal,
    /// Fees that were paid.
    pub(crate) fees: Decimal,
    /// Unix ms of market time.
    pub(crate) opened_ms: i64,
    pub(crate) updated_ms: i64,
}

/// A position as it is told, at a mark price.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PositionRow {
    pub(crate) ix: InstrumentIx,
    pub(crate) side: PositionSide,
    /// Lots; short is negative.
    pub(crate) lots: i64,
    /// Base units; short is negative.
    pub(crate) amount: Decimal,
    pub(crate) entry: Decimal,
    pub(crate) mark: Decimal,
    /// Value at the mark price, positive.
    pub(crate) value: Decimal,
    pub(crate) unrealized: Decimal,
    pub(crate) realized: Decimal,
    pub(crate) funding: Decimal,
    pub(crate) fees: Decimal,
    pub(crate) leverage: u32,
    pub(crate) mode: MarginMode,
    /// Own margin of an isolated position: its entry value over its leverage.
    pub(crate) isolated: Decimal,
    pub(crate) initial: Decimal,
    pub(crate) maintenance: Decimal,
    /// `None`: at no price above zero.
    pub(crate) liquidation: Option<Decimal>,
    pub(crate) opened_ms: i64,
    pub(crate) updated_ms: i64,
}

fn exact(it: &Instrument, parts: i128) -> Decimal {
    let unit = it.tick.mantissa() * it.lot.mantissa();
    let scale = it.tick.scale() + it.lot.scale() + PARTS_SCALE;
    super::decimal(Fixed::new(parts.saturating_mul(unit), scale))
}

impl Position {
    pub(crate) fn new(ix: InstrumentIx, side: PositionSide, now_ms: i64) -> Self {
        Self {
            ix,
            side,
            lots: 0,
            cost: 0,
            realized: Decimal::ZERO,
            funding: Decimal::ZERO,
            fees: Decimal::ZERO,
            opened_ms: now_ms,
            updated_ms: now_ms,
        }
    }

    /// Adds lots (negative: sells) at a price; returns the profit of what that closes.
    pub(crate) fn add(&mut self, it: &Instrument, price: Price, lots: i64, now_ms: i64) -> Decimal {
        self.updated_ms = now_ms;
        let value = |lots: i64| i128::from(price.0) * i128::from(lots.abs()) * PARTS;
        if self.lots == 0 {
            (self.opened_ms, self.realized) = (now_ms, Decimal::ZERO);
            (self.funding, self.fees) = (Decimal::ZERO, Decimal::ZERO);
        }
        if self.lots == 0 || (self.lots > 0) == (lots > 0) {
            self.lots += lots;
            self.cost += value(lots);
            return Decimal::ZERO;
        }
        let closing = lots.abs().min(self.lots.abs());
        let share = match closing == self.lots.abs() {
            true => self.cost,
            false => self.cost * i128::from(closing) / i128::from(self.lots.abs()),
        };
        let gain = (value(closing) - share) * i128::from(self.lots.signum());
        self.cost -= share;
        self.lots -= closing * self.lots.signum();
        let rest = lots - closing * lots.signum();
        if rest != 0 {
            (self.lots, self.cost, self.opened_ms) = (rest, value(rest), now_ms);
        }
        let gain = exact(it, gain);
        self.realized += gain;
        gain
    }

    /// Entry value, positive.
    pub(crate) fn cost(&self, it: &Instrument) -> Decimal {
        exact(it, self.cost)
    }

    /// Average entry price; 0 without a position.
    pub(crate) fn entry(&self, it: &Instrument) -> Decimal {
        let amount = super::decimal(it.qty(crate::market::Qty(self.lots.abs())));
        self.cost(it).checked_div(amount).unwrap_or_default()
    }

    /// Base units; short is negative.
    pub(crate) fn amount(&self, it: &Instrument) -> Decimal {
        super::decimal(it.qty(crate::market::Qty(self.lots)))
    }

    /// Profit at a mark price.
    pub(crate) fn unrealized(&self, it: &Instrument, mark: Decimal) -> Decimal {
        let sign = Decimal::from(self.lots.signum());
        self.amount(it) * mark - sign * self.cost(it)
    }

    /// The price at which what backs the position is down to its maintenance margin: the backing
    /// is `money` plus its profit. `None`: at no price above zero.
    pub(crate) fn liquidation(
        &self,
        it: &Instrument,
        money: Decimal,
        maintenance: Decimal,
    ) -> Option<Decimal> {
        let amount = self.amount(it);
        let sign = Decimal::from(self.lots.signum());
        // money + amount·P − sign·cost = maintenance·|amount|·P
        let slope = amount - maintenance * amount.abs();
        let price = (sign * self.cost(it) - money).checked_div(slope)?;
        (price > Decimal::ZERO).then_some(price)
    }
}
