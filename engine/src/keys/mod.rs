//! Our own API keys: who may ask us for what.
//!
//! An [`ApiKey`] is an id and a secret with permissions, providers, networks and an end. The secret is
//! kept, not a digest of it, because it checks signatures; [`KeyStore`] has it sealed on disk. What
//! others need to know of a key that was proven is an [`Identity`], which holds no secret.

mod network;
mod store;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

pub(crate) use network::ACCEPTED as NETWORKS;
pub use network::Network;
pub use store::{KeyRing, KeySpec, KeyStore, SECRET_BYTES, expiry};

use crate::exchange::ProviderId;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::vault::Secret;

/// What a key may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Market data, where they need a key.
    DataAccess,
    /// Orders, balances and fills of spot markets.
    SpotTrading,
    /// Orders, positions and fills of futures.
    FuturesTrading,
    /// Operator's commands and the configuration. It includes none of the others.
    Admin,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::DataAccess,
        Self::SpotTrading,
        Self::FuturesTrading,
        Self::Admin,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DataAccess => "data_access",
            Self::SpotTrading => "spot_trading",
            Self::FuturesTrading => "futures_trading",
            Self::Admin => "admin",
        }
    }

    /// What it takes to trade on a market and to see what is there.
    #[must_use]
    pub const fn to_trade(market: Market) -> Self {
        match market {
            Market::Spot => Self::SpotTrading,
            Market::Perp => Self::FuturesTrading,
        }
    }

    /// The permission of a public name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions(u8);

impl Permissions {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Permission::ALL.into_iter().collect()
    }

    /// Whether it is in the set.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// True for the set of nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in the set, in their order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(move |one| self.has(*one))
    }

    /// Their names.
    #[must_use]
    pub fn names(self) -> Vec<&'static str> {
        self.iter().map(Permission::as_str).collect()
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |set, one| set | 1 << one as u8))
    }
}

/// Providers that a key is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Providers {
    /// Whatever there is.
    All,
    /// These alone.
    Only(Vec<ProviderId>),
}

impl Providers {
    /// Whether it is one of them.
    #[must_use]
    pub fn has(&self, provider: ProviderId) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.contains(&provider),
        }
    }

    /// Their names; `None`: all.
    #[must_use]
    pub fn names(&self) -> Option<Vec<&'static str>> {
        match self {
            Self::All => None,
            Self::Only(list) => Some(list.iter().map(|provider| provider.name()).collect()),
        }
    }
}

/// One of a key's secrets.
#[derive(Clone)]
pub(crate) struct KeySecret {
    /// Counts the rotations.
    pub(crate) serial: u32,
    pub(crate) secret: Secret,
    /// When it ends; `None`: with the key.
    pub(crate) until: Option<TsNanos>,
}

impl KeySecret {
    fn is_good(&self, now: TsNanos) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// One of our keys.
#[derive(Clone)]
pub struct ApiKey {
    /// Its public part: letters, digits and `-`.
    pub id: String,
    /// What it may be used for.
    pub permissions: Permissions,
    /// With which providers.
    pub providers: Providers,
    /// From where; empty: from anywhere.
    pub networks: Vec<Network>,
    /// When it was made.
    pub created: TsNanos,
    /// When it ends by itself.
    pub expires: Option<TsNanos>,
    /// When it was revoked.
    pub revoked: Option<TsNanos>,
    /// The newest last; none once it is revoked.
    pub(crate) secrets: Vec<KeySecret>,
}

/// What it is, and no secret.
impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("id", &self.id)
            .field("permissions", &self.permissions.names())
            .field("providers", &self.providers)
            .field("networks", &self.networks)
            .field("expires", &self.expires)
            .field("revoked", &self.revoked)
            .finish_non_exhaustive()
    }
}

/// How a key came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody revoked it.
    Revoked,
    /// Its time was over.
    Expired(TsNanos),
    /// There is no such key any more.
    Gone,
    /// It has another secret now.
    Rotated,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked => f.write_str("the API key was revoked"),
            Self::Expired(at) => write!(f, "the API key expired at {}", at.to_rfc3339()),
            Self::Gone => f.write_str("there is no such API key any more"),
            Self::Rotated => f.write_str("the API key has another secret now"),
        }
    }
}

impl ApiKey {
    /// Why it is no good at `now`.
    #[must_use]
    pub fn ended(&self, now: TsNanos) -> Option<Ended> {
        if self.revoked.is_some() {
            return Some(Ended::Revoked);
        }
        let expires = self.expires.filter(|at| now >= *at)?;
        Some(Ended::Expired(expires))
    }

    /// Whether a client may use it from this address.
    #[must_use]
    pub fn is_from(&self, address: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|one| one.has(address))
    }

    /// Who bears this secret. Every secret is compared, each in a time that does not depend on where it
    /// differs.
    #[must_use]
    pub fn proven_by(&self, secret: &[u8], now: TsNanos) -> Option<Identity> {
        self.find(now, |own| own.is(secret))
    }

    /// Who has signed these parts, one after the other, with HMAC-SHA256.
    #[must_use]
    pub fn signed_by(&self, parts: &[&[u8]], signature: &[u8], now: TsNanos) -> Option<Identity> {
        self.find(now, |own| own.has_signed(parts, signature))
    }

    fn find(&self, now: TsNanos, is_it: impl Fn(&Secret) -> bool) -> Option<Identity> {
        let mut serial = None;
        for own in &self.secrets {
            // In this order: the comparison is made in any case.
            if is_it(&own.secret) && own.is_good(now) {
                serial = Some(own.serial);
            }
        }
        Some(self.identity(serial?))
    }

    fn identity(&self, serial: u32) -> Identity {
        Identity {
            key_id: self.id.as_str().into(),
            permissions: self.permissions,
            providers: Arc::new(self.providers.clone()),
            serial,
        }
    }

    /// Whether somebody who has proven it with the secret of this number still has.
    fn has_serial(&self, serial: u32, now: TsNanos) -> bool {
        let mut own = self.secrets.iter();
        own.any(|secret| secret.serial == serial && secret.is_good(now))
    }
}

/// Somebody who has proven to have a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The key's id.
    pub key_id: Arc<str>,
    /// What it may be used for.
    pub permissions: Permissions,
    /// With which providers.
    pub providers: Arc<Providers>,
    /// Which of the key's secrets it was.
    serial: u32,
}

impl Identity {
    /// Whether it may see what is on the accounts of a provider: it may trade on one of its markets.
    #[must_use]
    pub fn may_see(&self, provider: ProviderId) -> bool {
        let mut markets = provider.exchange().markets().iter();
        self.providers.has(provider)
            && markets.any(|market| self.permissions.has(Permission::to_trade(*market)))
    }

    /// One that no key stands for: what an operator's key of the configuration proves.
    #[must_use]
    pub fn operator(id: &str) -> Self {
        Self {
            key_id: id.into(),
            permissions: [Permission::Admin].into_iter().collect(),
            providers: Arc::new(Providers::All),
            serial: 0,
        }
    }

    /// Whether the key may be used for this, with this provider where one is meant.
    #[must_use]
    pub fn may(&self, permission: Permission, provider: Option<ProviderId>) -> bool {
        self.permissions.has(permission) && provider.is_none_or(|one| self.providers.has(one))
    }
}

#[cfg(test)]
mod tests;
