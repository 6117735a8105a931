//! What an exchange's adapter has to be able to do so that orders can be sent to it: pure functions
//! from questions and commands to requests, and from answers and frames to facts.
//!
//! Everything that happens over time (journal, time-outs, questions after a lost answer, reconnects)
//! exists once, elsewhere, and asks the adapter through [`TradingVenue`].

use rust_decimal::Decimal;

use super::keys::Keys;
use super::order::{Balance, OrderTerms, OrderType, Position, PositionSide, TimeInForce};
use super::socket::{OrderFrame, OrderRoute, OrderSession};
use super::state::OrderNews;
use crate::error::CryptoError;
use crate::event::Side;
use crate::exchange::{DecodeError, Keepalive};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;

/// An HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Asks.
    Get,
    /// Makes.
    Post,
    /// Changes.
    Put,
    /// Removes.
    Delete,
}

impl Method {
    /// `GET`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
        }
    }
}

/// What of a key a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// The key's name alone (Binance listen keys).
    Key,
    /// Name and signature.
    Signed,
}

/// A request about orders or an account, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NativeRequest {
    /// Method.
    pub method: Method,
    /// Which market's REST host it goes to ([`crate::exchange::Exchange::rest_host`]).
    pub market: Market,
    /// Path without a query: `/api/v3/order`.
    pub path: String,
    /// Query as it is sent, percent-encoded, without `?`; may be empty.
    pub query: String,
    /// Body as it is sent; may be empty.
    pub body: String,
    /// What of the key it carries.
    pub access: Access,
    /// Index into [`crate::exchange::Exchange::rest_budgets`] of the market, and what it costs.
    pub budget: (usize, u32),
    /// The instrument, as the exchange spells it, where a budget counts each by itself
    /// ([`crate::exchange::RestBudget::weight_per_instrument`]).
    pub counts_for: Option<String>,
}

/// A request that can be sent. No `Debug`: keys and signatures are in it.
#[derive(Clone)]
pub struct SignedRequest {
    /// Method.
    pub method: Method,
    /// Which market's REST host it goes to.
    pub market: Market,
    /// Path, and query where there is one.
    pub target: String,
    /// Headers beside the usual ones; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// Body; may be empty.
    pub body: String,
}

/// How an exchange's order is named when it is asked for or canceled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRef<'a> {
    /// Its client's id there.
    pub client_id: &'a str,
    /// The exchange's id, once known.
    pub exchange_id: Option<&'a str>,
    /// The id of the conditional order, where that is another and known.
    pub trigger_id: Option<&'a str>,
    /// Its type: conditional orders live elsewhere on some exchanges.
    pub order_type: OrderType,
    /// Its direction.
    pub side: Side,
    /// When it was made here: where questions for it begin.
    pub created_at: TsNanos,
}

/// Best prices, quote units, as the live book has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// Highest bid.
    pub bid: Option<Decimal>,
    /// Lowest ask.
    pub ask: Option<Decimal>,
    /// Price of the last trade.
    pub last: Option<Decimal>,
}

impl Touch {
    /// True when the price has to rise to reach a stop price, false when it has to fall. Where that
    /// can't be told, what a stop is made for: a buy above the market, a sell below it.
    #[must_use]
    pub fn rises_to(&self, stop_price: Decimal, side: Side) -> bool {
        let (near, far) = match side {
            Side::Buy => (self.ask, self.bid),
            Side::Sell => (self.bid, self.ask),
        };
        match self.last.or(near).or(far) {
            Some(price) if price != stop_price => price < stop_price,
            _ => side == Side::Buy,
        }
    }
}

/// Which position an order belongs to: [`PositionSide::Net`] where positions are not kept by side,
/// else the one that was named, or that the order opens, or that it reduces.
///
/// # Errors
/// `CRYPTO_INVALID_PARAMETER` when the position that was named does not fit the account's mode, or
/// can't be reduced by an order of this direction.
pub fn position_of(terms: &OrderTerms, is_hedged: bool) -> Result<PositionSide, CryptoError> {
    use PositionSide::{Long, Net, Short};
    let asked = terms.position_side.unwrap_or(Net);
    let refuse = |accepted: &str| {
        let asked = asked.as_str();
        Err(CryptoError::invalid_parameter(
            "position_side",
            asked,
            accepted,
        ))
    };
    if !is_hedged {
        return match asked {
            Net => Ok(Net),
            Long | Short => refuse("net, as the account keeps one position a symbol"),
        };
    }
    let fits = match (terms.side, terms.reduce_only) {
        (Side::Buy, false) | (Side::Sell, true) => Long,
        (Side::Sell, false) | (Side::Buy, true) => Short,
    };
    match asked {
        Net => Ok(fits),
        // Without reduce_only either position may be meant: a sell of the long one closes it.
        Long | Short if asked == fits || !terms.reduce_only => Ok(asked),
        Long => refuse("short, as a buy can only reduce that one"),
        Short => refuse("long, as a sell can only reduce that one"),
    }
}

/// What an exchange is told to do.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Make an order.
    Place {
        /// Where.
        instrument: &'a Instrument,
        /// What; checked before.
        terms: &'a OrderTerms,
        /// The client's id to give it ([`TradingVenue::client_id`]).
        client_id: &'a str,
        /// Best prices: which side of the market a stop price is on decides its native type on some
        /// exchanges.
        touch: Touch,
        /// Positions are kept by side (hedge mode).
        is_hedged: bool,
    },
    /// End an order.
    Cancel {
        /// Where.
        instrument: &'a Instrument,
        /// Which.
        order: OrderRef<'a>,
    },
    /// Change an order in place.
    Amend {
        /// Where.
        instrument: &'a Instrument,
        /// Which.
        order: OrderRef<'a>,
        /// All of its terms as they are now.
        terms: &'a OrderTerms,
        /// Total quantity wanted, base units.
        quantity: Decimal,
        /// Limit price wanted.
        price: Option<Decimal>,
    },
    /// End all orders of an instrument, conditional ones too.
    CancelAll {
        /// Where.
        instrument: &'a Instrument,
    },
    /// Set the leverage of an instrument.
    SetLeverage {
        /// Where.
        instrument: &'a Instrument,
        /// To what.
        leverage: u32,
    },
    /// Have the exchange cancel everything unless this is repeated in time, or, where it counts from the
    /// end of a private connection ([`PrivateSession::watch`]), unless another is there in time.
    DeadMan {
        /// Which market.
        market: Market,
        /// Instruments with open orders, for exchanges that count them one by one.
        instruments: &'a [&'a Instrument],
        /// Time until it strikes, seconds; 0 disarms it.
        secs: u32,
    },
}

/// What an exchange is asked.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// What became of an order. Requests are asked one after the other until one knows it.
    Order {
        /// Where.
        instrument: &'a Instrument,
        /// Which.
        order: OrderRef<'a>,
    },
    /// All open orders of a market, conditional ones too. All requests are asked.
    OpenOrders {
        /// Which market.
        market: Market,
    },
    /// Executions of an instrument since a time, of one order where that can be asked.
    Fills {
        /// Where.
        instrument: &'a Instrument,
        /// Of this order alone, where the exchange can tell.
        order: Option<OrderRef<'a>>,
        /// From when on.
        since: TsNanos,
    },
    /// What the account has.
    Balances {
        /// Wallet of which market, on exchanges with several.
        market: Market,
    },
    /// Positions of perpetuals, with their leverage.
    Positions,
    /// How positions are kept.
    PositionMode,
    /// What the key may do.
    Permissions {
        /// For which market.
        market: Market,
    },
}

/// What an exchange says of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderReport {
    /// Market.
    pub market: Market,
    /// The exchange's spelling of the symbol.
    pub native_symbol: String,
    /// The client's id, where there is one.
    pub client_id: Option<String>,
    /// Where it stands; the exchange's ids are in it.
    pub news: OrderNews,
    /// What it was asked to do, as far as it is told: to adopt orders that are not ours.
    pub terms: ReportTerms,
}

/// Terms of an order as an exchange tells them; `None`: not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportTerms {
    /// Direction.
    pub side: Option<Side>,
    /// Type.
    pub order_type: Option<OrderType>,
    /// Stop price.
    pub stop_price: Option<Decimal>,
    /// Time in force.
    pub time_in_force: Option<TimeInForce>,
    /// Post only.
    pub post_only: Option<bool>,
    /// Reduce only.
    pub reduce_only: Option<bool>,
    /// Which position.
    pub position_side: Option<PositionSide>,
    /// When it was made.
    pub created_at: Option<TsNanos>,
}

/// What an exchange says of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FillReport {
    /// Market.
    pub market: Market,
    /// The exchange's spelling of the symbol.
    pub native_symbol: String,
    /// The exchange's id of the trade.
    pub fill_id: String,
    /// The client's id of the order, where told.
    pub client_id: Option<String>,
    /// The exchange's id of the order.
    pub exchange_id: Option<String>,
    /// The account's direction, where told.
    pub side: Option<Side>,
    /// Price.
    pub price: Decimal,
    /// Quantity, base units.
    pub quantity: Decimal,
    /// Fee; negative: a rebate.
    pub fee: Option<Decimal>,
    /// What it was paid in.
    pub fee_asset: Option<String>,
    /// The order was resting.
    pub is_maker: Option<bool>,
    /// When.
    pub at: TsNanos,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyPermissions {
    /// See orders and balances.
    pub can_read: bool,
    /// Trade on this market.
    pub can_trade: bool,
    /// Take money away: such a key is refused unless allowed.
    pub can_withdraw: bool,
}

/// Everything that one answer or frame tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Orders.
    pub orders: Vec<OrderReport>,
    /// Executions.
    pub fills: Vec<FillReport>,
    /// Balances; only those that it tells.
    pub balances: Vec<Balance>,
    /// The balances are all that there are: others are zero. Where there is a [`Facts::next`], those
    /// of all pages together are.
    pub has_all_balances: bool,
    /// Positions; only those that it tells, flat ones with quantity 0.
    pub positions: Vec<Position>,
    /// The positions are all that there are. Where they come in several requests or pages, the last one
    /// says so of all of them together.
    pub has_all_positions: bool,
    /// Positions are kept by side.
    pub is_hedged: Option<bool>,
    /// Permissions; `None` as the answer to a question for them: the exchange can't be asked.
    pub permissions: Option<KeyPermissions>,
    /// The request for the next page of this answer.
    pub next: Option<NativeRequest>,
    /// Balances changed, and the exchange does not push them (Coinbase): they have to be asked for.
    pub balances_are_stale: bool,
    /// What can be done with orders of a market, where that is another thing from account to account (a
    /// bridge to many exchanges): takes the place of [`TradingVenue::support`].
    pub support: Vec<(Market, OrderSupport)>,
}

impl Facts {
    /// True when it tells nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an answer that is no success means.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The error to show; the exchange's code is in its details.
    pub error: CryptoError,
    /// What it proves.
    pub proof: Proof,
    /// The exchange asks to wait this long, seconds.
    pub retry_after_secs: Option<u64>,
}

/// What a failed answer to a command proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Nothing was done, and the same again would fail too.
    Refused,
    /// Nothing was done; later it may succeed (limits, maintenance).
    NotNow,
    /// Nothing was done: the clocks differ. Measure and sign anew.
    ClockSkew,
    /// What was asked for is already so.
    AlreadySo,
    /// Of a cancellation or a question: there is no such open order.
    NoSuchOrder,
    /// Nothing: it may have been done or not.
    Nothing,
}

/// What can be done with orders of a market. True for what is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderSupport {
    /// Types.
    pub types: &'static [OrderType],
    /// Times in force of limit orders.
    pub times_in_force: &'static [TimeInForce],
    /// Orders that only make.
    pub has_post_only: bool,
    /// Orders that only reduce.
    pub has_reduce_only: bool,
    /// Spot orders can borrow what the account has not.
    pub has_margin: bool,
    /// How an order is amended.
    pub amend: Amend,
    /// Leverage can be set.
    pub has_leverage: bool,
    /// The exchange can be told to cancel everything when it hears nothing: shortest and longest
    /// time, seconds.
    pub dead_man_secs: Option<(u32, u32)>,
    /// Positions can be kept by side.
    pub has_hedge_mode: bool,
    /// Several of an order's questions need the exchange's id first (Coinbase can't be asked by
    /// client id): an order that is lost without one is looked for in lists.
    pub has_client_id_lookup: bool,
}

/// How an order is amended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Amend {
    /// In place, quantity and price.
    Native,
    /// In place when only the quantity becomes less, else by cancel and replace.
    NativeReduce,
    /// By cancel and replace.
    Replace,
}

/// A connection on which an exchange tells an account's events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateRoute {
    /// Name in logs and metrics: `private`.
    pub name: &'static str,
    /// Host name that the configuration can map to another address.
    pub host: &'static str,
    /// Default base: `wss://ws.okx.com:8443`.
    pub base_url: &'static str,
    /// Markets whose events it tells.
    pub markets: &'static [Market],
    /// Without any inbound frame for this long the connection is dead, seconds.
    pub silence_secs: u64,
}

/// What a private connection has to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    Wait,
    /// Send these frames.
    Send(Vec<String>),
    /// It is logged in and subscribed: events come from now on.
    Ready,
    /// It was refused: the key is wrong, or something of that kind.
    Refused(CryptoError),
    /// Something may have happened that is not told on it: everything is asked for.
    Ask,
    /// The exchange ends it, or it has to be made anew.
    Reconnect(String),
}

/// One life of a private connection.
pub trait PrivateSession: Send {
    /// The request whose answer is needed before connecting (Binance USDⓈ-M: a listen key).
    fn ticket_request(&self) -> Option<NativeRequest> {
        None
    }

    /// Takes that answer.
    ///
    /// # Errors
    /// It can't be read.
    fn ticket(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        let _ = body;
        Ok(())
    }

    /// A request that has to be repeated while it lives, and the pause between, seconds.
    fn renewal(&self) -> Option<(u64, NativeRequest)> {
        None
    }

    /// Path (and query) to connect to.
    fn path(&self) -> String;

    /// True when nothing answers the opening: events come as soon as it is open, though none may come
    /// for hours (Binance USDⓈ-M), and no [`Step::Ready`] follows.
    fn is_ready_once_open(&self) -> bool {
        false
    }

    /// Frames to send when it is open. `now` is the exchange's clock.
    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Vec<String>;

    /// Takes a frame; what it tells is added to `facts`.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not what the exchange documents. It tells nothing then.
    fn frame(
        &mut self,
        frame: &[u8],
        table: &InstrumentTable,
        keys: &Keys,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<Step, DecodeError>;

    /// What has to be sent from time to time; `None`: control frames are enough.
    fn keepalive(&self) -> Option<Keepalive> {
        None
    }

    /// The frame that has the exchange watch over this connection, or no longer: while it does, the end of
    /// the connection begins the time of [`Command::DeadMan`]. `None`: its timer needs no connection, or it
    /// has none.
    fn watch(&self, is_wanted: bool) -> Option<String> {
        let _ = is_wanted;
        None
    }
}

/// An exchange that orders can be sent to. [`crate::exchange::Exchange::trading`] leads here.
pub trait TradingVenue: Sync {
    /// What can be done with orders of a market.
    fn support(&self, market: Market) -> OrderSupport;

    /// The client's id under which an order of ours is sent: its text, or what the exchange wants
    /// instead. The same for the same order, always.
    fn client_id(&self, market: Market, id: super::order::OrderId) -> String {
        let _ = market;
        id.to_string()
    }

    /// Our order's id in a client's id that [`TradingVenue::client_id`] has made.
    fn our_id(&self, client_id: &str) -> Option<super::order::OrderId> {
        super::order::OrderId::parse(client_id)
    }

    /// True when the timer of [`Command::DeadMan`] is one for the whole account: set for one market it
    /// is set for all, and a second request right behind it is refused as too many (OKX).
    fn has_one_dead_man(&self) -> bool {
        false
    }

    /// Requests of a command; all are sent. Empty: there is nothing to do, except for
    /// [`Command::CancelAll`]: the exchange has no such request, and the orders that are known to be
    /// open are canceled one by one.
    ///
    /// # Errors
    /// `CRYPTO_UNSUPPORTED` naming what the exchange can't.
    fn command(&self, command: &Command<'_>) -> Result<Vec<NativeRequest>, CryptoError>;

    /// What the successful answer to request `index` of a command tells. An order that was accepted
    /// has [`super::state::Word::Works`] at least, one whose acceptance is only queued too. Of a
    /// cancellation or an amendment it tells only what the answer itself proves: what is merely taken
    /// note of tells nothing here, and comes by the private connection or is asked for.
    ///
    /// # Errors
    /// [`DecodeError`] when it can't be read: then nothing is proven.
    fn parse_command(
        &self,
        command: &Command<'_>,
        index: usize,
        body: &[u8],
        now: TsNanos,
    ) -> Result<Facts, DecodeError>;

    /// Requests of a question; empty where the exchange has no such thing.
    fn question(&self, question: &Question<'_>, now: TsNanos) -> Vec<NativeRequest>;

    /// What the successful answer to request `index` of a question, or to one of its next pages,
    /// tells. An order that is not in it is not in the facts.
    ///
    /// # Errors
    /// [`DecodeError`] when it can't be read.
    fn parse_answer(
        &self,
        question: &Question<'_>,
        index: usize,
        body: &[u8],
        table: &InstrumentTable,
        now: TsNanos,
    ) -> Result<Facts, DecodeError>;

    /// What an answer that is no success means: by its status, or by the code inside of an answer
    /// with status 200. `None`: it is a success.
    fn failure(
        &self,
        request: &NativeRequest,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> Option<Failure>;

    /// Signs. `now` is the exchange's clock; `window_ms` how long the request may be under way, where
    /// the exchange lets us say.
    ///
    /// # Errors
    /// The key is of a kind that the exchange does not take.
    fn sign(
        &self,
        keys: &Keys,
        request: &NativeRequest,
        host: &str,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<SignedRequest, CryptoError>;

    /// Whether a request that was taken costs nothing of its budget after all: it is charged until it is
    /// answered, and for good where it is refused or lost.
    fn is_free_when_taken(&self, request: &NativeRequest) -> bool {
        let _ = request;
        false
    }

    /// Connections that tell an account's events.
    fn private_routes(&self) -> &'static [PrivateRoute];

    /// A new life of connection `route`.
    fn private_session(&self, route: usize) -> Box<dyn PrivateSession>;

    /// Connections that take orders; none: they go over HTTP alone.
    fn order_routes(&self) -> &'static [OrderRoute] {
        &[]
    }

    /// A new life of such a connection; `None` where there is none of this number.
    fn order_session(&self, route: usize) -> Option<Box<dyn OrderSession>> {
        let _ = route;
        None
    }

    /// A request of a command as it is written to such a connection, under the number `id`, signed where
    /// each has to be. `None`: it has to go over HTTP. `now` is the exchange's clock; `window_ms` how long
    /// it may be under way, where the exchange lets us say.
    ///
    /// # Errors
    /// As [`TradingVenue::sign`].
    fn order_frame(
        &self,
        command: &Command<'_>,
        request: &NativeRequest,
        id: u64,
        keys: &Keys,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<Option<OrderFrame>, CryptoError> {
        let _ = (command, request, id, keys, now, window_ms);
        Ok(None)
    }
}

#[cfg(test)]
#[path = "venue_tests.rs"]
pub(crate) mod tests;
