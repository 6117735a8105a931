//! Replays a recording from memory and prints the speed of decode, book and bars.
//!
//! `cargo run --release -p bookwire-engine --example replay_speed -- spot FILE.jsonl.gz [SNAPSHOTS]`
#![allow(clippy::print_stdout)]

use std::fs::File;
use std::io::Read;
use std::time::{Duration, Instant};

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::replay::{Replay, ReplayOptions, Report};

fn lines(path: &str) -> std::io::Result<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    if path.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes)?;
    } else {
        std::io::BufReader::new(file).read_to_end(&mut bytes)?;
    }
    Ok(bytes.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect())
}

/// Lines between two looks at the clock.
const CHUNK: usize = 64;

/// Replays `runs` times. Each chunk of lines counts with its best time: what it costs always stays
/// in, what other processes cost it drops out.
fn run(
    market: Market,
    stream: &[Vec<u8>],
    snapshots: &[Vec<u8>],
    runs: u32,
) -> Result<Report, Box<dyn std::error::Error>> {
    let mut best = vec![Duration::MAX; stream.len().div_ceil(CHUNK)];
    for run in 1.. {
        let mut replay = Replay::new(ProviderId::BINANCE, market, ReplayOptions::default())?;
        for (index, line) in snapshots.iter().enumerate() {
            replay.snapshot_line(index as u64 + 1, line);
        }
        let mut lines = stream.to_vec();
        for (index, (chunk, best)) in lines.chunks_mut(CHUNK).zip(&mut best).enumerate() {
            let start = Instant::now();
            for (at, line) in chunk.iter_mut().enumerate() {
                replay.line((index * CHUNK + at) as u64 + 1, line);
            }
            *best = (*best).min(start.elapsed());
        }
        if run == runs {
            return Ok(replay.finish(best.iter().sum()));
        }
    }
    Err("no runs".into())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [market, stream, rest @ ..] = args.as_slice() else {
        return Err("usage: replay_speed spot|perp FILE [SNAPSHOTS]".into());
    };
    let market = Market::parse(market).ok_or("market: spot or perp")?;
    let stream = lines(stream)?;
    let snapshots = rest.first().map_or(Ok(Vec::new()), |path| lines(path))?;
    let is_book = |line: &Vec<u8>| memchr::memmem::find(line, b"depthUpdate").is_some();
    let is_trade = |line: &Vec<u8>| {
        memchr::memmem::find(line, b"\"trade\"").is_some()
            || memchr::memmem::find(line, b"aggTrade\"").is_some()
    };
    let books: Vec<Vec<u8>> = stream
        .iter()
        .filter(|line| is_book(line) || memchr::memmem::find(line, b"lastUpdateId").is_some())
        .cloned()
        .collect();
    let levels: usize = books
        .iter()
        .map(|line| memchr::memmem::find_iter(line, b"[\"").count())
        .sum();
    let trades: Vec<Vec<u8>> = stream
        .iter()
        .filter(|line| is_trade(line))
        .cloned()
        .collect();
    let best = |lines: &[Vec<u8>]| run(market, lines, &snapshots, 20);
    let all = best(&stream)?;
    let mut json = all.to_json();
    if let Some(symbols) = json["symbols"].as_object_mut() {
        for row in symbols.values_mut() {
            for key in ["bids", "asks", "klines_1m"] {
                row[key] = row[key].as_array().map_or(0, Vec::len).into();
            }
        }
    }
    println!("{json:#}");
    let books = best(&books)?;
    let trades = best(&trades)?;
    println!(
        "all: {:.2} M messages/s; books: {:.1} M levels/s ({:.1} ns a level); trades: {:.2} M/s",
        all.messages_per_second() / 1e6,
        levels as f64 / books.seconds / 1e6,
        books.seconds * 1e9 / levels as f64,
        trades.messages_per_second() / 1e6,
    );
    Ok(())
}
