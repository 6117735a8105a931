//! Which streams of one link are asked for, acknowledged and alive: pure bookkeeping over time.
//!
//! ```text
//! Wanted ──request sent──► Asked ──ack──► Live ──no longer wanted, or silent──► Leaving ──► gone
//!    ▲                       │ error, or no answer in time                        │    (or Wanted)
//!    └──────after a pause────┘◄──────────────────────────────────────────────────┘
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::exchange::{ConnectionLimits, Exchange, Feed};
use bookwire_engine::instrument::Market;

use super::backoff::{HostMessages, SlidingCount};
use crate::upstream::StreamKey;

/// A request without an answer for this long has failed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause before a failed stream is asked for again.
const RETRY_MAX: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be asked for, not before this time.
    Wanted(Duration),
    /// Asked for by a request that has not been answered.
    Asked,
    /// Acknowledged, at this time.
    Live(Duration),
    /// To be left; asked for again afterwards when `again` says so.
    Leaving { again: bool },
}

#[derive(Debug)]
struct Entry {
    key: StreamKey,
    phase: Phase,
    failures: u32,
    /// How often it was acknowledged and then lost without having lasted.
    losses: u32,
    /// Silence: how often it was acted on since the stream was last heard, and when.
    rounds: u32,
    checked_at: Duration,
    is_stale_told: bool,
}

#[derive(Debug)]
struct Request {
    names: Vec<Arc<str>>,
    is_subscribe: bool,
    deadline: Duration,
}

/// What a stream's silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Silent for too long, for the `rounds`-th time in a row.
    Stale {
        /// Which.
        key: StreamKey,
        /// Counted from 1.
        rounds: u32,
    },
    /// It was told to be silent, and data came again.
    Recovered {
        /// Which.
        key: StreamKey,
    },
}

/// The streams of one link.
#[derive(Debug)]
pub struct Ledger {
    entries: BTreeMap<Arc<str>, Entry>,
    pending: AHashMap<u64, Request>,
    /// Requests that wait for the exchange's limit.
    queue: VecDeque<(u64, String)>,
    next_id: u64,
    sent: SlidingCount,
    /// Messages that count over all connections of the host.
    host: Option<HostMessages>,
    /// Requests in an hour.
    requests: Option<SlidingCount>,
    is_used_up: bool,
    limits: ConnectionLimits,
    revision: Option<u64>,
}

impl Ledger {
    /// A link without streams. `host` counts messages over all connections, where the exchange
    /// does; `requests_per_hour` is its limit on requests of one connection, where it has one.
    #[must_use]
    pub fn new(
        limits: ConnectionLimits,
        host: Option<HostMessages>,
        requests_per_hour: Option<u32>,
    ) -> Self {
        Self {
            entries: BTreeMap::new(),
            pending: AHashMap::new(),
            queue: VecDeque::new(),
            next_id: 1,
            sent: SlidingCount::new(limits.messages_per_second as usize, SECOND),
            host,
            // A little less: the exchange's hour may be longer than ours.
            requests: requests_per_hour
                .map(|most| SlidingCount::new(most.saturating_sub(most / 20) as usize, HOUR)),
            is_used_up: false,
            limits,
            revision: None,
        }
    }

    /// Takes what is wanted now; cheap when the revision is the one of the last call.
    pub fn want(&mut self, streams: &BTreeMap<Arc<str>, StreamKey>, revision: u64) {
        if self.revision == Some(revision) {
            return;
        }
        self.revision = Some(revision);
        for (name, entry) in &mut self.entries {
            let is_wanted = streams.contains_key(name);
            entry.phase = match (entry.phase, is_wanted) {
                (_, false) => Phase::Leaving { again: false },
                (Phase::Leaving { .. }, true) => Phase::Leaving { again: true },
                (phase, true) => phase,
            };
        }
        for (name, key) in streams {
            self.entries.entry(name.clone()).or_insert(Entry {
                key: *key,
                phase: Phase::Wanted(Duration::ZERO),
                failures: 0,
                losses: 0,
                rounds: 0,
                checked_at: Duration::ZERO,
                is_stale_told: false,
            });
        }
    }

    /// True when one more message may be sent now, by the limits of the connection and of the host;
    /// counts it.
    pub fn take_message(&mut self, now: Duration) -> bool {
        if self.sent.check(now).is_err() {
            return false;
        }
        let is_free = |host: &HostMessages| host.lock().take(now).is_ok();
        self.host.as_ref().is_none_or(is_free) && self.sent.take(now).is_ok()
    }

    /// Counts a message that goes out whatever the limits say: those that open a connection.
    pub fn count_message(&mut self, now: Duration) {
        if let Some(host) = &self.host {
            host.lock().count(now);
        }
        self.sent.count(now);
        if let Some(requests) = &mut self.requests {
            requests.count(now);
        }
    }

    /// True when requests wait because the connection has sent all that it may in an hour: another
    /// one may send at once.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.is_used_up
    }

    /// The next request to send, if there is one and the exchange's limit allows it now.
    pub fn next_request(
        &mut self,
        exchange: &dyn Exchange,
        market: Market,
        now: Duration,
    ) -> Option<String> {
        if self.queue.is_empty() {
            self.make_requests(exchange, market, now);
        }
        if self.queue.is_empty() {
            self.is_used_up = false;
            return None;
        }
        let requests = self.requests.as_mut();
        self.is_used_up = requests.is_some_and(|requests| requests.check(now).is_err());
        if self.is_used_up || !self.take_message(now) {
            return None;
        }
        if let Some(requests) = &mut self.requests {
            requests.count(now);
        }
        let (id, text) = self.queue.pop_front()?;
        if let Some(request) = self.pending.get_mut(&id) {
            request.deadline = now + ANSWER_TIMEOUT;
        }
        Some(text)
    }

    /// Turns what is due into requests: streams to leave before streams to join.
    fn make_requests(&mut self, exchange: &dyn Exchange, market: Market, now: Duration) {
        let most = self.limits.streams_per_request.max(1);
        let pick = |entries: &BTreeMap<Arc<str>, Entry>, fits: &dyn Fn(Phase) -> bool| {
            entries
                .iter()
                .filter(|(_, entry)| fits(entry.phase))
                .take(most)
                .map(|(name, _)| name.clone())
                .collect::<Vec<Arc<str>>>()
        };
        let leaving = pick(&self.entries, &|phase| {
            matches!(phase, Phase::Leaving { .. })
        });
        let (names, is_subscribe) = if leaving.is_empty() {
            let is_due = |phase| matches!(phase, Phase::Wanted(from) if from <= now);
            (pick(&self.entries, &is_due), true)
        } else {
            (leaving, false)
        };
        if names.is_empty() {
            return;
        }
        for name in &names {
            let Some(entry) = self.entries.get_mut(name) else {
                continue;
            };
            match entry.phase {
                Phase::Leaving { again: false } => {
                    self.entries.remove(name);
                }
                // Requests are served in order: the next one may ask for it again.
                Phase::Leaving { again: true } => entry.phase = Phase::Wanted(now),
                _ => entry.phase = Phase::Asked,
            }
        }
        let list: Vec<&str> = names.iter().map(|name| &**name).collect();
        let requests = match is_subscribe {
            true => exchange.subscribe_requests(market, &list, self.next_id),
            false => exchange.unsubscribe_requests(market, &list, self.next_id),
        };
        for request in requests {
            self.next_id = self.next_id.max(request.id + 1);
            let names = request.streams.iter().filter_map(|at| names.get(*at));
            let pending = Request {
                names: names.cloned().collect(),
                is_subscribe,
                // It runs from when the request is sent.
                deadline: Duration::MAX,
            };
            self.pending.insert(request.id, pending);
            self.queue.push_back((request.id, request.text));
        }
    }

    /// The exchange answers stream by stream: one is subscribed. The feed that is live because of
    /// it.
    pub fn on_stream_ack(&mut self, name: &str, now: Duration) -> Option<StreamKey> {
        let entry = self.entries.get_mut(name)?;
        let key = (entry.phase == Phase::Asked).then(|| {
            entry.phase = Phase::Live(now);
            entry.failures = 0;
            entry.checked_at = now;
            entry.key
        });
        self.drop_answered();
        key
    }

    /// The exchange answers with all that is subscribed: the feeds that are live because of it.
    pub fn on_list(&mut self, names: &[String], now: Duration) -> Vec<StreamKey> {
        let live = names.iter().filter_map(|name| {
            let entry = self.entries.get_mut(name.as_str())?;
            (entry.phase == Phase::Asked).then(|| {
                entry.phase = Phase::Live(now);
                entry.failures = 0;
                entry.checked_at = now;
                entry.key
            })
        });
        let live = live.collect();
        self.drop_answered();
        live
    }

    /// One stream was refused by name.
    pub fn on_stream_error(&mut self, name: &str, now: Duration) -> Vec<Arc<str>> {
        let Some((name, entry)) = self.entries.get_key_value(name) else {
            return Vec::new();
        };
        if entry.phase != Phase::Asked {
            return Vec::new();
        }
        let name = name.clone();
        let failed = self.postpone([name], now);
        self.drop_answered();
        failed
    }

    /// A stream that was acknowledged has ended at the other side: it is asked for again after a
    /// pause. The feed that is down because of it.
    pub fn on_stream_lost(&mut self, name: &str, now: Duration) -> Option<StreamKey> {
        let entry = self.entries.get_mut(name)?;
        let Phase::Live(since) = entry.phase else {
            return None;
        };
        // One that lasted was good: the pause is short again.
        if now.saturating_sub(since) >= RETRY_MAX {
            entry.losses = 0;
        }
        let pause = Duration::from_secs(1 << entry.losses.min(6)).min(RETRY_MAX);
        entry.losses += 1;
        entry.phase = Phase::Wanted(now + pause);
        // Told by the caller: its next message is news.
        entry.is_stale_told = entry.key.feed != Feed::Book;
        entry.checked_at = now;
        Some(entry.key)
    }

    /// Requests of which every stream has been answered one by one. Those to leave streams have
    /// nothing left to be answered.
    fn drop_answered(&mut self) {
        let entries = &self.entries;
        self.pending.retain(|_, request| {
            let is_asked = |name: &Arc<str>| {
                entries
                    .get(name)
                    .is_some_and(|entry| entry.phase == Phase::Asked)
            };
            request.deadline == Duration::MAX
                || (request.is_subscribe && request.names.iter().any(is_asked))
        });
    }

    /// A request succeeded: the streams that are live because of it.
    pub fn on_ack(&mut self, id: u64, now: Duration) -> Vec<StreamKey> {
        let Some(request) = self.pending.remove(&id).filter(|r| r.is_subscribe) else {
            return Vec::new();
        };
        let mut live = Vec::new();
        for name in &request.names {
            if let Some(entry) = self.entries.get_mut(name)
                && entry.phase == Phase::Asked
            {
                entry.phase = Phase::Live(now);
                entry.failures = 0;
                entry.checked_at = now;
                live.push(entry.key);
            }
        }
        live
    }

    /// A request failed. Without an id nobody can tell which: then all that wait have.
    pub fn on_error(&mut self, id: Option<u64>, now: Duration) -> Vec<Arc<str>> {
        let ids: Vec<u64> = match id {
            Some(id) => vec![id],
            None => self
                .pending
                .iter()
                .filter(|(_, request)| request.deadline != Duration::MAX)
                .map(|(id, _)| *id)
                .collect(),
        };
        ids.into_iter().flat_map(|id| self.fail(id, now)).collect()
    }

    /// Requests that were not answered in time: the streams that are asked for again.
    pub fn expire(&mut self, now: Duration) -> Vec<Arc<str>> {
        let late: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, request)| request.deadline <= now)
            .map(|(id, _)| *id)
            .collect();
        late.into_iter().flat_map(|id| self.fail(id, now)).collect()
    }

    fn fail(&mut self, id: u64, now: Duration) -> Vec<Arc<str>> {
        let Some(request) = self.pending.remove(&id).filter(|r| r.is_subscribe) else {
            return Vec::new();
        };
        self.postpone(request.names, now)
    }

    /// Streams that were asked for in vain: they are asked for again after a pause.
    fn postpone(
        &mut self,
        names: impl IntoIterator<Item = Arc<str>>,
        now: Duration,
    ) -> Vec<Arc<str>> {
        let mut failed = Vec::new();
        for name in names {
            if let Some(entry) = self.entries.get_mut(&name)
                && entry.phase == Phase::Asked
            {
                let pause = Duration::from_secs(1 << entry.failures.min(6)).min(RETRY_MAX);
                entry.failures += 1;
                entry.phase = Phase::Wanted(now + pause);
                failed.push(name);
            }
        }
        failed
    }

    /// Looks for streams that were silent for too long. The patience doubles each time, so that a
    /// quiet instrument is not asked for all the time. Those that are stale are asked for again
    /// when `renew` says so.
    pub fn check_silence(
        &mut self,
        now: Duration,
        limit: impl Fn(StreamKey) -> Option<Duration>,
        heard: impl Fn(StreamKey) -> Duration,
        renew: impl Fn(StreamKey) -> bool,
    ) -> Vec<Silence> {
        let mut found = Vec::new();
        for entry in self.entries.values_mut() {
            let Phase::Live(since) = entry.phase else {
                continue;
            };
            let (key, heard) = (entry.key, heard(entry.key));
            if heard > entry.checked_at {
                entry.rounds = 0;
                if std::mem::take(&mut entry.is_stale_told) {
                    found.push(Silence::Recovered { key });
                }
            }
            let Some(limit) = limit(key) else { continue };
            let last = heard.max(since).max(entry.checked_at);
            let patience = limit.saturating_mul(1 << entry.rounds.min(6));
            if now.saturating_sub(last) <= patience {
                continue;
            }
            entry.rounds += 1;
            entry.checked_at = now;
            let rounds = entry.rounds;
            if renew(key) {
                entry.is_stale_told = true;
                entry.phase = Phase::Leaving { again: true };
            }
            found.push(Silence::Stale { key, rounds });
        }
        found
    }

    /// Asks for a stream again.
    pub fn renew(&mut self, key: StreamKey) {
        for entry in self.entries.values_mut().filter(|e| e.key == key) {
            if matches!(entry.phase, Phase::Live(_)) {
                entry.phase = Phase::Leaving { again: true };
            }
        }
    }

    /// Streams that are acknowledged.
    pub fn live(&self) -> impl Iterator<Item = StreamKey> {
        let is_live = |entry: &&Entry| matches!(entry.phase, Phase::Live(_));
        self.entries.values().filter(is_live).map(|entry| entry.key)
    }

    /// Streams of this link, whatever their phase.
    pub fn keys(&self) -> impl Iterator<Item = StreamKey> {
        self.entries.values().map(|entry| entry.key)
    }

    /// True when all that is wanted is acknowledged.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let mut entries = self.entries.values();
        entries.all(|entry| matches!(entry.phase, Phase::Live(_)))
    }

    /// Share of the streams with a silence limit that are stale now, as (stale, all).
    pub fn stale(&self, limit: impl Fn(StreamKey) -> Option<Duration>) -> (usize, usize) {
        let judged = self.entries.values().filter(|e| limit(e.key).is_some());
        judged.fold((0, 0), |(stale, all), entry| {
            (stale + usize::from(entry.rounds >= 2), all + 1)
        })
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
