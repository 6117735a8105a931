//! What is told of orders that are not taken: each of the contract's codes that concern them, from our
//! own checks and from an exchange; and what is on an account beside orders.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bookwire_sim::{Exchange, Segment, SimConfig};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::trading::{Trader, code, exchanges, live_with, run};

/// An order that is not taken, and what is told of it.
struct Case {
    name: &'static str,
    /// What is wrong at the exchange meanwhile.
    fault: &'static str,
    provider: &'static str,
    more: Value,
    status: u16,
    code: &'static str,
    /// The exchange's own code in the details.
    native: Value,
}

const SPOT: &str = "cryptopair_binance_btcusdt";
const PERP: &str = "cryptoperp_bybit_btcusdt";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_code_about_orders_is_told_for_its_reason() {
    let more = "answer_timeout_ms = 8000\n\n[limits]\ntrading_per_minute = 120\n";
    let all = [Exchange::Binance, Exchange::Bybit];
    let trader = live_with(&all, more, |_| {}, Value::clone).await;
    for exchange in all {
        trader.ready(exchange.as_str()).await;
    }
    let (bid, _) = trader.touch("binance", "btcusdt", SPOT).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(1).to_string();
    let wild = (bid * Decimal::TWO).round_dp(0).to_string();
    let limit = |quantity: &str, price: &str| json!({"type": "limit", "quantity": quantity, "price": price});
    let case = |name, fault, more: Value, status, code| Case {
        name,
        fault,
        provider: "binance",
        more,
        status,
        code,
        native: Value::Null,
    };
    let at_bybit = |name, fault, status, code, native: i64| Case {
        provider: "bybit",
        native: json!(native),
        ..case(name, fault, limit("0.01", &far), status, code)
    };
    let cases = [
        case(
            "too dear",
            "",
            limit("1000", &far),
            400,
            "CRYPTO_INSUFFICIENT_BALANCE",
        ),
        case(
            "too small",
            "",
            limit("0.00001", &far),
            400,
            "CRYPTO_MIN_NOTIONAL_NOT_MET",
        ),
        case(
            "off the step",
            "",
            limit("0.01", "1.001"),
            400,
            "CRYPTO_PRECISION_ERROR",
        ),
        case(
            "far from the market",
            "",
            limit("0.01", &wild),
            403,
            "CRYPTO_RISK_LIMIT",
        ),
        case(
            "what the exchange has not",
            "",
            json!({"type": "market", "quantity": "0.01", "margin_trading": true}),
            501,
            "CRYPTO_UNSUPPORTED",
        ),
        case(
            "an account that is not",
            "",
            json!({"type": "market", "quantity": "0.01", "account": "none"}),
            400,
            "CRYPTO_INVALID_PARAMETER",
        ),
        Case {
            native: json!(-2010),
            ..case(
                "closed",
                "reject-orders:count=1",
                limit("0.01", &far),
                422,
                "CRYPTO_ORDER_REJECTED",
            )
        },
        Case {
            native: json!(-1003),
            ..case(
                "the exchange's limit",
                "429:path=/api/v3/order,count=1,retry_after=1",
                limit("0.01", &far),
                429,
                "CRYPTO_RATE_LIMIT_EXCEEDED",
            )
        },
        at_bybit(
            "funding is settled",
            "reject-orders:code=110063,count=1",
            423,
            "CRYPTO_FUNDING_SETTLEMENT",
            110_063,
        ),
        at_bybit(
            "balance, as the exchange has it",
            "reject-orders:code=110007,count=1",
            400,
            "CRYPTO_INSUFFICIENT_BALANCE",
            110_007,
        ),
        at_bybit(
            "a code that nobody knows",
            "reject-orders:code=987654,count=1",
            422,
            "CRYPTO_ORDER_REJECTED",
            987_654,
        ),
    ];
    for case in cases {
        let exchange = Exchange::parse(case.provider).unwrap();
        let control = trader.rig.sim.control().of(exchange).unwrap();
        if !case.fault.is_empty() {
            control.inject(case.fault.parse().unwrap());
        }
        let entity = match case.provider {
            "bybit" => PERP,
            _ => SPOT,
        };
        let mut body = json!({"provider": case.provider, "entity_id": entity, "side": "buy"});
        let fields = body.as_object_mut().unwrap();
        fields.extend(case.more.as_object().unwrap().clone());
        let (status, error) = trader.place(body).await;
        assert_eq!(
            (status, code(&error)),
            (case.status, case.code),
            "{}: {error}",
            case.name
        );
        let told = &error["error"];
        assert_eq!(
            told["details"]["exchange_code"], case.native,
            "{}: {error}",
            case.name
        );
        let advice = told["recovery_suggestions"].as_array().unwrap();
        assert!(!advice.is_empty(), "{}: {error}", case.name);
        assert!(told["trace_id"].is_string(), "{}: {error}", case.name);
        control.clear_all();
    }
    // What nobody knew was counted.
    let accounts = "/api/trading/accounts?provider=bybit";
    let (_, told) = trader.ask(Method::GET, accounts, None).await;
    assert_eq!(told["accounts"][0]["unmapped_errors"], 1, "{told}");
    // None of these is at an exchange.
    for exchange in all {
        let control = trader.rig.sim.control().of(exchange).unwrap();
        assert_eq!(control.accounts()[0].orders, [], "{}", exchange.as_str());
    }

    // Leverage that spot has not, an order that is not there, an id that was used.
    let body = json!({"provider": "binance", "entity_id": SPOT, "leverage": 2});
    let leverage = "/api/trading/leverage";
    let (status, error) = trader.ask(Method::POST, leverage, Some(body)).await;
    assert_eq!(
        (status, code(&error)),
        (501, "CRYPTO_UNSUPPORTED"),
        "{error}"
    );
    let nobody = "/api/trading/orders/bw00000000000000000000000001";
    let (status, error) = trader.ask(Method::GET, nobody, None).await;
    assert_eq!(
        (status, code(&error)),
        (404, "CRYPTO_ORDER_NOT_FOUND"),
        "{error}"
    );
    let mut body = json!({"provider": "binance", "entity_id": SPOT, "side": "buy", "type": "limit",
        "quantity": "0.01", "price": far, "client_order_id": "twice"});
    // What the exchange's 429 has asked for.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let (status, order) = trader.place(body.clone()).await;
    assert_eq!(status, 201, "{order}");
    body["quantity"] = json!("0.02");
    let (status, error) = trader.place(body.clone()).await;
    assert_eq!(
        (status, code(&error)),
        (409, "CRYPTO_DUPLICATE_ORDER"),
        "{error}"
    );
    assert_eq!(error["error"]["details"]["order_id"], order["order_id"]);

    // An answer that is lost makes an order unknown, and a cancellation that can't be answered is told
    // as such.
    let control = trader.rig.sim.control().of(Exchange::Binance).unwrap();
    control.inject("drop-reply:path=/api/v3/order".parse().unwrap());
    body["client_order_id"] = json!("lost");
    let (status, lost) = trader.place(body.clone()).await;
    // Unknown, unless the private stream was faster.
    let told = (status, lost["status"].as_str());
    assert!(
        matches!(told, (202, Some("unknown")) | (201, Some("open"))),
        "{lost}"
    );
    let id = lost["order_id"].as_str().unwrap().to_owned();
    trader.until(&id, &["open"]).await;
    control.inject("cut-request:path=/api/v3/order,count=3".parse().unwrap());
    let path = format!("/api/trading/orders/{id}");
    let (status, error) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!(
        (status, code(&error)),
        (504, "CRYPTO_ORDER_STATE_UNKNOWN"),
        "{error}"
    );
    // It is still wanted, and so it comes.
    trader.until(&id, &["canceled"]).await;

    // Halted: nothing new, and what is there goes.
    let switch = |engaged: bool| json!({"provider": "binance", "engaged": engaged});
    let path = "/api/trading/kill_switch";
    assert_eq!(
        trader.ask(Method::POST, path, Some(switch(true))).await.0,
        200
    );
    body["client_order_id"] = json!("halted");
    let (status, error) = trader.place(body.clone()).await;
    assert_eq!(
        (status, code(&error)),
        (423, "CRYPTO_TRADING_HALTED"),
        "{error}"
    );
    assert_eq!(
        trader.ask(Method::POST, path, Some(switch(false))).await.0,
        200
    );

    // Our own limit, of a key that has nothing else to do.
    let args = ["keys", "create", "--quiet", "--permissions", "spot_trading"];
    let first = trader.key.clone();
    let busy = Trader {
        key: run(&trader.rig, &args, ""),
        ..trader
    };
    let end = Instant::now() + Duration::from_secs(20);
    let mut asked = 0;
    let error = loop {
        body["quantity"] = json!("1000");
        let (status, error) = busy.place(body.clone()).await;
        asked += u32::from(status == 400);
        if status == 429 && asked > 0 {
            break error;
        }
        assert!(matches!(status, 400 | 401 | 429), "{error}");
        assert!(Instant::now() < end, "{error}");
    };
    assert!(asked >= 100, "{asked}");
    assert_eq!(code(&error), "CRYPTO_RATE_LIMIT_EXCEEDED", "{error}");
    for name in ["rate_limit", "retry_after_seconds", "current_usage"] {
        assert!(
            !error["error"]["details"][name].is_null(),
            "{name}: {error}"
        );
    }
    // It may do nothing that its permissions do not say, and the other one trades on.
    let body = json!({"provider": "bybit", "entity_id": PERP, "side": "buy", "type": "market",
        "quantity": "0.01"});
    let (status, error) = busy.place(body.clone()).await;
    assert_eq!((status, code(&error)), (403, "CRYPTO_FORBIDDEN"), "{error}");
    let trader = Trader { key: first, ..busy };
    let (status, order) = trader.place(body).await;
    assert_eq!(status, 201, "{order}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_cancels_everything_when_the_gateway_is_dead() {
    let all = [Exchange::Binance, Exchange::Okx];
    let mut trader = live_with(
        &all,
        "dead_man_secs = 10\nanswer_timeout_ms = 2500",
        |_| {},
        Value::clone,
    )
    .await;
    let mut resting = Vec::new();
    for exchange in all {
        let provider = exchange.as_str();
        trader.ready(provider).await;
        let entity = format!("cryptoperp_{provider}_btcusdt");
        let (bid, _) = trader.touch(provider, "btcusdt", &entity).await;
        let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
        let body = json!({"provider": provider, "entity_id": entity, "side": "buy",
            "type": "limit", "quantity": "0.1", "price": far});
        let (status, order) = trader.place(body).await;
        assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
        let control = trader.rig.sim.control().of(exchange).unwrap();
        resting.push((control, order["order_id"].as_str().unwrap().to_owned()));
    }
    let states = || {
        let state = |(control, id): &(bookwire_sim::SimControl, String)| {
            let orders = control.accounts().remove(0).orders;
            let order = orders.iter().find(|order| order.client_id == *id);
            order.map(|order| order.state)
        };
        resting.iter().map(state).collect::<Vec<_>>()
    };
    // Set once, the timers would have run out by now.
    tokio::time::sleep(Duration::from_millis(11_500)).await;
    assert_eq!(states(), [Some("new"); 2], "{}", trader.rig.log());
    trader.rig.kill_gateway();
    assert_eq!(states(), [Some("new"); 2]);
    let end = Instant::now() + Duration::from_secs(14);
    while states() != [Some("canceled"); 2] {
        assert!(Instant::now() < end, "{:?}", states());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bybit_takes_orders_back_when_no_connection_is_left() {
    is_left("").await;
}

/// The same where orders have no thread of their own: at a stop they have to end before the threads that they
/// are on, or nobody tells the exchange that it is wanted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bybit_takes_orders_back_on_shared_threads() {
    is_left("\n\n[engine]\nshare_threads = true").await;
}

async fn is_left(more: &str) {
    let exchange = Exchange::Bybit;
    let more = format!("dead_man_secs = 3{more}");
    let mut trader = live_with(&[exchange], &more, |_| {}, Value::clone).await;
    trader.ready("bybit").await;
    let control = trader.rig.sim.control().of(exchange).unwrap();
    let mut resting = Vec::new();
    for entity in ["cryptopair_bybit_btcusdt", "cryptoperp_bybit_btcusdt"] {
        let (bid, _) = trader.touch("bybit", "btcusdt", entity).await;
        let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
        let body = json!({"provider": "bybit", "entity_id": entity, "side": "buy",
            "type": "limit", "quantity": "0.01", "price": far});
        let (status, order) = trader.place(body).await;
        assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
        resting.push(order["order_id"].as_str().unwrap().to_owned());
    }
    let states = || {
        let orders = control.accounts().remove(0).orders;
        let state = |id: &String| {
            let order = orders.iter().find(|order| order.client_id == *id);
            order.map(|order| order.state)
        };
        resting.iter().map(state).collect::<Vec<_>>()
    };
    // A stop that is wanted leaves them where they are.
    assert!(trader.rig.stop_gateway().await.success());
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    assert_eq!(states(), [Some("new"); 2], "{}", trader.rig.log());
    trader.rig.start_gateway().await;
    trader.ready("bybit").await;
    // While it is there nothing is counted.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(states(), [Some("new"); 2], "{}", trader.rig.log());
    trader.rig.kill_gateway();
    let end = Instant::now() + Duration::from_secs(8);
    while states() != [Some("canceled"); 2] {
        assert!(Instant::now() < end, "{:?}", states());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_position_is_opened_around_a_settlement_of_funding() {
    // Every four hours: each moment is within two of a settlement.
    let (entity, far_off) = ("cryptoperp_binance_1000pepeusdt", 7_200);
    let more = format!("funding_lock_secs = {far_off}");
    let trader = live_with(&[Exchange::Binance], &more, |_| {}, Value::clone).await;
    trader.ready("binance").await;
    let (_, listed) = trader
        .rig
        .get("/api/data/CryptoPerp?provider=binance&codes=1000pepeusdt&numbers=string")
        .await;
    let row = &listed["data"][0];
    assert_eq!(row["funding_interval_hours"], 4, "{listed}");
    let (bid, _) = trader.touch("binance", "1000pepeusdt", entity).await;
    let quantity = (Decimal::from(50) / bid).round_dp(0).to_string();
    let order = |entity: &str, side: &str, more: Value| {
        let mut body = json!({"provider": "binance", "entity_id": entity, "side": side,
            "type": "market", "quantity": quantity});
        let fields = body.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        body
    };
    let now = || {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_secs()).unwrap()
    };
    let asked = now();
    let (status, error) = trader.place(order(entity, "buy", json!({}))).await;
    assert_eq!(
        (status, code(&error)),
        (423, "CRYPTO_FUNDING_SETTLEMENT"),
        "{error}"
    );
    let details = &error["error"]["details"];
    assert_eq!(details["lock_seconds"], far_off, "{error}");
    // Until two hours after the settlement that is nearest.
    let interval = 4 * 3_600;
    let nearest = (asked + interval / 2).div_euclid(interval) * interval;
    let wait = details["retry_after_seconds"].as_i64().unwrap();
    let expected = nearest + i64::from(far_off) - asked;
    // Either is the nearest in the middle between two.
    let is_it = |wait: i64| (wait - expected).abs() <= 5;
    assert!(is_it(wait) || is_it(wait + interval), "{expected}: {error}");
    let settlement = details["settlement"].as_str().unwrap();
    assert!(settlement.ends_with(":00:00.000Z"), "{error}");
    // What only reduces is no reason to wait, neither is spot.
    let reduces = order(entity, "sell", json!({"reduce_only": true}));
    let (_, error) = trader.place(reduces).await;
    assert_ne!(code(&error), "CRYPTO_FUNDING_SETTLEMENT", "{error}");
    let spot = json!({"quantity": "0.01"});
    let (status, order) = trader
        .place(order("cryptopair_binance_btcusdt", "buy", spot))
        .await;
    assert_eq!(status, 201, "{order}");
    let control = trader.rig.sim.control().of(Exchange::Binance).unwrap();
    let orders = control.accounts().remove(0).orders;
    assert!(orders.iter().all(|order| order.symbol == "BTCUSDT"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spot_orders_borrow_where_the_exchange_lends() {
    let all = [Exchange::Okx, Exchange::Bybit];
    let trader = live_with(&all, "", |_| {}, Value::clone).await;
    let (_, able) = trader.rig.get("/api/crypto/providers/capabilities").await;
    for exchange in all {
        let provider = exchange.as_str();
        trader.ready(provider).await;
        assert_eq!(able[provider]["margin_trading"], true, "{able}");
        let entity = format!("cryptopair_{provider}_btcusdt");
        trader.touch(provider, "btcusdt", &entity).await;
        let control = trader.rig.sim.control().of(exchange).unwrap();
        let total = || {
            let truth = control.accounts().remove(0);
            let row = truth.balances.into_iter().find(|row| row.asset == "BTC");
            row.unwrap().total
        };
        control.deposit(0, Segment::Spot, "BTC", Decimal::new(1, 3) - total());
        let owned = async || {
            let path =
                format!("/api/trading/balances?provider={provider}&asset=BTC&numbers=string");
            let (_, answer) = trader.ask(Method::GET, &path, None).await;
            let total = answer["balances"][0]["total"].as_str().unwrap();
            total.parse::<Decimal>().unwrap()
        };
        let is = async |wanted: Decimal| {
            let end = Instant::now() + Duration::from_secs(15);
            while owned().await != wanted {
                assert!(Instant::now() < end, "{provider}: {}", owned().await);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        is(Decimal::new(1, 3)).await;
        let sell = |borrows: bool| {
            json!({"provider": provider, "entity_id": entity, "side": "sell", "type": "market",
                "quantity": "0.003", "margin_trading": borrows})
        };
        let (status, error) = trader.place(sell(false)).await;
        assert_eq!(
            (status, code(&error)),
            (400, "CRYPTO_INSUFFICIENT_BALANCE"),
            "{error}"
        );
        let (status, order) = trader.place(sell(true)).await;
        assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
        assert_eq!(order["margin_trading"], true, "{order}");
        trader
            .until(order["order_id"].as_str().unwrap(), &["filled"])
            .await;
        assert_eq!(total(), -Decimal::new(2, 3), "{provider}");
        is(-Decimal::new(2, 3)).await;
    }
    assert_eq!(able["binance"]["margin_trading"], false, "{able}");
    assert_eq!(able["coinbase"]["margin_trading"], false, "{able}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_and_short_are_held_apart_in_hedge_mode() {
    let hedge = |rig: &Rig| {
        let control = rig.sim.control().of(Exchange::Binance).unwrap();
        assert!(control.set_hedged(0, true));
    };
    let trader = live_with(&[Exchange::Binance], "", hedge, Value::clone).await;
    trader.ready("binance").await;
    let entity = "cryptoperp_binance_btcusdt";
    trader.touch("binance", "btcusdt", entity).await;
    let order = |side: &str, position: Option<&str>| {
        json!({"provider": "binance", "entity_id": entity, "side": side, "type": "market",
            "quantity": "0.01", "position_side": position})
    };
    let (status, error) = trader.place(order("buy", None)).await;
    assert_eq!(
        (status, code(&error)),
        (400, "CRYPTO_INVALID_PARAMETER"),
        "{error}"
    );
    assert_eq!(
        error["error"]["details"]["parameter"], "position_side",
        "{error}"
    );
    for (side, position) in [("buy", "long"), ("buy", "long"), ("sell", "short")] {
        let (status, order) = trader.place(order(side, Some(position))).await;
        assert_eq!(status, 201, "{order}");
        trader
            .until(order["order_id"].as_str().unwrap(), &["filled"])
            .await;
    }
    let held = async || {
        let path = "/api/trading/positions?provider=binance&numbers=string";
        let (_, answer) = trader.ask(Method::GET, path, None).await;
        let rows = answer["positions"].as_array().unwrap().iter();
        let mut held: Vec<(String, Decimal)> = rows
            .map(|row| {
                let text = |name: &str| row[name].as_str().unwrap().to_owned();
                (text("position_side"), text("quantity").parse().unwrap())
            })
            .collect();
        held.sort();
        held
    };
    let is = async |long: i64, short: i64| {
        let mut wanted = vec![
            ("long".to_owned(), Decimal::new(long, 2)),
            ("short".to_owned(), Decimal::new(-short, 2)),
        ];
        wanted.retain(|(_, quantity)| !quantity.is_zero());
        let end = Instant::now() + Duration::from_secs(10);
        while held().await != wanted {
            assert!(Instant::now() < end, "{:?}", held().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    is(2, 1).await;
    // Each is closed by its own side alone.
    let (status, answer) = trader.place(order("sell", Some("long"))).await;
    assert_eq!(status, 201, "{answer}");
    is(1, 1).await;
    let (status, answer) = trader.place(order("buy", Some("short"))).await;
    assert_eq!(status, 201, "{answer}");
    is(1, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paper_positions_pay_funding_and_are_liquidated() {
    // A day that is over, minutes before a settlement, in a market that moves a minute in a second.
    let start_ms = 1_717_200_000_000 + 8 * 3_600_000 - 8 * 60_000;
    let sim = SimConfig {
        start_ms: Some(start_ms),
        time_scale: 60.0,
        intensity: 0.05,
        ..exchanges(&[Exchange::Binance])
    };
    let trader = Trader::new(Rig::start(sim).await).await;
    let codes = ["btcusdt", "ethusdt", "solusdt", "dogeusdt"];
    let before = trader.balance("binance", "USDT").await;
    for code in codes {
        let entity = format!("cryptoperp_binance_{code}");
        let (bid, _) = trader.touch("binance", code, &entity).await;
        let (_, listed) = trader
            .rig
            .get(&format!(
                "/api/data/CryptoPerp?provider=binance&codes={code}&numbers=string"
            ))
            .await;
        let row = &listed["data"][0];
        let most = row["max_leverage"].as_u64().unwrap_or(125);
        let body = json!({"provider": "binance", "entity_id": entity, "leverage": most});
        let (status, answer) = trader
            .ask(Method::POST, "/api/trading/leverage", Some(body))
            .await;
        assert_eq!(status, 200, "{answer}");
        let body = json!({"provider": "binance", "entity_id": entity, "side": "buy",
            "type": "market", "quantity": (Decimal::from(500) / bid).round_dp(8).to_string(),
            "round": true});
        let (status, order) = trader.place(body).await;
        assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
    }
    let all = |what: &str| format!("/api/trading/{what}?provider=binance&numbers=string");
    let mut has_funding = false;
    let mut liquidated = None;
    let end = Instant::now() + Duration::from_secs(60);
    while !has_funding || liquidated.is_none() {
        assert!(
            Instant::now() < end,
            "funding: {has_funding}, liquidation: {liquidated:?}\n{}",
            trader.rig.log()
        );
        let (_, answer) = trader.ask(Method::GET, &all("positions"), None).await;
        for row in answer["positions"].as_array().unwrap() {
            assert!(row["liquidation_price"].is_string(), "{row}");
            let cost = row["funding_cost"].as_str().unwrap_or("0");
            has_funding |= cost.parse::<Decimal>().unwrap() != Decimal::ZERO;
        }
        let (_, answer) = trader.ask(Method::GET, &all("orders"), None).await;
        let orders = answer["orders"].as_array().unwrap().clone();
        liquidated = orders
            .into_iter()
            .find(|order| order["reject_reason"] == "liquidation" && order["status"] == "filled");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let order = liquidated.unwrap();
    assert_eq!(order["reduce_only"], true, "{order}");
    let (_, answer) = trader.ask(Method::GET, &all("positions"), None).await;
    let rows = answer["positions"].as_array().unwrap();
    assert!(
        rows.iter()
            .all(|row| row["entity_id"] != order["entity_id"]),
        "{order}: {answer}"
    );
    let now = trader.balance("binance", "USDT").await;
    assert!(now.0 + now.1 < before.0 + before.1, "{before:?} {now:?}");
}

/// What an order is told as that the exchange ended because it met another one of its account. Coinbase has no
/// word for it but that of a cancellation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_orders_that_meet_end_as_the_exchange_says() {
    // Which of the two ends, and how: the one that rested, or the one that came.
    let places = [
        (Exchange::Binance, "btcusdt", "GTC", ["expired", ""]),
        (Exchange::Okx, "btcusdt", "GTC", ["expired", ""]),
        (Exchange::Coinbase, "btcusd", "GTC", ["", "canceled"]),
        (Exchange::Coinbase, "btcusd", "IOC", ["", "expired"]),
    ];
    let all = [Exchange::Binance, Exchange::Okx, Exchange::Coinbase];
    let trader = live_with(&all, "", |_| {}, Value::clone).await;
    for (exchange, pair, time_in_force, ends) in places {
        let provider = exchange.as_str();
        trader.ready(provider).await;
        let control = trader.rig.sim.control().of(exchange).unwrap();
        let entity = format!("cryptopair_{provider}_{pair}");
        let end = Instant::now() + Duration::from_secs(30);
        // The market can be between the two, or take the first.
        let orders = loop {
            let (bid, ask) = trader.touch(provider, pair, &entity).await;
            let price = ((bid + ask) / Decimal::TWO).round_dp(1);
            let order = |side: &str, quantity: &str, time: &str| {
                json!({"provider": provider, "entity_id": entity, "side": side, "type": "limit",
                    "quantity": quantity, "price": price.to_string(), "time_in_force": time})
            };
            let mut ids = [const { String::new() }; 2];
            for (id, body) in ids.iter_mut().zip([
                order("buy", "0.01", "GTC"),
                order("sell", "0.5", time_in_force),
            ]) {
                let (status, answer) = trader.place(body).await;
                assert!(matches!(status, 200..=202), "{answer}");
                *id = answer["order_id"].as_str().unwrap().to_owned();
            }
            let truth = control.accounts().remove(0);
            let mut met = truth
                .orders
                .iter()
                .filter(|order| order.reason == "self_trade");
            if met.any(|order| ids.contains(&order.client_id)) {
                break ids;
            }
            assert!(Instant::now() < end, "{provider}: {:?}", truth.orders);
            trader.account(provider).cancel_all().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        for (id, status) in orders
            .iter()
            .zip(ends)
            .filter(|(_, status)| !status.is_empty())
        {
            trader.until(id, &[status]).await;
        }
    }
    for exchange in all {
        let control = trader.rig.sim.control().of(exchange).unwrap();
        let account = trader.account(exchange.as_str());
        account
            .comes_to_the_truth(&control, exchange.as_str())
            .await;
    }
}
