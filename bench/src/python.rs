//! The neighbours in Python: cryptofeed and ccxt.pro, each a process that subscribes to the same fake
//! exchange, gets the same bytes, and notes when its user's code had each trade.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, ensure};

use crate::crowd::Schedule;
use crate::fake::{Fake, TRADES, push_trade};
use crate::histogram::Curve;
use crate::latency::{Options, send};
use crate::report::Report;
use crate::source::{Supply, Trades};

/// Name, module that has to be there, script.
const PEERS: [(&str, &str, &str); 2] = [
    (
        "cryptofeed",
        "cryptofeed",
        include_str!("../peers/cryptofeed_trades.py"),
    ),
    (
        "ccxt.pro",
        "ccxt.pro",
        include_str!("../peers/ccxt_trades.py"),
    ),
];

/// Trades that are sent as fast as they are taken.
const FLOOD: u64 = 50_000;

/// A peer's name, trades a second as fast as it takes them, trades that never came.
pub(crate) type Rate = (String, f64, u64);

/// Measures the peers that there are, and says which are not.
pub(crate) fn measure(
    options: &Options,
    report: &mut Report,
    curves: &mut Vec<Curve>,
    rates: &mut Vec<Rate>,
) -> Result<()> {
    for (name, module, script) in PEERS {
        let Some(python) = &options.python else {
            report.not_measured(name, "no --python with an interpreter that has it");
            continue;
        };
        let has = Command::new(python)
            .args(["-c", &format!("import {module}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match has {
            Ok(status) if status.success() => match peer(options, python, script) {
                Ok((curve, rate)) => {
                    curves.push(curve);
                    rates.push(rate);
                }
                Err(error) => report.not_measured(name, &format!("{error:#}")),
            },
            Ok(_) => report.not_measured(name, &format!("{} has no {module}", python.display())),
            Err(error) => report.not_measured(name, &format!("{}: {error}", python.display())),
        }
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

fn peer(options: &Options, python: &Path, script: &str) -> Result<(Curve, Rate)> {
    let fake = Fake::start(b"{}")?;
    let mut schedule = options.schedule(Instant::now());
    let last = schedule.end + FLOOD - 1;
    let mut child = Running(
        Command::new(python)
            .args(["-c", script])
            .args([
                format!("http://{}", fake.rest()),
                format!("ws://{}", fake.stream()),
                last.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut stdout = child.0.stdout.take().context("no output")?;
    let (send_text, text) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text).map(|_| text);
        let _ = send_text.send(read);
    });
    let outlet = fake.outlet(TRADES, Duration::from_secs(30))?;
    // It may still be about to listen.
    thread::sleep(Duration::from_millis(500));
    let wall = SystemTime::now();
    schedule.start = Instant::now();
    send(&outlet, &schedule, push_trade)?;
    // What it lags behind by is not the flood's.
    thread::sleep(Duration::from_secs(2));
    let flood_start = SystemTime::now();
    let mut supply = Trades(schedule.end);
    let mut out = Vec::new();
    while supply.0 <= last {
        out.clear();
        supply.next(&mut out, (last + 1 - supply.0).min(64) as usize)?;
        outlet.write(&out)?;
    }
    let text = text
        .recv_timeout(Duration::from_secs(60))
        .map_err(|_| anyhow!("it did not get the last trade within a minute"))??;
    read(&text, &schedule, last, wall, flood_start)
}

fn nanos(time: SystemTime) -> Result<u64> {
    Ok(u64::try_from(
        time.duration_since(SystemTime::UNIX_EPOCH)?.as_nanos(),
    )?)
}

/// What a peer wrote: its name and version, then numbers and times.
fn read(
    text: &str,
    schedule: &Schedule,
    last: u64,
    wall: SystemTime,
    flood_start: SystemTime,
) -> Result<(Curve, Rate)> {
    let mut lines = text.lines();
    let name = lines.next().context("it wrote nothing")?.to_owned();
    let (start, flood_start) = (nanos(wall)?, nanos(flood_start)?);
    let mut curve = Curve::new(name.clone())?;
    curve.began = wall;
    let (mut came, mut flooded, mut end) = (0u64, 0u64, flood_start);
    for line in lines {
        let (number, at) = line.split_once(' ').context("a line without a time")?;
        let (number, at): (u64, u64) = (number.parse()?, at.parse()?);
        ensure!(
            (schedule.first..=last).contains(&number),
            "trade {number} was never sent"
        );
        came += 1;
        if number >= schedule.end {
            flooded += 1;
            end = end.max(at);
        } else if number >= schedule.measured {
            let due = schedule
                .due(number)
                .duration_since(schedule.start)
                .as_nanos();
            let due = start + u64::try_from(due)?;
            curve.histogram.record(at.saturating_sub(due))?;
        }
    }
    ensure!(
        flooded > 0 && !curve.histogram.is_empty(),
        "too few trades came: {came}"
    );
    curve.took = Duration::from_nanos(flood_start - start);
    let seconds = (end - flood_start) as f64 / 1e9;
    let lost = (last + 1 - schedule.first).saturating_sub(came);
    Ok((curve, (name, flooded as f64 / seconds, lost)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_output_is_read() {
        let start = Instant::now();
        let schedule = Schedule {
            first: 10,
            start,
            rate: 1_000,
            measured: 11,
            end: 13,
        };
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let flood = SystemTime::UNIX_EPOCH + Duration::from_secs(200);
        let text = "peer 1.0\n10 100000000000\n11 100001050000\n12 100002070000\n\
                    13 200000500000\n15 200001000000\n";
        let (curve, (name, rate, lost)) = read(text, &schedule, 15, wall, flood).unwrap();
        assert_eq!(name, "peer 1.0");
        // Due a millisecond apart: 50 and 70 µs late.
        assert_eq!(curve.histogram.len(), 2);
        assert!((curve.micros(0.5) - 50.0).abs() < 0.1 && (curve.micros(1.0) - 70.0).abs() < 0.1);
        assert!((rate - 2_000.0).abs() < 0.1, "{rate}");
        assert_eq!(lost, 1);
        for bad in ["", "peer\n", "peer\n11\n", "peer\n99 5\n"] {
            assert!(read(bad, &schedule, 15, wall, flood).is_err(), "{bad:?}");
        }
    }
}
