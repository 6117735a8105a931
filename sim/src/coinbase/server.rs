//! The exchange on the network: which host answers what, and to whom no more.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::market::Segment;
use crate::venue::limits::{Allowance, Counter, Verdict};
use crate::venue::server::{self, Answer, plain, upgrade};

use super::venue::{Coinbase, Core};
use super::{Role, rest, session, trade};

/// Public requests of an address in a second.
pub(super) const REQUESTS: Allowance = Allowance::new(10, 1_000);
/// Connections of an address in a second.
const CONNECTIONS: Allowance = Allowance::new(8, 1_000);

/// An exchange and what its connections share.
pub(crate) struct Service {
    core: Mutex<Core>,
    counter: Mutex<Counter>,
    stop: watch::Receiver<bool>,
}

impl Service {
    pub(super) fn new(core: Core, stop: watch::Receiver<bool>) -> Self {
        Self {
            core: Mutex::new(core),
            counter: Mutex::default(),
            stop,
        }
    }
}

impl server::Service for Service {
    type Venue = Coinbase;
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
            Role::Streams | Role::User if server::is_upgrade(&request) => {
                connect(request, address, self, role == Role::User)
            }
            Role::Streams | Role::User => plain(StatusCode::NOT_FOUND, String::new()),
            Role::Rest if trade::is_private(request.uri().path()) => {
                trade::answer(&self, request).await
            }
            Role::Rest => answer(&request, address, &self).await,
        }
    }
}

fn connect(
    request: Request<Incoming>,
    address: IpAddr,
    service: Arc<Service>,
    is_user: bool,
) -> Answer {
    if service.core.lock().is_down(Segment::Spot) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let verdict = service
        .counter
        .lock()
        .charge(address, "connections", CONNECTIONS, 1);
    if let Verdict::TooMany { .. } = verdict {
        return plain(StatusCode::TOO_MANY_REQUESTS, rest::TOO_MANY.to_owned());
    }
    upgrade(request, move |socket| {
        session::run(socket, service, is_user)
    })
}

async fn answer(request: &Request<Incoming>, address: IpAddr, service: &Service) -> Answer {
    if request.method() != Method::GET {
        return plain(StatusCode::NOT_FOUND, rest::not_found());
    }
    let verdict = service
        .counter
        .lock()
        .charge(address, "requests", REQUESTS, 1);
    let (reply, left) = match verdict {
        Verdict::TooMany { .. } => (rest::Reply::new(429, rest::TOO_MANY.to_owned()), 0),
        Verdict::Pass { used } => {
            let query = request.uri().query().unwrap_or_default();
            let reply = rest::answer(service, request.uri().path(), query).await;
            (reply, REQUESTS.most.saturating_sub(used))
        }
    };
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, reply.body);
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", HeaderValue::from(REQUESTS.most));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(left));
    headers.insert("x-ratelimit-reset", HeaderValue::from_static("1"));
    if let Some(seconds) = reply.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
