//! From sockets to an application: the door, the guard, the HTTP/1.1 dispatcher.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Request};
use actix_service::{ServiceFactory, ServiceFactoryExt, map_config};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse, fn_service};
use actix_web::http::KeepAlive;
use actix_web::rt::net::TcpStream;

use super::accept::Door;
use super::guard::{Guarded, Refuse};

/// Time for a connection to end once we have ended it.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a worker needs to serve connections.
#[derive(Clone)]
pub struct Serving {
    /// Who is let in.
    pub door: Door,
    /// Where the server listens.
    pub address: SocketAddr,
    /// Time that a connection may be idle between requests.
    pub keep_alive: Duration,
}

/// Serves an application on the sockets that a worker is given.
///
/// `end` completes when connections are to be ended; `refuse` answers what is no request.
pub fn serve<A, B, E>(
    app: A,
    serving: Serving,
    end: impl Fn() -> E + 'static,
    refuse: Rc<Refuse>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = DispatchError, InitError = ()>
where
    A: ServiceFactory<
            Request,
            Config = AppConfig,
            Response = ServiceResponse<B>,
            Error = actix_web::Error,
        > + 'static,
    A::InitError: Debug,
    A::Service: 'static,
    B: MessageBody + 'static,
    E: Future<Output = ()> + 'static,
{
    let app = app.map_err(|error| error.error_response());
    let http = HttpService::build()
        .graceful_shutdown_signal(end)
        .keep_alive(KeepAlive::Timeout(serving.keep_alive))
        // The guard has a clock for every request, not for the first one only.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(GOODBYE)
        .local_addr(serving.address)
        .on_connect_ext(|connection: &Guarded, data| {
            data.insert(connection.link().clone());
        })
        .h1(map_config(app, |()| AppConfig::default()));
    let door = serving.door;
    fn_service(move |socket: TcpStream| {
        let (door, refuse) = (door.clone(), refuse.clone());
        async move {
            let admitted = door.admit(socket, refuse).await;
            admitted.map_err(|error| {
                tracing::debug!("a connection was not let in: {error}");
                DispatchError::Io(error)
            })
        }
    })
    .and_then(http)
}
