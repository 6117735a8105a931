//! What was counted and measured: `GET /metrics` for Prometheus, `GET /api/crypto/metrics` for
//! people and programs that want it as JSON over rolling windows.

mod trading;

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::alive::{Kind, alive};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::latency::{STAGES, StageLatency};
use bookwire_actors::recorder::Recorder;
use bookwire_actors::status::{ProviderState, ProviderStatus};
use bookwire_actors::worker::WorkerMeter;
use serde_json::{Map, Value, json};

use super::ops::{Started, no_parameters};
use crate::audit::{Audit, AuditStats};
use crate::auth::Auth;
use crate::deviations::PriceWatch;
use crate::error::{ApiError, wall_clock};
use crate::gate::Gate;
use crate::process::Process;

/// How often the rolling windows are moved on.
pub const SAMPLE: Duration = Duration::from_secs(60);

/// Samples of a day.
const DAY: usize = 24 * 60;

/// Samples of the window of latencies: five minutes.
const RECENT: usize = 5;

/// Upper bounds of the latency histogram's buckets, nanoseconds: 1, 2.5 and 5 of each power of ten
/// from 1 µs to 10 s.
const BOUNDS_NS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// Sums since the start, as they were at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    lag_ns: u64,
    lags: u64,
    dropped: u64,
    failures: u64,
    deviations: u64,
    gaps: u64,
    requests: u64,
    busy_us: u64,
}

#[derive(Debug, Default)]
struct Log {
    /// One a minute, the oldest first; nothing had been counted at the start.
    day: VecDeque<Sums>,
    /// The last minutes' histograms, with the moment at which each was taken.
    recent: VecDeque<(Instant, Vec<StageLatency>)>,
}

/// The last day's sums and the last minutes' latencies, from which windows are cut.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Log>);

impl Windows {
    /// Moves the windows on; called once in each [`SAMPLE`].
    pub fn sample(&self, gateway: &Gateway, gate: &Gate, watch: &PriceWatch) {
        let latencies = gateway.latencies();
        let sums = sums(gateway, gate, watch, &latencies);
        self.keep(sums, latencies, Instant::now());
    }

    fn keep(&self, sums: Sums, latencies: Vec<StageLatency>, at: Instant) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.day.push_back(sums);
        if log.day.len() > DAY {
            log.day.pop_front();
        }
        log.recent.push_back((at, latencies));
        if log.recent.len() > RECENT {
            log.recent.pop_front();
        }
    }

    /// What there was a day ago, or nothing at the start.
    fn day_ago(&self) -> Sums {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = log.day.len() == DAY;
        log.day
            .front()
            .copied()
            .filter(|_| full)
            .unwrap_or_default()
    }

    /// Takes what there was some minutes ago from `now`; tells since when the rest was counted,
    /// `None` for the start.
    fn recent(&self, now: &mut [StageLatency]) -> Option<Instant> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let full = log.recent.len() == RECENT;
        let (at, before) = log.recent.front().filter(|_| full)?;
        for (stage, old) in now.iter_mut().zip(before) {
            // Counts only grow, and the bounds are the same.
            let _ = stage.histogram.subtract(&old.histogram);
            stage.sum_ns = stage.sum_ns.wrapping_sub(old.sum_ns);
        }
        Some(*at)
    }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn sums(gateway: &Gateway, gate: &Gate, watch: &PriceWatch, latencies: &[StageLatency]) -> Sums {
    let (counters, http) = (gateway.counters(), gate.counters());
    let workers = gateway.workers();
    let lag = latencies.iter().find(|stage| stage.stage == "lag");
    Sums {
        lag_ns: lag.map_or(0, |stage| stage.sum_ns),
        lags: lag.map_or(0, |stage| stage.histogram.len()),
        dropped: workers.iter().map(|worker| worker.dropped.get()).sum(),
        failures: counters.malformed
            + counters.bbo_mismatches
            + quarantined(gateway)
            + watch.refusals(),
        deviations: watch.begun(),
        gaps: counters.book_desyncs
            + counters.trades_missed
            + counters.klines_missed
            + counters.kline_gaps
            + gateway.gaps_found(),
        requests: read(&http.ok) + read(&http.client_errors) + read(&http.server_errors),
        busy_us: read(&http.busy_us),
    }
}

/// Bars that went into quarantine since the start.
fn quarantined(gateway: &Gateway) -> u64 {
    let counts = gateway.quarantine().counts();
    counts.iter().map(|(_, count)| count).sum()
}

/// `sum / count`, `None` when there was nothing.
fn mean(sum: u64, count: u64, unit: f64) -> Option<f64> {
    (count > 0).then(|| sum as f64 / count as f64 / unit)
}

/// `GET /api/crypto/metrics`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn summary(
    request: HttpRequest,
    gateway: web::Data<Gateway>,
    gate: web::Data<Gate>,
    windows: web::Data<Windows>,
    watch: web::Data<PriceWatch>,
    started: web::Data<Started>,
) -> Result<HttpResponse, ApiError> {
    no_parameters(&request)?;
    let metrics = gateway.metrics().await;
    let mut latencies = metrics.latencies;
    let now = sums(&gateway, &gate, &watch, &latencies);
    let before = windows.day_ago();
    let since = |part: fn(&Sums) -> u64| part(&now).wrapping_sub(part(&before));
    let from = windows.recent(&mut latencies).unwrap_or(started.0);
    let status = gateway.status();
    let reconnects: u64 = status.iter().map(|status| status.reconnects_24h).sum();
    let exchange_connections: u64 = status.iter().map(|status| status.connections_up).sum();
    let workers = gateway.workers();
    let sessions: u64 = workers.iter().map(|worker| worker.sessions.get()).sum();
    let resident = Process::now().resident_bytes;
    let accounts = trading::observed(&gateway).await;
    Ok(HttpResponse::Ok().json(json!({
        "trading_metrics": trading::summary(&accounts),
        "websocket_metrics": {
            "total_reconnects_24h": reconnects,
            "average_message_lag_ms": mean(since(|s| s.lag_ns), since(|s| s.lags), 1e6),
            "messages_dropped_24h": since(|s| s.dropped),
        },
        "data_quality_metrics": {
            "validation_failures_24h": since(|s| s.failures),
            // Times that a pair's prices began to differ in the window, and pairs that differ now.
            "cross_exchange_deviations": since(|s| s.deviations),
            "cross_exchange_deviations_now": watch.open(),
            "data_gaps_detected_24h": since(|s| s.gaps),
        },
        "performance_metrics": {
            "average_query_response_ms": mean(since(|s| s.busy_us), since(|s| s.requests), 1e3),
            "current_memory_usage_gb": resident.map(|bytes| bytes as f64 / 1e9),
            "active_websocket_connections": sessions,
            "exchange_websocket_connections": exchange_connections,
        },
        "latency_metrics": {
            "window_seconds": from.elapsed().as_secs(),
            "stages": stages(&latencies),
        },
        "timestamp": wall_clock().to_rfc3339(),
    })))
}

/// Percentiles of each stage, microseconds; `null` where nothing was measured.
fn stages(latencies: &[StageLatency]) -> Value {
    let of = |stage: &StageLatency| {
        let histogram = &stage.histogram;
        let count = histogram.len();
        let at =
            |quantile: f64| (count > 0).then(|| histogram.value_at_quantile(quantile) as f64 / 1e3);
        json!({
            "count": count,
            "mean_us": mean(stage.sum_ns, count, 1e3),
            "p50_us": at(0.5),
            "p99_us": at(0.99),
            "p99_9_us": at(0.999),
            "max_us": at(1.0),
        })
    };
    let rows = latencies
        .iter()
        .map(|stage| (stage.stage.to_owned(), of(stage)));
    Value::Object(rows.collect::<Map<_, _>>())
}

/// `GET /metrics`: counters, levels and histograms in Prometheus' text form.
pub async fn metrics(
    gateway: web::Data<Gateway>,
    gate: web::Data<Gate>,
    started: web::Data<Started>,
    auth: web::Data<Auth>,
    audit: web::Data<Audit>,
    (windows, watch): (web::Data<Windows>, web::Data<PriceWatch>),
) -> HttpResponse {
    let mut out = String::with_capacity(32 << 10);
    for (name, value) in gateway.counters().rows() {
        let name = format!("bookwire_{name}_total");
        sample(&mut out, &name, "counter", &[("", value as f64)]);
    }
    provider_samples(&mut out, &gateway.status());
    worker_samples(&mut out, &gateway);
    recorder_samples(&mut out, &gateway);
    latency_samples(&mut out, &gateway.latencies());
    history_samples(&mut out, &gateway);
    trading::samples(&mut out, &trading::observed(&gateway).await);
    quality_samples(&mut out, &gateway, &gate, (&windows, &watch));
    http_samples(&mut out, &gate);
    audit_samples(&mut out, &audit.stats());
    let wrong = [("", auth.wrong_keys() as f64)];
    sample(&mut out, "bookwire_wrong_keys_total", "counter", &wrong);
    let uptime = started.0.elapsed().as_secs_f64();
    let name = "bookwire_uptime_seconds";
    sample(&mut out, name, "gauge", &[("", uptime)]);
    process_samples(&mut out, &Process::now());
    HttpResponse::Ok()
        .insert_header(("content-type", "text/plain; version=0.0.4; charset=utf-8"))
        .body(out)
}

/// What the operating system says of the process, and how many actors and tasks live in it.
fn process_samples(out: &mut String, process: &Process) {
    let rows = [
        ("process_resident_memory_bytes", process.resident_bytes),
        ("process_virtual_memory_bytes", process.virtual_bytes),
        ("process_threads", process.threads),
        ("process_open_fds", process.open_files),
        ("process_max_fds", process.open_files_max),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            sample(out, name, "gauge", &[("", value as f64)]);
        }
    }
    let rows = Kind::ALL.map(|kind| {
        let labels = format!("{{kind=\"{}\"}}", kind.as_str());
        (labels, alive(kind) as f64)
    });
    let rows: Vec<(&str, f64)> = rows.iter().map(|(l, v)| (l.as_str(), *v)).collect();
    sample(out, "bookwire_alive", "gauge", &rows);
}

fn provider_samples(out: &mut String, status: &[ProviderStatus]) {
    type Field = (&'static str, &'static str, fn(&ProviderStatus) -> f64);
    let fields: [Field; 7] = [
        ("bookwire_provider_up", "gauge", |s| {
            f64::from(matches!(
                s.state,
                ProviderState::Operational | ProviderState::Degraded
            ))
        }),
        ("bookwire_provider_connections", "gauge", |s| {
            s.connections_up as f64
        }),
        ("bookwire_provider_reconnects_total", "counter", |s| {
            s.reconnects as f64
        }),
        ("bookwire_provider_error_ratio_1h", "gauge", |s| {
            s.error_rate_1h
        }),
        ("bookwire_provider_api_latency_seconds", "gauge", |s| {
            s.api_latency_ms.unwrap_or(f64::NAN) / 1000.0
        }),
        ("bookwire_provider_silent_streams", "gauge", |s| {
            s.incidents.silent_streams(Duration::ZERO) as f64
        }),
        (
            "bookwire_provider_last_data_timestamp_seconds",
            "gauge",
            |s| {
                s.last_data
                    .map_or(f64::NAN, |ts| ts.as_ms() as f64 / 1000.0)
            },
        ),
    ];
    for (name, kind, value) in fields {
        let rows: Vec<(String, f64)> = status
            .iter()
            .map(|status| {
                (
                    format!("{{provider=\"{}\"}}", status.provider.name()),
                    value(status),
                )
            })
            .collect();
        let rows: Vec<(&str, f64)> = rows.iter().map(|(l, v)| (l.as_str(), *v)).collect();
        sample(out, name, kind, &rows);
    }
}

fn recorder_samples(out: &mut String, gateway: &Gateway) {
    let Some(stats) = gateway.recorder().map(Recorder::stats) else {
        return;
    };
    let lag = stats.spooled_since.map_or(0.0, |since| {
        (wall_clock().0.saturating_sub(since.0).max(0)) as f64 / 1e9
    });
    let is_well = stats.trouble.is_none() && stats.spool_trouble.is_none();
    let rows = [
        ("store_rows_written_total", "counter", stats.written as f64),
        ("store_rows_known_total", "counter", stats.known as f64),
        (
            "store_rows_rejected_total",
            "counter",
            stats.rejected as f64,
        ),
        ("store_rows_dropped_total", "counter", stats.dropped as f64),
        ("store_retries_total", "counter", stats.retries as f64),
        ("store_up", "gauge", f64::from(is_well)),
        ("store_rows_waiting", "gauge", stats.waiting as f64),
        ("store_spool_rows", "gauge", stats.spooled_rows as f64),
        ("store_spool_bytes", "gauge", stats.spooled_bytes as f64),
        ("store_spool_lag_seconds", "gauge", lag),
        (
            "store_spool_damaged_total",
            "counter",
            stats.spool_damaged as f64,
        ),
    ];
    for (name, kind, value) in rows {
        sample(out, &format!("bookwire_{name}"), kind, &[("", value)]);
    }
}

fn worker_samples(out: &mut String, gateway: &Gateway) {
    // A worker takes part from its first client on: without one there are the names alone.
    let mut sums = WorkerMeter::default().rows();
    for worker in gateway.workers() {
        for (sum, (_, _, value)) in sums.iter_mut().zip(worker.rows()) {
            sum.2 += value;
        }
    }
    for (name, kind, value) in sums {
        let suffix = if kind == "counter" { "_total" } else { "" };
        let name = format!("bookwire_ws_{name}{suffix}");
        sample(out, &name, kind, &[("", value as f64)]);
    }
    let streams = gateway.streams() as f64;
    sample(out, "bookwire_exchange_streams", "gauge", &[("", streams)]);
    let memory = gateway.session_memory();
    for (name, bytes) in [
        ("bookwire_ws_memory_bytes", memory.used()),
        ("bookwire_ws_memory_limit_bytes", memory.limit()),
    ] {
        sample(out, name, "gauge", &[("", bytes as f64)]);
    }
}

/// The stages of a message's way as one histogram with a label. A count at a bound is exact to the
/// histogram's resolution of 0.8 %.
fn latency_samples(out: &mut String, latencies: &[StageLatency]) {
    let name = "bookwire_stage_latency_seconds";
    let help: Vec<String> = STAGES
        .iter()
        .map(|(stage, what)| format!("{stage}: {what}"))
        .collect();
    // Writing to a string does not fail.
    let _ = writeln!(out, "# HELP {name} {}", help.join("; "));
    let _ = writeln!(out, "# TYPE {name} histogram");
    for stage in latencies {
        histogram_rows(out, name, &format!("stage=\"{}\"", stage.stage), stage);
    }
}

/// One series of a histogram's family, with its labels.
fn histogram_rows(out: &mut String, name: &str, labels: &str, stage: &StageLatency) {
    let mut steps = stage.histogram.iter_recorded().peekable();
    let mut below = 0;
    for bound in BOUNDS_NS {
        while let Some(step) = steps.next_if(|step| step.value_iterated_to() <= bound) {
            below += step.count_since_last_iteration();
        }
        let le = bound as f64 / 1e9;
        // Writing to a string does not fail.
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {below}");
    }
    let all = stage.histogram.len();
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {all}");
    let sum = stage.sum_ns as f64 / 1e9;
    let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}");
    let _ = writeln!(out, "{name}_count{{{labels}}} {all}");
}

/// What is known of stored series: bars that were not stored, holes, and history that is fetched.
fn history_samples(out: &mut String, gateway: &Gateway) {
    let counts = gateway.quarantine().counts();
    let rows: Vec<(String, f64)> = counts
        .iter()
        .map(|(fault, count)| (format!("{{reason=\"{fault}\"}}"), *count as f64))
        .collect();
    let rows: Vec<(&str, f64)> = rows.iter().map(|(l, v)| (l.as_str(), *v)).collect();
    sample(out, "bookwire_quarantined_bars_total", "counter", &rows);
    let kept = gateway.quarantine().len() as f64;
    sample(out, "bookwire_quarantine_bars", "gauge", &[("", kept)]);
    // Bars whose predecessor was not stored, and holes that were found in what had been stored.
    let gaps = gateway.counters().kline_gaps + gateway.gaps_found();
    let name = "bookwire_data_gaps_detected_total";
    sample(out, name, "counter", &[("", gaps as f64)]);
    let backfill = gateway.backfill().summary();
    for (name, kind, value) in [
        (
            "bookwire_backfill_rows_total",
            "counter",
            backfill.rows as f64,
        ),
        ("bookwire_backfill_series", "gauge", backfill.series as f64),
        (
            "bookwire_backfill_series_over",
            "gauge",
            backfill.over as f64,
        ),
        ("bookwire_backfill_done_ratio", "gauge", backfill.done),
    ] {
        sample(out, name, kind, &[("", value)]);
    }
}

/// What became of entries of the audit log.
fn audit_samples(out: &mut String, stats: &AuditStats) {
    let is_well = u64::from(stats.is_on && stats.trouble.is_none());
    for (name, kind, value) in [
        ("audit_up", "gauge", is_well),
        ("audit_entries_total", "counter", stats.written),
        ("audit_lost_total", "counter", stats.lost),
        ("audit_errors_total", "counter", stats.errors),
        ("audit_waiting", "gauge", stats.waiting),
    ] {
        sample(
            out,
            &format!("bookwire_{name}"),
            kind,
            &[("", value as f64)],
        );
    }
}

/// What exchanges' prices say of each other, and what is wrong with data, over the last day too.
fn quality_samples(
    out: &mut String,
    gateway: &Gateway,
    gate: &Gate,
    (windows, watch): (&Windows, &PriceWatch),
) {
    let (now, before) = (sums(gateway, gate, watch, &[]), windows.day_ago());
    let failures = now.failures.saturating_sub(before.failures);
    let deviations = now.deviations.saturating_sub(before.deviations);
    for (name, kind, value) in [
        ("validation_failures_total", "counter", now.failures),
        ("validation_failures_24h", "gauge", failures),
        ("cross_exchange_deviations_total", "counter", now.deviations),
        ("cross_exchange_deviations_24h", "gauge", deviations),
        (
            "cross_exchange_deviating_pairs",
            "gauge",
            watch.open() as u64,
        ),
    ] {
        sample(
            out,
            &format!("bookwire_{name}"),
            kind,
            &[("", value as f64)],
        );
    }
}

fn http_samples(out: &mut String, gate: &Gate) {
    let counters = gate.counters();
    let rows = [
        ("{class=\"ok\"}", read(&counters.ok) as f64),
        (
            "{class=\"client_error\"}",
            read(&counters.client_errors) as f64,
        ),
        (
            "{class=\"server_error\"}",
            read(&counters.server_errors) as f64,
        ),
    ];
    sample(out, "bookwire_http_requests_total", "counter", &rows);
    let limited = read(&counters.rate_limited) as f64;
    let name = "bookwire_http_rate_limited_total";
    sample(out, name, "counter", &[("", limited)]);
    let busy = read(&counters.busy_us) as f64 / 1e6;
    let name = "bookwire_http_request_seconds_total";
    sample(out, name, "counter", &[("", busy)]);
}

fn sample(out: &mut String, name: &str, kind: &str, rows: &[(&str, f64)]) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "# TYPE {name} {kind}");
    for (labels, value) in rows {
        if value.is_nan() {
            let _ = writeln!(out, "{name}{labels} NaN");
        } else {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
pub(crate) mod tests;
