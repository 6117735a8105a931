//! One request and its answer.

use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_engine::error::CryptoError;
use bytes::Bytes;
use futures_util::{StreamExt, stream};

use super::{Upstream, is_of_connection};
use crate::error::{ApiError, TRACE_HEADER};

/// Largest body of a request that is passed on, bytes: it is held whole. The gate's limit,
/// `limits.body_bytes_max`, comes before.
const BODY_BYTES_MAX: usize = 4 << 20;

/// Prove our own API keys.
const OURS: [&str; 3] = ["x-api-key", "x-timestamp", "x-signature"];

impl Upstream {
    /// Passes a request on, and its answer back as it comes.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` and `CRYPTO_FORBIDDEN` where a key is needed, `CRYPTO_INVALID_PARAMETER` for a
    /// body that is too large, `CRYPTO_PROVIDER_UNAVAILABLE` when the server does not answer.
    pub async fn forward(
        &self,
        request: &HttpRequest,
        payload: Option<web::Payload>,
    ) -> Result<HttpResponse, ApiError> {
        self.admit(request)?;
        let path = request.uri().path_and_query();
        let path = path.map_or("/", |path| path.as_str());
        let url = reqwest::Url::parse(&format!("{}{path}", self.base))
            .ok()
            // A path with `..` in it, encoded or not, would leave what is passed on.
            .filter(|url| self.is_below(url.path()))
            .ok_or_else(|| ApiError::unknown_path(request.path()))?;
        let method = reqwest::Method::from_bytes(request.method().as_str().as_bytes())
            .map_err(|_| ApiError::wrong_method(request.method(), "a method of HTTP"))?;
        let body = match payload {
            Some(payload) => read(payload).await?,
            None => Bytes::new(),
        };
        let mut asked = self.http.request(method, url);
        for (name, value) in request.headers() {
            if !is_of_connection(name) && is_for_others(name, value) {
                asked = asked.header(name.as_str(), value.as_bytes());
            }
        }
        let address = crate::net::client::address(request);
        asked = asked.header("x-forwarded-for", address.to_string());
        let scheme = request.connection_info().scheme().to_owned();
        asked = asked.header("x-forwarded-proto", scheme);
        let sent = tokio::time::timeout(self.timeout, asked.body(body).send());
        let answer = match sent.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.away(&error).into()),
            Err(_) => return Err(self.silent().into()),
        };
        Ok(answered(request, answer))
    }
}

impl Upstream {
    /// Whether a path of the server, in its shortest form, is one of those that are passed on.
    fn is_below(&self, path: &str) -> bool {
        let authority = self.base.split_once("://").map_or("", |(_, rest)| rest);
        let prefix = authority.find('/').map_or("", |at| &authority[at..]);
        let rest = path.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.starts_with("/api/") && !rest.starts_with("/api/crypto/"))
    }
}

/// Our keys are not for others, right or mistyped; lengths are those of what is sent.
fn is_for_others(name: &HeaderName, value: &HeaderValue) -> bool {
    if *name == header::AUTHORIZATION {
        let scheme = value.as_bytes().get(..6).unwrap_or_default();
        return !scheme.eq_ignore_ascii_case(b"bearer");
    }
    // Where it comes from is told anew: what the client said of it nobody can check.
    let is_told = name.as_str().starts_with("x-forwarded-") || *name == header::FORWARDED;
    let is_ours = OURS.contains(&name.as_str());
    *name != header::CONTENT_LENGTH && *name != header::EXPECT && !is_told && !is_ours
}

async fn read(mut payload: web::Payload) -> Result<Bytes, ApiError> {
    let mut body = Vec::new();
    while let Some(part) = payload.next().await {
        let part = part.map_err(|error| {
            CryptoError::invalid_parameter("body", "…", format!("a whole body: {error}"))
        })?;
        if body.len() + part.len() > BODY_BYTES_MAX {
            let accepted = format!("at most {BODY_BYTES_MAX} bytes");
            let error = CryptoError::invalid_parameter("body", "…", accepted);
            return Err(ApiError::with_status(error, StatusCode::PAYLOAD_TOO_LARGE));
        }
        body.extend_from_slice(&part);
    }
    Ok(body.into())
}

fn answered(request: &HttpRequest, answer: reqwest::Response) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = HttpResponse::build(status);
    let mut length = None;
    for (name, value) in answer.headers() {
        let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_str().as_bytes()),
            HeaderValue::from_bytes(value.as_bytes()),
        ) else {
            continue;
        };
        if name == header::CONTENT_LENGTH {
            length = value
                .to_str()
                .ok()
                .and_then(|text| text.parse::<u64>().ok());
        } else if !is_of_connection(&name) && !name.as_str().starts_with("access-control-") {
            response.append_header((name, value));
        }
    }
    // That it is there tells the gate to leave the answer as it is.
    if let Some(trace) = trace(request.headers()) {
        response.insert_header((TRACE_HEADER, trace.clone()));
    }
    let has_body = *request.method() != Method::HEAD;
    if let Some(length) = length.filter(|_| has_body) {
        response.no_chunking(length);
    }
    let parts = stream::try_unfold(answer, |mut answer| async move {
        match answer.chunk().await {
            Ok(Some(part)) => Ok(Some((part, answer))),
            Ok(None) => Ok(None),
            Err(error) => Err(broken(&error)),
        }
    });
    match has_body {
        true => response.streaming(Box::pin(parts)),
        false => response.finish(),
    }
}

/// The client sees that the answer is not whole: its connection ends.
fn broken(error: &reqwest::Error) -> std::io::Error {
    let text = causes(error);
    tracing::warn!(error = %text, "an answer of ZVT broke off");
    std::io::Error::other("the ZVT server broke its answer off")
}

fn trace(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(TRACE_HEADER)
}

/// An error with what lies under it.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(error) = under {
        text.push_str(": ");
        text.push_str(&error.to_string());
        under = error.source();
    }
    text
}
