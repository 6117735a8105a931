//! Documented and recorded messages, one by one.

use serde_json::json;

use crate::event::{Control, Event, Kline, Side, Skipped, Ticker, Trade, TradeId};
use crate::exchange::{DecodeError, Exchange as _, Feed};
use crate::instrument::Market;
use crate::num::{NumError, Price, Qty};
use crate::time::{Level, TsNanos};

use super::super::Coinbase;
use super::{
    BTC, ETH, Seen, StreamDecoder, decode, instrument, level, spec, table_of, ts, two_products,
};

fn decoder() -> StreamDecoder {
    StreamDecoder::new(two_products())
}

/// What one frame comes to on a new connection.
fn one(frame: &str) -> Vec<Seen> {
    let (seen, answer) = decode(&mut decoder(), frame.as_bytes());
    assert_eq!(answer, Ok(()), "{frame}");
    seen
}

fn fails(frame: &str) -> DecodeError {
    let (seen, answer) = decode(&mut decoder(), frame.as_bytes());
    assert!(seen.is_empty(), "{frame}");
    answer.unwrap_err()
}

/// A frame with one event.
fn frame(channel: &str, number: u64, event: serde_json::Value) -> String {
    json!({
        "channel": channel,
        "client_id": "",
        "timestamp": "2026-04-07T14:30:02.9Z",
        "sequence_num": number,
        "events": [event],
    })
    .to_string()
}

#[test]
fn a_book_begins_with_its_image() {
    let seen = one(
        r#"{"channel":"l2_data","timestamp":"2026-08-24T22:34:13.793075885Z","sequence_num":0,"events":[{"type":"snapshot","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"1970-01-01T00:00:00Z","price_level":"78856.05","new_quantity":"0.0476177"},{"side":"offer","event_time":"2026-08-24T22:34:13.483122Z","price_level":"78856.1","new_quantity":"2"},{"side":"offer","event_time":"2026-08-24T22:34:13.483122Z","price_level":"78856.06","new_quantity":"0"}]}]}"#,
    );
    let expected = Seen::Book {
        id: BTC,
        is_image: true,
        seq: 0,
        ts_event: ts("2026-08-24T22:34:13.793075885Z"),
        bids: vec![level(7_885_605, 4_761_770)],
        asks: vec![level(7_885_610, 200_000_000)],
    };
    assert_eq!(seen, [expected]);
}

#[test]
fn changes_keep_deletes_and_offers_are_asks() {
    // Recorded on 2026-08-24, the second level shortened.
    let seen = one(
        r#"{"channel":"l2_data","timestamp":"2026-08-24T22:34:13.813365299Z","sequence_num":2,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2026-08-24T22:34:13.592233Z","price_level":"78856.05","new_quantity":"0.04868907"},{"side":"offer","event_time":"2026-08-24T22:34:13.592233Z","price_level":"78856.06","new_quantity":"0.13"},{"side":"offer","event_time":"2026-08-24T22:34:13.592233Z","price_level":"1925","new_quantity":"0"}]}]}"#,
    );
    let expected = Seen::Book {
        id: BTC,
        is_image: false,
        seq: 2,
        ts_event: ts("2026-08-24T22:34:13.813365299Z"),
        bids: vec![level(7_885_605, 4_868_907)],
        asks: vec![level(7_885_606, 13_000_000), level(192_500, 0)],
    };
    assert_eq!(seen, [expected]);
    // An update without levels is normal.
    let empty = json!({ "type": "update", "product_id": "ETH-USD", "updates": [] });
    let seen = one(&frame("l2_data", 7, empty));
    assert!(
        matches!(&seen[..], [Seen::Book { id: ETH, seq: 7, bids, asks, .. }]
        if bids.is_empty() && asks.is_empty())
    );
}

#[test]
fn image_order_is_made_sure_of() {
    let update = |side: &str, price: &str| json!({ "side": side, "price_level": price, "new_quantity": "1" });
    let event = json!({ "type": "snapshot", "product_id": "BTC-USD", "updates": [
        update("offer", "12"), update("bid", "9"), update("offer", "11"), update("bid", "10"),
    ]});
    let seen = one(&frame("l2_data", 0, event));
    let Seen::Book { bids, asks, .. } = &seen[0] else {
        panic!("{seen:?}")
    };
    let one = 100_000_000;
    assert_eq!(bids, &[level(1_000, one), level(900, one)]);
    assert_eq!(asks, &[level(1_100, one), level(1_200, one)]);
}

fn trade(id: u64, price: i64, qty: i64, taker_side: Side, at: &str) -> Event<'static> {
    Event::Trade(Trade {
        trade_id: TradeId::Number(id),
        price: Price(price),
        qty: Qty(qty),
        taker_side,
        ts_event: ts(at),
        is_aggregate: false,
    })
}

#[test]
fn the_side_of_a_match_is_the_makers() {
    let seen = one(
        r#"{"channel":"market_trades","timestamp":"2026-04-07T14:30:02.900000Z","sequence_num":5,"events":[{"type":"update","trades":[{"trade_id":"995098700","product_id":"BTC-USD","price":"68900.50","size":"0.0015","side":"BUY","time":"2026-04-07T14:30:02.789012Z"}]}]}"#,
    );
    // A buyer rested, so that the taker sold.
    let sold = trade(
        995_098_700,
        6_890_050,
        150_000,
        Side::Sell,
        "2026-04-07T14:30:02.789012Z",
    );
    assert_eq!(seen, [Seen::Event(BTC, sold)]);
    // Recorded: the best ask was 65083.67 and the match is a SELL there, so that the taker bought.
    let seen = one(
        r#"{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.251397169Z","sequence_num":9,"events":[{"type":"update","trades":[{"product_id":"BTC-USD","trade_id":"1068572091","price":"65083.67","size":"0.01034361","time":"2026-08-09T21:05:48.167634Z","side":"SELL"}]}]}"#,
    );
    let bought = trade(
        1_068_572_091,
        6_508_367,
        1_034_361,
        Side::Buy,
        "2026-08-09T21:05:48.167634Z",
    );
    assert_eq!(seen, [Seen::Event(BTC, bought)]);
}

#[test]
fn matches_come_newest_first_and_of_several_products() {
    let row = |product: &str, id: &str| {
        json!({
            "product_id": product, "trade_id": id, "price": "5", "size": "1", "side": "BUY",
            "time": "2026-04-07T14:30:02Z",
        })
    };
    let trades = [
        row("BTC-USD", "12"),
        row("ETH-USD", "7"),
        row("XRP-USD", "1"),
        row("BTC-USD", "11"),
    ];
    let event = json!({ "type": "update", "trades": trades });
    let seen = one(&frame("market_trades", 3, event));
    let at = "2026-04-07T14:30:02Z";
    let sold = |id| trade(id, 500, 100_000_000, Side::Sell, at);
    assert_eq!(
        seen,
        [
            Seen::Event(BTC, sold(11)),
            Seen::Skipped(Skipped::UnknownSymbol),
            Seen::Event(ETH, sold(7)),
            Seen::Event(BTC, sold(12)),
        ]
    );
    // What was traded before the subscription is told first, and is no news.
    let event = json!({ "type": "snapshot", "trades": trades });
    let seen = one(&frame("market_trades", 0, event));
    assert_eq!(seen, [Seen::Skipped(Skipped::History)]);
}

#[test]
fn best_prices_come_from_the_ticker() {
    let seen = one(
        r#"{"channel":"ticker","timestamp":"2026-08-09T21:05:48.229198328Z","sequence_num":6,"events":[{"type":"snapshot","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"65086.18","volume_24_h":"2867.54532609","low_24_h":"64675.22","high_24_h":"65252.99","low_52_w":"57717.55","high_52_w":"126296","price_percent_chg_24_h":"0.09601107287722","best_bid":"65083.66","best_ask":"65083.67","best_bid_quantity":"0.20371215","best_ask_quantity":"0.24290402"}]}]}"#,
    );
    let ticker = Ticker {
        seq: None,
        bid: level(6_508_366, 20_371_215),
        ask: level(6_508_367, 24_290_402),
        ts_event: Some(ts("2026-08-09T21:05:48.229198328Z")),
    };
    assert_eq!(seen, [Seen::Event(BTC, Event::Ticker(ticker))]);
    let empty = json!({ "type": "update", "tickers": [{
        "product_id": "BTC-USD", "best_bid": "", "best_bid_quantity": "",
        "best_ask": "1.5", "best_ask_quantity": "2",
    }]});
    let seen = one(&frame("ticker", 1, empty));
    let [Seen::Event(BTC, Event::Ticker(ticker))] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(
        (ticker.bid, ticker.ask),
        (level(0, 0), level(150, 200_000_000))
    );
}

fn candle(start: u64, close: &str) -> serde_json::Value {
    json!({
        "start": start.to_string(), "high": "9", "low": "1", "open": "2", "close": close,
        "volume": "12.5", "product_id": "BTC-USD",
    })
}

fn bar(start: i64, close: i64, is_closed: bool) -> Seen {
    Seen::Event(
        BTC,
        Event::Kline(Kline {
            level: Level::M5,
            open_time: TsNanos(start * 1_000_000_000),
            open: Price(200),
            high: Price(900),
            low: Price(100),
            close: Price(close),
            volume: Qty(1_250_000_000),
            volume_quote: None,
            trade_count: None,
            is_closed,
            ts_event: ts("2026-04-07T14:30:02.9Z"),
        }),
    )
}

#[test]
fn a_bar_is_closed_by_the_next_one() {
    let mut decoder = decoder();
    let mut take = |number, kind: &str, candles: &[serde_json::Value]| {
        let event = json!({ "type": kind, "candles": candles });
        let text = frame("candles", number, event);
        let (seen, answer) = decode(&mut decoder, text.as_bytes());
        assert_eq!(answer, Ok(()));
        seen
    };
    let past = Seen::Skipped(Skipped::History);
    // The image holds hours of the past; only its newest bar is running.
    let image = [candle(300, "3"), candle(600, "4"), candle(900, "5")];
    let seen = take(0, "snapshot", &image);
    assert_eq!(seen, [past.clone(), past.clone(), bar(900, 500, false)]);
    assert_eq!(
        take(1, "update", &[candle(900, "6")]),
        [bar(900, 600, false)]
    );
    // The last state of the old bar comes with the new one.
    let both = [candle(1_200, "8"), candle(900, "7")];
    let expected = [
        bar(900, 700, false),
        bar(900, 700, true),
        bar(1_200, 800, false),
    ];
    assert_eq!(take(2, "update", &both), expected);
    let seen = take(3, "update", &[candle(900, "1")]);
    assert_eq!(seen, std::slice::from_ref(&past));
    // A new image closes what ended meanwhile, and nothing twice.
    let image = [
        candle(900, "7"),
        candle(1_200, "8.5"),
        candle(1_500, "4"),
        candle(1_800, "5"),
    ];
    let expected = [
        past,
        bar(1_200, 850, false),
        bar(1_200, 850, true),
        bar(1_500, 400, false),
        bar(1_500, 400, true),
        bar(1_800, 500, false),
    ];
    assert_eq!(take(4, "snapshot", &image), expected);
}

#[test]
fn control_messages() {
    let seen = one(
        r#"{"channel":"subscriptions","timestamp":"2026-08-24T22:34:13.813379359Z","sequence_num":3,"events":[{"subscriptions":{"level2":["BTC-USD","ETH-USD"],"heartbeats":["heartbeats"],"ticker":["BTC-USD"]}}]}"#,
    );
    let streams = ["level2:BTC-USD", "level2:ETH-USD", "ticker:BTC-USD"];
    let list = Control::Subscriptions {
        id: None,
        streams: streams.map(str::to_owned).to_vec(),
    };
    assert_eq!(seen, [Seen::Control(list)]);
    let none = json!({ "subscriptions": {} });
    let list = Control::Subscriptions {
        id: None,
        streams: Vec::new(),
    };
    assert_eq!(one(&frame("subscriptions", 4, none)), [Seen::Control(list)]);
    for counter in [json!(42), json!("42")] {
        let event = json!({
            "current_time": "2026-04-07 14:30:10.0 +0000 UTC m=+0.1", "heartbeat_counter": counter,
        });
        let seen = one(&frame("heartbeats", 7, event));
        assert_eq!(seen, [Seen::Control(Control::Heartbeat)]);
    }
    // Errors have no number and name no request.
    for (text, message) in [
        (
            r#"{"type":"error","message":"authentication failure"}"#,
            "authentication failure",
        ),
        (
            r#"{"type":"error","message":"Failed to subscribe","reason":"level2 requires authentication."}"#,
            "Failed to subscribe: level2 requires authentication.",
        ),
    ] {
        let error = Control::Error {
            id: None,
            stream: None,
            code: 0,
            message: message.to_owned(),
        };
        assert_eq!(one(text), [Seen::Control(error)]);
    }
}

#[test]
fn a_gap_is_told_whatever_the_channel() {
    let mut decoder = decoder();
    let mut take = |channel: &str, number| {
        let event = match channel {
            "l2_data" => json!({ "type": "update", "product_id": "BTC-USD", "updates": [] }),
            "subscriptions" => json!({ "subscriptions": {} }),
            _ => json!({ "heartbeat_counter": 1 }),
        };
        let (seen, answer) = decode(&mut decoder, frame(channel, number, event).as_bytes());
        assert_eq!(answer, Ok(()));
        seen
    };
    let lost = |expected, got| Seen::Control(Control::Lost { expected, got });
    let is_book = |seen: &Seen| matches!(seen, Seen::Book { .. });
    // A recording may begin anywhere.
    assert_eq!(take("heartbeats", 5).len(), 1);
    assert!(is_book(&take("l2_data", 6)[0]));
    assert_eq!(take("subscriptions", 7).len(), 1);
    assert!(is_book(&take("l2_data", 8)[0]));
    // The lost one may have been of any product.
    let seen = take("heartbeats", 10);
    assert_eq!(seen, [lost(9, 10), Seen::Control(Control::Heartbeat)]);
    let seen = take("l2_data", 13);
    assert_eq!(seen.first(), Some(&lost(11, 13)));
    assert_eq!(seen.len(), 2);
    // Told once; what comes late or twice is dropped.
    assert!(is_book(&take("l2_data", 14)[0]));
    for old in [14, 11, 0] {
        let dropped = [Seen::Skipped(Skipped::Duplicate)];
        assert_eq!(take("l2_data", old), dropped);
    }
    assert!(is_book(&take("l2_data", 15)[0]));
}

#[test]
fn a_frame_that_is_cut_off_is_missed() {
    let mut decoder = decoder();
    let heartbeat = |number| frame("heartbeats", number, json!({ "heartbeat_counter": 1 }));
    let (_, answer) = decode(&mut decoder, heartbeat(0).as_bytes());
    assert_eq!(answer, Ok(()));
    let text = heartbeat(1);
    let (seen, answer) = decode(&mut decoder, &text.as_bytes()[..text.len() / 2]);
    assert!(seen.is_empty() && matches!(answer, Err(DecodeError::Json { .. })));
    let (seen, _) = decode(&mut decoder, heartbeat(2).as_bytes());
    let lost = Control::Lost {
        expected: 1,
        got: 2,
    };
    assert_eq!(seen.first(), Some(&Seen::Control(lost)));
}

#[test]
fn what_nobody_asked_for_is_left_out() {
    let status = json!({ "type": "snapshot", "products": [{ "id": "BTC-USD" }] });
    for channel in ["status", "user", "ticker_batch", "futures_balance_summary"] {
        let seen = one(&frame(channel, 0, status.clone()));
        assert_eq!(seen, [Seen::Skipped(Skipped::UnknownKind)], "{channel}");
    }
    let other = json!({ "type": "update", "product_id": "XRP-USD", "updates": [] });
    let seen = one(&frame("l2_data", 0, other));
    assert_eq!(seen, [Seen::Skipped(Skipped::UnknownSymbol)]);
    // The older Exchange feed.
    for text in [
        r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","2"]],"time":"x"}"#,
        r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD"}"#,
    ] {
        assert_eq!(one(text), [Seen::Skipped(Skipped::OtherMarket)], "{text}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let field = |field| DecodeError::Field { field };
    let number = |field, error| DecodeError::Number { field, error };
    let book = |event| frame("l2_data", 0, event);
    let update = |side: &str, price: &str, qty: &str| {
        book(
            json!({ "type": "update", "product_id": "BTC-USD", "updates": [
                { "side": "bid", "price_level": "1", "new_quantity": "1" },
                { "side": side, "price_level": price, "new_quantity": qty },
            ]}),
        )
    };
    let match_of = |name: &str, value: &str| {
        let mut row = json!({
            "product_id": "BTC-USD", "trade_id": "1", "price": "5", "size": "1", "side": "BUY",
            "time": "2026-04-07T14:30:02Z",
        });
        row[name] = json!(value);
        frame(
            "market_trades",
            0,
            json!({ "type": "update", "trades": [row] }),
        )
    };
    for (text, expected) in [
        ("{}".to_owned(), field("channel")),
        (r#"{"type":"greeting"}"#.to_owned(), field("channel")),
        ("[]".to_owned(), field("events")),
        (
            r#"{"channel":"heartbeats","events":[]}"#.to_owned(),
            field("sequence_num"),
        ),
        (
            r#"{"channel":"l2_data","sequence_num":0,"events":[]}"#.to_owned(),
            field("timestamp"),
        ),
        (
            r#"{"channel":"l2_data","sequence_num":0}"#.to_owned(),
            field("events"),
        ),
        (
            book(json!({ "type": "update", "product_id": "BTC-USD" })),
            field("updates"),
        ),
        (
            book(json!({ "product_id": "BTC-USD", "updates": [] })),
            field("type"),
        ),
        (book(json!({ "type": "update" })), field("product_id")),
        (update("ask", "1", "1"), field("side")),
        (
            update("bid", "1.001", "1"),
            number("price_level", NumError::TooPrecise),
        ),
        (
            update("bid", "-1", "1"),
            number("price_level", NumError::Malformed),
        ),
        (
            update("bid", "1", "92233720369"),
            number("new_quantity", NumError::Overflow),
        ),
        (match_of("side", "BID"), field("side")),
        (match_of("trade_id", "x"), field("trade_id")),
        (match_of("time", "soon"), field("time")),
        (match_of("size", ""), number("size", NumError::Malformed)),
    ] {
        assert_eq!(fails(&text), expected, "{text}");
    }
    assert!(matches!(fails("nonsense"), DecodeError::Json { at: 1 }));
}

#[test]
fn escapes_and_another_order_of_fields_are_read() {
    let seen = one(
        r#" { "events" : [ { "updates" : [ { "new_quantity" : "1", "price_level" : "2", "side" : "b\u0069d" } ],
        "product_id" : "BTC\u002dUSD", "type" : "update", "more" : { "a" : [ 1 ] } } ], "sequence_num" : 4,
        "timestamp" : "2026-04-07T14:30:02Z", "channel" : "l2\u005fdata" } "#,
    );
    let [Seen::Book { id: BTC, bids, .. }] = &seen[..] else {
        panic!("{seen:?}")
    };
    assert_eq!(bids, &[level(200, 100_000_000)]);
}

#[test]
fn requests_have_one_channel_each() {
    let streams = [
        "level2:BTC-USD",
        "ticker:BTC-USD",
        "level2:ETH-USD",
        "market_trades:BTC-USD",
    ];
    let requests = Coinbase.subscribe_requests(Market::Spot, &streams, 7);
    let told: Vec<(u64, &str, Vec<usize>)> = requests
        .iter()
        .map(|request| (request.id, request.text.as_str(), request.streams.clone()))
        .collect();
    let text = |channel: &str, products: &[&str]| {
        json!({ "type": "subscribe", "product_ids": products, "channel": channel }).to_string()
    };
    let (book, ticker, trades) = (
        text("level2", &["BTC-USD", "ETH-USD"]),
        text("ticker", &["BTC-USD"]),
        text("market_trades", &["BTC-USD"]),
    );
    assert_eq!(
        told,
        [
            (7, book.as_str(), vec![0, 2]),
            (8, ticker.as_str(), vec![1]),
            (9, trades.as_str(), vec![3]),
        ]
    );
    let many: Vec<String> = (0..45).map(|at| format!("ticker:P{at}-USD")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let requests = Coinbase.unsubscribe_requests(Market::Spot, &many, 1);
    let sizes: Vec<usize> = requests.iter().map(|r| r.streams.len()).collect();
    assert_eq!(sizes, [20, 20, 5]);
    assert!(requests[0].text.contains("\"unsubscribe\""));
    let all: Vec<usize> = requests.iter().flat_map(|r| r.streams.clone()).collect();
    assert!(all.iter().copied().eq(0..45));
}

#[test]
fn feeds_have_the_channels_that_there_are() {
    let row = instrument(spec("BTC", "USD", 2, 8));
    let name = |feed| {
        let mut streams = Coinbase.streams(&row, feed);
        assert!(streams.len() <= 1);
        streams.pop().map(|stream| stream.name)
    };
    assert_eq!(name(Feed::Book).as_deref(), Some("level2:BTC-USD"));
    assert_eq!(name(Feed::Trades).as_deref(), Some("market_trades:BTC-USD"));
    assert_eq!(name(Feed::Ticker).as_deref(), Some("ticker:BTC-USD"));
    assert_eq!(name(Feed::Funding), None);
    for level in Level::ALL {
        let expected = (level == Level::M5).then_some("candles:BTC-USD");
        assert_eq!(name(Feed::Klines(level)).as_deref(), expected, "{level}");
    }
    let open = Coinbase.on_open(Market::Spot, 0);
    assert_eq!(open, [r#"{"channel":"heartbeats","type":"subscribe"}"#]);
}

#[test]
fn a_new_table_is_used_from_the_next_frame_on() {
    use crate::exchange::Decoder as _;
    let mut decoder = StreamDecoder::new(table_of(Vec::new()));
    let text = |number| {
        let event = json!({ "type": "update", "product_id": "BTC-USD", "updates": [] });
        frame("l2_data", number, event)
    };
    let (seen, _) = decode(&mut decoder, text(0).as_bytes());
    assert_eq!(seen, [Seen::Skipped(Skipped::UnknownSymbol)]);
    decoder.set_table(two_products());
    let (seen, _) = decode(&mut decoder, text(1).as_bytes());
    assert!(matches!(seen[..], [Seen::Book { id: BTC, .. }]));
}
