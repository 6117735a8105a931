use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// A sample of the text form: name, labels in order, value.
type Sample = (String, Vec<(String, String)>, f64);

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || "_:".contains(c));
    first && chars.all(|c| c.is_ascii_alphanumeric() || "_:".contains(c))
}

fn labels(text: &str) -> Vec<(String, String)> {
    let mut rest = text;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").expect("a label has a quoted value");
        assert!(is_name(name) && !name.contains(':'), "label {name:?}");
        let (value, after) = after.split_once('"').expect("the quote ends");
        assert!(!value.contains(['\\', '\n']), "nothing here needs escapes");
        found.push((name.to_owned(), value.to_owned()));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    found
}

/// Reads Prometheus' text format 0.0.4 and refuses what it does not allow: samples before their
/// `TYPE`, a family in two places, the same series twice, names and values that are none.
fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    assert!(text.ends_with('\n'), "the last line must end");
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let (mut samples, mut series) = (Vec::new(), BTreeSet::new());
    let mut family = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a type");
            assert!(
                is_name(name) && matches!(kind, "counter" | "gauge" | "histogram"),
                "{line}"
            );
            assert!(
                types.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}: twice"
            );
            name.clone_into(&mut family);
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (head, value) = line.rsplit_once(' ').expect("a value");
        let (name, inside) = match head.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("a closing brace")),
            None => (head, ""),
        };
        assert!(is_name(name), "{line}");
        let kind = types
            .get(&family)
            .unwrap_or_else(|| panic!("{line}: no TYPE before"));
        let suffix = name.strip_prefix(&family);
        let fits = match kind.as_str() {
            "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
            _ => suffix == Some(""),
        };
        assert!(fits, "{line}: not of {family}");
        assert!(
            kind != "counter" || name.ends_with("_total"),
            "{line}: a counter ends in _total"
        );
        let value = match value {
            "NaN" => f64::NAN,
            number => number.parse().unwrap_or_else(|e| panic!("{line}: {e}")),
        };
        assert!(
            series.insert(head.to_owned()),
            "{line}: the same series twice"
        );
        samples.push((name.to_owned(), labels(inside), value));
    }
    (types, samples)
}

/// Each series of a histogram: bounds that rise to infinity, counts that never fall, the last of
/// them the count.
fn check_histogram(samples: &[Sample], name: &str, stage: &str) -> (f64, f64) {
    let of = |suffix: &str| -> Vec<&Sample> {
        let name = format!("{name}{suffix}");
        samples
            .iter()
            .filter(|(n, labels, _)| *n == name && labels[0] == ("stage".into(), stage.into()))
            .collect()
    };
    let (mut last_bound, mut last_count) = (f64::NEG_INFINITY, 0.0);
    for (_, labels, count) in of("_bucket") {
        assert_eq!(labels[1].0, "le");
        let bound: f64 = match labels[1].1.as_str() {
            "+Inf" => f64::INFINITY,
            number => number.parse().unwrap(),
        };
        assert!(
            bound > last_bound && *count >= last_count,
            "{stage}: {labels:?}"
        );
        (last_bound, last_count) = (bound, *count);
    }
    assert!(last_bound.is_infinite(), "{stage}: no last bucket");
    let (sum, count) = (of("_sum")[0].2, of("_count")[0].2);
    assert!(
        (count - last_count).abs() < 0.5,
        "{stage}: {count} and {last_count}"
    );
    (sum, count)
}

#[test]
fn histograms_have_prometheus_form() {
    let mut stage = StageLatency::new("decode");
    let shard = bookwire_actors::latency::ShardLatency::default();
    for nanos in [500, 1_000, 1_001, 60_000, 2_000_000_000, 30_000_000_000] {
        shard.decode.record(nanos);
    }
    shard.decode.add_to(&mut stage);
    let mut out = String::new();
    latency_samples(&mut out, &[stage, StageLatency::new("book")]);
    let (types, samples) = parse(&out);
    let name = "bookwire_stage_latency_seconds";
    assert_eq!(types[name], "histogram");
    let (sum, count) = check_histogram(&samples, name, "decode");
    assert!(
        (sum - 32.000_062_501).abs() < 1e-9 && (count - 6.0).abs() < 0.5,
        "{sum} {count}"
    );
    assert!(check_histogram(&samples, name, "book").1.abs() < 0.5);
    let below = |le: &str| {
        let found = samples
            .iter()
            .find(|(_, labels, _)| labels.iter().any(|l| l.1 == le) && labels[0].1 == "decode");
        found.unwrap().2 as u64
    };
    // 1,000 ns lie in a bucket of 4 ns that ends after the bound: told with the next.
    assert_eq!(below("0.000001"), 1);
    assert_eq!(below("0.0000025"), 3);
    assert_eq!(below("0.00005"), 3);
    assert_eq!(below("0.0001"), 4);
    assert_eq!(below("2.5"), 5);
    assert_eq!(below("10"), 5);
}

/// Checks a whole answer; for the server's tests.
pub(crate) fn check_exposition(text: &str) {
    let (types, samples) = parse(text);
    for (stage, _) in STAGES {
        check_histogram(&samples, "bookwire_stage_latency_seconds", stage);
    }
    for name in ["bookwire_ws_sessions", "bookwire_ws_messages_dropped_total"] {
        assert!(types.contains_key(name), "no {name}");
    }
}

#[test]
fn windows_forget_what_is_older() {
    let windows = Windows::default();
    let stage = |count: u64| {
        let shard = bookwire_actors::latency::ShardLatency::default();
        for _ in 0..count {
            shard.lag.record(1000);
        }
        let mut stage = StageLatency::new("lag");
        shard.lag.add_to(&mut stage);
        vec![stage]
    };
    let mut now = stage(100);
    assert_eq!(windows.recent(&mut now), None);
    assert_eq!(now[0].histogram.len(), 100, "all since the start");
    for minute in 1..=10 {
        windows.keep(Sums::default(), stage(minute * 10), Instant::now());
    }
    assert!(windows.recent(&mut now).is_some());
    // The sixth minute's sixty are gone.
    assert_eq!((now[0].histogram.len(), now[0].sum_ns), (40, 40_000));
}

/// Three of everything happen each minute, for two days: each field has what the last day had, the day
/// before is gone, and the window moves with every minute.
#[test]
fn a_day_is_a_day_that_moves() {
    let windows = Windows::default();
    let sums = |minute: u64| Sums {
        lag_ns: 9_000 * minute,
        lags: 3 * minute,
        dropped: 3 * minute,
        failures: 3 * minute,
        deviations: 3 * minute,
        gaps: 3 * minute,
        requests: 3 * minute,
        busy_us: 9_000 * minute,
    };
    let day = DAY as u64;
    for minute in 1..=2 * day {
        // What is told just before the next sample is taken.
        let (now, before) = (sums(minute), windows.day_ago());
        let fields = |of: &Sums| {
            [
                of.lags,
                of.dropped,
                of.failures,
                of.deviations,
                of.gaps,
                of.requests,
            ]
        };
        for (now, before) in fields(&now).into_iter().zip(fields(&before)) {
            assert_eq!(now - before, 3 * minute.min(day), "minute {minute}");
        }
        let lag = mean(now.lag_ns - before.lag_ns, now.lags - before.lags, 1e6);
        assert!((lag.unwrap() - 0.003).abs() < 1e-9);
        windows.keep(now, Vec::new(), Instant::now());
    }
    // A day without anything: all fields are nothing, and a mean of nothing is none.
    let last = sums(2 * day);
    for _ in 0..day {
        windows.keep(last, Vec::new(), Instant::now());
    }
    let before = windows.day_ago();
    assert_eq!((before.requests, before.gaps), (last.requests, last.gaps));
    assert_eq!(
        mean(last.lag_ns - before.lag_ns, last.lags - before.lags, 1e6),
        None
    );
}
