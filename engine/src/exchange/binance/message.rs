//! What Binance's public messages mean: from fields to events, whichever way they were read.
//!
//! [`super::scan`] and [`super::tape`] find the fields of a message; everything that knows what a
//! field stands for is here, once.
//!
//! Sources: spot `web-socket-streams.md` (2026-07-21); USDⓈ-M stream payloads of the official
//! connector 64.0.0 (2026-07-22).

use crate::event::{BookDelta, BookLevel, Event, Funding, Kline, Side, Skipped, Ticker, Trade};
use crate::exchange::DecodeError;
use crate::instrument::Market;
use crate::num::{Price, Qty, parse_fixed};
use crate::time::{Level, TsNanos};

use super::digits::{Scale, fixed, fixed_prefix, fixed_wide};
use super::symbols::{Symbol, Symbols};

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

    fn has(&self, key: Key) -> bool {
        !matches!(self.get(key), Value::Absent)
    }

    #[inline(always)]
    fn text(&self, key: Key) -> Result<Text<'a>, DecodeError> {
        match self.get(key) {
            Value::Text(text) => Ok(text),
            _ => Err(missing(key)),
        }
    }

    #[inline(always)]
    fn int(&self, key: Key) -> Result<u64, DecodeError> {
        match self.get(key) {
            Value::Int(value) => Ok(value),
            _ => Err(missing(key)),
        }
    }

    fn bool(&self, key: Key) -> Result<bool, DecodeError> {
        match self.get(key) {
            Value::Bool(value) => Ok(value),
            _ => Err(missing(key)),
        }
    }

    #[inline(always)]
    fn time(&self, key: Key) -> Result<TsNanos, DecodeError> {
        self.int(key).map(stamp)
    }

    #[inline(always)]
    fn number(&self, key: Key, scale: u8) -> Result<i64, DecodeError> {
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

    fn price(&self, key: Key, symbol: Symbol) -> Result<Price, DecodeError> {
        self.number(key, symbol.price_scale).map(Price)
    }

    fn qty(&self, key: Key, symbol: Symbol) -> Result<Qty, DecodeError> {
        self.number(key, symbol.qty_scale).map(Qty)
    }

    /// A number that may be missing or empty and may have a sign.
    fn number_or_none(&self, key: Key, scale: u8) -> Result<Option<i64>, DecodeError> {
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
fn missing(key: Key) -> DecodeError {
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

/// A kind of message that becomes an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Book,
    Trade,
    AggTrade,
    Kline,
    Ticker,
    Funding,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    Event(Kind, Symbol),
    Skip(Skipped),
    Shutdown,
}

/// Decides what a message is. `stream` is its name on a combined connection.
pub(super) fn classify(
    fields: &Fields<'_>,
    stream: Option<&[u8]>,
    symbols: &mut Symbols,
) -> Result<Verdict, DecodeError> {
    let kind = match fields.get(Key::Kind) {
        Value::Text(text) => match text.bytes() {
            b"depthUpdate" => Kind::Book,
            b"bookTicker" => Kind::Ticker,
            b"trade" => Kind::Trade,
            b"aggTrade" => Kind::AggTrade,
            b"kline" => Kind::Kline,
            b"markPriceUpdate" => Kind::Funding,
            b"serverShutdown" => return Ok(Verdict::Shutdown),
            _ => return Ok(Verdict::Skip(Skipped::UnknownKind)),
        },
        // Spot's bookTicker is known by its fields alone.
        Value::Absent if is_plain_ticker(fields) => Kind::Ticker,
        _ => return Err(missing(Key::Kind)),
    };
    let topic = stream.map(topic_of);
    if kind == Kind::Book && topic.is_some_and(|topic| !is_diff_depth(topic)) {
        // Partial books have the shape of a delta on USDⓈ-M and would wreck a book.
        return Ok(Verdict::Skip(Skipped::UnknownKind));
    }
    if kind == Kind::Kline && topic.is_some_and(|topic| topic.ends_with(b"@+08:00")) {
        return Ok(Verdict::Skip(Skipped::UnservedLevel));
    }
    if symbols.market() == Market::Perp && fields.has(Key::SymbolType) {
        // Streams of all symbols carry coin-margined ones since 2026-06-30.
        if fields.int(Key::SymbolType)? != 1 {
            return Ok(Verdict::Skip(Skipped::OtherMarket));
        }
    }
    match symbols.get(fields.text(Key::Symbol)?) {
        Some(symbol) => Ok(Verdict::Event(kind, symbol)),
        None => Ok(Verdict::Skip(Skipped::UnknownSymbol)),
    }
}

fn is_plain_ticker(fields: &Fields<'_>) -> bool {
    let is_text = |key| matches!(fields.get(key), Value::Text(_));
    fields.has(Key::SmallU)
        && [Key::Symbol, Key::SmallB, Key::BigB, Key::SmallA, Key::BigA]
            .into_iter()
            .all(is_text)
}

/// `depth@100ms` of `btcusdt@depth@100ms`.
fn topic_of(stream: &[u8]) -> &[u8] {
    stream
        .iter()
        .position(|&byte| byte == b'@')
        .map_or(&[], |at| &stream[at + 1..])
}

fn is_diff_depth(topic: &[u8]) -> bool {
    topic == b"depth" || topic.starts_with(b"depth@")
}

/// The delta of a depthUpdate whose levels have been read.
pub(super) fn book_delta<'a>(
    fields: &Fields<'_>,
    market: Market,
    bids: &'a [BookLevel],
    asks: &'a [BookLevel],
) -> Result<BookDelta<'a>, DecodeError> {
    Ok(BookDelta {
        first_seq: fields.int(Key::BigU)?,
        last_seq: fields.int(Key::SmallU)?,
        prev_seq: match market {
            Market::Spot => None,
            Market::Perp => Some(fields.int(Key::PreviousU)?),
        },
        ts_event: fields.time(Key::EventTime)?,
        bids,
        asks,
    })
}

/// Any event but a book's. `bar` holds the fields of `k`.
pub(super) fn event<'a>(
    kind: Kind,
    symbol: Symbol,
    fields: &Fields<'_>,
    bar: Option<&Fields<'_>>,
) -> Result<Option<Event<'a>>, DecodeError> {
    Ok(match kind {
        Kind::Trade => {
            // Insurance fund and liquidation entries (`X` other than MARKET, some with price 0)
            // are no matches; the aggregated stream leaves them out as well.
            if let Value::Text(text) = fields.get(Key::BigX)
                && text.bytes() != b"MARKET"
            {
                return Ok(None);
            }
            Some(Event::Trade(trade(fields, symbol, Key::SmallT)?))
        }
        Kind::AggTrade => Some(Event::Trade(trade(fields, symbol, Key::SmallA)?)),
        Kind::Ticker => Some(Event::Ticker(ticker(fields, symbol)?)),
        Kind::Funding => Some(Event::Funding(funding(fields)?)),
        Kind::Kline => {
            let bar = bar.ok_or(DecodeError::Field { field: "k" })?;
            let level = std::str::from_utf8(bar.text(Key::SmallI)?.bytes())
                .ok()
                .and_then(Level::parse);
            match level {
                Some(level) => Some(Event::Kline(kline(fields, bar, level, symbol)?)),
                None => return Ok(None),
            }
        }
        Kind::Book => return Err(DecodeError::Field { field: "b" }),
    })
}

/// Why [`event`] gave none.
pub(super) const fn skip_reason(kind: Kind) -> Skipped {
    match kind {
        Kind::Kline => Skipped::UnservedLevel,
        _ => Skipped::UnknownKind,
    }
}

#[inline(always)]
fn trade(fields: &Fields<'_>, symbol: Symbol, id: Key) -> Result<Trade, DecodeError> {
    Ok(Trade {
        trade_id: fields.int(id)?,
        price: fields.price(Key::SmallP, symbol)?,
        qty: fields.qty(Key::SmallQ, symbol)?,
        // `m`: the buyer was the maker, so that the taker sold.
        taker_side: if fields.bool(Key::SmallM)? {
            Side::Sell
        } else {
            Side::Buy
        },
        ts_event: fields.time(Key::BigT)?,
        is_aggregate: id == Key::SmallA,
    })
}

#[inline(always)]
fn ticker(fields: &Fields<'_>, symbol: Symbol) -> Result<Ticker, DecodeError> {
    let level = |price, qty| -> Result<BookLevel, DecodeError> {
        Ok(BookLevel {
            price: fields.price(price, symbol)?,
            qty: fields.qty(qty, symbol)?,
        })
    };
    Ok(Ticker {
        seq: Some(fields.int(Key::SmallU)?),
        bid: level(Key::SmallB, Key::BigB)?,
        ask: level(Key::SmallA, Key::BigA)?,
        ts_event: match fields.get(Key::EventTime) {
            Value::Absent => None,
            _ => Some(fields.time(Key::EventTime)?),
        },
    })
}

fn funding(fields: &Fields<'_>) -> Result<Funding, DecodeError> {
    let next = match fields.get(Key::BigT) {
        Value::Absent => 0,
        _ => fields.int(Key::BigT)?,
    };
    Ok(Funding {
        rate: fields.number_or_none(Key::SmallR, Funding::RATE_SCALE)?,
        mark_price: fields.number(Key::SmallP, Funding::PRICE_SCALE)?,
        index_price: fields.number_or_none(Key::SmallI, Funding::PRICE_SCALE)?,
        next_funding_time: (next != 0).then(|| stamp(next)),
        ts_event: fields.time(Key::EventTime)?,
    })
}

fn kline(
    fields: &Fields<'_>,
    bar: &Fields<'_>,
    level: Level,
    symbol: Symbol,
) -> Result<Kline, DecodeError> {
    let quote = bar.text(Key::SmallQ)?.bytes();
    Ok(Kline {
        level,
        open_time: bar.time(Key::SmallT)?,
        open: bar.price(Key::SmallO, symbol)?,
        high: bar.price(Key::SmallH, symbol)?,
        low: bar.price(Key::SmallL, symbol)?,
        close: bar.price(Key::SmallC, symbol)?,
        volume: bar.qty(Key::SmallV, symbol)?,
        volume_quote: fixed_wide(quote, symbol.price_scale + symbol.qty_scale)
            .map_err(|error| DecodeError::Number { field: "q", error })?,
        trade_count: bar.int(Key::SmallN)?,
        is_closed: bar.bool(Key::SmallX)?,
        ts_event: fields.time(Key::EventTime)?,
    })
}
