//! Orders and fills as Bybit tells them.

use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::account::auth::{number_of_uuid, numbered_uuid};
use crate::account::{EndReason, FillRow, Order, OrderNo, OrderState, PositionSide, Size, decimal};
use crate::market::{Instrument, OrderKind, Segment, Side, TimeInForce};

use super::super::encode;
use super::Call;
use super::order::link_id;

pub(super) fn plain(number: Decimal) -> String {
    number.normalize().to_string()
}

/// An order's id: digits on spot, a UUID on linear.
pub(super) fn order_id(order: &Order) -> String {
    id_of(order.no, order.segment)
}

fn id_of(no: OrderNo, market: Segment) -> String {
    match market {
        Segment::Spot => no.0.to_string(),
        Segment::Linear => numbered_uuid(no.0),
    }
}

/// The number in an order's id.
pub(super) fn number(id: &str, market: Segment) -> Option<u64> {
    if market == Segment::Spot {
        return id.parse().ok();
    }
    number_of_uuid(id)
}

/// Whether it is one that waits for its price, or did.
pub(super) const fn is_waiting_kind(order: &Order) -> bool {
    order.trigger.is_some() && matches!(order.state, OrderState::Waiting)
        || order.trigger.is_some() && order.triggered_ms.is_none()
}

pub(super) const fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "Buy",
        Side::Sell => "Sell",
    }
}

pub(super) const fn category(market: Segment) -> &'static str {
    match market {
        Segment::Spot => "spot",
        Segment::Linear => "linear",
    }
}

pub(super) const fn position_ix(side: PositionSide) -> u8 {
    match side {
        PositionSide::Both => 0,
        PositionSide::Long => 1,
        PositionSide::Short => 2,
    }
}

pub(super) const fn status(order: &Order) -> &'static str {
    match order.state {
        OrderState::Waiting => "Untriggered",
        OrderState::New => "New",
        OrderState::PartiallyFilled => "PartiallyFilled",
        OrderState::Filled => "Filled",
        OrderState::Rejected => "Rejected",
        OrderState::Canceled | OrderState::Expired => match order.segment {
            _ if order.trigger.is_some() && order.triggered_ms.is_none() => "Deactivated",
            Segment::Spot if order.filled.0 > 0 => "PartiallyFilledCanceled",
            Segment::Spot | Segment::Linear => "Cancelled",
        },
    }
}

const fn time_in_force(order: &Order) -> &'static str {
    match order.kind {
        OrderKind::Market => "IOC",
        OrderKind::Limit { time_in_force, .. } => match time_in_force {
            TimeInForce::Gtc => "GTC",
            TimeInForce::Ioc => "IOC",
            TimeInForce::Fok => "FOK",
            TimeInForce::PostOnly => "PostOnly",
        },
    }
}

const fn order_type(order: &Order) -> &'static str {
    match order.kind {
        OrderKind::Market => "Market",
        OrderKind::Limit { .. } => "Limit",
    }
}

/// Why it was taken back, and why it could not go on.
const fn ends(reason: Option<EndReason>) -> (&'static str, &'static str) {
    match reason {
        None => ("UNKNOWN", "EC_NoError"),
        Some(EndReason::User | EndReason::Replaced) => ("CancelByUser", "EC_PerCancelRequest"),
        Some(EndReason::Immediate | EndReason::NoLiquidity) => {
            ("UNKNOWN", "EC_NoImmediateQtyToFill")
        }
        Some(EndReason::FillOrKill) => ("UNKNOWN", "EC_CancelForNoFullFill"),
        Some(EndReason::PostOnly) => ("UNKNOWN", "EC_PostOnlyWillTakeLiquidity"),
        Some(EndReason::SelfTrade) => ("CancelBySmp", "EC_BySelfMatch"),
        Some(EndReason::ReduceOnly) => ("CancelByReduceOnly", "EC_NoError"),
        Some(EndReason::Liquidation) => ("CancelAllBeforeLiq", "EC_NoError"),
        Some(EndReason::Funds) => ("CancelByAdmin", "EC_NoEnoughQtyToFill"),
        Some(EndReason::Countdown) => ("CancelByDCP", "EC_PerCancelRequest"),
    }
}

fn price_of(it: &Instrument, order: &Order) -> String {
    let price = order
        .price()
        .map(|price| encode::price(it, price).to_string());
    price.unwrap_or_else(|| "0".to_owned())
}

fn qty_of(it: &Instrument, order: &Order) -> String {
    match (order.native("qty"), order.size) {
        (Some(asked), _) => asked.to_owned(),
        (None, Size::Position) if order.qty.0 == 0 => "0".to_owned(),
        _ => encode::qty(it, order.qty).to_string(),
    }
}

/// What a fee is paid in.
fn fee_coin(it: &Instrument, order: &Order) -> String {
    let usual = match (order.segment, order.side) {
        (Segment::Spot, Side::Buy) => &it.base,
        _ => &it.quote,
    };
    order.fee_asset.clone().unwrap_or_else(|| usual.clone())
}

impl Call<'_> {
    pub(super) fn order_row(&self, order: &Order) -> Value {
        let Some(it) = self.core.instrument(order.ix) else {
            return Value::Null;
        };
        let (cancel, reject) = ends(order.reason);
        let left = match order.state.is_open() {
            true => order.left(),
            false => crate::market::Qty(0),
        };
        let price = order.price().unwrap_or_default();
        let average = order.average(it).map(|it| plain(it.round_dp(8)));
        let native = |name| order.native(name).unwrap_or_default();
        let waits = order.trigger.is_some();
        let trigger = order
            .trigger
            .map(|at| encode::price(it, at.price).to_string());
        let direction = order.trigger.map_or(0, |at| if at.rises { 1 } else { 2 });
        let coin = fee_coin(it, order);
        let fees = match order.fee.is_zero() {
            true => json!({}),
            false => json!({ coin.as_str(): plain(order.fee) }),
        };
        let stop = match order.segment {
            _ if !waits => "",
            Segment::Spot => "StopOrder",
            Segment::Linear => "Stop",
        };
        let mut row = json!({
            "category": category(order.segment), "symbol": it.symbol,
            "orderId": order_id(order), "orderLinkId": link_id(order), "blockTradeId": "",
            "side": side(order.side), "orderType": order_type(order), "price": price_of(it, order),
            "qty": qty_of(it, order), "isLeverage": order.native("isLeverage").unwrap_or("0"), "timeInForce": time_in_force(order),
            "positionIdx": position_ix(order.position), "orderStatus": status(order),
            "cancelType": cancel, "rejectReason": reject,
            "avgPrice": average.unwrap_or_default(),
            "leavesQty": encode::qty(it, left).to_string(),
            "leavesValue": plain(decimal(it.notional(price.notional(left)))),
            "cumExecQty": encode::qty(it, order.filled).to_string(),
            "cumExecValue": plain(order.value(it)), "cumExecFee": plain(order.fee),
            "createdTime": order.created_ms.to_string(),
            "updatedTime": order.updated_ms.to_string(),
        });
        let more = json!({
            "feeCurrency": coin, "cumFeeDetail": fees, "stopOrderType": stop,
            "triggerPrice": trigger.unwrap_or_default(), "triggerDirection": direction,
            "triggerBy": match (waits, native("triggerBy")) { (true, "") => "LastPrice", (_, by) => by },
            "marketUnit": native("marketUnit"), "reduceOnly": order.reduce_only,
            "closeOnTrigger": false, "takeProfit": "", "stopLoss": "", "tpTriggerBy": "",
            "slTriggerBy": "", "tpLimitPrice": "", "slLimitPrice": "", "placeType": "",
            "smpType": match native("smpType") { "" => "None", smp => smp }, "smpGroup": 0,
            "smpOrderId": "", "lastPriceOnCreated": "", "createType": "CreateByUser",
            "orderIv": "", "ocoTriggerBy": "",
        });
        if let (Some(row), Value::Object(more)) = (row.as_object_mut(), more) {
            row.extend(more);
            if order.segment == Segment::Linear {
                row.insert("tpslMode".to_owned(), "UNKNOWN".into());
            }
        }
        row
    }

    /// A row of a fill; `order`: as it was then, where it is known.
    pub(super) fn fill_row(&self, fill: &FillRow, order: Option<&Order>) -> Value {
        let order = order.or_else(|| self.core.accounts.order(fill.account, fill.no));
        let (Some(it), Some(order)) = (self.core.instrument(fill.ix), order) else {
            return Value::Null;
        };
        let fees = self.core.accounts.rules.fees(fill.segment);
        let value = decimal(it.notional(fill.price.notional(fill.qty)));
        let opens = fill.realized.is_zero();
        json!({
            "category": category(fill.segment), "symbol": it.symbol,
            "orderId": id_of(fill.no, fill.segment), "orderLinkId": link_id(order),
            "side": side(fill.side), "orderType": order_type(order), "stopOrderType": "UNKNOWN",
            "orderPrice": price_of(it, order), "orderQty": qty_of(it, order),
            "leavesQty": encode::qty(it, order.left()).to_string(),
            "execId": numbered_uuid(fill.id), "execPrice": encode::price(it, fill.price).to_string(),
            "execQty": encode::qty(it, fill.qty).to_string(), "execValue": plain(value),
            "execType": "Trade", "execTime": fill.ts_ms.to_string(), "execFee": plain(fill.fee),
            "feeCurrency": fill.fee_asset, "isMaker": fill.is_maker, "extraFees": "",
            "feeRate": plain(if fill.is_maker { fees.maker } else { fees.taker }),
            "closedSize": if opens { "0".to_owned() } else { encode::qty(it, fill.qty).to_string() },
            "execPnl": plain(fill.realized), "createType": "CreateByUser", "marketUnit": "",
            "seq": super::super::venue::seq(self.core, fill.ix).0, "isLeverage": order.native("isLeverage").unwrap_or("0"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let no = OrderNo(1_321_003_749_386_327_552);
        let id = id_of(no, Segment::Linear);
        assert_eq!(id.len(), 36);
        assert_eq!(number(&id, Segment::Linear), Some(no.0));
        let other = id_of(OrderNo(no.0 + 1), Segment::Linear);
        let mixed = format!("{}{}", &id[..18], &other[18..]);
        assert_eq!(number(&mixed, Segment::Linear), None);
        assert_eq!(number("1321003749386327552", Segment::Linear), None);
        assert_eq!(number("1321003749386327552", Segment::Spot), Some(no.0));
    }
}
