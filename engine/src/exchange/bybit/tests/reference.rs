//! A slow, obvious decoder: the documents read into a `serde_json::Value`.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::event::{
    BookDelta, BookImage, BookLevel, Control, Event, Funding, Kline, Side, Skipped, Ticker, Trade,
    TradeId,
};
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentId, InstrumentTable, Market};
use crate::num::{Price, Qty, from_decimal};
use crate::time::{Level, TsNanos};

use super::Seen;

/// Something is missing, of a wrong type, or does not fit.
pub(super) struct Refused;

type Answer<T> = Result<T, Refused>;

/// A decoder of one connection.
pub(super) struct Reference {
    market: Market,
    table: Arc<InstrumentTable>,
    depths: HashMap<InstrumentId, u64>,
    /// The merged fields of each ticker that began with a snapshot.
    tickers: HashMap<InstrumentId, HashMap<String, String>>,
}

impl Reference {
    pub(super) fn new(market: Market, table: Arc<InstrumentTable>) -> Self {
        Self {
            market,
            table,
            depths: HashMap::new(),
            tickers: HashMap::new(),
        }
    }

    /// What a frame holds; what came before a refusal is delivered.
    pub(super) fn frame(&mut self, text: &[u8]) -> (Vec<Seen>, bool) {
        let mut seen = Vec::new();
        let answer = match serde_json::from_slice::<Value>(text) {
            Ok(value) => self.top(&value, &mut seen),
            Err(_) => Err(Refused),
        };
        (seen, answer.is_ok())
    }

    fn top(&mut self, v: &Value, out: &mut Vec<Seen>) -> Answer<()> {
        v.as_object().ok_or(Refused)?;
        let is_any = |key: &str, is: fn(&Value) -> bool| v[key].is_null() || is(&v[key]);
        let is_sound = ["topic", "type", "op", "ret_msg"]
            .iter()
            .all(|key| is_any(key, Value::is_string))
            && ["ts", "cts"].iter().all(|key| is_any(key, Value::is_u64))
            && is_any("success", Value::is_boolean);
        if !is_sound {
            return Err(Refused);
        }
        let Some(topic) = v["topic"].as_str() else {
            out.push(control(v)?);
            return Ok(());
        };
        let parts: Vec<&str> = topic.splitn(3, '.').collect();
        let intervals = ["1", "5", "15", "30", "60", "240", "D"];
        let after = |n: usize| topic.splitn(n + 1, '.').nth(n);
        let (kind, symbol) = match parts.as_slice() {
            ["publicTrade", ..] if parts.len() > 1 => ("trade", after(1)),
            ["tickers", ..] if parts.len() > 1 => ("ticker", after(1)),
            ["orderbook", depth, _] if depth.parse::<u32>().is_ok() => ("book", after(2)),
            ["kline", interval, _] => match intervals.contains(interval) {
                true => ("kline", after(2)),
                false => {
                    out.push(Seen::Skipped(Skipped::UnservedLevel));
                    return Ok(());
                }
            },
            _ => {
                out.push(Seen::Skipped(Skipped::UnknownKind));
                return Ok(());
            }
        };
        let row = symbol.and_then(|s| self.table.by_native(ProviderId::BYBIT, self.market, s));
        let Some(row) = row.cloned() else {
            out.push(Seen::Skipped(Skipped::UnknownSymbol));
            return Ok(());
        };
        match kind {
            "trade" => trades(v, &row, out),
            "kline" => {
                let at = intervals.iter().position(|i| *i == parts[1]).unwrap();
                klines(v, &row, Level::ALL[at], out)
            }
            "ticker" => {
                out.push(self.ticker(v, &row)?);
                Ok(())
            }
            _ => {
                out.push(self.book(v, &row, parts[1].parse().unwrap())?);
                Ok(())
            }
        }
    }

    fn book(&mut self, v: &Value, row: &Instrument, depth: u64) -> Answer<Seen> {
        if depth != 1 && self.depths.get(&row.id).is_some_and(|d| *d != depth) {
            return Ok(Seen::Skipped(Skipped::UnknownKind));
        }
        let is_snapshot = is_snapshot(v)?;
        let ts_event = match v["cts"].is_null() {
            true => time(&v["ts"])?,
            false => time(&v["cts"])?,
        };
        let data = v["data"].as_object().ok_or(Refused)?;
        let side = |name: &str| -> Answer<Vec<BookLevel>> {
            let rows = data.get(name).and_then(Value::as_array).ok_or(Refused)?;
            rows.iter()
                .map(|level| {
                    Ok(BookLevel {
                        price: Price(number(&level[0], row.price_scale)?),
                        qty: Qty(number(&level[1], row.qty_scale)?),
                    })
                })
                .collect()
        };
        let (bids, asks) = (side("b")?, side("a")?);
        let seq = data.get("u").and_then(Value::as_u64).ok_or(Refused)?;
        if depth == 1 {
            if !is_snapshot {
                return Err(Refused);
            }
            let ticker = Ticker {
                seq: None,
                bid: bids.first().copied().unwrap_or_default(),
                ask: asks.first().copied().unwrap_or_default(),
                ts_event: Some(ts_event),
            };
            return Ok(Seen::Event(row.id, Event::Ticker(ticker)));
        }
        self.depths.insert(row.id, depth);
        let event = match is_snapshot || seq == 1 {
            true => Event::BookImage(BookImage {
                seq,
                ts_event,
                bids: &[],
                asks: &[],
            }),
            false => Event::Book(BookDelta {
                first_seq: seq,
                last_seq: seq,
                prev_seq: None,
                ts_event,
                bids: &[],
                asks: &[],
            }),
        };
        Ok(Seen::Book(row.id, event, bids, asks))
    }

    fn ticker(&mut self, v: &Value, row: &Instrument) -> Answer<Seen> {
        let nothing = Seen::Skipped(Skipped::UnknownKind);
        if self.market == Market::Spot {
            return Ok(nothing);
        }
        let is_snapshot = is_snapshot(v)?;
        let ts_event = time(&v["ts"])?;
        let data = v["data"].as_object().ok_or(Refused)?;
        let known = self.tickers.get(&row.id).cloned();
        let mut fields = match is_snapshot {
            true => HashMap::new(),
            false => known.clone().unwrap_or_default(),
        };
        let mut is_told = false;
        for name in ["markPrice", "indexPrice", "fundingRate", "nextFundingTime"] {
            match data.get(name) {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => fields.insert(name.to_owned(), text.clone()),
                Some(_) => return Err(Refused),
            };
            is_told = true;
        }
        let get = |name: &str| fields.get(name).filter(|text| !text.is_empty());
        let price = |name: &str| {
            let text = get(name).map(|text| Value::from(text.as_str()));
            text.map(|text| number(&text, 8)).transpose()
        };
        let mark_price = price("markPrice")?;
        let next = match get("nextFundingTime").map(String::as_str) {
            None | Some("0") => None,
            Some(text) => Some(time(&Value::from(
                text.parse::<u64>().map_err(|_| Refused)?,
            ))?),
        };
        let funding = Funding {
            rate: get("fundingRate")
                .map(|text| signed(text, 12))
                .transpose()?,
            mark_price: mark_price.unwrap_or_default(),
            index_price: price("indexPrice")?,
            next_funding_time: next,
            ts_event,
        };
        if !is_snapshot && known.is_none() {
            return Ok(nothing);
        }
        self.tickers.insert(row.id, fields);
        Ok(match is_told && mark_price.is_some() {
            true => Seen::Event(row.id, Event::Funding(funding)),
            false => nothing,
        })
    }
}

fn trades(v: &Value, row: &Instrument, out: &mut Vec<Seen>) -> Answer<()> {
    for item in v["data"].as_array().ok_or(Refused)? {
        let text = |name: &str| item[name].as_str().ok_or(Refused);
        let (side, id) = (text("S")?, text("i")?);
        let is_texts = ["v", "p"].iter().all(|name| item[name].is_string());
        let ms = item["T"].as_u64().ok_or(Refused)?;
        let is_block = match item.get("BT") {
            None => false,
            Some(truth) => truth.as_bool().ok_or(Refused)?,
        };
        if !is_texts {
            return Err(Refused);
        }
        if is_block {
            out.push(Seen::Skipped(Skipped::UnknownKind));
            continue;
        }
        let trade = Trade {
            trade_id: TradeId::parse(id),
            price: Price(number(&item["p"], row.price_scale)?),
            qty: Qty(number(&item["v"], row.qty_scale)?),
            taker_side: match side {
                "Buy" => Side::Buy,
                "Sell" => Side::Sell,
                _ => return Err(Refused),
            },
            ts_event: time(&Value::from(ms))?,
            is_aggregate: false,
        };
        out.push(Seen::Event(row.id, Event::Trade(trade)));
    }
    Ok(())
}

fn klines(v: &Value, row: &Instrument, level: Level, out: &mut Vec<Seen>) -> Answer<()> {
    let ts_event = time(&v["ts"])?;
    for item in v["data"].as_array().ok_or(Refused)? {
        let price = |name: &str| number(&item[name], row.price_scale).map(Price);
        let turnover = item["turnover"].as_str().ok_or(Refused)?;
        let kline = Kline {
            level,
            open_time: time(&item["start"])?,
            open: price("open")?,
            high: price("high")?,
            low: price("low")?,
            close: price("close")?,
            volume: Qty(number(&item["volume"], row.qty_scale)?),
            volume_quote: Some(wide(turnover, row.price_scale + row.qty_scale)?),
            trade_count: None,
            is_closed: item["confirm"].as_bool().ok_or(Refused)?,
            ts_event,
        };
        out.push(Seen::Event(row.id, Event::Kline(kline)));
    }
    Ok(())
}

fn control(v: &Value) -> Answer<Seen> {
    let (op, success) = (v["op"].as_str(), v["success"].as_bool());
    if op == Some("pong") || (op == Some("ping") && success != Some(false)) {
        return Ok(Seen::Control(Control::Heartbeat));
    }
    let id = match &v["req_id"] {
        Value::String(text) => text.parse::<u64>().ok(),
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    let message = v["ret_msg"].as_str().unwrap_or("");
    match (success.ok_or(Refused)?, id) {
        (true, Some(id)) => Ok(Seen::Control(Control::Ack { id })),
        (true, None) => Ok(Seen::Skipped(Skipped::UnknownKind)),
        (false, id) => Ok(Seen::Control(Control::Error {
            id,
            stream: message
                .strip_prefix("error:handler not found,topic:")
                .map(str::to_owned),
            code: 0,
            message: message.to_owned(),
        })),
    }
}

fn is_snapshot(v: &Value) -> Answer<bool> {
    match v["type"].as_str() {
        Some("snapshot") => Ok(true),
        Some("delta") => Ok(false),
        _ => Err(Refused),
    }
}

fn time(v: &Value) -> Answer<TsNanos> {
    let ms = v.as_u64().and_then(|ms| i64::try_from(ms).ok());
    let ms = ms.filter(|ms| ms.checked_mul(1_000_000).is_some());
    ms.map(TsNanos::from_ms).ok_or(Refused)
}

/// Digits, perhaps a point and digits.
fn is_plain(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction]
        .iter()
        .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

fn signed(text: &str, scale: u8) -> Answer<i64> {
    match text.strip_prefix('-') {
        Some(rest) => number(&Value::from(rest), scale).map(|number| -number),
        None => number(&Value::from(text), scale),
    }
}

fn number(v: &Value, scale: u8) -> Answer<i64> {
    let text = v.as_str().ok_or(Refused)?;
    let number = wide(text, scale)?;
    i64::try_from(number).map_err(|_| Refused)
}

fn wide(text: &str, scale: u8) -> Answer<i128> {
    if !is_plain(text) {
        return Err(Refused);
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let scale = usize::from(scale);
    let (kept, beyond) = fraction.split_at(fraction.len().min(scale));
    if beyond.bytes().any(|byte| byte != b'0') {
        return Err(Refused);
    }
    format!("{whole}{kept:0<scale$}")
        .parse()
        .map_err(|_| Refused)
}

#[test]
fn numbers_of_the_reference_agree_with_decimals() {
    for (text, scale) in [("1.50", 2), ("0.00000001", 8), ("123456", 0), ("7.0", 4)] {
        let decimal = text.parse().unwrap();
        let expected = from_decimal(decimal, scale).unwrap();
        assert_eq!(number(&Value::from(text), scale).ok(), Some(expected));
    }
}
