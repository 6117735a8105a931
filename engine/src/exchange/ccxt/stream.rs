//! What the bridge says on a connection.

use std::sync::Arc;

use serde::Deserialize;

use crate::event::{
    BookDelta, BookImage, BookLevel, Control, Event, EventSink, Funding, Skipped, Ticker,
};
use crate::exchange::{DecodeError, Decoder, Feed, NativeStream, ProviderId, StreamRequest};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::Level;

use super::errors::BridgeError;
use super::rest::{self, Bar, Scales, Shown, TradeRow};

/// Larger than anything the bridge sends: a burst of 100,000 trades is below.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// `kraken|BTC/USD|trades`, `okx|BTC/USDT:USDT|ohlcv:1m`
pub(super) fn streams(instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
    let kind = match feed {
        Feed::Book => "book",
        Feed::Trades => "trades",
        Feed::Ticker => "ticker",
        Feed::Funding if instrument.spec.market == Market::Spot => return Vec::new(),
        Feed::Funding => "funding",
        // Many venues push one level alone: the others are added up, which is right for all.
        Feed::Klines(level) if level != Level::M1 || !instrument.spec.has_bars(level) => {
            return Vec::new();
        }
        Feed::Klines(level) => {
            let (venue, symbol) = (&instrument.spec.exchange, instrument.name());
            return vec![NativeStream {
                route: 0,
                name: format!("{venue}|{symbol}|ohlcv:{}", level.as_str()),
            }];
        }
    };
    vec![NativeStream {
        route: 0,
        name: format!("{}|{}|{kind}", instrument.spec.exchange, instrument.name()),
    }]
}

/// `{"op":"subscribe","id":1,"streams":["kraken|BTC/USD|trades"]}`
pub(super) fn requests(op: &str, streams: &[&str], first_id: u64) -> Vec<StreamRequest> {
    if streams.is_empty() {
        return Vec::new();
    }
    let text = serde_json::json!({ "op": op, "id": first_id, "streams": streams });
    vec![StreamRequest {
        id: first_id,
        text: text.to_string(),
        streams: (0..streams.len()).collect(),
    }]
}

type Level2 = Vec<(String, String)>;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
enum Answer {
    Subscribed { stream: String },
    Refused { stream: String, error: BridgeError },
    Lost { stream: String, error: BridgeError },
    Done { id: u64 },
}

#[derive(Deserialize)]
struct Frame {
    /// Kind; missing in answers.
    t: Option<String>,
    /// Venue.
    #[serde(default)]
    x: String,
    /// The venue's own symbol.
    #[serde(default)]
    s: String,
}

#[derive(Deserialize)]
struct Trades {
    d: Vec<TradeRow>,
}

#[derive(Deserialize)]
struct Book {
    k: String,
    u: u64,
    ts: i64,
    b: Level2,
    a: Level2,
}

#[derive(Deserialize)]
struct Touch {
    ts: i64,
    b: Option<(String, String)>,
    a: Option<(String, String)>,
}

#[derive(Deserialize)]
struct Ohlcv {
    l: String,
    d: Bar,
    closed: bool,
}

#[derive(Deserialize)]
struct Rate {
    r: Shown,
    m: String,
    i: Shown,
    n: Option<i64>,
    ts: i64,
}

fn read<'a, T: Deserialize<'a>>(frame: &'a [u8], field: &'static str) -> Result<T, DecodeError> {
    serde_json::from_slice(frame).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => DecodeError::Field { field },
        _ => DecodeError::Json { at: error.column() },
    })
}

/// Decodes the frames of one connection.
pub(super) struct StreamDecoder {
    market: Market,
    table: Arc<InstrumentTable>,
    bids: Vec<BookLevel>,
    asks: Vec<BookLevel>,
}

impl StreamDecoder {
    pub(super) fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            market,
            table,
            bids: Vec::new(),
            asks: Vec::new(),
        }
    }

    fn book(
        &mut self,
        frame: &[u8],
        instrument: &Instrument,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let book: Book = read(frame, "b")?;
        let (scales, ts_event) = (Scales::of(instrument), rest::stamp(book.ts, "ts")?);
        for (rows, side, field) in [
            (&book.b, &mut self.bids, "b"),
            (&book.a, &mut self.asks, "a"),
        ] {
            side.clear();
            for row in rows {
                side.push(scales.level(row, field)?);
            }
        }
        let (bids, asks): (&[BookLevel], &[BookLevel]) = (&self.bids, &self.asks);
        let event = match book.k.as_str() {
            "image" => Event::BookImage(BookImage {
                seq: book.u,
                ts_event,
                bids,
                asks,
            }),
            "delta" => Event::Book(BookDelta {
                first_seq: book.u,
                last_seq: book.u,
                prev_seq: None,
                ts_event,
                bids,
                asks,
            }),
            _ => return Err(DecodeError::Field { field: "k" }),
        };
        sink.event(instrument.id, event);
        Ok(())
    }
}

fn answer(frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError> {
    sink.control(match read(frame, "op")? {
        Answer::Subscribed { stream } => Control::StreamAck {
            stream,
            is_subscribed: true,
        },
        Answer::Refused { stream, error } => Control::Error {
            id: None,
            stream: Some(stream),
            code: 0,
            message: error.shown().message,
        },
        Answer::Lost { stream, error } => Control::StreamLost {
            stream,
            reason: error.shown().message,
        },
        Answer::Done { id } => Control::Ack { id },
    });
    Ok(())
}

fn trades(
    frame: &[u8],
    instrument: &Instrument,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let rows: Trades = read(frame, "d")?;
    let scales = Scales::of(instrument);
    for row in &rows.d {
        sink.event(instrument.id, Event::Trade(rest::trade(scales, row)?));
    }
    Ok(())
}

fn ticker(
    frame: &[u8],
    instrument: &Instrument,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let touch: Touch = read(frame, "b")?;
    let scales = Scales::of(instrument);
    let side = |row: &Option<(String, String)>, field| match row {
        Some(row) => scales.level(row, field),
        None => Ok(BookLevel::default()),
    };
    let ticker = Ticker {
        seq: None,
        bid: side(&touch.b, "b")?,
        ask: side(&touch.a, "a")?,
        ts_event: Some(rest::stamp(touch.ts, "ts")?),
    };
    sink.event(instrument.id, Event::Ticker(ticker));
    Ok(())
}

fn kline(
    frame: &[u8],
    instrument: &Instrument,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let bar: Ohlcv = read(frame, "d")?;
    let Some(level) = Level::parse(&bar.l) else {
        sink.skipped(Skipped::UnservedLevel);
        return Ok(());
    };
    let scales = Scales::of(instrument);
    match rest::bar(scales, level, &bar.d, bar.closed, None)? {
        Some(kline) => sink.event(instrument.id, Event::Kline(kline)),
        None => sink.skipped(Skipped::UnknownKind),
    }
    Ok(())
}

fn funding(
    frame: &[u8],
    instrument: &Instrument,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let rate: Rate = read(frame, "m")?;
    let price = |text: &str, field| rest::estimate(text, Funding::PRICE_SCALE, field);
    let funding = Funding {
        rate: match &rate.r {
            Some(text) => Some(rest::estimate(text, Funding::RATE_SCALE, "r")?),
            None => None,
        },
        mark_price: price(&rate.m, "m")?,
        index_price: match &rate.i {
            Some(text) => Some(price(text, "i")?),
            None => None,
        },
        next_funding_time: match rate.n {
            Some(ms) => Some(rest::stamp(ms, "n")?),
            None => None,
        },
        ts_event: rest::stamp(rate.ts, "ts")?,
    };
    sink.event(instrument.id, Event::Funding(funding));
    Ok(())
}

impl Decoder for StreamDecoder {
    fn decode(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        let head: Frame = read(frame, "t")?;
        let Some(kind) = head.t.as_deref() else {
            return answer(frame, sink);
        };
        let table = self.table.clone();
        let found = table.by_venue(ProviderId::CCXT, &head.x, self.market, &head.s);
        let Some(instrument) = found else {
            sink.skipped(Skipped::UnknownSymbol);
            return Ok(());
        };
        match kind {
            "trades" => trades(frame, instrument, sink),
            "book" => self.book(frame, instrument, sink),
            "ticker" => ticker(frame, instrument, sink),
            "ohlcv" => kline(frame, instrument, sink),
            "funding" => funding(frame, instrument, sink),
            _ => {
                sink.skipped(Skipped::UnknownKind);
                Ok(())
            }
        }
    }

    fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.table = table;
    }
}
