//! The exchange on the network: which host answers what.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::stream::Path;
use super::venue::{Core, Okx};
use super::{Role, rest, session, trade};
use crate::config::OkxLimits;
use crate::market::Segment;
use crate::venue::limits::{Allowance, Counter, Verdict};
use crate::venue::server::{self, Answer, Service, plain, upgrade};

/// An exchange and what its connections share.
pub(crate) struct Exchange {
    pub(crate) core: Mutex<Core>,
    pub(crate) limits: OkxLimits,
    pub(crate) counter: Mutex<Counter>,
    /// Set when the simulator stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Exchange {
    pub(crate) fn new(core: Core, limits: OkxLimits, stop: watch::Receiver<bool>) -> Self {
        Self {
            core: Mutex::new(core),
            limits,
            counter: Mutex::new(Counter::default()),
            stop,
        }
    }

    fn is_down(&self) -> bool {
        let core = self.core.lock();
        core.is_down(Segment::Spot) && core.is_down(Segment::Linear)
    }
}

impl Service for Exchange {
    type Venue = Okx;
    type Role = Role;

    fn core(&self) -> &Mutex<Core> {
        &self.core
    }

    fn stop(&self) -> &watch::Receiver<bool> {
        &self.stop
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        address: IpAddr,
        role: Role,
    ) -> Answer {
        match role {
            Role::Streams if server::is_upgrade(&request) => open(request, address, self),
            Role::Streams => plain(StatusCode::NOT_FOUND, String::new()),
            Role::Rest if trade::is_private(request.uri().path()) => {
                trade::answer(&self, request).await
            }
            Role::Rest => {
                let (path, query) = (request.uri().path(), request.uri().query());
                let is_get = request.method() == Method::GET;
                rest::answer(&self, address, is_get, path, query.unwrap_or_default()).await
            }
        }
    }
}

fn open(request: Request<Incoming>, address: IpAddr, exchange: Arc<Exchange>) -> Answer {
    let Some(path) = Path::parse(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND, String::new());
    };
    if exchange.is_down() {
        return plain(StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let allowance = Allowance::new(exchange.limits.connects_per_second, 1_000);
    let verdict = exchange
        .counter
        .lock()
        .charge(address, "connect", allowance, 1);
    match verdict {
        Verdict::Pass { .. } => {
            upgrade(request, move |socket| session::run(socket, exchange, path))
        }
        Verdict::TooMany { .. } => plain(StatusCode::TOO_MANY_REQUESTS, String::new()),
    }
}
