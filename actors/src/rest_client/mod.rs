//! Requests to exchanges for public data: pooled connections, rate budgets, time-outs, and another
//! try for reads. Nothing here is fit to send an order.
//!
//! All requests run on one control runtime, whichever thread asks: a connection pool belongs to the
//! runtime that opened its sockets.

pub mod budget;
pub(crate) mod orders;
mod pause;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::event::BookSnapshot;
use bookwire_engine::exchange::{DecodeError, ProviderId, RestBudget, RestFailure, RestRequest};
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::time::TsNanos;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tracing::Instrument as _;

use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::endpoints::Endpoints;
use crate::incidents::Moment;
use crate::options::GatewayOptions;
use crate::status::{ClockReading, ProviderMeter, WeightUse};
use crate::tap::{RawMessage, RawSource, Tap};
use budget::{Budgets, Pause, Priority};

/// Longest time to reach the host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read; the largest real one, spot's instrument list, is below 20 MB.
const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Longest pause that a request sits through; a longer one is answered with an error.
const PAUSE_MAX: Duration = Duration::from_secs(65);
/// A wait that an operator wants to hear of, and how long he needs not hear of it again.
const WAIT_TOLD: Duration = Duration::from_secs(10);
const WAIT_TOLD_AGAIN_NANOS: i64 = 30_000_000_000;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RestError {
    /// The host could not be reached, or the connection broke.
    #[error("{host}: {reason}")]
    Transport {
        /// Host and port asked.
        host: String,
        /// What the transport says, all its causes.
        reason: String,
    },
    /// The exchange answered with an error.
    #[error("{}", .0.error)]
    Refused(Box<RestFailure>),
    /// The exchange has banned us, or the budget is used up, for longer than a request waits.
    #[error("rate budget of {host} is used up for {} s", wait.as_secs())]
    Budget {
        /// Whose budget.
        host: String,
        /// For how long.
        wait: Duration,
    },
    /// The answer could not be read.
    #[error("answer of {host}: {error}")]
    Decode {
        /// Who sent it.
        host: String,
        /// What is wrong with it.
        error: DecodeError,
    },
    /// The engine is being stopped.
    #[error("the engine is stopping")]
    Stopped,
}

impl RestError {
    /// Worth another try.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Budget { .. } | Self::Decode { .. } => true,
            Self::Refused(failure) => failure.is_retryable,
            Self::Stopped => false,
        }
    }

    /// The exchange says that it is being maintained.
    #[must_use]
    pub fn is_maintenance(&self) -> bool {
        matches!(self, Self::Refused(failure)
            if failure.error.code == CryptoCode::ExchangeMaintenance)
    }
}

impl From<RestError> for CryptoError {
    fn from(error: RestError) -> Self {
        let message = error.to_string();
        match error {
            RestError::Refused(failure) => failure.error,
            RestError::Budget { wait, .. } => Self::new(CryptoCode::RateLimitExceeded, message)
                .with("retry_after_seconds", wait.as_secs().max(1)),
            _ => Self::new(CryptoCode::ProviderUnavailable, message),
        }
    }
}

/// A budget and how the exchange tells what is left of it.
#[derive(Debug)]
struct HostBudget {
    terms: RestBudget,
    /// Shared by all markets that name the same host and budget.
    rate: Arc<Mutex<Budgets>>,
    /// The exchange wants nothing more that is charged here; shared likewise.
    pause: Arc<Mutex<Pause>>,
}

#[derive(Debug)]
struct Host {
    provider: ProviderId,
    market: Market,
    /// Where it lives.
    base: Base,
    timeout: Duration,
    /// Where the exchange itself says it lives: for recordings.
    official: String,
    budgets: Vec<HostBudget>,
    /// The exchange wants nothing more from this address; shared by all markets of the host.
    pause: Arc<Mutex<Pause>>,
    meter: Arc<ProviderMeter>,
    /// When a long wait was logged last.
    wait_told: Mutex<Option<TsNanos>>,
}

/// Where a host lives.
enum Base {
    /// Where [`Endpoints`] says: the exchange's name of the host, and its own address of it.
    At(&'static str, &'static str, Endpoints),
    /// Behind a child process that tells its address once it runs.
    Bridge(Bridge),
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(host, ..) => f.write_str(host),
            Self::Bridge(_) => f.write_str("bridge"),
        }
    }
}

impl Host {
    /// Says why nothing goes on, once for the many requests that wait side by side.
    /// History is meant to wait.
    fn tell_wait(&self, now: TsNanos, priority: Priority, wait: Duration) {
        if wait < WAIT_TOLD || priority == Priority::Backfill {
            return;
        }
        let mut told = self.wait_told.lock();
        let is_new = told.is_none_or(|at| now.0.saturating_sub(at.0) >= WAIT_TOLD_AGAIN_NANOS);
        if is_new {
            *told = Some(now);
            tracing::warn!(
                provider = self.provider.name(), market = %self.market,
                wait_ms = wait.as_millis(), "requests wait: what the exchange allows in this window is used up"
            );
        }
    }

    /// What it is called in errors: an address, or the bridge's name.
    fn name(&self) -> String {
        match &self.base {
            Base::At(host, default, endpoints) => endpoints.base(self.provider, host, default),
            Base::Bridge(_) => format!("{} bridge", self.provider.name()),
        }
    }

    /// The address to ask now.
    async fn address(&self) -> Result<String, RestError> {
        match &self.base {
            Base::At(..) => Ok(self.name()),
            Base::Bridge(bridge) => match bridge.ensure().await {
                Ok(running) => Ok(running.http.clone()),
                Err(error) => Err(RestError::Transport {
                    host: self.name(),
                    reason: error.to_string(),
                }),
            },
        }
    }

    fn budget(&self, request: &RestRequest) -> Option<&HostBudget> {
        self.budgets.get(request.budget)
    }
}

struct Inner {
    http: reqwest::Client,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    hosts: AHashMap<(ProviderId, Market), Arc<Host>>,
    bridges: AHashMap<ProviderId, Bridge>,
    endpoints: Endpoints,
    tap: Option<Tap>,
}

/// Sends requests. Clones share connections and budgets.
#[derive(Clone)]
pub struct RestClient(Arc<Inner>);

/// TLS as all our outgoing connections use it: ring, and the roots that Mozilla trusts, so that it
/// works the same in a container without a certificate store.
#[must_use]
pub fn tls_config() -> Arc<rustls::ClientConfig> {
    let roots = rustls::RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    // The provider's own default versions are always consistent with its suites.
    let builder = builder
        .with_safe_default_protocol_versions()
        .unwrap_or_else(|_| rustls::ClientConfig::builder());
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

impl RestClient {
    /// A client for the enabled providers whose requests run on `runtime`.
    ///
    /// # Errors
    /// When the HTTP client can't be built.
    pub fn new(
        options: &GatewayOptions,
        meters: &[Arc<ProviderMeter>],
        runtime: Handle,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured((*tls_config()).clone())
            .user_agent(concat!("bookwire/", env!("CARGO_PKG_VERSION")))
            .gzip(true)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        let endpoints = Endpoints::new(options);
        let mut bridges = AHashMap::new();
        let mut hosts = AHashMap::new();
        // By the exchange's own name of the host: that is whose limits they are, wherever it lives.
        type Rate = (Arc<Mutex<Budgets>>, Arc<Mutex<Pause>>);
        let mut shared: AHashMap<(&str, &str), Rate> = AHashMap::new();
        let mut pauses: AHashMap<&str, Arc<Mutex<Pause>>> = AHashMap::new();
        for provider in &options.providers {
            let Some(meter) = meters.iter().find(|meter| meter.provider == provider.id) else {
                continue;
            };
            let exchange = provider.exchange();
            if let Some(terms) = exchange.bridge() {
                let bridge = Bridge::new(
                    provider.id,
                    terms,
                    &provider.bridge,
                    &provider.hosts,
                    provider.snapshot_depth,
                    runtime.clone(),
                    clock.clone(),
                    meter.clone(),
                    http.clone(),
                );
                bridges.insert(provider.id, bridge);
            }
            for market in exchange.markets() {
                let (name, default) = exchange.rest_host(*market);
                let windows = exchange.budget_windows(*market);
                let budgets = exchange.rest_budgets(*market).iter().map(|terms| {
                    let (rate, pause) = shared.entry((name, terms.name)).or_insert_with(|| {
                        let rate = Budgets::new(*terms, windows);
                        (Arc::new(Mutex::new(rate)), Arc::default())
                    });
                    HostBudget {
                        terms: *terms,
                        rate: rate.clone(),
                        pause: pause.clone(),
                    }
                });
                let host = Host {
                    budgets: budgets.collect(),
                    pause: pauses.entry(name).or_default().clone(),
                    provider: provider.id,
                    market: *market,
                    base: match bridges.get(&provider.id) {
                        Some(bridge) => Base::Bridge(bridge.clone()),
                        None => Base::At(name, default, endpoints.clone()),
                    },
                    timeout: Duration::from_secs(exchange.answer_timeout_secs()),
                    official: default.trim_end_matches('/').to_owned(),
                    meter: meter.clone(),
                    wait_told: Mutex::default(),
                };
                hosts.insert((provider.id, *market), Arc::new(host));
            }
        }
        Ok(Self(Arc::new(Inner {
            http,
            runtime,
            clock,
            hosts,
            bridges,
            endpoints,
            tap: options.tap.clone(),
        })))
    }

    /// Where hosts live and how fast they are asked.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        &self.0.endpoints
    }

    /// The bridge of a provider that has one.
    #[must_use]
    pub fn bridge(&self, provider: ProviderId) -> Option<&Bridge> {
        self.0.bridges.get(&provider)
    }

    /// All bridges.
    pub(crate) fn bridges(&self) -> impl Iterator<Item = &Bridge> {
        self.0.bridges.values()
    }

    /// Budgets of a provider.
    #[must_use]
    pub fn weight(&self, provider: ProviderId) -> Vec<WeightUse> {
        let now = self.0.clock.now();
        let mut rows: Vec<WeightUse> = self
            .0
            .hosts
            .values()
            .filter(|host| host.provider == provider)
            .flat_map(|host| {
                host.budgets.iter().map(|budget| {
                    let mut ledger = budget.rate.lock();
                    let rate = ledger.all();
                    WeightUse {
                        market: host.market,
                        budget: budget.terms.name,
                        used: rate.used(now),
                        limit: rate.limit(),
                    }
                })
            })
            .collect();
        rows.sort_unstable_by_key(|row| (row.market, row.budget));
        rows
    }

    /// The exchange says what weight a budget of a market has.
    pub fn set_limit(&self, provider: ProviderId, market: Market, budget: usize, weight: u32) {
        let host = self.0.hosts.get(&(provider, market));
        let Some(budget) = host.and_then(|host| host.budgets.get(budget)) else {
            return;
        };
        let mut ledger = budget.rate.lock();
        let rate = ledger.all();
        if rate.limit() != weight {
            let (name, old) = (budget.terms.name, rate.limit());
            tracing::info!(
                provider = provider.name(), %market, budget = name, old, weight,
                "another limit is in force"
            );
            rate.set_limit(weight);
        }
    }

    /// The body of an answer, after up to `tries` attempts.
    ///
    /// # Errors
    /// [`RestError`] of the last attempt.
    pub async fn get(
        &self,
        provider: ProviderId,
        market: Market,
        request: RestRequest,
        priority: Priority,
        tries: u32,
    ) -> Result<Bytes, RestError> {
        let inner = self.0.clone();
        let task = async move { inner.get(provider, market, &request, priority, tries).await };
        self.run(task).await
    }

    /// A book snapshot, read on the control runtime: a deep one would hold a shard up.
    ///
    /// # Errors
    /// [`RestError`]; one attempt only, the caller decides about the next.
    pub async fn snapshot(
        &self,
        instrument: Arc<Instrument>,
        depth: usize,
    ) -> Result<BookSnapshot, RestError> {
        let inner = self.0.clone();
        let task = async move {
            let (provider, market) = (instrument.spec.provider, instrument.spec.market);
            let exchange = provider.exchange();
            let request = exchange.snapshot_request(&instrument, depth);
            let body = inner
                .get(provider, market, &request, Priority::Live, 1)
                .await?;
            let mut body = Vec::from(body);
            exchange
                .parse_snapshot(&instrument, &mut body)
                .map_err(|error| inner.unreadable(provider, market, error))
        };
        self.run(task).await
    }

    /// Measures the exchange's clock against ours, microseconds; what is believed of it is in the meter.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn clock_offset(
        &self,
        provider: ProviderId,
        market: Market,
        priority: Priority,
    ) -> Result<i64, RestError> {
        let inner = self.0.clone();
        let task = async move {
            let exchange = provider.exchange();
            let request = exchange.time_request(market);
            let Some(host) = inner.hosts.get(&(provider, market)) else {
                return Err(RestError::Stopped);
            };
            // Once it may be sent, and not before: a wait for the exchange's limits is no part of the way.
            let answered = inner.attempt(host, &request, priority).await?;
            let theirs = exchange
                .parse_time(&answered.body)
                .map_err(|error| inner.unreadable(provider, market, error))?;
            // The answer was made half a round trip after the question was asked, give or take that.
            let half = i64::try_from(answered.took.as_nanos() / 2).unwrap_or(i64::MAX);
            let ours = answered.asked.0.saturating_add(half);
            let reading = ClockReading {
                offset_us: theirs.0.saturating_sub(ours) / 1000,
                error_us: half / 1000,
                at: inner.clock.monotonic(),
            };
            host.meter.clock(reading);
            Ok(reading.offset_us)
        };
        self.run(task).await
    }

    /// Has the meter know what maintenance the exchange lists, where it has a list.
    ///
    /// # Errors
    /// [`RestError`].
    pub async fn list_maintenance(
        &self,
        provider: ProviderId,
        market: Market,
    ) -> Result<(), RestError> {
        let Some(request) = provider.exchange().maintenance_request(market) else {
            return Ok(());
        };
        let inner = self.0.clone();
        let task = async move {
            let asked = inner.get(provider, market, &request, Priority::Background, 1);
            let body = asked.await?;
            let windows = provider
                .exchange()
                .parse_maintenance(market, &body)
                .map_err(|error| inner.unreadable(provider, market, error))?;
            if let Some(host) = inner.hosts.get(&(provider, market)) {
                host.meter.incidents.announce(market, windows);
            }
            Ok(())
        };
        self.run(task).await
    }

    async fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, RestError>> + Send + 'static,
    ) -> Result<T, RestError> {
        // What it logs has the id of the request that it is asked for, if any.
        match self.0.runtime.spawn(task.in_current_span()).await {
            Ok(result) => result,
            // The runtime is gone, or the task panicked, which the panic hook has reported.
            Err(_) => Err(RestError::Stopped),
        }
    }
}

impl Inner {
    fn unreadable(&self, provider: ProviderId, market: Market, error: DecodeError) -> RestError {
        let host = self.hosts.get(&(provider, market));
        RestError::Decode {
            host: host.map_or_else(String::new, |host| host.name()),
            error,
        }
    }

    async fn get(
        &self,
        provider: ProviderId,
        market: Market,
        request: &RestRequest,
        priority: Priority,
        tries: u32,
    ) -> Result<Bytes, RestError> {
        let Some(host) = self.hosts.get(&(provider, market)) else {
            return Err(RestError::Stopped);
        };
        let mut attempt = 1;
        loop {
            let error = match self.attempt(host, request, priority).await {
                Ok(answered) => return Ok(answered.body),
                Err(error) => error,
            };
            if attempt >= tries || !error.is_retryable() {
                return Err(error);
            }
            tracing::debug!(provider = provider.name(), %market, attempt, %error, "trying again");
            // A pause that the exchange asked for is in the budget and waited for there.
            self.clock
                .sleep(Duration::from_millis(250 << attempt.min(5)))
                .await;
            attempt += 1;
        }
    }

    async fn attempt(
        &self,
        host: &Host,
        request: &RestRequest,
        priority: Priority,
    ) -> Result<Answered, RestError> {
        self.wait_for_budget(host, request, priority).await?;
        let (provider, market) = (host.provider.name(), host.market);
        // Public data: nothing in the path is a secret.
        tracing::debug!(provider, %market, method = "GET", path = %request.path, "request to the exchange");
        let asked = Moment::of(&*self.clock);
        let answer = self.send(host, request).await;
        let now = Moment::of(&*self.clock);
        let took = now.monotonic.saturating_sub(asked.monotonic);
        match &answer {
            Ok(body) => {
                tracing::debug!(provider, %market, path = %request.path, bytes = body.len(),
                "the exchange has answered")
            }
            Err(error) => tracing::debug!(provider, %market, path = %request.path, %error,
                "no answer of the exchange"),
        }
        match &answer {
            Ok(_) => host.meter.request_ok(now, took),
            // A wrong request is our fault, not the provider's.
            Err(error) if !error.is_retryable() => {}
            Err(error) => {
                host.meter
                    .request_failed(now, &error.to_string(), error.is_maintenance());
            }
        }
        let asked = asked.wall;
        answer.map(|body| Answered { body, asked, took })
    }

    async fn wait_for_budget(
        &self,
        host: &Host,
        request: &RestRequest,
        priority: Priority,
    ) -> Result<(), RestError> {
        let mut waited = Duration::ZERO;
        // Our own limit is taken once, however long the exchange's is waited for.
        let mut is_paced = false;
        loop {
            let now = self.clock.now();
            let paused = host.pause.lock().left(now);
            let paced = match is_paced || priority == Priority::Cancel {
                true => Ok(()),
                false => self.endpoints.take(host.provider, now, request.weight),
            };
            is_paced = paced.is_ok();
            let wait = match (paused.or(paced.err()), host.budget(request)) {
                (Some(left), _) => left,
                (None, None) => return Ok(()),
                (None, Some(budget)) => {
                    let paused = budget.pause.lock().left(now);
                    let take = || budget.rate.lock().take(now, request.weight, priority, None);
                    match paused.map_or_else(take, Err) {
                        Ok(()) => return Ok(()),
                        Err(wait) => wait,
                    }
                }
            };
            host.tell_wait(now, priority, wait);
            if waited + wait > PAUSE_MAX {
                return Err(RestError::Budget {
                    host: host.name(),
                    wait,
                });
            }
            waited += wait;
            self.clock.sleep(wait).await;
        }
    }

    async fn send(&self, host: &Host, request: &RestRequest) -> Result<Bytes, RestError> {
        let settle = |used| {
            if let Some(budget) = host.budget(request) {
                let cost = (request.weight, false);
                let mut rate = budget.rate.lock();
                rate.settle(self.clock.now(), cost, used, None);
            }
        };
        let transport = |error: reqwest::Error| RestError::Transport {
            host: host.name(),
            reason: chain(&error.without_url()),
        };
        let url = match host.address().await {
            Ok(base) => format!("{base}{}", request.path),
            Err(error) => {
                settle(None);
                return Err(error);
            }
        };
        let response = match self.http.get(&url).timeout(host.timeout).send().await {
            Ok(response) => response,
            Err(error) => {
                settle(None);
                return Err(transport(error));
            }
        };
        let status = response.status().as_u16();
        let header = |name: &str| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let number = |name: Option<&str>| header(name?)?.parse::<u32>().ok();
        settle(host.budget(request).and_then(|budget| {
            let terms = &budget.terms;
            number(terms.used_header).or_else(|| {
                let left = number(terms.remaining_header)?;
                Some(terms.weight_per_window.saturating_sub(left))
            })
        }));
        let now = self.clock.now();
        let retry_after = header("retry-after").map(|text| pause::in_seconds(&text, now));
        let reset = host.provider.exchange().reset_header(host.market);
        let reset = reset.and_then(header);
        let body = read_body(response).await.map_err(|error| match error {
            BodyError::Transport(error) => transport(error),
            BodyError::TooLarge => RestError::Decode {
                host: host.name(),
                error: DecodeError::TooLarge {
                    bytes: BODY_BYTES_MAX,
                },
            },
        })?;
        let exchange = host.provider.exchange();
        let failure = match (200..300).contains(&status) {
            true => exchange.body_failure(host.market, &body),
            false => {
                Some(exchange.rest_failure(host.market, status, retry_after.as_deref(), &body))
            }
        };
        let Some(failure) = failure else {
            self.copy(host, request, &body);
            return Ok(body);
        };
        let asked = failure
            .retry_after_secs
            .map(|s| Duration::from_secs(s.max(1)));
        let is_limit = failure.error.code == CryptoCode::RateLimitExceeded;
        let reset = reset.filter(|_| is_limit);
        let until_reset = reset.and_then(|text| pause::until(&text, self.clock.now()));
        if let Some(pause) = asked.max(until_reset) {
            self.pause(host, request, status, pause);
        }
        Err(RestError::Refused(Box::new(failure)))
    }

    /// The exchange wants a pause. A status speaks of the address, and asking on would be answered
    /// with a ban: then nothing goes to the host. An error inside an answer speaks of what was asked.
    fn pause(&self, host: &Host, request: &RestRequest, status: u16, pause: Duration) {
        let is_of_host = !(200..300).contains(&status);
        let which = match host.budget(request).filter(|_| !is_of_host) {
            Some(budget) => &budget.pause,
            None => &host.pause,
        };
        which.lock().begin(self.clock.now(), pause);
        tracing::warn!(
            provider = host.provider.name(), market = %host.market, status,
            pause_ms = pause.as_millis(), is_of_host,
            "exchange asks for a pause"
        );
    }

    fn copy(&self, host: &Host, request: &RestRequest, body: &Bytes) {
        if let Some(tap) = &self.tap {
            tap.push(RawMessage {
                provider: host.provider,
                market: host.market,
                source: RawSource::Rest {
                    method: "GET",
                    url: format!("{}{}", host.official, request.path),
                },
                ts_recv: self.clock.now(),
                raw: body.clone(),
            });
        }
    }
}

/// An answer, when it was asked for, and how long it took.
struct Answered {
    body: Bytes,
    asked: TsNanos,
    took: Duration,
}

enum BodyError {
    Transport(reqwest::Error),
    TooLarge,
}

async fn read_body(mut response: reqwest::Response) -> Result<Bytes, BodyError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Transport)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.into())
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
