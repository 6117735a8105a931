//! What an operator sees and can do: capabilities, status, incidents, reconnect, resync, limits.

use std::time::Duration;

use bookwire_sim::{Exchange, SimConfig};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::rig::{Feed, Rig};

const KEY: &str = "ops.an-operators-secret";

/// Simulators of some exchanges, and a gateway with an operator's key.
async fn operated(exchanges: &[Exchange]) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let config = SimConfig {
        exchanges: exchanges.to_vec(),
        ..SimConfig::default()
    };
    let more = format!("admin_key_file = {file:?}\n");
    (Rig::start_with(config, &more).await, folder)
}

async fn status(rig: &Rig, provider: &str) -> Value {
    let (_, body) = rig.get("/api/crypto/providers/status").await;
    let rows = body["providers"].as_array().unwrap();
    let own = rows.iter().find(|row| row["name"] == provider);
    own.unwrap_or_else(|| panic!("no {provider} in {body}"))
        .clone()
}

/// Reads the feed until the provider's status is as it should be.
async fn status_until(
    rig: &Rig,
    feed: &mut Feed,
    provider: &str,
    what: &str,
    is_right: impl Fn(&Value) -> bool,
) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let status = status(rig, provider).await;
        if is_right(&status) {
            return status;
        }
        assert!(Instant::now() < end, "{what}: {status}");
        let _ = feed.next(Duration::from_millis(20)).await;
    }
}

async fn books(rig: &Rig, provider: &str, symbols: &[&str]) -> Feed {
    let mut feed = rig.feed().await;
    feed.subscribe(json!({"stream": "crypto.orderbook", "provider": provider,
        "symbols": symbols, "depth": 5, "mode": "delta"}))
        .await;
    for symbol in symbols {
        feed.next_of("crypto.orderbook", symbol, Duration::from_secs(30))
            .await;
    }
    feed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_tell_what_they_can_do_and_how_they_are() {
    let (rig, _folder) = operated(&[Exchange::Binance, Exchange::Bybit]).await;
    let (_, listed) = rig.get("/api/data/providers").await;
    let names = listed["crypto"].as_array().unwrap();
    let (code, all) = rig.get("/api/crypto/providers/capabilities").await;
    assert_eq!(code, 200);
    assert_eq!(all.as_object().unwrap().len(), names.len());
    let endpoints = rig.sim.endpoints();
    let base = endpoints["bybit"]["hosts"]["stream.bybit.com"]
        .as_str()
        .unwrap();
    let bybit = &all["bybit"];
    assert_eq!(
        bybit["websocket_endpoints"],
        json!([
            format!("{base}/v5/public/spot"),
            format!("{base}/v5/public/linear")
        ]),
        "as configured"
    );
    assert_eq!(bybit["enabled"], true);
    assert_eq!(bybit["spot_trading"], true);
    assert_eq!(bybit["live_trading"], true);
    let types = ["market", "limit", "stop_market", "stop_limit"];
    assert_eq!(bybit["supported_order_types"], serde_json::json!(types));
    assert_eq!(bybit["perpetual_market_data"], true);
    assert!(bybit["max_leverage"].as_f64().unwrap() >= 1.0, "{bybit}");
    assert!(!bybit["funding_intervals"].as_array().unwrap().is_empty());
    assert_eq!(bybit["rate_limits"]["requests_per_minute"], 7200);
    assert_eq!(all["okx"]["enabled"], false);
    let (_, body) = rig.get("/api/crypto/providers/status").await;
    let told: Vec<&Value> = body["providers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| &p["name"])
        .collect();
    assert_eq!(told, names.iter().collect::<Vec<_>>());
    assert_eq!(status(&rig, "okx").await["status"], "disabled");
    assert_eq!(status(&rig, "bybit").await["status"], "operational");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_book_is_told_until_it_is_back() {
    let (rig, _folder) = operated(&[Exchange::Binance]).await;
    let mut feed = books(&rig, "binance", &["btcusdt", "ethusdt"]).await;
    let quiet = status(&rig, "binance").await;
    assert_eq!(quiet["books_resyncing"], json!([]), "{quiet}");
    assert_eq!(quiet["resyncs_24h"]["count"], 0);
    // Without snapshots the book stays away until the fault is over.
    let control = rig.sim.control();
    control.inject("503:path=/api/v3/depth,for=3s".parse().unwrap());
    control.inject("gap:market=spot,symbol=BTCUSDT".parse().unwrap());
    let lost = status_until(&rig, &mut feed, "binance", "lost", |status| {
        status["books_resyncing"][0]["last_error"].is_string()
    })
    .await;
    let book = &lost["books_resyncing"][0];
    assert_eq!(
        (&book["symbol"], &book["reason"]),
        (&json!("btcusdt"), &json!("gap"))
    );
    assert!(book["since"].as_str().unwrap().ends_with('Z'));
    assert!(book["duration_ms"].is_u64());
    assert_eq!(lost["books_resyncing_count"], 1, "the other one is well");
    let back = status_until(&rig, &mut feed, "binance", "back", |status| {
        status["books_resyncing_count"] == 0
    })
    .await;
    let resyncs = &back["resyncs_24h"];
    assert_eq!(resyncs["count"], 1, "{resyncs}");
    assert_eq!(resyncs["by_reason"]["gap"]["count"], 1, "{resyncs}");
    assert_eq!(resyncs["last"]["symbol"], "btcusdt");
    let took = resyncs["last"]["duration_ms"].as_u64().unwrap();
    assert!((500..60_000).contains(&took), "{resyncs}");
    // The feed tells the same.
    let _ = feed.collect(Duration::from_millis(300)).await;
    let told: Vec<&Value> = feed.statuses.iter().map(|s| &s["data"]).collect();
    let find = |state: &str, after: bool| {
        told.iter().find(|data| {
            data["symbol"] == "btcusdt"
                && data["state"] == state
                && data["stream"] == "crypto.orderbook"
                && data["after_ms"].is_u64() == after
        })
    };
    assert_eq!(find("resyncing", false).expect("told")["reason"], "gap");
    let connected = find("connected", true).expect("told");
    assert_eq!(connected["cause"], "gap");
    assert_eq!(connected["after_ms"].as_u64(), Some(took));
    let reason = connected["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("synced after ") && reason.ends_with(": gap"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_is_told_since_when_and_with_what_text() {
    let (rig, _folder) = operated(&[Exchange::Bybit]).await;
    let mut feed = books(&rig, "bybit", &["btcusdt", "btcusdt-perp"]).await;
    rig.sim
        .control()
        .inject("maintenance:for=12s".parse().unwrap());
    let during = status_until(&rig, &mut feed, "bybit", "maintenance", |status| {
        // Its list may be read before it has closed a connection.
        status["maintenance"].is_object() && status["status"] == "maintenance"
    })
    .await;
    let told = &during["maintenance"];
    assert!(told["since"].as_str().unwrap().ends_with('Z'), "{told}");
    assert!(!told["text"].as_str().unwrap().is_empty(), "{told}");
    assert!(told.get("expected_end").is_some());
    assert!(
        during["books_resyncing_count"].as_u64().unwrap() > 0,
        "{during}"
    );
    // The exchange's own list is read while it lasts.
    status_until(&rig, &mut feed, "bybit", "listed", |status| {
        let listed = status["announced_maintenance"].as_array();
        listed.is_some_and(|rows| rows.iter().any(|row| row["begin"].is_string()))
    })
    .await;
    let after = status_until(&rig, &mut feed, "bybit", "over", |status| {
        status["maintenance"].is_null() && status["books_resyncing_count"] == 0
    })
    .await;
    assert_eq!(after["connections_down_count"], 0, "{after}");
    let is_told = |status: &Value| status["data"]["state"] == "maintenance";
    assert!(feed.statuses.iter().any(is_told), "{:?}", feed.statuses);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_commands_answer_with_their_outcome() {
    let (rig, _folder) = operated(&[Exchange::Binance, Exchange::Bybit]).await;
    let resync = "/api/crypto/providers/binance/resync?symbol=btcusdt";
    for (key, code) in [
        (None, "CRYPTO_UNAUTHORIZED"),
        (Some("ops.wrong"), "CRYPTO_UNAUTHORIZED"),
    ] {
        let (status, body) = rig.command(resync, key).await;
        assert_eq!(
            (status, &body["error"]["code"]),
            (401, &json!(code)),
            "{body}"
        );
    }
    let (status, body) = rig.command(resync, Some(KEY)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("CRYPTO_NOT_FOUND")),
        "{body}"
    );
    for provider in ["binance", "bybit"] {
        let mut feed = books(&rig, provider, &["btcusdt", "btcusdt-perp"]).await;
        for symbol in ["btcusdt", "btcusdt-perp"] {
            let path = format!("/api/crypto/providers/{provider}/resync?symbol={symbol}");
            let (status, body) = rig.command(&path, Some(KEY)).await;
            assert_eq!(
                (status, &body["outcome"]),
                (200, &json!("resynced")),
                "{body}"
            );
            assert_eq!(
                (&body["symbol"], &body["state"]),
                (&json!(symbol), &json!("synced"))
            );
            let (before, after) = (&body["epoch_before"], &body["epoch_after"]);
            assert!(after.as_u64() > before.as_u64(), "{body}");
            assert!(body["duration_ms"].is_u64());
        }
        let path = format!("/api/crypto/providers/{provider}/reconnect");
        let (status, body) = rig.command(&path, Some(KEY)).await;
        assert_eq!(
            (status, &body["outcome"]),
            (200, &json!("reconnected")),
            "{body}"
        );
        let connections = body["connections"].as_array().unwrap();
        assert_eq!(connections.len(), 2, "{body}");
        for connection in connections {
            assert_eq!(connection["was_connected"], true, "{body}");
            assert_eq!(connection["result"], "up", "{body}");
        }
        // The feed goes on, and its own checks see that nothing was wrong on the way.
        feed.collect(Duration::from_secs(1)).await;
        for symbol in ["btcusdt", "btcusdt-perp"] {
            feed.next_of("crypto.orderbook", symbol, Duration::from_secs(20))
                .await;
        }
    }
    // An outcome that does not come is told as that.
    rig.sim
        .control()
        .inject("maintenance:exchange=binance,for=8s".parse().unwrap());
    let path = "/api/crypto/providers/binance/reconnect?timeout_seconds=2";
    let (status, body) = rig.command(path, Some(KEY)).await;
    assert_eq!(
        (status, &body["outcome"]),
        (200, &json!("incomplete")),
        "{body}"
    );
    let connections = body["connections"].as_array().unwrap();
    let down: Vec<_> = connections
        .iter()
        .filter(|c| c["result"] == "down")
        .collect();
    assert!(
        !down.is_empty() && down.iter().all(|c| c["reason"].is_string()),
        "{body}"
    );
    assert!(!rig.log().contains(KEY), "a secret in the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_limited_over_all() {
    let config = SimConfig {
        exchanges: vec![Exchange::Binance],
        ..SimConfig::default()
    };
    let more = "[data_collection]\nmax_concurrent_streams = 2\n";
    let rig = Rig::start_with(config, more).await;
    let mut feed = rig.feed().await;
    let subscribe = |symbols: Value| {
        json!({"method": "subscribe", "params": {"stream": "crypto.trades",
            "provider": "binance", "symbols": symbols}})
    };
    let answer = feed
        .request(subscribe(json!(["btcusdt", "ethusdt", "solusdt"])))
        .await;
    assert_eq!(
        answer["subscriptions"].as_array().unwrap().len(),
        2,
        "{answer}"
    );
    let error = &answer["rejected"][0]["error"];
    assert_eq!(error["code"], "CRYPTO_SUBSCRIPTION_LIMIT", "{answer}");
    assert_eq!(error["details"]["limit"], 2, "{answer}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("max_concurrent_streams"), "{message}");
    // A stream that is there already needs no room.
    let mut other = rig.feed().await;
    let answer = other.request(subscribe(json!(["btcusdt"]))).await;
    assert_eq!(answer["status"], "subscribed", "{answer}");
    // What nobody wants any more makes room at once, though it would have stayed on for a while.
    let mut unsubscribe = subscribe(json!(["ethusdt"]));
    unsubscribe["method"] = json!("unsubscribe");
    let answer = feed.request(unsubscribe).await;
    assert_eq!(answer["status"], "unsubscribed", "{answer}");
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = feed.request(subscribe(json!(["solusdt"]))).await;
        if answer["status"] == "subscribed" {
            break;
        }
        assert!(Instant::now() < end, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (status, body) = rig
        .command("/api/crypto/providers/binance/reconnect", None)
        .await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (403, &json!("CRYPTO_FORBIDDEN")),
        "{body}"
    );
}
