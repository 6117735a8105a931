//! OrderBook: the life of one instrument's book. Its levels are changed by direct calls in the
//! shard's state; this actor fetches the snapshots that make it whole, as often as it takes, and
//! finds out whether a silent book is quiet or deaf.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture,
};
use bookwire_engine::book::sync::{DesyncReason, SnapshotOutcome};
use bookwire_engine::event::BookLevel;
use bookwire_engine::exchange::BookOrigin;
use bookwire_engine::instrument::{Instrument, InstrumentId};
use futures_util::future::select;
use tokio::sync::Semaphore;

use crate::alive::{Alive, Kind};
use crate::clock::Clock;
use crate::connection::backoff::Backoff;
use crate::rest_client::RestClient;
use crate::ring::StatusState;
use crate::state::{BookNeed, ShardState};
use crate::supervisor::Life;

/// Pauses between attempts.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(3));
/// Pauses, beyond the wait for an image, before a stream is asked for again.
const IMAGE_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));
/// Times that a stream is asked for again before a snapshot is fetched instead.
const IMAGE_TRIES: u32 = 3;
/// How long the image of a stream is waited for.
const FIRST_IMAGE: Duration = Duration::from_secs(5);
/// Pause after an answer that will not change soon (the symbol is unknown there).
const REFUSED: Duration = Duration::from_secs(30);
/// How long the first delta is waited for before a snapshot is asked for, and how long after it
/// the instrument counts as quiet.
const FIRST_DELTA: Duration = Duration::from_secs(1);
/// Failed attempts after which it is told.
const TOLD_AFTER: u32 = 3;
/// Control messages that may wait.
const MAILBOX: usize = 16;

/// What a book needs. Everything in it outlives the actor.
#[derive(Clone)]
pub struct BookSetup {
    /// Whose.
    pub instrument: InstrumentId,
    /// Where the book is.
    pub state: Rc<RefCell<ShardState>>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// For snapshots.
    pub rest: RestClient,
    /// Snapshots of this provider under way at the same time, over all shards.
    pub permits: Arc<Semaphore>,
    /// Levels a side to ask for.
    pub depth: usize,
    /// Has the book's stream asked for again.
    pub renew: Rc<dyn Fn(InstrumentId)>,
}

/// The book needs a snapshot.
#[derive(Message)]
#[rtype(result = "()")]
pub struct NeedSnapshot;

/// The book has been silent: is it quiet or deaf?
#[derive(Message)]
#[rtype(result = "()")]
pub struct CheckQuiet;

/// Nobody wants the book any more.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopBook;

/// The actor. See the module's text.
pub struct OrderBook {
    setup: BookSetup,
    life: Life,
    is_fetching: bool,
    is_checking: bool,
    _alive: Alive,
}

impl OrderBook {
    /// A book that waits to be told what it needs.
    #[must_use]
    pub fn new(setup: BookSetup, life: Life) -> Self {
        Self {
            setup,
            life,
            is_fetching: false,
            is_checking: false,
            _alive: Alive::new(Kind::OrderBook),
        }
    }

    fn fetch(&mut self, ctx: &mut Context<Self>) {
        if self.is_fetching {
            return;
        }
        self.is_fetching = true;
        let work = synchronise(self.setup.clone());
        ctx.spawn(work.into_actor(self).map(|(), actor, ctx| {
            actor.is_fetching = false;
            // It may have been lost again while the last attempt ended.
            if actor.need() != BookNeed::Nothing {
                actor.fetch(ctx);
            }
        }));
    }

    fn need(&self) -> BookNeed {
        self.setup.state.borrow().book_need(self.setup.instrument)
    }
}

/// Works until the book is trusted, or there is nothing to be done (its stream is down).
async fn synchronise(setup: BookSetup) {
    let id = setup.instrument;
    let instrument = setup.state.borrow().table().get(id).cloned();
    let Some(instrument) = instrument else { return };
    let spec = &instrument.spec;
    match spec.provider.exchange().book_origin(spec.market) {
        BookOrigin::Rest => {}
        BookOrigin::Stream => return ask_again(&setup).await,
        BookOrigin::StreamOrRest { after_secs } => {
            let patience = Duration::from_secs(after_secs);
            let is_due = setup.state.borrow().awaits_image(id);
            if is_due && wait_for_image(&setup, patience).await {
                return;
            }
            // A fetched book is joined with changes that are net ones where images are sent: what
            // came and went between two of them would stay in the book.
            let brings_images = setup.state.borrow().brings_images(id);
            if brings_images && renew_until_whole(&setup, patience, IMAGE_TRIES).await {
                return;
            }
        }
    }
    fetch_snapshots(setup).await;
}

/// True when the book is trusted, or its stream is down, before `patience` is over.
async fn wait_for_image(setup: &BookSetup, patience: Duration) -> bool {
    let is_done = || setup.state.borrow().book_need(setup.instrument) == BookNeed::Nothing;
    let end = setup.clock.monotonic() + patience;
    while !is_done() {
        let left = end.saturating_sub(setup.clock.monotonic());
        if left.is_zero() {
            return false;
        }
        setup.clock.sleep(left.min(FIRST_DELTA / 10)).await;
    }
    true
}

/// The stream's first message is the whole book. When it has gone wrong, or does not come, the
/// stream is asked for again, more and more seldom: exchanges limit such requests.
async fn ask_again(setup: &BookSetup) {
    // A stream that has just been joined sends its image by itself.
    let is_due = setup.state.borrow().awaits_image(setup.instrument);
    if is_due && wait_for_image(setup, FIRST_IMAGE).await {
        return;
    }
    renew_until_whole(setup, FIRST_IMAGE, u32::MAX).await;
}

/// Asks for the stream again until its image has made the book whole (true) or so many attempts
/// have brought none.
async fn renew_until_whole(setup: &BookSetup, patience: Duration, attempts: u32) -> bool {
    let mut backoff = Backoff::new(IMAGE_RETRY.0, IMAGE_RETRY.1);
    for _ in 0..attempts {
        (setup.renew)(setup.instrument);
        setup.state.borrow_mut().on_hindrance(
            setup.instrument,
            "the stream was asked for again, its image is awaited",
            None,
        );
        if wait_for_image(setup, patience + backoff.fail()).await {
            return true;
        }
        tracing::warn!(
            instrument = setup.instrument.0,
            failures = backoff.failures(),
            "no book from its stream, asking again"
        );
    }
    false
}

/// Fetches until the book is trusted, or there is nothing to be done.
async fn fetch_snapshots(setup: BookSetup) {
    let id = setup.instrument;
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        let need = setup.state.borrow().book_need(id);
        match need {
            BookNeed::Nothing => return,
            BookNeed::Deltas => wait_for_deltas(&setup).await,
            BookNeed::Snapshot => {}
        }
        let instrument = setup.state.borrow().table().get(id).cloned();
        let Some(instrument) = instrument else { return };
        let fetched = {
            let Ok(_permit) = setup.permits.acquire().await else {
                return;
            };
            // While it waited, the book may have been given up or the stream lost.
            if setup.state.borrow().book_need(id) == BookNeed::Nothing {
                return;
            }
            setup.rest.snapshot(instrument.clone(), setup.depth).await
        };
        let pause = match fetched {
            Ok(snapshot) => {
                let outcome = setup.state.borrow_mut().on_snapshot(id, &snapshot);
                match outcome {
                    None | Some(SnapshotOutcome::Synced { .. } | SnapshotOutcome::Unexpected) => {
                        return;
                    }
                    Some(SnapshotOutcome::Waiting) => {
                        settle_quiet(&setup).await;
                        continue;
                    }
                    Some(SnapshotOutcome::TooOld | SnapshotOutcome::Desynced(_)) => backoff.fail(),
                }
            }
            Err(error) => {
                let pause = match error.is_retryable() {
                    true => backoff.fail(),
                    false => REFUSED,
                };
                tell_failure(&setup, &instrument, &error, backoff.failures());
                pause
            }
        };
        setup.clock.sleep(pause).await;
    }
}

/// Waits a little for the stream's first delta: a snapshot taken before it would be too old.
async fn wait_for_deltas(setup: &BookSetup) {
    let step = FIRST_DELTA / 10;
    for _ in 0..10 {
        setup.clock.sleep(step).await;
        if setup.state.borrow().book_need(setup.instrument) != BookNeed::Deltas {
            return;
        }
    }
}

/// A snapshot is held and no delta has come: if none comes for a while, the instrument is quiet and
/// the snapshot is its book.
async fn settle_quiet(setup: &BookSetup) {
    let changed = setup.state.borrow().book_changed(setup.instrument);
    if let Some(changed) = changed {
        let told = std::pin::pin!(changed.notified());
        select(told, setup.clock.sleep(FIRST_DELTA)).await;
    }
    setup.state.borrow_mut().accept_held(setup.instrument);
}

fn tell_failure(
    setup: &BookSetup,
    instrument: &Instrument,
    error: &crate::rest_client::RestError,
    failures: u32,
) {
    let provider = instrument.spec.provider;
    tracing::warn!(
        provider = provider.name(), symbol = %instrument.stream_symbol(), %error,
        "book snapshot not fetched"
    );
    // Once for each series of failures, not for each of them.
    let is_news = failures == TOLD_AFTER || !error.is_retryable();
    let told = is_news.then(|| match error.is_maintenance() {
        true => StatusState::Maintenance,
        false => StatusState::Resyncing,
    });
    let mut shard = setup.state.borrow_mut();
    shard.on_hindrance(setup.instrument, &format!("snapshot: {error}"), told);
}

/// Compares a silent book with a snapshot: when the exchange is further, the stream is deaf.
async fn check_quiet(setup: BookSetup) {
    let id = setup.instrument;
    let instrument = setup.state.borrow().table().get(id).cloned();
    let Some(instrument) = instrument else { return };
    let spec = &instrument.spec;
    if spec.provider.exchange().book_origin(spec.market) != BookOrigin::Rest {
        // Asking for the stream brings a whole book, which answers the question.
        return (setup.renew)(id);
    }
    let snapshot = {
        let Ok(_permit) = setup.permits.acquire().await else {
            return;
        };
        // The smallest answer there is: only its sequence number counts.
        match setup.rest.snapshot(instrument, 5).await {
            Ok(snapshot) => snapshot,
            // Cannot tell: the next silence asks again.
            Err(_) => return,
        }
    };
    // What it holds may be under way to us.
    setup.clock.sleep(FIRST_DELTA).await;
    // A higher number alone proves nothing where numbers are shared with other instruments.
    let is_deaf = setup.state.borrow().book_view(id, 5).is_some_and(|ours| {
        let theirs = |levels: &[BookLevel]| levels[..levels.len().min(5)].to_vec();
        ours.seq < snapshot.seq
            && (ours.bids != theirs(&snapshot.bids) || ours.asks != theirs(&snapshot.asks))
    });
    if is_deaf {
        {
            let mut state = setup.state.borrow_mut();
            state.counters().stale_streams.add(1);
            state.desync(id, DesyncReason::Stale);
        }
        (setup.renew)(id);
    }
}

impl Actor for OrderBook {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        // After a panic the book may be waiting already.
        if self.need() != BookNeed::Nothing {
            self.fetch(ctx);
        }
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.life.stopped();
    }
}

impl Handler<NeedSnapshot> for OrderBook {
    type Result = ();

    fn handle(&mut self, _: NeedSnapshot, ctx: &mut Self::Context) {
        self.fetch(ctx);
    }
}

impl Handler<CheckQuiet> for OrderBook {
    type Result = ();

    fn handle(&mut self, _: CheckQuiet, ctx: &mut Self::Context) {
        if !std::mem::replace(&mut self.is_checking, true) {
            let work = check_quiet(self.setup.clone());
            ctx.spawn(
                work.into_actor(self)
                    .map(|(), actor, _| actor.is_checking = false),
            );
        }
    }
}

impl Handler<StopBook> for OrderBook {
    type Result = ();

    fn handle(&mut self, _: StopBook, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
