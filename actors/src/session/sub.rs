//! One subscription inside an outbox: which messages its client can use, and what goes out.

use std::collections::VecDeque;

use bookwire_engine::time::TsNanos;
use bytes::Bytes;

use super::encode::{self, Labels};
use super::flow::{Close, DropPolicy, Gap};
use super::frame;
use crate::body::Body;
use crate::latency::Stamp;
use crate::ring::{PubKind, Publication};
use crate::topic::{Slot, StreamKind};

/// What an outbox has to know of a subscription.
#[derive(Clone, Debug)]
pub struct SubSpec {
    /// The dispatcher's number of the topic.
    pub slot: Slot,
    /// What is subscribed.
    pub kind: StreamKind,
    /// The texts of its messages.
    pub labels: Labels,
    /// Messages carry `received_ns` and `sent_ns`.
    pub timing: bool,
    /// What a full queue does.
    pub policy: DropPolicy,
}

/// Which messages of the topic continue what the client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Every message stands alone; `fresh` until the first.
    Open { fresh: bool },
    /// A delta book that waits for a snapshot.
    Waiting,
    /// A delta book at this point.
    InStep { epoch: u32, seq: u64 },
}

/// A subscription as its outbox keeps it.
#[derive(Debug)]
pub(super) struct Sub {
    pub(super) spec: SubSpec,
    pub(super) prefix: Vec<u8>,
    /// Where its messages wait.
    pub(super) line: usize,
    pub(super) next_seq: u64,
    pub(super) gate: Gate,
    /// Tickets of its waiting messages, oldest first.
    pub(super) tickets: VecDeque<u64>,
    pub(super) gap: Option<Gap>,
    pub(super) has_marker: bool,
    pub(super) wants_snapshot: bool,
}

/// A message of a subscription that waits.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) sub: u32,
    pub(super) kind: PubKind,
    pub(super) seq: u64,
    pub(super) ts_recv: TsNanos,
    pub(super) read_at: Stamp,
    pub(super) taken_at: Stamp,
    pub(super) body: Body,
}

/// A place in the queue.
#[derive(Debug)]
pub(super) enum Entry {
    /// Taken back.
    Gone,
    /// A ready message that keeps its place among the data.
    Note(Bytes),
    /// Here the subscription's gap is told at the latest.
    Flow(u32),
    Data(Queued),
}

/// What a socket takes in one go.
#[derive(Debug, Default)]
pub struct Batch {
    /// Text frames back to back, as the socket takes them.
    pub frames: Vec<u8>,
    /// How many.
    pub messages: usize,
    /// Send a ping.
    pub ping: bool,
    /// Close after all this.
    pub close: Option<Close>,
}

impl Batch {
    /// Adds the message that `write` appends, which has to be UTF-8.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        frame::text(&mut self.frames, write);
        self.messages += 1;
    }

    /// Adds a message that is ready.
    pub(super) fn add_ready(&mut self, message: &[u8]) {
        self.add(|out| out.extend_from_slice(message));
    }

    /// True when there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages == 0 && !self.ping && self.close.is_none()
    }
}

/// Counters of an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Market messages handed to the socket.
    pub sent: u64,
    /// Market messages dropped, those replaced by a later state included.
    pub dropped: u64,
    /// Times that a delta book had to start over from a snapshot.
    pub restarts: u64,
}

/// What becomes of a message.
pub(super) enum Admission {
    Take,
    Skip,
    OutOfStep,
}

impl Sub {
    /// A subscription without messages. A delta book waits for its first snapshot.
    pub(super) fn new(spec: SubSpec, line: usize) -> Self {
        let gate = if spec.kind.is_delta() {
            Gate::Waiting
        } else {
            Gate::Open { fresh: true }
        };
        let mut prefix = Vec::with_capacity(160);
        encode::prefix(&mut prefix, &spec.labels);
        Self {
            spec,
            prefix,
            line,
            next_seq: 1,
            gate,
            tickets: VecDeque::new(),
            gap: None,
            has_marker: false,
            wants_snapshot: false,
        }
    }

    /// Whether the client can use the message, and the client's new point when it can.
    pub(super) fn admit(&mut self, publication: &Publication) -> Admission {
        let Publication {
            kind,
            epoch,
            seq,
            prev_seq,
            ..
        } = *publication;
        match (self.gate, kind) {
            (Gate::Open { fresh: false }, PubKind::LastState) => Admission::Skip,
            (Gate::Open { .. }, PubKind::Event | PubKind::ClosedBar | PubKind::LastState) => {
                self.gate = Gate::Open { fresh: false };
                Admission::Take
            }
            (Gate::Waiting, PubKind::BookSnapshot) => {
                self.gate = Gate::InStep { epoch, seq };
                Admission::Take
            }
            (Gate::InStep { epoch: have, .. }, PubKind::BookSnapshot) if have != epoch => {
                self.gate = Gate::InStep { epoch, seq };
                Admission::Take
            }
            (
                Gate::InStep {
                    epoch: have,
                    seq: at,
                },
                PubKind::BookUpdate,
            ) => {
                if have == epoch && at == prev_seq {
                    self.gate = Gate::InStep { epoch, seq };
                    Admission::Take
                } else {
                    Admission::OutOfStep
                }
            }
            _ => Admission::Skip,
        }
    }

    /// Puts the notice of what was dropped into the batch.
    pub(super) fn tell_gap(&mut self, batch: &mut Batch) {
        if let Some(gap) = self.gap.take() {
            let policy = self.spec.policy.as_str();
            batch.add(|out| encode::flow(out, &self.spec.labels, gap, policy));
        }
    }
}
