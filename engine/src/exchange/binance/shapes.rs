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

use super::digits::{Scale, fixed_prefix, integer_prefix};
use super::fields::{Text, stamp};
use super::scan::string_len;
use super::symbols::{Symbol, Symbols};

/// Reads a frame of a known shape and delivers its event. `None`: it is of none, and nothing was
/// delivered.
///
/// Not inlined: the loop over a book's levels gets worse code with this beside it.
#[inline(never)]
pub(super) fn read(frame: &[u8], symbols: &mut Symbols, sink: &mut dyn EventSink) -> Option<()> {
    let mut at = Cursor(frame);
    let is_combined = at.skips(b"{\"stream\":\"");
    if is_combined {
        at.string()?;
        at.skip(b"\",\"data\":")?;
    }
    at.skip(b"{\"")?;
    let (symbol, event) = if at.skips(b"e\":\"trade\",\"E\":") {
        trade(&mut at, symbols)?
    } else if at.skips(b"e\":\"aggTrade\",\"E\":") {
        aggregate(&mut at, symbols)?
    } else if at.skips(b"e\":\"bookTicker\",\"u\":") || at.skips(b"u\":") {
        ticker(&mut at, symbols)?
    } else {
        return None;
    };
    // Of the coin-margined product line nothing is taken here.
    at.skips(b",\"st\":1");
    at.skip(b"}")?;
    if is_combined {
        at.skip(b"}")?;
    }
    if !at.0.is_empty() {
        return None;
    }
    sink.event(symbol.id, event);
    Some(())
}

#[inline(always)]
fn trade(at: &mut Cursor<'_>, symbols: &mut Symbols) -> Option<(Symbol, Event<'static>)> {
    at.integer()?;
    // USDⓈ-M has the time of the trade here, spot behind the quantity.
    let mut time = match at.skips(b",\"T\":") {
        true => Some(at.integer()?),
        false => None,
    };
    at.skip(b",\"s\":\"")?;
    let symbol = at.symbol(symbols)?;
    at.skip(b"\",\"t\":")?;
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
    Some((symbol, Event::Trade(trade)))
}

#[inline(always)]
fn aggregate(at: &mut Cursor<'_>, symbols: &mut Symbols) -> Option<(Symbol, Event<'static>)> {
    at.integer()?;
    at.skip(b",\"s\":\"")?;
    let symbol = at.symbol(symbols)?;
    at.skip(b"\",\"a\":")?;
    let id = at.integer()?;
    let (price, qty) = at.pair(b",\"p\":\"", b"\",\"q\":\"", symbol)?;
    if at.skips(b"\",\"nq\":\"") {
        at.string()?;
    }
    at.skip(b"\",\"f\":")?;
    at.integer()?;
    at.skip(b",\"l\":")?;
    at.integer()?;
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
    Some((symbol, Event::Trade(trade)))
}

#[inline(always)]
fn ticker(at: &mut Cursor<'_>, symbols: &mut Symbols) -> Option<(Symbol, Event<'static>)> {
    let seq = at.integer()?;
    at.skip(b",\"")?;
    let mut time = None;
    if at.skips(b"E\":") {
        time = Some(at.integer()?);
        at.skip(b",\"T\":")?;
        at.integer()?;
        at.skip(b",\"")?;
    }
    at.skip(b"s\":\"")?;
    let symbol = at.symbol(symbols)?;
    at.skip(b"\"")?;
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
        at.integer()?;
        at.skip(b",\"E\":")?;
        time = Some(at.integer()?);
    }
    let ticker = Ticker {
        seq: Some(seq),
        bid,
        ask,
        ts_event: time.map(stamp),
    };
    Some((symbol, Event::Ticker(ticker)))
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
    fn fixed(&mut self, scale: u8) -> Option<i64> {
        let (value, len) = fixed_prefix(self.0, Scale::of(scale))?;
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
        let price = self.fixed(symbol.price_scale)?;
        self.skip(before_qty)?;
        let qty = self.fixed(symbol.qty_scale)?;
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
