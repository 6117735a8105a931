//! Limits that the user has set, for a key and for an account, and the kill switch.
//!
//! They fail closed: what a limit needs to know and nobody knows (a price while a collar is set, a
//! price for the value of a market order) is a refusal. What only lowers risk is held up by nothing
//! but the kill switch: cancellations are not asked here at all, and orders that can only make a
//! position smaller ([`super::check::only_reduces`]) pass every limit but the collar, which guards
//! the price that they get.

use std::collections::BTreeSet;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::check::{self, only_reduces, shown};
use super::order::{OrderTerms, OrderType};
use super::venue::Touch;
use crate::error::{CryptoCode, CryptoError};
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::time::TsNanos;

/// Limits of a key or of an account; `None`: no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest value of one order, quote units.
    pub max_order_notional: Option<Decimal>,
    /// Largest position of an instrument either way, base units, with all open orders of the side
    /// that makes it larger taken as executed.
    pub max_position: Option<Decimal>,
    /// The same in quote units, valued at the book's price.
    pub max_position_notional: Option<Decimal>,
    /// Most open orders at once.
    pub max_open_orders: Option<u32>,
    /// New orders and amendments per second; as many may come at once after a pause.
    pub max_orders_per_second: Option<u32>,
    /// How far beyond the middle of the live book an order may execute, percent of it.
    pub price_collar_percent: Option<Decimal>,
    /// Entity ids that may be traded; `None`: all.
    pub instruments: Option<BTreeSet<String>>,
}

/// What is there already, of the instrument and in the scope of the limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// The position, base units, negative: short. For spot what is held of the base asset.
    pub position: Decimal,
    /// Not executed of open orders to buy it, base units; without the order that is amended.
    pub open_buys: Decimal,
    /// Not executed of open orders to sell it.
    pub open_sells: Decimal,
    /// Open orders of all instruments; without the order that is amended.
    pub open_orders: u32,
}

/// Whose limits they are: the error says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The API key's.
    Key,
    /// The account's.
    Account,
}

impl Scope {
    /// `key`, `account`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Account => "account",
        }
    }
}

/// One set of limits and what it is applied to.
#[derive(Debug)]
pub struct Guard<'a> {
    /// Whose.
    pub scope: Scope,
    /// The limits.
    pub limits: &'a Limits,
    /// What is there already.
    pub exposure: Exposure,
    /// Orders of the last second.
    pub bucket: &'a mut Bucket,
}

/// Lets an order pass all limits, or none: no bucket is touched by an order that is refused.
///
/// # Errors
/// `CRYPTO_TRADING_HALTED`; `CRYPTO_RISK_LIMIT` with `scope`, `limit`, `value` and `allowed`.
pub fn admit(
    terms: &OrderTerms,
    touch: Touch,
    switch: &KillSwitch,
    guards: &mut [Guard<'_>],
    now: TsNanos,
) -> Result<(), CryptoError> {
    switch.check(terms.provider)?;
    for guard in &mut *guards {
        guard.check(terms, touch)?;
    }
    let is_free = only_reduces(terms);
    for guard in &mut *guards {
        guard
            .bucket
            .set_rate(guard.limits.max_orders_per_second, now);
        if !is_free && !guard.bucket.has_token(now) {
            let allowed = guard.limits.max_orders_per_second.unwrap_or_default();
            let wait_ms = guard.bucket.wait_ms(now);
            return Err(guard
                .refusal("max_orders_per_second", allowed.saturating_add(1), allowed)
                .with("retry_after_ms", wait_ms)
                .suggest(format!("retry in {wait_ms} ms")));
        }
    }
    for guard in guards {
        guard.bucket.take();
    }
    Ok(())
}

impl Guard<'_> {
    fn check(&self, terms: &OrderTerms, touch: Touch) -> Result<(), CryptoError> {
        let is_free = only_reduces(terms);
        if !is_free {
            self.instrument(terms)?;
            self.order_notional(terms, touch)?;
            self.position(terms, touch)?;
            self.open_orders()?;
        }
        self.collar(terms, touch, is_free)
    }

    fn instrument(&self, terms: &OrderTerms) -> Result<(), CryptoError> {
        match &self.limits.instruments {
            Some(allowed) if !allowed.contains(&terms.entity_id) => {
                let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
                Err(self.refusal("instruments", terms.entity_id.as_str(), allowed))
            }
            _ => Ok(()),
        }
    }

    fn order_notional(&self, terms: &OrderTerms, touch: Touch) -> Result<(), CryptoError> {
        const LIMIT: &str = "max_order_notional";
        let Some(allowed) = self.limits.max_order_notional else {
            return Ok(());
        };
        let Some(price) = self.worst_price(terms, touch) else {
            return Err(self.no_price(LIMIT, allowed));
        };
        let value = self.value(price, terms.quantity, LIMIT, allowed)?;
        self.at_most(LIMIT, value, allowed)
    }

    /// What the order may be worth at most: one that sells below the market executes at the market.
    fn worst_price(&self, terms: &OrderTerms, touch: Touch) -> Option<Decimal> {
        let own = check::reference_price(terms, touch)?;
        Some(match (terms.side, terms.order_type) {
            (Side::Sell, OrderType::Limit) => touch.bid.map_or(own, |bid| own.max(bid)),
            _ => own,
        })
    }

    /// The position after all open orders of the order's side and itself; what comes nearer to 0 is
    /// always allowed.
    fn position(&self, terms: &OrderTerms, touch: Touch) -> Result<(), CryptoError> {
        let Exposure {
            position,
            open_buys,
            open_sells,
            ..
        } = self.exposure;
        let (pending, sign) = match terms.side {
            Side::Buy => (open_buys, Decimal::ONE),
            Side::Sell => (open_sells, -Decimal::ONE),
        };
        let added = pending.checked_add(terms.quantity).map(|sum| sum * sign);
        let after = added.and_then(|added| position.checked_add(added));
        let Some(after) = after else {
            return Err(check::too_large(terms.quantity));
        };
        // Negative where the side does not enlarge the position beyond 0.
        let size = after * sign;
        if let Some(allowed) = self.limits.max_position {
            self.at_most("max_position", size, allowed)?;
        }
        let Some(allowed) = self.limits.max_position_notional else {
            return Ok(());
        };
        if size <= Decimal::ZERO {
            return Ok(());
        }
        const LIMIT: &str = "max_position_notional";
        let Some(price) = middle(touch) else {
            return Err(self.no_price(LIMIT, allowed));
        };
        let value = self.value(price, size, LIMIT, allowed)?;
        self.at_most(LIMIT, value, allowed)
    }

    fn open_orders(&self) -> Result<(), CryptoError> {
        let open = self.exposure.open_orders;
        match self.limits.max_open_orders {
            Some(allowed) if open >= allowed => {
                Err(self.refusal("max_open_orders", open.saturating_add(1), allowed))
            }
            _ => Ok(()),
        }
    }

    /// How far beyond the middle the order may execute. A limit price on the other side of it costs
    /// nothing and is not refused. A stop limit is measured from its own stop price, which is where
    /// the market will be; a stop market has no price to guard.
    fn collar(&self, terms: &OrderTerms, touch: Touch, is_free: bool) -> Result<(), CryptoError> {
        const LIMIT: &str = "price_collar_percent";
        let Some(allowed) = self.limits.price_collar_percent else {
            return Ok(());
        };
        let (price, middle) = match terms.order_type {
            OrderType::StopMarket => return Ok(()),
            OrderType::StopLimit => (terms.price, terms.stop_price),
            OrderType::Limit => (terms.price, middle(touch)),
            // It meets the best price first.
            OrderType::Market => match terms.side {
                Side::Buy => (touch.ask, middle(touch)),
                Side::Sell => (touch.bid, middle(touch)),
            },
        };
        let (Some(price), Some(middle)) = (price, middle.filter(|m| *m > Decimal::ZERO)) else {
            return match is_free {
                true => Ok(()),
                false => Err(self.no_price(LIMIT, allowed)),
            };
        };
        let beyond = match terms.side {
            Side::Buy => price.checked_sub(middle),
            Side::Sell => middle.checked_sub(price),
        };
        let percent = beyond
            .and_then(|beyond| beyond.checked_mul(Decimal::ONE_HUNDRED))
            .and_then(|beyond| beyond.checked_div(middle));
        match percent {
            Some(percent) if percent <= allowed => Ok(()),
            Some(percent) => {
                let error = self.refusal(LIMIT, shown(percent.round_dp(8)), shown(allowed));
                Err(error
                    .with("price", shown(price))
                    .with("reference_price", shown(middle)))
            }
            None => Err(self.no_price(LIMIT, allowed)),
        }
    }

    fn value(
        &self,
        price: Decimal,
        quantity: Decimal,
        limit: &'static str,
        allowed: Decimal,
    ) -> Result<Decimal, CryptoError> {
        let value = price.checked_mul(quantity);
        value.ok_or_else(|| self.refusal(limit, "beyond 28 digits", shown(allowed)))
    }

    fn at_most(
        &self,
        limit: &'static str,
        value: Decimal,
        allowed: Decimal,
    ) -> Result<(), CryptoError> {
        match value <= allowed {
            true => Ok(()),
            false => Err(self.refusal(limit, shown(value), shown(allowed))),
        }
    }

    fn no_price(&self, limit: &'static str, allowed: Decimal) -> CryptoError {
        let mut error = self.refusal(limit, Value::Null, shown(allowed));
        error.message = format!(
            "the {}'s limit `{limit}` can't be checked: the book has no price now",
            self.scope.as_str()
        );
        error.suggest("retry when the order book is in sync")
    }

    fn refusal(
        &self,
        limit: &'static str,
        value: impl Into<Value>,
        allowed: impl Into<Value>,
    ) -> CryptoError {
        let (value, allowed) = (value.into(), allowed.into());
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let message = format!(
            "the {}'s limit `{limit}` allows {}, and the order would make it {}",
            self.scope.as_str(),
            text(&allowed),
            text(&value)
        );
        CryptoError::new(CryptoCode::RiskLimit, message)
            .with("scope", self.scope.as_str())
            .with("limit", limit)
            .with("value", value)
            .with("allowed", allowed)
    }
}

/// The middle of the book; of a book with one side that side. A last trade is no price of the book.
fn middle(touch: Touch) -> Option<Decimal> {
    match (touch.bid, touch.ask) {
        (Some(bid), Some(ask)) => Some(bid.checked_add(ask)? / Decimal::TWO),
        (one, other) => one.or(other),
    }
}

/// A token bucket that holds one second's worth. Exact: it counts billionths of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    rate: Option<u32>,
    billionths: u64,
    at: TsNanos,
}

const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// Tokens per second from now on; `None`: no limit. A new rate begins with a full bucket.
    pub fn set_rate(&mut self, rate: Option<u32>, now: TsNanos) {
        if self.rate != rate {
            self.rate = rate;
            self.billionths = self.capacity();
            self.at = now;
        }
    }

    /// True when one can be taken.
    pub fn has_token(&mut self, now: TsNanos) -> bool {
        self.refill(now);
        self.rate.is_none() || self.billionths >= TOKEN
    }

    /// Takes one, if there is one.
    pub fn take(&mut self) {
        self.billionths = self.billionths.saturating_sub(TOKEN);
    }

    /// Time until there is one, milliseconds, rounded up; 0: there is one. A rate of 0 never has one.
    #[must_use]
    pub fn wait_ms(&self, now: TsNanos) -> u64 {
        let Some(rate) = self.rate else { return 0 };
        let missing = TOKEN.saturating_sub(self.billionths);
        let nanos = missing.checked_div(u64::from(rate)).unwrap_or(u64::MAX);
        let passed = now.0.saturating_sub(self.at.0).max(0).unsigned_abs();
        nanos.saturating_sub(passed).div_ceil(1_000_000)
    }

    fn capacity(&self) -> u64 {
        u64::from(self.rate.unwrap_or_default()) * TOKEN
    }

    /// A clock that goes back adds nothing.
    fn refill(&mut self, now: TsNanos) {
        let passed = now.0.saturating_sub(self.at.0);
        if passed <= 0 {
            return;
        }
        let rate = u64::from(self.rate.unwrap_or_default());
        let added = passed.unsigned_abs().saturating_mul(rate);
        self.billionths = self.billionths.saturating_add(added).min(self.capacity());
        self.at = now;
    }
}

/// Where new orders are refused. Cancellations are not asked. It is kept over restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillSwitch {
    /// Engaged for all providers.
    #[serde(default)]
    pub is_engaged: bool,
    /// Engaged for these, by name.
    #[serde(default)]
    pub providers: BTreeSet<String>,
}

impl KillSwitch {
    /// Engages or releases it, for a provider or for all. Releasing it for all releases each; one
    /// provider alone can't be released while it is engaged for all.
    ///
    /// # Errors
    /// `CRYPTO_TRADING_HALTED` for that.
    pub fn set(
        &mut self,
        provider: Option<ProviderId>,
        is_engaged: bool,
    ) -> Result<(), CryptoError> {
        match (provider, is_engaged) {
            (None, true) => self.is_engaged = true,
            (None, false) => *self = Self::default(),
            (Some(provider), true) => {
                self.providers.insert(provider.name().to_owned());
            }
            (Some(provider), false) if self.is_engaged => return Err(halted(provider, "all")),
            (Some(provider), false) => {
                self.providers.remove(provider.name());
            }
        }
        Ok(())
    }

    /// True where new orders to a provider are refused.
    #[must_use]
    pub fn is_engaged_for(&self, provider: ProviderId) -> bool {
        self.is_engaged || self.providers.contains(provider.name())
    }

    /// # Errors
    /// `CRYPTO_TRADING_HALTED` where it is engaged.
    pub fn check(&self, provider: ProviderId) -> Result<(), CryptoError> {
        match (self.is_engaged, self.is_engaged_for(provider)) {
            (true, _) => Err(halted(provider, "all")),
            (false, true) => Err(halted(provider, provider.name())),
            (false, false) => Ok(()),
        }
    }
}

fn halted(provider: ProviderId, scope: &str) -> CryptoError {
    let whom = match scope {
        "all" => "all providers",
        one => one,
    };
    CryptoError::new(
        CryptoCode::TradingHalted,
        format!("the kill switch is engaged for {whom}"),
    )
    .with("provider", provider.name())
    .with("engaged_for", scope)
    .suggest("release it with POST /api/trading/kill_switch; cancellations pass meanwhile")
}

#[cfg(test)]
#[path = "risk_tests.rs"]
mod tests;
