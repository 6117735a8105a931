//! An account: what it has, what its positions are, what its key may do.
//!
//! Sources: spot `rest-api.md` (2026-07-21), wallet and account documentation of the official connector
//! 64.0.0 (2026-07-22).

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::exchange::DecodeError;
use crate::instrument::{Instrument, Market};
use crate::time::TsNanos;
use crate::trading::exact::Exact;
use crate::trading::order::{Balance, Position};
use crate::trading::venue::{Facts, KeyPermissions, Method, NativeRequest};

use super::fields::stamp;
use super::instruments::read;
use super::report::position_side;
use super::sign::Ask;

pub(super) fn set_leverage(instrument: &Instrument, leverage: u32) -> NativeRequest {
    Ask::of(Method::Post, instrument, "/fapi/v1/leverage", 1)
        .with_number("leverage", leverage)
        .build()
}

/// `{"leverage":21,"maxNotionalValue":"1000000","symbol":"BTCUSDT"}`
pub(super) fn leverage_is_set(body: &[u8]) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    struct Set {
        #[serde(rename = "leverage")]
        _leverage: u32,
    }
    read::<Set>(body, "leverage")?;
    Ok(Facts::default())
}

/// The countdown is by symbol.
pub(super) fn countdown(instrument: &Instrument, secs: u32) -> NativeRequest {
    Ask::of(Method::Post, instrument, "/fapi/v1/countdownCancelAll", 10)
        .with_number("countdownTime", u64::from(secs) * 1000)
        .build()
}

/// `{"symbol":"BTCUSDT","countdownTime":"100000"}`
pub(super) fn countdown_runs(body: &[u8]) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Running {
        countdown_time: Exact,
    }
    read::<Running>(body, "countdownTime")?
        .countdown_time
        .needed("countdownTime")?;
    Ok(Facts::default())
}

pub(super) fn balances(market: Market) -> NativeRequest {
    match market {
        Market::Spot => Ask::new(Method::Get, market, "/api/v3/account", 20)
            .with("omitZeroBalances", "true")
            .build(),
        Market::Perp => Ask::new(Method::Get, market, "/fapi/v3/balance", 5).build(),
    }
}

/// A row of spot's account, and of its events.
#[derive(Deserialize)]
pub(super) struct SpotBalance {
    #[serde(alias = "a")]
    asset: String,
    #[serde(alias = "f")]
    free: Exact,
    #[serde(alias = "l")]
    locked: Exact,
}

impl SpotBalance {
    pub(super) fn told(self) -> Result<Balance, DecodeError> {
        let (free, locked) = (self.free.needed("free")?, self.locked.needed("locked")?);
        Ok(Balance {
            market: Some(Market::Spot),
            asset: self.asset,
            free,
            locked,
            total: free
                .checked_add(locked)
                .ok_or(DecodeError::Field { field: "locked" })?,
        })
    }
}

#[derive(Deserialize)]
struct SpotAccount {
    balances: Vec<SpotBalance>,
}

/// A wallet of USDⓈ-M. What is not available is held by orders and positions.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PerpBalance {
    asset: String,
    balance: Exact,
    available_balance: Exact,
}

impl PerpBalance {
    fn told(self) -> Result<Balance, DecodeError> {
        let total = self.balance.needed("balance")?;
        let free = self.available_balance.needed("availableBalance")?;
        let held = total
            .checked_sub(free)
            .ok_or(DecodeError::Field { field: "balance" })?;
        Ok(Balance {
            market: Some(Market::Perp),
            asset: self.asset,
            free,
            // With several assets as margin more can be available than the wallet has.
            locked: held.max(Decimal::ZERO),
            total,
        })
    }
}

pub(super) fn parse_balances(market: Market, body: &[u8]) -> Result<Facts, DecodeError> {
    let balances: Result<Vec<Balance>, DecodeError> = match market {
        Market::Spot => {
            let account: SpotAccount = read(body, "balances")?;
            account
                .balances
                .into_iter()
                .map(SpotBalance::told)
                .collect()
        }
        Market::Perp => {
            let rows: Vec<PerpBalance> = read(body, "balance")?;
            rows.into_iter().map(PerpBalance::told).collect()
        }
    };
    Ok(Facts {
        balances: balances?,
        has_all_balances: true,
        ..Facts::default()
    })
}

/// The second version: the third one leaves out leverage and symbols without a position.
pub(super) fn positions() -> NativeRequest {
    Ask::new(Method::Get, Market::Perp, "/fapi/v2/positionRisk", 5).build()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PositionRow {
    symbol: String,
    position_side: String,
    position_amt: Exact,
    #[serde(default)]
    entry_price: Exact,
    #[serde(default)]
    mark_price: Exact,
    #[serde(default)]
    un_realized_profit: Exact,
    #[serde(default)]
    liquidation_price: Exact,
    #[serde(default)]
    leverage: Exact,
    #[serde(default)]
    isolated_margin: Exact,
    /// Third version.
    #[serde(default)]
    position_initial_margin: Exact,
    update_time: Option<u64>,
}

impl PositionRow {
    fn told(self) -> Result<Position, DecodeError> {
        let side = position_side(&self.position_side);
        Ok(Position {
            native_symbol: self.symbol,
            position_side: side.ok_or(DecodeError::Field {
                field: "positionSide",
            })?,
            // Negative for short ones, in hedge mode too.
            quantity: self.position_amt.needed("positionAmt")?,
            entry_price: self.entry_price.above_zero(),
            mark_price: self.mark_price.above_zero(),
            unrealized_pnl: self.un_realized_profit.0,
            leverage: self.leverage.above_zero(),
            margin: self
                .isolated_margin
                .above_zero()
                .or(self.position_initial_margin.above_zero()),
            margin_ratio: None,
            funding_cost: None,
            liquidation_price: self.liquidation_price.above_zero(),
            at: self.update_time.filter(|time| *time > 0).map(stamp),
        })
    }
}

pub(super) fn parse_positions(body: &[u8]) -> Result<Facts, DecodeError> {
    let rows: Vec<PositionRow> = read(body, "positionAmt")?;
    let positions: Result<Vec<Position>, DecodeError> =
        rows.into_iter().map(PositionRow::told).collect();
    Ok(Facts {
        positions: positions?,
        has_all_positions: true,
        ..Facts::default()
    })
}

pub(super) fn position_mode() -> NativeRequest {
    Ask::new(Method::Get, Market::Perp, "/fapi/v1/positionSide/dual", 30).build()
}

/// `{"dualSidePosition":true}`
pub(super) fn parse_position_mode(body: &[u8]) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Mode {
        dual_side_position: bool,
    }
    let mode: Mode = read(body, "dualSidePosition")?;
    Ok(Facts {
        is_hedged: Some(mode.dual_side_position),
        ..Facts::default()
    })
}

/// Spot's host answers for all markets.
pub(super) fn permissions() -> NativeRequest {
    Ask::new(
        Method::Get,
        Market::Spot,
        "/sapi/v1/account/apiRestrictions",
        1,
    )
    .build()
}

pub(super) fn parse_permissions(market: Market, body: &[u8]) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Restrictions {
        enable_reading: bool,
        enable_withdrawals: bool,
        #[serde(default)]
        enable_futures: bool,
        #[serde(default)]
        enable_spot_and_margin_trading: bool,
    }
    let told: Restrictions = read(body, "enableReading")?;
    Ok(Facts {
        permissions: Some(KeyPermissions {
            can_read: told.enable_reading,
            can_trade: match market {
                Market::Spot => told.enable_spot_and_margin_trading,
                Market::Perp => told.enable_futures,
            },
            can_withdraw: told.enable_withdrawals,
        }),
        ..Facts::default()
    })
}

/// A position as events tell it.
#[derive(Deserialize)]
pub(super) struct PositionEvent {
    s: String,
    pa: Exact,
    #[serde(default)]
    ep: Exact,
    #[serde(default)]
    up: Exact,
    /// Margin of an isolated position.
    #[serde(default)]
    iw: Exact,
    ps: String,
}

impl PositionEvent {
    pub(super) fn told(self, at: TsNanos) -> Result<Position, DecodeError> {
        Ok(Position {
            position_side: position_side(&self.ps).ok_or(DecodeError::Field { field: "ps" })?,
            native_symbol: self.s,
            quantity: self.pa.needed("pa")?,
            entry_price: self.ep.above_zero(),
            mark_price: None,
            unrealized_pnl: self.up.0,
            leverage: None,
            margin: self.iw.above_zero(),
            margin_ratio: None,
            funding_cost: None,
            liquidation_price: None,
            at: Some(at),
        })
    }
}
