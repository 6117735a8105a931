//! The REST API of public data.
//!
//! Source: REST pages of the Advanced Trade API and the official Python SDK 1.8.4 (2026-06).
//! Numbers and times are text, lists come newest first.

use serde_json::{Value, json};

use crate::chaos::Target;
use crate::fault::FaultKind;
use crate::market::{
    Depth, Fixed, Instrument, InstrumentIx, Interval, Price, Qty, Segment, TimeRange, Trade,
};
use crate::venue::percent_decode;
use crate::venue::server::{self, Service as _, Trouble};

use super::server::Service;
use super::venue::Core;
use super::{encode, products};

/// Public twins of an account's paths.
const MARKET: &str = "/api/v3/brokerage/market/";
/// What an address is told that has asked too much.
pub(super) const TOO_MANY: &str =
    "{\"errors\":[{\"id\":\"rate_limit_exceeded\",\"message\":\"Too many requests\"}]}";
/// Most bars of an answer.
const BARS_MAX: usize = 350;
/// Most trades of an answer.
const TRADES_MAX: usize = 1_000;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: String,
    pub(super) retry_after_secs: Option<u64>,
}

impl Reply {
    pub(super) fn new(status: u16, body: String) -> Self {
        Self {
            status,
            body,
            retry_after_secs: None,
        }
    }
}

/// Why a request has no answer: status, name, text.
pub(super) type Refusal = (u16, &'static str, &'static str);

const BAD_PRODUCT: Refusal = (404, "NOT_FOUND", "valid product_id is required");
pub(super) const NO_PATH: Refusal = (404, "NOT_FOUND", "Not Found");

pub(super) const fn invalid(text: &'static str) -> Refusal {
    (400, "INVALID_ARGUMENT", text)
}

pub(super) fn refusal((_, name, text): Refusal) -> String {
    json!({ "error": name, "error_details": text, "message": text }).to_string()
}

pub(super) fn not_found() -> String {
    refusal(NO_PATH)
}

/// The parameters of a request.
#[derive(Debug)]
pub(super) struct Query<'a>(Vec<(&'a str, String)>);

impl<'a> Query<'a> {
    pub(super) fn parse(text: &'a str) -> Self {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        Self(
            pairs
                .map(|(name, value)| (name, percent_decode(value)))
                .collect(),
        )
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(known, _)| *known == name);
        pairs
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let number = self.get(name).map(str::parse::<i64>).transpose();
        number.map_err(|_| invalid("a parameter is not a number"))
    }

    pub(super) fn limit(&self, default: usize, most: usize) -> Result<usize, Refusal> {
        let limit = self.number("limit")?.map(usize::try_from).transpose();
        let limit = limit.map_err(|_| invalid("limit is negative"))?;
        Ok(limit.unwrap_or(default).clamp(1, most))
    }
}

/// Answers a GET.
pub(super) async fn answer(service: &Service, path: &str, query: &str) -> Reply {
    let query = Query::parse(query);
    let product = product_of(path, &query).map(str::to_owned);
    let symbol = product.as_deref();
    if let Some(trouble) = server::trouble(service, Segment::Spot, path, symbol).await {
        return troubled(trouble);
    }
    let answer = {
        let mut core = service.core().lock();
        route(&mut core, path, &query, symbol)
    };
    let mut reply = match answer {
        Ok(body) => Reply::new(200, body.to_string()),
        Err(error) => Reply::new(error.0, refusal(error)),
    };
    server::answered(service, Segment::Spot, path, symbol, &mut reply.body);
    reply
}

/// The answer that a fault makes.
pub(super) fn troubled(trouble: Trouble) -> Reply {
    match trouble {
        Trouble::Http(fault) => {
            let is_limit = matches!(fault.status, 418 | 429);
            Reply {
                retry_after_secs: is_limit.then_some(fault.retry_after_secs),
                ..Reply::new(fault.status, fault_body(fault.status))
            }
        }
        Trouble::Down => {
            let text = "Service is under maintenance";
            Reply::new(503, refusal((503, "UNAVAILABLE", text)))
        }
    }
}

/// The product that a request is about.
fn product_of<'a>(path: &'a str, query: &'a Query<'_>) -> Option<&'a str> {
    let rest = path.strip_prefix(MARKET)?;
    match rest.strip_prefix("products/") {
        Some(rest) => rest.split('/').next(),
        None => query.get("product_id"),
    }
}

fn fault_body(status: u16) -> String {
    match status {
        401 => "Unauthorized\n".to_owned(),
        418 | 429 => TOO_MANY.to_owned(),
        500.. => refusal((status, "INTERNAL", "internal server error")),
        _ => refusal(invalid("bad request")),
    }
}

fn route(
    core: &mut Core,
    path: &str,
    query: &Query<'_>,
    product: Option<&str>,
) -> Result<Value, Refusal> {
    match path {
        "/api/v3/brokerage/time" => return Ok(time(core)),
        "/v2/time" => return Ok(old_time(core)),
        "/v2/currencies" => return Ok(products::currencies()),
        "/v2/currencies/crypto" => return Ok(products::coins()),
        "/v2/exchange-rates" => return Ok(products::rates(core)),
        _ => {}
    }
    let rest = path.strip_prefix(MARKET).ok_or(NO_PATH)?;
    if rest == "products" {
        return list(core, query);
    }
    let product = product.ok_or(BAD_PRODUCT)?;
    let ix = || core.product(product).ok_or(BAD_PRODUCT);
    match (rest, rest.rsplit_once('/')) {
        ("product_book", _) => {
            let ix = ix()?;
            book(core, ix, product, path, query)
        }
        (_, Some((_, "candles"))) => candles(core, ix()?, query),
        (_, Some((_, "ticker"))) => trades(core, ix()?, query),
        (_, Some(("products", _))) => products::one(core, product).ok_or(BAD_PRODUCT),
        _ => Err(NO_PATH),
    }
}

fn time(core: &Core) -> Value {
    let now_ms = core.clock.now_ms();
    json!({
        "iso": encode::time(now_ms.div_euclid(1_000) * 1_000_000),
        "epochSeconds": now_ms.div_euclid(1_000).to_string(),
        "epochMillis": now_ms.to_string(),
    })
}

/// The clock in the form of the older interface, which is the one that ccxt reads.
fn old_time(core: &Core) -> Value {
    let now_s = core.clock.now_ms().div_euclid(1_000);
    json!({ "data": { "iso": encode::time(now_s * 1_000_000), "epoch": now_s } })
}

pub(super) fn list(core: &mut Core, query: &Query<'_>) -> Result<Value, Refusal> {
    let is_future = match query.get("product_type") {
        Some("FUTURE") => true,
        None | Some("SPOT") => false,
        Some(_) => return Err(invalid("unknown product_type")),
    };
    let mut rows = products::rows(core, is_future);
    let wanted: Vec<&str> = query.all("product_ids").collect();
    if !wanted.is_empty() {
        rows.retain(|row| wanted.iter().any(|id| row["product_id"] == *id));
    }
    let skipped = query.number("offset")?.unwrap_or(0).max(0);
    let skipped = usize::try_from(skipped).unwrap_or(usize::MAX);
    let limit = query.limit(usize::MAX, usize::MAX)?;
    let rows: Vec<Value> = rows.into_iter().skip(skipped).take(limit).collect();
    Ok(json!({
        "num_products": rows.len(),
        "products": rows,
        "pagination": {
            "prev_cursor": "",
            "next_cursor": "",
            "has_next": false,
            "has_prev": false,
        },
    }))
}

fn instrument(core: &Core, ix: InstrumentIx) -> Result<&Instrument, Refusal> {
    core.market.instrument(ix).ok_or(BAD_PRODUCT)
}

/// A book, of the past where a fault says so.
fn book(
    core: &mut Core,
    ix: InstrumentIx,
    product: &str,
    path: &str,
    query: &Query<'_>,
) -> Result<Value, Refusal> {
    let limit = query.limit(usize::MAX, usize::MAX)?;
    let target = Target::request(Segment::Spot, path, Some(product));
    let wanted = |kind| kind == FaultKind::StaleSnapshot;
    let fault = core.faults.strike(wanted, &target);
    core.hub.counters.faulted += u64::from(fault.is_some());
    let past = fault.and_then(|fault| core.past_depth(ix, fault.age).cloned());
    let mut depth = past.unwrap_or_else(|| core.market.depth(ix, limit));
    depth.bids.truncate(limit);
    depth.asks.truncate(limit);
    let it = instrument(core, ix)?;
    let last = core.market.trades(ix, 1).pop();
    Ok(book_body(it, product, &depth, last.as_ref()))
}

fn book_body(it: &Instrument, product: &str, depth: &Depth, last: Option<&Trade>) -> Value {
    let text = |number: Fixed| number.trimmed().to_string();
    let rows = |rows: &[(Price, Qty)]| -> Vec<Value> {
        let row = |(price, qty): &(Price, Qty)| json!({ "price": text(it.price(*price)), "size": text(it.qty(*qty)) });
        rows.iter().map(row).collect()
    };
    let (bid, ask) = (depth.bids.first(), depth.asks.first());
    let touch = bid.zip(ask).map(|((bid, _), (ask, _))| (bid.0, ask.0));
    let halves = |ticks: i64| {
        let mantissa = i128::from(ticks) * it.tick.mantissa() * 5;
        text(Fixed::new(mantissa, it.tick.scale() + 1))
    };
    let spread_bps = touch.map(|(bid, ask)| {
        let share = i128::from(ask - bid) * 20_000 * 10_i128.pow(8);
        text(Fixed::new(share / i128::from(bid + ask).max(1), 8))
    });
    json!({
        "pricebook": {
            "product_id": product,
            "bids": rows(&depth.bids),
            "asks": rows(&depth.asks),
            "time": encode::time(depth.ts_us),
        },
        "last": last.map(|trade| text(it.price(trade.price))).unwrap_or_default(),
        "mid_market": touch.map(|(bid, ask)| halves(bid + ask)).unwrap_or_default(),
        "spread_bps": spread_bps.unwrap_or_default(),
        "spread_absolute": touch.map(|(bid, ask)| halves(2 * (ask - bid))).unwrap_or_default(),
    })
}

fn granularity(name: &str) -> Option<Interval> {
    Some(match name {
        "ONE_MINUTE" => Interval::M1,
        "FIVE_MINUTE" => Interval::M5,
        "FIFTEEN_MINUTE" => Interval::M15,
        "THIRTY_MINUTE" => Interval::M30,
        "ONE_HOUR" => Interval::H1,
        "TWO_HOUR" => Interval::H2,
        "SIX_HOUR" => Interval::H6,
        "ONE_DAY" => Interval::D1,
        _ => return None,
    })
}

/// Bars of a span of at most [`BARS_MAX`] of them; those without trades don't exist.
fn candles(core: &Core, ix: InstrumentIx, query: &Query<'_>) -> Result<Value, Refusal> {
    let interval = query.get("granularity").and_then(granularity);
    let interval = interval.ok_or(invalid("unsupported granularity"))?;
    let limit = query.limit(BARS_MAX, BARS_MAX)?;
    let (Some(start), Some(end)) = (query.number("start")?, query.number("end")?) else {
        return Err(invalid("start and end are required"));
    };
    let length = interval.minutes().unwrap_or(1) * 60;
    let is_span = start >= 0 && start <= end;
    if !is_span || (end - start) / length > BARS_MAX as i64 {
        return Err(invalid(
            "start and end argument is invalid - number of candles requested should be less than \
             350",
        ));
    }
    let range = TimeRange {
        start_ms: Some(start * 1_000),
        end_ms: Some(end.saturating_mul(1_000)),
        limit: BARS_MAX + 1,
    };
    let it = instrument(core, ix)?;
    let bars = core.market.klines(ix, interval, range);
    let rows: Vec<String> = bars
        .iter()
        .rev()
        .filter(|bar| bar.trades > 0)
        .take(limit)
        .map(|bar| encode::candle(it, bar, None))
        .collect();
    raw("candles", &rows, json!({}))
}

fn trades(core: &Core, ix: InstrumentIx, query: &Query<'_>) -> Result<Value, Refusal> {
    let limit = query.limit(100, TRADES_MAX)?;
    let (start, end) = (query.number("start")?, query.number("end")?);
    let it = instrument(core, ix)?;
    let second =
        |bound: Option<i64>, default| bound.map_or(default, |s| s.saturating_mul(1_000_000));
    let (from, to) = (second(start, i64::MIN), second(end, i64::MAX));
    let all = match (start, end) {
        (None, None) => core.market.trades(ix, limit),
        _ => core.market.trades(ix, usize::MAX),
    };
    let rows: Vec<String> = all
        .iter()
        .rev()
        .filter(|trade| (from..=to).contains(&trade.ts_us))
        .take(limit)
        .map(|trade| encode::trade(it, trade))
        .collect();
    let bbo = core.market.bbo(ix);
    let text = |side: Option<(Price, Qty)>| {
        side.map(|(price, _)| it.price(price).trimmed().to_string())
            .unwrap_or_default()
    };
    let touch = json!({ "best_bid": text(bbo.bid), "best_ask": text(bbo.ask) });
    raw("trades", &rows, touch)
}

/// An answer with a list of rows that have been written already.
fn raw(name: &str, rows: &[String], mut rest: Value) -> Result<Value, Refusal> {
    let rows: Result<Vec<Value>, _> = rows.iter().map(|row| serde_json::from_str(row)).collect();
    rest[name] = Value::Array(rows.map_err(|_| (500, "INTERNAL", "internal server error"))?);
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read() {
        let query = Query::parse("product_ids=A&limit=5&product_ids=B%2fC&start=&end=x");
        assert_eq!(query.all("product_ids").collect::<Vec<_>>(), ["A", "B/C"]);
        assert_eq!(query.limit(100, 1_000), Ok(5));
        assert_eq!(query.number("start"), Ok(None));
        assert!(query.number("end").is_err());
        let path = "/api/v3/brokerage/market/products/BTC-USD/ticker";
        assert_eq!(product_of(path, &query), Some("BTC-USD"));
        let path = "/api/v3/brokerage/market/product_book";
        let query = Query::parse("product_id=ETH-USD");
        assert_eq!(product_of(path, &query), Some("ETH-USD"));
    }
}
