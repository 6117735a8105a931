//! Answers out of the market. Rows come newest first; `after` is older than, `before` newer than.

use std::time::Duration;

use super::super::encode::{self, Listed};
use super::super::listing::state;
use super::super::server::Exchange;
use super::super::stream::{self, Kind};
use super::super::venue::Core;
use super::Ask;
use super::params::{ApiError, Params};
use crate::fault::FaultKind;
use crate::market::{Depth, InstrumentIx, Segment, Status, TimeRange, Trade};
use crate::venue::server;

/// Longest wait of an edge snapshot for the next push.
const EDGE_WAIT: Duration = Duration::from_secs(3);
/// Spans in which the newest trade before a time is looked for.
const LOOK_BACK_MS: [i64; 4] = [10_000, 60_000, 600_000, 7_200_000];
/// Most aggregates that one look into the market gives.
const AGGS_MAX: usize = 5_000;

impl Ask<'_> {
    fn instrument(&self) -> Result<(InstrumentIx, Listed<'_>), ApiError> {
        instrument(self.core, self.params.required("instId")?)
    }

    /// Times as exclusive bounds: `before` < time < `after`.
    fn bounds(&self) -> Result<(i64, i64), ApiError> {
        let before = self.params.number("before")?.unwrap_or(-1);
        let after = self.params.number("after")?.unwrap_or(i64::MAX);
        Ok((before, after))
    }

    fn segment(&self) -> Result<Option<Segment>, ApiError> {
        match self.params.required("instType")? {
            "SPOT" | "MARGIN" => Ok(Some(Segment::Spot)),
            "SWAP" => Ok(Some(Segment::Linear)),
            // None are listed.
            "FUTURES" | "OPTION" | "EVENTS" => Ok(None),
            _ => Err(ApiError::wrong("instType")),
        }
    }
}

fn instrument<'c>(core: &'c Core, name: &str) -> Result<(InstrumentIx, Listed<'c>), ApiError> {
    let (ix, _) = core
        .venue
        .find(name)
        .ok_or_else(ApiError::unknown_instrument)?;
    let listed = core.listed(ix).ok_or_else(ApiError::unknown_instrument)?;
    Ok((ix, listed))
}

pub(super) fn instruments(ask: &Ask<'_>) -> Result<String, ApiError> {
    let Some(segment) = ask.segment()? else {
        return Ok(String::new());
    };
    let (one, family) = (ask.params.get("instId"), ask.params.get("instFamily"));
    let is_margin = ask.params.get("instType") == Some("MARGIN");
    let rows = ask.core.all(segment).filter(|(_, listed)| {
        one.is_none_or(|name| name == listed.it.symbol)
            && family.is_none_or(|name| name == listed.it.pair)
            && !(is_margin && listed.terms.lever.is_none())
    });
    let rows: Vec<String> = rows.map(|(_, listed)| row(&listed)).collect();
    if rows.is_empty() && one.is_some() {
        return Err(ApiError::unknown_instrument());
    }
    Ok(rows.join(","))
}

fn row(listed: &Listed<'_>) -> String {
    let (it, terms) = (listed.it, listed.terms);
    let lever = terms.lever.map_or(String::new(), |lever| lever.to_string());
    let family = match terms.contract {
        Some(_) => it.pair.as_str(),
        None => "",
    };
    let (base, quote, settle, kind) = match terms.contract {
        Some(_) => ("", "", it.quote.as_str(), "linear"),
        None => (it.base.as_str(), it.quote.as_str(), "", ""),
    };
    let (value, multiplier, unit) = match terms.contract {
        Some(value) => (value.trimmed().to_string(), "1", it.base.as_str()),
        None => (String::new(), "", ""),
    };
    let most = if terms.contract.is_some() {
        "100000000"
    } else {
        "9999999999"
    };
    let least = listed.size(it.qty_range.0);
    format!(
        "{{\"alias\":\"\",\"baseCcy\":\"{base}\",\"category\":\"1\",\"contTdSwTime\":\"\",\
         \"ctMult\":\"{multiplier}\",\"ctType\":\"{kind}\",\"ctVal\":\"{value}\",\
         \"ctValCcy\":\"{unit}\",\"expTime\":\"\",\"futureSettlement\":false,\"groupId\":\"1\",\
         \"instCategory\":\"1\",\"instFamily\":\"{family}\",\"instId\":\"{}\",\
         \"instIdCode\":{},\"instType\":\"{}\",\"lever\":\"{lever}\",\"listTime\":\"{}\",\
         \"lotSz\":\"{}\",\"maxIcebergSz\":\"{most}.0000000000000000\",\"maxLmtAmt\":\"20000000\",\
         \"maxLmtSz\":\"{most}\",\"maxMktAmt\":\"\",\"maxMktSz\":\"1000000\",\
         \"maxStopSz\":\"1000000\",\"maxTriggerSz\":\"{most}.0000000000000000\",\
         \"maxTwapSz\":\"{most}.0000000000000000\",\"minSz\":\"{least}\",\"openType\":\"\",\
         \"optType\":\"\",\"preMktSwTime\":\"\",\"quoteCcy\":\"{quote}\",\"ruleType\":\"normal\",\
         \"settleCcy\":\"{settle}\",\"state\":\"{}\",\"stk\":\"\",\"tickSz\":\"{}\",\
         \"tradeQuoteCcyList\":[],\"uly\":\"{family}\"}}",
        it.symbol,
        terms.code,
        listed.kind(),
        it.list_ms,
        terms.lot.trimmed(),
        state(it.status),
        it.tick.trimmed()
    )
}

pub(super) fn funding_rate(ask: &Ask<'_>) -> Result<String, ApiError> {
    if ask.params.required("instId")? == "ANY" {
        return Ok(rows(ask, Segment::Linear, Kind::FundingRate));
    }
    let (ix, _) = ask.instrument()?;
    ask.core
        .row(Kind::FundingRate, ix)
        .ok_or_else(ApiError::unknown_instrument)
}

/// The present rows of all trading instruments of a market.
fn rows(ask: &Ask<'_>, segment: Segment, kind: Kind) -> String {
    let rows: Vec<String> = ask
        .core
        .all(segment)
        .filter(|(_, listed)| listed.it.status == Status::Trading)
        .filter_map(|(ix, _)| ask.core.row(kind, ix))
        .collect();
    rows.join(",")
}

pub(super) fn mark_price(ask: &Ask<'_>) -> Result<String, ApiError> {
    if ask.params.get("instId").is_some() {
        let (ix, _) = ask.instrument()?;
        let row = ask.core.row(Kind::MarkPrice, ix);
        return row.ok_or_else(ApiError::unknown_instrument);
    }
    Ok(match ask.segment()? {
        Some(Segment::Linear) => rows(ask, Segment::Linear, Kind::MarkPrice),
        _ => String::new(),
    })
}

pub(super) fn index(ask: &Ask<'_>) -> Result<String, ApiError> {
    match ask.params.get("instId") {
        Some(name) => {
            let (ix, _) = instrument(ask.core, &format!("{name}-SWAP"))?;
            ask.core
                .row(Kind::Index, ix)
                .ok_or_else(ApiError::unknown_instrument)
        }
        None => Ok(rows(ask, Segment::Linear, Kind::Index)),
    }
}

pub(super) fn tickers(ask: &Ask<'_>, is_one: bool) -> Result<String, ApiError> {
    if is_one {
        let (ix, _) = ask.instrument()?;
        let row = ask.core.row(Kind::Tickers, ix);
        return row.ok_or_else(ApiError::unknown_instrument);
    }
    let segment = ask.segment()?;
    Ok(segment.map_or(String::new(), |segment| rows(ask, segment, Kind::Tickers)))
}

/// `kept`: bars that the endpoint remembers.
pub(super) fn candles(ask: &Ask<'_>, most: usize, kept: Option<i64>) -> Result<String, ApiError> {
    let (ix, listed) = ask.instrument()?;
    let name = ask.params.get("bar").unwrap_or("1m");
    let interval = stream::interval(name).ok_or_else(|| ApiError::wrong("bar"))?;
    let limit = ask.params.limit(100, most)?;
    let (before, after) = ask.bounds()?;
    let now_ms = ask.core.now_ms();
    let minutes = interval.minutes().unwrap_or(31 * 1_440);
    let oldest = kept.map_or(i64::MIN, |bars| now_ms - bars * minutes * 60_000);
    let range = TimeRange {
        start_ms: None,
        end_ms: Some(after.saturating_sub(1)),
        limit,
    };
    let bars = ask.core.market.klines(ix, interval, range);
    let wanted = bars.iter().rev();
    let rows: Vec<String> = wanted
        .filter(|bar| bar.open_ms > before && bar.open_ms < after && bar.open_ms >= oldest)
        .map(|bar| listed.candle(bar))
        .collect();
    Ok(rows.join(","))
}

fn trade_rows(listed: &Listed<'_>, trades: impl Iterator<Item = Trade>) -> String {
    let rows: Vec<String> = trades.map(|trade| listed.trade(&trade)).collect();
    rows.join(",")
}

pub(super) fn trades(ask: &Ask<'_>) -> Result<String, ApiError> {
    let (ix, listed) = ask.instrument()?;
    let limit = ask.params.limit(100, 500)?;
    let trades = ask.core.market.trades(ix, limit);
    Ok(trade_rows(&listed, trades.into_iter().rev()))
}

pub(super) fn history_trades(ask: &Ask<'_>) -> Result<String, ApiError> {
    let (ix, listed) = ask.instrument()?;
    let limit = ask.params.limit(100, 100)?;
    let (before, after) = ask.bounds()?;
    let market = &ask.core.market;
    let by_time = match ask.params.get("type") {
        None | Some("1") => false,
        Some("2") => true,
        Some(_) => return Err(ApiError::wrong("type")),
    };
    let trades = match (by_time, after) {
        (_, i64::MAX) => market.trades(ix, limit),
        (false, after) => {
            let from = after.saturating_sub(limit as i64).max(0);
            market.trades_from(ix, from as u64, limit)
        }
        (true, after) => {
            let look = |span: &i64| {
                let start = after.saturating_sub(*span).max(before.saturating_add(1));
                let found = market.agg_trades_between(ix, start, after - 1, AGGS_MAX);
                found.last().map(|agg| agg.last_trade_id)
            };
            let last = LOOK_BACK_MS.iter().find_map(look);
            let Some(last) = last else {
                return Ok(String::new());
            };
            let from = (last + 1).saturating_sub(limit as u64);
            market.trades_from(ix, from, limit)
        }
    };
    let key = |trade: &Trade| match by_time {
        true => trade.ts_us.div_euclid(1_000),
        false => i64::try_from(trade.id).unwrap_or(i64::MAX),
    };
    let wanted = trades.into_iter().rev();
    let wanted = wanted.filter(|trade| key(trade) > before && key(trade) < after);
    Ok(trade_rows(&listed, wanted))
}

pub(super) fn funding_history(ask: &Ask<'_>) -> Result<String, ApiError> {
    let (ix, listed) = ask.instrument()?;
    let limit = ask.params.limit(100, 400)?;
    let (before, after) = ask.bounds()?;
    let range = TimeRange {
        start_ms: None,
        end_ms: Some(after.saturating_sub(1).min(ask.core.now_ms())),
        limit,
    };
    let rates = ask.core.market.funding_rates(ix, range);
    let wanted = rates.iter().rev().filter(|rate| rate.ts_ms > before);
    let rows: Vec<String> = wanted
        .map(|rate| {
            let number = rate.rate.fixed().trimmed();
            format!(
                "{{\"formulaType\":\"noRate\",\"fundingRate\":\"{number}\",\
                 \"fundingTime\":\"{}\",\"instId\":\"{}\",\"instType\":\"SWAP\",\
                 \"method\":\"current_period\",\"realizedRate\":\"{number}\"}}",
                rate.ts_ms, listed.it.symbol
            )
        })
        .collect();
    Ok(rows.join(","))
}

/// What is announced: a running maintenance, where a fault makes one.
pub(super) fn maintenance(ask: &Ask<'_>) -> String {
    let now_ms = ask.core.now_ms();
    let services = [(Segment::Spot, "1", "Spot"), (Segment::Linear, "3", "Swap")];
    let rows = services
        .into_iter()
        .filter(|(market, _, _)| ask.core.is_down(*market));
    let rows: Vec<String> = rows
        .map(|(_, service, name)| {
            format!(
                "{{\"begin\":\"{now_ms}\",\"end\":\"\",\"env\":\"1\",\"href\":\"\",\
                 \"maintType\":\"1\",\"preOpenBegin\":\"\",\"scheDesc\":\"\",\
                 \"serviceType\":\"{service}\",\"state\":\"ongoing\",\"system\":\"unified\",\
                 \"title\":\"{name} system upgrade\"}}"
            )
        })
        .collect();
    rows.join(",")
}

/// Books are apart from the others because faults may make them wait.
pub(super) async fn books(
    exchange: &Exchange,
    path: &str,
    params: &Params,
) -> Result<String, ApiError> {
    let most = if path.ends_with("books-full") {
        5_000
    } else {
        400
    };
    let size = params.number("sz")?.unwrap_or(1);
    let size = usize::try_from(size).unwrap_or(usize::MAX).min(most);
    if size == 0 {
        return Err(ApiError::wrong("sz"));
    }
    let symbol = params.required("instId")?;
    let (ix, market) = {
        let core = exchange.core.lock();
        let found = core.venue.find(symbol);
        found.ok_or_else(ApiError::unknown_instrument)?
    };
    let fault = server::snapshot_fault(exchange, market, path, Some(symbol));
    match fault.map(|fault| (fault.kind, fault.age)) {
        Some((FaultKind::StaleSnapshot, age)) => {
            let core = exchange.core.lock();
            if let Some(mut depth) = core.past_depth(ix, age).cloned() {
                depth.bids.truncate(size);
                depth.asks.truncate(size);
                return image(&core, ix, &depth, encode::seq(depth.update_id));
            }
        }
        Some((FaultKind::EdgeSnapshot, _)) => {
            let deadline = tokio::time::Instant::now() + EDGE_WAIT;
            while tokio::time::Instant::now() < deadline {
                if let Some(answer) = at_edge(exchange, ix, size) {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        _ => {}
    }
    let core = exchange.core.lock();
    let depth = core.market.depth(ix, size);
    image(&core, ix, &depth, encode::seq(depth.update_id))
}

fn image(core: &Core, ix: InstrumentIx, depth: &Depth, seq: u64) -> Result<String, ApiError> {
    let listed = core.listed(ix).ok_or_else(ApiError::unknown_instrument)?;
    Ok(listed.image(depth, seq))
}

/// The book, if the last push of its stream is exactly this.
fn at_edge(exchange: &Exchange, ix: InstrumentIx, size: usize) -> Option<Result<String, ApiError>> {
    let core = exchange.core.lock();
    let (seq, _) = core.shown(ix)?;
    let depth = core.market.depth(ix, size);
    (encode::seq(depth.update_id) == seq).then(|| image(&core, ix, &depth, seq))
}
