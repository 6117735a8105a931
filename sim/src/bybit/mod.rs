//! Bybit v5: spot and linear perpetuals (USDT and USDC).
//!
//! Start at [`venue`], which says what is published when; [`session`] is a stream connection,
//! [`rest`] the public REST API, [`trade`] trading and its connections. Source: the exchange's documentation repository, `docs/v5`
//! (2026-07-24), and recorded messages where they show more than it does.

mod encode;
mod listing;
mod rest;
mod server;
mod session;
mod ticker;
mod topic;
mod trade;
mod venue;

use std::sync::Arc;

use crate::SimError;
use crate::config::Exchange;
use crate::venue::start::{Host, Opened, Setup};

/// What a host of the exchange serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// REST of all markets.
    Rest,
    /// Streams, a path for each market.
    Streams,
}

/// The exchange's hosts, as clients name them.
const HOSTS: [(&str, &str, Role); 3] = [
    ("api.bybit.com", "http", Role::Rest),
    ("api.bytick.com", "http", Role::Rest),
    ("stream.bybit.com", "ws", Role::Streams),
];

/// Opens the exchange.
pub(crate) async fn open(setup: &mut Setup<'_>) -> Result<Opened, SimError> {
    let config = setup.config;
    let mut listings = listing::listings(setup.start_ms());
    let more = setup.fillers(&listings, true);
    listings.extend(more.into_iter().map(listing::filler));
    let market = setup.market(Some(listings))?;
    let faults = setup.faults(Exchange::Bybit);
    let trading = trade::Trading::new(config.seed);
    let mut core = venue::open(market, setup.clock(), faults, trading);
    let (accounts, credentials) = trade::open(config.seed);
    core.accounts = accounts;
    let stop = setup.stop.clone();
    let service = Arc::new(server::Service::new(core, stop));
    let hosts = HOSTS.map(|(name, scheme, role)| Host { name, scheme, role });
    setup
        .open(Exchange::Bybit, service, hosts, credentials)
        .await
}
