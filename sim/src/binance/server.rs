//! The exchange on the network: which host answers what.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::account::{endpoint, events};
use super::core::{Binance, Core};
use super::limits::Limiter;
use super::stream::{self, Opening};
use super::{Role, api, rest, session};
use crate::account::AccountId;
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
            Role::Api(market) if is_upgrade => {
                if self.core.lock().is_down(market) {
                    return plain(StatusCode::SERVICE_UNAVAILABLE, String::new());
                }
                let limits = self.connection_limits(market);
                upgrade(request, move |socket| {
                    api::run(socket, self, address, market, limits)
                })
            }
            Role::Streams(_) | Role::Api(_) => plain(StatusCode::NOT_FOUND, String::new()),
            Role::Rest(_) | Role::DataRest | Role::CoinRest => {
                answer(request, address, role, &self).await
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
    mut request: Request<Incoming>,
    address: IpAddr,
    role: Role,
    exchange: &Exchange,
) -> Answer {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let endpoint = match role {
        Role::Rest(market) => endpoint::of_rest(market, request.method().as_str(), &path),
        _ => None,
    };
    if let Some(endpoint) = endpoint {
        let key = request.headers().get("x-mbx-apikey");
        let key = key.and_then(|key| key.to_str().ok()).map(str::to_owned);
        let body = server::body(&mut request).await;
        let body = body.and_then(|body| String::from_utf8(body.to_vec()).ok());
        let Some(body) = body else {
            return plain(StatusCode::BAD_REQUEST, String::new());
        };
        let key = key.as_deref();
        return endpoint::answer(exchange, endpoint, address, key, &query, &body).await;
    }
    if request.method() != Method::GET {
        return plain(
            StatusCode::NOT_FOUND,
            "{\"code\":-1000,\"msg\":\"Not Found\"}".to_owned(),
        );
    }
    let reply = rest::answer(exchange, role, address, &path, &query).await;
    endpoint::response(reply)
}

/// The user's stream of futures: whose it is, and which events are wanted (as a listener's channel).
fn user_stream(exchange: &Exchange, path: &str, query: &str) -> Option<Result<Listening, ()>> {
    let rest = path.strip_prefix("/private")?;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let of = |name: &str| pairs.clone().find(|(key, _)| *key == name);
    let in_path = rest.strip_prefix("/ws/").filter(|key| !key.is_empty());
    let named = in_path.or_else(|| of("listenKey").map(|(_, key)| key));
    let (key, is_combined) = match (rest.trim_end_matches('/'), named, of("streams")) {
        ("/stream", Some(key), _) | ("/stream", None, Some((_, key))) => (key, true),
        (_, Some(key), _) => (key, false),
        _ => return None,
    };
    let channel = match of("events") {
        Some((_, events)) if !is_combined => format!("{}{events}", events::CHOSEN),
        _ => key.to_owned(),
    };
    let owner = exchange.core.lock().venue.trading.listener(key);
    Some(owner.ok_or(()).map(|account| Listening {
        account,
        channel,
        is_combined,
    }))
}

/// A connection to a user's stream.
struct Listening {
    account: AccountId,
    channel: String,
    is_combined: bool,
}

fn open(
    request: Request<Incoming>,
    address: IpAddr,
    market: Segment,
    exchange: Arc<Exchange>,
) -> Answer {
    let limits = exchange.connection_limits(market);
    let query = request.uri().query().unwrap_or_default();
    if market == Segment::Linear
        && let Some(listening) = user_stream(&exchange, request.uri().path(), query)
    {
        return open_user_stream(request, exchange, listening, limits);
    }
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

fn open_user_stream(
    request: Request<Incoming>,
    exchange: Arc<Exchange>,
    listening: Result<Listening, ()>,
    limits: ConnectionLimits,
) -> Answer {
    // A key that is none opens a connection on which nothing comes.
    let is_down = {
        let core = exchange.core.lock();
        core.is_down(Segment::Linear) || core.is_private_down(Segment::Linear)
    };
    if is_down {
        return plain(StatusCode::SERVICE_UNAVAILABLE, String::new());
    }
    let is_combined = listening.as_ref().is_ok_and(|it| it.is_combined);
    let opening = Opening {
        route: stream::Route::Private,
        is_combined,
        micros: false,
        streams: Vec::new(),
    };
    let listening = listening.ok().map(|it| (it.account, it.channel));
    upgrade(request, move |socket| {
        session::run(socket, exchange, opening, listening, limits)
    })
}

fn serve_streams(
    request: Request<Incoming>,
    exchange: Arc<Exchange>,
    opening: Opening,
    limits: ConnectionLimits,
) -> Answer {
    upgrade(request, move |socket| {
        session::run(socket, exchange, opening, None, limits)
    })
}
