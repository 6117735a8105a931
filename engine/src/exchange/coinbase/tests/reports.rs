//! Answers and pushes, and the facts they have to become.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::failures::failure;
use super::orders::{ID, btc, dec, keys, order, terms, text, venue};
use super::private::user_row;
use super::{ts, two_products};
use crate::event::Side;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::{Command, Facts, Method, Question};

pub(super) const NOW: TsNanos = TsNanos::from_ms(1_775_000_000_000);
const OPEN: Question<'static> = Question::OpenOrders {
    market: Market::Spot,
};

fn answer(question: Question<'_>, index: usize, body: &Value) -> Facts {
    let body = body.to_string();
    venue()
        .parse_answer(&question, index, body.as_bytes(), &two_products(), NOW)
        .unwrap()
}

pub(super) fn with(mut row: Value, change: &Value) -> Value {
    let change = change.as_object().unwrap().clone();
    row.as_object_mut().unwrap().extend(change);
    row
}

/// The document's order, with changes.
fn order_row(change: &Value) -> Value {
    let row = json!({
        "order_id": "0000-000000-000000", "product_id": "BTC-USD", "user_id": "2222-000000-000000",
        "order_configuration": { "limit_limit_gtc":
            { "base_size": "0.002", "limit_price": "10000.00", "post_only": false } },
        "side": "BUY", "client_order_id": "11111-000000-000000", "status": "OPEN",
        "time_in_force": "GOOD_UNTIL_CANCELLED", "created_time": "2021-05-31T09:59:59Z",
        "completion_percentage": "50", "filled_size": "0.001", "average_filled_price": "50",
        "fee": "0.00", "number_of_fills": "2", "filled_value": "10000", "pending_cancel": false,
        "size_in_quote": false, "total_fees": "5.00", "size_inclusive_of_fees": false,
        "trigger_status": "INVALID_ORDER_TYPE", "order_type": "LIMIT",
        "reject_reason": "REJECT_REASON_UNSPECIFIED", "settled": false, "product_type": "SPOT",
        "reject_message": "", "cancel_message": "", "last_fill_time": "2021-05-31T10:30:00Z",
    });
    with(row, change)
}

fn asked(change: &Value) -> Facts {
    let btc = btc();
    let question = Question::Order {
        instrument: &btc,
        order: order(Some("0000-000000-000000")),
    };
    answer(question, 0, &json!({ "order": order_row(change) }))
}

#[test]
fn an_order_is_told_by_its_configuration() {
    let report = asked(&json!({})).orders.remove(0);
    assert_eq!(
        (report.market, report.native_symbol.as_str()),
        (Market::Spot, "BTC-USD")
    );
    assert_eq!(report.client_id.as_deref(), Some("11111-000000-000000"));
    assert_eq!(
        report.news.exchange_order_id.as_deref(),
        Some("0000-000000-000000")
    );
    // A part has executed: there is no status for that.
    assert_eq!(
        (report.news.word, report.news.reason),
        (Word::WorksInPart, None)
    );
    assert_eq!(
        (report.news.filled, report.news.quantity),
        (Some(dec("0.001")), Some(dec("0.002")))
    );
    assert_eq!(
        (report.news.average_price, report.news.price),
        (Some(dec("50")), Some(dec("10000")))
    );
    assert_eq!(report.terms.side, Some(Side::Buy));
    assert_eq!(report.terms.created_at, Some(ts("2021-05-31T09:59:59Z")));
    let sizes =
        json!({ "base_size": "1", "limit_price": "2", "stop_price": "3", "post_only": true });
    for (name, order_type, time_in_force) in [
        (
            "market_market_ioc",
            Some(OrderType::Market),
            Some(TimeInForce::Ioc),
        ),
        (
            "limit_limit_gtd",
            Some(OrderType::Limit),
            Some(TimeInForce::Gtc),
        ),
        (
            "limit_limit_fok",
            Some(OrderType::Limit),
            Some(TimeInForce::Fok),
        ),
        (
            "sor_limit_ioc",
            Some(OrderType::Limit),
            Some(TimeInForce::Ioc),
        ),
        (
            "stop_limit_stop_limit_gtc",
            Some(OrderType::StopLimit),
            Some(TimeInForce::Gtc),
        ),
        ("trigger_bracket_gtc", None, None),
    ] {
        let all = json!({ "order_configuration": { "another": null, name: sizes } });
        let terms = asked(&all).orders.remove(0).terms;
        assert_eq!(
            (terms.order_type, terms.time_in_force),
            (order_type, time_in_force),
            "{name}"
        );
        assert_eq!(terms.stop_price, Some(dec("3")));
        assert_eq!(terms.post_only, order_type.map(|_| true));
    }
    let in_money = json!({ "size_in_quote": true, "order_configuration": null });
    assert_eq!(asked(&in_money).orders[0].news.quantity, None);
    // Futures and aliases.
    assert!(asked(&json!({ "product_id": "BTC-USDC" })).is_empty());
}

#[test]
fn statuses_and_why_orders_end() {
    let gtc = json!({ "limit_limit_gtc": { "base_size": "1", "limit_price": "2" } });
    let ioc = json!({ "sor_limit_ioc": { "base_size": "1", "limit_price": "2" } });
    for (status, filled, configuration, word) in [
        ("PENDING", "0", &gtc, Word::Works),
        ("QUEUED", "", &gtc, Word::Works),
        ("OPEN", "0", &gtc, Word::Works),
        ("OPEN", "0.5", &gtc, Word::WorksInPart),
        ("CANCEL_QUEUED", "0", &gtc, Word::Works),
        ("EDIT_QUEUED", "0.1", &gtc, Word::WorksInPart),
        ("FILLED", "1", &gtc, Word::Done),
        ("CANCELLED", "0.5", &gtc, Word::Canceled),
        ("CANCELLED", "0.5", &ioc, Word::Expired),
        ("EXPIRED", "0", &gtc, Word::Expired),
        ("FAILED", "0", &gtc, Word::Refused),
    ] {
        let change = json!({
            "status": status, "filled_size": filled, "order_configuration": configuration,
        });
        assert_eq!(
            asked(&change).orders[0].news.word,
            word,
            "{status} {filled}"
        );
    }
    assert!(asked(&json!({ "status": "UNKNOWN_ORDER_STATUS" })).is_empty());
    let reason = |change: Value| asked(&change).orders.remove(0).news.reason;
    assert_eq!(
        reason(json!({ "status": "FAILED", "reject_message": "no liquidity" })).as_deref(),
        Some("no liquidity")
    );
    assert_eq!(
        reason(json!({ "status": "FAILED", "reject_reason": "HOLD_FAILURE" })).as_deref(),
        Some("HOLD_FAILURE")
    );
    let own = json!({ "status": "CANCELLED", "cancel_message": "User requested cancel" });
    assert_eq!(reason(own), None);
}

#[test]
fn a_lost_order_is_looked_for_in_lists() {
    let btc = btc();
    let lost = Question::Order {
        instrument: &btc,
        order: order(None),
    };
    let others = json!([order_row(&json!({}))]);
    let page = |orders: &Value, more: bool| json!({ "orders": orders, "has_next": more, "cursor": if more { "a=b" } else { "" } });
    for (index, filter) in [
        (0, "order_status=OPEN&product_ids=BTC-USD"),
        (
            1,
            "product_ids=BTC-USD&start_date=2026-04-07T14%3A30%3A00.500Z",
        ),
    ] {
        let facts = answer(lost, index, &page(&others, true));
        assert!(facts.orders.is_empty());
        assert_eq!(
            facts.next.as_ref().map(text).as_deref(),
            Some(format!("GET orders/historical/batch?{filter}&limit=100&cursor=a%3Db ").as_str())
        );
        assert!(answer(lost, index, &page(&others, false)).is_empty());
    }
    let both = json!([
        order_row(&json!({})),
        order_row(&json!({ "client_order_id": ID }))
    ]);
    let facts = answer(lost, 1, &page(&both, true));
    assert_eq!(facts.orders[0].client_id.as_deref(), Some(ID));
    assert_eq!((facts.orders.len(), facts.next), (1, None));
    let facts = answer(OPEN, 0, &page(&both, true));
    assert_eq!(facts.orders.len(), 2);
    assert_eq!(
        facts.next.as_ref().map(text).as_deref(),
        Some(
            "GET orders/historical/batch?order_status=OPEN&product_type=SPOT&limit=100&cursor=a%3Db "
        )
    );
}

#[test]
fn executions() {
    let fill = |change: Value| {
        let row = json!({
            "entry_id": "22222-2222222-22222222", "trade_id": "1111-11111-111111",
            "order_id": "0000-000000-000000", "trade_time": "2024-01-15T10:30:00Z",
            "trade_type": "FILL", "price": "45123.45", "size": "0.005", "commission": "1.14",
            "product_id": "BTC-USD", "sequence_timestamp": "2024-01-15T10:30:00.123456Z",
            "liquidity_indicator": "MAKER", "size_in_quote": false, "side": "BUY",
            "retail_portfolio_id": "",
        });
        with(row, &change)
    };
    let btc = btc();
    let question = Question::Fills {
        instrument: &btc,
        order: Some(order(Some("7"))),
        since: NOW,
    };
    let rows = json!([
        fill(json!({})),
        fill(
            json!({ "trade_id": "2", "size_in_quote": true, "size": "10", "price": "3",
            "side": "SELL", "liquidity_indicator": "TAKER" })
        ),
        fill(json!({ "trade_type": "CORRECTION" })),
        fill(json!({ "product_id": "BIP-20DEC30-CDE" })),
    ]);
    let facts = answer(question, 0, &json!({ "fills": rows, "cursor": "c" }));
    let [first, second] = &facts.fills[..] else {
        panic!()
    };
    assert_eq!(
        (first.fill_id.as_str(), first.side),
        ("1111-11111-111111", Some(Side::Buy))
    );
    assert_eq!(
        (first.price, first.quantity),
        (dec("45123.45"), dec("0.005"))
    );
    assert_eq!(
        (first.fee, first.fee_asset.as_deref()),
        (Some(dec("1.14")), Some("USD"))
    );
    assert_eq!(
        (first.is_maker, first.at),
        (Some(true), ts("2024-01-15T10:30:00Z"))
    );
    assert_eq!(first.exchange_id.as_deref(), Some("0000-000000-000000"));
    assert_eq!(
        (second.quantity, second.is_maker),
        (dec("3.33333333"), Some(false))
    );
    assert_eq!(
        facts.next.as_ref().map(text).as_deref(),
        Some("GET orders/historical/fills?order_ids=7&limit=100&cursor=c ")
    );
    // A cursor behind the last page leads nowhere.
    assert!(answer(question, 0, &json!({ "fills": [], "cursor": "c" })).is_empty());
}

#[test]
fn balances_and_permissions() {
    let account = |currency: &str, free: &str, hold: &str, kind: &str| {
        json!({
            "uuid": "8bfc20d7", "name": "Wallet", "currency": currency, "type": kind, "ready": true,
            "available_balance": { "value": free, "currency": currency },
            "hold": { "value": hold, "currency": currency },
        })
    };
    let question = Question::Balances {
        market: Market::Spot,
    };
    let rows = json!([
        account("BTC", "1.23456789", "0.00500000", "CRYPTO"),
        account("USD", "10.5", "0", "ACCOUNT_TYPE_FIAT"),
        account("BTC", "1", "0", "ACCOUNT_TYPE_CRYPTO"),
        account("BTC", "100", "0", "ACCOUNT_TYPE_VAULT"),
        account("ETH", "0", "0", "CRYPTO"),
    ]);
    let facts = answer(
        question,
        0,
        &json!({ "accounts": rows, "has_next": true, "cursor": "789" }),
    );
    assert!(facts.has_all_balances);
    let [bitcoin, dollar] = &facts.balances[..] else {
        panic!("{:?}", facts.balances)
    };
    assert_eq!((bitcoin.asset.as_str(), bitcoin.market), ("BTC", None));
    assert_eq!(
        (bitcoin.free, bitcoin.locked),
        (dec("2.23456789"), dec("0.005"))
    );
    assert_eq!(
        (bitcoin.total, dollar.total),
        (dec("2.23956789"), dec("10.5"))
    );
    assert_eq!(
        facts.next.as_ref().map(text).as_deref(),
        Some("GET accounts?limit=250&cursor=789 ")
    );
    let last = answer(
        question,
        0,
        &json!({ "accounts": [], "has_next": false, "cursor": "789" }),
    );
    assert_eq!((last.next, last.has_all_balances), (None, true));
    let question = Question::Permissions {
        market: Market::Spot,
    };
    for (trade, transfer) in [(true, false), (false, true)] {
        let body = json!({ "can_view": true, "can_trade": trade, "can_transfer": transfer,
            "portfolio_uuid": "u", "portfolio_type": "DEFAULT" });
        let told = answer(question, 0, &body).permissions.unwrap();
        assert!(told.can_read);
        assert_eq!((told.can_trade, told.can_withdraw), (trade, transfer));
    }
}

#[test]
fn acknowledgements() {
    let (btc, terms) = (btc(), terms(OrderType::Limit));
    let place = Command::Place {
        instrument: &btc,
        terms: &terms,
        client_id: ID,
        touch: Default::default(),
        is_hedged: false,
    };
    let of =
        |command: &Command<'_>, body: &str| venue().parse_command(command, 0, body.as_bytes(), NOW);
    let body = format!(
        r#"{{"success":true,"failure_reason":"UNKNOWN_FAILURE_REASON","order_id":"52cfe5e2-0b29-4c19-a245-a6a773de5030","success_response":{{"order_id":"52cfe5e2-0b29-4c19-a245-a6a773de5030","product_id":"BTC-USD","side":"SELL","client_order_id":"{ID}"}},"order_configuration":null}}"#
    );
    assert_eq!(failure(Method::Post, "orders", 200, &body), None);
    let facts = of(&place, &body).unwrap();
    let news = &facts.orders[0].news;
    assert_eq!((news.word, news.at), (Word::Works, NOW));
    assert_eq!(
        news.exchange_order_id.as_deref(),
        Some("52cfe5e2-0b29-4c19-a245-a6a773de5030")
    );
    assert!(facts.balances_are_stale);
    for body in [
        r#"{"success":true,"success_response":{"order_id":"1","client_order_id":"another"}}"#,
        r#"{"success":true,"order_id":""}"#,
        r#"{"order_id":"1"}"#,
        "<html>",
    ] {
        assert!(of(&place, body).is_err(), "{body}");
    }
    let cancel = Command::Cancel {
        instrument: &btc,
        order: order(Some("1")),
    };
    let body = r#"{"results":[{"success":true,"failure_reason":"UNKNOWN_CANCEL_FAILURE_REASON","order_id":"0000-0000"}]}"#;
    assert_eq!(
        failure(Method::Post, "orders/batch_cancel", 200, body),
        None
    );
    assert!(
        of(&cancel, body).unwrap().is_empty(),
        "not canceled before the exchange says so"
    );
    assert!(of(&cancel, r#"{"results":[]}"#).is_err());
    let edit = Command::Amend {
        instrument: &btc,
        order: order(Some("1")),
        terms: &terms,
        quantity: dec("1"),
        price: None,
    };
    let body = r#"{"success":true,"errors":[]}"#;
    assert_eq!(failure(Method::Post, "orders/edit", 200, body), None);
    assert!(of(&edit, body).unwrap().is_empty());
    assert!(of(&edit, "{}").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decimals_survive(mantissa in 1_i64..1_000_000_000_000, scale in 0_u32..8) {
        let number = rust_decimal::Decimal::new(mantissa, scale).normalize();
        let mut wanted = terms(OrderType::Limit);
        wanted.quantity = number;
        wanted.price = Some(number);
        let btc = btc();
        let command = Command::Place {
            instrument: &btc,
            terms: &wanted,
            client_id: ID,
            touch: Default::default(),
            is_hedged: false,
        };
        let body = venue().command(&command).unwrap().remove(0).body;
        let body: Value = serde_json::from_str(&body).unwrap();
        let news = asked(&json!({
            "order_configuration": body["order_configuration"], "filled_size": number.to_string(),
        }))
        .orders
        .remove(0)
        .news;
        prop_assert_eq!(news.quantity, Some(number));
        prop_assert_eq!(news.price, Some(number));
        prop_assert_eq!(news.filled, Some(number));
    }

    #[test]
    fn nothing_makes_it_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cut in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with: u8,
    ) {
        let (btc, table) = (btc(), two_products());
        let keys = keys();
        let questions = [
            Question::Order { instrument: &btc, order: order(Some("1")) },
            Question::Order { instrument: &btc, order: order(None) },
            OPEN,
            Question::Fills { instrument: &btc, order: None, since: NOW },
            Question::Balances { market: Market::Spot },
            Question::Permissions { market: Market::Spot },
        ];
        let good = json!({
            "order": order_row(&json!({})), "orders": [order_row(&json!({}))], "fills": [],
            "accounts": [], "can_view": true, "success": false, "results": [],
            "channel": "user", "sequence_num": 0,
            "events": [{ "type": "update", "orders": [user_row(&json!({}))] }],
        })
        .to_string();
        let mut spoilt = good.clone().into_bytes();
        let at = at.index(spoilt.len());
        spoilt[at] = with;
        for text in [&bytes[..], &good.as_bytes()[..cut.index(good.len())], &spoilt] {
            for question in &questions {
                for index in 0..3 {
                    let _ = venue().parse_answer(question, index, text, &table, NOW);
                }
            }
            let cancel = Command::Cancel { instrument: &btc, order: order(Some("1")) };
            let _ = venue().parse_command(&cancel, 0, text, NOW);
            for status in [200, 400] {
                let _ = failure(Method::Post, "orders", status, &String::from_utf8_lossy(text));
            }
            let mut session = venue().private_session(0);
            let _ = session.frame(text, &table, &keys, NOW, &mut Facts::default());
        }
    }
}
