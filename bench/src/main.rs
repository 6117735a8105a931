//! The latency and throughput harness: `cargo run --release -p bench -- <scenario>|all`.

mod book;
mod decode;
mod latency;
#[cfg(feature = "peers")]
mod peers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use bookwire_bench::{captures, floor, load, report, throughput};
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
    /// Messages a second. `tick-to-client`: 10000 unless given; `load`: 7581, three times the
    /// recordings' busiest second.
    #[arg(long)]
    rate: Option<u64>,
    /// Measured seconds. `tick-to-client`: 10 unless given; `load`: 60.
    #[arg(long)]
    seconds: Option<u64>,
    /// Symbols of `load`, a quarter of them on each exchange.
    #[arg(long, default_value_t = 200)]
    symbols: usize,
    /// Seed of the simulated markets of `load`.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder for the reports.
    #[arg(long, default_value = "bench/out")]
    out: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Frames to events, ns a level and a trade.
    Decode,
    /// Deltas into a book with both top 20s read, ns a level.
    Book,
    /// A trade from the exchange's socket to a client's, next to a raw TCP relay.
    TickToClient,
    /// Many symbols of all exchanges at a steady rate: nothing lost, memory and processor time.
    Load,
    /// How much goes in and comes out: from memory, from a socket, through to a client.
    Throughput,
    /// All of them.
    All,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().collect();
    // The parts that are measured run as child processes of this program.
    match words.get(1).map(String::as_str) {
        Some("bookwire") => return Ok(bookwire_api::cli::run(words.into_iter().skip(1))),
        Some("floor") => {
            floor::main(&words[2..])?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let arguments = Arguments::parse();
    let wants = |scenario| arguments.scenario == scenario || arguments.scenario == Scenario::All;
    if wants(Scenario::Decode) || wants(Scenario::Book) {
        let captures = captures::load(&captures::folder(arguments.captures.as_deref())?)?;
        if wants(Scenario::Decode) {
            decode::run(&captures, arguments.turns)?.finish(&arguments.out)?;
        }
        if wants(Scenario::Book) {
            book::run(&captures, arguments.turns)?.finish(&arguments.out)?;
        }
    }
    if wants(Scenario::Throughput) {
        let captures = captures::load(&captures::folder(arguments.captures.as_deref())?)?;
        let options = throughput::Options {
            seconds: arguments.seconds.unwrap_or(5),
            turns: arguments.turns,
        };
        let program = load::Program::this()?;
        throughput::run(&options, &program, &captures)?.finish(&arguments.out)?;
    }
    if wants(Scenario::TickToClient) {
        let load = latency::Load {
            rate: arguments.rate.unwrap_or(10_000),
            seconds: arguments.seconds.unwrap_or(10),
            warm_up: 3,
        };
        latency::run(load, &arguments.out)?.finish(&arguments.out)?;
    }
    if wants(Scenario::Load) {
        let usual = load::Load::default();
        let load = load::Load {
            symbols: arguments.symbols,
            rate: arguments.rate.unwrap_or(usual.rate),
            seconds: arguments.seconds.unwrap_or(usual.seconds),
            seed: arguments.seed,
            faults: Vec::new(),
        };
        let program = load::Program {
            path: std::env::current_exe()?,
            arguments: vec!["bookwire".to_owned()],
        };
        let outcome = load::run(&load, &program)?;
        outcome.report(&load).finish(&arguments.out)?;
    }
    Ok(ExitCode::SUCCESS)
}
