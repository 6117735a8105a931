//! What can be done with orders at a provider, in the mode in force.

use bookwire_actors::gateway::Gateway;
use bookwire_actors::trading::router::GetStatus;
use bookwire_actors::trading::{DeskStatus, Trading};
use bookwire_engine::error::CryptoError;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::trading::order::TradingMode;
use bookwire_engine::trading::venue::{Amend, OrderSupport};
use serde_json::{Map, Value, json};

/// What the accounts of a provider take. Behind a bridge each may be of another exchange: then what one of
/// them takes is told, and each account's own beside it.
pub(super) struct Traded {
    /// Paper or live; `None`: nothing is traded.
    pub mode: Option<TradingMode>,
    accounts: Vec<DeskStatus>,
}

impl Traded {
    /// Asks the accounts of a provider.
    ///
    /// # Errors
    /// An account does not answer.
    pub async fn of(gateway: &Gateway, provider: ProviderId) -> Result<Self, CryptoError> {
        let mut accounts = Vec::new();
        if let Some(trading) = gateway.trading() {
            for (_, _, router) in trading.routers(Some(provider), None) {
                accounts.push(Trading::ask(router, GetStatus).await?);
            }
        }
        Ok(Self {
            mode: accounts.first().map(|account| account.mode),
            accounts,
        })
    }

    fn all(&self) -> impl Iterator<Item = &(Market, OrderSupport)> {
        self.accounts.iter().flat_map(|account| &account.support)
    }

    /// Whether orders of a market are taken.
    pub fn has(&self, market: Market) -> bool {
        self.all().any(|(of, _)| *of == market)
    }

    /// Whether spot can be bought and sold with borrowed money.
    pub fn lends(&self) -> bool {
        self.all().any(|(_, support)| support.has_margin)
    }

    /// Types that are taken on some market.
    pub fn order_types(&self) -> Vec<&'static str> {
        let all = self.all().flat_map(|(_, support)| support.types);
        distinct(all.map(|one| one.as_str()))
    }

    /// By market.
    pub fn json(&self) -> Value {
        let mut rows = Map::new();
        for market in [Market::Spot, Market::Perp] {
            let of_market = self.all().filter(|(of, _)| *of == market);
            let all: Vec<&OrderSupport> = of_market.map(|(_, support)| support).collect();
            if !all.is_empty() {
                rows.insert(market.as_str().to_owned(), support_json(&all));
            }
        }
        Value::Object(rows)
    }
}

/// What an account takes, by market.
pub(super) fn of_account(account: &DeskStatus) -> Value {
    let rows = account.support.iter();
    let rows = rows.map(|(market, one)| (market.as_str().to_owned(), support_json(&[one])));
    Value::Object(rows.collect())
}

fn distinct(all: impl Iterator<Item = &'static str>) -> Vec<&'static str> {
    let mut found = Vec::new();
    for one in all {
        if !found.contains(&one) {
            found.push(one);
        }
    }
    found
}

fn support_json(all: &[&OrderSupport]) -> Value {
    let any = |can: fn(&OrderSupport) -> bool| all.iter().any(|one| can(one));
    let types = all.iter().flat_map(|one| one.types).map(|one| one.as_str());
    let times = all.iter().flat_map(|one| one.times_in_force);
    let amends = |how: Amend| all.iter().any(|one| one.amend == how);
    json!({
        "types": distinct(types),
        "time_in_force": distinct(times.map(|one| one.as_str())),
        "post_only": any(|one| one.has_post_only),
        "reduce_only": any(|one| one.has_reduce_only),
        "margin": any(|one| one.has_margin),
        "amend": match (amends(Amend::Native), amends(Amend::NativeReduce)) {
            (true, _) => "in_place",
            (false, true) => "in_place_to_less",
            (false, false) => "cancel_and_replace",
        },
        "leverage": any(|one| one.has_leverage),
        "hedge_mode": any(|one| one.has_hedge_mode),
        "dead_man": any(|one| one.dead_man_secs.is_some()),
    })
}
