//! Telling recorded texts apart: stream messages, book snapshots, instrument lists.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exchange::Recorded;
use crate::instrument::Market;

/// Keys that tell the REST answers apart.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<IgnoredAny>,
    bids: Option<IgnoredAny>,
    asks: Option<IgnoredAny>,
    symbols: Option<IgnoredAny>,
    #[serde(rename = "exchangeFilters", alias = "rateLimits", alias = "timezone")]
    rules: Option<IgnoredAny>,
}

/// Where stream messages carry their symbol.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    o: Option<Order<'a>>,
    #[serde(borrow)]
    data: Option<Inner<'a>>,
}

#[derive(Deserialize)]
struct Inner<'a> {
    #[serde(borrow)]
    s: Option<Cow<'a, str>>,
    #[serde(borrow)]
    o: Option<Order<'a>>,
}

/// `o` is an object in liquidations and a price elsewhere.
#[derive(Deserialize)]
#[serde(untagged)]
enum Order<'a> {
    Object {
        #[serde(borrow)]
        s: Option<Cow<'a, str>>,
    },
    Other(IgnoredAny),
}

/// See [`crate::exchange::Exchange::recorded`].
pub(super) fn recorded(url: Option<&str>, body: &[u8]) -> Recorded {
    let Some(url) = url else {
        return match serde_json::from_slice::<Answer>(body) {
            Ok(answer) if answer.is_snapshot() => Recorded::Snapshot {
                native_symbol: None,
            },
            Ok(answer) if answer.symbols.is_some() && answer.rules.is_some() => {
                Recorded::Instruments
            }
            _ => Recorded::Message,
        };
    };
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    match path.rsplit('/').next() {
        Some("depth") => Recorded::Snapshot {
            native_symbol: query
                .split('&')
                .find_map(|pair| pair.strip_prefix("symbol="))
                .map(str::to_owned),
        },
        Some("exchangeInfo") => Recorded::Instruments,
        _ => Recorded::Other,
    }
}

impl Answer {
    fn is_snapshot(&self) -> bool {
        self.last_update_id.is_some() && self.bids.is_some() && self.asks.is_some()
    }
}

/// See [`crate::exchange::Exchange::message_symbol`].
pub(super) fn message_symbol(market: Market, frame: &[u8]) -> Option<String> {
    let message: Message<'_> = serde_json::from_slice(frame).ok()?;
    let of_order = |order: Option<Order<'_>>| match order {
        Some(Order::Object { s }) => s.map(Cow::into_owned),
        _ => None,
    };
    let of_inner = |inner: Inner<'_>| {
        let own = inner.s.map(Cow::into_owned);
        own.or_else(|| of_order(inner.o))
    };
    let symbol = message
        .s
        .map(Cow::into_owned)
        .or_else(|| of_order(message.o))
        .or_else(|| message.data.and_then(of_inner))?;
    // `BTCUSDT_260925` is a dated future, which the merged streams of perpetuals carry too.
    let is_dated = market == Market::Perp && symbol.contains('_');
    let is_symbol = !symbol.is_empty() && symbol.chars().count() <= 64;
    (is_symbol && !is_dated).then_some(symbol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_answers_by_their_url_or_form() {
        let snapshot = |native_symbol: Option<&str>| Recorded::Snapshot {
            native_symbol: native_symbol.map(str::to_owned),
        };
        let rows: &[(Option<&str>, &str, Recorded)] = &[
            (
                Some("https://fapi.binance.com/fapi/v1/depth?symbol=AKROUSDT&limit=1000"),
                "{}",
                snapshot(Some("AKROUSDT")),
            ),
            (
                Some("http://127.0.0.1:1/api/v3/depth?limit=5"),
                "{}",
                snapshot(None),
            ),
            (
                Some("https://api.binance.com/api/v3/exchangeInfo"),
                "{}",
                Recorded::Instruments,
            ),
            (
                Some("https://api.binance.com/api/v3/time"),
                "{}",
                Recorded::Other,
            ),
            (
                None,
                r#"{"lastUpdateId": 1, "bids": [], "asks": []}"#,
                snapshot(None),
            ),
            (
                None,
                r#"{"E":1,"bids":[],"asks":[],"lastUpdateId":1}"#,
                snapshot(None),
            ),
            (
                None,
                r#"{"timezone":"UTC","symbols":[]}"#,
                Recorded::Instruments,
            ),
            (None, r#"{"e":"trade","s":"BTCUSDT"}"#, Recorded::Message),
            (None, "not json", Recorded::Message),
        ];
        for (url, body, expected) in rows {
            assert_eq!(recorded(*url, body.as_bytes()), *expected, "{url:?} {body}");
        }
    }

    #[test]
    fn finds_the_symbol_of_a_message() {
        let perp = |text: &str| message_symbol(Market::Perp, text.as_bytes());
        assert_eq!(
            perp(r#"{"e":"trade","s":"BTCUSDT"}"#).as_deref(),
            Some("BTCUSDT")
        );
        let wrapped = r#"{"stream":"x","data":{"e":"trade","s":"ETHUSDT","o":"1.0"}}"#;
        assert_eq!(perp(wrapped).as_deref(), Some("ETHUSDT"));
        let liquidation = r#"{"e":"forceOrder","o":{"s":"BNBUSDT"}}"#;
        assert_eq!(perp(liquidation).as_deref(), Some("BNBUSDT"));
        let dated = r#"{"e":"trade","s":"BTCUSDT_260925"}"#;
        assert_eq!(perp(dated), None);
        assert_eq!(
            message_symbol(Market::Spot, dated.as_bytes()).as_deref(),
            Some("BTCUSDT_260925")
        );
        assert_eq!(perp(r#"{"result":null,"id":1}"#), None);
        assert_eq!(perp("["), None);
    }
}
