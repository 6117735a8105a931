//! Synchronisation of a book: arbitrary deltas and snapshots against an obvious book.

use bookwire_engine::book::naive::NaiveBook;
use bookwire_engine::book::sync::{DeltaOutcome, DesyncReason, SnapshotOutcome, SyncedBook};
use bookwire_engine::event::{BookDelta, BookLevel, BookSide, BookSnapshot};
use bookwire_engine::exchange::Continuity;
use bookwire_engine::num::{Price, Qty};
use bookwire_engine::time::TsNanos;

/// Takes the bytes of a script, one small choice after the other; 0 when they are used up.
struct Script<'a>(&'a [u8]);

impl Script<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    fn levels(&mut self, is_ask: bool) -> Vec<BookLevel> {
        let count = self.byte() % 5;
        (0..count)
            .map(|_| {
                let place = i64::from(self.byte());
                // Sides overlap a little, and some prices are far away.
                let distance = if place > 250 {
                    place * 1_000_003
                } else {
                    place
                };
                let price = if is_ask {
                    1_100 + distance
                } else {
                    1_120 - distance
                };
                BookLevel {
                    price: Price(price),
                    qty: Qty(i64::from(self.byte() % 4)),
                }
            })
            .collect()
    }
}

#[derive(Clone, Debug)]
struct Delta {
    first: u64,
    last: u64,
    prev: Option<u64>,
    bids: Vec<BookLevel>,
    asks: Vec<BookLevel>,
}

impl Delta {
    fn view(&self) -> BookDelta<'_> {
        BookDelta {
            first_seq: self.first,
            last_seq: self.last,
            prev_seq: self.prev,
            ts_event: TsNanos(self.last as i64),
            bids: &self.bids,
            asks: &self.asks,
        }
    }
}

/// What the book must be: the snapshot it became trusted with and the deltas since, in plain maps.
struct Model {
    rule: Continuity,
    /// Unbroken run of deltas that wait for a snapshot.
    waiting: Vec<Delta>,
    held: Option<BookSnapshot>,
    book: NaiveBook,
    seq: u64,
}

impl Model {
    /// The documented procedure, on the deltas that wait.
    fn join(&mut self, snapshot: &BookSnapshot) {
        self.book.load(&snapshot.bids, &snapshot.asks);
        self.seq = snapshot.seq;
        for delta in std::mem::take(&mut self.waiting) {
            let is_old = match self.rule {
                Continuity::Contiguous => delta.last <= snapshot.seq,
                Continuity::PreviousLink => delta.last < snapshot.seq,
                Continuity::ExactLink | Continuity::Connection => unreachable!("not drawn"),
            };
            if !is_old {
                self.book.apply(&delta.bids, &delta.asks);
                self.seq = delta.last;
            }
        }
        self.held = None;
    }
}

/// Plays a script and compares after every step.
pub fn check(script: &[u8]) {
    let mut script = Script(script);
    let rule = match script.byte() % 2 {
        0 => Continuity::Contiguous,
        _ => Continuity::PreviousLink,
    };
    let mut book = SyncedBook::new(rule);
    let mut model = Model {
        rule,
        waiting: Vec::new(),
        held: None,
        book: NaiveBook::default(),
        seq: 0,
    };
    // The exchange's own numbers; steps away from them are gaps and repetitions.
    let mut next = 1_000_u64;
    let mut last_end = 999_u64;
    while !script.0.is_empty() {
        let epoch = book.epoch();
        match script.byte() % 16 {
            0..=10 => {
                let delta = delta(&mut script, rule, &mut next, &mut last_end);
                step_delta(&mut book, &mut model, delta);
            }
            11..=13 => {
                let back = u64::from(script.byte() % 12);
                let snapshot = BookSnapshot {
                    seq: (last_end + 4).saturating_sub(back),
                    ts_event: None,
                    bids: script.levels(false),
                    asks: script.levels(true),
                };
                step_snapshot(&mut book, &mut model, snapshot);
            }
            14 => {
                let reason = [
                    DesyncReason::Disconnected,
                    DesyncReason::Stale,
                    DesyncReason::Decode,
                ];
                book.desync(reason[usize::from(script.byte() % 3)]);
                model.waiting.clear();
                model.held = None;
                assert!(book.book().is_none());
            }
            _ => {
                let held = model.held.take();
                if book.accept_held() {
                    model.join(&held.expect("a snapshot was held"));
                } else {
                    // A held snapshot that is crossed is no book; it is not kept.
                    let is_crossed = |held: &BookSnapshot| {
                        let mut book = NaiveBook::default();
                        book.load(&held.bids, &held.asks);
                        let best = |side| book.levels(side).first().map(|level| level.price);
                        best(BookSide::Bid)
                            .zip(best(BookSide::Ask))
                            .is_some_and(|(bid, ask)| bid >= ask)
                    };
                    assert!(held.as_ref().is_none_or(is_crossed));
                }
            }
        }
        assert!(book.epoch() >= epoch, "an epoch never goes back");
        compare(&book, &model);
    }
}

fn delta(script: &mut Script<'_>, rule: Continuity, next: &mut u64, end: &mut u64) -> Delta {
    let kind = script.byte();
    let len = u64::from(script.byte() % 4);
    let first = match kind {
        0..=199 => *next,
        200..=219 => next.saturating_sub(u64::from(kind - 199)),
        _ => *next + u64::from(kind - 219),
    };
    let prev = match kind {
        0..=229 => *end,
        _ => end.wrapping_add(u64::from(kind)),
    };
    let delta = Delta {
        first,
        last: first + len,
        prev: (rule == Continuity::PreviousLink).then_some(prev),
        bids: script.levels(false),
        asks: script.levels(true),
    };
    *end = delta.last;
    // Numbers of perpetuals jump.
    let jump = match rule {
        Continuity::Contiguous => 1,
        Continuity::PreviousLink => 1 + u64::from(kind % 3),
        Continuity::ExactLink | Continuity::Connection => unreachable!("not drawn"),
    };
    *next = delta.last + jump;
    delta
}

fn step_delta(book: &mut SyncedBook, model: &mut Model, delta: Delta) {
    let was_synced = book.book().is_some();
    match book.on_delta(&delta.view()) {
        DeltaOutcome::Applied if was_synced => {
            // Never across a gap.
            match model.rule {
                Continuity::Contiguous => assert!(delta.first <= model.seq + 1),
                Continuity::PreviousLink => {
                    assert!(
                        delta.prev.is_some_and(|prev| prev <= model.seq)
                            || delta.first <= model.seq
                    );
                }
                Continuity::ExactLink | Continuity::Connection => unreachable!("not drawn"),
            }
            model.book.apply(&delta.bids, &delta.asks);
            model.seq = delta.last;
        }
        DeltaOutcome::Applied => {
            model.waiting.push(delta);
            let held = model.held.take().expect("a snapshot was held");
            model.join(&held);
        }
        DeltaOutcome::Ignored => {}
        DeltaOutcome::Buffered { .. } => {
            assert!(!was_synced);
            model.waiting.push(delta);
            model.held = None;
        }
        DeltaOutcome::Desynced(_) => {
            // The buffer may have kept a run that this delta ends; how much of it is told.
            if book.buffered() <= 1 {
                model.waiting.clear();
            }
            model.waiting.push(delta);
            model.held = None;
        }
    }
}

fn step_snapshot(book: &mut SyncedBook, model: &mut Model, snapshot: BookSnapshot) {
    let was_synced = book.book().is_some();
    match book.on_snapshot(&snapshot) {
        SnapshotOutcome::Synced { replayed } => {
            let waiting = model.waiting.len();
            model.join(&snapshot);
            assert!(replayed <= waiting);
        }
        SnapshotOutcome::Waiting => {
            assert!(model.waiting.is_empty());
            if model
                .held
                .as_ref()
                .is_none_or(|held| held.seq <= snapshot.seq)
            {
                model.held = Some(snapshot);
            }
        }
        SnapshotOutcome::Unexpected => assert!(was_synced),
        SnapshotOutcome::TooOld | SnapshotOutcome::Desynced(_) => assert!(!was_synced),
    }
}

fn compare(book: &SyncedBook, model: &Model) {
    let Some(real) = book.book() else {
        return;
    };
    assert_eq!(book.seq(), model.seq);
    assert!(!real.is_crossed(), "a crossed book is not to be trusted");
    for side in [BookSide::Bid, BookSide::Ask] {
        let expected = model.book.levels(side);
        let mut levels = Vec::new();
        real.top(side, usize::MAX, &mut levels);
        assert_eq!(levels, expected);
        assert_eq!(real.len(side), expected.len());
        assert_eq!(real.best(side), expected.first().copied());
    }
}
