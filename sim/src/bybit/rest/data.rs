//! Books, bars, trades, tickers, funding, the clock.

use crate::market::{Depth, InstrumentIx, Segment, TimeRange};

use super::super::venue::{self, Core};
use super::super::{encode, ticker, topic};
use super::query::Query;
use super::{Refusal, find, instrument, refuse};

pub(super) fn time(core: &Core) -> String {
    let us = core.clock.now_us();
    format!(
        "{{\"timeSecond\":\"{}\",\"timeNano\":\"{}\"}}",
        us.div_euclid(1_000_000),
        us.saturating_mul(1_000)
    )
}

/// Maintenance that is on.
pub(super) fn status(core: &Core) -> String {
    let markets = [(Segment::Linear, 1), (Segment::Spot, 2)];
    let down = markets.iter().filter(|(market, _)| core.is_down(*market));
    let rows: Vec<String> = down
        .map(|(_, product)| {
            format!(
                "{{\"id\":\"4d95b2a0-587f-11f0-bcc9-56f28c94d6ea\",\"title\":\"maintenance\",\
                 \"state\":\"ongoing\",\"begin\":\"{}\",\"end\":\"\",\"href\":\"\",\
                 \"serviceTypes\":[2,3,4,5],\"product\":[{product}],\"uidSuffix\":[],\
                 \"maintainType\":2,\"env\":1}}",
                core.now_ms()
            )
        })
        .collect();
    format!("{{\"list\":[{}]}}", rows.join(","))
}

/// A result with rows.
fn listed(query: &Query, more: &str, rows: &[String]) -> String {
    let category = match query.market() {
        Segment::Spot => "spot",
        Segment::Linear => "linear",
    };
    let rows = rows.join(",");
    format!("{{{more}\"category\":\"{category}\",\"list\":[{rows}]}}")
}

pub(super) fn book(core: &Core, ix: InstrumentIx, depth: &Depth) -> Result<String, Refusal> {
    let it = instrument(core, ix)?;
    let (seq, cts) = venue::seq(core, ix);
    let mut out = format!("{{\"s\":\"{}\",\"a\":", it.symbol);
    encode::levels(&mut out, it, &depth.asks);
    out.push_str(",\"b\":");
    encode::levels(&mut out, it, &depth.bids);
    let update = venue::rest_update(core, ix);
    let ts = depth.ts_us.div_euclid(1_000);
    Ok(out + &format!(",\"ts\":{ts},\"u\":{update},\"seq\":{seq},\"cts\":{cts}}}"))
}

/// Of a span with more bars than fit the newest are told; from a start alone it goes forward.
pub(super) fn klines(core: &Core, query: &Query) -> Result<String, Refusal> {
    let ix = find(core, query)?;
    let it = instrument(core, ix)?;
    let interval = query.get("interval").and_then(topic::interval);
    let interval = interval.ok_or_else(|| refuse("Invalid period!"))?;
    let limit = query.limit(200, 1_000)?;
    let (start_ms, end_ms) = (query.number("start")?, query.number("end")?);
    let range = TimeRange {
        start_ms: start_ms.filter(|_| end_ms.is_none()),
        end_ms,
        limit,
    };
    let mut bars = core.market.klines(ix, interval, range);
    bars.retain(|bar| start_ms.is_none_or(|start| bar.open_ms >= start));
    let price = |price| encode::bar_price(it, price);
    let rows: Vec<String> = bars
        .iter()
        .rev()
        .map(|bar| {
            format!(
                "[\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\",\"{}\"]",
                bar.open_ms,
                price(bar.open),
                price(bar.high),
                price(bar.low),
                price(bar.close),
                it.qty(bar.volume).trimmed(),
                encode::value(it, bar.quote_volume)
            )
        })
        .collect();
    let symbol = format!("\"symbol\":\"{}\",", it.symbol);
    Ok(listed(query, &symbol, &rows))
}

pub(super) fn trades(core: &Core, query: &Query) -> Result<String, Refusal> {
    let ix = find(core, query)?;
    let it = instrument(core, ix)?;
    let limit = match it.segment {
        Segment::Spot => query.limit(60, 60)?,
        Segment::Linear => query.limit(500, 1_000)?,
    };
    let trades = core.market.trades(ix, limit);
    let rows: Vec<String> = trades
        .iter()
        .rev()
        .map(|trade| encode::trade_row(it, ix, trade))
        .collect();
    Ok(listed(query, "", &rows))
}

/// Unlike the stream, spot's has the touch.
pub(super) fn tickers(core: &mut Core, query: &Query) -> Result<String, Refusal> {
    let market = query.known_market()?;
    let ixs: Vec<InstrumentIx> = match query.get("symbol") {
        Some(_) => vec![find(core, query)?],
        None => venue::listed(core, market).map(|(ix, _)| ix).collect(),
    };
    let mut rows = Vec::with_capacity(ixs.len());
    for ix in ixs {
        let Some(mut fields) = venue::moment(core, ix) else {
            continue;
        };
        let it = instrument(core, ix)?;
        if market == Segment::Spot {
            let bbo = core.market.bbo(ix);
            let names = [("bid1Price", "bid1Size"), ("ask1Price", "ask1Size")];
            for ((price, size), row) in names.into_iter().zip([bbo.bid, bbo.ask]) {
                let (level, amount) = row.unwrap_or_default();
                fields.push((price, encode::price(it, level).to_string()));
                fields.push((size, encode::qty(it, amount).to_string()));
            }
        }
        rows.push(ticker::object(&it.symbol, &fields));
    }
    Ok(listed(query, "", &rows))
}

/// A start alone is refused; of a span with more settlements than fit the newest are told.
pub(super) fn funding(core: &Core, query: &Query) -> Result<String, Refusal> {
    if query.known_market()? == Segment::Spot {
        return Err(refuse("params error: category invalid"));
    }
    let ix = find(core, query)?;
    let it = instrument(core, ix)?;
    let (start_ms, end_ms) = (query.number("startTime")?, query.number("endTime")?);
    if start_ms.is_some() && end_ms.is_none() {
        return Err(refuse("params error: endTime is required with startTime"));
    }
    let range = TimeRange {
        start_ms: None,
        end_ms,
        limit: query.limit(200, 200)?,
    };
    let settled = core.market.funding_rates(ix, range);
    let within = settled
        .iter()
        .rev()
        .filter(|row| start_ms.is_none_or(|start| row.ts_ms >= start));
    let rows: Vec<String> = within
        .map(|row| {
            format!(
                "{{\"symbol\":\"{}\",\"fundingRate\":\"{}\",\"fundingRateTimestamp\":\"{}\"}}",
                it.symbol,
                row.rate.fixed().trimmed(),
                row.ts_ms
            )
        })
        .collect();
    Ok(listed(query, "", &rows))
}
