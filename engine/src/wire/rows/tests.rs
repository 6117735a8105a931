use super::*;
use crate::instrument::Market;
use crate::num::{Price, Qty};
use crate::store::Entity;
use crate::wire::test_data::{fields, instrument, raw};
use crate::wire::{Columns, Numbers, write_csv, write_json_rows};
use proptest::prelude::*;
use std::sync::Arc;

const OPEN: TsNanos = TsNanos(1_722_515_640_000_000_000);

fn entity() -> Arc<Entity> {
    Entity::of(&instrument(Market::Spot, "BTC", 2, 5))
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn kline(level: Level) -> KlineRow {
    KlineRow {
        entity: entity(),
        level,
        ts: OPEN.floor_to(level),
        open: dec("61737.63"),
        high: dec("61800.00"),
        low: dec("61737"),
        close: dec("61750.01"),
        volume_base: dec("3"),
        volume_quote: Some(dec("185213.5")),
        trade_count: Some(321),
    }
}

fn json<R: TableRow>(row: R) -> String {
    let mut out = Vec::new();
    write_json_rows(&mut out, &Columns::all(), [row], Numbers::Number);
    String::from_utf8(out).unwrap()
}

fn csv<R: TableRow>(row: R) -> String {
    let mut out = Vec::new();
    write_csv(&mut out, &Columns::all(), [row]);
    String::from_utf8(out).unwrap()
}

#[test]
fn the_documented_kline_row() {
    let row = kline(Level::M1);
    let view = KlineView {
        row: &row,
        name: "BTC/USDT",
        previous_close: Some(dec("61750.01")),
    };
    assert_eq!(
        json(view),
        concat!(
            r#"[{"id":"cryptopair_binance_btcusdt_2024-08-01T12:34:00Z","entity_id":"cryptopair_binance_btcusdt","#,
            r#""timestamp":"2024-08-01T12:34:00Z","provider":"binance","code":"btcusdt","name":"BTC/USDT","level":"1m","#,
            r#""open":61737.63,"high":61800,"low":61737,"close":61750.01,"volume":3,"turnover":185213.5,"#,
            r#""volume_base":3,"volume_quote":185213.5,"trade_count":321,"vwap":61737.83333333333,"change_pct":0,"turnover_rate":null}]"#
        )
    );
    let daily = kline(Level::D1);
    let view = KlineView {
        row: &daily,
        name: "BTC/USDT",
        previous_close: None,
    };
    assert!(json(view).starts_with(r#"[{"id":"cryptopair_binance_btcusdt_2024-08-01","#));
    // Without a bar before, the change is against the open: 61750.01 / 61737.63 - 1.
    assert_eq!(view.change_pct(), Some(dec("0.000200526000107228")));
    assert!(csv(view).ends_with(",61737.83333333333,0.000200526000107228,\r\n"));
}

#[test]
fn a_bar_without_trades_has_no_vwap() {
    let mut row = kline(Level::M1);
    row.volume_base = Decimal::ZERO;
    row.volume_quote = Some(Decimal::ZERO);
    let view = KlineView {
        row: &row,
        name: "BTC/USDT",
        previous_close: Some(Decimal::ZERO),
    };
    assert_eq!((view.vwap(), view.change_pct()), (None, None));
    assert!(json(view).contains(r#""vwap":null,"change_pct":null"#));
}

#[test]
fn the_documented_trade_row() {
    let mut row = TradeRow {
        entity: entity(),
        ts: TsNanos(OPEN.0 + 1_000_000),
        trade_id: TradeId::Number(42),
        price: dec("61737.630"),
        volume: dec("0.00001"),
        side: Side::Sell,
    };
    assert_eq!(
        json(TradeView(&row)),
        concat!(
            r#"[{"id":"cryptopair_binance_btcusdt_42","entity_id":"cryptopair_binance_btcusdt","timestamp":"2024-08-01T12:34:00.001Z","#,
            r#""provider":"binance","code":"btcusdt","trade_id":"42","price":61737.63,"volume":0.00001,"side":"sell","is_buyer_maker":true}]"#
        )
    );
    row.trade_id = TradeId::parse("a,\"b\"");
    let found = fields(json(TradeView(&row)).trim_matches(['[', ']']).as_bytes());
    assert_eq!(raw(&found, "id"), r#""cryptopair_binance_btcusdt_a,\"b\"""#);
    assert_eq!(
        csv(TradeView(&row)),
        "id,entity_id,timestamp,provider,code,trade_id,price,volume,side,is_buyer_maker\r\n\
         \"cryptopair_binance_btcusdt_a,\"\"b\"\"\",cryptopair_binance_btcusdt,\
         2024-08-01T12:34:00.001Z,binance,btcusdt,\"a,\"\"b\"\"\",61737.63,0.00001,sell,true\r\n"
    );
}

#[test]
fn the_documented_funding_row() {
    let row = FundingRow {
        entity: Entity::of(&instrument(Market::Perp, "BTC", 2, 3)),
        ts: TsNanos(1_722_528_000_000_000_000),
        funding_rate: dec("-0.0001"),
        predicted_rate: None,
        funding_interval_hours: Some(8),
        mark_price: Some(dec("61737.63123456")),
        index_price: None,
        next_funding_time: Some(TsNanos(1_722_556_800_000_000_000)),
    };
    assert_eq!(
        json(FundingView(&row)),
        concat!(
            r#"[{"id":"cryptoperp_binance_btcusdt_2024-08-01T16:00:00.000Z","entity_id":"cryptoperp_binance_btcusdt","#,
            r#""timestamp":"2024-08-01T16:00:00.000Z","provider":"binance","code":"btcusdt","funding_rate":-0.0001,"#,
            r#""predicted_rate":null,"funding_interval_hours":8,"mark_price":61737.63123456,"index_price":null,"#,
            r#""next_funding_timestamp":"2024-08-02T00:00:00.000Z"}]"#
        )
    );
}

#[test]
fn entities_have_every_documented_field() {
    let asset = AssetRow {
        exchange: "binance",
        code: "btc",
        name: "BTC",
    };
    assert_eq!(
        json(asset),
        r#"[{"id":"cryptoasset_binance_btc","entity_id":"cryptoasset_binance_btc","entity_type":"cryptoasset","exchange":"binance","code":"btc","name":"BTC"}]"#
    );
    let spot = instrument(Market::Spot, "BTC", 2, 5);
    let found = json(PairRow(&spot));
    let found = fields(found.trim_matches(['[', ']']).as_bytes());
    for (name, expected) in [
        ("id", "\"cryptopair_binance_btcusdt\""),
        ("name", "\"BTC/USDT\""),
        ("price_step", "0.01"),
        ("qty_step", "0.00001"),
        ("min_notional", "5"),
        ("maker_fee", "null"),
        ("is_active", "true"),
        ("margin_enabled", "false"),
        ("list_date", "\"2024-08-01T12:34:56.789Z\""),
        ("max_qty", "9000"),
        ("native_symbol", "\"BTCUSDT\""),
    ] {
        assert_eq!(raw(&found, name), expected, "{name}");
    }
    let perp = instrument(Market::Perp, "BTC", 2, 3);
    let found = json(PerpRow(&perp));
    let found = fields(found.trim_matches(['[', ']']).as_bytes());
    for (name, expected) in [
        ("id", "\"cryptoperp_binance_btcusdt\""),
        ("name", "\"BTC/USDT:USDT\""),
        ("underlying_symbol", "\"BTC\""),
        ("settlement_symbol", "\"USDT\""),
        ("contract_size", "1"),
        ("max_leverage", "null"),
        ("funding_interval_hours", "8"),
    ] {
        assert_eq!(raw(&found, name), expected, "{name}");
    }
    // No column falls through to the catch-all: with everything known nothing is null.
    let mut full = perp;
    full.spec.maker_fee = Some(dec("0.0002"));
    full.spec.taker_fee = Some(dec("0.0005"));
    full.spec.min_qty = Some(dec("0.001"));
    full.spec.max_leverage = Some(125);
    for text in [json(PairRow(&full)), json(PerpRow(&full))] {
        assert!(!text.contains("null"), "{text}");
    }
}

#[test]
fn an_order_book_row_has_exact_middle_and_spread() {
    let btc = instrument(Market::Spot, "BTC", 2, 5);
    let level = |price, qty| BookLevel {
        price: Price(price),
        qty: Qty(qty),
    };
    let view = OrderbookView {
        instrument: &btc,
        price_scale: 2,
        qty_scale: 5,
        bids: &[level(6_173_763, 150), level(6_173_700, 1)],
        asks: &[level(6_173_766, 7)],
        sequence: 9,
        ts: OPEN,
    };
    let found = json(view);
    let found = fields(&found.as_bytes()[1..found.len() - 1]);
    for (name, expected) in [
        ("bids", "[[61737.63,0.0015],[61737,0.00001]]"),
        ("asks", "[[61737.66,0.00007]]"),
        ("sequence", "9"),
        ("best_bid", "61737.63"),
        ("best_ask", "61737.66"),
        ("mid_price", "61737.645"),
        ("spread", "0.03"),
    ] {
        assert_eq!(raw(&found, name), expected, "{name}");
    }
    assert!(csv(view).contains(",\"[[61737.63,0.0015],[61737,0.00001]]\","));
    let empty = OrderbookView { asks: &[], ..view };
    assert!(json(empty).contains(r#""best_ask":null,"mid_price":null,"spread":null"#));
}

#[test]
fn columns_select_and_refuse() {
    let row = kline(Level::M1);
    let view = KlineView {
        row: &row,
        name: "BTC/USDT",
        previous_close: None,
    };
    let columns = Columns::<KlineView<'_>>::parse("close, timestamp,close").unwrap();
    let mut out = Vec::new();
    columns.write_json(&mut out, &view, Numbers::String);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        r#"{"close":"61750.01","timestamp":"2024-08-01T12:34:00Z"}"#
    );
    let mut out = Vec::new();
    write_csv(&mut out, &columns, [view]);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "close,timestamp\r\n61750.01,2024-08-01T12:34:00Z\r\n"
    );
    let error = Columns::<KlineView<'_>>::parse("close,opne").unwrap_err();
    assert_eq!(error.details["parameter"], "columns");
    assert_eq!(error.details["value"], "opne");
    assert!(error.message.contains("open"));
}

proptest! {
    #[test]
    fn kline_numbers_come_back_exactly(
        mantissas in prop::array::uniform6(-(1i128 << 95)..(1i128 << 95)),
        scale in 0u32..=28,
    ) {
        let [open, high, low, close, volume_base, volume_quote] =
            mantissas.map(|mantissa| Decimal::from_i128_with_scale(mantissa, scale));
        let row = KlineRow { open, high, low, close, volume_base, volume_quote: Some(volume_quote), ..kline(Level::M1) };
        let view = KlineView { row: &row, name: "x", previous_close: None };
        let text = json(view);
        let found = fields(text.trim_matches(['[', ']']).as_bytes());
        for (name, expected) in [
            ("open", open), ("high", high), ("low", low), ("close", close),
            ("volume_base", volume_base), ("volume", volume_base),
            ("volume_quote", volume_quote), ("turnover", volume_quote),
        ] {
            prop_assert_eq!(raw(&found, name).parse::<Decimal>().unwrap(), expected);
        }
    }
}

/// `cargo test --release -p bookwire-engine -- --ignored --nocapture rows_cost` prints what a row
/// costs.
#[test]
#[ignore = "a measurement, not a check"]
fn rows_cost() {
    let row = kline(Level::M1);
    let views: Vec<KlineView<'_>> = (0..1_000)
        .map(|_| KlineView {
            row: &row,
            name: "BTC/USDT",
            previous_close: Some(dec("61749.1")),
        })
        .collect();
    let columns = Columns::all();
    let mut out = Vec::with_capacity(1 << 20);
    let mut best = f64::INFINITY;
    for _ in 0..1_000 {
        out.clear();
        let start = std::time::Instant::now();
        write_json_rows(&mut out, &columns, views.iter().copied(), Numbers::Number);
        best = best.min(start.elapsed().as_nanos() as f64 / 1e3);
    }
    println!("1,000 klines: {best:.0} µs, {} bytes", out.len());
}

#[test]
fn a_stored_book_is_the_row_of_its_instrument() {
    let instrument = instrument(Market::Spot, "BTC", 2, 5);
    let level = |price, qty| BookLevel {
        price: Price(price),
        qty: Qty(qty),
    };
    let row = crate::store::BookRow {
        entity: Entity::of(&instrument),
        ts: TsNanos(OPEN.0 + 1),
        sequence: u64::MAX,
        price_scale: 2,
        qty_scale: 5,
        bids: Box::new([level(6_173_763, 150), level(6_173_700, 1)]),
        asks: Box::new([level(6_173_764, 7)]),
    };
    let live = OrderbookView {
        instrument: &instrument,
        price_scale: 2,
        qty_scale: 5,
        bids: &row.bids,
        asks: &row.asks,
        sequence: row.sequence,
        ts: row.ts,
    };
    assert_eq!(json(BookView(&row)), json(live));
    assert_eq!(csv(BookView(&row)), csv(live));
}

#[test]
fn values_are_those_of_the_text() {
    use crate::wire::{Value, value_of};
    let row = kline(Level::M1);
    let view = KlineView {
        row: &row,
        name: "",
        previous_close: None,
    };
    let mut text = vec![1, 2, 3];
    let mut value = |name: &str| {
        let column = KlineView::COLUMNS.iter().position(|c| *c == name).unwrap();
        let value = value_of(&view, column, &mut text);
        (value, String::from_utf8(text.clone()).unwrap())
    };
    let id = "cryptopair_binance_btcusdt_2024-08-01T12:34:00Z".to_owned();
    assert_eq!(value("id"), (Value::Text, id));
    let none = String::new();
    assert_eq!(value("timestamp"), (Value::Time(OPEN), none.clone()));
    let open = Value::Decimal(dec("61737.63"));
    assert_eq!(value("open"), (open, none.clone()));
    assert_eq!(value("trade_count"), (Value::Integer(321), none.clone()));
    // Not known is not empty.
    assert_eq!(value("name"), (Value::Null, none.clone()));
    assert_eq!(value("turnover_rate"), (Value::Null, none));
    assert!(json(view).contains(r#""name":null"#));
}
