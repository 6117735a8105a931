//! Exact decimal numbers: an integer mantissa and a number of decimals.

use std::fmt;

/// An exact decimal: `mantissa × 10^-scale`.
///
/// `Display` prints exactly `scale` decimals, so the caller picks the form a venue uses
/// ([`Fixed::padded`], [`Fixed::trimmed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Fixed {
    mantissa: i128,
    scale: u32,
}

/// Why a text is not a multiple of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// Not a plain decimal (`-?digits[.digits]`), or more than 38 digits.
    #[error("not a plain decimal number")]
    Malformed,
    /// A decimal, but not a whole number of steps.
    #[error("not a multiple of the step")]
    OffGrid,
    /// A multiple of the step that does not fit 64 bits.
    #[error("number out of range")]
    OutOfRange,
}

impl Fixed {
    /// Largest number of decimals handled.
    pub const SCALE_MAX: u32 = 30;

    /// `mantissa × 10^-scale`; `scale` is cut at [`Fixed::SCALE_MAX`].
    #[must_use]
    pub const fn new(mantissa: i128, scale: u32) -> Self {
        let scale = if scale > Self::SCALE_MAX {
            Self::SCALE_MAX
        } else {
            scale
        };
        Self { mantissa, scale }
    }

    /// The integer part of the pair.
    #[must_use]
    pub const fn mantissa(self) -> i128 {
        self.mantissa
    }

    /// Number of decimals.
    #[must_use]
    pub const fn scale(self) -> u32 {
        self.scale
    }

    /// The same value with at least `decimals` decimals; never loses a digit.
    #[must_use]
    pub fn padded(self, decimals: u32) -> Self {
        let decimals = decimals.min(Self::SCALE_MAX);
        if decimals <= self.scale {
            return self;
        }
        match 10_i128
            .pow(decimals - self.scale)
            .checked_mul(self.mantissa)
        {
            Some(mantissa) => Self {
                mantissa,
                scale: decimals,
            },
            None => self,
        }
    }

    /// The same value without trailing zeros after the point.
    #[must_use]
    pub fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }

    /// Exactly `decimals` decimals: padded, or cut toward zero (a venue's own truncation).
    #[must_use]
    pub fn truncated(self, decimals: u32) -> Self {
        if decimals >= self.scale {
            return self.padded(decimals);
        }
        Self {
            mantissa: self.mantissa / 10_i128.pow(self.scale - decimals),
            scale: decimals,
        }
    }

    /// Appends the text of [`fmt::Display`] to `out`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let mut digits = [b'0'; 72];
        let mut at = digits.len();
        let mut rest = self.mantissa.unsigned_abs();
        let mut written = 0;
        while rest > 0 || written <= self.scale {
            if written == self.scale && written > 0 {
                at -= 1;
                digits[at] = b'.';
            }
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            written += 1;
        }
        if self.mantissa < 0 {
            out.push(b'-');
        }
        out.extend_from_slice(&digits[at..]);
    }

    /// Reads a plain decimal; the scale is the number of decimals written.
    ///
    /// # Errors
    /// [`StepError::Malformed`] for anything else, an exponent included.
    pub fn parse(text: &str) -> Result<Self, StepError> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        let digits = whole.len() + fraction.len();
        let point_without_digits = body.contains('.') && fraction.is_empty();
        if whole.is_empty() || point_without_digits || digits > 38 || fraction.len() > 30 {
            return Err(StepError::Malformed);
        }
        let mut mantissa: i128 = 0;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return Err(StepError::Malformed);
            }
            mantissa = mantissa
                .checked_mul(10)
                .and_then(|m| m.checked_add(i128::from(byte - b'0')))
                .ok_or(StepError::Malformed)?;
        }
        let mantissa = if negative { -mantissa } else { mantissa };
        Ok(Self {
            mantissa,
            scale: fraction.len() as u32,
        })
    }

    /// How many whole `step`s this value is.
    ///
    /// # Errors
    /// [`StepError::OffGrid`] unless the division is exact, [`StepError::OutOfRange`] beyond 64
    /// bits.
    pub fn steps_of(self, step: Fixed) -> Result<i64, StepError> {
        let a = self.trimmed();
        let b = step.trimmed();
        let scale = a.scale.max(b.scale);
        let lift = |x: Fixed| 10_i128.pow(scale - x.scale).checked_mul(x.mantissa);
        let (Some(value), Some(unit)) = (lift(a), lift(b)) else {
            return Err(StepError::OutOfRange);
        };
        if unit == 0 || value % unit != 0 {
            return Err(StepError::OffGrid);
        }
        i64::try_from(value / unit).map_err(|_| StepError::OutOfRange)
    }
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        self.write_to(&mut text);
        // Only ASCII digits, sign and point were written.
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_exactly() {
        let check = |mantissa, scale, text: &str| {
            assert_eq!(Fixed::new(mantissa, scale).to_string(), text);
        };
        check(0, 0, "0");
        check(0, 8, "0.00000000");
        check(1, 8, "0.00000001");
        check(-1, 2, "-0.01");
        check(123_456, 2, "1234.56");
        check(-10, 1, "-1.0");
        check(7, 0, "7");
        check(i128::MAX, 0, "170141183460469231731687303715884105727");
        assert_eq!(Fixed::new(5, 1).padded(8).to_string(), "0.50000000");
        assert_eq!(Fixed::new(5_000, 4).trimmed().to_string(), "0.5");
        assert_eq!(Fixed::new(1_999, 3).truncated(2).to_string(), "1.99");
    }

    #[test]
    fn reads_only_plain_decimals_on_the_grid() {
        let step = Fixed::new(10, 2);
        let check = |text: &str, expected| {
            assert_eq!(
                Fixed::parse(text).and_then(|f| f.steps_of(step)),
                expected,
                "{text}"
            );
        };
        check("1", Ok(10));
        check("0.1000000", Ok(1));
        check("-2.5", Ok(-25));
        check("0.15", Err(StepError::OffGrid));
        for bad in ["", ".", "1.", ".5", "1e3", "+1", "1.2.3", " 1", "١", "--1"] {
            check(bad, Err(StepError::Malformed));
        }
        check("99999999999999999999", Err(StepError::OutOfRange));
    }
}
