//! When this program ran, and when the connections to each exchange were down: the reasons of gaps.
//!
//! Kept in memory and in two small files of the data folder, so that it survives any end, a kill
//! included, to within [`SAVE`]:
//! - `uptime.log`: a line for what is over, in milliseconds of Unix time: `run START END`,
//!   `down PROVIDER MARKET START END`;
//! - `uptime.now`: the same for what is going on, replaced every two seconds. The next start takes
//!   it for over.
//!
//! A market counts as down while one of its stream connections is (from the moment of its loss),
//! while the exchange says that it is being maintained, and while it answers nothing at all; what
//! lasts less than [`SHORTEST`] is left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bookwire_engine::instrument::Market;
use bookwire_engine::store::Span;
use bookwire_engine::time::TsNanos;
use parking_lot::Mutex;

use crate::gateway::{Gateway, Inner as Engine};
use crate::incidents::{Moment, Subject};
use crate::keeper::Keeper;
use crate::status::{ProviderMeter, ProviderState};

const LOG: &str = "uptime.log";
const NOW: &str = "uptime.now";
/// How often the connections are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often what is going on is saved.
const SAVE: Duration = Duration::from_secs(2);
/// Shorter times without a connection are nothing to remember, nanoseconds: what is missed in them
/// is fetched, and an exchange that is asked for the first time has not answered yet.
const SHORTEST: i64 = 3_000_000_000;
/// Lines kept; the file is cut when it has twice as many.
const LINES_MAX: usize = 10_000;

/// Why rows may be missing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// The program did not run.
    Bookwire,
    /// The exchange could not be reached, or was being maintained.
    Exchange,
}

type Key = (String, String);

#[derive(Debug, Default)]
struct State {
    /// When this run began and was last known to go on.
    run: Option<Span>,
    /// Runs before, in their order.
    runs: Vec<Span>,
    /// Times without a connection that are over.
    downs: Vec<(Key, Span)>,
    /// Times that go on: since when, and until when that is known.
    open: BTreeMap<Key, Span>,
    /// Lines of the log.
    lines: usize,
}

/// The record. Clones are the same.
#[derive(Clone)]
pub struct Uptime {
    state: Arc<Mutex<State>>,
    keeper: Keeper,
}

impl Uptime {
    /// Reads what was kept and begins a run.
    #[must_use]
    pub fn open(keeper: Keeper, now: TsNanos) -> Self {
        let mut state = State::default();
        let log = keeper.read(LOG);
        state.lines = log.len();
        for line in &log {
            state.take(line);
        }
        let uptime = Self {
            state: Arc::new(Mutex::new(state)),
            keeper,
        };
        // What was going on when the last run ended.
        for line in uptime.keeper.read(NOW) {
            let mut state = uptime.state.lock();
            if state.take(&line) {
                uptime.add(&mut state, line);
            }
        }
        uptime.state.lock().run = Some(Span {
            start: now,
            end: now,
        });
        uptime.save(now);
        uptime
    }

    /// Adds a line to the log, which is cut when it has become too long.
    fn add(&self, state: &mut State, line: String) {
        state.lines += 1;
        if state.lines <= 2 * LINES_MAX {
            return self.keeper.append(LOG, line);
        }
        let surplus = |count: usize| count.saturating_sub(LINES_MAX / 2);
        state.runs.drain(..surplus(state.runs.len()));
        state.downs.drain(..surplus(state.downs.len()));
        let lines = state.runs.iter().map(|span| run_line(*span));
        let downs = state.downs.iter().map(|(key, span)| down_line(key, *span));
        let lines: Vec<String> = lines.chain(downs).collect();
        state.lines = lines.len();
        self.keeper.replace(LOG, joined(&lines));
    }

    /// Saves what is going on: this run, and what is down.
    pub fn save(&self, now: TsNanos) {
        let mut state = self.state.lock();
        let mut lines = Vec::new();
        if let Some(run) = &mut state.run {
            // The wall clock may have been set back.
            run.end = run.end.max(now);
            lines.push(run_line(*run));
        }
        let open = state.open.iter().filter(|(_, span)| is_long(span));
        lines.extend(open.map(|(key, span)| down_line(key, *span)));
        self.keeper.replace(NOW, joined(&lines));
    }

    /// What is down now, and since when; the rest is up.
    pub fn look(&self, now: TsNanos, down: &BTreeMap<Key, TsNanos>) {
        let mut state = self.state.lock();
        for (key, since) in down {
            let span = Span {
                start: *since,
                end: now,
            };
            let open = state.open.entry(key.clone()).or_insert(span);
            open.end = open.end.max(now);
        }
        let ended: Vec<Key> = state
            .open
            .keys()
            .filter(|key| !down.contains_key(*key))
            .cloned()
            .collect();
        for key in ended {
            if let Some(mut span) = state.open.remove(&key) {
                span.end = span.end.max(now);
                if is_long(&span) {
                    let line = down_line(&key, span);
                    state.downs.push((key, span));
                    self.add(&mut state, line);
                }
            }
        }
    }

    /// What kept rows of a time from being collected, as far as it is known: our own absences
    /// first. That this program did not run before it did for the first time explains nothing.
    #[must_use]
    pub fn outages(&self, provider: &str, market: Market, span: Span) -> Vec<(Span, Outage)> {
        let state = self.state.lock();
        let touches = |other: &Span| other.start < span.end && span.start < other.end;
        let mut found = Vec::new();
        let mut before: Option<TsNanos> = None;
        for run in state.runs.iter().chain(&state.run) {
            let absence = before.map(|end| Span {
                start: end,
                end: run.start,
            });
            found.extend(absence.filter(|absence| !absence.is_empty() && touches(absence)));
            before = Some(before.map_or(run.end, |end| end.max(run.end)));
        }
        let ours = found.into_iter().map(|span| (span, Outage::Bookwire));
        let over = state.downs.iter().map(|(key, span)| (key, span));
        let theirs = over
            .chain(&state.open)
            .filter(|(key, down)| key.0 == provider && key.1 == market.as_str() && touches(down))
            .map(|(_, down)| (*down, Outage::Exchange));
        ours.chain(theirs).collect()
    }
}

impl State {
    /// Takes a line of a file; false when it is none, which the end of a crash may have left.
    fn take(&mut self, line: &str) -> bool {
        let words: Vec<&str> = line.split(' ').collect();
        let span = |start: &str, end: &str| {
            let ms = |text: &str| text.parse().ok().map(TsNanos::from_ms);
            let (start, end) = (ms(start)?, ms(end)?);
            (start <= end).then_some(Span { start, end })
        };
        match words[..] {
            ["run", start, end] => {
                let found = span(start, end);
                self.runs.extend(found);
                found.is_some()
            }
            ["down", provider, market, start, end] => {
                let key = (provider.to_owned(), market.to_owned());
                let found = span(start, end);
                self.downs.extend(found.map(|span| (key, span)));
                found.is_some()
            }
            _ => false,
        }
    }
}

fn is_long(span: &Span) -> bool {
    span.end.0.saturating_sub(span.start.0) >= SHORTEST
}

fn run_line(span: Span) -> String {
    format!("run {} {}", span.start.as_ms(), span.end.as_ms())
}

fn down_line((provider, market): &Key, span: Span) -> String {
    let (start, end) = (span.start.as_ms(), span.end.as_ms());
    format!("down {provider} {market} {start} {end}")
}

fn joined(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Looks at the connections as long as the engine runs.
pub(crate) async fn watch(engine: Weak<Engine>) {
    let mut saved = Duration::ZERO;
    loop {
        let Some(gateway) = engine.upgrade().map(Gateway) else {
            return;
        };
        if gateway.is_stopping() {
            return;
        }
        let now = Moment::of(&*gateway.0.clock);
        gateway.0.uptime.look(now.wall, &down(&gateway, now));
        if now.monotonic.saturating_sub(saved) >= SAVE || saved.is_zero() {
            saved = now.monotonic;
            gateway.0.uptime.save(now.wall);
        }
        let pause = gateway.0.clock.sleep(LOOK);
        drop(gateway);
        pause.await;
    }
}

/// Markets that are down now, and since when.
fn down(gateway: &Gateway, now: Moment) -> BTreeMap<Key, TsNanos> {
    let mut found = BTreeMap::new();
    for meter in &gateway.0.meters {
        if let Some(options) = gateway.0.options.provider(meter.provider) {
            down_of(meter, &options.markets, now, &mut found);
        }
    }
    found
}

/// Those of one provider.
fn down_of(
    meter: &ProviderMeter,
    markets: &[Market],
    now: Moment,
    found: &mut BTreeMap<Key, TsNanos>,
) {
    let provider = meter.provider;
    let mut add = |market: &str, since: TsNanos| {
        let key = (provider.name().to_owned(), market.to_owned());
        let known = found.entry(key).or_insert(since);
        *known = since.min(*known);
    };
    let view = meter.incidents.view(now);
    for incident in &view.open {
        // `spot/public/0`
        if let Subject::Connection(_, name) = &incident.subject
            && let Some(market) = name.split('/').next()
        {
            add(market, incident.since);
        }
    }
    let is_bridge = provider.exchange().bridge().is_some();
    let state = meter.status(now.monotonic).state;
    let whole = match view.maintenance {
        Some(maintenance) => Some(maintenance.since),
        // A bridge that nobody has asked for has not answered either.
        None => (state == ProviderState::Unavailable && !is_bridge).then_some(now.wall),
    };
    for market in markets {
        if let Some(since) = whole {
            add(market.as_str(), since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incidents::Cause;
    use bookwire_engine::exchange::ProviderId;

    fn at(secs: i64) -> TsNanos {
        TsNanos(secs * 1_000_000_000)
    }

    fn span(start: i64, end: i64) -> Span {
        Span {
            start: at(start),
            end: at(end),
        }
    }

    #[test]
    fn runs_and_losses_survive_a_kill() {
        let folder = std::env::temp_dir().join(format!("bookwire-uptime-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let limit = Duration::from_secs(10);
        let keeper = Keeper::start(&folder).unwrap();
        let first = Uptime::open(keeper.clone(), at(1000));
        let first_of = |of: &Uptime, provider, market, start, end| {
            let found = of.outages(provider, market, span(start, end));
            found.first().map(|(_, outage)| *outage)
        };
        let outage = |of: &Uptime, start, end| first_of(of, "binance", Market::Spot, start, end);
        assert_eq!(outage(&first, 0, 60), None, "never ran before");
        let spot = ("binance".to_owned(), "spot".to_owned());
        let down = BTreeMap::from([(spot.clone(), at(1100))]);
        first.look(at(1102), &down);
        first.look(at(1160), &BTreeMap::new());
        first.look(at(1200), &BTreeMap::from([(spot.clone(), at(1200))]));
        assert_eq!(outage(&first, 1140, 1180), Some(Outage::Exchange));
        assert_eq!(outage(&first, 1160, 1200), None);
        let perp = first_of(&first, "binance", Market::Perp, 1140, 1180);
        let okx = first_of(&first, "okx", Market::Spot, 1140, 1180);
        assert_eq!((perp, okx), (None, None));
        first.look(at(1230), &BTreeMap::from([(spot, at(1200))]));
        first.save(at(1230));
        keeper.stop(limit);

        // Killed: the next run finds what was saved, and a line that was cut off is left out.
        let keeper = Keeper::start(&folder).unwrap();
        keeper.append(LOG, "down binance sp".to_owned());
        keeper.flush(limit);
        let second = Uptime::open(keeper.clone(), at(1300));
        assert_eq!(outage(&second, 1140, 1180), Some(Outage::Exchange));
        assert_eq!(outage(&second, 1205, 1229), Some(Outage::Exchange));
        assert_eq!(outage(&second, 1240, 1260), Some(Outage::Bookwire));
        assert_eq!(outage(&second, 1180, 1235), Some(Outage::Bookwire));
        assert_eq!(outage(&second, 1300, 1360), None);
        assert_eq!(outage(&second, 900, 960), None);
        keeper.stop(limit);
        let keeper = Keeper::start(&folder).unwrap();
        let third = Uptime::open(keeper.clone(), at(1400));
        assert_eq!(outage(&third, 1240, 1260), Some(Outage::Bookwire));
        assert_eq!(outage(&third, 1320, 1330), Some(Outage::Bookwire));
        keeper.stop(limit);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn connections_maintenance_and_silence_count_as_down() {
        let meter = ProviderMeter::new(ProviderId::BINANCE);
        let now = |secs: i64| Moment {
            wall: at(secs),
            monotonic: Duration::from_secs(u64::try_from(secs).unwrap()),
        };
        let down = |secs: i64| -> Vec<(String, i64)> {
            let mut found = BTreeMap::new();
            let markets = [Market::Spot, Market::Perp];
            down_of(&meter, &markets, now(secs), &mut found);
            let found = found.into_iter();
            found
                .map(|((_, market), since)| (market, since.0 / 1_000_000_000))
                .collect()
        };
        let both = |since: i64| vec![("perp".to_owned(), since), ("spot".to_owned(), since)];
        assert_eq!(down(1), both(1), "no answer so far");
        meter.request_ok(now(2), Duration::from_millis(1));
        assert_eq!(down(2), []);
        let spot = Subject::Connection(0, "spot/public/0".to_owned());
        meter
            .incidents
            .begin(spot.clone(), Cause::Known("disconnected"), now(5));
        assert_eq!(down(9), [("spot".to_owned(), 5)]);
        meter.maintained(now(7), "upgrade");
        assert_eq!(down(9), [("perp".to_owned(), 7), ("spot".to_owned(), 5)]);
        meter.request_ok(now(10), Duration::from_millis(1));
        meter.incidents.end(&spot, now(10));
        assert_eq!(down(11), []);
    }

    #[test]
    fn the_log_is_bounded() {
        let uptime = Uptime::open(Keeper::none(), at(0));
        let spot = ("binance".to_owned(), "spot".to_owned());
        for second in 0..i64::try_from(2 * LINES_MAX + 10).unwrap() {
            let since = at(second * 10);
            uptime.look(
                at(second * 10 + 5),
                &BTreeMap::from([(spot.clone(), since)]),
            );
            uptime.look(at(second * 10 + 6), &BTreeMap::new());
        }
        let state = uptime.state.lock();
        assert!(state.downs.len() < LINES_MAX && state.lines < LINES_MAX);
        assert_eq!(
            state.downs.last().unwrap().1.end,
            at((2 * 10_000 + 9) * 10 + 6)
        );
    }
}
