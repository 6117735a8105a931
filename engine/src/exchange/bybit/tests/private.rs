//! An account's events, as documented, and what a session asks for.

use serde_json::Value;

use crate::error::CryptoCode as C;
use crate::exchange::ProviderId;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::OrderType;
use crate::trading::state::Word;
use crate::trading::venue::tests::{NOW, decimal, hmac, read_damaged};
use crate::trading::venue::{Facts, PrivateSession, Step, TradingVenue as _};

use super::super::Bybit;

const ORDER: &str = r#"{"id":"5923240c6880ab-c59f-420b-9adb-3639adc9dd90","topic":"order","creationTime":1672364262474,"data":[{"category":"linear","symbol":"BTCUSDT","orderId":"5cf98598-39a7-459e-97bf-76ca765ee020","side":"Buy",
 "orderType":"Limit","cancelType":"UNKNOWN","price":"30000.50","qty":"0.100","timeInForce":"GTC","orderStatus":"Filled","orderLinkId":"test-client-order-001","reduceOnly":false,"leavesQty":"0","leavesValue":"0",
 "cumExecQty":"0.100","cumExecValue":"3000.05","avgPrice":"30000.50","positionIdx":0,"cumExecFee":"1.650028","createdTime":"1672364262444","updatedTime":"1672364262457","rejectReason":"EC_NoError","stopOrderType":"",
 "triggerPrice":"","triggerDirection":0,"triggerBy":"","closeOnTrigger":false,"placeType":"","smpType":"None","feeCurrency":"USDT","cumFeeDetail":{"USDT":"1.650028"},"createType":"CreateByUser"}]}"#;
const EXECUTION: &str = r#"{"topic":"execution","id":"386825804_BTCUSDT_140612148849382","creationTime":1746270400355,"data":[{"category":"linear","symbol":"BTCUSDT","closedSize":"0.5","execFee":"26.3725275",
 "execId":"0ab1bdf7-4219-438b-b30a-32ec863018f7","execPrice":"95900.1","execQty":"0.5","execType":"Trade","execValue":"47950.05","feeRate":"0.00055","markPrice":"95901.48","leavesQty":"0",
 "orderId":"9aac161b-8ed6-450d-9cab-c5cc67c21784","orderLinkId":"","orderPrice":"94942.5","orderQty":"0.5","orderType":"Market","stopOrderType":"UNKNOWN","side":"Sell","execTime":"1746270400353","isMaker":false,
 "seq":140612148849382,"execPnl":"0.05","createType":"CreateByUser","feeCurrency":"USDT"}]}"#;
const POSITION: &str = r#"{"id":"1003076014fb7eedb-c7e6-45d6-a8c1-270f0169171a","topic":"position","creationTime":1762199126022,"data":[{"category":"linear","positionIdx":0,"symbol":"ETHUSDT","side":"Sell","size":"0.01","entryPrice":"3641.075",
 "leverage":"30","positionValue":"36.42075","markPrice":"3641.33","positionIM":"1.23480936","positionMM":"0.20281586","unrealisedPnl":"-0.00255","curRealisedPnl":"0.0094814","cumRealisedPnl":"-25.06579337",
 "liqPrice":"51764.83003276","positionStatus":"Normal","adlRankIndicator":2,"createdTime":"1730805600084","updatedTime":"1762199125472","seq":325852190774,"isReduceOnly":false}]}"#;
const WALLET: &str = r#"{"id":"592324d2bce751-ad38-48eb-8f42-4671d1fb4d4e","topic":"wallet","creationTime":1700034722104,"data":[{"accountType":"UNIFIED","totalEquity":"10262.91335023","totalWalletBalance":"9684.46297164",
 "totalAvailableBalance":"9556.6056555","coin":[{"coin":"USDT","equity":"10226.20575506","walletBalance":"9647.75537647","availableToWithdraw":"9519.89806037","locked":"0","totalOrderIM":"0","totalPositionIM":"127.8573161","spotBorrow":"0"}]}]}"#;

fn hear(session: &mut dyn PrivateSession, frame: &str) -> (Step, Facts) {
    let mut facts = Facts::default();
    let keys = hmac("k", "s");
    let table = InstrumentTable::default();
    let step = session
        .frame(frame.as_bytes(), &table, &keys, NOW, &mut facts)
        .unwrap();
    (step, facts)
}

#[test]
fn a_connection_logs_in_and_subscribes() {
    let [route] = Bybit.private_routes() else {
        panic!()
    };
    assert_eq!(route.host, "stream.bybit.com");
    assert_eq!(route.markets, [Market::Spot, Market::Perp]);
    let mut session = Bybit.private_session(0);
    assert_eq!(session.path(), "/v5/private");
    let keys = hmac("test_api_key", "test_secret");
    // Ten seconds before the time of the vector.
    let frames = session.opened(&keys, TsNanos::from_ms(1_699_999_990_000));
    let [frame] = &frames[..] else { panic!() };
    let frame: Value = serde_json::from_str(frame).unwrap();
    assert_eq!(
        frame,
        serde_json::json!({"op": "auth", "args": [
            "test_api_key",
            1_700_000_000_000_u64,
            "bacffe7500499eb829bb58c45d36d1b3e5ac67c14eaeba91df5e99ccee013925",
        ]})
    );
    let subscribe = r#"{"op":"subscribe","args":["order","execution","position","wallet"]}"#;
    for accepted in [
        r#"{"success":true,"ret_msg":"","op":"auth","conn_id":"cejreaspqfh3sjdnldmg-p"}"#,
        r#"{"retCode":0,"retMsg":"OK","op":"auth","connId":"cnt5leec0hvan15eukcg-2t"}"#,
    ] {
        let step = hear(&mut *session, accepted).0;
        assert_eq!(step, Step::Send(vec![subscribe.to_owned()]));
    }
    let done =
        r#"{"success":true,"ret_msg":"","op":"subscribe","conn_id":"cejreaspqfh3sjdnldmg-p"}"#;
    assert_eq!(hear(&mut *session, done).0, Step::Ready);
    let keepalive = session.keepalive().unwrap();
    assert_eq!(
        (keepalive.every_secs, keepalive.text),
        (20, r#"{"op":"ping"}"#)
    );
    let pong = r#"{"req_id":"test","op":"pong","args":["1675418560633"],"conn_id":"cfcb4ocsvfriu23r3er0-1b"}"#;
    assert_eq!(hear(&mut *session, pong).0, Step::Wait);
}

#[test]
fn a_refused_login_says_why() {
    let mut session = Bybit.private_session(0);
    for refused in [
        r#"{"op":"auth","success":false,"retCode":10003,"retMsg":"Invalid apikey","connId":"c"}"#,
        r#"{"success":false,"ret_msg":"error:Invalid sign","op":"auth","conn_id":"c"}"#,
        r#"{"op":"auth","retCode":10004,"retMsg":"Error sign","connId":"c"}"#,
    ] {
        let (Step::Refused(error), _) = hear(&mut *session, refused) else {
            panic!("{refused}")
        };
        assert_eq!(error.code, C::Unauthorized, "{refused}");
    }
    for passing in [
        r#"{"op":"auth","retCode":10002,"retMsg":"request expired","connId":"c"}"#,
        r#"{"op":"auth","retCode":10016,"retMsg":"Server error","connId":"c"}"#,
        r#"{"success":false,"ret_msg":"Params Error: expired","op":"auth","conn_id":"c"}"#,
        r#"{"success":false,"ret_msg":"Invalid topic","op":"subscribe","conn_id":"c"}"#,
    ] {
        let step = hear(&mut *session, passing).0;
        assert!(matches!(step, Step::Reconnect(_)), "{passing} {step:?}");
    }
}

#[test]
fn orders_and_executions_are_heard() {
    let mut session = Bybit.private_session(0);
    let (step, facts) = hear(&mut *session, ORDER);
    assert_eq!(step, Step::Wait);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.market, Market::Perp);
    assert_eq!(order.client_id.as_deref(), Some("test-client-order-001"));
    assert_eq!(order.news.word, Word::Done);
    assert_eq!(order.news.filled, Some(decimal("0.1")));
    assert_eq!(order.news.average_price, Some(decimal("30000.5")));
    assert_eq!(order.terms.order_type, Some(OrderType::Limit));
    let spot = ORDER.replace("linear", "spot");
    assert_eq!(hear(&mut *session, &spot).1.orders[0].market, Market::Spot);
    // Not of a market that is served.
    let option = ORDER.replace("linear", "option");
    assert!(hear(&mut *session, &option).1.is_empty());

    let (_, facts) = hear(&mut *session, EXECUTION);
    let [fill] = &facts.fills[..] else { panic!() };
    assert_eq!(
        (fill.fee, fill.fee_asset.as_deref()),
        (Some(decimal("26.3725275")), Some("USDT"))
    );
    assert_eq!(
        fill.exchange_id.as_deref(),
        Some("9aac161b-8ed6-450d-9cab-c5cc67c21784")
    );
    // Funding changes no order.
    let funding = EXECUTION.replace(r#""execType":"Trade""#, r#""execType":"Funding""#);
    assert!(hear(&mut *session, &funding).1.is_empty());
    // Two in one message.
    let row = &EXECUTION[EXECUTION.find(r#"{"category""#).unwrap()..EXECUTION.len() - 2];
    let two = EXECUTION.replace(
        row,
        &format!("{row},{}", row.replace("0ab1bdf7", "1ab1bdf7")),
    );
    assert_eq!(hear(&mut *session, &two).1.fills.len(), 2);
}

#[test]
fn positions_and_wallets_are_heard() {
    let mut session = Bybit.private_session(0);
    let (_, facts) = hear(&mut *session, POSITION);
    let [position] = &facts.positions[..] else {
        panic!()
    };
    assert_eq!(position.quantity, decimal("-0.01"));
    assert_eq!(position.entry_price, Some(decimal("3641.075")));
    assert_eq!(position.leverage, Some(decimal("30")));
    assert_eq!(position.at, Some(TsNanos::from_ms(1_762_199_125_472)));
    assert!(!facts.has_all_positions);
    let flat = POSITION.replace(r#""side":"Sell","size":"0.01""#, r#""side":"","size":"0""#);
    let (_, facts) = hear(&mut *session, &flat);
    assert!(facts.positions[0].quantity.is_zero());

    let (_, facts) = hear(&mut *session, WALLET);
    let [balance] = &facts.balances[..] else {
        panic!()
    };
    assert!(!facts.has_all_balances);
    assert_eq!(balance.total, decimal("9647.75537647"));
    assert_eq!(balance.free, decimal("9519.89806037"));
}

#[test]
fn what_is_no_event_is_refused() {
    let keys = hmac("k", "s");
    let table = InstrumentTable::default();
    let mut session = Bybit.private_session(0);
    // The second row of the last one can't be read: the first must not be told either.
    let half = ORDER.replace(
        r#""createType":"CreateByUser"}]"#,
        r#""createType":"CreateByUser"},{}]"#,
    );
    for frame in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"topic":"order"}"#,
        r#"{"topic":"order","data":{}}"#,
        &half,
    ] {
        let mut facts = Facts::default();
        let told = session.frame(frame.as_bytes(), &table, &keys, NOW, &mut facts);
        assert!(told.is_err() && facts.is_empty(), "{frame}");
    }
}

#[test]
fn damaged_events_do_not_panic() {
    read_damaged(ProviderId::BYBIT, &[ORDER, EXECUTION, POSITION, WALLET]);
}
