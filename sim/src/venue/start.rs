//! Opening an exchange: its market, its clock, its faults, a listener for each of its hosts.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::control::Steer;
use super::server::{self, Service};
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::config::{Exchange, SimConfig};
use crate::market::{Listing, Market, MarketConfig, fillers};
use crate::{SimError, clock};

/// What exchanges are opened with.
pub(crate) struct Setup<'a> {
    pub(crate) config: &'a SimConfig,
    /// Set when the simulator stops.
    pub(crate) stop: watch::Receiver<bool>,
    start_ms: i64,
    began: Instant,
    ports_taken: usize,
}

/// A host of an exchange, as clients name it, and what it serves.
pub(crate) struct Host<R> {
    pub(crate) name: &'static str,
    /// `http`, `ws`.
    pub(crate) scheme: &'static str,
    pub(crate) role: R,
}

/// Work that goes on until the simulator stops.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// An exchange that listens.
pub(crate) struct Opened {
    pub(crate) exchange: Exchange,
    pub(crate) steer: Arc<dyn Steer>,
    /// Local URL of each host.
    pub(crate) hosts: Map<String, Value>,
    /// The test account's, in the exchange's form; null while it has none.
    pub(crate) credentials: Value,
    pub(crate) tasks: Vec<Task>,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(config: &'a SimConfig, stop: watch::Receiver<bool>) -> Self {
        Self {
            config,
            stop,
            start_ms: config.start_ms.unwrap_or_else(clock::unix_now_ms),
            began: Instant::now(),
            ports_taken: 0,
        }
    }

    /// Where market time starts, Unix ms: listings depend on it.
    pub(crate) fn start_ms(&self) -> i64 {
        self.start_ms
    }

    /// The seeded market with an exchange's own listing; `None`: the standard one.
    pub(crate) fn market(&self, listings: Option<Vec<Listing>>) -> Result<Market, SimError> {
        let standard = MarketConfig::standard(self.config.seed, self.start_ms);
        Ok(Market::new(MarketConfig {
            intensity: self.config.intensity,
            trades_kept: self.config.trades_kept,
            listings: listings.unwrap_or_else(|| standard.listings.clone()),
            ..standard
        })?)
    }

    /// What an exchange adds to its listing to have as many instruments as are wanted, in the
    /// standard form.
    pub(crate) fn fillers(&self, listed: &[Listing], has_perpetuals: bool) -> Vec<Listing> {
        fillers(listed, self.config.symbols, has_perpetuals)
    }

    pub(crate) fn clock(&self) -> Clock {
        // Real time goes on while markets are made, and signed requests carry it.
        let began = match self.config.start_ms {
            None => self.began,
            Some(_) => Instant::now(),
        };
        Clock::new(self.start_ms, self.config.time_scale, began)
    }

    /// The faults that an exchange starts with.
    pub(crate) fn faults(&self, exchange: Exchange) -> FaultDesk {
        let all = self.config.faults.iter();
        let its = all.filter(|spec| spec.exchange.is_none_or(|wanted| wanted == exchange));
        FaultDesk::new(self.config.seed, &its.cloned().collect::<Vec<_>>())
    }

    async fn listen(&mut self, host: &'static str) -> Result<(TcpListener, SocketAddr), SimError> {
        let at = self.ports_taken;
        self.ports_taken += 1;
        let port = match self.config.base_port {
            None => 0,
            Some(base) => u16::try_from(usize::from(base) + at).map_err(|_| SimError::Ports {
                base,
                hosts: at + 1,
            })?,
        };
        let address = SocketAddr::new(self.config.address, port);
        let failed = |source| SimError::Listen {
            host,
            address,
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok((listener, address))
    }

    /// Opens an exchange's hosts and moves its market.
    pub(crate) async fn open<S: Service>(
        &mut self,
        exchange: Exchange,
        service: Arc<S>,
        hosts: impl IntoIterator<Item = Host<S::Role>>,
        credentials: Value,
    ) -> Result<Opened, SimError> {
        let mut urls = Map::new();
        let mut tasks: Vec<Task> = vec![Box::pin(server::drive(Arc::clone(&service)))];
        for host in hosts {
            let (listener, address) = self.listen(host.name).await?;
            let url = format!("{}://{address}", host.scheme);
            urls.insert(host.name.to_owned(), Value::from(url));
            let serve = server::listen(listener, host.role, Arc::clone(&service));
            tasks.push(Box::pin(serve));
        }
        Ok(Opened {
            exchange,
            steer: service,
            hosts: urls,
            credentials,
            tasks,
        })
    }
}
