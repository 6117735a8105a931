//! Orders, fills and money in the exchange's words.

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::{Value, json};

use super::super::encode;
use crate::account::{EndReason, FillRow, Order, OrderState, PositionSide, Size, decimal};
use crate::market::{Instrument, OrderKind, Price, Qty, Side, TimeInForce};

/// An amount with eight decimals; more are cut.
pub(super) fn money(amount: Decimal) -> String {
    let cut = amount.round_dp_with_strategy(8, RoundingStrategy::ToZero);
    format!("{cut:.8}")
}

/// A number without zeros at its end.
pub(super) fn short(amount: Decimal) -> String {
    amount.round_dp(8).normalize().to_string()
}

pub(super) const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}

pub(super) const fn position_side(side: PositionSide) -> &'static str {
    match side {
        PositionSide::Both => "BOTH",
        PositionSide::Long => "LONG",
        PositionSide::Short => "SHORT",
    }
}

pub(super) fn status(order: &Order) -> &'static str {
    match order.state {
        OrderState::Waiting | OrderState::New => "NEW",
        OrderState::PartiallyFilled => "PARTIALLY_FILLED",
        OrderState::Filled => "FILLED",
        OrderState::Canceled => "CANCELED",
        OrderState::Rejected => "REJECTED",
        OrderState::Expired if order.reason == Some(EndReason::SelfTrade) => "EXPIRED_IN_MATCH",
        OrderState::Expired => "EXPIRED",
    }
}

pub(super) fn time_in_force(order: &Order) -> &'static str {
    match (order.time_in_force(), order.segment) {
        (Some(TimeInForce::Ioc), _) => "IOC",
        (Some(TimeInForce::Fok), _) => "FOK",
        (Some(TimeInForce::PostOnly), crate::market::Segment::Linear) => "GTX",
        _ => "GTC",
    }
}

pub(super) fn order_type(order: &Order) -> &str {
    let plain = match order.kind {
        OrderKind::Market => "MARKET",
        OrderKind::Limit { .. } => "LIMIT",
    };
    order.native("type").unwrap_or(plain)
}

pub(super) fn self_trade(order: &Order) -> &str {
    order.native("stp").unwrap_or("EXPIRE_MAKER")
}

pub(super) fn price(it: &Instrument, price: Option<Price>) -> String {
    it.price(price.unwrap_or_default()).to_string()
}

pub(super) fn stop_price(it: &Instrument, order: &Order) -> String {
    price(it, order.trigger.map(|trigger| trigger.price))
}

/// What all forms of a spot order have in common.
pub(super) fn spot(it: &Instrument, order: &Order) -> Value {
    let quote_qty = match order.size {
        Size::Quote(value) => value,
        Size::Base(_) | Size::Position => Decimal::ZERO,
    };
    let mut form = json!({
        "symbol": it.symbol, "orderId": order.no.0, "orderListId": -1,
        "clientOrderId": order.client_id, "price": price(it, order.price()),
        "origQty": it.qty(order.qty).to_string(), "executedQty": it.qty(order.filled).to_string(),
        "origQuoteOrderQty": money(quote_qty),
        "cummulativeQuoteQty": encode::quote(it, order.filled_value).to_string(),
        "status": status(order), "timeInForce": time_in_force(order), "type": order_type(order),
        "side": side(order.side), "workingTime": order.working_ms.unwrap_or(-1),
        "selfTradePreventionMode": self_trade(order),
    });
    if order.trigger.is_some() {
        form["stopPrice"] = stop_price(it, order).into();
    }
    if order.state == OrderState::Expired {
        form["expiryReason"] = expiry(order.reason).into();
    }
    form
}

pub(super) const fn expiry(reason: Option<EndReason>) -> &'static str {
    match reason {
        Some(EndReason::Immediate) => "UNFILLED_IOC_QUANTITY_EXPIRED",
        Some(EndReason::FillOrKill) => "UNFILLED_FOK_ORDER_EXPIRED",
        Some(EndReason::NoLiquidity) => "INSUFFICIENT_LIQUIDITY",
        Some(EndReason::Funds | EndReason::PostOnly) => "REJECTED",
        _ => "NONE",
    }
}

/// A spot order as queries tell it.
pub(super) fn spot_query(it: &Instrument, order: &Order) -> Value {
    let mut form = spot(it, order);
    form["stopPrice"] = stop_price(it, order).into();
    form["icebergQty"] = it.qty(Qty(0)).to_string().into();
    form["time"] = order.created_ms.into();
    form["updateTime"] = order.updated_ms.into();
    form["isWorking"] = (order.state != OrderState::Waiting).into();
    form
}

/// A fill of a spot order within the answer to it.
pub(super) fn spot_fill(it: &Instrument, fill: &FillRow) -> Value {
    json!({
        "price": price(it, Some(fill.price)), "qty": it.qty(fill.qty).to_string(),
        "commission": money(fill.fee), "commissionAsset": fill.fee_asset,
        "tradeId": fill.trade_id,
    })
}

pub(super) fn spot_trade(it: &Instrument, fill: &FillRow) -> Value {
    json!({
        "symbol": it.symbol, "id": fill.trade_id, "orderId": fill.no.0, "orderListId": -1,
        "price": price(it, Some(fill.price)), "qty": it.qty(fill.qty).to_string(),
        "quoteQty": encode::quote(it, fill.price.notional(fill.qty)).to_string(),
        "commission": money(fill.fee), "commissionAsset": fill.fee_asset, "time": fill.ts_ms,
        "isBuyer": fill.side == Side::Buy, "isMaker": fill.is_maker, "isBestMatch": true,
    })
}

/// Number of a futures order; that of a conditional one exists once it was triggered.
pub(super) fn usdm_id(order: &Order) -> Option<u64> {
    match order.trigger {
        Some(_) => order.live_no.map(|no| no.0),
        None => Some(order.no.0),
    }
}

/// The type that a futures order works as: of a conditional one what it becomes.
fn working_type(order: &Order) -> &'static str {
    match order.kind {
        OrderKind::Market => "MARKET",
        OrderKind::Limit { .. } => "LIMIT",
    }
}

/// A futures order as the answer to placing, changing or cancelling it.
pub(super) fn usdm(it: &Instrument, order: &Order) -> Value {
    let trimmed = |text: String| match text.trim_matches(['0', '.']).is_empty() {
        true => "0".to_owned(),
        false => text,
    };
    json!({
        "clientOrderId": order.client_id, "cumQty": it.qty(order.filled).to_string(),
        "executedQty": it.qty(order.filled).to_string(), "orderId": usdm_id(order).unwrap_or(0),
        "origQty": it.qty(order.qty).to_string(), "price": trimmed(price(it, order.price())),
        "reduceOnly": order.native("reduceOnly") == Some("true"), "side": side(order.side),
        "positionSide": position_side(order.position), "status": status(order),
        "stopPrice": trimmed(stop_price(it, order)),
        "closePosition": order.size == Size::Position, "symbol": it.symbol,
        "timeInForce": time_in_force(order), "type": working_type(order),
        "origType": order_type(order), "updateTime": order.updated_ms,
        "workingType": order.native("workingType").unwrap_or("CONTRACT_PRICE"),
        "priceProtect": false, "priceMatch": "NONE",
        "selfTradePreventionMode": self_trade(order), "goodTillDate": 0,
    })
}

/// Average price with the decimals that futures have for it.
pub(super) fn average(it: &Instrument, order: &Order) -> String {
    let average = order.average(it).unwrap_or_default();
    let places = it.price_decimals as usize;
    format!("{:.places$}", average.round_dp(it.price_decimals))
}

/// A futures order as queries tell it.
pub(super) fn usdm_query(it: &Instrument, order: &Order) -> Value {
    let mut form = usdm(it, order);
    if let Some(fields) = form.as_object_mut() {
        fields.remove("cumQty");
    }
    form["avgPrice"] = average(it, order).into();
    form["cumQuote"] = encode::quote(it, order.filled_value).to_string().into();
    form["time"] = order.created_ms.into();
    form
}

pub(super) fn usdm_trade(it: &Instrument, fill: &FillRow, order_id: u64) -> Value {
    json!({
        "symbol": it.symbol, "id": fill.trade_id, "orderId": order_id, "side": side(fill.side),
        "price": price(it, Some(fill.price)), "qty": it.qty(fill.qty).to_string(),
        "realizedPnl": money(fill.realized),
        "quoteQty": encode::quote(it, fill.price.notional(fill.qty)).to_string(),
        "commission": money(fill.fee), "commissionAsset": fill.fee_asset, "time": fill.ts_ms,
        "positionSide": position_side(fill.position), "buyer": fill.side == Side::Buy,
        "maker": fill.is_maker,
    })
}

/// A trigger price as conditional orders tell it.
pub(super) fn trigger(it: &Instrument, order: &Order) -> String {
    let price = order.trigger.map(|trigger| it.price(trigger.price));
    price.map(decimal).map(short).unwrap_or_default()
}
