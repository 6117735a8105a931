//! Answers to a client's WebSocket requests.

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::{error_object, error_value};
use super::text::write_json_string;
use crate::error::CryptoError;
use crate::time::TsNanos;

/// A subscription as answers show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionView<'a> {
    /// `crypto.trades`.
    pub stream: &'a str,
    /// Source of the data.
    pub provider: &'a str,
    /// The venue, when the provider serves several.
    pub exchange: Option<&'a str>,
    /// Symbol as messages carry it.
    pub symbol: &'a str,
    /// Entity id as messages carry it.
    pub entity_id: &'a str,
    /// Bar level, `crypto.klines` only.
    pub interval: Option<&'a str>,
    /// Levels a side, `crypto.orderbook` only.
    pub depth: Option<u32>,
    /// `snapshot` or `delta`, `crypto.orderbook` only.
    pub mode: Option<&'a str>,
    /// True when messages carry `received_ns` and `sent_ns`.
    pub timing: bool,
    /// The client's label.
    pub channel: Option<&'a str>,
}

impl SubscriptionView<'_> {
    /// Its JSON object; what does not apply is absent.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                map.insert(name.to_owned(), value);
            }
        };
        put("stream", Some(self.stream.into()));
        put("provider", Some(self.provider.into()));
        put("exchange", self.exchange.map(Into::into));
        put("symbol", Some(self.symbol.into()));
        put("entity_id", Some(self.entity_id.into()));
        put("interval", self.interval.map(Into::into));
        put("depth", self.depth.map(Into::into));
        put("mode", self.mode.map(Into::into));
        put("timing", self.timing.then_some(Value::Bool(true)));
        put("channel", self.channel.map(Into::into));
        Value::Object(map)
    }
}

/// A part of a request that was refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// What was asked for, in the client's words: `stream`, `provider`, `symbol` …
    pub request: Map<String, Value>,
    /// Why not.
    pub error: CryptoError,
}

impl Rejected {
    /// The request's fields and `error`.
    #[must_use]
    pub fn to_value(&self, trace_id: &str, now: TsNanos) -> Value {
        let mut map = self.request.clone();
        map.insert("error".to_owned(), error_value(&self.error, trace_id, now));
        Value::Object(map)
    }
}

fn head(out: &mut Vec<u8>, id: Option<&RawValue>, method: &str, status: &str) {
    out.push(b'{');
    if let Some(id) = id {
        // Echoed as the client wrote it: a number may have more digits than a parser keeps.
        out.extend_from_slice(b"\"id\":");
        out.extend_from_slice(id.get().as_bytes());
        out.push(b',');
    }
    out.extend_from_slice(b"\"method\":");
    write_json_string(out, method);
    out.extend_from_slice(b",\"status\":");
    write_json_string(out, status);
}

/// Appends an answer: `{"id","method","status", fields…}`. `status` is `subscribed`,
/// `unsubscribed`, `authenticated`, `configured`, `pong` …; `fields` are `subscriptions`,
/// `rejected` and what else belongs to the method.
pub fn reply(
    out: &mut Vec<u8>,
    id: Option<&RawValue>,
    method: &str,
    status: &str,
    fields: &[(&str, Value)],
) {
    head(out, id, method, status);
    for (name, value) in fields {
        out.push(b',');
        write_json_string(out, name);
        out.push(b':');
        out.extend_from_slice(value.to_string().as_bytes());
    }
    out.push(b'}');
}

/// Appends the answer of a request of which nothing succeeded:
/// `{"id","method","status":"error","error":{…}}`. `method` is empty when it could not be read.
pub fn error_reply(
    out: &mut Vec<u8>,
    id: Option<&RawValue>,
    method: &str,
    error: &CryptoError,
    trace_id: &str,
    now: TsNanos,
) {
    head(out, id, method, "error");
    out.extend_from_slice(b",\"error\":");
    error_object(out, error, trace_id, now);
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CryptoCode;
    use serde_json::json;

    #[test]
    fn echoes_the_id_as_it_was_written() {
        let raw = RawValue::from_string("12345678901234567890123".to_owned()).unwrap();
        let mut out = Vec::new();
        reply(&mut out, Some(&raw), "ping", "pong", &[]);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"{"id":12345678901234567890123,"method":"ping","status":"pong"}"#
        );
    }

    #[test]
    fn partial_success_names_both_halves() {
        let view = SubscriptionView {
            stream: "crypto.orderbook",
            provider: "binance",
            symbol: "btcusdt",
            entity_id: "cryptopair_binance_btcusdt",
            depth: Some(20),
            mode: Some("delta"),
            channel: Some("my \"books\""),
            ..SubscriptionView::default()
        };
        let Value::Object(request) = json!({"stream": "crypto.trades", "symbol": "nope"}) else {
            unreachable!()
        };
        let rejected = Rejected {
            request,
            error: CryptoError::new(CryptoCode::PairNotFound, "`nope` is not listed"),
        };
        let fields = [
            ("subscriptions", json!([view.to_value()])),
            ("rejected", json!([rejected.to_value("t", TsNanos(0))])),
        ];
        let mut out = Vec::new();
        reply(&mut out, None, "subscribe", "subscribed", &fields);
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value.get("id"), None);
        assert_eq!(value["subscriptions"][0]["channel"], "my \"books\"");
        assert_eq!(value["subscriptions"][0].get("interval"), None);
        assert_eq!(value["rejected"][0]["symbol"], "nope");
        assert_eq!(
            value["rejected"][0]["error"]["code"],
            "CRYPTO_PAIR_NOT_FOUND"
        );
    }

    #[test]
    fn total_failure_is_an_error() {
        let error = CryptoError::new(CryptoCode::InvalidParameter, "no");
        let mut out = Vec::new();
        error_reply(&mut out, None, "", &error, "t", TsNanos(0));
        let value: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(value["status"], "error");
        assert_eq!(value["error"]["trace_id"], "t");
    }
}
