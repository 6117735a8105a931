//! `soak`: does anything grow over time? Simulators of four exchanges, symbols of all of them, clients that
//! take trades, books and tickers; a user who each second trades on paper, asks over REST, connects,
//! subscribes and goes ([`work`]); then subscriptions and connections that come and go by the thousand.
//!
//! Memory, open files, threads, actors and tasks of the gateway are read once a second, between two rounds of
//! the user. What is found is judged: [`judge`].

mod work;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bookwire_sim::{Sim, SimConfig};
use serde_json::{Value, json};

use crate::gateway::{Gateway, Program};
use crate::load;
use crate::report::Report;
use crate::trend::{self, Reading, slope};
use crate::ws::{self, Frames};
use work::User;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Symbols, as evenly as possible on the four exchanges.
    pub symbols: usize,
    /// Clients.
    pub clients: usize,
    /// Measured seconds.
    pub seconds: u64,
    /// Seconds before them.
    pub warm_up: u64,
    /// Subscribe and unsubscribe, so many times.
    pub subscriptions: usize,
    /// Connect and disconnect, so many times.
    pub connections: usize,
    /// Seed of the markets.
    pub seed: u64,
}

/// Instruments that each exchange lists beyond those wanted.
const SPARE: usize = 10;
/// Symbols that a client takes.
const SYMBOLS_OF_A_CLIENT: usize = 5;
/// How often a long run tells where it is.
const TELL: Duration = Duration::from_secs(60);
/// Time that everything may need to start.
const START: Duration = Duration::from_secs(120);

/// Growth of memory that is no leak: what the allocator keeps of a moment that needed more.
const MEMORY_NOISE: u64 = 2 << 20;
/// Memory that each order may leave behind: up to 50,000 that are over are kept for those who ask.
const MEMORY_OF_AN_ORDER: u64 = 3 << 10;
/// What is counted besides memory, as `/metrics` calls it.
const LEVELS: [(&str, &str); 8] = [
    ("open files", "process_open_fds"),
    ("threads", "process_threads"),
    ("sessions", "bookwire_alive{kind=\"subscription_session\"}"),
    ("client sockets", "bookwire_alive{kind=\"client_socket\"}"),
    (
        "connections",
        "bookwire_alive{kind=\"exchange_connection\"}",
    ),
    ("books", "bookwire_alive{kind=\"order_book\"}"),
    ("order routers", "bookwire_alive{kind=\"order_router\"}"),
    ("tasks", "bookwire_alive{kind=\"task\"}"),
];

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, breaks off, or a subscription, an order or a question is refused.
pub fn run(options: &Options, program: &Program) -> Result<Report> {
    let mut report = Report::new(
        "soak",
        "simulators of four exchanges and all clients are in this process, the gateway in its own; \
         resident memory, files, threads, actors and tasks read every second; the slope is of the line \
         that fits best (least squares)",
    );
    report.condition("symbols", options.symbols);
    report.condition("clients", options.clients);
    report.condition("seconds", options.seconds);
    report.condition("warm-up", format!("{} s", options.warm_up));
    report.condition("seed", options.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let of_each = options.symbols.div_ceil(4);
    let sim = runtime.block_on(Sim::start(SimConfig {
        seed: options.seed,
        // What is listed and not traded the way that bookwire knows does not count.
        symbols: of_each + SPARE,
        ..SimConfig::default()
    }))?;
    let more = "[websocket]\nconnections_per_ip = 100000\nmessages_per_second = 10000\n\n";
    let mut key = String::new();
    let gateway = load::gateway::start_prepared(program, &sim.endpoints(), more, |data| {
        let words = ["keys", "create", "--quiet", "--permissions"];
        key = program.command(
            &[&words[..], &["spot_trading,data_access"]].concat(),
            data,
            "",
        )?;
        Ok(())
    })?;
    let mut symbols = gateway.symbols(of_each, START)?;
    symbols.truncate(options.symbols);
    let crowd = Readers::start(gateway.api(), options.clients, &symbols)?;
    let mut user = User::new(&gateway, &key, &symbols).with_context(|| gateway.log())?;
    let warm_up = watch(&gateway, &crowd, &mut user, options.warm_up)?;
    let orders = user.orders;
    let readings = watch(&gateway, &crowd, &mut user, options.seconds)?;
    let orders = user.orders - orders;
    report.condition("readings of the warm-up", warm_up.len());
    over_time(&mut report, options, &gateway, &readings, crowd.messages())?;
    report.figure(&subject(options), "orders", "", orders as f64);
    let (requests, again) = (user.requests, user.again);
    let most = (requests / 100).max(10);
    report.figure(&subject(options), "requests", "", requests as f64);
    report.verdict(
        format!("requests: {again} of {requests} were answered with 5xx at first, at most {most}"),
        again <= most,
    );
    judge(&mut report, &readings, orders);
    drop(user);
    subscriptions(&mut report, options, &gateway, &symbols[0])?;
    connections(&mut report, options, &gateway, &symbols[0])?;
    crowd.well()?;
    drop(crowd);
    drop(gateway);
    runtime.block_on(sim.shutdown());
    Ok(report)
}

fn subject(options: &Options) -> String {
    format!("{} symbols, {} clients", options.symbols, options.clients)
}

/// What was there between two rounds.
#[derive(Clone, Copy, Debug)]
struct State {
    memory: Reading,
    levels: [u64; LEVELS.len()],
}

impl State {
    fn now(gateway: &Gateway, since: Instant) -> Result<Self> {
        let metrics = gateway.metrics()?;
        let mut levels = [0; LEVELS.len()];
        for (level, (_, series)) in levels.iter_mut().zip(LEVELS) {
            *level = metrics.level(series)?;
        }
        Ok(Self {
            memory: Reading {
                seconds: since.elapsed().as_secs_f64(),
                bytes: gateway.usage().memory()?,
            },
            levels,
        })
    }
}

fn watch(gateway: &Gateway, crowd: &Readers, user: &mut User, seconds: u64) -> Result<Vec<State>> {
    let start = Instant::now();
    let mut readings = Vec::new();
    // Told while it runs, for whoever waits for hours.
    let mut told = Instant::now();
    while start.elapsed() < Duration::from_secs(seconds) {
        let next = Instant::now() + Duration::from_secs(1);
        crowd.well()?;
        user.round(gateway).with_context(|| gateway.log())?;
        // Connections that were closed are noticed a little later.
        thread::sleep(next.saturating_duration_since(Instant::now()));
        let state = State::now(gateway, start)?;
        if told.elapsed() > TELL {
            told = Instant::now();
            eprintln!(
                "{:.0} s: {:.1} MiB, {:?}",
                state.memory.seconds,
                mib(state.memory.bytes),
                state.levels
            );
        }
        readings.push(state);
    }
    Ok(readings)
}

/// Judges what was read: a count must not have risen for good ([`trend::risen`]), memory by no more than noise
/// and what orders leave behind ([`trend::grown`]).
fn judge(report: &mut Report, readings: &[State], orders: u64) {
    for (index, (name, _)) in LEVELS.into_iter().enumerate() {
        let values: Vec<u64> = readings.iter().map(|state| state.levels[index]).collect();
        let risen = trend::risen(&values);
        let ends = (values.first().unwrap_or(&0), values.last().unwrap_or(&0));
        let what = format!("{name}: {} at the start, {} at the end", ends.0, ends.1);
        report.verdict(format!("{what}, risen by {risen}, at most 0"), risen == 0);
    }
    let values: Vec<u64> = readings.iter().map(|state| state.memory.bytes).collect();
    let grown = trend::grown(&values);
    // From the middle of the second quarter to that of the last lies half of the time.
    let allowed = (MEMORY_NOISE + orders / 2 * MEMORY_OF_AN_ORDER).cast_signed();
    report.verdict(
        format!(
            "memory: grown by {} KiB from the second quarter to the last, at most {} KiB",
            grown >> 10,
            allowed >> 10
        ),
        grown <= allowed,
    );
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn over_time(
    report: &mut Report,
    options: &Options,
    gateway: &Gateway,
    readings: &[State],
    messages: u64,
) -> Result<()> {
    let subject = subject(options);
    let readings: Vec<Reading> = readings.iter().map(|state| state.memory).collect();
    let first = readings.first().context("no reading")?.bytes;
    let last = readings.last().context("no reading")?.bytes;
    let most = readings
        .iter()
        .map(|reading| reading.bytes)
        .max()
        .unwrap_or(0);
    // Of the second half: the first may still fill buffers.
    let late = slope(&readings[readings.len() / 2..]);
    let metrics = gateway.metrics()?;
    for (name, unit, value) in [
        ("memory at the start", "MiB", mib(first)),
        ("memory at the end", "MiB", mib(last)),
        ("memory at most", "MiB", mib(most)),
        ("slope", "KiB/min", slope(&readings) * 60.0 / 1024.0),
        ("slope of the second half", "KiB/min", late * 60.0 / 1024.0),
        ("delivered to clients", "msg", messages as f64),
        ("frames read", "msg", metrics.get("frames")? as f64),
        (
            "books that lost step",
            "",
            metrics.get("book_desyncs")? as f64,
        ),
        (
            "actors started again",
            "",
            metrics.get("actor_restarts")? as f64,
        ),
    ] {
        report.figure(&subject, name, unit, value);
    }
    Ok(())
}

/// Memory before, half way and at the end of a row of cycles: a first half fills what is kept, a leak
/// goes on.
fn cycles(
    report: &mut Report,
    subject: &str,
    gateway: &Gateway,
    count: usize,
    mut cycle: impl FnMut(usize) -> Result<()>,
) -> Result<()> {
    let mut memory = vec![gateway.usage().memory()?];
    let start = Instant::now();
    for half in 0..2 {
        for index in 0..count / 2 {
            cycle(half * (count / 2) + index)?;
        }
        // What is given back a little later.
        thread::sleep(Duration::from_millis(500));
        memory.push(gateway.usage().memory()?);
    }
    let seconds = start.elapsed().as_secs_f64() - 1.0;
    for (name, bytes) in ["memory before", "memory half way", "memory at the end"]
        .into_iter()
        .zip(&memory)
    {
        report.figure(subject, name, "MiB", mib(*bytes));
    }
    let grown = memory[2] as f64 - memory[1] as f64;
    let each = grown / (count / 2).max(1) as f64;
    report.figure(subject, "growth of the second half", "bytes/cycle", each);
    report.figure(subject, "cycles", "cycles/s", count as f64 / seconds);
    Ok(())
}

fn request(id: usize, method: &str, symbol: &load::Symbol) -> String {
    let stream = ["crypto.trades", "crypto.orderbook", "crypto.ticker"][id / 2 % 3];
    let params = json!({
        "stream": stream,
        "provider": symbol.exchange.as_str(),
        "symbols": [symbol.symbol],
    });
    json!({"id": id, "method": method, "params": params}).to_string()
}

/// Sends a request and reads until its answer.
fn asked(socket: &mut TcpStream, frames: &mut Frames, id: usize, text: &str) -> Result<Value> {
    ws::send_text(socket, text)?;
    loop {
        while let Some((opcode, payload)) = frames.next_frame()? {
            ensure!(opcode != ws::CLOSE, "the gateway closed the connection");
            if opcode == ws::TEXT {
                let message: Value = serde_json::from_slice(payload)?;
                if message["id"] == id {
                    return Ok(message);
                }
            }
        }
        let read = socket.read(frames.room())?;
        ensure!(read > 0, "the connection was closed");
        frames.filled(read);
    }
}

fn subscriptions(
    report: &mut Report,
    options: &Options,
    gateway: &Gateway,
    symbol: &load::Symbol,
) -> Result<()> {
    let subject = format!("{} subscribe and unsubscribe", options.subscriptions);
    let mut socket = ws::connect(gateway.api(), "/ws")?;
    let mut frames = Frames::default();
    cycles(report, &subject, gateway, options.subscriptions, |index| {
        for (id, method, status) in [
            (index * 2, "subscribe", "subscribed"),
            (index * 2 + 1, "unsubscribe", "unsubscribed"),
        ] {
            let text = request(id, method, symbol);
            let answer = asked(&mut socket, &mut frames, id, &text)?;
            ensure!(answer["status"] == status, "{text}: {answer}");
        }
        Ok(())
    })
}

fn connections(
    report: &mut Report,
    options: &Options,
    gateway: &Gateway,
    symbol: &load::Symbol,
) -> Result<()> {
    let subject = format!("{} connect and disconnect", options.connections);
    cycles(report, &subject, gateway, options.connections, |index| {
        let mut socket = ws::connect(gateway.api(), "/ws")?;
        let mut frames = Frames::default();
        let id = index * 2;
        let text = request(id, "subscribe", symbol);
        let answer = asked(&mut socket, &mut frames, id, &text)?;
        ensure!(answer["status"] == "subscribed", "{text}: {answer}");
        Ok(())
    })
}

/// Clients that read and count.
struct Readers {
    stop: tokio::sync::watch::Sender<bool>,
    thread: Option<thread::JoinHandle<Result<()>>>,
    messages: Arc<AtomicU64>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Readers {
    fn start(api: SocketAddr, count: usize, symbols: &[load::Symbol]) -> Result<Self> {
        let mut sockets = Vec::new();
        for client in 0..count {
            let mut socket = ws::connect(api, "/ws")?;
            for part in 0..SYMBOLS_OF_A_CLIENT {
                let symbol = &symbols[(client * SYMBOLS_OF_A_CLIENT + part) % symbols.len()];
                // The streams take turns.
                ws::send_text(
                    &mut socket,
                    &request(2 * (client + part), "subscribe", symbol),
                )?;
            }
            sockets.push(socket);
        }
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let messages = Arc::default();
        let counted = Arc::clone(&messages);
        let thread = thread::spawn(move || read_all(sockets, stopped, &counted));
        Ok(Self {
            stop,
            thread: Some(thread),
            messages,
        })
    }

    fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    fn well(&self) -> Result<()> {
        let is_over = self
            .thread
            .as_ref()
            .is_none_or(thread::JoinHandle::is_finished);
        ensure!(!is_over, "a client was disconnected or refused");
        Ok(())
    }
}

fn read_all(
    sockets: Vec<TcpStream>,
    stopped: tokio::sync::watch::Receiver<bool>,
    messages: &Arc<AtomicU64>,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let mut clients = tokio::task::JoinSet::new();
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let socket = tokio::net::TcpStream::from_std(socket)?;
            clients.spawn_local(read(socket, Arc::clone(messages)));
        }
        let mut stopped = stopped;
        tokio::select! {
            _ = stopped.changed() => Ok(()),
            ended = clients.join_next() => match ended {
                Some(Ok(Err(error))) => {
                    eprintln!("a client: {error:#}");
                    Err(error)
                }
                _ => bail!("a client ended"),
            },
        }
    }))
}

async fn read(socket: tokio::net::TcpStream, messages: Arc<AtomicU64>) -> Result<()> {
    let mut frames = Frames::default();
    loop {
        socket.readable().await?;
        let read = match socket.try_read(frames.room()) {
            Ok(0) => bail!("the connection was closed"),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error.into()),
        };
        frames.filled(read);
        let mut count = 0;
        while let Some((opcode, payload)) = frames.next_frame()? {
            match opcode {
                ws::TEXT if payload.starts_with(b"{\"stream\"") => count += 1,
                ws::TEXT => {
                    let answer: Value = serde_json::from_slice(payload)?;
                    let is_good = answer["status"] == "subscribed";
                    ensure!(is_good, "{answer}");
                }
                ws::PING => {
                    let mut pong = Vec::new();
                    ws::push_masked(&mut pong, ws::PONG, payload);
                    socket.try_write(&pong)?;
                }
                ws::CLOSE => bail!("closed by the gateway"),
                _ => {}
            }
        }
        messages.fetch_add(count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(state: impl Fn(u64) -> (u64, [u64; LEVELS.len()])) -> Vec<(String, bool)> {
        let reading = |second| {
            let (bytes, levels) = state(second);
            let memory = Reading {
                seconds: second as f64,
                bytes,
            };
            State { memory, levels }
        };
        let readings: Vec<State> = (0..60).map(reading).collect();
        let mut report = Report::new("soak", "");
        judge(&mut report, &readings, 60);
        let verdict = |v: crate::report::Verdict| (v.what, v.is_met);
        report.verdicts.into_iter().map(verdict).collect()
    }

    #[test]
    fn a_leak_of_anything_is_missed_and_nothing_else_is() {
        let levels = |n: u64| [40 + n % 5, 12 + n % 3, 7, 7, 6, 4, 4, 60 + n % 9];
        let flat = verdicts(|n| ((50 << 20) + (n % 4) * 4_096, levels(n)));
        assert_eq!(flat.len(), LEVELS.len() + 1);
        assert!(flat.iter().all(|(_, is_met)| *is_met), "{flat:?}");
        for (leaking, (name, _)) in LEVELS.iter().enumerate() {
            let all = verdicts(|n| {
                let mut levels = levels(n);
                // One that is left behind every other second.
                levels[leaking] += n / 2;
                (50 << 20, levels)
            });
            for (index, (what, is_met)) in all.iter().enumerate() {
                assert_eq!(*is_met, index != leaking, "{name}: {what}");
            }
        }
        let all = verdicts(|n| ((50 << 20) + n * (128 << 10), levels(n)));
        let (what, is_met) = all.last().unwrap();
        assert!(!is_met && what.starts_with("memory: grown by 3"), "{what}");
    }
}
