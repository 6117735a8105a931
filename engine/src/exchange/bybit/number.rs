//! Numbers as Bybit writes them: plain decimals in text, empty where a value does not apply.

use crate::exchange::DecodeError;
use crate::num::{NumError, parse_fixed, parse_fixed_wide};

/// A price or quantity: text that is not negative.
pub(super) fn fixed(text: &str, scale: u8, field: &'static str) -> Result<i64, DecodeError> {
    let bytes = text.as_bytes();
    let number = match bytes.first() {
        Some(b'-') => Err(NumError::Malformed),
        _ => parse_fixed(bytes, scale),
    };
    number.map_err(|error| DecodeError::Number { field, error })
}

/// A value in quote units, at the scales of price and quantity together.
pub(super) fn wide(text: &str, scale: u8, field: &'static str) -> Result<i128, DecodeError> {
    parse_fixed_wide(text.as_bytes(), scale).map_err(|error| DecodeError::Number { field, error })
}

/// A number that may be negative; `None` for empty text.
pub(super) fn signed(
    text: &str,
    scale: u8,
    field: &'static str,
) -> Result<Option<i64>, DecodeError> {
    if text.is_empty() {
        return Ok(None);
    }
    match parse_fixed(text.as_bytes(), scale) {
        Ok(number) => Ok(Some(number)),
        Err(error) => Err(DecodeError::Number { field, error }),
    }
}
