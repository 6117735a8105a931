//! What clients ask and what they are answered, as plain values. Their JSON is the API's business.

use std::fmt;
use std::rc::Rc;

use bookwire_engine::error::CryptoError;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::time::Level;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::encode::Labels;
use super::flow::DropPolicy;
use crate::topic::{BookMode, StreamKind};

/// A request's own id: a JSON scalar, given back as it came.
#[derive(Clone, Debug)]
pub struct RequestId(pub Box<RawValue>);

impl PartialEq for RequestId {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// A request that was understood.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientRequest {
    /// The client's id.
    pub id: Option<RequestId>,
    /// What it asks.
    pub body: Request,
}

/// A frame that is no request.
#[derive(Clone, Debug, PartialEq)]
pub struct BadRequest {
    /// The client's id, where it could be read.
    pub id: Option<RequestId>,
    /// The method, where it is one.
    pub method: Option<Method>,
    /// What is wrong.
    pub error: CryptoError,
}

/// The methods of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Proves an API key.
    Auth,
    /// Adds subscriptions.
    Subscribe,
    /// Takes subscriptions away.
    Unsubscribe,
    /// Lists them.
    ListSubscriptions,
    /// Asks for a pong.
    Ping,
    /// Changes how a full queue is treated.
    ConfigureFlow,
}

impl Method {
    /// All methods, in the order in which they are shown.
    pub const ALL: [Self; 6] = [
        Self::Auth,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::ListSubscriptions,
        Self::Ping,
        Self::ConfigureFlow,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::ListSubscriptions => "list_subscriptions",
            Self::Ping => "ping",
            Self::ConfigureFlow => "configure_flow",
        }
    }
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// Adds subscriptions, labelled with the channel.
    Subscribe {
        /// The client's name for them.
        channel: Option<String>,
        /// What to subscribe.
        streams: Vec<StreamEntry>,
        /// Private streams to subscribe.
        private: Vec<PrivateEntry>,
    },
    /// Takes subscriptions away: those that match, or with no streams all of the channel.
    Unsubscribe {
        /// Only in this channel.
        channel: Option<String>,
        /// Which; empty, and no private ones either: all of the channel.
        streams: Vec<StreamEntry>,
        /// Private streams.
        private: Vec<PrivateEntry>,
    },
    /// Lists the subscriptions.
    ListSubscriptions,
    /// Asks for a pong.
    Ping,
    /// Changes the flow control.
    ConfigureFlow(FlowRequest),
    /// Proves an API key of this provider.
    Auth(AuthRequest),
}

/// What proves an API key for one provider. The signature is good once, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthRequest {
    /// Whose trading the key is for, as sent.
    pub provider: String,
    /// The key's id.
    pub api_key: String,
    /// Milliseconds since 1970, as sent.
    pub timestamp: String,
    /// Hex of HMAC-SHA256 of timestamp, key and provider.
    pub signature: String,
    /// Whether the key's orders are canceled when its sessions end; `None`: as it was.
    pub cancel_on_disconnect: Option<bool>,
}

impl fmt::Debug for AuthRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthRequest")
            .field("provider", &self.provider)
            .field("api_key", &self.api_key)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Its method.
    #[must_use]
    pub const fn method(&self) -> Method {
        match self {
            Self::Subscribe { .. } => Method::Subscribe,
            Self::Unsubscribe { .. } => Method::Unsubscribe,
            Self::ListSubscriptions => Method::ListSubscriptions,
            Self::Ping => Method::Ping,
            Self::ConfigureFlow(_) => Method::ConfigureFlow,
            Self::Auth(_) => Method::Auth,
        }
    }
}

/// One element of a list of streams, which may be wrong by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamEntry {
    /// What the client sent, to be shown when it is rejected.
    pub echo: Map<String, Value>,
    /// What it means.
    pub request: Result<StreamRequest, CryptoError>,
}

/// A private stream in a list of streams.
#[derive(Clone, Debug, PartialEq)]
pub struct PrivateEntry {
    /// What the client sent, to be shown when it is rejected.
    pub echo: Map<String, Value>,
    /// What it means.
    pub request: PrivateRequest,
}

/// A private stream: what happens on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivateStream {
    /// `crypto.account`: balances and positions.
    Account,
    /// `crypto.orders`: orders and the executions that change them.
    Orders,
}

impl PrivateStream {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Account, Self::Orders];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Account => "crypto.account",
            Self::Orders => "crypto.orders",
        }
    }
}

/// A private stream and whose. Neither provider nor account is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateRequest {
    /// Which stream.
    pub stream: PrivateStream,
    /// Public provider name, as sent.
    pub provider: String,
    /// The account; `None`: the default one, or when it is unsubscribed, any.
    pub account: Option<String>,
}

/// A stream of the contract without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamName {
    /// `crypto.trades`.
    Trades,
    /// `crypto.klines`.
    Klines,
    /// `crypto.orderbook`.
    OrderBook,
    /// `crypto.ticker`.
    Ticker,
    /// `crypto.funding`.
    Funding,
}

impl StreamName {
    /// All streams.
    pub const ALL: [Self; 5] = [
        Self::Trades,
        Self::Klines,
        Self::OrderBook,
        Self::Ticker,
        Self::Funding,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        StreamKind::NAMES[self as usize]
    }

    /// True when the kind is of this stream.
    #[must_use]
    pub fn is_of(self, kind: StreamKind) -> bool {
        kind.name() == self.as_str()
    }
}

/// A checked stream: parameters are in range and belong to the stream. Symbols are not resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamRequest {
    /// Which stream.
    pub stream: StreamName,
    /// Public provider name, as sent.
    pub provider: String,
    /// Venue, for providers with several.
    pub exchange: Option<String>,
    /// In any accepted spelling; at least one.
    pub symbols: Vec<String>,
    /// Bar level; always there when `crypto.klines` is subscribed.
    pub interval: Option<Level>,
    /// Levels a side, 1 to 5000.
    pub depth: Option<u32>,
    /// Whole images or changes.
    pub mode: Option<BookMode>,
    /// Messages carry times.
    pub timing: Option<bool>,
}

/// Levels a side when a client names none.
pub const DEPTH_DEFAULT: u32 = 20;

/// Most levels a side.
pub const DEPTH_MAX: u32 = 5000;

impl StreamRequest {
    /// The kind to subscribe, defaults filled in; `None` when `crypto.klines` lacks its interval.
    #[must_use]
    pub fn kind(&self) -> Option<StreamKind> {
        Some(match self.stream {
            StreamName::Trades => StreamKind::Trades,
            StreamName::Klines => StreamKind::Klines(self.interval?),
            StreamName::OrderBook => StreamKind::OrderBook {
                depth: self.depth.unwrap_or(DEPTH_DEFAULT),
                mode: self.mode.unwrap_or(BookMode::Snapshot),
            },
            StreamName::Ticker => StreamKind::Ticker,
            StreamName::Funding => StreamKind::Funding,
        })
    }

    /// True when a subscription of `kind` is meant, where what the client left out means any.
    #[must_use]
    pub fn covers(&self, kind: StreamKind) -> bool {
        match kind {
            StreamKind::Klines(level) => {
                self.stream == StreamName::Klines && self.interval.is_none_or(|i| i == level)
            }
            StreamKind::OrderBook { depth, mode } => {
                self.stream == StreamName::OrderBook
                    && self.depth.is_none_or(|wanted| wanted == depth)
                    && self.mode.is_none_or(|wanted| wanted == mode)
            }
            other => self.stream.is_of(other),
        }
    }
}

/// What a client wants of the flow control; `None` leaves as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowRequest {
    /// Only this channel's subscriptions.
    pub channel: Option<String>,
    /// Market messages a second, 0: unlimited.
    pub max_messages_per_second: Option<u32>,
    /// Market messages that may wait.
    pub buffer_size: Option<u32>,
    /// What a full queue does.
    pub drop_policy: Option<DropPolicy>,
}

/// A subscription as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Its texts.
    pub labels: Labels,
    /// What.
    pub kind: StreamKind,
    /// Messages carry times.
    pub timing: bool,
}

/// A subscription of a private stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateView {
    /// Which stream.
    pub stream: PrivateStream,
    /// Of which provider.
    pub provider: ProviderId,
    /// The account's name.
    pub account: Rc<str>,
    /// The client's own name for a group of subscriptions.
    pub channel: Option<Rc<str>>,
}

/// Any subscription as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnyView {
    /// Of market data.
    Market(SubscriptionView),
    /// Of an account.
    Private(PrivateView),
}

/// One thing of a request that could not be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// What was asked.
    pub echo: Map<String, Value>,
    /// Why not.
    pub error: CryptoError,
}

/// The flow control in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Of this channel, or of the connection.
    pub channel: Option<String>,
    /// Market messages a second, 0: unlimited.
    pub max_messages_per_second: u32,
    /// Market messages that may wait.
    pub buffer_size: usize,
    /// What the client chose; `None`: each stream's own.
    pub drop_policy: Option<DropPolicy>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Something was subscribed, or nothing was asked for that is not there.
    Subscribed {
        /// What.
        subscriptions: Vec<AnyView>,
        /// What not.
        rejected: Vec<Rejected>,
    },
    /// Something was unsubscribed.
    Unsubscribed {
        /// What.
        subscriptions: Vec<AnyView>,
        /// What not.
        rejected: Vec<Rejected>,
    },
    /// All subscriptions.
    Listed(Vec<AnyView>),
    /// The key is proven.
    Authenticated {
        /// For this provider.
        provider: &'static str,
        /// For these permissions, by their public names.
        permissions: Vec<&'static str>,
        /// The key's orders there are canceled when this session and all others that say so end.
        cancel_on_disconnect: bool,
    },
    /// Still here.
    Pong,
    /// The flow control in force: what was asked about, and where that is the connection all
    /// channels that have something of their own.
    Configured(FlowView, Vec<FlowView>),
    /// Nothing succeeded.
    Failed {
        /// Why; with several reasons the first.
        error: CryptoError,
        /// All of them, when the request had several parts.
        rejected: Vec<Rejected>,
    },
}

/// What was done of a request with several parts, and what not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// What was subscribed or unsubscribed.
    pub subscriptions: Vec<AnyView>,
    /// What could not be.
    pub rejected: Vec<Rejected>,
}

impl Done {
    /// As an answer: `outcome` of both, or a failure when nothing was done.
    #[must_use]
    pub fn outcome(self, outcome: impl FnOnce(Vec<AnyView>, Vec<Rejected>) -> Outcome) -> Outcome {
        let Self {
            subscriptions,
            rejected,
        } = self;
        match rejected.first() {
            Some(first) if subscriptions.is_empty() => Outcome::Failed {
                error: first.error.clone(),
                rejected,
            },
            _ => outcome(subscriptions, rejected),
        }
    }
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The request's id.
    pub id: Option<RequestId>,
    /// The request's method; `None` when the frame had none.
    pub method: Option<Method>,
    /// What came of it.
    pub outcome: Outcome,
}

impl Reply {
    /// A request that failed as a whole.
    #[must_use]
    pub const fn failed(id: Option<RequestId>, method: Option<Method>, error: CryptoError) -> Self {
        Self {
            id,
            method,
            outcome: Outcome::Failed {
                error,
                rejected: Vec::new(),
            },
        }
    }
}
