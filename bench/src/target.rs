//! `target`: a bookwire that runs elsewhere, seen by clients of its feed.
//!
//! The time from its socket read to its socket write is told by itself (`timing`), on its own clock.
//! The rest of the way is measured where clock and clients are on the same machine, and said not to
//! be elsewhere: two machines' clocks differ by more than what is measured.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::crowd::joined;
use crate::histogram::Curve;
use crate::report::Report;
use crate::ws::{self, Frames};

/// What is asked of it.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws://host:port/ws`.
    pub url: String,
    /// Public name of the provider.
    pub provider: String,
    /// Symbols, in any spelling that it takes.
    pub symbols: Vec<String>,
    /// `crypto.trades`, `crypto.orderbook`, …
    pub stream: String,
    /// Clients, each with all symbols.
    pub clients: usize,
    /// Measured seconds.
    pub seconds: u64,
}

/// What one client saw.
#[derive(Default)]
struct Seen {
    messages: u64,
    bytes: u64,
    missing: u64,
    told: u64,
    statuses: u64,
    untimed: u64,
    inside: Vec<u64>,
    outside: Vec<u64>,
}

#[derive(Deserialize)]
struct Message<'a> {
    stream: Option<&'a str>,
    symbol: Option<String>,
    seq: Option<u64>,
    data: Option<Data>,
    status: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    received_ns: Option<u64>,
    sent_ns: Option<u64>,
    dropped: Option<u64>,
}

/// Address and path of a URL.
///
/// # Errors
/// When it is not `ws://host:port/path`, or nobody has that name.
pub fn address(url: &str) -> Result<(SocketAddr, String)> {
    let accepted = "accepted: ws://host:port/ws";
    let Some(rest) = url.strip_prefix("ws://") else {
        bail!("--target has the value `{url}`; {accepted}");
    };
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, "/ws".to_owned()),
    };
    let found = host.to_socket_addrs();
    let mut found = found.with_context(|| format!("--target has the value `{url}`; {accepted}"))?;
    let address = found
        .next()
        .with_context(|| format!("{host} has no address"))?;
    Ok((address, path))
}

/// Runs the scenario.
///
/// # Errors
/// When it does not answer, refuses the subscription, or sends nothing.
pub fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new(
        "target",
        "a bookwire that runs elsewhere, at the rate that its market has; inside: from its socket \
         read to its socket write, by its own clock",
    );
    report.condition("target", &options.url);
    report.condition("provider", &options.provider);
    report.condition("symbols", options.symbols.join(", "));
    report.condition("stream", &options.stream);
    report.condition("clients", options.clients);
    report.condition("seconds", options.seconds);
    report.not_measured("a floor", "the market's messages come when they come");
    let (address, path) = address(&options.url)?;
    let mut sockets = Vec::new();
    for _ in 0..options.clients.max(1) {
        let mut socket = ws::connect(address, &path)?;
        let params = json!({
            "stream": options.stream,
            "provider": options.provider,
            "symbols": options.symbols,
            "timing": true,
        });
        let request = json!({"id": 1, "method": "subscribe", "params": params});
        ws::send_text(&mut socket, &request.to_string())?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        sockets.push(socket);
    }
    let first = sockets.first().context("no client")?;
    let is_here = address.ip().is_loopback() || first.local_addr()?.ip() == address.ip();
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let threads: Vec<_> = sockets
        .into_iter()
        .map(|socket| thread::spawn(move || watch(socket, end, is_here)))
        .collect();
    let mut inside = Curve::new("inside bookwire")?;
    let mut outside = Curve::new("from its socket to the client")?;
    let mut all = Seen::default();
    for thread in threads {
        let seen = joined(thread)?;
        for (curve, values) in [(&mut inside, &seen.inside), (&mut outside, &seen.outside)] {
            for value in values {
                curve.histogram.record(*value)?;
            }
        }
        all.messages += seen.messages;
        all.bytes += seen.bytes;
        all.missing += seen.missing;
        all.told += seen.told;
        all.statuses += seen.statuses;
        all.untimed += seen.untimed;
    }
    ensure!(
        all.messages > 0,
        "not one message came in {} s",
        options.seconds
    );
    let seconds = options.seconds as f64;
    let subject = format!("{} of {}", options.stream, options.provider);
    for (name, unit, value) in [
        ("messages", "msg/s", all.messages as f64 / seconds),
        ("bytes", "KiB/s", all.bytes as f64 / seconds / 1024.0),
        ("missing by their numbers", "msg", all.missing as f64),
        ("of those told by system.flow", "msg", all.told as f64),
        ("states told by system.status", "msg", all.statuses as f64),
    ] {
        report.figure(&subject, name, unit, value);
    }
    if all.untimed > 0 {
        let why = format!("{} of {} messages have no times", all.untimed, all.messages);
        report.not_measured("their latency", &why);
    }
    let mut curves = Vec::new();
    if !inside.histogram.is_empty() {
        curves.push(inside);
    }
    if is_here {
        report.condition("clocks", "one: target and clients are on the same machine");
        curves.push(outside);
    } else {
        let why = "the target is on another machine, whose clock differs from this one";
        report.not_measured("latency from its socket to the client", why);
    }
    curves.retain(|curve| !curve.histogram.is_empty());
    if !curves.is_empty() {
        report.latencies(&subject, curves);
        // Two parts of one way, not two contenders.
        report.rows.iter_mut().for_each(|row| row.ratio = None);
    }
    Ok(report)
}

fn now_ns() -> Result<u64> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_nanos())?)
}

fn watch(mut socket: TcpStream, end: Instant, is_here: bool) -> Result<Seen> {
    let mut frames = Frames::default();
    let mut seen = Seen::default();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    while Instant::now() < end {
        match socket.read(frames.room()) {
            Ok(0) => bail!("the target closed the connection"),
            Ok(read) => frames.filled(read),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(error) => return Err(error.into()),
        }
        let now = now_ns()?;
        while let Some((opcode, payload)) = frames.next_frame()? {
            match opcode {
                ws::TEXT => take(payload, now, is_here, &mut last, &mut seen)?,
                ws::PING => {
                    let mut pong = Vec::new();
                    ws::push_masked(&mut pong, ws::PONG, payload);
                    std::io::Write::write_all(&mut socket, &pong)?;
                }
                ws::CLOSE => bail!(
                    "the target closed the connection: {}",
                    String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
                ),
                _ => {}
            }
        }
    }
    Ok(seen)
}

fn take(
    payload: &[u8],
    now: u64,
    is_here: bool,
    last: &mut BTreeMap<String, u64>,
    seen: &mut Seen,
) -> Result<()> {
    let text = || String::from_utf8_lossy(payload).into_owned();
    let message: Message<'_> = serde_json::from_slice(payload).with_context(text)?;
    let Some(stream) = message.stream else {
        let is_good = message.status.as_deref() == Some("subscribed");
        ensure!(is_good, "not subscribed: {}", text());
        let answer: Value = serde_json::from_slice(payload)?;
        let is_whole = answer["rejected"].as_array().is_none_or(Vec::is_empty);
        ensure!(is_whole, "partly refused: {answer}");
        return Ok(());
    };
    let data = message.data.with_context(text)?;
    match stream {
        "system.flow" => seen.told += data.dropped.unwrap_or(0),
        "system.status" => seen.statuses += 1,
        _ => {
            let symbol = message.symbol.with_context(text)?;
            let seq = message.seq.with_context(text)?;
            let before = last.insert(symbol, seq);
            let gap = seq.checked_sub(before.unwrap_or(seq - 1) + 1);
            seen.missing += gap.with_context(|| format!("out of order: {}", text()))?;
            seen.messages += 1;
            seen.bytes += payload.len() as u64;
            let (Some(received), Some(sent)) = (data.received_ns, data.sent_ns) else {
                seen.untimed += 1;
                return Ok(());
            };
            seen.inside.push(sent.saturating_sub(received));
            if is_here {
                seen.outside.push(now.saturating_sub(sent));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_or_refused() {
        let good = [
            ("ws://127.0.0.1:8080/ws", "127.0.0.1:8080", "/ws"),
            ("ws://127.0.0.1:1", "127.0.0.1:1", "/ws"),
            ("ws://[::1]:9/feed/x", "[::1]:9", "/feed/x"),
        ];
        for (url, at, path) in good {
            let found = address(url).unwrap();
            assert_eq!((found.0.to_string().as_str(), found.1.as_str()), (at, path));
        }
        for url in [
            "wss://127.0.0.1:1/ws",
            "127.0.0.1:8080",
            "ws://127.0.0.1/ws",
            "",
        ] {
            let error = format!("{:#}", address(url).unwrap_err());
            assert!(
                error.contains("--target") && error.contains("ws://host:port/ws"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_is_missing_and_what_is_told_are_counted() {
        let mut seen = Seen::default();
        let mut last = BTreeMap::new();
        let trade = |seq: u64| {
            format!(
                "{{\"stream\":\"crypto.trades\",\"provider\":\"binance\",\"symbol\":\"btcusdt\",\
                 \"seq\":{seq},\"data\":{{\"received_ns\":1000,\"sent_ns\":4000}}}}"
            )
        };
        let flow = r#"{"stream":"system.flow","data":{"stream":"crypto.trades","symbol":"btcusdt","dropped":3,"from_seq":6,"to_seq":8,"policy":"oldest"}}"#;
        let answer = r#"{"id":1,"method":"subscribe","status":"subscribed","subscriptions":[],"rejected":[]}"#;
        let texts = [
            answer.to_owned(),
            trade(4),
            trade(5),
            flow.to_owned(),
            trade(9),
        ];
        for text in &texts {
            take(text.as_bytes(), 9_000, true, &mut last, &mut seen).unwrap();
        }
        assert_eq!((seen.messages, seen.missing, seen.told), (3, 3, 3));
        assert_eq!(seen.inside, [3_000; 3]);
        assert_eq!(seen.outside, [5_000; 3]);
        for bad in [trade(9), answer.replace("subscribed", "error")] {
            let taken = take(bad.as_bytes(), 0, true, &mut last, &mut seen);
            assert!(taken.is_err(), "{bad}");
        }
    }
}
