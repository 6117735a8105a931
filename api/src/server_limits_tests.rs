//! Limits of the server as clients meet them: every answer has its form and its headers, whoever is too
//! slow or too large is refused, proxies are believed when they are configured, TLS.

use std::path::Path;
use std::sync::Arc;

use bookwire_actors::clock::SystemClock;
use bookwire_actors::gateway::Gateway;
use bookwire_actors::options::GatewayOptions;
use bookwire_engine::config::FileText;
use futures_util::StreamExt;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream as Socket;

use super::*;

const KEY: &str = "ops.0123456789abcdef";

fn start(more: &str) -> ServerHandle {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let text = format!("[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\n{more}");
    let name = "test";
    let config = Config::load(Some(FileText { name, text: &text }), [], &[]).unwrap();
    let clock = Arc::new(SystemClock::new());
    let gateway = Gateway::start(GatewayOptions::default(), clock, None).unwrap();
    let listener = TcpListener::bind(config.server.listen).unwrap();
    start_with(listener, &config, gateway, OperatorKey::parse(KEY).ok()).unwrap()
}

/// An answer as it came over the wire.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        Self {
            status: status.expect("a status"),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// Everything that every answer has.
    fn check(&self) {
        for name in [
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ] {
            let value = self
                .header(name)
                .unwrap_or_else(|| panic!("no {name}: {self:?}"));
            assert!(value.parse::<u64>().is_ok(), "{name}: {value}");
        }
        assert!(self.header("x-trace-id").is_some(), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(self.header("x-frame-options"), Some("deny"));
        assert_eq!(self.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(self.header("cache-control"), Some("no-store"));
        assert!(self.header("content-security-policy").is_some());
        assert!(self.header("server").is_none(), "{self:?}");
    }

    fn error(&self) -> Value {
        let body: Value = serde_json::from_str(&self.body).expect("JSON");
        let error = body["error"].clone();
        assert!(
            error["code"].is_string() && error["timestamp"].is_string(),
            "{body}"
        );
        assert_eq!(error["trace_id"].as_str(), self.header("x-trace-id"));
        assert!(!error["recovery_suggestions"].as_array().unwrap().is_empty());
        error
    }
}

/// What comes back until the server closes; the client stays open.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut socket = Socket::connect(address).await.unwrap();
    // The server may have answered and closed before all of it is sent.
    let _ = socket.write_all(bytes).await;
    until_the_end(&mut socket).await
}

async fn until_the_end(socket: &mut Socket) -> String {
    let mut out = Vec::new();
    let read = socket.read_to_end(&mut out);
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    ended.expect("the server closes").unwrap();
    String::from_utf8(out).unwrap()
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
}

#[actix_web::test]
async fn every_answer_has_its_limits_and_its_form() {
    let server =
        start("[limits]\nbody_timeout_ms = 200\nbody_bytes_max = 2048\nheader_timeout_ms = 2500\n");
    let post = |headers: &str, body: &str| {
        format!(
            "POST /api/trading/orders HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             authorization: Bearer {KEY}\r\n{headers}\r\n{body}"
        )
    };
    let rows: Vec<(&str, String, u16)> = vec![
        ("a probe", get("/livez", ""), 200),
        ("an answer", get("/api/data/providers", ""), 200),
        ("an unknown path", get("/api/nothing", ""), 404),
        ("no key", get("/api/trading/orders", ""), 401),
        (
            "a wrong key",
            get("/api/trading/orders", "authorization: Bearer a.b\r\n"),
            401,
        ),
        (
            "a bad parameter",
            get("/api/data/CryptoPair?limit=x", ""),
            400,
        ),
        ("a wrong method", get("/api/trading/kill_switch", ""), 405),
        (
            "a rebound name",
            "GET /api/data/providers HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"
                .into(),
            403,
        ),
        (
            "a rebound name for figures",
            "GET /metrics HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".into(),
            403,
        ),
        (
            "a page that commands",
            get("/x", "")
                .replace("GET /x", "POST /api/crypto/validation/price")
                .replace("\r\n\r\n", "\r\norigin: https://evil.example\r\n\r\n"),
            403,
        ),
        ("no upgrade", get("/ws", ""), 400),
        (
            "a page that connects",
            get("/ws", "origin: https://evil.example\r\n"),
            403,
        ),
        (
            "a long path",
            get(&format!("/{}", "x".repeat(9_000)), ""),
            414,
        ),
        (
            "a longer path",
            get(&format!("/{}", "x".repeat(70_000)), ""),
            431,
        ),
        ("many headers", get("/livez", &"x: y\r\n".repeat(70)), 431),
        (
            "more headers than can be read",
            get("/livez", &"x: y\r\n".repeat(200)),
            431,
        ),
        (
            "a large header",
            get("/livez", &format!("x: {}\r\n", "y".repeat(20_000))),
            431,
        ),
        (
            "a larger header",
            get("/livez", &format!("x: {}\r\n", "y".repeat(140_000))),
            431,
        ),
        ("a control character", get("/livez", "x: a\u{1}b\r\n"), 400),
        ("a folded header", get("/livez", "x: a\r\n b: c\r\n"), 400),
        ("no host", "GET /livez HTTP/1.1\r\n\r\n".into(), 400),
        ("two hosts", get("/livez", "host: evil.example\r\n"), 400),
        ("no HTTP", "NONSENSE\r\n\r\n".into(), 400),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        (
            "a TLS hello",
            "\u{16}\u{3}\u{1}\u{0}\u{0}\r\n\r\n".into(),
            400,
        ),
        (
            "two lengths",
            get("/livez", "content-length: 1\r\ncontent-length: 2\r\n"),
            400,
        ),
        (
            "a length and chunks",
            get(
                "/livez",
                "content-length: 1\r\ntransfer-encoding: chunked\r\n",
            ),
            400,
        ),
        (
            "a large body",
            post("content-length: 1000000000\r\n", ""),
            413,
        ),
        (
            "a large body in chunks",
            post(
                "transfer-encoding: chunked\r\n",
                &format!("c00\r\n{}\r\n0\r\n\r\n", "x".repeat(0xc00)),
            ),
            413,
        ),
        (
            "a body that does not come",
            post("content-length: 100\r\n", "{"),
            408,
        ),
        (
            "a chunk that does not come",
            post("transfer-encoding: chunked\r\n", "5\r\n{"),
            408,
        ),
        (
            "a body that is no chunk",
            post("transfer-encoding: chunked\r\n", "zz\r\n"),
            400,
        ),
    ];
    for (what, request, status) in rows {
        let text = exchange(server.address(), request.as_bytes()).await;
        assert!(!text.is_empty(), "{what}: no answer");
        let answer = Answer::parse(&text);
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        answer.check();
        if status >= 400 {
            answer.error();
        }
        for secret in [
            "/root",
            "/home",
            "src/",
            ".rs",
            "panicked",
            "0123456789abcdef",
        ] {
            assert!(!text.contains(secret), "{what} tells {secret}: {text}");
        }
    }
    assert!(server.stop().await);
}

#[actix_web::test]
async fn who_is_too_slow_is_given_up() {
    let server = start("[limits]\nheader_timeout_ms = 250\nkeep_alive_ms = 1000\n");
    let address = server.address();
    let late = async |first: &[u8]| {
        let since = Instant::now();
        let text = exchange(address, first).await;
        assert!(since.elapsed() >= Duration::from_millis(240), "{text}");
        text
    };
    for first in [
        &b""[..],
        b"G",
        b"GET /livez HTTP/1.1\r\nhost: localhost\r\n",
    ] {
        let answer = Answer::parse(&late(first).await);
        assert_eq!(answer.status, 408);
        answer.check();
        answer.error();
    }
    // The second request of a connection has no more time than the first.
    let keep = "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let text = late(keep.as_bytes()).await;
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "idle: {text}");
    let mut socket = Socket::connect(address).await.unwrap();
    socket.write_all(keep.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    socket.write_all(b"GET /li").await.unwrap();
    let text = until_the_end(&mut socket).await;
    assert!(text.contains("HTTP/1.1 408"), "{text}");
    // A body that nobody reads, a chunk now and then.
    let mut socket = Socket::connect(address).await.unwrap();
    let head = keep.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let since = Instant::now();
    while socket.write_all(b"1\r\nx\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(since.elapsed() < Duration::from_secs(8), "it still listens");
    }
    assert!(server.stop().await);
}

#[actix_web::test]
async fn an_address_has_so_many_connections_and_all_have_so_many() {
    let server = start("[limits]\nconnections_per_ip = 4\nconnections_max = 16\n");
    let address = server.address();
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Socket::connect(address).await.unwrap());
    }
    let answer = Answer::parse(&exchange(address, get("/livez", "").as_bytes()).await);
    assert_eq!(answer.status, 429);
    answer.check();
    let error = answer.error();
    assert_eq!(error["code"], "CRYPTO_RATE_LIMIT_EXCEEDED");
    assert_eq!(error["details"]["current_usage"], 4);
    assert_eq!(error["details"]["rate_limit"], 4);
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(open);
    // Their places are free again.
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let text = exchange(address, get("/livez", "").as_bytes()).await;
        if text.starts_with("HTTP/1.1 200") {
            break;
        }
        assert!(Instant::now() < end, "{text}");
    }
    assert!(server.stop().await);

    let server = start("[limits]\nconnections_max = 16\n");
    let address = server.address();
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Socket::connect(address).await.unwrap());
    }
    let answer = Answer::parse(&exchange(address, b"").await);
    assert_eq!(answer.status, 503);
    answer.check();
    assert_eq!(answer.error()["details"]["rate_limit"], 16);
    drop(open);
    assert!(server.stop().await);
}

#[actix_web::test]
async fn a_proxy_speaks_for_its_clients_when_it_is_configured() {
    let ask = async |server: &ServerHandle, from: &str| {
        let request = get(
            "/api/data/providers",
            &format!("x-forwarded-for: {from}\r\n"),
        );
        let answer = Answer::parse(&exchange(server.address(), request.as_bytes()).await);
        answer.check();
        answer.status
    };
    let server = start("trusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nrequests_per_minute = 2\n");
    for from in [
        "192.0.2.1",
        "192.0.2.2",
        "6.6.6.6, 192.0.2.3",
        "7.7.7.7, 192.0.2.3",
    ] {
        assert_eq!(ask(&server, from).await, 200, "{from}");
    }
    assert_eq!(ask(&server, "192.0.2.1").await, 200);
    assert_eq!(ask(&server, "192.0.2.1").await, 429);
    assert_eq!(
        ask(&server, "192.0.2.3").await,
        429,
        "it can't choose its address"
    );
    assert!(server.stop().await);
    let server = start("[limits]\nrequests_per_minute = 2\n");
    assert_eq!(ask(&server, "192.0.2.1").await, 200);
    assert_eq!(ask(&server, "192.0.2.2").await, 200);
    assert_eq!(ask(&server, "192.0.2.3").await, 429, "nobody is believed");
    assert!(server.stop().await);
}

#[actix_web::test]
async fn a_page_may_read_when_its_origin_is_configured() {
    let server = start("cors_origins = [\"https://desk.example\"]\n");
    let ask = async |method: &str, origin: &str| {
        let request = get(
            "/api/trading/orders",
            &format!("origin: {origin}\r\naccess-control-request-method: POST\r\n"),
        );
        let request = request.replace("GET", method);
        let answer = Answer::parse(&exchange(server.address(), request.as_bytes()).await);
        answer.check();
        assert_eq!(answer.header("vary"), Some("origin"));
        answer
    };
    let desk = "https://desk.example";
    let preflight = ask("OPTIONS", desk).await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some(desk));
    let sent = preflight.header("access-control-allow-headers").unwrap();
    assert!(
        sent.contains("authorization") && sent.contains("x-signature"),
        "{sent}"
    );
    let methods = preflight.header("access-control-allow-methods").unwrap();
    assert!(methods.contains("delete"), "{methods}");
    let answer = ask("GET", desk).await;
    assert_eq!(answer.status, 401, "a page needs a key too");
    let read = answer.header("access-control-expose-headers").unwrap();
    assert!(read.contains("x-ratelimit-remaining"), "{read}");
    for (method, status) in [("OPTIONS", 405), ("GET", 401), ("POST", 403)] {
        let answer = ask(method, "https://evil.example").await;
        assert_eq!(answer.status, status, "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert!(server.stop().await);
}

/// Writes a certificate for 127.0.0.1 and its key; gives a client that trusts it alone.
fn certificate(folder: &Path) -> rustls::ClientConfig {
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let pem = |name: &str, der: &[u8]| {
        let text = data_encoding::BASE64.encode(der);
        format!("-----BEGIN {name}-----\n{text}\n-----END {name}-----\n")
    };
    let cert = pem("CERTIFICATE", made.cert.der());
    std::fs::write(folder.join("cert.pem"), cert).unwrap();
    let key = pem("PRIVATE KEY", &made.signing_key.serialize_der());
    std::fs::write(folder.join("key.pem"), key).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let builder = rustls::ClientConfig::builder();
    builder.with_root_certificates(roots).with_no_client_auth()
}

fn client(tls: &rustls::ClientConfig) -> reqwest::Client {
    let builder = reqwest::Client::builder().tls_backend_preconfigured(tls.clone());
    builder.build().unwrap()
}

#[actix_web::test]
async fn a_certificate_encrypts_everything_and_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let first = certificate(folder.path());
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    let more = format!("tls_certificate_file = {cert:?}\ntls_key_file = {key:?}\n");
    let server = start(&more);
    let address = server.address();
    let url = format!("https://{address}/api/data/providers");
    let old = client(&first);
    let answer = old.get(&url).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.version(), reqwest::Version::HTTP_11);
    assert_eq!(
        answer.headers()["strict-transport-security"],
        "max-age=31536000"
    );
    answer.text().await.unwrap();

    // WebSocket, too.
    let connector = tokio_tungstenite::Connector::Rustls(Arc::new(first.clone()));
    let ws = format!("wss://{address}/ws");
    let connect =
        tokio_tungstenite::connect_async_tls_with_config(ws, None, false, Some(connector));
    let (mut socket, answer) = connect.await.unwrap();
    assert!(answer.headers().contains_key("x-ratelimit-limit"));
    let ping = tokio_tungstenite::tungstenite::Message::text(r#"{"id":1,"method":"ping"}"#);
    futures_util::SinkExt::send(&mut socket, ping.clone())
        .await
        .unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert!(pong.to_text().unwrap().contains("pong"), "{pong}");

    // Who does not encrypt is told.
    let plain = exchange(address, get("/livez", "").as_bytes()).await;
    let plain = Answer::parse(&plain);
    assert_eq!(plain.status, 400);
    plain.check();
    assert!(plain.error()["message"].as_str().unwrap().contains("https"));

    // Half of a new pair changes nothing.
    let before = std::fs::read(&key).unwrap();
    let second = certificate(folder.path());
    let after = std::fs::read(&key).unwrap();
    std::fs::write(&key, before).unwrap();
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert!(client(&second).get(&url).send().await.is_err());
    assert!(client(&first).get(&url).send().await.is_ok());
    // The whole of it is taken, and connections that are open live on.
    std::fs::write(&key, [&after[..], b"\n"].concat()).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while client(&second).get(&url).send().await.is_err() {
        assert!(Instant::now() < end, "the new certificate is not taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(client(&first).get(&url).send().await.is_err());
    assert!(
        old.get(&url).send().await.is_ok(),
        "a connection that was open"
    );
    futures_util::SinkExt::send(&mut socket, ping)
        .await
        .unwrap();
    assert!(socket.next().await.unwrap().is_ok());
    drop(socket);
    drop(old);
    assert!(server.stop().await);
}

#[test]
fn what_is_wrong_with_the_files_is_told_without_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    certificate(folder.path());
    std::fs::rename(path("cert.pem"), path("other.pem")).unwrap();
    certificate(folder.path());
    std::fs::write(path("empty.pem"), "").unwrap();
    std::fs::write(path("text.pem"), "canary").unwrap();
    let cut = "-----BEGIN PRIVATE KEY-----\ncanary\n";
    std::fs::write(path("cut.pem"), cut).unwrap();
    let bad = "-----BEGIN CERTIFICATE-----\ncanary!\n-----END CERTIFICATE-----\n";
    std::fs::write(path("bad.pem"), bad).unwrap();
    let junk = "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n";
    std::fs::write(path("junk.pem"), junk).unwrap();
    let load = |certificate: &str, key: &str| {
        let (certificate, key) = (path(certificate), path(key));
        TlsFiles { certificate, key }.load()
    };
    assert!(load("cert.pem", "key.pem").is_ok());
    for (certificate, key, wrong, says) in [
        (
            "none.pem",
            "key.pem",
            "tls_certificate_file",
            "No such file",
        ),
        ("cert.pem", "none.pem", "tls_key_file", "No such file"),
        (".", "key.pem", "tls_certificate_file", "no PEM file"),
        (
            "empty.pem",
            "key.pem",
            "tls_certificate_file",
            "no certificate in it",
        ),
        (
            "text.pem",
            "key.pem",
            "tls_certificate_file",
            "no certificate in it",
        ),
        (
            "key.pem",
            "key.pem",
            "tls_certificate_file",
            "no certificate in it",
        ),
        (
            "bad.pem",
            "key.pem",
            "tls_certificate_file",
            "not valid PEM",
        ),
        ("junk.pem", "key.pem", "tls_certificate_file", "certificate"),
        (
            "cert.pem",
            "cert.pem",
            "tls_key_file",
            "no private key in it",
        ),
        ("cert.pem", "cut.pem", "tls_key_file", "not valid PEM"),
        (
            "other.pem",
            "key.pem",
            "tls_key_file",
            "not that of the certificate",
        ),
    ] {
        let error = load(certificate, key).unwrap_err();
        assert!(
            error.contains(wrong) && error.contains(says),
            "{certificate} {key}: {error}"
        );
        assert!(!error.contains("canary"), "{error}");
    }
}
