//! Orders of USDⓈ-M futures, conditional ones aside.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::super::rest::{ApiError, Params};
use super::spot::page;
use super::{Call, order, print};
use crate::account::{
    Amend, FillRow, MarginMode, Order, OrderNo, PositionSide, Refusal, Request, Size, decimal,
};
use crate::market::{Instrument, InstrumentIx, OrderKind, Price, Segment, Side};

/// Rows of a history, and how far it reaches in one answer.
const LIMIT: (usize, usize) = (500, 1_000);
const WEEK_MS: i64 = 7 * 86_400_000;
const CONDITIONAL: [&str; 5] = [
    "STOP",
    "STOP_MARKET",
    "TAKE_PROFIT",
    "TAKE_PROFIT_MARKET",
    "TRAILING_STOP_MARKET",
];
/// Orders in a batch that places, and in one that cancels.
const BATCH_MAX: usize = 5;
const CANCELS_MAX: usize = 10;

pub(super) fn position_side(params: &Params) -> Result<PositionSide, ApiError> {
    match params.filled("positionSide")? {
        None | Some("BOTH") => Ok(PositionSide::Both),
        Some("LONG") => Ok(PositionSide::Long),
        Some("SHORT") => Ok(PositionSide::Short),
        Some(_) => Err(ApiError::new(-4060, "Invalid position side.")),
    }
}

/// What is only reduced; not to be said in a hedged account.
pub(super) fn reduce_only(params: &Params, side: PositionSide) -> Result<bool, ApiError> {
    let said = params.flag("reduceOnly")?;
    match said {
        Some(_) if side != PositionSide::Both => {
            let msg = "Parameter 'reduceonly' sent when not required.";
            Err(ApiError::new(-1106, msg))
        }
        other => Ok(other.unwrap_or(false)),
    }
}

/// Buyers may bid so much above the mark price, sellers offer so much below it (`PERCENT_PRICE`).
fn check_band(
    call: &Call<'_>,
    ix: InstrumentIx,
    it: &Instrument,
    side: Side,
    price: Price,
) -> Result<(), ApiError> {
    let mark = call.core.market.premium_index(ix).map(|told| told.mark);
    let Some(mark) = mark.map(|mark| decimal(mark.fixed())) else {
        return Ok(());
    };
    let price = decimal(it.price(price));
    let (most, least) = (mark * Decimal::new(105, 2), mark * Decimal::new(95, 2));
    let places = it.price_decimals;
    match side {
        Side::Buy if price > most => {
            let msg = format!(
                "Limit price can't be higher than {}.",
                most.trunc_with_scale(places)
            );
            Err(ApiError::new(-4016, msg))
        }
        Side::Sell if price < least => {
            let msg = format!(
                "Limit price can't be lower than {}.",
                least.trunc_with_scale(places)
            );
            Err(ApiError::new(-4024, msg))
        }
        _ => Ok(()),
    }
}

fn request(call: &mut Call<'_>) -> Result<(Request, Instrument), ApiError> {
    let (ix, it) = call.instrument()?;
    let params = call.params;
    let side = order::side(params)?;
    let name = params.required("type")?;
    if CONDITIONAL.contains(&name) {
        let msg = "Order type not supported for this endpoint. Please use the Algo Order API \
                   endpoints instead.";
        return Err(ApiError::new(-4120, msg));
    }
    let position = position_side(params)?;
    let reduce_only = reduce_only(params, position)?;
    let qty = order::qty(params, "quantity", &it)?;
    let qty = qty.ok_or_else(|| ApiError::missing("quantity"))?;
    let kind = match name {
        "MARKET" => {
            order::refuse_others(params, &["price", "timeInForce"])?;
            OrderKind::Market
        }
        "LIMIT" => OrderKind::Limit {
            time_in_force: order::time_in_force(params, Segment::Linear)?,
            price: order::price(params, "price", &it)?.ok_or_else(|| ApiError::missing("price"))?,
        },
        _ => return Err(ApiError::new(-1116, "Invalid orderType.")),
    };
    order::refuse_others(params, &["stopPrice", "closePosition", "priceMatch"])?;
    if let OrderKind::Limit { price, .. } = kind {
        check_band(call, ix, &it, side, price)?;
    }
    let (self_trade, stp) = order::self_trade(params)?;
    let client_id = order::client_id(params, "newClientOrderId", Segment::Linear)?;
    let client_id = client_id.unwrap_or_else(|| call.core.venue.trading.name());
    let native = vec![
        ("type", name.to_owned()),
        ("stp", stp.to_owned()),
        ("reduceOnly", reduce_only.to_string()),
    ];
    let request = Request {
        ix,
        side,
        kind,
        size: Size::Base(qty),
        position,
        reduce_only,
        trigger: None,
        client_id,
        self_trade,
        borrows: false,
        native,
    };
    Ok((request, it))
}

pub(super) fn place(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let form = call.params.filled("newOrderRespType")?.unwrap_or("ACK");
    if !["ACK", "RESULT", "FULL"].contains(&form) {
        return Err(ApiError::invalid_value("newOrderRespType"));
    }
    let (request, it) = request(call)?;
    let placed = call.core.place(call.id, request);
    let order = placed.map_err(|refusal| order::refused(&it, &refusal, false))?;
    let mut answer = print::usdm(&it, &order);
    if form == "ACK" {
        // The acknowledgement tells nothing of what came of it.
        let none = it.qty(crate::market::Qty(0)).to_string();
        answer["status"] = "NEW".into();
        answer["executedQty"] = none.as_str().into();
        answer["cumQty"] = none.into();
    }
    Ok(answer)
}

pub(super) fn test(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (request, it) = request(call)?;
    let checked = call.core.check_order(call.id, request);
    checked.map_err(|refusal| order::refused(&it, &refusal, false))?;
    Ok(json!({}))
}

/// An order that works or has worked, by its number or the client's id.
fn find(call: &Call<'_>) -> Result<Option<Order>, ApiError> {
    let (ix, _) = call.instrument()?;
    let number = call.params.number("orderId")?;
    let name = call.params.filled("origClientOrderId")?;
    if number.is_none() && name.is_none() {
        let msg = "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!";
        return Err(ApiError::new(-1102, msg));
    }
    let is_it = |order: &&Order| {
        let id = print::usdm_id(order);
        order.ix == ix
            && id.is_some()
            && match number {
                Some(number) => id.is_some_and(|id| id as i64 == number),
                None => name == Some(&*order.client_id),
            }
    };
    let by_no = number.and_then(|number| u64::try_from(number).ok());
    let direct = by_no.and_then(|no| call.core.accounts.order(call.id, OrderNo(no)));
    let found = direct
        .filter(is_it)
        .or_else(|| call.core.accounts.all_orders(call.id).filter(is_it).last());
    Ok(found.cloned())
}

fn missing() -> ApiError {
    ApiError::new(-2013, "Order does not exist.")
}

pub(super) fn cancel(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let unknown = || ApiError::new(-2011, "Unknown order sent.");
    let found = find(call)?.ok_or_else(unknown)?;
    let canceled = call.core.cancel(call.id, found.no);
    let order = canceled.map_err(|refusal| order::refused(&it, &refusal, false))?;
    Ok(print::usdm(&it, &order))
}

/// Orders that are in the book: conditional ones that wait are not.
fn works(order: &Order) -> bool {
    order.segment == Segment::Linear && print::usdm_id(order).is_some()
}

pub(super) fn cancel_open(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, _) = call.instrument()?;
    call.core
        .cancel_all(call.id, |order| order.ix == ix && works(order));
    Ok(json!({ "code": 200, "msg": "The operation of cancel all open order is done." }))
}

pub(super) fn query(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let order = find(call)?.ok_or_else(missing)?;
    Ok(print::usdm_query(&it, &order))
}

pub(super) fn query_open(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let open = find(call)?.filter(|order| order.state.is_open());
    Ok(print::usdm_query(&it, &open.ok_or_else(missing)?))
}

pub(super) fn open_orders(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let wanted = call.instrument_opt()?;
    let open = call.core.accounts.open_orders(call.id);
    let rows: Vec<Value> = open
        .filter(|order| works(order) && wanted.is_none_or(|ix| order.ix == ix))
        .filter_map(|order| Some(print::usdm_query(call.core.instrument(order.ix)?, order)))
        .collect();
    Ok(rows.into())
}

/// Start and end of a history, at most a week apart.
pub(super) fn span(params: &Params) -> Result<(Option<i64>, Option<i64>), ApiError> {
    let (start, end) = (params.number("startTime")?, params.number("endTime")?);
    if let (Some(start), Some(end)) = (start, end)
        && end.saturating_sub(start) > WEEK_MS
    {
        let msg = "Invalid time interval: at most 7 days between startTime and endTime.";
        return Err(ApiError::new(-4188, msg));
    }
    Ok((start, end))
}

pub(super) fn all_orders(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    let (start, end) = span(call.params)?;
    let from = call.params.number("orderId")?;
    let limit = call.params.limit(LIMIT.0, LIMIT.1, false)?;
    let all = call.core.accounts.all_orders(call.id);
    let rows: Vec<&Order> = all
        .filter(|order| order.ix == ix && works(order))
        .filter(|order| from.is_none_or(|from| print::usdm_id(order).unwrap_or(0) as i64 >= from))
        .filter(|order| start.is_none_or(|start| order.created_ms >= start))
        .filter(|order| end.is_none_or(|end| order.created_ms <= end))
        .collect();
    let rows = page(&rows, limit, from.is_some() || start.is_some());
    let rows: Vec<Value> = rows.iter().map(|it_| print::usdm_query(&it, it_)).collect();
    Ok(rows.into())
}

pub(super) fn my_trades(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let wanted = call.instrument_opt()?;
    let (start, end) = span(call.params)?;
    let (of, from) = (
        call.params.number("orderId")?,
        call.params.number("fromId")?,
    );
    if from.is_some() && (start.is_some() || end.is_some()) {
        return Err(ApiError::combination());
    }
    let limit = call.params.limit(LIMIT.0, LIMIT.1, false)?;
    let accounts = &call.core.accounts;
    let id_of = |fill: &FillRow| {
        let order = accounts.order(call.id, fill.no);
        order.and_then(print::usdm_id).unwrap_or(fill.no.0)
    };
    let rows: Vec<&FillRow> = accounts
        .fills(call.id)
        .filter(|fill| fill.segment == Segment::Linear)
        .filter(|fill| wanted.is_none_or(|ix| fill.ix == ix))
        .filter(|fill| of.is_none_or(|of| id_of(fill) as i64 == of))
        .filter(|fill| from.is_none_or(|from| fill.trade_id as i64 >= from))
        .filter(|fill| start.is_none_or(|start| fill.ts_ms >= start))
        .filter(|fill| end.is_none_or(|end| fill.ts_ms <= end))
        .collect();
    let rows = page(&rows, limit, from.is_some() || start.is_some());
    let print = |fill: &&FillRow| {
        let it = call.core.instrument(fill.ix)?;
        Some(print::usdm_trade(it, fill, id_of(fill)))
    };
    let rows: Vec<Value> = rows.iter().filter_map(print).collect();
    Ok(rows.into())
}

pub(super) fn modify(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let found = find(call)?.ok_or_else(missing)?;
    if order::side(call.params)? != found.side {
        return Err(ApiError::new(-1117, "Invalid side."));
    }
    let qty = order::qty(call.params, "quantity", &it)?;
    let price = order::price(call.params, "price", &it)?;
    let qty = qty.ok_or_else(|| ApiError::missing("quantity"))?;
    let price = price.ok_or_else(|| ApiError::missing("price"))?;
    if !found.state.is_open() {
        return Err(missing());
    }
    let amend = Amend {
        qty: Some(qty),
        price: Some(price),
        ..Amend::default()
    };
    let order = match call.core.amend(call.id, found.no, &amend) {
        // What leaves nothing to fill, or would take although it may only rest, is cancelled.
        Err(Refusal::AmendFilled | Refusal::WouldTake) => call.core.cancel(call.id, found.no),
        other => other,
    };
    let order = order.map_err(|refusal| order::refused(&it, &refusal, false))?;
    Ok(print::usdm(&it, &order))
}

/// The requests of a batch.
fn batch(params: &Params) -> Result<Vec<Params>, ApiError> {
    let text = params.required("batchOrders")?;
    let refuse = || ApiError::new(-1130, "Data sent for parameter 'batchOrders' is not valid.");
    let list: Vec<Value> = serde_json::from_str(text).map_err(|_| refuse())?;
    if list.is_empty() || list.len() > BATCH_MAX {
        return Err(ApiError::new(
            -4082,
            "Invalid number of batch place orders.",
        ));
    }
    let all: Option<Vec<Params>> = list.iter().map(Params::of_object).collect();
    all.ok_or_else(refuse)
}

fn outcome(result: Result<Value, ApiError>) -> Value {
    result.unwrap_or_else(|error| json!({ "code": error.code, "msg": error.msg }))
}

fn each(
    call: &mut Call<'_>,
    all: &[Params],
    act: fn(&mut Call<'_>) -> Result<Value, ApiError>,
) -> Value {
    let mut rows = Vec::with_capacity(all.len());
    for params in all {
        let mut one = Call {
            core: &mut *call.core,
            id: call.id,
            may: call.may,
            market: call.market,
            params,
            now_ms: call.now_ms,
        };
        rows.push(outcome(act(&mut one)));
    }
    rows.into()
}

pub(super) fn place_batch(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let all = batch(call.params)?;
    Ok(each(call, &all, place))
}

pub(super) fn cancel_batch(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let symbol = call.params.required_symbol("symbol")?;
    let refuse = |name: &str| ApiError::invalid_value(name);
    let names = [
        ("orderIdList", "orderId"),
        ("orderidlist", "orderId"),
        ("origClientOrderIdList", "origClientOrderId"),
        ("origclientorderidlist", "origClientOrderId"),
    ];
    let found = names
        .into_iter()
        .find_map(|(list, one)| Some((list, one, call.params.get(list)?)));
    let (list, one, text) = found.ok_or_else(|| ApiError::missing("orderIdList"))?;
    let ids: Vec<Value> = serde_json::from_str(text).map_err(|_| refuse(list))?;
    if ids.is_empty() || ids.len() > CANCELS_MAX {
        return Err(refuse(list));
    }
    let all: Vec<Params> = ids
        .iter()
        .map(|id| {
            let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
            let plain = Params::default().with("symbol", Some(symbol));
            plain.with(one, Some(&id))
        })
        .collect();
    Ok(each(call, &all, cancel))
}

pub(super) fn count_down(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    call.params.required("countdownTime")?;
    let time = call.params.number("countdownTime")?.unwrap_or_default();
    let due_ms = (time > 0).then(|| call.core.now_ms() + time);
    call.core
        .accounts
        .count_down(call.id, (Segment::Linear, Some(ix)), due_ms);
    Ok(json!({ "symbol": it.symbol, "countdownTime": time.to_string() }))
}

pub(super) fn set_leverage(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    call.params.required("leverage")?;
    let number = call.params.number("leverage")?.unwrap_or_default();
    let refuse = || ApiError::new(-4028, format!("Leverage {number} is not valid"));
    let leverage = u32::try_from(number).map_err(|_| refuse())?;
    let set = call.core.set_margin(call.id, ix, Some(leverage), None);
    set.map_err(|refusal| match refusal {
        Refusal::Leverage => refuse(),
        other => order::refused(&it, &other, false),
    })?;
    Ok(json!({
        "leverage": leverage, "symbol": it.symbol,
        "maxNotionalValue": super::wallet::most_value(leverage).to_string(),
    }))
}

pub(super) fn set_margin_type(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    let mode = match call.params.required("marginType")? {
        "ISOLATED" => MarginMode::Isolated,
        "CROSSED" | "CROSS" => MarginMode::Cross,
        _ => return Err(ApiError::new(-4049, "Invalid margin type.")),
    };
    if call.core.accounts.settings(call.id, ix).mode == mode {
        return Err(ApiError::new(-4046, "No need to change margin type."));
    }
    let set = call.core.set_margin(call.id, ix, None, Some(mode));
    set.map_err(|refusal| match refusal {
        Refusal::HasOrders => ApiError::new(
            -4047,
            "Margin type cannot be changed if there exists open orders.",
        ),
        Refusal::HasPositions => ApiError::new(
            -4048,
            "Margin type cannot be changed if there exists position.",
        ),
        other => order::refused(&it, &other, false),
    })?;
    Ok(json!({ "code": 200, "msg": "success" }))
}

pub(super) fn is_hedged(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let account = call.core.accounts.account(call.id);
    let is_hedged = account.is_some_and(|account| account.is_hedged);
    Ok(json!({ "dualSidePosition": is_hedged }))
}

pub(super) fn set_hedged(call: &mut Call<'_>) -> Result<Value, ApiError> {
    call.params.required("dualSidePosition")?;
    let text = call.params.get("dualSidePosition").unwrap_or_default();
    let is_hedged = match text.to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => return Err(ApiError::invalid_value("dualSidePosition")),
    };
    let set = call.core.set_hedged(call.id, is_hedged);
    set.map_err(|refusal| match refusal {
        Refusal::NoChange => ApiError::new(-4059, "No need to change position side."),
        Refusal::HasOrders => ApiError::new(
            -4067,
            "Position side cannot be changed if there exists open orders.",
        ),
        _ => ApiError::new(
            -4068,
            "Position side cannot be changed if there exists position.",
        ),
    })?;
    Ok(json!({ "code": 200, "msg": "success" }))
}

/// Instruments that a request is about: one, or all that are listed.
pub(super) fn instruments(call: &Call<'_>) -> Result<Vec<(InstrumentIx, Instrument)>, ApiError> {
    let wanted = call.instrument_opt()?;
    let all = call.core.listed(call.market);
    let all = all.filter(|(ix, _)| wanted.is_none_or(|wanted| wanted == *ix));
    Ok(all.map(|(ix, it)| (ix, it.clone())).collect())
}
