//! Orders over the private connection: frames, the login, and what answers prove.

use serde_json::{Value, json};

use super::instrument;
use super::trading::{ID, NOW, dec, keys, order, place, terms, venue};
use crate::error::CryptoCode as C;
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, Market};
use crate::trading::order::OrderType;
use crate::trading::socket::{Heard, OrderAnswer, OrderSession};
use crate::trading::state::Word;
use crate::trading::venue::tests::read_damaged;
use crate::trading::venue::{Command, NativeRequest, OrderRef, Proof, Touch};

fn coded(market: Market) -> Instrument {
    let mut row = (*instrument(market)).clone();
    row.spec.native_code = Some(10_459);
    row
}

fn frame(command: &Command<'_>, request: &NativeRequest) -> Option<Value> {
    let frame = venue()
        .order_frame(command, request, 1512, &keys(), NOW, 5000)
        .unwrap()?;
    assert_eq!(frame.route, 0);
    Some(serde_json::from_str(&frame.text).unwrap())
}

#[test]
fn instruments_are_named_by_number() {
    let row = coded(Market::Perp);
    let limit = terms(&row, OrderType::Limit, "0.03");
    let of = |order_ref: OrderRef<'static>| Command::Cancel {
        instrument: &row,
        order: order_ref,
    };
    let placing = Command::Place {
        instrument: &row,
        terms: &limit,
        client_id: ID,
        touch: Touch::default(),
        is_hedged: false,
    };
    let request = &place(&row, &limit, false).unwrap()[0];
    assert_eq!(
        frame(&placing, request).unwrap(),
        json!({"id": "1512", "op": "order", "expTime": "1760000005000", "args": [{
            "instIdCode": 10459, "tdMode": "cross", "side": "buy", "ordType": "limit",
            "px": "45000", "sz": "3", "clOrdId": ID,
        }]})
    );
    let known = OrderRef {
        exchange_id: Some("599823446566084608"),
        ..order(OrderType::Limit)
    };
    let cancel = of(known);
    let request = &venue().command(&cancel).unwrap()[0];
    assert_eq!(
        frame(&cancel, request).unwrap(),
        json!({"id": "1512", "op": "cancel-order",
            "args": [{"instIdCode": 10459, "ordId": "599823446566084608"}]})
    );
    let amend = Command::Amend {
        instrument: &row,
        order: order(OrderType::Limit),
        terms: &limit,
        quantity: dec("0.02"),
        price: None,
    };
    let request = &venue().command(&amend).unwrap()[0];
    assert_eq!(
        frame(&amend, request).unwrap(),
        json!({"id": "1512", "op": "amend-order", "expTime": "1760000005000",
            "args": [{"instIdCode": 10459, "clOrdId": ID, "newSz": "2"}]})
    );
    // Stops are taken over HTTP alone, and instruments whose number is not known.
    let stop = of(order(OrderType::StopMarket));
    let request = &venue().command(&stop).unwrap()[0];
    assert_eq!(frame(&stop, request), None);
    let row = instrument(Market::Perp);
    let unknown = Command::Cancel {
        instrument: &row,
        order: known,
    };
    let request = &venue().command(&unknown).unwrap()[0];
    assert_eq!(frame(&unknown, request), None);
}

fn logged_in() -> Box<dyn OrderSession> {
    let mut session = venue().order_session(0).unwrap();
    let login = session.opened(&keys(), NOW).unwrap();
    let login: Value = serde_json::from_str(&login[0]).unwrap();
    assert_eq!(login["op"], "login");
    assert_eq!(login["args"][0]["passphrase"], "the phrase");
    let told = session.frame(br#"{"event":"login","msg":"","code":"0","connId":"a4d3ae55"}"#);
    assert_eq!(told, Ok(Heard::Ready));
    session
}

fn answer(text: &str) -> OrderAnswer {
    match logged_in().frame(text.as_bytes()) {
        Ok(Heard::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

const PLACED: &str = r#"{"id":"1512","op":"order","code":"0","msg":"","data":[{"tag":"","ts":"1753714603721","ordId":"599823446566084608","clOrdId":"bw01k9c3h8m2000000000000000a","sCode":"0","sMsg":"Order successfully placed."}],"inTime":"1753714603720755","outTime":"1753714603721942"}"#;

#[test]
fn answers_are_those_over_http() {
    let row = coded(Market::Perp);
    let limit = terms(&row, OrderType::Limit, "0.03");
    let command = Command::Place {
        instrument: &row,
        terms: &limit,
        client_id: ID,
        touch: Touch::default(),
        is_hedged: false,
    };
    let placed = answer(PLACED);
    assert_eq!((placed.id, placed.status), (1512, 200));
    let request = &venue().command(&command).unwrap()[0];
    assert_eq!(venue().failure(request, 200, None, &placed.body), None);
    let facts = venue()
        .parse_command(&command, 0, &placed.body, NOW)
        .unwrap();
    let news = &facts.orders[0].news;
    assert_eq!(news.word, Word::Works);
    assert_eq!(
        news.exchange_order_id.as_deref(),
        Some("599823446566084608")
    );
    for (text, code, proof) in [
        (
            r#"{"id":"1512","op":"order","code":"1","msg":"","data":[{"ordId":"","clOrdId":"","sCode":"51008","sMsg":"Insufficient balance"}]}"#,
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            r#"{"id":"1512","op":"order","code":"60013","msg":"Invalid args","data":[]}"#,
            C::InvalidParameter,
            Proof::Refused,
        ),
        (
            r#"{"id":"1512","op":"cancel-order","code":"1","msg":"","data":[{"ordId":"1","clOrdId":"","sCode":"51400","sMsg":"Cancellation failed"}]}"#,
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        // Over HTTP this one has the status 503, after which nobody knows.
        (
            r#"{"id":"1512","op":"order","code":"50001","msg":"Service temporarily unavailable","data":[]}"#,
            C::ExchangeMaintenance,
            Proof::Nothing,
        ),
        (
            r#"{"id":"1512","op":"order","code":"50004","msg":"Endpoint request timeout","data":[]}"#,
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            r#"{"event":"error","id":"1512","msg":"Requests too frequent","code":"60014","connId":"a"}"#,
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            r#"{"event":"error","msg":"Illegal request: {\"id\":\"1512\",\"op\":\"order\"}","code":"60012","connId":"a"}"#,
            C::InvalidParameter,
            Proof::Refused,
        ),
    ] {
        let answer = answer(text);
        assert_eq!((answer.id, answer.is_last), (1512, false));
        let failure = venue().failure(request, answer.status, None, &answer.body);
        let failure = failure.unwrap();
        assert_eq!((failure.error.code, failure.proof), (code, proof), "{text}");
    }
    let out = answer(r#"{"event":"error","id":"3","msg":"Please log in","code":"60011"}"#);
    assert!(out.is_last);
}

#[test]
fn refused_logins_and_ends_are_told_apart() {
    let heard = |text: &str, is_logged_in: bool| match is_logged_in {
        true => logged_in().frame(text.as_bytes()).unwrap(),
        false => {
            let mut session = venue().order_session(0).unwrap();
            session.frame(text.as_bytes()).unwrap()
        }
    };
    let wrong = r#"{"event":"error","msg":"Invalid OK-ACCESS-KEY","code":"60005","connId":"a"}"#;
    assert!(matches!(heard(wrong, false), Heard::Refused(error) if error.code == C::Unauthorized));
    let late = r#"{"event":"error","msg":"Invalid timestamp","code":"60006","connId":"a"}"#;
    assert!(matches!(heard(late, false), Heard::Leave(_)));
    let notice = r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a"}"#;
    assert!(matches!(heard(notice, true), Heard::Leave(_)));
    // Of which request it is, is not told.
    let stray =
        r#"{"event":"error","msg":"Illegal request: {\"op\":","code":"60012","connId":"a"}"#;
    assert!(matches!(heard(stray, true), Heard::Leave(_)));
    assert_eq!(heard("pong", true), Heard::Nothing);
    for text in ["", "{}", r#"{"op":"order","code":"0","data":[]}"#] {
        assert!(logged_in().frame(text.as_bytes()).is_err(), "{text}");
    }
    read_damaged(ProviderId::OKX, &[PLACED, wrong, notice, stray]);
}
