//! Answers and pushes, and the facts they have to become.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::orders::{ID, btc, dec, keys, order, terms, text, venue};
use super::{ts, two_products};
use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::{
    Access, Command, Facts, Failure, Method, NativeRequest, OrderReport, PrivateSession, Proof,
    Question, Step,
};

const NOW: TsNanos = TsNanos::from_ms(1_775_000_000_000);
const OPEN: Question<'static> = Question::OpenOrders {
    market: Market::Spot,
};

fn answer(question: Question<'_>, index: usize, body: &Value) -> Facts {
    let body = body.to_string();
    venue()
        .parse_answer(&question, index, body.as_bytes(), &two_products(), NOW)
        .unwrap()
}

fn failure(method: Method, path: &str, status: u16, body: &str) -> Option<Failure> {
    let request = NativeRequest {
        method,
        market: Market::Spot,
        path: format!("/api/v3/brokerage/{path}"),
        query: String::new(),
        body: String::new(),
        access: Access::Signed,
        budget: (1, 1),
    };
    venue().failure(&request, status, None, body.as_bytes())
}

fn with(mut row: Value, change: &Value) -> Value {
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

#[test]
fn what_failures_prove() {
    let refused = |name: &str| {
        json!({
            "success": false, "failure_reason": "UNKNOWN_FAILURE_REASON", "order_id": "",
            "error_response": { "error": name, "message": "why", "error_details": "",
                "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON",
                "new_order_failure_reason": name },
        })
        .to_string()
    };
    let canceled = |name: &str| {
        json!({ "results": [{ "success": false, "failure_reason": name, "order_id": "1" }] })
            .to_string()
    };
    let edited = |name: &str| {
        json!({ "success": false, "errors": [{ "edit_failure_reason": name }] }).to_string()
    };
    let named = |name: &str| json!({ "error": name, "message": "why" }).to_string();
    for (path, status, body, code, proof) in [
        (
            "orders",
            200,
            refused("UNSUPPORTED_ORDER_CONFIGURATION"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INSUFFICIENT_FUND"),
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_PRODUCT_ID"),
            C::PairNotFound,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INELIGIBLE_PAIR"),
            C::PairNotFound,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_LEDGER_BALANCE"),
            C::InsufficientBalance,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_SIZE_PRECISION"),
            C::PrecisionError,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_PRICE_PRECISION"),
            C::PrecisionError,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_LIMIT_PRICE_POST_ONLY"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("INVALID_NO_LIQUIDITY"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("COMMANDER_REJECTED_NEW_ORDER"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("GEOFENCING_RESTRICTION"),
            C::Forbidden,
            Proof::Refused,
        ),
        // Nobody knows this one.
        (
            "orders",
            200,
            refused("BRAND_NEW_REASON"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            400,
            named("BRAND_NEW_REASON"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders",
            400,
            named("INVALID_ARGUMENT"),
            C::InvalidParameter,
            Proof::Refused,
        ),
        (
            "orders",
            200,
            refused("ORDER_ENTRY_DISABLED"),
            C::ExchangeMaintenance,
            Proof::NotNow,
        ),
        (
            "orders",
            200,
            refused("INTERNAL"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "orders",
            403,
            named("PERMISSION_DENIED"),
            C::Forbidden,
            Proof::Refused,
        ),
        (
            "orders",
            401,
            "Unauthorized\n".to_owned(),
            C::Unauthorized,
            Proof::ClockSkew,
        ),
        (
            "orders",
            429,
            String::new(),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "orders",
            403,
            named("rate_limit_exceeded"),
            C::RateLimitExceeded,
            Proof::NotNow,
        ),
        (
            "orders",
            500,
            named("INTERNAL"),
            C::ProviderUnavailable,
            Proof::Nothing,
        ),
        (
            "orders",
            503,
            "<html>".to_owned(),
            C::ExchangeMaintenance,
            Proof::Nothing,
        ),
        (
            "orders",
            400,
            "<html>".to_owned(),
            C::OrderRejected,
            Proof::Nothing,
        ),
        (
            "orders/batch_cancel",
            200,
            canceled("UNKNOWN_CANCEL_ORDER"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "orders/batch_cancel",
            200,
            canceled("DUPLICATE_CANCEL_REQUEST"),
            C::OrderRejected,
            Proof::AlreadySo,
        ),
        (
            "orders/batch_cancel",
            200,
            canceled("COMMANDER_REJECTED_CANCEL_ORDER"),
            C::OrderRejected,
            Proof::Refused,
        ),
        (
            "orders/edit",
            200,
            edited("ORDER_NOT_FOUND"),
            C::OrderNotFound,
            Proof::NoSuchOrder,
        ),
        (
            "orders/edit",
            200,
            edited("ONLY_LIMIT_ORDER_EDITS_SUPPORTED"),
            C::OrderRejected,
            Proof::Refused,
        ),
    ] {
        let found = failure(Method::Post, path, status, &body).unwrap();
        assert_eq!(
            (found.error.code, found.proof),
            (code, proof),
            "{status} {body}"
        );
    }
    let shown = failure(Method::Post, "orders", 200, &refused("BRAND_NEW_REASON"))
        .unwrap()
        .error;
    assert_eq!(shown.details["exchange_code"], "BRAND_NEW_REASON");
    assert_eq!(shown.details["exchange_message"], "why");
    // The preview's reason says the most.
    let body = r#"{"success":false,"error_response":{"error":"UNKNOWN_FAILURE_REASON","message":"","preview_failure_reason":"PREVIEW_INSUFFICIENT_FUND","new_order_failure_reason":"UNKNOWN_FAILURE_REASON"}}"#;
    let found = failure(Method::Post, "orders", 200, body).unwrap();
    assert_eq!(found.error.code, C::InsufficientBalance);
    let body =
        r#"{"success":false,"error_response":{"error":"X","message":"account is not available"}}"#;
    let found = failure(Method::Post, "orders", 200, body).unwrap();
    assert_eq!(found.error.code, C::InsufficientBalance);
    // Questions.
    let gone = r#"{"error":"NOT_FOUND","error_details":"","message":"order not found"}"#;
    let found = failure(Method::Get, "orders/historical/1", 404, gone).unwrap();
    assert_eq!(
        (found.error.code, found.proof),
        (C::OrderNotFound, Proof::NoSuchOrder)
    );
    let gone = r#"{"error":"unknown","error_details":"order with this orderID was not found","message":"order with this orderID was not found"}"#;
    let found = failure(Method::Get, "orders/historical/1", 400, gone).unwrap();
    assert_eq!(found.proof, Proof::NoSuchOrder);
    assert_eq!(failure(Method::Get, "accounts", 200, "{}"), None);
    // A success that can't be read is for the reader of it, who proves nothing by it.
    assert_eq!(failure(Method::Post, "orders", 200, "<html>"), None);
}

/// The document's message of the user channel, with changes.
fn user_row(change: &Value) -> Value {
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
    let frame = user_frame(0, "snapshot", &json!([user_row(&json!({}))]));
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

proptest! {
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
