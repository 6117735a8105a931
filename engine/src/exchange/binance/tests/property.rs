//! Generated frames against the reference decoder.

use proptest::prelude::*;

use crate::instrument::Market;

use super::differential::compare;
use super::{Dice, StreamDecoder, reference, spec, table_of};

/// JSON before it is written down; repeated names are possible.
#[derive(Clone, Debug)]
enum Json {
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
    Text(String),
    /// Anything that is written as it stands.
    Raw(String),
}

fn raw(text: impl ToString) -> Json {
    Json::Raw(text.to_string())
}

fn text(text: &str) -> Json {
    Json::Text(text.to_owned())
}

/// How a frame is written down.
struct Style<'a> {
    dice: &'a mut Dice,
    /// 0: compact, 1: a blank after separators, 2: blanks anywhere.
    blanks: usize,
    /// Escapes characters of strings that need none, one in so many; 0: never.
    escapes: usize,
}

impl Style<'_> {
    fn blank(&mut self, out: &mut String, is_separator: bool) {
        match self.blanks {
            1 if is_separator => out.push(' '),
            2 => {
                for _ in 0..self.dice.below(3) {
                    out.push([' ', '\n', '\t', '\r'][self.dice.below(4)]);
                }
            }
            _ => {}
        }
    }

    fn string(&mut self, out: &mut String, text: &str) {
        out.push('"');
        for c in text.chars() {
            let is_escaped = self.escapes > 0 && self.dice.below(self.escapes) == 0;
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                c if u32::from(c) < 0x20 || (is_escaped && u32::from(c) < 0x1_0000) => {
                    out.push_str(&format!("\\u{:04x}", u32::from(c)));
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }

    fn write(&mut self, out: &mut String, json: &Json) {
        self.blank(out, false);
        match json {
            Json::Raw(raw) => out.push_str(raw),
            Json::Text(text) => self.string(out, text),
            Json::Array(rows) => {
                out.push('[');
                for (index, row) in rows.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                        self.blank(out, true);
                    }
                    self.write(out, row);
                }
                self.blank(out, false);
                out.push(']');
            }
            Json::Object(fields) => {
                out.push('{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                        self.blank(out, true);
                    }
                    self.blank(out, false);
                    self.string(out, name);
                    self.blank(out, false);
                    out.push(':');
                    self.blank(out, true);
                    self.write(out, value);
                }
                self.blank(out, false);
                out.push('}');
            }
        }
        self.blank(out, false);
    }
}

fn number() -> impl Strategy<Value = Json> {
    prop_oneof![
        12 => "[0-9]{1,7}\\.[0-9]{1,8}",
        4 => "[0-9]{1,7}\\.[0-9]{1,2}0{0,6}",
        3 => "(0|[1-9][0-9]{0,10})",
        1 => "[0-9]{8,22}(\\.[0-9]{0,12})?",
        1 => "-?[0-9.e+]{0,6}",
    ]
    .prop_map(|number| text(&number))
}

fn id() -> impl Strategy<Value = Json> {
    prop_oneof![
        12 => (0..10_000_000_000_000_u64).prop_map(raw),
        2 => any::<u64>().prop_map(raw),
        1 => Just(raw(0)),
    ]
}

fn truth() -> impl Strategy<Value = Json> {
    any::<bool>().prop_map(raw)
}

fn symbol() -> impl Strategy<Value = Json> {
    prop_oneof![
        8 => Just("BTCUSDT"), 4 => Just("DOGEUSDT"), 1 => Just("NONE"), 2 => Just("币USDT"),
        1 => Just(""),
    ]
    .prop_map(text)
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = Json> {
    proptest::sample::select(words).prop_map(text)
}

fn levels() -> impl Strategy<Value = Json> {
    let level = proptest::collection::vec(number(), 2).prop_map(Json::Array);
    let odd = proptest::collection::vec(number(), 0..4).prop_map(Json::Array);
    let side = prop_oneof![60 => level, 1 => odd];
    proptest::collection::vec(side, 0..9).prop_map(Json::Array)
}

/// Values that stand where they don't belong.
fn odd() -> impl Strategy<Value = Json> {
    prop_oneof![
        Just(raw("null")),
        Just(raw("-7")),
        Just(raw("1.5")),
        Just(raw("[]")),
        Just(raw("{}")),
        Just(raw("[[\"1\",\"2\"]]")),
        Just(raw("{\"s\":\"BTCUSDT\"}")),
        Just(raw("true")),
        Just(raw("12")),
        "[ -~]{0,12}".prop_map(|any| text(&any)),
        number(),
    ]
}

type Fields = Vec<(String, Json)>;

fn field(
    name: &'static str,
    value: impl Strategy<Value = Json> + 'static,
) -> BoxedStrategy<Fields> {
    value
        .prop_map(move |value| vec![(name.to_owned(), value)])
        .boxed()
}

fn object(fields: Vec<BoxedStrategy<Fields>>) -> BoxedStrategy<Json> {
    fields
        .prop_map(|fields| Json::Object(fields.into_iter().flatten().collect()))
        .boxed()
}

/// A message of some kind, as documented.
fn message() -> impl Strategy<Value = Json> {
    let kind = |name| field("e", Just(text(name)));
    let head = |name| vec![kind(name), field("E", id()), field("s", symbol())];
    let with = |mut head: Vec<_>, fields: Vec<_>| {
        head.extend(fields);
        object(head)
    };
    let trade = |name, id_name| {
        let mut fields = head(name);
        fields.extend([
            field(id_name, id()),
            field("p", number()),
            field("q", number()),
            field("T", id()),
            field("m", truth()),
            field("M", truth()),
        ]);
        fields
    };
    let depth = || {
        with(
            head("depthUpdate"),
            vec![
                field("T", id()),
                field("U", id()),
                field("u", id()),
                field("pu", id()),
                field("b", levels()),
                field("a", levels()),
                field("st", Just(raw(1))),
            ],
        )
    };
    let bar = || {
        object(vec![
            field("t", id()),
            field("T", id()),
            field("s", symbol()),
            field("i", word(&["1m", "5m", "4h", "1d", "3m", "1M"])),
            field("o", number()),
            field("h", number()),
            field("l", number()),
            field("c", number()),
            field("v", number()),
            field("n", id()),
            field("x", truth()),
            field("q", number()),
            field("B", number()),
        ])
    };
    prop_oneof![
        4 => object(trade("trade", "t")),
        2 => with(trade("trade", "t"), vec![field("X", word(&["MARKET", "INSURANCE_FUND"]))]),
        4 => object(trade("aggTrade", "a")),
        8 => depth(),
        4 => with(head("kline"), vec![field("k", bar())]),
        2 => with(vec![field("e", Just(text("bookTicker"))), field("E", id())], ticker()),
        2 => object(ticker()),
        4 => with(head("markPriceUpdate"), vec![
            field("p", number()), field("i", number()), field("P", number()),
            field("r", word(&["0.00038167", "-0.0001", "", "0.0000000000001", "x"])),
            field("ap", number()), field("T", id()), field("st", Just(raw(2))),
        ]),
        1 => with(head("24hrTicker"), vec![field("c", number())]),
        1 => object(vec![field("result", odd()), field("id", id())]),
        1 => object(vec![field("code", odd()), field("msg", odd()), field("id", odd())]),
    ]
}

fn ticker() -> Vec<BoxedStrategy<Fields>> {
    vec![
        field("u", id()),
        field("s", symbol()),
        field("b", number()),
        field("B", number()),
        field("a", number()),
        field("A", number()),
    ]
}

/// A message with something out of the ordinary, perhaps, and its wrapper.
fn frame() -> impl Strategy<Value = Json> {
    let extra = ("[a-zA-Z]{1,3}|stream|data|lastUpdateId", odd());
    (
        message().prop_shuffle_fields(),
        proptest::option::weighted(0.25, extra),
        proptest::option::weighted(0.1, (any::<prop::sample::Index>(), odd())),
        proptest::option::weighted(0.05, any::<prop::sample::Index>()),
        proptest::sample::select(
            &[
                "",
                "",
                "btcusdt@depth@100ms",
                "btcusdt@depth",
                "btcusdt@depth20@100ms",
                "x@kline_1d@+08:00",
                "币@trade",
            ][..],
        ),
        proptest::bool::weighted(0.05),
    )
        .prop_map(|(json, extra, swap, drop, stream, is_array)| {
            let Json::Object(mut fields) = json else {
                return json;
            };
            if let Some((index, value)) = swap {
                index.get_mut(&mut fields).1 = value;
            }
            if let Some(index) = drop {
                let at = index.index(fields.len());
                fields.remove(at);
            }
            fields.extend(extra);
            let mut json = Json::Object(fields);
            if is_array {
                json = Json::Array(vec![json.clone(), json]);
            }
            match stream {
                "" => json,
                stream => Json::Object(vec![
                    ("stream".to_owned(), text(stream)),
                    ("data".to_owned(), json),
                ]),
            }
        })
}

trait ShuffleFields: Strategy<Value = Json> + Sized {
    /// Fields in the documented order half of the time.
    fn prop_shuffle_fields(self) -> impl Strategy<Value = Json> {
        (self, any::<bool>(), any::<u64>()).prop_map(|(json, is_shuffled, seed)| match json {
            Json::Object(mut fields) if is_shuffled => {
                let mut dice = Dice(seed | 1);
                for at in (1..fields.len()).rev() {
                    fields.swap(at, dice.below(at + 1));
                }
                Json::Object(fields)
            }
            json => json,
        })
    }
}

impl<S: Strategy<Value = Json>> ShuffleFields for S {}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn agrees_with_the_reference(
        json in frame(),
        is_spot in any::<bool>(),
        blanks in 0_usize..3,
        escapes in prop_oneof![3 => Just(0_usize), 1 => Just(4), 1 => Just(1)],
        seed in any::<u64>(),
    ) {
        let market = if is_spot { Market::Spot } else { Market::Perp };
        let table = table_of(market, vec![
            spec(market, "BTC", "USDT", 8, 8),
            spec(market, "DOGE", "USDT", 5, 0),
            spec(market, "币", "USDT", 2, 10),
        ]);
        let mut decoder = StreamDecoder::new(market, table.clone());
        let mut dice = Dice(seed | 1);
        let mut frame = String::new();
        Style { dice: &mut dice, blanks, escapes }.write(&mut frame, &json);
        let (_, seen, answer) = compare(&mut decoder, frame.as_bytes());
        let (expected, is_ok) = reference::frame(frame.as_bytes(), market, &table);
        prop_assert_eq!(answer.is_ok(), is_ok, "{}: {:?}", frame, answer);
        prop_assert_eq!(seen, expected, "{}", frame);
    }
}
