//! What an API worker thread is given to take part in the engine, and what is measured there.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

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
    /// The memory of all sessions.
    pub memory: Arc<SessionMemory>,
}

/// Memory that a session has for itself whatever waits for it, at most: what actix-http has
/// collected for a socket that takes nothing (one batch of 64 KiB on top of the 32 KiB above which
/// it asks for no more), and the session.
pub const SESSION_BYTES: u64 = 112 << 10;

/// What a body takes besides its bytes: its owner, its counts, what the allocator adds.
pub(crate) const BODY_OVERHEAD: u64 = 112;

/// A queue lighter than this is no reason to cut its client off, however small its share is.
const WEIGHT_MIN: u64 = 64 << 10;

/// The memory of all sessions on all workers, and its limit.
///
/// A body is counted once, from its encoding until the last queue has let go of it, however many
/// clients share it; each queue counts its own places, notices and answers; each session counts
/// [`SESSION_BYTES`]. Over the limit the session whose queue holds most is cut off, with close code
/// 1008, until it is met again; new ones are refused. A session that holds less than half of an equal
/// share of the limit is never cut off: were all of them like this, the limit would be met.
#[derive(Debug)]
pub struct SessionMemory {
    limit: u64,
    bodies: AtomicU64,
    /// Of all workers, as they told last.
    queues: AtomicU64,
    sessions: AtomicU64,
    /// The heaviest queue of each worker, as it told last. Touched over the limit only.
    heaviest: Mutex<HashMap<WorkerId, usize>>,
}

impl Default for SessionMemory {
    fn default() -> Self {
        Self::new(512 << 20)
    }
}

impl SessionMemory {
    /// Nothing in use of `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            bodies: AtomicU64::new(0),
            queues: AtomicU64::new(0),
            sessions: AtomicU64::new(0),
            heaviest: Mutex::default(),
        }
    }

    /// Bytes that may be in use.
    #[must_use]
    pub const fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> u64 {
        let sessions = self.sessions.load(Ordering::Relaxed) * SESSION_BYTES;
        let queues = self.queues.load(Ordering::Relaxed);
        sessions + queues + self.bodies.load(Ordering::Relaxed)
    }

    /// True when more is in use than may be.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.used() > self.limit
    }

    /// Weight below which a queue is not the reason for what is over the limit.
    fn weight_min(&self) -> u64 {
        let sessions = self.sessions.load(Ordering::Relaxed).max(1);
        (self.limit / (2 * sessions)).max(WEIGHT_MIN)
    }

    /// True when one more session fits.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.used() + SESSION_BYTES <= self.limit
    }

    /// A body needs `now` instead of `before`.
    pub(crate) fn recount_body(&self, before: u64, now: u64) {
        if now > before {
            self.bodies.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.bodies.fetch_sub(before - now, Ordering::Relaxed);
        }
    }
}

/// One worker's part of the memory. Dropping it gives back what the worker told.
#[derive(Debug)]
pub struct MemoryShare {
    memory: Arc<SessionMemory>,
    worker: WorkerId,
    queues: Cell<u64>,
    sessions: Cell<u64>,
    has_weight: Cell<bool>,
}

impl MemoryShare {
    /// The worker's part, nothing so far.
    #[must_use]
    pub fn new(memory: Arc<SessionMemory>, worker: WorkerId) -> Self {
        Self {
            memory,
            worker,
            queues: Cell::new(0),
            sessions: Cell::new(0),
            has_weight: Cell::new(false),
        }
    }

    /// The memory of all.
    #[must_use]
    pub fn memory(&self) -> &SessionMemory {
        &self.memory
    }

    /// Tells all what this worker's queues and sessions need now.
    pub fn tell(&self, meter: &WorkerMeter) {
        let tell = |shared: &AtomicU64, told: &Cell<u64>, now: u64| {
            let before = told.replace(now);
            if now > before {
                shared.fetch_add(now - before, Ordering::Relaxed);
            } else if now < before {
                shared.fetch_sub(before - now, Ordering::Relaxed);
            }
        };
        tell(&self.memory.queues, &self.queues, meter.queue_bytes.get());
        tell(&self.memory.sessions, &self.sessions, meter.sessions.get());
        if self.has_weight.get() && !self.memory.is_over() {
            self.tell_weight(0);
        }
    }

    fn tell_weight(&self, weight: usize) -> bool {
        self.has_weight.set(weight > 0);
        let mut heaviest = self.memory.heaviest.lock();
        heaviest.insert(self.worker, weight);
        heaviest.values().all(|other| *other <= weight)
    }

    /// Whether a queue of this weight, the heaviest of this worker, shall be cut off now: it is the
    /// heaviest of all that are known, or the others do not act in time.
    #[must_use]
    pub fn must_cut(&self, weight: usize) -> bool {
        if (weight as u64) < self.memory.weight_min() || !self.memory.is_over() {
            return false;
        }
        let is_heaviest = self.tell_weight(weight);
        is_heaviest || self.memory.used() > self.memory.limit + self.memory.limit / 8
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.tell(&WorkerMeter::default());
        self.memory.heaviest.lock().remove(&self.worker);
    }
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
    /// Memory that waiting messages need besides their shared bodies: places in queues, notices,
    /// answers; bytes.
    pub queue_bytes: Gauge,
    /// Market messages handed to sockets.
    pub sent: Counter,
    /// Market messages that a client will not see: dropped, or replaced by a later state.
    pub dropped: Counter,
    /// Times that a delta book had to start over from a snapshot.
    pub restarts: Counter,
    /// Clients that were disconnected because they did not take their messages.
    pub closed_slow: Counter,
    /// Because the memory of all sessions was used up.
    pub closed_memory: Counter,
    /// Because nothing was heard of them.
    pub closed_idle: Counter,
    /// Because they sent too much: too large, too often, no WebSocket.
    pub closed_abuse: Counter,
}

impl WorkerMeter {
    /// Name, kind in Prometheus' words, and value of each.
    #[must_use]
    pub fn rows(&self) -> [(&'static str, &'static str, u64); 11] {
        [
            ("sessions", "gauge", self.sessions.get()),
            ("subscriptions", "gauge", self.subscriptions.get()),
            ("topics", "gauge", self.topics.get()),
            ("queue_bytes", "gauge", self.queue_bytes.get()),
            ("messages_sent", "counter", self.sent.get()),
            ("messages_dropped", "counter", self.dropped.get()),
            ("book_restarts", "counter", self.restarts.get()),
            ("closed_slow", "counter", self.closed_slow.get()),
            ("closed_memory", "counter", self.closed_memory.get()),
            ("closed_idle", "counter", self.closed_idle.get()),
            ("closed_abuse", "counter", self.closed_abuse.get()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Body;

    #[test]
    fn a_body_counts_once_until_its_last_holder_lets_go() {
        let memory = Arc::new(SessionMemory::new(10_000));
        let body = Body::new(&memory, &[7; 1000]);
        let shared = body.clone();
        assert_eq!(memory.used(), 1000 + BODY_OVERHEAD);
        drop(body);
        assert_eq!(memory.used(), 1000 + BODY_OVERHEAD);
        std::thread::spawn(move || drop(shared)).join().unwrap();
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn the_heaviest_of_all_workers_goes_first() {
        let memory = Arc::new(SessionMemory::new(10_000_000));
        let shares = [0, 1].map(|id| MemoryShare::new(memory.clone(), WorkerId(id)));
        let meters: [WorkerMeter; 2] = Default::default();
        let tell = |queues: [u64; 2]| {
            for ((share, meter), bytes) in shares.iter().zip(&meters).zip(queues) {
                meter.sessions.set(2);
                meter.queue_bytes.set(bytes);
                share.tell(meter);
            }
        };
        tell([9_000_000, 0]);
        assert!(!memory.is_over() && !shares[0].must_cut(9_000_000));
        tell([9_000_000, 1_500_000]);
        assert!(memory.is_over());
        assert!(shares[0].must_cut(9_000_000));
        assert!(!shares[1].must_cut(1_500_000), "the other one is heavier");
        assert!(!shares[0].must_cut(1_249_999), "half of a fourth part");
        // The other worker does not act: somebody has to.
        tell([9_000_000, 3_000_000]);
        assert!(shares[1].must_cut(3_000_000));
        assert!(
            !shares[1].must_cut(1_249_999),
            "not one that reads, even so"
        );
        // What a worker told is forgotten when all is well, and when it is over.
        tell([0, 3_000_000]);
        assert!(!memory.is_over());
        tell([7_500_000, 3_000_000]);
        assert!(shares[1].must_cut(3_000_000));
        drop(shares);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn sessions_need_room() {
        let memory = Arc::new(SessionMemory::new(2 * SESSION_BYTES));
        let share = MemoryShare::new(memory.clone(), WorkerId(0));
        let meter = WorkerMeter::default();
        for open in [0, 1] {
            meter.sessions.set(open);
            share.tell(&meter);
            assert!(memory.has_room());
        }
        meter.sessions.set(2);
        share.tell(&meter);
        assert!(!memory.has_room() && !memory.is_over());
    }
}
