//! Trades and best prices in the order of fields that Binance really sends.
//!
//! Three of four messages of a busy connection are of these shapes. Where a field stands is known, so
//! that nothing is looked up and nothing is kept: literal text is compared, numbers are read where they
//! are. Whatever differs in anything, be it by one more field, is not taken, and [`super::scan`] reads
//! it; the differential test and fuzzing hold all ways together.
//!
//! Sources: spot `web-socket-streams.md` (2026-07-21); USDⓈ-M payloads of the official connector 64.0.0
//! (2026-07-22), and recordings of both.

use crate::event::{BookLevel, Event, EventSink, Side, Ticker, Trade, TradeId};
use crate::num::{Price, Qty};

use super::digits::{Scale, fixed_prefix, integer_len, integer_prefix, word};
use super::fields::{Text, stamp};
use super::level::{PAIR_WINDOW, short_pair};
use super::scan::string_len;
use super::symbols::{Symbol, Symbols};

/// Longest beginning and longest name that are kept.
const HEAD_MAX: usize = 96;
const NAME_MAX: usize = 40;
/// Places for them; a connection carries at most some hundred streams.
const SLOTS: usize = 256;
/// Where a stream's name is in a frame that names it.
const NAME_AT: usize = 11;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Trade,
    Aggregate,
    Ticker,
}

/// How the frames of a stream begin, up to the first number, and how they name the instrument: the same
/// bytes in each of them, which are compared instead of being read again.
#[derive(Clone, Copy, Debug)]
struct Head {
    text: [u8; HEAD_MAX],
    text_len: usize,
    shape: Shape,
    name: [u8; NAME_MAX],
    name_len: usize,
    symbol: Symbol,
}

/// The beginnings that have been seen, by the streams' names. What is not here is read as if for the first time.
#[derive(Debug)]
pub(super) struct Heads(Vec<Option<Head>>);

impl Heads {
    pub(super) fn new() -> Self {
        Self(vec![None; SLOTS])
    }

    /// Forgets them: the instruments are others.
    pub(super) fn clear(&mut self) {
        self.0.fill(None);
    }

    #[inline(always)]
    fn slot(frame: &[u8]) -> Option<usize> {
        let name = frame.get(NAME_AT..)?;
        let (low, high) = (word(name), word(name.get(8..)?));
        let hash = (low ^ high.rotate_left(23)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Some((hash >> 56) as usize % SLOTS)
    }

    #[cold]
    fn keep(&mut self, frame: &[u8], head: usize, shape: Shape, found: &Looked<'_>) {
        let (from, to) = found.name;
        let (text, name) = (frame.get(..head), frame.get(from..to));
        let (Some(text), Some(name), Some(symbol)) = (text, name, found.symbol) else {
            return;
        };
        let mut kept = Head {
            text: [0; HEAD_MAX],
            text_len: text.len(),
            shape,
            name: [0; NAME_MAX],
            name_len: name.len(),
            symbol,
        };
        if let (Some(slot), Some(to), Some(name_to)) = (
            Self::slot(frame).and_then(|slot| self.0.get_mut(slot)),
            kept.text.get_mut(..text.len()),
            kept.name.get_mut(..name.len()),
        ) {
            to.copy_from_slice(text);
            name_to.copy_from_slice(name);
            *slot = Some(kept);
        }
    }
}

/// Takes `,"s":"`, the symbol and what follows.
trait Names {
    fn take<const N: usize>(&mut self, at: &mut Cursor<'_>, after: &[u8; N]) -> Option<Symbol>;
}

/// Looks a symbol up, and remembers where it stood.
struct Looked<'a> {
    symbols: &'a mut Symbols,
    frame_len: usize,
    name: (usize, usize),
    symbol: Option<Symbol>,
}

impl Names for Looked<'_> {
    #[inline(always)]
    fn take<const N: usize>(&mut self, at: &mut Cursor<'_>, after: &[u8; N]) -> Option<Symbol> {
        let from = self.frame_len - at.0.len();
        at.skip(b",\"s\":\"")?;
        let symbol = at.symbol(self.symbols)?;
        at.skip(after)?;
        self.name = (from, self.frame_len - at.0.len());
        self.symbol = Some(symbol);
        Some(symbol)
    }
}

impl Names for &Head {
    #[inline(always)]
    fn take<const N: usize>(&mut self, at: &mut Cursor<'_>, _: &[u8; N]) -> Option<Symbol> {
        at.0 = at.0.strip_prefix(self.name.get(..self.name_len)?)?;
        Some(self.symbol)
    }
}

/// Reads a frame of a known shape and delivers its event. `None`: it is of none, and nothing was
/// delivered.
///
/// Not inlined: the loop over a book's levels gets worse code with this beside it.
#[inline(never)]
pub(super) fn read(
    frame: &[u8],
    heads: &mut Heads,
    symbols: &mut Symbols,
    sink: &mut dyn EventSink,
) -> Option<()> {
    if let Some(Some(head)) = Heads::slot(frame).and_then(|slot| heads.0.get(slot))
        && let Some(rest) = head
            .text
            .get(..head.text_len)
            .and_then(|text| frame.strip_prefix(text))
    {
        let at = Cursor(rest);
        let seen = match head.shape {
            Shape::Trade => trade(at, &mut &*head, true, sink),
            Shape::Aggregate => aggregate(at, &mut &*head, true, sink),
            Shape::Ticker => ticker(at, &mut &*head, true, sink),
        };
        if seen.is_some() {
            return seen;
        }
    }
    first(frame, heads, symbols, sink)
}

/// Reads a frame that begins as none before.
#[inline(never)]
fn first(
    frame: &[u8],
    heads: &mut Heads,
    symbols: &mut Symbols,
    sink: &mut dyn EventSink,
) -> Option<()> {
    let mut at = Cursor(frame);
    let is_combined = at.skips(b"{\"stream\":\"");
    if is_combined {
        at.string()?;
        at.skip(b"\",\"data\":")?;
    }
    at.skip(b"{\"")?;
    let shape = if at.skips(b"e\":\"trade\",\"E\":") {
        Shape::Trade
    } else if at.skips(b"e\":\"aggTrade\",\"E\":") {
        Shape::Aggregate
    } else if at.skips(b"e\":\"bookTicker\",\"u\":") || at.skips(b"u\":") {
        Shape::Ticker
    } else {
        return None;
    };
    let head = frame.len() - at.0.len();
    let mut names = Looked {
        symbols,
        frame_len: frame.len(),
        name: (0, 0),
        symbol: None,
    };
    match shape {
        Shape::Trade => trade(at, &mut names, is_combined, sink),
        Shape::Aggregate => aggregate(at, &mut names, is_combined, sink),
        Shape::Ticker => ticker(at, &mut names, is_combined, sink),
    }?;
    if is_combined {
        heads.keep(frame, head, shape, &names);
    }
    Some(())
}

#[inline(always)]
fn trade(
    mut at: Cursor<'_>,
    names: &mut impl Names,
    is_combined: bool,
    sink: &mut dyn EventSink,
) -> Option<()> {
    at.pass_integer()?;
    // USDⓈ-M has the time of the trade here, spot behind the quantity.
    let mut time = match at.skips(b",\"T\":") {
        true => Some(at.integer()?),
        false => None,
    };
    let symbol = names.take(&mut at, b"\",\"t\":")?;
    let id = at.integer()?;
    let (price, qty) = at.pair(b",\"p\":\"", b"\",\"q\":\"", symbol)?;
    at.skip(b"\",")?;
    if time.is_none() {
        at.skip(b"\"T\":")?;
        time = Some(at.integer()?);
        at.skip(b",")?;
    } else {
        at.skip(b"\"X\":\"MARKET\",")?;
    }
    let taker_side = at.taker()?;
    let trade = Trade {
        trade_id: TradeId::Number(id),
        price,
        qty,
        taker_side,
        ts_event: stamp(time?),
        is_aggregate: false,
    };
    at.ends(is_combined)?;
    sink.event(symbol.id, Event::Trade(trade));
    Some(())
}

#[inline(always)]
fn aggregate(
    mut at: Cursor<'_>,
    names: &mut impl Names,
    is_combined: bool,
    sink: &mut dyn EventSink,
) -> Option<()> {
    at.pass_integer()?;
    let symbol = names.take(&mut at, b"\",\"a\":")?;
    let id = at.integer()?;
    let (price, qty) = at.pair(b",\"p\":\"", b"\",\"q\":\"", symbol)?;
    if at.skips(b"\",\"nq\":\"") {
        at.string()?;
    }
    at.skip(b"\",\"f\":")?;
    at.pass_integer()?;
    at.skip(b",\"l\":")?;
    at.pass_integer()?;
    at.skip(b",\"T\":")?;
    let time = at.integer()?;
    at.skip(b",")?;
    let taker_side = at.taker()?;
    let trade = Trade {
        trade_id: TradeId::Number(id),
        price,
        qty,
        taker_side,
        ts_event: stamp(time),
        is_aggregate: true,
    };
    at.ends(is_combined)?;
    sink.event(symbol.id, Event::Trade(trade));
    Some(())
}

#[inline(always)]
fn ticker(
    mut at: Cursor<'_>,
    names: &mut impl Names,
    is_combined: bool,
    sink: &mut dyn EventSink,
) -> Option<()> {
    let seq = at.integer()?;
    let mut time = None;
    if at.skips(b",\"E\":") {
        time = Some(at.integer()?);
        at.skip(b",\"T\":")?;
        at.pass_integer()?;
    }
    let symbol = names.take(&mut at, b"\"")?;
    if at.skips(b",\"ps\":\"") {
        at.string()?;
        at.skip(b"\"")?;
    }
    let level = |(price, qty)| BookLevel { price, qty };
    let bid = level(at.pair(b",\"b\":\"", b"\",\"B\":\"", symbol)?);
    at.skip(b"\"")?;
    let ask = level(at.pair(b",\"a\":\"", b"\",\"A\":\"", symbol)?);
    at.skip(b"\"")?;
    // Until 2025 the times were at the end.
    if time.is_none() && at.skips(b",\"T\":") {
        at.pass_integer()?;
        at.skip(b",\"E\":")?;
        time = Some(at.integer()?);
    }
    let ticker = Ticker {
        seq: Some(seq),
        bid,
        ask,
        ts_event: time.map(stamp),
    };
    at.ends(is_combined)?;
    sink.event(symbol.id, Event::Ticker(ticker));
    Some(())
}

/// What is left of a frame.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// Takes a text that may be there.
    #[inline(always)]
    fn skips<const N: usize>(&mut self, text: &[u8; N]) -> bool {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) if head == text => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes a text that has to be there.
    #[inline(always)]
    fn skip<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        self.skips(text).then_some(())
    }

    /// Nothing but the end is left.
    #[inline(always)]
    fn ends(&mut self, is_combined: bool) -> Option<()> {
        // Of the coin-margined product line nothing is taken here.
        self.skips(b",\"st\":1");
        self.skip(b"}")?;
        if is_combined {
            self.skip(b"}")?;
        }
        self.0.is_empty().then_some(())
    }

    #[inline(always)]
    fn take(&mut self, len: usize) -> Option<()> {
        self.0 = self.0.get(len..)?;
        Some(())
    }

    #[inline(always)]
    fn integer(&mut self) -> Option<u64> {
        let (value, len) = integer_prefix(self.0)?;
        self.take(len)?;
        Some(value)
    }

    /// Takes an integer that means nothing here.
    #[inline(always)]
    fn pass_integer(&mut self) -> Option<()> {
        self.take(integer_len(self.0)?)
    }

    /// Takes a string up to its closing quote.
    #[inline(always)]
    fn string(&mut self) -> Option<()> {
        self.take(string_len(self.0)?)
    }

    #[inline(always)]
    fn symbol(&mut self, symbols: &mut Symbols) -> Option<Symbol> {
        let text = Text {
            tail: self.0,
            len: string_len(self.0)?,
        };
        let symbol = symbols.get(text)?;
        self.take(text.len)?;
        Some(symbol)
    }

    #[inline(always)]
    fn fixed(&mut self, scale: &Scale) -> Option<i64> {
        let (value, len) = fixed_prefix(self.0, scale)?;
        self.take(len)?;
        Some(value)
    }

    /// A price and a quantity with what stands before each, up to the last one's closing quote.
    #[inline(always)]
    fn pair<const N: usize, const M: usize>(
        &mut self,
        before_price: &[u8; N],
        before_qty: &[u8; M],
        symbol: Symbol,
    ) -> Option<(Price, Qty)> {
        self.skip(before_price)?;
        let price_scale = Scale::of(symbol.price_scale);
        let qty_scale = Scale::of(symbol.qty_scale);
        if let Some(window) = self.0.first_chunk::<PAIR_WINDOW>()
            && let Some((price, qty, len)) =
                short_pair::<M>(window, word(before_qty), price_scale, qty_scale)
        {
            self.take(len)?;
            return Some((price, qty));
        }
        let price = self.fixed(price_scale)?;
        self.skip(before_qty)?;
        let qty = self.fixed(qty_scale)?;
        Some((Price(price), Qty(qty)))
    }

    /// `"m":true`: the buyer was the maker, so that the taker sold. Spot's `M`, which means nothing any
    /// more, may follow.
    #[inline(always)]
    fn taker(&mut self) -> Option<Side> {
        self.skip(b"\"m\":")?;
        let side = if self.skips(b"true") {
            Side::Sell
        } else {
            self.skip(b"false")?;
            Side::Buy
        };
        if self.skips(b",\"M\":") && !self.skips(b"true") {
            self.skip(b"false")?;
        }
        Some(side)
    }
}
