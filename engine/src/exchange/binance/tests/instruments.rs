//! The documented instrument lists.

use rust_decimal::Decimal;

use crate::exchange::{DecodeError, Exchange as _};
use crate::instrument::Market;
use crate::time::TsNanos;

use super::super::Binance;

#[test]
fn documented_instruments() {
    let spot = br#"{"timezone":"UTC","symbols":[{"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","baseAssetPrecision":8,"quoteAsset":"BTC","quotePrecision":8,"quoteAssetPrecision":8,"isSpotTradingAllowed":true,"isMarginTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.00000100","maxPrice":"100000.00000000","tickSize":"0.00000100"},{"filterType":"LOT_SIZE","minQty":"0.00100000","maxQty":"100000.00000000","stepSize":"0.00100000"},{"filterType":"MARKET_LOT_SIZE","minQty":"0.00100000","maxQty":"100000.00000000","stepSize":"0.00000000"},{"filterType":"NOTIONAL","minNotional":"10.00000000","applyMinToMarket":true,"maxNotional":"10000.00000000","applyMaxToMarket":false,"avgPriceMins":5}],"permissions":[]},{"symbol":"BROKEN","status":7},{"symbol":"HALTED","status":"BREAK","baseAsset":"HAL","quoteAsset":"TED","quoteAssetPrecision":6,"baseAssetPrecision":4,"isSpotTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","tickSize":"0"}]},{"symbol":"NOSTEP","status":"TRADING","baseAsset":"NO","quoteAsset":"STEP","filters":[]}]}"#;
    let (specs, left_out) = Binance
        .parse_instruments(Market::Spot, &[spot.to_vec()])
        .unwrap();
    assert_eq!(
        left_out,
        vec![
            ("no price step".to_owned(), 1),
            ("row can't be read".to_owned(), 1)
        ]
    );
    let number = |text: &str| Some(text.parse::<Decimal>().unwrap());
    let eth = &specs[0];
    assert_eq!(Some(eth.price_step), number("0.000001"));
    assert_eq!(Some(eth.qty_step), number("0.001"));
    assert_eq!(eth.max_qty, number("100000"));
    assert_eq!(eth.min_notional, number("10"));
    assert_eq!((eth.price_digits, eth.qty_digits), (8, 8));
    assert!(eth.is_active && eth.margin_enabled && eth.maker_fee.is_none());
    // A rule of 0 is off: the precision takes its place.
    let halted = &specs[1];
    assert_eq!(Some(halted.price_step), number("0.000001"));
    assert_eq!(Some(halted.qty_step), number("0.0001"));
    assert!(!halted.is_active);

    let perp = br#"{"symbols":[{"symbol":"BLZUSDT","pair":"BLZUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,"onboardDate":1598252400000,"status":"TRADING","baseAsset":"BLZ","quoteAsset":"USDT","marginAsset":"USDT","pricePrecision":5,"quantityPrecision":0,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.0001","maxPrice":"300","tickSize":"0.0001"},{"filterType":"LOT_SIZE","minQty":"1","maxQty":"10000000","stepSize":"1"},{"filterType":"MAX_NUM_ORDERS","limit":200},{"filterType":"MIN_NOTIONAL","notional":"5.0"}]},{"symbol":"X","status":"TRADING","contractType":"TRADIFI_PERPETUAL","baseAsset":"X","quoteAsset":"Y","filters":[]}]}"#;
    let funding = br#"[{"symbol":"BLZUSDT","adjustedFundingRateCap":"0.02500000","fundingIntervalHours":4,"disclaimer":false}]"#;
    let (specs, left_out) = Binance
        .parse_instruments(Market::Perp, &[perp.to_vec(), funding.to_vec()])
        .unwrap();
    assert_eq!(
        left_out,
        vec![("contract type TRADIFI_PERPETUAL".to_owned(), 1)]
    );
    let blz = &specs[0];
    assert_eq!(blz.settlement_symbol.as_deref(), Some("USDT"));
    assert_eq!(blz.min_notional, number("5"));
    assert_eq!(blz.list_date, Some(TsNanos::from_ms(1_598_252_400_000)));
    assert_eq!(blz.funding_interval_hours, Some(4));
    assert!(blz.margin_enabled && blz.contract_size == Decimal::ONE);
    let (specs, _) = Binance
        .parse_instruments(Market::Perp, &[perp.to_vec()])
        .unwrap();
    assert_eq!(specs[0].funding_interval_hours, Some(8));

    for body in [&b"{}"[..], b"[]", b"{\"symbols\":7}"] {
        let answer = Binance.parse_instruments(Market::Spot, &[body.to_vec()]);
        assert_eq!(answer, Err(DecodeError::Field { field: "symbols" }));
    }
    let answer = Binance.parse_instruments(Market::Spot, &[b"{\n\"symbols\":[nonsense".to_vec()]);
    assert_eq!(answer, Err(DecodeError::Json { at: 14 }));
}

#[test]
fn the_weight_in_force_is_told() {
    let told = |body: &str| Binance.told_budgets(Market::Spot, &[body.as_bytes().to_vec()]);
    let body = r#"{"timezone":"UTC","rateLimits":[
        {"rateLimitType":"RAW_REQUESTS","interval":"MINUTE","intervalNum":5,"limit":300000},
        {"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":1200}],
        "symbols":[]}"#;
    assert_eq!(told(body), [(0, 1200)]);
    for body in [
        "{}",
        "[]",
        "",
        r#"{"rateLimits":[]}"#,
        r#"{"rateLimits":7}"#,
    ] {
        assert_eq!(told(body), [], "{body}");
    }
    let none = r#"{"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE",
        "intervalNum":1,"limit":0}]}"#;
    assert_eq!(told(none), [], "it would stop everything");
    assert_eq!(Binance.told_budgets(Market::Spot, &[]), []);
}
