//! What a client may send on `/ws`: the fields of each method and each stream.

use bookwire_actors::session::BUFFER_SIZES;
use bookwire_actors::session::flow::DropPolicy;
use bookwire_actors::session::request::{DEPTH_MAX, Method, PrivateStream, StreamName};
use bookwire_actors::topic::BookMode;

use super::{Field, Kind, levels, providers};

fn stream_names() -> Vec<&'static str> {
    let market = StreamName::ALL.iter().map(|stream| stream.as_str());
    let private = PrivateStream::ALL.iter().map(|stream| stream.as_str());
    market.chain(private).collect()
}

fn modes() -> Vec<&'static str> {
    [BookMode::Snapshot, BookMode::Delta]
        .map(BookMode::as_str)
        .to_vec()
}

fn policies() -> Vec<&'static str> {
    DropPolicy::ALL.map(DropPolicy::as_str).to_vec()
}

/// The client's own name for a group of subscriptions.
pub const CHANNEL: Field = Field::new(
    "channel",
    Kind::Text,
    "Your own name for a group of subscriptions, up to 128 characters; their messages carry it.",
);

/// Several streams at once.
pub const STREAMS: Field = Field::new("streams", Kind::Streams, "Several streams at once.");

/// Which stream.
pub const STREAM: Field =
    Field::new("stream", Kind::Word(stream_names), "Which stream.").required();

/// Its source.
pub const PROVIDER: Field = Field::new("provider", Kind::Word(providers), "Source of the data.")
    .required()
    .such_as("binance");

/// The venue.
pub const EXCHANGE: Field = Field::new(
    "exchange",
    Kind::Text,
    "Venue, where the provider has several: with `ccxt` its id there.",
);

/// Whose data.
pub const SYMBOLS: Field = Field::new(
    "symbols",
    Kind::Symbols,
    "Symbols in any accepted spelling; on `crypto.funding` a bare code means the perpetual.",
)
.required()
.such_as("[\"btcusdt\"]");

/// Whether messages carry times.
pub const TIMING: Field = Field::new(
    "timing",
    Kind::Flag,
    "`data` has `received_ns` and `sent_ns`, wall clock, nanoseconds.",
)
.or("false");

/// Length of the bars.
pub const INTERVAL: Field = Field::new(
    "interval",
    Kind::Word(levels),
    "Length of the bars; needed to subscribe `crypto.klines`.",
)
.such_as("1m");

/// Levels of a book.
pub const DEPTH: Field = Field::new(
    "depth",
    Kind::Integer(1, DEPTH_MAX as u64),
    "Levels a side.",
)
.or("20");

/// How a book is told.
pub const MODE: Field = Field::new(
    "mode",
    Kind::Word(modes),
    "`snapshot`: every message is the whole top; `delta`: one snapshot, then changes.",
)
.or("snapshot");

/// The account of a private stream.
pub const ACCOUNT: Field = Field::new("account", Kind::Text, "Name of the account.").or("default");

/// Taken and not looked at: all of an account is told.
pub const SYMBOLS_ANY: Field = Field {
    is_required: false,
    ..SYMBOLS.meaning("May be given, and means nothing: all of the account is told.")
};

/// Fields of a stream of market data.
#[must_use]
pub fn stream(name: StreamName) -> Vec<Field> {
    let common = &[STREAM, PROVIDER, EXCHANGE, SYMBOLS, TIMING][..];
    let own: &[Field] = match name {
        StreamName::Klines => &[INTERVAL],
        StreamName::OrderBook => &[DEPTH, MODE],
        StreamName::Trades | StreamName::Ticker | StreamName::Funding => &[],
    };
    [common, own].concat()
}

/// Fields of a private stream.
pub const PRIVATE: &[Field] = &[STREAM, PROVIDER, ACCOUNT, SYMBOLS_ANY];

/// Most messages a second.
pub const RATE: Field = Field::new(
    "max_messages_per_second",
    Kind::Integer(0, 1_000_000),
    "Market messages a second; 0: unlimited.",
);

/// Messages that may wait.
pub const BUFFER: Field = Field::new(
    "buffer_size",
    Kind::Integer(*BUFFER_SIZES.start() as u64, *BUFFER_SIZES.end() as u64),
    "Market messages that may wait.",
);

/// What a full queue does.
pub const POLICY: Field = Field::new(
    "drop_policy",
    Kind::Word(policies),
    "What a full queue does: drops the oldest or the newest, keeps the last of each subscription, or \
     disconnects.",
);

/// Fields of `configure_flow`.
pub const FLOW: &[Field] = &[CHANNEL, RATE, BUFFER, POLICY];

/// The key of `auth`.
pub const API_KEY: Field =
    Field::new("api_key", Kind::Text, "Id of the key, without its secret.").required();

/// What proves it.
pub const SIGNATURE: Field = Field::new(
    "signature",
    Kind::Text,
    "Hex of HMAC-SHA256(secret, timestamp + api_key + provider); good once.",
)
.required();

/// When it was signed.
pub const TIMESTAMP: Field = Field::new(
    "timestamp",
    Kind::Integer(1, 999_999_999_999_999),
    "Milliseconds since 1970, within `keys.signature_window_ms` of the server's clock.",
)
.required();

/// Whether orders end with the session.
pub const CANCEL_ON_DISCONNECT: Field = Field::new(
    "cancel_on_disconnect",
    Kind::Flag,
    "Cancels the key's orders there when the last of its sessions that say so ends.",
);

/// Fields of `auth`.
pub const AUTH: &[Field] = &[
    PROVIDER,
    API_KEY,
    SIGNATURE,
    TIMESTAMP,
    CANCEL_ON_DISCONNECT,
];

/// What a method does.
pub(super) const fn meaning(method: Method) -> &'static str {
    match method {
        Method::Auth => "Proves an API key for a provider; may be repeated for others.",
        Method::Subscribe => {
            "Adds subscriptions: one stream, or several with `streams`. What can't be had is in `rejected`."
        }
        Method::Unsubscribe => {
            "Takes subscriptions away: of one stream, of several, or all of a channel."
        }
        Method::ListSubscriptions => "Lists the subscriptions.",
        Method::Ping => "Asks whether the other side lives.",
        Method::ConfigureFlow => {
            "Says what happens to a client that reads slower than messages come; the answer shows what is in force."
        }
    }
}
