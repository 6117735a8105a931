//! Private streams: what is told of orders, balances and positions.

use serde_json::{Value, json};

use super::super::core::Core;
use super::{algo, print};
use crate::account::private::{Listener, Subject};
use crate::account::{
    AccountReason, BalanceRow, Change, FillRow, MarginMode, Order, OrderState, PositionRow,
    PrivateEvent, PrivateKind, Size,
};
use crate::market::{Instrument, Segment};

/// Before the events that a futures connection wants, where it named some.
pub(crate) const CHOSEN: &str = "events:";

/// Tells an account what happened to it.
pub(crate) fn tell(core: &mut Core, event: &PrivateEvent) {
    match &event.kind {
        PrivateKind::Order { order, change } => {
            let Some(it) = core.instrument(order.ix).cloned() else {
                return;
            };
            match order.segment {
                Segment::Spot => spot_order(core, event, &it, order, change),
                Segment::Linear => usdm_order(core, event, &it, order, change),
            }
        }
        PrivateKind::Account {
            reason,
            segment,
            balances,
            positions,
        } => match segment {
            Segment::Spot => spot_balances(core, event, balances),
            Segment::Linear => usdm_account(core, event, *reason, balances, positions),
        },
        PrivateKind::Leverage { ix, leverage } => {
            let symbol = core.instrument(*ix).map(|it| it.symbol.clone());
            let body = json!({
                "e": "ACCOUNT_CONFIG_UPDATE", "E": event.ts_ms, "T": event.ts_ms,
                "ac": { "s": symbol, "l": leverage },
            });
            send(core, event, Segment::Linear, None, "account", &body);
        }
    }
}

fn send(
    core: &mut Core,
    event: &PrivateEvent,
    market: Segment,
    symbol: Option<&str>,
    family: &'static str,
    body: &Value,
) {
    let subject = Subject {
        account: event.account,
        market,
        symbol,
        family,
    };
    let name = body["e"].as_str().unwrap_or_default();
    core.publish_private(&subject, |listener| wrapped(listener, market, name, body));
}

/// The message as a connection gets it; `None` if it did not want such events.
fn wrapped(listener: &Listener, market: Segment, name: &str, body: &Value) -> Option<String> {
    if market == Segment::Spot {
        let number = &listener.channel;
        return Some(format!("{{\"subscriptionId\":{number},\"event\":{body}}}"));
    }
    match listener.channel.strip_prefix(CHOSEN) {
        Some(wanted) if !wanted.split('/').any(|wanted| wanted == name) => None,
        _ => Some(body.to_string()),
    }
}

/// What is told of a change: its kind, and the fill.
fn execution(change: &Change) -> (&'static str, Option<&FillRow>) {
    match change {
        Change::Accepted | Change::Triggered => ("NEW", None),
        Change::Filled(fill) => ("TRADE", Some(fill)),
        Change::Amended => ("REPLACED", None),
        Change::Canceled => ("CANCELED", None),
        Change::Expired => ("EXPIRED", None),
        Change::Rejected => ("REJECTED", None),
    }
}

fn spot_order(
    core: &mut Core,
    event: &PrivateEvent,
    it: &Instrument,
    order: &Order,
    change: &Change,
) {
    let (kind, fill) = execution(change);
    let naming = core.venue.trading.naming.clone();
    // The name of the cancel comes first, and after an amendment the order's new one.
    let (name, before) = match (kind, naming) {
        ("CANCELED", Some(naming)) => (naming, order.client_id.clone()),
        ("CANCELED", None) => (core.venue.trading.name(), order.client_id.clone()),
        ("REPLACED", Some(naming)) => (order.client_id.clone(), naming),
        _ => (order.client_id.clone(), String::new()),
    };
    let quote_qty = match order.size {
        Size::Quote(value) => value,
        _ => rust_decimal::Decimal::ZERO,
    };
    let none = it.qty(crate::market::Qty(0)).to_string();
    let price = |fill: Option<&FillRow>| print::price(it, fill.map(|fill| fill.price));
    let quote = |value| super::super::encode::quote(it, value).to_string();
    let last = fill.map_or(crate::market::Notional(0), |it| it.price.notional(it.qty));
    let mut body = json!({
        "e": "executionReport", "E": event.ts_ms, "s": it.symbol, "c": name,
        "S": print::side(order.side), "o": print::order_type(order),
        "f": print::time_in_force(order), "q": it.qty(order.qty).to_string(),
        "p": print::price(it, order.price()), "P": print::stop_price(it, order), "F": none,
        "g": -1, "C": before, "x": kind, "X": print::status(order), "r": "NONE",
        "i": order.no.0,
        "l": fill.map_or(none.clone(), |fill| it.qty(fill.qty).to_string()),
        "z": it.qty(order.filled).to_string(), "L": price(fill),
        "n": fill.map_or("0".to_owned(), |fill| print::money(fill.fee)),
        "N": fill.map(|fill| fill.fee_asset.clone()), "T": order.updated_ms,
        "t": fill.map_or(-1, |fill| fill.trade_id as i64), "I": event.seq,
        "w": order.state.is_open() && order.state != OrderState::Waiting,
        "m": fill.is_some_and(|fill| fill.is_maker), "M": fill.is_some(),
        "O": order.created_ms, "Z": quote(order.filled_value), "Y": quote(last),
        "Q": print::money(quote_qty), "V": print::self_trade(order),
    });
    if let Some(working_ms) = order.working_ms {
        body["W"] = working_ms.into();
    }
    if order.state == OrderState::Expired {
        body["eR"] = print::expiry(order.reason).into();
    }
    send(core, event, Segment::Spot, Some(&it.symbol), "order", &body);
}

fn spot_balances(core: &mut Core, event: &PrivateEvent, balances: &[BalanceRow]) {
    let rows = balances.iter().map(|row| {
        let (free, locked) = (print::money(row.free()), print::money(row.locked));
        json!({ "a": row.asset, "f": free, "l": locked })
    });
    let body = json!({
        "e": "outboundAccountPosition", "E": event.ts_ms, "u": event.ts_ms,
        "B": rows.collect::<Vec<Value>>(),
    });
    send(core, event, Segment::Spot, None, "account", &body);
}

fn usdm_order(
    core: &mut Core,
    event: &PrivateEvent,
    it: &Instrument,
    order: &Order,
    change: &Change,
) {
    let symbol = Some(it.symbol.as_str());
    let mut tell = |body: &Value| send(core, event, Segment::Linear, symbol, "order", body);
    let is_waiting = order.trigger.is_some() && order.live_no.is_none();
    if is_waiting {
        return tell(&conditional(event, it, order, algo::status(order)));
    }
    if matches!(change, Change::Triggered) {
        tell(&conditional(event, it, order, "TRIGGERING"));
        tell(&conditional(event, it, order, "TRIGGERED"));
    }
    if let Change::Filled(fill) = change {
        tell(&json!({
            "e": "TRADE_LITE", "E": event.ts_ms, "T": fill.ts_ms, "s": it.symbol,
            "c": order.client_id, "S": print::side(order.side),
            "q": it.qty(order.qty).to_string(), "p": print::price(it, order.price()),
            "i": print::usdm_id(order), "l": it.qty(fill.qty).to_string(),
            "L": print::price(it, Some(fill.price)), "t": fill.trade_id, "m": fill.is_maker,
        }));
    }
    tell(&trade_update(event, it, order, change));
    if order.trigger.is_some() && !order.state.is_open() {
        tell(&conditional(event, it, order, "FINISHED"));
    }
}

fn trade_update(event: &PrivateEvent, it: &Instrument, order: &Order, change: &Change) -> Value {
    let (kind, fill) = execution(change);
    let kind = match kind {
        "REPLACED" => "AMENDMENT",
        "TRADE" if order.is_liquidation => "CALCULATED",
        other => other,
    };
    let form = print::usdm(it, order);
    let none = it.qty(crate::market::Qty(0)).to_string();
    let mut body = json!({
        "s": it.symbol, "c": order.client_id, "S": form["side"], "o": form["type"],
        "f": form["timeInForce"], "q": form["origQty"], "p": form["price"],
        "ap": print::average(it, order), "sp": form["stopPrice"], "x": kind,
        "X": form["status"], "i": form["orderId"],
        "l": fill.map_or(none, |fill| it.qty(fill.qty).to_string()), "z": form["executedQty"],
        "L": fill.map_or("0".to_owned(), |fill| print::price(it, Some(fill.price))),
        "T": order.updated_ms, "t": fill.map_or(0, |fill| fill.trade_id), "b": "0", "a": "0",
        "m": fill.is_some_and(|fill| fill.is_maker), "R": form["reduceOnly"],
        "wt": form["workingType"], "ot": form["origType"], "ps": form["positionSide"],
        "cp": form["closePosition"], "AP": "0", "cr": "0", "pP": false, "si": 0, "ss": 0,
        "rp": fill.map_or("0".to_owned(), |fill| print::money(fill.realized)),
        "V": print::self_trade(order), "pm": "NONE", "gtd": 0,
        "er": match order.state {
            OrderState::Expired => print::expiry(order.reason),
            _ => "NONE",
        },
    });
    if let Some(fill) = fill {
        body["N"] = fill.fee_asset.as_str().into();
        body["n"] = print::money(fill.fee).into();
    }
    json!({ "e": "ORDER_TRADE_UPDATE", "T": order.updated_ms, "E": event.ts_ms, "o": body })
}

fn conditional(event: &PrivateEvent, it: &Instrument, order: &Order, status: &str) -> Value {
    let live = order.live_no.map(|no| no.0.to_string());
    let price = order.price().map(|price| it.price(price).to_string());
    let body = json!({
        "caid": order.client_id, "aid": order.no.0, "at": "CONDITIONAL",
        "o": print::order_type(order), "s": it.symbol, "S": print::side(order.side),
        "ps": print::position_side(order.position), "f": print::time_in_force(order),
        "q": it.qty(order.qty).to_string(), "X": status, "ai": live.unwrap_or_default(),
        "ap": print::average(it, order), "aq": it.qty(order.filled).to_string(), "act": "0",
        "tp": print::trigger(it, order), "p": price.unwrap_or_else(|| "0".to_owned()),
        "V": print::self_trade(order),
        "wt": order.native("workingType").unwrap_or("CONTRACT_PRICE"), "pm": "NONE",
        "cp": order.size == Size::Position, "pP": false,
        "R": order.native("reduceOnly") == Some("true"),
        "tt": order.triggered_ms.unwrap_or(0), "gtd": 0, "rm": "",
    });
    json!({ "e": "ALGO_UPDATE", "T": order.updated_ms, "E": event.ts_ms, "o": body })
}

fn usdm_account(
    core: &mut Core,
    event: &PrivateEvent,
    reason: AccountReason,
    balances: &[BalanceRow],
    positions: &[PositionRow],
) {
    let word = match reason {
        AccountReason::Funding => "FUNDING_FEE",
        AccountReason::Deposit => "DEPOSIT",
        _ => "ORDER",
    };
    let balances: Vec<Value> = balances
        .iter()
        .map(|row| {
            let margin = core
                .accounts
                .margin(&core.market, event.account, &row.asset);
            json!({
                "a": row.asset, "wb": print::money(row.total),
                "cw": print::money(row.total - margin.isolated), "bc": "0",
            })
        })
        .collect();
    // Funding of a position under cross margin is told by its balance alone.
    let is_told =
        |row: &&PositionRow| reason != AccountReason::Funding || row.mode == MarginMode::Isolated;
    let positions: Vec<Value> = positions
        .iter()
        .filter(is_told)
        .filter_map(|row| {
            let it = core.instrument(row.ix)?;
            Some(json!({
                "s": it.symbol, "pa": row.amount.to_string(), "ep": print::short(row.entry),
                "bep": print::short(row.entry), "cr": print::money(row.realized),
                "up": print::money(row.unrealized), "iw": print::money(row.isolated),
                "mt": match row.mode {
                    MarginMode::Isolated => "isolated",
                    MarginMode::Cross => "cross",
                },
                "ps": print::position_side(row.side), "ma": it.quote,
            }))
        })
        .collect();
    let body = json!({
        "e": "ACCOUNT_UPDATE", "T": event.ts_ms, "E": event.ts_ms,
        "a": { "m": word, "B": balances, "P": positions },
    });
    send(core, event, Segment::Linear, None, "account", &body);
}
