//! What may be asked: by REST and over WebSocket, at what weight, with which key.

use std::net::IpAddr;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use serde_json::{Value, json};

use super::super::core::Core;
use super::super::rest::{self, ApiError, Params, Reply};
use super::super::server::Exchange;
use super::{Call, algo, auth, spot, usdm, wallet};
use crate::account::limits::TooMany;
use crate::account::{AccountId, Permissions};
use crate::clock::unix_now_ms;
use crate::market::Segment;
use crate::venue::server::{self, Answer, Carried, plain};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Places an order, which is counted.
    Place,
    /// Changes something: needs the right to trade.
    Change,
    /// Tells.
    Read,
    /// Needs the key alone, no signature.
    Open,
}

type Handler = fn(&mut Call<'_>) -> Result<Value, ApiError>;

/// An endpoint.
pub(crate) struct Endpoint {
    pub(crate) market: Segment,
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    /// Its name over WebSocket.
    pub(crate) socket: &'static str,
    /// Weight with and without a symbol.
    weight: (u32, u32),
    pub(crate) act: Act,
    handle: Handler,
}

const fn at(
    market: Segment,
    (method, path, socket): (&'static str, &'static str, &'static str),
    weight: (u32, u32),
    act: Act,
    handle: Handler,
) -> Endpoint {
    Endpoint {
        market,
        method,
        path,
        socket,
        weight,
        act,
        handle,
    }
}

const SPOT: Segment = Segment::Spot;
const USDM: Segment = Segment::Linear;

/// All that needs an account.
#[rustfmt::skip]
const ENDPOINTS: &[Endpoint] = &[
    at(SPOT, ("POST", "/api/v3/order", "order.place"), (1, 1), Act::Place, spot::place),
    at(SPOT, ("POST", "/api/v3/order/test", "order.test"), (1, 1), Act::Change, spot::test),
    at(SPOT, ("GET", "/api/v3/order", "order.status"), (4, 4), Act::Read, spot::query),
    at(SPOT, ("DELETE", "/api/v3/order", "order.cancel"), (1, 1), Act::Change, spot::cancel),
    at(SPOT, ("POST", "/api/v3/order/cancelReplace", "order.cancelReplace"), (1, 1), Act::Place, spot::cancel_replace),
    at(SPOT, ("PUT", "/api/v3/order/amend/keepPriority", "order.amend.keepPriority"), (4, 4), Act::Change, spot::amend),
    at(SPOT, ("GET", "/api/v3/openOrders", "openOrders.status"), (6, 80), Act::Read, spot::open_orders),
    at(SPOT, ("DELETE", "/api/v3/openOrders", "openOrders.cancelAll"), (1, 1), Act::Change, spot::cancel_open),
    at(SPOT, ("GET", "/api/v3/allOrders", "allOrders"), (20, 20), Act::Read, spot::all_orders),
    at(SPOT, ("GET", "/api/v3/myTrades", "myTrades"), (20, 20), Act::Read, spot::my_trades),
    at(SPOT, ("GET", "/api/v3/account", "account.status"), (20, 20), Act::Read, wallet::spot),
    at(SPOT, ("GET", "/api/v3/account/commission", "account.commission"), (20, 20), Act::Read, wallet::spot_fees),
    at(SPOT, ("GET", "/api/v3/rateLimit/order", "account.rateLimits.orders"), (40, 40), Act::Read, wallet::order_counts),
    at(SPOT, ("GET", "/sapi/v1/account/apiRestrictions", ""), (1, 1), Act::Read, wallet::restrictions),
    at(SPOT, ("GET", "/sapi/v1/capital/config/getall", ""), (10, 10), Act::Read, wallet::coins),
    at(SPOT, ("GET", "/sapi/v1/asset/tradeFee", ""), (1, 1), Act::Read, wallet::trade_fees),
    at(USDM, ("POST", "/fapi/v1/order", "order.place"), (0, 0), Act::Place, usdm::place),
    at(USDM, ("POST", "/fapi/v1/order/test", ""), (0, 0), Act::Change, usdm::test),
    at(USDM, ("PUT", "/fapi/v1/order", "order.modify"), (1, 1), Act::Place, usdm::modify),
    at(USDM, ("GET", "/fapi/v1/order", "order.status"), (1, 1), Act::Read, usdm::query),
    at(USDM, ("DELETE", "/fapi/v1/order", "order.cancel"), (1, 1), Act::Change, usdm::cancel),
    at(USDM, ("POST", "/fapi/v1/batchOrders", ""), (5, 5), Act::Place, usdm::place_batch),
    at(USDM, ("DELETE", "/fapi/v1/batchOrders", ""), (1, 1), Act::Change, usdm::cancel_batch),
    at(USDM, ("GET", "/fapi/v1/openOrder", ""), (1, 1), Act::Read, usdm::query_open),
    at(USDM, ("GET", "/fapi/v1/openOrders", ""), (1, 40), Act::Read, usdm::open_orders),
    at(USDM, ("DELETE", "/fapi/v1/allOpenOrders", ""), (1, 1), Act::Change, usdm::cancel_open),
    at(USDM, ("GET", "/fapi/v1/allOrders", ""), (5, 5), Act::Read, usdm::all_orders),
    at(USDM, ("GET", "/fapi/v1/userTrades", ""), (5, 5), Act::Read, usdm::my_trades),
    at(USDM, ("POST", "/fapi/v1/countdownCancelAll", ""), (10, 10), Act::Change, usdm::count_down),
    at(USDM, ("POST", "/fapi/v1/algoOrder", "algoOrder.place"), (0, 0), Act::Place, algo::place),
    at(USDM, ("GET", "/fapi/v1/algoOrder", ""), (1, 1), Act::Read, algo::query),
    at(USDM, ("DELETE", "/fapi/v1/algoOrder", "algoOrder.cancel"), (1, 1), Act::Change, algo::cancel),
    at(USDM, ("GET", "/fapi/v1/openAlgoOrders", ""), (1, 40), Act::Read, algo::open_orders),
    at(USDM, ("DELETE", "/fapi/v1/algoOpenOrders", ""), (1, 1), Act::Change, algo::cancel_open),
    at(USDM, ("GET", "/fapi/v1/allAlgoOrders", ""), (5, 5), Act::Read, algo::all_orders),
    at(USDM, ("POST", "/fapi/v1/leverage", ""), (1, 1), Act::Change, usdm::set_leverage),
    at(USDM, ("POST", "/fapi/v1/marginType", ""), (1, 1), Act::Change, usdm::set_margin_type),
    at(USDM, ("GET", "/fapi/v1/positionSide/dual", ""), (30, 30), Act::Read, usdm::is_hedged),
    at(USDM, ("POST", "/fapi/v1/positionSide/dual", ""), (1, 1), Act::Change, usdm::set_hedged),
    at(USDM, ("GET", "/fapi/v1/multiAssetsMargin", ""), (30, 30), Act::Read, wallet::assets_mode),
    at(USDM, ("GET", "/fapi/v1/symbolConfig", ""), (5, 5), Act::Read, wallet::symbol_config),
    at(USDM, ("GET", "/fapi/v1/accountConfig", ""), (5, 5), Act::Read, wallet::account_config),
    at(USDM, ("GET", "/fapi/v1/leverageBracket", ""), (1, 1), Act::Read, wallet::brackets),
    at(USDM, ("GET", "/fapi/v1/commissionRate", ""), (20, 20), Act::Read, wallet::usdm_fees),
    at(USDM, ("GET", "/fapi/v1/income", ""), (30, 30), Act::Read, wallet::income),
    at(USDM, ("GET", "/fapi/v1/rateLimit/order", ""), (1, 1), Act::Read, wallet::order_counts),
    at(USDM, ("GET", "/fapi/v2/balance", "account.balance"), (5, 5), Act::Read, wallet::balances),
    at(USDM, ("GET", "/fapi/v3/balance", "v2/account.balance"), (5, 5), Act::Read, wallet::balances),
    at(USDM, ("GET", "/fapi/v2/account", "account.status"), (5, 5), Act::Read, wallet::usdm_v2),
    at(USDM, ("GET", "/fapi/v3/account", "v2/account.status"), (5, 5), Act::Read, wallet::usdm_v3),
    at(USDM, ("GET", "/fapi/v2/positionRisk", "account.position"), (5, 5), Act::Read, wallet::risk_v2),
    at(USDM, ("GET", "/fapi/v3/positionRisk", "v2/account.position"), (5, 5), Act::Read, wallet::risk_v3),
    at(USDM, ("POST", "/fapi/v1/listenKey", "userDataStream.start"), (1, 1), Act::Open, start_stream),
    at(USDM, ("PUT", "/fapi/v1/listenKey", "userDataStream.ping"), (1, 1), Act::Open, keep_stream),
    at(USDM, ("DELETE", "/fapi/v1/listenKey", "userDataStream.stop"), (1, 1), Act::Open, stop_stream),
];

fn start_stream(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let key = call.core.venue.trading.listen_key(call.id);
    Ok(json!({ "listenKey": key }))
}

fn keep_stream(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let trading = &mut call.core.venue.trading;
    let lives = trading
        .listen_keys
        .get(&call.id)
        .is_some_and(|(key, _)| trading.listener(key).is_some());
    if !lives {
        return Err(ApiError::new(-1125, "This listenKey does not exist."));
    }
    let key = trading.listen_key(call.id);
    Ok(json!({ "listenKey": key }))
}

fn stop_stream(call: &mut Call<'_>) -> Result<Value, ApiError> {
    call.core.venue.trading.listen_keys.remove(&call.id);
    let (id, hub) = (call.id, &mut call.core.hub);
    for listener in call.core.private.listeners() {
        if listener.account == id && listener.market == Some(USDM) {
            hub.cut(listener.session);
        }
    }
    Ok(json!({}))
}

/// The endpoint of a REST request.
pub(crate) fn of_rest(market: Segment, method: &str, path: &str) -> Option<&'static Endpoint> {
    let is_it = |it: &&Endpoint| it.market == market && it.method == method && it.path == path;
    ENDPOINTS.iter().find(is_it)
}

/// The endpoint of a method over WebSocket.
pub(crate) fn of_socket(market: Segment, method: &str) -> Option<&'static Endpoint> {
    let is_it = |it: &&Endpoint| it.market == market && it.socket == method;
    ENDPOINTS.iter().find(is_it)
}

impl Endpoint {
    pub(crate) fn weight(&self, params: &Params) -> u32 {
        match params.get("symbol") {
            Some(_) => self.weight.0,
            None => self.weight.1,
        }
    }

    /// Whether faults that strike trading strike it.
    pub(crate) fn is_trading(&self) -> bool {
        matches!(self.act, Act::Place | Act::Change)
    }

    /// Does what is asked for an account whose request has been authenticated.
    pub(crate) fn run(
        &self,
        core: &mut Core,
        id: AccountId,
        may: Permissions,
        params: &Params,
    ) -> Result<Value, ApiError> {
        if self.is_trading() && !may.may_trade(self.market) {
            return Err(auth::forbidden());
        }
        if self.act == Act::Place {
            let orders = core.venue.trading.orders(self.market);
            let counted = orders.charge(id, 1, unix_now_ms());
            counted.map_err(|full| too_many(&full))?;
        }
        let now_ms = core.clock.now_ms();
        // What the clients' clocks may have seen already has to have happened.
        let mut call = Call {
            core,
            id,
            may,
            market: self.market,
            params,
            now_ms,
        };
        (self.handle)(&mut call)
    }
}

/// The refusal of one order too many; the status tells a limit from an error.
fn too_many(full: &TooMany) -> ApiError {
    let span = match full.limit.window_ms {
        10_000 => "10 SECOND",
        60_000 => "1 MINUTE",
        _ => "1 DAY",
    };
    let most = full.limit.most;
    let msg = format!("Too many new orders; current limit is {most} orders per {span}.");
    ApiError {
        status: 429,
        ..ApiError::new(-1015, msg)
    }
}

/// Answers a REST request of an account.
pub(crate) async fn answer(
    exchange: &Exchange,
    endpoint: &Endpoint,
    address: IpAddr,
    key: Option<&str>,
    query: &str,
    body: &str,
) -> Answer {
    let market = endpoint.market;
    let params = Params::parse_both(query, body);
    let symbol = params.as_ref().ok().and_then(|params| params.get("symbol"));
    let symbol = symbol.map(str::to_owned);
    let symbol = symbol.as_deref();
    if let Some(reply) = rest::faulty(exchange, market, endpoint.path, symbol).await {
        return response(reply);
    }
    let params = match params {
        Ok(params) => params,
        Err(error) => return response(Reply::error(&error)),
    };
    let weight = endpoint.weight(&params);
    let used = match rest::charge(exchange, market, address, weight, false) {
        Ok(used) => used,
        Err(reply) => return response(*reply),
    };
    let act = || {
        let mut core = exchange.core.lock();
        // The exchange acts on what has happened until now.
        core.run_to_now();
        let (id, may) = {
            let (id, key) = auth::find(&core.accounts, key)?;
            if endpoint.act != Act::Open {
                let now_ms = core.clock.now_ms();
                auth::check_rest(key, query, body, &params, now_ms)?;
            }
            (id, key.may)
        };
        let result = endpoint.run(&mut core, id, may, &params);
        let counts = match endpoint.act {
            Act::Place => core.venue.trading.orders(market).used(id, unix_now_ms()),
            _ => Vec::new(),
        };
        Ok((result, counts))
    };
    let carried = match endpoint.is_trading() {
        true => server::carry_out(exchange, market, endpoint.path, symbol, act).await,
        false => Carried::Done(act()),
    };
    let (result, counts) = match carried {
        Carried::Cut => return server::cut(),
        Carried::Failed(fault) => {
            return response(rest::fault_reply(
                market,
                fault.status,
                fault.retry_after_secs,
                0,
            ));
        }
        Carried::Done(Ok(done)) => done,
        Carried::Done(Err(error)) => (Err(error), Vec::new()),
    };
    let mut reply = match result {
        Ok(value) => Reply::new(200, value.to_string()),
        Err(error) => Reply::error(&error),
    };
    if reply.status == 429 {
        reply.retry_after_secs = Some(10 - (unix_now_ms() / 1_000).rem_euclid(10) as u64);
    }
    reply.used_weight = Some(used);
    reply.order_counts = counts
        .iter()
        .map(|(limit, used)| (limit.name, *used))
        .collect();
    server::answered(exchange, market, endpoint.path, symbol, &mut reply.body);
    response(reply)
}

/// A reply with its headers.
pub(crate) fn response(reply: Reply) -> Answer {
    let status = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = plain(status, reply.body);
    let headers = response.headers_mut();
    if let Some(used) = reply.used_weight {
        let used = HeaderValue::from(used);
        headers.insert("x-mbx-used-weight", used.clone());
        headers.insert("x-mbx-used-weight-1m", used);
    }
    for (window, count) in reply.order_counts {
        let name = format!("x-mbx-order-count-{}", window.to_ascii_lowercase());
        if let Ok(name) = header::HeaderName::from_bytes(name.as_bytes()) {
            headers.insert(name, HeaderValue::from(count));
        }
    }
    if let Some(seconds) = reply.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
