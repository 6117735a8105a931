//! Which bars were written lately: what an answer that is kept elsewhere is checked against before it
//! is given again.

use std::collections::VecDeque;
use std::sync::Arc;

use bookwire_engine::store::{Entity, Row, Series};
use bookwire_engine::time::{Level, TsNanos};
use parking_lot::Mutex;

/// Changes that are remembered. An answer that was not looked at while more happened counts as changed.
const KEPT: usize = 16_384;

/// Bars, or promises about them, that were written with one batch.
#[derive(Debug)]
struct Change {
    entity: Arc<Entity>,
    level: Level,
    /// Earliest and latest open time that it can be about, both inclusive.
    first: i64,
    last: i64,
}

#[derive(Debug, Default)]
struct Log {
    /// Number of the next change.
    next: u64,
    changes: VecDeque<Change>,
}

/// The latest changes of stored bars.
#[derive(Debug, Default)]
pub struct Changes(Mutex<Log>);

/// Bars of some entities in a range of time, to ask [`Changes`] about.
#[derive(Clone, Debug)]
pub struct Bars {
    /// Source of the data.
    pub provider: String,
    /// Whose.
    pub entity_ids: Vec<String>,
    /// Bar length.
    pub level: Level,
    /// Earliest open time, inclusive.
    pub first: TsNanos,
    /// Latest open time, inclusive.
    pub last: TsNanos,
}

impl Bars {
    fn has(&self, change: &Change) -> bool {
        change.level == self.level
            && change.first <= self.last.0
            && change.last >= self.first.0
            && change.entity.provider == self.provider
            && self.entity_ids.contains(&change.entity.entity_id)
    }
}

impl Changes {
    /// Where the changes are now. To be taken before the store is read: what is written meanwhile then
    /// counts as later.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.0.lock().next
    }

    /// Notes what a batch changes. To be called when readers see it.
    pub(super) fn note(&self, rows: &[Row]) {
        let mut batch: Vec<Change> = Vec::new();
        for row in rows {
            let (entity, level, first, last) = match row {
                Row::Kline(row) => (&row.entity, row.level, row.ts.0, row.ts.0),
                Row::Coverage(row) => match row.series {
                    // A promise without bars changes what the neighbour of a bar is.
                    Series::Klines(level) => (
                        &row.entity,
                        level,
                        row.span.start.0,
                        row.span.end.0.saturating_sub(1),
                    ),
                    Series::Trades | Series::Funding => continue,
                },
                Row::Trade(_) | Row::Funding(_) | Row::Book(_) => continue,
            };
            match batch.last_mut() {
                Some(known) if known.level == level && known.entity == *entity => {
                    known.first = known.first.min(first);
                    known.last = known.last.max(last);
                }
                _ => batch.push(Change {
                    entity: Arc::clone(entity),
                    level,
                    first,
                    last,
                }),
            }
        }
        if batch.is_empty() {
            return;
        }
        let mut log = self.0.lock();
        log.next += batch.len() as u64;
        log.changes.extend(batch);
        let surplus = log.changes.len().saturating_sub(KEPT);
        log.changes.drain(..surplus);
    }

    /// Where the changes are now, when none since `mark` is about these bars; `None` when one is, or
    /// when that is not known any more.
    #[must_use]
    pub fn unchanged(&self, mark: u64, bars: &Bars) -> Option<u64> {
        let log = self.0.lock();
        let since = usize::try_from(log.next.checked_sub(mark)?).ok()?;
        let known = log.changes.len().checked_sub(since)?;
        let is_changed = log.changes.range(known..).any(|change| bars.has(change));
        (!is_changed).then_some(log.next)
    }
}

#[cfg(test)]
mod tests {
    use bookwire_engine::store::{CoverageRow, KlineRow, Span};
    use rust_decimal::Decimal;

    use super::*;

    fn entity(code: &str) -> Arc<Entity> {
        Arc::new(Entity {
            provider: "binance".to_owned(),
            entity_id: format!("cryptopair_binance_{code}"),
            code: code.to_owned(),
        })
    }

    fn bar(code: &str, level: Level, ts: i64) -> Row {
        Row::Kline(KlineRow {
            entity: entity(code),
            level,
            ts: TsNanos(ts),
            open: Decimal::ONE,
            high: Decimal::ONE,
            low: Decimal::ONE,
            close: Decimal::ONE,
            volume_base: Decimal::ONE,
            volume_quote: None,
            trade_count: None,
        })
    }

    fn bars(first: i64, last: i64) -> Bars {
        Bars {
            provider: "binance".to_owned(),
            entity_ids: vec!["cryptopair_binance_btcusdt".to_owned()],
            level: Level::M1,
            first: TsNanos(first),
            last: TsNanos(last),
        }
    }

    #[test]
    fn a_change_is_seen_by_whom_it_is_about() {
        let changes = Changes::default();
        let mark = changes.mark();
        changes.note(&[
            bar("btcusdt", Level::M1, 50),
            bar("btcusdt", Level::M1, 20),
            bar("ethusdt", Level::M1, 500),
        ]);
        assert_eq!(changes.unchanged(mark, &bars(51, 99)), Some(2));
        assert_eq!(changes.unchanged(mark, &bars(0, 19)), Some(2));
        assert_eq!(changes.unchanged(mark, &bars(0, 20)), None);
        assert_eq!(changes.unchanged(mark, &bars(50, 60)), None);
        assert_eq!(changes.unchanged(2, &bars(50, 60)), Some(2));
        let hourly = Bars {
            level: Level::H1,
            ..bars(0, 99)
        };
        assert_eq!(changes.unchanged(mark, &hourly), Some(2));
    }

    #[test]
    fn a_promise_counts_up_to_its_end() {
        let changes = Changes::default();
        let mark = changes.mark();
        changes.note(&[Row::Coverage(CoverageRow {
            entity: entity("btcusdt"),
            series: Series::Klines(Level::M1),
            span: Span {
                start: TsNanos(10),
                end: TsNanos(20),
            },
        })]);
        assert_eq!(changes.unchanged(mark, &bars(19, 30)), None);
        assert_eq!(changes.unchanged(mark, &bars(20, 30)), Some(1));
    }

    #[test]
    fn what_is_forgotten_counts_as_changed() {
        let changes = Changes::default();
        let mark = changes.mark();
        for index in 0..=KEPT as i64 {
            changes.note(&[bar("ethusdt", Level::M1, index)]);
        }
        assert_eq!(changes.unchanged(mark, &bars(0, 1)), None);
        assert!(changes.unchanged(1, &bars(0, 1)).is_some());
        assert_eq!(
            changes.unchanged(u64::MAX, &bars(0, 1)),
            None,
            "of another life"
        );
    }
}
