//! The tables, how they are made, and how older ones become new.
//!
//! `DDL` gives each version its statements; what has been run is in `<prefix>schema`, a row for each
//! version. Statements can be run twice, by two programs at once too.

use postgres::Row;

use super::super::{Series, StoreError};
use super::QuestDbOptions;
use super::session::{Fault, Link};
use super::value::Binds;
use super::views;
use crate::event::Side;
use crate::time::Level;

/// The type of all prices and amounts: see the module's document.
pub(super) const DECIMAL: &str = "DECIMAL(57,28)";

/// The first release with decimals in the line protocol.
const OLDEST: (u32, u32) = (9, 2);

/// Statements of each version. `{p}` stands for the prefix, `{d}` for [`DECIMAL`]. Never change an
/// entry that has been released: add one.
const DDL: &[&[&str]] = &[&[
    // Public matches.
    "CREATE TABLE IF NOT EXISTS {p}trades (
        ts TIMESTAMP_NS, provider SYMBOL, entity_id SYMBOL, code SYMBOL, side SYMBOL,
        trade_id VARCHAR, price {d}, volume {d}
     ) TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, provider, entity_id, trade_id)",
    // Closed bars; ts: open time. NULL in volume_quote, trade_count: not told by the exchange.
    "CREATE TABLE IF NOT EXISTS {p}klines (
        ts TIMESTAMP_NS, provider SYMBOL, entity_id SYMBOL, code SYMBOL, level SYMBOL,
        open {d}, high {d}, low {d}, close {d}, volume_base {d}, volume_quote {d}, trade_count LONG
     ) TIMESTAMP(ts) PARTITION BY MONTH WAL DEDUP UPSERT KEYS(ts, provider, entity_id, level)",
    // Settled funding; ts: settlement time.
    "CREATE TABLE IF NOT EXISTS {p}funding (
        ts TIMESTAMP_NS, provider SYMBOL, entity_id SYMBOL, code SYMBOL,
        funding_rate {d}, predicted_rate {d}, mark_price {d}, index_price {d},
        funding_interval_hours LONG, next_funding_time TIMESTAMP_NS
     ) TIMESTAMP(ts) PARTITION BY MONTH WAL DEDUP UPSERT KEYS(ts, provider, entity_id)",
    // Snapshots of books. bids, asks: [["price","quantity"],…], best first, with all digits of the
    // scales; sequence: 64 bits without a sign; the best levels stand in columns of their own too.
    "CREATE TABLE IF NOT EXISTS {p}books (
        ts TIMESTAMP_NS, provider SYMBOL, entity_id SYMBOL, code SYMBOL, sequence LONG,
        price_scale LONG, qty_scale LONG, best_bid {d}, best_bid_volume {d}, best_ask {d},
        best_ask_volume {d}, bids VARCHAR, asks VARCHAR
     ) TIMESTAMP(ts) PARTITION BY DAY WAL DEDUP UPSERT KEYS(ts, provider, entity_id)",
    // What is known to be complete: from ts, inclusive, to span_end, exclusive. Spans can overlap.
    "CREATE TABLE IF NOT EXISTS {p}coverage (
        ts TIMESTAMP_NS, provider SYMBOL, entity_id SYMBOL, series SYMBOL, span_end TIMESTAMP_NS
     ) TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, provider, entity_id, series)",
]];

/// The tables that rows are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Table {
    Trades,
    Klines,
    Funding,
    Books,
    Coverage,
}

impl Table {
    pub(super) const ALL: [Self; 5] = [
        Self::Trades,
        Self::Klines,
        Self::Funding,
        Self::Books,
        Self::Coverage,
    ];

    fn suffix(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Klines => "klines",
            Self::Funding => "funding",
            Self::Books => "books",
            Self::Coverage => "coverage",
        }
    }

    pub(super) fn name(self, options: &QuestDbOptions) -> String {
        format!("{}{}", options.table_prefix, self.suffix())
    }

    /// Columns that prove that a table of this name is ours.
    fn columns(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Trades => &[
                ("ts", "TIMESTAMP_NS"),
                ("trade_id", "VARCHAR"),
                ("price", DECIMAL),
                ("volume", DECIMAL),
            ],
            Self::Klines => &[
                ("ts", "TIMESTAMP_NS"),
                ("level", "SYMBOL"),
                ("close", DECIMAL),
            ],
            Self::Funding => &[("ts", "TIMESTAMP_NS"), ("funding_rate", DECIMAL)],
            Self::Books => &[
                ("ts", "TIMESTAMP_NS"),
                ("bids", "VARCHAR"),
                ("asks", "VARCHAR"),
            ],
            Self::Coverage => &[("ts", "TIMESTAMP_NS"), ("span_end", "TIMESTAMP_NS")],
        }
    }
}

/// The table with the rows of a series.
pub(super) fn table_of(series: Series) -> Table {
    match series {
        Series::Klines(_) => Table::Klines,
        Series::Trades => Table::Trades,
        Series::Funding => Table::Funding,
    }
}

/// The name of a series in `coverage.series`.
pub(super) fn series_name(series: Series) -> String {
    match series {
        Series::Klines(level) => format!("klines_{}", level.as_str()),
        Series::Trades => "trades".to_owned(),
        Series::Funding => "funding".to_owned(),
    }
}

pub(super) fn level_name(level: Level) -> &'static str {
    level.as_str()
}

pub(super) fn side_name(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

/// Makes sure that the server is new enough and has our tables. Cheap when it has.
pub(super) fn ensure(link: &mut Link) -> Result<(), Fault> {
    let known = DDL.len() as i64;
    let options = std::sync::Arc::clone(&link.options);
    let address = options.pg.to_string();
    let build = link.query("SELECT build()", &Binds::default())?;
    let build: String = build
        .first()
        .map_or(Ok(String::new()), |row| row.try_get(0))?;
    if let Some(found) = version(&build).filter(|found| *found < OLDEST) {
        return Err(Fault::Store(StoreError::TooOld {
            address,
            found: format!("{}.{}", found.0, found.1),
        }));
    }
    let mut found = applied(link, &options)?;
    if found > 0 && found <= known && numbers(link)?.len() < Table::ALL.len() {
        // Somebody has dropped one.
        found = 0;
    }
    if found > known {
        return Err(Fault::Store(StoreError::NewerTables {
            address,
            prefix: options.table_prefix.clone(),
            found,
            known,
        }));
    }
    if found < known {
        migrate(link, &options, found)?;
    }
    set_ttl(link, &options)?;
    match options.materialized_views {
        true => views::ensure(link),
        false => Ok(()),
    }
}

/// The server's numbers of the tables that are there. A table that was dropped and made again has
/// another one.
fn numbers(link: &mut Link) -> Result<Vec<i64>, Fault> {
    let names = Table::ALL.map(|table| table.name(&link.options));
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT id::long FROM tables() WHERE table_name IN ({}) ORDER BY table_name",
        binds.texts(names.iter().map(String::as_str))
    );
    let rows = link.query(&sql, &binds)?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The server's numbers of all tables; makes those that are not there.
pub(super) fn present(link: &mut Link) -> Result<Vec<i64>, Fault> {
    let found = numbers(link)?;
    if found.len() == Table::ALL.len() {
        return Ok(found);
    }
    ensure(link)?;
    numbers(link)
}

/// How far the server has come with a table's log.
pub(super) struct Log {
    pub(super) table: String,
    /// Transactions that it has accepted.
    pub(super) accepted: i64,
    /// Transactions that can be read.
    pub(super) applied: i64,
    pub(super) is_suspended: bool,
    pub(super) error: String,
}

/// The logs of tables, always in the same order.
pub(super) fn logs(link: &mut Link, names: &[String]) -> Result<Vec<Log>, Fault> {
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT name, sequencerTxn, writerTxn, suspended, errorMessage FROM wal_tables()
         WHERE name IN ({}) ORDER BY name",
        binds.texts(names.iter().map(String::as_str))
    );
    let rows = link.query(&sql, &binds)?;
    rows.iter()
        .map(|row| {
            Ok(Log {
                table: row.try_get(0)?,
                accepted: row.try_get(1)?,
                applied: row.try_get(2)?,
                is_suspended: row.try_get(3)?,
                error: row.try_get::<_, Option<String>>(4)?.unwrap_or_default(),
            })
        })
        .collect()
}

/// The version that the tables have; 0: there are none.
fn applied(link: &mut Link, options: &QuestDbOptions) -> Result<i64, Fault> {
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT count() FROM tables() WHERE table_name = {}",
        binds.text(&format!("{}schema", options.table_prefix))
    );
    let rows = link.query(&sql, &binds)?;
    if first_int(&rows)? == Some(0) {
        return Ok(0);
    }
    let sql = format!("SELECT max(version) FROM {}schema", options.table_prefix);
    let rows = link.query(&sql, &Binds::default())?;
    Ok(first_int(&rows)?.unwrap_or(0))
}

fn first_int(rows: &[Row]) -> Result<Option<i64>, Fault> {
    Ok(match rows.first() {
        Some(row) => row.try_get(0)?,
        None => None,
    })
}

fn migrate(link: &mut Link, options: &QuestDbOptions, found: i64) -> Result<(), Fault> {
    let done = usize::try_from(found).map_err(|_| Fault::Damaged("a negative schema version"))?;
    let prefix = &options.table_prefix;
    link.execute(&format!(
        "CREATE TABLE IF NOT EXISTS {prefix}schema (ts TIMESTAMP_NS, version LONG)
         TIMESTAMP(ts) PARTITION BY YEAR BYPASS WAL"
    ))?;
    for (index, statements) in DDL.iter().enumerate().skip(done) {
        for statement in *statements {
            link.execute(&statement.replace("{p}", prefix).replace("{d}", DECIMAL))?;
        }
        if index == 0 {
            Table::ALL
                .into_iter()
                .try_for_each(|table| check(link, options, table))?;
        }
        // Two programs at once leave two equal rows, which says the same.
        let version = index + 1;
        link.execute(&format!(
            "INSERT INTO {prefix}schema VALUES (0::timestamp_ns, {version})"
        ))?;
    }
    Ok(())
}

/// A table of that name that somebody else made is left alone.
fn check(link: &mut Link, options: &QuestDbOptions, table: Table) -> Result<(), Fault> {
    let name = table.name(options);
    // The function takes a constant only; the name is made of letters, digits and `_`.
    let sql = format!("SELECT \"column\", type, upsertKey FROM table_columns('{name}')");
    let rows = link.query(&sql, &Binds::default())?;
    let mut found = Vec::new();
    let mut has_key = false;
    for row in &rows {
        let (column, kind, is_key): (String, String, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        has_key |= is_key;
        found.push((column, kind));
    }
    let lacks = table.columns().iter().find(|(column, kind)| {
        !found
            .iter()
            .any(|(name, found)| name == column && found == kind)
    });
    let detail = match lacks {
        Some((column, kind)) => format!("it has no column {column} {kind}"),
        None if !has_key => "it has no DEDUP UPSERT KEYS".to_owned(),
        None => return Ok(()),
    };
    Err(Fault::Store(StoreError::ForeignTable {
        address: options.pg.to_string(),
        table: name,
        detail,
    }))
}

/// Has the database forget what is older than configured. It knows whole partitions only, and no
/// way back to "for good".
fn set_ttl(link: &mut Link, options: &QuestDbOptions) -> Result<(), Fault> {
    let wanted = [
        (Table::Trades, options.keep_trades_days, "DAY"),
        (Table::Books, options.keep_books_days, "DAY"),
        (Table::Klines, options.keep_klines_months, "MONTH"),
        (Table::Funding, options.keep_funding_months, "MONTH"),
    ];
    for (table, keep, unit) in wanted.into_iter().filter(|(_, keep, _)| *keep > 0) {
        let name = table.name(options);
        if ttl(link, &name)? != Some((i64::from(keep), unit.to_owned())) {
            link.execute(&format!("ALTER TABLE {name} SET TTL {keep} {unit}S"))?;
        }
    }
    Ok(())
}

/// How long a table keeps its rows, as the database knows it, in its own units.
fn ttl(link: &mut Link, name: &str) -> Result<Option<(i64, String)>, Fault> {
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT ttlValue::long, ttlUnit FROM tables() WHERE table_name = {}",
        binds.text(name)
    );
    let rows = link.query(&sql, &binds)?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let value: Option<i64> = row.try_get(0)?;
    let unit: Option<String> = row.try_get(1)?;
    Ok(value.filter(|value| *value > 0).zip(unit))
}

/// The earliest instant of a table of which the database has dropped nothing because of its age;
/// `None`: it keeps everything.
pub(super) fn kept_since(link: &mut Link, table: Table) -> Result<Option<i64>, Fault> {
    const HOUR: i64 = 3_600_000_000_000;
    let name = table.name(&link.options);
    let Some((value, unit)) = ttl(link, &name)? else {
        return Ok(None);
    };
    // Shorter than the real ones, which promises less.
    let unit = match unit.as_str() {
        "HOUR" => HOUR,
        "DAY" => 24 * HOUR,
        "WEEK" => 7 * 24 * HOUR,
        "MONTH" => 28 * 24 * HOUR,
        "YEAR" => 365 * 24 * HOUR,
        _ => return Err(Fault::Damaged("a TTL in a unit that is not known")),
    };
    let sql = format!("SELECT max(ts)::long FROM {name}");
    let newest = first_int(&link.query(&sql, &Binds::default())?)?;
    Ok(newest.map(|newest| newest.saturating_sub(value.saturating_mul(unit))))
}

/// Major and minor number out of `Build Information: QuestDB 9.3.4, JDK …`; `None` when it tells
/// none, as builds out of a work tree do.
fn version(build: &str) -> Option<(u32, u32)> {
    let (_, rest) = build.split_once("QuestDB ")?;
    // `QuestDB Enterprise 3.1.2` counts on its own.
    let mut parts = rest.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_where_there_is_one() {
        let read = |text: &str| version(&format!("Build Information: {text}"));
        assert_eq!(read("QuestDB 9.3.4, JDK 24.0.2, Commit"), Some((9, 3)));
        assert_eq!(read("QuestDB 10.0.0, JDK 25"), Some((10, 0)));
        assert_eq!(read("QuestDB 8.2.3-SNAPSHOT, JDK"), Some((8, 2)));
        assert_eq!(read("QuestDB Enterprise 3.1.2, JDK"), None);
        assert_eq!(read("QuestDB [DEVELOPMENT], JDK"), None);
        assert!(version("Build Information: QuestDB 9.1.1").unwrap() < OLDEST);
        assert!(version("Build Information: QuestDB 9.2.0").unwrap() >= OLDEST);
    }
}
