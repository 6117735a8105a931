//! Generated frames: the decoder against the obvious one, and damaged frames against itself.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{StreamDecoder, decode, reference, two_products};

/// A number as Coinbase writes it: no trailing zeros, at most `decimals` of them.
fn number(decimals: u32) -> impl Strategy<Value = String> {
    (0_i64..10_i64.pow(9), 0..=decimals).prop_map(|(mantissa, scale)| {
        let number = rust_decimal::Decimal::new(mantissa, scale);
        number.normalize().to_string()
    })
}

fn product() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("BTC-USD"), Just("ETH-USD"), Just("NO-USD")]
}

fn instant() -> impl Strategy<Value = String> {
    (0_i64..4_000_000_000_000_000_000, 0_u32..=9).prop_map(|(nanos, digits)| {
        let unit = 10_i64.pow(9 - digits);
        let nanos = i128::from(nanos / unit * unit);
        jiff::Timestamp::from_nanosecond(nanos).unwrap().to_string()
    })
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("snapshot"), Just("update")]
}

fn book() -> impl Strategy<Value = Value> {
    let side = prop_oneof![Just("bid"), Just("offer")];
    let update = (side, instant(), number(2), number(8)).prop_map(|(side, at, price, qty)| {
        json!({ "side": side, "event_time": at, "price_level": price, "new_quantity": qty })
    });
    let updates = proptest::collection::vec(update, 0..12);
    // Levels of an image differ in price.
    (kind(), product(), updates).prop_map(|(kind, product, mut updates)| {
        let mut prices = std::collections::HashSet::new();
        updates.retain(|update| kind == "update" || prices.insert(update["price_level"].clone()));
        json!({ "type": kind, "product_id": product, "updates": updates })
    })
}

fn trades() -> impl Strategy<Value = Value> {
    let side = prop_oneof![Just("BUY"), Just("SELL")];
    let row = (
        product(),
        any::<u64>(),
        number(2),
        number(8),
        instant(),
        side,
    )
        .prop_map(|(product, id, price, size, at, side)| {
            json!({
                "product_id": product, "trade_id": id.to_string(), "price": price, "size": size,
                "time": at, "side": side,
            })
        });
    (kind(), proptest::collection::vec(row, 0..6))
        .prop_map(|(kind, rows)| json!({ "type": kind, "trades": rows }))
}

fn tickers() -> impl Strategy<Value = Value> {
    let row = (product(), number(2), number(8), number(2), number(8)).prop_map(
        |(product, bid, bid_qty, ask, ask_qty)| {
            json!({
                "type": "ticker", "product_id": product, "price": bid,
                "best_bid": bid, "best_bid_quantity": bid_qty,
                "best_ask": ask, "best_ask_quantity": ask_qty,
            })
        },
    );
    (kind(), proptest::collection::vec(row, 0..4))
        .prop_map(|(kind, rows)| json!({ "type": kind, "tickers": rows }))
}

fn frame() -> impl Strategy<Value = Value> {
    let events = prop_oneof![
        proptest::collection::vec(book(), 0..3).prop_map(|events| ("l2_data", events)),
        proptest::collection::vec(trades(), 0..3).prop_map(|events| ("market_trades", events)),
        proptest::collection::vec(tickers(), 0..3).prop_map(|events| ("ticker", events)),
    ];
    (events, instant(), any::<u32>()).prop_map(|((channel, events), at, number)| {
        json!({
            "channel": channel, "client_id": "", "timestamp": at, "sequence_num": number,
            "events": events,
        })
    })
}

proptest! {
    #[test]
    fn agrees_with_the_obvious_decoder(frames in proptest::collection::vec(frame(), 1..4)) {
        let table = two_products();
        for frame in &frames {
            let text = frame.to_string();
            let mut decoder = StreamDecoder::new(table.clone());
            let (seen, answer) = decode(&mut decoder, text.as_bytes());
            prop_assert_eq!(answer, Ok(()));
            prop_assert_eq!(seen, reference::decode(&table, frame));
        }
        // Buffers that are used again leave nothing behind.
        let mut decoder = StreamDecoder::new(table.clone());
        for (frame, number) in frames.iter().zip(0_u64..) {
            let mut frame = frame.clone();
            frame["sequence_num"] = json!(number);
            let (seen, _) = decode(&mut decoder, frame.to_string().as_bytes());
            prop_assert_eq!(seen, reference::decode(&table, &frame));
        }
    }

    #[test]
    fn damage_is_an_error_or_a_frame(
        frame in frame(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_cut in any::<bool>(),
    ) {
        let mut text = frame.to_string().into_bytes();
        let at = at.index(text.len());
        match is_cut {
            true => text.truncate(at),
            false => text[at] = byte,
        }
        let mut decoder = StreamDecoder::new(two_products());
        let (_, answer) = decode(&mut decoder, &text);
        if is_cut {
            prop_assert!(answer.is_err());
        }
    }
}
