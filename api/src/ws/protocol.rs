//! Frames to requests and answers to frames: pure functions.
//!
//! A frame is one JSON object `{"id"?, "method", "params"?}`. The parameters stand in `params` or,
//! as short form, beside `method`; never in both. Unknown fields are refused with the list of those
//! that are accepted, because a misspelt `depht` that is ignored gives wrong data.

use std::fmt;

use bookwire_actors::session::flow::DropPolicy;
use bookwire_actors::session::request::{
    AnyView, AuthRequest, BadRequest, ClientRequest, FlowRequest, FlowView, Method, Outcome,
    PrivateEntry, PrivateRequest, PrivateStream, PrivateView, Rejected, Reply, Request, RequestId,
    StreamEntry, StreamName, StreamRequest, SubscriptionView,
};
use bookwire_actors::topic::{BookMode, StreamKind};
use bookwire_engine::error::CryptoError;
use bookwire_engine::time::{Level, TsNanos};
use bookwire_engine::wire;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::spec::{self, Field, Kind};

/// Longest `id`, bytes of JSON.
const ID_LENGTH_MAX: usize = 256;

/// Longest name of a channel, characters.
const CHANNEL_LENGTH_MAX: usize = 128;

/// Longest text that any other field may hold, characters.
const TEXT_LENGTH_MAX: usize = 128;

/// Most symbols in a request, all its streams together.
const SYMBOLS_MAX: usize = 1024;

/// Shown for a value that must not be.
const HIDDEN: &str = "…";

/// The fields of a JSON object in their order, values unparsed.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;
        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if fields.iter().any(|(other, _)| *other == name) {
                        let shown: String = name.chars().take(TEXT_LENGTH_MAX).collect();
                        return Err(A::Error::custom(format!("field `{shown}` is there twice")));
                    }
                    // No method has nearly so many; keeps the check above linear in effect.
                    if fields.len() == 32 {
                        return Err(A::Error::custom("more than 32 fields"));
                    }
                    fields.push((name, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(FieldsVisitor)
    }
}

impl<'a> Fields<'a> {
    fn of(what: &str, raw: &'a RawValue) -> Result<Self, CryptoError> {
        serde_json::from_str(raw.get())
            .map_err(|error| invalid(what, raw.get(), "a JSON object", &error.to_string()))
    }

    fn take(&mut self, name: &str) -> Option<&'a RawValue> {
        let index = self.0.iter().position(|(other, _)| other == name)?;
        let raw = self.0.remove(index).1;
        // An explicit null means the same as an absent field.
        (raw.get() != "null").then_some(raw)
    }

    /// Refuses what nobody took.
    fn end(self, accepted: &str) -> Result<(), CryptoError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, raw)) => {
                let shown: String = name.chars().take(TEXT_LENGTH_MAX).collect();
                Err(invalid(&shown, raw.get(), accepted, "unknown field"))
            }
        }
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, CryptoError> {
        self.take(name)
            .map(|raw| text(name, raw, TEXT_LENGTH_MAX))
            .transpose()
    }

    fn required_text(&mut self, name: &str, accepted: &str) -> Result<String, CryptoError> {
        self.text(name)?
            .ok_or_else(|| invalid(name, "", accepted, "missing field"))
    }

    /// A text out of a closed list.
    fn one_of<T>(
        &mut self,
        field: &Field,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, CryptoError> {
        let Some(raw) = self.take(field.name) else {
            return Ok(None);
        };
        serde_json::from_str::<String>(raw.get())
            .ok()
            .and_then(|text| parse(&text))
            .map(Some)
            .ok_or_else(|| {
                let accepted = field.words().join(", ");
                CryptoError::invalid_parameter(field.name, raw.get(), accepted)
            })
    }

    fn integer(&mut self, field: &Field) -> Result<Option<u32>, CryptoError> {
        let Some(raw) = self.take(field.name) else {
            return Ok(None);
        };
        let range = match field.kind {
            Kind::Integer(least, most) => least..=most,
            // No table calls it a number: nothing of it is accepted.
            _ => std::ops::RangeInclusive::new(1, 0),
        };
        // The raw text decides: a float would let 20.0000000000000001 pass as 20.
        raw.get()
            .parse::<u32>()
            .ok()
            .filter(|value| range.contains(&u64::from(*value)))
            .map(Some)
            .ok_or_else(|| {
                let accepted = format!("an integer from {} to {}", range.start(), range.end());
                CryptoError::invalid_parameter(field.name, raw.get(), accepted)
            })
    }

    fn flag(&mut self, name: &str) -> Result<Option<bool>, CryptoError> {
        match self.take(name).map(RawValue::get) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(CryptoError::invalid_parameter(name, other, "true or false")),
        }
    }
}

/// `CRYPTO_INVALID_PARAMETER` that says what is wrong besides what is accepted.
fn invalid(name: &str, value: &str, accepted: &str, reason: &str) -> CryptoError {
    let mut error = CryptoError::invalid_parameter(name, value, accepted);
    error.message = format!("`{name}`: {reason}; accepted: {accepted}");
    error.with("reason", reason)
}

/// The names of fields, for messages.
fn list(fields: &[Field]) -> String {
    spec::names(fields).join(", ")
}

fn text(name: &str, raw: &RawValue, most: usize) -> Result<String, CryptoError> {
    serde_json::from_str::<String>(raw.get())
        .ok()
        .filter(|text| !text.is_empty() && text.chars().count() <= most)
        .ok_or_else(|| {
            let accepted = format!("a text of 1 to {most} characters");
            CryptoError::invalid_parameter(name, raw.get(), accepted)
        })
}

/// Reads a client's text frame.
///
/// # Errors
/// [`BadRequest`] with what could be read of `id` and `method`; its error names the field, its
/// value and what is accepted.
pub fn parse(frame: &[u8]) -> Result<ClientRequest, Box<BadRequest>> {
    let mut id = None;
    let mut method = None;
    match parse_into(frame, &mut id, &mut method) {
        Ok(body) => Ok(ClientRequest { id, body }),
        Err(error) => Err(Box::new(BadRequest { id, method, error })),
    }
}

fn parse_into(
    frame: &[u8],
    id: &mut Option<RequestId>,
    method: &mut Option<Method>,
) -> Result<Request, CryptoError> {
    let mut fields: Fields<'_> = serde_json::from_slice(frame).map_err(|error| {
        let shown: String = String::from_utf8_lossy(&frame[..frame.len().min(80)]).into();
        invalid(
            "frame",
            &shown,
            "one JSON object with `method`",
            &error.to_string(),
        )
    })?;
    if let Some(raw) = fields.take("id") {
        let is_scalar = !raw.get().starts_with(['{', '[']);
        if !is_scalar || raw.get().len() > ID_LENGTH_MAX {
            let accepted = format!("a number or a text of at most {ID_LENGTH_MAX} bytes");
            return Err(CryptoError::invalid_parameter("id", raw.get(), accepted));
        }
        *id = Some(RequestId(raw.to_owned()));
    }
    let names = Method::ALL.map(Method::as_str).join(", ");
    let Some(raw) = fields.take("method") else {
        return Err(invalid("method", "", &names, "missing field"));
    };
    let name = text("method", raw, TEXT_LENGTH_MAX)?;
    let Some(known) = Method::ALL.into_iter().find(|m| m.as_str() == name) else {
        return Err(invalid("method", &name, &names, "unknown method"));
    };
    *method = Some(known);
    let params = match fields.take("params") {
        None => fields,
        Some(raw) => {
            fields.end("only id, method and params when there are params")?;
            Fields::of("params", raw)?
        }
    };
    match known {
        Method::Subscribe => subscribe(params),
        Method::Unsubscribe => unsubscribe(params),
        Method::ListSubscriptions => params
            .end("id and method only")
            .map(|()| Request::ListSubscriptions),
        Method::Ping => params.end("id and method only").map(|()| Request::Ping),
        Method::ConfigureFlow => configure_flow(params).map(Request::ConfigureFlow),
        Method::Auth => auth(params),
    }
}

fn channel(params: &mut Fields<'_>) -> Result<Option<String>, CryptoError> {
    params
        .take("channel")
        .map(|raw| text("channel", raw, CHANNEL_LENGTH_MAX))
        .transpose()
}

fn subscribe(mut params: Fields<'_>) -> Result<Request, CryptoError> {
    let channel = channel(&mut params)?;
    let Streams { streams, private } = match params.take("streams") {
        Some(raw) => {
            params.end("channel and streams")?;
            stream_list(raw, true)?
        }
        None => single_stream(params, true)?,
    };
    Ok(Request::Subscribe {
        channel,
        streams,
        private,
    })
}

fn unsubscribe(mut params: Fields<'_>) -> Result<Request, CryptoError> {
    let channel = channel(&mut params)?;
    let Streams { streams, private } = match params.take("streams") {
        Some(raw) => {
            params.end("channel and streams")?;
            stream_list(raw, false)?
        }
        None if channel.is_some() && params.0.is_empty() => Streams::default(),
        None => single_stream(params, false)?,
    };
    Ok(Request::Unsubscribe {
        channel,
        streams,
        private,
    })
}

/// One stream that is asked for.
enum Asked {
    Market(StreamRequest),
    Private(PrivateRequest),
}

/// The streams of a request, by kind.
#[derive(Default)]
struct Streams {
    streams: Vec<StreamEntry>,
    private: Vec<PrivateEntry>,
}

impl Streams {
    /// Adds one; tells how many subscriptions it asks for.
    fn put(&mut self, echo: Map<String, Value>, asked: Result<Asked, CryptoError>) -> usize {
        let request = match asked {
            Ok(Asked::Private(request)) => {
                self.private.push(PrivateEntry { echo, request });
                return 1;
            }
            Ok(Asked::Market(request)) => Ok(request),
            Err(error) => Err(error),
        };
        let count = request.as_ref().map_or(1, |r| r.symbols.len());
        self.streams.push(StreamEntry { echo, request });
        count
    }
}

/// A request of one stream fails as a whole when the stream is wrong.
fn single_stream(params: Fields<'_>, is_subscribe: bool) -> Result<Streams, CryptoError> {
    let echo = echo(&params);
    let asked = stream(params, is_subscribe)?;
    let mut streams = Streams::default();
    check_symbols(streams.put(echo, Ok(asked)))?;
    Ok(streams)
}

fn stream_list(raw: &RawValue, is_subscribe: bool) -> Result<Streams, CryptoError> {
    let accepted = "a list of at least one stream object";
    let items: Vec<&RawValue> = serde_json::from_str(raw.get())
        .map_err(|_| CryptoError::invalid_parameter("streams", raw.get(), accepted))?;
    if items.is_empty() {
        return Err(CryptoError::invalid_parameter("streams", "[]", accepted));
    }
    let mut symbols = 0;
    let mut streams = Streams::default();
    for item in items {
        symbols += match Fields::of("streams", item) {
            Ok(fields) => streams.put(echo(&fields), stream(fields, is_subscribe)),
            Err(error) => streams.put(Map::new(), Err(error)),
        };
        check_symbols(symbols)?;
    }
    Ok(streams)
}

fn check_symbols(count: usize) -> Result<(), CryptoError> {
    if count > SYMBOLS_MAX {
        let accepted = format!("at most {SYMBOLS_MAX} symbols in a request");
        let count = format!("{count} symbols");
        return Err(CryptoError::invalid_parameter("symbols", &count, accepted));
    }
    Ok(())
}

/// What is shown of a stream that is rejected: its short fields.
fn echo(fields: &Fields<'_>) -> Map<String, Value> {
    let shown = fields
        .0
        .iter()
        .filter(|(name, raw)| name.len() <= 32 && raw.get().len() <= TEXT_LENGTH_MAX);
    shown
        .filter_map(|(name, raw)| Some((name.clone(), serde_json::from_str(raw.get()).ok()?)))
        .collect()
}

fn stream(mut params: Fields<'_>, is_subscribe: bool) -> Result<Asked, CryptoError> {
    let streams = spec::ws::STREAM.words().join(", ");
    let name = params.required_text("stream", &streams)?;
    let mut private = PrivateStream::ALL.into_iter();
    if let Some(stream) = private.find(|stream| stream.as_str() == name) {
        return private_stream(params, stream).map(Asked::Private);
    }
    let Some(stream) = StreamName::ALL.into_iter().find(|s| s.as_str() == name) else {
        return Err(invalid("stream", &name, &streams, "unknown stream"));
    };
    let provider = params.required_text("provider", "the name of a provider")?;
    let exchange = params.text("exchange")?;
    let symbols = symbols(&mut params)?;
    let timing = params.flag("timing")?;
    let mut interval = None;
    let (mut depth, mut mode) = (None, None);
    match stream {
        StreamName::Klines => {
            interval = params.one_of(&spec::ws::INTERVAL, Level::parse)?;
            if interval.is_none() && is_subscribe {
                let levels = spec::ws::INTERVAL.words().join(", ");
                return Err(invalid("interval", "", &levels, "missing field"));
            }
        }
        StreamName::OrderBook => {
            depth = params.integer(&spec::ws::DEPTH)?;
            mode = params.one_of(&spec::ws::MODE, BookMode::parse)?;
        }
        StreamName::Trades | StreamName::Ticker | StreamName::Funding => {}
    }
    params.end(&list(&spec::ws::stream(stream)))?;
    Ok(Asked::Market(StreamRequest {
        stream,
        provider,
        exchange,
        symbols,
        interval,
        depth,
        mode,
        timing,
    }))
}

/// All of an account is told, whatever symbols are named.
fn private_stream(
    mut params: Fields<'_>,
    stream: PrivateStream,
) -> Result<PrivateRequest, CryptoError> {
    let provider = params.required_text("provider", "the name of a provider")?;
    let account = params.text("account")?;
    if let Some(raw) = params.take("symbols")
        && serde_json::from_str::<Vec<String>>(raw.get()).is_err()
    {
        let accepted = "a list of symbols, which may be empty: all of the account is told";
        return Err(CryptoError::invalid_parameter(
            "symbols",
            raw.get(),
            accepted,
        ));
    }
    params.end(&list(spec::ws::PRIVATE))?;
    Ok(PrivateRequest {
        stream,
        provider,
        account,
    })
}

fn symbols(params: &mut Fields<'_>) -> Result<Vec<String>, CryptoError> {
    let accepted = "a list of at least one symbol, such as [\"btcusdt\"]";
    let Some(raw) = params.take("symbols") else {
        return Err(invalid("symbols", "", accepted, "missing field"));
    };
    serde_json::from_str::<Vec<String>>(raw.get())
        .ok()
        .filter(|symbols| !symbols.is_empty())
        .map(|symbols| {
            // The resolver refuses what is too long; an answer must not repeat all of it.
            let cut = |s: String| s.chars().take(TEXT_LENGTH_MAX).collect();
            symbols.into_iter().map(cut).collect()
        })
        .ok_or_else(|| CryptoError::invalid_parameter("symbols", raw.get(), accepted))
}

fn configure_flow(mut params: Fields<'_>) -> Result<FlowRequest, CryptoError> {
    let request = FlowRequest {
        channel: channel(&mut params)?,
        max_messages_per_second: params.integer(&spec::ws::RATE)?,
        buffer_size: params.integer(&spec::ws::BUFFER)?,
        drop_policy: params.one_of(&spec::ws::POLICY, DropPolicy::parse)?,
    };
    params.end(&list(spec::ws::FLOW))?;
    Ok(request)
}

fn auth(mut params: Fields<'_>) -> Result<Request, CryptoError> {
    let provider = params.required_text("provider", "the name of a provider")?;
    // Answers and the log repeat nothing of these: a secret may stand in the wrong place, and a
    // signature may be good elsewhere.
    let mut hidden = |name: &'static str, accepted: &str| match params.take(name) {
        None => Err(invalid(name, "", accepted, "missing field")),
        Some(raw) => text(name, raw, TEXT_LENGTH_MAX)
            .map_err(|_| CryptoError::invalid_parameter(name, HIDDEN, accepted)),
    };
    let api_key = hidden("api_key", "the id of an API key, without its secret")?;
    let signature = hidden("signature", "64 hex digits")?;
    let accepted = "milliseconds since 1970";
    let Some(raw) = params.take("timestamp") else {
        return Err(invalid("timestamp", "", accepted, "missing field"));
    };
    // A number or a text: what was signed is the digits, so they stay as they came.
    let timestamp = raw.get().trim_matches('"').to_owned();
    let is_number =
        (1..=15).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(CryptoError::invalid_parameter(
            "timestamp",
            HIDDEN,
            accepted,
        ));
    }
    let name = "cancel_on_disconnect";
    let cancel_on_disconnect = params
        .flag(name)
        .map_err(|_| CryptoError::invalid_parameter(name, HIDDEN, "true or false"))?;
    if let Some((name, _)) = params.0.first() {
        let shown: String = name.chars().take(TEXT_LENGTH_MAX).collect();
        return Err(invalid(
            &shown,
            HIDDEN,
            &list(spec::ws::AUTH),
            "unknown field",
        ));
    }
    Ok(Request::Auth(AuthRequest {
        provider,
        api_key,
        timestamp,
        signature,
        cancel_on_disconnect,
    }))
}

/// Prints an answer. `trace_id` goes into its errors.
#[must_use]
pub fn encode(reply: &Reply, trace_id: &str, now: TsNanos) -> Vec<u8> {
    let views = |list: &[AnyView]| list.iter().map(any_view).collect::<Value>();
    let refused = |list: &[Rejected]| -> Value {
        list.iter()
            .map(|rejected| {
                let mut shown = rejected.echo.clone();
                let error = wire::error_value(&rejected.error, trace_id, now);
                shown.insert("error".to_owned(), error);
                Value::Object(shown)
            })
            .collect()
    };
    let (status, fields) = match &reply.outcome {
        Outcome::Subscribed {
            subscriptions,
            rejected,
        } => (
            "subscribed",
            vec![
                ("subscriptions", views(subscriptions)),
                ("rejected", refused(rejected)),
            ],
        ),
        Outcome::Unsubscribed {
            subscriptions,
            rejected,
        } => (
            "unsubscribed",
            vec![
                ("subscriptions", views(subscriptions)),
                ("rejected", refused(rejected)),
            ],
        ),
        Outcome::Listed(subscriptions) => ("listed", vec![("subscriptions", views(subscriptions))]),
        Outcome::Authenticated {
            provider,
            permissions,
            cancel_on_disconnect,
        } => (
            "authenticated",
            vec![
                ("provider", json!(provider)),
                ("permissions", json!(permissions)),
                ("cancel_on_disconnect", json!(cancel_on_disconnect)),
            ],
        ),
        Outcome::Pong => ("pong", vec![("timestamp", json!(now.to_rfc3339()))]),
        Outcome::Configured(flow, channels) => {
            let mut fields = flow_fields(flow);
            if !channels.is_empty() {
                let shown = |flow: &FlowView| {
                    let fields = flow_fields(flow).into_iter();
                    fields
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect()
                };
                let list = channels.iter().map(|flow| Value::Object(shown(flow)));
                fields.push(("channels", list.collect()));
            }
            ("configured", fields)
        }
        Outcome::Failed { error, rejected } => {
            let mut fields = vec![("error", wire::error_value(error, trace_id, now))];
            if !rejected.is_empty() {
                fields.push(("rejected", refused(rejected)));
            }
            ("error", fields)
        }
    };
    let mut out = Vec::with_capacity(512);
    let id = reply.id.as_ref().map(|id| &*id.0);
    let method = reply.method.map_or("", Method::as_str);
    wire::reply(&mut out, id, method, status, &fields);
    out
}

fn any_view(view: &AnyView) -> Value {
    match view {
        AnyView::Market(view) => market_view(view),
        AnyView::Private(view) => private_view(view),
    }
}

fn private_view(view: &PrivateView) -> Value {
    let mut shown = Map::new();
    shown.insert("stream".to_owned(), view.stream.as_str().into());
    shown.insert("provider".to_owned(), view.provider.name().into());
    shown.insert("account".to_owned(), (&*view.account).into());
    if let Some(channel) = &view.channel {
        shown.insert("channel".to_owned(), (&**channel).into());
    }
    Value::Object(shown)
}

fn market_view(view: &SubscriptionView) -> Value {
    let (depth, mode) = match view.kind {
        StreamKind::OrderBook { depth, mode } => (Some(depth), Some(mode.as_str())),
        _ => (None, None),
    };
    wire::SubscriptionView {
        stream: view.labels.stream,
        provider: view.labels.provider,
        exchange: None,
        symbol: &view.labels.symbol,
        entity_id: &view.labels.entity_id,
        interval: view.labels.interval,
        depth,
        mode,
        timing: view.timing,
        channel: view.labels.channel.as_deref(),
    }
    .to_value()
}

/// What is in force. Without a policy of the client's, each stream has its own.
fn flow_fields(flow: &FlowView) -> Vec<(&'static str, Value)> {
    let of = |kind: StreamKind| {
        flow.drop_policy
            .unwrap_or(DropPolicy::default_of(kind))
            .as_str()
    };
    let book = StreamKind::OrderBook {
        depth: 1,
        mode: BookMode::Snapshot,
    };
    let kinds = [
        StreamKind::Trades,
        StreamKind::Klines(Level::M1),
        book,
        StreamKind::Ticker,
        StreamKind::Funding,
    ];
    let policies: Map<String, Value> = kinds
        .into_iter()
        .map(|kind| (kind.name().to_owned(), of(kind).into()))
        .collect();
    let mut fields = vec![
        (
            "max_messages_per_second",
            json!(flow.max_messages_per_second),
        ),
        ("buffer_size", json!(flow.buffer_size)),
        (
            "drop_policy",
            json!(flow.drop_policy.map_or("default", DropPolicy::as_str)),
        ),
        ("drop_policies", Value::Object(policies)),
    ];
    if let Some(channel) = &flow.channel {
        fields.insert(0, ("channel", json!(channel)));
    }
    fields
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
