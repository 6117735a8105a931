//! The exchange on the network: which host answers what.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::core::{Binance, Core};
use super::limits::Limiter;
use super::stream::{self, Opening};
use super::{Role, api, rest, session};
use crate::config::{ConnectionLimits, MarketLimits};
use crate::market::Segment;
use crate::venue::server::{self, Answer, Service, plain, stopped, upgrade};

/// An exchange and what its connections share.
pub(crate) struct Exchange {
    pub(crate) core: Mutex<Core>,
    spot: (MarketLimits, Mutex<Limiter>),
    usdm: (MarketLimits, Mutex<Limiter>),
    /// Set when the simulator stops.
    pub(crate) stop: watch::Receiver<bool>,
}

impl Exchange {
    pub(crate) fn new(
        core: Core,
        spot: MarketLimits,
        usdm: MarketLimits,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let limiter = |limits: MarketLimits| (limits, Mutex::new(Limiter::new(limits.rest)));
        Self {
            core: Mutex::new(core),
            spot: limiter(spot),
            usdm: limiter(usdm),
            stop,
        }
    }

    fn of(&self, market: Segment) -> &(MarketLimits, Mutex<Limiter>) {
        match market {
            Segment::Spot => &self.spot,
            Segment::Linear => &self.usdm,
        }
    }

    pub(crate) fn limiter(&self, market: Segment) -> &Mutex<Limiter> {
        &self.of(market).1
    }

    pub(crate) fn weight_limit(&self, market: Segment) -> u32 {
        self.of(market).0.rest.weight_per_minute
    }

    fn connection_limits(&self, market: Segment) -> ConnectionLimits {
        self.of(market).0.connection
    }
}

impl Service for Exchange {
    type Venue = Binance;
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
        let is_upgrade = server::is_upgrade(&request);
        match role {
            Role::Streams(market) if is_upgrade => open(request, address, market, self),
            Role::Api if is_upgrade => upgrade(request, move |socket| api::run(socket, self)),
            Role::Streams(_) | Role::Api => plain(StatusCode::NOT_FOUND, String::new()),
            Role::Rest(_) | Role::DataRest | Role::CoinRest => {
                answer(&request, address, role, &self).await
            }
        }
    }
}

/// Sends a market's recorded messages until the simulator stops.
pub(crate) async fn play(exchange: Arc<Exchange>, market: Segment) {
    let mut stop = exchange.stop.clone();
    loop {
        let next = exchange.core.lock().play(market);
        let wait = match next {
            super::tape::Next::Now => {
                tokio::task::yield_now().await;
                continue;
            }
            super::tape::Next::In(wait) => wait,
            super::tape::Next::Never => return,
        };
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn answer(
    request: &Request<Incoming>,
    address: IpAddr,
    role: Role,
    exchange: &Exchange,
) -> Answer {
    if request.method() != Method::GET {
        return plain(
            StatusCode::NOT_FOUND,
            "{\"code\":-1000,\"msg\":\"Not Found\"}".to_owned(),
        );
    }
    let (path, query) = (
        request.uri().path(),
        request.uri().query().unwrap_or_default(),
    );
    let reply = rest::answer(exchange, role, address, path, query).await;
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, reply.body);
    let headers = response.headers_mut();
    if let Some(used) = reply.used_weight {
        let used = HeaderValue::from(used);
        headers.insert("x-mbx-used-weight", used.clone());
        headers.insert("x-mbx-used-weight-1m", used);
    }
    if let Some(seconds) = reply.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn open(
    request: Request<Incoming>,
    address: IpAddr,
    market: Segment,
    exchange: Arc<Exchange>,
) -> Answer {
    let limits = exchange.connection_limits(market);
    let query = request.uri().query().unwrap_or_default();
    let Some(opening) = stream::opening(market, request.uri().path(), query) else {
        return plain(StatusCode::NOT_FOUND, String::new());
    };
    if exchange.core.lock().is_down(market) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let most = limits.attempts_per_five_minutes;
    if !exchange.limiter(market).lock().may_connect(address, most) {
        return plain(StatusCode::TOO_MANY_REQUESTS, String::new());
    }
    if opening.streams.len() > limits.streams_max {
        return plain(StatusCode::BAD_REQUEST, String::new());
    }
    serve_streams(request, exchange, opening, limits)
}

fn serve_streams(
    request: Request<Incoming>,
    exchange: Arc<Exchange>,
    opening: Opening,
    limits: ConnectionLimits,
) -> Answer {
    upgrade(request, move |socket| {
        session::run(socket, exchange, opening, limits)
    })
}
