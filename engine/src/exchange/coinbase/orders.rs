//! Commands to requests, and what their answers tell.
//!
//! Source: order pages of the Advanced Trade API, official Python SDK 1.8.4. Orders are named by
//! Coinbase's id alone, and a success says that something was taken into a queue.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::exchange::DecodeError;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::exact::plain;
use crate::trading::order::{OrderTerms, OrderType, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{
    Access, Command, Facts, Method, NativeRequest, OrderRef, OrderReport, ReportTerms, Touch,
};

use super::wire::{Text, read};

/// Paths of an account's orders.
pub(super) const ORDERS: &str = "/api/v3/brokerage/orders";
/// Index of the budget of everything that is signed.
pub(super) const PRIVATE: usize = 1;

fn unsupported(what: &str) -> CryptoError {
    let message = format!("coinbase can't be told: {what}");
    CryptoError::new(CryptoCode::Unsupported, message).with("provider", "coinbase")
}

const fn side_name(side: Side) -> &'static str {
    match side {
        Side::Buy => "BUY",
        Side::Sell => "SELL",
    }
}

#[derive(Serialize)]
struct Place<'a> {
    client_order_id: &'a str,
    product_id: &'a str,
    side: &'static str,
    order_configuration: Configuration,
}

/// The member's name says type and time in force.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Configuration {
    MarketMarketIoc {
        base_size: String,
    },
    LimitLimitGtc {
        base_size: String,
        limit_price: String,
        post_only: bool,
    },
    LimitLimitFok {
        base_size: String,
        limit_price: String,
    },
    SorLimitIoc {
        base_size: String,
        limit_price: String,
    },
    StopLimitStopLimitGtc {
        base_size: String,
        limit_price: String,
        stop_price: String,
        stop_direction: &'static str,
    },
}

#[derive(Serialize)]
struct Edit<'a> {
    order_id: &'a str,
    price: String,
    size: String,
}

#[derive(Serialize)]
struct Cancel<'a> {
    order_ids: [&'a str; 1],
}

fn post(path: &str, body: &impl Serialize) -> Result<NativeRequest, CryptoError> {
    let body = serde_json::to_string(body)
        .map_err(|_| CryptoError::new(CryptoCode::InternalError, "a request can't be written"))?;
    Ok(NativeRequest {
        method: Method::Post,
        market: Market::Spot,
        path: format!("{ORDERS}{path}"),
        query: String::new(),
        body,
        access: Access::Signed,
        budget: (PRIVATE, 1),
        counts_for: None,
    })
}

/// Coinbase's id of an order: nothing can be done without it.
fn exchange_id<'a>(order: &OrderRef<'a>) -> Result<&'a str, CryptoError> {
    order.exchange_id.ok_or_else(|| {
        CryptoError::new(
            CryptoCode::OrderStateUnknown,
            "coinbase names orders by its own id, and that of this order is not known yet",
        )
        .with("provider", "coinbase")
        .with("client_id", order.client_id)
    })
}

/// Requests of a command.
pub(super) fn command(command: &Command<'_>) -> Result<Vec<NativeRequest>, CryptoError> {
    match *command {
        Command::Place {
            instrument,
            terms,
            client_id,
            touch,
            ..
        } => place(instrument, terms, client_id, touch).map(|request| vec![request]),
        Command::Cancel { order, .. } => {
            let body = Cancel {
                order_ids: [exchange_id(&order)?],
            };
            post("/batch_cancel", &body).map(|request| vec![request])
        }
        Command::Amend {
            order,
            terms,
            quantity,
            price,
            ..
        } => amend(order, terms, quantity, price),
        // There is no such request: orders are canceled one by one.
        Command::CancelAll { .. } => Ok(Vec::new()),
        Command::SetLeverage { .. } => Err(unsupported("a leverage of spot")),
        Command::DeadMan { .. } => Err(unsupported("to cancel everything when it hears nothing")),
    }
}

/// The way the price has to go for a stop to be reached.
fn stop_direction(side: Side, stop_price: Decimal, touch: Touch) -> &'static str {
    match touch.rises_to(stop_price, side) {
        true => "STOP_DIRECTION_STOP_UP",
        false => "STOP_DIRECTION_STOP_DOWN",
    }
}

fn place(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    touch: Touch,
) -> Result<NativeRequest, CryptoError> {
    if terms.margin_trading {
        return Err(unsupported("spot with borrowed money"));
    }
    if terms.reduce_only {
        return Err(unsupported("spot orders that only reduce"));
    }
    let is_gtc = terms.time_in_force == TimeInForce::Gtc;
    if terms.post_only && !(terms.order_type == OrderType::Limit && is_gtc) {
        return Err(unsupported("post only of anything but a GTC limit order"));
    }
    let needed = |name: &str, price: Option<Decimal>| {
        let missing = || CryptoError::invalid_parameter(name, "none", "a price");
        price.map(plain).ok_or_else(missing)
    };
    let base_size = plain(terms.quantity);
    let order_configuration = match (terms.order_type, terms.time_in_force) {
        (OrderType::StopMarket, _) => {
            return Err(unsupported("stop orders without a limit price"));
        }
        (OrderType::Market, _) => Configuration::MarketMarketIoc { base_size },
        (OrderType::Limit, TimeInForce::Gtc) => Configuration::LimitLimitGtc {
            base_size,
            limit_price: needed("price", terms.price)?,
            post_only: terms.post_only,
        },
        (OrderType::Limit, TimeInForce::Ioc) => Configuration::SorLimitIoc {
            base_size,
            limit_price: needed("price", terms.price)?,
        },
        (OrderType::Limit, TimeInForce::Fok) => Configuration::LimitLimitFok {
            base_size,
            limit_price: needed("price", terms.price)?,
        },
        (OrderType::StopLimit, TimeInForce::Gtc) => Configuration::StopLimitStopLimitGtc {
            base_size,
            limit_price: needed("price", terms.price)?,
            stop_price: needed("stop_price", terms.stop_price)?,
            stop_direction: stop_direction(terms.side, terms.stop_price.unwrap_or_default(), touch),
        },
        (OrderType::StopLimit, _) => return Err(unsupported("stops that are IOC or FOK")),
    };
    let body = Place {
        client_order_id: client_id,
        product_id: &instrument.spec.native_symbol,
        side: side_name(terms.side),
        order_configuration,
    };
    post("", &body)
}

/// Price and size are sent together always: one that is left out is taken as 0.
fn amend(
    order: OrderRef<'_>,
    terms: &OrderTerms,
    quantity: Decimal,
    price: Option<Decimal>,
) -> Result<Vec<NativeRequest>, CryptoError> {
    let is_limit = terms.order_type == OrderType::Limit && terms.time_in_force == TimeInForce::Gtc;
    let Some(wanted) = price.or(terms.price).filter(|_| is_limit) else {
        return Err(unsupported("amending anything but a GTC limit order"));
    };
    if quantity == terms.quantity && terms.price == Some(wanted) {
        return Ok(Vec::new());
    }
    let body = Edit {
        order_id: exchange_id(&order)?,
        price: plain(wanted),
        size: plain(quantity),
    };
    post("/edit", &body).map(|request| vec![request])
}

/// `{"success":true,"success_response":{"order_id":"…","client_order_id":"…",…},…}`
#[derive(Deserialize)]
struct Ack<'a> {
    success: Option<bool>,
    #[serde(borrow)]
    order_id: Option<Text<'a>>,
    #[serde(borrow)]
    success_response: Option<AckOrder<'a>>,
}

#[derive(Deserialize)]
struct AckOrder<'a> {
    #[serde(borrow)]
    order_id: Option<Text<'a>>,
    #[serde(borrow)]
    client_order_id: Option<Text<'a>>,
}

/// `{"results":[{"success":true,"order_id":"…"}]}`
#[derive(Deserialize)]
struct CancelAck {
    results: Vec<serde::de::IgnoredAny>,
}

/// What the successful answer to a command tells. Cancellations and edits are only taken into a
/// queue: what becomes of them comes by the stream.
pub(super) fn acknowledged(
    command: &Command<'_>,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let mut facts = Facts::default();
    let (instrument, client_id) = match *command {
        Command::Place {
            instrument,
            client_id,
            ..
        } => (instrument, client_id),
        Command::Cancel { .. } => {
            let ack: CancelAck = read(body, "results")?;
            return match ack.results.is_empty() {
                true => Err(DecodeError::Field { field: "results" }),
                false => Ok(facts),
            };
        }
        _ => {
            let ack: Ack<'_> = read(body, "success")?;
            return match ack.success {
                Some(true) => Ok(facts),
                _ => Err(DecodeError::Field { field: "success" }),
            };
        }
    };
    let ack: Ack<'_> = read(body, "success")?;
    if ack.success != Some(true) {
        return Err(DecodeError::Field { field: "success" });
    }
    let response = ack.success_response.as_ref();
    let told_id = response.and_then(|order| order.client_order_id.as_deref());
    if told_id.is_some_and(|told| !told.is_empty() && told != client_id) {
        let field = "client_order_id";
        return Err(DecodeError::Field { field });
    }
    let id = response
        .and_then(|order| order.order_id.as_deref())
        .or(ack.order_id.as_deref())
        .filter(|id| !id.is_empty())
        .ok_or(DecodeError::Field { field: "order_id" })?;
    facts.orders.push(OrderReport {
        market: Market::Spot,
        native_symbol: instrument.spec.native_symbol.clone(),
        client_id: Some(client_id.to_owned()),
        news: OrderNews {
            exchange_order_id: Some(id.to_owned()),
            ..OrderNews::new(Word::Works, now)
        },
        terms: ReportTerms::default(),
    });
    // What it holds is not free any more.
    facts.balances_are_stale = true;
    Ok(facts)
}
