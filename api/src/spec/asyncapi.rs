//! The AsyncAPI 3.0 document of `/ws`.

use std::sync::OnceLock;

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Map, Value, json};

use super::messages::{self, Message};
use super::shape::one_of;
use super::{NUMBERS, codes};
use crate::error::ApiError;
use crate::rest::ops::no_parameters;

const INTRODUCTION: &str = "Live market data, and what happens on accounts. One JSON object per text frame. A \
request may carry an `id`, which its answer repeats. Messages of a subscription count from 1 in `seq`, without \
holes unless something was dropped, and that is told by `system.flow`. A book that is out of sync is announced \
by `system.status` and never served.\n\n\
Defaults, all configurable: 5 connections of an address (the sixth: HTTP 429), 200 subscriptions of a \
connection, frames of up to 64 KiB. The server pings every 20 s and closes after 60 s of silence. Pages of another \
origin may not connect unless configured.";

/// Close codes and when they are sent; all with a reason.
const CLOSES: &[(u16, &str)] = &[
    (1002, "A frame broke the WebSocket protocol."),
    (1007, "A text frame was not UTF-8."),
    (
        1008,
        "A limit: reads too slowly, silent for too long, too many messages, or its key has ended.",
    ),
    (
        1009,
        "A message was larger than `websocket.frame_bytes_max`.",
    ),
    (1012, "The server restarts: connect again."),
];

/// The id of a message: dots have a meaning in keys.
fn key(name: &str) -> String {
    name.replace('.', "_")
}

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let groups = [
        (
            "requests",
            "receive",
            "What clients ask.",
            messages::requests(),
        ),
        (
            "answers",
            "send",
            "What requests are answered.",
            messages::answers(),
        ),
        (
            "streams",
            "send",
            "What subscriptions get.",
            messages::streamed(),
        ),
        (
            "system",
            "send",
            "What is told about the feed itself.",
            messages::system(),
        ),
    ];
    let (mut of_channel, mut all, mut operations) = (Map::new(), Map::new(), Map::new());
    for (name, action, summary, messages) in groups {
        let mut refs = Vec::new();
        for message in messages {
            // `error` is an answer, `auth` a request: no name is there twice.
            let key = key(&message.name);
            refs.push(json!({"$ref": format!("#/channels/ws/messages/{key}")}));
            let place = format!("#/components/messages/{key}");
            of_channel.insert(key.clone(), json!({ "$ref": place }));
            all.insert(key, described(message));
        }
        operations.insert(
            name.to_owned(),
            json!({
                "action": action,
                "channel": {"$ref": "#/channels/ws"},
                "summary": summary,
                "messages": refs,
            }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "bookwire",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"here": {
            "host": "127.0.0.1:8080",
            "protocol": "ws",
            "description": "Where this document came from; `wss` when it has a certificate.",
        }},
        "channels": {"ws": {
            "address": "/ws",
            "description": "All streams are on one connection.",
            "messages": of_channel,
            "bindings": {"ws": {
                "method": "GET",
                "query": {
                    "type": "object",
                    "properties": {"numbers": one_of(&NUMBERS.words())},
                },
            }},
            "x-close-codes": CLOSES.iter().map(|(code, when)| json!({"code": code, "when": when})).collect::<Value>(),
        }},
        "operations": operations,
        "components": {"messages": all, "schemas": messages::components()},
        "x-codes": codes::codes(),
    })
}

fn described(message: Message) -> Value {
    let mut described = json!({
        "name": message.name,
        "title": message.name,
        "summary": message.about,
        "contentType": "application/json",
        "payload": message.schema,
    });
    if let Some(example) = message.example {
        described["examples"] = json!([{"payload": example}]);
    }
    described
}

/// The document's text, made once.
fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

/// `GET /api/asyncapi.json`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn asyncapi(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    no_parameters(&request)?;
    Ok(super::openapi::json_answer(text).await)
}
