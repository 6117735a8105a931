//! JSON Schema as far as our documents use it. A keyword that is not known here fails, so that nothing
//! passes because nobody looked. What uses all of the standard is `tests/api/run`.

use bookwire_engine::time::TsNanos;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// Keywords that say nothing about whether a value fits.
const NOTES: [&str; 6] = [
    "description",
    "title",
    "examples",
    "default",
    "x-codes",
    "example",
];

/// Whether a text has the form that a pattern of the documents asks for.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern {
        r"^-?\d+(\.\d+)?$" => {
            let plain = |c: char| c.is_ascii_digit() || "-.".contains(c);
            text.chars().all(plain) && Decimal::from_str_exact(text).is_ok()
        }
        r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$" => {
            text.len() >= 20 && text.ends_with('Z') && TsNanos::parse(text).is_some()
        }
        other => panic!("the pattern `{other}` is not known here"),
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("the type `{other}` is not known here"),
    }
}

/// Schemas that refer to a document's components.
pub struct Schemas<'a>(pub &'a Value);

impl Schemas<'_> {
    /// Everything in which a value is not as its schema says.
    pub fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.check(schema, value, "", &mut faults);
        faults
    }

    fn is_good(&self, schema: &Value, value: &Value) -> bool {
        self.faults(schema, value).is_empty()
    }

    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(schema) = schema.as_object() else {
            assert_eq!(schema, &Value::Bool(true), "no schema");
            return;
        };
        for (keyword, told) in schema {
            self.keyword(keyword, told, schema, value, at, faults);
        }
    }

    fn keyword(
        &self,
        keyword: &str,
        told: &Value,
        schema: &Map<String, Value>,
        value: &Value,
        at: &str,
        faults: &mut Vec<String>,
    ) {
        let list = || told.as_array().expect("a list of schemas");
        let size = || told.as_u64().expect("a number") as usize;
        let is_good = match keyword {
            note if NOTES.contains(&note) => true,
            "$ref" => {
                let pointer = told.as_str().expect("a reference").trim_start_matches('#');
                let other = self
                    .0
                    .pointer(pointer)
                    .unwrap_or_else(|| panic!("no {told}"));
                self.check(other, value, at, faults);
                true
            }
            "type" => match told {
                Value::Array(kinds) => kinds
                    .iter()
                    .any(|kind| is_of(value, kind.as_str().expect("a type"))),
                kind => is_of(value, kind.as_str().expect("a type")),
            },
            "const" => value == told,
            "enum" => list().contains(value),
            "format" => {
                assert_eq!(told, "date-time");
                value
                    .as_str()
                    .is_none_or(|text| TsNanos::parse(text).is_some())
            }
            "pattern" => {
                let pattern = told.as_str().expect("a pattern");
                value.as_str().is_none_or(|text| fits(pattern, text))
            }
            "minimum" => value
                .as_f64()
                .is_none_or(|number| number >= told.as_f64().expect("a number")),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| number <= told.as_f64().expect("a number")),
            "minLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() >= size()),
            "maxLength" => value
                .as_str()
                .is_none_or(|text| text.chars().count() <= size()),
            "minItems" => value.as_array().is_none_or(|items| items.len() >= size()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() <= size()),
            "items" | "prefixItems" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    // How many there may be is another keyword's matter.
                    let of = match keyword {
                        "items" => Some(told),
                        _ => list().get(n),
                    };
                    let Some(of) = of else { continue };
                    self.check(of, item, &format!("{at}/{n}"), faults);
                }
                true
            }
            "anyOf" => list().iter().any(|one| self.is_good(one, value)),
            "oneOf" => list().iter().filter(|one| self.is_good(one, value)).count() == 1,
            "allOf" => {
                list()
                    .iter()
                    .for_each(|one| self.check(one, value, at, faults));
                true
            }
            "required" => {
                let has = |name: &Value| {
                    let name = name.as_str().expect("a name");
                    value.as_object().is_none_or(|map| map.contains_key(name))
                };
                list().iter().all(has)
            }
            "properties" => {
                for (name, of) in told.as_object().expect("schemas by name") {
                    if let Some(inner) = value.get(name) {
                        self.check(of, inner, &format!("{at}/{name}"), faults);
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = |name: &String| {
                    schema
                        .get("properties")
                        .is_some_and(|all| all.get(name).is_some())
                };
                let more = value.as_object().into_iter().flatten();
                for (name, inner) in more.filter(|(name, _)| !known(name)) {
                    match told {
                        Value::Bool(false) => {
                            faults.push(format!("{at}: `{name}` is not described"))
                        }
                        of => self.check(of, inner, &format!("{at}/{name}"), faults),
                    }
                }
                true
            }
            other => panic!("the keyword `{other}` is not known here"),
        };
        if !is_good {
            let shown: String = value.to_string().chars().take(200).collect();
            let told: String = told.to_string().chars().take(300).collect();
            faults.push(format!("{at}: {shown} is not {keyword} {told}"));
        }
    }
}

#[test]
fn what_does_not_fit_is_found() {
    let document = serde_json::json!({"components": {"schemas": {"Level": {
        "type": "array", "prefixItems": [{"type": "number"}, {"type": "number"}], "minItems": 2, "maxItems": 2,
    }}}});
    let schema = serde_json::json!({
        "type": "object",
        "properties": {
            "bids": {"type": "array", "items": {"$ref": "#/components/schemas/Level"}},
            "at": {"type": ["string", "null"], "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"},
            "side": {"enum": ["buy", "sell"]},
        },
        "required": ["bids"],
        "additionalProperties": false,
    });
    let schemas = Schemas(&document);
    let good = serde_json::json!({"bids": [[1.5, 2]], "at": null, "side": "buy"});
    assert_eq!(schemas.faults(&schema, &good), Vec::<String>::new());
    for bad in [
        serde_json::json!({"at": "2024-08-01T00:00:00Z"}),
        serde_json::json!({"bids": [[1.5]]}),
        serde_json::json!({"bids": [[1.5, "2"]]}),
        serde_json::json!({"bids": [], "at": "2024-08-01"}),
        serde_json::json!({"bids": [], "side": "both"}),
        serde_json::json!({"bids": [], "more": 1}),
        serde_json::json!([]),
    ] {
        assert_eq!(schemas.faults(&schema, &bad).len(), 1, "{bad}");
    }
}
