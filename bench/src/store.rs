//! `store`: trades into the embedded store next to a bare SQLite loop, and into QuestDB next to a
//! bare loop of its client; then a thousand bars and a hundred thousand trades out of each.
//!
//! Contestants take turns batch by batch, so that what else the machine does meets all of them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bookwire_engine::event::Side;
use bookwire_engine::store::{
    Entity, HostPort, KlineQuery, KlineRow, QuestDbOptions, Row, Store, StoreReader, TimeWindow,
    TradeId, TradeQuery, TradeRow, open_embedded, open_questdb,
};
use bookwire_engine::time::{Level, TsNanos};
use questdb::ingress::{Buffer, ProtocolVersion, Sender, TimestampNanos};
use rusqlite::{Connection, params};
use rust_decimal::Decimal;

use crate::histogram::Curve;
use crate::report::Report;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Batches of each contestant.
    pub batches: usize,
    /// A QuestDB server: HTTP and PostgreSQL wire. Tables that begin with `bench_` are dropped.
    pub questdb: Option<(SocketAddr, SocketAddr)>,
}

/// Rows of a batch.
const ROWS: usize = 10_000;
/// Instruments, in turns.
const CODES: [&str; 5] = ["btcusdt", "ethusdt", "solusdt", "xrpusdt", "dogeusdt"];
/// Time of the first trade and bar: 2024-08-01.
const START: i64 = 1_722_470_400_000_000_000;
const MINUTE: i64 = 60_000_000_000;
/// Between two trades of all.
const STEP: i64 = 1_000_000;
/// Questions of each kind.
const QUESTIONS: usize = 40;
const BARS: usize = 1_000;
const TRADES: usize = 100_000;
const PREFIX: &str = "bench_";

/// Runs the scenario.
///
/// # Errors
/// When a store fails, or an answer has not the rows that it must have.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(
        "store",
        "batches in turns, each timed; rows/s of all of a contestant's batches together, without the \
         making of the rows. Bare SQLite: one table of six integers, no key, no strings, a transaction \
         for each batch. Bare QuestDB: the same columns and keys, one request for each batch. Questions \
         go to a reader on this thread: rows as the engine has them, not JSON",
    );
    report.condition("batches", options.batches);
    report.condition("rows of a batch", ROWS);
    report.condition("questions of each kind", QUESTIONS);
    report.condition("warm-up", "a tenth of the batches; three questions");
    let folder = tempfile::Builder::new()
        .prefix("bookwire-store")
        .tempdir()?;
    embedded(options, folder.path(), &mut report)?;
    match options.questdb {
        Some((http, pg)) => questdb(options, http, pg, &mut report)?,
        None => report.not_measured("QuestDB", "no --questdb with the address of a server"),
    }
    Ok(report)
}

fn entities() -> Vec<Arc<Entity>> {
    CODES
        .iter()
        .map(|code| {
            Arc::new(Entity {
                provider: "binance".to_owned(),
                entity_id: format!("cryptopair_binance_{code}"),
                code: (*code).to_owned(),
            })
        })
        .collect()
}

/// Trades of a batch: all instruments in turns, numbers that grow with time.
fn trades(entities: &[Arc<Entity>], batch: usize) -> Vec<TradeRow> {
    (batch * ROWS..(batch + 1) * ROWS)
        .map(|at| {
            let id = at as u64;
            TradeRow {
                entity: Arc::clone(&entities[at % entities.len()]),
                ts: TsNanos(START + at as i64 * STEP),
                trade_id: TradeId::Number(3_000_000_000 + id),
                price: Decimal::new(6_173_763 + (id % 1_000) as i64, 2),
                volume: Decimal::new(1 + (id % 70_000) as i64, 5),
                side: if id.is_multiple_of(2) {
                    Side::Buy
                } else {
                    Side::Sell
                },
            }
        })
        .collect()
}

fn bars(entity: &Arc<Entity>) -> Vec<Row> {
    (0..BARS as i64)
        .map(|at| {
            let price = |offset: i64| Decimal::new(6_173_763 + at + offset, 2);
            Row::Kline(KlineRow {
                entity: Arc::clone(entity),
                level: Level::M1,
                ts: TsNanos(START + at * MINUTE),
                open: price(0),
                high: price(900),
                low: price(-900),
                close: price(17),
                volume_base: Decimal::new(1_234_567 + at, 5),
                volume_quote: Some(Decimal::new(76_234_567_890_123 + at, 7)),
                trade_count: Some(321),
            })
        })
        .collect()
}

/// Times of a contestant's batches.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn take<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        let result = work()?;
        self.0.push(start.elapsed());
        Ok(result)
    }

    /// Rows a second, the warm-up left out.
    fn rate(&self) -> f64 {
        let measured = &self.0[self.0.len() / 10..];
        let seconds: f64 = measured.iter().map(Duration::as_secs_f64).sum();
        (measured.len() * ROWS) as f64 / seconds
    }
}

fn rows_of(trades: &[TradeRow]) -> Vec<Row> {
    trades.iter().cloned().map(Row::Trade).collect()
}

fn embedded(options: &Options, folder: &Path, report: &mut Report) -> Result<()> {
    let entities = entities();
    let (ours_file, bare_file) = (folder.join("ours.db"), folder.join("bare.db"));
    let mut store = open_embedded(&ours_file)?;
    let mut bare = Connection::open(&bare_file)?;
    bare.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
         CREATE TABLE t (entity INTEGER, id INTEGER, ts INTEGER, price INTEGER, volume INTEGER,
                         form INTEGER);",
    )?;
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for batch in 0..options.batches {
        let trades = trades(&entities, batch);
        let rows = rows_of(&trades);
        theirs.take(|| insert(&mut bare, &trades))?;
        let report = ours.take(|| Ok(store.write(&rows)?))?;
        ensure!(report.written == ROWS, "{report:?}");
    }
    let subject = "trades into the embedded store";
    let figures = vec![
        ("bookwire".to_owned(), ours.rate()),
        ("bare SQLite loop".to_owned(), theirs.rate()),
    ];
    report.add(subject, "rows/s", figures);
    let mut sizes = Vec::new();
    for (name, file) in [("bookwire", &ours_file), ("bare SQLite loop", &bare_file)] {
        let connection = Connection::open(file)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let bytes = std::fs::metadata(file)?.len();
        sizes.push((
            name.to_owned(),
            bytes as f64 / (options.batches * ROWS) as f64,
        ));
    }
    report.add(subject, "bytes/row", sizes);
    store.write(&bars(&entities[0]))?;
    store.flush()?;
    questions("embedded store", &*store.reader()?, options, report)
}

fn insert(connection: &mut Connection, trades: &[TradeRow]) -> Result<()> {
    let transaction = connection.transaction()?;
    let mut insert = transaction.prepare_cached("INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for (at, trade) in trades.iter().enumerate() {
        let TradeId::Number(id) = trade.trade_id else {
            continue;
        };
        insert.execute(params![
            (at % CODES.len()) as i64,
            id.cast_signed(),
            trade.ts.0,
            trade.price.mantissa() as i64,
            trade.volume.mantissa() as i64,
            0x142 + i64::from(trade.side == Side::Sell),
        ])?;
    }
    drop(insert);
    Ok(transaction.commit()?)
}

fn questdb(options: &Options, http: SocketAddr, pg: SocketAddr, report: &mut Report) -> Result<()> {
    let address = |at: SocketAddr| HostPort {
        host: at.ip().to_string(),
        port: at.port(),
    };
    let at = QuestDbOptions {
        http: address(http),
        pg: address(pg),
        table_prefix: PREFIX.to_owned(),
        ..QuestDbOptions::default()
    };
    let mut client = postgres::Config::new()
        .host(&at.pg.host)
        .port(at.pg.port)
        .user("admin")
        .password("quest")
        .dbname("qdb")
        .connect(postgres::NoTls)
        .with_context(|| format!("QuestDB at {pg}"))?;
    for table in [
        "trades", "klines", "funding", "books", "coverage", "schema", "bare",
    ] {
        client.batch_execute(&format!("DROP TABLE IF EXISTS {PREFIX}{table}"))?;
    }
    let entities = entities();
    let mut store = open_questdb(at)?;
    // Makes the tables.
    store.write(&bars(&entities[0]))?;
    let bare_table = format!("{PREFIX}bare");
    client.batch_execute(&format!("CREATE TABLE {bare_table} (LIKE {PREFIX}trades)"))?;
    let mut sender = Sender::from_conf(format!(
        "http::addr={http};username=admin;password=quest;protocol_version=3;retry_timeout=0;"
    ))?;
    let mut buffer = Buffer::new(ProtocolVersion::V3);
    let (mut ours, mut theirs) = (Times::default(), Times::default());
    for batch in 0..options.batches {
        let trades = trades(&entities, batch);
        let rows = rows_of(&trades);
        theirs.take(|| send(&mut sender, &mut buffer, &bare_table, &trades))?;
        let report = ours.take(|| Ok(store.write(&rows)?))?;
        ensure!(report.written == ROWS, "{report:?}");
    }
    let start = Instant::now();
    store.flush()?;
    let subject = "trades into QuestDB";
    report.figure(
        subject,
        "bookwire: last rows readable after",
        "ms",
        start.elapsed().as_secs_f64() * 1e3,
    );
    let figures = vec![
        ("bookwire".to_owned(), ours.rate()),
        ("bare questdb-rs loop".to_owned(), theirs.rate()),
    ];
    report.add(subject, "rows/s", figures);
    let mut sizes = Vec::new();
    for (name, table) in [
        ("bookwire", format!("{PREFIX}trades")),
        ("bare questdb-rs loop", bare_table),
    ] {
        let bytes: i64 = client
            .query_one(
                &format!("SELECT sum(diskSize)::LONG FROM table_partitions('{table}')"),
                &[],
            )?
            .get(0);
        sizes.push((
            name.to_owned(),
            bytes as f64 / (options.batches * ROWS) as f64,
        ));
    }
    report.add(subject, "bytes/row", sizes);
    questions("QuestDB", &*store.reader()?, options, report)
}

fn send(sender: &mut Sender, buffer: &mut Buffer, table: &str, trades: &[TradeRow]) -> Result<()> {
    for trade in trades {
        let side = match trade.side {
            Side::Buy => "buy",
            Side::Sell => "sell",
        };
        buffer
            .table(table)?
            .symbol("provider", &trade.entity.provider)?
            .symbol("entity_id", &trade.entity.entity_id)?
            .symbol("code", &trade.entity.code)?
            .symbol("side", side)?
            .column_str("trade_id", trade.trade_id.to_string())?
            .column_dec("price", &trade.price)?
            .column_dec("volume", &trade.volume)?
            .at(TimestampNanos::new(trade.ts.0))?;
    }
    Ok(sender.flush(buffer)?)
}

/// Asks a thousand bars, and a hundred thousand trades of one instrument.
fn questions(
    name: &str,
    reader: &dyn StoreReader,
    options: &Options,
    report: &mut Report,
) -> Result<()> {
    let entity_ids = vec![format!("cryptopair_binance_{}", CODES[0])];
    let from = |limit| TimeWindow {
        start: Some(TsNanos(START)),
        ..TimeWindow::latest(limit)
    };
    let bars = KlineQuery {
        provider: "binance".to_owned(),
        entity_ids: entity_ids.clone(),
        level: Level::M1,
        window: from(BARS),
    };
    let curve = asked(name, BARS, || Ok(reader.klines(&bars)?.len()))?;
    report.latencies(&format!("{BARS} bars out of a store: {name}"), vec![curve]);
    let trades = TradeQuery {
        provider: "binance".to_owned(),
        entity_ids,
        window: from(TRADES),
        side: None,
        min_volume: None,
    };
    let there = (options.batches * ROWS / CODES.len()).min(TRADES);
    let curve = asked(name, there, || Ok(reader.trades(&trades)?.len()))?;
    report.latencies(
        &format!("{there} trades out of a store: {name}"),
        vec![curve],
    );
    Ok(())
}

fn asked(name: &str, rows: usize, ask: impl Fn() -> Result<usize>) -> Result<Curve> {
    let mut curve = Curve::new(name)?;
    let begun = Instant::now();
    for question in 0..QUESTIONS + 3 {
        let start = Instant::now();
        let found = ask()?;
        ensure!(found == rows, "{found} rows came, {rows} are there");
        if question >= 3 {
            curve.arrived(start)?;
        }
    }
    curve.took = begun.elapsed();
    Ok(curve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_reports_the_embedded_store() {
        let options = Options {
            batches: 2,
            questdb: None,
        };
        let report = run(&options).unwrap();
        let units: Vec<&str> = report.rows.iter().map(|row| row.unit).collect();
        assert!(
            units.contains(&"rows/s") && units.contains(&"bytes/row"),
            "{units:?}"
        );
        assert!(report.rows.iter().all(|row| row.value > 0.0), "{units:?}");
        assert_eq!(report.not_measured.len(), 1);
    }
}
