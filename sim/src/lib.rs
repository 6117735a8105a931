//! Exchange simulators: native REST and WebSocket protocols on loopback, fed by a seeded market
//! or by recorded messages, with scripted faults.
//!
//! [`Sim::start`] opens a listener for each host of the exchange and returns when all listen;
//! [`Sim::endpoints`] says where. The simulator runs on threads of its own, so it can live in the
//! process of its client without disturbing it. [`SimControl`] injects faults ([`fault`]) and
//! tells the truth that a client's books and bars must equal. What all exchanges share is in `venue`;
//! an exchange is a folder beside it and a line in `open`.
//!
//! This crate shares no code with the exchanges' adapters on purpose: a field name that is wrong
//! on one side must not be wrong on the other too.

mod account;
mod binance;
mod bybit;
mod chaos;
mod clock;
mod coinbase;
mod config;
mod control;
pub mod fault;
pub mod market;
mod okx;
mod replay;
mod venue;

use std::io;
use std::net::SocketAddr;

use serde_json::{Map, Value, json};
use tokio::sync::{oneshot, watch};

use market::MarketError;
use venue::start::{Opened, Setup};

pub use chaos::{FaultId, FaultState};
pub use config::{
    ConnectionLimits, Exchange, MarketLimits, OkxLimits, ReplayFile, ReplaySpeed, ReplayStart,
    RestLimits, SimConfig,
};
pub use control::{
    AccountTruth, BalanceTruth, BookTruth, FillTruth, KlineTruth, OrderTruth, PositionTruth,
    SimControl, TradeTruth,
};
pub use fault::{FaultError, FaultKind, FaultSpec};
pub use market::Segment;
pub use replay::ReplayError;
pub use venue::hub::Counters;

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
    /// More instruments than can be listed.
    #[error("{wanted} symbols are more than the {max} that can be listed", max = market::FILLERS_MAX)]
    Symbols {
        /// How many are wanted.
        wanted: usize,
    },
    /// Nothing to simulate.
    #[error("no exchange to simulate")]
    NoExchange,
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
    control: SimControl,
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
        let Ready { control, endpoints } = is_ready.await.map_err(|_| SimError::Ended)??;
        Ok(Self {
            control,
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
        let mut exchanges = self.endpoints.as_object()?.values();
        let url = exchanges.find_map(|exchange| exchange.get("hosts")?.get(host))?;
        url.as_str().map(str::to_owned)
    }

    /// A handle to steer its first exchange; [`SimControl::of`] gives the others.
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
    let all = match open(&config, stopped.clone()).await {
        Ok(opened) => opened,
        Err(error) => {
            // The caller may have given up.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    let mut endpoints = Map::new();
    let mut exchanges = Vec::with_capacity(all.len());
    for opened in all {
        let own = json!({ "hosts": opened.hosts, "credentials": opened.credentials });
        endpoints.insert(opened.exchange.as_str().to_owned(), own);
        exchanges.push((opened.exchange, opened.steer));
        for task in opened.tasks {
            tasks.spawn(task);
        }
    }
    let control = SimControl {
        exchanges: exchanges.into(),
        at: 0,
    };
    let endpoints = Value::Object(endpoints);
    if ready.send(Ok(Ready { control, endpoints })).is_err() {
        return;
    }
    // The sender is dropped with the handle: that is a stop too.
    let _ = stopped.wait_for(|stop| *stop).await;
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(2), all).await;
}

async fn open(config: &SimConfig, stopped: watch::Receiver<bool>) -> Result<Vec<Opened>, SimError> {
    if !(config.time_scale.is_finite() && config.time_scale > 0.0) {
        return Err(SimError::Number { what: "time scale" });
    }
    if config.symbols > market::FILLERS_MAX {
        return Err(SimError::Symbols {
            wanted: config.symbols,
        });
    }
    if config.exchanges.is_empty() {
        return Err(SimError::NoExchange);
    }
    let mut setup = Setup::new(config, stopped);
    let mut all = Vec::with_capacity(config.exchanges.len());
    for exchange in &config.exchanges {
        all.push(match exchange {
            Exchange::Binance => binance::open(&mut setup).await?,
            Exchange::Okx => okx::open(&mut setup).await?,
            Exchange::Bybit => bybit::open(&mut setup).await?,
            Exchange::Coinbase => coinbase::open(&mut setup).await?,
        });
    }
    Ok(all)
}
