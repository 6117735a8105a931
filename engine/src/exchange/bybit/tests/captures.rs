//! Every recorded message decodes, there are as many of each kind as the manifest says, and books
//! hold exactly what their topic promises.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::event::{BookLevel, Event, Skipped};
use crate::exchange::{DecodeError, Exchange as _};
use crate::instrument::{InstrumentTable, Market};

use super::super::Bybit;
use super::{Seen, StreamDecoder, capture, decode, instrument, lines, spec, table_of, wrapped};

/// The instruments of the list recorded with the streams.
fn listed(market: Market) -> Option<Arc<InstrumentTable>> {
    let rows = wrapped(&capture("bybit_rest_instruments_20260809.jsonl.gz")?);
    let category = match market {
        Market::Spot => "category=spot",
        Market::Perp => "category=linear",
    };
    let row = rows.into_iter().find(|row| row.url.contains(category))?;
    let (specs, _) = Bybit
        .parse_instruments(market, &[row.raw.into_bytes()])
        .unwrap();
    Some(table_of(market, specs))
}

/// A book as its messages make it, price for price.
#[derive(Default)]
struct Plain {
    update: u64,
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Plain {
    fn set(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels {
                match level.qty.0 {
                    0 => side.remove(&level.price.0),
                    qty => side.insert(level.price.0, qty),
                };
            }
        }
    }
}

fn kind_of(seen: &Seen) -> &'static str {
    match seen {
        Seen::Book(_, Event::BookImage(_), ..) => "image",
        Seen::Book(..) => "delta",
        Seen::Event(_, Event::Trade(_)) => "trade",
        Seen::Event(_, Event::Kline(_)) => "kline",
        Seen::Event(_, Event::Ticker(_)) => "ticker",
        Seen::Event(_, Event::Funding(_)) => "funding",
        Seen::Event(..) => "book",
        Seen::Control(_) => "control",
        Seen::Skipped(_) => "skipped",
    }
}

#[test]
fn recordings_decode_whole() {
    let Some(manifest) = capture("manifest.json") else {
        return;
    };
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    for (file, market) in [
        ("bybit_spot_mixed_btcusdt_20260809.jsonl", Market::Spot),
        (
            "bybit_linear_mixed_btcusdt_dogeusdt_20260809.jsonl",
            Market::Perp,
        ),
        ("bybit_spot_l1_20250613.jsonl", Market::Spot),
        ("bybit_linear_l1_20250613.jsonl", Market::Perp),
    ] {
        let text = capture(file).unwrap();
        let mut decoder = StreamDecoder::new(market, listed(market).unwrap());
        let mut messages: BTreeMap<String, u64> = BTreeMap::new();
        for (number, line) in lines(&text).enumerate() {
            let place = format!("{file} line {}", number + 1);
            let raw: Value = serde_json::from_slice(line).unwrap();
            let (seen, answer) = decode(&mut decoder, line);
            assert_eq!(answer, Ok(()), "{place}");
            let kinds: Vec<&str> = seen.iter().map(kind_of).collect();
            let Some(topic) = raw["topic"].as_str() else {
                // The recorder's requests had no ids.
                assert_eq!(kinds, ["skipped"], "{place}");
                *messages.entry("ack/other".to_owned()).or_default() += 1;
                continue;
            };
            let kind = raw["type"].as_str().unwrap();
            let items = raw["data"].as_array().map_or(1, Vec::len);
            let channel = topic.split('.').next().unwrap();
            match (channel, kind) {
                ("orderbook", _) if topic.starts_with("orderbook.1.") => {
                    assert_eq!(kinds, ["ticker"], "{place}");
                }
                ("orderbook", "snapshot") => assert_eq!(kinds, ["image"], "{place}"),
                ("orderbook", _) => assert_eq!(kinds, ["delta"], "{place}"),
                ("publicTrade", _) => assert_eq!(kinds, vec!["trade"; items], "{place}"),
                ("kline", _) => assert_eq!(kinds, vec!["kline"; items], "{place}"),
                ("tickers", _) => {
                    let ours = ["markPrice", "indexPrice", "fundingRate", "nextFundingTime"];
                    let is_told = ours.iter().any(|name| raw["data"].get(name).is_some());
                    let expected = ["skipped", "funding"][usize::from(is_told)];
                    assert_eq!(kinds, [expected], "{place}");
                }
                _ => panic!("{place}: {topic}"),
            }
            *messages.entry(format!("{channel}:{kind}")).or_default() += 1;
        }
        let row = manifest.iter().find(|row| row["file"] == file).unwrap();
        let expected: BTreeMap<String, u64> =
            serde_json::from_value(row["verify"]["kinds"].clone()).unwrap();
        assert_eq!(messages, expected, "{file}");
    }
}

/// The exchange sends removals of what leaves the window, so that a book of 200 levels has 200
/// after every message without being cut.
#[test]
fn books_hold_exactly_the_depth_of_their_topic() {
    for (file, market, messages) in [
        ("bybit_spot_mixed_btcusdt_20260809.jsonl", Market::Spot, 300),
        (
            "bybit_linear_mixed_btcusdt_dogeusdt_20260809.jsonl",
            Market::Perp,
            794,
        ),
    ] {
        let (Some(text), Some(table)) = (capture(file), listed(market)) else {
            return;
        };
        let mut decoder = StreamDecoder::new(market, table);
        let mut books: BTreeMap<u32, Plain> = BTreeMap::new();
        let mut checks = 0;
        for (number, line) in lines(&text).enumerate() {
            let (seen, _) = decode(&mut decoder, line);
            let Some(Seen::Book(id, event, bids, asks)) = seen.first() else {
                continue;
            };
            let place = format!("{file} line {}", number + 1);
            let book = books.entry(id.0).or_default();
            match event {
                Event::BookImage(image) => {
                    *book = Plain::default();
                    book.update = image.seq;
                }
                Event::Book(delta) => {
                    assert_eq!(delta.first_seq, book.update + 1, "{place}");
                    book.update = delta.last_seq;
                }
                _ => panic!("{place}"),
            }
            book.set(bids, asks);
            assert_eq!((book.bids.len(), book.asks.len()), (200, 200), "{place}");
            let best = (book.bids.last_key_value(), book.asks.first_key_value());
            assert!(best.0.unwrap().0 < best.1.unwrap().0, "{place}: crossed");
            checks += 1;
        }
        assert_eq!(checks, messages, "{file}");
    }
}

/// Instruments of the documentation's examples.
fn documented(market: Market) -> Arc<InstrumentTable> {
    let bases = ["BTC", "ETH"].into_iter();
    let specs = bases.map(|base| spec(market, base, "USDT", 6, 6)).collect();
    table_of(market, specs)
}

/// What a public message must come to, by its name and topic.
fn expected(name: &str, topic: &str, market: Market) -> &'static str {
    let is_listed = ["BTCUSDT", "ETHUSDT"].contains(&topic.rsplit('.').next().unwrap());
    match (name, topic.split('.').next().unwrap()) {
        (_, "publicTrade") => "trade",
        (_, "tickers") if !is_listed => "skipped UnknownSymbol",
        (_, "tickers") if market == Market::Spot => "skipped UnknownKind",
        (_, "tickers") => "funding",
        // Liquidations, price limits, maintenance, and everything of an account.
        _ => "skipped UnknownKind",
    }
}

#[test]
fn stream_fixtures_decode_or_are_left_out_for_a_reason() {
    let Some(text) = capture("bybit_fixtures.jsonl") else {
        return;
    };
    let mut checked: BTreeMap<&str, u32> = BTreeMap::new();
    let mut decoders = [Market::Spot, Market::Perp]
        .map(|market| (market, StreamDecoder::new(market, documented(market))));
    for row in wrapped(&text) {
        let raw: Value = serde_json::from_str(&row.raw).unwrap();
        if row.kind == "ws_ack" && raw.get("success").is_some() {
            for (market, decoder) in &mut decoders {
                let (seen, answer) = decode(decoder, row.raw.as_bytes());
                let place = format!("{market} {}", row.name);
                // Their ids are placeholders: none of ours.
                let is_left_out = seen == [Seen::Skipped(Skipped::UnknownKind)];
                assert!(answer.is_ok() && is_left_out, "{place} {seen:?} {answer:?}");
            }
            *checked.entry("acks").or_default() += 1;
        }
        if row.kind != "ws_message" {
            continue;
        }
        let Some(topic) = raw["topic"].as_str() else {
            // Answers of the order entry interface, which has another form.
            for (market, decoder) in &mut decoders {
                let (seen, answer) = decode(decoder, row.raw.as_bytes());
                let refused = Err(DecodeError::Field { field: "topic" });
                assert_eq!((seen, answer), (vec![], refused), "{market} {}", row.name);
            }
            *checked.entry("order entry").or_default() += 1;
            continue;
        };
        for (market, decoder) in &mut decoders {
            // A spot ticker has no fields of funding: on linear nothing would come of it.
            let is_other_market = row.name.contains("/Spot/") && *market == Market::Perp;
            if is_other_market && topic.starts_with("tickers") {
                continue;
            }
            let (seen, answer) = decode(decoder, row.raw.as_bytes());
            assert_eq!(answer, Ok(()), "{market} {}: {}", row.name, row.raw);
            let found = match &seen[0] {
                Seen::Skipped(reason) => format!("skipped {reason:?}"),
                seen => kind_of(seen).to_owned(),
            };
            let expected = expected(&row.name, topic, *market);
            assert_eq!(found, expected, "{market} {}: {}", row.name, row.raw);
        }
        *checked.entry("messages").or_default() += 1;
    }
    // As many as the file has of each.
    println!("{checked:?}");
    assert!(checked["messages"] >= 25 && checked["acks"] >= 10 && checked["order entry"] == 3);
}

#[test]
fn rest_fixtures_of_market_data_are_read() {
    let Some(text) = capture("bybit_fixtures.jsonl") else {
        return;
    };
    let linear = instrument(spec(Market::Perp, "BTC", "USDT", 8, 8));
    let mut read = Vec::new();
    for row in wrapped(&text) {
        let body = row.raw.clone().into_bytes();
        let name = row.name.rsplit('/').next().unwrap();
        let Some(path) = row.path.filter(|path| path.starts_with("/v5/market/")) else {
            continue;
        };
        assert_eq!(Bybit.body_failure(Market::Perp, &body), None, "{name}");
        let mut body = body;
        let rows = match path.as_str() {
            "/v5/market/funding/history" => Bybit.parse_funding(&linear, &mut body).unwrap().len(),
            "/v5/market/kline" => {
                let now = crate::time::TsNanos(i64::MAX);
                let level = crate::time::Level::H1;
                Bybit
                    .parse_klines(&linear, level, &mut body, now)
                    .unwrap()
                    .len()
            }
            "/v5/market/recent-trade" => Bybit.parse_trades(&linear, &mut body).unwrap().len(),
            "/v5/market/orderbook" => {
                let book = Bybit.parse_snapshot(&linear, &mut body).unwrap();
                book.bids.len() + book.asks.len()
            }
            "/v5/market/instruments-info" => {
                let market = match name {
                    "GetSpotSymbols" => Market::Spot,
                    _ => Market::Perp,
                };
                let (specs, left_out) = Bybit.parse_instruments(market, &[body]).unwrap();
                specs.len() + left_out.iter().map(|(_, rows)| rows).sum::<usize>()
            }
            // Prices of the day, mark price bars, open interest: not asked for.
            "/v5/market/tickers" | "/v5/market/mark-price-kline" | "/v5/market/open-interest" => {
                continue;
            }
            other => panic!("{other}"),
        };
        assert!(rows > 0, "{name}");
        read.push(name.to_owned());
    }
    read.sort_unstable();
    let expected = [
        "GetFundingRateHistory",
        "GetKlines",
        "GetLinearInverseSymbols",
        "GetLinearInverseSymbolsPreListing",
        "GetOrderbook",
        "GetSpotSymbols",
        "GetTradeHistory",
    ];
    assert_eq!(read, expected);
}
