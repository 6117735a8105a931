//! A shard: one thread, one arbiter, and all that lives there.

pub mod messages;

use std::sync::Arc;
use std::thread::JoinHandle;

use actix::{Actor, Addr, Context, Handler};
use arc_swap::ArcSwap;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::instrument::InstrumentTable;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::connection::backoff::ConnectBudgets;
use crate::options::GatewayOptions;
use crate::recorder::{Recorder, RecorderPort};
use crate::rest_client::RestClient;
use crate::status::{ProviderMeter, ShardCounters};
use messages::{
    AttachWorker, BookView, DetachWorker, GetBook, Observe, Reconnect, Refresh, Resync, SetTable,
    ShardObservation, StopShard, Subscribe, Unsubscribe,
};

/// Control messages that may wait for a shard.
const MAILBOX: usize = 1024;

/// What all shards share.
#[derive(Clone)]
pub struct ShardShared {
    /// What the engine was started with.
    pub options: Arc<GatewayOptions>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Requests to exchanges.
    pub rest: RestClient,
    /// Meters of the enabled providers.
    pub meters: Vec<Arc<ProviderMeter>>,
    /// Limits on connection attempts.
    pub budgets: ConnectBudgets,
    /// The recorder.
    pub recorder: Option<Recorder>,
}

/// The control actor of a shard.
pub struct Shard {
    index: usize,

    shared: ShardShared,

    table: Arc<InstrumentTable>,
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

/// A running shard, from outside.
pub struct ShardHandle {
    /// Its counters.
    pub counters: Arc<ShardCounters>,
    addr: Arc<ArcSwap<Addr<Shard>>>,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ShardHandle {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread can't be started.
    pub fn start(
        index: usize,
        _of: usize,
        shared: ShardShared,
        _recorder: Option<RecorderPort>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = oneshot::channel::<()>();
        let (hand, address) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(format!("shard-{index}"))
            .spawn(move || {
                let system = actix::System::new();
                system.block_on(async move {
                    let shard = Shard {
                        index,
                        shared,
                        table: Arc::default(),
                    };
                    // The starter waits for it.
                    let _ = hand.send(shard.start());
                    let _ = stopped.await;
                });
            })?;
        let addr = address
            .recv()
            .map_err(|_| std::io::Error::other("the shard's thread ended at once"))?;
        Ok(Self {
            counters: Arc::default(),
            addr: Arc::new(ArcSwap::from_pointee(addr)),
            stop: Mutex::new(Some(stop)),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Where its control messages go.
    #[must_use]
    pub fn addr(&self) -> Addr<Shard> {
        Addr::clone(&self.addr.load())
    }

    /// Stops it; false when its thread did not end well.
    pub async fn stop(&self) -> bool {
        let _ = self.addr().send(StopShard).await;
        if let Some(stop) = self.stop.lock().take() {
            let _ = stop.send(());
        }
        let thread = self.thread.lock().take();
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

fn not_yet() -> CryptoError {
    CryptoError::new(
        CryptoCode::ProviderUnavailable,
        "the provider is not connected",
    )
}

impl Handler<AttachWorker> for Shard {
    type Result = ();
    fn handle(&mut self, _: AttachWorker, _: &mut Self::Context) {}
}
impl Handler<DetachWorker> for Shard {
    type Result = ();
    fn handle(&mut self, _: DetachWorker, _: &mut Self::Context) {}
}
impl Handler<Subscribe> for Shard {
    type Result = Result<(), CryptoError>;
    fn handle(&mut self, _: Subscribe, _: &mut Self::Context) -> Self::Result {
        Err(not_yet())
    }
}
impl Handler<Unsubscribe> for Shard {
    type Result = ();
    fn handle(&mut self, _: Unsubscribe, _: &mut Self::Context) {}
}
impl Handler<Refresh> for Shard {
    type Result = Result<(), CryptoError>;
    fn handle(&mut self, _: Refresh, _: &mut Self::Context) -> Self::Result {
        Err(not_yet())
    }
}
impl Handler<GetBook> for Shard {
    type Result = Result<BookView, CryptoError>;
    fn handle(&mut self, _: GetBook, _: &mut Self::Context) -> Self::Result {
        Err(not_yet())
    }
}
impl Handler<Resync> for Shard {
    type Result = Result<(), CryptoError>;
    fn handle(&mut self, _: Resync, _: &mut Self::Context) -> Self::Result {
        Err(not_yet())
    }
}
impl Handler<Reconnect> for Shard {
    type Result = usize;
    fn handle(&mut self, _: Reconnect, _: &mut Self::Context) -> usize {
        0
    }
}
impl Handler<SetTable> for Shard {
    type Result = ();
    fn handle(&mut self, message: SetTable, _: &mut Self::Context) {
        self.table = message.0;
    }
}
impl Handler<Observe> for Shard {
    type Result = actix::MessageResult<Observe>;
    fn handle(&mut self, _: Observe, _: &mut Self::Context) -> Self::Result {
        actix::MessageResult(ShardObservation {
            shard: self.index,
            connections: Vec::new(),
            books: Vec::new(),
            topics: 0,
            latencies: Vec::new(),
        })
    }
}
impl Handler<StopShard> for Shard {
    type Result = ();
    fn handle(&mut self, _: StopShard, ctx: &mut Self::Context) {
        actix::ActorContext::stop(ctx);
    }
}
