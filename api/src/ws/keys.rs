//! API keys as a session sees them: with the address of its client.

use std::net::IpAddr;

use bookwire_actors::session::keys::SessionKeys;
use bookwire_actors::session::request::AuthRequest;
use bookwire_engine::error::CryptoError;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::{Ended, Identity};
use bookwire_engine::time::TsNanos;
use futures_util::future::LocalBoxFuture;

use crate::auth::{Auth, SessionProof};

/// The keys in force, for a client at this address.
pub(super) struct KeysOfAddress {
    pub(super) auth: Auth,
    pub(super) address: IpAddr,
}

impl SessionKeys for KeysOfAddress {
    fn authenticate(
        &self,
        proof: &AuthRequest,
        now: TsNanos,
    ) -> Result<(ProviderId, Identity), CryptoError> {
        let proof = SessionProof {
            api_key: &proof.api_key,
            provider: &proof.provider,
            timestamp: &proof.timestamp,
            signature: &proof.signature,
        };
        self.auth.session(&proof, self.address, now)
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
