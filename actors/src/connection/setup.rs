//! What a connection is given, and what it can be told.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use actix::Message;
use bookwire_engine::exchange::{ConnectionLimits, ProviderId, Route};
use bookwire_engine::instrument::InstrumentTable;
use futures_util::future::LocalBoxFuture;

use super::backoff::ConnectBudgets;
use crate::bridge::Bridge;
use crate::clock::Clock;
use crate::endpoints::Endpoints;
use crate::state::ShardState;
use crate::status::ProviderMeter;
use crate::tap::Tap;
use crate::upstream::{SharedPlan, StreamKey};

/// Where a connection is made to.
#[derive(Clone)]
pub enum Address {
    /// `wss://stream.binance.com:9443/ws`
    Url(String),
    /// A route of a provider, wherever its host lives at that moment.
    Host(Endpoints, ProviderId, &'static Route),
    /// A path behind a bridge, which is started when it does not run.
    Bridge(Bridge, &'static str),
}

impl Address {
    /// What counts as one host in limits on connection attempts.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Url(url) => url,
            Self::Host(_, _, route) => route.host,
            Self::Bridge(_, path) => path,
        }
    }

    /// The URL to dial now.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn url(&self) -> Result<String, String> {
        match self {
            Self::Url(url) => Ok(url.clone()),
            Self::Host(endpoints, provider, route) => {
                let base = endpoints.base(*provider, route.host, route.base_url);
                Ok(format!("{base}{}", route.path))
            }
            Self::Bridge(bridge, path) => match bridge.ensure().await {
                Ok(running) => Ok(format!("{}{path}", running.ws)),
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

/// What a connection needs. Everything in it outlives the actor.
#[derive(Clone)]
pub struct ConnectionSetup {
    /// What to carry.
    pub plan: SharedPlan,
    /// Where events go.
    pub state: Rc<RefCell<ShardState>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The provider's meter.
    pub meter: Arc<ProviderMeter>,
    /// Limits on connection attempts.
    pub budgets: ConnectBudgets,
    /// TLS.
    pub tls: Arc<rustls::ClientConfig>,
    /// The exchange's name of the host: its limits count by it.
    pub host: &'static str,
    /// Number of the shard: names are given by each for itself.
    pub shard: usize,
    /// Where to connect.
    pub address: Address,
    /// The route's name.
    pub route: &'static str,
    /// Limits of the market.
    pub limits: ConnectionLimits,
    /// Takes a copy of every frame.
    pub tap: Option<Tap>,
    /// Asks the exchange by request how it is; the meter learns the answer.
    pub probe: Rc<dyn Fn() -> LocalBoxFuture<'static, ()>>,
}

/// The plan changed.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Nudge;

/// Close and open again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct ReconnectNow;

/// Ask for a stream again: it is deaf.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Renew(
    /// Which.
    pub StreamKey,
);

/// Use another table.
#[derive(Message)]
#[rtype(result = "()")]
pub struct UseTable(
    /// Which.
    pub Arc<InstrumentTable>,
);

/// Close and end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopConnection;
