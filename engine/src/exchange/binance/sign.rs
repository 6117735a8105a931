//! Requests of an account: how they are put together and signed.
//!
//! Sources: spot `rest-api.md` and `web-socket-api.md` (2026-07-21), stored USDⓈ-M documentation
//! pages; vectors in the tests beside.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use rust_decimal::Decimal;
use serde_json::json;

use crate::error::{CryptoCode, CryptoError};
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::exact::plain;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::venue::{Access, Method, NativeRequest, SignedRequest};

use super::rest::{escape, unescape};

/// Longest time that a request may be under way, milliseconds.
const WINDOW_MS_MAX: u32 = 60_000;

/// A request under construction. Everything travels in the query, and is encoded before it is
/// signed.
pub(super) struct Ask(NativeRequest);

impl Ask {
    pub(super) fn new(method: Method, market: Market, path: &str, weight: u32) -> Self {
        Self(NativeRequest {
            method,
            market,
            path: path.to_owned(),
            query: String::new(),
            body: String::new(),
            access: Access::Signed,
            budget: (0, weight),
            counts_for: None,
        })
    }

    /// A request about an instrument.
    pub(super) fn of(method: Method, instrument: &Instrument, path: &str, weight: u32) -> Self {
        let spec = &instrument.spec;
        Self::new(method, spec.market, path, weight).with("symbol", &spec.native_symbol)
    }

    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        self.0.query.push_str(separator(&self.0.query));
        // Writing to a string can't fail.
        let _ = write!(self.0.query, "{name}={}", escape(value));
        self
    }

    pub(super) fn with_number(self, name: &str, value: impl Display) -> Self {
        self.with(name, &value.to_string())
    }

    pub(super) fn with_decimal(self, name: &str, value: Option<Decimal>) -> Self {
        match value {
            Some(value) => self.with(name, &plain(value)),
            None => self,
        }
    }

    /// The key's name is enough.
    pub(super) fn unsigned(mut self) -> Self {
        self.0.access = Access::Key;
        self
    }

    pub(super) fn build(self) -> NativeRequest {
        self.0
    }
}

fn separator(text: &str) -> &'static str {
    match text {
        "" => "",
        _ => "&",
    }
}

/// HMAC in hex, Ed25519 in base64.
fn signature(keys: &Keys, text: &str) -> Result<String, CryptoError> {
    match keys.kind() {
        KeyKind::Hmac => keys.sign_hex(text.as_bytes()),
        KeyKind::Ed25519 => keys.sign_base64(text.as_bytes()),
        KeyKind::Es256 | KeyKind::Handed => Err(CryptoError::new(
            CryptoCode::Unauthorized,
            "binance takes no EC keys",
        )
        .with("provider", "binance")
        .with("accepted", "HMAC or Ed25519 keys")
        .suggest("store a key that was made as HMAC or Ed25519")),
    }
}

/// Time and signature go where the parameters are: into the query, or into the body where there is
/// one. What is signed is the query followed directly by the body.
pub(super) fn sign(
    keys: &Keys,
    request: &NativeRequest,
    now: TsNanos,
    window_ms: u32,
) -> Result<SignedRequest, CryptoError> {
    let mut headers = vec![("x-mbx-apikey", keys.api_key().to_owned())];
    if !request.body.is_empty() {
        let form = "application/x-www-form-urlencoded".to_owned();
        headers.push(("content-type", form));
    }
    let (mut query, mut body) = (request.query.clone(), request.body.clone());
    if request.access == Access::Signed {
        let last = match body.is_empty() {
            true => &mut query,
            false => &mut body,
        };
        let window = window_ms.clamp(1, WINDOW_MS_MAX);
        let joint = separator(last);
        let time = now.as_ms();
        let _ = write!(last, "{joint}recvWindow={window}&timestamp={time}");
        let signature = signature(keys, &format!("{query}{body}"))?;
        let last = match body.is_empty() {
            true => &mut query,
            false => &mut body,
        };
        let _ = write!(last, "&signature={}", escape(&signature));
    }
    let target = match query.is_empty() {
        true => request.path.clone(),
        false => format!("{}?{query}", request.path),
    };
    Ok(SignedRequest {
        method: request.method,
        market: request.market,
        target,
        headers,
        body,
    })
}

/// The parameters of a request over WebSocket, with key, time and signature: what is signed are all of
/// them but the signature, sorted by name and as they are, without any encoding.
pub(super) fn by_name(
    keys: &Keys,
    request: &NativeRequest,
    now: TsNanos,
    window_ms: u32,
) -> Result<BTreeMap<String, String>, CryptoError> {
    let pairs = request.query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), unescape(value)))
    });
    let mut params: BTreeMap<String, String> = pairs.collect();
    let window = window_ms.clamp(1, WINDOW_MS_MAX);
    params.extend([
        ("apiKey".to_owned(), keys.api_key().to_owned()),
        ("recvWindow".to_owned(), window.to_string()),
        ("timestamp".to_owned(), now.as_ms().to_string()),
    ]);
    let mut text = String::new();
    for (name, value) in &params {
        let joint = separator(&text);
        let _ = write!(text, "{joint}{name}={value}");
    }
    let signature = signature(keys, &text)?;
    params.insert("signature".to_owned(), signature);
    Ok(params)
}

/// The request that has spot's WebSocket API tell an account's events. Parameters are signed sorted
/// by name and as they are, without any encoding.
pub(super) fn subscription(keys: &Keys, id: u64, now: TsNanos) -> Result<String, CryptoError> {
    let (key, time) = (keys.api_key(), now.as_ms());
    let signature = signature(keys, &format!("apiKey={key}&timestamp={time}"))?;
    let request = json!({
        "id": id,
        "method": "userDataStream.subscribe.signature",
        "params": { "apiKey": key, "timestamp": time, "signature": signature },
    });
    Ok(request.to_string())
}
