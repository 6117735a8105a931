//! Promises on their way into the database.
//!
//! A stream's promise grows by a little all the time. It is one row of the database, found by its
//! start, that is replaced by a longer one; so what a row says may only grow, and for that the spans
//! of a series are kept here as they are there. Rows that a longer one has swallowed stay and say
//! nothing new.

use std::sync::Arc;

use ahash::AHashMap;

use super::super::{CoverageRow, Entity, Series, StoreError};
use super::schema::{Table, series_name};
use super::session::Session;
use super::value::Binds;

#[derive(Default)]
struct Spans {
    /// Ascending; they neither overlap nor touch.
    all: Vec<(i64, i64)>,
    /// Those of them that the database does not have yet.
    waiting: Vec<(i64, i64)>,
}

impl Spans {
    fn add(&mut self, mut start: i64, mut end: i64) {
        let first = self.all.partition_point(|span| span.1 < start);
        let last = self.all.partition_point(|span| span.0 <= end);
        if let Some(touched) = self.all.get(first..last).filter(|spans| !spans.is_empty()) {
            if touched[0].0 <= start && touched[0].1 >= end {
                return;
            }
            start = start.min(touched[0].0);
            end = end.max(touched[touched.len() - 1].1);
        }
        self.all.splice(first..last, [(start, end)]);
        self.waiting.retain(|span| span.0 < start || span.1 > end);
        self.waiting.push((start, end));
    }
}

/// The spans of all series that were promised.
#[derive(Default)]
pub(super) struct Covered {
    series: AHashMap<(Arc<Entity>, Series), Spans>,
}

impl Covered {
    /// Adds a promise; it waits for [`Covered::waiting`].
    pub(super) fn add(&mut self, session: &Session, row: &CoverageRow) -> Result<(), StoreError> {
        // The database has no times before 1970.
        let (start, end) = (row.span.start.0.max(0), row.span.end.0);
        if start >= end {
            return Ok(());
        }
        let key = (Arc::clone(&row.entity), row.series);
        let spans = match self.series.get_mut(&key) {
            Some(spans) => spans,
            None => {
                let loaded = load(session, &row.entity, row.series)?;
                self.series.entry(key).or_insert(loaded)
            }
        };
        spans.add(start, end);
        Ok(())
    }

    /// What the database has to be told.
    pub(super) fn waiting(&self) -> Vec<(&Arc<Entity>, Series, (i64, i64))> {
        let each = self.series.iter().flat_map(|((entity, series), spans)| {
            let all = spans.waiting.iter();
            all.map(move |span| (entity, *series, *span))
        });
        each.collect()
    }

    /// The database has been told.
    pub(super) fn told(&mut self) {
        self.series
            .values_mut()
            .for_each(|spans| spans.waiting.clear());
    }
}

fn load(session: &Session, entity: &Arc<Entity>, series: Series) -> Result<Spans, StoreError> {
    let (provider, id) = (entity.provider.clone(), entity.entity_id.clone());
    session.run("read coverage", move |link| {
        let mut binds = Binds::default();
        let sql = format!(
            "SELECT ts::long, span_end::long FROM {}
             WHERE provider = {} AND entity_id = {} AND series = {} ORDER BY ts",
            Table::Coverage.name(&link.options),
            binds.text(&provider),
            binds.text(&id),
            binds.text(&series_name(series)),
        );
        let mut spans = Spans::default();
        for row in link.query(&sql, &binds)? {
            spans.add(row.try_get(0)?, row.try_get(1)?);
        }
        spans.waiting.clear();
        Ok(spans)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_join_and_only_news_wait() {
        let mut spans = Spans::default();
        spans.add(20, 30);
        spans.add(50, 60);
        assert_eq!(spans.waiting, [(20, 30), (50, 60)]);
        spans.waiting.clear();
        spans.add(22, 30);
        assert!(spans.waiting.is_empty(), "known already");
        spans.add(30, 40);
        spans.add(40, 45);
        assert_eq!(spans.waiting, [(20, 45)], "one row that grew");
        spans.add(0, 5);
        spans.add(3, 55);
        assert_eq!(spans.all, [(0, 60)]);
        assert_eq!(spans.waiting, [(0, 60)]);
    }
}
