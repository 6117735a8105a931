//! Frames as recorded ones have them. Every frame leaves open the place of its `sequence_num`,
//! which each connection counts by itself.

use std::fmt::Write;

use crate::market::{Bbo, BookSide, Depth, Instrument, Kline, Price, Qty, Side, Ticker24h, Trade};

/// Stands where the number of the frame belongs.
pub(super) const NUMBER: char = '\u{0}';

/// A time with as many decimals as it has: `2026-08-09T21:05:48.170326Z`.
pub(super) fn time(ts_us: i64) -> String {
    jiff::Timestamp::from_microsecond(ts_us)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_string()
}

/// A frame of a channel; `events` are the elements of the list.
pub(super) fn frame(channel: &str, now_us: i64, events: &str) -> String {
    // Sending takes some hundred nanoseconds, which frames tell.
    let sent = jiff::Timestamp::from_nanosecond(i128::from(now_us) * 1_000 + 507)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!(
        "{{\"channel\":\"{channel}\",\"timestamp\":\"{sent}\",\"sequence_num\":{NUMBER},\
         \"events\":[{events}]}}"
    )
}

/// A level that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) side: BookSide,
    pub(super) price: Price,
    /// All that rests there; 0 when the level is gone.
    pub(super) qty: Qty,
    pub(super) ts_us: i64,
}

/// Levels of a book's event.
pub(super) fn book(it: &Instrument, kind: &str, now_us: i64, changes: &[Change]) -> String {
    let mut updates = String::with_capacity(changes.len() * 112);
    for change in changes {
        let comma = if updates.is_empty() { "" } else { "," };
        let side = match change.side {
            BookSide::Bid => "bid",
            BookSide::Ask => "offer",
        };
        // Writing to a string does not fail.
        let _ = write!(
            updates,
            "{comma}{{\"side\":\"{side}\",\"event_time\":\"{}\",\"price_level\":\"{}\",\
             \"new_quantity\":\"{}\"}}",
            time(change.ts_us),
            it.price(change.price).trimmed(),
            it.qty(change.qty).trimmed(),
        );
    }
    let event = format!(
        "{{\"type\":\"{kind}\",\"product_id\":\"{}\",\"updates\":[{updates}]}}",
        it.symbol
    );
    frame("l2_data", now_us, &event)
}

/// The whole book: bids best first, then offers best first.
pub(super) fn image(it: &Instrument, depth: &Depth) -> String {
    let rows = |side, rows: &[(Price, Qty)]| {
        let change = move |(price, qty): &(Price, Qty)| Change {
            side,
            price: *price,
            qty: *qty,
            ts_us: depth.ts_us,
        };
        rows.iter().map(change).collect::<Vec<_>>()
    };
    let mut changes = rows(BookSide::Bid, &depth.bids);
    changes.extend(rows(BookSide::Ask, &depth.asks));
    book(it, "snapshot", depth.ts_us, &changes)
}

/// A match; the side is the maker's.
pub(super) fn trade(it: &Instrument, trade: &Trade) -> String {
    let maker = match trade.taker_side {
        Side::Buy => "SELL",
        Side::Sell => "BUY",
    };
    format!(
        "{{\"product_id\":\"{}\",\"trade_id\":\"{}\",\"price\":\"{}\",\"size\":\"{}\",\
         \"time\":\"{}\",\"side\":\"{maker}\"}}",
        it.symbol,
        trade.id,
        it.price(trade.price).trimmed(),
        it.qty(trade.qty).trimmed(),
        time(trade.ts_us),
    )
}

/// Matches, newest first.
pub(super) fn trades<'a>(
    it: &Instrument,
    kind: &str,
    now_us: i64,
    oldest_first: impl DoubleEndedIterator<Item = &'a Trade>,
) -> String {
    let rows: Vec<String> = oldest_first.rev().map(|row| trade(it, row)).collect();
    let event = format!("{{\"type\":\"{kind}\",\"trades\":[{}]}}", rows.join(","));
    frame("market_trades", now_us, &event)
}

/// The figures of a ticker.
pub(super) struct Figures<'a> {
    pub(super) it: &'a Instrument,
    pub(super) day: &'a Ticker24h,
    /// Lowest and highest of a year.
    pub(super) year: (Price, Price),
    pub(super) bbo: Bbo,
}

impl Figures<'_> {
    /// A frame of `ticker`, or of `ticker_batch`, which lacks the best prices.
    pub(super) fn frame(&self, channel: &str, kind: &str, now_us: i64) -> String {
        let Self { it, day, year, bbo } = self;
        let mut row = format!(
            "{{\"type\":\"ticker\",\"product_id\":\"{}\",\"price\":\"{}\",\"volume_24_h\":\"{}\",\
             \"low_24_h\":\"{}\",\"high_24_h\":\"{}\",\"low_52_w\":\"{}\",\"high_52_w\":\"{}\",\
             \"price_percent_chg_24_h\":\"{}\"",
            it.symbol,
            it.price(day.last).trimmed(),
            it.qty(day.volume).trimmed(),
            it.price(day.low).trimmed(),
            it.price(day.high).trimmed(),
            it.price(year.0.min(day.low)).trimmed(),
            it.price(year.1.max(day.high)).trimmed(),
            percent(day),
        );
        if channel == "ticker" {
            let text = |side: Option<(Price, Qty)>| match side {
                Some((price, qty)) => (
                    it.price(price).trimmed().to_string(),
                    it.qty(qty).trimmed().to_string(),
                ),
                None => (String::new(), String::new()),
            };
            let ((bid, bid_qty), (ask, ask_qty)) = (text(bbo.bid), text(bbo.ask));
            let _ = write!(
                row,
                ",\"best_bid\":\"{bid}\",\"best_ask\":\"{ask}\",\
                 \"best_bid_quantity\":\"{bid_qty}\",\"best_ask_quantity\":\"{ask_qty}\""
            );
        }
        row.push('}');
        let event = format!("{{\"type\":\"{kind}\",\"tickers\":[{row}]}}");
        frame(channel, now_us, &event)
    }
}

/// How far the price moved in a day, per cent with fourteen decimals at most.
pub(super) fn percent(day: &Ticker24h) -> String {
    const SCALE: u32 = 14;
    let moved = i128::from(day.last.0 - day.open.0) * 100 * 10_i128.pow(SCALE);
    let share = moved.checked_div(i128::from(day.open.0)).unwrap_or(0);
    crate::market::Fixed::new(share, SCALE)
        .trimmed()
        .to_string()
}

/// A bar; REST's have no product.
pub(super) fn candle(it: &Instrument, bar: &Kline, product: Option<&str>) -> String {
    let [open, high, low, close] =
        [bar.open, bar.high, bar.low, bar.close].map(|price| it.price(price).trimmed());
    let volume = it.qty(bar.volume).trimmed();
    let start = bar.open_ms.div_euclid(1_000);
    match product {
        Some(product) => format!(
            "{{\"start\":\"{start}\",\"high\":\"{high}\",\"low\":\"{low}\",\"open\":\"{open}\",\
             \"close\":\"{close}\",\"volume\":\"{volume}\",\"product_id\":\"{product}\"}}"
        ),
        None => format!(
            "{{\"start\":\"{start}\",\"low\":\"{low}\",\"high\":\"{high}\",\"open\":\"{open}\",\
             \"close\":\"{close}\",\"volume\":\"{volume}\"}}"
        ),
    }
}

/// Bars, oldest first.
pub(super) fn candles(it: &Instrument, kind: &str, now_us: i64, bars: &[Kline]) -> String {
    let rows: Vec<String> = bars
        .iter()
        .map(|bar| candle(it, bar, Some(&it.symbol)))
        .collect();
    let event = format!("{{\"type\":\"{kind}\",\"candles\":[{}]}}", rows.join(","));
    frame("candles", now_us, &event)
}

/// The sign of life of a second.
pub(super) fn heartbeat(now_us: i64, counter: i64) -> String {
    let now = jiff::Timestamp::from_microsecond(now_us)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .strftime("%Y-%m-%d %H:%M:%S%.f +0000 UTC")
        .to_string();
    let event = format!(
        "{{\"current_time\":\"{now} m=+{counter}.260485341\",\"heartbeat_counter\":{counter}}}"
    );
    frame("heartbeats", now_us, &event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_decimals_that_they_need() {
        for (ts_us, expected) in [
            (1_786_309_548_170_326, "2026-08-09T21:05:48.170326Z"),
            (1_786_309_548_500_000, "2026-08-09T21:05:48.5Z"),
            (1_786_309_548_000_000, "2026-08-09T21:05:48Z"),
        ] {
            assert_eq!(time(ts_us), expected);
        }
    }

    #[test]
    fn frames_read_as_recorded() {
        let frame = heartbeat(1_786_309_548_854_840, 41_691).replace(NUMBER, "35");
        assert_eq!(
            frame,
            "{\"channel\":\"heartbeats\",\"timestamp\":\"2026-08-09T21:05:48.854840507Z\",\
             \"sequence_num\":35,\"events\":[{\"current_time\":\"2026-08-09 21:05:48.85484 +0000 \
             UTC m=+41691.260485341\",\"heartbeat_counter\":41691}]}"
        );
    }
}
