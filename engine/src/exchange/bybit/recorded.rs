//! Telling recorded texts apart: stream messages, book snapshots, instrument lists.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exchange::Recorded;
use crate::instrument::Market;

use super::frame::Text;

/// Keys that tell the REST answers apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    ret_code: Option<IgnoredAny>,
    result: Option<Outcome>,
}

/// `result` is an object in all answers of market data.
#[derive(Deserialize)]
#[serde(untagged)]
enum Outcome {
    Object {
        u: Option<IgnoredAny>,
        b: Option<IgnoredAny>,
        a: Option<IgnoredAny>,
        list: Option<Vec<Listed>>,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Listed {
    Object {
        #[serde(rename = "priceFilter")]
        price_filter: Option<IgnoredAny>,
    },
    Other(IgnoredAny),
}

/// Where stream messages carry their symbol.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    topic: Option<Text<'a>>,
}

/// See [`crate::exchange::Exchange::recorded`].
pub(super) fn recorded(url: Option<&str>, body: &[u8]) -> Recorded {
    let Some(url) = url else {
        return by_form(body);
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    match path.rsplit('/').next() {
        Some("orderbook") => Recorded::Snapshot {
            native_symbol: query
                .split('&')
                .find_map(|pair| pair.strip_prefix("symbol="))
                .map(str::to_owned),
        },
        Some("instruments-info") => Recorded::Instruments,
        _ => Recorded::Other,
    }
}

fn by_form(body: &[u8]) -> Recorded {
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else {
        return Recorded::Message;
    };
    if answer.ret_code.is_none() {
        return Recorded::Message;
    }
    match answer.result {
        Some(Outcome::Object {
            u: Some(_),
            b: Some(_),
            a: Some(_),
            ..
        }) => Recorded::Snapshot {
            native_symbol: None,
        },
        Some(Outcome::Object {
            list: Some(rows), ..
        }) if matches!(
            rows.first(),
            Some(Listed::Object {
                price_filter: Some(_)
            })
        ) =>
        {
            Recorded::Instruments
        }
        _ => Recorded::Other,
    }
}

/// See [`crate::exchange::Exchange::message_symbol`].
pub(super) fn message_symbol(market: Market, frame: &[u8]) -> Option<String> {
    let message: Message<'_> = serde_json::from_slice(frame).ok()?;
    let topic = message.topic?;
    let (channel, rest) = topic.0.split_once('.')?;
    let symbol = match channel {
        "publicTrade" | "tickers" => rest,
        "orderbook" | "kline" => rest.split_once('.')?.1,
        _ => return None,
    };
    // `BTCUSDT-25DEC26` and `BTC-25DEC26` are futures with an end.
    let is_dated = market == Market::Perp && symbol.contains('-');
    let is_symbol = !symbol.is_empty() && symbol.chars().count() <= 64;
    (is_symbol && !is_dated).then(|| symbol.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_answers_by_their_url_or_form() {
        let snapshot = |native_symbol: Option<&str>| Recorded::Snapshot {
            native_symbol: native_symbol.map(str::to_owned),
        };
        let base = "https://api.bybit.com/v5/market";
        let rows: &[(Option<&str>, &str, Recorded)] = &[
            (
                Some("/orderbook?category=linear&symbol=BTCUSDT&limit=1000"),
                "{}",
                snapshot(Some("BTCUSDT")),
            ),
            (
                Some("/instruments-info?&category=spot"),
                "{}",
                Recorded::Instruments,
            ),
            (Some("/kline?category=spot"), "{}", Recorded::Other),
            (
                None,
                r#"{"retCode":0,"result":{"s":"X","a":[],"b":[],"ts":1,"u":2}}"#,
                snapshot(None),
            ),
            (
                None,
                r#"{"retCode":0,"result":{"list":[{"symbol":"X","priceFilter":{}}]}}"#,
                Recorded::Instruments,
            ),
            (
                None,
                r#"{"retCode":0,"result":{"list":[["1","2"]]}}"#,
                Recorded::Other,
            ),
            (None, r#"{"retCode":10001,"result":null}"#, Recorded::Other),
            (
                None,
                r#"{"topic":"publicTrade.X","data":[]}"#,
                Recorded::Message,
            ),
            (None, "not json", Recorded::Message),
        ];
        for (path, body, expected) in rows {
            let url = path.map(|path| format!("{base}{path}"));
            let found = recorded(url.as_deref(), body.as_bytes());
            assert_eq!(found, *expected, "{path:?} {body}");
        }
    }

    #[test]
    fn finds_the_symbol_of_a_message() {
        for (market, topic, expected) in [
            (Market::Perp, "publicTrade.BTCUSDT", Some("BTCUSDT")),
            (
                Market::Perp,
                "orderbook.200.SHIB1000USDT",
                Some("SHIB1000USDT"),
            ),
            (Market::Spot, "kline.D.ETHUSDC", Some("ETHUSDC")),
            (Market::Perp, "tickers.BTCUSDT-25DEC26", None),
            (
                Market::Spot,
                "tickers.BTCUSDT-25DEC26",
                Some("BTCUSDT-25DEC26"),
            ),
            (Market::Perp, "allLiquidation.BTCUSDT", None),
            (Market::Perp, "wallet", None),
        ] {
            let frame = serde_json::json!({ "topic": topic, "data": {} }).to_string();
            let found = message_symbol(market, frame.as_bytes());
            assert_eq!(found.as_deref(), expected, "{topic}");
        }
        assert_eq!(message_symbol(Market::Spot, br#"{"op":"ping"}"#), None);
        assert_eq!(message_symbol(Market::Spot, b"["), None);
    }
}
