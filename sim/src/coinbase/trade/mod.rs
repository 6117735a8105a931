//! Trading at Coinbase: who may ask ([`auth`]), orders ([`order`]), what is remembered of them and
//! of the account ([`query`]), and the user channel ([`stream`]).
//!
//! Source: REST pages and the user channel's page of the Advanced Trade API (2026-07). Success means
//! queued: the user channel tells what became of it. Products that share another's book under a
//! second name are not traded under that.

pub(crate) mod auth;
mod order;
mod query;
pub(crate) mod stream;

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::account::auth::Forge;
use crate::account::{
    AccountId, Accounts, Admission, ClientIds, FeeIn, Fees, Key, Permissions, Rules,
};
use crate::market::Segment;
use crate::venue::server::{self, Answer, Carried, Service as _, Trouble, body, carry_out, plain};

use super::rest::{self, NO_PATH, Query, Refusal};
use super::server::Service;
use super::venue::Core;
use auth::Who;
pub(crate) use order::expire;

const BASE: &str = "/api/v3/brokerage/";
/// Balances in the form of the older interface, which is the one that ccxt reads.
const OLD_ACCOUNTS: &str = "/v2/accounts";
/// Requests of an account in a second.
const REQUESTS: u32 = 30;

/// What trading at Coinbase remembers.
pub(crate) struct Trading {
    /// Requests of an account in the second that began then, Unix ms.
    used: HashMap<AccountId, (i64, u32)>,
    forge: Forge,
}

impl Trading {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            used: HashMap::new(),
            forge: Forge::new(seed.rotate_left(37)),
        }
    }
}

/// The accounts of the exchange, and the keys of the test account.
pub(crate) fn open(seed: u64) -> (Accounts, Value) {
    let spot = |asset, amount: i64| (Segment::Spot, asset, Decimal::from(amount));
    let fees = Fees {
        maker: Decimal::new(6, 3),
        taker: Decimal::new(12, 3),
    };
    let rules = Rules {
        balances: vec![
            spot("USD", 100_000),
            spot("USDC", 100_000),
            spot("USDT", 100_000),
            spot("BTC", 5),
            spot("ETH", 50),
            spot("SOL", 500),
            spot("DOGE", 500_000),
        ],
        spot: fees,
        linear: fees,
        fee_in: FeeIn::Quote,
        client_ids: ClientIds::Unique,
        post_only: Admission::Refused,
        refuses_late_triggers: true,
        // EXPIRED is for orders past their end_time alone.
        self_trade_cancels: true,
        open_orders_max: 500,
        first_order_no: 2_240_101_000_000_000_000,
        ..Rules::default()
    };
    let mut forge = Forge::new(seed.wrapping_add(4));
    let organization = forge.uuid();
    let mut key = |may: Permissions| {
        let name = format!("organizations/{organization}/apiKeys/{}", forge.uuid());
        let (proof, secret) = forge.p256();
        let told = json!({ "api_key": name, "secret": secret });
        let key = Key {
            name,
            proof,
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
    let name = forge.uuid();
    let (proof, private) = forge.ed25519();
    told["read_only"] = told_read_only;
    told["withdrawing"] = told_withdrawing;
    told["ed25519"] = json!({ "api_key": name, "secret": both_halves(&proof, &private) });
    let ed25519 = Key {
        name,
        proof,
        passphrase: None,
        may: Permissions::TRADE,
    };
    let mut accounts = Accounts::new(rules);
    accounts.open(vec![main, read_only, withdrawing, ed25519]);
    (accounts, told)
}

/// An Ed25519 key in Coinbase's form: the seed and the public key in base64.
fn both_halves(proof: &crate::account::auth::Proof, pem: &str) -> String {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let mut bytes = STANDARD.decode(body).unwrap_or_default();
    // The seed is the end of it.
    let mut halves = bytes.split_off(bytes.len().saturating_sub(32));
    if let crate::account::auth::Proof::Ed25519(public) = proof {
        halves.extend(public.as_bytes());
    }
    STANDARD.encode(halves)
}

/// What a request works on.
pub(crate) struct Call<'a> {
    pub(crate) core: &'a mut Core,
    pub(crate) who: Who,
}

impl Call<'_> {
    fn id(&self) -> AccountId {
        self.who.id
    }

    /// Counts a request; what is left, or that there is nothing.
    fn charge(&mut self) -> Option<u32> {
        let (id, now_ms) = (self.id(), self.core.clock.now_ms());
        let used = self.core.venue.trading.used.entry(id);
        let entry = used.or_insert((now_ms, 0));
        if now_ms - entry.0 >= 1_000 {
            *entry = (now_ms, 0);
        }
        if entry.1 >= REQUESTS {
            return None;
        }
        entry.1 += 1;
        Some(REQUESTS - entry.1)
    }
}

/// Whether a path is one of an account's.
pub(crate) fn is_private(path: &str) -> bool {
    if path == OLD_ACCOUNTS {
        return true;
    }
    let name = path.strip_prefix(BASE).unwrap_or_default();
    let first = name.split('/').next().unwrap_or_default();
    matches!(
        first,
        "orders"
            | "accounts"
            | "transaction_summary"
            | "key_permissions"
            | "products"
            | "portfolios"
    )
}

fn unauthorized() -> Answer {
    let mut answer = plain(StatusCode::UNAUTHORIZED, "Unauthorized\n".to_owned());
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, text);
    answer
}

/// The product that a request names first.
fn symbol(sent: &Value, query: &Query<'_>) -> Option<String> {
    let named = sent["product_id"].as_str().map(str::to_owned);
    let asked = || query.get("product_ids").or_else(|| query.get("product_id"));
    named.or_else(|| asked().map(str::to_owned))
}

/// Answers a request to a private endpoint.
pub(crate) async fn answer(service: &Service, mut request: Request<Incoming>) -> Answer {
    let is_post = request.method() == Method::POST;
    let method = request.method().as_str().to_owned();
    let path = request.uri().path().to_owned();
    let text = request.uri().query().unwrap_or_default().to_owned();
    let query = Query::parse(&text);
    let header = |name: header::HeaderName| {
        let value = request.headers().get(name).and_then(|it| it.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (token, host) = (header(header::AUTHORIZATION), header(header::HOST));
    let Some(bytes) = body(&mut request).await else {
        return server::cut();
    };
    let sent: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let symbol = symbol(&sent, &query);
    let symbol = symbol.as_deref();
    if let Some(trouble) = server::trouble(service, Segment::Spot, &path, symbol).await {
        return give(service, (&path, symbol), rest::troubled(trouble), None);
    }
    let found = {
        let core = service.core().lock();
        let token = token.strip_prefix("Bearer ").unwrap_or_default();
        let purpose = (method.as_str(), host.as_str(), path.as_str());
        auth::check(&core.accounts, token, Some(purpose), core.clock.now_ms())
    };
    let Some(who) = found else {
        return unauthorized();
    };
    let act = || {
        let mut core = service.core().lock();
        let mut call = Call {
            core: &mut core,
            who,
        };
        let Some(left) = call.charge() else {
            return (rest::Reply::new(429, rest::TOO_MANY.to_owned()), 0);
        };
        let done = call.route(is_post, &path, &sent, &query);
        let reply = match done {
            Ok(body) => rest::Reply::new(200, body.to_string()),
            Err(error) => rest::Reply::new(error.0, rest::refusal(error)),
        };
        (reply, left)
    };
    let carried = match is_post {
        true => carry_out(service, Segment::Spot, &path, symbol, act).await,
        false => Carried::Done(act()),
    };
    match carried {
        Carried::Cut => server::cut(),
        Carried::Failed(fault) => {
            let reply = rest::troubled(Trouble::Http(fault));
            give(service, (&path, symbol), reply, None)
        }
        Carried::Done((reply, left)) => give(service, (&path, symbol), reply, Some(left)),
    }
}

fn give(
    service: &Service,
    (path, symbol): (&str, Option<&str>),
    mut reply: rest::Reply,
    left: Option<u32>,
) -> Answer {
    server::answered(service, Segment::Spot, path, symbol, &mut reply.body);
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = plain(status, reply.body);
    let headers = answer.headers_mut();
    if let Some(left) = left {
        headers.insert("x-ratelimit-limit", HeaderValue::from(REQUESTS));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(left));
        headers.insert("x-ratelimit-reset", HeaderValue::from_static("1"));
    }
    if let Some(seconds) = reply.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

const FORBIDDEN: Refusal = (403, "PERMISSION_DENIED", "Missing required scopes");

impl Call<'_> {
    fn route(
        &mut self,
        is_post: bool,
        path: &str,
        sent: &Value,
        query: &Query<'_>,
    ) -> Result<Value, Refusal> {
        if path == OLD_ACCOUNTS && !is_post {
            return Ok(self.old_accounts());
        }
        let name = path.strip_prefix(BASE).unwrap_or_default();
        if is_post && !self.who.may.spot {
            return Err(FORBIDDEN);
        }
        if is_post {
            return match name {
                "orders" => self.create(sent),
                "orders/preview" => self.preview(sent),
                "orders/edit" => Ok(self.edit(sent)),
                "orders/batch_cancel" => self.batch_cancel(sent),
                _ => Err(NO_PATH),
            };
        }
        match name {
            "accounts" => self.accounts(query),
            "transaction_summary" => Ok(self.summary()),
            "key_permissions" => Ok(self.permissions()),
            "products" => rest::list(self.core, query),
            "portfolios" => Ok(self.portfolios()),
            "orders/historical/batch" => self.orders(query),
            "orders/historical/fills" => self.fills(query),
            _ => match name.rsplit_once('/') {
                Some(("orders/historical", id)) => self.order(id),
                Some(("accounts", id)) => self.account(id),
                _ => Err(NO_PATH),
            },
        }
    }
}
