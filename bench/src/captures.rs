//! Recorded messages: where they are and what of them a scenario uses.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bookwire_engine::instrument::Market;
use flate2::read::MultiGzDecoder;

/// Digits after the point of the adapter's prices and quantities of these instruments: what the
/// exchange's largest ones leave room for, eight at most.
pub const DIGITS: u8 = 8;

/// A recorded stream of one symbol.
pub struct Capture {
    /// File name without its endings.
    pub name: &'static str,
    /// Product line.
    pub market: Market,
    /// The exchange's symbol.
    pub symbol: &'static str,
    /// Digits after the point of the finest price and quantity in the recording.
    pub scales: (u8, u8),
    /// Depth updates, in order, as received.
    pub depth: Vec<Vec<u8>>,
    /// Trades, in order, as received.
    pub trades: Vec<Vec<u8>>,
    /// The REST snapshot inside the stream.
    pub snapshot: Vec<u8>,
    /// Levels in all depth updates.
    pub levels: usize,
}

const FILES: [(&str, Market, &str, (u8, u8)); 3] = [
    (
        "binance_spot_mixed_btcusdt_20240808",
        Market::Spot,
        "BTCUSDT",
        (2, 6),
    ),
    (
        "binance_usdm_mixed_btcusdt_20240808",
        Market::Perp,
        "BTCUSDT",
        (1, 3),
    ),
    (
        "binance_usdm_mixed_ethusdt_20240718",
        Market::Perp,
        "ETHUSDT",
        (2, 3),
    ),
];

/// The folder of recorded messages: `--captures`, `BOOKWIRE_CAPTURES` or `../shared/captures`.
///
/// # Errors
/// When there is no such folder.
pub fn folder(given: Option<&Path>) -> Result<PathBuf> {
    let folder = given.map(Path::to_owned).unwrap_or_else(|| {
        std::env::var_os("BOOKWIRE_CAPTURES")
            .map_or_else(|| PathBuf::from("../shared/captures"), PathBuf::from)
    });
    anyhow::ensure!(
        folder.is_dir(),
        "no recorded messages in {}: record some with `bookwire record`, or name their folder with \
         --captures or BOOKWIRE_CAPTURES",
        folder.display()
    );
    Ok(folder)
}

/// Loads the recordings that the scenarios use.
///
/// # Errors
/// When one is missing or can't be read.
pub fn load(folder: &Path) -> Result<Vec<Capture>> {
    FILES.iter().map(|file| read(folder, file)).collect()
}

fn read(
    folder: &Path,
    &(name, market, symbol, scales): &(&'static str, Market, &'static str, (u8, u8)),
) -> Result<Capture> {
    let path = folder.join(format!("{name}.jsonl.gz"));
    let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
    let mut capture = Capture {
        name,
        market,
        symbol,
        scales,
        depth: Vec::new(),
        trades: Vec::new(),
        snapshot: Vec::new(),
        levels: 0,
    };
    for line in BufReader::new(MultiGzDecoder::new(file)).split(b'\n') {
        let line = line?;
        let contains = |needle: &[u8]| line.windows(needle.len()).any(|w| w == needle);
        if line.starts_with(b"{\"lastUpdateId\"") {
            capture.snapshot = line;
        } else if contains(b"\"depthUpdate\"") {
            capture.depth.push(line);
        } else if contains(b"\"e\":\"trade\"") {
            capture.trades.push(line);
        }
    }
    capture.levels = count_levels(&capture.depth)?;
    Ok(capture)
}

/// Levels by an independent parse.
fn count_levels(depth: &[Vec<u8>]) -> Result<usize> {
    let mut levels = 0;
    for line in depth {
        let value: serde_json::Value = serde_json::from_slice(line)?;
        for side in ["b", "a"] {
            levels += value["data"][side].as_array().map_or(0, Vec::len);
        }
    }
    Ok(levels)
}
