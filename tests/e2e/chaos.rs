//! Orders while everything goes wrong, from a printed seed: answers lost after the order was taken,
//! requests cut before, answers that come too late, errors after acceptance, private streams that lose,
//! repeat and reorder messages or are away, an exchange that restarts, and a gateway that is killed.
//! Afterwards what the gateway believes of orders, executions, balances and positions is what the
//! exchange really has; no order is there twice, and none is lost.
//!
//! `BOOKWIRE_CHAOS_ORDERS` makes the runs longer, `BOOKWIRE_CHAOS_SEED` repeats one,
//! `BOOKWIRE_CHAOS_TRANSPORT` says how orders travel.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bookwire_sim::{AccountTruth, Exchange};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::trading::{Trader, live_by};

/// Orders of one run unless told otherwise.
const ORDERS: usize = 15;

/// What can go wrong while an order is under way, and how often.
const FAULTS: [(&str, f64); 9] = [
    ("drop-reply", 0.10),
    ("late-reply:ms=2500,count=1", 0.05),
    ("cut-request", 0.08),
    ("fail-reply:status=502", 0.08),
    ("drop:stream=private,count=2", 0.08),
    ("duplicate:stream=private,count=3", 0.08),
    ("reorder:stream=private,count=2", 0.08),
    ("private-outage:for=1s", 0.03),
    ("restart:ms=700", 0.02),
];

/// One thing that is traded.
struct Place {
    exchange: Exchange,
    entities: [&'static str; 2],
    quantity: &'static str,
    /// Which ways orders may travel; the seed chooses.
    transports: &'static [&'static str],
}

const EITHER: &[&str] = &["rest", "websocket"];

fn number(value: &Value) -> Decimal {
    value.as_str().unwrap_or("0").parse().unwrap()
}

/// A request that is repeated until somebody answers it, under the same client order id where it has
/// one: what every careful client does.
pub(crate) async fn insist(
    trader: &Trader,
    method: Method,
    path: &str,
    body: Option<Value>,
) -> (u16, Value) {
    let url = format!("http://{}{path}", trader.rig.api);
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let mut request = trader
            .http
            .request(method.clone(), &url)
            .bearer_auth(&trader.key);
        if let Some(body) = &body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        if let Ok(answer) = request.send().await {
            let status = answer.status().as_u16();
            if let Ok(value) = answer.json::<Value>().await {
                // Not ready, limits: nothing was done.
                if status != 503 && status != 429 {
                    return (status, value);
                }
            }
        }
        assert!(Instant::now() < end, "no answer:\n{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

async fn run(place: &Place) {
    let seed = std::env::var("BOOKWIRE_CHAOS_SEED").ok();
    let seed: u64 = seed.map_or_else(rand::random, |text| text.parse().unwrap());
    let count = std::env::var("BOOKWIRE_CHAOS_ORDERS").ok();
    let count: usize = count.map_or(ORDERS, |text| text.parse().unwrap());
    let mut random = StdRng::seed_from_u64(seed);
    let provider = place.exchange.as_str();
    let chosen = place.transports[random.random_range(0..place.transports.len())];
    let transport = std::env::var("BOOKWIRE_CHAOS_TRANSPORT").ok();
    let transport = transport.as_deref().unwrap_or(chosen);
    println!("chaos at {provider}: seed {seed}, {count} orders by {transport}");
    // How many requests there may be is tested elsewhere.
    let more = "\n[limits]\nrequests_per_minute = 1000000\ntrading_per_minute = 1000000\n\
                cancels_per_minute = 1000000\n";
    let mut trader = live_by(&[place.exchange], transport, more, |_| {}, Value::clone).await;
    trader.ready_by(provider, transport).await;
    let begun = Instant::now();
    let control = trader.rig.sim.control().of(place.exchange).unwrap();
    let mut asked: Vec<String> = Vec::new();
    for number in 0..count {
        for (fault, chance) in FAULTS {
            if random.random_bool(chance) {
                control.inject(fault.parse().unwrap());
            }
        }
        let entity = place.entities[random.random_range(0..2)];
        let (bid, ask) = loop {
            // The book is away for moments too.
            let path = format!(
                "/api/data/CryptoOrderbook?provider={provider}&entity_ids={entity}&depth=1&numbers=string"
            );
            let (status, book) = insist(&trader, Method::GET, &path, None).await;
            if status == 200 && book["data"][0]["best_bid"].is_string() {
                let row = &book["data"][0];
                break (
                    self::number(&row["best_bid"]),
                    self::number(&row["best_ask"]),
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let is_buy = random.random_bool(0.5);
        let far =
            |price: Decimal, percent: i64| (price * Decimal::new(100 + percent, 2)).round_dp(0);
        let price = match (random.random_range(0..3), is_buy) {
            (0, true) => far(bid, -4),
            (0, false) => far(ask, 4),
            // Rests near the touch, or takes.
            (1, true) => bid.round_dp(0),
            (1, false) => ask.round_dp(0),
            (_, true) => far(ask, 1),
            (_, false) => far(bid, -1),
        };
        let mut order = json!({
            "provider": provider,
            "entity_id": entity,
            "side": if is_buy { "buy" } else { "sell" },
            "quantity": place.quantity,
            "client_order_id": format!("chaos-{number}"),
        });
        let fields = order.as_object_mut().unwrap();
        if random.random_bool(0.25) {
            fields.insert("type".to_owned(), json!("market"));
        } else {
            fields.insert("type".to_owned(), json!("limit"));
            fields.insert("price".to_owned(), json!(price.to_string()));
            let times = ["GTC", "GTC", "GTC", "IOC", "FOK"];
            let time = times[random.random_range(0..times.len())];
            fields.insert("time_in_force".to_owned(), json!(time));
        }
        let path = "/api/trading/orders?numbers=string";
        let placing = insist(&trader, Method::POST, path, Some(order.clone()));
        let dies = random.random_bool(0.02);
        if dies {
            // In the middle of it, wherever that is.
            let moment = Duration::from_micros(random.random_range(0..6_000));
            let _ = tokio::time::timeout(moment, placing).await;
            trader.rig.kill_gateway();
            trader.rig.start_gateway().await;
        } else {
            let (status, answer) = placing.await;
            assert!(
                matches!(status, 200 | 201 | 202 | 400 | 403 | 422 | 504),
                "{order}: {status} {answer}"
            );
            asked.extend(answer["order_id"].as_str().map(str::to_owned));
        }
        if dies || random.random_bool(0.1) {
            // Once more: it must not become two.
            insist(&trader, Method::POST, path, Some(order)).await;
        }
        if random.random_bool(0.3) && !asked.is_empty() {
            let id = &asked[random.random_range(0..asked.len())];
            let path = format!("/api/trading/orders/{id}");
            insist(&trader, Method::DELETE, &path, None).await;
        }
        if number % 100 == 99 {
            // Or the account would be full of orders that rest, and take no more.
            let path = format!("/api/trading/orders?provider={provider}");
            insist(&trader, Method::DELETE, &path, None).await;
            asked.clear();
        }
        if (number + 1) % 1_000 == 0 || number + 1 == count {
            let secs = begun.elapsed().as_secs_f64();
            let rate = (number + 1) as f64 / secs;
            println!(
                "{}: {} orders in {secs:.1} s, {rate:.1} a second",
                provider,
                number + 1
            );
        }
    }
    control.clear_all();
    settle(&trader, provider).await;
    flatten(&trader, provider).await;
    let end = Instant::now() + Duration::from_secs(40);
    loop {
        // What is told last is told after the order: executions, balances.
        let differences = compare(&trader, provider, &control.accounts()[0]).await;
        if differences.is_empty() {
            break;
        }
        assert!(
            Instant::now() < end,
            "seed {seed}: {differences:#?}\n{}",
            trader.rig.log()
        );
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Cancels what is open and waits until everything is known.
pub(crate) async fn settle(trader: &Trader, provider: &str) {
    trader.ready(provider).await;
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let path = format!("/api/trading/orders?provider={provider}");
        insist(trader, Method::DELETE, &path, None).await;
        let open = format!("{path}&status=pending,open,partially_filled,unknown&limit=10000");
        let (_, answer) = insist(trader, Method::GET, &open, None).await;
        if answer["orders"].as_array().is_some_and(Vec::is_empty) {
            return;
        }
        assert!(Instant::now() < end, "{answer}\n{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Closes positions: what they are worth moves with the market, and some exchanges tell balances with
/// it.
pub(crate) async fn flatten(trader: &Trader, provider: &str) {
    let path = format!("/api/trading/positions?provider={provider}&numbers=string");
    let (_, answer) = insist(trader, Method::GET, &path, None).await;
    for position in answer["positions"].as_array().unwrap() {
        let quantity = number(&position["quantity"]);
        let order = json!({
            "provider": provider,
            "entity_id": position["entity_id"],
            "side": if quantity > Decimal::ZERO { "sell" } else { "buy" },
            "type": "market",
            "quantity": quantity.abs().to_string(),
            "reduce_only": true,
            "client_order_id": "flatten",
        });
        let path = "/api/trading/orders?numbers=string";
        let (status, answer) = insist(trader, Method::POST, path, Some(order)).await;
        assert!(matches!(status, 200..=202), "{answer}");
    }
    settle(trader, provider).await;
}

/// All rows of a list, however many: each page ends where the one before began.
async fn list(trader: &Trader, provider: &str, what: &str, id: &str, time: &str) -> Vec<Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let mut end = String::new();
    loop {
        let path =
            format!("/api/trading/{what}?provider={provider}&limit=10000&numbers=string{end}");
        let (status, page) = insist(trader, Method::GET, &path, None).await;
        assert_eq!(status, 200, "{page}");
        let before = all.len();
        for row in page[what].as_array().unwrap() {
            // Trades of two instruments can have the same number.
            let key = format!("{}/{}", row["entity_id"], row[id]);
            end = format!("&end_timestamp={}", row[time].as_str().unwrap());
            all.insert(key, row.clone());
        }
        if all.len() - before < 10_000 {
            return all.into_values().collect();
        }
    }
}

/// What the gateway believes and the exchange does not have, or the other way round.
pub(crate) async fn compare(trader: &Trader, provider: &str, truth: &AccountTruth) -> Vec<String> {
    let mut wrong = Vec::new();
    let ours = list(trader, provider, "orders", "order_id", "created_at").await;
    let ours: BTreeMap<&str, &Value> = ours
        .iter()
        .map(|order| (order["order_id"].as_str().unwrap(), order))
        .collect();
    let mut theirs = BTreeMap::new();
    for order in &truth.orders {
        if theirs.insert(order.client_id.as_str(), order).is_some() {
            wrong.push(format!("{} is there twice", order.client_id));
        }
    }
    for (id, order) in &ours {
        let status = order["status"].as_str().unwrap();
        match theirs.get(id) {
            None if status == "rejected" => {}
            None => wrong.push(format!("{id} is {status} here and not there at all")),
            Some(real) => {
                let filled = number(&order["filled_quantity"]);
                if status != real.state || filled != real.filled {
                    wrong.push(format!(
                        "{id} is {status} with {filled} here, {} with {} there",
                        real.state, real.filled
                    ));
                }
            }
        }
    }
    for id in theirs.keys().filter(|id| !ours.contains_key(*id)) {
        wrong.push(format!("{id} is there and not here"));
    }
    let mut clients: Vec<&str> = ours
        .values()
        .filter_map(|order| order["client_order_id"].as_str())
        .collect();
    clients.sort_unstable();
    if let Some(pair) = clients.windows(2).find(|pair| pair[0] == pair[1]) {
        wrong.push(format!("{} made two orders", pair[0]));
    }
    let fills = list(trader, provider, "fills", "fill_id", "timestamp").await;
    let sums = |rows: Vec<(String, Decimal, Decimal)>| {
        let mut sums: BTreeMap<String, (usize, Decimal, Decimal)> = BTreeMap::new();
        for (order, quantity, value) in rows {
            let sum = sums.entry(order).or_default();
            sum.0 += 1;
            sum.1 += quantity;
            sum.2 += value;
        }
        sums
    };
    let rows = fills.iter().map(|fill| {
        let (price, quantity) = (number(&fill["price"]), number(&fill["quantity"]));
        let order = fill["order_id"].as_str().unwrap().to_owned();
        (order, quantity, (price * quantity).normalize())
    });
    let here = sums(rows.collect());
    let rows = truth.fills.iter().map(|fill| {
        let value = (fill.price * fill.qty).normalize();
        (fill.client_id.clone(), fill.qty, value)
    });
    let there = sums(rows.collect());
    if here != there {
        wrong.push(format!("executions: {here:?} here, {there:?} there"));
    }
    let path = format!("/api/trading/balances?provider={provider}&numbers=string");
    let (_, balances) = insist(trader, Method::GET, &path, None).await;
    for real in &truth.balances {
        let rows = balances["balances"].as_array().unwrap().iter();
        let market = real.market.map(|market| match market {
            bookwire_sim::Segment::Spot => "spot",
            bookwire_sim::Segment::Linear => "perp",
        });
        // One wallet for all is told without a market.
        let mut own = rows.filter(|row| {
            let is_of = row["market"].is_null() || row["market"] == json!(market);
            row["asset"] == json!(real.asset) && is_of
        });
        let total = own
            .next()
            .map_or(Decimal::ZERO, |row| number(&row["total"]));
        // Exchanges print eight digits.
        if (total - real.total).abs() > Decimal::new(2, 8) {
            wrong.push(format!(
                "{} {market:?}: {total} here, {} there",
                real.asset, real.total
            ));
        }
    }
    let path = format!("/api/trading/positions?provider={provider}&numbers=string");
    let (_, positions) = insist(trader, Method::GET, &path, None).await;
    let sum: Decimal = positions["positions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| number(&row["quantity"]))
        .sum();
    let real: Decimal = truth.positions.iter().map(|position| position.qty).sum();
    if sum != real {
        wrong.push(format!("positions: {sum} here, {real} there"));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_binance() {
    run(&Place {
        exchange: Exchange::Binance,
        entities: ["cryptopair_binance_btcusdt", "cryptoperp_binance_btcusdt"],
        quantity: "0.002",
        transports: EITHER,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_okx() {
    run(&Place {
        exchange: Exchange::Okx,
        entities: ["cryptopair_okx_btcusdt", "cryptoperp_okx_btcusdt"],
        quantity: "0.01",
        transports: &["websocket"],
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_bybit() {
    run(&Place {
        exchange: Exchange::Bybit,
        entities: ["cryptopair_bybit_btcusdt", "cryptoperp_bybit_btcusdt"],
        quantity: "0.002",
        transports: EITHER,
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_at_coinbase() {
    run(&Place {
        exchange: Exchange::Coinbase,
        entities: ["cryptopair_coinbase_btcusd", "cryptopair_coinbase_ethusd"],
        quantity: "0.01",
        transports: &["rest"],
    })
    .await;
}
