//! A slow, obvious decoder: the documents read into a `serde_json::Value`.

use serde_json::Value;

use crate::event::{
    BookDelta, BookLevel, Control, Event, Funding, Kline, Side, Skipped, Ticker, Trade, TradeId,
};
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

use super::Seen;

/// Something is missing, of a wrong type, or does not fit.
pub(super) struct Refused;

type Answer<T> = Result<T, Refused>;

/// What a frame holds; what came before a refusal is delivered.
pub(super) fn frame(text: &[u8], market: Market, table: &InstrumentTable) -> (Vec<Seen>, bool) {
    let mut seen = Vec::new();
    let answer = match serde_json::from_slice::<Value>(text) {
        Ok(value) => top(&value, market, table, &mut seen),
        Err(_) => Err(Refused),
    };
    (seen, answer.is_ok())
}

fn top(value: &Value, market: Market, table: &InstrumentTable, out: &mut Vec<Seen>) -> Answer<()> {
    match (value["stream"].as_str(), value.get("data")) {
        (Some(stream), Some(data)) => messages(data, Some(stream), market, table, out),
        _ => messages(value, None, market, table, out),
    }
}

fn messages(
    value: &Value,
    stream: Option<&str>,
    market: Market,
    table: &InstrumentTable,
    out: &mut Vec<Seen>,
) -> Answer<()> {
    match value {
        Value::Object(_) => out.push(message(value, stream, market, table)?),
        Value::Array(rows) => {
            for row in rows {
                if !row.is_object() {
                    return Err(Refused);
                }
                out.push(message(row, stream, market, table)?);
            }
        }
        _ => return Err(Refused),
    }
    Ok(())
}

fn message(
    m: &Value,
    stream: Option<&str>,
    market: Market,
    table: &InstrumentTable,
) -> Answer<Seen> {
    let skip = |reason| Ok(Seen::Skipped(reason));
    let kind = match m.get("e") {
        Some(kind) => kind.as_str().ok_or(Refused)?,
        None => {
            let is_error = m["code"].is_i64() && m["msg"].is_string();
            if m.get("result").is_some() || m.get("error").is_some() || is_error {
                return Ok(control(m).map_or(Seen::Skipped(Skipped::UnknownKind), Seen::Control));
            }
            if m.get("lastUpdateId").is_some() {
                return skip(Skipped::UnknownKind);
            }
            let texts = ["s", "b", "B", "a", "A"]
                .iter()
                .all(|key| m[key].is_string());
            if !(texts && m.get("u").is_some()) {
                return Err(Refused);
            }
            "bookTicker"
        }
    };
    if kind == "serverShutdown" {
        return Ok(Seen::Control(Control::Shutdown));
    }
    let known = [
        "depthUpdate",
        "bookTicker",
        "trade",
        "aggTrade",
        "kline",
        "markPriceUpdate",
    ];
    if !known.contains(&kind) {
        return skip(Skipped::UnknownKind);
    }
    if let Some(stream) = stream {
        let (_, topic) = stream.split_once('@').unwrap_or(("", ""));
        if kind == "depthUpdate" && topic.split('@').next() != Some("depth") {
            return skip(Skipped::UnknownKind);
        }
        if kind == "kline" && topic.ends_with("@+08:00") {
            return skip(Skipped::UnservedLevel);
        }
    }
    if market == Market::Perp
        && let Some(st) = m.get("st")
        && st.as_u64().ok_or(Refused)? != 1
    {
        return skip(Skipped::OtherMarket);
    }
    let symbol = m["s"].as_str().ok_or(Refused)?;
    let Some(row) = table.by_native(ProviderId::BINANCE, market, symbol) else {
        return skip(Skipped::UnknownSymbol);
    };
    let event = match kind {
        "depthUpdate" => return book(m, market, row),
        "bookTicker" => Event::Ticker(Ticker {
            seq: Some(int(&m["u"])?),
            bid: BookLevel {
                price: price(&m["b"], row)?,
                qty: qty(&m["B"], row)?,
            },
            ask: BookLevel {
                price: price(&m["a"], row)?,
                qty: qty(&m["A"], row)?,
            },
            ts_event: m.get("E").map(time).transpose()?,
        }),
        "trade" if m["X"].as_str().is_some_and(|x| x != "MARKET") => {
            return skip(Skipped::UnknownKind);
        }
        "trade" | "aggTrade" => Event::Trade(Trade {
            trade_id: TradeId::Number(int(&m[if kind == "trade" { "t" } else { "a" }])?),
            price: price(&m["p"], row)?,
            qty: qty(&m["q"], row)?,
            taker_side: match m["m"].as_bool().ok_or(Refused)? {
                true => Side::Sell,
                false => Side::Buy,
            },
            ts_event: time(&m["T"])?,
            is_aggregate: kind == "aggTrade",
        }),
        "kline" => {
            let k = m.get("k").ok_or(Refused)?;
            let Some(level) = Level::parse(k["i"].as_str().ok_or(Refused)?) else {
                return skip(Skipped::UnservedLevel);
            };
            Event::Kline(Kline {
                level,
                open_time: time(&k["t"])?,
                open: price(&k["o"], row)?,
                high: price(&k["h"], row)?,
                low: price(&k["l"], row)?,
                close: price(&k["c"], row)?,
                volume: qty(&k["v"], row)?,
                volume_quote: Some(exact(&k["q"], row.price_scale + row.qty_scale)?),
                trade_count: Some(int(&k["n"])?),
                is_closed: k["x"].as_bool().ok_or(Refused)?,
                ts_event: time(&m["E"])?,
            })
        }
        _ => {
            let next = m.get("T").map_or(Ok(0), int)?;
            Event::Funding(Funding {
                rate: optional(m.get("r"), 12)?,
                mark_price: narrow(&m["p"], 8)?,
                index_price: optional(m.get("i"), 8)?,
                next_funding_time: if next == 0 {
                    None
                } else {
                    Some(time(&m["T"])?)
                },
                ts_event: time(&m["E"])?,
            })
        }
    };
    Ok(Seen::Event(row.id, event))
}

fn book(m: &Value, market: Market, row: &Instrument) -> Answer<Seen> {
    let side = |rows: &Value| -> Answer<Vec<BookLevel>> {
        let rows = rows.as_array().ok_or(Refused)?;
        let level = |pair: &Value| {
            if !pair.is_array() {
                return Err(Refused);
            }
            Ok(BookLevel {
                price: price(&pair[0], row)?,
                qty: qty(&pair[1], row)?,
            })
        };
        rows.iter().map(level).collect()
    };
    Ok(Seen::Book {
        id: row.id,
        bids: side(&m["b"])?,
        asks: side(&m["a"])?,
        delta: BookDelta {
            first_seq: int(&m["U"])?,
            last_seq: int(&m["u"])?,
            prev_seq: match market {
                Market::Spot => None,
                Market::Perp => Some(int(&m["pu"])?),
            },
            ts_event: time(&m["E"])?,
            bids: &[],
            asks: &[],
        },
    })
}

fn control(m: &Value) -> Option<Control> {
    let id = m["id"].as_u64();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    if let Some(error) = m.get("error") {
        let code = error["code"].as_i64()?;
        return Some(Control::Error {
            stream: None,
            id,
            code,
            message: text(&error["msg"]),
        });
    }
    if m["code"].is_i64() && m["msg"].is_string() {
        return Some(Control::Error {
            stream: None,
            id,
            code: m["code"].as_i64()?,
            message: text(&m["msg"]),
        });
    }
    let id = id?;
    match &m["result"] {
        Value::Null | Value::Bool(_) => Some(Control::Ack { id }),
        Value::Array(rows) => {
            let names = rows.iter().map(|row| row.as_str().map(str::to_owned));
            Some(Control::Subscriptions {
                id: Some(id),
                streams: names.collect::<Option<_>>()?,
            })
        }
        _ => None,
    }
}

fn int(value: &Value) -> Answer<u64> {
    value.as_u64().ok_or(Refused)
}

fn time(value: &Value) -> Answer<TsNanos> {
    let value = i128::from(int(value)?);
    let nanos = if value < 100_000_000_000_000 {
        value * 1_000_000
    } else {
        value * 1_000
    };
    Ok(TsNanos(i64::try_from(nanos).unwrap_or(i64::MAX)))
}

fn price(value: &Value, row: &Instrument) -> Answer<Price> {
    narrow(value, row.price_scale).map(Price)
}

fn qty(value: &Value, row: &Instrument) -> Answer<Qty> {
    narrow(value, row.qty_scale).map(Qty)
}

fn optional(value: Option<&Value>, scale: u8) -> Answer<Option<i64>> {
    match value {
        None => Ok(None),
        Some(value) => match value.as_str().ok_or(Refused)? {
            "" => Ok(None),
            text => match text.strip_prefix('-') {
                Some(text) => narrow(&Value::from(text), scale).map(|number| Some(-number)),
                None => narrow(value, scale).map(Some),
            },
        },
    }
}

fn narrow(value: &Value, scale: u8) -> Answer<i64> {
    i64::try_from(exact(value, scale)?).map_err(|_| Refused)
}

/// The digits, with the point moved by hand.
fn exact(value: &Value, scale: u8) -> Answer<i128> {
    let text = value.as_str().ok_or(Refused)?;
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) | Some(("", _)) => return Err(Refused),
        Some(parts) => parts,
        None => (text, ""),
    };
    let is_digit = |c: char| c.is_ascii_digit();
    if whole.is_empty() || !whole.chars().all(is_digit) || !fraction.chars().all(is_digit) {
        return Err(Refused);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > usize::from(scale) {
        return Err(Refused);
    }
    format!("{whole}{fraction:0<width$}", width = usize::from(scale))
        .parse()
        .map_err(|_| Refused)
}
