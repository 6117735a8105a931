//! Query parameters: a route names those that it knows, everything else is refused; every refusal
//! names the parameter, its value and what is accepted.

use actix_web::web;
use bookwire_engine::error::CryptoError;
use bookwire_engine::exchange::{EXCHANGES, ProviderId};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::Numbers;
use rust_decimal::Decimal;

use crate::spec::{self, Field, Kind};

/// Items in one list parameter.
const LIST_ITEMS_MAX: usize = 500;

/// What is accepted as an instant, for messages.
pub const TIME_FORMS: &str =
    "RFC 3339 (2024-08-01T12:34:56Z), a date (2024-08-01), or epoch s, ms, us or ns";

/// The parameters of one request, checked against those that its route knows.
#[derive(Debug)]
pub struct Params {
    pairs: Vec<(String, String)>,
    known: Vec<Field>,
}

impl Params {
    /// Reads a query string.
    ///
    /// # Errors
    /// A parameter that is not among `known`.
    pub fn parse(query: &str, known: &[Field]) -> Result<Self, CryptoError> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| {
                CryptoError::invalid_parameter("query", query, "name=value pairs joined by &")
            })?
            .into_inner();
        if let Some((name, value)) = pairs
            .iter()
            .find(|(name, _)| known.iter().all(|field| field.name != name))
        {
            return Err(unknown(name, value, &spec::names(known)));
        }
        Ok(Self {
            pairs,
            known: known.to_vec(),
        })
    }

    /// True when the parameter is there, even empty.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, _)| known == name)
    }

    /// A parameter that may be given once; empty counts as absent.
    ///
    /// # Errors
    /// It is given more than once with different values.
    pub fn text(&self, name: &str) -> Result<Option<&str>, CryptoError> {
        let mut values = self
            .pairs
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.trim());
        let first = values.next();
        if let (Some(first), Some(other)) = (first, values.find(|value| Some(*value) != first)) {
            return Err(CryptoError::invalid_parameter(
                name,
                &format!("{first}, {other}"),
                "a single value",
            ));
        }
        Ok(first.filter(|value| !value.is_empty()))
    }

    /// A list: separated by commas, or the parameter repeated. Empty when absent.
    ///
    /// # Errors
    /// More than 500 items.
    pub fn list(&self, name: &str) -> Result<Vec<&str>, CryptoError> {
        let mut items: Vec<&str> = Vec::new();
        for (_, value) in self.pairs.iter().filter(|(known, _)| known == name) {
            for item in value.split(',').map(str::trim) {
                if !item.is_empty() && !items.contains(&item) {
                    items.push(item);
                }
                if items.len() > LIST_ITEMS_MAX {
                    return Err(CryptoError::invalid_parameter(
                        name,
                        value,
                        format!("at most {LIST_ITEMS_MAX} items separated by commas"),
                    ));
                }
            }
        }
        Ok(items)
    }

    /// What the table says of a parameter.
    fn field(&self, name: &str) -> Option<&Field> {
        self.known.iter().find(|field| field.name == name)
    }

    /// One of some words, which are those of the route's table.
    ///
    /// # Errors
    /// Another word.
    pub fn choice<T: Copy>(
        &self,
        name: &str,
        choices: &[(&str, T)],
    ) -> Result<Option<T>, CryptoError> {
        debug_assert!(
            self.field(name).is_none_or(|field| {
                let mut words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                let mut told = field.words();
                words.sort_unstable();
                told.sort_unstable();
                words == told
            }),
            "the words of `{name}` are not those of its table"
        );
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
                Err(CryptoError::invalid_parameter(
                    name,
                    text,
                    format!("one of {}", words.join(", ")),
                ))
            }
        }
    }

    /// A whole number within the range of the route's table.
    ///
    /// # Errors
    /// Not a whole number, or outside.
    pub fn integer(&self, name: &str) -> Result<Option<u64>, CryptoError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let range = match self.field(name).map(|field| field.kind) {
            Some(Kind::Integer(least, most)) => least..=most,
            // No table calls it a number: nothing of it is accepted.
            _ => std::ops::RangeInclusive::new(1, 0),
        };
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse::<u64>() {
            Ok(number) if digits && range.contains(&number) => Ok(Some(number)),
            _ => Err(CryptoError::invalid_parameter(
                name,
                text,
                format!("a whole number from {} to {}", range.start(), range.end()),
            )),
        }
    }

    /// `true` or `false`, in the spellings that clients send.
    ///
    /// # Errors
    /// Anything else.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, CryptoError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Some(true)),
            "false" | "0" => Ok(Some(false)),
            _ => Err(CryptoError::invalid_parameter(name, text, "true or false")),
        }
    }

    /// An exact decimal that is not negative.
    ///
    /// # Errors
    /// Not a plain decimal number, or negative.
    pub fn decimal(&self, name: &str) -> Result<Option<Decimal>, CryptoError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.');
        match Decimal::from_str_exact(text) {
            Ok(number) if is_plain => Ok(Some(number)),
            _ => Err(CryptoError::invalid_parameter(
                name,
                text,
                "a decimal number that is not negative, such as 0.5",
            )),
        }
    }

    /// An instant.
    ///
    /// # Errors
    /// None of the accepted forms.
    pub fn time(&self, name: &str) -> Result<Option<TsNanos>, CryptoError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match TsNanos::parse(text) {
            Some(instant) => Ok(Some(instant)),
            None => Err(CryptoError::invalid_parameter(name, text, TIME_FORMS)),
        }
    }

    /// The provider, when given.
    ///
    /// # Errors
    /// Not a provider of this build.
    pub fn provider(&self) -> Result<Option<ProviderId>, CryptoError> {
        let Some(text) = self.text("provider")? else {
            return Ok(None);
        };
        match ProviderId::parse(text) {
            Some(provider) => Ok(Some(provider)),
            None => Err(CryptoError::invalid_parameter(
                "provider",
                text,
                provider_names(),
            )),
        }
    }

    /// The provider of a request that needs one.
    ///
    /// # Errors
    /// Absent, or not a provider of this build.
    pub fn provider_required(&self) -> Result<ProviderId, CryptoError> {
        self.provider()?
            .ok_or_else(|| missing("provider", &provider_names()))
    }

    /// How numbers are printed.
    ///
    /// # Errors
    /// Neither `number` nor `string`.
    pub fn numbers(&self) -> Result<Numbers, CryptoError> {
        let choices = [("number", Numbers::Number), ("string", Numbers::String)];
        Ok(self.choice("numbers", &choices)?.unwrap_or_default())
    }
}

/// `one of binance, …`.
#[must_use]
pub fn provider_names() -> String {
    let names: Vec<&str> = EXCHANGES.iter().map(|exchange| exchange.name()).collect();
    format!("one of {}", names.join(", "))
}

/// A parameter that must be given is not.
#[must_use]
pub fn missing(name: &str, accepted: &str) -> CryptoError {
    let mut error = CryptoError::invalid_parameter(name, "", accepted);
    error.message = format!("parameter `{name}` is required; accepted: {accepted}");
    error
}

fn unknown(name: &str, value: &str, known: &[&str]) -> CryptoError {
    let shown: String = name.chars().take(64).collect();
    let mut names = known.to_vec();
    names.sort_unstable();
    let accepted = format!("the parameters {}", names.join(", "));
    let mut error = CryptoError::invalid_parameter(&shown, value, accepted.clone());
    error.message = format!("`{shown}` is not a parameter of this path; accepted: {accepted}");
    let near = names
        .iter()
        .map(|known| (distance(&shown, known), *known))
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
        .min();
    error.suggest(match near {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => format!("leave `{shown}` out"),
    })
}

/// Levenshtein distance; both texts are short.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, right) in b.iter().enumerate() {
            let above = row[j + 1];
            let change = diagonal + usize::from(left != *right);
            row[j + 1] = change.min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Field] = &[
        spec::PROVIDER,
        Field::new("codes", Kind::List, ""),
        Field::new("limit", Kind::Integer(1, 9), ""),
        Field::new("flag", Kind::Flag, ""),
        Field::new("min_volume", Kind::Decimal, ""),
        Field::new("start", Kind::Time, ""),
        Field::new("side", Kind::Word(|| vec!["buy", "sell"]), ""),
        spec::NUMBERS,
    ];

    fn params(query: &str) -> Params {
        Params::parse(query, KNOWN).unwrap()
    }

    #[test]
    fn unknown_parameters_are_named_with_a_near_match() {
        let error = Params::parse("code=btcusdt", KNOWN).unwrap_err();
        assert_eq!(error.details["parameter"], "code");
        assert_eq!(error.details["value"], "btcusdt");
        assert!(
            error.details["accepted"]
                .as_str()
                .unwrap()
                .contains("codes")
        );
        assert_eq!(error.recovery_suggestions, ["did you mean `codes`?"]);
        let error = Params::parse("zzzzzzzz=1", KNOWN).unwrap_err();
        assert_eq!(error.recovery_suggestions, ["leave `zzzzzzzz` out"]);
    }

    #[test]
    fn lists_take_commas_and_repeats() {
        let params = params("codes=btcusdt,%20ethusdt&codes=solusdt&codes=,btcusdt");
        assert_eq!(
            params.list("codes").unwrap(),
            ["btcusdt", "ethusdt", "solusdt"]
        );
        assert!(params.list("side").unwrap().is_empty());
        let many: Vec<String> = (0..501).map(|n| format!("c{n}")).collect();
        let query = format!("codes={}", many.join(","));
        let error = self::params(&query).list("codes").unwrap_err();
        assert_eq!(error.details["parameter"], "codes");
    }

    #[test]
    fn wrong_values_name_what_is_accepted() {
        type Check = fn(&Params) -> Result<(), CryptoError>;
        let rows: &[(&str, Check, &str)] = &[
            (
                "limit=0",
                |p| p.integer("limit").map(drop),
                "a whole number from 1 to 9",
            ),
            (
                "limit=10",
                |p| p.integer("limit").map(drop),
                "a whole number from 1 to 9",
            ),
            (
                "limit=-1",
                |p| p.integer("limit").map(drop),
                "a whole number from 1 to 9",
            ),
            (
                "limit=%2B5",
                |p| p.integer("limit").map(drop),
                "a whole number from 1 to 9",
            ),
            (
                "limit=1e1",
                |p| p.integer("limit").map(drop),
                "a whole number from 1 to 9",
            ),
            (
                "limit=99999999999999999999",
                |p| p.integer("limit").map(drop),
                "a whole",
            ),
            ("flag=yes", |p| p.flag("flag").map(drop), "true or false"),
            (
                "min_volume=-1",
                |p| p.decimal("min_volume").map(drop),
                "a decimal number",
            ),
            (
                "min_volume=1e5",
                |p| p.decimal("min_volume").map(drop),
                "a decimal number",
            ),
            (
                "min_volume=abc",
                |p| p.decimal("min_volume").map(drop),
                "a decimal number",
            ),
            ("start=soon", |p| p.time("start").map(drop), "RFC 3339"),
            ("provider=kraken", |p| p.provider().map(drop), "one of"),
            (
                "numbers=text",
                |p| p.numbers().map(drop),
                "one of number, string",
            ),
            (
                "side=x",
                |p| p.choice("side", &[("buy", 1), ("sell", 2)]).map(drop),
                "one of buy",
            ),
            (
                "side=buy&side=sell",
                |p| p.text("side").map(drop),
                "a single value",
            ),
        ];
        for (query, check, accepted) in rows {
            let error = check(&params(query)).unwrap_err();
            let name = query.split('=').next().unwrap();
            assert_eq!(error.details["parameter"], name, "{query}");
            let told = error.details["accepted"].as_str().unwrap();
            assert!(told.starts_with(accepted), "{query}: {told}");
        }
    }

    #[test]
    fn good_values_are_read() {
        let p = params("limit=9&flag=1&min_volume=0.10&start=2024-08-01&numbers=string&side=");
        assert_eq!(p.integer("limit").unwrap(), Some(9));
        assert_eq!(p.flag("flag").unwrap(), Some(true));
        assert_eq!(p.decimal("min_volume").unwrap(), Some(Decimal::new(1, 1)));
        assert_eq!(p.time("start").unwrap(), TsNanos::parse("2024-08-01"));
        assert_eq!(p.numbers().unwrap(), Numbers::String);
        assert_eq!(p.text("side").unwrap(), None);
        assert!(p.has("side") && !p.has("codes"));
    }

    #[test]
    fn a_missing_provider_says_which_there_are() {
        let error = params("").provider_required().unwrap_err();
        assert_eq!(error.details["parameter"], "provider");
        assert!(error.message.contains("is required"));
    }
}
