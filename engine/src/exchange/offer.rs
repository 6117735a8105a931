//! What a provider offers, found out by asking its adapter: nothing here is a list of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::{Exchange, Feed, PageRequest, ProviderId};
use crate::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};
use crate::time::{Level, TsNanos};

/// What an adapter can do for the instruments of one market.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which market.
    pub market: Market,
    /// Live data there is; bars as one.
    pub feeds: Vec<Feed>,
    /// Levels of bars that the exchange sends live.
    pub live_levels: Vec<Level>,
    /// Levels of bars that the exchange has a history of.
    pub history_levels: Vec<Level>,
    /// Past trades that can be asked for.
    pub trade_history: TradeHistory,
    /// Settled funding can be asked for.
    pub has_funding_history: bool,
}

/// Which past trades can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeHistory {
    /// None.
    None,
    /// So many of the newest ones; `None`: as many as the exchange sends.
    Newest(Option<u32>),
    /// Those of a span of time.
    ByTime,
    /// All from an id on, so that none is left out.
    ById,
}

impl TradeHistory {
    fn of(exchange: &dyn Exchange, instrument: &Instrument) -> Self {
        let page = PageRequest {
            limit: 1,
            ..PageRequest::default()
        };
        let day = |ts: i64| Some(TsNanos(ts * 86_400_000_000_000));
        let is_there = |page| exchange.trade_request(instrument, page).is_some();
        if is_there(PageRequest {
            from_id: Some(1),
            ..page
        }) {
            Self::ById
        } else if is_there(PageRequest {
            start: day(1),
            end: day(2),
            ..page
        }) {
            Self::ByTime
        } else if is_there(page) {
            Self::Newest(exchange.trades_shown(instrument.spec.market))
        } else {
            Self::None
        }
    }
}

/// What a provider offers, market by market.
#[must_use]
pub fn offers(provider: ProviderId) -> Vec<Offer> {
    let markets = provider.exchange().markets().iter();
    markets
        .filter_map(|market| offer(provider, *market))
        .collect()
}

fn offer(provider: ProviderId, market: Market) -> Option<Offer> {
    let exchange = provider.exchange();
    let instrument = probe(provider, market)?;
    let has = |feed: Feed| !exchange.streams(&instrument, feed).is_empty();
    let levels = |is_there: &dyn Fn(Level) -> bool| {
        let all = Level::ALL.iter().copied();
        all.filter(|level| is_there(*level)).collect::<Vec<Level>>()
    };
    let live_levels = levels(&|level| has(Feed::Klines(level)));
    let page = PageRequest {
        limit: 1,
        ..PageRequest::default()
    };
    let history_levels =
        levels(&|level| exchange.kline_request(&instrument, level, page).is_some());
    let plain = [Feed::Trades, Feed::Book, Feed::Ticker, Feed::Funding];
    let bars = live_levels.first().map(|level| Feed::Klines(*level));
    Some(Offer {
        market,
        feeds: plain
            .into_iter()
            .filter(|feed| has(*feed))
            .chain(bars)
            .collect(),
        live_levels,
        history_levels,
        trade_history: TradeHistory::of(exchange, &instrument),
        has_funding_history: exchange.funding_request(&instrument, page).is_some(),
    })
}

/// An instrument as any other, to ask the adapter about.
fn probe(provider: ProviderId, market: Market) -> Option<Arc<Instrument>> {
    let spec = InstrumentSpec {
        provider,
        exchange: provider.name().to_owned(),
        market,
        native_symbol: "BTC-USDT".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| "USDT".to_owned()),
        price_step: Decimal::new(1, 2),
        qty_step: Decimal::new(1, 3),
        bar_levels: None,
        price_digits: 2,
        qty_digits: 3,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    };
    let table = InstrumentTable::default().with_market(provider, market, vec![spec]);
    table.iter().next().cloned()
}

/// A sum of what a provider's adapter may ask in a minute, over all hosts and budgets: the most
/// requests that the limits leave room for, each at its least cost.
#[must_use]
pub fn requests_per_minute(provider: ProviderId) -> u64 {
    let exchange = provider.exchange();
    let mut seen = BTreeSet::new();
    let mut sum = 0;
    for market in exchange.markets() {
        let (host, _) = exchange.rest_host(*market);
        for budget in exchange.rest_budgets(*market) {
            if seen.insert((host, budget.name)) {
                sum += u64::from(budget.weight_per_window) * 60 / budget.window_secs.max(1);
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(provider: ProviderId, market: Market) -> Offer {
        let all = offers(provider);
        all.into_iter()
            .find(|offer| offer.market == market)
            .unwrap()
    }

    #[test]
    fn each_provider_has_an_offer_for_each_of_its_markets() {
        for provider in ProviderId::all() {
            let markets: Vec<Market> = offers(provider).iter().map(|o| o.market).collect();
            assert_eq!(markets, provider.exchange().markets());
        }
    }

    #[test]
    fn what_adapters_lack_is_not_offered() {
        let spot = of(ProviderId::BINANCE, Market::Spot);
        assert_eq!(spot.history_levels, Level::ALL);
        assert!(!spot.feeds.contains(&Feed::Funding) && !spot.has_funding_history);
        let perp = of(ProviderId::BINANCE, Market::Perp);
        assert!(perp.feeds.contains(&Feed::Funding) && perp.has_funding_history);
        let coinbase = of(ProviderId::COINBASE, Market::Spot);
        assert_eq!(coinbase.live_levels, [Level::M5]);
        assert!(!coinbase.history_levels.contains(&Level::H4));
        assert!(coinbase.history_levels.contains(&Level::D1));
    }

    #[test]
    fn which_trades_can_be_had_is_told() {
        let by = |provider, market| of(provider, market).trade_history;
        assert_eq!(by(ProviderId::BINANCE, Market::Spot), TradeHistory::ById);
        assert_eq!(by(ProviderId::BINANCE, Market::Perp), TradeHistory::ById);
        assert_eq!(by(ProviderId::OKX, Market::Spot), TradeHistory::ById);
        assert_eq!(by(ProviderId::COINBASE, Market::Spot), TradeHistory::ByTime);
        let newest = |count| TradeHistory::Newest(Some(count));
        assert_eq!(by(ProviderId::BYBIT, Market::Spot), newest(60));
        assert_eq!(by(ProviderId::BYBIT, Market::Perp), newest(1000));
    }

    #[test]
    fn shared_budgets_count_once() {
        assert_eq!(requests_per_minute(ProviderId::BINANCE), 6000 + 2400);
        assert_eq!(requests_per_minute(ProviderId::BYBIT), 600 * 12);
        // Public and private ones.
        assert_eq!(requests_per_minute(ProviderId::COINBASE), 600 + 1800);
    }
}
