//! Public channels: names, requests, and the decoder of a connection.
//!
//! Sources: OKX API v5 documentation of the public and business channels, change log up to
//! 2026-02-12; help page on the checksum's end (2026-05-21); recordings of 2022-02-28 and
//! 2026-08-24.

use std::sync::Arc;

use serde_json::json;

use crate::event::EventSink;
use crate::exchange::{DecodeError, Decoder, Feed, NativeStream, StreamRequest};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::Level;

use super::message::Reader;

/// Index of the route of everything but bars.
pub(super) const ROUTE_PUBLIC: usize = 0;
/// Index of the route of bars: elsewhere they are refused (64001, 64002).
pub(super) const ROUTE_BUSINESS: usize = 1;

/// Larger than any frame OKX sends: a book of 400 levels a side is about 40 KB.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of one request: the documents have said 4096 and 64 KB.
const REQUEST_BYTES_MAX: usize = 4000;

/// OKX's name of a bar; without `utc` a day starts at 16:00 UTC.
pub(super) const fn bar(level: Level) -> &'static str {
    match level {
        Level::M1 => "1m",
        Level::M5 => "5m",
        Level::M15 => "15m",
        Level::M30 => "30m",
        Level::H1 => "1H",
        Level::H4 => "4H",
        Level::D1 => "1Dutc",
    }
}

/// The level of a bar's name.
pub(super) fn level_of(bar_name: &str) -> Option<Level> {
    Level::ALL.into_iter().find(|level| bar(*level) == bar_name)
}

/// The name of an index out of its swap's: `BTC-USDT` of `BTC-USDT-SWAP`.
fn index_of(instrument: &Instrument) -> &str {
    let native = &instrument.spec.native_symbol;
    native.strip_suffix("-SWAP").unwrap_or(native)
}

/// The streams that carry a feed of an instrument, as `channel:instrument`.
pub(super) fn streams(instrument: &Instrument, feed: Feed) -> Vec<NativeStream> {
    let native = &instrument.spec.native_symbol;
    let stream = |route, channel: &str, inst_id: &str| NativeStream {
        route,
        name: format!("{channel}:{inst_id}"),
    };
    match feed {
        Feed::Book => vec![stream(ROUTE_PUBLIC, "books", native)],
        Feed::Trades => vec![stream(ROUTE_PUBLIC, "trades", native)],
        Feed::Ticker => vec![stream(ROUTE_PUBLIC, "bbo-tbt", native)],
        Feed::Klines(level) => {
            let channel = format!("candle{}", bar(level));
            vec![stream(ROUTE_BUSINESS, &channel, native)]
        }
        Feed::Funding if instrument.spec.market == Market::Spot => Vec::new(),
        Feed::Funding => vec![
            stream(ROUTE_PUBLIC, "funding-rate", native),
            stream(ROUTE_PUBLIC, "mark-price", native),
            stream(ROUTE_PUBLIC, "index-tickers", index_of(instrument)),
        ],
    }
}

/// Requests for streams, cut to what OKX takes.
pub(super) fn requests(op: &str, streams: &[&str], first_id: u64) -> Vec<StreamRequest> {
    let mut requests = Vec::new();
    let mut args = Vec::new();
    let mut indices = Vec::new();
    let mut bytes = 0;
    let mut close = |args: &mut Vec<serde_json::Value>, indices: &mut Vec<usize>| {
        if args.is_empty() {
            return;
        }
        let id = first_id + requests.len() as u64;
        let args = std::mem::take(args);
        requests.push(StreamRequest {
            id,
            text: json!({ "id": id.to_string(), "op": op, "args": args }).to_string(),
            streams: std::mem::take(indices),
        });
    };
    for (index, name) in streams.iter().enumerate() {
        let (channel, inst_id) = name.split_once(':').unwrap_or((name, ""));
        let arg = json!({ "channel": channel, "instId": inst_id });
        // Names hold no character that would be escaped.
        let more = channel.len() + inst_id.len() + r#"{"channel":"","instId":""},"#.len();
        if bytes + more > REQUEST_BYTES_MAX {
            close(&mut args, &mut indices);
            bytes = 0;
        }
        bytes += more;
        args.push(arg);
        indices.push(index);
    }
    close(&mut args, &mut indices);
    requests
}

/// Subscribes to announcements of maintenance.
pub(super) fn status_request() -> String {
    json!({ "id": "0", "op": "subscribe", "args": [{ "channel": "status" }] }).to_string()
}

/// Decodes the frames of one connection.
///
/// It keeps what is last known of each swap's funding, which comes by three channels, and the texts
/// of books whose checksum is sent.
pub struct StreamDecoder {
    reader: Reader,
}

impl StreamDecoder {
    /// A decoder for a connection of `market` that knows the instruments of `table`.
    #[must_use]
    pub fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            reader: Reader::new(market, table),
        }
    }

    /// Checksums compared so far, and how many of them did not agree.
    #[must_use]
    pub fn checksums(&self) -> (u64, u64) {
        self.reader.checksums()
    }
}

impl Decoder for StreamDecoder {
    fn decode(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        self.reader.frame(frame, sink)
    }

    fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.reader.set_table(table);
    }
}
