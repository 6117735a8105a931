//! Flow control as plain data: what happens to a subscriber's messages when its queue is full, and
//! what is remembered of those that were dropped.

use crate::topic::StreamKind;

/// What a full queue does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropPolicy {
    /// The oldest waiting message of the subscription makes room.
    Oldest,
    /// The new message is dropped.
    Newest,
    /// The latest state replaces the one that waits; a book of changes is replaced by a fresh
    /// snapshot.
    Conflate,
    /// The client is disconnected with close code 1008.
    Disconnect,
}

impl DropPolicy {
    /// All policies, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Oldest, Self::Newest, Self::Conflate, Self::Disconnect];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::Conflate => "conflate",
            Self::Disconnect => "disconnect",
        }
    }

    /// The policy of a public name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == text)
    }

    /// What holds for a stream when the client asked for nothing else: every trade counts, so they
    /// queue as long as there is room; everything else is a state whose latest value counts.
    #[must_use]
    pub const fn default_of(kind: StreamKind) -> Self {
        match kind {
            StreamKind::Trades => Self::Oldest,
            StreamKind::Klines(_)
            | StreamKind::OrderBook { .. }
            | StreamKind::Ticker
            | StreamKind::Funding => Self::Conflate,
        }
    }
}

/// How much may wait for one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// Market messages. One state of each conflated subscription may wait on top.
    pub messages: usize,
    /// Bytes of market messages; a client with twice as much is disconnected.
    pub bytes: usize,
}

impl Default for OutboxLimits {
    fn default() -> Self {
        Self {
            messages: 1024,
            bytes: 16 << 20,
        }
    }
}

/// Sequence numbers that a client will not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How many.
    pub dropped: u64,
    /// The lowest.
    pub from_seq: u64,
    /// The highest.
    pub to_seq: u64,
}

impl Gap {
    /// `count` numbers starting with `seq`.
    #[must_use]
    pub const fn of(seq: u64, count: u64) -> Self {
        Self {
            dropped: count,
            from_seq: seq,
            to_seq: seq + count - 1,
        }
    }

    /// Both gaps as one.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            dropped: self.dropped + other.dropped,
            from_seq: self.from_seq.min(other.from_seq),
            to_seq: self.to_seq.max(other.to_seq),
        }
    }
}

/// Why and how a connection is closed (RFC 6455 section 7.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// The close code.
    pub code: u16,
    /// For people; at most 123 bytes reach the client.
    pub reason: String,
}

impl Close {
    /// A frame that breaks the WebSocket protocol: 1002.
    #[must_use]
    pub fn protocol(reason: impl Into<String>) -> Self {
        Self::new(1002, reason)
    }

    /// Text that is not UTF-8: 1007.
    #[must_use]
    pub fn not_text(reason: impl Into<String>) -> Self {
        Self::new(1007, reason)
    }

    /// Too slow, silent, or over a limit: 1008.
    #[must_use]
    pub fn policy(reason: impl Into<String>) -> Self {
        Self::new(1008, reason)
    }

    /// A message over the size limit: 1009.
    #[must_use]
    pub fn too_big(reason: impl Into<String>) -> Self {
        Self::new(1009, reason)
    }

    /// The server stops or restarts: 1012.
    #[must_use]
    pub fn restart(reason: impl Into<String>) -> Self {
        Self::new(1012, reason)
    }

    fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        // RFC 6455 section 5.5: a control frame carries at most 125 bytes, two are the code.
        while reason.len() > 123 {
            reason.pop();
        }
        Self { code, reason }
    }
}
