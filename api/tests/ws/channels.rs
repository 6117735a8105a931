//! Channels: what is subscribed after each request, step by step on one connection.

use bookwire_actors::ring::PubKind;
use bookwire_actors::topic::StreamKind;
use bookwire_api::ws::WsOptions;
use serde_json::{Value, json};

use crate::rig::Rig;

/// `channel stream symbol` of each subscription in a list, sorted.
fn shown(list: &Value) -> Vec<String> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
    let mut rows: Vec<String> = list
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .map(|row| {
            let stream = text(row, "stream");
            let stream = stream.trim_start_matches("crypto.");
            format!("{} {stream} {}", text(row, "channel"), text(row, "symbol"))
        })
        .collect();
    rows.sort_unstable();
    rows
}

fn one(stream: &str, symbols: &[&str]) -> Value {
    json!({"stream": format!("crypto.{stream}"), "provider": "binance", "symbols": symbols})
}

fn with(mut params: Value, more: Value) -> Value {
    for (name, value) in more.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

/// Method, params, status, how many it names as done and as refused, what is subscribed then.
type Step = (
    &'static str,
    Value,
    &'static str,
    usize,
    usize,
    &'static [&'static str],
);

#[tokio::test]
async fn each_request_changes_what_it_names() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    let steps: &[Step] = &[
        (
            "subscribe",
            one("trades", &["btcusdt"]),
            "subscribed",
            1,
            0,
            &["- trades btcusdt"],
        ),
        // The same in a channel is another subscription; a spelling is not.
        (
            "subscribe",
            with(
                one("trades", &["BTC/USDT", "btcusdt"]),
                json!({"channel": "a"}),
            ),
            "subscribed",
            1,
            0,
            &["- trades btcusdt", "a trades btcusdt"],
        ),
        (
            "subscribe",
            json!({"channel": "b", "streams": [one("trades", &["btcusdt", "nope"]),
                one("ticker", &["ethusdt-perp"]), one("nothing", &["btcusdt"])]}),
            "subscribed",
            2,
            2,
            &[
                "- trades btcusdt",
                "a trades btcusdt",
                "b ticker ethusdt-perp",
                "b trades btcusdt",
            ],
        ),
        // Nothing of it can be had.
        (
            "subscribe",
            json!({"channel": "c", "streams": [one("trades", &["nope"])]}),
            "error",
            0,
            1,
            &[
                "- trades btcusdt",
                "a trades btcusdt",
                "b ticker ethusdt-perp",
                "b trades btcusdt",
            ],
        ),
        // One stream of one channel.
        (
            "unsubscribe",
            json!({"channel": "b", "streams": [one("trades", &["btcusdt"])]}),
            "unsubscribed",
            1,
            0,
            &[
                "- trades btcusdt",
                "a trades btcusdt",
                "b ticker ethusdt-perp",
            ],
        ),
        (
            "unsubscribe",
            json!({"channel": "b"}),
            "unsubscribed",
            1,
            0,
            &["- trades btcusdt", "a trades btcusdt"],
        ),
        (
            "unsubscribe",
            json!({"channel": "b"}),
            "error",
            0,
            1,
            &["- trades btcusdt", "a trades btcusdt"],
        ),
        // Part of it is there.
        (
            "unsubscribe",
            with(
                one("trades", &["btcusdt", "ethusdt"]),
                json!({"channel": "a"}),
            ),
            "unsubscribed",
            1,
            1,
            &["- trades btcusdt"],
        ),
        // Without a channel: wherever it is.
        (
            "subscribe",
            json!({"channel": "d", "streams": [one("trades", &["btcusdt"])]}),
            "subscribed",
            1,
            0,
            &["- trades btcusdt", "d trades btcusdt"],
        ),
        (
            "unsubscribe",
            one("trades", &["btcusdt"]),
            "unsubscribed",
            2,
            0,
            &[],
        ),
    ];
    for (method, params, status, done, refused, after) in steps {
        let request = json!({"id": "x", "method": method, "params": params});
        let answer = client.ask(&request.to_string()).await;
        let context = format!("{request} -> {answer}");
        assert_eq!(answer["status"], *status, "{context}");
        assert_eq!(answer["id"], "x", "{context}");
        assert_eq!(shown(&answer["subscriptions"]).len(), *done, "{context}");
        assert_eq!(shown(&answer["rejected"]).len(), *refused, "{context}");
        let listed = client.ask(r#"{"method":"list_subscriptions"}"#).await;
        assert_eq!(shown(&listed["subscriptions"]), *after, "{context}");
    }
}

/// Two channels with one stream: encoded and published once, counted and labelled apart.
#[tokio::test]
async fn channels_count_apart() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    client
        .subscribe(r#""stream":"crypto.trades","channel":"a""#)
        .await;
    let topic = rig.shard.topic(StreamKind::Trades);
    rig.shard
        .event(topic, PubKind::Event, &crate::rig::text(b"{\"n\":1}"));
    assert_eq!(client.json().await["seq"], 1);
    client
        .subscribe(r#""stream":"crypto.trades","channel":"b""#)
        .await;
    assert_eq!(rig.shard.counts(), (1, 0, 1), "one topic for both");
    rig.shard
        .event(topic, PubKind::Event, &crate::rig::text(b"{\"n\":2}"));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let message = client.json().await;
        assert_eq!(message["data"]["n"], 2);
        seen.push((
            message["channel"].as_str().unwrap().to_owned(),
            message["seq"].clone(),
        ));
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        seen,
        [("a".to_owned(), json!(2)), ("b".to_owned(), json!(1))]
    );
}
