//! What requests about orders need of the public side: where hosts live, and the same budgets, so
//! that one ledger of weight for an address counts everything that goes out.

use std::time::Duration;

use bookwire_engine::exchange::{ProviderId, RestRequest};
use bookwire_engine::instrument::Market;
use bookwire_engine::trading::venue::NativeRequest;

use super::budget::Priority;
use super::{Base, HostBudget, RestClient};

/// Weight that was taken and is given account of when the answer is there.
#[derive(Debug)]
pub(crate) struct Charge {
    provider: ProviderId,
    market: Market,
    budget: usize,
    weight: u32,
    instrument: Option<String>,
    is_free: bool,
}

impl Charge {
    /// The exchange has done it, and counts nothing for it.
    pub(crate) fn freed(self) -> Self {
        Self {
            is_free: true,
            ..self
        }
    }
}

impl RestClient {
    /// Where a market's REST host lives, without a slash at the end; `None` behind a bridge.
    pub(crate) fn address_of(&self, provider: ProviderId, market: Market) -> Option<String> {
        let host = self.0.hosts.get(&(provider, market))?;
        match &host.base {
            Base::At(..) => Some(host.name()),
            Base::Bridge(_) => None,
        }
    }

    /// As [`RestClient::address_of`]; behind a bridge it is started when it does not run. `None`: the
    /// provider has no such market here.
    ///
    /// # Errors
    /// Why there is no bridge.
    pub(crate) async fn reach(
        &self,
        provider: ProviderId,
        market: Market,
    ) -> Result<Option<String>, String> {
        match self.0.hosts.get(&(provider, market)) {
            Some(host) => match host.address().await {
                Ok(address) => Ok(Some(address)),
                Err(error) => Err(error.to_string()),
            },
            None => Ok(None),
        }
    }

    fn host_budget(
        &self,
        provider: ProviderId,
        market: Market,
        budget: usize,
    ) -> Option<&HostBudget> {
        self.0.hosts.get(&(provider, market))?.budgets.get(budget)
    }

    /// Takes weight, or says how long there is none. Nothing waits here: an order that can't go now is
    /// refused, because later it is another order.
    pub(crate) fn charge(
        &self,
        provider: ProviderId,
        request: &NativeRequest,
        priority: Priority,
    ) -> Result<Charge, Duration> {
        let charge = Charge {
            provider,
            market: request.market,
            budget: request.budget.0,
            weight: request.budget.1,
            instrument: request.counts_for.clone(),
            is_free: false,
        };
        self.take(&charge, priority).inspect_err(|wait| {
            if let Some(host) = self.0.hosts.get(&(provider, request.market)) {
                host.tell_wait(self.0.clock.now(), priority, *wait);
            }
        })?;
        Ok(charge)
    }

    /// As [`RestClient::charge`], for a public request that nothing depends on.
    pub(crate) fn charge_public(
        &self,
        provider: ProviderId,
        market: Market,
        request: &RestRequest,
    ) -> Option<Charge> {
        let charge = Charge {
            provider,
            market,
            budget: request.budget,
            weight: request.weight,
            instrument: None,
            is_free: false,
        };
        self.take(&charge, Priority::Background).ok()?;
        Some(charge)
    }

    fn take(&self, charge: &Charge, priority: Priority) -> Result<(), Duration> {
        let now = self.0.clock.now();
        let host = self.0.hosts.get(&(charge.provider, charge.market));
        if let Some(left) = host.and_then(|host| host.pause.lock().left(now)) {
            return Err(left);
        }
        if priority != Priority::Cancel {
            self.0.endpoints.take(charge.provider, now, charge.weight)?;
        }
        if let Some(budget) = self.host_budget(charge.provider, charge.market, charge.budget) {
            if let Some(left) = budget.pause.lock().left(now) {
                return Err(left);
            }
            let mut rate = budget.rate.lock();
            rate.take(now, charge.weight, priority, charge.instrument.as_deref())?;
        }
        Ok(())
    }

    /// A request is over. `header` reads the answer's headers; `pause` is what the exchange asks for,
    /// and whether it means the whole address.
    pub(crate) fn settle(
        &self,
        charge: &Charge,
        header: impl Fn(&str) -> Option<String>,
        pause: Option<(Duration, bool)>,
    ) {
        let now = self.0.clock.now();
        if let Some(budget) = self.host_budget(charge.provider, charge.market, charge.budget) {
            let terms = &budget.terms;
            let number = |name: Option<&str>| header(name?)?.parse::<u32>().ok();
            let used = number(terms.used_header).or_else(|| {
                let left = number(terms.remaining_header)?;
                Some(terms.weight_per_window.saturating_sub(left))
            });
            let cost = (charge.weight, charge.is_free);
            let instrument = charge.instrument.as_deref();
            budget.rate.lock().settle(now, cost, used, instrument);
            if let Some((pause, false)) = pause {
                budget.pause.lock().begin(now, pause);
            }
        }
        if let Some(host) = self.0.hosts.get(&(charge.provider, charge.market))
            && let Some((pause, true)) = pause
        {
            host.pause.lock().begin(now, pause);
        }
    }
}
