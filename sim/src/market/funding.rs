//! Index, mark price and funding of futures.
//!
//! - Index: mean of our spot touch (if the pair trades here) and two outside venues that follow
//!   the latent price.
//! - Premium: `(max(0, impact bid − index) − max(0, index − impact ask)) / index`, where an impact
//!   price is the average price of taking a fixed value from that side of the book. Sampled every
//!   5 s; sample `i` of an interval weighs `i`, so late samples count more.
//! - Rate: `P + clamp(I − P, −0.05 %, +0.05 %)`, for an interval of `h` hours times `h / 8`, cut
//!   to the instrument's cap; `P` the average premium, `I` the interest part per 8 h.
//! - Mark: the median of `index × (1 + rate × time left / interval)`, `index + 30 s mean of
//!   (mid − index)`, and the last price.
//!
//! This is the published method of Binance ("Introduction to Binance Futures funding rates",
//! "Mark price and price index"); sampling steps are ours. All values are integers in 10⁻⁸.

use std::collections::VecDeque;

use super::fixed::Fixed;
use super::instrument::FundingTerms;

/// A number in 10⁻⁸: an index or mark price in the quote asset, or a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct E8(pub i64);

impl E8 {
    /// The exact decimal, eight decimals.
    #[must_use]
    pub const fn fixed(self) -> Fixed {
        Fixed::new(self.0 as i128, 8)
    }
}

/// Mark, index and coming funding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PremiumIndex {
    /// Mark price.
    pub mark: E8,
    /// Index price.
    pub index: E8,
    /// Estimated settlement price: mean index of the last 30 s.
    pub settle: E8,
    /// The coming funding; `None` for a dated future.
    pub funding: Option<NextFunding>,
    /// When it was computed, Unix ms.
    pub ts_ms: i64,
}

/// The coming settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextFunding {
    /// Rate as it stands now.
    pub rate: E8,
    /// Settlement time, Unix ms.
    pub ts_ms: i64,
}

/// A settled funding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FundingRate {
    /// Settlement time, Unix ms.
    pub ts_ms: i64,
    /// Rate charged.
    pub rate: E8,
    /// Mark price then.
    pub mark: E8,
}

/// Seconds between premium samples.
pub(super) const SAMPLE_SECS: i64 = 5;
const SECOND_MS: i64 = 1_000;
/// Half width of the interest clamp.
const CLAMP_E8: i64 = 50_000;
/// Seconds averaged for the basis and the settlement price.
const MEAN_SECS: usize = 30;
/// Settled rates kept.
const SETTLED_MAX: usize = 3_000;

/// Average premium of one interval.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PremiumAverage {
    weighted: i128,
    weights: i128,
    samples: i128,
}

impl PremiumAverage {
    pub(super) fn add(&mut self, premium_e8: i64) {
        self.samples += 1;
        self.weights += self.samples;
        self.weighted += self.samples * i128::from(premium_e8);
    }

    fn value(&self) -> i64 {
        if self.weights == 0 {
            return 0;
        }
        (self.weighted / self.weights) as i64
    }

    pub(super) fn rate(&self, terms: &FundingTerms) -> i64 {
        let premium = self.value();
        let rate = premium + (terms.interest_e8 - premium).clamp(-CLAMP_E8, CLAMP_E8);
        let cap = terms.cap_e8.max(0);
        (rate * i64::from(terms.interval_hours) / 8).clamp(-cap, cap)
    }
}

/// Settlement interval in ms.
pub(super) fn interval_ms(terms: &FundingTerms) -> i64 {
    i64::from(terms.interval_hours.clamp(1, 24)) * 3_600_000
}

/// The first settlement after `ts_ms`.
pub(super) fn next_settlement(terms: &FundingTerms, ts_ms: i64) -> i64 {
    let interval = interval_ms(terms);
    (ts_ms.div_euclid(interval) + 1) * interval
}

/// What is seen of the market each second, in 10⁻⁸ of the quote asset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) index: i64,
    pub(super) last: i64,
    /// Middle of the touch.
    pub(super) mid: Option<i64>,
    /// Average prices of selling into the bids and buying from the asks; asked for only when a
    /// sample is due.
    pub(super) impact: Option<(i64, i64)>,
}

/// Mark and funding of one future.
#[derive(Debug)]
pub(super) struct MarkPrice {
    terms: Option<FundingTerms>,
    average: PremiumAverage,
    next_ms: i64,
    basis: VecDeque<i64>,
    index: VecDeque<i64>,
    current: PremiumIndex,
    pub(super) settled: VecDeque<FundingRate>,
}

impl MarkPrice {
    /// `average` is what the running interval has before the start.
    pub(super) fn new(
        terms: Option<FundingTerms>,
        average: PremiumAverage,
        now_ms: i64,
        index: i64,
    ) -> Self {
        let next_ms = terms
            .as_ref()
            .map_or(i64::MAX, |terms| next_settlement(terms, now_ms));
        let funding = terms.as_ref().map(|terms| NextFunding {
            rate: E8(average.rate(terms)),
            ts_ms: next_ms,
        });
        let (mark, index) = (E8(index), E8(index));
        Self {
            terms,
            average,
            next_ms,
            basis: VecDeque::with_capacity(MEAN_SECS),
            index: VecDeque::with_capacity(MEAN_SECS),
            current: PremiumIndex {
                mark,
                index,
                settle: index,
                funding,
                ts_ms: now_ms,
            },
            settled: VecDeque::new(),
        }
    }

    pub(super) fn current(&self) -> PremiumIndex {
        self.current
    }

    /// A second has passed; returns the funding if it was settled now.
    pub(super) fn second(&mut self, now_ms: i64, seen: &Seen) -> Option<FundingRate> {
        let mut settled = None;
        if let Some(terms) = &self.terms {
            if now_ms >= self.next_ms {
                let rate = FundingRate {
                    ts_ms: self.next_ms,
                    rate: E8(self.average.rate(terms)),
                    mark: self.current.mark,
                };
                if self.settled.len() >= SETTLED_MAX {
                    self.settled.pop_front();
                }
                self.settled.push_back(rate);
                settled = Some(rate);
                self.average = PremiumAverage::default();
                self.next_ms = next_settlement(terms, now_ms);
            }
            if let Some((bid, ask)) = seen.impact
                && seen.index > 0
            {
                let premium = (bid - seen.index).max(0) - (seen.index - ask).max(0);
                let relative = i128::from(premium) * 100_000_000 / i128::from(seen.index);
                self.average.add(relative as i64);
            }
        }
        let basis_now = seen.mid.map_or(0, |mid| mid - seen.index);
        let basis = mean_with(&mut self.basis, basis_now);
        let settle = mean_with(&mut self.index, seen.index);
        let funding = self.terms.as_ref().map(|terms| NextFunding {
            rate: E8(self.average.rate(terms)),
            ts_ms: self.next_ms,
        });
        let by_funding = match (&funding, &self.terms) {
            (Some(next), Some(terms)) => {
                let left = i128::from((self.next_ms - now_ms).max(0));
                let whole = i128::from(interval_ms(terms)) * 100_000_000;
                let part = i128::from(seen.index) * i128::from(next.rate.0) * left / whole;
                seen.index + part as i64
            }
            _ => seen.index + basis,
        };
        let mut three = [by_funding, seen.index + basis, seen.last];
        three.sort_unstable();
        self.current = PremiumIndex {
            mark: E8(three[1]),
            index: E8(seen.index),
            settle: E8(settle),
            funding,
            ts_ms: now_ms,
        };
        settled
    }

    /// Whether the impact prices are wanted at this second.
    pub(super) fn wants_impact(&self, now_ms: i64) -> bool {
        self.terms.is_some() && now_ms.rem_euclid(SAMPLE_SECS * SECOND_MS) == 0
    }
}

fn mean_with(window: &mut VecDeque<i64>, value: i64) -> i64 {
    if window.len() >= MEAN_SECS {
        window.pop_front();
    }
    window.push_back(value);
    let sum: i128 = window.iter().map(|value| i128::from(*value)).sum();
    (sum / window.len() as i128) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: FundingTerms = FundingTerms {
        interval_hours: 8,
        cap_e8: 300_000,
        interest_e8: 10_000,
    };

    #[test]
    fn rate_follows_the_published_formula() {
        let check = |premium: i64, hours: u32, rate: i64| {
            let mut average = PremiumAverage::default();
            average.add(premium);
            average.add(premium);
            let terms = FundingTerms {
                interval_hours: hours,
                ..TERMS
            };
            assert_eq!(average.rate(&terms), rate, "premium {premium}, {hours} h");
        };
        // Within ±0.05 % of the interest the rate is the interest.
        check(0, 8, 10_000);
        check(60_000, 8, 10_000);
        check(-40_000, 8, 10_000);
        // Beyond it follows the premium at that distance.
        check(100_000, 8, 50_000);
        check(-100_000, 8, -50_000);
        check(100_000, 4, 25_000);
        // And stays within the cap.
        check(5_000_000, 8, 300_000);
        check(-5_000_000, 4, -300_000);
    }

    #[test]
    fn later_samples_weigh_more() {
        let mut average = PremiumAverage::default();
        average.add(0);
        average.add(300_000);
        assert_eq!(average.value(), 200_000);
    }

    #[test]
    fn mark_is_the_median_and_settlement_happens_once() {
        let start = 8 * 3_600_000 - 1_000;
        let mut mark = MarkPrice::new(Some(TERMS), PremiumAverage::default(), start - 1, 1_000_000);
        let seen = Seen {
            index: 1_000_000,
            last: 2_000_000,
            mid: Some(1_000_500),
            impact: Some((1_000_000, 1_000_000)),
        };
        assert_eq!(mark.second(start, &seen), None);
        assert_eq!(mark.current().mark, E8(1_000_500));
        let settled = mark.second(start + 1_000, &seen).unwrap();
        assert_eq!((settled.ts_ms, settled.rate), (start + 1_000, E8(10_000)));
        assert_eq!(mark.second(start + 2_000, &seen), None);
        assert_eq!(mark.current().funding.unwrap().ts_ms, 16 * 3_600_000);
    }
}
