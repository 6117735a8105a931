//! Conditional orders of USDⓈ-M futures: numbers, names and states of their own until they are
//! triggered, and ordinary orders from then on.

use serde_json::{Value, json};

use super::super::rest::ApiError;
use super::spot::page;
use super::{Call, order, print, usdm};
use crate::account::{Order, OrderNo, OrderState, Request, Size, Trigger, TriggerBy};
use crate::market::{Instrument, OrderKind, Segment, Side, TimeInForce};

const LIMIT: (usize, usize) = (500, 1_000);

/// The state of a conditional order.
pub(super) fn status(order: &Order) -> &'static str {
    match (order.state, order.live_no) {
        (OrderState::Waiting, _) => "NEW",
        (OrderState::Canceled, None) => "CANCELED",
        (OrderState::Rejected, None) => "REJECTED",
        (OrderState::Expired, None) => "EXPIRED",
        (OrderState::New | OrderState::PartiallyFilled, _) => "TRIGGERED",
        (..) => "FINISHED",
    }
}

fn request(call: &mut Call<'_>) -> Result<(Request, Instrument), ApiError> {
    let params = call.params;
    if params.required("algoType")? != "CONDITIONAL" {
        return Err(ApiError::invalid_value("algoType"));
    }
    let (ix, it) = call.instrument()?;
    let side = order::side(params)?;
    let name = params.required("type")?;
    let (is_stop, has_limit) = match name {
        "STOP" => (true, true),
        "STOP_MARKET" => (true, false),
        "TAKE_PROFIT" => (false, true),
        "TAKE_PROFIT_MARKET" => (false, false),
        // Not simulated: prices that follow the market.
        _ => return Err(ApiError::new(-1116, "Invalid orderType.")),
    };
    order::refuse_others(params, &["activatePrice", "callbackRate", "priceMatch"])?;
    let price = order::price(params, "price", &it)?;
    let kind = match has_limit {
        false => OrderKind::Market,
        true => OrderKind::Limit {
            price: price.ok_or_else(|| ApiError::missing("price"))?,
            time_in_force: match params.get("timeInForce") {
                None => TimeInForce::Gtc,
                Some(_) => order::time_in_force(params, Segment::Linear)?,
            },
        },
    };
    let level = order::price(params, "triggerPrice", &it)?;
    let (by, working_type) = match params.filled("workingType")? {
        None | Some("CONTRACT_PRICE") => (TriggerBy::Last, "CONTRACT_PRICE"),
        Some("MARK_PRICE") => (TriggerBy::Mark, "MARK_PRICE"),
        Some(_) => return Err(ApiError::invalid_value("workingType")),
    };
    let trigger = Trigger {
        price: level.ok_or_else(|| ApiError::missing("triggerPrice"))?,
        rises: (side == Side::Buy) == is_stop,
        by,
    };
    let position = usdm::position_side(params)?;
    let reduce_only = usdm::reduce_only(params, position)?;
    let closes = params.flag("closePosition")?.unwrap_or(false);
    let size = match (closes, order::qty(params, "quantity", &it)?) {
        (true, None) if !reduce_only && !has_limit => Size::Position,
        (true, _) => {
            return Err(ApiError::new(
                -4136,
                "Target strategy invalid for orderType.",
            ));
        }
        (false, qty) => Size::Base(qty.ok_or_else(|| ApiError::missing("quantity"))?),
    };
    let (self_trade, stp) = order::self_trade(params)?;
    let client_id = order::client_id(params, "clientAlgoId", Segment::Linear)?;
    let client_id = client_id.unwrap_or_else(|| call.core.venue.trading.name());
    let native = vec![
        ("type", name.to_owned()),
        ("stp", stp.to_owned()),
        ("workingType", working_type.to_owned()),
        ("reduceOnly", reduce_only.to_string()),
    ];
    let request = Request {
        ix,
        side,
        kind,
        size,
        position,
        reduce_only,
        trigger: Some(trigger),
        client_id,
        self_trade,
        borrows: false,
        native,
    };
    Ok((request, it))
}

/// A conditional order as the exchange tells it.
fn form(it: &Instrument, order: &Order) -> Value {
    let price = order.price().map(|price| it.price(price).to_string());
    let live = order.live_no.map(|no| no.0.to_string());
    json!({
        "algoId": order.no.0, "clientAlgoId": order.client_id, "algoType": "CONDITIONAL",
        "orderType": print::order_type(order), "symbol": it.symbol,
        "side": print::side(order.side), "positionSide": print::position_side(order.position),
        "timeInForce": print::time_in_force(order), "quantity": it.qty(order.qty).to_string(),
        "algoStatus": status(order), "actualOrderId": live.unwrap_or_default(),
        "actualPrice": print::average(it, order),
        "triggerPrice": print::trigger(it, order),
        "price": price.unwrap_or_else(|| "0".to_owned()), "icebergQuantity": null,
        "selfTradePreventionMode": print::self_trade(order),
        "workingType": order.native("workingType").unwrap_or("CONTRACT_PRICE"),
        "priceMatch": "NONE", "closePosition": order.size == Size::Position,
        "priceProtect": false, "reduceOnly": order.native("reduceOnly") == Some("true"),
        "activatePrice": "", "callbackRate": "", "createTime": order.created_ms,
        "updateTime": order.updated_ms, "triggerTime": order.triggered_ms.unwrap_or(0),
        "goodTillDate": 0,
    })
}

pub(super) fn place(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (request, it) = request(call)?;
    let placed = call.core.place(call.id, request);
    let order = placed.map_err(|refusal| order::refused(&it, &refusal, false))?;
    Ok(form(&it, &order))
}

/// A conditional order, by its number or the client's id.
fn find(call: &Call<'_>) -> Result<Order, ApiError> {
    let accounts = &call.core.accounts;
    let number = call.params.number("algoId")?;
    let found = match (number, call.params.filled("clientAlgoId")?) {
        (Some(number), _) => {
            accounts.order(call.id, OrderNo(u64::try_from(number).unwrap_or_default()))
        }
        (None, Some(name)) => accounts.order_of_client(call.id, name),
        (None, None) => {
            let msg = "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!";
            return Err(ApiError::new(-1102, msg));
        }
    };
    let is_one = |order: &&Order| order.segment == Segment::Linear && order.trigger.is_some();
    let found = found.filter(is_one).cloned();
    found.ok_or_else(|| ApiError::new(-2013, "Order does not exist."))
}

pub(super) fn cancel(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let unknown = || ApiError::new(-2011, "Unknown order sent.");
    let found = find(call).map_err(|error| match error.code {
        -2013 => unknown(),
        _ => error,
    })?;
    if found.state != OrderState::Waiting {
        return Err(unknown());
    }
    let canceled = call.core.cancel(call.id, found.no);
    let order = canceled.map_err(|_| unknown())?;
    Ok(json!({
        "algoId": order.no.0, "clientAlgoId": order.client_id, "code": "200", "msg": "success",
    }))
}

pub(super) fn cancel_open(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, _) = call.instrument()?;
    call.core.cancel_all(call.id, |order| {
        order.ix == ix && order.state == OrderState::Waiting
    });
    Ok(json!({ "code": 200, "msg": "The operation of cancel all open order is done." }))
}

pub(super) fn query(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let order = find(call)?;
    Ok(form(&call.listed(order.ix)?, &order))
}

pub(super) fn open_orders(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let wanted = call.instrument_opt()?;
    let open = call.core.accounts.open_orders(call.id);
    let rows: Vec<Value> = open
        .filter(|order| order.segment == Segment::Linear && order.state == OrderState::Waiting)
        .filter(|order| wanted.is_none_or(|ix| order.ix == ix))
        .filter_map(|order| Some(form(call.core.instrument(order.ix)?, order)))
        .collect();
    Ok(rows.into())
}

pub(super) fn all_orders(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    let (start, end) = usdm::span(call.params)?;
    let from = call.params.number("algoId")?;
    let limit = call.params.limit(LIMIT.0, LIMIT.1, false)?;
    let all = call.core.accounts.all_orders(call.id);
    let rows: Vec<&Order> = all
        .filter(|order| order.ix == ix && order.trigger.is_some())
        .filter(|order| from.is_none_or(|from| order.no.0 as i64 >= from))
        .filter(|order| start.is_none_or(|start| order.created_ms >= start))
        .filter(|order| end.is_none_or(|end| order.created_ms <= end))
        .collect();
    let rows = page(&rows, limit, from.is_some() || start.is_some());
    let rows: Vec<Value> = rows.iter().map(|order| form(&it, order)).collect();
    Ok(rows.into())
}
