//! The handle by which a test or a command steers a simulator and looks behind the wire.

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::chaos::{FaultId, FaultState};
use crate::config::Exchange;
use crate::fault::{FaultKind, FaultSpec};
use crate::market::{Interval, Segment, TimeRange};
use crate::venue::control::Steer;
use crate::venue::hub::Counters;

pub use crate::account::truth::{AccountTruth, BalanceTruth, FillTruth, OrderTruth, PositionTruth};
pub use crate::venue::control::{BookTruth, KlineTruth, TradeTruth};

/// A handle to one exchange of a running simulator. Clones are the same exchange.
#[derive(Clone)]
pub struct SimControl {
    pub(crate) exchanges: Arc<[(Exchange, Arc<dyn Steer>)]>,
    /// Place of the exchange that is steered.
    pub(crate) at: usize,
}

impl SimControl {
    /// A handle to another exchange of the same simulator; `None` if it does not run.
    #[must_use]
    pub fn of(&self, exchange: Exchange) -> Option<Self> {
        let at = self
            .exchanges
            .iter()
            .position(|(one, _)| *one == exchange)?;
        Some(Self {
            exchanges: Arc::clone(&self.exchanges),
            at,
        })
    }

    /// The exchange that is steered.
    #[must_use]
    pub fn exchange(&self) -> Exchange {
        self.exchanges[self.at].0
    }

    fn steer(&self) -> &dyn Steer {
        &*self.exchanges[self.at].1
    }

    /// Puts a fault in force.
    pub fn inject(&self, spec: FaultSpec) -> FaultId {
        self.steer().inject(spec)
    }

    /// Takes a fault back.
    pub fn clear(&self, id: FaultId) {
        self.steer().clear(Some(id));
    }

    /// Takes all faults back.
    pub fn clear_all(&self) {
        self.steer().clear(None);
    }

    /// The faults in force and how often they struck; ended ones may be among them.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultState> {
        self.steer().faults()
    }

    /// How often faults of a kind have struck since the start. Those that last for a time instead of
    /// striking (`private-outage`, `maintenance`) are not counted.
    #[must_use]
    pub fn strikes(&self, kind: FaultKind) -> u64 {
        self.steer().strikes(kind)
    }

    /// What went out so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.steer().counters()
    }

    /// Market time, Unix ms.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.steer().now_ms()
    }

    /// Changes the multiplier of the market's event rates from now on ([`crate::SimConfig`]
    /// `intensity` is the one that it starts with).
    pub fn set_intensity(&self, intensity: f64) {
        self.steer().set_intensity(intensity);
    }

    /// Stops market time and publishes everything pending: once a client has received that, its
    /// books have to equal [`SimControl::book`]. Recorded messages are not stopped.
    pub fn pause(&self) {
        self.steer().pause();
    }

    /// Lets market time go on.
    pub fn resume(&self) {
        self.steer().resume();
    }

    /// Listed symbols of a market.
    #[must_use]
    pub fn symbols(&self, market: Segment) -> Vec<String> {
        self.steer().symbols(market)
    }

    /// The whole book of a native symbol; `None` if it is not listed.
    #[must_use]
    pub fn book(&self, market: Segment, symbol: &str) -> Option<BookTruth> {
        self.steer().book(market, symbol)
    }

    /// Trades of the seeded market from an id on, oldest first, at most `limit`.
    #[must_use]
    pub fn trades(
        &self,
        market: Segment,
        symbol: &str,
        from_id: u64,
        limit: usize,
    ) -> Vec<TradeTruth> {
        self.steer().trades(market, symbol, from_id, limit)
    }

    /// Trades of the seeded market with those of one taker at one price as one, from the number of
    /// an aggregate on, oldest first, at most `limit`: what an exchange that numbers these tells.
    #[must_use]
    pub fn aggregates(
        &self,
        market: Segment,
        symbol: &str,
        from_id: u64,
        limit: usize,
    ) -> Vec<TradeTruth> {
        self.steer().aggregates(market, symbol, from_id, limit)
    }

    /// Bars of the seeded market whose open time lies in `start_ms..=end_ms`, at most `limit`.
    #[must_use]
    pub fn klines(
        &self,
        market: Segment,
        symbol: &str,
        interval: Interval,
        range: TimeRange,
    ) -> Vec<KlineTruth> {
        self.steer().klines(market, symbol, interval, range)
    }

    /// Whether the recorded messages of a market have all been sent; `true` without any.
    #[must_use]
    pub fn is_replay_finished(&self, market: Segment) -> bool {
        self.steer().is_replay_finished(market)
    }

    /// The accounts as they are: orders, fills, balances and positions. The first one is that of
    /// the endpoints file.
    #[must_use]
    pub fn accounts(&self) -> Vec<AccountTruth> {
        self.steer().accounts()
    }

    /// Adds to a balance of an account, by its place in [`SimControl::accounts`]; a negative amount
    /// is taken away. Nothing happens without such an account.
    pub fn deposit(&self, account: usize, market: Segment, asset: &str, amount: Decimal) {
        self.steer().deposit(account, market, asset, amount);
    }

    /// Has an account hold long and short positions apart, or not; false when it has orders or
    /// positions, or is not there.
    pub fn set_hedged(&self, account: usize, is_hedged: bool) -> bool {
        self.steer().set_hedged(account, is_hedged)
    }

    /// Takes an API key back, by its public name: no request of it is served from now on. Connections
    /// that have logged in with it stay. False if there is no such key.
    pub fn revoke_key(&self, name: &str) -> bool {
        self.steer().revoke_key(name)
    }
}
