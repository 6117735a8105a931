//! When a book may be trusted: one state machine over an exchange's continuity rule.
//!
//! ```text
//! Unsynced ──delta──► Buffering ──snapshot that joins the buffer──► Synced
//!    │                    ▲  ▲                                        │
//!    └──snapshot: held────┘  └──gap, crossed, stale, disconnected ────┘
//! ```
//!
//! While not [`BookState::Synced`] there is no book to be had. Deltas are kept in a bounded buffer
//! until a snapshot joins them, and the buffer survives a snapshot that was too old; a delta is
//! never applied across a gap. Each time a book becomes trusted its epoch grows by one.
//!
//! Rules as Binance documents them (spot: "How to manage a local order book correctly",
//! 2025-11-12; USDⓈ-M: "How to manage a local order book correctly", read 2026-07), with two
//! deductions that accept more without accepting a wrong book:
//! - spot: a delta with `U == lastUpdateId + 1` joins the snapshot although the text asks for
//!   `lastUpdateId` within `[U; u]`: nothing lies between them;
//! - USDⓈ-M: a delta with `pu <= lastUpdateId < U` joins it too: nothing happened between `pu` and
//!   `U`, so the snapshot holds all changes up to `U`. Without this a quiet instrument, whose
//!   snapshot falls between two of its deltas, would be fetched again for nothing.

use std::collections::VecDeque;

use super::Book;
use crate::event::{BookDelta, BookImage, BookLevel, BookSnapshot};
use crate::exchange::Continuity;
use crate::time::TsNanos;

/// Deltas kept while no snapshot joins them; at ten a second this is a quarter of an hour.
pub const BUFFER_EVENTS_MAX: usize = 10_000;

/// Levels kept in those deltas, 16 bytes each.
pub const BUFFER_LEVELS_MAX: usize = 1 << 20;

/// So many old deltas in a row are no duplicates: the exchange began to count anew. Two connections
/// that overlap during a change-over stay far below.
const OLD_RUN_MAX: u32 = 1_000;

/// How far a book is from being trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookState {
    /// Nothing has been received since the start or the last disconnect.
    Unsynced,
    /// Deltas are kept (or a snapshot is held) until they can be joined.
    Buffering,
    /// The book is the exchange's.
    Synced,
}

impl BookState {
    /// `unsynced`, `buffering`, `synced`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsynced => "unsynced",
            Self::Buffering => "buffering",
            Self::Synced => "synced",
        }
    }
}

/// Why a book stopped being trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DesyncReason {
    /// Deltas are missing.
    Gap {
        /// Sequence number that had to come next: the first of the delta where numbers are
        /// contiguous, the link (`pu`) where deltas name their predecessor.
        expected: u64,
        /// The one that came in its place.
        got: u64,
    },
    /// The best bid was at or above the best ask after a whole event.
    Crossed,
    /// The connection was lost: deltas may be missing.
    Disconnected,
    /// No data in time.
    Stale,
    /// No snapshot joined the deltas before the buffer was full; the oldest were dropped.
    BufferFull,
    /// An operator asked for it.
    Requested,
    /// A delta could not be read.
    Decode,
    /// The exchange's check of the book failed.
    Checksum,
}

impl DesyncReason {
    /// The `reason` of `system.status`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap { .. } => "gap",
            Self::Crossed => "crossed",
            Self::Disconnected => "disconnected",
            Self::Stale => "stale",
            Self::BufferFull => "buffer_full",
            Self::Requested => "requested",
            Self::Decode => "decode",
            Self::Checksum => "checksum",
        }
    }
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeltaOutcome {
    /// The book holds it. It may have been the delta that joined a held snapshot: then the book
    /// has just become trusted, and the epoch tells.
    Applied,
    /// A duplicate, or older than the book: nothing changed.
    Ignored,
    /// Kept until a snapshot joins it.
    Buffered {
        /// No snapshot is held: one has to be fetched, unless that is under way.
        needs_snapshot: bool,
    },
    /// The book, or the run of deltas waiting for a snapshot, ended here. The state is
    /// [`BookState::Buffering`] and this delta is in the buffer; a snapshot has to be fetched.
    Desynced(DesyncReason),
}

/// What became of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// The book is trusted.
    Synced {
        /// Buffered deltas that were applied to the snapshot.
        replayed: usize,
    },
    /// It ends before the first buffered delta: fetch another. The buffer is kept.
    TooOld,
    /// No delta has come yet: it is held, and the first delta decides.
    Waiting,
    /// The snapshot, or a buffered delta applied to it, crossed the book: fetch another. The
    /// buffer is kept.
    Desynced(DesyncReason),
    /// The book is trusted already: nothing changed.
    Unexpected,
}

/// How a delta stands to the sequence number reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Old,
    Next,
    Gap { expected: u64, got: u64 },
}

/// Sequence numbers of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    first: u64,
    last: u64,
    prev: Option<u64>,
}

impl Span {
    fn of(delta: &BookDelta<'_>) -> Self {
        Self {
            first: delta.first_seq,
            last: delta.last_seq,
            prev: delta.prev_seq,
        }
    }

    /// The sequence number before this delta: what has to be reached to apply it.
    fn prev(self) -> u64 {
        self.prev.unwrap_or(self.first.saturating_sub(1))
    }

    /// After another delta that ended at `seq`.
    fn after_delta(self, rule: Continuity, seq: u64) -> Link {
        match rule {
            Continuity::Connection => Link::Next,
            Continuity::ExactLink if self.prev() == seq => Link::Next,
            // An identifier that is not linked to: older or newer can't be told for sure, but what
            // ends at or before the number reached and began before it has been applied.
            Continuity::ExactLink if self.last <= seq && self.prev() < seq => Link::Old,
            Continuity::ExactLink => Link::Gap {
                expected: seq,
                got: self.prev(),
            },
            _ if self.last <= seq => Link::Old,
            Continuity::Contiguous if self.first <= seq.saturating_add(1) => Link::Next,
            Continuity::PreviousLink if self.prev() == seq => Link::Next,
            Continuity::Contiguous => Link::Gap {
                expected: seq.saturating_add(1),
                got: self.first,
            },
            Continuity::PreviousLink => Link::Gap {
                expected: seq,
                got: self.prev(),
            },
        }
    }

    /// After a snapshot of `seq`, as the first delta applied to it.
    fn after_snapshot(self, rule: Continuity, seq: u64) -> Link {
        match rule {
            Continuity::Contiguous | Continuity::Connection => self.after_delta(rule, seq),
            Continuity::ExactLink if self.last < seq => Link::Old,
            // A snapshot that was fetched lies anywhere between two deltas.
            Continuity::ExactLink if self.prev() <= seq => Link::Next,
            Continuity::ExactLink => Link::Gap {
                expected: seq,
                got: self.prev(),
            },
            Continuity::PreviousLink if self.last < seq => Link::Old,
            // `last == seq` is kept: it anchors the chain of links, and changes nothing.
            Continuity::PreviousLink if self.first <= seq || self.prev() <= seq => Link::Next,
            Continuity::PreviousLink => Link::Gap {
                expected: seq,
                got: self.prev(),
            },
        }
    }
}

/// Deltas waiting for a snapshot: an unbroken run, oldest first. Two rings, so that keeping a
/// delta costs no allocation of its own.
#[derive(Clone, Debug, Default)]
struct Buffer {
    rows: VecDeque<Row>,
    levels: VecDeque<BookLevel>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    span: Span,
    ts_event: TsNanos,
    bids: usize,
    asks: usize,
}

impl Buffer {
    fn clear(&mut self) {
        self.rows.clear();
        self.levels.clear();
    }

    /// Keeps a delta. True when older ones had to go for it.
    fn push(&mut self, delta: &BookDelta<'_>) -> bool {
        self.rows.push_back(Row {
            span: Span::of(delta),
            ts_event: delta.ts_event,
            bids: delta.bids.len(),
            asks: delta.asks.len(),
        });
        self.levels.extend(delta.bids);
        self.levels.extend(delta.asks);
        let is_full = |buffer: &Self| {
            buffer.rows.len() > BUFFER_EVENTS_MAX || buffer.levels.len() > BUFFER_LEVELS_MAX
        };
        if !is_full(self) {
            return false;
        }
        // A tenth at once, so that a buffer that stays full reports it now and then, not each time.
        let mut left = BUFFER_EVENTS_MAX / 10;
        while self.rows.len() > 1 && (left > 0 || is_full(self)) {
            left = left.saturating_sub(1);
            self.drop_first();
        }
        true
    }

    fn drop_first(&mut self) {
        if let Some(row) = self.rows.pop_front() {
            self.levels.drain(..row.bids + row.asks);
        }
    }

    /// Gives the memory of a burst back.
    fn shrink(&mut self) {
        self.rows.shrink_to(64);
        self.levels.shrink_to(4096);
    }
}

/// A book and whether it may be trusted.
#[derive(Clone, Debug)]
pub struct SyncedBook {
    rule: Continuity,
    state: BookState,
    epoch: u32,
    seq: u64,
    ts_event: TsNanos,
    /// A delta has been applied since the snapshot: from then on links must match exactly.
    is_anchored: bool,
    /// Old deltas since the last that was not.
    old_run: u32,
    book: Book,
    buffer: Buffer,
    held: Option<BookSnapshot>,
}

impl SyncedBook {
    /// A book without data.
    #[must_use]
    pub fn new(rule: Continuity) -> Self {
        Self {
            rule,
            state: BookState::Unsynced,
            epoch: 0,
            seq: 0,
            ts_event: TsNanos::default(),
            is_anchored: false,
            old_run: 0,
            book: Book::new(),
            buffer: Buffer::default(),
            held: None,
        }
    }

    /// Takes the next delta of the stream.
    pub fn on_delta(&mut self, delta: &BookDelta<'_>) -> DeltaOutcome {
        if self.state == BookState::Synced {
            return self.continue_with(delta);
        }
        self.state = BookState::Buffering;
        let broken = match self.buffer.rows.back().map(|row| row.span.last) {
            None => None,
            Some(last) => match Span::of(delta).after_delta(self.rule, last) {
                Link::Old if self.is_duplicate() => return DeltaOutcome::Ignored,
                Link::Old => Some((last.saturating_add(1), delta.first_seq)),
                Link::Next => None,
                Link::Gap { expected, got } => Some((expected, got)),
            },
        };
        self.old_run = 0;
        let broken = broken.map(|(expected, got)| {
            self.buffer.clear();
            DesyncReason::Gap { expected, got }
        });
        let broken = match self.buffer.push(delta) {
            true => Some(DesyncReason::BufferFull),
            false => broken,
        };
        let Some(snapshot) = self.held.take() else {
            let buffered = DeltaOutcome::Buffered {
                needs_snapshot: true,
            };
            return broken.map_or(buffered, DeltaOutcome::Desynced);
        };
        match self.join(&snapshot) {
            SnapshotOutcome::Synced { .. } => DeltaOutcome::Applied,
            SnapshotOutcome::Desynced(reason) => DeltaOutcome::Desynced(reason),
            _ => DeltaOutcome::Buffered {
                needs_snapshot: true,
            },
        }
    }

    /// Takes a snapshot that was fetched, or that the stream carries.
    pub fn on_snapshot(&mut self, snapshot: &BookSnapshot) -> SnapshotOutcome {
        if self.state == BookState::Synced {
            return SnapshotOutcome::Unexpected;
        }
        self.state = BookState::Buffering;
        if self.buffer.rows.is_empty() {
            // Of two held snapshots the newer one counts.
            if self
                .held
                .as_ref()
                .is_none_or(|held| held.seq <= snapshot.seq)
            {
                self.held = Some(snapshot.clone());
            }
            return SnapshotOutcome::Waiting;
        }
        self.join(snapshot)
    }

    /// Takes a whole book that came by the stream: whatever was there, this is the book now. Deltas
    /// that were kept came before it.
    ///
    /// # Errors
    /// [`DesyncReason::Crossed`] when it is no book; there is none then.
    pub fn on_image(&mut self, image: &BookImage<'_>) -> Result<(), DesyncReason> {
        self.buffer.clear();
        self.buffer.shrink();
        self.held = None;
        self.old_run = 0;
        self.book.load(image.bids, image.asks);
        if self.book.is_crossed() {
            self.book.clear();
            self.state = BookState::Unsynced;
            return Err(DesyncReason::Crossed);
        }
        (self.seq, self.ts_event) = (image.seq, image.ts_event);
        // The next delta links to the image itself.
        self.is_anchored = true;
        self.state = BookState::Synced;
        self.epoch += 1;
        Ok(())
    }

    /// Trusts the held snapshot although no delta has come yet. Only for a caller who knows that
    /// the stream was live before the snapshot was asked for: then a quiet instrument has had no
    /// change since, and the next delta will still be checked against it. Returns whether the book
    /// is trusted now.
    pub fn accept_held(&mut self) -> bool {
        if self.state == BookState::Synced || !self.buffer.rows.is_empty() {
            return false;
        }
        let Some(snapshot) = self.held.take() else {
            return false;
        };
        matches!(self.join(&snapshot), SnapshotOutcome::Synced { .. })
    }

    /// Stops trusting the book. Deltas that were kept stay only where the stream itself is intact:
    /// after [`DesyncReason::Requested`] and [`DesyncReason::Crossed`].
    pub fn desync(&mut self, reason: DesyncReason) {
        let is_stream_intact = matches!(reason, DesyncReason::Requested | DesyncReason::Crossed);
        if !is_stream_intact {
            self.buffer.clear();
        }
        self.held = None;
        self.state = if self.buffer.rows.is_empty() {
            BookState::Unsynced
        } else {
            BookState::Buffering
        };
        self.book.clear();
    }

    /// How far the book is from being trusted.
    #[must_use]
    pub fn state(&self) -> BookState {
        self.state
    }

    /// How often the book has become trusted.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The book, only while it is trusted.
    #[must_use]
    pub fn book(&self) -> Option<&Book> {
        (self.state == BookState::Synced).then_some(&self.book)
    }

    /// Sequence number that the book has reached; of the last trusted book while there is none.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The exchange's time of the last delta applied, or of the snapshot where it has one.
    #[must_use]
    pub fn ts_event(&self) -> TsNanos {
        self.ts_event
    }

    /// Deltas kept while waiting for a snapshot.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.rows.len()
    }

    fn continue_with(&mut self, delta: &BookDelta<'_>) -> DeltaOutcome {
        let span = Span::of(delta);
        let link = if self.is_anchored {
            span.after_delta(self.rule, self.seq)
        } else {
            span.after_snapshot(self.rule, self.seq)
        };
        let reason = match link {
            Link::Old if self.is_duplicate() => return DeltaOutcome::Ignored,
            Link::Old => DesyncReason::Gap {
                expected: self.seq.saturating_add(1),
                got: span.first,
            },
            Link::Next => {
                self.old_run = 0;
                self.apply(span, delta.ts_event, delta.bids, delta.asks);
                if !self.book.is_crossed() {
                    return DeltaOutcome::Applied;
                }
                DesyncReason::Crossed
            }
            Link::Gap { expected, got } => DesyncReason::Gap { expected, got },
        };
        self.desync(reason);
        self.state = BookState::Buffering;
        self.old_run = 0;
        self.buffer.push(delta);
        DeltaOutcome::Desynced(reason)
    }

    /// Counts an old delta. False when there were too many in a row.
    fn is_duplicate(&mut self) -> bool {
        self.old_run += 1;
        self.old_run <= OLD_RUN_MAX
    }

    #[inline]
    fn apply(&mut self, span: Span, ts: TsNanos, bids: &[BookLevel], asks: &[BookLevel]) {
        self.book.apply(bids, asks);
        self.seq = span.last;
        self.ts_event = ts;
        self.is_anchored = true;
    }

    /// Lays the snapshot down and applies the buffer on top.
    fn join(&mut self, snapshot: &BookSnapshot) -> SnapshotOutcome {
        let mut applied = 0..self.buffer.rows.len();
        for row in &self.buffer.rows {
            match row.span.after_snapshot(self.rule, snapshot.seq) {
                Link::Old => applied.start += 1,
                Link::Next => break,
                // Only the first can: the buffer is an unbroken run, so what follows an old delta
                // always joins.
                Link::Gap { .. } => return SnapshotOutcome::TooOld,
            }
        }
        self.book.load(&snapshot.bids, &snapshot.asks);
        self.is_anchored = false;
        let mut is_crossed = self.book.is_crossed();
        let mut seq = snapshot.seq;
        let mut ts_event = snapshot.ts_event.unwrap_or_default();
        let levels = self.buffer.levels.make_contiguous();
        let mut rest: &[BookLevel] = levels;
        for (index, row) in self.buffer.rows.iter().enumerate() {
            let (bids, tail) = rest.split_at(row.bids);
            let (asks, tail) = tail.split_at(row.asks);
            rest = tail;
            if index < applied.start || is_crossed {
                continue;
            }
            self.book.apply(bids, asks);
            is_crossed = self.book.is_crossed();
            (seq, ts_event) = (row.span.last, row.ts_event);
            self.is_anchored = true;
        }
        if is_crossed {
            self.book.clear();
            return SnapshotOutcome::Desynced(DesyncReason::Crossed);
        }
        (self.seq, self.ts_event) = (seq, ts_event);
        self.buffer.clear();
        self.buffer.shrink();
        self.held = None;
        self.state = BookState::Synced;
        self.epoch += 1;
        SnapshotOutcome::Synced {
            replayed: applied.len(),
        }
    }
}
