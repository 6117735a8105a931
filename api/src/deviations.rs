//! The continuous check of live prices across exchanges: every so often the mid prices of each pair
//! that several exchanges quote are compared, spot and perpetuals apart. A pair whose spread is beyond
//! the threshold is told once when that begins and once when it is over. Only trusted books take part.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bookwire_actors::gateway::Gateway;
use bookwire_actors::shard::messages::ShardObservation;
use bookwire_engine::config::DataCollectionConfig;
use bookwire_engine::instrument::{InstrumentTable, Market};
use bookwire_engine::num::{Price, to_decimal};
use bookwire_engine::prices;
use rust_decimal::Decimal;

/// A pair: its market and code.
pub type Pair = (Market, String);

/// How a pair's prices stand, where they are beyond the threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Spread in percent of the mean.
    pub max_deviation_pct: Decimal,
    /// Mid price at each exchange.
    pub mids: BTreeMap<String, Decimal>,
}

#[derive(Debug)]
struct Inner {
    threshold_pct: Decimal,
    interval: Option<Duration>,
    /// Times that a pair began to differ.
    begun: AtomicU64,
    /// Requests for a validation whose answer was that prices are not good.
    refused: AtomicU64,
    open: Mutex<BTreeMap<Pair, Deviation>>,
}

/// What the check knows. Clones are the same.
#[derive(Clone, Debug)]
pub struct PriceWatch(Arc<Inner>);

impl PriceWatch {
    /// A check as configured, which has not looked yet.
    #[must_use]
    pub fn new(config: &DataCollectionConfig) -> Self {
        let secs = config.price_check_secs;
        Self(Arc::new(Inner {
            threshold_pct: config.price_deviation_percent,
            interval: (secs > 0).then(|| Duration::from_secs(secs)),
            begun: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            open: Mutex::default(),
        }))
    }

    /// The spread that is accepted, in percent.
    #[must_use]
    pub fn threshold_pct(&self) -> Decimal {
        self.0.threshold_pct
    }

    /// A validation that was asked for did not pass.
    pub fn refused(&self) {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Validations that did not pass since the start.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Times that a pair's prices began to differ, since the start.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Pairs whose prices differ now.
    #[must_use]
    pub fn open(&self) -> usize {
        let open = self.0.open.lock();
        open.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Looks as often as configured, for as long as it is polled.
    pub async fn run(self, gateway: Gateway) {
        let Some(interval) = self.0.interval else {
            return;
        };
        let mut pace = tokio::time::interval(interval);
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // The first tick is at once: there is nothing to see yet.
        pace.tick().await;
        loop {
            pace.tick().await;
            let shards = gateway.observe().await;
            self.look(mids(&gateway.instruments(), &shards));
        }
    }

    /// Compares what there is now.
    fn look(&self, all: BTreeMap<Pair, BTreeMap<String, Decimal>>) {
        let mut now: BTreeMap<Pair, Deviation> = BTreeMap::new();
        for (pair, mids) in all {
            let values: Vec<Decimal> = mids.values().copied().collect();
            let Some(check) = prices::check(&values, values.len(), self.0.threshold_pct, None)
            else {
                continue;
            };
            if check.max_deviation_pct > self.0.threshold_pct {
                let max_deviation_pct = check.max_deviation_pct;
                now.insert(
                    pair,
                    Deviation {
                        max_deviation_pct,
                        mids,
                    },
                );
            }
        }
        let mut open = self.0.open.lock().unwrap_or_else(PoisonError::into_inner);
        for ((market, code), deviation) in &now {
            if !open.contains_key(&(*market, code.clone())) {
                self.0.begun.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    %market, code,
                    max_deviation_pct = %prices::shown(deviation.max_deviation_pct),
                    threshold_pct = %self.0.threshold_pct,
                    mids = ?deviation.mids,
                    "CRYPTO_DATA_QUALITY_FAILURE: exchanges' prices differ"
                );
            }
        }
        for (market, code) in open.keys() {
            if !now.contains_key(&(*market, code.clone())) {
                tracing::info!(%market, code, "exchanges' prices agree again, or can't be compared");
            }
        }
        *open = now;
    }
}

/// Mid prices by pair and exchange: of trusted books with both sides.
fn mids(
    table: &InstrumentTable,
    shards: &[ShardObservation],
) -> BTreeMap<Pair, BTreeMap<String, Decimal>> {
    let mut all: BTreeMap<Pair, BTreeMap<String, Decimal>> = BTreeMap::new();
    for book in shards.iter().flat_map(|shard| &shard.books) {
        let (Some((bid, ask)), Some(row)) = (book.best, table.get(book.instrument)) else {
            continue;
        };
        let price = |price: Price| to_decimal(price.0, row.price_scale);
        let mid = (price(bid) + price(ask)) / Decimal::TWO;
        let pair = (row.spec.market, row.code.clone());
        // One venue may be reached in two ways: its own adapter comes first.
        let of_pair = all.entry(pair).or_default();
        of_pair.entry(row.spec.exchange.clone()).or_insert(mid);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    fn watch() -> PriceWatch {
        PriceWatch::new(&bookwire_engine::config::Config::default().data_collection)
    }

    fn of(rows: &[(&str, &[(&str, &str)])]) -> BTreeMap<Pair, BTreeMap<String, Decimal>> {
        let mids = |mids: &[(&str, &str)]| {
            let mids = mids.iter();
            mids.map(|(name, mid)| ((*name).to_owned(), d(mid)))
                .collect()
        };
        let rows = rows.iter();
        rows.map(|(code, all)| ((Market::Spot, (*code).to_owned()), mids(all)))
            .collect()
    }

    #[test]
    fn a_deviation_counts_once_however_long_it_lasts() {
        let watch = watch();
        let apart: &[(&str, &str)] = &[("binance", "100"), ("okx", "102"), ("bybit", "100")];
        let close: &[(&str, &str)] = &[("binance", "100"), ("okx", "100.5")];
        watch.look(of(&[("btcusdt", close), ("ethusdt", close)]));
        assert_eq!((watch.begun(), watch.open()), (0, 0));
        for _ in 0..3 {
            watch.look(of(&[("btcusdt", apart), ("ethusdt", close)]));
            assert_eq!((watch.begun(), watch.open()), (1, 1));
        }
        watch.look(of(&[("btcusdt", close), ("ethusdt", apart)]));
        assert_eq!((watch.begun(), watch.open()), (2, 1), "another pair");
        watch.look(of(&[("btcusdt", apart)]));
        assert_eq!((watch.begun(), watch.open()), (3, 1), "begun anew");
        // One price alone can't differ.
        watch.look(of(&[("btcusdt", &[("binance", "5")])]));
        assert_eq!((watch.begun(), watch.open()), (3, 0));
    }

    #[test]
    fn the_threshold_is_the_configured_one() {
        let mut config = bookwire_engine::config::Config::default().data_collection;
        config.price_deviation_percent = d("5");
        let watch = PriceWatch::new(&config);
        watch.look(of(&[("btcusdt", &[("binance", "100"), ("okx", "104")])]));
        assert_eq!(watch.open(), 0);
        watch.look(of(&[("btcusdt", &[("binance", "100"), ("okx", "106")])]));
        assert_eq!(watch.open(), 1);
    }
}
