//! Orders over the WebSocket APIs: frames, signatures, and what answers prove.

use serde_json::{Value, json};

use crate::error::CryptoCode as C;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::order::OrderType;
use crate::trading::socket::{Heard, OrderAnswer};
use crate::trading::venue::tests::{NOW, decimal, hmac, order_ref, read_damaged, terms};
use crate::trading::venue::{
    Access, Command, Method, NativeRequest, OrderRef, Proof, Touch, TradingVenue as _,
};

use super::super::Binance;
use super::{perp, spot};
use crate::exchange::ProviderId;

const KEY: &str = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A";
const SECRET: &str = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j";

fn request(market: Market, method: Method, path: &str, query: &str) -> NativeRequest {
    NativeRequest {
        method,
        market,
        path: path.to_owned(),
        query: query.to_owned(),
        body: String::new(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    }
}

fn frame(
    request: &NativeRequest,
    keys: &Keys,
    at: TsNanos,
    window_ms: u32,
) -> Option<(usize, Value)> {
    let row = spot();
    let command = Command::CancelAll { instrument: &row };
    let frame = Binance
        .order_frame(&command, request, 7, keys, at, window_ms)
        .unwrap()?;
    Some((frame.route, serde_json::from_str(&frame.text).unwrap()))
}

/// The documentation's own examples.
#[test]
fn frames_are_signed_as_documented() {
    let keys = hmac(KEY, SECRET);
    let at = TsNanos::from_ms(1_645_423_376_532);
    for (query, window, symbol, signature) in [
        (
            "symbol=BTCUSDT&side=SELL&type=LIMIT&timeInForce=GTC&quantity=0.01000000&price=52000.00",
            100,
            "BTCUSDT",
            "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24",
        ),
        (
            "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT&\
             timeInForce=GTC&quantity=1.00000000&price=0.10000000",
            5000,
            "１２３４５６",
            "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd",
        ),
    ] {
        let request = request(Market::Spot, Method::Post, "/api/v3/order", query);
        let (route, frame) = frame(&request, &keys, at, window).unwrap();
        assert_eq!((route, &frame["id"]), (0, &json!("7")));
        assert_eq!(frame["method"], "order.place");
        let params = &frame["params"];
        assert_eq!(params["symbol"], symbol);
        assert_eq!(params["apiKey"], KEY);
        assert_eq!(params["timestamp"], 1_645_423_376_532_i64);
        assert_eq!(params["recvWindow"], window);
        assert_eq!(params["signature"], signature);
        assert!(params["price"].is_string() && params["quantity"].is_string());
    }
}

#[test]
fn each_command_has_its_method_or_goes_by_rest() {
    let keys = hmac("k", "s");
    let known = OrderRef {
        exchange_id: Some("12569099453"),
        ..order_ref("bw1", OrderType::Limit)
    };
    for (row, method, amend) in [
        (spot(), "order.place", "order.amend.keepPriority"),
        (perp(), "order.place", "order.modify"),
    ] {
        let terms = terms(&row);
        let method_of = |command: &Command<'_>| {
            let requests = Binance.command(command).unwrap();
            let frame = Binance
                .order_frame(command, &requests[0], 1, &keys, NOW, 5000)
                .unwrap()?;
            let text: Value = serde_json::from_str(&frame.text).unwrap();
            assert_eq!(
                Binance.order_routes()[frame.route].markets,
                [row.spec.market]
            );
            Some(text)
        };
        let placed = method_of(&Command::Place {
            instrument: &row,
            terms: &terms,
            client_id: "bw1",
            touch: Touch::default(),
            is_hedged: false,
        });
        let placed = placed.unwrap();
        assert_eq!(placed["method"], method);
        assert_eq!(placed["params"]["newClientOrderId"], "bw1");
        let canceled = method_of(&Command::Cancel {
            instrument: &row,
            order: known,
        })
        .unwrap();
        assert_eq!(canceled["method"], "order.cancel");
        assert_eq!(canceled["params"]["orderId"], 12_569_099_453_u64);
        let amended = method_of(&Command::Amend {
            instrument: &row,
            order: known,
            terms: &terms,
            quantity: decimal("0.25"),
            price: None,
        })
        .unwrap();
        assert_eq!(amended["method"], amend);
        // What stops everything goes the plain way.
        assert_eq!(method_of(&Command::CancelAll { instrument: &row }), None);
    }
    let row = perp();
    let stop = order_ref("bw1", OrderType::StopMarket);
    let command = Command::Cancel {
        instrument: &row,
        order: stop,
    };
    let requests = Binance.command(&command).unwrap();
    let (route, stop) = frame(&requests[0], &keys, NOW, 5000).unwrap();
    assert_eq!((route, &stop["method"]), (1, &json!("algoOrder.cancel")));
    assert_eq!(stop["params"]["clientAlgoId"], "bw1");
}

fn heard(route: usize, text: &str) -> Heard {
    let mut session = Binance.order_session(route).unwrap();
    session.frame(text.as_bytes()).unwrap()
}

fn answer(text: &str) -> OrderAnswer {
    match heard(0, text) {
        Heard::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

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
    let placed = answer(
        r#"{"id":"7","status":200,"result":{"symbol":"BTCUSDT","orderId":12569099453,"orderListId":-1,
            "clientOrderId":"bw1","transactTime":1660801715639},"rateLimits":[
            {"rateLimitType":"ORDERS","interval":"SECOND","intervalNum":10,"limit":50,"count":1},
            {"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000,"count":321}]}"#,
    );
    assert_eq!((placed.id, placed.status, placed.is_last), (7, 200, false));
    let used = ("x-mbx-used-weight-1m", "321".to_owned());
    assert_eq!(placed.headers, [used]);
    let facts = Binance
        .parse_command(&command, 0, &placed.body, NOW)
        .unwrap();
    let id = facts.orders[0].news.exchange_order_id.as_deref();
    assert_eq!(id, Some("12569099453"));

    let request = &Binance.command(&command).unwrap()[0];
    let failure = |text: &str| {
        let answer = answer(text);
        let retry_after = answer.retry_after.as_deref();
        Binance
            .failure(request, answer.status, retry_after, &answer.body)
            .unwrap()
    };
    for (text, code, proof) in [
        (
            r#"{"id":"7","status":400,"error":{"code":-2010,"msg":"Account has insufficient balance for requested action."},"rateLimits":[]}"#,
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            r#"{"id":7,"status":400,"error":{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}}"#,
            C::Unauthorized,
            Proof::ClockSkew,
        ),
        (
            r#"{"id":"7","status":400,"error":{"code":-2011,"msg":"Unknown order sent."}}"#,
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            r#"{"id":"7","status":504,"error":{"code":-1007,"msg":"Timeout waiting for response from backend server. Send status unknown; execution status unknown."}}"#,
            C::OrderStateUnknown,
            Proof::Nothing,
        ),
        (
            r#"{"id":"7","status":500,"error":{"code":-1000,"msg":"An unknown error occurred while processing the request."}}"#,
            C::OrderStateUnknown,
            Proof::Nothing,
        ),
        (
            r#"{"id":"7","status":401,"error":{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}}"#,
            C::Unauthorized,
            Proof::Refused,
        ),
    ] {
        let failure = failure(text);
        assert_eq!((failure.error.code, failure.proof), (code, proof), "{text}");
    }
    // A ban tells when it ends by the exchange's clock.
    let ban = failure(
        r#"{"id":"7","status":418,"error":{"code":-1003,"msg":"Way too many requests; IP banned until 1659146400000.",
            "data":{"serverTime":1659142907531,"retryAfter":1659146400000}}}"#,
    );
    assert_eq!(
        (ban.proof, ban.retry_after_secs),
        (Proof::NotNow, Some(3493))
    );
}

#[test]
fn what_answers_nothing_ends_the_line_or_is_an_error() {
    let revoked = r#"{"id":null,"status":401,"error":{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}}"#;
    assert!(matches!(heard(0, revoked), Heard::Refused(error) if error.code == C::Unauthorized));
    let illegal =
        r#"{"id":null,"status":400,"error":{"code":-1135,"msg":"JSON Request is not valid."}}"#;
    assert!(matches!(heard(1, illegal), Heard::Leave(_)));
    let shutdown = r#"{"event":{"e":"serverShutdown","E":1770123456789}}"#;
    assert!(matches!(heard(0, shutdown), Heard::Leave(_)));
    let mut session = Binance.order_session(0).unwrap();
    for text in [
        "",
        "[]",
        r#"{"id":"7"}"#,
        r#"{"id":"7","status":200}"#,
        r#"{"id":"7","status":400}"#,
    ] {
        assert!(session.frame(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Binance.order_session(2).is_none());
    read_damaged(ProviderId::BINANCE, &[revoked, illegal, shutdown]);
}
