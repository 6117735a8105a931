//! What of a shard's data is handed to the recorder, and what is asked for because it was missed.

use super::*;
use crate::options::RecorderOptions;
use crate::recorder::Recorder;
use bookwire_engine::store::{Row, Span, Store, StoreError, StoreReader, WriteReport};
use parking_lot::Mutex;
use rust_decimal::Decimal;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<Row>>>);

impl Store for Memory {
    fn kind(&self) -> &'static str {
        "memory"
    }

    fn write(&mut self, rows: &[Row]) -> Result<WriteReport, StoreError> {
        self.0.lock().extend_from_slice(rows);
        Ok(WriteReport::default())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Err(StoreError::InvalidRow {
            entity_id: String::new(),
            reason: "not read here".to_owned(),
        })
    }
}

/// A recorder into memory, with a port.
fn recorded() -> (Memory, Recorder, Vec<RecorderPort>) {
    let memory = Memory::default();
    let (recorder, ports) = Recorder::start(
        Box::new(memory.clone()),
        RecorderOptions::default(),
        1,
        Arc::new(crate::clock::SystemClock::new()),
    )
    .unwrap();
    (memory, recorder, ports)
}

#[test]
fn rows_reach_the_store_with_their_promises() {
    let (memory, recorder, mut ports) = recorded();
    let mut bench = Bench::new(64, ports.pop());
    bench.subscribe(1, BTC, StreamKind::Trades);
    bench.subscribe(2, BTC, StreamKind::Klines(Level::M1));
    for id in 1..=3 {
        bench.frame(&trade("BTCUSDT", id));
    }
    let ms = |id: i64| (1_700_000_000_000 + id) * 1_000_000;
    // A hole: what was promised ends before it, and it is asked for.
    bench.frame(&trade("BTCUSDT", 9));
    let hole = Effect::FetchTrades {
        instrument: BTC,
        span: Span {
            start: TsNanos(ms(3)),
            end: TsNanos(ms(9) + 1),
        },
        after: Some(3),
    };
    assert_eq!(bench.effects(), [hole]);
    bench.frame(&trade("BTCUSDT", 10));
    bench.state.sweep_promises();
    bench.frame(&kline("BTCUSDT", 10, "1.00", false));
    bench.frame(&kline("BTCUSDT", 10, "1.00", true));
    assert!(recorder.stop(Duration::from_secs(10)));
    let rows = memory.0.lock();
    let count = |fits: fn(&Row) -> bool| rows.iter().filter(|row| fits(row)).count();
    assert_eq!(count(|row| matches!(row, Row::Trade(_))), 5);
    assert_eq!(
        count(|row| matches!(row, Row::Kline(_))),
        1,
        "closed bars only"
    );
    let spans: Vec<(i64, i64)> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Coverage(row) => Some((row.span.start.0, row.span.end.0)),
            _ => None,
        })
        .collect();
    let minute = |m: i64| m * 60_000_000_000;
    assert_eq!(
        spans,
        [
            (ms(1) + 1, ms(3)),
            (ms(9) + 1, ms(10)),
            (minute(10), minute(11))
        ]
    );
}

#[test]
fn trades_missed_by_a_lost_stream_are_asked_for() {
    let (recorder, mut ports) = Recorder::start(
        Box::new(Memory::default()),
        RecorderOptions::default(),
        1,
        Arc::new(crate::clock::SystemClock::new()),
    )
    .unwrap();
    let mut bench = Bench::new(64, ports.pop());
    bench.subscribe(1, BTC, StreamKind::Trades);
    let ms = |id: i64| TsNanos((1_700_000_000_000 + id) * 1_000_000);
    bench.frame(&trade("BTCUSDT", 1));
    bench.frame(&trade("BTCUSDT", 2));
    bench.state.on_stream_down(BTC, Feed::Trades);
    bench.state.on_stream_down(BTC, Feed::Trades);
    // Its number shows that nothing was missed.
    bench.frame(&trade("BTCUSDT", 3));
    assert_eq!(bench.effects(), []);
    let trades = |bench: &Bench| bench.state.known(BTC).unwrap().trades.covered_from;
    assert_eq!(trades(&bench), Some(ms(2)), "joined");
    bench.state.on_stream_down(BTC, Feed::Trades);
    bench.frame(&trade("BTCUSDT", 7));
    let span = Span {
        start: ms(3),
        end: TsNanos(ms(7).0 + 1),
    };
    let missed = Effect::FetchTrades {
        instrument: BTC,
        span,
        after: Some(3),
    };
    assert_eq!(bench.effects(), [missed]);
    assert_eq!(trades(&bench), Some(TsNanos(ms(7).0 + 1)), "not joined");
    bench.frame(&trade("BTCUSDT", 8));
    assert_eq!(bench.effects(), [], "asked for once");
    // What nobody wanted was not missed.
    bench.state.on_stream_down(BTC, Feed::Trades);
    bench.state.forget(BTC, Feed::Trades);
    bench.frame(&trade("BTCUSDT", 20));
    assert_eq!(bench.effects(), []);
    assert!(recorder.stop(Duration::from_secs(10)));
}

#[test]
fn bars_that_cannot_be_true_are_not_stored() {
    let (memory, recorder, mut ports) = recorded();
    let mut bench = Bench::new(64, ports.pop());
    bench.subscribe(1, BTC, StreamKind::Klines(Level::M1));
    // Its high is 9.
    for (minute, close) in [(10, "2.00"), (11, "9.50"), (12, "3.00"), (14, "2.00")] {
        bench.frame(&kline("BTCUSDT", minute, close, true));
    }
    let quarantine = bench.state.quarantine.clone();
    let (kept, _) = quarantine.list(|_| true, 0, 10);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].row.close.to_string(), "9.50");
    assert_eq!(kept[0].fault.as_str(), "impossible_ohlc");
    // The bar before the third one and the one before the last.
    let released = |bench: &mut Bench| bench.state.give_up_bars(BTC, Level::M1);
    released(&mut bench);
    assert_eq!(bench.state.counters().kline_gaps.get(), 2);
    // What nobody wanted was not missed.
    bench.state.forget(BTC, Feed::Klines(Level::M1));
    bench.frame(&kline("BTCUSDT", 30, "2.00", true));
    assert_eq!(bench.state.counters().kline_gaps.get(), 2);
    assert!(recorder.stop(Duration::from_secs(10)));
    let rows = memory.0.lock();
    let minutes = |of: fn(&Row) -> Option<TsNanos>| -> Vec<i64> {
        rows.iter()
            .filter_map(of)
            .map(|ts| ts.0 / 60_000_000_000)
            .collect()
    };
    let bars = minutes(|row| match row {
        Row::Kline(row) => Some(row.ts),
        _ => None,
    });
    let promised = minutes(|row| match row {
        Row::Coverage(row) => Some(row.span.start),
        _ => None,
    });
    let all = vec![10, 12, 14, 30];
    assert_eq!((bars, promised), (all.clone(), all));
}

#[test]
fn trusted_books_are_recorded_on_the_grid() {
    let (memory, recorder, mut ports) = recorded();
    let mut bench = Bench::new(64, ports.pop());
    let state = std::mem::replace(
        &mut bench.state,
        ShardState::new(Arc::new(bench.clock.clone()), Arc::default(), None),
    );
    bench.state = state.with_snapshots(Some(Duration::from_secs(10)), 1);
    let kind = StreamKind::OrderBook {
        depth: 20,
        mode: BookMode::Delta,
    };
    bench.subscribe(1, BTC, kind);
    bench.subscribe(2, ETH, kind);
    bench.frame(&depth("BTCUSDT", 5, 6, "[]", "[]"));
    bench.snapshot(BTC, 5);
    // The clock starts at …00.1 s: nothing before the next full ten seconds.
    bench.state.record_books();
    bench.clock.advance(Duration::from_secs(9));
    bench.state.record_books();
    bench.clock.advance(Duration::from_millis(900));
    bench.state.record_books();
    bench.state.record_books();
    bench.frame(&depth("BTCUSDT", 7, 8, r#"[["100.00","0.000"]]"#, "[]"));
    bench.clock.advance(Duration::from_secs(10));
    bench.state.record_books();
    assert!(recorder.stop(Duration::from_secs(10)));
    let rows = memory.0.lock();
    let books: Vec<(u64, Decimal, usize, usize)> = rows
        .iter()
        .filter_map(|row| match row {
            Row::Book(row) => Some((
                row.sequence,
                Decimal::new(row.bids[0].price.0, row.price_scale.into()),
                row.bids.len(),
                row.asks.len(),
            )),
            _ => None,
        })
        .collect();
    assert_eq!(
        books,
        [(6, Decimal::from(100), 1, 1), (8, Decimal::from(99), 1, 1)],
        "one for each instant; the book that is not trusted is left out"
    );
    assert!(rows.iter().all(|row| row.entity().code == "btcusdt"));
}
