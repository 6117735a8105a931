//! Provider `ccxt`: the library in its child process against the simulators, seen through the
//! public contract; and what is said where it is not installed.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use bookwire_sim::market::Segment;
use bookwire_sim::{Exchange, SimConfig};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::rig::{Feed, Rig, python};

fn simulated() -> SimConfig {
    SimConfig {
        exchanges: vec![Exchange::Okx],
        seed: 7,
        ..SimConfig::default()
    }
}

async fn rig(python: &std::path::Path) -> Rig {
    let more = format!(
        "[providers.ccxt]\npython = {python:?}\n[providers.ccxt.options]\n\
         okx = '{{\"options\":{{\"fetchMarkets\":{{\"types\":[\"spot\",\"swap\"]}}}}}}'\n"
    );
    Rig::start_with(simulated(), &more).await
}

async fn status(rig: &Rig) -> Value {
    let (code, body) = rig.get("/api/crypto/providers/status").await;
    assert_eq!(code, 200, "{body}");
    let all = body["providers"].as_array().unwrap();
    all.iter()
        .find(|one| one["name"] == "ccxt")
        .unwrap()
        .clone()
}

/// The gateway's child process that serves ccxt; not the one that only looks for the package.
pub(crate) fn child(rig: &Rig) -> Option<u32> {
    let parent = format!("PPid:\t{}", rig.pid());
    let is_ours = |pid: &u32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let is_child = read("status").is_ok_and(|text| text.lines().any(|line| line == parent));
        is_child && read("cmdline").is_ok_and(|text| text.contains("exec(compile"))
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.find(is_ours)
}

/// Waits until the client's book equals the simulator's as often as it takes to be no accident.
async fn wait_until_equal(rig: &Rig, feed: &mut Feed, native: &str, segment: Segment, ours: &str) {
    let end = Instant::now() + Duration::from_secs(60);
    let mut states: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let mut equal = BTreeSet::new();
    while equal.len() < 3 {
        assert!(Instant::now() < end, "{ours}: not equal:\n{}", rig.log());
        if let Some(book) = rig.sim.control().book(segment, native) {
            let prices = |side: &[(String, String)]| -> Vec<String> {
                let plain = side.iter().take(5).map(|(price, _)| price.clone());
                plain.map(|price| decimal(&price)).collect()
            };
            states.push((prices(&book.bids), prices(&book.asks)));
        }
        let _ = feed.next(Duration::from_millis(2)).await;
        if let Some(book) = feed.book(ours) {
            let prices = |side: &[(String, String)]| -> Vec<String> {
                side.iter()
                    .take(5)
                    .map(|(price, _)| decimal(price))
                    .collect()
            };
            let seen = (prices(&book.bids), prices(&book.asks));
            if states.iter().rev().take(400).any(|state| *state == seen) {
                equal.insert(book.sequence);
            }
        }
    }
}

fn decimal(text: &str) -> String {
    let value: rust_decimal::Decimal = text.parse().unwrap();
    value.normalize().to_string()
}

/// The trades that came both ways are the same, in the span that both ways cover.
fn assert_same_trades(messages: &[Value], native: &str, symbol: &str, rig: &Rig) {
    let trades = |provider: &str| -> BTreeSet<(u64, String)> {
        let of = messages.iter().filter(|m| {
            m["stream"] == "crypto.trades" && m["provider"] == provider && m["symbol"] == symbol
        });
        of.map(|m| {
            let data = &m["data"];
            let id = data["trade_id"].as_str().unwrap().parse().unwrap();
            // ccxt's times end at milliseconds.
            let time = &data["timestamp"].as_str().unwrap()[..23];
            let rest = ["price", "volume", "side"].map(|field| data[field].to_string());
            (id, format!("{time} {}", rest.join(" ")))
        })
        .collect()
    };
    let (by_ccxt, natively) = (trades("ccxt"), trades(native));
    let ends = (
        by_ccxt.first(),
        natively.first(),
        by_ccxt.last(),
        natively.last(),
    );
    let (Some(a), Some(b), Some(c), Some(d)) = ends else {
        let counts = (by_ccxt.len(), natively.len());
        panic!("{symbol}: no trades: {counts:?}\n{}", rig.log());
    };
    let span = a.0.max(b.0)..=c.0.min(d.0);
    let within = |all: &BTreeSet<(u64, String)>| -> Vec<(u64, String)> {
        all.iter()
            .filter(|(id, _)| span.contains(id))
            .cloned()
            .collect()
    };
    assert_eq!(within(&by_ccxt), within(&natively), "{symbol}");
    assert!(within(&natively).len() > 3, "{symbol}: too few to tell");
}

/// In ccxt Coinbase's books break on exact numbers, and trades have the maker's side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_odd_about_an_exchange_in_ccxt_does_not_show() {
    let Some(python) = python::find() else { return };
    let more = format!("[providers.ccxt]\npython = {python:?}\n");
    let config = SimConfig {
        exchanges: vec![Exchange::Coinbase],
        seed: 7,
        ..SimConfig::default()
    };
    let rig = Rig::start_with(config, &more).await;
    let mut feed = rig.feed().await;
    for (provider, exchange) in [("ccxt", json!("coinbase")), ("coinbase", Value::Null)] {
        let mut wanted =
            json!({"stream": "crypto.trades", "provider": provider, "symbols": ["btcusd"]});
        if exchange.is_string() {
            wanted["exchange"] = exchange;
        }
        feed.subscribe(wanted).await;
    }
    let mut books = rig.feed().await;
    books
        .subscribe(
            json!({"stream": "crypto.orderbook", "provider": "ccxt", "exchange": "coinbase",
            "symbols": ["btcusd"], "depth": 20, "mode": "delta"}),
        )
        .await;
    wait_until_equal(&rig, &mut books, "BTC-USD", Segment::Spot, "btcusd").await;
    let messages = feed.collect(Duration::from_secs(15)).await;
    assert_same_trades(&messages, "coinbase", "btcusd", &rig);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_serves_what_the_exchange_shows() {
    let Some(python) = python::find() else { return };
    let rig = rig(&python).await;
    assert_eq!(child(&rig), None, "started on first use only");

    // Entities: base units, the venue in their ids.
    let (code, pairs) = rig
        .get("/api/data/CryptoPair?provider=ccxt&exchange=okx&codes=btcusdt")
        .await;
    assert_eq!(code, 200, "{pairs}\n{}", rig.log());
    assert_eq!(
        pairs["data"][0]["entity_id"], "cryptopair_okx_btcusdt",
        "{pairs}"
    );
    let perps = "/api/data/CryptoPerp?numbers=string&codes=btcusdt&provider=";
    let (_, theirs) = rig.get(&format!("{perps}ccxt&exchange=okx")).await;
    let (_, natively) = rig.get(&format!("{perps}okx")).await;
    for field in [
        "price_step",
        "qty_step",
        "min_qty",
        "contract_size",
        "settlement_symbol",
    ] {
        assert_eq!(
            theirs["data"][0][field], natively["data"][0][field],
            "{field}"
        );
    }
    assert!(child(&rig).is_some());
    let ccxt = status(&rig).await;
    assert_eq!(ccxt["status"], "operational", "{ccxt}");
    assert_eq!(ccxt["venues"], json!(["okx"]));

    // Live: one channel with both ways to the same exchange.
    let mut feed = rig.feed().await;
    let symbols = json!(["btcusdt", "btcusdt-perp"]);
    let answer = feed
        .request(json!({"method": "subscribe", "params": {"channel": "both", "streams": [
            {"stream": "crypto.trades", "provider": "ccxt", "exchange": "okx", "symbols": symbols},
            {"stream": "crypto.trades", "provider": "okx", "symbols": symbols},
            {"stream": "crypto.funding", "provider": "ccxt", "exchange": "okx", "symbols": ["btcusdt"]},
            {"stream": "crypto.ticker", "provider": "ccxt", "exchange": "okx", "symbols": symbols},
            {"stream": "crypto.klines", "interval": "1m", "provider": "ccxt", "exchange": "okx",
             "symbols": symbols},
        ]}}))
        .await;
    assert_eq!(answer["rejected"], json!([]), "{answer}");
    let mut books = rig.feed().await;
    books
        .subscribe(
            json!({"stream": "crypto.orderbook", "provider": "ccxt", "exchange": "okx",
            "symbols": symbols, "depth": 20, "mode": "delta"}),
        )
        .await;
    wait_until_equal(&rig, &mut books, "BTC-USDT", Segment::Spot, "btcusdt").await;
    wait_until_equal(
        &rig,
        &mut books,
        "BTC-USDT-SWAP",
        Segment::Linear,
        "btcusdt-perp",
    )
    .await;

    // Trades are the same ones, to the last digit. Ours merge a taker's fills as the exchange does;
    // so does the channel that ccxt uses.
    let messages = feed.collect(Duration::from_secs(8)).await;
    assert_same_trades(&messages, "okx", "btcusdt", &rig);
    assert_same_trades(&messages, "okx", "btcusdt-perp", &rig);
    for stream in ["crypto.ticker", "crypto.klines", "crypto.funding"] {
        let found = messages
            .iter()
            .find(|m| m["stream"] == stream && m["provider"] == "ccxt");
        assert!(found.is_some(), "no {stream}\n{}", rig.log());
    }

    // History: the same bars as natively.
    let bars = "&codes=btcusdt&limit=5&numbers=string&columns=timestamp,open,high,low,close,volume";
    let (code, theirs) = rig
        .get(&format!(
            "/api/data/CryptoPair1mKdata?provider=ccxt&exchange=okx{bars}"
        ))
        .await;
    assert_eq!(code, 200, "{theirs}");
    let (_, natively) = rig
        .get(&format!("/api/data/CryptoPair1mKdata?provider=okx{bars}"))
        .await;
    let rows = |answer: &Value| -> Vec<Value> { answer["data"].as_array().unwrap().clone() };
    let shared: Vec<Value> = rows(&theirs)
        .into_iter()
        .filter(|row| rows(&natively).contains(row))
        .collect();
    assert!(shared.len() >= 4, "{theirs}\n{natively}");

    // The child dies: everything comes back by itself, with another one.
    let old = child(&rig).unwrap();
    signal(old, "-9");
    let end = Instant::now() + Duration::from_secs(60);
    while child(&rig).is_none_or(|pid| pid == old) {
        assert!(Instant::now() < end, "not started again:\n{}", rig.log());
        let _ = books.next(Duration::from_millis(50)).await;
    }
    wait_until_equal(&rig, &mut books, "BTC-USDT", Segment::Spot, "btcusdt").await;
    let told = books
        .statuses
        .iter()
        .any(|m| m["data"]["provider"] == "ccxt");
    assert!(told, "the client was not told");

    // What is wrong is said.
    for (query, code, field) in [
        (
            "CryptoPair?provider=ccxt&exchange=nosuch",
            "CRYPTO_INVALID_PARAMETER",
            "exchange",
        ),
        (
            "CryptoPair?provider=ccxt&exchange=No/Such",
            "CRYPTO_INVALID_PARAMETER",
            "exchange",
        ),
        (
            "CryptoOrderbook?provider=ccxt&codes=btcusdt",
            "CRYPTO_INVALID_PARAMETER",
            "exchange",
        ),
    ] {
        let (_, body) = rig.get(&format!("/api/data/{query}")).await;
        assert_eq!(body["error"]["code"], code, "{query}: {body}");
        assert_eq!(
            body["error"]["details"]["parameter"], field,
            "{query}: {body}"
        );
    }
    let (_, body) = rig
        .get("/api/data/CryptoOrderbook?provider=ccxt&exchange=okx&codes=nosuchpair")
        .await;
    assert_eq!(body["error"]["code"], "CRYPTO_PAIR_NOT_FOUND", "{body}");

    // Its end is ours.
    let mut rig = rig;
    let last = child(&rig).unwrap();
    assert!(rig.stop_gateway().await.success());
    let is_gone = !std::path::Path::new(&format!("/proc/{last}")).exists();
    assert!(is_gone, "the child outlived the gateway");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_python_the_status_says_what_to_install() {
    let more = "[providers.ccxt]\npython = \"/nowhere/python3\"\n";
    let rig = Rig::start_with(simulated(), more).await;
    let end = Instant::now() + Duration::from_secs(10);
    let ccxt = loop {
        let ccxt = status(&rig).await;
        if ccxt["reason"].is_string() {
            break ccxt;
        }
        assert!(Instant::now() < end, "{ccxt}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(ccxt["status"], "unavailable");
    let command = "/nowhere/python3 -m pip install ccxt==";
    assert!(ccxt["reason"].as_str().unwrap().contains(command), "{ccxt}");
    let (code, body) = rig
        .get("/api/data/CryptoPair?provider=ccxt&exchange=kraken")
        .await;
    assert_eq!(
        (code, &body["error"]["code"]),
        (503, &json!("CRYPTO_PROVIDER_UNAVAILABLE"))
    );
    assert!(
        body["error"]["message"].as_str().unwrap().contains(command),
        "{body}"
    );
    // A WebSocket client gets the same, and its other streams.
    let mut feed = rig.feed().await;
    let answer = feed
        .request(json!({"method": "subscribe", "params": {"channel": "x", "streams": [
            {"stream": "crypto.trades", "provider": "ccxt", "exchange": "kraken", "symbols": ["btcusd"]},
            {"stream": "crypto.trades", "provider": "okx", "symbols": ["btcusdt"]},
        ]}}))
        .await;
    assert_eq!(
        answer["subscriptions"].as_array().unwrap().len(),
        1,
        "{answer}"
    );
    let error = &answer["rejected"][0]["error"];
    assert_eq!(error["code"], "CRYPTO_PROVIDER_UNAVAILABLE", "{answer}");
    // Nothing else is affected; until its connection is up health would say so.
    feed.next_of("crypto.trades", "btcusdt", Duration::from_secs(20))
        .await;
    let (code, health) = rig.get("/api/crypto/health").await;
    assert_eq!(code, 200, "{health}");
    assert_eq!(
        health["checks"]["exchange_connectivity"], "pass",
        "{health}"
    );
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// With ccxt's defaults a burst loses trades: it keeps a thousand, and hands over what came between
/// two turns. A child that is stopped for a while finds a burst when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_trades_loses_none() {
    const BURST: usize = 4000;
    let Some(python) = python::find() else { return };
    let rig = rig(&python).await;
    let mut feed = rig.feed().await;
    let flow = json!({"method": "configure_flow", "params": {"buffer_size": 16384}});
    assert_eq!(feed.request(flow).await["status"], "configured");
    let own = json!({"stream": "crypto.trades", "provider": "okx", "symbols": ["btcusdt"]});
    let mut theirs = own.clone();
    (theirs["provider"], theirs["exchange"]) = (json!("ccxt"), json!("okx"));
    feed.subscribe(theirs).await;
    feed.subscribe(own).await;
    // Both ways work.
    let mut messages = feed.collect(Duration::from_secs(5)).await;
    let child = child(&rig).unwrap();
    signal(child, "-STOP");
    rig.sim.control().set_intensity(200.0);
    let end = Instant::now() + Duration::from_secs(25);
    let mut burst = 0;
    while burst < BURST {
        assert!(Instant::now() < end, "only {burst} trades");
        let more = feed.collect(Duration::from_millis(250)).await;
        burst += more.iter().filter(|m| m["provider"] == "okx").count();
        messages.extend(more);
    }
    rig.sim.control().set_intensity(1.0);
    signal(child, "-CONT");
    messages.extend(feed.collect(Duration::from_secs(10)).await);
    assert_eq!(feed.dropped, 0, "the comparison needs all of them");
    let seen = messages.iter().filter(|m| m["provider"] == "ccxt");
    assert!(seen.count() >= BURST, "the burst came through");
    assert_same_trades(&messages, "okx", "btcusdt", &rig);
}
