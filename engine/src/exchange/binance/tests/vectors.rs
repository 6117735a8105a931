//! The documented messages, field by field. Texts: spot `web-socket-streams.md` (2026-07-21), USDⓈ-M
//! stream samples of the official connector 64.0.0 (2026-07-22).

use crate::event::{BookDelta, Event, Funding, Kline, Side, Skipped, Ticker, Trade};
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentId, Market};
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

use super::{Seen, StreamDecoder, decode, level, spec, table_of};

const ID: InstrumentId = InstrumentId(0);

pub(super) fn read(
    market: Market,
    base: &str,
    quote: &str,
    text: &str,
) -> (Vec<Seen>, Result<(), DecodeError>) {
    let table = table_of(market, vec![spec(market, base, quote, 8, 8)]);
    let mut decoder = StreamDecoder::new(market, table);
    let bare = decode(&mut decoder, text.as_bytes());
    let is_message = bare.1.is_ok() && !text.contains("\"id\"") && !text.contains("\"stream\"");
    if is_message {
        // The same on a combined connection, and with blanks.
        let stream = if text.contains("depthUpdate") {
            "x@depth@100ms"
        } else {
            "x@y"
        };
        for combined in [
            format!("{{\"stream\":\"{stream}\",\"data\":{text}}}"),
            format!(" {{ \"data\" : {text} ,\n\"stream\":\"{stream}\" }} "),
        ] {
            assert_eq!(
                decode(&mut decoder, combined.as_bytes()),
                bare,
                "{combined}"
            );
        }
    }
    bare
}

pub(super) fn spot(text: &str) -> Vec<Seen> {
    let (seen, answer) = read(Market::Spot, "BNB", "BTC", text);
    assert_eq!(answer, Ok(()), "{text}");
    seen
}

fn perp(base: &str, text: &str) -> Vec<Seen> {
    let (seen, answer) = read(Market::Perp, base, "USDT", text);
    assert_eq!(answer, Ok(()), "{text}");
    seen
}

fn ms(ms: i64) -> TsNanos {
    TsNanos::from_ms(ms)
}

#[test]
fn spot_trades() {
    let expected = |trade_id, is_aggregate| {
        vec![Seen::Event(
            ID,
            Event::Trade(Trade {
                trade_id,
                price: Price(100_000),
                qty: Qty(10_000_000_000),
                taker_side: Side::Sell,
                ts_event: ms(1_672_515_782_136),
                is_aggregate,
            }),
        )]
    };
    assert_eq!(
        spot(
            r#"{"e":"trade","E":1672515782136,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}"#
        ),
        expected(crate::event::TradeId::Number(12345), false)
    );
    assert_eq!(
        spot(
            r#"{"e":"aggTrade","E":1672515782136,"s":"BNBBTC","a":12346,"p":"0.001","q":"100","f":100,"l":105,"T":1672515782136,"m":true,"M":true}"#
        ),
        expected(crate::event::TradeId::Number(12346), true)
    );
    // A connection that asked for microseconds.
    assert_eq!(
        spot(
            r#"{"e":"trade","E":1672515782136000,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136000,"m":true,"M":true}"#
        ),
        expected(crate::event::TradeId::Number(12345), false)
    );
}

#[test]
fn bars() {
    let text = r#"{"e":"kline","E":1672515782136,"s":"BNBBTC","k":{"t":1672515780000,"T":1672515839999,"s":"BNBBTC","i":"1m","f":100,"L":200,"o":"0.0010","c":"0.0020","h":"0.0025","l":"0.0015","v":"1000","n":100,"x":false,"q":"1.0000","V":"500","Q":"0.500","B":"123456"}}"#;
    assert_eq!(
        spot(text),
        vec![Seen::Event(
            ID,
            Event::Kline(Kline {
                level: Level::M1,
                open_time: ms(1_672_515_780_000),
                open: Price(100_000),
                high: Price(250_000),
                low: Price(150_000),
                close: Price(200_000),
                volume: Qty(100_000_000_000),
                volume_quote: Some(10_000_000_000_000_000),
                trade_count: Some(100),
                is_closed: false,
                ts_event: ms(1_672_515_782_136),
            }),
        )]
    );
    for unserved in ["1s", "3m", "2h", "1M", "1w"] {
        let text = text.replace("\"1m\"", &format!("\"{unserved}\""));
        assert_eq!(spot(&text), vec![Seen::Skipped(Skipped::UnservedLevel)]);
    }
    // Days that start at 16:00 UTC are not ours.
    let shifted = format!("{{\"stream\":\"bnbbtc@kline_1m@+08:00\",\"data\":{text}}}");
    let (seen, _) = read(Market::Spot, "BNB", "BTC", &shifted);
    assert_eq!(seen, vec![Seen::Skipped(Skipped::UnservedLevel)]);
}

#[test]
fn best_prices() {
    let ticker = |ts_event| {
        vec![Seen::Event(
            ID,
            Event::Ticker(Ticker {
                seq: Some(400_900_217),
                bid: level(2_535_190_000, 3_121_000_000),
                ask: level(2_536_520_000, 4_066_000_000),
                ts_event,
            }),
        )]
    };
    let (seen, _) = read(
        Market::Spot,
        "BNB",
        "USDT",
        r#"{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}"#,
    );
    assert_eq!(seen, ticker(None));
    assert_eq!(
        perp(
            "BNB",
            r#"{"e":"bookTicker","u":400900217,"E":1568014460893,"T":1568014460891,"s":"BNBUSDT","ps":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000","st":1}"#
        ),
        ticker(Some(ms(1_568_014_460_893)))
    );
}

#[test]
fn deltas() {
    let delta = |first_seq, last_seq, prev_seq, ts, bid, ask| {
        vec![Seen::Book {
            id: ID,
            delta: BookDelta {
                first_seq,
                last_seq,
                prev_seq,
                ts_event: ms(ts),
                bids: &[],
                asks: &[],
            },
            bids: vec![bid],
            asks: vec![ask],
        }]
    };
    assert_eq!(
        spot(
            r#"{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","10"]],"a":[["0.0026","100"]]}"#
        ),
        delta(
            157,
            160,
            None,
            1_672_515_782_136,
            level(240_000, 1_000_000_000),
            level(260_000, 10_000_000_000)
        )
    );
    let text = r#"{"e":"depthUpdate","E":1571889248277,"T":1571889248276,"s":"BTCUSDT","U":390497796,"u":390497878,"pu":390497794,"b":[["7403.89","0.002"]],"a":[["7405.96","3.340"]],"ps":"BTCUSDT","st":1}"#;
    assert_eq!(
        perp("BTC", text),
        delta(
            390_497_796,
            390_497_878,
            Some(390_497_794),
            1_571_889_248_277,
            level(740_389_000_000, 200_000),
            level(740_596_000_000, 334_000_000)
        )
    );
    // The same shape on a stream of partial books, or of books with retail orders, is no delta.
    for stream in [
        "btcusdt@depth20@100ms",
        "btcusdt@depth5",
        "btcusdt@rpiDepth@500ms",
    ] {
        let text = format!("{{\"stream\":\"{stream}\",\"data\":{text}}}");
        let (seen, _) = read(Market::Perp, "BTC", "USDT", &text);
        assert_eq!(seen, vec![Seen::Skipped(Skipped::UnknownKind)], "{stream}");
    }
    // A link is what a perpetual's book is continued by.
    let (_, answer) = read(
        Market::Perp,
        "BTC",
        "USDT",
        &text.replace("\"pu\"", "\"xx\""),
    );
    assert_eq!(answer, Err(DecodeError::Field { field: "pu" }));
    // Partial books of spot.
    let (seen, _) = read(
        Market::Spot,
        "BNB",
        "BTC",
        r#"{"stream":"bnbbtc@depth5@100ms","data":{"lastUpdateId":160,"bids":[["0.0024","10"]],"asks":[["0.0026","100"]]}}"#,
    );
    assert_eq!(seen, vec![Seen::Skipped(Skipped::UnknownKind)]);
}

#[test]
fn perpetual_trades_and_funding() {
    let text = r#"{"e":"aggTrade","E":123456789,"s":"BNBUSDT","a":5933014,"p":"0.001","q":"100","nq":"100","f":100,"l":105,"T":123456785,"m":true,"st":1}"#;
    assert_eq!(
        perp("BNB", text),
        vec![Seen::Event(
            ID,
            Event::Trade(Trade {
                trade_id: crate::event::TradeId::Number(5_933_014),
                price: Price(100_000),
                qty: Qty(10_000_000_000),
                taker_side: Side::Sell,
                ts_event: ms(123_456_785),
                is_aggregate: true,
            }),
        )]
    );
    let other = text.replace("\"st\":1", "\"st\":2");
    assert_eq!(
        perp("BNB", &other),
        vec![Seen::Skipped(Skipped::OtherMarket)]
    );
    // Entries of the insurance fund are no matches.
    let fund = r#"{"e":"trade","E":1,"T":1,"s":"BNBUSDT","t":1,"p":"0","q":"0","X":"NA","m":true}"#;
    assert_eq!(perp("BNB", fund), vec![Seen::Skipped(Skipped::UnknownKind)]);

    let text = r#"{"e":"markPriceUpdate","E":1562305380000,"s":"BTCUSDT","p":"11794.15000000","i":"11784.62659091","P":"11784.25641265","r":"0.00038167","ap":"11794.15000000","T":1562306400000,"st":1}"#;
    let funding = Funding {
        rate: Some(381_670_000),
        mark_price: 1_179_415_000_000,
        index_price: Some(1_178_462_659_091),
        next_funding_time: Some(ms(1_562_306_400_000)),
        ts_event: ms(1_562_305_380_000),
    };
    let seen = |funding| vec![Seen::Event(ID, Event::Funding(funding))];
    assert_eq!(perp("BTC", text), seen(funding));
    let negative = text.replace("0.00038167", "-0.00038167");
    assert_eq!(
        perp("BTC", &negative),
        seen(Funding {
            rate: Some(-381_670_000),
            ..funding
        })
    );
    // Delivery contracts have no funding.
    let delivery = text
        .replace("\"0.00038167\"", "\"\"")
        .replace("1562306400000", "0");
    let expected = Funding {
        rate: None,
        next_funding_time: None,
        ..funding
    };
    assert_eq!(perp("BTC", &delivery), seen(expected));
    // All symbols at once.
    let two = [seen(funding), seen(funding)].concat();
    assert_eq!(perp("BTC", &format!("[{text},{text}]")), two);
    let array = format!("{{\"stream\":\"!markPrice@arr@1s\",\"data\":[{text},{text}]}}");
    assert_eq!(read(Market::Perp, "BTC", "USDT", &array).0, two);
}
