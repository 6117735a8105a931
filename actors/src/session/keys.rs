//! Whose a session is: the API keys that its client has proven, one for each provider.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::{Ended, Identity, Permission};
use bookwire_engine::time::TsNanos;
use futures_util::future::LocalBoxFuture;

use super::request::AuthRequest;

/// What a session needs to know of API keys. Where they are is the API's business.
pub trait SessionKeys {
    /// Who has made this proof, and for which provider.
    ///
    /// # Errors
    /// Nobody: why.
    fn authenticate(
        &self,
        proof: &AuthRequest,
        now: TsNanos,
    ) -> Result<(ProviderId, Identity), CryptoError>;

    /// Why the key of somebody is no good any more.
    fn ended(&self, identity: &Identity, now: TsNanos) -> Option<Ended>;

    /// Completes when keys have changed after this call, or never.
    fn changed(&self) -> LocalBoxFuture<'static, ()>;
}

/// Who the client is, for each provider that it has proven a key for.
#[derive(Debug, Default)]
pub struct Identities(BTreeMap<ProviderId, Identity>);

impl Identities {
    /// True before the first proof.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Who the client is for this provider.
    #[must_use]
    pub fn of(&self, provider: ProviderId) -> Option<&Identity> {
        self.0.get(&provider)
    }

    /// Whether the client may read market data of this provider where they are not open to all.
    ///
    /// # Errors
    /// `CRYPTO_UNAUTHORIZED` without a key for it, `CRYPTO_FORBIDDEN` for one that may not.
    pub fn may_read(&self, provider: ProviderId) -> Result<(), CryptoError> {
        let name = provider.name();
        let Some(identity) = self.of(provider) else {
            let what = format!("market data of {name} need an API key on this server");
            return Err(CryptoError::new(CryptoCode::Unauthorized, what)
                .with("provider", name)
                .suggest(format!(
                    "prove a key with the permission data_access first: method auth, provider {name}"
                )));
        };
        if identity.may(Permission::DataAccess, Some(provider)) {
            return Ok(());
        }
        let what = format!("the API key may not read market data of {name}");
        Err(CryptoError::new(CryptoCode::Forbidden, what)
            .with("provider", name)
            .with("permissions", identity.permissions.names())
            .suggest("use a key with the permission data_access"))
    }

    /// The client is this one for the provider from now on.
    pub fn put(&mut self, provider: ProviderId, identity: Identity) {
        self.0.insert(provider, identity);
    }

    /// The first whose key has ended; all are forgotten then.
    pub fn ended(
        &mut self,
        ended: impl Fn(&Identity) -> Option<Ended>,
    ) -> Option<(Arc<str>, Ended)> {
        let mut all = self.0.values();
        let found = all.find_map(|identity| Some((identity.key_id.clone(), ended(identity)?)))?;
        self.0.clear();
        Some(found)
    }
}
