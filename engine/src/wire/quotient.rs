//! Division, for the only public numbers that are not exact: `vwap` and `change_pct`.

use rust_decimal::Decimal;

/// Significant digits that a quotient is rounded to, half to even.
const DIGITS: u32 = 16;

/// Decimal places that a [`Decimal`] has at most.
const PLACES_MAX: i64 = 28;

/// `dividend / divisor` to 16 significant digits; `None` when the divisor is 0 or the quotient is
/// beyond a decimal.
pub(super) fn quotient(dividend: Decimal, divisor: Decimal) -> Option<Decimal> {
    if divisor.is_zero() {
        return None;
    }
    if dividend.is_zero() {
        return Some(Decimal::ZERO);
    }
    quick(dividend, divisor).or_else(|| rounded(dividend.checked_div(divisor)?))
}

/// A decimal rounded to 16 significant digits, half to even; `None` when the rounded one is beyond
/// a decimal. (`Decimal::round_sf` panics for some values with 28 places.)
fn rounded(long: Decimal) -> Option<Decimal> {
    let (mantissa, scale) = (long.mantissa(), long.scale());
    let digits = mantissa
        .unsigned_abs()
        .checked_ilog10()
        .map_or(1, |log| log + 1);
    let Some(dropped) = digits.checked_sub(DIGITS).filter(|dropped| *dropped > 0) else {
        return Some(long);
    };
    let unit = 10i128.checked_pow(dropped)?;
    let (mut kept, below) = (mantissa / unit, (mantissa % unit).abs());
    let is_above_half = below * 2 > unit;
    if is_above_half || (below * 2 == unit && kept % 2 != 0) {
        kept += mantissa.signum();
    }
    match scale.checked_sub(dropped) {
        Some(places) => Decimal::try_from_i128_with_scale(kept, places).ok(),
        None => {
            let whole = kept.checked_mul(10i128.checked_pow(dropped - scale)?)?;
            Decimal::try_from_i128_with_scale(whole, 0).ok()
        }
    }
}

/// One integer division instead of 28 digits and then 12 less: the numbers of a market are far
/// smaller than what a decimal can hold. `None` when these are not.
fn quick(dividend: Decimal, divisor: Decimal) -> Option<Decimal> {
    let (top, bottom) = (dividend.mantissa(), divisor.mantissa());
    let is_negative = (top < 0) != (bottom < 0);
    let (top, bottom) = (top.unsigned_abs(), bottom.unsigned_abs());
    // One digit more than wanted at least, so that the rounding below has something to look at.
    let wanted = DIGITS + 1 + bottom.ilog10() + 1;
    let shift = wanted.saturating_sub(top.ilog10());
    let top = top.checked_mul(10u128.checked_pow(shift)?)?;
    let (whole, rest) = (top / bottom, top % bottom);
    let whole = u64::try_from(whole).ok()?;
    let dropped = (whole.ilog10() + 1).checked_sub(DIGITS)?;
    let unit = 10u64.pow(dropped);
    let (mut kept, below) = (whole / unit, whole % unit);
    let is_above_half = below > unit / 2 || (below == unit / 2 && rest > 0);
    if is_above_half || (below == unit / 2 && kept % 2 == 1) {
        kept += 1;
    }
    let places = i64::from(dividend.scale()) + i64::from(shift)
        - i64::from(divisor.scale())
        - i64::from(dropped);
    let kept = i128::from(kept);
    let kept = if is_negative { -kept } else { kept };
    match places {
        0..=PLACES_MAX => Decimal::try_from_i128_with_scale(kept, places as u32).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_quotients() {
        for (dividend, divisor, expected) in [
            ("185213.5", "3", "61737.83333333333"),
            ("2", "3", "0.6666666666666667"),
            ("-2", "3", "-0.6666666666666667"),
            ("1", "-8", "-0.125"),
            ("0", "7", "0"),
            ("10", "5", "2"),
            // Exactly half of the last digit: to the even one.
            ("10000000000000005", "10", "1000000000000000"),
            ("10000000000000015", "10", "1000000000000002"),
            // A little more than half.
            ("100000000000000050000001", "100000000", "1000000000000001"),
            ("99999999999999999", "1", "100000000000000000"),
            (
                "0.00000074528",
                "1000000000000",
                "0.00000000000000000074528",
            ),
            ("0.0000000000000000000000000001", "3", "0"),
            ("79228162514264337593543950335", "0.5", "none"),
        ] {
            let found = quotient(dividend.parse().unwrap(), divisor.parse().unwrap());
            let found = found.map_or("none".to_owned(), |value| value.normalize().to_string());
            assert_eq!(found, expected, "{dividend} / {divisor}");
        }
        assert_eq!(quotient(Decimal::ONE, Decimal::ZERO), None);
        // Rounding this by the library's own function panics: 28 places, more than wanted.
        let tiny = Decimal::from_i128_with_scale(-32_060_689_264_285_531, 17);
        assert!(quotient(tiny, Decimal::from(32_060_689_264_286_i64)).is_some());
    }

    #[test]
    fn whole_numbers_beyond_sixteen_digits_end_with_zeros() {
        let large = quotient(Decimal::new(507_989_594_942_447, 0), Decimal::new(1, 3));
        assert_eq!(large, Some(Decimal::new(507_989_594_942_447_000, 0)));
        let third = quotient(Decimal::new(100_000_000_000_000_000, 0), Decimal::new(3, 1));
        assert_eq!(third, Some(Decimal::new(333_333_333_333_333_300, 0)));
    }

    proptest! {
        /// No decimal of 16 digits is nearer to the true quotient: checked with integers alone.
        #[test]
        fn the_nearest_of_sixteen_digits(
            top in 1i64..1_000_000_000_000_000,
            bottom in 1i64..10_000_000_000,
            scales in (0u32..=8, 0u32..=8),
        ) {
            let dividend = Decimal::new(top, scales.0);
            let divisor = Decimal::new(bottom, scales.1);
            let found = quotient(dividend, divisor).unwrap();
            // found = kept × 10^-places; kept × bottom against top × 10^(places - scale difference).
            let raised = i64::from(found.scale()) - i64::from(scales.0) + i64::from(scales.1);
            let (mut left, mut right) = (found.mantissa() * i128::from(bottom), i128::from(top));
            let power = 10i128.pow(raised.unsigned_abs() as u32);
            if raised >= 0 { right *= power } else { left *= power }
            // With fewer than 16 digits the result is exact.
            let digits = found.mantissa().ilog10() + 1;
            // Whole numbers beyond 16 digits end with zeros.
            let unit = 10i128.pow(digits.saturating_sub(DIGITS));
            prop_assert_eq!(found.mantissa() % unit, 0);
            if digits < DIGITS {
                prop_assert_eq!(left, right);
            } else {
                let last = i128::from(bottom) * if raised < 0 { power } else { 1 };
                prop_assert!((left - right).abs() * 2 <= last * unit, "{} {}", left, right);
            }
        }

        #[test]
        fn any_decimals_are_near_the_long_division(
            top in -(1i128 << 96) + 1..(1i128 << 96),
            bottom in 1i128..(1i128 << 96),
            scales in (0u32..=28, 0u32..=28),
        ) {
            let dividend = Decimal::from_i128_with_scale(top, scales.0);
            let divisor = Decimal::from_i128_with_scale(bottom, scales.1);
            match (quotient(dividend, divisor), dividend.checked_div(divisor)) {
                (Some(found), Some(long)) => {
                    let unit = Decimal::new(1, 15).checked_mul(long.abs()).unwrap_or(Decimal::MAX);
                    let least = Decimal::from_i128_with_scale(1, 28);
                    prop_assert!((found - long).abs() <= unit + least, "{} {}", found, long);
                }
                (None, None) => {}
                (found, long) => prop_assert!(false, "{:?} {:?}", found, long),
            }
        }
    }
}
