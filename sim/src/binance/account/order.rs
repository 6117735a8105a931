//! Reading orders, and the words for their refusals.

use super::super::rest::{ApiError, Params};
use crate::account::{Refusal, SelfTrade};
use crate::market::{Fixed, Instrument, Price, Qty, Segment, Side, TimeInForce};

/// Most decimals of a spot number.
const SPOT_DECIMALS: u32 = 8;

pub(super) fn side(params: &Params) -> Result<Side, ApiError> {
    match params.required("side")? {
        "BUY" => Ok(Side::Buy),
        "SELL" => Ok(Side::Sell),
        _ => Err(ApiError::new(-1117, "Invalid side.")),
    }
}

pub(super) fn time_in_force(params: &Params, market: Segment) -> Result<TimeInForce, ApiError> {
    match (params.required("timeInForce")?, market) {
        ("GTC", _) => Ok(TimeInForce::Gtc),
        ("IOC", _) => Ok(TimeInForce::Ioc),
        ("FOK", _) => Ok(TimeInForce::Fok),
        ("GTX", Segment::Linear) => Ok(TimeInForce::PostOnly),
        _ => Err(ApiError::new(-1115, "Invalid timeInForce.")),
    }
}

pub(super) fn self_trade(params: &Params) -> Result<(SelfTrade, &'static str), ApiError> {
    Ok(match params.filled("selfTradePreventionMode")? {
        None | Some("EXPIRE_MAKER") => (SelfTrade::ExpireMaker, "EXPIRE_MAKER"),
        Some("EXPIRE_TAKER") => (SelfTrade::ExpireTaker, "EXPIRE_TAKER"),
        Some("EXPIRE_BOTH") => (SelfTrade::ExpireBoth, "EXPIRE_BOTH"),
        Some("NONE") => (SelfTrade::Allow, "NONE"),
        Some(_) => return Err(ApiError::invalid_value("selfTradePreventionMode")),
    })
}

/// The client's id under that name, if one was sent.
pub(super) fn client_id(
    params: &Params,
    name: &str,
    market: Segment,
) -> Result<Option<String>, ApiError> {
    let Some(text) = params.get(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let marks: &[u8] = match market {
        Segment::Spot => b"-_",
        Segment::Linear => b"-_.:/",
    };
    let is_legal = |b: u8| b.is_ascii_alphanumeric() || marks.contains(&b);
    if text.len() <= 36 && text.bytes().all(is_legal) {
        return Ok(Some(text.to_owned()));
    }
    Err(match market {
        Segment::Spot => ApiError::illegal(name, "^[a-zA-Z0-9-_]{1,36}$"),
        Segment::Linear => ApiError::new(-4015, "Client order id is not valid."),
    })
}

fn decimals(text: &str) -> u32 {
    Fixed::parse(text).map_or(0, |number| number.trimmed().scale())
}

fn too_precise(name: &str, market: Segment) -> ApiError {
    ApiError::new(
        -1111,
        match market {
            Segment::Spot => format!("Parameter '{name}' has too much precision."),
            Segment::Linear => "Precision is over the maximum defined for this asset.".to_owned(),
        },
    )
}

/// A price under that name, if one was sent.
pub(super) fn price(
    params: &Params,
    name: &str,
    it: &Instrument,
) -> Result<Option<Price>, ApiError> {
    let Some(text) = params.decimal(name)? else {
        return Ok(None);
    };
    let most = match it.segment {
        Segment::Spot => SPOT_DECIMALS,
        Segment::Linear => it.price_decimals,
    };
    if decimals(text) > most {
        return Err(too_precise(name, it.segment));
    }
    let parsed = it.parse_price(text).map_err(|_| match it.segment {
        Segment::Spot => ApiError::new(-1013, "Filter failure: PRICE_FILTER"),
        Segment::Linear => ApiError::new(-4014, "Price not increased by tick size."),
    })?;
    if parsed.0 <= 0 {
        return Err(match it.segment {
            Segment::Spot => ApiError::new(-1013, "Invalid price."),
            Segment::Linear => ApiError::new(-4001, "Price less than 0."),
        });
    }
    Ok(Some(parsed))
}

/// A quantity under that name, if one was sent.
pub(super) fn qty(params: &Params, name: &str, it: &Instrument) -> Result<Option<Qty>, ApiError> {
    let Some(text) = params.decimal(name)? else {
        return Ok(None);
    };
    let most = match it.segment {
        Segment::Spot => SPOT_DECIMALS,
        Segment::Linear => it.qty_decimals,
    };
    if decimals(text) > most {
        return Err(too_precise(name, it.segment));
    }
    let parsed = it.parse_qty(text).map_err(|_| match it.segment {
        Segment::Spot => ApiError::new(-1013, "Filter failure: LOT_SIZE"),
        Segment::Linear => ApiError::new(-4023, "Quantity not increased by step size."),
    })?;
    if parsed.0 <= 0 {
        return Err(match it.segment {
            Segment::Spot => ApiError::new(-1013, "Invalid quantity."),
            Segment::Linear => ApiError::new(-4003, "Quantity less than or equal to zero."),
        });
    }
    Ok(Some(parsed))
}

/// Parameters that must not be sent.
pub(super) fn refuse_others(params: &Params, names: &[&str]) -> Result<(), ApiError> {
    match names.iter().find(|name| params.get(name).is_some()) {
        Some(name) => Err(ApiError::unwanted(name)),
        None => Ok(()),
    }
}

/// The exchange's words for a refusal.
pub(super) fn refused(it: &Instrument, refusal: &Refusal, is_market: bool) -> ApiError {
    match it.segment {
        Segment::Spot => refused_spot(refusal, is_market),
        Segment::Linear => refused_usdm(it, refusal),
    }
}

fn refused_spot(refusal: &Refusal, is_market: bool) -> ApiError {
    let (code, msg) = match refusal {
        Refusal::UnknownInstrument => (-1121, "Invalid symbol."),
        Refusal::NotTrading | Refusal::Closed => (-2010, "Market is closed."),
        Refusal::Native(code) => (*code, "Refused."),
        Refusal::PriceRange => (-1013, "Filter failure: PRICE_FILTER"),
        Refusal::QtyRange if is_market => (-1013, "Filter failure: MARKET_LOT_SIZE"),
        Refusal::QtyRange => (-1013, "Filter failure: LOT_SIZE"),
        Refusal::NotionalMin => (-1013, "Filter failure: NOTIONAL"),
        Refusal::TooManyOrders => (-1013, "Filter failure: MAX_NUM_ORDERS"),
        Refusal::Funds => (
            -2010,
            "Account has insufficient balance for requested action.",
        ),
        Refusal::DuplicateClientId(_) => (-2010, "Duplicate order sent."),
        Refusal::WouldTake => (-2010, "Order would immediately match and take."),
        Refusal::WouldTrigger => (-2010, "Order would trigger immediately."),
        Refusal::UnknownOrder => (-2011, "Unknown order sent."),
        _ => (-2010, "This action is disabled on this account."),
    };
    ApiError::new(code, msg)
}

fn refused_usdm(it: &Instrument, refusal: &Refusal) -> ApiError {
    let (code, msg) = match refusal {
        Refusal::UnknownInstrument => (-1121, "Invalid symbol."),
        Refusal::NotTrading => (-4140, "Invalid symbol status for opening position."),
        Refusal::Closed => (-2010, "NEW_ORDER_REJECTED"),
        Refusal::Native(code) => (*code, "Refused."),
        Refusal::PriceRange => (-4002, "Price greater than max price."),
        Refusal::QtyRange => (-4005, "Quantity greater than max quantity."),
        Refusal::NotionalMin => {
            let least = it.notional_min.trimmed();
            let msg = format!(
                "Order's notional must be no smaller than {least} (unless you choose reduce only)."
            );
            return ApiError::new(-4164, msg);
        }
        Refusal::TooManyOrders => (-2025, "Reach max open order limit."),
        Refusal::Funds => (-2019, "Margin is insufficient."),
        Refusal::DuplicateClientId(_) => (-4116, "ClientOrderId is duplicated."),
        Refusal::WouldTake => (
            -5022,
            "Due to the order could not be executed as maker, the Post Only order will be \
             rejected. The order will not be recorded in the order history",
        ),
        Refusal::CannotFill => (
            -5021,
            "Due to the order could not be filled immediately, the FOK order has been rejected. \
             The order will not be recorded in the order history",
        ),
        Refusal::WouldTrigger => (-2021, "Order would immediately trigger."),
        Refusal::ReduceOnly => (-2022, "ReduceOnly Order is rejected."),
        Refusal::PositionSide => (
            -4061,
            "Order's position side does not match user's setting.",
        ),
        Refusal::UnknownOrder => (-2011, "Unknown order sent."),
        Refusal::NoChange => (-5027, "No need to modify the order."),
        Refusal::AmendFilled | Refusal::NotAmendable => (-1102, "Order cannot be modified."),
        Refusal::Leverage => (-4028, "Leverage is not valid"),
        _ => (-2010, "NEW_ORDER_REJECTED"),
    };
    ApiError::new(code, msg)
}
