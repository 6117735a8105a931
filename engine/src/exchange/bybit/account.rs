//! An account: what it has, what its positions are, what its key may do.
//!
//! Sources: `docs/v5/account/*`, `docs/v5/position/*` and `docs/v5/user/apikey-info` of the exchange's
//! documentation repository (2026-07-24).

use serde::Deserialize;

use crate::exchange::DecodeError;
use crate::instrument::{Instrument, Market};
use crate::trading::order::{Balance, Position};
use crate::trading::venue::{Facts, KeyPermissions, NativeRequest};

use super::answer::{result, rows};
use super::orders::{Page, SETTLE_COINS, page};
use super::report::{PositionRow, Wallet};
use super::sign::Ask;

/// Most positions on a page.
const POSITIONS_MAX: u32 = 200;

pub(super) fn set_leverage(instrument: &Instrument, leverage: u32) -> NativeRequest {
    let leverage = leverage.to_string();
    // Both must be the same, but for isolated positions held by side.
    Ask::post_of(instrument, "/v5/position/set-leverage")
        .with("buyLeverage", &leverage)
        .with("sellLeverage", &leverage)
        .build()
}

/// One wallet for all markets.
pub(super) fn balances(market: Market) -> NativeRequest {
    Ask::plain_get(market, "/v5/account/wallet-balance")
        .with("accountType", "UNIFIED")
        .build()
}

pub(super) fn parse_balances(body: &[u8]) -> Result<Facts, DecodeError> {
    let wallets: Vec<Wallet> = rows(body, "coin")?;
    let told: Result<Vec<Vec<Balance>>, DecodeError> =
        wallets.into_iter().map(Wallet::told).collect();
    Ok(Facts {
        balances: told?.concat(),
        has_all_balances: true,
        ..Facts::default()
    })
}

fn positions_page(index: usize, cursor: Option<&str>) -> Option<NativeRequest> {
    let coin = SETTLE_COINS.get(index)?;
    let ask = Ask::get(Market::Perp, "/v5/position/list").with("settleCoin", coin);
    Some(page(ask, POSITIONS_MAX, cursor))
}

/// Coin by coin; only those that are not flat are told.
pub(super) fn positions() -> Vec<NativeRequest> {
    let pages = 0..SETTLE_COINS.len();
    pages
        .filter_map(|index| positions_page(index, None))
        .collect()
}

/// The last page of the last coin says that these were all.
pub(super) fn parse_positions(index: usize, body: &[u8]) -> Result<Facts, DecodeError> {
    let page: Page<PositionRow> = result(body, "list")?;
    let next = page
        .cursor()
        .map(|cursor| positions_page(index, Some(cursor)));
    let next = next.flatten();
    let told: Result<Vec<Position>, DecodeError> =
        page.list.into_iter().map(PositionRow::told).collect();
    Ok(Facts {
        positions: told?,
        has_all_positions: next.is_none() && index + 1 >= SETTLE_COINS.len(),
        next,
        ..Facts::default()
    })
}

/// There is no question for the mode: a symbol's positions, which are told by symbol though they are
/// flat, have one number or two.
pub(super) fn position_mode() -> NativeRequest {
    Ask::get(Market::Perp, "/v5/position/list")
        .with("symbol", "BTCUSDT")
        .build()
}

pub(super) fn parse_position_mode(body: &[u8]) -> Result<Facts, DecodeError> {
    let rows: Vec<PositionRow> = rows(body, "list")?;
    Ok(Facts {
        is_hedged: (!rows.is_empty()).then(|| rows.iter().any(|row| row.position_idx > 0)),
        ..Facts::default()
    })
}

pub(super) fn permissions(market: Market) -> NativeRequest {
    Ask::plain_get(market, "/v5/user/query-api").build()
}

pub(super) fn parse_permissions(market: Market, body: &[u8]) -> Result<Facts, DecodeError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Key {
        read_only: u8,
        permissions: Permissions,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Permissions {
        #[serde(default)]
        contract_trade: Vec<String>,
        #[serde(default)]
        spot: Vec<String>,
        #[serde(default)]
        wallet: Vec<String>,
        #[serde(default)]
        derivatives: Vec<String>,
    }
    let key: Key = result(body, "permissions")?;
    let has = |list: &[String], name: &str| list.iter().any(|given| given == name);
    let may = &key.permissions;
    let can_trade = match market {
        Market::Spot => has(&may.spot, "SpotTrade"),
        Market::Perp => {
            has(&may.contract_trade, "Order") || has(&may.derivatives, "DerivativesTrade")
        }
    };
    Ok(Facts {
        permissions: Some(KeyPermissions {
            can_read: true,
            can_trade: can_trade && key.read_only == 0,
            can_withdraw: has(&may.wallet, "Withdraw"),
        }),
        ..Facts::default()
    })
}
