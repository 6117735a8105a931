//! `slow-client`: what a client that does not read costs the others, and what becomes of all when
//! more comes in than can go out.
//!
//! - One frozen client among many: phases without it and with it take turns on one gateway, so that a
//!   noisy minute hits both. Before a phase with it counts, its socket and its queue are filled, and
//!   the gateway drops for it.
//! - Overload: the sustainable rate is found first, then twice as much is sent for some seconds.
//!   Clients check each message they get against its number, and that whatever is missing was told.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Socket, Type};

use crate::contest::{Contest, FIRST, SUBSCRIBE, many_clients};
use crate::crowd::Schedule;
use crate::fake::wait_until;
use crate::gateway::Program;
use crate::histogram::Curve;
use crate::report::Report;
use crate::source::{flood, paced};
use crate::ws::{self, Frames};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Clients, the frozen one not counted.
    pub clients: usize,
    /// Messages a second while latency is measured.
    pub rate: u64,
    /// Seconds of each phase.
    pub seconds: u64,
    /// Phases of each kind.
    pub phases: usize,
    /// Clients under overload.
    pub overloaded: usize,
    /// Seconds of overload.
    pub overload_seconds: u64,
}

/// Messages that wait for a client at most: the default of the configuration.
const OUTBOX: usize = 1_024;
/// Seconds of a phase that are not measured: none where all is over after one.
const fn warm_up(seconds: u64) -> u64 {
    if seconds > 1 { 1 } else { 0 }
}

/// The receive buffer of the frozen client, bytes: so that it is full soon.
const FROZEN_BUFFER: usize = 4_096;
/// A message that takes longer is not in time: the rate can't be sustained.
const IN_TIME_MICROS: f64 = 50_000.0;
/// The source's lateness that is still on time where it stops with its schedule.
const GRACE: Duration = Duration::from_millis(50);
/// And where every message has to be sent.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time in which latency has to be what it was before the overload.
const RECOVERY: Duration = Duration::from_secs(1);

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, or a message is lost, wrong, or missing without notice.
pub fn run(options: &Options, program: &Program) -> Result<Report> {
    let mut report = Report::new(
        "slow-client",
        "open loop, latency from when a message was due until its client had read it, the source's \
         sleep included (about 0.1 ms); the exchange and the clients, all on one thread, are in this \
         process, the gateway in its own",
    );
    report.condition("clients", options.clients);
    report.condition("rate", format!("{}/s", options.rate));
    report.condition(
        "phases",
        format!("{} × {} s each", options.phases, options.seconds),
    );
    report.condition(
        "warm-up of a phase",
        format!("{} s", warm_up(options.seconds)),
    );
    report.condition("messages that wait for a client at most", OUTBOX);
    frozen(&mut report, options, program)?;
    overload(&mut report, options, program)?;
    Ok(report)
}

/// The next message's number, and the phases sent so far.
struct Phases {
    contest: Contest,
    next: u64,
}

impl Phases {
    fn start(program: &Program, clients: usize) -> Result<Self> {
        let contest = Contest::bookwire(program, &many_clients(OUTBOX), clients)?;
        Ok(Self {
            contest,
            next: FIRST,
        })
    }

    /// Sends at a rate. Latencies are measured from the end of the warm-up on.
    fn send(&mut self, name: &str, rate: u64, seconds: u64, warm_up: u64) -> Result<Curve> {
        let end = self.next + rate * (warm_up + seconds);
        let schedule = Schedule {
            first: self.next,
            start: Instant::now() + Duration::from_millis(5),
            rate,
            measured: self.next + rate * warm_up,
            end,
        };
        self.contest.crowd.measure(name, schedule)?;
        let before = self.contest.crowd.delivered();
        let sent = self.sent(&schedule, end, PATIENCE)?;
        ensure!(
            sent == end,
            "only {} of {} could be sent",
            sent - schedule.first,
            end - schedule.first
        );
        let all = (end - schedule.first) * self.contest.crowd.size() as u64;
        self.contest
            .crowd
            .wait_for(before + all, Duration::from_secs(30))?;
        self.contest.crowd.measured()
    }

    fn sent(&mut self, schedule: &Schedule, end: u64, grace: Duration) -> Result<u64> {
        let contest = &mut self.contest;
        self.next = paced(&contest.outlet, &mut *contest.supply, schedule, end, grace)?;
        Ok(self.next)
    }
}

/// A client that subscribes and then reads no more.
struct Frozen(TcpStream);

impl Frozen {
    fn connect(address: SocketAddr) -> Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Before the connection, so that the window is never larger.
        socket.set_recv_buffer_size(FROZEN_BUFFER)?;
        socket.connect(&address.into())?;
        let mut socket = TcpStream::from(socket);
        ws::upgrade(&mut socket, address, "/ws")?;
        ws::send_text(&mut socket, SUBSCRIBE)?;
        let mut frames = Frames::default();
        loop {
            let read = socket.read(frames.room())?;
            ensure!(read > 0, "the frozen client was not let in");
            frames.filled(read);
            if let Some((_, payload)) = frames.next_frame()? {
                let text = String::from_utf8_lossy(payload).into_owned();
                ensure!(text.contains("\"subscribed\""), "{text}");
                return Ok(Self(socket));
            }
        }
    }

    /// How many messages it was told that it lacks, of those that it reads until silence.
    fn thaw(self) -> Result<u64> {
        let socket = Socket::from(self.0);
        // So that all that waits comes soon.
        socket.set_recv_buffer_size(1 << 20)?;
        let mut socket = TcpStream::from(socket);
        socket.set_read_timeout(Some(Duration::from_millis(500)))?;
        // The kernel asks a full receiver again at longer and longer intervals.
        let end = Instant::now() + Duration::from_secs(30);
        let (mut frames, mut told) = (Frames::default(), 0);
        loop {
            match socket.read(frames.room()) {
                Ok(0) => return Ok(told),
                Ok(read) => frames.filled(read),
                Err(_) if told == 0 && Instant::now() < end => continue,
                Err(_) => return Ok(told),
            }
            while let Some((_, payload)) = frames.next_frame()? {
                if payload.windows(13).any(|at| at == b"\"system.flow\"") {
                    let message: serde_json::Value = serde_json::from_slice(payload)?;
                    told += message["data"]["dropped"].as_u64().unwrap_or(0);
                }
            }
        }
    }
}

fn thawed(client: Frozen) -> Result<u64> {
    let told = client.thaw()?;
    ensure!(
        told > 0,
        "nothing was dropped for the frozen client: it was not frozen"
    );
    thread::sleep(Duration::from_millis(300));
    Ok(told)
}

/// Sends so much that the frozen client's socket and queue are full, no faster than the others read.
fn fill(phases: &mut Phases) -> Result<()> {
    let bytes = send_buffer_max() + 2 * FROZEN_BUFFER;
    let size = phases.contest.crowd.seen().message_bytes.max(1);
    let messages = (bytes / size + 2 * OUTBOX) as u64;
    let end = phases.next + messages;
    while phases.next < end {
        let contest = &mut phases.contest;
        let (window, time) = (OUTBOX as u64 / 2, Duration::from_millis(500));
        flood(
            &contest.outlet,
            &mut *contest.supply,
            &contest.crowd,
            window,
            time,
        )?;
        phases.next = last_id(contest)? + 1;
    }
    Ok(())
}

/// The most that the kernel keeps for a socket that is not read, bytes.
fn send_buffer_max() -> usize {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_wmem").unwrap_or_default();
    let most = text
        .split_whitespace()
        .nth(2)
        .and_then(|most| most.parse().ok());
    most.unwrap_or(4 << 20)
}

fn frozen(report: &mut Report, options: &Options, program: &Program) -> Result<()> {
    let mut phases = Phases::start(program, options.clients)?;
    let api = phases.contest.gateway()?.api();
    let mut curves = [
        Curve::new("bookwire, one frozen client more")?,
        Curve::new("bookwire, all read")?,
    ];
    let mut told = 0;
    let memory_before = phases.contest.usage().memory()?;
    // The first phase warms everything up.
    phases.send("warm-up", options.rate, 1, 0)?;
    let mut client = None;
    for phase in 0..options.phases * 2 {
        // Without, with, with, without, …: a drift of the machine falls on both.
        let is_frozen = matches!(phase % 4, 1 | 2);
        if is_frozen && client.is_none() {
            client = Some(Frozen::connect(api)?);
            fill(&mut phases)?;
        }
        if !is_frozen && let Some(client) = client.take() {
            told += thawed(client)?;
        }
        let curve = phases.send(
            "phase",
            options.rate,
            options.seconds,
            warm_up(options.seconds),
        )?;
        let kept = &mut curves[usize::from(!is_frozen)];
        kept.histogram.add(&curve.histogram)?;
        kept.took += curve.took;
    }
    if let Some(client) = client {
        told += thawed(client)?;
    }
    phases.contest.nothing_lost()?;
    let [with, without] = &curves;
    let change = |quantile| (with.micros(quantile) / without.micros(quantile) - 1.0) * 100.0;
    let subject = format!("{} clients at {}/s", options.clients, options.rate);
    let (p50, p99) = (change(0.5), change(0.99));
    report.latencies(&subject, curves.to_vec());
    report.figure(&subject, "change of p50 by the frozen client", "%", p50);
    report.figure(&subject, "change of p99 by the frozen client", "%", p99);
    report.figure(&subject, "dropped for it, and told", "msg", told as f64);
    report.figure(&subject, "lost by the others", "msg", 0.0);
    let usage = phases.contest.usage();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    report.figure(&subject, "memory before", "MiB", mib(memory_before));
    report.figure(&subject, "memory at most", "MiB", mib(usage.memory_peak()?));
    Ok(())
}

fn overload(report: &mut Report, options: &Options, program: &Program) -> Result<()> {
    let subject = format!("overload, {} clients", options.overloaded);
    let mut phases = Phases::start(program, options.overloaded)?;
    let sustainable = sustainable(&mut phases, options.overload_seconds.min(5))?;
    let calm = (sustainable / 5).max(1);
    let calm_seconds = options.overload_seconds.min(3);
    let before = phases.send(
        "bookwire, before",
        calm,
        calm_seconds,
        warm_up(calm_seconds),
    )?;
    let memory_before = phases.contest.usage().memory()?;

    let rate = sustainable * 2;
    let end = phases.next + rate * options.overload_seconds;
    let schedule = Schedule {
        first: phases.next,
        start: Instant::now(),
        rate,
        measured: phases.next,
        end,
    };
    phases.contest.crowd.measure("bookwire, during", schedule)?;
    let sent = phases.sent(&schedule, end, GRACE)?;
    let during = phases.contest.crowd.measured()?;
    let memory_overload = phases.contest.usage().memory()?;
    let at = sent - schedule.first;

    // From here on as before. Numbers below are still on their way.
    let ended = Instant::now();
    let schedule = Schedule {
        first: sent,
        start: ended,
        rate: calm,
        measured: sent,
        end: sent + calm * (1 + calm_seconds),
    };
    phases.contest.crowd.measure("bookwire, after", schedule)?;
    phases.sent(&schedule, schedule.end, PATIENCE)?;
    let crowd = &phases.contest.crowd;
    let is_told = || -> Result<bool> {
        crowd.well()?;
        let seen = crowd.seen();
        Ok(seen.missing == seen.told)
    };
    let all_told = wait_until(Duration::from_secs(10), is_told);
    thread::sleep(Duration::from_millis(300));
    let seen = crowd.seen();
    all_told.with_context(|| {
        format!(
            "{} messages are missing, {} were told",
            seen.missing, seen.told
        )
    })?;
    let after = crowd.measured()?;
    // The longest latency of a calm second is what it is then again.
    let worst = before.micros(1.0).max(2.0 * before.micros(0.99));
    let recovered = recovery(&seen.tenths, ended, worst);
    let metrics = phases.contest.gateway()?.metrics()?;
    let asked = rate * options.overload_seconds;
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let usage = phases.contest.usage();
    for (name, unit, value) in [
        ("sustainable rate", "msg/s", sustainable as f64),
        ("twice of it, due", "msg", asked as f64),
        ("taken from the exchange's socket", "msg", at as f64),
        ("dropped for clients", "msg", seen.missing as f64),
        ("of those told by system.flow", "msg", seen.told as f64),
        ("wrong or out of order", "msg", 0.0),
        (
            "publications lost between threads",
            "msg",
            metrics.get("publications_lost")? as f64,
        ),
        ("memory before", "MiB", mib(memory_before)),
        (
            "memory at the end of the overload",
            "MiB",
            mib(memory_overload),
        ),
        ("memory at most", "MiB", mib(usage.memory_peak()?)),
        (
            "latency recovered after (-1: not at all)",
            "s",
            recovered.map_or(-1.0, |after| after.as_secs_f64()),
        ),
        ("goal", "s", RECOVERY.as_secs_f64()),
    ] {
        report.figure(&subject, name, unit, value);
    }
    report.latencies(&subject, vec![before, during, after]);
    Ok(())
}

/// Half a second in which no message took longer than `worst`: when it began, after the end of the
/// overload. A single late message afterwards is the machine's.
fn recovery(tenths: &[(Instant, f64)], ended: Instant, worst: f64) -> Option<Duration> {
    let calm = tenths
        .windows(5)
        .find(|half| half.iter().all(|(_, most)| *most <= worst))?;
    Some(calm[0].0.saturating_duration_since(ended))
}

/// The highest rate that was sent open loop for so many tenths of a second with nothing dropped and the last messages in
/// time. Starts from what the clients take when they set the pace.
fn sustainable(phases: &mut Phases, tenths: u64) -> Result<u64> {
    let contest = &mut phases.contest;
    let (window, time) = (OUTBOX as u64 / 2, Duration::from_secs(1));
    let flooded = flood(
        &contest.outlet,
        &mut *contest.supply,
        &contest.crowd,
        window,
        time,
    )?;
    contest.nothing_lost()?;
    phases.next = last_id(contest)? + 1;
    let mut rate = (flooded.frames as f64 / flooded.seconds) as u64;
    ensure!(
        rate > 100,
        "nothing can be sustained: {rate} messages a second"
    );
    let (mut good, mut is_over) = (rate, false);
    for _ in 0..4 + 4 * tenths {
        // A noisy moment of the machine is not the rate's fault.
        if is_sustained(phases, rate, tenths)? || is_sustained(phases, rate, tenths)? {
            good = rate;
            if is_over {
                break;
            }
            rate += rate / 2;
        } else {
            is_over = true;
            rate -= rate / 5;
            good = rate;
        }
    }
    Ok(good)
}

/// Sends for so many tenths of a second at a rate, and waits until all is at rest.
fn is_sustained(phases: &mut Phases, rate: u64, tenths: u64) -> Result<bool> {
    let before = phases.contest.crowd.seen().missing;
    let schedule = Schedule {
        first: phases.next,
        start: Instant::now(),
        rate,
        // The last tenth: what piles up is largest there.
        measured: phases.next + rate * tenths * 9 / 100,
        end: phases.next + rate * tenths / 10,
    };
    phases.contest.crowd.measure("trial", schedule)?;
    let sent = phases.sent(&schedule, schedule.end, GRACE)?;
    let mut delivered = 0;
    // Whatever is still under way arrives.
    while delivered != phases.contest.crowd.delivered() {
        delivered = phases.contest.crowd.delivered();
        thread::sleep(Duration::from_millis(200));
    }
    let crowd = &phases.contest.crowd;
    crowd.well()?;
    let is_whole = sent == schedule.end && crowd.seen().missing == before;
    let is_in_time = crowd
        .measured()
        .is_ok_and(|curve| curve.micros(0.5) < IN_TIME_MICROS);
    Ok(is_whole && is_in_time)
}

/// The number of the last trade that was sent: all of them have arrived.
fn last_id(contest: &Contest) -> Result<u64> {
    contest.crowd.well()?;
    let per_client = contest.crowd.delivered() / contest.crowd.size() as u64;
    Ok(FIRST + per_client - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_half_a_second_of_calm() {
        let ended = Instant::now();
        let tenths = |most: &[f64]| -> Vec<(Instant, f64)> {
            let at = |index: usize| ended + Duration::from_millis(100 * index as u64);
            most.iter()
                .enumerate()
                .map(|(i, most)| (at(i), *most))
                .collect()
        };
        let of = |most: &[f64]| recovery(&tenths(most), ended, 10.0).map(|d| d.as_millis());
        assert_eq!(of(&[1.0; 9]), Some(0));
        assert_eq!(
            of(&[90.0, 50.0, 20.0, 1.0, 1.0, 1.0, 1.0, 1.0, 90.0]),
            Some(300)
        );
        assert_eq!(of(&[90.0, 1.0, 1.0, 1.0, 1.0, 90.0, 1.0, 1.0]), None);
        assert_eq!(of(&[]), None);
    }
}
