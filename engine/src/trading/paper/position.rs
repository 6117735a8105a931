//! A paper position: what it cost, what margin it holds, where it ends.
//!
//! Margin is isolated: a position is covered by the margin that it was opened with and by nothing
//! else, so that a loss ends at that margin and the liquidation price depends on the position alone.
//! With quantity Q (unsigned), cost C = entry price × Q, margin M and maintenance rate m, at mark
//! price P:
//! - profit U = P × Q − C of a long position, C − P × Q of a short one;
//! - maintenance margin = m × P × Q; liquidation when M + U is not more than that;
//! - so the liquidation price is (C − M) ÷ (Q × (1 − m)), of a short position (C + M) ÷ (Q × (1 + m));
//! - the margin is gone at the bankruptcy price, (C − M) ÷ Q or (C + M) ÷ Q.
//!
//! These are the formulas of linear contracts with isolated margin, with one maintenance rate
//! instead of the exchanges' brackets.

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use crate::trading::order::{Position, PositionSide};

/// Digits of parts of a cost or a margin.
const SHARE_DIGITS: u32 = 18;
/// Digits of a mark price, of margins and payments.
pub(super) const PRICE_DIGITS: u32 = 8;

/// A position. Amounts are in its settlement asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    pub(super) native_symbol: String,
    pub(super) side: PositionSide,
    /// Settlement asset.
    pub(super) asset: String,
    /// Base units; negative: short.
    pub(super) quantity: Decimal,
    /// Price × quantity of what opened it, unsigned.
    pub(super) cost: Decimal,
    pub(super) margin: Decimal,
    /// Funding paid since it was opened; negative: received.
    pub(super) funding_cost: Decimal,
    /// Last mark price.
    pub(super) mark: Option<Decimal>,
    /// The order that liquidates it, and when it was made, nanoseconds since the epoch.
    pub(super) liquidation: Option<(String, i64)>,
}

impl Held {
    pub(super) fn new(native_symbol: &str, side: PositionSide, asset: &str) -> Self {
        Self {
            native_symbol: native_symbol.to_owned(),
            side,
            asset: asset.to_owned(),
            quantity: Decimal::ZERO,
            cost: Decimal::ZERO,
            margin: Decimal::ZERO,
            funding_cost: Decimal::ZERO,
            mark: None,
            liquidation: None,
        }
    }

    /// Takes an execution (`signed`: negative for a sale) and returns the profit of what it closed.
    pub(super) fn execute(
        &mut self,
        signed: Decimal,
        price: Decimal,
        leverage: Decimal,
    ) -> Decimal {
        let is_against = signed.is_sign_negative() != self.quantity.is_sign_negative();
        let closed = match is_against && !self.quantity.is_zero() {
            true => signed.abs().min(self.quantity.abs()),
            false => Decimal::ZERO,
        };
        let mut profit = Decimal::ZERO;
        if !closed.is_zero() {
            let (cost, margin) = (self.part(self.cost, closed), self.part(self.margin, closed));
            let value = price.saturating_mul(closed);
            profit = match self.quantity.is_sign_positive() {
                true => value.saturating_sub(cost),
                false => cost.saturating_sub(value),
            };
            self.cost -= cost;
            self.margin -= margin;
            self.quantity += match signed.is_sign_positive() {
                true => closed,
                false => -closed,
            };
        }
        if self.quantity.is_zero() {
            (self.cost, self.margin) = (Decimal::ZERO, Decimal::ZERO);
            (self.funding_cost, self.liquidation) = (Decimal::ZERO, None);
        }
        let opened = signed.abs() - closed;
        if !opened.is_zero() {
            let value = price.saturating_mul(opened);
            self.cost = self.cost.saturating_add(value);
            self.margin = self.margin.saturating_add(margin_of(value, leverage));
            self.quantity = self
                .quantity
                .saturating_add(match signed.is_sign_positive() {
                    true => opened,
                    false => -opened,
                });
        }
        profit
    }

    /// The share of `closed` in an amount; all of it with the last.
    fn part(&self, amount: Decimal, closed: Decimal) -> Decimal {
        let all = self.quantity.abs();
        if closed >= all {
            return amount;
        }
        // Divided first where the product would not fit.
        let share = amount.checked_mul(closed).map_or_else(
            || (amount / all).saturating_mul(closed),
            |product| product / all,
        );
        share.round_dp(SHARE_DIGITS)
    }

    pub(super) fn profit_at(&self, price: Decimal) -> Decimal {
        let value = price.saturating_mul(self.quantity.abs());
        match self.quantity.is_sign_positive() {
            true => value.saturating_sub(self.cost),
            false => self.cost.saturating_sub(value),
        }
    }

    pub(super) fn maintenance(&self, price: Decimal, rate: Decimal) -> Decimal {
        price
            .saturating_mul(self.quantity.abs())
            .saturating_mul(rate)
    }

    /// True when what covers it at a mark price is not more than has to be kept.
    pub(super) fn is_uncovered(&self, mark: Decimal, rate: Decimal) -> bool {
        !self.quantity.is_zero()
            && self.margin.saturating_add(self.profit_at(mark)) <= self.maintenance(mark, rate)
    }

    /// The price at which it is closed when it is liquidated: the mark price, and never worse than
    /// the price at which the margin is gone.
    pub(super) fn forced_price(&self, mark: Decimal) -> Decimal {
        let Some(bankruptcy) = self.price_at(Decimal::ZERO) else {
            return mark;
        };
        let round = |strategy| bankruptcy.round_dp_with_strategy(PRICE_DIGITS, strategy);
        match self.quantity.is_sign_positive() {
            true => mark.max(round(RoundingStrategy::AwayFromZero)),
            false => mark.min(round(RoundingStrategy::ToZero)),
        }
    }

    pub(super) fn liquidation_price(&self, rate: Decimal) -> Option<Decimal> {
        let price = self.price_at(rate)?;
        Some(price.round_dp(PRICE_DIGITS).max(Decimal::ZERO).normalize())
    }

    /// Where margin and profit are `rate` of the value.
    fn price_at(&self, rate: Decimal) -> Option<Decimal> {
        let quantity = self.quantity.abs();
        match self.quantity.is_sign_positive() {
            true => self
                .cost
                .checked_sub(self.margin)?
                .checked_div(quantity.checked_mul(Decimal::ONE - rate)?),
            false => self
                .cost
                .checked_add(self.margin)?
                .checked_div(quantity.checked_mul(Decimal::ONE + rate)?),
        }
    }

    /// What a user sees of it.
    pub(super) fn shown(&self, leverage: u32, rate: Decimal) -> Position {
        let is_flat = self.quantity.is_zero();
        let open = |value: Option<Decimal>| value.filter(|_| !is_flat).map(|v| v.normalize());
        let ratio = self.mark.and_then(|mark| {
            let cover = self.margin.saturating_add(self.profit_at(mark));
            let ratio = self.maintenance(mark, rate).checked_div(cover)?;
            (cover > Decimal::ZERO).then(|| ratio.round_dp(PRICE_DIGITS))
        });
        let entry = self.cost.checked_div(self.quantity.abs());
        Position {
            native_symbol: self.native_symbol.clone(),
            position_side: self.side,
            quantity: self.quantity.normalize(),
            entry_price: open(entry),
            mark_price: self.mark,
            unrealized_pnl: open(self.mark.map(|mark| self.profit_at(mark))),
            leverage: Some(leverage.into()),
            margin: open(Some(self.margin)),
            margin_ratio: open(ratio),
            funding_cost: open(Some(self.funding_cost)),
            liquidation_price: open(self.liquidation_price(rate)),
            at: None,
        }
    }
}

/// Margin of a value, rounded up.
pub(super) fn margin_of(value: Decimal, leverage: Decimal) -> Decimal {
    let margin = value.checked_div(leverage).unwrap_or(value);
    margin.round_dp_with_strategy(PRICE_DIGITS, RoundingStrategy::AwayFromZero)
}
