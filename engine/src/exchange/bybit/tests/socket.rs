//! Orders over the trade connection: frames, the login, and what answers prove.

use serde_json::{Value, json};

use crate::error::CryptoCode as C;
use crate::exchange::ProviderId;
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::order::OrderType;
use crate::trading::socket::{Heard, OrderAnswer};
use crate::trading::state::Word;
use crate::trading::venue::tests::{NOW, decimal, hmac, order_ref, read_damaged, terms};
use crate::trading::venue::{Command, Proof, Touch, TradingVenue as _};

use super::super::Bybit;
use super::{perp, spot};

fn frame(command: &Command<'_>) -> Option<Value> {
    let requests = Bybit.command(command).unwrap();
    let keys = hmac("k", "s");
    let frame = Bybit
        .order_frame(command, &requests[0], 5, &keys, NOW, 8000)
        .unwrap()?;
    assert_eq!(frame.route, 0);
    Some(serde_json::from_str(&frame.text).unwrap())
}

#[test]
fn the_argument_is_the_body_of_the_request() {
    for row in [spot(), perp()] {
        let terms = terms(&row);
        let placing = Command::Place {
            instrument: &row,
            terms: &terms,
            client_id: "bw1",
            touch: Touch::default(),
            is_hedged: false,
        };
        let cancel = Command::Cancel {
            instrument: &row,
            order: order_ref("bw1", OrderType::Limit),
        };
        let amend = Command::Amend {
            instrument: &row,
            order: order_ref("bw1", OrderType::Limit),
            terms: &terms,
            quantity: decimal("0.25"),
            price: None,
        };
        for (command, op) in [
            (&placing, "order.create"),
            (&cancel, "order.cancel"),
            (&amend, "order.amend"),
        ] {
            let body = &Bybit.command(command).unwrap()[0].body;
            let body: Value = serde_json::from_str(body).unwrap();
            let time = NOW.as_ms().to_string();
            assert_eq!(
                frame(command).unwrap(),
                json!({"reqId": "5", "op": op, "args": [body],
                    "header": {"X-BAPI-TIMESTAMP": time, "X-BAPI-RECV-WINDOW": "8000"}})
            );
        }
        assert_eq!(frame(&Command::CancelAll { instrument: &row }), None);
    }
}

#[test]
fn the_login_is_signed_as_that_of_the_private_connection() {
    let keys = hmac("test_api_key", "test_secret");
    let at = TsNanos::from_ms(1_700_000_000_000 - 10_000);
    let login = Bybit.order_session(0).unwrap().opened(&keys, at).unwrap();
    let signature = "bacffe7500499eb829bb58c45d36d1b3e5ac67c14eaeba91df5e99ccee013925";
    assert_eq!(
        serde_json::from_str::<Value>(&login[0]).unwrap(),
        json!({"op": "auth", "args": ["test_api_key", 1_700_000_000_000_i64, signature]})
    );
    let seed = "XzUkNdGvqizCZ7uwxz2fN/bjNBMsRBjilox5ejvNFP0=";
    let other = Keys::new(KeyKind::Ed25519, "k", seed, None).ok().unwrap();
    let refused = Bybit.order_session(0).unwrap().opened(&other, at);
    assert_eq!(refused.unwrap_err().code, C::Unauthorized);
}

fn heard(text: &str) -> Heard {
    let mut session = Bybit.order_session(0).unwrap();
    session.frame(text.as_bytes()).unwrap()
}

fn answer(text: &str) -> OrderAnswer {
    match heard(text) {
        Heard::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

const PLACED: &str = r#"{"reqId":"5","retCode":0,"retMsg":"OK","op":"order.create","data":{"orderId":"a4c1718e-fe53-4659-a118-1f6ecce04ad9","orderLinkId":"bw1"},"retExtInfo":{},"header":{"X-Bapi-Limit":"10","X-Bapi-Limit-Status":"9","X-Bapi-Limit-Reset-Timestamp":"1711001595208","Traceid":"38b7","Timenow":"1711001595209"},"connId":"cnt5leec0hvan15eukcg-2v"}"#;

#[test]
fn answers_are_those_over_http() {
    let row = spot();
    let terms = terms(&row);
    let command = Command::Place {
        instrument: &row,
        terms: &terms,
        client_id: "bw1",
        touch: Touch::default(),
        is_hedged: false,
    };
    let placed = answer(PLACED);
    assert_eq!((placed.id, placed.status, placed.is_last), (5, 200, false));
    let request = &Bybit.command(&command).unwrap()[0];
    assert_eq!(Bybit.failure(request, 200, None, &placed.body), None);
    let facts = Bybit.parse_command(&command, 0, &placed.body, NOW).unwrap();
    let news = &facts.orders[0].news;
    assert_eq!(news.word, Word::Works);
    let id = news.exchange_order_id.as_deref();
    assert_eq!(id, Some("a4c1718e-fe53-4659-a118-1f6ecce04ad9"));
    for (code, text, shown, proof, is_last) in [
        (
            170_131,
            "Insufficient balance.",
            C::InsufficientBalance,
            Proof::Refused,
            false,
        ),
        (
            10_002,
            "invalid request, please check your server timestamp",
            C::Unauthorized,
            Proof::ClockSkew,
            false,
        ),
        (
            170_213,
            "Order does not exist.",
            C::OrderNotFound,
            Proof::NoSuchOrder,
            false,
        ),
        (
            10_016,
            "Server error.",
            C::OrderStateUnknown,
            Proof::Nothing,
            false,
        ),
        (
            10_429,
            "System level frequency protection",
            C::OrderStateUnknown,
            Proof::Nothing,
            false,
        ),
        (
            10_403,
            "Exceeded IP rate limit",
            C::OrderStateUnknown,
            Proof::Nothing,
            false,
        ),
        (
            20_006,
            "reqId is duplicated",
            C::OrderStateUnknown,
            Proof::Nothing,
            false,
        ),
        (
            10_404,
            "op type is not found.",
            C::OrderRejected,
            Proof::Refused,
            false,
        ),
        (
            10_019,
            "ws trade service is restarting",
            C::OrderStateUnknown,
            Proof::Nothing,
            true,
        ),
        (
            10_003,
            "not \"authorized\"",
            C::Unauthorized,
            Proof::Refused,
            true,
        ),
    ] {
        let told = json!({"reqId": "5", "retCode": code, "retMsg": text, "op": "order.create",
            "data": {}, "retExtInfo": {}, "connId": "c"});
        let answer = answer(&told.to_string());
        assert_eq!(answer.is_last, is_last, "{code}");
        let failure = Bybit
            .failure(request, answer.status, None, &answer.body)
            .unwrap();
        assert_eq!(
            (failure.error.code, failure.proof),
            (shown, proof),
            "{code}"
        );
        assert_eq!(failure.error.details["exchange_message"], text);
    }
}

#[test]
fn logins_pongs_and_ends_are_told_apart() {
    let auth = r#"{"retCode":0,"retMsg":"OK","op":"auth","connId":"cnt5leec0hvan15eukcg-2t"}"#;
    assert_eq!(heard(auth), Heard::Ready);
    let pong = r#"{"retCode":0,"retMsg":"OK","op":"pong","data":["1711002002529"],"connId":"c"}"#;
    assert_eq!(heard(pong), Heard::Nothing);
    let wrong = r#"{"retCode":10003,"retMsg":"Invalid apikey","op":"auth","connId":"c"}"#;
    assert!(matches!(heard(wrong), Heard::Refused(error) if error.code == C::Unauthorized));
    let late = r#"{"retCode":10002,"retMsg":"expired","op":"auth","connId":"c"}"#;
    assert!(matches!(heard(late), Heard::Leave(_)));
    let restart = r#"{"reqId":"","retCode":10019,"retMsg":"ws trade service is restarting","op":"","data":{}}"#;
    assert!(matches!(heard(restart), Heard::Leave(_)));
    let mut session = Bybit.order_session(0).unwrap();
    for text in [
        "",
        "{}",
        r#"{"reqId":"5","op":"order.create"}"#,
        r#"{"reqId":"","retCode":0,"op":"order.create"}"#,
    ] {
        assert!(session.frame(text.as_bytes()).is_err(), "{text}");
    }
    read_damaged(ProviderId::BYBIT, &[PLACED, auth, wrong, restart]);
}
