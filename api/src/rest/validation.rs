//! What is missing of stored bars and why, and bars that were not stored.

use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::history::gaps::{BARS_MAX, Gap};
use bookwire_actors::quarantine::{Quarantined, Source};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, Scope};
use bookwire_engine::quality::Fault;
use bookwire_engine::store::{CoverageRow, Row, Series, Span};
use bookwire_engine::time::{Level, TsNanos};
use bookwire_engine::wire::{Cell, TableRow};
use serde_json::{Value, json};

use super::answer::{Listing, Shape};
use super::data::in_time;
use super::params::{self, Params};
use crate::error::ApiError;
use crate::operator::Operator;
use crate::spec::ops as spec;

/// Longest time that a repair may take before what is left is told.
const REPAIR: Duration = Duration::from_secs(20);
/// Looked at when no start is given.
const DAY: i64 = 86_400_000_000_000;

type Answer = Result<HttpResponse, ApiError>;

/// The instrument that `symbol` names, with its venue's instruments loaded before.
pub(super) async fn instrument_of(
    gateway: &Gateway,
    params: &Params,
    provider: ProviderId,
) -> Result<Arc<Instrument>, CryptoError> {
    let symbol = params
        .text("symbol")?
        .ok_or_else(|| params::missing("symbol", "a symbol such as btcusdt or btcusdt-perp"))?;
    let mut exchange = params.text("exchange")?;
    gateway.check_enabled(provider)?;
    if provider.exchange().bridge().is_some() {
        exchange = exchange.or_else(|| symbol.split('_').nth(1));
        in_time(gateway.prepare(provider, exchange)).await?;
    }
    let scope = Scope {
        provider: Some(provider),
        exchange,
        market: None,
    };
    gateway.resolve(symbol, scope)
}

/// The level that `interval` names; a minute when it is not given.
pub(super) fn level_of(params: &Params) -> Result<Level, CryptoError> {
    let names = Level::ALL.map(|level| (level.as_str(), level));
    Ok(params.choice("interval", &names)?.unwrap_or(Level::M1))
}

/// `start_timestamp` and `end_timestamp`, both inclusive; up to now, from a day before the end.
fn range_of(params: &Params, gateway: &Gateway) -> Result<(TsNanos, TsNanos), CryptoError> {
    let end = params.time("end_timestamp")?;
    let end = end.unwrap_or_else(|| gateway.clock().now());
    let start = params.time("start_timestamp")?;
    let start = start.unwrap_or(TsNanos(end.0.saturating_sub(DAY)));
    if start > end {
        return Err(CryptoError::invalid_parameter(
            "start_timestamp",
            params.text("start_timestamp")?.unwrap_or_default(),
            "an instant that is not after end_timestamp",
        ));
    }
    Ok((start, end))
}

/// `GET /api/crypto/validation/gaps`.
///
/// # Errors
/// A parameter that is wrong, or what the engine answers.
pub async fn gaps(request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::GAPS.query)?;
    let provider = params.provider_required()?;
    let level = level_of(&params)?;
    let (start, end) = range_of(&params, &gateway)?;
    let is_repair = params.flag("backfill")?.unwrap_or(false);
    let instrument = instrument_of(&gateway, &params, provider).await?;
    let span = gateway.whole_bars(level, start, end);
    let bars = span.end.0.saturating_sub(span.start.0) / level.nanos();
    if bars > BARS_MAX {
        return Err(CryptoError::invalid_parameter(
            "start_timestamp",
            params.text("start_timestamp")?.unwrap_or_default(),
            format!("a range of at most {BARS_MAX} bars; this one has {bars}"),
        )
        .into());
    }
    let repair = match is_repair && !span.is_empty() {
        true => Some(repaired(&gateway, &instrument, level, span).await),
        false => None,
    };
    let report = in_time(gateway.gaps(&instrument, level, span)).await?;
    let gaps: Vec<Value> = report.gaps.iter().map(gap_json).collect();
    let mut body = json!({
        "provider": provider.name(),
        "symbol": instrument.stream_symbol(),
        "entity_id": instrument.entity_id(),
        "interval": level.as_str(),
        "gaps": gaps,
        "expected_bars": report.expected,
        "present_bars": report.present,
        "no_trades_bars": report.without_trades(),
        "completeness_pct": report.completeness_pct(),
    });
    if let Some(repair) = repair {
        body["backfill"] = repair;
    }
    Ok(HttpResponse::Ok().json(body))
}

/// Fetches what is missing; how that went.
async fn repaired(
    gateway: &Gateway,
    instrument: &Arc<Instrument>,
    level: Level,
    span: Span,
) -> Value {
    let work = gateway.repair_bars(instrument, level, span);
    match tokio::time::timeout(REPAIR, work).await {
        Ok(Ok(())) => json!({"outcome": "complete"}),
        Ok(Err(error)) => json!({
            "outcome": "incomplete",
            "error": {"code": error.code.as_str(), "message": error.message},
        }),
        // What came is stored: the same question goes on from there.
        Err(_) => json!({"outcome": "incomplete", "error": {
            "code": CryptoCode::ProviderUnavailable.as_str(),
            "message": format!("not done within {} s; ask again to go on", REPAIR.as_secs()),
        }}),
    }
}

fn gap_json(gap: &Gap) -> Value {
    json!({
        "start_timestamp": gap.first.to_rfc3339_seconds(),
        "end_timestamp": gap.last.to_rfc3339_seconds(),
        "missing_bars": gap.bars,
        "reason": gap.reason.as_str(),
    })
}

/// The columns of a bar in quarantine.
pub const QUARANTINE_COLUMNS: &[&str] = QuarantineView::COLUMNS;

/// A bar in quarantine as it is shown.
struct QuarantineView<'a>(&'a Quarantined);

impl TableRow for QuarantineView<'_> {
    const COLUMNS: &'static [&'static str] = &[
        "id",
        "reason",
        "source",
        "quarantined_at",
        "provider",
        "entity_id",
        "code",
        "level",
        "timestamp",
        "open",
        "high",
        "low",
        "close",
        "volume_base",
        "volume_quote",
        "trade_count",
    ];

    fn cell(&self, column: usize, cell: &mut Cell<'_>) {
        let (entry, row) = (self.0, &self.0.row);
        match Self::COLUMNS[column] {
            "id" => cell.integer(entry.id),
            "reason" => cell.text(entry.fault.as_str()),
            "source" => cell.text(entry.source.as_str()),
            "quarantined_at" => cell.time(entry.since),
            "provider" => cell.text(&row.entity.provider),
            "entity_id" => cell.text(&row.entity.entity_id),
            "code" => cell.text(&row.entity.code),
            "level" => cell.text(row.level.as_str()),
            "timestamp" => cell.time_secs(row.ts),
            "open" => cell.decimal(row.open),
            "high" => cell.decimal(row.high),
            "low" => cell.decimal(row.low),
            "close" => cell.decimal(row.close),
            "volume_base" => cell.decimal(row.volume_base),
            "volume_quote" => cell.decimal_opt(row.volume_quote),
            _ => cell.integer_opt(row.trade_count),
        }
    }
}

/// `GET /api/crypto/validation/quarantine`: the newest first.
///
/// # Errors
/// A parameter that is wrong.
pub async fn quarantine(request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::QUARANTINE.query)?;
    let shape = Shape::read(&params)?;
    let columns = shape.columns::<QuarantineView<'_>>()?;
    let provider = params.provider()?.map(ProviderId::name);
    let ids = params.list("entity_ids")?;
    let reasons = Fault::ALL.map(|fault| (fault.as_str(), fault));
    let reason = params.choice("reason", &reasons)?;
    let sources = [Source::Live, Source::History].map(|source| (source.as_str(), source));
    let source = params.choice("source", &sources)?;
    let names = Level::ALL.map(|level| (level.as_str(), level));
    let level = params.choice("interval", &names)?;
    let wanted = |entry: &Quarantined| {
        let row = &entry.row;
        provider.is_none_or(|provider| row.entity.provider == provider)
            && (ids.is_empty() || ids.contains(&row.entity.entity_id.as_str()))
            && reason.is_none_or(|reason| reason == entry.fault)
            && source.is_none_or(|source| source == entry.source)
            && level.is_none_or(|level| level == row.level)
    };
    let (rows, _) = gateway.quarantine().list(wanted, 0, shape.limit);
    Ok(Listing::encode(&shape, &columns, &rows, QuarantineView, Vec::new()).respond())
}

/// `POST /api/crypto/validation/quarantine/{id}/release`: stores a bar after all.
///
/// # Errors
/// Who asks is not the operator, no bar has this number, or what the store answers.
pub async fn release(
    operator: Operator,
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    Params::parse(request.query_string(), &[])?;
    let id = path.parse::<u64>().map_err(|_| {
        CryptoError::invalid_parameter("id", &path, "the number of a bar in quarantine")
    })?;
    let entry = gateway.quarantine().get(id).ok_or_else(|| {
        CryptoError::new(
            CryptoCode::NotFound,
            format!("no bar in quarantine has the number {id}"),
        )
        .suggest("GET /api/crypto/validation/quarantine lists those that are there")
    })?;
    let recorder = gateway
        .recorder()
        .ok_or_else(|| CryptoError::new(CryptoCode::Unsupported, "no store is configured"))?;
    let row = &entry.row;
    let promise = CoverageRow {
        entity: row.entity.clone(),
        series: Series::Klines(row.level),
        span: Span {
            start: row.ts,
            end: TsNanos(row.ts.0.saturating_add(row.level.nanos())),
        },
    };
    let rows = vec![Row::Kline(row.clone()), Row::Coverage(promise)];
    recorder.write(rows).await?;
    gateway.quarantine().remove(id);
    tracing::info!(
        operator = operator.id,
        id,
        entity_id = row.entity.entity_id,
        level = %row.level,
        open = row.ts.to_rfc3339_seconds(),
        "operator: bar released from quarantine"
    );
    Ok(HttpResponse::Ok().json(json!({
        "command": "release",
        "outcome": "stored",
        "id": id,
        "entity_id": row.entity.entity_id,
        "level": row.level.as_str(),
        "timestamp": row.ts.to_rfc3339_seconds(),
    })))
}
