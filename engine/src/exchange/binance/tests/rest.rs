//! REST: paths and weights of requests, and answers in documented and recorded form.

use crate::error::CryptoCode;
use crate::event::{BookSnapshot, Kline, Side, Trade};
use crate::exchange::{DecodeError, Exchange as _, FundingRow, PageRequest};
use crate::instrument::{Instrument, Market};
use crate::num::{NumError, Price, Qty};
use crate::time::{Level, TsNanos};

use super::super::{Binance, is_depth_snapshot};
use super::{capture, instrument, level, spec, wrapped};

fn btc(market: Market) -> Instrument {
    instrument(spec(market, "BTC", "USDT", 8, 8))
}

fn ms(ms: i64) -> TsNanos {
    TsNanos::from_ms(ms)
}

#[test]
fn requests_have_documented_limits_and_weights() {
    let (spot, perp) = (btc(Market::Spot), btc(Market::Perp));
    for (depth, limit, weight) in [
        (0, 1, 5),
        (100, 100, 5),
        (101, 101, 25),
        (1000, 1000, 50),
        (1001, 1001, 250),
        (99_999, 5000, 250),
    ] {
        let request = Binance.snapshot_request(&spot, depth);
        assert_eq!(
            request.path,
            format!("/api/v3/depth?symbol=BTCUSDT&limit={limit}")
        );
        assert_eq!(request.weight, weight);
    }
    for (depth, limit, weight) in [
        (0, 5, 2),
        (6, 10, 2),
        (50, 50, 2),
        (51, 100, 5),
        (200, 500, 10),
        (501, 1000, 20),
        (9999, 1000, 20),
    ] {
        let request = Binance.snapshot_request(&perp, depth);
        assert_eq!(
            request.path,
            format!("/fapi/v1/depth?symbol=BTCUSDT&limit={limit}")
        );
        assert_eq!(request.weight, weight);
    }
    let page = |limit| PageRequest {
        // Bounds hold nothing outside: up to the next millisecond, down to the one before.
        start: Some(TsNanos(1_000_000_000_001)),
        end: Some(TsNanos(2_000_000_999_999)),
        from_id: None,
        limit,
    };
    let klines = |row: &Instrument, limit| {
        let request = Binance.kline_request(row, Level::H4, page(limit)).unwrap();
        (request.path, request.weight)
    };
    let times = "startTime=1000001&endTime=2000000";
    assert_eq!(
        klines(&spot, 5000),
        (
            format!("/api/v3/klines?symbol=BTCUSDT&interval=4h&{times}&limit=1000"),
            2
        )
    );
    for (limit, sent, weight) in [
        (0, 1, 1),
        (99, 99, 1),
        (100, 100, 2),
        (500, 500, 5),
        (1000, 1000, 5),
        (1001, 1001, 10),
        (9999, 1500, 10),
    ] {
        assert_eq!(
            klines(&perp, limit),
            (
                format!("/fapi/v1/klines?symbol=BTCUSDT&interval=4h&{times}&limit={sent}"),
                weight
            )
        );
    }
    let trades = |row: &Instrument, from_id, page: PageRequest| {
        let request = Binance.trade_request(row, PageRequest { from_id, ..page });
        let request = request.unwrap();
        (request.path, request.weight)
    };
    assert_eq!(
        trades(&spot, None, page(1000)),
        ("/api/v3/trades?symbol=BTCUSDT&limit=1000".to_owned(), 25)
    );
    assert_eq!(
        trades(&spot, Some(7), page(1000)),
        (
            "/api/v3/historicalTrades?symbol=BTCUSDT&fromId=7&limit=1000".to_owned(),
            25
        )
    );
    assert_eq!(
        trades(&perp, Some(7), page(1000)),
        (
            "/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=7&limit=1000".to_owned(),
            20
        )
    );
    assert_eq!(
        trades(&perp, None, page(9)),
        (
            format!("/fapi/v1/aggTrades?symbol=BTCUSDT&{times}&limit=9"),
            20
        )
    );
    // Times of aggregates must lie less than an hour apart.
    let day = PageRequest {
        start: Some(ms(0)),
        end: Some(ms(86_400_000)),
        from_id: None,
        limit: 9,
    };
    assert_eq!(
        trades(&perp, None, day).0,
        "/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=0&endTime=3599999&limit=9"
    );
    assert_eq!(Binance.funding_request(&spot, page(9)), None);
    assert_eq!(
        Binance.funding_request(&perp, page(9999)).unwrap().path,
        format!("/fapi/v1/fundingRate?symbol=BTCUSDT&{times}&limit=1000")
    );
    let foreign = instrument(spec(Market::Spot, "币", "A&B", 2, 2));
    let path = Binance.snapshot_request(&foreign, 5).path;
    assert_eq!(path, "/api/v3/depth?symbol=%E5%B8%81A%26B&limit=5");
    assert_eq!(Binance.instrument_requests(Market::Spot)[0].weight, 20);
    assert_eq!(Binance.instrument_requests(Market::Perp).len(), 2);
    assert_eq!(Binance.time_request(Market::Perp).path, "/fapi/v1/time");
}

#[test]
fn snapshots() {
    let row = btc(Market::Perp);
    let read = |text: &str| Binance.parse_snapshot(&row, &mut text.as_bytes().to_vec());
    let expected = BookSnapshot {
        seq: 1_027_024,
        ts_event: Some(ms(1_589_436_922_972)),
        bids: vec![level(400_000_000, 43_100_000_000)],
        asks: vec![level(400_000_200, 1_200_000_000)],
    };
    for text in [
        r#"{"lastUpdateId":1027024,"E":1589436922972,"T":1589436922959,"bids":[["4.00000000","431.00000000"]],"asks":[["4.00000200","12.00000000"]]}"#,
        r#"{"lastUpdateId": 1027024, "E": 1589436922972, "T": 1589436922959, "bids": [["4.00000000", "431.00000000"]], "asks": [["4.00000200", "12.00000000"]]}"#,
        r#"{"E":1589436922972,"asks":[["4.000002","12",[]]],"bids":[["4.0","431"]],"lastUpdateId":1027024,"symbol":"BTCUSDT"}"#,
    ] {
        assert_eq!(read(text).unwrap(), expected, "{text}");
    }
    let spot = read(r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#).unwrap();
    assert_eq!(
        spot,
        BookSnapshot {
            seq: 1,
            ..BookSnapshot::default()
        }
    );
    for (text, expected) in [
        (
            r#"{"bids":[],"asks":[]}"#,
            DecodeError::Field {
                field: "lastUpdateId",
            },
        ),
        (
            r#"{"lastUpdateId":1,"asks":[]}"#,
            DecodeError::Field { field: "bids" },
        ),
        (
            r#"{"lastUpdateId":1,"bids":[["1"]],"asks":[]}"#,
            DecodeError::Field { field: "bids" },
        ),
        (
            r#"{"lastUpdateId":1,"bids":[],"asks":[["1","0.000000001"]]}"#,
            DecodeError::Number {
                field: "asks",
                error: NumError::TooPrecise,
            },
        ),
    ] {
        assert_eq!(read(text), Err(expected), "{text}");
    }
    assert!(matches!(
        read("{\"lastUpdateId\":1"),
        Err(DecodeError::Json { .. })
    ));
}

#[test]
fn snapshot_lines_are_recognised() {
    for (line, expected) in [
        (r#"{"lastUpdateId":1,"bids":[],"asks":[]}"#, true),
        (r#" { "bids":[["1","2"]], "lastUpdateId" : 1 }"#, true),
        (r#"{"a\"b":"\\","lastUpdateId":1}"#, true),
        (
            r#"{"stream":"x@depth5","data":{"lastUpdateId":1,"bids":[],"asks":[]}}"#,
            false,
        ),
        (r#"{"x":"lastUpdateId"}"#, false),
        (r#"{"x":"\"lastUpdateId\":1"}"#, false),
        (r#"[{"lastUpdateId":1}]"#, false),
        (r#"{"u":1,"s":"BTCUSDT"}"#, false),
        (r#"{"lastUpdateId"#, false),
        ("", false),
    ] {
        assert_eq!(is_depth_snapshot(line.as_bytes()), expected, "{line}");
    }
}

#[test]
fn bars() {
    let row = btc(Market::Spot);
    let body = r#"[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,"2434.19055334",308,"1756.87402397","28.46694368","0"]]"#;
    let read =
        |text: &str, now| Binance.parse_klines(&row, Level::M1, &mut text.as_bytes().to_vec(), now);
    let closed = Kline {
        level: Level::M1,
        open_time: ms(1_499_040_000_000),
        open: Price(1_634_790),
        high: Price(80_000_000),
        low: Price(1_575_800),
        close: Price(1_577_100),
        volume: Qty(14_897_611_427_815),
        volume_quote: Some(24_341_905_533_400_000_000),
        trade_count: Some(308),
        is_closed: true,
        ts_event: ms(1_499_644_799_999),
    };
    assert_eq!(read(body, ms(1_499_644_800_000)), Ok(vec![closed]));
    let now = ms(1_499_644_799_999);
    let open = Kline {
        is_closed: false,
        ts_event: now,
        ..closed
    };
    assert_eq!(read(body, now), Ok(vec![open]));
    assert_eq!(read("[]", now), Ok(vec![]));
    for text in [
        "[[1]]",
        "[{}]",
        "{\"code\":-1121,\"msg\":\"Invalid symbol.\"}",
        "[[\"1\"]]",
    ] {
        assert_eq!(
            read(text, now),
            Err(DecodeError::Field { field: "klines" }),
            "{text}"
        );
    }
    assert_eq!(
        read(&body.replace("148976.11427815", "99999999999999"), now),
        Err(DecodeError::Number {
            field: "volume",
            error: NumError::Overflow
        })
    );
}

#[test]
fn trades() {
    let row = btc(Market::Spot);
    let read = |text: &str| Binance.parse_trades(&row, &mut text.as_bytes().to_vec());
    let single = Trade {
        trade_id: crate::event::TradeId::Number(28457),
        price: Price(400_000_100),
        qty: Qty(1_200_000_000),
        taker_side: Side::Sell,
        ts_event: ms(1_499_865_549_590),
        is_aggregate: false,
    };
    assert_eq!(
        read(
            r#"[{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}]"#
        ),
        Ok(vec![single])
    );
    let aggregate = |id| Trade {
        trade_id: id,
        price: Price(1_633_102),
        qty: Qty(470_443_515),
        taker_side: Side::Buy,
        ts_event: ms(1_498_793_709_153),
        is_aggregate: true,
    };
    let text = |id: u64| {
        format!(
            r#"{{"a":{id},"p":"0.01633102","q":"4.70443515","nq":"4","f":27781,"l":27781,"T":1498793709153,"m":false,"M":true}}"#
        )
    };
    // Ascending, whatever the order sent.
    assert_eq!(
        read(&format!("[{},{}]", text(26130), text(26129))),
        Ok(vec![
            aggregate(crate::event::TradeId::Number(26129)),
            aggregate(crate::event::TradeId::Number(26130))
        ])
    );
    // A recorded fixture has lost the name of `m`: whose side it was is not guessed.
    let lost = text(1).replace("\"m\"", "\"\"");
    assert_eq!(
        read(&format!("[{lost}]")),
        Err(DecodeError::Field { field: "trades" })
    );
    assert!(read(r#"[{"price":"1","qty":"1","time":1,"isBuyerMaker":true}]"#).is_err());
}

#[test]
fn funding_and_time() {
    let row = btc(Market::Perp);
    let read = |text: &str| Binance.parse_funding(&row, &mut text.as_bytes().to_vec());
    let funding = |mark_price| FundingRow {
        time: ms(1_570_608_000_000),
        rate: -37_500_000_000,
        mark_price,
    };
    for (text, mark) in [
        (
            r#"[{"symbol":"BTCUSDT","fundingRate":"-0.03750000","fundingTime":1570608000000,"markPrice":"34287.54619963"}]"#,
            Some(3_428_754_619_963),
        ),
        // Some milliseconds off the hour; old rows without a mark price.
        (
            r#"[{"symbol":"BTCUSDT","fundingRate":"-0.03750000","fundingTime":1570608000006,"markPrice":""}]"#,
            None,
        ),
        (
            r#"[{"symbol":"BTCUSDT","fundingRate":"-0.03750000","fundingTime":1570607999998}]"#,
            None,
        ),
    ] {
        assert_eq!(read(text), Ok(vec![funding(mark)]), "{text}");
    }
    assert_eq!(
        Binance.parse_time(br#"{"serverTime":1499827319559}"#),
        Ok(ms(1_499_827_319_559))
    );
    assert_eq!(
        Binance.parse_time(b"{}"),
        Err(DecodeError::Field {
            field: "serverTime"
        })
    );
}

/// Answers of the fixtures that the engine asks for, by path.
#[test]
fn fixture_answers_are_read() {
    let mut counts = std::collections::BTreeMap::<&str, (u32, u32)>::new();
    for (file, market) in [
        ("binance_spot_fixtures.jsonl", Market::Spot),
        ("binance_usdm_fixtures.jsonl", Market::Perp),
    ] {
        let Some(text) = capture(file) else { return };
        let row = btc(market);
        for fixture in wrapped(&text).into_iter().filter(|row| row.kind == "rest") {
            let Some(path) = fixture.path.as_deref() else {
                continue;
            };
            let mut body = fixture.raw.clone().into_bytes();
            let is_error = serde_json::from_slice::<serde_json::Value>(&body)
                .is_ok_and(|body| body.get("code").is_some_and(|code| code.is_i64()));
            let answer = match path.rsplit('/').next().unwrap_or_default() {
                _ if is_error => continue,
                "depth" => Binance
                    .parse_snapshot(&row, &mut body)
                    .map(|book| book.bids.len()),
                "klines" => Binance
                    .parse_klines(&row, Level::M1, &mut body, ms(0))
                    .map(|bars| bars.len()),
                "aggTrades" | "trades" | "historicalTrades" => Binance
                    .parse_trades(&row, &mut body)
                    .map(|trades| trades.len()),
                "fundingRate" => Binance
                    .parse_funding(&row, &mut body)
                    .map(|rows| rows.len()),
                "exchangeInfo" => Binance
                    .parse_instruments(market, &[body])
                    .map(|all| all.0.len()),
                "time" => Binance.parse_time(&body).map(|_| 1),
                _ => continue,
            };
            let key = [
                "depth",
                "klines",
                "rades",
                "fundingRate",
                "exchangeInfo",
                "time",
            ]
            .into_iter()
            .find(|key| path.ends_with(key))
            .unwrap_or("other");
            let count = counts.entry(key).or_default();
            match answer {
                Ok(_) => count.0 += 1,
                // The only ones that are refused have lost the name of `m`, or are empty books.
                Err(DecodeError::Field { field: "trades" }) if fixture.raw.contains("\"\":") => {
                    count.1 += 1;
                }
                Err(error) => panic!("{path}: {error}: {}", fixture.raw),
            }
        }
    }
    for key in [
        "depth",
        "klines",
        "rades",
        "fundingRate",
        "exchangeInfo",
        "time",
    ] {
        assert!(
            counts.get(key).is_some_and(|count| count.0 > 0),
            "{key}: {counts:?}"
        );
    }
}

#[test]
fn recorded_error_answers_are_understood() {
    let Some(text) = capture("errors_all_exchanges.jsonl") else {
        return;
    };
    let mut codes = Vec::new();
    for line in super::lines(&text) {
        let row: serde_json::Value = serde_json::from_slice(line).unwrap();
        if row["exchange"] != "binance" {
            continue;
        }
        let status = row["http_status"]
            .as_u64()
            .map_or(400, |status| status as u16);
        let body = row["raw"].as_str().unwrap();
        let failure = Binance.rest_failure(Market::Spot, status, None, body.as_bytes());
        assert_eq!(failure.error.details["http_status"], status);
        codes.push(failure.error.code);
    }
    assert_eq!(
        codes,
        [
            CryptoCode::RateLimitExceeded,
            CryptoCode::RateLimitExceeded,
            CryptoCode::Unauthorized,
            CryptoCode::MinNotionalNotMet,
        ]
    );
}
