//! Trading at OKX: who may ask what ([`auth`]), orders ([`order`], [`algo`]), what is remembered of
//! them ([`query`]), balances and positions ([`wallet`]), and private channels ([`stream`]).
//!
//! Source: v5 documentation as of August 2026. One account mode is there: spot and futures mode
//! (`acctLv` 2), without borrowing. An instrument's positions are all cross or all isolated.

mod algo;
pub(crate) mod auth;
mod order;
mod query;
mod row;
pub(crate) mod stream;
mod wallet;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use super::protocol::Arg;
use super::rest::{self, ApiError, Params};
use super::server::Exchange;
use super::venue::Core;
use crate::account::auth::{Forge, Proof};
use crate::account::limits::{OrderLimit, Orders};
use crate::account::{
    AccountId, Accounts, Admission, ClientIds, Fees, Key, MarginMode, Permissions, Rules,
};
use crate::market::{InstrumentIx, Segment};
use crate::venue::server::{self, Answer, Carried, body, carry_out};
use auth::Who;

/// Private endpoints after `/api/v5/`: whether they are POST, and how many requests of an account
/// each takes in so many ms. Those of trading count by instrument.
const ENDPOINTS: [(&str, bool, u32, u64); 30] = [
    ("trade/order", true, 60, 2_000),
    ("trade/batch-orders", true, 300, 2_000),
    ("trade/cancel-order", true, 60, 2_000),
    ("trade/cancel-batch-orders", true, 300, 2_000),
    ("trade/amend-order", true, 60, 2_000),
    ("trade/amend-batch-orders", true, 300, 2_000),
    ("trade/close-position", true, 20, 2_000),
    ("trade/cancel-all-after", true, 1, 1_000),
    ("trade/order-algo", true, 20, 2_000),
    ("trade/cancel-algos", true, 20, 2_000),
    ("trade/amend-algos", true, 20, 2_000),
    ("account/set-leverage", true, 20, 2_000),
    ("account/set-position-mode", true, 5, 2_000),
    ("trade/order", false, 60, 2_000),
    ("trade/orders-pending", false, 60, 2_000),
    ("trade/orders-history", false, 40, 2_000),
    ("trade/orders-history-archive", false, 20, 2_000),
    ("trade/fills", false, 60, 2_000),
    ("trade/fills-history", false, 10, 2_000),
    ("trade/order-algo", false, 20, 2_000),
    ("trade/orders-algo-pending", false, 20, 2_000),
    ("trade/orders-algo-history", false, 20, 2_000),
    ("account/balance", false, 10, 2_000),
    ("account/positions", false, 10, 2_000),
    ("account/config", false, 5, 2_000),
    ("account/leverage-info", false, 20, 2_000),
    ("account/trade-fee", false, 5, 2_000),
    ("account/instruments", false, 20, 2_000),
    ("asset/currencies", false, 6, 1_000),
    ("asset/balances", false, 6, 1_000),
];

/// What trading at OKX remembers.
pub(crate) struct Trading {
    /// New and changed orders of all endpoints.
    orders: Orders,
    /// Requests by account, endpoint and instrument.
    used: HashMap<(AccountId, &'static str, Option<InstrumentIx>), (Instant, u32)>,
    forge: Forge,
    /// Leverage that was chosen for a mode which is not in force.
    leverage: HashMap<(AccountId, InstrumentIx, bool), u32>,
    /// The client's name for the change that is under way.
    amending: Option<String>,
}

impl Trading {
    pub(crate) fn new(seed: u64) -> Self {
        let limit = OrderLimit {
            name: "sub-account",
            most: 1_000,
            window_ms: 2_000,
        };
        Self {
            orders: Orders::new(&[limit]),
            used: HashMap::new(),
            forge: Forge::new(seed.rotate_left(29)),
            leverage: HashMap::new(),
            amending: None,
        }
    }
}

/// The accounts of the exchange, and the keys of the test account.
pub(crate) fn open(seed: u64) -> (Accounts, Value) {
    let spot = |asset, amount: i64| (Segment::Spot, asset, Decimal::from(amount));
    let rules = Rules {
        is_unified: true,
        balances: vec![
            spot("USDT", 100_000),
            spot("BTC", 5),
            spot("ETH", 50),
            spot("SOL", 500),
            spot("DOGE", 500_000),
        ],
        spot: Fees {
            maker: Decimal::new(8, 4),
            taker: Decimal::new(1, 3),
        },
        linear: Fees {
            maker: Decimal::new(2, 4),
            taker: Decimal::new(5, 4),
        },
        client_ids: ClientIds::Unique,
        post_only: Admission::Ended,
        waiting_locks: false,
        refuses_late_triggers: false,
        open_orders_max: 500,
        leverage: (3, 100),
        first_order_no: 2_497_956_918_703_120_384,
        ..Rules::default()
    };
    let mut forge = Forge::new(seed.wrapping_add(2));
    let mut key = |may: Permissions| {
        let (name, secret) = (forge.uuid(), forge.text(32).to_uppercase());
        let passphrase = forge.text(12);
        let told = json!({ "api_key": name, "secret": secret, "passphrase": passphrase });
        let key = Key {
            name,
            proof: Proof::Secret(secret),
            passphrase: Some(passphrase),
            may,
        };
        (key, told)
    };
    let (main, mut told) = key(Permissions::TRADE);
    let (read_only, told_read_only) = key(Permissions::READ);
    let (withdrawing, told_withdrawing) = key(Permissions {
        withdraw: true,
        ..Permissions::TRADE
    });
    told["read_only"] = told_read_only;
    told["withdrawing"] = told_withdrawing;
    let mut accounts = Accounts::new(rules);
    accounts.open(vec![main, read_only, withdrawing]);
    (accounts, told)
}

/// What is wrong with one order of a request: code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fail {
    pub(crate) code: &'static str,
    pub(crate) msg: String,
}

impl Fail {
    pub(crate) fn new(code: &'static str, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
        }
    }

    fn wrong(name: &str) -> Self {
        Self::new("51000", format!("Parameter {name} error"))
    }

    fn empty(name: &str) -> Self {
        Self::new("50014", format!("Parameter {name} can not be empty"))
    }
}

impl From<Fail> for ApiError {
    fn from(fail: Fail) -> Self {
        Self {
            status: 200,
            code: fail.code,
            msg: fail.msg,
        }
    }
}

/// What a request gives: code, text and rows.
pub(crate) struct Outcome {
    pub(crate) code: &'static str,
    pub(crate) msg: &'static str,
    pub(crate) data: Vec<Value>,
}

impl Outcome {
    fn rows(data: Vec<Value>) -> Self {
        Self {
            code: "0",
            msg: "",
            data,
        }
    }

    /// The outcome of orders, each with its own code.
    fn of_all(data: Vec<Value>) -> Self {
        let failed = data.iter().filter(|row| row["sCode"] != "0").count();
        let (code, msg) = match failed {
            0 => ("0", ""),
            _ if failed == data.len() => ("1", "All operations failed"),
            _ => ("2", "Bulk operation partially successful"),
        };
        Self { code, msg, data }
    }
}

/// The fields of one order of a request; an empty text is none.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a Map<String, Value>);

impl<'a> Fields<'a> {
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    fn required(&self, name: &str) -> Result<String, Fail> {
        self.text(name).ok_or_else(|| Fail::empty(name))
    }

    fn flag(&self, name: &str) -> Result<bool, Fail> {
        match self.text(name).as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Fail::wrong(name)),
        }
    }
}

/// What a request works on.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) who: Who,
    /// Over WebSocket instruments are named by number.
    pub(crate) by_code: bool,
}

impl Call<'_> {
    fn id(&self) -> AccountId {
        self.who.id
    }

    /// Counts a request against its limit.
    fn charge(&mut self, endpoint: &'static str, ix: Option<InstrumentIx>) -> Result<(), Fail> {
        let found = ENDPOINTS.iter().find(|(name, ..)| *name == endpoint);
        let (most, window_ms) = found.map_or((60, 2_000), |(_, _, most, ms)| (*most, *ms));
        let key = (self.id(), endpoint, ix);
        let now = Instant::now();
        let entry = self.core.venue.trading.used.entry(key);
        let entry = entry.or_insert((now, 0));
        if now - entry.0 >= Duration::from_millis(window_ms) {
            *entry = (now, 0);
        }
        if entry.1 >= most {
            return Err(Fail::new("50011", "Too Many Requests"));
        }
        entry.1 += 1;
        Ok(())
    }

    /// Counts a new or changed order.
    fn charge_order(&mut self) -> Result<(), Fail> {
        let (id, now_ms) = (self.id(), self.core.clock.now_ms());
        let orders = &mut self.core.venue.trading.orders;
        orders.charge(id, 1, now_ms).map_err(|_| {
            let msg = "The maximum sub-account rate limit of orders has been reached.";
            Fail::new("50061", msg)
        })
    }

    /// The instrument of an order.
    fn instrument(&self, fields: Fields<'_>) -> Result<InstrumentIx, Fail> {
        let unknown = || Fail::new("51001", "Instrument ID doesn't exist.");
        if self.by_code {
            let code = fields.required("instIdCode")?;
            let code = code.parse().map_err(|_| Fail::wrong("instIdCode"))?;
            return self.core.venue.of_code(code).ok_or_else(unknown);
        }
        let name = fields.required("instId")?;
        let found = self.core.venue.find(&name);
        found.map(|(ix, _)| ix).ok_or_else(unknown)
    }

    /// Does `act` with each order of a list that is not too long.
    fn each(
        &mut self,
        rows: &[Value],
        most: usize,
        act: impl Fn(&mut Self, Fields<'_>) -> Value,
    ) -> Result<Outcome, ApiError> {
        if rows.is_empty() || rows.len() > most {
            return Err(ApiError::wrong("args"));
        }
        let empty = Map::new();
        let rows = rows.iter().map(|row| row.as_object().unwrap_or(&empty));
        let data = rows.map(|row| act(self, Fields(row))).collect();
        Ok(Outcome::of_all(data))
    }

    fn now(&self) -> String {
        self.core.clock.now_ms().to_string()
    }
}

/// Whether it is the path of a private endpoint.
pub(crate) fn is_private(path: &str) -> bool {
    let name = path.strip_prefix("/api/v5/").unwrap_or_default();
    ENDPOINTS.iter().any(|(endpoint, ..)| *endpoint == name)
}

/// A wrapped list, or the one order that a body is.
fn list(body: &Value) -> Vec<Value> {
    match body {
        Value::Array(rows) => rows.clone(),
        other => vec![other.clone()],
    }
}

/// The instrument that a request names first.
fn symbol(params: &Params, body: &Value) -> Option<String> {
    let named = match body {
        Value::Array(rows) => rows.first().and_then(|row| row["instId"].as_str()),
        other => other["instId"].as_str(),
    };
    let named = named.map(str::to_owned);
    named.or_else(|| params.get("instId").map(str::to_owned))
}

/// Market and symbol of the instrument that a request over a connection names first.
pub(crate) fn named(core: &Core, args: &[Arg]) -> Option<(Segment, String)> {
    let code = match args.first()?.0.get("instIdCode")? {
        Value::String(text) => text.parse().ok()?,
        other => u32::try_from(other.as_u64()?).ok()?,
    };
    let it = core.instrument(core.venue.of_code(code)?)?;
    Some((it.segment, it.symbol.clone()))
}

/// Answers a request to a private endpoint.
pub(crate) async fn answer(exchange: &Exchange, mut request: Request<Incoming>) -> Answer {
    let is_post = request.method() == Method::POST;
    let Some(bytes) = body(&mut request).await else {
        return server::cut();
    };
    let (target, path) = (
        request.uri().path_and_query().map_or("", |it| it.as_str()),
        request.uri().path(),
    );
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let params = Params::parse(request.uri().query().unwrap_or_default());
    let sent = match is_post && !text.is_empty() {
        true => serde_json::from_str(text).ok(),
        false => Some(Value::Null),
    };
    let symbol = symbol(&params, sent.as_ref().unwrap_or(&Value::Null));
    let symbol = symbol.as_deref();
    let market = rest::market(symbol, &params);
    if let Some(trouble) = server::trouble(exchange, market, path, symbol).await {
        return rest::troubled(trouble);
    }
    let in_us = exchange.core.lock().clock.now_ms() * 1_000;
    let done = {
        let mut core = exchange.core.lock();
        let signed = (request.method().as_str(), target, text);
        let now_ms = core.clock.now_ms();
        auth::check_rest(&core.accounts, request.headers(), signed, now_ms)
            .and_then(|who| admit(&mut core, who, is_post, path))
    };
    let (who, endpoint) = match done {
        Ok(done) => done,
        Err(error) => return give(exchange, market, (path, symbol), Err(error), in_us),
    };
    let Some(sent) = sent else {
        let error = ApiError {
            status: 400,
            code: "50002",
            msg: "JSON syntax error".to_owned(),
        };
        return give(exchange, market, (path, symbol), Err(error), in_us);
    };
    let act = || {
        let mut core = exchange.core.lock();
        let mut call = Call {
            core: &mut core,
            who,
            by_code: false,
        };
        match is_post {
            true => post(&mut call, endpoint, &sent),
            false => get(&mut call, endpoint, &params),
        }
    };
    // Questions are no trading.
    let carried = match is_post {
        true => carry_out(exchange, market, path, symbol, act).await,
        false => Carried::Done(act()),
    };
    match carried {
        Carried::Done(done) => give(exchange, market, (path, symbol), done, in_us),
        Carried::Cut => server::cut(),
        Carried::Failed(fault) => rest::troubled(server::Trouble::Http(fault)),
    }
}

/// The endpoint, if the key may ask it.
fn admit(
    core: &mut Core,
    who: Who,
    is_post: bool,
    path: &str,
) -> Result<(Who, &'static str), ApiError> {
    let name = path.strip_prefix("/api/v5/").unwrap_or_default();
    let is_it = |it: &&(&str, bool, u32, u64)| it.0 == name && it.1 == is_post;
    let found = ENDPOINTS.iter().find(is_it);
    let (endpoint, ..) = found.ok_or_else(ApiError::not_found)?;
    if is_post && !who.may.spot && !who.may.linear {
        return Err(auth::forbidden());
    }
    let is_order = is_post && endpoint.starts_with("trade/") && !endpoint.ends_with("after");
    if !is_order {
        let mut call = Call {
            core,
            who,
            by_code: false,
        };
        call.charge(endpoint, None)
            .map_err(|_| ApiError::too_many())?;
    }
    Ok((who, endpoint))
}

fn give(
    exchange: &Exchange,
    market: Segment,
    (path, symbol): (&str, Option<&str>),
    done: Result<Outcome, ApiError>,
    in_us: i64,
) -> Answer {
    let (status, mut text) = match done {
        Ok(outcome) => {
            // All orders of a request over the limit are answered as a request over it.
            let all_late = |row: &Value| row["sCode"] == "50011";
            match outcome.data.first().is_some_and(all_late) && outcome.code == "1" {
                true => (429, ApiError::too_many().to_string()),
                false => (200, outcome_text(exchange, &outcome, in_us)),
            }
        }
        Err(error) => (error.status, error.to_string()),
    };
    server::answered(exchange, market, path, symbol, &mut text);
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    server::plain(status, text)
}

fn outcome_text(exchange: &Exchange, outcome: &Outcome, in_us: i64) -> String {
    let out_us = exchange.core.lock().clock.now_ms() * 1_000 + 999;
    json!({
        "code": outcome.code, "msg": outcome.msg, "data": outcome.data,
        "inTime": in_us.to_string(), "outTime": out_us.to_string(),
    })
    .to_string()
}

fn post(call: &mut Call<'_>, endpoint: &'static str, sent: &Value) -> Result<Outcome, ApiError> {
    let rows = list(sent);
    let empty = Map::new();
    let one = Fields(sent.as_object().unwrap_or(&empty));
    match endpoint {
        "trade/order" => call.each(&rows, 1, |call, it| call.place(endpoint, it)),
        "trade/batch-orders" => call.each(&rows, 20, |call, it| call.place(endpoint, it)),
        "trade/cancel-order" => call.each(&rows, 1, |call, it| call.cancel(endpoint, it)),
        "trade/cancel-batch-orders" => call.each(&rows, 20, |call, it| call.cancel(endpoint, it)),
        "trade/amend-order" => call.each(&rows, 1, |call, it| call.amend(endpoint, it)),
        "trade/amend-batch-orders" => call.each(&rows, 20, |call, it| call.amend(endpoint, it)),
        "trade/close-position" => call.close_position(one).map_err(ApiError::from),
        "trade/cancel-all-after" => call.cancel_all_after(one).map_err(ApiError::from),
        "trade/order-algo" => call.each(&rows, 1, Call::place_algo),
        "trade/cancel-algos" => call.each(&rows, 10, Call::cancel_algo),
        "trade/amend-algos" => call.each(&rows, 1, Call::amend_algo),
        "account/set-leverage" => call.set_leverage(one).map_err(ApiError::from),
        "account/set-position-mode" => call.set_position_mode(one).map_err(ApiError::from),
        _ => Err(ApiError::not_found()),
    }
}

fn get(call: &mut Call<'_>, endpoint: &'static str, params: &Params) -> Result<Outcome, ApiError> {
    let rows = match endpoint {
        "trade/order" => call.order(params),
        "trade/orders-pending" => call.orders_pending(params),
        "trade/orders-history" => call.orders_history(params, false),
        "trade/orders-history-archive" => call.orders_history(params, true),
        "trade/fills" | "trade/fills-history" => call.fills(params, endpoint == "trade/fills"),
        "trade/order-algo" => call.algo(params),
        "trade/orders-algo-pending" => call.algos_pending(params),
        "trade/orders-algo-history" => call.algos_history(params),
        "account/balance" => call.balance(params),
        "account/positions" => call.positions(params),
        "account/config" => Ok(call.config()),
        "account/leverage-info" => call.leverage_info(params),
        "account/trade-fee" => call.trade_fee(params),
        "account/instruments" => rest::instruments(call.core, params),
        "asset/currencies" => Ok(call.currencies(params)),
        "asset/balances" => Ok(Vec::new()),
        _ => Err(ApiError::not_found()),
    };
    rows.map(Outcome::rows)
}

const fn mode_name(mode: MarginMode) -> &'static str {
    match mode {
        MarginMode::Cross => "cross",
        MarginMode::Isolated => "isolated",
    }
}
