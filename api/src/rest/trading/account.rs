//! `/api/trading/{accounts,balances,fills,kill_switch,leverage,positions}`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::trading::router::{
    GetAccount, GetStatus, Halt, ListFills, ResetPaper, SetLeverage,
};
use bookwire_actors::trading::{DEFAULT_ACCOUNT, Trading};
use bookwire_engine::error::CryptoError;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::keys::Permission;
use bookwire_engine::trading::order::{Balance, Fill, Position};
use bookwire_engine::wire::{BalanceView, FillView, Numbers, PositionView};
use serde_json::{Value, json};

use super::orders::{Ended, filter};
use super::{
    Answer, instrument, may_cancel, may_see, may_trade, numbers, provider_of, rows_answer, trace,
    trading,
};
use crate::auth::Caller;
use crate::rest::abilities;
use crate::rest::body::Body;
use crate::rest::ops::no_parameters;
use crate::rest::params::Params;
use crate::spec::trading as spec;

/// An account, with whose it is.
struct Of {
    provider: ProviderId,
    account: String,
    mode: &'static str,
    balances: Vec<Balance>,
    positions: Vec<Position>,
}

/// The accounts that the parameters name and the caller may see.
async fn accounts_of(
    caller: &Caller,
    params: &Params,
    gateway: &Gateway,
) -> Result<Vec<Of>, CryptoError> {
    let trading = trading(gateway)?;
    let mut all = Vec::new();
    for (provider, account, router) in trading.routers(params.provider()?, params.text("account")?)
    {
        if !may_see(caller, *provider) {
            continue;
        }
        let (balances, positions) = Trading::ask(router, GetAccount).await?;
        all.push(Of {
            provider: *provider,
            account: account.to_owned(),
            mode: Trading::ask(router, GetStatus).await?.mode.as_str(),
            balances,
            positions,
        });
    }
    Ok(all)
}

/// `GET /api/trading/balances`.
///
/// # Errors
/// Who asks may not, or a parameter that is wrong.
pub async fn balances(caller: Caller, request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::BALANCES.query)?;
    let asset = params.text("asset")?;
    let is_wanted =
        |balance: &&Balance| asset.is_none_or(|asset| asset.eq_ignore_ascii_case(&balance.asset));
    let all = accounts_of(&caller, &params, &gateway).await?;
    let rows = all.iter().flat_map(|of| {
        let wanted = of.balances.iter().filter(is_wanted);
        wanted.map(|balance| BalanceView {
            provider: of.provider.name(),
            account: &of.account,
            mode: of.mode,
            balance,
        })
    });
    Ok(rows_answer("balances", rows, numbers(&params)?))
}

/// `GET /api/trading/positions`.
///
/// # Errors
/// Who asks may not, or a parameter that is wrong.
pub async fn positions(
    caller: Caller,
    request: HttpRequest,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::POSITIONS.query)?;
    let wanted = params.text("entity_id")?.map(str::to_ascii_lowercase);
    let all = accounts_of(&caller, &params, &gateway).await?;
    let table = gateway.instruments();
    let mut named = Vec::new();
    for of in &all {
        for position in of.positions.iter().filter(|one| !one.quantity.is_zero()) {
            let found = table.by_native(of.provider, Market::Perp, &position.native_symbol);
            let Some(instrument) = found else { continue };
            let entity = instrument.entity_id();
            if wanted.as_ref().is_none_or(|wanted| *wanted == entity) {
                named.push((of, position, entity, instrument.stream_symbol()));
            }
        }
    }
    let rows = named
        .iter()
        .map(|(of, position, entity_id, symbol)| PositionView {
            provider: of.provider.name(),
            account: &of.account,
            mode: of.mode,
            entity_id,
            symbol,
            position,
        });
    Ok(rows_answer("positions", rows, numbers(&params)?))
}

/// `GET /api/trading/fills`.
///
/// # Errors
/// Who asks may not, or a parameter that is wrong.
pub async fn fills(caller: Caller, request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::FILLS.query)?;
    let mut filter = filter(&params)?;
    let limit = filter.limit;
    let order = params.text("order_id")?;
    if order.is_some() {
        filter.limit = usize::MAX;
    }
    let trading = trading(&gateway)?;
    let mut all: Vec<Fill> = Vec::new();
    for (provider, _, router) in trading.routers(params.provider()?, params.text("account")?) {
        if may_see(&caller, *provider) {
            all.extend(Trading::ask(router, ListFills(filter.clone())).await?);
        }
    }
    all.retain(|fill| order.is_none_or(|order| fill.order_id.to_string() == order));
    all.sort_by_key(|fill| std::cmp::Reverse(fill.at));
    all.truncate(limit);
    Ok(rows_answer(
        "fills",
        all.iter().map(FillView),
        numbers(&params)?,
    ))
}

/// `POST /api/trading/leverage`.
///
/// # Errors
/// Who asks may not, a field that is wrong, or what the exchange answers.
pub async fn leverage(
    caller: Caller,
    request: HttpRequest,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
) -> Answer {
    no_parameters(&request)?;
    let body = Body::parse(&bytes, spec::LEVERAGE.body)?;
    let provider = provider_of(&body)?;
    let accepted = "an entity id such as cryptoperp_binance_btcusdt";
    let entity = body.text_required("entity_id", accepted)?;
    let leverage = body.count("leverage")?.ok_or_else(|| {
        CryptoError::invalid_parameter("leverage", "", "a whole number from 1 on")
    })?;
    let instrument = instrument(&gateway, provider, &entity).await?;
    may_trade(&caller, provider, instrument.spec.market)?;
    let account = body.text("account")?;
    let account = account.unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
    let router = trading(&gateway)?.router(provider, &account)?;
    let entity_id = instrument.entity_id();
    let wanted = SetLeverage {
        instrument,
        leverage,
    };
    Trading::command(&router, wanted).await?;
    Ok(HttpResponse::Ok().json(json!({
        "provider": provider.name(),
        "account": account,
        "entity_id": entity_id,
        "leverage": leverage,
    })))
}

/// `POST /api/trading/kill_switch`.
///
/// # Errors
/// Who asks may not, or a field that is wrong.
pub async fn kill_switch(
    caller: Caller,
    request: HttpRequest,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
) -> Answer {
    no_parameters(&request)?;
    let body = Body::parse(&bytes, spec::KILL_SWITCH.body)?;
    let is_engaged = body
        .flag("engaged")?
        .ok_or_else(|| CryptoError::invalid_parameter("engaged", "", "true or false"))?;
    let provider = match body.has("provider") {
        true => Some(provider_of(&body)?),
        false => None,
    };
    let trading = trading(&gateway)?;
    let meant = trading
        .routers(provider, None)
        .flat_map(|(provider, _, _)| {
            let markets = provider.exchange().markets().iter();
            markets.map(|market| (*provider, *market))
        });
    may_cancel(&caller, meant)?;
    let (mut ended, mut providers) = (Ended::default(), Vec::new());
    // All of them are stopped before the first failure is told.
    let mut first_error = None;
    for (provider, _, router) in trading.routers(provider, None) {
        let halt = Halt {
            is_engaged,
            by: caller.id().to_owned(),
        };
        match Trading::command(router, halt).await {
            Ok(outcomes) => {
                providers.push(provider.name());
                ended.add(outcomes);
            }
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    if let Some(error) = first_error {
        return Err(error.into());
    }
    providers.dedup();
    let mut out = format!("{{\"engaged\":{is_engaged},\"providers\":").into_bytes();
    out.extend_from_slice(Value::from(providers).to_string().as_bytes());
    out.push(b',');
    ended.write(&mut out, Numbers::default(), trace(&request));
    out.push(b'}');
    Ok(super::json(StatusCode::OK, out))
}

/// `GET /api/trading/accounts`: how each account stands.
///
/// # Errors
/// Who asks may not, or a parameter that is wrong.
pub async fn accounts(caller: Caller, request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::ACCOUNTS.query)?;
    let trading = trading(&gateway)?;
    let mut rows: Vec<Value> = Vec::new();
    for (provider, _, router) in trading.routers(params.provider()?, params.text("account")?) {
        if !may_see(&caller, *provider) {
            continue;
        }
        let status = Trading::ask(router, GetStatus).await?;
        let stats = &status.stats;
        rows.push(json!({
            "provider": status.provider.name(),
            "account": status.account,
            "mode": status.mode.as_str(),
            "order_support": abilities::of_account(&status),
            "key_can_withdraw": status.key_can_withdraw,
            "ready": status.is_ready,
            "reason": status.reason,
            "halted_by": status.halted_by,
            "open_orders": status.open_orders,
            "orders_placed": stats.placed,
            "orders_rejected": stats.rejected,
            "orders_refused_by_risk": stats.refused_by_risk,
            "orders_unknown": stats.unknown,
            "cancels": stats.cancels,
            "cancel_on_disconnect_sessions": status.guards,
            "disconnects": stats.disconnects,
            "disconnect_cancels": stats.disconnect_cancels,
            "disconnect_cancels_failed": stats.disconnect_cancels_failed,
            "fills": stats.fills,
            "corrections": stats.corrections,
            "reconciliations": stats.reconciliations,
            "reconciliations_failed": stats.reconciliations_failed,
            "private_reconnects": stats.private_reconnects,
            "journal_errors": stats.journal_errors,
            "unmapped_errors": stats.unmapped,
            "order_socket": status.lines.as_ref().map(|lines| json!({
                "up": lines.is_up,
                "commands": lines.written,
                "answered": lines.answered,
                "by_rest": lines.by_rest,
                "reconnects": lines.reconnects,
            })),
        }));
    }
    Ok(HttpResponse::Ok().json(json!({"accounts": rows})))
}

/// `POST /api/trading/paper/reset`: begins a paper account anew.
///
/// # Errors
/// Who asks may not, a field that is wrong, or the account is no paper account.
pub async fn reset(
    caller: Caller,
    request: HttpRequest,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
) -> Answer {
    no_parameters(&request)?;
    let body = Body::parse(&bytes, spec::RESET.body)?;
    let provider = provider_of(&body)?;
    let account = body.text("account")?;
    let account = account.unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned());
    for market in provider.exchange().markets() {
        caller.require(Permission::to_trade(*market), provider)?;
    }
    let router = trading(&gateway)?.router(provider, &account)?;
    Trading::command(&router, ResetPaper).await?;
    Ok(HttpResponse::Ok().json(json!({
        "provider": provider.name(),
        "account": account,
        "reset": true,
    })))
}
