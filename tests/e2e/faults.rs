//! Under each scripted fault the gateway comes back by itself, its book equals the simulator's
//! afterwards, its client is told, and never gets a delta that does not apply (the client's own
//! checks see to that while it reads).

use std::collections::HashMap;
use std::time::Duration;

use bookwire_sim::fault::FaultSpec;
use bookwire_sim::market::Segment;
use bookwire_sim::{Exchange, SimConfig};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::time::Instant;

use crate::rig::{Feed, Rig};

const SYMBOLS: [(Segment, &str, &str); 2] = [
    (Segment::Spot, "BTCUSDT", "btcusdt"),
    (Segment::Linear, "BTCUSDT", "btcusdt-perp"),
];

/// One side of a book: price and quantity, best first.
type Levels = Vec<(String, String)>;

/// Books that have the same sequence on both sides before a recovery counts.
const MATCHES: usize = 3;

/// An exchange under faults: the simulator alone and the gateway against it.
async fn rig_of(exchange: Exchange, seed: u64) -> Rig {
    Rig::start(SimConfig {
        seed,
        exchanges: vec![exchange],
        ..SimConfig::default()
    })
    .await
}

async fn subscribed(rig: &Rig, exchange: Exchange) -> Feed {
    let mut feed = rig.feed().await;
    let provider = exchange.as_str();
    let symbols: Vec<&str> = SYMBOLS.iter().map(|(_, _, ours)| *ours).collect();
    feed.subscribe(json!({"stream": "crypto.orderbook", "provider": provider,
        "symbols": symbols, "depth": 20, "mode": "delta"}))
        .await;
    feed.subscribe(json!({"stream": "crypto.trades", "provider": provider, "symbols": symbols}))
        .await;
    feed
}

/// Reads until the client's books equal the simulator's, each at the same update id, several times.
///
/// The simulator's book moves on between the moments at which it publishes, so that it is sampled
/// often and compared where the ids meet.
async fn wait_until_equal(rig: &Rig, feed: &mut Feed, within: Duration, context: &str) {
    let end = Instant::now() + within;
    let mut truth: HashMap<(&str, u64), (Levels, Levels)> = HashMap::new();
    let mut matches: HashMap<&str, usize> = HashMap::new();
    let mut compared: HashMap<&str, u64> = HashMap::new();
    let control = rig.sim.control();
    while SYMBOLS
        .iter()
        .any(|(_, _, ours)| matches.get(ours).copied().unwrap_or(0) < MATCHES)
    {
        assert!(
            Instant::now() < end,
            "{context}: not recovered within {within:?}: {matches:?}"
        );
        for (segment, native, ours) in SYMBOLS {
            let Some(book) = control.book(segment, native) else {
                continue;
            };
            let plain = |(price, qty): &(String, String)| (plain(price), plain(qty));
            let top = |side: &[(String, String)]| side.iter().take(20).map(plain).collect();
            truth.insert(
                (ours, book.last_update_id),
                (top(&book.bids), top(&book.asks)),
            );
        }
        let _ = feed.next(Duration::from_millis(1)).await;
        for (_, _, ours) in SYMBOLS {
            let Some(book) = feed.book(ours) else {
                continue;
            };
            if compared.get(ours) == Some(&book.sequence) {
                continue;
            }
            if let Some((bids, asks)) = truth.get(&(ours, book.sequence)) {
                assert_eq!((&book.bids, &book.asks), (bids, asks), "{context}: {ours}");
                compared.insert(ours, book.sequence);
                *matches.entry(ours).or_default() += 1;
            }
        }
    }
}

/// A number without trailing zeros, as the gateway writes it.
fn plain(number: &str) -> String {
    match number.contains('.') {
        true => number
            .trim_end_matches('0')
            .trim_end_matches('.')
            .to_owned(),
        false => number.to_owned(),
    }
}

/// Reads until every fault has ended or struck as often as it should, then takes all back.
async fn wait_until_struck(rig: &Rig, feed: &mut Feed, within: Duration, context: &str) {
    let (start, control) = (Instant::now(), rig.sim.control());
    let is_over = |fault: &bookwire_sim::FaultState| match fault.spec.duration {
        Some(duration) => start.elapsed() > fault.spec.after + duration,
        None => fault.spec.count.is_none_or(|count| fault.strikes >= count),
    };
    while !control.faults().iter().all(is_over) {
        let late = start.elapsed() > within;
        assert!(
            !late,
            "{context}: did not strike within {within:?}: {:?}",
            control.faults()
        );
        let _ = feed.next(Duration::from_millis(20)).await;
    }
    control.clear_all();
}

/// One fault: its text, whether clients must be told, and how long the recovery may take.
type Fault = (&'static str, bool, u64);

/// Faults of all exchanges.
const FAULTS: &[Fault] = &[
    ("gap:market=spot,symbol=BTCUSDT", true, 20),
    ("gap:market=usdm,symbol=BTCUSDT", true, 20),
    ("drop:stream=depth,symbol=BTCUSDT,count=3", true, 20),
    ("duplicate:stream=depth,symbol=BTCUSDT,count=20", false, 20),
    ("reorder:stream=depth,symbol=BTCUSDT,count=2", true, 20),
    ("delay:stream=depth,symbol=BTCUSDT,ms=350,count=2", true, 20),
    ("malformed:stream=depth,symbol=BTCUSDT,count=2", true, 20),
    ("disconnect:market=spot", true, 30),
    ("disconnect:market=usdm,count=2", true, 30),
    ("server-shutdown:market=spot", false, 30),
    ("half-open:market=spot,stream=depth", true, 90),
    ("maintenance:market=usdm,for=4s", true, 60),
];

/// Exchanges, and faults of what only they have: books that begin with a fetched snapshot.
const EXCHANGES: &[(Exchange, &[Fault])] = &[
    (
        Exchange::Binance,
        &[
            ("stale-snapshot:count=2", false, 20),
            ("429:path=/api/v3/depth,count=2,retry_after=1", false, 30),
            ("503:path=/fapi/v1/depth,count=2", false, 30),
            ("malformed-rest:path=/api/v3/depth,count=1", false, 30),
        ],
    ),
    (Exchange::Bybit, &[]),
];

/// REST faults strike only when a snapshot is fetched, so a gap goes with them.
fn needs_a_snapshot(fault: &FaultSpec) -> bool {
    fault.path.is_some() || fault.kind.as_str().ends_with("snapshot")
}

async fn recovers_from_each_fault(exchange: Exchange) {
    let rig = rig_of(exchange, 1).await;
    let mut feed = subscribed(&rig, exchange).await;
    wait_until_equal(&rig, &mut feed, Duration::from_secs(30), "start").await;
    let own = EXCHANGES.iter().find(|(known, _)| *known == exchange);
    let own = own.expect("the table has the exchange").1;
    for (text, must_tell, seconds) in FAULTS.iter().chain(own) {
        let context = format!("{}: {text}", exchange.as_str());
        let fault: FaultSpec = text.parse().unwrap();
        let told = feed.statuses.len();
        let control = rig.sim.control();
        let has_snapshot = needs_a_snapshot(&fault);
        control.inject(fault);
        if has_snapshot {
            for market in ["spot", "usdm"] {
                control.inject(
                    format!("gap:market={market},symbol=BTCUSDT")
                        .parse()
                        .unwrap(),
                );
            }
        }
        let within = Duration::from_secs(*seconds);
        wait_until_struck(&rig, &mut feed, within, &context).await;
        wait_until_equal(&rig, &mut feed, within, &context).await;
        let news = &feed.statuses[told..];
        assert!(
            !must_tell || !news.is_empty(),
            "{context}: the client was not told"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault_of_binance() {
    recovers_from_each_fault(Exchange::Binance).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault_of_bybit() {
    recovers_from_each_fault(Exchange::Bybit).await;
}

/// Random faults, several at a time. A failure prints the seed; `BOOKWIRE_FAULT_SEED` repeats it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_random_faults() {
    for (exchange, _) in EXCHANGES {
        recovers_from_random_faults(*exchange).await;
    }
}

async fn recovers_from_random_faults(exchange: Exchange) {
    let seed = std::env::var("BOOKWIRE_FAULT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    eprintln!("BOOKWIRE_FAULT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let rig = rig_of(exchange, seed).await;
    let mut feed = subscribed(&rig, exchange).await;
    for round in 0..3 {
        let mut given = Vec::new();
        for _ in 0..4 {
            let kind = [
                "drop",
                "gap",
                "duplicate",
                "reorder",
                "delay",
                "malformed",
                "disconnect",
            ]
            .choose(&mut rng)
            .unwrap();
            let market = ["spot", "usdm"].choose(&mut rng).unwrap();
            let text = match *kind {
                "disconnect" | "gap" => format!("{kind}:market={market}"),
                _ => format!(
                    "{kind}:market={market},p={:.2},for={}ms",
                    rng.random_range(0.02..0.5),
                    rng.random_range(500..3000)
                ),
            };
            rig.sim.control().inject(text.parse().unwrap());
            given.push(text);
        }
        let name = exchange.as_str();
        let context = format!("{name}: seed {seed}, round {round}, {given:?}");
        wait_until_struck(&rig, &mut feed, Duration::from_secs(60), &context).await;
        wait_until_equal(&rig, &mut feed, Duration::from_secs(60), &context).await;
    }
}
