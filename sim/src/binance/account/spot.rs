//! Spot orders.

use serde_json::{Value, json};

use super::super::rest::ApiError;
use super::super::rest::info::spot_types;
use super::{Call, order, print};
use crate::account::{Amend, FillRow, Order, OrderNo, Refusal, Request, Size, Trigger, TriggerBy};
use crate::market::{Instrument, OrderKind, Segment, Side, TimeInForce};

/// Rows of a history, and how far it reaches in one answer.
const LIMIT: (usize, usize) = (500, 1_000);
const DAY_MS: i64 = 86_400_000;

/// Reads an order.
fn request(call: &mut Call<'_>) -> Result<(Request, Instrument), ApiError> {
    let (ix, it) = call.instrument()?;
    let params = call.params;
    let side = order::side(params)?;
    let name = params.required("type")?;
    let types = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS", "TAKE_PROFIT"];
    let is_known =
        types.contains(&name) || ["STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"].contains(&name);
    if !is_known {
        return Err(ApiError::new(-1116, "Invalid orderType."));
    }
    let listed = spot_types(&it);
    let Some(name) = listed.into_iter().find(|listed| *listed == name) else {
        let what = match name.starts_with("STOP") {
            true => "Stop loss",
            false => "Take profit",
        };
        let msg = format!("{what} orders are not supported for this symbol.");
        return Err(ApiError::new(-2010, msg));
    };
    order::refuse_others(params, &["icebergQty", "trailingDelta"])?;
    let has_limit = name.contains("LIMIT");
    let waits = name.starts_with("STOP") || name.starts_with("TAKE");
    let price = order::price(params, "price", &it)?;
    let stop = order::price(params, "stopPrice", &it)?;
    let qty = order::qty(params, "quantity", &it)?;
    let kind = match has_limit {
        false => {
            order::refuse_others(params, &["price", "timeInForce"])?;
            OrderKind::Market
        }
        true => {
            let time_in_force = match name {
                "LIMIT_MAKER" => {
                    order::refuse_others(params, &["timeInForce"])?;
                    TimeInForce::PostOnly
                }
                _ => order::time_in_force(params, Segment::Spot)?,
            };
            OrderKind::Limit {
                price: price.ok_or_else(|| ApiError::missing("price"))?,
                time_in_force,
            }
        }
    };
    let trigger = match waits {
        true => {
            let rises = (side == Side::Buy) == name.starts_with("STOP");
            Some(Trigger {
                price: stop.ok_or_else(|| ApiError::missing("stopPrice"))?,
                rises,
                by: TriggerBy::Last,
            })
        }
        false => {
            order::refuse_others(params, &["stopPrice"])?;
            None
        }
    };
    let size = match (qty, params.decimal("quoteOrderQty")?) {
        (Some(qty), None) => Size::Base(qty),
        (None, Some(value)) if name == "MARKET" => {
            let value = value.parse().ok();
            Size::Quote(value.ok_or_else(|| ApiError::malformed("quoteOrderQty"))?)
        }
        (Some(_), Some(_)) => return Err(ApiError::combination()),
        (None, Some(_)) => return Err(ApiError::unwanted("quoteOrderQty")),
        (None, None) => return Err(ApiError::missing("quantity")),
    };
    let (self_trade, stp) = order::self_trade(params)?;
    let client_id = order::client_id(params, "newClientOrderId", Segment::Spot)?;
    let client_id = client_id.unwrap_or_else(|| call.core.venue.trading.name());
    let request = Request {
        ix,
        side,
        kind,
        size,
        position: crate::account::PositionSide::Both,
        reduce_only: false,
        trigger,
        client_id,
        self_trade,
        borrows: false,
        native: vec![("type", name.to_owned()), ("stp", stp.to_owned())],
    };
    Ok((request, it))
}

pub(super) fn place(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let kind = call.params.get("type").unwrap_or_default();
    let default = match kind {
        "MARKET" | "LIMIT" => "FULL",
        _ => "ACK",
    };
    let form = call.params.filled("newOrderRespType")?.unwrap_or(default);
    if !["ACK", "RESULT", "FULL"].contains(&form) {
        return Err(ApiError::invalid_value("newOrderRespType"));
    }
    let (request, it) = request(call)?;
    let is_market = request.kind == OrderKind::Market;
    let placed = call.core.place(call.id, request);
    let order = placed.map_err(|refusal| order::refused(&it, &refusal, is_market))?;
    if form == "ACK" {
        return Ok(json!({
            "symbol": it.symbol, "orderId": order.no.0, "orderListId": -1,
            "clientOrderId": order.client_id, "transactTime": order.updated_ms,
        }));
    }
    let mut answer = print::spot(&it, &order);
    answer["transactTime"] = order.updated_ms.into();
    if form == "FULL" {
        let fills = call.core.accounts.fills(call.id);
        let its = fills.filter(|fill| fill.no == order.no);
        let rows: Vec<Value> = its.map(|fill| print::spot_fill(&it, fill)).collect();
        answer["fills"] = rows.into();
    }
    Ok(answer)
}

pub(super) fn test(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (request, it) = request(call)?;
    let is_market = request.kind == OrderKind::Market;
    let checked = call.core.check_order(call.id, request);
    checked.map_err(|refusal| order::refused(&it, &refusal, is_market))?;
    Ok(json!({}))
}

/// The order of a request, by its number or the client's id.
fn find(call: &Call<'_>, id: &str, name: &str) -> Result<Option<Order>, ApiError> {
    let (ix, _) = call.instrument()?;
    let accounts = &call.core.accounts;
    let number = call.params.number(id)?;
    let found = match (number, call.params.filled(name)?) {
        (Some(number), _) => {
            let no = OrderNo(u64::try_from(number).unwrap_or_default());
            accounts.order(call.id, no)
        }
        (None, Some(client_id)) => accounts.order_of_client(call.id, client_id),
        (None, None) => {
            let msg = format!("Param '{name}' or '{id}' must be sent, but both were empty/null!");
            return Err(ApiError::new(-1102, msg));
        }
    };
    Ok(found.filter(|order| order.ix == ix).cloned())
}

fn unknown() -> ApiError {
    ApiError::new(-2011, "Unknown order sent.")
}

fn canceled(it: &Instrument, order: &Order, by: &str) -> Value {
    let mut answer = print::spot(it, order);
    answer["origClientOrderId"] = order.client_id.as_str().into();
    answer["clientOrderId"] = by.into();
    answer["transactTime"] = order.updated_ms.into();
    answer
}

/// Cancels an open order under the client's name for that.
fn cancel_under(call: &mut Call<'_>, it: &Instrument, no: OrderNo) -> Result<Value, ApiError> {
    let name = order::client_id(call.params, "newClientOrderId", Segment::Spot)?;
    cancel_as(call, it, no, name)
}

fn cancel_as(
    call: &mut Call<'_>,
    it: &Instrument,
    no: OrderNo,
    name: Option<String>,
) -> Result<Value, ApiError> {
    let name = name.unwrap_or_else(|| call.core.venue.trading.name());
    call.core.venue.trading.naming = Some(name.clone());
    let order = call.core.cancel(call.id, no);
    call.core.venue.trading.naming = None;
    let order = order.map_err(|refusal| order::refused(it, &refusal, false))?;
    Ok(canceled(it, &order, &name))
}

pub(super) fn cancel(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let found = find(call, "orderId", "origClientOrderId")?.ok_or_else(unknown)?;
    let untouched = found.filled.0 == 0;
    match call.params.filled("cancelRestrictions")? {
        None => {}
        Some("ONLY_NEW") if untouched => {}
        Some("ONLY_PARTIALLY_FILLED") if !untouched => {}
        Some("ONLY_NEW" | "ONLY_PARTIALLY_FILLED") => {
            let msg = "Order was not canceled due to cancel restrictions.";
            return Err(ApiError::new(-2011, msg));
        }
        Some(_) => return Err(ApiError::new(-1145, "Invalid cancelRestrictions")),
    }
    cancel_under(call, &it, found.no)
}

pub(super) fn cancel_open(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    let all = call.core.cancel_all(call.id, |order| order.ix == ix);
    if all.is_empty() {
        return Err(unknown());
    }
    let name = call.core.venue.trading.name();
    let rows: Vec<Value> = all
        .iter()
        .map(|order| canceled(&it, order, &name))
        .collect();
    Ok(rows.into())
}

pub(super) fn query(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let found = find(call, "orderId", "origClientOrderId")?;
    let order = found.ok_or_else(|| ApiError::new(-2013, "Order does not exist."))?;
    Ok(print::spot_query(&it, &order))
}

pub(super) fn open_orders(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let wanted = call.instrument_opt()?;
    let open = call.core.accounts.open_orders(call.id);
    let rows: Vec<Value> = open
        .filter(|order| order.segment == Segment::Spot)
        .filter(|order| wanted.is_none_or(|ix| order.ix == ix))
        .filter_map(|order| Some(print::spot_query(call.core.instrument(order.ix)?, order)))
        .collect();
    Ok(rows.into())
}

/// Start and end of a history, at most a day apart.
fn span(call: &Call<'_>) -> Result<(Option<i64>, Option<i64>), ApiError> {
    let (start, end) = (
        call.params.number("startTime")?,
        call.params.number("endTime")?,
    );
    if let (Some(start), Some(end)) = (start, end)
        && end.saturating_sub(start) > DAY_MS
    {
        let msg = "More than 24 hours between startTime and endTime.";
        return Err(ApiError::new(-1127, msg));
    }
    Ok((start, end))
}

pub(super) fn all_orders(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    let (start, end) = span(call)?;
    let from = call.params.number("orderId")?;
    let limit = call.params.limit(LIMIT.0, LIMIT.1, true)?;
    let all = call.core.accounts.all_orders(call.id);
    let rows: Vec<&Order> = all
        .filter(|order| order.ix == ix)
        .filter(|order| from.is_none_or(|from| order.no.0 as i64 >= from))
        .filter(|order| start.is_none_or(|start| order.created_ms >= start))
        .filter(|order| end.is_none_or(|end| order.created_ms <= end))
        .collect();
    let is_forward = from.is_some() || start.is_some();
    let rows = page(&rows, limit, is_forward);
    let rows: Vec<Value> = rows.iter().map(|it_| print::spot_query(&it, it_)).collect();
    Ok(rows.into())
}

/// The first rows, or the last.
pub(super) fn page<T>(rows: &[T], limit: usize, is_forward: bool) -> &[T] {
    let limit = limit.min(rows.len());
    match is_forward {
        true => &rows[..limit],
        false => &rows[rows.len() - limit..],
    }
}

pub(super) fn my_trades(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (ix, it) = call.instrument()?;
    let (start, end) = span(call)?;
    let (of, from) = (
        call.params.number("orderId")?,
        call.params.number("fromId")?,
    );
    let limit = call.params.limit(LIMIT.0, LIMIT.1, true)?;
    let fills = call.core.accounts.fills(call.id);
    let rows: Vec<&FillRow> = fills
        .filter(|fill| fill.ix == ix)
        .filter(|fill| of.is_none_or(|of| fill.no.0 as i64 == of))
        .filter(|fill| from.is_none_or(|from| fill.trade_id as i64 >= from))
        .filter(|fill| start.is_none_or(|start| fill.ts_ms >= start))
        .filter(|fill| end.is_none_or(|end| fill.ts_ms <= end))
        .collect();
    let rows = page(&rows, limit, from.is_some() || start.is_some());
    let rows: Vec<Value> = rows
        .iter()
        .map(|fill| print::spot_trade(&it, fill))
        .collect();
    Ok(rows.into())
}

pub(super) fn cancel_replace(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let goes_on = match call.params.required("cancelReplaceMode")? {
        "STOP_ON_FAILURE" => false,
        "ALLOW_FAILURE" => true,
        _ => return Err(ApiError::invalid_value("cancelReplaceMode")),
    };
    let found = find(call, "cancelOrderId", "cancelOrigClientOrderId")?;
    // What is not even an order fails as a whole, before anything is cancelled.
    let (_, _) = request(call)?;
    let name = order::client_id(call.params, "cancelNewClientOrderId", Segment::Spot)?;
    let canceled = match found {
        Some(order) => cancel_as(call, &it, order.no, name),
        None => Err(unknown()),
    };
    let placed = match canceled.is_ok() || goes_on {
        true => Some(place(call)),
        false => None,
    };
    let word = |result: &Result<Value, ApiError>| match result {
        Ok(_) => "SUCCESS",
        Err(_) => "FAILURE",
    };
    let body = |result: &Result<Value, ApiError>| match result {
        Ok(value) => value.clone(),
        Err(error) => json!({ "code": error.code, "msg": error.msg }),
    };
    let data = json!({
        "cancelResult": word(&canceled),
        "newOrderResult": placed.as_ref().map_or("NOT_ATTEMPTED", word),
        "cancelResponse": body(&canceled),
        "newOrderResponse": placed.as_ref().map_or(Value::Null, body),
    });
    let is_placed = placed.is_some_and(|placed| placed.is_ok());
    let (status, code, msg) = match (canceled.is_ok(), is_placed) {
        (true, true) => return Ok(data),
        (false, false) => (400, -2022, "Order cancel-replace failed."),
        _ => (409, -2021, "Order cancel-replace partially failed."),
    };
    Err(ApiError {
        status,
        data: Some(data.to_string()),
        ..ApiError::new(code, msg)
    })
}

pub(super) fn amend(call: &mut Call<'_>) -> Result<Value, ApiError> {
    let (_, it) = call.instrument()?;
    let found = find(call, "orderId", "origClientOrderId")?
        .ok_or_else(|| ApiError::new(-2013, "Order does not exist."))?;
    let qty = order::qty(call.params, "newQty", &it)?;
    let qty = qty.ok_or_else(|| ApiError::missing("newQty"))?;
    if !found.state.is_open() {
        return Err(ApiError::new(-2038, "The order is not open."));
    }
    if qty >= found.qty || qty <= found.filled {
        let msg = "The new quantity must be less than the quantity and more than what is filled.";
        return Err(ApiError::new(-2038, msg));
    }
    let name = order::client_id(call.params, "newClientOrderId", Segment::Spot)?;
    let name = name.unwrap_or_else(|| call.core.venue.trading.name());
    call.core.venue.trading.naming = Some(found.client_id.clone());
    let amend = Amend {
        qty: Some(qty),
        client_id: Some(name),
        ..Amend::default()
    };
    let amended = call.core.amend(call.id, found.no, &amend);
    call.core.venue.trading.naming = None;
    let order = amended.map_err(|refusal| match refusal {
        Refusal::NotAmendable | Refusal::AmendFilled | Refusal::NoChange => {
            ApiError::new(-2038, "The order cannot be amended.")
        }
        other => order::refused(&it, &other, false),
    })?;
    let mut amended = print::spot(&it, &order);
    if let Some(fields) = amended.as_object_mut() {
        fields.remove("origQty");
        fields.remove("origQuoteOrderQty");
        let value = fields.remove("cummulativeQuoteQty").unwrap_or_default();
        fields.insert("cumulativeQuoteQty".to_owned(), value);
    }
    amended["qty"] = it.qty(order.qty).to_string().into();
    amended["preventedQty"] = it.qty(crate::market::Qty(0)).to_string().into();
    amended["quoteOrderQty"] = print::money(rust_decimal::Decimal::ZERO).into();
    amended["origClientOrderId"] = found.client_id.as_str().into();
    Ok(json!({
        "transactTime": order.updated_ms, "executionId": call.core.accounts.last_event(),
        "amendedOrder": amended,
    }))
}
