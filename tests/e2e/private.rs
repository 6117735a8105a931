//! Private streams: orders, executions and balances as they change, for sessions that have proven a
//! key.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bookwire_engine::vault::Secret;
use bookwire_sim::Exchange;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::{Feed, Rig};
use crate::trading::{Trader, exchanges, run};

const WITHIN: Duration = Duration::from_secs(10);

/// Proves a key, signed as the contract says.
async fn prove(feed: &mut Feed, key: &str, provider: &str) -> Value {
    prove_and(feed, key, provider, json!({})).await
}

/// As [`prove`], with more parameters.
pub(crate) async fn prove_and(feed: &mut Feed, key: &str, provider: &str, more: Value) -> Value {
    let (id, secret) = key.split_once('.').unwrap();
    // A proof is good once, and two of them differ by their time alone.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let ms = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let text = format!("{ms}{id}{provider}");
    let signature = Secret::new(secret).sign(&[text.as_bytes()]);
    let signature: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut params = json!({"provider": provider, "api_key": id, "signature": signature,
        "timestamp": u64::try_from(ms).unwrap()});
    let fields = params.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    feed.request(json!({"method": "auth", "params": params}))
        .await
}

async fn subscribe(feed: &mut Feed, stream: &str) -> Value {
    let params = json!({"stream": stream, "provider": "binance"});
    feed.request(json!({"method": "subscribe", "params": params}))
        .await
}

fn code(answer: &Value) -> &str {
    answer["error"]["code"].as_str().unwrap_or_default()
}

/// The next message of a stream that is what is looked for; those before it are no less checked.
async fn until(feed: &mut Feed, stream: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    loop {
        let message = feed.next(WITHIN).await;
        let message = message.unwrap_or_else(|| panic!("no such message of {stream}"));
        if message["stream"] == stream && is_it(&message["data"]) {
            return message;
        }
    }
}

fn amount(value: &Value) -> Decimal {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_and_balances_are_told_to_whom_they_belong() {
    let trader = Trader::new(Rig::start(exchanges(&[Exchange::Binance])).await).await;
    let entity = "cryptopair_binance_btcusdt";
    let (bid, _) = trader.touch("binance", "btcusdt", entity).await;
    let mut feed = trader.rig.feed().await;
    // Nobody in particular, and a key for something else.
    let answer = subscribe(&mut feed, "crypto.orders").await;
    assert_eq!(code(&answer), "CRYPTO_UNAUTHORIZED", "{answer}");
    assert_eq!(
        answer["rejected"][0]["error"]["code"],
        "CRYPTO_UNAUTHORIZED"
    );
    let args = ["keys", "create", "--quiet", "--permissions", "data_access"];
    let reader = run(&trader.rig, &args, "");
    let end = tokio::time::Instant::now() + WITHIN;
    while prove(&mut feed, &reader, "binance").await["status"] != "authenticated" {
        assert!(tokio::time::Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answer = subscribe(&mut feed, "crypto.account").await;
    assert_eq!(code(&answer), "CRYPTO_FORBIDDEN", "{answer}");

    let answer = prove(&mut feed, &trader.key, "binance").await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    for stream in ["crypto.orders", "crypto.account"] {
        let answer = subscribe(&mut feed, stream).await;
        assert_eq!(answer["status"], "subscribed", "{answer}");
        let shown = json!({"stream": stream, "provider": "binance", "account": "default"});
        assert_eq!(answer["subscriptions"], json!([shown]), "{answer}");
    }
    let first = until(&mut feed, "crypto.orders", |_| true).await;
    let orders = json!({"type": "snapshot", "orders": []});
    assert_eq!((&first["data"], &first["seq"]), (&orders, &json!(1)));
    let first = until(&mut feed, "crypto.account", |_| true).await;
    assert_eq!(first["data"]["type"], "snapshot");
    assert_eq!(
        (&first["symbol"], &first["entity_id"]),
        (&Value::Null, &Value::Null)
    );
    let of = |data: &Value, asset: &str| {
        let rows = data["balances"].as_array().unwrap();
        let row = rows.iter().find(|row| row["asset"] == asset)?;
        Some((amount(&row["free"]), amount(&row["locked"])))
    };
    let (free, locked) = of(&first["data"], "USDT").unwrap();
    assert_eq!((free, locked), trader.balance("binance", "USDT").await);
    // Again is the same, without a second snapshot: `seq` goes on below.
    let answer = subscribe(&mut feed, "crypto.orders").await;
    assert_eq!(answer["status"], "subscribed", "{answer}");

    // A limit order: pending, open with money held, canceled with the money back.
    let far = (bid * Decimal::new(95, 2)).round_dp(2);
    let body = json!({"provider": "binance", "entity_id": entity, "side": "buy",
        "type": "limit", "quantity": "0.01", "price": far.to_string()});
    let (status, order) = trader.place(body).await;
    assert_eq!(status, 201, "{order}");
    let id = order["order_id"].clone();
    let is = |status: &'static str| {
        let id = id.clone();
        move |data: &Value| data["order"]["order_id"] == id && data["order"]["status"] == status
    };
    let pending = until(&mut feed, "crypto.orders", |_| true).await;
    assert!(is("pending")(&pending["data"]), "{pending}");
    assert_eq!(pending["seq"], 2);
    assert_eq!(pending["entity_id"], entity);
    assert_eq!(pending["symbol"], "btcusdt");
    assert_eq!(pending["data"]["type"], "update");
    let open = until(&mut feed, "crypto.orders", is("open")).await;
    assert_eq!(open["data"]["fill"], Value::Null);
    assert_eq!(open["data"]["order"]["price"], far.normalize().to_string());
    let path = format!("/api/trading/orders/{}", id.as_str().unwrap());
    let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, 200, "{canceled}");
    until(&mut feed, "crypto.orders", is("canceled")).await;

    // A market order: its executions one by one, and in the end the balances that REST tells.
    let body = json!({"provider": "binance", "entity_id": entity, "side": "buy",
        "type": "market", "quantity": "0.01"});
    let (status, order) = trader.place(body).await;
    assert_eq!(status, 201, "{order}");
    let id = order["order_id"].clone();
    let mut filled = Decimal::ZERO;
    let mut last = json!(null);
    let mut told = BTreeMap::new();
    let mut take = |message: &Value| {
        for row in message["data"]["balances"].as_array().into_iter().flatten() {
            let asset = row["asset"].as_str().unwrap().to_owned();
            told.insert(asset, (amount(&row["free"]), amount(&row["locked"])));
        }
        told.clone()
    };
    while filled < Decimal::new(1, 2) || last["status"] != "filled" {
        let message = feed.next(WITHIN).await.unwrap();
        take(&message);
        let data = &message["data"];
        if data["order"]["order_id"] == id {
            last = data["order"].clone();
            if data["fill"].is_object() {
                assert_eq!(data["fill"]["order_id"], id);
                filled += amount(&data["fill"]["quantity"]);
                // Executions that came together are in the order already.
                assert!(amount(&last["filled_quantity"]) >= filled, "{data}");
            }
        }
    }
    assert_eq!(filled, Decimal::new(1, 2), "{last}");
    let mut rest = BTreeMap::new();
    for asset in ["BTC", "USDT"] {
        rest.insert(asset.to_owned(), trader.balance("binance", asset).await);
    }
    let is_told = |told: &BTreeMap<String, _>| rest.iter().all(|(k, v)| told.get(k) == Some(v));
    let mut now = take(&json!(null));
    while !is_told(&now) {
        let message = feed.next(WITHIN).await;
        now = take(&message.unwrap_or_else(|| panic!("told {now:?}, is {rest:?}")));
    }

    // A key that may not see this can't take over, and what is unsubscribed is over.
    let answer = prove(&mut feed, &reader, "binance").await;
    assert_eq!(code(&answer), "CRYPTO_FORBIDDEN", "{answer}");
    let listed = feed.request(json!({"method": "list_subscriptions"})).await;
    assert_eq!(
        listed["subscriptions"].as_array().unwrap().len(),
        2,
        "{listed}"
    );
    let gone = json!({"stream": "crypto.account", "provider": "binance"});
    let answer = feed
        .request(json!({"method": "unsubscribe", "params": gone}))
        .await;
    assert_eq!(answer["status"], "unsubscribed", "{answer}");
    let answer = feed
        .request(json!({"method": "unsubscribe", "params": gone}))
        .await;
    assert_eq!(code(&answer), "CRYPTO_NOT_FOUND", "{answer}");

    // The key's end is the session's.
    let key_id = trader.key.split_once('.').unwrap().0;
    run(&trader.rig, &["keys", "revoke", key_id], "");
    let (code, reason) = feed.closed(WITHIN).await.unwrap();
    assert_eq!(code, 1008, "{reason}");
    assert!(reason.contains("revoked"), "{reason}");
}
