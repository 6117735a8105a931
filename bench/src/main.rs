//! The latency and throughput harness: `cargo run --release -p bench -- <scenario>|all`.

mod arguments;
mod book;
mod decode;
#[cfg(feature = "peers")]
mod peers;
#[cfg(target_arch = "x86_64")]
mod scanner;

use std::process::ExitCode;

use anyhow::Result;
use bookwire_bench::gateway::Program;
use bookwire_bench::{captures, fan_out, floor, latency, load, order_entry, report, rest};
use bookwire_bench::{slow_client, soak, store, target, throughput};
use clap::Parser;

use arguments::{Arguments, Scenario};

/// The one that `bookwire` has: what is measured here is to be what users run. Floors have it as well.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            // On one line, as all that went wrong on the way belongs together.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode> {
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
    arguments.check()?;
    Ok(match run(&arguments)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Whether all was as it has to be.
fn run(arguments: &Arguments) -> Result<bool> {
    let out = &arguments.out;
    if let Some(url) = &arguments.target {
        target::run(&arguments.target(url))?.finish(out)?;
        return Ok(true);
    }
    let program = match &arguments.program {
        Some(path) => Program::other(path),
        None => Program::this()?,
    };
    let mut is_met = true;
    let wants = |scenario| arguments.wants(scenario);
    if wants(Scenario::Decode) || wants(Scenario::Book) || wants(Scenario::Throughput) {
        let captures = captures::load(&captures::folder(arguments.captures.as_deref())?)?;
        if wants(Scenario::Decode) {
            finish_with_peers(decode::run(&captures, arguments.turns)?, arguments)?;
        }
        if wants(Scenario::Book) {
            finish_with_peers(book::run(&captures, arguments.turns)?, arguments)?;
        }
        if wants(Scenario::Throughput) {
            throughput::run(&arguments.throughput(), &program, &captures)?.finish(out)?;
        }
    }
    if wants(Scenario::TickToClient) {
        latency::run(&arguments.latency(), &program)?.finish(out)?;
    }
    if wants(Scenario::FanOut) {
        fan_out::run(&arguments.fan_out(), &program)?.finish(out)?;
    }
    if wants(Scenario::SlowClient) {
        slow_client::run(&arguments.slow_client(), &program)?.finish(out)?;
    }
    if wants(Scenario::Rest) {
        rest::run(&arguments.rest(), &program)?.finish(out)?;
    }
    if wants(Scenario::OrderEntry) {
        order_entry::run(&arguments.order_entry(), &program)?.finish(out)?;
    }
    if wants(Scenario::Store) {
        store::run(&arguments.store()?)?.finish(out)?;
    }
    if wants(Scenario::Load) {
        let load = arguments.load();
        load::run(&load, &program)?.report(&load).finish(out)?;
    }
    if wants(Scenario::Soak) {
        let report = soak::run(&arguments.soak(), &program)?;
        report.finish(out)?;
        is_met &= report.is_met();
    }
    Ok(is_met)
}

/// Reports of scenarios whose peers are crates, which may not have been built in.
fn finish_with_peers(mut report: report::Report, arguments: &Arguments) -> Result<()> {
    report.condition("measured turns", arguments.turns);
    report.condition("warm-up", "one turn");
    if !cfg!(feature = "peers") {
        for peer in ["barter-data", "nautilus", "hftbacktest"] {
            report.not_measured(peer, "built without --features peers");
        }
    }
    report.finish(&arguments.out)
}
