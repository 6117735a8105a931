//! The latency and throughput harness: `cargo run --release -p bench -- <scenario>|all`.

mod book;
mod captures;
mod decode;
#[cfg(feature = "peers")]
mod peers;
mod report;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};

/// Measures bookwire on this machine, next to floors and, with `--features peers`, its neighbours.
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// What to measure.
    scenario: Scenario,
    /// Folder of recorded messages.
    #[arg(long)]
    captures: Option<PathBuf>,
    /// Measured turns of each contender; one more warms up.
    #[arg(long, default_value_t = 9)]
    turns: usize,
    /// Folder for the JSON reports.
    #[arg(long, default_value = "bench/out")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Frames to events, ns a level and a trade.
    Decode,
    /// Deltas into a book with both top 20s read, ns a level.
    Book,
    /// All of them.
    All,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wants = |scenario| arguments.scenario == scenario || arguments.scenario == Scenario::All;
    let captures = captures::load(&captures::folder(arguments.captures.as_deref())?)?;
    if wants(Scenario::Decode) {
        decode::run(&captures, arguments.turns)?.finish(&arguments.out)?;
    }
    if wants(Scenario::Book) {
        book::run(&captures, arguments.turns)?.finish(&arguments.out)?;
    }
    Ok(())
}
