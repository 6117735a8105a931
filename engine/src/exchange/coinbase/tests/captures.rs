//! Recordings: every frame decodes, frames are counted without a gap, and there are as many of each
//! kind as the manifest says; every product is listed or counted; single messages come to what
//! their names say.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::event::{Event, Side, Skipped, TradeId};
use crate::exchange::{DecodeError, Exchange as _};
use crate::instrument::{InstrumentTable, Market};
use crate::time::{Level, TsNanos};

use super::super::Coinbase;
use super::{
    BTC, Seen, StreamDecoder, capture, decode, instrument, lines, reference, spec, table_of,
    two_products, wrapped,
};

const ADVANCED: &str = "coinbase_advtrade_mixed_20260809_part1.jsonl.gz";

#[test]
fn the_recording_decodes_whole_and_without_a_gap() {
    let (Some(text), Some(manifest)) = (capture(ADVANCED), capture("manifest.json")) else {
        return;
    };
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    let row = manifest.iter().find(|row| row["file"] == ADVANCED).unwrap();
    let expected: BTreeMap<String, u64> =
        serde_json::from_value(row["verify"]["kinds"].clone()).unwrap();
    let table = two_products();
    let mut decoder = StreamDecoder::new(table.clone());
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let (mut images, mut trades, mut at_touch) = (Vec::new(), Vec::new(), 0);
    let mut touch: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
    for (number, line) in lines(&text).enumerate() {
        let (seen, answer) = decode(&mut decoder, line);
        assert_eq!(answer, Ok(()), "line {}", number + 1);
        let frame: Value = serde_json::from_slice(line).unwrap();
        let channel = frame["channel"].as_str().unwrap();
        let kind = frame["events"][0]["type"].as_str().unwrap_or("None");
        *kinds.entry(format!("{channel}:{kind}")).or_default() += 1;
        if matches!(channel, "l2_data" | "market_trades" | "ticker") {
            assert_eq!(
                seen,
                reference::decode(&table, &frame),
                "line {}",
                number + 1
            );
        }
        for seen in seen {
            match seen {
                Seen::Control(crate::event::Control::Lost { .. })
                | Seen::Skipped(Skipped::Duplicate | Skipped::UnknownSymbol) => {
                    panic!("line {}: {seen:?}", number + 1)
                }
                Seen::Book {
                    is_image: true,
                    bids,
                    asks,
                    ..
                } => images.push((bids.len(), asks.len())),
                Seen::Event(id, Event::Ticker(ticker)) => {
                    touch.insert(id.0, (ticker.bid.price.0, ticker.ask.price.0));
                }
                Seen::Event(id, Event::Trade(trade)) => {
                    trades.push((id, trade.trade_id));
                    // Takers buy at the ask and sell at the bid.
                    let (bid, ask) = touch[&id.0];
                    if trade.price.0 == bid || trade.price.0 == ask {
                        let bought = trade.taker_side == Side::Buy;
                        at_touch += if bought == (trade.price.0 == ask) {
                            1
                        } else {
                            -1_000
                        };
                    }
                }
                _ => {}
            }
        }
    }
    assert_eq!(kinds, expected);
    assert_eq!(images, [(18_764, 27_236), (6_935, 16_399)]);
    assert_eq!(trades.len(), 57);
    assert!(at_touch > 20, "{at_touch}");
    let numbers: Vec<u64> = trades
        .iter()
        .filter(|(id, _)| *id == BTC)
        .filter_map(|(_, id)| match id {
            TradeId::Number(number) => Some(*number),
            _ => None,
        })
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
}

#[test]
fn the_recording_replays_into_books() {
    let Some(text) = capture(ADVANCED) else {
        return;
    };
    let list = capture("coinbase_advtrade_rest_products_20260809.jsonl.gz").unwrap();
    let coinbase = crate::exchange::ProviderId::COINBASE;
    // With the list of products, and with products that are learned from their frames.
    for first in [lines(&list).collect::<Vec<_>>(), Vec::new()] {
        let options = crate::replay::ReplayOptions::default();
        let mut replay = crate::replay::Replay::new(coinbase, Market::Spot, options).unwrap();
        for line in first.into_iter().chain(lines(&text)) {
            replay.line(1, line);
        }
        let report = replay.finish(std::time::Duration::from_secs(1)).to_json();
        assert_eq!(report["errors_total"], 0, "{}", report["errors"]);
        let symbols = report["symbols"].as_object().unwrap();
        assert_eq!(symbols.len(), 2);
        let mut trades = 0;
        for (code, symbol) in symbols {
            assert_eq!(symbol["synced"], true, "{code}");
            assert_eq!(
                (&symbol["gaps"], &symbol["crossed"]),
                (&0.into(), &0.into())
            );
            trades += symbol["trades"].as_u64().unwrap();
        }
        assert_eq!(trades, 57);
    }
}

#[test]
fn a_lost_frame_of_the_recording_is_noticed() {
    let Some(text) = capture(ADVANCED) else {
        return;
    };
    let frames: Vec<&[u8]> = lines(&text).filter(|line| line.len() < 100_000).collect();
    let mut decoder = StreamDecoder::new(two_products());
    let lost = |seen: &[Seen]| {
        seen.iter()
            .any(|seen| matches!(seen, Seen::Control(crate::event::Control::Lost { .. })))
    };
    let mut count = 0;
    // The two images are missing: one gap each.
    for frame in frames {
        count += u64::from(lost(&decode(&mut decoder, frame).0));
    }
    assert_eq!(count, 2);
}

#[test]
fn every_product_is_listed_or_counted() {
    let Some(text) = capture("coinbase_advtrade_rest_products_20260809.jsonl.gz") else {
        return;
    };
    let body = wrapped(&text).remove(0).raw.into_bytes();
    let all: Value = serde_json::from_slice(&body).unwrap();
    let rows = all["products"].as_array().unwrap();
    let bodies = [body];
    let (specs, left_out) = Coinbase.parse_instruments(Market::Spot, &bodies).unwrap();
    assert_eq!(left_out, [("alias of another product".to_owned(), 400)]);
    assert_eq!((rows.len(), specs.len()), (920, 520));
    let next = Coinbase.next_instrument_request(Market::Spot, &bodies[0]);
    assert_eq!(next, None);
    let inactive = specs.iter().filter(|spec| !spec.is_active).count();
    // Four delisted coins; their aliases are not counted twice.
    assert_eq!(inactive, 4);
    let table = table_of(specs);
    assert!(table.collisions().is_empty(), "{:?}", table.collisions());
    figures_fit(&table, rows);
    // An alias is nobody's symbol, and what it is an alias of is near.
    let scope = crate::instrument::Scope::default();
    let Err(crate::instrument::SymbolError::NotListed { near, .. }) =
        table.resolve("btc-usdc", scope)
    else {
        panic!("an alias was resolved")
    };
    assert!(near.contains(&"btcusd".to_owned()), "{near:?}");
    assert!(table.resolve("usdt-usdc", scope).is_ok());
    assert!(table.resolve("btcusdt", scope).is_ok());
}

/// Prices and day's volumes of the list can be told at the scales of their instruments.
fn figures_fit(table: &Arc<InstrumentTable>, rows: &[Value]) {
    for row in rows {
        let product = row["product_id"].as_str().unwrap();
        let Some(symbol) = super::super::symbols::Symbol::of(table, product) else {
            assert_ne!(row["alias"], "", "{product}");
            continue;
        };
        let text = |name: &str| row[name].as_str().filter(|text| !text.is_empty());
        for name in ["price", "high_24h", "low_24h"] {
            if let Some(text) = text(name) {
                symbol.price(text, "price").unwrap();
            }
        }
        if let Some(text) = text("volume_24h") {
            symbol.qty(text, "size").unwrap();
        }
        let step: Decimal = text("price_increment").unwrap().parse().unwrap();
        let spec = &table
            .by_native(crate::exchange::ProviderId::COINBASE, Market::Spot, product)
            .unwrap()
            .spec;
        assert_eq!(spec.price_step, step);
    }
}

/// The recording of the older Exchange feed: another interface, whose messages are told apart and
/// left out. Its books have no sequence and its channels of books ask for a key today.
#[test]
fn the_older_feed_is_left_out_for_a_reason() {
    let Some(text) = capture("coinbase_exchange_mixed_20210417.jsonl") else {
        return;
    };
    let mut decoder = StreamDecoder::new(two_products());
    let mut count = 0;
    for line in lines(&text) {
        let (seen, answer) = decode(&mut decoder, line);
        assert_eq!(answer, Ok(()));
        assert_eq!(seen, [Seen::Skipped(Skipped::OtherMarket)]);
        count += 1;
    }
    assert_eq!(count, 4_771);
    // Its product list is an array.
    let list = capture("coinbase_exchange_rest_products_20210417.jsonl").unwrap();
    let body = wrapped(&list).remove(0).raw.into_bytes();
    let answer = Coinbase.parse_instruments(Market::Spot, &[body]);
    assert_eq!(answer, Err(DecodeError::Field { field: "products" }));
}

/// What a single message of the public interfaces comes to, by its name; `None`: not public, or sent
/// by a client.
fn expected(kind: &str, name: &str) -> Option<&'static str> {
    let is = |part: &str| name.contains(part);
    Some(match kind {
        "ws_or_rest_public" if is("l2_snapshot") => "error channel",
        "ws_or_rest_public" => "skipped OtherMarket",
        "ws_ack" => "control",
        "ws_message" if is("Heartbeat") => "control",
        "ws_message" if is("/Klines") => "kline",
        "ws_message" if is("/Ticker") => "ticker",
        "ws_message" if is("/Trades") => "trade",
        // Accounts' channels among them: nobody asks for those without a key.
        "ws_message" => "skipped UnknownKind",
        "rest" if is("ExchangeData/GetAggregatedOrderBook") => "rest error pricebook",
        "rest" if is("ExchangeData/GetOrderBook") => "rest book",
        "rest" if is("ExchangeData/GetKlines") => "rest klines",
        "rest" if is("ExchangeData/GetSymbols") => "rest products",
        "rest" if is("ExchangeData/GetTradeHistory") => "rest trades",
        _ => return None,
    })
}

fn of_stream(body: &[u8]) -> String {
    let table = table_of(vec![spec("ETH", "USDT", 2, 8), spec("BTC", "USD", 2, 8)]);
    let mut decoder = StreamDecoder::new(table);
    let (seen, answer) = decode(&mut decoder, body);
    match (seen.first(), answer) {
        (_, Err(DecodeError::Field { field })) => format!("error {field}"),
        (_, Err(error)) => error.to_string(),
        (Some(Seen::Control(_)), _) => "control".to_owned(),
        (Some(Seen::Skipped(kind)), _) => format!("skipped {kind:?}"),
        (Some(Seen::Event(_, Event::Kline(_))), _) => "kline".to_owned(),
        (Some(Seen::Event(_, Event::Ticker(_))), _) => "ticker".to_owned(),
        (Some(Seen::Event(_, Event::Trade(_))), _) => "trade".to_owned(),
        (other, _) => format!("{other:?}"),
    }
}

fn of_rest(name: &str, body: &[u8]) -> String {
    let row = instrument(spec("ETH", "USDT", 2, 8));
    let mut body = body.to_vec();
    let count = |answer: Result<usize, DecodeError>, name: &str| match answer {
        Ok(count) => {
            assert!(count > 0);
            format!("rest {name}")
        }
        Err(DecodeError::Field { field }) => format!("rest error {field}"),
        Err(error) => error.to_string(),
    };
    if name.contains("Klines") {
        let bars = Coinbase.parse_klines(&row, Level::M1, &mut body, TsNanos(0));
        count(bars.map(|bars| bars.len()), "klines")
    } else if name.contains("TradeHistory") {
        let trades = Coinbase.parse_trades(&row, &mut body);
        count(trades.map(|trades| trades.len()), "trades")
    } else if name.contains("Symbols") {
        // The one row is a documentation example of an unknown product type.
        let answer = Coinbase.parse_instruments(Market::Spot, &[body]);
        let answer = answer.map(|(specs, left_out)| {
            assert_eq!(specs, []);
            left_out.len()
        });
        count(answer, "products")
    } else {
        let book = Coinbase.parse_snapshot(&row, &mut body);
        count(book.map(|book| book.bids.len()), "book")
    }
}

#[test]
fn fixtures_decode_or_are_left_out_for_a_reason() {
    let Some(text) = capture("coinbase_fixtures.jsonl") else {
        return;
    };
    let mut checked = 0;
    for row in wrapped(&text) {
        let Some(expected) = expected(&row.kind, &row.name) else {
            continue;
        };
        let got = match row.kind.as_str() {
            "rest" => of_rest(&row.name, row.raw.as_bytes()),
            _ => of_stream(row.raw.as_bytes()),
        };
        assert_eq!(got, expected, "{} {}", row.kind, row.name);
        checked += 1;
    }
    assert_eq!(checked, 27);
}
