//! Prices of now: averages, tickers, touch, mark price.

use std::fmt::Write;

use super::super::core::{Core, Source};
use super::super::encode;
use super::Ask;
use super::data::list;
use super::params::ApiError;
use crate::market::{
    Contract, Fixed, Instrument, InstrumentIx, Interval, Segment, Status, TimeRange,
};

/// Volume-weighted average price of five minutes, eight decimals, and the time of the last trade
/// in µs; without trades the last price.
pub(crate) fn average_price(core: &Core, ix: InstrumentIx) -> Option<(Fixed, i64)> {
    let it = core.instrument(ix)?;
    let bars = core.market.klines(ix, Interval::M1, TimeRange::latest(5));
    let volume: i128 = bars.iter().map(|bar| i128::from(bar.volume.0)).sum();
    let quote: i128 = bars.iter().map(|bar| bar.quote_volume.0).sum();
    let last_us = core
        .market
        .trades(ix, 1)
        .last()
        .map_or(0, |trade| trade.ts_us);
    let price = if volume == 0 {
        it.price(bars.last()?.close)
    } else {
        let ticks_e8 = quote * 100_000_000 / volume;
        Fixed::new(ticks_e8 * it.tick.mantissa(), it.tick.scale() + 8)
    };
    Some((price.truncated(8), last_us))
}

pub(super) fn avg_price(ask: &Ask<'_>) -> Result<String, ApiError> {
    let Source::Market(ix) = ask.source()? else {
        return Err(ApiError::invalid_symbol());
    };
    let (price, last_us) = average_price(ask.core, ix).ok_or_else(ApiError::invalid_symbol)?;
    let last_ms = last_us.div_euclid(1_000);
    Ok(format!(
        "{{\"mins\":5,\"price\":\"{price}\",\"closeTime\":{last_ms}}}"
    ))
}

/// One row for `symbol`, a list for `symbols` or for none.
fn rows(
    ask: &Ask<'_>,
    wanted: impl Fn(&Instrument) -> bool,
    write: impl Fn(&mut String, InstrumentIx, &Instrument),
) -> Result<String, ApiError> {
    let one = ask.params.symbol()?;
    let several = if ask.is_spot() {
        ask.params.symbols()?
    } else {
        None
    };
    if one.is_some() && several.is_some() {
        return Err(ApiError::combination());
    }
    let seeded = |name: &str| match ask.source_of(name)? {
        Source::Market(ix) => Ok(ix),
        Source::Tape(_) => Err(ApiError::invalid_symbol()),
    };
    let ixs: Vec<InstrumentIx> = match (one, &several) {
        (Some(name), _) => vec![seeded(name)?],
        (None, Some(names)) => names
            .iter()
            .map(|name| seeded(name))
            .collect::<Result<_, _>>()?,
        (None, None) => ask
            .core
            .listed(ask.market)
            .filter(|(_, it)| wanted(it))
            .map(|(ix, _)| ix)
            .collect(),
    };
    let write = |out: &mut String, ix: &InstrumentIx| {
        if let Some(it) = ask.core.instrument(*ix) {
            write(out, *ix, it);
        }
    };
    if let (Some(_), Some(ix)) = (one, ixs.first()) {
        let mut out = String::new();
        write(&mut out, ix);
        return Ok(out);
    }
    Ok(list(&ixs, write))
}

pub(super) fn last(ask: &Ask<'_>) -> Result<String, ApiError> {
    let now_ms = ask.core.now_ms();
    rows(
        ask,
        |it| it.status == Status::Trading,
        |out, ix, it| {
            let range = TimeRange::latest(1);
            let price = ask
                .core
                .market
                .klines(ix, Interval::M1, range)
                .last()
                .map_or_else(Default::default, |bar| bar.close);
            let _ = write!(
                out,
                "{{\"symbol\":\"{}\",\"price\":\"{}\"",
                it.symbol,
                it.price(price)
            );
            if !ask.is_spot() {
                let _ = write!(out, ",\"time\":{now_ms}");
            }
            out.push('}');
        },
    )
}

pub(super) fn touch(ask: &Ask<'_>) -> Result<String, ApiError> {
    let now_ms = ask.core.now_ms();
    rows(
        ask,
        |it| it.status == Status::Trading,
        |out, ix, it| {
            let bbo = ask.core.market.bbo(ix);
            let ((bid, bid_qty), (ask_price, ask_qty)) =
                (bbo.bid.unwrap_or_default(), bbo.ask.unwrap_or_default());
            let _ = write!(
                out,
                "{{\"symbol\":\"{}\",\"bidPrice\":\"{}\",\"bidQty\":\"{}\",\"askPrice\":\"{}\",\
             \"askQty\":\"{}\"",
                it.symbol,
                it.price(bid),
                it.qty(bid_qty),
                it.price(ask_price),
                it.qty(ask_qty),
            );
            if !ask.is_spot() {
                let _ = write!(out, ",\"time\":{now_ms},\"lastUpdateId\":{}", bbo.update_id);
            }
            out.push('}');
        },
    )
}

pub(super) fn day(ask: &Ask<'_>) -> Result<String, ApiError> {
    let is_mini = match ask.params.get("type").filter(|_| ask.is_spot()) {
        None | Some("FULL") => false,
        Some("MINI") => true,
        Some(_) => return Err(ApiError::invalid_value("type")),
    };
    if let Some(name) = ask.params.symbol()?
        && let Source::Market(ix) = ask.source_of(name)?
        && ask.core.market.ticker(ix).is_none()
    {
        // A halted instrument has no rolling day.
        return Err(ApiError::invalid_symbol());
    }
    rows(
        ask,
        |it| it.status == Status::Trading,
        |out, ix, it| {
            let Some(day) = ask.core.market.ticker(ix) else {
                out.push_str("{}");
                return;
            };
            let figures = encode::day_figures(it, &day);
            let _ = write!(out, "{{\"symbol\":\"{}\"", it.symbol);
            if !is_mini {
                let _ = write!(
                    out,
                    ",\"priceChange\":\"{}\",\"priceChangePercent\":\"{}\",\"weightedAvgPrice\":\"{}\"",
                    figures.change, figures.percent, figures.average,
                );
            }
            if ask.is_spot() && !is_mini {
                let bbo = ask.core.market.bbo(ix);
                let ((bid, bid_qty), (ask_price, ask_qty)) =
                    (bbo.bid.unwrap_or_default(), bbo.ask.unwrap_or_default());
                let _ = write!(
                    out,
                    ",\"prevClosePrice\":\"{}\",\"bidPrice\":\"{}\",\"bidQty\":\"{}\",\
                 \"askPrice\":\"{}\",\"askQty\":\"{}\"",
                    it.price(day.prev_close),
                    it.price(bid),
                    it.qty(bid_qty),
                    it.price(ask_price),
                    it.qty(ask_qty),
                );
            }
            if !is_mini {
                let _ = write!(out, ",\"lastQty\":\"{}\"", it.qty(day.last_qty));
            }
            let (first, last) = day
                .trade_ids
                .map_or((-1, -1), |(f, l)| (f as i64, l as i64));
            let _ = write!(
                out,
                ",\"lastPrice\":\"{}\",\"openPrice\":\"{}\",\"highPrice\":\"{}\",\"lowPrice\":\"{}\",\
             \"volume\":\"{}\",\"quoteVolume\":\"{}\",\"openTime\":{},\"closeTime\":{},\
             \"firstId\":{first},\"lastId\":{last},\"count\":{}}}",
                it.price(day.last),
                it.price(day.open),
                it.price(day.high),
                it.price(day.low),
                it.qty(day.volume),
                encode::quote(it, day.quote_volume),
                day.open_ms,
                day.close_ms,
                day.trades,
            );
        },
    )
}

pub(super) fn premium_index(ask: &Ask<'_>) -> Result<String, ApiError> {
    if let Some(name) = ask.params.symbol()?
        && let Source::Market(ix) = ask.source_of(name)?
        && ask.core.market.premium_index(ix).is_none()
    {
        return Err(ApiError::invalid_symbol());
    }
    let has_mark = |it: &Instrument| it.segment == Segment::Linear && it.status == Status::Trading;
    rows(ask, has_mark, |out, ix, it| {
        let Some(premium) = ask.core.market.premium_index(ix) else {
            return;
        };
        let (rate, next_ms, interest) = match (premium.funding, it.contract) {
            (Some(next), Contract::Perpetual(terms)) => (
                next.rate.fixed().to_string(),
                next.ts_ms,
                Fixed::new(i128::from(terms.interest_e8), 8).to_string(),
            ),
            // A dated future is not funded.
            _ => (String::new(), 0, String::new()),
        };
        let _ = write!(
            out,
            "{{\"symbol\":\"{}\",\"markPrice\":\"{}\",\"indexPrice\":\"{}\",\
             \"estimatedSettlePrice\":\"{}\",\"lastFundingRate\":\"{rate}\",\
             \"interestRate\":\"{interest}\",\"nextFundingTime\":{next_ms},\"time\":{}}}",
            it.symbol,
            premium.mark.fixed(),
            premium.index.fixed(),
            premium.settle.fixed(),
            premium.ts_ms,
        );
    })
}
