//! Orders over the trade connection: the argument is the REST request's body, and the answer is the REST
//! answer with `data` for `result`. The login is signed, requests are not.
//!
//! Source: `docs/v5/websocket/trade/guideline` of the exchange's documentation repository (2026-07-24).

use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::error::CryptoError;
use crate::exchange::{DecodeError, Keepalive};
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::socket::{Heard, OrderAnswer, OrderFrame, OrderRoute, OrderSession};
use crate::trading::venue::{NativeRequest, Proof};

use super::answer::read;
use super::private::KEEPALIVE;
use super::{BASE_URL, HOST, sign, trading};

pub(super) const ROUTES: &[OrderRoute] = &[OrderRoute {
    name: "orders",
    host: HOST,
    base_url: BASE_URL,
    path: "/v5/trade",
    markets: &[Market::Spot, Market::Perp],
    // Each of our pings is answered.
    silence_secs: 45,
    lifetime_secs: None,
}];

/// The operation of a request; `None`: there is none.
fn operation(request: &NativeRequest) -> Option<&'static str> {
    Some(match &*request.path {
        "/v5/order/create" => "order.create",
        "/v5/order/amend" => "order.amend",
        "/v5/order/cancel" => "order.cancel",
        _ => return None,
    })
}

pub(super) fn frame(
    request: &NativeRequest,
    id: u64,
    now: TsNanos,
    window_ms: u32,
) -> Option<OrderFrame> {
    let op = operation(request)?;
    let header = json!({
        "X-BAPI-TIMESTAMP": now.as_ms().to_string(),
        "X-BAPI-RECV-WINDOW": window_ms.max(1).to_string(),
    });
    let body = &request.body;
    let text = format!(r#"{{"reqId":"{id}","header":{header},"op":"{op}","args":[{body}]}}"#);
    Some(OrderFrame { route: 0, text })
}

/// Any frame.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    #[serde(default)]
    req_id: Option<String>,
    op: Option<String>,
    ret_code: Option<i64>,
    #[serde(default)]
    ret_msg: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(super) struct Session;

/// A login that failed: the key, or something that passes.
fn refused(frame: &[u8], text: &str) -> Heard {
    match trading::failure_of(Market::Spot, false, 200, None, frame) {
        Some(failure) if failure.proof == Proof::Refused => Heard::Refused(failure.error),
        Some(failure) => Heard::Leave(failure.error.message),
        None => Heard::Leave(format!("bybit refused the login: {text}")),
    }
}

impl OrderSession for Session {
    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Result<Vec<String>, CryptoError> {
        Ok(vec![sign::login(keys, now)?])
    }

    fn frame(&mut self, frame: &[u8]) -> Result<Heard, DecodeError> {
        let told: Frame<'_> = read(frame, "retCode")?;
        let text = told.ret_msg.as_deref().unwrap_or_default();
        let code = told.ret_code;
        match told.op.as_deref() {
            // Logged in already is logged in.
            Some("auth") if matches!(code, Some(0 | 20001)) => return Ok(Heard::Ready),
            Some("auth") => return Ok(refused(frame, text)),
            Some("ping" | "pong") => return Ok(Heard::Nothing),
            _ => {}
        }
        let code = code.ok_or(DecodeError::Field { field: "retCode" })?;
        let id = told.req_id.filter(|id| !id.is_empty());
        // It restarts, or has forgotten who we are.
        let is_last = matches!(code, 10003 | 10019);
        let Some(id) = id.and_then(|id| id.parse().ok()) else {
            return match is_last {
                true => Ok(Heard::Leave(format!("bybit: {code} {text}"))),
                false => Err(DecodeError::Field { field: "reqId" }),
            };
        };
        let data = told.data.map_or("{}", RawValue::get);
        let text = json!(text);
        Ok(Heard::Answer(OrderAnswer {
            id,
            status: 200,
            retry_after: None,
            headers: Vec::new(),
            body: format!(r#"{{"retCode":{code},"retMsg":{text},"result":{data}}}"#).into_bytes(),
            is_last,
        }))
    }

    fn keepalive(&self) -> Option<Keepalive> {
        Some(KEEPALIVE)
    }
}
