//! The fields of a message, however they were found.

use crate::exchange::DecodeError;
use crate::num::{Price, Qty, parse_fixed};
use crate::time::TsNanos;

use super::digits::{Scale, fixed, fixed_prefix};
use super::symbols::Symbol;

/// Bytes of a JSON string without its quotes and escapes: the first `len` of `tail`.
///
/// `tail` goes on behind the text, so that numbers can be read in whole words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) tail: &'a [u8],
    pub(super) len: usize,
}

impl<'a> Text<'a> {
    #[inline(always)]
    pub(super) fn bytes(self) -> &'a [u8] {
        self.tail.get(..self.len).unwrap_or(self.tail)
    }
}

/// A field's value, as far as messages need it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// The field is missing.
    Absent,
    /// A string.
    Text(Text<'a>),
    /// An integer that is not negative.
    Int(u64),
    /// `true` or `false`.
    Bool(bool),
    /// An array; levels of a book are read separately.
    Array,
    /// Anything else: null, a negative or fractional number, an object.
    Other,
}

/// A value in a [`FieldStore`]: texts by their place, so that the store outlives the frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    Text { at: u32, len: u32 },
    Int(u64),
    Bool(bool),
    Array,
    Other,
}

/// The name of a field: one letter, or one of the few longer ones that mean something.
///
/// Its number is the letter's distance from `A`; longer names have the places between `Z` and `a`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u8);

impl Key {
    /// `e`: kind of the message.
    pub(super) const KIND: Self = Self::letter(b'e');
    /// `E`: event time.
    pub(super) const EVENT_TIME: Self = Self::letter(b'E');
    /// `s`: symbol.
    pub(super) const SYMBOL: Self = Self::letter(b's');
    /// `pu`: last update id of the message before.
    pub(super) const PREVIOUS_U: Self = Self(26);
    /// `st`: product line, 1 = USDⓈ-M, 2 = COIN-M.
    pub(super) const SYMBOL_TYPE: Self = Self(27);

    const NAMES: &'static [u8; 58] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ      abcdefghijklmnopqrstuvwxyz";

    /// The key of an ASCII letter.
    pub(super) const fn letter(letter: u8) -> Self {
        Self(letter.wrapping_sub(b'A'))
    }

    /// The key of a field name; `None` for one that means nothing to us.
    #[inline(always)]
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        match name {
            [letter] if letter.is_ascii_alphabetic() => Some(Self::letter(*letter)),
            b"pu" => Some(Self::PREVIOUS_U),
            b"st" => Some(Self::SYMBOL_TYPE),
            // Known to be harmless: the pair, the quantity without retail fills, the average price.
            b"ps" => Some(Self(28)),
            b"nq" => Some(Self(29)),
            b"ap" => Some(Self(30)),
            _ => None,
        }
    }

    #[inline(always)]
    const fn bit(self) -> u64 {
        1 << (self.0 & 63)
    }

    fn name(self) -> &'static str {
        match self {
            Self::PREVIOUS_U => "pu",
            Self::SYMBOL_TYPE => "st",
            Self(at) => {
                let at = usize::from(at);
                let name = Self::NAMES.get(at..at + 1).unwrap_or(b"?");
                std::str::from_utf8(name).unwrap_or("?")
            }
        }
    }
}

/// The fields of one JSON object, kept from frame to frame to be filled again.
#[derive(Clone, Debug)]
pub(super) struct FieldStore {
    /// Values of the fields whose bits are set; others are left over from earlier frames.
    slots: [Slot; 64],
    present: u64,
}

impl FieldStore {
    pub(super) fn new() -> Self {
        Self {
            slots: [Slot::Other; 64],
            present: 0,
        }
    }

    #[inline(always)]
    pub(super) fn clear(&mut self) {
        self.present = 0;
    }

    #[inline(always)]
    pub(super) fn has(&self, key: Key) -> bool {
        self.present & key.bit() != 0
    }

    #[inline(always)]
    pub(super) fn set(&mut self, key: Key, slot: Slot) {
        self.present |= key.bit();
        self.slots[usize::from(key.0 & 63)] = slot;
    }
}

/// Fields and the bytes that their texts are in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) store: &'a FieldStore,
    pub(super) base: &'a [u8],
}

impl<'a> Fields<'a> {
    #[inline(always)]
    pub(super) fn get(&self, key: Key) -> Value<'a> {
        if !self.store.has(key) {
            return Value::Absent;
        }
        match self.store.slots[usize::from(key.0 & 63)] {
            Slot::Text { at, len } => Value::Text(Text {
                tail: self.base.get(at as usize..).unwrap_or_default(),
                len: len as usize,
            }),
            Slot::Int(value) => Value::Int(value),
            Slot::Bool(value) => Value::Bool(value),
            Slot::Array => Value::Array,
            Slot::Other => Value::Other,
        }
    }

    #[inline(always)]
    pub(super) fn has(&self, key: Key) -> bool {
        self.store.has(key)
    }

    #[inline(always)]
    pub(super) fn text(&self, key: Key) -> Result<Text<'a>, DecodeError> {
        match self.get(key) {
            Value::Text(text) => Ok(text),
            _ => Err(missing(key)),
        }
    }

    #[inline(always)]
    pub(super) fn int(&self, key: Key) -> Result<u64, DecodeError> {
        match self.get(key) {
            Value::Int(value) => Ok(value),
            _ => Err(missing(key)),
        }
    }

    #[inline(always)]
    pub(super) fn bool(&self, key: Key) -> Result<bool, DecodeError> {
        match self.get(key) {
            Value::Bool(value) => Ok(value),
            _ => Err(missing(key)),
        }
    }

    #[inline(always)]
    pub(super) fn time(&self, key: Key) -> Result<TsNanos, DecodeError> {
        self.int(key).map(stamp)
    }

    #[inline(always)]
    pub(super) fn number(&self, key: Key, scale: u8) -> Result<i64, DecodeError> {
        let text = self.text(key)?;
        if let Some((mantissa, len)) = fixed_prefix(text.tail, Scale::of(scale))
            && len == text.len
        {
            return Ok(mantissa);
        }
        number_slow(key, text, scale)
    }

    #[inline(always)]
    pub(super) fn price(&self, key: Key, symbol: Symbol) -> Result<Price, DecodeError> {
        self.number(key, symbol.price_scale).map(Price)
    }

    #[inline(always)]
    pub(super) fn qty(&self, key: Key, symbol: Symbol) -> Result<Qty, DecodeError> {
        self.number(key, symbol.qty_scale).map(Qty)
    }

    /// A number that may be missing or empty and may have a sign.
    pub(super) fn number_or_none(&self, key: Key, scale: u8) -> Result<Option<i64>, DecodeError> {
        if !self.has(key) {
            return Ok(None);
        }
        let text = self.text(key)?.bytes();
        if text.is_empty() {
            return Ok(None);
        }
        parse_fixed(text, scale)
            .map(Some)
            .map_err(|error| DecodeError::Number {
                field: key.name(),
                error,
            })
    }
}

#[cold]
#[inline(never)]
fn number_slow(key: Key, text: Text<'_>, scale: u8) -> Result<i64, DecodeError> {
    fixed(text.bytes(), scale).map_err(|error| DecodeError::Number {
        field: key.name(),
        error,
    })
}

#[cold]
pub(super) fn missing(key: Key) -> DecodeError {
    DecodeError::Field { field: key.name() }
}

/// An exchange time: milliseconds, or microseconds where the connection asked for them
/// (`timeUnit=MICROSECOND`), told apart by magnitude.
#[inline(always)]
pub(super) fn stamp(value: u64) -> TsNanos {
    // 10^14 is the year 5138 in milliseconds and the year 1973 in microseconds.
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    if value < 100_000_000_000_000 {
        TsNanos::from_ms(value)
    } else {
        TsNanos(value.saturating_mul(1_000))
    }
}
