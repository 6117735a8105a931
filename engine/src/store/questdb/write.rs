//! The writing side: a request for each table of a batch.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use questdb::ErrorCode;
use questdb::ingress::{
    Buffer, ColumnName, Protocol, ProtocolVersion, Sender, SenderBuilder, TableName, TimestampNanos,
};
use rust_decimal::Decimal;

use super::super::{
    BookRow, Entity, FundingRow, KlineRow, Row, Store, StoreError, StoreReader, TradeRow,
    WriteReport,
};
use super::QuestDbOptions;
use super::books::text_of;
use super::known::Known;
use super::read::QuestDbReader;
use super::schema::{self, Table, level_name, series_name, side_name};
use super::session::{Session, is_read_only};
use super::spans::Covered;
use crate::event::BookLevel;
use crate::time::TsNanos;

/// Pauses between two looks at how far the server has come: the first, doubled up to the longest.
const LOOK_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));

/// The store of a QuestDB server.
pub struct QuestDb {
    options: Arc<QuestDbOptions>,
    sender: Sender,
    buffer: Buffer,
    session: Session,
    /// The server's numbers of the tables, when they were last looked at.
    tables: Vec<i64>,
    known: Known,
    covered: Covered,
    /// Tables with rows that readers may not see yet.
    unseen: BTreeSet<Table>,
}

impl QuestDb {
    /// A reader with what only this store has.
    #[must_use]
    pub fn own_reader(&self) -> QuestDbReader {
        QuestDbReader::new(Arc::clone(&self.options))
    }

    /// See [`super::open_questdb`].
    pub(super) fn open(options: Arc<QuestDbOptions>) -> Result<Self, StoreError> {
        if !QuestDbOptions::is_prefix(&options.table_prefix) {
            return Err(server(&options, "open", QuestDbOptions::PREFIX_FORM));
        }
        let sender = connect(&options)?;
        Ok(Self {
            buffer: sender.new_buffer(),
            sender,
            session: Session::new(Arc::clone(&options)),
            tables: Vec::new(),
            known: Known::default(),
            covered: Covered::default(),
            unseen: BTreeSet::new(),
            options,
        })
    }

    /// The server answers and all tables are there: the line protocol would make a missing one, with
    /// columns of its own choice.
    fn look(&mut self) -> Result<(), StoreError> {
        let tables = self.session.run("look for the tables", schema::present)?;
        if tables != self.tables {
            // Some were dropped and made again. An HTTP connection that has written to the old one
            // goes on doing so once: the server takes those rows and loses them (seen in 9.3.4).
            self.sender = connect(&self.options)?;
            self.known.forget();
            if !self.tables.is_empty() {
                self.covered = Covered::default();
            }
            self.tables = tables;
        }
        Ok(())
    }

    fn write_trades(&mut self, rows: &[&TradeRow]) -> Result<WriteReport, StoreError> {
        if rows.is_empty() {
            return Ok(WriteReport::default());
        }
        if self.unseen.contains(&Table::Trades) && self.known.must_ask(rows) {
            self.wait(&[Table::Trades])?;
            self.unseen.remove(&Table::Trades);
        }
        let fresh = self.known.new_ones(&self.session, rows)?;
        self.send(Table::Trades, &fresh, |row| &row.entity, trade_line)?;
        self.known.written(&fresh);
        Ok(WriteReport {
            written: fresh.len(),
            known: rows.len() - fresh.len(),
        })
    }

    /// One request: all rows or none.
    fn send<'r, R>(
        &mut self,
        table: Table,
        rows: &[&'r R],
        entity: impl Fn(&'r R) -> &'r Arc<Entity>,
        line: impl Fn(&mut Line<'_>, &'r R) -> questdb::Result<()>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.buffer.clear();
        let name = table.name(&self.options);
        let mut lines = Line {
            buffer: &mut self.buffer,
            table: &name,
        };
        for row in rows {
            line(&mut lines, row).map_err(|error| invalid(entity(row), error.msg()))?;
        }
        // It may have been written even when there is an error.
        self.unseen.insert(table);
        let result = self.sender.flush_and_keep_with_flags(&self.buffer, true);
        self.buffer.clear();
        result.map_err(|error| {
            let row = line_of(error.msg()).and_then(|line| rows.get(line.checked_sub(1)?));
            self.refused(&error, row.map(|row| entity(row)))
        })
    }

    /// What an error of the client library means here.
    fn refused(&self, error: &questdb::Error, row: Option<&Arc<Entity>>) -> StoreError {
        let address = self.options.http.to_string();
        let detail = error.msg().to_owned();
        match error.code() {
            ErrorCode::SocketError | ErrorCode::CouldNotResolveAddr | ErrorCode::TlsError => {
                StoreError::Unreachable { address, detail }
            }
            ErrorCode::AuthError if is_read_only(&detail) => {
                StoreError::ReadOnly { address, detail }
            }
            ErrorCode::AuthError => StoreError::Denied { address, detail },
            ErrorCode::HttpNotSupported | ErrorCode::ProtocolVersionError => StoreError::TooOld {
                address,
                found: detail,
            },
            ErrorCode::ServerFlushError if is_read_only(&detail) => {
                StoreError::ReadOnly { address, detail }
            }
            ErrorCode::ServerFlushError if detail.contains("code: invalid") => match row {
                Some(entity) => invalid(entity, &detail),
                None => server(&self.options, "write", &detail),
            },
            _ => server(&self.options, "write", &detail),
        }
    }

    /// Returns when readers see what the server has accepted so far.
    fn wait(&self, tables: &[Table]) -> Result<(), StoreError> {
        let names: Vec<String> = tables.iter().map(|t| t.name(&self.options)).collect();
        let mut accepted: Option<Vec<i64>> = None;
        let mut waited = Duration::ZERO;
        let mut pause = LOOK_AGAIN.0;
        while waited <= self.options.flush_timeout {
            let asked = names.clone();
            let logs = self
                .session
                .run("look how far the tables are", move |link| {
                    schema::logs(link, &asked)
                })?;
            if let Some(log) = logs.iter().find(|log| log.is_suspended) {
                return Err(StoreError::Suspended {
                    address: self.options.pg.to_string(),
                    table: log.table.clone(),
                    detail: log.error.clone(),
                });
            }
            let targets =
                accepted.get_or_insert_with(|| logs.iter().map(|log| log.accepted).collect());
            if logs
                .iter()
                .zip(targets)
                .all(|(log, target)| log.applied >= *target)
            {
                return Ok(());
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 2).min(LOOK_AGAIN.1);
        }
        Err(StoreError::Behind {
            address: self.options.pg.to_string(),
            table: names.join(", "),
            waited_ms: u64::try_from(self.options.flush_timeout.as_millis()).unwrap_or(u64::MAX),
        })
    }

    fn write_batch(&mut self, rows: &[Row]) -> Result<WriteReport, StoreError> {
        self.look()?;
        let mut trades = Vec::new();
        let mut klines = Vec::new();
        let mut funding = Vec::new();
        let mut books = Vec::new();
        for row in rows {
            match row {
                Row::Trade(row) => trades.push(row),
                Row::Kline(row) => klines.push(row),
                Row::Funding(row) => funding.push(row),
                Row::Book(row) => books.push(row),
                Row::Coverage(_) => {}
            }
        }
        let mut report = self.write_trades(&trades)?;
        self.send(Table::Klines, &klines, |row| &row.entity, kline_line)?;
        self.send(Table::Funding, &funding, |row| &row.entity, funding_line)?;
        self.send(Table::Books, &books, |row| &row.entity, book_line)?;
        report.written += klines.len() + funding.len() + books.len();
        // Last: nothing is promised unless all of the batch is there.
        for row in rows {
            if let Row::Coverage(row) = row {
                self.covered.add(&self.session, row)?;
                report.written += usize::from(!row.span.is_empty());
            }
        }
        Ok(report)
    }

    fn write_promises(&mut self) -> Result<(), StoreError> {
        let waiting: Vec<Promise> = self
            .covered
            .waiting()
            .into_iter()
            .map(|(entity, series, span)| Promise {
                entity: Arc::clone(entity),
                series: series_name(series),
                span,
            })
            .collect();
        let lines: Vec<&Promise> = waiting.iter().collect();
        self.send(Table::Coverage, &lines, |row| &row.entity, promise_line)?;
        self.covered.told();
        Ok(())
    }
}

impl Store for QuestDb {
    fn kind(&self) -> &'static str {
        "questdb"
    }

    fn write(&mut self, rows: &[Row]) -> Result<WriteReport, StoreError> {
        if rows.is_empty() {
            return Ok(WriteReport::default());
        }
        check(rows)?;
        let result = self.write_batch(rows);
        if result.is_err() {
            self.known.forget();
        }
        result
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        if !self.unseen.is_empty() {
            let tables: Vec<Table> = self.unseen.iter().copied().collect();
            self.wait(&tables)?;
            self.unseen.clear();
        }
        if self.covered.waiting().is_empty() {
            return Ok(());
        }
        self.look()?;
        self.write_promises()?;
        self.wait(&[Table::Coverage])?;
        self.unseen.clear();
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn StoreReader>, StoreError> {
        Ok(Box::new(self.own_reader()))
    }
}

fn connect(options: &QuestDbOptions) -> Result<Sender, StoreError> {
    let protocol = match options.is_tls {
        true => Protocol::Https,
        false => Protocol::Http,
    };
    // The version is said: asking for it would need the server now. Repeating is the recorder's,
    // which knows when to stop.
    SenderBuilder::new(protocol, options.http.host.as_str(), options.http.port)
        .protocol_version(ProtocolVersion::V3)
        .and_then(|builder| builder.username(&options.user))
        .and_then(|builder| builder.password(options.password.expose()))
        .and_then(|builder| builder.request_timeout(options.request_timeout))
        .and_then(|builder| builder.retry_timeout(Duration::ZERO))
        .and_then(|builder| builder.build())
        .map_err(|error| server(options, "set up the client", error.msg()))
}

/// A coverage row.
struct Promise {
    entity: Arc<Entity>,
    series: String,
    span: (i64, i64),
}

fn server(options: &QuestDbOptions, operation: &'static str, detail: &str) -> StoreError {
    StoreError::Server {
        address: options.http.to_string(),
        operation,
        source: detail.into(),
    }
}

fn invalid(entity: &Entity, reason: &str) -> StoreError {
    StoreError::InvalidRow {
        entity_id: entity.entity_id.clone(),
        reason: reason.to_owned(),
    }
}

/// The number in `line: 7` of a server's message.
fn line_of(message: &str) -> Option<usize> {
    let (_, rest) = message.rsplit_once("line: ")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Refuses rows that could be written but not read back.
fn check(rows: &[Row]) -> Result<(), StoreError> {
    for row in rows {
        let ts = match row {
            Row::Trade(row) => row.ts,
            Row::Kline(row) => row.ts,
            Row::Funding(row) => row.ts,
            Row::Book(row) => row.ts,
            Row::Coverage(_) => TsNanos(0),
        };
        if let Some(reason) = row.unfit() {
            return Err(invalid(row.entity(), reason));
        }
        if ts.0 < 0 {
            return Err(invalid(row.entity(), "its time is before 1970"));
        }
    }
    Ok(())
}

/// A row on its way into a request.
struct Line<'b> {
    buffer: &'b mut Buffer,
    table: &'b str,
}

impl Line<'_> {
    fn begin(&mut self, entity: &Entity) -> questdb::Result<&mut Buffer> {
        self.buffer
            .table(TableName::new_unchecked(self.table))?
            .symbol(column("provider"), &entity.provider)?
            .symbol(column("entity_id"), &entity.entity_id)
    }
}

/// The names here are ours and need no check for each row.
fn column(name: &'static str) -> ColumnName<'static> {
    ColumnName::new_unchecked(name)
}

fn at(buffer: &mut Buffer, ts: i64) -> questdb::Result<()> {
    buffer.at(TimestampNanos::new(ts))
}

fn optional(
    buffer: &mut Buffer,
    name: &'static str,
    value: Option<Decimal>,
) -> questdb::Result<()> {
    if let Some(value) = value {
        buffer.column_dec(column(name), &value)?;
    }
    Ok(())
}

fn trade_line(line: &mut Line<'_>, row: &TradeRow) -> questdb::Result<()> {
    let buffer = line.begin(&row.entity)?;
    buffer
        .symbol(column("code"), &row.entity.code)?
        .symbol(column("side"), side_name(row.side))?
        .column_str(column("trade_id"), row.trade_id.to_string())?
        .column_dec(column("price"), &row.price)?
        .column_dec(column("volume"), &row.volume)?;
    at(buffer, row.ts.0)
}

fn kline_line(line: &mut Line<'_>, row: &KlineRow) -> questdb::Result<()> {
    let buffer = line.begin(&row.entity)?;
    buffer
        .symbol(column("code"), &row.entity.code)?
        .symbol(column("level"), level_name(row.level))?
        .column_dec(column("open"), &row.open)?
        .column_dec(column("high"), &row.high)?
        .column_dec(column("low"), &row.low)?
        .column_dec(column("close"), &row.close)?
        .column_dec(column("volume_base"), &row.volume_base)?;
    optional(buffer, "volume_quote", row.volume_quote)?;
    if let Some(count) = row.trade_count {
        // Checked: 63 bits.
        buffer.column_i64(column("trade_count"), count as i64)?;
    }
    at(buffer, row.ts.0)
}

fn funding_line(line: &mut Line<'_>, row: &FundingRow) -> questdb::Result<()> {
    let buffer = line.begin(&row.entity)?;
    buffer
        .symbol(column("code"), &row.entity.code)?
        .column_dec(column("funding_rate"), &row.funding_rate)?;
    optional(buffer, "predicted_rate", row.predicted_rate)?;
    optional(buffer, "mark_price", row.mark_price)?;
    optional(buffer, "index_price", row.index_price)?;
    if let Some(hours) = row.funding_interval_hours {
        buffer.column_i64(column("funding_interval_hours"), i64::from(hours))?;
    }
    if let Some(next) = row.next_funding_time {
        buffer.column_ts(column("next_funding_time"), TimestampNanos::new(next.0))?;
    }
    at(buffer, row.ts.0)
}

fn book_line(line: &mut Line<'_>, row: &BookRow) -> questdb::Result<()> {
    let (price_scale, qty_scale) = (row.price_scale, row.qty_scale);
    let price = |side: &[BookLevel]| {
        let level = side.first()?;
        Some(Decimal::new(level.price.0, u32::from(price_scale)))
    };
    let volume = |side: &[BookLevel]| {
        let level = side.first()?;
        Some(Decimal::new(level.qty.0, u32::from(qty_scale)))
    };
    let buffer = line.begin(&row.entity)?;
    buffer
        .symbol(column("code"), &row.entity.code)?
        // All 64 bits: the database's integers have a sign.
        .column_i64(column("sequence"), row.sequence.cast_signed())?
        .column_i64(column("price_scale"), i64::from(price_scale))?
        .column_i64(column("qty_scale"), i64::from(qty_scale))?;
    optional(buffer, "best_bid", price(&row.bids))?;
    optional(buffer, "best_bid_volume", volume(&row.bids))?;
    optional(buffer, "best_ask", price(&row.asks))?;
    optional(buffer, "best_ask_volume", volume(&row.asks))?;
    buffer
        .column_str(column("bids"), text_of(&row.bids, price_scale, qty_scale))?
        .column_str(column("asks"), text_of(&row.asks, price_scale, qty_scale))?;
    at(buffer, row.ts.0)
}

fn promise_line(line: &mut Line<'_>, row: &Promise) -> questdb::Result<()> {
    let buffer = line.begin(&row.entity)?;
    buffer
        .symbol(column("series"), &row.series)?
        .column_ts(column("span_end"), TimestampNanos::new(row.span.1))?;
    at(buffer, row.span.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refused_line_is_found_in_the_servers_words() {
        let words = "Could not flush buffer: failed to parse line protocol: errors encountered on \
                     line(s): error in line 2 [id: 1f-3, code: invalid, line: 2]";
        assert_eq!(line_of(words), Some(2));
        assert_eq!(line_of("connection reset"), None);
    }
}
