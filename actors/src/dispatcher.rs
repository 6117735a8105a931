//! One hub for each API worker thread: drains the worker's lanes, routes shared bodies to the
//! outboxes of the sessions on its thread, and counts who wants which topic. No sockets, nothing is
//! encoded twice.
//!
//! A topic's first user makes the hub subscribe at the shard, its last one's leaving unsubscribes;
//! how long the exchange's stream lives on after that is the shard's decision.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentTable};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire;
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::sync::oneshot;

use crate::latency::Stamp;
use crate::ring::{LaneMsg, LaneRx, Publication, StatusEvent, StatusState, WorkerWake};
use crate::session::cell::{OutboxCell, RefreshQueue};
use crate::session::flow::{Close, OutboxLimits};
use crate::session::outbox::SubKey;
use crate::topic::{Slot, StreamKind, Topic, WorkerId, stream_name};
use crate::trading::Trading;
use crate::worker::{MemoryShare, SessionMemory, WorkerMeter, WorkerPort, Written};

/// Messages taken from one lane before the sockets get their turn.
const BATCH: usize = 128;

/// Tries to tell a shard that a topic is not wanted any more.
const UNSUBSCRIBE_TRIES: u32 = 5;

/// What the hub asks of the engine: messages to shards, sent with a timeout.
pub trait MarketSource {
    /// Sees to it that the instruments of a venue are known, where they are not by themselves.
    fn prepare(
        &self,
        provider: ProviderId,
        venue: Option<String>,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let _ = (provider, venue);
        Box::pin(std::future::ready(Ok(())))
    }
    /// The accounts whose orders and balances sessions can follow; `None`: there are none.
    fn trading(&self) -> Option<Trading> {
        None
    }
    /// The instruments as they are now.
    fn instruments(&self) -> Arc<InstrumentTable>;
    /// Has a topic's publications put on the worker's lane under `slot`.
    fn subscribe(
        &self,
        worker: WorkerId,
        slot: Slot,
        topic: Topic,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>>;
    /// Ends that.
    fn unsubscribe(
        &self,
        worker: WorkerId,
        slot: Slot,
        instrument: InstrumentId,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>>;
    /// Has the topic's last state put on the lane.
    fn refresh(
        &self,
        worker: WorkerId,
        slot: Slot,
        instrument: InstrumentId,
    ) -> LocalBoxFuture<'static, Result<(), CryptoError>>;
    /// The wall clock.
    fn now(&self) -> TsNanos;
    /// The clock of publications' stamps.
    fn monotonic(&self) -> Duration;
}

#[derive(Debug)]
struct Member {
    cell: Rc<OutboxCell>,
    key: SubKey,
}

#[derive(Debug)]
enum Stage {
    /// The shard has not answered; these wait for its answer.
    Joining(Vec<oneshot::Sender<Result<(), CryptoError>>>),
    Live,
}

#[derive(Debug)]
struct Entry {
    topic: Topic,
    stage: Stage,
    /// Claims on the topic, members included.
    users: usize,
    members: Vec<Member>,
    is_refreshing: bool,
    refresh_again: bool,
}

/// Of a provider as a whole, or of one feed.
type TroubleKey = (ProviderId, Option<(InstrumentId, Feed)>);

#[derive(Debug, Default)]
struct Routes {
    entries: AHashMap<Slot, Entry>,
    by_topic: AHashMap<Topic, Slot>,
    by_instrument: AHashMap<InstrumentId, Vec<Slot>>,
    next: u32,
    /// What is not as it should be: the last status of providers and instruments other than
    /// `connected`, for those who subscribe meanwhile.
    troubles: AHashMap<TroubleKey, Arc<StatusEvent>>,
}

/// Counters of a hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Messages taken from lanes.
    pub received: u64,
    /// Messages offered to sessions.
    pub routed: u64,
    /// Messages of topics that nobody here wants any more.
    pub orphans: u64,
    /// Publications that shards lost because a lane was full.
    pub lost: u64,
    /// Topics with a user.
    pub topics: usize,
    /// Sessions on this thread.
    pub sessions: usize,
}

/// The router of one worker thread. See the module's text.
pub struct WorkerHub {
    id: WorkerId,
    source: Rc<dyn MarketSource>,
    wake: WorkerWake,
    refresh: Rc<RefreshQueue>,
    written: Rc<Written>,
    memory: MemoryShare,
    routes: RefCell<Routes>,
    /// Messages of one topic that came one after the other, kept for their sessions.
    run: RefCell<Vec<Publication>>,
    dirty: RefCell<Vec<Rc<OutboxCell>>>,
    sessions: RefCell<Vec<Weak<OutboxCell>>>,
    stopping: RefCell<Option<Close>>,
    stats: Cell<HubStats>,
}

impl WorkerHub {
    /// A hub on this thread that drains the port's lanes until it is dropped.
    #[must_use]
    pub fn start(port: WorkerPort, source: Rc<dyn MarketSource>) -> Rc<Self> {
        let WorkerPort {
            id,
            lanes,
            wake,
            meter,
            memory,
        } = port;
        let hub = Rc::new(Self {
            id,
            source,
            wake: wake.clone(),
            refresh: Rc::new(RefreshQueue::new(wake.clone())),
            written: Rc::new(Written::new(meter, wake.clone())),
            memory: MemoryShare::new(memory, id),
            routes: RefCell::default(),
            run: RefCell::default(),
            dirty: RefCell::default(),
            sessions: RefCell::default(),
            stopping: RefCell::default(),
            stats: Cell::default(),
        });
        crate::alive::spawn(drain(Rc::downgrade(&hub), lanes, wake));
        hub
    }

    /// The engine.
    #[must_use]
    pub fn source(&self) -> &dyn MarketSource {
        &*self.source
    }

    /// Counters.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        HubStats {
            topics: self.routes.borrow().entries.len(),
            sessions: self.sessions.borrow().len(),
            ..self.stats.get()
        }
    }

    /// An outbox for a new session.
    #[must_use]
    pub fn open(&self, limits: OutboxLimits, tokens: u32) -> Rc<OutboxCell> {
        let (refresh, written) = (self.refresh.clone(), self.written.clone());
        let cell = Rc::new(OutboxCell::new(limits, refresh, written, tokens));
        if let Some(close) = &*self.stopping.borrow() {
            cell.close(close.clone());
        }
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(&cell));
        self.memory.tell(self.meter());
        cell
    }

    /// Closes all sessions and those that come later.
    pub fn close_all(&self, close: &Close) {
        *self.stopping.borrow_mut() = Some(close.clone());
        for session in self.sessions.take() {
            if let Some(cell) = session.upgrade() {
                cell.close(close.clone());
            }
        }
    }

    /// Makes sure that the topic is published to this worker. Nothing of it reaches the session
    /// before [`Claim::activate`].
    ///
    /// # Errors
    /// What the shard answers.
    pub async fn join(self: &Rc<Self>, topic: Topic) -> Result<Claim, CryptoError> {
        let (claim, answer) = self.claim(topic);
        match answer {
            None => Ok(claim),
            Some(answer) => match answer.await {
                Ok(Ok(())) => Ok(claim),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(CryptoError::new(
                    CryptoCode::InternalError,
                    "the subscription was given up",
                )),
            },
        }
    }

    /// [`WorkerHub::join`] without a borrow, for futures that outlive the caller.
    ///
    /// # Errors
    /// What the shard answers.
    pub async fn join_owned(self: Rc<Self>, topic: Topic) -> Result<Claim, CryptoError> {
        self.join(topic).await
    }

    fn claim(
        self: &Rc<Self>,
        topic: Topic,
    ) -> (Claim, Option<oneshot::Receiver<Result<(), CryptoError>>>) {
        let mut routes = self.routes.borrow_mut();
        let (slot, is_new) = routes.slot_of(topic);
        self.meter().topics.set(routes.entries.len() as u64);
        let mut answer = None;
        if let Some(entry) = routes.entries.get_mut(&slot) {
            entry.users += 1;
            if let Stage::Joining(waiting) = &mut entry.stage {
                let (sender, receiver) = oneshot::channel();
                waiting.push(sender);
                answer = Some(receiver);
            }
        }
        drop(routes);
        if is_new {
            let asked = self.source.subscribe(self.id, slot, topic);
            let hub = self.clone();
            crate::alive::spawn(async move {
                let answer = asked.await;
                hub.settle(slot, &answer);
            });
        }
        let claim = Claim {
            hub: self.clone(),
            slot,
            member: None,
        };
        (claim, answer)
    }

    /// The shard answered a topic's first subscription.
    fn settle(self: &Rc<Self>, slot: Slot, answer: &Result<(), CryptoError>) {
        let waiting = {
            let mut routes = self.routes.borrow_mut();
            let Some(entry) = routes.entries.get_mut(&slot) else {
                return;
            };
            let Stage::Joining(waiting) = std::mem::replace(&mut entry.stage, Stage::Live) else {
                return;
            };
            if answer.is_err() {
                routes.remove(slot);
                self.meter().topics.set(routes.entries.len() as u64);
            }
            waiting
        };
        for sender in waiting {
            // A receiver that is gone has dropped its claim.
            let _ = sender.send(answer.clone());
        }
        if answer.is_ok() {
            self.end_if_unused(slot);
        }
    }

    fn end_if_unused(self: &Rc<Self>, slot: Slot) {
        let mut routes = self.routes.borrow_mut();
        let is_unused = routes
            .entries
            .get(&slot)
            .is_some_and(|entry| entry.users == 0 && matches!(entry.stage, Stage::Live));
        let Some(topic) = is_unused.then(|| routes.remove(slot)).flatten() else {
            return;
        };
        self.meter().topics.set(routes.entries.len() as u64);
        drop(routes);
        let (source, worker) = (self.source.clone(), self.id);
        crate::alive::spawn(async move {
            for attempt in 1..=UNSUBSCRIBE_TRIES {
                match source.unsubscribe(worker, slot, topic.instrument).await {
                    Ok(()) => return,
                    Err(error) => {
                        tracing::warn!(?topic, attempt, %error, "shard did not take unsubscribe");
                        tokio::time::sleep(Duration::from_secs(u64::from(attempt))).await;
                    }
                }
            }
        });
    }

    /// Asks the shard to put a topic's last state on the lane; one request at a time.
    pub fn refresh(self: &Rc<Self>, slot: Slot) {
        let mut routes = self.routes.borrow_mut();
        let Some(entry) = routes.entries.get_mut(&slot) else {
            return;
        };
        if std::mem::replace(&mut entry.is_refreshing, true) {
            // The answer under way may already lie on the lane, before the one who asks now.
            entry.refresh_again = true;
            return;
        }
        let instrument = entry.topic.instrument;
        drop(routes);
        let asked = self.source.refresh(self.id, slot, instrument);
        let hub = self.clone();
        crate::alive::spawn(async move {
            if let Err(error) = asked.await {
                // Nothing to give yet, or no answer: a session that still waits asks again.
                tracing::debug!(slot = slot.0, %error, "no refresh");
            }
            let again = {
                let mut routes = hub.routes.borrow_mut();
                routes.entries.get_mut(&slot).is_some_and(|entry| {
                    entry.is_refreshing = false;
                    std::mem::take(&mut entry.refresh_again)
                })
            };
            if again {
                hub.refresh(slot);
            }
        });
    }

    /// Where this worker counts and measures.
    #[must_use]
    pub fn meter(&self) -> &Arc<WorkerMeter> {
        self.written.meter()
    }

    /// Takes a message off a lane. What lies there of one topic is handed on together: each session is
    /// looked up once for all of it, and its queue stays in the cache meanwhile. So
    /// [`WorkerHub::route_run`] has to follow.
    fn route(&self, message: LaneMsg, now: Stamp) {
        let is_of_run = |publication: &Publication| {
            let run = self.run.borrow();
            run.last().is_some_and(|last| last.slot == publication.slot)
        };
        if !matches!(&message, LaneMsg::Data(publication) if is_of_run(publication)) {
            self.route_run();
        }
        let mut stats = self.stats.get();
        stats.received += 1;
        match message {
            LaneMsg::Data(mut publication) => {
                let ring = &self.meter().latency.ring;
                ring.record_between(publication.stage_at, now);
                publication.stage_at = now;
                self.run.borrow_mut().push(publication);
            }
            LaneMsg::Lost { slot, count } => {
                stats.lost += count;
                let routes = self.routes.borrow();
                for member in routes.members(slot) {
                    member.cell.with(|outbox| outbox.lost(member.key, count));
                    self.mark(&member.cell);
                }
            }
            LaneMsg::Status(event) => {
                self.route_status(&event);
                self.routes.borrow_mut().remember(event);
            }
        }
        self.stats.set(stats);
    }

    fn route_run(&self) {
        let mut run = self.run.borrow_mut();
        let Some(slot) = run.first().map(|publication| publication.slot) else {
            return;
        };
        let routes = self.routes.borrow();
        let members = routes.members(slot);
        for member in members {
            member.cell.with(|outbox| {
                for publication in &*run {
                    outbox.offer(member.key, publication);
                }
            });
            self.mark(&member.cell);
        }
        let mut stats = self.stats.get();
        stats.routed += (members.len() * run.len()) as u64;
        if members.is_empty() {
            stats.orphans += run.len() as u64;
        }
        self.stats.set(stats);
        run.clear();
    }

    /// One instrument's state goes to the sessions subscribed to it, a provider's to all sessions
    /// with a subscription of that provider; each gets it once.
    fn route_status(&self, event: &StatusEvent) {
        let table = self.source.instruments();
        let routes = self.routes.borrow();
        let mut cells: Vec<&Rc<OutboxCell>> = Vec::new();
        match event.instrument {
            Some(id) => {
                for slot in routes.by_instrument.get(&id).into_iter().flatten() {
                    cells.extend(routes.members(*slot).iter().map(|member| &member.cell));
                }
            }
            None => {
                for entry in routes.entries.values() {
                    let of_provider = table
                        .get(entry.topic.instrument)
                        .is_some_and(|row| row.spec.provider == event.provider);
                    if of_provider {
                        cells.extend(entry.members.iter().map(|member| &member.cell));
                    }
                }
            }
        }
        if cells.is_empty() {
            return;
        }
        cells.sort_unstable_by_key(|cell| Rc::as_ptr(cell));
        cells.dedup_by_key(|cell| Rc::as_ptr(cell));
        let text = status_text(event, &table);
        for cell in cells {
            cell.with(|outbox| outbox.note(text.clone()));
            self.mark(cell);
        }
    }

    fn mark(&self, cell: &Rc<OutboxCell>) {
        if cell.mark() {
            self.dirty.borrow_mut().push(cell.clone());
        }
    }

    /// The memory of all workers' sessions.
    #[must_use]
    pub fn memory(&self) -> &SessionMemory {
        self.memory.memory()
    }

    /// Tells what this worker's sessions need and, while all together need too much, cuts off the
    /// one that holds most.
    pub fn keep_within_memory(&self) {
        self.memory.tell(self.meter());
        while self.memory().is_over() {
            let heaviest = {
                let sessions = self.sessions.borrow();
                let cells = sessions.iter().filter_map(Weak::upgrade);
                cells.max_by_key(|cell| cell.weight())
            };
            let Some(cell) = heaviest else { return };
            let weight = cell.weight();
            if !self.memory.must_cut(weight) {
                return;
            }
            let (kib, limit) = (weight >> 10, self.memory().limit() >> 20);
            tracing::warn!(
                kib,
                limit_mib = limit,
                "memory of the sessions used up: one is cut off"
            );
            self.meter().closed_memory.add(1);
            cell.close(Close::policy(format!(
                "memory: {kib} KiB waited to be read, all sessions have {limit} MiB; read faster"
            )));
            self.memory.tell(self.meter());
        }
    }

    /// Wakes each pump that got something, once.
    fn flush(self: &Rc<Self>) {
        let mut dirty = self.dirty.take();
        for cell in dirty.drain(..) {
            cell.flush();
        }
        // Keeps the vector's memory for the next batch.
        *self.dirty.borrow_mut() = dirty;
        if !self.refresh.is_empty() {
            for slot in self.refresh.take() {
                self.refresh(slot);
            }
        }
    }
}

fn status_text(event: &StatusEvent, table: &InstrumentTable) -> Bytes {
    let symbol = event
        .instrument
        .and_then(|id| Some(table.get(id)?.stream_symbol()));
    let mut text = Vec::with_capacity(192);
    wire::status_message(
        &mut text,
        event.provider.name(),
        symbol.as_deref(),
        event.state.as_str(),
        &event.reason,
        wire::StatusExtra {
            stream: event.feed.map(stream_name),
            after_ms: event.was.as_ref().map(|was| millis(was.after)),
            cause: event.was.as_ref().map(|was| was.reason.as_str()),
        },
        event.ts,
    );
    Bytes::from(text)
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

async fn drain(hub: Weak<WorkerHub>, mut lanes: Vec<LaneRx>, wake: WorkerWake) {
    loop {
        let Some(hub) = hub.upgrade() else { return };
        let mut taken = 0;
        if hub.written.is_pending() || lanes.iter().any(|lane| !lane.is_empty()) {
            // One look at the clock for all that is there.
            let now = Stamp::of(hub.source.monotonic());
            hub.written.settle(now);
            for lane in &mut lanes {
                taken += lane.drain(BATCH, |message| hub.route(message, now));
                hub.route_run();
            }
        }
        hub.flush();
        hub.keep_within_memory();
        if taken > 0 {
            drop(hub);
            // The sockets' turn: what was routed leaves now, in one write for each.
            tokio::task::yield_now().await;
            continue;
        }
        let refresh = hub.refresh.clone();
        drop(hub);
        wake.wait(|| !refresh.is_empty() || lanes.iter().any(|lane| !lane.is_empty()))
            .await;
    }
}

impl Drop for WorkerHub {
    fn drop(&mut self) {
        // The drain task may sleep: it has to see that its hub is gone.
        self.wake.wake();
    }
}

impl Routes {
    fn slot_of(&mut self, topic: Topic) -> (Slot, bool) {
        if let Some(slot) = self.by_topic.get(&topic) {
            return (*slot, false);
        }
        // A number is used again only after four billion others: until then nothing of the old
        // topic can still be under way.
        let mut slot = Slot(self.next);
        while self.entries.contains_key(&slot) {
            slot.0 = slot.0.wrapping_add(1);
        }
        self.next = slot.0.wrapping_add(1);
        let entry = Entry {
            topic,
            stage: Stage::Joining(Vec::new()),
            users: 0,
            members: Vec::new(),
            is_refreshing: false,
            refresh_again: false,
        };
        self.entries.insert(slot, entry);
        self.by_topic.insert(topic, slot);
        let slots = self.by_instrument.entry(topic.instrument).or_default();
        slots.push(slot);
        (slot, true)
    }

    fn remove(&mut self, slot: Slot) -> Option<Topic> {
        let topic = self.entries.remove(&slot)?.topic;
        self.by_topic.remove(&topic);
        if let Some(slots) = self.by_instrument.get_mut(&topic.instrument) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_instrument.remove(&topic.instrument);
            }
        }
        Some(topic)
    }

    fn remember(&mut self, event: Arc<StatusEvent>) {
        let key = (event.provider, event.instrument.zip(event.feed));
        if event.state == StatusState::Connected {
            self.troubles.remove(&key);
        } else {
            self.troubles.insert(key, event);
        }
    }

    fn members(&self, slot: Slot) -> &[Member] {
        self.entries
            .get(&slot)
            .map_or(&[], |entry| &entry.members[..])
    }
}

/// One session's hold on a topic; dropping it leaves.
pub struct Claim {
    hub: Rc<WorkerHub>,
    slot: Slot,
    member: Option<(Rc<OutboxCell>, SubKey)>,
}

impl Claim {
    /// The hub's number of the topic.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// From now on the topic's messages go to this subscription, its last state first; if
    /// something is wrong with its source, that is told before.
    pub fn activate(&mut self, cell: &Rc<OutboxCell>, key: SubKey) {
        let mut routes = self.hub.routes.borrow_mut();
        let routes = &mut *routes;
        let Some(entry) = routes.entries.get_mut(&self.slot) else {
            return;
        };
        entry.members.push(Member {
            cell: cell.clone(),
            key,
        });
        self.member = Some((cell.clone(), key));
        if !routes.troubles.is_empty() {
            let id = entry.topic.instrument;
            let table = self.hub.source.instruments();
            if let Some(row) = table.get(id) {
                let feed = entry.topic.kind.feed();
                for scope in [None, Some((id, feed))] {
                    if let Some(event) = routes.troubles.get(&(row.spec.provider, scope)) {
                        cell.with(|outbox| outbox.note(status_text(event, &table)));
                        self.hub.mark(cell);
                    }
                }
            }
        }
        // Trades have no state to begin with.
        if entry.topic.kind == StreamKind::Trades {
            self.hub.wake.wake();
        } else {
            self.hub.refresh.extend([self.slot]);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        {
            let mut routes = self.hub.routes.borrow_mut();
            // After a refused subscription the entry is gone, and with it the count.
            let Some(entry) = routes.entries.get_mut(&self.slot) else {
                return;
            };
            entry.users -= 1;
            if let Some((cell, key)) = &self.member {
                entry
                    .members
                    .retain(|member| member.key != *key || !Rc::ptr_eq(&member.cell, cell));
            }
        }
        self.hub.end_if_unused(self.slot);
    }
}
