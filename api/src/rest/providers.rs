//! Providers as operators see them: what they can do, how they are, and the commands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::gateway::operate::{
    ConnectionOutcome, ConnectionResult, ReconnectReport, ResyncReport,
};
use bookwire_actors::incidents::{Ended, Incident, IncidentView, Repairs, Subject};
use bookwire_actors::options::ProviderOptions;
use bookwire_actors::status::ProviderStatus;
use bookwire_actors::topic::stream_name;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::offer::{self, Offer, TradeHistory};
use bookwire_engine::exchange::{MaintenanceWindow, ProviderId};
use bookwire_engine::instrument::{Instrument, InstrumentTable, Market, Scope};
use bookwire_engine::time::Level;
use bookwire_engine::trading::order::TradingMode;
use serde_json::{Map, Value, json};

use super::abilities::Traded;
use super::params::{self, Params};
use crate::error::ApiError;
use crate::operator::Operator;
use crate::spec::ops as spec;

/// Rows of one list of what is not well; how many there are is told beside it.
const LISTED_MAX: usize = 200;

/// How long a command waits for its outcome, seconds.
const WAIT_SECS: u64 = 15;

type Answer = Result<HttpResponse, ApiError>;

/// `GET /api/crypto/providers/status`.
///
/// # Errors
/// A parameter that is wrong.
pub async fn status(request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    Params::parse(request.query_string(), &[])?;
    let table = gateway.instruments();
    let all = gateway.status();
    let providers: Vec<Value> = all.iter().map(|row| status_json(row, &table)).collect();
    Ok(HttpResponse::Ok().json(json!({ "providers": providers })))
}

fn status_json(status: &ProviderStatus, table: &InstrumentTable) -> Value {
    let weight = status.weight.iter().map(|weight| {
        json!({
            "market": weight.market.as_str(),
            "budget": weight.budget,
            "used": weight.used,
            "limit": weight.limit,
        })
    });
    let weight: Vec<Value> = weight.collect();
    let mut row = json!({
        "name": status.provider.name(),
        "status": status.state.as_str(),
        "reason": status.reason,
        "api_latency_ms": status.api_latency_ms,
        "websocket_connected": status.websocket_connected,
        "websocket_connections": status.connections_up,
        "websocket_connections_wanted": status.connections_wanted,
        "last_data_timestamp": status.last_data.map(|ts| ts.to_rfc3339()),
        "error_rate_1h": status.error_rate_1h,
        "uptime_24h": status.uptime_24h,
        "reconnects": status.reconnects,
        "reconnects_24h": status.reconnects_24h,
        "weight_used": weight,
        "clock_offset_ms": status.clock_offset_ms,
        "instruments": status.instruments,
        "venues": status.venues,
    });
    if let Some(row) = row.as_object_mut() {
        row.extend(incidents_json(&status.incidents, table));
    }
    row
}

fn incidents_json(view: &IncidentView, table: &InstrumentTable) -> Map<String, Value> {
    let symbol = |id| table.get(id).map(|row| row.stream_symbol());
    let mut lists: [(usize, Vec<Value>); 3] = Default::default();
    for incident in &view.open {
        let (list, what) = match &incident.subject {
            Subject::Book(id) => (0, json!({"symbol": symbol(*id)})),
            Subject::Stream(id, feed) => (
                1,
                json!({"symbol": symbol(*id), "stream": stream_name(*feed)}),
            ),
            Subject::Connection(shard, name) => (2, json!({"name": name, "shard": shard})),
        };
        let (count, rows) = &mut lists[list];
        *count += 1;
        if rows.len() < LISTED_MAX {
            rows.push(incident_json(what, incident));
        }
    }
    let [books, streams, connections] = lists;
    let by_reason: BTreeMap<&str, Value> = view
        .resyncs_24h
        .iter()
        .map(|(reason, repairs)| (*reason, repairs_json(*repairs)))
        .collect();
    let mut resyncs = repairs_json(view.resyncs());
    resyncs["by_reason"] = json!(by_reason);
    resyncs["last"] = match &view.last_resync {
        Some((id, Ended { reason, after, .. })) => {
            json!({"symbol": symbol(*id), "reason": reason, "duration_ms": millis(*after)})
        }
        None => Value::Null,
    };
    let maintenance = view.maintenance.as_ref().map(|maintenance| {
        json!({
            "since": maintenance.since.to_rfc3339(),
            "duration_ms": millis(maintenance.lasted),
            "text": maintenance.text,
            "expected_end": maintenance.expected_end.map(|ts| ts.to_rfc3339()),
        })
    });
    let announced = view.announced.iter().map(|window: &MaintenanceWindow| {
        json!({
            "begin": window.begin.map(|ts| ts.to_rfc3339()),
            "end": window.end.map(|ts| ts.to_rfc3339()),
            "text": window.text,
        })
    });
    let announced: Vec<Value> = announced.collect();
    let all = json!({
        "maintenance": maintenance,
        "announced_maintenance": announced,
        "books_resyncing": books.1,
        "books_resyncing_count": books.0,
        "stale_streams": streams.1,
        "stale_streams_count": streams.0,
        "connections_down": connections.1,
        "connections_down_count": connections.0,
        "resyncs_24h": resyncs,
        "stale_streams_24h": repairs_json(view.stale_24h),
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

fn incident_json(mut what: Value, incident: &Incident) -> Value {
    what["reason"] = json!(incident.reason);
    what["since"] = json!(incident.since.to_rfc3339());
    what["duration_ms"] = json!(millis(incident.lasted));
    if let Some(error) = &incident.last_error {
        what["last_error"] = json!(error);
    }
    what
}

fn repairs_json(repairs: Repairs) -> Value {
    json!({
        "count": repairs.count,
        "total_duration_ms": millis(repairs.total),
        "longest_duration_ms": millis(repairs.longest),
    })
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// `GET /api/crypto/providers/capabilities`: what is true of this build, its configuration and the
/// instruments that are loaded.
///
/// # Errors
/// A parameter that is wrong.
pub async fn capabilities(request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    Params::parse(request.query_string(), &[])?;
    let table = gateway.instruments();
    let mut all = Map::new();
    for provider in ProviderId::all() {
        let options = gateway.options().provider(provider);
        let traded = Traded::of(&gateway, provider).await?;
        let capabilities = capabilities_json(&gateway, provider, options, &table, &traded);
        all.insert(provider.name().to_owned(), capabilities);
    }
    Ok(HttpResponse::Ok().json(all))
}

fn capabilities_json(
    gateway: &Gateway,
    provider: ProviderId,
    options: Option<&ProviderOptions>,
    table: &InstrumentTable,
    traded: &Traded,
) -> Value {
    let defaults = ProviderOptions::new(provider);
    let used = options.unwrap_or(&defaults);
    let offers = offer::offers(provider);
    let own = || table.iter().filter(|row| row.spec.provider == provider);
    let leverages = own().filter_map(|row| row.spec.max_leverage);
    let intervals: BTreeSet<u32> = own()
        .filter_map(|row| row.spec.funding_interval_hours)
        .collect();
    let has = |market| {
        let is_used = options.is_some() && used.markets.contains(&market);
        is_used && offers.iter().any(|offer| offer.market == market)
    };
    let market_data: Map<String, Value> = offers
        .iter()
        .filter(|offer| used.markets.contains(&offer.market))
        .map(|offer| (offer.market.as_str().to_owned(), offer_json(offer)))
        .collect();
    json!({
        "enabled": options.is_some(),
        "spot_trading": traded.has(Market::Spot) && has(Market::Spot),
        "perpetual_trading": traded.has(Market::Perp) && has(Market::Perp),
        "margin_trading": traded.lends(),
        "supported_order_types": traded.order_types(),
        "trading_mode": traded.mode.map(TradingMode::as_str),
        "live_trading": traded.mode.is_some() && provider.exchange().trading().is_some(),
        "order_support": traded.json(),
        "spot_market_data": has(Market::Spot),
        "perpetual_market_data": has(Market::Perp),
        "market_data": market_data,
        "max_leverage": leverages.max(),
        "funding_intervals": intervals,
        "websocket_endpoints": endpoints(gateway, provider, used),
        "rest_endpoints": rest_endpoints(gateway, provider, used),
        "rate_limits": rate_limits(provider),
    })
}

fn offer_json(offer: &Offer) -> Value {
    let streams: Vec<&str> = offer.feeds.iter().map(|feed| stream_name(*feed)).collect();
    let names =
        |levels: &[Level]| -> Vec<&str> { levels.iter().map(|level| level.as_str()).collect() };
    let (trades_by, newest) = match offer.trade_history {
        TradeHistory::None => (None, None),
        TradeHistory::Newest(count) => (Some("newest"), count),
        TradeHistory::ByTime => (Some("time"), None),
        TradeHistory::ById => (Some("id"), None),
    };
    json!({
        "streams": streams,
        "native_live_levels": names(&offer.live_levels),
        "native_history_levels": names(&offer.history_levels),
        "trade_history": offer.trade_history != TradeHistory::None,
        // Of which trades: what was missed for longer than that is lost.
        "trade_history_by": trades_by,
        "trade_history_newest": newest,
        "funding_history": offer.has_funding_history,
    })
}

/// Where stream connections of the markets in use go, each once.
fn endpoints(gateway: &Gateway, provider: ProviderId, options: &ProviderOptions) -> Vec<String> {
    let exchange = provider.exchange();
    let routes = options.markets.iter().flat_map(|m| exchange.routes(*m));
    let mut all = Vec::new();
    for route in routes {
        let base = gateway.base_url(provider, route.host, route.base_url);
        let url = format!("{base}{}", route.path);
        if !all.contains(&url) {
            all.push(url);
        }
    }
    all
}

fn rest_endpoints(
    gateway: &Gateway,
    provider: ProviderId,
    options: &ProviderOptions,
) -> Vec<String> {
    let mut all = Vec::new();
    for market in &options.markets {
        let (host, default) = provider.exchange().rest_host(*market);
        let url = gateway.base_url(provider, host, default);
        if !all.contains(&url) {
            all.push(url);
        }
    }
    all
}

fn rate_limits(provider: ProviderId) -> Value {
    let exchange = provider.exchange();
    let mut budgets: Vec<Value> = Vec::new();
    let mut connections = Vec::new();
    let mut hosts = BTreeMap::new();
    for market in exchange.markets() {
        for budget in exchange.rest_budgets(*market) {
            let row = json!({
                "host": exchange.rest_host(*market).0,
                "budget": budget.name,
                "weight": budget.weight_per_window,
                "window_seconds": budget.window_secs,
            });
            if !budgets.contains(&row) {
                budgets.push(row);
            }
        }
        let limits = exchange.limits(*market);
        for route in exchange.routes(*market) {
            let window = limits.connect_window_secs.max(1);
            hosts.insert(
                route.host,
                u64::from(limits.connects_per_window) * 60 / window,
            );
        }
        connections.push(json!({
            "market": market.as_str(),
            "streams_per_connection": limits.streams_per_connection,
            "messages_per_second": limits.messages_per_second,
            "connects": limits.connects_per_window,
            "connect_window_seconds": limits.connect_window_secs,
        }));
    }
    json!({
        // Weight, where the exchange counts so: a request costs one or more.
        "requests_per_minute": offer::requests_per_minute(provider),
        // Exchanges count by account, instrument and kind: their own refusals are what counts.
        "orders_per_minute": null,
        // Connections that may be opened in a minute, all hosts together.
        "websocket_connections": hosts.values().sum::<u64>(),
        "budgets": budgets,
        "connections": connections,
    })
}

/// The provider that a command's path names.
pub(super) fn provider_of(name: &str) -> Result<ProviderId, CryptoError> {
    ProviderId::parse(name).ok_or_else(|| {
        let shown: String = name.chars().take(64).collect();
        let known = params::provider_names();
        CryptoError::new(
            CryptoCode::NotFound,
            format!("`{shown}` is no provider; accepted: {known}"),
        )
        .with("provider", shown)
        .with("accepted", known)
    })
}

fn wait_of(params: &Params) -> Result<Duration, CryptoError> {
    let secs = params.integer("timeout_seconds")?;
    Ok(Duration::from_secs(secs.unwrap_or(WAIT_SECS)))
}

/// `POST /api/crypto/providers/{name}/reconnect`.
///
/// # Errors
/// Who asks is not the operator, a parameter that is wrong, or what the engine answers.
pub async fn reconnect(
    operator: Operator,
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::RECONNECT.query)?;
    let (provider, wait) = (provider_of(&path)?, wait_of(&params)?);
    let report = gateway.reconnect(provider, wait).await?;
    let outcome = match (report.connections.is_empty(), report.is_complete()) {
        (true, _) => "nothing_to_do",
        (false, true) => "reconnected",
        (false, false) => "incomplete",
    };
    let took_ms = millis(report.took);
    tracing::info!(
        operator = operator.id,
        provider = provider.name(),
        outcome,
        took_ms,
        "operator: reconnect"
    );
    Ok(HttpResponse::Ok().json(reconnect_json(provider, outcome, &report)))
}

pub(super) fn reconnect_json(
    provider: ProviderId,
    outcome: &str,
    report: &ReconnectReport,
) -> Value {
    let row = |row: &ConnectionOutcome| {
        let (result, after, reason) = match &row.result {
            ConnectionResult::Up(after) => ("up", Some(millis(*after)), None),
            ConnectionResult::Ended => ("not_wanted_any_more", None, None),
            ConnectionResult::Down(reason) => ("down", None, reason.as_deref()),
        };
        json!({
            "name": row.name,
            "shard": row.shard,
            "was_connected": row.was_up,
            "result": result,
            "after_ms": after,
            "reason": reason,
            "streams": row.streams,
            "streams_live": row.live,
        })
    };
    let connections: Vec<Value> = report.connections.iter().map(row).collect();
    json!({
        "provider": provider.name(),
        "command": "reconnect",
        "outcome": outcome,
        "duration_ms": millis(report.took),
        "connections": connections,
    })
}

/// `POST /api/crypto/providers/{name}/resync?symbol=`.
///
/// # Errors
/// Who asks is not the operator, a parameter that is wrong, or what the engine answers.
pub async fn resync(
    operator: Operator,
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::RESYNC.query)?;
    let (provider, wait) = (provider_of(&path)?, wait_of(&params)?);
    let symbol = params
        .text("symbol")?
        .ok_or_else(|| params::missing("symbol", "a symbol such as btcusdt or btcusdt-perp"))?;
    gateway.check_enabled(provider)?;
    let scope = Scope {
        provider: Some(provider),
        exchange: params.text("exchange")?,
        market: None,
    };
    let instrument = gateway.resolve(symbol, scope)?;
    let report = gateway.resync(&instrument, wait).await?;
    let outcome = match report.is_complete() {
        true => "resynced",
        false => "incomplete",
    };
    let took_ms = millis(report.took);
    tracing::info!(
        operator = operator.id,
        provider = provider.name(),
        symbol = instrument.stream_symbol(),
        outcome,
        took_ms,
        "operator: resync"
    );
    Ok(HttpResponse::Ok().json(resync_json(&instrument, outcome, &report)))
}

fn resync_json(instrument: &Instrument, outcome: &str, report: &ResyncReport) -> Value {
    json!({
        "provider": instrument.spec.provider.name(),
        "command": "resync",
        "symbol": instrument.stream_symbol(),
        "entity_id": instrument.entity_id(),
        "outcome": outcome,
        "duration_ms": millis(report.took),
        "epoch_before": report.epoch_before,
        "epoch_after": report.epoch_after,
        "state": report.state.as_str(),
        "reason": report.hindrance,
    })
}
