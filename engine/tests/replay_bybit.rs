//! Replays every recorded Bybit stream, with and without the list of instruments, and compares the
//! report with a count on `serde_json` values.
//!
//! The recordings are found through `BOOKWIRE_CAPTURES` (default: `../shared/captures` beside the
//! workspace). Without them the test says that it was skipped, unless
//! `BOOKWIRE_REQUIRE_CAPTURES=1` makes that a failure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::replay::{Replay, ReplayOptions};
use serde_json::{Value, json};

const CAPTURES: [(&str, Market); 4] = [
    ("bybit_spot_mixed_btcusdt_20260809.jsonl", Market::Spot),
    (
        "bybit_linear_mixed_btcusdt_dogeusdt_20260809.jsonl",
        Market::Perp,
    ),
    ("bybit_spot_l1_20250613.jsonl", Market::Spot),
    ("bybit_linear_l1_20250613.jsonl", Market::Perp),
];

/// The folder of the recordings; `None` (said on stderr) when there is none.
fn captures() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("BOOKWIRE_CAPTURES")
        .map_or_else(|| workspace.join("../shared/captures"), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let is_required = std::env::var("BOOKWIRE_REQUIRE_CAPTURES").is_ok_and(|value| value == "1");
    assert!(!is_required, "no recordings in {}", folder.display());
    eprintln!("skipped: no recordings in {}", folder.display());
    None
}

fn lines(path: &Path) -> Vec<Vec<u8>> {
    let mut bytes = std::fs::read(path).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let packed = std::mem::take(&mut bytes);
        let mut reader = flate2::read::MultiGzDecoder::new(&packed[..]);
        reader.read_to_end(&mut bytes).unwrap();
    }
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
    lines.filter(|line| !line.is_empty()).collect()
}

/// The instrument list of the streams' market, as it was recorded.
fn list(folder: &Path, market: Market) -> Vec<Vec<u8>> {
    let category: &[u8] = match market {
        Market::Spot => b"category=spot",
        Market::Perp => b"category=linear",
    };
    let mut rows = lines(&folder.join("bybit_rest_instruments_20260809.jsonl.gz"));
    rows.retain(|row| row.windows(category.len()).any(|part| part == category));
    assert_eq!(rows.len(), 1);
    rows
}

fn replay(market: Market, stream: &[Vec<u8>], rest: &[Vec<u8>]) -> Value {
    let options = ReplayOptions {
        depth: 1_000,
        ..ReplayOptions::default()
    };
    let mut replay = Replay::new(ProviderId::BYBIT, market, options).unwrap();
    for (index, line) in rest.iter().enumerate() {
        replay.snapshot_line(index as u64 + 1, line);
    }
    for (index, line) in stream.iter().enumerate() {
        replay.line(index as u64 + 1, line);
    }
    replay.finish(Duration::from_secs(1)).to_json()
}

/// What a recording holds of a symbol.
#[derive(Default)]
struct Expected {
    deltas: u64,
    trades: u64,
    has_book: bool,
    last_update: u64,
}

fn expected(stream: &[Vec<u8>]) -> BTreeMap<String, Expected> {
    let mut symbols: BTreeMap<String, Expected> = BTreeMap::new();
    for line in stream {
        let message: Value = serde_json::from_slice(line).unwrap();
        let Some(topic) = message["topic"].as_str() else {
            continue;
        };
        let code = topic.rsplit('.').next().unwrap().to_lowercase();
        let symbol = symbols.entry(code).or_default();
        match topic.split('.').collect::<Vec<_>>()[..] {
            ["orderbook", "200", _] => {
                symbol.has_book = true;
                symbol.deltas += u64::from(message["type"] == "delta");
                symbol.last_update = message["data"]["u"].as_u64().unwrap();
            }
            ["publicTrade", _] => symbol.trades += message["data"].as_array().unwrap().len() as u64,
            _ => {}
        }
    }
    symbols
}

#[test]
fn every_stream_is_read_without_an_error_or_a_gap() {
    let Some(folder) = captures() else { return };
    for (file, market) in CAPTURES {
        let stream = lines(&folder.join(file));
        // Learned symbols have the scales of eight digits, listed ones their own.
        for rest in [Vec::new(), list(&folder, market)] {
            let report = replay(market, &stream, &rest);
            assert_eq!(report["errors"], json!([]), "{file}");
            assert_eq!(report["messages"], json!(stream.len()), "{file}");
            assert_eq!(report["unknown_symbols"], json!(0), "{file}");
            for (code, expected) in expected(&stream) {
                let found = &report["symbols"][&code];
                let place = format!("{file}: {code}");
                assert_eq!(found["synced"], json!(expected.has_book), "{place}");
                for none in ["gaps", "crossed", "trades_duplicate", "trades_refused"] {
                    assert_eq!(found[none], json!(0), "{place}: {none}");
                }
                assert_eq!(found["trades"], json!(expected.trades), "{place}");
                let levels = if expected.has_book { 200 } else { 0 };
                for side in ["bids", "asks"] {
                    assert_eq!(found[side].as_array().unwrap().len(), levels, "{place}");
                }
                if expected.has_book {
                    assert_eq!(found["updates"], json!(expected.deltas), "{place}");
                    assert_eq!(found["sequence"], json!(expected.last_update), "{place}");
                }
            }
        }
    }
}

/// A delta taken out is one gap, and the book is gone from there on: another image never came.
#[test]
fn a_lost_line_is_one_gap_and_no_book() {
    let Some(folder) = captures() else { return };
    let (file, market) = CAPTURES[0];
    let mut stream = lines(&folder.join(file));
    let is_delta = |line: &Vec<u8>| {
        let text = String::from_utf8_lossy(line);
        text.contains("orderbook.200") && text.contains("\"delta\"")
    };
    let deltas: Vec<usize> = (0..stream.len())
        .filter(|at| is_delta(&stream[*at]))
        .collect();
    stream.remove(deltas[deltas.len() / 2]);
    let report = replay(market, &stream, &[]);
    let found = &report["symbols"]["btcusdt"];
    assert_eq!(
        (&found["gaps"], &found["synced"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(found["bids"], json!([]));
}
