//! Public streams: topics, requests, and the decoder of a connection.
//!
//! Source: the exchange's documentation repository, `docs/v5/ws/connect`,
//! `docs/v5/websocket/public/{orderbook,trade,kline,ticker}` (2026-07-24).

use std::sync::Arc;

use ahash::AHashMap;

use crate::event::{BookDelta, BookImage, BookLevel, Control, Event, EventSink, Skipped};
use crate::exchange::{DecodeError, Decoder, Feed, NativeStream, ProviderId, StreamRequest};
use crate::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use crate::time::Level;

use super::frame::{Channel, Frame, Topic};
use super::payload::{self, Scales};
use super::ticker::Merged;

/// Depth of the book that is followed, levels a side.
///
/// 200 levels come every 100 ms: the speed of the other exchanges' books, and deeper than what
/// nearly all clients read. 50 levels come every 20 ms, five times the messages for a quarter of
/// the book; 1000 levels come every 200 ms. `orderbook.1` beside it gives the touch every 10 ms.
pub(super) const BOOK_DEPTH: u32 = 200;

/// Topics in one request. Spot refuses more ("args size >10"). Linear has no such limit, but one
/// topic that is refused takes the whole request along, so that small ones lose less.
pub(super) const TOPICS_PER_REQUEST: usize = 10;

/// Larger than any frame Bybit sends: a thousand levels a side are below 100 kB.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bybit's name of a bar level.
pub(super) const fn interval(level: Level) -> &'static str {
    match level {
        Level::M1 => "1",
        Level::M5 => "5",
        Level::M15 => "15",
        Level::M30 => "30",
        Level::H1 => "60",
        Level::H4 => "240",
        Level::D1 => "D",
    }
}

/// The streams that carry a feed of an instrument; none where the market lacks it.
pub(super) fn streams(instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
    let symbol = &instrument.spec.native_symbol;
    let name = match feed {
        Feed::Book => format!("orderbook.{BOOK_DEPTH}.{symbol}"),
        // Spot's `tickers` has no bid and ask at all, and linear's is ten times slower.
        Feed::Ticker => format!("orderbook.1.{symbol}"),
        Feed::Trades => format!("publicTrade.{symbol}"),
        Feed::Klines(level) => format!("kline.{}.{symbol}", interval(level)),
        Feed::Funding if instrument.spec.market == Market::Spot => return Vec::new(),
        Feed::Funding => format!("tickers.{symbol}"),
    };
    vec![NativeStream { route: 0, name }]
}

/// `{"op":"subscribe","req_id":"1","args":["publicTrade.BTCUSDT"]}`, ten topics each.
pub(super) fn requests(op: &str, streams: &[&str], first_id: u64) -> Vec<StreamRequest> {
    let ids = first_id..;
    let all: Vec<usize> = (0..streams.len()).collect();
    let parts = all.chunks(TOPICS_PER_REQUEST).zip(ids);
    parts
        .map(|(part, id)| {
            let topics: Vec<&str> = part.iter().map(|&at| streams[at]).collect();
            let text = serde_json::json!({ "op": op, "req_id": id.to_string(), "args": topics });
            StreamRequest {
                id,
                text: text.to_string(),
                streams: part.to_vec(),
            }
        })
        .collect()
}

/// What a connection knows of an instrument.
#[derive(Debug, Default)]
struct Memory {
    /// Depth of the book topic that is followed. Each depth counts its own `u`: two of them would
    /// be taken for gaps of one another.
    book_depth: Option<u32>,
    ticker: Merged,
}

/// Decodes the frames of one connection. Does not allocate once its buffers have grown, control
/// messages aside.
pub struct StreamDecoder {
    market: Market,
    table: Arc<InstrumentTable>,
    buffers: payload::Buffers,
    memory: AHashMap<InstrumentId, Memory>,
}

impl StreamDecoder {
    /// A decoder for a connection of `market` that knows the instruments of `table`.
    #[must_use]
    pub fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            market,
            table,
            buffers: payload::Buffers::default(),
            memory: AHashMap::new(),
        }
    }

    fn data(
        &mut self,
        frame: &Frame<'_>,
        topic: Topic<'_>,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let found = self
            .table
            .by_native(ProviderId::BYBIT, self.market, topic.symbol);
        let Some(instrument) = found else {
            sink.skipped(Skipped::UnknownSymbol);
            return Ok(());
        };
        let (id, scales) = (instrument.id, Scales::of(instrument));
        match topic.channel {
            Channel::Trades => payload::trades(frame, id, scales, sink),
            Channel::Klines(level) => payload::klines(frame, id, level, scales, sink),
            Channel::Book(1) => {
                let ticker = payload::touch(frame, scales, &mut self.buffers)?;
                sink.event(id, Event::Ticker(ticker));
                Ok(())
            }
            Channel::Book(depth) => {
                let memory = self.memory.entry(id).or_default();
                if memory.book_depth.is_some_and(|followed| followed != depth) {
                    sink.skipped(Skipped::UnknownKind);
                    return Ok(());
                }
                book(frame, id, scales, &mut self.buffers, sink)?;
                memory.book_depth = Some(depth);
                Ok(())
            }
            Channel::Tickers if self.market == Market::Spot => {
                // No bid, no ask, no mark price: nothing that is asked for.
                sink.skipped(Skipped::UnknownKind);
                Ok(())
            }
            Channel::Tickers => {
                let memory = self.memory.entry(id).or_default();
                match memory.ticker.take(frame)? {
                    Some(funding) => sink.event(id, Event::Funding(funding)),
                    None => sink.skipped(Skipped::UnknownKind),
                }
                Ok(())
            }
        }
    }
}

/// A book topic of more than one level.
fn book(
    frame: &Frame<'_>,
    id: InstrumentId,
    scales: Scales,
    buffers: &mut payload::Buffers,
    sink: &mut dyn EventSink,
) -> Result<(), DecodeError> {
    let is_snapshot = frame.is_snapshot()?;
    let ts_event = frame.match_time()?;
    let seq = payload::book(frame, scales, buffers)?;
    let (bids, asks): (&[BookLevel], &[BookLevel]) = (&buffers.bids, &buffers.asks);
    // `u` is 1 after a restart of the service or a change of the steps: what was known is void,
    // whatever the message calls itself.
    let event = if is_snapshot || seq == 1 {
        Event::BookImage(BookImage {
            seq,
            ts_event,
            bids,
            asks,
        })
    } else {
        Event::Book(BookDelta {
            first_seq: seq,
            last_seq: seq,
            prev_seq: None,
            ts_event,
            bids,
            asks,
        })
    };
    sink.event(id, event);
    Ok(())
}

/// What an answer to a request, or to a ping, says; `None` when it can't be told which request.
fn control(frame: &Frame<'_>) -> Result<Option<Control>, DecodeError> {
    let op = frame.op.as_ref().map(|text| &*text.0);
    let message = frame.ret_msg.as_ref().map_or("", |text| &*text.0);
    if op == Some("pong") || (op == Some("ping") && frame.success != Some(false)) {
        return Ok(Some(Control::Heartbeat));
    }
    let id = frame.request_id();
    match frame.success {
        Some(true) => Ok(id.map(|id| Control::Ack { id })),
        Some(false) => Ok(Some(Control::Error {
            id,
            stream: topic_in(message).map(str::to_owned),
            // The interface has texts, no codes.
            code: 0,
            message: message.to_owned(),
        })),
        None => Err(DecodeError::Field { field: "topic" }),
    }
}

/// The topic that a refusal names: `error:handler not found,topic:orderbook.500.BTCUSDT`,
/// `Invalid topic: x.BTCUSDT`, `Invalid symbol :[kline.1.X]`. `None` when it names none or several.
fn topic_in(message: &str) -> Option<&str> {
    let (_, after) = message
        .split_once("topic:")
        .or_else(|| message.split_once("symbol :"))?;
    let topic = after.trim().trim_matches(['[', ']']);
    let is_one = topic.contains('.') && !topic.contains([',', ' ', '[', ']']);
    is_one.then_some(topic)
}

impl Decoder for StreamDecoder {
    fn decode(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        let frame = Frame::read(frame)?;
        let Some(name) = &frame.topic else {
            match control(&frame)? {
                Some(control) => sink.control(control),
                None => sink.skipped(Skipped::UnknownKind),
            }
            return Ok(());
        };
        match Topic::parse(&name.0) {
            Ok(topic) => self.data(&frame, topic, sink),
            Err(reason) => {
                sink.skipped(reason);
                Ok(())
            }
        }
    }

    fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.table = table;
    }
}
