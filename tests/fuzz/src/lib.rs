//! What the fuzz targets check, apart from the fuzzer, so that seeds are replayed by plain tests.
//!
//! Every check takes arbitrary bytes and panics when a promise is broken; reading itself must never
//! panic, hang or grow without bound.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a broken promise is told by a panic"
)]

pub mod answers;
pub mod book;
pub mod bybit;
pub mod ccxt;
pub mod client;
pub mod coinbase;
pub mod config;
pub mod okx;
pub mod replay;
pub mod rest;
pub mod stream;
pub mod trading;

use std::sync::Arc;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentSpec, InstrumentTable, Market};
use rust_decimal::Decimal;

/// Instruments of fine, coarse and uneven scales.
#[must_use]
pub fn table(market: Market) -> Arc<InstrumentTable> {
    table_of(ProviderId::BINANCE, market)
}

/// [`table`] of another provider.
#[must_use]
pub fn table_of(provider: ProviderId, market: Market) -> Arc<InstrumentTable> {
    let specs = [
        ("BTC", "USDT", 2, 8),
        ("DOGE", "USDT", 5, 0),
        ("币", "BTC", 18, 18),
        ("A", "B", 0, 3),
    ]
    .into_iter()
    .map(|(base, quote, price, qty)| InstrumentSpec {
        provider,
        exchange: provider.name().to_owned(),
        ..spec(market, base, quote, price, qty)
    })
    .collect();
    Arc::new(InstrumentTable::default().with_market(provider, market, specs))
}

fn spec(market: Market, base: &str, quote: &str, price: u32, qty: u32) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}{quote}"),
        base_symbol: base.to_owned(),
        quote_symbol: quote.to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| quote.to_owned()),
        price_step: Decimal::new(1, price),
        qty_step: Decimal::new(1, qty),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
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
    }
}
