//! What an API worker thread is given to take part in the engine, and what is measured there.

use std::cell::RefCell;
use std::sync::Arc;

use crate::latency::{Stamp, WorkerLatency};
use crate::ring::{LaneRx, WorkerWake};
use crate::status::{Counter, Gauge};
use crate::topic::WorkerId;

/// What an API worker thread needs to take part: see [`crate::dispatcher::WorkerHub::start`].
#[derive(Debug)]
pub struct WorkerPort {
    /// The worker's number.
    pub id: WorkerId,
    /// A lane from each shard.
    pub lanes: Vec<LaneRx>,
    /// Wakes the worker.
    pub wake: WorkerWake,
    /// Where it counts and measures.
    pub meter: Arc<WorkerMeter>,
}

/// What one worker counts and measures; written by its thread only.
#[derive(Debug, Default)]
pub struct WorkerMeter {
    /// How long the stages of its messages take.
    pub latency: WorkerLatency,
    /// Sessions that are open.
    pub sessions: Gauge,
    /// Their subscriptions.
    pub subscriptions: Gauge,
    /// Topics with a user.
    pub topics: Gauge,
    /// Market messages handed to sockets.
    pub sent: Counter,
    /// Market messages that a client will not see: dropped, or replaced by a later state.
    pub dropped: Counter,
    /// Times that a delta book had to start over from a snapshot.
    pub restarts: Counter,
}

impl WorkerMeter {
    /// Name, kind in Prometheus' words, and value of each.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, &'static str, u64); 6] {
        [
            ("sessions", "gauge", self.sessions.get()),
            ("subscriptions", "gauge", self.subscriptions.get()),
            ("topics", "gauge", self.topics.get()),
            ("messages_sent", "counter", self.sent.get()),
            ("messages_dropped", "counter", self.dropped.get()),
            ("book_restarts", "counter", self.restarts.get()),
        ]
    }
}

/// Messages that have been pulled for sockets, until they are written: their write follows in the
/// same turn of the thread, so the next turn of any task of ours is the moment when it has ended.
#[derive(Debug)]
pub struct Written {
    meter: Arc<WorkerMeter>,
    wake: WorkerWake,
    pending: RefCell<Vec<(Stamp, Stamp)>>,
}

impl Written {
    /// None pulled yet; the worker of `wake` settles what no other pull settles.
    #[must_use]
    pub fn new(meter: Arc<WorkerMeter>, wake: WorkerWake) -> Self {
        Self {
            meter,
            wake,
            pending: RefCell::default(),
        }
    }

    /// Where messages count.
    #[must_use]
    pub fn meter(&self) -> &Arc<WorkerMeter> {
        &self.meter
    }

    /// True when the moment of a write has not been taken yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        !self.pending.borrow().is_empty()
    }

    /// A market message is on its way to a socket: when its frame was read, when it was taken off
    /// the lane.
    pub fn pulled(&self, read_at: Stamp, taken_at: Stamp) {
        if read_at.is_some() {
            self.pending.borrow_mut().push((read_at, taken_at));
        }
    }

    /// Has the worker settle soon.
    pub fn settle_later(&self) {
        if self.is_pending() {
            self.wake.wake();
        }
    }

    /// What was pulled before `now` has been written.
    pub fn settle(&self, now: Stamp) {
        let latency = &self.meter.latency;
        for (read_at, taken_at) in self.pending.borrow_mut().drain(..) {
            latency.write.record_between(taken_at, now);
            latency.total.record_between(read_at, now);
        }
    }
}
