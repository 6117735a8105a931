//! Orders over the WebSocket APIs of spot and USDⓈ-M: the parameters are those of the REST request, signed
//! sorted by name and without any encoding; the answer's `result` or `error` is the REST answer's body.
//!
//! Sources: spot `web-socket-api.md` (2026-07-21), WebSocket API documentation of USDⓈ-M in the official
//! connector 64.0.0 (2026-07-22).

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::error::CryptoError;
use crate::exchange::DecodeError;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::socket::{Heard, OrderAnswer, OrderFrame, OrderRoute, OrderSession};
use crate::trading::venue::{Method, NativeRequest, Proof};

use super::instruments::read;
use super::{sign, trading};

/// The exchange closes connections after a day.
const LIFETIME_SECS: u64 = 23 * 3600;

pub(super) const ROUTES: &[OrderRoute] = &[
    OrderRoute {
        name: "orders_spot",
        host: "ws-api.binance.com:443",
        base_url: "wss://ws-api.binance.com:443",
        path: "/ws-api/v3",
        markets: &[Market::Spot],
        // A ping every 20 seconds; each of ours is answered.
        silence_secs: 45,
        lifetime_secs: Some(LIFETIME_SECS),
    },
    OrderRoute {
        name: "orders_perp",
        host: "ws-fapi.binance.com",
        base_url: "wss://ws-fapi.binance.com",
        path: "/ws-fapi/v1",
        markets: &[Market::Perp],
        // Each of our pings is answered.
        silence_secs: 45,
        lifetime_secs: Some(LIFETIME_SECS),
    },
];

/// The method of a request; `None`: there is none.
fn method(request: &NativeRequest) -> Option<&'static str> {
    Some(match (request.market, request.method, &*request.path) {
        (Market::Spot, Method::Post, "/api/v3/order")
        | (Market::Perp, Method::Post, "/fapi/v1/order") => "order.place",
        (Market::Spot, Method::Delete, "/api/v3/order")
        | (Market::Perp, Method::Delete, "/fapi/v1/order") => "order.cancel",
        (Market::Spot, Method::Put, "/api/v3/order/amend/keepPriority") => {
            "order.amend.keepPriority"
        }
        (Market::Perp, Method::Put, "/fapi/v1/order") => "order.modify",
        (Market::Perp, Method::Post, "/fapi/v1/algoOrder") => "algoOrder.place",
        (Market::Perp, Method::Delete, "/fapi/v1/algoOrder") => "algoOrder.cancel",
        _ => return None,
    })
}

/// A value as JSON has it: what is documented as a whole number is one, everything else is text.
fn value(name: &str, text: &str) -> Value {
    let is_number = matches!(name, "orderId" | "algoId" | "timestamp" | "recvWindow");
    match text.parse::<u64>() {
        Ok(number) if is_number => number.into(),
        _ => text.into(),
    }
}

pub(super) fn frame(
    request: &NativeRequest,
    id: u64,
    keys: &Keys,
    now: TsNanos,
    window_ms: u32,
) -> Result<Option<OrderFrame>, CryptoError> {
    let Some(method) = method(request) else {
        return Ok(None);
    };
    let route = match request.market {
        Market::Spot => 0,
        Market::Perp => 1,
    };
    let signed = sign::by_name(keys, request, now, window_ms)?;
    let params: Map<String, Value> = signed
        .into_iter()
        .map(|(name, text)| {
            let value = value(&name, &text);
            (name, value)
        })
        .collect();
    let text = json!({ "id": id.to_string(), "method": method, "params": params }).to_string();
    Ok(Some(OrderFrame { route, text }))
}

/// An answer, or what the server says by itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame<'a> {
    #[serde(default)]
    id: Value,
    status: Option<u16>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(default)]
    rate_limits: Vec<RateLimit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RateLimit {
    rate_limit_type: String,
    interval: String,
    interval_num: u32,
    count: u32,
}

/// When requests may go on: epoch milliseconds, and the clock that they are counted by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wait {
    server_time: i64,
    retry_after: i64,
}

/// Seconds to wait, out of the `data` of an error.
fn wait(error: &RawValue) -> Option<String> {
    #[derive(Deserialize)]
    struct Error {
        data: Option<Wait>,
    }
    let error: Error = serde_json::from_str(error.get()).ok()?;
    let wait = error.data?;
    let ms = wait.retry_after.checked_sub(wait.server_time)?.max(0);
    Some(ms.saturating_add(999).div_euclid(1_000).to_string())
}

pub(super) struct Session {
    market: Market,
}

impl Session {
    pub(super) fn new(route: usize) -> Option<Self> {
        let market = *ROUTES.get(route)?.markets.first()?;
        Some(Self { market })
    }

    /// An error that answers no request: the key was revoked, a frame could not be read, a limit.
    fn stray(&self, status: u16, error: Option<&RawValue>) -> Heard {
        let body = error.map_or("", RawValue::get).as_bytes();
        match trading::failure_of(self.market, false, status, None, body) {
            Some(failure) if failure.proof == Proof::Refused && matches!(status, 401 | 403) => {
                Heard::Refused(failure.error)
            }
            Some(failure) => Heard::Leave(failure.error.message),
            None => Heard::Nothing,
        }
    }
}

impl OrderSession for Session {
    fn opened(&mut self, _: &Keys, _: TsNanos) -> Result<Vec<String>, CryptoError> {
        // Each request is signed by itself, which keys of every kind can.
        Ok(Vec::new())
    }

    fn frame(&mut self, frame: &[u8]) -> Result<Heard, DecodeError> {
        #[derive(Deserialize)]
        struct Kind {
            e: String,
        }
        let told: Frame<'_> = read(frame, "status")?;
        if let Some(event) = told.event {
            let kind: Kind = read(event.get().as_bytes(), "e")?;
            return Ok(match kind.e.as_str() {
                "serverShutdown" => Heard::Leave("the server goes down".to_owned()),
                _ => Heard::Nothing,
            });
        }
        let status = told.status.ok_or(DecodeError::Field { field: "status" })?;
        let id = match &told.id {
            Value::String(text) => text.parse().ok(),
            other => other.as_u64(),
        };
        let Some(id) = id else {
            return Ok(self.stray(status, told.error));
        };
        let body = match (status, told.result, told.error) {
            (200..300, Some(result), _) => result,
            (200..300, None, _) => return Err(DecodeError::Field { field: "result" }),
            (_, _, Some(error)) => error,
            (_, _, None) => return Err(DecodeError::Field { field: "error" }),
        };
        let used = told.rate_limits.iter().filter(|limit| {
            let is_minute = limit.interval == "MINUTE" && limit.interval_num == 1;
            limit.rate_limit_type == "REQUEST_WEIGHT" && is_minute
        });
        Ok(Heard::Answer(OrderAnswer {
            id,
            status,
            retry_after: told.error.and_then(wait),
            headers: used
                .map(|limit| ("x-mbx-used-weight-1m", limit.count.to_string()))
                .collect(),
            body: body.get().as_bytes().to_vec(),
            is_last: false,
        }))
    }
}
