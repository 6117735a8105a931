//! Documented messages and what they must become.

use std::sync::Arc;

use rust_decimal::Decimal;

use crate::event::{
    BookDelta, BookImage, Control, Event, Funding, Kline, Side, Skipped, Ticker, Trade, TradeId,
};
use crate::exchange::{DecodeError, Exchange as _, Feed};
use crate::instrument::{InstrumentId, InstrumentTable, Market};
use crate::num::{NumError, Price, Qty};
use crate::time::{Level, TsNanos};

use super::super::Bybit;
use super::{Seen, StreamDecoder, decode, instrument, level, spec, table_of};

const BTC: InstrumentId = InstrumentId(0);

fn table(market: Market) -> Arc<InstrumentTable> {
    table_of(market, vec![spec(market, "BTC", "USDT", 2, 6)])
}

fn all(market: Market, frames: &[&str]) -> Vec<Seen> {
    let mut decoder = StreamDecoder::new(market, table(market));
    let mut seen = Vec::new();
    for frame in frames {
        let (part, answer) = decode(&mut decoder, frame.as_bytes());
        assert_eq!(answer, Ok(()), "{frame}");
        seen.extend(part);
    }
    seen
}

fn one(market: Market, frame: &str) -> Seen {
    let mut seen = all(market, &[frame]);
    assert_eq!(seen.len(), 1, "{frame}");
    seen.remove(0)
}

const SNAPSHOT: &str = r#"{"topic":"orderbook.50.BTCUSDT","type":"snapshot","ts":1672304484978,"data":{"s":"BTCUSDT","b":[["16493.50","0.006"],["16493.00","0.100"]],"a":[["16611.00","0.029"],["16612.00","0.213"]],"u":18521288,"seq":7961638724},"cts":1672304484976}"#;

fn delta(update: u64) -> String {
    format!(
        r#"{{"topic":"orderbook.50.BTCUSDT","ts":1687940967466,"type":"delta","data":{{"s":"BTCUSDT","b":[["30247.20","30.028"],["30240.00","0"]],"a":[["30248.70","0"]],"u":{update},"seq":66544703342}},"cts":1687940967464}}"#
    )
}

#[test]
fn a_book_begins_with_an_image_and_goes_on_by_one() {
    let found = all(Market::Perp, &[SNAPSHOT, &delta(18_521_289)]);
    let image = Event::BookImage(BookImage {
        seq: 18_521_288,
        // The matching engine's time, not the gateway's.
        ts_event: TsNanos::from_ms(1_672_304_484_976),
        bids: &[],
        asks: &[],
    });
    let change = Event::Book(BookDelta {
        first_seq: 18_521_289,
        last_seq: 18_521_289,
        prev_seq: None,
        ts_event: TsNanos::from_ms(1_687_940_967_464),
        bids: &[],
        asks: &[],
    });
    let expected = [
        Seen::Book(
            BTC,
            image,
            vec![level(1_649_350, 6_000), level(1_649_300, 100_000)],
            vec![level(1_661_100, 29_000), level(1_661_200, 213_000)],
        ),
        Seen::Book(
            BTC,
            change,
            vec![level(3_024_720, 30_028_000), level(3_024_000, 0)],
            vec![level(3_024_870, 0)],
        ),
    ];
    assert_eq!(found, expected);
}

/// After a restart of the service, or a change of the steps, `u` is 1: the message is the book.
#[test]
fn an_update_id_of_one_is_an_image_whatever_the_type_says() {
    let frames = [SNAPSHOT, &delta(18_521_289), &delta(1), &delta(2), SNAPSHOT];
    let is_image = |seen: &Seen| matches!(seen, Seen::Book(_, Event::BookImage(_), ..));
    let found: Vec<bool> = all(Market::Perp, &frames).iter().map(is_image).collect();
    assert_eq!(found, [true, false, true, false, true]);
    // A delisted instrument: an image without levels.
    let empty = r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"s":"BTCUSDT","b":[],"a":[],"u":1,"seq":2},"cts":1}"#;
    let Seen::Book(_, Event::BookImage(image), bids, asks) = one(Market::Perp, empty) else {
        panic!("not an image");
    };
    assert_eq!((image.seq, bids.len(), asks.len()), (1, 0, 0));
}

/// Each depth counts its own `u`.
#[test]
fn one_depth_of_a_book_is_followed() {
    let mut decoder = StreamDecoder::new(Market::Perp, table(Market::Perp));
    let deeper = SNAPSHOT.replace("orderbook.50", "orderbook.1000");
    let mut is_book = |frame: &str| {
        let (seen, answer) = decode(&mut decoder, frame.as_bytes());
        assert_eq!(answer, Ok(()));
        matches!(seen[..], [Seen::Book(..)])
    };
    assert!(is_book(SNAPSHOT));
    assert!(!is_book(&deeper));
    assert!(is_book(&delta(18_521_289)));
}

#[test]
fn the_touch_comes_from_the_book_of_one_level() {
    let frame = r#"{"topic":"orderbook.1.BTCUSDT","ts":1749833472906,"type":"snapshot","data":{"s":"BTCUSDT","b":[["65140.4","0.885797"]],"a":[["65140.5","1.5"]],"u":1399781,"seq":122620616678},"cts":1749833472901}"#;
    for market in [Market::Spot, Market::Perp] {
        let ticker = Ticker {
            seq: None,
            bid: level(6_514_040, 885_797),
            ask: level(6_514_050, 1_500_000),
            ts_event: Some(TsNanos::from_ms(1_749_833_472_901)),
        };
        let expected = Seen::Event(BTC, Event::Ticker(ticker));
        assert_eq!(one(market, frame), expected);
    }
    let empty = frame.replace(r#"[["65140.5","1.5"]]"#, "[]");
    let Seen::Event(_, Event::Ticker(ticker)) = one(Market::Spot, &empty) else {
        panic!("not a ticker");
    };
    assert_eq!((ticker.bid.qty, ticker.ask), (Qty(885_797), level(0, 0)));
}

#[test]
fn trades_tell_the_takers_side() {
    let linear = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{"T":1672304486865,"s":"BTCUSDT","S":"Buy","v":"0.001","p":"16578.50","L":"PlusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023af","BT":false,"RPI":false,"seq":1783284617},{"T":1672304486866,"s":"BTCUSDT","S":"Sell","v":"0.002","p":"16578.00","L":"MinusTick","i":"20f43950-d8dd-5b31-9112-a178eb6023b0","BT":false,"seq":1783284617}]}"#;
    let trade = |id: TradeId, price, qty, taker_side, ms| {
        Seen::Event(
            BTC,
            Event::Trade(Trade {
                trade_id: id,
                price: Price(price),
                qty: Qty(qty),
                taker_side,
                ts_event: TsNanos::from_ms(ms),
                is_aggregate: false,
            }),
        )
    };
    let id = 0x20f4_3950_d8dd_5b31_9112_a178_eb60_23af_u128;
    let expected = [
        trade(
            TradeId::Uuid(id),
            1_657_850,
            1_000,
            Side::Buy,
            1_672_304_486_865,
        ),
        trade(
            TradeId::Uuid(id + 1),
            1_657_800,
            2_000,
            Side::Sell,
            1_672_304_486_866,
        ),
    ];
    assert_eq!(all(Market::Perp, &[linear]), expected);
    let spot = r#"{"topic":"publicTrade.BTCUSDT","ts":1786310822606,"type":"snapshot","data":[{"i":"2290000001189048101","T":1786310822605,"p":"65140.5","v":"0.002705","S":"Buy","seq":112488547164,"s":"BTCUSDT","BT":false,"RPI":false}]}"#;
    let id = TradeId::Number(2_290_000_001_189_048_101);
    let expected = trade(id, 6_514_050, 2_705, Side::Buy, 1_786_310_822_605);
    assert_eq!(one(Market::Spot, spot), expected);
}

/// The multiplier is part of the coin: a unit of `SHIB1000` is a thousand SHIB, its price is that of
/// a thousand, and neither is multiplied or divided on the way.
#[test]
fn a_multiplier_is_no_factor_of_prices_and_quantities() {
    let spec = spec(Market::Perp, "SHIB1000", "USDT", 6, 0);
    let mut decoder = StreamDecoder::new(Market::Perp, table_of(Market::Perp, vec![spec]));
    let frame = r#"{"topic":"publicTrade.SHIB1000USDT","type":"snapshot","ts":2,"data":[{"T":1,"s":"SHIB1000USDT","S":"Sell","v":"120","p":"0.017645","i":"7","BT":false}]}"#;
    let (seen, answer) = decode(&mut decoder, frame.as_bytes());
    assert_eq!(answer, Ok(()));
    let [Seen::Event(_, Event::Trade(trade))] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!((trade.price, trade.qty), (Price(17_645), Qty(120)));
    let row = instrument(super::spec(Market::Perp, "SHIB1000", "USDT", 6, 0));
    assert_eq!(
        (row.code.as_str(), row.spec.contract_size),
        ("shib1000usdt", Decimal::ONE)
    );
}

#[test]
fn block_trades_are_no_matches_of_the_book() {
    let frame = r#"{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":2,"data":[{"T":1,"s":"BTCUSDT","S":"Buy","v":"900","p":"1.50","i":"1","BT":true},{"T":1,"s":"BTCUSDT","S":"Buy","v":"1","p":"2.50","i":"2","BT":false}]}"#;
    let found = all(Market::Perp, &[frame]);
    assert_eq!(found[0], Seen::Skipped(Skipped::UnknownKind));
    assert!(matches!(found[1], Seen::Event(_, Event::Trade(trade)) if trade.qty == Qty(1_000_000)));
}

#[test]
fn bars_of_a_message_in_their_order() {
    let frame = r#"{"topic":"kline.5.BTCUSDT","data":[{"start":1672324800000,"end":1672325099999,"interval":"5","open":"16649.5","close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":true,"timestamp":1672325099882},{"start":1672325100000,"end":1672325399999,"interval":"5","open":"16677","close":"16677","high":"16677","low":"16677","volume":"0","turnover":"0","confirm":false,"timestamp":1672325100002}],"ts":1672325100102,"type":"snapshot"}"#;
    let first = Kline {
        level: Level::M5,
        open_time: TsNanos::from_ms(1_672_324_800_000),
        open: Price(1_664_950),
        high: Price(1_667_700),
        low: Price(1_660_800),
        close: Price(1_667_700),
        volume: Qty(2_081_000),
        volume_quote: Some(3_466_640_050_000),
        trade_count: None,
        is_closed: true,
        ts_event: TsNanos::from_ms(1_672_325_100_102),
    };
    let second = Kline {
        open_time: TsNanos::from_ms(1_672_325_100_000),
        open: Price(1_667_700),
        low: Price(1_667_700),
        volume: Qty(0),
        volume_quote: Some(0),
        is_closed: false,
        ..first
    };
    let expected = [first, second].map(|kline| Seen::Event(BTC, Event::Kline(kline)));
    assert_eq!(all(Market::Perp, &[frame]), expected);
    for (topic, level) in [
        ("kline.1.", Some(Level::M1)),
        ("kline.15.", Some(Level::M15)),
        ("kline.30.", Some(Level::M30)),
        ("kline.60.", Some(Level::H1)),
        ("kline.240.", Some(Level::H4)),
        ("kline.D.", Some(Level::D1)),
        ("kline.3.", None),
        ("kline.120.", None),
        ("kline.W.", None),
    ] {
        let found = all(Market::Spot, &[&frame.replace("kline.5.", topic)]);
        match level {
            Some(level) => assert!(
                matches!(found[0], Seen::Event(_, Event::Kline(kline)) if kline.level == level),
                "{topic}"
            ),
            None => assert_eq!(found, [Seen::Skipped(Skipped::UnservedLevel)], "{topic}"),
        }
    }
}

const TICKER: &str = r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT","tickDirection":"MinusTick","lastPrice":"66666.60","markPrice":"66666.60","indexPrice":"115418.19","openInterest":"492373.72","turnover24h":"4936790807.6521","fundingIntervalHour":"8","fundingCap":"0.005","nextFundingTime":"1760342400000","fundingRate":"-0.005","bid1Price":"66666.60","bid1Size":"23789.165"},"cs":9532239429,"ts":1760325052630}"#;

#[test]
fn linear_tickers_are_merged_from_deltas() {
    let mark = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","markPrice":"66667.10","bid1Size":"23790.001"},"cs":9532239430,"ts":1760325052730}"#;
    let bid = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","bid1Size":"1"},"cs":9532239431,"ts":1760325052830}"#;
    let next = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT","fundingRate":"0.0001","nextFundingTime":"1760371200000"},"cs":9532239432,"ts":1760342400010}"#;
    let first = Funding {
        rate: Some(-5_000_000_000),
        mark_price: 6_666_660_000_000,
        index_price: Some(11_541_819_000_000),
        next_funding_time: Some(TsNanos::from_ms(1_760_342_400_000)),
        ts_event: TsNanos::from_ms(1_760_325_052_630),
    };
    let second = Funding {
        mark_price: 6_666_710_000_000,
        ts_event: TsNanos::from_ms(1_760_325_052_730),
        ..first
    };
    let third = Funding {
        rate: Some(100_000_000),
        next_funding_time: Some(TsNanos::from_ms(1_760_371_200_000)),
        ts_event: TsNanos::from_ms(1_760_342_400_010),
        ..second
    };
    let event = |funding| Seen::Event(BTC, Event::Funding(funding));
    let nothing = Seen::Skipped(Skipped::UnknownKind);
    let expected = [event(first), event(second), nothing.clone(), event(third)];
    assert_eq!(all(Market::Perp, &[TICKER, mark, bid, next]), expected);
    // A delta alone does not tell what is absent and what is only unchanged.
    assert_eq!(one(Market::Perp, mark), nothing);
    // Spot has neither mark price nor best prices in this topic.
    assert_eq!(one(Market::Spot, TICKER), nothing);
}

#[test]
fn a_ticker_starts_anew_with_a_snapshot() {
    let mark = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"markPrice":"1.5"},"ts":3}"#;
    let mut decoder = StreamDecoder::new(Market::Perp, table(Market::Perp));
    let mut funding = |frame: &str| match decode(&mut decoder, frame.as_bytes()).0[..] {
        [Seen::Event(_, Event::Funding(funding))] => Some(funding),
        _ => None,
    };
    assert!(funding(TICKER).is_some());
    let whole = r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"markPrice":"2","fundingRate":"","nextFundingTime":"0","indexPrice":""},"ts":2}"#;
    let found = funding(whole).unwrap();
    assert_eq!(
        (found.rate, found.index_price, found.next_funding_time),
        (None, None, None)
    );
    assert_eq!(
        funding(mark).map(|funding| funding.mark_price),
        Some(150_000_000)
    );
}

#[test]
fn a_ticker_that_can_not_be_read_changes_nothing() {
    let bad = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"fundingRate":"0.1","markPrice":"x"},"ts":2}"#;
    let mark = r#"{"topic":"tickers.BTCUSDT","type":"delta","data":{"markPrice":"1.5"},"ts":3}"#;
    let mut decoder = StreamDecoder::new(Market::Perp, table(Market::Perp));
    decode(&mut decoder, TICKER.as_bytes()).1.unwrap();
    let (seen, answer) = decode(&mut decoder, bad.as_bytes());
    let error = NumError::Malformed;
    let field = "markPrice";
    assert_eq!(
        (seen, answer),
        (vec![], Err(DecodeError::Number { field, error }))
    );
    let (seen, _) = decode(&mut decoder, mark.as_bytes());
    assert!(
        matches!(seen[..], [Seen::Event(_, Event::Funding(funding))] if funding.rate == Some(-5_000_000_000))
    );
}

#[test]
fn answers_of_both_markets() {
    let failed = |id, stream: Option<&str>, message: &str| {
        Seen::Control(Control::Error {
            id,
            stream: stream.map(str::to_owned),
            code: 0,
            message: message.to_owned(),
        })
    };
    let nothing = Seen::Skipped(Skipped::UnknownKind);
    let handler = "error:handler not found,topic:orderbook.500.BTCUSDT";
    let already = "error:already subscribed,topic:publicTrade.BTCUSDT";
    let invalid = "Invalid topic: invalid.topic.BTCUSDT";
    let rows = [
        (r#"{"success":true,"ret_msg":"","op":"subscribe","conn_id":"c","req_id":"12"}"#.to_owned(), Seen::Control(Control::Ack { id: 12 })),
        (r#"{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"10001","op":"subscribe"}"#.to_owned(), Seen::Control(Control::Ack { id: 10_001 })),
        (r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"3","op":"unsubscribe"}"#.to_owned(), Seen::Control(Control::Ack { id: 3 })),
        (r#"{"success":true,"ret_msg":"","conn_id":"c","req_id":"","op":"subscribe"}"#.to_owned(), nothing.clone()),
        (r#"{"success":true,"ret_msg":"subscribe","conn_id":"c","op":"subscribe"}"#.to_owned(), nothing),
        (r#"{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"","op":"ping"}"#.to_owned(), Seen::Control(Control::Heartbeat)),
        (r#"{"success":true,"ret_msg":"pong","conn_id":"c","op":"ping"}"#.to_owned(), Seen::Control(Control::Heartbeat)),
        (r#"{"req_id":"1","op":"pong","args":["1675418560633"],"conn_id":"c"}"#.to_owned(), Seen::Control(Control::Heartbeat)),
        (format!(r#"{{"success":false,"ret_msg":"{handler}","conn_id":"c","req_id":"4","op":"subscribe"}}"#), failed(Some(4), Some("orderbook.500.BTCUSDT"), handler)),
        (format!(r#"{{"success":false,"ret_msg":"{already}","conn_id":"c","req_id":"5","op":"subscribe"}}"#), failed(Some(5), Some("publicTrade.BTCUSDT"), already)),
        (format!(r#"{{"success":false,"ret_msg":"{invalid}","conn_id":"c","op":"subscribe"}}"#), failed(None, Some("invalid.topic.BTCUSDT"), invalid)),
        (r#"{"success":false,"ret_msg":"args size >10","conn_id":"c","req_id":"6","op":"subscribe"}"#.to_owned(), failed(Some(6), None, "args size >10")),
    ];
    for (frame, expected) in rows {
        for market in [Market::Spot, Market::Perp] {
            assert_eq!(one(market, &frame), expected, "{frame}");
        }
    }
}

#[test]
fn what_is_left_out_is_told() {
    for (frame, expected) in [
        (
            r#"{"topic":"publicTrade.ETHUSDT","ts":1,"type":"snapshot","data":[]}"#,
            Skipped::UnknownSymbol,
        ),
        (
            r#"{"topic":"allLiquidation.BTCUSDT","type":"snapshot","ts":1,"data":[]}"#,
            Skipped::UnknownKind,
        ),
        (
            r#"{"topic":"orderbook.rpi.BTCUSDT","ts":1,"type":"delta","data":{"s":"BTCUSDT","b":[["1","2","3"]],"a":[],"u":2}}"#,
            Skipped::UnknownKind,
        ),
        (
            r#"{"topic":"orderbook.full.BTCUSDT","ts":1,"type":"delta","data":{"s":"BTCUSDT","b":[],"a":[],"u":2}}"#,
            Skipped::UnknownKind,
        ),
        (
            r#"{"topic":"kline_lt.5.BTC3LUSDT","data":[]}"#,
            Skipped::UnknownKind,
        ),
        (r#"{"topic":"wallet","data":[]}"#, Skipped::UnknownKind),
    ] {
        assert_eq!(one(Market::Perp, frame), Seen::Skipped(expected), "{frame}");
    }
}

#[test]
fn what_is_not_documented_is_refused() {
    let field = |field| DecodeError::Field { field };
    let rows = [
        ("{}", field("topic")),
        (r#"{"topic":5}"#, field("topic")),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","ts":1,"data":{"b":[],"a":[],"u":2}}"#,
            field("type"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","data":{"b":[],"a":[],"u":2}}"#,
            field("ts"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1}"#,
            field("data"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"a":[],"u":2}}"#,
            field("b"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"b":[],"u":2}}"#,
            field("a"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"b":[],"a":[]}}"#,
            field("u"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"b":[["1"]],"a":[],"u":2}}"#,
            field("data"),
        ),
        (
            r#"{"topic":"orderbook.1.BTCUSDT","type":"delta","ts":1,"data":{"b":[],"a":[],"u":2}}"#,
            field("type"),
        ),
        (
            r#"{"topic":"publicTrade.BTCUSDT","ts":1,"data":[{"T":1,"S":"None","v":"1","p":"1","i":"1"}]}"#,
            field("S"),
        ),
        (
            r#"{"topic":"publicTrade.BTCUSDT","ts":1,"data":[{"T":1,"S":"Buy","v":"1","i":"1"}]}"#,
            field("data"),
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"b":[["-1","1"]],"a":[],"u":2}}"#,
            DecodeError::Number {
                field: "b",
                error: NumError::Malformed,
            },
        ),
        (
            r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","ts":1,"data":{"b":[["1.001","1"]],"a":[],"u":2}}"#,
            DecodeError::Number {
                field: "b",
                error: NumError::TooPrecise,
            },
        ),
    ];
    for (frame, expected) in rows {
        let mut decoder = StreamDecoder::new(Market::Perp, table(Market::Perp));
        let (seen, answer) = decode(&mut decoder, frame.as_bytes());
        assert_eq!((seen, answer), (vec![], Err(expected)), "{frame}");
    }
    let mut decoder = StreamDecoder::new(Market::Perp, table(Market::Perp));
    for cut in [1, 20, SNAPSHOT.len() / 2, SNAPSHOT.len() - 1] {
        let (seen, answer) = decode(&mut decoder, &SNAPSHOT.as_bytes()[..cut]);
        assert!(
            seen.is_empty() && matches!(answer, Err(DecodeError::Json { .. })),
            "{cut}"
        );
    }
}

#[test]
fn topics_and_requests() {
    let btc = |market| instrument(spec(market, "BTC", "USDT", 2, 6));
    for (feed, spot, linear) in [
        (
            Feed::Book,
            Some("orderbook.200.BTCUSDT"),
            Some("orderbook.200.BTCUSDT"),
        ),
        (
            Feed::Ticker,
            Some("orderbook.1.BTCUSDT"),
            Some("orderbook.1.BTCUSDT"),
        ),
        (
            Feed::Trades,
            Some("publicTrade.BTCUSDT"),
            Some("publicTrade.BTCUSDT"),
        ),
        (
            Feed::Klines(Level::M1),
            Some("kline.1.BTCUSDT"),
            Some("kline.1.BTCUSDT"),
        ),
        (
            Feed::Klines(Level::D1),
            Some("kline.D.BTCUSDT"),
            Some("kline.D.BTCUSDT"),
        ),
        (Feed::Funding, None, Some("tickers.BTCUSDT")),
    ] {
        for (market, expected) in [(Market::Spot, spot), (Market::Perp, linear)] {
            let streams = Bybit.streams(&btc(market), feed);
            let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
            assert_eq!(names.first().copied(), expected, "{feed:?} {market}");
            assert_eq!(names.len(), usize::from(expected.is_some()));
        }
    }
    let topics: Vec<String> = (0..23).map(|n| format!("publicTrade.X{n}")).collect();
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let requests = Bybit.subscribe_requests(Market::Spot, &topics, 7);
    let sizes: Vec<usize> = requests
        .iter()
        .map(|request| request.streams.len())
        .collect();
    assert_eq!(sizes, [10, 10, 3]);
    let told: Vec<usize> = requests
        .iter()
        .flat_map(|request| request.streams.clone())
        .collect();
    assert_eq!(told, (0..23).collect::<Vec<_>>());
    let last: serde_json::Value = serde_json::from_str(&requests[2].text).unwrap();
    let expected = serde_json::json!({
        "op": "subscribe", "req_id": "9",
        "args": ["publicTrade.X20", "publicTrade.X21", "publicTrade.X22"],
    });
    assert_eq!((requests[2].id, last), (9, expected));
    let one = Bybit.unsubscribe_requests(Market::Perp, &["tickers.BTCUSDT"], 1);
    assert!(one[0].text.contains(r#""op":"unsubscribe""#));
}
