//! Venues of a provider that speaks for many: their instruments are loaded with the first request
//! that names them.

use std::sync::Arc;

use ahash::{AHashMap, AHashSet};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use parking_lot::Mutex;

use super::Gateway;
use crate::loader;
use crate::rest_client::RestError;

/// A venue's key.
type Key = (ProviderId, String);

/// Which venues are loaded, and who is loading one.
#[derive(Default)]
pub(crate) struct Venues {
    loaded: Mutex<AHashSet<Key>>,
    turns: Mutex<AHashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

impl Venues {
    fn is_loaded(&self, key: &Key) -> bool {
        self.loaded.lock().contains(key)
    }

    fn turn(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        self.turns.lock().entry(key.clone()).or_default().clone()
    }

    /// Venues of a provider whose instruments are known, in alphabetical order.
    pub(crate) fn of(&self, provider: ProviderId) -> Vec<String> {
        let loaded = self.loaded.lock();
        let of_provider = loaded.iter().filter(|(owner, _)| *owner == provider);
        let mut names: Vec<String> = of_provider.map(|(_, name)| name.clone()).collect();
        names.sort_unstable();
        names
    }
}

/// The form of a venue's id; which ones there are is the bridge's business.
fn is_venue(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(is_part)
}

impl Gateway {
    /// Sees to it that the instruments of a venue are known: those of a provider with hosts of its
    /// own are loaded by themselves, those behind a bridge with the first request that needs them.
    ///
    /// # Errors
    /// `CRYPTO_INVALID_PARAMETER` naming `exchange` when it is missing or there is no such venue,
    /// `CRYPTO_PROVIDER_UNAVAILABLE` with what to install, or what the venue answers.
    pub async fn prepare(
        &self,
        provider: ProviderId,
        venue: Option<&str>,
    ) -> Result<(), CryptoError> {
        let Some(bridge) = self.0.rest.bridge(provider) else {
            return match provider.exchange().bridge() {
                Some(_) => Err(self.unavailable(provider)),
                None => Ok(()),
            };
        };
        let accepted = "the id of an exchange that ccxt has, such as kraken";
        let Some(venue) = venue else {
            let name = provider.name();
            let mut error = CryptoError::invalid_parameter("exchange", "", accepted);
            error.message = format!("provider {name} needs `exchange`: {accepted}");
            return Err(error);
        };
        if !is_venue(venue) {
            return Err(CryptoError::invalid_parameter("exchange", venue, accepted));
        }
        let key = (provider, venue.to_owned());
        if self.0.venues.is_loaded(&key) {
            return Ok(());
        }
        let turn = self.0.venues.turn(&key);
        let result = {
            let _turn = turn.lock().await;
            match self.0.venues.is_loaded(&key) {
                true => Ok(()),
                false => self.load_venue(&key).await,
            }
        };
        self.0.venues.turns.lock().remove(&key);
        result.map_err(|error| {
            let is_unknown = matches!(&error, RestError::Refused(failure)
                if failure.error.code == CryptoCode::InvalidParameter);
            match bridge.running().filter(|_| is_unknown) {
                Some(running) => {
                    let known = format!("one of {}", running.venues.join(", "));
                    CryptoError::invalid_parameter("exchange", venue, known)
                }
                None => CryptoError::from(error)
                    .with("provider", provider.name())
                    .with("exchange", venue),
            }
        })
    }

    async fn load_venue(&self, key: &Key) -> Result<(), RestError> {
        let (provider, venue) = (key.0, key.1.as_str());
        let markets = self.0.options.provider(provider).map(|o| o.markets.clone());
        for market in markets.unwrap_or_default() {
            let specs = loader::fetch(self, provider, market, venue).await?;
            let count = specs.len();
            tracing::info!(
                provider = provider.name(), exchange = venue, %market, count,
                "instruments loaded"
            );
            self.set_venue(provider, venue, market, specs).await;
        }
        // Only now: whoever asks meanwhile waits for all of it.
        self.0.venues.loaded.lock().insert(key.clone());
        self.spawn_control(loader::reload_venue(
            Arc::downgrade(&self.0),
            provider,
            key.1.clone(),
        ));
        Ok(())
    }

    /// Venues of a provider whose instruments are known.
    #[must_use]
    pub fn venues(&self, provider: ProviderId) -> Vec<String> {
        self.0.venues.of(provider)
    }
}

#[cfg(test)]
mod tests {
    use super::is_venue;

    #[test]
    fn ids_of_venues_have_a_form() {
        for text in ["kraken", "coinbaseexchange", "binance_us", "x1"] {
            assert!(is_venue(text), "{text}");
        }
        for text in ["", "Kraken", "a/b", "../x", "kraken%2f", &"k".repeat(33)] {
            assert!(!is_venue(text), "{text}");
        }
    }
}
