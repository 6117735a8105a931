//! Binance: spot and USDⓈ-M futures.
//!
//! Start at [`core::Core`], the exchange behind the wire; [`session`] is a stream connection,
//! [`rest`] the REST API, [`account`] what needs a key.

pub(crate) mod account;
pub(crate) mod api;
pub(crate) mod board;
pub(crate) mod core;
pub(crate) mod encode;
pub(crate) mod limits;
pub(crate) mod protocol;
pub(crate) mod rest;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod stream;
pub(crate) mod tape;

use std::sync::Arc;

use crate::SimError;
use crate::config::Exchange;
use crate::market::{Listing, MarketConfig, Segment};
use crate::venue::start::{Host, Opened, Setup};

/// What a host of the exchange serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// REST of a market; spot's trading host also has `/sapi`.
    Rest(Segment),
    /// Spot REST, public data only: no `/sapi`.
    DataRest,
    /// REST of coin-margined futures, of which none are listed.
    CoinRest,
    /// Streams of a market.
    Streams(Segment),
    /// Requests over WebSocket, of a market.
    Api(Segment),
}

/// The exchange's hosts, as clients name them.
pub(crate) const HOSTS: [(&str, Role); 10] = [
    ("api.binance.com", Role::Rest(Segment::Spot)),
    ("data-api.binance.vision", Role::DataRest),
    ("fapi.binance.com", Role::Rest(Segment::Linear)),
    ("dapi.binance.com", Role::CoinRest),
    ("stream.binance.com:9443", Role::Streams(Segment::Spot)),
    ("stream.binance.com", Role::Streams(Segment::Spot)),
    ("data-stream.binance.vision", Role::Streams(Segment::Spot)),
    ("fstream.binance.com", Role::Streams(Segment::Linear)),
    ("ws-api.binance.com:443", Role::Api(Segment::Spot)),
    ("ws-fapi.binance.com", Role::Api(Segment::Linear)),
];

/// Opens Binance.
pub(crate) async fn open(setup: &mut Setup<'_>) -> Result<Opened, SimError> {
    let config = setup.config;
    let tapes = tape::load(&config.replay, config.replay_speed, config.replay_start)?;
    let market = setup.market(listings(setup))?;
    let faults = setup.faults(Exchange::Binance);
    let trading = account::Trading::new(config);
    let mut core = core::open(market, setup.clock(), faults, tapes, trading);
    let (accounts, credentials) = account::open(config);
    core.accounts = accounts;
    let stop = setup.stop.clone();
    let service = Arc::new(server::Exchange::new(core, config.spot, config.usdm, stop));
    let hosts = HOSTS.map(|(name, role)| Host {
        name,
        scheme: match role {
            Role::Rest(_) | Role::DataRest | Role::CoinRest => "http",
            Role::Streams(_) | Role::Api(_) => "ws",
        },
        role,
    });
    let mut opened = setup
        .open(Exchange::Binance, Arc::clone(&service), hosts, credentials)
        .await?;
    for market in [Segment::Spot, Segment::Linear] {
        let play = server::play(Arc::clone(&service), market);
        opened.tasks.push(Box::pin(play));
    }
    Ok(opened)
}

/// The standard listing, filled up where more is wanted; `None`: as it is.
fn listings(setup: &Setup<'_>) -> Option<Vec<Listing>> {
    let mut all = MarketConfig::standard(setup.config.seed, setup.start_ms()).listings;
    let more = setup.fillers(&all, true);
    (!more.is_empty()).then(|| {
        all.extend(more);
        all
    })
}
