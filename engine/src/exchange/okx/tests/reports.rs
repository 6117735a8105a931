//! Answers and pushes, and the facts they have to become.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::instrument;
use super::trading::{ID, NOW, answer, both, dec, failure, keys, order, terms, text, venue};
use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::{Command, Facts, Method, OrderReport, Question, Step};

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
pub(super) fn order_row(change: &Value) -> Value {
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
    assert_eq!(triggered.orders, [], "what it became says where it stands");
    let child = of(&order_row(&json!({ "clOrdId": "9_0", "fillFee": "" })));
    assert_eq!(child.orders[0].client_id.as_deref(), Some(ID));
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

/// A zero that was turned over would be shown as `-0`.
#[test]
fn zeros_have_no_sign() {
    let rows = json!([{
        "instType": "SWAP", "instId": "BTC-USDT-SWAP", "posSide": "short", "pos": "0",
        "fundingFee": "0",
    }]);
    let position = pushed("positions", &rows).unwrap().positions.remove(0);
    assert_eq!(position.quantity.to_string(), "0");
    assert_eq!(position.funding_cost.unwrap().to_string(), "0");
    let facts = pushed("orders", &json!([order_row(&json!({ "fillFee": "0" }))])).unwrap();
    assert_eq!(facts.fills[0].fee.unwrap().to_string(), "0");
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decimals_survive(mantissa in 1_i64..1_000_000_000_000, scale in 0_u32..8) {
        let number = rust_decimal::Decimal::new(mantissa, scale).normalize();
        let swap = instrument(Market::Perp);
        let sent = super::super::orders::size(&swap, number).unwrap();
        prop_assert!(!sent.contains('e'), "{}", sent);
        prop_assert!(!sent.contains('.') || !sent.ends_with('0'), "{}", sent);
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
