//! What of a provider is not well now, since when and why; and what was, for how long.
//!
//! Written when a state changes, never with a frame: books that are lost or gained, streams that
//! fall silent, connections that end, maintenance. Whoever tells subscribers about the end of an
//! incident learns here how long it took.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bookwire_engine::exchange::{Feed, MaintenanceWindow};
use bookwire_engine::instrument::{InstrumentId, Market};
use bookwire_engine::time::TsNanos;
use parking_lot::Mutex;

/// Minutes that finished resyncs are remembered.
const MINUTES: u64 = 24 * 60;
/// Maintenance windows remembered; exchanges announce one or two.
const WINDOWS_MAX: usize = 16;
/// Longest text of an exchange that is kept, bytes.
const TEXT_MAX: usize = 300;

/// What can be unwell.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// An instrument's book can't be trusted.
    Book(InstrumentId),
    /// Another stream of an instrument is silent.
    Stream(InstrumentId, Feed),
    /// A connection is down: the shard and `spot/public/0`.
    Connection(usize, String),
}

/// Why something is unwell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It has been asked for and is not there yet.
    Starting,
    /// One of few words: `gap`, `disconnected`.
    Known(&'static str),
    /// What somebody else says.
    Told(String),
}

impl Cause {
    /// Lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Starting => "starting",
            Self::Known(word) => word,
            Self::Told(text) => text,
        }
    }
}

#[derive(Clone, Debug)]
struct Open {
    cause: Cause,
    is_start: bool,
    since: TsNanos,
    since_monotonic: Duration,
    /// What hinders the repair.
    hindrance: Option<String>,
    /// The connection that would tell its end is gone too.
    is_orphan: bool,
}

/// Something that is not well now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// What.
    pub subject: Subject,
    /// Why, lower case.
    pub reason: String,
    /// Since when, wall clock.
    pub since: TsNanos,
    /// For how long.
    pub lasted: Duration,
    /// What hinders the repair, where that is known.
    pub last_error: Option<String>,
}

/// Something that was not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Why it was not, lower case.
    pub reason: String,
    /// How long it took.
    pub after: Duration,
    /// It was there for the first time: nothing had been lost.
    pub is_start: bool,
}

/// How often something was repaired, and how long that took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// How often.
    pub count: u64,
    /// All together.
    pub total: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Repairs {
    fn add(&mut self, took: Duration) {
        self.count += 1;
        self.total += took;
        self.longest = self.longest.max(took);
    }

    fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }
}

/// Maintenance that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// Since when, wall clock: when we were told first.
    pub since: TsNanos,
    /// For how long by our clock.
    pub lasted: Duration,
    /// What the exchange says.
    pub text: String,
    /// When it will be over, where the exchange says so.
    pub expected_end: Option<TsNanos>,
    /// Only its list tells it, none of its errors.
    pub is_listed: bool,
}

/// What [`Incidents`] hold at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncidentView {
    /// What is not well now, books first.
    pub open: Vec<Incident>,
    /// Maintenance that is going on.
    pub maintenance: Option<Maintenance>,
    /// Maintenance that the exchange has announced.
    pub announced: Vec<MaintenanceWindow>,
    /// Books lost and gained again in the last 24 h, by the reason of the loss.
    pub resyncs_24h: BTreeMap<&'static str, Repairs>,
    /// The last of them: reason and how long it took.
    pub last_resync: Option<(InstrumentId, Ended)>,
    /// Streams that fell silent and came back in the last 24 h.
    pub stale_24h: Repairs,
}

impl IncidentView {
    /// Streams that have brought nothing for at least so long though they should: silent ones, and books
    /// that can't be trusted. One that is being opened is none of them.
    #[must_use]
    pub fn silent_streams(&self, at_least: Duration) -> usize {
        let is_stream = |incident: &&Incident| {
            !matches!(incident.subject, Subject::Connection(..))
                && incident.reason != Cause::Starting.as_str()
                && incident.lasted >= at_least
        };
        self.open.iter().filter(is_stream).count()
    }

    /// All resyncs of the last 24 h together.
    #[must_use]
    pub fn resyncs(&self) -> Repairs {
        let mut all = Repairs::default();
        for repairs in self.resyncs_24h.values() {
            all.join(repairs);
        }
        all
    }
}

/// Repairs of one minute, by reason; `None`: a silent stream.
#[derive(Debug)]
struct Minute {
    number: u64,
    repairs: BTreeMap<Option<&'static str>, Repairs>,
}

#[derive(Debug, Default)]
struct Inner {
    open: BTreeMap<Subject, Open>,
    maintenance: Option<(TsNanos, Duration, String)>,
    announced: Vec<(Market, MaintenanceWindow)>,
    finished: VecDeque<Minute>,
    last_resync: Option<(InstrumentId, Ended)>,
}

/// Of one provider; shared by its shards.
#[derive(Debug, Default)]
pub struct Incidents(Mutex<Inner>);

/// A moment by both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Wall clock.
    pub wall: TsNanos,
    /// Monotonic.
    pub monotonic: Duration,
}

impl Moment {
    /// Now.
    #[must_use]
    pub fn of(clock: &dyn crate::clock::Clock) -> Self {
        Self {
            wall: clock.now(),
            monotonic: clock.monotonic(),
        }
    }
}

impl Incidents {
    /// Something is not well from now on. What is known to be unwell keeps its beginning and first
    /// reason, unless it had not been well yet.
    pub fn begin(&self, subject: Subject, cause: Cause, now: Moment) {
        let mut inner = self.0.lock();
        match inner.open.get_mut(&subject) {
            Some(open) => {
                open.is_orphan = false;
                if open.cause == Cause::Starting {
                    open.cause = cause;
                }
            }
            None => {
                let open = Open {
                    is_start: cause == Cause::Starting,
                    cause,
                    since: now.wall,
                    since_monotonic: now.monotonic,
                    hindrance: None,
                    is_orphan: false,
                };
                inner.open.insert(subject, open);
            }
        }
    }

    /// Why something that is not well stays so.
    pub fn hinder(&self, subject: &Subject, text: &str) {
        if let Some(open) = self.0.lock().open.get_mut(subject) {
            open.hindrance = Some(cut(text));
        }
    }

    /// It is well. `None` when it was.
    pub fn end(&self, subject: &Subject, now: Moment) -> Option<Ended> {
        let mut inner = self.0.lock();
        let open = inner.open.remove(subject)?;
        let ended = Ended {
            reason: open.cause.as_str().to_owned(),
            after: now.monotonic.saturating_sub(open.since_monotonic),
            is_start: open.is_start,
        };
        match (subject, &open.cause) {
            (Subject::Book(id), Cause::Known(reason)) if !open.is_start => {
                inner.last_resync = Some((*id, ended.clone()));
                inner.finish(Some(reason), ended.after, now.monotonic);
            }
            (Subject::Stream(..), _) => inner.finish(None, ended.after, now.monotonic),
            _ => {}
        }
        Some(ended)
    }

    /// Nobody wants it any more, well or not.
    pub fn forget(&self, subject: &Subject) {
        self.0.lock().open.remove(subject);
    }

    /// The connection of a silent stream is gone: the next that carries it ends the incident.
    pub fn orphan(&self, subject: &Subject) {
        if let Some(open) = self.0.lock().open.get_mut(subject) {
            open.is_orphan = true;
        }
    }

    /// A stream is carried again: it is well, if its connection was what it waited for.
    pub fn adopt(&self, subject: &Subject, now: Moment) -> Option<Ended> {
        let is_orphan = |inner: &Inner| inner.open.get(subject).is_some_and(|open| open.is_orphan);
        let is_over = is_orphan(&self.0.lock());
        is_over.then(|| self.end(subject, now)).flatten()
    }

    /// The exchange says that it is being maintained.
    pub fn maintain(&self, text: &str, now: Moment) {
        let mut inner = self.0.lock();
        match &mut inner.maintenance {
            Some((_, _, known)) => *known = cut(text),
            None => inner.maintenance = Some((now.wall, now.monotonic, cut(text))),
        }
    }

    /// Maintenance is over. `None` when there was none.
    pub fn maintained(&self, now: Moment) -> Option<Ended> {
        let (_, since, text) = self.0.lock().maintenance.take()?;
        Some(Ended {
            reason: text,
            after: now.monotonic.saturating_sub(since),
            is_start: false,
        })
    }

    /// The exchange's own list of a market's maintenance, past ones left out.
    pub fn announce(&self, market: Market, windows: Vec<MaintenanceWindow>) {
        let own = windows.into_iter().take(WINDOWS_MAX).map(|mut window| {
            window.text = cut(&window.text);
            (market, window)
        });
        let mut inner = self.0.lock();
        inner.announced.retain(|(of, _)| *of != market);
        inner.announced.extend(own);
    }

    /// What the exchange's list says of maintenance that is going on; `None` when it lists none.
    #[must_use]
    pub fn listed(&self, now: Moment) -> Option<String> {
        let inner = self.0.lock();
        let window = inner.in_force(now.wall).next()?;
        Some(match window.text.as_str() {
            "" => "the exchange lists maintenance".to_owned(),
            text => text.to_owned(),
        })
    }

    /// True while the exchange is being maintained by what its errors tell.
    #[must_use]
    pub fn is_told(&self) -> bool {
        self.0.lock().maintenance.is_some()
    }

    /// True while the exchange is being maintained, by its errors or by its list.
    #[must_use]
    pub fn is_maintained(&self, now: Moment) -> bool {
        self.0.lock().maintenance(now).is_some()
    }

    /// All of it.
    #[must_use]
    pub fn view(&self, now: Moment) -> IncidentView {
        let mut inner = self.0.lock();
        inner.forget_minutes(now.monotonic.as_secs() / 60);
        let of = |(subject, open): (&Subject, &Open)| Incident {
            subject: subject.clone(),
            reason: open.cause.as_str().to_owned(),
            since: open.since,
            lasted: now.monotonic.saturating_sub(open.since_monotonic),
            last_error: open.hindrance.clone(),
        };
        let mut view = IncidentView {
            open: inner.open.iter().map(of).collect(),
            last_resync: inner.last_resync.clone(),
            ..IncidentView::default()
        };
        view.maintenance = inner.maintenance(now);
        // What concerns several markets is listed for each.
        for (_, window) in &inner.announced {
            if !view.announced.contains(window) {
                view.announced.push(window.clone());
            }
        }
        for (reason, repairs) in inner.finished.iter().flat_map(|minute| &minute.repairs) {
            match reason {
                Some(reason) => view.resyncs_24h.entry(reason).or_default().join(repairs),
                None => view.stale_24h.join(repairs),
            }
        }
        view
    }
}

impl Inner {
    /// Listed windows in force.
    fn in_force(&self, now: TsNanos) -> impl Iterator<Item = &MaintenanceWindow> {
        let windows = self.announced.iter().map(|(_, window)| window);
        windows.filter(move |window| {
            let has_begun = window.begin.is_none_or(|begin| begin <= now);
            has_begun && window.end.is_none_or(|end| end > now)
        })
    }

    /// What its errors tell, else what its list says.
    fn maintenance(&self, now: Moment) -> Option<Maintenance> {
        // Of several windows the last end.
        let ends = self.in_force(now.wall).filter_map(|window| window.end);
        let expected_end = ends.max();
        if let Some((since, monotonic, text)) = &self.maintenance {
            return Some(Maintenance {
                since: *since,
                lasted: now.monotonic.saturating_sub(*monotonic),
                text: text.clone(),
                expected_end,
                is_listed: false,
            });
        }
        let window = self.in_force(now.wall).next()?;
        let since = window.begin.unwrap_or(now.wall);
        let lasted = u64::try_from(now.wall.0.saturating_sub(since.0)).unwrap_or(0);
        Some(Maintenance {
            since,
            lasted: Duration::from_nanos(lasted),
            text: window.text.clone(),
            expected_end,
            is_listed: true,
        })
    }

    fn finish(&mut self, reason: Option<&'static str>, took: Duration, now: Duration) {
        let number = now.as_secs() / 60;
        self.forget_minutes(number);
        if self.finished.back().is_none_or(|row| row.number != number) {
            self.finished.push_back(Minute {
                number,
                repairs: BTreeMap::new(),
            });
        }
        if let Some(minute) = self.finished.back_mut() {
            minute.repairs.entry(reason).or_default().add(took);
        }
    }

    fn forget_minutes(&mut self, now: u64) {
        let is_old = |row: &Minute| row.number + MINUTES <= now;
        while self.finished.front().is_some_and(is_old) {
            self.finished.pop_front();
        }
    }
}

/// Texts of exchanges have no bound of their own.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BTC: Subject = Subject::Book(InstrumentId(0));

    fn at(secs: u64) -> Moment {
        Moment {
            wall: TsNanos::from_ms(1_700_000_000_000 + i64::try_from(secs * 1000).unwrap()),
            monotonic: Duration::from_secs(secs),
        }
    }

    #[test]
    fn a_loss_is_open_until_it_is_repaired_and_counted_then() {
        let incidents = Incidents::default();
        incidents.begin(BTC, Cause::Known("gap"), at(10));
        // It gets worse before it gets better: the first loss is the one that counts.
        incidents.begin(BTC, Cause::Known("disconnected"), at(12));
        incidents.hinder(&BTC, "snapshot: 503");
        let view = incidents.view(at(13));
        let open = &view.open[0];
        assert_eq!((open.reason.as_str(), open.since), ("gap", at(10).wall));
        assert_eq!(open.lasted, Duration::from_secs(3));
        assert_eq!(open.last_error.as_deref(), Some("snapshot: 503"));
        assert_eq!(view.resyncs().count, 0, "it is not over");
        let ended = incidents.end(&BTC, at(15)).unwrap();
        assert_eq!(ended.after, Duration::from_secs(5));
        assert_eq!(incidents.end(&BTC, at(15)), None);
        incidents.begin(BTC, Cause::Known("crossed"), at(100));
        incidents.end(&BTC, at(101));
        let view = incidents.view(at(101));
        assert!(view.open.is_empty());
        assert_eq!(view.resyncs_24h["gap"].total, Duration::from_secs(5));
        assert_eq!(view.resyncs_24h["crossed"].count, 1);
        let all = view.resyncs();
        assert_eq!(
            (all.count, all.total, all.longest),
            (2, Duration::from_secs(6), Duration::from_secs(5))
        );
        assert_eq!(view.last_resync.unwrap().1.reason, "crossed");
        let view = incidents.view(at(24 * 3600 + 30));
        assert_eq!(view.resyncs().count, 1, "the first is older than a day");
    }

    #[test]
    fn a_start_is_no_repair() {
        let incidents = Incidents::default();
        incidents.begin(BTC, Cause::Starting, at(0));
        assert_eq!(incidents.view(at(1)).open[0].reason, "starting");
        incidents.begin(BTC, Cause::Known("disconnected"), at(2));
        assert_eq!(incidents.view(at(2)).open[0].reason, "disconnected");
        assert!(incidents.end(&BTC, at(3)).unwrap().is_start);
        assert_eq!(incidents.view(at(3)).resyncs().count, 0);
        incidents.begin(BTC, Cause::Starting, at(4));
        incidents.forget(&BTC);
        assert!(incidents.view(at(4)).open.is_empty());
    }

    #[test]
    fn a_silent_stream_ends_with_its_connections_successor() {
        let incidents = Incidents::default();
        let stream = Subject::Stream(InstrumentId(0), Feed::Ticker);
        incidents.begin(stream.clone(), Cause::Known("silent"), at(0));
        incidents.begin(BTC, Cause::Starting, at(0));
        let link = Subject::Connection(0, "spot/public/0".to_owned());
        incidents.begin(link, Cause::Known("disconnected"), at(0));
        let silent = |now: u64, secs| {
            incidents
                .view(at(now))
                .silent_streams(Duration::from_secs(secs))
        };
        assert_eq!((silent(5, 0), silent(5, 5), silent(5, 6)), (1, 1, 0));
        incidents.begin(BTC, Cause::Known("gap"), at(5));
        assert_eq!(
            (silent(9, 0), silent(9, 5)),
            (2, 2),
            "since it was first wanted"
        );
        assert_eq!(incidents.adopt(&stream, at(1)), None, "asked for again");
        incidents.orphan(&stream);
        let ended = incidents.adopt(&stream, at(9)).unwrap();
        assert_eq!(ended.after, Duration::from_secs(9));
        assert_eq!(incidents.view(at(9)).stale_24h.count, 1);
    }

    #[test]
    fn maintenance_has_an_end_where_the_exchange_tells_one() {
        let incidents = Incidents::default();
        incidents.maintain("upgrade", at(10));
        let told = incidents.view(at(11)).maintenance.unwrap();
        assert_eq!((told.since, told.expected_end), (at(10).wall, None));
        let window = |begin: u64, end: u64| MaintenanceWindow {
            begin: Some(at(begin).wall),
            end: Some(at(end).wall),
            text: "upgrade".to_owned(),
        };
        incidents.announce(Market::Spot, vec![window(5, 100), window(5000, 6000)]);
        incidents.announce(Market::Perp, vec![window(5, 100)]);
        let view = incidents.view(at(20));
        assert_eq!(view.maintenance.unwrap().expected_end, Some(at(100).wall));
        assert_eq!(view.announced.len(), 2);
        assert_eq!(
            incidents.maintained(at(70)).unwrap().after,
            Duration::from_secs(60)
        );
        // Requests end well, but its list says that it is not over.
        let listed = incidents.view(at(71)).maintenance.unwrap();
        assert_eq!(
            (listed.since, listed.lasted),
            (at(5).wall, Duration::from_secs(66))
        );
        assert!(incidents.is_maintained(at(71)) && !incidents.is_maintained(at(101)));
        assert_eq!(incidents.view(at(101)).maintenance, None);
        assert_eq!(incidents.maintained(at(101)), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(1000)).len(), TEXT_MAX);
        assert_eq!(cut(&format!("x{}", "ä".repeat(1000))).len(), TEXT_MAX - 1);
    }
}
