//! The exchange on the network: which host and path answers what, and to whom no more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::market::Segment;
use crate::venue::limits::{Allowance, Counter, Verdict};
use crate::venue::server::{self, Answer, plain, upgrade};

use super::venue::{Bybit, Core};
use super::{Role, rest, session, trade};

/// Requests of an address in five seconds, over all hosts.
const REQUESTS: Allowance = Allowance::new(600, 5_000);
/// Connections of an address in five minutes.
const CONNECTIONS: Allowance = Allowance::new(500, 300_000);
/// How long an address is shut out that asked too much.
const BAN: Duration = Duration::from_secs(600);

/// What an address has used up.
#[derive(Default)]
struct Limits {
    counter: Counter,
    banned_until: HashMap<IpAddr, Instant>,
}

/// An exchange and what its connections share.
pub(crate) struct Service {
    core: Mutex<Core>,
    limits: Mutex<Limits>,
    stop: watch::Receiver<bool>,
}

impl Service {
    pub(super) fn new(core: Core, stop: watch::Receiver<bool>) -> Self {
        Self {
            core: Mutex::new(core),
            limits: Mutex::default(),
            stop,
        }
    }

    /// Counts a request; false when the address is shut out.
    fn may_ask(&self, address: IpAddr) -> bool {
        let mut limits = self.limits.lock();
        let now = Instant::now();
        if let Some(until) = limits.banned_until.get(&address) {
            if now < *until {
                return false;
            }
            limits.banned_until.remove(&address);
        }
        match limits.counter.charge(address, "requests", REQUESTS, 1) {
            Verdict::Pass { .. } => true,
            Verdict::TooMany { .. } => {
                limits.banned_until.insert(address, now + BAN);
                false
            }
        }
    }

    fn may_connect(&self, address: IpAddr) -> bool {
        let mut limits = self.limits.lock();
        let verdict = limits
            .counter
            .charge(address, "connections", CONNECTIONS, 1);
        matches!(verdict, Verdict::Pass { .. })
    }
}

impl server::Service for Service {
    type Venue = Bybit;
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
            Role::Streams if server::is_upgrade(&request) => connect(request, address, self),
            Role::Streams => plain(StatusCode::NOT_FOUND, String::new()),
            Role::Rest => answer(request, address, &self).await,
        }
    }
}

/// The market of a connection's path.
fn market_of(path: &str) -> Option<Segment> {
    match path.trim_end_matches('/') {
        "/v5/public/spot" => Some(Segment::Spot),
        "/v5/public/linear" => Some(Segment::Linear),
        _ => None,
    }
}

fn connect(request: Request<Incoming>, address: IpAddr, service: Arc<Service>) -> Answer {
    let path = request.uri().path().trim_end_matches('/');
    if let "/v5/private" | "/v5/trade" = path {
        let trades = path == "/v5/trade";
        if !service.may_connect(address) {
            return plain(StatusCode::FORBIDDEN, rest::TOO_FREQUENT.to_owned());
        }
        let serve = move |socket| trade::socket::run(socket, service, trades);
        return upgrade(request, serve);
    }
    let Some(market) = market_of(request.uri().path()) else {
        return plain(StatusCode::NOT_FOUND, String::new());
    };
    if server::Service::core(&*service).lock().is_down(market) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    if !service.may_connect(address) {
        return plain(StatusCode::FORBIDDEN, rest::TOO_FREQUENT.to_owned());
    }
    upgrade(request, move |socket| session::run(socket, service, market))
}

async fn answer(request: Request<Incoming>, address: IpAddr, service: &Service) -> Answer {
    if !service.may_ask(address) {
        return plain(StatusCode::FORBIDDEN, rest::TOO_FREQUENT.to_owned());
    }
    if trade::is_private(request.method(), request.uri().path()) {
        return trade::answer(service, request).await;
    }
    if request.method() != Method::GET {
        return plain(StatusCode::NOT_FOUND, String::new());
    }
    let query = request.uri().query().unwrap_or_default();
    let (status, body) = rest::answer(service, request.uri().path(), query).await;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    plain(status, body)
}
