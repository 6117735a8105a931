//! Query parameters and the exchange's complaints about them.

use std::fmt;

use crate::venue::percent_decode;

/// An error answer: HTTP status, the exchange's code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: i32,
    pub(crate) msg: String,
    /// What the answer tells besides, as JSON.
    pub(crate) data: Option<String>,
}

impl ApiError {
    pub(crate) fn new(code: i32, msg: impl Into<String>) -> Self {
        Self {
            status: 400,
            code,
            msg: msg.into(),
            data: None,
        }
    }

    pub(crate) fn invalid_symbol() -> Self {
        Self::new(-1121, "Invalid symbol.")
    }

    pub(crate) fn missing(name: &str) -> Self {
        let msg =
            format!("Mandatory parameter '{name}' was not sent, was empty/null, or malformed.");
        Self::new(-1102, msg)
    }

    pub(crate) fn illegal(name: &str, range: &str) -> Self {
        let msg =
            format!("Illegal characters found in parameter '{name}'; legal range is '{range}'.");
        Self::new(-1100, msg)
    }

    /// A number that is none.
    pub(crate) fn malformed(name: &str) -> Self {
        Self::illegal(name, DECIMAL_RANGE)
    }

    /// A parameter that the request cannot have.
    pub(crate) fn unwanted(name: &str) -> Self {
        Self::new(-1106, format!("Parameter '{name}' sent when not required."))
    }

    pub(crate) fn invalid_value(name: &str) -> Self {
        Self::new(
            -1130,
            format!("Data sent for parameter '{name}' is not valid."),
        )
    }

    pub(crate) fn combination() -> Self {
        Self::new(-1128, "Combination of optional parameters invalid.")
    }

    pub(crate) fn not_found() -> Self {
        Self {
            status: 404,
            code: -1000,
            msg: "Not Found".to_owned(),
            data: None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let msg = serde_json::Value::from(self.msg.as_str());
        match &self.data {
            None => write!(f, "{{\"code\":{},\"msg\":{msg}}}", self.code),
            Some(data) => {
                write!(
                    f,
                    "{{\"code\":{},\"msg\":{msg},\"data\":{data}}}",
                    self.code
                )
            }
        }
    }
}

/// Legal characters of a symbol, as the exchange words it.
const SYMBOL_RANGE: &str = "^[A-Z0-9-_.]{1,20}$";
/// Legal characters of a list of symbols.
const SYMBOLS_RANGE: &str = "^\\[(\"[A-Z0-9-_.]{1,20}\"(,\"[A-Z0-9-_.]{1,20}\"){0,}){0,1}\\]$";
const DECIMAL_RANGE: &str = "^([0-9]{1,20})(\\.[0-9]{1,20})?$";
const NUMBER_RANGE: &str = "^[0-9]{1,20}$";

/// A request's parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    /// Reads a query.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = percent_decode(name);
            if pairs.iter().any(|(known, _)| *known == name) {
                let msg = format!("Duplicate values for parameter '{name}'.");
                return Err(ApiError::new(-1101, msg));
            }
            pairs.push((name, percent_decode(&value.replace('+', " "))));
        }
        Ok(Self(pairs))
    }

    /// Reads query and body of a request; what is in both counts as the query has it.
    pub(crate) fn parse_both(query: &str, body: &str) -> Result<Self, ApiError> {
        let mut all = Self::parse(query)?;
        for (name, value) in Self::parse(body)?.0 {
            if all.get(&name).is_none() {
                all.0.push((name, value));
            }
        }
        Ok(all)
    }

    /// The parameters of a request over WebSocket; `None` unless they are texts, numbers and truths.
    pub(crate) fn of_object(object: &serde_json::Value) -> Option<Self> {
        use serde_json::Value;
        let pairs = object.as_object()?.iter();
        let pair = |(name, value): (&String, &Value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Number(number) => number.to_string(),
                Value::Bool(truth) => truth.to_string(),
                Value::Array(_) => value.to_string(),
                Value::Null | Value::Object(_) => return None,
            };
            Some((name.clone(), value))
        };
        pairs.map(pair).collect::<Option<_>>().map(Self)
    }

    /// The same with others instead: a request within a request.
    pub(crate) fn with(&self, name: &str, value: Option<&str>) -> Self {
        let others = self.0.iter().filter(|(known, _)| known != name);
        let mut all: Vec<_> = others.cloned().collect();
        all.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        Self(all)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// A decimal that is not negative, as text.
    pub(crate) fn decimal(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let Some(text) = self.filled(name)? else {
            return Ok(None);
        };
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| {
            (1..=20).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit())
        };
        match is_number(whole) && is_number(part) {
            true => Ok(Some(text)),
            false => Err(ApiError::malformed(name)),
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn filled(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.get(name) {
            Some("") => Err(ApiError::new(
                -1105,
                format!("Parameter '{name}' was empty."),
            )),
            other => Ok(other),
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ApiError::missing(name))
    }

    /// The symbol, if one was sent.
    pub(crate) fn symbol(&self) -> Result<Option<&str>, ApiError> {
        self.filled("symbol")?
            .map(|text| check_symbol("symbol", text))
            .transpose()
    }

    /// The symbol that has to be there.
    pub(crate) fn required_symbol(&self, name: &str) -> Result<&str, ApiError> {
        check_symbol(name, self.required(name)?)
    }

    /// The list of symbols, if one was sent.
    pub(crate) fn symbols(&self) -> Result<Option<Vec<String>>, ApiError> {
        let Some(text) = self.filled("symbols")? else {
            return Ok(None);
        };
        let refuse = || ApiError::illegal("symbols", SYMBOLS_RANGE);
        let names: Vec<String> = serde_json::from_str(text).map_err(|_| refuse())?;
        if names.iter().any(|name| !is_symbol(name)) || text.contains(' ') {
            return Err(refuse());
        }
        Ok(Some(names))
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.filled(name)? else {
            return Ok(None);
        };
        if text.len() > 20 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(ApiError::illegal(name, NUMBER_RANGE));
        }
        text.parse()
            .map(Some)
            .map_err(|_| ApiError::invalid_value(name))
    }

    /// The number of rows asked for: at least 1, `default` if not sent. Above `max` it is cut on
    /// spot and refused on futures.
    pub(crate) fn limit(
        &self,
        default: usize,
        max: usize,
        is_cut: bool,
    ) -> Result<usize, ApiError> {
        let Some(limit) = self.number("limit")? else {
            return Ok(default);
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit == 0 || (limit > max && !is_cut) {
            return Err(ApiError::invalid_value("limit"));
        }
        Ok(limit.min(max))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.filled(name)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(ApiError::invalid_value(name)),
        }
    }
}

fn is_symbol(text: &str) -> bool {
    let legal = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    !text.is_empty() && text.len() <= 20 && text.bytes().all(legal)
}

fn check_symbol<'a>(name: &str, text: &'a str) -> Result<&'a str, ApiError> {
    if is_symbol(text) {
        Ok(text)
    } else {
        Err(ApiError::illegal(name, SYMBOL_RANGE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        Params::parse(query).unwrap()
    }

    #[test]
    fn symbols() {
        assert_eq!(params("symbol=BTCUSDT").symbol(), Ok(Some("BTCUSDT")));
        assert_eq!(params("limit=5").symbol(), Ok(None));
        let code = |query: &str| params(query).symbol().unwrap_err().code;
        assert_eq!(code("symbol=btcusdt"), -1100);
        assert_eq!(code("symbol="), -1105);
        assert_eq!(
            params("").required_symbol("symbol").unwrap_err().code,
            -1102
        );
        let list = params("symbols=%5B%22BTCUSDT%22,%22ETHBTC%22%5D").symbols();
        assert_eq!(
            list,
            Ok(Some(vec!["BTCUSDT".to_owned(), "ETHBTC".to_owned()]))
        );
        assert_eq!(params("symbols=BTCUSDT").symbols().unwrap_err().code, -1100);
        assert_eq!(Params::parse("a=1&a=2").unwrap_err().code, -1101);
    }

    #[test]
    fn numbers() {
        assert_eq!(params("limit=7").limit(500, 1_000, true), Ok(7));
        assert_eq!(params("").limit(500, 1_000, true), Ok(500));
        assert_eq!(params("limit=5000").limit(500, 1_000, true), Ok(1_000));
        let code = |query: &str| params(query).limit(500, 1_000, false).unwrap_err().code;
        assert_eq!(code("limit=1001"), -1130);
        assert_eq!(code("limit=0"), -1130);
        assert_eq!(code("limit=-1"), -1100);
        assert_eq!(code("limit=ten"), -1100);
        assert_eq!(code("limit="), -1105);
        assert_eq!(
            params("t=99999999999999999999")
                .number("t")
                .unwrap_err()
                .code,
            -1130
        );
        assert_eq!(params("f=true").flag("f"), Ok(Some(true)));
    }

    #[test]
    fn errors_print_as_the_exchange_does() {
        let text = ApiError::invalid_symbol().to_string();
        assert_eq!(text, "{\"code\":-1121,\"msg\":\"Invalid symbol.\"}");
    }
}
