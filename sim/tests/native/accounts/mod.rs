//! Trading at the simulated exchanges other than Binance, seen by a client that knows their
//! documents alone: life cycles of orders, error codes, private streams, faults.

mod bybit;
mod coinbase;
mod okx;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bookwire_sim::Sim;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::PATIENCE;

/// HMAC-SHA256.
fn tag(secret: &str, payload: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(payload.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Sends a request on a connection of its own: the status and the body of its answer, or `None`
/// where the connection ended without one.
async fn send(
    sim: &Sim,
    host: &str,
    (method, target, body): (&str, &str, &str),
    headers: &[(String, String)],
) -> Option<(u16, String)> {
    let url = sim.url(host).unwrap();
    let address = url.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    // A connection that is cut may end with an error.
    let read = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut text)).await;
    let _ = read.expect("an answer in time");
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Some((status, body.to_owned()))
}

/// Clients sign with their own time: the exchanges' clocks must not lag by the time that it took to
/// make the markets.
#[tokio::test]
async fn clocks_tell_real_time() {
    let now_ms = || -> i64 {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
        since.as_millis().try_into().unwrap()
    };
    let sim = crate::support::plain_sim().await;
    for (host, target, pointer) in [
        ("api.binance.com", "/api/v3/time", "/serverTime"),
        ("www.okx.com", "/api/v5/public/time", "/data/0/ts"),
        ("api.bybit.com", "/v5/market/time", "/time"),
        ("api.coinbase.com", "/api/v3/brokerage/time", "/epochMillis"),
    ] {
        let before = now_ms();
        let body = crate::support::get_json(&sim, host, target).await;
        let after = now_ms();
        let told = body.pointer(pointer).unwrap();
        let told: i64 = told.to_string().trim_matches('"').parse().unwrap();
        // The two clocks are read to the millisecond, and not at one moment.
        let span = before - 5..=after + 5;
        assert!(span.contains(&told), "{host}: {told} is not in {span:?}");
    }
    sim.shutdown().await;
}
