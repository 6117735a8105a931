//! Trading at Bybit: who may ask ([`auth`]), orders ([`order`]), what is remembered ([`query`]),
//! balances and positions ([`wallet`]), private connections ([`socket`]) and what they are told
//! ([`stream`]).
//!
//! Source: `docs/v5/order`, `position`, `account`, `user` and `websocket` (2026-07-24). The account
//! is a unified one under cross margin; spot orders borrow where they ask for it (`isLeverage`), without interest. Client ids are unique over both markets.

pub(crate) mod auth;
mod order;
mod query;
mod row;
pub(crate) mod socket;
pub(crate) mod stream;
mod wallet;

use std::collections::HashMap;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use rust_decimal::Decimal;
use serde_json::{Map, Value, json};

use crate::account::auth::{Forge, Proof};
use crate::account::{AccountId, Accounts, Admission, ClientIds, Fees, Key, Permissions, Rules};
use crate::market::{InstrumentIx, Segment};
use crate::venue::server::{self, Answer, Carried, Service as _, Trouble, body, carry_out, plain};

use super::rest::{self, Query, Refusal, refuse};
use super::server::Service;
use super::venue::Core;
use auth::Who;

/// Private endpoints after `/v5/`: whether they are POST, and how many requests of an account each
/// takes in a second on linear and on spot.
const ENDPOINTS: [(&str, bool, [u32; 2]); 20] = [
    ("order/create", true, [10, 20]),
    ("order/amend", true, [10, 10]),
    ("order/cancel", true, [10, 20]),
    ("order/cancel-all", true, [10, 20]),
    ("order/create-batch", true, [10, 20]),
    ("order/amend-batch", true, [10, 10]),
    ("order/cancel-batch", true, [10, 20]),
    ("order/disconnected-cancel-all", true, [10, 10]),
    ("position/set-leverage", true, [10, 10]),
    ("position/switch-mode", true, [10, 10]),
    ("order/realtime", false, [50, 50]),
    ("order/history", false, [50, 50]),
    ("execution/list", false, [50, 50]),
    ("position/list", false, [50, 50]),
    ("account/wallet-balance", false, [50, 50]),
    ("account/info", false, [50, 50]),
    ("account/fee-rate", false, [5, 5]),
    ("user/query-api", false, [10, 10]),
    ("asset/coin/query-info", false, [5, 5]),
    ("account/query-dcp-info", false, [10, 10]),
];

/// What trading at Bybit remembers.
pub(crate) struct Trading {
    /// Requests by account, endpoint and market in the second that began then.
    used: HashMap<(AccountId, &'static str, Segment), (i64, u32)>,
    forge: Forge,
    /// Private messages so far.
    told: u64,
    /// Market, and seconds without a connection after which its orders are taken back.
    disconnect: HashMap<(AccountId, Segment), i64>,
}

impl Trading {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            used: HashMap::new(),
            forge: Forge::new(seed.rotate_left(31)),
            told: 0,
            disconnect: HashMap::new(),
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
            spot("USDC", 100_000),
            spot("BTC", 5),
            spot("ETH", 50),
            spot("SOL", 500),
            spot("DOGE", 500_000),
        ],
        linear: Fees {
            maker: Decimal::new(2, 4),
            taker: Decimal::new(55, 5),
        },
        client_ids: ClientIds::Unique,
        post_only: Admission::Ended,
        waiting_locks: false,
        refuses_late_triggers: false,
        open_orders_max: 500,
        leverage: (10, 100),
        first_order_no: 1_321_003_749_386_327_552,
        ..Rules::default()
    };
    let mut forge = Forge::new(seed.wrapping_add(3));
    let mut key = |may: Permissions| {
        let (name, secret) = (forge.text(18), forge.text(36));
        let told = json!({ "api_key": name, "secret": secret });
        let key = Key {
            name,
            proof: Proof::Secret(secret),
            passphrase: None,
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

/// The fields of a request; an empty text is none.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    fn text(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    fn required(&self, name: &str) -> Result<String, Refusal> {
        self.text(name).ok_or_else(|| wrong(name))
    }

    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(wrong(name)),
        }
    }

    fn market(&self) -> Result<Segment, Refusal> {
        match self.required("category")?.as_str() {
            "spot" => Ok(Segment::Spot),
            "linear" => Ok(Segment::Linear),
            _ => Err(wrong("category")),
        }
    }
}

fn wrong(name: &str) -> Refusal {
    refuse(&format!("params error: {name} invalid"))
}

/// What a request gives: its result, and what stands beside it.
pub(crate) struct Outcome {
    pub(crate) result: Value,
    pub(crate) more: Value,
}

impl Outcome {
    fn of(result: Value) -> Self {
        Self {
            result,
            more: json!({}),
        }
    }
}

/// What a request works on.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) who: &'a Who,
}

/// How much of a limit is left: the limit, what is left, and when it is whole again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) limit: u32,
    pub(crate) left: u32,
    pub(crate) reset_ms: i64,
}

impl Call<'_> {
    fn id(&self) -> AccountId {
        self.who.id
    }

    /// Counts requests; what is too many is not counted.
    pub(crate) fn charge(
        &mut self,
        endpoint: &'static str,
        market: Segment,
        weight: u32,
    ) -> Result<Left, Left> {
        let found = ENDPOINTS.iter().find(|(name, ..)| *name == endpoint);
        let limits = found.map_or([10, 10], |(_, _, limits)| *limits);
        let limit = limits[usize::from(market == Segment::Spot)];
        let now_ms = self.core.clock.now_ms();
        let key = (self.id(), endpoint, market);
        let used = self.core.venue.trading.used.entry(key);
        let entry = used.or_insert((now_ms, 0));
        if now_ms - entry.0 >= 1_000 {
            *entry = (now_ms, 0);
        }
        let is_over = entry.1 + weight > limit;
        if !is_over {
            entry.1 += weight;
        }
        let left = Left {
            limit,
            left: limit - entry.1,
            reset_ms: if is_over { entry.0 + 1_000 } else { now_ms },
        };
        if is_over { Err(left) } else { Ok(left) }
    }

    /// The instrument of a request, and its market.
    fn instrument(&self, fields: Fields<'_>) -> Result<(InstrumentIx, Segment), Refusal> {
        let market = fields.market()?;
        let symbol = fields.required("symbol")?;
        let code = match market {
            Segment::Spot => 170_121,
            Segment::Linear => 10_001,
        };
        let ix = self.core.market.find(market, &symbol);
        let unknown = || Refusal(code, "params error: symbol invalid".to_owned());
        Ok((ix.ok_or_else(unknown)?, market))
    }
}

/// The endpoint of a path.
fn endpoint(path: &str, is_post: bool) -> Option<&'static str> {
    let name = path.strip_prefix("/v5/")?;
    let is_it = |it: &&(&str, bool, [u32; 2])| it.0 == name && it.1 == is_post;
    ENDPOINTS.iter().find(is_it).map(|(name, ..)| *name)
}

/// Whether it is the path of a private endpoint.
pub(crate) fn is_private(method: &Method, path: &str) -> bool {
    endpoint(path, method == Method::POST).is_some()
}

/// What an answer has beside its body.
struct Told {
    status: u16,
    body: String,
    left: Option<Left>,
}

/// Answers a request to a private endpoint.
pub(crate) async fn answer(service: &Service, mut request: Request<Incoming>) -> Answer {
    let is_post = request.method() == Method::POST;
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let Some(bytes) = body(&mut request).await else {
        return server::cut();
    };
    let sent = String::from_utf8_lossy(&bytes).into_owned();
    let fields: Option<Map<String, Value>> = match is_post {
        true => serde_json::from_str(&sent).ok(),
        false => Some(Query::parse(&query).into_map()),
    };
    let known = fields.clone().unwrap_or_default();
    let market = Fields(&known).market().unwrap_or(Segment::Linear);
    let symbol = Fields(&known).text("symbol");
    let symbol = symbol.as_deref();
    if let Some(trouble) = server::trouble(service, market, &path, symbol).await {
        let (status, body) = rest::troubled(service, &trouble);
        return give(
            service,
            market,
            (&path, symbol),
            Told {
                status,
                body,
                left: None,
            },
        );
    }
    let payload = if is_post { &sent } else { &query };
    let who = {
        let core = service.core().lock();
        let now_ms = core.clock.now_ms();
        auth::check_rest(&core.accounts, request.headers(), payload, now_ms)
    };
    let act = || -> Result<(Outcome, Left), (Refusal, Option<Left>)> {
        let none = |refusal| (refusal, None);
        let who = who.map_err(none)?;
        if is_post && !who.may.spot && !who.may.linear {
            return Err(none(auth::forbidden()));
        }
        let name = endpoint(&path, is_post).ok_or_else(|| none(wrong("path")))?;
        let fields = fields.ok_or_else(|| none(refuse("params error: body invalid")))?;
        let mut core = service.core().lock();
        let mut call = Call {
            core: &mut core,
            who: &who,
        };
        let left = match name.ends_with("-batch") {
            true => Left {
                limit: 10,
                left: 10,
                reset_ms: call.core.clock.now_ms(),
            },
            false => call
                .charge(name, market, 1)
                .map_err(|left| (Refusal(10_006, "Too many visits!".to_owned()), Some(left)))?,
        };
        let done = call.route(name, Fields(&fields));
        done.map(|outcome| (outcome, left))
            .map_err(|refusal| (refusal, Some(left)))
    };
    let carried = match is_post {
        true => carry_out(service, market, &path, symbol, act).await,
        false => Carried::Done(act()),
    };
    let now_ms = service.core().lock().clock.now_ms();
    let told = match carried {
        Carried::Cut => return server::cut(),
        Carried::Failed(fault) => {
            let (status, body) = rest::troubled(service, &Trouble::Http(fault));
            Told {
                status,
                body,
                left: None,
            }
        }
        Carried::Done(Ok((outcome, left))) => Told {
            status: 200,
            body: json!({
                "retCode": 0, "retMsg": "OK", "result": outcome.result,
                "retExtInfo": outcome.more, "time": now_ms,
            })
            .to_string(),
            left: Some(left),
        },
        Carried::Done(Err((Refusal(code, text), left))) => Told {
            status: 200,
            body: rest::envelope(code, &text, "{}", now_ms),
            left,
        },
    };
    give(service, market, (&path, symbol), told)
}

fn give(
    service: &Service,
    market: Segment,
    (path, symbol): (&str, Option<&str>),
    mut told: Told,
) -> Answer {
    server::answered(service, market, path, symbol, &mut told.body);
    let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = plain(status, told.body);
    if let Some(left) = told.left {
        let headers = answer.headers_mut();
        headers.insert("x-bapi-limit", HeaderValue::from(left.limit));
        headers.insert("x-bapi-limit-status", HeaderValue::from(left.left));
        headers.insert(
            "x-bapi-limit-reset-timestamp",
            HeaderValue::from(left.reset_ms),
        );
    }
    answer
}

impl Call<'_> {
    pub(crate) fn route(&mut self, name: &str, fields: Fields<'_>) -> Result<Outcome, Refusal> {
        match name {
            "order/create" => self.create(fields),
            "order/amend" => self.amend(fields),
            "order/cancel" => self.cancel(fields),
            "order/cancel-all" => self.cancel_all(fields),
            "order/create-batch" => self.batch(fields, "order/create-batch", Self::create),
            "order/amend-batch" => self.batch(fields, "order/amend-batch", Self::amend),
            "order/cancel-batch" => self.batch(fields, "order/cancel-batch", Self::cancel),
            "order/disconnected-cancel-all" => self.set_disconnect(fields),
            "position/set-leverage" => self.set_leverage(fields),
            "position/switch-mode" => self.switch_mode(fields),
            "order/realtime" => self.realtime(fields),
            "order/history" => self.history(fields),
            "execution/list" => self.executions(fields),
            "position/list" => self.positions(fields),
            "account/wallet-balance" => self.balance(fields),
            "account/info" => Ok(self.info()),
            "account/fee-rate" => self.fee_rate(fields),
            "user/query-api" => Ok(self.key_info()),
            "account/query-dcp-info" => Ok(self.disconnect_info()),
            _ => Ok(self.coins(fields)),
        }
    }

    /// Does `act` with each order of a list; the limit lets the first ones through.
    fn batch(
        &mut self,
        fields: Fields<'_>,
        endpoint: &'static str,
        act: impl Fn(&mut Self, Fields<'_>) -> Result<Outcome, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let market = fields.market()?;
        let rows = fields.0.get("request").and_then(Value::as_array);
        let rows = rows.ok_or_else(|| wrong("request"))?;
        let most = if market == Segment::Spot { 10 } else { 20 };
        if rows.is_empty() || rows.len() > most {
            return Err(wrong("request"));
        }
        let category = fields.text("category").unwrap_or_default();
        let (mut list, mut codes) = (Vec::new(), Vec::new());
        for row in rows {
            let mut own = row.as_object().cloned().unwrap_or_default();
            own.insert("category".to_owned(), category.as_str().into());
            let text = |name: &str| own.get(name).cloned().unwrap_or_else(|| "".into());
            let mut told = json!({
                "category": category, "symbol": text("symbol"), "orderId": "",
                "orderLinkId": text("orderLinkId"), "createAt": "",
            });
            let late = |_| Refusal(10_006, "Too many visits!".to_owned());
            let done = self.charge(endpoint, market, 1).map_err(late);
            match done.and_then(|_| act(self, Fields(&own))) {
                Ok(outcome) => {
                    told["orderId"] = outcome.result["orderId"].clone();
                    told["createAt"] = self.core.clock.now_ms().to_string().into();
                    codes.push(json!({ "code": 0, "msg": "OK" }));
                }
                Err(Refusal(code, text)) => codes.push(json!({ "code": code, "msg": text })),
            }
            list.push(told);
        }
        Ok(Outcome {
            result: json!({ "list": list }),
            more: json!({ "list": codes }),
        })
    }
}
