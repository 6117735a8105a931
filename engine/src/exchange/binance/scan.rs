//! The fast way to read a frame: one pass over compact JSON, without a tape and without changing it.
//!
//! It takes what Binance really sends: no blanks, no escapes in strings, no negative or fractional
//! numbers, fields in any order with the symbol before a book's levels. For everything else it
//! answers `None` and [`super::tape`] reads the frame. Whatever it takes is valid JSON and means the
//! same to both; a differential test and fuzzing hold them together.

use crate::event::BookLevel;
use crate::num::{Price, Qty};

use super::digits::{Scale, fixed_prefix, integer_prefix, string_stop, word};
use super::fields::{Fields, Key, Text, Value};
use super::symbols::{Symbol, Symbols};

/// Levels of a book message, in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Levels {
    pub(super) bids: Vec<BookLevel>,
    pub(super) asks: Vec<BookLevel>,
}

impl Levels {
    pub(super) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }
}

/// What a frame consists of.
#[derive(Debug)]
pub(super) struct Scanned<'a> {
    /// The stream's name, on combined connections.
    pub(super) stream: Option<&'a [u8]>,
    /// The fields of the message.
    pub(super) fields: Fields<'a>,
    /// The fields of a bar's `k`.
    pub(super) bar: Option<Fields<'a>>,
}

impl<'a> Scanned<'a> {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self {
            stream: None,
            fields: Fields::new(),
            bar: None,
        }
    }

    /// True when both arrays of a book are there, be they empty.
    #[inline(always)]
    pub(super) fn has_both_sides(&self) -> bool {
        let is_array = |key| matches!(self.fields.get(key), Value::Array);
        is_array(Key::SmallB) && is_array(Key::SmallA)
    }

    /// Reads a frame; the levels of a book go to `levels`.
    #[inline(always)]
    pub(super) fn scan(
        &mut self,
        frame: &'a [u8],
        symbols: &mut Symbols,
        levels: &mut Levels,
    ) -> Option<()> {
        let mut rest = frame.strip_prefix(b"{")?;
        if let Some(name) = rest.strip_prefix(b"\"stream\":\"") {
            let (text, after) = string(name)?;
            self.stream = Some(text.bytes());
            let data = after.strip_prefix(b",\"data\":{")?;
            rest = self.object(data, symbols, levels)?.strip_prefix(b"}")?;
        } else {
            rest = self.object(rest, symbols, levels)?;
        }
        rest.is_empty().then_some(())
    }

    /// The fields of the message's object, from behind its brace to behind its end.
    #[inline(always)]
    fn object(
        &mut self,
        mut rest: &'a [u8],
        symbols: &mut Symbols,
        levels: &mut Levels,
    ) -> Option<&'a [u8]> {
        let mut seen = Seen::default();
        loop {
            let (name, after) = name(rest)?;
            let key = seen.first(name)?;
            rest = match (after.first()?, name) {
                (b'[', [side @ (b'a' | b'b')]) => {
                    let Value::Text(text) = self.fields.get(Key::Symbol) else {
                        return None;
                    };
                    let symbol = symbols.get(text)?;
                    let (key, out) = match side {
                        b'a' => (Key::SmallA, &mut levels.asks),
                        _ => (Key::SmallB, &mut levels.bids),
                    };
                    self.fields.set(key, Value::Array);
                    book_side(after.get(1..)?, symbol, out)?
                }
                (b'{', b"k") => {
                    let mut bar = Fields::new();
                    let after = flat_object(after.get(1..)?, &mut bar)?;
                    self.bar = Some(bar);
                    after
                }
                _ => {
                    let (value, after) = scalar(after)?;
                    if let Some(key) = key {
                        self.fields.set(key, value);
                    }
                    after
                }
            };
            match rest.split_first()? {
                (b',', after) => rest = after,
                (b'}', after) => return Some(after),
                _ => return None,
            }
        }
    }
}

/// The fields of an object without nested ones.
fn flat_object<'a>(mut rest: &'a [u8], fields: &mut Fields<'a>) -> Option<&'a [u8]> {
    let mut seen = Seen::default();
    loop {
        let (name, after) = name(rest)?;
        let key = seen.first(name)?;
        let (value, after) = scalar(after)?;
        if let Some(key) = key {
            fields.set(key, value);
        }
        match after.split_first()? {
            (b',', after) => rest = after,
            (b'}', after) => return Some(after),
            _ => return None,
        }
    }
}

/// Field names met so far: a repeated name goes to the other way of reading.
#[derive(Default)]
struct Seen(u64);

impl Seen {
    /// Notes a name; the key it stands for, or `None` for a name that is repeated or not known to
    /// be harmless.
    #[inline(always)]
    fn first(&mut self, name: &[u8]) -> Option<Option<Key>> {
        let bit = match name {
            [letter @ b'A'..=b'Z'] => letter - b'A',
            [letter @ b'a'..=b'z'] => 26 + letter - b'a',
            b"pu" => 52,
            b"st" => 53,
            b"ps" => 54,
            b"nq" => 55,
            b"ap" => 56,
            _ => return None,
        };
        let bit = 1 << bit;
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new.then(|| Key::of(name))
    }
}

/// A field's name of one or two letters, from its quote to behind the colon.
#[inline(always)]
fn name(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    match rest {
        [b'"', _, b'"', b':', after @ ..] => Some((&rest[1..2], after)),
        [b'"', _, _, b'"', b':', after @ ..] => Some((&rest[1..3], after)),
        _ => None,
    }
}

/// A string, an integer or a truth value.
#[inline(always)]
fn scalar(rest: &[u8]) -> Option<(Value<'_>, &[u8])> {
    match rest.split_first()? {
        (b'"', after) => {
            let (text, after) = string(after)?;
            Some((Value::Text(text), after))
        }
        (b'0'..=b'9', _) => {
            let (value, len) = integer_prefix(rest)?;
            Some((Value::Int(value), rest.get(len..)?))
        }
        (b't', after) => Some((Value::Bool(true), after.strip_prefix(b"rue")?)),
        (b'f', after) => Some((Value::Bool(false), after.strip_prefix(b"alse")?)),
        _ => None,
    }
}

/// A string of plain ASCII, from behind its quote to behind the other one.
#[inline(always)]
fn string(rest: &[u8]) -> Option<(Text<'_>, &[u8])> {
    let mut len = 0;
    loop {
        let stop = string_stop(word(rest.get(len..)?));
        len += stop;
        if stop < 8 {
            break;
        }
    }
    let after = rest.get(len..)?.strip_prefix(b"\"")?;
    Some((Text { tail: rest, len }, after))
}

/// The levels of one side, from behind the array's bracket to behind its end.
#[inline(always)]
pub(super) fn book_side<'a>(
    rest: &'a [u8],
    symbol: Symbol,
    out: &mut Vec<BookLevel>,
) -> Option<&'a [u8]> {
    if let Some(after) = rest.strip_prefix(b"]") {
        return Some(after);
    }
    let price_scale = Scale::of(symbol.price_scale);
    let qty_scale = Scale::of(symbol.qty_scale);
    let mut rest = rest.strip_prefix(b"[\"")?;
    loop {
        let (price, len) = fixed_prefix(rest, price_scale)?;
        rest = rest.get(len..)?.strip_prefix(b"\",\"")?;
        let (qty, len) = fixed_prefix(rest, qty_scale)?;
        rest = rest.get(len..)?;
        out.push(BookLevel {
            price: Price(price),
            qty: Qty(qty),
        });
        match rest.strip_prefix(b"\"],[\"") {
            Some(after) => rest = after,
            None => return rest.strip_prefix(b"\"]]"),
        }
    }
}

/// Reads a compact depth snapshot: its sequence number and, on USDⓈ-M, its event time in
/// milliseconds.
pub(super) fn snapshot(
    body: &[u8],
    symbol: Symbol,
    levels: &mut Levels,
) -> Option<(u64, Option<u64>)> {
    let rest = body.strip_prefix(b"{\"lastUpdateId\":")?;
    let (seq, len) = integer_prefix(rest)?;
    let mut rest = rest.get(len..)?;
    let mut event_time = None;
    if let Some(after) = rest.strip_prefix(b",\"E\":") {
        let (time, len) = integer_prefix(after)?;
        event_time = Some(time);
        rest = after.get(len..)?;
        let after = rest.strip_prefix(b",\"T\":")?;
        let (_, len) = integer_prefix(after)?;
        rest = after.get(len..)?;
    }
    rest = book_side(rest.strip_prefix(b",\"bids\":[")?, symbol, &mut levels.bids)?;
    rest = book_side(rest.strip_prefix(b",\"asks\":[")?, symbol, &mut levels.asks)?;
    (rest == b"}").then_some((seq, event_time))
}
