//! What a paper account has: one wallet for all markets, what open orders hold of it, positions of
//! perpetuals with isolated margin, and funding.
//!
//! The caller reserves before an order goes to its desk ([`Account::reserve`]), gives every fact that
//! a desk tells to [`Account::apply`], and tells mark prices and settlements. Fees are those in the
//! fills. Nothing is rounded in the account's favour by more than a fee's last digit (10⁻¹²).
//!
//! The state is saved as text ([`AccountState`]); what it says and what the journal says of fills
//! belong together.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use super::liquidate::Liquidation;
use super::position::{Held, PRICE_DIGITS, margin_of};
use super::reserve::Lock;
use super::{FEE_DIGITS, Fees};
use crate::error::CryptoError;
use crate::event::Side;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::funds::{Need, insufficient};
use crate::trading::order::{Balance, Position, PositionSide};
use crate::trading::state::Word;
use crate::trading::venue::{Facts, FillReport};

/// A liquidation that led to nothing is tried again after this long, nanoseconds.
const LIQUIDATION_RETRY: i64 = 60_000_000_000;

/// How an account begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Asset to amount.
    pub balances: BTreeMap<String, Decimal>,
    /// Positions are kept by side.
    pub is_hedged: bool,
    /// Leverage of instruments for which none was set.
    pub leverage: u32,
    /// Maintenance margin as a fraction of a position's value.
    pub maintenance_rate: Decimal,
}

/// All of an account that has to outlive the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountState {
    wallet: BTreeMap<String, Decimal>,
    pub(super) locks: BTreeMap<String, Lock>,
    held: Vec<Held>,
    leverage: BTreeMap<String, u32>,
    is_hedged: bool,
    /// The last settlement of each symbol, nanoseconds since the epoch.
    settled: BTreeMap<String, i64>,
    liquidations: u64,
}

impl AccountState {
    /// True while an order holds something, or is known to hold nothing.
    #[must_use]
    pub fn holds(&self, client_id: &str) -> bool {
        self.locks.contains_key(client_id)
    }
}

/// The account. See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    setup: Setup,
    pub(super) state: AccountState,
}

impl Account {
    /// A new account.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let state = AccountState {
            wallet: setup.balances.clone(),
            is_hedged: setup.is_hedged,
            ..AccountState::default()
        };
        Self { setup, state }
    }

    /// An account that was saved. Its balances are those that it had, whatever the setup says.
    #[must_use]
    pub const fn restored(setup: Setup, state: AccountState) -> Self {
        Self { setup, state }
    }

    /// What has to be saved.
    #[must_use]
    pub const fn state(&self) -> &AccountState {
        &self.state
    }

    /// Begins anew: balances as in the setup, no positions, nothing held. The caller has ended all
    /// orders.
    pub fn reset(&mut self) {
        *self = Self::new(self.setup.clone());
    }

    /// Gives back what orders hold that are not open any more: after a restart.
    pub fn keep_locks(&mut self, is_open: impl Fn(&str) -> bool) {
        self.state.locks.retain(|client_id, _| is_open(client_id));
    }

    /// Positions are kept by side.
    #[must_use]
    pub const fn is_hedged(&self) -> bool {
        self.state.is_hedged
    }

    /// Leverage of a symbol.
    #[must_use]
    pub fn leverage(&self, native_symbol: &str) -> u32 {
        let own = self.state.leverage.get(native_symbol);
        own.copied().unwrap_or(self.setup.leverage).max(1)
    }

    /// All of an asset.
    #[must_use]
    pub fn total(&self, asset: &str) -> Decimal {
        self.state.wallet.get(asset).copied().unwrap_or_default()
    }

    /// Held by orders and positions of an asset.
    #[must_use]
    pub fn locked(&self, asset: &str) -> Decimal {
        let locks = self.state.locks.values().filter(|lock| lock.asset == asset);
        let held = self.state.held.iter().filter(|held| held.asset == asset);
        let margins = held.map(|held| held.margin);
        let all = locks.map(Lock::amount).chain(margins);
        all.fold(Decimal::ZERO, Decimal::saturating_add)
    }

    /// Free of an asset.
    #[must_use]
    pub fn free(&self, asset: &str) -> Decimal {
        self.total(asset).saturating_sub(self.locked(asset))
    }

    /// All balances.
    #[must_use]
    pub fn balances(&self) -> Vec<Balance> {
        let assets = self.state.wallet.keys();
        assets.map(|asset| self.balance(asset)).collect()
    }

    /// All positions that are not flat.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        let open = self
            .state
            .held
            .iter()
            .filter(|held| !held.quantity.is_zero());
        open.map(|held| self.shown(held)).collect()
    }

    /// A position's quantity, base units; negative: short.
    #[must_use]
    pub fn position(&self, native_symbol: &str, side: PositionSide) -> Decimal {
        let held = self.state.held.iter();
        let mut own = held.filter(|held| held.native_symbol == native_symbol && held.side == side);
        own.next().map_or(Decimal::ZERO, |held| held.quantity)
    }

    /// What an open order may still spend, where it has a budget.
    #[must_use]
    pub fn budget(&self, client_id: &str) -> Option<Decimal> {
        self.state.locks.get(client_id)?.budget
    }

    /// Takes what a desk of `instrument` has told, and adds the balances and positions that it
    /// changed to it.
    pub fn apply(&mut self, instrument: &Instrument, facts: &mut Facts) {
        for fill in &facts.fills {
            self.fill(instrument, fill);
        }
        for report in &facts.orders {
            let Some(id) = &report.client_id else {
                continue;
            };
            match report.news.word {
                Word::Works | Word::WorksInPart | Word::Lost => {
                    if let Some(lock) = self.state.locks.get_mut(id) {
                        lock.confirm(&report.news);
                    }
                }
                _ => {
                    self.state.locks.remove(id);
                }
            }
        }
        if !facts.fills.is_empty() || !facts.orders.is_empty() {
            self.tell(instrument, facts);
        }
    }

    /// Balances and positions of an instrument.
    fn tell(&self, instrument: &Instrument, facts: &mut Facts) {
        let spec = &instrument.spec;
        let settlement = spec.settlement_symbol.as_ref();
        let assets = match spec.market {
            Market::Spot => vec![&spec.base_symbol, &spec.quote_symbol],
            Market::Perp => vec![settlement.unwrap_or(&spec.quote_symbol)],
        };
        facts
            .balances
            .extend(assets.into_iter().map(|asset| self.balance(asset)));
        if spec.market == Market::Perp {
            let held = self.state.held.iter();
            let own = held.filter(|held| held.native_symbol == spec.native_key());
            facts.positions.extend(own.map(|held| self.shown(held)));
        }
    }

    fn fill(&mut self, instrument: &Instrument, fill: &FillReport) {
        let spec = &instrument.spec;
        let Some(side) = fill.side else { return };
        let signed = match side {
            Side::Buy => fill.quantity,
            Side::Sell => -fill.quantity,
        };
        let value = fill.price.saturating_mul(fill.quantity);
        let fee = fill.fee.unwrap_or_default();
        let client = fill.client_id.as_deref().unwrap_or_default();
        let position_side = self.side_of(&spec.native_key(), client);
        if let Some(lock) = self.state.locks.get_mut(client) {
            lock.fill(fill.quantity, value.saturating_add(fee));
        }
        if let Some(asset) = &fill.fee_asset {
            self.add(asset, -fee);
        }
        match spec.market {
            Market::Spot => {
                self.add(&spec.base_symbol, signed);
                let paid = match side {
                    Side::Buy => -value,
                    Side::Sell => value,
                };
                self.add(&spec.quote_symbol, paid);
            }
            Market::Perp => {
                let leverage = Decimal::from(self.leverage(&spec.native_key()));
                let asset = super::arrive::fee_asset(instrument);
                let held = self.held(&spec.native_key(), position_side, &asset);
                let profit = held.execute(signed, fill.price, leverage);
                self.add(&asset, profit);
            }
        }
    }

    /// The position that an order belongs to.
    fn side_of(&self, native_symbol: &str, client_id: &str) -> PositionSide {
        if let Some(lock) = self.state.locks.get(client_id) {
            return lock.position_side.unwrap_or(PositionSide::Net);
        }
        let mut held = self.state.held.iter();
        let liquidated = held.find(|held| {
            let id = held.liquidation.as_ref().map(|(id, _)| id.as_str());
            held.native_symbol == native_symbol && id == Some(client_id)
        });
        liquidated.map_or(PositionSide::Net, |held| held.side)
    }

    /// Takes a mark price. Returns the positions that their margin does not cover any more: the desk
    /// has to close them ([`super::desk::Desk::liquidate`]).
    pub fn on_mark(
        &mut self,
        instrument: &Instrument,
        mark: Decimal,
        fees: Fees,
        now: TsNanos,
    ) -> Vec<Liquidation> {
        let rate = self.setup.maintenance_rate;
        let symbol = &*instrument.spec.native_key();
        let mut found = Vec::new();
        for held in &mut self.state.held {
            if held.native_symbol != *symbol || mark <= Decimal::ZERO {
                continue;
            }
            held.mark = Some(mark);
            let tried = held.liquidation.as_ref().map(|(_, at)| *at);
            let is_tried = tried.is_some_and(|at| now.0.saturating_sub(at) < LIQUIDATION_RETRY);
            if is_tried || !held.is_uncovered(mark, rate) {
                continue;
            }
            self.state.liquidations += 1;
            let client_id = format!("liquidation-{}-{}", now.as_ms(), self.state.liquidations);
            held.liquidation = Some((client_id.clone(), now.0));
            let price = held.forced_price(mark);
            let left = held.margin.saturating_add(held.profit_at(price));
            let fee = fees.on(price.saturating_mul(held.quantity.abs()), false);
            let left = left.round_dp_with_strategy(FEE_DIGITS, RoundingStrategy::ToZero);
            found.push(Liquidation {
                native_symbol: symbol.to_owned(),
                position_side: held.side,
                client_id,
                price,
                fee: fee.min(left).max(Decimal::ZERO),
            });
        }
        found
    }

    /// Settles funding: quantity × mark price × rate, paid by long positions and received by short
    /// ones while the rate is positive. What is not free comes out of the position's margin. A
    /// settlement counts once. Returns what was paid in all; negative: received.
    pub fn on_funding(
        &mut self,
        instrument: &Instrument,
        rate: Decimal,
        mark: Decimal,
        at: TsNanos,
        facts: &mut Facts,
    ) -> Decimal {
        let symbol = &*instrument.spec.native_key();
        let is_settled = self
            .state
            .settled
            .get(symbol)
            .is_some_and(|last| *last >= at.0);
        if is_settled {
            return Decimal::ZERO;
        }
        self.state.settled.insert(symbol.to_owned(), at.0);
        let mut paid = Decimal::ZERO;
        for index in 0..self.state.held.len() {
            let Some(held) = self.state.held.get_mut(index) else {
                continue;
            };
            if held.native_symbol != *symbol || held.quantity.is_zero() {
                continue;
            }
            let value = held.quantity.saturating_mul(mark);
            let payment = value.saturating_mul(rate).round_dp(PRICE_DIGITS);
            held.funding_cost = held.funding_cost.saturating_add(payment);
            let asset = held.asset.clone();
            self.add(&asset, -payment);
            paid = paid.saturating_add(payment);
            let missing = (-self.free(&asset)).min(payment).max(Decimal::ZERO);
            if let Some(held) = self.state.held.get_mut(index) {
                held.margin -= missing.min(held.margin);
            }
        }
        if !paid.is_zero() {
            self.tell(instrument, facts);
        }
        paid
    }

    /// Sets the leverage of a symbol; positions get the margin that belongs to it.
    ///
    /// # Errors
    /// `CRYPTO_INVALID_PARAMETER` for one that the instrument does not have, or under which a
    /// position would be liquidated; `CRYPTO_INSUFFICIENT_BALANCE` for want of margin.
    pub fn set_leverage(
        &mut self,
        instrument: &Instrument,
        leverage: u32,
    ) -> Result<(), CryptoError> {
        let spec = &instrument.spec;
        let most = spec.max_leverage.unwrap_or(u32::MAX);
        let refused = |accepted: String| {
            CryptoError::invalid_parameter("leverage", &leverage.to_string(), accepted)
        };
        if leverage == 0 || leverage > most {
            return Err(refused(format!("1 to {most}")));
        }
        let rate = self.setup.maintenance_rate;
        let mut moved = Decimal::ZERO;
        let mut margins = Vec::new();
        for held in &self.state.held {
            if held.native_symbol != spec.native_key() {
                continue;
            }
            let margin = margin_of(held.cost, leverage.into());
            let after = Held {
                margin,
                ..held.clone()
            };
            if held.mark.is_some_and(|mark| after.is_uncovered(mark, rate)) {
                let accepted = "a leverage under which the open position is not liquidated";
                return Err(refused(accepted.to_owned()));
            }
            moved = moved.saturating_add(margin).saturating_sub(held.margin);
            margins.push((held.side, margin));
        }
        let asset = super::arrive::fee_asset(instrument);
        let free = self.free(&asset);
        if moved > free {
            let amount = moved;
            return Err(insufficient(&Need { asset, amount }, free));
        }
        for (side, margin) in margins {
            self.held(&spec.native_key(), side, &asset).margin = margin;
        }
        self.state
            .leverage
            .insert(spec.native_key().into_owned(), leverage);
        Ok(())
    }

    fn held(&mut self, native_symbol: &str, side: PositionSide, asset: &str) -> &mut Held {
        let is_it = |held: &Held| held.native_symbol == native_symbol && held.side == side;
        let index = match self.state.held.iter().position(is_it) {
            Some(index) => index,
            None => {
                self.state.held.push(Held::new(native_symbol, side, asset));
                self.state.held.len() - 1
            }
        };
        &mut self.state.held[index]
    }

    fn add(&mut self, asset: &str, amount: Decimal) {
        let total = self.state.wallet.entry(asset.to_owned()).or_default();
        *total = total.saturating_add(amount);
    }

    fn balance(&self, asset: &str) -> Balance {
        let (total, locked) = (self.total(asset), self.locked(asset));
        Balance {
            market: None,
            asset: asset.to_owned(),
            free: total.saturating_sub(locked).normalize(),
            locked: locked.normalize(),
            total: total.normalize(),
        }
    }

    fn shown(&self, held: &Held) -> Position {
        let leverage = self.leverage(&held.native_symbol);
        held.shown(leverage, self.setup.maintenance_rate)
    }
}
