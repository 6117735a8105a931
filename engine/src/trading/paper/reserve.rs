//! What open orders hold of a paper account.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::Fees;
use super::account::Account;
use super::arrive::fee_asset;
use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::instrument::{Instrument, Market};
use crate::trading::check::{only_reduces, reference_price};
use crate::trading::funds::{Need, insufficient, need};
use crate::trading::order::{OrderTerms, PositionSide};
use crate::trading::state::OrderNews;
use crate::trading::venue::Touch;

/// What is held back beyond the price shown for a spot order to buy at the market, which may find the
/// book thinner: a twentieth.
const HEADROOM: Decimal = Decimal::from_parts(105, 0, 0, false, 2);

/// What an open order holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lock {
    pub(super) asset: String,
    /// The exchange's spelling, of perpetuals; empty for spot.
    native_symbol: String,
    is_buy: bool,
    pub(super) position_side: Option<PositionSide>,
    /// Not executed, base units.
    pub(super) remaining: Decimal,
    /// Held for each of them; of orders with a budget 0.
    unit: Decimal,
    /// What is left of its budget, of orders that have one.
    pub(super) budget: Option<Decimal>,
    /// An amendment that is under way.
    #[serde(default)]
    wanted: Option<Wanted>,
}

/// What an order will hold once it is amended. Until then it may execute as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Wanted {
    quantity: Decimal,
    price: Option<Decimal>,
    unit: Decimal,
    remaining: Decimal,
}

impl Lock {
    /// Takes an execution: its quantity and what it cost, fee included.
    pub(super) fn fill(&mut self, quantity: Decimal, cost: Decimal) {
        let less = |from: Decimal, by: Decimal| from.saturating_sub(by).max(Decimal::ZERO);
        self.remaining = less(self.remaining, quantity);
        self.budget = self.budget.map(|budget| less(budget, cost));
        if let Some(wanted) = &mut self.wanted {
            wanted.remaining = less(wanted.remaining, quantity);
        }
    }

    /// Takes the terms in force: an amendment that they confirm is no longer under way.
    pub(super) fn confirm(&mut self, news: &OrderNews) {
        let is_it = |wanted: &mut Wanted| {
            news.quantity == Some(wanted.quantity) && news.price == wanted.price
        };
        if let Some(wanted) = self.wanted.take_if(is_it) {
            (self.unit, self.remaining) = (wanted.unit, wanted.remaining);
        }
    }

    /// Has it hold what it may cost while it is amended. An amendment before this one may still come
    /// into force first.
    fn want(&mut self, wanted: Wanted) {
        if let Some(before) = self.wanted.replace(wanted) {
            self.unit = self.unit.max(before.unit);
            self.remaining = self.remaining.max(before.remaining);
        }
    }

    /// The most that it may cost yet. While it is amended, any part of it may execute as it was and
    /// the rest as it will be: the dearest is all of it on one side of that.
    pub(super) fn amount(&self) -> Decimal {
        let as_it_was = self.unit.saturating_mul(self.remaining);
        let each = self.wanted.as_ref().map_or(as_it_was, |wanted| {
            let beyond = wanted.remaining.saturating_sub(self.remaining);
            let beyond = wanted.unit.saturating_mul(beyond.max(Decimal::ZERO));
            let as_it_will_be = wanted.unit.saturating_mul(wanted.remaining);
            as_it_was.saturating_add(beyond).max(as_it_will_be)
        });
        each.saturating_add(self.budget.unwrap_or_default())
    }
}

impl Account {
    /// Holds back what an order needs, and returns the budget that it may spend where it has one.
    ///
    /// # Errors
    /// `CRYPTO_INSUFFICIENT_BALANCE`; `CRYPTO_ORDERBOOK_DESYNC` for a market order without a price.
    pub fn reserve(
        &mut self,
        instrument: &Instrument,
        terms: &OrderTerms,
        client_id: &str,
        touch: Touch,
        fees: Fees,
    ) -> Result<Option<Decimal>, CryptoError> {
        let (lock, budget) =
            self.lock(instrument, terms, terms.quantity, client_id, touch, fees)?;
        self.state.locks.insert(client_id.to_owned(), lock);
        Ok(budget)
    }

    /// Holds back what an order needs during and after an amendment: `terms` as they will be,
    /// `remaining` of them not executed. What it needs less is free once the desk has amended it.
    ///
    /// # Errors
    /// As [`Account::reserve`], and `CRYPTO_ORDER_NOT_FOUND` for an order that is over; what was held
    /// stays held.
    pub fn amend(
        &mut self,
        instrument: &Instrument,
        terms: &OrderTerms,
        remaining: Decimal,
        client_id: &str,
        touch: Touch,
        fees: Fees,
    ) -> Result<(), CryptoError> {
        // An order that has ended meanwhile would hold for ever what it is given now.
        if !self.state.holds(client_id) {
            return Err(CryptoError::new(
                CryptoCode::OrderNotFound,
                "the order is not open any more",
            )
            .with("exchange_client_id", client_id));
        }
        let (lock, _) = self.lock(instrument, terms, remaining, client_id, touch, fees)?;
        if let Some(held) = self.state.locks.get(client_id) {
            let mut next = held.clone();
            next.want(Wanted {
                quantity: terms.quantity,
                price: terms.price,
                unit: lock.unit,
                remaining,
            });
            let free = self.free(&held.asset).saturating_add(held.amount());
            let need = Need {
                asset: held.asset.clone(),
                amount: next.amount(),
            };
            if need.amount > free && !only_reduces(terms) {
                return Err(insufficient(&need, free));
            }
            self.state.locks.insert(client_id.to_owned(), next);
        }
        Ok(())
    }

    fn lock(
        &self,
        instrument: &Instrument,
        terms: &OrderTerms,
        remaining: Decimal,
        client_id: &str,
        touch: Touch,
        fees: Fees,
    ) -> Result<(Lock, Option<Decimal>), CryptoError> {
        let spec = &instrument.spec;
        let price = reference_price(terms, touch);
        let needs_price = terms.market == Market::Perp || terms.side == Side::Buy;
        if price.is_none() && needs_price && !only_reduces(terms) {
            return Err(CryptoError::new(
                CryptoCode::OrderbookDesync,
                "the book has no price to value the order at",
            )
            .with("symbol", instrument.stream_symbol()));
        }
        let leverage = Decimal::from(self.leverage(&spec.native_key()));
        let position = self.unspoken(instrument, terms, client_id);
        let fee = fees.highest();
        let wanted = OrderTerms {
            quantity: remaining,
            ..terms.clone()
        };
        let found = need(&wanted, instrument, price, Some(leverage), position, fee)?;
        let found = found.unwrap_or_else(|| Need {
            asset: fee_asset(instrument),
            amount: Decimal::ZERO,
        });
        let before = self.state.locks.get(client_id);
        let own = before.filter(|lock| lock.asset == found.asset);
        let free = self
            .free(&found.asset)
            .saturating_add(own.map_or(Decimal::ZERO, Lock::amount));
        if found.amount > free && !only_reduces(terms) {
            return Err(insufficient(&found, free));
        }
        // A spot purchase without a limit price: it spends no more than is held for it.
        let has_budget =
            terms.market == Market::Spot && terms.side == Side::Buy && terms.price.is_none();
        let budget = has_budget.then(|| found.amount.saturating_mul(HEADROOM).min(free));
        let unit = match (has_budget, terms.market, price) {
            (true, ..) => Decimal::ZERO,
            // Exact, so that the last of it is free again after the last fill.
            (false, Market::Spot, _) if terms.side == Side::Sell => Decimal::ONE,
            (false, Market::Spot, Some(price)) => {
                price.saturating_mul(Decimal::ONE.saturating_add(fee))
            }
            _ => found.amount.checked_div(remaining).unwrap_or_default(),
        };
        let lock = Lock {
            asset: found.asset,
            native_symbol: match terms.market {
                Market::Spot => String::new(),
                Market::Perp => spec.native_key().into_owned(),
            },
            is_buy: terms.side == Side::Buy,
            position_side: terms.position_side,
            remaining,
            unit,
            budget,
            wanted: None,
        };
        Ok((lock, budget))
    }

    /// The part of a position that no other open order closes already: two orders that would both
    /// close the same open one together.
    fn unspoken(&self, instrument: &Instrument, terms: &OrderTerms, client_id: &str) -> Decimal {
        let symbol = &*instrument.spec.native_key();
        if terms.market == Market::Spot {
            return Decimal::ZERO;
        }
        let side = terms.position_side.unwrap_or(PositionSide::Net);
        let position = self.position(symbol, side);
        let is_buy = terms.side == Side::Buy;
        let others = self.state.locks.iter().filter(|(id, lock)| {
            id.as_str() != client_id
                && lock.native_symbol == *symbol
                && lock.is_buy == is_buy
                && lock.position_side.unwrap_or(PositionSide::Net) == side
        });
        let spoken = others.fold(Decimal::ZERO, |sum, (_, lock)| {
            sum.saturating_add(lock.remaining)
        });
        match is_buy {
            true => position.saturating_add(spoken).min(Decimal::ZERO),
            false => position.saturating_sub(spoken).max(Decimal::ZERO),
        }
    }
}
