//! The bounded queue between the dispatcher and one client's socket.
//!
//! Bodies are shared; prefix, `seq` and body are put together only when the socket takes them, so a
//! message that is dropped or replaced was never copied. `seq` is given when a message is accepted:
//! every number that a client does not see is inside a `system.flow` notice, which goes out before
//! the next message of that subscription.
//!
//! What a client gets of a book in delta mode can always be applied: the gate of the subscription
//! passes an update only when it continues what the client has, else it waits for a snapshot and
//! asks for one once the client has caught up.

use std::collections::VecDeque;
use std::rc::Rc;

use bookwire_engine::time::TsNanos;
use bookwire_engine::wire;
use bytes::Bytes;

use super::flow::{Close, DropPolicy, Gap, OutboxLimits};
use super::sub::{Admission, Entry, Gate, Queued, Sub};
pub use super::sub::{Batch, OutboxStats, SubSpec};
use crate::ring::{PubKind, Publication};
use crate::topic::Slot;
use crate::worker::Written;

/// Requests' answers and notices that may wait; more means that a client sends without reading.
const CONTROL_MAX: usize = 512;

/// Bytes of answers that may wait.
const CONTROL_BYTES_MAX: usize = 8 << 20;

/// Status notices that may wait in line with the data.
const NOTES_MAX: usize = 4096;

/// A subscription inside its outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubKey(u32);

/// A client's queue. See the module's text.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    subs: Vec<Option<Sub>>,
    free: Vec<u32>,
    control: VecDeque<Bytes>,
    control_bytes: usize,
    queue: VecDeque<Entry>,
    /// Ticket of the queue's front.
    base: u64,
    live: usize,
    notes: usize,
    bytes: usize,
    ping: bool,
    closing: Option<Close>,
    is_closed: bool,
    per_second: u32,
    allowance: u32,
    refresh: Vec<Slot>,
    wanting: usize,
    stats: OutboxStats,
    written: Rc<Written>,
}

impl Outbox {
    /// An empty queue.
    #[must_use]
    pub fn new(limits: OutboxLimits, written: Rc<Written>) -> Self {
        Self {
            limits,
            subs: Vec::new(),
            free: Vec::new(),
            control: VecDeque::new(),
            control_bytes: 0,
            queue: VecDeque::new(),
            base: 0,
            live: 0,
            notes: 0,
            bytes: 0,
            ping: false,
            closing: None,
            is_closed: false,
            per_second: 0,
            allowance: 0,
            refresh: Vec::new(),
            wanting: 0,
            stats: OutboxStats::default(),
            written,
        }
    }

    /// Takes a subscription in. A delta book waits for its first snapshot.
    pub fn add(&mut self, spec: SubSpec) -> SubKey {
        self.written.meter().subscriptions.up();
        let sub = Sub::new(spec);
        match self.free.pop() {
            Some(index) => {
                self.subs[index as usize] = Some(sub);
                SubKey(index)
            }
            None => {
                self.subs.push(Some(sub));
                SubKey((self.subs.len() - 1) as u32)
            }
        }
    }

    /// Forgets a subscription and all that waits for it.
    pub fn remove(&mut self, key: SubKey) {
        let Some(sub) = self.subs.get_mut(key.0 as usize).and_then(Option::take) else {
            return;
        };
        self.written.meter().subscriptions.down();
        if sub.wants_snapshot {
            self.wanting -= 1;
        }
        for ticket in sub.tickets {
            self.take_back(ticket, sub.prefix.len());
        }
        // A marker of this subscription must not speak for the next one with the same key.
        if sub.has_marker {
            for entry in &mut self.queue {
                if matches!(entry, Entry::Flow(index) if *index == key.0) {
                    *entry = Entry::Gone;
                }
            }
        }
        self.free.push(key.0);
        self.trim();
    }

    /// Changes a subscription's policy and timing.
    pub fn update(&mut self, key: SubKey, change: impl FnOnce(&mut DropPolicy, &mut bool)) {
        if let Some(sub) = self.sub_mut(key) {
            change(&mut sub.spec.policy, &mut sub.spec.timing);
        }
    }

    /// Uses other limits from now on.
    pub fn set_limits(&mut self, limits: OutboxLimits) {
        self.limits = limits;
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> OutboxLimits {
        self.limits
    }

    /// At most so many market messages a second; 0: as many as the socket takes. The allowance is
    /// renewed by [`Outbox::refill`].
    pub fn set_rate(&mut self, per_second: u32) {
        self.per_second = per_second;
        self.allowance = per_second.div_ceil(10);
    }

    /// The rate in force, 0: unlimited.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.per_second
    }

    /// Renews the allowance of a tenth of a second; `tenth` counts them, so that a rate that ten
    /// does not divide is met within each second.
    pub fn refill(&mut self, tenth: u64) {
        let rate = u64::from(self.per_second);
        let part = rate * (tenth % 10 + 1) / 10 - rate * (tenth % 10) / 10;
        self.allowance = u32::try_from(part).unwrap_or(u32::MAX);
    }

    /// A message of the subscription's topic.
    pub fn offer(&mut self, key: SubKey, publication: &Publication) {
        if self.closing.is_some() {
            return;
        }
        let (live, limits) = (self.live, self.limits);
        let is_pressed = live >= limits.messages / 2 || self.bytes >= limits.bytes / 2;
        let Some(sub) = self.subs.get_mut(key.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        match sub.admit(publication) {
            Admission::Skip => return,
            Admission::OutOfStep => {
                self.want_snapshot(key);
                return;
            }
            Admission::Take => {}
        }
        let seq = sub.next_seq;
        sub.next_seq += 1;
        let policy = sub.spec.policy;
        let is_delta = sub.spec.kind.is_delta();
        let newest = sub.tickets.back().copied();
        let cost = sub.prefix.len() + publication.body.len();
        if is_pressed
            && policy == DropPolicy::Conflate
            && !is_delta
            && let Some(ticket) = newest
            && self.replace(ticket, seq, publication)
        {
            return;
        }
        if live >= limits.messages || self.bytes + cost > limits.bytes {
            let is_update = publication.kind == PubKind::BookUpdate;
            match policy {
                DropPolicy::Disconnect => return self.too_slow(),
                DropPolicy::Newest => return self.refuse(key, seq),
                DropPolicy::Oldest | DropPolicy::Conflate if is_delta => {
                    // Changes without those before them are worth nothing.
                    self.purge(key);
                    if is_update {
                        return self.refuse(key, seq);
                    }
                }
                DropPolicy::Oldest | DropPolicy::Conflate => {}
            }
            self.make_room(key, cost);
            if self.bytes + cost > limits.bytes.saturating_mul(2) {
                return self.too_slow();
            }
        }
        self.push(Queued {
            sub: key.0,
            kind: publication.kind,
            seq,
            ts_recv: publication.ts_recv,
            read_at: publication.read_at,
            taken_at: publication.stage_at,
            body: publication.body.clone(),
        });
    }

    /// Messages of the topic were lost before they came here.
    pub fn lost(&mut self, key: SubKey, count: u64) {
        if count == 0 || self.closing.is_some() {
            return;
        }
        let Some(sub) = self.sub_mut(key) else { return };
        let is_waiting = sub.gate == Gate::Waiting;
        if sub.spec.kind.is_delta() {
            sub.gate = Gate::Waiting;
        }
        if is_waiting {
            // It would not have got them anyway.
            return;
        }
        let seq = sub.next_seq;
        sub.next_seq += count;
        self.note_gap(key, Gap::of(seq, count));
    }

    /// A ready message that keeps its place among the data: `system.status`.
    pub fn note(&mut self, message: Bytes) {
        if self.closing.is_some() {
            return;
        }
        if self.notes >= NOTES_MAX {
            return self.too_slow();
        }
        self.notes += 1;
        self.queue.push_back(Entry::Note(message));
    }

    /// An answer to a request: goes out before all data, never dropped.
    pub fn control(&mut self, message: Bytes) {
        if self.closing.is_some() {
            return;
        }
        if self.control.len() >= CONTROL_MAX
            || self.control_bytes + message.len() > CONTROL_BYTES_MAX
        {
            return self.too_slow();
        }
        self.control_bytes += message.len();
        self.control.push_back(message);
    }

    /// Asks for a WebSocket ping.
    pub fn ping(&mut self) {
        self.ping = true;
    }

    /// Closes once the answers that wait are written; data that wait are dropped. Only the first
    /// call counts.
    pub fn close(&mut self, close: Close) {
        if self.closing.is_some() {
            return;
        }
        self.closing = Some(close);
        self.queue.clear();
        self.live = 0;
        self.notes = 0;
        self.bytes = 0;
        for sub in self.subs.iter_mut().flatten() {
            sub.tickets.clear();
        }
    }

    /// The close that was asked for, sent or not.
    #[must_use]
    pub fn closing(&self) -> Option<&Close> {
        self.closing.as_ref()
    }

    /// True when [`Outbox::pull`] would bring something.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        if self.is_closed {
            return false;
        }
        let may_send = self.per_second == 0 || self.allowance > 0;
        self.ping
            || self.closing.is_some()
            || !self.control.is_empty()
            || (may_send && !self.queue.is_empty())
    }

    /// Market messages that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.live
    }

    /// True when no market message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> OutboxStats {
        self.stats
    }

    /// Topics whose last state is needed anew.
    pub fn take_refresh(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.refresh)
    }

    /// Delta books that wait for a snapshot.
    pub fn waiting(&self) -> impl Iterator<Item = Slot> {
        self.subs
            .iter()
            .flatten()
            .filter(|sub| sub.gate == Gate::Waiting && !sub.wants_snapshot)
            .map(|sub| sub.spec.slot)
    }

    /// Moves what is ready into `batch` until it holds `room` bytes or more.
    pub fn pull(&mut self, now: TsNanos, room: usize, batch: &mut Batch) {
        if self.is_closed {
            return;
        }
        batch.ping |= std::mem::take(&mut self.ping);
        while batch.text.len() < room {
            let Some(message) = self.control.pop_front() else {
                break;
            };
            self.control_bytes -= message.len();
            batch.text.extend_from_slice(&message);
            batch.ends.push(batch.text.len());
        }
        if !self.control.is_empty() {
            return;
        }
        if let Some(close) = &self.closing {
            batch.close = Some(close.clone());
            self.is_closed = true;
            return;
        }
        while batch.text.len() < room && (self.per_second == 0 || self.allowance > 0) {
            let Some(entry) = self.queue.pop_front() else {
                break;
            };
            self.base += 1;
            self.write(entry, now, batch);
        }
        if self.wanting > 0 && self.has_caught_up() {
            self.wanting = 0;
            for sub in self.subs.iter_mut().flatten() {
                if std::mem::take(&mut sub.wants_snapshot) {
                    self.refresh.push(sub.spec.slot);
                }
            }
        }
    }

    fn write(&mut self, entry: Entry, now: TsNanos, batch: &mut Batch) {
        match entry {
            Entry::Gone => {}
            Entry::Note(message) => {
                self.notes -= 1;
                batch.text.extend_from_slice(&message);
                batch.ends.push(batch.text.len());
            }
            Entry::Flow(index) => {
                if let Some(sub) = self.sub_mut(SubKey(index)) {
                    sub.has_marker = false;
                    sub.tell_gap(batch);
                }
            }
            Entry::Data(queued) => {
                let Some(sub) = self.sub_mut(SubKey(queued.sub)) else {
                    return;
                };
                sub.tickets.pop_front();
                if sub.gap.is_some_and(|gap| gap.from_seq < queued.seq) {
                    sub.tell_gap(batch);
                }
                let timing = sub.spec.timing.then_some((queued.ts_recv, now));
                let out = &mut batch.text;
                wire::message(out, &sub.prefix, queued.seq, &queued.body, timing);
                batch.ends.push(out.len());
                let cost = sub.prefix.len() + queued.body.len();
                self.live -= 1;
                self.bytes -= cost;
                self.written.pulled(queued.read_at, queued.taken_at);
                self.written.meter().sent.add(1);
                self.stats.sent += 1;
                self.allowance = self.allowance.saturating_sub(1);
            }
        }
    }

    fn sub_mut(&mut self, key: SubKey) -> Option<&mut Sub> {
        self.subs.get_mut(key.0 as usize).and_then(Option::as_mut)
    }

    fn has_caught_up(&self) -> bool {
        self.live <= self.limits.messages / 2 && self.bytes <= self.limits.bytes / 2
    }

    fn push(&mut self, queued: Queued) {
        // Messages that were taken back leave holes; a client that never reads must not make the
        // queue grow with them.
        if self.queue.len() > 2 * (self.live + self.notes) + 1024 {
            self.compact();
        }
        let ticket = self.base + self.queue.len() as u64;
        let Some(sub) = self.sub_mut(SubKey(queued.sub)) else {
            return;
        };
        sub.tickets.push_back(ticket);
        self.bytes += sub.prefix.len() + queued.body.len();
        self.live += 1;
        self.queue.push_back(Entry::Data(queued));
    }

    /// Puts a later state in the place of one that waits, when that one may be replaced.
    fn replace(&mut self, ticket: u64, seq: u64, publication: &Publication) -> bool {
        let index = (ticket - self.base) as usize;
        let Some(Entry::Data(waiting)) = self.queue.get_mut(index) else {
            return false;
        };
        if !matches!(waiting.kind, PubKind::Event | PubKind::LastState) {
            return false;
        }
        let replaced = waiting.seq;
        let key = SubKey(waiting.sub);
        self.bytes = self.bytes + publication.body.len() - waiting.body.len();
        waiting.kind = publication.kind;
        waiting.seq = seq;
        waiting.ts_recv = publication.ts_recv;
        waiting.read_at = publication.read_at;
        waiting.taken_at = publication.stage_at;
        waiting.body = publication.body.clone();
        // Told before the new state, which stands where the old one stood.
        self.count_dropped(1);
        if let Some(sub) = self.sub_mut(key) {
            let gap = Gap::of(replaced, 1);
            sub.gap = Some(sub.gap.map_or(gap, |old| old.join(gap)));
        }
        true
    }

    /// Takes the oldest of the subscription's own messages, or of the one with the most, out until
    /// a message of `cost` bytes fits. The last message of a subscription stays.
    fn make_room(&mut self, key: SubKey, cost: usize) {
        while self.live >= self.limits.messages || self.bytes + cost > self.limits.bytes {
            let own = self.sub_mut(key).map_or(0, |sub| sub.tickets.len());
            let victim = if own > 0 {
                Some(key)
            } else {
                let longest = self.subs.iter().enumerate();
                longest
                    .filter_map(|(index, sub)| Some((sub.as_ref()?.tickets.len(), index)))
                    .max()
                    .filter(|(waiting, _)| *waiting > 1)
                    .map(|(_, index)| SubKey(index as u32))
            };
            let Some(victim) = victim else { break };
            let Some(sub) = self.sub_mut(victim) else {
                break;
            };
            if sub.spec.kind.is_delta() {
                self.purge(victim);
                self.want_snapshot(victim);
                continue;
            }
            let overhead = sub.prefix.len();
            let Some(ticket) = sub.tickets.pop_front() else {
                break;
            };
            if let Some(seq) = self.take_back(ticket, overhead) {
                self.note_gap(victim, Gap::of(seq, 1));
            }
        }
        self.trim();
    }

    /// Takes everything of a subscription back; a delta book starts over.
    fn purge(&mut self, key: SubKey) {
        let Some(sub) = self.sub_mut(key) else { return };
        let overhead = sub.prefix.len();
        for ticket in std::mem::take(&mut sub.tickets) {
            if let Some(seq) = self.take_back(ticket, overhead) {
                self.note_gap(key, Gap::of(seq, 1));
            }
        }
        self.trim();
    }

    fn refuse(&mut self, key: SubKey, seq: u64) {
        self.note_gap(key, Gap::of(seq, 1));
        if self
            .sub_mut(key)
            .is_some_and(|sub| sub.spec.kind.is_delta())
        {
            self.want_snapshot(key);
        }
    }

    /// The book starts over from a snapshot, asked for when the client has caught up: earlier it
    /// would only be dropped again.
    fn want_snapshot(&mut self, key: SubKey) {
        self.stats.restarts += 1;
        self.written.meter().restarts.add(1);
        let is_now = self.has_caught_up();
        let Some(sub) = self.sub_mut(key) else { return };
        sub.gate = Gate::Waiting;
        let slot = sub.spec.slot;
        if is_now {
            self.refresh.push(slot);
        } else if !std::mem::replace(&mut sub.wants_snapshot, true) {
            self.wanting += 1;
        }
    }

    fn note_gap(&mut self, key: SubKey, gap: Gap) {
        self.count_dropped(gap.dropped);
        let Some(sub) = self.sub_mut(key) else { return };
        sub.gap = Some(sub.gap.map_or(gap, |old| old.join(gap)));
        if !std::mem::replace(&mut sub.has_marker, true) {
            self.queue.push_back(Entry::Flow(key.0));
        }
    }

    fn count_dropped(&mut self, count: u64) {
        self.stats.dropped += count;
        self.written.meter().dropped.add(count);
    }

    fn take_back(&mut self, ticket: u64, overhead: usize) -> Option<u64> {
        let index = (ticket - self.base) as usize;
        let entry = self.queue.get_mut(index)?;
        let Entry::Data(queued) = std::mem::replace(entry, Entry::Gone) else {
            return None;
        };
        self.live -= 1;
        self.bytes -= overhead + queued.body.len();
        Some(queued.seq)
    }

    fn trim(&mut self) {
        while matches!(self.queue.front(), Some(Entry::Gone)) {
            self.queue.pop_front();
            self.base += 1;
        }
    }

    fn compact(&mut self) {
        for sub in self.subs.iter_mut().flatten() {
            sub.tickets.clear();
        }
        self.queue.retain(|entry| !matches!(entry, Entry::Gone));
        for (index, entry) in self.queue.iter().enumerate() {
            if let Entry::Data(queued) = entry
                && let Some(Some(sub)) = self.subs.get_mut(queued.sub as usize)
            {
                sub.tickets.push_back(self.base + index as u64);
            }
        }
    }

    fn too_slow(&mut self) {
        let waiting = self.live + self.notes + self.control.len();
        self.close(Close::policy(format!(
            "slow: {waiting} messages waited to be read; read faster or subscribe to less"
        )));
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        for _ in self.subs.iter().flatten() {
            self.written.meter().subscriptions.down();
        }
    }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
