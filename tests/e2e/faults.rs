//! Under each scripted fault the gateway comes back by itself, its book equals the simulator's
//! afterwards, its client is told, and never gets a delta that does not apply (the client's own
//! checks see to that while it reads).

use std::collections::HashMap;
use std::time::Duration;

use bookwire_sim::fault::FaultSpec;
use bookwire_sim::market::Segment;
use bookwire_sim::{BookTruth, Exchange, OkxLimits, SimConfig};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::time::Instant;

use crate::rig::{Feed, Rig};

/// An exchange under fault: how it is simulated, and what is watched.
struct Venue {
    provider: &'static str,
    exchange: Exchange,
    /// Two books: market, the exchange's symbol, ours. Spot and perpetual where it has both.
    symbols: [(Segment, &'static str, &'static str); 2],
    /// Paths of their snapshots; `None` where books begin with the stream.
    snapshots: Option<[&'static str; 2]>,
    /// What the sequence of its books counts.
    sequence: Sequence,
    simulated: fn(&mut SimConfig),
}

/// What a sequence counts.
enum Sequence {
    /// States of a book: those with the same number are the same.
    States,
    /// Messages of the connection: it says nothing about the book.
    Messages,
}

const BINANCE: Venue = Venue {
    provider: "binance",
    exchange: Exchange::Binance,
    symbols: [
        (Segment::Spot, "BTCUSDT", "btcusdt"),
        (Segment::Linear, "BTCUSDT", "btcusdt-perp"),
    ],
    snapshots: Some(["/api/v3/depth", "/fapi/v1/depth"]),
    sequence: Sequence::States,
    simulated: |_| {},
};

const OKX: Venue = Venue {
    provider: "okx",
    exchange: Exchange::Okx,
    symbols: [
        (Segment::Spot, "BTC-USDT", "btcusdt"),
        (Segment::Linear, "BTC-USDT-SWAP", "btcusdt-perp"),
    ],
    snapshots: None,
    sequence: Sequence::States,
    simulated: |_| {},
};

const BYBIT: Venue = Venue {
    provider: "bybit",
    exchange: Exchange::Bybit,
    symbols: [
        (Segment::Spot, "BTCUSDT", "btcusdt"),
        (Segment::Linear, "BTCUSDT", "btcusdt-perp"),
    ],
    snapshots: None,
    sequence: Sequence::States,
    simulated: |_| {},
};

/// OKX as it has announced to become: books without a first image.
const OKX_WITHOUT_IMAGES: Venue = Venue {
    snapshots: Some(["/api/v5/market/books"; 2]),
    simulated: |config| {
        config.okx = OkxLimits {
            has_images: false,
            ..OkxLimits::default()
        };
    },
    ..OKX
};

/// It has no perpetuals.
const COINBASE: Venue = Venue {
    provider: "coinbase",
    exchange: Exchange::Coinbase,
    symbols: [
        (Segment::Spot, "BTC-USD", "btcusd"),
        (Segment::Spot, "ETH-USD", "ethusd"),
    ],
    snapshots: None,
    sequence: Sequence::Messages,
    simulated: |_| {},
};

/// The word that faults name a market by.
fn word(market: Segment) -> &'static str {
    match market {
        Segment::Spot => "spot",
        Segment::Linear => "usdm",
    }
}

impl Venue {
    async fn rig(&self, seed: u64) -> Rig {
        let mut config = SimConfig {
            exchanges: vec![self.exchange],
            seed,
            ..SimConfig::default()
        };
        (self.simulated)(&mut config);
        Rig::start(config).await
    }

    /// A fault of the table in this exchange's words; `None`: it has no such thing.
    fn fault(&self, text: &str) -> Option<FaultSpec> {
        if self.snapshots.is_none() && (text.contains("{path_") || text.contains("snapshot")) {
            return None;
        }
        let mut text = text.to_owned();
        let books = ["a", "b"].iter().zip(&self.symbols);
        for ((name, (market, native, _)), path) in books.zip(self.snapshots.unwrap_or_default()) {
            text = text
                .replace(&format!("{{market_{name}}}"), word(*market))
                .replace(&format!("{{symbol_{name}}}"), native)
                .replace(&format!("{{path_{name}}}"), path);
        }
        Some(text.parse().unwrap())
    }
}

/// One side of a book: price and quantity, best first.
type Levels = Vec<(String, String)>;

/// Books that have the same sequence on both sides before a recovery counts.
const MATCHES: usize = 3;

async fn subscribed(rig: &Rig, venue: &Venue) -> Feed {
    let mut feed = rig.feed().await;
    let symbols: Vec<&str> = venue.symbols.iter().map(|(_, _, ours)| *ours).collect();
    let provider = venue.provider;
    feed.subscribe(json!({"stream": "crypto.orderbook", "provider": provider,
        "symbols": symbols, "depth": 20, "mode": "delta"}))
        .await;
    feed.subscribe(json!({"stream": "crypto.trades", "provider": provider, "symbols": symbols}))
        .await;
    feed
}

/// Reads until the client's books equal the simulator's several times.
async fn wait_until_equal(
    rig: &Rig,
    venue: &Venue,
    feed: &mut Feed,
    within: Duration,
    context: &str,
) {
    match venue.sequence {
        Sequence::States => wait_for_equal_states(rig, venue, feed, within, context).await,
        Sequence::Messages => wait_for_equal_rests(rig, venue, feed, within, context).await,
    }
}

/// A book of the simulator as deep as the client's, in the client's form.
fn top(book: &BookTruth) -> (Levels, Levels) {
    let row = |(price, qty): &(String, String)| (plain(price), plain(qty));
    let side = |side: &[(String, String)]| side.iter().take(20).map(row).collect();
    (side(&book.bids), side(&book.asks))
}

/// The books equal when market time stands still and all that happened has arrived.
async fn wait_for_equal_rests(
    rig: &Rig,
    venue: &Venue,
    feed: &mut Feed,
    within: Duration,
    context: &str,
) {
    let (end, control) = (Instant::now() + within, rig.sim.control());
    let mut matches = 0;
    let mut compared = [0; 2];
    while matches < MATCHES {
        let _ = feed.collect(Duration::from_millis(200)).await;
        control.pause();
        while let Some(message) = feed.next(Duration::from_millis(200)).await {
            assert!(Instant::now() < end, "{context}: no rest, but {message}");
        }
        let mut differing = Vec::new();
        for (&(segment, native, ours), compared) in venue.symbols.iter().zip(&mut compared) {
            let truth = top(&control.book(segment, native).unwrap());
            match feed.book(ours) {
                // News, and nothing but the truth.
                Some(book)
                    if book.sequence != *compared
                        && (&book.bids, &book.asks) == (&truth.0, &truth.1) =>
                {
                    *compared = book.sequence;
                }
                _ => differing.push(ours),
            }
        }
        control.resume();
        matches = match differing.is_empty() {
            true => matches + 1,
            false => 0,
        };
        assert!(
            Instant::now() < end,
            "{context}: not recovered within {within:?}: {matches} equal, then {differing:?} not"
        );
    }
}

/// The books equal at the same sequence.
///
/// The simulator's book moves on between the moments at which it publishes, so that it is sampled
/// often and compared where the ids meet.
async fn wait_for_equal_states(
    rig: &Rig,
    venue: &Venue,
    feed: &mut Feed,
    within: Duration,
    context: &str,
) {
    let end = Instant::now() + within;
    let mut truth: HashMap<(&str, u64), (Levels, Levels)> = HashMap::new();
    let mut matches: HashMap<&str, usize> = HashMap::new();
    let mut compared: HashMap<&str, u64> = HashMap::new();
    let control = rig.sim.control();
    while venue
        .symbols
        .iter()
        .any(|(_, _, ours)| matches.get(ours).copied().unwrap_or(0) < MATCHES)
    {
        assert!(
            Instant::now() < end,
            "{context}: not recovered within {within:?}: {matches:?}"
        );
        for &(segment, native, ours) in &venue.symbols {
            let Some(book) = control.book(segment, native) else {
                continue;
            };
            truth.insert((ours, book.last_update_id), top(&book));
        }
        let _ = feed.next(Duration::from_millis(1)).await;
        for &(_, _, ours) in &venue.symbols {
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

/// One fault for every exchange: its text with an exchange's two books as `a` and `b`, whether clients must be told, and how long the recovery
/// may take.
const FAULTS: &[(&str, bool, u64)] = &[
    ("gap:market={market_a},symbol={symbol_a}", true, 20),
    ("gap:market={market_b},symbol={symbol_b}", true, 20),
    ("drop:stream=depth,symbol={symbol_a},count=3", true, 20),
    (
        "duplicate:stream=depth,symbol={symbol_b},count=20",
        false,
        20,
    ),
    ("reorder:stream=depth,symbol={symbol_a},count=2", true, 20),
    (
        "delay:stream=depth,symbol={symbol_b},ms=350,count=2",
        true,
        20,
    ),
    ("malformed:stream=depth,symbol={symbol_a},count=2", true, 20),
    ("disconnect:market={market_a}", true, 30),
    ("disconnect:market={market_b},count=2", true, 30),
    ("server-shutdown:market={market_a}", false, 30),
    ("half-open:market={market_a},stream=depth", true, 90),
    ("stale-snapshot:count=2", false, 20),
    ("429:path={path_a},count=2,retry_after=1", false, 30),
    ("503:path={path_b},count=2", false, 30),
    ("malformed-rest:path={path_a},count=1", false, 30),
    ("maintenance:market={market_b},for=4s", true, 60),
];

/// REST faults strike only when a snapshot is fetched, so a gap goes with them.
fn needs_a_snapshot(fault: &FaultSpec) -> bool {
    fault.path.is_some() || fault.kind.as_str().ends_with("snapshot")
}

async fn recovers_from_each_fault(venue: &Venue) {
    let rig = venue.rig(1).await;
    let mut feed = subscribed(&rig, venue).await;
    let start = Duration::from_secs(30);
    wait_until_equal(&rig, venue, &mut feed, start, "start").await;
    for (text, must_tell, seconds) in FAULTS {
        let Some(fault) = venue.fault(text) else {
            continue;
        };
        let told = feed.statuses.len();
        let control = rig.sim.control();
        let has_snapshot = needs_a_snapshot(&fault);
        control.inject(fault);
        if has_snapshot {
            for gap in [
                "gap:market={market_a},symbol={symbol_a}",
                "gap:market={market_b},symbol={symbol_b}",
            ] {
                control.inject(venue.fault(gap).unwrap());
            }
        }
        let within = Duration::from_secs(*seconds);
        let context = format!("{}: {text}", venue.provider);
        wait_until_struck(&rig, &mut feed, within, &context).await;
        wait_until_equal(&rig, venue, &mut feed, within, &context).await;
        let news = &feed.statuses[told..];
        assert!(
            !must_tell || !news.is_empty(),
            "{context}: the client was not told"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault() {
    recovers_from_each_fault(&BINANCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault_of_okx() {
    recovers_from_each_fault(&OKX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault_of_okx_without_images() {
    recovers_from_each_fault(&OKX_WITHOUT_IMAGES).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault_of_bybit() {
    recovers_from_each_fault(&BYBIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_each_fault_of_coinbase() {
    recovers_from_each_fault(&COINBASE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_random_faults_of_coinbase() {
    recovers_from_random_faults(&COINBASE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_random_faults_of_bybit() {
    recovers_from_random_faults(&BYBIT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_random_faults() {
    recovers_from_random_faults(&BINANCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_random_faults_of_okx() {
    recovers_from_random_faults(&OKX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_recovers_from_random_faults_of_okx_without_images() {
    recovers_from_random_faults(&OKX_WITHOUT_IMAGES).await;
}

/// Random faults, several at a time. A failure prints the seed; `BOOKWIRE_FAULT_SEED` repeats it.
async fn recovers_from_random_faults(venue: &Venue) {
    let seed = std::env::var("BOOKWIRE_FAULT_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(rand::random::<u64>);
    eprintln!("BOOKWIRE_FAULT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let rig = venue.rig(seed).await;
    let mut feed = subscribed(&rig, venue).await;
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
            let market = word(venue.symbols.choose(&mut rng).unwrap().0);
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
        let context = format!("{}, seed {seed}, round {round}, {given:?}", venue.provider);
        wait_until_struck(&rig, &mut feed, Duration::from_secs(60), &context).await;
        wait_until_equal(&rig, venue, &mut feed, Duration::from_secs(60), &context).await;
    }
}
