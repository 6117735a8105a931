//! A provider behind a child process ([`Exchange::bridge`](bookwire_engine::exchange::Exchange::bridge)): started on first use, watched, started
//! again by whoever needs it next.
//!
//! The program goes to the interpreter through standard input, followed by one line of settings;
//! the pipe stays open, and its end, by our death too, is the child's order to stop. Its first line
//! on standard output says on which port of loopback it serves, or what it lacks. From then on it is
//! asked like an exchange, by the same connections and the same requests; a token that only the two
//! of us know is part of every path, so that nobody else on the machine can use it.

mod child;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bookwire_engine::exchange::{Bridge as Terms, ProviderId};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::connection::backoff::Backoff;
use crate::status::ProviderMeter;

/// Pauses before a child that died or did not start is started again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// A child that ran for so long was good: the next start is not delayed.
const GOOD_AFTER: Duration = Duration::from_secs(60);

/// How a bridge is run.
#[derive(Clone, Debug)]
pub struct BridgeOptions {
    /// The interpreter: `python3`, or the path of one in a virtual environment.
    pub python: String,
    /// Venues that are loaded at the start; others with their first use.
    pub venues: Vec<String>,
    /// Venues at the same time.
    pub venues_max: usize,
    /// Per venue what its class is constructed with besides our own settings, as a JSON object.
    pub options: BTreeMap<String, Value>,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            python: "python3".to_owned(),
            venues: Vec::new(),
            venues_max: 16,
            options: BTreeMap::new(),
        }
    }
}

/// Why the child can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BridgeError {
    /// Something has to be installed; the text says what and how.
    #[error("{0}")]
    Missing(String),
    /// It did not start, or died; another try can succeed.
    #[error("{0}")]
    Failed(String),
    /// The engine is being stopped.
    #[error("the engine is stopping")]
    Stopped,
}

/// A running child.
#[derive(Debug)]
pub struct Running {
    /// Base of requests: `http://127.0.0.1:41001/<token>`. Not to be shown.
    pub(crate) http: String,
    /// Base of stream connections. Not to be shown.
    pub(crate) ws: String,
    /// Process id.
    pub pid: u32,
    /// The package's version.
    pub version: String,
    /// Venues that the package knows.
    pub venues: Vec<String>,
}

struct Tries {
    backoff: Backoff,
    /// Not before this time (monotonic), and why the last one failed.
    wait: Option<(Duration, BridgeError)>,
}

struct Inner {
    provider: ProviderId,
    terms: &'static Terms,
    /// What the child is told besides its program, the token aside.
    settings: Value,
    python: String,
    runtime: Handle,
    clock: Arc<dyn Clock>,
    meter: Arc<ProviderMeter>,
    http: reqwest::Client,
    current: ArcSwapOption<Running>,
    /// Held while a child is being started: everybody else waits for that one.
    starting: tokio::sync::Mutex<()>,
    tries: Mutex<Tries>,
    stop: watch::Sender<bool>,
    starts: std::sync::atomic::AtomicU64,
}

/// The bridge of a provider. Clones are the same bridge; any thread may ask.
#[derive(Clone)]
pub struct Bridge(Arc<Inner>);

impl Bridge {
    /// A bridge whose child is not started yet. `hosts` are addresses to use instead of venues'
    /// own, `depth` the levels a side of its books.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "called in one place")]
    pub fn new(
        provider: ProviderId,
        terms: &'static Terms,
        options: &BridgeOptions,
        hosts: &BTreeMap<String, String>,
        depth: usize,
        runtime: Handle,
        clock: Arc<dyn Clock>,
        meter: Arc<ProviderMeter>,
        http: reqwest::Client,
    ) -> Self {
        let settings = serde_json::json!({
            "hosts": hosts,
            "options": options.options,
            "depth": depth,
            "venues": options.venues_max,
        });
        Self(Arc::new(Inner {
            provider,
            terms,
            settings,
            python: options.python.clone(),
            runtime,
            clock,
            meter,
            http,
            current: ArcSwapOption::empty(),
            starting: tokio::sync::Mutex::default(),
            tries: Mutex::new(Tries {
                backoff: Backoff::new(RETRY.0, RETRY.1),
                wait: None,
            }),
            stop: watch::Sender::new(false),
            starts: std::sync::atomic::AtomicU64::new(0),
        }))
    }

    /// The running child; `None` when none runs. Starts nothing.
    #[must_use]
    pub fn running(&self) -> Option<Arc<Running>> {
        self.0.current.load_full()
    }

    /// How often a child has been started.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.0.starts.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// The running child, started when none runs.
    ///
    /// # Errors
    /// [`BridgeError`]; after a failure the same one at once until it is time for another try.
    pub async fn ensure(&self) -> Result<Arc<Running>, BridgeError> {
        if let Some(running) = self.running() {
            return Ok(running);
        }
        let bridge = self.clone();
        // A child belongs to the runtime that started it: never to a shard's.
        let started = self.0.runtime.spawn(async move { bridge.start().await });
        started.await.unwrap_or(Err(BridgeError::Stopped))
    }

    async fn start(&self) -> Result<Arc<Running>, BridgeError> {
        let _starting = self.0.starting.lock().await;
        if let Some(running) = self.running() {
            return Ok(running);
        }
        if *self.0.stop.borrow() {
            return Err(BridgeError::Stopped);
        }
        let now = self.0.clock.monotonic();
        if let Some((at, error)) = &self.0.tries.lock().wait
            && now < *at
        {
            return Err(error.clone());
        }
        match child::start(self).await {
            Ok(running) => {
                self.0
                    .starts
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tracing::info!(
                    provider = self.0.provider.name(),
                    pid = running.pid,
                    version = running.version,
                    venues = running.venues.len(),
                    "bridge started"
                );
                self.0.tries.lock().wait = None;
                self.0.meter.reached(None);
                Ok(running)
            }
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// Notes a failure: when the next try may be made, and what the provider's status says.
    fn failed(&self, error: &BridgeError) {
        let now = self.0.clock.monotonic();
        {
            let mut tries = self.0.tries.lock();
            let pause = match error {
                // Nothing changes by itself there; somebody is installing it, though.
                BridgeError::Missing(_) => Duration::from_secs(5),
                _ => tries.backoff.fail(),
            };
            tries.wait = Some((now + pause, error.clone()));
        }
        tracing::warn!(provider = self.0.provider.name(), %error, "bridge not available");
        self.0.meter.reached(Some(&error.to_string()));
    }

    /// The child has ended after having served for `ran`.
    fn ended(&self, pid: u32, ran: Duration, reason: &str) {
        let is_current = self.running().is_some_and(|running| running.pid == pid);
        if is_current {
            self.0.current.store(None);
        }
        if *self.0.stop.borrow() {
            return;
        }
        if ran >= GOOD_AFTER {
            self.0.tries.lock().backoff.reset();
        }
        self.failed(&BridgeError::Failed(format!(
            "the child process ended: {reason}"
        )));
    }

    /// Looks whether interpreter and package are there, without starting the bridge; the
    /// provider's status says what is missing.
    pub async fn look(&self) {
        let bridge = self.clone();
        let looked = self
            .0
            .runtime
            .spawn(async move { child::look(&bridge).await });
        match looked.await {
            Ok(Ok(version)) => {
                tracing::debug!(
                    provider = self.0.provider.name(),
                    version,
                    "bridge can be started"
                );
                self.0.meter.reached(None);
            }
            Ok(Err(error)) => self.failed(&error),
            Err(_) => {}
        }
    }

    /// Stops the child for good and waits until it has ended, two seconds at most.
    pub async fn stop(&self) {
        self.0.stop.send_replace(true);
        let end = self.0.clock.monotonic() + Duration::from_secs(3);
        while self.running().is_some() && self.0.clock.monotonic() < end {
            self.0.clock.sleep(Duration::from_millis(20)).await;
        }
    }
}
