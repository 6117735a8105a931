//! Reading OKX's JSON: text that is borrowed where it can be, numbers at an instrument's scale.

use std::borrow::Cow;
use std::fmt;

use rust_decimal::Decimal;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::event::BookLevel;
use crate::exchange::DecodeError;
use crate::num::{NumError, Price, Qty, parse_fixed};
use crate::time::TsNanos;
use crate::trading::exact;

use super::symbols::Symbol;

/// Text that is borrowed where it has no escapes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Text<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

impl Text<'_> {
    /// The text, unless it is empty: OKX writes "none" as an empty string.
    pub(super) fn filled(&self) -> Option<&str> {
        Some(self.0.as_ref()).filter(|text| !text.is_empty())
    }
}

/// Reads a whole text; `field` is named when it has another shape than expected.
pub(super) fn read<'a, T: Deserialize<'a>>(
    body: &'a [u8],
    field: &'static str,
) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|error| fault(&error, body, field))
}

/// What serde_json says, in our words.
pub(super) fn fault(error: &serde_json::Error, body: &[u8], field: &'static str) -> DecodeError {
    if error.is_data() {
        return DecodeError::Field { field };
    }
    let starts = memchr::memchr_iter(b'\n', body).map(|at| at + 1);
    let start = std::iter::once(0)
        .chain(starts)
        .nth(error.line().saturating_sub(1));
    DecodeError::Json {
        at: (start.unwrap_or(0) + error.column().saturating_sub(1)).min(body.len()),
    }
}

/// Milliseconds as OKX writes them: digits in a string.
pub(super) fn millis(text: &str, field: &'static str) -> Result<TsNanos, DecodeError> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms: Option<i64> = is_plain.then(|| text.parse().ok()).flatten();
    ms.map(TsNanos::from_ms).ok_or(DecodeError::Field { field })
}

/// A number exactly as it is written; `None` for an empty text.
pub(super) fn decimal(
    text: &Text<'_>,
    field: &'static str,
) -> Result<Option<Decimal>, DecodeError> {
    let Some(text) = text.filled() else {
        return Ok(None);
    };
    let error = NumError::Malformed;
    let number = exact::parse(text).ok_or(DecodeError::Number { field, error })?;
    Ok(Some(number.normalize()))
}

/// A sum of an account; digits beyond the 28th are rounded, which interest and averages can have.
pub(super) fn sum(text: &Text<'_>, field: &'static str) -> Result<Option<Decimal>, DecodeError> {
    decimal(text, field).or_else(|error| {
        let rounded = text.0.parse::<Decimal>().ok();
        rounded.map(|number| Some(number.normalize())).ok_or(error)
    })
}

/// What is counted the other way round there; there is no 0 with a sign.
pub(super) fn turned(number: Decimal) -> Decimal {
    match number.is_zero() {
        true => Decimal::ZERO,
        false => -number,
    }
}

/// A time that can be missing: an empty text or 0.
pub(super) fn millis_or_none(
    text: &Text<'_>,
    field: &'static str,
) -> Result<Option<TsNanos>, DecodeError> {
    match text.0.as_ref() {
        "" | "0" => Ok(None),
        text => millis(text, field).map(Some),
    }
}

/// A number that is neither negative nor wider than `scale`.
pub(super) fn unsigned(text: &str, scale: u8, field: &'static str) -> Result<i64, DecodeError> {
    let number = match text.starts_with('-') {
        true => Err(NumError::Malformed),
        false => parse_fixed(text.as_bytes(), scale),
    };
    number.map_err(|error| DecodeError::Number { field, error })
}

/// A number with or without a sign; `None` for an empty text.
pub(super) fn signed_or_none(
    text: &str,
    scale: u8,
    field: &'static str,
) -> Result<Option<i64>, DecodeError> {
    if text.is_empty() {
        return Ok(None);
    }
    parse_fixed(text.as_bytes(), scale)
        .map(Some)
        .map_err(|error| DecodeError::Number { field, error })
}

/// Receives the levels of one side of a book.
pub(super) trait Levels {
    /// One level: as a number, and as OKX wrote it.
    fn level(&mut self, level: BookLevel, price: &str, size: &str);
}

impl Levels for Vec<BookLevel> {
    fn level(&mut self, level: BookLevel, _price: &str, _size: &str) {
        self.push(level);
    }
}

/// Reads `[["41006.8","0.60038921","0","1"],…]`: price, size, a number that is always 0, and the
/// number of orders.
pub(super) struct Side<'s, L> {
    pub(super) symbol: Symbol,
    pub(super) levels: &'s mut L,
    /// A number that did not fit: serde's own errors carry text alone.
    pub(super) wrong: &'s mut Option<DecodeError>,
}

impl<'de, L: Levels> DeserializeSeed<'de> for Side<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de, L: Levels> Visitor<'de> for Side<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("levels of a book")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut rows: A) -> Result<(), A::Error> {
        while rows.next_element_seed(Row(&mut self))?.is_some() {}
        Ok(())
    }
}

struct Row<'r, 's, L>(&'r mut Side<'s, L>);

impl<'de, L: Levels> DeserializeSeed<'de> for Row<'_, '_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de, L: Levels> Visitor<'de> for Row<'_, '_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a level: price, size, and more")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<(), A::Error> {
        let side = self.0;
        let short = || A::Error::custom("a level has a price and a size");
        let price: Text<'de> = row.next_element()?.ok_or_else(short)?;
        let size: Text<'de> = row.next_element()?.ok_or_else(short)?;
        while row.next_element::<IgnoredAny>()?.is_some() {}
        let level = side
            .symbol
            .price(&price.0, "price")
            .and_then(|price| Ok((price, side.symbol.qty(&size.0, "size")?)));
        match level {
            Ok((at, qty)) => {
                side.levels
                    .level(BookLevel { price: at, qty }, &price.0, &size.0);
                Ok(())
            }
            Err(error) => {
                *side.wrong = Some(error);
                Err(A::Error::custom("a number does not fit"))
            }
        }
    }
}

impl Symbol {
    /// A price of this instrument.
    pub(super) fn price(self, text: &str, field: &'static str) -> Result<Price, DecodeError> {
        unsigned(text, self.price_scale, field).map(Price)
    }

    /// A size, in base units whatever OKX counts in.
    pub(super) fn qty(self, text: &str, field: &'static str) -> Result<Qty, DecodeError> {
        let size = unsigned(text, self.size_scale, field)?;
        size.checked_mul(self.size_unit)
            .map(Qty)
            .ok_or(DecodeError::Number {
                field,
                error: NumError::Overflow,
            })
    }

    /// A value in quote units, at the scale of price × quantity.
    pub(super) fn value(self, text: &str, field: &'static str) -> Result<i128, DecodeError> {
        wide(text.as_bytes(), self.price_scale + self.qty_scale)
            .map_err(|error| DecodeError::Number { field, error })
    }
}

/// [`parse_fixed`] for 128 bits, without a sign.
fn wide(text: &[u8], scale: u8) -> Result<i128, NumError> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &[][..]),
    };
    let has_point = whole.len() < text.len();
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !is_number(whole) || (has_point && !is_number(fraction)) {
        return Err(NumError::Malformed);
    }
    let kept = fraction.len().min(usize::from(scale));
    if fraction[kept..].iter().any(|&digit| digit != b'0') {
        return Err(NumError::TooPrecise);
    }
    let missing = usize::from(scale) - kept;
    let digits = whole.iter().chain(&fraction[..kept]);
    let digits = digits.chain(std::iter::repeat_n(&b'0', missing));
    digits
        .into_iter()
        .try_fold(0_i128, |number, &digit| {
            number
                .checked_mul(10)?
                .checked_add(i128::from(digit - b'0'))
        })
        .ok_or(NumError::Overflow)
}
