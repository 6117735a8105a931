//! Messages on their way to clients of every speed.

use std::collections::BTreeMap;
use std::time::Duration;

use bookwire_actors::body::Body;
use bookwire_actors::latency;
use bookwire_actors::ring::PubKind;
use bookwire_actors::session::SessionLimits;
use bookwire_actors::session::flow::OutboxLimits;
use bookwire_actors::topic::{BookMode, StreamKind};
use bookwire_api::ws::WsOptions;
use serde_json::Value;

use crate::rig::{Client, Rig, until};

fn outbox(messages: usize) -> WsOptions {
    WsOptions {
        session: SessionLimits {
            outbox: OutboxLimits {
                messages,
                bytes: 64 << 20,
            },
            ..SessionLimits::default()
        },
        connections_per_ip: 100,
        ..WsOptions::default()
    }
}

fn body(n: u64, size: usize) -> Body {
    crate::rig::text(format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(size)))
}

/// Reads until the data message with `n`; tells how many holes notices explained.
async fn read_all(client: &mut Client, last: u64) -> (u64, u64) {
    let (mut seq, mut missing, mut told) = (0, 0, 0);
    loop {
        let message = client.json().await;
        if message["stream"] == "system.flow" {
            told += message["data"]["dropped"].as_u64().unwrap();
            continue;
        }
        let next = message["seq"].as_u64().unwrap();
        assert!(next > seq);
        missing += next - seq - 1;
        assert!(missing <= told, "a hole before {next} that nobody told");
        assert_eq!(
            message["data"]["n"].as_u64(),
            Some(next),
            "seq and content agree"
        );
        seq = next;
        if next == last {
            return (missing, told);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_on_all_workers_get_everything_in_order() {
    let rig = Rig::start(2, outbox(1 << 17));
    let mut readers = Vec::new();
    for _ in 0..8 {
        let mut client = rig.client().await;
        client.subscribe(r#""stream":"crypto.trades""#).await;
        readers.push(tokio::spawn(
            async move { read_all(&mut client, 20_000).await },
        ));
    }
    let topic = rig.shard.topic(StreamKind::Trades);
    let shard = rig.shard.clone();
    let publisher = tokio::task::spawn_blocking(move || {
        for n in 1..=20_000 {
            shard.event(topic, PubKind::Event, &body(n, 20));
            if n % 500 == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    publisher.await.unwrap();
    for reader in readers {
        assert_eq!(reader.await.unwrap(), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_client_changes_nothing_for_others_and_is_told_what_it_missed() {
    let rig = Rig::start(1, outbox(256));
    let mut frozen = rig.client().await;
    frozen.subscribe(r#""stream":"crypto.trades""#).await;
    let mut reader = rig.client().await;
    reader.subscribe(r#""stream":"crypto.trades""#).await;
    let topic = rig.shard.topic(StreamKind::Trades);
    // Far more than sockets and queue of the frozen one hold: 3,000 messages of 8 KB. The
    // publisher keeps the reader's pace, so whatever the reader misses is the frozen one's fault.
    for n in 1..=3000 {
        rig.shard.event(topic, PubKind::Event, &body(n, 8000));
        if n % 100 == 0 {
            loop {
                let message = reader.json().await;
                assert_ne!(message["stream"], "system.flow", "{message}");
                if message["seq"].as_u64() == Some(n) {
                    break;
                }
            }
        }
    }
    let (missing, told) = read_all(&mut frozen, 3000).await;
    assert!(
        missing > 0 && told == missing,
        "{missing} missing, {told} told"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_clients_states_conflate_and_the_last_one_arrives() {
    let rig = Rig::start(1, outbox(64));
    let mut slow = rig.client().await;
    slow.subscribe(r#""stream":"crypto.orderbook""#).await;
    let topic = rig.shard.topic(StreamKind::OrderBook {
        depth: 20,
        mode: BookMode::Snapshot,
    });
    for n in 1..=3000 {
        rig.shard.event(topic, PubKind::Event, &body(n, 8000));
    }
    let (missing, told) = read_all(&mut slow, 3000).await;
    assert!(
        missing > 0 && told == missing,
        "{missing} missing, {told} told"
    );
}

/// Applies what a delta client gets, refusing what does not apply.
#[derive(Default)]
struct Book {
    levels: Option<BTreeMap<u64, u64>>,
    seq: u64,
    snapshots: usize,
    updates: usize,
}

impl Book {
    fn take(&mut self, message: &Value) {
        let data = &message["data"];
        if message["stream"] != "crypto.orderbook" {
            return;
        }
        let rows = data["bids"].as_array().unwrap().iter();
        let rows = rows.map(|l| (l[0].as_u64().unwrap(), l[1].as_u64().unwrap()));
        if data["type"] == "snapshot" {
            self.levels = Some(rows.collect());
            self.snapshots += 1;
        } else {
            let levels = self.levels.as_mut().expect("a snapshot comes first");
            assert_eq!(data["prev_sequence"].as_u64(), Some(self.seq), "it applies");
            for (price, qty) in rows {
                if qty == 0 {
                    levels.remove(&price);
                } else {
                    levels.insert(price, qty);
                }
            }
            self.updates += 1;
        }
        self.seq = data["sequence"].as_u64().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delta_books_always_apply() {
    let rig = Rig::start(2, outbox(64));
    let request = r#""stream":"crypto.orderbook","mode":"delta""#;
    let mut early = rig.client().await;
    early.subscribe(request).await;
    let kind = StreamKind::OrderBook {
        depth: 20,
        mode: BookMode::Delta,
    };
    let topic = rig.shard.topic(kind);
    let shard = rig.shard.clone();
    let publisher = tokio::task::spawn_blocking(move || {
        for n in 0..30_000u64 {
            shard.change(topic, n * 7 % 50, n % 5);
            if n % 7000 == 6999 {
                shard.resync(topic);
            }
            if n % 9000 == 8999 {
                shard.lose(topic, 3);
            }
            if n % 100 == 0 {
                std::thread::sleep(Duration::from_micros(500));
            }
        }
        shard.resync(topic);
    });
    let mut late = rig.client().await;
    late.subscribe(request).await;
    // The late one is slow as well: it does not read until all is over.
    publisher.await.unwrap();
    let goal = rig.shard.book(topic);
    for client in [&mut early, &mut late] {
        let mut book = Book::default();
        while book.levels.as_ref() != Some(&goal) {
            book.take(&client.json().await);
        }
        assert!(book.snapshots >= 1);
    }
    // In step again: the next change goes to both as a change.
    rig.shard.change(topic, 1, 77);
    for client in [&mut early, &mut late] {
        loop {
            let message = client.json().await;
            if message["data"]["type"] == "update" && message["data"]["bids"][0][1] == 77 {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_lost_stretch_is_told_with_its_numbers() {
    let rig = Rig::start(1, outbox(64));
    let mut client = rig.client().await;
    client
        .subscribe(r#""stream":"crypto.trades","channel":"c""#)
        .await;
    let topic = rig.shard.topic(StreamKind::Trades);
    rig.shard.event(topic, PubKind::Event, &body(1, 1));
    rig.shard.lose(topic, 4);
    assert_eq!(client.json().await["seq"], 1);
    let notice = client.json().await;
    assert_eq!(notice["stream"], "system.flow");
    assert_eq!(notice["data"]["channel"], "c");
    assert_eq!(notice["data"]["from_seq"], 2);
    assert_eq!(notice["data"]["to_seq"], 5);
    rig.shard.event(topic, PubKind::Event, &body(6, 1));
    assert_eq!(client.json().await["seq"], 6);
}

#[tokio::test]
async fn flow_control_is_configured_and_answered() {
    let rig = Rig::start(1, outbox(64));
    let mut client = rig.client().await;
    let answer = client.ask(r#"{"method":"configure_flow"}"#).await;
    assert_eq!(answer["status"], "configured");
    assert_eq!(answer["buffer_size"], 64);
    assert_eq!(answer["drop_policy"], "default");
    assert_eq!(answer["drop_policies"]["crypto.trades"], "oldest");
    let answer = client
        .ask(r#"{"method":"configure_flow","params":{"max_messages_per_second":20,"buffer_size":32,"drop_policy":"newest"}}"#)
        .await;
    assert_eq!(answer["max_messages_per_second"], 20);
    assert_eq!(answer["buffer_size"], 32);
    assert_eq!(answer["drop_policies"]["crypto.trades"], "newest");
    for size in ["15", "16385", "0"] {
        let answer = client
            .ask(&format!(
                r#"{{"method":"configure_flow","channel":"c","buffer_size":{size}}}"#
            ))
            .await;
        assert_eq!(answer["error"]["details"]["parameter"], "buffer_size");
    }

    client.subscribe(r#""stream":"crypto.trades""#).await;
    let topic = rig.shard.topic(StreamKind::Trades);
    for n in 1..=100 {
        rig.shard.event(topic, PubKind::Event, &body(n, 1));
    }
    let start = tokio::time::Instant::now();
    let mut seen = Vec::new();
    loop {
        let message = client.json().await;
        if message["stream"] == "system.flow" {
            assert_eq!(message["data"]["policy"], "newest");
            break;
        }
        seen.push(message["seq"].as_u64().unwrap());
    }
    // The first that came stayed: the queue's 32 and what left while the others arrived.
    assert!(seen.iter().copied().eq(1..=seen.len() as u64), "{seen:?}");
    assert!((32..=36).contains(&seen.len()), "{seen:?}");
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(1200),
        "20 a second, not {took:?}"
    );

    let answer = client
        .ask(r#"{"method":"configure_flow","params":{"max_messages_per_second":1,"drop_policy":"disconnect"}}"#)
        .await;
    assert_eq!(answer["drop_policy"], "disconnect");
    for n in 1..=100 {
        rig.shard.event(topic, PubKind::Event, &body(n, 1));
    }
    let (code, reason) = client.closed().await;
    assert!(
        code == 1008 && reason.starts_with("slow"),
        "{code} {reason}"
    );
    assert_eq!(rig.shard.meters()[0].closed_slow.get(), 1);
    until("the topic's end", || rig.shard.counts().2 == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_the_socket_is_measured_for_each_message() {
    let rig = Rig::start(1, outbox(1 << 12));
    let mut clients = [rig.client().await, rig.client().await];
    for client in &mut clients {
        client.subscribe(r#""stream":"crypto.trades""#).await;
    }
    let topic = rig.shard.topic(StreamKind::Trades);
    for n in 1..=500 {
        rig.shard.event(topic, PubKind::Event, &body(n, 20));
        if n % 100 == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    for client in &mut clients {
        assert_eq!(read_all(client, 500).await, (0, 0));
    }
    let measured = || {
        let meters = rig.shard.meters();
        let all = latency::merge(std::iter::empty(), meters.iter().map(|m| &m.latency));
        let mut of = all.into_iter().skip(4).map(|stage| stage.histogram);
        [(); 3].map(|()| of.next().unwrap())
    };
    // The last write is settled by the worker's next turn, which nothing else brings about.
    until("all writes", || measured()[2].len() == 1000).await;
    let [ring, write, total] = measured();
    assert_eq!((ring.len(), write.len()), (500, 1000));
    assert!(total.max() >= ring.max().max(write.max()));
    assert!(ring.min() > 0 && write.min() > 0 && total.max() < 10_000_000_000);
    let meter = &rig.shard.meters()[0];
    assert_eq!((meter.sent.get(), meter.dropped.get()), (1000, 0));
    let levels = || {
        (
            meter.sessions.get(),
            meter.subscriptions.get(),
            meter.topics.get(),
        )
    };
    assert_eq!(levels(), (2, 2, 1));
    drop(clients);
    until("all gone", || levels() == (0, 0, 0)).await;
}

#[tokio::test]
async fn a_channel_has_a_flow_of_its_own() {
    let rig = Rig::start(1, outbox(2048));
    let mut client = rig.client().await;
    for channel in ["slow", "fast"] {
        let stream = format!(r#""stream":"crypto.trades","channel":"{channel}""#);
        client.subscribe(&stream).await;
    }
    let answer = client
        .ask(r#"{"method":"configure_flow","params":{"channel":"slow","max_messages_per_second":20,"buffer_size":16,"drop_policy":"newest"}}"#)
        .await;
    assert_eq!(answer["channel"], "slow");
    assert_eq!(answer["max_messages_per_second"], 20);
    assert_eq!(answer["buffer_size"], 16);
    assert_eq!(answer["drop_policies"]["crypto.trades"], "newest");
    // The connection's answer shows what differs in channels.
    let answer = client.ask(r#"{"method":"configure_flow"}"#).await;
    assert_eq!(answer["max_messages_per_second"], 0);
    assert_eq!(answer["buffer_size"], 2048);
    let channels = answer["channels"].as_array().unwrap();
    assert_eq!(channels.len(), 1, "{answer}");
    assert_eq!(channels[0]["channel"], "slow");
    assert_eq!(channels[0]["buffer_size"], 16);

    let topic = rig.shard.topic(StreamKind::Trades);
    for n in 1..=500 {
        rig.shard.event(topic, PubKind::Event, &body(n, 10));
    }
    let start = tokio::time::Instant::now();
    let (mut fast, mut slow, mut told) = (0, 0, 0);
    let mut fast_took = Duration::ZERO;
    while fast < 500 || slow + told < 500 {
        let message = client.json().await;
        if message["stream"] == "system.flow" {
            assert_eq!(message["data"]["channel"], "slow");
            assert_eq!(message["data"]["policy"], "newest");
            told += message["data"]["dropped"].as_u64().unwrap();
        } else if message["channel"] == "fast" {
            fast += 1;
            assert_eq!(message["seq"].as_u64(), Some(fast), "nothing is missing");
            fast_took = start.elapsed();
        } else {
            slow += 1;
            // What left made room for one that came later; the rest of them was told before.
            let seq = message["seq"].as_u64().unwrap();
            assert!(seq >= slow && seq - slow <= told, "{message}");
        }
    }
    assert!(
        (16..=22).contains(&slow),
        "{slow} of the channel with a limit"
    );
    // Twenty a second let the last of them go after 700 ms; the others did not wait for them.
    let took = start.elapsed();
    assert!(took > Duration::from_millis(600), "{took:?}");
    assert!(fast_took < took / 2, "{fast_took:?} of {took:?}");
}

#[tokio::test]
async fn over_its_rate_a_book_is_the_one_of_now() {
    let rig = Rig::start(1, outbox(1024));
    let mut client = rig.client().await;
    client
        .ask(r#"{"method":"configure_flow","params":{"max_messages_per_second":10}}"#)
        .await;
    client
        .subscribe(r#""stream":"crypto.orderbook","mode":"delta""#)
        .await;
    let kind = StreamKind::OrderBook {
        depth: 20,
        mode: BookMode::Delta,
    };
    let topic = rig.shard.topic(kind);
    let shard = rig.shard.clone();
    let publisher = tokio::task::spawn_blocking(move || {
        for n in 0..1000u64 {
            shard.change(topic, n % 40, n + 1);
            std::thread::sleep(Duration::from_micros(1500));
        }
        shard.book(topic)
    });
    let (mut book, mut missing, mut told, mut seq) = (Book::default(), 0, 0, 0);
    let mut goal = None;
    let mut publisher = Some(publisher);
    while goal.is_none() || book.levels != goal {
        let message = client.json().await;
        if message["stream"] == "system.flow" {
            told += message["data"]["dropped"].as_u64().unwrap();
            continue;
        }
        if message["stream"] == "crypto.orderbook" {
            let next = message["seq"].as_u64().unwrap();
            missing += next - seq - 1;
            assert!(missing <= told, "a hole before {next} that nobody told");
            seq = next;
        }
        book.take(&message);
        if publisher.as_ref().is_some_and(|p| p.is_finished()) {
            goal = Some(publisher.take().unwrap().await.unwrap());
        }
    }
    let sent = book.snapshots + book.updates;
    assert!(
        book.snapshots >= 5 && sent <= 60,
        "{} of {sent}",
        book.snapshots
    );
}
