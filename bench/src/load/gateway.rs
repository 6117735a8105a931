//! The gateway under load: against simulators of all exchanges, and the instruments that it lists.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_sim::{Exchange, Segment};
use serde_json::Value;

use super::Symbol;
use crate::gateway::{Gateway, Program};

/// The gateway with the hosts that the simulators stand for.
pub(crate) fn start(program: &Program, endpoints: &Value, more: &str) -> Result<Gateway> {
    start_prepared(program, endpoints, more, |_| Ok(()))
}

/// As [`start`], after something was done to its data directory.
pub(crate) fn start_prepared(
    program: &Program,
    endpoints: &Value,
    more: &str,
    prepare: impl FnOnce(&Path) -> Result<()>,
) -> Result<Gateway> {
    let mut text = more.to_owned();
    for id in ProviderId::all() {
        if id.exchange().bridge().is_some() {
            text.push_str(&format!("[providers.{}]\nenabled = false\n", id.name()));
            continue;
        }
        text.push_str(&format!("[providers.{}.hosts]\n", id.name()));
        for host in id.hosts() {
            let url = &endpoints[id.name()]["hosts"][host];
            ensure!(url.is_string(), "no simulator stands for {host}");
            text.push_str(&format!("{host:?} = {url}\n"));
        }
    }
    Gateway::start_prepared(program, "", &text, prepare)
}

impl Gateway {
    /// So many instruments of each exchange, half of them perpetuals where it has those, once they
    /// are listed.
    pub(crate) fn symbols(&self, of_each: usize, within: Duration) -> Result<Vec<Symbol>> {
        let end = Instant::now() + within;
        let mut all = Vec::new();
        for exchange in Exchange::ALL {
            loop {
                let found = self.listed(exchange, of_each);
                match found {
                    Ok(found) if found.len() == of_each => {
                        all.extend(found);
                        break;
                    }
                    other => {
                        ensure!(
                            Instant::now() < end,
                            "{} lists too little within {within:?}: {other:?}\n{}",
                            exchange.as_str(),
                            self.log()
                        );
                    }
                }
                thread::sleep(Duration::from_millis(200));
            }
        }
        Ok(all)
    }

    fn listed(&self, exchange: Exchange, wanted: usize) -> Result<Vec<Symbol>> {
        let provider = exchange.as_str();
        let id = ProviderId::parse(provider).context("the engine does not have it")?;
        let markets = id.exchange().markets();
        let mut found = Vec::new();
        // Perpetuals first: what they lack, spot makes up for.
        for market in markets.iter().rev() {
            let (entity, segment, ending) = match market {
                Market::Spot => ("CryptoPair", Segment::Spot, ""),
                Market::Perp => ("CryptoPerp", Segment::Linear, "-perp"),
            };
            let most = match market {
                Market::Perp => wanted / 2,
                Market::Spot => wanted - found.len(),
            };
            let list = self.get_json(&format!(
                "/api/data/{entity}?provider={provider}&is_active=true&columns=code,native_symbol&page_size=1000"
            ))?;
            let rows = list["data"].as_array().context("a list without rows")?;
            let symbol = |row: &Value| {
                let code = row["code"].as_str()?.to_owned();
                Some(Symbol {
                    exchange,
                    segment,
                    native: row["native_symbol"].as_str()?.to_owned(),
                    symbol: format!("{code}{ending}"),
                    code,
                })
            };
            found.extend(rows.iter().filter_map(symbol).take(most));
        }
        Ok(found)
    }
}
