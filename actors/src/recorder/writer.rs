//! The recorder's thread: takes rows from the rings and from requests, writes them in batches, and
//! keeps a batch until the store has it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bookwire_engine::store::{Row, Store, StoreClass, StoreError};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use rtrb::Consumer;

use super::{Done, Shared};
use crate::clock::Clock;
use crate::options::RecorderOptions;

/// How often the rings are looked at when nothing else happens.
const POLL: Duration = Duration::from_millis(10);
/// Pauses after a failed write, doubled each time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Attempts of a batch while the engine is stopping.
const LAST_TRIES: u32 = 5;
/// How often what was written is made safe against a loss of power.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

pub(super) enum Job {
    Write(Vec<Row>, Done),
    Flush(Done),
}

pub(super) struct Writer {
    store: Box<dyn Store>,
    options: RecorderOptions,
    rings: Vec<Consumer<Row>>,
    inbox: Receiver<Job>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    batch: Vec<Row>,
    batch_since: Duration,
    retry_at: Option<Duration>,
    backoff: Duration,
    flushed_at: Duration,
    is_dirty: bool,
}

impl Writer {
    pub(super) fn new(
        store: Box<dyn Store>,
        options: RecorderOptions,
        rings: Vec<Consumer<Row>>,
        inbox: Receiver<Job>,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = clock.monotonic();
        Self {
            store,
            batch: Vec::with_capacity(options.batch),
            options,
            rings,
            inbox,
            shared,
            clock,
            batch_since: now,
            retry_at: None,
            backoff: BACKOFF.0,
            flushed_at: now,
            is_dirty: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let is_stopping = self.shared.stopping.load(Ordering::Acquire);
            self.collect();
            self.write_due(is_stopping);
            match self.inbox.recv_timeout(POLL) {
                Ok(job) => self.serve(job),
                Err(RecvTimeoutError::Timeout) => {}
                // No handle is left: nobody can ask for a stop any more.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            // Looked at before the collection above: what was pushed before the stop is in.
            if is_stopping && self.inbox.is_empty() && self.rings.iter().all(Consumer::is_empty) {
                break;
            }
        }
        self.finish();
    }

    fn collect(&mut self) {
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
            .waiting
            .store(self.batch.len() as u64, Ordering::Relaxed);
    }

    fn write_due(&mut self, is_stopping: bool) {
        let now = self.clock.monotonic();
        if self.is_dirty && now.saturating_sub(self.flushed_at) >= FLUSH_EVERY {
            self.flush();
        }
        if self.batch.is_empty() || self.retry_at.is_some_and(|at| now < at && !is_stopping) {
            return;
        }
        let is_full = self.batch.len() >= self.options.batch;
        let is_old = now.saturating_sub(self.batch_since) >= self.options.flush;
        if is_full || is_old || is_stopping || self.retry_at.is_some() {
            // Kept, counted and told: the next round tries again.
            let _ = self.write_batch();
        }
    }

    /// Tries the batch once; an error means that it is kept for another try.
    fn write_batch(&mut self) -> Result<(), StoreError> {
        let batch = std::mem::take(&mut self.batch);
        let result = self.write(&batch);
        self.batch = batch;
        match result {
            Ok(()) => {
                self.batch.clear();
                self.retry_at = None;
                self.backoff = BACKOFF.0;
                Ok(())
            }
            Err(error) => {
                self.trouble(&error);
                match error.class() {
                    StoreClass::Reject => {
                        self.write_one_by_one();
                        Ok(())
                    }
                    StoreClass::Retry | StoreClass::Fatal => {
                        self.shared.retries.fetch_add(1, Ordering::Relaxed);
                        self.retry_at = Some(self.clock.monotonic() + self.backoff);
                        self.backoff = (self.backoff * 2).min(BACKOFF.1);
                        Err(error)
                    }
                }
            }
        }
    }

    /// A row of the batch is unfit: find it, keep the others.
    fn write_one_by_one(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        for row in &batch {
            if let Err(error) = self.write(std::slice::from_ref(row)) {
                tracing::error!(entity = %row.entity().entity_id, %error, "row not stored");
                self.shared.rejected.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.batch = batch;
        self.batch.clear();
        self.retry_at = None;
    }

    fn write(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let report = self.store.write(rows)?;
        let shared = &self.shared;
        shared
            .written
            .fetch_add(report.written as u64, Ordering::Relaxed);
        shared
            .known
            .fetch_add(report.known as u64, Ordering::Relaxed);
        if shared.trouble.lock().take().is_some() {
            tracing::info!("store works again");
        }
        self.is_dirty = true;
        Ok(())
    }

    fn flush(&mut self) {
        self.flushed_at = self.clock.monotonic();
        match self.store.flush() {
            Ok(()) => self.is_dirty = false,
            Err(error) => self.trouble(&error),
        }
    }

    fn trouble(&self, error: &StoreError) {
        let text = error.to_string();
        let mut trouble = self.shared.trouble.lock();
        if trouble.as_deref() != Some(&text) {
            tracing::error!(%error, "store failed");
            *trouble = Some(text);
        }
    }

    fn serve(&mut self, job: Job) {
        // A receiver that is gone has given up waiting; the work is done all the same.
        match job {
            Job::Write(rows, done) => {
                let _ = done.send(self.write(&rows));
            }
            Job::Flush(done) => {
                let _ = done.send(self.write_all().and_then(|()| self.store.flush()));
            }
        }
    }

    fn write_all(&mut self) -> Result<(), StoreError> {
        self.collect();
        while !self.batch.is_empty() {
            self.write_batch()?;
            self.collect();
        }
        Ok(())
    }

    fn finish(&mut self) {
        for _ in 0..LAST_TRIES {
            match self.write_all() {
                Ok(()) => break,
                Err(_) => std::thread::sleep(BACKOFF.0),
            }
        }
        if !self.batch.is_empty() {
            tracing::error!(rows = self.batch.len(), "rows not stored at the end");
        }
        self.flush();
    }
}
