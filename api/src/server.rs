//! The HTTP server: the one route table, what it is bound to, and how it stops.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::{Duration, Instant};

use actix_service::IntoServiceFactory;
use actix_web::dev::Server;
use actix_web::http::Method;
use actix_web::{App, Route, guard, middleware, web};
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
use crate::rest::kept::KeptAnswers;
use crate::rest::pages::Shelf;
use crate::rest::{
    auth, backfill, config, data, log, metrics, ops, prices, providers, trading, validation,
};
use crate::settings::Settings;
use crate::spec::{self, Operation, Verb};
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
    let shelf = web::Data::new(Shelf::default());
    let kept = web::Data::new(KeptAnswers::new(config.store.answer_cache_bytes));
    let watch = web::Data::new(PriceWatch::new(&config.data_collection));
    let sampler = sample(&windows, &gateway, &gate, &watch);
    let deviations = PriceWatch::clone(&watch).run(gateway.clone());
    let deviations = TaskGuard(tokio::spawn(deviations));
    let mut options = WsOptions::from(config);
    options.session.is_data_open = config.server.open_data.is_open(is_loopback);
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
        hosting.host(workers);
        let app = App::new()
            .app_data(gate.clone())
            .app_data(shared.clone())
            .app_data(auth.clone())
            .app_data(settings.clone())
            .app_data(shared_audit.clone())
            .app_data(started.clone())
            .app_data(windows.clone())
            .app_data(shelf.clone())
            .app_data(kept.clone())
            .app_data(watch.clone())
            .app_data(web::PayloadConfig::new(body_bytes_max))
            .wrap(middleware::from_fn(audit::watch))
            .wrap(middleware::from_fn(gate::pass))
            .configure(|service| drop(routes(service)))
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

/// All REST routes; what was registered.
pub fn routes(service: &mut web::ServiceConfig) -> Vec<&'static Operation> {
    let mut routes = Routes {
        service,
        taken: Vec::new(),
    };
    // They are tried in this order, and each that has a name in it costs some microseconds. Orders first.
    trading_routes(&mut routes);
    data_routes(&mut routes);
    health_routes(&mut routes);
    operation_routes(&mut routes);
    routes.taken
}

fn data_routes(routes: &mut Routes<'_>) {
    use spec::data as of;
    routes.add([(&of::PROVIDERS, web::to(data::providers))]);
    routes.add([(&of::SCHEMAS, web::to(data::schemas))]);
    routes.add([(&of::QUERY_DATA, web::to(data::query_data))]);
    routes.add([(&of::ROWS, web::to(data::rows))]);
}

fn health_routes(routes: &mut Routes<'_>) {
    use spec::ops as of;
    routes.add([(&of::LIVEZ, web::to(ops::livez))]);
    routes.add([(&of::READYZ, web::to(ops::readyz))]);
    routes.add([(&of::METRICS, web::to(metrics::metrics))]);
    routes.add([(&of::SUMMARY, web::to(metrics::summary))]);
    routes.add([(&of::HEALTH, web::to(ops::health))]);
    routes.add([(&of::OPENAPI, web::to(spec::openapi::openapi))]);
    routes.add([(&of::ASYNCAPI, web::to(spec::asyncapi))]);
    routes.add([(&of::DOCS, web::to(spec::docs))]);
}

fn operation_routes(routes: &mut Routes<'_>) {
    use spec::ops as of;
    routes.add([(&of::CONFIG, web::to(config::show))]);
    routes.add([(&of::CHANGE, web::to(config::change))]);
    routes.add([
        (&of::LOG, web::to(log::show)),
        (&of::CHANGE_LOG, web::to(log::change)),
    ]);
    routes.add([(&of::STATUS, web::to(providers::status))]);
    routes.add([(&of::CAPABILITIES, web::to(providers::capabilities))]);
    routes.add([(&of::RECONNECT, web::to(providers::reconnect))]);
    routes.add([(&of::RESYNC, web::to(providers::resync))]);
    routes.add([(&of::PRICE, web::to(prices::validate))]);
    routes.add([(&of::GAPS, web::to(validation::gaps))]);
    routes.add([(&of::QUARANTINE, web::to(validation::quarantine))]);
    routes.add([(&of::RELEASE, web::to(validation::release))]);
    routes.add([
        (&of::BACKFILL, web::to(backfill::list)),
        (&of::ORDER_BACKFILL, web::to(backfill::order)),
    ]);
    routes.add([(&of::VALIDATE, web::to(auth::validate))]);
}

fn trading_routes(routes: &mut Routes<'_>) {
    use spec::trading as of;
    routes.add([
        (&of::LIST, web::to(trading::list)),
        (&of::PLACE, web::to(trading::place)),
        (&of::CANCEL_ALL, web::to(trading::cancel_all)),
    ]);
    routes.add([
        (&of::ONE, web::to(trading::one)),
        (&of::AMEND, web::to(trading::amend)),
        (&of::CANCEL, web::to(trading::cancel)),
    ]);
    routes.add([(&of::BY_CLIENT_ID, web::to(trading::by_client_id))]);
    routes.add([(&of::ACCOUNTS, web::to(trading::accounts))]);
    routes.add([(&of::BALANCES, web::to(trading::balances))]);
    routes.add([(&of::FILLS, web::to(trading::fills))]);
    routes.add([(&of::POSITIONS, web::to(trading::positions))]);
    routes.add([(&of::LEVERAGE, web::to(trading::leverage))]);
    routes.add([(&of::RESET, web::to(trading::reset))]);
    routes.add([(&of::KILL_SWITCH, web::to(trading::kill_switch))]);
}

/// Registers operations where the documents say that they are.
struct Routes<'a> {
    service: &'a mut web::ServiceConfig,
    taken: Vec<&'static Operation>,
}

impl Routes<'_> {
    /// The methods of one path. Others are told which there are.
    fn add<const N: usize>(&mut self, methods: [(&'static Operation, Route); N]) {
        let Some(path) = methods.first().map(|(operation, _)| operation.path) else {
            return;
        };
        let allowed: Vec<&str> = methods.iter().map(|(one, _)| one.verb.allowed()).collect();
        let allowed: Rc<str> = allowed.join(", ").into();
        let mut resource = web::resource(path);
        for (operation, route) in methods {
            debug_assert_eq!(operation.path, path);
            resource = resource.route(match operation.verb {
                Verb::Get => route.guard(guard::Any(guard::Get()).or(guard::Head())),
                Verb::Post => route.guard(guard::Post()),
                Verb::Put => route.guard(guard::Put()),
                Verb::Patch => route.guard(guard::Patch()),
                Verb::Delete => route.guard(guard::Delete()),
            });
            self.taken.push(operation);
        }
        let other = web::to(move |method: Method| {
            let error = ApiError::wrong_method(&method, &allowed);
            async move { Err::<String, ApiError>(error) }
        });
        self.service.service(resource.default_service(other));
    }
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
