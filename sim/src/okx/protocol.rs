//! What a client may say on a connection, and the answers.
//!
//! Source: WebSocket section of the v5 documentation; error table of ccxt 4.5.90.

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) id: Option<String>,
    pub(crate) op: Op,
    pub(crate) args: Vec<Arg>,
}

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Op {
    /// Add channels.
    Subscribe,
    /// Remove channels.
    Unsubscribe,
    /// Name an account.
    Login,
    /// Place an order.
    Order,
    /// Place orders.
    BatchOrders,
    /// Take an order back.
    CancelOrder,
    /// Take orders back.
    BatchCancelOrders,
    /// Change an order.
    AmendOrder,
    /// Change orders.
    BatchAmendOrders,
}

impl Op {
    /// Its name, if it trades.
    pub(crate) const fn trading(self) -> Option<&'static str> {
        match self {
            Self::Subscribe | Self::Unsubscribe | Self::Login => None,
            Self::Order => Some("order"),
            Self::BatchOrders => Some("batch-orders"),
            Self::CancelOrder => Some("cancel-order"),
            Self::BatchCancelOrders => Some("batch-cancel-orders"),
            Self::AmendOrder => Some("amend-order"),
            Self::BatchAmendOrders => Some("batch-amend-orders"),
        }
    }
}

/// A channel as it is asked for; the answer repeats it as it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Arg(pub(crate) Map<String, Value>);

impl Arg {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(Value::as_str)
    }

    pub(crate) fn channel(&self) -> &str {
        self.get("channel").unwrap_or_default()
    }

    /// Its name in lists of subscriptions: two spellings of one arg are one.
    pub(crate) fn name(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// `channel:books,instId:BTC-USDT`
    fn shown(&self) -> String {
        let parts = self.0.iter().filter(|(_, value)| value.is_string());
        let mut parts: Vec<String> = parts
            .map(|(name, value)| format!("{name}:{}", value.as_str().unwrap_or_default()))
            .collect();
        // The channel leads, whatever the order of the request.
        parts.sort_by_key(|part| !part.starts_with("channel:"));
        parts.join(",")
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    id: Value,
    op: Op,
    args: Vec<Map<String, Value>>,
}

/// Reads a request; `None` when it is not one.
pub(crate) fn parse(text: &str) -> Option<Request> {
    let raw: Raw = serde_json::from_str(text).ok()?;
    let id = match raw.id {
        Value::Null => None,
        Value::String(id) if id.len() <= 32 && id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
            Some(id)
        }
        _ => return None,
    };
    Some(Request {
        id,
        op: raw.op,
        args: raw.args.into_iter().map(Arg).collect(),
    })
}

fn with_id(mut answer: Value, id: Option<&str>) -> String {
    if let Some(id) = id {
        answer["id"] = id.into();
    }
    answer.to_string()
}

/// The answer to one channel of a request.
pub(crate) fn ack(event: &str, arg: &Arg, id: Option<&str>, conn: &str) -> String {
    with_id(json!({"event": event, "arg": arg.0, "connId": conn}), id)
}

/// An error answer.
pub(crate) fn error(code: &str, msg: &str, id: Option<&str>, conn: &str) -> String {
    with_id(
        json!({"event": "error", "msg": msg, "code": code, "connId": conn}),
        id,
    )
}

/// A request that is none.
pub(crate) fn illegal(text: &str, conn: &str) -> String {
    let shown: String = text.chars().take(200).collect();
    error("60012", &format!("Illegal request: {shown}"), None, conn)
}

/// A channel that does not exist, or not for such an instrument.
pub(crate) fn unknown(arg: &Arg, id: Option<&str>, conn: &str) -> String {
    let msg = format!(
        "Wrong URL or {} doesn't exist. Please use the correct URL, channel and parameters \
         referring to API document.",
        arg.shown()
    );
    error("60018", &msg, id, conn)
}

/// How many connections hear of an account's channel.
pub(crate) fn count(channel: &str, count: usize, conn: &str) -> String {
    json!({"event": "channel-conn-count", "channel": channel, "connCount": count.to_string(),
        "connId": conn})
    .to_string()
}

/// The answer to a login.
pub(crate) fn login(id: Option<&str>, conn: &str) -> String {
    with_id(
        json!({"event": "login", "msg": "", "code": "0", "connId": conn}),
        id,
    )
}

/// The answer to a trading request: code, text and rows.
pub(crate) fn traded(
    op: &str,
    id: Option<&str>,
    (code, msg, data): (&str, &str, &[Value]),
    (in_us, out_us): (i64, i64),
) -> String {
    with_id(
        json!({"op": op, "code": code, "msg": msg, "data": data,
            "inTime": in_us.to_string(), "outTime": out_us.to_string()}),
        id,
    )
}

/// The notice before a server goes down.
pub(crate) fn notice(conn: &str) -> String {
    json!({"event": "notice", "code": "64008", "msg":
        "The connection will soon be closed for a service upgrade. Please reconnect.",
        "connId": conn})
    .to_string()
}
