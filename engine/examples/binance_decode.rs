//! How long decoding takes on recorded frames: `cargo run --release -p bookwire-engine --example
//! binance_decode -- DIR [FILE [KIND]]`, where DIR holds recordings (`*_mixed_*.jsonl.gz`), FILE is a
//! part of a recording's name and KIND one of `depthUpdate`, `trade`, `bookTicker`.
//!
//! Three ways over the same bytes: the decoder as it is used, its simd-json half alone, and
//! serde_json into structs that borrow.

use std::hint::black_box;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bookwire_engine::event::{Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::binance::stream::StreamDecoder;
use bookwire_engine::exchange::binance::{Binance, is_depth_snapshot};
use bookwire_engine::exchange::{Decoder as _, Exchange as _, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use rust_decimal::Decimal;

const ROUNDS: usize = 9;
/// Frames timed together.
const GROUP: usize = 100;

/// Counts what arrives, so that nothing can be left out unseen.
#[derive(Default)]
struct Count {
    levels: u64,
    events: u64,
    others: u64,
}

impl EventSink for Count {
    fn event(&mut self, _instrument: InstrumentId, event: Event<'_>) {
        self.events += 1;
        if let Event::Book(delta) = event {
            self.levels += (delta.bids.len() + delta.asks.len()) as u64;
            black_box(delta.bids);
            black_box(delta.asks);
        } else {
            black_box(&event);
        }
    }

    fn control(&mut self, _control: Control) {
        self.others += 1;
    }

    fn skipped(&mut self, _kind: Skipped) {
        self.others += 1;
    }
}

#[derive(serde::Deserialize)]
struct Combined<'a, T> {
    #[serde(borrow)]
    stream: &'a str,
    data: T,
}

#[derive(serde::Deserialize)]
#[allow(non_snake_case)]
struct Depth<'a> {
    E: u64,
    s: &'a str,
    U: u64,
    u: u64,
    pu: Option<u64>,
    #[serde(borrow)]
    b: Vec<[&'a str; 2]>,
    #[serde(borrow)]
    a: Vec<[&'a str; 2]>,
}

#[derive(serde::Deserialize)]
#[allow(non_snake_case)]
struct Trade<'a> {
    s: &'a str,
    t: u64,
    p: &'a str,
    q: &'a str,
    T: u64,
    m: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("name a folder of recordings")?;
    let wanted_file = std::env::args().nth(2).unwrap_or_default();
    let wanted_kind = std::env::args().nth(3).unwrap_or_default();
    for (file, market, symbol, scales) in [
        (
            "binance_spot_mixed_btcusdt_20240808.jsonl.gz",
            Market::Spot,
            ("BTC", "USDT"),
            (2, 5),
        ),
        (
            "binance_usdm_mixed_btcusdt_20240808.jsonl.gz",
            Market::Perp,
            ("BTC", "USDT"),
            (2, 3),
        ),
        (
            "binance_usdm_mixed_ethusdt_20240718.jsonl.gz",
            Market::Perp,
            ("ETH", "USDT"),
            (2, 3),
        ),
        (
            "binance_usdm_mixed_btcusdt_20230404.jsonl.gz",
            Market::Perp,
            ("BTC", "USDT"),
            (2, 3),
        ),
    ] {
        if !file.contains(&wanted_file) {
            continue;
        }
        let mut text = Vec::new();
        let raw = std::fs::File::open(Path::new(&dir).join(file))?;
        flate2::read::GzDecoder::new(raw).read_to_end(&mut text)?;
        let table = Arc::new(InstrumentTable::default().with_market(
            ProviderId::BINANCE,
            market,
            vec![spec(market, symbol, scales)],
        ));
        println!("{file}");
        let lines: Vec<&[u8]> = text
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty() && !is_depth_snapshot(line))
            .collect();
        for kind in ["depthUpdate", "trade", "bookTicker"] {
            if !kind.contains(&wanted_kind) {
                continue;
            }
            let tag = format!("@{}", kind.trim_end_matches("Update"));
            let some: Vec<&[u8]> = lines
                .iter()
                .copied()
                .filter(|line| line.windows(tag.len()).any(|part| part == tag.as_bytes()))
                .collect();
            if !some.is_empty() {
                measure(kind, &some, market, &table)?;
            }
        }
    }
    Ok(())
}

fn measure(
    kind: &str,
    lines: &[&[u8]],
    market: Market,
    table: &Arc<InstrumentTable>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut decoder = StreamDecoder::new(market, table.clone());
    let mut count = Count::default();
    for line in lines {
        decoder.decode(line, &mut count)?;
    }
    let slow = decoder.slow_frames();
    let unit = if count.levels > 0 {
        count.levels
    } else {
        lines.len() as u64
    };
    let decode = best(lines, |frame| decoder.decode(frame, &mut count).is_ok());
    let mut tape_decoder = StreamDecoder::new(market, table.clone());
    let tape = best(lines, |frame| {
        tape_decoder.decode_any(frame, &mut count).is_ok()
    });
    let serde = best(lines, |frame| match kind {
        "depthUpdate" => typed::<Depth<'_>>(frame, |row| {
            black_box((row.E, row.s, row.U, row.u, row.pu, row.b.len(), row.a.len()));
        }),
        "trade" => typed::<Trade<'_>>(frame, |row| {
            black_box((row.s, row.t, row.p, row.q, row.T, row.m));
        }),
        _ => serde_json::from_slice::<serde_json::Value>(frame)
            .map(black_box)
            .is_ok(),
    });
    let mut copied = Vec::with_capacity(1 << 20);
    let copy = best(lines, |frame| {
        copied.clear();
        copied.extend_from_slice(frame);
        !black_box(&copied).is_empty()
    });
    let ns = |time: Duration| time.as_nanos() as f64 / unit as f64;
    println!(
        "  {kind:<12} {:>6} frames {:>8} {} {slow} slow | decode {:6.1} ns  simd-json {:6.1} ns  \
         serde_json {:6.1} ns  copy {:4.1} ns | {:5.2} GB/s",
        lines.len(),
        unit,
        if count.levels > 0 { "levels" } else { "events" },
        ns(decode),
        ns(tape),
        ns(serde),
        ns(copy),
        lines.iter().map(|line| line.len()).sum::<usize>() as f64 / decode.as_nanos() as f64,
    );
    Ok(())
}

fn typed<'a, T: serde::Deserialize<'a>>(frame: &'a [u8], read: impl Fn(&T)) -> bool {
    match serde_json::from_slice::<Combined<'a, T>>(frame) {
        Ok(row) => {
            read(&row.data);
            !row.stream.is_empty()
        }
        Err(_) => false,
    }
}

/// The time over all lines when nothing else runs: frames are timed in short groups, and of each
/// group the best of several rounds counts.
fn best(lines: &[&[u8]], mut work: impl FnMut(&[u8]) -> bool) -> Duration {
    let mut best = vec![Duration::MAX; lines.len().div_ceil(GROUP)];
    for _ in 0..ROUNDS {
        for (group, best) in lines.chunks(GROUP).zip(&mut best) {
            let start = Instant::now();
            let mut all = true;
            for line in group {
                all &= work(line);
            }
            *best = (*best).min(start.elapsed());
            assert!(all, "a frame was not decoded");
        }
    }
    best.into_iter().sum()
}

fn spec(market: Market, symbol: (&str, &str), scales: (u32, u32)) -> InstrumentSpec {
    let (base, quote) = symbol;
    InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: Binance.name().to_owned(),
        market,
        native_symbol: format!("{base}{quote}"),
        base_symbol: base.to_owned(),
        quote_symbol: quote.to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| quote.to_owned()),
        price_step: Decimal::new(1, scales.0),
        qty_step: Decimal::new(1, scales.1),
        bar_levels: None,
        price_digits: 8,
        qty_digits: 8,
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
