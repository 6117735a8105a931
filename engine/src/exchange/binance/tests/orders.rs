//! Orders and questions as requests, byte by byte.

use rust_decimal::Decimal;

use crate::error::CryptoCode as C;
use crate::event::Side;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::venue::tests::{NOW, decimal, lines, order_ref, terms};
use crate::trading::venue::{
    Access, Amend, Command, Method, NativeRequest, OrderRef, Question, Touch, TradingVenue as _,
};

use super::super::Binance;
use super::{perp, spot};

const TOUCH: Touch = Touch {
    bid: Some(Decimal::from_parts(99, 0, 0, false, 0)),
    ask: Some(Decimal::from_parts(101, 0, 0, false, 0)),
    last: Some(Decimal::ONE_HUNDRED),
};

fn place(row: &Instrument, terms: &OrderTerms, is_hedged: bool) -> String {
    let command = Command::Place {
        instrument: row,
        terms,
        client_id: "bw1",
        touch: TOUCH,
        is_hedged,
    };
    match Binance.command(&command) {
        Ok(requests) => lines(&requests).join("\n"),
        Err(error) => error.code.as_str().to_owned(),
    }
}

#[test]
fn spot_orders_are_asked_for() {
    let row = spot();
    let limit = terms(&row);
    let stop = |order_type, side, stop: &str| OrderTerms {
        order_type,
        side,
        stop_price: Some(decimal(stop)),
        price: (order_type == OrderType::StopLimit).then(|| decimal("100")),
        ..limit.clone()
    };
    let (market, limit_ioc) = (
        OrderTerms {
            order_type: OrderType::Market,
            price: None,
            time_in_force: TimeInForce::Ioc,
            side: Side::Sell,
            ..limit.clone()
        },
        OrderTerms {
            time_in_force: TimeInForce::Ioc,
            ..limit.clone()
        },
    );
    let post_only = OrderTerms {
        post_only: true,
        ..limit.clone()
    };
    let head = "POST /api/v3/order?symbol=BTCUSDT&side=";
    let tail = "&newClientOrderId=bw1&newOrderRespType=FULL";
    for (terms, middle) in [
        (
            limit.clone(),
            "BUY&type=LIMIT&timeInForce=GTC&quantity=0.5&price=100",
        ),
        (
            limit_ioc,
            "BUY&type=LIMIT&timeInForce=IOC&quantity=0.5&price=100",
        ),
        (post_only, "BUY&type=LIMIT_MAKER&quantity=0.5&price=100"),
        (market, "SELL&type=MARKET&quantity=0.5"),
        (
            stop(OrderType::StopMarket, Side::Buy, "110.50"),
            "BUY&type=STOP_LOSS&quantity=0.5&stopPrice=110.5",
        ),
        (
            stop(OrderType::StopMarket, Side::Buy, "90"),
            "BUY&type=TAKE_PROFIT&quantity=0.5&stopPrice=90",
        ),
        (
            stop(OrderType::StopLimit, Side::Sell, "90"),
            "SELL&type=STOP_LOSS_LIMIT&timeInForce=GTC&quantity=0.5&price=100&stopPrice=90",
        ),
        (
            stop(OrderType::StopLimit, Side::Sell, "110"),
            "SELL&type=TAKE_PROFIT_LIMIT&timeInForce=GTC&quantity=0.5&price=100&stopPrice=110",
        ),
    ] {
        assert_eq!(place(&row, &terms, false), format!("{head}{middle}{tail}"));
    }
    let refused = [
        OrderTerms {
            post_only: true,
            ..stop(OrderType::StopLimit, Side::Sell, "90")
        },
        OrderTerms {
            margin_trading: true,
            ..limit.clone()
        },
        OrderTerms {
            reduce_only: true,
            ..limit
        },
    ];
    for terms in refused {
        assert_eq!(place(&row, &terms, false), "CRYPTO_UNSUPPORTED");
    }
}

#[test]
fn perp_orders_are_asked_for() {
    let row = perp();
    let limit = terms(&row);
    let order = "POST /fapi/v1/order?symbol=BTCUSDT&";
    let algo = "POST /fapi/v1/algoOrder?symbol=BTCUSDT&algoType=CONDITIONAL&";
    let plain = "&newClientOrderId=bw1&newOrderRespType=RESULT";
    let reduce = OrderTerms {
        order_type: OrderType::Market,
        price: None,
        side: Side::Sell,
        reduce_only: true,
        ..limit.clone()
    };
    let stop = OrderTerms {
        order_type: OrderType::StopMarket,
        price: None,
        stop_price: Some(decimal("90")),
        side: Side::Sell,
        reduce_only: true,
        ..limit.clone()
    };
    let take = OrderTerms {
        order_type: OrderType::StopLimit,
        stop_price: Some(decimal("90")),
        ..limit.clone()
    };
    let post_only = OrderTerms {
        post_only: true,
        ..limit.clone()
    };
    for (terms, is_hedged, expected) in [
        (
            &limit,
            false,
            format!("{order}side=BUY&type=LIMIT&timeInForce=GTC&quantity=0.5&price=100{plain}"),
        ),
        (
            &post_only,
            false,
            format!("{order}side=BUY&type=LIMIT&timeInForce=GTX&quantity=0.5&price=100{plain}"),
        ),
        (
            &reduce,
            false,
            format!("{order}side=SELL&type=MARKET&quantity=0.5&reduceOnly=true{plain}"),
        ),
        (
            &reduce,
            true,
            format!("{order}side=SELL&type=MARKET&positionSide=LONG&quantity=0.5{plain}"),
        ),
        (
            &stop,
            false,
            format!(
                "{algo}side=SELL&type=STOP_MARKET&quantity=0.5&reduceOnly=true&triggerPrice=90&clientAlgoId=bw1"
            ),
        ),
        (
            &take,
            true,
            format!(
                "{algo}side=BUY&type=TAKE_PROFIT&positionSide=LONG&timeInForce=GTC&quantity=0.5&price=100&triggerPrice=90&clientAlgoId=bw1"
            ),
        ),
    ] {
        assert_eq!(place(&row, terms, is_hedged), expected);
    }
    let wrong = OrderTerms {
        position_side: Some(PositionSide::Long),
        ..limit
    };
    assert_eq!(place(&row, &wrong, false), "CRYPTO_INVALID_PARAMETER");
}

fn command(command: &Command<'_>) -> Vec<String> {
    lines(&Binance.command(command).unwrap())
}

#[test]
fn cancellations_and_the_like_are_asked_for() {
    let (spot, perp) = (spot(), perp());
    let limit = order_ref("bw1", OrderType::Limit);
    let known = OrderRef {
        exchange_id: Some("28"),
        ..limit
    };
    let stop = order_ref("bw1", OrderType::StopMarket);
    let known_stop = OrderRef {
        trigger_id: Some("7"),
        ..stop
    };
    let triggered = OrderRef {
        exchange_id: Some("28"),
        ..known_stop
    };
    for (row, order, expected) in [
        (
            &spot,
            limit,
            "DELETE /api/v3/order?symbol=BTCUSDT&origClientOrderId=bw1",
        ),
        (
            &spot,
            known,
            "DELETE /api/v3/order?symbol=BTCUSDT&orderId=28",
        ),
        (
            &spot,
            stop,
            "DELETE /api/v3/order?symbol=BTCUSDT&origClientOrderId=bw1",
        ),
        (
            &perp,
            known,
            "DELETE /fapi/v1/order?symbol=BTCUSDT&orderId=28",
        ),
        (&perp, stop, "DELETE /fapi/v1/algoOrder?clientAlgoId=bw1"),
        (&perp, known_stop, "DELETE /fapi/v1/algoOrder?algoId=7"),
        (
            &perp,
            triggered,
            "DELETE /fapi/v1/order?symbol=BTCUSDT&orderId=28",
        ),
    ] {
        let cancel = Command::Cancel {
            instrument: row,
            order,
        };
        assert_eq!(command(&cancel), [expected]);
    }
    assert_eq!(
        command(&Command::CancelAll { instrument: &spot }),
        ["DELETE /api/v3/openOrders?symbol=BTCUSDT"]
    );
    assert_eq!(
        command(&Command::CancelAll { instrument: &perp }),
        [
            "DELETE /fapi/v1/allOpenOrders?symbol=BTCUSDT",
            "DELETE /fapi/v1/algoOpenOrders?symbol=BTCUSDT"
        ]
    );
    let leverage = |instrument| Command::SetLeverage {
        instrument,
        leverage: 21,
    };
    assert_eq!(
        command(&leverage(&perp)),
        ["POST /fapi/v1/leverage?symbol=BTCUSDT&leverage=21"]
    );
    let error = Binance.command(&leverage(&spot)).unwrap_err();
    assert_eq!(error.code, C::Unsupported);
    let dead_man = |market, secs| Command::DeadMan {
        market,
        instruments: &[],
        secs,
    };
    let armed = Command::DeadMan {
        market: Market::Perp,
        instruments: &[&perp],
        secs: 120,
    };
    assert_eq!(
        command(&armed),
        ["POST /fapi/v1/countdownCancelAll?symbol=BTCUSDT&countdownTime=120000"]
    );
    assert!(command(&dead_man(Market::Perp, 0)).is_empty());
    assert!(Binance.command(&dead_man(Market::Spot, 5)).is_err());
}

#[test]
fn amendments_are_asked_for() {
    let ask = |row: &Instrument, order, quantity: &str, price: Option<&str>| {
        let terms = OrderTerms {
            order_type: OrderType::Limit,
            ..terms(row)
        };
        let amend = Command::Amend {
            instrument: row,
            order,
            terms: &terms,
            quantity: decimal(quantity),
            price: price.map(decimal),
        };
        match Binance.command(&amend) {
            Ok(requests) => lines(&requests).join("\n"),
            Err(error) => error.code.as_str().to_owned(),
        }
    };
    let limit = order_ref("bw1", OrderType::Limit);
    let (spot, perp) = (spot(), perp());
    let reduced = "PUT /api/v3/order/amend/keepPriority?symbol=BTCUSDT&origClientOrderId=bw1&newClientOrderId=bw1&newQty=0.4";
    assert_eq!(Binance.support(Market::Spot).amend, Amend::NativeReduce);
    assert_eq!(ask(&spot, limit, "0.4", None), reduced);
    assert_eq!(ask(&spot, limit, "0.4", Some("100.0")), reduced);
    assert_eq!(ask(&spot, limit, "0.6", None), "CRYPTO_UNSUPPORTED");
    assert_eq!(ask(&spot, limit, "0.4", Some("99")), "CRYPTO_UNSUPPORTED");
    assert_eq!(ask(&spot, limit, "0.5", Some("100")), "");
    assert_eq!(
        ask(&perp, limit, "0.6", None),
        "PUT /fapi/v1/order?symbol=BTCUSDT&origClientOrderId=bw1&side=BUY&quantity=0.6&price=100"
    );
    let stop = order_ref("bw1", OrderType::StopLimit);
    assert_eq!(ask(&perp, stop, "0.4", None), "CRYPTO_UNSUPPORTED");
}

#[test]
fn questions_are_asked() {
    let (spot, perp) = (spot(), perp());
    let ask = |question: &Question<'_>| lines(&Binance.question(question, NOW));
    let limit = order_ref("bw1", OrderType::Limit);
    let stop = order_ref("bw1", OrderType::StopLimit);
    let known = OrderRef {
        exchange_id: Some("28"),
        ..limit
    };
    let triggered = OrderRef {
        exchange_id: Some("28"),
        ..stop
    };
    let order = |instrument, order| Question::Order { instrument, order };
    assert_eq!(
        ask(&order(&spot, limit)),
        ["GET /api/v3/order?symbol=BTCUSDT&origClientOrderId=bw1"]
    );
    assert_eq!(
        ask(&order(&perp, known)),
        ["GET /fapi/v1/order?symbol=BTCUSDT&orderId=28"]
    );
    assert_eq!(
        ask(&order(&perp, stop)),
        [
            "GET /fapi/v1/algoOrder?clientAlgoId=bw1",
            "GET /fapi/v1/order?symbol=BTCUSDT&origClientOrderId=bw1"
        ]
    );
    assert_eq!(
        ask(&order(&perp, triggered)),
        [
            "GET /fapi/v1/order?symbol=BTCUSDT&orderId=28",
            "GET /fapi/v1/algoOrder?clientAlgoId=bw1"
        ]
    );
    for (question, expected) in [
        (
            Question::OpenOrders {
                market: Market::Spot,
            },
            vec!["GET /api/v3/openOrders"],
        ),
        (
            Question::OpenOrders {
                market: Market::Perp,
            },
            vec!["GET /fapi/v1/openOrders", "GET /fapi/v1/openAlgoOrders"],
        ),
        (
            Question::Balances {
                market: Market::Spot,
            },
            vec!["GET /api/v3/account?omitZeroBalances=true"],
        ),
        (
            Question::Balances {
                market: Market::Perp,
            },
            vec!["GET /fapi/v3/balance"],
        ),
        (Question::Positions, vec!["GET /fapi/v2/positionRisk"]),
        (
            Question::PositionMode,
            vec!["GET /fapi/v1/positionSide/dual"],
        ),
        (
            Question::Permissions {
                market: Market::Perp,
            },
            vec!["GET /sapi/v1/account/apiRestrictions"],
        ),
    ] {
        assert_eq!(ask(&question), expected);
    }
    let permissions = Question::Permissions {
        market: Market::Perp,
    };
    // That path is on spot's host alone.
    let request = Binance.question(&permissions, NOW).remove(0);
    assert_eq!(request.market, Market::Spot);
}

#[test]
fn executions_are_asked_for_in_windows() {
    let (spot, perp) = (spot(), perp());
    let since = TsNanos::from_ms(NOW.as_ms() - 36 * 3_600_000);
    let ask = |instrument, order, since| {
        let question = Question::Fills {
            instrument,
            order,
            since,
        };
        lines(&Binance.question(&question, NOW))
    };
    assert_eq!(
        ask(&spot, None, since),
        [
            "GET /api/v3/myTrades?symbol=BTCUSDT&startTime=1699870400123&endTime=1699956800122&limit=1000",
            "GET /api/v3/myTrades?symbol=BTCUSDT&startTime=1699956800123&limit=1000"
        ]
    );
    assert_eq!(
        ask(&perp, None, since),
        ["GET /fapi/v1/userTrades?symbol=BTCUSDT&startTime=1699870400123&limit=1000"]
    );
    let known = OrderRef {
        exchange_id: Some("28"),
        ..order_ref("bw1", OrderType::Limit)
    };
    assert_eq!(
        ask(&spot, Some(known), since),
        ["GET /api/v3/myTrades?symbol=BTCUSDT&orderId=28&limit=1000"]
    );
    // However long ago, there is an end to the asking.
    assert!(ask(&spot, None, TsNanos(i64::MIN)).len() <= 101);
}

/// Spot orders that are taken cost nothing since 2026-04-02; cancels and questions do.
#[test]
fn orders_that_are_taken_are_free() {
    let request = |market, method, path: &str| NativeRequest {
        method,
        market,
        path: path.to_owned(),
        query: String::new(),
        body: String::new(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    };
    let place = request(Market::Spot, Method::Post, "/api/v3/order");
    assert!(Binance.is_free_when_taken(&place));
    for other in [
        request(Market::Spot, Method::Delete, "/api/v3/order"),
        request(Market::Spot, Method::Get, "/api/v3/order"),
        request(Market::Perp, Method::Post, "/fapi/v1/leverage"),
    ] {
        assert!(!Binance.is_free_when_taken(&other), "{}", other.path);
    }
}
