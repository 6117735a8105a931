//! The reading side: a connection of its own, read-only.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use rust_decimal::Decimal;

use super::super::answer::{Answer, Missing, direction};
use super::super::{
    BookQuery, BookRow, Entity, FundingQuery, FundingRow, KlineQuery, KlineRow, Series, Span,
    StoreError, StoreReader, TimeWindow, TradeId, TradeQuery, TradeRow,
};
use super::number::{SCALE_BITS, decimal, unpack};
use super::schema::{check, level_number, series_number};
use super::{EmbeddedOptions, connect, damaged, failure};
use crate::event::Side;
use crate::time::TsNanos;

/// Reads the embedded store.
#[derive(Debug)]
pub struct EmbeddedReader {
    options: EmbeddedOptions,
    connection: Connection,
}

/// Why a row could not be read: SQLite's reason, or a value that makes no sense.
enum ReadError {
    Sqlite(rusqlite::Error),
    Damaged(&'static str),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

type Read<T> = Result<T, ReadError>;

fn column(row: &rusqlite::Row<'_>, index: usize, scale: u32) -> Read<Decimal> {
    decimal(row.get_ref(index)?, scale).ok_or(ReadError::Damaged("a number that is none"))
}

fn optional_column(row: &rusqlite::Row<'_>, index: usize, scale: u32) -> Read<Option<Decimal>> {
    match row.get_ref(index)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => column(row, index, scale).map(Some),
    }
}

/// The bounds of a window as SQL wants them.
fn bounds(window: &TimeWindow) -> (i64, i64) {
    let start = window.start.map_or(i64::MIN, |ts| ts.0);
    (start, window.end.map_or(i64::MAX, |ts| ts.0))
}

impl EmbeddedReader {
    /// Opens a reader of an existing store.
    ///
    /// # Errors
    /// [`StoreError`] when the file is missing, damaged, of another version or can't be opened.
    pub fn open(options: EmbeddedOptions) -> Result<Self, StoreError> {
        let connection = connect(&options, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        check(&options, &connection)?;
        Ok(Self {
            options,
            connection,
        })
    }

    fn run<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce() -> Read<T>,
    ) -> Result<T, StoreError> {
        read().map_err(|error| match error {
            ReadError::Sqlite(error) => failure(&self.options, operation, error),
            ReadError::Damaged(detail) => damaged(&self.options.path, detail),
        })
    }

    /// Those of the entities that have rows, with their numbers.
    fn entities(&self, provider: &str, ids: &[String]) -> Read<Vec<(i64, Arc<Entity>)>> {
        let mut unique: Vec<&String> = ids.iter().collect();
        unique.sort_unstable();
        unique.dedup();
        let mut statement = self.connection.prepare_cached(
            "SELECT id, code FROM entities WHERE provider = ?1 AND entity_id = ?2",
        )?;
        let mut found = Vec::with_capacity(unique.len());
        for entity_id in unique {
            let row: Option<(i64, String)> = statement
                .query_row(params![provider, entity_id], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            if let Some((number, code)) = row {
                let entity = Entity {
                    provider: provider.to_owned(),
                    entity_id: entity_id.clone(),
                    code,
                };
                found.push((number, Arc::new(entity)));
            }
        }
        Ok(found)
    }

    fn read_klines(&self, query: &KlineQuery) -> Read<Vec<KlineRow>> {
        let window = query.window;
        let mut answer = Answer::new(window, |a: &KlineRow, b| {
            (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
        });
        let (start, end) = bounds(&window);
        let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT ts, open, high, low, close, volume_base, volume_quote, trade_count, scales
             FROM klines WHERE entity = ?1 AND level = ?2 AND ts BETWEEN ?3 AND ?4
             ORDER BY ts {} LIMIT ?5",
            direction(&window)
        ))?;
        for (number, entity) in self.entities(&query.provider, &query.entity_ids)? {
            let level = level_number(query.level);
            let mut rows = statement.query([number, level, start, end, limit])?;
            while let Some(row) = rows.next()? {
                let scales: i64 = row.get(8)?;
                let number = |index: u32| column(row, index as usize, unpack(scales, index - 1));
                answer.rows.push(KlineRow {
                    entity: Arc::clone(&entity),
                    level: query.level,
                    ts: TsNanos(row.get(0)?),
                    open: number(1)?,
                    high: number(2)?,
                    low: number(3)?,
                    close: number(4)?,
                    volume_base: number(5)?,
                    volume_quote: match row.get_ref(6)? {
                        ValueRef::Null => None,
                        _ => Some(number(6)?),
                    },
                    // Negative: not told by the exchange.
                    trade_count: u64::try_from(row.get::<_, i64>(7)?).ok(),
                });
            }
            answer.entity_done();
        }
        Ok(answer.finish())
    }

    fn read_funding(&self, query: &FundingQuery) -> Read<Vec<FundingRow>> {
        let window = query.window;
        let mut answer = Answer::new(window, |a: &FundingRow, b| {
            (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
        });
        let (start, end) = bounds(&window);
        let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
        let hours = query.funding_interval_hours.map(i64::from);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT ts, funding_rate, predicted_rate, mark_price, index_price, interval_hours,
                    next_ts, scales
             FROM funding WHERE entity = ?1 AND ts BETWEEN ?2 AND ?3
                    AND (?5 IS NULL OR interval_hours = ?5)
             ORDER BY ts {} LIMIT ?4",
            direction(&window)
        ))?;
        for (number, entity) in self.entities(&query.provider, &query.entity_ids)? {
            let mut rows = statement.query(params![number, start, end, limit, hours])?;
            while let Some(row) = rows.next()? {
                let scales: i64 = row.get(7)?;
                answer.rows.push(FundingRow {
                    entity: Arc::clone(&entity),
                    ts: TsNanos(row.get(0)?),
                    funding_rate: column(row, 1, unpack(scales, 0))?,
                    predicted_rate: optional_column(row, 2, unpack(scales, 1))?,
                    mark_price: optional_column(row, 3, unpack(scales, 2))?,
                    index_price: optional_column(row, 4, unpack(scales, 3))?,
                    funding_interval_hours: row.get(5)?,
                    next_funding_time: row.get::<_, Option<i64>>(6)?.map(TsNanos),
                });
            }
            answer.entity_done();
        }
        Ok(answer.finish())
    }

    fn read_books(&self, query: &BookQuery) -> Read<Vec<BookRow>> {
        let window = query.window;
        let mut answer = Answer::new(window, |a: &BookRow, b| {
            (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
        });
        let (start, end) = bounds(&window);
        let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT ts, sequence, scales, levels FROM books
             WHERE entity = ?1 AND ts BETWEEN ?2 AND ?3 ORDER BY ts {} LIMIT ?4",
            direction(&window)
        ))?;
        for (number, entity) in self.entities(&query.provider, &query.entity_ids)? {
            let mut rows = statement.query([number, start, end, limit])?;
            while let Some(row) = rows.next()? {
                let scales: i64 = row.get(2)?;
                let levels = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
                let (bids, asks) = BookRow::unpack_levels(levels, query.depth)
                    .ok_or(ReadError::Damaged("levels that are none"))?;
                answer.rows.push(BookRow {
                    entity: Arc::clone(&entity),
                    ts: TsNanos(row.get(0)?),
                    sequence: row.get::<_, i64>(1)?.cast_unsigned(),
                    price_scale: unpack(scales, 0) as u8,
                    qty_scale: unpack(scales, 1) as u8,
                    bids,
                    asks,
                });
            }
            answer.entity_done();
        }
        Ok(answer.finish())
    }

    fn read_trades(&self, query: &TradeQuery) -> Read<Vec<TradeRow>> {
        let mut answer = Answer::new(query.window, |a: &TradeRow, b| {
            (a.ts, &a.entity, &a.trade_id).cmp(&(b.ts, &b.entity, &b.trade_id))
        });
        for (number, entity) in self.entities(&query.provider, &query.entity_ids)? {
            let mut found = TradeScan {
                entity: &entity,
                query,
                rows: Vec::new(),
            };
            self.scan_numeric(number, &mut found)?;
            let numeric = found.rows.len();
            self.scan_named(number, &mut found, numeric)?;
            answer.rows.append(&mut found.rows);
            answer.entity_done();
        }
        Ok(answer.finish())
    }

    /// Reads span after span in the direction of the scan, until no later span can hold a row that
    /// belongs before the last one of the limit.
    fn scan_numeric(&self, number: i64, found: &mut TradeScan<'_>) -> Read<()> {
        let window = found.query.window;
        let backwards = window.is_scanned_backwards();
        let (start, end) = bounds(&window);
        let mut spans: Vec<(i64, i64, i64)> = self
            .connection
            .prepare_cached(
                "SELECT id_lo, id_hi, CASE ?4 WHEN 1 THEN ts_hi ELSE ts_lo END FROM trade_spans
                 WHERE entity = ?1 AND ts_hi >= ?2 AND ts_lo <= ?3",
            )?
            .query_map([number, start, end, i64::from(backwards)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        if spans.is_empty() {
            return Ok(());
        }
        spans.sort_unstable_by_key(|span| span.2);
        if backwards {
            spans.reverse();
        }
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT trade_id, ts, price, volume, form FROM trades_{number}
             WHERE trade_id BETWEEN ?1 AND ?2 AND ts BETWEEN ?3 AND ?4"
        ))?;
        for (id_lo, id_hi, edge) in spans {
            if found.is_complete_before(edge) {
                break;
            }
            let mut rows = statement.query([id_lo, id_hi, start, end])?;
            while let Some(row) = rows.next()? {
                let id = TradeId::Number(row.get::<_, i64>(0)? as u64);
                found.take(row, id)?;
            }
        }
        found.sort_once();
        Ok(())
    }

    fn scan_named(&self, number: i64, found: &mut TradeScan<'_>, numeric: usize) -> Read<()> {
        let window = found.query.window;
        let (start, end) = bounds(&window);
        let mut statement = self.connection.prepare_cached(&format!(
            "SELECT trade_id, ts, price, volume, form FROM trades_named
             WHERE entity = ?1 AND ts BETWEEN ?2 AND ?3 ORDER BY ts {}",
            direction(&window)
        ))?;
        let mut rows = statement.query([number, start, end])?;
        while let Some(row) = rows.next()? {
            // All rows of an instant are taken before the cut, which sorts them by id.
            let is_next_instant = found.rows[numeric..]
                .last()
                .is_some_and(|last| row.get(1).is_ok_and(|ts: i64| ts != last.ts.0));
            if found.rows.len() - numeric >= window.limit && is_next_instant {
                break;
            }
            let id = TradeId::parse(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
            found.take(row, id)?;
        }
        Ok(())
    }

    fn read_missing(
        &self,
        provider: &str,
        id: &str,
        series: Series,
        span: Span,
    ) -> Read<Vec<Span>> {
        let mut missing = Missing::of(span);
        let ids = [id.to_owned()];
        if let Some((number, _)) = self.entities(provider, &ids)?.first() {
            let mut statement = self.connection.prepare_cached(
                "SELECT start, end FROM coverage
                 WHERE entity = ?1 AND series = ?2 AND end > ?3 AND start < ?4 ORDER BY start",
            )?;
            let series = series_number(series);
            let mut rows = statement.query([*number, series, span.start.0, span.end.0])?;
            while let Some(row) = rows.next()? {
                let (start, end): (i64, i64) = (row.get(0)?, row.get(1)?);
                missing.covered(start, end);
            }
        }
        Ok(missing.finish())
    }
}

/// One entity's trades that pass the filters.
struct TradeScan<'q> {
    entity: &'q Arc<Entity>,
    query: &'q TradeQuery,
    rows: Vec<TradeRow>,
}

impl TradeScan<'_> {
    /// Takes a row of `trade_id, ts, price, volume, form` when it passes.
    fn take(&mut self, row: &rusqlite::Row<'_>, trade_id: TradeId) -> Read<()> {
        let form: i64 = row.get(4)?;
        let side = if form & 1 == 1 { Side::Sell } else { Side::Buy };
        if self.query.side.is_some_and(|wanted| wanted != side) {
            return Ok(());
        }
        let mask = (1 << SCALE_BITS) - 1;
        let volume = column(row, 3, ((form >> (1 + SCALE_BITS)) & mask) as u32)?;
        if self.query.min_volume.is_some_and(|least| volume < least) {
            return Ok(());
        }
        self.rows.push(TradeRow {
            entity: Arc::clone(self.entity),
            ts: TsNanos(row.get(1)?),
            trade_id,
            price: column(row, 2, ((form >> 1) & mask) as u32)?,
            volume,
            side,
        });
        Ok(())
    }

    /// Sorts in the direction of the scan; rows that were found twice, because spans can overlap,
    /// are left once.
    fn sort_once(&mut self) {
        let order = |a: &TradeRow, b: &TradeRow| (a.ts, &a.trade_id).cmp(&(b.ts, &b.trade_id));
        if self.query.window.is_scanned_backwards() {
            self.rows.sort_by(|a, b| order(b, a));
        } else {
            self.rows.sort_by(order);
        }
        self.rows.dedup_by(|a, b| a.trade_id == b.trade_id);
    }

    /// True when the limit is full of rows that come strictly before anything at or after `edge`.
    fn is_complete_before(&mut self, edge: i64) -> bool {
        let limit = self.query.window.limit;
        if self.rows.len() < limit.max(1) {
            return limit == 0;
        }
        self.sort_once();
        let backwards = self.query.window.is_scanned_backwards();
        match self.rows.get(limit - 1) {
            Some(last) if backwards => last.ts.0 > edge,
            Some(last) => last.ts.0 < edge,
            None => false,
        }
    }
}

impl StoreReader for EmbeddedReader {
    fn entities_of(&self, provider: &str) -> Result<Vec<Entity>, StoreError> {
        self.run("read entities", || {
            let mut statement = self.connection.prepare_cached(
                "SELECT entity_id, code FROM entities WHERE provider = ?1 ORDER BY entity_id",
            )?;
            let rows = statement.query_map([provider], |row| {
                Ok(Entity {
                    provider: provider.to_owned(),
                    entity_id: row.get(0)?,
                    code: row.get(1)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    fn klines(&self, query: &KlineQuery) -> Result<Vec<KlineRow>, StoreError> {
        self.run("read bars", || self.read_klines(query))
    }

    fn trades(&self, query: &TradeQuery) -> Result<Vec<TradeRow>, StoreError> {
        self.run("read trades", || self.read_trades(query))
    }

    fn funding(&self, query: &FundingQuery) -> Result<Vec<FundingRow>, StoreError> {
        self.run("read funding", || self.read_funding(query))
    }

    fn books(&self, query: &BookQuery) -> Result<Vec<BookRow>, StoreError> {
        self.run("read books", || self.read_books(query))
    }

    fn missing(
        &self,
        provider: &str,
        entity_id: &str,
        series: Series,
        span: Span,
    ) -> Result<Vec<Span>, StoreError> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        self.run("read coverage", || {
            self.read_missing(provider, entity_id, series, span)
        })
    }

    fn ping(&self) -> Result<(), StoreError> {
        self.run("ping", || {
            Ok(self
                .connection
                .query_row("SELECT count FROM flushes", [], |_| Ok(()))?)
        })
    }
}
