//! Control messages, refusals, symbols and stream names.

use crate::event::{Control, Event, Skipped};
use crate::exchange::{DecodeError, Exchange as _, Feed};
use crate::instrument::Market;
use crate::num::NumError;
use crate::time::Level;

use super::vectors::{read, spot};
use super::{Binance, Seen, StreamDecoder, decode, instrument, spec, table_of};

#[test]
fn control_messages() {
    let error = |id, code, message: &str| {
        vec![Seen::Control(Control::Error {
            id,
            stream: None,
            code,
            message: message.to_owned(),
        })]
    };
    for (text, expected) in [
        (
            r#"{"result":null,"id":1}"#,
            vec![Seen::Control(Control::Ack { id: 1 })],
        ),
        (
            r#"{"id":312,"result":null}"#,
            vec![Seen::Control(Control::Ack { id: 312 })],
        ),
        (
            r#"{"result":true,"id":2}"#,
            vec![Seen::Control(Control::Ack { id: 2 })],
        ),
        (
            r#"{"result":["btcusdt@aggTrade"],"id":3}"#,
            vec![Seen::Control(Control::Subscriptions {
                id: Some(3),
                streams: vec!["btcusdt@aggTrade".to_owned()],
            })],
        ),
        (
            r#"{"result":[],"id":3}"#,
            vec![Seen::Control(Control::Subscriptions {
                id: Some(3),
                streams: vec![],
            })],
        ),
        (
            r#"{"code":3,"msg":"Invalid JSON: expected value at line 1 column 1"}"#,
            error(None, 3, "Invalid JSON: expected value at line 1 column 1"),
        ),
        (
            r#"{"error":{"code":2,"msg":"Invalid request: invalid stream"},"id":1}"#,
            error(Some(1), 2, "Invalid request: invalid stream"),
        ),
        (
            r#"{"code":0,"msg":"Unknown property","id":9}"#,
            error(Some(9), 0, "Unknown property"),
        ),
        // Answers to ids that we never send.
        (
            r#"{"result":null,"id":"abc"}"#,
            vec![Seen::Skipped(Skipped::UnknownKind)],
        ),
        (
            r#"{"result":null,"id":null}"#,
            vec![Seen::Skipped(Skipped::UnknownKind)],
        ),
    ] {
        assert_eq!(spot(text), expected, "{text}");
    }
    for text in [
        r#"{"e":"serverShutdown","E":1770123456789}"#,
        r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}"#,
    ] {
        assert_eq!(spot(text), vec![Seen::Control(Control::Shutdown)]);
    }
}

#[test]
fn what_is_left_out_and_what_is_refused() {
    assert_eq!(
        spot(r#"{"e":"trade","E":1,"s":"NONE","t":1,"p":"1","q":"1","T":1,"m":true}"#),
        vec![Seen::Skipped(Skipped::UnknownSymbol)]
    );
    assert_eq!(
        spot(r#"{"e":"24hrTicker","E":1,"s":"BNBBTC","p":"-0.0015"}"#),
        vec![Seen::Skipped(Skipped::UnknownKind)]
    );
    let refused = |text: &str| read(Market::Spot, "BNB", "BTC", text).1.unwrap_err();
    let number = |field, error| DecodeError::Number { field, error };
    let trade = |price: &str, qty: &str| {
        format!(r#"{{"e":"trade","E":1,"s":"BNBBTC","t":1,"p":{price},"q":{qty},"T":1,"m":true}}"#)
    };
    for (text, expected) in [
        (
            trade("\"0.000000001\"", "\"1\""),
            number("p", NumError::TooPrecise),
        ),
        (
            trade("\"1\"", "\"99999999999999\""),
            number("q", NumError::Overflow),
        ),
        (trade("\"\"", "\"1\""), number("p", NumError::Malformed)),
        (trade("\"1\"", "\"-1\""), number("q", NumError::Malformed)),
        (trade("1", "\"1\""), DecodeError::Field { field: "p" }),
        (trade("\"1\"", "null"), DecodeError::Field { field: "q" }),
        ("{}".to_owned(), DecodeError::Field { field: "e" }),
        ("[1]".to_owned(), DecodeError::Field { field: "data" }),
        ("7".to_owned(), DecodeError::Field { field: "data" }),
    ] {
        assert_eq!(refused(&text), expected, "{text}");
    }
    for text in [
        "",
        " ",
        "{",
        "nonsense",
        "{\"e\":\"trade\"",
        "{\"e\":\"\u{1}\"}",
        "{} {}",
    ] {
        assert!(matches!(refused(text), DecodeError::Json { .. }), "{text}");
    }
    let table = table_of(Market::Spot, vec![]);
    let mut decoder = StreamDecoder::new(Market::Spot, table);
    let (_, answer) = decode(&mut decoder, &vec![b' '; 17 << 20]);
    assert_eq!(answer, Err(DecodeError::TooLarge { bytes: 17 << 20 }));
}

#[test]
fn a_new_table_counts_from_the_next_frame() {
    use crate::exchange::{Decoder as _, ProviderId};
    let text = br#"{"e":"trade","E":1,"s":"BNBBTC","t":1,"p":"1.5","q":"1","T":1,"m":true}"#;
    let old = table_of(Market::Spot, vec![spec(Market::Spot, "BNB", "BTC", 1, 0)]);
    let mut decoder = StreamDecoder::new(Market::Spot, old.clone());
    let price = |seen: Vec<Seen>| match seen[..] {
        [Seen::Event(_, Event::Trade(trade))] => trade.price.0,
        _ => panic!("{seen:?}"),
    };
    assert_eq!(price(decode(&mut decoder, text).0), 15);
    let specs = vec![spec(Market::Spot, "BNB", "BTC", 4, 0)];
    let new = old.with_market(ProviderId::BINANCE, Market::Spot, specs);
    decoder.set_table(std::sync::Arc::new(new));
    assert_eq!(price(decode(&mut decoder, text).0), 15_000);
}

#[test]
fn symbols_of_any_length_and_script_are_found() {
    for (base, quote) in [
        ("A", "B"),
        ("BTC", "USDTX"),
        ("1000000MOGSHIBAI", "USDT"),
        ("12345678", "90123456"),
        ("12345678", "901234567"),
        ("这是测试币", "456"),
    ] {
        let text = format!(
            r#"{{"e":"trade","E":1,"s":"{base}{quote}","t":1,"p":"1","q":"1","T":1,"m":true}}"#
        );
        for _ in 0..2 {
            let (seen, _) = read(Market::Spot, base, quote, &text);
            assert!(matches!(seen[..], [Seen::Event(..)]), "{text}: {seen:?}");
        }
    }
    // Filled up with zero bytes these would be the same.
    let table = table_of(Market::Spot, vec![spec(Market::Spot, "A", "B", 0, 0)]);
    let mut decoder = StreamDecoder::new(Market::Spot, table);
    for (symbol, expected) in [
        ("AB", true),
        (r"AB\u0000", false),
        ("ABC", false),
        ("", false),
    ] {
        let text =
            format!(r#"{{"e":"trade","E":1,"s":"{symbol}","t":1,"p":"1","q":"1","T":1,"m":true}}"#);
        let (seen, _) = decode(&mut decoder, text.as_bytes());
        assert_eq!(matches!(seen[..], [Seen::Event(..)]), expected, "{symbol}");
    }
}

#[test]
fn streams_are_named_and_routed() {
    let name = |market, feed| {
        let row = instrument(spec(market, "BTC", "USDT", 2, 5));
        Binance
            .streams(&row, feed)
            .pop()
            .map(|stream| (Binance.routes(market)[stream.route].path, stream.name))
    };
    let some = |path, name: &str| Some((path, name.to_owned()));
    for (feed, on_spot, on_perp) in [
        (
            Feed::Book,
            some("/stream", "btcusdt@depth@100ms"),
            some("/public/stream", "btcusdt@depth@100ms"),
        ),
        (
            Feed::Ticker,
            some("/stream", "btcusdt@bookTicker"),
            some("/public/stream", "btcusdt@bookTicker"),
        ),
        (
            Feed::Trades,
            some("/stream", "btcusdt@trade"),
            some("/market/stream", "btcusdt@aggTrade"),
        ),
        (
            Feed::Klines(Level::H4),
            some("/stream", "btcusdt@kline_4h"),
            some("/market/stream", "btcusdt@kline_4h"),
        ),
        (
            Feed::Funding,
            None,
            some("/market/stream", "btcusdt@markPrice@1s"),
        ),
    ] {
        assert_eq!(name(Market::Spot, feed), on_spot);
        assert_eq!(name(Market::Perp, feed), on_perp);
    }
    let asked = Binance.subscribe_requests(Market::Spot, &["a@b", "\"@c"], 7);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&asked[0].text).unwrap(),
        serde_json::json!({"method": "SUBSCRIBE", "params": ["a@b", "\"@c"], "id": 7})
    );
    assert_eq!((asked[0].id, &asked[0].streams[..]), (7, &[0, 1][..]));
    let left = Binance.unsubscribe_requests(Market::Spot, &["a@b"], 8);
    assert!(left[0].text.contains("\"UNSUBSCRIBE\""));
}
