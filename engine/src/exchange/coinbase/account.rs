//! Balances, and what the key may do.
//!
//! Source: account and key permission pages of the Advanced Trade API.

use rust_decimal::Decimal;
use serde::Deserialize;

use crate::exchange::DecodeError;
use crate::trading::order::Balance;
use crate::trading::venue::{Facts, KeyPermissions};

use super::reports::{decimal, filled};
use super::wire::{Text, read};

/// `{"accounts":[…],"has_next":false,"cursor":""}`
#[derive(Deserialize)]
struct Accounts<'a> {
    #[serde(borrow)]
    accounts: Vec<AccountRow<'a>>,
    has_next: Option<bool>,
    #[serde(borrow)]
    cursor: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct AccountRow<'a> {
    #[serde(borrow)]
    currency: Text<'a>,
    #[serde(borrow)]
    available_balance: Amount<'a>,
    #[serde(borrow)]
    hold: Option<Amount<'a>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Amount<'a> {
    #[serde(borrow)]
    value: Option<Text<'a>>,
}

impl Amount<'_> {
    fn get(&self) -> Result<Decimal, DecodeError> {
        Ok(decimal(&self.value, "value")?.unwrap_or_default())
    }
}

/// Balances of a page, and the cursor of the next one. Accounts with nothing in them, of which there
/// is one for every asset, are left out: a list tells of all.
pub(super) fn balances(body: &[u8], facts: &mut Facts) -> Result<Option<String>, DecodeError> {
    let page: Accounts<'_> = read(body, "accounts")?;
    for row in &page.accounts {
        let kind = filled(&row.kind).unwrap_or("CRYPTO");
        // Vaults and the like can't be traded with.
        if !matches!(
            kind.strip_prefix("ACCOUNT_TYPE_").unwrap_or(kind),
            "CRYPTO" | "FIAT"
        ) {
            continue;
        }
        let free = row.available_balance.get()?;
        let locked = row.hold.as_ref().map_or(Ok(Decimal::ZERO), Amount::get)?;
        let overflow = DecodeError::Number {
            field: "value",
            error: crate::num::NumError::Overflow,
        };
        let add = |a: Decimal, b: Decimal| {
            let sum = a.checked_add(b).map(|sum| sum.normalize());
            sum.ok_or(overflow.clone())
        };
        if free.is_zero() && locked.is_zero() {
            continue;
        }
        let known = facts.balances.iter_mut();
        let mut same = known.filter(|balance| balance.asset == *row.currency);
        match same.next() {
            // Several accounts of one currency.
            Some(balance) => {
                balance.free = add(balance.free, free)?;
                balance.locked = add(balance.locked, locked)?;
                balance.total = add(balance.free, balance.locked)?;
            }
            None => facts.balances.push(Balance {
                market: None,
                asset: row.currency.to_owned(),
                free,
                locked,
                total: add(free, locked)?,
            }),
        }
    }
    facts.has_all_balances = true;
    let cursor = filled(&page.cursor).filter(|_| page.has_next == Some(true));
    Ok(cursor.map(str::to_owned))
}

/// `{"can_view":true,"can_trade":false,"can_transfer":false,…}`
#[derive(Deserialize)]
struct Permissions {
    can_view: bool,
    can_trade: bool,
    can_transfer: bool,
}

/// What the key may do. A key that may transfer can take money away.
pub(super) fn permissions(body: &[u8]) -> Result<KeyPermissions, DecodeError> {
    let told: Permissions = read(body, "can_transfer")?;
    Ok(KeyPermissions {
        can_read: told.can_view,
        can_trade: told.can_trade,
        can_withdraw: told.can_transfer,
    })
}
