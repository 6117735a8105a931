//! Books, trades, bars and fundings.

use std::fmt::Write;

use super::super::board;
use super::super::core::{Core, Source};
use super::super::encode;
use super::super::stream::Bar;
use super::Ask;
use super::params::ApiError;
use crate::market::{
    Contract, Depth, Instrument, InstrumentIx, Kline, Notional, Qty, Segment, Side, TimeRange,
};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The levels asked for: any up to 5000 on spot, one of a few sizes on futures.
pub(super) fn depth_limit(ask: &Ask<'_>) -> Result<usize, ApiError> {
    if ask.is_spot() {
        return ask.params.limit(100, 5_000, true);
    }
    let limit = ask.params.limit(500, 1_000, false)?;
    if [5, 10, 20, 50, 100, 500, 1_000].contains(&limit) {
        Ok(limit)
    } else {
        Err(ApiError::invalid_value("limit"))
    }
}

pub(super) fn depth_body(core: &Core, ix: InstrumentIx, depth: &Depth) -> Result<String, ApiError> {
    let it = core.instrument(ix).ok_or_else(ApiError::invalid_symbol)?;
    Ok(encode::snapshot(it, depth, it.segment == Segment::Linear))
}

/// `[row,row,…]`.
pub(crate) fn list<T>(rows: &[T], write: impl Fn(&mut String, &T)) -> String {
    let mut out = String::with_capacity(2 + rows.len() * 128);
    out.push('[');
    for (at, row) in rows.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(&mut out, row);
    }
    out.push(']');
    out
}

/// The seeded instrument of the symbol; `None` for a replayed one, of which only the book is
/// known.
fn seeded<'a>(ask: &Ask<'a>) -> Result<Option<(InstrumentIx, &'a Instrument)>, ApiError> {
    Ok(match ask.source()? {
        Source::Market(ix) => ask.core.instrument(ix).map(|it| (ix, it)),
        Source::Tape(_) => None,
    })
}

pub(super) fn trades(ask: &Ask<'_>, is_historical: bool) -> Result<String, ApiError> {
    let most = if is_historical && !ask.is_spot() {
        500
    } else {
        1_000
    };
    let limit = ask.params.limit(500, most, ask.is_spot())?;
    let from_id = if is_historical {
        ask.params.number("fromId")?
    } else {
        None
    };
    let Some((ix, it)) = seeded(ask)? else {
        return Ok("[]".to_owned());
    };
    let rows = match from_id {
        Some(id) => ask.core.market.trades_from(ix, id as u64, limit),
        None => ask.core.market.trades(ix, limit),
    };
    let tail = if ask.is_spot() {
        "\"isBestMatch\":true"
    } else {
        "\"isRPITrade\":false"
    };
    Ok(list(&rows, |out, trade| {
        let _ = write!(
            out,
            "{{\"id\":{},\"price\":\"{}\",\"qty\":\"{}\",\"quoteQty\":\"{}\",\"time\":{},\
             \"isBuyerMaker\":{},{tail}}}",
            trade.id,
            it.price(trade.price),
            it.qty(trade.qty),
            encode::quote(it, trade.price.notional(trade.qty)),
            trade.ts_us.div_euclid(1_000),
            trade.taker_side == Side::Sell,
        );
    }))
}

pub(super) fn agg_trades(ask: &Ask<'_>) -> Result<String, ApiError> {
    let params = ask.params;
    let limit = params.limit(500, 1_000, ask.is_spot())?;
    let from_id = params.number("fromId")?;
    let (start, end) = (params.number("startTime")?, params.number("endTime")?);
    let source = seeded(ask)?;
    if from_id.is_some() && (start.is_some() || end.is_some()) {
        return Err(ApiError::combination());
    }
    if let (Some(start), Some(end)) = (start, end) {
        if end < start {
            return Err(ApiError::new(-1023, "Start time is greater than end time."));
        }
        if !ask.is_spot() && end - start >= HOUR_MS {
            return Err(ApiError::new(
                -4166,
                "Search window is restricted to recent 1 hour at most.",
            ));
        }
    }
    let Some((ix, it)) = source else {
        return Ok("[]".to_owned());
    };
    let now_ms = ask.core.now_ms();
    let market = &ask.core.market;
    let mut rows = match (from_id, start, end) {
        (Some(id), ..) => market.agg_trades_from(ix, id as u64, limit),
        (None, None, None) => market.agg_trades(ix, limit),
        (None, start, end) => {
            let span = if ask.is_spot() { DAY_MS } else { HOUR_MS - 1 };
            let end = end
                .unwrap_or(i64::MAX)
                .min(start.map_or(i64::MAX, |s| s + span))
                .min(now_ms);
            let start = start.unwrap_or(end - span);
            market.agg_trades_between(ix, start, end, limit)
        }
    };
    if !ask.is_spot() {
        // Futures keep these for a day.
        rows.retain(|agg| agg.ts_us.div_euclid(1_000) >= now_ms - DAY_MS);
    }
    Ok(list(&rows, |out, agg| {
        let (p, q) = (it.price(agg.price), it.qty(agg.qty));
        let _ = write!(
            out,
            "{{\"a\":{},\"p\":\"{p}\",\"q\":\"{q}\",\"f\":{},\"l\":{},\"T\":{},\"m\":{}",
            agg.id,
            agg.first_trade_id,
            agg.last_trade_id,
            agg.ts_us.div_euclid(1_000),
            agg.taker_side == Side::Sell,
        );
        let tail = if ask.is_spot() {
            ",\"M\":true}".to_owned()
        } else {
            format!(",\"nq\":\"{q}\"}}")
        };
        out.push_str(&tail);
    }))
}

/// What bars are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bars {
    /// Trades.
    Trades,
    /// Mark price.
    Mark,
    /// Index price.
    Index,
}

pub(super) fn klines(ask: &Ask<'_>, bars: Bars) -> Result<String, ApiError> {
    let params = ask.params;
    let most = if ask.is_spot() { 1_000 } else { 1_500 };
    let name = if bars == Bars::Index {
        "pair"
    } else {
        "symbol"
    };
    let source = ask.source_of(params.required_symbol(name)?)?;
    let interval = params.required("interval")?;
    let bar = Bar::parse(interval)
        .filter(|bar| ask.is_spot() || *bar != Bar::Second)
        .ok_or_else(|| ApiError::new(-1120, "Invalid interval."))?;
    let limit = params.limit(500, most, ask.is_spot())?;
    let (start_ms, end_ms) = (params.number("startTime")?, params.number("endTime")?);
    let Source::Market(ix) = source else {
        return Ok("[]".to_owned());
    };
    let ix = match bars {
        // The index follows the spot pair; where none is listed, the future itself.
        Bars::Index => ask
            .core
            .market
            .find(Segment::Spot, params.required(name)?)
            .unwrap_or(ix),
        _ => ix,
    };
    let it = ask
        .core
        .instrument(ix)
        .ok_or_else(ApiError::invalid_symbol)?;
    let range = TimeRange {
        start_ms,
        end_ms,
        limit,
    };
    let rows = match bar {
        Bar::Of(interval) => ask.core.market.klines(ix, interval, range),
        Bar::Second => seconds(ask, ix, range),
    };
    Ok(list(&rows, |out, row| write_bar(out, it, row, bars)))
}

/// Bars of a second are made of the trades still kept.
fn seconds(ask: &Ask<'_>, ix: InstrumentIx, range: TimeRange) -> Vec<Kline> {
    let trades = ask.core.market.trades(ix, 5_000);
    let mut rows = board::seconds(&trades, ask.core.now_ms());
    let (start, end) = (
        range.start_ms.unwrap_or(i64::MIN),
        range.end_ms.unwrap_or(i64::MAX),
    );
    rows.retain(|bar| bar.open_ms >= start && bar.open_ms <= end);
    if range.start_ms.is_some() {
        rows.truncate(range.limit);
    } else {
        rows.drain(..rows.len().saturating_sub(range.limit));
    }
    rows
}

fn write_bar(out: &mut String, it: &Instrument, bar: &Kline, bars: Bars) {
    // Bars of mark and index price have no volume.
    let traded = bars == Bars::Trades;
    let qty = |qty: Qty| {
        if traded {
            it.qty(qty).to_string()
        } else {
            "0".to_owned()
        }
    };
    let sum = |n: Notional| {
        if traded {
            encode::quote(it, n).to_string()
        } else {
            "0".to_owned()
        }
    };
    let _ = write!(
        out,
        "[{},\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",{},\"{}\",{},\"{}\",\"{}\",\"0\"]",
        bar.open_ms,
        it.price(bar.open),
        it.price(bar.high),
        it.price(bar.low),
        it.price(bar.close),
        qty(bar.volume),
        bar.close_ms,
        sum(bar.quote_volume),
        bar.trades,
        qty(bar.taker_buy_volume),
        sum(bar.taker_buy_quote),
    );
}

pub(super) fn funding_rate(ask: &Ask<'_>) -> Result<String, ApiError> {
    let params = ask.params;
    let (start_ms, end_ms) = (params.number("startTime")?, params.number("endTime")?);
    let symbol = params.symbol()?;
    let without_bounds = start_ms.is_none() && end_ms.is_none();
    let default = if symbol.is_none() && without_bounds {
        200
    } else {
        100
    };
    let limit = params.limit(default, 1_000, false)?;
    if let (Some(start), Some(end)) = (start_ms, end_ms)
        && end < start
    {
        return Err(ApiError::new(-1023, "Start time is greater than end time."));
    }
    let ixs: Vec<InstrumentIx> = match symbol {
        Some(name) => match ask.source_of(name)? {
            Source::Market(ix) => vec![ix],
            Source::Tape(_) => Vec::new(),
        },
        None => ask
            .core
            .listed(Segment::Linear)
            .filter(|(_, it)| matches!(it.contract, Contract::Perpetual(_)))
            .map(|(ix, _)| ix)
            .collect(),
    };
    let range = TimeRange {
        start_ms,
        end_ms,
        limit,
    };
    let mut rows: Vec<_> = ixs
        .into_iter()
        .flat_map(|ix| {
            let rates = ask.core.market.funding_rates(ix, range);
            rates.into_iter().map(move |rate| (ix, rate))
        })
        .collect();
    rows.sort_by_key(|(ix, rate)| (rate.ts_ms, *ix));
    if start_ms.is_some() {
        rows.truncate(limit);
    } else {
        rows.drain(..rows.len().saturating_sub(limit));
    }
    Ok(list(&rows, |out, (ix, rate)| {
        let symbol = ask.core.instrument(*ix).map_or("", |it| &it.symbol);
        let _ = write!(
            out,
            "{{\"symbol\":\"{symbol}\",\"fundingTime\":{},\"fundingRate\":\"{}\",\
             \"markPrice\":\"{}\"}}",
            rate.ts_ms,
            rate.rate.fixed(),
            rate.mark.fixed(),
        );
    }))
}
