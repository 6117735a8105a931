//! A second decoder: obvious, slow, on `serde_json` values and decimals. It knows what a frame says
//! and nothing of buffers, borrowed text or order of fields. Bars are left to their own tests.

use rust_decimal::Decimal;
use serde_json::Value;

use crate::event::{BookLevel, Event, Side, Skipped, Ticker, Trade, TradeId};
use crate::instrument::{InstrumentId, InstrumentTable};
use crate::num::{Price, Qty, from_decimal};
use crate::time::TsNanos;

use super::Seen;

fn find(table: &InstrumentTable, product: &Value) -> Option<(InstrumentId, u8, u8)> {
    let mut rows = table.iter();
    let row = rows.find(|row| *product == row.spec.native_symbol)?;
    Some((row.id, row.price_scale, row.qty_scale))
}

fn fixed(value: &Value, scale: u8) -> i64 {
    let number: Decimal = value.as_str().unwrap().parse().unwrap();
    from_decimal(number, scale).unwrap()
}

fn time(value: &Value) -> TsNanos {
    TsNanos::parse(value.as_str().unwrap()).unwrap()
}

/// What a frame of books, matches or best prices comes to; no number is looked at.
pub(super) fn decode(table: &InstrumentTable, frame: &Value) -> Vec<Seen> {
    let mut seen = Vec::new();
    for event in frame["events"].as_array().unwrap() {
        match frame["channel"].as_str().unwrap() {
            "l2_data" => seen.push(book(table, frame, event)),
            "market_trades" => seen.extend(trades(table, event)),
            "ticker" => seen.extend(tickers(table, frame, event)),
            other => panic!("no reference for {other}"),
        }
    }
    seen
}

fn book(table: &InstrumentTable, frame: &Value, event: &Value) -> Seen {
    let Some((id, price_scale, qty_scale)) = find(table, &event["product_id"]) else {
        return Seen::Skipped(Skipped::UnknownSymbol);
    };
    let is_image = event["type"] == "snapshot";
    let side = |name: &str| -> Vec<BookLevel> {
        let updates = event["updates"].as_array().unwrap().iter();
        let mut levels: Vec<BookLevel> = updates
            .filter(|update| update["side"] == name)
            .map(|update| BookLevel {
                price: Price(fixed(&update["price_level"], price_scale)),
                qty: Qty(fixed(&update["new_quantity"], qty_scale)),
            })
            .filter(|level| !is_image || level.qty.0 != 0)
            .collect();
        if is_image {
            levels.sort_by_key(|level| match name {
                "bid" => -level.price.0,
                _ => level.price.0,
            });
        }
        levels
    };
    Seen::Book {
        id,
        is_image,
        seq: frame["sequence_num"].as_u64().unwrap(),
        ts_event: time(&frame["timestamp"]),
        bids: side("bid"),
        asks: side("offer"),
    }
}

fn trades(table: &InstrumentTable, event: &Value) -> Vec<Seen> {
    if event["type"] == "snapshot" {
        return vec![Seen::Skipped(Skipped::History)];
    }
    let rows = event["trades"].as_array().unwrap();
    rows.iter()
        .rev()
        .map(|row| {
            let Some((id, price_scale, qty_scale)) = find(table, &row["product_id"]) else {
                return Seen::Skipped(Skipped::UnknownSymbol);
            };
            let number: u64 = row["trade_id"].as_str().unwrap().parse().unwrap();
            let trade = Trade {
                trade_id: TradeId::from(number),
                price: Price(fixed(&row["price"], price_scale)),
                qty: Qty(fixed(&row["size"], qty_scale)),
                taker_side: match row["side"] == "SELL" {
                    true => Side::Buy,
                    false => Side::Sell,
                },
                ts_event: time(&row["time"]),
                is_aggregate: false,
            };
            Seen::Event(id, Event::Trade(trade))
        })
        .collect()
}

fn tickers(table: &InstrumentTable, frame: &Value, event: &Value) -> Vec<Seen> {
    let rows = event["tickers"].as_array().unwrap().iter();
    rows.map(|row| {
        let Some((id, price_scale, qty_scale)) = find(table, &row["product_id"]) else {
            return Seen::Skipped(Skipped::UnknownSymbol);
        };
        let level = |price: &str, qty: &str| BookLevel {
            price: Price(fixed(&row[price], price_scale)),
            qty: Qty(fixed(&row[qty], qty_scale)),
        };
        let ticker = Ticker {
            seq: None,
            bid: level("best_bid", "best_bid_quantity"),
            ask: level("best_ask", "best_ask_quantity"),
            ts_event: Some(time(&frame["timestamp"])),
        };
        Seen::Event(id, Event::Ticker(ticker))
    })
    .collect()
}
