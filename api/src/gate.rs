//! What every request passes: trace id, host check, rate limit, whose it is, the error form, headers,
//! counters.

use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, ResponseError, web};
use bookwire_actors::trace;
use bookwire_engine::config::Config;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::Permission;
use bytes::Bytes;
use futures_util::Stream;
use tracing::Instrument as _;

use crate::auth;
use crate::error::{ApiError, TRACE_HEADER, TraceId, wall_clock};
use crate::limit::{Allowance, RateLimiter};
use crate::net::client::{self, ClientAddress, Proxies};
use crate::net::guard::Refusal;
use crate::net::link::Link;
use crate::origin::{Origins, Page};

/// Paths that a supervisor asks: not counted with the others, so that a busy client on the same address
/// can't make the process look dead.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// Those of them that any host name may ask for.
const OPEN: [&str; 2] = ["/livez", "/readyz"];

/// Answers by their class, and how long they took.
#[derive(Debug, Default)]
pub struct HttpCounters {
    /// Answers below 400.
    pub ok: AtomicU64,
    /// Answers from 400 to 499.
    pub client_errors: AtomicU64,
    /// Answers from 500 on.
    pub server_errors: AtomicU64,
    /// Answers that were refused by the rate limit; also client errors.
    pub rate_limited: AtomicU64,
    /// Time from a request's first header to its answer's, all requests together, microseconds.
    pub busy_us: AtomicU64,
}

/// Where connections become WebSockets.
const WEBSOCKET: &str = "/ws";

/// Of these probes a minute of one address so many times the requests.
const PROBES_FACTOR: u32 = 10;

/// What a request may consist of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes {
    uri: usize,
    headers: usize,
    header_bytes: usize,
    body: usize,
    body_time: Duration,
}

/// State of the gate, shared by all workers.
#[derive(Debug)]
pub struct Gate {
    limiter: RateLimiter,
    probes: RateLimiter,
    counters: HttpCounters,
    origins: Origins,
    proxies: Proxies,
    sizes: Sizes,
    is_encrypted: bool,
    is_data_open: bool,
}

impl Gate {
    /// A gate for a server that is reachable on loopback only, or not.
    #[must_use]
    pub fn new(config: &Config, is_loopback: bool) -> Self {
        let (server, limits) = (&config.server, &config.limits);
        let rate = limits.requests_per_minute;
        Self {
            limiter: RateLimiter::new(rate),
            probes: RateLimiter::new(rate.saturating_mul(PROBES_FACTOR)),
            counters: HttpCounters::default(),
            origins: Origins::new(config, is_loopback),
            proxies: Proxies::new(server.trusted_proxies.clone(), server.proxy_header),
            sizes: Sizes {
                uri: limits.uri_bytes_max,
                headers: limits.headers_max,
                header_bytes: limits.header_bytes_max,
                body: limits.body_bytes_max,
                body_time: Duration::from_millis(limits.body_timeout_ms),
            },
            is_data_open: server.open_data.is_open(is_loopback),
            is_encrypted: !server.tls_certificate_file.as_os_str().is_empty(),
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &HttpCounters {
        &self.counters
    }

    /// Whether the request may go on, and what its client may still ask.
    fn admit(
        &self,
        request: &ServiceRequest,
        address: IpAddr,
        page: &Page,
    ) -> (Allowance, Result<(), ApiError>) {
        let now = Instant::now();
        let is_probe = PROBES.contains(&request.path());
        let allowance = match is_probe {
            true => self.probes.take(address, now),
            false => self.limiter.take(address, now),
        };
        if !allowance.is_allowed {
            self.counters.rate_limited.fetch_add(1, Ordering::Relaxed);
            return (allowance, Err(allowance.error().into()));
        }
        let shown = match is_probe {
            true => self.limiter.peek(address, now),
            false => allowance,
        };
        (shown, self.check(request, page).map_err(|error| *error))
    }

    fn check(&self, request: &ServiceRequest, page: &Page) -> Result<(), Box<ApiError>> {
        self.sizes.check(request)?;
        let headers = request.headers();
        let boxed = |error: CryptoError| Box::new(ApiError::from(error));
        // Whether the process lives is no secret.
        if !OPEN.contains(&request.path()) {
            self.origins.check_host(headers).map_err(boxed)?;
        }
        let method = request.method();
        self.origins
            .check_page(page, method, headers)
            .map_err(boxed)
    }

    /// An answer for what is no request, as it goes over the wire. It counts as one.
    #[must_use]
    pub fn refuse(&self, refusal: Refusal, address: IpAddr) -> Vec<u8> {
        let since = Instant::now();
        let allowance = self.limiter.take(address, since);
        let error = refused(refusal);
        let trace = TraceId::new();
        let status = error.status_code();
        let mut headers = error.render(&trace).headers().clone();
        self.add_headers(&mut headers, &trace, &allowance);
        let body = error.body(&trace);
        self.count(status.as_u16(), since);
        trace::span(trace.as_str()).in_scope(|| {
            tracing::debug!(%address, "refused: {}", error.error.message);
        });
        let mut out = format!("HTTP/1.1 {status}\r\n").into_bytes();
        for (name, value) in &headers {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let rest = format!(
            "content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        out.extend_from_slice(rest.as_bytes());
        out.extend_from_slice(&body);
        out
    }

    fn count(&self, status: u16, since: Instant) {
        let counter = match status {
            0..400 => &self.counters.ok,
            400..500 => &self.counters.client_errors,
            _ => &self.counters.server_errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.counters.busy_us.fetch_add(us, Ordering::Relaxed);
    }
}

/// The error of a refusal.
fn refused(refusal: Refusal) -> ApiError {
    match refusal {
        Refusal::TooLarge | Refusal::Unreadable(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => {
            *sized(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "head",
                "more than is read".to_owned(),
                "a shorter path, fewer and shorter headers".to_owned(),
            )
        }
        Refusal::Unreadable(status) if status.is_server_error() => ApiError::of_status(status, ""),
        Refusal::Unreadable(status) => {
            ApiError::of_status(status, "what came is no HTTP/1.1 request that can be read")
        }
        Refusal::TooSlow => ApiError::of_status(
            StatusCode::REQUEST_TIMEOUT,
            "the request's headers took too long to arrive",
        ),
        Refusal::Full(most) => ApiError::with_status(
            too_many("the server has as many connections as it may", most),
            StatusCode::SERVICE_UNAVAILABLE,
        ),
        Refusal::AddressFull(most) => too_many(
            "the address has as many connections as it may",
            most as usize,
        )
        .into(),
        Refusal::NotEncrypted => ApiError::of_status(
            StatusCode::BAD_REQUEST,
            "this port speaks TLS: use https:// and wss://",
        ),
    }
}

fn too_many(what: &str, most: usize) -> CryptoError {
    CryptoError::new(CryptoCode::RateLimitExceeded, what)
        .with("rate_limit", most)
        .with("retry_after_seconds", 1)
        .with("current_usage", most)
        .suggest("close connections that are not used, and try again in a moment")
}

/// Something of a request is larger than it may be.
fn sized(status: StatusCode, name: &str, value: String, accepted: String) -> Box<ApiError> {
    let error = CryptoError::invalid_parameter(name, &value, accepted);
    Box::new(ApiError::with_status(error, status))
}

impl Sizes {
    /// Refuses what is larger than it may be.
    fn check(&self, request: &ServiceRequest) -> Result<(), Box<ApiError>> {
        let uri = request.uri().path_and_query();
        let uri = uri.map_or(0, |uri| uri.as_str().len());
        if uri > self.uri {
            let accepted = format!("path and query of at most {} bytes", self.uri);
            let value = format!("{uri} bytes");
            return Err(sized(StatusCode::URI_TOO_LONG, "uri", value, accepted));
        }
        let headers = request.headers();
        let count = headers.len();
        // `: ` and the end of the line count too.
        let bytes = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4);
        let bytes: usize = bytes.sum();
        if count > self.headers || bytes > self.header_bytes {
            let (most, bytes_max) = (self.headers, self.header_bytes);
            let accepted = format!("at most {most} headers of {bytes_max} bytes together");
            let value = format!("{count} headers of {bytes} bytes");
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return Err(sized(status, "headers", value, accepted));
        }
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.trim().parse::<u64>().ok());
        match length {
            Some(length) if length > self.body as u64 => Err(self.body_error(length)),
            _ => Ok(()),
        }
    }

    fn body_error(&self, length: u64) -> Box<ApiError> {
        let accepted = format!("a body of at most {} bytes", self.body);
        let value = format!("{length} bytes");
        sized(StatusCode::PAYLOAD_TOO_LARGE, "body", value, accepted)
    }

    /// Bounds the body of a request that has one.
    fn bound(&self, request: &mut ServiceRequest, link: Option<Rc<Link>>) {
        // What a WebSocket sends is its body, in frames that have limits of their own.
        if request.path() == WEBSOCKET {
            return;
        }
        let inner = match request.take_payload() {
            Payload::None => return,
            inner => inner,
        };
        let body = TimedBody {
            inner,
            clock: Box::pin(tokio::time::sleep(self.body_time)),
            left: self.body,
            link,
        };
        if let Some(link) = &body.link {
            link.set_unread(true);
        }
        request.set_payload(Payload::Stream {
            payload: Box::pin(body),
        });
    }
}

/// A body that has to be there in time, and may be so large.
struct TimedBody {
    inner: Payload,
    clock: Pin<Box<tokio::time::Sleep>>,
    left: usize,
    link: Option<Rc<Link>>,
}

impl Stream for TimedBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let next = match Pin::new(&mut this.inner).poll_next(cx) {
            Poll::Ready(Some(Ok(chunk))) => match this.left.checked_sub(chunk.len()) {
                Some(left) => {
                    this.left = left;
                    Poll::Ready(Some(Ok(chunk)))
                }
                None => return Poll::Ready(Some(Err(PayloadError::Overflow))),
            },
            other => other,
        };
        if let (Poll::Ready(None), Some(link)) = (&next, &this.link) {
            link.set_unread(false);
        }
        if !matches!(next, Poll::Ready(None)) && this.clock.as_mut().poll(cx).is_ready() {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(PayloadError::Io(late))));
        }
        next
    }
}

/// The middleware; needs a [`Gate`] in the application's data.
///
/// # Errors
/// Those of services further in, with the trace id added.
pub async fn pass<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let trace = TraceId::take_over(
        request
            .headers()
            .get(TRACE_HEADER)
            .map(HeaderValue::as_bytes),
    );
    // Whatever is logged on the request's way has its id.
    let span = trace::span(trace.as_str());
    pass_as(request, next, trace).instrument(span).await
}

async fn pass_as<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
    trace: TraceId,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let since = Instant::now();
    let serving = request.conn_data::<Rc<Link>>().map(Link::begin);
    // Handlers that look for the client's header find the id that the answer will have.
    if let Ok(value) = HeaderValue::from_str(trace.as_str()) {
        request
            .headers_mut()
            .insert(HeaderName::from_static(TRACE_HEADER), value);
    }
    request.extensions_mut().insert(trace.clone());
    let Some(gate) = request.app_data::<web::Data<Gate>>().cloned() else {
        let error = CryptoError::new(CryptoCode::InternalError, "the server has no gate");
        return Ok(request.into_response(ApiError::new(error).render(&trace)));
    };
    let address = gate
        .proxies
        .client(client::peer(request.peer_addr()), request.headers());
    request.extensions_mut().insert(ClientAddress(address));
    let page = gate.origins.page(request.headers());
    let is_preflight = gate
        .origins
        .is_preflight(request.method(), request.headers());
    let (allowance, verdict) = gate.admit(&request, address, &page);
    let mut response = match verdict {
        Err(error) => {
            log(&error, request.method().as_str(), request.path());
            request.into_response(error.render(&trace))
        }
        Ok(()) if is_preflight && matches!(page, Page::Allowed(_)) => {
            request.into_response(HttpResponse::NoContent().finish())
        }
        Ok(()) => {
            let link = request.conn_data::<Rc<Link>>().cloned();
            gate.sizes.bound(&mut request, link);
            match identified(request, next, gate.is_data_open).await {
                Ok(response) => in_our_form(response.map_into_boxed_body(), &trace),
                Err(error) => return Err(traced(&error, &trace).into()),
            }
        }
    };
    // A key's own limit is told where it was charged.
    let allowance = auth::charged(response.request()).unwrap_or(allowance);
    gate.count(response.status().as_u16(), since);
    tracing::debug!(
        method = response.request().method().as_str(),
        path = response.request().path(),
        status = response.status().as_u16(),
        micros = since.elapsed().as_micros(),
        %address,
        "request answered"
    );
    gate.add_headers(response.headers_mut(), &trace, &allowance);
    gate.origins
        .add_headers(&page, is_preflight, response.headers_mut());
    let Some(serving) = serving else {
        return Ok(response);
    };
    Ok(response.map_body(|_, body| serving.until_the_end_of(body)))
}

/// What a request that reads needs where market data are not open to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    /// Market data: `data_access`.
    Data,
    /// The server's own figures: that, or `admin`.
    Figures,
}

/// What everybody may know, what asks for a key by itself, and the WebSocket, where the session asks.
const UNGUARDED: [&str; 6] = [
    "/livez",
    "/readyz",
    "/api/crypto/auth/validate",
    "/api/openapi.json",
    "/api/asyncapi.json",
    WEBSOCKET,
];

/// What a request reads; `None`: nothing that is guarded here. What is not known by its name needs most.
fn reads(method: &Method, path: &str) -> Option<Reads> {
    let is_command = !matches!(*method, Method::GET | Method::HEAD);
    match path {
        _ if UNGUARDED.contains(&path) || path == "/docs" || path.starts_with("/docs/") => None,
        // These have keys of their own.
        _ if path.starts_with("/api/trading/") => None,
        "/api/crypto/validation/price" => Some(Reads::Data),
        _ if path.starts_with("/api/crypto/") && is_command => None,
        "/metrics" | "/api/data/providers" | "/api/data/schemas" => Some(Reads::Figures),
        _ if path.starts_with("/api/crypto/validation/") => Some(Reads::Data),
        _ if path.starts_with("/api/crypto/history/") => Some(Reads::Data),
        _ if path.starts_with("/api/crypto/") => Some(Reads::Figures),
        _ => Some(Reads::Data),
    }
}

/// The provider that a query is about; `None` when it names none, several, or one that there is not.
fn provider_of(query: &str) -> Option<ProviderId> {
    let pairs = web::Query::<Vec<(String, String)>>::from_query(query).ok()?;
    let mut named = pairs.iter().filter(|(name, _)| name == "provider");
    let (_, only) = named.next()?;
    match named.next() {
        None => ProviderId::parse(only.trim()),
        Some(_) => None,
    }
}

/// Whether who asks may read what the request reads, on a server whose data are not open to all.
fn may_read(request: &ServiceRequest) -> Result<(), Box<ApiError>> {
    let boxed = |error: CryptoError| Box::new(ApiError::from(error));
    let Some(reads) = reads(request.method(), request.path()) else {
        return Ok(());
    };
    let Some(caller) = auth::identified(request.request()) else {
        let what = "market data need an API key on this server";
        let error = CryptoError::new(CryptoCode::Unauthorized, what);
        return Err(boxed(error.suggest(auth::KEY_FORMS)));
    };
    let caller = caller.map_err(boxed)?;
    if reads == Reads::Figures && caller.require(Permission::Admin, None).is_ok() {
        return Ok(());
    }
    let provider = provider_of(request.query_string());
    caller
        .require(Permission::DataAccess, provider)
        .map_err(boxed)?;
    if provider.is_none() && reads == Reads::Data && !caller.has_all_providers() {
        let what = "the API key is for some providers only: name one of them with provider";
        let error = CryptoError::new(CryptoCode::Forbidden, what).with("parameter", "provider");
        let how = "add provider= to the request, or use a key for all providers";
        return Err(boxed(error.suggest(how)));
    }
    Ok(())
}

/// Finds out whose the request is before it goes on.
async fn identified<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
    is_data_open: bool,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let may_go_on = match auth::identify(&mut request).await {
        Ok(()) if is_data_open => Ok(()),
        Ok(()) => may_read(&request).map_err(|error| *error),
        Err(error) => Err(error),
    };
    match may_go_on {
        Ok(()) => next
            .call(request)
            .await
            .map(ServiceResponse::map_into_left_body),
        Err(error) => Ok(request.error_response(error).map_into_right_body()),
    }
}

/// Gives an error answer our form, whoever made it.
fn in_our_form(response: ServiceResponse<BoxBody>, trace: &TraceId) -> ServiceResponse<BoxBody> {
    let status = response.status();
    if status.as_u16() < 400 {
        return response;
    }
    let error = match response.response().error() {
        Some(error) => traced(error, trace),
        // Whoever sets the trace header has rendered the whole answer.
        None if response.headers().contains_key(TRACE_HEADER) => return response,
        None => ApiError::of_status(status, ""),
    };
    let request = response.request();
    log(&error, request.method().as_str(), request.path());
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, error.render(trace))
}

fn traced(error: &Error, trace: &TraceId) -> ApiError {
    let known = error.as_error::<ApiError>().cloned();
    let mut error = known.unwrap_or_else(|| {
        let status = status_of(error);
        // The text of an unexpected server error is for the log only.
        let text = if status.is_server_error() {
            String::new()
        } else {
            error.to_string()
        };
        ApiError::of_status(status, &text)
    });
    error.trace = Some(trace.clone());
    error
}

/// The status of an error of the framework.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    match error.as_error::<PayloadError>() {
        Some(PayloadError::Io(late)) if late.kind() == std::io::ErrorKind::TimedOut => {
            StatusCode::REQUEST_TIMEOUT
        }
        _ => error.as_response_error().status_code(),
    }
}

fn log(error: &ApiError, method: &str, path: &str) {
    let code = error.error.code.as_str();
    let message = &error.error.message;
    if error.error.code.http_status() >= 500 {
        tracing::warn!(code, method, path, "{message}");
    } else {
        tracing::debug!(code, method, path, "{message}");
    }
}

impl Gate {
    fn add_headers(&self, headers: &mut HeaderMap, trace: &TraceId, allowance: &Allowance) {
        common_headers(headers, trace, allowance);
        if self.is_encrypted {
            headers.insert(
                header::STRICT_TRANSPORT_SECURITY,
                HeaderValue::from_static("max-age=31536000"),
            );
        }
    }
}

fn common_headers(headers: &mut HeaderMap, trace: &TraceId, allowance: &Allowance) {
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    set(TRACE_HEADER, trace.as_str());
    set("x-ratelimit-limit", &allowance.limit.to_string());
    set("x-ratelimit-remaining", &allowance.remaining.to_string());
    // Unix seconds at which the window ends, rounded up.
    let reset = wall_clock().as_secs() + allowance.reset_in.as_millis().div_ceil(1000) as i64;
    set("x-ratelimit-reset", &reset.to_string());
    set("x-content-type-options", "nosniff");
    set("x-frame-options", "DENY");
    set("referrer-policy", "no-referrer");
    set("cross-origin-resource-policy", "same-origin");
    set("cache-control", "no-store");
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_takes_a_key_unless_everybody_may_know_it() {
        let get = |path| reads(&Method::GET, path);
        for path in [
            "/api/data/CryptoPair",
            "/api/data/query_data",
            "/api/dat%61/CryptoPair",
            "/api//data/CryptoPair",
            "/api/somebody/elses",
            "/api/crypto/validation/gaps",
            "/API/DATA/CryptoPair",
        ] {
            assert_eq!(get(path), Some(Reads::Data), "{path}");
        }
        for path in [
            "/metrics",
            "/api/data/providers",
            "/api/crypto/health",
            "/api/crypto/config",
            "/api/crypto/providers/status",
        ] {
            assert_eq!(get(path), Some(Reads::Figures), "{path}");
        }
        for path in [
            "/livez",
            "/readyz",
            "/ws",
            "/api/crypto/auth/validate",
            "/docs",
        ] {
            assert_eq!(get(path), None, "{path}");
        }
        assert_eq!(reads(&Method::POST, "/api/trading/orders"), None);
        assert_eq!(reads(&Method::PUT, "/api/crypto/log"), None);
        let price = reads(&Method::POST, "/api/crypto/validation/price");
        assert_eq!(price, Some(Reads::Data));
    }

    #[test]
    fn a_query_names_one_provider_or_none() {
        assert_eq!(provider_of("a=1&provider=okx"), Some(ProviderId::OKX));
        assert_eq!(provider_of("prov%69der=%6fkx"), Some(ProviderId::OKX));
        for query in [
            "",
            "provider=",
            "provider=nobody",
            "provider=binance&provider=okx",
            "provider=binance&prov%69der=okx",
        ] {
            assert_eq!(provider_of(query), None, "{query}");
        }
    }
}
