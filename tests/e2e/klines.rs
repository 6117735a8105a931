//! Bars of all levels where the exchange streams one of them: they equal the simulator's market,
//! forming and closed, through a lost connection, and so does what is stored of them.
//!
//! The simulator's clock stands shortly before midnight, and the gateway's with it: at midnight all
//! seven levels close within one test.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use bookwire_actors::clock::{Clock, SystemClock};
use bookwire_actors::gateway::Gateway;
use bookwire_api::{engine, server};
use bookwire_engine::config::Config;
use bookwire_engine::store::open_embedded;
use bookwire_engine::time::{Level, TsNanos};
use bookwire_sim::market::{Interval, Segment, TimeRange};
use bookwire_sim::{Exchange, KlineTruth, Sim, SimConfig, SimControl};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::rig::{Feed, turns};

const DAY_MS: i64 = 86_400_000;
/// Market time before midnight at the start: a whole minute lies within it.
const BEFORE_MS: i64 = 95_000;
/// A fault strikes so long before midnight, amid the last minute.
const FAULT_MS: i64 = 40_000;

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

/// A gateway in this process with the simulator's time.
struct Shop {
    sim: Sim,
    server: server::ServerHandle,
    _folder: tempfile::TempDir,
    _turn: tokio::sync::SemaphorePermit<'static>,
}

impl Shop {
    async fn open(exchange: Exchange, start_ms: i64) -> Self {
        let turn = turns(1).await;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sim = Sim::start(SimConfig {
            exchanges: vec![exchange],
            start_ms: Some(start_ms),
            ..SimConfig::default()
        });
        let sim = sim.await.expect("the simulator starts");
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data_dir = folder.path().to_owned();
        for (name, provider) in &mut config.providers {
            provider.enabled = name == exchange.as_str();
        }
        config
            .use_endpoints("the simulator", &sim.endpoints())
            .unwrap();
        config.server.workers = 1;
        let system = SystemClock::new();
        let clock = Shifted {
            by: sim.control().now_ms() * 1_000_000 - system.now().0,
            system,
        };
        let store = open_embedded(folder.path().join("store.db")).unwrap();
        let options = engine::options(&config);
        let gateway = Gateway::start(options, Arc::new(clock), Some(Box::new(store))).unwrap();
        let end = Instant::now() + Duration::from_secs(30);
        while gateway.instruments().iter().next().is_none() {
            assert!(Instant::now() < end, "no instruments");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = server::start_on(listener, &config, gateway).unwrap();
        Self {
            sim,
            server,
            _folder: folder,
            _turn: turn,
        }
    }

    async fn feed(&self) -> Feed {
        Feed::connect(&format!("ws://{}/ws?numbers=string", self.server.address())).await
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("http://{}{path}", self.server.address());
        let answer = reqwest::get(url).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.json().await.unwrap()
    }
}

/// The simulator's bar.
fn truth(control: &SimControl, level: Level, open_ms: i64) -> Option<KlineTruth> {
    let range = TimeRange {
        start_ms: Some(open_ms),
        end_ms: Some(open_ms),
        limit: 1,
    };
    let interval = Interval::parse(level.as_str()).unwrap();
    let bars = control.klines(Segment::Spot, "BTC-USD", interval, range);
    bars.into_iter().find(|bar| bar.trades > 0)
}

/// A bar as users get it, by value: text without trailing zeros.
fn shown(data: &Value) -> [String; 5] {
    ["open", "high", "low", "close", "volume"].map(|name| plain(&data[name]))
}

fn plain(number: &Value) -> String {
    let text = match number {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

fn told(bar: &KlineTruth) -> [String; 5] {
    let [open, high, low, close] = bar.ohlc.clone();
    [open, high, low, close, bar.volume.clone()].map(|text| plain(&Value::String(text)))
}

fn open_ms(data: &Value) -> i64 {
    TsNanos::parse(data["timestamp"].as_str().unwrap())
        .unwrap()
        .as_ms()
}

/// What came of each level.
#[derive(Default)]
struct Tape {
    newest: BTreeMap<Level, Value>,
    closed: BTreeMap<(Level, i64), Value>,
}

impl Tape {
    fn take(&mut self, message: &Value) {
        if message["stream"] != "crypto.klines" {
            return;
        }
        let level = Level::parse(message["interval"].as_str().unwrap()).unwrap();
        let data = message["data"].clone();
        if data["is_closed"] == true {
            let twice = self.closed.insert((level, open_ms(&data)), data.clone());
            assert!(twice.is_none(), "closed twice: {message}");
        } else {
            let is_closed = self.closed.contains_key(&(level, open_ms(&data)));
            assert!(!is_closed, "went on after its close: {message}");
        }
        let older = self.newest.get(&level).map_or(0, open_ms);
        if open_ms(&data) >= older {
            self.newest.insert(level, data);
        }
    }
}

async fn read_until(control: &SimControl, feed: &mut Feed, tape: &mut Tape, until_ms: i64) {
    while control.now_ms() < until_ms {
        if let Some(message) = feed.next(Duration::from_millis(100)).await {
            tape.take(&message);
        }
    }
}

/// Stops the market and compares the running bars of `levels` with it.
async fn compare_running(
    control: &SimControl,
    feed: &mut Feed,
    tape: &mut Tape,
    levels: &[Level],
    context: &str,
) {
    control.pause();
    let end = Instant::now() + Duration::from_secs(10);
    let mut wrong = levels.to_vec();
    while !wrong.is_empty() {
        assert!(
            Instant::now() < end,
            "{context}: not equal: {wrong:?} {:?}",
            wrong
                .iter()
                .map(|level| tape.newest.get(level))
                .collect::<Vec<_>>()
        );
        if let Some(message) = feed.next(Duration::from_millis(50)).await {
            tape.take(&message);
        }
        wrong.retain(|level| {
            let Some(data) = tape.newest.get(level) else {
                return true;
            };
            let bar = truth(control, *level, open_ms(data)).expect("the simulator has the bar");
            shown(data) != told(&bar)
        });
    }
    control.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bars_of_all_levels_of_coinbase_equal_the_market() {
    let midnight = (1_900_000_000_000_i64.div_euclid(DAY_MS)) * DAY_MS;
    let shop = Shop::open(Exchange::Coinbase, midnight - BEFORE_MS).await;
    let control = shop.sim.control();
    let schemas = shop.get("/api/data/schemas?provider=coinbase").await;
    let expected = Level::ALL.map(|level| format!("CryptoPair{level}Kdata"));
    assert_eq!(schemas["kdata_schemas"], json!(expected));

    let mut feed = shop.feed().await;
    let mut tape = Tape::default();
    for level in Level::ALL {
        feed.subscribe(json!({"stream": "crypto.klines", "provider": "coinbase",
            "symbols": ["btcusd"], "interval": level.as_str()}))
            .await;
    }
    let last_minute = midnight - 60_000;
    read_until(&control, &mut feed, &mut tape, last_minute + 8_000).await;
    // All of them are amid their time, most since long before the stream began.
    compare_running(&control, &mut feed, &mut tape, &Level::ALL, "running").await;
    let first = (Level::M1, last_minute - 60_000);
    assert!(
        tape.closed.contains_key(&first),
        "the first minute was fetched when it was over"
    );

    read_until(&control, &mut feed, &mut tape, midnight - FAULT_MS).await;
    control.inject("drop:stream=trade,count=3".parse().unwrap());
    read_until(&control, &mut feed, &mut tape, midnight - 12_000).await;
    assert!(
        control.faults().iter().all(|fault| fault.strikes > 0),
        "the fault struck"
    );
    compare_running(&control, &mut feed, &mut tape, &Level::ALL, "after a loss").await;

    // A quiet bar may be told closed by history only.
    let ends = |level: Level| (level, midnight - level.nanos() / 1_000_000);
    let end = midnight + 45_000;
    while control.now_ms() < end
        && !Level::ALL
            .iter()
            .all(|l| tape.closed.contains_key(&ends(*l)))
    {
        if let Some(message) = feed.next(Duration::from_millis(100)).await {
            tape.take(&message);
        }
    }
    for level in Level::ALL {
        let data = tape.closed.get(&ends(level));
        let data = data.unwrap_or_else(|| panic!("{level} did not close"));
        let bar = truth(&control, level, ends(level).1).unwrap();
        assert_eq!(shown(data), told(&bar), "{level}");
        if level == Level::M1 {
            assert_eq!(data["trade_count"], bar.trades, "from trades");
            assert_eq!(
                plain(&data["volume_quote"]),
                plain(&json!(bar.quote_volume))
            );
        }
    }
    compare_stored(&shop, &control, midnight).await;
    shop.server.stop().await;
}

/// What is stored and fetched of the last bars, those that closed live among them.
async fn compare_stored(shop: &Shop, control: &SimControl, midnight: i64) {
    for level in Level::ALL {
        let step = level.nanos() / 1_000_000;
        // Four hours are added up from hours: several pages of them.
        let count = if level == Level::H4 { 200 } else { 5 };
        let (start, end) = (midnight - count * step, midnight - step);
        let path = format!(
            "/api/data/CryptoPair{level}Kdata?provider=coinbase&codes=btcusd&numbers=string\
             &start_timestamp={start}&end_timestamp={end}"
        );
        let answer = shop.get(&path).await;
        let rows = answer["data"].as_array().unwrap();
        let bars: Vec<KlineTruth> = (1..=count)
            .rev()
            .filter_map(|back| truth(control, level, midnight - back * step))
            .collect();
        assert_eq!(rows.len(), bars.len(), "{level}: {answer}");
        for (row, bar) in rows.iter().zip(&bars) {
            assert_eq!(open_ms(row), bar.open_ms, "{level}");
            assert_eq!(shown(row), told(bar), "{level} {}", bar.open_ms);
        }
    }
}
