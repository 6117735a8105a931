//! JSON Web Tokens: every request carries one of its own, and so does every subscription.
//!
//! Source: authentication pages of the Advanced Trade API and the official Python SDK 1.8.4. The
//! token names method, host and path of a request without its query; that of a subscription names
//! nothing. It is good for two minutes.

use ring::rand::{SecureRandom as _, SystemRandom};
use serde::Serialize;

use crate::error::{CryptoCode, CryptoError};
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::venue::{Method, NativeRequest, SignedRequest};

/// How long a token is good, seconds.
const LIFETIME_SECS: i64 = 120;

#[derive(Serialize)]
struct Header<'a> {
    alg: &'static str,
    typ: &'static str,
    kid: &'a str,
    nonce: &'a str,
}

#[derive(Serialize)]
struct Payload<'a> {
    sub: &'a str,
    iss: &'static str,
    nbf: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<&'a str>,
}

fn internal(what: &str) -> CryptoError {
    CryptoError::new(CryptoCode::InternalError, what)
}

/// A token. `nonce` must be another one each time; `uri` is left out for a subscription.
pub(super) fn token(
    keys: &Keys,
    now: TsNanos,
    nonce: &str,
    uri: Option<&str>,
) -> Result<String, CryptoError> {
    let alg = match keys.kind() {
        KeyKind::Es256 => "ES256",
        KeyKind::Ed25519 => "EdDSA",
        KeyKind::Hmac | KeyKind::Handed => {
            let what = "coinbase takes EC (P-256) and Ed25519 keys only";
            return Err(CryptoError::new(CryptoCode::Unauthorized, what)
                .with("provider", "coinbase")
                .with("accepted", "a PEM of an EC (P-256) key, or an Ed25519 key")
                .suggest("store the key as Coinbase's developer platform has shown it"));
        }
    };
    let header = Header {
        alg,
        typ: "JWT",
        kid: keys.api_key(),
        nonce,
    };
    let nbf = now.as_secs();
    let payload = Payload {
        sub: keys.api_key(),
        iss: "cdp",
        nbf,
        exp: nbf.saturating_add(LIFETIME_SECS),
        uri,
    };
    let header = serde_json::to_string(&header);
    let payload = serde_json::to_string(&payload);
    match (header, payload) {
        (Ok(header), Ok(payload)) => keys.jwt(&header, &payload),
        _ => Err(internal("a token can't be written")),
    }
}

/// Sixteen random bytes in hex.
pub(super) fn nonce() -> Result<String, CryptoError> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| internal("no random numbers for a token"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Signs a request to `host`.
pub(super) fn request(
    keys: &Keys,
    request: &NativeRequest,
    host: &str,
    now: TsNanos,
) -> Result<SignedRequest, CryptoError> {
    let method = request.method.as_str();
    let uri = format!("{method} {host}{}", request.path);
    let token = token(keys, now, &nonce()?, Some(&uri))?;
    let mut headers = vec![("authorization", format!("Bearer {token}"))];
    if request.method == Method::Post {
        headers.push(("content-type", "application/json".to_owned()));
    }
    Ok(SignedRequest {
        method: request.method,
        market: request.market,
        target: match request.query.as_str() {
            "" => request.path.clone(),
            query => format!("{}?{query}", request.path),
        },
        headers,
        body: request.body.clone(),
    })
}
