//! More than clients read, and clients that come and go: nothing is corrupted, everything that is
//! left out is told, memory stays bounded, and nothing is left behind.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bookwire_sim::market::Segment;
use bookwire_sim::{Exchange, SimConfig};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::rig::{Feed, Rig};

const MIB: u64 = 1 << 20;

/// Enough for everything here, and a small queue for each client.
const LIMITS: &str = "[websocket]\nconnections_per_ip = 1000\nmessages_per_second = 100000\n\
     outbox_messages = 256\nmemory_bytes_max = 33554432\n\n\
     [limits]\nrequests_per_minute = 100000\n\n[providers.binance]\nlinger_secs = 0\n";

async fn rig() -> Rig {
    let config = SimConfig {
        exchanges: vec![Exchange::Binance],
        seed: 11,
        ..SimConfig::default()
    };
    Rig::start_alone(config, LIMITS).await
}

/// Levels and counters of the gateway by name, those with labels aside.
async fn metrics(rig: &Rig) -> BTreeMap<String, f64> {
    let (status, body) = rig.get("/metrics").await;
    assert_eq!(status, 200);
    let text = body.as_str().expect("text").to_owned();
    let rows = text.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|row| row.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect()
}

/// Resident memory of the gateway's process, bytes.
fn resident(rig: &Rig) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// How old a message's news are on arrival, microseconds.
fn age(message: &Value) -> Option<u64> {
    let received = message["data"]["received_ns"].as_u64()?;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    Some(now.saturating_sub(received) / 1000)
}

/// Reads for a while; ages of what came.
async fn ages(feed: &mut Feed, span: Duration) -> Vec<u64> {
    let end = Instant::now() + span;
    let mut found = Vec::new();
    while let Some(message) = feed
        .next(end.saturating_duration_since(Instant::now()))
        .await
    {
        found.extend(age(&message));
    }
    found.sort_unstable();
    found
}

async fn watch(rig: &Rig, mode: &str, depth: u32, symbols: &[&str]) -> Feed {
    let mut feed = rig.feed().await;
    feed.subscribe(json!({"streams": [
        {"stream": "crypto.orderbook", "provider": "binance", "symbols": symbols,
            "depth": depth, "mode": mode, "timing": true},
        {"stream": "crypto.trades", "provider": "binance", "symbols": symbols, "timing": true},
        {"stream": "crypto.ticker", "provider": "binance", "symbols": symbols, "timing": true},
    ]}))
    .await;
    feed
}

/// With the market at rest the client's books are those of the simulator.
async fn equal_at_rest(rig: &Rig, feed: &mut Feed, depth: usize) {
    let control = rig.sim.control();
    control.pause();
    while feed.next(Duration::from_millis(400)).await.is_some() {}
    for (segment, ours) in [
        (Segment::Spot, "btcusdt"),
        (Segment::Linear, "btcusdt-perp"),
    ] {
        let truth = control.book(segment, "BTCUSDT").unwrap();
        let book = feed.book(ours).expect("a book");
        for (have, want) in [(&book.bids, &truth.bids), (&book.asks, &truth.asks)] {
            let number = |(price, qty): &(String, String)| -> (f64, f64) {
                (price.parse().unwrap(), qty.parse().unwrap())
            };
            let have: Vec<_> = have.iter().map(number).collect();
            let want: Vec<_> = want.iter().take(depth).map(number).collect();
            assert_eq!(have, want, "{ours}");
        }
    }
    control.resume();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_corrupts_nothing_and_is_over_when_it_is_over() {
    const SYMBOLS: [&str; 2] = ["btcusdt", "btcusdt-perp"];
    let rig = rig().await;
    let mut good = watch(&rig, "delta", 20, &SYMBOLS).await;
    let mut slow = watch(&rig, "delta", 20, &SYMBOLS).await;
    // Whole books of a thousand levels, of which it will take none.
    let frozen = watch(&rig, "snapshot", 1000, &SYMBOLS).await;
    let _ = ages(&mut good, Duration::from_millis(500)).await;
    let before = ages(&mut good, Duration::from_secs(1)).await;
    let rss = resident(&rig);

    rig.sim.control().set_intensity(300.0);
    let reading = async {
        let mut most = 0;
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let _ = ages(&mut good, Duration::from_millis(100)).await;
            most = most.max(resident(&rig));
        }
        most
    };
    let most = reading.await;
    rig.sim.control().set_intensity(1.0);

    // A second later a client that reads has news that are as fresh as before.
    let _ = ages(&mut good, Duration::from_secs(1)).await;
    let after = ages(&mut good, Duration::from_millis(1500)).await;
    let p99 = |ages: &[u64]| ages[ages.len() * 99 / 100];
    assert!(
        before.len() > 10 && after.len() > 10,
        "{} {}",
        before.len(),
        after.len()
    );
    assert!(
        p99(&after) < (5 * p99(&before)).max(50_000),
        "{} µs old, {} before",
        p99(&after),
        p99(&before)
    );

    // Those that did not read had so many messages waiting, no more: 256 each, of at most 60 KB.
    assert!(
        most < rss + 96 * MIB,
        "{} MiB, {} before",
        most / MIB,
        rss / MIB
    );
    let counted = metrics(&rig).await;
    let used = counted["bookwire_ws_memory_bytes"];
    assert!(used < 33_554_432.0 * 1.125, "{used}");
    assert!(counted["bookwire_ws_messages_dropped_total"] > 0.0);

    // The slow one finds out what it missed, and the truth.
    let _ = slow.collect(Duration::from_millis(1500)).await;
    equal_at_rest(&rig, &mut slow, 20).await;
    equal_at_rest(&rig, &mut good, 20).await;
    assert!(slow.dropped > 0, "the burst was more than it could take");
    assert_eq!(
        slow.missing, slow.dropped,
        "what is missing is what was told"
    );
    assert_eq!(good.missing, good.dropped);
    drop(frozen);
}

/// What must be nothing when all clients are gone.
const LEVELS: [&str; 5] = [
    "bookwire_ws_sessions",
    "bookwire_ws_subscriptions",
    "bookwire_ws_topics",
    "bookwire_ws_queue_bytes",
    "bookwire_exchange_streams",
];

async fn at_rest(rig: &Rig) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let now = metrics(rig).await;
        let differing: Vec<_> = LEVELS
            .iter()
            .filter(|name| now[**name] > 0.0)
            .map(|name| format!("{name}: {}", now[*name]))
            .collect();
        if differing.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "left behind: {differing:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Subscribes and unsubscribes `cycles` times, fifty requests under way at a time.
async fn cycle(rig: &Rig, cycles: usize) {
    let url = format!("ws://{}/ws", rig.api);
    let mut feed = Feed::connect(&url).await;
    let streams = ["crypto.trades", "crypto.ticker", "crypto.orderbook"];
    for round in 0..cycles.div_ceil(25) {
        for n in 0..25 {
            let params = json!({"stream": streams[(round + n) % 3], "provider": "binance",
                "symbols": ["btcusdt"]});
            for method in ["subscribe", "unsubscribe"] {
                let request = json!({"id": n, "method": method, "params": params});
                feed.send_raw(request.to_string().into()).await;
            }
        }
        let mut answers = 0;
        while answers < 50 {
            let message = feed.next_raw(Duration::from_secs(10)).await;
            if let Some(status) = message["status"].as_str() {
                assert_ne!(status, "error", "{message}");
                answers += 1;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_and_go_leave_nothing_behind() {
    let rig = rig().await;
    // What is allocated once is there after a first round.
    cycle(&rig, 500).await;
    drop(rig.feed().await);
    at_rest(&rig).await;
    let rss = resident(&rig);

    let url = format!("ws://{}/ws", rig.api);
    join_all((0..8).map(|_| cycle(&rig, 1250))).await;
    for _ in 0..50 {
        let connects = (0..20).map(|n| {
            let url = &url;
            async move {
                let mut feed = Feed::connect(url).await;
                if n % 2 == 0 {
                    let request = json!({"method": "subscribe", "params": {
                        "stream": "crypto.ticker", "provider": "binance", "symbols": ["btcusdt"]}});
                    feed.send_raw(request.to_string().into()).await;
                }
            }
        });
        join_all(connects).await;
    }
    at_rest(&rig).await;
    let grown = resident(&rig).saturating_sub(rss);
    assert!(grown < 24 * MIB, "{} KiB more", grown >> 10);
}
