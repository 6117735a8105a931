//! Native stream payloads, as recordings show them. The order of keys differs between markets.

use std::fmt::Write;

use crate::market::{Fixed, Instrument, InstrumentIx, Kline, Notional, Price, Qty, Segment, Side};
use crate::venue::window::Row;

use super::topic::interval_name;

/// Spot prints no zeros behind the last digit, linear as many decimals as the steps have.
pub(super) fn price(it: &Instrument, price: Price) -> Fixed {
    let exact = it.price(price);
    match it.segment {
        Segment::Spot => exact.trimmed(),
        Segment::Linear => exact,
    }
}

pub(super) fn qty(it: &Instrument, qty: Qty) -> Fixed {
    let exact = it.qty(qty);
    match it.segment {
        Segment::Spot => exact.trimmed(),
        Segment::Linear => exact,
    }
}

/// Bars of linear print the digits of the step only: `65119.9` where books have `65119.90`.
pub(super) fn bar_price(it: &Instrument, price: Price) -> Fixed {
    it.price(price).trimmed()
}

pub(super) fn value(it: &Instrument, notional: Notional) -> Fixed {
    it.notional(notional).trimmed()
}

/// `snapshot` or `delta`.
pub(super) const fn kind(is_snapshot: bool) -> &'static str {
    if is_snapshot { "snapshot" } else { "delta" }
}

/// Appends `[["price","qty"],…]`.
pub(super) fn levels(out: &mut String, it: &Instrument, rows: &[Row]) {
    out.push('[');
    for (at, (level, amount)) in rows.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "{comma}[\"{}\",\"{}\"]",
            price(it, *level),
            qty(it, *amount)
        );
    }
    out.push(']');
}

/// A message of a book.
pub(super) struct Book<'a> {
    pub(super) depth: u16,
    pub(super) is_snapshot: bool,
    pub(super) bids: &'a [Row],
    pub(super) asks: &'a [Row],
    pub(super) update: u64,
    pub(super) seq: u64,
    /// When it is told, and when it happened, ms.
    pub(super) ts: i64,
    pub(super) cts: i64,
}

pub(super) fn book(it: &Instrument, book: &Book<'_>) -> String {
    let Book { depth, ts, cts, .. } = book;
    let (s, kind) = (&it.symbol, kind(book.is_snapshot));
    let mut out = match it.segment {
        Segment::Spot => {
            format!("{{\"topic\":\"orderbook.{depth}.{s}\",\"ts\":{ts},\"type\":\"{kind}\",")
        }
        Segment::Linear => {
            format!("{{\"topic\":\"orderbook.{depth}.{s}\",\"type\":\"{kind}\",\"ts\":{ts},")
        }
    };
    let _ = write!(out, "\"data\":{{\"s\":\"{s}\",\"b\":");
    levels(&mut out, it, book.bids);
    out.push_str(",\"a\":");
    levels(&mut out, it, book.asks);
    let _ = write!(
        out,
        ",\"u\":{},\"seq\":{}}},\"cts\":{cts}}}",
        book.update, book.seq
    );
    out
}

/// A match, and what a message tells beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Match {
    pub(super) trade: crate::market::Trade,
    pub(super) direction: &'static str,
    pub(super) seq: u64,
}

/// The id that the exchange gives a match: a number above 2⁵³ on spot, a UUID on linear, in both
/// of which the market's own number can be found again (the last digits, the last group).
pub(super) fn trade_id(segment: Segment, ix: InstrumentIx, id: u64) -> String {
    match segment {
        Segment::Spot => (2_290_000_000_000_000_000 + id).to_string(),
        Segment::Linear => {
            // Mixed, so that nobody takes the order of the texts for an order in time.
            let mixed = id.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (high, low) = ((mixed >> 32) as u32, (mixed >> 16) as u16 & 0x0FFF);
            let ix = ix.0;
            format!("{high:08x}-{ix:04x}-5{low:03x}-9{low:03x}-{id:012x}")
        }
    }
}

const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "Buy",
        Side::Sell => "Sell",
    }
}

pub(super) fn trades(it: &Instrument, ix: InstrumentIx, matches: &[Match], ts: i64) -> String {
    let s = &it.symbol;
    let mut out = match it.segment {
        Segment::Spot => {
            format!("{{\"topic\":\"publicTrade.{s}\",\"ts\":{ts},\"type\":\"snapshot\",\"data\":[")
        }
        Segment::Linear => {
            format!("{{\"topic\":\"publicTrade.{s}\",\"type\":\"snapshot\",\"ts\":{ts},\"data\":[")
        }
    };
    for (
        at,
        Match {
            trade,
            direction,
            seq,
        },
    ) in matches.iter().enumerate()
    {
        if at > 0 {
            out.push(',');
        }
        let time = trade.ts_us.div_euclid(1_000);
        let (p, v) = (price(it, trade.price), qty(it, trade.qty));
        let (side, id) = (side(trade.taker_side), trade_id(it.segment, ix, trade.id));
        let _ = match it.segment {
            Segment::Spot => write!(
                out,
                "{{\"i\":\"{id}\",\"T\":{time},\"p\":\"{p}\",\"v\":\"{v}\",\"S\":\"{side}\",\
                 \"seq\":{seq},\"s\":\"{s}\",\"BT\":false,\"RPI\":false}}"
            ),
            Segment::Linear => write!(
                out,
                "{{\"T\":{time},\"s\":\"{s}\",\"S\":\"{side}\",\"v\":\"{v}\",\"p\":\"{p}\",\
                 \"L\":\"{direction}\",\"i\":\"{id}\",\"BT\":false,\"RPI\":false,\"seq\":{seq}}}"
            ),
        };
    }
    out.push_str("]}");
    out
}

/// A match of the REST interface.
pub(super) fn trade_row(it: &Instrument, ix: InstrumentIx, trade: &crate::market::Trade) -> String {
    format!(
        "{{\"execId\":\"{}\",\"symbol\":\"{}\",\"price\":\"{}\",\"size\":\"{}\",\"side\":\"{}\",\
         \"time\":\"{}\",\"isBlockTrade\":false,\"isRPITrade\":false,\"seq\":\"{}\"}}",
        trade_id(it.segment, ix, trade.id),
        it.symbol,
        price(it, trade.price),
        qty(it, trade.qty),
        side(trade.taker_side),
        trade.ts_us.div_euclid(1_000),
        trade.id,
    )
}

pub(super) fn kline(
    it: &Instrument,
    bar: &Kline,
    interval: crate::market::Interval,
    ts: i64,
) -> String {
    let (s, name) = (&it.symbol, interval_name(interval));
    let p = |price| bar_price(it, price);
    let data = format!(
        "[{{\"start\":{},\"end\":{},\"interval\":\"{name}\",\"open\":\"{}\",\"close\":\"{}\",\
         \"high\":\"{}\",\"low\":\"{}\",\"volume\":\"{}\",\"turnover\":\"{}\",\"confirm\":{},\
         \"timestamp\":{ts}}}]",
        bar.open_ms,
        bar.close_ms,
        p(bar.open),
        p(bar.close),
        p(bar.high),
        p(bar.low),
        it.qty(bar.volume).trimmed(),
        value(it, bar.quote_volume),
        bar.is_closed,
    );
    match it.segment {
        Segment::Spot => format!(
            "{{\"type\":\"snapshot\",\"topic\":\"kline.{name}.{s}\",\"data\":{data},\"ts\":{ts}}}"
        ),
        Segment::Linear => format!(
            "{{\"topic\":\"kline.{name}.{s}\",\"data\":{data},\"ts\":{ts},\"type\":\"snapshot\"}}"
        ),
    }
}
