//! Which moments of a frame's way are taken, and what taking them costs.

use super::*;
use crate::clock::SystemClock;
use crate::latency::{ShardLatency, StageHistogram, StageLatency, Stamp};
use crate::ring::{LaneMsg, LaneRx, Publication, WorkerWake, lane};
use crate::testkit::{depth, kline, table, trade};
use crate::topic::BookMode;
use bookwire_engine::book::sync::SnapshotOutcome;
use bookwire_engine::event::{BookLevel, BookSnapshot};
use bookwire_engine::exchange::Decoder;
use bookwire_engine::instrument::Market;
use bookwire_engine::num::{Price, Qty};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::Numbers;
use futures_util::future::BoxFuture;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const BTC: InstrumentId = InstrumentId(0);
const WORKER: WorkerId = WorkerId(0);

/// Each look at this clock takes a microsecond.
#[derive(Debug, Default)]
struct TickingClock(AtomicU64);

impl Clock for TickingClock {
    fn now(&self) -> TsNanos {
        TsNanos::from_ms(1_700_000_000_100)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

struct Bench {
    clock: Arc<dyn Clock>,
    latency: Arc<ShardLatency>,
    state: ShardState,
    decoder: Box<dyn Decoder>,
    rx: LaneRx,
}

impl Bench {
    fn new(clock: Arc<dyn Clock>, topics: &[StreamKind]) -> Self {
        let latency: Arc<ShardLatency> = Arc::default();
        let mut state =
            ShardState::new(clock.clone(), Arc::default(), None).with_latency(latency.clone());
        let table = table(Market::Spot);
        state.set_table(table.clone());
        let (tx, rx) = lane(1 << 12, &WorkerWake::new(false));
        state.attach(WORKER, tx);
        state.open_book(BTC).unwrap();
        state.on_stream_up(BTC, Feed::Book, clock.monotonic());
        for (slot, kind) in (0u32..).zip(topics) {
            let topic = Topic {
                instrument: BTC,
                kind: *kind,
                numbers: Numbers::Number,
            };
            assert!(state.subscribe(WORKER, Slot(slot), topic).unwrap());
        }
        let mut bench = Self {
            clock,
            latency,
            state,
            decoder: ProviderId::BINANCE.exchange().decoder(Market::Spot, table),
            rx,
        };
        bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
        let level = |price| BookLevel {
            price: Price(price),
            qty: Qty(1_000),
        };
        let snapshot = BookSnapshot {
            seq: 5,
            ts_event: None,
            bids: vec![level(10_000)],
            asks: vec![level(10_100)],
        };
        let joined = bench.state.on_snapshot(BTC, &snapshot);
        assert!(matches!(joined, Some(SnapshotOutcome::Synced { .. })));
        bench.data();
        bench
    }

    fn frame(&mut self, text: &str) -> Stamp {
        let at = ReadAt {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        };
        let mut controls = Vec::new();
        self.state
            .on_frame(&mut *self.decoder, text.as_bytes(), at, &mut controls)
            .unwrap();
        Stamp::of(at.monotonic)
    }

    fn data(&mut self) -> Vec<Publication> {
        let mut found = Vec::new();
        self.rx.drain(usize::MAX, |message| {
            if let LaneMsg::Data(publication) = message {
                found.push(publication);
            }
        });
        found
    }
}

/// How many durations a stage has, and their sum in microseconds.
fn measured(histogram: &StageHistogram) -> (u64, u64) {
    let mut stage = StageLatency::new("");
    histogram.add_to(&mut stage);
    (stage.histogram.len(), stage.sum_ns / 1000)
}

fn book(mode: BookMode) -> StreamKind {
    StreamKind::OrderBook { depth: 5, mode }
}

#[test]
fn each_stage_is_one_look_at_the_clock() {
    let topics = [
        StreamKind::Trades,
        book(BookMode::Delta),
        book(BookMode::Snapshot),
    ];
    let mut bench = Bench::new(Arc::<TickingClock>::default(), &topics);
    let stages = |bench: &Bench| {
        let latency = &bench.latency;
        [&latency.decode, &latency.book, &latency.publish].map(measured)
    };
    let [(decoded, _), (books, _), (published, _)] = stages(&bench);
    assert_eq!(
        (decoded, books, published),
        (1, 0, 0),
        "the first was held, the snapshot is no frame"
    );

    // Read, decoded, published: a microsecond each.
    let read_at = bench.frame(&trade("BTCUSDT", 1));
    let data = bench.data();
    assert_eq!(data[0].read_at, read_at);
    assert_eq!(read_at.until(data[0].stage_at), Some(2_000));
    assert_eq!(stages(&bench), [(2, 2), (0, 0), (1, 1)]);

    // Read, decoded, changed, and a publication for each of the two topics.
    let read_at = bench.frame(&depth("BTCUSDT", 7, 8, r#"[["100.00","3.000"]]"#, "[]"));
    let data = bench.data();
    let since = |n: usize| read_at.until(data[n].stage_at);
    assert_eq!(
        (data.len(), since(0), since(1)),
        (2, Some(3_000), Some(4_000))
    );
    assert_eq!(stages(&bench), [(3, 3), (1, 1), (3, 3)]);
    assert_eq!(measured(&bench.latency.lag).0, 3, "each frame with data");

    // No frame causes an answer to a refresh: nothing of it is measured.
    bench.state.refresh(WORKER, Slot(1)).unwrap();
    assert_eq!(bench.data()[0].read_at, Stamp::NONE);
    // Nobody wants bars: nothing is published.
    bench.frame(&kline("BTCUSDT", 28_333_333, "2.00", false));
    assert_eq!(stages(&bench), [(4, 4), (1, 1), (3, 3)]);
}

/// `cargo test --release -p bookwire-actors --lib -- --ignored --nocapture what_measuring_costs`
#[test]
#[ignore = "a measurement; its figures are in docs/decisions/007-latency-histograms.md"]
fn what_measuring_costs() {
    const ROUNDS: u32 = 2_000_000;
    let each = |what: &str, work: &mut dyn FnMut(u32)| {
        let mut best = f64::INFINITY;
        for _ in 0..7 {
            let start = Instant::now();
            (0..ROUNDS).for_each(&mut *work);
            best = best.min(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS));
        }
        println!("{what:<44} {best:>8.1} ns");
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let histogram = StageHistogram::default();
    let start = Stamp::of(Duration::from_nanos(1));
    each("a look at the clock", &mut |_| {
        std::hint::black_box(clock.monotonic());
    });
    each("recording a duration", &mut |n| {
        histogram.record_between(start, Stamp::of(Duration::from_nanos(u64::from(n))));
    });
    let mut bench = Bench::new(clock.clone(), &[]);
    let frames = [trade("BTCUSDT", 1), trade("BTCUSDT", 2)];
    each("a trade's frame, nobody subscribed", &mut |n| {
        bench.frame(&frames[(n % 2) as usize]);
    });
    let mut bench = Bench::new(clock.clone(), &[]);
    let mut seq = 6;
    let mut text = String::new();
    each("a book's frame of 1 level, nobody subscribed", &mut |n| {
        seq += 1;
        text.clear();
        text.push_str(&depth("BTCUSDT", seq, seq, levels(n), "[]"));
        bench.frame(&text);
    });
    let mut bench = Bench::new(clock, &[book(BookMode::Delta)]);
    let mut seq = 6;
    each("the same with a delta subscriber", &mut |n| {
        seq += 1;
        text.clear();
        text.push_str(&depth("BTCUSDT", seq, seq, levels(n), "[]"));
        bench.frame(&text);
        bench.rx.drain(usize::MAX, drop);
    });
    assert_eq!(
        bench.state.book(BTC).unwrap().seq,
        seq,
        "in step all the time"
    );
}

fn levels(n: u32) -> &'static str {
    match n % 2 {
        0 => r#"[["100.00","3.000"]]"#,
        _ => r#"[["100.00","4.000"]]"#,
    }
}
