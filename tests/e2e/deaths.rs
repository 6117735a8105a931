//! A gateway that dies at each step of an order's way, one after the other: before and after each
//! entry of the journal, on the disk, before a command is sent, after it was and nobody has answered,
//! when the answer is there, and when it has been taken. After the last restart orders, executions and
//! balances are what the exchange has.
//!
//! The exchange is another one each time; `BOOKWIRE_CHAOS_EXCHANGE` names one, or `all`.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bookwire_sim::Exchange;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::Rig;
use crate::rig::account::{Account, ORDERS};
use crate::trading::{Trader, exchanges, live_with};

/// What one life has to do: an order that rests and is canceled, and one that takes.
struct Wish {
    rests: Value,
    takes: Value,
}

impl Wish {
    fn new(provider: &str, entity: &str, far: Decimal, name: &str) -> Self {
        let base = json!({"provider": provider, "entity_id": entity, "side": "buy",
            "quantity": "0.01"});
        let with = |more: Value| {
            let mut body = base.clone();
            let fields = body.as_object_mut().unwrap();
            fields.extend(more.as_object().unwrap().clone());
            body
        };
        Self {
            rests: with(json!({"type": "limit", "price": far.to_string(),
                "client_order_id": format!("rests-{name}")})),
            takes: with(json!({"type": "market", "client_order_id": format!("takes-{name}")})),
        }
    }

    /// Once, as far as it comes.
    async fn try_once(&self, account: &Account) -> Option<()> {
        let place = async |body| account.try_ask(&Method::POST, ORDERS, Some(body)).await;
        let (_, order) = place(&self.rests).await?;
        let path = format!("/api/trading/orders/{}", order["order_id"].as_str()?);
        account.try_ask(&Method::DELETE, &path, None).await?;
        place(&self.takes).await?;
        Some(())
    }

    /// Until it is done: the same again, which must not become two.
    async fn insist(&self, account: &Account) {
        let place = async |body| {
            let (status, order) = account.insist(Method::POST, ORDERS, Some(body)).await;
            assert!(matches!(status, 200..=202), "{status} {order}");
            order["order_id"].as_str().unwrap().to_owned()
        };
        let id = place(&self.rests).await;
        let path = format!("/api/trading/orders/{id}");
        let (status, answer) = account.insist(Method::DELETE, &path, None).await;
        // Over already, or not there yet.
        assert!(matches!(status, 200 | 404 | 504), "{status} {answer}");
        place(&self.takes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_may_die_at_every_step_of_an_order() {
    let named = std::env::var("BOOKWIRE_CHAOS_EXCHANGE").ok();
    let all = Exchange::ALL;
    let exchanges = match named.as_deref() {
        Some("all") => all.to_vec(),
        Some(name) => vec![Exchange::parse(name).unwrap()],
        None => vec![all[rand::random_range(0..all.len())]],
    };
    for exchange in exchanges {
        dies_at_every_step(exchange).await;
    }
}

async fn dies_at_every_step(exchange: Exchange) {
    let provider = exchange.as_str();
    println!("the gateway dies while it trades at {provider}");
    // The book is away after each start, and what it would be judged by.
    let more = "answer_timeout_ms = 4000\njournal_sync = \"always\"\n\n[trading.limits]\nprice_collar_percent = \"\"\n\n[limits]\nrequests_per_minute = 1000000\n\
                trading_per_minute = 1000000\ncancels_per_minute = 1000000\n";
    let mut trader = live_with(&[exchange], more, |_| {}, Value::clone).await;
    trader.ready(provider).await;
    let entity = match exchange {
        Exchange::Coinbase => "cryptopair_coinbase_btcusd".to_owned(),
        _ => format!("cryptopair_{provider}_btcusdt"),
    };
    let (bid, _) = trader.touch(provider, "btcusdt", &entity).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0);
    let account = trader.account(provider);
    let control = trader.rig.sim.control().of(exchange).unwrap();
    let begun = Instant::now();
    let mut wishes: Vec<Wish> = Vec::new();
    // One life to its end says which steps there are.
    let whole = Wish::new(provider, &entity, far, "whole");
    trader.rig.die_at("-", 0);
    // What an exchange allows in a minute may have been used up by the starts before.
    let end = Instant::now() + Duration::from_secs(90);
    while whole.try_once(&account).await.is_none() {
        assert!(Instant::now() < end, "{}", trader.rig.log());
        account.comes_back().await;
    }
    // What streams tell comes after the answer.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(trader.rig.died(), None);
    let all = trader.rig.steps();
    // An order has at least these.
    for step in [
        "BeforeWrite",
        "Written",
        "Synced",
        "BeforeSend",
        "Answered",
        "Taken",
    ] {
        assert!(all.iter().any(|reached| reached == step), "{step}: {all:?}");
    }
    wishes.push(whole);
    // Nothing happens between the end of one step and the beginning of the next: what a process leaves
    // that dies before a write is what it left after the step before.
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    let mut lives: Vec<(&str, usize)> = Vec::new();
    for name in &all {
        let times = reached.entry(name).or_default();
        *times += 1;
        if *times == 1 || !matches!(name.as_str(), "BeforeWrite" | "Taken") {
            lives.push((name, *times));
        }
    }
    let mut died: Vec<(&str, usize)> = Vec::new();
    for (step, times) in lives {
        let wish = Wish::new(provider, &entity, far, &format!("{step}-{times}"));
        account.comes_back().await;
        trader.rig.die_at(step, times);
        // What streams tell comes in an order of its own: the last ones are not reached in each life.
        let _ = wish.try_once(&account).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if trader.rig.died().is_some() {
            died.push((step, times));
            trader.rig.start_gateway().await;
        }
        wish.insist(&account).await;
        wishes.push(wish);
    }
    println!(
        "of {all:?} died at {died:?} in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    for step in ["BeforeWrite", "Written", "Synced", "BeforeSend", "Answered"] {
        assert!(died.contains(&(step, 1)), "{step}: {died:?}");
    }
    assert!(died.len() >= 10, "{died:?}");

    // Sent, done, and not answered.
    for number in 0..2 {
        let wish = Wish::new(provider, &entity, far, &format!("sent-{number}"));
        let body = match number {
            0 => &wish.rests,
            _ => &wish.takes,
        };
        account.comes_back().await;
        let before = control.accounts().remove(0).orders.len();
        control.inject("late-reply:ms=6000,count=1".parse().unwrap());
        let (client, body) = (account.clone(), body.clone());
        let sending = tokio::spawn(async move {
            // The start may have used up the exchange's limit of this second: nothing is sent then.
            client.insist(Method::POST, ORDERS, Some(&body)).await;
        });
        let end = Instant::now() + Duration::from_secs(5);
        while control.accounts().remove(0).orders.len() == before {
            assert!(
                Instant::now() < end,
                "it was not sent:\n{}",
                trader.rig.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        trader.rig.kill_gateway();
        sending.abort();
        control.clear_all();
        trader.rig.start_gateway().await;
        wish.insist(&account).await;
        wishes.push(wish);
    }

    account
        .comes_to_the_truth(&control, &format!("{provider}, {died:?}"))
        .await;
    // Each is over, in the way that was wanted, or was never sent.
    let bodies = wishes.iter().flat_map(|wish| [&wish.rests, &wish.takes]);
    for client in bodies.map(|body| body["client_order_id"].as_str().unwrap()) {
        let path = format!("/api/trading/orders/by-client-id/{client}");
        let (status, order) = trader.ask(Method::GET, &path, None).await;
        assert_eq!(status, 200, "{client}: {order}");
        let wanted = match client.starts_with("rests") {
            true => "canceled",
            false => "filled",
        };
        let status = order["status"].as_str().unwrap();
        assert!(
            status == wanted || status == "rejected",
            "{client}: {order}"
        );
    }
    println!("all in {:.1} s", begun.elapsed().as_secs_f64());
}

/// A journal that is written anew while orders are taken is whole, wherever the gateway dies meanwhile,
/// and does not grow without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_may_die_while_its_journal_is_written_anew() {
    const LIMIT: u32 = 65_536;
    let more = format!(
        "[trading]\njournal_compact_bytes = {LIMIT}\n\n[limits]\nrequests_per_minute = 1000000\n\
         trading_per_minute = 1000000\ncancels_per_minute = 1000000\n"
    );
    let rig = Rig::start_with(exchanges(&[Exchange::Binance]), &more).await;
    let mut trader = Trader::new(rig).await;
    let entity = "cryptopair_binance_btcusdt";
    let (bid, _) = trader.touch("binance", "btcusdt", entity).await;
    let far = (bid * Decimal::new(95, 2)).round_dp(0).to_string();
    let account = trader.account("binance");
    // Answered with this status.
    let mut known: BTreeMap<String, &str> = BTreeMap::new();
    let mut asked = 0;
    for step in ["Compacted", "Joined", "Renamed", "-"] {
        trader.rig.die_at(step, 1);
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            assert!(Instant::now() < end, "{step}: {}", trader.rig.log());
            if step == "-" && asked % 20 == 0 {
                let times = trader.figure("order_journal_compactions_total", "").await;
                if times >= 2.0 {
                    break;
                }
            }
            asked += 1;
            let order = json!({"provider": "binance", "entity_id": entity, "side": "buy",
                "type": "limit", "quantity": "0.01", "price": far,
                "client_order_id": format!("one-{asked}")});
            let told = account.try_ask(&Method::POST, ORDERS, Some(&order)).await;
            let Some((status, told)) = told else { break };
            // The book is away for a moment after each start.
            if status != 201 {
                assert_eq!(status, 503, "{told}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
            let id = told["order_id"].as_str().unwrap().to_owned();
            known.insert(id.clone(), "open");
            let path = format!("/api/trading/orders/{id}");
            match account.try_ask(&Method::DELETE, &path, None).await {
                Some((200, _)) => known.insert(id, "canceled"),
                Some(answer) => panic!("{answer:?}"),
                None => break,
            };
        }
        if step != "-" {
            assert_eq!(trader.rig.died().as_deref(), Some(step));
            trader.rig.start_gateway().await;
            trader.ready("binance").await;
        }
        for (id, status) in &known {
            let order = trader.order(id).await;
            // The last one was told to go, and nobody has answered.
            let is_it = order["status"] == **status || order["status"] == "canceled";
            assert!(is_it, "{step}, {status}: {order}");
        }
    }
    // What was written of all that is many times as much.
    let bytes = trader.figure("order_journal_bytes", "").await;
    println!("{asked} orders, {bytes} bytes");
    assert!(bytes < f64::from(4 * LIMIT), "{bytes} after {asked} orders");
}
