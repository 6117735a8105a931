//! An account's events, as documented, and what a session asks for.

use serde_json::Value;

use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::tests::{NOW, decimal, hmac, line, read_damaged};
use crate::trading::venue::{Access, Facts, PrivateSession, Step, TradingVenue as _};

use super::super::Binance;

const NEW: &str = r#"{"subscriptionId":0,"event":{"e":"executionReport","E":1499405658658,"s":"ETHBTC","c":"mUvoqJxFIILMdfAW5iGSOW","S":"BUY","o":"LIMIT","f":"GTC","q":"1.00000000",
 "p":"0.10264410","P":"0.00000000","F":"0.00000000","g":-1,"C":"","x":"NEW","X":"NEW","r":"NONE","i":4293153,"l":"0.00000000","z":"0.00000000","L":"0.00000000",
 "n":"0","N":null,"T":1499405658657,"t":-1,"I":8641984,"w":true,"m":false,"M":false,"O":1499405658657,"Z":"0.00000000","Y":"0.00000000","Q":"0.00000000",
 "W":1499405658657,"V":"NONE"}}"#;
const POSITION: &str = r#"{"subscriptionId":0,"event":{"e":"outboundAccountPosition","E":1564034571105,"u":1564034571073,"B":[{"a":"ETH","f":"10000.000000","l":"0.500000"}]}}"#;
const DEPOSIT: &str = r#"{"subscriptionId":0,"event":{"e":"balanceUpdate","E":1573200697110,"a":"BTC","d":"100.00000000","T":1573200697068}}"#;
const PERP_FILL: &str = r#"{"e":"ORDER_TRADE_UPDATE","T":1568879465651,"E":1568879465651,"o":{"s":"BTCUSDT","c":"TEST","S":"BUY","o":"LIMIT","f":"GTC","q":"0.001","p":"7100.50","ap":"7100.50","sp":"0",
 "x":"TRADE","X":"PARTIALLY_FILLED","i":8886774,"l":"0.001","z":"0.001","L":"7100.50","N":"USDT","n":"0.01000000","T":1568879465651,"t":12345678,"b":"0","a":"0","m":true,
 "R":false,"wt":"CONTRACT_PRICE","ot":"LIMIT","ps":"LONG","cp":false,"AP":"0","cr":"0","pP":false,"si":0,"ss":0,"rp":"12.34","V":"EXPIRE_TAKER"}}"#;
const PERP_ACCOUNT: &str = r#"{"e":"ACCOUNT_UPDATE","T":1564745798939,"E":1564745798939,"a":{"m":"ORDER","B":[{"a":"USDT","wb":"122624.12345678","cw":"100.12345678","bc":"50.12345678"}],
 "P":[{"s":"BTCUSDT","pa":"-20","ep":"6563.6","bep":"6563.559","cr":"0","up":"2850.21200","mt":"isolated","iw":"13200.70726908","ps":"SHORT"}]}}"#;
const ALGO: &str = r#"{"e":"ALGO_UPDATE","T":1750515742297,"E":1750515742303,"o":{"caid":"Q5xaq5EGKgXXa0fD7fs0Ip","aid":2148719,"at":"CONDITIONAL","o":"TAKE_PROFIT","s":"BNBUSDT","S":"SELL","ps":"BOTH",
 "f":"GTC","q":"0.01","X":"NEW","ai":"","ap":"0.00000","aq":"0.00000","act":"0","tp":"750","p":"750","V":"EXPIRE_MAKER","wt":"CONTRACT_PRICE","pm":"NONE","cp":false,"pP":false,
 "R":false,"tt":0,"gtd":0,"rm":"Reduce Only reject"}}"#;
const LITE: &str = r#"{"e":"TRADE_LITE","E":1568879465651,"T":1568879465651,"s":"BTCUSDT","c":"TEST","S":"BUY","q":"0.001","p":"7100.50","i":8886774,"l":"0.001","L":"7100.50","t":12345678,"m":true}"#;

fn hear(session: &mut dyn PrivateSession, frame: &str) -> (Step, Facts) {
    let mut facts = Facts::default();
    let keys = hmac("k", "s");
    let table = InstrumentTable::default();
    let step = session
        .frame(frame.as_bytes(), &table, &keys, NOW, &mut facts)
        .unwrap();
    (step, facts)
}

fn spot() -> Box<dyn PrivateSession> {
    Binance.private_session(0)
}

fn perp() -> Box<dyn PrivateSession> {
    Binance.private_session(1)
}

#[test]
fn routes_tell_their_markets() {
    let routes = Binance.private_routes();
    let told: Vec<_> = routes.iter().map(|r| (r.host, r.markets)).collect();
    assert_eq!(
        told,
        [
            ("ws-api.binance.com:443", &[Market::Spot][..]),
            ("fstream.binance.com", &[Market::Perp][..])
        ]
    );
    assert!(
        ProviderId::BINANCE
            .hosts()
            .contains(&"ws-api.binance.com:443")
    );
}

#[test]
fn spot_is_subscribed_to_with_a_signature() {
    let mut session = spot();
    assert_eq!(session.path(), "/ws-api/v3");
    assert!(session.ticket_request().is_none() && session.renewal().is_none());
    let keys = hmac("a\"key", "secret");
    let frames = session.opened(&keys, TsNanos::from_ms(1_747_385_641_636));
    let [frame] = &frames[..] else { panic!() };
    let frame: Value = serde_json::from_str(frame).unwrap();
    assert_eq!(frame["method"], "userDataStream.subscribe.signature");
    assert_eq!(frame["params"]["apiKey"], "a\"key");
    assert_eq!(frame["params"]["timestamp"], 1_747_385_641_636_u64);
    let signed = keys
        .sign_hex(b"apiKey=a\"key&timestamp=1747385641636")
        .unwrap();
    assert_eq!(frame["params"]["signature"], signed);

    let answer = r#"{"id":1,"status":200,"result":{"subscriptionId":0}}"#;
    assert_eq!(hear(&mut *session, answer).0, Step::Ready);
    let other = r#"{"id":"7","status":200,"result":{}}"#;
    assert_eq!(hear(&mut *session, other).0, Step::Wait);
    let refused = r#"{"id":null,"status":401,"error":{"code":-2015,"msg":"Invalid API-key, IP, or permissions for action."}}"#;
    let (Step::Refused(error), _) = hear(&mut *session, refused) else {
        panic!()
    };
    assert_eq!(error.code, C::Unauthorized);
    for passing in [
        r#"{"id":1,"status":400,"error":{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}}"#,
        r#"{"id":1,"status":429,"error":{"code":-1003,"msg":"Too much"}}"#,
        r#"{"id":1,"status":500}"#,
        r#"{"subscriptionId":0,"event":{"e":"eventStreamTerminated","E":1728973001334}}"#,
        r#"{"event":{"e":"serverShutdown","E":1770123456789}}"#,
    ] {
        let step = hear(&mut *session, passing).0;
        assert!(matches!(step, Step::Reconnect(_)), "{passing} {step:?}");
    }
}

#[test]
fn spot_orders_are_heard() {
    let mut session = spot();
    let (step, facts) = hear(&mut *session, NEW);
    assert_eq!(step, Step::Wait);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.market, Market::Spot);
    assert_eq!(order.client_id.as_deref(), Some("mUvoqJxFIILMdfAW5iGSOW"));
    assert_eq!(order.news.word, Word::Works);
    assert_eq!(order.news.filled, Some(decimal("0")));
    assert_eq!(order.news.price, Some(decimal("0.1026441")));
    assert_eq!(order.news.reason, None);
    assert_eq!(order.terms.order_type, Some(OrderType::Limit));
    assert_eq!(order.terms.time_in_force, Some(TimeInForce::Gtc));
    assert!(facts.fills.is_empty());

    let trade = NEW
        .replace(
            r#""x":"NEW","X":"NEW""#,
            r#""x":"TRADE","X":"PARTIALLY_FILLED""#,
        )
        .replace(r#""l":"0.00000000""#, r#""l":"0.40000000""#)
        .replace(r#""z":"0.00000000""#, r#""z":"0.40000000""#)
        .replace(r#""L":"0.00000000""#, r#""L":"0.10000000""#)
        .replace(r#""Z":"0.00000000""#, r#""Z":"0.04000000""#)
        .replace(r#""n":"0","N":null"#, r#""n":"0.0004","N":"ETH""#)
        .replace(r#""t":-1"#, r#""t":77"#);
    let (_, facts) = hear(&mut *session, &trade);
    let news = &facts.orders[0].news;
    assert_eq!(news.word, Word::WorksInPart);
    assert_eq!(news.average_price, Some(decimal("0.1")));
    let [fill] = &facts.fills[..] else { panic!() };
    assert_eq!((fill.fill_id.as_str(), fill.is_maker), ("77", Some(false)));
    assert_eq!(
        (fill.price, fill.quantity),
        (decimal("0.1"), decimal("0.4"))
    );
    assert_eq!(fill.fee_asset.as_deref(), Some("ETH"));
    assert_eq!(fill.side, Some(Side::Buy));

    // The cancellation has an id of its own in `c`.
    let canceled = NEW
        .replace(r#""x":"NEW","X":"NEW""#, r#""x":"CANCELED","X":"CANCELED""#)
        .replace(r#""c":"mUvoqJxFIILMdfAW5iGSOW""#, r#""c":"ofTheCancel""#)
        .replace(r#""C":"""#, r#""C":"mUvoqJxFIILMdfAW5iGSOW""#);
    let (_, facts) = hear(&mut *session, &canceled);
    assert_eq!(
        facts.orders[0].client_id.as_deref(),
        Some("mUvoqJxFIILMdfAW5iGSOW")
    );
    assert_eq!(facts.orders[0].news.word, Word::Canceled);

    let rejected = NEW
        .replace(r#""x":"NEW","X":"NEW""#, r#""x":"REJECTED","X":"REJECTED""#)
        .replace(r#""r":"NONE""#, r#""r":"WOULD_MATCH_IMMEDIATELY""#);
    let (_, facts) = hear(&mut *session, &rejected);
    assert_eq!(facts.orders[0].news.word, Word::Refused);
    assert_eq!(
        facts.orders[0].news.reason.as_deref(),
        Some("WOULD_MATCH_IMMEDIATELY")
    );
    let prevented = NEW.replace(
        r#""x":"NEW","X":"NEW""#,
        r#""x":"TRADE_PREVENTION","X":"EXPIRED_IN_MATCH","eR":2"#,
    );
    let (_, facts) = hear(&mut *session, &prevented);
    assert_eq!(facts.orders[0].news.word, Word::Expired);
    assert_eq!(facts.orders[0].news.reason.as_deref(), Some("2"));
}

#[test]
fn spot_balances_are_heard() {
    let mut session = spot();
    let (_, facts) = hear(&mut *session, POSITION);
    let [balance] = &facts.balances[..] else {
        panic!()
    };
    assert_eq!(
        (balance.asset.as_str(), facts.has_all_balances),
        ("ETH", false)
    );
    assert_eq!(balance.total, decimal("10000.5"));
    assert!(hear(&mut *session, DEPOSIT).1.is_empty());
    let locked = r#"{"subscriptionId":0,"event":{"e":"externalLockUpdate","E":1581557507324,"a":"NEO","d":"10","T":1581557507268}}"#;
    assert!(hear(&mut *session, locked).1.balances_are_stale);
}

#[test]
fn perp_is_reached_with_a_listen_key() {
    let mut session = perp();
    let ticket = session.ticket_request().unwrap();
    assert_eq!(line(&ticket), "POST /fapi/v1/listenKey");
    assert_eq!(ticket.access, Access::Key);
    session
        .ticket(br#"{"listenKey":"pqia91ma19a5s61c"}"#)
        .unwrap();
    assert_eq!(
        session.path(),
        "/private/ws?listenKey=pqia91ma19a5s61c&events=ORDER_TRADE_UPDATE/ACCOUNT_UPDATE/ALGO_UPDATE/ACCOUNT_CONFIG_UPDATE/listenKeyExpired"
    );
    let (pause, renewal) = session.renewal().unwrap();
    assert_eq!(
        (pause, line(&renewal).as_str()),
        (1800, "PUT /fapi/v1/listenKey")
    );
    assert!(session.is_ready_once_open());
    assert!(session.opened(&hmac("k", "s"), NOW).is_empty());
    for wrong in ["{}", r#"{"listenKey":""}"#, "x"] {
        assert!(session.ticket(wrong.as_bytes()).is_err());
    }
    // What comes from outside does not get out of its place in the path.
    session.ticket(br#"{"listenKey":"a&b /c"}"#).unwrap();
    assert!(session.path().contains("listenKey=a%26b%20%2Fc&events="));
}

#[test]
fn perp_orders_are_heard() {
    let mut session = perp();
    let (step, facts) = hear(&mut *session, PERP_FILL);
    assert_eq!(step, Step::Wait);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.client_id.as_deref(), Some("TEST"));
    assert_eq!(order.news.word, Word::WorksInPart);
    assert_eq!(order.news.average_price, Some(decimal("7100.5")));
    assert_eq!(order.terms.position_side, Some(PositionSide::Long));
    assert_eq!(order.terms.reduce_only, Some(false));
    let [fill] = &facts.fills[..] else { panic!() };
    assert_eq!(fill.fill_id, "12345678");
    assert_eq!(
        (fill.fee, fill.is_maker),
        (Some(decimal("0.01")), Some(true))
    );
    // The same fill, without its fee.
    assert!(hear(&mut *session, LITE).1.is_empty());

    // A fee may be missing, and a canceled order keeps its id.
    let free = PERP_FILL.replace(r#""N":"USDT","n":"0.01000000","#, "");
    assert_eq!(hear(&mut *session, &free).1.fills[0].fee, None);
    let canceled = PERP_FILL.replace(
        r#""x":"TRADE","X":"PARTIALLY_FILLED""#,
        r#""x":"CANCELED","X":"CANCELED""#,
    );
    let (_, facts) = hear(&mut *session, &canceled);
    assert_eq!(facts.orders[0].client_id.as_deref(), Some("TEST"));
    assert_eq!(facts.orders[0].news.word, Word::Canceled);
    assert!(facts.fills.is_empty());
    let liquidation = PERP_FILL
        .replace(r#""x":"TRADE""#, r#""x":"CALCULATED""#)
        .replace(r#""c":"TEST""#, r#""c":"autoclose-1""#);
    assert_eq!(hear(&mut *session, &liquidation).1.fills.len(), 1);
}

#[test]
fn conditional_orders_are_heard() {
    let mut session = perp();
    let (_, facts) = hear(&mut *session, ALGO);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.client_id.as_deref(), Some("Q5xaq5EGKgXXa0fD7fs0Ip"));
    assert_eq!(order.news.word, Word::Works);
    assert_eq!(order.news.trigger_id.as_deref(), Some("2148719"));
    assert_eq!(order.news.exchange_order_id, None);
    // A text for the time when it fails, which it has not.
    assert_eq!(order.news.reason, None);
    assert_eq!(order.terms.order_type, Some(OrderType::StopLimit));
    assert_eq!(order.terms.stop_price, Some(decimal("750")));

    let triggered = ALGO.replace(r#""X":"NEW","ai":"""#, r#""X":"TRIGGERED","ai":"987""#);
    let (_, facts) = hear(&mut *session, &triggered);
    let news = &facts.orders[0].news;
    assert_eq!(
        (news.word, news.exchange_order_id.as_deref()),
        (Word::Works, Some("987"))
    );
    let rejected = ALGO.replace(r#""X":"NEW""#, r#""X":"REJECTED""#);
    let (_, facts) = hear(&mut *session, &rejected);
    assert_eq!(facts.orders[0].news.word, Word::Refused);
    assert_eq!(
        facts.orders[0].news.reason.as_deref(),
        Some("Reduce Only reject")
    );
}

#[test]
fn perp_accounts_are_heard() {
    let mut session = perp();
    let (_, facts) = hear(&mut *session, PERP_ACCOUNT);
    let [position] = &facts.positions[..] else {
        panic!()
    };
    assert_eq!(position.quantity, decimal("-20"));
    assert_eq!(position.position_side, PositionSide::Short);
    assert_eq!(position.entry_price, Some(decimal("6563.6")));
    assert_eq!(position.leverage, None);
    assert!(!facts.has_all_positions);
    // How much is free is not told.
    assert!(facts.balances.is_empty() && facts.balances_are_stale);
    let config = r#"{"e":"ACCOUNT_CONFIG_UPDATE","E":1611646737479,"T":1611646737476,"ac":{"s":"BTCUSDT","l":25}}"#;
    assert!(hear(&mut *session, config).1.is_empty());
    let expired = r#"{"e":"listenKeyExpired","E":1736996475556,"listenKey":"WsCMN0a4KHUPTQuX6IUnqEZfB1inxmv1qR4kbf1LuEjur5VdbzqvyxqG9TSjVVxv"}"#;
    assert!(matches!(hear(&mut *session, expired).0, Step::Reconnect(_)));
}

#[test]
fn what_is_no_event_is_refused() {
    let keys = hmac("k", "s");
    let table = InstrumentTable::default();
    for mut session in [spot(), perp()] {
        for frame in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"event":{}}"#,
            r#"{"e":"ORDER_TRADE_UPDATE"}"#,
        ] {
            let mut facts = Facts::default();
            let told = session.frame(frame.as_bytes(), &table, &keys, NOW, &mut facts);
            assert!(told.is_err(), "{frame}");
        }
    }
}

#[test]
fn damaged_events_do_not_panic() {
    let texts = [NEW, POSITION, DEPOSIT, PERP_FILL, PERP_ACCOUNT, ALGO, LITE];
    read_damaged(ProviderId::BINANCE, &texts);
}
