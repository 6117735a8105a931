//! Private channels: which there are, what a new listener begins with, and what becomes of what
//! happens to an account.

use serde_json::{Value, json};

use super::super::protocol::Arg;
use super::super::stream::Path;
use super::super::venue::Core;
use super::auth::Who;
use super::row::plain;
use super::{Call, Fail, Fields, Outcome};
use crate::account::private::{Listener, Subject};
use crate::account::{
    AccountReason, BalanceRow, Change, Order, Permissions, PositionRow, PrivateEvent, PrivateKind,
};
use crate::market::{InstrumentIx, Segment};
use crate::venue::SessionId;

/// A private channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Orders,
    Algos,
    Account,
    Positions,
    Both,
}

impl Kind {
    fn parse(channel: &str) -> Option<Self> {
        Some(match channel {
            "orders" => Self::Orders,
            "orders-algo" => Self::Algos,
            "account" => Self::Account,
            "positions" => Self::Positions,
            "balance_and_position" => Self::Both,
            _ => return None,
        })
    }
}

/// Whether the channel is one of an account's.
pub(crate) fn is_private(channel: &str) -> bool {
    Kind::parse(channel).is_some()
}

/// What an arg asks for; `None`: it is malformed.
fn asked(arg: &Arg) -> Option<(Kind, Option<Segment>)> {
    let kind = Kind::parse(arg.channel())?;
    if matches!(kind, Kind::Account | Kind::Both) {
        return Some((kind, None));
    }
    match arg.get("instType")? {
        "ANY" => Some((kind, None)),
        "SPOT" | "MARGIN" => Some((kind, Some(Segment::Spot))),
        "SWAP" => Some((kind, Some(Segment::Linear))),
        _ => None,
    }
}

/// What a request to listen comes to.
pub(crate) enum Heard {
    /// It listens, and begins with these.
    From(Vec<String>),
    /// There is no such channel on this path.
    Unknown,
    /// An account of another path.
    WrongPath,
    /// A fault keeps private streams down.
    Down,
}

/// `{"arg":{…},"data":[…]}`
fn push(channel: &str, more: &Value, data: &[Value]) -> Option<String> {
    let mut arg: Value = serde_json::from_str(channel).ok()?;
    arg["uid"] = "614488474791936".into();
    let mut text = json!({ "arg": arg, "data": data });
    if let (Some(text), Value::Object(more)) = (text.as_object_mut(), more) {
        text.extend(more.clone());
    }
    Some(text.to_string())
}

fn call(core: &mut Core, id: crate::account::AccountId) -> Call<'_> {
    let who = Who {
        id,
        may: Permissions::READ,
    };
    Call {
        core,
        who,
        by_code: false,
    }
}

/// Lets a session hear of an account.
pub(crate) fn listen(
    core: &mut Core,
    session: SessionId,
    who: Who,
    path: Path,
    arg: &Arg,
) -> Heard {
    let Some((kind, market)) = asked(arg) else {
        return Heard::Unknown;
    };
    if (kind == Kind::Algos) != (path == Path::Business) {
        return Heard::WrongPath;
    }
    let down = |market| core.is_private_down(market);
    if market.map_or_else(|| down(Segment::Spot) || down(Segment::Linear), down) {
        return Heard::Down;
    }
    let channel = arg.name();
    let inst = arg.get("instId").and_then(|name| core.venue.find(name));
    let call = call(core, who.id);
    let snapshot = json!({ "eventType": "snapshot", "curPage": 1, "lastPage": true });
    let first = match kind {
        Kind::Orders | Kind::Algos => None,
        Kind::Account => {
            let one = arg.get("ccy").map(|coin| vec![coin.to_owned()]);
            push(&channel, &snapshot, &[call.account_row(one.as_deref())])
        }
        Kind::Positions => {
            let rows = call.position_rows(inst.map(|(ix, _)| ix));
            push(&channel, &snapshot, &rows)
        }
        Kind::Both => {
            let row = call.both_row("snapshot", None, None);
            push(&channel, &Value::Null, &[row])
        }
    };
    core.listen_private(Listener {
        session,
        account: who.id,
        market,
        channel,
    });
    Heard::From(first.into_iter().collect())
}

impl Call<'_> {
    /// A row of balances and positions together; `None`: all.
    fn both_row(
        &self,
        event: &str,
        balances: Option<&[BalanceRow]>,
        positions: Option<&[PositionRow]>,
    ) -> Value {
        let now = self.now();
        let account = self.core.accounts.account(self.id());
        let all = || {
            let all = account.into_iter();
            let all = all.flat_map(|it| it.wallet(crate::account::Wallet::Spot));
            all.map(|(asset, funds)| (asset.to_owned(), funds.total))
                .collect()
        };
        let balances: Vec<(String, rust_decimal::Decimal)> = match balances {
            Some(rows) => rows.iter().map(|it| (it.asset.clone(), it.total)).collect(),
            None => all(),
        };
        let balances: Vec<Value> = balances
            .iter()
            .map(|(asset, total)| json!({ "ccy": asset, "cashBal": plain(*total), "uTime": now }))
            .collect();
        let positions = match positions {
            Some(rows) => rows.iter().map(|row| self.position_row(row)).collect(),
            None => self.position_rows(None),
        };
        let kept = [
            "posId", "tradeId", "instId", "instType", "mgnMode", "posSide", "pos", "ccy", "posCcy",
            "avgPx", "uTime",
        ];
        let positions: Vec<Value> = positions
            .iter()
            .map(|row| {
                kept.iter()
                    .map(|name| (*name, row[*name].clone()))
                    .collect()
            })
            .collect();
        json!({
            "pTime": now, "eventType": event, "balData": balances, "posData": positions,
            "trades": [],
        })
    }
}

fn of_channel(listener: &Listener) -> Option<(Kind, Arg)> {
    let map = serde_json::from_str(&listener.channel).ok()?;
    let arg = Arg(map);
    Some((Kind::parse(arg.channel())?, arg))
}

/// Tells what happened to an account.
pub(crate) fn tell(core: &mut Core, event: &PrivateEvent) {
    match &event.kind {
        PrivateKind::Order { order, change } => tell_order(core, order, change),
        PrivateKind::Account {
            reason,
            segment,
            balances,
            positions,
        } => tell_account(core, event, *reason, *segment, balances, positions),
        // OKX tells no setting.
        PrivateKind::Leverage { .. } => {}
    }
}

fn tell_order(core: &mut Core, order: &Order, change: &Change) {
    let (fill, amended) = match change {
        Change::Filled(fill) => (Some(&**fill), false),
        change => (None, matches!(change, Change::Amended)),
    };
    let call = call(core, order.account);
    let is_algo = order.trigger.is_some();
    let waited = is_algo && (order.live_no.is_none() || matches!(change, Change::Triggered));
    let algo = waited.then(|| call.algo_order(order));
    let works = !is_algo || order.live_no.is_some();
    let ordinary = works.then(|| call.pushed(order, fill, amended));
    for (wanted, row) in [(Kind::Algos, algo), (Kind::Orders, ordinary)] {
        if let Some(row) = row {
            publish(
                core,
                order.account,
                (order.segment, Some(order.ix)),
                "order",
                |kind, channel| {
                    (kind == wanted)
                        .then(|| push(channel, &Value::Null, std::slice::from_ref(&row)))?
                },
            );
        }
    }
}

fn tell_account(
    core: &mut Core,
    event: &PrivateEvent,
    reason: AccountReason,
    segment: Segment,
    balances: &[BalanceRow],
    positions: &[PositionRow],
) {
    let call = call(core, event.account);
    let coins: Vec<String> = balances.iter().map(|it| it.asset.clone()).collect();
    let account = call.account_row(Some(&coins));
    let rows: Vec<Value> = positions.iter().map(|it| call.position_row(it)).collect();
    let word = match reason {
        AccountReason::Funding => "funding_fee",
        AccountReason::Deposit => "deposit",
        _ => "filled",
    };
    let both = call.both_row(word, Some(balances), Some(positions));
    let is_hold = reason == AccountReason::Hold;
    let update = json!({ "eventType": "event_update" });
    let ix = positions.first().map(|row| row.ix);
    publish(
        core,
        event.account,
        (segment, ix),
        "account",
        |kind, channel| match kind {
            Kind::Account => push(channel, &update, std::slice::from_ref(&account)),
            Kind::Positions if !rows.is_empty() => push(channel, &update, &rows),
            // What is held back changes no balance.
            Kind::Both if !is_hold => push(channel, &Value::Null, std::slice::from_ref(&both)),
            _ => None,
        },
    );
}

/// Sends a message to those who hear of an account; `text` has the channel's kind and its name.
fn publish(
    core: &mut Core,
    account: crate::account::AccountId,
    (market, ix): (Segment, Option<InstrumentIx>),
    family: &'static str,
    text: impl Fn(Kind, &str) -> Option<String>,
) {
    let symbol = ix
        .and_then(|ix| core.instrument(ix))
        .map(|it| it.symbol.clone());
    let subject = Subject {
        account,
        market,
        symbol: symbol.as_deref(),
        family,
    };
    core.publish_private(&subject, |listener| {
        let (kind, arg) = of_channel(listener)?;
        let named = arg.get("instId").filter(|_| kind != Kind::Account);
        if named.is_some_and(|name| Some(name) != symbol.as_deref()) {
            return None;
        }
        text(kind, &listener.channel)
    });
}

/// A trading request over a connection.
pub(crate) fn operate(call: &mut Call<'_>, op: &str, args: &[Arg]) -> Outcome {
    let act = |call: &mut Call<'_>, fields: Fields<'_>| match op {
        "order" => call.place("trade/order", fields),
        "batch-orders" => call.place("trade/batch-orders", fields),
        "cancel-order" => call.cancel("trade/cancel-order", fields),
        "batch-cancel-orders" => call.cancel("trade/cancel-batch-orders", fields),
        "amend-order" => call.amend("trade/amend-order", fields),
        _ => call.amend("trade/amend-batch-orders", fields),
    };
    let most = if op.starts_with("batch") { 20 } else { 1 };
    if args.is_empty() || args.len() > most {
        let fail = Fail::new("60013", "Invalid args");
        let row = json!({ "sCode": fail.code, "sMsg": fail.msg, "ordId": "", "clOrdId": "" });
        return Outcome::of_all(vec![row]);
    }
    let mut outcome = Outcome::of_all(args.iter().map(|arg| act(call, Fields(&arg.0))).collect());
    if matches!(op, "order" | "batch-orders") {
        for row in outcome.data.iter_mut().filter(|row| row["sCode"] == "0") {
            row["sMsg"] = "Order successfully placed.".into();
        }
    }
    outcome
}
