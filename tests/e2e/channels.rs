//! One channel with streams of several exchanges.

use std::collections::BTreeSet;
use std::time::Duration;

use bookwire_sim::SimConfig;
use serde_json::{Value, json};

use crate::rig::{Feed, Rig};

/// Subscriptions of the channel: stream, provider, symbol, entity.
const STREAMS: [(&str, &str, &str, &str); 6] = [
    (
        "crypto.orderbook",
        "binance",
        "btcusdt",
        "cryptopair_binance_btcusdt",
    ),
    (
        "crypto.orderbook",
        "binance",
        "btcusdt-perp",
        "cryptoperp_binance_btcusdt",
    ),
    (
        "crypto.trades",
        "okx",
        "btcusdt-perp",
        "cryptoperp_okx_btcusdt",
    ),
    (
        "crypto.ticker",
        "bybit",
        "btcusdt",
        "cryptopair_bybit_btcusdt",
    ),
    (
        "crypto.funding",
        "bybit",
        "btcusdt-perp",
        "cryptoperp_bybit_btcusdt",
    ),
    (
        "crypto.ticker",
        "coinbase",
        "btcusd",
        "cryptopair_coinbase_btcusd",
    ),
];

type Key = (String, String, String);

/// Stream, provider and symbol of a message or of a subscription in an answer.
fn key(value: &Value) -> Key {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    (text("stream"), text("provider"), text("symbol"))
}

fn expected() -> BTreeSet<Key> {
    let keys = STREAMS.iter().map(|(stream, provider, symbol, _)| {
        let [stream, provider, symbol] = [stream, provider, symbol].map(|text| (*text).to_owned());
        (stream, provider, symbol)
    });
    keys.collect()
}

fn keys(answer: &Value, list: &str) -> BTreeSet<Key> {
    answer[list].as_array().unwrap().iter().map(key).collect()
}

/// Reads until every subscription of the channel has told something.
async fn hear_all(feed: &mut Feed) {
    let mut silent = expected();
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while !silent.is_empty() {
        assert!(tokio::time::Instant::now() < end, "silent: {silent:?}");
        let Some(message) = feed.next(Duration::from_secs(1)).await else {
            continue;
        };
        if message["channel"] != "desk" {
            continue;
        }
        let key = key(&message);
        let found = STREAMS.iter().find(|(stream, provider, symbol, _)| {
            (*stream, *provider, *symbol) == (&key.0, &key.1, &key.2)
        });
        let (_, _, _, entity) = found.unwrap_or_else(|| panic!("not asked for: {message}"));
        assert_eq!(message["entity_id"], *entity);
        silent.remove(&key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_channel_carries_streams_of_several_exchanges() {
    let rig = Rig::start(SimConfig::default()).await;
    let mut feed = rig.feed().await;
    // The same stream outside of the channel is a subscription of its own.
    feed.subscribe(
        json!({"stream": "crypto.trades", "provider": "okx", "symbols": ["btcusdt-perp"]}),
    )
    .await;
    let request = json!({"method": "subscribe", "params": {"channel": "desk", "streams": [
        {"stream": "crypto.orderbook", "provider": "binance",
            "symbols": ["btcusdt", "BTC/USDT:USDT"], "depth": 5, "mode": "delta"},
        {"stream": "crypto.trades", "provider": "okx", "symbols": ["BTC-USDT-SWAP", "nosuchusdt"]},
        {"stream": "crypto.ticker", "provider": "bybit", "symbols": ["btcusdt"]},
        {"stream": "crypto.funding", "provider": "bybit", "symbols": ["btcusdt"]},
        {"stream": "crypto.ticker", "provider": "coinbase", "symbols": ["BTC-USD"]},
        {"stream": "crypto.funding", "provider": "coinbase", "symbols": ["btcusd"]},
        {"stream": "crypto.klines", "provider": "coinbase", "symbols": ["btcusd"], "interval": "2m"},
        {"stream": "crypto.trades", "provider": "nobody", "symbols": ["btcusdt"]},
    ]}});
    let answer = feed.request(request.clone()).await;
    assert_eq!(answer["status"], "subscribed", "{answer}");
    assert_eq!(keys(&answer, "subscriptions"), expected(), "{answer}");
    for subscription in answer["subscriptions"].as_array().unwrap() {
        assert_eq!(subscription["channel"], "desk", "{answer}");
    }
    // What is wrong is told by itself, beside what the client sent.
    let rejected: Vec<(&str, &str, &str)> = answer["rejected"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["stream"].as_str().unwrap(),
                row["provider"].as_str().unwrap(),
                row["error"]["code"].as_str().unwrap(),
            )
        })
        .collect();
    for reason in [
        ("crypto.trades", "okx", "CRYPTO_PAIR_NOT_FOUND"),
        ("crypto.klines", "coinbase", "CRYPTO_INVALID_PARAMETER"),
        ("crypto.trades", "nobody", "CRYPTO_INVALID_PARAMETER"),
    ] {
        assert!(rejected.contains(&reason), "{reason:?}: {answer}");
    }
    let is_funding = |row: &&(&str, &str, &str)| row.0 == "crypto.funding";
    assert_eq!(rejected.iter().filter(is_funding).count(), 1, "{answer}");
    assert_eq!(rejected.len(), 4, "{answer}");
    hear_all(&mut feed).await;

    // A repeat subscribes nothing a second time.
    let again = feed.request(request).await;
    assert_eq!(keys(&again, "subscriptions"), expected(), "{again}");
    let listed = feed.request(json!({"method": "list_subscriptions"})).await;
    let count = listed["subscriptions"].as_array().unwrap().len();
    assert_eq!(count, STREAMS.len() + 1, "{listed}");

    // One exchange of the channel alone, then the rest of it.
    let part = json!({"channel": "desk", "streams": [
        {"stream": "crypto.orderbook", "provider": "binance", "symbols": ["btcusdt"]}]});
    let gone = feed
        .request(json!({"method": "unsubscribe", "params": part}))
        .await;
    assert_eq!(gone["status"], "unsubscribed", "{gone}");
    assert_eq!(gone["subscriptions"].as_array().unwrap().len(), 1, "{gone}");
    let rest = json!({"method": "unsubscribe", "params": {"channel": "desk"}});
    let gone = feed.request(rest.clone()).await;
    assert_eq!(gone["status"], "unsubscribed", "{gone}");
    let left: BTreeSet<Key> = expected()
        .difference(&keys(&gone, "subscriptions"))
        .cloned()
        .collect();
    assert_eq!(left.len(), 1, "{gone}");
    let listed = feed.request(json!({"method": "list_subscriptions"})).await;
    let listed = listed["subscriptions"].as_array().unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!(listed[0].get("channel"), None);
    // Read before the answers, those of the channel are the last of it.
    let _ = feed.collect(Duration::ZERO).await;
    let after = feed.collect(Duration::from_secs(3)).await;
    let late = after.iter().find(|message| message["channel"] == "desk");
    assert_eq!(late, None);
    let is_outside = |message: &&Value| message["stream"] == "crypto.trades";
    assert!(
        after.iter().filter(is_outside).count() > 0,
        "nothing after the channel"
    );
    let error = feed.request(rest).await;
    assert_eq!(error["status"], "error", "{error}");
    assert_eq!(error["error"]["code"], "CRYPTO_NOT_FOUND", "{error}");
}
