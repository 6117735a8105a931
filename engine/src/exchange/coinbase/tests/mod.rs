//! Tests of the whole folder: what it decodes, against recordings, documented messages, and an
//! obvious second decoder.

mod captures;
mod failures;
mod history;
mod orders;
mod private;
mod property;
mod reference;
mod reports;
mod vectors;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use rust_decimal::Decimal;

use crate::event::{BookLevel, Control, Event, EventSink, Skipped};
use crate::exchange::{DecodeError, Decoder as _, ProviderId};
use crate::instrument::{Instrument, InstrumentId, InstrumentSpec, InstrumentTable, Market};
use crate::num::{Price, Qty};
use crate::time::TsNanos;

use super::stream::StreamDecoder;

/// An event that owns its levels.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Book {
        id: InstrumentId,
        is_image: bool,
        seq: u64,
        ts_event: TsNanos,
        bids: Vec<BookLevel>,
        asks: Vec<BookLevel>,
    },
    Event(InstrumentId, Event<'static>),
    Control(Control),
    Skipped(Skipped),
}

/// Keeps everything that is delivered.
#[derive(Debug, Default)]
struct Keep(Vec<Seen>);

impl EventSink for Keep {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        self.0.push(match event {
            Event::Book(delta) => {
                assert_eq!((delta.first_seq, delta.prev_seq), (delta.last_seq, None));
                Seen::Book {
                    id,
                    is_image: false,
                    seq: delta.last_seq,
                    ts_event: delta.ts_event,
                    bids: delta.bids.to_vec(),
                    asks: delta.asks.to_vec(),
                }
            }
            Event::BookImage(image) => Seen::Book {
                id,
                is_image: true,
                seq: image.seq,
                ts_event: image.ts_event,
                bids: image.bids.to_vec(),
                asks: image.asks.to_vec(),
            },
            Event::Trade(trade) => Seen::Event(id, Event::Trade(trade)),
            Event::Kline(kline) => Seen::Event(id, Event::Kline(kline)),
            Event::Ticker(ticker) => Seen::Event(id, Event::Ticker(ticker)),
            Event::Funding(funding) => Seen::Event(id, Event::Funding(funding)),
        });
    }

    fn control(&mut self, control: Control) {
        self.0.push(Seen::Control(control));
    }

    fn skipped(&mut self, kind: Skipped) {
        self.0.push(Seen::Skipped(kind));
    }
}

/// Decodes one frame as a connection does.
fn decode(decoder: &mut StreamDecoder, frame: &[u8]) -> (Vec<Seen>, Result<(), DecodeError>) {
    let mut keep = Keep::default();
    let answer = decoder.decode(frame, &mut keep);
    (keep.0, answer)
}

/// A product of steps 10^-scale.
fn spec(base: &str, quote: &str, price_scale: u8, qty_scale: u8) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::COINBASE,
        exchange: "coinbase".to_owned(),
        market: Market::Spot,
        native_symbol: format!("{base}-{quote}"),
        base_symbol: base.to_owned(),
        quote_symbol: quote.to_owned(),
        settlement_symbol: None,
        price_step: Decimal::new(1, u32::from(price_scale)),
        qty_step: Decimal::new(1, u32::from(qty_scale)),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    }
}

fn table_of(specs: Vec<InstrumentSpec>) -> Arc<InstrumentTable> {
    let empty = InstrumentTable::default();
    Arc::new(empty.with_market(ProviderId::COINBASE, Market::Spot, specs))
}

/// BTC-USD (id 0) and ETH-USD (id 1), both with two and eight decimals.
fn two_products() -> Arc<InstrumentTable> {
    table_of(vec![spec("BTC", "USD", 2, 8), spec("ETH", "USD", 2, 8)])
}

const BTC: InstrumentId = InstrumentId(0);
const ETH: InstrumentId = InstrumentId(1);

/// The one instrument of a spec.
fn instrument(spec: InstrumentSpec) -> Instrument {
    let table = table_of(vec![spec]);
    let row = table.iter().next().unwrap();
    (**row).clone()
}

fn level(price: i64, qty: i64) -> BookLevel {
    BookLevel {
        price: Price(price),
        qty: Qty(qty),
    }
}

/// The instant of an RFC 3339 text, read by the general reader.
fn ts(text: &str) -> TsNanos {
    TsNanos::parse(text).unwrap()
}

/// The folder of recordings; `None`, with a printed line, when there is none.
fn captures_dir() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures");
    let dir =
        std::env::var_os("BOOKWIRE_CAPTURES").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if dir.is_dir() {
        return Some(dir);
    }
    let is_required = std::env::var_os("BOOKWIRE_REQUIRE_CAPTURES").is_some_and(|v| v == "1");
    assert!(!is_required, "no recordings at {}", dir.display());
    println!("skipped: no recordings at {}", dir.display());
    None
}

/// A recording's text, decompressed.
fn capture(name: &str) -> Option<Vec<u8>> {
    let path = captures_dir()?.join(name);
    let raw = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if !name.ends_with(".gz") {
        return Some(raw);
    }
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(raw.as_slice())
        .read_to_end(&mut text)
        .unwrap();
    Some(text)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// A wrapped line of `*_rest_*` and `*_fixtures` files.
#[derive(serde::Deserialize)]
struct Wrapped {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    name: String,
    raw: String,
}

fn wrapped(text: &[u8]) -> Vec<Wrapped> {
    lines(text)
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}
