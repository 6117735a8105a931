//! What the log says: one id from a client's request to the exchange's answer, and levels that change while
//! the gateway runs.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bookwire_sim::{Exchange, SimConfig};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::rig::Rig;
use crate::secrets::nothing_tells_secrets;
use crate::trading::{Trader, live};

const KEY: &str = "ops.an-operators-secret";
const ENTITY: &str = "cryptopair_binance_btcusdt";

/// A request with an id of the client's; the answer has to carry it.
async fn asked(
    rig: &Rig,
    (method, path): (Method, &str),
    (trace, key): (&str, &str),
    body: Option<Value>,
) -> (u16, Value) {
    let client = reqwest::Client::new();
    let mut request = client
        .request(method, format!("http://{}{path}", rig.api))
        .header("x-trace-id", trace);
    if !key.is_empty() {
        request = request.bearer_auth(key);
    }
    if let Some(body) = body {
        request = request
            .header("content-type", "application/json")
            .body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-trace-id"], trace);
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits for a line of the log that has all of these parts.
async fn line(rig: &Rig, trace: &str, parts: &[&str]) {
    let id = format!("request{{trace_id=\"{trace}\"}}");
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let log = rig.log();
        let mut of_trace = log.lines().filter(|line| line.contains(&id));
        if of_trace.any(|line| parts.iter().all(|part| line.contains(part))) {
            return;
        }
        let told: Vec<&str> = log.lines().filter(|line| line.contains(&id)).collect();
        assert!(Instant::now() < end, "{trace}: no {parts:?} in\n{told:#?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_id_leads_from_the_request_to_the_exchange_and_back() {
    for transport in ["rest", "websocket"] {
        let trader: Trader = live(Exchange::Binance, transport).await;
        let (rig, key) = (&trader.rig, &*trader.key);
        let (bid, _) = trader.touch("binance", "btcusdt", ENTITY).await;
        let far = (bid * rust_decimal::Decimal::new(95, 2)).round_dp(0);
        let order = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy",
            "type": "limit", "quantity": "0.01", "price": far.to_string()});
        let place = (Method::POST, "/api/trading/orders");
        let (status, order) = asked(rig, place, ("the-placing", key), Some(order)).await;
        assert_eq!(status, 201, "{order}\n{}", rig.log());
        let id = order["order_id"].as_str().unwrap();
        let path = format!("/api/trading/orders/{id}");
        let cancel = (Method::DELETE, &*path);
        let (status, canceled) = asked(rig, cancel, ("the-cancel", key), None).await;
        assert_eq!(status, 200, "{canceled}");
        trader.until(id, &["canceled"]).await;

        let way = match transport {
            "rest" => "way=\"http\"",
            _ => "way=\"websocket\"",
        };
        for parts in [
            &["the order is in the journal", id][..],
            &["request to the exchange", "POST", "path=/api/v3/order", way],
            &["the exchange has answered", "path=/api/v3/order"],
            &["the order has changed", id, "status=\"open\""],
            &[
                "request answered",
                "status=201",
                "path=\"/api/trading/orders\"",
            ],
            // Whoever ended it: it is the order that this request has made.
            &["the order has changed", id, "status=\"canceled\""],
        ] {
            line(rig, "the-placing", parts).await;
        }
        for parts in [
            &["the order is to be canceled", id][..],
            &["request to the exchange", "DELETE", "path=/api/v3/order"],
            &["request answered", "status=200"],
        ] {
            line(rig, "the-cancel", parts).await;
        }
        let audit = std::fs::read_dir(rig.data_dir().join("audit")).unwrap();
        let audit = audit.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
        let audit: String = audit.collect();
        assert!(audit.contains("\"trace_id\":\"the-placing\""), "{audit}");

        let refused = (Method::GET, "/api/data/CryptoTrade?provider=nobody");
        let (status, error) = asked(rig, refused, ("the-error", key), None).await;
        assert_eq!(
            (status, &error["error"]["trace_id"]),
            (400, &json!("the-error"))
        );
        line(rig, "the-error", &["CRYPTO_INVALID_PARAMETER"]).await;

        let mut feed = rig.feed().await;
        let answer = feed.request(json!({"method": "subscribe", "params": {
            "stream": "crypto.trades", "provider": "binance", "symbols": ["nosuchusdt"]}}));
        let answer = answer.await;
        let trace = answer["error"]["trace_id"].as_str().unwrap();
        line(rig, trace, &["client connected"]).await;
        line(rig, trace, &["a request failed", "CRYPTO_PAIR_NOT_FOUND"]).await;
        feed.send_raw(Message::text("{\"method\":\"x\\r\\nFORGED\"}"))
            .await;
        line(
            rig,
            trace,
            &["a request failed", "CRYPTO_INVALID_PARAMETER"],
        )
        .await;
        let log = rig.log();
        assert!(log.lines().all(|line| !line.starts_with("FORGED")));
        nothing_tells_secrets(&trader, "binance");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_is_fetched_for_a_request_has_its_id() {
    let config = SimConfig {
        exchanges: vec![Exchange::Binance],
        ..SimConfig::default()
    };
    let rig = Rig::start_with(config, "[log]\nlevel = \"debug\"\n").await;
    let path = "/api/data/CryptoPair1hKdata?provider=binance&codes=solusdt&limit=2";
    let (status, bars) = asked(&rig, (Method::GET, path), ("the-bars", ""), None).await;
    assert_eq!((status, &bars["total"]), (200, &json!(2)), "{bars}");
    for parts in [
        &[
            "request to the exchange",
            "path=/api/v3/klines?symbol=SOLUSDT",
        ][..],
        &["the exchange has answered", "path=/api/v3/klines"],
        &["request answered", "status=200"],
    ] {
        line(&rig, "the-bars", parts).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn levels_change_while_it_runs_and_go_back() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let config = SimConfig {
        exchanges: vec![Exchange::Binance],
        ..SimConfig::default()
    };
    let rig = Rig::start_with(config, &format!("admin_key_file = {file:?}\n")).await;
    let path = "/api/crypto/log";
    let (get, put) = ((Method::GET, path), (Method::PUT, path));
    let (status, shown) = asked(&rig, get.clone(), ("t", KEY), None).await;
    assert_eq!(status, 200, "{shown}");
    let configured = shown["configured"].clone();
    assert_eq!(
        (&shown["filter"], &shown["until"]),
        (&configured, &Value::Null)
    );
    let (status, _) = rig.get(path).await;
    assert_eq!(status, 401);

    let books = (Method::GET, "/api/crypto/config");
    let _ = asked(&rig, books.clone(), ("before", KEY), None).await;
    let wanted = json!({"filter": "warn,bookwire_api::gate=debug", "for_seconds": 2});
    let (status, changed) = asked(&rig, put.clone(), ("change", KEY), Some(wanted)).await;
    assert_eq!(status, 200, "{changed}");
    assert_eq!(changed["filter"], "warn,bookwire_api::gate=debug");
    assert_eq!(changed["configured"], configured);
    assert!(changed["until"].is_string(), "{changed}");
    let _ = asked(&rig, books.clone(), ("during", KEY), None).await;
    line(&rig, "during", &["request answered", "status=200"]).await;
    assert!(!rig.log().contains("trace_id=\"before\""));

    for (filter, part) in [
        ("loud", "\"loud\""),
        ("info,hyper=trace", "\"hyper=trace\""),
        ("info,", "\"\""),
    ] {
        let body = Some(json!({ "filter": filter }));
        let (status, error) = asked(&rig, put.clone(), ("wrong", KEY), body).await;
        let error = &error["error"];
        assert_eq!(
            (status, &error["code"]),
            (400, &json!("CRYPTO_INVALID_PARAMETER"))
        );
        assert_eq!(error["details"]["parameter"], "filter", "{error}");
        let told = error.to_string();
        assert!(told.contains("bookwire_actors::trading=debug"), "{told}");
        let reason = error["details"]["reason"].as_str().unwrap();
        assert!(reason.contains(part), "{error}");
    }

    // By itself.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let (_, shown) = asked(&rig, get.clone(), ("t", KEY), None).await;
        if shown["filter"] == configured {
            assert_eq!(shown["until"], Value::Null, "{shown}");
            break;
        }
        assert!(Instant::now() < end, "{shown}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = asked(&rig, books.clone(), ("after", KEY), None).await;
    // A change for good, and back by word.
    let wanted = Some(json!({"filter": "debug"}));
    let (_, changed) = asked(&rig, put.clone(), ("t", KEY), wanted).await;
    assert_eq!(
        (&changed["filter"], &changed["until"]),
        (&json!("debug"), &Value::Null)
    );
    let _ = asked(&rig, books, ("again", KEY), None).await;
    line(&rig, "again", &["request answered"]).await;
    assert!(!rig.log().contains("trace_id=\"after\""));
    let back = Some(json!({"filter": null}));
    let (_, changed) = asked(&rig, put, ("t", KEY), back).await;
    assert_eq!(changed["filter"], configured);
    let audit = std::fs::read_dir(rig.data_dir().join("audit")).unwrap();
    let audit = audit.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let audit: String = audit.collect();
    let filter = "\"filter\":\"warn,bookwire_api::gate=debug\"";
    assert!(
        audit.contains("log.change") && audit.contains(filter),
        "{audit}"
    );
}
