//! What the tests of this folder have in common.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rust_decimal::Decimal;

use super::order::{OrderTerms, OrderType, TimeInForce};
use super::venue::{Amend, OrderSupport, Touch};
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};

pub(super) fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// Price step 0.1, quantity step 0.001, both fees known, smallest notional 5.
pub(super) fn spec(market: Market) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: "BTCUSDT".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| "USDT".to_owned()),
        price_step: d("0.1"),
        qty_step: d("0.001"),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: Some(d("0.002")),
        max_qty: Some(d("1000")),
        min_notional: Some(d("5")),
        maker_fee: Some(d("0.0002")),
        taker_fee: Some(d("0.0005")),
        is_active: true,
        margin_enabled: market == Market::Perp,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: Some(100),
        funding_interval_hours: (market == Market::Perp).then_some(8),
        native_code: None,
    }
}

pub(super) fn instrument_of(spec: InstrumentSpec) -> Arc<Instrument> {
    let (provider, market) = (spec.provider, spec.market);
    let table = InstrumentTable::default().with_market(provider, market, vec![spec]);
    table.iter().next().unwrap().clone()
}

pub(super) fn instrument(market: Market) -> Arc<Instrument> {
    instrument_of(spec(market))
}

/// A limit order to buy 1 at 100.
pub(super) fn terms(market: Market) -> OrderTerms {
    let instrument = instrument(market);
    OrderTerms {
        provider: ProviderId::BINANCE,
        account: "default".to_owned(),
        entity_id: instrument.entity_id(),
        market,
        symbol: instrument.stream_symbol(),
        native_symbol: "BTCUSDT".to_owned(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: d("1"),
        price: Some(d("100")),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: None,
    }
}

/// A market order of the same.
pub(super) fn market_order(market: Market, side: Side, quantity: &str) -> OrderTerms {
    OrderTerms {
        side,
        order_type: OrderType::Market,
        quantity: d(quantity),
        price: None,
        time_in_force: TimeInForce::Ioc,
        ..terms(market)
    }
}

pub(super) const ALL: OrderSupport = OrderSupport {
    types: OrderType::ALL,
    times_in_force: TimeInForce::ALL,
    has_post_only: true,
    has_reduce_only: true,
    has_margin: false,
    amend: Amend::Native,
    has_leverage: true,
    dead_man_secs: None,
    has_hedge_mode: true,
    has_client_id_lookup: true,
};

/// Bid 99.9, ask 100.1, last 100.
pub(super) fn touch() -> Touch {
    Touch {
        bid: Some(d("99.9")),
        ask: Some(d("100.1")),
        last: Some(d("100")),
    }
}
