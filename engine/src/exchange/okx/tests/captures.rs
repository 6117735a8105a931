//! Replays of recorded messages. Without `BOOKWIRE_CAPTURES` they say that they were skipped; with
//! `BOOKWIRE_REQUIRE_CAPTURES=1` they fail.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::instruments::parse;
use super::super::stream::StreamDecoder;
use super::Bench;
use crate::event::{BookLevel, Control, Event, EventSink, Skipped};
use crate::exchange::{Decoder, Exchange, ProviderId, Recorded};
use crate::instrument::{InstrumentId, InstrumentSpec, InstrumentTable, Market};
use crate::num::{Price, Qty};

/// A recording's bytes; `None`, after one line that says so, where there are none.
pub(super) fn capture(name: &str) -> Option<Vec<u8>> {
    let Some(folder) = std::env::var_os("BOOKWIRE_CAPTURES") else {
        let required = std::env::var_os("BOOKWIRE_REQUIRE_CAPTURES").is_some_and(|v| v == "1");
        assert!(!required, "BOOKWIRE_CAPTURES is not set");
        eprintln!("skipped: BOOKWIRE_CAPTURES is not set");
        return None;
    };
    let path = std::path::Path::new(&folder).join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.trim_ascii().is_empty())
}

/// The exchange's own text in a recorder's wrapper.
pub(super) fn raw(line: &[u8]) -> Vec<u8> {
    let wrapper: serde_json::Value = serde_json::from_slice(line).unwrap();
    wrapper["raw"].as_str().unwrap().as_bytes().to_vec()
}

/// Books kept in the plainest way, and what came.
#[derive(Default)]
struct Books {
    books: BTreeMap<InstrumentId, Book>,
    kinds: BTreeMap<&'static str, usize>,
}

#[derive(Default)]
struct Book {
    seq: Option<u64>,
    bids: BTreeMap<Price, Qty>,
    asks: BTreeMap<Price, Qty>,
}

impl Book {
    fn apply(&mut self, bids: &[BookLevel], asks: &[BookLevel]) {
        for (side, levels) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for level in levels {
                match level.qty {
                    Qty(0) => side.remove(&level.price),
                    qty => side.insert(level.price, qty),
                };
            }
        }
        let best = (self.bids.keys().next_back(), self.asks.keys().next());
        assert!(
            best.0.zip(best.1).is_none_or(|(bid, ask)| bid < ask),
            "crossed: {best:?}"
        );
    }
}

impl EventSink for Books {
    fn event(&mut self, id: InstrumentId, event: Event<'_>) {
        let kind = match event {
            Event::BookImage(image) => {
                let book = self.books.entry(id).or_default();
                *book = Book::default();
                book.apply(image.bids, image.asks);
                book.seq = Some(image.seq);
                "image"
            }
            Event::Book(delta) => {
                let book = self.books.get_mut(&id).expect("an image comes first");
                assert_eq!(book.seq, delta.prev_seq, "a gap");
                book.apply(delta.bids, delta.asks);
                book.seq = Some(delta.last_seq);
                "delta"
            }
            Event::Trade(_) => "trade",
            Event::Kline(_) => "bar",
            Event::Ticker(_) => "ticker",
            Event::Funding(_) => "funding",
        };
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn control(&mut self, control: Control) {
        let kind = match control {
            Control::StreamAck { .. } => "ack",
            Control::BadBook { .. } => "bad book",
            _ => "control",
        };
        *self.kinds.entry(kind).or_default() += 1;
    }

    fn skipped(&mut self, kind: Skipped) {
        let kind = match kind {
            Skipped::UnknownSymbol => "unknown symbol",
            Skipped::UnknownKind => "unknown kind",
            Skipped::UnservedLevel => "unserved level",
            Skipped::OtherMarket => "other market",
            Skipped::History | Skipped::Duplicate => panic!("OKX has no such thing"),
        };
        *self.kinds.entry(kind).or_default() += 1;
    }
}

/// The instruments of the recording's list; inverse swaps, which the gateway does not serve, are
/// listed with contracts of one unit, so that their books are followed too.
fn table(market: Market) -> Option<Arc<InstrumentTable>> {
    let old = capture("okx_rest_instruments_20220228.jsonl")?;
    let at = usize::from(market == Market::Perp);
    let body = raw(lines(&old).nth(at).unwrap());
    let body = String::from_utf8(body)
        .unwrap()
        .replace("inverse", "linear");
    let mut list: serde_json::Value = serde_json::from_str(&body).unwrap();
    for row in list["data"].as_array_mut().unwrap() {
        let family = row["uly"].as_str().unwrap_or("").to_owned();
        if let (Market::Perp, Some((base, quote))) = (market, family.split_once('-')) {
            row["settleCcy"] = quote.into();
            row["ctValCcy"] = base.into();
            row["ctVal"] = "1".into();
        }
    }
    let (specs, _): (Vec<InstrumentSpec>, _) =
        parse(market, &[list.to_string().into_bytes()]).unwrap();
    let table = InstrumentTable::default().with_market(ProviderId::OKX, market, specs);
    Some(Arc::new(table))
}

#[test]
fn every_checksum_of_the_recordings_agrees() {
    let mut checked = 0;
    for (market, name, expected) in [
        (
            Market::Spot,
            "okx_spot_mixed_20220228.jsonl",
            &[
                ("ack", 18),
                ("delta", 2200),
                ("image", 6),
                ("trade", 15),
                ("unknown kind", 12),
            ][..],
        ),
        (
            Market::Perp,
            "okx_swap_mixed_20220228.jsonl",
            &[
                ("ack", 6),
                ("delta", 1335),
                ("image", 2),
                ("trade", 2),
                ("unknown kind", 2),
            ],
        ),
    ] {
        let (Some(table), Some(bytes)) = (table(market), capture(name)) else {
            return;
        };
        let mut decoder = StreamDecoder::new(market, table);
        let mut books = Books::default();
        for line in lines(&bytes) {
            decoder
                .decode(line, &mut books)
                .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)));
        }
        let kinds: Vec<(&str, usize)> = books.kinds.into_iter().collect();
        assert_eq!(kinds, expected, "{name}");
        let (sums, failures) = decoder.checksums();
        assert_eq!(failures, 0, "{name}");
        checked += sums;
    }
    assert_eq!(checked, 3543);
}

#[test]
fn recorded_files_tell_their_symbols() {
    let Some(bytes) = capture("okx_swap_mixed_20220228.jsonl") else {
        return;
    };
    let okx = &super::super::Okx;
    for line in lines(&bytes) {
        assert_eq!(okx.recorded(None, line), Recorded::Message);
        assert_eq!(
            okx.message_symbol(Market::Perp, line).as_deref(),
            Some("UNI-USD-SWAP")
        );
        assert_eq!(okx.message_symbol(Market::Spot, line), None);
    }
    let lists = capture("okx_rest_instruments_20220228.jsonl").unwrap();
    for line in lines(&lists) {
        assert_eq!(okx.recorded(None, &raw(line)), Recorded::Instruments);
        let url = "https://www.okx.com/api/v5/public/instruments?instType=SPOT";
        assert_eq!(okx.recorded(Some(url), b"{}"), Recorded::Instruments);
    }
}

/// Public messages decode, or are refused for a reason that stands here.
#[test]
fn collected_messages_decode_or_have_a_reason() {
    let Some(bytes) = capture("okx_fixtures.jsonl") else {
        return;
    };
    let mut counts: BTreeMap<(String, &'static str), usize> = BTreeMap::new();
    for line in lines(&bytes) {
        let wrapper: serde_json::Value = serde_json::from_slice(line).unwrap();
        let kind = wrapper["kind"].as_str().unwrap();
        if !matches!(kind, "ws_message" | "ws_ack" | "ws_or_rest_public") {
            continue;
        }
        let frame = wrapper["raw"].as_str().unwrap();
        let Ok(parsed) = serde_json::from_str::<serde_json::Value>(frame) else {
            panic!("{frame}");
        };
        let is_answer = parsed.get("arg").is_none() && parsed.get("code").is_some();
        if kind == "ws_or_rest_public" && is_answer {
            // A REST answer, which the tests of those read.
            *counts
                .entry(("REST answer".to_owned(), "other"))
                .or_default() += 1;
            continue;
        }
        let symbol = parsed["arg"]["instId"].as_str().unwrap_or("");
        // Whatever it is listed as, it is read with the digits of the tests' instruments.
        let ours = match symbol {
            "" => String::new(),
            other if other.ends_with("-SWAP") => "BTC-USDT-SWAP".to_owned(),
            _ => "BTC-USDT".to_owned(),
        };
        let channel = parsed["arg"]["channel"].as_str().unwrap_or("").to_owned();
        let mut parsed = parsed;
        let is_swap = ours.ends_with("-SWAP") || matches!(&*channel, "funding-rate" | "mark-price");
        if !ours.is_empty() {
            let named = if is_swap { "BTC-USDT-SWAP" } else { &ours };
            parsed["arg"]["instId"] = named.into();
        }
        let market = if is_swap { Market::Perp } else { Market::Spot };
        let outcome = match Bench::new(market).frame(&parsed.to_string()) {
            Ok(told) if told.is_empty() => "kept",
            Ok(told) if told.iter().all(|text| text.starts_with("skipped")) => "skipped",
            Ok(told) if told.iter().any(|text| text.starts_with("BadBook")) => "bad checksum",
            Ok(_) => "decoded",
            Err(_) => "refused",
        };
        let channel = match channel.as_str() {
            "" => "(none)".to_owned(),
            other => other.to_owned(),
        };
        if kind != "ws_ack" {
            *counts.entry((channel, outcome)).or_default() += 1;
        } else {
            let is_fine = matches!(outcome, "decoded" | "kept" | "skipped");
            assert!(is_fine, "{outcome}: {frame}");
        }
    }
    for ((channel, outcome), count) in &counts {
        let expected: &[(&str, usize)] = match channel.as_str() {
            // The documentation's sample has no `action`; see the reason below.
            "books" => &[("refused", 1)],
            // Books that were cut short by the collector: their checksums are of the whole ones.
            "books-l2-tbt" => &[("bad checksum", 4)],
            "bbo-tbt" | "candle1m" => &[("decoded", 5)],
            "trades" => &[("decoded", 8)],
            "funding-rate" => &[("kept", 3)],
            "mark-price" => &[("decoded", 1)],
            "index-tickers" => &[("skipped", 1)],
            "status" => &[("skipped", 1)],
            "REST answer" => &[("other", 10)],
            _ => &[("skipped", *count)],
        };
        assert!(
            expected.contains(&(*outcome, *count)),
            "{channel}: {count} {outcome}"
        );
    }
}
