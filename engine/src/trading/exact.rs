//! Numbers of orders as exchanges write and read them: decimals in text, exactly.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use crate::exchange::DecodeError;

/// A decimal of an answer, in text or as a whole number; `None` for empty text and null, which
/// exchanges write where a value does not apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exact(pub Option<Decimal>);

impl Exact {
    /// The number, which has to be there.
    ///
    /// # Errors
    /// [`DecodeError::Field`] naming `field` when it is not.
    pub const fn needed(self, field: &'static str) -> Result<Decimal, DecodeError> {
        match self.0 {
            Some(number) => Ok(number),
            None => Err(DecodeError::Field { field }),
        }
    }

    /// The number where it is above 0: many fields are 0 where they do not apply.
    #[must_use]
    pub fn above_zero(self) -> Option<Decimal> {
        self.0.filter(|number| *number > Decimal::ZERO)
    }
}

/// Reads a decimal exactly: digits that don't fit are an error, never rounded.
#[must_use]
pub fn parse(text: &str) -> Option<Decimal> {
    if text.contains(['e', 'E']) {
        // `0E-8` is how some write a zero.
        return Decimal::from_scientific(text).ok();
    }
    Decimal::from_str_exact(text).ok()
}

/// A decimal in plain form without zeros at its end: what exchanges take.
#[must_use]
pub fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}

/// Average price of a quantity that was executed for a value; `None` for nothing.
#[must_use]
pub fn average(value: Decimal, quantity: Decimal) -> Option<Decimal> {
    if value <= Decimal::ZERO || quantity <= Decimal::ZERO {
        return None;
    }
    value.checked_div(quantity).map(|price| price.normalize())
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = Exact;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a decimal in text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Exact, E> {
                if text.is_empty() {
                    return Ok(Exact(None));
                }
                let number = parse(text).ok_or_else(|| E::custom("no decimal that can be kept"))?;
                Ok(Exact(Some(number)))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Exact, E> {
                Ok(Exact(Some(number.into())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Exact, E> {
                Ok(Exact(Some(number.into())))
            }

            fn visit_unit<E: Error>(self) -> Result<Exact, E> {
                Ok(Exact(None))
            }
        }

        input.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Exact> {
        serde_json::from_str(text).ok()
    }

    #[test]
    fn all_forms_of_exchanges_are_read() {
        let number = |text| Some(Exact(Some(Decimal::from_str_exact(text).unwrap())));
        assert_eq!(read(r#""0.00100""#), number("0.001"));
        assert_eq!(read(r#""-12.5""#), number("-12.5"));
        assert_eq!(read("7"), number("7"));
        assert_eq!(read("-7"), number("-7"));
        assert_eq!(read(r#""0E-8""#), number("0"));
        assert_eq!(read(r#""""#), Some(Exact(None)));
        assert_eq!(read("null"), Some(Exact(None)));
        // A float has lost digits before we see it; too many digits would be lost here.
        for wrong in ["0.5", r#""x""#, r#""1.2.3""#, "true", "[]"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("\"0.{}\"", "1".repeat(40))), None);
    }

    #[test]
    fn plain_form_has_no_exponent_and_no_zeros_at_the_end() {
        for (number, text) in [
            (Decimal::new(100, 2), "1"),
            (Decimal::new(1, 8), "0.00000001"),
            (Decimal::new(1_000_000_000, 0), "1000000000"),
            (Decimal::ZERO, "0"),
            (Decimal::new(0, 5), "0"),
        ] {
            assert_eq!(plain(number), text);
        }
    }

    proptest! {
        #[test]
        fn decimals_survive(mantissa in any::<i64>(), scale in 0_u32..=18) {
            let number = Decimal::new(mantissa, scale);
            let text = plain(number);
            prop_assert!(!text.contains(['e', 'E', '+']));
            prop_assert_eq!(parse(&text), Some(number));
            prop_assert_eq!(read(&format!("\"{number}\"")), Some(Exact(Some(number))));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}|[-+0-9eE.]{0,40}", other: i64) {
            if let Some(number) = parse(&text) {
                let _ = (plain(number), average(number, other.into()), average(other.into(), number));
            }
        }
    }
}
