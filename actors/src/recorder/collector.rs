//! The collector's thread: empties the rings and hands batches on, to the writer while that keeps
//! up, else to the spool. It never waits for the store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::store::{Entity, Row, Series, SpoolError};
use bookwire_engine::time::TsNanos;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError};
use rtrb::Consumer;

use super::writer::{Job, Work};
use super::{Done, Shared, SharedSpool, Use};
use crate::clock::Clock;
use crate::options::RecorderOptions;

/// How often the rings are looked at when nothing else happens.
const POLL: Duration = Duration::from_millis(10);
/// How often what was spooled is made safe against a loss of power.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// How often a batch that nobody can take is tried again.
const RETRY: Duration = Duration::from_millis(100);

/// Tells the writer that nothing more comes.
struct Ended(Arc<Shared>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.collected.store(true, Ordering::Release);
    }
}

pub(super) struct Collector {
    options: RecorderOptions,
    rings: Vec<Consumer<Row>>,
    /// Who wants to know when all is stored, and where they are passed on to.
    flushes: (Receiver<Done>, Sender<Job>),
    batches: Sender<Work>,
    spool: Option<Arc<SharedSpool>>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    batch: Vec<Row>,
    batch_since: Duration,
    retry_at: Duration,
    synced_at: Duration,
    /// Time of the latest trade of an entity that was dropped: no promise may reach over it.
    dropped: AHashMap<Arc<Entity>, TsNanos>,
    is_dropping: bool,
    /// Waiting for the batch to be handed on.
    asked: Vec<Done>,
}

impl Collector {
    pub(super) fn new(
        options: RecorderOptions,
        rings: Vec<Consumer<Row>>,
        flushes: (Receiver<Done>, Sender<Job>),
        batches: Sender<Work>,
        spool: Option<Arc<SharedSpool>>,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = clock.monotonic();
        Self {
            batch: Vec::new(),
            options,
            rings,
            flushes,
            batches,
            spool,
            shared,
            clock,
            batch_since: now,
            retry_at: now,
            synced_at: now,
            dropped: AHashMap::new(),
            is_dropping: false,
            asked: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        // Whatever ends this, a panic included, the writer must not wait for more.
        let shared = Arc::clone(&self.shared);
        let _end = Ended(shared);
        loop {
            // Before the rings are looked at: what was pushed before the stop is collected below.
            let is_stopping = self.shared.stopping.load(Ordering::Acquire);
            // A ring can hold more than a batch: no pause while batches are full.
            while self.collect() && self.hand_on(true) {}
            let is_due = is_stopping || !self.asked.is_empty() || self.is_old();
            let is_done = self.batch.is_empty() || (is_due && self.hand_on(is_stopping));
            if is_done {
                self.pass_on();
            }
            self.sync();
            if is_stopping && is_done && self.rings.iter().all(Consumer::is_empty) {
                break;
            }
            match self.flushes.0.recv_timeout(POLL) {
                Ok(done) => {
                    self.asked.push(done);
                    self.asked.extend(self.flushes.0.try_iter());
                }
                Err(RecvTimeoutError::Timeout) => {}
                // No handle is left: nobody can ask for a stop any more.
                Err(RecvTimeoutError::Disconnected) => {
                    self.shared.stopping.store(true, Ordering::Release);
                }
            }
        }
    }

    /// Takes what is on the rings; true when the batch is full.
    fn collect(&mut self) -> bool {
        let now = self.clock.monotonic();
        for ring in &mut self.rings {
            let room = self.options.batch.saturating_sub(self.batch.len());
            let count = ring.slots().min(room);
            let Ok(chunk) = ring.read_chunk(count) else {
                continue;
            };
            if self.batch.is_empty() {
                self.batch_since = now;
            }
            self.batch.extend(chunk);
        }
        self.shared
            .collecting
            .store(self.batch.len() as u64, Ordering::Relaxed);
        self.batch.len() >= self.options.batch
    }

    fn is_old(&self) -> bool {
        let now = self.clock.monotonic();
        now.saturating_sub(self.batch_since) >= self.options.flush
    }

    /// Hands the batch to the writer or the spool; false: nobody can take it now.
    fn hand_on(&mut self, is_urgent: bool) -> bool {
        let now = self.clock.monotonic();
        if self.batch.is_empty() {
            return true;
        }
        if now < self.retry_at && !is_urgent {
            return false;
        }
        self.clip_promises();
        let batch = std::mem::take(&mut self.batch);
        let count = batch.len();
        let left = match self.spool.clone() {
            None => self.hand_to_writer(batch).err(),
            Some(spool) => self.hand_to_either(&spool, batch),
        };
        match left {
            None => {
                // Room for as many again: a whole batch's for each few rows would be megabytes.
                self.batch = Vec::with_capacity(count.next_power_of_two().min(self.options.batch));
                self.shared.collecting.store(0, Ordering::Relaxed);
                true
            }
            Some(batch) => {
                self.batch = batch;
                self.retry_at = now + RETRY;
                false
            }
        }
    }

    fn hand_to_writer(&self, batch: Vec<Row>) -> Result<(), Vec<Row>> {
        let rows = batch.len() as u64;
        // Before it is there, so that the writer never counts it down first.
        self.shared.writing.fetch_add(rows, Ordering::Relaxed);
        self.batches.try_send(Work::Rows(batch)).map_err(|error| {
            self.shared.writing.fetch_sub(rows, Ordering::Relaxed);
            match error.into_inner() {
                Work::Rows(batch) => batch,
                Work::Look => Vec::new(),
            }
        })
    }

    /// To the writer if nothing waits in the spool, else behind what waits. Decided under the
    /// spool's lock, so that the writer can't empty or fill it in between.
    fn hand_to_either(&mut self, spool: &SharedSpool, batch: Vec<Row>) -> Option<Vec<Row>> {
        let at = self.clock.now();
        let mut batch = Some(batch);
        let result = spool.locked(Use::Append, |spool| {
            if spool.is_empty()
                && !self.options.is_spool_first
                && let Some(rows) = batch.take()
            {
                batch = self.hand_to_writer(rows).err();
            }
            match &batch {
                Some(rows) => spool.append(rows, at).map(|()| true),
                None => Ok(false),
            }
        });
        match result {
            Ok(is_spooled) => {
                if is_spooled {
                    // Full: the writer is awake.
                    let _ = self.batches.try_send(Work::Look);
                }
                self.told_dropping(false);
                None
            }
            Err(SpoolError::Full { .. }) => self.thin(spool, batch?, at),
            // The disk refuses: rows stay in memory, here and on the rings, as long as there is room.
            Err(_) => batch,
        }
    }

    /// The spool is full: snapshots of books go first, then trades. Bars and funding, which are few
    /// and are the longest remembered, have a reserve.
    fn thin(&mut self, spool: &SharedSpool, mut batch: Vec<Row>, at: TsNanos) -> Option<Vec<Row>> {
        self.told_dropping(true);
        let mut lost = 0;
        batch.retain(|row| match row {
            Row::Book(_) => {
                lost += 1;
                false
            }
            Row::Trade(row) => {
                let latest = self
                    .dropped
                    .entry(Arc::clone(&row.entity))
                    .or_insert(row.ts);
                *latest = (*latest).max(row.ts);
                lost += 1;
                false
            }
            Row::Coverage(row) => row.series != Series::Trades,
            Row::Kline(_) | Row::Funding(_) => true,
        });
        self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
        match spool.locked(Use::Reserve, |spool| spool.append_reserved(&batch, at)) {
            Ok(()) => None,
            Err(_) => Some(batch),
        }
    }

    fn told_dropping(&mut self, is_dropping: bool) {
        if self.is_dropping == is_dropping {
            return;
        }
        self.is_dropping = is_dropping;
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        match is_dropping {
            true => tracing::error!(dropped, "spool full: trades and books are being lost"),
            false => tracing::info!(dropped, "spool has room again"),
        }
    }

    /// A promise of trades must not speak of what was dropped.
    fn clip_promises(&mut self) {
        if self.dropped.is_empty() {
            return;
        }
        let dropped = &self.dropped;
        self.batch.retain_mut(|row| match row {
            Row::Coverage(row) if row.series == Series::Trades => {
                if let Some(latest) = dropped.get(&row.entity) {
                    let next = TsNanos(latest.0.saturating_add(1));
                    row.span.start = row.span.start.max(next);
                }
                !row.span.is_empty()
            }
            _ => true,
        });
    }

    /// Passes on who asked for a flush: all that was there before has been handed on.
    fn pass_on(&mut self) {
        for done in self.asked.drain(..) {
            if let Err(
                TrySendError::Full(Job::Flush(done)) | TrySendError::Disconnected(Job::Flush(done)),
            ) = self.flushes.1.try_send(Job::Flush(done))
            {
                // Dropped unanswered, it tells its owner that the store is gone; it is busy.
                drop(done);
            }
        }
    }

    fn sync(&mut self) {
        let now = self.clock.monotonic();
        if now.saturating_sub(self.synced_at) < SYNC_EVERY {
            return;
        }
        self.synced_at = now;
        if let Some(spool) = &self.spool
            && self.shared.spooled_bytes.load(Ordering::Relaxed) > 0
        {
            spool.with(|spool| spool.sync());
        }
    }
}
