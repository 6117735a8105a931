//! Public channels: names, requests, and the decoder of a connection.
//!
//! Source: WebSocket pages and AsyncAPI document of the Advanced Trade API (2026-07), recorded
//! frames of 2026-08.

use std::sync::Arc;

use crate::event::{BookDelta, BookImage, BookLevel, Control, Event, EventSink, Side, Skipped};
use crate::event::{Ticker, Trade, TradeId};
use crate::exchange::{DecodeError, Decoder, Feed, NativeStream, StreamRequest};
use crate::instrument::{Instrument, InstrumentId, InstrumentTable};
use crate::time::TsNanos;

use super::candles::{self, LastBars};
use super::symbols::Symbol;
use super::time;
use super::wire::{self, CandleRow, Frame, FrameEvent, Levels, Subscriptions, TickerRow, TradeRow};

/// Larger than any frame: the largest recorded one, the image of BTC-USD, has 5.1 MB.
const FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Products in one request. Not documented; each of a `level2` request is answered with megabytes.
const PRODUCTS_MAX: usize = 20;

/// Kinds of the older Exchange feed, whose messages have a `type` in place of a channel.
const EXCHANGE_KINDS: &[&str] = &[
    "activate",
    "auction",
    "change",
    "done",
    "heartbeat",
    "l2update",
    "last_match",
    "level3",
    "match",
    "open",
    "received",
    "snapshot",
    "status",
    "subscriptions",
    "ticker",
];

/// The stream that carries a feed: `level2:BTC-USD`. Funding and bars other than of five minutes
/// have none.
pub(super) fn streams(instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
    let channel = match feed {
        Feed::Book => "level2",
        Feed::Trades => "market_trades",
        Feed::Ticker => "ticker",
        Feed::Klines(candles::STREAMED) => "candles",
        Feed::Klines(_) | Feed::Funding => return Vec::new(),
    };
    vec![NativeStream {
        route: 0,
        name: format!("{channel}:{}", instrument.spec.native_symbol),
    }]
}

/// Keeps the connection's other channels from being closed after a minute without updates, and
/// tells each second that it lives.
pub(super) fn heartbeats() -> String {
    serde_json::json!({ "type": "subscribe", "channel": "heartbeats" }).to_string()
}

/// Requests of one channel each: `{"type":"subscribe","product_ids":["BTC-USD"],"channel":"ticker"}`.
/// They carry no id; the answer lists all subscriptions of the connection.
pub(super) fn requests(kind: &str, streams: &[&str], first_id: u64) -> Vec<StreamRequest> {
    let mut channels: Vec<(&str, Vec<(usize, &str)>)> = Vec::new();
    for (index, name) in streams.iter().enumerate() {
        let (channel, product) = name.split_once(':').unwrap_or((name, ""));
        match channels.iter_mut().find(|(known, _)| *known == channel) {
            Some((_, products)) => products.push((index, product)),
            None => channels.push((channel, vec![(index, product)])),
        }
    }
    let chunks = channels.iter().flat_map(|(channel, products)| {
        let chunks = products.chunks(PRODUCTS_MAX);
        chunks.map(move |chunk| (*channel, chunk))
    });
    chunks
        .zip(first_id..)
        .map(|((channel, chunk), id)| {
            let products: Vec<&str> = chunk.iter().map(|(_, product)| *product).collect();
            let body = serde_json::json!({
                "type": kind,
                "product_ids": products,
                "channel": channel,
            });
            StreamRequest {
                id,
                text: body.to_string(),
                streams: chunk.iter().map(|(index, _)| *index).collect(),
            }
        })
        .collect()
}

/// Decodes the frames of one connection and counts them.
pub struct StreamDecoder {
    table: Arc<InstrumentTable>,
    levels: Levels,
    bars: LastBars,
    /// The last `sequence_num`; `None` before the first frame, where a recording may begin.
    last: Option<u64>,
    /// The last frame named a product that is not in the table …
    has_unknown: bool,
    /// … and one that is.
    has_known: bool,
}

impl StreamDecoder {
    /// A decoder that knows the instruments of `table`.
    #[must_use]
    pub fn new(table: Arc<InstrumentTable>) -> Self {
        Self {
            table,
            levels: Levels::default(),
            bars: LastBars::default(),
            last: None,
            has_unknown: false,
            has_known: false,
        }
    }

    /// Counts a frame; false when it has been seen already.
    ///
    /// Numbers count the frames of the connection, whatever their channel, so that a missing one
    /// may have been any product's.
    ///
    /// A frame of which nothing was understood may come again: whoever reads recordings looks its
    /// product up first.
    fn count(&mut self, number: u64, sink: &mut dyn EventSink) -> bool {
        let was_unknown = std::mem::take(&mut self.has_unknown);
        let was_known = std::mem::take(&mut self.has_known);
        let Some(last) = self.last else {
            self.last = Some(number);
            return true;
        };
        if number == last && was_unknown && !was_known {
            return true;
        }
        if number <= last {
            sink.skipped(Skipped::Duplicate);
            return false;
        }
        self.last = Some(number);
        if number - last > 1 {
            sink.control(Control::Lost {
                expected: last + 1,
                got: number,
            });
        }
        true
    }

    /// The instrument of a product, if it has one.
    fn find(&mut self, product: &str, sink: &mut dyn EventSink) -> Option<Symbol> {
        let found = Symbol::of(&self.table, product);
        match found {
            Some(_) => self.has_known = true,
            None => {
                self.has_unknown = true;
                sink.skipped(Skipped::UnknownSymbol);
            }
        }
        found
    }

    fn book(
        &mut self,
        event: &FrameEvent<'_>,
        seq: u64,
        ts_event: TsNanos,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let product = event.product_id.as_deref().ok_or(missing("product_id"))?;
        let Some(symbol) = self.find(product, sink) else {
            return Ok(());
        };
        let levels = &mut self.levels;
        levels.read(event.updates.ok_or(missing("updates"))?, symbol)?;
        match event.kind.as_deref() {
            Some("snapshot") => {
                levels.settle();
                let image = BookImage {
                    seq,
                    ts_event,
                    bids: &levels.bids,
                    asks: &levels.asks,
                };
                sink.event(symbol.id, Event::BookImage(image));
                levels.shrink();
            }
            Some("update") => {
                let delta = BookDelta {
                    first_seq: seq,
                    last_seq: seq,
                    prev_seq: None,
                    ts_event,
                    bids: &levels.bids,
                    asks: &levels.asks,
                };
                sink.event(symbol.id, Event::Book(delta));
            }
            _ => return Err(missing("type")),
        }
        Ok(())
    }

    fn trades(
        &mut self,
        event: &FrameEvent<'_>,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let list = event.trades.ok_or(missing("trades"))?;
        match event.kind.as_deref() {
            Some("update") => {}
            // What was traded before the subscription is no live trade.
            Some("snapshot") => {
                sink.skipped(Skipped::History);
                return Ok(());
            }
            _ => return Err(missing("type")),
        }
        // Newest first, of several products.
        let rows: Vec<TradeRow<'_>> = wire::rows(list, "trades")?;
        for row in rows.iter().rev() {
            if let Some(symbol) = self.find(&row.product_id, sink) {
                sink.event(symbol.id, Event::Trade(trade(row, symbol)?));
            }
        }
        Ok(())
    }

    fn tickers(
        &mut self,
        event: &FrameEvent<'_>,
        ts_event: TsNanos,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let list = event.tickers.ok_or(missing("tickers"))?;
        let rows: Vec<TickerRow<'_>> = wire::rows(list, "tickers")?;
        for row in &rows {
            if let Some(symbol) = self.find(&row.product_id, sink) {
                let ticker = ticker(row, symbol, ts_event)?;
                sink.event(symbol.id, Event::Ticker(ticker));
            }
        }
        Ok(())
    }

    fn candles(
        &mut self,
        event: &FrameEvent<'_>,
        ts_event: TsNanos,
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        let list = event.candles.ok_or(missing("candles"))?;
        let is_image = event.kind.as_deref() == Some("snapshot");
        let rows: Vec<CandleRow<'_>> = wire::rows(list, "candles")?;
        let mut bars: Vec<(InstrumentId, _)> = Vec::with_capacity(rows.len());
        for row in &rows {
            let product = row.product_id.as_deref().ok_or(missing("product_id"))?;
            if let Some(symbol) = self.find(product, sink) {
                let bar = candles::kline(row, symbol, candles::STREAMED, ts_event)?;
                bars.push((symbol.id, bar));
            }
        }
        self.bars.take(bars, is_image, sink);
        Ok(())
    }
}

impl Decoder for StreamDecoder {
    fn decode(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        let frame: Frame<'_> = wire::read(frame, "events")?;
        let Some(channel) = frame.channel.as_deref() else {
            return without_channel(&frame, sink);
        };
        let seq = frame.sequence_num.ok_or(missing("sequence_num"))?;
        if !self.count(seq, sink) {
            return Ok(());
        }
        let events = frame.events.as_deref().ok_or(missing("events"))?;
        let stamp = || {
            let text = frame.timestamp.as_deref();
            text.and_then(time::parse).ok_or(missing("timestamp"))
        };
        match channel {
            "l2_data" => {
                let ts_event = stamp()?;
                events
                    .iter()
                    .try_for_each(|event| self.book(event, seq, ts_event, sink))
            }
            "market_trades" => events.iter().try_for_each(|event| self.trades(event, sink)),
            "ticker" => {
                let ts_event = stamp()?;
                events
                    .iter()
                    .try_for_each(|event| self.tickers(event, ts_event, sink))
            }
            "candles" => {
                let ts_event = stamp()?;
                events
                    .iter()
                    .try_for_each(|event| self.candles(event, ts_event, sink))
            }
            "heartbeats" => {
                sink.control(Control::Heartbeat);
                Ok(())
            }
            "subscriptions" => events
                .iter()
                .try_for_each(|event| subscriptions(event, sink)),
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

const fn missing(field: &'static str) -> DecodeError {
    DecodeError::Field { field }
}

/// A frame that is no channel's: an error, which has no number either, or a message of the older
/// Exchange feed.
fn without_channel(frame: &Frame<'_>, sink: &mut dyn EventSink) -> Result<(), DecodeError> {
    match frame.kind.as_deref() {
        Some("error") => {
            let texts = [frame.message.as_deref(), frame.reason.as_deref()];
            let texts: Vec<&str> = texts.into_iter().flatten().collect();
            // It says neither which request it answers nor a code.
            sink.control(Control::Error {
                id: None,
                stream: None,
                code: 0,
                message: texts.join(": "),
            });
            Ok(())
        }
        Some(kind) if EXCHANGE_KINDS.contains(&kind) => {
            sink.skipped(Skipped::OtherMarket);
            Ok(())
        }
        _ => Err(missing("channel")),
    }
}

fn trade(row: &TradeRow<'_>, symbol: Symbol) -> Result<Trade, DecodeError> {
    Ok(Trade {
        trade_id: TradeId::Number(row.trade_id.parse().map_err(|_| missing("trade_id"))?),
        price: symbol.price(&row.price, "price")?,
        qty: symbol.qty(&row.size, "size")?,
        taker_side: taker_side(&row.side)?,
        ts_event: time::parse(&row.time).ok_or(missing("time"))?,
        is_aggregate: false,
    })
}

/// The taker's side out of the maker's, which is what Coinbase writes.
pub(super) fn taker_side(maker: &str) -> Result<Side, DecodeError> {
    match maker {
        "BUY" => Ok(Side::Sell),
        "SELL" => Ok(Side::Buy),
        _ => Err(missing("side")),
    }
}

/// A match of a list, for REST answers have the same rows.
pub(super) fn trade_of(row: &TradeRow<'_>, instrument: &Instrument) -> Result<Trade, DecodeError> {
    trade(row, Symbol::from(instrument))
}

fn ticker(row: &TickerRow<'_>, symbol: Symbol, ts_event: TsNanos) -> Result<Ticker, DecodeError> {
    let level = |price: &Option<wire::Text<'_>>, qty: &Option<wire::Text<'_>>, field| {
        let text = price.as_deref().ok_or(missing(field))?;
        // An empty side is an empty text.
        if text.is_empty() {
            return Ok(BookLevel::default());
        }
        Ok(BookLevel {
            price: symbol.price(text, field)?,
            qty: match qty.as_deref() {
                Some(text) if !text.is_empty() => symbol.qty(text, "best_quantity")?,
                _ => return Err(missing("best_quantity")),
            },
        })
    };
    Ok(Ticker {
        seq: None,
        bid: level(&row.best_bid, &row.best_bid_quantity, "best_bid")?,
        ask: level(&row.best_ask, &row.best_ask_quantity, "best_ask")?,
        ts_event: Some(ts_event),
    })
}

/// All that the connection is subscribed to now; heartbeats are nobody's stream.
fn subscriptions(event: &FrameEvent<'_>, sink: &mut dyn EventSink) -> Result<(), DecodeError> {
    let raw = event.subscriptions.ok_or(missing("subscriptions"))?;
    let all: Subscriptions = wire::owned(raw, "subscriptions")?;
    let streams = all
        .iter()
        .filter(|(channel, _)| *channel != "heartbeats")
        .flat_map(|(channel, products)| {
            let name = move |product: &String| format!("{channel}:{product}");
            products.iter().map(name)
        })
        .collect();
    sink.control(Control::Subscriptions { id: None, streams });
    Ok(())
}
