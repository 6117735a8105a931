//! A shard from outside: its thread, its address, its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix::{Actor, Addr};
use arc_swap::ArcSwapOption;
use bookwire_engine::error::{CryptoCode, CryptoError};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use super::messages::StopShard;
use super::streams::Streams;
use super::{Shard, ShardShared};
use crate::alive::{Alive, Kind};
use crate::latency::ShardLatency;
use crate::recorder::RecorderPort;
use crate::state::ShardState;
use crate::status::ShardCounters;
use crate::supervisor::Supervisor;

type Address = Arc<ArcSwapOption<Addr<Shard>>>;

/// A running shard, from outside.
pub struct ShardHandle {
    /// Its counters.
    pub counters: Arc<ShardCounters>,
    /// How long the stages of its messages take.
    pub latency: Arc<ShardLatency>,
    addr: Address,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    /// What waits for a thread, of a shard that has none of its own.
    seed: Mutex<Option<Seed>>,
    /// True once it runs.
    runs: watch::Receiver<bool>,
    has_ended: AtomicBool,
}

/// A shard before it runs.
struct Seed {
    index: usize,
    of: usize,
    shared: ShardShared,
    recorder: Option<RecorderPort>,
    counters: Arc<ShardCounters>,
    latency: Arc<ShardLatency>,
    addr: Address,
    runs: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
    end: oneshot::Sender<()>,
}

impl Seed {
    /// The shard's life, on the thread that polls it.
    async fn grow(self) {
        let meters = (self.counters, self.latency);
        let busy_poll = self.shared.options.busy_poll;
        // The supervisor lives until the end.
        let supervisor = run(
            self.index,
            self.of,
            self.shared,
            meters,
            self.recorder,
            self.addr,
        );
        let spinning = busy_poll.then(|| actix_rt::spawn(spin()));
        // The starter may wait for it.
        self.runs.send_replace(true);
        // Both an order and the loss of whoever could give one.
        let _ = self.stopped.await;
        if let Some(spinning) = spinning {
            spinning.abort();
        }
        drop(supervisor);
        let _ = self.end.send(());
    }
}

impl ShardHandle {
    /// Starts the thread of shard `index` of `of`.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(
        index: usize,
        of: usize,
        shared: ShardShared,
        recorder: Option<RecorderPort>,
    ) -> std::io::Result<Self> {
        let is_pinned = shared.options.core_pinning;
        let handle = Self::prepare(index, of, shared, recorder);
        let Some(seed) = handle.seed.lock().take() else {
            return Err(std::io::Error::other("the shard runs already"));
        };
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                if is_pinned {
                    pin(index);
                }
                let system = actix::System::new();
                system.block_on(async move {
                    let mut runs = seed.runs.subscribe();
                    let told = actix_rt::spawn(async move {
                        if runs.wait_for(|runs| *runs).await.is_ok() {
                            let _ = ready.send(());
                        }
                    });
                    seed.grow().await;
                    told.abort();
                });
            })?;
        is_ready
            .recv()
            .map_err(|_| std::io::Error::other("the shard's thread ended at once"))?;
        Ok(handle)
    }

    /// A shard without a thread: it runs where [`ShardHandle::host`] is called first.
    #[must_use]
    pub fn prepare(
        index: usize,
        of: usize,
        shared: ShardShared,
        recorder: Option<RecorderPort>,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let (sender, runs) = watch::channel(false);
        let addr: Address = Arc::default();
        let counters: Arc<ShardCounters> = Arc::default();
        let latency: Arc<ShardLatency> = Arc::default();
        let seed = Seed {
            index,
            of,
            shared,
            recorder,
            counters: counters.clone(),
            latency: latency.clone(),
            addr: addr.clone(),
            runs: sender,
            stopped,
            end,
        };
        Self {
            counters,
            latency,
            addr,
            stop: Mutex::new(Some(stop)),
            ended: Mutex::new(Some(ended)),
            seed: Mutex::new(Some(seed)),
            runs,
            has_ended: AtomicBool::new(false),
        }
    }

    /// Runs a shard that has no thread yet on the calling one, which must be of an actix system. A
    /// shard that runs already is left alone.
    pub fn host(&self) {
        if let Some(seed) = self.seed.lock().take() {
            actix_rt::spawn(seed.grow());
        }
    }

    /// Returns when it runs, or when it never will.
    pub async fn running(&self) {
        let mut runs = self.runs.clone();
        // An error: its life has ended, which whoever asks next is told.
        let _ = runs.wait_for(|runs| *runs).await;
    }

    /// Where its control messages go. It changes when the control actor is started again.
    ///
    /// # Errors
    /// `CRYPTO_INTERNAL_ERROR` after the end.
    pub fn addr(&self) -> Result<Addr<Shard>, CryptoError> {
        let addr = self.addr.load();
        addr.as_deref().cloned().ok_or_else(|| {
            CryptoError::new(
                CryptoCode::InternalError,
                "the market data thread has ended",
            )
        })
    }

    /// Stops it and returns when it has ended its work, true also when it had before; false when its
    /// thread went away in the middle of it.
    pub async fn stop(&self) -> bool {
        if self.seed.lock().take().is_some() || self.has_ended.load(Ordering::Acquire) {
            return true;
        }
        if let Ok(addr) = self.addr() {
            // An error means that its actor has just died: then there is nothing to tell.
            let _ = addr.send(StopShard).await;
        }
        if let Some(stop) = self.stop.lock().take() {
            let _ = stop.send(());
        }
        let ended = self.ended.lock().take();
        match ended {
            Some(ended) => {
                let has_ended = ended.await.is_ok();
                self.has_ended.store(has_ended, Ordering::Release);
                has_ended
            }
            None => false,
        }
    }
}

fn run(
    index: usize,
    of: usize,
    shared: ShardShared,
    (counters, latency): (Arc<ShardCounters>, Arc<ShardLatency>),
    recorder: Option<RecorderPort>,
    slot: Address,
) -> Supervisor {
    let clock = shared.clock.clone();
    let recording = &shared.options.recorder;
    let supervisor = Supervisor::start(clock.clone(), counters.clone());
    let state = ShardState::new(clock, counters, recorder)
        .with_meters(shared.meters.clone())
        .with_latency(latency)
        .with_memory(shared.memory.clone())
        .with_snapshots(recording.book_interval, recording.book_depth)
        .with_quarantine(shared.quarantine.clone());
    let state = Rc::new(RefCell::new(state));
    let streams = Streams::new(index, of, shared.clone(), state.clone(), supervisor.clone());
    let papers = Rc::default();
    supervisor.supervise(format!("shard {index}"), move |life| {
        let shard = Shard {
            index,
            shared: shared.clone(),
            state: state.clone(),
            streams: streams.clone(),
            paper: Rc::clone(&papers),
            life,
            ticks: 0,
            _alive: Alive::new(Kind::Shard),
        };
        slot.store(Some(Arc::new(shard.start())));
    });
    supervisor
}

/// Binds the calling thread to the `index`-th core from the end: the first ones get most of the
/// machine's interrupts.
fn pin(index: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = cores
        .len()
        .checked_sub(1)
        .and_then(|last| cores.get(last - index % cores.len()).copied());
    match core {
        Some(core) if core_affinity::set_for_current(core) => {
            tracing::info!(shard = index, core = core.id, "bound to a core");
        }
        _ => tracing::warn!(shard = index, "can't be bound to a core on this system"),
    }
}

/// Keeps the thread from sleeping: each turn looks at the sockets.
async fn spin() {
    loop {
        tokio::task::yield_now().await;
    }
}
