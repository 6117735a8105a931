//! What a connection notices because something does not happen: dead links, requests without an
//! answer, streams that are acknowledged and say nothing.

use std::sync::Arc;
use std::time::Duration;

use actix::Context;
use bookwire_engine::book::sync::DesyncReason;
use bookwire_engine::exchange::Feed;

use super::ledger::Silence;
use super::{ExchangeConnection, links};
use crate::state::effect::Effect;
use crate::upstream::StreamKey;

/// A link without any data for this long is suspect when its streams stay silent after having been
/// asked for again.
const MUTE: Duration = Duration::from_secs(60);

impl ExchangeConnection {
    /// Dead links, late answers.
    pub(super) fn check_links(&mut self, now: Duration, ctx: &mut Context<Self>) {
        let silence = Duration::from_secs(self.setup.limits.silence_secs);
        let keepalive = self.exchange.keepalive(self.setup.plan.borrow().market);
        let mut dead = Vec::new();
        let mut late = Vec::new();
        for link in links(&mut self.current, &mut self.successor) {
            let silent = now.saturating_sub(link.inbound_at);
            if silent >= silence {
                dead.push(link.id);
            } else if silent >= silence / 2 && !link.has_pinged && link.ledger.take_message(now) {
                // A half-open socket looks like a quiet one until somebody asks.
                link.has_pinged = true;
                link.out.ping();
            }
            if let Some(keepalive) = keepalive
                && now.saturating_sub(link.kept_at) >= Duration::from_secs(keepalive.every_secs)
                && link.ledger.take_message(now)
            {
                link.kept_at = now;
                link.out.text(keepalive.text.to_owned());
            }
            late.extend(link.ledger.expire(now));
        }
        self.subscribe_failed(&late, "not acknowledged");
        for id in dead {
            self.lose(id, "silent for too long", ctx);
        }
    }

    pub(super) fn subscribe_failed(&self, names: &[Arc<str>], reason: &str) {
        if names.is_empty() {
            return;
        }
        let state = self.setup.state.borrow();
        state.counters().subscribe_failures.add(names.len() as u64);
        tracing::warn!(
            provider = self.provider.name(), connection = %self.name, ?names, reason,
            "subscribe failed, trying again"
        );
    }

    /// Streams that are acknowledged and say nothing.
    pub(super) fn check_silence(&mut self, now: Duration, ctx: &mut Context<Self>) {
        let Some((link, _)) = &mut self.current else {
            return;
        };
        let exchange = self.exchange;
        let limit = |key: StreamKey| {
            exchange
                .silence_limit_secs(key.feed)
                .map(Duration::from_secs)
        };
        let mut state = self.setup.state.borrow_mut();
        // A book's silence is judged by comparing it with a snapshot first.
        let found = link.ledger.check_silence(
            now,
            limit,
            |key| state.heard(key.instrument, key.feed),
            |key| key.feed != Feed::Book,
        );
        for silence in found {
            match silence {
                Silence::Stale { key, .. } if key.feed == Feed::Book => {
                    state.effects().push(Effect::CheckBook(key.instrument));
                }
                // Told once: a quiet instrument's best prices need no message a minute.
                Silence::Stale { key, rounds } => {
                    state.on_silence(key.instrument, key.feed, rounds == 1);
                }
                Silence::Recovered { key } => state.on_recovery(key.instrument, key.feed),
            }
        }
        let behind: Vec<StreamKey> = link
            .ledger
            .live()
            .filter(|key| state.is_behind(key.instrument, key.feed, now))
            .collect();
        for key in behind {
            state.counters().stale_streams.add(1);
            state.desync(key.instrument, DesyncReason::Stale);
            link.ledger.renew(key);
        }
        // Books are judged by snapshots: their silence alone condemns no connection.
        let (stale, all) = link.ledger.stale(|key| match key.feed {
            Feed::Book => None,
            _ => limit(key),
        });
        drop(state);
        let quiet_since = link.data_at.unwrap_or(link.opened_at);
        let is_mute = now.saturating_sub(quiet_since) > MUTE;
        // Asking again did not help, and it is not just one quiet instrument among others.
        if stale > 0 && stale * 2 >= all && is_mute {
            let id = link.id;
            self.lose(id, "acknowledged streams stay silent", ctx);
        }
        let live = self
            .current
            .as_ref()
            .map_or(0, |(link, _)| link.ledger.live().count());
        self.setup.plan.borrow_mut().live = live;
    }
}
