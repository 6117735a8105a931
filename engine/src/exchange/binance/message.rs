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
use crate::time::Level;

use super::digits::fixed_wide;
use super::fields::{Fields, Key, Value, missing, stamp};
use super::symbols::{Symbol, Symbols};

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
