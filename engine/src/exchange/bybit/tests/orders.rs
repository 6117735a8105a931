//! Orders and questions as requests, byte by byte.

use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::venue::tests::{NOW, decimal, lines, order_ref, terms};
use crate::trading::venue::{Amend, Command, OrderRef, Question, Touch, TradingVenue as _};

use super::super::Bybit;
use super::{perp, spot};

fn place(row: &Instrument, terms: &OrderTerms, is_hedged: bool) -> String {
    let command = Command::Place {
        instrument: row,
        terms,
        client_id: "bw1",
        touch: Touch {
            last: Some(decimal("100")),
            ..Touch::default()
        },
        is_hedged,
    };
    match Bybit.command(&command) {
        Ok(requests) => lines(&requests).join("\n"),
        Err(error) => error.code.as_str().to_owned(),
    }
}

/// A market order.
fn at_market(terms: &OrderTerms, side: Side) -> OrderTerms {
    OrderTerms {
        order_type: OrderType::Market,
        price: None,
        time_in_force: TimeInForce::Ioc,
        side,
        ..terms.clone()
    }
}

fn stop(terms: &OrderTerms, order_type: OrderType, side: Side, at: &str) -> OrderTerms {
    OrderTerms {
        order_type,
        side,
        stop_price: Some(decimal(at)),
        price: terms.price.filter(|_| order_type.has_price()),
        ..terms.clone()
    }
}

#[test]
fn spot_orders_are_asked_for() {
    let row = spot();
    let limit = terms(&row);
    let post_only = OrderTerms {
        post_only: true,
        margin_trading: true,
        ..limit.clone()
    };
    let fok = OrderTerms {
        time_in_force: TimeInForce::Fok,
        ..limit.clone()
    };
    for (terms, expected) in [
        (
            limit.clone(),
            r#""side":"Buy","orderType":"Limit","qty":"0.5","price":"100","timeInForce":"GTC","isLeverage":0,"orderFilter":"Order""#,
        ),
        (
            fok,
            r#""side":"Buy","orderType":"Limit","qty":"0.5","price":"100","timeInForce":"FOK","isLeverage":0,"orderFilter":"Order""#,
        ),
        (
            post_only,
            r#""side":"Buy","orderType":"Limit","qty":"0.5","price":"100","timeInForce":"PostOnly","isLeverage":1,"orderFilter":"Order""#,
        ),
        (
            at_market(&limit, Side::Buy),
            r#""side":"Buy","orderType":"Market","qty":"0.5","marketUnit":"baseCoin","isLeverage":0,"orderFilter":"Order""#,
        ),
        (
            stop(&limit, OrderType::StopMarket, Side::Sell, "90.50"),
            r#""side":"Sell","orderType":"Market","qty":"0.5","triggerPrice":"90.5","marketUnit":"baseCoin","isLeverage":0,"orderFilter":"StopOrder""#,
        ),
        (
            stop(&limit, OrderType::StopLimit, Side::Buy, "90"),
            r#""side":"Buy","orderType":"Limit","qty":"0.5","price":"100","timeInForce":"GTC","triggerPrice":"90","isLeverage":0,"orderFilter":"StopOrder""#,
        ),
    ] {
        let expected = format!(
            r#"POST /v5/order/create {{"category":"spot","symbol":"BTCUSDT",{expected},"orderLinkId":"bw1"}}"#
        );
        assert_eq!(place(&row, &terms, false), expected);
        let body = expected.split_once(" {").unwrap().1;
        assert!(serde_json::from_str::<serde_json::Value>(&format!("{{{body}")).is_ok());
    }
    let reduce = OrderTerms {
        reduce_only: true,
        ..limit
    };
    assert_eq!(place(&row, &reduce, false), "CRYPTO_UNSUPPORTED");
}

#[test]
fn linear_orders_are_asked_for() {
    let row = perp();
    let limit = terms(&row);
    let reduce = |terms: OrderTerms| OrderTerms {
        reduce_only: true,
        ..terms
    };
    for (terms, is_hedged, expected) in [
        (
            limit.clone(),
            false,
            r#""side":"Buy","orderType":"Limit","qty":"0.5","price":"100","timeInForce":"GTC","reduceOnly":false,"positionIdx":0"#,
        ),
        (
            at_market(&limit, Side::Sell),
            true,
            r#""side":"Sell","orderType":"Market","qty":"0.5","reduceOnly":false,"positionIdx":2"#,
        ),
        (
            reduce(at_market(&limit, Side::Sell)),
            true,
            r#""side":"Sell","orderType":"Market","qty":"0.5","reduceOnly":true,"positionIdx":1"#,
        ),
        (
            reduce(stop(&limit, OrderType::StopMarket, Side::Sell, "90")),
            false,
            r#""side":"Sell","orderType":"Market","qty":"0.5","triggerPrice":"90","triggerDirection":2,"triggerBy":"LastPrice","reduceOnly":true,"positionIdx":0"#,
        ),
        (
            stop(&limit, OrderType::StopLimit, Side::Sell, "110"),
            false,
            r#""side":"Sell","orderType":"Limit","qty":"0.5","price":"100","timeInForce":"GTC","triggerPrice":"110","triggerDirection":1,"triggerBy":"LastPrice","reduceOnly":false,"positionIdx":0"#,
        ),
    ] {
        assert_eq!(
            place(&row, &terms, is_hedged),
            format!(
                r#"POST /v5/order/create {{"category":"linear","symbol":"BTCUSDT",{expected},"orderLinkId":"bw1"}}"#
            )
        );
    }
    let long = OrderTerms {
        position_side: Some(PositionSide::Long),
        ..limit.clone()
    };
    assert_eq!(place(&row, &long, false), "CRYPTO_INVALID_PARAMETER");
    // Contracts that settle in USDC are never held by side.
    let mut usdc = row;
    usdc.spec.settlement_symbol = Some("USDC".to_owned());
    assert!(place(&usdc, &limit, true).contains(r#""positionIdx":0"#));
}

fn command(command: &Command<'_>) -> Vec<String> {
    lines(&Bybit.command(command).unwrap())
}

#[test]
fn cancellations_and_the_like_are_asked_for() {
    let (spot, perp) = (spot(), perp());
    let limit = order_ref("bw1", OrderType::Limit);
    let stop = order_ref("bw1", OrderType::StopMarket);
    let known = OrderRef {
        exchange_id: Some("28"),
        ..stop
    };
    for (row, order, expected) in [
        (
            &spot,
            limit,
            r#"{"category":"spot","symbol":"BTCUSDT","orderLinkId":"bw1","orderFilter":"Order"}"#,
        ),
        (
            &spot,
            stop,
            r#"{"category":"spot","symbol":"BTCUSDT","orderLinkId":"bw1","orderFilter":"StopOrder"}"#,
        ),
        (
            &spot,
            known,
            r#"{"category":"spot","symbol":"BTCUSDT","orderId":"28","orderFilter":"Order"}"#,
        ),
        (
            &perp,
            known,
            r#"{"category":"linear","symbol":"BTCUSDT","orderId":"28"}"#,
        ),
    ] {
        let cancel = Command::Cancel {
            instrument: row,
            order,
        };
        assert_eq!(
            command(&cancel),
            [format!("POST /v5/order/cancel {expected}")]
        );
    }
    let all = command(&Command::CancelAll { instrument: &spot });
    let kinds = ["Order", "StopOrder", "tpslOrder"].map(|kind| {
        format!(
            r#"POST /v5/order/cancel-all {{"category":"spot","symbol":"BTCUSDT","orderFilter":"{kind}"}}"#
        )
    });
    assert_eq!(all, kinds);
    assert_eq!(
        command(&Command::CancelAll { instrument: &perp }),
        [r#"POST /v5/order/cancel-all {"category":"linear","symbol":"BTCUSDT"}"#]
    );
    let leverage = |instrument| Command::SetLeverage {
        instrument,
        leverage: 6,
    };
    assert_eq!(
        command(&leverage(&perp)),
        [
            r#"POST /v5/position/set-leverage {"category":"linear","symbol":"BTCUSDT","buyLeverage":"6","sellLeverage":"6"}"#
        ]
    );
    let refused = Bybit.command(&leverage(&spot)).unwrap_err();
    assert_eq!(refused.code, C::Unsupported);
}

#[test]
fn orders_are_taken_back_when_no_connection_is_left() {
    let dead_man = |market, secs| Command::DeadMan {
        market,
        instruments: &[],
        secs,
    };
    let path = "POST /v5/order/disconnected-cancel-all";
    for (market, product) in [(Market::Spot, "SPOT"), (Market::Perp, "DERIVATIVES")] {
        let asked = command(&dead_man(market, 30));
        let body = format!(r#"{path} {{"product":"{product}","timeWindow":30}}"#);
        assert_eq!(asked, [body]);
        assert_eq!(Bybit.support(market).dead_man_secs, Some((3, 300)));
        // The setting stays; the connection is no longer watched over.
        assert!(Bybit.command(&dead_man(market, 0)).unwrap().is_empty());
        for secs in [2, 301] {
            let refused = Bybit.command(&dead_man(market, secs)).unwrap_err();
            assert_eq!(refused.code, C::InvalidParameter);
        }
    }
    let session = Bybit.private_session(0);
    let topics = r#""args":["dcp.spot","dcp.future"]"#;
    for (is_wanted, op) in [(true, "subscribe"), (false, "unsubscribe")] {
        let frame = format!(r#"{{"req_id":"watch","op":"{op}",{topics}}}"#);
        assert_eq!(session.watch(is_wanted), Some(frame));
    }
}

#[test]
fn amendments_are_asked_for() {
    let row = perp();
    let terms = terms(&row);
    let ask = |quantity: &str, price: Option<&str>| {
        command(&Command::Amend {
            instrument: &row,
            order: order_ref("bw1", OrderType::Limit),
            terms: &terms,
            quantity: decimal(quantity),
            price: price.map(decimal),
        })
    };
    let head =
        r#"POST /v5/order/amend {"category":"linear","symbol":"BTCUSDT","orderLinkId":"bw1""#;
    assert_eq!(Bybit.support(Market::Spot).amend, Amend::Native);
    assert_eq!(ask("0.70", None), [format!(r#"{head},"qty":"0.7"}}"#)]);
    assert_eq!(
        ask("0.5", Some("99.5")),
        [format!(r#"{head},"price":"99.5"}}"#)]
    );
    assert_eq!(
        ask("0.7", Some("99.5")),
        [format!(r#"{head},"qty":"0.7","price":"99.5"}}"#)]
    );
    assert!(ask("0.50", Some("100.0")).is_empty());
}

#[test]
fn questions_are_asked() {
    let (spot, perp) = (spot(), perp());
    let ask = |question: &Question<'_>| lines(&Bybit.question(question, NOW));
    let recent = order_ref("bw1", OrderType::Limit);
    let by_id = "category=spot&symbol=BTCUSDT&orderLinkId=bw1";
    let places = [
        format!("GET /v5/order/realtime?{by_id}"),
        format!("GET /v5/order/realtime?{by_id}&openOnly=1"),
        format!("GET /v5/order/history?{by_id}"),
    ];
    let order = |instrument, order| Question::Order { instrument, order };
    assert_eq!(ask(&order(&spot, recent)), places);
    // An order of long ago is not among those of the last seven days.
    let old = OrderRef {
        exchange_id: Some("28"),
        created_at: TsNanos::from_ms(1_690_000_000_000),
        ..recent
    };
    let asked = ask(&order(&perp, old));
    assert_eq!(asked.len(), 4);
    assert_eq!(
        asked[3],
        "GET /v5/order/history?category=linear&symbol=BTCUSDT&orderId=28&startTime=1689999940000"
    );
    for (question, expected) in [
        (
            Question::OpenOrders {
                market: Market::Spot,
            },
            vec!["GET /v5/order/realtime?category=spot&limit=50"],
        ),
        (
            Question::OpenOrders {
                market: Market::Perp,
            },
            vec![
                "GET /v5/order/realtime?category=linear&settleCoin=USDT&limit=50",
                "GET /v5/order/realtime?category=linear&settleCoin=USDC&limit=50",
            ],
        ),
        (
            Question::Balances {
                market: Market::Spot,
            },
            vec!["GET /v5/account/wallet-balance?accountType=UNIFIED"],
        ),
        (
            Question::Positions,
            vec![
                "GET /v5/position/list?category=linear&settleCoin=USDT&limit=200",
                "GET /v5/position/list?category=linear&settleCoin=USDC&limit=200",
            ],
        ),
        (
            Question::PositionMode,
            vec!["GET /v5/position/list?category=linear&symbol=BTCUSDT"],
        ),
        (
            Question::Permissions {
                market: Market::Perp,
            },
            vec!["GET /v5/user/query-api"],
        ),
    ] {
        assert_eq!(ask(&question), expected);
    }
}

#[test]
fn executions_are_asked_for_week_by_week() {
    let row = perp();
    let ask = |since: TsNanos, order| {
        let question = Question::Fills {
            instrument: &row,
            order,
            since,
        };
        lines(&Bybit.question(&question, NOW))
    };
    let since = TsNanos::from_ms(NOW.as_ms() - 8 * 24 * 3_600_000);
    let head = "GET /v5/execution/list?category=linear&symbol=BTCUSDT";
    assert_eq!(
        ask(since, None),
        [
            format!("{head}&startTime=1699308800123&limit=100"),
            format!("{head}&startTime=1699913600123&limit=100"),
        ]
    );
    let order = order_ref("bw1", OrderType::Limit);
    let asked = ask(NOW, Some(order));
    assert_eq!(asked.len(), 1);
    assert!(asked[0].starts_with(&format!("{head}&orderLinkId=bw1&startTime=1700000000123")));
    // However long ago, there is an end to the asking.
    assert!(ask(TsNanos(i64::MIN), None).len() <= 106);
}
