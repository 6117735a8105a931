//! Query parameters.

use crate::market::Segment;
use crate::venue::percent_decode;

use super::{Refusal, refuse};

/// Parameters of a request; of one that stands twice the first counts.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Query(Vec<(String, String)>);

impl Query {
    pub(in super::super) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (percent_decode(name), percent_decode(value)))
                .collect(),
        )
    }

    /// All of them by name.
    pub(in super::super) fn into_map(self) -> serde_json::Map<String, serde_json::Value> {
        let pairs = self.0.into_iter().rev();
        pairs.map(|(name, value)| (name, value.into())).collect()
    }

    /// A parameter's value; an empty one counts as missing.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// The market that a request is about: linear where it does not say.
    pub(super) fn market(&self) -> Segment {
        match self.get("category") {
            Some("spot") => Segment::Spot,
            _ => Segment::Linear,
        }
    }

    /// As [`Query::market`], refusing what has no market here.
    pub(super) fn known_market(&self) -> Result<Segment, Refusal> {
        match self.get("category") {
            None | Some("spot" | "linear") => Ok(self.market()),
            Some(_) => Err(refuse("Not supported symbols")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse().ok().filter(|number| *number >= 0) {
            Some(number) => Ok(Some(number)),
            None => Err(refuse(&format!("params error: {name} invalid"))),
        }
    }

    /// `limit`, cut to what the path allows.
    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, Refusal> {
        let asked = self.number("limit")?;
        let asked = asked.map_or(default, |limit| usize::try_from(limit).unwrap_or(most));
        Ok(asked.clamp(1, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        let query = Query::parse("&category=spot&symbol=&limit=5000&cursor=a%253D1&start=x");
        assert_eq!(query.market(), Segment::Spot);
        assert_eq!(query.get("symbol"), None);
        assert_eq!(query.get("cursor"), Some("a%3D1"));
        assert_eq!(query.limit(1, 1_000), Ok(1_000));
        assert_eq!(query.limit(1, 60), Ok(60));
        assert!(query.number("start").is_err());
        assert_eq!(Query::parse("").market(), Segment::Linear);
        assert_eq!(Query::parse("").limit(25, 1_000), Ok(25));
        assert!(Query::parse("category=option").known_market().is_err());
    }
}
