//! Answers of many trades: whole, or cut off; what waits for clients that read slowly is bounded.

use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::event::Side;
use bookwire_engine::store::{
    CoverageRow, Entity, Row, Series, Span, Store, TradeRow, open_embedded,
};
use bookwire_engine::time::TsNanos;
use bookwire_sim::SimConfig;
use rust_decimal::Decimal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::rig::Rig;

/// 2024-08-01.
const T0: i64 = 1_722_470_400_000_000_000;
const STEP: i64 = 1_000_000;
const ROWS: i64 = 10_000;
/// More than there are places for pages in memory.
const SLOW: usize = 52;

fn entity() -> Arc<Entity> {
    Arc::new(Entity {
        provider: "binance".to_owned(),
        entity_id: "cryptopair_binance_btcusdt".to_owned(),
        code: "btcusdt".to_owned(),
    })
}

fn trade(entity: &Arc<Entity>, id: i64, ts: i64) -> Row {
    Row::Trade(TradeRow {
        entity: Arc::clone(entity),
        ts: TsNanos(ts),
        trade_id: id.unsigned_abs().into(),
        price: Decimal::new(6_173_763 + id, 2),
        volume: Decimal::new(1 + id % 1_000, 5),
        side: if id % 2 == 0 { Side::Buy } else { Side::Sell },
    })
}

/// Trades of 2024, promised to be all.
fn fill(rig: &Rig) {
    let mut store = open_embedded(rig.data_dir().join("bookwire.db")).unwrap();
    let entity = entity();
    let mut rows: Vec<Row> = (0..ROWS)
        .map(|id| trade(&entity, 1 + id, T0 + id * STEP))
        .collect();
    rows.push(Row::Coverage(CoverageRow {
        entity,
        series: Series::Trades,
        span: Span {
            start: TsNanos(T0),
            end: TsNanos(T0 + 2 * ROWS * STEP),
        },
    }));
    store.write(&rows).unwrap();
    store.flush().unwrap();
}

fn path(more: &str) -> String {
    format!(
        "/api/data/CryptoTrade?provider=binance&codes=btcusdt&start_timestamp={T0}\
         &end_timestamp={}&limit=100000&page_size=100000{more}",
        T0 + 2 * ROWS * STEP - 1
    )
}

/// Asks, reads a little, and no more: a client with room for a few kilobytes.
async fn slow(rig: &Rig, path: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let mut stream = socket.connect(rig.api.parse().unwrap()).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        rig.api
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = [0; 512];
    stream.read_exact(&mut some).await.unwrap();
    let head = String::from_utf8_lossy(&some).to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    stream
}

/// The rest of a slow client's answer as it comes, and whether its end was told.
async fn rest(mut stream: TcpStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    // A connection that is cut off may be reset.
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut bytes)).await;
    let is_whole = bytes.ends_with(b"\r\n0\r\n\r\n");
    (bytes, is_whole)
}

/// Resident memory of the gateway, MiB.
fn resident(rig: &Rig) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_trades_go_out_page_by_page() {
    // Those that wait long are cut off elsewhere.
    let more = "[limits]\nrequests_per_minute = 100000\nanswer_timeout_ms = 600000\n";
    let rig = Rig::start_prepared(SimConfig::default(), more, fill).await;

    // As one answer.
    let client = reqwest::Client::new();
    let url = |more: &str| format!("http://{}{}", rig.api, path(more));
    let answer = client.get(url("&numbers=string")).send().await.unwrap();
    assert_eq!(answer.headers()["x-total-count"], ROWS.to_string().as_str());
    assert_eq!(answer.headers()["x-has-more"], "false");
    assert!(answer.headers().get("content-length").is_none());
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&body["total"], &body["has_more"]),
        (&ROWS.into(), &false.into())
    );
    let rows = body["data"].as_array().unwrap();
    assert_eq!(rows.len() as i64, ROWS);
    for (row, id) in rows.iter().zip(1..) {
        let price = Decimal::new(6_173_763 + id, 2).normalize().to_string();
        assert_eq!(
            (&row["trade_id"], &row["price"]),
            (&id.to_string().into(), &price.into())
        );
    }
    let head = client.head(url("&numbers=string")).send().await.unwrap();
    let length = head.headers()["content-length"].to_str().unwrap();
    assert_eq!(length, text.len().to_string(), "of what a GET would bring");
    let csv = client.get(url("&format=csv")).send().await.unwrap();
    let csv = csv.text().await.unwrap();
    assert_eq!(csv.lines().count() as i64, ROWS + 1);
    // Who knows no chunks is told the length.
    let mut old = TcpStream::connect(&rig.api).await.unwrap();
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n",
        path("&format=csv"),
        rig.api
    );
    old.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    old.read_to_end(&mut bytes).await.unwrap();
    let found = String::from_utf8(bytes).unwrap();
    let (head, body) = found.split_once("\r\n\r\n").unwrap();
    assert!(
        head.to_lowercase()
            .contains(&format!("content-length: {}", csv.len())),
        "{head}"
    );
    assert!(body == csv, "the same over HTTP/1.0");

    // Many that stop reading cost little; each goes on where it was.
    let before = resident(&rig);
    let mut all = Vec::new();
    for _ in 0..SLOW {
        all.push(slow(&rig, &path("")).await);
    }
    let grown = resident(&rig).saturating_sub(before);
    println!("{SLOW} answers that wait take {grown} MiB");
    // Whole, each is 2.2 MB of text, twice, and 1 MB of rows.
    assert!(grown < 70, "{SLOW} answers that wait take {grown} MiB");
    let last = all.pop().unwrap();
    let (first, is_whole) = rest(all.remove(0)).await;
    assert!(is_whole, "the page that made room was read again");
    let (other, is_whole) = rest(all.remove(20)).await;
    // What a client has left of its limit is in the head.
    let end = |bytes: &[u8]| bytes[bytes.len() - 1_000_000..].to_vec();
    assert!(is_whole, "a page is in the place of another");
    assert!(end(&other) == end(&first), "both get the same");

    // A trade comes to lie in what was not sent yet: better no answer than a wrong one.
    let mut store = open_embedded(rig.data_dir().join("bookwire.db")).unwrap();
    let middle = T0 + (ROWS - 1_000) * STEP;
    store.write(&[trade(&entity(), 2 * ROWS, middle)]).unwrap();
    let (bytes, is_whole) = rest(last).await;
    // What lay ready already, here or in the system's buffers, is right as of when it was asked for.
    assert!(
        !is_whole || end(&bytes) == end(&first),
        "an answer of {} bytes ended as if it were right",
        bytes.len()
    );
    drop(all);
    let log = rig.log();
    assert!(is_whole || log.contains("an answer was cut off"), "{log}");
    let (status, body) = rig.get(&path("")).await;
    assert_eq!((status, &body["total"]), (200, &(ROWS + 1).into()));
}
