//! Who commanded what: every command over REST, what is done on the command line with keys, and proofs
//! that were none go into the log of [`bookwire_engine::audit`].
//!
//! A thread of its own writes; whoever hands something over never waits for the disk. What does not fit
//! into its queue is lost, counted, and told by an entry once there is room. With `audit.required` an
//! order is only passed on when an entry that it was asked for is on the disk; cancels always pass.

mod record;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bookwire_engine::audit::{AUDIT_FOLDER, AuditLog, Entry, Opened, Outcome, Sealer};
use bookwire_engine::config::Config;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::vault::{MasterKey, MasterSources};
use serde_json::{Map, Value, json};

pub use self::record::Record;
pub use self::watch::{Note, watch};
use crate::error::wall_clock;

/// Records that may wait for the disk.
const WAITING_MAX: usize = 1024;

/// Records that are written at once.
const BATCH: usize = 256;

/// After a write this long is waited for more: under load many records are one write, and whoever hands
/// one over wakes nobody.
const GATHER: Duration = Duration::from_millis(10);

/// Longest time until what was written reaches the disk.
const SYNC: Duration = Duration::from_millis(100);

/// Pause before a disk that refused is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Longest time that an order waits for its entry.
const PATIENCE: Duration = Duration::from_secs(2);

/// Proofs that were none, and sessions that were opened, told in a minute each; how many more there were is
/// told with the next.
const TOLD_PER_MINUTE: u32 = 60;

enum Order {
    Write(Box<Record>),
    /// As `Write`; tells whether it is on the disk.
    Prove(Box<Record>, tokio::sync::oneshot::Sender<bool>),
    /// Writes what came before, and ends.
    Stop(SyncSender<()>),
}

#[derive(Default)]
struct Counts {
    written: AtomicU64,
    lost: AtomicU64,
    errors: AtomicU64,
    waiting: AtomicU64,
}

/// What anybody can have told as often as they like is told so often a minute.
struct Bounded {
    since: Instant,
    told: u32,
    not_told: u64,
}

impl Bounded {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            told: 0,
            not_told: 0,
        }
    }

    /// Whether one more is told, and then how many were not since the last that was.
    fn take(&mut self) -> Option<u64> {
        if self.since.elapsed() >= Duration::from_secs(60) {
            (self.since, self.told) = (Instant::now(), 0);
        }
        if self.told >= TOLD_PER_MINUTE {
            self.not_told += 1;
            return None;
        }
        self.told += 1;
        Some(std::mem::take(&mut self.not_told))
    }
}

struct Inner {
    queue: SyncSender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
    counts: Counts,
    trouble: Mutex<Option<String>>,
    failures: Mutex<Bounded>,
    sessions: Mutex<Bounded>,
    is_required: bool,
}

/// The handle; clones are the same log.
#[derive(Clone, Default)]
pub struct Audit(Option<Arc<Inner>>);

/// How the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditStats {
    /// There is one.
    pub is_on: bool,
    /// Orders need it.
    pub is_required: bool,
    /// Entries written since the start.
    pub written: u64,
    /// Entries that did not fit into the queue.
    pub lost: u64,
    /// Writes that failed.
    pub errors: u64,
    /// Entries that wait.
    pub waiting: u64,
    /// Why nothing can be written now.
    pub trouble: Option<String>,
}

/// Where the master key is, for [`Audit::start`].
pub type FindKey = Box<dyn Fn() -> Option<Sealer> + Send>;

/// Looks for the master key in its places; one that can't be used is none.
#[must_use]
pub fn finder(sources: MasterSources) -> FindKey {
    Box::new(move || {
        let master = MasterKey::find(&sources).ok().flatten()?;
        Sealer::keyed(&master).ok()
    })
}

/// The log's folder.
#[must_use]
pub fn folder(config: &Config) -> PathBuf {
    config.server.data_dir.join(AUDIT_FOLDER)
}

impl Audit {
    /// Keeps nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Starts the thread. A log that can't be opened is told, and tried again.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(config: &Config, find_key: FindKey) -> std::io::Result<Self> {
        if !config.audit.enabled {
            return Ok(Self::none());
        }
        let (queue, inbox) = sync_channel(WAITING_MAX);
        let inner = Arc::new(Inner {
            queue,
            thread: Mutex::default(),
            counts: Counts::default(),
            trouble: Mutex::default(),
            failures: Mutex::new(Bounded::new()),
            sessions: Mutex::new(Bounded::new()),
            is_required: config.audit.required,
        });
        let mut writer = Writer {
            folder: folder(config),
            file_bytes_max: config.audit.file_bytes_max,
            find_key: Arc::new(Mutex::new(find_key)),
            log: None,
            inner: inner.clone(),
            lost_told: 0,
            is_dirty: false,
        };
        // Before the first order can come, where that works.
        let version = json!({"version": env!("CARGO_PKG_VERSION")});
        let start = [own("server.start", version)];
        let is_started = writer.write(&start) && writer.sync();
        let thread = std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || {
                if !is_started {
                    writer.insist(&start);
                }
                writer.run(&inbox);
            })?;
        *lock(&inner.thread) = Some(thread);
        Ok(Self(Some(inner)))
    }

    /// Hands an entry over; never waits.
    pub fn record(&self, record: Record) {
        let Some(inner) = &self.0 else { return };
        inner.push(Order::Write(Box::new(record)));
    }

    /// True when orders have to be on the disk before they are passed on.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.is_required)
    }

    /// Hands over that something is about to be done, and waits until that is on the disk.
    ///
    /// # Errors
    /// `CRYPTO_TRADING_HALTED` when it can't be written in time.
    pub async fn prove(&self, record: Record) -> Result<(), CryptoError> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let (done, is_done) = tokio::sync::oneshot::channel();
        inner.push(Order::Prove(Box::new(record), done));
        // While the disk is in trouble there is nothing to wait for; the entry stays in the queue.
        let is_well = lock(&inner.trouble).is_none();
        let proof = async {
            match is_well {
                true => tokio::time::timeout(PATIENCE, is_done).await.ok()?.ok(),
                false => None,
            }
        };
        match proof.await {
            Some(true) => Ok(()),
            _ => Err(CryptoError::new(
                CryptoCode::TradingHalted,
                "the audit log can't be written, and audit.required is set: no order is passed on",
            )
            .suggest("see the audit_log check of GET /api/crypto/health; cancels still pass")),
        }
    }

    /// A proof that was none. Above a number a minute they are only counted.
    pub fn auth_failed(
        &self,
        via: &'static str,
        key: &str,
        from: IpAddr,
        trace: &str,
        why: &CryptoError,
    ) {
        let Some(inner) = &self.0 else { return };
        let Some(not_told) = lock(&inner.failures).take() else {
            return;
        };
        let note = noted(not_told, Map::new());
        self.record(Record {
            who: key.to_owned(),
            via,
            from: from.to_string(),
            trace_id: trace.to_owned(),
            outcome: Outcome::Refused,
            status: Some(why.code.http_status()),
            code: Some(why.code.as_str()),
            note,
            ..Record::new("auth.failure")
        });
    }

    /// A WebSocket session has proven a key: from now on it may see accounts, and may have asked for orders
    /// to be canceled at its end. Above a number a minute they are only counted.
    pub fn session_opened(
        &self,
        key: &str,
        from: IpAddr,
        trace: &str,
        details: Map<String, Value>,
    ) {
        let Some(inner) = &self.0 else { return };
        let Some(not_told) = lock(&inner.sessions).take() else {
            return;
        };
        self.record(Record {
            who: key.to_owned(),
            via: "ws",
            from: from.to_string(),
            trace_id: trace.to_owned(),
            note: noted(not_told, details),
            ..Record::new("session.auth")
        });
    }

    /// How it is.
    #[must_use]
    pub fn stats(&self) -> AuditStats {
        let Some(inner) = &self.0 else {
            return AuditStats::default();
        };
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        AuditStats {
            is_on: true,
            is_required: inner.is_required,
            written: read(&inner.counts.written),
            lost: read(&inner.counts.lost),
            errors: read(&inner.counts.errors),
            waiting: read(&inner.counts.waiting),
            trouble: lock(&inner.trouble).clone(),
        }
    }

    /// Writes what waits, and ends; blocks up to `limit`.
    pub fn stop(&self, limit: Duration) {
        let Some(inner) = &self.0 else { return };
        let Some(thread) = lock(&inner.thread).take() else {
            return;
        };
        let (done, is_done) = sync_channel(1);
        let end = Instant::now() + limit;
        let mut order = Order::Stop(done);
        // The queue may be full; then the disk is in trouble, and the limit ends it.
        while let Err(TrySendError::Full(back)) = inner.queue.try_send(order) {
            if Instant::now() >= end {
                return;
            }
            order = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        let left = end.saturating_duration_since(Instant::now());
        if is_done.recv_timeout(left).is_ok() {
            let _ = thread.join();
        }
    }
}

/// Details, with how many entries were not told before.
fn noted(not_told: u64, mut details: Map<String, Value>) -> Map<String, Value> {
    if not_told > 0 {
        details.insert("not_told_before".to_owned(), not_told.into());
    }
    details
}

impl Inner {
    fn push(&self, order: Order) {
        self.counts.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(order).is_err() {
            self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
            if self.counts.lost.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!("the audit log can't keep up: entries are lost");
            }
        }
    }
}

fn lock<T>(what: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own(action: &str, details: Value) -> Entry {
    let details = match details {
        Value::Object(details) => details,
        _ => Map::new(),
    };
    Entry::own(wall_clock(), action, details)
}

struct Writer {
    folder: PathBuf,
    file_bytes_max: u64,
    find_key: Arc<Mutex<FindKey>>,
    log: Option<AuditLog>,
    inner: Arc<Inner>,
    /// Lost entries that an entry has told.
    lost_told: u64,
    is_dirty: bool,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            let mut orders = match inbox.recv_timeout(SYNC) {
                Ok(first) => vec![first],
                Err(RecvTimeoutError::Timeout) => {
                    self.sync();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            orders.extend(inbox.try_iter().take(BATCH - 1));
            let (mut entries, mut proofs, mut stop) = (Vec::new(), Vec::new(), None);
            for order in orders {
                match order {
                    Order::Write(record) => entries.push(record.entry()),
                    Order::Prove(record, done) => {
                        entries.push(record.entry());
                        proofs.push(done);
                    }
                    Order::Stop(done) => stop = Some(done),
                }
            }
            let taken = entries.len() as u64;
            let lost = self.inner.counts.lost.load(Ordering::Relaxed);
            if lost > self.lost_told {
                entries.push(own("audit.lost", json!({"entries": lost - self.lost_told})));
                self.lost_told = lost;
            }
            if stop.is_some() {
                entries.push(own("server.stop", json!({})));
            }
            let mut is_written = self.write(&entries);
            if !proofs.is_empty() || stop.is_some() {
                is_written = is_written && self.sync();
            }
            for done in proofs {
                let _ = done.send(is_written);
            }
            if !is_written && stop.is_none() {
                self.insist(&entries);
            }
            self.inner
                .counts
                .waiting
                .fetch_sub(taken, Ordering::Relaxed);
            if let Some(done) = stop {
                let _ = done.try_send(());
                return;
            }
            // Where orders wait for their entries, nothing else is waited for.
            if !self.inner.is_required {
                std::thread::sleep(GATHER);
            }
        }
    }

    /// Tries until entries are written: what comes meanwhile waits in the queue, which is bounded.
    fn insist(&mut self, entries: &[Entry]) {
        loop {
            std::thread::sleep(RETRY);
            if self.write(entries) {
                return;
            }
        }
    }

    /// Adds entries; false when that failed, which is told.
    fn write(&mut self, entries: &[Entry]) -> bool {
        let result = self.open().and_then(|log| {
            let result = log.append(entries);
            result.map_err(|error| error.to_string())
        });
        if result.is_ok() {
            self.is_dirty = true;
            let count = entries.len() as u64;
            self.inner
                .counts
                .written
                .fetch_add(count, Ordering::Relaxed);
        }
        self.tell(result)
    }

    fn sync(&mut self) -> bool {
        if !std::mem::take(&mut self.is_dirty) {
            return true;
        }
        let result = match &mut self.log {
            Some(log) => log.sync().map_err(|error| error.to_string()),
            None => Ok(()),
        };
        self.is_dirty = result.is_err();
        self.tell(result)
    }

    fn open(&mut self) -> Result<&mut AuditLog, String> {
        if self.log.is_none() {
            let finder = self.find_key.clone();
            let sealer = lock(&finder)();
            let again = move || lock(&finder)();
            let sealer = sealer.unwrap_or_else(Sealer::plain);
            let now = wall_clock();
            let opened = AuditLog::open(&self.folder, sealer, self.file_bytes_max, now, again);
            let (log, opened) = opened.map_err(|error| error.to_string())?;
            told(&self.folder, &opened);
            self.log = Some(log);
        }
        self.log.as_mut().ok_or_else(String::new)
    }

    fn tell(&self, result: Result<(), String>) -> bool {
        let mut trouble = lock(&self.inner.trouble);
        match result {
            Ok(()) => {
                if trouble.take().is_some() {
                    tracing::info!("the audit log can be written again");
                }
                true
            }
            Err(error) => {
                self.inner.counts.errors.fetch_add(1, Ordering::Relaxed);
                if trouble.as_deref() != Some(error.as_str()) {
                    tracing::error!(error, "the audit log can't be written");
                }
                *trouble = Some(error);
                false
            }
        }
    }
}

/// What was found at the start goes to the log that people read, too.
pub fn told(folder: &std::path::Path, opened: &Opened) {
    let folder = folder.display();
    if let Some(bytes) = opened.incomplete_bytes {
        tracing::warn!(%folder, bytes, "the last entry of the audit log was not written to its end");
    }
    if let Some(missing) = opened.missing {
        tracing::error!(%folder, missing, "the last entries of the audit log are missing");
    }
    if opened.is_damaged {
        tracing::error!(%folder, "the audit log is damaged: `bookwire audit verify` says where");
    }
}
