//! Exchange simulators: native REST and WebSocket protocols on loopback, fed by a seeded market
//! or by recorded messages, with scripted faults.
//!
//! [`Sim::start`] opens a listener for each host of the exchange and returns when all listen;
//! [`Sim::endpoints`] says where. The simulator runs on threads of its own, so it can live in the
//! process of its client without disturbing it. [`SimControl`] injects faults ([`fault`]) and
//! tells the truth that a client's books and bars must equal.
//!
//! This crate shares no code with the exchanges' adapters on purpose: a field name that is wrong
//! on one side must not be wrong on the other too.

mod binance;
mod chaos;
mod clock;
mod config;
mod control;
pub mod fault;
pub mod market;
mod replay;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};

use binance::core::Core;
use binance::server::{self, Exchange as Binance};
use binance::{HOSTS, Role};
use chaos::FaultDesk;
use clock::Clock;
use market::{Market, MarketConfig, MarketError};

pub use binance::hub::Counters;
pub use chaos::{FaultId, FaultState};
pub use config::{
    ConnectionLimits, Exchange, MarketLimits, ReplayFile, ReplaySpeed, ReplayStart, RestLimits,
    SimConfig,
};
pub use control::{BookTruth, KlineTruth, SimControl, TradeTruth};
pub use fault::{FaultError, FaultKind, FaultSpec};
pub use market::Segment;
pub use replay::ReplayError;

/// Why a simulator does not start.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// A listener cannot be opened.
    #[error("cannot listen on {address} for {host}: {source}")]
    Listen {
        /// The exchange's host.
        host: &'static str,
        /// The local address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The ports from the base port on do not suffice.
    #[error("base port {base} leaves no room for {hosts} hosts")]
    Ports {
        /// The first port.
        base: u16,
        /// How many are wanted.
        hosts: usize,
    },
    /// A number that makes no sense.
    #[error("{what} has to be a positive number")]
    Number {
        /// Which.
        what: &'static str,
    },
    /// The market cannot be made.
    #[error(transparent)]
    Market(#[from] MarketError),
    /// Recorded messages cannot be used.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The threads cannot be started, or ended too early.
    #[error("cannot start the simulator's threads: {0}")]
    Threads(#[from] io::Error),
    /// The simulator's thread ended before it was ready.
    #[error("the simulator ended while it was starting")]
    Ended,
}

/// A running simulator. Dropping it stops it without waiting; [`Sim::shutdown`] waits.
pub struct Sim {
    control: SimControl,
    endpoints: Value,
    stop: watch::Sender<bool>,
    done: oneshot::Receiver<()>,
}

/// What the simulator's thread hands over when all listen.
struct Ready {
    exchange: Arc<Binance>,
    endpoints: Value,
}

impl Sim {
    /// Starts a simulator and returns once every host listens.
    ///
    /// # Errors
    /// When a port cannot be had, recorded messages cannot be read, or the configuration makes no
    /// sense.
    pub async fn start(config: SimConfig) -> Result<Self, SimError> {
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = oneshot::channel();
        let (finished, done) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("exchange-sim")
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("exchange-sim".to_owned())
            .spawn(move || {
                runtime.block_on(run(config, stopped, ready));
                runtime.shutdown_timeout(std::time::Duration::from_secs(2));
                // Nobody may wait for it any more.
                let _ = finished.send(());
            })?;
        let Ready {
            exchange,
            endpoints,
        } = is_ready.await.map_err(|_| SimError::Ended)??;
        Ok(Self {
            control: SimControl { exchange },
            endpoints,
            stop,
            done,
        })
    }

    /// Where the hosts are: `{"binance":{"hosts":{HOST:URL,…},"credentials":{…}}}`.
    #[must_use]
    pub fn endpoints(&self) -> Value {
        self.endpoints.clone()
    }

    /// The local URL of a host, e.g. `api.binance.com`.
    #[must_use]
    pub fn url(&self, host: &str) -> Option<String> {
        let hosts = self
            .endpoints
            .get(Exchange::Binance.as_str())?
            .get("hosts")?;
        hosts.get(host)?.as_str().map(str::to_owned)
    }

    /// A handle to steer it.
    #[must_use]
    pub fn control(&self) -> SimControl {
        self.control.clone()
    }

    /// Closes all connections and waits until the threads have ended.
    pub async fn shutdown(self) {
        self.stop.send_replace(true);
        // An error means that they already have.
        let _ = self.done.await;
    }
}

async fn run(
    config: SimConfig,
    mut stopped: watch::Receiver<bool>,
    ready: oneshot::Sender<Result<Ready, SimError>>,
) {
    let (exchange, endpoints) = match open(&config, stopped.clone()).await {
        Ok(opened) => opened,
        Err(error) => {
            // The caller may have given up.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    let mut hosts = Map::new();
    for (listener, address, host, role) in endpoints {
        hosts.insert(host.to_owned(), Value::from(url(role, address)));
        tasks.spawn(server::listen(listener, role, Arc::clone(&exchange)));
    }
    tasks.spawn(server::drive(Arc::clone(&exchange)));
    for market in [Segment::Spot, Segment::Linear] {
        tasks.spawn(server::play(Arc::clone(&exchange), market));
    }
    let endpoints = json!({
        Exchange::Binance.as_str(): { "hosts": hosts, "credentials": credentials(config.seed) }
    });
    if ready
        .send(Ok(Ready {
            exchange,
            endpoints,
        }))
        .is_err()
    {
        return;
    }
    // The sender is dropped with the handle: that is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), all).await;
}

type Listening = (TcpListener, SocketAddr, &'static str, Role);

async fn open(
    config: &SimConfig,
    stopped: watch::Receiver<bool>,
) -> Result<(Arc<Binance>, Vec<Listening>), SimError> {
    if !(config.time_scale.is_finite() && config.time_scale > 0.0) {
        return Err(SimError::Number { what: "time scale" });
    }
    let hosts: &[(&str, Role)] = if config.exchanges.contains(&Exchange::Binance) {
        &HOSTS
    } else {
        &[]
    };
    let mut listening = Vec::with_capacity(hosts.len());
    for (at, (host, role)) in hosts.iter().enumerate() {
        let port = match config.base_port {
            None => 0,
            Some(base) => u16::try_from(usize::from(base) + at).map_err(|_| SimError::Ports {
                base,
                hosts: hosts.len(),
            })?,
        };
        let address = SocketAddr::new(config.address, port);
        let listen = |source| SimError::Listen {
            host,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        listening.push((listener, address, *host, *role));
    }
    let tapes = binance::tape::load(&config.replay, config.replay_speed, config.replay_start)?;
    let start_ms = config.start_ms.unwrap_or_else(clock::unix_now_ms);
    let market = Market::new(MarketConfig {
        intensity: config.intensity,
        ..MarketConfig::standard(config.seed, start_ms)
    })?;
    let clock = Clock::new(start_ms, config.time_scale);
    let faults = FaultDesk::new(config.seed, &config.faults);
    let core = Core::new(market, clock, faults, tapes);
    let exchange = Binance::new(core, config.spot, config.usdm, stopped);
    Ok((Arc::new(exchange), listening))
}

fn url(role: Role, address: SocketAddr) -> String {
    let scheme = match role {
        Role::Rest(_) | Role::DataRest | Role::CoinRest => "http",
        Role::Streams(_) | Role::Api => "ws",
    };
    format!("{scheme}://{address}")
}

/// The test account's key and secret, in the exchange's form: 64 alphanumeric characters each.
fn credentials(seed: u64) -> Value {
    use rand::distr::{Alphanumeric, SampleString};
    use rand::{SeedableRng, rngs::StdRng};
    let mut random = StdRng::seed_from_u64(seed);
    let mut text = || Alphanumeric.sample_string(&mut random, 64);
    json!({ "api_key": text(), "secret": text() })
}
