//! Every kind of fault, seen by a client.

use std::time::{Duration, Instant};

use crate::support::*;
use bookwire_sim::{FaultSpec, Segment, Sim, SimConfig};
use serde_json::Value;

fn fault(text: &str) -> FaultSpec {
    text.parse().unwrap()
}

async fn lively(faults: &[&str]) -> Sim {
    let faults = faults.iter().map(|text| fault(text)).collect();
    sim(SimConfig {
        seed: 13,
        intensity: 4.0,
        faults,
        ..SimConfig::default()
    })
    .await
}

async fn messages(client: &mut Client, count: usize) -> Vec<Value> {
    let mut messages = Vec::new();
    for _ in 0..count {
        messages.push(client.json().await);
    }
    messages
}

#[tokio::test]
async fn gap_breaks_the_sequence_once() {
    let sim = plain_sim().await;
    for (market, host, path) in [
        (Segment::Spot, SPOT_WS, "/ws/btcusdt@depth@100ms"),
        (Segment::Linear, USDM_WS, "/public/ws/btcusdt@depth@100ms"),
    ] {
        let mut client = Client::open(&sim, host, path).await;
        let mut events = messages(&mut client, 3).await;
        let name = if market == Segment::Spot {
            "spot"
        } else {
            "usdm"
        };
        let id = sim
            .control()
            .inject(fault(&format!("gap:market={name},symbol=BTCUSDT")));
        events.extend(messages(&mut client, 6).await);
        let is_gap = |pair: &[Value]| match market {
            Segment::Spot => u64_of(&pair[1], "U") != u64_of(&pair[0], "u") + 1,
            Segment::Linear => u64_of(&pair[1], "pu") != u64_of(&pair[0], "u"),
        };
        assert_eq!(
            events.windows(2).filter(|pair| is_gap(pair)).count(),
            1,
            "{name}"
        );
        let states = sim.control().faults();
        assert_eq!(
            states.iter().find(|state| state.id == id).unwrap().strikes,
            1
        );
    }
    sim.shutdown().await;
}

/// Trade ids of a stream under a fault.
async fn trade_ids(text: &str, count: usize) -> Vec<u64> {
    let sim = lively(&[text]).await;
    let mut client = Client::open(&sim, SPOT_WS, "/ws/btcusdt@trade").await;
    let messages = messages(&mut client, count).await;
    sim.shutdown().await;
    messages
        .iter()
        .map(|message| u64_of(message, "t"))
        .collect()
}

#[tokio::test]
async fn drop_duplicate_reorder() {
    let ids = trade_ids("drop:stream=trade,p=0.3", 30).await;
    assert!(ids.windows(2).all(|pair| pair[1] > pair[0]));
    assert!(ids[29] - ids[0] > 32, "{ids:?}");

    let ids = trade_ids("duplicate:stream=trade", 20).await;
    assert!(ids.chunks(2).all(|pair| pair[0] == pair[1]), "{ids:?}");

    let ids = trade_ids("reorder:stream=trade,p=0.5", 30).await;
    let backward = ids.windows(2).filter(|pair| pair[1] < pair[0]).count();
    assert!(backward > 3, "{ids:?}");
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), 30);
}

#[tokio::test]
async fn delay_holds_messages_back() {
    let sim = lively(&[]).await;
    let mut client = Client::open(
        &sim,
        SPOT_WS,
        "/stream?streams=btcusdt@trade/btcusdt@aggTrade",
    )
    .await;
    client.json().await;
    sim.control().inject(fault("delay:stream=trade,ms=800"));
    client.drain(Duration::from_millis(20)).await;
    // An aggregate comes at once, its last trade 800 ms later, although it was sent before.
    let agg = client.find(|m| m["stream"] == "btcusdt@aggTrade").await;
    let (last, seen) = (u64_of(&agg["data"], "l"), Instant::now());
    client
        .find(|m| m["stream"] == "btcusdt@trade" && u64_of(&m["data"], "t") >= last)
        .await;
    assert!(
        seen.elapsed() > Duration::from_millis(500),
        "{:?}",
        seen.elapsed()
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn malformed_is_no_json() {
    let sim = lively(&["malformed:stream=trade"]).await;
    for path in ["/ws/btcusdt@trade", "/stream?streams=btcusdt@trade"] {
        let mut client = Client::open(&sim, SPOT_WS, path).await;
        let text = client.text().await;
        assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    }
    sim.shutdown().await;
}

#[tokio::test]
async fn disconnect_and_half_open() {
    let sim = lively(&[]).await;
    let mut books = Client::open(&sim, SPOT_WS, "/ws/btcusdt@depth@100ms").await;
    let mut trades = Client::open(&sim, SPOT_WS, "/ws/btcusdt@trade").await;
    books.json().await;
    sim.control().inject(fault("disconnect:stream=depth"));
    assert_eq!(books.end().await, None, "ends without a close frame");
    trades.json().await;

    sim.control().inject(fault("half-open:market=spot"));
    trades.drain(Duration::from_millis(300)).await;
    trades
        .send(r#"{"method":"LIST_SUBSCRIPTIONS","id":1}"#)
        .await;
    let silence = tokio::time::timeout(Duration::from_millis(800), trades.text()).await;
    assert!(silence.is_err(), "{silence:?}");
    // A new connection works.
    let mut again = Client::open(&sim, SPOT_WS, "/ws/btcusdt@depth@100ms").await;
    again.json().await;
    sim.shutdown().await;
}

#[tokio::test]
async fn server_shutdown_is_announced() {
    let sim = lively(&[]).await;
    let mut client = Client::open(&sim, SPOT_WS, "/stream?streams=btcusdt@trade").await;
    client.json().await;
    sim.control().inject(fault("server-shutdown:ms=300"));
    let event = client.find(|m| m["stream"] == "!serverShutdown").await;
    assert_eq!(event["data"]["e"], "serverShutdown");
    assert!(u64_of(&event["data"], "E") > 1_000_000_000_000);
    assert_eq!(client.end().await, Some(1001));
    sim.shutdown().await;
}

#[tokio::test]
async fn rest_faults() {
    let sim = plain_sim().await;
    let depth = "/api/v3/depth?symbol=BTCUSDT";
    sim.control()
        .inject(fault("429:path=/api/v3/depth,count=1,retry_after=3"));
    assert_eq!(get(&sim, SPOT_REST, "/api/v3/time").await.status, 200);
    let answer = get(&sim, SPOT_REST, depth).await;
    assert_eq!((answer.status, answer.code()), (429, -1003));
    assert_eq!(answer.headers["retry-after"], "3");
    assert_eq!(get(&sim, SPOT_REST, depth).await.status, 200);

    sim.control().inject(fault("http:status=502,count=1"));
    assert_eq!(get(&sim, USDM_REST, "/fapi/v1/ping").await.status, 502);
    sim.control().inject(fault("418:count=1,market=usdm"));
    let answer = get(&sim, USDM_REST, "/fapi/v1/ping").await;
    assert_eq!(answer.status, 418);
    assert!(answer.body.contains("IP banned until"), "{}", answer.body);

    sim.control().inject(fault("slow:ms=500,count=1"));
    let before = Instant::now();
    assert_eq!(get(&sim, SPOT_REST, depth).await.status, 200);
    assert!(before.elapsed() >= Duration::from_millis(500));

    sim.control().inject(fault("malformed-rest:count=1"));
    let answer = get(&sim, SPOT_REST, depth).await;
    assert!(serde_json::from_str::<Value>(&answer.body).is_err());
    sim.shutdown().await;
}

#[tokio::test]
async fn stale_snapshots_are_older_than_the_stream() {
    let sim = plain_sim().await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut client = Client::open(&sim, SPOT_WS, "/ws/btcusdt@depth@100ms").await;
    let first = u64_of(&client.json().await, "U");
    sim.control()
        .inject(fault("stale-snapshot:symbol=BTCUSDT,count=2"));
    let target = "/api/v3/depth?symbol=BTCUSDT&limit=1000";
    for _ in 0..2 {
        let old = get_json(&sim, SPOT_REST, target).await;
        assert!(u64_of(&old, "lastUpdateId") + 1 < first);
    }
    let fresh = get_json(&sim, SPOT_REST, target).await;
    assert!(u64_of(&fresh, "lastUpdateId") >= first);
    sim.shutdown().await;
}

#[tokio::test]
async fn edge_snapshots_end_where_a_diff_ends() {
    let sim = plain_sim().await;
    sim.control().inject(fault("edge-snapshot"));
    let mut client = Client::open(&sim, USDM_WS, "/public/ws/btcusdt@depth@100ms").await;
    let mut edge = client.json().await;
    let snapshot = get_json(&sim, USDM_REST, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await;
    let last_id = u64_of(&snapshot, "lastUpdateId");
    while u64_of(&edge, "u") < last_id {
        edge = client.json().await;
    }
    assert_eq!(u64_of(&edge, "u"), last_id);
    let next = client.json().await;
    assert_eq!(u64_of(&next, "pu"), last_id);
    sim.shutdown().await;
}

#[tokio::test]
async fn maintenance_takes_everything_down_and_ends() {
    let sim = plain_sim().await;
    let mut client = Client::open(&sim, USDM_WS, "/public/ws/btcusdt@bookTicker").await;
    client.json().await;
    let status = "/sapi/v1/system/status";
    assert_eq!(get_json(&sim, SPOT_REST, status).await["status"], 0);
    let id = sim.control().inject(fault("maintenance"));
    assert_eq!(client.end().await, Some(1001));
    let answer = get(&sim, USDM_REST, "/fapi/v1/ping").await;
    assert_eq!((answer.status, answer.code()), (503, -10001));
    assert_eq!(get_json(&sim, SPOT_REST, status).await["status"], 1);
    let url = format!("{}/public/ws", sim.url(USDM_WS).unwrap());
    assert!(tokio_tungstenite::connect_async(&url).await.is_err());
    sim.control().clear(id);
    assert_eq!(get(&sim, USDM_REST, "/fapi/v1/ping").await.status, 200);
    let mut client = Client::open(&sim, USDM_WS, "/public/ws/btcusdt@bookTicker").await;
    client.json().await;
    sim.shutdown().await;
}
