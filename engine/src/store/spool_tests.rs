use std::sync::Arc;

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::event::Side;
use crate::store::{Entity, TradeId, TradeRow};

fn rows(from: u64, count: u64) -> Vec<Row> {
    let entity = Arc::new(Entity {
        provider: "binance".to_owned(),
        entity_id: "cryptopair_binance_btcusdt".to_owned(),
        code: "btcusdt".to_owned(),
    });
    (from..from + count)
        .map(|id| {
            Row::Trade(TradeRow {
                entity: Arc::clone(&entity),
                ts: TsNanos(id as i64),
                trade_id: TradeId::Number(id),
                price: Decimal::new(id as i64, 2),
                volume: Decimal::ONE,
                side: Side::Buy,
            })
        })
        .collect()
}

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions {
        segment_bytes: 2_000,
        bytes_max: 1 << 20,
        ..SpoolOptions::new(dir)
    }
}

fn drain(spool: &mut Spool) -> Vec<Row> {
    let mut all = Vec::new();
    while let Some(frame) = spool.front().unwrap() {
        all.extend(frame.rows);
        spool.consumed().unwrap();
    }
    all
}

fn files(dir: &Path, suffix: &str) -> usize {
    std::fs::read_dir(dir)
        .unwrap()
        .filter(|entry| {
            entry.as_ref().unwrap().path().extension() == Some(std::ffi::OsStr::new(suffix))
        })
        .count()
}

#[test]
fn batches_come_back_in_order_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(dir.path())).unwrap();
    assert_eq!(spool.front().unwrap(), None);
    for at in 0..40 {
        spool
            .append(&rows(at * 10, 10), TsNanos(at as i64))
            .unwrap();
    }
    let usage = spool.usage();
    assert_eq!((usage.rows, usage.oldest), (400, Some(TsNanos(0))));
    assert!(files(dir.path(), "spool") > 2, "several segments");
    let first = spool.front().unwrap().unwrap();
    assert_eq!((first.rows, first.at), (rows(0, 10), TsNanos(0)));
    assert_eq!(
        spool.front().unwrap().unwrap().rows,
        rows(0, 10),
        "it stays until it is consumed"
    );
    spool.consumed().unwrap();
    assert_eq!(spool.usage().rows, 390);
    assert_eq!(drain(&mut spool), rows(10, 390));
    assert!(spool.is_empty());
    assert_eq!(spool.usage(), SpoolUse::default());
    assert_eq!(files(dir.path(), "spool"), 0);
    spool.append(&rows(0, 1), TsNanos(9)).unwrap();
    assert_eq!(drain(&mut spool), rows(0, 1));
}

#[test]
fn batches_that_came_first_go_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(dir.path())).unwrap();
    spool.append(&rows(30, 10), TsNanos(3)).unwrap();
    let (first, second) = (rows(0, 10), rows(10, 20));
    spool.prepend(&[&first, &second], TsNanos(1)).unwrap();
    spool.prepend(&[], TsNanos(1)).unwrap();
    assert_eq!(spool.usage().rows, 40);
    assert_eq!(drain(&mut spool), rows(0, 40));
    spool.prepend(&[&first], TsNanos(1)).unwrap();
    spool.append(&second, TsNanos(2)).unwrap();
    assert_eq!(drain(&mut spool), rows(0, 30));
}

#[test]
fn a_killed_process_leaves_all_whole_frames() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(dir.path())).unwrap();
    for at in 0..20 {
        spool
            .append(&rows(at * 10, 10), TsNanos(at as i64))
            .unwrap();
    }
    drop(spool);
    let last = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension() == Some(std::ffi::OsStr::new(SUFFIX)))
        .max()
        .unwrap();
    // What a killed process had begun to write.
    let mut torn = Vec::new();
    frame(&rows(500, 10), TsNanos(50), &mut torn);
    for cut in [1, HEAD - 1, HEAD, torn.len() - 1] {
        let before = std::fs::read(&last).unwrap();
        let mut bytes = before.clone();
        bytes.extend_from_slice(&torn[..cut]);
        std::fs::write(&last, bytes).unwrap();
        let mut spool = Spool::open(options(dir.path())).unwrap();
        assert_eq!(spool.usage().rows, 200, "cut at {cut}");
        assert_eq!(spool.front().unwrap().unwrap().rows, rows(0, 10));
        drop(spool);
        std::fs::write(&last, before).unwrap();
    }
    let mut spool = Spool::open(options(dir.path())).unwrap();
    spool.append(&rows(200, 10), TsNanos(21)).unwrap();
    assert_eq!(drain(&mut spool), rows(0, 210));
    assert_eq!(spool.usage().damaged, 0);
}

#[test]
fn a_damaged_segment_is_set_aside_and_told() {
    for at in [4, HEAD + 3, 0] {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(options(dir.path())).unwrap();
        for at in 0..40 {
            spool
                .append(&rows(at * 10, 10), TsNanos(at as i64))
                .unwrap();
        }
        let segment_rows: Vec<u64> = spool.segments.iter().map(|segment| segment.rows).collect();
        let second = spool.path(spool.segments[1].number);
        drop(spool);
        let mut bytes = std::fs::read(&second).unwrap();
        bytes[at] ^= 0x5a;
        if at == 0 {
            // A length that is out of the file.
            bytes[3] = 0x7f;
        }
        std::fs::write(&second, bytes).unwrap();
        let mut spool = Spool::open(options(dir.path())).unwrap();
        let found = drain(&mut spool);
        let lost = segment_rows[0]..segment_rows[0] + segment_rows[1];
        let expected: Vec<Row> = rows(0, 400)
            .into_iter()
            .enumerate()
            .filter(|(at, _)| !lost.contains(&(*at as u64)))
            .map(|(_, row)| row)
            .collect();
        assert_eq!(found, expected);
        assert_eq!(spool.usage().damaged, 1);
        assert_eq!(
            files(dir.path(), "damaged"),
            1,
            "kept for somebody to look at"
        );
    }
}

#[test]
fn a_full_spool_refuses_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.bytes_max = 6_000;
    let mut spool = Spool::open(options).unwrap();
    let mut taken = 0;
    let error = loop {
        match spool.append(&rows(taken, 10), TsNanos(0)) {
            Ok(()) => taken += 10,
            Err(error) => break error,
        }
    };
    assert!(matches!(
        error,
        SpoolError::Full {
            bytes_max: 6_000,
            ..
        }
    ));
    assert!(error.to_string().contains("store.spool_bytes_max"));
    assert!(taken > 100);
    spool.append_reserved(&rows(taken, 10), TsNanos(0)).unwrap();
    while spool.usage().bytes > 3_000 {
        spool.front().unwrap().unwrap();
        spool.consumed().unwrap();
    }
    spool.append(&rows(taken + 10, 10), TsNanos(0)).unwrap();
    let rest = drain(&mut spool);
    assert_eq!(rest.last(), rows(taken + 10, 10).last());
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(options(dir.path())).unwrap();
    let error = Spool::open(options(dir.path())).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("--data-dir"));
    drop(spool);
    Spool::open(options(dir.path())).unwrap();
}

#[test]
fn very_large_batches_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(options(dir.path())).unwrap();
    let many = rows(0, FRAME_ROWS as u64 * 2 + 5);
    spool.append(&many, TsNanos(0)).unwrap();
    assert_eq!(spool.front().unwrap().unwrap().rows.len(), FRAME_ROWS);
    assert_eq!(drain(&mut spool), many);
}

proptest! {
    /// Whatever the order of calls, restarts among them: rows come in order, at least once, and
    /// none is left out.
    #[test]
    fn behaves_as_a_queue(steps in prop::collection::vec((0u8..6, 1u64..30), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        let mut spool = Spool::open(options(dir.path())).unwrap();
        let (mut next, mut read) = (0u64, 0u64);
        for (kind, count) in steps {
            match kind {
                0..=2 => {
                    spool.append(&rows(next, count), TsNanos(next as i64)).unwrap();
                    next += count;
                }
                5 => {
                    drop(spool);
                    spool = Spool::open(options(dir.path())).unwrap();
                }
                _ => {
                    if let Some(frame) = spool.front().unwrap() {
                        let Some(Row::Trade(first)) = frame.rows.first() else {
                            panic!("no trade");
                        };
                        let first = first.ts.0 as u64;
                        prop_assert!(first <= read, "{first} after {read}");
                        prop_assert_eq!(&frame.rows, &rows(first, frame.rows.len() as u64));
                        read = read.max(first + frame.rows.len() as u64);
                        if kind == 3 {
                            spool.consumed().unwrap();
                        }
                    }
                }
            }
        }
        let rest = drain(&mut spool);
        if let Some(Row::Trade(first)) = rest.first() {
            prop_assert!(first.ts.0 as u64 <= read);
            prop_assert_eq!(&rest, &rows(first.ts.0 as u64, next - first.ts.0 as u64));
        } else {
            prop_assert_eq!(read, next);
        }
    }
}
