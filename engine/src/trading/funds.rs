//! What an order needs of an account: money to buy, coins to sell, margin for a position.

use rust_decimal::Decimal;

use super::check::{notional, only_reduces, shown, too_large};
use super::order::{Balance, OrderTerms, PositionSide};
use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::instrument::{Instrument, Market};

/// What an account has.
#[derive(Clone, Copy, Debug)]
pub struct Funds<'a> {
    /// All balances of the account: an asset that is missing is not there.
    pub balances: &'a [Balance],
    /// The position of the instrument that the order belongs to, base units, negative: short. 0 for
    /// spot.
    pub position: Decimal,
    /// The fee that has to be there beside the price, as a fraction: the taker fee; 0 on exchanges
    /// that take it out of what was bought.
    pub fee: Decimal,
}

/// An amount of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The exchange's spelling.
    pub asset: String,
    /// How much.
    pub amount: Decimal,
}

/// The part of an order that opens a position, base units: what is left when the opposite position
/// is closed. All of a spot order.
#[must_use]
pub fn opening(terms: &OrderTerms, position: Decimal) -> Decimal {
    if only_reduces(terms) {
        return Decimal::ZERO;
    }
    let is_net = matches!(terms.position_side, None | Some(PositionSide::Net));
    let against = match terms.side {
        _ if terms.market == Market::Spot || !is_net => Decimal::ZERO,
        Side::Buy => (-position).max(Decimal::ZERO),
        Side::Sell => position.max(Decimal::ZERO),
    };
    (terms.quantity - against).max(Decimal::ZERO)
}

/// What an order needs. `price` values it ([`super::check::reference_price`]).
///
/// - a spot buy: price × quantity × (1 + fee) of the quote asset;
/// - a spot sell: its quantity of the base asset;
/// - a perpetual: notional ÷ leverage of what opens a position, and the fee on all of it, in the
///   settlement asset. An order that only reduces needs nothing.
///
/// `None`: nothing, or it can't be told without a price or a leverage.
///
/// # Errors
/// `CRYPTO_INVALID_PARAMETER` when the value is beyond every number that has a meaning.
pub fn need(
    terms: &OrderTerms,
    instrument: &Instrument,
    price: Option<Decimal>,
    leverage: Option<Decimal>,
    position: Decimal,
    fee: Decimal,
) -> Result<Option<Need>, CryptoError> {
    let spec = &instrument.spec;
    let fee = fee.max(Decimal::ZERO);
    let large = || too_large(terms.quantity);
    if terms.market == Market::Spot && terms.side == Side::Sell {
        return Ok(Some(Need {
            asset: spec.base_symbol.clone(),
            amount: terms.quantity,
        }));
    }
    let Some(price) = price else { return Ok(None) };
    let value = notional(price, terms.quantity)?;
    let fees = value.checked_mul(fee).ok_or_else(large)?;
    let (asset, amount) = match terms.market {
        Market::Spot => (&spec.quote_symbol, value.checked_add(fees)),
        Market::Perp if only_reduces(terms) => return Ok(None),
        Market::Perp => {
            let Some(leverage) = leverage.filter(|leverage| *leverage > Decimal::ZERO) else {
                return Ok(None);
            };
            let opened = notional(price, opening(terms, position))?;
            let margin = opened.checked_div(leverage).ok_or_else(large)?;
            let asset = spec.settlement_symbol.as_ref();
            (
                asset.unwrap_or(&spec.quote_symbol),
                margin.checked_add(fees),
            )
        }
    };
    Ok(Some(Need {
        asset: asset.clone(),
        amount: amount.ok_or_else(large)?,
    }))
}

/// Whether the account has what an order needs.
///
/// # Errors
/// `CRYPTO_INSUFFICIENT_BALANCE` with `asset`, `needed` and `free`.
pub fn check(
    terms: &OrderTerms,
    instrument: &Instrument,
    price: Option<Decimal>,
    leverage: Option<Decimal>,
    funds: &Funds<'_>,
) -> Result<(), CryptoError> {
    let (position, fee) = (funds.position, funds.fee);
    let Some(need) = need(terms, instrument, price, leverage, position, fee)? else {
        return Ok(());
    };
    let free = free(funds.balances, terms.market, &need.asset);
    if need.amount <= free {
        return Ok(());
    }
    Err(insufficient(&need, free))
}

/// What is free of an asset in a market's wallet, or in the one for all.
#[must_use]
pub fn free(balances: &[Balance], market: Market, asset: &str) -> Decimal {
    let mut held = balances.iter().filter(|balance| {
        balance.asset.eq_ignore_ascii_case(asset)
            && balance.market.is_none_or(|wallet| wallet == market)
    });
    held.next().map_or(Decimal::ZERO, |balance| balance.free)
}

pub(super) fn insufficient(need: &Need, free: Decimal) -> CryptoError {
    let Need { asset, amount } = need;
    CryptoError::new(
        CryptoCode::InsufficientBalance,
        format!(
            "the order needs {} {asset}, and {} are free",
            amount.normalize(),
            free.normalize()
        ),
    )
    .with("asset", asset.clone())
    .with("needed", shown(*amount))
    .with("free", shown(free))
}
