//! The user's own limits, of an account and of each key that trades on it.

use std::collections::BTreeMap;

use bookwire_engine::error::CryptoError;
use bookwire_engine::event::Side;
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::ledger::Ledger;
use bookwire_engine::trading::order::{OrderId, OrderTerms, PositionSide};
use bookwire_engine::trading::risk::{self, Bucket, Exposure, Guard, KillSwitch, Scope};
use bookwire_engine::trading::venue::Touch;
use rust_decimal::Decimal;

/// The limits of an account.
#[derive(Clone, Debug, Default)]
pub struct LimitOptions {
    /// Of all that is traded on it.
    pub account: risk::Limits,
    /// Of each key.
    pub key: risk::Limits,
}

/// Keys whose rates are remembered. With one more all are forgotten, and begin anew with a whole second's orders.
const KEYS_MAX: usize = 10_000;

/// Limits and what has been used of them.
#[derive(Debug)]
pub(crate) struct Limits {
    options: LimitOptions,
    account: Bucket,
    keys: BTreeMap<String, Bucket>,
    /// The desk has a switch of its own, looked at before.
    open: KillSwitch,
}

impl Limits {
    /// Nothing used.
    pub fn new(options: LimitOptions) -> Self {
        Self {
            options,
            account: Bucket::default(),
            keys: BTreeMap::new(),
            open: KillSwitch::default(),
        }
    }

    /// Orders can't be judged without prices.
    pub fn needs_touch(&self) -> bool {
        let needs = |limits: &risk::Limits| {
            limits.price_collar_percent.is_some()
                || limits.max_position_notional.is_some()
                || limits.max_order_notional.is_some()
        };
        needs(&self.options.account) || needs(&self.options.key)
    }

    /// Lets an order pass, or says which limit is in its way. An order that is amended is left out of
    /// what is there already.
    pub fn admit(
        &mut self,
        terms: &OrderTerms,
        instrument: &Instrument,
        by: &str,
        touch: Touch,
        (ledger, except): (&Ledger, Option<OrderId>),
        now: TsNanos,
    ) -> Result<(), CryptoError> {
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(by) {
            self.keys.clear();
        }
        let exposure = exposure(terms, instrument, ledger, except);
        let key = self.keys.entry(by.to_owned()).or_default();
        let mut guards = [
            Guard {
                scope: Scope::Account,
                limits: &self.options.account,
                exposure,
                bucket: &mut self.account,
            },
            Guard {
                scope: Scope::Key,
                limits: &self.options.key,
                exposure,
                bucket: key,
            },
        ];
        risk::admit(terms, touch, &self.open, &mut guards, now)
    }
}

/// What is there of the order's instrument already. A key is judged by what the account has: it can't
/// be told whose position a position is.
fn exposure(
    terms: &OrderTerms,
    instrument: &Instrument,
    ledger: &Ledger,
    except: Option<OrderId>,
) -> Exposure {
    let side = terms.position_side.unwrap_or(PositionSide::Net);
    let position = match terms.market {
        // Of spot it is what is held of the base asset.
        Market::Spot => ledger.total(Market::Spot, &instrument.spec.base_symbol),
        Market::Perp => {
            let position = ledger.position(&terms.native_symbol, side);
            position.map(|position| position.quantity)
        }
    };
    let mut exposure = Exposure {
        position: position.unwrap_or_default(),
        open_buys: Decimal::ZERO,
        open_sells: Decimal::ZERO,
        open_orders: 0,
    };
    for order in ledger
        .open_orders()
        .filter(|order| Some(order.id) != except)
    {
        exposure.open_orders += 1;
        if order.terms.entity_id != terms.entity_id
            || order.terms.position_side != terms.position_side
        {
            continue;
        }
        match order.terms.side {
            Side::Buy => exposure.open_buys += order.remaining_quantity(),
            Side::Sell => exposure.open_sells += order.remaining_quantity(),
        }
    }
    exposure
}
