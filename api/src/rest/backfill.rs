//! History that is fetched without a query: how far it is, and orders for more.

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::history::backfill::{BackfillJob, BackfillOrder};
use bookwire_engine::error::CryptoError;
use bookwire_engine::store::{Series, Span};
use bookwire_engine::time::TsNanos;
use serde_json::{Value, json};

use super::params::{self, Params};
use super::validation::{instrument_of, level_of};
use crate::error::ApiError;
use crate::operator::Operator;
use crate::spec::ops as spec;

type Answer = Result<HttpResponse, ApiError>;

/// `GET /api/crypto/history/backfill`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn list(request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::BACKFILL.query)?;
    let provider = params.provider()?;
    let sum = gateway.backfill().summary();
    let jobs = gateway.backfill().jobs();
    let jobs = jobs
        .iter()
        .filter(|job| provider.is_none_or(|one| one == job.instrument.spec.provider));
    let series: Vec<Value> = jobs.map(job_json).collect();
    Ok(HttpResponse::Ok().json(json!({
        "done": sum.done,
        "is_planned": sum.is_planned,
        "series_count": sum.series,
        "series_over": sum.over,
        "series_failed": sum.failed,
        "rows": sum.rows,
        "eta_seconds": sum.eta.map(|eta| eta.as_secs()),
        "series": series,
    })))
}

fn job_json(job: &BackfillJob) -> Value {
    let (series, interval) = match job.series {
        Series::Klines(level) => ("klines", Some(level.as_str())),
        Series::Trades => ("trades", None),
        Series::Funding => ("funding", None),
    };
    let error = job.error.as_ref();
    json!({
        "id": job.id,
        "provider": job.instrument.spec.provider.name(),
        "symbol": job.instrument.stream_symbol(),
        "entity_id": job.instrument.entity_id(),
        "series": series,
        "interval": interval,
        "start_timestamp": job.span.start.to_rfc3339(),
        "end_timestamp": job.span.end.to_rfc3339(),
        "state": job.state.as_str(),
        "done": job.done,
        "rows": job.rows,
        "eta_seconds": job.eta.map(|eta| eta.as_secs()),
        "error": error.map(|e| json!({"code": e.code.as_str(), "message": e.message})),
        "ordered": job.is_ordered,
    })
}

/// `POST /api/crypto/history/backfill`: has a series of a symbol fetched.
///
/// # Errors
/// Who asks is not the operator, a parameter that is wrong, or what the engine answers.
pub async fn order(
    operator: Operator,
    request: HttpRequest,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::ORDER_BACKFILL.query)?;
    let provider = params.provider_required()?;
    let level = level_of(&params)?;
    let names = [
        ("klines", Series::Klines(level)),
        ("trades", Series::Trades),
        ("funding", Series::Funding),
    ];
    let series = params.choice("series", &names)?;
    let series = series.unwrap_or(Series::Klines(level));
    if params.has("interval") && !matches!(series, Series::Klines(_)) {
        let interval = params.text("interval")?.unwrap_or_default();
        let accepted = "nothing: it belongs to series=klines";
        return Err(CryptoError::invalid_parameter("interval", interval, accepted).into());
    }
    let start = params
        .time("start_timestamp")?
        .ok_or_else(|| params::missing("start_timestamp", params::TIME_FORMS))?;
    let end = params.time("end_timestamp")?;
    let end = end.unwrap_or_else(|| gateway.clock().now());
    let is_anew = params.flag("refetch")?.unwrap_or(false);
    let span = match series {
        Series::Klines(level) => gateway.whole_bars(level, start, end),
        Series::Trades | Series::Funding => Span {
            start: start.max(TsNanos(0)),
            end: TsNanos(end.0.saturating_add(1)),
        },
    };
    if span.is_empty() {
        return Err(CryptoError::invalid_parameter(
            "start_timestamp",
            params.text("start_timestamp")?.unwrap_or_default(),
            "an instant before end_timestamp, with something between that is over",
        )
        .into());
    }
    let instrument = instrument_of(&gateway, &params, provider).await?;
    let job = gateway.order_backfill(BackfillOrder {
        instrument,
        series,
        span,
        is_anew,
    })?;
    tracing::info!(
        operator = operator.id,
        provider = provider.name(),
        symbol = job.instrument.stream_symbol(),
        id = job.id,
        "operator: backfill"
    );
    Ok(HttpResponse::Accepted().json(json!({
        "command": "backfill",
        "outcome": "accepted",
        "series": job_json(&job),
    })))
}
