//! A QuestDB server as the store: killed under load and back again, and bookwire killed likewise.
//! What clients saw is in the store afterwards, once.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;
use std::time::{Duration, Instant};

use bookwire_sim::SimConfig;
use serde_json::{Value, json};

use crate::rig::{Feed, Rig};

#[path = "../../engine/tests/questdb/server.rs"]
#[allow(dead_code, reason = "the engine's own tests use all of it")]
pub(crate) mod server;

const CODES: [&str; 2] = ["btcusdt", "ethusdt"];
/// Rows, by id, as JSON without what only one of both sides has.
type Trades = BTreeMap<String, [String; 3]>;

/// What a client saw.
#[derive(Default)]
struct Seen {
    trades: Trades,
    /// Time of the first trade.
    since: Option<String>,
}

fn trade(data: &Value, id: &str) -> (String, [String; 3]) {
    let text = |name: &str| data[name].to_string().trim_matches('"').to_owned();
    let id = format!("{id}_{}", text("trade_id"));
    (id, [text("price"), text("volume"), text("side")])
}

/// Takes trades for a while and adds them to `seen`.
async fn watch(feed: &mut Feed, seen: &mut Seen, span: Duration) -> usize {
    let before = seen.trades.len();
    for message in feed.collect(span).await {
        if message["stream"] == "crypto.trades" {
            let id = message["entity_id"].as_str().unwrap();
            let at = message["data"]["timestamp"].as_str().unwrap().to_owned();
            let since = seen.since.get_or_insert_with(|| at.clone());
            *since = at.min(since.clone());
            seen.trades.extend([trade(&message["data"], id)]);
        }
    }
    seen.trades.len() - before
}

async fn subscribed(rig: &Rig) -> Feed {
    let mut feed = rig.feed().await;
    feed.subscribe(json!({"stream": "crypto.trades", "provider": "binance", "symbols": CODES}))
        .await;
    feed
}

async fn stored(rig: &Rig, seen: &Seen) -> Trades {
    let since = seen.since.as_deref().unwrap_or_default();
    let mut all = Trades::new();
    for code in CODES {
        let id = format!("cryptopair_binance_{code}");
        let path = format!(
            "/api/data/CryptoTrade?provider=binance&entity_ids={id}\
             &start_timestamp={since}&limit=100000&page_size=100000&numbers=string"
        );
        let (status, body) = rig.get(&path).await;
        assert_eq!(status, 200, "{body}");
        let rows = body["data"].as_array().unwrap();
        let count = all.len() + rows.len();
        all.extend(rows.iter().map(|row| trade(row, &id)));
        assert_eq!(all.len(), count, "a trade is stored twice");
    }
    all
}

async fn check(rig: &Rig) -> (String, String) {
    let (_, health) = rig.get("/api/crypto/health").await;
    let of = |part: &str| {
        let value = &health[part]["database_connectivity"];
        value.as_str().unwrap_or_default().to_owned()
    };
    (of("checks"), of("reasons"))
}

/// Waits until nothing waits for the store any more.
async fn caught_up(rig: &Rig) {
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        let (grade, reason) = check(rig).await;
        let waiting = rig.metric("bookwire_store_spool_rows").await;
        if grade == "pass" && waiting == Some(0.0) {
            return;
        }
        assert!(
            Instant::now() < end,
            "{grade} {reason} {waiting:?}\n{}",
            rig.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_servers_cost_no_row_and_double_none() {
    let Some(mut server) = server::Server::start(&[]) else {
        return;
    };
    let options = server.options("e2e_");
    let password = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(password.path(), "quest\n").unwrap();
    let more = format!(
        "[store]\nkind = \"questdb\"\n[store.questdb]\nhttp = \"http://{}\"\npg = \"{}\"\n\
         table_prefix = \"e2e_\"\nrequest_timeout_ms = 2000\npassword_file = {:?}\n",
        options.http,
        options.pg,
        password.path()
    );
    let mut rig = Rig::start_with(SimConfig::default(), &more).await;
    let mut seen = Seen::default();
    let mut feed = subscribed(&rig).await;
    watch(&mut feed, &mut seen, Duration::from_secs(2)).await;

    server.kill();
    let came = watch(&mut feed, &mut seen, Duration::from_secs(4)).await;
    assert!(came > 0, "live data flows without the store");
    let (grade, reason) = check(&rig).await;
    assert_ne!(grade, "pass", "{reason}");
    assert!(rig.metric("bookwire_store_spool_rows").await > Some(0.0));
    server.restart();
    watch(&mut feed, &mut seen, Duration::from_secs(2)).await;
    caught_up(&rig).await;
    contains(&stored(&rig, &seen).await, &seen.trades);

    // The other way round: what waits on disk when bookwire dies is stored by the next start.
    server.kill();
    watch(&mut feed, &mut seen, Duration::from_secs(3)).await;
    // What came in the last moment may be lost (store.flush_ms, and a write under way).
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    drop(feed);
    rig.kill_gateway();
    server.restart();
    rig.start_gateway().await;
    caught_up(&rig).await;
    contains(&stored(&rig, &seen).await, &seen.trades);

    // A file of them, beside the running gateway.
    let export = Command::new(env!("CARGO_BIN_EXE_gateway-under-test"))
        .args(["export", "--schema", "CryptoTrade", "--provider", "binance"])
        .args(["--format", "csv", "--config"])
        .arg(rig.config())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&export.stderr);
    assert_eq!(export.status.code(), Some(0), "{said}");
    let text = String::from_utf8(export.stdout).unwrap();
    let ids: HashSet<&str> = text
        .lines()
        .filter_map(|line| line.split(',').next())
        .collect();
    for id in seen.trades.keys() {
        assert!(ids.contains(&**id), "{id} is not in the file");
    }

    // Another password than the server's: told, and nothing but the store is lost.
    std::fs::write(password.path(), "wrong\n").unwrap();
    rig.kill_gateway();
    rig.start_gateway().await;
    let mut feed = subscribed(&rig).await;
    assert!(watch(&mut feed, &mut Seen::default(), Duration::from_secs(2)).await > 0);
    let (grade, reason) = check(&rig).await;
    assert_eq!(
        (&*grade, &*reason),
        ("fail", "the store refuses the password")
    );
    let log = rig.log();
    assert!(log.contains("BOOKWIRE_QUESTDB_PASSWORD"), "{log}");
    assert!(!log.contains("wrong"), "{log}");
}

fn contains(stored: &Trades, seen: &Trades) {
    assert!(seen.len() > 10, "only {} trades", seen.len());
    for (id, trade) in seen {
        assert_eq!(stored.get(id), Some(trade), "{id} was served");
    }
}
