//! Books that begin on the stream: OKX's links between identifiers, and Coinbase's connections whose
//! frames are counted elsewhere.

use super::level;
use crate::book::sync::{DeltaOutcome, DesyncReason, SnapshotOutcome, SyncedBook};
use crate::event::{BookDelta, BookImage, BookSide, BookSnapshot};
use crate::exchange::Continuity;
use crate::time::TsNanos;

/// Gives a delta that sets the best bid's quantity, and tells what became of it.
fn delta(book: &mut SyncedBook, prev: u64, seq: u64, qty: i64) -> DeltaOutcome {
    book.on_delta(&BookDelta {
        first_seq: seq,
        last_seq: seq,
        prev_seq: Some(prev),
        ts_event: TsNanos(1),
        bids: &[level(100, qty)],
        asks: &[],
    })
}

fn image(book: &mut SyncedBook, seq: u64) {
    let image = BookImage {
        seq,
        ts_event: TsNanos(1),
        bids: &[level(100, 1)],
        asks: &[level(200, 1)],
    };
    assert_eq!(book.on_image(&image), Ok(()));
}

/// The quantity at the best bid of a trusted book.
fn best(book: &SyncedBook) -> Option<i64> {
    Some(book.book()?.best(BookSide::Bid)?.qty.0)
}

/// OKX: `seqId` names a state of the book and counts nothing. It rises by any step, stays when
/// nothing changed, and falls after the exchange's maintenance; `prevSeqId` alone tells whether
/// something is missing.
#[test]
fn an_okx_sequence_is_an_identifier_and_not_a_counter() {
    let mut book = SyncedBook::new(Continuity::ExactLink);
    image(&mut book, 1_000);
    for (prev, seq, qty) in [
        (1_000, 1_007, 2),
        (1_007, 1_100, 3),
        // Nothing changed.
        (1_100, 1_100, 3),
        // Maintenance: numbers begin anew, the chain goes on.
        (1_100, 3, 4),
        (3, 96, 5),
    ] {
        let outcome = delta(&mut book, prev, seq, qty);
        assert_eq!(outcome, DeltaOutcome::Applied, "{prev} -> {seq}");
        assert_eq!((best(&book), book.seq()), (Some(qty), seq));
    }
    assert_eq!(book.epoch(), 1);
    // What has been applied is passed over.
    assert_eq!(delta(&mut book, 3, 96, 9), DeltaOutcome::Ignored);
    assert_eq!(best(&book), Some(5));
    // The next number is no proof: another link means that something is missing.
    let gap = DesyncReason::Gap {
        expected: 96,
        got: 97,
    };
    assert_eq!(delta(&mut book, 97, 98, 6), DeltaOutcome::Desynced(gap));
    assert_eq!(best(&book), None);
}

/// When OKX's stream brings no image, a fetched book is joined: its number lies between a delta's
/// link and its own.
#[test]
fn a_fetched_okx_book_joins_where_its_number_lies() {
    let needs = DeltaOutcome::Buffered {
        needs_snapshot: true,
    };
    for (fetched, expected, bid) in [
        // Before the first delta at hand: another has to be fetched.
        (49, SnapshotOutcome::TooOld, None),
        // On the first delta's link, within the second, on the second itself.
        (50, SnapshotOutcome::Synced { replayed: 2 }, Some(3)),
        (65, SnapshotOutcome::Synced { replayed: 1 }, Some(3)),
        (70, SnapshotOutcome::Synced { replayed: 1 }, Some(3)),
        // Behind all of them.
        (71, SnapshotOutcome::Synced { replayed: 0 }, Some(1)),
    ] {
        let mut book = SyncedBook::new(Continuity::ExactLink);
        assert_eq!(delta(&mut book, 50, 60, 2), needs);
        delta(&mut book, 60, 70, 3);
        let snapshot = BookSnapshot {
            seq: fetched,
            ts_event: None,
            bids: vec![level(100, 1)],
            asks: vec![level(200, 1)],
        };
        assert_eq!(book.on_snapshot(&snapshot), expected, "{fetched}");
        assert_eq!(best(&book), bid, "{fetched}");
    }
}

/// Coinbase numbers the frames of a connection and not the changes of a book: whatever number a
/// delta has it joins, until the connection's count tells of a loss.
#[test]
fn a_book_of_a_counted_connection_takes_what_arrives_until_a_frame_is_lost() {
    let mut book = SyncedBook::new(Continuity::Connection);
    image(&mut book, 5);
    // Frames of other products and channels lie between.
    for (seq, qty) in [(9, 2), (10, 3), (250, 4)] {
        let outcome = delta(&mut book, seq - 1, seq, qty);
        assert_eq!(outcome, DeltaOutcome::Applied, "{seq}");
        assert_eq!(best(&book), Some(qty), "{seq}");
    }
    book.desync(DesyncReason::Gap {
        expected: 251,
        got: 252,
    });
    assert_eq!(best(&book), None);
    delta(&mut book, 252, 253, 5);
    assert_eq!(best(&book), None, "a delta is no book");
    image(&mut book, 254);
    assert_eq!((best(&book), book.epoch()), (Some(1), 2));
}
