//! What survives a stop, and how the gateway stops.

use std::collections::HashMap;
use std::time::Duration;

use bookwire_sim::SimConfig;
use serde_json::{Value, json};

use crate::rig::Rig;

const KLINES: &str = "/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt&numbers=string";
const BOOKS: &str = "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&numbers=string";
const TRADES: &str =
    "/api/data/CryptoTrade?provider=binance&entity_ids=cryptopair_binance_btcusdt&numbers=string";

fn ids(body: &Value) -> Vec<String> {
    let rows = body["data"].as_array().unwrap();
    rows.iter()
        .map(|row| row["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_rows_survive_and_never_double() {
    survive("").await;
}

/// The same where market data has no threads of its own: it has to end before the threads that it is
/// on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_rows_survive_on_shared_threads() {
    survive("[engine]\nshards = 3\nshare_threads = true\n").await;
}

async fn survive(more: &str) {
    let more = format!("{more}[store]\nbook_snapshot_secs = 1\n");
    let mut rig = Rig::start_with(SimConfig::default(), &more).await;
    let mut feed = rig.feed().await;
    for stream in ["crypto.trades", "crypto.ticker", "crypto.orderbook"] {
        feed.subscribe(json!({"stream": stream, "provider": "binance", "symbols": ["btcusdt"]}))
            .await;
    }
    let messages = feed.collect(Duration::from_secs(4)).await;
    let seen: Vec<String> = messages
        .iter()
        .filter(|message| message["stream"] == "crypto.trades")
        .map(|message| {
            format!(
                "cryptopair_binance_btcusdt_{}",
                message["data"]["trade_id"].to_string().trim_matches('"')
            )
        })
        .collect();
    assert!(seen.len() >= 3, "only {} trades", seen.len());
    let served: HashMap<u64, &Value> = messages
        .iter()
        .filter(|message| message["stream"] == "crypto.orderbook")
        .filter_map(|message| Some((message["data"]["sequence"].as_u64()?, &message["data"])))
        .collect();
    let (status, bars) = rig.get(&format!("{KLINES}&limit=30")).await;
    assert_eq!((status, bars["total"].as_u64()), (200, Some(30)), "{bars}");

    drop(feed);
    let status = rig.stop_gateway().await;
    assert_eq!(status.code(), Some(0), "{}", rig.log());
    rig.start_gateway().await;

    let (_, stored) = rig
        .get(&format!("{TRADES}&limit=100000&page_size=100000"))
        .await;
    let mut stored = ids(&stored);
    for id in &seen {
        assert!(
            stored.contains(id),
            "{id} was served before the stop and is not stored"
        );
    }
    let all = stored.len();
    stored.sort_unstable();
    stored.dedup();
    assert_eq!(stored.len(), all, "a trade is stored twice");

    // Books are recorded each second, and are what clients saw at that moment.
    let (status, books) = rig
        .get(&format!("{BOOKS}&start_timestamp=2020-01-01&depth=5"))
        .await;
    assert_eq!(status, 200, "{books}");
    let books = books["data"].as_array().unwrap();
    assert!(books.len() >= 3, "{} books", books.len());
    let mut compared = 0;
    for book in books {
        if let Some(seen) = served.get(&book["sequence"].as_u64().unwrap()) {
            for side in ["bids", "asks"] {
                let seen = seen[side].as_array().unwrap();
                assert_eq!(book[side].as_array().unwrap(), &seen[..5], "{side}");
            }
            assert_eq!(book["timestamp"], seen["timestamp"]);
            compared += 1;
        }
    }
    assert!(compared > 0, "no stored book was served: {books:?}");
    let (status, error) = rig
        .get(&format!(
            "{BOOKS}&end_timestamp=2030-01-01&depth=5000&limit=10000"
        ))
        .await;
    assert_eq!(
        (status, error["error"]["details"]["parameter"].as_str()),
        (400, Some("depth")),
        "{error}"
    );

    // The same bars again, now with the exchange's answers stored already.
    let first = bars["data"][0]["timestamp"].as_str().unwrap();
    let last = bars["data"][29]["timestamp"].as_str().unwrap();
    let (_, again) = rig
        .get(&format!(
            "{KLINES}&start_timestamp={first}&end_timestamp={last}"
        ))
        .await;
    assert_eq!(again["data"], bars["data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_starts_again_with_its_store() {
    let mut rig = Rig::start(SimConfig::default()).await;
    let (status, bars) = rig.get(&format!("{KLINES}&limit=10")).await;
    assert_eq!(status, 200, "{bars}");
    rig.kill_gateway();
    rig.start_gateway().await;
    let first = bars["data"][0]["timestamp"].as_str().unwrap();
    let last = bars["data"][9]["timestamp"].as_str().unwrap();
    let (_, again) = rig
        .get(&format!(
            "{KLINES}&start_timestamp={first}&end_timestamp={last}"
        ))
        .await;
    assert_eq!(again["data"], bars["data"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_told_when_the_gateway_stops() {
    let mut rig = Rig::start(SimConfig::default()).await;
    let mut feed = rig.feed().await;
    feed.subscribe(json!({"stream": "crypto.ticker", "provider": "binance",
        "symbols": ["btcusdt"]}))
        .await;
    let (status, closed) = tokio::join!(rig.stop_gateway(), feed.closed(Duration::from_secs(15)));
    assert_eq!(status.code(), Some(0));
    let (code, reason) = closed.expect("a close frame");
    assert_eq!(code, 1012, "{reason}");
}
