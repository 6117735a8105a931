//! Every message of the WebSocket is as documented.

#![allow(clippy::unwrap_used)]

use super::*;

/// What is sent and taken, and what of it was seen.
struct Messages {
    document: Value,
    /// Schemas by the name of the message.
    schemas: BTreeMap<String, Value>,
    seen: BTreeMap<String, usize>,
}

impl Messages {
    fn new(mut document: Value) -> Self {
        close(&mut document["components"]);
        let messages = document["components"]["messages"].as_object().unwrap();
        let schemas = messages.values().map(|message| {
            let name = message["name"].as_str().unwrap().to_owned();
            (name, message["payload"].clone())
        });
        Self {
            schemas: schemas.collect(),
            document,
            seen: BTreeMap::new(),
        }
    }

    /// Holds a message to the schema of its kind.
    fn check(&mut self, message: &Value) {
        let kind = message["stream"]
            .as_str()
            .or_else(|| message["status"].as_str());
        let kind = kind
            .unwrap_or_else(|| panic!("of no kind: {message}"))
            .to_owned();
        check(&self.document, &self.schemas[&kind], message, &kind);
        *self.seen.entry(kind).or_default() += 1;
    }

    /// Sends a request that the document accepts, and holds the answer to it.
    async fn ask(&mut self, feed: &mut Feed, method: &str, params: Value) -> Value {
        let request = json!({"id": 1, "method": method, "params": params});
        check(&self.document, &self.schemas[method], &request, method);
        let answer = feed.request(request).await;
        self.check(&answer);
        answer
    }

    /// Reads until each of these kinds has come.
    async fn until(&mut self, feed: &mut Feed, kinds: &[&str]) {
        let end = tokio::time::Instant::now() + WITHIN;
        while let Some(missing) = kinds.iter().find(|kind| !self.seen.contains_key(**kind)) {
            assert!(tokio::time::Instant::now() < end, "no {missing}");
            if let Some(message) = feed.next(Duration::from_secs(1)).await {
                self.check(&message);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_is_as_documented() {
    let trader = server(&[Exchange::Binance]).await;
    let (_, document) = trader.rig.get("/api/asyncapi.json").await;
    let mut messages = Messages::new(document.clone());
    let mut feed = trader.rig.feed().await;
    let one = |stream: &str, more: Value| {
        let mut params = json!({"stream": stream, "provider": "binance", "symbols": ["btcusdt"], "channel": "mine"});
        params
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        params
    };
    for params in [
        one("crypto.trades", json!({"timing": true})),
        one("crypto.klines", json!({"interval": "1m"})),
        one(
            "crypto.orderbook",
            json!({"depth": 5, "symbols": ["btcusdt", "btcusdt-perp"]}),
        ),
        one(
            "crypto.orderbook",
            json!({"depth": 10, "mode": "delta", "symbols": ["ethusdt"]}),
        ),
        one("crypto.ticker", json!({})),
        one("crypto.funding", json!({})),
        json!({"channel": "more", "streams": [
            {"stream": "crypto.trades", "provider": "binance", "symbols": ["btcusdt-perp", "nosuchusdt"]},
        ]}),
    ] {
        messages.ask(&mut feed, "subscribe", params).await;
    }
    // Orders are held against a live book.
    for symbol in ["btcusdt", "btcusdt-perp"] {
        feed.next_of("crypto.orderbook", symbol, WITHIN).await;
    }
    prove_and(&mut feed, &trader.key, "binance", json!({})).await;
    for stream in ["crypto.account", "crypto.orders"] {
        let params = json!({"stream": stream, "provider": "binance"});
        messages.ask(&mut feed, "subscribe", params).await;
    }
    for entity in [SPOT, PERP] {
        let order = json!({"provider": "binance", "entity_id": entity, "side": "buy", "type": "market",
            "quantity": "0.01"});
        let (status, order) = trader.place(order).await;
        assert_eq!(status, 201, "{order}");
    }
    let kinds = [
        "crypto.trades",
        "crypto.klines",
        "crypto.orderbook",
        "crypto.ticker",
        "crypto.funding",
        "crypto.account",
        "crypto.orders",
    ];
    messages.until(&mut feed, &kinds).await;
    for message in feed.collect(Duration::from_secs(2)).await {
        messages.check(&message);
    }
    messages.ask(&mut feed, "ping", json!({})).await;
    messages
        .ask(&mut feed, "list_subscriptions", json!({}))
        .await;
    let flow = json!({"channel": "mine", "max_messages_per_second": 1, "drop_policy": "oldest", "buffer_size": 16});
    for flow in [flow, json!({})] {
        let answer = messages.ask(&mut feed, "configure_flow", flow).await;
        assert_eq!(answer["status"], "configured", "{answer}");
    }
    // What the channel's rate does not let through is dropped and told.
    messages.until(&mut feed, &["system.flow"]).await;
    messages
        .ask(&mut feed, "unsubscribe", json!({"channel": "more"}))
        .await;
    let params = json!({"stream": "crypto.ticker", "provider": "binance", "symbols": ["btcusdt"]});
    messages.ask(&mut feed, "unsubscribe", params.clone()).await;
    messages.ask(&mut feed, "unsubscribe", params).await;
    let answer = feed.request(json!({"method": "teleport"})).await;
    messages.check(&answer);
    // Another feed, so that what a reconnect tells is read alone.
    let mut other = trader.rig.feed().await;
    let params =
        json!({"stream": "crypto.orderbook", "provider": "binance", "symbols": ["btcusdt"]});
    messages.ask(&mut other, "subscribe", params).await;
    let answer = prove_and(&mut other, &trader.key, "binance", json!({})).await;
    messages.check(&answer);
    let path = "/api/crypto/providers/binance/reconnect";
    let (status, _) = trader.rig.command(path, Some(&trader.key)).await;
    assert_eq!(status, 200);
    messages.until(&mut other, &["system.status"]).await;
    let operations = document["operations"].as_object().unwrap().values();
    for operation in operations.filter(|one| one["action"] == "send") {
        for reference in operation["messages"].as_array().unwrap() {
            let key = reference["$ref"]
                .as_str()
                .unwrap()
                .rsplit('/')
                .next()
                .unwrap();
            let name = document["components"]["messages"][key]["name"]
                .as_str()
                .unwrap();
            assert!(messages.seen.contains_key(name), "{name} was never seen");
        }
    }
}
