//! Requests of an account: how they are put together and signed.
//!
//! Source: `docs/v5/guide` of the exchange's documentation repository (2026-07-24).

use std::fmt::{Display, Write as _};

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::error::{CryptoCode, CryptoError};
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::exact::plain;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::venue::{Access, Method, NativeRequest, SignedRequest};

use super::rest::escape;

/// How long the login of a connection may be under way, milliseconds.
const LOGIN_MS: i64 = 10_000;

pub(super) const fn category(market: Market) -> &'static str {
    match market {
        Market::Spot => "spot",
        Market::Perp => "linear",
    }
}

/// A request under construction: questions in the query, commands in a JSON body, whose bytes are
/// made once and signed as they are.
pub(super) struct Ask(NativeRequest);

impl Ask {
    fn new(method: Method, market: Market, path: &str) -> Self {
        Self(NativeRequest {
            method,
            market,
            path: path.to_owned(),
            query: String::new(),
            body: String::new(),
            access: Access::Signed,
            // What an address may ask, whatever it asks for.
            budget: (0, 1),
            counts_for: None,
        })
    }

    /// A question that is about no market.
    pub(super) fn plain_get(market: Market, path: &str) -> Self {
        Self::new(Method::Get, market, path)
    }

    pub(super) fn get(market: Market, path: &str) -> Self {
        Self::new(Method::Get, market, path).with("category", category(market))
    }

    pub(super) fn get_of(instrument: &Instrument, path: &str) -> Self {
        let spec = &instrument.spec;
        Self::get(spec.market, path).with("symbol", &spec.native_symbol)
    }

    /// A command that is about no instrument.
    pub(super) fn plain_post(market: Market, path: &str) -> Self {
        Self::new(Method::Post, market, path)
    }

    /// A command about an instrument.
    pub(super) fn post_of(instrument: &Instrument, path: &str) -> Self {
        let spec = &instrument.spec;
        Self::new(Method::Post, spec.market, path)
            .with("category", category(spec.market))
            .with("symbol", &spec.native_symbol)
    }

    fn push(&mut self, name: &str, value: &Value) {
        let body = &mut self.0.body;
        // Without the bracket that ends it.
        match body.pop() {
            Some(_) => body.push(','),
            None => body.push('{'),
        }
        // Writing to a string can't fail.
        let _ = write!(body, "\"{name}\":{value}}}");
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        if self.0.method == Method::Post {
            self.push(name, &json!(value));
            return self;
        }
        let query = &mut self.0.query;
        let joint = if query.is_empty() { "" } else { "&" };
        let _ = write!(query, "{joint}{name}={}", escape(value));
        self
    }

    /// A number in the query.
    pub(super) fn with_number(self, name: &str, value: impl Display) -> Self {
        self.with(name, &value.to_string())
    }

    pub(super) fn with_decimal(self, name: &str, value: Option<Decimal>) -> Self {
        match value {
            Some(value) => self.with(name, &plain(value)),
            None => self,
        }
    }

    /// A value of a body that is no text.
    pub(super) fn with_value(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.push(name, &value.into());
        self
    }

    pub(super) fn build(self) -> NativeRequest {
        self.0
    }
}

fn signature(keys: &Keys, text: &str) -> Result<String, CryptoError> {
    match keys.kind() {
        KeyKind::Hmac => keys.sign_hex(text.as_bytes()),
        KeyKind::Ed25519 | KeyKind::Es256 | KeyKind::Handed => {
            let error = CryptoError::new(CryptoCode::Unauthorized, "bybit takes HMAC keys only");
            Err(error
                .with("provider", "bybit")
                .with("accepted", "HMAC keys")
                .suggest("store a key that the exchange has made (system-generated)"))
        }
    }
}

/// What is signed: time, key, window, and the query or the body exactly as it is sent.
pub(super) fn sign(
    keys: &Keys,
    request: &NativeRequest,
    now: TsNanos,
    window_ms: u32,
) -> Result<SignedRequest, CryptoError> {
    let (time, window) = (now.as_ms().to_string(), window_ms.max(1).to_string());
    let key = keys.api_key();
    let sent = match request.method {
        Method::Get | Method::Delete => &request.query,
        Method::Post | Method::Put => &request.body,
    };
    let signature = signature(keys, &format!("{time}{key}{window}{sent}"))?;
    let mut headers = vec![
        ("x-bapi-api-key", key.to_owned()),
        ("x-bapi-timestamp", time),
        ("x-bapi-recv-window", window),
        ("x-bapi-sign", signature),
    ];
    if !request.body.is_empty() {
        headers.push(("content-type", "application/json".to_owned()));
    }
    let target = match request.query.is_empty() {
        true => request.path.clone(),
        false => format!("{}?{}", request.path, request.query),
    };
    Ok(SignedRequest {
        method: request.method,
        market: request.market,
        target,
        headers,
        body: request.body.clone(),
    })
}

/// The frame that logs a connection in.
pub(super) fn login(keys: &Keys, now: TsNanos) -> Result<String, CryptoError> {
    let expires = now.as_ms().saturating_add(LOGIN_MS);
    let signature = signature(keys, &format!("GET/realtime{expires}"))?;
    Ok(json!({"op": "auth", "args": [keys.api_key(), expires, signature]}).to_string())
}
