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

use bytes::Bytes;

use super::flow::{Close, DropPolicy, Gap, OutboxLimits};
use super::line::{Bucket, Line};
use super::sub::{Admission, Entry, Gate, Queued, Sub};
pub use super::sub::{Batch, OutboxStats, SubSpec};
use crate::ring::{PubKind, Publication};
use crate::topic::Slot;
use crate::worker::Written;

mod drain;
mod limits;

/// Requests' answers and notices that may wait; more means that a client sends without reading.
const CONTROL_MAX: usize = 512;

/// Bytes of answers that may wait.
const CONTROL_BYTES_MAX: usize = 8 << 20;

/// Status notices that may wait in line with the data.
const NOTES_MAX: usize = 4096;

/// A subscription inside its outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubKey(u32);

/// What a place in a queue takes besides what it refers to: the entry itself and its ticket, bytes.
const ENTRY_BYTES: usize = size_of::<(u64, Entry)>() + size_of::<u64>();

/// A client's queue. See the module's text.
#[derive(Debug)]
pub struct Outbox {
    limits: OutboxLimits,
    subs: Vec<Option<Sub>>,
    free: Vec<u32>,
    control: VecDeque<Bytes>,
    control_bytes: usize,
    /// The connection's own line, then those of channels with limits of their own.
    lines: Vec<Line>,
    /// Place of the next entry among all lines.
    order: u64,
    /// Of the connection as a whole.
    bucket: Bucket,
    live: usize,
    notes: usize,
    /// Of the market messages that wait; shared bodies count in full.
    bytes: usize,
    /// Memory that this queue alone needs: places, notices, answers.
    own_bytes: usize,
    ping: bool,
    closing: Option<Close>,
    is_closed: bool,
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
            lines: vec![Line::new(None, limits.messages)],
            order: 0,
            bucket: Bucket::default(),
            live: 0,
            notes: 0,
            bytes: 0,
            own_bytes: 0,
            ping: false,
            closing: None,
            is_closed: false,
            refresh: Vec::new(),
            wanting: 0,
            stats: OutboxStats::default(),
            written,
        }
    }

    /// Takes a subscription in. A delta book waits for its first snapshot.
    pub fn add(&mut self, spec: SubSpec) -> SubKey {
        self.written.meter().subscriptions.up();
        let line = self.line_of(spec.labels.channel.as_deref());
        let sub = Sub::new(spec, line);
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
            self.take_back(sub.line, ticket, sub.prefix.len());
        }
        // A marker of this subscription must not speak for the next one with the same key.
        if sub.has_marker {
            for entry in self.lines[sub.line].entries_mut() {
                if matches!(entry, Entry::Flow(index) if *index == key.0) {
                    *entry = Entry::Gone;
                }
            }
            self.release(ENTRY_BYTES);
        }
        self.free.push(key.0);
        self.lines[sub.line].trim();
    }

    /// Changes a subscription's policy and timing.
    pub fn update(&mut self, key: SubKey, change: impl FnOnce(&mut DropPolicy, &mut bool)) {
        if let Some(sub) = self.sub_mut(key) {
            change(&mut sub.spec.policy, &mut sub.spec.timing);
        }
    }

    /// A message of the subscription's topic.
    pub fn offer(&mut self, key: SubKey, publication: &Publication) {
        if self.closing.is_some() {
            return;
        }
        let limits = self.limits;
        let Some(sub) = self.subs.get_mut(key.0 as usize).and_then(Option::as_mut) else {
            return;
        };
        let line_index = sub.line;
        let line = &self.lines[line_index];
        let is_behind = self.bucket.is_behind(self.live) || line.bucket.is_behind(line.live);
        let is_pressed =
            is_behind || line.live >= line.messages / 2 || self.bytes >= limits.bytes / 2;
        let is_full = line.live >= line.messages;
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
            && self.replace((line_index, ticket), seq, publication)
        {
            return;
        }
        let is_update = publication.kind == PubKind::BookUpdate;
        if is_behind && policy == DropPolicy::Conflate && is_delta && newest.is_some() {
            // The rate lets one message go now and then: that shall be the book as it is then.
            self.purge(key);
            if is_update {
                return self.refuse(key, seq);
            }
        }
        if is_full || self.bytes + cost > limits.bytes {
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
        self.hold(ENTRY_BYTES + message.len());
        self.append(0, Entry::Note(message));
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
        self.hold(message.len());
        self.control.push_back(message);
    }

    /// True while so few answers wait that many more find room.
    #[must_use]
    pub fn has_room_for_answers(&self) -> bool {
        self.control.len() < CONTROL_MAX / 2 && self.control_bytes < CONTROL_BYTES_MAX / 2
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
        for line in &mut self.lines {
            line.clear();
        }
        self.live = 0;
        self.release(self.own_bytes - self.control_bytes);
        self.notes = 0;
        self.bytes = 0;
        for sub in self.subs.iter_mut().flatten() {
            sub.tickets.clear();
            sub.has_marker = false;
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
        self.ping
            || self.closing.is_some()
            || !self.control.is_empty()
            || self.next_line().is_some()
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

    /// Memory that would be free without this queue, were nobody else to hold the same bodies.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.bytes + self.own_bytes
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

    fn sub_mut(&mut self, key: SubKey) -> Option<&mut Sub> {
        self.subs.get_mut(key.0 as usize).and_then(Option::as_mut)
    }

    /// A snapshot that is asked for now will find room, and may leave soon.
    fn has_caught_up(&self, line: usize) -> bool {
        let line = &self.lines[line];
        let is_open = self.bucket.is_open() && line.bucket.is_open();
        is_open && line.live <= line.messages / 2 && self.bytes <= self.limits.bytes / 2
    }

    fn hold(&mut self, bytes: usize) {
        self.own_bytes += bytes;
        self.written.meter().queue_bytes.add(bytes as u64);
    }

    fn release(&mut self, bytes: usize) {
        self.own_bytes -= bytes;
        self.written.meter().queue_bytes.sub(bytes as u64);
    }

    fn append(&mut self, line: usize, entry: Entry) -> u64 {
        self.order += 1;
        self.lines[line].push(self.order, entry)
    }

    fn push(&mut self, queued: Queued) {
        let key = SubKey(queued.sub);
        let Some(line) = self.sub_mut(key).map(|sub| sub.line) else {
            return;
        };
        // Messages that were taken back leave holes; a client that never reads must not make the
        // queue grow with them.
        if self.lines[line].places() > 2 * (self.lines[line].live + self.notes) + 1024 {
            self.lines[line].compact();
            self.number_tickets();
        }
        let body = queued.body.len();
        let ticket = self.append(line, Entry::Data(queued));
        self.hold(ENTRY_BYTES);
        self.live += 1;
        self.lines[line].live += 1;
        if let Some(sub) = self.sub_mut(key) {
            sub.tickets.push_back(ticket);
            let cost = sub.prefix.len() + body;
            self.bytes += cost;
        }
    }

    /// Puts a later state in the place of one that waits, when that one may be replaced.
    fn replace(
        &mut self,
        (line, ticket): (usize, u64),
        seq: u64,
        publication: &Publication,
    ) -> bool {
        let Some(Entry::Data(waiting)) = self.lines[line].get_mut(ticket) else {
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
        let Some(line) = self.sub_mut(key).map(|sub| sub.line) else {
            return;
        };
        loop {
            let is_full = self.lines[line].live >= self.lines[line].messages;
            if !is_full && self.bytes + cost <= self.limits.bytes {
                break;
            }
            let own = self.sub_mut(key).map_or(0, |sub| sub.tickets.len());
            let victim = if own > 0 {
                Some(key)
            } else {
                let longest = self.subs.iter().enumerate();
                longest
                    .filter_map(|(index, sub)| Some((index, sub.as_ref()?)))
                    // Another line's messages make room for bytes alone.
                    .filter(|(_, sub)| !is_full || sub.line == line)
                    .map(|(index, sub)| (sub.tickets.len(), index))
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
            let (overhead, line) = (sub.prefix.len(), sub.line);
            let Some(ticket) = sub.tickets.pop_front() else {
                break;
            };
            if let Some(seq) = self.take_back(line, ticket, overhead) {
                self.note_gap(victim, Gap::of(seq, 1));
            }
            self.lines[line].trim();
        }
    }

    /// Takes everything of a subscription back; a delta book starts over.
    fn purge(&mut self, key: SubKey) {
        let Some(sub) = self.sub_mut(key) else { return };
        let (overhead, line) = (sub.prefix.len(), sub.line);
        for ticket in std::mem::take(&mut sub.tickets) {
            if let Some(seq) = self.take_back(line, ticket, overhead) {
                self.note_gap(key, Gap::of(seq, 1));
            }
        }
        self.lines[line].trim();
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
        let Some(line) = self.sub_mut(key).map(|sub| sub.line) else {
            return;
        };
        let is_now = self.has_caught_up(line);
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
            let line = sub.line;
            self.hold(ENTRY_BYTES);
            self.append(line, Entry::Flow(key.0));
        }
    }

    fn count_dropped(&mut self, count: u64) {
        self.stats.dropped += count;
        self.written.meter().dropped.add(count);
    }

    fn take_back(&mut self, line: usize, ticket: u64, overhead: usize) -> Option<u64> {
        let entry = self.lines[line].get_mut(ticket)?;
        let Entry::Data(queued) = std::mem::replace(entry, Entry::Gone) else {
            return None;
        };
        self.lines[line].live -= 1;
        self.live -= 1;
        self.bytes -= overhead + queued.body.len();
        self.release(ENTRY_BYTES);
        Some(queued.seq)
    }

    /// Tells subscriptions their tickets anew.
    fn number_tickets(&mut self) {
        for sub in self.subs.iter_mut().flatten() {
            sub.tickets.clear();
        }
        for line in &self.lines {
            for (ticket, entry) in line.tickets() {
                if let Entry::Data(queued) = entry
                    && let Some(Some(sub)) = self.subs.get_mut(queued.sub as usize)
                {
                    sub.tickets.push_back(ticket);
                }
            }
        }
    }

    fn too_slow(&mut self) {
        let waiting = self.live + self.notes + self.control.len();
        self.written.meter().closed_slow.add(1);
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
        self.release(self.own_bytes);
    }
}

#[cfg(test)]
use limits::LINES_MAX;

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
