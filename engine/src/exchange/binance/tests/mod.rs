//! Tests of the whole folder: what it decodes, against recordings, documented messages, an obvious
//! second decoder, and itself.

mod answers;
mod captures;
mod differential;
mod instruments;
mod orders;
mod private;
mod property;
mod reference;
mod refusals;
mod rest;
mod socket;
mod vectors;
mod vectors_other;

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;

use rust_decimal::Decimal;

use crate::event::{BookDelta, BookLevel, Control, Event, EventSink, Skipped};
use crate::exchange::{DecodeError, Decoder as _, Exchange as _, ProviderId};
use crate::instrument::{Instrument, InstrumentId, InstrumentSpec, InstrumentTable, Market};
use crate::num::{Price, Qty};

use super::Binance;
use super::stream::StreamDecoder;

/// An event that owns its levels.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Book {
        id: InstrumentId,
        delta: BookDelta<'static>,
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
            Event::Book(delta) => Seen::Book {
                id,
                bids: delta.bids.to_vec(),
                asks: delta.asks.to_vec(),
                delta: BookDelta {
                    bids: &[],
                    asks: &[],
                    ..delta
                },
            },
            Event::BookImage(_) => panic!("Binance sends no images"),
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

/// The spot pair of the tests of trading.
fn spot() -> Instrument {
    crate::trading::venue::tests::instrument(ProviderId::BINANCE, Market::Spot, "BTCUSDT")
}

/// The perpetual of the tests of trading.
fn perp() -> Instrument {
    crate::trading::venue::tests::instrument(ProviderId::BINANCE, Market::Perp, "BTCUSDT")
}

/// A generator of numbers that is the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        word as usize % end
    }
}

/// Decodes one frame as a connection does.
fn decode(decoder: &mut StreamDecoder, frame: &[u8]) -> (Vec<Seen>, Result<(), DecodeError>) {
    let mut keep = Keep::default();
    let answer = decoder.decode(frame, &mut keep);
    (keep.0, answer)
}

/// A spec of steps 10^-scale.
fn spec(market: Market, base: &str, quote: &str, price_scale: u8, qty_scale: u8) -> InstrumentSpec {
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: format!("{base}{quote}"),
        base_symbol: base.to_owned(),
        quote_symbol: quote.to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| quote.to_owned()),
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

fn table_of(market: Market, specs: Vec<InstrumentSpec>) -> Arc<InstrumentTable> {
    Arc::new(InstrumentTable::default().with_market(ProviderId::BINANCE, market, specs))
}

/// The one instrument of a spec.
fn instrument(spec: InstrumentSpec) -> Instrument {
    let table = table_of(spec.market, vec![spec]);
    let row = table.iter().next().unwrap();
    (**row).clone()
}

fn level(price: i64, qty: i64) -> BookLevel {
    BookLevel {
        price: Price(price),
        qty: Qty(qty),
    }
}

/// The folder of recordings; `None`, with a printed line, when there is none.
fn captures_dir() -> Option<PathBuf> {
    let dir = std::env::var_os("BOOKWIRE_CAPTURES").map_or_else(
        || {
            PathBuf::from(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/../../shared/captures"
            ))
        },
        PathBuf::from,
    );
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
    #[serde(default)]
    url: String,
    #[serde(default)]
    path: Option<String>,
    raw: String,
}

fn wrapped(text: &[u8]) -> Vec<Wrapped> {
    lines(text)
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// A recording of stream messages and the instruments in it.
struct Recording {
    file: &'static str,
    market: Market,
    /// The recording's own exchange information, where it has one.
    rest: Option<&'static str>,
    /// Base, quote, price scale, quantity scale, for recordings without.
    symbol: (&'static str, &'static str, u8, u8),
}

const RECORDINGS: &[Recording] = &[
    Recording {
        file: "binance_spot_mixed_btcusdt_20240808.jsonl.gz",
        market: Market::Spot,
        rest: None,
        // The quantity step was 0.00001; orders from before that have six decimals.
        symbol: ("BTC", "USDT", 2, 8),
    },
    Recording {
        file: "binance_usdm_mixed_btcusdt_20240808.jsonl.gz",
        market: Market::Perp,
        rest: None,
        symbol: ("BTC", "USDT", 1, 3),
    },
    Recording {
        file: "binance_usdm_mixed_ethusdt_20240718.jsonl.gz",
        market: Market::Perp,
        rest: None,
        symbol: ("ETH", "USDT", 2, 3),
    },
    Recording {
        file: "binance_usdm_mixed_btcusdt_20230404.jsonl.gz",
        market: Market::Perp,
        rest: None,
        symbol: ("BTC", "USDT", 1, 3),
    },
    Recording {
        file: "binance_spot_mixed_4alts_20210814.jsonl",
        market: Market::Spot,
        rest: Some("binance_spot_rest_4alts_20210814.jsonl.gz"),
        symbol: ("", "", 0, 0),
    },
    Recording {
        file: "binance_usdm_mixed_4alts_20210722.jsonl",
        market: Market::Perp,
        rest: Some("binance_usdm_rest_4alts_20210722.jsonl"),
        symbol: ("", "", 0, 0),
    },
];

impl Recording {
    fn table(&self) -> Option<Arc<InstrumentTable>> {
        let Some(file) = self.rest else {
            let (base, quote, price, qty) = self.symbol;
            return Some(table_of(
                self.market,
                vec![spec(self.market, base, quote, price, qty)],
            ));
        };
        let rows = wrapped(&capture(file)?);
        let info = rows
            .into_iter()
            .find(|row| row.url.contains("exchangeInfo"))
            .unwrap();
        let (specs, _) = Binance
            .parse_instruments(self.market, &[info.raw.into_bytes()])
            .unwrap();
        Some(table_of(self.market, specs))
    }
}
