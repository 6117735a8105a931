//! The REST API: which request costs what, who may still ask, and where the answer comes from.

mod data;
mod params;

use std::net::IpAddr;

use hyper::StatusCode;

use super::server::Exchange;
use crate::market::Segment;
use crate::venue::limits::{Allowance, Verdict};
use crate::venue::server::{self, Answer, Trouble, plain};
pub(crate) use params::{ApiError, Params};

/// What a handler works on.
struct Ask<'a> {
    core: &'a super::venue::Core,
    params: &'a Params,
}

/// Endpoints after `/api/v5/`, and how many requests of an address each takes in two seconds.
const ENDPOINTS: [(&str, u32); 15] = [
    ("public/instruments", 20),
    ("public/time", 10),
    ("public/funding-rate", 20),
    ("public/funding-rate-history", 10),
    ("public/mark-price", 10),
    ("market/index-tickers", 20),
    ("market/books", 40),
    ("market/books-full", 10),
    ("market/candles", 40),
    ("market/history-candles", 20),
    ("market/trades", 100),
    ("market/history-trades", 20),
    ("market/ticker", 20),
    ("market/tickers", 20),
    ("system/status", 1),
];

/// Answers a request.
pub(crate) async fn answer(
    exchange: &Exchange,
    address: IpAddr,
    is_get: bool,
    path: &str,
    query: &str,
) -> Answer {
    let params = Params::parse(query);
    let symbol = params.get("instId");
    let market = market(symbol, &params);
    let (status, mut body) = match server::trouble(exchange, market, path, symbol).await {
        Some(Trouble::Http(fault)) => return troubled(Trouble::Http(fault)),
        Some(Trouble::Down) if path != "/api/v5/system/status" => {
            let error = ApiError::unavailable();
            (error.status, error.to_string())
        }
        _ => match serve(exchange, address, is_get, path, &params).await {
            Ok(rows) => (
                200,
                format!("{{\"code\":\"0\",\"data\":[{rows}],\"msg\":\"\"}}"),
            ),
            Err(error) => (error.status, error.to_string()),
        },
    };
    server::answered(exchange, market, path, symbol, &mut body);
    plain(self::status(status), body)
}

/// The market that a request is about.
pub(crate) fn market(symbol: Option<&str>, params: &Params) -> Segment {
    let is_swap = symbol.is_some_and(|name| name.ends_with("-SWAP"))
        || params.get("instType") == Some("SWAP");
    match is_swap {
        true => Segment::Linear,
        false => Segment::Spot,
    }
}

/// The answer that a fault makes.
pub(crate) fn troubled(trouble: Trouble) -> Answer {
    let Trouble::Http(fault) = trouble else {
        let error = ApiError::unavailable();
        return plain(status(error.status), error.to_string());
    };
    let error = match fault.status {
        429 => ApiError::too_many(),
        status => ApiError {
            status,
            ..ApiError::unavailable()
        },
    };
    let mut response = plain(status(error.status), error.to_string());
    // OKX tells no time to wait; a fault may.
    if fault.status == 429 && fault.retry_after_secs > 1 {
        let wait = hyper::header::HeaderValue::from(fault.retry_after_secs);
        response
            .headers_mut()
            .insert(hyper::header::RETRY_AFTER, wait);
    }
    response
}

/// Rows of the instruments, for an account.
pub(crate) fn instruments(
    core: &super::venue::Core,
    params: &Params,
) -> Result<Vec<serde_json::Value>, ApiError> {
    let rows = data::instruments(&Ask { core, params })?;
    Ok(serde_json::from_str(&format!("[{rows}]")).unwrap_or_default())
}

fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

async fn serve(
    exchange: &Exchange,
    address: IpAddr,
    is_get: bool,
    path: &str,
    params: &Params,
) -> Result<String, ApiError> {
    let name = path.strip_prefix("/api/v5/").unwrap_or_default();
    let found = ENDPOINTS.iter().find(|(endpoint, _)| *endpoint == name);
    let Some((endpoint, most)) = found.filter(|_| is_get) else {
        return Err(ApiError::not_found());
    };
    let window_ms = if *endpoint == "system/status" {
        5_000
    } else {
        2_000
    };
    let allowance = Allowance::new(*most, window_ms);
    let verdict = exchange
        .counter
        .lock()
        .charge(address, endpoint, allowance, 1);
    if let Verdict::TooMany { .. } = verdict {
        return Err(ApiError::too_many());
    }
    match *endpoint {
        "market/books" | "market/books-full" => data::books(exchange, path, params).await,
        endpoint => {
            let core = exchange.core.lock();
            let ask = Ask {
                core: &core,
                params,
            };
            route(&ask, endpoint)
        }
    }
}

fn route(ask: &Ask<'_>, endpoint: &str) -> Result<String, ApiError> {
    match endpoint {
        "public/instruments" => data::instruments(ask),
        "public/time" => Ok(format!("{{\"ts\":\"{}\"}}", ask.core.clock.now_ms())),
        "public/funding-rate" => data::funding_rate(ask),
        "public/funding-rate-history" => data::funding_history(ask),
        "public/mark-price" => data::mark_price(ask),
        "market/index-tickers" => data::index(ask),
        "market/candles" => data::candles(ask, 300, Some(1_440)),
        "market/history-candles" => data::candles(ask, 100, None),
        "market/trades" => data::trades(ask),
        "market/history-trades" => data::history_trades(ask),
        "market/ticker" | "market/tickers" => data::tickers(ask, endpoint == "market/ticker"),
        "system/status" => Ok(data::maintenance(ask)),
        _ => Err(ApiError::not_found()),
    }
}
