//! Books of a shard: kept, gained, lost, looked at.

use std::rc::Rc;
use std::sync::Arc;

use bookwire_engine::book::sync::{BookState, DesyncReason, SnapshotOutcome, SyncedBook};
use bookwire_engine::error::CryptoError;
use bookwire_engine::event::{BookSide, BookSnapshot};
use bookwire_engine::exchange::Feed;
use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::time::TsNanos;
use tokio::sync::Notify;

use super::effect::Effect;
use super::feeds::{BookFeed, InstrumentState};
use super::outlet::Outlet;
use super::topics::Mark;
use super::touch::TouchCell;
use super::{ShardState, health, paper};
use crate::clock::Clock;
use crate::incidents::{Cause, Subject};
use crate::ring::{StatusEvent, StatusState};
use crate::shard::messages::{BookObservation, BookView};

impl ShardState {
    /// Starts to keep a book.
    ///
    /// # Errors
    /// `CRYPTO_PAIR_NOT_FOUND` for an unknown instrument.
    pub fn open_book(&mut self, id: InstrumentId) -> Result<(), CryptoError> {
        let state = self.state(id)?;
        let is_new = state.book.is_none();
        if is_new {
            let spec = &state.instrument.spec;
            let rule = spec.provider.exchange().continuity(spec.market);
            state.book = Some(BookFeed {
                synced: SyncedBook::new(rule),
                changed: Rc::new(Notify::new()),
                is_stream_live: false,
                awaits_image: false,
                is_bad_told: false,
                behind_since: None,
                ts_recv: TsNanos::default(),
            });
        }
        if let Some(state) = self.known(id).filter(|_| is_new) {
            health::book_lost(state, Cause::Starting, &self.out, &*self.clock);
        }
        Ok(())
    }

    /// Forgets a book that nobody wants any more.
    pub fn close_book(&mut self, id: InstrumentId) {
        if let Some(incidents) = self.incidents_of(id) {
            incidents.forget(&Subject::Book(id));
        }
        if let Some(state) = self.known_mut(id) {
            state.book = None;
            state.publish_touch();
            for topic in &mut state.book_topics.0 {
                topic.suspend();
            }
        }
    }

    /// Told each time the book becomes trusted; `None` when no book is kept.
    #[must_use]
    pub fn book_changed(&self, id: InstrumentId) -> Option<Rc<Notify>> {
        Some(self.known(id)?.book.as_ref()?.changed.clone())
    }

    /// The top of a trusted book.
    #[must_use]
    pub fn book_view(&self, id: InstrumentId, depth: usize) -> Option<BookView> {
        let state = self.known(id)?;
        let feed = state.book.as_ref()?;
        let book = feed.synced.book()?;
        let mark = mark(feed)?;
        let (mut bids, mut asks) = (Vec::new(), Vec::new());
        book.top(BookSide::Bid, depth, &mut bids);
        book.top(BookSide::Ask, depth, &mut asks);
        Some(BookView {
            instrument: state.instrument.clone(),
            bids,
            asks,
            seq: mark.seq,
            ts_event: mark.ts,
            epoch: mark.epoch,
        })
    }

    /// Where the best prices of an instrument can be read from now on, while its book is kept and
    /// trusted; `None` for an unknown instrument.
    pub fn touch_cell(&mut self, id: InstrumentId) -> Option<Arc<TouchCell>> {
        let state = self.state(id).ok()?;
        let cell = state.touch.get_or_insert_default().cell();
        state.publish_touch();
        Some(cell)
    }

    /// What a book is waiting for.
    #[must_use]
    pub fn book_need(&self, id: InstrumentId) -> BookNeed {
        let Some(feed) = self.known(id).and_then(|state| state.book.as_ref()) else {
            return BookNeed::Nothing;
        };
        match feed.synced.state() {
            BookState::Synced => BookNeed::Nothing,
            _ if !feed.is_stream_live => BookNeed::Nothing,
            _ if feed.synced.buffered() == 0 => BookNeed::Deltas,
            _ => BookNeed::Snapshot,
        }
    }

    /// True when streams of this kind are known to begin with an image, so that asking for the
    /// stream again brings another.
    #[must_use]
    pub fn brings_images(&self, id: InstrumentId) -> bool {
        self.known(id).is_some_and(|state| {
            let spec = &state.instrument.spec;
            self.image_senders.contains(&(spec.provider, spec.market))
        })
    }

    /// True when the stream of a book that is not trusted has been joined and may still send the
    /// image that it begins with.
    #[must_use]
    pub fn awaits_image(&self, id: InstrumentId) -> bool {
        let book = self.known(id).and_then(|state| state.book.as_ref());
        book.is_some_and(|book| book.awaits_image)
    }

    /// One book.
    #[must_use]
    pub fn book(&self, id: InstrumentId) -> Option<BookObservation> {
        observe(self.known(id)?)
    }

    /// Takes a snapshot that was fetched. `None` when no book is kept.
    pub fn on_snapshot(
        &mut self,
        id: InstrumentId,
        snapshot: &BookSnapshot,
    ) -> Option<SnapshotOutcome> {
        let Self {
            instruments,
            out,
            clock,
            ..
        } = self;
        let state = instruments.get_mut(id.0 as usize)?.as_deref_mut()?;
        let outcome = state.book.as_mut()?.synced.on_snapshot(snapshot);
        if let SnapshotOutcome::Synced { .. } = outcome {
            gain_book(state, out, &**clock);
        }
        Some(outcome)
    }

    /// Trusts a held snapshot of a quiet instrument: the stream was live before it was asked for.
    pub fn accept_held(&mut self, id: InstrumentId) -> bool {
        let Self {
            instruments,
            out,
            clock,
            ..
        } = self;
        let Some(Some(state)) = instruments.get_mut(id.0 as usize) else {
            return false;
        };
        let is_accepted = state
            .book
            .as_mut()
            .is_some_and(|feed| feed.is_stream_live && feed.synced.accept_held());
        if is_accepted {
            gain_book(state, out, &**clock);
        }
        is_accepted
    }

    /// Gives a book up; it is fetched anew when its stream is live. False when none is kept.
    pub fn desync(&mut self, id: InstrumentId, reason: DesyncReason) -> bool {
        let Self {
            instruments,
            out,
            clock,
            effects,
            ..
        } = self;
        let Some(Some(state)) = instruments.get_mut(id.0 as usize) else {
            return false;
        };
        if state.book.is_none() {
            return false;
        }
        lose_book(state, reason, out, &**clock);
        effects.push(Effect::Snapshot(id));
        true
    }

    /// All books.
    #[must_use]
    pub fn books(&self) -> Vec<BookObservation> {
        let all = self.instruments.iter().flatten();
        all.filter_map(|state| observe(state)).collect()
    }
}

fn observe(state: &InstrumentState) -> Option<BookObservation> {
    let feed = state.book.as_ref()?;
    let best = feed.synced.book().and_then(|book| {
        let (bid, ask) = (book.best(BookSide::Bid)?, book.best(BookSide::Ask)?);
        Some((bid.price, ask.price))
    });
    Some(BookObservation {
        best,
        instrument: state.instrument.id,
        state: feed.synced.state(),
        epoch: feed.synced.epoch(),
        seq: feed.synced.seq(),
    })
}

/// What a book is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookNeed {
    /// It is trusted, or not kept, or its stream is down: nothing to be done.
    Nothing,
    /// Its stream is live but has sent nothing yet.
    Deltas,
    /// Deltas are kept: a snapshot joins them.
    Snapshot,
}

/// Where a trusted book stands.
pub(super) fn mark(feed: &BookFeed) -> Option<Mark> {
    feed.synced.book()?;
    let ts = feed.synced.ts_event();
    Some(Mark {
        epoch: feed.synced.epoch(),
        seq: feed.synced.seq(),
        // A snapshot of an exchange that sends no time with it (Binance spot).
        ts: if ts.0 == 0 { feed.ts_recv } else { ts },
        ts_recv: feed.ts_recv,
    })
}

/// The book has just become trusted: everybody gets its image and the good news.
pub(super) fn gain_book(state: &mut InstrumentState, out: &mut Outlet, clock: &dyn Clock) {
    out.counters.book_snapshots.add(1);
    state.publish_touch();
    let was = health::book_gained(state, out, clock);
    let Some(feed) = &mut state.book else { return };
    feed.awaits_image = false;
    if feed.ts_recv.0 == 0 {
        feed.ts_recv = clock.now();
    }
    feed.behind_since = None;
    feed.is_bad_told = false;
    feed.changed.notify_waiters();
    let spec = &state.instrument.spec;
    out.status(&Arc::new(StatusEvent {
        provider: spec.provider,
        instrument: Some(state.instrument.id),
        feed: Some(Feed::Book),
        state: StatusState::Connected,
        reason: health::after("synced", was.as_ref()),
        was,
        ts: clock.now(),
    }));
    if let (Some(book), Some(mark)) = (feed.synced.book(), mark(feed)) {
        for topic in &mut state.book_topics.0 {
            topic.restart(out, &state.instrument, book, mark);
        }
    }
}

/// Gives the book up and says so. Does nothing to a book that is not there.
pub(super) fn lose_book(
    state: &mut InstrumentState,
    reason: DesyncReason,
    out: &mut Outlet,
    clock: &dyn Clock,
) {
    let Some(feed) = &mut state.book else { return };
    let was_synced = feed.synced.state() == BookState::Synced;
    feed.synced.desync(reason);
    tell_loss(state, reason, was_synced, out, clock);
}

/// Says that a book is being repaired, once for each time it is lost.
pub(super) fn tell_loss(
    state: &mut InstrumentState,
    reason: DesyncReason,
    was_synced: bool,
    out: &mut Outlet,
    clock: &dyn Clock,
) {
    health::book_lost(state, Cause::Known(reason.as_str()), out, clock);
    state.publish_touch();
    if state.paper.is_some() {
        paper::on_book(state, clock.now());
    }
    let Some(feed) = &mut state.book else { return };
    if was_synced {
        out.counters.book_desyncs.add(1);
        for topic in &mut state.book_topics.0 {
            topic.suspend();
        }
        let symbol = &state.instrument.code;
        tracing::warn!(symbol, market = %state.instrument.spec.market, ?reason, "book lost");
    }
    if was_synced || !feed.is_bad_told {
        feed.is_bad_told = true;
        out.status(&Arc::new(StatusEvent {
            provider: state.instrument.spec.provider,
            instrument: Some(state.instrument.id),
            feed: Some(Feed::Book),
            state: match reason {
                DesyncReason::Stale => StatusState::Stale,
                _ => StatusState::Resyncing,
            },
            reason: reason.as_str().to_owned(),
            was: None,
            ts: clock.now(),
        }));
    }
}
