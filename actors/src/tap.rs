//! A copy of everything that exchanges send, before it is read: for `bookwire record`.

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::time::TsNanos;
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where a raw message comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawSource {
    /// A text frame of a stream connection; the route's name (`public`).
    Frame {
        /// Route of the connection.
        route: &'static str,
    },
    /// The answer to a request.
    Rest {
        /// `GET`.
        method: &'static str,
        /// Address with path and query, as the exchange's own host would have it.
        url: String,
    },
}

/// One raw message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Whose.
    pub provider: ProviderId,
    /// Product line.
    pub market: Market,
    /// Stream or request.
    pub source: RawSource,
    /// When it was read from the socket, wall clock.
    pub ts_recv: TsNanos,
    /// Exactly the bytes that came.
    pub raw: Bytes,
}

/// The side that is tapped: never waits, counts what did not fit.
#[derive(Clone, Debug)]
pub struct Tap {
    sender: Sender<RawMessage>,
    lost: Arc<AtomicU64>,
}

/// A tap that holds `capacity` messages and the side that reads it.
#[must_use]
pub fn tap(capacity: usize) -> (Tap, Receiver<RawMessage>) {
    let (sender, receiver) = crossbeam_channel::bounded(capacity.max(1));
    let tap = Tap {
        sender,
        lost: Arc::default(),
    };
    (tap, receiver)
}

impl Tap {
    /// Hands a message over, or counts it as lost when the reader is behind.
    pub fn push(&self, message: RawMessage) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(message) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Messages that did not fit.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}
