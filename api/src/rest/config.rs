//! `/api/crypto/config`: what is set, and changes of an exchange's settings while the server runs.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_engine::config::{ExchangeChange, Refusal};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use serde_json::{Map, Value, json};

use super::body::Body;
use super::ops::no_parameters;
use super::providers::{provider_of, reconnect_json};
use crate::audit::Note;
use crate::error::ApiError;
use crate::operator::Operator;
use crate::settings::{self, Exchange, Settings, Shown};
use crate::spec::ops as spec;

/// How long new connections are waited for before their state is told.
const WAIT: Duration = Duration::from_secs(10);

type Answer = Result<HttpResponse, ApiError>;

/// Whether a header of `If-Match` or `If-None-Match` names the state.
fn names(header: &str, etag: &str) -> bool {
    let mut tags = header.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag == etag)
}

fn text<'a>(request: &'a HttpRequest, name: &header::HeaderName) -> Option<&'a str> {
    request.headers().get(name)?.to_str().ok()
}

/// `GET /api/crypto/config`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn show(request: HttpRequest, settings: web::Data<Settings>) -> Answer {
    no_parameters(&request)?;
    let shown = settings.shown();
    let etag = shown.etag();
    if text(&request, &header::IF_NONE_MATCH).is_some_and(|tags| names(tags, &etag)) {
        return Ok(HttpResponse::NotModified()
            .insert_header((header::ETAG, etag))
            .finish());
    }
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, etag))
        .json(shown))
}

/// What a body wants changed. `null` goes back to what is configured.
fn read(id: ProviderId, bytes: &[u8]) -> Result<ExchangeChange, CryptoError> {
    let body = Body::parse(bytes, spec::CHANGE.body)?;
    let mut change = ExchangeChange::default();
    let primary = settings::primary(id);
    let mut is_endpoint = false;
    for (field, host) in [
        ("api_endpoint", primary.map(|(rest, _)| rest)),
        ("websocket_endpoint", primary.map(|(_, stream)| stream)),
    ] {
        let url = body.text(field)?;
        if url.is_none() && !body.is_null(field) {
            continue;
        }
        is_endpoint = true;
        if let Some(host) = host {
            change
                .endpoints
                .push((field.to_owned(), host.to_owned(), url));
        }
    }
    if let Some(endpoints) = body.object("endpoints")? {
        for field in endpoints.names() {
            is_endpoint = true;
            let host = field.strip_prefix("endpoints.").unwrap_or(field).to_owned();
            let url = endpoints.text(field)?;
            if change.endpoints.iter().any(|(_, known, _)| *known == host) {
                let accepted = "each endpoint once";
                let shown = url.unwrap_or_default();
                return Err(CryptoError::invalid_parameter(field, &shown, accepted));
            }
            change.endpoints.push((field.to_owned(), host, url));
        }
    }
    if is_endpoint && primary.is_none() {
        let what = format!(
            "endpoints of {} are changed in its configuration alone",
            id.name()
        );
        let error = CryptoError::new(CryptoCode::Unsupported, what);
        return Err(error.suggest("change providers.ccxt.hosts and restart"));
    }
    if let Some(rates) = body.object("rate_limits")? {
        let read = |name: &str| -> Result<Option<Option<u32>>, CryptoError> {
            match rates.count(name)? {
                Some(value) => Ok(Some(Some(value))),
                None => Ok(rates.is_null(name).then_some(None)),
            }
        };
        change.requests_per_minute = read("rate_limits.requests_per_minute")?;
        change.burst_limit = read("rate_limits.burst_limit")?;
    }
    Ok(change)
}

fn refused(refusal: Refusal) -> CryptoError {
    CryptoError::invalid_parameter(&refusal.field, &refusal.value, refusal.accepted)
}

/// Orders are signed, and the signature goes where the endpoint is.
fn check_live(gateway: &Gateway, id: ProviderId, field: &str) -> Result<(), CryptoError> {
    if !gateway.trades_live(id) {
        return Ok(());
    }
    let name = id.name();
    Err(CryptoError::new(
        CryptoCode::Forbidden,
        format!(
            "{name} is traded live: its endpoints are not moved while signed requests go there"
        ),
    )
    .with("provider", name)
    .with("parameter", field)
    .suggest(format!(
        "change [providers.{name}.hosts] in the configuration file and restart"
    )))
}

/// What has changed, from and to.
fn differences(old: &Exchange, new: &Exchange) -> Map<String, Value> {
    let mut all = Map::new();
    let mut add = |name: String, from: Value, to: Value| {
        if from != to {
            all.insert(name, json!({"from": from, "to": to}));
        }
    };
    for (host, to) in &new.endpoints {
        add(
            format!("endpoints.{host}"),
            json!(old.endpoints.get(host)),
            json!(to),
        );
    }
    let (from, to) = (old.rate_limits, new.rate_limits);
    add(
        "rate_limits.requests_per_minute".to_owned(),
        from.requests_per_minute.into(),
        to.requests_per_minute.into(),
    );
    add(
        "rate_limits.burst_limit".to_owned(),
        from.burst_limit.into(),
        to.burst_limit.into(),
    );
    all
}

/// `PUT /api/crypto/config/exchanges/{exchange_name}`.
///
/// # Errors
/// Who asks is not the operator, a field that is wrong, another state than `If-Match` names, or the
/// disk refuses. Nothing has changed then.
pub async fn change(
    operator: Operator,
    request: HttpRequest,
    path: web::Path<String>,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
    settings: web::Data<Settings>,
) -> Answer {
    no_parameters(&request)?;
    let id = provider_of(&path)?;
    let wanted = read(id, &bytes)?;
    if let Some((field, _, _)) = wanted.endpoints.first() {
        check_live(&gateway, id, field)?;
    }
    let if_match = text(&request, &header::IF_MATCH).map(str::to_owned);
    let (gateway, settings) = (gateway.get_ref().clone(), settings.get_ref().clone());
    // A task of its own: a client that goes away does not leave the half of it behind.
    let work = actix_web::rt::spawn(async move {
        let _turn = settings.turn().lock_owned().await;
        apply(&gateway, &settings, id, &wanted, if_match.as_deref()).await
    });
    let done = work.await.map_err(|error| {
        let what = format!("the change did not come to its end: {error}");
        CryptoError::new(CryptoCode::InternalError, what)
    })?;
    let done = done?;
    tracing::info!(
        operator = operator.id, exchange = id.name(), changes = %json!(done.changes),
        "operator: settings changed"
    );
    let mut note = Map::new();
    note.insert("exchange".to_owned(), id.name().into());
    note.insert("changes".to_owned(), json!(done.changes));
    request.extensions_mut().insert(Note(note));
    let mut answer = serde_json::to_value(&done.exchange).unwrap_or_default();
    answer["name"] = id.name().into();
    answer["changes"] = json!(done.changes);
    answer["reconnect"] = done.reconnect;
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, done.etag))
        .json(answer))
}

struct Done {
    exchange: Exchange,
    changes: Map<String, Value>,
    reconnect: Value,
    etag: String,
}

async fn apply(
    gateway: &Gateway,
    settings: &Settings,
    id: ProviderId,
    wanted: &ExchangeChange,
    if_match: Option<&str>,
) -> Result<Done, ApiError> {
    let before = settings.shown();
    if let Some(tags) = if_match
        && !names(tags, &before.etag())
    {
        return Err(mismatch(tags, &before));
    }
    let (overlay, config) = settings.changed(id, wanted).map_err(refused)?;
    let after = settings::shown(&config);
    let (Some(old), Some(new)) = (
        before.exchanges.get(id.name()),
        after.exchanges.get(id.name()),
    ) else {
        return Err(CryptoError::new(CryptoCode::InternalError, "an exchange is missing").into());
    };
    let changes = differences(old, new);
    let kept = settings.clone();
    let kept = web::block(move || kept.keep(id, overlay)).await;
    match kept {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "the change of the settings could not be written");
            return Err(not_kept());
        }
        Err(_) => return Err(not_kept()),
    }
    let mut reconnect = Value::Null;
    if let Some(provider) = config.providers.get(id.name()) {
        let endpoints = gateway.endpoints();
        if old.rate_limits != new.rate_limits {
            endpoints.set_pace(id, provider.requests_per_minute, provider.burst_limit);
        }
        if old.endpoints != new.endpoints {
            endpoints.set_hosts(id, provider.hosts.clone());
            if provider.enabled {
                reconnect = match gateway.reconnect(id, WAIT).await {
                    Ok(report) => {
                        let outcome = match (report.connections.is_empty(), report.is_complete()) {
                            (true, _) => "nothing_to_do",
                            (false, true) => "reconnected",
                            (false, false) => "incomplete",
                        };
                        reconnect_json(id, outcome, &report)
                    }
                    Err(error) => json!({"outcome": "incomplete", "reason": error.message}),
                };
            }
        }
    }
    Ok(Done {
        exchange: new.clone(),
        changes,
        reconnect,
        etag: after.etag(),
    })
}

fn not_kept() -> ApiError {
    let what = "the change could not be written to the disk, and is not in force";
    CryptoError::new(CryptoCode::InternalError, what)
        .suggest("see the log; free the disk or correct the rights of server.data_dir")
        .into()
}

fn mismatch(sent: &str, now: &Shown) -> ApiError {
    let mut error = CryptoError::invalid_parameter("If-Match", sent, now.etag());
    error.message = "the configuration is not the one that If-Match names".to_owned();
    error.recovery_suggestions =
        vec!["GET /api/crypto/config again, and decide anew with its ETag".to_owned()];
    ApiError::with_status(error, StatusCode::PRECONDITION_FAILED)
}
