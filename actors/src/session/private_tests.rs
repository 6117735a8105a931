use std::task::Waker;

use bookwire_engine::event::Side;
use bookwire_engine::keys::Permission;
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::order::{Order, OrderId, OrderTerms, OrderType, TimeInForce};
use rust_decimal::Decimal;
use tokio::task::{LocalSet, yield_now};

use super::super::cell::RefreshQueue;
use super::super::flow::OutboxLimits;
use super::super::frame;
use super::super::outbox::Batch;
use super::*;
use crate::latency::Stamp;
use crate::ring::WorkerWake;
use crate::worker::{WorkerMeter, Written};

const NOW: TsNanos = TsNanos(1_700_000_000_000_000_000);

fn order(number: u128) -> Order {
    let terms = OrderTerms {
        provider: ProviderId::BINANCE,
        account: "main".to_owned(),
        entity_id: "cryptoperp_binance_btcusdt".to_owned(),
        market: Market::Perp,
        symbol: "btcusdt-perp".to_owned(),
        native_symbol: "BTCUSDT".to_owned(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: Decimal::ONE,
        price: Some(Decimal::TEN),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: None,
    };
    let id = OrderId::new(NOW, number);
    Order::new(id, terms, id.to_string(), TradingMode::Paper, NOW)
}

fn change(number: u128) -> Published {
    Published::Order(Box::new((order(number), None)))
}

fn balance_change() -> Published {
    Published::Account {
        balances: vec![Balance {
            market: None,
            asset: "USDT".to_owned(),
            free: Decimal::new(15, 1),
            locked: Decimal::ZERO,
            total: Decimal::new(15, 1),
        }],
        positions: Vec::new(),
    }
}

fn snapshot(orders: Vec<Order>) -> AccountSnapshot {
    AccountSnapshot {
        number: 1,
        mode: TradingMode::Paper,
        orders,
        balances: Vec::new(),
        positions: Vec::new(),
    }
}

fn cell(meter: &Arc<WorkerMeter>) -> Rc<OutboxCell> {
    let wake = WorkerWake::new(false);
    let refresh = Rc::new(RefreshQueue::new(wake.clone()));
    let written = Rc::new(Written::new(meter.clone(), wake));
    Rc::new(OutboxCell::new(
        OutboxLimits::default(),
        refresh,
        written,
        10,
    ))
}

/// What a reading client takes now.
fn read(cell: &OutboxCell) -> Vec<Value> {
    let mut batch = Batch::default();
    let now = (NOW, Stamp::NONE);
    let _ = cell.poll_pull(Waker::noop(), now, 64 << 10, &mut batch);
    let texts = frame::payloads(&batch.frames);
    let parsed = texts
        .iter()
        .map(|text| serde_json::from_slice(text).unwrap());
    parsed.collect()
}

/// All that waits.
fn read_all(cell: &OutboxCell) -> Vec<Value> {
    let batches = std::iter::from_fn(|| Some(read(cell)).filter(|batch| !batch.is_empty()));
    batches.flatten().collect()
}

fn carrier(cell: &Rc<OutboxCell>, stream: PrivateStream) -> Carrier {
    Carrier {
        cell: cell.clone(),
        view: PrivateView {
            stream,
            provider: ProviderId::BINANCE,
            account: "main".into(),
            channel: None,
        },
        mode: TradingMode::Paper,
        numbers: Numbers::String,
        seq: 0,
    }
}

#[tokio::test]
async fn a_client_that_reads_gets_everything_in_order() {
    let set = LocalSet::new();
    let changes = 3_000;
    set.run_until(async {
        let cell = cell(&Arc::default());
        let (tell, queue) = queue(PrivateStream::Orders, 8);
        let carrier = carrier(&cell, PrivateStream::Orders);
        tokio::task::spawn_local(carrier.run(snapshot(vec![order(7)]), queue, Arc::default));
        let mut got = Vec::new();
        let mut pauses = 0;
        for number in 0..changes {
            // What is of the other stream takes no place.
            assert!(tell(&balance_change()));
            assert!(tell(&change(number)), "{number}");
            if number % 7 == 6 {
                yield_now().await;
                yield_now().await;
            }
            // No earlier than answers have run out of room: then changes wait in the queue.
            if !cell.with(|outbox| outbox.has_room_for_answers()) {
                pauses += 1;
                got.extend(read_all(&cell));
                yield_now().await;
                yield_now().await;
            }
        }
        assert!(pauses > 5, "{pauses}");
        while got.len() <= changes as usize {
            yield_now().await;
            assert!(cell.with(|outbox| outbox.closing().is_none()));
            got.extend(read(&cell));
        }
        for (message, seq) in got.iter().zip(1_u64..) {
            assert_eq!(message["seq"], seq);
            assert_eq!(message["account"], "main");
        }
        assert_eq!(got[0]["data"]["type"], "snapshot");
        assert_eq!(got[0]["symbol"], Value::Null);
        assert_eq!(
            got[0]["data"]["orders"][0]["order_id"],
            order(7).id.to_string()
        );
        let last = &got[changes as usize];
        assert_eq!(last["symbol"], "btcusdt-perp");
        assert_eq!(last["data"]["type"], "update");
        assert_eq!(last["data"]["fill"], Value::Null);
        let id = order(changes - 1).id.to_string();
        assert_eq!(last["data"]["order"]["order_id"], id);
        assert_eq!(last["data"]["order"]["type"], "limit");
        // The account's end is not taken for a slow client.
        drop(tell);
        yield_now().await;
        let close = cell.with(|outbox| outbox.closing().cloned()).unwrap();
        assert_eq!(close.code, 1012, "{close:?}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    let set = LocalSet::new();
    set.run_until(async {
        let meter: Arc<WorkerMeter> = Arc::default();
        let cell = cell(&meter);
        let (tell, queue) = queue(PrivateStream::Orders, 8);
        let carrier = carrier(&cell, PrivateStream::Orders);
        tokio::task::spawn_local(carrier.run(snapshot(Vec::new()), queue, Arc::default));
        let mut taken = 0_u64;
        while tell(&change(u128::from(taken))) {
            taken += 1;
            yield_now().await;
            assert!(taken < 10_000, "the queue has no end");
        }
        // Half of the answers' room and the queue.
        assert!(taken > 256, "{taken}");
        yield_now().await;
        let close = cell.with(|outbox| outbox.closing().cloned()).unwrap();
        assert_eq!(close.code, 1008);
        assert!(close.reason.starts_with("slow: "), "{close:?}");
        assert!(close.reason.ends_with("REST how things are"), "{close:?}");
        assert_eq!(meter.closed_slow.get(), 1);
        // What waited still goes out, without a hole.
        let got = read_all(&cell);
        assert!(!got.is_empty());
        for (message, seq) in got.iter().zip(1_u64..) {
            assert_eq!(message["seq"], seq);
        }
    })
    .await;
}

#[tokio::test]
async fn accounts_are_told_as_they_change() {
    let set = LocalSet::new();
    set.run_until(async {
        let cell = cell(&Arc::default());
        let (tell, queue) = queue(PrivateStream::Account, 8);
        let carrier = carrier(&cell, PrivateStream::Account);
        let run = carrier.run(snapshot(vec![order(1)]), queue, Arc::default);
        let task = tokio::task::spawn_local(run);
        assert!(tell(&change(1)));
        assert!(tell(&balance_change()));
        yield_now().await;
        let got = read(&cell);
        assert_eq!(got.len(), 2, "{got:?}");
        let empty: [Value; 0] = [];
        assert_eq!(
            got[0]["data"],
            serde_json::json!({"type": "snapshot", "balances": empty, "positions": empty})
        );
        assert_eq!(got[1]["data"]["type"], "update");
        assert_eq!(got[1]["entity_id"], Value::Null);
        assert_eq!(got[1]["data"]["balances"][0]["free"], "1.5");
        // Once nobody wants it, the router forgets it at the next change of any kind.
        task.abort();
        yield_now().await;
        assert!(!tell(&change(2)));
    })
    .await;
}

#[test]
fn only_who_may_trade_may_subscribe() {
    let provider = ProviderId::BINANCE;
    let private = PrivateStreams::default();
    let wanted = |provider: &str| PrivateEntry {
        echo: Map::new(),
        request: PrivateRequest {
            stream: PrivateStream::Orders,
            provider: provider.to_owned(),
            account: None,
        },
    };
    let code = |identities: &Identities, name: &str| {
        let basis = Basis {
            identities,
            has_keys: true,
            trading: None,
            most: 200,
            others: 0,
        };
        let mut plan = private.plan(&basis, None, vec![wanted(name)]);
        assert_eq!(plan.missing(), 0);
        plan.rejected.remove(0).error.code
    };
    let mut identities = Identities::default();
    assert_eq!(code(&identities, "binance"), CryptoCode::Unauthorized);
    assert_eq!(code(&identities, "mtgox"), CryptoCode::InvalidParameter);
    let with = |permission: Permission| {
        let mut identity = Identity::operator("key");
        identity.permissions = [permission].into_iter().collect();
        identity
    };
    for (permission, expected) in [
        (Permission::Admin, CryptoCode::Forbidden),
        (Permission::DataAccess, CryptoCode::Forbidden),
        // Past the key: there is nothing to listen to here.
        (Permission::SpotTrading, CryptoCode::Unsupported),
        (Permission::FuturesTrading, CryptoCode::Unsupported),
    ] {
        identities.put(provider, with(permission));
        assert_eq!(code(&identities, "binance"), expected, "{permission:?}");
    }
    // Each provider by itself.
    assert_eq!(code(&identities, "okx"), CryptoCode::Unauthorized);
}

#[test]
fn what_is_not_held_is_not_unsubscribed() {
    let mut private = PrivateStreams::default();
    let entry = |provider: &str| PrivateEntry {
        echo: Map::new(),
        request: PrivateRequest {
            stream: PrivateStream::Account,
            provider: provider.to_owned(),
            account: None,
        },
    };
    let done = private.remove(None, vec![entry("binance"), entry("mtgox")], false);
    assert_eq!(done.subscriptions, []);
    let codes: Vec<_> = done.rejected.iter().map(|one| one.error.code).collect();
    assert_eq!(codes, [CryptoCode::NotFound, CryptoCode::InvalidParameter]);
}
