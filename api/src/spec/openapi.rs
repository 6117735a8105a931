//! The OpenAPI 3.1 document of the REST interface.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_engine::error::CryptoCode;
use bookwire_engine::keys::Permission;
use serde_json::{Map, Value, json};

use super::shape::{body, input, reference, typed};
use super::{
    Access, Answer, Field, Kind, Media, Operation, answers, codes, data, operations, rows,
};
use crate::error::ApiError;
use crate::rest::ops::no_parameters;
use crate::rest::schema::Schema;

/// What every request can be answered.
const ALWAYS: &[CryptoCode] = &[
    CryptoCode::InvalidParameter,
    CryptoCode::Forbidden,
    CryptoCode::RateLimitExceeded,
    CryptoCode::InternalError,
];

/// What every request with a key can be answered.
const KEYED: &[CryptoCode] = &[CryptoCode::Unauthorized];

/// What every request with a parameter in its path can be answered.
const IN_PATH: &[CryptoCode] = &[CryptoCode::NotFound];

/// Answers under another status than their code's own, and when.
const SIZES: &[(u16, CryptoCode, &str)] = &[
    (
        408,
        CryptoCode::InvalidParameter,
        "The request took too long to arrive.",
    ),
    (
        413,
        CryptoCode::InvalidParameter,
        "The body is larger than `limits.body_bytes_max`.",
    ),
    (
        414,
        CryptoCode::InvalidParameter,
        "Path and query are longer than `limits.uri_bytes_max`.",
    ),
    (
        431,
        CryptoCode::InvalidParameter,
        "More headers than `limits` allow.",
    ),
    (
        503,
        CryptoCode::RateLimitExceeded,
        "The server has as many connections as it may.",
    ),
];

const INTRODUCTION: &str = "One interface to crypto exchanges: normalised market data, history and trading.\n\n\
Every answer has `X-Trace-Id`, and `X-RateLimit-Limit`, `-Remaining` and `-Reset`. Every error has one form, with \
a code, what is wrong, and what to do. A parameter that is unknown, malformed or out of range is refused with its \
name. Prices, quantities and money are exact decimals: read them with a decimal type, or ask for \
`numbers=string`. GET can be HEAD everywhere. The WebSocket `/ws` is described by `/api/asyncapi.json`.";

/// The whole document.
#[must_use]
pub fn document() -> Value {
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for operation in operations() {
        for (path, described) in described(operation) {
            let verb = operation.verb.as_str().to_owned();
            paths.entry(path).or_default().insert(verb, described);
        }
    }
    let shared = share(&mut paths);
    let mut tags: Vec<&str> = Vec::new();
    for operation in operations() {
        if !tags.contains(&operation.tag) {
            tags.push(operation.tag);
        }
    }
    let tags: Vec<Value> = tags.iter().map(|name| json!({"name": name})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "bookwire",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/", "description": "Where this document came from."}],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": answers::components(),
            "responses": shared,
            "securitySchemes": security_schemes(),
            "headers": headers(),
        },
    })
}

/// Takes errors that several operations have out of them, under names of their own: they are most of the
/// document's size.
fn share(paths: &mut BTreeMap<String, Map<String, Value>>) -> Map<String, Value> {
    let mut shared: Map<String, Value> = Map::new();
    let operations = paths.values_mut().flat_map(|item| item.values_mut());
    for operation in operations {
        let Some(Value::Object(responses)) = operation.get_mut("responses") else {
            continue;
        };
        for (status, answer) in responses.iter_mut() {
            if answer.get("x-codes").is_none() {
                continue;
            }
            let of_status = format!("Error{status}");
            let known = shared.iter().find(|(_, one)| *one == answer);
            let name = match known {
                Some((name, _)) => name.clone(),
                None => {
                    let others = shared.keys().filter(|name| name.starts_with(&of_status));
                    let name = format!("{of_status}v{}", others.count() + 1);
                    shared.insert(name.clone(), answer.clone());
                    name
                }
            };
            *answer = json!({"$ref": format!("#/components/responses/{name}")});
        }
    }
    shared
}

/// Its path and description; of the rows of `/api/data` one for each schema.
fn described(operation: &Operation) -> Vec<(String, Value)> {
    let path = operation.path;
    if path == data::ROWS.path {
        let each = Schema::all().map(|schema| {
            let (name, row) = (schema.name(), rows::row_of(schema).name);
            let mut described = describe(operation, &[], &data::parameters(schema));
            described["operationId"] = format!("list{name}").into();
            described["summary"] = summary_of(schema).into();
            let pointer = "/responses/200/content/application~1json/schema";
            if let Some(schema) = described.pointer_mut(pointer) {
                *schema = answers::envelope(&row);
            }
            (path.replace("{schema}", &name), described)
        });
        return each.collect();
    }
    let query = match path == data::QUERY_DATA.path {
        true => data::any_parameters(),
        false => operation.query.to_vec(),
    };
    vec![(
        path.to_owned(),
        describe(operation, operation.path_fields, &query),
    )]
}

fn summary_of(schema: Schema) -> String {
    let of = |market: bookwire_engine::instrument::Market| market.entity_type();
    match schema {
        Schema::Asset => "Assets that exchanges trade".to_owned(),
        Schema::Instruments(market) => format!("Instruments: {}", of(market)),
        Schema::Klines(market, level) => format!("Closed bars of {level}: {}", of(market)),
        Schema::Trades => "Public trades".to_owned(),
        Schema::Orderbook => {
            "Live books; with a range of time, books as they were stored".to_owned()
        }
        Schema::Funding => "Settled funding of perpetuals".to_owned(),
    }
}

fn describe(operation: &Operation, path: &[Field], query: &[Field]) -> Value {
    let mut parameters: Vec<Value> = path.iter().map(|field| parameter(field, "path")).collect();
    parameters.extend(query.iter().map(|field| parameter(field, "query")));
    for (name, meaning) in conditional(operation) {
        parameters.push(json!({
            "name": name,
            "in": "header",
            "required": false,
            "description": meaning,
            "schema": {"type": "string"},
        }));
    }
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": meaning(operation),
        "parameters": parameters,
        "responses": responses(operation),
        "security": security(operation.access),
    });
    if !operation.body.is_empty() {
        let example: Value = serde_json::from_str(operation.body_example).unwrap_or_default();
        described["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": body(operation.body), "example": example}},
        });
    }
    described
}

/// Headers that decide whether something is done.
fn conditional(operation: &Operation) -> Vec<(&'static str, &'static str)> {
    if operation.id == super::ops::CONFIG.id {
        return vec![("If-None-Match", "An `ETag`: 304 when it is still this one.")];
    }
    if operation.id == super::ops::CHANGE.id {
        return vec![(
            "If-Match",
            "An `ETag`: 412 when it is not this one any more.",
        )];
    }
    Vec::new()
}

fn meaning(operation: &Operation) -> String {
    let needs = match operation.access {
        Access::Open => String::new(),
        Access::AnyKey => "Needs a key to look at.".to_owned(),
        Access::Key([one]) => format!("Needs a key with the permission `{}`.", one.as_str()),
        Access::Key(several) => {
            let names: Vec<&str> = several.iter().map(|one| one.as_str()).collect();
            format!(
                "Needs a key with the permission of the market: `{}`.",
                names.join("` or `")
            )
        }
    };
    let parts = [operation.about, &needs];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n")
}

fn parameter(field: &Field, place: &str) -> Value {
    let mut schema = input(field, false);
    if place == "path" && matches!(field.kind, Kind::Text) {
        schema = json!({"type": "string", "minLength": 1, "pattern": "^[0-9A-Za-z_.~-]+$"});
    }
    let mut parameter = json!({
        "name": field.name,
        "in": place,
        "required": field.is_required || place == "path",
        "description": field.about,
        "schema": schema,
    });
    if matches!(field.kind, Kind::List | Kind::SomeOf(_)) {
        // Commas, as all examples have them; a repeated parameter means the same.
        parameter["style"] = "form".into();
        parameter["explode"] = false.into();
    }
    if let Some(example) = field.example {
        parameter["example"] = typed(field, example);
    }
    parameter
}

fn content(media: Media) -> Option<Value> {
    Some(match media {
        Media::Json(schema) => json!({"application/json": {"schema": schema()}}),
        Media::JsonOrCsv(schema) => json!({
            "application/json": {"schema": schema()},
            "text/csv": {"schema": {"type": "string"}},
        }),
        Media::Text(kind) => json!({kind: {"schema": {"type": "string"}}}),
        Media::Nothing => return None,
    })
}

fn good(answer: &Answer, has_etag: bool) -> Value {
    let mut headers = common_headers();
    if has_etag {
        headers["ETag"] = json!({"$ref": "#/components/headers/ETag"});
    }
    let mut shown = json!({"description": answer.about, "headers": headers});
    if let Some(content) = content(answer.media) {
        shown["content"] = content;
    }
    shown
}

fn responses(operation: &Operation) -> Value {
    let has_etag = !conditional(operation).is_empty();
    let mut all: BTreeMap<u16, Value> = BTreeMap::new();
    for answer in operation.answers {
        all.insert(answer.status, good(answer, has_etag));
    }
    let mut errors: BTreeMap<u16, Vec<(CryptoCode, &str)>> = BTreeMap::new();
    let keyed = if operation.access == Access::Open {
        &[]
    } else {
        KEYED
    };
    let in_path = match operation.path_fields {
        [] => &[],
        _ => IN_PATH,
    };
    let every = operation.errors.iter().chain(in_path).chain(keyed);
    for code in every.chain(ALWAYS) {
        let list = errors.entry(code.http_status()).or_default();
        if list.iter().all(|(known, _)| known != code) {
            list.push((*code, ""));
        }
    }
    for (status, code, when) in SIZES {
        errors.entry(*status).or_default().push((*code, when));
    }
    if operation.id == super::ops::CHANGE.id {
        let when = "The configuration is not the one that `If-Match` names.";
        errors.insert(412, vec![(CryptoCode::InvalidParameter, when)]);
    }
    for (status, codes) in errors {
        let error = failure(status, &codes);
        match all.get_mut(&status) {
            None => {
                all.insert(status, error);
            }
            // A check that fails has the form of the check, not of an error.
            Some(answer) => merge(answer, &error),
        }
    }
    let all: Map<String, Value> = all
        .into_iter()
        .map(|(status, answer)| (status.to_string(), answer))
        .collect();
    Value::Object(all)
}

/// One status, two bodies.
fn merge(answer: &mut Value, error: &Value) {
    let pointer = "/content/application~1json/schema";
    let other = error.pointer(pointer).cloned();
    if let (Some(own), Some(other)) = (answer.pointer_mut(pointer), other) {
        *own = json!({"anyOf": [own.clone(), other]});
    }
}

fn failure(status: u16, codes: &[(CryptoCode, &str)]) -> Value {
    let mut lines = Vec::new();
    for (code, when) in codes {
        let when = if when.is_empty() {
            code.default_suggestion()
        } else {
            when
        };
        lines.push(format!("- `{}`: {when}", code.as_str()));
    }
    let names: Vec<&str> = codes.iter().map(|(code, _)| code.as_str()).collect();
    let first = codes.first().map(|(code, _)| codes::example(*code));
    let mut headers = common_headers();
    if status == 429 {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
    }
    json!({
        "description": lines.join("\n"),
        "headers": headers,
        "content": {"application/json": {
            "schema": {
                "allOf": [reference("Error")],
                "properties": {"error": {"properties": {"code": {"enum": names}}}},
            },
            "example": first,
        }},
        "x-codes": names,
    })
}

fn common_headers() -> Value {
    let names = [
        "X-Trace-Id",
        "X-RateLimit-Limit",
        "X-RateLimit-Remaining",
        "X-RateLimit-Reset",
    ];
    let all: Map<String, Value> = names
        .iter()
        .map(|name| {
            let place = format!("#/components/headers/{name}");
            ((*name).to_owned(), json!({ "$ref": place }))
        })
        .collect();
    Value::Object(all)
}

fn headers() -> Value {
    let header = |schema: Value, meaning: &str| json!({"description": meaning, "required": true, "schema": schema});
    let count = || json!({"type": "integer", "minimum": 0});
    json!({
        "X-Trace-Id": header(
            json!({"type": "string", "minLength": 1}),
            "Names the request in the log: the client's own, where it sent one.",
        ),
        "X-RateLimit-Limit": header(count(), "Requests in a minute: of the address, or of the key where one was needed."),
        "X-RateLimit-Remaining": header(count(), "How many are left."),
        "X-RateLimit-Reset": header(count(), "When there are as many again, Unix seconds."),
        "Retry-After": header(count(), "Seconds until it is worth trying again."),
        "ETag": header(json!({"type": "string"}), "Names this state of the configuration."),
    })
}

fn security(access: Access) -> Value {
    match access {
        // A key is looked at nowhere it is not needed.
        Access::Open => json!([]),
        Access::AnyKey => json!([{"bearer": []}]),
        Access::Key(_) => {
            json!([{"bearer": []}, {"signedKey": [], "signedTimestamp": [], "signature": []}])
        }
    }
}

fn security_schemes() -> Value {
    let permissions = Permission::ALL.map(Permission::as_str).join("`, `");
    let header = |name: &str, meaning: &str| json!({"type": "apiKey", "in": "header", "name": name, "description": meaning});
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "api_key.secret",
            "description": format!(
                "`Authorization: Bearer {{api_key}}.{{secret}}`. Keys are made with `bookwire keys create`; their \
                 permissions are out of `{permissions}`."
            ),
        },
        "signedKey": header("X-API-Key", "Id of the key. With the two others: the secret never travels."),
        "signedTimestamp": header(
            "X-Timestamp",
            "Milliseconds since 1970, within `keys.signature_window_ms` of the server's clock.",
        ),
        "signature": header(
            "X-Signature",
            "Hex of HMAC-SHA256(secret, timestamp + METHOD + path_with_query + body); good once.",
        ),
    })
}

/// The document's text, made once.
#[must_use]
pub fn text() -> &'static str {
    static TEXT: OnceLock<String> = OnceLock::new();
    TEXT.get_or_init(|| document().to_string())
}

/// A document. It is made when it is asked for first, away from the worker's thread, which has sockets to
/// serve.
pub(super) async fn json_answer(text: fn() -> &'static str) -> HttpResponse {
    match web::block(text).await {
        Ok(text) => HttpResponse::Ok()
            .content_type("application/json")
            .body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

/// `GET /api/openapi.json`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn openapi(request: HttpRequest) -> Result<HttpResponse, ApiError> {
    no_parameters(&request)?;
    Ok(json_answer(text).await)
}
