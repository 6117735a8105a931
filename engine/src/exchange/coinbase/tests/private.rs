//! The user channel: subscriptions, what it tells, and how connections end.

use serde_json::{Value, json};

use super::orders::{dec, keys, venue};
use super::reports::{NOW, with};
use super::{ts, two_products};
use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::exchange::DecodeError;
use crate::trading::order::OrderType;
use crate::trading::state::Word;
use crate::trading::venue::{Facts, OrderReport, PrivateSession, Step};

/// The document's message of the user channel, with changes.
pub(super) fn user_row(change: &Value) -> Value {
    let row = json!({
        "order_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890", "client_order_id": "11111-000000-000001",
        "cumulative_quantity": "0", "leaves_quantity": "0.001", "avg_price": "0", "total_fees": "0",
        "status": "OPEN", "product_id": "BTC-USD", "creation_time": "2026-04-07T14:29:55.123456Z",
        "order_side": "BUY", "order_type": "Limit", "cancel_reason": "", "reject_reason": "",
        "total_value_after_fees": "68.90050000",
        "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE", "product_type": "SPOT",
        "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE", "time_in_force": "GOOD_UNTIL_CANCELLED",
        "trigger_status": "INVALID_ORDER_TYPE",
    });
    with(row, change)
}

fn user_frame(number: u64, kind: &str, rows: &Value) -> String {
    json!({
        "channel": "user", "timestamp": "2026-04-07T14:30:06Z", "sequence_num": number,
        "events": [{ "type": kind, "orders": rows }],
    })
    .to_string()
}

fn heard(session: &mut dyn PrivateSession, frame: &str) -> Result<(Step, Facts), DecodeError> {
    let mut facts = Facts::default();
    let step = session.frame(frame.as_bytes(), &two_products(), &keys(), NOW, &mut facts)?;
    Ok((step, facts))
}

fn pushed(change: &Value) -> OrderReport {
    let frame = user_frame(0, "update", &json!([user_row(change)]));
    let (step, mut facts) = heard(&mut *venue().private_session(0), &frame).unwrap();
    assert_eq!((step, facts.orders.len()), (Step::Wait, 1));
    assert!(facts.fills.is_empty() && facts.balances_are_stale);
    facts.orders.remove(0)
}

#[test]
fn the_user_channel_tells_sums() {
    let report = pushed(&json!({}));
    assert_eq!(report.client_id.as_deref(), Some("11111-000000-000001"));
    let news = &report.news;
    assert_eq!((news.word, news.filled), (Word::Works, Some(dec("0"))));
    assert_eq!(
        (news.quantity, news.price, news.average_price),
        (Some(dec("0.001")), None, None)
    );
    assert_eq!(
        news.exchange_order_id.as_deref(),
        Some("a1b2c3d4-e5f6-7890-abcd-ef1234567890")
    );
    assert_eq!(news.at, ts("2026-04-07T14:30:06Z"));
    assert_eq!(report.terms.order_type, Some(OrderType::Limit));
    assert_eq!(report.terms.side, Some(Side::Buy));
    assert_eq!(
        report.terms.created_at,
        Some(ts("2026-04-07T14:29:55.123456Z"))
    );
    let news = pushed(&json!({
        "cumulative_quantity": "0.0004", "leaves_quantity": "0.0006", "avg_price": "68900.5",
        "limit_price": "68901.00", "order_type": "Stop Limit",
    }))
    .news;
    assert_eq!(
        (news.word, news.filled),
        (Word::WorksInPart, Some(dec("0.0004")))
    );
    assert_eq!(
        (news.quantity, news.average_price),
        (Some(dec("0.001")), Some(dec("68900.5")))
    );
    assert_eq!(news.price, Some(dec("68901")));
    // Nothing is left of an order that is over: that is not its quantity.
    for (status, word) in [
        ("FILLED", Word::Done),
        ("CANCELLED", Word::Canceled),
        ("EXPIRED", Word::Expired),
        ("FAILED", Word::Refused),
        ("CANCEL_QUEUED", Word::WorksInPart),
    ] {
        let news = pushed(&json!({
            "status": status, "cumulative_quantity": "0.0004", "leaves_quantity": "0",
        }))
        .news;
        assert_eq!((news.word, news.quantity), (word, None));
    }
    let news =
        pushed(&json!({ "status": "CANCELLED", "time_in_force": "IMMEDIATE_OR_CANCEL" })).news;
    assert_eq!(news.word, Word::Expired);
    let news = pushed(&json!({ "status": "FAILED", "reject_reason": "Insufficient funds" })).news;
    assert_eq!(news.reason.as_deref(), Some("Insufficient funds"));
}

#[test]
fn a_snapshot_is_not_news_of_balances() {
    let frame = user_frame(7, "snapshot", &json!([user_row(&json!({}))]));
    let (_, facts) = heard(&mut *venue().private_session(0), &frame).unwrap();
    assert_eq!((facts.orders.len(), facts.balances_are_stale), (1, false));
}

#[test]
fn connections_subscribe_with_a_token_each() {
    let route = venue().private_routes()[0];
    assert_eq!(route.host, "advanced-trade-ws-user.coinbase.com");
    let mut session = venue().private_session(0);
    assert_eq!(session.path(), "/");
    let frames = session.opened(&keys(), NOW);
    let frames: Vec<Value> = frames
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect();
    assert_eq!(frames.len(), 2);
    for (frame, channel) in frames.iter().zip(["heartbeats", "user"]) {
        assert_eq!(
            (&frame["type"], &frame["channel"]),
            (&json!("subscribe"), &json!(channel))
        );
        assert_eq!(frame["jwt"].as_str().unwrap().split('.').count(), 3);
    }
    assert_ne!(frames[0]["jwt"], frames[1]["jwt"]);
    let subscribed = |number: u64, channels: Value| {
        json!({ "channel": "subscriptions", "timestamp": "2026-08-24T22:34:13.813379359Z",
            "sequence_num": number, "events": [{ "subscriptions": channels }] })
        .to_string()
    };
    let mut step = |frame: &str| heard(&mut *session, frame).unwrap();
    assert_eq!(
        step(&subscribed(0, json!({ "heartbeats": ["heartbeats"] }))).0,
        Step::Wait
    );
    let both = json!({ "heartbeats": ["heartbeats"], "user": ["u"] });
    assert_eq!(step(&subscribed(1, both.clone())).0, Step::Ready);
    assert_eq!(step(&subscribed(2, both)).0, Step::Wait, "ready once");
    let beat = json!({ "channel": "heartbeats", "timestamp": "", "sequence_num": 3,
        "events": [{ "current_time": "now", "heartbeat_counter": 42 }] });
    assert_eq!(step(&beat.to_string()).0, Step::Wait);
    // Again: nothing is told twice.
    let update = |number| user_frame(number, "update", &json!([user_row(&json!({}))]));
    assert!(step(&update(3)).1.is_empty());
    assert_eq!(step(&update(4)).1.orders.len(), 1);
    // One is missing, whatever was in it.
    let (lost, facts) = step(&update(6));
    assert_eq!(lost, Step::Reconnect("1 frames were lost".to_owned()));
    assert!(facts.is_empty());
}

#[test]
fn connections_that_are_refused_or_end() {
    let step = |message: &str| {
        let frame = json!({ "type": "error", "message": message }).to_string();
        heard(&mut *venue().private_session(0), &frame).unwrap().0
    };
    let Step::Refused(error) = step("authentication failure") else {
        panic!()
    };
    assert_eq!(error.code, C::Unauthorized);
    assert_eq!(error.details["exchange_message"], "authentication failure");
    assert!(matches!(step("something else"), Step::Reconnect(why) if why.contains("else")));
}

#[test]
fn a_frame_that_can_t_be_read_tells_nothing() {
    let rows = json!([
        user_row(&json!({})),
        user_row(&json!({ "cumulative_quantity": "much" }))
    ]);
    let mut session = venue().private_session(0);
    let mut facts = Facts::default();
    let frame = user_frame(0, "update", &rows);
    let step = session.frame(frame.as_bytes(), &two_products(), &keys(), NOW, &mut facts);
    assert!(matches!(
        step,
        Err(DecodeError::Number {
            field: "cumulative_quantity",
            ..
        })
    ));
    assert!(facts.is_empty());
    // It was counted all the same.
    let frame = user_frame(1, "update", &json!([user_row(&json!({}))]));
    assert_eq!(heard(&mut *session, &frame).unwrap().1.orders.len(), 1);
}
