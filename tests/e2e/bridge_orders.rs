//! Orders by way of provider `ccxt`: the library's own classes of exchanges against the simulators,
//! whose own record of the account is the truth that ours has to equal.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bookwire_sim::{AccountTruth, BalanceTruth, Exchange, OrderTruth, Segment};
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::bridge::{child, signal};
use crate::credentials::{revoke, rotate, until_not_ready};
use crate::rig::{Rig, python};
use crate::secrets::nothing_tells;
use crate::trading::{Trader, code, exchanges, run, trades_instrument};

/// A gateway whose account `default` at provider `ccxt` is one of the simulated exchange. `more` is
/// configuration of the provider.
async fn live(exchange: Exchange, python: &Path, more: &str) -> Trader {
    live_with(exchange, python, "", more).await
}

/// As [`live`]; `trading` is configuration of trading as a whole.
async fn live_with(exchange: Exchange, python: &Path, trading: &str, more: &str) -> Trader {
    let id = exchange.as_str();
    let config = format!(
        "[trading]\nreconcile_secs = 5\nanswer_timeout_ms = 3000\n{trading}\n\n\
         [providers.ccxt]\npython = {python:?}\n{more}\n\
         [providers.ccxt.trading]\nmode = \"live\"\n\
         [providers.ccxt.trading.exchanges]\ndefault = \"{id}\"\n\
         [providers.ccxt.options]\n\
         okx = '{{\"options\":{{\"fetchMarkets\":{{\"types\":[\"spot\",\"swap\"]}}}}}}'\n\
         bybit = '{{\"options\":{{\"fetchMarkets\":{{\"types\":[\"spot\",\"linear\"]}}}}}}'\n\
         binance = '{{\"options\":{{\"fetchMarkets\":{{\"types\":[\"spot\",\"linear\"]}}}}}}'\n\n"
    );
    let rig = Rig::start_prepared(exchanges(&[exchange]), &config, |rig| {
        let credentials = &rig.sim.endpoints()[id]["credentials"];
        run(
            rig,
            &["credentials", "set", "ccxt"],
            &credentials.to_string(),
        );
    });
    let trader = Trader::new(rig.await).await;
    trader.ready("ccxt").await;
    trader
}

fn truth(trader: &Trader, exchange: Exchange) -> AccountTruth {
    let control = trader.rig.sim.control().of(exchange).unwrap();
    control.accounts().remove(0)
}

/// The exchange's own order that one of ours became: the only one.
fn theirs(trader: &Trader, exchange: Exchange, order: &Value) -> OrderTruth {
    let client = order["order_id"].as_str().unwrap();
    let mut found = truth(trader, exchange).orders;
    found.retain(|one| one.client_id == client);
    assert_eq!(found.len(), 1, "{order}: {found:?}\n{}", trader.rig.log());
    found.remove(0)
}

fn order(entity: &str, side: &str, more: Value) -> Value {
    let mut body = json!({"provider": "ccxt", "entity_id": entity, "side": side});
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn id_of(order: &Value) -> String {
    order["order_id"].as_str().unwrap().to_owned()
}

/// Waits until what is told of the account is what the exchange has.
async fn until_account_is_true(trader: &Trader, exchange: Exchange) {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let truth = truth(trader, exchange);
        let path = "/api/trading/positions?provider=ccxt&numbers=string";
        let (_, told) = trader.ask(Method::GET, path, None).await;
        let number = |value: &Value| value.as_str().unwrap().parse::<Decimal>().unwrap();
        let rows = told["positions"].as_array().unwrap();
        let positions: Vec<Decimal> = rows.iter().map(|row| number(&row["quantity"])).collect();
        let real: Vec<Decimal> = truth.positions.iter().map(|one| one.qty).collect();
        let path = "/api/trading/balances?provider=ccxt&numbers=string";
        let (_, balances) = trader.ask(Method::GET, path, None).await;
        let rows = balances["balances"].as_array().unwrap();
        // What positions earn and cost moves by itself, and ccxt counts what they have not realised yet
        // among OKX's totals.
        let unrealised: Decimal = told["positions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| number(&row["unrealized_pnl"]).abs())
            .sum();
        // Where there are several wallets, that of spot is what is used.
        let of_spot = |one: &&BalanceTruth| one.market.is_none_or(|of| of == Segment::Spot);
        let is_told = truth.balances.iter().filter(of_spot).all(|one| {
            let row = rows.iter().find(|row| row["asset"] == one.asset.as_str());
            let total = row.map_or(Decimal::ZERO, |row| number(&row["total"]));
            let moving = match one.asset.as_str() {
                "USDT" => unrealised * Decimal::TWO,
                _ => Decimal::ZERO,
            };
            (total - one.total).abs() <= one.total.abs() * Decimal::new(1, 6) + moving
        });
        if positions == real && is_told {
            return;
        }
        let log = trader.rig.log();
        assert!(Instant::now() < end, "{told}\n{balances}\n{truth:?}\n{log}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// No process has the secrets in its arguments or environment; nothing on the disk has them.
fn nothing_shows_secrets(trader: &Trader, exchange: Exchange) {
    let credentials = trader.rig.sim.endpoints()[exchange.as_str()]["credentials"].clone();
    let mut secrets = nothing_tells(trader, "ccxt", &credentials);
    let master = std::fs::read_to_string(trader.rig.data_dir().join("master.key")).unwrap();
    secrets.push(master.trim().to_owned());
    let ours = [trader.rig.pid(), child(&trader.rig).unwrap()];
    for pid in ours {
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            for secret in &secrets {
                assert!(!text.contains(secret.as_str()), "{pid}: {file}");
            }
        }
    }
}

/// Whether the account's key can withdraw, as it is told.
async fn can_withdraw(trader: &Trader) -> Value {
    let path = "/api/trading/accounts?provider=ccxt";
    let (_, mut told) = trader.ask(Method::GET, path, None).await;
    told["accounts"][0]["key_can_withdraw"].take()
}

/// A key that can withdraw is looked at before it is used, and is not.
async fn refuses_a_withdrawing_key(trader: &Trader, exchange: Exchange) {
    let all = trader.rig.sim.endpoints()[exchange.as_str()]["credentials"].clone();
    assert_eq!(can_withdraw(trader).await, false, "{exchange:?}");
    rotate(trader, "ccxt", &all["withdrawing"]);
    until_not_ready(trader, "ccxt", "can withdraw").await;
    assert_eq!(can_withdraw(trader).await, true, "{exchange:?}");
    rotate(trader, "ccxt", &all);
    trader.ready("ccxt").await;
    assert_eq!(can_withdraw(trader).await, false, "{exchange:?}");
}

/// Another key is used from now on, without a restart of anything, and the one before is good for nothing.
async fn goes_on_with(trader: &Trader, exchange: Exchange, key: &str) {
    let before = (trader.rig.pid(), child(&trader.rig));
    let all = trader.rig.sim.endpoints()[exchange.as_str()]["credentials"].clone();
    let log = trader.rig.data_dir().with_file_name("gateway.log");
    let read = || std::fs::read_to_string(&log).unwrap();
    let taken = || read().matches("key was replaced").count();
    let earlier = taken();
    rotate(trader, "ccxt", &all[key]);
    let end = Instant::now() + Duration::from_secs(20);
    while taken() == earlier {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    trader.ready("ccxt").await;
    let control = trader.rig.sim.control().of(exchange).unwrap();
    revoke(&control, &all);
    // What is logged in from now on is by the new one.
    control.inject("disconnect:stream=private".parse().unwrap());
    until_not_ready(trader, "ccxt", "stream").await;
    trader.ready("ccxt").await;
    assert_eq!((trader.rig.pid(), child(&trader.rig)), before);
}

/// A stop is there until it is canceled.
async fn stops(trader: &Trader, exchange: Exchange, entity: &str, types: &[&str]) {
    let (bid, _) = trader.touch("ccxt", entity, entity).await;
    let up = (bid * Decimal::new(105, 2)).round_dp(0).to_string();
    for order_type in types {
        let mut more = json!({"type": order_type, "quantity": "0.01", "stop_price": up});
        if *order_type == "stop_limit" {
            more["price"] = json!(up);
        }
        let (status, placed) = trader.place(order(entity, "buy", more)).await;
        assert_eq!(status, 201, "{placed}\n{}", trader.rig.log());
        let id = id_of(&placed);
        trader.until(&id, &["open"]).await;
        assert_eq!(theirs(trader, exchange, &placed).state, "waiting");
        let path = format!("/api/trading/orders/{id}");
        let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
        assert_eq!(status, 200, "{canceled}\n{}", trader.rig.log());
        trader.until(&id, &["canceled"]).await;
        assert_eq!(theirs(trader, exchange, &placed).state, "canceled");
    }
}

/// Places a resting order with digits that no float has, amends it, and cancels it.
async fn rests(trader: &Trader, exchange: Exchange, entity: &str, quantity: &str) {
    let (bid, _) = trader.touch("ccxt", entity, entity).await;
    let price = (bid * Decimal::new(95, 2)).round_dp(0) + Decimal::new(3, 1);
    let more = json!({"type": "limit", "quantity": quantity, "price": price.to_string()});
    let (status, placed) = trader.place(order(entity, "buy", more)).await;
    assert_eq!(status, 201, "{placed}\n{}", trader.rig.log());
    let real = theirs(trader, exchange, &placed);
    assert_eq!(
        (real.price, real.qty.to_string()),
        (Some(price), quantity.to_owned())
    );
    let id = id_of(&placed);
    trader.until(&id, &["open"]).await;
    let lower = price - Decimal::new(2, 1);
    let path = format!("/api/trading/orders/{id}?numbers=string");
    let body = json!({"price": lower.to_string()});
    let (status, amended) = trader.ask(Method::PATCH, &path, Some(body)).await;
    assert_eq!(status, 200, "{amended}\n{}", trader.rig.log());
    let id = id_of(&amended);
    assert_eq!(theirs(trader, exchange, &amended).price, Some(lower));
    let path = format!("/api/trading/orders/{id}");
    let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
    assert_eq!(status, 200, "{canceled}");
    trader.until(&id, &["canceled"]).await;
    assert_eq!(theirs(trader, exchange, &amended).state, "canceled");
}

/// A part executes at once, the rest stays until it is canceled.
async fn partly_filled(trader: &Trader, exchange: Exchange, entity: &str, native: &str) {
    let control = trader.rig.sim.control().of(exchange).unwrap();
    control.pause();
    let book = control.book(Segment::Spot, native).unwrap();
    let (ask, there) = &book.asks[0];
    let there: Decimal = there.parse().unwrap();
    let quantity = (there + Decimal::new(1, 2)).round_dp(4).to_string();
    let more = json!({"type": "limit", "quantity": quantity, "price": ask});
    let (status, placed) = trader.place(order(entity, "buy", more)).await;
    assert_eq!(status, 201, "{placed}\n{}", trader.rig.log());
    let id = id_of(&placed);
    // The market stands still until that was seen: it would take the rest.
    trader.until(&id, &["partially_filled"]).await;
    control.resume();
    let path = format!("/api/trading/orders/{id}");
    let (status, canceled) = trader.ask(Method::DELETE, &path, None).await;
    // It may have executed whole meanwhile.
    assert!([200, 404].contains(&status), "{canceled}");
    let ended = trader.until(&id, &["canceled", "filled"]).await;
    let real = theirs(trader, exchange, &placed);
    assert_eq!(ended["status"], real.state, "{ended}");
    let filled: Decimal = ended["filled_quantity"].as_str().unwrap().parse().unwrap();
    assert_eq!(filled, real.filled, "{ended}");
}

/// What leaves for eight exchanges has every digit, and leaves once; keys show nowhere.
#[test]
fn what_ccxt_sends_is_exact_and_sent_once() {
    let Some(python) = python::find() else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("../engine/src/exchange/ccxt");
    let output = Command::new(python)
        .arg(root.join("ccxt/accounts.py"))
        .args(["bridge.py", "trade.py"].map(|file| program.join(file)))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let ids: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ids["kraken"], "01927fff-ffff-ffff-ffff-ffffffffffff");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bybit_is_traded_at_by_way_of_ccxt() {
    let Some(python) = python::find() else { return };
    let exchange = Exchange::Bybit;
    let trader = live(exchange, &python, "").await;
    let (spot, perp) = ("cryptopair_bybit_btcusdt", "cryptoperp_bybit_btcusdt");
    for (entity, quantity) in [(spot, "0.01"), (perp, "0.01")] {
        trades_instrument(&trader, "ccxt", entity, quantity).await;
        stops(&trader, exchange, entity, &["stop_market", "stop_limit"]).await;
    }
    rests(&trader, exchange, spot, "0.012345").await;
    partly_filled(&trader, exchange, spot, "BTCUSDT").await;
    until_account_is_true(&trader, exchange).await;

    // What is refused, by us and by the exchange, has its code.
    let (bid, _) = trader.touch("ccxt", spot, spot).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
    let limit = json!({"type": "limit", "quantity": "0.01", "price": far});
    let control = trader.rig.sim.control().of(exchange).unwrap();
    control.inject("reject-orders:code=110007,count=1".parse().unwrap());
    let (status, error) = trader.place(order(perp, "buy", limit.clone())).await;
    assert_eq!(
        (status, code(&error)),
        (400, "CRYPTO_INSUFFICIENT_BALANCE"),
        "{error}"
    );
    let details = &error["error"]["details"];
    assert_eq!(details["ccxt_class"], "InsufficientFunds", "{error}");
    assert_eq!(details["exchange_code"], 110_007, "{error}");
    let margin = json!({"type": "market", "quantity": "0.01", "margin_trading": true});
    let (status, error) = trader.place(order(spot, "buy", margin)).await;
    assert_eq!(
        (status, code(&error)),
        (501, "CRYPTO_UNSUPPORTED"),
        "{error}"
    );
    nothing_shows_secrets(&trader, exchange);

    // A reply that is lost after acceptance: unknown, then what is so.
    control.inject("drop-reply:path=/v5/order/create,count=1".parse().unwrap());
    let (status, lost) = trader.place(order(spot, "buy", limit.clone())).await;
    // What is pushed may tell of it before the answer is given up.
    let told = (status, lost["status"].as_str().unwrap());
    assert!([(202, "unknown"), (201, "open")].contains(&told), "{lost}");
    trader.until(&id_of(&lost), &["open"]).await;
    theirs(&trader, exchange, &lost);

    // The child dies while an order is under way: nothing is doubled, and the account comes back.
    control.inject(
        "late-reply:ms=2500,count=1,path=/v5/order/create"
            .parse()
            .unwrap(),
    );
    let before = child(&trader.rig).unwrap();
    let kill = async {
        let known = truth(&trader, exchange).orders.len();
        while truth(&trader, exchange).orders.len() == known {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        signal(before, "-9");
    };
    let (answer, ()) = tokio::join!(trader.place(order(spot, "buy", limit)), kill);
    let (status, lost) = answer;
    // What is pushed may tell of it before the answer is given up.
    let told = (status, lost["status"].as_str().unwrap());
    assert!([(202, "unknown"), (201, "open")].contains(&told), "{lost}");
    trader.until(&id_of(&lost), &["open"]).await;
    theirs(&trader, exchange, &lost);
    trader.ready("ccxt").await;
    assert_ne!(child(&trader.rig), Some(before));
    rests(&trader, exchange, spot, "0.0123").await;
    refuses_a_withdrawing_key(&trader, exchange).await;
}

/// A reply that is lost after acceptance, of a request to this path: unknown, then what is so, and there once.
async fn loses_a_reply(trader: &Trader, exchange: Exchange, entity: &str, path: &str) {
    let (bid, _) = trader.touch("ccxt", entity, entity).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
    let control = trader.rig.sim.control().of(exchange).unwrap();
    control.inject(format!("drop-reply:path={path},count=1").parse().unwrap());
    let limit = json!({"type": "limit", "quantity": "0.01", "price": far});
    let (status, lost) = trader.place(order(entity, "buy", limit)).await;
    // What is pushed may tell of it before the answer is given up.
    let told = (status, lost["status"].as_str().unwrap());
    assert!([(202, "unknown"), (201, "open")].contains(&told), "{lost}");
    trader.until(&id_of(&lost), &["open"]).await;
    theirs(trader, exchange, &lost);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binance_is_traded_at_by_way_of_ccxt() {
    let Some(python) = python::find() else { return };
    let exchange = Exchange::Binance;
    let trader = live(exchange, &python, "markets = [\"spot\"]").await;
    let spot = "cryptopair_binance_btcusdt";
    trades_instrument(&trader, "ccxt", spot, "0.01").await;
    stops(&trader, exchange, spot, &["stop_limit"]).await;
    rests(&trader, exchange, spot, "0.01234").await;
    partly_filled(&trader, exchange, spot, "BTCUSDT").await;
    until_account_is_true(&trader, exchange).await;
    nothing_shows_secrets(&trader, exchange);

    loses_a_reply(&trader, exchange, spot, "/api/v3/order").await;

    refuses_a_withdrawing_key(&trader, exchange).await;
    goes_on_with(&trader, exchange, "ed25519").await;
    rests(&trader, exchange, spot, "0.0123").await;
}

/// Its perpetuals have a wallet, hosts and streams of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn perpetuals_of_binance_are_traded_at_by_way_of_ccxt() {
    let Some(python) = python::find() else { return };
    let exchange = Exchange::Binance;
    let trader = live(exchange, &python, "").await;
    let (spot, perp) = ("cryptopair_binance_btcusdt", "cryptoperp_binance_btcusdt");
    for (entity, quantity) in [(spot, "0.01"), (perp, "0.01")] {
        trades_instrument(&trader, "ccxt", entity, quantity).await;
    }
    stops(&trader, exchange, perp, &["stop_limit"]).await;
    rests(&trader, exchange, perp, "0.012").await;
    until_account_is_true(&trader, exchange).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn okx_is_traded_at_by_way_of_ccxt() {
    let Some(python) = python::find() else { return };
    let exchange = Exchange::Okx;
    let allows = "allow_withdrawal_keys = true";
    let trader = live_with(exchange, &python, allows, "").await;
    let (spot, perp) = ("cryptopair_okx_btcusdt", "cryptoperp_okx_btcusdt");
    for (entity, quantity) in [(spot, "0.01"), (perp, "0.1")] {
        trades_instrument(&trader, "ccxt", entity, quantity).await;
    }
    stops(&trader, exchange, perp, &["stop_limit"]).await;
    rests(&trader, exchange, spot, "0.012345").await;
    until_account_is_true(&trader, exchange).await;
    nothing_shows_secrets(&trader, exchange);
    // One that can withdraw is used where that is allowed, and told of.
    goes_on_with(&trader, exchange, "withdrawing").await;
    assert_eq!(can_withdraw(&trader).await, true);
    rests(&trader, exchange, spot, "0.0123").await;
}

/// Coinbase knows no orders by our id: what was lost is found in its lists.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coinbase_is_traded_at_by_way_of_ccxt() {
    let Some(python) = python::find() else { return };
    let exchange = Exchange::Coinbase;
    let trader = live(exchange, &python, "markets = [\"spot\"]").await;
    let spot = "cryptopair_coinbase_btcusd";
    rests(&trader, exchange, spot, "0.012345").await;
    let (_, ask) = trader.touch("ccxt", spot, spot).await;
    let market = json!({"type": "market", "quantity": "0.01"});
    let (status, error) = trader.place(order(spot, "buy", market)).await;
    assert_eq!(
        (status, code(&error)),
        (501, "CRYPTO_UNSUPPORTED"),
        "{error}"
    );
    let over = (ask * Decimal::new(101, 2)).round_dp(0).to_string();
    let ioc = json!({"type": "limit", "quantity": "0.01", "price": over, "time_in_force": "IOC"});
    let (status, bought) = trader.place(order(spot, "buy", ioc)).await;
    assert_eq!(status, 201, "{bought}\n{}", trader.rig.log());
    trader.until(&id_of(&bought), &["filled"]).await;
    loses_a_reply(&trader, exchange, spot, "/api/v3/brokerage/orders").await;
    until_account_is_true(&trader, exchange).await;
    refuses_a_withdrawing_key(&trader, exchange).await;
}
