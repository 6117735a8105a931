//! The REST API: which request costs what, who may still ask, and where the answer comes from.

mod data;
pub(crate) mod info;
mod params;
mod price;

use std::net::IpAddr;
use std::time::Duration;

use crate::fault::FaultKind;
use crate::market::{InstrumentIx, Segment};
use crate::venue::server::{self, Trouble};

use super::Role;
use super::core::{Core, Source};
use super::limits::Verdict;
use super::server::Exchange;
pub(crate) use params::{ApiError, Params};

pub(crate) use data::list;
pub(crate) use price::average_price;

/// Longest wait of an edge snapshot for the next diff event.
const EDGE_WAIT: Duration = Duration::from_secs(3);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) used_weight: Option<u32>,
    pub(crate) retry_after_secs: Option<u64>,
    /// Counts of orders by window, for the headers.
    pub(crate) order_counts: Vec<(&'static str, u32)>,
}

impl Reply {
    pub(crate) fn new(status: u16, body: String) -> Self {
        Self {
            status,
            body,
            used_weight: None,
            retry_after_secs: None,
            order_counts: Vec::new(),
        }
    }

    pub(crate) fn error(error: &ApiError) -> Self {
        Self::new(error.status, error.to_string())
    }
}

/// What a handler works on.
struct Ask<'a> {
    core: &'a Core,
    market: Segment,
    params: &'a Params,
}

impl Ask<'_> {
    fn is_spot(&self) -> bool {
        self.market == Segment::Spot
    }

    /// Where the data of the mandatory `symbol` comes from.
    fn source(&self) -> Result<Source, ApiError> {
        self.source_of(self.params.required_symbol("symbol")?)
    }

    fn source_of(&self, name: &str) -> Result<Source, ApiError> {
        let symbol = self
            .core
            .find(self.market, name)
            .ok_or_else(ApiError::invalid_symbol)?;
        Ok(symbol.source)
    }
}

/// Answers a GET.
pub(crate) async fn answer(
    exchange: &Exchange,
    role: Role,
    address: IpAddr,
    path: &str,
    query: &str,
) -> Reply {
    let market = match role {
        Role::Rest(market) => market,
        _ => Segment::Spot,
    };
    let params = Params::parse(query);
    let symbol = params
        .as_ref()
        .ok()
        .and_then(|params| params.get("symbol"))
        .map(str::to_owned);
    let symbol = symbol.as_deref();
    if let Some(reply) = faulty(exchange, market, path, symbol).await {
        return reply;
    }
    let mut reply = match params {
        Ok(params) => serve(exchange, role, market, address, path, &params).await,
        Err(error) => Reply::error(&error),
    };
    server::answered(exchange, market, path, symbol, &mut reply.body);
    reply
}

/// The answer of a fault, if one strikes; a slow one is waited for.
pub(crate) async fn faulty(
    exchange: &Exchange,
    market: Segment,
    path: &str,
    symbol: Option<&str>,
) -> Option<Reply> {
    match server::trouble(exchange, market, path, symbol).await? {
        Trouble::Http(fault) => {
            let now_ms = exchange.core.lock().now_ms();
            let until_ms = now_ms + fault.retry_after_secs as i64 * 1_000;
            let (status, retry_after_secs) = (fault.status, fault.retry_after_secs);
            Some(fault_reply(market, status, retry_after_secs, until_ms))
        }
        Trouble::Down if path == "/sapi/v1/system/status" => None,
        Trouble::Down => Some(Reply::new(
            503,
            "{\"code\":-10001,\"msg\":\"System is under maintenance.\"}".to_owned(),
        )),
    }
}

pub(crate) fn fault_reply(
    market: Segment,
    status: u16,
    retry_after_secs: u64,
    until_ms: i64,
) -> Reply {
    let body = match status {
        429 => too_many(market, None),
        418 => banned(until_ms),
        403 => "<html><head><title>403 Forbidden</title></head></html>".to_owned(),
        503 if market == Segment::Linear => {
            "{\"code\":-1000,\"msg\":\"Unknown error, please check your request or try again \
             later.\"}"
                .to_owned()
        }
        500.. => {
            "{\"code\":-1000,\"msg\":\"An unknown error occurred while processing the request.\"}"
                .to_owned()
        }
        _ => "{\"code\":-1000,\"msg\":\"Bad request.\"}".to_owned(),
    };
    let limited = matches!(status, 418 | 429);
    Reply {
        retry_after_secs: limited.then_some(retry_after_secs),
        ..Reply::new(status, body)
    }
}

fn too_many(market: Segment, limit: Option<u32>) -> String {
    let limit = limit.unwrap_or(if market == Segment::Spot {
        6_000
    } else {
        2_400
    });
    format!(
        "{{\"code\":-1003,\"msg\":\"Too many requests; current limit of IP is {limit} requests per \
         minute. Please use WebSocket Streams for live updates to avoid polling the API.\"}}"
    )
}

fn banned(until_ms: i64) -> String {
    format!(
        "{{\"code\":-1003,\"msg\":\"Way too much request weight used; IP banned until {until_ms}. \
         Please use WebSocket Streams for live updates to avoid bans.\"}}"
    )
}

/// Weight of a request by path and parameters; `None` for a path that does not exist.
fn weight(role: Role, path: &str, params: &Params) -> Option<u32> {
    let limit = |default: i64| params.number("limit").ok().flatten().unwrap_or(default);
    let one = params.get("symbol").is_some();
    let several = params.symbols().ok().flatten().map(|names| names.len());
    let (segment, name) = match role {
        Role::Rest(Segment::Spot) if path == "/sapi/v1/system/status" => return Some(1),
        Role::Rest(Segment::Spot) | Role::DataRest => {
            (Segment::Spot, path.strip_prefix("/api/v3/")?)
        }
        Role::Rest(Segment::Linear) => (Segment::Linear, path.strip_prefix("/fapi/v1/")?),
        Role::CoinRest => {
            let name = path.strip_prefix("/dapi/v1/")?;
            return matches!(name, "ping" | "time" | "exchangeInfo").then_some(1);
        }
        Role::Streams(_) | Role::Api(_) => return None,
    };
    Some(match (segment, name) {
        (_, "ping" | "time") => 1,
        (Segment::Spot, "exchangeInfo") => 20,
        (Segment::Spot, "depth") => match limit(100) {
            ..=100 => 5,
            101..=500 => 25,
            501..=1_000 => 50,
            _ => 250,
        },
        (Segment::Spot, "trades" | "historicalTrades") => 25,
        (Segment::Spot, "aggTrades") => 4,
        (Segment::Spot, "klines" | "uiKlines" | "avgPrice") => 2,
        (Segment::Spot, "ticker/24hr") => match (one, several) {
            (true, _) | (_, Some(..=20)) => 2,
            (_, Some(..=100)) => 40,
            _ => 80,
        },
        (Segment::Spot, "ticker/price" | "ticker/bookTicker") => 4 - 2 * u32::from(one),
        (Segment::Linear, "exchangeInfo") => 1,
        (Segment::Linear, "depth") => match limit(500) {
            ..=50 => 2,
            51..=100 => 5,
            101..=500 => 10,
            _ => 20,
        },
        (Segment::Linear, "trades") => 5,
        (Segment::Linear, "historicalTrades" | "aggTrades") => 20,
        (Segment::Linear, "klines" | "markPriceKlines" | "indexPriceKlines") => match limit(500) {
            ..=99 => 1,
            100..=499 => 2,
            500..=1_000 => 5,
            _ => 10,
        },
        (Segment::Linear, "fundingRate" | "fundingInfo") => 0,
        (Segment::Linear, "premiumIndex") => {
            if one {
                1
            } else {
                10
            }
        }
        (Segment::Linear, "ticker/24hr") => {
            if one {
                1
            } else {
                40
            }
        }
        (Segment::Linear, "ticker/price") => {
            if one {
                1
            } else {
                2
            }
        }
        (Segment::Linear, "ticker/bookTicker") => {
            if one {
                2
            } else {
                5
            }
        }
        _ => return None,
    })
}

/// Charges a request's weight; answers with what is used, or with the refusal.
pub(crate) fn charge(
    exchange: &Exchange,
    market: Segment,
    address: IpAddr,
    weight: u32,
    is_funding: bool,
) -> Result<u32, Box<Reply>> {
    let verdict = exchange
        .limiter(market)
        .lock()
        .charge(address, weight, is_funding);
    match verdict {
        Verdict::Pass { used } => Ok(used),
        Verdict::TooMany {
            used,
            retry_after_secs,
        } => Err(Box::new(Reply {
            used_weight: Some(used),
            retry_after_secs: Some(retry_after_secs),
            ..Reply::new(429, too_many(market, Some(exchange.weight_limit(market))))
        })),
        Verdict::Banned {
            until_ms,
            retry_after_secs,
        } => Err(Box::new(Reply {
            retry_after_secs: Some(retry_after_secs),
            ..Reply::new(418, banned(until_ms))
        })),
    }
}

async fn serve(
    exchange: &Exchange,
    role: Role,
    market: Segment,
    address: IpAddr,
    path: &str,
    params: &Params,
) -> Reply {
    let Some(weight) = weight(role, path, params) else {
        return Reply::error(&ApiError::not_found());
    };
    let is_funding = path.starts_with("/fapi/v1/funding");
    let used = match charge(exchange, market, address, weight, is_funding) {
        Ok(used) => used,
        Err(reply) => return *reply,
    };
    let result = if path.ends_with("/depth") {
        depth(exchange, market, path, params).await
    } else {
        let core = exchange.core.lock();
        route(
            &Ask {
                core: &core,
                market,
                params,
            },
            role,
            path,
        )
    };
    let mut reply = match result {
        Ok(body) => Reply::new(200, body),
        Err(error) => Reply::error(&error),
    };
    reply.used_weight = Some(used);
    reply
}

fn route(ask: &Ask<'_>, role: Role, path: &str) -> Result<String, ApiError> {
    let now_ms = ask.core.clock.now_ms();
    if path == "/sapi/v1/system/status" {
        return Ok(match ask.core.is_down(Segment::Spot) {
            false => "{\"status\":0,\"msg\":\"normal\"}".to_owned(),
            true => "{\"status\":1,\"msg\":\"system_maintenance\"}".to_owned(),
        });
    }
    // After the version.
    let name = path.splitn(4, '/').nth(3).unwrap_or_default();
    match name {
        "ping" => Ok("{}".to_owned()),
        "time" => Ok(format!("{{\"serverTime\":{now_ms}}}")),
        "exchangeInfo" if role == Role::CoinRest => Ok(info::coin(now_ms)),
        "exchangeInfo" if ask.is_spot() => info::spot(ask),
        "exchangeInfo" => info::linear(ask),
        "trades" => data::trades(ask, false),
        "historicalTrades" => data::trades(ask, true),
        "aggTrades" => data::agg_trades(ask),
        "klines" | "uiKlines" => data::klines(ask, data::Bars::Trades),
        "markPriceKlines" => data::klines(ask, data::Bars::Mark),
        "indexPriceKlines" => data::klines(ask, data::Bars::Index),
        "avgPrice" => price::avg_price(ask),
        "ticker/24hr" => price::day(ask),
        "ticker/price" => price::last(ask),
        "ticker/bookTicker" => price::touch(ask),
        "premiumIndex" => price::premium_index(ask),
        "fundingRate" => data::funding_rate(ask),
        "fundingInfo" => Ok(info::funding(ask)),
        _ => Err(ApiError::not_found()),
    }
}

/// Depth is apart from the others because faults may make it wait.
async fn depth(
    exchange: &Exchange,
    market: Segment,
    path: &str,
    params: &Params,
) -> Result<String, ApiError> {
    let (source, limit) = {
        let core = exchange.core.lock();
        let ask = Ask {
            core: &core,
            market,
            params,
        };
        (ask.source()?, data::depth_limit(&ask)?)
    };
    let symbol = params.get("symbol");
    let fault = server::snapshot_fault(exchange, market, path, symbol);
    let ix = match source {
        Source::Market(ix) => ix,
        Source::Tape(at) => {
            let core = exchange.core.lock();
            let tape = core
                .venue
                .tapes
                .get(&market)
                .ok_or_else(ApiError::invalid_symbol)?;
            return Ok(tape.depth(at, limit));
        }
    };
    match fault.as_ref().map(|fault| (fault.kind, fault.age)) {
        Some((FaultKind::StaleSnapshot, age)) => {
            let core = exchange.core.lock();
            if let Some(mut depth) = core.past_depth(ix, age).cloned() {
                depth.bids.truncate(limit);
                depth.asks.truncate(limit);
                return data::depth_body(&core, ix, &depth);
            }
        }
        Some((FaultKind::EdgeSnapshot, _)) => {
            let deadline = tokio::time::Instant::now() + EDGE_WAIT;
            while tokio::time::Instant::now() < deadline {
                if let Some(answer) = at_edge(exchange, ix, limit) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        _ => {}
    }
    let core = exchange.core.lock();
    data::depth_body(&core, ix, &core.market.depth(ix, limit))
}

/// The book, if it is exactly where the last diff event left it.
fn at_edge(
    exchange: &Exchange,
    ix: InstrumentIx,
    limit: usize,
) -> Option<Result<String, ApiError>> {
    let core = exchange.core.lock();
    core.is_at_edge(ix)
        .then(|| data::depth_body(&core, ix, &core.market.depth(ix, limit)))
}
