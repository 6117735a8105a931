//! QuestDB and bookwire killed, over and over, by a schedule drawn from a seed. What the exchange has told
//! meanwhile is in the store at the end: every trade once, with its numbers, and every bar.
//!
//! `BOOKWIRE_KILLS_SECS` makes the runs longer than a few seconds, with servers that stay away for up to a
//! minute; `BOOKWIRE_KILLS_SEED` repeats one.

use std::collections::BTreeMap;
use std::time::Duration;

use bookwire_sim::market::{Interval, Segment, TimeRange};
use bookwire_sim::{Exchange, SimConfig};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::questdb::server::Server;
use crate::rig::{Feed, Rig};

/// Whose trades are compared: native symbol, code.
const PAIRS: [(&str, &str); 2] = [("BTCUSDT", "btcusdt"), ("ETHUSDT", "ethusdt")];
/// Seconds of a run unless told otherwise.
const SHORT: u64 = 8;
/// Longest time away in short runs and in long ones, milliseconds.
const AWAY: (u64, u64) = (1_500, 60_000);
/// Rows in an answer at most.
const ROWS: usize = 100_000;

/// A row by its id, as texts.
type Rows = BTreeMap<String, Vec<String>>;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Server,
    Gateway,
    Both,
}

struct Run {
    rig: Rig,
    server: Option<Server>,
    feed: Option<Feed>,
}

impl Run {
    /// Lets clients watch for a while: what they want is recorded live.
    async fn watch(&mut self, time: Duration) {
        match &mut self.feed {
            Some(feed) => drop(feed.collect(time).await),
            None => tokio::time::sleep(time).await,
        }
    }

    async fn subscribe(&mut self) {
        let mut feed = self.rig.feed().await;
        let codes = PAIRS.map(|(_, code)| code);
        for stream in ["crypto.trades", "crypto.klines"] {
            let mut wanted = json!({"stream": stream, "provider": "binance", "symbols": codes});
            if stream == "crypto.klines" {
                wanted["interval"] = "1m".into();
            }
            feed.subscribe(wanted).await;
        }
        self.feed = Some(feed);
    }

    /// On a thread of its own: a client that reads nothing meanwhile would be given up.
    async fn restart_server(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let restarted = tokio::task::spawn_blocking(move || {
            server.restart();
            server
        });
        while !restarted.is_finished() {
            self.watch(Duration::from_millis(200)).await;
        }
        self.server = Some(restarted.await.expect("the server starts again"));
    }

    async fn kill(&mut self, victim: Victim, away: Duration, random: &mut StdRng) {
        let hits_server = victim != Victim::Gateway && self.server.is_some();
        let hits_gateway = victim != Victim::Server || self.server.is_none();
        if let (true, Some(server)) = (hits_server, &mut self.server) {
            server.kill();
        }
        if hits_gateway {
            self.feed = None;
            self.rig.kill_gateway();
        }
        self.watch(away).await;
        // Which one comes back first is chance too.
        let is_server_first = random.random_bool(0.5);
        for turn in [is_server_first, !is_server_first] {
            match turn {
                true if hits_server => self.restart_server().await,
                false if hits_gateway => {
                    self.rig.start_gateway().await;
                    self.subscribe().await;
                }
                _ => {}
            }
        }
    }

    /// All rows of a schema and pair, page by page; what is missing is fetched by the gateway.
    async fn stored(&self, schema: &str, code: &str, range: (i64, i64), fields: &[&str]) -> Rows {
        let mut found = Rows::new();
        for page in 1.. {
            let path = format!(
                "/api/data/{schema}?provider=binance&entity_ids=cryptopair_binance_{code}\
                 &start_timestamp={}&end_timestamp={}&limit={}&page_size=1000&page={page}\
                 &numbers=string",
                range.0,
                range.1,
                if schema == "CryptoTrade" {
                    ROWS
                } else {
                    10_000
                },
            );
            let end = Instant::now() + Duration::from_secs(90);
            let body = loop {
                match self.rig.get(&path).await {
                    (200, body) => break body,
                    // What is missing is fetched, which takes as long as it takes.
                    (503, body) => assert!(Instant::now() < end, "{body}"),
                    (_, body) => panic!("{body}"),
                }
            };
            assert!(body["warnings"].is_null(), "{body}");
            for row in body["data"].as_array().unwrap() {
                let text = |name: &&str| match &row[*name] {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let row: Vec<String> = fields.iter().map(text).collect();
                let twice = found.insert(row[0].clone(), row);
                assert!(twice.is_none(), "{schema}: {twice:?} is there twice");
            }
            if body["has_more"] != true {
                assert!(found.len() < ROWS, "the run was too long for one answer");
                break;
            }
        }
        found
    }

    /// Trades of the exchange's own book-keeping.
    fn true_trades(&self, native: &str, range: (i64, i64)) -> Rows {
        let control = self.rig.sim.control().of(Exchange::Binance).unwrap();
        let page = |id: u64, count| control.trades(Segment::Spot, native, id, count);
        let (mut low, mut high) = (0u64, 1 << 40);
        while low < high {
            let middle = low + (high - low) / 2;
            match page(middle, 1).first().is_some_and(|t| t.ts_ms < range.0) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        let mut all = Rows::new();
        loop {
            let trades = page(low, 1_000);
            for one in &trades {
                let side = if one.is_buyer_maker { "sell" } else { "buy" };
                if one.ts_ms <= range.1 {
                    let id = one.id.to_string();
                    let row = [&id, &plain(&one.price), &plain(&one.qty), side];
                    all.insert(id.clone(), row.map(|text| text.to_owned()).to_vec());
                }
            }
            match trades.last() {
                Some(last) if last.ts_ms <= range.1 => low = last.id + 1,
                _ => return all,
            }
        }
    }

    fn true_bars(&self, native: &str, range: (i64, i64)) -> Rows {
        let control = self.rig.sim.control().of(Exchange::Binance).unwrap();
        let range = TimeRange {
            start_ms: Some(range.0),
            end_ms: Some(range.1),
            limit: 10_000,
        };
        let bars = control.klines(Segment::Spot, native, Interval::M1, range);
        let bars = bars.iter().filter(|bar| bar.trades > 0);
        bars.map(|bar| {
            let ts = bookwire_engine::time::TsNanos::from_ms(bar.open_ms).to_rfc3339_seconds();
            let mut row = vec![ts.clone()];
            row.extend(bar.ohlc.iter().chain([&bar.volume]).map(|text| plain(text)));
            (ts, row)
        })
        .collect()
    }
}

/// Without trailing zeros, as answers have it.
fn plain(text: &str) -> String {
    let number = rust_decimal::Decimal::from_str_exact(text).unwrap();
    number.normalize().to_string()
}

fn same(what: &str, stored: &Rows, truth: &Rows) {
    for (id, row) in truth {
        assert_eq!(stored.get(id), Some(row), "{what}: the exchange told it");
    }
    for (id, row) in stored {
        assert!(truth.contains_key(id), "{what}: never told: {row:?}");
    }
}

async fn run(server: Option<Server>, more: &str) {
    let seed = number("BOOKWIRE_KILLS_SEED").unwrap_or_else(rand::random);
    let secs = number("BOOKWIRE_KILLS_SECS");
    let away_max = if secs.is_some() { AWAY.1 } else { AWAY.0 };
    let time = Duration::from_secs(secs.unwrap_or(SHORT));
    let what = if server.is_some() {
        "QuestDB"
    } else {
        "embedded"
    };
    println!("kills, {what}: seed {seed}, {} s", time.as_secs());
    let mut random = StdRng::seed_from_u64(seed);
    let config = SimConfig {
        intensity: 2.0,
        // What the exchange says it told has to be what it told.
        trades_kept: ROWS,
        ..SimConfig::default()
    };
    let rig = Rig::start_with(config, more).await;
    let begun = Instant::now();
    let mut run = Run {
        rig,
        server,
        feed: None,
    };
    let from_ms = run.rig.sim.control().now_ms();
    run.subscribe().await;
    let mut kills = BTreeMap::<String, u32>::new();
    while begun.elapsed() < time || kills.len() < 2 {
        let calm = random.random_range(500..=if secs.is_some() { 20_000 } else { 1_500 });
        run.watch(Duration::from_millis(calm)).await;
        let victims = [Victim::Server, Victim::Gateway, Victim::Both];
        // Each at least once where there is a server, then as it comes.
        let victim = match kills.len() {
            count @ 0..=1 => victims[count],
            _ => victims[random.random_range(0..3)],
        };
        let away = Duration::from_millis(random.random_range(100..=away_max));
        println!(
            "{:>6} ms: {victim:?} away for {away:?}",
            begun.elapsed().as_millis()
        );
        run.kill(victim, away, &mut random).await;
        *kills.entry(format!("{victim:?}")).or_default() += 1;
    }
    run.watch(Duration::from_millis(500)).await;
    caught_up(&run.rig).await;
    // What is younger is not asked for from the exchange yet.
    let to_ms = run.rig.sim.control().now_ms();
    run.watch(Duration::from_millis(2_500)).await;
    let range = (from_ms, to_ms);
    for (native, code) in PAIRS {
        let fields = ["trade_id", "price", "volume", "side"];
        let stored = run.stored("CryptoTrade", code, range, &fields).await;
        let truth = run.true_trades(native, range);
        assert!(truth.len() > 10, "{code}: only {} trades", truth.len());
        same(&format!("{code}: trades"), &stored, &truth);
        // The bar that is open at either end is only partly told.
        let minutes = (from_ms.div_euclid(60_000) * 60_000 + 60_000, to_ms - 60_000);
        let mut bars = 0;
        if minutes.0 <= minutes.1 {
            let fields = ["timestamp", "open", "high", "low", "close", "volume_base"];
            let mut stored = run
                .stored("CryptoPair1mKdata", code, minutes, &fields)
                .await;
            stored.retain(|_, row| row[5] != "0");
            let truth = run.true_bars(native, minutes);
            same(&format!("{code}: bars"), &stored, &truth);
            bars = truth.len();
        }
        println!("{code}: {} trades and {bars} bars are right", truth.len());
    }
    println!("kills, {what}: {kills:?} in {:?}", begun.elapsed());
}

/// Waits until nothing waits for the store any more.
async fn caught_up(rig: &Rig) {
    let end = Instant::now() + Duration::from_secs(90);
    loop {
        let (_, health) = rig.get("/api/crypto/health").await;
        let is_well = health["checks"]["database_connectivity"] == "pass";
        let waiting = rig.metric("bookwire_store_spool_rows").await;
        if is_well && waiting == Some(0.0) {
            return;
        }
        assert!(Instant::now() < end, "{health} {waiting:?}\n{}", rig.log());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_questdb_and_bookwire_cost_no_row() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let options = server.options("kills_");
    let more = format!(
        "[store]\nkind = \"questdb\"\n[store.questdb]\nhttp = \"http://{}\"\npg = \"{}\"\n\
         table_prefix = \"kills_\"\nrequest_timeout_ms = 2000\n",
        options.http, options.pg
    );
    run(Some(server), &more).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_bookwire_with_its_own_store_cost_no_row() {
    run(None, "").await;
}
