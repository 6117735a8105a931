//! The writer's thread: takes batches from the collector, from the spool and from requests, and
//! keeps each until the store has it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bookwire_engine::store::{Row, Store, StoreClass, StoreError};
use crossbeam_channel::{Receiver, select};

use super::{Done, Shared, SharedSpool};
use crate::clock::Clock;

/// Batches kept in memory when the spool fails too.
const KEPT_MAX: usize = 4;
/// How often it looks whether something is due when nothing else happens.
const POLL: Duration = Duration::from_millis(50);
/// Pauses after a failed write, doubled each time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Longest pause when somebody has to act first.
const BACKOFF_FATAL: Duration = Duration::from_secs(30);
/// Attempts of a batch while the engine is stopping.
const LAST_TRIES: u32 = 5;
/// How long the spool is emptied at the end; the rest is for the next start.
const LAST_SPOOL: Duration = Duration::from_secs(3);
/// How often what was written is made safe against a loss of power.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

pub(super) enum Job {
    Write(Vec<Row>, Done),
    /// What was written is to be seen by readers.
    Settle(Done),
    Flush(Done),
}

/// From the collector.
pub(super) enum Work {
    /// A batch.
    Rows(Vec<Row>),
    /// There is something in the spool.
    Look,
}

pub(super) struct Writer {
    store: Box<dyn Store>,
    work: Receiver<Work>,
    jobs: Receiver<Job>,
    spool: Option<Arc<SharedSpool>>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Batches that neither the store nor the spool has taken, the oldest first.
    kept: VecDeque<Vec<Row>>,
    retry_at: Option<Duration>,
    backoff: Duration,
    flushed_at: Duration,
    is_dirty: bool,
}

/// What there is to write next.
enum Next {
    Rows(Vec<Row>),
    Spooled(Vec<Row>),
    Nothing,
}

impl Writer {
    pub(super) fn new(
        store: Box<dyn Store>,
        work: Receiver<Work>,
        jobs: Receiver<Job>,
        spool: Option<Arc<SharedSpool>>,
        shared: Arc<Shared>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let now = clock.monotonic();
        Self {
            store,
            work,
            jobs,
            spool,
            shared,
            clock,
            kept: VecDeque::new(),
            retry_at: None,
            backoff: BACKOFF.0,
            flushed_at: now,
            is_dirty: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            while let Ok(job) = self.jobs.try_recv() {
                self.serve(job);
            }
            let now = self.clock.monotonic();
            if self.is_dirty && now.saturating_sub(self.flushed_at) >= FLUSH_EVERY {
                // A failure is kept, counted and told.
                let _ = self.flush();
            }
            let is_stopping = self.shared.stopping.load(Ordering::Acquire);
            // Before the channel is looked at: what was handed on before the end is found below.
            let is_last = self.shared.collected.load(Ordering::Acquire);
            let is_pausing = self.retry_at.is_some_and(|at| now < at) && !is_stopping;
            if !is_pausing {
                match self.step() {
                    // What is left is written below, as far as there is time.
                    Ok(_) if is_last => break,
                    Ok(true) => continue,
                    Err(_) if is_stopping && is_last => break,
                    Ok(false) | Err(_) => {}
                }
            }
            self.wait(is_pausing);
        }
        self.finish();
    }

    /// Waits for work, a request, or for something to be due. Work is left where it is while the
    /// store has to be left alone: the collector then sees a full channel, and spools.
    fn wait(&mut self, is_pausing: bool) {
        if is_pausing {
            if let Ok(job) = self.jobs.recv_timeout(POLL) {
                self.serve(job);
            }
            return;
        }
        select! {
            recv(self.jobs) -> job => match job {
                Ok(job) => self.serve(job),
                // No handle is left, and the collector is about to end.
                Err(_) => std::thread::sleep(POLL),
            },
            recv(self.work) -> work => match work {
                Ok(Work::Rows(rows)) => {
                    // Kept, counted and told: the next round tries again.
                    let _ = self.write_rows(rows);
                }
                Ok(Work::Look) | Err(_) => {}
            },
            default(POLL) => {}
        }
    }

    /// Writes the next batch; false when there is none. An error means that it is kept.
    fn step(&mut self) -> Result<bool, StoreError> {
        match self.next() {
            Next::Nothing => Ok(false),
            Next::Rows(rows) => self.write_rows(rows).map(|()| true),
            Next::Spooled(rows) => {
                self.write_batch(&rows)?;
                if let Some(spool) = &self.spool {
                    spool.with(|spool| spool.consumed());
                }
                Ok(true)
            }
        }
    }

    /// What is on the channel is older than all that is in the spool: the collector spools only
    /// when the channel is full or the spool has something, and then goes on with the spool.
    fn next(&mut self) -> Next {
        if let Some(rows) = self.kept.pop_front() {
            return Next::Rows(rows);
        }
        let Some(spool) = &self.spool else {
            return self.take_from_channel().map_or(Next::Nothing, Next::Rows);
        };
        // Under the lock: between a look at the channel and one at the spool the collector could
        // fill both.
        let next = spool.with(|spool| match self.take_from_channel() {
            Some(rows) => Ok(Next::Rows(rows)),
            None => Ok(spool
                .front()?
                .map_or(Next::Nothing, |frame| Next::Spooled(frame.rows))),
        });
        next.unwrap_or(Next::Nothing)
    }

    fn take_from_channel(&self) -> Option<Vec<Row>> {
        self.work.try_iter().find_map(|work| match work {
            Work::Rows(rows) => Some(rows),
            Work::Look => None,
        })
    }

    /// Writes a batch of the collector; what the store can't take now goes to the spool.
    fn write_rows(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        let result = self.write_batch(&rows);
        let mut settled = rows.len();
        if result.is_err() {
            settled = self.set_aside(rows);
        }
        self.shared
            .writing
            .fetch_sub(settled as u64, Ordering::Relaxed);
        result
    }

    /// Puts a batch, and those that wait behind it, on disk before what is there; rows that are
    /// there then.
    fn set_aside(&mut self, rows: Vec<Row>) -> usize {
        self.kept.push_front(rows);
        let spool = match &self.spool {
            // The spool has failed with all that may be kept: the channel stays full, the collector
            // keeps its batch, and the shards' rings their rows, until something works again.
            Some(spool) if self.kept.len() <= KEPT_MAX => spool,
            _ => return 0,
        };
        let at = self.clock.now();
        let (work, kept) = (&self.work, &mut self.kept);
        let is_aside = spool.with(|spool| {
            // Under the lock: the collector can't put a newer one on the channel meanwhile.
            kept.extend(work.try_iter().filter_map(|work| match work {
                Work::Rows(rows) => Some(rows),
                Work::Look => None,
            }));
            let slices: Vec<&[Row]> = kept.iter().map(Vec::as_slice).collect();
            spool.prepend(&slices, at)
        });
        match is_aside {
            Some(()) => self.kept.drain(..).map(|rows| rows.len()).sum(),
            None => 0,
        }
    }

    /// Tries a batch once. Rows that the store will never take are left out and counted.
    fn write_batch(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let Err(error) = self.write(rows) else {
            self.retry_at = None;
            self.backoff = BACKOFF.0;
            return Ok(());
        };
        let longest = match error.class() {
            StoreClass::Reject => return self.write_one_by_one(rows),
            StoreClass::Retry => BACKOFF.1,
            StoreClass::Fatal => BACKOFF_FATAL,
        };
        self.trouble(&error);
        self.shared.retries.fetch_add(1, Ordering::Relaxed);
        self.retry_at = Some(self.clock.monotonic() + self.backoff);
        self.backoff = (self.backoff * 2).min(longest);
        Err(error)
    }

    /// A row of the batch is unfit: find it, keep the others. Halves, not single rows: a store far
    /// away takes milliseconds for each write.
    fn write_one_by_one(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let mut parts = vec![rows];
        while let Some(part) = parts.pop() {
            let Err(error) = self.write(part) else {
                continue;
            };
            match (error.class(), part) {
                (StoreClass::Reject, [row]) => {
                    tracing::error!(?row, %error, "row not stored");
                    self.shared.rejected.fetch_add(1, Ordering::Relaxed);
                }
                (StoreClass::Reject, part) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                // The store has gone away in the middle: the whole batch is written again later,
                // which changes nothing of what is there.
                (StoreClass::Retry | StoreClass::Fatal, _) => {
                    self.trouble(&error);
                    self.retry_at = Some(self.clock.monotonic() + self.backoff);
                    return Err(error);
                }
            }
        }
        self.retry_at = None;
        Ok(())
    }

    fn write(&mut self, rows: &[Row]) -> Result<(), StoreError> {
        let result = self.store.write(rows);
        let shared = &self.shared;
        if let Some(changes) = &shared.changes {
            // After a failure too: parts can be there.
            changes.note(rows);
        }
        let report = result?;
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

    fn flush(&mut self) -> Result<(), StoreError> {
        self.flushed_at = self.clock.monotonic();
        match self.store.flush() {
            Ok(()) => {
                self.is_dirty = false;
                Ok(())
            }
            Err(error) => {
                self.trouble(&error);
                Err(error)
            }
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
            Job::Settle(done) => {
                let _ = done.send(match self.store.shows_at_once() {
                    true => Ok(()),
                    false => self.flush(),
                });
            }
            Job::Flush(done) => {
                let _ = done.send(self.write_all().and_then(|()| self.flush()));
            }
        }
    }

    fn write_all(&mut self) -> Result<(), StoreError> {
        while self.step()? {}
        Ok(())
    }

    /// The collector has ended: what it handed on is on the channel or in the spool.
    fn finish(&mut self) {
        let deadline = self.clock.monotonic() + LAST_SPOOL;
        let mut tries = 0;
        while tries < LAST_TRIES {
            let is_late = self.clock.monotonic() >= deadline;
            if is_late && self.kept.is_empty() && self.work.is_empty() {
                break;
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => break,
                // On disk, it can wait for the next start.
                Err(_) if self.kept.is_empty() => break,
                Err(_) => {
                    tries += 1;
                    std::thread::sleep(BACKOFF.0);
                }
            }
        }
        let kept: usize = self.kept.iter().map(Vec::len).sum();
        if kept > 0 {
            tracing::error!(rows = kept, "rows not stored at the end");
        }
        if let Some(spool) = &self.spool {
            spool.with(|spool| spool.sync());
            let rows = self.shared.spooled_rows.load(Ordering::Relaxed);
            if rows > 0 {
                tracing::warn!(rows, "rows are in the spool: the next start stores them");
            }
        }
        if self.is_dirty {
            // Told in the log.
            let _ = self.flush();
        }
        // Who still asks has to be told that it is over.
        while let Ok(job) = self.jobs.try_recv() {
            drop(job);
        }
    }
}
