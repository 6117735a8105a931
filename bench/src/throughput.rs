//! `throughput`: how much goes in, and how much comes out.
//!
//! - From memory: recorded messages through the replay: decoder, book, bars. One core, no socket.
//! - From a socket, no subscriber: an exchange on this machine sends as fast as it is read. The floor
//!   is the same WebSocket library reading the same bytes and throwing them away.
//! - The whole path: the exchange sends, one client receives. At most a window of messages is under
//!   way, so that nothing may be dropped, and whatever does not arrive is an error. The floor passes
//!   the frames on as they are.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::replay::{Replay, ReplayOptions};

use crate::captures::Capture;
use crate::contest::SUBSCRIBE;
use crate::crowd::{Crowd, Kind};
use crate::fake::{DEPTH, Fake, Outlet, TRADES, wait_until};
use crate::floor::Floor;
use crate::gateway::{Gateway, Program, free_address};
use crate::report::{Contender, Report, duel};
use crate::source::{Flooded, Laps, Supply, flood};
use crate::tape::Tape;
use crate::ws;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Seconds of each flood.
    pub seconds: f64,
    /// Turns from memory.
    pub turns: usize,
}

/// Time that something may need to start.
const START: Duration = Duration::from_secs(30);
/// Messages under way on the whole path: trades are short, changes of books are not.
const WINDOW_TRADES: u64 = 4_096;
const WINDOW_BOOKS: u64 = 512;
/// Levels of the books that a client subscribes to.
const DEPTHS: [usize; 2] = [20, 1_000];

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, and when a message is lost.
pub fn run(options: &Options, program: &Program, captures: &[Capture]) -> Result<Report> {
    let mut report = Report::new(
        "throughput",
        "closed loop, as fast as the receiver takes it; the exchange and the client are in this \
         process, what is measured in its own; every message is accounted for; higher is better",
    );
    report.condition("seconds of each flood", options.seconds);
    report.condition("warm-up", "the first tenth");
    report.condition("window, trades", WINDOW_TRADES);
    report.condition("window, books", WINDOW_BOOKS);
    report.condition("turns from memory", options.turns);
    for capture in captures {
        from_memory(&mut report, capture, options.turns)?;
    }
    let spot = captures
        .iter()
        .find(|capture| capture.depth.iter().any(|f| has(f, DEPTH)))
        .context("no recording of spot books")?;
    for kind in ["changes of a book", "trades"] {
        from_socket(&mut report, options, program, spot, kind)?;
    }
    for depth in DEPTHS {
        let subject = format!("whole path, one client, book of {depth}");
        let tape = || Tape::depth(spot, depth);
        let ours = path_of_books(options, program, spot, tape()?, depth)?;
        let floor = floor_of_path(options, tape()?, DEPTH, WINDOW_BOOKS)?;
        whole(
            &mut report,
            &subject,
            ours,
            floor,
            tape()?.size() / tape()?.len(),
        );
    }
    let tape = || Tape::trades(spot);
    let ours = path_of_trades(options, program, spot, tape()?)?;
    let floor = floor_of_path(options, tape()?, TRADES, WINDOW_TRADES)?;
    let subject = "whole path, one client, trades";
    whole(
        &mut report,
        subject,
        ours,
        floor,
        tape()?.size() / tape()?.len(),
    );
    Ok(report)
}

fn has(frame: &[u8], text: &str) -> bool {
    frame.windows(text.len()).any(|at| at == text.as_bytes())
}

fn whole(report: &mut Report, subject: &str, ours: Flooded, floor: Flooded, bytes: usize) {
    let figures = vec![
        ("bookwire".to_owned(), ours.per_second()),
        ("floor: relay of frames".to_owned(), floor.per_second()),
    ];
    report.add(subject, "msg/s", figures);
    let read = ours.frames as f64 / ours.seconds;
    report.figure(subject, "bookwire, frames read", "frames/s", read);
    report.figure(subject, "mean size of a frame read", "bytes", bytes as f64);
    report.figure(subject, "lost", "msg", 0.0);
}

fn from_memory(report: &mut Report, capture: &Capture, turns: usize) -> Result<()> {
    let kinds = [
        ("book", &capture.depth, capture.levels, "M levels/s"),
        (
            "trades",
            &capture.trades,
            capture.trades.len(),
            "M trades/s",
        ),
    ];
    for (what, frames, units, unit) in kinds {
        let replayed = replay(capture, frames)?;
        ensure!(replayed > 0, "the recording's {what} say nothing");
        let mut copy = Vec::new();
        let mut contenders: Vec<Contender<'_>> = vec![
            (
                "bookwire".to_owned(),
                Box::new(|| replay(capture, frames).unwrap_or(0)),
            ),
            (
                "floor: copy the frame".to_owned(),
                Box::new(move || {
                    let mut sum = 1u64;
                    for frame in frames {
                        copy.clear();
                        copy.extend_from_slice(frame);
                        sum += u64::from(copy[copy.len() / 2]);
                    }
                    sum
                }),
            ),
        ];
        let figures = duel(&mut contenders, units, turns);
        let figures = figures.into_iter().map(|(name, nanos)| (name, 1e3 / nanos));
        report.add(
            &format!("from memory, {what}, {}", capture.name),
            unit,
            figures.collect(),
        );
    }
    Ok(())
}

/// Replays messages of one kind. Returns how many were applied; all must be.
fn replay(capture: &Capture, frames: &[Vec<u8>]) -> Result<u64> {
    let mut replay = Replay::new(
        ProviderId::BINANCE,
        capture.market,
        ReplayOptions::default(),
    )?;
    let mut number = 0;
    let mut is_snapshot_due = true;
    for frame in frames {
        number += 1;
        replay.line(number, frame);
        if is_snapshot_due {
            // It names no symbol: the first message does.
            replay.snapshot_line(1, &capture.snapshot);
            is_snapshot_due = false;
        }
    }
    let report = replay.finish(Duration::ZERO);
    ensure!(report.errors.is_empty(), "{:?}", report.errors.first());
    let symbols = report.symbols.values();
    let gaps: u64 = symbols.clone().map(|symbol| symbol.gaps).sum();
    ensure!(gaps == 0, "{gaps} gaps");
    Ok(symbols.map(|symbol| symbol.updates + symbol.trades).sum())
}

/// A gateway whose book is in step with the exchange, and the connection of its streams.
fn started(program: &Program, fake: &Fake, always: &[&str], more: &str) -> Result<Gateway> {
    let config = format!("[engine]\nshards = 1\n\n{more}{}", fake.config(always));
    let mut gateway = Gateway::start(program, "workers = 1\n", &config)?;
    gateway.wait("binance")?;
    Ok(gateway)
}

/// Sends the first change of a lap and waits until the book has begun with the snapshot.
fn begin_book(gateway: &Gateway, outlet: &Outlet, laps: &mut Laps) -> Result<()> {
    let mut out = Vec::new();
    laps.next(&mut out, 1)?;
    outlet.write(&out)?;
    let synced = wait_until(START, || Ok(gateway.metrics()?.get("book_snapshots")? > 0));
    synced.with_context(|| format!("the book did not begin\n{}", gateway.log()))?;
    thread::sleep(Duration::from_millis(300));
    Ok(())
}

fn from_socket(
    report: &mut Report,
    options: &Options,
    program: &Program,
    capture: &Capture,
    kind: &str,
) -> Result<()> {
    let time = Duration::from_secs_f64(options.seconds);
    let is_book = kind != "trades";
    let stream = if is_book { DEPTH } else { TRADES };
    let laps = || -> Result<Laps> {
        Ok(Laps::new(match is_book {
            true => Tape::depth(capture, DEPTHS[0])?,
            false => Tape::trades(capture)?,
        }))
    };
    let subject = format!("from a socket, no subscriber, {kind}");

    let fake = Fake::start(&capture.snapshot)?;
    let gateway = started(program, &fake, &["btcusdt"], "")?;
    let outlet = fake.outlet(stream, START)?;
    let mut ours = laps()?;
    if is_book {
        begin_book(&gateway, &outlet, &mut ours)?;
    }
    let before = gateway.metrics()?;
    let cpu = gateway.usage().processor_time()?;
    let start = Instant::now();
    let sent = pour(&outlet, &mut ours, time)?;
    let counter = if is_book { "book_deltas" } else { "trades" };
    let read =
        |name: &str| -> Result<u64> { Ok(gateway.metrics()?.get(name)? - before.get(name)?) };
    let all = wait_until(Duration::from_secs(60), || Ok(read(counter)? >= sent));
    let seconds = start.elapsed().as_secs_f64();
    all.with_context(|| {
        format!(
            "{} of {sent} {counter} were read",
            read(counter).unwrap_or(0)
        )
    })?;
    let cores = (gateway.usage().processor_time()? - cpu).as_secs_f64() / seconds;
    ensure!(
        read(counter)? == sent,
        "{sent} were sent, {} read",
        read(counter)?
    );
    for name in [
        "malformed",
        "book_desyncs",
        "trades_missed",
        "trades_repeated",
        "skipped",
    ] {
        ensure!(read(name)? == 0, "{name}: {}", read(name)?);
    }
    let rows_lost = read("rows_lost")?;
    drop(gateway);

    let floor = floor_of_socket(stream, laps()?, time)?;
    let rate = sent as f64 / seconds;
    let figures = vec![
        ("bookwire".to_owned(), rate),
        ("floor: tokio-tungstenite reader".to_owned(), floor),
    ];
    report.add(&subject, "frames/s", figures);
    let tape = laps()?;
    let per_frame = tape.tape().levels as f64 / tape.tape().len() as f64;
    if is_book {
        report.figure(&subject, "bookwire", "M levels/s", rate * per_frame / 1e6);
    }
    report.figure(&subject, "bookwire, processor", "cores", cores);
    report.figure(&subject, "lost", "msg", 0.0);
    report.figure(
        &subject,
        "rows not stored in time",
        "rows",
        rows_lost as f64,
    );
    Ok(())
}

/// Writes as fast as the other side reads. Returns how many frames.
fn pour(outlet: &Outlet, supply: &mut dyn Supply, time: Duration) -> Result<u64> {
    let end = Instant::now() + time;
    let (mut out, mut frames) = (Vec::new(), 0);
    while Instant::now() < end {
        out.clear();
        frames += supply.next(&mut out, 64)?.0;
        outlet.write(&out)?;
    }
    Ok(frames)
}

fn floor_of_socket(stream: &str, mut laps: Laps, time: Duration) -> Result<f64> {
    let fake = Fake::start(b"{}")?;
    let _floor = Floor::start(&["reader", &fake.stream().to_string(), stream])?;
    let outlet = fake.outlet(stream, START)?;
    let start = Instant::now();
    let sent = pour(&outlet, &mut laps, time)?;
    let mut close = Vec::new();
    ws::push_frame(&mut close, ws::CLOSE, &[]);
    outlet.write(&close)?;
    fake.wait_for_close(START)?;
    Ok(sent as f64 / start.elapsed().as_secs_f64())
}

fn path_of_books(
    options: &Options,
    program: &Program,
    capture: &Capture,
    tape: Tape,
    depth: usize,
) -> Result<Flooded> {
    let fake = Fake::start(&capture.snapshot)?;
    let gateway = started(program, &fake, &[], ROOMY)?;
    let request = format!(
        "{{\"id\":1,\"method\":\"subscribe\",\"params\":{{\"stream\":\"crypto.orderbook\",\
         \"provider\":\"binance\",\"symbols\":[\"btcusdt\"],\"mode\":\"delta\",\"depth\":{depth}}}}}"
    );
    let crowd = Crowd::connect(gateway.api(), 1, Some(&request), Kind::Books)?;
    let outlet = fake.outlet(DEPTH, START)?;
    let mut laps = Laps::new(tape);
    begin_book(&gateway, &outlet, &mut laps)?;
    wait_until(START, || Ok(crowd.snapshots() > 0)).context("no snapshot came")?;
    let time = Duration::from_secs_f64(options.seconds);
    let flooded = flood(&outlet, &mut laps, &crowd, WINDOW_BOOKS, time)?;
    nothing_lost(&gateway, &crowd)?;
    Ok(flooded)
}

fn path_of_trades(
    options: &Options,
    program: &Program,
    capture: &Capture,
    tape: Tape,
) -> Result<Flooded> {
    let fake = Fake::start(&capture.snapshot)?;
    let gateway = started(program, &fake, &[], ROOMY)?;
    let crowd = Crowd::connect(gateway.api(), 1, Some(SUBSCRIBE), Kind::Trades)?;
    let outlet = fake.outlet(TRADES, START)?;
    let time = Duration::from_secs_f64(options.seconds);
    let flooded = flood(&outlet, &mut Laps::new(tape), &crowd, WINDOW_TRADES, time)?;
    nothing_lost(&gateway, &crowd)?;
    Ok(flooded)
}

/// A client's queue takes a window of messages.
const ROOMY: &str = "[websocket]\noutbox_messages = 16384\n\n";

fn nothing_lost(gateway: &Gateway, crowd: &Crowd) -> Result<()> {
    let seen = crowd.seen();
    ensure!(
        seen.missing == 0 && seen.told == 0,
        "{} messages are missing, {} were told to be",
        seen.missing,
        seen.told
    );
    let metrics = gateway.metrics()?;
    for name in [
        "malformed",
        "book_desyncs",
        "trades_missed",
        "publications_lost",
    ] {
        let count = metrics.get(name)?;
        ensure!(count == 0, "{name}: {count}");
    }
    Ok(())
}

fn floor_of_path(options: &Options, tape: Tape, stream: &str, window: u64) -> Result<Flooded> {
    let fake = Fake::start(b"{}")?;
    let at = free_address()?;
    let source = fake.stream().to_string();
    let _floor = Floor::start(&["broadcast", &source, stream, &at.to_string(), "1"])?;
    let crowd = Crowd::connect(at, 1, None, Kind::Counted)?;
    let outlet = fake.outlet(stream, START)?;
    let time = Duration::from_secs_f64(options.seconds);
    // A frame is a message, whether it changes the best levels or not.
    struct All(Laps);
    impl Supply for All {
        fn next(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(u64, u64)> {
            let (frames, _) = self.0.next(out, most)?;
            Ok((frames, frames))
        }
    }
    flood(&outlet, &mut All(Laps::new(tape)), &crowd, window, time)
}
