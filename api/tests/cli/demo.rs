//! Commands that run simulated exchanges: demo, and sim with record, replay and serve.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{bookwire, exit_code, text};

/// A command that is told to stop at the end, also when a test fails before.
struct Running {
    child: Option<Child>,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = bookwire()
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self {
            child: Some(child),
            out,
        }
    }

    /// The first line from here on that holds `part`.
    fn line_with(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(
                self.out.read_line(&mut line).unwrap() > 0,
                "no line with {part}"
            );
            if line.contains(part) {
                return line.trim().to_owned();
            }
        }
    }

    fn stop(mut self) -> Option<i32> {
        let child = self.child.take().unwrap();
        let pid = child.id().to_string();
        let kill = std::process::Command::new("kill")
            .args(["-s", "INT", &pid])
            .status();
        assert!(kill.unwrap().success());
        // A full pipe must not keep it from ending.
        let mut out = String::new();
        let _ = std::io::Read::read_to_string(&mut self.out, &mut out);
        exit_code(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn get(url: &str) -> Value {
    answer_of(reqwest::Method::GET, url, None)
}

fn post(url: &str, key: &str) -> Value {
    answer_of(reqwest::Method::POST, url, Some(key))
}

fn answer_of(method: reqwest::Method, url: &str, key: Option<&str>) -> Value {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let client = reqwest::Client::new();
    let mut request = client.request(method, url);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    runtime.block_on(async { request.send().await.unwrap().json().await.unwrap() })
}

#[test]
fn the_demos_command_to_try_works() {
    let mut demo = Running::start(&["demo", "--listen", "127.0.0.1:0"]);
    let line = demo.line_with("Authorization: Bearer demo.");
    let (_, rest) = line.split_once("Bearer ").unwrap();
    let (key, rest) = rest.split_once('"').unwrap();
    let url = rest.trim().trim_matches('\'').to_owned();
    let answer = post(&url, key);
    assert_eq!(answer["outcome"], "resynced", "{answer}");
    assert_eq!(answer["symbol"], "btcusdt", "{answer}");
    // The same key may do everything.
    let line = demo.line_with("/api/crypto/auth/validate");
    let (_, url) = line.rsplit_once(" '").unwrap();
    let answer = answer_of(reqwest::Method::GET, url.trim_end_matches('\''), Some(key));
    let all = ["data_access", "spot_trading", "futures_trading", "admin"];
    assert_eq!(answer["permissions"], serde_json::json!(all), "{answer}");
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn the_demo_shows_a_market_within_two_seconds() {
    let since = Instant::now();
    let mut demo = Running::start(&["demo", "--listen", "127.0.0.1:0"]);
    let line = demo.line_with("WebSocket");
    let url = line.split_whitespace().last().unwrap().to_owned();
    let watch = bookwire()
        .args([
            "watch",
            "trades",
            "btcusdt",
            "btcusdt-perp",
            "--count",
            "3",
            "--url",
            &url,
        ])
        .output()
        .unwrap();
    let took = since.elapsed();
    let said = text(&watch.stdout);
    assert_eq!(
        watch.status.code(),
        Some(0),
        "{said}{}",
        text(&watch.stderr)
    );
    assert_eq!(
        said.matches("{\"stream\":\"crypto.trades\"").count(),
        3,
        "{said}"
    );
    // The contract's two seconds are for the optimised binary; this one is not.
    let allowed = Duration::from_secs(if cfg!(debug_assertions) { 8 } else { 2 });
    assert!(took < allowed, "{took:?}");

    let rest = url.replace("ws://", "http://").replace("/ws", "");
    let book = "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=5&numbers=string";
    let answer = get(&format!("{rest}{book}"));
    let row = &answer["data"][0];
    for name in [
        "bids",
        "asks",
        "sequence",
        "timestamp",
        "best_bid",
        "best_ask",
        "mid_price",
        "spread",
    ] {
        assert!(!row[name].is_null(), "{name}: {answer}");
    }
    assert_eq!(row["bids"].as_array().unwrap().len(), 5);
    assert_eq!(row["bids"][0][0], row["best_bid"]);
    let trades = get(&format!(
        "{rest}/api/data/CryptoTrade?provider=binance&codes=btcusdt&limit=3"
    ));
    assert_eq!(trades["data"].as_array().unwrap().len(), 3, "{trades}");
    let bars = get(&format!(
        "{rest}/api/data/CryptoPerp1hKdata?provider=binance&codes=btcusdt&limit=3"
    ));
    let bars = bars["data"].as_array().unwrap();
    assert_eq!(bars.len(), 3, "fetched from the exchange's history");
    for pair in bars.windows(2) {
        let [before, bar] = pair else { unreachable!() };
        let close = |row: &Value| row["close"].to_string().parse::<f64>().unwrap();
        let change: f64 = bar["change_pct"].to_string().parse().unwrap();
        assert!(
            (close(bar) / close(before) - 1.0 - change).abs() < 1e-9,
            "{before} {bar}"
        );
    }
    let funding = get(&format!(
        "{rest}/api/data/CryptoFunding?provider=binance&codes=btcusdt&limit=2"
    ));
    assert_eq!(funding["data"].as_array().unwrap().len(), 2, "{funding}");
    let status = get(&format!("{rest}/api/crypto/providers/status"));
    assert_eq!(status["providers"][0]["status"], "operational", "{status}");
    assert_eq!(status["providers"][0]["websocket_connected"], true);

    let first = demo.line_with("msg/s");
    let second = demo.line_with("msg/s");
    assert!(
        first.contains("btcusdt-perp") && first.contains("p99"),
        "{first}"
    );
    assert_ne!(first, second, "the figures move");
    assert_eq!(demo.stop(), Some(0));
}

#[test]
fn what_is_recorded_replays_without_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let endpoints = dir.path().join("endpoints.json");
    let sim = Running::start(&[
        "sim",
        "--seed",
        "7",
        "--endpoints",
        endpoints.to_str().unwrap(),
    ]);
    wait_for(&endpoints);
    let hosts: Value = serde_json::from_slice(&std::fs::read(&endpoints).unwrap()).unwrap();
    assert!(
        hosts["binance"]["hosts"]["api.binance.com"]
            .as_str()
            .unwrap()
            .starts_with("http://")
    );
    for market in ["spot", "perp"] {
        let out = dir.path().join(market);
        let record = bookwire()
            .args([
                "record",
                "--market",
                market,
                "--symbols",
                "btcusdt,ethusdt",
                "--gzip",
            ])
            .args([
                "--streams",
                "book,trades,ticker",
                "--duration",
                "5",
                "--out",
            ])
            .arg(&out)
            .arg("--endpoints")
            .arg(&endpoints)
            .output()
            .unwrap();
        assert_eq!(record.status.code(), Some(0), "{}", text(&record.stderr));
        let mut streams = Vec::new();
        let mut instruments = None;
        for file in std::fs::read_dir(&out).unwrap() {
            let path = file.unwrap().path();
            match path.display().to_string() {
                name if name.contains("_rest_") => instruments = Some(name),
                name => streams.push(name),
            }
        }
        // Binance's perpetuals have their books and their trades on connections of different kinds.
        let mut replay = bookwire();
        replay
            .arg("replay")
            .args(&streams)
            .args(["--snapshot", &instruments.unwrap()]);
        let replay = replay
            .args([
                "--provider",
                "binance",
                "--market",
                market,
                "--report",
                "json",
            ])
            .output()
            .unwrap();
        assert_eq!(replay.status.code(), Some(0), "{}", text(&replay.stderr));
        let report: Value = serde_json::from_slice(&replay.stdout).unwrap();
        assert_eq!(report["errors"], serde_json::json!([]));
        for code in ["btcusdt", "ethusdt"] {
            let row = &report["symbols"][code];
            assert_eq!(row["synced"], true, "{market} {code}: {row}");
            assert_eq!(row["gaps"], 0, "{market} {code}");
            assert_eq!(row["bbo_mismatches"], 0, "{market} {code}");
            assert!(row["bbo_checks"].as_u64().unwrap() > 0, "{market} {code}");
            assert!(row["trades"].as_u64().unwrap() > 0, "{market} {code}");
        }
    }
    assert_eq!(sim.stop(), Some(0));
}

#[test]
fn a_fault_that_does_not_exist_is_wrong_use() {
    super::check(&["sim", "--fault", "help"], 0, "KIND");
    super::check(&["sim", "--fault", "explode"], 2, "--fault");
    super::check(&["sim", "--exchange", "mtgox"], 2, "binance");
    super::check(&["sim", "--speed", "fast"], 2, "--speed");
    super::check(&["sim", "--intensity", "0"], 2, "--intensity");
}

fn wait_for(path: &Path) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !path.exists() {
        assert!(
            Instant::now() < deadline,
            "{} is not written",
            path.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
