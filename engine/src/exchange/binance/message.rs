//! What Binance's public messages mean: from fields to events, whichever way they were read.
//!
//! [`super::scan`] and [`super::tape`] find the fields of a message; everything that knows what a
//! field stands for is here, once.
//!
//! Sources: spot `web-socket-streams.md` (2026-07-21); USDⓈ-M stream payloads of the official
//! connector 64.0.0 (2026-07-22).

use crate::event::{
    BookDelta, BookLevel, Event, EventSink, Funding, Kline, Side, Skipped, Ticker, Trade, TradeId,
};
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
#[inline(always)]
pub(super) fn classify(
    fields: &Fields<'_>,
    stream: Option<&[u8]>,
    symbols: &mut Symbols,
) -> Result<Verdict, DecodeError> {
    let kind = match fields.get(Key::KIND) {
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
        _ => return Err(missing(Key::KIND)),
    };
    if kind == Kind::Book && stream.is_some_and(|name| !is_diff_depth(topic_of(name))) {
        // Partial books have the shape of a delta on USDⓈ-M and would wreck a book.
        return Ok(Verdict::Skip(Skipped::UnknownKind));
    }
    if kind == Kind::Kline && stream.is_some_and(|name| topic_of(name).ends_with(b"@+08:00")) {
        return Ok(Verdict::Skip(Skipped::UnservedLevel));
    }
    if symbols.market() == Market::Perp && fields.has(Key::SYMBOL_TYPE) {
        // Streams of all symbols carry coin-margined ones since 2026-06-30.
        if fields.int(Key::SYMBOL_TYPE)? != 1 {
            return Ok(Verdict::Skip(Skipped::OtherMarket));
        }
    }
    match symbols.get(fields.text(Key::SYMBOL)?) {
        Some(symbol) => Ok(Verdict::Event(kind, symbol)),
        None => Ok(Verdict::Skip(Skipped::UnknownSymbol)),
    }
}

fn is_plain_ticker(fields: &Fields<'_>) -> bool {
    let is_text = |key| matches!(fields.get(key), Value::Text(_));
    fields.has(key(b'u'))
        && [Key::SYMBOL, key(b'b'), key(b'B'), key(b'a'), key(b'A')]
            .into_iter()
            .all(is_text)
}

/// `depth@100ms` of `btcusdt@depth@100ms`.
fn topic_of(stream: &[u8]) -> &[u8] {
    match stream.iter().position(|&byte| byte == b'@') {
        Some(at) => stream.get(at + 1..).unwrap_or_default(),
        None => &[],
    }
}

fn is_diff_depth(topic: &[u8]) -> bool {
    topic == b"depth" || topic.starts_with(b"depth@")
}

/// The delta of a depthUpdate whose levels have been read.
#[inline(always)]
pub(super) fn book_delta<'a>(
    fields: &Fields<'_>,
    market: Market,
    bids: &'a [BookLevel],
    asks: &'a [BookLevel],
) -> Result<BookDelta<'a>, DecodeError> {
    Ok(BookDelta {
        first_seq: fields.int(key(b'U'))?,
        last_seq: fields.int(key(b'u'))?,
        prev_seq: match market {
            Market::Spot => None,
            Market::Perp => Some(fields.int(Key::PREVIOUS_U)?),
        },
        ts_event: fields.time(Key::EVENT_TIME)?,
        bids,
        asks,
    })
}

/// Delivers any event but a book's. `bar` holds the fields of `k`. Nothing is delivered on an error.
#[inline(always)]
pub(super) fn deliver(
    kind: Kind,
    symbol: Symbol,
    fields: &Fields<'_>,
    bar: Option<&Fields<'_>>,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    match kind {
        Kind::Trade => {
            // Insurance fund and liquidation entries (`X` other than MARKET, some with price 0)
            // are no matches; the aggregated stream leaves them out as well.
            if let Value::Text(text) = fields.get(key(b'X'))
                && text.bytes() != b"MARKET"
            {
                sink.skipped(Skipped::UnknownKind);
                return Ok(());
            }
            let trade = trade(fields, symbol, key(b't'))?;
            sink.event(symbol.id, Event::Trade(trade));
        }
        Kind::AggTrade => {
            let trade = trade(fields, symbol, key(b'a'))?;
            sink.event(symbol.id, Event::Trade(trade));
        }
        Kind::Ticker => {
            let ticker = ticker(fields, symbol)?;
            sink.event(symbol.id, Event::Ticker(ticker));
        }
        Kind::Funding => sink.event(symbol.id, Event::Funding(funding(fields)?)),
        Kind::Kline => {
            let bar = bar.ok_or(DecodeError::Field { field: "k" })?;
            let level = std::str::from_utf8(bar.text(key(b'i'))?.bytes())
                .ok()
                .and_then(Level::parse);
            match level {
                Some(level) => {
                    sink.event(symbol.id, Event::Kline(kline(fields, bar, level, symbol)?));
                }
                None => sink.skipped(Skipped::UnservedLevel),
            }
        }
        // Books come with levels: see [`book_delta`].
        Kind::Book => return Err(DecodeError::Field { field: "b" }),
    }
    Ok(())
}

/// The key of a field named by a letter.
const fn key(letter: u8) -> Key {
    Key::letter(letter)
}

#[inline(always)]
fn trade(fields: &Fields<'_>, symbol: Symbol, id: Key) -> Result<Trade, DecodeError> {
    Ok(Trade {
        trade_id: TradeId::Number(fields.int(id)?),
        price: fields.price(key(b'p'), symbol)?,
        qty: fields.qty(key(b'q'), symbol)?,
        // `m`: the buyer was the maker, so that the taker sold.
        taker_side: if fields.bool(key(b'm'))? {
            Side::Sell
        } else {
            Side::Buy
        },
        ts_event: fields.time(key(b'T'))?,
        is_aggregate: id == key(b'a'),
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
        seq: Some(fields.int(key(b'u'))?),
        bid: level(key(b'b'), key(b'B'))?,
        ask: level(key(b'a'), key(b'A'))?,
        ts_event: match fields.get(Key::EVENT_TIME) {
            Value::Absent => None,
            _ => Some(fields.time(Key::EVENT_TIME)?),
        },
    })
}

fn funding(fields: &Fields<'_>) -> Result<Funding, DecodeError> {
    let next = match fields.get(key(b'T')) {
        Value::Absent => 0,
        _ => fields.int(key(b'T'))?,
    };
    Ok(Funding {
        rate: fields.number_or_none(key(b'r'), Funding::RATE_SCALE)?,
        mark_price: fields.number(key(b'p'), Funding::PRICE_SCALE)?,
        index_price: fields.number_or_none(key(b'i'), Funding::PRICE_SCALE)?,
        next_funding_time: (next != 0).then(|| stamp(next)),
        ts_event: fields.time(Key::EVENT_TIME)?,
    })
}

fn kline(
    fields: &Fields<'_>,
    bar: &Fields<'_>,
    level: Level,
    symbol: Symbol,
) -> Result<Kline, DecodeError> {
    let quote = bar.text(key(b'q'))?.bytes();
    Ok(Kline {
        level,
        open_time: bar.time(key(b't'))?,
        open: bar.price(key(b'o'), symbol)?,
        high: bar.price(key(b'h'), symbol)?,
        low: bar.price(key(b'l'), symbol)?,
        close: bar.price(key(b'c'), symbol)?,
        volume: bar.qty(key(b'v'), symbol)?,
        volume_quote: Some(
            fixed_wide(quote, symbol.price_scale + symbol.qty_scale)
                .map_err(|error| DecodeError::Number { field: "q", error })?,
        ),
        trade_count: Some(bar.int(key(b'n'))?),
        is_closed: bar.bool(key(b'x'))?,
        ts_event: fields.time(Key::EVENT_TIME)?,
    })
}
