//! Generated messages against the obvious reference, and spoilt ones against a crash.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::checksum::Texts;
use super::super::message::rate;
use super::{Bench, instrument, reference};
use crate::event::Funding;
use crate::instrument::Market;
use crate::num::from_decimal;

fn markets() -> impl Strategy<Value = Market> {
    prop_oneof![Just(Market::Spot), Just(Market::Perp)]
}

fn name(market: Market) -> &'static str {
    match market {
        Market::Spot => "BTC-USDT",
        Market::Perp => "BTC-USDT-SWAP",
    }
}

/// A number as OKX writes them: with zeros at the end, or without a point.
fn number(whole: u64, fraction: u64, digits: usize) -> String {
    match digits {
        0 => whole.to_string(),
        _ => {
            let fraction = fraction % 10_u64.pow(digits as u32);
            format!("{whole}.{fraction:0digits$}")
        }
    }
}

fn prices() -> impl Strategy<Value = String> {
    (0_u64..1_000_000, any::<u64>(), 0_usize..=3).prop_map(|(w, f, d)| number(w, f, d))
}

fn sizes() -> impl Strategy<Value = String> {
    (0_u64..100_000, any::<u64>(), 0_usize..=2).prop_map(|(w, f, d)| number(w, f, d))
}

fn level() -> impl Strategy<Value = Value> {
    (prices(), sizes()).prop_map(|(price, size)| json!([price, size, "0", "3"]))
}

fn book() -> impl Strategy<Value = (Market, Value)> {
    let side = || prop::collection::vec(level(), 0..30);
    let ids = (0_u64..1_u64 << 62, 0_u64..1_u64 << 62);
    (
        markets(),
        any::<bool>(),
        side(),
        side(),
        ids,
        0_u64..1_u64 << 42,
    )
        .prop_map(|(market, is_image, bids, asks, (seq, prev), ts)| {
            let (action, prev) = match is_image {
                true => ("snapshot", json!(-1)),
                false => ("update", json!(prev)),
            };
            let frame = json!({"arg": {"channel": "books", "instId": name(market)},
                "action": action, "data": [{"asks": asks, "bids": bids, "ts": ts.to_string(),
                "checksum": 0, "seqId": seq, "prevSeqId": prev}]});
            (market, frame)
        })
}

fn trade() -> impl Strategy<Value = Value> {
    let count = prop::option::of(1_u32..5);
    let side = prop_oneof![Just("buy"), Just("sell")];
    (
        any::<u64>(),
        prices(),
        sizes(),
        side,
        0_u64..1_u64 << 42,
        count,
    )
        .prop_map(|(id, px, sz, side, ts, count)| {
            let mut row = json!({"instId": "x", "tradeId": id.to_string(), "px": px, "sz": sz,
                "side": side, "ts": ts.to_string()});
            if let Some(count) = count {
                row["count"] = count.to_string().into();
            }
            row
        })
}

fn trades() -> impl Strategy<Value = (Market, Value)> {
    (markets(), prop::collection::vec(trade(), 0..5)).prop_map(|(market, rows)| {
        let arg = json!({"channel": "trades", "instId": name(market)});
        (market, json!({"arg": arg, "data": rows}))
    })
}

proptest! {
    #[test]
    fn agrees_with_the_reference(
        (market, frame) in prop_oneof![book(), trades()],
        is_pretty in any::<bool>(),
    ) {
        let text = match is_pretty {
            true => serde_json::to_string_pretty(&frame).unwrap(),
            false => frame.to_string(),
        };
        let expected = reference::expected(&instrument(market), &text);
        prop_assert_eq!(Bench::new(market).frame(&text), Ok(expected));
    }

    /// Cut or changed bytes are an error or another message, never a crash, and a failed book
    /// delivers nothing.
    #[test]
    fn survives_spoilt_messages(
        (market, frame) in prop_oneof![book(), trades()],
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = frame.to_string().into_bytes();
        let at = at.index(bytes.len());
        match is_cut {
            true => bytes.truncate(at),
            false => bytes[at] = byte,
        }
        let mut bench = Bench::new(market);
        let is_book = frame["action"].is_string();
        let outcome = crate::exchange::Decoder::decode(&mut bench.decoder, &bytes, &mut bench.seen);
        prop_assert!(outcome.is_ok() || !is_book || bench.seen.told.is_empty());
    }

    #[test]
    fn rates_are_rounded_to_the_nearest(text in "-?0\\.[0-9]{1,18}") {
        let exact: rust_decimal::Decimal = text.parse().unwrap();
        let rounded = exact.round_dp_with_strategy(
            u32::from(Funding::RATE_SCALE),
            rust_decimal::RoundingStrategy::MidpointAwayFromZero,
        );
        let expected = from_decimal(rounded, Funding::RATE_SCALE).unwrap();
        prop_assert_eq!(rate(&text, "rate"), Ok(Some(expected)));
    }

    #[test]
    fn an_empty_book_has_the_checksum_of_nothing(_ in Just(())) {
        prop_assert_eq!(Texts::default().checksum(), 0);
    }
}
