//! The engine as the API sees it: starts the shards, loads the instruments, answers questions that
//! need a shard, the store or the exchange, and stops it all in order.

mod market;
pub mod operate;
pub mod read;
mod venues;

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{
    Instrument, InstrumentId, InstrumentSpec, InstrumentTable, Market, Scope,
};
use bookwire_engine::store::{Store, StoreError};
use bookwire_engine::time::TsNanos;
use futures_util::future::{Either, LocalBoxFuture, join_all, select};
use parking_lot::Mutex;
use tokio::runtime::Runtime;

use crate::clock::Clock;
use crate::dispatcher::MarketSource;
use crate::history::History;
use crate::history::backfill::{self, Backfill};
use crate::incidents::Moment;
use crate::keeper::Keeper;
use crate::latency::{self, StageLatency};
use crate::loader;
use crate::options::GatewayOptions;
use crate::quarantine::Quarantine;
use crate::recorder::{Recorder, RecorderError, RecorderStats};
use crate::rest_client::RestClient;
use crate::ring::{WorkerWake, lane};
use crate::shard::messages::{
    AttachWorker, BookView, DetachWorker, GetBook, Observe, Refresh, SetTable, ShardObservation,
    Subscribe, Unsubscribe,
};
use crate::shard::{Shard, ShardHandle, ShardShared};
use crate::status::{CounterValues, ProviderMeter, ProviderStatus};
use crate::topic::{Slot, Topic, WorkerId};
use crate::trading::{Trading, TradingContext, TradingError};
use crate::upstream::StreamRoom;
use crate::uptime::{self, Uptime};
use crate::worker::{SessionMemory, WorkerMeter, WorkerPort};
use read::{READERS, ReaderPool};
use venues::Venues;

/// Longest time that a shard may take to answer a control message.
const SHARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time that a client's request waits for a venue's instruments.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A thread or runtime could not be started.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The HTTP client could not be built.
    #[error("can't build the HTTP client: {0}")]
    Http(#[from] reqwest::Error),
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The recorder does not start.
    #[error(transparent)]
    Recorder(#[from] RecorderError),
    /// Trading does not start.
    #[error(transparent)]
    Trading(#[from] TradingError),
}

/// Counters and latencies of the whole engine.
#[derive(Clone, Debug)]
pub struct EngineMetrics {
    /// Sum over the shards.
    pub counters: CounterValues,
    /// Per shard what it is doing; a shard that does not answer in time is missing.
    pub shards: Vec<ShardObservation>,
    /// How long the stages of messages take, all threads together.
    pub latencies: Vec<StageLatency>,
    /// The recorder; `None` without a store.
    pub recorder: Option<RecorderStats>,
    /// Raw messages that did not fit into the tap.
    pub tap_lost: u64,
    /// Time since the start.
    pub uptime: Duration,
}

/// How the stop went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Shards that stopped in time.
    pub shards_stopped: usize,
    /// Shards that had to be left behind.
    pub shards_left: usize,
    /// All rows were written; true without a store.
    pub is_store_flushed: bool,
}

pub(crate) struct Inner {
    pub(crate) options: Arc<GatewayOptions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) table: ArcSwap<InstrumentTable>,
    table_edit: Mutex<()>,
    shards: Vec<ShardHandle>,
    pub(crate) rest: RestClient,
    pub(crate) meters: Vec<Arc<ProviderMeter>>,
    pub(crate) recorder: Option<Recorder>,
    readers: Option<ReaderPool>,
    pub(crate) history: History,
    pub(crate) backfill: Backfill,
    pub(crate) gaps_found: AtomicU64,
    pub(crate) quarantine: Quarantine,
    pub(crate) uptime: Uptime,
    keeper: Keeper,
    pub(crate) venues: Venues,
    next_worker: AtomicU16,
    next_host: AtomicUsize,
    workers: Mutex<Vec<Arc<WorkerMeter>>>,
    memory: Arc<SessionMemory>,
    room: Arc<StreamRoom>,
    started: Duration,
    pub(crate) stopping: AtomicBool,
    trading: OnceLock<Trading>,
    /// Last, so that it outlives what runs on it.
    control: ControlRuntime,
}

/// The runtime of what is neither a shard's nor a worker's. A runtime must not be dropped on a
/// thread that runs one, which is where the engine's start may fail and where its end may be.
struct ControlRuntime(Option<Runtime>);

impl ControlRuntime {
    fn handle(&self) -> Option<&tokio::runtime::Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for ControlRuntime {
    fn drop(&mut self) {
        if let Some(control) = self.0.take() {
            control.shutdown_background();
        }
    }
}

/// The running engine. Clones are the same engine; any thread with a tokio runtime can ask.
#[derive(Clone)]
pub struct Gateway(pub(crate) Arc<Inner>);

impl Gateway {
    /// Starts the engine. Exchanges that can't be reached are tried until they can; everything else
    /// works meanwhile.
    ///
    /// # Errors
    /// [`GatewayError`] when the machine or the store refuses.
    pub fn start(
        options: GatewayOptions,
        clock: Arc<dyn Clock>,
        store: Option<Box<dyn Store>>,
    ) -> Result<Self, GatewayError> {
        let options = Arc::new(options);
        let control = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(READERS + 2)
            .thread_name("control")
            .enable_all()
            .build()?;
        let handle = control.handle().clone();
        let control = ControlRuntime(Some(control));
        let meters: Vec<Arc<ProviderMeter>> = options
            .providers
            .iter()
            .map(|provider| Arc::new(ProviderMeter::new(provider.id)))
            .collect();
        let rest = RestClient::new(&options, &meters, handle, clock.clone())?;
        let shard_count = options.shards.max(1);
        let readers = store.as_deref().map(ReaderPool::new).transpose()?;
        let (recorder, ports) = match store {
            Some(store) => {
                let (recorder, ports) =
                    Recorder::start(store, options.recorder.clone(), shard_count, clock.clone())?;
                (Some(recorder), ports.into_iter().map(Some).collect())
            }
            None => (None, (0..shard_count).map(|_| None).collect::<Vec<_>>()),
        };
        let keeper = match &options.data_dir {
            Some(folder) => Keeper::start(folder)?,
            None => Keeper::none(),
        };
        let quarantine = Quarantine::open(keeper.clone(), options.has_quality_checks);
        let uptime = Uptime::open(keeper.clone(), clock.now());
        let backfill = Backfill::default();
        let mut shared = ShardShared::new(
            options.clone(),
            clock.clone(),
            rest.clone(),
            meters.clone(),
            recorder.clone(),
            quarantine.clone(),
        );
        shared.backfill = backfill.clone();
        let mut shards = Vec::with_capacity(shard_count);
        for (index, port) in ports.into_iter().enumerate() {
            let shared = shared.clone();
            shards.push(if shared.options.share_threads {
                ShardHandle::prepare(index, shard_count, shared, port)
            } else {
                ShardHandle::start(index, shard_count, shared, port)?
            });
        }
        let gateway = Self(Arc::new(Inner {
            table: ArcSwap::default(),
            table_edit: Mutex::new(()),
            shards,
            meters,
            recorder: recorder.clone(),
            readers,
            history: History::new(rest.clone(), recorder, clock.clone(), quarantine.clone()),
            backfill,
            gaps_found: AtomicU64::new(0),
            quarantine,
            uptime,
            keeper,
            venues: Venues::default(),
            rest,
            next_worker: AtomicU16::new(0),
            next_host: AtomicUsize::new(0),
            workers: Mutex::default(),
            memory: shared.memory,
            room: shared.room,
            started: clock.monotonic(),
            stopping: AtomicBool::new(false),
            trading: OnceLock::new(),
            options,
            clock,
            control,
        }));
        if let Some(trading) = gateway.0.options.trading.clone() {
            let context = TradingContext {
                market: Arc::new(market::View::of(&gateway)),
                clock: gateway.0.clock.clone(),
                rest: gateway.0.rest.clone(),
                connects: shared.budgets,
                meters: gateway.0.meters.clone(),
            };
            let trading = match gateway.0.options.share_threads {
                true => Trading::prepare(trading, context)?,
                false => Trading::start(trading, context)?,
            };
            // It is empty: nobody else has the engine yet.
            let _ = gateway.0.trading.set(trading);
        }
        loader::start(&gateway);
        backfill::start(&gateway);
        gateway.spawn_control(uptime::watch(Arc::downgrade(&gateway.0)));
        Ok(gateway)
    }

    /// Trading; `None` where it is switched off.
    #[must_use]
    pub fn trading(&self) -> Option<Trading> {
        self.0.trading.get().cloned()
    }

    /// Markets in use, of the providers that are switched on.
    pub fn markets(&self) -> impl Iterator<Item = (ProviderId, Market)> {
        let providers = self.0.options.providers.iter();
        providers.flat_map(|provider| {
            let offered = provider.id.exchange().markets();
            let markets = provider.markets.iter();
            let used = markets.filter(|market| offered.contains(market));
            used.map(|market| (provider.id, *market))
        })
    }

    /// The instruments as they are now.
    #[must_use]
    pub fn instruments(&self) -> Arc<InstrumentTable> {
        self.0.table.load_full()
    }

    /// The instrument that a user's text names.
    ///
    /// # Errors
    /// `CRYPTO_PROVIDER_UNAVAILABLE` while the instruments of what is asked for have not been loaded
    /// yet, else as [`InstrumentTable::resolve`].
    pub fn resolve(&self, text: &str, scope: Scope<'_>) -> Result<Arc<Instrument>, CryptoError> {
        let table = self.0.table.load();
        match table.resolve(text, scope) {
            Ok(instrument) => Ok(instrument.clone()),
            Err(error) => match scope.provider.filter(|id| !self.is_loaded(&table, *id)) {
                Some(provider) => Err(self.unavailable(provider)),
                None => Err(error.into()),
            },
        }
    }

    fn is_loaded(&self, table: &InstrumentTable, provider: ProviderId) -> bool {
        let Some(options) = self.0.options.provider(provider) else {
            return true;
        };
        // Venues behind a bridge are loaded before anybody looks for their symbols.
        if provider.exchange().bridge().is_some() {
            return true;
        }
        options.markets.iter().all(|market| {
            let of = |row: &&Arc<Instrument>| {
                row.spec.provider == provider && row.spec.market == *market
            };
            table.iter().any(|row| of(&row))
        })
    }

    /// What to say when a provider can't be used.
    fn unavailable(&self, provider: ProviderId) -> CryptoError {
        let Some(meter) = self.meter(provider) else {
            return CryptoError::new(
                CryptoCode::ProviderUnavailable,
                format!("provider {} is disabled", provider.name()),
            )
            .with("provider", provider.name());
        };
        let status = meter.status(self.0.clock.monotonic());
        let (code, what) = if meter.is_maintenance() {
            (CryptoCode::ExchangeMaintenance, "is under maintenance")
        } else {
            (CryptoCode::ProviderUnavailable, "can't be reached yet")
        };
        let mut error = CryptoError::new(code, format!("{} {what}", provider.name()))
            .with("provider", provider.name());
        if let Some(reason) = status.reason {
            error = error.with("reason", reason);
        }
        error
    }

    pub(crate) fn meter(&self, provider: ProviderId) -> Option<&Arc<ProviderMeter>> {
        let mut meters = self.0.meters.iter();
        meters.find(|meter| meter.provider == provider)
    }

    /// The shard that owns an instrument.
    #[must_use]
    pub fn shard_of(&self, id: InstrumentId) -> &ShardHandle {
        &self.0.shards[id.0 as usize % self.0.shards.len()]
    }

    async fn ask<M>(&self, shard: &ShardHandle, message: M) -> Result<M::Result, CryptoError>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        Shard: actix::Handler<M>,
    {
        self.ask_within(shard, message, SHARD_TIMEOUT).await
    }

    async fn ask_within<M>(
        &self,
        shard: &ShardHandle,
        message: M,
        limit: Duration,
    ) -> Result<M::Result, CryptoError>
    where
        M: actix::Message + Send + 'static,
        M::Result: Send,
        Shard: actix::Handler<M>,
    {
        let answer = pin!(async {
            shard.running().await;
            Ok(shard.addr()?.send(message).await)
        });
        match select(answer, self.0.clock.sleep(limit)).await {
            Either::Left((Ok(Ok(answer)), _)) => Ok(answer),
            Either::Left((Err(error), _)) => Err(error),
            Either::Left((Ok(Err(error)), _)) => Err(CryptoError::new(
                CryptoCode::InternalError,
                format!("the market data thread did not answer: {error}"),
            )),
            Either::Right(_) => Err(CryptoError::new(
                CryptoCode::InternalError,
                "the market data thread did not answer in time",
            )),
        }
    }

    /// Runs on the calling thread its part of the shards that have no thread of their own, and the order
    /// routers on the first: each of `threads` calls it once. Where all have threads it does nothing.
    pub fn host(&self, threads: usize) {
        let turn = self.0.next_host.fetch_add(1, Ordering::Relaxed);
        if let Some(trading) = self.0.trading.get() {
            trading.host();
        }
        let threads = threads.max(1);
        for shard in self.0.shards.iter().skip(turn % threads).step_by(threads) {
            shard.host();
        }
    }

    /// Stops the order routers and shards that run on other threads than their own, which have to go
    /// before those do.
    pub async fn stop_hosted(&self, limit: Duration) {
        if !self.0.options.share_threads {
            return;
        }
        self.stop_trading(limit).await;
        let stopped = pin!(join_all(self.0.shards.iter().map(ShardHandle::stop)));
        select(stopped, self.0.clock.sleep(limit)).await;
    }

    /// Connects an API worker thread.
    ///
    /// # Errors
    /// `CRYPTO_INTERNAL_ERROR` when a shard does not answer.
    pub async fn attach_worker(&self) -> Result<WorkerPort, CryptoError> {
        let id = WorkerId(self.0.next_worker.fetch_add(1, Ordering::Relaxed));
        let wake = WorkerWake::new(self.0.options.busy_poll);
        let mut lanes = Vec::with_capacity(self.0.shards.len());
        for shard in &self.0.shards {
            let (tx, rx) = lane(self.0.options.lane_capacity, &wake);
            let attach = AttachWorker {
                worker: id,
                lane: tx,
            };
            self.ask(shard, attach).await?;
            lanes.push(rx);
        }
        let meter: Arc<WorkerMeter> = Arc::default();
        self.0.workers.lock().push(meter.clone());
        Ok(WorkerPort {
            id,
            lanes,
            wake,
            meter,
            memory: self.0.memory.clone(),
        })
    }

    /// Ends everything that is published to a worker.
    ///
    /// # Errors
    /// `CRYPTO_INTERNAL_ERROR` when a shard does not answer.
    pub async fn detach_worker(&self, worker: WorkerId) -> Result<(), CryptoError> {
        for shard in &self.0.shards {
            self.ask(shard, DetachWorker(worker)).await?;
        }
        Ok(())
    }

    /// The top of a live book, waiting up to `timeout` for it to be trusted. Starts the stream when
    /// nobody has yet.
    ///
    /// # Errors
    /// `CRYPTO_ORDERBOOK_DESYNC` when the book is not trusted in time, `CRYPTO_PROVIDER_UNAVAILABLE`
    /// or `CRYPTO_EXCHANGE_MAINTENANCE` when that is because the exchange can't be reached.
    pub async fn order_book(
        &self,
        instrument: InstrumentId,
        depth: usize,
        timeout: Duration,
    ) -> Result<BookView, CryptoError> {
        let ask = GetBook {
            instrument,
            depth,
            timeout,
        };
        let limit = timeout + SHARD_TIMEOUT;
        self.ask_within(self.shard_of(instrument), ask, limit)
            .await?
    }

    /// All providers as they are now, those that are switched off too.
    #[must_use]
    pub fn status(&self) -> Vec<ProviderStatus> {
        let (now, table) = (Moment::of(&*self.0.clock), self.0.table.load());
        let of = |provider: ProviderId| {
            let Some(meter) = self.meter(provider) else {
                return ProviderStatus::disabled(provider);
            };
            let mut status = meter.status_with(now.monotonic, meter.incidents.view(now));
            status.weight = self.0.rest.weight(provider);
            let rows = table.iter().filter(|row| row.spec.provider == provider);
            status.instruments = rows.count();
            status.venues = self.0.venues.of(provider);
            status
        };
        ProviderId::all().map(of).collect()
    }

    /// Counters and latencies.
    pub async fn metrics(&self) -> EngineMetrics {
        let asked = self.0.shards.iter().map(|shard| self.ask(shard, Observe));
        let shards: Vec<ShardObservation> = join_all(asked).await.into_iter().flatten().collect();
        EngineMetrics {
            counters: self.counters(),
            shards,
            latencies: self.latencies(),
            recorder: self.0.recorder.as_ref().map(Recorder::stats),
            tap_lost: self.0.options.tap.as_ref().map_or(0, crate::tap::Tap::lost),
            uptime: self.0.clock.monotonic().saturating_sub(self.0.started),
        }
    }

    /// How long the stages of messages take, all threads together, since the start.
    #[must_use]
    pub fn latencies(&self) -> Vec<StageLatency> {
        let shards = self.0.shards.iter().map(|shard| &*shard.latency);
        let workers = self.workers();
        latency::merge(shards, workers.iter().map(|meter| &meter.latency))
    }

    /// What each API worker counts and measures.
    #[must_use]
    pub fn workers(&self) -> Vec<Arc<WorkerMeter>> {
        self.0.workers.lock().clone()
    }

    /// Streams of exchanges that are in use, those included that linger on.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.0.room.used()
    }

    /// The memory of all sessions.
    #[must_use]
    pub fn session_memory(&self) -> &SessionMemory {
        &self.0.memory
    }

    /// The counters alone, without asking the shards.
    #[must_use]
    pub fn counters(&self) -> CounterValues {
        let mut sum = CounterValues::default();
        for shard in &self.0.shards {
            sum.add(&shard.counters.values());
        }
        sum
    }

    /// The recorder; `None` without a store.
    #[must_use]
    pub fn recorder(&self) -> Option<&Recorder> {
        self.0.recorder.as_ref()
    }

    /// Bars that were not stored.
    #[must_use]
    pub fn quarantine(&self) -> &Quarantine {
        &self.0.quarantine
    }

    /// The clock in use.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The options it was started with.
    #[must_use]
    pub fn options(&self) -> &GatewayOptions {
        &self.0.options
    }

    /// True once [`Gateway::shutdown`] has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Relaxed)
    }

    /// Stops sources, books and shards, then writes what is left; each step within its part of
    /// `limit`. Sessions are stopped before, by those who own them.
    pub async fn shutdown(&self, limit: Duration) -> ShutdownReport {
        self.0.stopping.store(true, Ordering::Relaxed);
        let half = limit / 2;
        // First: what exchanges would do about our silence is disarmed while they can be reached.
        self.stop_trading(half).await;
        let stopped = join_all(self.0.shards.iter().map(|shard| async {
            let stopped = pin!(shard.stop());
            matches!(
                select(stopped, self.0.clock.sleep(half)).await,
                Either::Left((true, _))
            )
        }))
        .await;
        // After the shards: a bridge that goes first looks like an exchange that is lost.
        for bridge in self.0.rest.bridges() {
            bridge.stop().await;
        }
        let shards_stopped = stopped.iter().filter(|stopped| **stopped).count();
        let is_store_flushed = match (self.0.recorder.clone(), self.0.control.handle()) {
            (Some(recorder), Some(control)) => control
                .spawn_blocking(move || recorder.stop(half))
                .await
                .unwrap_or(false),
            _ => true,
        };
        self.0.uptime.save(self.0.clock.now());
        if let Some(control) = self.0.control.handle() {
            let keeper = self.0.keeper.clone();
            // What it can't write by then is lost; the rows are more important.
            let _ = control.spawn_blocking(move || keeper.stop(half)).await;
        }
        ShutdownReport {
            shards_stopped,
            shards_left: stopped.len() - shards_stopped,
            is_store_flushed,
        }
    }

    async fn stop_trading(&self, limit: Duration) {
        if let Some(trading) = self.0.trading.get() {
            let stopped = pin!(trading.stop());
            select(stopped, self.0.clock.sleep(limit)).await;
        }
    }

    pub(crate) fn spawn_control(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(control) = self.0.control.handle() {
            control.spawn(crate::alive::counted(task));
        }
    }

    /// Takes a market's instruments into the table and tells the shards.
    pub(crate) async fn set_venue(
        &self,
        provider: ProviderId,
        venue: &str,
        market: Market,
        specs: Vec<InstrumentSpec>,
    ) {
        let table = {
            // Loaders of several markets come here at the same time; each must see the others'.
            let _editing = self.0.table_edit.lock();
            let table = self.0.table.load();
            let table = table.with_venue(provider, venue, market, specs);
            let table = Arc::new(table);
            self.0.table.store(table.clone());
            table
        };
        for collision in table.collisions() {
            tracing::warn!(
                spelling = %collision.spelling, natives = ?collision.native_symbols,
                "several instruments share a spelling"
            );
        }
        for shard in &self.0.shards {
            // The newest table, should another loader have been faster.
            let newest = SetTable(self.instruments());
            if let Err(error) = self.ask(shard, newest).await {
                tracing::error!(%error, "shard did not take the instruments");
            }
        }
    }
}

impl MarketSource for Gateway {
    fn prepare(
        &self,
        provider: ProviderId,
        venue: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let gateway = self.clone();
        Box::pin(async move {
            let prepared = pin!(gateway.prepare(provider, venue.as_deref()));
            match select(prepared, gateway.0.clock.sleep(PREPARE_TIMEOUT)).await {
                Either::Left((result, _)) => result,
                Either::Right(_) => Err(CryptoError::new(
                    CryptoCode::ProviderUnavailable,
                    "the venue's instruments did not come in time",
                )
                .with("provider", provider.name())
                .with("exchange", venue.clone())),
            }
        })
    }

    fn trading(&self) -> Option<Trading> {
        Self::trading(self)
    }

    fn instruments(&self) -> Arc<InstrumentTable> {
        Self::instruments(self)
    }

    fn subscribe(
        &self,
        worker: WorkerId,
        slot: Slot,
        topic: Topic,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let gateway = self.clone();
        Box::pin(async move {
            let shard = gateway.shard_of(topic.instrument);
            let message = Subscribe {
                worker,
                slot,
                topic,
            };
            gateway.ask(shard, message).await?
        })
    }

    fn unsubscribe(
        &self,
        worker: WorkerId,
        slot: Slot,
        instrument: InstrumentId,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let gateway = self.clone();
        Box::pin(async move {
            let shard = gateway.shard_of(instrument);
            gateway.ask(shard, Unsubscribe { worker, slot }).await
        })
    }

    fn refresh(
        &self,
        worker: WorkerId,
        slot: Slot,
        instrument: InstrumentId,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let gateway = self.clone();
        Box::pin(async move {
            let shard = gateway.shard_of(instrument);
            gateway.ask(shard, Refresh { worker, slot }).await?
        })
    }

    fn now(&self) -> TsNanos {
        self.0.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.0.clock.monotonic()
    }
}

#[cfg(test)]
mod tests;
