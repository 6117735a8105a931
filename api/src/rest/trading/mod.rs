//! Orders, positions and balances over REST. What is decided about an order is decided by its
//! [`bookwire_actors::trading::router::OrderRouter`]; here requests are read and answers written.

mod account;
mod orders;

pub use account::{accounts, balances, fills, kill_switch, leverage, positions, reset};
pub use orders::{amend, by_client_id, cancel, cancel_all, list, one, place};

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::trading::Trading;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, Market, Scope};
use bookwire_engine::keys::Permission;
use bookwire_engine::trading::order::Order;
use bookwire_engine::wire::{Columns, Numbers, OrderView, TableRow, write_json_rows};

use super::body::Body;
use super::data::in_time;
use super::params::Params;
use crate::auth::{Bucket, Caller};
use crate::error::{ApiError, TRACE_HEADER};

type Answer = Result<HttpResponse, ApiError>;

/// Orders and executions in one answer, when nothing is said.
const LIMIT: usize = 500;

fn trading(gateway: &Gateway) -> Result<Trading, CryptoError> {
    gateway.trading().ok_or_else(|| {
        CryptoError::new(CryptoCode::Unsupported, "trading is switched off")
            .suggest("set trading.enabled = true")
    })
}

/// Whether the caller may place and amend orders of a market; counts the request.
fn may_trade(caller: &Caller, provider: ProviderId, market: Market) -> Result<(), CryptoError> {
    caller.require(Permission::to_trade(market), provider)?;
    caller.charge(Bucket::Trading)
}

/// Whether the caller may cancel orders of all these markets; counts the request.
fn may_cancel(
    caller: &Caller,
    markets: impl IntoIterator<Item = (ProviderId, Market)>,
) -> Result<(), CryptoError> {
    for (provider, market) in markets {
        caller.require(Permission::to_trade(market), provider)?;
    }
    caller.charge(Bucket::Cancel)
}

/// Whether the caller may see what is on the accounts of a provider.
fn may_see(caller: &Caller, provider: ProviderId) -> bool {
    let mut markets = provider.exchange().markets().iter();
    markets.any(|market| caller.may(Permission::to_trade(*market), Some(provider)))
}

/// The request's id.
fn trace(request: &HttpRequest) -> &str {
    let header = request.headers().get(TRACE_HEADER);
    header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The provider that a body names.
fn provider_of(body: &Body) -> Result<ProviderId, CryptoError> {
    let names: Vec<&str> = ProviderId::all().map(ProviderId::name).collect();
    let accepted = format!("one of {}", names.join(", "));
    let name = body.text_required("provider", &accepted)?;
    ProviderId::parse(&name)
        .ok_or_else(|| CryptoError::invalid_parameter("provider", &name, accepted))
}

/// The instrument that an entity id (or another spelling) names at a provider.
async fn instrument(
    gateway: &Gateway,
    provider: ProviderId,
    entity: &str,
) -> Result<Arc<Instrument>, CryptoError> {
    gateway.check_enabled(provider)?;
    let mut exchange = None;
    if provider.exchange().bridge().is_some() {
        exchange = entity.split('_').nth(1);
        in_time(gateway.prepare(provider, exchange)).await?;
    }
    let scope = Scope {
        provider: Some(provider),
        exchange,
        market: None,
    };
    gateway.resolve(entity, scope)
}

fn numbers(params: &Params) -> Result<Numbers, CryptoError> {
    params.numbers()
}

fn json(status: StatusCode, body: Vec<u8>) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("application/json")
        .body(body)
}

/// An order as the whole answer, with `extra` fields behind its own.
fn order_answer(status: StatusCode, order: &Order, numbers: Numbers, extra: &str) -> HttpResponse {
    let mut out = Vec::with_capacity(1_024);
    Columns::<OrderView<'_>>::all().write_json(&mut out, &OrderView(order), numbers);
    if !extra.is_empty() {
        out.pop();
        out.extend_from_slice(extra.as_bytes());
        out.push(b'}');
    }
    json(status, out)
}

/// `"name":[rows]`.
fn rows_field<R: TableRow>(
    out: &mut Vec<u8>,
    name: &str,
    rows: impl IntoIterator<Item = R>,
    numbers: Numbers,
) {
    out.extend_from_slice(format!("\"{name}\":").as_bytes());
    write_json_rows(out, &Columns::all(), rows, numbers);
}

/// `{"name":[rows]}`.
fn rows_answer<R: TableRow>(
    name: &str,
    rows: impl IntoIterator<Item = R>,
    numbers: Numbers,
) -> HttpResponse {
    let mut out = vec![b'{'];
    rows_field(&mut out, name, rows, numbers);
    out.push(b'}');
    json(StatusCode::OK, out)
}
