//! Public streams: names, requests, and the decoder of a connection.
//!
//! Source: spot `web-socket-streams.md` (2026-07-21); USDⓈ-M stream documentation of the official
//! connector 64.0.0 (2026-07-22).

use std::sync::Arc;

use crate::event::{Control, Event, EventSink};
use crate::exchange::{DecodeError, Decoder, Feed, NativeStream, StreamRequest};
use crate::instrument::{Instrument, InstrumentTable, Market};

use super::fields::Fields;
use super::message::{self, Kind, Verdict};
use super::scan::{Levels, Scanned};
use super::shapes::{self, Heads};
use super::symbols::Symbols;
use super::tape::{self, TapeBuffers};

/// Index of the only spot route, and of USDⓈ-M's `public` one: books and best prices.
const ROUTE_PUBLIC: usize = 0;
/// Index of USDⓈ-M's `market` route: trades, bars, funding. A stream on the wrong one is
/// acknowledged and stays silent.
const ROUTE_MARKET: usize = 1;

/// Larger than any frame Binance sends: all symbols' tickers are below a megabyte.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The stream that carries a feed of an instrument.
pub(super) fn stream(instrument: &Instrument, feed: Feed) -> Option<NativeStream> {
    let is_spot = instrument.spec.market == Market::Spot;
    let (market_route, trades) = match is_spot {
        true => (ROUTE_PUBLIC, "trade".to_owned()),
        false => (ROUTE_MARKET, "aggTrade".to_owned()),
    };
    let (route, topic) = match feed {
        Feed::Book => (ROUTE_PUBLIC, "depth@100ms".to_owned()),
        Feed::Ticker => (ROUTE_PUBLIC, "bookTicker".to_owned()),
        Feed::Trades => (market_route, trades),
        Feed::Klines(level) => (market_route, format!("kline_{level}")),
        Feed::Funding if is_spot => return None,
        Feed::Funding => (market_route, "markPrice@1s".to_owned()),
    };
    // Stream names take the symbol in lower case, payloads and REST in upper case.
    let symbol = instrument.spec.native_symbol.to_lowercase();
    Some(NativeStream {
        route,
        name: format!("{symbol}@{topic}"),
    })
}

/// `{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}`
pub(super) fn request(method: &str, streams: &[&str], id: u64) -> StreamRequest {
    StreamRequest {
        id,
        text: serde_json::json!({ "method": method, "params": streams, "id": id }).to_string(),
        streams: (0..streams.len()).collect(),
    }
}

/// Decodes the frames of one connection.
///
/// Frames in the compact form that Binance sends are read in one pass over the bytes; all others by
/// way of simd-json. Neither allocates once its buffers have grown, control messages aside.
pub struct StreamDecoder {
    symbols: Symbols,
    heads: Heads,
    scanned: Scanned,
    tape: TapeBuffers,
    /// simd-json writes into what it reads.
    copy: Vec<u8>,
    slow_frames: u64,
}

impl StreamDecoder {
    /// A decoder for a connection of `market` that knows the instruments of `table`.
    #[must_use]
    pub fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            symbols: Symbols::new(market, table),
            heads: Heads::new(),
            scanned: Scanned::new(),
            tape: TapeBuffers::new(),
            copy: Vec::new(),
            slow_frames: 0,
        }
    }

    /// Frames so far that were not in the compact form.
    #[must_use]
    pub fn slow_frames(&self) -> u64 {
        self.slow_frames
    }

    /// Decodes a frame in the compact form. False: it is not, and nothing was delivered.
    #[inline]
    pub fn decode_compact(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> bool {
        frame.len() <= FRAME_BYTES_MAX && self.compact(frame, sink).is_some()
    }

    #[inline(always)]
    fn compact(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Option<()> {
        let Self {
            symbols,
            heads,
            scanned,
            ..
        } = self;
        if shapes::read(frame, heads, symbols, sink).is_some() {
            return Some(());
        }
        let stream = scanned.scan(frame, symbols)?;
        let fields = Fields {
            store: &scanned.fields,
            base: frame,
        };
        // An error is left to the other way, so that there is one place errors come from.
        match message::classify(&fields, stream, symbols).ok()? {
            Verdict::Event(Kind::Book, symbol) => {
                if !scanned.has_both_sides(&fields) {
                    return None;
                }
                let Levels { bids, asks } = &scanned.levels;
                let delta = message::book_delta(&fields, symbols.market(), bids, asks).ok()?;
                sink.event(symbol.id, Event::Book(delta));
            }
            Verdict::Event(kind, symbol) => {
                let bar = Fields {
                    store: &scanned.bar,
                    base: frame,
                };
                let bar = scanned.has_bar.then_some(&bar);
                message::deliver(kind, symbol, &fields, bar, sink).ok()?;
            }
            Verdict::Skip(reason) => sink.skipped(reason),
            Verdict::Shutdown => sink.control(Control::Shutdown),
        }
        Some(())
    }

    /// Decodes any frame by way of simd-json.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_any(
        &mut self,
        frame: &[u8],
        sink: &mut dyn EventSink,
    ) -> Result<(), DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        let Self {
            symbols,
            scanned,
            tape,
            copy,
            ..
        } = self;
        let levels = &mut scanned.levels;
        copy.clear();
        copy.extend_from_slice(frame);
        tape.with(copy, |nodes| tape::frame(nodes, symbols, levels, sink))
    }
}

impl Decoder for StreamDecoder {
    fn decode(&mut self, frame: &[u8], sink: &mut dyn EventSink) -> Result<(), DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLarge { bytes: frame.len() });
        }
        if self.compact(frame, sink).is_some() {
            return Ok(());
        }
        self.slow_frames += 1;
        self.decode_any(frame, sink)
    }

    fn set_table(&mut self, table: Arc<InstrumentTable>) {
        self.symbols.set_table(table);
        self.heads.clear();
    }
}
