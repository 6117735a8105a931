//! What is refused before anything is written down or sent: orders that contradict themselves, that
//! the exchange can't do, that break the instrument's rules, or that the account can't pay for.
//!
//! [`order`] is all of it. Nothing is rounded unless it was asked for ([`round`]). What is not known
//! (a balance that has not been told, a market order without a price) is not guessed: the exchange
//! has the last word on it. Limits that the user has set are in [`super::risk`]; those fail closed.

use rust_decimal::Decimal;
use serde_json::Value;

use super::funds::{self, Funds};
use super::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use super::venue::{OrderSupport, Touch};
use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;

/// What an order is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Against<'a> {
    /// Where it would be placed.
    pub instrument: &'a Instrument,
    /// What the exchange's adapter can do there.
    pub support: &'a OrderSupport,
    /// Best prices of the live book, as far as they are known.
    pub touch: Touch,
    /// Positions are kept by side.
    pub is_hedged: bool,
    /// Leverage in force; `None`: not known, or spot.
    pub leverage: Option<Decimal>,
    /// What the account has; `None`: not known.
    pub funds: Option<Funds<'a>>,
    /// Set where the configuration locks orders round settlements.
    pub funding_lock: Option<FundingLock>,
    /// Now.
    pub now: TsNanos,
}

/// Times round funding settlements at which no position is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FundingLock {
    /// The settlement that the exchange names as the next.
    pub next: TsNanos,
    /// Locked this long before and after a settlement, seconds.
    pub secs: u32,
}

/// Checks an order against everything that is known.
///
/// # Errors
/// The first thing that is wrong with it, with the field and what is accepted.
pub fn order(terms: &OrderTerms, against: &Against<'_>) -> Result<(), CryptoError> {
    active(against.instrument)?;
    form(terms)?;
    support(terms, against.support)?;
    lendable(terms, against.instrument)?;
    position_mode(terms, against.is_hedged)?;
    amounts(terms, against.instrument, against.touch)?;
    leverage(terms, against.leverage)?;
    funding(terms, against)?;
    let Some(held) = &against.funds else {
        return Ok(());
    };
    if terms.margin_trading {
        // How much it lends against what is there, the exchange alone knows.
        return Ok(());
    }
    let price = reference_price(terms, against.touch);
    let leverage = against.leverage;
    funds::check(terms, against.instrument, price, leverage, held)
}

/// True for an order that by its terms can only make a position smaller.
#[must_use]
pub fn only_reduces(terms: &OrderTerms) -> bool {
    terms.market == Market::Perp
        && (terms.reduce_only
            || matches!(
                (terms.position_side, terms.side),
                (Some(PositionSide::Long), Side::Sell) | (Some(PositionSide::Short), Side::Buy)
            ))
}

/// Whether a stop waits for the price to rise to it, rather than to fall.
///
/// A stop beyond the last price is reached from the side on which the market is. Without a last
/// price, or with one that is the stop itself, it is taken for a stop loss: buys wait for a rise,
/// sells for a fall.
#[must_use]
pub fn waits_for_rise(side: Side, stop: Decimal, last: Option<Decimal>) -> bool {
    match last {
        Some(last) if last != stop => stop > last,
        _ => side == Side::Buy,
    }
}

/// The price that an order is valued at: its limit, else its stop price, else what a market order
/// meets first. `None` when the market has no price.
#[must_use]
pub fn reference_price(terms: &OrderTerms, touch: Touch) -> Option<Decimal> {
    match terms.order_type {
        OrderType::Limit | OrderType::StopLimit => terms.price,
        OrderType::StopMarket => terms.stop_price,
        OrderType::Market => match terms.side {
            Side::Buy => touch.ask.or(touch.last),
            Side::Sell => touch.bid.or(touch.last),
        },
    }
}

/// Rounds what was asked for to the instrument's steps, never in the sender's disfavour: the
/// quantity down, the limit price away from the market (buys down, sells up), the stop price to
/// where it is reached later. Only for senders that ask for it.
pub fn round(terms: &mut OrderTerms, instrument: &Instrument, touch: Touch) {
    let spec = &instrument.spec;
    let side = terms.side;
    terms.quantity = Step::of(terms.quantity, spec.qty_step).lower;
    if let Some(price) = &mut terms.price {
        let step = Step::of(*price, spec.price_step);
        *price = match side {
            Side::Buy => step.lower,
            Side::Sell => step.higher,
        };
    }
    if let Some(stop) = &mut terms.stop_price {
        let step = Step::of(*stop, spec.price_step);
        *stop = match waits_for_rise(side, *stop, touch.last) {
            true => step.higher,
            false => step.lower,
        };
    }
}

/// Quantity and prices against the instrument's steps and bounds: also what an amendment has to
/// pass.
///
/// # Errors
/// `CRYPTO_PRECISION_ERROR`, `CRYPTO_INVALID_PARAMETER`, `CRYPTO_MIN_NOTIONAL_NOT_MET`.
pub fn amounts(
    terms: &OrderTerms,
    instrument: &Instrument,
    touch: Touch,
) -> Result<(), CryptoError> {
    let spec = &instrument.spec;
    on_step("quantity", terms.quantity, spec.qty_step)?;
    for (field, price) in [("price", terms.price), ("stop_price", terms.stop_price)] {
        if let Some(price) = price {
            on_step(field, price, spec.price_step)?;
        }
    }
    if let Some(min) = spec.min_qty.filter(|min| terms.quantity < *min) {
        return Err(out_of_bounds(terms.quantity, "at least", min));
    }
    if let Some(max) = spec.max_qty.filter(|max| terms.quantity > *max) {
        return Err(out_of_bounds(terms.quantity, "at most", max));
    }
    let Some(price) = reference_price(terms, touch) else {
        return Ok(());
    };
    let notional = notional(price, terms.quantity)?;
    // Binance -4164: an order that reduces only is exempt, or a rest could never be closed.
    let is_exempt = terms.market == Market::Perp && terms.reduce_only;
    match spec
        .min_notional
        .filter(|min| notional < *min && !is_exempt)
    {
        None => Ok(()),
        Some(min) => Err(CryptoError::new(
            CryptoCode::MinNotionalNotMet,
            format!(
                "price × quantity is {}, below the minimum of {}",
                notional.normalize(),
                min.normalize()
            ),
        )
        .with("parameter", "quantity")
        .with("notional", shown(notional))
        .with("min_notional", shown(min))
        .with("price", shown(price))
        .with("quantity", shown(terms.quantity))),
    }
}

/// Price × quantity.
///
/// # Errors
/// `CRYPTO_INVALID_PARAMETER` when it is beyond every number that has a meaning.
pub fn notional(price: Decimal, quantity: Decimal) -> Result<Decimal, CryptoError> {
    price
        .checked_mul(quantity)
        .ok_or_else(|| too_large(quantity))
}

pub(super) fn too_large(quantity: Decimal) -> CryptoError {
    CryptoError::invalid_parameter(
        "quantity",
        &shown(quantity),
        "a quantity whose value has at most 28 digits",
    )
}

/// A decimal as it stands in an error's details: plain form, as text.
pub(super) fn shown(value: Decimal) -> String {
    value.normalize().to_string()
}

fn active(instrument: &Instrument) -> Result<(), CryptoError> {
    if instrument.spec.is_active {
        return Ok(());
    }
    Err(CryptoError::new(
        CryptoCode::OrderRejected,
        format!("{} can't be traded now", instrument.stream_symbol()),
    )
    .with("parameter", "entity_id")
    .with("symbol", instrument.stream_symbol())
    .with("reason", "inactive")
    .suggest("wait until the exchange resumes trading; is_active of the entity tells"))
}

/// What an order says must fit together.
fn form(terms: &OrderTerms) -> Result<(), CryptoError> {
    let kind = terms.order_type;
    if terms.quantity <= Decimal::ZERO {
        return Err(wrong("quantity", &shown(terms.quantity), "more than 0"));
    }
    for (field, value, is_due) in [
        ("price", terms.price, kind.has_price()),
        ("stop_price", terms.stop_price, kind.is_stop()),
    ] {
        match value {
            None if is_due => {
                return Err(wrong(field, "", format!("a price: the type is {kind}")));
            }
            Some(value) if !is_due => {
                let accepted = format!("no value: the type is {kind}");
                return Err(wrong(field, &shown(value), accepted));
            }
            Some(value) if value <= Decimal::ZERO => {
                return Err(wrong(field, &shown(value), "more than 0"));
            }
            _ => {}
        }
    }
    let lasts = terms.time_in_force;
    if kind == OrderType::Market && lasts != TimeInForce::Ioc {
        let accepted = "IOC, or no value: the type is market";
        return Err(wrong("time_in_force", lasts.as_str(), accepted));
    }
    if terms.post_only && (kind != OrderType::Limit || lasts != TimeInForce::Gtc) {
        let accepted = "false, or type limit with time_in_force GTC";
        return Err(wrong("post_only", "true", accepted));
    }
    match terms.market {
        Market::Spot => spot_form(terms),
        Market::Perp if terms.margin_trading => {
            let accepted = "false: perpetuals have margin of their own";
            Err(wrong("margin_trading", "true", accepted))
        }
        Market::Perp => Ok(()),
    }
}

fn spot_form(terms: &OrderTerms) -> Result<(), CryptoError> {
    if let Some(side) = terms.position_side {
        let accepted = "no value: spot has no positions";
        return Err(wrong("position_side", side.as_str(), accepted));
    }
    if terms.reduce_only {
        let accepted = "false: spot has no positions";
        return Err(wrong("reduce_only", "true", accepted));
    }
    match terms.leverage {
        Some(leverage) => {
            let accepted = "no value: spot orders have no leverage";
            Err(wrong("leverage", &leverage.to_string(), accepted))
        }
        None => Ok(()),
    }
}

/// What the exchange, or its adapter, can't do.
fn support(terms: &OrderTerms, support: &OrderSupport) -> Result<(), CryptoError> {
    let market = terms.market;
    if !support.types.contains(&terms.order_type) {
        let names = support.types.iter().map(|kind| kind.as_str());
        return Err(unsupported(
            "type",
            terms.order_type.as_str(),
            names,
            market,
        ));
    }
    let lasts = terms.time_in_force;
    if terms.order_type.has_price() && !support.times_in_force.contains(&lasts) {
        let names = support.times_in_force.iter().map(|lasts| lasts.as_str());
        return Err(unsupported("time_in_force", lasts.as_str(), names, market));
    }
    let has_hedge = |side: PositionSide| side == PositionSide::Net || support.has_hedge_mode;
    let asked = [
        ("post_only", terms.post_only, support.has_post_only),
        ("reduce_only", terms.reduce_only, support.has_reduce_only),
        ("margin_trading", terms.margin_trading, support.has_margin),
    ];
    if let Some((field, ..)) = asked.iter().find(|(_, is_asked, can)| *is_asked && !can) {
        return Err(unsupported(field, "true", ["false"].into_iter(), market));
    }
    match terms.position_side.filter(|side| !has_hedge(*side)) {
        Some(side) => {
            let names = ["net"].into_iter();
            Err(unsupported("position_side", side.as_str(), names, market))
        }
        None => Ok(()),
    }
}

/// Money is lent for some pairs alone.
fn lendable(terms: &OrderTerms, instrument: &Instrument) -> Result<(), CryptoError> {
    if !terms.margin_trading || instrument.spec.margin_enabled {
        return Ok(());
    }
    let error = unsupported(
        "margin_trading",
        "true",
        ["false"].into_iter(),
        terms.market,
    );
    Err(error
        .with("symbol", instrument.stream_symbol())
        .suggest("margin_enabled of the entity tells where the exchange lends"))
}

/// Long and short exist where positions are kept by side, net where they are not.
fn position_mode(terms: &OrderTerms, is_hedged: bool) -> Result<(), CryptoError> {
    if terms.market == Market::Spot {
        return Ok(());
    }
    let name = terms.position_side.map_or("", PositionSide::as_str);
    match (is_hedged, terms.position_side) {
        (true, None | Some(PositionSide::Net)) => {
            let accepted = "long or short: the account is in hedge mode";
            Err(wrong("position_side", name, accepted))
        }
        (false, Some(PositionSide::Long | PositionSide::Short)) => {
            let accepted = "net or no value: the account is in one-way mode";
            Err(wrong("position_side", name, accepted))
        }
        (true, Some(_)) if terms.reduce_only && !is_closing_side(terms) => {
            let accepted = format!(
                "false: a {} of the {name} position opens it",
                terms.side.as_str()
            );
            Err(wrong("reduce_only", "true", accepted))
        }
        _ => Ok(()),
    }
}

fn is_closing_side(terms: &OrderTerms) -> bool {
    matches!(
        (terms.position_side, terms.side),
        (Some(PositionSide::Long), Side::Sell) | (Some(PositionSide::Short), Side::Buy)
    )
}

/// An order never changes the leverage by the way.
fn leverage(terms: &OrderTerms, in_force: Option<Decimal>) -> Result<(), CryptoError> {
    let Some(asked) = terms.leverage else {
        return Ok(());
    };
    let accepted = match in_force {
        Some(in_force) if in_force == Decimal::from(asked) => return Ok(()),
        Some(in_force) => format!("{}, which is in force, or no value", in_force.normalize()),
        None => "no value: the leverage in force is not known".to_owned(),
    };
    Err(wrong("leverage", &asked.to_string(), accepted)
        .suggest("an order changes no leverage: set it with POST /api/trading/leverage"))
}

/// Orders that can open a position wait while funding is settled.
fn funding(terms: &OrderTerms, against: &Against<'_>) -> Result<(), CryptoError> {
    let Some(lock) = against.funding_lock else {
        return Ok(());
    };
    if terms.market == Market::Spot || only_reduces(terms) {
        return Ok(());
    }
    const SECOND: i64 = 1_000_000_000;
    let width = i64::from(lock.secs) * SECOND;
    let hours = against.instrument.spec.funding_interval_hours;
    // Once it is settled the exchange names the next: the one before is an interval earlier.
    let before = hours.map(|hours| {
        let interval = i64::from(hours).saturating_mul(3600 * SECOND);
        lock.next.0.saturating_sub(interval)
    });
    let mut settlements = [Some(lock.next.0), before].into_iter().flatten();
    let Some(at) =
        settlements.find(|at| at.saturating_sub(against.now.0).saturating_abs() <= width)
    else {
        return Ok(());
    };
    let ends = at.saturating_add(width);
    let wait = ends.saturating_sub(against.now.0).max(0) / SECOND + 1;
    Err(CryptoError::new(
        CryptoCode::FundingSettlement,
        "orders are locked while funding is settled",
    )
    .with("settlement", TsNanos(at).to_rfc3339())
    .with("lock_seconds", lock.secs)
    .with("retry_after_seconds", wait)
    .suggest(format!("retry in {wait} s")))
}

/// A value between two neighbours on a step.
struct Step {
    lower: Decimal,
    higher: Decimal,
}

impl Step {
    /// Without a step every value stands.
    fn of(value: Decimal, step: Decimal) -> Self {
        let rest = match step > Decimal::ZERO {
            true => value.checked_rem(step).unwrap_or_default(),
            false => Decimal::ZERO,
        };
        let lower = value.checked_sub(rest).unwrap_or(value);
        let higher = match rest.is_zero() {
            true => lower,
            false => lower.checked_add(step).unwrap_or(value),
        };
        Self { lower, higher }
    }
}

fn on_step(field: &str, value: Decimal, step: Decimal) -> Result<(), CryptoError> {
    let near = Step::of(value, step);
    if near.lower == value {
        return Ok(());
    }
    // 0 lies on every step and is no legal value.
    let lower = (near.lower > Decimal::ZERO).then(|| shown(near.lower));
    let higher = shown(near.higher);
    let legal = lower.iter().chain([&higher]).cloned().collect::<Vec<_>>();
    let message = format!(
        "parameter `{field}` has the value `{}`, no multiple of {}",
        value.normalize(),
        step.normalize()
    );
    Err(CryptoError::new(CryptoCode::PrecisionError, message)
        .with("field", field)
        .with("value", shown(value))
        .with("step", shown(step))
        .with("nearest_lower", lower.map_or(Value::Null, Value::from))
        .with("nearest_higher", higher)
        .suggest(format!(
            "set `{field}` to {}, or send `round`: true",
            legal.join(" or ")
        )))
}

fn out_of_bounds(quantity: Decimal, word: &str, bound: Decimal) -> CryptoError {
    let accepted = format!("{word} {}", bound.normalize());
    wrong("quantity", &shown(quantity), accepted)
}

fn wrong(field: &str, value: &str, accepted: impl Into<String>) -> CryptoError {
    CryptoError::invalid_parameter(field, value, accepted)
}

fn unsupported<'a>(
    field: &str,
    value: &str,
    accepted: impl Iterator<Item = &'a str>,
    market: Market,
) -> CryptoError {
    let accepted: Vec<&str> = accepted.collect();
    let names = accepted.join(", ");
    CryptoError::new(
        CryptoCode::Unsupported,
        format!("`{field}`: {value} is not offered on this exchange's {market} market"),
    )
    .with("parameter", field)
    .with("value", value)
    .with("accepted", accepted)
    .suggest(match names.is_empty() {
        true => format!("`{field}` has no value that is offered here"),
        false => format!("set `{field}` to one of: {names}"),
    })
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
