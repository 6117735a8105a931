//! Which trades are there already.
//!
//! The database knows equal rows by time and id, and would let the later one win. Here the newest
//! trades of each entity are remembered, so that a stream's trades need no question; older ones,
//! which only a repair or a backfill writes, are asked for.

use std::sync::Arc;

use ahash::AHashMap;

use super::super::{Entity, StoreError, TradeId, TradeRow};
use super::schema::Table;
use super::session::{Fault, Link, Session};
use super::value::Binds;

/// Rows with one id that stand at most this far apart are one trade, ns: the same match told in
/// milliseconds and in microseconds, or cut to the second.
pub(super) const TWIN: i64 = 1_000_000_000;
/// How much of an entity's newest trades is remembered, ns.
const REMEMBERED: i64 = 10_000_000_000;
/// Remembered trades of an entity at which the old ones go.
const PRUNE_AT: usize = 4_096;
/// Most remembered trades of an entity.
const REMEMBERED_MAX: usize = 100_000;
/// A pause in an entity's trades, ns, over which two questions are better than one.
const PAUSE: i64 = 3_600_000_000_000;

/// The newest trades of an entity: all that are stored from `floor` on.
struct Recent {
    floor: i64,
    newest: i64,
    ids: AHashMap<TradeId, i64>,
}

impl Recent {
    fn has(&self, row: &TradeRow) -> bool {
        is_twin(self.ids.get(&row.trade_id), row)
    }

    /// True when memory alone knows whether the row is there.
    fn decides(&self, row: &TradeRow) -> bool {
        row.ts.0.saturating_sub(TWIN) >= self.floor
    }

    fn add(&mut self, row: &TradeRow) {
        if row.ts.0 < self.floor {
            return;
        }
        self.ids.insert(row.trade_id.clone(), row.ts.0);
        self.newest = self.newest.max(row.ts.0);
    }

    fn prune(&mut self) {
        if self.ids.len() < PRUNE_AT {
            return;
        }
        self.raise(self.newest.saturating_sub(REMEMBERED));
        if self.ids.len() > REMEMBERED_MAX {
            self.raise(self.newest.saturating_sub(TWIN));
        }
        if self.ids.len() > REMEMBERED_MAX {
            self.raise(self.newest.saturating_add(1));
        }
    }

    fn raise(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
        self.ids.retain(|_, ts| *ts >= floor);
    }
}

fn is_twin(found: Option<&i64>, row: &TradeRow) -> bool {
    found.is_some_and(|ts| ts.abs_diff(row.ts.0) <= TWIN.unsigned_abs())
}

/// An entity's trades of a batch, in its order.
struct Group<'r> {
    entity: &'r Arc<Entity>,
    rows: Vec<&'r TradeRow>,
}

fn groups<'r>(rows: &[&'r TradeRow]) -> Vec<Group<'r>> {
    let mut groups: Vec<Group<'r>> = Vec::new();
    let mut places: AHashMap<&Entity, usize> = AHashMap::new();
    for row in rows {
        let place = *places.entry(&row.entity).or_insert_with(|| {
            groups.push(Group {
                entity: &row.entity,
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        groups[place].rows.push(row);
    }
    groups
}

/// What is known of all entities.
#[derive(Default)]
pub(super) struct Known {
    entities: AHashMap<Arc<Entity>, Recent>,
}

impl Known {
    /// After trouble: what was accepted may be gone.
    pub(super) fn forget(&mut self) {
        self.entities.clear();
    }

    /// True when the database has to be asked for some of the rows.
    pub(super) fn must_ask(&self, rows: &[&TradeRow]) -> bool {
        rows.iter().any(|row| {
            let recent = self.entities.get(&row.entity);
            recent.is_none_or(|recent| !recent.decides(row))
        })
    }

    /// Those of the rows that are not there yet, each id once: the first one.
    pub(super) fn new_ones<'r>(
        &mut self,
        session: &Session,
        rows: &[&'r TradeRow],
    ) -> Result<Vec<&'r TradeRow>, StoreError> {
        let mut fresh = Vec::with_capacity(rows.len());
        for group in groups(rows) {
            let recent = match self.entities.get(group.entity) {
                Some(recent) => recent,
                None => {
                    let lowest = group.rows.iter().map(|row| row.ts.0).min().unwrap_or(0);
                    let loaded = load(session, group.entity, lowest)?;
                    self.entities
                        .entry(Arc::clone(group.entity))
                        .or_insert(loaded)
                }
            };
            let mut old: Vec<i64> = group
                .rows
                .iter()
                .filter(|row| !recent.decides(row))
                .map(|row| row.ts.0)
                .collect();
            old.sort_unstable();
            let mut stored: AHashMap<TradeId, Vec<i64>> = AHashMap::new();
            for (from, to) in runs(&old) {
                for (id, ts) in ask(session, group.entity, from - TWIN, to + TWIN)? {
                    stored.entry(id).or_default().push(ts);
                }
            }
            let mut batch: AHashMap<&TradeId, i64> = AHashMap::new();
            for row in group.rows {
                let is_stored = stored
                    .get(&row.trade_id)
                    .is_some_and(|all| all.iter().any(|ts| is_twin(Some(ts), row)));
                if is_stored || recent.has(row) || is_twin(batch.get(&row.trade_id), row) {
                    continue;
                }
                batch.insert(&row.trade_id, row.ts.0);
                fresh.push(row);
            }
        }
        Ok(fresh)
    }

    /// These are in the database now.
    pub(super) fn written(&mut self, rows: &[&TradeRow]) {
        for group in groups(rows) {
            if let Some(recent) = self.entities.get_mut(group.entity) {
                group.rows.iter().for_each(|row| recent.add(row));
                recent.prune();
            }
        }
    }
}

/// Ascending instants as ranges without a long pause inside.
fn runs(instants: &[i64]) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for at in instants {
        match runs.last_mut() {
            Some((_, end)) if at.saturating_sub(*end) <= PAUSE => *end = *at,
            _ => runs.push((*at, *at)),
        }
    }
    runs
}

/// The first look at an entity, whose earliest row to write is at `lowest`.
fn load(session: &Session, entity: &Arc<Entity>, lowest: i64) -> Result<Recent, StoreError> {
    let from = lowest.saturating_sub(TWIN);
    let entity = Arc::clone(entity);
    session.run("read the newest trades", move |link| {
        let mut binds = Binds::default();
        let sql = format!(
            "SELECT max(ts)::long FROM {} WHERE {}",
            Table::Trades.name(&link.options),
            of(&mut binds, &entity, from, i64::MAX)
        );
        let rows = link.query(&sql, &binds)?;
        let newest: Option<i64> = rows.first().map_or(Ok(None), |row| row.try_get(0))?;
        let floor = newest.map_or(from, |newest| from.max(newest.saturating_sub(REMEMBERED)));
        let ids = match newest {
            Some(_) => between(link, &entity, floor, i64::MAX)?
                .into_iter()
                .collect(),
            None => AHashMap::new(),
        };
        Ok(Recent {
            floor,
            newest: newest.unwrap_or(from),
            ids,
        })
    })
}

fn ask(
    session: &Session,
    entity: &Arc<Entity>,
    from: i64,
    to: i64,
) -> Result<Vec<(TradeId, i64)>, StoreError> {
    let entity = Arc::clone(entity);
    session.run("look for known trades", move |link| {
        between(link, &entity, from, to)
    })
}

fn between(
    link: &mut Link,
    entity: &Entity,
    from: i64,
    to: i64,
) -> Result<Vec<(TradeId, i64)>, Fault> {
    let mut binds = Binds::default();
    let sql = format!(
        "SELECT trade_id, ts::long FROM {} WHERE {}",
        Table::Trades.name(&link.options),
        of(&mut binds, entity, from, to)
    );
    let rows = link.query(&sql, &binds)?;
    rows.iter()
        .map(|row| Ok((TradeId::parse(row.try_get(0)?), row.try_get(1)?)))
        .collect()
}

fn of(binds: &mut Binds, entity: &Entity, from: i64, to: i64) -> String {
    let (from, to) = (binds.int(from.max(0)), binds.int(to));
    let provider = binds.text(&entity.provider);
    let id = binds.text(&entity.entity_id);
    format!("ts >= {from} AND ts <= {to} AND provider = {provider} AND entity_id = {id}")
}
