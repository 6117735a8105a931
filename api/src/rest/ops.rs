//! What operators and supervisors ask: health, liveness, readiness.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::recorder::{Recorder, RecorderStats};
use bookwire_actors::status::{ProviderState, ProviderStatus};
use bookwire_engine::error::CryptoError;
use bookwire_engine::time::TsNanos;
use serde_json::{Map, json};

use super::params::Params;
use crate::audit::{Audit, AuditStats};
use crate::error::{ApiError, wall_clock};
use crate::process::Process;

/// Data older than this are worth a warning in the health answer.
const FRESH: Duration = Duration::from_secs(30);

/// Memory above which the health answer warns, bytes.
const MEMORY_WARN: u64 = 2 << 30;

/// Time allowed for the store to prove itself.
const PING: Duration = Duration::from_secs(2);

/// Rows that wait for the store on disk for longer are told; shorter waits are the spool's purpose.
const BEHIND_NANOS: i64 = 5_000_000_000;

/// When the server was started.
#[derive(Clone, Copy, Debug)]
pub struct Started(pub Instant);

type Answer = Result<HttpResponse, ApiError>;

pub(crate) fn no_parameters(request: &HttpRequest) -> Result<(), CryptoError> {
    Params::parse(request.query_string(), &[]).map(drop)
}

/// `GET /livez`: the process answers.
pub async fn livez() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "alive"}))
}

/// `GET /readyz`: instruments are known and the store answers.
pub async fn readyz(gateway: web::Data<Gateway>) -> HttpResponse {
    let has_instruments = !gateway.instruments().is_empty();
    let store = ping(&gateway).await;
    let is_ready = has_instruments && store.is_ok();
    let status = if is_ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    HttpResponse::build(status).json(json!({
        "status": if is_ready { "ready" } else { "not ready" },
        "instruments_loaded": has_instruments,
        "store": if store.is_ok() { "pass" } else { "fail" },
    }))
}

async fn ping(gateway: &Gateway) -> Result<(), String> {
    let asked = gateway.query_store(|reader| reader.ping());
    match tokio::time::timeout(PING, asked).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.message),
        Err(_) => Err(format!("no answer within {} s", PING.as_secs())),
    }
}

/// A check's result: `pass`, `warn`, `fail`, and why it is not `pass`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    name: &'static str,
    grade: Grade,
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Pass,
    Warn,
    Fail,
}

impl Grade {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Check {
    fn new(name: &'static str, grade: Grade, reason: Option<String>) -> Self {
        Self {
            name,
            grade,
            reason: reason.filter(|_| grade != Grade::Pass),
        }
    }
}

/// A store that can be read may refuse what is written, or be behind.
fn recorded(stats: Option<&RecorderStats>, now: TsNanos) -> Check {
    let name = "database_connectivity";
    let Some(stats) = stats else {
        return Check::new(name, Grade::Pass, None);
    };
    let waiting = match stats.spooled_rows {
        0 => String::new(),
        rows => format!("; {rows} rows wait on disk"),
    };
    // Paths and addresses are in the log alone.
    let reason = if stats.spool_trouble.is_some() {
        "rows that the store can't take can't be kept on disk, and are lost: see the log"
    } else if stats.trouble.is_some() {
        "the store does not take rows: see the log"
    } else if stats
        .spooled_since
        .is_some_and(|since| now.0 - since.0 > BEHIND_NANOS)
    {
        "the store is catching up"
    } else {
        return Check::new(name, Grade::Pass, None);
    };
    let grade = match stats.spool_trouble {
        Some(_) => Grade::Fail,
        None => Grade::Warn,
    };
    Check::new(name, grade, Some(format!("{reason}{waiting}")))
}

/// Commands go on when they can't be recorded; with `audit.required` orders do not.
fn audited(stats: &AuditStats) -> Check {
    let (grade, reason) = match (&stats.trouble, stats.lost) {
        (Some(_), _) if stats.is_required => (
            Grade::Fail,
            "the audit log can't be written, and orders are refused: see the log".to_owned(),
        ),
        (Some(_), _) => (
            Grade::Warn,
            "the audit log can't be written: see the log".to_owned(),
        ),
        (None, 0) => (Grade::Pass, String::new()),
        (None, lost) => (
            Grade::Warn,
            format!("{lost} entries of the audit log were lost since the start"),
        ),
    };
    Check::new("audit_log", grade, Some(reason))
}

/// `GET /api/crypto/health`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn health(
    request: HttpRequest,
    gateway: web::Data<Gateway>,
    started: web::Data<Started>,
    audit: web::Data<Audit>,
) -> Answer {
    no_parameters(&request)?;
    let store = match ping(&gateway).await {
        Ok(()) => recorded(
            gateway.recorder().map(Recorder::stats).as_ref(),
            wall_clock(),
        ),
        Err(reason) => Check::new("database_connectivity", Grade::Fail, Some(reason)),
    };
    let status = gateway.status();
    let checks = [
        store,
        connectivity(&status),
        streams(&status),
        freshness(&status),
        memory(Process::now().resident_bytes),
        audited(&audit.stats()),
    ];
    let worst = checks
        .iter()
        .map(|check| check.grade)
        .max()
        .unwrap_or(Grade::Pass);
    let (word, code) = match worst {
        Grade::Pass => ("healthy", StatusCode::OK),
        Grade::Warn => ("degraded", StatusCode::OK),
        Grade::Fail => ("unhealthy", StatusCode::SERVICE_UNAVAILABLE),
    };
    let mut grades = Map::new();
    let mut reasons = Map::new();
    for check in &checks {
        grades.insert(check.name.to_owned(), check.grade.as_str().into());
        if let Some(reason) = &check.reason {
            reasons.insert(check.name.to_owned(), reason.clone().into());
        }
    }
    // A 503 with its own body: `x-trace-id` tells the gate that nothing is left to render.
    let trace = crate::error::TraceId::take_over(
        request
            .headers()
            .get(crate::error::TRACE_HEADER)
            .map(|value| value.as_bytes()),
    );
    Ok(HttpResponse::build(code)
        .insert_header((crate::error::TRACE_HEADER, trace.as_str()))
        .json(json!({
            "status": word,
            "checks": grades,
            "reasons": reasons,
            "uptime_seconds": started.0.elapsed().as_secs(),
            "last_check": wall_clock().to_rfc3339(),
        })))
}

/// Providers that are switched on, as text when some are not well.
fn enabled(providers: &[ProviderStatus]) -> impl Iterator<Item = &ProviderStatus> {
    providers
        .iter()
        .filter(|status| status.state != ProviderState::Disabled)
        // A bridge that nobody uses may be missing what it needs: nothing else is affected.
        .filter(|status| {
            status.provider.exchange().bridge().is_none()
                || status.connections_wanted > 0
                || !status.venues.is_empty()
        })
}

/// True while the first connection of a provider that answers is being opened: nothing has failed
/// so far, and within seconds it is up or has.
fn is_opening(status: &ProviderStatus) -> bool {
    status.connections_up == 0
        && status.connections_wanted > 0
        && status.reason.is_none()
        && status.api_latency_ms.is_some()
        && status.error_rate_1h <= 0.0
}

fn connectivity(providers: &[ProviderStatus]) -> Check {
    let name = "exchange_connectivity";
    let (mut down, mut opening, mut all) = (Vec::new(), 0, 0);
    for status in enabled(providers) {
        all += 1;
        if matches!(
            status.state,
            ProviderState::Unavailable | ProviderState::Maintenance
        ) {
            opening += usize::from(is_opening(status));
            let reason = status.reason.as_deref().unwrap_or("no answer yet");
            down.push(format!(
                "{}: {}: {reason}",
                status.provider.name(),
                status.state.as_str()
            ));
        }
    }
    let grade = match down.len() {
        0 => Grade::Pass,
        n if n == all && opening == 0 => Grade::Fail,
        _ => Grade::Warn,
    };
    Check::new(name, grade, Some(down.join("; ")))
}

fn streams(providers: &[ProviderStatus]) -> Check {
    let (mut wanted, mut up, mut opening) = (0, 0, 0);
    for status in enabled(providers) {
        wanted += status.connections_wanted;
        up += status.connections_up.min(status.connections_wanted);
        opening += usize::from(is_opening(status));
    }
    let grade = match (up, wanted) {
        (up, wanted) if up == wanted => Grade::Pass,
        (0, _) if opening == 0 => Grade::Fail,
        _ => Grade::Warn,
    };
    Check::new(
        "websocket_streams",
        grade,
        Some(format!("{up} of {wanted} connections are up")),
    )
}

fn freshness(providers: &[ProviderStatus]) -> Check {
    let now = wall_clock().0;
    let stale: Vec<String> = enabled(providers)
        .filter(|status| status.connections_wanted > 0)
        .filter_map(|status| {
            let age = status
                .last_data
                .map(|ts| Duration::from_nanos(now.abs_diff(ts.0)));
            let name = status.provider.name();
            // The newest of a provider says nothing of each of its streams.
            let silent = status.incidents.silent_streams(FRESH);
            match age {
                None => Some(format!("{name}: no data yet")),
                Some(age) if age > FRESH => Some(format!("{name}: {} s old", age.as_secs())),
                Some(_) if silent > 0 => Some(format!("{name}: {silent} streams are silent")),
                Some(_) => None,
            }
        })
        .collect();
    let grade = if stale.is_empty() {
        Grade::Pass
    } else {
        Grade::Warn
    };
    Check::new("data_freshness", grade, Some(stale.join("; ")))
}

fn memory(resident: Option<u64>) -> Check {
    let grade = match resident {
        Some(bytes) if bytes > MEMORY_WARN => Grade::Warn,
        _ => Grade::Pass,
    };
    let mib = resident.unwrap_or_default() >> 20;
    Check::new("memory_usage", grade, Some(format!("{mib} MiB resident")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bookwire_actors::incidents::Moment;
    use bookwire_actors::status::ProviderMeter;
    use bookwire_engine::exchange::ProviderId;

    #[test]
    fn a_store_that_does_not_take_rows_is_told() {
        let second = 1_000_000_000;
        let grade = |stats: &RecorderStats| {
            let check = recorded(Some(stats), TsNanos(100 * second));
            (check.grade, check.reason.unwrap_or_default())
        };
        let mut stats = RecorderStats {
            spooled_rows: 7,
            spooled_since: Some(TsNanos(99 * second)),
            ..RecorderStats::default()
        };
        assert_eq!(
            grade(&stats).0,
            Grade::Pass,
            "a moment behind is what the spool is for"
        );
        stats.spooled_since = Some(TsNanos(90 * second));
        let (warn, reason) = grade(&stats);
        assert!(
            warn == Grade::Warn && reason.contains("catching up; 7 rows"),
            "{reason}"
        );
        stats.trouble = Some("`/secret/path`: no".to_owned());
        let (warn, reason) = grade(&stats);
        assert!(
            warn == Grade::Warn && reason.contains("does not take"),
            "{reason}"
        );
        assert!(!reason.contains("secret"), "{reason}");
        stats.spool_trouble = Some("full".to_owned());
        assert_eq!(grade(&stats).0, Grade::Fail);
    }

    /// The newest data of a provider hide nothing of its other streams.
    #[test]
    fn data_are_as_fresh_as_each_stream_is() {
        use bookwire_actors::incidents::{Cause, Subject};
        use bookwire_engine::exchange::Feed;
        use bookwire_engine::instrument::InstrumentId;
        let meter = ProviderMeter::new(ProviderId::BINANCE);
        let at = |secs| Moment {
            wall: wall_clock(),
            monotonic: Duration::from_secs(secs),
        };
        meter.request_ok(at(0), Duration::from_millis(3));
        meter.connection_wanted(true);
        meter.connection_up(true);
        meter.data(wall_clock());
        let stream = Subject::Stream(InstrumentId(3), Feed::Trades);
        meter
            .incidents
            .begin(stream, Cause::Known("silent"), at(10));
        let told = |secs| {
            let status = ProviderStatus {
                incidents: meter.incidents.view(at(secs)),
                ..meter.status(Duration::ZERO)
            };
            let check = freshness(&[status]);
            (check.grade, check.reason.unwrap_or_default())
        };
        assert_eq!(told(30).0, Grade::Pass, "for a moment");
        let (grade, reason) = told(60);
        assert_eq!(
            (grade, &*reason),
            (Grade::Warn, "binance: 1 streams are silent")
        );
    }

    #[test]
    fn a_first_connection_that_opens_is_no_failure() {
        let meter = ProviderMeter::new(ProviderId::BINANCE);
        let now = Moment {
            wall: TsNanos(1),
            monotonic: Duration::ZERO,
        };
        let grades = || {
            let status = [meter.status(Duration::ZERO)];
            (connectivity(&status).grade, streams(&status).grade)
        };
        assert_eq!(grades(), (Grade::Fail, Grade::Pass), "no answer so far");
        meter.request_ok(now, Duration::from_millis(3));
        assert_eq!(grades(), (Grade::Pass, Grade::Pass));
        meter.connection_wanted(true);
        assert_eq!(grades(), (Grade::Warn, Grade::Warn), "it is being opened");
        meter.attempt(Duration::ZERO, false);
        assert_eq!(grades(), (Grade::Fail, Grade::Fail), "it could not be");
        meter.connection_up(true);
        assert_eq!(grades().1, Grade::Pass);
        meter.connection_up(false);
        meter.reconnect(Duration::ZERO, "connection reset");
        assert_eq!(grades(), (Grade::Fail, Grade::Fail), "it was lost");
    }
}
