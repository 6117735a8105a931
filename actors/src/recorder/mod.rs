//! Rows on their way to the store: from each shard over a ring of its own to one thread that may
//! block. A shard never waits: when its ring is full, rows are kept in a bounded queue of the shard
//! until there is room; when that is full too, rows are lost, counted and told. Spilling to disk
//! instead of losing is not done yet.

mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::store::{Row, Store, StoreError};
use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;
use rtrb::{Producer, RingBuffer};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::options::RecorderOptions;
use writer::{Job, Writer};

/// Requests to the writer that may wait: each is a page of history or a flush.
const JOBS: usize = 64;

/// Figures of the recorder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecorderStats {
    /// Rows written.
    pub written: u64,
    /// Rows that were in the store already.
    pub known: u64,
    /// Batches that failed and were tried again.
    pub retries: u64,
    /// Rows that the store refused for good.
    pub rejected: u64,
    /// Rows that wait in memory, the rings left aside.
    pub waiting: u64,
    /// What is wrong now; `None`: nothing.
    pub trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    written: AtomicU64,
    known: AtomicU64,
    retries: AtomicU64,
    rejected: AtomicU64,
    waiting: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// The shard's end: takes rows without ever waiting.
#[derive(Debug)]
pub struct RecorderPort {
    ring: Producer<Row>,
    overflow: VecDeque<Row>,
    overflow_max: usize,
    lost: u64,
}

impl RecorderPort {
    /// Takes a row. False when it was lost.
    pub fn push(&mut self, row: Row) -> bool {
        if self.overflow.is_empty() {
            match self.ring.push(row) {
                Ok(()) => return true,
                Err(rtrb::PushError::Full(row)) => self.overflow.push_back(row),
            }
            return true;
        }
        self.drain();
        if self.overflow.len() >= self.overflow_max {
            self.lost += 1;
            return false;
        }
        self.overflow.push_back(row);
        true
    }

    /// Moves rows that had to wait to the ring, in order.
    pub fn drain(&mut self) {
        while let Some(row) = self.overflow.pop_front() {
            if let Err(rtrb::PushError::Full(row)) = self.ring.push(row) {
                self.overflow.push_front(row);
                return;
            }
        }
    }

    /// Rows that wait for room on the ring.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.overflow.len()
    }

    /// Rows lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

struct Inner {
    jobs: Sender<Job>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The recorder's handle. Clones are the same recorder.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

impl Recorder {
    /// Starts the writer thread and makes a port for each of `shards`.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(
        store: Box<dyn Store>,
        options: RecorderOptions,
        shards: usize,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<(Self, Vec<RecorderPort>)> {
        let (mut ports, mut rings) = (Vec::new(), Vec::new());
        for _ in 0..shards {
            let (producer, consumer) = RingBuffer::new(options.ring.max(16));
            ports.push(RecorderPort {
                ring: producer,
                overflow: VecDeque::new(),
                overflow_max: options.overflow,
                lost: 0,
            });
            rings.push(consumer);
        }
        let (jobs, inbox) = crossbeam_channel::bounded(JOBS);
        let shared = Arc::new(Shared::default());
        let writer = Writer::new(store, options, rings, inbox, shared.clone(), clock);
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || writer.run())?;
        let recorder = Self(Arc::new(Inner {
            jobs,
            shared,
            thread: Mutex::new(Some(thread)),
        }));
        Ok((recorder, ports))
    }

    /// Writes rows and returns when they are in the store.
    ///
    /// # Errors
    /// `CRYPTO_INTERNAL_ERROR` when the store refuses them or is gone, `CRYPTO_RATE_LIMIT_EXCEEDED`
    /// when too many such requests wait.
    pub async fn write(&self, rows: Vec<Row>) -> Result<(), CryptoError> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Write(rows, done))?;
        answer.await.map_err(|_| gone())?.map_err(CryptoError::from)
    }

    /// Returns when all that was handed over before is safe on disk.
    ///
    /// # Errors
    /// As [`Recorder::write`].
    pub async fn flush(&self) -> Result<(), CryptoError> {
        let (done, answer) = oneshot::channel();
        self.ask(Job::Flush(done))?;
        answer.await.map_err(|_| gone())?.map_err(CryptoError::from)
    }

    fn ask(&self, job: Job) -> Result<(), CryptoError> {
        self.0.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => CryptoError::new(
                CryptoCode::RateLimitExceeded,
                "the store is busy with other requests for history",
            ),
            TrySendError::Disconnected(_) => gone(),
        })
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> RecorderStats {
        let shared = &self.0.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RecorderStats {
            written: read(&shared.written),
            known: read(&shared.known),
            retries: read(&shared.retries),
            rejected: read(&shared.rejected),
            waiting: read(&shared.waiting),
            trouble: shared.trouble.lock().clone(),
        }
    }

    /// Writes what is left, flushes and ends the thread; blocks up to `limit`. False when the
    /// writer had to be left behind.
    pub fn stop(&self, limit: Duration) -> bool {
        self.0.shared.stopping.store(true, Ordering::Release);
        let Some(thread) = self.0.thread.lock().take() else {
            return true;
        };
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while !thread.is_finished() {
            if waited >= limit {
                return false;
            }
            std::thread::sleep(step);
            waited += step;
        }
        thread.join().is_ok()
    }
}

fn gone() -> CryptoError {
    CryptoError::new(CryptoCode::InternalError, "the store has stopped")
}

type Done = oneshot::Sender<Result<(), StoreError>>;

#[cfg(test)]
mod tests;
