//! Storage of closed bars, trades, settled funding and snapshots of books behind one pair of traits.
//!
//! [`Store`] writes and belongs to one thread that may block; [`StoreReader`] reads, one for each
//! thread that asks. [`Embedded`] is the store that needs nothing installed. Nothing here knows
//! actors, sockets or the clock.
//!
//! # Writing another store
//! Implement both traits in one file and run `suite::run` (feature `testkit`) against it.
//! What callers rely on:
//! - **Batches.** [`Store::write`] gets thousands of rows of all kinds mixed, in the order in which
//!   they happened. A batch is all or nothing where the database can do that; where it can't
//!   (one transaction per table), a repeated batch must repair it, which idempotence gives.
//! - **Blocking.** Calls may block for as long as the database needs; they are made on a thread of
//!   the store's own, never on one with an actor. A time limit belongs to the implementation, so
//!   that a dead database becomes an error and not a hung thread.
//! - **Idempotence.** Rows have keys (see each row type). Writing a row twice changes nothing;
//!   batches are repeated after errors and restarts without thought. Databases that want the
//!   timestamp inside the key must still keep one row for a trade id.
//! - **Exactness.** Numbers come back equal to the last digit; trailing zeros need not survive.
//! - **Coverage.** A [`CoverageRow`] is durable no earlier than the rows before it. Reporting less
//!   than was promised costs a fetch, reporting more loses data: when in doubt forget it.
//! - **Order.** Answers are sorted by time, then entity id, then trade id, in the asked direction.
//! - **Errors.** [`StoreError::class`] decides what the caller does: `Retry` keeps the batch,
//!   `Reject` sets it aside, `Fatal` stops the store and is shown to the operator.
//!
//! Rows need not be visible to readers before the next [`Store::flush`]; the embedded store shows
//! them as soon as `write` returns.

mod answer;
mod book;
mod codec;
mod embedded;
mod error;
mod query;
mod questdb;
mod rollup;
mod row;
mod spool;
#[cfg(any(test, feature = "testkit"))]
pub mod suite;
mod varint;

pub use book::{BOOK_LEVELS_MAX, BookRow};
pub use codec::{decode as decode_rows, encode as encode_rows};
pub use embedded::{Embedded, EmbeddedOptions, EmbeddedReader, open_embedded};
pub use error::{StoreClass, StoreError};
pub use query::{BookQuery, FundingQuery, KlineQuery, Order, TimeWindow, TradeQuery};
pub use questdb::{HostPort, QuestDb, QuestDbOptions, QuestDbReader, Secret, open_questdb};
pub use row::{CoverageRow, Entity, FundingRow, KlineRow, Row, Series, Span, TradeId, TradeRow};
pub use spool::{Frame, Spool, SpoolError, SpoolOptions, SpoolUse};

/// What a batch did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Rows that are in the store now because of this batch: new ones and replacements.
    pub written: usize,
    /// Trades that were there already.
    pub known: usize,
}

/// The writing side of a store. See the module's documentation for what it must keep.
pub trait Store: Send {
    /// Name in the configuration and in status answers: `embedded`.
    fn kind(&self) -> &'static str;

    /// Writes a batch.
    ///
    /// # Errors
    /// [`StoreError`]; after an error the batch can be written again.
    fn write(&mut self, rows: &[Row]) -> Result<WriteReport, StoreError>;

    /// Returns when all that was written survives a loss of power and is visible to readers.
    ///
    /// # Errors
    /// [`StoreError`]; what was written before may be lost with the machine until a later flush
    /// succeeds.
    fn flush(&mut self) -> Result<(), StoreError>;

    /// True when readers see rows, promises included, as soon as [`Self::write`] returns; else they
    /// do after [`Self::flush`], and who needs to see what was just written flushes first.
    fn shows_at_once(&self) -> bool {
        false
    }

    /// A new reader, to be used on another thread.
    ///
    /// # Errors
    /// [`StoreError`] when the database can't be reached.
    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError>;
}

/// The reading side of a store. Calls block.
pub trait StoreReader: Send {
    /// All entities of a provider that rows are stored of, by entity id. It may have to look at
    /// all rows.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn entities_of(&self, provider: &str) -> Result<Vec<Entity>, StoreError>;

    /// Closed bars.
    ///
    /// # Errors
    /// [`StoreError`] when they can't be read; entities without rows are no error.
    fn klines(&self, query: &KlineQuery) -> Result<Vec<KlineRow>, StoreError>;

    /// The last bar of an entity before `query.window.start` for each of its entities that has
    /// one: the base of `change_pct`. Without a start: none.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn klines_before(&self, query: &KlineQuery) -> Result<Vec<KlineRow>, StoreError> {
        let Some(start) = query.window.start else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entity_id in &query.entity_ids {
            let before = KlineQuery {
                entity_ids: vec![entity_id.clone()],
                window: TimeWindow {
                    start: None,
                    end: Some(crate::time::TsNanos(start.0.saturating_sub(1))),
                    limit: 1,
                    order: Order::Ascending,
                },
                ..query.clone()
            };
            found.extend(self.klines(&before)?);
        }
        Ok(found)
    }

    /// Bars of `query.level` added up from stored minutes: those of which each minute is there, or
    /// promised by a [`CoverageRow`] of the minutes and so known to have had no trade. A bar without
    /// any minute is none. Prices come from the traded minutes (an exchange's bar without volume
    /// repeats an older price); sums are exact, and `None` where that of a minute is `None`.
    ///
    /// # Errors
    /// As [`StoreReader::klines`]; [`StoreError::InvalidRow`] for a sum beyond the range of a number.
    fn rolled_up(&self, query: &KlineQuery) -> Result<Vec<KlineRow>, StoreError> {
        rollup::rolled_up(self, query)
    }

    /// Matches.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn trades(&self, query: &TradeQuery) -> Result<Vec<TradeRow>, StoreError>;

    /// Settled funding.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn funding(&self, query: &FundingQuery) -> Result<Vec<FundingRow>, StoreError>;

    /// Snapshots of books.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn books(&self, query: &BookQuery) -> Result<Vec<BookRow>, StoreError>;

    /// The parts of `span` that no [`CoverageRow`] has promised, ascending, joined where they
    /// touch: what has to be fetched before an answer is complete.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn missing(
        &self,
        provider: &str,
        entity_id: &str,
        series: Series,
        span: Span,
    ) -> Result<Vec<Span>, StoreError>;

    /// Proves that the store answers, for health checks; cheap.
    ///
    /// # Errors
    /// As [`StoreReader::klines`].
    fn ping(&self) -> Result<(), StoreError>;
}
