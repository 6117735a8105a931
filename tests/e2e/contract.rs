//! What users may send that is wrong, and what they are told.

use std::time::Duration;

use bookwire_sim::SimConfig;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::rig::Rig;

/// Demands the contract's error form and returns the code.
fn code(answer: &Value) -> &str {
    let error = &answer["error"];
    assert!(error["message"].is_string(), "{answer}");
    assert!(error["details"].is_object(), "{answer}");
    assert!(
        !error["recovery_suggestions"].as_array().unwrap().is_empty(),
        "{answer}"
    );
    assert!(
        error["timestamp"].as_str().unwrap().ends_with('Z'),
        "{answer}"
    );
    assert!(
        error["trace_id"].as_str().is_some_and(|id| !id.is_empty()),
        "{answer}"
    );
    error["code"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_gets_the_documented_error_and_loses_nothing() {
    let rig = Rig::start(SimConfig::default()).await;
    rest(&rig).await;
    websocket(&rig).await;
    frames(&rig).await;
}

async fn rest(rig: &Rig) {
    let data = "/api/data";
    let rows: &[(String, u16, &str)] = &[
        (
            format!("{data}/CryptoPair1mKdata?codes=btcusdt"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoPair1mKdata?provider=binance&codes=nosuchusdt"),
            404,
            "CRYPTO_PAIR_NOT_FOUND",
        ),
        (
            format!("{data}/CryptoPair1mKdata?provider=nobody&codes=btcusdt"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoPair1mKdata?provider=binance&codes=btcusdt&limit=0"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoPair1mKdata?provider=binance&codes=btcusdt&limt=5"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoPair1mKdata?provider=binance&codes=btcusdt&start_timestamp=soon"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoOrderbook?provider=binance&codes=btcusdt&depth=0"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoOrderbook?provider=binance&codes=btcusdt&depth=1000000000"),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            format!("{data}/CryptoFunding?provider=binance&entity_ids=cryptopair_binance_btcusdt"),
            404,
            "CRYPTO_FUNDING_RATE_MISSING",
        ),
        (
            format!("{data}/CryptoPair2mKdata?provider=binance"),
            404,
            "CRYPTO_NOT_FOUND",
        ),
        ("/no/such/path".to_owned(), 404, "CRYPTO_NOT_FOUND"),
    ];
    for (path, status, expected) in rows {
        let (got, body) = rig.get(path).await;
        assert_eq!((got, code(&body)), (*status, *expected), "{path}: {body}");
    }
}

async fn websocket(rig: &Rig) {
    let mut feed = rig.feed().await;
    let one = |more: Value| {
        let mut params =
            json!({"stream": "crypto.orderbook", "provider": "binance", "symbols": ["btcusdt"]});
        for (key, value) in more.as_object().unwrap() {
            params[key] = value.clone();
        }
        json!({"method": "subscribe", "params": params})
    };
    let rows: &[(Value, &str)] = &[
        (
            one(json!({"symbols": ["nosuchusdt"]})),
            "CRYPTO_PAIR_NOT_FOUND",
        ),
        (
            one(json!({"symbols": ["btc usdt"]})),
            "CRYPTO_SYMBOL_MAPPING_ERROR",
        ),
        (one(json!({"depth": 0})), "CRYPTO_INVALID_PARAMETER"),
        (
            one(json!({"depth": 1_000_000_000})),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (one(json!({"depth": -1})), "CRYPTO_INVALID_PARAMETER"),
        (one(json!({"mode": "both"})), "CRYPTO_INVALID_PARAMETER"),
        (
            one(json!({"provider": "nobody"})),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            one(json!({"stream": "crypto.nothing"})),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            one(json!({"stream": "crypto.klines", "interval": "2m"})),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (one(json!({"depht": 5})), "CRYPTO_INVALID_PARAMETER"),
        (
            one(json!({"stream": "crypto.funding", "symbols": ["ethbtc"]})),
            "CRYPTO_",
        ),
        (json!({"method": "teleport"}), "CRYPTO_INVALID_PARAMETER"),
        (json!({"method": 5}), "CRYPTO_INVALID_PARAMETER"),
        (json!({"nothing": true}), "CRYPTO_INVALID_PARAMETER"),
    ];
    for (request, expected) in rows {
        let answer = feed.request(request.clone()).await;
        assert_eq!(answer["status"], "error", "{request}: {answer}");
        assert!(code(&answer).starts_with(expected), "{request}: {answer}");
    }
    // Not JSON and binary frames are answered too, without an id, and the connection lives on.
    for message in [
        Message::text("{not json"),
        Message::text("[]"),
        Message::binary(vec![1, 2, 3]),
    ] {
        feed.send_raw(message).await;
        let answer = feed.next(Duration::from_secs(5)).await.expect("an answer");
        assert_eq!(code(&answer), "CRYPTO_INVALID_PARAMETER", "{answer}");
    }
    // One good symbol among bad ones is subscribed; a repeat is no second subscription.
    for _ in 0..2 {
        let answer = feed
            .request(one(
                json!({"symbols": ["btcusdt", "nosuchusdt"], "depth": 5}),
            ))
            .await;
        assert_eq!(answer["status"], "subscribed", "{answer}");
        assert_eq!(answer["rejected"].as_array().unwrap().len(), 1, "{answer}");
    }
    let listed = feed.request(json!({"method": "list_subscriptions"})).await;
    assert_eq!(
        listed["subscriptions"].as_array().unwrap().len(),
        1,
        "{listed}"
    );
    feed.next_of("crypto.orderbook", "btcusdt", Duration::from_secs(10))
        .await;
    let pong = feed.request(json!({"method": "ping"})).await;
    assert_eq!(pong["status"], "pong");
}

async fn frames(rig: &Rig) {
    let mut feed = rig.feed().await;
    feed.send_raw(Message::text("x".repeat(10 << 20))).await;
    let (close, reason) = feed
        .closed(Duration::from_secs(10))
        .await
        .expect("a close frame");
    assert_eq!(close, 1009, "{reason}");
    assert!(!reason.is_empty());
    // Others are not affected.
    let mut other = rig.feed().await;
    assert_eq!(
        other.request(json!({"method": "ping"})).await["status"],
        "pong"
    );
}
