//! Vectors of what the bridge says, and what the decoder makes of any bytes.

mod orders;

use std::sync::Arc;

use proptest::prelude::*;

use super::Ccxt;
use crate::event::{Control, Event, EventSink, Skipped, TradeId};
use crate::exchange::{DecodeError, Exchange, Feed, PageRequest, ProviderId};
use crate::instrument::{InstrumentId, InstrumentTable, Market, Scope};
use crate::time::{Level, TsNanos};

const SPOT: &[u8] = br#"{"exchange":"kraken","levels":["1m","1h"],"left_out":{"type option":2},"markets":[
 {"symbol":"BTC/USD","id":"XXBTZUSD","base":"BTC","quote":"USD","settle":null,"active":true,"margin":true,
  "price_step":"0.1","qty_step":"0.00000001","min_qty":"0.0001","max_qty":null,"min_notional":"0.5",
  "max_leverage":"5","maker":"0.0025","taker":"0.004","contract_size":null,"created":1381276800000},
 {"symbol":"X/Y-odd","id":"ODD","base":"X","quote":"Y","settle":null,"active":true,"margin":false,
  "price_step":null,"qty_step":null,"min_qty":null,"max_qty":null,"min_notional":null,
  "max_leverage":null,"maker":null,"taker":null,"contract_size":null,"created":null}]}"#;

const PERP: &[u8] = br#"{"exchange":"okx","levels":["1m"],"left_out":{},"markets":[
 {"symbol":"BTC/USDT:USDT","id":"BTC-USDT-SWAP","base":"BTC","quote":"USDT","settle":"USDT","active":true,
  "margin":true,"price_step":"0.1","qty_step":"0.0001","min_qty":"0.0001","max_qty":"1000000",
  "min_notional":null,"max_leverage":"100","maker":"0.0002","taker":"0.0005","contract_size":"0.01",
  "created":1573557408000}]}"#;

fn table() -> Arc<InstrumentTable> {
    let mut table = InstrumentTable::default();
    for (market, venue, body) in [(Market::Spot, "kraken", SPOT), (Market::Perp, "okx", PERP)] {
        let (specs, _) = Ccxt.parse_instruments(market, &[body.to_vec()]).unwrap();
        table = table.with_venue(ProviderId::CCXT, venue, market, specs);
    }
    Arc::new(table)
}

#[derive(Debug, Default)]
struct Seen(Vec<String>);

impl EventSink for Seen {
    fn event(&mut self, instrument: InstrumentId, event: Event<'_>) {
        self.0.push(format!("{} {event:?}", instrument.0));
    }

    fn control(&mut self, control: Control) {
        self.0.push(format!("{control:?}"));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.0.push(format!("skipped {kind:?}"));
    }
}

fn decode(market: Market, frame: &str) -> Result<Vec<String>, DecodeError> {
    let mut seen = Seen::default();
    Ccxt.decoder(market, table())
        .decode(frame.as_bytes(), &mut seen)?;
    Ok(seen.0)
}

#[test]
fn a_venue_s_instruments_carry_its_name() {
    let (specs, left_out) = Ccxt
        .parse_instruments(Market::Spot, &[SPOT.to_vec()])
        .unwrap();
    assert_eq!(specs.len(), 1);
    let rest = [
        ("type option".to_owned(), 2),
        ("symbol is not base/quote".to_owned(), 1),
    ];
    assert_eq!(left_out, rest);
    let table = table();
    let kraken = Scope {
        provider: Some(ProviderId::CCXT),
        exchange: Some("kraken"),
        market: None,
    };
    let row = table.resolve("btc/usd", kraken).unwrap();
    assert_eq!(row.entity_id(), "cryptopair_kraken_btcusd");
    assert_eq!(row.spec.native_symbol, "XXBTZUSD");
    assert_eq!((row.price_scale, row.qty_scale), (8, 8));
    let perp = table
        .resolve("cryptoperp_okx_btcusdt", Scope::default())
        .unwrap();
    assert_eq!(perp.spec.contract_size.to_string(), "0.01");
    assert!(table.resolve("btcusdt", kraken).is_err(), "another venue's");
}

#[test]
fn venues_do_not_replace_one_another() {
    let table = table();
    let emptied = table.with_venue(ProviderId::CCXT, "okx", Market::Perp, Vec::new());
    let active = |table: &InstrumentTable, id: &str| {
        table.resolve(id, Scope::default()).unwrap().spec.is_active
    };
    assert!(active(&emptied, "cryptopair_kraken_btcusd"));
    assert!(!active(&emptied, "cryptoperp_okx_btcusdt"));
    let both = emptied.with_venue(ProviderId::CCXT, "bybit", Market::Spot, Vec::new());
    assert!(
        active(&both, "cryptopair_kraken_btcusd"),
        "same market, another venue"
    );
}

#[test]
fn streams_are_named_by_venue_and_unified_symbol() {
    let table = table();
    let perp = table
        .resolve("cryptoperp_okx_btcusdt", Scope::default())
        .unwrap();
    let spot = table
        .resolve("cryptopair_kraken_btcusd", Scope::default())
        .unwrap();
    let name = |row: &Arc<_>, feed| {
        let streams = Ccxt.streams(row, feed);
        streams.first().map(|stream| stream.name.clone())
    };
    assert_eq!(
        name(perp, Feed::Book).as_deref(),
        Some("okx|BTC/USDT:USDT|book")
    );
    assert_eq!(
        name(spot, Feed::Klines(Level::M1)).as_deref(),
        Some("kraken|BTC/USD|ohlcv:1m")
    );
    assert_eq!(name(spot, Feed::Klines(Level::H4)), None, "added up");
    let page = PageRequest::default();
    assert!(Ccxt.kline_request(spot, Level::H1, page).is_some());
    assert!(
        Ccxt.kline_request(spot, Level::H4, page).is_none(),
        "the venue has none"
    );
    assert_eq!(name(spot, Feed::Funding), None);
    assert_eq!(
        name(perp, Feed::Funding).as_deref(),
        Some("okx|BTC/USDT:USDT|funding")
    );
}

#[test]
fn frames_become_events() {
    for (market, frame, expected) in [
        (
            Market::Spot,
            r#"{"t":"trades","x":"kraken","s":"XXBTZUSD","d":[["TX-1","64000.1","0.00012","sell",1700000000123]]}"#,
            vec![
                r#"0 Trade(Trade { trade_id: Text("TX-1"), price: Price(6400010000000), qty: Qty(12000), taker_side: Sell, ts_event: TsNanos(1700000000123000000), is_aggregate: false })"#,
            ],
        ),
        (
            Market::Spot,
            r#"{"t":"book","x":"kraken","s":"XXBTZUSD","k":"image","u":1,"ts":1700000000000,"b":[["1","2"]],"a":[]}"#,
            vec![
                r#"0 BookImage(BookImage { seq: 1, ts_event: TsNanos(1700000000000000000), bids: [BookLevel { price: Price(100000000), qty: Qty(200000000) }], asks: [] })"#,
            ],
        ),
        (
            Market::Spot,
            r#"{"t":"book","x":"kraken","s":"XXBTZUSD","k":"delta","u":2,"ts":1700000000000,"b":[],"a":[["3","0"]]}"#,
            vec![
                r#"0 Book(BookDelta { first_seq: 2, last_seq: 2, prev_seq: None, ts_event: TsNanos(1700000000000000000), bids: [], asks: [BookLevel { price: Price(300000000), qty: Qty(0) }] })"#,
            ],
        ),
        (
            Market::Spot,
            r#"{"t":"ohlcv","x":"kraken","s":"XXBTZUSD","l":"1m","d":[1700000040000,"1","3","0.5","2","7.5"],"closed":true}"#,
            vec![
                "0 Kline(Kline { level: M1, open_time: TsNanos(1700000040000000000), open: Price(100000000), high: Price(300000000), low: Price(50000000), close: Price(200000000), volume: Qty(750000000), volume_quote: None, trade_count: None, is_closed: true, ts_event: TsNanos(1700000099999999999) })",
            ],
        ),
        (
            Market::Perp,
            r#"{"t":"funding","x":"okx","s":"BTC-USDT-SWAP","r":"0.0001875391284828","m":"64250.12","i":null,"n":1700006400000,"ts":1700000000000}"#,
            vec![
                "1 Funding(Funding { rate: Some(187539128), mark_price: 6425012000000, index_price: None, next_funding_time: Some(TsNanos(1700006400000000000)), ts_event: TsNanos(1700000000000000000) })",
            ],
        ),
        (
            Market::Perp,
            r#"{"t":"ticker","x":"okx","s":"BTC-USDT-SWAP","ts":1700000000000,"b":["1","2"],"a":null}"#,
            vec![
                "1 Ticker(Ticker { seq: None, bid: BookLevel { price: Price(100000000), qty: Qty(2000000) }, ask: BookLevel { price: Price(0), qty: Qty(0) }, ts_event: Some(TsNanos(1700000000000000000)) })",
            ],
        ),
        (
            Market::Spot,
            r#"{"t":"trades","x":"okx","s":"BTC-USDT-SWAP","d":[]}"#,
            vec!["skipped UnknownSymbol"],
        ),
        (
            Market::Spot,
            r#"{"op":"subscribed","stream":"kraken|BTC/USD|trades"}"#,
            vec![r#"StreamAck { stream: "kraken|BTC/USD|trades", is_subscribed: true }"#],
        ),
        (
            Market::Spot,
            r#"{"op":"lost","stream":"kraken|BTC/USD|book","error":{"class":"NetworkError","bases":["OperationFailed"],"message":"gone"}}"#,
            vec![
                r#"StreamLost { stream: "kraken|BTC/USD|book", reason: "ccxt: NetworkError: gone" }"#,
            ],
        ),
        (
            Market::Spot,
            r#"{"op":"done","id":7}"#,
            vec!["Ack { id: 7 }"],
        ),
    ] {
        assert_eq!(decode(market, frame).unwrap(), expected, "{frame}");
    }
}

#[test]
fn what_does_not_fit_is_an_error_and_no_event() {
    for frame in [
        r#"{"t":"trades","x":"kraken","s":"XXBTZUSD","d":[["1","0.000000001","1","sell",1700000000123]]}"#,
        r#"{"t":"trades","x":"kraken","s":"XXBTZUSD","d":[["1","1","1","short",1700000000123]]}"#,
        r#"{"t":"trades","x":"kraken","s":"XXBTZUSD","d":[["1","1","-1","sell",1700000000123]]}"#,
        r#"{"t":"book","x":"kraken","s":"XXBTZUSD","k":"?","u":1,"ts":1700000000000,"b":[],"a":[]}"#,
        r#"{"t":"book","x":"kraken","s":"XXBTZUSD","k":"image","u":1,"ts":0,"b":[],"a":[]}"#,
        r#"{"t":"book","x":"kraken","s":"XXBTZUSD"}"#,
        r#"{"op":"what"}"#,
        "{",
        "[]",
    ] {
        assert!(decode(Market::Spot, frame).is_err(), "{frame}");
    }
}

#[test]
fn answers_are_read() {
    let table = table();
    let row = table
        .resolve("cryptopair_kraken_btcusd", Scope::default())
        .unwrap();
    let mut body =
        br#"{"bars":[[1700000040000,"1","2","1","2",null],[1700000100000,"1","2","1","2","5"],
        [1700000160000,null,null,null,null,"0"]]}"#
            .to_vec();
    let now = TsNanos(1_700_000_130_000_000_000);
    let bars = Ccxt.parse_klines(row, Level::M1, &mut body, now).unwrap();
    let closed: Vec<bool> = bars.iter().map(|bar| bar.is_closed).collect();
    assert_eq!(closed, [true, false], "a bar without prices is none");
    let mut body =
        br#"{"trades":[["2","2","1","buy",1700000002000],["1","1","1","sell",1700000001000]]}"#
            .to_vec();
    let trades = Ccxt.parse_trades(row, &mut body).unwrap();
    assert_eq!(trades[0].trade_id, TradeId::Number(1));
    let mut body = br#"{"rates":[[1700006400123,"0.0001"],[1700000000000,null]]}"#.to_vec();
    let rates = Ccxt.parse_funding(row, &mut body).unwrap();
    assert_eq!(rates.len(), 1);
    assert_eq!(rates[0].time, TsNanos(1_700_006_400_000_000_000));
    let mut body = br#"{"seq":5,"ts":null,"bids":[["1","1"]],"asks":[["2","1"]]}"#.to_vec();
    assert_eq!(Ccxt.parse_snapshot(row, &mut body).unwrap().seq, 5);
    for bad in [&b"{}"[..], b"[", b"{\"bars\":1}"] {
        assert!(
            Ccxt.parse_klines(row, Level::M1, &mut bad.to_vec(), now)
                .is_err()
        );
        assert!(
            Ccxt.parse_instruments(Market::Spot, &[bad.to_vec()])
                .is_err()
        );
    }
}

proptest! {
    #[test]
    fn no_frame_is_fatal(frame in "\\PC{0,200}") {
        let _ = decode(Market::Spot, &frame);
    }

    #[test]
    fn numbers_come_through_exactly(price in 1i64..10_000_000_000_000, qty in 1i64..1_000_000_000_000_000) {
        let (p, q) = (rust_decimal::Decimal::new(price, 8), rust_decimal::Decimal::new(qty, 8));
        let frame = format!(
            r#"{{"t":"trades","x":"kraken","s":"XXBTZUSD","d":[["1","{p}","{q}","buy",1700000000123]]}}"#
        );
        let seen = decode(Market::Spot, &frame).unwrap();
        let expected = format!("price: Price({price}), qty: Qty({qty})");
        prop_assert!(seen[0].contains(&expected), "{}", seen[0]);
    }
}
