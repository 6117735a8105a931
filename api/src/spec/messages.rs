//! Schemas of what `/ws` sends and takes.

use bookwire_actors::session::flow::DropPolicy;
use bookwire_actors::session::request::{Method, PrivateStream, StreamName};
use bookwire_engine::keys::Permission;
use serde_json::{Map, Value, json};

use super::shape::{
    about, all_of, body, count, flag, list, map_of, nullable, number, object, one_of, reference,
    text, time,
};
use super::{levels, providers, ws};

/// A message: its name, what it is, its schema, and one to look at.
pub(super) struct Message {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) schema: Value,
    pub(super) example: Option<Value>,
}

fn policies() -> Value {
    one_of(&DropPolicy::ALL.map(DropPolicy::as_str))
}

/// The id that a client gives its request.
fn id() -> Value {
    json!({"type": ["string", "number", "boolean"], "description": "Given back as it came."})
}

/// What a method's `params` are.
pub(super) fn params(method: Method) -> Value {
    let none = || json!({"type": "object", "additionalProperties": false});
    match method {
        Method::Auth => body(ws::AUTH),
        Method::ConfigureFlow => body(ws::FLOW),
        Method::ListSubscriptions | Method::Ping => none(),
        Method::Subscribe => json!({"anyOf": streams(true)}),
        Method::Unsubscribe => {
            let mut all = streams(false);
            let mut channel = body(&[ws::CHANNEL.required()]);
            channel["title"] = "all of a channel".into();
            all.push(channel);
            json!({ "anyOf": all })
        }
    }
}

/// What one stream's parameters are, by stream.
pub(super) fn stream_schemas(is_subscribe: bool, has_channel: bool) -> Vec<(&'static str, Value)> {
    let one = |name: &'static str, mut fields: Vec<super::Field>| {
        if has_channel {
            fields.push(ws::CHANNEL);
        }
        let mut schema = body(&fields);
        schema["properties"]["stream"] = json!({"const": name});
        schema["title"] = name.into();
        if is_subscribe
            && name == StreamName::Klines.as_str()
            && let Some(Value::Array(required)) = schema.get_mut("required")
        {
            required.push("interval".into());
        }
        (name, schema)
    };
    let market = StreamName::ALL.map(|stream| one(stream.as_str(), ws::stream(stream)));
    let private = PrivateStream::ALL.map(|stream| one(stream.as_str(), ws::PRIVATE.to_vec()));
    market.into_iter().chain(private).collect()
}

fn streams(is_subscribe: bool) -> Vec<Value> {
    let mut several = body(&[ws::CHANNEL, ws::STREAMS.required()]);
    several["title"] = "several streams".into();
    let mut all: Vec<Value> = stream_schemas(is_subscribe, true)
        .into_iter()
        .map(|(_, schema)| schema)
        .collect();
    all.push(several);
    all
}

fn example_params(method: Method) -> Value {
    match method {
        Method::Auth => json!({
            "provider": "binance", "api_key": "demo", "timestamp": 1_722_515_696_789_u64,
            "signature": "5f0c…64 hex digits",
        }),
        Method::Subscribe => json!({
            "stream": "crypto.orderbook", "provider": "binance", "symbols": ["btcusdt"], "depth": 5,
        }),
        Method::Unsubscribe => json!({
            "stream": "crypto.orderbook", "provider": "binance", "symbols": ["btcusdt"],
        }),
        Method::ConfigureFlow => json!({"max_messages_per_second": 10, "drop_policy": "conflate"}),
        Method::ListSubscriptions | Method::Ping => json!({}),
    }
}

/// What clients send.
pub(super) fn requests() -> Vec<Message> {
    let one = |method: Method| {
        let required = match method {
            Method::ListSubscriptions | Method::Ping => json!(["method"]),
            _ => json!(["method", "params"]),
        };
        Message {
            name: method.as_str().to_owned(),
            about: ws::meaning(method).to_owned(),
            schema: json!({
                "type": "object",
                "properties": {
                    "id": id(),
                    "method": {"const": method.as_str()},
                    "params": about(
                        params(method),
                        "May also stand beside `method`, without `params`.",
                    ),
                },
                "required": required,
            }),
            example: Some(
                json!({"id": 1, "method": method.as_str(), "params": example_params(method)}),
            ),
        }
    };
    Method::ALL.map(one).into_iter().collect()
}

fn subscription() -> Value {
    object([
        ("stream", text()),
        ("provider", one_of(&providers())),
        ("symbol?", text()),
        ("entity_id?", text()),
        ("interval?", one_of(&levels())),
        ("depth?", count()),
        ("mode?", one_of(&ws::MODE.words())),
        ("timing?", flag()),
        ("account?", text()),
        ("channel?", text()),
    ])
}

/// What was asked for, with the reason why it is not done.
fn rejected() -> Value {
    json!({
        "type": "object",
        "description": "What was asked for, and why it can't be had.",
        "properties": {"error": reference("ErrorObject")},
        "required": ["error"],
        "additionalProperties": true,
    })
}

fn flow() -> Value {
    object([
        ("channel?", text()),
        ("max_messages_per_second", count()),
        ("buffer_size", count()),
        (
            "drop_policy",
            one_of(&[&["default"][..], &DropPolicy::ALL.map(DropPolicy::as_str)].concat()),
        ),
        (
            "drop_policies",
            about(map_of(policies()), "by stream: what is in force"),
        ),
    ])
}

fn answer(methods: &[Method], status: &str, more: &Value) -> Value {
    let methods: Vec<&str> = methods.iter().map(|method| method.as_str()).collect();
    let head = object([
        ("id?", id()),
        ("method", one_of(&methods)),
        ("status", json!({ "const": status })),
    ]);
    all_of(&[head, more.clone()])
}

/// What requests are answered.
pub(super) fn answers() -> Vec<Message> {
    let changed = object([
        ("subscriptions", list(reference("Subscription"))),
        ("rejected", list(reference("Rejected"))),
    ]);
    let permissions = Permission::ALL.map(Permission::as_str);
    let message = |name: &str, about: &str, schema: Value| Message {
        name: name.to_owned(),
        about: about.to_owned(),
        schema,
        example: None,
    };
    let mut failed = object([
        ("id?", id()),
        ("method", about(text(), "empty when it could not be read")),
        ("status", json!({"const": "error"})),
        ("error", reference("ErrorObject")),
        ("rejected?", list(reference("Rejected"))),
    ]);
    failed["description"] = "Nothing of the request was done.".into();
    vec![
        message(
            "authenticated",
            "The key is proven.",
            answer(
                &[Method::Auth],
                "authenticated",
                &object([
                    ("provider", one_of(&providers())),
                    ("permissions", list(one_of(&permissions))),
                    ("cancel_on_disconnect", flag()),
                ]),
            ),
        ),
        message(
            "subscribed",
            "What was subscribed, and what not.",
            answer(&[Method::Subscribe], "subscribed", &changed),
        ),
        message(
            "unsubscribed",
            "What was unsubscribed, and what not.",
            answer(&[Method::Unsubscribe], "unsubscribed", &changed),
        ),
        message(
            "listed",
            "All subscriptions.",
            answer(
                &[Method::ListSubscriptions],
                "listed",
                &object([("subscriptions", list(reference("Subscription")))]),
            ),
        ),
        message(
            "pong",
            "The server lives.",
            answer(&[Method::Ping], "pong", &object([("timestamp", time())])),
        ),
        message(
            "configured",
            "The flow control in force; of the connection with all channels that have their own.",
            answer(
                &[Method::ConfigureFlow],
                "configured",
                &all_of(&[flow(), object([("channels?", list(flow()))])]),
            ),
        ),
        message("error", "Nothing of the request was done.", failed),
    ]
}

fn trades() -> Value {
    object([
        ("trade_id", text()),
        ("price", number()),
        ("volume", number()),
        ("side", about(one_of(&["buy", "sell"]), "the taker's")),
        ("timestamp", time()),
        ("is_buyer_maker", flag()),
    ])
}

fn klines() -> Value {
    object([
        ("open", number()),
        ("high", number()),
        ("low", number()),
        ("close", number()),
        ("volume", number()),
        ("volume_quote", nullable(number())),
        ("trade_count", nullable(count())),
        ("timestamp", about(time(), "the bar's open")),
        ("is_closed", about(flag(), "true exactly once for each bar")),
    ])
}

fn orderbook() -> Value {
    let levels = || list(reference("Level"));
    let mut snapshot = object([
        ("type", json!({"const": "snapshot"})),
        ("bids", levels()),
        ("asks", levels()),
        ("sequence", count()),
        ("timestamp", time()),
    ]);
    snapshot["title"] = "snapshot".into();
    let mut update = object([
        ("type", json!({"const": "update"})),
        ("bids", levels()),
        ("asks", levels()),
        ("sequence", count()),
        (
            "prev_sequence",
            about(count(), "`sequence` of the message before"),
        ),
        ("timestamp", time()),
    ]);
    update["title"] = "update".into();
    update["description"] = "Levels in the top `depth` that changed; volume 0: gone.".into();
    json!({"oneOf": [snapshot, update]})
}

fn ticker() -> Value {
    let side = || nullable(number());
    object([
        ("best_bid", side()),
        ("best_bid_volume", side()),
        ("best_ask", side()),
        ("best_ask_volume", side()),
        ("mid_price", side()),
        ("spread", side()),
        ("sequence", nullable(count())),
        ("timestamp", time()),
    ])
}

fn funding() -> Value {
    object([
        ("funding_rate", nullable(number())),
        ("mark_price", number()),
        ("index_price", nullable(number())),
        ("next_funding_timestamp", nullable(time())),
        ("timestamp", time()),
    ])
}

fn account() -> Value {
    object([
        ("type", one_of(&["snapshot", "update"])),
        ("balances", list(reference("Balance"))),
        ("positions", list(reference("Position"))),
    ])
}

fn orders() -> Value {
    let snapshot = object([
        ("type", json!({"const": "snapshot"})),
        ("orders", about(list(reference("Order")), "all open orders")),
    ]);
    let update = object([
        ("type", json!({"const": "update"})),
        ("order", reference("Order")),
        (
            "fill",
            about(nullable(reference("Fill")), "the execution that changed it"),
        ),
    ]);
    json!({"oneOf": [snapshot, update]})
}

/// `data` with the times that `timing` asks for.
fn timed(mut data: Value) -> Value {
    let add = |schema: &mut Value| {
        if let Some(Value::Object(properties)) = schema.get_mut("properties") {
            for name in ["received_ns", "sent_ns"] {
                properties.insert(
                    name.to_owned(),
                    about(count(), "with `timing`: wall clock, nanoseconds"),
                );
            }
        }
    };
    match data.get_mut("oneOf") {
        Some(Value::Array(several)) => several.iter_mut().for_each(add),
        _ => add(&mut data),
    }
    data
}

fn envelope(stream: &str, is_private: bool, data: Value) -> Value {
    let about_symbol = || if is_private { nullable(text()) } else { text() };
    let mut schema = object([
        ("stream", json!({ "const": stream })),
        ("provider", one_of(&providers())),
        ("symbol", about_symbol()),
        ("entity_id", about_symbol()),
        ("interval?", one_of(&levels())),
        ("account?", text()),
        ("channel?", text()),
        (
            "seq",
            json!({"type": "integer", "minimum": 1, "description":
                "counts the subscription's messages from 1, without holes unless something was dropped"}),
        ),
        ("data", data),
    ]);
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        if stream != StreamName::Klines.as_str() {
            properties.remove("interval");
        }
        if !is_private {
            properties.remove("account");
        }
    }
    schema
}

const fn meaning(stream: StreamName) -> &'static str {
    match stream {
        StreamName::Trades => "Public trades.",
        StreamName::Klines => "The forming bar as it changes, and its end.",
        StreamName::OrderBook => {
            "Books. A subscriber never gets an update that does not apply: after drops or a resync it gets a \
             new snapshot."
        }
        StreamName::Ticker => "Best bid and ask.",
        StreamName::Funding => "Funding, mark and index price of perpetuals.",
    }
}

/// What subscriptions get.
pub(super) fn streamed() -> Vec<Message> {
    let market = StreamName::ALL.map(|stream| {
        let data = match stream {
            StreamName::Trades => trades(),
            StreamName::Klines => klines(),
            StreamName::OrderBook => orderbook(),
            StreamName::Ticker => ticker(),
            StreamName::Funding => funding(),
        };
        Message {
            name: stream.as_str().to_owned(),
            about: meaning(stream).to_owned(),
            schema: envelope(stream.as_str(), false, timed(data)),
            example: (stream == StreamName::Trades).then(|| {
                json!({
                    "stream": "crypto.trades", "provider": "binance", "symbol": "btcusdt",
                    "entity_id": "cryptopair_binance_btcusdt", "seq": 1, "data": {
                        "trade_id": "4021", "price": 61737.63, "volume": 0.00125, "side": "sell",
                        "timestamp": "2024-08-01T12:34:56.789Z", "is_buyer_maker": true,
                    },
                })
            }),
        }
    });
    let private = PrivateStream::ALL.map(|stream| {
        let (data, about) = match stream {
            PrivateStream::Account => (
                account(),
                "Balances and positions: all of them, then changes.",
            ),
            PrivateStream::Orders => (
                orders(),
                "Open orders, then each change with its execution.",
            ),
        };
        Message {
            name: stream.as_str().to_owned(),
            about: format!("{about} Never dropped: a client that can't keep up is disconnected."),
            schema: envelope(stream.as_str(), true, timed(data)),
            example: None,
        }
    });
    market.into_iter().chain(private).collect()
}

/// What is told about the feed itself.
pub(super) fn system() -> Vec<Message> {
    let told =
        |name: &str, data: Value| object([("stream", json!({ "const": name })), ("data", data)]);
    let states = [
        "connected",
        "stale",
        "resyncing",
        "disconnected",
        "maintenance",
    ];
    vec![
        Message {
            name: "system.status".to_owned(),
            about: "A provider, or a symbol of it, has come into another state.".to_owned(),
            schema: told(
                "system.status",
                object([
                    ("provider", one_of(&providers())),
                    ("symbol?", about(text(), "absent: the whole provider")),
                    ("state", one_of(&states)),
                    ("reason", text()),
                    ("stream?", text()),
                    ("after_ms?", about(count(), "how long it was away")),
                    ("cause?", about(text(), "why it was away")),
                    ("timestamp", time()),
                ]),
            ),
            example: Some(json!({"stream": "system.status", "data": {
                "provider": "binance", "symbol": "btcusdt", "state": "resyncing",
                "reason": "a gap in the exchange's sequence", "timestamp": "2024-08-01T12:34:56.789Z",
            }})),
        },
        Message {
            name: "system.flow".to_owned(),
            about: "Messages that this client did not get because it reads too slowly.".to_owned(),
            schema: told(
                "system.flow",
                object([
                    ("channel", nullable(text())),
                    ("stream", text()),
                    ("provider", text()),
                    ("symbol", text()),
                    ("entity_id", text()),
                    ("interval?", about(text(), "of bars")),
                    ("policy", policies()),
                    ("dropped", count()),
                    ("from_seq", count()),
                    ("to_seq", count()),
                ]),
            ),
            example: Some(json!({"stream": "system.flow", "data": {
                "channel": null, "stream": "crypto.trades", "provider": "binance", "symbol": "btcusdt",
                "entity_id": "cryptopair_binance_btcusdt", "policy": "oldest", "dropped": 3, "from_seq": 17, "to_seq": 19,
            }})),
        },
    ]
}

/// Schemas that messages refer to.
pub(super) fn components() -> Map<String, Value> {
    let mut all = super::answers::components();
    // Rows of REST alone.
    all.retain(|name, _| {
        !name.starts_with("Crypto") && name != "QuarantinedBar" && name != "Error"
    });
    all.insert("Subscription".to_owned(), subscription());
    all.insert("Rejected".to_owned(), rejected());
    let streams = stream_schemas(false, false).into_iter();
    let streams: Vec<Value> = streams.map(|(_, schema)| schema).collect();
    all.insert("Stream".to_owned(), json!({ "anyOf": streams }));
    all
}
