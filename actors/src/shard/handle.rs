//! A shard from outside: its thread, its address, its end.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Addr};
use arc_swap::ArcSwapOption;
use bookwire_engine::error::{CryptoCode, CryptoError};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::messages::StopShard;
use super::streams::Streams;
use super::{Shard, ShardShared};
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
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let addr: Address = Arc::default();
        let counters: Arc<ShardCounters> = Arc::default();
        let latency: Arc<ShardLatency> = Arc::default();
        let (slot, meters) = (addr.clone(), (counters.clone(), latency.clone()));
        std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                if shared.options.core_pinning {
                    pin(index);
                }
                let system = actix::System::new();
                system.block_on(async move {
                    let busy_poll = shared.options.busy_poll;
                    // The supervisor lives until the thread ends.
                    let _supervisor = run(index, of, shared, meters, recorder, slot);
                    if busy_poll {
                        actix_rt::spawn(spin());
                    }
                    // The starter waits for it.
                    let _ = ready.send(());
                    // Both an order and the loss of whoever could give one.
                    let _ = stopped.await;
                });
                let _ = end.send(());
            })?;
        is_ready
            .recv()
            .map_err(|_| std::io::Error::other("the shard's thread ended at once"))?;
        Ok(Self {
            counters,
            latency,
            addr,
            stop: Mutex::new(Some(stop)),
            ended: Mutex::new(Some(ended)),
        })
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

    /// Stops it and returns when its thread has ended its work; false when it was stopped before.
    pub async fn stop(&self) -> bool {
        if let Ok(addr) = self.addr() {
            // An error means that its actor has just died: then there is nothing to tell.
            let _ = addr.send(StopShard).await;
        }
        if let Some(stop) = self.stop.lock().take() {
            let _ = stop.send(());
        }
        let ended = self.ended.lock().take();
        match ended {
            Some(ended) => ended.await.is_ok(),
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
