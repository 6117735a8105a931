//! The reading side: a connection of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use postgres::Row;
use rust_decimal::Decimal;

use super::super::answer::{Answer, Missing, direction};
use super::super::{
    BookQuery, BookRow, Entity, FundingQuery, FundingRow, KlineQuery, KlineRow, Series, Span,
    StoreError, StoreReader, TimeWindow, TradeId, TradeQuery, TradeRow, rollup,
};
use super::QuestDbOptions;
use super::books::levels_of;
use super::schema::{self, Table, level_name, series_name, side_name, table_of};
use super::session::{Fault, Link, Session};
use super::value::{Binds, Number};
use crate::event::Side;
use crate::time::TsNanos;

/// Reads a QuestDB server. It dials with the first question, and again after a loss.
pub struct QuestDbReader {
    session: Session,
}

impl QuestDbReader {
    pub(super) fn new(options: Arc<QuestDbOptions>) -> Self {
        Self {
            session: Session::new(options),
        }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn options(&self) -> &QuestDbOptions {
        self.session.options()
    }
}

fn number(row: &Row, index: usize) -> Result<Decimal, Fault> {
    optional_number(row, index)?.ok_or(Fault::Damaged("a number is NULL that never is"))
}

fn optional_number(row: &Row, index: usize) -> Result<Option<Decimal>, Fault> {
    Ok(row
        .try_get::<_, Option<Number>>(index)?
        .map(|number| number.0))
}

/// The entities of an answer, each once.
pub(super) struct Entities<'q> {
    provider: &'q str,
    found: HashMap<String, Arc<Entity>>,
}

impl<'q> Entities<'q> {
    pub(super) fn new(provider: &'q str) -> Self {
        Self {
            provider,
            found: HashMap::new(),
        }
    }

    /// Of a row's columns `entity_id`, `code`.
    pub(super) fn of(&mut self, row: &Row, index: usize) -> Result<Arc<Entity>, Fault> {
        let id: &str = row.try_get(index)?;
        if let Some(entity) = self.found.get(id) {
            return Ok(Arc::clone(entity));
        }
        let entity = Arc::new(Entity {
            provider: self.provider.to_owned(),
            entity_id: id.to_owned(),
            code: row.try_get(index + 1)?,
        });
        self.found.insert(id.to_owned(), Arc::clone(&entity));
        Ok(entity)
    }
}

/// What all questions for rows have in common.
struct Ask<'q> {
    table: Table,
    columns: &'static str,
    provider: &'q str,
    entity_ids: &'q [String],
    window: TimeWindow,
}

impl Ask<'_> {
    /// The rows that can be in the answer: the first ones of the scan, and with the last of them
    /// all of its instant, because the database is asked to sort by time alone, which it is stored
    /// by. `filter` adds conditions.
    fn rows(
        &self,
        link: &mut Link,
        filter: impl Fn(&mut Binds) -> String,
    ) -> Result<Vec<Row>, Fault> {
        let window = &self.window;
        let mut ids: Vec<&str> = self.entity_ids.iter().map(String::as_str).collect();
        ids.sort_unstable();
        ids.dedup();
        let start = window.start.map_or(0, |ts| ts.0.max(0));
        let end = window.end.map_or(i64::MAX, |ts| ts.0);
        if ids.is_empty() || window.limit == 0 || start > end {
            return Ok(Vec::new());
        }
        let from = self.table.name(&link.options);
        let order = direction(window);
        let question = |start: i64, end: i64, limit: Option<i64>| {
            let mut binds = Binds::default();
            let mut sql = format!(
                "SELECT ts::long, entity_id, code, {} FROM {from}
                 WHERE ts >= {} AND ts <= {} AND provider = {} AND entity_id IN ({}){}
                 ORDER BY ts {order}",
                self.columns,
                binds.int(start),
                binds.int(end),
                binds.text(self.provider),
                binds.texts(ids.iter().copied()),
                filter(&mut binds),
            );
            if let Some(limit) = limit {
                sql = format!("{sql} LIMIT {}", binds.int(limit));
            }
            (sql, binds)
        };
        let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
        let (sql, binds) = question(start, end, Some(limit));
        let mut rows = link.query(&sql, &binds)?;
        if rows.len() >= window.limit
            && let Some(last) = rows.last()
        {
            let last: i64 = last.try_get(0)?;
            while let Some(row) = rows.last() {
                if row.try_get::<_, i64>(0)? != last {
                    break;
                }
                rows.pop();
            }
            let (sql, binds) = question(last, last, None);
            rows.extend(link.query(&sql, &binds)?);
        }
        Ok(rows)
    }
}

fn read_klines(link: &mut Link, query: &KlineQuery) -> Result<Vec<KlineRow>, Fault> {
    let mut answer = Answer::new(query.window, |a: &KlineRow, b| {
        (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
    });
    let ask = Ask {
        table: Table::Klines,
        columns: "open, high, low, close, volume_base, volume_quote, trade_count",
        provider: &query.provider,
        entity_ids: &query.entity_ids,
        window: query.window,
    };
    let level = level_name(query.level);
    let rows = ask.rows(link, |binds| format!(" AND level = {}", binds.text(level)))?;
    let mut entities = Entities::new(&query.provider);
    for row in &rows {
        answer.rows.push(KlineRow {
            entity: entities.of(row, 1)?,
            level: query.level,
            ts: TsNanos(row.try_get(0)?),
            open: number(row, 3)?,
            high: number(row, 4)?,
            low: number(row, 5)?,
            close: number(row, 6)?,
            volume_base: number(row, 7)?,
            volume_quote: optional_number(row, 8)?,
            trade_count: row
                .try_get::<_, Option<i64>>(9)?
                .and_then(|count| u64::try_from(count).ok()),
        });
    }
    Ok(answer.finish())
}

fn read_trades(link: &mut Link, query: &TradeQuery) -> Result<Vec<TradeRow>, Fault> {
    let mut answer = Answer::new(query.window, |a: &TradeRow, b| {
        (a.ts, &a.entity, &a.trade_id).cmp(&(b.ts, &b.entity, &b.trade_id))
    });
    let ask = Ask {
        table: Table::Trades,
        columns: "trade_id, side, price, volume",
        provider: &query.provider,
        entity_ids: &query.entity_ids,
        window: query.window,
    };
    let rows = ask.rows(link, |binds| {
        let mut filter = String::new();
        if let Some(side) = query.side {
            filter = format!(" AND side = {}", binds.text(side_name(side)));
        }
        if let Some(least) = query.min_volume {
            filter = format!("{filter} AND volume >= {}", binds.number(least));
        }
        filter
    })?;
    let mut entities = Entities::new(&query.provider);
    for row in &rows {
        answer.rows.push(TradeRow {
            entity: entities.of(row, 1)?,
            ts: TsNanos(row.try_get(0)?),
            trade_id: TradeId::parse(row.try_get(3)?),
            side: match row.try_get(4)? {
                "buy" => Side::Buy,
                "sell" => Side::Sell,
                _ => return Err(Fault::Damaged("a side that is none")),
            },
            price: number(row, 5)?,
            volume: number(row, 6)?,
        });
    }
    Ok(answer.finish())
}

fn read_funding(link: &mut Link, query: &FundingQuery) -> Result<Vec<FundingRow>, Fault> {
    let mut answer = Answer::new(query.window, |a: &FundingRow, b| {
        (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
    });
    let ask = Ask {
        table: Table::Funding,
        columns: "funding_rate, predicted_rate, mark_price, index_price, funding_interval_hours,
                  next_funding_time::long",
        provider: &query.provider,
        entity_ids: &query.entity_ids,
        window: query.window,
    };
    let rows = ask.rows(link, |binds| match query.funding_interval_hours {
        Some(hours) => format!(
            " AND funding_interval_hours = {}",
            binds.int(i64::from(hours))
        ),
        None => String::new(),
    })?;
    let mut entities = Entities::new(&query.provider);
    for row in &rows {
        answer.rows.push(FundingRow {
            entity: entities.of(row, 1)?,
            ts: TsNanos(row.try_get(0)?),
            funding_rate: number(row, 3)?,
            predicted_rate: optional_number(row, 4)?,
            mark_price: optional_number(row, 5)?,
            index_price: optional_number(row, 6)?,
            funding_interval_hours: row
                .try_get::<_, Option<i64>>(7)?
                .and_then(|hours| u32::try_from(hours).ok()),
            next_funding_time: row.try_get::<_, Option<i64>>(8)?.map(TsNanos),
        });
    }
    Ok(answer.finish())
}

fn read_books(link: &mut Link, query: &BookQuery) -> Result<Vec<BookRow>, Fault> {
    let mut answer = Answer::new(query.window, |a: &BookRow, b| {
        (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
    });
    let ask = Ask {
        table: Table::Books,
        columns: "sequence, price_scale, qty_scale, bids, asks",
        provider: &query.provider,
        entity_ids: &query.entity_ids,
        window: query.window,
    };
    let rows = ask.rows(link, |_| String::new())?;
    let mut entities = Entities::new(&query.provider);
    let scale = |row: &Row, index: usize| -> Result<u8, Fault> {
        let scale: i64 = row.try_get(index)?;
        u8::try_from(scale).map_err(|_| Fault::Damaged("a scale that is none"))
    };
    for row in &rows {
        let (price_scale, qty_scale) = (scale(row, 4)?, scale(row, 5)?);
        let side = |index: usize| {
            let text: &str = row.try_get(index)?;
            levels_of(text, price_scale, qty_scale, query.depth)
                .ok_or(Fault::Damaged("levels that are none"))
        };
        // The database takes the lowest number for NULL.
        let sequence: Option<i64> = row.try_get(3)?;
        answer.rows.push(BookRow {
            entity: entities.of(row, 1)?,
            ts: TsNanos(row.try_get(0)?),
            sequence: sequence.unwrap_or(i64::MIN).cast_unsigned(),
            price_scale,
            qty_scale,
            bids: side(6)?,
            asks: side(7)?,
        });
    }
    Ok(answer.finish())
}

fn read_missing(
    link: &mut Link,
    provider: &str,
    entity_id: &str,
    series: Series,
    span: Span,
) -> Result<Vec<Span>, Fault> {
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT ts::long, span_end::long FROM {} WHERE ts < {} AND span_end > {}
         AND provider = {} AND entity_id = {} AND series = {} ORDER BY ts",
        Table::Coverage.name(&link.options),
        binds.int(span.end.0.max(0)),
        binds.int(span.start.0),
        binds.text(provider),
        binds.text(entity_id),
        binds.text(&series_name(series)),
    );
    let rows = link.query(&sql, &binds)?;
    let mut missing = Missing::of(span);
    if rows.is_empty() {
        return Ok(missing.finish());
    }
    // What the database has dropped because of its age is promised no more.
    let since = schema::kept_since(link, table_of(series))?.unwrap_or(0);
    for row in &rows {
        let (start, end): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        if end > since {
            missing.covered(start.max(since), end);
        }
    }
    Ok(missing.finish())
}

/// Entities of all tables that name their code.
fn read_entities(link: &mut Link, provider: &str) -> Result<Vec<Entity>, Fault> {
    let mut found = BTreeMap::new();
    for table in [Table::Trades, Table::Klines, Table::Funding, Table::Books] {
        let name = table.name(&link.options);
        let mut binds = Binds::default();
        let sql = format!(
            "SELECT DISTINCT entity_id, code FROM {name} WHERE provider = {}",
            binds.text(provider)
        );
        for row in link.query(&sql, &binds)? {
            let (entity_id, code): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            found.insert(entity_id, code);
        }
    }
    Ok(found
        .into_iter()
        .map(|(entity_id, code)| Entity {
            provider: provider.to_owned(),
            entity_id,
            code,
        })
        .collect())
}

impl StoreReader for QuestDbReader {
    fn entities_of(&self, provider: &str) -> Result<Vec<Entity>, StoreError> {
        let provider = provider.to_owned();
        self.session
            .run("read entities", move |link| read_entities(link, &provider))
    }

    fn klines(&self, query: &KlineQuery) -> Result<Vec<KlineRow>, StoreError> {
        let query = query.clone();
        self.session
            .run("read bars", move |link| read_klines(link, &query))
    }

    fn rolled_up(&self, query: &KlineQuery) -> Result<Vec<KlineRow>, StoreError> {
        match self.rolled_up_by_views(query)? {
            Some(rows) => Ok(rows),
            None => rollup::rolled_up(self, query),
        }
    }

    fn trades(&self, query: &TradeQuery) -> Result<Vec<TradeRow>, StoreError> {
        let query = query.clone();
        self.session
            .run("read trades", move |link| read_trades(link, &query))
    }

    fn funding(&self, query: &FundingQuery) -> Result<Vec<FundingRow>, StoreError> {
        let query = query.clone();
        self.session
            .run("read funding", move |link| read_funding(link, &query))
    }

    fn books(&self, query: &BookQuery) -> Result<Vec<BookRow>, StoreError> {
        let query = query.clone();
        self.session
            .run("read books", move |link| read_books(link, &query))
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
        let (provider, entity_id) = (provider.to_owned(), entity_id.to_owned());
        self.session.run("read coverage", move |link| {
            read_missing(link, &provider, &entity_id, series, span)
        })
    }

    fn ping(&self) -> Result<(), StoreError> {
        self.session.run("ping", |link| {
            link.query("SELECT 1", &Binds::default()).map(|_| ())
        })
    }
}
