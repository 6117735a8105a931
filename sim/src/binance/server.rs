//! The exchange on the network: a listener per host, HTTP/1.1, and the upgrade to WebSocket.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role as Peer, WebSocketConfig};

use super::core::Core;
use super::limits::Limiter;
use super::stream::{self, Opening};
use super::{Role, api, rest, session};
use crate::config::{ConnectionLimits, MarketLimits};
use crate::market::Segment;

/// How often market time is moved on.
const TICK: Duration = Duration::from_millis(4);
/// Largest control message of a client.
const CLIENT_MESSAGE_MAX: usize = 256 * 1_024;

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

/// Waits until the simulator stops, or its handle is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Moves the market until the simulator stops.
pub(crate) async fn drive(exchange: Arc<Exchange>) {
    let mut stop = exchange.stop.clone();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            _ = tick.tick() => {}
        }
        while exchange.core.lock().run_to_now() {
            // Others want the lock too.
            tokio::task::yield_now().await;
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

/// Accepts the connections of one host until the simulator stops.
pub(crate) async fn listen(listener: TcpListener, role: Role, exchange: Arc<Exchange>) {
    let mut stop = exchange.stop.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                tokio::spawn(connection(socket, peer, role, Arc::clone(&exchange)));
            }
            // Out of descriptors, most likely: give others time to close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(socket: TcpStream, peer: SocketAddr, role: Role, exchange: Arc<Exchange>) {
    let _ = socket.set_nodelay(true);
    let mut stop = exchange.stop.clone();
    let service = service_fn(|request| {
        let exchange = Arc::clone(&exchange);
        async move { Ok::<_, Infallible>(respond(request, peer.ip(), role, exchange).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    let serving = http
        .keep_alive(true)
        .serve_connection(TokioIo::new(socket), service);
    tokio::select! {
        biased;
        () = stopped(&mut stop) => {}
        // A peer that breaks off is nothing to report.
        _ = serving.with_upgrades() => {}
    }
}

type Answer = Response<Full<Bytes>>;

fn plain(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

async fn respond(
    request: Request<Incoming>,
    address: IpAddr,
    role: Role,
    exchange: Arc<Exchange>,
) -> Answer {
    let is_upgrade = request
        .headers()
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    match role {
        Role::Streams(market) if is_upgrade => open(request, address, market, exchange),
        Role::Api if is_upgrade => upgrade(request, move |socket| api::run(socket, exchange)),
        Role::Streams(_) | Role::Api => plain(StatusCode::NOT_FOUND, String::new()),
        Role::Rest(_) | Role::DataRest | Role::CoinRest => {
            answer(&request, address, role, &exchange).await
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

/// A server's end of a WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers 101 and runs `serve` on the socket that comes of it.
fn upgrade<F>(
    mut request: Request<Incoming>,
    serve: impl FnOnce(Socket) -> F + Send + 'static,
) -> Answer
where
    F: Future<Output = ()> + Send,
{
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let Some(accept) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        return plain(StatusCode::BAD_REQUEST, String::new());
    };
    let Ok(accept) = HeaderValue::from_str(&accept) else {
        return plain(StatusCode::BAD_REQUEST, String::new());
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(io) = upgraded.await {
            let config = WebSocketConfig::default()
                .read_buffer_size(8 * 1_024)
                .max_message_size(Some(CLIENT_MESSAGE_MAX))
                .max_frame_size(Some(CLIENT_MESSAGE_MAX));
            let io = TokioIo::new(io);
            serve(WebSocketStream::from_raw_socket(io, Peer::Server, Some(config)).await).await;
        }
    });
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}
