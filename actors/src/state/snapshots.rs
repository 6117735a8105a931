//! Snapshots of books on their way to the recorder.

use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::store::{BookRow, Row};
use bookwire_engine::time::TsNanos;

use super::ShardState;
use super::market::record;

/// Books recorded at once, ten times a second: all of a large shard's together would hold up ticks.
const AT_ONCE: usize = 64;

/// When books are recorded next.
#[derive(Debug)]
pub(super) struct Snapshots {
    interval: Duration,
    depth: usize,
    /// Wall clock; on the interval's grid, so that the books of all shards and runs are of the
    /// same instants.
    next: Option<TsNanos>,
    /// The first instrument whose turn is still to come in this round.
    cursor: Option<usize>,
}

impl ShardState {
    /// Has the top `depth` levels of all trusted books recorded each `interval`.
    #[must_use]
    pub fn with_snapshots(mut self, interval: Option<Duration>, depth: usize) -> Self {
        self.snapshots = interval
            .filter(|interval| !interval.is_zero())
            .map(|interval| Snapshots {
                interval,
                depth,
                next: None,
                cursor: None,
            });
        self
    }

    /// Ten times a second: records the books whose turn it is. A book that is not trusted is left
    /// out, and one that has not changed replaces the same row.
    pub fn record_books(&mut self) {
        let now = self.clock.now();
        let count = self.instruments.len();
        let Some(snapshots) = &mut self.snapshots else {
            return;
        };
        let interval = i64::try_from(snapshots.interval.as_nanos()).unwrap_or(i64::MAX);
        let grid = TsNanos(
            (now.0 / interval)
                .saturating_add(1)
                .saturating_mul(interval),
        );
        match snapshots.next {
            None => snapshots.next = Some(grid),
            Some(next) if next <= now => {
                // A round that has not ended goes on: each book is recorded about as often as asked.
                snapshots.cursor.get_or_insert(0);
                snapshots.next = Some(grid);
            }
            Some(_) => {}
        }
        let Some(start) = snapshots.cursor else {
            return;
        };
        let depth = snapshots.depth;
        let (mut at, mut done) = (start, 0);
        while at < count && done < AT_ONCE {
            done += usize::from(self.record_book(InstrumentId(at as u32), depth));
            at += 1;
        }
        if let Some(snapshots) = &mut self.snapshots {
            snapshots.cursor = (at < count).then_some(at);
        }
    }

    /// True when there is a trusted book.
    fn record_book(&mut self, id: InstrumentId, depth: usize) -> bool {
        let Some(view) = self.book_view(id, depth) else {
            return false;
        };
        let Some(entity) = self.known(id).map(|state| Arc::clone(&state.entity)) else {
            return false;
        };
        if let Some(port) = &mut self.recorder {
            let row = Row::Book(BookRow {
                entity,
                ts: view.ts_event,
                sequence: view.seq,
                price_scale: view.instrument.price_scale,
                qty_scale: view.instrument.qty_scale,
                bids: view.bids.into(),
                asks: view.asks.into(),
            });
            record(port, &self.out, row);
        }
        true
    }
}
