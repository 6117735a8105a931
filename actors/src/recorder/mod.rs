//! Rows on their way to the store: from each shard over a ring of its own to the collector, which
//! never waits, and from there in batches to the writer, which may block for as long as the store
//! needs.
//!
//! A store that is slow or away costs neither the shards nor rows: the collector puts what the
//! writer can't take on disk (the spool), and the writer takes it from there, in order, when the
//! store works again. Only when the spool is full are rows lost, the least precious kind first;
//! each is counted and told. A killed process loses the rows of the last batch that was not written
//! (`store.flush_ms`) and those being written, at most; with [`RecorderOptions::is_spool_first`] the
//! former alone.

mod changes;
mod collector;
mod writer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::store::{Row, Spool, SpoolError, Store, StoreError};
use bookwire_engine::time::TsNanos;
use crossbeam_channel::{Sender, TrySendError};
use parking_lot::Mutex;
use rtrb::{Producer, RingBuffer};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::options::RecorderOptions;
pub use changes::{Bars, Changes};
use collector::Collector;
use writer::{Job, Work, Writer};

/// Requests to the writer that may wait: each is a page of history or a flush.
const JOBS: usize = 64;
/// Batches between collector and writer before the spool is used.
const BATCHES: usize = 2;

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
    /// Rows lost because the spool was full or could not be written.
    pub dropped: u64,
    /// Rows that wait in memory, the rings left aside.
    pub waiting: u64,
    /// Rows that wait on disk.
    pub spooled_rows: u64,
    /// Bytes that wait on disk.
    pub spooled_bytes: u64,
    /// When the oldest row that waits on disk was put there; `None`: none does.
    pub spooled_since: Option<TsNanos>,
    /// Files of the spool that were damaged and set aside.
    pub spool_damaged: u64,
    /// What is wrong with the store now; `None`: nothing.
    pub trouble: Option<String>,
    /// What is wrong with the spool now; `None`: nothing.
    pub spool_trouble: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// The collector has handed on its last batch.
    collected: AtomicBool,
    /// Changes of bars, where readers see rows as soon as they are written.
    changes: Option<Changes>,
    written: AtomicU64,
    known: AtomicU64,
    retries: AtomicU64,
    rejected: AtomicU64,
    dropped: AtomicU64,
    /// Rows that the collector holds, and those that the writer has not done with.
    collecting: AtomicU64,
    writing: AtomicU64,
    spooled_rows: AtomicU64,
    spooled_bytes: AtomicU64,
    /// 0: nothing is spooled.
    spooled_since: AtomicI64,
    spool_damaged: AtomicU64,
    trouble: Mutex<Option<String>>,
    spool_trouble: Mutex<Option<SpoolTrouble>>,
}

#[derive(Debug)]
struct SpoolTrouble {
    text: String,
    /// Reading does not end it.
    is_full: bool,
}

/// What is done with the spool, for its troubles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Append,
    /// Rows that may use the reserve of a full spool.
    Reserve,
    Other,
}

/// The spool as both threads use it.
#[derive(Debug)]
struct SharedSpool {
    spool: Mutex<Spool>,
    shared: Arc<Shared>,
}

impl SharedSpool {
    /// Runs one operation; its failure is told once, until the spool works again.
    fn with<T>(&self, work: impl FnOnce(&mut Spool) -> Result<T, SpoolError>) -> Option<T> {
        self.locked(Use::Other, work).ok()
    }

    fn locked<T>(
        &self,
        is_for: Use,
        work: impl FnOnce(&mut Spool) -> Result<T, SpoolError>,
    ) -> Result<T, SpoolError> {
        let mut spool = self.spool.lock();
        let result = work(&mut spool);
        let usage = spool.usage();
        drop(spool);
        let shared = &self.shared;
        shared.spooled_rows.store(usage.rows, Ordering::Relaxed);
        shared.spooled_bytes.store(usage.bytes, Ordering::Relaxed);
        let since = usage.oldest.map_or(0, |ts| ts.0);
        shared.spooled_since.store(since, Ordering::Relaxed);
        let damaged = shared.spool_damaged.swap(usage.damaged, Ordering::Relaxed);
        if usage.damaged > damaged {
            tracing::error!("a damaged file of the spool was set aside: its rows are not stored");
        }
        let mut trouble = shared.spool_trouble.lock();
        match &result {
            Ok(_) => {
                let is_over = |trouble: &SpoolTrouble| match is_for {
                    Use::Append => true,
                    Use::Reserve => false,
                    Use::Other => !trouble.is_full,
                };
                if trouble.as_ref().is_some_and(is_over) {
                    *trouble = None;
                    tracing::info!("spool works again");
                }
            }
            Err(error) => {
                let text = error.to_string();
                if trouble.as_ref().is_none_or(|known| known.text != text) {
                    tracing::error!(%error, "spool failed");
                    let is_full = matches!(error, SpoolError::Full { .. });
                    *trouble = Some(SpoolTrouble { text, is_full });
                }
            }
        }
        result
    }
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
    flushes: Sender<Done>,
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The recorder's handle. Clones are the same recorder.
#[derive(Clone)]
pub struct Recorder(Arc<Inner>);

/// Why the recorder does not start.
#[derive(Debug, thiserror::Error)]
pub enum RecorderError {
    /// A thread can't be started.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The spool can't be opened.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

impl Recorder {
    /// Opens the spool, starts both threads and makes a port for each of `shards`.
    ///
    /// # Errors
    /// [`RecorderError`].
    pub fn start(
        store: Box<dyn Store>,
        options: RecorderOptions,
        shards: usize,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Vec<RecorderPort>), RecorderError> {
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
        let shared = Arc::new(Shared {
            changes: store.shows_at_once().then(Changes::default),
            ..Shared::default()
        });
        let spool = match &options.spool {
            Some(at) => Some(Arc::new(SharedSpool {
                spool: Mutex::new(Spool::open(at.clone())?),
                shared: shared.clone(),
            })),
            None => None,
        };
        if let Some(left) = &spool
            && left.with(|spool| Ok(!spool.is_empty())) == Some(true)
        {
            let rows = shared.spooled_rows.load(Ordering::Relaxed);
            tracing::info!(rows, "rows of an earlier run go to the store first");
        }
        let (jobs, inbox) = crossbeam_channel::bounded(JOBS);
        let (flushes, asked) = crossbeam_channel::bounded(JOBS);
        let (batches, work) = crossbeam_channel::bounded::<Work>(BATCHES);
        let writer = Writer::new(
            store,
            work,
            inbox,
            spool.clone(),
            shared.clone(),
            clock.clone(),
        );
        let collector = Collector::new(
            options,
            rings,
            (asked, jobs.clone()),
            batches,
            spool,
            shared.clone(),
            clock,
        );
        let threads = vec![
            std::thread::Builder::new()
                .name("store".to_owned())
                .spawn(move || writer.run())?,
            std::thread::Builder::new()
                .name("recorder".to_owned())
                .spawn(move || collector.run())?,
        ];
        let recorder = Self(Arc::new(Inner {
            jobs,
            flushes,
            shared,
            threads: Mutex::new(threads),
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
        self.0
            .jobs
            .try_send(Job::Write(rows, done))
            .map_err(refused)?;
        answer.await.map_err(|_| gone())?.map_err(CryptoError::from)
    }

    /// Returns when readers see what [`Self::write`] has written.
    ///
    /// # Errors
    /// As [`Recorder::write`].
    pub async fn settle(&self) -> Result<(), CryptoError> {
        let (done, answer) = oneshot::channel();
        self.0.jobs.try_send(Job::Settle(done)).map_err(refused)?;
        answer.await.map_err(|_| gone())?.map_err(CryptoError::from)
    }

    /// Returns when all that was handed over before is safe on disk.
    ///
    /// # Errors
    /// As [`Recorder::write`].
    pub async fn flush(&self) -> Result<(), CryptoError> {
        let (done, answer) = oneshot::channel();
        self.0.flushes.try_send(done).map_err(refused)?;
        answer.await.map_err(|_| gone())?.map_err(CryptoError::from)
    }

    /// The latest changes of bars; `None` where readers see what was written at a later time that is not
    /// known.
    #[must_use]
    pub fn changes(&self) -> Option<&Changes> {
        self.0.shared.changes.as_ref()
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> RecorderStats {
        let shared = &self.0.shared;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let since = shared.spooled_since.load(Ordering::Relaxed);
        RecorderStats {
            written: read(&shared.written),
            known: read(&shared.known),
            retries: read(&shared.retries),
            rejected: read(&shared.rejected),
            dropped: read(&shared.dropped),
            waiting: read(&shared.collecting) + read(&shared.writing),
            spooled_rows: read(&shared.spooled_rows),
            spooled_bytes: read(&shared.spooled_bytes),
            spooled_since: (since != 0).then_some(TsNanos(since)),
            spool_damaged: read(&shared.spool_damaged),
            trouble: shared.trouble.lock().clone(),
            spool_trouble: shared
                .spool_trouble
                .lock()
                .as_ref()
                .map(|trouble| trouble.text.clone()),
        }
    }

    /// Writes what is left, flushes and ends the threads; blocks up to `limit`. What the store does
    /// not take by then stays in the spool for the next start. False when a thread had to be left
    /// behind.
    pub fn stop(&self, limit: Duration) -> bool {
        self.0.shared.stopping.store(true, Ordering::Release);
        let threads = std::mem::take(&mut *self.0.threads.lock());
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while !threads.iter().all(JoinHandle::is_finished) {
            if waited >= limit {
                return false;
            }
            std::thread::sleep(step);
            waited += step;
        }
        threads.into_iter().all(|thread| thread.join().is_ok())
    }
}

fn refused<T>(error: TrySendError<T>) -> CryptoError {
    match error {
        TrySendError::Full(_) => CryptoError::new(
            CryptoCode::RateLimitExceeded,
            "the store is busy with other requests for history",
        ),
        TrySendError::Disconnected(_) => gone(),
    }
}

fn gone() -> CryptoError {
    CryptoError::new(CryptoCode::InternalError, "the store has stopped")
}

type Done = oneshot::Sender<Result<(), StoreError>>;

#[cfg(test)]
mod tests;
