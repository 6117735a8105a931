//! Exchanges: the trait that each implements as data and pure functions, and the one list of them.
//!
//! Connection handling, back-off, budgets and the book state machine exist once, elsewhere; what
//! differs between exchanges is expressed here. Adding an exchange is a folder beside this file,
//! a simulator, and one line of `exchanges!`; `docs/adding-an-exchange.md` goes through it.

pub mod binance;
pub mod bybit;
pub mod ccxt;
pub mod coinbase;
pub mod levels;
pub mod offer;
pub mod okx;

use std::sync::Arc;

use crate::error::CryptoError;
use crate::event::{BookSnapshot, EventSink, Kline, Trade};
use crate::instrument::{Instrument, InstrumentSpec, InstrumentTable, Market};
use crate::time::{Level, TsNanos};
use crate::trading::venue::TradingVenue;
use crate::vault::SecretKind;

/// Makes the list and the names of its places out of one line for each exchange.
macro_rules! exchanges {
    ($($name:ident = $exchange:expr,)+) => {
        /// All exchanges, in the order in which they are shown.
        pub const EXCHANGES: &[&dyn Exchange] = &[$(&$exchange),+];

        #[allow(clippy::upper_case_acronyms, reason = "named like the constants made of it")]
        enum Place { $($name),+ }

        impl ProviderId {
            $(
                #[doc = concat!("The provider of `", stringify!($exchange), "`.")]
                pub const $name: Self = Self(Place::$name as u8);
            )+
        }
    };
}

exchanges! {
    BINANCE = binance::Binance,
    OKX = okx::Okx,
    BYBIT = bybit::Bybit,
    COINBASE = coinbase::Coinbase,
    CCXT = ccxt::Ccxt,
}

/// Index of a provider in [`EXCHANGES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(u8);

impl ProviderId {
    /// The provider of a public name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let index = EXCHANGES
            .iter()
            .position(|exchange| exchange.name() == name)?;
        u8::try_from(index).ok().map(Self)
    }

    /// All providers.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..EXCHANGES.len()).filter_map(|index| u8::try_from(index).ok().map(Self))
    }

    /// What the provider does.
    #[must_use]
    pub fn exchange(self) -> &'static dyn Exchange {
        EXCHANGES[usize::from(self.0)]
    }

    /// Host names that the provider's code dials, sorted: the keys of its `hosts` in the
    /// configuration.
    #[must_use]
    pub fn hosts(self) -> Vec<&'static str> {
        let exchange = self.exchange();
        let of_market = |market: &Market| {
            let routes = exchange.routes(*market).iter().map(|route| route.host);
            routes.chain([exchange.rest_host(*market).0])
        };
        let trading = exchange.trading().into_iter();
        let private = trading.flat_map(|venue| {
            let private = venue.private_routes().iter().map(|route| route.host);
            private.chain(venue.order_routes().iter().map(|route| route.host))
        });
        let markets = exchange.markets().iter().flat_map(of_market);
        let mut hosts: Vec<&str> = markets.chain(private).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The public name: `binance`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.exchange().name()
    }
}

/// A kind of live data of one instrument that an exchange can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feed {
    /// Changes of the book.
    Book,
    /// Matches.
    Trades,
    /// Bars of a level.
    Klines(Level),
    /// Best bid and ask.
    Ticker,
    /// Mark price and funding.
    Funding,
}

/// The exchange's name of a stream and the kind of connection it lives on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NativeStream {
    /// Index into [`Exchange::routes`] of the market.
    pub route: usize,
    /// The exchange's stream name: `btcusdt@depth@100ms`.
    pub name: String,
}

/// A kind of connection of one market: streams of different routes can't share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name in logs and metrics: `public`, `market`.
    pub name: &'static str,
    /// Host name that `--endpoints` and the configuration can map to another address.
    pub host: &'static str,
    /// Default base: `wss://fstream.binance.com`.
    pub base_url: &'static str,
    /// Path to connect to: `/public/ws`.
    pub path: &'static str,
}

/// Limits of an exchange that connection handling obeys. Sources: the exchange's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Streams on one connection.
    pub streams_per_connection: usize,
    /// Client messages (requests, pings, pongs) a second on one connection.
    pub messages_per_second: u32,
    /// Stream names in one subscribe request.
    pub streams_per_request: usize,
    /// Connection attempts allowed in `connect_window_secs`.
    pub connects_per_window: u32,
    /// Length of that window, seconds.
    pub connect_window_secs: u64,
    /// The exchange cuts a connection after this many seconds; `None`: never.
    pub lifetime_secs: Option<u64>,
    /// Without any inbound frame for this long the connection is dead, seconds.
    pub silence_secs: u64,
}

/// A rate budget of a REST host. Two markets that name the same host and budget share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestBudget {
    /// Name in metrics and, together with the host, what makes it the same budget.
    pub name: &'static str,
    /// Weight available in a window.
    pub weight_per_window: u32,
    /// Weight available in a window to each instrument, where the exchange counts them one by one;
    /// `weight_per_window` is for all of them together.
    pub weight_per_instrument: Option<u32>,
    /// Window length, seconds.
    pub window_secs: u64,
    /// Response header (lower case) that tells the weight used in the running window.
    pub used_header: Option<&'static str>,
    /// Response header (lower case) that tells the weight left in the running window.
    pub remaining_header: Option<&'static str>,
}

/// A provider that is reached through a child process of ours instead of hosts of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// The Python program that the child runs.
    pub program: &'static str,
    /// The package that it needs: `ccxt`.
    pub package: &'static str,
    /// The version that it has been tested with: `4.5.90`.
    pub version: &'static str,
}

/// How the windows of REST budgets run at an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetWindows {
    /// They begin at whole multiples of their length on the wall clock (Binance: the full minute).
    Aligned,
    /// Not told, or from any moment on: no span of a window's length may hold more than is allowed.
    Sliding,
}

/// Maintenance that an exchange lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceWindow {
    /// From when, where told.
    pub begin: Option<TsNanos>,
    /// Until when, where told.
    pub end: Option<TsNanos>,
    /// Its title.
    pub text: String,
}

/// A GET request, host and signature aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestRequest {
    /// Path and query: `/api/v3/depth?symbol=BTCUSDT&limit=1000`.
    pub path: String,
    /// Index into [`Exchange::rest_budgets`] of the market.
    pub budget: usize,
    /// What it costs of that [`RestBudget`].
    pub weight: u32,
}

/// How a market's book sequence is continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// Binance spot: each delta starts where the last one ended, `U == u + 1`.
    Contiguous,
    /// Binance USDⓈ-M: each delta names the last one's end, `pu == u`; ids jump.
    PreviousLink,
    /// OKX: each delta names the last one's number exactly. Numbers are identifiers: they may stay
    /// (nothing changed) and fall (reset by the exchange) along an unbroken chain of links.
    ExactLink,
    /// Coinbase: the connection counts its frames and the decoder checks that count
    /// ([`Control::Lost`](crate::event::Control::Lost)); a delta that arrives joins.
    Connection,
}

/// Where a book that can be trusted begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookOrigin {
    /// With a snapshot that is fetched and joined with deltas that were kept.
    Rest,
    /// With an image that the stream sends first; the stream is asked for anew to get another.
    Stream,
    /// With the stream's image; with a fetched one when none has come after so many seconds, and
    /// none after the stream was asked for again where streams were seen to send them.
    StreamOrRest {
        /// Seconds after the acknowledgement.
        after_secs: u64,
    },
}

/// A text that keeps a connection open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Pause between two, seconds.
    pub every_secs: u64,
    /// The frame's text.
    pub text: &'static str,
}

/// A request on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRequest {
    /// Its id, which the answer may repeat.
    pub id: u64,
    /// The frame's text.
    pub text: String,
    /// Which of the given streams it is about.
    pub streams: Vec<usize>,
}

/// An answer that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON, or cut off.
    #[error("not valid JSON at byte {at}")]
    Json {
        /// Offset of the first wrong byte, as far as the parser tells.
        at: usize,
    },
    /// JSON, but a field is missing or has the wrong type.
    #[error("field `{field}` is missing or has the wrong type")]
    Field {
        /// The exchange's field name.
        field: &'static str,
    },
    /// A number that the instrument's scale can't hold.
    #[error("field `{field}`: {error}")]
    Number {
        /// The exchange's field name.
        field: &'static str,
        /// Why.
        error: crate::num::NumError,
    },
    /// Larger than any frame this exchange sends.
    #[error("frame of {bytes} bytes is over the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// What an exchange's error answer means for the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct RestFailure {
    /// The error to show.
    pub error: CryptoError,
    /// The exchange asks to wait this long, seconds.
    pub retry_after_secs: Option<u64>,
    /// Worth another try (429, 418, 5xx, maintenance) or not (bad request).
    pub is_retryable: bool,
}

/// Turns one connection's frames into events. One object per connection; keeps reused buffers.
pub trait Decoder: Send {
    /// Decodes a text frame.
    ///
    /// Events before an error have been delivered; a frame that fails must not have delivered part
    /// of a book delta.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not what the exchange documents.
    fn decode(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError>;

    /// Uses another instrument table from the next frame on.
    fn set_table(&mut self, table: Arc<InstrumentTable>);
}

/// What a recorded text is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// A message of a stream.
    Message,
    /// A book snapshot that was fetched.
    Snapshot {
        /// Its symbol, where the request tells it.
        native_symbol: Option<String>,
    },
    /// A list of instruments.
    Instruments,
    /// Another fetched answer.
    Other,
}

/// A page of history: which rows to ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PageRequest {
    /// Earliest row, inclusive.
    pub start: Option<TsNanos>,
    /// Latest row, inclusive.
    pub end: Option<TsNanos>,
    /// First trade id, inclusive; takes the place of the times.
    pub from_id: Option<u64>,
    /// Most rows wanted; cut to the exchange's limit.
    pub limit: u32,
}

/// A series whose history is fetched span by span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HistoryOf {
    /// Bars of a level.
    Klines(Level),
    /// Settled funding.
    Funding,
}

/// Instruments that were read, and how many rows were left out for which reason.
pub type ParsedInstruments = (Vec<InstrumentSpec>, Vec<(String, usize)>);

/// A settled funding payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FundingRow {
    /// Settlement time, on the full second.
    pub time: TsNanos,
    /// Rate at scale [`crate::event::Funding::RATE_SCALE`].
    pub rate: i64,
    /// Mark price at scale [`crate::event::Funding::PRICE_SCALE`], where sent.
    pub mark_price: Option<i64>,
}

/// What an exchange's API keys are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CredentialForm {
    /// How they may sign.
    pub kinds: &'static [SecretKind],
    /// Whether there is a passphrase; `None`: there may be one.
    pub has_passphrase: Option<bool>,
}

/// An exchange, as data and pure functions.
///
/// Methods that take a [`Market`] are only called with one of [`Exchange::markets`].
pub trait Exchange: Sync {
    /// Public provider name.
    fn name(&self) -> &'static str;
    /// Product lines that are implemented.
    fn markets(&self) -> &'static [Market];
    /// What its API keys are made of.
    fn credential_form(&self) -> CredentialForm {
        CredentialForm {
            kinds: &SecretKind::ALL,
            has_passphrase: None,
        }
    }
    /// The child process through which the provider is reached; `None`: it has hosts of its own.
    /// A provider with one speaks for many venues, each with instruments of its own.
    fn bridge(&self) -> Option<&'static Bridge> {
        None
    }
    /// How orders are sent there; `None`: they can't be.
    fn trading(&self) -> Option<&'static dyn TradingVenue> {
        None
    }
    /// Host name of the market's REST interface and its default base URL.
    fn rest_host(&self, market: Market) -> (&'static str, &'static str);
    /// REST budgets of the market; never empty.
    fn rest_budgets(&self, market: Market) -> &'static [RestBudget];
    /// How the windows of those budgets run.
    fn budget_windows(&self, market: Market) -> BudgetWindows {
        let _ = market;
        BudgetWindows::Sliding
    }
    /// Response header (lower case) that tells, with an answer that refuses because a limit is used
    /// up, when it is renewed: milliseconds since the epoch.
    fn reset_header(&self, market: Market) -> Option<&'static str> {
        let _ = market;
        None
    }
    /// Kinds of WebSocket connections of the market.
    fn routes(&self, market: Market) -> &'static [Route];
    /// Connection limits of the market.
    fn limits(&self, market: Market) -> ConnectionLimits;
    /// Subscribe and unsubscribe requests that one connection may send in an hour; `None`: as many
    /// as [`ConnectionLimits::messages_per_second`] allows.
    fn requests_per_hour(&self, market: Market) -> Option<u32> {
        let _ = market;
        None
    }
    /// Messages a second that all connections of an address may send to a host together; `None`:
    /// each counts for itself.
    fn messages_per_address(&self, market: Market) -> Option<u32> {
        let _ = market;
        None
    }
    /// Continuity rule of the market's book.
    fn continuity(&self, market: Market) -> Continuity;
    /// Where the market's books begin.
    fn book_origin(&self, market: Market) -> BookOrigin {
        let _ = market;
        BookOrigin::Rest
    }
    /// True when the ids of an instrument's trades are consecutive, so that a hole tells how many
    /// were missed.
    fn has_consecutive_trades(&self, market: Market) -> bool {
        let _ = market;
        false
    }
    /// What has to be sent from time to time; `None`: control frames are enough.
    fn keepalive(&self, market: Market) -> Option<Keepalive> {
        let _ = market;
        None
    }
    /// What has to be sent on a connection before anything else.
    fn on_open(&self, market: Market, route: usize) -> Vec<String> {
        let _ = (market, route);
        Vec::new()
    }
    /// The streams that together carry a feed; empty when the market has none. All of them live on
    /// the same route.
    fn streams(&self, instrument: &Instrument, feed: Feed) -> Vec<NativeStream>;
    /// Longest time, seconds, that an active instrument's feed may be silent before it is worth
    /// checking; `None` when silence means nothing (trades of a quiet symbol).
    fn silence_limit_secs(&self, feed: Feed) -> Option<u64>;
    /// Requests that subscribe to streams, split as the exchange wants it; ids count up from
    /// `first_id`. At most [`ConnectionLimits::streams_per_request`] streams are given at once.
    fn subscribe_requests(
        &self,
        market: Market,
        streams: &[&str],
        first_id: u64,
    ) -> Vec<StreamRequest>;
    /// Requests that unsubscribe from streams, likewise.
    fn unsubscribe_requests(
        &self,
        market: Market,
        streams: &[&str],
        first_id: u64,
    ) -> Vec<StreamRequest>;
    /// What a recorded text is: told by the URL of the request that it answers, or without one by
    /// its own form.
    fn recorded(&self, url: Option<&str>, body: &[u8]) -> Recorded;
    /// The native symbol that a stream message names, when it can be one of `market`'s: recordings
    /// are also read without a list of instruments.
    fn message_symbol(&self, market: Market, frame: &[u8]) -> Option<String>;
    /// A decoder for one connection.
    fn decoder(&self, market: Market, table: Arc<InstrumentTable>) -> Box<dyn Decoder>;
    /// Requests whose answers together describe the market's instruments.
    fn instrument_requests(&self, market: Market) -> Vec<RestRequest>;
    /// The same for one venue of a provider that has several ([`Exchange::bridge`]).
    fn venue_requests(&self, market: Market, venue: &str) -> Vec<RestRequest> {
        let _ = venue;
        self.instrument_requests(market)
    }
    /// The request for the next page of an answer to one of those; its answer comes behind it.
    fn next_instrument_request(&self, market: Market, body: &[u8]) -> Option<RestRequest> {
        let _ = (market, body);
        None
    }
    /// Instruments out of those answers, in the same order, and how many rows were left out with
    /// the reason.
    ///
    /// # Errors
    /// [`DecodeError`] when an answer as a whole can't be read.
    fn parse_instruments(
        &self,
        market: Market,
        bodies: &[Vec<u8>],
    ) -> Result<ParsedInstruments, DecodeError>;
    /// What those answers say of the budgets in force: index into [`Exchange::rest_budgets`] and the
    /// weight of a window. Budgets that are not told of keep what they have.
    fn told_budgets(&self, market: Market, bodies: &[Vec<u8>]) -> Vec<(usize, u32)> {
        let _ = (market, bodies);
        Vec::new()
    }
    /// Request for a book snapshot of at least `depth` levels a side where the exchange has them.
    fn snapshot_request(&self, instrument: &Instrument, depth: usize) -> RestRequest;
    /// The snapshot out of the answer.
    ///
    /// # Errors
    /// [`DecodeError`] when it can't be read or a number does not fit.
    fn parse_snapshot(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<BookSnapshot, DecodeError>;
    /// Levels of which the market's history has bars: those that
    /// [`Exchange::kline_request`] answers. The others are added up from them.
    fn kline_levels(&self, market: Market) -> &'static [Level] {
        let _ = market;
        &Level::ALL
    }
    /// Request for bars; `None` when the exchange lacks the level.
    fn kline_request(
        &self,
        instrument: &Instrument,
        level: Level,
        page: PageRequest,
    ) -> Option<RestRequest>;
    /// Bars out of the answer, ascending. A bar whose close time is not before `now` is open.
    ///
    /// # Errors
    /// [`DecodeError`] as above.
    fn parse_klines(
        &self,
        instrument: &Instrument,
        level: Level,
        body: &mut [u8],
        now: TsNanos,
    ) -> Result<Vec<Kline>, DecodeError>;
    /// Longest span, nanoseconds, that one answer tells whole, where answers are cut by time or
    /// begin with the newest row. `None`: an answer begins at the page's start, and others follow
    /// when it has as many rows as were asked for.
    fn page_span(&self, market: Market, series: HistoryOf) -> Option<i64> {
        let _ = (market, series);
        None
    }
    /// Request for trades of the same kind (same ids) as the live feed; `None` when the exchange
    /// can't be asked for such a page.
    fn trade_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest>;
    /// Where past trades can be asked for neither by id nor by time: how many of the newest ones are
    /// shown. Others are lost unless they were received live.
    fn trades_shown(&self, market: Market) -> Option<u32> {
        let _ = market;
        None
    }
    /// Trades out of the answer, ascending.
    ///
    /// # Errors
    /// [`DecodeError`] as above.
    fn parse_trades(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<Trade>, DecodeError>;
    /// Request for settled funding; `None` for spot.
    fn funding_request(&self, instrument: &Instrument, page: PageRequest) -> Option<RestRequest>;
    /// Funding out of the answer, ascending.
    ///
    /// # Errors
    /// [`DecodeError`] as above.
    fn parse_funding(
        &self,
        instrument: &Instrument,
        body: &mut [u8],
    ) -> Result<Vec<FundingRow>, DecodeError>;
    /// Request for the exchange's clock.
    fn time_request(&self, market: Market) -> RestRequest;
    /// The exchange's clock out of the answer.
    ///
    /// # Errors
    /// [`DecodeError`] as above.
    fn parse_time(&self, body: &[u8]) -> Result<TsNanos, DecodeError>;
    /// Longest time for a whole answer, seconds.
    fn answer_timeout_secs(&self) -> u64 {
        15
    }
    /// Request for the exchange's list of maintenance; `None`: it has none that tells more than its
    /// errors.
    fn maintenance_request(&self, market: Market) -> Option<RestRequest> {
        let _ = market;
        None
    }
    /// Maintenance of the market out of the answer that is going on or to come.
    ///
    /// # Errors
    /// [`DecodeError`] as above.
    fn parse_maintenance(
        &self,
        market: Market,
        body: &[u8],
    ) -> Result<Vec<MaintenanceWindow>, DecodeError> {
        let _ = (market, body);
        Ok(Vec::new())
    }
    /// What an answer with an error status means.
    fn rest_failure(
        &self,
        market: Market,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> RestFailure;
    /// The error inside an answer whose status says that all is well (OKX `code`, Bybit `retCode`).
    fn body_failure(&self, market: Market, body: &[u8]) -> Option<RestFailure> {
        let _ = (market, body);
        None
    }
}
