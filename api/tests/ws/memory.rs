//! The memory of all sessions and its limit.

use std::sync::Arc;

use bookwire_actors::body::Body;
use bookwire_actors::ring::PubKind;
use bookwire_actors::session::SessionLimits;
use bookwire_actors::session::flow::OutboxLimits;
use bookwire_actors::topic::StreamKind;
use bookwire_actors::worker::{SESSION_BYTES, SessionMemory};
use bookwire_api::ws::WsOptions;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Error;

use crate::rig::{Rig, until};

fn options() -> WsOptions {
    WsOptions {
        session: SessionLimits {
            outbox: OutboxLimits {
                messages: 16_384,
                bytes: 64 << 20,
            },
            ..SessionLimits::default()
        },
        connections_per_ip: 100,
        ..WsOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_heaviest_are_cut_off_when_memory_is_used_up() {
    const LIMIT: u64 = 8 << 20;
    let memory = Arc::new(SessionMemory::new(LIMIT));
    let rig = Rig::start_within(2, options(), memory.clone());
    let mut frozen = Vec::new();
    for _ in 0..6 {
        let mut client = rig.client().await;
        client.subscribe(r#""stream":"crypto.trades""#).await;
        frozen.push(client);
    }
    let mut readers = [rig.client().await, rig.client().await];
    for reader in &mut readers {
        reader.subscribe(r#""stream":"crypto.trades""#).await;
    }
    let topic = rig.shard.topic(StreamKind::Trades);
    // 48 MB of messages: six times what all may hold, and more than the sockets of the frozen.
    let mut most = 0;
    for n in 1..=6000u64 {
        let text = format!("{{\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(8000));
        let body = Body::new(&memory, text.as_bytes());
        rig.shard.event(topic, PubKind::Event, &body);
        most = most.max(memory.used());
        if n % 50 == 0 {
            for reader in &mut readers {
                // Those who read lose nothing.
                for expected in n - 49..=n {
                    let message = reader.json().await;
                    assert_eq!(message["seq"].as_u64(), Some(expected), "{message}");
                }
            }
        }
    }
    assert!(most > LIMIT, "the limit was reached: {most}");
    assert!(most < LIMIT + LIMIT / 8 + (1 << 20), "and kept: {most}");
    for client in &mut frozen {
        let (code, reason) = client.closed().await;
        assert!(
            code == 1008 && reason.starts_with("memory"),
            "{code} {reason}"
        );
    }
    let closed: u64 = rig
        .shard
        .meters()
        .iter()
        .map(|meter| meter.closed_memory.get())
        .sum();
    assert_eq!(closed, 6);
    drop(frozen);
    // The shard's last message is all that is left besides the readers.
    until("memory given back", || {
        memory.used() < 2 * SESSION_BYTES + 10_000
    })
    .await;
}

#[tokio::test]
async fn without_memory_nobody_new_is_let_in() {
    let memory = Arc::new(SessionMemory::new(3 * SESSION_BYTES + 1000));
    let rig = Rig::start_within(1, options(), memory);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(rig.client().await);
    }
    let url = format!("ws://{}/ws", rig.address);
    let Err(Error::Http(answer)) = tokio_tungstenite::connect_async(&url).await else {
        panic!("not refused")
    };
    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    let body: Value = serde_json::from_slice(answer.body().as_deref().unwrap()).unwrap();
    assert_eq!(body["error"]["code"], "CRYPTO_RATE_LIMIT_EXCEEDED");
    assert!(
        body["error"]["message"]
            .as_str()
            .unwrap()
            .contains("memory"),
        "{body}"
    );
    held.pop();
    let meters = rig.shard.meters();
    until("a free place", || meters[0].sessions.get() == 2).await;
    // The worker tells it in its next turn.
    until("room", || rig.state.connections() == 2).await;
    let mut again = tokio_tungstenite::connect_async(&url).await;
    for _ in 0..100 {
        if again.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        again = tokio_tungstenite::connect_async(&url).await;
    }
    assert!(again.is_ok());
}
