//! Hostile clients against a running gateway: floods, slowness, broken frames, forged names and keys. The
//! gateway stays up and small, tells nothing that is its own business, leaves nothing behind, and serves a
//! well-behaved client all the while.
//!
//! Attackers have loopback addresses of their own, as on a network they would have.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant, SystemTime};

use bookwire_engine::vault::Secret;
use bookwire_sim::Exchange;
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::rig::{Feed, Rig};
use crate::trading::{Trader, exchanges};

const MIB: u64 = 1 << 20;

/// The defaults but for shorter patience, so that it is over before the test is.
const LIMITS: &str = "[limits]\nheader_timeout_ms = 1000\nbody_timeout_ms = 1000\n\
     answer_timeout_ms = 1000\nkeep_alive_ms = 4000\n\n[log]\nlevel = \"debug\"\n\n\
     [providers.binance]\nsymbols = [\"btcusdt\"]\n";

/// A connection from an address of the attackers.
async fn connect(rig: &Rig, from: u8) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().unwrap();
    // What is not read has to wait in the gateway.
    socket.set_recv_buffer_size(4096).unwrap();
    let own = SocketAddr::from((Ipv4Addr::new(127, 0, 1, from), 0));
    socket.bind(own).unwrap();
    let to: SocketAddr = rig.api.parse().unwrap();
    let stream = timeout(Duration::from_secs(5), socket.connect(to)).await;
    stream.ok()?.ok()
}

/// What comes until the gateway ends the connection; `None` when it does not.
async fn until_the_end(stream: &mut TcpStream, within: Duration) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let read = async {
        let mut scratch = [0; 4096];
        // A reset ends it as well.
        while let Ok(count) = stream.read(&mut scratch).await {
            if count == 0 {
                break;
            }
            out.extend_from_slice(&scratch[..count]);
        }
    };
    timeout(within, read).await.ok()?;
    Some(out)
}

/// Sends, reads the answer, and gives its status and text; 0: none came.
async fn exchange(rig: &Rig, from: u8, bytes: &[u8]) -> (u16, String) {
    let mut stream = connect(rig, from).await.expect("a connection");
    let _ = stream.write_all(bytes).await;
    let text = until_the_end(&mut stream, Duration::from_secs(8)).await;
    let text = text.expect("the gateway ends the connection");
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.get(9..12).and_then(|code| code.parse().ok());
    (status.unwrap_or(0), text)
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}\r\n").into()
}

/// Answers tell nothing of the program's inside, and no secret.
fn tells_nothing(text: &str, key: &str) {
    let (_, secret) = key.split_once('.').unwrap();
    for own in [
        secret,
        "panicked",
        ".rs:",
        "/src/",
        "/tmp/",
        "/home/",
        "RUST_BACKTRACE",
        "SQLITE",
    ] {
        assert!(!text.contains(own), "an answer tells {own:?}: {text}");
    }
}

fn has_form(text: &str) -> Value {
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let head = head.to_ascii_lowercase();
    for name in [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset",
        "x-trace-id",
    ] {
        assert!(head.contains(&format!("\r\n{name}: ")), "no {name}: {text}");
    }
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {text}"));
    assert!(body["error"]["code"].is_string(), "{text}");
    body
}

fn files(rig: &Rig) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", rig.pid()))
        .unwrap()
        .count()
}

fn resident(rig: &Rig) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", rig.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap();
    kib.parse::<u64>().unwrap() << 10
}

/// A well-behaved client: REST, WebSocket and orders on paper.
struct Good {
    trader: Trader,
    feed: Feed,
}

impl Good {
    /// Waits for the book, without which nothing is traded.
    async fn ready(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        let book = "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=5";
        while self.trader.rig.get(book).await.0 != 200 {
            assert!(Instant::now() < end, "no book");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Longest of some requests, an order among them.
    async fn round(&mut self) -> Duration {
        let mut longest = Duration::ZERO;
        for n in 0..4 {
            let since = Instant::now();
            let (status, body) = match n {
                0 => {
                    let order = json!({"provider": "binance", "type": "market", "side": "buy",
                        "entity_id": "cryptopair_binance_btcusdt", "quantity": "0.001"});
                    let answer = self
                        .trader
                        .ask(Method::POST, "/api/trading/orders", Some(order));
                    answer.await
                }
                _ => {
                    let book = "/api/data/CryptoOrderbook?provider=binance&codes=btcusdt&depth=5";
                    self.trader.rig.get(book).await
                }
            };
            assert!(status < 300, "{status}: {body}");
            longest = longest.max(since.elapsed());
        }
        let since = Instant::now();
        let news = self
            .feed
            .next_of("crypto.ticker", "btcusdt", Duration::from_secs(5))
            .await;
        assert!(news["data"].is_object(), "{news}");
        longest.max(since.elapsed())
    }
}

/// Twelve hundred connections of four addresses: silent, or with a request that never ends.
async fn crowd(rig: &Rig) {
    let connects = (0..1_200_u32).map(|n| async move {
        let mut stream = connect(rig, 1 + (n % 4) as u8).await?;
        match n % 3 {
            0 => {}
            1 => stream
                .write_all(b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n")
                .await
                .ok()?,
            _ => stream.write_all(&get("/livez", "")[..9]).await.ok()?,
        }
        Some(stream)
    });
    let mut open: Vec<TcpStream> = join_all(connects).await.into_iter().flatten().collect();
    assert!(open.len() > 1_000, "{} connections", open.len());
    let ends = open.iter_mut().map(|stream| async move {
        let slow = async {
            // A byte now and then is no progress.
            for _ in 0..3 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let _ = stream.write_all(b"x").await;
            }
        };
        slow.await;
        until_the_end(stream, Duration::from_secs(8)).await
    });
    let ended = join_all(ends).await;
    let told = ended
        .iter()
        .flatten()
        .filter(|text| text.starts_with(b"HTTP/1.1 408"))
        .count();
    assert_eq!(ended.iter().flatten().count(), open.len(), "all are ended");
    assert!(
        told > open.len() / 2,
        "{told} of {} were told why",
        open.len()
    );
}

/// Headers and bodies without an end.
async fn floods(rig: &Rig) {
    let heads: [&[u8]; 4] = [
        b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1\r\n",
        b"POST /api/trading/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9999999999\r\n\r\n",
        b"POST /api/trading/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET /",
    ];
    let parts: [Vec<u8>; 4] = [
        b"X-Flood: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(64),
        vec![b'x'; 4096],
        [&b"1000\r\n"[..], &[b'x'; 0x1000], b"\r\n"].concat(),
        vec![b'a'; 4096],
    ];
    let attacks = (0..40).map(|n| {
        let (head, part) = (heads[n % 4], &parts[n % 4]);
        async move {
            let Some(mut stream) = connect(rig, 10).await else {
                return 0;
            };
            let end = Instant::now() + Duration::from_secs(8);
            let mut sent = 0;
            let mut write = stream.write_all(head).await;
            while write.is_ok() && Instant::now() < end {
                let more = timeout(Duration::from_secs(8), stream.write_all(part)).await;
                write = more.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
                sent += part.len();
            }
            assert!(
                Instant::now() < end,
                "flood {n} is not stopped after {sent} bytes"
            );
            sent
        }
    });
    let sent: usize = join_all(attacks).await.iter().sum();
    assert!(sent > 0);
}

/// Many requests whose answers nobody takes: large ones, so that the system's buffers are full soon.
async fn slow_readers(rig: &Rig) {
    let one = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let attacks = (0..4).map(|n| async move {
        let mut stream = connect(rig, 20).await.unwrap();
        let _ = stream.write_all(&one.repeat(800)).await;
        let end = Instant::now() + Duration::from_secs(12);
        // Until the gateway has had enough.
        while stream.write_all(one).await.is_ok() {
            assert!(Instant::now() < end, "reader {n} is not cut off");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    join_all(attacks).await;
}

/// A WebSocket up to its first frame.
async fn websocket(rig: &Rig, from: u8) -> TcpStream {
    let mut stream = connect(rig, from).await.unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(
            timeout(Duration::from_secs(10), stream.read_u8())
                .await
                .unwrap()
                .unwrap(),
        );
    }
    let head = String::from_utf8(head).unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    stream
}

/// A frame with the mask 0, which changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        size @ 0..126 => out.push(0x80 | size as u8),
        size => {
            out.push(0x80 | 126);
            out.extend_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
    out
}

/// Frames that RFC 6455 forbids, and those that are too large.
async fn broken_frames(rig: &Rig) {
    let huge = |size: u64| {
        [
            &[0x81, 0xff][..],
            &size.to_be_bytes(),
            &[0; 4],
            &[b' '; 1000],
        ]
        .concat()
    };
    let many_parts = {
        let part = frame(0x00, &[b' '; 8_000]);
        [frame(0x01, b"{"), part.repeat(20)].concat()
    };
    let rows: Vec<(&str, Vec<u8>, u16)> = vec![
        ("a huge frame", huge(1 << 40), 1009),
        ("a frame with the top bit of its size", huge(u64::MAX), 1009),
        ("a message of endless parts", many_parts, 1009),
        ("no UTF-8", frame(0x81, b"{\"id\":\"\xff\xfe\"}"), 1007),
        ("no mask", b"\x81\x02{}".to_vec(), 1002),
        ("a reserved bit", frame(0xc1, b"{}"), 1002),
        ("a reserved opcode", frame(0x83, b"{}"), 1002),
        ("a reserved control opcode", frame(0x8b, b""), 1002),
        ("a long ping", frame(0x89, &[b'x'; 126]), 1002),
        ("a ping in parts", frame(0x09, b"x"), 1002),
        ("a continuation of nothing", frame(0x80, b"{}"), 1002),
        (
            "a beginning within a message",
            [frame(0x01, b"{"), frame(0x01, b"}")].concat(),
            1002,
        ),
    ];
    for chunk in rows.chunks(4) {
        let attacks = chunk
            .iter()
            .enumerate()
            .map(|(n, (what, bytes, code))| async move {
                let mut stream = websocket(rig, 30 + n as u8).await;
                let _ = stream.write_all(bytes).await;
                let text = until_the_end(&mut stream, Duration::from_secs(8)).await;
                let text = text.unwrap_or_else(|| panic!("{what}: still open"));
                // The close frame; nothing else was asked for.
                let told = match text.as_slice() {
                    [0x88, _, high, low, ..] => u16::from_be_bytes([*high, *low]),
                    other => panic!("{what}: {other:?}"),
                };
                assert_eq!(told, *code, "{what}");
            });
        join_all(attacks).await;
    }
    // More connections than an address may have are told so, and more messages than are taken.
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(websocket(rig, 35).await);
    }
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (status, text) = exchange(rig, 35, get("/ws", upgrade).as_slice()).await;
    assert!(status == 429 || status == 400, "{text}");
    let noise = frame(0x81, b"{\"method\":\"ping\"}").repeat(2_000);
    let _ = open[0].write_all(&noise).await;
    let text = until_the_end(&mut open[0], Duration::from_secs(8))
        .await
        .expect("ended");
    let close = text.windows(4).rev().find(|four| four[0] == 0x88);
    assert!(
        close.is_some_and(|four| four[2..] == 1008_u16.to_be_bytes()),
        "{text:?}"
    );
}

/// What is no path, no number and no header, with line ends and control characters in it.
async fn injections(rig: &Rig, key: &str) {
    let forged = "%0d%0aFORGED%20error%1b%5b2J%00";
    let rows = [
        "/../../../../etc/passwd".to_owned(),
        "/api/data/..%2f..%2f..%2fetc%2fpasswd".to_owned(),
        "/api/data/%2e%2e/%2e%2e/data/master.key".to_owned(),
        "/data/master.key".to_owned(),
        "//etc/passwd".to_owned(),
        format!("/api/{forged}"),
        format!("/api/data/CryptoPair?provider={forged}"),
        format!("/api/data/CryptoPair?{forged}=1"),
        format!("/api/data/CryptoTrade?provider=binance&codes={forged}"),
        "/api/data/CryptoTrade?provider=binance&codes=btcusdt'%20OR%201=1;%20DROP%20TABLE%20trades--&limit=1".to_owned(),
        "/api/data/CryptoTrade?provider=binance&codes=btcusdt&start_timestamp=1;DELETE%20FROM%20trades".to_owned(),
        "/api/data/CryptoTrade?provider=binance&columns=price,(SELECT%201)".to_owned(),
        "/api/data/CryptoPair?provider=%ff%fe".to_owned(),
        "/api/data/CryptoPair?limit=99999999999999999999999999".to_owned(),
        "/api/crypto/validation/gaps?provider=binance&symbol=%27%22%3Cscript%3E".to_owned(),
        format!("/api/trading/orders/{forged}"),
    ];
    for path in rows {
        let headers = "X-Trace-Id: a\tFORGED b\r\nUser-Agent: \tFORGED\r\n";
        let (status, text) = exchange(rig, 40, &get(&path, headers)).await;
        assert!((400..500).contains(&status), "{path}: {text}");
        has_form(&text);
        tells_nothing(&text, key);
        assert!(
            !text.contains("\nFORGED") && !text.contains("root:"),
            "{path}: {text}"
        );
    }
    for raw in [
        &b"GET /a\r\nFORGED: b HTTP/1.1\r\n\r\n"[..],
        b"GET /\x01\x1b[2J HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: \x00\x1b\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    ] {
        let (status, text) = exchange(rig, 41, raw).await;
        assert_eq!(status, 400, "{text}");
        has_form(&text);
        tells_nothing(&text, key);
    }
}

/// Signs a request as the contract says.
fn signed(key: &str, path: &str, ms: u64) -> String {
    let (id, secret) = key.split_once('.').unwrap();
    let text = ms.to_string();
    let parts: [&[u8]; 3] = [text.as_bytes(), b"GET", path.as_bytes()];
    let signature = Secret::new(secret).sign(&parts);
    let hex: String = signature.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-API-Key: {id}\r\nX-Timestamp: {ms}\r\nX-Signature: {hex}\r\n")
}

/// Signatures that were used, are old, or belong to another request; keys that are guessed.
async fn forgeries(rig: &Rig, key: &str) {
    let path = "/api/trading/accounts";
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let send = async |from: u8, path: &str, headers: &str| {
        let (status, text) = exchange(rig, from, &get(path, headers)).await;
        tells_nothing(&text, key);
        (status, text)
    };
    let good = signed(key, path, now());
    assert_eq!(send(50, path, &good).await.0, 200);
    assert_eq!(send(50, path, &good).await.0, 401, "a replay");
    assert_eq!(
        send(51, path, &good).await.0,
        401,
        "a replay from elsewhere"
    );
    for (what, headers, asked) in [
        ("an old one", signed(key, path, now() - 60_000), path),
        ("one of the future", signed(key, path, now() + 60_000), path),
        (
            "one of another path",
            signed(key, path, now()),
            "/api/trading/balances",
        ),
    ] {
        let (status, text) = send(50, asked, &headers).await;
        assert_eq!(status, 401, "{what}: {text}");
        has_form(&text);
    }
    let (id, _) = key.split_once('.').unwrap();
    let guesses = (0..60).map(|n| {
        let guess = format!("Authorization: Bearer {id}.{n:043}\r\n");
        async move { exchange(rig, 52, &get(path, &guess)).await }
    });
    let answers = join_all(guesses).await;
    let refused = answers.iter().filter(|(status, _)| *status == 401).count();
    let slowed = answers.iter().filter(|(status, _)| *status == 429).count();
    assert_eq!(refused + slowed, 60);
    assert!(slowed >= 40, "{slowed} of 60 were slowed down");
    for (status, text) in &answers {
        let body = has_form(text);
        tells_nothing(text, key);
        if *status == 429 {
            assert!(
                body["error"]["details"]["retry_after_seconds"].is_u64(),
                "{body}"
            );
            assert!(
                text.to_ascii_lowercase().contains("\r\nretry-after: "),
                "{text}"
            );
        }
    }
    let own = format!("Authorization: Bearer {key}\r\n");
    assert_eq!(
        send(52, path, &own).await.0,
        200,
        "a right key from the same address"
    );
}

/// A page that a browser was led to.
async fn pages(rig: &Rig) {
    let at = |host: &str, path: &str, more: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")
    };
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let rebound = "evil.example:8080";
    let foreign = "Origin: https://evil.example\r\n";
    for request in [
        at(rebound, "/api/data/providers", ""),
        at(rebound, "/metrics", ""),
        at(
            rebound,
            "/ws",
            &upgrade.replace("Upgrade:", "Origin: http://evil.example:8080\r\nUpgrade:"),
        ),
        at("127.0.0.1", "/ws", &format!("{foreign}{upgrade}")),
        at("127.0.0.1", "/ws", &format!("Origin: null\r\n{upgrade}")),
        at("127.0.0.1", "/api/trading/orders", foreign).replace("GET", "POST"),
    ] {
        let (status, text) = exchange(rig, 60, request.as_bytes()).await;
        assert_eq!(status, 403, "{request}: {text}");
        has_form(&text);
    }
    let (status, text) = exchange(
        rig,
        60,
        at("127.0.0.1", "/api/data/providers", foreign).as_bytes(),
    )
    .await;
    assert_eq!(status, 200);
    assert!(
        !text.to_ascii_lowercase().contains("access-control-allow"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_harm_nobody() {
    let rig = Rig::start_with(exchanges(&[Exchange::Binance]), LIMITS).await;
    let trader = Trader::new(rig).await;
    let key = trader.key.clone();
    let mut feed = trader.rig.feed().await;
    let ticker = json!({"stream": "crypto.ticker", "provider": "binance", "symbols": ["btcusdt"]});
    feed.subscribe(ticker).await;
    let mut good = Good { trader, feed };
    good.ready().await;
    let before = good.round().await.max(good.round().await);
    // What is allocated once is there after a first small attack.
    pages(&good.trader.rig).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (files_before, rss) = (files(&good.trader.rig), resident(&good.trader.rig));

    let mut most = 0;
    {
        // The rig is shared by attackers, the client has its own connections.
        let Good { trader, feed } = &mut good;
        let rig = &trader.rig;
        let attacks = async {
            tokio::join!(crowd(rig), slow_readers(rig));
            tokio::join!(floods(rig), broken_frames(rig));
            injections(rig, &key).await;
            forgeries(rig, &key).await;
        };
        let watching = async {
            loop {
                let since = Instant::now();
                let (status, body) = rig.get("/api/data/providers").await;
                assert_eq!(status, 200, "{body}");
                let order = json!({"provider": "binance", "type": "market", "side": "buy",
                    "entity_id": "cryptopair_binance_btcusdt", "quantity": "0.001"});
                let (status, body) = trader
                    .ask(Method::POST, "/api/trading/orders", Some(order))
                    .await;
                assert_eq!(status, 201, "{body}");
                feed.next_of("crypto.ticker", "btcusdt", Duration::from_secs(5))
                    .await;
                let took = since.elapsed();
                assert!(
                    took < Duration::from_secs(5),
                    "a good client waited {took:?}"
                );
                most = most.max(resident(rig));
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        };
        tokio::select! {
            () = attacks => {}
            () = watching => {}
        }
    }

    let rig = &good.trader.rig;
    let grown = most.max(resident(rig)).saturating_sub(rss);
    assert!(grown < 96 * MIB, "{} MiB more", grown / MIB);
    let end = Instant::now() + Duration::from_secs(8);
    loop {
        let open = files(rig);
        // The good client may have opened another connection.
        if open <= files_before + 4 {
            break;
        }
        assert!(Instant::now() < end, "{open} files, {files_before} before");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut after = Duration::MAX;
    for _ in 0..3 {
        after = after.min(good.round().await);
    }
    let most = (5 * before).max(Duration::from_millis(250));
    assert!(after < most, "{after:?}, {before:?} before");
    eprintln!("{grown} bytes more, {before:?} before, {after:?} after");

    let log = good.trader.rig.config().with_file_name("gateway.log");
    let log = std::fs::read_to_string(log).unwrap();
    let (_, secret) = key.split_once('.').unwrap();
    assert!(!log.contains("panicked") && !log.contains(secret));
    assert!(
        log.contains("\\r\\nFORGED"),
        "what was sent is logged, escaped"
    );
    for line in log.lines() {
        assert!(!line.starts_with("FORGED"), "{line}");
        assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
    }
}
