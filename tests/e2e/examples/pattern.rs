//! What an example of the contract says of a value: the value itself, or a word for what varies.
//!
//! `"<kind>"` stands for a value, `"<kind?>"` for one that may be null, `"before <kind>"` for a text that ends
//! with one; `"<kind=name>"` keeps it as `$name`. An object has the fields that are shown and no others, but
//! for the names in its `"+"`: what we add to the contract's; a field called `"*"` stands for each other one.
//! `[x, "..."]` is one or more of `x`, and `["...", x, "..."]` has one such among others.

use std::collections::BTreeMap;

use bookwire_engine::time::TsNanos;
use rust_decimal::Decimal;
use serde_json::{Map, Value};

/// Values that were kept, by their names.
pub type Kept = BTreeMap<String, String>;

/// Everything in which a value is not as the pattern says.
pub fn faults(pattern: &Value, value: &Value, kept: &mut Kept) -> Vec<String> {
    let mut faults = Vec::new();
    compare(pattern, value, "", kept, &mut faults);
    faults
}

fn compare(pattern: &Value, value: &Value, at: &str, kept: &mut Kept, faults: &mut Vec<String>) {
    let mut fault = |what: &str| {
        let shown: String = value.to_string().chars().take(300).collect();
        faults.push(format!("{at}: {what}, and is {shown}"));
    };
    match (pattern, value) {
        (Value::String(word), _) if word.contains('<') => {
            if !word_fits(word, value, kept) {
                fault(&format!("should be {word}"));
            }
        }
        (Value::Object(wanted), Value::Object(found)) => object(wanted, found, at, kept, faults),
        (Value::Array(wanted), Value::Array(found)) => list(wanted, found, at, kept, faults),
        (Value::Number(wanted), Value::Number(found)) if wanted.as_f64() == found.as_f64() => {}
        _ if pattern == value => {}
        _ => fault(&format!("should be {pattern}")),
    }
}

fn object(
    wanted: &Map<String, Value>,
    found: &Map<String, Value>,
    at: &str,
    kept: &mut Kept,
    faults: &mut Vec<String>,
) {
    let ours = wanted.get("+").and_then(Value::as_str).unwrap_or_default();
    for (name, inner) in found {
        let at = format!("{at}/{name}");
        match wanted.get(name).or_else(|| wanted.get("*")) {
            Some(pattern) => compare(pattern, inner, &at, kept, faults),
            None if ours.split_whitespace().any(|own| own == name) => {}
            None => faults.push(format!("{at}: nobody has said that there is such a field")),
        }
    }
    for name in wanted.keys().filter(|name| *name != "+" && *name != "*") {
        if !found.contains_key(name) {
            faults.push(format!("{at}/{name}: is not there"));
        }
    }
}

fn list(wanted: &[Value], found: &[Value], at: &str, kept: &mut Kept, faults: &mut Vec<String>) {
    let is_rest = |value: &Value| value == "...";
    match wanted {
        [first, one, last] if is_rest(first) && is_rest(last) => {
            let fits = |value: &&Value| self::faults(one, value, &mut Kept::new()).is_empty();
            match found.iter().find(fits) {
                Some(value) => compare(one, value, at, kept, faults),
                None => faults.push(format!("{at}: none is {one}: {found:?}")),
            }
        }
        [one, last] if is_rest(last) => {
            if found.is_empty() {
                faults.push(format!("{at}: is empty"));
            }
            for (n, value) in found.iter().enumerate() {
                compare(one, value, &format!("{at}/{n}"), kept, faults);
            }
        }
        _ => {
            if wanted.len() != found.len() {
                let (wanted, found) = (wanted.len(), found.len());
                faults.push(format!("{at}: should have {wanted} items, and has {found}"));
            }
            for (n, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                compare(wanted, found, &format!("{at}/{n}"), kept, faults);
            }
        }
    }
}

/// Whether a value is what a text with a placeholder stands for.
fn word_fits(word: &str, value: &Value, kept: &mut Kept) -> bool {
    let (before, rest) = word.split_once('<').expect("a placeholder");
    let (inside, after) = rest.split_once('>').expect("its end");
    let (kind, name) = inside.split_once('=').unwrap_or((inside, ""));
    let (kind, may_be_null) = match kind.strip_suffix('?') {
        Some(kind) => (kind, true),
        None => (kind, false),
    };
    if value.is_null() && may_be_null {
        return true;
    }
    let inner = match value {
        Value::String(text) => text
            .strip_prefix(before)
            .and_then(|text| text.strip_suffix(after))
            .map(|text| Value::String(text.to_owned())),
        _ if before.is_empty() && after.is_empty() => Some(value.clone()),
        _ => None,
    };
    let Some(inner) = inner.filter(|inner| is_of(kind, inner)) else {
        return false;
    };
    if !name.is_empty() {
        let plain = inner
            .as_str()
            .map_or_else(|| inner.to_string(), str::to_owned);
        kept.insert(name.to_owned(), plain);
    }
    true
}

/// Whether a text is an instant with so many digits behind the second.
fn is_instant(text: &str, digits: std::ops::RangeInclusive<usize>) -> bool {
    let fraction = text
        .strip_suffix('Z')
        .map(|text| match text.split_once('.') {
            Some((_, fraction)) => fraction.len(),
            None => 0,
        });
    text.as_bytes().get(10) == Some(&b'T')
        && fraction.is_some_and(|count| digits.contains(&count))
        && TsNanos::parse(text).is_some()
}

fn is_of(kind: &str, value: &Value) -> bool {
    let text = value.as_str();
    let is_text = |fits: &dyn Fn(&str) -> bool| text.is_some_and(fits);
    match kind {
        "any" => true,
        "text" => is_text(&|text| !text.is_empty()),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "positive" => value.as_f64().is_some_and(|number| number > 0.0),
        "bool" => value.is_boolean(),
        // An exact number as a text: plain, without zeros at its end.
        "decimal" => is_text(&|text| {
            Decimal::from_str_exact(text).is_ok_and(|one| one.normalize().to_string() == text)
        }),
        // Of an event.
        "time" => is_text(&|text| is_instant(text, 3..=9)),
        // Of a bar.
        "second" => is_text(&|text| is_instant(text, 0..=0)),
        "date" => is_text(&|text| text.len() == 10 && TsNanos::parse(text).is_some()),
        "digits" => is_text(&|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())),
        "http" => is_text(&|text| text.starts_with("http://") || text.starts_with("https://")),
        "ws" => is_text(&|text| text.starts_with("ws://") || text.starts_with("wss://")),
        words if words.contains('|') => is_text(&|text| words.split('|').any(|word| word == text)),
        other => panic!("there is no `{other}` among the placeholders"),
    }
}

#[test]
fn what_is_not_as_shown_is_found() {
    let kept = &mut Kept::new();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let pattern = json(
        r#"{"id":"pair_<second=at>","side":"<buy|sell>","price":"<number?>","rows":[["<decimal>",1],"..."],
            "all":["...",{"n":2},"..."],"+":"more"}"#,
    );
    let good = json(
        r#"{"id":"pair_2024-08-01T00:00:00Z","side":"buy","price":null,"rows":[["1.5",1]],"all":[{"n":1},{"n":2}],"more":0}"#,
    );
    assert_eq!(faults(&pattern, &good, kept), Vec::<String>::new());
    assert_eq!(kept["at"], "2024-08-01T00:00:00Z");
    for (field, wrong) in [
        ("id", r#""pair_2024-08-01T00:00:00.000Z""#),
        ("side", r#""both""#),
        ("price", r#""1""#),
        ("rows", "[]"),
        ("rows", r#"[["1.50",1]]"#),
        ("rows", r#"[["1.5",1,2]]"#),
        ("all", r#"[{"n":1}]"#),
        ("other", "0"),
    ] {
        let mut bad = good.clone();
        bad[field] = json(wrong);
        assert_eq!(faults(&pattern, &bad, kept).len(), 1, "{field}: {wrong}");
    }
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("price");
    assert_eq!(faults(&pattern, &bad, kept), ["/price: is not there"]);
}
