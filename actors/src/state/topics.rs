//! Topics of one feed of one instrument: who has subscribed, and what was published last.

use std::sync::Arc;

use bookwire_engine::book::{Book, TopDiff};
use bookwire_engine::event::BookLevel;
use bookwire_engine::instrument::Instrument;
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::{self, Numbers};

use super::outlet::{Item, Outlet, Sub};
use crate::body::Body;
use crate::ring::PubKind;
use crate::topic::{BookMode, Slot, StreamKind, Topic, WorkerId};

/// What was last published of a book topic.
#[derive(Debug)]
struct Top {
    diff: TopDiff,
    mode: BookMode,
    /// False while the book is not trusted: nothing may be published or refreshed.
    is_live: bool,
    epoch: u32,
    seq: u64,
    ts: TsNanos,
    ts_recv: TsNanos,
}

/// A topic with its subscribers.
#[derive(Debug)]
pub(crate) struct TopicState {
    pub(crate) topic: Topic,
    subs: Vec<Sub>,
    top: Option<Top>,
}

/// Where a book stands at the moment of a publication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    pub(crate) ts: TsNanos,
    pub(crate) ts_recv: TsNanos,
}

impl TopicState {
    fn new(topic: Topic) -> Self {
        let top = match topic.kind {
            StreamKind::OrderBook { depth, mode } => Some(Top {
                diff: TopDiff::new(depth as usize),
                mode,
                is_live: false,
                epoch: 0,
                seq: 0,
                ts: TsNanos::default(),
                ts_recv: TsNanos::default(),
            }),
            _ => None,
        };
        Self {
            topic,
            subs: Vec::new(),
            top,
        }
    }

    pub(crate) fn numbers(&self) -> Numbers {
        self.topic.numbers
    }

    /// Publishes to all subscribers.
    pub(crate) fn publish(&mut self, out: &mut Outlet, item: &Item) {
        out.publishing();
        for sub in &mut self.subs {
            out.push(sub, item);
        }
    }

    /// Takes a book that has just become trusted as the new start and publishes its whole top.
    pub(crate) fn restart(
        &mut self,
        out: &mut Outlet,
        instrument: &Instrument,
        book: &Book,
        mark: Mark,
    ) {
        let Some(top) = &mut self.top else { return };
        top.diff.reset(book);
        top.set(mark);
        top.is_live = true;
        let kind = match top.mode {
            BookMode::Snapshot => PubKind::Event,
            BookMode::Delta => PubKind::BookSnapshot,
        };
        let item = top.image(out, instrument, self.topic.numbers, kind);
        self.publish(out, &item);
    }

    /// Publishes what changed in the top, if anything did.
    pub(crate) fn advance(
        &mut self,
        out: &mut Outlet,
        instrument: &Instrument,
        book: &Book,
        mark: Mark,
    ) {
        let Some(top) = &mut self.top else { return };
        if !top.is_live {
            return self.restart(out, instrument, book, mark);
        }
        let prev_seq = top.seq;
        let numbers = self.topic.numbers;
        let Some((bids, asks)) = top.diff.update(book) else {
            return;
        };
        let item = match top.mode {
            BookMode::Snapshot => {
                top.set(mark);
                top.image(out, instrument, numbers, PubKind::Event)
            }
            BookMode::Delta => {
                let (seq, ts) = (mark.seq, mark.ts);
                let body = out.encode(|buffer| {
                    wire::book_update_data(
                        buffer, instrument, bids, asks, seq, prev_seq, ts, numbers,
                    );
                });
                top.set(mark);
                Item {
                    kind: PubKind::BookUpdate,
                    epoch: mark.epoch,
                    seq,
                    prev_seq,
                    ts_recv: mark.ts_recv,
                    body,
                }
            }
        };
        self.publish(out, &item);
    }

    /// The book is not trusted any more: nothing is published until it is again.
    pub(crate) fn suspend(&mut self) {
        if let Some(top) = &mut self.top {
            top.is_live = false;
        }
    }

    /// What a subscriber that has nothing yet needs, `None` when there is nothing to be had. A book
    /// image is that of the last publication, so that the next update applies to it.
    fn state(&self, out: &mut Outlet, instrument: &Instrument) -> Option<Item> {
        let top = self.top.as_ref().filter(|top| top.is_live)?;
        let kind = match top.mode {
            BookMode::Snapshot => PubKind::LastState,
            BookMode::Delta => PubKind::BookSnapshot,
        };
        Some(top.image(out, instrument, self.topic.numbers, kind))
    }

    /// Puts the last book image on one subscriber's lane.
    pub(crate) fn refresh_book(
        &mut self,
        out: &mut Outlet,
        instrument: &Instrument,
        key: (WorkerId, Slot),
    ) {
        let item = self.state(out, instrument);
        self.refresh(out, key, item.as_ref());
    }

    /// Puts `item` on one subscriber's lane.
    pub(crate) fn refresh(&mut self, out: &mut Outlet, key: (WorkerId, Slot), item: Option<&Item>) {
        let found = self
            .subs
            .iter_mut()
            .find(|sub| (sub.worker, sub.slot) == key);
        if let (Some(sub), Some(item)) = (found, item) {
            out.push(sub, item);
        }
    }

    /// Tells subscribers what they lost, as far as there is room now; delta books get an image to
    /// start from. True when nobody is left behind.
    pub(crate) fn repair(&mut self, out: &mut Outlet, instrument: &Instrument) -> bool {
        let mut image: Option<Item> = None;
        let mut is_clean = true;
        for index in 0..self.subs.len() {
            if self.subs[index].lost == 0 {
                continue;
            }
            if !out.tell_loss(&mut self.subs[index]) {
                is_clean = false;
                continue;
            }
            if image.is_none() {
                image = self.state(out, instrument);
            }
            if let Some(item) = &image {
                out.push(&mut self.subs[index], item);
            }
        }
        is_clean
    }
}

impl Top {
    fn set(&mut self, mark: Mark) {
        (self.epoch, self.seq) = (mark.epoch, mark.seq);
        (self.ts, self.ts_recv) = (mark.ts, mark.ts_recv);
    }

    fn image(
        &self,
        out: &mut Outlet,
        instrument: &Instrument,
        numbers: Numbers,
        kind: PubKind,
    ) -> Item {
        let (bids, asks): (&[BookLevel], &[BookLevel]) = self.diff.top();
        let body: Body = out.encode(|buffer| {
            wire::book_snapshot_data(buffer, instrument, bids, asks, self.seq, self.ts, numbers);
        });
        Item {
            kind,
            epoch: self.epoch,
            seq: self.seq,
            prev_seq: 0,
            ts_recv: self.ts_recv,
            body,
        }
    }
}

/// Topics of one feed. Few: a list is the fastest map.
#[derive(Debug, Default)]
pub(crate) struct Topics(pub(crate) Vec<TopicState>);

impl Topics {
    /// Adds a subscriber; again: nothing changes. The topic, to bring it up to date.
    pub(crate) fn add(&mut self, topic: Topic, worker: WorkerId, slot: Slot) -> &mut TopicState {
        let index = match self.0.iter().position(|state| state.topic == topic) {
            Some(index) => index,
            None => {
                self.0.push(TopicState::new(topic));
                self.0.len() - 1
            }
        };
        let state = &mut self.0[index];
        let is_known = state
            .subs
            .iter()
            .any(|sub| (sub.worker, sub.slot) == (worker, slot));
        if !is_known {
            state.subs.push(Sub {
                worker,
                slot,
                lost: 0,
            });
        }
        state
    }

    /// Removes a subscriber, and the topic with its last one.
    pub(crate) fn remove(&mut self, topic: Topic, worker: WorkerId, slot: Slot) {
        for state in self.0.iter_mut().filter(|state| state.topic == topic) {
            let is_it = |sub: &Sub| (sub.worker, sub.slot) == (worker, slot);
            state.subs.retain(|sub| !is_it(sub));
        }
        self.0.retain(|state| !state.subs.is_empty());
    }

    pub(crate) fn get(&mut self, topic: Topic) -> Option<&mut TopicState> {
        self.0.iter_mut().find(|state| state.topic == topic)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Encodes once for each topic and publishes.
    pub(crate) fn publish(
        &mut self,
        out: &mut Outlet,
        kind: PubKind,
        ts_recv: TsNanos,
        write: impl Fn(&mut Vec<u8>, Numbers),
    ) {
        for state in &mut self.0 {
            let numbers = state.numbers();
            let body = out.encode(|buffer| write(buffer, numbers));
            state.publish(out, &Item::event(kind, ts_recv, body));
        }
    }

    /// True when no subscriber is left behind.
    pub(crate) fn repair(&mut self, out: &mut Outlet, instrument: &Arc<Instrument>) -> bool {
        let mut is_clean = true;
        for state in &mut self.0 {
            is_clean &= state.repair(out, instrument);
        }
        is_clean
    }
}
