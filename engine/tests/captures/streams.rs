//! Every recorded stream of every exchange through `replay`, against a table of exact counts.
//!
//! What the messages mean is compared elsewhere (`replay_captures`, `replay_bybit`, the tests of
//! each exchange); here nothing may be left out, a recording that is not in the table included.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::book::sync::{DeltaOutcome, SyncedBook};
use bookwire_engine::event::{BookSide, Control, Event, EventSink, Skipped};
use bookwire_engine::exchange::{Continuity, EXCHANGES, ProviderId};
use bookwire_engine::instrument::{InstrumentId, InstrumentTable, Market};
use bookwire_engine::replay::{Replay, ReplayOptions};
use serde_json::{Value, json};

use crate::support::{BYBIT_LIST, OKX_LIST, captures, instrument, lines};

/// What a stream's file holds and what becomes of it.
struct Stream {
    file: &'static str,
    provider: &'static str,
    market: Market,
    /// Files of REST answers that belong to it.
    rest: &'static [&'static str],
    messages: u64,
    /// Acknowledgements, subscription lists, heartbeats.
    control: u64,
    /// Messages that are left out, for the reason that stands beside the row.
    skipped: u64,
    /// Per symbol: deltas, images and snapshots, trades, and whether a book is trusted at the end.
    symbols: &'static [(&'static str, u64, u64, u64, bool)],
}

const STREAMS: &[Stream] = &[
    Stream {
        file: "binance_spot_mixed_4alts_20210814.jsonl",
        provider: "binance",
        market: Market::Spot,
        rest: &["binance_spot_rest_4alts_20210814.jsonl.gz"],
        messages: 1003,
        control: 0,
        skipped: 0,
        symbols: &[
            ("badgerbtc", 78, 1, 0, true),
            ("ftmusdt", 229, 1, 13, true),
            ("sxpbtc", 101, 1, 12, true),
            ("xmrbtc", 138, 1, 3, true),
        ],
    },
    Stream {
        file: "binance_spot_mixed_btcusdt_20240808.jsonl.gz",
        provider: "binance",
        market: Market::Spot,
        rest: &[],
        messages: 99_574,
        control: 0,
        skipped: 0,
        symbols: &[("btcusdt", 6495, 1, 19_904, true)],
    },
    Stream {
        file: "binance_usdm_mixed_4alts_20210722.jsonl",
        provider: "binance",
        market: Market::Perp,
        rest: &["binance_usdm_rest_4alts_20210722.jsonl"],
        messages: 1535,
        control: 0,
        skipped: 0,
        symbols: &[
            ("akrousdt", 189, 1, 8, true),
            ("ctkusdt", 185, 1, 38, true),
            ("keepusdt", 135, 1, 5, true),
            ("sushiusdt", 255, 1, 40, true),
        ],
    },
    Stream {
        file: "binance_usdm_mixed_btcusdt_20230404.jsonl.gz",
        provider: "binance",
        market: Market::Perp,
        rest: &[],
        messages: 13_384,
        control: 0,
        skipped: 0,
        symbols: &[("btcusdt", 4322, 1, 2197, true)],
    },
    Stream {
        file: "binance_usdm_mixed_btcusdt_20240808.jsonl.gz",
        provider: "binance",
        market: Market::Perp,
        rest: &[],
        messages: 93_954,
        control: 0,
        skipped: 0,
        symbols: &[("btcusdt", 6551, 1, 21_313, true)],
    },
    Stream {
        file: "binance_usdm_mixed_ethusdt_20240718.jsonl.gz",
        provider: "binance",
        market: Market::Perp,
        rest: &[],
        messages: 69_913,
        control: 0,
        skipped: 0,
        symbols: &[("ethusdt", 8929, 1, 13_655, true)],
    },
    Stream {
        // Best prices alone: there is no book to trust.
        file: "bybit_linear_l1_20250613.jsonl",
        provider: "bybit",
        market: Market::Perp,
        rest: &[],
        messages: 73,
        control: 0,
        skipped: 0,
        symbols: &[("aiozusdt", 0, 0, 0, false), ("bandusdt", 0, 0, 0, false)],
    },
    Stream {
        // 17 acknowledgements of requests without ids, 282 changes of a ticker that touch neither
        // mark price nor funding.
        file: "bybit_linear_mixed_btcusdt_dogeusdt_20260809.jsonl",
        provider: "bybit",
        market: Market::Perp,
        rest: &[BYBIT_LIST],
        messages: 1227,
        control: 0,
        skipped: 299,
        symbols: &[
            ("btcusdt", 413, 1, 56, true),
            ("dogeusdt", 379, 1, 83, true),
        ],
    },
    Stream {
        file: "bybit_spot_l1_20250613.jsonl",
        provider: "bybit",
        market: Market::Spot,
        rest: &[],
        messages: 98,
        control: 0,
        skipped: 0,
        symbols: &[
            ("arbusdc", 0, 0, 0, false),
            ("cpoolusdt", 0, 0, 0, false),
            ("opusdc", 0, 0, 0, false),
        ],
    },
    Stream {
        // 7 acknowledgements of requests without ids, 41 tickers of a market without funding.
        file: "bybit_spot_mixed_btcusdt_20260809.jsonl",
        provider: "bybit",
        market: Market::Spot,
        rest: &[BYBIT_LIST],
        messages: 374,
        control: 0,
        skipped: 48,
        symbols: &[("btcusdt", 299, 1, 11, true)],
    },
    Stream {
        // 14 heartbeats and 5 lists of subscriptions; two subscriptions to bars begin with 100 bars
        // of history each.
        file: "coinbase_advtrade_mixed_20260809_part1.jsonl.gz",
        provider: "coinbase",
        market: Market::Spot,
        rest: &["coinbase_advtrade_rest_products_20260809.jsonl.gz"],
        messages: 618,
        control: 19,
        skipped: 200,
        symbols: &[("btcusd", 229, 1, 36, true), ("ethusd", 221, 1, 21, true)],
    },
    Stream {
        // Another interface, which is not served: its books have no sequence without a key, so that
        // none of them could be trusted. All of it is told apart and counted.
        file: "coinbase_exchange_mixed_20210417.jsonl",
        provider: "coinbase",
        market: Market::Spot,
        rest: &[],
        messages: 4771,
        control: 0,
        skipped: 4771,
        symbols: &[],
    },
    Stream {
        // 12 tickers of the day. The client subscribed twice: two images a book.
        file: "okx_spot_mixed_20220228.jsonl",
        provider: "okx",
        market: Market::Spot,
        rest: &[OKX_LIST],
        messages: 2251,
        control: 18,
        skipped: 12,
        symbols: &[
            ("elonusdt", 1600, 2, 3, true),
            ("propseth", 206, 2, 1, true),
            ("zenusdt", 394, 2, 11, true),
        ],
    },
    Stream {
        file: "okx_swap_mixed_20220228.jsonl",
        provider: "okx",
        market: Market::Perp,
        rest: &[OKX_LIST],
        messages: 1347,
        control: 6,
        skipped: 2,
        symbols: &[("uni-usd-swap", 1335, 2, 2, true)],
    },
];

fn is_stream(name: &str) -> bool {
    let is_lines = name.ends_with(".jsonl") || name.ends_with(".jsonl.gz");
    let is_sent = name.contains("_sent.");
    is_lines && !is_sent && (name.contains("_mixed_") || name.contains("_l1_"))
}

fn replay(folder: &Path, row: &Stream) -> Value {
    replay_lines(folder, row, &lines(&folder.join(row.file)))
}

fn replay_lines(folder: &Path, row: &Stream, stream: &[Vec<u8>]) -> Value {
    let provider = ProviderId::parse(row.provider).unwrap();
    let options = ReplayOptions {
        depth: 1_000,
        ..ReplayOptions::default()
    };
    let mut replay = Replay::new(provider, row.market, options).unwrap();
    for rest in row.rest {
        for (line, number) in lines(&folder.join(rest)).iter().zip(1..) {
            replay.snapshot_line(number, line);
        }
    }
    for (line, number) in stream.iter().zip(1..) {
        replay.line(number, line);
    }
    replay.finish(Duration::from_secs(1)).to_json()
}

#[test]
fn every_recorded_stream_is_in_the_table() {
    let Some(folder) = captures() else { return };
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut found: Vec<String> = names.filter(|name| is_stream(name)).collect();
    found.sort_unstable();
    let mut known: Vec<&str> = STREAMS.iter().map(|row| row.file).collect();
    known.sort_unstable();
    assert_eq!(found, known);
    // What is behind a bridge speaks a protocol of ours.
    for exchange in EXCHANGES.iter().filter(|one| one.bridge().is_none()) {
        let has_stream = STREAMS.iter().any(|row| row.provider == exchange.name());
        assert!(has_stream, "{} has no recording", exchange.name());
    }
}

#[test]
fn every_recorded_stream_replays_without_an_error_or_a_gap() {
    let Some(folder) = captures() else { return };
    for row in STREAMS {
        let report = replay(&folder, row);
        let file = row.file;
        assert_eq!(report["errors"], json!([]), "{file}");
        for (name, expected) in [
            ("messages", row.messages),
            ("control", row.control),
            ("skipped", row.skipped),
            ("unknown_symbols", 0),
            ("other_answers", 0),
        ] {
            assert_eq!(report[name], json!(expected), "{file}: {name}");
        }
        let mut found = Vec::new();
        for (code, symbol) in report["symbols"].as_object().unwrap() {
            for none in ["gaps", "crossed", "checksum_failures", "bbo_mismatches"] {
                assert_eq!(symbol[none], json!(0), "{file}: {code}: {none}");
            }
            for none in ["trades_duplicate", "trades_other_kind", "trades_refused"] {
                assert_eq!(symbol[none], json!(0), "{file}: {code}: {none}");
            }
            let count = |name: &str| symbol[name].as_u64().unwrap();
            found.push((
                code.as_str(),
                count("updates"),
                count("snapshots"),
                count("trades"),
                symbol["synced"] == true,
            ));
        }
        assert_eq!(found, row.symbols, "{file}");
    }
}

fn row(file: &str) -> &'static Stream {
    STREAMS.iter().find(|row| row.file == file).unwrap()
}

/// The checks of the table can fail: a digit of a quantity that is changed is noticed by the
/// exchange's checksum at that very line, in every book.
#[test]
fn a_changed_quantity_fails_the_checksum() {
    let Some(folder) = captures() else { return };
    for (file, code) in [
        ("okx_spot_mixed_20220228.jsonl", "zenusdt"),
        ("okx_swap_mixed_20220228.jsonl", "uni-usd-swap"),
    ] {
        let row = row(file);
        let mut stream = lines(&folder.join(file));
        let symbol = format!("\"{code}\"")
            .to_uppercase()
            .replace("ZENUSDT", "ZEN-USDT");
        let is_image = |line: &&mut Vec<u8>| {
            let text = String::from_utf8_lossy(line);
            text.contains("\"snapshot\"") && text.contains(&symbol)
        };
        // The second image, which the changes follow.
        let image = stream.iter_mut().filter(is_image).last().unwrap();
        let mut message: Value = serde_json::from_slice(image).unwrap();
        let qty = &mut message["data"][0]["bids"][0][1];
        *qty = json!(format!("9{}", qty.as_str().unwrap()));
        *image = message.to_string().into_bytes();
        let report = replay_lines(&folder, row, &stream);
        let found = &report["symbols"][code];
        assert_eq!(found["checksum_failures"], json!(1), "{file}");
        assert_eq!(found["synced"], json!(false), "{file}");
        assert_eq!(found["bids"], json!([]), "{file}");
    }
}

/// Coinbase counts the frames of a connection: whichever is missing, every product's book is gone,
/// those that the lost frame was not about included.
#[test]
fn a_lost_coinbase_frame_costs_every_book_of_the_connection() {
    let Some(folder) = captures() else { return };
    let row = row("coinbase_advtrade_mixed_20260809_part1.jsonl.gz");
    let stream = lines(&folder.join(row.file));
    let last_of = |word: &str| {
        let is_it =
            |line: &Vec<u8>| line.len() < 100_000 && String::from_utf8_lossy(line).contains(word);
        stream[..stream.len() - 1].iter().rposition(is_it).unwrap()
    };
    for lost in [
        "\"heartbeats\"",
        "\"market_trades\"",
        "\"candles\"",
        "\"l2_data\"",
    ] {
        let mut stream = stream.clone();
        stream.remove(last_of(lost));
        let report = replay_lines(&folder, row, &stream);
        for (code, found) in report["symbols"].as_object().unwrap() {
            assert_eq!(found["gaps"], json!(1), "{code} without {lost}");
            assert_eq!(found["synced"], json!(false), "{code} without {lost}");
            assert_eq!(found["asks"], json!([]), "{code} without {lost}");
        }
        assert_eq!(report["symbols"].as_object().unwrap().len(), 2);
    }
}

/// Books of a decoder's events, and how often both sides had their full depth.
struct Books {
    rule: Continuity,
    books: BTreeMap<InstrumentId, SyncedBook>,
    full: u64,
}

impl EventSink for Books {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        let rule = self.rule;
        let book = self
            .books
            .entry(id)
            .or_insert_with(|| SyncedBook::new(rule));
        match event {
            Event::BookImage(image) => book.on_image(&image).unwrap(),
            Event::Book(delta) => assert_eq!(book.on_delta(&delta), DeltaOutcome::Applied),
            _ => return,
        }
        let book = book.book().expect("a trusted book");
        let levels = [BookSide::Bid, BookSide::Ask].map(|side| book.len(side));
        assert_eq!(levels, [200, 200], "after {} messages", self.full);
        self.full += 1;
    }

    fn control(&mut self, control: Control) {
        panic!("{control:?}");
    }

    fn skipped(&mut self, kind: Skipped) {
        assert_eq!(kind, Skipped::UnknownKind);
    }
}

/// Bybit tells what leaves the window, so that a book of 200 levels has 200 after every message.
#[test]
fn bybit_books_hold_exactly_the_depth_of_their_topic_after_every_message() {
    let Some(folder) = captures() else { return };
    let bybit = ProviderId::BYBIT;
    for (file, symbols, messages) in [
        (
            "bybit_spot_mixed_btcusdt_20260809.jsonl",
            &["BTCUSDT"][..],
            300,
        ),
        (
            "bybit_linear_mixed_btcusdt_dogeusdt_20260809.jsonl",
            &["BTCUSDT", "DOGEUSDT"],
            794,
        ),
    ] {
        let market = row(file).market;
        let specs = symbols.iter().map(|name| instrument(bybit, market, name));
        let table = InstrumentTable::default().with_market(bybit, market, specs.collect());
        let mut decoder = bybit.exchange().decoder(market, Arc::new(table));
        let mut books = Books {
            rule: bybit.exchange().continuity(market),
            books: BTreeMap::new(),
            full: 0,
        };
        for line in lines(&folder.join(file)) {
            decoder.decode(&line, &mut books).unwrap();
        }
        assert_eq!(books.full, messages, "{file}");
    }
}
