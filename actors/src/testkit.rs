//! What several tests need: an instrument table, an exchange's frames.

use std::sync::Arc;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};
use rust_decimal::Decimal;

/// Steps of 0.01 and 0.001.
pub(crate) fn spec(base: &str, market: Market) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}USDT"),
        base_symbol: base.to_owned(),
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
        margin_enabled: true,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: Some(8),
        native_code: None,
    }
}

/// BTCUSDT (id 0) and ETHUSDT (id 1) of one market.
pub(crate) fn table(market: Market) -> Arc<InstrumentTable> {
    let specs = vec![spec("BTC", market), spec("ETH", market)];
    Arc::new(InstrumentTable::default().with_market(ProviderId::BINANCE, market, specs))
}

/// The instrument with this number.
pub(crate) fn row(table: &InstrumentTable, index: usize) -> Arc<Instrument> {
    table.iter().nth(index).unwrap().clone()
}

/// A spot depth frame.
pub(crate) fn depth(symbol: &str, first: u64, last: u64, bids: &str, asks: &str) -> String {
    format!(
        r#"{{"e":"depthUpdate","E":1700000000000,"s":"{symbol}","U":{first},"u":{last},"b":{bids},"a":{asks}}}"#
    )
}

/// A spot trade frame.
pub(crate) fn trade(symbol: &str, id: u64) -> String {
    format!(
        r#"{{"e":"trade","E":1700000000001,"s":"{symbol}","t":{id},"p":"100.50","q":"0.250","T":{},"m":true,"M":true}}"#,
        1_700_000_000_000 + id
    )
}

/// A spot bar of the minute `minute` since the epoch.
pub(crate) fn kline(symbol: &str, minute: i64, close: &str, is_closed: bool) -> String {
    let open = minute * 60_000;
    format!(
        r#"{{"e":"kline","E":{},"s":"{symbol}","k":{{"t":{open},"T":{},"s":"{symbol}","i":"1m","f":1,"L":2,"o":"1.00","c":"{close}","h":"9.00","l":"1.00","v":"1.000","n":2,"x":{is_closed},"q":"1.00000","V":"0.500","Q":"0.50000","B":"0"}}}}"#,
        open + 59_000,
        open + 59_999
    )
}
