//! Messages as documented or recorded, and what they have to become.

use super::super::stream;
use super::{Bench, instrument};
use crate::exchange::{DecodeError, Exchange, Feed};
use crate::instrument::Market;
use crate::num::NumError;
use crate::time::Level;

fn check(market: Market, frame: &str, expected: &str) {
    assert_eq!(Bench::new(market).one(frame), expected, "{frame}");
}

#[test]
fn trades_carry_the_takers_side() {
    check(
        Market::Spot,
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",
        "tradeId":"674510826","px":"95634.9","sz":"0.00011186","side":"buy","ts":"1740394561685",
        "count":"1"}]}"#,
        "BTC-USDT trade Number(674510826) buy 0.00011186 95634.9 at 1740394561685",
    );
    check(
        Market::Spot,
        r#"{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",
        "tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"sell","source":"0",
        "ts":"1630048897897"}]}"#,
        "BTC-USDT trade Number(130639474) sell 0.12060306 42219.9 at 1630048897897",
    );
    check(
        Market::Spot,
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",
        "tradeId":"9","px":"1","sz":"2","side":"sell","ts":"5","count":"3","seqId":1}]}"#,
        "BTC-USDT trade Number(9) sell 2 1 at 5 aggregate",
    );
}

/// 3.5 contracts of 0.01 BTC are 0.035 BTC.
#[test]
fn swaps_are_counted_in_contracts() {
    let mut bench = Bench::new(Market::Perp);
    assert_eq!(
        bench.one(
            r#"{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"tradeId":"1",
            "px":"100.1","sz":"3.5","side":"buy","ts":"1"}]}"#
        ),
        "BTC-USDT-SWAP trade Number(1) buy 0.035 100.1 at 1"
    );
    assert_eq!(
        bench.one(
            r#"{"arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"action":"snapshot","data":[
            {"asks":[["100.2","415","0","13"]],"bids":[["100.1","0.01","0","1"]],"ts":"9",
            "checksum":0,"seqId":7,"prevSeqId":-1}]}"#
        ),
        "BTC-USDT-SWAP image 7 at 9: 100.1x0.0001 / 100.2x4.15"
    );
    assert_eq!(
        bench.one(
            r#"{"arg":{"channel":"candle1m","instId":"BTC-USDT-SWAP"},"data":[["1747094040000",
            "102806.1","102820.4","102806.1","102820.4","1040.37","10.4037","1069603.34883","1"]]}"#
        ),
        // At price scale 3 and quantity scale 5.
        "BTC-USDT-SWAP 1m bar 1747094040000: 102806.1 102820.4 102806.1 102820.4 volume 10.4037 \
         value Some(106960334883000) closed"
    );
    let fine = bench.frame(
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"tradeId":"1",
        "px":"100.1","sz":"0.0001","side":"buy","ts":"1"}]}"#,
    );
    let error = NumError::TooPrecise;
    assert_eq!(fine, Err(DecodeError::Number { field: "sz", error }));
}

#[test]
fn books_follow_by_links() {
    let mut bench = Bench::new(Market::Spot);
    for (frame, expected) in [
        (
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"snapshot","data":[{"asks":[
            ["78722.3","0.38699412","0","10"],["78724.1","0.00001275","0","1"]],"bids":[
            ["78722.2","1.5","0","3"]],"ts":"1787612486107","checksum":0,"seqId":80274874800,
            "prevSeqId":-1}]}"#,
            "BTC-USDT image 80274874800 at 1787612486107: 78722.2x1.5 / 78722.3x0.38699412 \
             78724.1x0.00001275",
        ),
        (
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[
            ["78722.3","0.33039492","0","10"]],"bids":[["78722.2","0","0","0"]],
            "ts":"1787612486207","checksum":0,"seqId":80274874876,"prevSeqId":80274874800}]}"#,
            "BTC-USDT delta 80274874800->80274874876 at 1787612486207: 78722.2x0 / \
             78722.3x0.33039492",
        ),
        // Nothing changed for a minute: the id stays.
        (
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],
            "bids":[],"ts":"1787612546207","checksum":0,"seqId":80274874876,
            "prevSeqId":80274874876}]}"#,
            "BTC-USDT delta 80274874876->80274874876 at 1787612546207:  / ",
        ),
        // After maintenance ids begin lower; the link holds.
        (
            r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[{"asks":[],
            "bids":[["1","1","0","1"]],"ts":"1787612546307","checksum":0,"seqId":3,
            "prevSeqId":80274874876}]}"#,
            "BTC-USDT delta 80274874876->3 at 1787612546307: 1x1 / ",
        ),
    ] {
        assert_eq!(bench.one(frame), expected);
    }
    assert_eq!(bench.decoder.checksums(), (0, 0));
    let without = r#"{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[
        {"asks":[],"bids":[],"ts":"1","checksum":0,"seqId":3}]}"#;
    let field = "prevSeqId";
    assert_eq!(bench.frame(without), Err(DecodeError::Field { field }));
}

/// The worked example of the checksum, as messages: the book is fetched anew when it fails.
#[test]
fn checksums_are_compared_where_they_are_sent() {
    let message = |action: &str, asks: &str, checksum: i64| {
        format!(
            r#"{{"arg":{{"channel":"books-l2-tbt","instId":"BTC-USDT"}},"action":"{action}","data":[
            {{"asks":[{asks}],"bids":[["3366.1","7","0","3"]],"ts":"1","checksum":{checksum}}}]}}"#
        )
    };
    let mut bench = Bench::new(Market::Spot);
    let all = r#"["3366.8","9","10","3"],["3368","8","3","4"],["3372","8","0","1"]"#;
    assert_eq!(
        bench.one(&message("snapshot", all, 831_078_360)),
        "BTC-USDT image 1 at 1: 3366.1x7 / 3366.8x9 3368x8 3372x8"
    );
    assert_eq!(
        bench.one(&message("update", r#"["3366.8","9","0","3"]"#, 831_078_360)),
        "BTC-USDT delta 1->2 at 1: 3366.1x7 / 3366.8x9"
    );
    assert_eq!(
        bench.one(&message(
            "update",
            r#"["3366.8","10","0","3"]"#,
            831_078_360
        )),
        "BadBook { instrument: InstrumentId(0) }"
    );
    assert_eq!(bench.decoder.checksums(), (3, 1));
    // A new image mends it.
    assert_eq!(
        bench.one(&message("snapshot", all, 831_078_360)),
        "BTC-USDT image 4 at 1: 3366.1x7 / 3366.8x9 3368x8 3372x8"
    );
}

#[test]
fn best_prices() {
    check(
        Market::Spot,
        r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["8476.98","415","0",
        "13"]],"bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}]}"#,
        "BTC-USDT ticker 8476.97x256 / 8476.98x415",
    );
    check(
        Market::Spot,
        r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[["8476.97",
        "256","0","12"]],"ts":"1597026383085"}]}"#,
        "BTC-USDT ticker 8476.97x256 / 0x0",
    );
}

#[test]
fn bars_of_all_levels() {
    for (channel, level) in [
        ("candle1m", "1m"),
        ("candle5m", "5m"),
        ("candle15m", "15m"),
        ("candle30m", "30m"),
        ("candle1H", "1h"),
        ("candle4H", "4h"),
        ("candle1Dutc", "1d"),
    ] {
        let frame = format!(
            r#"{{"arg":{{"channel":"{channel}","instId":"BTC-USDT"}},"data":[["1597026383085","8533.02",
            "8553.74","8527.17","8548.26","45247","529.5858061","529.5858061","0"]]}}"#
        );
        let expected = format!(
            "BTC-USDT {level} bar 1597026383085: 8533.02 8553.74 8527.17 8548.26 volume 45247 value \
             Some(529585806100000) open"
        );
        check(Market::Spot, &frame, &expected);
        let streams = stream::streams(
            &instrument(Market::Spot),
            Feed::Klines(Level::parse(level).unwrap()),
        );
        assert_eq!(streams[0].name, format!("{channel}:BTC-USDT"));
        assert_eq!(streams[0].route, stream::ROUTE_BUSINESS);
    }
    // A row of 2022 has no quote volume.
    check(
        Market::Spot,
        r#"{"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1654154580000","29930.7",
        "29936.3","29930.7","29936.3","0.0111536","333.86246417"]]}"#,
        "BTC-USDT 1m bar 1654154580000: 29930.7 29936.3 29930.7 29936.3 volume 0.0111536 value None \
         open",
    );
    for other in ["candle1D", "candle3m", "candle1s"] {
        let frame = format!(
            r#"{{"arg":{{"channel":"{other}","instId":"BTC-USDT"}},"data":[["1","1","1","1","1","1",
            "1","1","0"]]}}"#
        );
        check(Market::Spot, &frame, "skipped UnservedLevel");
    }
}

#[test]
fn funding_is_put_together_from_three_channels() {
    let mut bench = Bench::new(Market::Perp);
    let rate = |rate: &str, ts: &str| {
        format!(
            r#"{{"arg":{{"channel":"funding-rate","instId":"BTC-USDT-SWAP"}},"data":[{{"fundingRate":"{rate}",
            "fundingTime":"1700726400000","instId":"BTC-USDT-SWAP","instType":"SWAP","method":
            "current_period","nextFundingRate":"","nextFundingTime":"1700755200000","ts":"{ts}"}}]}}"#
        )
    };
    let mark = r#"{"arg":{"channel":"mark-price","instId":"BTC-USDT-SWAP"},"data":[{"instType":"SWAP",
        "instId":"BTC-USDT-SWAP","markPx":"84660.1","ts":"1700724676000"}]}"#;
    let index = r#"{"arg":{"channel":"index-tickers","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",
        "idxPx":"84651.23","high24h":"0.5","low24h":"0.1","open24h":"0.1","sodUtc0":"0.1",
        "sodUtc8":"0.1","ts":"1700724675900"}]}"#;
    // Without a mark price there is nothing to tell.
    assert_eq!(
        bench.frame(&rate("0.0001875391284828", "1700724675402")),
        Ok(vec![])
    );
    assert_eq!(bench.frame(index), Ok(vec![]));
    assert_eq!(
        bench.one(mark),
        "BTC-USDT-SWAP funding Some(\"0.000187539128\") mark 84660.1 index Some(\"84651.23\") next \
         Some(1700726400000) at 1700724676000"
    );
    // An older message does not turn time back.
    assert_eq!(
        bench.one(&rate("-0.0000000000005", "1700724675500")),
        "BTC-USDT-SWAP funding Some(\"-0.000000000001\") mark 84660.1 index Some(\"84651.23\") next \
         Some(1700726400000) at 1700724676000"
    );
}

#[test]
fn answers_and_notices() {
    for (frame, expected) in [
        ("pong", "Heartbeat"),
        (
            r#"{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"32f4414f"}"#,
            "StreamAck { stream: \"books:BTC-USDT\", is_subscribed: true }",
        ),
        (
            r#"{"id":"7","event":"unsubscribe","arg":{"channel":"trades","instId":"BTC-USDT"},
            "connId":"a4d3ae55"}"#,
            "StreamAck { stream: \"trades:BTC-USDT\", is_subscribed: false }",
        ),
        (
            r#"{"event":"error","msg":"channel:ticker,instId:BTC-USDT doesn't exist","code":"60018",
            "connId":"a4d3ae55"}"#,
            "Error { id: None, stream: Some(\"ticker:BTC-USDT\"), code: 60018, message: \
             \"channel:ticker,instId:BTC-USDT doesn't exist\" }",
        ),
        (
            r#"{"id":"12","event":"error","msg":"Illegal request: {}","code":"60012"}"#,
            "Error { id: Some(12), stream: None, code: 60012, message: \"Illegal request: {}\" }",
        ),
        (
            r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a
            service upgrade. Please reconnect.","connId":"a4d3ae55"}"#,
            "Shutdown",
        ),
        (
            r#"{"event":"channel-conn-count","channel":"orders","connCount":"2","connId":"a"}"#,
            "skipped UnknownKind",
        ),
        (
            r#"{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}"#,
            "skipped UnknownKind",
        ),
        (
            r#"{"id":"1512","op":"order","code":"0","msg":"","data":[]}"#,
            "skipped UnknownKind",
        ),
        (
            r#"{"arg":{"channel":"status"},"data":[{"begin":"1","end":"2","serviceType":"1",
            "state":"ongoing","title":"Spot System Upgrade"}]}"#,
            "Maintenance { message: \"Spot System Upgrade\" }",
        ),
        (
            r#"{"arg":{"channel":"status"},"data":[{"serviceType":"3","state":"ongoing",
            "title":"Swap System Upgrade"}]}"#,
            "skipped UnknownKind",
        ),
        (
            r#"{"arg":{"channel":"books5","instId":"BTC-USDT"},"data":[{"asks":[],"bids":[],"ts":"1",
            "seqId":3}]}"#,
            "skipped UnknownKind",
        ),
        (
            r#"{"arg":{"channel":"trades","instId":"ETH-USDT"},"data":[{"tradeId":"x"}]}"#,
            "skipped UnknownSymbol",
        ),
    ] {
        check(Market::Spot, &frame.replace('\n', " "), expected);
    }
    let mut bench = Bench::new(Market::Spot);
    let ack = r#"{"event":"subscribe","arg":{"channel":"status"},"connId":"a"}"#;
    assert_eq!(bench.frame(ack), Ok(vec![]));
}

#[test]
fn what_is_not_a_message_is_an_error() {
    let mut bench = Bench::new(Market::Spot);
    let mut check = |frame: &str, expected: DecodeError| {
        assert_eq!(bench.frame(frame), Err(expected), "{frame}");
    };
    let field = |field| DecodeError::Field { field };
    check("", DecodeError::Json { at: 0 });
    check(r#"{"arg":{"channel":"tra"#, DecodeError::Json { at: 21 });
    check("{}", field("arg"));
    check("[]", field("frame"));
    check(
        r#"{"arg":{"channel":"trades","instId":"BTC-USDT"}}"#,
        field("data"),
    );
    check(r#"{"arg":{"channel":"trades"},"data":[]}"#, field("instId"));
    let trade = |row: &str| {
        format!(r#"{{"arg":{{"channel":"trades","instId":"BTC-USDT"}},"data":[{{{row}}}]}}"#)
    };
    check(
        &trade(r#""tradeId":"1","px":"1","sz":"1","side":"up","ts":"1""#),
        field("side"),
    );
    check(
        &trade(r#""tradeId":"1","px":"1","sz":"1","side":"buy","ts":"""#),
        field("ts"),
    );
    check(
        &trade(r#""tradeId":"-1","px":"1","sz":"1","side":"buy","ts":"1""#),
        field("tradeId"),
    );
    check(
        &trade(r#""tradeId":"1","px":"-1","sz":"1","side":"buy","ts":"1""#),
        DecodeError::Number {
            field: "px",
            error: NumError::Malformed,
        },
    );
    let book = |data: &str| {
        format!(
            r#"{{"arg":{{"channel":"books","instId":"BTC-USDT"}},"action":"update","data":[{data}]}}"#
        )
    };
    check(&book(""), field("data"));
    check(
        &book(r#"{"asks":[],"ts":"1","seqId":1,"prevSeqId":0}"#),
        field("bids"),
    );
    check(
        &book(r#"{"bids":[],"ts":"1","seqId":1,"prevSeqId":0}"#),
        field("asks"),
    );
    check(
        &book(r#"{"asks":[["1"]],"bids":[],"ts":"1","seqId":1,"prevSeqId":0}"#),
        field("data"),
    );
    check(
        &book(r#"{"asks":[["1.23456","1"]],"bids":[],"ts":"1","seqId":1,"prevSeqId":0}"#),
        DecodeError::Number {
            field: "price",
            error: NumError::TooPrecise,
        },
    );
}

#[test]
fn requests_are_cut_to_what_okx_takes() {
    let one = stream::requests("subscribe", &["books:BTC-USDT", "trades:BTC-USDT"], 7);
    assert_eq!(one.len(), 1);
    assert_eq!((one[0].id, &one[0].streams[..]), (7, &[0, 1][..]));
    let expected = serde_json::json!({"id": "7", "op": "subscribe", "args": [
        {"channel": "books", "instId": "BTC-USDT"}, {"channel": "trades", "instId": "BTC-USDT"}]});
    let sent: serde_json::Value = serde_json::from_str(&one[0].text).unwrap();
    assert_eq!(sent, expected);

    let names: Vec<String> = (0..500)
        .map(|n| format!("candle1Dutc:COIN{n}-USDT-SWAP"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many = stream::requests("unsubscribe", &names, 1);
    assert!(many.iter().all(|request| request.text.len() <= 4096));
    let ids: Vec<u64> = many.iter().map(|request| request.id).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let all: Vec<usize> = many
        .iter()
        .flat_map(|request| request.streams.clone())
        .collect();
    assert_eq!(all, (0..500).collect::<Vec<_>>());
    assert_eq!(stream::requests("subscribe", &[], 1), []);
}

#[test]
fn feeds_and_their_streams() {
    let names = |market, feed| -> Vec<String> {
        let streams = super::super::Okx.streams(&instrument(market), feed);
        streams.into_iter().map(|stream| stream.name).collect()
    };
    assert_eq!(names(Market::Spot, Feed::Book), ["books:BTC-USDT"]);
    assert_eq!(names(Market::Perp, Feed::Trades), ["trades:BTC-USDT-SWAP"]);
    assert_eq!(names(Market::Perp, Feed::Ticker), ["bbo-tbt:BTC-USDT-SWAP"]);
    assert_eq!(names(Market::Spot, Feed::Funding), [""; 0]);
    assert_eq!(
        names(Market::Perp, Feed::Funding),
        [
            "funding-rate:BTC-USDT-SWAP",
            "mark-price:BTC-USDT-SWAP",
            "index-tickers:BTC-USDT"
        ]
    );
}
