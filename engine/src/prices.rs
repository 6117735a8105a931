//! One instrument's prices at several providers: do they agree, who is off, and what to go by.
//!
//! With `p` the usable prices, `m` their median (of an even count: the mean of the two in the middle)
//! and `t` the threshold in percent:
//!
//! | what | formula |
//! |---|---|
//! | `max_deviation_pct` | `(max p - min p) / mean p × 100`, outliers included |
//! | `is_valid` | `max_deviation_pct ≤ t`, and no price is an outlier |
//! | distance of a price | `\|p - m\| / m × 100` |
//! | outlier | distance `> t`, of three prices or more: of two nobody can say which is wrong |
//! | `recommended_price` | mean of the prices that are no outliers, rounded to the price step (half away from zero); none when all are |
//! | `confidence_score` | `(prices that are no outliers / prices asked for) × max(0, 1 - largest distance among them / t)` |
//!
//! The median does not move when one provider of three is wrong, as the mean does; so it is what
//! distances are measured from. A provider that was asked for and has no price lowers the score.

use rust_decimal::{Decimal, RoundingStrategy};

/// Decimals that percentages and scores are shown with.
pub const SHOWN: u32 = 3;

/// What is agreed on when nothing else is said: 1 %.
pub const THRESHOLD_PCT: Decimal = Decimal::ONE;

/// What prices say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriceCheck {
    /// Their spread is within the threshold, and none is an outlier.
    pub is_valid: bool,
    /// Spread in percent of the mean, exact.
    pub max_deviation_pct: Decimal,
    /// Indices of prices that are off, in the order given.
    pub outliers: Vec<usize>,
    /// 0 to 1, exact.
    pub confidence_score: Decimal,
    /// What to go by; `None` when all are off.
    pub recommended_price: Option<Decimal>,
}

/// Compares prices; `asked` is how many were asked for, those without a price included, and `step`
/// the price step, where it is known. `None` for fewer than two, for one that is not positive, and
/// for numbers that exact arithmetic has no room for.
#[must_use]
pub fn check(
    prices: &[Decimal],
    asked: usize,
    threshold_pct: Decimal,
    step: Option<Decimal>,
) -> Option<PriceCheck> {
    let is_positive = |price: &Decimal| *price > Decimal::ZERO;
    if prices.len() < 2 || !prices.iter().all(is_positive) || threshold_pct <= Decimal::ZERO {
        return None;
    }
    let mut sorted = prices.to_vec();
    sorted.sort_unstable();
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    let mean = mean(&sorted)?;
    let max_deviation_pct = percent(high.checked_sub(low)?, mean)?;
    let median = match sorted.len() % 2 {
        1 => sorted[sorted.len() / 2],
        _ => self::mean(&sorted[sorted.len() / 2 - 1..=sorted.len() / 2])?,
    };
    // What is too far away to be told in numbers is far away.
    let distance = |price: &Decimal| percent((*price - median).abs(), median);
    let is_off = |price: &Decimal| {
        prices.len() > 2 && distance(price).is_none_or(|distance| distance > threshold_pct)
    };
    let outliers = prices.iter().enumerate();
    let outliers: Vec<usize> = outliers
        .filter_map(|(at, price)| is_off(price).then_some(at))
        .collect();
    let good: Vec<Decimal> = sorted.into_iter().filter(|price| !is_off(price)).collect();
    let largest = good.iter().map(distance).max().flatten();
    let closeness = largest
        .and_then(|largest| largest.checked_div(threshold_pct))
        .map_or(Decimal::ZERO, |part| {
            (Decimal::ONE - part.min(Decimal::ONE)).max(Decimal::ZERO)
        });
    let share = Decimal::from(good.len()) / Decimal::from(asked.max(prices.len()));
    Some(PriceCheck {
        is_valid: max_deviation_pct <= threshold_pct && outliers.is_empty(),
        max_deviation_pct,
        outliers,
        confidence_score: share * closeness,
        recommended_price: self::mean(&good).map(|mean| on_step(mean, step)),
    })
}

/// A number as it is shown.
#[must_use]
pub fn shown(value: Decimal) -> Decimal {
    value
        .round_dp_with_strategy(SHOWN, RoundingStrategy::MidpointAwayFromZero)
        .normalize()
}

fn mean(prices: &[Decimal]) -> Option<Decimal> {
    let sum = prices
        .iter()
        .try_fold(Decimal::ZERO, |sum, price| sum.checked_add(*price))?;
    sum.checked_div(Decimal::from(prices.len()))
}

fn percent(part: Decimal, whole: Decimal) -> Option<Decimal> {
    part.checked_div(whole)?.checked_mul(Decimal::ONE_HUNDRED)
}

fn on_step(price: Decimal, step: Option<Decimal>) -> Decimal {
    let rounded = step.filter(|step| *step > Decimal::ZERO).and_then(|step| {
        let steps = price.checked_div(step)?;
        let whole = steps.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero);
        whole.checked_mul(step)
    });
    rounded.unwrap_or(price).normalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(text: &str) -> Decimal {
        Decimal::from_str_exact(text).unwrap()
    }

    fn of(prices: &[&str]) -> PriceCheck {
        let prices: Vec<Decimal> = prices.iter().map(|text| d(text)).collect();
        check(&prices, prices.len(), THRESHOLD_PCT, Some(d("0.01"))).unwrap()
    }

    #[test]
    fn the_contracts_example() {
        let check = of(&["45250.50", "45251.00", "45249.75"]);
        assert!(check.is_valid && check.outliers.is_empty());
        assert_eq!(shown(check.max_deviation_pct), d("0.003"));
        assert_eq!(shown(check.confidence_score), d("0.998"));
        assert_eq!(check.recommended_price, Some(d("45250.42")));
    }

    #[test]
    fn one_that_is_off_is_named_and_left_out() {
        let check = of(&["100", "103", "100.1", "99.9"]);
        assert!(!check.is_valid);
        assert_eq!(check.outliers, [1]);
        assert_eq!(check.recommended_price, Some(d("100")));
        // The median is 100.05; the farthest of the others is 99.9.
        let closeness = Decimal::ONE - d("0.15") / d("100.05") * Decimal::ONE_HUNDRED;
        assert_eq!(
            shown(check.confidence_score),
            shown(closeness * d("0.75")),
            "three of four"
        );
    }

    #[test]
    fn of_two_that_differ_none_is_named() {
        let check = of(&["100", "110"]);
        assert!(!check.is_valid && check.outliers.is_empty());
        assert_eq!(shown(check.max_deviation_pct), d("9.524"));
        assert_eq!(check.recommended_price, Some(d("105")));
        assert_eq!(check.confidence_score, Decimal::ZERO);
    }

    #[test]
    fn two_camps_leave_nothing_to_go_by() {
        let check = of(&["100", "100", "110", "110"]);
        assert_eq!(check.outliers, [0, 1, 2, 3]);
        assert_eq!(check.recommended_price, None);
        assert_eq!(check.confidence_score, Decimal::ZERO);
    }

    #[test]
    fn exactly_the_threshold_is_within_it() {
        // (100.5 - 99.5) / 100 is 1 %.
        assert!(of(&["99.5", "100.5"]).is_valid);
        assert!(!of(&["99.49", "100.5"]).is_valid);
        let check = of(&["100", "101", "100"]);
        assert!(check.outliers.is_empty(), "a distance of exactly 1 %");
        assert_eq!(of(&["100", "101.01", "100"]).outliers, [1]);
    }

    #[test]
    fn who_has_no_price_lowers_the_score() {
        let prices = [d("5"), d("5")];
        let check = check(&prices, 4, THRESHOLD_PCT, None).unwrap();
        assert_eq!(check.confidence_score, d("0.5"));
    }

    #[test]
    fn what_can_not_be_compared_is_refused() {
        let of = |prices: &[&str]| {
            let prices: Vec<Decimal> = prices.iter().map(|text| d(text)).collect();
            check(&prices, prices.len(), THRESHOLD_PCT, None)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["1"]), None);
        assert_eq!(of(&["1", "0"]), None);
        assert_eq!(of(&["1", "-1"]), None);
        let largest = "79228162514264337593543950335";
        assert_eq!(of(&[largest, largest]), None, "their sum has no room");
        let apart = of(&[
            "0.0000000000000000000000000001",
            "70000000000000000000",
            "1",
        ]);
        assert!(!apart.unwrap().is_valid);
    }

    proptest! {
        #[test]
        fn any_prices_keep_the_promises(
            prices in proptest::collection::vec((1i64..i64::MAX, 0u32..12), 2..8),
            asked in 0usize..12,
            step in 0u32..10,
        ) {
            let prices: Vec<Decimal> = prices.iter().map(|(m, s)| Decimal::new(*m, *s)).collect();
            let step = Decimal::new(1, step);
            let Some(check) = check(&prices, asked, THRESHOLD_PCT, Some(step)) else {
                return Ok(());
            };
            prop_assert!(check.confidence_score >= Decimal::ZERO);
            prop_assert!(check.confidence_score <= Decimal::ONE);
            prop_assert!(check.max_deviation_pct >= Decimal::ZERO);
            if check.is_valid {
                prop_assert!(check.outliers.is_empty());
            }
            if let Some(price) = check.recommended_price {
                let (low, high) = (prices.iter().min().unwrap(), prices.iter().max().unwrap());
                prop_assert!(price >= *low - step && price <= *high + step);
            }
        }
    }
}
