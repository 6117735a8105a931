//! From engine errors to HTTP answers: the one form of section 6, with a trace id, for everything
//! that can go wrong, including what actix-web would answer by itself (unknown path, wrong method,
//! a body that is too large).

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::body::BoxBody;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire;

/// Header that carries a trace id in both directions.
pub const TRACE_HEADER: &str = "x-trace-id";

/// Longest trace id taken over from a client.
const TRACE_LENGTH_MAX: usize = 128;

/// The wall clock, for `timestamp` fields of answers.
#[must_use]
pub fn wall_clock() -> TsNanos {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    TsNanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Identifies one request in the answer, in the headers and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceId(String);

impl TraceId {
    /// A new one, ordered by time.
    #[must_use]
    pub fn new() -> Self {
        Self(uuid::Uuid::now_v7().to_string())
    }

    /// The client's own when it is short and harmless in a log line and a header, else a new one.
    #[must_use]
    pub fn take_over(sent: Option<&[u8]>) -> Self {
        let harmless = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/=+".contains(byte);
        match sent {
            Some(text)
                if !text.is_empty()
                    && text.len() <= TRACE_LENGTH_MAX
                    && text.iter().all(harmless) =>
            {
                Self(String::from_utf8_lossy(text).into_owned())
            }
            _ => Self::new(),
        }
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TraceId {
    fn default() -> Self {
        Self::new()
    }
}

/// A [`CryptoError`] on its way to an HTTP client.
#[derive(Clone, Debug)]
pub struct ApiError {
    /// What is told.
    pub error: CryptoError,
    /// The request's id; `None` inside handlers, which don't know it: the gate adds it.
    pub trace: Option<TraceId>,
    /// A status other than the code's own (405, 413, …).
    pub status: Option<StatusCode>,
    /// Methods that the path does have, for `Allow`.
    pub allow: Option<String>,
}

impl ApiError {
    /// The error under the code's own status.
    #[must_use]
    pub fn new(error: CryptoError) -> Self {
        Self {
            error,
            trace: None,
            status: None,
            allow: None,
        }
    }

    /// The error under another status.
    #[must_use]
    pub fn with_status(error: CryptoError, status: StatusCode) -> Self {
        Self {
            status: Some(status),
            ..Self::new(error)
        }
    }

    /// The path is not one of ours.
    #[must_use]
    pub fn unknown_path(path: &str) -> Self {
        let shown: String = path.chars().take(200).collect();
        Self::new(
            CryptoError::new(CryptoCode::NotFound, format!("no such path: {shown}"))
                .with("path", shown),
        )
    }

    /// The path exists, but not with this method.
    #[must_use]
    pub fn wrong_method(method: &Method, allowed: &str) -> Self {
        let mut error = Self::with_status(
            CryptoError::invalid_parameter("method", method.as_str(), allowed),
            StatusCode::METHOD_NOT_ALLOWED,
        );
        error.allow = Some(allowed.to_owned());
        error
    }

    /// What to tell when only an HTTP status is known, because the framework refused the request.
    #[must_use]
    pub fn of_status(status: StatusCode, text: &str) -> Self {
        let reason = status.canonical_reason().unwrap_or("error").to_lowercase();
        let message = if text.is_empty() {
            reason
        } else {
            text.to_owned()
        };
        let code = match status {
            StatusCode::NOT_FOUND => CryptoCode::NotFound,
            StatusCode::UNAUTHORIZED => CryptoCode::Unauthorized,
            StatusCode::FORBIDDEN => CryptoCode::Forbidden,
            StatusCode::TOO_MANY_REQUESTS => CryptoCode::RateLimitExceeded,
            StatusCode::NOT_IMPLEMENTED => CryptoCode::Unsupported,
            StatusCode::SERVICE_UNAVAILABLE => CryptoCode::ProviderUnavailable,
            status if status.is_client_error() => CryptoCode::InvalidParameter,
            _ => CryptoCode::InternalError,
        };
        Self::with_status(CryptoError::new(code, message), status)
    }

    /// The answer's body with this trace id.
    #[must_use]
    pub fn body(&self, trace: &TraceId) -> Vec<u8> {
        wire::error_body(&self.error, trace.as_str(), wall_clock())
    }

    /// Renders the answer with this trace id.
    #[must_use]
    pub fn render(&self, trace: &TraceId) -> HttpResponse<BoxBody> {
        let body = self.body(trace);
        let mut answer = HttpResponse::build(self.status_code());
        answer
            .insert_header((header::CONTENT_TYPE, "application/json"))
            .insert_header((TRACE_HEADER, trace.as_str()));
        if self.status_code() == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
        }
        if let Some(allow) = &self.allow {
            answer.insert_header((header::ALLOW, allow.as_str()));
        }
        if let Some(seconds) = self.error.details.get("retry_after_seconds") {
            answer.insert_header((header::RETRY_AFTER, seconds.to_string()));
        }
        answer.body(body)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl From<CryptoError> for ApiError {
    fn from(error: CryptoError) -> Self {
        Self::new(error)
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        self.status.unwrap_or_else(|| {
            StatusCode::from_u16(self.error.code.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        })
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        match &self.trace {
            Some(trace) => self.render(trace),
            None => self.render(&TraceId::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_harmless_trace_ids_are_taken_over() {
        for text in ["abc", "0191-aa.b:c/d=e+f_g", &"x".repeat(128)] {
            assert_eq!(TraceId::take_over(Some(text.as_bytes())).as_str(), text);
        }
        for text in ["", "a b", "a\"b", "a\nb", "ä", &"x".repeat(129)] {
            let made = TraceId::take_over(Some(text.as_bytes()));
            assert_eq!(made.as_str().len(), 36, "{text:?}");
        }
        assert_ne!(TraceId::take_over(None), TraceId::take_over(None));
    }

    #[test]
    fn every_code_has_a_real_status() {
        for &code in CryptoCode::ALL {
            let error = ApiError::new(CryptoError::new(code, "x"));
            assert_eq!(error.status_code().as_u16(), code.http_status());
            assert!(code.http_status() >= 400);
        }
    }

    #[test]
    fn a_retry_is_told_in_the_header_too() {
        let error = CryptoError::new(CryptoCode::RateLimitExceeded, "slow down")
            .with("retry_after_seconds", 17);
        let answer = ApiError::new(error).error_response();
        assert_eq!(answer.headers().get(header::RETRY_AFTER).unwrap(), "17");
        assert_eq!(answer.status(), 429);
    }
}
