//! Requests and their answers.

use bookwire_actors::ring::{PubKind, StatusState};
use bookwire_actors::topic::StreamKind;
use bookwire_api::ws::WsOptions;
use serde_json::{Value, json};

use crate::rig::{Rig, until};

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn bad_input_is_answered_and_the_connection_lives() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    let sub = |rest: &str| format!(r#"{{"id":"q","method":"subscribe","params":{{{rest}}}}}"#);
    let trades = r#""stream":"crypto.trades","provider":"binance""#;
    let book = r#""stream":"crypto.orderbook","provider":"binance","symbols":["btcusdt"]"#;
    let rows = [
        ("not json".to_owned(), "CRYPTO_INVALID_PARAMETER"),
        (r#"{"method":"nope","id":"q"}"#.to_owned(), "CRYPTO_INVALID_PARAMETER"),
        (sub(&format!("{book},\"depth\":0")), "CRYPTO_INVALID_PARAMETER"),
        (sub(&format!("{book},\"depth\":1000000000")), "CRYPTO_INVALID_PARAMETER"),
        (sub(&format!("{book},\"wat\":1")), "CRYPTO_INVALID_PARAMETER"),
        (
            sub(r#""stream":"crypto.klines","provider":"binance","symbols":["btcusdt"],"interval":"2m""#),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            sub(r#""stream":"crypto.trades","provider":"nyse","symbols":["btcusdt"]"#),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (
            sub(&format!("{trades},\"symbols\":[\"btcusdt\"],\"exchange\":\"kraken\"")),
            "CRYPTO_INVALID_PARAMETER",
        ),
        (sub(&format!("{trades},\"symbols\":[\"nosuchcoin\"]")), "CRYPTO_PAIR_NOT_FOUND"),
        (sub(&format!("{trades},\"symbols\":[\"b t c\"]")), "CRYPTO_SYMBOL_MAPPING_ERROR"),
        (
            sub(r#""stream":"crypto.funding","provider":"binance","symbols":["onlyusdt"]"#),
            "CRYPTO_FUNDING_RATE_MISSING",
        ),
        (
            sub(r#""stream":"crypto.orders","provider":"binance","symbols":["btcusdt"]"#),
            "CRYPTO_UNAUTHORIZED",
        ),
        (
            r#"{"id":"q","method":"auth","params":{"provider":"binance","api_key":"k","signature":"s","timestamp":1}}"#
                .to_owned(),
            "CRYPTO_UNSUPPORTED",
        ),
        (
            r#"{"id":"q","method":"configure_flow","buffer_size":1}"#.to_owned(),
            "CRYPTO_INVALID_PARAMETER",
        ),
    ];
    for (frame, expected) in rows {
        let answer = client.ask(&frame).await;
        assert_eq!(code(&answer), expected, "{frame} {answer}");
        assert_eq!(answer["status"], "error");
        assert!(answer["error"]["recovery_suggestions"][0].is_string());
        assert!(answer["error"]["trace_id"].is_string());
        if frame.contains("\"q\"") {
            assert_eq!(answer["id"], "q", "{frame}");
        }
    }
    client.send(vec![1u8, 2, 3]).await;
    let answer = client.json().await;
    assert_eq!(answer["error"]["details"]["parameter"], "frame");
    let answer = client.ask(r#"{"id":7,"method":"ping"}"#).await;
    assert_eq!(
        (&answer["id"], &answer["status"]),
        (&json!(7), &json!("pong"))
    );
    assert_eq!(rig.shard.counts(), (0, 0, 0), "nothing was subscribed");
}

#[tokio::test]
async fn a_list_succeeds_in_part_and_repeats_change_nothing() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    let request = r#"{"id":1,"method":"subscribe","params":{"channel":"desk","streams":[
        {"stream":"crypto.trades","provider":"binance","symbols":["btcusdt","BTC/USDT","nope"]},
        {"stream":"crypto.klines","provider":"binance","symbols":["ethusdt"],"interval":"5m"},
        {"stream":"crypto.funding","provider":"binance","symbols":["btcusdt"]},
        {"stream":"crypto.orderbook","provider":"binance","symbols":["btcusdt"],"depth":0}]}}"#;
    for _ in 0..2 {
        let answer = client.ask(request).await;
        assert_eq!(answer["status"], "subscribed", "{answer}");
        let subscriptions = answer["subscriptions"].as_array().unwrap();
        let shown: Vec<_> = subscriptions
            .iter()
            .map(|s| (s["stream"].as_str().unwrap(), s["symbol"].as_str().unwrap()))
            .collect();
        assert_eq!(
            shown,
            [
                ("crypto.trades", "btcusdt"),
                ("crypto.klines", "ethusdt"),
                ("crypto.funding", "btcusdt-perp")
            ]
        );
        assert_eq!(subscriptions[1]["interval"], "5m");
        let rejected = answer["rejected"].as_array().unwrap();
        assert_eq!(rejected.len(), 2);
        assert_eq!(rejected[0]["symbol"], "nope");
        assert_eq!(rejected[0]["error"]["code"], "CRYPTO_PAIR_NOT_FOUND");
        assert_eq!(rejected[1]["error"]["details"]["parameter"], "depth");
    }
    assert_eq!(rig.shard.counts(), (3, 0, 3));
    let answer = client.ask(r#"{"method":"list_subscriptions"}"#).await;
    assert_eq!(answer["subscriptions"].as_array().unwrap().len(), 3);
    assert_eq!(answer["subscriptions"][0]["channel"], "desk");

    // Another client's wish is counted, not subscribed again.
    let mut other = rig.client().await;
    other.subscribe(r#""stream":"crypto.trades""#).await;
    assert_eq!(rig.shard.counts(), (3, 0, 3));

    let one = r#"{"method":"unsubscribe","stream":"crypto.klines","provider":"binance","symbols":["ethusdt"]}"#;
    let answer = client.ask(one).await;
    assert_eq!(answer["status"], "unsubscribed");
    assert_eq!(answer["subscriptions"][0]["interval"], "5m");
    let answer = client.ask(one).await;
    assert_eq!(code(&answer), "CRYPTO_NOT_FOUND");
    let answer = client
        .ask(r#"{"method":"unsubscribe","params":{"channel":"desk"}}"#)
        .await;
    assert_eq!(answer["subscriptions"].as_array().unwrap().len(), 2);
    let answer = client.ask(r#"{"method":"list_subscriptions"}"#).await;
    assert_eq!(answer["subscriptions"], json!([]));
    until("only the other client's topic", || {
        rig.shard.counts() == (3, 2, 1)
    })
    .await;
    // A client that goes away unsubscribes what is left.
    drop(other);
    until("no topic", || rig.shard.counts() == (3, 3, 0)).await;
}

#[tokio::test]
async fn a_shards_refusal_is_told_and_can_be_tried_again() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    rig.shard.refuse(true);
    let answer = client.subscribe(r#""stream":"crypto.ticker""#).await;
    assert_eq!(code(&answer), "CRYPTO_PROVIDER_UNAVAILABLE", "{answer}");
    rig.shard.refuse(false);
    let answer = client.subscribe(r#""stream":"crypto.ticker""#).await;
    assert_eq!(answer["status"], "subscribed", "{answer}");
}

#[tokio::test]
async fn two_hundred_subscriptions_and_no_more() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    let symbols: Vec<_> = (0..250).map(|n| format!("c{n}xusdt")).collect();
    let request = json!({"method": "subscribe", "params": {"stream": "crypto.trades",
        "provider": "binance", "symbols": symbols}});
    let answer = client.ask(&request.to_string()).await;
    assert_eq!(answer["subscriptions"].as_array().unwrap().len(), 200);
    let rejected = answer["rejected"].as_array().unwrap();
    assert_eq!(rejected.len(), 50);
    assert_eq!(rejected[0]["error"]["code"], "CRYPTO_SUBSCRIPTION_LIMIT");
    // What is held already may be repeated.
    let answer = client.ask(&request.to_string()).await;
    assert_eq!(answer["subscriptions"].as_array().unwrap().len(), 200);
}

#[tokio::test]
async fn the_answer_comes_first_then_the_last_state() {
    let rig = Rig::start(1, WsOptions::default());
    let mut first = rig.client().await;
    first.subscribe(r#""stream":"crypto.ticker""#).await;
    let topic = rig.shard.topic(StreamKind::Ticker);
    rig.shard
        .event(topic, PubKind::Event, &crate::rig::text(b"{\"n\":1}"));
    assert_eq!(first.json().await["data"]["n"], 1);
    let mut second = rig.client().await;
    second
        .send(r#"{"method":"subscribe","provider":"binance","symbols":["btcusdt"],"stream":"crypto.ticker","timing":true}"#)
        .await;
    assert_eq!(second.json().await["status"], "subscribed");
    let message = second.json().await;
    assert_eq!(
        (&message["seq"], &message["data"]["n"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(message["entity_id"], "cryptopair_binance_btcusdt");
    assert!(message["data"]["sent_ns"].as_u64() > message["data"]["received_ns"].as_u64());
    rig.shard
        .event(topic, PubKind::Event, &crate::rig::text(b"{\"n\":2}"));
    // The one in step did not get the state again.
    let message = first.json().await;
    assert_eq!(
        (&message["seq"], &message["data"]["n"]),
        (&json!(2), &json!(2))
    );
}

#[tokio::test]
async fn status_reaches_those_it_concerns() {
    let rig = Rig::start(1, WsOptions::default());
    let mut btc = rig.client().await;
    btc.subscribe(r#""stream":"crypto.trades""#).await;
    btc.subscribe(r#""stream":"crypto.ticker""#).await;
    let mut nobody = rig.client().await;
    let trades = rig.shard.topic(StreamKind::Trades);
    rig.shard
        .status(Some(trades.instrument), StatusState::Stale, "silent");
    rig.shard.status(None, StatusState::Disconnected, "reset");
    let first = btc.json().await;
    assert_eq!(first["stream"], "system.status");
    assert_eq!(first["data"]["symbol"], "btcusdt");
    assert_eq!(first["data"]["state"], "stale");
    let second = btc.json().await;
    assert_eq!(second["data"]["state"], "disconnected");
    assert!(second["data"].get("symbol").is_none());
    // Told once, though two subscriptions are concerned.
    assert_eq!(btc.ask(r#"{"method":"ping"}"#).await["status"], "pong");
    // Who comes meanwhile is told, too.
    assert_eq!(nobody.ask(r#"{"method":"ping"}"#).await["status"], "pong");
    nobody.subscribe(r#""stream":"crypto.trades""#).await;
    assert_eq!(nobody.json().await["data"]["state"], "disconnected");
    assert_eq!(nobody.json().await["data"]["state"], "stale");
}

#[tokio::test]
async fn numbers_and_origin_are_checked_at_the_door() {
    use tokio_tungstenite::tungstenite::Error;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client_at("/ws?numbers=string").await;
    assert_eq!(client.ask(r#"{"method":"ping"}"#).await["status"], "pong");
    for (path, origin, status, code) in [
        ("/ws?numbers=hex", None, 400, "CRYPTO_INVALID_PARAMETER"),
        ("/ws", Some("https://evil.example"), 403, "CRYPTO_FORBIDDEN"),
    ] {
        let url = format!("ws://{}{path}", rig.address);
        let mut request = url.into_client_request().unwrap();
        if let Some(origin) = origin {
            let headers = request.headers_mut();
            headers.insert("origin", origin.parse().unwrap());
            headers.insert("x-trace-id", "mine-1".parse().unwrap());
        }
        let refused = tokio_tungstenite::connect_async(request).await;
        let Err(Error::Http(answer)) = refused else {
            panic!("{refused:?}")
        };
        assert_eq!(answer.status(), status);
        let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
        assert_eq!(body["error"]["code"], code);
        if origin.is_some() {
            assert_eq!(answer.headers()["x-trace-id"], "mine-1");
            assert_eq!(body["error"]["trace_id"], "mine-1");
        }
    }
}
