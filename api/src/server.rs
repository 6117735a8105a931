//! The HTTP server: the one route table, what it is bound to, and how it stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_service::IntoServiceFactory;
use actix_web::dev::{Handler, HttpServiceFactory, Server};
use actix_web::http::Method;
use actix_web::{App, FromRequest, Responder, guard, middleware, web};
use bookwire_actors::gateway::Gateway;
use bookwire_engine::config::Config;
use tokio::task::JoinHandle;

use crate::audit::{self, Audit};
use crate::auth::Auth;
use crate::deviations::PriceWatch;
use crate::error::ApiError;
use crate::gate::{self, Gate};
use crate::net::accept::Door;
use crate::net::guard::Refuse;
use crate::net::serve::{Serving, serve};
use crate::net::tls::{Tls, TlsFiles};
use crate::operator::OperatorKey;
use crate::rest::{
    auth, backfill, config, data, metrics, ops, prices, providers, trading, validation,
};
use crate::settings::Settings;
use crate::ws::{WsOptions, WsState};
use crate::zvt::{self, Upstream};

/// Longest time that a stop waits for clients to take their last message.
const SESSIONS: Duration = Duration::from_secs(2);

/// Longest time that a stop waits for answers under way.
const ANSWERS_SECS: u64 = 3;

/// Longest time that a stop waits for the engine and its store.
const ENGINE: Duration = Duration::from_secs(10);

/// Longest time that a stop waits for the audit log.
const AUDIT: Duration = Duration::from_secs(5);

/// A running server.
pub struct ServerHandle {
    address: SocketAddr,
    server: actix_web::dev::ServerHandle,
    task: JoinHandle<io::Result<()>>,
    sessions: WsState,
    gateway: Gateway,
    audit: Audit,
    /// They end with the server.
    #[expect(dead_code, reason = "they are there to be dropped")]
    tasks: [TaskGuard; 2],
}

/// Starts serving on `config.server.listen`; port 0 takes a free one.
///
/// Needs a tokio runtime; the workers have threads of their own.
///
/// # Errors
/// The address can't be bound.
pub fn start(config: &Config, gateway: Gateway) -> io::Result<ServerHandle> {
    let listener = TcpListener::bind(config.server.listen)?;
    start_on(listener, config, gateway)
}

/// Starts serving on a listener, without operator commands.
///
/// # Errors
/// The listener can't be used.
pub fn start_on(
    listener: TcpListener,
    config: &Config,
    gateway: Gateway,
) -> io::Result<ServerHandle> {
    start_with(listener, config, gateway, None)
}

/// Starts serving on a listener; whoever has the operator's key can command, and nobody has another.
///
/// # Errors
/// The listener can't be used.
pub fn start_with(
    listener: TcpListener,
    config: &Config,
    gateway: Gateway,
    operator: Option<OperatorKey>,
) -> io::Result<ServerHandle> {
    start_for(listener, config, gateway, Auth::new(config, operator))
}

/// Starts serving on a listener for those whose keys `auth` knows.
///
/// # Errors
/// The listener can't be used.
pub fn start_for(
    listener: TcpListener,
    config: &Config,
    gateway: Gateway,
    auth: Auth,
) -> io::Result<ServerHandle> {
    let settings = Settings::new(config.clone());
    start_changed(listener, config, gateway, auth, settings)
}

/// As [`start_for`]; `config` is what `settings` make of the configuration that lies below them.
///
/// # Errors
/// The listener can't be used.
pub fn start_changed(
    listener: TcpListener,
    config: &Config,
    gateway: Gateway,
    auth: Auth,
    settings: Settings,
) -> io::Result<ServerHandle> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let is_loopback = address.ip().is_loopback();
    let tls = TlsFiles::configured(config).map(Tls::follow);
    let tls = tls.transpose().map_err(io::Error::other)?;
    if !is_loopback && tls.is_none() {
        tracing::warn!(
            %address,
            "not on loopback and not encrypted: keys and orders can be read on the way. Set \
             server.tls_certificate_file and server.tls_key_file, or let a proxy encrypt"
        );
    }
    let gate = web::Data::new(Gate::new(config, is_loopback));
    let door = Door::new(config, tls);
    let started = web::Data::new(ops::Started(Instant::now()));
    let windows = web::Data::new(metrics::Windows::default());
    let watch = web::Data::new(PriceWatch::new(&config.data_collection));
    let sampler = sample(&windows, &gateway, &gate, &watch);
    let deviations = PriceWatch::clone(&watch).run(gateway.clone());
    let deviations = TaskGuard(tokio::spawn(deviations));
    let options = WsOptions::from(config);
    let sessions = WsState::for_gateway(options, &gateway, Some(auth.clone()));
    let settings = web::Data::new(settings);
    let audit = auth.audit();
    let shared_audit = web::Data::new(audit.clone());
    let auth = web::Data::new(auth);
    let shared = web::Data::new(gateway.clone());
    let mounted = sessions.clone();
    let workers = match config.server.workers {
        0 => crate::engine::cores(),
        workers => workers,
    };
    let upstream = Upstream::new(&config.zvt, address).map_err(io::Error::other)?;
    let body_bytes_max = config.limits.body_bytes_max;
    let builder = Server::build();
    let end = builder.graceful_shutdown_signal();
    let connections = door.connections_max();
    let serving = Serving {
        door,
        address,
        keep_alive: Duration::from_millis(config.limits.keep_alive_ms),
    };
    let hosting = gateway.clone();
    let pipeline = move || {
        hosting.host_shards(workers);
        let app = App::new()
            .app_data(gate.clone())
            .app_data(shared.clone())
            .app_data(auth.clone())
            .app_data(settings.clone())
            .app_data(shared_audit.clone())
            .app_data(started.clone())
            .app_data(windows.clone())
            .app_data(watch.clone())
            .app_data(web::PayloadConfig::new(body_bytes_max))
            .wrap(middleware::from_fn(audit::watch))
            .wrap(middleware::from_fn(gate::pass))
            .configure(routes)
            .configure(|config| mounted.configure(config))
            .default_service(web::to(zvt::pass_on));
        let app = match &upstream {
            Some(upstream) => app.app_data(web::Data::new(upstream.of_worker())),
            None => app,
        };
        let gate = gate.clone();
        let end = end.clone();
        let end = move || {
            let end = end.clone();
            async move { end.notified().await }
        };
        let refuse: Rc<Refuse> = Rc::new(move |refusal, address| gate.refuse(refusal, address));
        serve(app.into_factory(), serving.clone(), end, refuse)
    };
    let server = builder
        .workers(workers)
        // The door is what refuses; this would only leave clients waiting.
        .max_concurrent_connections(connections.saturating_add(1024))
        .shutdown_timeout(ANSWERS_SECS)
        .disable_signals()
        .listen("api", listener, pipeline)?
        .run();
    let handle = server.handle();
    Ok(ServerHandle {
        address,
        server: handle,
        task: tokio::spawn(server),
        sessions,
        gateway,
        audit,
        tasks: [sampler, deviations],
    })
}

/// Ends a task with its owner.
struct TaskGuard(JoinHandle<()>);

impl Drop for TaskGuard {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Moves the windows of the metrics on.
fn sample(
    windows: &web::Data<metrics::Windows>,
    gateway: &Gateway,
    gate: &web::Data<Gate>,
    watch: &web::Data<PriceWatch>,
) -> TaskGuard {
    let (windows, gateway, gate) = (windows.clone(), gateway.clone(), gate.clone());
    let watch = watch.clone();
    TaskGuard(tokio::spawn(async move {
        let mut pace = tokio::time::interval(metrics::SAMPLE);
        // The first tick is at once.
        pace.tick().await;
        loop {
            pace.tick().await;
            windows.sample(&gateway, &gate, &watch);
        }
    }))
}

/// All REST routes.
pub fn routes(service: &mut web::ServiceConfig) {
    service
        .service(get("/livez", ops::livez))
        .service(get("/readyz", ops::readyz))
        .service(get("/metrics", metrics::metrics))
        .service(get("/api/crypto/metrics", metrics::summary))
        .service(get("/api/crypto/health", ops::health))
        .service(get("/api/crypto/config", config::show))
        .service(put(
            "/api/crypto/config/exchanges/{exchange_name}",
            config::change,
        ))
        .service(get("/api/crypto/providers/status", providers::status))
        .service(get(
            "/api/crypto/providers/capabilities",
            providers::capabilities,
        ))
        .service(post(
            "/api/crypto/providers/{name}/reconnect",
            providers::reconnect,
        ))
        .service(post(
            "/api/crypto/providers/{name}/resync",
            providers::resync,
        ))
        .service(post("/api/crypto/validation/price", prices::validate))
        .service(get("/api/crypto/validation/gaps", validation::gaps))
        .service(get(
            "/api/crypto/validation/quarantine",
            validation::quarantine,
        ))
        .service(post(
            "/api/crypto/validation/quarantine/{id}/release",
            validation::release,
        ))
        .service(get_or_post(
            "/api/crypto/history/backfill",
            backfill::list,
            backfill::order,
        ))
        .configure(trading_routes)
        .service(get("/api/crypto/auth/validate", auth::validate))
        .service(get("/api/data/providers", data::providers))
        .service(get("/api/data/schemas", data::schemas))
        .service(get("/api/data/query_data", data::query_data))
        .service(get("/api/data/{schema}", data::rows));
}

fn trading_routes(config: &mut web::ServiceConfig) {
    let reads = || guard::Any(guard::Get()).or(guard::Head());
    let orders = web::resource("/api/trading/orders")
        .route(web::route().guard(reads()).to(trading::list))
        .route(web::post().to(trading::place))
        .route(web::delete().to(trading::cancel_all))
        .default_service(web::to(not_orders));
    let order = web::resource("/api/trading/orders/{order_id}")
        .route(web::route().guard(reads()).to(trading::one))
        .route(web::patch().to(trading::amend))
        .route(web::delete().to(trading::cancel))
        .default_service(web::to(not_order));
    config
        .service(get(
            "/api/trading/orders/by-client-id/{client_order_id}",
            trading::by_client_id,
        ))
        .service(orders)
        .service(order)
        .service(get("/api/trading/accounts", trading::accounts))
        .service(get("/api/trading/balances", trading::balances))
        .service(get("/api/trading/fills", trading::fills))
        .service(get("/api/trading/positions", trading::positions))
        .service(post("/api/trading/leverage", trading::leverage))
        .service(post("/api/trading/paper/reset", trading::reset))
        .service(post("/api/trading/kill_switch", trading::kill_switch));
}

async fn not_orders(method: Method) -> Result<String, ApiError> {
    Err(ApiError::wrong_method(&method, "GET, HEAD, POST, DELETE"))
}

async fn not_order(method: Method) -> Result<String, ApiError> {
    Err(ApiError::wrong_method(&method, "GET, HEAD, PATCH, DELETE"))
}

/// A path that can be read.
fn get<F, Args>(path: &'static str, handler: F) -> impl HttpServiceFactory
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    let reads = guard::Any(guard::Get()).or(guard::Head());
    web::resource(path)
        .route(web::route().guard(reads).to(handler))
        .default_service(web::to(wrong_method))
}

/// A path that commands.
fn post<F, Args>(path: &'static str, handler: F) -> impl HttpServiceFactory
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::post().to(handler))
        .default_service(web::to(not_post))
}

/// A path that is changed.
fn put<F, Args>(path: &'static str, handler: F) -> impl HttpServiceFactory
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::put().to(handler))
        .default_service(web::to(not_put))
}

async fn not_put(method: Method) -> Result<String, ApiError> {
    Err(ApiError::wrong_method(&method, "PUT"))
}

/// A path that can be read, and commands when it is posted to.
fn get_or_post<F, A, G, B>(path: &'static str, read: F, command: G) -> impl HttpServiceFactory
where
    F: Handler<A>,
    A: FromRequest + 'static,
    F::Output: Responder + 'static,
    G: Handler<B>,
    B: FromRequest + 'static,
    G::Output: Responder + 'static,
{
    let reads = guard::Any(guard::Get()).or(guard::Head());
    web::resource(path)
        .route(web::route().guard(reads).to(read))
        .route(web::post().to(command))
        .default_service(web::to(not_get_or_post))
}

async fn not_get_or_post(method: Method) -> Result<String, ApiError> {
    Err(ApiError::wrong_method(&method, "GET, HEAD, POST"))
}

async fn wrong_method(method: Method) -> Result<String, ApiError> {
    Err(ApiError::wrong_method(&method, "GET, HEAD"))
}

async fn not_post(method: Method) -> Result<String, ApiError> {
    Err(ApiError::wrong_method(&method, "POST"))
}

impl ServerHandle {
    /// The address that is really bound.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// WebSocket connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.sessions.connections()
    }

    /// Completes when the server ended by itself.
    ///
    /// # Errors
    /// Why it did.
    pub async fn ended(&mut self) -> io::Result<()> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// Stops in order, each step bounded: nothing new is accepted, sessions are closed with 1012,
    /// answers under way end, the engine stops and the store is flushed. True when everything was
    /// written and nothing had to be left behind.
    pub async fn stop(self) -> bool {
        self.server.pause().await;
        self.sessions.stop("the server is restarting");
        let deadline = Instant::now() + SESSIONS;
        while self.sessions.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.gateway.stop_hosted(ENGINE / 2).await;
        self.server.stop(true).await;
        let report = self.gateway.shutdown(ENGINE).await;
        let audit = self.audit.clone();
        // Last: what happened up to here is in it.
        let _ = tokio::task::spawn_blocking(move || audit.stop(AUDIT)).await;
        if report.shards_left > 0 || !report.is_store_flushed {
            tracing::error!(
                shards_left = report.shards_left,
                is_store_flushed = report.is_store_flushed,
                "not everything stopped in time"
            );
            return false;
        }
        true
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "command_tests.rs"]
mod command_tests;

#[cfg(test)]
#[path = "server_limits_tests.rs"]
mod limit_tests;
