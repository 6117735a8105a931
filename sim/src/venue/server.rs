//! An exchange on the network: a listener per host, HTTP/1.1, and the upgrade to WebSocket.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role as Peer, WebSocketConfig};

use super::core::{Core, Venue};
use crate::chaos::Target;
use crate::fault::{FaultKind, FaultSpec};
use crate::market::Segment;

/// How often market time is moved on.
const TICK: Duration = Duration::from_millis(4);
/// Largest control message of a client.
const CLIENT_MESSAGE_MAX: usize = 256 * 1_024;

/// An HTTP answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An exchange and what its hosts answer.
pub(crate) trait Service: Send + Sync + 'static {
    /// What its streams say.
    type Venue: Venue;
    /// What a host serves.
    type Role: Copy + Send + Sync + 'static;

    /// The exchange behind the wire.
    fn core(&self) -> &Mutex<Core<Self::Venue>>;

    /// Set when the simulator stops.
    fn stop(&self) -> &watch::Receiver<bool>;

    /// Answers a request to a host.
    fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        address: IpAddr,
        role: Self::Role,
    ) -> impl Future<Output = Answer> + Send;
}

/// Waits until the simulator stops, or its handle is gone.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Moves the market until the simulator stops.
pub(crate) async fn drive<S: Service>(service: Arc<S>) {
    let mut stop = service.stop().clone();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            _ = tick.tick() => {}
        }
        while service.core().lock().run_to_now() {
            // Others want the lock too.
            tokio::task::yield_now().await;
        }
    }
}

/// Accepts the connections of one host until the simulator stops.
pub(crate) async fn listen<S: Service>(listener: TcpListener, role: S::Role, service: Arc<S>) {
    let mut stop = service.stop().clone();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // A restarting exchange takes nobody in.
            Ok(_) if service.core().lock().is_restarting() => {}
            Ok((socket, peer)) => {
                tokio::spawn(connection(socket, peer, role, Arc::clone(&service)));
            }
            // Out of descriptors, most likely: give others time to close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection<S: Service>(
    socket: TcpStream,
    peer: SocketAddr,
    role: S::Role,
    service: Arc<S>,
) {
    let _ = socket.set_nodelay(true);
    let mut stop = service.stop().clone();
    let mut restarts = service.core().lock().restarts.subscribe();
    let handler = service_fn(|request| {
        let service = Arc::clone(&service);
        async move {
            let answer = service.respond(request, peer.ip(), role).await;
            match answer.extensions().get::<Cut>() {
                None => Ok(answer),
                Some(cut) => Err(*cut),
            }
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    let serving = http
        .keep_alive(true)
        .serve_connection(TokioIo::new(socket), handler);
    tokio::select! {
        biased;
        () = stopped(&mut stop) => {}
        _ = restarts.changed() => {}
        // A peer that breaks off is nothing to report.
        _ = serving.with_upgrades() => {}
    }
}

/// Marks an answer that is never given: the connection ends instead.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the connection is cut by a fault")]
struct Cut;

/// Ends the connection instead of an answer.
pub(crate) fn cut() -> Answer {
    let mut answer = Response::new(Full::default());
    answer.extensions_mut().insert(Cut);
    answer
}

/// What became of a trading request under faults.
#[derive(Debug)]
pub(crate) enum Carried<R> {
    /// It was carried out (late, perhaps): the answer.
    Done(R),
    /// The connection has to end without an answer; whether it was carried out is another matter.
    Cut,
    /// It was carried out, and the answer has to be this error status.
    Failed(Box<FaultSpec>),
}

/// Carries out a trading request under the faults that strike those, and says how long its answer
/// has to wait. `path`: the REST path, or the method of a request over WebSocket.
pub(crate) fn carry_out_now<S: Service, R>(
    service: &S,
    market: Segment,
    path: &str,
    symbol: Option<&str>,
    act: impl FnOnce() -> R,
) -> (Carried<R>, Duration) {
    let target = Target::request(market, path, symbol);
    let strike = |kind: FaultKind| {
        let mut core = service.core().lock();
        let fault = core.faults.strike(|it| it == kind, &target);
        core.hub.counters.faulted += u64::from(fault.is_some());
        fault
    };
    if strike(FaultKind::CutRequest).is_some() {
        return (Carried::Cut, Duration::ZERO);
    }
    let answer = act();
    if strike(FaultKind::DropReply).is_some() {
        return (Carried::Cut, Duration::ZERO);
    }
    let wait = strike(FaultKind::LateReply).map_or(Duration::ZERO, |fault| fault.delay);
    match strike(FaultKind::FailReply) {
        Some(fault) => (Carried::Failed(Box::new(fault)), wait),
        None => (Carried::Done(answer), wait),
    }
}

/// As [`carry_out_now`]; waits where the answer has to.
pub(crate) async fn carry_out<S: Service, R>(
    service: &S,
    market: Segment,
    path: &str,
    symbol: Option<&str>,
    act: impl FnOnce() -> R,
) -> Carried<R> {
    let (carried, wait) = carry_out_now(service, market, path, symbol, act);
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    carried
}

/// Longest body of a request that is read.
const BODY_MAX: usize = 1 << 20;

/// The body of a request; `None` if it is too long, or the peer broke off.
pub(crate) async fn body(request: &mut Request<Incoming>) -> Option<Bytes> {
    use http_body_util::{BodyExt, Limited};
    let body = Limited::new(request.body_mut(), BODY_MAX);
    Some(body.collect().await.ok()?.to_bytes())
}

/// An answer with a JSON body.
pub(crate) fn plain(status: StatusCode, body: String) -> Answer {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json;charset=UTF-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Whether a request asks for a WebSocket.
pub(crate) fn is_upgrade(request: &Request<Incoming>) -> bool {
    request
        .headers()
        .get(header::UPGRADE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"))
}

/// A server's end of a WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Answers 101 and runs `serve` on the socket that comes of it.
pub(crate) fn upgrade<F>(
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

/// What faults make of a request before it is answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Trouble {
    /// An error status, as the fault says.
    Http(Box<FaultSpec>),
    /// The market is under maintenance.
    Down,
}

/// Waits where a fault slows the request down, and tells what stands in the way of an answer.
pub(crate) async fn trouble<S: Service>(
    service: &S,
    market: Segment,
    path: &str,
    symbol: Option<&str>,
) -> Option<Trouble> {
    let target = Target::request(market, path, symbol);
    let (slow, trouble) = {
        let mut core = service.core().lock();
        let slow = core.faults.strike(|kind| kind == FaultKind::Slow, &target);
        let http = core.faults.strike(|kind| kind == FaultKind::Http, &target);
        core.hub.counters.faulted += u64::from(slow.is_some()) + u64::from(http.is_some());
        let trouble = match http {
            Some(fault) => Some(Trouble::Http(Box::new(fault))),
            None => core.is_down(market).then_some(Trouble::Down),
        };
        (slow, trouble)
    };
    if let Some(fault) = slow {
        tokio::time::sleep(fault.delay).await;
    }
    trouble
}

/// Counts an answered request, and cuts the answer in half where a fault says so.
pub(crate) fn answered<S: Service>(
    service: &S,
    market: Segment,
    path: &str,
    symbol: Option<&str>,
    body: &mut String,
) {
    let target = Target::request(market, path, symbol);
    let mut core = service.core().lock();
    core.hub.counters.requests += 1;
    let wanted = |kind| kind == FaultKind::MalformedRest;
    if core.faults.strike(wanted, &target).is_some() {
        core.hub.counters.faulted += 1;
        let mut half = body.len() / 2;
        while !body.is_char_boundary(half) {
            half -= 1;
        }
        body.truncate(half);
    }
}

/// The fault against a book snapshot that strikes now, if one does.
pub(crate) fn snapshot_fault<S: Service>(
    service: &S,
    market: Segment,
    path: &str,
    symbol: Option<&str>,
) -> Option<FaultSpec> {
    let target = Target::request(market, path, symbol);
    let wanted = |kind| matches!(kind, FaultKind::StaleSnapshot | FaultKind::EdgeSnapshot);
    let mut core = service.core().lock();
    let fault = core.faults.strike(wanted, &target);
    core.hub.counters.faulted += u64::from(fault.is_some());
    fault
}
