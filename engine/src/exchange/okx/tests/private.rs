//! Private connections: login, subscriptions, and how they end.

use serde_json::json;

use super::super::Okx;
use super::reports::order_row;
use super::trading::{NOW, both, keys, venue};
use crate::error::CryptoCode as C;
use crate::exchange::{DecodeError, Exchange};
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::venue::{Facts, PrivateSession, Step};

fn steps(session: &mut dyn PrivateSession, frame: &str) -> Step {
    let mut facts = Facts::default();
    let step = session.frame(frame.as_bytes(), &both(), &keys(), NOW, &mut facts);
    assert!(facts.is_empty());
    step.unwrap()
}

#[test]
fn connections_log_in_and_subscribe() {
    let routes = venue().private_routes();
    assert_eq!(routes.len(), 2);
    for (route, path, channels) in [
        (
            0,
            "/ws/v5/private",
            r#"{"id":"1","op":"subscribe","args":[{"channel":"orders","instType":"ANY"},{"channel":"account"},{"channel":"positions","instType":"ANY"}]}"#,
        ),
        (
            1,
            "/ws/v5/business",
            r#"{"id":"1","op":"subscribe","args":[{"channel":"orders-algo","instType":"ANY"}]}"#,
        ),
    ] {
        assert_eq!(routes[route].host, "ws.okx.com:8443");
        let mut session = venue().private_session(route);
        assert_eq!(session.path(), path);
        let opened = session.opened(&keys(), TsNanos::from_ms(1_704_876_947_000));
        assert_eq!(
            opened,
            [super::super::sign::login(&keys(), TsNanos::from_ms(1_704_876_947_000)).unwrap()]
        );
        let login = r#"{"event":"login","code":"0","msg":"","connId":"a4d3ae55"}"#;
        assert_eq!(
            steps(&mut *session, login),
            Step::Send(vec![channels.to_owned()])
        );
        assert_eq!(steps(&mut *session, "pong"), Step::Wait);
        let names: &[&str] = match route {
            0 => &["orders", "account", "positions"],
            _ => &["orders-algo"],
        };
        for (index, name) in names.iter().enumerate() {
            let ack = json!({ "event": "subscribe", "arg": { "channel": name, "instType": "ANY" }, "connId": "a" });
            let step = steps(&mut *session, &ack.to_string());
            let is_last = index + 1 == names.len();
            assert_eq!(step == Step::Ready, is_last, "{name}");
            let count = json!({ "event": "channel-conn-count", "channel": name, "connCount": "2", "connId": "a" });
            assert_eq!(steps(&mut *session, &count.to_string()), Step::Wait);
        }
        let again = json!({ "event": "subscribe", "arg": { "channel": names[0] } }).to_string();
        assert_eq!(steps(&mut *session, &again), Step::Wait, "ready once");
        let keepalive = session.keepalive().unwrap();
        assert_eq!((keepalive.every_secs, keepalive.text), (25, "ping"));
    }
    assert!(
        Okx.routes(Market::Spot)
            .iter()
            .any(|route| route.host == routes[0].host)
    );
}

#[test]
fn connections_that_are_refused_or_end() {
    let step = |frame: &str| steps(&mut *venue().private_session(0), frame);
    for code in ["60005", "60007", "60009", "60024", "60032"] {
        let frame =
            json!({ "event": "error", "msg": "Login failed.", "code": code, "connId": "a" });
        let Step::Refused(error) = step(&frame.to_string()) else {
            panic!("{code}")
        };
        assert_eq!(error.code, C::Unauthorized);
        assert_eq!(error.details["exchange_message"], "Login failed.");
    }
    // The clocks differ, it is too busy, or nobody knows: the next one may do.
    for code in ["60006", "60014", "63999", ""] {
        let frame = json!({ "event": "error", "msg": "m", "code": code }).to_string();
        assert!(matches!(step(&frame), Step::Reconnect(_)), "{code}");
    }
    let notice = r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#;
    assert!(matches!(step(notice), Step::Reconnect(why) if why.contains("64008")));
    let count =
        r#"{"event":"channel-conn-count-error","channel":"orders","connCount":"30","connId":"a"}"#;
    assert!(matches!(step(count), Step::Refused(_)));
}

#[test]
fn a_frame_that_can_t_be_read_tells_nothing() {
    let mut session = venue().private_session(0);
    let mut facts = Facts::default();
    let rows = json!([
        order_row(&json!({})),
        order_row(&json!({ "accFillSz": "much" }))
    ]);
    let frame = json!({ "arg": { "channel": "orders" }, "data": rows }).to_string();
    let step = session.frame(frame.as_bytes(), &both(), &keys(), NOW, &mut facts);
    assert!(matches!(
        step,
        Err(DecodeError::Number {
            field: "accFillSz",
            ..
        })
    ));
    assert!(facts.is_empty());
}
