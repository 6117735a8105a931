//! Exact numbers: fixed-point mantissas for the hot path, decimals at the edges.
//!
//! This is the only place that converts between text, mantissas and [`Decimal`]. A value that does
//! not fit is an error, never a wrap or a rounding.

mod format;

pub use format::write_fixed;
use rust_decimal::Decimal;

/// Largest scale (digits after the point) a mantissa can have: 10^18 still fits an `i64`.
pub const SCALE_MAX: u8 = 18;

/// Powers of ten that fit an `i64`, by exponent.
pub const POW10: [i64; 19] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
    10_000_000_000_000,
    100_000_000_000_000,
    1_000_000_000_000_000,
    10_000_000_000_000_000,
    100_000_000_000_000_000,
    1_000_000_000_000_000_000,
];

/// A price as an integer count of 10^-`price_scale` quote units of its instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Price(pub i64);

/// A quantity as an integer count of 10^-`qty_scale` base units of its instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Qty(pub i64);

/// Why a text is not a number at the scale asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumError {
    /// Not `-?digits[.digits]`.
    #[error("not a plain decimal number")]
    Malformed,
    /// Non-zero digits beyond the scale: rounding would lose them.
    #[error("more decimals than the instrument's scale")]
    TooPrecise,
    /// Larger than an `i64` mantissa at this scale.
    #[error("does not fit a 64-bit mantissa at the instrument's scale")]
    Overflow,
}

/// Reads plain decimal text (`-12.3400`) into a mantissa at `scale`, exactly.
///
/// # Errors
/// [`NumError::TooPrecise`] when digits beyond the scale are not zero, [`NumError::Overflow`] when
/// the mantissa does not fit, [`NumError::Malformed`] for anything else that is not a number.
pub fn parse_fixed(text: &[u8], scale: u8) -> Result<i64, NumError> {
    debug_assert!(scale <= SCALE_MAX);
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return Err(NumError::Malformed);
    }
    let mut mantissa: i64 = 0;
    let mut seen_digit = false;
    let mut decimals: Option<u8> = None;
    let mut overflow = false;
    let mut too_precise = false;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                seen_digit = true;
                let digit = i64::from(byte - b'0');
                if let Some(seen) = decimals {
                    if seen == scale {
                        too_precise |= digit != 0;
                        continue;
                    }
                    decimals = Some(seen + 1);
                }
                match mantissa.checked_mul(10).and_then(|m| m.checked_add(digit)) {
                    Some(next) => mantissa = next,
                    None => overflow = true,
                }
            }
            b'.' if decimals.is_none() && seen_digit => decimals = Some(0),
            _ => return Err(NumError::Malformed),
        }
    }
    if digits.last() == Some(&b'.') {
        return Err(NumError::Malformed);
    }
    if too_precise {
        return Err(NumError::TooPrecise);
    }
    if overflow {
        return Err(NumError::Overflow);
    }
    let missing = scale - decimals.unwrap_or(0);
    let mantissa = mantissa
        .checked_mul(POW10[usize::from(missing)])
        .ok_or(NumError::Overflow)?;
    Ok(if negative { -mantissa } else { mantissa })
}

/// Reads plain decimal text without a sign at a scale of up to 36 digits: values in quote units,
/// whose scale is that of a price and that of a quantity together.
///
/// # Errors
/// As [`parse_fixed`].
pub fn parse_fixed_wide(text: &[u8], scale: u8) -> Result<i128, NumError> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b"0"[..]),
    };
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !is_number(whole) || !is_number(fraction) {
        return Err(NumError::Malformed);
    }
    let (kept, beyond) = fraction.split_at(fraction.len().min(usize::from(scale)));
    if beyond.iter().any(|&byte| byte != b'0') {
        return Err(NumError::TooPrecise);
    }
    let padding = usize::from(scale) - kept.len();
    let zeros = std::iter::repeat_n(&b'0', padding);
    let digits = whole.iter().chain(kept).chain(zeros);
    digits
        .map(|&byte| i128::from(byte - b'0'))
        .try_fold(0_i128, |value, digit| {
            value.checked_mul(10)?.checked_add(digit)
        })
        .ok_or(NumError::Overflow)
}

/// [`write_fixed`] into a new string: for reports and errors, not for the hot path.
#[must_use]
pub fn fixed_to_string(mantissa: i64, scale: u8) -> String {
    let mut out = Vec::with_capacity(24);
    write_fixed(&mut out, mantissa, scale);
    String::from_utf8_lossy(&out).into_owned()
}

/// The exact decimal of a mantissa, trailing zeros removed.
#[must_use]
pub fn to_decimal(mantissa: i64, scale: u8) -> Decimal {
    Decimal::new(mantissa, u32::from(scale)).normalize()
}

/// The mantissa of a decimal at `scale`.
///
/// # Errors
/// As [`parse_fixed`].
pub fn from_decimal(value: Decimal, scale: u8) -> Result<i64, NumError> {
    let value = value.normalize();
    let missing = u32::from(scale)
        .checked_sub(value.scale())
        .ok_or(NumError::TooPrecise)?;
    let factor = i128::from(POW10[missing as usize % POW10.len()]);
    let wide = value
        .mantissa()
        .checked_mul(factor)
        .ok_or(NumError::Overflow)?;
    i64::try_from(wide).map_err(|_| NumError::Overflow)
}

/// Digits after the point that a step (`0.00100000` → 3) needs; 0 for whole steps.
#[must_use]
pub fn scale_of_step(step: Decimal) -> u8 {
    u8::try_from(step.normalize().scale())
        .unwrap_or(SCALE_MAX)
        .min(SCALE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_exchange_text_exactly() {
        let rows: &[(&str, u8, Result<i64, NumError>)] = &[
            ("61737.63000000", 2, Ok(6_173_763)),
            ("0.00000074528", 11, Ok(74_528)),
            ("0.00000074528", 8, Err(NumError::TooPrecise)),
            ("1000000000000", 0, Ok(1_000_000_000_000)),
            ("1000000000000", 8, Err(NumError::Overflow)),
            ("-0.00010000", 8, Ok(-10_000)),
            ("0", 18, Ok(0)),
            ("9223372036854775807", 0, Ok(i64::MAX)),
            ("9223372036854775808", 0, Err(NumError::Overflow)),
            ("", 2, Err(NumError::Malformed)),
            ("-", 2, Err(NumError::Malformed)),
            (".5", 2, Err(NumError::Malformed)),
            ("5.", 2, Err(NumError::Malformed)),
            ("1e5", 2, Err(NumError::Malformed)),
            ("1.2.3", 2, Err(NumError::Malformed)),
            ("+1", 2, Err(NumError::Malformed)),
        ];
        for (text, scale, expected) in rows {
            assert_eq!(
                parse_fixed(text.as_bytes(), *scale),
                *expected,
                "{text} at {scale}"
            );
        }
    }

    #[test]
    fn reads_wide_numbers() {
        assert_eq!(
            parse_fixed_wide(b"32824881841.75", 16),
            Ok(328_248_818_417_500_000_000_000_000)
        );
        let large = format!("{}", i128::MAX);
        assert_eq!(parse_fixed_wide(large.as_bytes(), 0), Ok(i128::MAX));
        assert_eq!(
            parse_fixed_wide(large.as_bytes(), 1),
            Err(NumError::Overflow)
        );
        for text in ["", ".", "1.", ".1", "-1", "1e3", "1.1.1"] {
            assert_eq!(
                parse_fixed_wide(text.as_bytes(), 8),
                Err(NumError::Malformed),
                "{text}"
            );
        }
    }

    #[test]
    fn prints_plain_form() {
        for (mantissa, scale, expected) in [
            (6_173_763, 2, "61737.63"),
            (100, 2, "1"),
            (0, 8, "0"),
            (-5, 3, "-0.005"),
            (74_528, 11, "0.00000074528"),
            (i64::MIN, 18, "-9.223372036854775808"),
        ] {
            assert_eq!(fixed_to_string(mantissa, scale), expected);
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(mantissa in any::<i64>(), scale in 0u8..=18) {
            prop_assume!(mantissa != i64::MIN);
            let text = fixed_to_string(mantissa, scale);
            prop_assert_eq!(parse_fixed(text.as_bytes(), scale), Ok(mantissa));
            prop_assert_eq!(text.parse::<Decimal>().ok(), Some(to_decimal(mantissa, scale)));
            prop_assert_eq!(from_decimal(to_decimal(mantissa, scale), scale), Ok(mantissa));
        }

        #[test]
        fn wide_numbers_agree_with_narrow_ones(
            text in "[0-9]{1,9}(\\.[0-9]{1,12})?", scale in 0u8..=9
        ) {
            let narrow = parse_fixed(text.as_bytes(), scale).map(i128::from);
            prop_assert_eq!(parse_fixed_wide(text.as_bytes(), scale), narrow);
        }

        #[test]
        fn agrees_with_rust_decimal(text in "-?[0-9]{1,12}(\\.[0-9]{1,12})?", scale in 0u8..=18) {
            let decimal: Decimal = text.parse().expect("the pattern is a number");
            prop_assert_eq!(parse_fixed(text.as_bytes(), scale), from_decimal(decimal, scale));
        }
    }
}
