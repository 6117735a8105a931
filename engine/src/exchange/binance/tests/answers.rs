//! Documented answers to commands and questions, and what they tell.

use crate::event::Side;
use crate::exchange::{Exchange as _, ProviderId};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide};
use crate::trading::state::Word;
use crate::trading::venue::tests::{NOW, decimal, line, order_ref, read_damaged, terms};
use crate::trading::venue::{Command, Facts, OrderRef, Question, Touch, TradingVenue as _};

use super::super::Binance;
use super::{perp, spot};

const PLACED: &str = r#"{"symbol":"BTCUSDT","orderId":28,"orderListId":-1,"clientOrderId":"6gCrw2kRUAF9CvJDGP16IP","transactTime":1507725176595,
 "price":"0.00000000","origQty":"10.00000000","executedQty":"10.00000000","origQuoteOrderQty":"0.000000",
 "cummulativeQuoteQty":"10.00000000","status":"FILLED","timeInForce":"GTC","type":"MARKET","side":"SELL",
 "workingTime":1507725176595,"selfTradePreventionMode":"NONE",
 "fills":[{"price":"4000.00000000","qty":"1.00000000","commission":"4.00000000","commissionAsset":"USDT","tradeId":56}]}"#;
const ACK: &str = r#"{"symbol":"BTCUSDT","orderId":28,"orderListId":-1,"clientOrderId":"bw1","transactTime":1507725176595}"#;
const CANCELED: &str = r#"{"symbol":"LTCBTC","origClientOrderId":"myOrder1","orderId":4,"orderListId":-1,"clientOrderId":"cancelMyOrder1","transactTime":1684804350068,
 "price":"2.00000000","origQty":"1.00000000","executedQty":"0.00000000","origQuoteOrderQty":"0.000000","cummulativeQuoteQty":"0.00000000",
 "status":"CANCELED","timeInForce":"GTC","type":"LIMIT","side":"BUY","selfTradePreventionMode":"NONE"}"#;
const AMENDED: &str = r#"{"transactTime":1741926410255,"executionId":75,"amendedOrder":{"symbol":"BTCUSDT","orderId":33,"orderListId":-1,"origClientOrderId":"5xrg","clientOrderId":"PFaq","price":"6.00000000","qty":"5.00000000","executedQty":"1.00000000","preventedQty":"0.00000000","quoteOrderQty":"0.00000000","cumulativeQuoteQty":"6.00000000","status":"PARTIALLY_FILLED","timeInForce":"GTC","type":"LIMIT","side":"SELL","workingTime":1741926410242,"selfTradePreventionMode":"NONE"}}"#;
const SPOT_ORDER: &str = r#"{"symbol":"LTCBTC","orderId":1,"orderListId":-1,"clientOrderId":"myOrder1","price":"0.1","origQty":"1.0","executedQty":"0.0","cummulativeQuoteQty":"0.0",
 "status":"NEW","timeInForce":"GTC","type":"LIMIT","side":"BUY","stopPrice":"0.0","icebergQty":"0.0","time":1499827319559,"updateTime":1499827319559,
 "isWorking":true,"workingTime":1499827319559,"origQuoteOrderQty":"0.000000","selfTradePreventionMode":"NONE"}"#;
const SPOT_TRADE: &str = r#"{"symbol":"BNBBTC","id":28457,"orderId":100234,"orderListId":-1,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","commission":"10.10000000",
 "commissionAsset":"BNB","time":1499865549590,"isBuyer":true,"isMaker":false,"isBestMatch":true}"#;
const PERP_PLACED: &str = r#"{"clientOrderId":"testOrder","cumQty":"0","executedQty":"0","orderId":22542179,"origQty":"10","price":"0","reduceOnly":false,"side":"SELL","positionSide":"SHORT",
 "status":"NEW","stopPrice":"0","closePosition":false,"symbol":"BTCUSDT","timeInForce":"GTD","type":"LIMIT","origType":"LIMIT","updateTime":1566818724722,
 "workingType":"CONTRACT_PRICE","priceProtect":false,"priceMatch":"NONE","selfTradePreventionMode":"NONE","goodTillDate":1693207680000}"#;
const PERP_ORDER: &str = r#"{"avgPrice":"0.00000","clientOrderId":"abc","cumQuote":"0","executedQty":"0","orderId":1917641,"origQty":"0.40","origType":"LIMIT","price":"9300","reduceOnly":false,"side":"BUY",
 "positionSide":"SHORT","status":"NEW","stopPrice":"0","closePosition":false,"symbol":"BTCUSDT","time":1579276756075,"timeInForce":"GTC","type":"LIMIT",
 "updateTime":1579276756075,"workingType":"CONTRACT_PRICE","priceProtect":false,"priceMatch":"NONE","selfTradePreventionMode":"NONE","goodTillDate":0}"#;
const PERP_TRADE: &str = r#"{"buyer":false,"commission":"0.07819010","commissionAsset":"USDT","id":698759,"maker":false,"orderId":25851813,"price":"7819.01","qty":"0.002","quoteQty":"15.63802",
 "realizedPnl":"-0.91539999","side":"SELL","positionSide":"SHORT","symbol":"BTCUSDT","time":1569514978020}"#;
const ALGO: &str = r#"{"algoId":2146760,"clientAlgoId":"6B2I9XVcJpCjqPAJ4YoFX7","algoType":"CONDITIONAL","orderType":"TAKE_PROFIT","symbol":"BNBUSDT","side":"SELL","positionSide":"BOTH",
 "timeInForce":"GTC","quantity":"0.01","algoStatus":"NEW","triggerPrice":"750.000","price":"750.000","icebergQuantity":"null","selfTradePreventionMode":"EXPIRE_MAKER",
 "workingType":"CONTRACT_PRICE","priceMatch":"NONE","closePosition":false,"priceProtect":false,"reduceOnly":false,"activatePrice":"","callbackRate":"",
 "createTime":1750485492076,"updateTime":1750485492076,"triggerTime":0,"goodTillDate":0}"#;
const ALGO_CANCELED: &str =
    r#"{"algoId":2146760,"clientAlgoId":"6B2I","code":"200","msg":"success"}"#;
const SPOT_ACCOUNT: &str = r#"{"commissionRates":{"maker":"0.00150000","taker":"0.00150000","buyer":"0.00000000","seller":"0.00000000"},"canTrade":true,"canWithdraw":true,"canDeposit":true,
 "updateTime":123456789,"accountType":"SPOT","balances":[{"asset":"BTC","free":"4723846.89208129","locked":"0.10000000"}],"permissions":["SPOT"],"uid":354937868}"#;
const PERP_BALANCE: &str = r#"[{"accountAlias":"SgsR","asset":"USDT","balance":"122607.35137903","crossWalletBalance":"23.72469206","crossUnPnl":"0.00000000","availableBalance":"23.72469206",
 "maxWithdrawAmount":"23.72469206","marginAvailable":true,"updateTime":1617939110373}]"#;
const POSITIONS: &str = r#"[{"symbol":"ADAUSDT","positionSide":"BOTH","positionAmt":"-30","entryPrice":"0.385","breakEvenPrice":"0.385077","markPrice":"0.41047590","unRealizedProfit":"-0.76427700",
 "liquidationPrice":"0","isolatedMargin":"0","notional":"12.31427700","isolatedWallet":"0","leverage":"21","marginType":"cross","updateTime":1720736417660}]"#;
const RESTRICTIONS: &str = r#"{"ipRestrict":false,"createTime":1623840271000,"enableReading":true,"enableWithdrawals":false,"enableInternalTransfer":true,"enableMargin":false,"enableFutures":false,
 "permitsUniversalTransfer":true,"enableVanillaOptions":false,"enableFixApiTrade":false,"enableFixReadOnly":true,"enableSpotAndMarginTrading":true,"enablePortfolioMarginTrading":true}"#;

fn placed(row: &Instrument, order_type: OrderType, body: &str) -> Facts {
    let terms = OrderTerms {
        order_type,
        ..terms(row)
    };
    let command = Command::Place {
        instrument: row,
        terms: &terms,
        client_id: "bw1",
        touch: Touch::default(),
        is_hedged: false,
    };
    Binance
        .parse_command(&command, 0, body.as_bytes(), NOW)
        .unwrap()
}

#[test]
fn answers_to_orders_are_understood() {
    let facts = placed(&spot(), OrderType::Market, PLACED);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.client_id.as_deref(), Some("bw1"));
    assert_eq!(order.news.word, Word::Done);
    assert_eq!(order.news.filled, Some(decimal("10")));
    assert_eq!(order.news.average_price, Some(decimal("1")));
    assert_eq!(order.news.price, None);
    assert_eq!(order.news.exchange_order_id.as_deref(), Some("28"));
    assert_eq!(order.news.at, TsNanos::from_ms(1_507_725_176_595));
    assert_eq!(order.terms.order_type, Some(OrderType::Market));
    let [fill] = &facts.fills[..] else { panic!() };
    assert_eq!((fill.fill_id.as_str(), fill.side), ("56", Some(Side::Sell)));
    assert_eq!((fill.price, fill.quantity), (decimal("4000"), decimal("1")));
    assert_eq!(fill.fee, Some(decimal("4")));
    assert_eq!(fill.fee_asset.as_deref(), Some("USDT"));

    let facts = placed(&spot(), OrderType::Limit, ACK);
    assert_eq!(facts.orders[0].news.word, Word::Works);
    assert_eq!(facts.orders[0].news.filled, None);

    let facts = placed(&perp(), OrderType::Limit, PERP_PLACED);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.news.word, Word::Works);
    assert_eq!(order.terms.position_side, Some(PositionSide::Short));
    assert_eq!(order.news.quantity, Some(decimal("10")));

    let facts = placed(&perp(), OrderType::StopLimit, ALGO);
    let [order] = &facts.orders[..] else { panic!() };
    assert_eq!(order.client_id.as_deref(), Some("6B2I9XVcJpCjqPAJ4YoFX7"));
    assert_eq!(order.news.trigger_id.as_deref(), Some("2146760"));
    assert_eq!(order.news.exchange_order_id, None);
    assert_eq!(order.terms.stop_price, Some(decimal("750")));
    assert_eq!(order.terms.order_type, Some(OrderType::StopLimit));
}

#[test]
fn answers_to_cancellations_and_amendments_are_understood() {
    let (spot, perp) = (spot(), perp());
    let tell = |command: &Command<'_>, index, body: &str| {
        Binance.parse_command(command, index, body.as_bytes(), NOW)
    };
    let cancel = |instrument, order| Command::Cancel { instrument, order };
    let limit = order_ref("myOrder1", OrderType::Limit);
    let facts = tell(&cancel(&spot, limit), 0, CANCELED).unwrap();
    assert_eq!(facts.orders[0].news.word, Word::Canceled);
    assert_eq!(facts.orders[0].client_id.as_deref(), Some("myOrder1"));

    let stop = order_ref("6B2I", OrderType::StopMarket);
    let facts = tell(&cancel(&perp, stop), 0, ALGO_CANCELED).unwrap();
    assert_eq!(facts.orders[0].news.word, Word::Canceled);
    assert_eq!(facts.orders[0].news.trigger_id.as_deref(), Some("2146760"));
    let odd = ALGO_CANCELED.replace("\"200\"", "\"-1\"");
    assert!(tell(&cancel(&perp, stop), 0, &odd).is_err());

    // Ids of cancellations are not taken for those of orders, in lists either.
    let list = format!(r#"[{CANCELED},{{"orderListId":1929,"orderReports":[{CANCELED}]}}]"#);
    let facts = tell(&Command::CancelAll { instrument: &spot }, 0, &list).unwrap();
    assert_eq!(facts.orders.len(), 2);
    let mut ids = facts.orders.iter().map(|order| order.client_id.as_deref());
    assert!(ids.all(|id| id == Some("myOrder1")));
    let all = Command::CancelAll { instrument: &perp };
    for body in [
        r#"{"code":200,"msg":"success"}"#,
        r#"{"code":200,"msg":"The operation of cancel all open order is done."}"#,
    ] {
        assert!(tell(&all, 1, body).unwrap().is_empty());
    }
    assert!(tell(&all, 0, r#"{"code":-1,"msg":"x"}"#).is_err());

    let terms = terms(&spot);
    let amend = Command::Amend {
        instrument: &spot,
        order: order_ref("5xrg", OrderType::Limit),
        terms: &terms,
        quantity: decimal("5"),
        price: None,
    };
    let facts = tell(&amend, 0, AMENDED).unwrap();
    let news = &facts.orders[0].news;
    assert_eq!(facts.orders[0].client_id.as_deref(), Some("5xrg"));
    assert_eq!(news.word, Word::WorksInPart);
    assert_eq!(news.quantity, Some(decimal("5")));
    assert_eq!(news.average_price, Some(decimal("6")));
    let leverage = Command::SetLeverage {
        instrument: &perp,
        leverage: 21,
    };
    let set = r#"{"leverage":21,"maxNotionalValue":"1000000","symbol":"BTCUSDT"}"#;
    assert!(tell(&leverage, 0, set).unwrap().is_empty());
    assert!(tell(&leverage, 0, "{}").is_err());
}

fn answer(question: &Question<'_>, index: usize, body: &str) -> Facts {
    let table = InstrumentTable::default();
    Binance
        .parse_answer(question, index, body.as_bytes(), &table, NOW)
        .unwrap()
}

#[test]
fn answers_to_questions_for_orders_are_understood() {
    let (spot, perp) = (spot(), perp());
    let order = |instrument, order| Question::Order { instrument, order };
    let limit = order_ref("myOrder1", OrderType::Limit);
    let facts = answer(&order(&spot, limit), 0, SPOT_ORDER);
    let [report] = &facts.orders[..] else {
        panic!()
    };
    assert_eq!(report.news.word, Word::Works);
    assert_eq!(report.news.price, Some(decimal("0.1")));
    assert_eq!(report.terms.stop_price, None);
    assert_eq!(
        report.terms.created_at,
        Some(TsNanos::from_ms(1_499_827_319_559))
    );

    // A conditional order that has triggered leads to what it became.
    let stop = order_ref("6B2I9XVcJpCjqPAJ4YoFX7", OrderType::StopLimit);
    let triggered = ALGO
        .replace(r#""algoStatus":"NEW""#, r#""algoStatus":"TRIGGERED""#)
        .replace(r#""triggerTime":0"#, r#""actualOrderId":"987""#);
    let facts = answer(&order(&perp, stop), 0, &triggered);
    assert_eq!(
        facts.orders[0].news.exchange_order_id.as_deref(),
        Some("987")
    );
    assert_eq!(
        facts.next.as_ref().map(line).as_deref(),
        Some("GET /fapi/v1/order?symbol=BTCUSDT&orderId=987")
    );
    assert_eq!(answer(&order(&perp, stop), 0, ALGO).next, None);
    let facts = answer(&order(&perp, stop), 0, PERP_ORDER);
    assert_eq!(
        facts.orders[0].client_id.as_deref(),
        Some("6B2I9XVcJpCjqPAJ4YoFX7")
    );
    assert_eq!(facts.next, None);

    let open = Question::OpenOrders {
        market: Market::Perp,
    };
    let facts = answer(&open, 0, &format!("[{PERP_ORDER}]"));
    assert_eq!(facts.orders[0].client_id.as_deref(), Some("abc"));
    let facts = answer(&open, 1, &format!("[{ALGO},{ALGO}]"));
    assert_eq!(facts.orders.len(), 2);
}

#[test]
fn executions_are_understood_and_paged() {
    let (spot, perp) = (spot(), perp());
    let fills = |instrument, order| Question::Fills {
        instrument,
        order,
        since: NOW,
    };
    let facts = answer(&fills(&spot, None), 0, &format!("[{SPOT_TRADE}]"));
    let [fill] = &facts.fills[..] else { panic!() };
    assert_eq!(fill.fill_id, "28457");
    assert_eq!(fill.exchange_id.as_deref(), Some("100234"));
    assert_eq!((fill.side, fill.is_maker), (Some(Side::Buy), Some(false)));
    assert_eq!(fill.fee, Some(decimal("10.1")));
    assert_eq!(facts.next, None);
    let facts = answer(&fills(&perp, None), 0, &format!("[{PERP_TRADE}]"));
    let [fill] = &facts.fills[..] else { panic!() };
    assert_eq!((fill.side, fill.is_maker), (Some(Side::Sell), Some(false)));
    assert_eq!(fill.price, decimal("7819.01"));

    let page = format!("[{}]", vec![SPOT_TRADE; 1000].join(","));
    let known = OrderRef {
        exchange_id: Some("100234"),
        ..order_ref("bw1", OrderType::Limit)
    };
    let facts = answer(&fills(&spot, Some(known)), 0, &page);
    assert_eq!(
        facts.next.as_ref().map(line).as_deref(),
        Some("GET /api/v3/myTrades?symbol=BTCUSDT&orderId=100234&fromId=28458&limit=1000")
    );
    assert_eq!(facts.fills[0].client_id.as_deref(), Some("bw1"));
}

#[test]
fn accounts_are_understood() {
    let balances = |market, body| answer(&Question::Balances { market }, 0, body);
    let facts = balances(Market::Spot, SPOT_ACCOUNT);
    let [balance] = &facts.balances[..] else {
        panic!()
    };
    assert!(facts.has_all_balances);
    assert_eq!(balance.market, Some(Market::Spot));
    assert_eq!(balance.total, decimal("4723846.99208129"));
    let facts = balances(Market::Perp, PERP_BALANCE);
    assert_eq!(facts.balances[0].locked, decimal("122583.62668697"));

    let facts = answer(&Question::Positions, 0, POSITIONS);
    let [position] = &facts.positions[..] else {
        panic!()
    };
    assert!(facts.has_all_positions);
    assert_eq!(position.quantity, decimal("-30"));
    assert_eq!(position.leverage, Some(decimal("21")));
    assert_eq!(position.unrealized_pnl, Some(decimal("-0.764277")));
    assert_eq!(position.liquidation_price, None);
    assert_eq!(position.position_side, PositionSide::Net);

    let mode = answer(&Question::PositionMode, 0, r#"{"dualSidePosition":true}"#);
    assert_eq!(mode.is_hedged, Some(true));
    for (market, can_trade) in [(Market::Spot, true), (Market::Perp, false)] {
        let facts = answer(&Question::Permissions { market }, 0, RESTRICTIONS);
        let permissions = facts.permissions.unwrap();
        assert_eq!(permissions.can_trade, can_trade);
        assert!(permissions.can_read && !permissions.can_withdraw);
    }
}

#[test]
fn statuses_are_words() {
    for (status, word) in [
        ("NEW", Word::Works),
        ("PENDING_NEW", Word::Works),
        ("PENDING_CANCEL", Word::Works),
        ("PARTIALLY_FILLED", Word::WorksInPart),
        ("FILLED", Word::Done),
        ("CANCELED", Word::Canceled),
        ("REJECTED", Word::Refused),
        ("EXPIRED", Word::Expired),
        ("EXPIRED_IN_MATCH", Word::Expired),
    ] {
        let body = SPOT_ORDER.replace(r#""NEW""#, &format!("{status:?}"));
        let facts = placed(&spot(), OrderType::Limit, &body);
        assert_eq!(facts.orders[0].news.word, word, "{status}");
    }
    for (status, word) in [
        ("NEW", Word::Works),
        ("TRIGGERING", Word::Works),
        ("TRIGGERED", Word::Works),
        ("FINISHED", Word::Works),
        ("CANCELED", Word::Canceled),
        ("EXPIRED", Word::Expired),
        ("REJECTED", Word::Refused),
    ] {
        let body = ALGO.replace(r#""NEW""#, &format!("{status:?}"));
        let facts = placed(&perp(), OrderType::StopLimit, &body);
        assert_eq!(facts.orders[0].news.word, word, "{status}");
    }
    let body = SPOT_ORDER.replace(r#""NEW""#, r#""SOMETHING""#);
    let question = Question::OpenOrders {
        market: Market::Spot,
    };
    let table = InstrumentTable::default();
    let list = format!("[{body}]");
    let told = Binance.parse_answer(&question, 0, list.as_bytes(), &table, NOW);
    assert!(told.is_err());
}

#[test]
fn damaged_answers_do_not_panic() {
    read_damaged(
        ProviderId::BINANCE,
        &[
            PLACED,
            ACK,
            CANCELED,
            AMENDED,
            SPOT_ORDER,
            SPOT_TRADE,
            PERP_PLACED,
            PERP_ORDER,
            PERP_TRADE,
            ALGO,
            ALGO_CANCELED,
            SPOT_ACCOUNT,
            PERP_BALANCE,
            POSITIONS,
            RESTRICTIONS,
        ],
    );
    assert!(Binance.trading().is_some());
}
