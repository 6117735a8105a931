//! Coinbase: requests and answers, frames and their numbers, books and matches against the truth.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::*;
use bookwire_sim::{Exchange, Segment, Sim, SimConfig};
use rust_decimal::Decimal;
use serde_json::{Value, json};

const REST: &str = "api.coinbase.com";
const WS: &str = "advanced-trade-ws.coinbase.com";
const MARKET: &str = "/api/v3/brokerage/market";

async fn coinbase() -> Sim {
    sim(SimConfig {
        seed: 7,
        exchanges: vec![Exchange::Coinbase],
        ..SimConfig::default()
    })
    .await
}

async fn ask(client: &mut Client, kind: &str, channel: &str, products: &[&str]) {
    let request = json!({ "type": kind, "product_ids": products, "channel": channel });
    client.send(&request.to_string()).await;
}

fn rows<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap()
}

fn decimal(value: &Value) -> Decimal {
    let text = value.as_str().unwrap();
    // As short as can be.
    assert!(!(text.contains('.') && text.ends_with('0')), "{text}");
    text.parse().unwrap()
}

/// A list of rows whose time falls.
fn is_newest_first(rows: &[Value], time: &str) -> bool {
    rows.is_sorted_by(|a, b| a[time].as_str().unwrap() >= b[time].as_str().unwrap())
}

#[tokio::test]
async fn lists_products_with_their_other_names_and_futures_apart() {
    let sim = coinbase().await;
    let all = get_json(&sim, REST, &format!("{MARKET}/products")).await;
    let products = rows(&all, "products");
    assert_eq!(all["num_products"], products.len());
    let of = |id: &str| {
        let mut found = products.iter().filter(|row| row["product_id"] == id);
        found.next().unwrap().clone()
    };
    assert_eq!(of("BTC-USD")["alias_to"], json!(["BTC-USDC"]));
    assert_eq!(of("BTC-USD")["base_increment"], "0.00000001");
    assert_eq!(of("BTC-USD")["price_increment"], "0.01");
    let alias = of("BTC-USDC");
    assert_eq!(
        (&alias["alias"], &alias["quote_currency_id"]),
        (&json!("BTC-USD"), &json!("USDC"))
    );
    assert_eq!(of("BTC-USDT")["alias_to"], json!([]));
    let gone = of("GONE-USD");
    assert_eq!(gone["status"], "delisted");
    assert_eq!(gone["trading_disabled"], true);
    let futures = get_json(
        &sim,
        REST,
        &format!("{MARKET}/products?product_type=FUTURE"),
    )
    .await;
    assert_eq!(futures["products"][0]["product_type"], "FUTURE");
    let target = format!("{MARKET}/products?product_ids=ETH-USD&product_ids=BTC-USD&limit=1");
    let some = get_json(&sim, REST, &target).await;
    assert_eq!(some["num_products"], 1);
    let one = get_json(&sim, REST, &format!("{MARKET}/products/ETH-USDC")).await;
    assert_eq!(one["alias"], "ETH-USD");
    sim.shutdown().await;
}

#[tokio::test]
async fn refuses_with_names_and_statuses() {
    let sim = coinbase().await;
    let candles = format!("{MARKET}/products/BTC-USD/candles");
    for (target, status, name) in [
        (format!("{MARKET}/products/NO-USD"), 404, "NOT_FOUND"),
        (
            format!("{MARKET}/product_book?product_id=NO-USD"),
            404,
            "NOT_FOUND",
        ),
        (format!("{MARKET}/product_book"), 404, "NOT_FOUND"),
        ("/api/v3/brokerage/nothing".to_owned(), 404, "NOT_FOUND"),
        (
            format!("{candles}?granularity=FOUR_HOUR&start=0&end=1"),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            format!("{candles}?granularity=ONE_MINUTE"),
            400,
            "INVALID_ARGUMENT",
        ),
        (
            format!("{candles}?granularity=ONE_MINUTE&start=0&end=30000"),
            400,
            "INVALID_ARGUMENT",
        ),
    ] {
        let answer = get(&sim, REST, &target).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.json()["error"], name, "{target}");
        tokio::time::sleep(Duration::from_millis(110)).await;
    }
    // Of an account's nothing is told to nobody.
    let answer = get(&sim, REST, "/api/v3/brokerage/accounts").await;
    assert_eq!((answer.status, answer.body.trim()), (401, "Unauthorized"));
    // Ten a second.
    let mut statuses = Vec::new();
    for _ in 0..25 {
        let answer = get(&sim, REST, "/api/v3/brokerage/time").await;
        assert_eq!(answer.headers["x-ratelimit-limit"], "10");
        statuses.push(answer.status);
    }
    assert!(
        statuses.contains(&200) && statuses.contains(&429),
        "{statuses:?}"
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn answers_history_newest_first() {
    let sim = coinbase().await;
    let time = get_json(&sim, REST, "/api/v3/brokerage/time").await;
    let now: i64 = time["epochSeconds"].as_str().unwrap().parse().unwrap();
    let open = now.div_euclid(3_600) * 3_600;
    let target = format!(
        "{MARKET}/products/BTC-USD/candles?granularity=ONE_HOUR&start={}&end={open}&limit=5",
        open - 10 * 3_600
    );
    let answer = get_json(&sim, REST, &target).await;
    let bars = rows(&answer, "candles");
    let starts: Vec<i64> = bars
        .iter()
        .map(|bar| bar["start"].as_str().unwrap().parse().unwrap())
        .collect();
    let expected: Vec<i64> = (0..5).map(|back| open - back * 3_600).collect();
    assert_eq!(starts, expected);
    for bar in bars {
        let (low, high) = (decimal(&bar["low"]), decimal(&bar["high"]));
        assert!(low <= decimal(&bar["open"]) && decimal(&bar["close"]) <= high);
    }
    tokio::time::sleep(Duration::from_millis(600)).await;
    let target = format!("{MARKET}/products/BTC-USD/ticker?limit=7");
    let answer = get_json(&sim, REST, &target).await;
    let trades = rows(&answer, "trades");
    assert!(trades.len() <= 7 && is_newest_first(trades, "time"));
    let (bid, ask) = (decimal(&answer["best_bid"]), decimal(&answer["best_ask"]));
    assert!(bid < ask);
    let target = format!("{MARKET}/product_book?product_id=BTC-USDC&limit=3");
    let book = get_json(&sim, REST, &target).await;
    assert_eq!(rows(&book["pricebook"], "bids").len(), 3);
    assert_eq!(book["pricebook"]["product_id"], "BTC-USDC");
    let bid = decimal(&book["pricebook"]["bids"][0]["price"]);
    let ask = decimal(&book["pricebook"]["asks"][0]["price"]);
    assert_eq!(
        decimal(&book["mid_market"]),
        ((bid + ask) / Decimal::TWO).normalize()
    );
    assert_eq!(decimal(&book["spread_absolute"]), (ask - bid).normalize());
    sim.shutdown().await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_cut() {
    let sim = coinbase().await;
    let mut client = Client::open(&sim, WS, "/").await;
    let opened = Instant::now();
    assert_eq!(client.end().await, None);
    let took = opened.elapsed();
    assert!(took >= Duration::from_millis(4_900), "{took:?}");
    sim.shutdown().await;
}

#[tokio::test]
async fn numbers_all_frames_and_lists_all_subscriptions() {
    let sim = coinbase().await;
    let mut client = Client::open(&sim, WS, "/").await;
    client
        .send(r#"{"type":"subscribe","channel":"heartbeats"}"#)
        .await;
    ask(&mut client, "subscribe", "level2", &["BTC-USD"]).await;
    ask(
        &mut client,
        "subscribe",
        "market_trades",
        &["BTC-USD", "ETH-USD"],
    )
    .await;
    ask(&mut client, "subscribe", "ticker", &["BTC-USDC"]).await;
    ask(&mut client, "subscribe", "candles", &["BTC-USD"]).await;
    ask(&mut client, "subscribe", "l2_data", &["BTC-USD"]).await;
    ask(&mut client, "unsubscribe", "candles", &["BTC-USD"]).await;
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let mut lists = Vec::new();
    let mut expected = 0;
    let mut errors = Vec::new();
    while kinds.get("heartbeats").copied().unwrap_or_default() < 3 {
        let frame = client.json().await;
        if frame["type"] == "error" {
            assert_eq!(frame.get("sequence_num"), None);
            errors.push(frame["message"].clone());
            continue;
        }
        assert_eq!(frame["sequence_num"], expected, "{frame}");
        expected += 1;
        let channel = frame["channel"].as_str().unwrap().to_owned();
        let event = &frame["events"][0];
        if channel == "subscriptions" {
            lists.push(event["subscriptions"].clone());
        }
        if channel == "ticker" {
            // Frames name the product whose book it is.
            assert_eq!(event["tickers"][0]["product_id"], "BTC-USD");
        }
        let kind = event["type"]
            .as_str()
            .map(|kind| format!("{channel}:{kind}"));
        *kinds.entry(kind.unwrap_or(channel)).or_default() += 1;
    }
    assert_eq!(errors, ["unknown channel: l2_data"]);
    let last = json!({
        "heartbeats": ["heartbeats"],
        "level2": ["BTC-USD"],
        "market_trades": ["BTC-USD", "ETH-USD"],
        "ticker": ["BTC-USDC"],
    });
    assert_eq!(lists.len(), 6);
    assert_eq!(lists[5], last);
    for (kind, least) in [
        ("l2_data:snapshot", 1),
        ("l2_data:update", 10),
        ("market_trades:snapshot", 2),
        ("market_trades:update", 4),
        ("ticker:snapshot", 1),
        ("ticker:update", 5),
        ("candles:snapshot", 1),
    ] {
        assert!(
            kinds.get(kind).copied().unwrap_or_default() >= least,
            "{kind}: {kinds:?}"
        );
    }
    assert_eq!(kinds["l2_data:snapshot"], 1);
    sim.shutdown().await;
}

/// Price and quantity, best first.
type Rows = Vec<(Decimal, Decimal)>;

/// A book as the exchange's documents say to keep it.
#[derive(Default)]
struct Book {
    sides: BTreeMap<String, BTreeMap<Decimal, Decimal>>,
    unheard_deletes: usize,
    updates: usize,
}

impl Book {
    fn apply(&mut self, event: &Value) {
        if event["type"] == "snapshot" {
            self.sides.clear();
        }
        self.updates += 1;
        for level in rows(event, "updates") {
            let side = level["side"].as_str().unwrap().to_owned();
            let side = self.sides.entry(side).or_default();
            let (price, qty) = (
                decimal(&level["price_level"]),
                decimal(&level["new_quantity"]),
            );
            match qty.is_zero() {
                true => self.unheard_deletes += usize::from(side.remove(&price).is_none()),
                false => drop(side.insert(price, qty)),
            }
        }
    }

    fn rows(&self) -> (Rows, Rows) {
        let pair = |(price, qty): (&Decimal, &Decimal)| (*price, *qty);
        (
            self.sides["bid"].iter().rev().map(pair).collect(),
            self.sides["offer"].iter().map(pair).collect(),
        )
    }
}

#[tokio::test]
async fn books_and_matches_are_the_truth() {
    let sim = coinbase().await;
    let control = sim.control();
    let mut client = Client::open(&sim, WS, "/").await;
    ask(&mut client, "subscribe", "level2", &["BTC-USD"]).await;
    ask(&mut client, "subscribe", "market_trades", &["BTC-USD"]).await;
    let mut book = Book::default();
    let mut trades: Vec<Value> = Vec::new();
    let take = |frame: &Value, book: &mut Book, trades: &mut Vec<Value>| {
        for event in rows(frame, "events") {
            match frame["channel"].as_str().unwrap() {
                "l2_data" => book.apply(event),
                "market_trades" => {
                    let list = rows(event, "trades");
                    assert!(is_newest_first(list, "time"));
                    trades.extend(list.iter().rev().cloned());
                }
                _ => {}
            }
        }
    };
    // Until levels came and went between two frames, which is soon, but not at a certain time.
    while book.updates < 80 || (book.unheard_deletes == 0 && book.updates < 1_000) {
        let frame = client.json().await;
        take(&frame, &mut book, &mut trades);
    }
    control.pause();
    for frame in client.drain(Duration::from_millis(500)).await {
        take(&frame, &mut book, &mut trades);
    }
    let truth = control.book(Segment::Spot, "BTC-USD").unwrap();
    let expected = (decimals(&truth.bids), decimals(&truth.asks));
    assert!(book.rows() == expected, "the books differ");
    assert!(book.unheard_deletes > 0);

    let id = |trade: &Value| -> u64 { trade["trade_id"].as_str().unwrap().parse().unwrap() };
    let ids: Vec<u64> = trades.iter().map(id).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
    let all = control.trades(Segment::Spot, "BTC-USD", ids[0], ids.len());
    assert_eq!(all.len(), ids.len());
    for (told, real) in trades.iter().zip(&all) {
        assert_eq!(decimal(&told["price"]).to_string(), real.price);
        assert_eq!(decimal(&told["size"]).to_string(), real.qty);
        // The maker's: a buyer rested where the taker sold.
        let side = if real.is_buyer_maker { "BUY" } else { "SELL" };
        assert_eq!(told["side"], side);
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn faults_show_in_the_numbers() {
    let sim = coinbase().await;
    let control = sim.control();
    let mut client = Client::open(&sim, WS, "/").await;
    ask(&mut client, "subscribe", "level2", &["BTC-USD"]).await;
    let number = |frame: &Value| frame["sequence_num"].as_u64().unwrap();
    let mut last = number(&client.json().await);
    for (fault, steps) in [
        ("gap:stream=depth,symbol=BTC-USD", vec![2]),
        ("duplicate:stream=depth,count=1", vec![0]),
        ("reorder:stream=depth,count=1", vec![2, -1]),
    ] {
        control.inject(fault.parse().unwrap());
        let mut seen = Vec::new();
        while seen.len() < steps.len() {
            let next = number(&client.json().await);
            let step = next as i64 - last as i64;
            last = next;
            if step != 1 || !seen.is_empty() {
                seen.push(step);
            }
        }
        assert_eq!(seen, steps, "{fault}");
        // The frame that came early counts as the last one.
        last = last.max(last.saturating_add_signed(-steps.iter().skip(1).sum::<i64>()));
    }
    sim.shutdown().await;
}
