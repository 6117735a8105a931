//! From a request and its answer to an entry. It is made on the log's own thread: the way of an order
//! is not longer for it. Of what a client sends only fields that are known go into the log, because
//! anything may be in the others.

use std::collections::BTreeMap;

use bookwire_engine::audit::{Entry, Outcome};
use bookwire_engine::time::TsNanos;
use bytes::Bytes;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::wall_clock;

/// Fields of requests that are told.
const REQUEST: [&str; 23] = [
    "account",
    "client_order_id",
    "engaged",
    "entity_id",
    "entity_type",
    "exchange",
    "filter",
    "for_seconds",
    "leverage",
    "margin_trading",
    "order_id",
    "position_side",
    "post_only",
    "price",
    "provider",
    "quantity",
    "reduce_only",
    "round",
    "side",
    "stop_price",
    "symbol",
    "time_in_force",
    "type",
];

/// Fields of answers that are told.
const ANSWER: [&str; 8] = [
    "amended",
    "client_order_id",
    "exchange_order_id",
    "filled_quantity",
    "order_id",
    "outcome",
    "replaces",
    "status",
];

/// Longest value that is told, characters.
const VALUE_MAX: usize = 128;

/// Longest body that waits for the log.
pub(super) const BODY_MAX: usize = 8 << 10;

/// What was commanded and what came of it.
#[derive(Clone, Debug)]
pub struct Record {
    /// When.
    pub at: TsNanos,
    /// Id of the key.
    pub who: String,
    /// `rest`, `ws`, `cli`.
    pub via: &'static str,
    /// Address of the client.
    pub from: String,
    /// The request's id.
    pub trace_id: String,
    /// `order.place`, …
    pub action: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// Code of the error.
    pub code: Option<&'static str>,
    /// Path of the request; empty: none.
    pub path: String,
    /// Its query; empty: none.
    pub query: String,
    /// Its body.
    pub request: Bytes,
    /// Body of the answer, where it is one that was done.
    pub answer: Bytes,
    /// What else is to be told; nothing secret.
    pub note: Map<String, Value>,
}

impl Record {
    /// A record of now with nothing but its name.
    #[must_use]
    pub fn new(action: &'static str) -> Self {
        Self {
            at: wall_clock(),
            who: String::new(),
            via: "rest",
            from: String::new(),
            trace_id: String::new(),
            action,
            outcome: Outcome::Done,
            status: None,
            code: None,
            path: String::new(),
            query: String::new(),
            request: Bytes::new(),
            answer: Bytes::new(),
            note: Map::new(),
        }
    }

    /// The entry.
    #[must_use]
    pub fn entry(self) -> Entry {
        let mut details = Map::new();
        if !self.path.is_empty() {
            details.insert("path".to_owned(), cut(&self.path).into());
        }
        for (name, value) in form(&self.query) {
            details.insert(name, value);
        }
        if !self.request.is_empty() {
            fields(&self.request, &REQUEST, "request_bytes", &mut details);
        }
        if !self.answer.is_empty() {
            let mut answer = Map::new();
            fields(&self.answer, &ANSWER, "bytes", &mut answer);
            if !answer.is_empty() {
                details.insert("answer".to_owned(), answer.into());
            }
        }
        details.extend(self.note);
        Entry {
            at: self.at,
            who: self.who,
            via: self.via,
            from: self.from,
            trace_id: self.trace_id,
            action: self.action.to_owned(),
            outcome: self.outcome,
            status: self.status,
            code: self.code.map(str::to_owned),
            details,
        }
    }
}

fn cut(text: &str) -> String {
    text.chars().take(VALUE_MAX).collect()
}

/// Known parameters of a query.
fn form(query: &str) -> Vec<(String, Value)> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(name, _)| REQUEST.contains(name))
        .map(|(name, value)| (name.to_owned(), cut(value).into()))
        .collect()
}

/// Known fields of a JSON object; of what is none its length.
fn fields(body: &[u8], known: &[&str], length: &str, out: &mut Map<String, Value>) {
    let Ok(all) = serde_json::from_slice::<BTreeMap<String, &RawValue>>(body) else {
        out.insert(length.to_owned(), body.len().into());
        return;
    };
    for name in known {
        let Some(raw) = all.get(*name).map(|raw| raw.get()) else {
            continue;
        };
        let value = match serde_json::from_str::<Value>(raw) {
            Ok(Value::String(text)) => cut(&text).into(),
            Ok(Value::Bool(flag)) => flag.into(),
            Ok(Value::Null) | Err(_) => continue,
            // A number by its digits: it is never read as a float.
            Ok(Value::Number(_)) => cut(raw).into(),
            Ok(_) => "…".into(),
        };
        out.insert((*name).to_owned(), value);
    }
}
