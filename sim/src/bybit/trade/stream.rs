//! Private topics, and what becomes of what happens to an account.

use serde_json::{Value, json};

use crate::account::private::{Listener, Subject};
use crate::account::{
    AccountId, AccountReason, Change, Order, Permissions, PrivateEvent, PrivateKind,
};
use crate::market::{InstrumentIx, Segment};

use super::super::venue::Core;
use super::Call;
use super::auth::Who;
use super::row::category;

/// Topics, and whether each has a form for each market.
const TOPICS: [(&str, bool); 7] = [
    ("order", true),
    ("execution", true),
    ("execution.fast", true),
    ("position", true),
    ("wallet", false),
    ("dcp.future", false),
    ("dcp.spot", false),
];

/// The kind of a topic, and the market it is narrowed to; `None`: there is none of that name.
pub(super) fn parse(name: &str) -> Option<(&'static str, Option<Segment>)> {
    TOPICS.iter().find_map(|(topic, has_markets)| {
        let rest = name.strip_prefix(topic)?;
        match rest {
            "" => Some((*topic, None)),
            ".spot" if *has_markets && *topic != "position" => Some((*topic, Some(Segment::Spot))),
            ".linear" if *has_markets => Some((*topic, Some(Segment::Linear))),
            _ => None,
        }
    })
}

/// The market whose orders are taken back when the last connection with this topic has ended
/// (`docs/v5/websocket/private/dcp`); `None`: the topic is of another kind.
pub(super) fn watched(name: &str) -> Option<Segment> {
    match name {
        "dcp.future" => Some(Segment::Linear),
        "dcp.spot" => Some(Segment::Spot),
        _ => None,
    }
}

/// What a message is for those who hear one of its topics.
struct Message {
    topic: &'static str,
    rows: Vec<Value>,
}

/// Tells what happened to an account.
pub(crate) fn tell(core: &mut Core, event: &PrivateEvent) {
    let who = Who {
        id: event.account,
        may: Permissions::READ,
        key: String::new(),
    };
    match &event.kind {
        PrivateKind::Order { order, change } => tell_order(core, &who, order, change),
        PrivateKind::Account {
            reason,
            segment,
            balances,
            positions,
        } => {
            let call = Call { core, who: &who };
            let coins: Vec<String> = balances.iter().map(|it| it.asset.clone()).collect();
            let wallet = call.account_row(Some(&coins));
            let rows: Vec<Value> = positions
                .iter()
                .map(|row| call.position_row(row, "entryPrice"))
                .collect();
            let ix = positions.first().map(|row| row.ix);
            let mut messages = vec![Message {
                topic: "wallet",
                rows: vec![wallet],
            }];
            if !rows.is_empty() && *reason != AccountReason::Hold {
                messages.insert(
                    0,
                    Message {
                        topic: "position",
                        rows,
                    },
                );
            }
            publish(core, event.account, (*segment, ix), "account", &messages);
        }
        PrivateKind::Leverage { .. } => {}
    }
}

fn tell_order(core: &mut Core, who: &Who, order: &Order, change: &Change) {
    let call = Call { core, who };
    let mut row = call.order_row(order);
    if matches!(change, Change::Triggered) {
        row["orderStatus"] = "Triggered".into();
    }
    let mut messages = Vec::new();
    if let Change::Filled(fill) = change {
        let full = call.fill_row(fill, Some(order));
        let kept = [
            "category",
            "symbol",
            "execId",
            "execPrice",
            "execQty",
            "orderId",
            "isMaker",
            "orderLinkId",
            "side",
            "execTime",
            "seq",
        ];
        let fast = kept
            .iter()
            .map(|name| (*name, full[*name].clone()))
            .collect();
        messages.push(Message {
            topic: "execution.fast",
            rows: vec![fast],
        });
        messages.push(Message {
            topic: "execution",
            rows: vec![full],
        });
    }
    messages.push(Message {
        topic: "order",
        rows: vec![row],
    });
    let subject = (order.segment, Some(order.ix));
    publish(core, order.account, subject, "order", &messages);
}

fn publish(
    core: &mut Core,
    account: AccountId,
    (market, ix): (Segment, Option<InstrumentIx>),
    family: &'static str,
    messages: &[Message],
) {
    let symbol = ix
        .and_then(|ix| core.instrument(ix))
        .map(|it| it.symbol.clone());
    let now_ms = core.now_ms();
    for message in messages {
        let subject = Subject {
            account,
            market,
            symbol: symbol.as_deref(),
            family,
        };
        core.venue.trading.told += 1;
        let id = format!(
            "{}_{}_{}",
            386_825_804 + account.0,
            category(market),
            core.venue.trading.told
        );
        core.publish_private(&subject, |listener: &Listener| {
            let (topic, _) = parse(&listener.channel)?;
            (topic == message.topic).then(|| {
                json!({
                    "topic": listener.channel, "id": id, "creationTime": now_ms,
                    "data": message.rows,
                })
                .to_string()
            })
        });
    }
}
