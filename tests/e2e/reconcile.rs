//! What is found out about an account without being told: by comparison, by pushes, by looking at the
//! exchange's clock.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::journal::{Entry, Journal, Limits};
use bookwire_engine::trading::keys::{KeyKind, Keys};
use bookwire_engine::trading::ledger::FINAL_MAX;
use bookwire_engine::trading::order::{Order, OrderId, OrderStatus, TradingMode};
use bookwire_engine::trading::venue::{Access, Method as Verb, NativeRequest};
use bookwire_sim::{Exchange, SimConfig};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::trading::{Trader, exchanges, live_with, run};

const ENTITY: &str = "cryptopair_binance_btcusdt";

fn journal(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.into_iter().find_map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => journal(&path),
            false => path
                .ends_with("binance-default-live.journal")
                .then_some(path),
        }
    })
}

/// Sum of an order's executions, as they are told.
async fn executed(trader: &Trader, id: &str) -> Decimal {
    let path = format!("/api/trading/fills?order_id={id}&numbers=string");
    let (status, told) = trader.ask(Method::GET, &path, None).await;
    assert_eq!(status, 200, "{told}");
    let rows = told["fills"].as_array().unwrap().iter();
    rows.map(|row| {
        row["quantity"]
            .as_str()
            .unwrap()
            .parse::<Decimal>()
            .unwrap()
    })
    .sum()
}

async fn until_executed(trader: &Trader, id: &str, quantity: Decimal) {
    let end = Instant::now() + Duration::from_secs(20);
    while executed(trader, id).await != quantity {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An order whose executions were never told, and more orders after it than an answer has: its executions
/// are asked for all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn executions_are_found_however_many_orders_came_after() {
    const AFTER: u64 = 1_100;
    let mut trader = live_with(&[Exchange::Binance], "", |_| {}, Value::clone).await;
    trader.ready("binance").await;
    trader.touch("binance", "btcusdt", ENTITY).await;
    let body = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy", "type": "market",
        "quantity": "0.01"});
    let (status, order) = trader.place(body).await;
    assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
    let id = order["order_id"].as_str().unwrap().to_owned();
    trader.until(&id, &["filled"]).await;
    let quantity = Decimal::new(1, 2);
    until_executed(&trader, &id, quantity).await;
    assert!(trader.rig.stop_gateway().await.success());

    // The same journal, but for the executions, as a crash before they came would have left it, and
    // orders that came to nothing after it.
    let path = journal(&trader.rig.data_dir()).expect("a journal");
    let limits = Limits {
        compact_bytes: 1 << 30,
        final_max: FINAL_MAX,
    };
    let (old, replayed) = Journal::open(&path, limits).unwrap();
    drop(old);
    let mut order = replayed.orders[&OrderId::parse(&id).unwrap()].clone();
    assert_eq!(order.known_fills, quantity);
    order.known_fills = Decimal::ZERO;
    order.fees = Default::default();
    let later = (1..=AFTER).map(|number| {
        let at = TsNanos(order.created_at.0 + i64::try_from(number).unwrap() * 1_000_000);
        let id = OrderId::new(at, number.into());
        let terms = order.terms.clone();
        Order {
            status: OrderStatus::Rejected,
            ..Order::new(id, terms, id.to_string(), TradingMode::Live, at)
        }
    });
    let orders = std::iter::once(order.clone()).chain(later);
    let entries: Vec<Entry> = orders.map(|order| Entry::Order(Box::new(order))).collect();
    std::fs::remove_file(&path).unwrap();
    let (mut journal, _) = Journal::open(&path, limits).unwrap();
    journal.append_all(&entries).unwrap();
    drop(journal);

    trader.rig.start_gateway().await;
    until_executed(&trader, &id, quantity).await;
    let told = trader.order(&id).await;
    assert_eq!(told["status"], "filled", "{told}");
    assert_ne!(told["fee"], Value::Null, "{told}");
}

/// Somebody else with the account's key, who uses the exchange's own interface.
async fn by_hand(trader: &Trader, verb: Verb, query: &str) -> Value {
    let told = trader.rig.sim.endpoints()["binance"].clone();
    let text = |name: &str| told["credentials"][name].as_str().unwrap().to_owned();
    let keys = Keys::new(KeyKind::Hmac, &text("api_key"), &text("secret"), None).unwrap();
    let request = NativeRequest {
        method: verb,
        market: Market::Spot,
        path: "/api/v3/order".to_owned(),
        query: query.to_owned(),
        body: String::new(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    };
    let host = "api.binance.com";
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = TsNanos(i64::try_from(since.as_nanos()).unwrap());
    let venue = ProviderId::BINANCE.exchange().trading().unwrap();
    let signed = venue.sign(&keys, &request, host, now, 5_000).unwrap();
    let url = format!("{}{}", told["hosts"][host].as_str().unwrap(), signed.target);
    let method = verb.as_str().parse().unwrap();
    let mut sent = trader.http.request(method, url).body(signed.body);
    for (name, value) in signed.headers {
        sent = sent.header(name, value);
    }
    let answer = sent.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{query}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Waits for the order that has this id at the exchange.
async fn until_known(trader: &Trader, exchange_id: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let path = "/api/trading/orders?provider=binance&numbers=string";
        let (_, told) = trader.ask(Method::GET, path, None).await;
        let rows = told["orders"].as_array().unwrap().iter();
        let mut found = rows.filter(|row| row["exchange_order_id"] == exchange_id);
        if let Some(row) = found.next() {
            assert_eq!(found.count(), 0, "{told}");
            return row.clone();
        }
        assert!(Instant::now() < end, "{told}\n{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What was not as it was believed is counted and logged, each by name.
async fn is_told_of(trader: &Trader, id: &str) {
    let path = "/api/trading/accounts?provider=binance";
    let (_, told) = trader.ask(Method::GET, path, None).await;
    let counted = told["accounts"][0]["corrections"].as_u64();
    assert!(counted >= Some(1), "{told}");
    let counter =
        "bookwire_order_corrections_total{provider=\"binance\",account=\"default\",mode=\"live\"}";
    assert!(trader.rig.metric(counter).await >= Some(1.0), "{told}");
    let line = format!("order {id} was made elsewhere and is adopted");
    assert!(trader.rig.log().contains(&line), "{line}");
}

/// Orders that somebody places and cancels beside us are taken over, marked, and can be canceled here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_by_hand_is_taken_over() {
    let mut trader = live_with(&[Exchange::Binance], "", |_| {}, Value::clone).await;
    trader.ready("binance").await;
    let (bid, _) = trader.touch("binance", "btcusdt", ENTITY).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
    let query = |name: &str| {
        format!(
            "symbol=BTCUSDT&side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.01&price={far}\
             &newClientOrderId={name}"
        )
    };
    // Told by the private stream.
    let told = by_hand(&trader, Verb::Post, &query("hand-1")).await;
    let there = told["orderId"].to_string();
    let order = until_known(&trader, &there).await;
    assert_eq!(order["origin"], "adopted", "{order}");
    assert_eq!(
        (&order["status"], &order["quantity"]),
        (&json!("open"), &json!("0.01")),
        "{order}"
    );
    is_told_of(&trader, order["order_id"].as_str().unwrap()).await;
    let path = format!(
        "/api/trading/orders/{}",
        order["order_id"].as_str().unwrap()
    );
    let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, 200, "{canceled}");
    let control = trader.rig.sim.control().of(Exchange::Binance).unwrap();
    let state = |name: &str| {
        let orders = control.accounts().remove(0).orders;
        orders
            .iter()
            .find(|order| order.client_id == name)
            .map(|order| order.state)
    };
    assert_eq!(state("hand-1"), Some("canceled"));

    // Done while nobody was there to be told: found at the start.
    let body = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy", "type": "limit",
        "quantity": "0.01", "price": far});
    let (status, ours) = trader.place(body).await;
    assert_eq!(status, 201, "{ours}");
    let ours = ours["order_id"].as_str().unwrap().to_owned();
    trader.until(&ours, &["open"]).await;
    assert!(trader.rig.stop_gateway().await.success());
    let told = by_hand(&trader, Verb::Post, &query("hand-2")).await;
    let there = told["orderId"].to_string();
    by_hand(
        &trader,
        Verb::Delete,
        &format!("symbol=BTCUSDT&origClientOrderId={ours}"),
    )
    .await;
    trader.rig.start_gateway().await;
    trader.ready("binance").await;
    let order = until_known(&trader, &there).await;
    assert_eq!(
        (&order["origin"], &order["status"]),
        (&json!("adopted"), &json!("open")),
        "{order}"
    );
    is_told_of(&trader, order["order_id"].as_str().unwrap()).await;
    trader.until(&ours, &["canceled"]).await;
    // One of ours is ours.
    assert_eq!(trader.order(&ours).await["origin"], "bookwire");
}

/// Exchanges refuse what is signed at another time than theirs: it is their clock that counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_whose_clock_is_another_is_traded_at() {
    let all = [Exchange::Binance, Exchange::Okx, Exchange::Bybit];
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let sim = SimConfig {
        start_ms: Some(i64::try_from(since.as_millis()).unwrap() + 45_000),
        ..exchanges(&all)
    };
    let mut config = "[trading]\nreconcile_secs = 5\n\n".to_owned();
    for exchange in all {
        config += &format!(
            "[providers.{}.trading]\nmode = \"live\"\n\n",
            exchange.as_str()
        );
    }
    let rig = Rig::start_prepared(sim, &config, |rig| {
        for exchange in all {
            let provider = exchange.as_str();
            let credentials = rig.sim.endpoints()[provider]["credentials"].to_string();
            run(rig, &["credentials", "set", provider], &credentials);
        }
    });
    let trader = Trader::new(rig.await).await;
    for exchange in all {
        let provider = exchange.as_str();
        trader.ready(provider).await;
        let entity = format!("cryptopair_{provider}_btcusdt");
        let (bid, _) = trader.touch(provider, "btcusdt", &entity).await;
        let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
        let body = json!({"provider": provider, "entity_id": entity, "side": "buy",
            "type": "limit", "quantity": "0.01", "price": far});
        let (status, order) = trader.place(body).await;
        assert_eq!(status, 201, "{provider}: {order}\n{}", trader.rig.log());
        let path = format!(
            "/api/trading/orders/{}",
            order["order_id"].as_str().unwrap()
        );
        let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
        assert_eq!(status, 200, "{provider}: {canceled}");
        let (_, told) = trader.rig.get("/api/crypto/providers/status").await;
        let rows = told["providers"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == provider).unwrap();
        let offset = row["clock_offset_ms"].as_f64().unwrap();
        // Less by what the simulators took to start, and far beyond what an exchange lets pass.
        assert!(
            (15_000.0..50_000.0).contains(&offset),
            "{provider}: {offset}"
        );
    }
}
