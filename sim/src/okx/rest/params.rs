//! Query parameters and OKX's complaints about them.

use std::fmt;

use crate::venue::percent_decode;

/// An error answer: HTTP status, OKX's code and text. Some errors come with status 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: &'static str,
    pub(crate) msg: String,
}

impl ApiError {
    pub(crate) fn unknown_instrument() -> Self {
        Self {
            status: 200,
            code: "51001",
            msg: "Instrument ID doesn't exist.".to_owned(),
        }
    }

    pub(crate) fn empty(name: &str) -> Self {
        Self {
            status: 400,
            code: "50014",
            msg: format!("Parameter {name} can not be empty"),
        }
    }

    pub(crate) fn wrong(name: &str) -> Self {
        Self {
            status: 400,
            code: "51000",
            msg: format!("Parameter {name} error"),
        }
    }

    pub(crate) fn too_many() -> Self {
        Self {
            status: 429,
            code: "50011",
            msg: "Too Many Requests".to_owned(),
        }
    }

    pub(crate) fn unavailable() -> Self {
        Self {
            status: 503,
            code: "50001",
            msg: "Service temporarily unavailable. Please try again later.".to_owned(),
        }
    }

    pub(crate) fn not_found() -> Self {
        Self {
            status: 404,
            code: "404",
            msg: "Not Found".to_owned(),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, msg) = (self.code, &self.msg);
        write!(f, "{{\"code\":\"{code}\",\"data\":[],\"msg\":\"{msg}\"}}")
    }
}

/// The parameters of a query, in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), percent_decode(value)))
                .collect(),
        )
    }

    /// A value that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.iter().filter(|(key, _)| key == name);
        let (_, value) = pairs.next_back()?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name).ok_or_else(|| ApiError::empty(name))
    }

    /// A whole number that is not negative.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let number = text.parse::<i64>().ok().filter(|number| *number >= 0);
        number.map(Some).ok_or_else(|| ApiError::wrong(name))
    }

    /// `limit`, cut to the most that the endpoint gives.
    pub(crate) fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        let limit = match self.number("limit")? {
            None => default,
            Some(0) => return Err(ApiError::wrong("limit")),
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        Ok(limit.min(most))
    }
}
