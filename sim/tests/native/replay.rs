//! Recorded messages through the wire protocol.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::*;
use bookwire_sim::{ReplayFile, ReplaySpeed, Segment, Sim, SimConfig};

/// Four spot messages and the snapshot between them, recorded 400 ms apart in all.
fn recording(name: &str) -> PathBuf {
    let lines = [
        r#"{"recv_ts":1000000000,"raw":{"stream":"abcusdt@depth@100ms","data":{"e":"depthUpdate","E":1,"s":"ABCUSDT","U":5,"u":7,"b":[["1.5","9"]],"a":[]}}}"#,
        r#"{"recv_ts":1100000000,"raw":{"stream":"abcusdt@depth@100ms","data":{"e":"depthUpdate","E":2,"s":"ABCUSDT","U":8,"u":12,"b":[["1.5","0"]],"a":[["1.7","2"]]}}}"#,
        r#"{"recv_ts":1200000000,"raw":{"lastUpdateId":10,"bids":[["1.4","3.5"]],"asks":[["1.6","4"]]}}"#,
        r#"{"recv_ts":1300000000,"raw":{"stream":"abcusdt@trade","data":{"e":"trade","E":3,"s":"ABCUSDT","t":1,"p":"1.6","q":"1","T":3,"m":false,"M":true}}}"#,
        r#"{"recv_ts":1400000000,"raw":{"stream":"abcusdt@depth@100ms","data":{"e":"depthUpdate","E":4,"s":"ABCUSDT","U":13,"u":13,"b":[],"a":[["1.6","3"]]}}}"#,
    ];
    let folder = std::env::temp_dir().join(format!("bookwire-sim-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("binance_spot_small.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

async fn replaying(path: PathBuf, replay_speed: ReplaySpeed) -> Sim {
    let replay = vec![ReplayFile { path, market: None }];
    sim(SimConfig {
        replay,
        replay_speed,
        ..SimConfig::default()
    })
    .await
}

#[tokio::test]
async fn paced_with_a_book_that_fits() {
    let path = recording("paced");
    let sim = replaying(path.clone(), ReplaySpeed::Paced(1.0)).await;
    let mut client = Client::open(&sim, SPOT_WS, "/ws/abcusdt@depth@100ms").await;
    let early = get_json(&sim, SPOT_REST, "/api/v3/depth?symbol=ABCUSDT").await;
    assert_eq!(u64_of(&early, "lastUpdateId"), 10);
    let first = client.json().await;
    let start = Instant::now();
    let mut book = LocalBook::load(&early);
    let mut steps = vec![book.apply(Segment::Spot, &first)];
    for _ in 0..2 {
        let event = client.json().await;
        steps.push(book.apply(Segment::Spot, &event));
    }
    assert!(
        start.elapsed() >= Duration::from_millis(350),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(steps, [Step::Ignored, Step::Applied, Step::Applied]);
    let truth = sim.control().book(Segment::Spot, "ABCUSDT").unwrap();
    assert_eq!(truth.last_update_id, 13);
    assert_eq!(book.rows(), (decimals(&truth.bids), decimals(&truth.asks)));
    // Late comers get a book that goes on from here.
    let late = get_json(&sim, SPOT_REST, "/api/v3/depth?symbol=ABCUSDT").await;
    assert_eq!(u64_of(&late, "lastUpdateId"), 13);
    assert_eq!(late["asks"][0][1], "3");
    assert!(sim.control().is_replay_finished(Segment::Spot));
    let info = get_json(&sim, SPOT_REST, "/api/v3/exchangeInfo").await;
    assert_eq!(info["symbols"][0]["symbol"], "ABCUSDT");
    assert_eq!(info["symbols"][0]["filters"][0]["tickSize"], "0.1");
    // The market without a recording is the seeded one.
    get_json(&sim, USDM_REST, "/fapi/v1/depth?symbol=BTCUSDT&limit=5").await;
    sim.shutdown().await;
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

/// The folder of real recordings; tests without it say so and pass, unless it is required.
fn captures() -> Option<PathBuf> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/captures");
    let folder =
        std::env::var_os("BOOKWIRE_CAPTURES").map_or_else(|| default.into(), PathBuf::from);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("BOOKWIRE_REQUIRE_CAPTURES").is_ok_and(|value| value == "1");
    assert!(!required, "no recordings in {}", folder.display());
    println!("skipped: no recordings in {}", folder.display());
    None
}

#[tokio::test]
async fn real_recording_at_full_speed_loses_nothing() {
    let Some(folder) = captures() else { return };
    let path = folder.join("binance_usdm_mixed_btcusdt_20230404.jsonl.gz");
    let sim = replaying(path, ReplaySpeed::Maximum).await;
    let mut client = Client::open(&sim, USDM_WS, "/public/ws/btcusdt@depth@0ms").await;
    let snapshot = get_json(&sim, USDM_REST, "/fapi/v1/depth?symbol=BTCUSDT&limit=1000").await;
    let mut book = LocalBook::load(&snapshot);
    // So many has the recording, by its own table.
    let mut events = Vec::new();
    while events.len() < 4_322 {
        events.push(client.json().await);
    }
    assert!(client.drain(Duration::from_millis(500)).await.is_empty());
    for event in &events {
        assert_ne!(
            book.apply(Segment::Linear, event),
            Step::Gap,
            "at {}",
            book.last_id
        );
    }
    let truth = sim.control().book(Segment::Linear, "BTCUSDT").unwrap();
    assert_eq!(book.last_id, truth.last_update_id);
    assert_eq!(book.rows(), (decimals(&truth.bids), decimals(&truth.asks)));
    sim.shutdown().await;
}

#[tokio::test]
async fn what_cannot_be_replayed_is_refused() {
    let missing = ReplayFile {
        path: "/no/such/file.jsonl".into(),
        market: None,
    };
    let config = SimConfig {
        replay: vec![missing],
        ..SimConfig::default()
    };
    let error = Sim::start(config).await.err().unwrap().to_string();
    assert!(error.contains("/no/such/file.jsonl"), "{error}");
    let config = SimConfig {
        time_scale: 0.0,
        ..SimConfig::default()
    };
    assert!(Sim::start(config).await.is_err());
}
