//! History that is fetched without being asked for by a query: of the configured symbols the last
//! days, and what the operator orders.
//!
//! One task for each provider goes through its series, page by page: one request at a time, at the
//! lowest priority within the rate budget, so that books, queries and orders go first. Each page is
//! stored with its promise of completeness, which is what a stopped backfill goes on from: what is
//! covered is not fetched again. An exchange that is away is tried until it is back.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{PageRequest, ProviderId};
use bookwire_engine::instrument::{Instrument, Market, Scope};
use bookwire_engine::store::{Series, Span};
use bookwire_engine::time::{Level, TsNanos};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::connection::backoff::Backoff;
use crate::gateway::{Gateway, Inner as Engine};
use crate::options::ProviderOptions;

/// Streams and books come first at the start.
const BEGIN_AFTER: Duration = Duration::from_secs(3);
/// How often configured symbols are looked for that are not listed yet.
const LOOK: Duration = Duration::from_secs(5);
/// Pauses between attempts while a provider does not answer.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Attempts in a row of a series that fails for another reason than an absence.
const TRIES: u32 = 3;
/// Series that are listed; finished ones give way.
const JOBS_MAX: usize = 4096;
/// Length of a day, nanoseconds.
const DAY_NANOS: i64 = 86_400_000_000_000;

/// What is fetched at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackfillOptions {
    /// Days back; 0: nothing.
    pub days: u32,
    /// Trades of a symbol, counted from the newest.
    pub trades_max: usize,
}

/// How far a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackfillState {
    /// Its turn has not come.
    Waiting,
    /// It is being fetched.
    Running,
    /// Its last page failed and is tried again.
    Retrying,
    /// All of it that can be had is stored.
    Done,
    /// It was given up.
    Failed,
}

impl BackfillState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Running,
        Self::Retrying,
        Self::Done,
        Self::Failed,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Nothing more will happen.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// A series that is being fetched, or was.
#[derive(Clone, Debug)]
pub struct BackfillJob {
    /// Number by which it is named.
    pub id: u64,
    /// Whose.
    pub instrument: Arc<Instrument>,
    /// What.
    pub series: Series,
    /// From when to when. Of trades the start is known once the newest have been counted.
    pub span: Span,
    /// How far.
    pub state: BackfillState,
    /// Part of the span that needs no more requests, 0 to 1.
    pub done: f64,
    /// Rows that were fetched.
    pub rows: u64,
    /// Why the last page failed.
    pub error: Option<CryptoError>,
    /// How long it will go on, by the pace so far.
    pub eta: Option<Duration>,
    /// Ordered by the operator, not by the configuration.
    pub is_ordered: bool,
    /// What is stored is fetched again: the exchange may have corrected it.
    is_anew: bool,
    /// Most trades, counted from the newest; `None`: all of the span.
    trades_max: Option<usize>,
    /// Where the next page begins.
    at: TsNanos,
    hint: Option<(TsNanos, u64)>,
    /// When it began (monotonic), and what was done then.
    began: Option<(Duration, f64)>,
    failures: u32,
    backoff: Option<Backoff>,
    not_before: Duration,
}

/// An order of the operator.
#[derive(Clone, Debug)]
pub struct BackfillOrder {
    /// Whose.
    pub instrument: Arc<Instrument>,
    /// What.
    pub series: Series,
    /// From when to when.
    pub span: Span,
    /// What is stored is fetched again.
    pub is_anew: bool,
}

/// All series together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackfillSummary {
    /// Series that are listed.
    pub series: usize,
    /// Of these, done or given up.
    pub over: usize,
    /// Of these, given up.
    pub failed: usize,
    /// Of these, with a page that failed last.
    pub retrying: usize,
    /// The mean of what is done, 0 to 1; 1 without series.
    pub done: f64,
    /// Rows that were fetched.
    pub rows: u64,
    /// The longest of the times that providers will go on, where it is known.
    pub eta: Option<Duration>,
    /// All configured symbols are known, so no series will be added by themselves.
    pub is_planned: bool,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<u64, BackfillJob>,
    next: u64,
    /// Rows that were fetched, those of series that are no longer listed too.
    rows: u64,
    /// Providers whose configured symbols have not all been found.
    planning: usize,
}

/// What is fetched, and how far that is. Clones are the same.
#[derive(Clone, Default)]
pub struct Backfill(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    news: Notify,
}

impl Backfill {
    /// All series, in the order in which they came.
    #[must_use]
    pub fn jobs(&self) -> Vec<BackfillJob> {
        self.0.state.lock().jobs.values().cloned().collect()
    }

    /// All series together.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a few thousand series")]
    pub fn summary(&self) -> BackfillSummary {
        let state = self.0.state.lock();
        let mut sum = BackfillSummary {
            series: state.jobs.len(),
            rows: state.rows,
            is_planned: state.planning == 0,
            ..BackfillSummary::default()
        };
        let mut by_provider: BTreeMap<ProviderId, Option<Duration>> = BTreeMap::new();
        for job in state.jobs.values() {
            sum.over += usize::from(job.state.is_over());
            sum.failed += usize::from(job.state == BackfillState::Failed);
            sum.retrying += usize::from(job.state == BackfillState::Retrying);
            sum.done += job.done;
            if !job.state.is_over() {
                // Series of a provider go one after the other: one that has not begun makes the
                // end of all of them unknown.
                let eta = by_provider
                    .entry(job.instrument.spec.provider)
                    .or_insert(Some(Duration::ZERO));
                *eta = eta.zip(job.eta).map(|(sum, own)| sum + own);
            }
        }
        sum.done = match sum.series {
            0 => 1.0,
            series => sum.done / series as f64,
        };
        let is_known = by_provider.values().all(Option::is_some);
        sum.eta = by_provider
            .into_values()
            .flatten()
            .max()
            .filter(|_| is_known);
        sum
    }

    /// Lists a series. `None` when too many are under way.
    fn add(&self, job: BackfillJob) -> Option<BackfillJob> {
        let mut state = self.0.state.lock();
        if state.jobs.len() >= JOBS_MAX {
            let mut jobs = state.jobs.values();
            let over = jobs.find(|job| job.state.is_over())?.id;
            state.jobs.remove(&over);
        }
        state.next += 1;
        let job = BackfillJob {
            id: state.next,
            ..job
        };
        state.jobs.insert(job.id, job.clone());
        drop(state);
        self.0.news.notify_waiters();
        Some(job)
    }

    /// Takes over the rest of something that could not be fetched, to try until it can.
    pub(crate) fn go_on(&self, instrument: Arc<Instrument>, series: Series, span: Span) {
        let symbol = instrument.entity_id();
        if self
            .add(BackfillJob::new(instrument, series, span))
            .is_none()
        {
            tracing::error!(%symbol, ?series, "too many series: history not fetched");
        }
    }

    /// The provider's next series whose time has come, or when that is.
    fn next(&self, provider: ProviderId, now: Duration) -> Result<BackfillJob, Option<Duration>> {
        let mut state = self.0.state.lock();
        let own = |job: &&mut BackfillJob| {
            job.instrument.spec.provider == provider && !job.state.is_over()
        };
        let mut soonest = None::<Duration>;
        // Bars of all symbols before trades of any: they are few, and asked for most.
        let rank = |job: &BackfillJob| match job.series {
            Series::Klines(_) => 0,
            Series::Funding => 1,
            Series::Trades => 2,
        };
        let mut due: Vec<&mut BackfillJob> = Vec::new();
        for job in state.jobs.values_mut().filter(own) {
            match job.not_before.checked_sub(now) {
                Some(wait) if !wait.is_zero() => {
                    soonest = Some(soonest.map_or(wait, |known| known.min(wait)));
                }
                _ => due.push(job),
            }
        }
        let first = due.into_iter().min_by_key(|job| (rank(job), job.id));
        match first {
            Some(job) => {
                job.state = BackfillState::Running;
                Ok(job.clone())
            }
            None => Err(soonest),
        }
    }

    /// Writes back how far a series is.
    fn update(&self, job: BackfillJob) {
        let mut state = self.0.state.lock();
        let Some(known) = state.jobs.get_mut(&job.id) else {
            return;
        };
        let more = job.rows.saturating_sub(known.rows);
        *known = job;
        state.rows += more;
    }
}

impl BackfillJob {
    fn new(instrument: Arc<Instrument>, series: Series, span: Span) -> Self {
        Self {
            id: 0,
            instrument,
            series,
            span,
            state: BackfillState::Waiting,
            done: 0.0,
            rows: 0,
            error: None,
            eta: None,
            is_ordered: false,
            is_anew: false,
            trades_max: None,
            at: span.start,
            hint: None,
            began: None,
            failures: 0,
            backoff: None,
            not_before: Duration::ZERO,
        }
    }

    /// Fetches the next page. True when nothing is left.
    async fn advance(&mut self, gateway: &Gateway) -> Result<bool, CryptoError> {
        let history = &gateway.0.history;
        if let Some(count) = self.trades_max.take() {
            let found = history
                .latest_trades(&self.instrument, self.span, count)
                .await;
            match found {
                Ok((start, hint)) => {
                    self.span.start = start;
                    (self.at, self.hint) = (start, hint);
                }
                Err(error) => {
                    self.trades_max = Some(count);
                    return Err(error);
                }
            }
        }
        let span = Span {
            start: self.at,
            ..self.span
        };
        let (series, hint) = (self.series, self.hint);
        let step = history.step(gateway, &self.instrument, series, span, hint, self.is_anew);
        let now = gateway.0.clock.monotonic();
        let Some(step) = step.await? else {
            return Ok(true);
        };
        if self.began.is_none() {
            let holes = step.holes as u64;
            gateway.0.gaps_found.fetch_add(holes, Ordering::Relaxed);
            self.began = Some((now, self.share(step.missing)));
        }
        self.rows += step.rows as u64;
        (self.at, self.hint) = (step.reached, step.hint);
        let gained = step.reached.0.saturating_sub(span.start.0);
        let left = match self.is_anew {
            true => self.span.end.0.saturating_sub(step.reached.0),
            // The page began at the first gap, which may lie further on.
            false => step.missing.saturating_sub(gained.min(step.missing)),
        };
        self.done = self.share(left).max(self.done);
        self.eta = self.left(gateway.0.clock.monotonic());
        Ok(self.at >= self.span.end)
    }

    /// What is done when so many nanoseconds are missing.
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    fn share(&self, missing: i64) -> f64 {
        let total = self.span.end.0.saturating_sub(self.span.start.0).max(1);
        (1.0 - missing as f64 / total as f64).clamp(0.0, 1.0)
    }

    /// How long it will go on by its pace since it began.
    fn left(&self, now: Duration) -> Option<Duration> {
        let (began, from) = self.began?;
        let gained = self.done - from;
        let took = now.saturating_sub(began).as_secs_f64();
        let left = took * (1.0 - self.done) / gained;
        Duration::try_from_secs_f64(left).ok()
    }

    /// Takes over how a page went.
    fn judge(&mut self, result: Result<bool, CryptoError>, now: Duration) {
        match result {
            Ok(is_over) => {
                self.failures = 0;
                (self.error, self.backoff) = (None, None);
                if is_over {
                    self.state = BackfillState::Done;
                    (self.done, self.eta) = (1.0, None);
                }
            }
            Err(error) => {
                self.failures += 1;
                let is_absence = matches!(
                    error.code,
                    CryptoCode::ProviderUnavailable
                        | CryptoCode::ExchangeMaintenance
                        | CryptoCode::RateLimitExceeded
                        | CryptoCode::InternalError
                );
                let pause = self
                    .backoff
                    .get_or_insert_with(|| Backoff::new(RETRY.0, RETRY.1))
                    .fail();
                self.not_before = now + pause;
                self.eta = None;
                self.state = match is_absence || self.failures < TRIES {
                    true => BackfillState::Retrying,
                    false => BackfillState::Failed,
                };
                tracing::warn!(
                    symbol = %self.instrument.entity_id(), series = ?self.series,
                    state = self.state.as_str(), %error, "history not fetched"
                );
                self.error = Some(error);
            }
        }
    }
}

impl Gateway {
    /// What is being fetched without a query.
    #[must_use]
    pub fn backfill(&self) -> &Backfill {
        &self.0.backfill
    }

    /// Holes that were found in what was stored before.
    #[must_use]
    pub fn gaps_found(&self) -> u64 {
        self.0.gaps_found.load(Ordering::Relaxed)
    }

    /// Has a series fetched.
    ///
    /// # Errors
    /// `CRYPTO_PROVIDER_UNAVAILABLE` for a provider that is switched off, `CRYPTO_UNSUPPORTED`
    /// without a store or where the exchange has no such history, `CRYPTO_INVALID_PARAMETER` for a
    /// span of which nothing is over, `CRYPTO_RATE_LIMIT_EXCEEDED` when too many are under way.
    pub fn order_backfill(&self, order: BackfillOrder) -> Result<BackfillJob, CryptoError> {
        let BackfillOrder {
            instrument,
            series,
            mut span,
            is_anew,
        } = order;
        self.check_enabled(instrument.spec.provider)?;
        if self.0.recorder.is_none() {
            let why = "no store is configured";
            return Err(CryptoError::new(CryptoCode::Unsupported, why));
        }
        if !has_history(&instrument, series) {
            let symbol = instrument.stream_symbol();
            let why = format!("the exchange has no such history of {symbol}");
            return Err(CryptoError::new(CryptoCode::Unsupported, why).with("symbol", symbol));
        }
        span.end = span.end.min(self.0.history.settled(series));
        if span.is_empty() {
            return Err(CryptoError::invalid_parameter(
                "end_timestamp",
                &span.end.to_rfc3339(),
                "an instant after start_timestamp; what is not over can't be fetched",
            ));
        }
        let mut job = BackfillJob::new(instrument, series, span);
        (job.is_ordered, job.is_anew) = (true, is_anew);
        self.0.backfill.add(job).ok_or_else(|| {
            CryptoError::new(
                CryptoCode::RateLimitExceeded,
                format!("{JOBS_MAX} series are being fetched already"),
            )
        })
    }
}

/// True when the exchange can be asked for a series of an instrument.
fn has_history(instrument: &Instrument, series: Series) -> bool {
    let exchange = instrument.spec.provider.exchange();
    let page = PageRequest {
        limit: 1,
        ..PageRequest::default()
    };
    match series {
        Series::Klines(level) => {
            bookwire_engine::exchange::levels::history_level(exchange, instrument, level).is_some()
        }
        Series::Trades => exchange.trade_request(instrument, page).is_some(),
        Series::Funding => exchange.funding_request(instrument, page).is_some(),
    }
}

/// Starts a task for each provider.
pub(crate) fn start(gateway: &Gateway) {
    if gateway.0.recorder.is_none() {
        return;
    }
    for provider in &gateway.0.options.providers {
        gateway.0.backfill.0.state.lock().planning += 1;
        let engine = Arc::downgrade(&gateway.0);
        gateway.spawn_control(run(engine, provider.id));
    }
}

/// The engine while it runs.
fn running(engine: &Weak<Engine>) -> Option<Gateway> {
    let gateway = Gateway(engine.upgrade()?);
    (!gateway.is_stopping()).then_some(gateway)
}

async fn run(engine: Weak<Engine>, provider: ProviderId) {
    let mut open = match running(&engine) {
        Some(gateway) => {
            let begin = gateway.0.clock.sleep(BEGIN_AFTER);
            let options = gateway.0.options.provider(provider);
            let open = options.map(|options| options.symbols.clone());
            drop(gateway);
            begin.await;
            open.unwrap_or_default()
        }
        None => return,
    };
    let mut is_planning = true;
    loop {
        let Some(gateway) = running(&engine) else {
            return;
        };
        if let Some(options) = gateway.0.options.provider(provider) {
            open.retain(|symbol| !plan(&gateway, options, symbol));
        }
        if is_planning && open.is_empty() {
            is_planning = false;
            gateway.0.backfill.0.state.lock().planning -= 1;
        }
        let now = gateway.0.clock.monotonic();
        let wait = match gateway.0.backfill.next(provider, now) {
            Ok(mut job) => {
                let result = job.advance(&gateway).await;
                job.judge(result, gateway.0.clock.monotonic());
                gateway.0.backfill.update(job);
                continue;
            }
            Err(wait) => wait,
        };
        let look = match is_planning {
            true => LOOK,
            // A stop is noticed with it.
            false => LOOK * 2,
        };
        let backfill = gateway.0.backfill.clone();
        let pause = gateway
            .0
            .clock
            .sleep(wait.map_or(look, |wait| wait.min(look)));
        drop(gateway);
        tokio::select! {
            () = pause => {}
            () = backfill.0.news.notified() => {}
        }
    }
}

/// Lists the series of a configured symbol. False while it is not known.
fn plan(gateway: &Gateway, options: &ProviderOptions, symbol: &str) -> bool {
    let backfill = gateway.0.options.backfill;
    if backfill.days == 0 {
        return true;
    }
    let scope = Scope {
        provider: Some(options.id),
        ..Scope::default()
    };
    let table = gateway.instruments();
    let Ok(instrument) = table.resolve(symbol, scope) else {
        return false;
    };
    let mut all = vec![Series::Klines(Level::M1)];
    if instrument.spec.market == Market::Perp {
        all.push(Series::Funding);
    }
    if backfill.trades_max > 0 {
        all.push(Series::Trades);
    }
    let reach = i64::from(backfill.days).saturating_mul(DAY_NANOS);
    for series in all.into_iter().filter(|one| has_history(instrument, *one)) {
        let end = gateway.0.history.settled(series);
        let start = TsNanos(end.0.saturating_sub(reach).max(0));
        let mut job = BackfillJob::new(instrument.clone(), series, Span { start, end });
        if series == Series::Trades {
            job.trades_max = Some(backfill.trades_max);
        }
        if gateway.0.backfill.add(job).is_none() {
            tracing::error!(symbol, "too many series: history not fetched");
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{row, table};

    fn job(series: Series) -> BackfillJob {
        let span = Span {
            start: TsNanos(0),
            end: TsNanos(1000),
        };
        BackfillJob::new(row(&table(Market::Perp), 0), series, span)
    }

    #[test]
    fn bars_go_first_and_failures_wait() {
        let backfill = Backfill::default();
        let second = Duration::from_secs(1);
        for series in [Series::Trades, Series::Klines(Level::M1), Series::Funding] {
            backfill.add(job(series)).unwrap();
        }
        let next = |now| backfill.next(ProviderId::BINANCE, now);
        let mut first = next(Duration::ZERO).unwrap();
        assert_eq!(first.series, Series::Klines(Level::M1));
        let away = || CryptoError::new(CryptoCode::ProviderUnavailable, "away");
        for _ in 0..10 {
            first.judge(Err(away()), second);
            assert_eq!(first.state, BackfillState::Retrying, "as long as it takes");
        }
        backfill.update(first.clone());
        let mut funding = next(second).unwrap();
        assert_eq!(funding.series, Series::Funding);
        funding.judge(Ok(true), second);
        backfill.update(funding);
        let mut trades = next(second).unwrap();
        let wrong = || CryptoError::new(CryptoCode::Unsupported, "no");
        trades.judge(Err(wrong()), second);
        trades.judge(Err(wrong()), second);
        trades.judge(Err(wrong()), second);
        assert_eq!(trades.state, BackfillState::Failed);
        backfill.update(trades);
        let wait = next(second).unwrap_err().unwrap();
        assert!(wait <= RETRY.1, "{wait:?}");
        assert_eq!(next(second + wait).unwrap().id, first.id);
        assert!(
            backfill
                .next(ProviderId::OKX, second)
                .unwrap_err()
                .is_none()
        );
        let sum = backfill.summary();
        assert_eq!((sum.series, sum.over, sum.failed), (3, 2, 1));
        assert_eq!(
            sum.eta, None,
            "nothing is known of a series that has not begun"
        );
    }

    #[test]
    fn the_list_is_bounded() {
        let backfill = Backfill::default();
        let first = backfill.add(job(Series::Funding)).unwrap();
        for _ in 1..JOBS_MAX {
            backfill.add(job(Series::Funding)).unwrap();
        }
        assert!(backfill.add(job(Series::Funding)).is_none());
        let mut over = first;
        over.judge(Ok(true), Duration::ZERO);
        backfill.update(over);
        assert!(backfill.add(job(Series::Funding)).is_some());
        assert_eq!(backfill.jobs().len(), JOBS_MAX);
    }

    #[test]
    fn the_rest_is_told_by_the_pace() {
        let mut job = job(Series::Trades);
        assert_eq!(job.left(Duration::from_secs(9)), None);
        job.began = Some((Duration::from_secs(10), 0.2));
        job.done = 0.4;
        let left = job.left(Duration::from_secs(12)).unwrap();
        assert!((left.as_secs_f64() - 6.0).abs() < 1e-6, "{left:?}");
        assert!((job.share(250) - 0.75).abs() < 1e-9);
    }
}
