//! `fan-out`: one stream to many clients, messages delivered a second, all clients together and their
//! own work included. The floor is a broadcaster written for nothing else.

use std::time::Duration;

use anyhow::Result;

use crate::contest::{Contest, many_clients};
use crate::gateway::Program;
use crate::report::Report;
use crate::source::{Flooded, flood};

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Numbers of clients, one after the other.
    pub clients: Vec<usize>,
    /// Seconds of each flood.
    pub seconds: f64,
}

/// Messages under way for each client at most.
const WINDOW: u64 = 4_096;

/// Runs the scenario.
///
/// # Errors
/// When anything does not start, and when a message is lost.
pub fn run(options: &Options, program: &Program) -> Result<Report> {
    let mut report = Report::new(
        "fan-out",
        "closed loop, as fast as all clients take it; the exchange and the clients, all on one \
         thread, are in this process, what is measured in its own; every message of every client is \
         accounted for; higher is better",
    );
    report.condition("seconds of each flood", options.seconds);
    report.condition("warm-up", "the first tenth");
    report.condition("window of each client", WINDOW);
    let time = Duration::from_secs_f64(options.seconds);
    for &clients in &options.clients {
        let mut contest = Contest::bookwire(program, &many_clients(16_384), clients)?;
        let ours = measure(&mut contest, time)?;
        let seen = contest.crowd.seen();
        let memory = contest.usage().memory_peak()?;
        drop(contest);
        let mut contest = Contest::broadcaster(clients, seen.message_bytes)?;
        let floor = measure(&mut contest, time)?;
        let subject = format!("{clients} clients, {} bytes a message", seen.message_bytes);
        let figures = vec![
            ("bookwire".to_owned(), ours.per_second()),
            ("floor: batching broadcaster".to_owned(), floor.per_second()),
        ];
        report.add(&subject, "msg/s", figures);
        report.figure(&subject, "lost", "msg", 0.0);
        let mib = memory as f64 / f64::from(1 << 20);
        report.figure(&subject, "bookwire, memory at most", "MiB", mib);
    }
    Ok(report)
}

fn measure(contest: &mut Contest, time: Duration) -> Result<Flooded> {
    let flooded = flood(
        &contest.outlet,
        &mut *contest.supply,
        &contest.crowd,
        WINDOW,
        time,
    )?;
    contest.nothing_lost()?;
    Ok(flooded)
}
