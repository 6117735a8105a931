//! The REST API.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bookwire_sim::market::{Interval, TimeRange};
use bookwire_sim::{Segment, Sim};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::{REST, bybit};
use crate::support::get;

/// The `result` of a path below `/v5/market`.
async fn result(sim: &Sim, target: &str) -> Value {
    let answer = get(sim, REST, &format!("/v5/market/{target}")).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    let body = answer.json();
    assert_eq!(body["retCode"], 0, "{target}: {body}");
    assert!(body["time"].is_i64() && body["retExtInfo"] == json!({}));
    body["result"].clone()
}

/// The code of a refusal, which comes with status 200.
async fn code(sim: &Sim, target: &str) -> i64 {
    let answer = get(sim, REST, target).await;
    assert_eq!(answer.status, 200, "{target}: {}", answer.body);
    answer.json()["retCode"].as_i64().unwrap()
}

#[tokio::test]
async fn instruments_of_both_markets() {
    let sim = bybit().await;
    let spot = result(&sim, "instruments-info?category=spot").await;
    assert!(spot.get("nextPageCursor").is_none());
    let rows = spot["list"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row["status"] == "Trading"));
    let linear = result(&sim, "instruments-info?category=linear&limit=1000").await;
    let kinds: BTreeMap<&str, usize> = linear["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["contractType"].as_str().unwrap())
        .fold(BTreeMap::new(), |mut all, kind| {
            *all.entry(kind).or_default() += 1;
            all
        });
    assert_eq!(
        kinds,
        BTreeMap::from([("LinearFutures", 1), ("LinearPerpetual", 7)])
    );
    assert_eq!(linear["nextPageCursor"], "");
    // Three on a page; a cursor comes back encoded once more.
    let mut symbols = Vec::new();
    let mut cursor = String::new();
    for page in 1.. {
        let target = format!("instruments-info?category=linear&limit=3{cursor}");
        let part = result(&sim, &target).await;
        let rows = part["list"].as_array().unwrap();
        symbols.extend(rows.iter().map(|row| row["symbol"].clone()));
        let next = part["nextPageCursor"].as_str().unwrap();
        if next.is_empty() {
            assert_eq!(page, 3);
            break;
        }
        assert!(next.contains("%3D"), "{next}");
        cursor = format!("&cursor={}", next.replace('%', "%25"));
    }
    let all: Vec<Value> = linear["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["symbol"].clone())
        .collect();
    assert_eq!(symbols, all);
    for (target, rows) in [
        ("instruments-info?category=linear&status=PreLaunch", 0),
        ("instruments-info?category=inverse", 0),
        ("instruments-info?category=option&baseCoin=BTC", 0),
        ("instruments-info?category=linear&symbol=SHIB1000USDT", 1),
        ("instruments-info?category=linear&baseCoin=BTC", 3),
    ] {
        let found = result(&sim, target).await;
        assert_eq!(found["list"].as_array().unwrap().len(), rows, "{target}");
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn history_comes_newest_first() {
    let sim = bybit().await;
    let control = sim.control();
    let bars = result(
        &sim,
        "kline?category=linear&symbol=BTCUSDT&interval=60&limit=5",
    )
    .await;
    let opens: Vec<i64> = bars["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row[0].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(opens.len() == 5 && opens.windows(2).all(|pair| pair[0] == pair[1] + 3_600_000));
    // Of a longer span the newest are told.
    let (first, last) = (opens[4], opens[1]);
    let target = format!(
        "kline?category=linear&symbol=BTCUSDT&interval=60&start={first}&end={last}&limit=2"
    );
    let part = result(&sim, &target).await;
    assert_eq!(part["list"][0][0], last.to_string());
    assert_eq!(part["list"].as_array().unwrap().len(), 2);
    let range = TimeRange {
        start_ms: Some(last),
        end_ms: Some(last),
        limit: 1,
    };
    let truth = control
        .klines(Segment::Linear, "BTCUSDT", Interval::H1, range)
        .remove(0);
    let row = &part["list"][0];
    let same = |at: usize, expected: &str| {
        let found: Decimal = row[at].as_str().unwrap().parse().unwrap();
        assert_eq!(found, expected.parse::<Decimal>().unwrap(), "{at}");
    };
    for (at, price) in truth.ohlc.iter().enumerate() {
        same(at + 1, price);
    }
    same(5, &truth.volume);
    same(6, &truth.quote_volume);

    for (target, rows) in [
        ("recent-trade?category=spot&symbol=BTCUSDT&limit=1000", 60),
        ("recent-trade?category=linear&symbol=BTCUSDT", 500),
        (
            "recent-trade?category=linear&symbol=BTCUSDT&limit=1000",
            1_000,
        ),
        ("funding/history?category=linear&symbol=BTCUSDT", 200),
        ("funding/history?category=linear&symbol=BTCUSDT&limit=3", 3),
    ] {
        let found = result(&sim, target).await;
        let list = found["list"].as_array().unwrap();
        assert_eq!(list.len(), rows, "{target}");
        let time = |row: &Value| -> i64 {
            let name = if target.starts_with("recent") {
                "time"
            } else {
                "fundingRateTimestamp"
            };
            row[name].as_str().unwrap().parse().unwrap()
        };
        assert!(
            list.windows(2).all(|pair| time(&pair[0]) >= time(&pair[1])),
            "{target}"
        );
    }
    let spot = result(&sim, "recent-trade?category=spot&symbol=BTCUSDT&limit=1").await;
    let id: u64 = spot["list"][0]["execId"].as_str().unwrap().parse().unwrap();
    assert!(id > 1 << 53);
    let linear = result(&sim, "recent-trade?category=linear&symbol=BTCUSDT&limit=1").await;
    assert_eq!(linear["list"][0]["execId"].as_str().unwrap().len(), 36);
    let time = result(&sim, "time").await;
    let nanos = time["timeNano"].as_str().unwrap();
    assert!(nanos.starts_with(time["timeSecond"].as_str().unwrap()) && nanos.len() == 19);
    sim.shutdown().await;
}

#[tokio::test]
async fn refusals_come_with_status_200() {
    let sim = bybit().await;
    for target in [
        "/v5/market/kline?category=spot&symbol=NOPE&interval=1",
        "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=2",
        "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1&start=x",
        "/v5/market/orderbook?category=linear",
        "/v5/market/tickers?category=moon",
        "/v5/market/instruments-info",
        "/v5/market/instruments-info?category=linear&symbol=NOPE",
        "/v5/market/instruments-info?category=linear&cursor=BTCUSDT",
        // A start without an end.
        "/v5/market/funding/history?category=linear&symbol=BTCUSDT&startTime=1",
        "/v5/market/funding/history?category=spot&symbol=BTCUSDT",
    ] {
        assert_eq!(code(&sim, target).await, 10_001, "{target}");
    }
    let missing = get(&sim, REST, "/v5/market/nothing").await;
    assert_eq!(
        (missing.status, missing.json()["retCode"].as_i64()),
        (404, Some(10_017))
    );
    sim.shutdown().await;
}

/// Without `category` linear is meant.
#[tokio::test]
async fn tickers_and_books_by_rest() {
    let sim = bybit().await;
    let linear = result(&sim, "tickers?symbol=BTCUSDT").await;
    let row = &linear["list"][0];
    assert_eq!(linear["category"], "linear");
    for name in [
        "markPrice",
        "indexPrice",
        "fundingRate",
        "nextFundingTime",
        "bid1Price",
    ] {
        assert!(row[name].is_string(), "{name}: {row}");
    }
    // Two decimals at a step of 0.10.
    assert_eq!(
        row["lastPrice"]
            .as_str()
            .unwrap()
            .split('.')
            .nth(1)
            .unwrap()
            .len(),
        2
    );
    let all = result(&sim, "tickers?category=spot").await;
    assert_eq!(all["list"].as_array().unwrap().len(), 6);
    assert!(all["list"][0]["bid1Price"].is_string());
    for (target, levels) in [
        ("orderbook?category=spot&symbol=BTCUSDT", 1),
        ("orderbook?category=linear&symbol=BTCUSDT", 25),
        ("orderbook?category=linear&symbol=BTCUSDT&limit=200", 200),
    ] {
        let book = result(&sim, target).await;
        for side in ["a", "b"] {
            assert_eq!(book[side].as_array().unwrap().len(), levels, "{target}");
        }
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn an_address_that_asks_too_much_is_shut_out() {
    let sim = bybit().await;
    let ask = || get(&sim, REST, "/v5/market/time");
    let start = Instant::now();
    let mut statuses = BTreeMap::new();
    for _ in 0..620 {
        *statuses.entry(ask().await.status).or_insert(0) += 1;
    }
    // Six hundred in five seconds; a slow machine opens a second window.
    if start.elapsed() < Duration::from_secs(5) {
        assert_eq!(statuses, BTreeMap::from([(200, 600), (403, 20)]));
        tokio::time::sleep(Duration::from_secs(6)).await;
        let answer = ask().await;
        assert_eq!(answer.status, 403);
        assert!(
            answer.body.contains("access too frequent"),
            "{}",
            answer.body
        );
    }
    sim.shutdown().await;
}
