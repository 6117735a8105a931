//! One queue of an outbox: the connection's own, or that of a channel with limits of its own.

use std::collections::VecDeque;
use std::rc::Rc;

use super::sub::Entry;

/// A token bucket of market messages. It holds what a tenth of a second allows, so that no second
/// carries more than its rate and what is saved up never makes a burst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    per_second: u32,
    tokens: u32,
}

impl Bucket {
    /// A bucket for so many a second, 0: unlimited.
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second,
            tokens: per_second.div_ceil(10),
        }
    }

    pub(super) const fn rate(self) -> u32 {
        self.per_second
    }

    pub(super) const fn is_limited(self) -> bool {
        self.per_second > 0
    }

    /// True when a message may leave now.
    pub(super) const fn is_open(self) -> bool {
        self.per_second == 0 || self.tokens > 0
    }

    /// A message leaves.
    pub(super) fn take(&mut self) {
        self.tokens = self.tokens.saturating_sub(1);
    }

    /// Fills the bucket for a tenth of a second; `tenth` counts them, so that a rate that ten does
    /// not divide is met within each second.
    pub(super) fn refill(&mut self, tenth: u64) {
        let rate = u64::from(self.per_second);
        let part = rate * (tenth % 10 + 1) / 10 - rate * (tenth % 10) / 10;
        self.tokens = u32::try_from(part).unwrap_or(u32::MAX);
    }

    /// True when `waiting` messages are all that the bucket ever lets go at once: what comes now
    /// waits for the rate, not for the client.
    pub(super) const fn is_behind(self, waiting: usize) -> bool {
        let part = self.per_second.div_ceil(10) as usize;
        self.per_second > 0 && waiting >= part
    }
}

/// A queue with its bucket. Places are known by tickets that count on from `base`.
#[derive(Debug)]
pub(super) struct Line {
    /// The channel; `None` for the connection's own.
    pub(super) channel: Option<Rc<str>>,
    /// Market messages that may wait.
    pub(super) messages: usize,
    /// What the client asked for this channel; else the connection's.
    pub(super) own_messages: Option<usize>,
    pub(super) bucket: Bucket,
    pub(super) live: usize,
    queue: VecDeque<(u64, Entry)>,
    base: u64,
}

impl Line {
    pub(super) fn new(channel: Option<Rc<str>>, messages: usize) -> Self {
        Self {
            channel,
            messages,
            own_messages: None,
            bucket: Bucket::default(),
            live: 0,
            queue: VecDeque::new(),
            base: 0,
        }
    }

    /// Puts an entry at the end; `order` is its place among all lines. Returns its ticket.
    pub(super) fn push(&mut self, order: u64, entry: Entry) -> u64 {
        self.queue.push_back((order, entry));
        self.base + self.queue.len() as u64 - 1
    }

    /// Place of the front among all lines; `None` when nothing is there, or nothing may leave.
    pub(super) fn front(&self) -> Option<u64> {
        let (order, _) = self.queue.front()?;
        self.bucket.is_open().then_some(*order)
    }

    pub(super) fn pop(&mut self) -> Option<Entry> {
        let (_, entry) = self.queue.pop_front()?;
        self.base += 1;
        Some(entry)
    }

    pub(super) fn get_mut(&mut self, ticket: u64) -> Option<&mut Entry> {
        let index = usize::try_from(ticket.checked_sub(self.base)?).ok()?;
        self.queue.get_mut(index).map(|(_, entry)| entry)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.queue.iter_mut().map(|(_, entry)| entry)
    }

    /// Entries with their tickets.
    pub(super) fn tickets(&self) -> impl Iterator<Item = (u64, &Entry)> {
        (self.base..).zip(self.queue.iter().map(|(_, entry)| entry))
    }

    /// Places in use, those that were taken back included.
    pub(super) fn places(&self) -> usize {
        self.queue.len()
    }

    /// Lets go of places at the front that were taken back.
    pub(super) fn trim(&mut self) {
        while matches!(self.queue.front(), Some((_, Entry::Gone))) {
            self.queue.pop_front();
            self.base += 1;
        }
    }

    /// Lets go of all places that were taken back. Tickets change.
    pub(super) fn compact(&mut self) {
        self.queue
            .retain(|(_, entry)| !matches!(entry, Entry::Gone));
    }

    /// Takes the entries out that are `wanted`, in order. Tickets change.
    pub(super) fn extract(&mut self, wanted: impl Fn(&Entry) -> bool) -> Vec<(u64, Entry)> {
        let (out, stay): (Vec<_>, Vec<_>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|(_, entry)| wanted(entry));
        self.queue = stay.into();
        out
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.live = 0;
    }
}
