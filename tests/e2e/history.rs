//! History that nobody asks for: the backfill of a start, gaps and their repair, and trades that
//! were missed while a connection was lost.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bookwire_actors::clock::{Clock, SystemClock};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::options::GatewayOptions;
use bookwire_actors::quarantine::Source;
use bookwire_api::operator::OperatorKey;
use bookwire_api::{engine, server};
use bookwire_engine::config::Config;
use bookwire_engine::quality::Fault;
use bookwire_engine::store::{Entity, KlineRow, open_embedded};
use bookwire_engine::time::{Level, TsNanos};
use bookwire_sim::market::Segment;
use bookwire_sim::{Exchange, Sim, SimConfig};
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;

use crate::rig::{Rig, TURN};

const BACKFILL: &str = "/api/crypto/history/backfill";
const KEY: &str = "ops.an-operators-secret";
const DAYS: i64 = 20;

async fn until(rig: &Rig, path: &str, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, body) = rig.get(path).await;
        if is_right(&body) {
            return body;
        }
        assert!(Instant::now() < end, "{what}: {body}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn bars_of(body: &Value) -> u64 {
    let all = body["series"].as_array().unwrap();
    let own = all.iter().filter(|row| row["series"] == "klines");
    own.map(|row| row["rows"].as_u64().unwrap()).sum()
}

fn is_over(body: &Value) -> bool {
    body["is_planned"] == true && body["series_over"] == body["series_count"]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_goes_on_after_a_kill_and_missed_trades_are_fetched() {
    let config = SimConfig {
        exchanges: vec![Exchange::Binance],
        intensity: 20.0,
        ..SimConfig::default()
    };
    let more = format!(
        "[data_collection]\ndefault_backfill_days = {DAYS}\nbackfill_trades_max = 3000\n\
         [providers.binance]\nsymbols = [\"btcusdt\", \"btcusdt-perp\"]\n"
    );
    let mut rig = Rig::start_with(config, &more).await;
    let control = rig.sim.control();
    control.inject("slow:path=/api/v3/klines,ms=30".parse().unwrap());
    let all = u64::try_from(DAYS * 1440).unwrap();
    let first = until(&rig, BACKFILL, "some pages", |body| {
        bars_of(body) >= all / 3
    })
    .await;
    assert!(!is_over(&first), "{first}");
    rig.kill_gateway();
    control.clear_all();
    rig.start_gateway().await;
    let second = until(&rig, BACKFILL, "the rest", is_over).await;
    assert_eq!(second["series_failed"], 0, "{second}");
    assert_eq!(second["series_count"], 5, "{second}");
    let (before, after) = (bars_of(&first), bars_of(&second));
    assert!(
        after <= 2 * all - before + 10,
        "nothing twice: {before} {after}"
    );
    for symbol in ["btcusdt", "btcusdt-perp"] {
        let start = TsNanos::from_ms(control.now_ms() - (DAYS * 1440 - 60) * 60_000).to_rfc3339();
        let gaps = format!(
            "/api/crypto/validation/gaps?provider=binance&symbol={symbol}&start_timestamp={start}"
        );
        let (status, body) = rig.get(&gaps).await;
        assert_eq!(status, 200, "{body}");
        assert!(body["expected_bars"].as_u64().unwrap() > all - 70, "{body}");
        // The last bar may have closed just now.
        let rest = body["gaps"].as_array().unwrap();
        let missing: u64 = rest
            .iter()
            .map(|g| g["missing_bars"].as_u64().unwrap())
            .sum();
        assert!(missing <= 2, "{body}");
    }
    missed_trades_are_stored(&rig).await;
}

/// Trades that the store has, without any fetch: nothing is named.
async fn stored_trades(rig: &Rig, from_ms: i64) -> Vec<(u64, String, String, bool)> {
    let path = format!(
        "/api/data/CryptoTrade?provider=binance&start_timestamp={from_ms}&limit=100000\
         &page_size=100000&numbers=string"
    );
    let (status, body) = rig.get(&path).await;
    assert_eq!(status, 200, "{body}");
    let rows = body["data"].as_array().unwrap().iter();
    let own = rows.filter(|row| row["entity_id"] == "cryptopair_binance_btcusdt");
    let mut found: Vec<_> = own
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let id = row["trade_id"].to_string().trim_matches('"').parse();
            let is_sell = row["side"] == "sell";
            (id.unwrap(), text("price"), text("volume"), is_sell)
        })
        .collect();
    found.sort_unstable_by_key(|row| row.0);
    found
}

async fn missed_trades_are_stored(rig: &Rig) {
    let control = rig.sim.control();
    let from_ms = control.now_ms() - 1_000;
    let missed = |body: &Value| -> u64 {
        let text = body.as_str().unwrap();
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix("bookwire_trades_missed_total "));
        line.unwrap().parse().unwrap()
    };
    let (_, before) = rig.get("/metrics").await;
    control.inject("maintenance:market=spot,for=2s".parse().unwrap());
    let is_news = |body: &Value| missed(body) > missed(&before);
    until(rig, "/metrics", "a hole in the trades", is_news).await;
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let stored = stored_trades(rig, from_ms).await;
        let (first, last) = (stored[0].0, stored[stored.len() - 1].0);
        let count = usize::try_from(last - first + 1).unwrap();
        if stored.len() == count {
            let truth = control.trades(Segment::Spot, "BTCUSDT", first, count);
            let plain = |text: &str| match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text.to_owned(),
            };
            let truth: Vec<_> = truth
                .iter()
                .map(|t| (t.id, plain(&t.price), plain(&t.qty), t.is_buyer_maker))
                .collect();
            let stored: Vec<_> = stored
                .iter()
                .map(|row| (row.0, plain(&row.1), plain(&row.2), row.3))
                .collect();
            assert_eq!(stored, truth);
            return;
        }
        assert!(Instant::now() < end, "{} of {count} trades", stored.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The machine's clock, shifted.
struct Shifted {
    system: SystemClock,
    by: i64,
}

impl Clock for Shifted {
    fn now(&self) -> TsNanos {
        TsNanos(self.system.now().0 + self.by)
    }

    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }

    fn sleep(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.system.sleep(time)
    }
}

/// A gateway in this process with the simulator's time, which stands just before a full minute.
async fn open(sim: &Sim, folder: &Path) -> (server::ServerHandle, Gateway) {
    let mut config = Config::default();
    for (name, provider) in &mut config.providers {
        provider.enabled = name == "binance";
    }
    let endpoints = sim.endpoints();
    config.use_endpoints("the simulator", &endpoints).unwrap();
    config.server.workers = 1;
    let system = SystemClock::new();
    let by = sim.control().now_ms() * 1_000_000 - system.now().0;
    let clock = Arc::new(Shifted { by, system });
    let store = open_embedded(folder.join("store.db")).unwrap();
    let options = GatewayOptions {
        data_dir: Some(folder.to_owned()),
        ..engine::options(&config)
    };
    let gateway = Gateway::start(options, clock, Some(Box::new(store))).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while gateway.instruments().iter().next().is_none() {
        assert!(Instant::now() < end, "no instruments");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let key = OperatorKey::parse(KEY).ok();
    let server = server::start_with(listener, &config, gateway.clone(), key).unwrap();
    (server, gateway)
}

async fn ask(server: &server::ServerHandle, path: &str) -> Value {
    let url = format!("http://{}{path}", server.address());
    let answer = reqwest::get(url).await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn reasons(body: &Value) -> Vec<(&str, u64)> {
    let gaps = body["gaps"].as_array().unwrap().iter();
    let of = |gap: &'_ Value| gap["missing_bars"].as_u64().unwrap();
    gaps.map(|gap| (gap["reason"].as_str().unwrap(), of(gap)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_tell_their_reason_and_are_repaired() {
    let _turn = TURN.lock().await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minute = 1_900_000_000_000_i64.div_euclid(60_000) * 60_000;
    let sim = Sim::start(SimConfig {
        exchanges: vec![Exchange::Binance],
        start_ms: Some(minute + 55_000),
        ..SimConfig::default()
    });
    let sim = sim.await.expect("the simulator starts");
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = open(&sim, folder.path()).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    server.stop().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (server, gateway) = open(&sim, folder.path()).await;
    let end = Instant::now() + Duration::from_secs(30);
    while sim.control().now_ms() < minute + 62_500 {
        assert!(Instant::now() < end);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let path = format!(
        "/api/crypto/validation/gaps?provider=binance&symbol=btcusdt&interval=1m\
         &start_timestamp={}&end_timestamp={minute}",
        minute - 9 * 60_000
    );
    let body = ask(&server, &path).await;
    assert_eq!(
        reasons(&body),
        [("not_collected", 9), ("bookwire_down", 1)],
        "{body}"
    );
    assert_eq!(
        (&body["expected_bars"], &body["present_bars"]),
        (&10.into(), &0.into())
    );

    // One of them comes, and is not believed.
    let table = gateway.instruments();
    let instrument = table
        .iter()
        .find(|row| row.entity_id() == "cryptopair_binance_btcusdt")
        .unwrap();
    let row = KlineRow {
        entity: Entity::of(instrument),
        level: Level::M1,
        ts: TsNanos::from_ms(minute - 3 * 60_000),
        open: 1.into(),
        high: 1.into(),
        low: 1.into(),
        close: 1.into(),
        volume_base: 1.into(),
        volume_quote: None,
        trade_count: None,
    };
    let quarantine = gateway.quarantine();
    quarantine.put(row, Fault::Outlier, Source::Live, TsNanos(0));
    let body = ask(&server, &path).await;
    let expected = [
        ("not_collected", 6),
        ("quarantined", 1),
        ("not_collected", 2),
        ("bookwire_down", 1),
    ];
    assert_eq!(reasons(&body), expected, "{body}");
    released(&server).await;
    let body = ask(&server, &path).await;
    assert_eq!(body["present_bars"], 1, "{body}");

    let body = ask(&server, &format!("{path}&backfill=true")).await;
    assert_eq!(body["backfill"]["outcome"], "complete", "{body}");
    assert_eq!(body["completeness_pct"], 100.0, "{body}");
    assert!(
        reasons(&body).iter().all(|gap| gap.0 == "no_trades"),
        "{body}"
    );
    server.stop().await;
    let kept = std::fs::read_to_string(folder.path().join("uptime.log")).unwrap();
    assert_eq!(
        kept.lines().filter(|line| line.starts_with("run ")).count(),
        1
    );
}

/// The bar in quarantine is shown, and stored at the operator's word alone.
async fn released(server: &server::ServerHandle) {
    let list = "/api/crypto/validation/quarantine?reason=outlier&numbers=string";
    let body = ask(server, list).await;
    assert_eq!(
        (&body["total"], &body["data"][0]["high"]),
        (&1.into(), &"1".into())
    );
    let id = &body["data"][0]["id"];
    let url = format!(
        "http://{}/api/crypto/validation/quarantine/{id}/release",
        server.address()
    );
    let client = reqwest::Client::new();
    let refused = client.post(&url).send().await.unwrap();
    assert_eq!(refused.status().as_u16(), 401);
    let key = format!("Bearer {KEY}");
    let release = client.post(&url).header("authorization", &key);
    let answer = release.send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(ask(server, list).await["total"], 0);
    let again = client.post(&url).header("authorization", &key);
    assert_eq!(again.send().await.unwrap().status().as_u16(), 404);
}
