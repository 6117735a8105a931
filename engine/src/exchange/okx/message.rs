//! From a frame to events.

use std::sync::Arc;

use ahash::AHashMap;
use serde::Deserialize;
use serde::de::DeserializeSeed;
use serde_json::value::RawValue;

use crate::event::{
    BookDelta, BookImage, BookLevel, Control, Event, EventSink, Funding, Kline, Side, Skipped,
    Ticker, Trade, TradeId,
};
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentId, InstrumentTable, Market};
use crate::time::{Level, TsNanos};

use super::checksum::{Texts, WrittenLevels};
use super::frame::{
    Arg, BookHead, BookRows, Frame, IndexRow, MarkRow, RateRow, StatusRow, TradeRow,
};
use super::json::{Levels, Text, fault, millis, read, signed_or_none, unsigned};
use super::status::concerns;
use super::stream::level_of;
use super::symbols::{Symbol, Symbols};

/// Decimals of a funding rate that are kept; OKX sends up to 18 of them.
const RATE_DIGITS: usize = Funding::RATE_SCALE as usize;

/// What is known of a swap's funding.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    rate: Option<i64>,
    time: Option<TsNanos>,
    mark_price: Option<i64>,
    index_price: Option<i64>,
    ts_event: TsNanos,
}

/// A book whose checksum is sent.
#[derive(Default)]
struct Checked {
    texts: Texts,
    /// Numbers given to messages without one: those of 2022 have none.
    numbered: u64,
}

/// The state behind a connection's frames.
pub(super) struct Reader {
    market: Market,
    symbols: Symbols,
    bids: Vec<BookLevel>,
    asks: Vec<BookLevel>,
    written_bids: WrittenLevels,
    written_asks: WrittenLevels,
    books: AHashMap<InstrumentId, Checked>,
    funding: AHashMap<InstrumentId, Known>,
    checksums: u64,
    checksum_failures: u64,
}

impl Reader {
    pub(super) fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            market,
            symbols: Symbols::new(market, table),
            bids: Vec::new(),
            asks: Vec::new(),
            written_bids: WrittenLevels::default(),
            written_asks: WrittenLevels::default(),
            books: AHashMap::new(),
            funding: AHashMap::new(),
            checksums: 0,
            checksum_failures: 0,
        }
    }

    pub(super) fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.symbols.set_table(table);
    }

    pub(super) fn checksums(&self) -> (u64, u64) {
        (self.checksums, self.checksum_failures)
    }

    pub(super) fn frame(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        // The answer to `ping`, as bare text.
        if bytes.trim_ascii() == b"pong" {
            sink.control(Control::Heartbeat);
            return Ok(());
        }
        let frame: Frame<'_> = read(bytes, "frame")?;
        if let Some(event) = &frame.event {
            self.answer(&event.0, &frame, sink);
            return Ok(());
        }
        match (&frame.arg, frame.data) {
            (Some(arg), Some(data)) => self.push(arg, frame.action.as_ref(), data, sink),
            // An answer to a request over the connection: none is sent from here.
            _ if frame.op.is_some() => {
                sink.skipped(Skipped::UnknownKind);
                Ok(())
            }
            (Some(_), None) => Err(DecodeError::Field { field: "data" }),
            _ => Err(DecodeError::Field { field: "arg" }),
        }
    }

    fn answer(&mut self, event: &str, frame: &Frame<'_>, sink: &mut dyn EventSink) {
        let message = frame.msg.as_ref().map_or("", |text| &text.0);
        match event {
            "subscribe" | "unsubscribe" => match &frame.arg {
                Some(arg) if arg.channel.0 == "status" => {}
                Some(arg) => sink.control(Control::StreamAck {
                    stream: arg.stream(),
                    is_subscribed: event == "subscribe",
                }),
                None => sink.skipped(Skipped::UnknownKind),
            },
            "error" => sink.control(Control::Error {
                id: number(frame.id.as_ref()),
                stream: refused_stream(message),
                code: number(frame.code.as_ref()).unwrap_or_default(),
                message: message.to_owned(),
            }),
            // 64008: the connection is closed about a minute later, for an upgrade.
            "notice" => sink.control(Control::Shutdown),
            // `channel-conn-count` of private channels, `login`.
            _ => sink.skipped(Skipped::UnknownKind),
        }
    }

    fn push(
        &mut self,
        arg: &Arg<'_>,
        action: Option<&Text<'_>>,
        data: &RawValue,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let channel = arg.channel.0.as_ref();
        let is_perp = self.market == Market::Perp;
        match channel {
            "books" | "books-l2-tbt" | "books50-l2-tbt" => {
                let action = action.map(|text| text.0.as_ref());
                self.with_symbol(arg, sink, |reader, symbol, sink| {
                    reader.book(symbol, action, data, sink)
                })
            }
            "trades" | "trades-all" => {
                self.with_symbol(arg, sink, |_, symbol, sink| trades(symbol, data, sink))
            }
            "bbo-tbt" => self.with_symbol(arg, sink, |reader, symbol, sink| {
                reader.ticker(symbol, data, sink)
            }),
            "funding-rate" if is_perp => self.with_symbol(arg, sink, |reader, symbol, sink| {
                reader.rates(symbol, data, sink)
            }),
            "mark-price" if is_perp => self.with_symbol(arg, sink, |reader, symbol, sink| {
                reader.marks(symbol, data, sink)
            }),
            "index-tickers" if is_perp => match self.symbols.of_index(arg.instrument()?) {
                Some(symbol) => self.indices(symbol, data),
                None => {
                    sink.skipped(Skipped::UnknownSymbol);
                    Ok(())
                }
            },
            "status" => status(self.market, data, sink),
            _ => match channel.strip_prefix("candle").map(level_of) {
                Some(Some(level)) => self.with_symbol(arg, sink, |_, symbol, sink| {
                    klines(symbol, level, data, sink)
                }),
                Some(None) => {
                    sink.skipped(Skipped::UnservedLevel);
                    Ok(())
                }
                None => {
                    sink.skipped(Skipped::UnknownKind);
                    Ok(())
                }
            },
        }
    }

    fn with_symbol(
        &mut self,
        arg: &Arg<'_>,
        sink: &mut dyn EventSink,
        read: impl FnOnce(&mut Self, Symbol, &mut dyn EventSink) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        match self.symbols.get(arg.instrument()?) {
            Some(symbol) => read(self, symbol, sink),
            None => {
                sink.skipped(Skipped::UnknownSymbol);
                Ok(())
            }
        }
    }

    fn book(
        &mut self,
        symbol: Symbol,
        action: Option<&str>,
        data: &RawValue,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let is_image = match action {
            Some("snapshot") => true,
            Some("update") => false,
            _ => return Err(DecodeError::Field { field: "action" }),
        };
        self.bids.clear();
        self.asks.clear();
        let head = book_rows(symbol, data, &mut self.bids, &mut self.asks)?;
        let ts_event = head.time()?;
        let checksum = match head.checksum {
            None | Some(0) => None,
            Some(sum) => Some(sum),
        };
        let (seq, prev_seq) = self.sequence(symbol, is_image, &head, checksum.is_some())?;
        if !self.is_sum_right(symbol, is_image, data, checksum)? {
            sink.control(Control::BadBook {
                instrument: symbol.id,
            });
            return Ok(());
        }
        let (bids, asks) = (&self.bids[..], &self.asks[..]);
        let event = match is_image {
            true => Event::BookImage(BookImage {
                seq,
                ts_event,
                bids,
                asks,
            }),
            false => Event::Book(BookDelta {
                first_seq: seq,
                last_seq: seq,
                prev_seq,
                ts_event,
                bids,
                asks,
            }),
        };
        sink.event(symbol.id, event);
        Ok(())
    }

    /// Sequence numbers of a book message: its own and the one that it follows.
    ///
    /// Messages of 2022 have none. Their checksum proves that none is missing, so they are counted
    /// here.
    fn sequence(
        &mut self,
        symbol: Symbol,
        is_image: bool,
        head: &BookHead,
        is_summed: bool,
    ) -> Result<(u64, Option<u64>), DecodeError> {
        let unsigned = |number: Option<i64>, field| {
            number
                .and_then(|number| u64::try_from(number).ok())
                .ok_or(DecodeError::Field { field })
        };
        match head.seq {
            None if is_summed => {
                let book = self.books.entry(symbol.id).or_default();
                let prev = book.numbered;
                book.numbered += 1;
                Ok((book.numbered, (!is_image).then_some(prev)))
            }
            seq if is_image => Ok((unsigned(seq, "seqId")?, None)),
            seq => Ok((
                unsigned(seq, "seqId")?,
                Some(unsigned(head.prev_seq, "prevSeqId")?),
            )),
        }
    }

    /// Follows the book in OKX's own spelling and compares its checksum. True where there is
    /// nothing to compare.
    fn is_sum_right(
        &mut self,
        symbol: Symbol,
        is_image: bool,
        data: &RawValue,
        checksum: Option<i64>,
    ) -> Result<bool, DecodeError> {
        let Some(expected) = checksum else {
            // From here on the texts would be behind.
            self.books.remove(&symbol.id);
            return Ok(true);
        };
        self.written_bids.clear();
        self.written_asks.clear();
        book_rows(symbol, data, &mut self.written_bids, &mut self.written_asks)?;
        let numbered = self.books.get(&symbol.id).map_or(0, |book| book.numbered);
        if is_image {
            let fresh = Checked {
                texts: Texts::default(),
                numbered,
            };
            self.books.insert(symbol.id, fresh);
        }
        let book = self.books.entry(symbol.id).or_default();
        book.texts.apply(&self.written_bids, &self.written_asks);
        self.checksums += 1;
        let is_right = i64::from(book.texts.checksum()) == expected;
        self.checksum_failures += u64::from(!is_right);
        Ok(is_right)
    }

    fn ticker(
        &mut self,
        symbol: Symbol,
        data: &RawValue,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        self.bids.clear();
        self.asks.clear();
        let head = book_rows(symbol, data, &mut self.bids, &mut self.asks)?;
        let best = |side: &[BookLevel]| side.first().copied().unwrap_or_default();
        sink.event(
            symbol.id,
            Event::Ticker(Ticker {
                // Its `seqId` is nowhere said to be the book's.
                seq: None,
                bid: best(&self.bids),
                ask: best(&self.asks),
                ts_event: Some(head.time()?),
            }),
        );
        Ok(())
    }

    fn rates(
        &mut self,
        symbol: Symbol,
        data: &RawValue,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        for row in rows::<RateRow<'_>>(data)? {
            let time = millis(&row.funding_time.0, "fundingTime")?;
            let rate = rate(&row.funding_rate.0, "fundingRate")?;
            let ts = match &row.ts {
                Some(ts) => Some(millis(&ts.0, "ts")?),
                None => None,
            };
            let known = self.funding.entry(symbol.id).or_default();
            (known.rate, known.time) = (rate, Some(time));
            known.ts_event = known.ts_event.max(ts.unwrap_or_default());
            known.tell(symbol, sink);
        }
        Ok(())
    }

    fn marks(
        &mut self,
        symbol: Symbol,
        data: &RawValue,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        for row in rows::<MarkRow<'_>>(data)? {
            let price = unsigned(&row.mark_px.0, Funding::PRICE_SCALE, "markPx")?;
            let ts = millis(&row.ts.0, "ts")?;
            let known = self.funding.entry(symbol.id).or_default();
            known.mark_price = Some(price);
            known.ts_event = known.ts_event.max(ts);
            known.tell(symbol, sink);
        }
        Ok(())
    }

    /// An index comes with the next mark price: it changes ten times a second.
    fn indices(&mut self, symbol: Symbol, data: &RawValue) -> Result<(), DecodeError> {
        for row in rows::<IndexRow<'_>>(data)? {
            let price = unsigned(&row.idx_px.0, Funding::PRICE_SCALE, "idxPx")?;
            millis(&row.ts.0, "ts")?;
            self.funding.entry(symbol.id).or_default().index_price = Some(price);
        }
        Ok(())
    }
}

impl Known {
    /// An event without a mark price would be none.
    fn tell(&self, symbol: Symbol, sink: &mut dyn EventSink) {
        if let Some(mark_price) = self.mark_price {
            let event = Event::Funding(Funding {
                rate: self.rate,
                mark_price,
                index_price: self.index_price,
                next_funding_time: self.time,
                ts_event: self.ts_event,
            });
            sink.event(symbol.id, event);
        }
    }
}

impl BookHead {
    pub(super) fn time(&self) -> Result<TsNanos, DecodeError> {
        millis(self.ts.as_deref().unwrap_or_default(), "ts")
    }
}

/// Reads a book of one row into both sides.
pub(super) fn book_rows<L: Levels>(
    symbol: Symbol,
    data: &RawValue,
    bids: &mut L,
    asks: &mut L,
) -> Result<BookHead, DecodeError> {
    let mut wrong = None;
    let mut input = serde_json::Deserializer::from_str(data.get());
    let seed = BookRows {
        symbol,
        bids,
        asks,
        wrong: &mut wrong,
    };
    let read = seed.deserialize(&mut input);
    let head = match (read, wrong) {
        (_, Some(error)) => return Err(error),
        (Err(error), None) => return Err(fault(&error, data.get().as_bytes(), "data")),
        (Ok(head), None) => head,
    };
    match (head.has_bids, head.has_asks) {
        (true, true) => Ok(head),
        (false, _) => Err(DecodeError::Field { field: "bids" }),
        (_, false) => Err(DecodeError::Field { field: "asks" }),
    }
}

/// The rows of a frame's `data`. Channels of one instrument send one, sometimes some.
fn rows<'a, T: Deserialize<'a>>(data: &'a RawValue) -> Result<Vec<T>, DecodeError> {
    read(data.get().as_bytes(), "data")
}

fn trades(symbol: Symbol, data: &RawValue, sink: &mut dyn EventSink) -> Result<(), DecodeError> {
    for row in rows::<TradeRow<'_>>(data)? {
        sink.event(symbol.id, Event::Trade(trade(symbol, &row)?));
    }
    Ok(())
}

/// A trade of a channel or of an answer.
pub(super) fn trade(symbol: Symbol, row: &TradeRow<'_>) -> Result<Trade, DecodeError> {
    let id: u64 = number(Some(&row.trade_id)).ok_or(DecodeError::Field { field: "tradeId" })?;
    Ok(Trade {
        trade_id: TradeId::from(id),
        price: symbol.price(&row.px.0, "px")?,
        qty: symbol.qty(&row.sz.0, "sz")?,
        // The side is the taker's.
        taker_side: match row.side.0.as_ref() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            _ => return Err(DecodeError::Field { field: "side" }),
        },
        ts_event: millis(&row.ts.0, "ts")?,
        // Matches of one taker order at one price can come as one, under the last one's id.
        is_aggregate: row.count.as_ref().is_some_and(|count| count.0 != "1"),
    })
}

/// A bar: open time, prices, volume, volume in coins, volume in quote units, closed. Rows of 2022
/// end before the quote volume.
type KlineRow<'a> = Vec<Text<'a>>;

fn klines(
    symbol: Symbol,
    level: Level,
    data: &RawValue,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    for row in rows::<KlineRow<'_>>(data)? {
        sink.event(symbol.id, Event::Kline(kline(symbol, level, &row)?));
    }
    Ok(())
}

/// A bar of a channel or of an answer.
pub(super) fn kline(symbol: Symbol, level: Level, row: &[Text<'_>]) -> Result<Kline, DecodeError> {
    let field = |at: usize, name: &'static str| {
        let text = row.get(at).map(|text| text.0.as_ref());
        text.ok_or(DecodeError::Field { field: name })
    };
    let price = |at, name| symbol.price(field(at, name)?, name);
    let open_time = millis(field(0, "ts")?, "ts")?;
    let volume_quote = match row.get(7).and_then(Text::filled) {
        Some(text) if row.len() > 8 => Some(symbol.value(text, "volCcyQuote")?),
        _ => None,
    };
    let is_closed = row.len() > 8 && row.last().is_some_and(|text| text.0 == "1");
    let close_time = TsNanos(open_time.0.saturating_add(level.nanos()));
    Ok(Kline {
        level,
        open_time,
        open: price(1, "o")?,
        high: price(2, "h")?,
        low: price(3, "l")?,
        close: price(4, "c")?,
        volume: symbol.qty(field(5, "vol")?, "vol")?,
        volume_quote,
        trade_count: None,
        is_closed,
        // OKX does not say when it sent a bar: it is not older than this.
        ts_event: if is_closed { close_time } else { open_time },
    })
}

fn status(market: Market, data: &RawValue, sink: &mut dyn EventSink) -> Result<(), DecodeError> {
    for row in rows::<StatusRow<'_>>(data)? {
        let is_ours = concerns(market, &row.service_type.0);
        match is_ours && row.state.0 == "ongoing" {
            true => sink.control(Control::Maintenance {
                message: row.title.0.clone().into_owned(),
            }),
            false => sink.skipped(Skipped::UnknownKind),
        }
    }
    Ok(())
}

/// A funding rate at the scale of [`Funding`]. OKX sends more decimals than that; they are
/// estimates, and what is beyond 10⁻¹² is rounded to the nearest.
pub(super) fn rate(text: &str, field: &'static str) -> Result<Option<i64>, DecodeError> {
    let Some(point) = text.find('.') else {
        return signed_or_none(text, Funding::RATE_SCALE, field);
    };
    let (kept, beyond) = match text.len() > point + 1 + RATE_DIGITS {
        // A byte that is no digit is found below, wherever the text is cut.
        true if text.is_ascii() => text.split_at(point + 1 + RATE_DIGITS),
        _ => (text, ""),
    };
    if !beyond.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecodeError::Number {
            field,
            error: crate::num::NumError::Malformed,
        });
    }
    let rate = signed_or_none(kept, Funding::RATE_SCALE, field)?;
    let up = i64::from(
        beyond
            .as_bytes()
            .first()
            .is_some_and(|digit| *digit >= b'5'),
    );
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Ok(rate.map(|rate| rate.saturating_add(sign * up)))
}

/// A number in a string.
fn number<T: std::str::FromStr>(text: Option<&Text<'_>>) -> Option<T> {
    let text = text?.filled()?;
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

/// The stream that an error's text names:
/// `Wrong URL or channel:books,instId:BTC-USDX doesn't exist. …`
fn refused_stream(message: &str) -> Option<String> {
    let (_, after) = message.split_once("channel:")?;
    let (channel, after) = after.split_once(',')?;
    let (_, after) = after.split_once("instId:")?;
    let end = after.find([' ', ',']).unwrap_or(after.len());
    Some(format!("{channel}:{}", after.get(..end)?))
}
