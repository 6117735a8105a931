//! API keys as a session sees them: with the address of its client.

use std::net::IpAddr;
use std::rc::Rc;

use bookwire_actors::session::keys::SessionKeys;
use bookwire_actors::session::request::AuthRequest;
use bookwire_engine::error::CryptoError;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::{Ended, Identity};
use bookwire_engine::time::TsNanos;
use futures_util::future::LocalBoxFuture;
use serde_json::Map;

use crate::auth::{Auth, SessionProof};

/// The keys in force, for a client at this address.
pub(super) struct KeysOfAddress {
    pub(super) auth: Auth,
    pub(super) address: IpAddr,
    pub(super) trace_id: Rc<str>,
}

impl SessionKeys for KeysOfAddress {
    fn authenticate(
        &self,
        proof: &AuthRequest,
        now: TsNanos,
    ) -> Result<(ProviderId, Identity), CryptoError> {
        let shown = SessionProof {
            api_key: &proof.api_key,
            provider: &proof.provider,
            timestamp: &proof.timestamp,
            signature: &proof.signature,
            trace: &self.trace_id,
        };
        let (provider, identity) = self.auth.session(&shown, self.address, now)?;
        let mut details = Map::new();
        details.insert("provider".to_owned(), provider.name().into());
        let cancels = proof.cancel_on_disconnect.unwrap_or(false);
        details.insert("cancel_on_disconnect".to_owned(), cancels.into());
        let audit = self.auth.audit();
        audit.session_opened(&identity.key_id, self.address, &self.trace_id, details);
        Ok((provider, identity))
    }

    fn ended(&self, identity: &Identity, now: TsNanos) -> Option<Ended> {
        self.auth.ended(identity, now)
    }

    fn changed(&self) -> LocalBoxFuture<'static, ()> {
        let mut changes = self.auth.changes();
        Box::pin(async move {
            // The sender lives as long as the server; without it nothing changes any more.
            if changes.changed().await.is_err() {
                std::future::pending().await
            }
        })
    }
}
