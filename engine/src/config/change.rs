//! Changes of an exchange's settings while the engine runs: what is accepted, and the file that keeps
//! them. They lie over every other source, so that a change survives a restart whatever was set before.
//!
//! An endpoint that can be moved can steal what is sent to it. So it is moved to hosts alone that the
//! adapter itself dials or that the configuration lists, and without encryption to loopback alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::keys::{check_host, hosts_of};
use super::problem::{ConfigErrors, ConfigProblem, Place};
use super::{Config, ProviderConfig};
use crate::exchange::ProviderId;
use crate::exchange::offer;

/// What a burst has to be, in words.
pub(super) const BURST: &str = "at most requests_per_minute, or 0";

/// Largest weight.
const WEIGHT_MAX: u32 = 10_000_000;

/// Whether the two go together.
pub(super) fn is_burst(requests_per_minute: u32, burst_limit: u32) -> bool {
    requests_per_minute == 0 || burst_limit <= requests_per_minute
}

/// A host of the allow-list, in lower case.
pub(super) fn host_of(text: &str) -> Option<String> {
    let (host, port) = split(text)?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let is_host = !host.is_empty() && host.len() <= 253 && host.chars().all(is_name) && is_port;
    is_host.then(|| text.to_ascii_lowercase())
}

/// Host and port; an IPv6 address stands in brackets.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(v6) = authority.strip_prefix('[') {
        let (host, rest) = v6.split_once(']')?;
        return match rest {
            "" => Some((host, None)),
            rest => Some((host, Some(rest.strip_prefix(':')?))),
        };
    }
    Some(match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    })
}

/// Host and port of a base URL whose form has been checked.
fn place_of(url: &str) -> Option<(String, u16)> {
    let (scheme, rest) = url.split_once("://")?;
    let (host, port) = split(rest.split('/').next()?)?;
    let port = match port {
        Some(port) => port.parse().ok()?,
        None if matches!(scheme, "https" | "wss") => 443,
        None => 80,
    };
    Some((host.to_ascii_lowercase(), port))
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// Where an exchange's hosts are by themselves: the adapter's name of each and its base URL.
#[must_use]
pub fn default_bases(id: ProviderId) -> BTreeMap<&'static str, &'static str> {
    let exchange = id.exchange();
    let mut all = BTreeMap::new();
    for market in exchange.markets() {
        let (host, base) = exchange.rest_host(*market);
        all.insert(host, base);
        for route in exchange.routes(*market) {
            all.insert(route.host, route.base_url);
        }
    }
    let venue = exchange.trading();
    for route in venue.map_or(&[][..], |venue| venue.private_routes()) {
        all.insert(route.host, route.base_url);
    }
    for route in venue.map_or(&[][..], |venue| venue.order_routes()) {
        all.insert(route.host, route.base_url);
    }
    all
}

/// Whether endpoints of the exchange may live there; what is accepted, when they may not.
fn check_place(id: ProviderId, provider: &ProviderConfig, url: &str) -> Result<(), String> {
    let listed = || {
        let own = default_bases(id);
        let own: BTreeSet<String> = own
            .values()
            .filter_map(|url| place_of(url))
            .map(|p| p.0)
            .collect();
        let own = own.into_iter().collect::<Vec<_>>().join(", ");
        let name = id.name();
        format!("a host out of {own} or providers.{name}.endpoint_hosts")
    };
    let Some((host, port)) = place_of(url) else {
        return Err(listed());
    };
    let is_encrypted = url.starts_with("https://") || url.starts_with("wss://");
    if !is_encrypted && !is_loopback(&host) {
        return Err("https or wss, loopback aside".to_owned());
    }
    let is_own = default_bases(id)
        .values()
        .any(|own| place_of(own).as_ref() == Some(&(host.clone(), port)));
    let is_configured = provider.endpoint_hosts.iter().any(|one| {
        let Some((listed, wanted)) = split(one) else {
            return false;
        };
        listed == host && wanted.is_none_or(|wanted| wanted.parse() == Ok(port))
    });
    match is_own || is_configured {
        true => Ok(()),
        false => Err(listed()),
    }
}

/// What of one exchange was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExchangeOverlay {
    /// The adapter's name of a host, and the base URL to use instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, String>,
    /// In the place of `requests_per_minute`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// In the place of `burst_limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst_limit: Option<u32>,
}

/// What is to be changed of one exchange; `Some(None)`: back to what is configured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExchangeChange {
    /// By the field's name in the request: the adapter's name of the host, and its new base URL.
    pub endpoints: Vec<(String, String, Option<String>)>,
    /// Weight of requests a minute.
    pub requests_per_minute: Option<Option<u32>>,
    /// Weight that may go at once.
    pub burst_limit: Option<Option<u32>>,
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field.
    pub field: String,
    /// Its value.
    pub value: String,
    /// What is accepted.
    pub accepted: String,
}

impl ExchangeOverlay {
    /// What there is after a change, checked as a whole. `provider` is as it is configured.
    ///
    /// # Errors
    /// The first field that is not accepted.
    pub fn changed(
        &self,
        id: ProviderId,
        provider: &ProviderConfig,
        change: &ExchangeChange,
    ) -> Result<Self, Refusal> {
        let mut new = self.clone();
        for (field, host, url) in &change.endpoints {
            let Some(url) = url else {
                new.endpoints.remove(host);
                continue;
            };
            check_host(&hosts_of(id), host, url)
                .and_then(|()| check_place(id, provider, url))
                .map_err(|accepted| Refusal {
                    field: field.clone(),
                    value: url.clone(),
                    accepted,
                })?;
            new.endpoints.insert(host.clone(), url.clone());
        }
        if let Some(value) = change.requests_per_minute {
            new.requests_per_minute = value;
        }
        if let Some(value) = change.burst_limit {
            new.burst_limit = value;
        }
        new.check_limits(provider)
            .map_err(|(field, value)| Refusal {
                field: format!("rate_limits.{field}"),
                value: value.to_string(),
                accepted: match field {
                    "burst_limit" => format!("a whole number from 1 on, {BURST}"),
                    _ => format!("a whole number from 1 to {WEIGHT_MAX}"),
                },
            })?;
        Ok(new)
    }

    fn check_limits(&self, provider: &ProviderConfig) -> Result<(), (&'static str, u32)> {
        let per_minute = self
            .requests_per_minute
            .unwrap_or(provider.requests_per_minute);
        let burst = self.burst_limit.unwrap_or(provider.burst_limit);
        if per_minute > WEIGHT_MAX {
            return Err(("requests_per_minute", per_minute));
        }
        match is_burst(per_minute, burst) && burst <= WEIGHT_MAX {
            true => Ok(()),
            false => Err(("burst_limit", burst)),
        }
    }

    /// Puts it over what is configured.
    pub fn apply(&self, provider: &mut ProviderConfig) {
        for (host, url) in &self.endpoints {
            provider.hosts.insert(host.clone(), url.clone());
        }
        if let Some(value) = self.requests_per_minute {
            provider.requests_per_minute = value;
        }
        if let Some(value) = self.burst_limit {
            provider.burst_limit = value;
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// All that was changed, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// By provider.
    pub exchanges: BTreeMap<String, ExchangeOverlay>,
}

impl Overlay {
    /// Name of its file in the data directory.
    pub const FILE: &'static str = "config-changes.json";

    /// Reads a file's text.
    ///
    /// # Errors
    /// What it is not, and where.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigErrors> {
        serde_json::from_str(text).map_err(|error| {
            ConfigErrors(vec![ConfigProblem {
                place: Place::File {
                    name: name.to_owned(),
                    line: error.line().max(1),
                    column: error.column().max(1),
                },
                key: String::new(),
                value: String::new(),
                message: format!("not a file of changes: {error}"),
                accepted: "without it the configuration alone counts".to_owned(),
            }])
        })
    }

    /// The file's text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut kept = self.clone();
        kept.exchanges.retain(|_, one| !one.is_empty());
        // A map of texts and numbers can't fail.
        let text = serde_json::to_string_pretty(&kept).unwrap_or_default();
        format!("{text}\n")
    }

    /// Puts all changes over a configuration, after they have been checked as new ones are: the list
    /// of hosts may be another by now.
    ///
    /// # Errors
    /// What is not accepted, and where.
    pub fn apply(&self, name: &str, text: &str, config: &mut Config) -> Result<(), ConfigErrors> {
        let mut problems = Vec::new();
        for (exchange, one) in &self.exchanges {
            let found = ProviderId::parse(exchange).zip(config.providers.get_mut(exchange));
            let Some((id, provider)) = found else {
                problems.push(problem(name, text, exchange, "", "a provider"));
                continue;
            };
            let mut change = ExchangeChange {
                requests_per_minute: Some(one.requests_per_minute),
                burst_limit: Some(one.burst_limit),
                ..ExchangeChange::default()
            };
            for (host, url) in &one.endpoints {
                let field = host.clone();
                change
                    .endpoints
                    .push((field, host.clone(), Some(url.clone())));
            }
            match ExchangeOverlay::default().changed(id, provider, &change) {
                Ok(checked) => checked.apply(provider),
                Err(refusal) => {
                    let Refusal {
                        field,
                        value,
                        accepted,
                    } = refusal;
                    let field = field.trim_start_matches("rate_limits.");
                    problems.push(problem(name, text, field, &value, &accepted));
                }
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(ConfigErrors(problems)),
        }
    }
}

/// A problem at the first line that names the key.
fn problem(name: &str, text: &str, key: &str, value: &str, accepted: &str) -> ConfigProblem {
    let quoted = format!("{key:?}");
    let line = text.lines().position(|line| line.contains(&quoted));
    ConfigProblem {
        place: Place::File {
            name: name.to_owned(),
            line: line.map_or(1, |line| line + 1),
            column: 1,
        },
        key: key.to_owned(),
        value: match value {
            "" => String::new(),
            value => format!("{value:?}"),
        },
        message: "not accepted".to_owned(),
        accepted: format!("accepted: {accepted}"),
    }
}

/// Weight a minute and at once that are in force when nothing is configured: the exchange's.
#[must_use]
pub fn exchange_limits(id: ProviderId) -> (u64, u32) {
    let exchange = id.exchange();
    let budgets = exchange
        .markets()
        .iter()
        .flat_map(|market| exchange.rest_budgets(*market));
    let burst = budgets.map(|budget| budget.weight_per_window).max();
    (offer::requests_per_minute(id), burst.unwrap_or(0))
}
