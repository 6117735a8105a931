//! Balances, positions, and what the key and the account allow.
//!
//! Source: account pages of the v5 documentation and their channels. One wallet serves all markets.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::trading::order::{Balance, Position, PositionSide};
use crate::trading::venue::{Facts, KeyPermissions};

use super::json::{Text, decimal, millis_or_none, sum, turned};
use super::reports::{instrument, quantity};

/// Digits of a ratio, which is a quotient.
const RATIO_DIGITS: u32 = 12;

/// `{"totalEq":"…","details":[{"ccy":"USDT","eq":"…",…}]}`
#[derive(Deserialize)]
pub(super) struct AccountRow<'a> {
    #[serde(borrow)]
    details: Vec<BalanceRow<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BalanceRow<'a> {
    #[serde(borrow)]
    ccy: Text<'a>,
    #[serde(borrow, default)]
    eq: Text<'a>,
    #[serde(borrow, default)]
    cash_bal: Text<'a>,
    #[serde(borrow, default)]
    avail_eq: Text<'a>,
    #[serde(borrow, default)]
    avail_bal: Text<'a>,
}

impl AccountRow<'_> {
    pub(super) fn tell(&self, facts: &mut Facts) -> Result<(), DecodeError> {
        for row in &self.details {
            let total = match sum(&row.eq, "eq")? {
                Some(total) => total,
                None => {
                    sum(&row.cash_bal, "cashBal")?.ok_or(DecodeError::Field { field: "cashBal" })?
                }
            };
            // Empty in accounts that trade spot alone.
            let free = match sum(&row.avail_eq, "availEq")? {
                Some(free) => free,
                None => sum(&row.avail_bal, "availBal")?
                    .ok_or(DecodeError::Field { field: "availBal" })?,
            };
            facts.balances.push(Balance {
                market: None,
                asset: row.ccy.0.clone().into_owned(),
                free,
                locked: total.saturating_sub(free).max(Decimal::ZERO).normalize(),
                total,
            });
        }
        Ok(())
    }
}

/// A position of an answer or of the channel.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PositionRow<'a> {
    #[serde(borrow)]
    inst_type: Text<'a>,
    #[serde(borrow)]
    inst_id: Text<'a>,
    #[serde(borrow)]
    pos_side: Text<'a>,
    #[serde(borrow)]
    pos: Text<'a>,
    #[serde(borrow, default)]
    mgn_mode: Text<'a>,
    #[serde(borrow, default)]
    avg_px: Text<'a>,
    #[serde(borrow, default)]
    mark_px: Text<'a>,
    #[serde(borrow, default)]
    upl: Text<'a>,
    #[serde(borrow, default)]
    lever: Text<'a>,
    #[serde(borrow, default)]
    margin: Text<'a>,
    #[serde(borrow, default)]
    imr: Text<'a>,
    #[serde(borrow, default)]
    mgn_ratio: Text<'a>,
    #[serde(borrow, default)]
    funding_fee: Text<'a>,
    #[serde(borrow, default)]
    liq_px: Text<'a>,
    #[serde(borrow, default)]
    u_time: Text<'a>,
}

impl PositionRow<'_> {
    /// Adds what the row tells; nothing when its instrument is not traded here.
    pub(super) fn tell(
        &self,
        table: &InstrumentTable,
        facts: &mut Facts,
    ) -> Result<(), DecodeError> {
        let Some(instrument) = instrument(table, &self.inst_type, &self.inst_id) else {
            return Ok(());
        };
        if instrument.spec.market != Market::Perp {
            return Ok(());
        }
        let quantity = quantity(instrument, &self.pos, "pos")?.unwrap_or_default();
        let (position_side, quantity) = match self.pos_side.0.as_ref() {
            "net" => (PositionSide::Net, quantity),
            "long" => (PositionSide::Long, quantity.abs()),
            // Its number of contracts has no sign.
            "short" => (PositionSide::Short, turned(quantity.abs())),
            _ => return Err(DecodeError::Field { field: "posSide" }),
        };
        let is_isolated = self.mgn_mode.0 == "isolated";
        let margin = if is_isolated { &self.margin } else { &self.imr };
        let above_zero = |number: Option<Decimal>| number.filter(|number| *number > Decimal::ZERO);
        // What covers the maintenance margin over that margin: ours is the other way round.
        let cover = above_zero(sum(&self.mgn_ratio, "mgnRatio")?);
        let ratio = cover.and_then(|cover| Decimal::ONE.checked_div(cover));
        facts.positions.push(Position {
            native_symbol: instrument.spec.native_symbol.clone(),
            position_side,
            quantity,
            entry_price: above_zero(sum(&self.avg_px, "avgPx")?),
            mark_price: above_zero(decimal(&self.mark_px, "markPx")?),
            unrealized_pnl: sum(&self.upl, "upl")?,
            leverage: decimal(&self.lever, "lever")?,
            margin: sum(margin, "imr")?,
            margin_ratio: ratio.map(|ratio| ratio.round_dp(RATIO_DIGITS).normalize()),
            // Counted as profit there.
            funding_cost: sum(&self.funding_fee, "fundingFee")?.map(turned),
            liquidation_price: above_zero(sum(&self.liq_px, "liqPx")?),
            at: millis_or_none(&self.u_time, "uTime")?,
        });
        Ok(())
    }
}

/// `{"acctLv":"2","posMode":"net_mode","perm":"read_only,trade",…}`
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigRow<'a> {
    #[serde(borrow)]
    acct_lv: Text<'a>,
    #[serde(borrow)]
    pos_mode: Text<'a>,
    #[serde(borrow)]
    perm: Text<'a>,
}

impl ConfigRow<'_> {
    /// What the key may do on a market.
    pub(super) fn permissions(&self, market: Market) -> KeyPermissions {
        let may = |name: &str| self.perm.0.split(',').any(|word| word.trim() == name);
        // Accounts of the first level have spot alone.
        let has_market = market == Market::Spot || self.acct_lv.0 != "1";
        KeyPermissions {
            can_read: may("read_only"),
            can_trade: may("trade") && has_market,
            can_withdraw: may("withdraw"),
        }
    }

    /// Whether positions are kept by side.
    pub(super) fn is_hedged(&self) -> Result<bool, DecodeError> {
        match self.pos_mode.0.as_ref() {
            "long_short_mode" => Ok(true),
            "net_mode" => Ok(false),
            _ => Err(DecodeError::Field { field: "posMode" }),
        }
    }
}
