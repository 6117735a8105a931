//! Answers and pushes, and the facts they have to become.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::Okx;
use super::instrument;
use super::trading::{ID, NOW, answer, both, dec, failure, keys, order, terms, text, venue};
use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::exchange::{DecodeError, Exchange};
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::{
    Command, Facts, Method, OrderReport, PrivateSession, Proof, Question, Step,
};

const ORDERS: Question<'static> = Question::OpenOrders {
    market: Market::Perp,
};

/// A push of a private connection.
fn pushed(channel: &str, rows: &Value) -> Result<Facts, DecodeError> {
    let mut session = venue().private_session(0);
    let mut facts = Facts::default();
    let frame = json!({ "arg": { "channel": channel, "uid": "6" }, "data": rows }).to_string();
    let step = session.frame(frame.as_bytes(), &both(), &keys(), NOW, &mut facts);
    step.map(|step| {
        assert_eq!(step, Step::Wait);
        facts
    })
}

/// The document's order push, with changes.
fn order_row(change: &Value) -> Value {
    let mut row = json!({
        "accFillSz": "0.03", "amendResult": "", "avgPx": "103698.9", "cTime": "1746947317401",
        "cancelSource": "", "category": "normal", "ccy": "USDT", "clOrdId": "001BTCUSDT20250106001",
        "code": "0", "execType": "M", "fee": "-0.021776769", "feeCcy": "USDT", "fillFee": "-0.0217",
        "fillFeeCcy": "USDT", "fillPx": "103698.9", "fillSz": "0.03", "fillTime": "1746947317402",
        "instId": "BTC-USDT-SWAP", "instType": "SWAP", "lever": "2.0", "msg": "",
        "ordId": "2497956918703120384", "ordType": "market", "pnl": "0", "posSide": "long", "px": "",
        "reduceOnly": "false", "reqId": "", "side": "buy", "state": "filled", "sz": "0.03",
        "tdMode": "isolated", "tgtCcy": "", "tradeId": "1518905529", "uTime": "1746947317402",
    });
    let (row_map, change) = (row.as_object_mut().unwrap(), change.as_object().unwrap());
    row_map.extend(change.clone());
    row
}

fn reported(change: &Value) -> OrderReport {
    pushed("orders", &json!([order_row(change)]))
        .unwrap()
        .orders
        .remove(0)
}

#[test]
fn a_push_tells_the_order_and_its_last_execution() {
    let facts = pushed("orders", &json!([order_row(&json!({}))])).unwrap();
    let report = &facts.orders[0];
    assert_eq!(report.market, Market::Perp);
    assert_eq!(report.native_symbol, "BTC-USDT-SWAP");
    assert_eq!(report.client_id.as_deref(), Some("001BTCUSDT20250106001"));
    let news = &report.news;
    assert_eq!(news.word, Word::Done);
    // 0.03 contracts of 0.01 BTC.
    assert_eq!(
        (news.filled, news.quantity),
        (Some(dec("0.0003")), Some(dec("0.0003")))
    );
    assert_eq!(
        (news.average_price, news.price),
        (Some(dec("103698.9")), None)
    );
    assert_eq!(
        news.exchange_order_id.as_deref(),
        Some("2497956918703120384")
    );
    assert_eq!(news.at, TsNanos::from_ms(1_746_947_317_402));
    assert_eq!(report.terms.side, Some(Side::Buy));
    assert_eq!(report.terms.order_type, Some(OrderType::Market));
    assert_eq!(report.terms.position_side, Some(PositionSide::Long));
    assert_eq!(report.terms.reduce_only, Some(false));
    assert_eq!(
        report.terms.created_at,
        Some(TsNanos::from_ms(1_746_947_317_401))
    );
    let fill = &facts.fills[0];
    assert_eq!(
        (fill.price, fill.quantity),
        (dec("103698.9"), dec("0.0003"))
    );
    // Charged is negative there and positive here.
    assert_eq!(
        (fill.fee, fill.fee_asset.as_deref()),
        (Some(dec("0.0217")), Some("USDT"))
    );
    assert_eq!(
        (fill.fill_id.as_str(), fill.is_maker),
        ("1518905529", Some(true))
    );
    assert_eq!(
        (fill.side, fill.at),
        (Some(Side::Buy), TsNanos::from_ms(1_746_947_317_402))
    );
    assert_eq!(fill.exchange_id.as_deref(), Some("2497956918703120384"));
    assert_eq!((facts.orders.len(), facts.fills.len()), (1, 1));
}

#[test]
fn states_and_why_orders_end() {
    let zero = "0";
    for (state, ord_type, source, filled, word, reason) in [
        ("live", "limit", "", zero, Word::Works, None),
        (
            "partially_filled",
            "limit",
            "",
            "0.01",
            Word::WorksInPart,
            None,
        ),
        ("filled", "limit", "", "0.03", Word::Done, None),
        ("canceled", "limit", "1", "0.01", Word::Canceled, None),
        (
            "canceled",
            "limit",
            "20",
            zero,
            Word::Canceled,
            Some("cancel-all-after was triggered"),
        ),
        (
            "canceled",
            "limit",
            "99",
            zero,
            Word::Canceled,
            Some("canceled by okx, source 99"),
        ),
        ("mmp_canceled", "mmp", "", zero, Word::Canceled, None),
        (
            "canceled",
            "post_only",
            "31",
            zero,
            Word::Refused,
            Some("the post-only order would take liquidity"),
        ),
        (
            "canceled",
            "ioc",
            "14",
            "0.01",
            Word::Expired,
            Some("the rest of the immediate-or-cancel order could not execute"),
        ),
        (
            "canceled",
            "optimal_limit_ioc",
            "",
            "0.01",
            Word::Expired,
            None,
        ),
        (
            "canceled",
            "fok",
            "0",
            zero,
            Word::Expired,
            Some("canceled by the system"),
        ),
    ] {
        let report = reported(&json!({
            "state": state, "ordType": ord_type, "cancelSource": source, "accFillSz": filled,
        }));
        assert_eq!(report.news.word, word, "{state} {ord_type} {source}");
        assert_eq!(report.news.reason.as_deref(), reason);
    }
    let told =
        json!({ "state": "canceled", "cancelSource": "32", "cancelSourceReason": "own words" });
    assert_eq!(reported(&told).news.reason.as_deref(), Some("own words"));
    // A state that nobody knows says nothing of the order; what executed did.
    let facts = pushed(
        "orders",
        &json!([order_row(&json!({ "state": "resting" }))]),
    )
    .unwrap();
    assert_eq!((facts.orders.len(), facts.fills.len()), (0, 1));
}

#[test]
fn kinds_of_orders() {
    for (ord_type, order_type, time_in_force, post_only) in [
        ("limit", OrderType::Limit, TimeInForce::Gtc, false),
        ("post_only", OrderType::Limit, TimeInForce::Gtc, true),
        ("ioc", OrderType::Limit, TimeInForce::Ioc, false),
        ("fok", OrderType::Limit, TimeInForce::Fok, false),
        ("market", OrderType::Market, TimeInForce::Ioc, false),
        (
            "optimal_limit_ioc",
            OrderType::Market,
            TimeInForce::Ioc,
            false,
        ),
    ] {
        let terms = reported(&json!({ "ordType": ord_type })).terms;
        assert_eq!(terms.order_type, Some(order_type));
        assert_eq!(terms.time_in_force, Some(time_in_force));
        assert_eq!(terms.post_only, Some(post_only));
    }
    assert_eq!(
        reported(&json!({ "ordType": "twap" })).terms.order_type,
        None
    );
    // A size in money is no quantity.
    for (tgt_ccy, side, quantity) in [
        ("", "buy", None),
        ("quote_ccy", "sell", None),
        ("base_ccy", "buy", Some(dec("0.03"))),
        ("", "sell", Some(dec("0.03"))),
    ] {
        let report = reported(&json!({
            "instType": "SPOT", "instId": "BTC-USDT", "tgtCcy": tgt_ccy, "side": side,
        }));
        assert_eq!(report.news.quantity, quantity, "{tgt_ccy} {side}");
        assert_eq!(report.terms.position_side, None);
    }
    // Margin, other contracts and what is not listed is not traded here.
    for (inst_type, inst_id) in [
        ("MARGIN", "BTC-USDT"),
        ("FUTURES", "BTC-USDT-261225"),
        ("SWAP", "BTC-USD-SWAP"),
    ] {
        let row = order_row(&json!({ "instType": inst_type, "instId": inst_id }));
        assert!(pushed("orders", &json!([row])).unwrap().is_empty());
    }
}

#[test]
fn an_order_that_a_stop_became_is_the_stop_s() {
    let child = |change: Value| {
        let report = reported(&change);
        (report.client_id, report.news.trigger_id)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        child(json!({ "clOrdId": "", "algoClOrdId": ID, "algoId": "77" })),
        (text(ID), text("77"))
    );
    assert_eq!(
        child(json!({ "clOrdId": "77_0", "linkedAlgoOrd": { "algoId": "77" } })),
        (text("77_0"), text("77"))
    );
    assert_eq!(
        child(json!({ "clOrdId": ID, "algoClOrdId": "other", "linkedAlgoOrd": { "algoId": "" } })),
        (text(ID), None)
    );
}

fn algo_row(change: &Value) -> Value {
    let mut row = json!({
        "algoId": "706620792746729480", "algoClOrdId": ID, "clOrdId": "", "ordId": "",
        "instId": "BTC-USDT-SWAP", "instType": "SWAP", "ordType": "trigger", "state": "live",
        "side": "sell", "posSide": "net", "sz": "3", "triggerPx": "95000", "triggerPxType": "last",
        "ordPx": "-1", "tdMode": "cross", "reduceOnly": "true", "actualPx": "", "actualSz": "0",
        "triggerTime": "", "tag": "", "cTime": "1737400000000", "uTime": "1737400500000",
    });
    let (row_map, change) = (row.as_object_mut().unwrap(), change.as_object().unwrap());
    row_map.extend(change.clone());
    row
}

#[test]
fn stops() {
    let facts = pushed("orders-algo", &json!([algo_row(&json!({}))])).unwrap();
    let report = &facts.orders[0];
    assert_eq!(report.client_id.as_deref(), Some(ID));
    assert_eq!((report.news.word, report.news.filled), (Word::Works, None));
    assert_eq!(report.news.quantity, Some(dec("0.03")));
    assert_eq!(
        report.news.trigger_id.as_deref(),
        Some("706620792746729480")
    );
    assert_eq!(
        (&report.news.exchange_order_id, report.news.price),
        (&None, None)
    );
    assert_eq!(report.terms.order_type, Some(OrderType::StopMarket));
    assert_eq!(report.terms.stop_price, Some(dec("95000")));
    assert_eq!(report.terms.reduce_only, Some(true));
    for (change, word, child) in [
        (json!({ "state": "pause" }), Word::Works, None),
        (
            json!({ "state": "effective", "ordId": "9" }),
            Word::Works,
            Some("9"),
        ),
        (
            json!({ "state": "effective", "ordIdList": ["10"] }),
            Word::Works,
            Some("10"),
        ),
        (json!({ "state": "canceled" }), Word::Canceled, None),
        (
            json!({ "state": "order_failed", "failCode": "51008" }),
            Word::Refused,
            None,
        ),
        (json!({ "state": "partially_failed" }), Word::Refused, None),
    ] {
        let facts = pushed("orders-algo", &json!([algo_row(&change)])).unwrap();
        let news = &facts.orders[0].news;
        assert_eq!(
            (news.word, news.exchange_order_id.as_deref()),
            (word, child),
            "{change}"
        );
        assert_eq!(news.reason.is_some(), word == Word::Refused);
    }
    let limit = algo_row(&json!({ "ordPx": "94000.5" }));
    let limit = pushed("orders-algo", &json!([limit]))
        .unwrap()
        .orders
        .remove(0);
    assert_eq!(limit.terms.order_type, Some(OrderType::StopLimit));
    assert_eq!(limit.news.price, Some(dec("94000.5")));
    let conditional = json!({
        "ordType": "conditional", "triggerPx": "", "slTriggerPx": "90000", "slOrdPx": "-1",
    });
    let facts = pushed("orders-algo", &json!([algo_row(&conditional)])).unwrap();
    assert_eq!(facts.orders[0].terms.stop_price, Some(dec("90000")));
    let two_legs = algo_row(&json!({ "ordType": "oco" }));
    assert!(
        pushed("orders-algo", &json!([two_legs]))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn an_order_is_followed_from_its_stop() {
    let swap = instrument(Market::Perp);
    let question = Question::Order {
        instrument: &swap,
        order: order(OrderType::StopMarket),
    };
    let of = |row: &Value| {
        answer(
            question,
            0,
            &json!({ "code": "0", "data": [row] }).to_string(),
        )
    };
    let waiting = of(&algo_row(&json!({})));
    assert_eq!((waiting.orders.len(), waiting.next), (1, None));
    let triggered = of(&algo_row(&json!({ "state": "effective", "ordId": "9" })));
    assert_eq!(
        triggered.next.as_ref().map(text).as_deref(),
        Some("GET trade/order?instId=BTC-USDT-SWAP&ordId=9 (order-query perp)")
    );
    let child = of(&order_row(&json!({ "fillFee": "" })));
    assert_eq!((child.orders[0].news.word, child.next), (Word::Done, None));
    assert!(
        child.fills.is_empty(),
        "an answer tells no fee of its last execution"
    );
    assert!(answer(question, 0, r#"{"code":"0","msg":"","data":[]}"#).is_empty());
}

#[test]
fn lists_have_pages() {
    let rows: Vec<Value> = (0..100)
        .map(|id| order_row(&json!({ "ordId": id.to_string(), "fillFee": "" })))
        .collect();
    let page = answer(ORDERS, 0, &json!({ "code": "0", "data": rows }).to_string());
    assert_eq!(page.orders.len(), 100);
    assert_eq!(
        page.next.as_ref().map(text).as_deref(),
        Some("GET trade/orders-pending?instType=SWAP&after=99&limit=100 (orders-pending perp)")
    );
    let page = answer(
        ORDERS,
        0,
        &json!({ "code": "0", "data": rows[..99] }).to_string(),
    );
    assert_eq!((page.orders.len(), page.next), (99, None));
    // Rows of other contracts count for the page.
    let rows: Vec<Value> = (0..100)
        .map(|id| algo_row(&json!({ "algoId": id.to_string(), "instType": "FUTURES" })))
        .collect();
    let page = answer(ORDERS, 2, &json!({ "code": "0", "data": rows }).to_string());
    assert_eq!(page.orders, []);
    assert_eq!(
        page.next.as_ref().map(text).as_deref(),
        Some(
            "GET trade/orders-algo-pending?instType=SWAP&ordType=conditional&after=99&limit=100 (orders-algo-pending perp)"
        )
    );
    let spot = instrument(Market::Spot);
    let question = Question::Fills {
        instrument: &spot,
        order: None,
        since: NOW,
    };
    let fill = |bill: u32| {
        json!({
            "instType": "SPOT", "instId": "BTC-USDT", "tradeId": "123456789", "ordId": "987654321",
            "clOrdId": "client_123", "billId": bill.to_string(), "fillPx": "42000.5",
            "fillSz": "0.001", "side": "buy", "execType": "T", "feeCcy": "BTC", "fee": "-0.000001",
            "ts": "1625097600000",
        })
    };
    let rows: Vec<Value> = (0..100).map(fill).collect();
    let page = answer(
        question,
        0,
        &json!({ "code": "0", "data": rows }).to_string(),
    );
    let first = &page.fills[0];
    assert_eq!(
        (first.price, first.quantity),
        (dec("42000.5"), dec("0.001"))
    );
    assert_eq!(
        (first.fee, first.fee_asset.as_deref()),
        (Some(dec("0.000001")), Some("BTC"))
    );
    assert_eq!(
        (first.is_maker, first.client_id.as_deref()),
        (Some(false), Some("client_123"))
    );
    assert_eq!(
        page.next.as_ref().map(text).as_deref(),
        Some(
            "GET trade/fills?instType=SPOT&instId=BTC-USDT&begin=1760000000000&after=99&limit=100 (fills spot)"
        )
    );
}

#[test]
fn balances() {
    let rows = json!([{ "totalEq": "99.8", "details": [
        { "ccy": "USDT", "eq": "99.89469657000001", "cashBal": "94.4", "availBal": "94.42612990333333",
          "availEq": "94.42612990333333", "frozenBal": "5.468566666666667" },
        { "ccy": "BTC", "eq": "0.0000000051", "availEq": "", "availBal": "0.0000000051" },
    ]}]);
    let body = json!({ "code": "0", "data": rows, "msg": "" }).to_string();
    let facts = answer(
        Question::Balances {
            market: Market::Spot,
        },
        0,
        &body,
    );
    assert!(facts.has_all_balances);
    let [usdt, btc] = &facts.balances[..] else {
        panic!()
    };
    assert_eq!((usdt.asset.as_str(), usdt.market), ("USDT", None));
    assert_eq!(
        (usdt.free, usdt.locked),
        (dec("94.42612990333333"), dec("5.46856666666668"))
    );
    assert_eq!(usdt.total, dec("99.89469657000001"));
    assert_eq!(
        (btc.free, btc.locked, btc.total),
        (dec("0.0000000051"), dec("0"), dec("0.0000000051"))
    );
    let pushed = pushed("account", &rows).unwrap();
    assert_eq!(
        (pushed.balances, pushed.has_all_balances),
        (facts.balances, false)
    );
}

#[test]
fn positions() {
    let row = |change: Value| {
        let mut row = json!({
            "instId": "BTC-USDT-SWAP", "instType": "SWAP", "mgnMode": "cross", "posSide": "net",
            "pos": "-1", "availPos": "", "avgPx": "34131.1", "markPx": "34134.0", "lever": "2",
            "liqPx": "12608.9", "imr": "170.66", "margin": "", "mmr": "1.36", "mgnRatio": "125",
            "upl": "-0.0108", "fundingFee": "-0.02", "ccy": "USDT", "uTime": "1627227626502",
        });
        row.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        row
    };
    let body = json!({ "code": "0", "data": [row(json!({}))] }).to_string();
    let facts = answer(Question::Positions, 0, &body);
    assert!(facts.has_all_positions);
    let position = &facts.positions[0];
    assert_eq!(position.position_side, PositionSide::Net);
    assert_eq!(
        (position.quantity, position.leverage),
        (dec("-0.01"), Some(dec("2")))
    );
    assert_eq!(
        (position.entry_price, position.mark_price),
        (Some(dec("34131.1")), Some(dec("34134")))
    );
    assert_eq!(position.unrealized_pnl, Some(dec("-0.0108")));
    assert_eq!(
        (position.margin, position.margin_ratio),
        (Some(dec("170.66")), Some(dec("0.008")))
    );
    // Paid.
    assert_eq!(position.funding_cost, Some(dec("0.02")));
    assert_eq!(position.liquidation_price, Some(dec("12608.9")));
    assert_eq!(position.at, Some(TsNanos::from_ms(1_627_227_626_502)));
    let rows = json!([
        row(json!({ "posSide": "long", "pos": "5.00", "mgnMode": "isolated", "margin": "15000" })),
        row(json!({ "posSide": "short", "pos": "2.00", "liqPx": "", "mgnRatio": "" })),
        row(json!({ "pos": "0", "avgPx": "", "upl": "", "lever": "" })),
        row(json!({ "instType": "FUTURES", "instId": "BTC-USDT-261225" })),
    ]);
    let facts = pushed("positions", &rows).unwrap();
    let told: Vec<_> = facts
        .positions
        .iter()
        .map(|p| (p.position_side, p.quantity))
        .collect();
    assert_eq!(
        told,
        [
            (PositionSide::Long, dec("0.05")),
            (PositionSide::Short, dec("-0.02")),
            (PositionSide::Net, dec("0"))
        ]
    );
    assert_eq!(facts.positions[0].margin, Some(dec("15000")));
    assert_eq!(
        (facts.positions[1].margin_ratio, facts.has_all_positions),
        (None, false)
    );
}

#[test]
fn what_the_key_may_do() {
    let body = |level: &str, mode: &str, perm: &str| {
        json!({ "code": "0", "data": [{ "acctLv": level, "posMode": mode, "perm": perm, "ip": "" }] })
            .to_string()
    };
    for (level, perm, market, expected) in [
        (
            "2",
            "read_only,withdraw,trade",
            Market::Perp,
            (true, true, true),
        ),
        ("2", "read_only,trade", Market::Spot, (true, true, false)),
        ("1", "read_only,trade", Market::Spot, (true, true, false)),
        // Spot alone.
        ("1", "read_only,trade", Market::Perp, (true, false, false)),
        ("2", "read_only", Market::Spot, (true, false, false)),
    ] {
        let question = Question::Permissions { market };
        let told = answer(question, 0, &body(level, "net_mode", perm))
            .permissions
            .unwrap();
        assert_eq!(
            (told.can_read, told.can_trade, told.can_withdraw),
            expected,
            "{level} {perm}"
        );
    }
    let mode = |mode| answer(Question::PositionMode, 0, &body("2", mode, "")).is_hedged;
    assert_eq!(
        (mode("net_mode"), mode("long_short_mode")),
        (Some(false), Some(true))
    );
}

#[test]
fn acknowledgements() {
    let swap = instrument(Market::Perp);
    let terms = terms(&swap, OrderType::Limit, "0.03");
    let place = Command::Place {
        instrument: &swap,
        terms: &terms,
        client_id: ID,
        touch: Default::default(),
        is_hedged: false,
    };
    let of =
        |command: &Command<'_>, body: &str| venue().parse_command(command, 0, body.as_bytes(), NOW);
    let body = format!(
        r#"{{"code":"0","data":[{{"clOrdId":"{ID}","ordId":"312269865356374016","tag":"","ts":"1695190491421","sCode":"0","sMsg":""}}],"inTime":"1695190491421339","msg":"","outTime":"1695190491423240"}}"#
    );
    let facts = of(&place, &body).unwrap();
    let news = &facts.orders[0].news;
    assert_eq!(
        (news.word, news.at),
        (Word::Works, TsNanos::from_ms(1_695_190_491_421))
    );
    assert_eq!(
        news.exchange_order_id.as_deref(),
        Some("312269865356374016")
    );
    assert_eq!(facts.orders[0].client_id.as_deref(), Some(ID));
    let body = r#"{"code":"0","data":[{"algoId":"12345","algoClOrdId":"","sCode":"0","sMsg":""}],"msg":""}"#;
    let facts = of(&place, body).unwrap();
    let news = &facts.orders[0].news;
    assert_eq!(
        (news.trigger_id.as_deref(), &news.exchange_order_id),
        (Some("12345"), &None)
    );
    assert_eq!(news.at, NOW);
    // The answer to something else, or to nothing.
    for body in [
        r#"{"code":"0","data":[{"ordId":"1","clOrdId":"other","sCode":"0"}]}"#,
        r#"{"code":"0","data":[{"ordId":"","clOrdId":"","sCode":"0"}]}"#,
        r#"{"code":"0","data":[]}"#,
        r#"{"code":"0"}"#,
        "<html>",
    ] {
        assert!(of(&place, body).is_err(), "{body}");
    }
    let cancel = Command::Cancel {
        instrument: &swap,
        order: order(OrderType::Limit),
    };
    let body = r#"{"code":"0","data":[{"clOrdId":"","ordId":"317251910906576896","ts":"1","sCode":"0","sMsg":""}],"msg":""}"#;
    assert!(
        of(&cancel, body).unwrap().is_empty(),
        "not canceled before the exchange says so"
    );
}

#[test]
fn what_failures_prove() {
    let row = |code: &str| {
        format!(
            r#"{{"code":"1","data":[{{"clOrdId":"","ordId":"","sCode":"{code}","sMsg":"why"}}],"msg":"All operations failed"}}"#
        )
    };
    let whole = |code: &str| format!(r#"{{"code":"{code}","msg":"why","data":[]}}"#);
    for (path, status, body, code, proof) in [
        (
            "trade/order",
            200,
            row("51008"),
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51020"),
            C::MinNotionalNotMet,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51121"),
            C::PrecisionError,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51001"),
            C::PairNotFound,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51010"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51155"),
            C::Forbidden,
            Proof::Refused,
        ),
        // Nobody knows this one.
        (
            "trade/order",
            200,
            row("51999"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "trade/order",
            200,
            row("51030"),
            C::FundingSettlement,
            Proof::NotNow,
        ),
        (
            "trade/order",
            200,
            row("51028"),
            C::ExchangeMaintenance,
            Proof::NotNow,
        ),
        (
            "trade/order",
            200,
            row("50061"),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        // Our own id is taken: by the order that we sent.
        (
            "trade/order",
            200,
            row("51016"),
            C::DuplicateOrder,
            Proof::Nothing,
        ),
        (
            "trade/order",
            200,
            row("51149"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            400,
            whole("50004"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            200,
            whole("50004"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            500,
            whole("50026"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            503,
            whole("50001"),
            C::ExchangeMaintenance,
            Proof::Nothing,
        ),
        (
            "trade/order",
            502,
            "<html>".to_owned(),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            403,
            "<html>".to_owned(),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "trade/order",
            429,
            whole("50011"),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "trade/order",
            429,
            String::new(),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "trade/order",
            401,
            whole("50102"),
            C::Unauthorized,
            Proof::ClockSkew,
        ),
        (
            "trade/order",
            401,
            whole("50113"),
            C::Unauthorized,
            Proof::Refused,
        ),
        (
            "trade/cancel-order",
            200,
            row("51400"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "trade/cancel-order",
            200,
            row("51401"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "trade/cancel-order",
            200,
            row("51402"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "trade/cancel-order",
            200,
            row("51410"),
            C::OrderRejected,
            Proof::AlreadySo,
        ),
        (
            "trade/amend-order",
            200,
            row("51503"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "account/set-leverage",
            200,
            whole("59102"),
            C::InvalidParameter,
            Proof::Refused,
        ),
    ] {
        let found = failure(Method::Post, path, status, &body).unwrap();
        assert_eq!(
            (found.error.code, found.proof),
            (code, proof),
            "{status} {body}"
        );
        if status == 429 {
            assert_eq!(found.retry_after_secs, Some(2));
        }
    }
    let shown = failure(Method::Post, "trade/order", 200, &row("51999"))
        .unwrap()
        .error;
    assert_eq!(shown.details["exchange_code"], 51999);
    assert_eq!(shown.details["exchange_message"], "why");
    // Algo orders are refused under the code 0.
    let refused = r#"{"code":"0","msg":"","data":[{"algoId":"","sCode":"51000","sMsg":"Parameter orderPx error"}]}"#;
    let found = failure(Method::Post, "trade/order-algo", 200, refused).unwrap();
    assert_eq!(
        (found.error.code, found.proof),
        (C::PrecisionError, Proof::Refused)
    );
    let gone = r#"{"code":"0","msg":"","data":[{"algoId":"1","sCode":"51000","sMsg":"Parameter algoId error"}]}"#;
    let found = failure(Method::Post, "trade/cancel-algos", 200, gone).unwrap();
    assert_eq!(
        (found.error.code, found.proof),
        (C::OrderNotFound, Proof::NoSuchOrder)
    );
    // Questions.
    let found = failure(Method::Get, "trade/order", 200, &whole("51603")).unwrap();
    assert_eq!(found.proof, Proof::NoSuchOrder);
    let fine = r#"{"code":"0","msg":"","data":[{"sCode":"0","ordId":"1"}]}"#;
    for method in [Method::Get, Method::Post] {
        assert_eq!(failure(method, "trade/order", 200, fine), None);
    }
    // A success that can't be read is for the reader of it, who proves nothing by it.
    assert_eq!(failure(Method::Post, "trade/order", 200, "<html>"), None);
}

/// Every code of the document's table.
#[test]
fn codes_of_the_document() {
    for (codes, code) in [
        (
            &[51001, 51012, 51014, 51015, 60018, 51021, 51027][..],
            C::PairNotFound,
        ),
        (
            &[
                51008, 51119, 51127, 51131, 51502, 59200, 58350, 51736, 51764,
            ],
            C::InsufficientBalance,
        ),
        (&[51020, 51100, 51118, 51120, 51007], C::MinNotionalNotMet),
        (&[51121, 51150, 51006], C::PrecisionError),
        (&[51030, 50023, 58111], C::FundingSettlement),
        (&[51028, 51029, 51022, 50001, 64008], C::ExchangeMaintenance),
        (
            &[50004, 50005, 50013, 50026, 51054, 51149],
            C::ProviderUnavailable,
        ),
        (&[50011, 50061, 60014, 51113], C::RateLimitExceeded),
        (&[60015, 4004, 4005, 4006], C::WebsocketDisconnected),
        (
            &[
                50100, 50101, 50102, 50103, 50105, 50110, 50113, 50119, 60001, 60009, 60024, 60032,
            ],
            C::Unauthorized,
        ),
        (
            &[51400, 51401, 51402, 51503, 51509, 51603],
            C::OrderNotFound,
        ),
        (&[51011, 51016], C::DuplicateOrder),
        (
            &[51010, 51169, 51174, 51136, 51137, 51138, 59000],
            C::OrderRejected,
        ),
        (&[50027, 51024, 51155, 4088], C::Forbidden),
    ] {
        for number in codes {
            let body = format!(r#"{{"code":"{number}","msg":"m","data":[]}}"#);
            let found = failure(Method::Post, "trade/order", 200, &body).unwrap();
            assert_eq!(found.error.code, code, "{number}");
        }
    }
}

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

proptest! {
    #[test]
    fn decimals_survive(mantissa in 1_i64..1_000_000_000_000, scale in 0_u32..8) {
        let number = rust_decimal::Decimal::new(mantissa, scale).normalize();
        let swap = instrument(Market::Perp);
        let sent = super::super::orders::size(&swap, number).unwrap();
        prop_assert!(!sent.contains('e') && !(sent.contains('.') && sent.ends_with('0')));
        let report = reported(&json!({ "sz": sent, "accFillSz": sent, "px": number.to_string(), "ordType": "limit" }));
        prop_assert_eq!(report.news.quantity, Some(number));
        prop_assert_eq!(report.news.filled, Some(number));
        prop_assert_eq!(report.news.price, Some(number));
    }

    #[test]
    fn nothing_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with: u8,
    ) {
        let table = both();
        let swap = instrument(Market::Perp);
        let questions = [
            Question::Order { instrument: &swap, order: order(OrderType::StopLimit) },
            ORDERS,
            Question::Fills { instrument: &swap, order: None, since: NOW },
            Question::Balances { market: Market::Spot },
            Question::Positions,
            Question::PositionMode,
        ];
        let rows = json!([order_row(&json!({})), algo_row(&json!({}))]);
        let good = json!({ "code": "0", "arg": { "channel": "orders" }, "data": rows }).to_string();
        let mut spoilt = good.clone().into_bytes();
        let at = at.index(spoilt.len());
        spoilt[at] = with;
        for text in [&bytes[..], &good.as_bytes()[..cut.index(good.len())], &spoilt] {
            for question in &questions {
                for index in 0..4 {
                    let _ = venue().parse_answer(question, index, text, &table, NOW);
                }
            }
            let cancel = Command::Cancel { instrument: &swap, order: order(OrderType::Limit) };
            let _ = venue().parse_command(&cancel, 0, text, NOW);
            let _ = failure(Method::Post, "trade/order", 200, &String::from_utf8_lossy(text));
            let mut session = venue().private_session(0);
            let _ = session.frame(text, &table, &keys(), NOW, &mut Facts::default());
        }
    }
}
