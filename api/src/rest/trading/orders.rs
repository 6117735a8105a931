//! `/api/trading/orders`.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, web};
use bookwire_actors::gateway::Gateway;
use bookwire_actors::latency::Stamp;
use bookwire_actors::trading::router::{
    CancelMany, CancelOrder, FindOrder, ListOrders, OrderRouter,
};
use bookwire_actors::trading::{AmendOrder, DEFAULT_ACCOUNT, PlaceOrder, Trading};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::event::Side;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::trading::ledger::OrderFilter;
use bookwire_engine::trading::order::{
    Order, OrderId, OrderStatus, OrderTerms, OrderType, PositionSide, TimeInForce,
};
use bookwire_engine::wire::{Numbers, OrderView, error_object};

use super::{
    Answer, LIMIT, instrument, json, may_cancel, may_see, may_trade, numbers, order_answer,
    provider_of, rows_answer, rows_field, trace, trading,
};
use crate::auth::Caller;
use crate::error::wall_clock;
use crate::rest::body::Body;
use crate::rest::params::{self, Params};
use crate::spec::trading as spec;
use crate::spec::trading::CLIENT_ID_MAX;

fn words<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|value| name(*value)).collect()
}

fn side_of(text: &str) -> Option<Side> {
    match text.to_ascii_lowercase().as_str() {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

/// What a body asks for.
fn terms(
    body: &Body,
    provider: ProviderId,
    instrument: &Instrument,
) -> Result<OrderTerms, CryptoError> {
    let market = instrument.spec.market;
    let entity_type = body.text("entity_type")?;
    if let Some(told) = entity_type.filter(|told| told != market.entity_type()) {
        let accepted = format!("{} for {}", market.entity_type(), instrument.entity_id());
        return Err(CryptoError::invalid_parameter(
            "entity_type",
            &told,
            accepted,
        ));
    }
    let missing = |name: &str, accepted: &str| CryptoError::invalid_parameter(name, "", accepted);
    let side = body
        .choice("side", side_of, &["buy", "sell"])?
        .ok_or_else(|| missing("side", "buy or sell"))?;
    let types = words(OrderType::ALL, OrderType::as_str);
    let order_type = body
        .choice("type", OrderType::parse, &types)?
        .ok_or_else(|| missing("type", &types.join(", ")))?;
    let times = words(TimeInForce::ALL, TimeInForce::as_str);
    let time_in_force = body.choice("time_in_force", TimeInForce::parse, &times)?;
    let position_side = body.choice("position_side", position_side, &spec::position_sides())?;
    let quantity = body
        .amount("quantity")?
        .ok_or_else(|| missing("quantity", "a positive number of base units"))?;
    let client_order_id = body.text("client_order_id")?;
    if let Some(id) = &client_order_id
        && (id.len() > CLIENT_ID_MAX || !id.bytes().all(|b| b.is_ascii_graphic() && b != b'/'))
    {
        let accepted =
            format!("up to {CLIENT_ID_MAX} printable ASCII characters without blanks and /");
        return Err(CryptoError::invalid_parameter(
            "client_order_id",
            id,
            accepted,
        ));
    }
    Ok(OrderTerms {
        provider,
        account: body
            .text("account")?
            .unwrap_or_else(|| DEFAULT_ACCOUNT.to_owned()),
        entity_id: instrument.entity_id(),
        market,
        symbol: instrument.stream_symbol(),
        native_symbol: instrument.spec.native_key().into_owned(),
        side,
        order_type,
        quantity,
        price: body.amount("price")?,
        stop_price: body.amount("stop_price")?,
        time_in_force: time_in_force.unwrap_or(match order_type.has_price() {
            true => TimeInForce::Gtc,
            false => TimeInForce::Ioc,
        }),
        post_only: body.flag("post_only")?.unwrap_or(false),
        reduce_only: body.flag("reduce_only")?.unwrap_or(false),
        margin_trading: body.flag("margin_trading")?.unwrap_or(false),
        position_side: match market {
            Market::Spot => position_side,
            Market::Perp => Some(position_side.unwrap_or(PositionSide::Net)),
        },
        leverage: body.count("leverage")?,
        client_order_id,
    })
}

/// The position that a word names; Binance, and whoever comes from there, calls the one of one-way mode `both`.
fn position_side(word: &str) -> Option<PositionSide> {
    match word.eq_ignore_ascii_case(spec::BOTH) {
        true => Some(PositionSide::Net),
        false => PositionSide::parse(word),
    }
}

/// `POST /api/trading/orders`.
///
/// # Errors
/// Who asks may not, a field that is wrong, or why the order was not placed.
pub async fn place(
    caller: Caller,
    request: HttpRequest,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
) -> Answer {
    let received = Stamp::of(gateway.clock().monotonic());
    let params = Params::parse(request.query_string(), spec::PLACE.query)?;
    let numbers = numbers(&params)?;
    let body = Body::parse(&bytes, spec::PLACE.body)?;
    let provider = provider_of(&body)?;
    let accepted = "an entity id such as cryptopair_binance_btcusdt";
    let entity = body.text_required("entity_id", accepted)?;
    let instrument = instrument(&gateway, provider, &entity).await?;
    may_trade(&caller, provider, instrument.spec.market)?;
    let terms = terms(&body, provider, &instrument)?;
    let router = trading(&gateway)?.router(provider, &terms.account)?;
    let wanted = PlaceOrder {
        terms,
        instrument,
        is_rounded: body.flag("round")?.unwrap_or(false),
        by: caller.id().to_owned(),
        received,
    };
    let placed = Trading::command(&router, wanted).await?;
    let status = match (placed.is_new, placed.order.status) {
        (false, _) => StatusCode::OK,
        (true, OrderStatus::Unknown) => StatusCode::ACCEPTED,
        (true, _) => StatusCode::CREATED,
    };
    Ok(order_answer(status, &placed.order, numbers, ""))
}

/// `GET /api/trading/orders`.
///
/// # Errors
/// Who asks may not, or a parameter that is wrong.
pub async fn list(caller: Caller, request: HttpRequest, gateway: web::Data<Gateway>) -> Answer {
    let params = Params::parse(request.query_string(), spec::LIST.query)?;
    let filter = filter(&params)?;
    let trading = trading(&gateway)?;
    let mut orders: Vec<Order> = Vec::new();
    let provider = params.provider()?;
    for (provider, _, router) in trading.routers(provider, params.text("account")?) {
        if may_see(&caller, *provider) {
            orders.extend(Trading::ask(router, ListOrders(filter.clone())).await?);
        }
    }
    orders.sort_unstable_by_key(|order| std::cmp::Reverse(order.id));
    orders.truncate(filter.limit);
    let rows = orders.iter().map(OrderView);
    Ok(rows_answer("orders", rows, numbers(&params)?))
}

/// What the parameters of orders and executions ask for.
pub(super) fn filter(params: &Params) -> Result<OrderFilter, CryptoError> {
    let mut statuses = Vec::new();
    for text in params.list("status")? {
        let all = words(OrderStatus::ALL, OrderStatus::as_str).join(", ");
        let status = OrderStatus::parse(text);
        let wrong = || CryptoError::invalid_parameter("status", text, format!("some of {all}"));
        statuses.push(status.ok_or_else(wrong)?);
    }
    let limit = params.integer("limit")?;
    Ok(OrderFilter {
        entity_id: params.text("entity_id")?.map(str::to_ascii_lowercase),
        statuses,
        start: params.time("start_timestamp")?,
        end: params.time("end_timestamp")?,
        limit: limit.map_or(LIMIT, |limit| limit as usize),
    })
}

/// The router that has an order, and the order.
async fn find(
    gateway: &Gateway,
    caller: &Caller,
    what: FindOrder,
    shown: &str,
) -> Result<(actix::Addr<OrderRouter>, Order), CryptoError> {
    let trading = trading(gateway)?;
    for (provider, _, router) in trading.routers(None, None) {
        if !may_see(caller, *provider) {
            continue;
        }
        if let Some(order) = Trading::ask(router, what.clone()).await? {
            return Ok((router.clone(), order));
        }
    }
    Err(no_order(shown))
}

fn no_order(shown: &str) -> CryptoError {
    let what = format!("there is no order {shown}");
    CryptoError::new(CryptoCode::OrderNotFound, what).with("order_id", shown)
}

fn id_of(text: &str) -> Result<OrderId, CryptoError> {
    OrderId::parse(text).ok_or_else(|| no_order(text))
}

/// `GET /api/trading/orders/{order_id}`.
///
/// # Errors
/// Who asks may not, or there is none.
pub async fn one(
    caller: Caller,
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::ONE.query)?;
    let id = id_of(&path)?;
    let (_, order) = find(&gateway, &caller, FindOrder::Id(id), &path).await?;
    Ok(order_answer(StatusCode::OK, &order, numbers(&params)?, ""))
}

/// `GET /api/trading/orders/by-client-id/{client_order_id}`.
///
/// # Errors
/// Who asks may not, or there is none.
pub async fn by_client_id(
    caller: Caller,
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::BY_CLIENT_ID.query)?;
    let client = path.into_inner();
    let what = FindOrder::ClientId(client.clone());
    let (_, order) = find(&gateway, &caller, what, &client).await?;
    Ok(order_answer(StatusCode::OK, &order, numbers(&params)?, ""))
}

/// `PATCH /api/trading/orders/{order_id}`.
///
/// # Errors
/// Who asks may not, a field that is wrong, or why it was not amended.
pub async fn amend(
    caller: Caller,
    request: HttpRequest,
    path: web::Path<String>,
    bytes: web::Bytes,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::AMEND.query)?;
    let numbers = numbers(&params)?;
    let id = id_of(&path)?;
    let body = Body::parse(&bytes, spec::AMEND.body)?;
    let (quantity, price) = (body.amount("quantity")?, body.amount("price")?);
    if quantity.is_none() && price.is_none() {
        return Err(params::missing("quantity", "a new quantity, a new price, or both").into());
    }
    let (router, order) = find(&gateway, &caller, FindOrder::Id(id), &path).await?;
    may_trade(&caller, order.terms.provider, order.terms.market)?;
    let wanted = AmendOrder {
        id,
        quantity,
        price,
        by: caller.id().to_owned(),
    };
    let amended = Trading::command(&router, wanted).await?;
    let extra = match amended.is_replaced {
        true => format!(",\"amended\":\"replaced\",\"replaces\":\"{id}\""),
        false => ",\"amended\":\"in_place\"".to_owned(),
    };
    Ok(order_answer(
        StatusCode::OK,
        &amended.order,
        numbers,
        &extra,
    ))
}

/// `DELETE /api/trading/orders/{order_id}`.
///
/// # Errors
/// Who asks may not, or why it was not canceled.
pub async fn cancel(
    caller: Caller,
    request: HttpRequest,
    path: web::Path<String>,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::CANCEL.query)?;
    let id = id_of(&path)?;
    let (router, order) = find(&gateway, &caller, FindOrder::Id(id), &path).await?;
    may_cancel(&caller, [(order.terms.provider, order.terms.market)])?;
    let canceled = Trading::command(&router, CancelOrder(id)).await?;
    let numbers = numbers(&params)?;
    Ok(order_answer(StatusCode::OK, &canceled.order, numbers, ""))
}

/// `DELETE /api/trading/orders?provider=[&entity_id=][&account=]`.
///
/// # Errors
/// Who asks may not, or a parameter that is wrong.
pub async fn cancel_all(
    caller: Caller,
    request: HttpRequest,
    gateway: web::Data<Gateway>,
) -> Answer {
    let params = Params::parse(request.query_string(), spec::CANCEL_ALL.query)?;
    let numbers = numbers(&params)?;
    let provider = params.provider_required()?;
    let entity = match params.text("entity_id")? {
        Some(entity) => Some(instrument(&gateway, provider, entity).await?),
        None => None,
    };
    let markets = provider.exchange().markets().iter().copied();
    let meant =
        markets.filter(|market| entity.as_ref().is_none_or(|one| one.spec.market == *market));
    may_cancel(&caller, meant.map(|market| (provider, market)))?;
    let account = params.text("account")?;
    let trading = trading(&gateway)?;
    if let Some(account) = account {
        trading.router(provider, account)?;
    }
    let mut ended = Ended::default();
    for (_, _, router) in trading.routers(Some(provider), account) {
        let which = CancelMany(entity.as_ref().map(|one| one.entity_id()));
        ended.add(Trading::command(router, which).await?);
    }
    let mut out = vec![b'{'];
    ended.write(&mut out, numbers, trace(&request));
    out.push(b'}');
    Ok(json(StatusCode::OK, out))
}

/// Orders that were canceled, and those that were not with the reason.
#[derive(Default)]
pub(super) struct Ended {
    orders: Vec<Order>,
    failed: Vec<(OrderId, CryptoError)>,
}

impl Ended {
    pub(super) fn add(&mut self, outcomes: Vec<Result<Order, (OrderId, CryptoError)>>) {
        for outcome in outcomes {
            match outcome {
                Ok(order) => self.orders.push(order),
                Err(failure) => self.failed.push(failure),
            }
        }
    }

    /// `"orders":[…],"failed":[{order_id,error}]`.
    pub(super) fn write(&self, out: &mut Vec<u8>, numbers: Numbers, trace: &str) {
        rows_field(out, "orders", self.orders.iter().map(OrderView), numbers);
        out.extend_from_slice(b",\"failed\":[");
        for (at, (id, error)) in self.failed.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(format!("{{\"order_id\":\"{id}\",\"error\":").as_bytes());
            error_object(out, error, trace, wall_clock());
            out.push(b'}');
        }
        out.push(b']');
    }
}
