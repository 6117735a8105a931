//! The key of an account, which may change while it is used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::trading::keys::Keys;
use tokio::sync::Notify;

use super::desk::{Desk, Readiness};
use super::live::Live;

/// Pause between two looks for another key.
const LOOK: Duration = Duration::from_millis(200);

/// A key with the number of its revision.
pub type Revised = (u64, Arc<Keys>);

/// Where the key of an account comes from.
pub trait KeySource: Send + Sync {
    /// The account's key when it is of another revision than this one. `None`: it is not, or there is
    /// no key any more. Asked several times a second; must not wait.
    ///
    /// # Errors
    /// The revision, and why its key can't be used.
    fn other_than(&self, revision: u64) -> Option<Result<Revised, (u64, String)>>;
}

/// The key in force. Clones are the same.
#[derive(Clone)]
pub(crate) struct KeyInForce(Rc<Inner>);

struct Inner {
    keys: RefCell<Arc<Keys>>,
    epoch: Cell<u64>,
    changed: Notify,
}

impl KeyInForce {
    /// The first one.
    pub fn new(keys: Arc<Keys>) -> Self {
        Self(Rc::new(Inner {
            keys: RefCell::new(keys),
            epoch: Cell::new(0),
            changed: Notify::new(),
        }))
    }

    /// The key as it is now: for one request, not to be kept.
    pub fn get(&self) -> Arc<Keys> {
        self.0.keys.borrow().clone()
    }

    /// How often it has changed.
    pub fn epoch(&self) -> u64 {
        self.0.epoch.get()
    }

    /// Completes when the key is another than in that epoch.
    pub async fn after(&self, epoch: u64) {
        loop {
            let changed = self.0.changed.notified();
            if self.epoch() != epoch {
                return;
            }
            changed.await;
        }
    }

    fn replace(&self, keys: Arc<Keys>) {
        *self.0.keys.borrow_mut() = keys;
        self.0.epoch.set(self.epoch() + 1);
        self.0.changed.notify_waiters();
    }
}

/// Takes the account's key over when it is replaced: requests are signed with the new one at once,
/// private streams log in again, and nothing is traded until it is known what the key may do.
pub(super) async fn follow(desk: Rc<Desk>, live: Live, source: Arc<dyn KeySource>) {
    let mut revision = desk.options.key_revision;
    loop {
        desk.clock.sleep(LOOK).await;
        let provider = desk.provider.name();
        let account = &desk.options.name;
        match source.other_than(revision) {
            None => {}
            Some(Ok((newer, keys))) => {
                revision = newer;
                live.keys.replace(keys);
                let mut state = desk.state.borrow_mut();
                state.readiness = Readiness::NotReady("its new key is being checked".to_owned());
                state.stats.wants_reconciliation = true;
                state.key_can_withdraw = None;
                tracing::info!(provider, %account, revision, "the exchange's key was replaced");
            }
            Some(Err((newer, reason))) => {
                revision = newer;
                tracing::error!(provider, %account, revision, %reason,
                    "the new key of the exchange can't be used; the one before stays in force");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bookwire_engine::trading::keys::KeyKind;
    use futures_util::FutureExt as _;

    use super::*;

    fn keys(name: &str) -> Arc<Keys> {
        Arc::new(Keys::new(KeyKind::Hmac, name, "secret", None).unwrap())
    }

    #[test]
    fn whoever_uses_the_key_before_is_told() {
        let first = KeyInForce::new(keys("one"));
        let same = first.clone();
        let mut told = Box::pin(same.after(same.epoch()));
        assert!(told.as_mut().now_or_never().is_none());
        first.replace(keys("two"));
        assert!(told.as_mut().now_or_never().is_some());
        assert_eq!(same.get().api_key(), "two");
        // Who asks late is told as well.
        assert!(same.after(0).now_or_never().is_some());
        assert!(same.after(1).now_or_never().is_none());
    }
}
