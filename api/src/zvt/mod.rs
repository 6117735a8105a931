//! In front of a ZVT server (the contract's section 9): requests under `/api/` that are not ours are passed
//! on as they came, and its providers stand in our list.
//!
//! What is not passed on: headers of the connection (RFC 9110, 7.6.1), proofs of our own API keys, which are
//! none of its business, and permissions for pages of other origins, which ZVT gives to everybody.

mod lists;
mod proxy;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_engine::config::ZvtConfig;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::Permission;

pub use lists::Lists;

use crate::auth;
use crate::error::ApiError;
use crate::rest::schema::Schema;

/// Time for a connection to the server.
const CONNECT: Duration = Duration::from_secs(3);

/// The providers of the server are asked for again after this time.
const LISTS: Duration = Duration::from_secs(60);

/// Longest wait for them: our own are known at once.
const LISTS_WAIT: Duration = Duration::from_secs(5);

/// Schemas whose names begin so are ours, or nobody's.
const OURS: &str = "Crypto";

/// The server's providers when they were last asked for.
type Known = tokio::sync::Mutex<Option<(Instant, Arc<Lists>)>>;

/// The server that is stood in front of. Clones are the same.
#[derive(Clone)]
pub struct Upstream {
    http: reqwest::Client,
    base: Arc<str>,
    timeout: Duration,
    /// Everybody may use it.
    is_open: bool,
    lists: Arc<Known>,
}

impl Upstream {
    /// The configured one, for a server of ours that listens on an address; `None`: there is none.
    ///
    /// # Errors
    /// No client can be made.
    pub fn new(config: &ZvtConfig, listen: SocketAddr) -> Result<Option<Self>, reqwest::Error> {
        if config.upstream.is_empty() {
            return Ok(None);
        }
        let timeout = Duration::from_millis(config.timeout_ms);
        Ok(Some(Self {
            http: client(timeout)?,
            base: config.upstream.as_str().into(),
            timeout,
            is_open: listen.ip().is_loopback(),
            lists: Arc::default(),
        }))
    }

    /// The same for one worker: connections belong to the runtime that made them.
    #[must_use]
    pub fn of_worker(&self) -> Self {
        let mut own = self.clone();
        if let Ok(http) = client(self.timeout) {
            own.http = http;
        }
        own
    }

    /// What its providers offer, at most a minute old; when it does not say, what it said last, and why.
    pub async fn lists(&self) -> (Arc<Lists>, Option<CryptoError>) {
        // Held while asking: others that ask meanwhile get the same answer.
        let mut known = self.lists.lock().await;
        if let Some((since, lists)) = &*known
            && since.elapsed() < LISTS
        {
            return (lists.clone(), None);
        }
        let asked = Lists::ask(&self.http, &self.base);
        let wait = self.timeout.min(LISTS_WAIT);
        let error = match tokio::time::timeout(wait, asked).await {
            Ok(Ok(lists)) => {
                let lists = Arc::new(lists);
                *known = Some((Instant::now(), lists.clone()));
                return (lists, None);
            }
            Ok(Err(error)) => self.away(&error),
            Err(_) => self.silent(),
        };
        let last = known.as_ref().map(|(_, lists)| lists.clone());
        (last.unwrap_or_default(), Some(error))
    }

    /// Refuses what strangers may not do with it.
    fn admit(&self, request: &HttpRequest) -> Result<(), CryptoError> {
        if self.is_open {
            return Ok(());
        }
        let caller = auth::identified(request).unwrap_or_else(|| {
            Err(CryptoError::new(
                CryptoCode::Unauthorized,
                "what is passed on to ZVT needs an API key",
            )
            .suggest(auth::KEY_FORMS))
        })?;
        let permission = match *request.method() {
            Method::GET | Method::HEAD => Permission::DataAccess,
            _ => Permission::Admin,
        };
        caller.require(permission, None)
    }

    fn away(&self, error: &reqwest::Error) -> CryptoError {
        if error.is_timeout() {
            return self.silent();
        }
        tracing::debug!(error = %proxy::causes(error), "ZVT does not answer");
        let what = if error.is_connect() {
            "the ZVT server can't be reached"
        } else {
            "the ZVT server broke off"
        };
        unavailable(what)
    }

    fn silent(&self) -> CryptoError {
        unavailable("the ZVT server does not answer in time")
            .with("timeout_ms", self.timeout.as_millis() as u64)
    }
}

/// The address is for the configuration and the log alone.
fn unavailable(what: &str) -> CryptoError {
    CryptoError::new(CryptoCode::ProviderUnavailable, what)
        .with("provider", "zvt")
        .suggest("start the ZVT server, or correct zvt.upstream in the configuration")
}

/// Everything goes through as it is: no redirects are followed, nothing is unpacked.
fn client(timeout: Duration) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .no_gzip()
        .connect_timeout(CONNECT.min(timeout))
        .read_timeout(timeout)
        .build()
}

/// The server that a request is for, when there is one and the request is not ours: it asks for a schema
/// or a provider that we don't have. Our own parameters decide; what is wrong with them is ours to say.
#[must_use]
pub fn owner_of(request: &HttpRequest) -> Option<&Upstream> {
    let upstream = request.app_data::<web::Data<Upstream>>()?;
    let pairs = web::Query::<Vec<(String, String)>>::from_query(request.query_string()).ok()?;
    let value = |name: &str| {
        let mut values = pairs.iter().filter(|(known, _)| known == name);
        values.next().map(|(_, value)| value.trim())
    };
    let path = request.path();
    let schema = match path.strip_prefix("/api/data/") {
        Some("query_data") => value("schema"),
        Some("schemas" | "providers") | None => None,
        Some(schema) => Some(schema),
    };
    let is_theirs = match (schema, value("provider")) {
        (Some(schema), _) => !schema.starts_with(OURS) && Schema::of_path(schema).is_err(),
        (None, Some(provider)) => ProviderId::parse(provider).is_none(),
        (None, None) => false,
    };
    is_theirs.then_some(upstream.get_ref())
}

/// The default service: what no route of ours takes.
///
/// # Errors
/// `CRYPTO_NOT_FOUND` when nobody else takes it either; what is wrong with the server behind.
pub async fn pass_on(
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let path = request.path();
    let upstream = request
        .app_data::<web::Data<Upstream>>()
        .filter(|_| path.starts_with("/api/") && !path.starts_with("/api/crypto/"));
    let Some(upstream) = upstream.cloned() else {
        return Err(ApiError::unknown_path(path));
    };
    upstream.forward(&request, Some(payload)).await
}

/// Whether a header's name is one of the connection, which ends here (RFC 9110, 7.6.1).
fn is_of_connection(name: &header::HeaderName) -> bool {
    const MORE: [&str; 2] = ["keep-alive", "proxy-connection"];
    [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
        || MORE.contains(&name.as_str())
}

#[cfg(test)]
mod tests;
