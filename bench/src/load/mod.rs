//! `load`: many symbols of all exchanges at a steady rate, and not one message lost.
//!
//! Simulators of the four exchanges run in this process and speak their own protocols; the gateway
//! is a process of its own; clients of its feed run here too. The simulators' market goes by the
//! clock and not by who reads (a client that is too slow is cut off), so that the load is an open
//! loop; its pace is steered until the simulators send the wanted number of messages a second in
//! all. At the end the market is stopped and everything is compared with what the simulators know:
//!
//! - frames that the gateway read against messages that the simulators sent;
//! - every trade, by its number, price and quantity, from the first that a client got to the last;
//! - every book, level for level, as the client built it from changes and as REST tells it;
//! - no message dropped, no number missing, no book lost, no connection broken.
//!
//! The default rate is three times the busiest second of the recordings (2,527 messages, USDⓈ-M
//! BTCUSDT of 2024-08-08), held for the whole time, over all exchanges together.

mod client;
pub(crate) mod gateway;
mod truth;

use std::collections::VecDeque;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bookwire_sim::{Exchange, FaultSpec, Segment, Sim, SimConfig, SimControl};

use crate::report::Report;
use client::{Client, Stream};

pub use crate::gateway::Program;
use crate::gateway::{Gateway, Metrics};

/// The busiest second of the recordings, messages.
pub const PEAK: u64 = 2_527;

/// What to load the gateway with.
#[derive(Clone, Debug)]
pub struct Load {
    /// Symbols in all, a quarter of them on each exchange; 4 to 200.
    pub symbols: usize,
    /// Messages a second that the simulators send, all together.
    pub rate: u64,
    /// Measured seconds.
    pub seconds: u64,
    /// Seed of the simulated markets.
    pub seed: u64,
    /// Faults that strike the exchanges that they name, or all, from the measured start on: to see that what is lost is
    /// noticed.
    pub faults: Vec<FaultSpec>,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            symbols: 200,
            rate: 3 * PEAK,
            seconds: 60,
            seed: 1,
            faults: Vec::new(),
        }
    }
}

/// An instrument under load.
#[derive(Clone, Debug)]
pub(crate) struct Symbol {
    pub(crate) exchange: Exchange,
    pub(crate) segment: Segment,
    /// The exchange's name.
    native: String,
    /// As it is subscribed to.
    pub(crate) symbol: String,
    pub(crate) code: String,
}

/// What was measured. Everything that would be a loss has been an error before this exists.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Symbols that were subscribed to.
    pub symbols: usize,
    /// Messages that the simulators sent in the measured time.
    pub sent: u64,
    /// The measured time, seconds.
    pub seconds: f64,
    /// Messages a second in each measured second.
    pub per_second: Vec<u64>,
    /// Messages that the simulators sent and the gateway read from the measured start until all was
    /// at rest.
    pub frames: u64,
    /// Changes of books that the gateway applied in the measured seconds.
    pub book_deltas: u64,
    /// Messages that clients got in the measured seconds.
    pub served: u64,
    /// Trades that were compared with the simulators', one by one.
    pub trades: u64,
    /// Books that were compared at the end.
    pub books: usize,
    /// Levels in them.
    pub levels: usize,
    /// Resident memory of the gateway: at the measured start, at the end, and the most since it was
    /// started. Bytes.
    pub memory: [u64; 3],
    /// Processor time of the gateway per second of real time, in cores.
    pub cores: f64,
    /// Load average of the machine (one minute) before the start.
    pub load_average: f64,
}

impl Outcome {
    /// The figures as a table.
    #[must_use]
    pub fn report(&self, load: &Load) -> Report {
        let mut report = Report::new(
            "load",
            "simulators and clients in this process, the gateway in its own; open loop; every \
             trade and book compared with the simulators' at the end; a loss is an error",
        );
        let subject = format!(
            "{} symbols, {} msg/s for {} s",
            self.symbols, load.rate, load.seconds
        );
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let least = self.per_second.iter().min().copied().unwrap_or(0);
        let most = self.per_second.iter().max().copied().unwrap_or(0);
        for (name, unit, value) in [
            (
                "sent a second, mean",
                "msg/s",
                self.sent as f64 / self.seconds,
            ),
            ("sent in the slowest second", "msg", least as f64),
            ("sent in the busiest second", "msg", most as f64),
            (
                "sent and read until all was at rest",
                "msg",
                self.frames as f64,
            ),
            ("book changes applied", "changes", self.book_deltas as f64),
            ("served to clients", "msg", self.served as f64),
            ("lost", "msg", 0.0),
            ("trades compared", "trades", self.trades as f64),
            ("books compared", "books", self.books as f64),
            ("levels compared", "levels", self.levels as f64),
            ("gateway's memory at the start", "MiB", mib(self.memory[0])),
            ("gateway's memory at the end", "MiB", mib(self.memory[1])),
            ("gateway's memory at most", "MiB", mib(self.memory[2])),
            ("gateway's processor time", "cores", self.cores),
            ("machine's load average before", "", self.load_average),
        ] {
            report.figure(&subject, name, unit, value);
        }
        report
    }
}

/// Levels of the books that clients subscribe to.
const DEPTH: usize = 20;
/// Time that everything may need to start.
const START: Duration = Duration::from_secs(120);
/// Time that the simulators' pace may need to reach the rate.
const WARM_UP: Duration = Duration::from_secs(60);
/// What the pace aims at, in parts of the rate: a little more, so that the mean is not below it.
const EXCESS: f64 = 1.05;
/// Time that the last messages may need.
const DRAIN: Duration = Duration::from_secs(20);

/// The measured time at most.
fn time_max(load: &Load) -> Duration {
    Duration::from_secs(load.seconds + 30)
}

/// Runs the scenario.
///
/// # Errors
/// When something does not start, when the simulators can't send as much as is wanted, and when
/// anything at all was lost.
pub fn run(load: &Load, program: &Program) -> Result<Outcome> {
    ensure!(
        (4..=200).contains(&load.symbols),
        "{} symbols; accepted: 4 to 200, what a client may subscribe to on a connection",
        load.symbols
    );
    ensure!(
        load.rate > 0 && load.seconds > 0,
        "rate and seconds have to be above 0"
    );
    let load_average = load_average()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let sim = runtime.block_on(Sim::start(SimConfig {
        seed: load.seed,
        symbols: load.symbols.div_ceil(4),
        ..SimConfig::default()
    }))?;
    let sims = Sims::of(&sim)?;
    let gateway = gateway::start(program, &sim.endpoints(), "")?;
    let symbols = gateway.symbols(load.symbols / 4, START)?;
    let clients = [Stream::Trades, Stream::Books, Stream::Tickers]
        .map(|stream| Client::start(gateway.api(), stream, &symbols));
    let [trades, books, tickers] = clients;
    let clients = [trades?, books?, tickers?];
    clients[1].wait_for_books(symbols.len(), START)?;
    let mut pace = Pace::new(&sims, load.rate);
    pace.warm_up()?;
    // Connections may have been opened twice while everything was starting: what counts begins here.
    sims.pause();
    let start = drain(&sims, &gateway, &clients, None)?;
    clients.iter().for_each(Client::begin);
    sims.resume();
    for control in &sims.0 {
        let is_its = |fault: &&FaultSpec| {
            fault
                .exchange
                .is_none_or(|wanted| wanted == control.exchange())
        };
        for fault in load.faults.iter().filter(is_its) {
            control.inject(fault.clone());
        }
    }
    let measured = measure(load, &gateway, &clients, &mut pace)?;
    // From here on nothing new happens, and what is under way arrives.
    sims.pause();
    for control in &sims.0 {
        for fault in control.faults() {
            ensure!(fault.strikes > 0, "{:?} did not strike", fault.spec);
        }
    }
    let frames = drain(&sims, &gateway, &clients, Some(start))?.frames - start.frames;
    for client in &clients {
        client.nothing_lost()?;
    }
    let metrics = gateway.metrics()?;
    // Before the silence of a market that stands still is taken for a fault.
    measured.nothing_lost(&metrics)?;
    let compared = truth::compare(&sims, &gateway, &symbols, &clients)?;
    let decoded = metrics.get("trades")?;
    let served = clients[0].messages();
    ensure!(
        decoded == served,
        "{decoded} trades were decoded, {served} were served"
    );
    let memory = [
        measured.memory,
        gateway.usage().memory()?,
        gateway.usage().memory_peak()?,
    ];
    let outcome = Outcome {
        symbols: symbols.len(),
        sent: measured.sent,
        seconds: measured.seconds,
        per_second: measured.per_second,
        frames,
        book_deltas: measured.book_deltas,
        served: measured.served,
        trades: compared.trades,
        books: compared.books,
        levels: compared.levels,
        memory,
        cores: measured.cores,
        load_average,
    };
    for client in clients {
        client.stop()?;
    }
    drop(gateway);
    runtime.block_on(sim.shutdown());
    Ok(outcome)
}

/// The simulators' handles.
struct Sims(Vec<SimControl>);

impl Sims {
    fn of(sim: &Sim) -> Result<Self> {
        let of = |exchange| {
            sim.control()
                .of(exchange)
                .context("an exchange does not run")
        };
        Ok(Self(
            Exchange::ALL.into_iter().map(of).collect::<Result<_>>()?,
        ))
    }

    fn get(&self, exchange: Exchange) -> Result<&SimControl> {
        let mut all = self.0.iter();
        let found = all.find(|control| control.exchange() == exchange);
        found.context("an exchange does not run")
    }

    fn sent(&self) -> u64 {
        self.0
            .iter()
            .map(|control| control.counters().messages)
            .sum()
    }

    fn pause(&self) {
        self.0.iter().for_each(SimControl::pause);
    }

    fn resume(&self) {
        self.0.iter().for_each(SimControl::resume);
    }

    /// Clients that were cut off because they read too slowly: the gateway's connections.
    fn slow(&self) -> u64 {
        self.0
            .iter()
            .map(|control| control.counters().slow_clients)
            .sum()
    }
}

/// Steers the markets' pace so that as many messages are sent as is wanted.
struct Pace<'a> {
    sims: &'a Sims,
    rate: u64,
    intensity: f64,
    /// Messages a second at intensity 1, over the last seconds: one alone tells little of a few
    /// markets, whose orders come in bursts.
    gain: Option<f64>,
}

impl<'a> Pace<'a> {
    /// Weight of the last second.
    const WEIGHT: f64 = 0.3;

    const fn new(sims: &'a Sims, rate: u64) -> Self {
        Self {
            sims,
            rate,
            intensity: 1.0,
            gain: None,
        }
    }

    /// Messages a second during about one, after which the pace is corrected by at most `step`,
    /// towards the rate and an `excess` of it.
    fn second(&mut self, step: f64, excess: f64) -> u64 {
        let (before, start) = (self.sims.sent(), Instant::now());
        thread::sleep(Duration::from_secs(1));
        let sent = self.sims.sent() - before;
        let rate = sent as f64 / start.elapsed().as_secs_f64();
        let last = rate.max(1.0) / self.intensity;
        let gain = match self.gain {
            Some(gain) => gain + (last - gain) * Self::WEIGHT,
            None => last,
        };
        self.gain = Some(gain);
        let wanted = self.rate as f64 * excess / gain;
        self.intensity = wanted.clamp(self.intensity / step, self.intensity * step);
        self.intensity = self.intensity.clamp(0.01, 1_000.0);
        for control in &self.sims.0 {
            control.set_intensity(self.intensity);
        }
        rate as u64
    }

    /// Comes to the rate and stays there, in the mean of three seconds.
    fn warm_up(&mut self) -> Result<()> {
        let end = Instant::now() + WARM_UP;
        let mut last = VecDeque::new();
        loop {
            last.push_front(self.second(1.6, EXCESS));
            last.truncate(3);
            let mean = last.iter().sum::<u64>() / 3;
            if mean * 100 > self.rate * 95 && mean * 100 < self.rate * 140 {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "the simulators did not come to {} messages a second within {WARM_UP:?}: {last:?} \
                 in the last seconds",
                self.rate
            );
        }
    }
}

/// Figures of the measured seconds.
struct Measured {
    sent: u64,
    seconds: f64,
    per_second: Vec<u64>,
    served: u64,
    book_deltas: u64,
    memory: u64,
    cores: f64,
    before: Metrics,
}

fn measure(
    load: &Load,
    gateway: &Gateway,
    clients: &[Client; 3],
    pace: &mut Pace<'_>,
) -> Result<Measured> {
    let before = gateway.metrics()?;
    let memory = gateway.usage().memory()?;
    let served = || clients.iter().map(Client::messages).sum::<u64>();
    let (served_before, cpu_before) = (served(), gateway.usage().processor_time()?);
    let (sent_before, start) = (pace.sims.sent(), Instant::now());
    let mut per_second: Vec<u64> = (0..load.seconds)
        .map(|_| pace.second(1.05, EXCESS))
        .collect();
    let passed = || {
        let sent = pace.sims.sent() - sent_before;
        (sent, start.elapsed().as_secs_f64())
    };
    // A few markets are bursty: a short time may have been a quiet one, and goes on until the mean is
    // what was asked for.
    let (mut sent, mut seconds) = passed();
    while (sent as f64) < load.rate as f64 * seconds && start.elapsed() < time_max(load) {
        per_second.push(pace.second(1.5, 1.5));
        (sent, seconds) = passed();
    }
    let cores = (gateway.usage().processor_time()? - cpu_before).as_secs_f64() / seconds;
    ensure!(
        sent as f64 >= load.rate as f64 * seconds,
        "the simulators sent {sent} messages in {seconds:.1} s, {} a second were wanted: \
         {per_second:?}, at last at {} times the usual pace",
        load.rate,
        pace.intensity
    );
    let after = gateway.metrics()?;
    Ok(Measured {
        sent,
        seconds,
        per_second,
        served: served() - served_before,
        book_deltas: after.get("book_deltas")? - before.get("book_deltas")?,
        memory,
        cores,
        before,
    })
}

impl Measured {
    /// Nothing that the gateway counts as a loss has been counted since the measured start.
    fn nothing_lost(&self, after: &Metrics) -> Result<()> {
        for name in [
            "malformed",
            "book_desyncs",
            "bbo_mismatches",
            "trades_missed",
            "klines_missed",
            "publications_lost",
            "stale_streams",
            "subscribe_failures",
            "rows_lost",
            "actor_restarts",
            "provider_reconnects",
        ] {
            let (before, after) = (self.before.get(name)?, after.get(name)?);
            ensure!(
                after == before,
                "{name}: {} while it was measured",
                after - before
            );
        }
        Ok(())
    }
}

/// Messages sent and frames read since everything was started.
#[derive(Clone, Copy, Debug)]
struct Passed {
    sent: u64,
    frames: u64,
}

/// Waits until nothing moves any more; since `start`, when that is given, as many frames have to be
/// read as messages were sent.
fn drain(
    sims: &Sims,
    gateway: &Gateway,
    clients: &[Client; 3],
    start: Option<Passed>,
) -> Result<Passed> {
    let end = Instant::now() + DRAIN;
    let served = || clients.iter().map(Client::messages).sum::<u64>();
    let (mut last, mut quiet) = ((0, 0), 0);
    loop {
        thread::sleep(Duration::from_millis(250));
        let sent = sims.sent();
        let frames = gateway.metrics()?.get("frames")?;
        let now = (served(), frames);
        quiet = if now == last { quiet + 1 } else { 0 };
        last = now;
        let is_whole = start.is_none_or(|start| frames - start.frames == sent - start.sent);
        if quiet >= 2 && is_whole {
            ensure!(
                start.is_none() || sims.slow() == 0,
                "the gateway read too slowly and was cut off"
            );
            return Ok(Passed { sent, frames });
        }
        ensure!(
            Instant::now() < end,
            "nothing came to rest within {DRAIN:?}: {sent} messages were sent and {frames} read, \
             before the start {start:?}"
        );
    }
}

fn load_average() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/loadavg").context("this needs Linux's /proc")?;
    let first = text.split(' ').next().unwrap_or_default();
    Ok(first.parse()?)
}
