//! Latencies: histograms in nanoseconds, the log that other programs read, the quantiles of reports.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// The quantiles of every latency report.
pub const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
    ("max", 1.0),
];

/// The latencies of one contender.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Who: `bookwire`, a floor, a peer.
    pub name: String,
    /// Nanoseconds.
    pub histogram: Histogram<u64>,
    /// When measuring began.
    pub began: SystemTime,
    /// How long it took.
    pub took: Duration,
}

impl Curve {
    /// An empty one that begins now: three digits, as long as it takes.
    ///
    /// # Errors
    /// Never with these digits.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        Ok(Self {
            name: name.into(),
            histogram: Histogram::new(3)?,
            began: SystemTime::now(),
            took: Duration::ZERO,
        })
    }

    /// A message that was due then arrived now.
    ///
    /// # Errors
    /// When the time does not fit a histogram.
    pub fn arrived(&mut self, due: Instant) -> Result<()> {
        let late = Instant::now().saturating_duration_since(due);
        self.histogram.record(u64::try_from(late.as_nanos())?)?;
        Ok(())
    }

    /// A quantile in microseconds.
    #[must_use]
    pub fn micros(&self, quantile: f64) -> f64 {
        self.histogram.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// A name that a tag and a file may have: letters, digits, `-` and `.`.
#[must_use]
pub fn slug(name: &str) -> String {
    let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let parts = name
        .split(|c: char| !is_kept(c))
        .filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-")
}

/// Writes an interval log in HdrHistogram's V2 form: one tagged interval for each curve, values in
/// nanoseconds, the greatest value of a line in milliseconds.
///
/// # Errors
/// When the file can't be written.
pub fn write_log(path: &Path, comment: &str, curves: &[(String, &Curve)]) -> Result<()> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let start = curves.iter().map(|(_, curve)| curve.began).min();
    let start = start.context("a log without curves")?;
    let mut writer = IntervalLogWriterBuilder::new()
        .add_comment(comment)
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut bytes, &mut serializer)?;
    for (tag, curve) in curves {
        let tag = slug(tag);
        let tag = Tag::new(&tag).ok_or_else(|| anyhow!("`{tag}` can't be a tag"))?;
        let since = curve.began.duration_since(start).unwrap_or_default();
        writer
            .write_histogram(&curve.histogram, since, curve.took, Some(tag))
            .map_err(|error| anyhow!("{error:?}"))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn a_log_reads_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.hlog");
        let mut curves = [
            Curve::new("bookwire").unwrap(),
            Curve::new("floor: x").unwrap(),
        ];
        for value in 1..=10_000u64 {
            curves[0].histogram.record(value * 1_000).unwrap();
        }
        curves[1].histogram.record(77).unwrap();
        curves[0].took = Duration::from_secs(3);
        let named: Vec<(String, &Curve)> = curves
            .iter()
            .map(|curve| (curve.name.clone(), curve))
            .collect();
        write_log(&path, "of a test", &named).unwrap();

        let bytes = fs::read(&path).unwrap();
        let mut found = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let text = interval.encoded_histogram();
                let encoded = base64(text);
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut &encoded[..]).unwrap();
                let tag = interval.tag().unwrap().as_str().to_owned();
                found.push((tag, interval.duration(), interval.max(), histogram));
            }
        }
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].0, "bookwire");
        assert_eq!(found[1].0, "floor-x");
        assert_eq!(found[0].1, Duration::from_secs(3));
        assert!((found[0].2 - 10.0).abs() < 0.01, "{}", found[0].2);
        for (read, written) in found.iter().zip(&curves) {
            assert_eq!(read.3.len(), written.histogram.len());
            for (_, quantile) in QUANTILES {
                let wanted = written.histogram.value_at_quantile(quantile);
                assert_eq!(read.3.value_at_quantile(quantile), wanted);
            }
        }
    }

    /// Decodes base64, which the log's reader leaves to its caller.
    fn base64(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            let value = alphabet.iter().position(|known| *known == byte).unwrap();
            bits = (bits << 6) | value as u32;
            count += 6;
            if count >= 8 {
                count -= 8;
                out.push((bits >> count) as u8);
            }
        }
        out
    }

    #[test]
    fn slugs_are_fit_for_tags_and_files() {
        for (name, slug_) in [
            ("floor: raw TCP relay", "floor-raw-TCP-relay"),
            ("bookwire, busy_poll", "bookwire-busy-poll"),
            ("100 clients / p99.9", "100-clients-p99.9"),
        ] {
            assert_eq!(slug(name), slug_);
        }
    }
}
