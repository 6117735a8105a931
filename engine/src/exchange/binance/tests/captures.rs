//! Every recorded message decodes, and there are as many of each kind as the manifest says.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::event::{Event, Skipped};
use crate::exchange::Exchange as _;
use crate::instrument::Market;

use super::super::{Binance, is_depth_snapshot};
use super::{
    RECORDINGS, Seen, StreamDecoder, capture, decode, instrument, lines, spec, table_of, wrapped,
};

fn kind_of(seen: &Seen) -> &'static str {
    match seen {
        Seen::Book { .. } => "depthUpdate",
        Seen::Event(_, Event::Trade(trade)) if trade.is_aggregate => "aggTrade",
        Seen::Event(_, Event::Trade(_)) => "trade",
        Seen::Event(_, Event::Kline(_)) => "kline",
        Seen::Event(_, Event::Ticker(_)) => "bookTicker",
        Seen::Event(_, Event::Funding(_)) => "markPriceUpdate",
        Seen::Event(_, Event::Book(_) | Event::BookImage(_)) => "book",
        Seen::Control(_) => "control",
        Seen::Skipped(_) => "skipped",
    }
}

#[test]
fn recordings_decode_whole_and_fast() {
    let Some(manifest) = capture("manifest.json") else {
        return;
    };
    let manifest: Vec<Value> = serde_json::from_slice(&manifest).unwrap();
    for recording in RECORDINGS {
        let text = capture(recording.file).unwrap();
        let table = recording.table().unwrap();
        let mut decoder = StreamDecoder::new(recording.market, table.clone());
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (number, line) in lines(&text).enumerate() {
            if is_depth_snapshot(line) {
                let row = table.iter().next().unwrap();
                let snapshot = Binance.parse_snapshot(row, &mut line.to_vec()).unwrap();
                assert!(snapshot.bids.len() > 100 && snapshot.asks.len() > 100);
                assert!(snapshot.bids.is_sorted_by_key(|level| -level.price.0));
                assert!(snapshot.asks.is_sorted_by_key(|level| level.price.0));
                *counts.entry("rest_snapshot".to_owned()).or_default() += 1;
                continue;
            }
            let (seen, answer) = decode(&mut decoder, line);
            assert_eq!(answer, Ok(()), "{} line {}", recording.file, number + 1);
            assert_eq!(seen.len(), 1, "{} line {}", recording.file, number + 1);
            *counts.entry(kind_of(&seen[0]).to_owned()).or_default() += 1;
        }
        let row = manifest
            .iter()
            .find(|row| row["file"] == recording.file)
            .unwrap();
        let expected: BTreeMap<String, u64> =
            serde_json::from_value(row["verify"]["kinds"].clone()).unwrap();
        assert_eq!(counts, expected, "{}", recording.file);
        assert_eq!(decoder.slow_frames(), 0, "{}", recording.file);
    }
}

/// What a public fixture must come to: a kind of event, a skip, or an error, by its name.
fn expected(name: &str) -> &'static str {
    let is = |part: &str| name.contains(part);
    match () {
        () if is("open_interest") => "error e",
        () if is("l2_topk") || is("PartialBook") => "skipped UnknownKind",
        () if is("linear_future") && !is("bbo") && !is("snapshot") && !is("ticker") => {
            "skipped UnknownSymbol"
        }
        () if is("Klines") && !is("Cont") => "kline or unserved",
        () if is("candlestick") => "kline or unserved",
        () if is("AggregatedTrades") || is("AggTrades") || is("trade/") => "aggTrade",
        () if is("ExchangeData/Trades") => "trade",
        () if is("BookTicker") || is("bbo/") => "bookTicker",
        () if is("MarkPrice") || is("funding_rate") => "markPriceUpdate",
        () if is("l2_event") || is("/Book") => "depthUpdate",
        () if is("l2_snapshot") => "rest snapshot",
        // Messages of accounts on the market data interface's wrapper.
        () if is("Spot/Account") && !is("Liability") && !is("MarginCall") => "error e",
        () => "skipped UnknownKind",
    }
}

#[test]
fn fixtures_decode_or_are_left_out_for_a_reason() {
    for (file, market) in [
        ("binance_spot_fixtures.jsonl", Market::Spot),
        ("binance_usdm_fixtures.jsonl", Market::Perp),
    ] {
        let Some(text) = capture(file) else { return };
        let specs = ["BTC", "ETH", "BNB", "BAL"]
            .into_iter()
            .flat_map(|base| {
                [
                    spec(market, base, "USDT", 8, 8),
                    spec(market, base, "BTC", 8, 8),
                ]
            })
            .collect();
        let mut decoder = StreamDecoder::new(market, table_of(market, specs));
        let mut checked = 0;
        for row in wrapped(&text) {
            let is_stream = row.kind == "ws_or_rest_public"
                || (row.kind == "ws_message" && row.name.contains("Subscriptions/"));
            if !is_stream {
                continue;
            }
            checked += 1;
            let body = row.raw.as_bytes();
            if is_depth_snapshot(body) {
                assert_eq!(expected(&row.name), "rest snapshot", "{}", row.name);
                let row = instrument(spec(market, "BTC", "USDT", 8, 8));
                Binance.parse_snapshot(&row, &mut body.to_vec()).unwrap();
                continue;
            }
            let (seen, answer) = decode(&mut decoder, body);
            let got = match (seen.first(), answer) {
                (_, Err(error)) => format!("error {}", field_of(&error)),
                (Some(Seen::Skipped(Skipped::UnservedLevel)), _) => "kline or unserved".to_owned(),
                (Some(Seen::Skipped(reason)), _) => format!("skipped {reason:?}"),
                (Some(seen), _) => match kind_of(seen) {
                    "kline" => "kline or unserved".to_owned(),
                    kind => kind.to_owned(),
                },
                (None, _) => "nothing".to_owned(),
            };
            assert_eq!(got, expected(&row.name), "{}: {}", row.name, row.raw);
        }
        assert!(checked >= 22, "{file}: {checked}");
    }
}

fn field_of(error: &crate::exchange::DecodeError) -> &'static str {
    match error {
        crate::exchange::DecodeError::Field { field } => field,
        _ => "other",
    }
}

#[test]
fn instrument_lists_load_with_every_row_accounted_for() {
    for (file, market, total, expected_left_out) in [
        (
            "binance_spot_rest_4alts_20210814.jsonl.gz",
            Market::Spot,
            1589,
            vec![],
        ),
        (
            "binance_usdm_rest_4alts_20210722.jsonl",
            Market::Perp,
            122,
            vec![
                ("contract type CURRENT_QUARTER".to_owned(), 2),
                ("contract type not given".to_owned(), 1),
            ],
        ),
    ] {
        let Some(text) = capture(file) else { return };
        let info = wrapped(&text)
            .into_iter()
            .find(|r| r.url.contains("exchangeInfo"))
            .unwrap();
        let (specs, left_out) = Binance
            .parse_instruments(market, &[info.raw.clone().into_bytes()])
            .unwrap();
        assert_eq!(left_out, expected_left_out);
        let counted: usize = left_out.iter().map(|(_, count)| count).sum();
        assert_eq!(specs.len() + counted, total);
        let info: Value = serde_json::from_str(&info.raw).unwrap();
        for spec in &specs {
            let row = info["symbols"].as_array().unwrap();
            let row = row
                .iter()
                .find(|row| row["symbol"] == spec.native_symbol.as_str())
                .unwrap();
            assert_eq!(row["baseAsset"], spec.base_symbol.as_str());
            assert_eq!(row["quoteAsset"], spec.quote_symbol.as_str());
            // Leveraged tokens are in trading, but not on spot.
            let is_active = row["status"] == "TRADING" && row["isSpotTradingAllowed"] != false;
            assert_eq!(spec.is_active, is_active, "{}", spec.native_symbol);
            for (filter, field, value) in [
                ("PRICE_FILTER", "tickSize", Some(spec.price_step)),
                ("LOT_SIZE", "stepSize", Some(spec.qty_step)),
                ("LOT_SIZE", "minQty", spec.min_qty),
                ("LOT_SIZE", "maxQty", spec.max_qty),
            ] {
                let filters = row["filters"].as_array().unwrap();
                let text = filters
                    .iter()
                    .find(|row| row["filterType"] == filter)
                    .unwrap()[field]
                    .as_str()
                    .unwrap();
                assert_eq!(text.parse().ok(), value, "{} {field}", spec.native_symbol);
            }
            assert_eq!(spec.settlement_symbol.is_some(), market == Market::Perp);
            assert_eq!(spec.list_date.is_some(), market == Market::Perp);
        }
        let table = table_of(market, specs);
        // Largest order at the instrument's scale leaves room for levels and volumes.
        for row in table.iter() {
            let max = row.spec.max_qty.unwrap();
            assert!(
                crate::num::from_decimal(max, row.qty_scale).is_ok(),
                "{}",
                row.code
            );
            assert!(row.qty_scale >= crate::num::scale_of_step(row.spec.qty_step));
        }
    }
}
