//! Settings that are changed while it runs: one exchange moves, the others notice nothing, and the
//! change is there after `kill -9`. What was commanded stands in a log that nobody has touched.

use std::time::Duration;

use bookwire_engine::audit::{Sealer, verify};
use bookwire_engine::exchange::ProviderId;
use bookwire_sim::{Exchange, Sim, SimConfig};
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::rig::Rig;

const KEY: &str = "ops.an-operators-secret";

/// 2031: whoever sends it is the second simulator.
const LATER_MS: i64 = 1_925_000_000_000;

async fn book_year(rig: &Rig, provider: &str) -> String {
    let path = format!("/api/data/CryptoOrderbook?provider={provider}&codes=btcusdt&depth=1");
    let (status, body) = rig.get(&path).await;
    match status {
        200 => body["data"][0]["timestamp"].as_str().unwrap_or_default()[..4].to_owned(),
        _ => body.to_string(),
    }
}

async fn status(rig: &Rig, provider: &str) -> Value {
    let (_, body) = rig.get("/api/crypto/providers/status").await;
    let mut rows = body["providers"].as_array().unwrap().iter();
    rows.find(|row| row["name"] == provider).unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_moves_and_nobody_else_notices() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let config = SimConfig {
        exchanges: vec![Exchange::Binance, Exchange::Bybit],
        ..SimConfig::default()
    };
    let more = format!(
        "admin_key_file = {file:?}\n[providers.binance]\nendpoint_hosts = [\"127.0.0.1\"]\n"
    );
    let mut rig = Rig::start_with(config, &more).await;
    let second = SimConfig {
        exchanges: vec![Exchange::Binance],
        start_ms: Some(LATER_MS),
        ..SimConfig::default()
    };
    let second = Sim::start(second).await.unwrap();
    let mut feed = rig.feed().await;
    for provider in ["binance", "bybit"] {
        feed.subscribe(json!({"stream": "crypto.orderbook", "provider": provider,
            "symbols": ["btcusdt"], "depth": 5}))
            .await;
    }
    let end = Instant::now() + Duration::from_secs(30);
    let before = loop {
        let before = status(&rig, "bybit").await;
        if before["websocket_connections"] == before["websocket_connections_wanted"]
            && before["websocket_connections"] != 0
        {
            break before;
        }
        assert!(Instant::now() < end, "{before}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert!(!book_year(&rig, "binance").await.starts_with("2031"));
    let own = second.endpoints();
    let mut endpoints = Map::new();
    for host in ProviderId::BINANCE.hosts() {
        if let Some(url) = own["binance"]["hosts"].get(host) {
            endpoints.insert(host.to_owned(), url.clone());
        }
    }
    let put = async |body: &Value| {
        let url = format!("http://{}/api/crypto/config/exchanges/binance", rig.api);
        let request = reqwest::Client::new().put(url).json(body);
        let request = request.header("authorization", format!("Bearer {KEY}"));
        let answer = request.send().await.unwrap();
        (
            answer.status().as_u16(),
            answer.json::<Value>().await.unwrap(),
        )
    };
    let (code, told) = put(&json!({"api_endpoint": "http://127.0.0.2:1"})).await;
    assert_eq!(code, 400, "{told}");
    let (code, told) = put(&json!({"endpoints": endpoints})).await;
    assert_eq!(code, 200, "{told}");
    assert_eq!(told["reconnect"]["outcome"], "reconnected", "{told}");
    // The book is another exchange's now.
    let end = Instant::now() + Duration::from_secs(30);
    while book_year(&rig, "binance").await != "2031" {
        assert!(Instant::now() < end, "{}", status(&rig, "binance").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = status(&rig, "bybit").await;
    for field in ["reconnects", "resyncs_24h", "websocket_connections"] {
        assert_eq!(before[field], after[field], "{field}: {after}");
    }
    assert_ne!(book_year(&rig, "bybit").await, "2031");
    rig.kill_gateway();
    rig.start_gateway().await;
    let (_, shown) = rig.get("/api/crypto/config").await;
    let rest = &shown["exchanges"]["binance"]["endpoints"]["api.binance.com"];
    assert_eq!(rest, &endpoints["api.binance.com"]);
    let end = Instant::now() + Duration::from_secs(30);
    while book_year(&rig, "binance").await != "2031" {
        assert!(
            Instant::now() < end,
            "after the restart it is where it was moved to"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let audit = rig.data_dir().join("audit");
    let report = verify(&audit, &Sealer::plain(), false).unwrap();
    assert_eq!(report.broken, None);
    let text = std::fs::read_to_string(audit.join("audit-000001.jsonl")).unwrap();
    let changes: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("config.change"))
        .collect();
    assert_eq!(changes.len(), 2, "{text}");
    assert!(
        changes[0].contains("\"refused\"") && changes[1].contains("\"done\""),
        "{text}"
    );
    assert!(!text.contains("an-operators-secret"));
}
