//! Commands to requests, and what their answers tell.
//!
//! Source: order, algo order and account pages of the v5 documentation. Swaps are counted in
//! contracts, stops are algo orders of the type `trigger` with endpoints of their own until they
//! are triggered, and an acknowledgement is never the end of anything.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::DecodeError;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::exact::plain;
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{
    Access, Command, Facts, Method, NativeRequest, OrderRef, OrderReport, ReportTerms, position_of,
};

use super::json::{Text, millis_or_none, read};
use super::rest;

/// Time until the exchange cancels everything, seconds; 0 disarms it.
pub(super) const DEAD_MAN_SECS: (u32, u32) = (10, 120);
/// What stands for a price that is the market's.
const AT_MARKET: &str = "-1";
/// Most digits that a number of contracts may have behind the point.
const CONTRACT_DIGITS: u32 = 18;

fn unsupported(what: &str) -> CryptoError {
    CryptoError::new(
        CryptoCode::Unsupported,
        format!("okx can't be told: {what}"),
    )
    .with("provider", "okx")
}

/// A quantity in what OKX counts in: base units, or contracts of a swap.
pub(super) fn size(instrument: &Instrument, quantity: Decimal) -> Result<String, CryptoError> {
    if instrument.spec.market == Market::Spot {
        return Ok(plain(quantity));
    }
    let contract = instrument.spec.contract_size;
    let exact = quantity
        .checked_div(contract)
        .map(|contracts| contracts.normalize())
        .filter(|contracts| contracts.scale() <= CONTRACT_DIGITS)
        .filter(|contracts| contracts.checked_mul(contract) == Some(quantity));
    exact.map(|contracts| contracts.to_string()).ok_or_else(|| {
        CryptoError::new(
            CryptoCode::PrecisionError,
            format!("quantity {quantity} is no number of contracts of {contract}"),
        )
        .with("quantity", quantity.to_string())
        .with("contract_size", contract.to_string())
        .with("qty_step", instrument.spec.qty_step.to_string())
    })
}

/// How a position's side goes into an order.
struct Sides {
    /// `posSide`, in hedge mode.
    pos_side: Option<&'static str>,
    /// `reduceOnly`, in one-way mode: in hedge mode the direction says it.
    reduce_only: Option<bool>,
}

impl Sides {
    fn of(terms: &OrderTerms, market: Market, is_hedged: bool) -> Result<Self, CryptoError> {
        if market == Market::Spot {
            return match terms.reduce_only {
                true => Err(unsupported("spot orders that only reduce")),
                false => Ok(Self {
                    pos_side: None,
                    reduce_only: None,
                }),
            };
        }
        let side = position_of(terms, is_hedged)?;
        Ok(match side {
            PositionSide::Net => Self {
                pos_side: None,
                reduce_only: terms.reduce_only.then_some(true),
            },
            PositionSide::Long | PositionSide::Short => Self {
                pos_side: Some(side.as_str()),
                reduce_only: None,
            },
        })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    inst_id: &'a str,
    td_mode: &'static str,
    side: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pos_side: Option<&'static str>,
    ord_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    px: Option<String>,
    sz: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tgt_ccy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reduce_only: Option<bool>,
    cl_ord_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ban_amend: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlaceStop<'a> {
    inst_id: &'a str,
    td_mode: &'static str,
    side: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pos_side: Option<&'static str>,
    ord_type: &'static str,
    sz: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    tgt_ccy: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reduce_only: Option<bool>,
    trigger_px: String,
    trigger_px_type: &'static str,
    order_px: String,
    algo_cl_ord_id: &'a str,
}

/// An order, named by the exchange's id where that is known.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Named<'a> {
    inst_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ord_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cl_ord_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_sz: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_px: Option<String>,
}

/// The same of an algo order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamedStop<'a> {
    inst_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    algo_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    algo_cl_ord_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_sz: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_trigger_px: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_ord_px: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_trigger_px_type: Option<&'static str>,
}

impl<'a> Named<'a> {
    fn new(instrument: &'a Instrument, order: OrderRef<'a>) -> Self {
        Self {
            inst_id: &instrument.spec.native_symbol,
            ord_id: order.exchange_id,
            cl_ord_id: order.exchange_id.is_none().then_some(order.client_id),
            new_sz: None,
            new_px: None,
        }
    }
}

impl<'a> NamedStop<'a> {
    fn new(instrument: &'a Instrument, order: OrderRef<'a>) -> Self {
        Self {
            inst_id: &instrument.spec.native_symbol,
            algo_id: order.trigger_id,
            algo_cl_ord_id: order.trigger_id.is_none().then_some(order.client_id),
            new_sz: None,
            new_trigger_px: None,
            new_ord_px: None,
            new_trigger_px_type: None,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Leverage<'a> {
    inst_id: &'a str,
    lever: String,
    mgn_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CancelAfter {
    time_out: String,
}

fn post(
    market: Market,
    path: &str,
    budget: usize,
    body: &impl Serialize,
) -> Result<NativeRequest, CryptoError> {
    let body = serde_json::to_string(body)
        .map_err(|_| CryptoError::new(CryptoCode::InternalError, "a request can't be written"))?;
    Ok(NativeRequest {
        method: Method::Post,
        market,
        path: path.to_owned(),
        query: String::new(),
        body,
        access: Access::Signed,
        budget: (budget, 1),
        counts_for: None,
    })
}

/// A request about an order of an instrument, which is what OKX counts it for.
fn post_of(
    instrument: &Instrument,
    path: &str,
    budget: usize,
    body: &impl Serialize,
) -> Result<NativeRequest, CryptoError> {
    let request = post(instrument.spec.market, path, budget, body)?;
    Ok(NativeRequest {
        counts_for: Some(instrument.spec.native_symbol.clone()),
        ..request
    })
}

/// True while an order is an algo order there: a stop whose ordinary order is not known.
pub(super) fn is_waiting(order: &OrderRef<'_>) -> bool {
    order.order_type.is_stop() && order.exchange_id.is_none()
}

/// Requests of a command.
pub(super) fn command(command: &Command<'_>) -> Result<Vec<NativeRequest>, CryptoError> {
    match *command {
        Command::Place {
            instrument,
            terms,
            client_id,
            touch: _,
            is_hedged,
        } => place(instrument, terms, client_id, is_hedged).map(|request| vec![request]),
        Command::Cancel { instrument, order } => {
            let market = instrument.spec.market;
            let request = match is_waiting(&order) {
                true => post(
                    market,
                    "/api/v5/trade/cancel-algos",
                    rest::CANCEL_ALGOS,
                    &[NamedStop::new(instrument, order)],
                ),
                false => post_of(
                    instrument,
                    "/api/v5/trade/cancel-order",
                    rest::CANCEL_ORDER,
                    &Named::new(instrument, order),
                ),
            };
            request.map(|request| vec![request])
        }
        Command::Amend {
            instrument,
            order,
            terms,
            quantity,
            price,
        } => amend(instrument, order, terms, quantity, price),
        // There is no such request: orders are canceled one by one.
        Command::CancelAll { .. } => Ok(Vec::new()),
        Command::SetLeverage {
            instrument,
            leverage,
        } => {
            if instrument.spec.market == Market::Spot {
                return Err(unsupported("a leverage of spot"));
            }
            let body = Leverage {
                inst_id: &instrument.spec.native_symbol,
                lever: leverage.to_string(),
                mgn_mode: "cross",
            };
            let path = "/api/v5/account/set-leverage";
            post(Market::Perp, path, rest::SET_LEVERAGE, &body).map(|request| vec![request])
        }
        Command::DeadMan { market, secs, .. } => {
            let (shortest, longest) = DEAD_MAN_SECS;
            if secs != 0 && !(shortest..=longest).contains(&secs) {
                let accepted = format!("0, or {shortest} to {longest}");
                return Err(CryptoError::invalid_parameter(
                    "secs",
                    &secs.to_string(),
                    accepted,
                ));
            }
            let body = CancelAfter {
                time_out: secs.to_string(),
            };
            let path = "/api/v5/trade/cancel-all-after";
            post(market, path, rest::CANCEL_ALL_AFTER, &body).map(|request| vec![request])
        }
    }
}

fn place(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    is_hedged: bool,
) -> Result<NativeRequest, CryptoError> {
    let market = instrument.spec.market;
    let is_spot = market == Market::Spot;
    let sides = Sides::of(terms, market, is_hedged)?;
    let price = match (terms.order_type.has_price(), terms.price) {
        (true, None) => {
            return Err(CryptoError::invalid_parameter("price", "none", "a price"));
        }
        (true, price) => price.map(plain),
        (false, _) => None,
    };
    let inst_id = instrument.spec.native_symbol.as_str();
    // Borrowed against all that the account has. An account of a single currency holds such an order as a
    // position, wants to be told in which, and refuses this one.
    let td_mode = match is_spot && !terms.margin_trading {
        true => "cash",
        false => "cross",
    };
    let sz = size(instrument, terms.quantity)?;
    // Without it the size of a spot market buy is an amount of money.
    let tgt_ccy = (is_spot && !terms.order_type.has_price()).then_some("base_ccy");
    if terms.order_type.is_stop() {
        if terms.post_only || (price.is_some() && terms.time_in_force != TimeInForce::Gtc) {
            return Err(unsupported("stops that are post only, IOC or FOK"));
        }
        let Some(stop_price) = terms.stop_price else {
            return Err(CryptoError::invalid_parameter(
                "stop_price",
                "none",
                "a price",
            ));
        };
        let body = PlaceStop {
            inst_id,
            td_mode,
            side: terms.side.as_str(),
            pos_side: sides.pos_side,
            ord_type: "trigger",
            sz,
            tgt_ccy,
            reduce_only: sides.reduce_only,
            trigger_px: plain(stop_price),
            trigger_px_type: "last",
            order_px: price.unwrap_or_else(|| AT_MARKET.to_owned()),
            algo_cl_ord_id: client_id,
        };
        return post(market, "/api/v5/trade/order-algo", rest::ORDER_ALGO, &body);
    }
    let ord_type = match (terms.order_type, terms.post_only, terms.time_in_force) {
        (OrderType::Market, true, _) => {
            return Err(unsupported("market orders that are post only"));
        }
        (OrderType::Market, false, _) if is_spot => "market",
        // What a market order can't execute at once expires, on swaps too.
        (OrderType::Market, false, _) => "optimal_limit_ioc",
        (_, true, TimeInForce::Gtc) => "post_only",
        (_, true, _) => return Err(unsupported("post only orders that are IOC or FOK")),
        (_, false, TimeInForce::Gtc) => "limit",
        (_, false, TimeInForce::Ioc) => "ioc",
        (_, false, TimeInForce::Fok) => "fok",
    };
    let body = Place {
        inst_id,
        td_mode,
        side: terms.side.as_str(),
        pos_side: sides.pos_side,
        ord_type,
        px: price,
        sz,
        tgt_ccy,
        reduce_only: sides.reduce_only,
        cl_ord_id: client_id,
        // OKX would make an order smaller that the balance does not cover.
        ban_amend: tgt_ccy.is_some().then_some(true),
    };
    post_of(instrument, "/api/v5/trade/order", rest::ORDER, &body)
}

fn amend(
    instrument: &Instrument,
    order: OrderRef<'_>,
    terms: &OrderTerms,
    quantity: Decimal,
    price: Option<Decimal>,
) -> Result<Vec<NativeRequest>, CryptoError> {
    let market = instrument.spec.market;
    let price = price.filter(|price| terms.price != Some(*price));
    if price.is_some() && !order.order_type.has_price() {
        return Err(unsupported("a price of an order at the market's"));
    }
    if order.order_type == OrderType::Market {
        return Err(unsupported("amending market orders"));
    }
    let new_sz = match quantity == terms.quantity {
        true => None,
        false => Some(size(instrument, quantity)?),
    };
    if new_sz.is_none() && price.is_none() {
        return Ok(Vec::new());
    }
    let request = match is_waiting(&order) {
        true => {
            let mut body = NamedStop {
                new_sz,
                ..NamedStop::new(instrument, order)
            };
            // The price goes with the stop price it belongs to.
            if let (Some(price), Some(stop_price)) = (price, terms.stop_price) {
                body.new_trigger_px = Some(plain(stop_price));
                body.new_ord_px = Some(plain(price));
                body.new_trigger_px_type = Some("last");
            }
            post(
                market,
                "/api/v5/trade/amend-algos",
                rest::AMEND_ALGOS,
                &body,
            )
        }
        false => {
            let body = Named {
                new_sz,
                new_px: price.map(plain),
                ..Named::new(instrument, order)
            };
            post_of(
                instrument,
                "/api/v5/trade/amend-order",
                rest::AMEND_ORDER,
                &body,
            )
        }
    };
    request.map(|request| vec![request])
}

/// `{"code":"0","msg":"","data":[{"clOrdId":"…","ordId":"…","ts":"…","sCode":"0","sMsg":""}]}`
#[derive(Deserialize)]
struct Acks<'a> {
    #[serde(borrow)]
    data: Vec<Ack<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ack<'a> {
    #[serde(borrow, default)]
    ord_id: Text<'a>,
    #[serde(borrow, default)]
    cl_ord_id: Text<'a>,
    #[serde(borrow, default)]
    algo_id: Text<'a>,
    #[serde(borrow, default)]
    algo_cl_ord_id: Text<'a>,
    #[serde(borrow, default)]
    ts: Text<'a>,
}

/// What the successful answer to a command tells. Cancellations and amendments are only taken note
/// of: what becomes of them comes by the stream.
pub(super) fn acknowledged(
    command: &Command<'_>,
    body: &[u8],
    now: TsNanos,
) -> Result<Facts, DecodeError> {
    let mut facts = Facts::default();
    let acks: Acks<'_> = read(body, "data")?;
    let (instrument, client_id) = match *command {
        Command::Place {
            instrument,
            client_id,
            ..
        } => (instrument, client_id),
        _ => return Ok(facts),
    };
    let ack = acks
        .data
        .first()
        .ok_or(DecodeError::Field { field: "data" })?;
    let told_id = ack.cl_ord_id.filled().or(ack.algo_cl_ord_id.filled());
    if told_id.is_some_and(|told| told != client_id) {
        return Err(DecodeError::Field { field: "clOrdId" });
    }
    let id = |text: &Text<'_>| text.filled().map(str::to_owned);
    let (exchange_order_id, trigger_id) = (id(&ack.ord_id), id(&ack.algo_id));
    if exchange_order_id.is_none() && trigger_id.is_none() {
        return Err(DecodeError::Field { field: "ordId" });
    }
    let at = millis_or_none(&ack.ts, "ts")?.unwrap_or(now);
    facts.orders.push(OrderReport {
        market: instrument.spec.market,
        native_symbol: instrument.spec.native_symbol.clone(),
        client_id: Some(client_id.to_owned()),
        news: OrderNews {
            exchange_order_id,
            trigger_id,
            ..OrderNews::new(Word::Works, at)
        },
        terms: ReportTerms::default(),
    });
    Ok(facts)
}
