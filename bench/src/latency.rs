//! `tick-to-client`: a trade leaves an exchange's socket, a client's socket receives it.
//!
//! Open loop: message `i` is due at `start + i / rate`, and latency counts from then, so that a
//! stall is charged to every message it delays. The source spins on one thread of this process; the
//! client blocks on another; what is measured runs in a process of its own: `bookwire serve` in one
//! run, a relay that copies bytes from one socket to the other in the next. The relay is the floor:
//! nothing that sits between two sockets on this machine can be faster than it by sleeping.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use crate::report::Report;

/// What a run sends.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Messages a second.
    pub rate: u64,
    /// Measured seconds.
    pub seconds: u64,
    /// Seconds before them that are not counted.
    pub warm_up: u64,
}

impl Load {
    fn messages(self) -> u64 {
        self.rate * (self.seconds + self.warm_up)
    }

    fn is_measured(self, index: u64) -> bool {
        index >= self.rate * self.warm_up
    }

    fn due(self, start: Instant, index: u64) -> Instant {
        start + Duration::from_nanos(index * 1_000_000_000 / self.rate)
    }
}

/// Runs the scenario: relay, bookwire, and both again, so that drift shows.
pub fn run(load: Load, out: &Path) -> Result<Report> {
    let mut report = Report::new(
        "tick-to-client",
        "open loop, latency from when a trade was due; source and client in this process, the \
         measured one in its own; two runs each, the better median kept; lower is better",
    );
    let mut best: [Option<Histogram<u64>>; 2] = [None, None];
    for _ in 0..2 {
        for (index, histogram) in [run_bookwire(load)?, run_relay(load)?]
            .into_iter()
            .enumerate()
        {
            let better = best[index]
                .as_ref()
                .is_none_or(|kept| histogram.value_at_quantile(0.5) < kept.value_at_quantile(0.5));
            if better {
                best[index] = Some(histogram);
            }
        }
    }
    let names = ["bookwire", "floor: raw TCP relay"];
    for (unit, quantile) in [
        ("µs p50", 0.5),
        ("µs p90", 0.9),
        ("µs p99", 0.99),
        ("µs p99.9", 0.999),
        ("µs max", 1.0),
    ] {
        let figures = names
            .iter()
            .zip(&best)
            .filter_map(|(name, kept)| {
                let value = kept.as_ref()?.value_at_quantile(quantile) as f64 / 1000.0;
                Some(((*name).to_owned(), value))
            })
            .collect();
        report.add(&format!("trade at {}/s", load.rate), unit, figures);
    }
    for (name, kept) in ["bookwire", "relay"].iter().zip(&best) {
        if let Some(histogram) = kept {
            write_percentiles(&out.join(format!("tick-to-client.{name}.hgrm")), histogram)?;
        }
    }
    Ok(report)
}

/// The percentile distribution as text that HdrHistogram's plotters read; values in microseconds.
fn write_percentiles(path: &Path, histogram: &Histogram<u64>) -> Result<()> {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    for value in histogram.iter_quantiles(5) {
        let quantile = value.quantile();
        text.push_str(&format!(
            "{:12.3} {:14.12} {:10} {:14.2}\n",
            value.value_iterated_to() as f64 / 1000.0,
            quantile,
            histogram.count_between(0, value.value_iterated_to()),
            1.0 / (1.0 - quantile)
        ));
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn trade_frame(id: u64) -> String {
    format!(
        "{{\"stream\":\"btcusdt@trade\",\"data\":{{\"e\":\"trade\",\"E\":1700000000000,\
         \"s\":\"BTCUSDT\",\"t\":{id},\"p\":\"61837.63000000\",\"q\":\"0.02000000\",\
         \"T\":1700000000000,\"m\":true,\"M\":true}}}}"
    )
}

/// Waits for an instant without sleeping: a sleep's own lateness is larger than what is measured.
fn spin_until(due: Instant) {
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

fn record(histogram: &mut Histogram<u64>, load: Load, start: Instant, index: u64) -> Result<()> {
    if load.is_measured(index) {
        let late = Instant::now().saturating_duration_since(load.due(start, index));
        histogram.record(u64::try_from(late.as_nanos())?)?;
    }
    Ok(())
}

/// Stops a child process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run_relay(load: Load) -> Result<Histogram<u64>> {
    let source = TcpListener::bind("127.0.0.1:0")?;
    let sink = TcpListener::bind("127.0.0.1:0")?;
    let _relay = Running(
        Command::new(std::env::current_exe()?)
            .args([
                "relay",
                &source.local_addr()?.to_string(),
                &sink.local_addr()?.to_string(),
            ])
            .spawn()?,
    );
    let (mut from, _) = source.accept()?;
    let (mut to, _) = sink.accept()?;
    from.set_nodelay(true)?;
    // The same number of bytes as the trade's frame, the message's number in front.
    let size = trade_frame(1).len();
    let start = Instant::now() + Duration::from_millis(200);
    let client = thread::spawn(move || -> Result<Histogram<u64>> {
        let mut histogram = Histogram::new(3)?;
        let mut buffer = vec![0u8; size];
        for index in 0..load.messages() {
            to.read_exact(&mut buffer)?;
            record(&mut histogram, load, start, index)?;
        }
        Ok(histogram)
    });
    let frame = vec![b'x'; size];
    for index in 0..load.messages() {
        spin_until(load.due(start, index));
        from.write_all(&frame)?;
    }
    client.join().map_err(|_| anyhow!("the client panicked"))?
}

fn run_bookwire(load: Load) -> Result<Histogram<u64>> {
    let rest = TcpListener::bind("127.0.0.1:0")?;
    let stream = TcpListener::bind("127.0.0.1:0")?;
    let api = free_address()?;
    let folder = std::env::temp_dir().join(format!("bookwire-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let config = folder.join("bench.toml");
    std::fs::write(
        &config,
        format!(
            "[server]\nlisten = \"{api}\"\nworkers = 1\ndata_dir = {:?}\n\n[engine]\nshards = 1\n\n\
             [providers.binance]\nmarkets = [\"spot\"]\nsymbols = []\n\n\
             [providers.binance.hosts]\n\"api.binance.com\" = \"http://{}\"\n\
             \"stream.binance.com:9443\" = \"ws://{}\"\n",
            folder,
            rest.local_addr()?,
            stream.local_addr()?
        ),
    )?;
    thread::spawn(move || serve_rest(&rest));
    let _bookwire = Running(
        Command::new(std::env::current_exe()?)
            .arg("bookwire")
            .args(["serve", "--quiet", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()?,
    );
    let (ready, is_subscribed) = mpsc::channel();
    let (go, started) = mpsc::channel::<Instant>();
    let source = thread::spawn(move || serve_stream(&stream, &ready, &started, load));
    let mut client = connect_client(api)?;
    client.send(Message::text(
        r#"{"id":1,"method":"subscribe","params":{"stream":"crypto.trades","provider":"binance","symbols":["btcusdt"]}}"#,
    ))?;
    is_subscribed
        .recv_timeout(Duration::from_secs(30))
        .context("bookwire did not subscribe to the trades upstream")?;
    let start = Instant::now() + Duration::from_millis(500);
    go.send(start)?;
    let mut histogram = Histogram::new(3)?;
    let mut index = 0;
    while index < load.messages() {
        let Message::Text(text) = client.read()? else {
            continue;
        };
        let Some(at) = text.find("\"trade_id\":") else {
            // Anything told about lost messages would make the figure meaningless.
            ensure!(
                !text.contains("system.flow"),
                "messages were dropped: {text}"
            );
            continue;
        };
        let digits = text[at + 11..].trim_start_matches('"');
        let end = digits
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(digits.len());
        let id: u64 = digits[..end].parse()?;
        ensure!(
            id == index + 1,
            "trade {id} arrived where {} was due",
            index + 1
        );
        record(&mut histogram, load, start, index)?;
        index += 1;
    }
    source
        .join()
        .map_err(|_| anyhow!("the source panicked"))??;
    let _ = std::fs::remove_dir_all(&folder);
    Ok(histogram)
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn connect_client(api: SocketAddr) -> Result<WebSocket<TcpStream>> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(socket) = TcpStream::connect(api) {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(Duration::from_secs(30)))?;
            let url = format!("ws://{api}/ws");
            if let Ok((client, _)) = tungstenite::client(url, socket) {
                return Ok(client);
            }
        }
        ensure!(
            Instant::now() < end,
            "bookwire did not listen on {api} within 20 s"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

const EXCHANGE_INFO: &str = r#"{"timezone":"UTC","serverTime":1700000000000,"rateLimits":[],"exchangeFilters":[],"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,"orderTypes":["LIMIT","MARKET"],"icebergAllowed":true,"ocoAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"},{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5}],"permissions":[],"permissionSets":[["SPOT"]]}]}"#;

/// Just enough of the exchange's REST interface: one answer a connection.
fn serve_rest(listener: &TcpListener) {
    for socket in listener.incoming().flatten() {
        thread::spawn(move || {
            let mut socket = socket;
            let mut buffer = [0u8; 8192];
            let read = socket.read(&mut buffer).unwrap_or(0);
            let request = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let path = request.split(' ').nth(1).unwrap_or("");
            let body = if path.contains("exchangeInfo") {
                EXCHANGE_INFO
            } else if path.contains("/time") {
                r#"{"serverTime":1700000000000}"#
            } else {
                "[]"
            };
            let _ = write!(
                socket,
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
        });
    }
}

/// The exchange's stream: acknowledges requests, tells when trades are subscribed, then sends them.
fn serve_stream(
    listener: &TcpListener,
    ready: &mpsc::Sender<()>,
    started: &mpsc::Receiver<Instant>,
    load: Load,
) -> Result<()> {
    let (socket, _) = listener.accept()?;
    socket.set_nodelay(true)?;
    let mut stream = tungstenite::accept(socket).map_err(|error| anyhow!("{error}"))?;
    stream.get_ref().set_nonblocking(true)?;
    let mut index = 0;
    let mut start = None;
    while index < load.messages() {
        // Requests come only at the start; later the socket is looked at now and then.
        if start.is_none() || index % 1000 == 0 {
            match stream.read() {
                Ok(Message::Text(text)) => {
                    let request: serde_json::Value = serde_json::from_str(&text)?;
                    let answer = format!("{{\"result\":null,\"id\":{}}}", request["id"]);
                    stream.send(Message::text(answer))?;
                    if text.contains("btcusdt@trade") {
                        ready.send(())?;
                    }
                }
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
        }
        match start {
            None => {
                start = started.try_recv().ok();
                thread::sleep(Duration::from_millis(1));
            }
            Some(start) => {
                spin_until(load.due(start, index));
                stream.send(Message::text(trade_frame(index + 1)))?;
                index += 1;
            }
        }
    }
    // The client may still be reading; the socket closes when bookwire is stopped.
    thread::sleep(Duration::from_millis(500));
    Ok(())
}
