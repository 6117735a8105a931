//! Instruments and number reading shared by this folder's tests.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde_json::value::RawValue;

use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};

/// An instrument with steps of 10^-scale.
pub fn instrument(market: Market, base: &str, price_scale: u8, qty_scale: u8) -> Instrument {
    let spec = InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}USDT"),
        base_symbol: base.to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| "USDT".to_owned()),
        price_step: Decimal::new(1, u32::from(price_scale)),
        qty_step: Decimal::new(1, u32::from(qty_scale)),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: Some(Decimal::from(9_000)),
        min_notional: Some(Decimal::from(5)),
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: Some(crate::time::TsNanos(1_722_515_696_789_000_000)),
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: (market == Market::Perp).then_some(8),
        native_code: None,
    };
    let table = InstrumentTable::default().with_market(ProviderId::BINANCE, market, vec![spec]);
    (**table.iter().next().unwrap()).clone()
}

/// The fields of a JSON object with their raw text.
pub fn fields(json: &[u8]) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_slice(json).unwrap_or_else(|error| {
        panic!("{error} in {}", String::from_utf8_lossy(json));
    })
}

/// A field's raw text, quotes included.
pub fn raw(fields: &BTreeMap<String, Box<RawValue>>, name: &str) -> String {
    match fields.get(name) {
        Some(value) => value.get().to_owned(),
        None => panic!("no field `{name}`"),
    }
}
