//! What a run prints and writes: a table for people, JSON for programs, with what a reader needs to
//! judge the figures.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

/// One measured figure.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What was measured, e.g. the recording's name.
    pub subject: String,
    /// Who did it: `bookwire`, a peer with its version, or a floor.
    pub contender: String,
    /// The figure.
    pub value: f64,
    /// Its unit: `ns/level`, `µs p50`.
    pub unit: &'static str,
    /// This figure divided by bookwire's: above 1 means slower than bookwire where lower is better.
    pub ratio: Option<f64>,
}

/// A scenario's result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Scenario name.
    pub scenario: &'static str,
    /// Seconds since the Unix epoch at which it ended.
    pub unix_time: u64,
    /// Processor, cores, operating system.
    pub machine: String,
    /// bookwire's version.
    pub version: &'static str,
    /// How it was measured, in words.
    pub method: &'static str,
    /// The figures.
    pub rows: Vec<Row>,
}

impl Report {
    /// A report without rows.
    #[must_use]
    pub fn new(scenario: &'static str, method: &'static str) -> Self {
        let unix_time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let version = env!("CARGO_PKG_VERSION");
        Self {
            scenario,
            unix_time,
            machine: machine(),
            version,
            method,
            rows: Vec::new(),
        }
    }

    /// Adds the medians of one subject's contenders; the first one is bookwire.
    pub fn add(&mut self, subject: &str, unit: &'static str, figures: Vec<(String, f64)>) {
        let ours = figures.first().map(|(_, value)| *value);
        for (contender, value) in figures {
            let ratio = ours.filter(|ours| *ours > 0.0).map(|ours| value / ours);
            self.rows.push(Row {
                subject: subject.to_owned(),
                contender,
                value,
                unit,
                ratio,
            });
        }
    }

    /// Adds a figure that is compared with none.
    pub fn figure(&mut self, subject: &str, name: &str, unit: &'static str, value: f64) {
        self.rows.push(Row {
            subject: subject.to_owned(),
            contender: name.to_owned(),
            value,
            unit,
            ratio: None,
        });
    }

    /// The table, as text.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "\n{} — {}\n{}\n\n",
            self.scenario, self.machine, self.method
        );
        text.push_str(&format!(
            "{:<42} {:<34} {:>12} {:<10} {:>8}\n",
            "subject", "contender", "figure", "unit", "× ours"
        ));
        for row in &self.rows {
            let ratio = row
                .ratio
                .map_or(String::new(), |ratio| format!("{ratio:.2}"));
            text.push_str(&format!(
                "{:<42} {:<34} {:>12.1} {:<10} {:>8}\n",
                row.subject, row.contender, row.value, row.unit, ratio
            ));
        }
        text
    }

    /// Prints the table and writes `{scenario}.json` into a folder.
    ///
    /// # Errors
    /// When the folder or the file can't be written.
    pub fn finish(&self, folder: &Path) -> Result<()> {
        println!("{}", self.table());
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let path = folder.join(format!("{}.json", self.scenario));
        fs::write(&path, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("write {}", path.display()))?;
        println!("written: {}", path.display());
        Ok(())
    }
}

fn machine() -> String {
    let model = fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find(|line| line.starts_with("model name"))?
                .to_owned();
            Some(line.split(':').nth(1)?.trim().to_owned())
        })
        .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{model}, {cores} cores, {}", std::env::consts::OS)
}

/// One way of doing the work: a name and a closure that does all of it once.
pub type Contender<'a> = (String, Box<dyn FnMut() -> u64 + 'a>);

/// Runs the contenders in turns, so that a noisy minute hits all of them, and returns each one's
/// median time per unit of work, nanoseconds. A closure's sum is kept so that nothing is optimised
/// away, and must be the same in every turn.
pub fn duel(contenders: &mut [Contender<'_>], units: usize, turns: usize) -> Vec<(String, f64)> {
    let mut times = vec![Vec::with_capacity(turns); contenders.len()];
    for turn in 0..=turns {
        for (index, (_, work)) in contenders.iter_mut().enumerate() {
            let started = Instant::now();
            let sum = std::hint::black_box(work());
            let elapsed = started.elapsed();
            assert!(sum > 0, "a contender did nothing");
            // The first turn warms caches and buffers up.
            if turn > 0 {
                times[index].push(elapsed.as_nanos() as f64 / units.max(1) as f64);
            }
        }
    }
    contenders
        .iter()
        .zip(times)
        .map(|((name, _), mut times)| {
            times.sort_unstable_by(f64::total_cmp);
            (name.clone(), times[times.len() / 2])
        })
        .collect()
}
