//! The tables, and how older files get them.

use std::cmp::Ordering;

use rusqlite::Connection;

use super::super::{Series, StoreError};
use super::{EmbeddedOptions, damaged, failure};
use crate::time::Level;

/// `bkwr`: tells our files from other programs' databases.
const APPLICATION_ID: i64 = 0x626b_7772;

/// Each entry takes a file from the version of its index to the next one. Never change an entry
/// that has been released: add one.
const MIGRATIONS: &[&str] = &[
    "
-- Everything else names an entity by `id`.
CREATE TABLE entities (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    entity_id TEXT NOT NULL,
    code TEXT NOT NULL,
    UNIQUE (provider, entity_id)
);

-- Closed bars. level: minutes; ts: open time, ns; prices and volumes: mantissas;
-- scales: 5 bits each for open, high, low, close, volume_base, volume_quote, the first one lowest;
-- volume_quote NULL, trade_count -1: not told by the exchange.
CREATE TABLE klines (
    entity INTEGER NOT NULL,
    level INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    open, high, low, close,
    volume_base, volume_quote,
    trade_count INTEGER NOT NULL,
    scales INTEGER NOT NULL,
    PRIMARY KEY (entity, level, ts)
) WITHOUT ROWID;

-- Settled funding. scales: funding_rate, predicted_rate, mark_price, index_price.
CREATE TABLE funding (
    entity INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    funding_rate NOT NULL,
    predicted_rate, mark_price, index_price,
    interval_hours INTEGER,
    next_ts INTEGER,
    scales INTEGER NOT NULL,
    PRIMARY KEY (entity, ts)
) WITHOUT ROWID;

-- Trades with numeric ids are in a table for each entity, made with its first trade:
--   trades_<entity> (trade_id INTEGER PRIMARY KEY, ts, price, volume, form)
-- form: bit 0 = the taker sells, then the scales of price and volume.
-- It is appended to at its right edge, which SQLite does fastest, and has no index on time: a row
-- here tells in which range of ids the trades of a range of time are. Every trade is in at least
-- one span, by id and by time; spans can overlap.
CREATE TABLE trade_spans (
    entity INTEGER NOT NULL,
    id_lo INTEGER NOT NULL,
    id_hi INTEGER NOT NULL,
    ts_lo INTEGER NOT NULL,
    ts_hi INTEGER NOT NULL,
    trades INTEGER NOT NULL,
    PRIMARY KEY (entity, id_lo)
) WITHOUT ROWID;

-- Trades whose ids are no 63-bit numbers.
CREATE TABLE trades_named (
    entity INTEGER NOT NULL,
    trade_id TEXT NOT NULL,
    ts INTEGER NOT NULL,
    price NOT NULL,
    volume NOT NULL,
    form INTEGER NOT NULL,
    PRIMARY KEY (entity, trade_id)
) WITHOUT ROWID;
CREATE INDEX trades_named_time ON trades_named (entity, ts);

-- What is known to be complete. series: 0 trades, -1 funding, else the minutes of a bar level;
-- start inclusive, end exclusive; spans of a series neither overlap nor touch.
CREATE TABLE coverage (
    entity INTEGER NOT NULL,
    series INTEGER NOT NULL,
    start INTEGER NOT NULL,
    end INTEGER NOT NULL,
    PRIMARY KEY (entity, series, start)
) WITHOUT ROWID;

-- One row that a flush changes, so that it has something to commit.
CREATE TABLE flushes (id INTEGER PRIMARY KEY, count INTEGER NOT NULL);
INSERT INTO flushes VALUES (0, 0);
",
    "
-- Snapshots of books. scales: 5 bits each for price and quantity, price lowest; levels: counts,
-- distances and quantities as variable-length integers.
CREATE TABLE books (
    entity INTEGER NOT NULL,
    ts INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    scales INTEGER NOT NULL,
    levels BLOB NOT NULL,
    PRIMARY KEY (entity, ts)
) WITHOUT ROWID;
",
];

/// Brings a file to the newest version.
pub(super) fn migrate(
    options: &EmbeddedOptions,
    connection: &mut Connection,
) -> Result<(), StoreError> {
    let fail = |error| failure(options, "read the schema", error);
    let known = MIGRATIONS.len() as i64;
    // Immediate: two processes that start at once must not both migrate.
    let transaction = connection
        .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
        .map_err(fail)?;
    let number = |sql: &str| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id").map_err(fail)?;
    let found = number("PRAGMA user_version").map_err(fail)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(fail)?;
    if application != APPLICATION_ID && (application != 0 || found != 0 || tables != 0) {
        return Err(damaged(&options.path, "it belongs to another program"));
    }
    if found > known {
        return Err(StoreError::NewerSchema {
            path: options.path.clone(),
            found,
            known,
        });
    }
    let done = usize::try_from(found).map_err(|_| damaged(&options.path, "negative version"))?;
    if done < MIGRATIONS.len() {
        for migration in &MIGRATIONS[done..] {
            transaction.execute_batch(migration).map_err(fail)?;
        }
        transaction
            .execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {known};"
            ))
            .map_err(fail)?;
    }
    transaction.commit().map_err(fail)
}

/// Refuses a file that is not of the newest version; changes nothing.
pub(super) fn check(options: &EmbeddedOptions, connection: &Connection) -> Result<(), StoreError> {
    let fail = |error| failure(options, "read the schema", error);
    let known = MIGRATIONS.len() as i64;
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    if number("PRAGMA application_id").map_err(fail)? != APPLICATION_ID {
        return Err(damaged(&options.path, "it belongs to another program"));
    }
    let found = number("PRAGMA user_version").map_err(fail)?;
    let path = options.path.clone();
    match found.cmp(&known) {
        Ordering::Less => Err(StoreError::OlderSchema { path, found, known }),
        Ordering::Greater => Err(StoreError::NewerSchema { path, found, known }),
        Ordering::Equal => Ok(()),
    }
}

/// The number of a level in `klines.level` and `coverage.series`.
pub(super) fn level_number(level: Level) -> i64 {
    level.nanos() / 60_000_000_000
}

/// The number of a series in `coverage.series`.
pub(super) fn series_number(series: Series) -> i64 {
    match series {
        Series::Trades => 0,
        Series::Funding => -1,
        Series::Klines(level) => level_number(level),
    }
}
