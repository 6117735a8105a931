//! The way out of a shard: lanes to the workers, encoding once, and what happens when a lane is
//! full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::time::TsNanos;

use crate::body::{Bodies, Body};
use crate::clock::Clock;
use crate::incidents::Incidents;
use crate::latency::{ShardLatency, Stamp};
use crate::ring::{LaneMsg, LaneTx, PubKind, Publication, StatusEvent};
use crate::status::{ProviderMeter, ShardCounters};
use crate::topic::{Slot, WorkerId};
use crate::worker::SessionMemory;

/// Status events that wait for room on a lane; older ones give way.
const NOTES_MAX: usize = 1024;

#[derive(Debug)]
struct Lane {
    tx: LaneTx,
    notes: VecDeque<Arc<StatusEvent>>,
}

impl Lane {
    /// Puts waiting status events on the lane. True when none is left.
    fn drain_notes(&mut self) -> bool {
        while let Some(event) = self.notes.pop_front() {
            if self.tx.push(LaneMsg::Status(event.clone())).is_err() {
                self.notes.push_front(event);
                return false;
            }
        }
        true
    }
}

/// One worker's subscription of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sub {
    pub(crate) worker: WorkerId,
    pub(crate) slot: Slot,
    /// Publications lost since the last one that fitted.
    pub(crate) lost: u64,
}

/// A publication but for the slot.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) kind: PubKind,
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    pub(crate) prev_seq: u64,
    pub(crate) ts_recv: TsNanos,
    pub(crate) body: Body,
}

impl Item {
    /// A publication of a stream without a book.
    pub(crate) fn event(kind: PubKind, ts_recv: TsNanos, body: Body) -> Self {
        Self {
            kind,
            epoch: 0,
            seq: 0,
            prev_seq: 0,
            ts_recv,
            body,
        }
    }

    fn for_slot(&self, slot: Slot, read_at: Stamp, stage_at: Stamp) -> LaneMsg {
        LaneMsg::Data(Publication {
            slot,
            kind: self.kind,
            epoch: self.epoch,
            seq: self.seq,
            prev_seq: self.prev_seq,
            ts_recv: self.ts_recv,
            read_at,
            stage_at,
            body: self.body.clone(),
        })
    }
}

/// Lanes of all workers, and what bodies are encoded into.
pub(crate) struct Outlet {
    lanes: Vec<Option<Lane>>,
    bodies: Bodies,
    pub(crate) counters: Arc<ShardCounters>,
    /// Of the enabled providers: what is not well is told there too.
    pub(crate) meters: Vec<Arc<ProviderMeter>>,
    /// A subscription has lost something that its worker has not been told yet.
    pub(crate) has_losses: bool,
    clock: Arc<dyn Clock>,
    latency: Arc<ShardLatency>,
    /// When the frame that is being worked on was read, none between frames.
    read_at: Stamp,
    /// When the last stage of that frame's way ended.
    stage_at: Stamp,
    has_event: bool,
}

impl Outlet {
    pub(crate) fn new(clock: Arc<dyn Clock>, counters: Arc<ShardCounters>) -> Self {
        Self {
            lanes: Vec::new(),
            bodies: Bodies::new(Arc::default()),
            counters,
            meters: Vec::new(),
            has_losses: false,
            clock,
            latency: Arc::default(),
            read_at: Stamp::NONE,
            stage_at: Stamp::NONE,
            has_event: false,
        }
    }

    /// Measures into these histograms from now on.
    pub(crate) fn measure(&mut self, latency: Arc<ShardLatency>) {
        self.latency = latency;
    }

    /// Counts bodies as this memory from now on.
    pub(crate) fn count_in(&mut self, memory: Arc<SessionMemory>) {
        self.bodies = Bodies::new(memory);
    }

    pub(crate) fn latency(&self) -> &ShardLatency {
        &self.latency
    }

    /// A frame that was read at `read_at` is worked on from now on.
    pub(crate) fn begin_frame(&mut self, read_at: Duration) {
        self.read_at = Stamp::of(read_at);
        self.stage_at = self.read_at;
        self.has_event = false;
    }

    /// What is published from now on was caused by no frame.
    pub(crate) fn end_frame(&mut self) {
        (self.read_at, self.stage_at) = (Stamp::NONE, Stamp::NONE);
    }

    /// The decoder has found something: the first time ends the stage.
    #[inline]
    pub(crate) fn decoded(&mut self) {
        if !self.has_event {
            self.has_event = true;
            let now = Stamp::of(self.clock.monotonic());
            self.latency.decode.record_between(self.stage_at, now);
            self.stage_at = now;
        }
    }

    /// A book has been changed by the frame.
    #[inline]
    pub(crate) fn book_changed(&mut self) {
        if self.read_at.is_some() {
            let now = Stamp::of(self.clock.monotonic());
            self.latency.book.record_between(self.stage_at, now);
            self.stage_at = now;
        }
    }

    /// A publication is encoded and goes on the lanes of its subscribers.
    #[inline]
    pub(crate) fn publishing(&mut self) {
        if self.read_at.is_some() {
            let now = Stamp::of(self.clock.monotonic());
            self.latency.publish.record_between(self.stage_at, now);
            self.stage_at = now;
        }
    }

    /// What is not well of a provider.
    pub(crate) fn incidents(&self, provider: ProviderId) -> Option<&Incidents> {
        let mut meters = self.meters.iter();
        let meter = meters.find(|meter| meter.provider == provider)?;
        Some(&meter.incidents)
    }

    pub(crate) fn attach(&mut self, worker: WorkerId, tx: LaneTx) {
        let index = usize::from(worker.0);
        if self.lanes.len() <= index {
            self.lanes.resize_with(index + 1, || None);
        }
        self.lanes[index] = Some(Lane {
            tx,
            notes: VecDeque::new(),
        });
    }

    pub(crate) fn detach(&mut self, worker: WorkerId) {
        if let Some(lane) = self.lanes.get_mut(usize::from(worker.0)) {
            *lane = None;
        }
    }

    /// Workers whose end of the lane is gone.
    pub(crate) fn abandoned(&self) -> Vec<WorkerId> {
        let gone = |lane: &Option<Lane>| lane.as_ref().is_some_and(|lane| lane.tx.is_closed());
        let numbered = (0u16..).zip(&self.lanes);
        numbered
            .filter(|(_, lane)| gone(lane))
            .map(|(number, _)| WorkerId(number))
            .collect()
    }

    /// Encodes a body, which counts as memory of the sessions from now on.
    pub(crate) fn encode(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Body {
        self.bodies.encode(write)
    }

    /// Puts a publication on one subscription's lane. When it does not fit it is counted; the
    /// worker is told as soon as there is room, by [`Outlet::tell_loss`].
    pub(crate) fn push(&mut self, sub: &mut Sub, item: &Item) {
        let Some(Some(lane)) = self.lanes.get_mut(usize::from(sub.worker.0)) else {
            return;
        };
        let fits = sub.lost == 0
            && (lane.notes.is_empty() || lane.drain_notes())
            && lane
                .tx
                .push(item.for_slot(sub.slot, self.read_at, self.stage_at))
                .is_ok();
        if fits {
            self.counters.published.add(1);
        } else {
            sub.lost += 1;
            self.has_losses = true;
            self.counters.publications_lost.add(1);
        }
    }

    /// Tells a worker what its subscription lost. True when that fitted and the subscription goes
    /// on.
    pub(crate) fn tell_loss(&mut self, sub: &mut Sub) -> bool {
        let Some(Some(lane)) = self.lanes.get_mut(usize::from(sub.worker.0)) else {
            sub.lost = 0;
            return true;
        };
        // Room for the notice and for what follows it.
        if lane.tx.free() < 2 {
            return false;
        }
        let notice = LaneMsg::Lost {
            slot: sub.slot,
            count: sub.lost,
        };
        let is_told = lane.tx.push(notice).is_ok();
        if is_told {
            sub.lost = 0;
        }
        is_told
    }

    /// Tells all workers, in order with the data.
    pub(crate) fn status(&mut self, event: &Arc<StatusEvent>) {
        for lane in self.lanes.iter_mut().flatten() {
            if lane.notes.len() == NOTES_MAX {
                lane.notes.pop_front();
            }
            lane.notes.push_back(event.clone());
            lane.drain_notes();
        }
    }

    /// Tries again what did not fit.
    pub(crate) fn retry_notes(&mut self) {
        for lane in self.lanes.iter_mut().flatten() {
            lane.drain_notes();
        }
    }
}
