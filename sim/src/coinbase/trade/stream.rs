//! The user channel: open orders first, then what becomes of orders.

use serde_json::{Value, json};

use crate::account::private::{Listener, Subject};
use crate::account::{AccountId, Change, Order, Permissions, PrivateEvent, PrivateKind};
use crate::market::{OrderKind, Segment};
use crate::venue::SessionId;

use super::super::encode;
use super::super::venue::Core;
use super::Call;
use super::auth::Who;
use super::order::order_id;
use super::query::{
    USER, completion, plain, reject_reason, side, status, time, time_in_force, trigger_status,
    values,
};

/// Orders of one frame of the first image.
const BATCH: usize = 50;
/// The name that the channel is listed under.
pub(crate) const LISTED: &str = "user";

/// The channel of a product, or of all.
fn channel(product: Option<&str>) -> String {
    product.map_or_else(|| LISTED.to_owned(), |id| format!("{LISTED}:{id}"))
}

fn call(core: &mut Core, id: AccountId) -> Call<'_> {
    let who = Who {
        id,
        may: Permissions::READ,
    };
    Call { core, who }
}

/// A frame of the channel.
fn frame(core: &Core, kind: &str, rows: &[Value]) -> String {
    let event = json!({
        "type": kind, "orders": rows,
        "positions": { "perpetual_futures_positions": [], "expiring_futures_positions": [] },
    });
    encode::frame(
        LISTED,
        core.now_ms().saturating_mul(1_000),
        &event.to_string(),
    )
}

/// Lets a session hear of products' orders, or of all; false: a fault keeps private streams down.
pub(crate) fn listen(
    core: &mut Core,
    session: SessionId,
    account: AccountId,
    products: &[String],
) -> bool {
    if core.is_private_down(Segment::Spot) {
        return false;
    }
    let open: Vec<Order> = core.accounts.open_orders(account).cloned().collect();
    let wanted = |order: &&Order| {
        let it = core.instrument(order.ix);
        products.is_empty() || it.is_some_and(|it| products.contains(&it.symbol))
    };
    let open: Vec<Order> = open.iter().filter(wanted).cloned().collect();
    let rows: Vec<Value> = {
        let call = call(core, account);
        open.iter().map(|order| call.told(order)).collect()
    };
    let batches: Vec<&[Value]> = match rows.is_empty() {
        // Who has none hears that.
        true => vec![&[]],
        false => rows.chunks(BATCH).collect(),
    };
    let frames: Vec<String> = batches
        .iter()
        .map(|rows| frame(core, "snapshot", rows))
        .collect();
    for text in frames {
        core.hub.tell(session, LISTED, text);
    }
    if products.is_empty() {
        core.leave_private(|listener| listener.session == session);
    }
    let names: Vec<String> = match products.is_empty() {
        true => vec![channel(None)],
        false => products.iter().map(|it| channel(Some(it))).collect(),
    };
    for channel in names {
        core.listen_private(Listener {
            session,
            account,
            market: Some(Segment::Spot),
            channel,
        });
    }
    // It is listed with the other channels.
    core.hub
        .subscribe(session, &format!("{LISTED}:{USER}"), None);
    true
}

/// Ends what a session hears: of these products, or at all.
pub(crate) fn leave(core: &mut Core, session: SessionId, products: &[String]) {
    let names: Vec<String> = products.iter().map(|it| channel(Some(it))).collect();
    core.leave_private(|it| {
        it.session == session && (names.is_empty() || names.contains(&it.channel))
    });
    let mut all = core.private.listeners().iter();
    if !all.any(|listener| listener.session == session) {
        core.hub.unsubscribe(session, &format!("{LISTED}:{USER}"));
    }
}

impl Call<'_> {
    /// An order as the channel tells it.
    fn told(&self, order: &Order) -> Value {
        let Some(it) = self.core.instrument(order.ix) else {
            return Value::Null;
        };
        let average = order
            .average(it)
            .map_or("0".to_owned(), |it| plain(it.round_dp(12)));
        let (value, total) = values(it, order);
        let left = match order.state.is_open() {
            true => it.qty(order.left()).trimmed().to_string(),
            false => "0".to_owned(),
        };
        let kind = match (order.kind, order.trigger) {
            (OrderKind::Market, _) => "Market",
            (OrderKind::Limit { .. }, None) => "Limit",
            (OrderKind::Limit { .. }, Some(_)) => "Stop Limit",
        };
        let price = order
            .price()
            .map(|price| it.price(price).trimmed().to_string());
        let stop = order
            .trigger
            .map(|at| it.price(at.price).trimmed().to_string());
        let fills = self.core.accounts.fills(order.account);
        let count = fills.filter(|fill| fill.no == order.no).count();
        let held = match order.state.is_open() {
            true => self.held(order, it),
            false => rust_decimal::Decimal::ZERO,
        };
        let is_canceled = status(order) == "CANCELLED";
        json!({
            "order_id": order_id(order), "client_order_id": order.client_id,
            "cumulative_quantity": it.qty(order.filled).trimmed().to_string(),
            "leaves_quantity": left, "avg_price": average, "total_fees": plain(order.fee),
            "status": status(order), "product_id": it.symbol,
            "creation_time": time(order.created_ms), "order_side": side(order.side),
            "order_type": kind, "cancel_reason": if is_canceled { "User requested cancel" } else { "" },
            "reject_Reason": "", "reject_reason": reject_reason(order),
            "total_value_after_fees": plain(total), "filled_value": plain(value),
            "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE", "product_type": "SPOT",
            "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
            "time_in_force": time_in_force(order), "trigger_status": trigger_status(order),
            "limit_price": price.unwrap_or_default(), "stop_price": stop.unwrap_or_default(),
            "number_of_fills": count.to_string(), "completion_percentage": completion(it, order),
            "outstanding_hold_amount": plain(held), "post_only": false,
        })
    }
}

/// Tells what happened to an account; its balances are not told.
pub(crate) fn tell(core: &mut Core, event: &PrivateEvent) {
    let PrivateKind::Order { order, change } = &event.kind else {
        return;
    };
    let row = call(core, order.account).told(order);
    // An order is queued before it is what was asked for.
    let before = match change {
        Change::Accepted => Some("PENDING"),
        Change::Canceled => Some("CANCEL_QUEUED"),
        Change::Amended => Some("EDIT_QUEUED"),
        _ => None,
    };
    let mut rows = Vec::with_capacity(2);
    if let Some(state) = before {
        let mut queued = row.clone();
        queued["status"] = state.into();
        rows.push(queued);
    }
    rows.push(row);
    let symbol = core
        .instrument(order.ix)
        .map(|it| it.symbol.clone())
        .unwrap_or_default();
    let named = channel(Some(&symbol));
    for row in rows {
        let text = frame(core, "update", std::slice::from_ref(&row));
        let subject = Subject {
            account: order.account,
            market: Segment::Spot,
            symbol: Some(&symbol),
            family: "order",
        };
        core.publish_private(&subject, |listener| {
            let hears = listener.channel == LISTED || listener.channel == named;
            hears.then(|| text.clone())
        });
    }
}
