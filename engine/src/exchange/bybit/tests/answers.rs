//! Documented answers to commands and questions, and what they tell.

use crate::event::Side;
use crate::exchange::{Exchange as _, ProviderId};
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderType, PositionSide, TimeInForce};
use crate::trading::state::Word;
use crate::trading::venue::tests::{NOW, decimal, line, order_ref, read_damaged, terms};
use crate::trading::venue::{
    Command, Facts, OrderRef, OrderReport, Question, Touch, TradingVenue as _,
};

use super::super::Bybit;
use super::{perp, spot};

const TAKEN: &str = r#"{"retCode":0,"retMsg":"OK","result":{"orderId":"1321003749386327552","orderLinkId":"spot-test-postonly"},"retExtInfo":{},"time":1672211918471}"#;
const CANCELED_ALL: &str = r#"{"retCode":0,"retMsg":"OK","result":{"list":[{"orderId":"1616024329462743808","orderLinkId":"1616024329462743809"}],"success":"1"},"retExtInfo":{},"time":1707381118116}"#;
const ORDER: &str = r#"{"orderId":"fd4300ae-7847-404e-b947-b46980a4d140","orderLinkId":"test-000005","blockTradeId":"","symbol":"ETHUSDT","price":"1600.00","qty":"0.10","side":"Buy","isLeverage":"","positionIdx":1,
 "orderStatus":"New","cancelType":"UNKNOWN","rejectReason":"EC_NoError","avgPrice":"0","leavesQty":"0.10","leavesValue":"160","cumExecQty":"0.00","cumExecValue":"0","cumExecFee":"0",
 "timeInForce":"GTC","orderType":"Limit","stopOrderType":"UNKNOWN","triggerPrice":"0.00","takeProfit":"2500.00","stopLoss":"1500.00","triggerDirection":0,"triggerBy":"UNKNOWN",
 "reduceOnly":false,"closeOnTrigger":false,"smpType":"None","tpslMode":"Full","placeType":"","createdTime":"1684738540559","updatedTime":"1684738540561","cumFeeDetail":{"MNT":"0.00242968"}}"#;
const EXECUTION: &str = r#"{"symbol":"ETHPERP","orderType":"Market","orderLinkId":"","side":"Buy","orderId":"8c065341-7b52-4ca9-ac2c-37e31ac55c94","stopOrderType":"UNKNOWN","leavesQty":"0","execTime":"1672282722429",
 "feeCurrency":"","isMaker":false,"execFee":"0.071409","feeRate":"0.0006","execId":"e0cbe81d-0f18-5866-9415-cf319b5dab3b","execPrice":"1190.15","orderQty":"0.1","orderPrice":"1236.9",
 "execValue":"119.015","execType":"Trade","execQty":"0.1","closedSize":"","extraFees":"","seq":4688002127}"#;
const POSITION: &str = r#"{"positionIdx":0,"riskId":1,"riskLimitValue":"150","symbol":"BTCUSD","side":"Sell","size":"300","avgPrice":"27464.50441675","positionValue":"0.01092319","tradeMode":0,"positionStatus":"Normal",
 "adlRankIndicator":2,"leverage":"10","breakEvenPrice":"93556.73034991","positionBalance":"0.00139186","markPrice":"28224.50","liqPrice":"","bustPrice":"999999.00","positionMM":"0.0000015","positionIM":"0.00010923",
 "takeProfit":"0.00","stopLoss":"0.00","trailingStop":"0.00","unrealisedPnl":"-0.00029413","curRealisedPnl":"0.00013123","cumRealisedPnl":"-0.00096902","seq":5723621632,"isReduceOnly":false,
 "createdTime":"1676538056258","updatedTime":"1697673600012"}"#;
const WALLET: &str = r#"{"retCode":0,"retMsg":"OK","result":{"list":[{"accountType":"UNIFIED","totalEquity":"3.31216591","totalWalletBalance":"3.00326056","totalMarginBalance":"3.00326056","totalAvailableBalance":"3.00326056","totalPerpUPL":"0",
 "totalInitialMargin":"0","totalMaintenanceMargin":"0","accountIMRate":"0","accountMMRate":"0",
 "coin":[{"coin":"BTC","equity":"10","usdValue":"0","walletBalance":"10","locked":"1.5","borrowAmount":"0.0","spotBorrow":"0","accruedInterest":"0","availableToWithdraw":"","totalOrderIM":"","totalPositionIM":"2",
  "totalPositionMM":"0","unrealisedPnl":"0","cumRealisedPnl":"0","bonus":"0.5","collateralSwitch":true,"marginCollateral":true}]}]}}"#;
const KEY: &str = r#"{"retCode":0,"retMsg":"","result":{"id":"2208369","note":"testnet","apiKey":"XXXXXXXX","readOnly":0,"permissions":{"ContractTrade":["Position"],"Spot":["SpotTrade"],"Wallet":["AccountTransfer","SubMemberTransfer"],
 "Options":[],"Derivatives":[],"Exchange":["ExchangeHistory"]},"ips":["18.181.170.164"],"type":1,"deadlineDay":-2,"expiredAt":"1970-01-01T00:00:00Z","createdAt":"2025-10-13T03:20:45Z","uta":1,
 "userID":1448939,"vipLevel":"PRO-1","isMaster":true,"parentUid":"0"},"retExtInfo":{},"time":1}"#;

/// An answer with rows and, where there is one, a cursor.
fn list(rows: &str, cursor: &str) -> String {
    format!(
        r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"linear","nextPageCursor":"{cursor}","list":[{rows}]}},"retExtInfo":{{}},"time":1672211918471}}"#
    )
}

fn answer(question: &Question<'_>, index: usize, body: &str) -> Facts {
    let table = InstrumentTable::default();
    Bybit
        .parse_answer(question, index, body.as_bytes(), &table, NOW)
        .unwrap()
}

/// What an order in a list of open ones tells.
fn told(market: Market, row: &str) -> OrderReport {
    let mut facts = answer(&Question::OpenOrders { market }, 0, &list(row, ""));
    facts.orders.pop().unwrap()
}

#[test]
fn an_order_that_was_taken_works() {
    for (row, order_type, ids) in [
        (
            spot(),
            OrderType::Limit,
            (Some("1321003749386327552"), None),
        ),
        // Spot's conditional orders may have another number later.
        (
            spot(),
            OrderType::StopLimit,
            (None, Some("1321003749386327552")),
        ),
        (
            perp(),
            OrderType::StopLimit,
            (Some("1321003749386327552"), None),
        ),
    ] {
        let terms = crate::trading::order::OrderTerms {
            order_type,
            ..terms(&row)
        };
        let command = Command::Place {
            instrument: &row,
            terms: &terms,
            client_id: "bw1",
            touch: Touch::default(),
            is_hedged: false,
        };
        let read = |body: &str| Bybit.parse_command(&command, 0, body.as_bytes(), NOW);
        let facts = read(TAKEN).unwrap();
        let [report] = &facts.orders[..] else {
            panic!()
        };
        assert_eq!(report.client_id.as_deref(), Some("bw1"));
        let news = &report.news;
        assert_eq!((news.word, news.filled), (Word::Works, None));
        let found = (
            news.exchange_order_id.as_deref(),
            news.trigger_id.as_deref(),
        );
        assert_eq!(found, ids);
        for wrong in [
            "",
            "{}",
            r#"{"retCode":0,"result":{}}"#,
            r#"{"retCode":10001,"result":{}}"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

#[test]
fn what_is_only_queued_tells_nothing() {
    let row = perp();
    let (order, terms) = (order_ref("bw1", OrderType::Limit), terms(&row));
    let read =
        |command: &Command<'_>, body: &str| Bybit.parse_command(command, 0, body.as_bytes(), NOW);
    let cancel = Command::Cancel {
        instrument: &row,
        order,
    };
    let amend = Command::Amend {
        instrument: &row,
        order,
        terms: &terms,
        quantity: decimal("1"),
        price: None,
    };
    assert!(read(&cancel, TAKEN).unwrap().is_empty());
    assert!(read(&amend, TAKEN).unwrap().is_empty());
    let all = Command::CancelAll { instrument: &row };
    assert!(read(&all, CANCELED_ALL).unwrap().is_empty());
    let leverage = Command::SetLeverage {
        instrument: &row,
        leverage: 6,
    };
    let done = r#"{"retCode":0,"retMsg":"OK","result":{},"retExtInfo":{},"time":1672281607343}"#;
    assert!(read(&leverage, done).unwrap().is_empty());
    for command in [cancel, amend, all, leverage] {
        assert!(read(&command, "<html>").is_err());
    }
}

#[test]
fn orders_are_understood() {
    let order = told(Market::Perp, ORDER);
    assert_eq!(order.client_id.as_deref(), Some("test-000005"));
    assert_eq!(order.news.word, Word::Works);
    assert_eq!(order.news.filled, Some(decimal("0")));
    assert_eq!(order.news.quantity, Some(decimal("0.1")));
    assert_eq!(order.news.price, Some(decimal("1600")));
    assert_eq!(order.news.reason, None);
    assert_eq!(order.news.at, TsNanos::from_ms(1_684_738_540_561));
    assert_eq!(order.terms.side, Some(Side::Buy));
    assert_eq!(order.terms.order_type, Some(OrderType::Limit));
    assert_eq!(order.terms.time_in_force, Some(TimeInForce::Gtc));
    assert_eq!(order.terms.position_side, Some(PositionSide::Long));
    assert_eq!(order.terms.stop_price, None);
    assert_eq!(
        order.terms.created_at,
        Some(TsNanos::from_ms(1_684_738_540_559))
    );

    // A spot stop, before and after.
    let stop = ORDER
        .replace(r#""triggerPrice":"0.00""#, r#""triggerPrice":"1700""#)
        .replace(r#""New""#, r#""Untriggered""#);
    let order = told(Market::Spot, &stop);
    assert_eq!(order.terms.order_type, Some(OrderType::StopLimit));
    assert_eq!(order.terms.stop_price, Some(decimal("1700")));
    assert_eq!(order.terms.position_side, None);
    assert_eq!(order.news.exchange_order_id, None);
    assert!(order.news.trigger_id.is_some());
    let order = told(Market::Perp, &stop);
    assert!(order.news.exchange_order_id.is_some());

    // A buy at the market that somebody else has counted in quote units; its price protects it.
    let quote = ORDER.replace(
        r#""orderType":"Limit""#,
        r#""orderType":"Market","marketUnit":"quoteCoin""#,
    );
    let order = told(Market::Spot, &quote);
    assert_eq!((order.news.quantity, order.news.price), (None, None));
    let base = quote.replace("quoteCoin", "baseCoin");
    assert_eq!(
        told(Market::Spot, &base).news.quantity,
        Some(decimal("0.1"))
    );

    // Without an average price the value tells it; an order that the exchange made has no id of a client.
    let part = ORDER
        .replace(
            r#""cumExecQty":"0.00","cumExecValue":"0""#,
            r#""cumExecQty":"0.04","cumExecValue":"64""#,
        )
        .replace(r#""avgPrice":"0""#, r#""avgPrice":"""#)
        .replace("test-000005", "");
    let order = told(Market::Perp, &part);
    assert_eq!(order.news.average_price, Some(decimal("1600")));
    assert_eq!(order.client_id, None);
}

#[test]
fn statuses_are_words() {
    for (status, reason, executed, word) in [
        ("New", "EC_NoError", "0", Word::Works),
        ("Untriggered", "EC_NoError", "0", Word::Works),
        ("Triggered", "EC_NoError", "0", Word::Works),
        ("PartiallyFilled", "EC_NoError", "0.01", Word::WorksInPart),
        ("Filled", "EC_NoError", "0.1", Word::Done),
        // Told once more when a cancellation came too late.
        ("Filled", "EC_OrigClOrdIDDoesNotExist", "0.1", Word::Done),
        ("Cancelled", "EC_NoError", "0", Word::Canceled),
        ("Cancelled", "EC_NoError", "0.01", Word::Canceled),
        ("Cancelled", "EC_BySelfMatch", "0.01", Word::Expired),
        (
            "PartiallyFilledCanceled",
            "EC_NoError",
            "0.01",
            Word::Canceled,
        ),
        ("Deactivated", "EC_NoError", "0", Word::Canceled),
        ("Cancelled", "EC_NoImmediateQtyToFill", "0", Word::Expired),
        ("Cancelled", "EC_CancelForNoFullFill", "0", Word::Expired),
        (
            "PartiallyFilledCanceled",
            "EC_NoEnoughQtyToFill",
            "0.01",
            Word::Expired,
        ),
        (
            "Cancelled",
            "EC_PostOnlyWillTakeLiquidity",
            "0",
            Word::Refused,
        ),
        ("Rejected", "EC_ReachRiskPriceLimit", "0", Word::Refused),
        ("Rejected", "EC_ReachRiskPriceLimit", "0.01", Word::Canceled),
    ] {
        let row = ORDER
            .replace(r#""New""#, &format!("{status:?}"))
            .replace("EC_NoError", reason)
            .replace(
                r#""cumExecQty":"0.00""#,
                &format!(r#""cumExecQty":"{executed}""#),
            );
        let order = told(Market::Perp, &row);
        assert_eq!(order.news.word, word, "{status} {reason} {executed}");
        let is_over = !matches!(word, Word::Works | Word::WorksInPart | Word::Done);
        let expected = Some(reason).filter(|reason| is_over && *reason != "EC_NoError");
        assert_eq!(order.news.reason.as_deref(), expected, "{status} {reason}");
    }
    let by_exchange = ORDER.replace(r#""New""#, r#""Cancelled""#).replace(
        "UNKNOWN\",\"rejectReason",
        "CancelByReduceOnly\",\"rejectReason",
    );
    let order = told(Market::Perp, &by_exchange);
    assert_eq!(order.news.reason.as_deref(), Some("CancelByReduceOnly"));
    let odd = list(&ORDER.replace(r#""New""#, r#""Odd""#), "");
    let question = Question::OpenOrders {
        market: Market::Perp,
    };
    let table = InstrumentTable::default();
    let read = Bybit.parse_answer(&question, 0, odd.as_bytes(), &table, NOW);
    assert!(read.is_err());
}

#[test]
fn an_order_is_found_by_its_ids() {
    let row = perp();
    let find = |order, body: &str| {
        let question = Question::Order {
            instrument: &row,
            order,
        };
        answer(&question, 0, body).orders
    };
    let other = ORDER
        .replace("test-000005", "another")
        .replace("fd4300ae", "00000000");
    let both = list(&format!("{other},{ORDER}"), "");
    let ours = order_ref("test-000005", OrderType::Limit);
    assert_eq!(find(ours, &both).len(), 1);
    assert!(find(order_ref("bw1", OrderType::Limit), &both).is_empty());
    assert!(find(order_ref("", OrderType::Limit), &both).is_empty());
    let known = OrderRef {
        exchange_id: Some("fd4300ae-7847-404e-b947-b46980a4d140"),
        ..order_ref("bw1", OrderType::Limit)
    };
    assert_eq!(find(known, &both)[0].client_id.as_deref(), Some("bw1"));
    assert!(find(ours, &list("", "")).is_empty());
}

#[test]
fn lists_go_on_page_by_page() {
    let row = perp();
    let next = |question: &Question<'_>, index, body: &str| {
        answer(question, index, body).next.as_ref().map(line)
    };
    let open = Question::OpenOrders {
        market: Market::Perp,
    };
    // Cursors hold encoded text and are encoded once more.
    assert_eq!(
        next(&open, 1, &list(ORDER, "a%3D1")).as_deref(),
        Some("GET /v5/order/realtime?category=linear&settleCoin=USDC&limit=50&cursor=a%253D1")
    );
    assert_eq!(next(&open, 0, &list("", "a%3D1")), None);
    assert_eq!(next(&open, 0, &list(ORDER, "")), None);

    let fills = Question::Fills {
        instrument: &row,
        order: None,
        since: TsNanos::from_ms(1_699_308_800_123),
    };
    assert_eq!(
        next(&fills, 1, &list(EXECUTION, "c")).as_deref(),
        Some(
            "GET /v5/execution/list?category=linear&symbol=BTCUSDT&startTime=1699913600123&limit=100&cursor=c"
        )
    );

    let row = POSITION.replace("BTCUSD", "BTCUSDT");
    let all = [
        (0, "", None, false),
        (
            1,
            "p",
            Some("GET /v5/position/list?category=linear&settleCoin=USDC&limit=200&cursor=p"),
            false,
        ),
        (1, "", None, true),
    ];
    for (index, cursor, expected, is_all) in all {
        let facts = answer(&Question::Positions, index, &list(&row, cursor));
        assert_eq!(facts.next.as_ref().map(line).as_deref(), expected);
        assert_eq!(facts.has_all_positions, is_all);
    }
}

#[test]
fn executions_are_understood() {
    let (spot, perp) = (spot(), perp());
    let specs = |row: &crate::instrument::Instrument| vec![row.spec.clone()];
    let table = InstrumentTable::default()
        .with_market(ProviderId::BYBIT, Market::Spot, specs(&spot))
        .with_market(ProviderId::BYBIT, Market::Perp, specs(&perp));
    let tell = |instrument, row: &str| {
        let question = Question::Fills {
            instrument,
            order: None,
            since: NOW,
        };
        let row = row.replace("ETHPERP", "BTCUSDT");
        Bybit
            .parse_answer(&question, 0, list(&row, "").as_bytes(), &table, NOW)
            .unwrap()
            .fills
    };
    let fills = tell(&perp, EXECUTION);
    let [fill] = &fills[..] else { panic!() };
    assert_eq!(fill.fill_id, "e0cbe81d-0f18-5866-9415-cf319b5dab3b");
    assert_eq!(
        (fill.price, fill.quantity),
        (decimal("1190.15"), decimal("0.1"))
    );
    assert_eq!((fill.side, fill.is_maker), (Some(Side::Buy), Some(false)));
    assert_eq!(
        (fill.fee, fill.client_id.as_ref()),
        (Some(decimal("0.071409")), None)
    );
    assert_eq!(fill.fee_asset.as_deref(), Some("USDT"));
    assert_eq!(fill.at, TsNanos::from_ms(1_672_282_722_429));

    // What a spot fee is paid in, where it is not said.
    let rebate = EXECUTION
        .replace(r#""execFee":"0.071409""#, r#""execFee":"-0.01""#)
        .replace(r#""isMaker":false"#, r#""isMaker":true"#);
    let sold = |row: &str| row.replace(r#""side":"Buy""#, r#""side":"Sell""#);
    for (row, asset) in [
        (EXECUTION.to_owned(), "BTC"),
        (sold(EXECUTION), "USDT"),
        (rebate.clone(), "USDT"),
        (sold(&rebate), "BTC"),
        (
            EXECUTION.replace(r#""feeCurrency":"""#, r#""feeCurrency":"MNT""#),
            "MNT",
        ),
    ] {
        assert_eq!(tell(&spot, &row)[0].fee_asset.as_deref(), Some(asset));
    }
    for (kind, count) in [
        ("AdlTrade", 1),
        ("BustTrade", 1),
        ("Funding", 0),
        ("Settle", 0),
        ("MovePosition", 0),
    ] {
        let row = EXECUTION.replace(r#""Trade""#, &format!("{kind:?}"));
        assert_eq!(tell(&perp, &row).len(), count, "{kind}");
    }
}

#[test]
fn accounts_are_understood() {
    let facts = answer(&Question::Positions, 0, &list(POSITION, ""));
    let [position] = &facts.positions[..] else {
        panic!()
    };
    assert_eq!(position.quantity, decimal("-300"));
    assert_eq!(position.position_side, PositionSide::Net);
    assert_eq!(position.entry_price, Some(decimal("27464.50441675")));
    assert_eq!(position.leverage, Some(decimal("10")));
    assert_eq!(position.liquidation_price, None);
    assert_eq!(position.margin, Some(decimal("0.00010923")));

    let balances = Question::Balances {
        market: Market::Perp,
    };
    let facts = answer(&balances, 0, WALLET);
    let [balance] = &facts.balances[..] else {
        panic!()
    };
    assert!(facts.has_all_balances);
    assert_eq!((balance.market, balance.asset.as_str()), (None, "BTC"));
    assert_eq!(balance.free, decimal("6"));
    assert_eq!(
        (balance.locked, balance.total),
        (decimal("4"), decimal("10"))
    );

    let mode = |rows: &str| answer(&Question::PositionMode, 0, &list(rows, "")).is_hedged;
    let flat = POSITION.replace(r#""side":"Sell","size":"300""#, r#""side":"","size":"0""#);
    let of = |index: u8| flat.replace(r#""positionIdx":0"#, &format!(r#""positionIdx":{index}"#));
    assert_eq!(mode(&of(0)), Some(false));
    assert_eq!(mode(&format!("{},{}", of(1), of(2))), Some(true));
    assert_eq!(mode(""), None);

    let may = |market, key: &str| {
        let facts = answer(&Question::Permissions { market }, 0, key);
        facts.permissions.unwrap()
    };
    assert!(may(Market::Spot, KEY).can_trade && !may(Market::Perp, KEY).can_trade);
    let order = KEY.replace(r#"["Position"]"#, r#"["Order","Position"]"#);
    assert!(may(Market::Perp, &order).can_trade);
    let read_only = KEY.replace(r#""readOnly":0"#, r#""readOnly":1"#);
    assert!(!may(Market::Spot, &read_only).can_trade);
    assert!(may(Market::Spot, &read_only).can_read);
    assert!(!may(Market::Spot, KEY).can_withdraw);
    let withdraws = KEY.replace("AccountTransfer", "Withdraw");
    assert!(may(Market::Spot, &withdraws).can_withdraw);
}

#[test]
fn damaged_answers_do_not_panic() {
    let lists = [ORDER, EXECUTION, POSITION].map(|row| list(row, "c"));
    let mut texts: Vec<&str> = lists.iter().map(String::as_str).collect();
    texts.extend([TAKEN, CANCELED_ALL, WALLET, KEY]);
    read_damaged(ProviderId::BYBIT, &texts);
    assert!(Bybit.trading().is_some());
}
