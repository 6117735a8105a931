//! OKX: spot and linear swaps.
//!
//! Start at [`venue`], what its streams say about the market; [`session`] is a connection, [`rest`]
//! the public REST API, [`listing`] what is traded, [`trade`] trading and its streams. Written from the documentation of API v5 (as of August
//! 2026) and from recorded messages.

mod encode;
mod listing;
mod protocol;
mod rest;
mod server;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod trade;
mod venue;

use std::sync::Arc;

use crate::SimError;
use crate::config::Exchange;
use crate::venue::Core;
use crate::venue::start::{Host, Opened, Setup};

/// What a host of the exchange serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The REST API.
    Rest,
    /// Streams, on their paths.
    Streams,
}

/// The exchange's hosts, as clients name them; each port of the streams is a host of its own.
const HOSTS: [(&str, &str, Role); 3] = [
    ("www.okx.com", "http", Role::Rest),
    ("ws.okx.com:8443", "ws", Role::Streams),
    ("ws.okx.com:443", "ws", Role::Streams),
];

/// Opens OKX.
pub(crate) async fn open(setup: &mut Setup<'_>) -> Result<Opened, SimError> {
    let config = setup.config;
    let (mut listings, mut terms) = listing::standard(setup.start_ms());
    for (more, code) in setup.fillers(&listings, true).into_iter().zip(20_001..) {
        let (listing, its) = listing::filler(more, code);
        listings.push(listing);
        terms.push(its);
    }
    let market = setup.market(Some(listings))?;
    let trading = trade::Trading::new(config.seed);
    let venue = venue::Okx::new(&market, terms, &config.okx, trading);
    let faults = setup.faults(Exchange::Okx);
    let mut core = Core::new(market, setup.clock(), faults, venue);
    let (accounts, credentials) = trade::open(config.seed);
    core.accounts = accounts;
    let service = server::Exchange::new(core, config.okx, setup.stop.clone());
    let hosts = HOSTS.map(|(name, scheme, role)| Host { name, scheme, role });
    setup
        .open(Exchange::Okx, Arc::new(service), hosts, credentials)
        .await
}
