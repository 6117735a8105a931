//! Longer bars out of materialised views, where `store.questdb.materialized_views` says so.
//!
//! A view for each level adds up the minutes as they are written. It knows nothing of minutes that are
//! missing, is refreshed some time after them, and can become invalid; so it is believed only when the
//! server says that it has taken everything in, and only for bars of which each minute is there. Whatever
//! else there is comes from the code that all stores share (`rollup.rs`). Figures:
//! `docs/decisions/013-questdb.md`.

use std::collections::{BTreeSet, HashMap};

use postgres::Row;
use rust_decimal::Decimal;

use super::super::answer::{Answer, direction};
use super::super::{
    KlineQuery, KlineRow, Series, Span, StoreError, StoreReader, TimeWindow, rollup,
};
use super::QuestDbOptions;
use super::read::{Entities, QuestDbReader};
use super::schema::{self, Table};
use super::session::{Fault, Link};
use super::value::{Binds, Number};
use crate::time::{Level, TsNanos};

/// Bars that are read at a time.
const PAGE: usize = 5_000;
/// Bars of an answer that may have to be added up one by one; with more it is all left to the code.
const DOUBTS_MAX: usize = 16;

/// The levels that have a view.
fn levels() -> impl Iterator<Item = Level> {
    Level::ALL.into_iter().filter(|level| *level != Level::M1)
}

fn name(options: &QuestDbOptions, level: Level) -> String {
    format!("{}_{}", Table::Klines.name(options), level.as_str())
}

/// Prices come from the minutes that were traded, where there are any, as in `rollup.rs`.
fn create(options: &QuestDbOptions, level: Level) -> String {
    let (view, base) = (name(options, level), Table::Klines.name(options));
    let traded = |column: &str| format!("CASE WHEN volume_base > 0 THEN {column} END");
    format!(
        "CREATE MATERIALIZED VIEW IF NOT EXISTS {view} WITH BASE {base} REFRESH IMMEDIATE AS (
            SELECT ts, provider, entity_id, last(code) code, count() minutes,
                first_not_null({}) open, max({}) high, min({}) low, last_not_null({}) close,
                first(open) quiet_open, max(high) quiet_high, min(low) quiet_low,
                last(close) quiet_close, sum(volume_base) volume_base,
                sum(volume_quote) volume_quote, count(volume_quote) told_quote,
                sum(trade_count) trade_count, count(trade_count) told_count
            FROM {base} WHERE level = '1m' SAMPLE BY {}
         ) PARTITION BY MONTH",
        traded("open"),
        traded("high"),
        traded("low"),
        traded("close"),
        level.as_str()
    )
}

/// Makes those that are not there, and has those built anew that have become invalid.
pub(super) fn ensure(link: &mut Link) -> Result<(), Fault> {
    let options = std::sync::Arc::clone(&link.options);
    let known = status(link, levels().map(|level| name(&options, level)))?;
    for level in levels() {
        let view = name(&options, level);
        match known.get(&view).map(|(status, _)| status.as_str()) {
            None => link.execute(&create(&options, level))?,
            Some("invalid") => link.execute(&format!("REFRESH MATERIALIZED VIEW {view} FULL"))?,
            Some(_) => {}
        }
    }
    Ok(())
}

/// Of each view its status, and up to which transaction of its base it has been refreshed.
fn status(
    link: &mut Link,
    views: impl Iterator<Item = String>,
) -> Result<HashMap<String, (String, i64)>, Fault> {
    let names: Vec<String> = views.collect();
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT view_name, view_status, refresh_base_table_txn FROM materialized_views()
         WHERE view_name IN ({})",
        binds.texts(names.iter().map(String::as_str))
    );
    let rows = link.query(&sql, &binds)?;
    rows.iter()
        .map(|row| {
            let refreshed: Option<i64> = row.try_get(2)?;
            Ok((row.try_get(0)?, (row.try_get(1)?, refreshed.unwrap_or(-1))))
        })
        .collect()
}

/// Whether a view has all that its base had when this was called, and readers see it.
fn is_fresh(link: &mut Link, view: &str) -> Result<bool, Fault> {
    let base = Table::Klines.name(&link.options);
    let base = schema::logs(link, &[base])?;
    let Some(base) = base.first() else {
        return Ok(false);
    };
    let known = status(link, std::iter::once(view.to_owned()))?;
    let Some((status, refreshed)) = known.get(view) else {
        return Ok(false);
    };
    if status != "valid" || *refreshed < base.accepted || base.applied < base.accepted {
        return Ok(false);
    }
    let own = schema::logs(link, &[view.to_owned()])?;
    Ok(own
        .first()
        .is_some_and(|log| !log.is_suspended && log.applied >= log.accepted))
}

/// A bar of a view, and whether each of its minutes is there.
struct Bar {
    row: KlineRow,
    is_full: bool,
}

/// `None`: a number of it is none that the engine can hold, which the code tells better.
fn bar(row: &Row, level: Level, entities: &mut Entities<'_>) -> Result<Option<Bar>, Fault> {
    let number = |index: usize| -> Option<Option<Decimal>> {
        let number: Option<Number> = row.try_get(index).ok()?;
        Some(number.map(|number| number.0))
    };
    let minutes: i64 = row.try_get(3)?;
    let numbers: Option<Vec<Option<Decimal>>> = (4..14).map(number).collect();
    let Some(numbers) = numbers else {
        return Ok(None);
    };
    let traded = numbers[..4].iter().all(Option::is_some);
    let price = |index: usize| match traded {
        true => numbers[index],
        false => numbers[4 + index],
    };
    let (Some(open), Some(high), Some(low), Some(close), Some(volume_base)) =
        (price(0), price(1), price(2), price(3), numbers[8])
    else {
        return Ok(None);
    };
    let (told_quote, told_count): (i64, i64) = (row.try_get(14)?, row.try_get(16)?);
    let count: Option<i64> = row.try_get(15)?;
    let trade_count = match (told_count == minutes, count) {
        (true, Some(count)) => match u64::try_from(count) {
            Ok(count) => Some(count),
            Err(_) => return Ok(None),
        },
        _ => None,
    };
    Ok(Some(Bar {
        row: KlineRow {
            entity: entities.of(row, 1)?,
            level,
            ts: TsNanos(row.try_get(0)?),
            open,
            high,
            low,
            close,
            volume_base,
            volume_quote: numbers[9].filter(|_| told_quote == minutes),
            trade_count,
        },
        is_full: minutes == level.nanos() / Level::M1.nanos(),
    }))
}

/// The first bars of a window's direction; `None`: the view can't be believed now.
fn page(
    link: &mut Link,
    provider: &str,
    entity_id: &str,
    level: Level,
    window: &TimeWindow,
) -> Result<Option<Vec<Bar>>, Fault> {
    let view = name(&link.options, level);
    if !is_fresh(link, &view)? {
        return Ok(None);
    }
    // Of older minutes the database may have dropped some.
    let kept = schema::kept_since(link, Table::Klines)?.unwrap_or(0);
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT ts::long, entity_id, code, minutes, open, high, low, close, quiet_open, quiet_high,
            quiet_low, quiet_close, volume_base, volume_quote, told_quote, trade_count, told_count
         FROM {view} WHERE ts >= {} AND ts <= {} AND provider = {} AND entity_id = {}
         ORDER BY ts {} LIMIT {}",
        binds.int(window.start.map_or(0, |ts| ts.0).max(kept)),
        binds.int(window.end.map_or(i64::MAX, |ts| ts.0)),
        binds.text(provider),
        binds.text(entity_id),
        direction(window),
        binds.int(i64::try_from(PAGE).unwrap_or(i64::MAX)),
    );
    let rows = link.query(&sql, &binds)?;
    let mut entities = Entities::new(provider);
    let bars = rows.iter().map(|row| bar(row, level, &mut entities));
    bars.collect()
}

impl QuestDbReader {
    /// The bars of [`StoreReader::rolled_up`] out of the views; `None` where those are switched off, or
    /// can't be believed now.
    ///
    /// # Errors
    /// As [`StoreReader::rolled_up`].
    pub fn rolled_up_by_views(
        &self,
        query: &KlineQuery,
    ) -> Result<Option<Vec<KlineRow>>, StoreError> {
        if !self.options().materialized_views || query.level == Level::M1 {
            return Ok(None);
        }
        let mut answer = Answer::new(query.window, |a: &KlineRow, b| {
            (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
        });
        let ids: BTreeSet<&String> = query.entity_ids.iter().collect();
        let mut doubts = 0;
        for entity_id in ids {
            let Some(bars) = self.bars(query, entity_id, &mut doubts)? else {
                return Ok(None);
            };
            answer.rows.extend(bars);
            answer.entity_done();
        }
        Ok(Some(answer.finish()))
    }

    fn bars(
        &self,
        query: &KlineQuery,
        entity_id: &str,
        doubts: &mut usize,
    ) -> Result<Option<Vec<KlineRow>>, StoreError> {
        let mut window = query.window;
        let mut found = Vec::new();
        loop {
            let (provider, id, level) = (query.provider.clone(), entity_id.to_owned(), query.level);
            let bars = self.session().run("read bars", move |link| {
                page(link, &provider, &id, level, &window)
            })?;
            let Some(bars) = bars else {
                return Ok(None);
            };
            let is_last = bars.len() < PAGE;
            let edge = bars.last().map(|bar| bar.row.ts.0);
            for bar in bars {
                if found.len() >= query.window.limit {
                    break;
                }
                if bar.is_full {
                    found.push(bar.row);
                    continue;
                }
                *doubts += 1;
                if *doubts > DOUBTS_MAX {
                    return Ok(None);
                }
                found.extend(self.doubtful(query, entity_id, &bar)?);
            }
            match edge {
                Some(edge) if !is_last && found.len() < query.window.limit => {
                    match query.window.is_scanned_backwards() {
                        true => window.end = Some(TsNanos(edge.saturating_sub(1))),
                        false => window.start = Some(TsNanos(edge.saturating_add(1))),
                    }
                }
                _ => return Ok(Some(found)),
            }
        }
    }

    /// A bar of which minutes are not there: it counts when they are promised to have had no trade.
    fn doubtful(
        &self,
        query: &KlineQuery,
        entity_id: &str,
        bar: &Bar,
    ) -> Result<Option<KlineRow>, StoreError> {
        let open = bar.row.ts;
        let span = Span {
            start: open,
            end: TsNanos(open.0.saturating_add(query.level.nanos())),
        };
        let minutes = Series::Klines(Level::M1);
        if self
            .missing(&query.provider, entity_id, minutes, span)?
            .is_empty()
        {
            return Ok(Some(bar.row.clone()));
        }
        let one = KlineQuery {
            entity_ids: vec![entity_id.to_owned()],
            window: TimeWindow::between(open, open, 1),
            ..query.clone()
        };
        Ok(rollup::rolled_up(self, &one)?.pop())
    }
}
