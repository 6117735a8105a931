//! The fast way to read a frame: one pass over compact JSON, without a tape and without changing it.
//!
//! It takes what Binance really sends: no blanks, no escapes in strings, no negative or fractional
//! numbers, fields in any order with the symbol before a book's levels. For everything else it
//! answers `None` and [`super::tape`] reads the frame. Whatever it takes is valid JSON and means the
//! same to both; a differential test and fuzzing hold them together.

use crate::event::BookLevel;
use crate::num::{Price, Qty};

#[cfg(target_arch = "x86_64")]
use super::avx2::Read;
use super::digits::{Scale, fixed_prefix, integer_prefix, string_stop, word};
use super::fields::{FieldStore, Fields, Key, Slot, Value};
use super::level::{LAST_LEN, NEXT_LEN, WINDOW, is_last, is_next, short_level};
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

/// What a frame consists of, in places that are used again.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) fields: FieldStore,
    /// The fields of a bar's `k`.
    pub(super) bar: FieldStore,
    pub(super) has_bar: bool,
    pub(super) levels: Levels,
}

impl Scanned {
    pub(super) fn new() -> Self {
        Self {
            fields: FieldStore::new(),
            bar: FieldStore::new(),
            has_bar: false,
            levels: Levels::default(),
        }
    }

    /// Reads a frame and gives its stream's name, where it has one.
    #[inline(always)]
    pub(super) fn scan<'a>(
        &mut self,
        frame: &'a [u8],
        symbols: &mut Symbols,
    ) -> Option<Option<&'a [u8]>> {
        self.fields.clear();
        self.has_bar = false;
        self.levels.clear();
        let rest = frame.strip_prefix(b"{")?;
        let (stream, rest) = match rest.strip_prefix(b"\"stream\":\"") {
            Some(name) => {
                let len = string_len(name)?;
                let (name, after) = name.split_at_checked(len)?;
                let data = after.strip_prefix(b"\",\"data\":{")?;
                (
                    Some(name),
                    self.object(frame, data, symbols)?.strip_prefix(b"}")?,
                )
            }
            None => (None, self.object(frame, rest, symbols)?),
        };
        rest.is_empty().then_some(stream)
    }

    /// The fields of the message's object, from behind its brace to behind its end.
    #[inline(always)]
    fn object<'a>(
        &mut self,
        frame: &'a [u8],
        mut rest: &'a [u8],
        symbols: &mut Symbols,
    ) -> Option<&'a [u8]> {
        loop {
            let (key, after) = name(rest)?;
            let first = *after.first()?;
            rest = match (first, key) {
                (_, Some(key)) if self.fields.has(key) => return None,
                (b'[', Some(key)) => {
                    let fields = Fields {
                        store: &self.fields,
                        base: frame,
                    };
                    let Value::Text(text) = fields.get(Key::SYMBOL) else {
                        return None;
                    };
                    let symbol = symbols.get(text)?;
                    let side = match key {
                        _ if key == Key::letter(b'b') => &mut self.levels.bids,
                        _ if key == Key::letter(b'a') => &mut self.levels.asks,
                        _ => return None,
                    };
                    self.fields.set(key, Slot::Array);
                    book_side(after.get(1..)?, symbol, side)?
                }
                (b'{', Some(key)) if key == Key::letter(b'k') => {
                    self.fields.set(key, Slot::Other);
                    self.has_bar = true;
                    self.bar.clear();
                    flat_object(frame, after.get(1..)?, &mut self.bar)?
                }
                _ => {
                    let (slot, after) = scalar(frame, first, after)?;
                    if let Some(key) = key {
                        self.fields.set(key, slot);
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

    /// True when both arrays of a book are there, be they empty.
    #[inline(always)]
    pub(super) fn has_both_sides(&self, fields: &Fields<'_>) -> bool {
        let is_array = |letter| matches!(fields.get(Key::letter(letter)), Value::Array);
        is_array(b'b') && is_array(b'a')
    }
}

/// The fields of an object without nested ones.
fn flat_object<'a>(
    frame: &'a [u8],
    mut rest: &'a [u8],
    fields: &mut FieldStore,
) -> Option<&'a [u8]> {
    loop {
        let (key, after) = name(rest)?;
        let (slot, after) = scalar(frame, *after.first()?, after)?;
        if let Some(key) = key {
            if fields.has(key) {
                return None;
            }
            fields.set(key, slot);
        }
        match after.split_first()? {
            (b',', after) => rest = after,
            (b'}', after) => return Some(after),
            _ => return None,
        }
    }
}

/// A field's name, from its quote to behind the colon; no key for one that means nothing.
#[inline(always)]
fn name(rest: &[u8]) -> Option<(Option<Key>, &[u8])> {
    const SHAPE: u32 = u32::from_le_bytes([b'"', 0, b'"', b':']);
    let (head, after) = rest.split_first_chunk::<4>()?;
    let letter = head[1];
    if u32::from_le_bytes(*head) & 0xFFFF_00FF == SHAPE && letter.is_ascii_alphabetic() {
        return Some((Some(Key::letter(letter)), after));
    }
    long_name(rest)
}

/// A name that is not a single letter, unless it makes something else of the object.
fn long_name(rest: &[u8]) -> Option<(Option<Key>, &[u8])> {
    let text = rest.strip_prefix(b"\"")?;
    let (name, after) = text.split_at_checked(string_len(text)?)?;
    let after = after.strip_prefix(b"\":")?;
    match name {
        b"stream" | b"data" | b"result" | b"error" | b"id" | b"code" | b"msg" | b"lastUpdateId" => {
            None
        }
        _ => Some((Key::of(name), after)),
    }
}

/// A string, an integer or a truth value.
#[inline(always)]
fn scalar<'a>(frame: &[u8], first: u8, rest: &'a [u8]) -> Option<(Slot, &'a [u8])> {
    match first {
        b'"' => {
            let text = rest.get(1..)?;
            let len = string_len(text)?;
            // The frame's length has been checked to fit.
            let at = (frame.len() - text.len()) as u32;
            let slot = Slot::Text {
                at,
                len: len as u32,
            };
            Some((slot, text.get(len + 1..)?))
        }
        b'0'..=b'9' => {
            let (value, len) = integer_prefix(rest)?;
            Some((Slot::Int(value), rest.get(len..)?))
        }
        b't' => Some((Slot::Bool(true), rest.strip_prefix(b"true")?)),
        b'f' => Some((Slot::Bool(false), rest.strip_prefix(b"false")?)),
        _ => None,
    }
}

/// Length of a string of plain ASCII up to its closing quote.
#[inline(always)]
pub(super) fn string_len(text: &[u8]) -> Option<usize> {
    let mut len = 0;
    loop {
        let stop = string_stop(word(text.get(len..)?));
        len += stop;
        if stop < 8 {
            break;
        }
    }
    (*text.get(len)? == b'"').then_some(len)
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
        #[cfg(target_arch = "x86_64")]
        match super::avx2::levels(rest, price_scale, qty_scale, out) {
            Some(Read::Side(end)) => return rest.get(end..),
            Some(Read::Level(end)) => rest = rest.get(end..)?,
            None => {}
        }
        if let Some((level, end, behind)) = level(rest, price_scale, qty_scale) {
            if is_next(behind) {
                out.push(level);
                rest = rest.get(end + NEXT_LEN..)?;
                continue;
            }
            if is_last(behind) {
                out.push(level);
                return rest.get(end + LAST_LEN..);
            }
        }
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

/// [`short_level`] at the start of `rest`.
#[inline(always)]
fn level(rest: &[u8], price: &Scale, qty: &Scale) -> Option<(BookLevel, usize, u64)> {
    match rest.first_chunk::<WINDOW>() {
        Some(window) => short_level(window, price, qty),
        None => {
            let mut padded = [0; WINDOW];
            padded.get_mut(..rest.len())?.copy_from_slice(rest);
            short_level(&padded, price, qty)
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
