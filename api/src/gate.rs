//! What every request passes: trace id, host check, rate limit, whose it is, the error form, headers,
//! counters.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, web};
use bookwire_engine::error::{CryptoCode, CryptoError};

use crate::auth;
use crate::error::{ApiError, TRACE_HEADER, TraceId, wall_clock};
use crate::limit::{Allowance, RateLimiter};

/// Paths that a supervisor asks: neither counted nor refused, so that a busy client on the same
/// address can't make the process look dead.
const PROBES: [&str; 3] = ["/livez", "/readyz", "/metrics"];

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

/// State of the gate, shared by all workers.
#[derive(Debug)]
pub struct Gate {
    limiter: RateLimiter,
    counters: HttpCounters,
    /// Host names under which a server on loopback may be addressed; `None`: not on loopback, any.
    hosts: Option<Vec<String>>,
}

impl Gate {
    /// A gate for a server that is reachable on loopback only, or not. `origins` are the origins
    /// that the configuration allows besides.
    #[must_use]
    pub fn new(requests_per_minute: u32, is_loopback: bool, origins: &[String]) -> Self {
        let hosts = is_loopback.then(|| {
            origins
                .iter()
                .filter_map(|origin| origin.split_once("://"))
                .map(|(_, host)| host_name(host).to_ascii_lowercase())
                .chain(["localhost".to_owned()])
                .collect()
        });
        Self {
            limiter: RateLimiter::new(requests_per_minute),
            counters: HttpCounters::default(),
            hosts,
        }
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &HttpCounters {
        &self.counters
    }

    /// A page whose name was rebound to 127.0.0.1 is same-origin for a browser; its `Host` gives it
    /// away.
    fn check_host(&self, headers: &HeaderMap) -> Result<(), CryptoError> {
        let (Some(hosts), Some(sent)) = (&self.hosts, headers.get(header::HOST)) else {
            return Ok(());
        };
        let name = host_name(sent.to_str().unwrap_or_default()).to_ascii_lowercase();
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if is_address || hosts.contains(&name) || name.ends_with(".localhost") {
            return Ok(());
        }
        Err(CryptoError::new(
            CryptoCode::Forbidden,
            "a server on loopback is not addressed by this host name",
        )
        .with("host", name)
        .suggest(
            "use http://127.0.0.1 or http://localhost, or allow the origin in the configuration",
        ))
    }

    fn admit(&self, request: &ServiceRequest) -> (Allowance, Result<(), CryptoError>) {
        let address = auth::address(request.peer_addr());
        let now = Instant::now();
        if PROBES.contains(&request.path()) {
            return (self.limiter.peek(address, now), Ok(()));
        }
        let allowance = self.limiter.take(address, now);
        if !allowance.is_allowed {
            self.counters.rate_limited.fetch_add(1, Ordering::Relaxed);
            return (allowance, Err(allowance.error()));
        }
        (allowance, self.check_host(request.headers()))
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

/// The name in `name:port`.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The middleware; needs a [`Gate`] in the application's data.
///
/// # Errors
/// Those of services further in, with the trace id added.
pub async fn pass<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let since = Instant::now();
    let trace = TraceId::take_over(
        request
            .headers()
            .get(TRACE_HEADER)
            .map(HeaderValue::as_bytes),
    );
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
    let (allowance, verdict) = gate.admit(&request);
    let mut response = match verdict {
        Err(error) => {
            let error = ApiError::new(error);
            log(&error, &trace, request.method().as_str(), request.path());
            request.into_response(error.render(&trace))
        }
        Ok(()) => match identified(request, next).await {
            Ok(response) => in_our_form(response.map_into_boxed_body(), &trace),
            Err(error) => return Err(traced(&error, &trace).into()),
        },
    };
    // A key's own limit is told where it was charged.
    let allowance = auth::charged(response.request()).unwrap_or(allowance);
    gate.count(response.status().as_u16(), since);
    add_headers(response.headers_mut(), &trace, &allowance);
    Ok(response)
}

/// Finds out whose the request is before it goes on.
async fn identified<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match auth::identify(&mut request).await {
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
    log(&error, trace, request.method().as_str(), request.path());
    let (request, _) = response.into_parts();
    ServiceResponse::new(request, error.render(trace))
}

fn traced(error: &Error, trace: &TraceId) -> ApiError {
    let known = error.as_error::<ApiError>().cloned();
    let mut error = known.unwrap_or_else(|| {
        let status = error.as_response_error().status_code();
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

fn log(error: &ApiError, trace: &TraceId, method: &str, path: &str) {
    let code = error.error.code.as_str();
    let trace_id = trace.as_str();
    let message = &error.error.message;
    if error.error.code.http_status() >= 500 {
        tracing::warn!(trace_id, code, method, path, "{message}");
    } else {
        tracing::debug!(trace_id, code, method, path, "{message}");
    }
}

fn add_headers(headers: &mut HeaderMap, trace: &TraceId, allowance: &Allowance) {
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

    fn check(gate: &Gate, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        gate.check_host(&headers).is_ok()
    }

    #[test]
    fn a_rebound_name_is_refused_on_loopback_only() {
        let allowed = ["https://desk.example:8443".to_owned()];
        let gate = Gate::new(10, true, &allowed);
        for host in [
            "127.0.0.1:8080",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8080",
            "desk.example:1",
        ] {
            assert!(check(&gate, host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "127.0.0.1.evil.example",
            "",
        ] {
            assert!(!check(&gate, host), "{host}");
        }
        assert!(check(&Gate::new(10, false, &[]), "evil.example"));
        assert!(
            gate.check_host(&HeaderMap::new()).is_ok(),
            "HTTP/1.0 has no host"
        );
    }
}
