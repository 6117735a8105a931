//! The fields of a message, however they were found.

use crate::exchange::DecodeError;
use crate::num::{Price, Qty, parse_fixed};
use crate::time::TsNanos;

use super::digits::{Scale, fixed, fixed_prefix};
use super::symbols::Symbol;

/// The unescaped text of a JSON string: the first `len` bytes of `tail`.
///
/// `tail` may go on behind the text, so that numbers can be read in whole words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a> {
    pub(super) tail: &'a [u8],
    pub(super) len: usize,
}

impl<'a> Text<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            tail: text.as_bytes(),
            len: text.len(),
        }
    }

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

/// Names of the fields that mean something to us. All have one or two letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Key {
    /// `e`: kind of the message.
    Kind,
    /// `E`: event time.
    EventTime,
    /// `s`: symbol.
    Symbol,
    /// `st`: product line, 1 = USDⓈ-M, 2 = COIN-M.
    SymbolType,
    /// `t`: trade id, open time of a bar.
    SmallT,
    /// `T`: trade time, next funding time.
    BigT,
    /// `p`: price, mark price.
    SmallP,
    /// `q`: quantity, quote volume of a bar.
    SmallQ,
    /// `m`: the buyer was the maker.
    SmallM,
    /// `X`: kind of a USDⓈ-M single trade.
    BigX,
    /// `u`: last update id.
    SmallU,
    /// `U`: first update id.
    BigU,
    /// `pu`: last update id of the message before.
    PreviousU,
    /// `b`: bids, best bid price.
    SmallB,
    /// `B`: best bid quantity.
    BigB,
    /// `a`: asks, best ask price, id of an aggregate.
    SmallA,
    /// `A`: best ask quantity.
    BigA,
    /// `i`: index price, bar level.
    SmallI,
    /// `r`: funding rate.
    SmallR,
    /// `o`, `h`, `l`, `c`: prices of a bar.
    SmallO,
    /// `h`.
    SmallH,
    /// `l`.
    SmallL,
    /// `c`.
    SmallC,
    /// `v`: base volume of a bar.
    SmallV,
    /// `n`: matches in a bar.
    SmallN,
    /// `x`: the bar is closed.
    SmallX,
}

impl Key {
    const COUNT: usize = Self::SmallX as usize + 1;

    /// The key of a field name, `None` for fields that are ignored.
    #[inline(always)]
    pub(super) fn of(name: &[u8]) -> Option<Self> {
        match name {
            [letter] => Self::of_letter(*letter),
            b"pu" => Some(Self::PreviousU),
            b"st" => Some(Self::SymbolType),
            _ => None,
        }
    }

    /// The key of a field name of one letter.
    #[inline(always)]
    pub(super) fn of_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'e' => Self::Kind,
            b'E' => Self::EventTime,
            b's' => Self::Symbol,
            b't' => Self::SmallT,
            b'T' => Self::BigT,
            b'p' => Self::SmallP,
            b'q' => Self::SmallQ,
            b'm' => Self::SmallM,
            b'X' => Self::BigX,
            b'u' => Self::SmallU,
            b'U' => Self::BigU,
            b'b' => Self::SmallB,
            b'B' => Self::BigB,
            b'a' => Self::SmallA,
            b'A' => Self::BigA,
            b'i' => Self::SmallI,
            b'r' => Self::SmallR,
            b'o' => Self::SmallO,
            b'h' => Self::SmallH,
            b'l' => Self::SmallL,
            b'c' => Self::SmallC,
            b'v' => Self::SmallV,
            b'n' => Self::SmallN,
            b'x' => Self::SmallX,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Kind => "e",
            Self::EventTime => "E",
            Self::Symbol => "s",
            Self::SymbolType => "st",
            Self::SmallT => "t",
            Self::BigT => "T",
            Self::SmallP => "p",
            Self::SmallQ => "q",
            Self::SmallM => "m",
            Self::BigX => "X",
            Self::SmallU => "u",
            Self::BigU => "U",
            Self::PreviousU => "pu",
            Self::SmallB => "b",
            Self::BigB => "B",
            Self::SmallA => "a",
            Self::BigA => "A",
            Self::SmallI => "i",
            Self::SmallR => "r",
            Self::SmallO => "o",
            Self::SmallH => "h",
            Self::SmallL => "l",
            Self::SmallC => "c",
            Self::SmallV => "v",
            Self::SmallN => "n",
            Self::SmallX => "x",
        }
    }
}

/// The fields of one JSON object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a>([Value<'a>; Key::COUNT]);

impl<'a> Fields<'a> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self([Value::Absent; Key::COUNT])
    }

    #[inline(always)]
    pub(super) fn set(&mut self, key: Key, value: Value<'a>) {
        self.0[key as usize] = value;
    }

    #[inline(always)]
    pub(super) fn get(&self, key: Key) -> Value<'a> {
        self.0[key as usize]
    }

    pub(super) fn has(&self, key: Key) -> bool {
        !matches!(self.get(key), Value::Absent)
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
        fixed(text.bytes(), scale).map_err(|error| DecodeError::Number {
            field: key.name(),
            error,
        })
    }

    pub(super) fn price(&self, key: Key, symbol: Symbol) -> Result<Price, DecodeError> {
        self.number(key, symbol.price_scale).map(Price)
    }

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
