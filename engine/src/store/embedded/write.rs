//! The writing side: one transaction for a batch.

use std::path::Path;
use std::sync::Arc;

use ahash::AHashMap;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};

use super::super::{
    BookRow, CoverageRow, Entity, FundingRow, KlineRow, Row, Store, StoreError, StoreReader,
    TradeId, TradeRow, WriteReport,
};
use super::number::{Mantissa, SCALE_BITS, pack, short};
use super::read::EmbeddedReader;
use super::schema::{level_number, migrate, series_number};
use super::spans::TradeSpan;
use super::{EmbeddedOptions, connect, failure};
use crate::event::Side;

/// The embedded store.
#[derive(Debug)]
pub struct Embedded {
    options: EmbeddedOptions,
    connection: Connection,
    entities: AHashMap<Arc<Entity>, Known>,
}

/// What is remembered of an entity between batches.
#[derive(Clone, Copy, Debug)]
struct Known {
    number: i64,
    /// Its trades table exists.
    has_table: bool,
    /// Its span with the highest ids.
    tail: Option<TradeSpan>,
}

impl Embedded {
    /// Opens or makes a store. See [`super::open_embedded`].
    ///
    /// # Errors
    /// As there.
    pub fn open(options: EmbeddedOptions) -> Result<Self, StoreError> {
        if let Some(folder) = options.path.parent().filter(|path| *path != Path::new("")) {
            std::fs::create_dir_all(folder).map_err(|error| StoreError::NotWritable {
                path: folder.to_owned(),
                detail: error.to_string(),
            })?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let mut connection = connect(&options, flags)?;
        let fail = |error| failure(&options, "set up", error);
        // SQLite opens a file that it may not write as a read-only one, and fails later.
        if connection.is_readonly("main").map_err(fail)? {
            return Err(StoreError::NotWritable {
                path: options.path.clone(),
                detail: "the file is read-only".to_owned(),
            });
        }
        let mode: String = connection
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
            .map_err(fail)?;
        if mode != "wal" {
            return Err(StoreError::NotWritable {
                path: options.path.clone(),
                detail: format!("its file system allows no write-ahead log (mode {mode})"),
            });
        }
        // NORMAL: the log is synced at checkpoints, not at each commit; the death of the process
        // loses nothing, a loss of power what came after the last checkpoint or flush.
        // 4,000 pages = 16 MiB of log between checkpoints. 4 MiB of page cache: tables grow at
        // their right edges, whose pages of a thousand instruments fit; a larger one fills over
        // minutes with pages that nobody needs again.
        connection
            .execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000;
                 PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -4096;
                 PRAGMA temp_store = MEMORY;",
            )
            .map_err(fail)?;
        migrate(&options, &mut connection)?;
        Ok(Self {
            options,
            connection,
            entities: AHashMap::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

impl Store for Embedded {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn write(&mut self, rows: &[Row]) -> Result<WriteReport, StoreError> {
        if rows.is_empty() {
            return Ok(WriteReport::default());
        }
        check(rows)?;
        let result = self
            .connection
            .transaction()
            .and_then(|transaction| {
                let report = Batch {
                    transaction: &transaction,
                    entities: &mut self.entities,
                    span_trades: i64::from(self.options.span_trades),
                    report: WriteReport::default(),
                }
                .write(rows)?;
                transaction.commit()?;
                Ok(report)
            })
            .map_err(|error| failure(&self.options, "write", error));
        if result.is_err() {
            // The batch was rolled back, and with it tables, numbers and spans remembered here.
            self.entities.clear();
        }
        result
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        // A commit with synchronous = FULL syncs the whole log, with all that is before it.
        let connection = &self.connection;
        connection
            .execute_batch("PRAGMA synchronous = FULL")
            .and_then(|()| connection.execute("UPDATE flushes SET count = count + 1", []))
            .and_then(|_| connection.execute_batch("PRAGMA synchronous = NORMAL"))
            .map_err(|error| {
                // Best effort: the next commit would only be slower.
                connection.execute_batch("PRAGMA synchronous = NORMAL").ok();
                failure(&self.options, "flush", error)
            })
    }

    fn shows_at_once(&self) -> bool {
        true
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(EmbeddedReader::open(self.options.clone())?))
    }
}

/// Refuses rows that could be written but not read back.
fn check(rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        if let Some(reason) = row.unfit() {
            return Err(StoreError::InvalidRow {
                entity_id: row.entity().entity_id.clone(),
                reason: reason.to_owned(),
            });
        }
    }
    Ok(())
}

/// A batch on its way into a transaction.
struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    entities: &'a mut AHashMap<Arc<Entity>, Known>,
    span_trades: i64,
    report: WriteReport,
}

/// An entity's trades of a batch.
struct Group<'r> {
    entity: &'r Arc<Entity>,
    numeric: Vec<(i64, &'r TradeRow)>,
    named: Vec<&'r TradeRow>,
}

impl Batch<'_> {
    fn write(mut self, rows: &[Row]) -> rusqlite::Result<WriteReport> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        // Rows of an entity share it: its address, valid while `rows` is borrowed, is enough to
        // find the group again. Two equal entities at two addresses make two groups, which is
        // slower and nothing else.
        let mut by_address: AHashMap<usize, usize> = AHashMap::new();
        let mut last: (usize, usize) = (0, 0);
        for row in rows {
            match row {
                Row::Kline(row) => self.kline(row)?,
                Row::Funding(row) => self.funding(row)?,
                Row::Book(row) => self.book(row)?,
                Row::Coverage(_) => {}
                Row::Trade(row) => {
                    let address = Arc::as_ptr(&row.entity).addr();
                    if address != last.0 {
                        let group = *by_address.entry(address).or_insert_with(|| {
                            groups.push(Group {
                                entity: &row.entity,
                                numeric: Vec::new(),
                                named: Vec::new(),
                            });
                            groups.len() - 1
                        });
                        last = (address, group);
                    }
                    let group = &mut groups[last.1];
                    match row.trade_id {
                        TradeId::Number(id) if i64::try_from(id).is_ok() => {
                            group.numeric.push((id as i64, row));
                        }
                        _ => group.named.push(row),
                    }
                }
            }
        }
        for group in groups {
            self.numeric_trades(group.entity, group.numeric)?;
            self.named_trades(group.entity, &group.named)?;
        }
        // Last: a promise must not be there before the rows that it speaks of.
        for row in rows {
            if let Row::Coverage(row) = row {
                self.coverage(row)?;
            }
        }
        Ok(self.report)
    }

    /// What is known of an entity; it gets its number here.
    fn known(&mut self, entity: &Arc<Entity>) -> rusqlite::Result<Known> {
        if let Some(known) = self.entities.get(entity) {
            return Ok(*known);
        }
        let found: Option<i64> = self
            .transaction
            .prepare_cached("SELECT id FROM entities WHERE provider = ?1 AND entity_id = ?2")?
            .query_row(params![entity.provider, entity.entity_id], |row| row.get(0))
            .optional()?;
        let number = match found {
            Some(number) => number,
            None => {
                self.transaction
                    .prepare_cached(
                        "INSERT INTO entities (provider, entity_id, code) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![entity.provider, entity.entity_id, entity.code])?;
                self.transaction.last_insert_rowid()
            }
        };
        let tail = TradeSpan::last(self.transaction, number)?;
        let known = Known {
            number,
            has_table: false,
            tail,
        };
        self.entities.insert(Arc::clone(entity), known);
        Ok(known)
    }

    fn numeric_trades(
        &mut self,
        entity: &Arc<Entity>,
        mut rows: Vec<(i64, &TradeRow)>,
    ) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut known = self.known(entity)?;
        let number = known.number;
        if !known.has_table {
            self.transaction.execute_batch(&format!(
                "CREATE TABLE IF NOT EXISTS trades_{number} (
                    trade_id INTEGER PRIMARY KEY, ts INTEGER NOT NULL,
                    price NOT NULL, volume NOT NULL, form INTEGER NOT NULL)"
            ))?;
            known.has_table = true;
        }
        // Stable: of two rows with one id the first one stays.
        if !rows.is_sorted_by_key(|(id, _)| *id) {
            rows.sort_by_key(|(id, _)| *id);
        }
        let mut insert = self.transaction.prepare_cached(&format!(
            "INSERT OR IGNORE INTO trades_{number} VALUES (?1, ?2, ?3, ?4, ?5)"
        ))?;
        let mut spans: Vec<TradeSpan> = Vec::new();
        let mut is_open = false;
        for (id, row) in rows {
            insert.raw_bind_parameter(1, id)?;
            insert.raw_bind_parameter(2, row.ts.0)?;
            insert.raw_bind_parameter(3, Mantissa::of(row.price))?;
            insert.raw_bind_parameter(4, Mantissa::of(row.volume))?;
            insert.raw_bind_parameter(5, form(row))?;
            if insert.raw_execute()? == 0 {
                self.report.known += 1;
                continue;
            }
            self.report.written += 1;
            let new = TradeSpan {
                id_lo: id,
                id_hi: id,
                ts_lo: row.ts.0,
                ts_hi: row.ts.0,
                trades: 1,
            };
            match spans.last_mut().filter(|_| is_open) {
                Some(span) if span.takes(&new, self.span_trades) => span.extend(&new),
                _ => spans.push(new),
            }
            is_open = true;
        }
        drop(insert);
        for span in spans {
            self.span(&mut known, span)?;
        }
        self.entities.insert(Arc::clone(entity), known);
        Ok(())
    }

    /// Records a span of new trades, in the entity's last one where it continues that.
    fn span(&self, known: &mut Known, span: TradeSpan) -> rusqlite::Result<()> {
        if let Some(tail) = known
            .tail
            .as_mut()
            .filter(|tail| tail.takes(&span, self.span_trades))
        {
            tail.extend(&span);
            self.transaction
                .prepare_cached(
                    "UPDATE trade_spans SET id_hi = ?3, ts_lo = ?4, ts_hi = ?5, trades = ?6
                     WHERE entity = ?1 AND id_lo = ?2",
                )?
                .execute([
                    known.number,
                    tail.id_lo,
                    tail.id_hi,
                    tail.ts_lo,
                    tail.ts_hi,
                    tail.trades,
                ])?;
            return Ok(());
        }
        self.transaction
            .prepare_cached(
                "INSERT INTO trade_spans VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (entity, id_lo) DO UPDATE SET
                     id_hi = max(id_hi, excluded.id_hi), ts_lo = min(ts_lo, excluded.ts_lo),
                     ts_hi = max(ts_hi, excluded.ts_hi), trades = trades + excluded.trades",
            )?
            .execute([
                known.number,
                span.id_lo,
                span.id_hi,
                span.ts_lo,
                span.ts_hi,
                span.trades,
            ])?;
        if known.tail.is_none_or(|tail| span.id_lo > tail.id_lo) {
            known.tail = Some(span);
        }
        Ok(())
    }

    fn named_trades(&mut self, entity: &Arc<Entity>, rows: &[&TradeRow]) -> rusqlite::Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let number = self.known(entity)?.number;
        let mut insert = self
            .transaction
            .prepare_cached("INSERT OR IGNORE INTO trades_named VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        for row in rows {
            let price = Mantissa::of(row.price);
            let volume = Mantissa::of(row.volume);
            let id = row.trade_id.to_string();
            let done = insert.execute(params![number, id, row.ts.0, price, volume, form(row)])?;
            self.report.written += done;
            self.report.known += 1 - done;
        }
        Ok(())
    }

    fn kline(&mut self, row: &KlineRow) -> rusqlite::Result<()> {
        let number = self.known(&row.entity)?.number;
        let values = [
            row.open,
            row.high,
            row.low,
            row.close,
            row.volume_base,
            short(row.volume_quote.unwrap_or_default()),
        ];
        let [open, high, low, close, volume_base, volume_quote] = values.map(Mantissa::of);
        let volume_quote = row.volume_quote.map(|_| volume_quote);
        self.transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO klines
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(params![
                number,
                level_number(row.level),
                row.ts.0,
                open,
                high,
                low,
                close,
                volume_base,
                volume_quote,
                row.trade_count.map_or(-1, |count| count as i64),
                pack(&values),
            ])?;
        self.report.written += 1;
        Ok(())
    }

    fn funding(&mut self, row: &FundingRow) -> rusqlite::Result<()> {
        let number = self.known(&row.entity)?.number;
        let optional = [row.predicted_rate, row.mark_price, row.index_price];
        let [predicted_rate, mark_price, index_price] =
            optional.map(|value| value.map(Mantissa::of));
        let [predicted, mark, index] = optional.map(Option::unwrap_or_default);
        self.transaction
            .prepare_cached(
                "INSERT OR REPLACE INTO funding
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                number,
                row.ts.0,
                Mantissa::of(row.funding_rate),
                predicted_rate,
                mark_price,
                index_price,
                row.funding_interval_hours,
                row.next_funding_time.map(|ts| ts.0),
                pack(&[row.funding_rate, predicted, mark, index]),
            ])?;
        self.report.written += 1;
        Ok(())
    }

    fn book(&mut self, row: &BookRow) -> rusqlite::Result<()> {
        let number = self.known(&row.entity)?.number;
        let scales = i64::from(row.price_scale) | i64::from(row.qty_scale) << SCALE_BITS;
        self.transaction
            .prepare_cached("INSERT OR REPLACE INTO books VALUES (?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                number,
                row.ts.0,
                // All 64 bits: SQLite's integers have a sign.
                row.sequence.cast_signed(),
                scales,
                row.pack_levels(),
            ])?;
        self.report.written += 1;
        Ok(())
    }

    /// Adds a span to what is complete: it swallows all that it overlaps or touches.
    fn coverage(&mut self, row: &CoverageRow) -> rusqlite::Result<()> {
        if row.span.is_empty() {
            return Ok(());
        }
        let number = self.known(&row.entity)?.number;
        let series = series_number(row.series);
        let (mut start, mut end) = (row.span.start.0, row.span.end.0);
        let (lowest, highest): (Option<i64>, Option<i64>) = self
            .transaction
            .prepare_cached(
                "SELECT min(start), max(end) FROM coverage
                 WHERE entity = ?1 AND series = ?2 AND start <= ?4 AND end >= ?3",
            )?
            .query_row([number, series, start, end], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        self.transaction
            .prepare_cached(
                "DELETE FROM coverage
                 WHERE entity = ?1 AND series = ?2 AND start <= ?4 AND end >= ?3",
            )?
            .execute([number, series, start, end])?;
        start = lowest.map_or(start, |lowest| lowest.min(start));
        end = highest.map_or(end, |highest| highest.max(end));
        self.transaction
            .prepare_cached("INSERT INTO coverage VALUES (?1, ?2, ?3, ?4)")?
            .execute([number, series, start, end])?;
        self.report.written += 1;
        Ok(())
    }
}

/// Side and scales of a trade in one small number.
fn form(row: &TradeRow) -> i64 {
    let side = i64::from(row.side == Side::Sell);
    side | i64::from(row.price.scale()) << 1 | i64::from(row.volume.scale()) << (1 + SCALE_BITS)
}
