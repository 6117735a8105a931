//! Replays every recorded Binance stream and compares the report with a second, obvious
//! computation on `serde_json` values and decimals.
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
use bookwire_engine::time::TsNanos;
use rust_decimal::Decimal;
use serde_json::{Value, json};

/// A recorded stream, its file of REST answers, and how many best-price messages carry the
/// sequence number of the delta just applied.
struct Capture {
    stream: &'static str,
    rest: Option<&'static str>,
    market: Market,
    bbo_checks: u64,
}

const fn long(stream: &'static str, market: Market, bbo_checks: u64) -> Capture {
    Capture {
        stream,
        rest: None,
        market,
        bbo_checks,
    }
}

const CAPTURES: [Capture; 6] = [
    long(
        "binance_spot_mixed_btcusdt_20240808.jsonl.gz",
        Market::Spot,
        1072,
    ),
    long(
        "binance_usdm_mixed_btcusdt_20240808.jsonl.gz",
        Market::Perp,
        629,
    ),
    long(
        "binance_usdm_mixed_ethusdt_20240718.jsonl.gz",
        Market::Perp,
        834,
    ),
    long(
        "binance_usdm_mixed_btcusdt_20230404.jsonl.gz",
        Market::Perp,
        310,
    ),
    Capture {
        stream: "binance_spot_mixed_4alts_20210814.jsonl",
        rest: Some("binance_spot_rest_4alts_20210814.jsonl.gz"),
        market: Market::Spot,
        bbo_checks: 96,
    },
    Capture {
        stream: "binance_usdm_mixed_4alts_20210722.jsonl",
        rest: Some("binance_usdm_rest_4alts_20210722.jsonl"),
        market: Market::Perp,
        bbo_checks: 50,
    },
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

fn replay(market: Market, stream: &[Vec<u8>], rest: &[Vec<u8>]) -> Value {
    let mut replay = Replay::new(ProviderId::BINANCE, market, ReplayOptions::default()).unwrap();
    for (index, line) in rest.iter().enumerate() {
        replay.snapshot_line(index as u64 + 1, line);
    }
    for (index, line) in stream.iter().enumerate() {
        replay.line(index as u64 + 1, line);
    }
    replay.finish(Duration::from_secs(1)).to_json()
}

fn decimal(value: &Value) -> Decimal {
    value.as_str().unwrap().parse::<Decimal>().unwrap()
}

fn text(value: Decimal) -> String {
    value.normalize().to_string()
}

/// What the second computation knows of a symbol.
#[derive(Default)]
struct Expected {
    updates: u64,
    trades: u64,
    volume: Decimal,
    bars: BTreeMap<i64, Vec<(Decimal, Decimal)>>,
    snapshot: Option<u64>,
    link: Option<u64>,
    bids: BTreeMap<Decimal, Decimal>,
    asks: BTreeMap<Decimal, Decimal>,
    waiting: Vec<Value>,
}

impl Expected {
    fn lay(&mut self, snapshot: &Value) {
        self.snapshot = snapshot["lastUpdateId"].as_u64();
        self.set(&snapshot["bids"], &snapshot["asks"]);
        for delta in std::mem::take(&mut self.waiting) {
            self.delta(delta);
        }
    }

    fn set(&mut self, bids: &Value, asks: &Value) {
        for (side, rows) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for row in rows.as_array().unwrap() {
                let (price, qty) = (decimal(&row[0]), decimal(&row[1]));
                if qty.is_zero() {
                    side.remove(&price);
                } else {
                    side.insert(price, qty);
                }
            }
        }
    }

    /// Applies what Binance's procedure applies, and demands its continuity on the way.
    fn delta(&mut self, delta: Value) {
        let Some(snapshot) = self.snapshot else {
            self.waiting.push(delta);
            return;
        };
        let [first, last] = ["U", "u"].map(|key| delta[key].as_u64().unwrap());
        let is_old = match delta["pu"].as_u64() {
            None => last <= snapshot,
            Some(_) => last < snapshot,
        };
        if is_old {
            return;
        }
        match (self.link, delta["pu"].as_u64()) {
            (None, None) => assert!(first <= snapshot + 1 && snapshot < last),
            (None, Some(_)) => assert!(first <= snapshot && snapshot <= last),
            (Some(link), None) => assert_eq!(first, link + 1),
            (Some(link), Some(prev)) => assert_eq!(prev, link),
        }
        self.link = Some(last);
        self.set(&delta["b"], &delta["a"]);
    }

    fn trade(&mut self, trade: &Value) {
        let (price, qty) = (decimal(&trade["p"]), decimal(&trade["q"]));
        self.trades += 1;
        self.volume += qty;
        let minute = trade["T"].as_i64().unwrap().div_euclid(60_000);
        self.bars.entry(minute).or_default().push((price, qty));
    }

    fn top<'a>(rows: impl Iterator<Item = (&'a Decimal, &'a Decimal)>) -> Value {
        let rows = rows.take(20);
        rows.map(|(price, qty)| json!([text(*price), text(*qty)]))
            .collect()
    }

    fn bars(&self) -> Value {
        let bar = |(minute, trades): (&i64, &Vec<(Decimal, Decimal)>)| {
            let prices = trades.iter().map(|(price, _)| *price);
            let values = trades.iter().map(|(price, qty)| *price * *qty);
            json!({
                "timestamp": TsNanos::from_ms(minute * 60_000).to_rfc3339_seconds(),
                "open": text(trades[0].0),
                "high": text(prices.clone().max().unwrap()),
                "low": text(prices.min().unwrap()),
                "close": text(trades[trades.len() - 1].0),
                "volume": text(trades.iter().map(|(_, qty)| *qty).sum()),
                "volume_quote": text(values.sum()),
                "trade_count": trades.len(),
            })
        };
        self.bars.iter().map(bar).collect()
    }
}

/// The second computation over a stream whose lines are combined messages or bare snapshots.
fn expected(stream: &[Vec<u8>], rest: &[Vec<u8>]) -> BTreeMap<String, Expected> {
    let mut symbols: BTreeMap<String, Expected> = BTreeMap::new();
    for line in rest {
        let line: Value = serde_json::from_slice(line).unwrap();
        let url = line["url"].as_str().unwrap();
        if !url.contains("depth") {
            continue;
        }
        let code = url.split(['=', '&']).nth(1).unwrap().to_lowercase();
        let snapshot: Value = serde_json::from_str(line["raw"].as_str().unwrap()).unwrap();
        symbols.entry(code).or_default().lay(&snapshot);
    }
    let mut early = None;
    for line in stream {
        let line: Value = serde_json::from_slice(line).unwrap();
        if line["lastUpdateId"].is_u64() {
            assert!(symbols.len() <= 1);
            match symbols.values_mut().next() {
                Some(symbol) => symbol.lay(&line),
                None => early = Some(line),
            }
            continue;
        }
        let message = &line["data"];
        let code = message["s"].as_str().unwrap().to_lowercase();
        let symbol = symbols.entry(code).or_default();
        if let Some(snapshot) = early.take() {
            symbol.lay(&snapshot);
        }
        let stream = line["stream"].as_str().unwrap();
        match stream.split('@').nth(1) {
            Some("depth") => {
                symbol.updates += 1;
                symbol.delta(message.clone());
            }
            Some("trade" | "aggTrade") => symbol.trade(message),
            _ => {}
        }
    }
    symbols
}

#[test]
fn every_stream_is_read_exactly() {
    let Some(folder) = captures() else { return };
    for capture in &CAPTURES {
        let name = capture.stream;
        let stream = lines(&folder.join(name));
        let rest = capture
            .rest
            .map_or_else(Vec::new, |rest| lines(&folder.join(rest)));
        let report = replay(capture.market, &stream, &rest);
        assert_eq!(report["errors"], json!([]), "{name}");
        assert_eq!(report["messages"], json!(stream.len()), "{name}");
        for unread in ["skipped", "unknown_symbols", "other_answers", "control"] {
            assert_eq!(report[unread], json!(0), "{name}: {unread}");
        }
        let expected = expected(&stream, &rest);
        let symbols = report["symbols"].as_object().unwrap();
        assert!(symbols.keys().eq(expected.keys()), "{name}");
        let mut bbo_checks = 0;
        for (code, expected) in &expected {
            check_symbol(&format!("{name}: {code}"), &symbols[code], expected);
            bbo_checks += symbols[code]["bbo_checks"].as_u64().unwrap();
        }
        assert_eq!(bbo_checks, capture.bbo_checks, "{name}: best-price checks");
    }
}

fn check_symbol(place: &str, found: &Value, expected: &Expected) {
    assert_eq!(found["synced"], json!(true), "{place}");
    assert_eq!(found["epoch"], json!(1), "{place}");
    for none in [
        "gaps",
        "crossed",
        "checksum_failures",
        "bbo_mismatches",
        "trades_duplicate",
        "trades_other_kind",
        "trades_refused",
    ] {
        assert_eq!(found[none], json!(0), "{place}: {none}");
    }
    assert_eq!(found["updates"], json!(expected.updates), "{place}");
    assert_eq!(found["trades"], json!(expected.trades), "{place}");
    assert_eq!(found["volume"], json!(text(expected.volume)), "{place}");
    // A book without a delta behind its snapshot stands at the snapshot.
    let sequence = expected.link.or(expected.snapshot);
    assert_eq!(found["sequence"], json!(sequence), "{place}");
    let bids = Expected::top(expected.bids.iter().rev());
    assert_eq!(found["bids"], bids, "{place}");
    let asks = Expected::top(expected.asks.iter());
    assert_eq!(found["asks"], asks, "{place}");
    assert_eq!(found["klines_1m"], expected.bars(), "{place}");
}

#[test]
fn a_stream_without_snapshot_never_yields_a_book() {
    let Some(folder) = captures() else { return };
    for capture in &CAPTURES {
        let mut stream = lines(&folder.join(capture.stream));
        stream.retain(|line| !line.starts_with(b"{\"lastUpdateId\""));
        let report = replay(capture.market, &stream, &[]);
        assert_eq!(report["errors"], json!([]), "{}", capture.stream);
        for (code, found) in report["symbols"].as_object().unwrap() {
            assert_eq!(found["synced"], json!(false), "{code}");
            assert_eq!(found["epoch"], json!(0), "{code}");
            assert_eq!(found["bids"], json!([]), "{code}");
            assert_eq!(found["asks"], json!([]), "{code}");
            assert_eq!(found["bbo_checks"], json!(0), "{code}");
            assert_eq!(found["gaps"], json!(0), "{code}");
            assert!(found["updates"].as_u64() > Some(0), "{code}");
        }
    }
}

/// A delta taken out is one gap, and the book of its symbol is gone from there on.
#[test]
fn a_lost_line_is_one_gap_and_no_book() {
    let Some(folder) = captures() else { return };
    for capture in &CAPTURES[..4] {
        let mut stream = lines(&folder.join(capture.stream));
        let is_delta = |line: &[u8]| String::from_utf8_lossy(line).contains("depthUpdate");
        let deltas: Vec<usize> = (0..stream.len())
            .filter(|index| is_delta(&stream[*index]))
            .collect();
        stream.remove(deltas[deltas.len() / 2]);
        let report = replay(capture.market, &stream, &[]);
        for found in report["symbols"].as_object().unwrap().values() {
            assert_eq!(found["gaps"], json!(1), "{}", capture.stream);
            assert_eq!(found["synced"], json!(false), "{}", capture.stream);
            assert_eq!(found["bids"], json!([]), "{}", capture.stream);
            assert_eq!(found["bbo_mismatches"], json!(0), "{}", capture.stream);
        }
    }
}

/// The forms in which a message may be recorded all read the same.
#[test]
fn wrapped_lines_read_like_bare_ones() {
    let Some(folder) = captures() else { return };
    let stream = lines(&folder.join(CAPTURES[3].stream));
    let message = |line: &[u8]| String::from_utf8(line.to_vec()).unwrap();
    let bare = |line: &[u8]| -> Vec<u8> {
        let text = message(line);
        match text.find("\"data\":") {
            Some(at) => text.as_bytes()[at + 7..text.len() - 1].to_vec(),
            None => line.to_vec(),
        }
    };
    type Form<'a> = &'a dyn Fn(&[u8]) -> Vec<u8>;
    let forms: [(&str, Form<'_>); 6] = [
        ("without the combined wrapper", &bare),
        ("with a line end", &|line| [line, b"\r\n"].concat()),
        ("as an object", &|line| {
            format!("{{\"recv_ts\":1680652700430123,\"raw\":{}}}", message(line)).into_bytes()
        }),
        ("as an object, spaced", &|line| {
            format!("{{ \"recv_ts\": 1.5, \"raw\" : {} }}", message(line)).into_bytes()
        }),
        ("as an object with more keys", &|line| {
            format!("{{\"recv_ts\":1,\"raw\":{},\"x\":{{}}}}", message(line)).into_bytes()
        }),
        ("as a string", &|line| {
            json!({ "recv_ts": 1, "raw": message(line) })
                .to_string()
                .into_bytes()
        }),
    ];
    let expected = replay(Market::Perp, &stream, &[]);
    for (name, form) in forms {
        let wrapped: Vec<Vec<u8>> = stream.iter().map(|line| form(line)).collect();
        let found = replay(Market::Perp, &wrapped, &[]);
        assert_eq!(found["errors"], json!([]), "{name}");
        assert_eq!(found["messages"], expected["messages"], "{name}");
        assert_eq!(found["symbols"], expected["symbols"], "{name}");
    }
}
