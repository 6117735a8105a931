//! An outbox as its thread shares it: the dispatcher and the session put in, the socket's pump
//! takes out. All three live on one worker thread, so there is no lock.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Poll, Waker};

use bookwire_engine::time::TsNanos;
use bytes::Bytes;
use tokio::sync::Notify;

use super::flow::{Close, OutboxLimits};
use super::outbox::{Batch, Outbox};
use crate::latency::Stamp;
use crate::ring::WorkerWake;
use crate::topic::Slot;
use crate::worker::Written;

/// Topics whose last state the dispatcher shall ask for in its next round.
#[derive(Debug)]
pub struct RefreshQueue {
    slots: RefCell<Vec<Slot>>,
    wake: WorkerWake,
}

impl RefreshQueue {
    /// An empty queue of the worker that `wake` wakes.
    #[must_use]
    pub fn new(wake: WorkerWake) -> Self {
        Self {
            slots: RefCell::new(Vec::new()),
            wake,
        }
    }

    /// Asks for topics.
    pub fn extend(&self, slots: impl IntoIterator<Item = Slot>) {
        let mut queue = self.slots.borrow_mut();
        let before = queue.len();
        queue.extend(slots);
        if queue.len() > before {
            self.wake.wake();
        }
    }

    /// Has the worker take a turn.
    pub fn wake(&self) {
        self.wake.wake();
    }

    /// What was asked for, each topic once.
    #[must_use]
    pub fn take(&self) -> Vec<Slot> {
        let mut slots = self.slots.take();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// True when nothing was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.borrow().is_empty()
    }
}

/// A client's outbox with what its three users tell each other. See the module's text.
#[derive(Debug)]
pub struct OutboxCell {
    outbox: RefCell<Outbox>,
    waker: RefCell<Option<Waker>>,
    is_dirty: Cell<bool>,
    refresh: Rc<RefreshQueue>,
    written: Rc<Written>,
    /// The client was heard since the session looked last.
    heard: Cell<bool>,
    /// Requests that the client may still send before the next refill.
    tokens: Cell<u32>,
    refused: Cell<u32>,
    is_gone: Cell<bool>,
    gone: Notify,
    /// Somebody waits for room among the answers.
    wants_room: Cell<bool>,
    room: Notify,
}

impl OutboxCell {
    /// A cell with an empty outbox and `tokens` requests to begin with.
    #[must_use]
    pub fn new(
        limits: OutboxLimits,
        refresh: Rc<RefreshQueue>,
        written: Rc<Written>,
        tokens: u32,
    ) -> Self {
        written.meter().sessions.up();
        Self {
            outbox: RefCell::new(Outbox::new(limits, written.clone())),
            waker: RefCell::new(None),
            is_dirty: Cell::new(false),
            refresh,
            written,
            heard: Cell::new(true),
            tokens: Cell::new(tokens),
            refused: Cell::new(0),
            is_gone: Cell::new(false),
            gone: Notify::new(),
            wants_room: Cell::new(false),
            room: Notify::new(),
        }
    }

    /// Works on the outbox. The pump is not woken: the dispatcher wakes once for a batch.
    pub fn with<R>(&self, work: impl FnOnce(&mut Outbox) -> R) -> R {
        work(&mut self.outbox.borrow_mut())
    }

    /// True the first time since [`OutboxCell::flush`]: the caller has to flush later.
    #[must_use]
    pub fn mark(&self) -> bool {
        !self.is_dirty.replace(true)
    }

    /// Wakes the pump when there is something for it and passes requests for snapshots on.
    pub fn flush(&self) {
        self.is_dirty.set(false);
        let mut outbox = self.outbox.borrow_mut();
        self.refresh.extend(outbox.take_refresh());
        let is_ready = outbox.is_ready();
        drop(outbox);
        if is_ready {
            let waker = self.waker.take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Sends an answer.
    pub fn answer(&self, message: impl Into<Bytes>) {
        self.with(|outbox| outbox.control(message.into()));
        self.flush();
    }

    /// Returns when answers have room: the client has taken most of those that waited.
    pub async fn has_room(&self) {
        loop {
            let freed = self.room.notified();
            if self.with(|outbox| outbox.has_room_for_answers()) {
                return;
            }
            self.wants_room.set(true);
            freed.await;
        }
    }

    /// Closes the connection of a client that does not take what must not be dropped.
    pub fn too_slow(&self, close: Close) {
        if self.with(|outbox| outbox.closing().is_none()) {
            self.written.meter().closed_slow.add(1);
        }
        self.close(close);
    }

    /// Closes the connection.
    pub fn close(&self, close: Close) {
        self.with(|outbox| outbox.close(close));
        self.flush();
    }

    /// Closes the connection of a client that broke a rule.
    pub fn expel(&self, close: Close) {
        self.written.meter().closed_abuse.add(1);
        self.close(close);
    }

    /// Memory that would be free without this queue; see [`Outbox::weight`].
    #[must_use]
    pub fn weight(&self) -> usize {
        self.with(|outbox| outbox.weight())
    }

    /// The pump's side: fills `batch` up to about `room` bytes, or leaves `waker` to be woken when
    /// there is something. `now` is the moment on both clocks.
    pub fn poll_pull(
        &self,
        waker: &Waker,
        now: (TsNanos, Stamp),
        room: usize,
        batch: &mut Batch,
    ) -> Poll<()> {
        // Other pumps have had their turn meanwhile.
        self.written.settle(now.1);
        self.with(|outbox| outbox.pull(now.0, room, batch));
        self.written.settle_later();
        let slots = self.with(Outbox::take_refresh);
        self.refresh.extend(slots);
        if self.wants_room.get() && self.with(|outbox| outbox.has_room_for_answers()) {
            self.wants_room.set(false);
            self.room.notify_waiters();
        }
        if batch.is_empty() {
            *self.waker.borrow_mut() = Some(waker.clone());
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// The client sent something.
    pub fn hear(&self) {
        self.heard.set(true);
    }

    /// True when the client was heard since the last call.
    #[must_use]
    pub fn was_heard(&self) -> bool {
        self.heard.replace(false)
    }

    /// True when the client may send one more request now.
    #[must_use]
    pub fn take_token(&self) -> bool {
        match self.tokens.get().checked_sub(1) {
            Some(left) => {
                self.tokens.set(left);
                true
            }
            None => {
                self.refused.set(self.refused.get().saturating_add(1));
                false
            }
        }
    }

    /// Gives `more` tokens up to `most`; tells how many requests were refused since the last call.
    pub fn refill(&self, more: u32, most: u32) -> u32 {
        let tokens = self.tokens.get().saturating_add(more).min(most);
        self.tokens.set(tokens);
        self.refused.take()
    }

    /// Requests refused since the last refill.
    #[must_use]
    pub fn refused(&self) -> u32 {
        self.refused.get()
    }

    /// The socket is gone.
    pub fn hang_up(&self) {
        self.is_gone.set(true);
        self.gone.notify_one();
    }

    /// Returns when the socket is gone.
    pub async fn hung_up(&self) {
        while !self.is_gone.get() {
            self.gone.notified().await;
        }
    }
}

impl Drop for OutboxCell {
    fn drop(&mut self) {
        self.written.meter().sessions.down();
        // What this queue held is told by the worker's next turn.
        self.refresh.wake();
    }
}
