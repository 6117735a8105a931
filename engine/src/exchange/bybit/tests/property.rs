//! Generated connections against the reference decoder.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::instrument::Market;

use super::reference::Reference;
use super::{StreamDecoder, decode, spec, table_of};

/// A generator of numbers that is the same in every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let word = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        word as usize % end
    }
}

/// Writes JSON with keys in any order, blanks anywhere and escapes that are not needed.
struct Writer {
    dice: Dice,
    is_odd: bool,
}

impl Writer {
    fn blank(&mut self, out: &mut String) {
        while self.is_odd && self.dice.below(4) == 0 {
            out.push([' ', '\n', '\t', '\r'][self.dice.below(4)]);
        }
    }

    fn text(&mut self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            if c == '"' || c == '\\' || (self.is_odd && self.dice.below(8) == 0) {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            } else {
                out.push(c);
            }
        }
        out.push('"');
    }

    fn write(&mut self, out: &mut String, value: &Value) {
        self.blank(out);
        match value {
            Value::String(text) => self.text(out, text),
            Value::Array(rows) => {
                out.push('[');
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.write(out, row);
                }
                self.blank(out);
                out.push(']');
            }
            Value::Object(fields) => {
                let mut fields: Vec<_> = fields.iter().collect();
                for at in (1..fields.len()).rev() {
                    let other = self.dice.below(at + 1);
                    fields.swap(at, other);
                }
                out.push('{');
                for (at, (name, value)) in fields.into_iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    self.blank(out);
                    self.text(out, name);
                    self.blank(out);
                    out.push(':');
                    self.write(out, value);
                }
                self.blank(out);
                out.push('}');
            }
            other => out.push_str(&other.to_string()),
        }
        self.blank(out);
    }
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        12 => "[0-9]{1,6}\\.[0-9]{1,2}0{0,4}",
        6 => "(0|[1-9][0-9]{0,9})",
        1 => "[0-9]{8,24}(\\.[0-9]{0,12})?",
        1 => "-?[0-9.e+]{0,6}",
    ]
    .prop_map(Value::from)
}

fn millis() -> impl Strategy<Value = Value> {
    prop_oneof![
        20 => (1_600_000_000_000_u64..1_900_000_000_000).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
    ]
}

fn update() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0_u64..40_000_000).prop_map(Value::from),
        2 => Just(json!(1)),
        1 => any::<u64>().prop_map(Value::from),
    ]
}

fn symbol() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just("BTCUSDT"), 4 => Just("DOGEUSDT"), 1 => Just("NONE"), 1 => Just("")]
}

fn kind() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just("delta"), 6 => Just("snapshot"), 1 => Just("full")]
}

fn levels() -> impl Strategy<Value = Value> {
    let level = proptest::collection::vec(number(), 2);
    let odd = proptest::collection::vec(number(), 0..4);
    let row = prop_oneof![80 => level, 1 => odd].prop_map(Value::from);
    proptest::collection::vec(row, 0..6).prop_map(Value::from)
}

fn book() -> impl Strategy<Value = Value> {
    let depth = prop_oneof![
        8 => Just("200"), 4 => Just("1"), 2 => Just("50"), 1 => Just("rpi"), 1 => Just("-1")
    ];
    let data = (levels(), levels(), update());
    (depth, symbol(), kind(), millis(), millis(), data).prop_map(
        |(depth, symbol, kind, ts, cts, (b, a, u))| {
            json!({
                "topic": format!("orderbook.{depth}.{symbol}"), "type": kind, "ts": ts,
                "data": { "s": symbol, "b": b, "a": a, "u": u, "seq": 7_961_638_724_u64 },
                "cts": cts,
            })
        },
    )
}

fn trade() -> impl Strategy<Value = Value> {
    let id = prop_oneof![
        "2[0-9]{18}",
        "[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}",
        "[0-9A-Fa-f-]{0,40}",
    ];
    let side = prop_oneof![10 => Just("Buy"), 10 => Just("Sell"), 1 => Just("None")];
    let block = proptest::option::weighted(0.8, proptest::bool::weighted(0.1));
    (id, side, block, number(), number(), millis()).prop_map(
        |(id, side, block, price, qty, time)| {
            let mut item = json!({
                "T": time, "s": "BTCUSDT", "S": side, "v": qty, "p": price, "L": "PlusTick",
                "i": id, "RPI": false, "seq": 1_783_284_617,
            });
            if let Some(block) = block {
                item["BT"] = block.into();
            }
            item
        },
    )
}

fn trades() -> impl Strategy<Value = Value> {
    let items = proptest::collection::vec(trade(), 0..5);
    (symbol(), millis(), items).prop_map(|(symbol, ts, items)| {
        json!({
            "topic": format!("publicTrade.{symbol}"), "type": "snapshot", "ts": ts, "data": items
        })
    })
}

fn kline() -> impl Strategy<Value = Value> {
    let prices = proptest::array::uniform4(number());
    (prices, number(), number(), millis(), any::<bool>()).prop_map(
        |([open, close, high, low], volume, turnover, start, confirm)| {
            json!({
                "start": start, "end": start, "interval": "5", "open": open, "close": close,
                "high": high, "low": low, "volume": volume, "turnover": turnover,
                "confirm": confirm, "timestamp": start,
            })
        },
    )
}

fn klines() -> impl Strategy<Value = Value> {
    let interval = proptest::sample::select(&["1", "5", "240", "D", "D", "3", "W", ""][..]);
    let items = proptest::collection::vec(kline(), 0..4);
    (interval, symbol(), millis(), items).prop_map(|(interval, symbol, ts, items)| {
        json!({
            "topic": format!("kline.{interval}.{symbol}"), "type": "snapshot", "ts": ts,
            "data": items,
        })
    })
}

fn ticker() -> impl Strategy<Value = Value> {
    let rate = proptest::sample::select(&["0.0001", "-0.005", "", "0", "0.0000000000001", "x"][..]);
    let next = proptest::sample::select(&["1760342400000", "0", "", "-1", "soon"][..]);
    let maybe = |number| proptest::option::weighted(0.5, number);
    let price = || maybe(number().boxed());
    let rest = (
        proptest::option::weighted(0.3, rate),
        proptest::option::weighted(0.3, next),
    );
    (symbol(), kind(), millis(), price(), price(), rest).prop_map(
        |(symbol, kind, ts, mark, index, (rate, next))| {
            let mut data = Map::new();
            data.insert("symbol".to_owned(), symbol.into());
            data.insert("bid1Size".to_owned(), "1.5".into());
            let fields = [
                ("markPrice", mark),
                ("indexPrice", index),
                ("fundingRate", rate.map(Value::from)),
                ("nextFundingTime", next.map(Value::from)),
            ];
            for (name, value) in fields {
                data.extend(value.map(|value| (name.to_owned(), value)));
            }
            json!({
                "topic": format!("tickers.{symbol}"), "type": kind, "data": data,
                "cs": 24_987_956_059_u64, "ts": ts,
            })
        },
    )
}

fn answer() -> impl Strategy<Value = Value> {
    let op = proptest::sample::select(&["subscribe", "unsubscribe", "ping", "pong"][..]);
    let text = proptest::sample::select(
        &[
            "",
            "subscribe",
            "pong",
            "error:handler not found,topic:orderbook.500.BTCUSDT",
            "args size >10",
        ][..],
    );
    let id = prop_oneof![
        Just(json!("")),
        Just(json!(7)),
        (0_u64..99).prop_map(|id| json!(id.to_string())),
        Just(json!("x")),
    ];
    (op, text, proptest::option::of(id), any::<Option<bool>>()).prop_map(
        |(op, text, id, success)| {
            let mut answer =
                json!({ "ret_msg": text, "conn_id": "cejreassvfrsfvb9v1a0-2m", "op": op });
            if let Some(id) = id {
                answer["req_id"] = id;
            }
            if let Some(success) = success {
                answer["success"] = success.into();
            }
            answer
        },
    )
}

/// Values that stand where they don't belong.
fn odd() -> impl Strategy<Value = Value> {
    proptest::sample::select(vec![
        json!(null),
        json!(-7),
        json!(1.5),
        json!({}),
        json!([["1", "2"]]),
        json!(true),
        json!(12),
        json!("12"),
        json!("orderbook.200.BTCUSDT"),
    ])
}

/// A message as documented, perhaps with one thing out of the ordinary, in it or in its data.
fn frame() -> impl Strategy<Value = Value> {
    let message = prop_oneof![
        6 => book(), 3 => trades(), 3 => klines(), 5 => ticker(), 2 => answer(),
        1 => Just(json!({ "topic": "allLiquidation.BTCUSDT", "data": [], "ts": 1 })),
        1 => Just(json!({ "topic": "wallet", "data": [], "ts": 1 })),
        1 => odd(),
    ];
    let twist = (
        any::<prop::sample::Index>(),
        odd(),
        any::<bool>(),
        0..3_usize,
    );
    (message, proptest::option::weighted(0.25, twist)).prop_map(|(mut message, twist)| {
        if let Some((index, value, is_inner, how)) = twist {
            let place = match is_inner {
                true => inner(&mut message),
                false => message.as_object_mut(),
            };
            if let Some(fields) = place.filter(|fields| !fields.is_empty()) {
                let at = index.index(fields.len());
                let name = fields.keys().nth(at).cloned().unwrap();
                match how {
                    0 => fields.insert(name, value),
                    1 => fields.remove(&name),
                    _ => fields.insert("further".to_owned(), value),
                };
            }
        }
        message
    })
}

/// The object in which a message's data stand.
fn inner(message: &mut Value) -> Option<&mut Map<String, Value>> {
    match message.get_mut("data")? {
        Value::Array(rows) => rows.last_mut()?.as_object_mut(),
        data => data.as_object_mut(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_the_reference(
        frames in proptest::collection::vec((frame(), any::<u64>(), any::<bool>()), 1..12),
        is_spot in proptest::bool::weighted(0.3),
    ) {
        let market = if is_spot { Market::Spot } else { Market::Perp };
        let table = table_of(market, vec![
            spec(market, "BTC", "USDT", 8, 6),
            spec(market, "DOGE", "USDT", 2, 3),
        ]);
        let mut decoder = StreamDecoder::new(market, table.clone());
        let mut reference = Reference::new(market, table);
        for (frame, seed, is_odd) in frames {
            let mut text = String::new();
            Writer { dice: Dice(seed | 1), is_odd }.write(&mut text, &frame);
            let (seen, answer) = decode(&mut decoder, text.as_bytes());
            let (expected, is_ok) = reference.frame(text.as_bytes());
            prop_assert_eq!(answer.is_ok(), is_ok, "{}: {:?}", text, answer);
            prop_assert_eq!(seen, expected, "{}", text);
        }
    }

    #[test]
    fn damaged_frames_never_deliver_a_part_of_a_book(
        frame in book(), seed in any::<u64>(), damage in 1_usize..4,
    ) {
        let table = table_of(Market::Perp, vec![spec(Market::Perp, "BTC", "USDT", 8, 6)]);
        let mut decoder = StreamDecoder::new(Market::Perp, table.clone());
        let mut dice = Dice(seed | 1);
        let mut text = frame.to_string().into_bytes();
        for _ in 0..damage {
            let at = dice.below(text.len());
            match dice.below(3) {
                0 => text[at] ^= 1 << dice.below(7),
                1 => text.truncate(at + 1),
                _ => text.insert(at, b"\"\\{}[]:,.0-e "[dice.below(13)]),
            }
        }
        let (seen, answer) = decode(&mut decoder, &text);
        prop_assert!(answer.is_ok() || seen.is_empty());
        if let Ok(value) = serde_json::from_slice::<Value>(&text)
            && !value.is_array()
        {
            let (expected, is_ok) = Reference::new(Market::Perp, table).frame(&text);
            // Repeated names, which damage can make, are refused here and merged there.
            if answer.is_ok() || !is_ok {
                prop_assert_eq!((seen, answer.is_ok()), (expected, is_ok));
            }
        }
    }
}
