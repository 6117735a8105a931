//! Coinbase Advanced Trade: spot.
//!
//! Start at [`venue`], which says what is published when; [`session`] is a stream connection,
//! [`rest`] the public REST API, [`trade`] trading and its channel. Source: WebSocket and REST pages of the Advanced Trade API (2026-07),
//! recorded frames and product list of 2026-08-09.

mod encode;
mod listing;
mod products;
mod rest;
mod server;
mod session;
mod trade;
mod venue;

use std::sync::Arc;

use crate::SimError;
use crate::config::Exchange;
use crate::venue::start::{Host, Opened, Setup};

/// What a host of the exchange serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// REST.
    Rest,
    /// Streams.
    Streams,
    /// Streams of accounts.
    User,
}

/// The exchange's hosts, as clients name them.
const HOSTS: [(&str, &str, Role); 3] = [
    ("api.coinbase.com", "http", Role::Rest),
    ("advanced-trade-ws.coinbase.com", "ws", Role::Streams),
    ("advanced-trade-ws-user.coinbase.com", "ws", Role::User),
];

/// Opens the exchange.
pub(crate) async fn open(setup: &mut Setup<'_>) -> Result<Opened, SimError> {
    let seed = setup.config.seed;
    let mut listings = listing::listings(setup.start_ms());
    let more = setup.fillers(&listings, false);
    listings.extend(more.into_iter().map(listing::filler));
    let market = setup.market(Some(listings))?;
    let faults = setup.faults(Exchange::Coinbase);
    let trading = trade::Trading::new(seed);
    let mut core = venue::open(market, setup.clock(), faults, trading);
    let (accounts, credentials) = trade::open(seed);
    core.accounts = accounts;
    let stop = setup.stop.clone();
    let service = Arc::new(server::Service::new(core, stop));
    let hosts = HOSTS.map(|(name, scheme, role)| Host { name, scheme, role });
    setup
        .open(Exchange::Coinbase, service, hosts, credentials)
        .await
}
