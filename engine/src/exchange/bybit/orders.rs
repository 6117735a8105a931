//! Orders of both markets: commands and questions to requests, answers to facts.
//!
//! An answer to a command says only that it was taken: what becomes of it is told by the account's
//! events. Source: `docs/v5/order/*` of the exchange's documentation repository (2026-07-24).

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{
    Facts, NativeRequest, OrderRef, OrderReport, ReportTerms, Touch, position_of,
};

use super::answer::result;
use super::report::{ExecutionRow, OrderRow};
use super::sign::Ask;

/// Coins that linear perpetuals settle in; questions about all of them are asked coin by coin.
pub(super) const SETTLE_COINS: [&str; 2] = ["USDT", "USDC"];
/// Most orders on a page.
const ORDERS_MAX: u32 = 50;
/// Most executions on a page.
const FILLS_MAX: u32 = 100;
/// Span of a question about the past that names its beginning, milliseconds.
const SPAN_MS: i64 = 7 * DAY_MS;
const DAY_MS: i64 = 24 * 3_600_000;
/// The exchange keeps two years.
const PAST_DAYS: i64 = 730;

/// What the exchange has no way to do.
pub(super) fn unsupported(market: Market, what: &str) -> CryptoError {
    CryptoError::new(CryptoCode::Unsupported, format!("bybit {market}: {what}"))
        .with("provider", "bybit")
        .with("market", market.as_str())
}

fn time_in_force(terms: &OrderTerms) -> &'static str {
    match terms.time_in_force {
        _ if terms.post_only => "PostOnly",
        TimeInForce::Gtc => "GTC",
        TimeInForce::Ioc => "IOC",
        TimeInForce::Fok => "FOK",
    }
}

/// Which of spot's kinds an order is of: conditional ones are kept apart until they trigger.
fn filter(order_type: OrderType, has_triggered: bool) -> &'static str {
    match order_type.is_stop() && !has_triggered {
        true => "StopOrder",
        false => "Order",
    }
}

pub(super) fn place(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    touch: Touch,
    is_hedged: bool,
) -> Result<NativeRequest, CryptoError> {
    let spec = &instrument.spec;
    let has_price = terms.order_type.has_price();
    let stop_price = terms.stop_price.filter(|_| terms.order_type.is_stop());
    let mut ask = Ask::post_of(instrument, "/v5/order/create")
        .with(
            "side",
            match terms.side {
                Side::Buy => "Buy",
                Side::Sell => "Sell",
            },
        )
        .with("orderType", if has_price { "Limit" } else { "Market" })
        .with_decimal("qty", Some(terms.quantity));
    if has_price {
        // Market orders are always IOC.
        ask = ask
            .with_decimal("price", terms.price)
            .with("timeInForce", time_in_force(terms));
    }
    ask = ask.with_decimal("triggerPrice", stop_price);
    match spec.market {
        Market::Spot => {
            if terms.reduce_only {
                let error = unsupported(spec.market, "there are no positions to reduce");
                return Err(error.with("parameter", "reduce_only"));
            }
            if !has_price {
                // A buy would be counted in quote units.
                ask = ask.with("marketUnit", "baseCoin");
            }
            ask = ask
                .with_value("isLeverage", u8::from(terms.margin_trading))
                .with("orderFilter", filter(terms.order_type, false));
        }
        Market::Perp => {
            if let Some(stop_price) = stop_price {
                let rises = touch.rises_to(stop_price, terms.side);
                ask = ask
                    .with_value("triggerDirection", if rises { 1 } else { 2 })
                    .with("triggerBy", "LastPrice");
            }
            // Only contracts that settle in USDT can be held by side.
            let is_hedged = is_hedged && spec.settlement_symbol.as_deref() == Some("USDT");
            let index = match position_of(terms, is_hedged)? {
                PositionSide::Net => 0,
                PositionSide::Long => 1,
                PositionSide::Short => 2,
            };
            ask = ask
                .with_value("reduceOnly", terms.reduce_only)
                .with_value("positionIdx", index);
        }
    }
    Ok(ask.with("orderLinkId", client_id).build())
}

/// Names an order: by the exchange's number where it is known.
fn named(ask: Ask, order: &OrderRef<'_>) -> Ask {
    match order.exchange_id {
        Some(id) => ask.with("orderId", id),
        None => ask.with("orderLinkId", order.client_id),
    }
}

pub(super) fn cancel(instrument: &Instrument, order: &OrderRef<'_>) -> NativeRequest {
    let ask = named(Ask::post_of(instrument, "/v5/order/cancel"), order);
    match instrument.spec.market {
        // Where there is a number of the order itself, it has triggered.
        Market::Spot => {
            let has_triggered = order.exchange_id.is_some();
            ask.with("orderFilter", filter(order.order_type, has_triggered))
        }
        Market::Perp => ask,
    }
    .build()
}

pub(super) fn amend(
    instrument: &Instrument,
    order: &OrderRef<'_>,
    terms: &OrderTerms,
    quantity: Decimal,
    price: Option<Decimal>,
) -> Option<NativeRequest> {
    // Only what changes is sent.
    let price = price.filter(|price| terms.price != Some(*price));
    let quantity = Some(quantity).filter(|quantity| *quantity != terms.quantity);
    if quantity.is_none() && price.is_none() {
        return None;
    }
    let ask = named(Ask::post_of(instrument, "/v5/order/amend"), order)
        .with_decimal("qty", quantity)
        .with_decimal("price", price);
    Some(ask.build())
}

pub(super) fn cancel_all(instrument: &Instrument) -> Vec<NativeRequest> {
    let ask = || Ask::post_of(instrument, "/v5/order/cancel-all");
    match instrument.spec.market {
        // One kind at a time.
        Market::Spot => ["Order", "StopOrder", "tpslOrder"]
            .into_iter()
            .map(|kind| ask().with("orderFilter", kind).build())
            .collect(),
        Market::Perp => vec![ask().build()],
    }
}

/// Has orders taken back so long after the last watched connection has ended. Only institutions may, and
/// it is in force some ten seconds later (`docs/v5/order/dcp`).
pub(super) fn watch(market: Market, secs: u32) -> NativeRequest {
    let product = match market {
        Market::Spot => "SPOT",
        Market::Perp => "DERIVATIVES",
    };
    Ask::plain_post(market, "/v5/order/disconnected-cancel-all")
        .with("product", product)
        .with_value("timeWindow", secs)
        .build()
}

/// Where an order may be found: among the open ones, those that ended lately, those of the past.
pub(super) fn find(
    instrument: &Instrument,
    order: &OrderRef<'_>,
    now: TsNanos,
) -> Vec<NativeRequest> {
    let ask = |path| named(Ask::get_of(instrument, path), order);
    let mut requests = vec![
        ask("/v5/order/realtime").build(),
        ask("/v5/order/realtime").with("openOnly", "1").build(),
        // The last seven days.
        ask("/v5/order/history").build(),
    ];
    let made = order.created_at.as_ms();
    if now.as_ms().saturating_sub(made) > SPAN_MS - DAY_MS {
        let start = made.saturating_sub(60_000).max(0);
        requests.push(
            ask("/v5/order/history")
                .with_number("startTime", start)
                .build(),
        );
    }
    requests
}

/// One page of all open orders; linear ones coin by coin.
fn open_page(market: Market, index: usize, cursor: Option<&str>) -> Option<NativeRequest> {
    let mut ask = Ask::get(market, "/v5/order/realtime");
    match market {
        Market::Spot if index > 0 => return None,
        Market::Spot => {}
        Market::Perp => ask = ask.with("settleCoin", SETTLE_COINS.get(index)?),
    }
    Some(page(ask, ORDERS_MAX, cursor))
}

pub(super) fn page(ask: Ask, limit: u32, cursor: Option<&str>) -> NativeRequest {
    let ask = ask.with_number("limit", limit);
    match cursor {
        Some(cursor) => ask.with("cursor", cursor).build(),
        None => ask.build(),
    }
}

pub(super) fn open(market: Market) -> Vec<NativeRequest> {
    let pages = 0..SETTLE_COINS.len();
    pages
        .filter_map(|index| open_page(market, index, None))
        .collect()
}

/// Windows of a question about executions. They do not depend on the moment of asking, so that the
/// next page is of the same window.
fn fills_page(
    instrument: &Instrument,
    order: Option<&OrderRef<'_>>,
    since: TsNanos,
    now: TsNanos,
    index: usize,
    cursor: Option<&str>,
) -> Option<NativeRequest> {
    let today = now.as_ms().div_euclid(DAY_MS).saturating_mul(DAY_MS);
    let first = today.saturating_sub(PAST_DAYS * DAY_MS);
    let offset = i64::try_from(index).ok()?.checked_mul(SPAN_MS)?;
    let start = since.as_ms().max(first).max(0).checked_add(offset)?;
    if start > now.as_ms().saturating_add(60_000) {
        return None;
    }
    let mut ask = Ask::get_of(instrument, "/v5/execution/list");
    if let Some(order) = order {
        ask = named(ask, order);
    }
    Some(page(ask.with_number("startTime", start), FILLS_MAX, cursor))
}

pub(super) fn fills(
    instrument: &Instrument,
    order: Option<&OrderRef<'_>>,
    since: TsNanos,
    now: TsNanos,
) -> Vec<NativeRequest> {
    (0..)
        .map_while(|index| fills_page(instrument, order, since, now, index, None))
        .collect()
}

/// `{"orderId":"1321003749386327552","orderLinkId":"spot-test-postonly"}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Taken {
    order_id: String,
}

/// An order that was taken; whether it works is told later.
pub(super) fn placed(
    instrument: &Instrument,
    order_type: OrderType,
    client_id: &str,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let taken: Taken = result(body, "orderId")?;
    if taken.order_id.is_empty() {
        return Err(DecodeError::Field { field: "orderId" });
    }
    let market = instrument.spec.market;
    // Spot's conditional orders may get another number when they trigger.
    let waits = market == Market::Spot && order_type.is_stop();
    let (exchange_order_id, trigger_id) = match waits {
        false => (Some(taken.order_id), None),
        true => (None, Some(taken.order_id)),
    };
    let report = OrderReport {
        market,
        native_symbol: instrument.spec.native_symbol.clone(),
        client_id: Some(client_id.to_owned()),
        news: OrderNews {
            exchange_order_id,
            trigger_id,
            ..OrderNews::new(Word::Works, now)
        },
        terms: ReportTerms::default(),
    };
    Ok(Facts {
        orders: vec![report],
        ..Facts::default()
    })
}

/// A cancellation or amendment that was taken, which says nothing of the order yet.
pub(super) fn taken(body: &[u8]) -> Result<Facts, DecodeError> {
    result::<Taken>(body, "orderId")?;
    Ok(Facts::default())
}

/// Any success.
pub(super) fn succeeded(body: &[u8]) -> Result<Facts, DecodeError> {
    result::<serde::de::IgnoredAny>(body, "result")?;
    Ok(Facts::default())
}

/// A list, and where it goes on.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    pub(super) list: Vec<T>,
    #[serde(default)]
    next_page_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page without rows is the last one, whatever it says.
    pub(super) fn cursor(&self) -> Option<&str> {
        let cursor = self.next_page_cursor.as_deref()?;
        (!cursor.is_empty() && !self.list.is_empty()).then_some(cursor)
    }
}

pub(super) fn found(
    market: Market,
    order: &OrderRef<'_>,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let page: Page<OrderRow> = result(body, "list")?;
    let mut facts = Facts::default();
    // Newest first; what is told last counts.
    for row in page.list.into_iter().rev() {
        if row.is(order.client_id, order.exchange_id) {
            let report = row.report(market, now)?;
            facts.orders.push(OrderReport {
                client_id: Some(order.client_id.to_owned()),
                ..report
            });
        }
    }
    Ok(facts)
}

pub(super) fn opened(
    market: Market,
    index: usize,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let page: Page<OrderRow> = result(body, "list")?;
    let next = page
        .cursor()
        .map(|cursor| open_page(market, index, Some(cursor)));
    let mut facts = Facts {
        next: next.flatten(),
        ..Facts::default()
    };
    for row in page.list {
        facts.orders.push(row.report(market, now)?);
    }
    Ok(facts)
}

pub(super) fn filled(
    instrument: &Instrument,
    order: Option<&OrderRef<'_>>,
    since: TsNanos,
    index: usize,
    body: &[u8],
    table: &InstrumentTable,
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let page: Page<ExecutionRow> = result(body, "list")?;
    let next = page
        .cursor()
        .map(|cursor| fills_page(instrument, order, since, now, index, Some(cursor)));
    let mut facts = Facts {
        next: next.flatten(),
        ..Facts::default()
    };
    for row in page.list.into_iter().filter(ExecutionRow::is_fill) {
        facts.fills.push(row.report(instrument.spec.market, table)?);
    }
    Ok(facts)
}
