//! Orders of both markets: commands and questions to requests, answers to facts.
//!
//! Stops of USDⓈ-M are conditional orders, which have endpoints and numbers of their own until they
//! trigger; then an order with another number appears under the same client's id.
//! Sources: spot `rest-api.md` (2026-07-21), trade documentation of the official connector 64.0.0
//! (2026-07-22).

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{
    Facts, Method, NativeRequest, OrderRef, OrderReport, ReportTerms, Touch, position_of,
};

use super::instruments::read;
use super::report::{AlgoRow, OrderRow, TradeRow};
use super::sign::Ask;

/// Rows of a page of executions.
const TRADES_MAX: usize = 1000;
/// Most windows of executions that a question asks for; they end now.
const WINDOWS_MAX: i64 = 100;

/// What the exchange has no way to do.
pub(super) fn unsupported(instrument: &Instrument, what: &str) -> CryptoError {
    CryptoError::new(
        CryptoCode::Unsupported,
        format!("binance {}: {what}", instrument.spec.market),
    )
    .with("provider", "binance")
    .with("market", instrument.spec.market.as_str())
}

fn order_path(market: Market) -> &'static str {
    match market {
        Market::Spot => "/api/v3/order",
        Market::Perp => "/fapi/v1/order",
    }
}

/// True for an order that waits among the conditional ones, as far as is known.
fn is_conditional(market: Market, order: &OrderRef<'_>) -> bool {
    market == Market::Perp && order.order_type.is_stop() && order.exchange_id.is_none()
}

/// Names an order: by the exchange's number where it is known, which is the fastest way and always
/// unique; client's ids are unique among open orders only.
fn named(ask: Ask, order: &OrderRef<'_>) -> Ask {
    match order.exchange_id {
        Some(id) => ask.with("orderId", id),
        None => ask.with("origClientOrderId", order.client_id),
    }
}

fn named_algo(ask: Ask, order: &OrderRef<'_>) -> Ask {
    match order.trigger_id {
        Some(id) => ask.with("algoId", id),
        None => ask.with("clientAlgoId", order.client_id),
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}

fn time_in_force(terms: &OrderTerms) -> &'static str {
    match terms.time_in_force {
        _ if terms.post_only => "GTX",
        TimeInForce::Gtc => "GTC",
        TimeInForce::Ioc => "IOC",
        TimeInForce::Fok => "FOK",
    }
}

/// Stops that a price moves into are of two kinds: `STOP*` buys above the market and sells below it,
/// `TAKE_PROFIT*` the reverse. The wrong one is refused.
fn is_take_profit(terms: &OrderTerms, touch: Touch) -> bool {
    let Some(stop_price) = terms.stop_price else {
        return false;
    };
    touch.rises_to(stop_price, terms.side) != (terms.side == Side::Buy)
}

pub(super) fn place(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    touch: Touch,
    is_hedged: bool,
) -> Result<NativeRequest, CryptoError> {
    match instrument.spec.market {
        Market::Spot => place_spot(instrument, terms, client_id, touch),
        Market::Perp => place_perp(instrument, terms, client_id, touch, is_hedged),
    }
}

fn place_spot(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    touch: Touch,
) -> Result<NativeRequest, CryptoError> {
    if terms.margin_trading {
        return Err(
            unsupported(instrument, "orders with borrowed money are not implemented")
                .with("parameter", "margin_trading"),
        );
    }
    if terms.reduce_only {
        return Err(unsupported(instrument, "there are no positions to reduce")
            .with("parameter", "reduce_only"));
    }
    let is_take_profit = is_take_profit(terms, touch);
    let order_type = match terms.order_type {
        OrderType::Market => "MARKET",
        OrderType::Limit if terms.post_only => "LIMIT_MAKER",
        OrderType::Limit => "LIMIT",
        OrderType::StopMarket if is_take_profit => "TAKE_PROFIT",
        OrderType::StopMarket => "STOP_LOSS",
        OrderType::StopLimit if terms.post_only => {
            return Err(
                unsupported(instrument, "stops can't be post-only").with("parameter", "post_only")
            );
        }
        OrderType::StopLimit if is_take_profit => "TAKE_PROFIT_LIMIT",
        OrderType::StopLimit => "STOP_LOSS_LIMIT",
    };
    let mut ask = Ask::of(Method::Post, instrument, "/api/v3/order", 1)
        .with("side", side(terms.side))
        .with("type", order_type);
    if terms.order_type.has_price() && !terms.post_only {
        ask = ask.with("timeInForce", time_in_force(terms));
    }
    let price = terms.price.filter(|_| terms.order_type.has_price());
    let stop_price = terms.stop_price.filter(|_| terms.order_type.is_stop());
    Ok(ask
        .with_decimal("quantity", Some(terms.quantity))
        .with_decimal("price", price)
        .with_decimal("stopPrice", stop_price)
        .with("newClientOrderId", client_id)
        // With the state and the fills: what executes at once is known at once.
        .with("newOrderRespType", "FULL")
        .build())
}

fn place_perp(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    touch: Touch,
    is_hedged: bool,
) -> Result<NativeRequest, CryptoError> {
    let is_take_profit = is_take_profit(terms, touch);
    let order_type = match terms.order_type {
        OrderType::Market => "MARKET",
        OrderType::Limit => "LIMIT",
        OrderType::StopMarket if is_take_profit => "TAKE_PROFIT_MARKET",
        OrderType::StopMarket => "STOP_MARKET",
        OrderType::StopLimit if is_take_profit => "TAKE_PROFIT",
        OrderType::StopLimit => "STOP",
    };
    let is_stop = terms.order_type.is_stop();
    let mut ask = match is_stop {
        // Orders have limits of their own there, and no weight.
        false => Ask::of(Method::Post, instrument, "/fapi/v1/order", 0),
        true => Ask::of(Method::Post, instrument, "/fapi/v1/algoOrder", 1)
            .with("algoType", "CONDITIONAL"),
    };
    ask = ask.with("side", side(terms.side)).with("type", order_type);
    match position_of(terms, is_hedged)? {
        // The default.
        PositionSide::Net => {}
        PositionSide::Long => ask = ask.with("positionSide", "LONG"),
        PositionSide::Short => ask = ask.with("positionSide", "SHORT"),
    }
    if terms.order_type.has_price() {
        ask = ask.with("timeInForce", time_in_force(terms));
    }
    ask = ask
        .with_decimal("quantity", Some(terms.quantity))
        .with_decimal(
            "price",
            terms.price.filter(|_| terms.order_type.has_price()),
        );
    if terms.reduce_only && !is_hedged {
        // Refused in hedge mode, where direction and position say the same.
        ask = ask.with("reduceOnly", "true");
    }
    Ok(match is_stop {
        true => ask
            .with_decimal("triggerPrice", terms.stop_price)
            .with("clientAlgoId", client_id)
            .build(),
        false => ask
            .with("newClientOrderId", client_id)
            // What ends at once is answered with its end.
            .with("newOrderRespType", "RESULT")
            .build(),
    })
}

pub(super) fn cancel(instrument: &Instrument, order: &OrderRef<'_>) -> NativeRequest {
    let market = instrument.spec.market;
    if is_conditional(market, order) {
        // Takes no symbol: its numbers are unique.
        let ask = Ask::new(Method::Delete, market, "/fapi/v1/algoOrder", 1);
        return named_algo(ask, order).build();
    }
    let ask = Ask::of(Method::Delete, instrument, order_path(market), 1);
    named(ask, order).build()
}

pub(super) fn amend(
    instrument: &Instrument,
    order: &OrderRef<'_>,
    terms: &OrderTerms,
    quantity: Decimal,
    price: Option<Decimal>,
) -> Result<Option<NativeRequest>, CryptoError> {
    let price = price.filter(|price| terms.price != Some(*price));
    if price.is_none() && quantity == terms.quantity {
        return Ok(None);
    }
    let ask = match instrument.spec.market {
        Market::Spot => {
            if price.is_some() || quantity > terms.quantity {
                return Err(unsupported(
                    instrument,
                    "in place an order's quantity can only be made less",
                ));
            }
            let path = "/api/v3/order/amend/keepPriority";
            named(Ask::of(Method::Put, instrument, path, 4), order)
                // Else it would be given a random one.
                .with("newClientOrderId", order.client_id)
                .with_decimal("newQty", Some(quantity))
        }
        Market::Perp => {
            let price = price.or(terms.price);
            let has_price = terms.order_type.has_price() && price.is_some();
            if !has_price || is_conditional(Market::Perp, order) {
                return Err(unsupported(
                    instrument,
                    "only limit orders that work can be amended",
                ));
            }
            // Both are required, whichever changes.
            named(Ask::of(Method::Put, instrument, "/fapi/v1/order", 1), order)
                .with("side", side(order.side))
                .with_decimal("quantity", Some(quantity))
                .with_decimal("price", price)
        }
    };
    Ok(Some(ask.build()))
}

pub(super) fn cancel_all(instrument: &Instrument) -> Vec<NativeRequest> {
    let paths: &[&str] = match instrument.spec.market {
        // Stops are among the others.
        Market::Spot => &["/api/v3/openOrders"],
        Market::Perp => &["/fapi/v1/allOpenOrders", "/fapi/v1/algoOpenOrders"],
    };
    let ask = |path: &&str| Ask::of(Method::Delete, instrument, path, 1).build();
    paths.iter().map(ask).collect()
}

/// Where an order may be found, the likelier place first.
pub(super) fn find(instrument: &Instrument, order: &OrderRef<'_>) -> Vec<NativeRequest> {
    let market = instrument.spec.market;
    let weight = match market {
        Market::Spot => 4,
        Market::Perp => 1,
    };
    let plain = named(
        Ask::of(Method::Get, instrument, order_path(market), weight),
        order,
    )
    .build();
    if market == Market::Spot || !order.order_type.is_stop() {
        return vec![plain];
    }
    let algo = named_algo(
        Ask::new(Method::Get, market, "/fapi/v1/algoOrder", 1),
        order,
    )
    .build();
    match order.exchange_id {
        Some(_) => vec![plain, algo],
        None => vec![algo, plain],
    }
}

pub(super) fn open(market: Market) -> Vec<NativeRequest> {
    let paths: &[(&str, u32)] = match market {
        Market::Spot => &[("/api/v3/openOrders", 80)],
        Market::Perp => &[("/fapi/v1/openOrders", 40), ("/fapi/v1/openAlgoOrders", 40)],
    };
    let ask = |(path, weight): &(&str, u32)| Ask::new(Method::Get, market, path, *weight).build();
    paths.iter().map(ask).collect()
}

fn trades(instrument: &Instrument, order: Option<&OrderRef<'_>>) -> Ask {
    let id = order.and_then(|order| order.exchange_id);
    let (path, weight) = match (instrument.spec.market, id) {
        (Market::Spot, None) => ("/api/v3/myTrades", 20),
        (Market::Spot, Some(_)) => ("/api/v3/myTrades", 5),
        (Market::Perp, _) => ("/fapi/v1/userTrades", 5),
    };
    let ask = Ask::of(Method::Get, instrument, path, weight);
    match id {
        Some(id) => ask.with("orderId", id),
        None => ask,
    }
}

/// Executions since a time. An answer tells of a day on spot and of a week on USDⓈ-M, so that a long
/// time is asked for in windows; of one order spot tells without times.
pub(super) fn fills(
    instrument: &Instrument,
    order: Option<&OrderRef<'_>>,
    since: TsNanos,
    now: TsNanos,
) -> Vec<NativeRequest> {
    const DAY_MS: i64 = 24 * 3_600_000;
    let market = instrument.spec.market;
    let is_by_order = order.is_some_and(|order| order.exchange_id.is_some());
    let page = |ask: Ask| ask.with_number("limit", TRADES_MAX).build();
    let span = match market {
        Market::Spot if is_by_order => return vec![page(trades(instrument, order))],
        Market::Spot => DAY_MS,
        Market::Perp => 7 * DAY_MS,
    };
    let end = now.as_ms().max(0);
    let first = end.saturating_sub(span.saturating_mul(WINDOWS_MAX));
    let mut start = since.as_ms().max(first).max(0);
    let mut requests = Vec::new();
    loop {
        let ask = trades(instrument, order).with_number("startTime", start);
        let next = start.saturating_add(span);
        if next > end {
            // Open, so that what happens while the question is under way is told too.
            requests.push(page(ask));
            break;
        }
        requests.push(page(ask.with_number("endTime", next - 1)));
        start = next;
    }
    requests
}

/// The facts of one order out of the answer to its placing, cancellation or amendment.
pub(super) fn done(
    market: Market,
    body: &[u8],
    client_id: &str,
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let mut facts = Facts::default();
    let row: OrderRow = read(body, "orderId")?;
    row.tell(market, Some(client_id), now, &mut facts)?;
    Ok(facts)
}

/// `{"transactTime":…,"amendedOrder":{…}}`
pub(super) fn reduced(body: &[u8], client_id: &str, now: TsNanos) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Amended {
        amended_order: OrderRow,
    }
    let mut facts = Facts::default();
    let answer: Amended = read(body, "amendedOrder")?;
    let row = answer.amended_order;
    row.tell(Market::Spot, Some(client_id), now, &mut facts)?;
    Ok(facts)
}

pub(super) fn placed_algo(body: &[u8], now: TsNanos) -> Result<Facts, DecodeError> {
    let row: AlgoRow = read(body, "algoId")?;
    Ok(Facts {
        orders: vec![row.report(now)?],
        ..Facts::default()
    })
}

/// A code of success, which is text in some answers and a number in others.
fn is_success(code: &Value) -> bool {
    match code {
        Value::String(text) => text == "200",
        Value::Number(number) => number.as_u64() == Some(200),
        _ => false,
    }
}

pub(super) fn canceled(
    instrument: &Instrument,
    order: &OrderRef<'_>,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let market = instrument.spec.market;
    match is_conditional(market, order) {
        true => canceled_algo(instrument, order, body, now),
        false => done(market, body, order.client_id, now),
    }
}

/// `{"algoId":2146760,"clientAlgoId":"6B2I…","code":"200","msg":"success"}`
fn canceled_algo(
    instrument: &Instrument,
    order: &OrderRef<'_>,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Canceled {
        algo_id: u64,
        code: Value,
    }
    let answer: Canceled = read(body, "algoId")?;
    if !is_success(&answer.code) {
        return Err(DecodeError::Field { field: "code" });
    }
    let report = OrderReport {
        market: Market::Perp,
        native_symbol: instrument.spec.native_symbol.clone(),
        client_id: Some(order.client_id.to_owned()),
        news: OrderNews {
            trigger_id: Some(answer.algo_id.to_string()),
            ..OrderNews::new(Word::Canceled, now)
        },
        terms: ReportTerms::default(),
    };
    Ok(Facts {
        orders: vec![report],
        ..Facts::default()
    })
}

/// Spot tells what was canceled, order lists with their orders inside; USDⓈ-M only that it was done.
pub(super) fn canceled_all(
    market: Market,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Row {
        List {
            #[serde(rename = "orderReports")]
            orders: Vec<OrderRow>,
        },
        Order(Box<OrderRow>),
    }
    #[derive(Deserialize)]
    struct Done {
        code: Value,
    }
    let mut facts = Facts::default();
    match market {
        Market::Perp => {
            let done: Done = read(body, "code")?;
            if !is_success(&done.code) {
                return Err(DecodeError::Field { field: "code" });
            }
        }
        Market::Spot => {
            for row in read::<Vec<Row>>(body, "orderId")? {
                match row {
                    Row::Order(row) => row.tell(market, None, now, &mut facts)?,
                    Row::List { orders } => {
                        for row in orders {
                            row.tell(market, None, now, &mut facts)?;
                        }
                    }
                }
            }
        }
    }
    Ok(facts)
}

/// An order, or a conditional one; of one that has triggered the order that it became is asked for
/// next.
pub(super) fn found(
    instrument: &Instrument,
    order: &OrderRef<'_>,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Kind {
        algo_id: Option<u64>,
    }
    let market = instrument.spec.market;
    let kind: Kind = read(body, "algoId")?;
    if market == Market::Spot || kind.algo_id.is_none() {
        return done(market, body, order.client_id, now);
    }
    let row: AlgoRow = read(body, "algoId")?;
    let report = row.report(now)?;
    let next = row.order_id().map(|id| {
        Ask::of(Method::Get, instrument, "/fapi/v1/order", 1)
            .with("orderId", &id)
            .build()
    });
    Ok(Facts {
        orders: vec![report],
        next,
        ..Facts::default()
    })
}

pub(super) fn opened(
    market: Market,
    index: usize,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let mut facts = Facts::default();
    match index {
        0 => {
            for row in read::<Vec<OrderRow>>(body, "orderId")? {
                row.tell(market, None, now, &mut facts)?;
            }
        }
        _ => {
            for row in read::<Vec<AlgoRow>>(body, "algoId")? {
                facts.orders.push(row.report(now)?);
            }
        }
    }
    Ok(facts)
}

pub(super) fn filled(
    instrument: &Instrument,
    order: Option<&OrderRef<'_>>,
    body: &[u8],
) -> Result<Facts, DecodeError> {
    let rows: Vec<TradeRow> = read(body, "id")?;
    // Of one order only where it could be asked for by number.
    let order_id = order.and_then(|order| order.exchange_id);
    let client_id = order.filter(|_| order_id.is_some()).map(|o| o.client_id);
    let last = rows.iter().map(TradeRow::id).max();
    let mut facts = Facts::default();
    if let Some(last) = last.filter(|_| rows.len() >= TRADES_MAX) {
        let ask = trades(instrument, order)
            .with_number("fromId", last.saturating_add(1))
            .with_number("limit", TRADES_MAX);
        facts.next = Some(ask.build());
    }
    for row in rows {
        facts
            .fills
            .push(row.report(instrument.spec.market, client_id)?);
    }
    Ok(facts)
}
