//! What is measured about providers and shards, and the plain structs in which it is told.
//!
//! Meters are shared and cheap: the data path writes counters that have one writer each, everything
//! else happens at the pace of requests and connections and may take a lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::time::TsNanos;
use parking_lot::Mutex;

use crate::incidents::{IncidentView, Incidents, Moment};

/// How well a provider works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProviderState {
    /// All that is wanted flows.
    Operational,
    /// Part of it: a connection is down, or more than a twentieth of the attempts of the last five
    /// minutes failed.
    Degraded,
    /// The exchange says that it is being maintained.
    Maintenance,
    /// Nothing flows and nothing is answered.
    Unavailable,
    /// Switched off in the configuration.
    Disabled,
}

impl ProviderState {
    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operational => "operational",
            Self::Degraded => "degraded",
            Self::Maintenance => "maintenance",
            Self::Unavailable => "unavailable",
            Self::Disabled => "disabled",
        }
    }
}

/// Use of one REST budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightUse {
    /// Of which product line.
    pub market: Market,
    /// Which of the host's budgets.
    pub budget: &'static str,
    /// Weight used in the running window, as the exchange counts it.
    pub used: u32,
    /// Weight allowed in a window.
    pub limit: u32,
}

/// A provider as `GET /api/crypto/providers/status` shows it. All of it is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderStatus {
    /// Which.
    pub provider: ProviderId,
    /// In one word.
    pub state: ProviderState,
    /// Why it is not operational, lower case; `None` when it is.
    pub reason: Option<String>,
    /// Round trip of the last successful request, milliseconds.
    pub api_latency_ms: Option<f64>,
    /// At least one stream connection is up and none that is wanted is down.
    pub websocket_connected: bool,
    /// Stream connections that are up.
    pub connections_up: u64,
    /// Stream connections that are wanted.
    pub connections_wanted: u64,
    /// When the last market data came, wall clock.
    pub last_data: Option<TsNanos>,
    /// Failed requests and connection attempts of the last hour as a fraction of all.
    pub error_rate_1h: f64,
    /// Percent of the last 24 h (or since the start) in which the provider was usable: streams up
    /// where any are wanted, else the last request answered.
    pub uptime_24h: f64,
    /// Connections that were lost and had to be opened again, since the start.
    pub reconnects: u64,
    /// The same in the last 24 h.
    pub reconnects_24h: u64,
    /// REST budgets.
    pub weight: Vec<WeightUse>,
    /// The exchange's clock minus ours, milliseconds; `None`: not measured yet.
    pub clock_offset_ms: Option<f64>,
    /// Instruments known.
    pub instruments: usize,
    /// Venues whose instruments are known, of a provider that speaks for many.
    pub venues: Vec<String>,
    /// What is not well now, and what was.
    pub incidents: IncidentView,
}

impl ProviderStatus {
    /// Of a provider that is switched off: nothing has been measured.
    #[must_use]
    pub fn disabled(provider: ProviderId) -> Self {
        Self {
            state: ProviderState::Disabled,
            reason: Some("switched off in the configuration".to_owned()),
            uptime_24h: 0.0,
            ..ProviderMeter::new(provider).status(Duration::ZERO)
        }
    }
}

/// One minute's counts in a [`Rolling`].
#[derive(Clone, Copy, Debug, Default)]
struct Minute {
    number: u64,
    good: u64,
    bad: u64,
}

/// Counts of the last `minutes` minutes.
#[derive(Debug)]
pub struct Rolling {
    minutes: u64,
    rows: VecDeque<Minute>,
}

impl Rolling {
    /// A window of `minutes`.
    #[must_use]
    pub fn new(minutes: u64) -> Self {
        Self {
            minutes,
            rows: VecDeque::new(),
        }
    }

    fn row(&mut self, now: Duration) -> &mut Minute {
        let number = now.as_secs() / 60;
        self.forget(number);
        if self.rows.back().is_none_or(|row| row.number != number) {
            self.rows.push_back(Minute {
                number,
                ..Minute::default()
            });
        }
        let last = self.rows.len() - 1;
        &mut self.rows[last]
    }

    fn forget(&mut self, number: u64) {
        while self
            .rows
            .front()
            .is_some_and(|row| row.number + self.minutes <= number)
        {
            self.rows.pop_front();
        }
    }

    /// Counts at `now` (monotonic).
    pub fn add(&mut self, now: Duration, good: u64, bad: u64) {
        let row = self.row(now);
        row.good += good;
        row.bad += bad;
    }

    /// Good and bad counts of the window.
    pub fn sums(&mut self, now: Duration) -> (u64, u64) {
        self.forget(now.as_secs() / 60);
        self.rows
            .iter()
            .fold((0, 0), |(good, bad), row| (good + row.good, bad + row.bad))
    }
}

/// A reading of an exchange's clock is replaced by a worse one after so long: clocks drift apart by some ten
/// microseconds a second at most, so that by then it may be 20 ms off.
const CLOCK_KEPT: Duration = Duration::from_secs(1_800);

/// A reading of an exchange's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// Its clock minus ours, microseconds.
    pub offset_us: i64,
    /// What that may be off by: half of the round trip, microseconds.
    pub error_us: i64,
    /// When it was taken, by our monotonic clock.
    pub at: Duration,
}

/// Measures one provider; shared by its connections, requests and whoever asks for its status.
#[derive(Debug)]
pub struct ProviderMeter {
    /// Which.
    pub provider: ProviderId,
    /// What is not well, and what was.
    pub incidents: Incidents,
    wanted: AtomicU64,
    up: AtomicU64,
    reconnects: AtomicU64,
    last_data: AtomicI64,
    latency_us: AtomicU64,
    clock_offset_us: AtomicI64,
    /// What that was read from.
    clock: Mutex<Option<ClockReading>>,
    last_request_ok: AtomicBool,
    attempts: Mutex<Rolling>,
    recent: Mutex<Rolling>,
    uptime: Mutex<Rolling>,
    reconnects_24h: Mutex<Rolling>,
    trouble: Mutex<Option<String>>,
}

impl ProviderMeter {
    /// A meter that has measured nothing.
    #[must_use]
    pub fn new(provider: ProviderId) -> Self {
        Self {
            provider,
            incidents: Incidents::default(),
            wanted: AtomicU64::new(0),
            up: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            last_data: AtomicI64::new(0),
            latency_us: AtomicU64::new(0),
            clock_offset_us: AtomicI64::new(0),
            clock: Mutex::new(None),
            last_request_ok: AtomicBool::new(false),
            attempts: Mutex::new(Rolling::new(60)),
            recent: Mutex::new(Rolling::new(5)),
            uptime: Mutex::new(Rolling::new(24 * 60)),
            reconnects_24h: Mutex::new(Rolling::new(24 * 60)),
            trouble: Mutex::new(None),
        }
    }

    /// A connection is wanted (or no longer). Returns nothing: the count is told in the status.
    pub fn connection_wanted(&self, is_wanted: bool) {
        count(&self.wanted, is_wanted);
    }

    /// A connection came up or went down. True when none that is wanted is down now.
    pub fn connection_up(&self, is_up: bool) -> bool {
        count(&self.up, is_up);
        if is_up {
            *self.trouble.lock() = None;
        }
        self.all_up()
    }

    /// True when no connection that is wanted is down.
    #[must_use]
    pub fn all_up(&self) -> bool {
        self.up.load(Ordering::Relaxed) >= self.wanted.load(Ordering::Relaxed)
    }

    /// A connection was lost and has to be opened again.
    pub fn reconnect(&self, now: Duration, reason: &str) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
        self.reconnects_24h.lock().add(now, 1, 0);
        *self.trouble.lock() = Some(reason.to_owned());
    }

    /// A connection attempt ended.
    pub fn attempt(&self, now: Duration, is_ok: bool) {
        for window in [&self.attempts, &self.recent] {
            window.lock().add(now, u64::from(is_ok), u64::from(!is_ok));
        }
    }

    /// A request ended well after `took`.
    pub fn request_ok(&self, now: Moment, took: Duration) {
        self.latency_us.store(
            u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            Ordering::Relaxed,
        );
        self.last_request_ok.store(true, Ordering::Relaxed);
        // Its list may be readable all the time.
        if self.is_maintenance() && self.incidents.listed(now).is_none() {
            self.incidents.maintained(now);
        }
        self.attempt(now.monotonic, true);
    }

    /// A request failed for a reason on the exchange's side.
    pub fn request_failed(&self, now: Moment, reason: &str, is_maintenance: bool) {
        self.last_request_ok.store(false, Ordering::Relaxed);
        // Another failure does not end it: gateways in front of an exchange answer differently.
        if is_maintenance {
            self.maintained(now, reason);
        }
        *self.trouble.lock() = Some(reason.to_owned());
        self.attempt(now.monotonic, false);
    }

    /// The exchange says that it is being maintained. It is over with the next request that ends
    /// well, unless its list says that it is not.
    pub fn maintained(&self, now: Moment, reason: &str) {
        self.incidents.maintain(reason, now);
    }

    /// Whether the way to the provider is there at all (its bridge's process): the reason why not.
    pub fn reached(&self, trouble: Option<&str>) {
        self.last_request_ok
            .store(trouble.is_none(), Ordering::Relaxed);
        *self.trouble.lock() = trouble.map(str::to_owned);
    }

    /// Market data came. One writer at a time is enough; the newest wins.
    pub fn data(&self, ts_recv: TsNanos) {
        self.last_data.store(ts_recv.0, Ordering::Relaxed);
    }

    /// The exchange's clock was read. An answer that took long says little: it replaces a better one only when
    /// both can't be right, which means that a clock was set, or when the better one is old.
    pub fn clock(&self, reading: ClockReading) {
        let mut known = self.clock.lock();
        let is_believed = known.is_none_or(|known| {
            let both = known.error_us.saturating_add(reading.error_us);
            reading.error_us <= known.error_us
                || reading.at.saturating_sub(known.at) >= CLOCK_KEPT
                || reading.offset_us.abs_diff(known.offset_us) > both.unsigned_abs()
        });
        if is_believed {
            *known = Some(reading);
            self.clock_offset_us
                .store(reading.offset_us, Ordering::Relaxed);
        }
    }

    /// The exchange's clock minus ours, microseconds; 0 until it was measured.
    #[must_use]
    pub fn clock_offset_us(&self) -> i64 {
        self.clock_offset_us.load(Ordering::Relaxed)
    }

    /// The exchange says that it is being maintained.
    #[must_use]
    pub fn is_maintenance(&self) -> bool {
        self.incidents.is_told()
    }

    fn is_usable(&self) -> bool {
        match self.wanted.load(Ordering::Relaxed) {
            0 => self.last_request_ok.load(Ordering::Relaxed),
            _ => self.up.load(Ordering::Relaxed) > 0,
        }
    }

    /// Takes a sample for the uptime; called at a steady pace.
    pub fn sample(&self, now: Duration) {
        let usable = self.is_usable();
        self.uptime
            .lock()
            .add(now, u64::from(usable), u64::from(!usable));
    }

    /// The status without what the meter does not know (budgets, instruments) and without incidents.
    pub fn status(&self, now: Duration) -> ProviderStatus {
        self.status_in(now, self.is_maintenance())
    }

    /// [`Self::status`] with the incidents seen with it: both tell of the same maintenance. One that is
    /// only listed is the provider's state where it is not whole: lists tell of parts, too.
    pub fn status_with(&self, now: Duration, incidents: IncidentView) -> ProviderStatus {
        let maintenance = incidents.maintenance.as_ref();
        let status = self.status_in(now, maintenance.is_some_and(|one| !one.is_listed));
        let mut status = match status.state {
            ProviderState::Degraded | ProviderState::Unavailable if maintenance.is_some() => {
                self.status_in(now, true)
            }
            _ => status,
        };
        status.incidents = incidents;
        status
    }

    fn status_in(&self, now: Duration, is_maintenance: bool) -> ProviderStatus {
        let (wanted, up) = (
            self.wanted.load(Ordering::Relaxed),
            self.up.load(Ordering::Relaxed),
        );
        let (good, bad) = self.attempts.lock().sums(now);
        let error_rate = fraction(bad, good + bad, 0.0);
        let (good, bad) = self.recent.lock().sums(now);
        let recent_errors = fraction(bad, good + bad, 0.0);
        let (usable, not) = self.uptime.lock().sums(now);
        let state = if is_maintenance {
            ProviderState::Maintenance
        } else if !self.is_usable() {
            ProviderState::Unavailable
        } else if up < wanted || recent_errors > 0.05 {
            ProviderState::Degraded
        } else {
            ProviderState::Operational
        };
        let latency = self.latency_us.load(Ordering::Relaxed);
        let last_data = self.last_data.load(Ordering::Relaxed);
        let mut trouble = self.trouble.lock().clone();
        if let (ProviderState::Maintenance, None) = (state, &trouble) {
            trouble = Some("the exchange says that it is being maintained".to_owned());
        }
        if state == ProviderState::Degraded && up >= wanted {
            let percent = recent_errors * 100.0;
            trouble = Some(format!(
                "{percent:.0} % of the attempts of the last five minutes failed"
            ));
        }
        ProviderStatus {
            provider: self.provider,
            state,
            reason: trouble.filter(|_| state != ProviderState::Operational),
            api_latency_ms: (latency > 0).then(|| latency as f64 / 1000.0),
            websocket_connected: up > 0 && up >= wanted,
            connections_up: up,
            connections_wanted: wanted,
            last_data: (last_data != 0).then_some(TsNanos(last_data)),
            error_rate_1h: error_rate,
            uptime_24h: 100.0 * fraction(usable, usable + not, f64::from(self.is_usable())),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            reconnects_24h: self.reconnects_24h.lock().sums(now).0,
            weight: Vec::new(),
            clock_offset_ms: self
                .clock
                .lock()
                .map(|reading| reading.offset_us as f64 / 1000.0),
            instruments: 0,
            venues: Vec::new(),
            incidents: IncidentView::default(),
        }
    }
}

fn count(counter: &AtomicU64, up: bool) {
    if up {
        counter.fetch_add(1, Ordering::Relaxed);
    } else {
        // A connection never goes down twice; saturating keeps a mistake from wrapping round.
        let _ = counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    }
}

/// `part / whole`, `empty` when there is nothing yet.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn fraction(part: u64, whole: u64, empty: f64) -> f64 {
    match whole {
        0 => empty,
        _ => part as f64 / whole as f64,
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counters of one shard. Each is written by that shard's thread only.
        #[derive(Debug, Default)]
        pub struct ShardCounters { $($(#[$doc])* pub $name: Counter,)+ }

        /// [`ShardCounters`] at one moment, or the sum of several shards'.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CounterValues { $($(#[$doc])* pub $name: u64,)+ }

        impl ShardCounters {
            /// What they are now.
            #[must_use]
            pub fn values(&self) -> CounterValues {
                CounterValues { $($name: self.$name.get(),)+ }
            }
        }

        impl CounterValues {
            /// Adds another shard's.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)+
            }

            /// Names and values, in the order of their declaration.
            #[must_use]
            pub fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counters! {
    /// Frames read from stream connections.
    frames,
    /// Their bytes.
    bytes,
    /// Frames that could not be read.
    malformed,
    /// Well-formed messages that were left out: unknown symbols and kinds.
    skipped,
    /// Changes of books applied.
    book_deltas,
    /// Levels in them.
    book_levels,
    /// Book snapshots fetched and joined.
    book_snapshots,
    /// Times a trusted book was lost.
    book_desyncs,
    /// Best prices compared with the book at the same sequence number.
    bbo_checks,
    /// Of these, how many differed.
    bbo_mismatches,
    /// Trades.
    trades,
    /// Trades that had been seen before.
    trades_repeated,
    /// Trade ids that were skipped by the stream.
    trades_missed,
    /// Trades that came after the bar built of them had been closed, which lacks them.
    trades_late,
    /// Bars, forming and closed.
    klines,
    /// Bars that ended without their closing message.
    klines_missed,
    /// Times that a bar was stored and the one before it had not been.
    kline_gaps,
    /// Best bid and ask updates.
    tickers,
    /// Funding updates.
    fundings,
    /// Publications put on lanes.
    published,
    /// Publications lost because a lane was full.
    publications_lost,
    /// Streams subscribed again because they were silent.
    stale_streams,
    /// Subscribe requests that failed or were not acknowledged.
    subscribe_failures,
    /// Rows handed to the recorder.
    rows,
    /// Rows lost because the recorder was too far behind.
    rows_lost,
    /// Actors that panicked or stopped by themselves and were started again.
    actor_restarts,
}

/// A counter with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread calls it, so no locked instruction is needed.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level with one writer and any number of readers.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Sets it; only the owning thread calls this and those that follow.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// More by `part`.
    #[inline]
    pub fn add(&self, part: u64) {
        self.set(self.get() + part);
    }

    /// Less by `part`; never below none.
    #[inline]
    pub fn sub(&self, part: u64) {
        self.set(self.get().saturating_sub(part));
    }

    /// One more.
    pub fn up(&self) {
        self.set(self.get() + 1);
    }

    /// One less; never below none.
    pub fn down(&self) {
        self.set(self.get().saturating_sub(1));
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bookwire_engine::exchange::MaintenanceWindow;

    const MINUTE: Duration = Duration::from_secs(60);
    const START: Moment = Moment {
        wall: TsNanos(1_700_000_000_000_000_000),
        monotonic: Duration::ZERO,
    };

    #[test]
    fn rolling_counts_forget() {
        let mut rolling = Rolling::new(60);
        rolling.add(Duration::ZERO, 1, 2);
        rolling.add(MINUTE * 59, 3, 0);
        assert_eq!(rolling.sums(MINUTE * 59), (4, 2));
        assert_eq!(rolling.sums(MINUTE * 60), (3, 0));
        assert_eq!(rolling.sums(MINUTE * 500), (0, 0));
    }

    #[test]
    fn state_follows_what_is_measured() {
        let meter = ProviderMeter::new(ProviderId::BINANCE);
        let state = |at| meter.status(at).state;
        assert_eq!(state(Duration::ZERO), ProviderState::Unavailable);
        meter.request_ok(START, Duration::from_millis(12));
        assert_eq!(state(Duration::ZERO), ProviderState::Operational);
        meter.connection_wanted(true);
        meter.connection_wanted(true);
        assert_eq!(state(Duration::ZERO), ProviderState::Unavailable);
        assert!(!meter.connection_up(true));
        assert_eq!(state(Duration::ZERO), ProviderState::Degraded);
        assert!(meter.connection_up(true));
        let status = meter.status(Duration::ZERO);
        assert_eq!(status.state, ProviderState::Operational);
        assert!(status.websocket_connected && status.reason.is_none());
        assert!((status.api_latency_ms.unwrap_or_default() - 12.0).abs() < 1e-9);
        meter.connection_up(false);
        meter.reconnect(Duration::ZERO, "connection reset");
        assert_eq!(
            meter.status(Duration::ZERO).reason.as_deref(),
            Some("connection reset")
        );
        meter.request_failed(START, "system maintenance", true);
        assert_eq!(state(Duration::ZERO), ProviderState::Maintenance);
        let told = meter.incidents.view(START).maintenance.unwrap();
        assert_eq!(
            (told.since, told.text.as_str()),
            (START.wall, "system maintenance")
        );
        assert!((meter.status(Duration::ZERO).error_rate_1h - 0.5).abs() < 1e-9);
        assert!(meter.status(MINUTE * 61).error_rate_1h.abs() < 1e-9);
        let view = meter.incidents.view(START);
        let seen = meter.status_with(Duration::ZERO, view);
        assert_eq!(seen.state, ProviderState::Maintenance);
        assert!(seen.incidents.maintenance.is_some(), "told together");
        // What was seen before it was told is told of nothing.
        let before = meter.status_with(Duration::ZERO, IncidentView::default());
        assert_eq!(before.state, ProviderState::Degraded);
        assert_eq!(before.incidents.maintenance, None);
        meter.request_failed(START, "bad gateway", false);
        assert_eq!(state(Duration::ZERO), ProviderState::Maintenance, "still");
        meter.request_ok(START, Duration::from_millis(9));
        assert_ne!(state(Duration::ZERO), ProviderState::Maintenance);
        assert_eq!(meter.incidents.view(START).maintenance, None);
        meter.maintained(START, "announced");
        let window = MaintenanceWindow {
            begin: Some(START.wall),
            end: None,
            text: "upgrade".to_owned(),
        };
        meter.incidents.announce(Market::Spot, vec![window]);
        meter.request_ok(START, Duration::from_millis(9));
        assert_eq!(state(Duration::ZERO), ProviderState::Maintenance, "listed");
        meter.incidents.announce(Market::Spot, Vec::new());
        meter.request_ok(START, Duration::from_millis(9));
        assert_ne!(state(Duration::ZERO), ProviderState::Maintenance);
        let off = ProviderStatus::disabled(ProviderId::BINANCE);
        assert_eq!(off.state, ProviderState::Disabled);
        assert!(off.reason.is_some() && !off.websocket_connected);
    }

    #[test]
    fn uptime_is_a_share_of_samples() {
        let meter = ProviderMeter::new(ProviderId::BINANCE);
        meter.sample(Duration::ZERO);
        meter.request_ok(START, Duration::from_millis(1));
        for _ in 0..3 {
            meter.sample(MINUTE);
        }
        assert!((meter.status(MINUTE).uptime_24h - 75.0).abs() < 1e-9);
    }

    /// One good and one bad of everything each minute, for two days; then none.
    #[test]
    fn each_window_is_as_long_as_its_name_says() {
        let meter = ProviderMeter::new(ProviderId::BINANCE);
        meter.request_ok(START, Duration::from_millis(1));
        let minutes = 2 * 24 * 60;
        for minute in 0..minutes {
            let now = MINUTE * minute;
            meter.reconnect(now, "reset");
            // The first day all fails, the second half of it.
            meter.attempt(now, false);
            meter.attempt(now, minute >= minutes / 2);
            meter.sample(now);
        }
        let end = MINUTE * (minutes - 1);
        let status = meter.status(end);
        assert_eq!((status.reconnects_24h, status.reconnects), (1_440, 2_880));
        assert!((status.error_rate_1h - 0.5).abs() < 1e-9, "{status:?}");
        assert!((status.uptime_24h - 100.0).abs() < 1e-9);
        let half = meter.status(end + MINUTE * 720);
        assert_eq!(half.reconnects_24h, 720);
        assert!(half.error_rate_1h.abs() < 1e-9, "an hour without any");
        let after = meter.status(end + MINUTE * 1_440);
        assert_eq!((after.reconnects_24h, after.reconnects), (0, 2_880));
        // What was down for the whole of the last day was not up, whatever was before.
        meter.request_failed(START, "down", false);
        for minute in minutes..minutes + 1_440 {
            meter.sample(MINUTE * minute);
        }
        let down = meter.status(MINUTE * (minutes + 1_439));
        assert!(down.uptime_24h.abs() < 1e-9, "{down:?}");
    }

    #[test]
    fn a_slow_answer_does_not_move_a_clock_that_is_known_better() {
        let meter = ProviderMeter::new(ProviderId::BYBIT);
        let read = |offset_ms: i64, error_ms: i64, at_secs: u64| {
            meter.clock(ClockReading {
                offset_us: offset_ms * 1_000,
                error_us: error_ms * 1_000,
                at: Duration::from_secs(at_secs),
            });
            meter.clock_offset_us() / 1_000
        };
        assert_eq!(read(-900, 1_000, 0), -900, "the first is all there is");
        assert_eq!(read(10, 20, 1), 10, "a better one");
        assert_eq!(read(2_250, 2_260, 2), 10, "one that says little");
        assert_eq!(read(12, 10, 3), 12, "a better one");
        assert_eq!(read(500, 30, 4), 500, "a clock was set");
        assert_eq!(read(490, 40, 5), 500, "not worse than what is there");
        assert_eq!(read(490, 40, 4 + 1_800), 490, "clocks drift");
    }
}
