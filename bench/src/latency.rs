//! `tick-to-client`: a trade leaves an exchange's socket, a client's socket receives it.
//!
//! Open loop: message `i` is due at `start + i / rate`, and latency counts from then, so that a
//! stall is charged to every message it delays. The source spins on one thread of this process; the
//! client blocks on another; what is measured runs in a process of its own: `bookwire serve` in one
//! run, a relay that copies bytes from one socket to the other in the next. The relay is the floor:
//! nothing that sits between two sockets on this machine can be faster than it by sleeping.
//!
//! With `share_threads` market data and clients are on one thread, as they are in the relay. With
//! `busy_poll` bookwire's threads spin instead of sleeping, which takes a core for each of them.
//! The peers in Python are clients themselves: their latency ends where their user's code begins.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::contest::{FIRST, SUBSCRIBE};
use crate::crowd::{Schedule, joined};
use crate::fake::{Fake, Outlet, TRADES, push_trade};
use crate::floor::Floor;
use crate::gateway::{Gateway, Program};
use crate::histogram::Curve;
use crate::python;
use crate::report::Report;
use crate::ws::{self, Frames};

/// What a run sends.
#[derive(Clone, Debug)]
pub struct Options {
    /// Messages a second.
    pub rate: u64,
    /// Measured seconds.
    pub seconds: u64,
    /// Seconds before them that are not counted.
    pub warm_up: u64,
    /// Runs of each contender; the one with the better median is kept.
    pub runs: usize,
    /// A Python interpreter that has the peers.
    pub python: Option<PathBuf>,
}

/// Cores that `busy_poll` needs: the source's, the shard's, the worker's, the client's.
const BUSY_CORES: usize = 4;

impl Options {
    /// When which message is due.
    pub(crate) fn schedule(&self, start: Instant) -> Schedule {
        Schedule {
            first: FIRST,
            start,
            rate: self.rate,
            measured: FIRST + self.rate * self.warm_up,
            end: FIRST + self.rate * (self.warm_up + self.seconds),
        }
    }
}

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, or a message is lost.
pub fn run(options: &Options, program: &Program) -> Result<Report> {
    let mut report = Report::new(
        "tick-to-client",
        "open loop, latency from when a trade was due; source (spinning) and client in this process, \
         the measured one in its own; of several runs the one with the better median; lower is better",
    );
    report.condition("rate", format!("{}/s", options.rate));
    report.condition("seconds", options.seconds);
    report.condition("warm-up", format!("{} s", options.warm_up));
    report.condition("runs of each", options.runs);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    if cores < BUSY_CORES {
        let text =
            format!("needs {BUSY_CORES} cores, there are {cores}: threads wait for each other");
        report.condition("busy_poll", text);
    }
    let mut best: [Option<Curve>; 4] = [const { None }; 4];
    for _ in 0..options.runs.max(1) {
        let curves = [
            bookwire(options, program, "bookwire", "")?,
            bookwire(
                options,
                program,
                "bookwire, share_threads",
                "share_threads = true\n",
            )?,
            bookwire(
                options,
                program,
                "bookwire, busy_poll",
                "busy_poll = true\n",
            )?,
            relay(options)?,
        ];
        for (kept, curve) in best.iter_mut().zip(curves) {
            let is_better = |kept: &Curve| curve.micros(0.5) < kept.micros(0.5);
            if kept.as_ref().is_none_or(is_better) {
                *kept = Some(curve);
            }
        }
    }
    let mut curves: Vec<Curve> = best.into_iter().flatten().collect();
    let mut rates = Vec::new();
    python::measure(options, &mut report, &mut curves, &mut rates)?;
    report.latencies(&format!("trade at {}/s", options.rate), curves);
    for (name, rate, lost) in rates {
        report.figure("trades as fast as they are taken", &name, "msg/s", rate);
        report.figure("trades that never came", &name, "msg", lost as f64);
    }
    Ok(report)
}

/// Sends all messages of a schedule, each when it is due. Waits without sleeping: a sleep's own
/// lateness is larger than what is measured.
pub(crate) fn send(
    outlet: &Outlet,
    schedule: &Schedule,
    frame: fn(&mut Vec<u8>, u64),
) -> Result<()> {
    let mut out = Vec::new();
    for number in schedule.first..schedule.end {
        out.clear();
        frame(&mut out, number);
        let due = schedule.due(number);
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        outlet.write(&out)?;
    }
    Ok(())
}

fn bookwire(options: &Options, program: &Program, name: &str, engine: &str) -> Result<Curve> {
    let fake = Fake::start(b"{}")?;
    let config = format!("[engine]\nshards = 1\n{engine}\n{}", fake.config(&[]));
    let mut gateway = Gateway::start(program, "workers = 1\n", &config)?;
    gateway.wait("binance")?;
    let mut socket = ws::connect(gateway.api(), "/ws")?;
    ws::send_text(&mut socket, SUBSCRIBE)?;
    let outlet = fake.outlet(TRADES, Duration::from_secs(30))?;
    let schedule = options.schedule(Instant::now() + Duration::from_millis(500));
    let source = thread::spawn(move || send(&outlet, &schedule, push_trade));
    let mut curve = Curve::new(name)?;
    let mut frames = Frames::default();
    let mut due = schedule.first;
    while due < schedule.end {
        let read = socket.read(frames.room())?;
        ensure!(read > 0, "bookwire closed the connection");
        frames.filled(read);
        while let Some((_, payload)) = frames.next_frame()? {
            let text = std::str::from_utf8(payload)?;
            let Some(at) = text.find("\"trade_id\":\"") else {
                // Anything told about lost messages would make the figure meaningless.
                ensure!(
                    !text.contains("system.flow"),
                    "messages were dropped: {text}"
                );
                continue;
            };
            let digits = text[at + 12..].split('"').next().unwrap_or_default();
            let number: u64 = digits.parse()?;
            ensure!(number == due, "trade {number} arrived where {due} was due");
            if number >= schedule.measured {
                curve.arrived(schedule.due(number))?;
            }
            due += 1;
        }
    }
    joined(source)?;
    curve.took = Duration::from_secs(options.seconds);
    Ok(curve)
}

fn relay(options: &Options) -> Result<Curve> {
    let source = TcpListener::bind("127.0.0.1:0")?;
    let sink = TcpListener::bind("127.0.0.1:0")?;
    let (at, to) = (
        source.local_addr()?.to_string(),
        sink.local_addr()?.to_string(),
    );
    let _relay = Floor::start(&["relay", &at, &to])?;
    let (from, _) = source.accept()?;
    let (mut to, _): (TcpStream, _) = sink.accept()?;
    from.set_nodelay(true)?;
    // The same frames as bookwire's source sends.
    let mut frame = Vec::new();
    push_trade(&mut frame, FIRST);
    let size = frame.len();
    let schedule = options.schedule(Instant::now() + Duration::from_millis(200));
    let outlet = Outlet::of(from);
    let source = thread::spawn(move || send(&outlet, &schedule, push_trade));
    let mut curve = Curve::new("floor: raw TCP relay")?;
    let mut buffer = vec![0u8; size];
    for number in schedule.first..schedule.end {
        to.read_exact(&mut buffer).context("the relay ended")?;
        if number >= schedule.measured {
            curve.arrived(schedule.due(number))?;
        }
    }
    joined(source)?;
    curve.took = Duration::from_secs(options.seconds);
    Ok(curve)
}
