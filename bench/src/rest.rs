//! `rest`: a thousand bars as JSON. Requests a second over 16 connections, next to structs in memory
//! with the same web framework and serde_json; and the latency on one connection, from when a request
//! was due.
//!
//! The bars come from the exchange once, by the gateway's own way to fetch what it lacks, and from
//! its embedded store from then on: the same range again and again, which is given again as it was, and
//! one range after the other, more than are kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::crowd::joined;
use crate::fake::{Fake, wait_until};
use crate::floor::Floor;
use crate::gateway::{Gateway, Program, free_address};
use crate::histogram::Curve;
use crate::report::Report;
use crate::zvt::Zvt;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds of each measurement.
    pub seconds: f64,
    /// Connections at once.
    pub connections: usize,
    /// Requests a second on one connection, where latency is measured.
    pub rate: u64,
    /// An interpreter that has ZVT.
    pub python: Option<PathBuf>,
}

/// Requests a second on one connection beside ZVT, which takes no more without falling behind.
const ZVT_RATE: u64 = 4;
/// Bars of an answer.
const BARS: usize = 1_000;
/// Ranges that are asked for one after the other: more bytes than `store.answer_cache_bytes`.
const RANGES: i64 = 64;
/// A day and a bit of 2024 in minutes: a range that is closed, so that all of it can be stored.
const RANGE: &str = "start_timestamp=2024-08-01T00:00:00Z&end_timestamp=2024-08-01T16:39:00Z";

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, or an answer is not what it has to be.
pub fn run(options: &Options, program: &Program) -> Result<Report> {
    let mut report = Report::new(
        "rest",
        "requests a second: closed loop, a thread of this process for each connection; latency: \
         open loop on one connection, from when a request was due; an answer has to have the length \
         that it had before",
    );
    report.condition("seconds of each measurement", options.seconds);
    report.condition("connections", options.connections);
    report.condition("rate on one connection", format!("{}/s", options.rate));
    report.condition("warm-up", "10 requests on each connection, each range once");
    report.condition("other ranges", RANGES);
    let fake = Fake::start(b"{}")?;
    let mut gateway = Gateway::start(program, "", &fake.config(&[]))?;
    gateway.wait("binance")?;
    let path =
        format!("/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt&{RANGE}&limit={BARS}");
    // The first answer comes from the exchange, as soon as the instruments are known.
    let end = Instant::now() + Duration::from_secs(30);
    let first = loop {
        match gateway.get_json(&path) {
            Ok(first) => break first,
            Err(error) => ensure!(Instant::now() < end, "{error:#}\n{}", gateway.log()),
        }
        thread::sleep(Duration::from_millis(100));
    };
    same_bars(&first)?;
    let base = "/api/data/CryptoPair1mKdata?provider=binance&codes=btcusdt";
    let others: Vec<String> = (1..=RANGES)
        .map(|minutes| {
            let start = 1_722_470_400 + minutes * 60;
            let end = start + 999 * 60;
            format!("{base}&start_timestamp={start}&end_timestamp={end}&limit={BARS}")
        })
        .collect();
    let at = free_address()?;
    let bars = BARS.to_string();
    let _floor = Floor::start(&["rest", &at.to_string(), &bars])?;
    let sides = [
        (
            "bookwire, the same bars again",
            gateway.api(),
            std::slice::from_ref(&path),
        ),
        ("bookwire, others each time", gateway.api(), &others),
        (
            "floor: actix-web, serde_json, structs in memory",
            at,
            std::slice::from_ref(&path),
        ),
    ];
    let mut figures = Vec::new();
    let mut curves = Vec::new();
    let mut sizes = Vec::new();
    for (name, address, paths) in sides {
        let (rate, size) = many(address, paths, options)?;
        figures.push((name.to_owned(), rate));
        sizes.push(size);
        curves.push(one(name, address, paths, options.rate, options)?);
    }
    let subject = format!("{BARS} bars, {} connections", options.connections);
    report.add(&subject, "requests/s", figures);
    for ((name, ..), size) in sides.iter().zip(&sizes) {
        report.figure(&subject, name, "bytes", *size as f64);
    }
    report.latencies(&format!("{BARS} bars, one connection"), curves);
    match &options.python {
        None => report.not_measured("zvt", "no --python with an interpreter that has it"),
        Some(python) => match Zvt::start(python, &first["data"]) {
            Ok(zvt) => beside_zvt(&mut report, &zvt, &gateway, &path, options)?,
            Err(error) => report.not_measured("zvt", &format!("{error:#}")),
        },
    }
    Ok(report)
}

/// The same rows from ZVT's own server: as it answers for itself, a hundred rows a request, and as
/// many as bookwire gives.
fn beside_zvt(
    report: &mut Report,
    zvt: &Zvt,
    gateway: &Gateway,
    path: &str,
    options: &Options,
) -> Result<()> {
    let hundred = "/api/data/query_data?provider=binance&schema=CryptoPair1mKdata";
    let ours = format!("{hundred}&codes=btcusdt&start_timestamp=2024-08-01T00:00:00Z");
    let cases = [
        (format!("{BARS} bars beside ZVT"), path, "/bars"),
        ("100 bars by query_data".to_owned(), &*ours, hundred),
    ];
    for (subject, ours, theirs) in cases {
        let mut figures = Vec::new();
        let mut curves = Vec::new();
        for (name, address, path) in [
            ("bookwire", gateway.api(), ours),
            (&*zvt.name, zvt.at, theirs),
        ] {
            let path = [path.to_owned()];
            figures.push((name.to_owned(), many(address, &path, options)?.0));
            let rate = options.rate.min(ZVT_RATE);
            curves.push(one(name, address, &path, rate, options)?);
        }
        let subject = format!("{subject}, {} connections", options.connections);
        report.add(&subject, "requests/s", figures);
        report.latencies(
            &format!("{subject}, {ZVT_RATE}/s on one connection"),
            curves,
        );
    }
    Ok(())
}

fn same_bars(answer: &Value) -> Result<()> {
    let rows = answer["data"]
        .as_array()
        .context("an answer without rows")?;
    ensure!(
        rows.len() == BARS,
        "{} bars came, {BARS} were due",
        rows.len()
    );
    let first = &rows[0]["timestamp"];
    ensure!(
        first == "2024-08-01T00:00:00Z",
        "the first bar is of {first}"
    );
    Ok(())
}

/// A connection that is kept.
struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
    /// What is asked, one after the other, and how large its answer was.
    requests: Vec<(Vec<u8>, Option<usize>)>,
    at: usize,
}

impl Connection {
    fn open(address: SocketAddr, paths: &[String]) -> Result<Self> {
        let end = Instant::now() + Duration::from_secs(10);
        let socket = loop {
            match TcpStream::connect(address) {
                Ok(socket) => break socket,
                Err(error) => ensure!(Instant::now() < end, "connect {address}: {error}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            socket,
            buffer: vec![0; 64 << 10],
            requests: paths
                .iter()
                .map(|path| {
                    let text = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
                    (text.into_bytes(), None)
                })
                .collect(),
            at: 0,
        })
    }

    /// Asks the next question. Bytes of its answer, which has to be as large as before.
    fn ask(&mut self) -> Result<usize> {
        let index = self.at % self.requests.len();
        self.at += 1;
        let size = self.answer(index)?;
        let known = self.requests[index].1.get_or_insert(size);
        ensure!(*known == size, "two answers differ");
        Ok(size)
    }

    /// Asks and reads the whole answer. Bytes of its body.
    fn answer(&mut self, index: usize) -> Result<usize> {
        self.socket.write_all(&self.requests[index].0)?;
        let mut filled = 0;
        let (head, size) = loop {
            ensure!(filled < self.buffer.len(), "a head without an end");
            let read = self.socket.read(&mut self.buffer[filled..])?;
            ensure!(read > 0, "the connection was closed");
            filled += read;
            let end = self.buffer[..filled]
                .windows(4)
                .position(|at| at == b"\r\n\r\n");
            if let Some(end) = end {
                let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
                ensure!(head.starts_with("http/1.1 200"), "{head}");
                let size = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length:"));
                break (
                    end + 4,
                    size.context("no content-length")?.trim().parse::<usize>()?,
                );
            }
        };
        let mut left = (head + size).saturating_sub(filled);
        while left > 0 {
            let most = left.min(self.buffer.len());
            let read = self.socket.read(&mut self.buffer[..most])?;
            ensure!(read > 0, "the answer broke off");
            left -= read;
        }
        Ok(size)
    }

    /// Asks everything, ten times at least. The size of the first answer.
    fn warm_up(&mut self) -> Result<usize> {
        let size = self.ask()?;
        for _ in 1..self.requests.len().max(10) {
            self.ask()?;
        }
        Ok(size)
    }
}

/// Requests a second over all connections, and the size of an answer.
fn many(address: SocketAddr, paths: &[String], options: &Options) -> Result<(f64, usize)> {
    let size = Connection::open(address, paths)?.warm_up()?;
    let stop = Arc::new(AtomicBool::new(false));
    let (warm, answers) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
    let mut threads = Vec::new();
    for _ in 0..options.connections {
        let (stop, warm, answers) = (stop.clone(), warm.clone(), answers.clone());
        let mut connection = Connection::open(address, paths)?;
        threads.push(thread::spawn(move || -> Result<()> {
            connection.warm_up()?;
            warm.fetch_add(1, Ordering::Relaxed);
            while !stop.load(Ordering::Relaxed) {
                connection.ask()?;
                answers.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        }));
    }
    let all_warm = wait_until(Duration::from_secs(60), || {
        let is_broken = threads.iter().any(thread::JoinHandle::is_finished);
        Ok(is_broken || warm.load(Ordering::Relaxed) == options.connections)
    });
    let (start, before) = (Instant::now(), answers.load(Ordering::Relaxed));
    if all_warm.is_ok() {
        thread::sleep(Duration::from_secs_f64(options.seconds));
    }
    let count = answers.load(Ordering::Relaxed) - before;
    let seconds = start.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        joined(thread)?;
    }
    all_warm.context("not all connections were answered")?;
    Ok((count as f64 / seconds, size))
}

/// Latencies on one connection, from when a request was due.
fn one(
    name: &str,
    address: SocketAddr,
    paths: &[String],
    rate: u64,
    options: &Options,
) -> Result<Curve> {
    let mut connection = Connection::open(address, paths)?;
    connection.warm_up()?;
    let mut curve = Curve::new(name)?;
    let start = Instant::now();
    for index in 0..(rate as f64 * options.seconds).ceil() as u64 {
        let due = start + Duration::from_nanos(index * 1_000_000_000 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        connection.ask()?;
        curve.arrived(due)?;
    }
    curve.took = start.elapsed();
    Ok(curve)
}
