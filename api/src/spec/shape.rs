//! JSON schemas as values: short words for what answers are made of. The dialect is that of OpenAPI 3.1,
//! JSON Schema 2020-12.

use serde_json::{Map, Value, json};

use super::{Field, Kind, providers};

/// What every instant in an answer looks like.
const INSTANT: &str = "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$";

/// Instants that are accepted, as RFC 3339 or a date, in the years 1971 to 2199.
const INSTANT_IN: &str = "^(197[1-9]|19[89]\\d|20\\d\\d|21\\d\\d)-(0[1-9]|1[0-2])-(0[1-9]|1\\d|2[0-8])\
     ([Tt ]([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?([Zz]|[+-](0\\d|1[0-2]):[0-5]\\d)?)?$";

/// A plain decimal number.
const DECIMAL: &str = "^-?\\d+(\\.\\d+)?$";

/// Instants as numbers: seconds, milliseconds, microseconds or nanoseconds by their size.
const EPOCH: &str = "^-?\\d{1,18}$";

/// What is above zero, with so many digits as an order may need.
const AMOUNT: &str = "^(0\\.0*[1-9]\\d{0,8}|[1-9]\\d{0,9}(\\.\\d{1,9})?)$";

/// A plain decimal number that is not negative.
const DECIMAL_IN: &str = "^\\d+(\\.\\d+)?$";

/// A text.
pub fn text() -> Value {
    json!({"type": "string"})
}

/// An exact number.
pub fn number() -> Value {
    reference("Exact")
}

/// A measured number, which is no money.
pub fn measure() -> Value {
    json!({"type": "number"})
}

/// A count.
pub fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

/// True or false.
pub fn flag() -> Value {
    json!({"type": "boolean"})
}

/// An instant.
pub fn time() -> Value {
    json!({"type": "string", "format": "date-time", "pattern": INSTANT})
}

/// A list.
pub fn list(of: Value) -> Value {
    json!({"type": "array", "items": of})
}

/// One of some words.
pub fn one_of(words: &[&str]) -> Value {
    json!({"type": "string", "enum": words})
}

/// A schema of `components`.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The same schema with a meaning.
pub fn about(mut schema: Value, meaning: &str) -> Value {
    schema["description"] = meaning.into();
    schema
}

/// Or null.
pub fn nullable(mut schema: Value) -> Value {
    let Some(Value::String(kind)) = schema.get("type").cloned() else {
        return json!({"anyOf": [schema, {"type": "null"}]});
    };
    if let Some(Value::Array(words)) = schema.get_mut("enum") {
        words.push(Value::Null);
    }
    schema["type"] = json!([kind, "null"]);
    schema
}

/// An object of fields; `name?` may be absent.
pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    fields_of(fields.into_iter())
}

/// As [`object`], of any number of fields.
pub fn fields_of<'a>(fields: impl Iterator<Item = (&'a str, Value)>) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for (name, schema) in fields {
        let bare = name.strip_suffix('?');
        if bare.is_none() {
            required.push(name);
        }
        properties.insert(bare.unwrap_or(name).to_owned(), schema);
    }
    let mut schema = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// An object whose fields may have any name.
pub fn map_of(of: Value) -> Value {
    json!({"type": "object", "additionalProperties": of})
}

/// Both: an object with the fields of all of them.
pub fn all_of(parts: &[Value]) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        if let Some(Value::Object(more)) = part.get("properties") {
            properties.extend(more.clone());
        }
        if let Some(Value::Array(more)) = part.get("required") {
            required.extend(more.clone());
        }
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// An exact number, as a JSON number or a string.
pub fn exact() -> Value {
    json!({
        "description": "An exact decimal: a JSON number with all its digits, or with `numbers=string` a \
                        string. Read it with a decimal type, not as a binary float.",
        "oneOf": [{"type": "number"}, {"type": "string", "pattern": DECIMAL}],
        "examples": [61737.63, "0.00001000"],
    })
}

/// What a field of a request may be. In a query everything is text, so lists are of one form and
/// numbers of digits.
pub fn input(field: &Field, is_body: bool) -> Value {
    let amount = json!({"oneOf": [
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1e12},
        {"type": "string", "pattern": AMOUNT},
    ]});
    let some_of = |of: Value| json!({"type": "array", "items": of, "maxItems": 500});
    let mut schema = match field.kind {
        // Blanks at both ends are not looked at, and nothing else counts as no value.
        Kind::Text if is_body => json!({"type": "string", "minLength": 1, "maxLength": 128}),
        Kind::ShortText(most) => json!({"type": "string", "minLength": 1, "maxLength": most}),
        Kind::Text => text(),
        Kind::List => some_of(text()),
        Kind::Word(words) => one_of(&words()),
        Kind::SomeOf(words) => some_of(one_of(&words())),
        Kind::WordList(words) => {
            json!({"type": "array", "items": one_of(&words()), "maxItems": words().len()})
        }
        Kind::Integer(least, most) => {
            json!({"type": "integer", "minimum": least, "maximum": most})
        }
        Kind::Flag => flag(),
        Kind::Decimal => json!({"type": "string", "pattern": DECIMAL_IN}),
        Kind::Time if is_body => json!({"anyOf": [
            {"type": "string", "pattern": INSTANT_IN},
            {"type": "integer", "minimum": 0, "maximum": i64::MAX},
        ]}),
        Kind::Time => json!({"type": "string", "anyOf": [
            {"pattern": INSTANT_IN},
            {"pattern": EPOCH},
        ]}),
        Kind::Amount => amount,
        Kind::Amounts => {
            let names = providers().into_iter();
            let all: Map<String, Value> = names
                .map(|name| (name.to_owned(), nullable(amount.clone())))
                .collect();
            json!({"type": "object", "properties": all, "additionalProperties": false})
        }
        Kind::Texts => map_of(nullable(json!({"type": "string", "minLength": 1}))),
        Kind::Object(fields) => body(fields),
        Kind::Symbols => {
            json!({"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1})
        }
        Kind::Streams => json!({"type": "array", "items": reference("Stream"), "minItems": 1}),
    };
    // In a body null is the same as nothing, where it has no meaning of its own.
    if field.is_nullable || (is_body && !field.is_required) {
        schema = nullable(schema);
    }
    if let Some(default) = field.default {
        schema["default"] = typed(field, default);
    }
    schema
}

/// A text of a table as a value of its field's kind.
pub fn typed(field: &Field, text: &str) -> Value {
    match field.kind {
        Kind::Integer(..) | Kind::Flag | Kind::Symbols | Kind::Object(_) | Kind::Amounts => {
            serde_json::from_str(text).unwrap_or_else(|_| text.into())
        }
        Kind::List | Kind::SomeOf(_) | Kind::WordList(_) => text.split(',').collect(),
        _ => text.into(),
    }
}

/// A body of these fields and no others.
pub fn body(fields: &[Field]) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for field in fields {
        properties.insert(
            field.name.to_owned(),
            about(input(field, true), field.about),
        );
        if field.is_required {
            required.push(field.name);
        }
    }
    let mut schema =
        json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}
