//! What a shard can be asked. All of it is control: market data never comes this way.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bookwire_engine::book::sync::BookState;
use bookwire_engine::error::CryptoError;
use bookwire_engine::event::BookLevel;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, InstrumentId, InstrumentTable};
use bookwire_engine::num::Price;
use bookwire_engine::time::TsNanos;

use crate::ring::LaneTx;
use crate::state::touch::TouchCell;
use crate::topic::{Slot, Topic, WorkerId};

/// An API worker's lane: publications for it go there from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct AttachWorker {
    /// Which.
    pub worker: WorkerId,
    /// Its lane from this shard.
    pub lane: LaneTx,
}

/// The worker is gone: all its topics end.
#[derive(Message)]
#[rtype(result = "()")]
pub struct DetachWorker(
    /// Which.
    pub WorkerId,
);

/// Publishes a topic to a worker. Its current state, where there is one, goes out at once.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct Subscribe {
    /// To whom.
    pub worker: WorkerId,
    /// The worker's number of the topic. Again with the same topic: nothing changes.
    pub slot: Slot,
    /// What.
    pub topic: Topic,
}

/// Ends that; unknown slots are no error.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unsubscribe {
    /// Of whom.
    pub worker: WorkerId,
    /// Which.
    pub slot: Slot,
}

/// Puts the topic's last state on the worker's lane, in order with what follows. Nothing is put
/// there when there is none yet: the first publication will come by itself.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct Refresh {
    /// To whom.
    pub worker: WorkerId,
    /// Which.
    pub slot: Slot,
}

/// The top of a live book. Starts the instrument's stream when nobody has yet, and waits until the
/// book is trusted.
#[derive(Message)]
#[rtype(result = "Result<BookView, CryptoError>")]
pub struct GetBook {
    /// Whose.
    pub instrument: InstrumentId,
    /// Levels a side at most.
    pub depth: usize,
    /// Longest wait.
    pub timeout: Duration,
}

/// The top of a live book.
#[derive(Clone, Debug)]
pub struct BookView {
    /// Whose.
    pub instrument: Arc<Instrument>,
    /// Best first.
    pub bids: Vec<BookLevel>,
    /// Best first.
    pub asks: Vec<BookLevel>,
    /// The exchange's sequence number.
    pub seq: u64,
    /// The exchange's time of the last change; when it was received, where it sends none.
    pub ts_event: TsNanos,
    /// How often the book has become trusted.
    pub epoch: u32,
}

/// Fetches a book anew. Nothing of other instruments is touched.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct Resync(
    /// Whose.
    pub InstrumentId,
);

/// One book as it is now; `None` when none is kept.
#[derive(Message)]
#[rtype(result = "Option<BookObservation>")]
pub struct LookAtBook(
    /// Whose.
    pub InstrumentId,
);

/// Where the best prices of an instrument can be read while its book is kept and trusted; `None` for
/// an unknown instrument.
#[derive(Message)]
#[rtype(result = "Option<Arc<TouchCell>>")]
pub struct ShareTouch(
    /// Whose.
    pub InstrumentId,
);

/// Closes and opens all stream connections of a provider; answers how many.
#[derive(Message)]
#[rtype(result = "usize")]
pub struct Reconnect(
    /// Whose.
    pub ProviderId,
);

/// Uses another instrument table from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub struct SetTable(
    /// The table.
    pub Arc<InstrumentTable>,
);

/// What the shard is doing.
#[derive(Message)]
#[rtype(result = "ShardObservation")]
pub struct Observe;

/// Ends all connections and books, hands the last rows to the recorder, and stops the actor.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopShard;

/// A stream connection, as [`Observe`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Whose.
    pub provider: ProviderId,
    /// Route and number: `spot/public/0`.
    pub name: String,
    /// Up, with at least the handshake done.
    pub is_up: bool,
    /// Streams wanted on it.
    pub streams: usize,
    /// Of these, acknowledged.
    pub live: usize,
    /// Times that it was opened.
    pub opened: u64,
    /// Why it is down, or was the last time; `None` after it has come up.
    pub trouble: Option<String>,
}

/// A book, as [`Observe`] shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookObservation {
    /// Whose.
    pub instrument: InstrumentId,
    /// How far it is from being trusted.
    pub state: BookState,
    /// How often it has become trusted.
    pub epoch: u32,
    /// Sequence number reached.
    pub seq: u64,
    /// Best bid and ask of a trusted book that has both, at the instrument's scale.
    pub best: Option<(Price, Price)>,
}

/// What a shard is doing.
#[derive(Clone, Debug)]
pub struct ShardObservation {
    /// Its number.
    pub shard: usize,
    /// Connections.
    pub connections: Vec<ConnectionView>,
    /// Books.
    pub books: Vec<BookObservation>,
    /// Topics with a subscriber.
    pub topics: usize,
}
