//! REST: requests as they are sent, answers as they are documented, and the product list.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::event::{Side, TradeId};
use crate::exchange::{DecodeError, Exchange as _, HistoryOf, PageRequest};
use crate::instrument::{Instrument, InstrumentSpec, Market};
use crate::time::{Level, TsNanos};

use super::super::Coinbase;
use super::{instrument, level, spec, ts};

fn btc() -> Instrument {
    instrument(spec("BTC", "USD", 2, 8))
}

const PRODUCTS: &str = "/api/v3/brokerage/market/products";

fn secs(secs: i64) -> Option<TsNanos> {
    Some(TsNanos(secs * 1_000_000_000))
}

#[test]
fn bars_are_asked_for_in_spans_that_are_answered() {
    let path = |level, page| {
        let request = Coinbase.kline_request(&btc(), level, page);
        request.map(|request| request.path)
    };
    let page = |start, end, limit| PageRequest {
        start,
        end,
        from_id: None,
        limit,
    };
    let candles = format!("{PRODUCTS}/BTC-USD/candles?granularity");
    let rows = [
        // As long as asked for.
        (
            page(secs(600), secs(1_200), 1_000),
            format!("{candles}=ONE_MINUTE&limit=350&start=600&end=1200"),
        ),
        // Cut behind 350 bars, the first and the last included.
        (
            page(secs(60), secs(1_000_000), 1_000),
            format!(
                "{candles}=ONE_MINUTE&limit=350&start=60&end={}",
                60 + 349 * 60
            ),
        ),
        (
            page(secs(60), None, 2),
            format!("{candles}=ONE_MINUTE&limit=2&start=60&end=120"),
        ),
        (
            page(None, secs(6_000), 2),
            format!("{candles}=ONE_MINUTE&limit=2&start=5940&end=6000"),
        ),
        (
            page(None, Some(TsNanos(i64::MAX)), 1),
            format!("{candles}=ONE_MINUTE&limit=1&start=9223372036&end=9223372036"),
        ),
        (
            page(Some(TsNanos(-5)), secs(0), 1),
            format!("{candles}=ONE_MINUTE&limit=1&start=0&end=0"),
        ),
    ];
    for (page, expected) in rows {
        assert_eq!(path(Level::M1, page), Some(expected), "{page:?}");
    }
    let part = |series| Coinbase.page_span(Market::Spot, series);
    let bars = HistoryOf::Klines(Level::M5);
    assert_eq!(part(bars), Some(350 * 300 * 1_000_000_000));
    assert_eq!(part(HistoryOf::Funding), None);
    let newest = page(secs(0), secs(0), 1);
    let names: Vec<Option<bool>> = Level::ALL
        .into_iter()
        .map(|level| path(level, newest).map(|path| path.contains("granularity=")))
        .collect();
    // There are no bars of four hours.
    let has = Some(true);
    assert_eq!(names, [has, has, has, has, has, None, has]);
}

#[test]
fn requests_name_what_they_ask_for() {
    let row = btc();
    let page = PageRequest {
        start: Some(TsNanos(1_500_000_000)),
        end: Some(TsNanos(2_500_000_000)),
        from_id: None,
        limit: 5_000,
    };
    let path = |page| {
        Coinbase
            .trade_request(&row, page)
            .map(|request| request.path)
    };
    let ticker = format!("{PRODUCTS}/BTC-USD/ticker?limit");
    assert_eq!(path(page), Some(format!("{ticker}=1000&start=1&end=3")));
    let newest = PageRequest {
        limit: 7,
        ..PageRequest::default()
    };
    assert_eq!(path(newest), Some(format!("{ticker}=7")));
    let by_id = PageRequest {
        from_id: Some(1),
        ..newest
    };
    assert_eq!(path(by_id), None);
    let book = Coinbase.snapshot_request(&row, 50);
    assert_eq!(
        book.path,
        "/api/v3/brokerage/market/product_book?product_id=BTC-USD&limit=50"
    );
    assert_eq!((book.budget, book.weight), (0, 1));
    let time = Coinbase.time_request(Market::Spot);
    assert_eq!(time.path, "/api/v3/brokerage/time");
    let list = Coinbase.instrument_requests(Market::Spot);
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].path, PRODUCTS);
    assert_eq!(Coinbase.funding_request(&row, newest), None);
    let body = r#"{"products":[],"pagination":{"has_next":true,"next_cursor":"a/b="}}"#;
    let next = Coinbase.next_instrument_request(Market::Spot, body.as_bytes());
    let next = next.map(|request| request.path);
    assert_eq!(next, Some(format!("{PRODUCTS}?cursor=a%2Fb%3D")));
    for last in [
        r#"{"products":[],"pagination":{"has_next":false,"next_cursor":"x"}}"#,
        r#"{"products":[],"pagination":{"has_next":true,"next_cursor":""}}"#,
        r#"{"products":[]}"#,
        "[",
    ] {
        let next = Coinbase.next_instrument_request(Market::Spot, last.as_bytes());
        assert_eq!(next, None, "{last}");
    }
}

#[test]
fn answers_are_read() {
    let row = btc();
    let mut body = br#"{"candles":[{"start":"1712192460","low":"1","high":"4","open":"2","close":"3","volume":"5.5"},{"start":"1712192400","low":"1","high":"4","open":"2","close":"3","volume":"0"}]}"#.to_vec();
    let now = TsNanos(1_712_192_500_000_000_000);
    let bars = Coinbase
        .parse_klines(&row, Level::M1, &mut body, now)
        .unwrap();
    let told: Vec<(i64, bool, i64)> = bars
        .iter()
        .map(|bar| (bar.open_time.as_secs(), bar.is_closed, bar.volume.0))
        .collect();
    assert_eq!(
        told,
        [
            (1_712_192_400, true, 0),
            (1_712_192_460, false, 550_000_000)
        ]
    );
    assert_eq!((bars[0].volume_quote, bars[0].trade_count), (None, None));

    // The first row of the documented sample: 68923.67 is the best ask and the side SELL.
    let mut body = br#"{"trades":[{"trade_id":"22350502","product_id":"BTC-USD","price":"68923.67","size":"4","time":"2021-05-31T09:59:59.5Z","side":"SELL","exchange":""},{"trade_id":"22350501","product_id":"BTC-USD","price":"140.91","size":"4","time":"2021-05-31T09:59:59Z","side":"BUY"}],"best_bid":"68923.66","best_ask":"68923.67"}"#.to_vec();
    let trades = Coinbase.parse_trades(&row, &mut body).unwrap();
    let told: Vec<(TradeId, Side)> = trades
        .iter()
        .map(|trade| (trade.trade_id, trade.taker_side))
        .collect();
    assert_eq!(
        told,
        [
            (TradeId::Number(22_350_501), Side::Sell),
            (TradeId::Number(22_350_502), Side::Buy)
        ]
    );

    let mut body = br#"{"pricebook":{"product_id":"ETH-USDT","bids":[{"price":"2452.77","size":"0.32700476"}],"asks":[{"price":"2453.62","size":"0.38"}],"time":"2024-10-02T11:22:32.748151Z"}}"#.to_vec();
    let book = Coinbase.parse_snapshot(&row, &mut body).unwrap();
    assert_eq!(book.bids, [level(245_277, 32_700_476)]);
    assert_eq!(book.asks, [level(245_362, 38_000_000)]);
    assert_eq!(book.ts_event, Some(ts("2024-10-02T11:22:32.748151Z")));

    let body = br#"{"iso":"2026-04-07T00:00:00Z","epochSeconds":"1775520000","epochMillis":"1775520000123"}"#;
    assert_eq!(
        Coinbase.parse_time(body),
        Ok(TsNanos::from_ms(1_775_520_000_123))
    );
    let wrong = DecodeError::Field { field: "candles" };
    let answer = Coinbase.parse_klines(&row, Level::M1, &mut b"{}".to_vec(), now);
    assert_eq!(answer, Err(wrong));
}

/// A row of the product list with some of its fields changed.
fn product(changes: &[(&str, Value)]) -> Value {
    let mut row = json!({
        "product_id": "BTC-USD", "price": "68923.67", "base_increment": "0.00000001",
        "quote_increment": "0.1", "quote_min_size": "1", "quote_max_size": "150000000",
        "base_min_size": "0.00000001", "base_max_size": "3400", "status": "online",
        "trading_disabled": false, "is_disabled": false, "view_only": false,
        "product_type": "SPOT", "quote_currency_id": "USD", "base_currency_id": "BTC",
        "alias": "", "alias_to": ["BTC-USDC"], "price_increment": "0.01",
        "new_at": "2023-01-01T00:00:00Z", "a_field_of_tomorrow": [1],
    });
    for (name, value) in changes {
        row[*name] = value.clone();
    }
    row
}

fn load(rows: &[Value]) -> (Vec<InstrumentSpec>, Vec<(String, usize)>) {
    let body = json!({ "products": rows, "num_products": rows.len() });
    let bodies = [body.to_string().into_bytes()];
    Coinbase.parse_instruments(Market::Spot, &bodies).unwrap()
}

#[test]
fn products_become_instruments() {
    let (specs, left_out) = load(&[product(&[])]);
    assert_eq!(left_out, []);
    let spec = &specs[0];
    let decimal = |text: &str| text.parse::<Decimal>().unwrap();
    assert_eq!(spec.native_symbol, "BTC-USD");
    assert_eq!((&*spec.base_symbol, &*spec.quote_symbol), ("BTC", "USD"));
    assert_eq!(spec.price_step, decimal("0.01"));
    assert_eq!(spec.qty_step, decimal("0.00000001"));
    assert_eq!(spec.min_qty, Some(decimal("0.00000001")));
    assert_eq!(spec.max_qty, Some(decimal("3400")));
    assert_eq!(spec.min_notional, Some(decimal("1")));
    assert!(spec.is_active && !spec.margin_enabled);
    // What stands for "older than the field" is no day.
    assert_eq!(spec.list_date, None);
    let row = instrument(spec.clone());
    assert_eq!((row.price_scale, row.qty_scale), (8, 8));
    assert_eq!((&*row.code, &*row.name()), ("btcusd", "BTC/USD"));
    assert_eq!(row.entity_id(), "cryptopair_coinbase_btcusd");

    let listed = product(&[("new_at", json!("2025-03-26T18:17:01.157Z"))]);
    let (specs, _) = load(&[listed]);
    assert_eq!(specs[0].list_date, Some(ts("2025-03-26T18:17:01.157Z")));
    // Orders of milliards of coins leave no room for eight decimals.
    let cheap = product(&[
        ("base_increment", json!("1")),
        ("base_max_size", json!("1700733946.3987435192885086")),
        ("price_increment", Value::Null),
        ("new_at", Value::Null),
    ]);
    let (specs, _) = load(&[cheap]);
    assert_eq!(specs[0].price_step, decimal("0.1"));
    assert_eq!(specs[0].qty_digits, 5);
    for barred in [
        ("status", json!("delisted")),
        ("trading_disabled", json!(true)),
        ("is_disabled", json!(true)),
        ("view_only", json!(true)),
    ] {
        let (specs, _) = load(&[product(std::slice::from_ref(&barred))]);
        assert!(!specs[0].is_active, "{barred:?}");
    }
}

#[test]
fn rows_are_left_out_for_a_reason() {
    let rows = [
        product(&[
            ("product_type", json!("FUTURE")),
            ("base_currency_id", json!("")),
        ]),
        product(&[
            ("product_id", json!("BTC-USDC")),
            ("alias", json!("BTC-USD")),
        ]),
        product(&[
            ("product_id", json!("ETH-USDC")),
            ("alias", json!("ETH-USD")),
        ]),
        product(&[("base_increment", json!(""))]),
        product(&[
            ("price_increment", json!("0")),
            ("quote_increment", json!("")),
        ]),
        product(&[("quote_currency_id", Value::Null)]),
        product(&[("product_id", json!(""))]),
        product(&[("product_id", json!(7))]),
        // Not an alias: a book of its own.
        product(&[
            ("product_id", json!("BTC-USDT")),
            ("quote_currency_id", json!("USDT")),
        ]),
    ];
    let (specs, left_out) = load(&rows);
    let symbols: Vec<&str> = specs.iter().map(|spec| &*spec.native_symbol).collect();
    assert_eq!(symbols, ["BTC-USDT"]);
    let left_out: Vec<(&str, usize)> = left_out
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect();
    assert_eq!(
        left_out,
        [
            ("alias of another product", 2),
            ("base or quote is empty", 1),
            ("no price step", 1),
            ("no quantity step", 1),
            ("product id is empty", 1),
            ("product type FUTURE", 1),
            ("row can't be read", 1),
        ]
    );
    let none = Coinbase.parse_instruments(Market::Spot, &[]);
    assert!(none.is_err());
}
