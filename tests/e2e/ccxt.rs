//! ccxt and ccxt.pro, which work against the real exchanges, against the simulators: they must work
//! unchanged, and see the same market as the gateway's clients.

// Both sides are the double nearest to the same decimal, so that equal means equal.
#![allow(clippy::float_cmp)]

use std::collections::BTreeMap;
use std::time::Duration;

use bookwire_sim::SimConfig;
use serde_json::{Value, json};

use crate::rig::client::levels;
use crate::rig::{Rig, python};

/// One of ccxt's exchanges beside the gateway's market.
struct Case {
    provider: &'static str,
    exchange: &'static str,
    symbol: &'static str,
    ours: &'static str,
    entity: &'static str,
    /// Base units in one of ccxt's units: it counts swaps of some exchanges in contracts.
    unit: f64,
    /// Whether ccxt's books carry the number that the gateway's do.
    numbers_books: bool,
    /// Whether ccxt's trades are those of the gateway.
    same_trades: bool,
    /// Whether ccxt tells the maker's side of a trade; the gateway tells the taker's.
    tells_makers: bool,
    /// Whether the gateway's trades are numbered without holes.
    counts_trades: bool,
    /// The bar that is watched live.
    live: &'static str,
    /// Whether ccxt can watch bars.
    watches_bars: bool,
    has_funding: bool,
}

/// A spot market of which ccxt and the gateway tell the same.
const SPOT: Case = Case {
    provider: "binance",
    exchange: "binance",
    symbol: "BTC/USDT",
    ours: "btcusdt",
    entity: "CryptoPair",
    unit: 1.0,
    numbers_books: true,
    same_trades: true,
    tells_makers: false,
    counts_trades: true,
    live: "1m",
    watches_bars: true,
    has_funding: false,
};

/// A perpetual of which ccxt and the gateway tell the same.
const PERP: Case = Case {
    symbol: "BTC/USDT:USDT",
    ours: "btcusdt-perp",
    entity: "CryptoPerp",
    has_funding: true,
    ..SPOT
};

const CASES: [Case; 7] = [
    SPOT,
    Case {
        exchange: "binanceusdm",
        // ccxt asks for single trades of perpetuals; the gateway has aggregates, as its history.
        same_trades: false,
        ..PERP
    },
    Case {
        provider: "okx",
        exchange: "okx",
        // Trades of one taker come as one, under the last one's number.
        counts_trades: false,
        ..SPOT
    },
    Case {
        provider: "okx",
        exchange: "okx",
        unit: 0.01,
        counts_trades: false,
        ..PERP
    },
    Case {
        provider: "bybit",
        exchange: "bybit",
        numbers_books: false,
        ..SPOT
    },
    Case {
        provider: "bybit",
        exchange: "bybit",
        numbers_books: false,
        ..PERP
    },
    Case {
        provider: "coinbase",
        exchange: "coinbase",
        symbol: "BTC/USD",
        ours: "btcusd",
        numbers_books: false,
        tells_makers: true,
        // The exchange streams no other.
        live: "5m",
        watches_bars: false,
        ..SPOT
    },
];

impl Case {
    /// The simulated market's own number of a trade: all of the id, or the end of it.
    fn ordinal(&self, id: &str) -> u64 {
        match (self.provider, id.rsplit_once('-')) {
            ("bybit", Some((_, end))) => u64::from_str_radix(end, 16).unwrap(),
            _ => id.parse().unwrap(),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A number out of ccxt's JSON or ours, exact enough to compare: both are shortest forms of the same
/// decimal, ccxt's books went through a double.
fn number(value: &Value) -> f64 {
    match value {
        Value::String(text) => text.parse().unwrap(),
        other => other
            .as_f64()
            .unwrap_or_else(|| panic!("not a number: {other}")),
    }
}

/// A quantity of ccxt's in base units. Contracts went through a product of doubles: what is beyond
/// twelve digits after the point, more than any exchange has, is dropped.
fn quantity(value: &Value, unit: f64) -> f64 {
    match unit == 1.0 {
        true => number(value),
        false => format!("{:.12}", number(value) * unit).parse().unwrap(),
    }
}

fn side(value: &Value, depth: usize, unit: f64) -> Vec<(f64, f64)> {
    let rows = value.as_array().unwrap().iter().take(depth);
    rows.map(|level| (number(&level[0]), quantity(&level[1], unit)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ccxt_sees_the_same_market() {
    let Some(python) = python::find() else { return };
    let rig = Rig::start(SimConfig::default()).await;
    let endpoints = rig.sim.endpoints();
    let mut ccxt = python::Ccxt::start(&python);
    for case in &CASES {
        let hosts = &endpoints[case.provider]["hosts"];
        let open = json!({"call": "open", "exchange": case.exchange, "hosts": hosts});
        let markets = ccxt.call(&open).as_u64().unwrap();
        assert!(markets >= 4, "{}: {markets} markets", case.exchange);
        match case.numbers_books {
            true => books(&rig, &mut ccxt, case).await,
            false => books_at_rest(&rig, &mut ccxt, case).await,
        }
        trades(&rig, &mut ccxt, case).await;
        bars(&rig, &mut ccxt, case).await;
        if case.has_funding {
            funding(&rig, &mut ccxt, case).await;
        }
    }
    assert_eq!(ccxt.call(&json!({"call": "close"})), json!(true));
}

/// Books with the same update id are the same book.
async fn books(rig: &Rig, ccxt: &mut python::Ccxt, case: &Case) {
    let mut feed = rig.feed().await;
    feed.subscribe(
        json!({"stream": "crypto.orderbook", "provider": case.provider,
        "symbols": [case.ours], "depth": 20}),
    )
    .await;
    ccxt.send(
        &json!({"call": "collect", "exchange": case.exchange, "method": "watch_order_book",
        "args": [case.symbol], "seconds": 6}),
    );
    let messages = feed.collect(Duration::from_millis(6500)).await;
    let theirs = ccxt.answer();
    let ours: BTreeMap<u64, &Value> = messages
        .iter()
        .filter(|message| message["stream"] == "crypto.orderbook")
        .map(|message| {
            (
                message["data"]["sequence"].as_u64().unwrap(),
                &message["data"],
            )
        })
        .collect();
    let mut compared = 0;
    for book in theirs.as_array().unwrap() {
        let Some(sequence) = book["nonce"].as_u64() else {
            continue;
        };
        let Some(same) = ours.get(&sequence) else {
            continue;
        };
        for name in ["bids", "asks"] {
            let expected: Vec<(f64, f64)> = levels(&same[name])
                .iter()
                .map(|(price, qty)| (price.parse().unwrap(), qty.parse().unwrap()))
                .collect();
            assert_eq!(
                side(&book[name], 20, case.unit),
                expected,
                "{} {name} at {sequence}",
                case.ours
            );
        }
        compared += 1;
    }
    // The gateway leaves out deltas that did not change its top 20.
    assert!(
        compared >= 5,
        "{}: only {compared} books in common",
        case.ours
    );

    let rest = ccxt.call(
        &json!({"call": "fetch_order_book", "exchange": case.exchange,
        "args": [case.symbol, 100]}),
    );
    assert_eq!(rest["bids"].as_array().unwrap().len(), 100, "{}", case.ours);
}

/// Market time stands still: what both have then is the same book.
async fn books_at_rest(rig: &Rig, ccxt: &mut python::Ccxt, case: &Case) {
    let mut feed = rig.feed().await;
    feed.subscribe(
        json!({"stream": "crypto.orderbook", "provider": case.provider,
        "symbols": [case.ours], "depth": 20}),
    )
    .await;
    ccxt.send(
        &json!({"call": "collect", "exchange": case.exchange, "method": "watch_order_book",
        "args": [case.symbol], "seconds": 4, "levels": 50}),
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let exchange = bookwire_sim::Exchange::parse(case.provider).unwrap();
    let control = rig.sim.control().of(exchange).unwrap();
    control.pause();
    let messages = feed.collect(Duration::from_millis(2500)).await;
    let watched = ccxt.answer();
    let watched = watched.as_array().unwrap();
    assert!(watched.len() > 10, "{}: {} books", case.ours, watched.len());
    let fetched = ccxt.call(
        &json!({"call": "fetch_order_book", "exchange": case.exchange,
        "args": [case.symbol, 100]}),
    );
    assert_eq!(
        fetched["bids"].as_array().unwrap().len(),
        100,
        "{}",
        case.ours
    );
    let is_book = |message: &&Value| message["stream"] == "crypto.orderbook";
    let ours = &messages.iter().rfind(is_book).unwrap()["data"];
    for name in ["bids", "asks"] {
        let expected: Vec<(f64, f64)> = levels(&ours[name])
            .iter()
            .map(|(price, qty)| (price.parse().unwrap(), qty.parse().unwrap()))
            .collect();
        assert_eq!(expected.len(), 20);
        for theirs in [&watched[watched.len() - 1], &fetched] {
            assert_eq!(
                side(&theirs[name], 20, case.unit),
                expected,
                "{} {name}",
                case.ours
            );
        }
    }
    control.resume();
}

/// Trades with the same id are the same trade, and none is missing in between.
async fn trades(rig: &Rig, ccxt: &mut python::Ccxt, case: &Case) {
    let mut feed = rig.feed().await;
    feed.subscribe(json!({"stream": "crypto.trades", "provider": case.provider,
        "symbols": [case.ours]}))
        .await;
    ccxt.send(
        &json!({"call": "collect", "exchange": case.exchange, "method": "watch_trades",
        "args": [case.symbol], "seconds": 6}),
    );
    let messages = feed.collect(Duration::from_millis(6500)).await;
    let theirs = ccxt.answer();
    let ours: BTreeMap<u64, &Value> = messages
        .iter()
        .filter(|message| message["stream"] == "crypto.trades")
        .map(|message| {
            let id = text(&message["data"]["trade_id"]);
            (case.ordinal(&id), &message["data"])
        })
        .collect();
    let ids: Vec<u64> = ours.keys().copied().collect();
    assert!(ids.len() >= 5, "{}: only {} trades", case.ours, ids.len());
    assert!(
        !case.counts_trades || ids.len() as u64 == ids[ids.len() - 1] - ids[0] + 1,
        "{}: a trade is missing",
        case.ours
    );
    let mut compared = 0;
    for trade in theirs
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|batch| batch.as_array().unwrap())
    {
        if !case.same_trades {
            assert!(
                matches!(trade["side"].as_str(), Some("buy" | "sell")),
                "{trade}"
            );
            compared += 1;
            continue;
        }
        let id = case.ordinal(trade["id"].as_str().unwrap());
        let Some(same) = ours.get(&id) else { continue };
        assert_eq!(
            number(&trade["price"]),
            number(&same["price"]),
            "{} {id}",
            case.ours
        );
        assert_eq!(
            quantity(&trade["amount"], case.unit),
            number(&same["volume"]),
            "{} {id}",
            case.ours
        );
        assert_eq!(
            trade["side"] == same["side"],
            !case.tells_makers,
            "{} {id}",
            case.ours
        );
        compared += 1;
    }
    assert!(
        compared >= 5,
        "{}: only {compared} trades in common",
        case.ours
    );

    let rest = ccxt.call(&json!({"call": "fetch_trades", "exchange": case.exchange,
        "args": [case.symbol, null, 50]}));
    assert_eq!(rest.as_array().unwrap().len(), 50);
}

/// Closed bars are equal to the last digit; the running bar arrives on both sides.
async fn bars(rig: &Rig, ccxt: &mut python::Ccxt, case: &Case) {
    for level in ["1m", "1h"] {
        let theirs = ccxt.call(&json!({"call": "fetch_ohlcv", "exchange": case.exchange,
            "args": [case.symbol, level, null, 12]}));
        let theirs = theirs.as_array().unwrap();
        let (first, last) = (&theirs[0][0], &theirs[theirs.len() - 2][0]);
        let (status, body) = rig
            .get(&format!(
                "/api/data/{}{level}Kdata?provider={}&codes={}&numbers=string\
                 &start_timestamp={first}&end_timestamp={last}",
                case.entity,
                case.provider,
                case.ours.trim_end_matches("-perp")
            ))
            .await;
        assert_eq!(status, 200, "{body}");
        let ours = body["data"].as_array().unwrap();
        // The last of ccxt's bars is the running one.
        assert_eq!(
            ours.len(),
            theirs.len() - 1,
            "{} {level}: {body}",
            case.ours
        );
        for (bar, row) in theirs.iter().zip(ours) {
            for (index, name) in ["open", "high", "low", "close", "volume"]
                .iter()
                .enumerate()
            {
                let (theirs, ours) = (number(&bar[index + 1]), number(&row[*name]));
                assert_eq!(theirs, ours, "{} {level} {name} of {row}", case.ours);
            }
        }
    }
    let mut feed = rig.feed().await;
    feed.subscribe(json!({"stream": "crypto.klines", "provider": case.provider,
        "symbols": [case.ours], "interval": case.live}))
        .await;
    if case.watches_bars {
        ccxt.send(
            &json!({"call": "collect", "exchange": case.exchange, "method": "watch_ohlcv",
            "args": [case.symbol, case.live], "seconds": 5}),
        );
    }
    let messages = feed.collect(Duration::from_millis(5500)).await;
    if case.watches_bars {
        let theirs = ccxt.answer();
        assert!(
            !theirs.as_array().unwrap().is_empty(),
            "{}: no bars by ccxt.pro",
            case.ours
        );
    }
    assert!(
        messages
            .iter()
            .any(|message| message["stream"] == "crypto.klines"),
        "{}: no bars by the gateway",
        case.ours
    );
}

/// Rate and settlement time are those that the stream tells.
async fn funding(rig: &Rig, ccxt: &mut python::Ccxt, case: &Case) {
    let mut feed = rig.feed().await;
    feed.subscribe(
        json!({"stream": "crypto.funding", "provider": case.provider,
        "symbols": [case.ours]}),
    )
    .await;
    let before = feed
        .next_of("crypto.funding", case.ours, Duration::from_secs(10))
        .await;
    let theirs = ccxt.call(
        &json!({"call": "fetch_funding_rate", "exchange": case.exchange,
        "args": [case.symbol]}),
    );
    let after = feed
        .next_of("crypto.funding", case.ours, Duration::from_secs(10))
        .await;
    let rate = |message: &Value| number(&message["data"]["funding_rate"]);
    let low = rate(&before).min(rate(&after)) - 5e-5;
    let high = rate(&before).max(rate(&after)) + 5e-5;
    let theirs_rate = number(&theirs["fundingRate"]);
    assert!(
        (low..=high).contains(&theirs_rate),
        "{theirs_rate} is not in {low}..{high}"
    );
    let next = before["data"]["next_funding_timestamp"].as_str().unwrap();
    let theirs_next = theirs["fundingDatetime"].as_str().unwrap();
    assert_eq!(next[..19], theirs_next[..19]);
}
