//! What a shard tells about how well its streams are: to subscribers, and to the provider's meter.

use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::exchange::Feed;
use bookwire_engine::instrument::InstrumentId;

use super::ShardState;
use super::feeds::InstrumentState;
use super::outlet::Outlet;
use crate::clock::Clock;
use crate::incidents::{Cause, Ended, Incidents, Moment, Subject};
use crate::ring::{StatusEvent, StatusState};
use crate::topic::stream_name;

impl ShardState {
    pub(super) fn incidents_of(&self, id: InstrumentId) -> Option<&Incidents> {
        let provider = self.table.get(id)?.spec.provider;
        self.out.incidents(provider)
    }

    /// A stream that is no book's has been silent for too long. `is_news`: for the first time since
    /// it was heard.
    pub fn on_silence(&mut self, id: InstrumentId, feed: Feed, is_news: bool) {
        let now = Moment::of(&*self.clock);
        if let Some(incidents) = self.incidents_of(id) {
            incidents.begin(Subject::Stream(id, feed), Cause::Known("silent"), now);
        }
        self.out.counters.stale_streams.add(1);
        if is_news {
            let reason = format!("{} silent", stream_name(feed));
            self.tell(id, feed, StatusState::Stale, reason, None);
        }
    }

    /// Data of a silent stream came again.
    pub fn on_recovery(&mut self, id: InstrumentId, feed: Feed) {
        let now = Moment::of(&*self.clock);
        let incidents = self.incidents_of(id);
        let was = incidents.and_then(|all| all.end(&Subject::Stream(id, feed), now));
        let reason = after(&format!("{} flows", stream_name(feed)), was.as_ref());
        self.tell(id, feed, StatusState::Connected, reason, was);
    }

    /// A stream whose silence nobody follows any more, because its connection is another, is
    /// subscribed again.
    pub(super) fn end_silence(&mut self, id: InstrumentId, feed: Feed) {
        let now = Moment::of(&*self.clock);
        let incidents = self.incidents_of(id);
        let was = incidents.and_then(|all| all.adopt(&Subject::Stream(id, feed), now));
        if was.is_some() {
            let reason = format!("{} subscribed again", stream_name(feed));
            let reason = after(&reason, was.as_ref());
            self.tell(id, feed, StatusState::Connected, reason, was);
        }
    }

    /// Why a book can't be repaired; told when it is worth it.
    pub fn on_hindrance(&mut self, id: InstrumentId, text: &str, told: Option<StatusState>) {
        if let Some(incidents) = self.incidents_of(id) {
            incidents.hinder(&Subject::Book(id), text);
        }
        if let Some(state) = told {
            self.tell(id, Feed::Book, state, text.to_owned(), None);
        }
    }

    fn tell(
        &mut self,
        id: InstrumentId,
        feed: Feed,
        state: StatusState,
        reason: String,
        was: Option<Ended>,
    ) {
        let Some(provider) = self.table.get(id).map(|row| row.spec.provider) else {
            return;
        };
        self.out.status(&Arc::new(StatusEvent {
            provider,
            instrument: Some(id),
            feed: Some(feed),
            state,
            reason,
            was,
            ts: self.clock.now(),
        }));
    }
}

/// A book is not to be trusted.
pub(super) fn book_lost(state: &InstrumentState, cause: Cause, out: &Outlet, clock: &dyn Clock) {
    let subject = Subject::Book(state.instrument.id);
    if let Some(incidents) = out.incidents(state.instrument.spec.provider) {
        incidents.begin(subject, cause, Moment::of(clock));
    }
}

/// A book is to be trusted: why it was not, unless it is there for the first time.
pub(super) fn book_gained(
    state: &InstrumentState,
    out: &Outlet,
    clock: &dyn Clock,
) -> Option<Ended> {
    let subject = Subject::Book(state.instrument.id);
    let incidents = out.incidents(state.instrument.spec.provider)?;
    let ended = incidents.end(&subject, Moment::of(clock))?;
    (!ended.is_start).then_some(ended)
}

/// `synced`, or `synced after 1.250 s: gap`.
pub(crate) fn after(what: &str, was: Option<&Ended>) -> String {
    match was {
        Some(was) => format!("{what} after {}: {}", seconds(was.after), was.reason),
        None => what.to_owned(),
    }
}

/// `1.250 s`.
fn seconds(time: Duration) -> String {
    format!("{}.{:03} s", time.as_secs(), time.subsec_millis())
}
