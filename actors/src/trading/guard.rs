//! Cancel on disconnect: orders of a key that last no longer than its sessions.
//!
//! A session that asked for it watches over what its key places from then on, at all accounts of the
//! provider. The orders belong to the key, not to a connection: while another session of the key
//! watches too, a client that came back before its old connection was found dead keeps its orders.
//! When the last one ends without having said so before, they are canceled, again and again until the
//! exchange says that they are over. So are, at the start, those of a process that has ended.
//!
//! Whose orders these are is in the journal with each.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use actix::{Handler, Message};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::trading::journal::Entry;
use bookwire_engine::trading::order::{OrderId, OrderStatus};

use super::desk::Desk;
use super::flows;
use super::router::OrderRouter;

/// After the last session of a key has ended, its orders are refused for so long: what its client had
/// sent before would come to stand in the market with nobody to watch over it.
const STRAGGLERS: Duration = Duration::from_secs(5);
/// Pause before what could not be canceled is canceled again; twice as long each time.
const AGAIN: Duration = Duration::from_millis(250);
/// Longest such pause.
const AGAIN_MAX: Duration = Duration::from_secs(10);
/// The end of an account waits for cancellations for so long.
const AT_END: Duration = Duration::from_secs(3);

/// Who watches over orders of an account.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    /// Sessions by their number, and their keys.
    sessions: BTreeMap<u64, String>,
    /// When the last session of a key ended, by the monotonic clock.
    ended: BTreeMap<String, Duration>,
    /// Orders that are being canceled because of it.
    abandoned: BTreeSet<OrderId>,
}

impl Guards {
    /// How many sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn has(&self, key: &str) -> bool {
        self.sessions.values().any(|of| of == key)
    }

    fn begin(&mut self, number: u64, key: String) {
        self.ended.remove(&key);
        self.sessions.insert(number, key);
    }

    /// A session ends. The key that nobody watches for any more, if there is one.
    fn end(&mut self, number: u64) -> Option<String> {
        let key = self.sessions.remove(&number)?;
        (!self.has(&key)).then_some(key)
    }

    /// Who watches over an order that this key places now.
    fn admit(&mut self, key: &str, now: Duration) -> Result<Option<String>, CryptoError> {
        self.ended
            .retain(|_, at| now.saturating_sub(*at) < STRAGGLERS);
        if self.has(key) {
            return Ok(Some(key.to_owned()));
        }
        let Some(at) = self.ended.get(key) else {
            return Ok(None);
        };
        let left = STRAGGLERS.saturating_sub(now.saturating_sub(*at));
        let secs = left.as_secs() + 1;
        let what = format!(
            "the session that watched over this key's orders has ended, and they are being canceled; \
             orders are taken again in {secs} s"
        );
        Err(CryptoError::new(CryptoCode::WebsocketDisconnected, what)
            .with("retry_after_seconds", secs)
            .suggest("connect again and send `auth` with cancel_on_disconnect, or wait"))
    }
}

/// Who watches over an order that a key places now, or that takes the place of one of `before`'s.
///
/// # Errors
/// `CRYPTO_WEBSOCKET_DISCONNECTED` right after the last session of the key has ended.
pub(crate) fn admit(
    desk: &Desk,
    key: &str,
    before: Option<String>,
) -> Result<Option<String>, CryptoError> {
    let now = desk.clock.monotonic();
    let mut state = desk.state.borrow_mut();
    match before {
        Some(before) => state.guards.admit(&before, now),
        None => state.guards.admit(key, now),
    }
}

/// A session watches over what this key places from now on.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct Guard {
    /// The session's own number.
    pub number: u64,
    /// The key's id.
    pub key: String,
}

impl Handler<Guard> for OrderRouter {
    type Result = Result<(), CryptoError>;

    fn handle(&mut self, Guard { number, key }: Guard, _: &mut Self::Context) -> Self::Result {
        self.desk().state.borrow_mut().guards.begin(number, key);
        Ok(())
    }
}

/// That session watches no longer.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unguard {
    /// The session's number.
    pub number: u64,
    /// It has said so: what is there stays. Else it has ended.
    pub is_released: bool,
}

impl Handler<Unguard> for OrderRouter {
    type Result = ();

    fn handle(&mut self, unguard: Unguard, _: &mut Self::Context) {
        let desk = self.desk();
        let last = desk.state.borrow_mut().guards.end(unguard.number);
        let Some(key) = last else { return };
        match unguard.is_released {
            true => release(desk, &key),
            false => disconnected(desk, key),
        }
    }
}

/// Orders of a key outlive its sessions again.
fn release(desk: &Desk, key: &str) {
    let entries: Vec<Entry> = {
        let mut state = desk.state.borrow_mut();
        let ids: Vec<OrderId> = state.ledger.guarded(Some(key)).map(|o| o.id).collect();
        let ledger = &mut state.ledger;
        let entries = ids.into_iter().filter_map(|id| {
            ledger.unguard(id);
            Some(Entry::Order(Box::new(ledger.order(id)?.clone())))
        });
        entries.collect()
    };
    // That it could not be written has been logged; then the next start cancels them.
    let _ = desk.write(&entries);
}

fn disconnected(desk: &Rc<Desk>, key: String) {
    let now = desk.clock.monotonic();
    let orders = {
        let mut state = desk.state.borrow_mut();
        state.stats.disconnects += 1;
        let orders: Vec<OrderId> = state.ledger.guarded(Some(&key)).map(|o| o.id).collect();
        state.guards.ended.insert(key.clone(), now);
        orders
    };
    tracing::warn!(provider = desk.provider.name(), account = %desk.options.name, %key,
        orders = orders.len(), "the last session that watched over a key's orders has ended; canceling them");
    abandon(desk, orders);
}

/// Cancels what was watched over by sessions of a process that has ended.
pub(crate) fn resume(desk: &Rc<Desk>) {
    let orders: Vec<OrderId> = {
        let state = desk.state.borrow();
        state.ledger.guarded(None).map(|order| order.id).collect()
    };
    if orders.is_empty() {
        return;
    }
    tracing::warn!(provider = desk.provider.name(), account = %desk.options.name, orders = orders.len(),
        "the sessions that watched over orders ended with the last process; canceling them");
    abandon(desk, orders);
}

/// All sessions end: returns when their orders are over, or after [`AT_END`].
pub(crate) async fn end_all(desk: &Rc<Desk>) {
    let orders: Vec<OrderId> = {
        let state = desk.state.borrow();
        state.ledger.guarded(None).map(|order| order.id).collect()
    };
    abandon(desk, orders);
    let end = desk.clock.monotonic() + AT_END;
    loop {
        let left = desk.state.borrow().ledger.guarded(None).count();
        if left == 0 {
            return;
        }
        if desk.clock.monotonic() >= end {
            tracing::error!(provider = desk.provider.name(), account = %desk.options.name, orders = left,
                "orders could not be canceled before the end; the next start cancels them");
            return;
        }
        desk.clock.sleep(Duration::from_millis(20)).await;
    }
}

/// Cancels orders until they are over. One such task for each order.
fn abandon(desk: &Rc<Desk>, orders: Vec<OrderId>) {
    let mut orders = orders;
    {
        let mut state = desk.state.borrow_mut();
        orders.retain(|id| state.guards.abandoned.insert(*id));
    }
    if orders.is_empty() {
        return;
    }
    let desk = desk.clone();
    crate::alive::spawn(async move {
        let mut wait = AGAIN;
        loop {
            let outcomes = flows::cancel_each(&desk, &orders).await;
            let mut left = Vec::new();
            for outcome in outcomes {
                let id = match outcome {
                    // Taken; whether it is over is seen at the next turn.
                    Ok(order) => order.id,
                    Err((id, error)) => {
                        desk.state.borrow_mut().stats.disconnect_cancels_failed += 1;
                        tracing::warn!(order = %id, %error,
                            "an order could not be canceled on disconnect; trying again");
                        id
                    }
                };
                let order = desk.order(id);
                let mut state = desk.state.borrow_mut();
                match order {
                    Some(order) if !order.status.is_final() => left.push(id),
                    order => {
                        let status = order.map(|order| order.status);
                        state.stats.disconnect_cancels +=
                            u64::from(status == Some(OrderStatus::Canceled));
                        state.guards.abandoned.remove(&id);
                        tracing::info!(order = %id, ?status, "an order ended on disconnect");
                    }
                }
            }
            if left.is_empty() {
                return;
            }
            orders = left;
            desk.clock.sleep(wait).await;
            wait = (wait * 2).min(AGAIN_MAX);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_belong_to_the_key_until_its_last_session_ends() {
        let mut guards = Guards::default();
        let at = Duration::from_secs;
        assert_eq!(guards.admit("a", at(1)), Ok(None));
        guards.begin(1, "a".to_owned());
        guards.begin(2, "a".to_owned());
        guards.begin(3, "b".to_owned());
        assert_eq!(guards.admit("a", at(2)), Ok(Some("a".to_owned())));
        assert_eq!(guards.admit("c", at(2)), Ok(None));
        assert_eq!(guards.end(1), None, "another session of the key watches");
        assert_eq!(guards.end(3), Some("b".to_owned()));
        assert_eq!(guards.end(2), Some("a".to_owned()));
        assert_eq!(guards.end(2), None, "once");
    }

    #[test]
    fn stragglers_are_refused_for_a_while() {
        let mut guards = Guards::default();
        let at = Duration::from_secs;
        guards.ended.insert("a".to_owned(), at(10));
        let error = guards.admit("a", at(12)).unwrap_err();
        assert_eq!(error.code, CryptoCode::WebsocketDisconnected);
        assert_eq!(guards.admit("b", at(12)), Ok(None));
        guards.begin(1, "a".to_owned());
        assert_eq!(guards.admit("a", at(12)), Ok(Some("a".to_owned())));
        guards.end(1);
        guards.ended.insert("a".to_owned(), at(12));
        assert_eq!(guards.admit("a", at(17)), Ok(None));
        assert!(guards.ended.is_empty(), "nothing is kept for ever");
    }
}
