//! The handle by which a test or a command steers a simulator and looks behind the wire.

use std::sync::Arc;

use crate::binance::core::Source;
use crate::binance::hub::Counters;
use crate::binance::server::Exchange;
use crate::chaos::{FaultId, FaultState};
use crate::fault::FaultSpec;
use crate::market::{Interval, Segment, TimeRange};

/// A book as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookTruth {
    /// Id of the last change in it.
    pub last_update_id: u64,
    /// Bids, best first: price and quantity as the exchange prints them.
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
    /// Quantity.
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

/// A handle to a running simulator. Clones are the same simulator.
#[derive(Clone)]
pub struct SimControl {
    pub(crate) exchange: Arc<Exchange>,
}

impl SimControl {
    /// Puts a fault in force.
    pub fn inject(&self, spec: FaultSpec) -> FaultId {
        self.exchange.core.lock().faults.inject(spec)
    }

    /// Takes a fault back.
    pub fn clear(&self, id: FaultId) {
        self.exchange.core.lock().faults.clear(Some(id));
    }

    /// Takes all faults back.
    pub fn clear_all(&self) {
        self.exchange.core.lock().faults.clear(None);
    }

    /// The faults in force and how often they struck; ended ones may be among them.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultState> {
        self.exchange.core.lock().faults.states()
    }

    /// What went out so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.exchange.core.lock().hub.counters
    }

    /// Market time, Unix ms.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.exchange.core.lock().now_ms()
    }

    /// Stops market time and publishes everything pending: once a client has received that, its
    /// books have to equal [`SimControl::book`]. Recorded messages are not stopped.
    pub fn pause(&self) {
        let mut core = self.exchange.core.lock();
        if !core.clock.is_paused() {
            core.clock.set_paused(true);
            while core.run_to_now() {}
            core.flush();
        }
    }

    /// Lets market time go on.
    pub fn resume(&self) {
        self.exchange.core.lock().clock.set_paused(false);
    }

    /// Listed symbols of a market.
    #[must_use]
    pub fn symbols(&self, market: Segment) -> Vec<String> {
        let core = self.exchange.core.lock();
        let of_market = core.symbols.iter().filter(|symbol| symbol.market == market);
        of_market.map(|symbol| symbol.name.clone()).collect()
    }

    /// The whole book of a native symbol; `None` if it is not listed.
    #[must_use]
    pub fn book(&self, market: Segment, symbol: &str) -> Option<BookTruth> {
        let core = self.exchange.core.lock();
        match core.find(market, symbol)?.source {
            Source::Market(ix) => {
                let it = core.instrument(ix)?;
                let depth = core.market.depth(ix, usize::MAX);
                let row = |(price, qty): &(_, _)| {
                    (it.price(*price).to_string(), it.qty(*qty).to_string())
                };
                Some(BookTruth {
                    last_update_id: depth.update_id,
                    bids: depth.bids.iter().map(row).collect(),
                    asks: depth.asks.iter().map(row).collect(),
                })
            }
            Source::Tape(at) => {
                let (last_update_id, bids, asks) = core.tapes.get(&market)?.book(at, usize::MAX);
                Some(BookTruth {
                    last_update_id,
                    bids,
                    asks,
                })
            }
        }
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
        let core = self.exchange.core.lock();
        let Some(Source::Market(ix)) = core.find(market, symbol).map(|s| s.source) else {
            return Vec::new();
        };
        let Some(it) = core.instrument(ix) else {
            return Vec::new();
        };
        let truth = |trade: crate::market::Trade| TradeTruth {
            id: trade.id,
            price: it.price(trade.price).to_string(),
            qty: it.qty(trade.qty).to_string(),
            is_buyer_maker: trade.taker_side == crate::market::Side::Sell,
            ts_ms: trade.ts_us.div_euclid(1_000),
        };
        core.market
            .trades_from(ix, from_id, limit)
            .into_iter()
            .map(truth)
            .collect()
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
        let core = self.exchange.core.lock();
        let Some(Source::Market(ix)) = core.find(market, symbol).map(|s| s.source) else {
            return Vec::new();
        };
        let Some(it) = core.instrument(ix) else {
            return Vec::new();
        };
        let truth = |bar: crate::market::Kline| KlineTruth {
            open_ms: bar.open_ms,
            ohlc: [bar.open, bar.high, bar.low, bar.close].map(|p| it.price(p).to_string()),
            volume: it.qty(bar.volume).to_string(),
            quote_volume: crate::binance::encode::quote(it, bar.quote_volume).to_string(),
            trades: bar.trades,
            is_closed: bar.is_closed,
        };
        core.market
            .klines(ix, interval, range)
            .into_iter()
            .map(truth)
            .collect()
    }

    /// Whether the recorded messages of a market have all been sent; `true` without any.
    #[must_use]
    pub fn is_replay_finished(&self, market: Segment) -> bool {
        let core = self.exchange.core.lock();
        core.tapes
            .get(&market)
            .is_none_or(|tape| tape.is_finished())
    }
}
