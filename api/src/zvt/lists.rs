//! Which providers a ZVT server has, by what they are providers of.

use std::collections::BTreeMap;

use serde_json::Value;

/// Providers by the kind of what they offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// All of them, in ZVT's order.
    pub all: Vec<String>,
    /// Those with schemas of an entity type: `stock`, `index`, `etf`.
    pub by_kind: BTreeMap<&'static str, Vec<String>>,
}

/// Longest list that is taken over.
const PROVIDERS_MAX: usize = 100;

/// The kinds, and what the names of their schemas begin with (`zvt.domain`: `Stock1dKdata`, `IndexStock`).
const KINDS: [(&str, &str); 3] = [("stock", "Stock"), ("index", "Index"), ("etf", "Etf")];

impl Lists {
    /// Asks for the providers, and each for its schemas.
    pub(super) async fn ask(http: &reqwest::Client, base: &str) -> Result<Self, reqwest::Error> {
        let all = strings(http, &format!("{base}/api/data/providers"), &[]).await?;
        let url = format!("{base}/api/data/schemas");
        let mut lists = Self {
            all,
            by_kind: BTreeMap::new(),
        };
        lists.all.truncate(PROVIDERS_MAX);
        for provider in &lists.all {
            let schemas = strings(http, &url, &[("provider", provider)]).await?;
            for (kind, prefix) in KINDS {
                if schemas.iter().any(|schema| schema.starts_with(prefix)) {
                    let of_kind = lists.by_kind.entry(kind).or_default();
                    of_kind.push(provider.clone());
                }
            }
        }
        Ok(lists)
    }

    /// Providers of a kind.
    #[must_use]
    pub fn of(&self, kind: &str) -> &[String] {
        self.by_kind.get(kind).map_or(&[], Vec::as_slice)
    }
}

/// A list of strings; what else stands in it is left out.
async fn strings(
    http: &reqwest::Client,
    url: &str,
    query: &[(&str, &String)],
) -> Result<Vec<String>, reqwest::Error> {
    let url = match reqwest::Url::parse_with_params(url, query) {
        Ok(url) => url.to_string(),
        // The configuration has checked it; the request says what is wrong.
        Err(_) => url.to_owned(),
    };
    let answer = http.get(url).send().await?.error_for_status()?;
    let items: Vec<Value> = answer.json().await?;
    let text = |item: Value| item.as_str().map(str::to_owned);
    Ok(items.into_iter().filter_map(text).collect())
}
