use super::*;
use crate::clock::SystemClock;
use bookwire_engine::event::Side;
use bookwire_engine::store::{
    CoverageRow, Entity, KlineRow, Series, Span, SpoolOptions, StoreReader, TradeId, TradeRow,
    WriteReport,
};
use bookwire_engine::time::{Level, TsNanos};
use std::path::PathBuf;

fn row(id: u64) -> Row {
    Row::Trade(TradeRow {
        entity: Arc::new(Entity {
            provider: "binance".to_owned(),
            entity_id: "cryptopair_binance_btcusdt".to_owned(),
            code: "btcusdt".to_owned(),
        }),
        ts: TsNanos(i64::try_from(id).unwrap()),
        trade_id: TradeId::Number(id),
        price: 1.into(),
        volume: 1.into(),
        side: Side::Buy,
    })
}

fn kline() -> KlineRow {
    KlineRow {
        entity: row(0).entity().clone(),
        level: Level::M1,
        ts: TsNanos(0),
        open: 1.into(),
        high: 1.into(),
        low: 1.into(),
        close: 1.into(),
        volume_base: 1.into(),
        volume_quote: None,
        trade_count: None,
    }
}

fn id(row: &Row) -> Option<u64> {
    match row {
        Row::Trade(TradeRow {
            trade_id: TradeId::Number(id),
            ..
        }) => Some(*id),
        _ => None,
    }
}

/// Fails so many times, and never takes the row with the unfit id.
#[derive(Clone, Default)]
struct Moody {
    /// Ids of trades.
    rows: Arc<Mutex<Vec<u64>>>,
    others: Arc<Mutex<Vec<Row>>>,
    failures: Arc<Mutex<u32>>,
    unfit: Option<u64>,
    gate: Option<crossbeam_channel::Receiver<()>>,
}

impl Store for Moody {
    fn kind(&self) -> &'static str {
        "moody"
    }

    fn write(&mut self, rows: &[Row]) -> Result<WriteReport, StoreError> {
        if let Some(gate) = &self.gate {
            // Closed: the test is over and everything may pass.
            let _ = gate.recv();
        }
        let mut failures = self.failures.lock();
        if *failures > 0 {
            *failures -= 1;
            return Err(StoreError::Database {
                path: PathBuf::from("moody"),
                operation: "write",
                source: "not today".into(),
            });
        }
        if let Some(unfit) = rows
            .iter()
            .find(|row| self.unfit.is_some() && id(row) == self.unfit)
        {
            return Err(StoreError::InvalidRow {
                entity_id: unfit.entity().entity_id.clone(),
                reason: "unfit".to_owned(),
            });
        }
        self.rows.lock().extend(rows.iter().filter_map(id));
        let others = rows.iter().filter(|row| id(row).is_none());
        self.others.lock().extend(others.cloned());
        Ok(WriteReport {
            written: rows.len(),
            known: 0,
        })
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

fn start(store: &Moody, options: RecorderOptions) -> (Recorder, RecorderPort) {
    let clock = Arc::new(SystemClock::new());
    let (recorder, mut ports) =
        Recorder::start(Box::new(store.clone()), options, 1, clock).unwrap();
    (recorder, ports.pop().unwrap())
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_failing_store_gets_the_batch_again() {
    let store = Moody {
        failures: Arc::new(Mutex::new(3)),
        ..Moody::default()
    };
    let (recorder, mut port) = start(&store, RecorderOptions::default());
    for id in 0..100 {
        assert!(port.push(row(id)));
    }
    assert!(recorder.stop(LONG));
    assert_eq!(*store.rows.lock(), (0..100).collect::<Vec<u64>>());
    let stats = recorder.stats();
    assert_eq!(
        (stats.written, stats.retries, stats.trouble),
        (100, 3, None)
    );
}

#[test]
fn an_unfit_row_does_not_cost_the_others() {
    let store = Moody {
        unfit: Some(50),
        ..Moody::default()
    };
    let (recorder, mut port) = start(&store, RecorderOptions::default());
    for id in 0..100 {
        assert!(port.push(row(id)));
    }
    assert!(recorder.stop(LONG));
    assert_eq!(store.rows.lock().len(), 99);
    assert_eq!(recorder.stats().rejected, 1);
}

#[test]
fn a_stuck_store_costs_rows_only_when_everything_is_full() {
    let (open, gate) = crossbeam_channel::bounded(0);
    let store = Moody {
        gate: Some(gate),
        ..Moody::default()
    };
    let options = RecorderOptions {
        batch: 8,
        ring: 16,
        overflow: 32,
        ..RecorderOptions::default()
    };
    let (recorder, mut port) = start(&store, options);
    let mut taken = 0u64;
    while port.push(row(taken)) {
        taken += 1;
        assert!(taken < 1000, "bounded");
    }
    assert!(taken >= 16 + 32);
    assert_eq!((port.lost(), port.waiting()), (1, 32));
    drop(open);
    // What waits in the port follows as the ring empties, in order.
    while port.waiting() > 0 {
        port.drain();
        std::thread::yield_now();
    }
    assert!(recorder.stop(LONG));
    assert_eq!(*store.rows.lock(), (0..taken).collect::<Vec<u64>>());
}

fn spooled(dir: &std::path::Path) -> RecorderOptions {
    RecorderOptions {
        batch: 8,
        flush: Duration::from_millis(5),
        ring: 16,
        overflow: 32,
        spool: Some(SpoolOptions::new(dir)),
        ..RecorderOptions::default()
    }
}

/// Pushes with patience: the collector takes rows every 10 ms.
fn push_all(port: &mut RecorderPort, ids: std::ops::Range<u64>) {
    for id in ids {
        while port.waiting() > 16 {
            port.drain();
            std::thread::yield_now();
        }
        assert!(port.push(row(id)), "row {id} was lost");
    }
    while port.waiting() > 0 {
        port.drain();
        std::thread::yield_now();
    }
}

fn until(what: &str, is_true: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_true() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_store_that_is_away_costs_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = Moody {
        failures: Arc::new(Mutex::new(u32::MAX)),
        ..Moody::default()
    };
    let (recorder, mut port) = start(&store, spooled(dir.path()));
    push_all(&mut port, 0..2_000);
    until("all is on disk", || recorder.stats().spooled_rows == 2_000);
    let stats = recorder.stats();
    assert!(
        stats.trouble.is_some() && stats.spooled_since.is_some(),
        "{stats:?}"
    );
    assert_eq!(
        (stats.written, stats.waiting, stats.dropped),
        (0, 0, 0),
        "{stats:?}"
    );
    *store.failures.lock() = 0;
    push_all(&mut port, 2_000..2_100);
    until("it has caught up", || {
        let stats = recorder.stats();
        (stats.written, stats.spooled_rows) == (2_100, 0)
    });
    let stats = recorder.stats();
    assert_eq!(
        (stats.spooled_rows, stats.spooled_since, stats.trouble),
        (0, None, None)
    );
    assert!(store.rows.lock().iter().copied().eq(0..2_100));
    push_all(&mut port, 2_100..2_200);
    assert!(recorder.stop(LONG));
    assert!(store.rows.lock().iter().copied().eq(0..2_200), "in order");
}

#[test]
fn a_slow_store_costs_no_row_and_order_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (open, gate) = crossbeam_channel::bounded(0);
    let store = Moody {
        gate: Some(gate),
        ..Moody::default()
    };
    let (recorder, mut port) = start(&store, spooled(dir.path()));
    push_all(&mut port, 0..1_000);
    // Some batches pass one by one while others come.
    for id in 1_000..1_010 {
        open.send(()).unwrap();
        push_all(&mut port, id..id + 1);
    }
    assert_eq!(port.lost(), 0);
    drop(open);
    until("it has caught up", || recorder.stats().written == 1_010);
    assert!(recorder.stop(LONG));
    assert!(store.rows.lock().iter().copied().eq(0..1_010), "in order");
}

#[test]
fn what_was_not_stored_is_stored_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    for is_spool_first in [false, true] {
        let away = Moody {
            failures: Arc::new(Mutex::new(u32::MAX)),
            ..Moody::default()
        };
        let options = RecorderOptions {
            is_spool_first,
            ..spooled(dir.path())
        };
        let (recorder, mut port) = start(&away, options.clone());
        push_all(&mut port, 0..100);
        assert!(recorder.stop(LONG));
        assert_eq!(recorder.stats().spooled_rows, 100);
        drop(recorder);
        let store = Moody::default();
        let (recorder, mut port) = start(&store, options);
        push_all(&mut port, 100..150);
        assert!(recorder.stop(LONG));
        assert_eq!(*store.rows.lock(), (0..150).collect::<Vec<u64>>());
    }
}

#[test]
fn a_full_spool_loses_trades_and_says_so_and_no_promise_covers_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Moody {
        failures: Arc::new(Mutex::new(u32::MAX)),
        ..Moody::default()
    };
    let mut options = spooled(dir.path());
    options.spool = Some(SpoolOptions {
        bytes_max: 4_000,
        ..SpoolOptions::new(dir.path())
    });
    let (recorder, mut port) = start(&store, options);
    push_all(&mut port, 0..1_000);
    until("the spool is full", || recorder.stats().dropped > 100);
    let bar = Row::Kline(kline());
    let promise = |start, end| {
        Row::Coverage(CoverageRow {
            entity: row(0).entity().clone(),
            series: Series::Trades,
            span: Span {
                start: TsNanos(start),
                end: TsNanos(end),
            },
        })
    };
    assert!(port.push(bar.clone()) && port.push(promise(0, 1_000)));
    // All is dealt with when nothing moves any more; that nothing was lost untold is seen at the end.
    let last = std::cell::Cell::new((0, 0, 0));
    until("all is dealt with", || {
        std::thread::sleep(Duration::from_millis(200));
        let stats = recorder.stats();
        let now = (stats.spooled_rows, stats.waiting, stats.dropped);
        last.replace(now) == now
    });
    let stats = recorder.stats();
    let trouble = stats.spool_trouble.as_deref().unwrap_or_default();
    assert!(trouble.contains("store.spool_bytes_max"), "{stats:?}");
    *store.failures.lock() = 0;
    until("it has caught up", || recorder.stats().spooled_rows == 0);
    push_all(&mut port, 1_000..1_001);
    assert!(port.push(promise(0, 1_001)));
    assert!(recorder.stop(LONG));
    let stats = recorder.stats();
    let others = store.others.lock();
    assert_eq!(others[0], bar, "a bar is never dropped");
    let rows = store.rows.lock();
    assert!(others.len() > 1, "the last trade is promised");
    for other in &others[1..] {
        let Row::Coverage(promise) = other else {
            panic!("{other:?}");
        };
        for id in promise.span.start.0..promise.span.end.0 {
            assert!(rows.contains(&(id as u64)), "{id} is promised and lost");
        }
    }
    assert_eq!(rows.len() as u64, 1_001 - stats.dropped);
    assert!(rows.is_sorted());
}

#[test]
fn requests_are_answered_when_the_rows_are_in() {
    let store = Moody::default();
    let (recorder, mut port) = start(&store, RecorderOptions::default());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        recorder.write(vec![row(1), row(2)]).await.unwrap();
        assert_eq!(*store.rows.lock(), [1, 2]);
        assert!(port.push(row(3)));
        recorder.flush().await.unwrap();
        assert_eq!(*store.rows.lock(), [1, 2, 3]);
        assert!(recorder.stop(LONG));
        assert!(recorder.write(vec![row(4)]).await.is_err());
    });
}
