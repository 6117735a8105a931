//! Bars that were not stored because they can't be true or are hard to believe: kept, counted,
//! shown, and stored after all when the operator says so. The rules are in
//! [`bookwire_engine::quality`].
//!
//! Kept in memory and in `quarantine.jsonl` of the data folder, at most [`ENTRIES_MAX`]: the oldest
//! give way. No coverage is promised for such a bar; it is left out of what a query fetches, so
//! that it is not asked for again and again, but a repair of gaps asks for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bookwire_engine::event::Kline;
use bookwire_engine::instrument::Instrument;
use bookwire_engine::quality::{self, Fault, NEIGHBOURS};
use bookwire_engine::store::{Entity, KlineRow, Span};
use bookwire_engine::time::{Level, TsNanos};
use parking_lot::Mutex;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::keeper::Keeper;

const FILE: &str = "quarantine.jsonl";
/// Bars kept.
pub const ENTRIES_MAX: usize = 10_000;

/// Which way a bar came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// By a stream.
    Live,
    /// By a request.
    History,
}

impl Source {
    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::History => "history",
        }
    }
}

/// A bar that was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Number by which it is named.
    pub id: u64,
    /// When it was put here.
    pub since: TsNanos,
    /// Why.
    pub fault: Fault,
    /// Which way it came.
    pub source: Source,
    /// The bar as the exchange sent it.
    pub row: KlineRow,
}

type Key = (Arc<Entity>, Level, TsNanos);

impl Quarantined {
    fn key(&self) -> Key {
        (self.row.entity.clone(), self.row.level, self.row.ts)
    }
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<u64, Quarantined>,
    by_key: BTreeMap<Key, u64>,
    next: u64,
    lines: usize,
}

/// The quarantine. Clones are the same.
#[derive(Clone)]
pub struct Quarantine(Arc<Inner>);

struct Inner {
    is_on: bool,
    state: Mutex<State>,
    keeper: Keeper,
    counts: [AtomicU64; Fault::ALL.len()],
}

impl Quarantine {
    /// Reads what was kept. Switched off nothing new is put there.
    #[must_use]
    pub fn open(keeper: Keeper, is_on: bool) -> Self {
        let mut state = State::default();
        for line in keeper.read(FILE) {
            state.take(&line);
        }
        Self(Arc::new(Inner {
            is_on,
            state: Mutex::new(state),
            keeper,
            counts: Default::default(),
        }))
    }

    /// Bars are checked.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_on
    }

    /// Puts a bar there; a bar of the same key is replaced.
    pub fn put(&self, row: KlineRow, fault: Fault, source: Source, now: TsNanos) {
        let mut state = self.0.state.lock();
        let key = (row.entity.clone(), row.level, row.ts);
        if let Some(known) = state.by_key.get(&key).copied() {
            if state.entries.get(&known).is_some_and(|one| one.row == row) {
                return;
            }
            state.remove(known);
            self.add(&mut state, json!({ "gone": known }));
        }
        self.0.counts[fault as usize].fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            entity_id = %row.entity.entity_id, level = %row.level, open = %row.ts.to_rfc3339(),
            %fault, source = source.as_str(), "bar put into quarantine instead of the store"
        );
        state.next += 1;
        let entry = Quarantined {
            id: state.next,
            since: now,
            fault,
            source,
            row,
        };
        let line = to_json(&entry);
        state.insert(entry);
        while state.entries.len() > ENTRIES_MAX {
            if let Some(oldest) = state.entries.keys().next().copied() {
                state.remove(oldest);
            }
        }
        self.add(&mut state, line);
    }

    fn add(&self, state: &mut State, line: Value) {
        state.lines += 1;
        if state.lines <= 2 * ENTRIES_MAX {
            return self.0.keeper.append(FILE, line.to_string());
        }
        state.lines = state.entries.len();
        let lines = state
            .entries
            .values()
            .map(|one| format!("{}\n", to_json(one)));
        self.0.keeper.replace(FILE, lines.collect());
    }

    /// Takes a bar out: it has been stored, or another of its key.
    pub fn remove(&self, id: u64) {
        let mut state = self.0.state.lock();
        if state.remove(id) {
            self.add(&mut state, json!({ "gone": id }));
        }
    }

    /// A good bar of this key has come.
    pub fn resolve(&self, entity: &Arc<Entity>, level: Level, ts: TsNanos) {
        let id = {
            let state = self.0.state.lock();
            if state.by_key.is_empty() {
                return;
            }
            state.by_key.get(&(entity.clone(), level, ts)).copied()
        };
        if let Some(id) = id {
            self.remove(id);
        }
    }

    /// What was wrong with exactly this bar, if it is there: the exchange still says the same.
    #[must_use]
    pub fn fault_of(&self, row: &KlineRow) -> Option<Fault> {
        let state = self.0.state.lock();
        if state.by_key.is_empty() {
            return None;
        }
        let id = state.by_key.get(&(row.entity.clone(), row.level, row.ts))?;
        let entry = state.entries.get(id)?;
        (entry.row == *row).then_some(entry.fault)
    }

    /// A bar that is there.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<Quarantined> {
        self.0.state.lock().entries.get(&id).cloned()
    }

    /// Those that a filter lets through, the newest first, from a place on; and how many it lets
    /// through.
    #[must_use]
    pub fn list(
        &self,
        filter: impl Fn(&Quarantined) -> bool,
        skip: usize,
        count: usize,
    ) -> (Vec<Quarantined>, usize) {
        let state = self.0.state.lock();
        let found: Vec<&Quarantined> = state
            .entries
            .values()
            .rev()
            .filter(|one| filter(one))
            .collect();
        let page = found.iter().skip(skip).take(count);
        (page.map(|one| (*one).clone()).collect(), found.len())
    }

    /// The bars of a series in a span: their spans, ascending.
    #[must_use]
    pub fn spans(&self, entity: &Arc<Entity>, level: Level, span: Span) -> Vec<Span> {
        let state = self.0.state.lock();
        let from = (entity.clone(), level, span.start);
        let to = (entity.clone(), level, span.end);
        if from >= to {
            return Vec::new();
        }
        let keys = state.by_key.range(from..to).map(|(key, _)| key.2);
        keys.map(|start| Span {
            start,
            end: TsNanos(start.0.saturating_add(level.nanos())),
        })
        .collect()
    }

    /// Bars put there since the start, by what was wrong.
    #[must_use]
    pub fn counts(&self) -> Vec<(Fault, u64)> {
        let of = |fault: Fault| {
            let count = &self.0.counts[fault as usize];
            (fault, count.load(Ordering::Relaxed))
        };
        Fault::ALL.into_iter().map(of).collect()
    }

    /// Bars that are there now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.state.lock().entries.len()
    }

    /// None is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl State {
    fn insert(&mut self, entry: Quarantined) {
        self.by_key.insert(entry.key(), entry.id);
        self.entries.insert(entry.id, entry);
    }

    fn remove(&mut self, id: u64) -> bool {
        let Some(entry) = self.entries.remove(&id) else {
            return false;
        };
        self.by_key.remove(&entry.key());
        true
    }

    /// Takes a line of the file; one that can't be read, which a crash may have left, is left out.
    fn take(&mut self, line: &str) {
        self.lines += 1;
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return;
        };
        if let Some(id) = value["gone"].as_u64() {
            self.remove(id);
            self.next = self.next.max(id);
        } else if let Some(entry) = from_json(&value) {
            self.next = self.next.max(entry.id);
            self.insert(entry);
        }
    }
}

fn to_json(entry: &Quarantined) -> Value {
    let row = &entry.row;
    let text = |number: &Decimal| number.to_string();
    json!({
        "id": entry.id,
        "since_ns": entry.since.0,
        "fault": entry.fault.as_str(),
        "source": entry.source.as_str(),
        "provider": row.entity.provider,
        "entity_id": row.entity.entity_id,
        "code": row.entity.code,
        "level": row.level.as_str(),
        "open_ns": row.ts.0,
        "prices": [text(&row.open), text(&row.high), text(&row.low), text(&row.close)],
        "volume": text(&row.volume_base),
        "volume_quote": row.volume_quote.as_ref().map(text),
        "trade_count": row.trade_count,
    })
}

fn from_json(value: &Value) -> Option<Quarantined> {
    let text = |name: &str| value[name].as_str();
    let number = |value: &Value| Decimal::from_str_exact(value.as_str()?).ok();
    let source = [Source::Live, Source::History]
        .into_iter()
        .find(|source| Some(source.as_str()) == text("source"))?;
    Some(Quarantined {
        id: value["id"].as_u64()?,
        since: TsNanos(value["since_ns"].as_i64()?),
        fault: Fault::parse(text("fault")?)?,
        source,
        row: KlineRow {
            entity: Arc::new(Entity {
                provider: text("provider")?.to_owned(),
                entity_id: text("entity_id")?.to_owned(),
                code: text("code")?.to_owned(),
            }),
            level: Level::parse(text("level")?)?,
            ts: TsNanos(value["open_ns"].as_i64()?),
            open: number(&value["prices"][0])?,
            high: number(&value["prices"][1])?,
            low: number(&value["prices"][2])?,
            close: number(&value["prices"][3])?,
            volume_base: number(&value["volume"])?,
            volume_quote: number(&value["volume_quote"]),
            trade_count: value["trade_count"].as_u64(),
        },
    })
}

/// The live bars of one level as the check sees them: the closes of late, and a bar that only the
/// next one can judge.
#[derive(Debug, Default)]
pub(crate) struct LiveCheck {
    closes: Vec<i64>,
    suspect: Option<Kline>,
    last: Option<TsNanos>,
}

/// What to do with bars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Store(Kline),
    Refuse(Kline, Fault),
}

impl LiveCheck {
    /// Judges the next closed bar; a bar that waits is judged with it. An outlier waits.
    pub(crate) fn judge(&mut self, instrument: &Instrument, bar: &Kline) -> [Option<Verdict>; 2] {
        if let Some(fault) = quality::impossible(instrument, bar) {
            return [None, Some(Verdict::Refuse(*bar, fault))];
        }
        let waited = self.suspect.take().map(|suspect| {
            let is_next =
                bar.open_time.0 == suspect.open_time.0.saturating_add(suspect.level.nanos());
            if is_next && quality::confirms(&suspect, bar) {
                // The price has gone there: what was before says nothing any more.
                self.closes.clear();
                self.closes.push(suspect.close.0);
                return Verdict::Store(suspect);
            }
            Verdict::Refuse(suspect, Fault::Outlier)
        });
        let mut closes = self.closes.clone();
        if quality::is_far_off(bar, &mut closes) {
            self.suspect = Some(*bar);
            return [waited, None];
        }
        if self.closes.len() == NEIGHBOURS {
            self.closes.remove(0);
        }
        self.closes.push(bar.close.0);
        [waited, Some(Verdict::Store(*bar))]
    }

    /// Notes that a bar is stored; true when bars between it and the one before are missing.
    pub(crate) fn is_gap(&mut self, bar: &Kline) -> bool {
        let end = TsNanos(bar.open_time.0.saturating_add(bar.level.nanos()));
        let known = self
            .last
            .replace(self.last.map_or(end, |last| last.max(end)));
        known.is_some_and(|known| known < bar.open_time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{row, table};
    use bookwire_engine::instrument::Market;
    use bookwire_engine::num::{Price, Qty};
    use std::time::Duration;

    const MINUTE: i64 = 60_000_000_000;

    fn bar(minute: i64, price: i64) -> Kline {
        Kline {
            level: Level::M1,
            open_time: TsNanos(minute * MINUTE),
            open: Price(price),
            high: Price(price),
            low: Price(price),
            close: Price(price),
            volume: Qty(1),
            volume_quote: None,
            trade_count: None,
            is_closed: true,
            ts_event: TsNanos(0),
        }
    }

    fn stored(minute: i64, price: i64) -> KlineRow {
        let instrument = row(&table(Market::Spot), 0);
        let entity = Entity::of(&instrument);
        KlineRow::new(&entity, &instrument, &bar(minute, price)).unwrap()
    }

    #[test]
    fn a_live_spike_waits_for_the_next_bar() {
        let instrument = row(&table(Market::Spot), 0);
        let mut check = LiveCheck::default();
        for minute in 0..10 {
            let bar = bar(minute, 10_000 + minute);
            assert_eq!(
                check.judge(&instrument, &bar),
                [None, Some(Verdict::Store(bar))]
            );
        }
        let (spike, back) = (bar(10, 90_000), bar(11, 10_010));
        assert_eq!(check.judge(&instrument, &spike), [None, None]);
        let refused = Verdict::Refuse(spike, Fault::Outlier);
        let verdict = check.judge(&instrument, &back);
        assert_eq!(verdict, [Some(refused), Some(Verdict::Store(back))]);
        // A step stays.
        let (step, next) = (bar(12, 90_000), bar(13, 91_000));
        assert_eq!(check.judge(&instrument, &step), [None, None]);
        let verdict = check.judge(&instrument, &next);
        assert_eq!(
            verdict,
            [Some(Verdict::Store(step)), Some(Verdict::Store(next))]
        );
        let broken = Kline {
            high: Price(1),
            ..bar(14, 91_000)
        };
        let refused = Some(Verdict::Refuse(broken, Fault::ImpossibleOhlc));
        assert_eq!(check.judge(&instrument, &broken), [None, refused]);
        assert!(!check.is_gap(&bar(3, 1)) && !check.is_gap(&bar(4, 1)));
        assert!(check.is_gap(&bar(6, 1)) && !check.is_gap(&bar(5, 1)));
    }

    #[test]
    fn what_is_kept_survives_and_can_be_taken_out() {
        let folder =
            std::env::temp_dir().join(format!("bookwire-quarantine-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let limit = Duration::from_secs(10);
        let keeper = Keeper::start(&folder).unwrap();
        let first = Quarantine::open(keeper.clone(), true);
        let put = |of: &Quarantine, row| of.put(row, Fault::Outlier, Source::Live, TsNanos(7));
        put(&first, stored(1, 100));
        put(&first, stored(1, 100));
        put(&first, stored(2, 200));
        put(&first, stored(2, 201));
        put(&first, stored(3, 300));
        assert_eq!(first.len(), 3, "one of a key");
        first.resolve(&stored(3, 0).entity, Level::M1, TsNanos(3 * MINUTE));
        keeper.append(FILE, "{\"id\":9".to_owned());
        keeper.stop(limit);
        let keeper = Keeper::start(&folder).unwrap();
        let second = Quarantine::open(keeper.clone(), true);
        let (rows, total) = second.list(|_| true, 0, 10);
        assert_eq!(total, 2);
        assert_eq!(
            (&rows[0].row, &rows[1].row),
            (&stored(2, 201), &stored(1, 100))
        );
        let all = Span {
            start: TsNanos(0),
            end: TsNanos(10 * MINUTE),
        };
        let entity = &rows[0].row.entity;
        assert_eq!(second.spans(entity, Level::M1, all).len(), 2);
        assert!(second.spans(entity, Level::M5, all).is_empty());
        second.remove(rows[0].id);
        assert!(second.get(rows[0].id).is_none());
        put(&second, stored(4, 1));
        let (rows, _) = second.list(|_| true, 0, 1);
        assert!(rows[0].id > 4, "numbers are not used again");
        keeper.stop(limit);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
