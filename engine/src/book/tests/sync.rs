//! Scenarios of synchronisation, as tables of what comes in and what must come out.

use super::{level, top};
use crate::book::sync::{
    BUFFER_EVENTS_MAX, BookState, DeltaOutcome, DesyncReason, SnapshotOutcome, SyncedBook,
};
use crate::event::{BookDelta, BookLevel, BookSide, BookSnapshot};
use crate::exchange::Continuity::{self, Contiguous, PreviousLink};
use crate::time::TsNanos;

use DeltaOutcome::{Applied, Ignored};
use SnapshotOutcome::{TooOld, Unexpected, Waiting};

const NEEDS: DeltaOutcome = DeltaOutcome::Buffered {
    needs_snapshot: true,
};

/// A step: a delta (first, last, previous), or a snapshot's sequence number, and the outcome.
enum Step {
    Spot(u64, u64, DeltaOutcome),
    Perp(u64, u64, u64, DeltaOutcome),
    Snap(u64, SnapshotOutcome),
    Desync(DesyncReason),
    /// `accept_held` and what it says.
    Accept(bool),
}
use Step::{Accept, Desync, Perp, Snap, Spot};

fn synced(replayed: usize) -> SnapshotOutcome {
    SnapshotOutcome::Synced { replayed }
}

fn gap(expected: u64, got: u64) -> DeltaOutcome {
    DeltaOutcome::Desynced(DesyncReason::Gap { expected, got })
}

/// A delta sets the bid 100 to its last sequence number, a snapshot to its own: the quantity at
/// the best bid tells up to where the book has come.
fn bid(seq: u64) -> [BookLevel; 1] {
    [level(100, seq as i64)]
}

fn snapshot(seq: u64) -> BookSnapshot {
    BookSnapshot {
        seq,
        ts_event: None,
        bids: bid(seq).to_vec(),
        asks: vec![level(200, 1)],
    }
}

fn delta(first: u64, last: u64, prev: Option<u64>, bids: &[BookLevel]) -> BookDelta<'_> {
    BookDelta {
        first_seq: first,
        last_seq: last,
        prev_seq: prev,
        ts_event: TsNanos(last as i64),
        bids,
        asks: &[],
    }
}

/// Runs the steps; at the end the book must have come to `seq` in epoch `epoch`, or not exist.
fn check(name: &str, rule: Continuity, steps: &[Step], seq: Option<u64>, epoch: u32) {
    let mut book = SyncedBook::new(rule);
    for (index, step) in steps.iter().enumerate() {
        let place = format!("{name}, step {index}");
        let held = book.book().is_some();
        match *step {
            Spot(first, last, expected) => {
                let outcome = book.on_delta(&delta(first, last, None, &bid(last)));
                assert_eq!(outcome, expected, "{place}");
            }
            Perp(prev, first, last, expected) => {
                let outcome = book.on_delta(&delta(first, last, Some(prev), &bid(last)));
                assert_eq!(outcome, expected, "{place}");
            }
            Snap(seq, expected) => {
                assert_eq!(book.on_snapshot(&snapshot(seq)), expected, "{place}");
                if expected == Unexpected {
                    assert!(held, "{place}");
                }
            }
            Desync(reason) => book.desync(reason),
            Accept(expected) => assert_eq!(book.accept_held(), expected, "{place}"),
        }
        assert_eq!(
            book.state() == BookState::Synced,
            book.book().is_some(),
            "{place}"
        );
    }
    let reached = book
        .book()
        .and_then(|book| book.best(BookSide::Bid))
        .map(|best| best.qty.0 as u64);
    assert_eq!(reached, seq, "{name}: book");
    if let Some(seq) = seq {
        assert_eq!(book.seq(), seq, "{name}: seq");
        assert_eq!(book.buffered(), 0, "{name}: buffer");
    }
    assert_eq!(book.epoch(), epoch, "{name}: epoch");
}

#[test]
fn spot_joins_a_snapshot_to_the_buffer() {
    check(
        "bridge",
        Contiguous,
        &[
            Spot(1, 5, NEEDS),
            Spot(6, 9, NEEDS),
            Spot(10, 14, NEEDS),
            Snap(7, synced(2)),
            Spot(15, 15, Applied),
        ],
        Some(15),
        1,
    );
    check(
        "starts right behind",
        Contiguous,
        &[Spot(8, 9, NEEDS), Snap(7, synced(1))],
        Some(9),
        1,
    );
    check(
        "ends exactly on the snapshot: dropped",
        Contiguous,
        &[Spot(1, 7, NEEDS), Snap(7, synced(0)), Spot(8, 9, Applied)],
        Some(9),
        1,
    );
    check(
        "all older, the next bridges",
        Contiguous,
        &[
            Spot(1, 5, NEEDS),
            Snap(8, synced(0)),
            Spot(6, 7, Ignored),
            Spot(8, 12, Applied),
        ],
        Some(12),
        1,
    );
}

#[test]
fn spot_keeps_the_buffer_when_a_snapshot_is_too_old() {
    check(
        "too old, then good",
        Contiguous,
        &[
            Spot(10, 12, NEEDS),
            Snap(8, TooOld),
            Spot(13, 14, NEEDS),
            Snap(9, synced(2)),
        ],
        Some(14),
        1,
    );
    check(
        "held too old",
        Contiguous,
        &[Snap(8, Waiting), Spot(10, 12, NEEDS), Snap(11, synced(1))],
        Some(12),
        1,
    );
}

#[test]
fn a_snapshot_before_any_delta_is_held() {
    check(
        "bridges",
        Contiguous,
        &[Snap(8, Waiting), Spot(7, 9, Applied)],
        Some(9),
        1,
    );
    check(
        "proved by an older delta",
        Contiguous,
        &[
            Snap(8, Waiting),
            Spot(3, 4, Applied),
            Spot(5, 8, Ignored),
            Spot(9, 9, Applied),
        ],
        Some(9),
        1,
    );
    check(
        "the newer of two",
        Contiguous,
        &[
            Snap(8, Waiting),
            Snap(20, Waiting),
            Snap(9, Waiting),
            Spot(21, 22, Applied),
        ],
        Some(22),
        1,
    );
    check(
        "never served alone",
        Contiguous,
        &[Snap(8, Waiting)],
        None,
        0,
    );
    check(
        "unless the caller vouches",
        Contiguous,
        &[
            Snap(8, Waiting),
            Accept(true),
            Spot(9, 10, Applied),
            Accept(false),
        ],
        Some(10),
        1,
    );
    check(
        "and is still checked then",
        Contiguous,
        &[Snap(8, Waiting), Accept(true), Spot(10, 12, gap(9, 10))],
        None,
        1,
    );
    check(
        "perp",
        PreviousLink,
        &[
            Snap(8, Waiting),
            Perp(3, 6, 10, Applied),
            Perp(10, 20, 25, Applied),
        ],
        Some(25),
        1,
    );
    check(
        "perp, proved by an older delta",
        PreviousLink,
        &[
            Snap(8, Waiting),
            Perp(1, 3, 5, Applied),
            Perp(5, 6, 10, Applied),
        ],
        Some(10),
        1,
    );
    check(
        "nothing to vouch for",
        Contiguous,
        &[Accept(false), Spot(1, 2, NEEDS), Accept(false)],
        None,
        0,
    );
}

#[test]
fn spot_gap_starts_over_with_the_delta_at_hand() {
    check(
        "gap, resync",
        Contiguous,
        &[
            Spot(1, 5, NEEDS),
            Snap(3, synced(1)),
            Spot(7, 9, gap(6, 7)),
            Spot(10, 11, NEEDS),
            Snap(5, TooOld),
            Snap(8, synced(2)),
            Spot(12, 12, Applied),
        ],
        Some(12),
        2,
    );
    check(
        "gap among the buffered",
        Contiguous,
        &[
            Spot(1, 5, NEEDS),
            Spot(7, 9, gap(6, 7)),
            Snap(4, TooOld),
            Snap(7, synced(1)),
        ],
        Some(9),
        1,
    );
    check(
        "duplicates and old ones",
        Contiguous,
        &[
            Spot(1, 5, NEEDS),
            Spot(1, 5, Ignored),
            Snap(3, synced(1)),
            Spot(1, 5, Ignored),
            Spot(2, 3, Ignored),
            Spot(6, 6, Applied),
            Spot(6, 6, Ignored),
        ],
        Some(6),
        1,
    );
    check(
        "overlap is applied",
        Contiguous,
        &[Spot(1, 5, NEEDS), Snap(3, synced(1)), Spot(4, 8, Applied)],
        Some(8),
        1,
    );
}

#[test]
fn perp_joins_by_its_own_rule() {
    check(
        "bridge",
        PreviousLink,
        &[
            Perp(90, 92, 95, NEEDS),
            Perp(95, 97, 110, NEEDS),
            Perp(110, 130, 140, NEEDS),
            Snap(100, synced(2)),
            Perp(140, 150, 151, Applied),
        ],
        Some(151),
        1,
    );
    check(
        "ends exactly on the snapshot: kept",
        PreviousLink,
        &[
            Perp(90, 92, 100, NEEDS),
            Snap(100, synced(1)),
            Perp(100, 150, 160, Applied),
        ],
        Some(160),
        1,
    );
    check(
        "the spot rule would lose this",
        PreviousLink,
        &[
            Perp(80, 85, 90, NEEDS),
            Perp(90, 92, 100, NEEDS),
            Perp(100, 120, 130, NEEDS),
            Snap(100, synced(2)),
        ],
        Some(130),
        1,
    );
    check(
        "snapshot between two linked deltas",
        PreviousLink,
        &[
            Perp(80, 85, 90, NEEDS),
            Perp(90, 120, 130, NEEDS),
            Snap(100, synced(1)),
        ],
        Some(130),
        1,
    );
    check(
        "the same, live",
        PreviousLink,
        &[
            Perp(80, 85, 90, NEEDS),
            Snap(100, synced(0)),
            Perp(90, 120, 130, Applied),
        ],
        Some(130),
        1,
    );
    check(
        "linked right behind",
        PreviousLink,
        &[Perp(100, 120, 130, NEEDS), Snap(100, synced(1))],
        Some(130),
        1,
    );
    check(
        "too old, buffer kept",
        PreviousLink,
        &[
            Perp(100, 120, 130, NEEDS),
            Snap(99, TooOld),
            Perp(130, 140, 150, NEEDS),
            Snap(125, synced(2)),
        ],
        Some(150),
        1,
    );
}

#[test]
fn perp_links_must_match_exactly() {
    check(
        "ids jump",
        PreviousLink,
        &[
            Perp(1, 2, 5, NEEDS),
            Snap(3, synced(1)),
            Perp(5, 900, 950, Applied),
        ],
        Some(950),
        1,
    );
    check(
        "contiguous ids with a wrong link are a gap",
        PreviousLink,
        &[
            Perp(1, 2, 5, NEEDS),
            Snap(3, synced(1)),
            Perp(4, 6, 9, gap(5, 4)),
        ],
        None,
        1,
    );
    check(
        "gap, resync",
        PreviousLink,
        &[
            Perp(1, 2, 5, NEEDS),
            Snap(3, synced(1)),
            Perp(7, 8, 9, gap(5, 7)),
            Perp(9, 10, 12, NEEDS),
            Snap(9, synced(2)),
            Perp(12, 13, 13, Applied),
        ],
        Some(13),
        2,
    );
    check(
        "duplicates",
        PreviousLink,
        &[
            Perp(1, 2, 5, NEEDS),
            Snap(3, synced(1)),
            Perp(1, 2, 5, Ignored),
            Perp(5, 6, 7, Applied),
            Perp(5, 6, 7, Ignored),
        ],
        Some(7),
        1,
    );
    check(
        "gap among the buffered",
        PreviousLink,
        &[
            Perp(1, 2, 5, NEEDS),
            Perp(8, 9, 10, gap(5, 8)),
            Snap(4, TooOld),
            Snap(9, synced(1)),
        ],
        Some(10),
        1,
    );
}

#[test]
fn a_lost_connection_forgets_everything() {
    for rule in [Contiguous, PreviousLink] {
        check(
            "while synced",
            rule,
            &[
                Perp(0, 1, 5, NEEDS),
                Snap(3, synced(1)),
                Desync(DesyncReason::Disconnected),
                Perp(5, 6, 9, NEEDS),
                Snap(4, TooOld),
                Snap(7, synced(1)),
            ],
            Some(9),
            2,
        );
        check(
            "while buffering",
            rule,
            &[
                Perp(0, 1, 5, NEEDS),
                Desync(DesyncReason::Disconnected),
                Perp(7, 8, 9, NEEDS),
                Snap(8, synced(1)),
            ],
            Some(9),
            1,
        );
        check(
            "with a held snapshot",
            rule,
            &[
                Snap(8, Waiting),
                Desync(DesyncReason::Disconnected),
                Perp(8, 9, 10, NEEDS),
            ],
            None,
            0,
        );
    }
}

#[test]
fn a_snapshot_for_a_trusted_book_changes_nothing() {
    check(
        "spot",
        Contiguous,
        &[
            Spot(1, 5, NEEDS),
            Snap(3, synced(1)),
            Snap(99, Unexpected),
            Spot(6, 6, Applied),
        ],
        Some(6),
        1,
    );
}

#[test]
fn a_crossed_book_is_not_served() {
    let mut book = SyncedBook::new(Contiguous);
    book.on_delta(&delta(1, 5, None, &bid(5)));
    assert_eq!(book.on_snapshot(&snapshot(3)), synced(1));
    let crossing = [level(200, 1)];
    let outcome = book.on_delta(&delta(6, 6, None, &crossing));
    assert_eq!(outcome, DeltaOutcome::Desynced(DesyncReason::Crossed));
    assert!(book.book().is_none());
    // The crossing delta is in the buffer: the snapshot after it starts the next epoch.
    assert_eq!(
        book.on_snapshot(&snapshot(5)),
        SnapshotOutcome::Desynced(DesyncReason::Crossed)
    );
    assert_eq!(book.buffered(), 1, "the buffer outlives a crossed snapshot");
    assert_eq!(book.on_snapshot(&snapshot(6)), synced(0));
    assert_eq!(book.epoch(), 2);
    // Both sides of one event move together: crossed in between is not crossed.
    let asks = [level(200, 0), level(300, 1)];
    let both = BookDelta {
        asks: &asks,
        ..delta(7, 7, None, &crossing)
    };
    assert_eq!(book.on_delta(&both), Applied);
}

#[test]
fn a_crossed_snapshot_is_refused() {
    let mut book = SyncedBook::new(PreviousLink);
    book.on_delta(&delta(1, 5, Some(0), &[]));
    let crossed = BookSnapshot {
        bids: vec![level(200, 1)],
        ..snapshot(3)
    };
    let expected = SnapshotOutcome::Desynced(DesyncReason::Crossed);
    assert_eq!(book.on_snapshot(&crossed), expected);
    assert!(book.book().is_none());
    assert_eq!(book.on_snapshot(&snapshot(3)), synced(1));
}

#[test]
fn a_replayed_buffer_is_the_live_stream() {
    let mut book = SyncedBook::new(Contiguous);
    for seq in 1..=50u64 {
        let rows = [level(100 - seq as i64, seq as i64), level(50, 0)];
        let asks = [level(200 + seq as i64, seq as i64)];
        let row = BookDelta {
            asks: &asks[..(seq % 2) as usize],
            ..delta(seq, seq, None, &rows[..(seq % 3).min(2) as usize])
        };
        assert_eq!(book.on_delta(&row), NEEDS);
    }
    assert_eq!(book.on_snapshot(&snapshot(10)), synced(40));
    let held = book.book().map(|book| {
        (
            top(book, BookSide::Bid, 99).len(),
            top(book, BookSide::Ask, 99).len(),
        )
    });
    let bids = (11..=50)
        .filter(|seq| seq % 3 != 0)
        .filter(|seq| 100 - seq != 50)
        .count();
    let asks = (11..=50).filter(|seq| seq % 2 == 1).count();
    // The delta 50 has two levels and removes the bid at 50 again that it set itself.
    assert_eq!(held, Some((bids + 1, asks + 1)));
    assert_eq!(book.ts_event(), TsNanos(50));
}

#[test]
fn a_full_buffer_drops_its_oldest_and_says_so() {
    let mut book = SyncedBook::new(Contiguous);
    let mut told = 0;
    let last = BUFFER_EVENTS_MAX as u64 + 5_000;
    for seq in 1..=last {
        match book.on_delta(&delta(seq, seq, None, &bid(seq))) {
            DeltaOutcome::Desynced(DesyncReason::BufferFull) => told += 1,
            outcome => assert_eq!(outcome, NEEDS),
        }
        assert!(book.buffered() <= BUFFER_EVENTS_MAX);
    }
    assert_eq!(told, 5, "once for each tenth");
    assert_eq!(book.on_snapshot(&snapshot(1)), TooOld);
    assert!(matches!(
        book.on_snapshot(&snapshot(last - 100)),
        SnapshotOutcome::Synced { replayed: 100 }
    ));
}

/// An exchange that counts anew must not leave a book that never changes again.
#[test]
fn numbers_that_start_over_are_a_gap() {
    for rule in [Contiguous, PreviousLink] {
        let mut book = SyncedBook::new(rule);
        book.on_delta(&delta(1_000_000, 1_000_005, Some(999_999), &bid(1)));
        assert_eq!(book.on_snapshot(&snapshot(1_000_001)), synced(1));
        let mut seq = 1;
        let broken = loop {
            match book.on_delta(&delta(seq, seq, Some(seq - 1), &bid(seq))) {
                Ignored => seq += 1,
                outcome => break outcome,
            }
        };
        assert!(
            matches!(broken, DeltaOutcome::Desynced(DesyncReason::Gap { .. })),
            "{broken:?}"
        );
        assert!(seq > 500, "duplicates of an overlap are no reset");
        assert_eq!(
            book.on_snapshot(&snapshot(seq)),
            synced(usize::from(rule == PreviousLink))
        );
    }
}
