//! Steering an exchange and looking behind its wire, whatever its protocol.

use rust_decimal::Decimal;

use crate::account::AccountId;
use crate::account::truth::AccountTruth;
use crate::chaos::{FaultId, FaultState};
use crate::fault::{FaultKind, FaultSpec};
use crate::market::{Interval, Segment, Side, TimeRange};

use super::core::Venue;
use super::hub::Counters;
use super::server::Service;

/// A book as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookTruth {
    /// Id of the last change in it.
    pub last_update_id: u64,
    /// Bids, best first: price, and quantity in base units.
    pub bids: Vec<(String, String)>,
    /// Asks, best first.
    pub asks: Vec<(String, String)>,
}

/// A trade as it really was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TradeTruth {
    /// Trade id.
    pub id: u64,
    /// Price.
    pub price: String,
    /// Quantity, base units.
    pub qty: String,
    /// Whether the taker sold.
    pub is_buyer_maker: bool,
    /// Time, Unix ms.
    pub ts_ms: i64,
}

/// A bar as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KlineTruth {
    /// Open time, Unix ms.
    pub open_ms: i64,
    /// First, highest, lowest and last price.
    pub ohlc: [String; 4],
    /// Base volume.
    pub volume: String,
    /// Quote volume.
    pub quote_volume: String,
    /// Number of trades.
    pub trades: u64,
    /// Whether its time is over.
    pub is_closed: bool,
}

/// An exchange as [`crate::SimControl`] sees it.
pub(crate) trait Steer: Send + Sync {
    fn inject(&self, spec: FaultSpec) -> FaultId;
    fn clear(&self, id: Option<FaultId>);
    fn faults(&self) -> Vec<FaultState>;
    fn strikes(&self, kind: FaultKind) -> u64;
    fn counters(&self) -> Counters;
    fn now_ms(&self) -> i64;
    fn set_intensity(&self, intensity: f64);
    fn pause(&self);
    fn resume(&self);
    fn symbols(&self, market: Segment) -> Vec<String>;
    fn book(&self, market: Segment, symbol: &str) -> Option<BookTruth>;
    fn trades(&self, market: Segment, symbol: &str, from_id: u64, limit: usize) -> Vec<TradeTruth>;
    fn aggregates(
        &self,
        market: Segment,
        symbol: &str,
        from_id: u64,
        limit: usize,
    ) -> Vec<TradeTruth>;
    fn klines(
        &self,
        market: Segment,
        symbol: &str,
        interval: Interval,
        range: TimeRange,
    ) -> Vec<KlineTruth>;
    fn is_replay_finished(&self, market: Segment) -> bool;
    fn accounts(&self) -> Vec<AccountTruth>;
    fn deposit(&self, account: usize, market: Segment, asset: &str, amount: Decimal);
    fn revoke_key(&self, name: &str) -> bool;
    fn set_hedged(&self, account: usize, is_hedged: bool) -> bool;
}

impl<S: Service> Steer for S {
    fn inject(&self, spec: FaultSpec) -> FaultId {
        self.core().lock().faults.inject(spec)
    }

    fn clear(&self, id: Option<FaultId>) {
        self.core().lock().faults.clear(id);
    }

    fn faults(&self) -> Vec<FaultState> {
        self.core().lock().faults.states()
    }

    fn strikes(&self, kind: FaultKind) -> u64 {
        self.core().lock().faults.struck(kind)
    }

    fn counters(&self) -> Counters {
        self.core().lock().hub.counters
    }

    fn now_ms(&self) -> i64 {
        self.core().lock().now_ms()
    }

    fn set_intensity(&self, intensity: f64) {
        self.core().lock().market.set_intensity(intensity);
    }

    fn pause(&self) {
        let mut core = self.core().lock();
        if !core.clock.is_paused() {
            core.clock.set_paused(true);
            while core.run_to_now() {}
            S::Venue::flush(&mut core);
        }
    }

    fn resume(&self) {
        self.core().lock().clock.set_paused(false);
    }

    fn symbols(&self, market: Segment) -> Vec<String> {
        S::Venue::symbols(&self.core().lock(), market)
    }

    fn book(&self, market: Segment, symbol: &str) -> Option<BookTruth> {
        S::Venue::book(&self.core().lock(), market, symbol)
    }

    fn trades(&self, market: Segment, symbol: &str, from_id: u64, limit: usize) -> Vec<TradeTruth> {
        let core = self.core().lock();
        let Some(ix) = S::Venue::seeded(&core, market, symbol) else {
            return Vec::new();
        };
        let Some(it) = core.instrument(ix) else {
            return Vec::new();
        };
        let truth = |trade: crate::market::Trade| TradeTruth {
            id: trade.id,
            price: S::Venue::print(it.price(trade.price)),
            qty: S::Venue::print(it.qty(trade.qty)),
            is_buyer_maker: trade.taker_side == Side::Sell,
            ts_ms: trade.ts_us.div_euclid(1_000),
        };
        let trades = core.market.trades_from(ix, from_id, limit);
        trades.into_iter().map(truth).collect()
    }

    fn aggregates(
        &self,
        market: Segment,
        symbol: &str,
        from_id: u64,
        limit: usize,
    ) -> Vec<TradeTruth> {
        let core = self.core().lock();
        let Some(ix) = S::Venue::seeded(&core, market, symbol) else {
            return Vec::new();
        };
        let Some(it) = core.instrument(ix) else {
            return Vec::new();
        };
        let truth = |agg: crate::market::AggTrade| TradeTruth {
            id: agg.id,
            price: S::Venue::print(it.price(agg.price)),
            qty: S::Venue::print(it.qty(agg.qty)),
            is_buyer_maker: agg.taker_side == Side::Sell,
            ts_ms: agg.ts_us.div_euclid(1_000),
        };
        let aggs = core.market.agg_trades_from(ix, from_id, limit);
        aggs.into_iter().map(truth).collect()
    }

    fn klines(
        &self,
        market: Segment,
        symbol: &str,
        interval: Interval,
        range: TimeRange,
    ) -> Vec<KlineTruth> {
        let core = self.core().lock();
        let Some(ix) = S::Venue::seeded(&core, market, symbol) else {
            return Vec::new();
        };
        let Some(it) = core.instrument(ix) else {
            return Vec::new();
        };
        let truth = |bar: crate::market::Kline| KlineTruth {
            open_ms: bar.open_ms,
            ohlc: [bar.open, bar.high, bar.low, bar.close].map(|p| S::Venue::print(it.price(p))),
            volume: S::Venue::print(it.qty(bar.volume)),
            quote_volume: S::Venue::print_quote(it, bar.quote_volume),
            trades: bar.trades,
            is_closed: bar.is_closed,
        };
        let bars = core.market.klines(ix, interval, range);
        bars.into_iter().map(truth).collect()
    }

    fn is_replay_finished(&self, market: Segment) -> bool {
        S::Venue::is_replay_finished(&self.core().lock(), market)
    }

    fn accounts(&self) -> Vec<AccountTruth> {
        let core = self.core().lock();
        core.accounts.truth(&core.market)
    }

    fn deposit(&self, account: usize, market: Segment, asset: &str, amount: Decimal) {
        let id = u32::try_from(account).unwrap_or(u32::MAX);
        self.core()
            .lock()
            .deposit(AccountId(id), market, asset, amount);
    }

    fn revoke_key(&self, name: &str) -> bool {
        self.core().lock().accounts.revoke_key(name)
    }

    fn set_hedged(&self, account: usize, is_hedged: bool) -> bool {
        let id = AccountId(u32::try_from(account).unwrap_or(u32::MAX));
        self.core().lock().set_hedged(id, is_hedged).is_ok()
    }
}
