//! The REST API: answers, complaints, weights.

use std::time::Duration;

use crate::support::*;
use bookwire_sim::{MarketLimits, SimConfig};
use serde_json::{Value, json};

fn rows(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[tokio::test]
async fn both_markets_answer() {
    let sim = plain_sim().await;
    for target in [
        "/api/v3/ping",
        "/api/v3/time",
        "/api/v3/exchangeInfo",
        "/api/v3/exchangeInfo?symbol=BTCUSDT",
        "/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22ETHBTC%22%5D&showPermissionSets=false",
        "/api/v3/exchangeInfo?permissions=SPOT",
        "/api/v3/depth?symbol=BTCUSDT",
        "/api/v3/trades?symbol=BTCUSDT&limit=5",
        "/api/v3/historicalTrades?symbol=BTCUSDT&limit=5",
        "/api/v3/aggTrades?symbol=BTCUSDT&limit=5",
        "/api/v3/klines?symbol=BTCUSDT&interval=1m",
        "/api/v3/klines?symbol=BTCUSDT&interval=1s&limit=5",
        "/api/v3/uiKlines?symbol=BTCUSDT&interval=1M",
        "/api/v3/avgPrice?symbol=BTCUSDT",
        "/api/v3/ticker/24hr",
        "/api/v3/ticker/24hr?symbol=BTCUSDT&type=MINI",
        "/api/v3/ticker/price?symbols=%5B%22BTCUSDT%22%5D",
        "/api/v3/ticker/bookTicker",
        "/sapi/v1/system/status",
    ] {
        get_json(&sim, SPOT_REST, target).await;
    }
    for target in [
        "/fapi/v1/ping",
        "/fapi/v1/time",
        "/fapi/v1/exchangeInfo",
        "/fapi/v1/depth?symbol=BTCUSDT&limit=5",
        "/fapi/v1/trades?symbol=BTCUSDT",
        "/fapi/v1/historicalTrades?symbol=BTCUSDT",
        "/fapi/v1/aggTrades?symbol=BTCUSDT",
        "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1500",
        "/fapi/v1/markPriceKlines?symbol=BTCUSDT&interval=1h&limit=5",
        "/fapi/v1/indexPriceKlines?pair=BTCUSDT&interval=1h&limit=5",
        "/fapi/v1/fundingRate?symbol=BTCUSDT",
        "/fapi/v1/fundingInfo",
        "/fapi/v1/premiumIndex",
        "/fapi/v1/ticker/24hr",
        "/fapi/v1/ticker/price",
        "/fapi/v1/ticker/bookTicker",
    ] {
        get_json(&sim, USDM_REST, target).await;
    }
    let coin = get_json(&sim, "dapi.binance.com", "/dapi/v1/exchangeInfo").await;
    assert_eq!(coin["symbols"], json!([]));
    // The host for public data has no `/sapi`.
    let data_host = "data-api.binance.vision";
    assert_eq!(
        get(&sim, data_host, "/sapi/v1/system/status").await.status,
        404
    );
    get_json(&sim, data_host, "/api/v3/time").await;
    sim.shutdown().await;
}

#[tokio::test]
async fn complaints_are_the_exchanges_own() {
    let sim = plain_sim().await;
    let long_window = "/fapi/v1/aggTrades?symbol=BTCUSDT&startTime=0&endTime=3600000";
    for (host, target, code) in [
        (SPOT_REST, "/api/v3/depth", -1102),
        (SPOT_REST, "/api/v3/depth?symbol=NOPEUSDT", -1121),
        (SPOT_REST, "/api/v3/depth?symbol=btcusdt", -1100),
        (SPOT_REST, "/api/v3/depth?symbol=", -1102),
        (
            SPOT_REST,
            "/api/v3/depth?symbol=BTCUSDT&symbol=ETHUSDT",
            -1101,
        ),
        (SPOT_REST, "/api/v3/depth?symbol=BTCUSDT&limit=0", -1130),
        (SPOT_REST, "/api/v3/klines?symbol=BTCUSDT", -1102),
        (
            SPOT_REST,
            "/api/v3/klines?symbol=BTCUSDT&interval=7m",
            -1120,
        ),
        (SPOT_REST, "/api/v3/exchangeInfo?symbol=NOPE", -1121),
        (SPOT_REST, "/api/v3/exchangeInfo?symbols=BTCUSDT", -1100),
        (
            SPOT_REST,
            "/api/v3/exchangeInfo?symbol=BTCUSDT&permissions=SPOT",
            -1128,
        ),
        (
            SPOT_REST,
            "/api/v3/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1",
            -1128,
        ),
        (USDM_REST, "/fapi/v1/depth?symbol=BTCUSDT&limit=7", -1130),
        (USDM_REST, "/fapi/v1/depth?symbol=BTCUSDT&limit=5000", -1130),
        (
            USDM_REST,
            "/fapi/v1/klines?symbol=BTCUSDT&interval=1s",
            -1120,
        ),
        (
            USDM_REST,
            "/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=1501",
            -1130,
        ),
        (USDM_REST, "/fapi/v1/premiumIndex?symbol=ETHBTC", -1121),
        (USDM_REST, long_window, -4166),
    ] {
        let answer = get(&sim, host, target).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, code),
            "{target}: {}",
            answer.body
        );
    }
    assert_eq!(get(&sim, SPOT_REST, "/api/v1/depth").await.status, 404);
    sim.shutdown().await;
}

#[tokio::test]
async fn rows_read_as_documented_and_page() {
    let sim = plain_sim().await;
    let target = "/api/v3/klines?symbol=BTCUSDT&interval=1d&limit=3";
    let newest = get_json(&sim, SPOT_REST, target).await;
    assert_eq!(rows(&newest).len(), 3);
    assert_eq!(rows(&newest[0]).len(), 12);
    assert_eq!(u64_at(&newest[0], 6) + 1, u64_at(&newest[1], 0));
    let first_open = u64_at(&newest[0], 0);
    let paged = get_json(&sim, SPOT_REST, &format!("{target}&startTime={first_open}")).await;
    assert_eq!(paged[0], newest[0]);
    assert_eq!(paged[1], newest[1]);

    let trades = get_json(
        &sim,
        SPOT_REST,
        "/api/v3/historicalTrades?symbol=ETHUSDT&limit=4",
    )
    .await;
    let from = u64_of(&trades[1], "id");
    let target = format!("/api/v3/historicalTrades?symbol=ETHUSDT&limit=2&fromId={from}");
    let again = get_json(&sim, SPOT_REST, &target).await;
    assert_eq!((&again[0], &again[1]), (&trades[1], &trades[2]));

    let rates = get_json(
        &sim,
        USDM_REST,
        "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5",
    )
    .await;
    assert_eq!(rows(&rates).len(), 5);
    for pair in rows(&rates).windows(2) {
        let apart = u64_of(&pair[1], "fundingTime") - u64_of(&pair[0], "fundingTime");
        assert_eq!(apart, 8 * 3_600_000);
    }
    let info = get_json(&sim, USDM_REST, "/fapi/v1/fundingInfo").await;
    let pepe = rows(&info)
        .iter()
        .find(|row| row["symbol"] == "1000PEPEUSDT")
        .unwrap();
    assert_eq!(pepe["fundingIntervalHours"], 4);

    let spot = get_json(&sim, SPOT_REST, "/api/v3/exchangeInfo?symbol=BTCUSDT").await;
    let symbol = &spot["symbols"][0];
    assert_eq!(
        (&symbol["baseAsset"], &symbol["quoteAsset"]),
        (&json!("BTC"), &json!("USDT"))
    );
    assert_eq!(symbol["filters"][0]["tickSize"], "0.01000000");
    let usdm = get_json(&sim, USDM_REST, "/fapi/v1/exchangeInfo").await;
    let perpetual = |row: &&Value| row["symbol"] == "BTCUSDT";
    let symbol = rows(&usdm["symbols"]).iter().find(perpetual).unwrap();
    assert_eq!(symbol["contractType"], "PERPETUAL");
    assert_eq!(symbol["filters"][0]["tickSize"], "0.1");
    sim.shutdown().await;
}

fn u64_at(row: &Value, at: usize) -> u64 {
    row[at].as_u64().unwrap()
}

#[tokio::test]
async fn weights_add_up_to_429_and_then_to_418() {
    let mut spot = MarketLimits::binance_spot();
    spot.rest.weight_per_minute = 100;
    spot.rest.ignored_before_ban = 2;
    spot.rest.ban = Duration::from_secs(2);
    let sim = sim(SimConfig {
        spot,
        ..SimConfig::default()
    })
    .await;
    let target = "/api/v3/depth?symbol=BTCUSDT&limit=1000";
    let mut statuses = Vec::new();
    let mut used = 0;
    // The window may turn once in between; then a few more are let through.
    for _ in 0..8 {
        let answer = get(&sim, SPOT_REST, target).await;
        statuses.push(answer.status);
        if let Some(text) = answer.headers.get("x-mbx-used-weight-1m") {
            used = used.max(text.parse::<u32>().unwrap());
        }
        if answer.status != 200 {
            assert_eq!(answer.code(), -1003);
            assert!(answer.headers["retry-after"].parse::<u64>().unwrap() <= 60);
        }
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(*statuses.last().unwrap(), 418, "{statuses:?}");
    assert!(used > 100);
    // The other market counts for itself.
    assert_eq!(get(&sim, USDM_REST, "/fapi/v1/ping").await.status, 200);
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_ne!(get(&sim, SPOT_REST, "/api/v3/ping").await.status, 418);
    sim.shutdown().await;
}
