//! The REST API of market data.
//!
//! Source: `docs/v5/market/*`, `docs/v5/system-status`, `docs/v5/error` (2026-07-24). Nearly all
//! errors come with status 200; lists come newest first; numbers and times are text.

mod data;
mod list;
pub(super) mod query;

use crate::chaos::Target;
use crate::fault::FaultKind;
use crate::market::{Instrument, InstrumentIx, Segment};
use crate::venue::server::{self, Service as _, Trouble};

use super::server::Service;
use super::venue::Core;
pub(super) use query::Query;

/// What an address is told that has asked too much.
pub(super) const TOO_FREQUENT: &str = "403, access too frequent. please try again later";

/// An error: code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) i32, pub(super) String);

pub(super) fn refuse(text: &str) -> Refusal {
    Refusal(10_001, text.to_owned())
}

/// Answers a GET with a status and a body.
pub(super) async fn answer(service: &Service, path: &str, query: &str) -> (u16, String) {
    let query = Query::parse(query);
    let market = query.market();
    let symbol = query.get("symbol").map(str::to_owned);
    let symbol = symbol.as_deref();
    if let Some(trouble) = server::trouble(service, market, path, symbol).await {
        // Maintenance tells itself when asked.
        if trouble != Trouble::Down || path != "/v5/system/status" {
            return troubled(service, &trouble);
        }
    }
    let (now_ms, result) = {
        let mut core = service.core().lock();
        (core.clock.now_ms(), route(&mut core, path, &query))
    };
    let (status, mut body) = match result {
        Ok(result) => (200, envelope(0, "OK", &result, now_ms)),
        Err(None) => (404, envelope(10_017, "Route not found.", "{}", now_ms)),
        Err(Some(Refusal(code, text))) => (200, envelope(code, &text, "{}", now_ms)),
    };
    server::answered(service, market, path, symbol, &mut body);
    (status, body)
}

pub(super) fn envelope(code: i32, text: &str, result: &str, now_ms: i64) -> String {
    let text = serde_json::Value::from(text);
    format!(
        "{{\"retCode\":{code},\"retMsg\":{text},\"result\":{result},\"retExtInfo\":{{}},\
         \"time\":{now_ms}}}"
    )
}

/// The answer of a fault.
pub(super) fn troubled(service: &Service, trouble: &Trouble) -> (u16, String) {
    let now_ms = service.core().lock().clock.now_ms();
    match trouble {
        Trouble::Down => {
            let text = "Service is under maintenance.";
            (503, envelope(10_019, text, "{}", now_ms))
        }
        Trouble::Http(fault) => {
            let body = match fault.status {
                403 => TOO_FREQUENT.to_owned(),
                429 => envelope(10_006, "Too many visits!", "{}", now_ms),
                500.. => envelope(10_016, "Server error.", "{}", now_ms),
                _ => envelope(10_001, "params error", "{}", now_ms),
            };
            (fault.status, body)
        }
    }
}

/// The result of a path; `Err(None)` when it does not exist.
fn route(core: &mut Core, path: &str, query: &Query) -> Result<String, Option<Refusal>> {
    let result = match path {
        "/v5/market/time" => Ok(data::time(core)),
        "/v5/system/status" => Ok(data::status(core)),
        "/v5/market/instruments-info" => list::instruments(core, query),
        "/v5/market/kline" => data::klines(core, query),
        "/v5/market/orderbook" => book(core, path, query),
        "/v5/market/recent-trade" => data::trades(core, query),
        "/v5/market/tickers" => data::tickers(core, query),
        "/v5/market/funding/history" => data::funding(core, query),
        _ => return Err(None),
    };
    result.map_err(Some)
}

/// A book, of the past where a fault says so.
fn book(core: &mut Core, path: &str, query: &Query) -> Result<String, Refusal> {
    let ix = find(core, query)?;
    let default = match query.market() {
        Segment::Spot => 1,
        Segment::Linear => 25,
    };
    let most = query.limit(default, 1_000)?;
    let target = Target::request(query.market(), path, query.get("symbol"));
    let wanted = |kind| kind == FaultKind::StaleSnapshot;
    let fault = core.faults.strike(wanted, &target);
    core.hub.counters.faulted += u64::from(fault.is_some());
    let past = fault.and_then(|fault| core.past_depth(ix, fault.age).cloned());
    let mut depth = past.unwrap_or_else(|| core.market.depth(ix, most));
    depth.bids.truncate(most);
    depth.asks.truncate(most);
    data::book(core, ix, &depth)
}

/// The instrument of the mandatory symbol.
fn find(core: &Core, query: &Query) -> Result<InstrumentIx, Refusal> {
    let market = query.known_market()?;
    let symbol = query
        .get("symbol")
        .ok_or_else(|| refuse("params error: symbol invalid"))?;
    let ix = core.market.find(market, symbol);
    ix.ok_or_else(|| refuse("Not supported symbols"))
}

fn instrument(core: &Core, ix: InstrumentIx) -> Result<&Instrument, Refusal> {
    let it = core.instrument(ix);
    it.ok_or_else(|| refuse("Not supported symbols"))
}
