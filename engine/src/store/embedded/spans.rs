//! Spans of trades: which ids the trades of a range of time have.
//!
//! An exchange's trade ids grow with time, nearly: so a trades table that is sorted by id alone,
//! with one span for each few thousand rows, answers questions about time without an index on it.

use rusqlite::{OptionalExtension, Transaction};

/// A hole in time that ends a span, ns: without it a span over a night off would be looked at for
/// every time in that night.
const SPAN_GAP: i64 = 3_600_000_000_000;

/// Trades that were written together or one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct TradeSpan {
    pub(super) id_lo: i64,
    pub(super) id_hi: i64,
    pub(super) ts_lo: i64,
    pub(super) ts_hi: i64,
    pub(super) trades: i64,
}

impl TradeSpan {
    /// True when a later span can be put into this one.
    pub(super) fn takes(&self, next: &Self, trades_max: i64) -> bool {
        next.id_lo > self.id_hi
            && self.trades + next.trades <= trades_max
            && next.ts_lo.saturating_sub(self.ts_hi) < SPAN_GAP
            && self.ts_lo.saturating_sub(next.ts_hi) < SPAN_GAP
    }

    /// An entity's span with the highest ids.
    pub(super) fn last(
        transaction: &Transaction<'_>,
        entity: i64,
    ) -> rusqlite::Result<Option<Self>> {
        transaction
            .prepare_cached(
                "SELECT id_lo, id_hi, ts_lo, ts_hi, trades FROM trade_spans
                 WHERE entity = ?1 ORDER BY id_lo DESC LIMIT 1",
            )?
            .query_row([entity], |row| {
                Ok(TradeSpan {
                    id_lo: row.get(0)?,
                    id_hi: row.get(1)?,
                    ts_lo: row.get(2)?,
                    ts_hi: row.get(3)?,
                    trades: row.get(4)?,
                })
            })
            .optional()
    }

    pub(super) fn extend(&mut self, next: &Self) {
        self.id_hi = next.id_hi;
        self.ts_lo = self.ts_lo.min(next.ts_lo);
        self.ts_hi = self.ts_hi.max(next.ts_hi);
        self.trades += next.trades;
    }
}
