//! The control protocol of stream connections: requests in, answers out.
//!
//! Source: binance-spot-api-docs, web-socket-streams.md, "Live Subscribing/Unsubscribing"
//! (read 2026-07-21). Error objects are documented bare and seen on the wire inside `error` with
//! the request's id; this is the latter.

use serde::Deserialize;
use serde_json::Value;

/// Requests.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    /// Add streams.
    Subscribe(Vec<String>),
    /// Remove streams.
    Unsubscribe(Vec<String>),
    /// Name the streams.
    List,
    /// Switch the wrapper on or off.
    SetCombined(bool),
    /// Ask for the wrapper.
    GetCombined,
}

/// A request that cannot be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    code: i32,
    msg: String,
}

#[derive(Deserialize)]
#[allow(clippy::upper_case_acronyms)]
enum Method {
    #[serde(rename = "SUBSCRIBE")]
    Subscribe,
    #[serde(rename = "UNSUBSCRIBE")]
    Unsubscribe,
    #[serde(rename = "LIST_SUBSCRIPTIONS")]
    List,
    #[serde(rename = "SET_PROPERTY")]
    Set,
    #[serde(rename = "GET_PROPERTY")]
    Get,
}

#[derive(Deserialize)]
struct Raw {
    method: Method,
    params: Option<Value>,
    #[serde(default)]
    id: Value,
}

fn refuse(code: i32, msg: impl Into<String>) -> Refusal {
    Refusal {
        code,
        msg: msg.into(),
    }
}

fn invalid(msg: &str) -> Refusal {
    refuse(2, format!("Invalid request: {msg}"))
}

/// Reads a request: its id (null if unknown) and what it wants.
pub(crate) fn parse(text: &str) -> (Value, Result<Request, Refusal>) {
    // The wording of the library's errors is the exchange's own.
    let raw: Raw = match serde_json::from_str(text) {
        Ok(raw) => raw,
        Err(error) if error.is_data() => {
            let id = serde_json::from_str::<Value>(text).ok();
            let id = id.and_then(|value| value.get("id").cloned()).filter(is_id);
            return (id.unwrap_or_default(), Err(invalid(&error.to_string())));
        }
        Err(error) => {
            return (
                Value::Null,
                Err(refuse(3, format!("Invalid JSON: {error}"))),
            );
        }
    };
    if !is_id(&raw.id) {
        let msg = "request ID must be a signed integer, a string of at most 36 alphanumeric \
                   characters, or null";
        return (Value::Null, Err(invalid(msg)));
    }
    let request = read(raw.method, raw.params.as_ref());
    (raw.id, request)
}

fn is_id(id: &Value) -> bool {
    match id {
        Value::Null => true,
        Value::Number(number) => number.as_i64().is_some(),
        Value::String(text) => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            text.len() <= 36 && text.bytes().all(plain)
        }
        _ => false,
    }
}

fn read(method: Method, params: Option<&Value>) -> Result<Request, Refusal> {
    let list = params.and_then(Value::as_array);
    let names = || -> Result<Vec<String>, Refusal> {
        let list = list.ok_or_else(|| invalid("missing field `params`"))?;
        list.iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| invalid("stream name must be a string"))
    };
    let property = |values: usize| {
        let list = list.ok_or_else(|| invalid("missing field `params`"))?;
        let name = list.first().and_then(Value::as_str);
        let name = name.ok_or_else(|| invalid("property name must be a string"))?;
        if list.len() > 1 + values {
            return Err(invalid("too many parameters"));
        }
        if name != "combined" {
            return Err(refuse(0, "Unknown property"));
        }
        Ok(list)
    };
    Ok(match method {
        Method::Subscribe => Request::Subscribe(names()?),
        Method::Unsubscribe => Request::Unsubscribe(names()?),
        Method::List => Request::List,
        Method::Get => {
            property(0)?;
            Request::GetCombined
        }
        Method::Set => {
            let value = property(1)?.get(1).and_then(Value::as_bool);
            let expected = || refuse(1, "Invalid value type: expected Boolean");
            Request::SetCombined(value.ok_or_else(expected)?)
        }
    })
}

/// The answer `{"result":…,"id":…}`.
pub(crate) fn answer(result: &Value, id: &Value) -> String {
    format!("{{\"result\":{result},\"id\":{id}}}")
}

/// The answer to a stream name that is none.
pub(crate) fn invalid_stream() -> Refusal {
    invalid("invalid stream")
}

/// The answer to one stream too many.
pub(crate) fn too_many_streams(most: usize) -> Refusal {
    invalid(&format!("too many streams, at most {most} are allowed"))
}

/// The answer `{"error":{"code":…,"msg":…},"id":…}`.
pub(crate) fn refusal(refusal: &Refusal, id: &Value) -> String {
    let msg = Value::from(refusal.msg.as_str());
    format!(
        "{{\"error\":{{\"code\":{},\"msg\":{msg}}},\"id\":{id}}}",
        refusal.code
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests() {
        let check = |text: &str, expected: Request| {
            let (id, request) = parse(text);
            assert_eq!((id, request), (Value::from(1), Ok(expected)), "{text}");
        };
        let names = || vec!["a@trade".to_owned(), "b@depth".to_owned()];
        check(
            r#"{"method":"SUBSCRIBE","params":["a@trade","b@depth"],"id":1}"#,
            Request::Subscribe(names()),
        );
        check(
            r#"{"id":1,"params":["a@trade","b@depth"],"method":"UNSUBSCRIBE"}"#,
            Request::Unsubscribe(names()),
        );
        check(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#, Request::List);
        check(
            r#"{"method":"SET_PROPERTY","params":["combined",true],"id":1}"#,
            Request::SetCombined(true),
        );
        check(
            r#"{"method":"GET_PROPERTY","params":["combined"],"id":1}"#,
            Request::GetCombined,
        );
    }

    #[test]
    fn refusals_read_as_documented() {
        let check = |text: &str, expected: &str| {
            let (id, request) = parse(text);
            assert_eq!(refusal(&request.unwrap_err(), &id), expected, "{text}");
        };
        check(
            r#"{"method":"FOO","params":[],"id":7}"#,
            "{\"error\":{\"code\":2,\"msg\":\"Invalid request: unknown variant `FOO`, expected one \
             of `SUBSCRIBE`, `UNSUBSCRIBE`, `LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` \
             at line 1 column 15\"},\"id\":7}",
        );
        check(
            "subscribe",
            "{\"error\":{\"code\":3,\"msg\":\"Invalid JSON: expected value at line 1 column 1\"},\
             \"id\":null}",
        );
        check(
            r#"{"method":"GET_PROPERTY","params":["color"],"id":"x1"}"#,
            "{\"error\":{\"code\":0,\"msg\":\"Unknown property\"},\"id\":\"x1\"}",
        );
        check(
            r#"{"method":"SET_PROPERTY","params":["combined","yes"],"id":null}"#,
            "{\"error\":{\"code\":1,\"msg\":\"Invalid value type: expected Boolean\"},\"id\":null}",
        );
        for bad in [
            r#"{"params":["a@trade"],"id":1}"#,
            r#"{"method":"SUBSCRIBE","id":1}"#,
            r#"{"method":"SUBSCRIBE","params":[1],"id":1}"#,
            r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":1.5}"#,
            r#"{"method":"SUBSCRIBE","params":["a@trade"],"id":[1]}"#,
            r#"{"method":"LIST_SUBSCRIPTIONS","id":"1234567890123456789012345678901234567"}"#,
            r#"[]"#,
        ] {
            assert_eq!(parse(bad).1.unwrap_err().code, 2, "{bad}");
        }
    }
}
