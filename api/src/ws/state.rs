//! What `/ws` needs on every worker thread, and the route itself.

use std::cell::Cell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use actix_web_actors::ws;
use bookwire_actors::alive::counted;
use bookwire_actors::dispatcher::WorkerHub;
use bookwire_actors::gateway::Gateway;
use bookwire_actors::session::flow::{Close, OutboxLimits};
use bookwire_actors::session::keys::SessionKeys;
use bookwire_actors::session::{SessionLimits, SessionOptions, SubscriptionSession};
use bookwire_actors::worker::SessionMemory;
use bookwire_engine::config::Config;
use bookwire_engine::error::{CryptoCode, CryptoError};
use futures_util::future::LocalBoxFuture;
use tokio::sync::{OnceCell, watch};

use super::admission::{check_origin, numbers_of, too_many};
use super::inbound::FrameGuard;
use super::keys::KeysOfAddress;
use super::protocol;
use super::pump::{Pump, PumpOptions, Wire};
use crate::auth::Auth;
use crate::error::{ApiError, TRACE_HEADER, TraceId};
use crate::net::client;
use crate::net::link::Link;
use crate::net::places::ConnectionCounter;

/// Limits of `/ws`; defaults are the contract's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsOptions {
    /// Limits of each session.
    pub session: SessionLimits,
    /// Connections of one address.
    pub connections_per_ip: u32,
    /// Largest inbound frame and message, bytes.
    pub frame_bytes_max: usize,
    /// Origins whose pages may connect, besides our own.
    pub allowed_origins: Vec<String>,
    /// Host names of our own pages, besides addresses and `localhost`.
    pub hosts: Vec<String>,
}

impl Default for WsOptions {
    fn default() -> Self {
        Self {
            session: SessionLimits::default(),
            connections_per_ip: 5,
            frame_bytes_max: 64 << 10,
            allowed_origins: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

impl From<&Config> for WsOptions {
    fn from(config: &Config) -> Self {
        let hosts = config.server.allowed_hosts.clone();
        let config = &config.websocket;
        let session = SessionLimits::default();
        Self {
            session: SessionLimits {
                // Whether they are, the server says.
                is_data_open: true,
                subscriptions: config.subscriptions_per_connection,
                requests_per_second: config.messages_per_second,
                outbox: OutboxLimits {
                    messages: config.outbox_messages,
                    ..session.outbox
                },
                ping_secs: config.ping_secs,
                idle_secs: config.idle_secs,
            },
            connections_per_ip: config.connections_per_ip,
            frame_bytes_max: config.frame_bytes_max,
            allowed_origins: config.allowed_origins.clone(),
            hosts,
        }
    }
}

/// Makes the hub of the worker thread that calls it.
pub type StartHub =
    dyn Fn() -> LocalBoxFuture<'static, Result<Rc<WorkerHub>, CryptoError>> + Send + Sync;

struct Shared {
    options: WsOptions,
    counter: Arc<ConnectionCounter>,
    start_hub: Box<StartHub>,
    /// Keys that sessions can prove.
    auth: Option<Auth>,
    stop: watch::Sender<Option<Close>>,
}

/// Shared by all worker threads; clone it into the server's factory.
#[derive(Clone)]
pub struct WsState(Arc<Shared>);

/// One worker thread's part: its hub, started with the first connection.
struct WsWorker {
    state: WsState,
    hub: OnceCell<Rc<WorkerHub>>,
}

impl WsState {
    /// State for hubs made by `start_hub`, whose sessions can prove no key.
    #[must_use]
    pub fn new(options: WsOptions, start_hub: Box<StartHub>) -> Self {
        Self::with_keys(options, start_hub, None)
    }

    /// State for hubs made by `start_hub`, whose sessions can prove these keys.
    #[must_use]
    pub fn with_keys(options: WsOptions, start_hub: Box<StartHub>, auth: Option<Auth>) -> Self {
        Self(Arc::new(Shared {
            options,
            counter: Arc::default(),
            start_hub,
            auth,
            stop: watch::Sender::new(None),
        }))
    }

    /// State for hubs that get their market data from an engine.
    #[must_use]
    pub fn for_gateway(options: WsOptions, gateway: &Gateway, auth: Option<Auth>) -> Self {
        let gateway = gateway.clone();
        let start_hub = move || -> LocalBoxFuture<'static, Result<Rc<WorkerHub>, CryptoError>> {
            let gateway = gateway.clone();
            Box::pin(async move {
                let port = gateway.attach_worker().await?;
                let source = Rc::new(gateway);
                Ok(WorkerHub::start(port, source))
            })
        };
        Self::with_keys(options, Box::new(start_hub), auth)
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.0.counter.open()
    }

    /// Closes all connections with code 1012, and those that come later. Returns at once; they are
    /// gone when [`WsState::connections`] is 0, at the latest after the close's grace period.
    pub fn stop(&self, reason: &str) {
        self.0.stop.send_replace(Some(Close::restart(reason)));
    }

    /// Mounts `/ws`. Call it in the server's factory, once for each worker.
    pub fn configure(&self, config: &mut web::ServiceConfig) {
        let worker = Rc::new(WsWorker {
            state: self.clone(),
            hub: OnceCell::new(),
        });
        config
            .app_data(worker)
            .route("/ws", web::get().to(ws_route));
    }
}

impl WsWorker {
    async fn hub(&self) -> Result<Rc<WorkerHub>, CryptoError> {
        let hub = self
            .hub
            .get_or_try_init(|| async {
                let hub = (self.state.0.start_hub)().await?;
                let mut stop = self.state.0.stop.subscribe();
                let weak = Rc::downgrade(&hub);
                actix_web::rt::spawn(counted(async move {
                    // Ends with the state or with the one stop there is.
                    if let Ok(close) = stop.wait_for(Option::is_some).await
                        && let (Some(hub), Some(close)) = (weak.upgrade(), &*close)
                    {
                        hub.close_all(close);
                    }
                }));
                Ok::<_, CryptoError>(hub)
            })
            .await?;
        Ok(hub.clone())
    }
}

/// `GET /ws`: becomes a WebSocket connection.
///
/// # Errors
/// `CRYPTO_FORBIDDEN` for a page of another origin, `CRYPTO_INVALID_PARAMETER` for a bad query or
/// handshake, `CRYPTO_RATE_LIMIT_EXCEEDED` for too many connections of the address.
pub async fn ws_route(req: HttpRequest, payload: web::Payload) -> Result<HttpResponse, ApiError> {
    let sent = req.headers().get(TRACE_HEADER);
    let trace = TraceId::take_over(sent.map(HeaderValue::as_bytes));
    match connect(&req, payload, &trace).await {
        Ok(mut answer) => {
            if let Ok(value) = HeaderValue::from_str(trace.as_str()) {
                let name = HeaderName::from_static(TRACE_HEADER);
                answer.headers_mut().insert(name, value);
            }
            Ok(answer)
        }
        Err(error) => {
            let mut error = ApiError::new(error);
            error.trace = Some(trace);
            Err(error)
        }
    }
}

/// Refuses a session for which there is no memory.
fn has_memory(memory: &SessionMemory) -> Result<(), CryptoError> {
    if memory.has_room() {
        return Ok(());
    }
    Err(CryptoError::new(
        CryptoCode::RateLimitExceeded,
        "the memory of all sessions is used up",
    )
    .with("rate_limit", memory.limit())
    // Clients that do not read are being cut off.
    .with("retry_after_seconds", 1)
    .with("current_usage", memory.used())
    .suggest("try again in a moment, or raise websocket.memory_bytes_max in the configuration"))
}

async fn connect(
    req: &HttpRequest,
    payload: web::Payload,
    trace: &TraceId,
) -> Result<HttpResponse, CryptoError> {
    let internal = |what: &str| CryptoError::new(CryptoCode::InternalError, what);
    let worker = req
        .app_data::<Rc<WsWorker>>()
        .ok_or_else(|| internal("/ws is not configured"))?;
    let shared = &worker.state.0;
    let options = &shared.options;
    let text = |name| req.headers().get(name).map(|value| value.to_str());
    let origin = match text(header::ORIGIN) {
        // Not even text: certainly no origin that is allowed.
        Some(Err(_)) => Some("null"),
        Some(Ok(origin)) => Some(origin),
        None => None,
    };
    let host = text(header::HOST).and_then(Result::ok);
    check_origin(origin, host, &options.allowed_origins, &options.hosts)?;
    let numbers = numbers_of(req.query_string())?;
    let mut answer = ws::handshake(req).map_err(|error| {
        let accepted = "a WebSocket handshake of RFC 6455";
        CryptoError::invalid_parameter("upgrade", &error.to_string(), accepted)
            .suggest("connect with a WebSocket client to ws://…/ws")
    })?;
    let address = client::address(req);
    let most = options.connections_per_ip;
    let permit = shared.counter.admit(address, most);
    let permit = permit.map_err(|open| too_many(most, open))?;
    let hub = worker.hub().await?;
    has_memory(hub.memory())?;

    let trace_id: Rc<str> = trace.as_str().into();
    let for_replies = trace_id.clone();
    // A client that takes nothing any more is cut off: its pump is not polled then.
    let link = req
        .conn_data::<Rc<Link>>()
        .map_or_else(Weak::new, Rc::downgrade);
    let session = SubscriptionSession::launch(SessionOptions {
        hub: hub.clone(),
        limits: options.session,
        numbers,
        keys: shared.auth.clone().map(|auth| -> Box<dyn SessionKeys> {
            let trace_id = trace_id.clone();
            Box::new(KeysOfAddress {
                auth,
                address,
                trace_id,
            })
        }),
        encode: Box::new(move |reply, now| protocol::encode(reply, &for_replies, now)),
        cut: Box::new(move || {
            if let Some(link) = link.upgrade() {
                link.cut();
            }
        }),
    });
    tracing::debug!(%address, "client connected");
    let is_draining = Rc::new(Cell::new(false));
    let inbound = FrameGuard::new(
        payload,
        options.frame_bytes_max,
        session.cell.clone(),
        is_draining.clone(),
    );
    let pump = Pump::new(PumpOptions {
        hub,
        session,
        trace_id: trace_id.clone(),
        requests_per_second: options.session.requests_per_second,
        message_bytes_max: options.frame_bytes_max,
        is_draining,
        permit,
    });
    let response = answer.streaming(Wire::start(pump, inbound));
    // From here on sessions have limits of their own, and requests none.
    if let Some(link) = req.conn_data::<Rc<Link>>() {
        link.upgrade();
    }
    Ok(response)
}
