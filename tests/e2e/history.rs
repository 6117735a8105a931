//! History that nobody asks for: the backfill of a start, gaps and their repair, and trades that
//! were missed while a connection was lost.

use std::collections::BTreeMap;
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
use bookwire_engine::store::{Entity, KlineRow, Row, open_embedded};
use bookwire_engine::time::{Level, TsNanos};
use bookwire_sim::market::Segment;
use bookwire_sim::{Exchange, Sim, SimConfig};
use futures_util::future::BoxFuture;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::rig::{Rig, turns};
use crate::trading::exchanges;

const BACKFILL: &str = "/api/crypto/history/backfill";
const KEY: &str = "ops.an-operators-secret";
const DAYS: i64 = 10;

async fn until(rig: &Rig, path: &str, what: &str, is_right: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let (_, body) = rig.get(path).await;
        if is_right(&body) {
            return body;
        }
        assert!(Instant::now() < end, "{what}: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
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
        intensity: 3.0,
        ..SimConfig::default()
    };
    let more = format!(
        "[data_collection]\ndefault_backfill_days = {DAYS}\nbackfill_trades_max = 3000\n\
         [providers.binance]\nsymbols = [\"btcusdt\", \"btcusdt-perp\"]\n"
    );
    let mut rig = Rig::start_with(config, &more).await;
    let control = rig.sim.control();
    control.inject("slow:path=/api/v3/klines,ms=60".parse().unwrap());
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

/// A tape that is watched: whose, and what its trades are called.
type Tape = (Exchange, Segment, &'static str, &'static str);

const TAPES: [Tape; 4] = [
    (Exchange::Binance, Segment::Spot, "BTCUSDT", "btcusdt"),
    (Exchange::Okx, Segment::Spot, "BTC-USDT", "btcusdt"),
    // Of spot pairs it shows no more than 60 trades.
    (Exchange::Bybit, Segment::Linear, "BTCUSDT", "btcusdt-perp"),
    (Exchange::Coinbase, Segment::Spot, "BTC-USD", "btcusd"),
];

/// Quantity by time, price and whether the taker sold: OKX's stream tells the trades of one taker
/// at one price as one, its history one by one.
type Told = BTreeMap<(i64, Decimal, bool), Decimal>;

fn add(told: &mut Told, ts: i64, price: &str, qty: &str, is_sell: bool) {
    let number = |text: &str| Decimal::from_str_exact(text).unwrap();
    *told.entry((ts, number(price), is_sell)).or_default() += number(qty);
}

/// Trades that the store has, without any fetch: nothing is named.
async fn stored_trades(rig: &Rig, tape: Tape, from_ms: i64, to_ms: i64) -> Told {
    let path = format!(
        "/api/data/CryptoTrade?provider={}&start_timestamp={from_ms}&end_timestamp={to_ms}\
         &limit=100000&page_size=100000&numbers=string",
        tape.0.as_str()
    );
    let (status, body) = rig.get(&path).await;
    assert_eq!(status, 200, "{body}");
    let rows = body["data"].as_array().unwrap().iter();
    let kind = match tape.1 {
        Segment::Spot => "cryptopair",
        Segment::Linear => "cryptoperp",
    };
    let of_tape = |row: &&Value| {
        let code = tape.3.trim_end_matches("-perp");
        row["code"] == code && row["entity_id"].as_str().unwrap().starts_with(kind)
    };
    let mut found = Told::new();
    for row in rows.filter(of_tape) {
        let text = |name: &str| row[name].as_str().unwrap();
        let ts = TsNanos::parse(text("timestamp")).unwrap().as_ms();
        let is_sell = text("side") == "sell";
        add(&mut found, ts, text("price"), text("volume"), is_sell);
    }
    found
}

/// The same by the exchange's own book-keeping.
fn true_trades(rig: &Rig, tape: Tape, from_ms: i64, to_ms: i64) -> Told {
    let (exchange, market, native, _) = tape;
    let control = rig.sim.control().of(exchange).unwrap();
    let page = |id: u64, count: usize| control.trades(market, native, id, count);
    let is_before = |id: u64| page(id, 1).first().is_some_and(|t| t.ts_ms < from_ms);
    let (mut low, mut high) = (0u64, 1 << 40);
    while low < high {
        let middle = low + (high - low) / 2;
        match is_before(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    let all = page(low, 100_000);
    let mut found = Told::new();
    for one in all
        .iter()
        .filter(|t| from_ms <= t.ts_ms && t.ts_ms <= to_ms)
    {
        add(
            &mut found,
            one.ts_ms,
            &one.price,
            &one.qty,
            one.is_buyer_maker,
        );
    }
    found
}

async fn missed_trades_are_stored(rig: &Rig) {
    let mut feed = rig.feed().await;
    for (exchange, _, _, symbol) in TAPES {
        feed.subscribe(
            json!({"stream": "crypto.trades", "provider": exchange.as_str(),
            "symbols": [symbol]}),
        )
        .await;
    }
    let control = rig.sim.control();
    let _ = feed.collect(Duration::from_millis(1500)).await;
    let from_ms = control.now_ms() - 500;
    for (exchange, ..) in TAPES {
        let control = control.of(exchange).unwrap();
        control.inject("maintenance:for=1500ms".parse().unwrap());
    }
    // More than the attempts of a request: what is left goes to the backfill.
    let away = "503:path=/api/v3/historicalTrades,count=4";
    control.inject(away.parse().unwrap());
    // Until all of them have gone on.
    let over = control.now_ms() + 1_500;
    let mut to_ms = BTreeMap::new();
    let end = Instant::now() + Duration::from_secs(30);
    while to_ms.len() < TAPES.len() {
        assert!(Instant::now() < end, "still away: {to_ms:?}");
        let Some(message) = feed.next(Duration::from_millis(100)).await else {
            continue;
        };
        if message["stream"] == "crypto.trades" {
            let ts = TsNanos::parse(message["data"]["timestamp"].as_str().unwrap());
            let provider = message["provider"].as_str().unwrap().to_owned();
            if ts.unwrap().as_ms() > over {
                to_ms.entry(provider).or_insert(ts.unwrap().as_ms() - 1);
            }
        }
    }
    for tape in TAPES {
        let name = tape.0.as_str();
        let truth = true_trades(rig, tape, from_ms, to_ms[name]);
        assert!(truth.len() > 10, "{name}: {} trades", truth.len());
        loop {
            let stored = stored_trades(rig, tape, from_ms, to_ms[name]).await;
            if stored == truth {
                break;
            }
            let differs = |(key, qty): &(&_, &_)| truth.get(*key) != Some(*qty);
            let wrong = stored.iter().filter(differs).count();
            let (have, want) = (stored.len(), truth.len());
            assert!(
                Instant::now() < end,
                "{name}: {have} of {want} trades, {wrong} of them wrong"
            );
            let _ = feed.collect(Duration::from_millis(300)).await;
        }
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
    config.server.data_dir = folder.to_owned();
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
    let _turn = turns(1).await;
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
    let row = bar_of_one(&gateway, minute - 3 * 60_000);
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
    corrections_replace(&server, &gateway, minute).await;
    server.stop().await;
    let kept = std::fs::read_to_string(folder.path().join("uptime.log")).unwrap();
    assert_eq!(
        kept.lines().filter(|line| line.starts_with("run ")).count(),
        1
    );
}

/// Bars are missing because the exchange was away when they ended: that is told, and others are not
/// explained by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_was_away_is_named_as_the_reason() {
    let _turn = turns(1).await;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minute = 1_900_000_000_000_i64.div_euclid(60_000) * 60_000;
    let sim = Sim::start(SimConfig {
        exchanges: vec![Exchange::Binance],
        start_ms: Some(minute + 45_000),
        ..SimConfig::default()
    });
    let sim = sim.await.expect("the simulator starts");
    let folder = tempfile::tempdir().unwrap();
    let (server, _) = open(&sim, folder.path()).await;
    // A stream, without which no connection could be lost.
    let book = "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=5";
    let url = format!("http://{}{book}", server.address());
    let end = Instant::now() + Duration::from_secs(60);
    while reqwest::get(&url).await.unwrap().status() != 200 {
        assert!(Instant::now() < end, "no book");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let away_ms = minute + 62_000 - sim.control().now_ms();
    assert!(away_ms > 4_000, "the book came too late: {away_ms} ms left");
    let fault = format!("maintenance:for={away_ms}ms");
    sim.control().inject(fault.parse().unwrap());
    let path = format!(
        "/api/crypto/validation/gaps?provider=binance&symbol=btcusdt&interval=1m\
         &start_timestamp={}&end_timestamp={minute}",
        minute - 2 * 60_000
    );
    loop {
        let body = ask(&server, &path).await;
        let is_over = sim.control().now_ms() > minute + 63_000;
        if is_over && body["expected_bars"] == 3 {
            let expected = [("not_collected", 2), ("exchange_down", 1)];
            assert_eq!(reasons(&body), expected, "{body}");
            break;
        }
        assert!(Instant::now() < end, "{body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let body = ask(&server, &format!("{path}&backfill=true")).await;
    assert_eq!(body["backfill"]["outcome"], "complete", "{body}");
    server.stop().await;
}

/// Nobody subscribes, so nothing is recorded: the latest trades are asked for again and again all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_latest_trades_are_those_of_now() {
    let config = SimConfig {
        intensity: 3.0,
        ..exchanges(&[Exchange::Binance])
    };
    let rig = Rig::start(config).await;
    let path = "/api/data/CryptoTrade?provider=binance&codes=btcusdt&limit=5&numbers=string";
    let newest = async || {
        let (status, body) = rig.get(path).await;
        assert_eq!(status, 200, "{body}");
        let ts = TsNanos::parse(body["data"][0]["timestamp"].as_str().unwrap());
        rig.sim.control().now_ms() - ts.unwrap().as_ms()
    };
    for _ in 0..3 {
        // What is younger than two seconds may not be final there, the answer before is good for three.
        let age = newest().await;
        assert!(age < 9_000, "{age} ms old");
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
}

/// An answer that was given before is not given again when one of its bars was corrected.
async fn corrections_replace(server: &server::ServerHandle, gateway: &Gateway, minute: i64) {
    let path = format!(
        "/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt&numbers=string\
         &start_timestamp={}&end_timestamp={}",
        minute - 3 * 60_000,
        minute - 60_000
    );
    let first = ask(server, &path).await;
    assert_eq!(first["total"], 3, "{first}");
    assert_eq!(ask(server, &path).await, first);
    let recorder = gateway.recorder().unwrap();
    for (before, expected) in [(2, [1, 7, 1]), (1, [1, 7, 7]), (4, [1, 7, 7])] {
        let mut row = bar_of_one(gateway, minute - before * 60_000);
        row.close = 7.into();
        recorder.write(vec![Row::Kline(row)]).await.unwrap();
        let body = ask(server, &path).await;
        let rows = body["data"].as_array().unwrap().iter();
        let found: Vec<bool> = rows.map(|row| row["close"] == "7").collect();
        assert_eq!(found, expected.map(|close| close == 7), "{body}");
    }
    // The bar before the first one is what its change is against.
    let body = ask(server, &path).await;
    assert_ne!(
        body["data"][0]["change_pct"], first["data"][0]["change_pct"],
        "{body}"
    );
}

fn bar_of_one(gateway: &Gateway, ms: i64) -> KlineRow {
    let table = gateway.instruments();
    let mut rows = table.iter();
    let instrument = rows.find(|row| row.entity_id() == "cryptopair_binance_btcusdt");
    KlineRow {
        entity: Entity::of(instrument.unwrap()),
        level: Level::M1,
        ts: TsNanos::from_ms(ms),
        open: 1.into(),
        high: 1.into(),
        low: 1.into(),
        close: 1.into(),
        volume_base: 1.into(),
        volume_quote: None,
        trade_count: None,
    }
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
