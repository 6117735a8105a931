//! Signatures of requests and of a connection's login.
//!
//! Source: "REST authentication" and "Login" of the v5 documentation. The text that is signed is
//! the time, the method, the target and the body, without anything between; a login signs a fixed
//! target, and its time is in seconds.

use serde::Serialize;

use crate::error::{CryptoCode, CryptoError};
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::venue::{Method, NativeRequest, SignedRequest};

use super::rest::{AMEND_ORDER, ORDER};

/// What a login signs in place of a request.
const LOGIN: &str = "GET/users/self/verify";

/// Signs a request.
pub(super) fn request(
    keys: &Keys,
    request: &NativeRequest,
    now: TsNanos,
    window_ms: u32,
) -> Result<SignedRequest, CryptoError> {
    let wrong = |what: &str| {
        CryptoError::new(CryptoCode::Unauthorized, what)
            .with("provider", "okx")
            .with("accepted", "an HMAC secret and its passphrase")
            .suggest("store OKX's key, secret and passphrase")
    };
    if keys.kind() != KeyKind::Hmac {
        return Err(wrong("okx takes shared secrets only"));
    }
    let passphrase = keys
        .passphrase()
        .ok_or_else(|| wrong("okx needs the key's passphrase"))?;
    let target = match request.query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    // Exactly three digits behind the point.
    let timestamp = TsNanos::from_ms(now.as_ms()).to_rfc3339();
    let method = request.method.as_str();
    let text = format!("{timestamp}{method}{target}{}", request.body);
    let mut headers = vec![
        ("ok-access-key", keys.api_key().to_owned()),
        ("ok-access-sign", keys.sign_base64(text.as_bytes())?),
        ("ok-access-timestamp", timestamp),
        ("ok-access-passphrase", passphrase.to_owned()),
    ];
    if request.method == Method::Post {
        headers.push(("content-type", "application/json".to_owned()));
    }
    // An order that is late is dropped: only these two paths know it.
    if matches!(request.budget.0, ORDER | AMEND_ORDER) && request.method == Method::Post {
        let deadline = now.as_ms().saturating_add(i64::from(window_ms));
        headers.push(("exptime", deadline.to_string()));
    }
    Ok(SignedRequest {
        method: request.method,
        market: request.market,
        target,
        headers,
        body: request.body.clone(),
    })
}

#[derive(Serialize)]
struct Login<'a> {
    op: &'static str,
    args: [Credentials<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Credentials<'a> {
    api_key: &'a str,
    passphrase: &'a str,
    timestamp: String,
    sign: String,
}

/// The frame that logs a connection in.
pub(super) fn login(keys: &Keys, now: TsNanos) -> Result<String, CryptoError> {
    let timestamp = now.as_secs().to_string();
    let sign = keys.sign_base64(format!("{timestamp}{LOGIN}").as_bytes())?;
    let login = Login {
        op: "login",
        args: [Credentials {
            api_key: keys.api_key(),
            passphrase: keys.passphrase().unwrap_or_default(),
            timestamp,
            sign,
        }],
    };
    serde_json::to_string(&login)
        .map_err(|_| CryptoError::new(CryptoCode::InternalError, "a login can't be written"))
}
