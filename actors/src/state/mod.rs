//! The data path of a shard: events of decoders change books and bars here, by direct calls on the
//! shard's thread, and leave encoded on the lanes. No mailbox, no lock, no request.
//!
//! Everything that an actor may lose in a panic and must not be lost is kept here too: actors hold
//! an `Rc` of it.

mod books;
mod built;
pub mod effect;
mod feeds;
mod health;
mod market;
mod outlet;
pub mod paper;
mod snapshots;
mod sweep;
mod topics;
pub mod touch;

use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::book::sync::{BookState, DesyncReason};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::{Feed, ProviderId};
use bookwire_engine::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use bookwire_engine::kline::KlineGate;
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire;

use crate::clock::Clock;
use crate::incidents::Subject;
use crate::keeper::Keeper;
use crate::latency::ShardLatency;
use crate::quarantine::{LiveCheck, Quarantine};
use crate::recorder::RecorderPort;
use crate::ring::{LaneTx, PubKind, StatusEvent, StatusState};
use crate::status::{ProviderMeter, ShardCounters};
use crate::topic::{Slot, StreamKind, Topic, WorkerId};
use crate::worker::SessionMemory;
use effect::{Effect, Effects};
use feeds::{InstrumentState, RecentTrades, feed_index};
use outlet::{Item, Outlet};

use books::{lose_book, mark};

pub use books::BookNeed;
pub(crate) use health::after;
pub use market::{FrameSink, ReadAt};

/// All that a shard knows of its instruments.
pub struct ShardState {
    clock: Arc<dyn Clock>,
    table: Arc<InstrumentTable>,
    instruments: Vec<Option<Box<InstrumentState>>>,
    slots: AHashMap<(WorkerId, Slot), Topic>,
    out: Outlet,
    recorder: Option<RecorderPort>,
    quarantine: Quarantine,
    is_losing_rows: bool,
    effects: Effects,
    /// Instruments whose bars of trades have changed in this frame.
    stirred: Vec<InstrumentId>,
    snapshots: Option<snapshots::Snapshots>,
    /// Whose book streams have begun with an image.
    image_senders: Vec<(ProviderId, Market)>,
}

impl ShardState {
    /// A shard that knows nothing yet.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        counters: Arc<ShardCounters>,
        recorder: Option<RecorderPort>,
    ) -> Self {
        Self {
            out: Outlet::new(clock.clone(), counters),
            clock,
            table: Arc::default(),
            instruments: Vec::new(),
            slots: AHashMap::new(),
            recorder,
            quarantine: Quarantine::open(Keeper::none(), true),
            is_losing_rows: false,
            effects: Effects::default(),
            stirred: Vec::new(),
            snapshots: None,
            image_senders: Vec::new(),
        }
    }

    /// Tells what is not well to these meters too.
    #[must_use]
    pub fn with_meters(mut self, meters: Vec<Arc<ProviderMeter>>) -> Self {
        self.out.meters = meters;
        self
    }

    /// Measures the way of messages into these histograms.
    #[must_use]
    pub fn with_latency(mut self, latency: Arc<ShardLatency>) -> Self {
        self.out.measure(latency);
        self
    }

    /// Counts what waits for clients as this memory.
    #[must_use]
    pub fn with_memory(mut self, memory: Arc<SessionMemory>) -> Self {
        self.out.count_in(memory);
        self
    }

    /// Bars that are not stored go there.
    #[must_use]
    pub fn with_quarantine(mut self, quarantine: Quarantine) -> Self {
        self.quarantine = quarantine;
        self
    }

    /// What the data path wants done.
    #[must_use]
    pub fn effects(&self) -> Effects {
        self.effects.clone()
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> &ShardCounters {
        &self.out.counters
    }

    /// The instruments as the shard knows them.
    #[must_use]
    pub fn table(&self) -> &Arc<InstrumentTable> {
        &self.table
    }

    /// Uses another table. An instrument whose steps changed loses its book and last values: their
    /// numbers have another scale now.
    pub fn set_table(&mut self, table: Arc<InstrumentTable>) {
        for state in self.instruments.iter_mut().flatten() {
            let Some(new) = table.get(state.instrument.id) else {
                continue;
            };
            let scales = |row: &Instrument| (row.price_scale, row.qty_scale);
            let is_rescaled = scales(new) != scales(&state.instrument);
            state.instrument = new.clone();
            if is_rescaled {
                (state.ticker, state.funding) = (None, None);
                state.klines = std::mem::take(&mut state.klines).map(|feed| {
                    let mut feed = feed?;
                    (feed.last, feed.held) = (None, None);
                    feed.check = LiveCheck::default();
                    feed.begin_anew();
                    Some(feed)
                });
            }
            if is_rescaled && state.book.is_some() {
                lose_book(state, DesyncReason::Requested, &mut self.out, &*self.clock);
                self.effects.push(Effect::Snapshot(new.id));
            }
        }
        self.table = table;
    }

    fn state(&mut self, id: InstrumentId) -> Result<&mut InstrumentState, CryptoError> {
        let index = id.0 as usize;
        if self.instruments.len() <= index {
            self.instruments.resize_with(index + 1, || None);
        }
        let slot = &mut self.instruments[index];
        if slot.is_none() {
            let instrument = self.table.get(id).ok_or_else(|| {
                CryptoError::new(CryptoCode::PairNotFound, "no instrument has this id")
            })?;
            *slot = Some(Box::new(InstrumentState::new(instrument.clone())));
        }
        slot.as_deref_mut()
            .ok_or_else(|| CryptoError::new(CryptoCode::InternalError, "no instrument state"))
    }

    fn known(&self, id: InstrumentId) -> Option<&InstrumentState> {
        self.instruments.get(id.0 as usize)?.as_deref()
    }

    fn known_mut(&mut self, id: InstrumentId) -> Option<&mut InstrumentState> {
        self.instruments.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Publications for a worker go to this lane from now on.
    pub fn attach(&mut self, worker: WorkerId, lane: LaneTx) {
        self.out.attach(worker, lane);
    }

    /// Ends all topics of a worker and returns the feeds that they were made from.
    pub fn detach(&mut self, worker: WorkerId) -> Vec<(InstrumentId, Feed)> {
        self.out.detach(worker);
        let slots: Vec<Slot> = self
            .slots
            .keys()
            .filter(|(owner, _)| *owner == worker)
            .map(|(_, slot)| *slot)
            .collect();
        slots
            .into_iter()
            .filter_map(|slot| self.unsubscribe(worker, slot))
            .collect()
    }

    /// Workers that are gone without saying so.
    #[must_use]
    pub fn abandoned(&self) -> Vec<WorkerId> {
        self.out.abandoned()
    }

    /// Adds a subscription. True when it is new. The hub asks for the state when a session is ready
    /// to take it, so nothing is sent here.
    ///
    /// # Errors
    /// `CRYPTO_PAIR_NOT_FOUND` for an unknown instrument, `CRYPTO_INVALID_PARAMETER` when the slot
    /// stands for another topic.
    pub fn subscribe(
        &mut self,
        worker: WorkerId,
        slot: Slot,
        topic: Topic,
    ) -> Result<bool, CryptoError> {
        match self.slots.get(&(worker, slot)) {
            Some(known) if *known == topic => return Ok(false),
            Some(_) => {
                return Err(CryptoError::invalid_parameter(
                    "slot",
                    &slot.0.to_string(),
                    "a number that stands for no other topic",
                ));
            }
            None => {}
        }
        let state = self.state(topic.instrument)?;
        state.topics(topic.kind).add(topic, worker, slot);
        self.slots.insert((worker, slot), topic);
        // A topic that joins a live book starts from it.
        if matches!(topic.kind, StreamKind::OrderBook { .. }) {
            self.start_topic(topic);
        }
        Ok(true)
    }

    fn start_topic(&mut self, topic: Topic) {
        let index = topic.instrument.0 as usize;
        let Some(Some(state)) = self.instruments.get_mut(index) else {
            return;
        };
        let Some((feed, mark)) = state
            .book
            .as_ref()
            .and_then(|feed| Some((feed, mark(feed)?)))
        else {
            return;
        };
        if let (Some(book), Some(topic)) = (feed.synced.book(), state.book_topics.get(topic)) {
            topic.advance(&mut self.out, &state.instrument, book, mark);
        }
    }

    /// Ends a subscription and returns the feed that it was made from; `None` when there was none.
    pub fn unsubscribe(&mut self, worker: WorkerId, slot: Slot) -> Option<(InstrumentId, Feed)> {
        let topic = self.slots.remove(&(worker, slot))?;
        if let Some(state) = self.known_mut(topic.instrument) {
            state.topics(topic.kind).remove(topic, worker, slot);
        }
        Some((topic.instrument, topic.kind.feed()))
    }

    /// Puts a topic's last state on the worker's lane, where there is one.
    ///
    /// # Errors
    /// `CRYPTO_NOT_FOUND` for an unknown slot.
    pub fn refresh(&mut self, worker: WorkerId, slot: Slot) -> Result<(), CryptoError> {
        let Some(topic) = self.slots.get(&(worker, slot)).copied() else {
            return Err(CryptoError::new(
                CryptoCode::NotFound,
                "no topic has this slot",
            ));
        };
        let index = topic.instrument.0 as usize;
        let Some(Some(state)) = self.instruments.get_mut(index) else {
            return Ok(());
        };
        let (out, instrument, numbers) = (&mut self.out, state.instrument.clone(), topic.numbers);
        let key = (worker, slot);
        let item = match topic.kind {
            StreamKind::OrderBook { .. } => {
                if let Some(topic) = state.book_topics.get(topic) {
                    topic.refresh_book(out, &instrument, key);
                }
                return Ok(());
            }
            StreamKind::Trades => None,
            StreamKind::Klines(level) => state.kline_feed(level).last.map(|(kline, ts_recv)| {
                let body = out.encode(|b| wire::kline_data(b, &instrument, &kline, numbers));
                Item::event(PubKind::LastState, ts_recv, body)
            }),
            StreamKind::Ticker => state.ticker.map(|(ticker, ts_recv)| {
                let body =
                    out.encode(|b| wire::ticker_data(b, &instrument, &ticker, ts_recv, numbers));
                Item::event(PubKind::LastState, ts_recv, body)
            }),
            StreamKind::Funding => state.funding.map(|(funding, ts_recv)| {
                let body = out.encode(|b| wire::funding_data(b, &funding, numbers));
                Item::event(PubKind::LastState, ts_recv, body)
            }),
        };
        if let Some(topic) = state.topics(topic.kind).get(topic) {
            topic.refresh(&mut self.out, key, item.as_ref());
        }
        Ok(())
    }

    /// Starts to keep an instrument's feeds: events of instruments that nobody asked for are left
    /// out.
    ///
    /// # Errors
    /// `CRYPTO_PAIR_NOT_FOUND` for an unknown instrument.
    pub fn open_feed(&mut self, id: InstrumentId) -> Result<(), CryptoError> {
        self.state(id).map(|_| ())
    }

    /// A stream is acknowledged: its data will come.
    pub fn on_stream_up(&mut self, id: InstrumentId, feed: Feed, now: Duration) {
        let effects = self.effects.clone();
        self.end_silence(id, feed);
        let Some(state) = self.known_mut(id) else {
            return;
        };
        let heard = &mut state.heard[feed_index(feed)];
        *heard = now.max(*heard);
        if let (Feed::Book, Some(book)) = (feed, &mut state.book) {
            book.is_stream_live = true;
            book.awaits_image = true;
            if book.synced.state() != BookState::Synced {
                effects.push(Effect::Snapshot(id));
            }
        }
    }

    /// A stream's connection is lost: data may be missing from here on.
    pub fn on_stream_down(&mut self, id: InstrumentId, feed: Feed) {
        let Self {
            instruments,
            out,
            clock,
            recorder,
            ..
        } = self;
        let Some(Some(state)) = instruments.get_mut(id.0 as usize) else {
            return;
        };
        match feed {
            Feed::Book => {
                if let Some(book) = &mut state.book {
                    book.is_stream_live = false;
                    lose_book(state, DesyncReason::Disconnected, out, &**clock);
                }
            }
            Feed::Trades => {
                let (entity, trades) = (&state.entity, &mut state.trades);
                let covered = trades.covered_from.take();
                market::promise(recorder, out, entity, covered, trades.last_ts);
                if trades.last_ts > TsNanos::default() {
                    trades.lost_at.get_or_insert(trades.last_ts);
                }
                if let Some(bars) = state.trade_bars() {
                    bars.lose();
                }
            }
            Feed::Klines(_) | Feed::Ticker | Feed::Funding => {}
        }
        let provider = state.instrument.spec.provider;
        if let Some(incidents) = out.incidents(provider) {
            incidents.orphan(&Subject::Stream(id, feed));
        }
    }

    /// A stream has been ended because nobody wanted it any more: when it comes back, what was missed
    /// meanwhile was not asked for.
    pub fn forget(&mut self, id: InstrumentId, feed: Feed) {
        if let Some(incidents) = self.incidents_of(id) {
            incidents.forget(&Subject::Stream(id, feed));
        }
        let Some(state) = self.known_mut(id) else {
            return;
        };
        match feed {
            Feed::Book => self.close_book(id),
            Feed::Trades => {
                state.trades.recent = RecentTrades::default();
                (state.trades.covered_from, state.trades.lost_at) = (None, None);
            }
            Feed::Klines(level) => {
                let feed = state.kline_feed(level);
                (feed.last, feed.held, feed.built) = (None, None, None);
                feed.check = LiveCheck::default();
                feed.gate = KlineGate::new(level);
            }
            Feed::Ticker => state.ticker = None,
            Feed::Funding => state.funding = None,
        }
    }

    /// When a feed was last heard (monotonic); zero: never.
    #[must_use]
    pub fn heard(&self, id: InstrumentId, feed: Feed) -> Duration {
        self.known(id)
            .map_or(Duration::ZERO, |state| state.heard[feed_index(feed)])
    }

    /// Tells all workers.
    pub fn announce(
        &mut self,
        provider: ProviderId,
        instrument: Option<InstrumentId>,
        state: StatusState,
        reason: impl Into<String>,
    ) {
        let event = StatusEvent {
            provider,
            instrument,
            feed: None,
            state,
            reason: reason.into(),
            was: None,
            ts: self.clock.now(),
        };
        self.out.status(&Arc::new(event));
    }

    /// Subscriptions of all workers.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod built_tests;
#[cfg(test)]
mod latency_tests;
#[cfg(test)]
mod tests;
