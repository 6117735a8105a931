//! Keys of exchanges: changed while the gateway runs, and refused when they can do too much.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use bookwire_sim::{Exchange, SimControl};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::trading::{Trader, live_with, run};

const ENTITY: &str = "cryptopair_binance_btcusdt";

/// Waits until an account's reason to take no orders is as wanted.
pub(crate) async fn until_not_ready(trader: &Trader, provider: &str, why: &str) {
    let path = format!("/api/trading/accounts?provider={provider}");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, answer) = trader.ask(Method::GET, &path, None).await;
        let account = &answer["accounts"][0];
        let reason = account["reason"].as_str().unwrap_or_default();
        if account["ready"] == false && reason.contains(why) {
            return;
        }
        assert!(Instant::now() < end, "{answer}\n{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn buy(trader: &Trader) -> String {
    let body = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy", "type": "market",
        "quantity": "0.01"});
    let (status, order) = trader.place(body).await;
    assert_eq!(status, 201, "{order}\n{}", trader.rig.log());
    let id = order["order_id"].as_str().unwrap();
    trader.until(id, &["filled"]).await;
    id.to_owned()
}

pub(crate) fn rotate(trader: &Trader, provider: &str, credentials: &Value) {
    let input = credentials.to_string();
    let args = ["credentials", "rotate", provider, "--quiet"];
    run(&trader.rig, &args, &input);
}

pub(crate) fn revoke(control: &SimControl, credentials: &Value) {
    assert!(control.revoke_key(credentials["api_key"].as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_key_is_used_without_a_restart() {
    let trader = live_with(&[Exchange::Binance], "", |_| {}, Value::clone).await;
    trader.ready("binance").await;
    let all = trader.rig.sim.endpoints()["binance"]["credentials"].clone();
    let control = trader.rig.sim.control().of(Exchange::Binance).unwrap();
    let pid = trader.rig.pid();
    trader.touch("binance", "btcusdt", ENTITY).await;
    buy(&trader).await;

    // One that can withdraw is looked at before it is used, now as at the start.
    rotate(&trader, "binance", &all["withdrawing"]);
    until_not_ready(&trader, "binance", "can withdraw").await;
    rotate(&trader, "binance", &all["ed25519"]);
    trader.ready("binance").await;
    // Whatever was signed with the first key from now on would be refused, logins as well.
    revoke(&control, &all);
    control.inject("disconnect:stream=private".parse().unwrap());
    until_not_ready(&trader, "binance", "stream").await;
    trader.ready("binance").await;
    buy(&trader).await;

    // The other way round: the old one is gone before the new one is there.
    revoke(&control, &all["ed25519"]);
    control.inject("disconnect:stream=private".parse().unwrap());
    until_not_ready(&trader, "binance", "").await;
    rotate(&trader, "binance", &all["read_only"]);
    // It can't trade, but can be logged in with: balances are known.
    trader.ready("binance").await;
    let (free, _) = trader.balance("binance", "USDT").await;
    assert!(free > Decimal::ZERO);
    assert_eq!(trader.rig.pid(), pid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_can_withdraw_is_refused_unless_it_is_allowed() {
    let withdrawing = |all: &Value| all["withdrawing"].clone();
    let trader = live_with(&[Exchange::Binance], "", |_| {}, withdrawing).await;
    until_not_ready(&trader, "binance", "can withdraw").await;
    let body = json!({"provider": "binance", "entity_id": ENTITY, "side": "buy", "type": "market",
        "quantity": "0.01"});
    let (status, error) = trader.place(body).await;
    assert_eq!(status, 503, "{error}");
    let told = error["error"]["message"].as_str().unwrap();
    assert!(told.contains("can withdraw"), "{error}");
    let control = trader.rig.sim.control().of(Exchange::Binance).unwrap();
    assert_eq!(control.accounts()[0].orders, []);
    drop(trader);

    let more = "allow_withdrawal_keys = true";
    let trader = live_with(&[Exchange::Binance], more, |_| {}, withdrawing).await;
    trader.ready("binance").await;
    trader.touch("binance", "btcusdt", ENTITY).await;
    buy(&trader).await;
}
