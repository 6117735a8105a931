//! Instrument lists: what is mapped, what is left out and why.

use rust_decimal::Decimal;

use crate::exchange::{Exchange as _, ProviderId};
use crate::instrument::{InstrumentSpec, InstrumentTable, Market, Scope};
use crate::time::TsNanos;

use super::super::Bybit;
use super::{capture, wrapped};

fn list(rows: &str, cursor: &str) -> Vec<u8> {
    format!(
        r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"x","list":[{rows}],"nextPageCursor":"{cursor}"}},"retExtInfo":{{}},"time":1735809771618}}"#
    )
    .into_bytes()
}

fn contract(symbol: &str, base: &str, quote: &str, kind: &str) -> String {
    format!(
        r#"{{"symbol":"{symbol}","symbolId":5,"contractType":"{kind}","status":"Trading","baseCoin":"{base}","quoteCoin":"{quote}","launchTime":"1585526400000","deliveryTime":"0","deliveryFeeRate":"","priceScale":"2","leverageFilter":{{"minLeverage":"1","maxLeverage":"12.50","leverageStep":"0.01"}},"priceFilter":{{"minPrice":"0.10","maxPrice":"1999999.80","tickSize":"0.10"}},"lotSizeFilter":{{"maxOrderQty":"1190.000","minOrderQty":"0.001","qtyStep":"0.001","postOnlyMaxOrderQty":"1190.000","maxMktOrderQty":"500.000","minNotionalValue":"5"}},"unifiedMarginTrade":true,"fundingInterval":480,"settleCoin":"{quote}","copyTrading":"both","isPreListing":false,"preListingInfo":null,"symbolType":""}}"#
    )
}

const SPOT: &str = r#"{"symbolId":9,"symbol":"BTCUSDT","baseCoin":"BTC","quoteCoin":"USDT","innovation":"0","status":"Trading","marginTrading":"utaOnly","stTag":"0","lotSizeFilter":{"basePrecision":"0.000001","quotePrecision":"0.0000001","minOrderQty":"0.000011","maxOrderQty":"83","minOrderAmt":"5","maxOrderAmt":"8000000","maxLimitOrderQty":"84","maxMarketOrderQty":"41.5","postOnlyMaxLimitOrderSize":"60000"},"priceFilter":{"tickSize":"0.1"},"riskParameters":{"priceLimitRatioX":"0.005","priceLimitRatioY":"0.01"},"symbolType":""}"#;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn spot_fields() {
    let (specs, left_out) = Bybit
        .parse_instruments(Market::Spot, &[list(SPOT, "")])
        .unwrap();
    let expected = InstrumentSpec {
        provider: ProviderId::BYBIT,
        exchange: "bybit".to_owned(),
        market: Market::Spot,
        native_symbol: "BTCUSDT".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: None,
        price_step: decimal("0.1"),
        qty_step: decimal("0.000001"),
        bar_levels: None,
        price_digits: 8,
        qty_digits: 8,
        min_qty: Some(decimal("0.000011")),
        max_qty: Some(decimal("84")),
        min_notional: Some(decimal("5")),
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: true,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    };
    assert_eq!((specs, left_out), (vec![expected], vec![]));
    for (margin, is_enabled) in [("both", true), ("none", false), ("utaOnly", true)] {
        let row = SPOT.replace("utaOnly", margin);
        let (specs, _) = Bybit
            .parse_instruments(Market::Spot, &[list(&row, "")])
            .unwrap();
        assert_eq!(specs[0].margin_enabled, is_enabled, "{margin}");
    }
}

#[test]
fn linear_fields() {
    let row = contract("BTCPERP", "BTC", "USDC", "LinearPerpetual");
    let (specs, _) = Bybit
        .parse_instruments(Market::Perp, &[list(&row, "")])
        .unwrap();
    let expected = InstrumentSpec {
        provider: ProviderId::BYBIT,
        exchange: "bybit".to_owned(),
        market: Market::Perp,
        native_symbol: "BTCPERP".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDC".to_owned(),
        settlement_symbol: Some("USDC".to_owned()),
        price_step: decimal("0.1"),
        qty_step: decimal("0.001"),
        bar_levels: None,
        price_digits: 8,
        qty_digits: 8,
        min_qty: Some(decimal("0.001")),
        max_qty: Some(decimal("1190")),
        min_notional: Some(decimal("5")),
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: true,
        list_date: Some(TsNanos::from_ms(1_585_526_400_000)),
        contract_size: Decimal::ONE,
        max_leverage: Some(12),
        funding_interval_hours: Some(8),
        native_code: None,
    };
    assert_eq!(specs, [expected]);
    let row = row.replace(r#""status":"Trading""#, r#""status":"PreLaunch""#);
    let (specs, _) = Bybit
        .parse_instruments(Market::Perp, &[list(&row, "")])
        .unwrap();
    assert!(!specs[0].is_active);
}

#[test]
fn rows_that_are_left_out_are_counted() {
    let rows = [
        contract("BTCUSDT", "BTC", "USDT", "LinearPerpetual"),
        contract("BTCUSDT-26DEC25", "BTC", "USDT", "LinearFutures"),
        contract("ETHUSDT-26DEC25", "ETH", "USDT", "LinearFutures"),
        contract("", "X", "USDT", "LinearPerpetual"),
        contract("XUSDT", "X", "USDT", "LinearPerpetual").replace("0.10", "0"),
        r#"{"symbol":"YUSDT"}"#.to_owned(),
    ];
    let (specs, left_out) = Bybit
        .parse_instruments(Market::Perp, &[list(&rows.join(","), "")])
        .unwrap();
    assert_eq!(specs.len(), 1);
    let expected = [
        ("contract type LinearFutures", 2),
        ("no price step", 1),
        ("row can't be read", 1),
        ("symbol or coin is empty", 1),
    ];
    let found: Vec<(&str, usize)> = left_out.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(found, expected);
}

/// Multipliers are part of the base coin, before its name or behind it. What a user writes is the
/// exchange's spelling; `SHIB1000USDT` is not another exchange's `1000SHIBUSDT`.
#[test]
fn multipliers_stay_in_the_base_coin_as_prefix_and_as_suffix() {
    let rows = [
        contract("1000PEPEUSDT", "1000PEPE", "USDT", "LinearPerpetual"),
        contract("SHIB1000USDT", "SHIB1000", "USDT", "LinearPerpetual"),
        contract("SHIB1000PERP", "SHIB1000", "USDC", "LinearPerpetual"),
    ];
    let (specs, _) = Bybit
        .parse_instruments(Market::Perp, &[list(&rows.join(","), "")])
        .unwrap();
    assert!(specs.iter().all(|spec| spec.contract_size == Decimal::ONE));
    let table = InstrumentTable::default().with_market(ProviderId::BYBIT, Market::Perp, specs);
    assert_eq!(table.collisions(), []);
    let scope = Scope {
        provider: Some(ProviderId::BYBIT),
        ..Scope::default()
    };
    for (text, native, code, name) in [
        (
            "1000pepeusdt",
            "1000PEPEUSDT",
            "1000pepeusdt",
            "1000PEPE/USDT:USDT",
        ),
        (
            "SHIB1000USDT",
            "SHIB1000USDT",
            "shib1000usdt",
            "SHIB1000/USDT:USDT",
        ),
        (
            "SHIB1000/USDC:USDC",
            "SHIB1000PERP",
            "shib1000usdc",
            "SHIB1000/USDC:USDC",
        ),
        (
            "SHIB1000PERP",
            "SHIB1000PERP",
            "shib1000usdc",
            "SHIB1000/USDC:USDC",
        ),
        (
            "cryptoperp_bybit_shib1000usdt",
            "SHIB1000USDT",
            "shib1000usdt",
            "SHIB1000/USDT:USDT",
        ),
    ] {
        let found = table.resolve(text, scope).unwrap();
        let got = (
            found.spec.native_symbol.as_str(),
            found.code.as_str(),
            found.name(),
        );
        assert_eq!(got, (native, code, name.to_owned()), "{text}");
    }
    for other in ["1000shibusdt", "shibusdt", "pepeusdt"] {
        assert!(table.resolve(other, scope).is_err(), "{other}");
    }
}

#[test]
fn lists_come_in_pages() {
    let first = Bybit.instrument_requests(Market::Perp);
    assert_eq!(
        first[0].path,
        "/v5/market/instruments-info?category=linear&limit=1000"
    );
    let row = contract("BTCUSDT", "BTC", "USDT", "LinearPerpetual");
    // Cursors are encoded already, and encoded again.
    let page = list(&row, "first%3DBTCUSDT%26last%3DBTCUSDT");
    let next = Bybit.next_instrument_request(Market::Perp, &page).unwrap();
    assert_eq!(
        next.path,
        "/v5/market/instruments-info?category=linear&limit=1000&cursor=first%253DBTCUSDT%2526last%253DBTCUSDT"
    );
    for last in [list(&row, ""), list("", "first%3DX"), b"{".to_vec()] {
        assert_eq!(Bybit.next_instrument_request(Market::Perp, &last), None);
    }
    let spot = Bybit.instrument_requests(Market::Spot);
    assert_eq!(spot[0].path, "/v5/market/instruments-info?category=spot");
    assert_eq!(Bybit.next_instrument_request(Market::Spot, &page), None);
    let other = contract("ETHUSDT", "ETH", "USDT", "LinearPerpetual");
    let pages = [page, list(&other, "")];
    let (specs, _) = Bybit.parse_instruments(Market::Perp, &pages).unwrap();
    let symbols: Vec<&str> = specs
        .iter()
        .map(|spec| spec.native_symbol.as_str())
        .collect();
    assert_eq!(symbols, ["BTCUSDT", "ETHUSDT"]);
}

#[test]
fn a_failure_is_no_empty_list() {
    let body = br#"{"retCode":10001,"retMsg":"params error","result":{"list":[]},"time":1}"#;
    assert!(
        Bybit
            .parse_instruments(Market::Spot, &[body.to_vec()])
            .is_err()
    );
}

#[test]
fn recorded_lists_load_with_every_row_accounted_for() {
    let Some(text) = capture("bybit_rest_instruments_20260809.jsonl.gz") else {
        return;
    };
    let rows = wrapped(&text);
    assert_eq!(rows.len(), 2);
    for row in rows {
        let (market, mapped, futures) = match row.url.contains("category=spot") {
            true => (Market::Spot, 557, None),
            false => (Market::Perp, 760, Some(40)),
        };
        let body = row.raw.into_bytes();
        assert_eq!(Bybit.body_failure(market, &body), None);
        assert_eq!(Bybit.next_instrument_request(market, &body), None);
        let (specs, left_out) = Bybit.parse_instruments(market, &[body]).unwrap();
        assert_eq!(specs.len(), mapped, "{market}");
        let reason = "contract type LinearFutures".to_owned();
        let expected: Vec<_> = futures.map(|n| (reason, n)).into_iter().collect();
        assert_eq!(left_out, expected, "{market}");
        assert!(specs.iter().all(|spec| spec.is_active));
        let is_perp = market == Market::Perp;
        assert!(
            specs
                .iter()
                .all(|spec| spec.settlement_symbol.is_some() == is_perp)
        );
        assert!(
            specs
                .iter()
                .all(|spec| spec.max_leverage.is_some() == is_perp)
        );
        assert!(
            specs
                .iter()
                .all(|spec| spec.funding_interval_hours.is_some() == is_perp)
        );
        assert!(
            specs
                .iter()
                .all(|spec| spec.min_notional.is_some() && spec.max_qty.is_some())
        );
        let table = InstrumentTable::default().with_market(ProviderId::BYBIT, market, specs);
        assert_eq!(table.collisions(), [], "{market}");
        for row in table.iter() {
            assert!(row.price_scale <= 18 && row.qty_scale <= 18);
            // A level may be ten thousand times the largest order.
            let most = row.spec.max_qty.unwrap().trunc() * Decimal::from(10_000);
            let fits = crate::num::from_decimal(most, row.qty_scale).is_ok();
            assert!(fits, "{} {}", row.spec.native_symbol, row.qty_scale);
        }
    }
}
