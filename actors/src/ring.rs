//! The lane between two threads: one bounded single-producer single-consumer ring for each pair of
//! shard and API worker, and one wake for each worker. No policy: a full lane gives the message
//! back and counts.
//!
//! Waking a sleeping thread costs far more than moving a message, so it is coalesced: the worker
//! announces its sleep in a flag, and only a push that finds the flag set pays for the wake.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::time::TsNanos;
use rtrb::{Consumer, Producer, PushError, RingBuffer};
use tokio::sync::Notify;

use crate::body::Body;
use crate::incidents::Ended;
use crate::latency::Stamp;
use crate::topic::Slot;

/// What a publication means to somebody who may have missed those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PubKind {
    /// A trade, a forming bar, a ticker, a funding update, the whole top of a book in snapshot
    /// mode. For all subscribers.
    Event,
    /// A bar that is closed. For all subscribers; never replaced by a later message.
    ClosedBar,
    /// The answer to a refresh on a topic that is not a delta book: the last state, which
    /// subscribers in step have already had. Only those who wait for a first message take it.
    LastState,
    /// Delta mode: the whole top of the book. Taken by subscribers that wait for one or that have
    /// another epoch; skipped by those in step.
    BookSnapshot,
    /// Delta mode: the levels that changed since the publication before.
    BookUpdate,
}

/// One encoded message of a topic.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The worker's number of the topic.
    pub slot: Slot,
    /// How it may be treated.
    pub kind: PubKind,
    /// Resynchronisations of the book so far; 0 for streams without a book.
    pub epoch: u32,
    /// Delta books: the sequence number that a client has after this message. A snapshot that
    /// answers a refresh carries the sequence of the topic's last publication, so that the next
    /// update applies to everybody. 0 for other kinds.
    pub seq: u64,
    /// Delta book updates: the sequence number that a client must have for this to apply, the
    /// `seq` of the topic's publication before. 0 for other kinds.
    pub prev_seq: u64,
    /// When the exchange's frame was read from the socket, wall clock.
    pub ts_recv: TsNanos,
    /// The same moment on the monotonic clock, where a frame caused the publication.
    pub read_at: Stamp,
    /// When the last stage of its way ended: put on the lane, taken off it.
    pub stage_at: Stamp,
    /// The `data` object, braces included; shared, never changed.
    pub body: Body,
}

/// State of a provider or of one instrument's stream, as told in `system.status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusState {
    /// Data flow again, or for the first time.
    Connected,
    /// No data for longer than the feed allows.
    Stale,
    /// A book is being repaired and not served meanwhile.
    Resyncing,
    /// The connection is lost.
    Disconnected,
    /// The exchange says so.
    Maintenance,
}

impl StatusState {
    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Stale => "stale",
            Self::Resyncing => "resyncing",
            Self::Disconnected => "disconnected",
            Self::Maintenance => "maintenance",
        }
    }
}

/// A change of state that subscribers are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusEvent {
    /// Whose.
    pub provider: ProviderId,
    /// Of one instrument, or of the provider as a whole.
    pub instrument: Option<InstrumentId>,
    /// Of which of the instrument's feeds; `None`: all, or the provider's connections.
    pub feed: Option<Feed>,
    /// What it is now.
    pub state: StatusState,
    /// Why, lower case: `gap`, `disconnected: connection reset`.
    pub reason: String,
    /// Where it is well again: why it was not, and for how long.
    pub was: Option<Ended>,
    /// When, wall clock.
    pub ts: TsNanos,
}

/// What travels on a lane.
#[derive(Clone, Debug)]
pub enum LaneMsg {
    /// A message of a topic.
    Data(Publication),
    /// Told in order with the data.
    Status(Arc<StatusEvent>),
    /// The lane was full: publications of this slot were lost since the last message of it. Delta
    /// books get a `BookSnapshot` after it.
    Lost {
        /// Of which topic.
        slot: Slot,
        /// How many publications.
        count: u64,
    },
}

#[derive(Debug)]
struct WakeState {
    sleeping: AtomicBool,
    notify: Notify,
    wakes: AtomicU64,
    busy_poll: bool,
}

/// Wakes one worker; shared by all lanes that lead to it.
#[derive(Clone, Debug)]
pub struct WorkerWake(Arc<WakeState>);

impl WorkerWake {
    /// A wake for one worker. With `busy_poll` the worker never sleeps and nobody pays for a wake.
    #[must_use]
    pub fn new(busy_poll: bool) -> Self {
        Self(Arc::new(WakeState {
            sleeping: AtomicBool::new(false),
            notify: Notify::new(),
            wakes: AtomicU64::new(0),
            busy_poll,
        }))
    }

    /// True when the worker spins instead of sleeping.
    #[must_use]
    pub fn is_busy_poll(&self) -> bool {
        self.0.busy_poll
    }

    /// Wake-ups paid for so far.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.0.wakes.load(Ordering::Relaxed)
    }

    /// Wakes the worker when it sleeps. Pushing does this by itself; the worker's own thread uses
    /// it to have something done in the next round.
    pub fn wake(&self) {
        // The other half is in `wait`. The push before this is a release store of the ring's tail,
        // the load below is of another location; without a full fence both sides could read the
        // old value (the worker an empty ring, we an awake worker) and the message would lie there
        // until the next push. The fences order "push, then look at the flag" against "set the
        // flag, then look at the ring": at least one of the two sees the other.
        fence(Ordering::SeqCst);
        if self.0.sleeping.load(Ordering::Relaxed) && self.0.sleeping.swap(false, Ordering::AcqRel)
        {
            self.0.wakes.fetch_add(1, Ordering::Relaxed);
            // A permit is kept when the worker is not parked yet, so the order of this and of
            // `notified().await` does not matter.
            self.0.notify.notify_one();
        }
    }

    /// Returns when `has_work` says so or somebody called [`WorkerWake::wake`]; may return for
    /// nothing. Only the worker calls it. With `busy_poll` it only lets the thread's other tasks
    /// and sockets have a turn.
    pub async fn wait(&self, has_work: impl Fn() -> bool) {
        if self.0.busy_poll {
            tokio::task::yield_now().await;
            return;
        }
        self.0.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if has_work() {
            // A producer may have seen the flag already: then a permit is left over and the next
            // wait returns at once, which costs one idle round and loses nothing.
            self.0.sleeping.store(false, Ordering::Relaxed);
            return;
        }
        self.0.notify.notified().await;
    }
}

#[derive(Debug, Default)]
struct LaneCounters {
    // Written by the producer only.
    pushed: AtomicU64,
    refused: AtomicU64,
    // Written by the consumer only.
    depth_max: AtomicU64,
}

/// Counters of a lane, read by whoever holds it.
#[derive(Clone, Debug)]
pub struct LaneStats(Arc<LaneCounters>);

impl LaneStats {
    /// Messages accepted.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.0.pushed.load(Ordering::Relaxed)
    }

    /// Messages given back because the lane was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Ordering::Relaxed)
    }

    /// Most messages that lay on the lane when the worker looked.
    #[must_use]
    pub fn depth_max(&self) -> u64 {
        self.0.depth_max.load(Ordering::Relaxed)
    }
}

/// The shard's end of a lane.
#[derive(Debug)]
pub struct LaneTx {
    ring: Producer<LaneMsg>,
    wake: WorkerWake,
    stats: LaneStats,
}

/// The worker's end of a lane.
#[derive(Debug)]
pub struct LaneRx {
    ring: Consumer<LaneMsg>,
    stats: LaneStats,
}

/// A lane for `capacity` messages, rounded up to a power of two, that wakes `wake`'s worker.
#[must_use]
pub fn lane(capacity: usize, wake: &WorkerWake) -> (LaneTx, LaneRx) {
    let (producer, consumer) = RingBuffer::new(capacity.max(2).next_power_of_two());
    let stats = LaneStats(Arc::new(LaneCounters::default()));
    let tx = LaneTx {
        ring: producer,
        wake: wake.clone(),
        stats: stats.clone(),
    };
    let rx = LaneRx {
        ring: consumer,
        stats,
    };
    (tx, rx)
}

/// A counter with one writer: no locked instruction needed.
fn bump(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
}

impl LaneTx {
    /// Puts a message on the lane and wakes the worker when it sleeps.
    ///
    /// # Errors
    /// Gives the message back when the lane is full; what is lost then is the caller's to decide.
    pub fn push(&mut self, message: LaneMsg) -> Result<(), LaneMsg> {
        match self.ring.push(message) {
            Ok(()) => {
                bump(&self.stats.0.pushed);
                self.wake.wake();
                Ok(())
            }
            Err(PushError::Full(message)) => {
                bump(&self.stats.0.refused);
                Err(message)
            }
        }
    }

    /// Messages that fit now.
    #[must_use]
    pub fn free(&self) -> usize {
        self.ring.slots()
    }

    /// True when the worker is gone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Counters of this lane.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        self.stats.clone()
    }
}

impl LaneRx {
    /// Hands out up to `limit` messages in order and tells how many there were.
    pub fn drain(&mut self, limit: usize, mut take: impl FnMut(LaneMsg)) -> usize {
        let depth = self.ring.slots();
        if depth == 0 {
            return 0;
        }
        if depth as u64 > self.stats.depth_max() {
            self.stats
                .0
                .depth_max
                .store(depth as u64, Ordering::Relaxed);
        }
        let count = depth.min(limit);
        let Ok(chunk) = self.ring.read_chunk(count) else {
            return 0;
        };
        for message in chunk {
            take(message);
        }
        count
    }

    /// True when nothing lies on the lane.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Messages on the lane now.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.ring.slots()
    }

    /// True when the shard is gone; what it pushed before can still be drained.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// Counters of this lane.
    #[must_use]
    pub fn stats(&self) -> LaneStats {
        self.stats.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    fn message(seq: u64) -> LaneMsg {
        LaneMsg::Data(Publication {
            slot: Slot(0),
            kind: PubKind::Event,
            epoch: 0,
            seq,
            prev_seq: 0,
            ts_recv: TsNanos(0),
            read_at: Stamp::NONE,
            stage_at: Stamp::NONE,
            body: Body::new(&Arc::default(), b"{}"),
        })
    }

    fn seq_of(message: &LaneMsg) -> u64 {
        match message {
            LaneMsg::Data(publication) => publication.seq,
            other => panic!("{other:?}"),
        }
    }

    fn on_one_thread<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
            .block_on(future)
    }

    /// Sends `total` messages over two lanes with pauses that make the worker sleep and wake in
    /// all phases; nothing is lost, the order of each lane is kept, no wake-up is missed.
    fn pump(busy_poll: bool, total: u64) -> u64 {
        let wake = WorkerWake::new(busy_poll);
        let (lanes, producers): (Vec<_>, Vec<_>) = (0..2u64)
            .map(|id| {
                let (mut tx, rx) = lane(64, &wake);
                let producer = thread::spawn(move || {
                    for seq in 0..total {
                        let mut next = message(seq);
                        while let Err(back) = tx.push(next) {
                            next = back;
                            thread::yield_now();
                        }
                        if seq % (97 + id) == 0 {
                            thread::sleep(Duration::from_micros(seq % 60));
                        }
                    }
                });
                (rx, producer)
            })
            .unzip();
        let mut lanes = lanes;
        let received = on_one_thread(async {
            let mut expected = [0u64; 2];
            while expected.iter().any(|next| *next < total) {
                for (lane, next) in lanes.iter_mut().zip(&mut expected) {
                    lane.drain(16, |message| {
                        assert_eq!(seq_of(&message), *next);
                        *next += 1;
                    });
                }
                let done = expected.iter().all(|next| *next == total);
                if !done {
                    let idle = wake.wait(|| lanes.iter().any(|lane| !lane.is_empty()));
                    // A missed wake-up would hang here with messages on a lane.
                    tokio::time::timeout(Duration::from_secs(20), idle)
                        .await
                        .expect("woken while messages wait");
                }
            }
            expected.iter().sum()
        });
        for producer in producers {
            producer.join().unwrap();
        }
        received
    }

    #[test]
    fn nothing_is_lost_between_threads() {
        assert_eq!(pump(false, 20_000), 40_000);
    }

    #[test]
    fn nothing_is_lost_when_polling() {
        assert_eq!(pump(true, 5_000), 10_000);
    }

    #[test]
    fn a_full_lane_gives_the_message_back_and_counts() {
        let wake = WorkerWake::new(false);
        let (mut tx, mut rx) = lane(3, &wake);
        for seq in 0..4 {
            assert!(tx.push(message(seq)).is_ok(), "rounded up to four");
        }
        assert_eq!(tx.push(message(4)).map_err(|m| seq_of(&m)), Err(4));
        assert_eq!((tx.stats().pushed(), tx.stats().refused()), (4, 1));
        let mut seen = Vec::new();
        assert_eq!(rx.drain(3, |m| seen.push(seq_of(&m))), 3);
        assert_eq!((seen, rx.depth()), (vec![0, 1, 2], 1));
        assert_eq!(rx.stats().depth_max(), 4);
        assert!(tx.push(message(5)).is_ok());
        drop(tx);
        assert!(rx.is_closed() && !rx.is_empty());
        assert_eq!(rx.drain(10, |_| ()), 2);
    }

    #[test]
    fn only_a_sleeper_is_woken() {
        let wake = WorkerWake::new(false);
        let (mut tx, rx) = lane(64, &wake);
        for seq in 0..10 {
            assert!(tx.push(message(seq)).is_ok());
        }
        assert_eq!(wake.wakes(), 0, "the worker is not asleep");
        on_one_thread(async {
            // Work is there: the announcement is taken back.
            wake.wait(|| !rx.is_empty()).await;
            let sleeper = wake.wait(|| false);
            let pusher = async {
                for seq in 0..10 {
                    assert!(tx.push(message(seq)).is_ok());
                }
            };
            tokio::join!(sleeper, pusher);
        });
        assert_eq!(wake.wakes(), 1, "ten pushes, one wake");
    }
}
