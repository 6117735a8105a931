//! What can be published and to whom: topics, and the numbers that stand for them on a lane.

use bookwire_engine::exchange::Feed;
use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::time::Level;
use bookwire_engine::wire::Numbers;

/// How a book is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BookMode {
    /// Every message is the whole top of the book.
    Snapshot,
    /// One snapshot, then the levels that changed.
    Delta,
}

impl BookMode {
    /// The public name: `snapshot`, `delta`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Snapshot => "snapshot",
            Self::Delta => "delta",
        }
    }

    /// The mode of a public name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Snapshot, Self::Delta]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// A kind of stream with everything that makes its bodies differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Public matches.
    Trades,
    /// Bars of a level, forming and closed.
    Klines(Level),
    /// The top of the book.
    OrderBook {
        /// Levels a side, 1 to 5000.
        depth: u32,
        /// Whole images or changes.
        mode: BookMode,
    },
    /// Best bid and ask.
    Ticker,
    /// Mark price and funding.
    Funding,
}

/// The public stream that a feed is told in: `crypto.trades`.
#[must_use]
pub const fn stream_name(feed: Feed) -> &'static str {
    match feed {
        Feed::Trades => StreamKind::NAMES[0],
        Feed::Klines(_) => StreamKind::NAMES[1],
        Feed::Book => StreamKind::NAMES[2],
        Feed::Ticker => StreamKind::NAMES[3],
        Feed::Funding => StreamKind::NAMES[4],
    }
}

impl StreamKind {
    /// The public stream names, in the order in which they are shown.
    pub const NAMES: [&'static str; 5] = [
        "crypto.trades",
        "crypto.klines",
        "crypto.orderbook",
        "crypto.ticker",
        "crypto.funding",
    ];

    /// The public name: `crypto.trades`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trades => Self::NAMES[0],
            Self::Klines(_) => Self::NAMES[1],
            Self::OrderBook { .. } => Self::NAMES[2],
            Self::Ticker => Self::NAMES[3],
            Self::Funding => Self::NAMES[4],
        }
    }

    /// The exchange feed that this kind is made from.
    #[must_use]
    pub const fn feed(self) -> Feed {
        match self {
            Self::Trades => Feed::Trades,
            Self::Klines(level) => Feed::Klines(level),
            Self::OrderBook { .. } => Feed::Book,
            Self::Ticker => Feed::Ticker,
            Self::Funding => Feed::Funding,
        }
    }

    /// True for books that are published as changes: a message only means something to a client
    /// that has all before it.
    #[must_use]
    pub const fn is_delta(self) -> bool {
        matches!(
            self,
            Self::OrderBook {
                mode: BookMode::Delta,
                ..
            }
        )
    }
}

/// Everything that makes a published body what it is: one topic, one encoding, shared by all
/// sessions that want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Topic {
    /// Of which instrument.
    pub instrument: InstrumentId,
    /// What.
    pub kind: StreamKind,
    /// Prices and quantities as JSON numbers or strings.
    pub numbers: Numbers,
}

/// An API worker thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u16);

/// A worker's own number for one of its topics. Numbers are not used again while messages of the
/// former topic can still be on the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);
