//! JSON bodies: a route names the fields that it knows, everything else is refused; every refusal
//! names the field, its value and what is accepted. Numbers are read from their text, never through
//! a float.

use std::collections::BTreeMap;

use bookwire_engine::error::CryptoError;
use bookwire_engine::time::TsNanos;
use rust_decimal::Decimal;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::spec::{self, Field, Kind};

/// The fields of a JSON object, and the table of those that it may have.
#[derive(Debug)]
pub struct Body {
    fields: BTreeMap<String, Box<RawValue>>,
    known: &'static [Field],
}

/// An object in which no field stands twice: which of the two would count?
struct Once(BTreeMap<String, Box<RawValue>>);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Once;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Once, A::Error> {
                let mut fields = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if fields.contains_key(&name) {
                        let what = format!("the field `{name}` is there twice");
                        return Err(serde::de::Error::custom(what));
                    }
                    fields.insert(name, value);
                }
                Ok(Once(fields))
            }
        }
        from.deserialize_map(Fields)
    }
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON object, or has a field that is not among `known`.
    pub fn parse(bytes: &[u8], table: &'static [Field]) -> Result<Self, CryptoError> {
        let known = spec::names(table);
        let Once(fields) = serde_json::from_slice(bytes).map_err(|error| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
            let accepted = format!("a JSON object with {}; {error}", known.join(", "));
            CryptoError::invalid_parameter("body", &shown, accepted)
        })?;
        if let Some((name, value)) = fields
            .iter()
            .find(|(name, _)| !known.contains(&name.as_str()))
        {
            let mut error = CryptoError::invalid_parameter(
                name,
                value.get(),
                format!("no field of this name; known are {}", known.join(", ")),
            );
            error.recovery_suggestions = vec![format!("leave `{name}` out")];
            return Err(error);
        }
        Ok(Self {
            fields,
            known: table,
        })
    }

    /// What the table says of a field; of one inside an object its own name counts.
    fn kind(&self, name: &str) -> Option<Kind> {
        let own = name.rsplit('.').next().unwrap_or(name);
        let mut known = self.known.iter();
        known
            .find(|field| field.name == own)
            .map(|field| field.kind)
    }

    /// A field's text; `null` counts as absent.
    fn raw(&self, name: &str) -> Option<&str> {
        let raw = self.fields.get(name)?.get();
        (raw != "null").then_some(raw)
    }

    /// True when it is there as `null`.
    #[must_use]
    pub fn is_null(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|raw| raw.get() == "null")
    }

    /// True when it is there, and not null.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }

    /// A text.
    ///
    /// # Errors
    /// It is none, or empty.
    pub fn text(&self, name: &str) -> Result<Option<String>, CryptoError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let text = serde_json::from_str::<String>(raw);
        match text {
            Ok(text) if !text.trim().is_empty() => Ok(Some(text.trim().to_owned())),
            _ => Err(CryptoError::invalid_parameter(
                name,
                raw,
                "a text that is not empty",
            )),
        }
    }

    /// A text that has to be there.
    ///
    /// # Errors
    /// It is not, or is no text.
    pub fn text_required(&self, name: &str, accepted: &str) -> Result<String, CryptoError> {
        self.text(name)?
            .ok_or_else(|| CryptoError::invalid_parameter(name, "", accepted.to_owned()))
    }

    /// One of some words, whatever their case.
    ///
    /// # Errors
    /// Another word.
    pub fn choice<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        words: &[&str],
    ) -> Result<Option<T>, CryptoError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match parse(&text) {
            Some(value) => Ok(Some(value)),
            None => Err(CryptoError::invalid_parameter(
                name,
                &text,
                format!("one of {}", words.join(", ")),
            )),
        }
    }

    /// A positive exact number: a JSON number, whose text counts, or a string.
    ///
    /// # Errors
    /// It is none, is not positive, or has more than 28 digits.
    pub fn amount(&self, name: &str) -> Result<Option<Decimal>, CryptoError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let accepted = "a positive number of at most 28 digits, as a JSON number or a string";
        let text = match raw
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
        {
            Some(text) => text,
            None => raw,
        };
        match decimal(text) {
            Some(value) if value > Decimal::ZERO => Ok(Some(value)),
            _ => Err(CryptoError::invalid_parameter(name, raw, accepted)),
        }
    }

    /// An instant: RFC 3339, a date, or a number since 1970.
    ///
    /// # Errors
    /// It is none.
    pub fn time(&self, name: &str) -> Result<Option<TsNanos>, CryptoError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let text = serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned());
        let at = TsNanos::parse(&text).map(Some);
        at.ok_or_else(|| {
            let accepted = "an instant such as 2024-08-18T12:34:56.789Z, or a number since 1970";
            CryptoError::invalid_parameter(name, &text, accepted)
        })
    }

    /// A list of texts that are not empty; `None` when it is not there.
    ///
    /// # Errors
    /// It is no list, longer than `most`, or holds something else.
    pub fn texts(&self, name: &str, most: usize) -> Result<Option<Vec<String>>, CryptoError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match serde_json::from_str::<Vec<String>>(raw) {
            Ok(texts) if texts.len() <= most && texts.iter().all(|text| !text.is_empty()) => {
                Ok(Some(texts))
            }
            _ => Err(CryptoError::invalid_parameter(
                name,
                raw,
                format!("a list of at most {most} texts"),
            )),
        }
    }

    /// An object inside this one; `None` when it is not there. Its fields are named `name.field`.
    ///
    /// # Errors
    /// It is no object, has a field twice, or one that its table does not have, where it has one.
    pub fn object(&self, name: &str) -> Result<Option<Self>, CryptoError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let table: &'static [Field] = match self.kind(name) {
            Some(Kind::Object(fields)) => fields,
            _ => &[],
        };
        let known: Vec<String> = spec::names(table)
            .iter()
            .map(|field| format!("{name}.{field}"))
            .collect();
        let Once(fields) = serde_json::from_str(raw).map_err(|error| {
            CryptoError::invalid_parameter(name, raw, format!("a JSON object; {error}"))
        })?;
        let fields = fields.into_iter();
        let fields: BTreeMap<String, Box<RawValue>> = fields
            .map(|(field, value)| (format!("{name}.{field}"), value))
            .collect();
        let unknown = |field: &&String| !known.is_empty() && !known.contains(field);
        if let Some(field) = fields.keys().find(unknown) {
            let accepted = format!("no field of this name; known are {}", known.join(", "));
            let mut error = CryptoError::invalid_parameter(field, "", accepted);
            error.recovery_suggestions = vec![format!("leave `{field}` out")];
            return Err(error);
        }
        Ok(Some(Self {
            fields,
            known: table,
        }))
    }

    /// Names of the fields that are there, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.keys().map(String::as_str)
    }

    /// A whole number within the range of the table.
    ///
    /// # Errors
    /// It is none.
    pub fn count(&self, name: &str) -> Result<Option<u32>, CryptoError> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        let range = match self.kind(name) {
            Some(Kind::Integer(least, most)) => least..=most,
            // No table calls it a number: nothing of it is accepted.
            _ => std::ops::RangeInclusive::new(1, 0),
        };
        match raw.trim_matches('"').parse::<u32>() {
            Ok(value) if range.contains(&u64::from(value)) => Ok(Some(value)),
            _ => Err(CryptoError::invalid_parameter(
                name,
                raw,
                format!("a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// True or false.
    ///
    /// # Errors
    /// Neither.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, CryptoError> {
        match self.raw(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(raw) => Err(CryptoError::invalid_parameter(name, raw, "true or false")),
        }
    }
}

/// A number's text, exactly; `None` when it is none or has more digits than can be kept.
fn decimal(text: &str) -> Option<Decimal> {
    let exact = |text: &str| Decimal::from_str_exact(text).ok();
    match text.split_once(['e', 'E']) {
        None => exact(text),
        Some((mantissa, power)) => {
            let (mantissa, power) = (exact(mantissa)?, power.parse::<i32>().ok()?);
            let scale = i32::try_from(mantissa.scale()).ok()? - power;
            let value = match scale {
                0.. => Decimal::try_from_i128_with_scale(mantissa.mantissa(), scale.unsigned_abs()),
                _ => {
                    let factor = 10_i128.checked_pow(scale.unsigned_abs())?;
                    Decimal::try_from_i128_with_scale(mantissa.mantissa().checked_mul(factor)?, 0)
                }
            };
            value.ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Field] = &[
        Field::new("a", Kind::Amount, ""),
        Field::new("b", Kind::Text, ""),
    ];

    fn body(text: &str) -> Body {
        Body::parse(text.as_bytes(), KNOWN).unwrap()
    }

    #[test]
    fn numbers_are_read_to_the_last_digit() {
        for (text, value) in [
            (r#"{"a":0.1}"#, "0.1"),
            (r#"{"a":"0.10"}"#, "0.10"),
            (
                r#"{"a":79228162514264337593543950335}"#,
                "79228162514264337593543950335",
            ),
            (
                r#"{"a":0.0000000000000000000000000001}"#,
                "0.0000000000000000000000000001",
            ),
            (r#"{"a":1e-8}"#, "0.00000001"),
            (r#"{"a":1.5E3}"#, "1500"),
        ] {
            let read = body(text).amount("a").unwrap().unwrap();
            assert_eq!(read, Decimal::from_str_exact(value).unwrap(), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_named() {
        for text in [
            r#"{"a":0}"#,
            r#"{"a":-1}"#,
            r#"{"a":"NaN"}"#,
            r#"{"a":""}"#,
            r#"{"a":true}"#,
            r#"{"a":[1]}"#,
            r#"{"a":1e999999999}"#,
            r#"{"a":1e-999999999}"#,
            r#"{"a":0.00000000000000000000000000001}"#,
            r#"{"a":792281625142643375935439503355}"#,
            r#"{"a":"1 "}"#,
        ] {
            let error = body(text).amount("a").unwrap_err();
            assert_eq!(error.details["parameter"], "a", "{text}");
        }
    }

    #[test]
    fn fields_are_known_and_stand_once() {
        for (text, what) in [
            (r#"{"c":1}"#, "no field of this name"),
            (r#"{"a":1,"a":2}"#, "twice"),
            ("[]", "a JSON object"),
            ("", "a JSON object"),
            (r#"{"a":1"#, "a JSON object"),
        ] {
            let error = Body::parse(text.as_bytes(), KNOWN).unwrap_err();
            assert!(error.message.contains(what), "{error}");
        }
        assert!(!body(r#"{"a":null}"#).has("a"));
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_or_refused(text in "\\PC{0,60}", number in "[-+0-9.eE]{0,40}") {
            let _ = Body::parse(text.as_bytes(), &KNOWN[..1]);
            let text = format!(r#"{{"a":"{number}"}}"#);
            if let Ok(body) = Body::parse(text.as_bytes(), &KNOWN[..1]) {
                let _ = body.amount("a");
            }
        }
    }
}
