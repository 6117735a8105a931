//! Telling recorded texts apart: stream messages, product lists, other answers.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::exchange::Recorded;

use super::wire;

/// Keys that tell a product list from a message.
#[derive(Deserialize)]
struct Answer {
    products: Option<IgnoredAny>,
    channel: Option<IgnoredAny>,
}

/// See [`crate::exchange::Exchange::recorded`].
///
/// A fetched book is no snapshot here: it has no sequence number, so that nothing can be joined to
/// it. Books of a recording begin with the images in it.
pub(super) fn recorded(url: Option<&str>, body: &[u8]) -> Recorded {
    let Some(url) = url else {
        return match serde_json::from_slice::<Answer>(body) {
            Ok(answer) if answer.products.is_some() && answer.channel.is_none() => {
                Recorded::Instruments
            }
            _ => Recorded::Message,
        };
    };
    let path = url.split('?').next().unwrap_or(url);
    match path.strip_suffix("/products") {
        Some(base) if base.contains("/api/v3/brokerage") => Recorded::Instruments,
        _ => Recorded::Other,
    }
}

/// See [`crate::exchange::Exchange::message_symbol`].
pub(super) fn message_symbol(frame: &[u8]) -> Option<String> {
    wire::product(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_answers_by_their_url_or_form() {
        let base = "https://api.coinbase.com/api/v3/brokerage";
        let rows = [
            (
                Some(format!("{base}/market/products?limit=5")),
                Recorded::Instruments,
            ),
            (Some(format!("{base}/products")), Recorded::Instruments),
            (
                Some("https://api.pro.coinbase.com/products".to_owned()),
                Recorded::Other,
            ),
            (
                Some(format!("{base}/market/product_book?product_id=BTC-USD")),
                Recorded::Other,
            ),
            (Some(format!("{base}/time")), Recorded::Other),
        ];
        for (url, expected) in rows {
            assert_eq!(recorded(url.as_deref(), b"{}"), expected, "{url:?}");
        }
        for (body, expected) in [
            (r#"{"products":[],"num_products":0}"#, Recorded::Instruments),
            (
                r#"{"channel":"status","events":[{"products":[]}]}"#,
                Recorded::Message,
            ),
            ("not json", Recorded::Message),
        ] {
            assert_eq!(recorded(None, body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn finds_the_product_of_a_message() {
        let symbol = |text: &str| message_symbol(text.as_bytes());
        for text in [
            r#"{"channel":"l2_data","events":[{"type":"update","product_id":"BTC-USD","updates":[]}]}"#,
            r#"{"channel":"market_trades","events":[{"trades":[{"trade_id":"1","product_id":"BTC-USD"}]}]}"#,
            r#"{"channel":"ticker","events":[{"tickers":[{"product_id":"BTC-USD"}]}]}"#,
            r#"{"channel":"candles","events":[{"candles":[]},{"candles":[{"product_id":"BTC-USD"}]}]}"#,
        ] {
            assert_eq!(symbol(text).as_deref(), Some("BTC-USD"), "{text}");
        }
        for text in [
            r#"{"channel":"heartbeats","events":[{"heartbeat_counter":1}]}"#,
            r#"{"channel":"subscriptions","events":[{"subscriptions":{"level2":["BTC-USD"]}}]}"#,
            r#"{"type":"error","message":"no"}"#,
            r#"{"channel":"l2_data","events":[{"product_id":""}]}"#,
            "[",
        ] {
            assert_eq!(symbol(text), None, "{text}");
        }
    }
}
