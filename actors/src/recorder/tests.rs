use super::*;
use crate::clock::SystemClock;
use bookwire_engine::event::Side;
use bookwire_engine::store::{Entity, StoreReader, TradeId, TradeRow, WriteReport};
use bookwire_engine::time::TsNanos;
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

fn id(row: &Row) -> u64 {
    match row {
        Row::Trade(TradeRow {
            trade_id: TradeId::Number(id),
            ..
        }) => *id,
        other => panic!("{other:?}"),
    }
}

/// Fails so many times, and never takes the row with the unfit id.
#[derive(Clone, Default)]
struct Moody {
    rows: Arc<Mutex<Vec<u64>>>,
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
        if let Some(unfit) = rows.iter().find(|row| Some(id(row)) == self.unfit) {
            return Err(StoreError::InvalidRow {
                entity_id: unfit.entity().entity_id.clone(),
                reason: "unfit".to_owned(),
            });
        }
        self.rows.lock().extend(rows.iter().map(id));
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
