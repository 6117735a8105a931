//! What a run prints and writes: a table for people, JSON for programs, with what a reader needs to
//! judge the figures.

use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::histogram::{Curve, QUANTILES, slug, write_log};
use crate::plot;

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

/// Something that a reader has to know to judge the figures: rate, seconds, warm-up.
#[derive(Clone, Debug, Serialize)]
pub struct Condition {
    /// What it is.
    pub name: String,
    /// Its value, with the unit.
    pub value: String,
}

/// Something that had to be so.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What, with what was measured and what is allowed.
    pub what: String,
    /// Whether it was.
    pub is_met: bool,
}

/// A scenario's result.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Scenario name.
    pub scenario: &'static str,
    /// Seconds since the Unix epoch at which it began.
    pub unix_time: u64,
    /// Processor, cores, operating system.
    pub machine: String,
    /// The operating system's kernel.
    pub kernel: String,
    /// The compiler that built this program.
    pub rustc: &'static str,
    /// How it was built: `release` or `debug`, whose figures mean nothing.
    pub profile: &'static str,
    /// bookwire's version.
    pub version: &'static str,
    /// How it was measured, in words.
    pub method: &'static str,
    /// Rate, seconds, warm-up and the like.
    pub conditions: Vec<Condition>,
    /// The figures.
    pub rows: Vec<Row>,
    /// What had to be so, and whether it was.
    pub verdicts: Vec<Verdict>,
    /// What this scenario could measure and did not, each with the reason.
    pub not_measured: Vec<String>,
    /// Latencies by subject: for the log and the plot.
    #[serde(skip)]
    pub curves: Vec<(String, Vec<Curve>)>,
}

impl Report {
    /// A report without rows.
    #[must_use]
    pub fn new(scenario: &'static str, method: &'static str) -> Self {
        let unix_time = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self {
            scenario,
            unix_time,
            machine: machine(),
            kernel: kernel(),
            rustc: env!("BENCH_RUSTC"),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            version: env!("CARGO_PKG_VERSION"),
            method,
            conditions: Vec::new(),
            rows: Vec::new(),
            verdicts: Vec::new(),
            not_measured: Vec::new(),
            curves: Vec::new(),
        }
    }

    /// Adds a condition.
    pub fn condition(&mut self, name: &str, value: impl ToString) {
        self.conditions.push(Condition {
            name: name.to_owned(),
            value: value.to_string(),
        });
    }

    /// Says what was not measured, and why.
    pub fn not_measured(&mut self, what: &str, why: &str) {
        self.not_measured.push(format!("{what}: {why}"));
    }

    /// Says whether something was as it has to be.
    pub fn verdict(&mut self, what: String, is_met: bool) {
        self.verdicts.push(Verdict { what, is_met });
    }

    /// Whether all was as it has to be.
    #[must_use]
    pub fn is_met(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.is_met)
    }

    /// Adds the figures of one subject's contenders; the first one is bookwire.
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

    /// Adds the latencies of one subject's contenders; the first one is bookwire. They make rows, a
    /// log and a plot.
    pub fn latencies(&mut self, subject: &str, curves: Vec<Curve>) {
        const UNITS: [&str; 6] = [
            "µs p50",
            "µs p90",
            "µs p99",
            "µs p99.9",
            "µs p99.99",
            "µs max",
        ];
        for (unit, (_, quantile)) in UNITS.into_iter().zip(QUANTILES) {
            let figures = curves
                .iter()
                .map(|curve| (curve.name.clone(), curve.micros(quantile)))
                .collect();
            self.add(subject, unit, figures);
        }
        self.curves.push((subject.to_owned(), curves));
    }

    /// The machine, the versions and the conditions, as lines.
    fn head(&self) -> String {
        let mut text = format!("\n{} — {}\n", self.scenario, self.machine);
        text.push_str(&format!(
            "{}; {}; bookwire {}; {} build\n",
            self.kernel, self.rustc, self.version, self.profile
        ));
        if self.profile == "debug" {
            text.push_str("A DEBUG BUILD: these figures mean nothing.\n");
        }
        let conditions: Vec<String> = self
            .conditions
            .iter()
            .map(|condition| format!("{}: {}", condition.name, condition.value))
            .collect();
        if !conditions.is_empty() {
            text.push_str(&format!("{}\n", conditions.join("; ")));
        }
        text.push_str(&format!("{}\n\n", self.method));
        text
    }

    /// The table, as text.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = self.head();
        let wide = |of: fn(&Row) -> &str, least: usize| {
            let widths = self.rows.iter().map(|row| of(row).chars().count());
            widths.max().unwrap_or(0).max(least)
        };
        let (subjects, contenders) = (wide(|row| &row.subject, 30), wide(|row| &row.contender, 30));
        text.push_str(&format!(
            "{:<subjects$} {:<contenders$} {:>14} {:<12} {:>8}\n",
            "subject", "contender", "figure", "unit", "× ours"
        ));
        for row in &self.rows {
            let ratio = row
                .ratio
                .map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let line = format!(
                "{:<subjects$} {:<contenders$} {:>14.1} {:<12} {:>8}",
                row.subject, row.contender, row.value, row.unit, ratio
            );
            text.push_str(line.trim_end());
            text.push('\n');
        }
        for verdict in &self.verdicts {
            let word = if verdict.is_met { "met" } else { "MISSED" };
            text.push_str(&format!("{word}: {}\n", verdict.what));
        }
        for what in &self.not_measured {
            text.push_str(&format!("not measured: {what}\n"));
        }
        text
    }

    /// Prints the table and writes `{scenario}.json` into a folder; with latencies also
    /// `{scenario}.hlog`, and a plot for each subject.
    ///
    /// # Errors
    /// When the folder or a file can't be written.
    pub fn finish(&self, folder: &Path) -> Result<()> {
        println!("{}", self.table());
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let write = |name: String, bytes: &[u8]| -> Result<()> {
            let path = folder.join(name);
            fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
            println!("written: {}", path.display());
            Ok(())
        };
        write(
            format!("{}.json", self.scenario),
            &serde_json::to_vec_pretty(self)?,
        )?;
        let mut all: Vec<(String, &Curve)> = Vec::new();
        for (subject, curves) in &self.curves {
            let title = format!("{}: {subject}", self.scenario);
            let note = format!(
                "{}; {}; {}; bookwire {}, {} build",
                self.machine, self.kernel, self.rustc, self.version, self.profile
            );
            let curves: Vec<&Curve> = curves.iter().collect();
            write(
                format!("{}.{}.svg", self.scenario, slug(subject)),
                plot::svg(&title, &note, &curves).as_bytes(),
            )?;
            all.extend(
                curves
                    .into_iter()
                    .map(|c| (format!("{subject} {}", c.name), c)),
            );
        }
        let filled: Vec<_> = all
            .into_iter()
            .filter(|(_, curve)| !curve.histogram.is_empty())
            .collect();
        if !filled.is_empty() {
            let path = folder.join(format!("{}.hlog", self.scenario));
            let comment = format!("bookwire {} {}", self.version, self.scenario);
            write_log(&path, &comment, &filled)?;
            println!("written: {}", path.display());
        }
        Ok(())
    }
}

fn kernel() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{} {}", std::env::consts::OS, release.trim())
        .trim()
        .to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::new("a-scenario", "how it was done");
        report.condition("rate", "10/s");
        report.add(
            "messages",
            "msg/s",
            vec![
                ("bookwire".to_owned(), 50.0),
                ("floor: bare".to_owned(), 100.0),
            ],
        );
        report.figure("memory", "at the end", "MiB", 12.5);
        report.not_measured("cryptofeed", "not installed");
        assert!(report.is_met());
        report.verdict("files: 3, at most 2".to_owned(), false);
        let mut curve = Curve::new("bookwire").unwrap();
        for value in 1..=1000 {
            curve.histogram.record(value * 1000).unwrap();
        }
        report.latencies("a trade", vec![curve]);
        report
    }

    #[test]
    fn the_table_tells_what_a_reader_needs() {
        let table = report().table();
        for part in [
            "a-scenario",
            "rustc",
            "bookwire 0.",
            "rate: 10/s",
            "how it was done",
            "not measured: cryptofeed: not installed",
            "MISSED: files: 3, at most 2",
            "µs p99.99",
        ] {
            assert!(table.contains(part), "{part}\n{table}");
        }
        let floor = table.lines().find(|line| line.contains("floor")).unwrap();
        let words: Vec<&str> = floor.split_whitespace().collect();
        assert_eq!(
            words,
            ["messages", "floor:", "bare", "100.0", "msg/s", "2.00"]
        );
        let p50 = table.lines().find(|line| line.contains("p50")).unwrap();
        assert!(p50.contains(" 500."), "{p50}");
    }

    #[test]
    fn files_are_written_and_can_be_read() {
        let folder = tempfile::tempdir().unwrap();
        report().finish(folder.path()).unwrap();
        let text = fs::read_to_string(folder.path().join("a-scenario.json")).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["rows"][1]["ratio"], 2.0);
        assert_eq!(json["not_measured"][0], "cryptofeed: not installed");
        assert_eq!(json["conditions"][0]["name"], "rate");
        for key in ["machine", "kernel", "rustc", "profile", "version"] {
            assert!(!json[key].as_str().unwrap().is_empty(), "{key}");
        }
        for file in ["a-scenario.hlog", "a-scenario.a-trade.svg"] {
            assert!(
                folder.path().join(file).metadata().unwrap().len() > 300,
                "{file}"
            );
        }
    }
}
