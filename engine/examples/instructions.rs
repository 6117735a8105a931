//! Counts the instructions that the hot path takes on recorded messages, with callgrind: the same
//! count on a busy machine and on a quiet one, so that a regression shows without noise.
//!
//! `cargo run --profile counts -p bookwire-engine --example instructions -- check DIR` counts, and
//! fails when something takes more than its limit in `bench/instructions.txt`; `update DIR` writes
//! that file anew. DIR holds the recordings. Needs valgrind.
//!
//! Each piece of work is run twice, once over its messages and three times over them; half of the
//! difference is what one pass costs, without start and warm-up.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bookwire_engine::book::Book;
use bookwire_engine::event::{BookLevel, BookSide, Control, Event, EventSink, Skipped, Trade};
use bookwire_engine::exchange::{Decoder, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::{
    Numbers, book_snapshot_data, book_update_data, envelope_prefix, message, trade_data,
};
use rust_decimal::Decimal;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Messages of a recording that are used.
const MESSAGES: usize = 600;
/// A count may be so much above its limit, per mille: how a compiler divides a crate shifts a few
/// instructions (up to 3 % were seen when something else in the crate changed).
const TOLERANCE: u64 = 50;
const LIMITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../bench/instructions.txt");

const SPOT: (&str, Market, u8, u8) = ("binance_spot_mixed_btcusdt_20240808", Market::Spot, 2, 6);
const PERP: (&str, Market, u8, u8) = ("binance_usdm_mixed_btcusdt_20240808", Market::Perp, 1, 3);

/// A piece of work: its name, the recording, what marks its messages, and what it is counted by.
struct Work {
    name: &'static str,
    recording: (&'static str, Market, u8, u8),
    mark: &'static str,
    unit: &'static str,
    make: Make,
}

/// Makes a job of a market's recorded frames, at these digits after the point.
type Make = fn(&Market, &[Vec<u8>], u8, u8) -> Result<Job>;

/// What one pass does, and how many units it is.
struct Job {
    units: u64,
    pass: Box<dyn FnMut()>,
}

const WORKS: [Work; 8] = [
    Work {
        name: "decode depth, spot",
        recording: SPOT,
        mark: "@depth",
        unit: "level",
        make: decode_books,
    },
    Work {
        name: "decode depth, USDⓈ-M",
        recording: PERP,
        mark: "@depth",
        unit: "level",
        make: decode_books,
    },
    Work {
        name: "decode trade, spot",
        recording: SPOT,
        mark: "@trade",
        unit: "trade",
        make: decode_trades,
    },
    Work {
        name: "decode trade, USDⓈ-M",
        recording: PERP,
        mark: "@trade",
        unit: "trade",
        make: decode_trades,
    },
    Work {
        name: "book apply and both top 20s, spot",
        recording: SPOT,
        mark: "@depth",
        unit: "level",
        make: apply,
    },
    Work {
        name: "book apply and both top 20s, USDⓈ-M",
        recording: PERP,
        mark: "@depth",
        unit: "level",
        make: apply,
    },
    Work {
        name: "encode a book's change",
        recording: PERP,
        mark: "@depth",
        unit: "level",
        make: encode_update,
    },
    Work {
        name: "encode a trade's message",
        recording: SPOT,
        mark: "@trade",
        unit: "trade",
        make: encode_trade,
    },
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["check", dir] => count_all(Path::new(dir)).and_then(|counts| check(&counts)),
        ["update", dir] => count_all(Path::new(dir)).and_then(|counts| update(&counts)),
        // What callgrind watches.
        ["run", name, file, passes] => run(name, Path::new(file), passes),
        _ => Err("usage: instructions check|update DIR".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// A count: the name with its unit, and instructions a unit in tenths.
type Counted = (String, u64);

fn count_all(dir: &Path) -> Result<Vec<Counted>> {
    let folder = std::env::temp_dir().join(format!("bookwire-instructions-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let counted = WORKS.iter().map(|work| count(work, dir, &folder)).collect();
    std::fs::remove_dir_all(&folder)?;
    counted
}

fn count(work: &Work, dir: &Path, folder: &Path) -> Result<Counted> {
    let file = folder.join(format!("{}{}.jsonl", work.recording.0, work.mark));
    if !file.exists() {
        extract(
            &dir.join(format!("{}.jsonl.gz", work.recording.0)),
            work.mark,
            &file,
        )?;
    }
    let (once, units) = callgrind(work, &file, 1, folder)?;
    let (thrice, _) = callgrind(work, &file, 3, folder)?;
    let tenths = (thrice - once) * 10 / 2 / units.max(1);
    let name = format!("{}, a {}{}", work.name, work.unit, way(work));
    println!("{name:<48} {:>8.1}", tenths as f64 / 10.0);
    Ok((name, tenths))
}

/// Levels are read in another way where the processor has no AVX2: with limits of its own.
fn way(work: &Work) -> &'static str {
    #[cfg(target_arch = "x86_64")]
    let is_wide = std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    let is_wide = false;
    match work.name.starts_with("decode depth") && !is_wide {
        true => ", without AVX2",
        false => "",
    }
}

/// The recording's first messages of a kind, one a line.
fn extract(recording: &Path, mark: &str, to: &Path) -> Result<()> {
    let raw = std::fs::File::open(recording)
        .map_err(|error| format!("{}: {error}", recording.display()))?;
    let mut kept = Vec::new();
    let mut count = 0;
    for line in BufReader::new(flate2::read::MultiGzDecoder::new(raw)).split(b'\n') {
        let line = line?;
        if count < MESSAGES && line.windows(mark.len()).any(|part| part == mark.as_bytes()) {
            kept.extend_from_slice(&line);
            kept.push(b'\n');
            count += 1;
        }
    }
    Ok(std::fs::write(to, kept)?)
}

/// Instructions of a whole run, and the units of one pass.
fn callgrind(work: &Work, file: &Path, passes: u32, folder: &Path) -> Result<(u64, u64)> {
    let out: PathBuf = folder.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--vgdb=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["run", work.name])
        .arg(file)
        .arg(passes.to_string())
        .output()
        .map_err(|error| {
            format!("valgrind: {error}; install it, e.g. with `apt install valgrind`")
        })?;
    let told = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("{}: {told}", work.name).into());
    }
    let after = told
        .split("Collected : ")
        .nth(1)
        .ok_or("callgrind told no count")?;
    let count = after
        .split_whitespace()
        .next()
        .ok_or("callgrind told no count")?
        .parse()?;
    let units = String::from_utf8_lossy(&output.stdout).trim().parse()?;
    Ok((count, units))
}

fn check(counts: &[Counted]) -> Result<()> {
    let text = std::fs::read_to_string(LIMITS)?;
    let mut wrong = String::new();
    for (name, tenths) in counts {
        let limit = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .find_map(|line| line.rsplit_once(" = ").filter(|(of, _)| of == name))
            .ok_or_else(|| format!("no limit for \"{name}\" in bench/instructions.txt"))?;
        let limit: f64 = limit.1.parse()?;
        let count = *tenths as f64 / 10.0;
        if count > limit * (1.0 + TOLERANCE as f64 / 1000.0) {
            writeln!(
                wrong,
                "{name}: {count} instructions, at most {limit} wanted"
            )?;
        }
    }
    if wrong.is_empty() {
        println!("all within their limits");
        return Ok(());
    }
    Err(format!(
        "{wrong}the hot path got slower; where that has its reason, set the limits with `update`"
    )
    .into())
}

fn update(counts: &[Counted]) -> Result<()> {
    let mut text = String::from(
        "# Instructions that the hot path may take, counted by callgrind over recorded messages.\n\
         # Written by `cargo run --profile counts -p bookwire-engine --example instructions -- update DIR`.\n",
    );
    for (name, tenths) in counts {
        writeln!(text, "{name} = {}", *tenths as f64 / 10.0)?;
    }
    // What this processor does in another way, another one has counted.
    for line in std::fs::read_to_string(LIMITS)?.lines() {
        let of = line.rsplit_once(" = ").map(|(name, _)| name);
        if of.is_some_and(|of| counts.iter().all(|(name, _)| name != of)) {
            writeln!(text, "{line}")?;
        }
    }
    Ok(std::fs::write(LIMITS, text)?)
}

fn run(name: &str, file: &Path, passes: &str) -> Result<()> {
    let work = WORKS
        .iter()
        .find(|work| work.name == name)
        .ok_or("no such work")?;
    let text = std::fs::read(file)?;
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let lines: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
    let (_, market, price_digits, qty_digits) = work.recording;
    let mut job = (work.make)(&market, &lines, price_digits, qty_digits)?;
    for _ in 0..passes.parse::<u32>()? {
        (job.pass)();
    }
    println!("{}", job.units);
    Ok(())
}

/// Keeps what was decoded, or only sees that it is made.
#[derive(Default)]
struct Seen {
    deltas: Vec<(Vec<BookLevel>, Vec<BookLevel>)>,
    trades: Vec<Trade>,
    keeps: bool,
    levels: u64,
    others: u64,
}

impl EventSink for Seen {
    fn event(&mut self, _: InstrumentId, event: Event<'_>) {
        match event {
            Event::Book(delta) => {
                self.levels += (delta.bids.len() + delta.asks.len()) as u64;
                if self.keeps {
                    self.deltas.push((delta.bids.to_vec(), delta.asks.to_vec()));
                }
                black_box(delta.last_seq);
            }
            Event::Trade(trade) if self.keeps => self.trades.push(trade),
            event => {
                black_box(&event);
            }
        }
    }

    fn control(&mut self, _: Control) {
        self.others += 1;
    }

    fn skipped(&mut self, _: Skipped) {
        self.others += 1;
    }
}

fn table(market: Market, price_digits: u8, qty_digits: u8) -> Arc<InstrumentTable> {
    let spec = InstrumentSpec {
        provider: ProviderId::BINANCE,
        exchange: "binance".to_owned(),
        market,
        native_symbol: "BTCUSDT".to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: None,
        price_step: Decimal::new(1, u32::from(price_digits)),
        qty_step: Decimal::new(1, u32::from(qty_digits)),
        bar_levels: None,
        // As many as the exchange's largest numbers leave room for, which is what the adapter takes.
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
    };
    Arc::new(InstrumentTable::default().with_market(ProviderId::BINANCE, market, vec![spec]))
}

fn decoder(market: Market, price_digits: u8, qty_digits: u8) -> Box<dyn Decoder> {
    let table = table(market, price_digits, qty_digits);
    ProviderId::BINANCE.exchange().decoder(market, table)
}

/// All frames decoded once: what they hold, or an error for one that does not decode.
fn decoded(market: Market, frames: &[Vec<u8>], price_digits: u8, qty_digits: u8) -> Result<Seen> {
    let mut seen = Seen {
        keeps: true,
        ..Seen::default()
    };
    let mut decoder = decoder(market, price_digits, qty_digits);
    for frame in frames {
        decoder
            .decode(frame, &mut seen)
            .map_err(|error| error.to_string())?;
    }
    Ok(seen)
}

fn decode_pass(market: Market, frames: &[Vec<u8>], digits: (u8, u8)) -> Box<dyn FnMut()> {
    let frames = frames.to_vec();
    let mut decoder = decoder(market, digits.0, digits.1);
    let mut seen = Seen::default();
    Box::new(move || {
        for frame in &frames {
            black_box(decoder.decode(black_box(frame), &mut seen).is_ok());
        }
    })
}

fn decode_books(market: &Market, frames: &[Vec<u8>], price: u8, qty: u8) -> Result<Job> {
    Ok(Job {
        units: decoded(*market, frames, price, qty)?.levels,
        pass: decode_pass(*market, frames, (price, qty)),
    })
}

fn decode_trades(market: &Market, frames: &[Vec<u8>], price: u8, qty: u8) -> Result<Job> {
    Ok(Job {
        units: decoded(*market, frames, price, qty)?.trades.len() as u64,
        pass: decode_pass(*market, frames, (price, qty)),
    })
}

fn apply(market: &Market, frames: &[Vec<u8>], price: u8, qty: u8) -> Result<Job> {
    let Seen { deltas, levels, .. } = decoded(*market, frames, price, qty)?;
    let (mut book, mut top) = (Book::new(), Vec::new());
    Ok(Job {
        units: levels,
        pass: Box::new(move || {
            for (bids, asks) in &deltas {
                book.apply(bids, asks);
                for side in [BookSide::Bid, BookSide::Ask] {
                    top.clear();
                    book.top(side, 20, &mut top);
                    black_box(&top);
                }
            }
        }),
    })
}

fn encode_update(market: &Market, frames: &[Vec<u8>], price: u8, qty: u8) -> Result<Job> {
    let Seen { deltas, levels, .. } = decoded(*market, frames, price, qty)?;
    let table = table(*market, price, qty);
    let instrument = table.iter().next().ok_or("no instrument")?.clone();
    let (mut out, ts) = (Vec::new(), TsNanos::from_ms(1_700_000_000_000));
    Ok(Job {
        units: levels,
        pass: Box::new(move || {
            for (seq, (bids, asks)) in (1..).zip(&deltas) {
                out.clear();
                let numbers = Numbers::Number;
                book_update_data(&mut out, &instrument, bids, asks, seq, seq - 1, ts, numbers);
                black_box(&out);
            }
            out.clear();
            let first = deltas.first().map_or(&[][..], |(bids, _)| bids);
            book_snapshot_data(&mut out, &instrument, first, &[], 1, ts, Numbers::Number);
            black_box(&out);
        }),
    })
}

fn encode_trade(market: &Market, frames: &[Vec<u8>], price: u8, qty: u8) -> Result<Job> {
    let trades = decoded(*market, frames, price, qty)?.trades;
    let table = table(*market, price, qty);
    let instrument = table.iter().next().ok_or("no instrument")?.clone();
    let mut prefix = Vec::new();
    let (stream, entity) = ("crypto.trades", "crypto_binance_btcusdt");
    envelope_prefix(
        &mut prefix,
        stream,
        "binance",
        "btcusdt",
        entity,
        None,
        None,
    );
    let (mut body, mut out) = (Vec::new(), Vec::new());
    Ok(Job {
        units: trades.len() as u64,
        pass: Box::new(move || {
            for (seq, trade) in (1..).zip(&trades) {
                body.clear();
                out.clear();
                trade_data(&mut body, &instrument, trade, Numbers::Number);
                message(&mut out, &prefix, seq, &body, None);
                black_box(&out);
            }
        }),
    })
}
