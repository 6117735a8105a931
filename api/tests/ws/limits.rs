//! Sizes, rates, places and ends of connections.

use std::time::Duration;

use bookwire_actors::ring::PubKind;
use bookwire_actors::session::SessionLimits;
use bookwire_actors::session::flow::OutboxLimits;
use bookwire_actors::topic::StreamKind;
use bookwire_api::ws::WsOptions;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::rig::{Rig, until};

#[tokio::test]
async fn frames_over_the_limit_close_with_1009() {
    let rig = Rig::start(1, WsOptions::default());
    // The largest that is allowed is only wrong JSON.
    let mut client = rig.client().await;
    let answer = client.ask(&"x".repeat(65_536)).await;
    assert_eq!(answer["error"]["code"], "CRYPTO_INVALID_PARAMETER");
    let (code, _) = {
        client.send("x".repeat(65_537)).await;
        client.closed().await
    };
    assert_eq!(code, 1009);
    // Ten megabytes: read and thrown away, so that the reason arrives.
    let mut client = rig.client().await;
    client.send("x".repeat(10 << 20)).await;
    let (code, reason) = client.closed().await;
    assert_eq!(code, 1009);
    assert!(reason.contains("10485760"), "{reason}");
    // A message in parts that are each small enough.
    let mut client = rig.client().await;
    for part in 0..3 {
        let opcode = if part == 0 {
            Data::Text
        } else {
            Data::Continue
        };
        let frame = Frame::message(vec![b'x'; 40_000], OpCode::Data(opcode), part == 2);
        if client.socket.send(Message::Frame(frame)).await.is_err() {
            break;
        }
    }
    assert_eq!(client.closed().await.0, 1009);
    assert_eq!(rig.shard.meters()[0].closed_abuse.get(), 3);
    until("no connection", || rig.state.connections() == 0).await;
}

#[tokio::test]
async fn a_request_in_parts_is_one_request() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    for (text, kind, is_last) in [
        (r#"{"method":"#, Data::Text, false),
        (r#""pi"#, Data::Continue, false),
        (r#"ng"}"#, Data::Continue, true),
    ] {
        let frame = Frame::message(text.as_bytes().to_vec(), OpCode::Data(kind), is_last);
        client.send(Message::Frame(frame)).await;
    }
    assert_eq!(client.json().await["status"], "pong");
}

#[tokio::test]
async fn text_that_is_no_text_closes_with_1007() {
    let rig = Rig::start(1, WsOptions::default());
    let mut client = rig.client().await;
    let frame = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    client.send(Message::Frame(frame)).await;
    assert_eq!(client.closed().await.0, 1007);
}

#[tokio::test]
async fn the_sixth_connection_is_refused() {
    let rig = Rig::start(2, WsOptions::default());
    let mut held = Vec::new();
    for _ in 0..5 {
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
    assert_eq!(body["error"]["details"]["rate_limit"], 5);
    held.pop();
    until("a free place", || rig.state.connections() == 4).await;
    held.push(rig.client().await);
}

#[tokio::test]
async fn too_many_requests_are_refused_then_ended() {
    let options = WsOptions {
        session: SessionLimits {
            requests_per_second: 5,
            ..SessionLimits::default()
        },
        ..WsOptions::default()
    };
    let rig = Rig::start(1, options);
    let mut client = rig.client().await;
    for _ in 0..16 {
        client.send(r#"{"method":"ping"}"#).await;
    }
    let mut refused = 0;
    for _ in 0..16 {
        let answer = client.json().await;
        if answer["status"] == "error" {
            assert_eq!(answer["error"]["code"], "CRYPTO_RATE_LIMIT_EXCEEDED");
            refused += 1;
        }
    }
    // Ten in a burst, and five more if a second went by.
    assert!((1..=6).contains(&refused), "{refused}");
    for _ in 0..200 {
        if client
            .socket
            .send(r#"{"method":"ping"}"#.into())
            .await
            .is_err()
        {
            break;
        }
    }
    let (code, reason) = client.closed().await;
    assert!(
        code == 1008 && reason.starts_with("rate"),
        "{code} {reason}"
    );
    assert_eq!(rig.shard.meters()[0].closed_abuse.get(), 1);
}

fn impatient(idle_secs: u32) -> WsOptions {
    WsOptions {
        session: SessionLimits {
            ping_secs: 1,
            idle_secs,
            outbox: OutboxLimits {
                messages: 64,
                bytes: 64 << 20,
            },
            ..SessionLimits::default()
        },
        ..WsOptions::default()
    }
}

#[tokio::test]
async fn who_answers_pings_stays_and_who_is_silent_goes() {
    let rig = Rig::start(1, impatient(3));
    let mut lively = rig.client().await;
    let mut silent = rig.client().await;
    // A client of this library answers pings only while it reads.
    let reader = tokio::spawn(async move {
        let mut pings = 0;
        let end = tokio::time::sleep(Duration::from_secs(6));
        tokio::pin!(end);
        loop {
            tokio::select! {
                () = &mut end => return (lively, pings),
                next = lively.socket.next() => match next {
                    Some(Ok(Message::Ping(_))) => pings += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(4500)).await;
    let (code, reason) = silent.closed().await;
    assert!(
        code == 1008 && reason.starts_with("idle"),
        "{code} {reason}"
    );
    let (mut lively, pings) = reader.await.unwrap();
    assert!(pings >= 4, "{pings}");
    assert_eq!(rig.shard.meters()[0].closed_idle.get(), 1);
    assert_eq!(lively.ask(r#"{"method":"ping"}"#).await["status"], "pong");
}

/// The pump of a client that does not read is not polled and the socket takes nothing, not even a
/// close frame: the session's timers run all the same, and the socket is cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_is_cut_off() {
    let rig = Rig::start(1, impatient(2));
    let mut frozen = rig.client().await;
    frozen.subscribe(r#""stream":"crypto.trades""#).await;
    let topic = rig.shard.topic(StreamKind::Trades);
    let large = crate::rig::text(format!("{{\"fill\":\"{}\"}}", "x".repeat(100_000)));
    for _ in 0..300 {
        rig.shard.event(topic, PubKind::Event, &large);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rig.state.connections(), 1);
    let start = tokio::time::Instant::now();
    until("the frozen client's end", || rig.state.connections() == 0).await;
    assert!(start.elapsed() < Duration::from_secs(10));
    until("the topic's end", || rig.shard.counts().2 == 0).await;
    // Its own side sees the end as well, once it looks.
    let mut rest = Vec::new();
    let tokio_tungstenite::MaybeTlsStream::Plain(stream) = frozen.socket.get_mut() else {
        panic!("no TLS here")
    };
    let ended = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
    assert!(ended.await.is_ok());
}

#[tokio::test]
async fn a_restart_is_announced_with_1012() {
    let rig = Rig::start(2, WsOptions::default());
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(rig.client().await);
    }
    rig.state.stop("restart");
    for client in &mut clients {
        assert_eq!(client.closed().await, (1012, "restart".to_owned()));
    }
    until("no connection", || rig.state.connections() == 0).await;
    // Those that come later get the same.
    assert_eq!(rig.client().await.closed().await.0, 1012);
}
