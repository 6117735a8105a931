//! The obvious way to read OKX's messages: serde_json's values and exact decimals, field by field.

use rust_decimal::Decimal;
use serde_json::Value;

use super::Seen;
use crate::event::BookLevel;
use crate::instrument::Instrument;
use crate::num::{Price, Qty, from_decimal};

fn text<'v>(row: &'v Value, name: &str) -> &'v str {
    row[name].as_str().unwrap()
}

fn price(it: &Instrument, text: &str) -> Price {
    Price(from_decimal(text.parse().unwrap(), it.price_scale).unwrap())
}

fn qty(it: &Instrument, text: &str) -> Qty {
    let contracts: Decimal = text.parse().unwrap();
    Qty(from_decimal(contracts * it.spec.contract_size, it.qty_scale).unwrap())
}

fn levels(it: &Instrument, rows: &Value) -> Vec<BookLevel> {
    let rows = rows.as_array().unwrap().iter();
    rows.map(|row| BookLevel {
        price: price(it, row[0].as_str().unwrap()),
        qty: qty(it, row[1].as_str().unwrap()),
    })
    .collect()
}

/// What a decoder must tell of a book or trade message of its only instrument.
pub(super) fn expected(it: &Instrument, frame: &str) -> Vec<String> {
    let frame: Value = serde_json::from_str(frame).unwrap();
    let name = &it.spec.native_symbol;
    let shown = |levels: Vec<BookLevel>| Seen::levels(it, &levels);
    let rows = frame["data"].as_array().unwrap().iter();
    rows.map(|row| match text(&frame["arg"], "channel") {
        "books" => {
            let (bids, asks) = (levels(it, &row["bids"]), levels(it, &row["asks"]));
            let (seq, prev, ts) = (&row["seqId"], &row["prevSeqId"], text(row, "ts"));
            let (bids, asks) = (shown(bids), shown(asks));
            match text(&frame, "action") {
                "snapshot" => format!("{name} image {seq} at {ts}: {bids} / {asks}"),
                _ => format!("{name} delta {prev}->{seq} at {ts}: {bids} / {asks}"),
            }
        }
        "trades" => {
            let number = crate::num::fixed_to_string;
            let many = row.get("count").is_some_and(|count| count != "1");
            format!(
                "{name} trade Number({}) {} {} {} at {}{}",
                text(row, "tradeId"),
                text(row, "side"),
                number(qty(it, text(row, "sz")).0, it.qty_scale),
                number(price(it, text(row, "px")).0, it.price_scale),
                text(row, "ts"),
                if many { " aggregate" } else { "" }
            )
        }
        other => panic!("{other}"),
    })
    .collect()
}
