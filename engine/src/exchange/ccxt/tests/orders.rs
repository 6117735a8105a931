//! Orders by way of the bridge. The answers are what the bridge made of ccxt's structures, recorded
//! against the simulators of this repository.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use super::table;
use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::exchange::ccxt::Ccxt;
use crate::exchange::{DecodeError, ProviderId};
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::{
    Amend, Command, Facts, OrderRef, OrderReport, Proof, Question, Step, Touch, TradingVenue,
};

const NOW: TsNanos = TsNanos(1_795_980_200_000_000_000);
const CLIENT: &str = "bw00000000000000000000000001";

fn d(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn instrument(market: Market) -> std::sync::Arc<Instrument> {
    let (venue, native) = match market {
        Market::Spot => ("kraken", "XXBTZUSD"),
        Market::Perp => ("okx", "BTC-USDT-SWAP"),
    };
    let table = table();
    let found = table.by_venue(ProviderId::CCXT, venue, market, native);
    found.unwrap().clone()
}

fn terms(market: Market) -> OrderTerms {
    let instrument = instrument(market);
    OrderTerms {
        provider: ProviderId::CCXT,
        account: "default".to_owned(),
        entity_id: instrument.entity_id(),
        market,
        symbol: instrument.stream_symbol(),
        native_symbol: instrument.spec.native_key().into_owned(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: d("0.123456789012"),
        price: Some(d("60000.30")),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: None,
    }
}

fn asked(terms: &OrderTerms, is_hedged: bool) -> Value {
    let instrument = instrument(terms.market);
    let command = Command::Place {
        instrument: &instrument,
        terms,
        client_id: CLIENT,
        touch: Touch {
            last: Some(d("60000")),
            ..Touch::default()
        },
        is_hedged,
    };
    let requests = Ccxt.command(&command).unwrap();
    assert_eq!((requests.len(), requests[0].path.as_str()), (1, "/create"));
    serde_json::from_str(&requests[0].body).unwrap()
}

fn order_ref(id: Option<&'static str>) -> OrderRef<'static> {
    OrderRef {
        client_id: CLIENT,
        exchange_id: id,
        trigger_id: None,
        order_type: OrderType::Limit,
        side: Side::Buy,
        created_at: NOW,
    }
}

/// What an answer to a question about orders tells.
fn told(body: &str) -> Result<Facts, DecodeError> {
    let question = Question::OpenOrders {
        market: Market::Spot,
    };
    Ccxt.parse_answer(&question, 0, body.as_bytes(), &table(), NOW)
}

fn order_told(row: &str) -> OrderReport {
    let body = format!("{{\"exchange\":\"okx\",\"orders\":[{row}]}}");
    told(&body).unwrap().orders.remove(0)
}

#[test]
fn orders_leave_with_their_digits() {
    let body = asked(&terms(Market::Spot), false);
    let expected = json!({
        "symbol": "BTC/USD", "client": CLIENT, "side": "buy", "type": "limit",
        "amount": "0.123456789012", "price": "60000.3", "stop": null, "rises": null, "tif": "GTC",
        "post_only": false, "reduce_only": false, "margin": false, "position": null,
    });
    assert_eq!(body, expected);
    let stop = OrderTerms {
        order_type: OrderType::StopMarket,
        price: None,
        stop_price: Some(d("59000.1")),
        side: Side::Sell,
        reduce_only: true,
        position_side: Some(PositionSide::Long),
        ..terms(Market::Perp)
    };
    let body = asked(&stop, true);
    assert_eq!(body["symbol"], "BTC/USDT:USDT");
    assert_eq!(body["type"], "market");
    assert_eq!(body["stop"], "59000.1");
    assert_eq!(body["rises"], false);
    assert_eq!(body["position"], "long");
    assert_eq!(body["tif"], Value::Null);
}

#[test]
fn orders_that_were_taken_work_and_are_ours() {
    let (spot, terms) = (instrument(Market::Spot), terms(Market::Spot));
    let command = Command::Place {
        instrument: &spot,
        terms: &terms,
        client_id: CLIENT,
        touch: Touch::default(),
        is_hedged: false,
    };
    let body = br#"{"exchange":"kraken","orders":[{"market":"spot","symbol":"XXBTZUSD",
        "id":"1321003749386327552","status":null,"filled":null,"average":null,"amount":null}]}"#;
    let facts = Ccxt.parse_command(&command, 0, body, NOW).unwrap();
    let report = &facts.orders[0];
    assert_eq!(report.client_id.as_deref(), Some(CLIENT));
    assert_eq!(report.native_symbol, "kraken|XXBTZUSD");
    assert_eq!(report.news.word, Word::Works);
    assert_eq!(
        report.news.exchange_order_id.as_deref(),
        Some("1321003749386327552")
    );
    // An answer without an id proves nothing.
    let body =
        br#"{"exchange":"kraken","orders":[{"market":"spot","symbol":"XXBTZUSD","id":null}]}"#;
    let facts = Ccxt.parse_command(&command, 0, body, NOW).unwrap();
    assert_eq!(facts.orders, []);
}

#[test]
fn golden_orders_are_read() {
    // Bybit: executed whole at the market; ccxt's price is the average.
    let filled = order_told(
        r#"{"market":"perp","symbol":"BTCUSDT","id":"a2ff9ea9-9ebd-4ea8-9255-25e93d219608",
        "client":"bw00000000000000000000000014","status":"closed","type":"market","side":"buy",
        "price":"64288.3","stop":null,"amount":"0.01","filled":"0.01","average":"64288.3","tif":"IOC",
        "post_only":false,"reduce_only":false,"created":1795980051575,"updated":1795980051575}"#,
    );
    assert_eq!(filled.market, Market::Perp);
    assert_eq!(filled.news.word, Word::Done);
    assert_eq!(filled.news.filled, Some(d("0.01")));
    assert_eq!(filled.news.average_price, Some(d("64288.3")));
    assert_eq!(filled.news.price, None);
    assert_eq!(filled.news.at, TsNanos(1_795_980_051_575_000_000));
    assert_eq!(filled.terms.order_type, Some(OrderType::Market));
    // OKX: a waiting order that would execute at the market, told with a price of -1.
    let row = |status: &str, becomes: &str| {
        format!(
            r#"{{"market":"spot","symbol":"BTC-USDT","id":"2497956918703120388",
            "client":"bw00000000000000000000000009","status":"{status}","type":"trigger","side":"buy",
            "price":"-1","stop":"67510","amount":"0.01","filled":null,"average":null,"tif":null,
            "post_only":null,"reduce_only":false,"created":1795980123985,"updated":1795980123985,
            "trigger":true,"becomes":{becomes}}}"#
        )
    };
    let waiting = order_told(&row("open", "null"));
    assert_eq!(waiting.terms.order_type, Some(OrderType::StopMarket));
    assert_eq!(waiting.news.word, Word::Works);
    assert_eq!(waiting.news.exchange_order_id, None);
    assert_eq!(
        waiting.news.trigger_id.as_deref(),
        Some("2497956918703120388")
    );
    // Triggered: what it became is another order, and nothing has executed yet.
    let triggered = order_told(&row("closed", "\"2497956918703129999\""));
    assert_eq!(triggered.news.word, Word::Works);
    assert_eq!(
        triggered.news.exchange_order_id.as_deref(),
        Some("2497956918703129999")
    );
    assert_eq!(
        order_told(&row("canceled", "null")).news.word,
        Word::Canceled,
        "by somebody, though a market order does not stay"
    );
}

#[test]
fn a_status_means_what_has_executed_with_it() {
    for (status, kind, tif, filled, word) in [
        ("open", "limit", "GTC", "0", Some(Word::Works)),
        ("open", "limit", "GTC", "0.4", Some(Word::WorksInPart)),
        ("canceling", "limit", "GTC", "0", Some(Word::Works)),
        ("closed", "limit", "GTC", "1", Some(Word::Done)),
        ("closed", "limit", "GTC", "0.4", Some(Word::Canceled)),
        ("closed", "limit", "IOC", "0.4", Some(Word::Expired)),
        ("canceled", "limit", "GTC", "0.4", Some(Word::Canceled)),
        ("canceled", "limit", "PO", "0", Some(Word::Canceled)),
        ("canceled", "limit", "FOK", "0", Some(Word::Expired)),
        ("canceled", "market", "GTC", "0", Some(Word::Expired)),
        ("expired", "limit", "GTC", "0", Some(Word::Expired)),
        ("rejected", "limit", "GTC", "0", Some(Word::Refused)),
        ("rejected", "limit", "GTC", "0.4", Some(Word::Canceled)),
        ("no such status", "limit", "GTC", "0", None),
    ] {
        let body = format!(
            r#"{{"exchange":"okx","orders":[{{"market":"spot","symbol":"BTC-USDT","id":"1","status":"{status}",
            "type":"{kind}","tif":"{tif}","price":"10","amount":"1","filled":"{filled}"}}]}}"#
        );
        let orders = told(&body).unwrap().orders;
        let found = orders.first().map(|report| report.news.word);
        assert_eq!(found, word, "{status} {kind} {tif} {filled}");
    }
}

#[test]
fn golden_accounts_are_read() {
    let facts = told(
        r#"{"exchange":"okx","all_balances":true,"all_positions":true,"hedged":false,
        "fills":[{"market":"perp","symbol":"BTC-USDT-SWAP","id":"1865851764","order":"2497956918703120392",
         "client":"bw00000000000000000000000014","side":"buy","price":"64337.1","amount":"0.01",
         "fee":"0.3216855","fee_asset":"USDT","maker":false,"ts":1795980127800}],
        "balances":[{"market":null,"asset":"USDT","free":"99389.25","used":"610.75","total":"100000"},
         {"market":"spot","asset":"BTC","free":"1.5","used":null,"total":"2"},
         {"market":"perp","asset":"ETH","free":null,"used":"0.5","total":"2"}],
        "positions":[{"symbol":"BTC-USDT-SWAP","side":"short","hedged":false,"amount":"0.01","entry":"64337.1",
         "mark":"64341.8","pnl":"0.047","leverage":"3","margin":"214.4726666666666667","ratio":"0.0119",
         "liquidation":null,"ts":1795980127800}]}"#,
    )
    .unwrap();
    let fill = &facts.fills[0];
    assert_eq!(fill.native_symbol, "okx|BTC-USDT-SWAP");
    assert_eq!(
        (fill.fee, fill.is_maker),
        (Some(d("0.3216855")), Some(false))
    );
    let balances: Vec<_> = facts
        .balances
        .iter()
        .map(|row| (row.market, row.free, row.locked, row.total))
        .collect();
    let expected = [
        (None, d("99389.25"), d("610.75"), d("100000")),
        (Some(Market::Spot), d("1.5"), d("0.5"), d("2")),
        (Some(Market::Perp), d("1.5"), d("0.5"), d("2")),
    ];
    assert_eq!(balances, expected);
    let position = &facts.positions[0];
    assert_eq!(position.quantity, d("-0.01"));
    assert_eq!(position.position_side, PositionSide::Net);
    assert_eq!(position.native_symbol, "okx|BTC-USDT-SWAP");
    assert!(facts.has_all_balances && facts.has_all_positions);
    assert_eq!(facts.is_hedged, Some(false));
}

#[test]
fn an_exchange_is_offered_for_what_it_can() {
    let facts = told(
        r#"{"exchange":"coinbase","abilities":[{"market":"spot","market_orders":true,"stops":false,
        "ioc":true,"fok":false,"post_only":true,"reduce_only":true,"amend":false,"leverage":true,
        "hedged":true,"client_lookup":false}]}"#,
    )
    .unwrap();
    let (market, support) = facts.support[0];
    assert_eq!(market, Market::Spot);
    assert_eq!(support.types, [OrderType::Market, OrderType::Limit]);
    assert_eq!(support.times_in_force, [TimeInForce::Gtc, TimeInForce::Ioc]);
    assert_eq!(support.amend, Amend::Replace);
    // Spot has no positions.
    assert!(!support.has_reduce_only && !support.has_leverage && !support.has_hedge_mode);
    // It was not told what the key may do: that is not the same as that it may not withdraw.
    assert_eq!(facts.permissions, None);
    for (rights, expected) in [
        ("null", None),
        (r#"{"trade":true,"withdraw":false}"#, Some((true, false))),
        (r#"{"trade":false,"withdraw":true}"#, Some((false, true))),
    ] {
        let facts = told(&format!(
            r#"{{"exchange":"okx","abilities":[{{"market":"perp","market_orders":true,"stops":true,
            "ioc":true,"fok":true,"post_only":true,"reduce_only":true,"amend":true,"leverage":true,
            "hedged":true,"client_lookup":true,"rights":{rights}}}]}}"#
        ))
        .unwrap();
        let may = facts.permissions;
        let may = may.map(|may| (may.can_trade, may.can_withdraw));
        assert_eq!(may, expected, "{rights}");
    }
}

#[test]
fn errors_prove_what_they_prove() {
    let failure = |path: &str, error: &Value| {
        let mut request = Ccxt
            .question(&Question::PositionMode, NOW)
            .first()
            .unwrap()
            .clone();
        request.path = path.to_owned();
        let body = json!({ "error": error }).to_string();
        Ccxt.failure(&request, 503, None, body.as_bytes()).unwrap()
    };
    for (class, base, sent, of_placing, code) in [
        (
            "InsufficientFunds",
            "ExchangeError",
            true,
            Proof::Refused,
            C::InsufficientBalance,
        ),
        (
            "InvalidOrder",
            "ExchangeError",
            true,
            Proof::Refused,
            C::OrderRejected,
        ),
        (
            "OrderImmediatelyFillable",
            "InvalidOrder",
            true,
            Proof::Refused,
            C::OrderRejected,
        ),
        (
            "BadSymbol",
            "BadRequest",
            true,
            Proof::Refused,
            C::PairNotFound,
        ),
        (
            "AuthenticationError",
            "ExchangeError",
            true,
            Proof::Refused,
            C::Unauthorized,
        ),
        (
            "PermissionDenied",
            "AuthenticationError",
            true,
            Proof::Refused,
            C::Forbidden,
        ),
        (
            "MarketClosed",
            "OperationRejected",
            true,
            Proof::Refused,
            C::ExchangeMaintenance,
        ),
        (
            "InvalidNonce",
            "NetworkError",
            true,
            Proof::ClockSkew,
            C::ProviderUnavailable,
        ),
        (
            "NotSupported",
            "ExchangeError",
            false,
            Proof::Refused,
            C::Unsupported,
        ),
        ("OffStep", "", false, Proof::Refused, C::PrecisionError),
        // An id of ours that is there has arrived.
        (
            "DuplicateOrderId",
            "InvalidOrder",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        // What ccxt has no class for may be an "internal error".
        (
            "ExchangeError",
            "BaseError",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "RequestTimeout",
            "NetworkError",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "NetworkError",
            "OperationFailed",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "ExchangeNotAvailable",
            "NetworkError",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "RateLimitExceeded",
            "NetworkError",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "DDoSProtection",
            "NetworkError",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "OnMaintenance",
            "ExchangeNotAvailable",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        (
            "TypeError",
            "Exception",
            true,
            Proof::Nothing,
            C::OrderStateUnknown,
        ),
        // Nothing had been sent.
        (
            "ExchangeNotAvailable",
            "NetworkError",
            false,
            Proof::NotNow,
            C::ProviderUnavailable,
        ),
        (
            "RateLimitExceeded",
            "NetworkError",
            false,
            Proof::NotNow,
            C::RateLimitExceeded,
        ),
        ("TooLate", "", false, Proof::NotNow, C::ProviderUnavailable),
    ] {
        let error = json!({"class": class, "bases": [base], "sent": sent, "message": ""});
        let failed = failure("/create", &error);
        assert_eq!(
            (failed.proof, failed.error.code),
            (of_placing, code),
            "{class} {sent}"
        );
        assert_eq!(failed.error.details["ccxt_class"], class);
    }
    let gone = json!({"class": "OrderNotFound", "bases": ["InvalidOrder"], "sent": true, "status": 400,
        "message": "binance {\"code\":-2011,\"msg\":\"Unknown order sent.\"}"});
    assert_eq!(failure("/cancel", &gone).proof, Proof::NoSuchOrder);
    assert_eq!(failure("/find", &gone).proof, Proof::NoSuchOrder);
    assert_eq!(failure("/create", &gone).proof, Proof::Refused);
    let details = failure("/cancel", &gone).error.details;
    assert_eq!(details["exchange_code"], -2011);
    assert_eq!(details["exchange_status"], 400);
    let inner = json!({"class": "InsufficientFunds", "bases": [], "sent": true,
        "message": "okx {\"code\":\"1\",\"data\":[{\"sCode\":\"51008\",\"sMsg\":\"…\"}],\"msg\":\"\"}"});
    assert_eq!(
        failure("/create", &inner).error.details["exchange_code"],
        "51008"
    );
    // A question that can't be answered is asked again, and proves nothing.
    let unprovable = json!({"class": "Unprovable", "bases": [], "sent": false, "message": "…"});
    assert_eq!(failure("/find", &unprovable).proof, Proof::Nothing);
    let limit = json!({"class": "RateLimitExceeded", "bases": ["NetworkError"], "message": "…"});
    assert_eq!(failure("/open", &limit).proof, Proof::NotNow);
    // What the bridge itself has not written.
    let request = Ccxt.question(&Question::Positions, NOW).remove(0);
    let failed = Ccxt.failure(&request, 502, None, b"<html>").unwrap();
    assert_eq!(failed.proof, Proof::Nothing);
    assert_eq!(Ccxt.failure(&request, 200, None, b"{}"), None);
}

#[test]
fn the_bridge_is_handed_the_key_and_nobody_else_gets_it() {
    let markets = [Market::Spot];
    let keys = Keys::handed("kraken", &markets, "name", "canary", Some("third"))
        .ok()
        .unwrap();
    let request = Ccxt
        .question(
            &Question::Balances {
                market: Market::Spot,
            },
            NOW,
        )
        .remove(0);
    assert!(!format!("{request:?}").contains("canary"));
    let signed = Ccxt.sign(&keys, &request, "", NOW, 5_000).ok().unwrap();
    assert_eq!(signed.target, "/account/kraken/balances");
    let body: Value = serde_json::from_str(&signed.body).unwrap();
    assert_eq!(
        body,
        json!({"key": {"key": "name", "secret": "canary", "passphrase": "third"},
            "until": 1_795_980_205_000_i64, "ask": {"market": "spot"}})
    );
    // It signs nothing here, and a key that signs here is handed to nobody.
    let error = keys.sign(b"text").unwrap_err();
    assert!(!format!("{error:?}").contains("canary"));
    let own = Keys::new(KeyKind::Hmac, "name", "canary", None)
        .ok()
        .unwrap();
    let error = Ccxt.sign(&own, &request, "", NOW, 5_000).err().unwrap();
    assert_eq!(error.code, C::InternalError);
    assert!(!format!("{error:?}").contains("canary"));
    assert!(Ccxt.private_session(0).opened(&own, NOW).is_empty());
    let hello = Ccxt.private_session(0).opened(&keys, NOW);
    let hello: Value = serde_json::from_str(&hello[0]).unwrap();
    assert_eq!(hello["markets"], json!(["spot"]));
}

#[test]
fn the_private_stream_tells_facts_and_what_is_to_be_done() {
    let keys = Keys::handed("okx", &[], "name", "secret", None)
        .ok()
        .unwrap();
    let step = |frame: &str| {
        let mut facts = Facts::default();
        let mut session = Ccxt.private_session(0);
        let step = session.frame(frame.as_bytes(), &table(), &keys, NOW, &mut facts);
        (step, facts)
    };
    assert_eq!(step(r#"{"op":"ready"}"#).0, Ok(Step::Ready));
    assert_eq!(step(r#"{"op":"ask"}"#).0, Ok(Step::Ask));
    let lost = r#"{"op":"lost","error":{"class":"NetworkError","bases":[],"message":"gone"}}"#;
    assert!(matches!(step(lost).0, Ok(Step::Reconnect(_))));
    let refused =
        r#"{"op":"lost","error":{"class":"AuthenticationError","bases":[],"message":"no"}}"#;
    let Ok(Step::Refused(error)) = step(refused).0 else {
        panic!("refused");
    };
    assert_eq!(error.code, C::Unauthorized);
    let (told, facts) = step(
        r#"{"exchange":"okx","orders":[{"market":"spot","symbol":"BTC-USDT","id":"7","client":null,
        "status":"canceled","type":"limit","side":"buy","price":"61075","amount":"0.01","filled":"0"}]}"#,
    );
    assert_eq!((told, facts.orders.len()), (Ok(Step::Wait), 1));
    assert!(step(r#"{"op":"what"}"#).0.is_err());
    assert!(step("{").0.is_err());
}

#[test]
fn executions_of_an_order_that_was_asked_for_are_its_own() {
    let spot = instrument(Market::Spot);
    let question = Question::Fills {
        instrument: &spot,
        order: Some(order_ref(Some("8886774003"))),
        since: NOW,
    };
    let body = br#"{"exchange":"kraken","fills":[{"market":"spot","symbol":"XXBTZUSD","id":"1366462736",
        "order":"8886774003","client":null,"side":"buy","price":"64295.32","amount":"0.01","fee":"0.00001",
        "fee_asset":"BTC","maker":false,"ts":1795980199065},
        {"market":"spot","symbol":"XXBTZUSD","id":"2","order":"9","client":null,"price":"1","amount":"1","ts":5}]}"#;
    let facts = Ccxt
        .parse_answer(&question, 0, body, &table(), NOW)
        .unwrap();
    let clients: Vec<_> = facts
        .fills
        .iter()
        .map(|fill| fill.client_id.as_deref())
        .collect();
    assert_eq!(clients, [Some(CLIENT), None]);
}

proptest! {
    /// Whatever comes, nothing panics; numbers that can't be kept exactly are errors.
    #[test]
    fn any_answer_is_read_or_refused(text in "[ -~]{0,200}", number in "[-0-9.eE]{0,40}") {
        let _ = told(&text);
        let body = format!(
            r#"{{"exchange":"okx","orders":[{{"market":"spot","symbol":"A","id":"1","status":"open",
            "amount":"{number}","filled":"{number}","price":"{number}"}}],
            "balances":[{{"asset":"A","free":"{number}","used":"{number}"}}],
            "positions":[{{"symbol":"A","side":"long","amount":"{number}"}}]}}"#
        );
        let _ = told(&body);
    }
}
