//! Bars: intervals, one bar's arithmetic, and the minute bars of the live part.

use std::collections::{BTreeMap, VecDeque};

use super::event::{Side, Trade};
use super::instrument::{Notional, Price, Qty};

/// A minute in ms.
pub(super) const MINUTE_MS: i64 = 60_000;
/// A day in ms.
pub(super) const DAY_MS: i64 = 86_400_000;
/// Minutes of a day.
pub(super) const DAY_MINUTES: i64 = 1_440;

/// Bar length; open times are aligned in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Interval {
    /// 1 minute.
    M1,
    /// 3 minutes.
    M3,
    /// 5 minutes.
    M5,
    /// 15 minutes.
    M15,
    /// 30 minutes.
    M30,
    /// 1 hour.
    H1,
    /// 2 hours.
    H2,
    /// 4 hours.
    H4,
    /// 6 hours.
    H6,
    /// 8 hours.
    H8,
    /// 12 hours.
    H12,
    /// 1 day.
    D1,
    /// 3 days, counted from 1970-01-01.
    D3,
    /// Monday to Sunday.
    W1,
    /// Calendar month.
    Month1,
}

impl Interval {
    /// All of them, shortest first.
    pub const ALL: [Self; 15] = [
        Self::M1,
        Self::M3,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H2,
        Self::H4,
        Self::H6,
        Self::H8,
        Self::H12,
        Self::D1,
        Self::D3,
        Self::W1,
        Self::Month1,
    ];

    /// The usual name: `1m` … `1d`, `3d`, `1w`, `1M`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M3 => "3m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H2 => "2h",
            Self::H4 => "4h",
            Self::H6 => "6h",
            Self::H8 => "8h",
            Self::H12 => "12h",
            Self::D1 => "1d",
            Self::D3 => "3d",
            Self::W1 => "1w",
            Self::Month1 => "1M",
        }
    }

    /// The interval of that name; case matters.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|interval| interval.as_str() == name)
    }

    /// Length in minutes; `None` for a month.
    #[must_use]
    pub const fn minutes(self) -> Option<i64> {
        Some(match self {
            Self::M1 => 1,
            Self::M3 => 3,
            Self::M5 => 5,
            Self::M15 => 15,
            Self::M30 => 30,
            Self::H1 => 60,
            Self::H2 => 120,
            Self::H4 => 240,
            Self::H6 => 360,
            Self::H8 => 480,
            Self::H12 => 720,
            Self::D1 => DAY_MINUTES,
            Self::D3 => 3 * DAY_MINUTES,
            Self::W1 => 7 * DAY_MINUTES,
            Self::Month1 => return None,
        })
    }

    /// Open time of the bar that holds `ts_ms`.
    #[must_use]
    pub fn open_of(self, ts_ms: i64) -> i64 {
        // 1970-01-05 was the first Monday.
        let shift = if self == Self::W1 { 4 * DAY_MS } else { 0 };
        match self.minutes() {
            Some(minutes) => {
                let length = minutes * MINUTE_MS;
                (ts_ms - shift).div_euclid(length) * length + shift
            }
            None => {
                let (year, month) = month_of(ts_ms);
                first_of_month(year, month)
            }
        }
    }

    /// Open time of the bar after the one that opens at `open_ms`.
    #[must_use]
    pub fn next_open(self, open_ms: i64) -> i64 {
        match self.minutes() {
            Some(minutes) => open_ms + minutes * MINUTE_MS,
            None => match month_of(open_ms) {
                (year, 12) => first_of_month(year + 1, 1),
                (year, month) => first_of_month(year, month + 1),
            },
        }
    }
}

fn month_of(ts_ms: i64) -> (i16, i8) {
    let date = jiff::Timestamp::from_millisecond(ts_ms)
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .date();
    (date.year(), date.month())
}

fn first_of_month(year: i16, month: i8) -> i64 {
    jiff::civil::Date::new(year, month, 1)
        .and_then(|date| date.to_zoned(jiff::tz::TimeZone::UTC))
        .map_or(0, |zoned| zoned.timestamp().as_millisecond())
}

/// Sums of one bar. `trades == 0`: nothing traded, all four prices are the close before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Bar {
    pub(super) open: i64,
    pub(super) high: i64,
    pub(super) low: i64,
    pub(super) close: i64,
    pub(super) volume: i64,
    pub(super) quote: i128,
    pub(super) buy_volume: i64,
    pub(super) buy_quote: i128,
    pub(super) first_id: u64,
    pub(super) trades: u64,
}

impl Bar {
    /// A bar without trades after a close.
    pub(super) fn flat(price: i64) -> Self {
        Self {
            open: price,
            high: price,
            low: price,
            close: price,
            ..Self::default()
        }
    }

    /// Adds `count` trades at one price and side with a total quantity.
    pub(super) fn add(&mut self, price: i64, qty: i64, side: Side, first_id: u64, count: u64) {
        if self.trades == 0 {
            (self.open, self.high, self.low, self.first_id) = (price, price, price, first_id);
        }
        self.high = self.high.max(price);
        self.low = self.low.min(price);
        self.close = price;
        let quote = i128::from(price) * i128::from(qty);
        self.volume += qty;
        self.quote += quote;
        if side == Side::Buy {
            self.buy_volume += qty;
            self.buy_quote += quote;
        }
        self.trades += count;
    }

    pub(super) fn add_trade(&mut self, trade: &Trade) {
        self.add(trade.price.0, trade.qty.0, trade.taker_side, trade.id, 1);
    }

    /// Appends the bar that follows this one in time.
    pub(super) fn join(&mut self, next: &Bar) {
        if next.trades == 0 {
            return;
        }
        if self.trades == 0 {
            *self = *next;
            return;
        }
        self.high = self.high.max(next.high);
        self.low = self.low.min(next.low);
        self.close = next.close;
        self.volume += next.volume;
        self.quote += next.quote;
        self.buy_volume += next.buy_volume;
        self.buy_quote += next.buy_quote;
        self.trades += next.trades;
    }
}

/// A bar as told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kline {
    /// Open time, Unix ms.
    pub open_ms: i64,
    /// Close time, Unix ms: the next open minus one.
    pub close_ms: i64,
    /// First price; without trades all four are the close before it.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price.
    pub close: Price,
    /// Base volume in lots.
    pub volume: Qty,
    /// Quote volume.
    pub quote_volume: Notional,
    /// Base volume of buying takers.
    pub taker_buy_volume: Qty,
    /// Quote volume of buying takers.
    pub taker_buy_quote: Notional,
    /// First and last trade id; `None` without trades.
    pub trade_ids: Option<(u64, u64)>,
    /// Number of trades.
    pub trades: u64,
    /// Whether its time is over.
    pub is_closed: bool,
}

impl Kline {
    pub(super) fn from_bar(bar: &Bar, open_ms: i64, next_open_ms: i64, now_ms: i64) -> Self {
        Self {
            open_ms,
            close_ms: next_open_ms - 1,
            open: Price(bar.open),
            high: Price(bar.high),
            low: Price(bar.low),
            close: Price(bar.close),
            volume: Qty(bar.volume),
            quote_volume: Notional(bar.quote),
            taker_buy_volume: Qty(bar.buy_volume),
            taker_buy_quote: Notional(bar.buy_quote),
            trade_ids: (bar.trades > 0).then(|| (bar.first_id, bar.first_id + bar.trades - 1)),
            trades: bar.trades,
            is_closed: now_ms >= next_open_ms,
        }
    }
}

/// Which rows of a time range are wanted: both bounds inclusive on the open or trade time. With a
/// start the first `limit` rows from it, without one the last `limit` rows up to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// From, Unix ms.
    pub start_ms: Option<i64>,
    /// To, Unix ms.
    pub end_ms: Option<i64>,
    /// Most rows.
    pub limit: usize,
}

impl TimeRange {
    /// The last `limit` rows.
    #[must_use]
    pub const fn latest(limit: usize) -> Self {
        Self {
            start_ms: None,
            end_ms: None,
            limit,
        }
    }
}

/// The minute bars since the start: the newest kept as they are, older ones folded into days.
#[derive(Debug)]
pub(super) struct LiveBars {
    first_minute: i64,
    minutes: VecDeque<Bar>,
    kept_max: usize,
    /// Per UTC day, what left `minutes`.
    folded: BTreeMap<i64, Bar>,
}

impl LiveBars {
    /// Starts in `minute` with what history already has of it.
    pub(super) fn new(minute: i64, running: Bar, kept_max: usize) -> Self {
        let minutes = VecDeque::from([running]);
        Self {
            first_minute: minute,
            minutes,
            kept_max: kept_max.max(2),
            folded: BTreeMap::new(),
        }
    }

    fn last_minute(&self) -> i64 {
        self.first_minute + self.minutes.len() as i64 - 1
    }

    /// Opens bars up to `minute`, flat where nothing traded.
    pub(super) fn roll_to(&mut self, minute: i64) {
        while self.last_minute() < minute {
            let close = self.minutes.back().map_or(0, |bar| bar.close);
            self.minutes.push_back(Bar::flat(close));
            if self.minutes.len() > self.kept_max
                && let Some(old) = self.minutes.pop_front()
            {
                let day = self.first_minute.div_euclid(DAY_MINUTES);
                self.folded
                    .entry(day)
                    .or_insert_with(|| Bar::flat(old.open))
                    .join(&old);
                self.first_minute += 1;
            }
        }
    }

    pub(super) fn add(&mut self, trade: &Trade) {
        self.roll_to(trade.ts_us.div_euclid(MINUTE_MS * 1_000));
        if let Some(bar) = self.minutes.back_mut() {
            bar.add_trade(trade);
        }
    }

    /// The bar of a minute, unless it was folded or lies ahead.
    pub(super) fn minute(&self, minute: i64) -> Option<&Bar> {
        self.minutes
            .get(usize::try_from(minute - self.first_minute).ok()?)
    }

    /// First minute still kept one by one.
    pub(super) fn first_minute(&self) -> i64 {
        self.first_minute
    }

    /// The live part of a day: what was folded.
    pub(super) fn folded(&self, day: i64) -> Option<&Bar> {
        self.folded.get(&day)
    }

    pub(super) fn last_price(&self) -> i64 {
        self.minutes.back().map_or(0, |bar| bar.close)
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.minutes.len() + self.folded.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_times() {
        // Wednesday 2024-02-14 13:37:42.123 UTC.
        let ts = 1_707_917_862_123;
        let check = |interval: Interval, open: i64, next: i64| {
            assert_eq!(interval.open_of(ts), open, "{}", interval.as_str());
            assert_eq!(interval.next_open(open), next, "{}", interval.as_str());
            assert_eq!(Interval::parse(interval.as_str()), Some(interval));
        };
        check(Interval::M1, 1_707_917_820_000, 1_707_917_880_000);
        check(Interval::H8, 1_707_897_600_000, 1_707_926_400_000);
        check(Interval::D1, 1_707_868_800_000, 1_707_955_200_000);
        // Monday 2024-02-12.
        check(Interval::W1, 1_707_696_000_000, 1_708_300_800_000);
        // 2024-02-01 and 2024-03-01: a leap year.
        check(Interval::Month1, 1_706_745_600_000, 1_709_251_200_000);
        assert_eq!(Interval::D3.open_of(ts) % (3 * DAY_MS), 0);
        assert_eq!(Interval::parse("1s"), None);
    }

    #[test]
    fn folding_keeps_every_trade() {
        let mut bars = LiveBars::new(0, Bar::flat(5), 3);
        for minute in 0..3_000_i64 {
            let (id, price) = (minute as u64, Price(5 + minute % 7));
            let ts_us = minute * 60_000_000;
            bars.add(&Trade {
                id,
                price,
                qty: Qty(2),
                taker_side: Side::Buy,
                ts_us,
            });
        }
        let mut day = *bars.folded(0).unwrap();
        assert_eq!((day.trades, day.volume, day.first_id), (1_440, 2_880, 0));
        day.join(bars.folded(1).unwrap());
        day.join(bars.folded(2).unwrap());
        assert_eq!(day.trades + 3, 3_000);
        assert_eq!(bars.kept(), 6);
    }
}
