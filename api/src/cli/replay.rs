//! `bookwire replay`: recorded raw messages through decoder, book and bars at full speed.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::num::fixed_to_string;
use bookwire_engine::replay::{Replay, ReplayOptions, Report};
use clap::{Args, ValueEnum};

use super::{Failure, input};
use crate::rest::params::provider_names;

/// Errors shown in the table; the JSON report has all.
const ERRORS_SHOWN: usize = 10;

/// Recorded raw messages through decoder, book and bars at full speed, and a report.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Recordings: a raw message a line, or {"recv_ts":…,"raw":…}; plain, .gz or .zst; - is stdin
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Whose messages they are
    #[arg(long, env = "BOOKWIRE_PROVIDER")]
    pub provider: String,
    /// Product line: spot or perp
    #[arg(long, env = "BOOKWIRE_MARKET")]
    pub market: String,
    /// REST answers that the books start from: depth snapshots, instrument lists
    #[arg(long, env = "BOOKWIRE_SNAPSHOT", value_name = "FILE")]
    pub snapshot: Vec<PathBuf>,
    /// Levels a side in the report
    #[arg(
        long,
        env = "BOOKWIRE_DEPTH",
        value_name = "LEVELS",
        default_value_t = 20
    )]
    pub depth: usize,
    /// Form of the report
    #[arg(long, env = "BOOKWIRE_REPORT", value_enum, default_value_t = ReportForm::Table)]
    pub report: ReportForm,
}

/// Form of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportForm {
    /// For people.
    Table,
    /// One JSON object.
    Json,
}

/// Runs the command.
pub fn run(args: &ReplayArgs) -> Result<(), Failure> {
    let usage = |name: &str, value: &str, accepted: String| {
        Failure::Usage(format!(
            "--{name} has the value `{value}`; accepted: {accepted}"
        ))
    };
    let provider = ProviderId::parse(&args.provider)
        .ok_or_else(|| usage("provider", &args.provider, provider_names()))?;
    let market = Market::parse(&args.market)
        .ok_or_else(|| usage("market", &args.market, "spot, perp".to_owned()))?;
    let options = ReplayOptions {
        depth: args.depth,
        ..ReplayOptions::default()
    };
    let mut replay = Replay::new(provider, market, options)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    // Open all before the first is read: a misspelt name is told at once.
    let snapshots = open_all(&args.snapshot)?;
    let files = open_all(&args.files)?;
    let mut line = Vec::with_capacity(1 << 16);
    for (name, mut file) in snapshots {
        replay.begin_file(&name);
        let mut number = 0;
        while input::next_line(&mut *file, &mut line).with_context(|| name.clone())? {
            number += 1;
            replay.snapshot_line(number, &line);
        }
    }
    let mut elapsed = Duration::ZERO;
    for (name, mut file) in files {
        replay.begin_file(&name);
        let since = Instant::now();
        let mut number = 0;
        while input::next_line(&mut *file, &mut line).with_context(|| name.clone())? {
            number += 1;
            replay.line(number, &line);
        }
        elapsed += since.elapsed();
    }
    let report = replay.finish(elapsed);
    let text = match args.report {
        ReportForm::Json => report.to_json().to_string(),
        ReportForm::Table => table(&report),
    };
    print(&text)
}

type Input = (String, Box<dyn std::io::BufRead>);

fn open_all(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    paths
        .iter()
        .map(|path| {
            let name = path.display().to_string();
            match input::open(path) {
                Ok(file) => Ok((name, file)),
                Err(error) => Err(Failure::Usage(format!("can't read {name}: {error}"))),
            }
        })
        .collect()
}

/// Prints to a reader that may have gone.
fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn table(report: &Report) -> String {
    let mib = report.bytes as f64 / f64::from(1 << 20);
    let mut lines = vec![
        format!(
            "{} messages, {mib:.1} MiB in {:.3} s: {:.0} messages/s",
            report.messages,
            report.seconds,
            report.messages_per_second()
        ),
        format!(
            "{} errors, {} control messages, {} skipped, {} of unknown symbols",
            report.errors_total, report.control, report.skipped, report.unknown_symbols
        ),
        String::new(),
        format!(
            "{:<16} {:>6} {:>9} {:>5} {:>9} {:>6} {:>11} {:>16} {:>16}",
            "symbol", "synced", "updates", "gaps", "trades", "bars", "bbo checks", "bid", "ask"
        ),
    ];
    for (code, row) in &report.symbols {
        let best = |levels: &[bookwire_engine::event::BookLevel]| {
            levels.first().map_or("-".to_owned(), |level| {
                fixed_to_string(level.price.0, row.price_scale)
            })
        };
        let checks = match row.bbo_mismatches {
            0 => format!("{} ok", row.bbo_checks),
            wrong => format!("{wrong}/{} BAD", row.bbo_checks),
        };
        lines.push(format!(
            "{code:<16} {:>6} {:>9} {:>5} {:>9} {:>6} {checks:>11} {:>16} {:>16}",
            if row.synced { "yes" } else { "no" },
            row.updates,
            row.gaps,
            row.trades,
            row.klines_1m.len(),
            best(&row.bids),
            best(&row.asks),
        ));
    }
    if report.errors_total > 0 {
        lines.push(String::new());
    }
    for error in report.errors.iter().take(ERRORS_SHOWN) {
        let file = error.file.as_deref().unwrap_or_default();
        lines.push(format!("{file}:{}: {}", error.line, error.reason));
    }
    let hidden = report.errors_total.saturating_sub(ERRORS_SHOWN as u64);
    if hidden > 0 {
        lines.push(format!("and {hidden} more: --report json names them"));
    }
    lines.join("\n")
}
