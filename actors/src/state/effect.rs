//! What the data path wants done that needs time: requests, mostly. Rare; taken by the shard's
//! actor as a stream.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::kline::{MissedBars, PartsNeeded, TradesNeeded};
use bookwire_engine::store::Span;
use bookwire_engine::time::Level;
use futures_util::Stream;

/// Effects that may wait; one that does not fit is dropped, and whoever wanted it asks again when
/// its data still lack it.
const WAITING_MAX: usize = 4096;

/// Something to be done outside the data path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A book needs a snapshot.
    Snapshot(InstrumentId),
    /// A book was silent for longer than its feed allows: is it quiet, or are we deaf?
    CheckBook(InstrumentId),
    /// Bars ended without their closing message.
    FetchBars {
        /// Of which instrument.
        instrument: InstrumentId,
        /// Bar length.
        level: Level,
        /// Which.
        missed: MissedBars,
    },
    /// A bar is the sum of shorter ones, and those that it began with are not known.
    FetchParts {
        /// Of which instrument.
        instrument: InstrumentId,
        /// Bar length.
        level: Level,
        /// Length of its parts.
        from: Level,
        /// Which.
        needed: PartsNeeded,
    },
    /// Bars are built from trades, and those that the running one began with are not known.
    FetchFirstTrades {
        /// Of which instrument.
        instrument: InstrumentId,
        /// Which.
        needed: TradesNeeded,
    },
    /// Trades were missed, by a connection that was lost or by ids that were skipped.
    FetchTrades {
        /// Of which instrument.
        instrument: InstrumentId,
        /// From the last trade before to the first one after; with its instant where numbers tell
        /// which trades of it were missed.
        span: Span,
        /// Number of the last trade before, where trades are numbered.
        after: Option<u64>,
    },
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Effect>,
    waker: Option<Waker>,
}

/// The queue of effects of a shard; clones are the same queue.
#[derive(Clone, Debug, Default)]
pub struct Effects(Rc<RefCell<Queue>>);

impl Effects {
    /// Wants something done.
    pub fn push(&self, effect: Effect) {
        let mut queue = self.0.borrow_mut();
        if queue.waiting.len() < WAITING_MAX && !queue.waiting.contains(&effect) {
            queue.waiting.push_back(effect);
        }
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
    }
}

impl Stream for Effects {
    type Item = Effect;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Effect>> {
        let mut queue = self.0.borrow_mut();
        match queue.waiting.pop_front() {
            Some(effect) => Poll::Ready(Some(effect)),
            None => {
                queue.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
