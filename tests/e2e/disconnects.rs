//! Cancel on disconnect: orders that last no longer than the sessions which watch over them.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bookwire_sim::Exchange;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::private::prove_and;
use crate::rig::{Feed, Rig};
use crate::trading::{Trader, code, exchanges, live_with, run};

const ENTITY: &str = "cryptopair_binance_btcusdt";

/// A session that watches over the trader's orders from now on.
async fn watch(trader: &Trader) -> Feed {
    let mut feed = trader.rig.feed().await;
    let wish = json!({"cancel_on_disconnect": true});
    let answer = prove_and(&mut feed, &trader.key, "binance", wish).await;
    assert_eq!(answer["status"], "authenticated", "{answer}");
    assert_eq!(answer["cancel_on_disconnect"], true, "{answer}");
    feed
}

/// An order that rests far from the market.
async fn rest(trader: &Trader, far: Decimal) -> String {
    let body = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy", "type": "limit",
        "quantity": "0.01", "price": far.to_string()});
    let (status, order) = trader.place(body).await;
    assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
    order["order_id"].as_str().unwrap().to_owned()
}

async fn far(trader: &Trader) -> Decimal {
    let (bid, _) = trader.touch("binance", "btcusdt", ENTITY).await;
    (bid * Decimal::new(95, 2)).round_dp(2)
}

async fn account(trader: &Trader) -> Value {
    let path = "/api/trading/accounts?provider=binance";
    trader.ask(Method::GET, path, None).await.1["accounts"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_end_with_the_last_session_that_watches_over_them() {
    let rig = Rig::start(exchanges(&[Exchange::Binance])).await;
    let mut trader = Trader::new(rig).await;
    let price = far(&trader).await;
    let before = rest(&trader, price).await;
    let first = watch(&trader).await;
    let watched = rest(&trader, price).await;
    let second = watch(&trader).await;
    assert_eq!(account(&trader).await["cancel_on_disconnect_sessions"], 2);

    // One of two: nothing happens. A client that came back keeps its orders.
    drop(first);
    let end = Instant::now() + Duration::from_secs(10);
    while account(&trader).await["cancel_on_disconnect_sessions"] != 1 {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(trader.order(&watched).await["status"], "open");
    // The last one: what was placed since is canceled, what was there before stays.
    drop(second);
    trader.until(&watched, &["canceled"]).await;
    assert_eq!(trader.order(&before).await["status"], "open");
    let told = account(&trader).await;
    assert_eq!(
        (&told["disconnects"], &told["disconnect_cancels"]),
        (&json!(1), &json!(1)),
        "{told}"
    );
    // What the client had sent before would have nobody to watch over it.
    let body = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy", "type": "market",
        "quantity": "0.01"});
    let (status, error) = trader.place(body).await;
    assert_eq!(
        (status, code(&error)),
        (503, "CRYPTO_WEBSOCKET_DISCONNECTED"),
        "{error}"
    );
    assert!(error["error"]["details"]["retry_after_seconds"].is_u64());

    // Back again, orders are taken at once; and one who says so before leaves them.
    let mut third = watch(&trader).await;
    let kept = rest(&trader, price).await;
    // Nobody else can take over meanwhile.
    let args = ["keys", "create", "--quiet", "--permissions", "spot_trading"];
    let other = run(&trader.rig, &args, "");
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = prove_and(&mut third, &other, "binance", json!({})).await;
        if code(&answer) == "CRYPTO_FORBIDDEN" {
            break;
        }
        assert!(Instant::now() < end, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A key that trades is proven again without a word of it: it stays as it is.
    let answer = prove_and(&mut third, &trader.key, "binance", json!({})).await;
    assert_eq!(answer["cancel_on_disconnect"], true, "{answer}");
    let wish = json!({"cancel_on_disconnect": false});
    let answer = prove_and(&mut third, &trader.key, "binance", wish).await;
    assert_eq!(answer["cancel_on_disconnect"], false, "{answer}");
    drop(third);

    // A gateway that is killed takes its sessions along.
    let fourth = watch(&trader).await;
    let orphan = rest(&trader, price).await;
    trader.rig.kill_gateway();
    drop(fourth);
    trader.rig.start_gateway().await;
    trader.until(&orphan, &["canceled"]).await;
    for id in [&before, &kept] {
        assert_eq!(trader.order(id).await["status"], "open");
    }

    // Who may not trade can't have orders canceled, and it is a flag.
    let mut feed = trader.rig.feed().await;
    let args = ["keys", "create", "--quiet", "--permissions", "data_access"];
    let reader = run(&trader.rig, &args, "");
    let wish = || json!({"cancel_on_disconnect": true});
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let answer = prove_and(&mut feed, &reader, "binance", wish()).await;
        if code(&answer) == "CRYPTO_FORBIDDEN" {
            break;
        }
        assert!(Instant::now() < end, "{answer}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let wish = json!({"cancel_on_disconnect": "yes"});
    let answer = prove_and(&mut feed, &trader.key, "binance", wish).await;
    assert_eq!(code(&answer), "CRYPTO_INVALID_PARAMETER", "{answer}");
    let parameter = &answer["error"]["details"]["parameter"];
    assert_eq!(parameter, "cancel_on_disconnect", "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_client_a_revoked_key_and_a_stop_cancel_at_the_exchange() {
    every_end_cancels("").await;
}

/// The same where orders have no thread of their own: at a stop they have to end before the threads that they
/// are on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_end_cancels_on_shared_threads() {
    every_end_cancels("[engine]\nshare_threads = true\n").await;
}

async fn every_end_cancels(more: &str) {
    let more = format!("\n[websocket]\nping_secs = 1\nidle_secs = 2\n\n{more}");
    let mut trader = live_with(&[Exchange::Binance], &more, |_| {}, Value::clone).await;
    trader.ready("binance").await;
    let control = trader.rig.sim.control().of(Exchange::Binance).unwrap();
    let state = |id: &str| {
        let orders = control.accounts().remove(0).orders;
        let order = orders.iter().find(|order| order.client_id == id);
        order.map(|order| order.state)
    };
    let price = far(&trader).await;
    // A client that does not answer pings any more: a cable was pulled. It reads nothing, so its
    // library answers nothing; the connection stays up.
    let silent = watch(&trader).await;
    let lost = rest(&trader, price).await;
    assert_eq!(state(&lost), Some("new"));
    // The first answers of the exchange are lost, too: it is tried until they are not.
    control.inject("cut-request:path=/api/v3/order,count=4".parse().unwrap());
    let end = Instant::now() + Duration::from_secs(20);
    while state(&lost) != Some("canceled") {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(silent);

    // A stop closes the sessions, and waits for what that means.
    let session = watch(&trader).await;
    let stopped = rest(&trader, price).await;
    // Not with the first try.
    control.inject("cut-request:path=/api/v3/order,count=4".parse().unwrap());
    assert!(trader.rig.stop_gateway().await.success());
    assert_eq!(state(&stopped), Some("canceled"), "{}", trader.rig.log());
    drop(session);
    trader.rig.start_gateway().await;
    trader.ready("binance").await;
    trader.until(&stopped, &["canceled"]).await;

    // The key's end is its sessions' end. Another one is there to ask what became of the order.
    let session = watch(&trader).await;
    let price = far(&trader).await;
    let revoked = rest(&trader, price).await;
    let key_id = trader.key.split_once('.').unwrap().0.to_owned();
    run(&trader.rig, &["keys", "revoke", &key_id], "");
    let end = Instant::now() + Duration::from_secs(10);
    while state(&revoked) != Some("canceled") {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(session);
}
