//! Native stream payloads, as the exchange's documents show them.

use std::fmt::Write;

use crate::market::{
    AggTrade, Bbo, Depth, E8, Fixed, Instrument, Kline, Notional, PremiumIndex, Price, Qty,
    Segment, Side, Ticker24h, Trade,
};

/// A level of the book.
pub(super) type Row = (Price, Qty);

/// How times are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// In µs instead of ms.
    pub(super) micros: bool,
}

impl Times {
    pub(super) fn us(self, ts_us: i64) -> i64 {
        if self.micros {
            ts_us
        } else {
            ts_us.div_euclid(1_000)
        }
    }

    pub(super) fn ms(self, ts_ms: i64) -> i64 {
        if self.micros { ts_ms * 1_000 } else { ts_ms }
    }
}

/// An amount of the quote asset in the venue's form: eight decimals on spot, unpadded digits of
/// tick × lot on futures.
pub(crate) fn quote(instrument: &Instrument, notional: Notional) -> Fixed {
    match instrument.segment {
        Segment::Spot => instrument.notional(notional).truncated(8),
        Segment::Linear => instrument
            .notional(notional)
            .trimmed()
            .padded(instrument.price_decimals),
    }
}

fn is_buyer_maker(taker: Side) -> bool {
    taker == Side::Sell
}

/// Appends `[["price","qty"],…]`.
pub(super) fn levels<'a>(
    out: &mut String,
    instrument: &Instrument,
    rows: impl Iterator<Item = &'a Row>,
) {
    out.push('[');
    for (at, (price, qty)) in rows.enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let (price, qty) = (instrument.price(*price), instrument.qty(*qty));
        // Writing to a string does not fail.
        let _ = write!(out, "{comma}[\"{price}\",\"{qty}\"]");
    }
    out.push(']');
}

pub(super) fn trade(it: &Instrument, trade: &Trade, event_us: i64, times: Times) -> String {
    let (event, time) = (times.us(event_us), times.us(trade.ts_us));
    let (s, id, m) = (&it.symbol, trade.id, is_buyer_maker(trade.taker_side));
    let (p, q) = (it.price(trade.price), it.qty(trade.qty));
    match it.segment {
        Segment::Spot => format!(
            "{{\"e\":\"trade\",\"E\":{event},\"s\":\"{s}\",\"t\":{id},\"p\":\"{p}\",\
             \"q\":\"{q}\",\"T\":{time},\"m\":{m},\"M\":true}}"
        ),
        Segment::Linear => format!(
            "{{\"e\":\"trade\",\"E\":{event},\"T\":{time},\"s\":\"{s}\",\"t\":{id},\
             \"p\":\"{p}\",\"q\":\"{q}\",\"X\":\"MARKET\",\"m\":{m},\"st\":1}}"
        ),
    }
}

pub(super) fn agg_trade(it: &Instrument, agg: &AggTrade, event_us: i64, times: Times) -> String {
    let (event, time) = (times.us(event_us), times.us(agg.ts_us));
    let (s, id, m) = (&it.symbol, agg.id, is_buyer_maker(agg.taker_side));
    let (p, q) = (it.price(agg.price), it.qty(agg.qty));
    let (first, last) = (agg.first_trade_id, agg.last_trade_id);
    match it.segment {
        Segment::Spot => format!(
            "{{\"e\":\"aggTrade\",\"E\":{event},\"s\":\"{s}\",\"a\":{id},\"p\":\"{p}\",\
             \"q\":\"{q}\",\"f\":{first},\"l\":{last},\"T\":{time},\"m\":{m},\"M\":true}}"
        ),
        Segment::Linear => format!(
            "{{\"e\":\"aggTrade\",\"E\":{event},\"s\":\"{s}\",\"a\":{id},\"p\":\"{p}\",\
             \"q\":\"{q}\",\"nq\":\"{q}\",\"f\":{first},\"l\":{last},\"T\":{time},\"m\":{m},\
             \"st\":1}}"
        ),
    }
}

pub(super) fn book_ticker(it: &Instrument, bbo: &Bbo, ts_us: i64, event_us: i64) -> String {
    let side = |row: Option<Row>| {
        let (price, qty) = row.unwrap_or_default();
        (it.price(price), it.qty(qty))
    };
    let ((b, bq), (a, aq)) = (side(bbo.bid), side(bbo.ask));
    let (u, s) = (bbo.update_id, &it.symbol);
    match it.segment {
        Segment::Spot => format!(
            "{{\"u\":{u},\"s\":\"{s}\",\"b\":\"{b}\",\"B\":\"{bq}\",\"a\":\"{a}\",\"A\":\"{aq}\"}}"
        ),
        Segment::Linear => format!(
            "{{\"e\":\"bookTicker\",\"u\":{u},\"E\":{},\"T\":{},\"s\":\"{s}\",\"ps\":\"{}\",\
             \"b\":\"{b}\",\"B\":\"{bq}\",\"a\":\"{a}\",\"A\":\"{aq}\",\"st\":1}}",
            event_us.div_euclid(1_000),
            ts_us.div_euclid(1_000),
            it.pair,
        ),
    }
}

/// The span of update ids of a depth message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// First id.
    pub(super) first: u64,
    /// Last id.
    pub(super) last: u64,
    /// Last id of the message before.
    pub(super) prev: u64,
    /// Time of the last change, µs.
    pub(super) ts_us: i64,
}

pub(super) fn depth<'a>(
    it: &Instrument,
    span: &Span,
    event_us: i64,
    times: Times,
    bids: impl Iterator<Item = &'a Row>,
    asks: impl Iterator<Item = &'a Row>,
) -> String {
    let Span {
        first,
        last,
        prev,
        ts_us,
    } = *span;
    let (event, s) = (times.us(event_us), &it.symbol);
    let mut out = match it.segment {
        Segment::Spot => format!(
            "{{\"e\":\"depthUpdate\",\"E\":{event},\"s\":\"{s}\",\"U\":{first},\"u\":{last},\"b\":"
        ),
        Segment::Linear => format!(
            "{{\"e\":\"depthUpdate\",\"E\":{event},\"T\":{},\"s\":\"{s}\",\"U\":{first},\
             \"u\":{last},\"pu\":{prev},\"b\":",
            times.us(ts_us)
        ),
    };
    levels(&mut out, it, bids);
    out.push_str(",\"a\":");
    levels(&mut out, it, asks);
    if it.segment == Segment::Linear {
        let _ = write!(out, ",\"ps\":\"{}\",\"st\":1", it.pair);
    }
    out.push('}');
    out
}

/// A snapshot: the REST answer, and on spot the partial book stream too.
pub(super) fn snapshot(it: &Instrument, depth: &Depth, with_times: bool) -> String {
    let mut out = format!("{{\"lastUpdateId\":{}", depth.update_id);
    if with_times {
        let ms = depth.ts_us.div_euclid(1_000);
        let _ = write!(out, ",\"E\":{ms},\"T\":{ms}");
    }
    out.push_str(",\"bids\":");
    levels(&mut out, it, depth.bids.iter());
    out.push_str(",\"asks\":");
    levels(&mut out, it, depth.asks.iter());
    out.push('}');
    out
}

pub(super) fn kline(
    it: &Instrument,
    bar: &Kline,
    interval: &str,
    event_us: i64,
    times: Times,
) -> String {
    let (first, last) = bar
        .trade_ids
        .map_or((-1, -1), |(f, l)| (f as i64, l as i64));
    format!(
        "{{\"e\":\"kline\",\"E\":{event},\"s\":\"{s}\",\"k\":{{\"t\":{open_time},\
         \"T\":{close_time},\"s\":\"{s}\",\"i\":\"{interval}\",\"f\":{first},\"L\":{last},\
         \"o\":\"{o}\",\"c\":\"{c}\",\"h\":\"{h}\",\"l\":\"{l}\",\"v\":\"{v}\",\"n\":{n},\
         \"x\":{x},\"q\":\"{q}\",\"V\":\"{tb}\",\"Q\":\"{tq}\",\"B\":\"0\"}}}}",
        event = times.us(event_us),
        s = it.symbol,
        open_time = times.ms(bar.open_ms),
        close_time = times.ms(bar.close_ms + 1) - 1,
        o = it.price(bar.open),
        c = it.price(bar.close),
        h = it.price(bar.high),
        l = it.price(bar.low),
        v = it.qty(bar.volume),
        n = bar.trades,
        x = bar.is_closed,
        q = quote(it, bar.quote_volume),
        tb = it.qty(bar.taker_buy_volume),
        tq = quote(it, bar.taker_buy_quote),
    )
}

pub(super) fn mark_price(it: &Instrument, premium: &PremiumIndex, event_us: i64) -> String {
    let (rate, next) = premium.funding.map_or((String::new(), 0), |next| {
        (next.rate.fixed().to_string(), next.ts_ms)
    });
    let e8 = |value: E8| value.fixed();
    format!(
        "{{\"e\":\"markPriceUpdate\",\"E\":{},\"s\":\"{}\",\"p\":\"{mark}\",\"i\":\"{}\",\
         \"P\":\"{}\",\"r\":\"{rate}\",\"ap\":\"{mark}\",\"T\":{next},\"st\":1}}",
        event_us.div_euclid(1_000),
        it.symbol,
        e8(premium.index),
        e8(premium.settle),
        mark = e8(premium.mark),
    )
}

pub(super) fn mini_ticker(it: &Instrument, day: &Ticker24h, event_us: i64, times: Times) -> String {
    format!(
        "{{\"e\":\"24hrMiniTicker\",\"E\":{},\"s\":\"{}\",\"c\":\"{}\",\"o\":\"{}\",\"h\":\"{}\",\
         \"l\":\"{}\",\"v\":\"{}\",\"q\":\"{}\"{}}}",
        times.us(event_us),
        it.symbol,
        it.price(day.last),
        it.price(day.open),
        it.price(day.high),
        it.price(day.low),
        it.qty(day.volume),
        quote(it, day.quote_volume),
        if it.segment == Segment::Linear {
            ",\"st\":1"
        } else {
            ""
        },
    )
}

/// Figures derived from a rolling day, in the venue's form.
pub(super) struct DayFigures {
    /// Last − first.
    pub(super) change: String,
    /// That in percent of the first, three decimals.
    pub(super) percent: String,
    /// Quote volume over base volume.
    pub(super) average: String,
}

pub(super) fn day_figures(it: &Instrument, day: &Ticker24h) -> DayFigures {
    let change = Price(day.last.0 - day.open.0);
    let percent = match day.open.0 {
        0 => 0,
        open => i128::from(change.0) * 100_000 / i128::from(open),
    };
    let average = match day.volume.0 {
        0 => Fixed::new(0, 0).padded(it.price_decimals),
        lots => {
            // Quote sum / lots is a price in ticks; eight more digits before the division.
            let ticks_e8 = day.quote_volume.0 * 100_000_000 / i128::from(lots);
            let exact = Fixed::new(ticks_e8 * it.tick.mantissa(), it.tick.scale() + 8);
            exact.truncated(if it.segment == Segment::Spot {
                8
            } else {
                it.price_decimals
            })
        }
    };
    DayFigures {
        change: it.price(change).to_string(),
        percent: Fixed::new(percent, 3).to_string(),
        average: average.to_string(),
    }
}

pub(super) fn ticker(
    it: &Instrument,
    day: &Ticker24h,
    bbo: &Bbo,
    event_us: i64,
    times: Times,
) -> String {
    let figures = day_figures(it, day);
    let mut out = format!(
        "{{\"e\":\"24hrTicker\",\"E\":{},\"s\":\"{}\",\"p\":\"{}\",\"P\":\"{}\",\"w\":\"{}\"",
        times.us(event_us),
        it.symbol,
        figures.change,
        figures.percent,
        figures.average,
    );
    let price = |p: Price| it.price(p);
    if it.segment == Segment::Spot {
        let _ = write!(out, ",\"x\":\"{}\"", price(day.prev_close));
    }
    let _ = write!(
        out,
        ",\"c\":\"{}\",\"Q\":\"{}\"",
        price(day.last),
        it.qty(day.last_qty)
    );
    if it.segment == Segment::Spot {
        let ((b, bq), (a, aq)) = (bbo.bid.unwrap_or_default(), bbo.ask.unwrap_or_default());
        let _ = write!(
            out,
            ",\"b\":\"{}\",\"B\":\"{}\",\"a\":\"{}\",\"A\":\"{}\"",
            price(b),
            it.qty(bq),
            price(a),
            it.qty(aq)
        );
    }
    let (first, last) = day
        .trade_ids
        .map_or((-1, -1), |(f, l)| (f as i64, l as i64));
    let _ = write!(
        out,
        ",\"o\":\"{}\",\"h\":\"{}\",\"l\":\"{}\",\"v\":\"{}\",\"q\":\"{}\",\"O\":{},\"C\":{},\
         \"F\":{first},\"L\":{last},\"n\":{}{}}}",
        price(day.open),
        price(day.high),
        price(day.low),
        it.qty(day.volume),
        quote(it, day.quote_volume),
        times.ms(day.open_ms),
        times.ms(day.close_ms),
        day.trades,
        if it.segment == Segment::Linear {
            ",\"st\":1"
        } else {
            ""
        },
    );
    out
}

/// Order of the rows of a diff: spot best first, futures by price.
pub(super) fn diff_bids_descend(segment: Segment) -> bool {
    segment == Segment::Spot
}
