//! Checks of closed bars before they are stored: what can't be, and what is hard to believe.
//!
//! Two kinds of rules:
//! - **Impossible**: the numbers contradict each other or the level. [`impossible`] needs nothing
//!   but the bar.
//! - **Outlier**: a price far from those of the neighbouring bars. The rule is robust, so that a
//!   spike does not hide itself: next to the closes of up to [`NEIGHBOURS`] bars, a bar is far off
//!   when its high or its low is both more than [`MADS`] median absolute deviations and more than a
//!   factor away from their median. The factor is 2 up to 30 minutes, 3 for 1 and 4 hours, 5 for a
//!   day. It is an outlier when it is far off from the bars before it and from those after it, so
//!   that a price that goes somewhere and stays is none. A side with fewer than [`NEIGHBOURS_MIN`]
//!   bars says nothing; where there are few bars after it, as live, two in a row at one
//!   price believe each other ([`confirms`]).
//!
//! All arithmetic is on integers: prices of one instrument have one scale.

use std::fmt;

use crate::event::Kline;
use crate::instrument::Instrument;
use crate::time::Level;

/// Bars on each side that a bar is compared with.
pub const NEIGHBOURS: usize = 15;
/// With fewer neighbours there is nothing to compare with.
pub const NEIGHBOURS_MIN: usize = 5;
/// Median absolute deviations within which a price is never an outlier.
pub const MADS: i128 = 10;

/// What is wrong with a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A price is not above zero, the high is below another price, or the low above one.
    ImpossibleOhlc,
    /// A volume is negative.
    NegativeVolume,
    /// The traded value lies outside volume times low and volume times high, by more than a
    /// thousandth, one step of the quantity and one unit of the quote.
    QuoteVolume,
    /// The bar does not begin at a multiple of its length.
    Misaligned,
    /// A price far from those around it.
    Outlier,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::ImpossibleOhlc,
        Self::NegativeVolume,
        Self::QuoteVolume,
        Self::Misaligned,
        Self::Outlier,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImpossibleOhlc => "impossible_ohlc",
            Self::NegativeVolume => "negative_volume",
            Self::QuoteVolume => "quote_volume",
            Self::Misaligned => "misaligned",
            Self::Outlier => "outlier",
        }
    }

    /// The fault of a public name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a bar can't be true; `None`: it can.
#[must_use]
pub fn impossible(instrument: &Instrument, bar: &Kline) -> Option<Fault> {
    let (open, high, low, close) = (bar.open.0, bar.high.0, bar.low.0, bar.close.0);
    if low <= 0 || high < open.max(close).max(low) || low > open.min(close) {
        return Some(Fault::ImpossibleOhlc);
    }
    if bar.volume.0 < 0 || bar.volume_quote.is_some_and(|value| value < 0) {
        return Some(Fault::NegativeVolume);
    }
    if bar.open_time.0.rem_euclid(bar.level.nanos()) != 0 {
        return Some(Fault::Misaligned);
    }
    let value = bar.volume_quote?;
    // Both have the scale of price and quantity together.
    let least = i128::from(low) * i128::from(bar.volume.0);
    let most = i128::from(high) * i128::from(bar.volume.0);
    let scale = u32::from(instrument.price_scale) + u32::from(instrument.qty_scale);
    let unit = 10i128.checked_pow(scale).unwrap_or(i128::MAX / 4);
    let slack = most / 1000 + i128::from(high) + unit;
    (value < least - slack || value > most + slack).then_some(Fault::QuoteVolume)
}

/// Factor by which a price must differ from the median around it.
const fn factor(level: Level) -> i128 {
    match level {
        Level::M1 | Level::M5 | Level::M15 | Level::M30 => 2,
        Level::H1 | Level::H4 => 3,
        Level::D1 => 5,
    }
}

/// True when `price` is a factor of the level or more away from `from`.
fn is_far(level: Level, price: i64, from: i64) -> bool {
    let (price, from) = (i128::from(price), i128::from(from));
    price > from * factor(level) || price * factor(level) < from
}

/// True when a bar's prices are far off from these closes, at most [`NEIGHBOURS`] of one side (the
/// module tells the rule); the closes are left in another order.
#[must_use]
pub fn is_far_off(bar: &Kline, closes: &mut [i64]) -> bool {
    if closes.len() < NEIGHBOURS_MIN {
        return false;
    }
    let middle = median(closes);
    let is_far = |price| is_far(bar.level, price, middle);
    if !is_far(bar.high.0) && !is_far(bar.low.0) {
        return false;
    }
    let away = |price: i64| price.saturating_sub(middle).saturating_abs();
    let farthest = away(bar.high.0).max(away(bar.low.0));
    for close in closes.iter_mut() {
        *close = away(*close);
    }
    i128::from(farthest) > MADS * i128::from(median(closes))
}

/// True when the bar after an outlier stays at its price: then it was no outlier.
#[must_use]
pub fn confirms(outlier: &Kline, next: &Kline) -> bool {
    let close = outlier.close.0;
    // A wick proves nothing: what has to be confirmed is where the bar ended.
    !is_far(outlier.level, next.close.0, close)
        && !is_far(outlier.level, outlier.high.0, close)
        && !is_far(outlier.level, outlier.low.0, next.close.0)
}

/// The middle one; of an even number the lower of both.
fn median(values: &mut [i64]) -> i64 {
    let middle = values.len().saturating_sub(1) / 2;
    match values.is_empty() {
        true => 0,
        false => *values.select_nth_unstable(middle).1,
    }
}

/// Of bars of one level in ascending order the outliers, each judged by its neighbours.
#[must_use]
pub fn outliers(bars: &[Kline]) -> Vec<bool> {
    let mut closes = Vec::with_capacity(NEIGHBOURS);
    let mut is_far_off = |bar: &Kline, side: &[Kline]| {
        closes.clear();
        closes.extend(side.iter().map(|bar| bar.close.0));
        is_far_off(bar, &mut closes)
    };
    let judge = |at: usize| {
        let bar = &bars[at];
        let before = &bars[at.saturating_sub(NEIGHBOURS)..at];
        let after = &bars[at + 1..bars.len().min(at + 1 + NEIGHBOURS)];
        match (before.len() >= NEIGHBOURS_MIN, after) {
            (true, after) if after.len() >= NEIGHBOURS_MIN => {
                is_far_off(bar, before) && is_far_off(bar, after)
            }
            (true, after) => {
                let is_confirmed = before.last().is_some_and(|before| confirms(before, bar))
                    || after.first().is_some_and(|next| confirms(bar, next));
                !is_confirmed && is_far_off(bar, before)
            }
            (false, after) => is_far_off(bar, after),
        }
    };
    (0..bars.len()).map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::ProviderId;
    use crate::instrument::{InstrumentSpec, InstrumentTable, Market};
    use crate::num::{Price, Qty};
    use crate::time::TsNanos;
    use proptest::prelude::*;
    use rust_decimal::Decimal;
    use std::sync::Arc;

    const MINUTE: i64 = 60_000_000_000;

    fn instrument() -> Arc<Instrument> {
        let spec = InstrumentSpec {
            provider: ProviderId::BINANCE,
            exchange: "binance".to_owned(),
            market: Market::Spot,
            native_symbol: "BTCUSDT".to_owned(),
            base_symbol: "BTC".to_owned(),
            quote_symbol: "USDT".to_owned(),
            settlement_symbol: None,
            price_step: Decimal::new(1, 2),
            qty_step: Decimal::new(1, 3),
            bar_levels: None,
            price_digits: 2,
            qty_digits: 3,
            min_qty: None,
            max_qty: None,
            min_notional: None,
            maker_fee: None,
            taker_fee: None,
            is_active: true,
            margin_enabled: false,
            list_date: None,
            contract_size: Decimal::ONE,
            max_leverage: None,
            funding_interval_hours: None,
            native_code: None,
        };
        let table = InstrumentTable::default();
        let table = table.with_market(ProviderId::BINANCE, Market::Spot, vec![spec]);
        table.iter().next().unwrap().clone()
    }

    /// Open, high, low, close in hundredths; volume in thousandths, its value at the scale of both.
    fn bar(minute: i64, prices: [i64; 4], volume: i64, value: Option<i128>) -> Kline {
        let [open, high, low, close] = prices.map(Price);
        Kline {
            level: Level::M1,
            open_time: TsNanos(minute * MINUTE),
            open,
            high,
            low,
            close,
            volume: Qty(volume),
            volume_quote: value,
            trade_count: Some(3),
            is_closed: true,
            ts_event: TsNanos((minute + 1) * MINUTE),
        }
    }

    fn flat(minute: i64, price: i64) -> Kline {
        bar(minute, [price; 4], 1000, Some(i128::from(price) * 1000))
    }

    #[test]
    fn contradictions_are_found() {
        let instrument = instrument();
        let check = |prices, volume, value| impossible(&instrument, &bar(7, prices, volume, value));
        let fine = [1_000_000, 1_010_000, 990_000, 1_005_000];
        assert_eq!(check(fine, 2_000, Some(2_000_000_000)), None);
        assert_eq!(check(fine, 2_000, None), None, "value not told");
        let ohlc = Some(Fault::ImpossibleOhlc);
        assert_eq!(check([100, 99, 90, 95], 0, None), ohlc, "high below open");
        assert_eq!(check([95, 99, 90, 100], 0, None), ohlc, "high below close");
        assert_eq!(check([95, 99, 96, 97], 0, None), ohlc, "low above open");
        assert_eq!(check([97, 99, 96, 95], 0, None), ohlc, "low above close");
        assert_eq!(check([0, 99, 0, 95], 0, None), ohlc, "a price of zero");
        let negative = Some(Fault::NegativeVolume);
        assert_eq!(check(fine, -1, None), negative);
        assert_eq!(check(fine, 2_000, Some(-1)), negative);
        let value = Some(Fault::QuoteVolume);
        // Between 19,800 and 20,200 quote units, one and a thousandth more or less.
        let units = |units: i128| Some(units * 100_000);
        assert_eq!(check(fine, 2_000, units(19_785)), None, "rounded");
        assert_eq!(check(fine, 2_000, units(19_700)), value);
        assert_eq!(check(fine, 2_000, units(20_215)), None, "rounded");
        assert_eq!(check(fine, 2_000, units(20_300)), value);
        assert_eq!(check(fine, 0, units(1_000_000)), value, "of nothing");
        let mut late = flat(7, 100);
        late.open_time.0 += 1;
        assert_eq!(impossible(&instrument, &late), Some(Fault::Misaligned));
    }

    #[test]
    fn a_spike_is_an_outlier_and_a_step_is_none() {
        let mut bars: Vec<Kline> = (0..40)
            .map(|minute| flat(minute, 10_000 + minute))
            .collect();
        assert!(!outliers(&bars).contains(&true));
        bars[20].high = Price(25_000);
        let found = outliers(&bars);
        assert!(found[20] && found.iter().filter(|out| **out).count() == 1);
        bars[20] = flat(20, 4_000);
        assert!(outliers(&bars)[20], "down too");
        let step: Vec<Kline> = (0..40)
            .map(|minute| flat(minute, if minute < 20 { 10_000 } else { 30_000 }))
            .collect();
        assert!(!outliers(&step).contains(&true), "it stays there");
        assert!(
            !outliers(&step[..22]).contains(&true),
            "as the next bar shows"
        );
        assert!(outliers(&step[..21])[20], "nothing shows it");
        assert!(!outliers(&bars[18..23])[2], "too few neighbours");
    }

    #[test]
    fn the_next_bar_confirms_a_step_and_no_spike() {
        let (spike, step) = (bar(1, [100, 900, 100, 101], 0, None), flat(1, 900));
        assert!(confirms(&step, &flat(2, 880)));
        assert!(!confirms(&step, &flat(2, 101)));
        assert!(!confirms(&spike, &flat(2, 101)), "back where it was");
        assert!(!confirms(&spike, &flat(2, 900)), "a wick is not confirmed");
    }

    #[test]
    fn names_come_back() {
        for fault in Fault::ALL {
            assert_eq!(Fault::parse(fault.as_str()), Some(fault));
        }
        assert_eq!(Fault::parse("no"), None);
    }

    proptest! {
        /// Bars that are added up from trades are never impossible, however few or small they are.
        #[test]
        fn sums_of_trades_pass(trades in prop::collection::vec((1i64..1 << 40, 1i64..1 << 20), 1..40)) {
            let prices = || trades.iter().map(|(price, _)| *price);
            let (high, low) = (prices().max().unwrap(), prices().min().unwrap());
            let volume: i64 = trades.iter().map(|(_, qty)| *qty).sum();
            let value = trades.iter().map(|(price, qty)| i128::from(*price) * i128::from(*qty)).sum();
            let ends = (trades[0].0, trades[trades.len() - 1].0);
            let bar = bar(1, [ends.0, high, low, ends.1], volume, Some(value));
            prop_assert_eq!(impossible(&instrument(), &bar), None);
        }

        /// Nothing overflows, whatever an exchange sends.
        #[test]
        fn any_numbers_can_be_judged(prices: [i64; 4], volume: i64, value: Option<i64>, closes in prop::collection::vec(any::<i64>(), 0..31)) {
            let bar = bar(1, prices, volume, value.map(i128::from));
            let _ = impossible(&instrument(), &bar);
            let _ = is_far_off(&bar, &mut closes.clone());
            let _ = confirms(&bar, &bar);
        }

        /// A random walk of up to a tenth a bar has no outliers.
        #[test]
        fn a_walk_has_no_outliers(steps in prop::collection::vec(-100i64..=100, 10..80)) {
            let mut price = 1_000_000i64;
            let bars: Vec<Kline> = (0..).zip(&steps).map(|(minute, step)| {
                price += price / 1000 * step / 4;
                flat(minute, price)
            }).collect();
            prop_assert!(!outliers(&bars).contains(&true));
        }
    }
}
