//! A shard: one thread, one arbiter, and all that lives there. Its control actor decides which
//! streams run; the data path is in [`crate::state`].

mod fetch;
mod handle;
pub mod messages;
pub mod paper;
mod streams;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, MessageResult, ResponseFuture,
    StreamHandler,
};
use ahash::AHashMap;
use bookwire_engine::book::sync::DesyncReason;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::InstrumentId;
use futures_util::future::select;
use futures_util::stream;
use tokio::sync::Semaphore;

use self::paper::Papers;
use crate::alive::Alive;
use crate::book::{CheckQuiet, NeedSnapshot};
use crate::clock::Clock;
use crate::connection::backoff::ConnectBudgets;
use crate::connection::{ReconnectNow, UseTable};
use crate::history::backfill::Backfill;
use crate::options::GatewayOptions;
use crate::quarantine::Quarantine;
use crate::recorder::Recorder;
use crate::rest_client::{RestClient, tls_config};
use crate::state::ShardState;
use crate::state::effect::Effect;
use crate::status::ProviderMeter;
use crate::supervisor::Life;
use crate::upstream::{StreamKey, StreamRoom};
use crate::worker::SessionMemory;
use messages::{
    AttachWorker, BookView, ConnectionView, DetachWorker, GetBook, LookAtBook, Observe, Reconnect,
    Refresh, Resync, SetTable, ShardObservation, ShareTouch, StopShard, Subscribe, Unsubscribe,
};
use streams::Streams;

pub use handle::ShardHandle;

/// Control messages that may wait for a shard.
const MAILBOX: usize = 1024;
/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Book snapshots of one provider under way at the same time.
const SNAPSHOTS: usize = 4;

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
    /// TLS of stream connections.
    pub tls: Arc<rustls::ClientConfig>,
    /// Limit on streams of all shards.
    pub room: Arc<StreamRoom>,
    /// The memory of all sessions.
    pub memory: Arc<SessionMemory>,
    /// Bars that are not stored.
    pub quarantine: Quarantine,
    /// Goes on with what could not be fetched at once.
    pub backfill: Backfill,
    /// Limits on snapshots under way.
    pub snapshots: Arc<AHashMap<ProviderId, Arc<Semaphore>>>,
}

impl ShardShared {
    /// Puts it together.
    #[must_use]
    pub fn new(
        options: Arc<GatewayOptions>,
        clock: Arc<dyn Clock>,
        rest: RestClient,
        meters: Vec<Arc<ProviderMeter>>,
        recorder: Option<Recorder>,
        quarantine: Quarantine,
    ) -> Self {
        let permits = |meter: &Arc<ProviderMeter>| {
            let permits = Arc::new(Semaphore::new(SNAPSHOTS));
            (meter.provider, permits)
        };
        Self {
            room: Arc::new(StreamRoom::new(options.streams_max)),
            memory: Arc::new(SessionMemory::new(options.session_memory)),
            snapshots: Arc::new(meters.iter().map(permits).collect()),
            options,
            clock,
            rest,
            meters,
            budgets: ConnectBudgets::default(),
            recorder,
            quarantine,
            backfill: Backfill::default(),
            tls: tls_config(),
        }
    }

    /// The meter of an enabled provider.
    #[must_use]
    pub fn meter(&self, provider: ProviderId) -> Option<&Arc<ProviderMeter>> {
        self.meters.iter().find(|meter| meter.provider == provider)
    }
}

/// The control actor of a shard.
pub struct Shard {
    index: usize,
    shared: ShardShared,
    state: Rc<RefCell<ShardState>>,
    /// Outlives a panic of this actor, as the state does.
    streams: Rc<RefCell<Streams>>,
    /// Likewise.
    paper: Papers,
    life: Life,
    ticks: u64,
    _alive: Alive,
}

struct Tick;

impl Shard {
    fn tick(&mut self) {
        let now = self.shared.clock.monotonic();
        self.ticks += 1;
        self.state.borrow_mut().sweep(now);
        self.state.borrow_mut().record_books();
        if !self.ticks.is_multiple_of(10) {
            return;
        }
        self.state.borrow_mut().sweep_bars(now);
        let gone = self.state.borrow().abandoned();
        for worker in gone {
            self.detach(DetachWorker(worker));
        }
        self.end_papers();
        self.streams.borrow_mut().end_unwanted(now);
        if self.ticks.is_multiple_of(100) {
            self.state.borrow_mut().sweep_promises();
        }
    }

    fn detach(&mut self, message: DetachWorker) {
        let now = self.shared.clock.monotonic();
        let feeds = self.state.borrow_mut().detach(message.0);
        let mut streams = self.streams.borrow_mut();
        for (instrument, feed) in feeds {
            streams.release(StreamKey { instrument, feed }, now);
        }
    }

    fn subscribe(&mut self, message: &Subscribe) -> Result<(), CryptoError> {
        let Subscribe {
            worker,
            slot,
            topic,
        } = *message;
        let key = StreamKey {
            instrument: topic.instrument,
            feed: topic.kind.feed(),
        };
        // First, so that a stream that can't be had leaves no topic behind.
        self.streams.borrow().check(key)?;
        self.streams.borrow_mut().acquire(key)?;
        let subscribed = self.state.borrow_mut().subscribe(worker, slot, topic);
        if !matches!(subscribed, Ok(true)) {
            let now = self.shared.clock.monotonic();
            self.streams.borrow_mut().release(key, now);
        }
        subscribed.map(drop)
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let clock = self.shared.clock.clone();
        ctx.add_stream(stream::unfold(clock, |clock| async move {
            clock.sleep(TICK).await;
            Some((Tick, clock))
        }));
        let effects = self.state.borrow().effects();
        ctx.add_stream(effects);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.life.stopped();
    }
}

impl StreamHandler<Tick> for Shard {
    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.tick();
    }
}

impl StreamHandler<Effect> for Shard {
    fn handle(&mut self, effect: Effect, _: &mut Self::Context) {
        match effect {
            Effect::Snapshot(id) => {
                if let Some(book) = self.streams.borrow().book(id) {
                    // Full: it has been told already.
                    let _ = book.try_send(NeedSnapshot);
                }
            }
            Effect::CheckBook(id) => {
                if let Some(book) = self.streams.borrow().book(id) {
                    let _ = book.try_send(CheckQuiet);
                }
            }
            Effect::FetchBars {
                instrument,
                level,
                missed,
            } => {
                let (shared, state) = (self.shared.clone(), self.state.clone());
                crate::alive::spawn(fetch::bars(shared, state, instrument, level, missed));
            }
            Effect::FetchParts {
                instrument,
                level,
                from,
                needed,
            } => {
                let (shared, state) = (self.shared.clone(), self.state.clone());
                crate::alive::spawn(fetch::parts(shared, state, instrument, level, from, needed));
            }
            Effect::FetchFirstTrades { instrument, needed } => {
                let (shared, state) = (self.shared.clone(), self.state.clone());
                crate::alive::spawn(fetch::first_trades(shared, state, instrument, needed));
            }
            Effect::FetchTrades {
                instrument,
                span,
                after,
            } => {
                let table = self.state.borrow().table().clone();
                if let Some(instrument) = table.get(instrument).cloned() {
                    crate::alive::spawn(fetch::trades(
                        self.shared.clone(),
                        instrument,
                        span,
                        after,
                    ));
                }
            }
        }
    }

    /// The queue of effects never ends.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<AttachWorker> for Shard {
    type Result = ();

    fn handle(&mut self, message: AttachWorker, _: &mut Self::Context) {
        self.state.borrow_mut().attach(message.worker, message.lane);
    }
}

impl Handler<DetachWorker> for Shard {
    type Result = ();

    fn handle(&mut self, message: DetachWorker, _: &mut Self::Context) {
        self.detach(message);
    }
}

impl Handler<Subscribe> for Shard {
    type Result = Result<(), CryptoError>;

    fn handle(&mut self, message: Subscribe, _: &mut Self::Context) -> Self::Result {
        self.subscribe(&message)
    }
}

impl Handler<Unsubscribe> for Shard {
    type Result = ();

    fn handle(&mut self, message: Unsubscribe, _: &mut Self::Context) {
        let ended = self
            .state
            .borrow_mut()
            .unsubscribe(message.worker, message.slot);
        if let Some((instrument, feed)) = ended {
            let now = self.shared.clock.monotonic();
            self.streams
                .borrow_mut()
                .release(StreamKey { instrument, feed }, now);
        }
    }
}

impl Handler<Refresh> for Shard {
    type Result = Result<(), CryptoError>;

    fn handle(&mut self, message: Refresh, _: &mut Self::Context) -> Self::Result {
        self.state
            .borrow_mut()
            .refresh(message.worker, message.slot)
    }
}

/// Holds a stream open while somebody waits for its book.
struct Hold {
    streams: Rc<RefCell<Streams>>,
    clock: Arc<dyn Clock>,
    key: StreamKey,
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Ok(mut streams) = self.streams.try_borrow_mut() {
            streams.release(self.key, self.clock.monotonic());
        }
    }
}

impl Handler<GetBook> for Shard {
    type Result = ResponseFuture<Result<BookView, CryptoError>>;

    fn handle(&mut self, message: GetBook, _: &mut Self::Context) -> Self::Result {
        let key = StreamKey {
            instrument: message.instrument,
            feed: Feed::Book,
        };
        let (shared, state) = (self.shared.clone(), self.state.clone());
        let streams = self.streams.clone();
        Box::pin(async move {
            let acquired = {
                let mut streams = streams.borrow_mut();
                streams.check(key).and_then(|()| streams.acquire(key))
            };
            acquired?;
            let _hold = Hold {
                streams,
                clock: shared.clock.clone(),
                key,
            };
            wait_for_book(&shared, &state, &message).await
        })
    }
}

async fn wait_for_book(
    shared: &ShardShared,
    state: &Rc<RefCell<ShardState>>,
    ask: &GetBook,
) -> Result<BookView, CryptoError> {
    let deadline = shared.clock.monotonic() + ask.timeout;
    loop {
        let changed = {
            let state = state.borrow();
            if let Some(view) = state.book_view(ask.instrument, ask.depth) {
                return Ok(view);
            }
            state.book_changed(ask.instrument)
        };
        let now = shared.clock.monotonic();
        let Some(changed) = changed.filter(|_| now < deadline) else {
            return Err(no_book(shared, &state.borrow(), ask.instrument));
        };
        // Nothing can happen between the look above and this registration: one thread, no await.
        let told = std::pin::pin!(changed.notified());
        select(told, shared.clock.sleep(deadline - now)).await;
    }
}

/// Why there is no trusted book.
fn no_book(shared: &ShardShared, state: &ShardState, id: InstrumentId) -> CryptoError {
    let Some(instrument) = state.table().get(id) else {
        return CryptoError::new(CryptoCode::PairNotFound, "no instrument has this id");
    };
    let provider = instrument.spec.provider;
    let symbol = instrument.stream_symbol();
    let meter = shared.meter(provider);
    let (code, what) = if meter.is_some_and(|meter| meter.is_maintenance()) {
        (
            CryptoCode::ExchangeMaintenance,
            format!("{} is under maintenance", provider.name()),
        )
    } else if meter.is_none_or(|meter| !meter.all_up()) {
        (
            CryptoCode::ProviderUnavailable,
            format!("{} is not connected", provider.name()),
        )
    } else {
        (
            CryptoCode::OrderbookDesync,
            format!(
                "the book of {symbol} is not in step with {}",
                provider.name()
            ),
        )
    };
    CryptoError::new(code, what)
        .with("provider", provider.name())
        .with("symbol", symbol)
}

impl Handler<Resync> for Shard {
    type Result = Result<(), CryptoError>;

    fn handle(&mut self, message: Resync, _: &mut Self::Context) -> Self::Result {
        let is_kept = self
            .state
            .borrow_mut()
            .desync(message.0, DesyncReason::Requested);
        if is_kept {
            return Ok(());
        }
        Err(CryptoError::new(
            CryptoCode::NotFound,
            "no book of this instrument is kept: nobody has subscribed to it",
        ))
    }
}

impl Handler<LookAtBook> for Shard {
    type Result = MessageResult<LookAtBook>;

    fn handle(&mut self, message: LookAtBook, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state.borrow().book(message.0))
    }
}

impl Handler<ShareTouch> for Shard {
    type Result = MessageResult<ShareTouch>;

    fn handle(&mut self, message: ShareTouch, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.state.borrow_mut().touch_cell(message.0))
    }
}

impl Handler<Reconnect> for Shard {
    type Result = usize;

    fn handle(&mut self, message: Reconnect, _: &mut Self::Context) -> usize {
        let streams = self.streams.borrow();
        let of_provider = streams.connections(Some(message.0));
        of_provider
            .iter()
            .filter(|addr| addr.try_send(ReconnectNow).is_ok())
            .count()
    }
}

impl Handler<SetTable> for Shard {
    type Result = ();

    fn handle(&mut self, message: SetTable, _: &mut Self::Context) {
        self.state.borrow_mut().set_table(message.0.clone());
        let mut streams = self.streams.borrow_mut();
        for connection in streams.connections(None) {
            if connection.try_send(UseTable(message.0.clone())).is_err() {
                tracing::warn!("a connection did not take the new instruments");
            }
        }
        streams.pin_configured();
    }
}

impl Handler<Observe> for Shard {
    type Result = MessageResult<Observe>;

    fn handle(&mut self, _: Observe, _: &mut Self::Context) -> Self::Result {
        let state = self.state.borrow();
        let view = |plan: &crate::upstream::SharedPlan| {
            let plan = plan.borrow();
            ConnectionView {
                provider: plan.provider,
                name: plan.name(),
                is_up: plan.is_up,
                streams: plan.streams.len(),
                live: plan.live,
                opened: plan.opened,
                trouble: plan.trouble.clone(),
            }
        };
        MessageResult(ShardObservation {
            shard: self.index,
            connections: self.streams.borrow().plans().iter().map(view).collect(),
            books: state.books(),
            topics: state.topic_count(),
        })
    }
}

impl Handler<StopShard> for Shard {
    type Result = ();

    fn handle(&mut self, _: StopShard, ctx: &mut Self::Context) {
        self.life.retire();
        self.streams.borrow_mut().stop_all();
        let mut state = self.state.borrow_mut();
        state.sweep_promises();
        state.sweep(self.shared.clock.monotonic());
        drop(state);
        ctx.stop();
    }
}
