//! Cancel on disconnect, as a session sees it: for which providers its end is the end of orders.
//!
//! Which orders those are and what happens to them is decided where orders are: see
//! [`crate::trading::guard`]. Here is only what must not fail: that the end is told, however the
//! session ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Addr;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use tokio::sync::oneshot;

use crate::trading::Trading;
use crate::trading::guard::{Guard, Unguard};
use crate::trading::router::OrderRouter;

/// How long accounts may take to note a session. Nothing that they do keeps them so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Numbers of sessions that watch over orders, in the process.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A session is noted at all accounts of a provider. Dropping this tells them that it has ended.
pub(super) struct Armed {
    key: Arc<str>,
    number: u64,
    routers: Vec<Addr<OrderRouter>>,
    is_released: bool,
}

impl Drop for Armed {
    #[allow(
        clippy::disallowed_methods,
        reason = "told once and never again, so a full mailbox must not refuse it; there are no more of \
                  these than sessions, which are bounded"
    )]
    fn drop(&mut self) {
        for router in &self.routers {
            router.do_send(Unguard {
                number: self.number,
                is_released: self.is_released,
            });
        }
    }
}

/// Has all accounts of a provider note a session of this key.
pub(super) async fn arm(
    trading: Option<Trading>,
    provider: ProviderId,
    key: Arc<str>,
) -> Result<Armed, CryptoError> {
    let trading = trading.ok_or_else(|| {
        CryptoError::new(CryptoCode::Unsupported, "trading is switched off")
            .suggest("set trading.enabled = true")
    })?;
    let routers = trading.routers(Some(provider), None);
    let routers: Vec<_> = routers.map(|(.., router)| router.clone()).collect();
    if routers.is_empty() {
        let what = format!("nothing is traded on {}", provider.name());
        return Err(
            CryptoError::new(CryptoCode::Unsupported, what).with("provider", provider.name())
        );
    }
    let (answer, answered) = oneshot::channel();
    // On its own: were the session to end meanwhile, accounts would be told of its beginning after
    // its end.
    crate::alive::spawn(async move {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let armed = Armed {
            key: key.clone(),
            number,
            routers,
            is_released: false,
        };
        for router in &armed.routers {
            let key = key.to_string();
            if let Err(error) = Trading::ask(router, Guard { number, key }).await {
                let _ = answer.send(Err(error));
                return;
            }
        }
        // When nobody wants it any more, it ends here.
        let _ = answer.send(Ok(armed));
    });
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(armed)) => armed,
        Ok(Err(_)) | Err(_) => Err(CryptoError::new(
            CryptoCode::InternalError,
            "the accounts did not note in time that orders are to be canceled on disconnect",
        )),
    }
}

/// The providers at which the session watches over orders of its client.
#[derive(Default)]
pub(super) struct Guards(BTreeMap<ProviderId, Armed>);

impl Guards {
    /// Whether it does at this one.
    pub(super) fn has(&self, provider: ProviderId) -> bool {
        self.0.contains_key(&provider)
    }

    /// It does from now on.
    pub(super) fn put(&mut self, provider: ProviderId, armed: Armed) {
        self.0.insert(provider, armed);
    }

    /// It does no more, and what is there stays.
    pub(super) fn release(&mut self, provider: ProviderId) {
        if let Some(mut armed) = self.0.remove(&provider) {
            armed.is_released = true;
        }
    }

    /// It has ended.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether this key may stand for the client.
    pub(super) fn check(&self, provider: ProviderId, key: &str) -> Result<(), CryptoError> {
        let Some(armed) = self.0.get(&provider).filter(|armed| *armed.key != *key) else {
            return Ok(());
        };
        let what = format!(
            "orders of key {} are canceled when this session ends, so no other key can take over",
            armed.key
        );
        Err(CryptoError::new(CryptoCode::Forbidden, what)
            .with("provider", provider.name())
            .with("cancel_on_disconnect", &*armed.key)
            .suggest("send `auth` with that key and cancel_on_disconnect false first, or use another session"))
    }
}
