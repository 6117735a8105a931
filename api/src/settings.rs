//! What of the configuration can be changed while the server runs, and the file in the data directory
//! that keeps it: a change is on the disk before it is in force, and it is there after a restart, over
//! whatever the file, the environment and the options say.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bookwire_engine::config::{
    Config, ExchangeChange, ExchangeOverlay, Overlay, Refusal, default_bases, exchange_limits,
};
use bookwire_engine::exchange::ProviderId;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// `GET /api/crypto/config`: nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// By provider.
    pub exchanges: BTreeMap<String, Exchange>,
    /// `[data_collection]`
    pub data_collection: Collection,
}

/// An exchange's settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exchange {
    /// Base URL of its REST interface: of its first market, where there are several.
    pub api_endpoint: Option<String>,
    /// Base URL of its streams, likewise.
    pub websocket_endpoint: Option<String>,
    /// What we allow ourselves.
    pub rate_limits: RateLimits,
    /// All hosts that are dialed, by the exchange's own name of each.
    pub endpoints: BTreeMap<String, String>,
    /// Used at all.
    pub enabled: bool,
}

/// Weight of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RateLimits {
    /// A minute.
    pub requests_per_minute: u64,
    /// At once.
    pub burst_limit: u32,
}

/// `[data_collection]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Collection {
    /// Days of history that are fetched at the start.
    pub default_backfill_days: u32,
    /// Streams of exchanges at the same time.
    pub max_concurrent_streams: usize,
    /// Prices and series are checked.
    pub data_quality_checks_enabled: bool,
}

/// The names of the hosts that `api_endpoint` and `websocket_endpoint` stand for; `None` behind a
/// bridge, which dials those of other exchanges.
#[must_use]
pub fn primary(id: ProviderId) -> Option<(&'static str, &'static str)> {
    let exchange = id.exchange();
    if exchange.bridge().is_some() {
        return None;
    }
    let market = *exchange.markets().first()?;
    let route = exchange.routes(market).first()?;
    Some((exchange.rest_host(market).0, route.host))
}

#[derive(Debug)]
struct Inner {
    /// The configuration below the changes.
    base: Config,
    path: PathBuf,
    overlay: Mutex<Overlay>,
    /// Whoever changes something holds it until that is in force.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// The settings. Clones are the same.
#[derive(Clone, Debug)]
pub struct Settings(Arc<Inner>);

impl Settings {
    /// A configuration without changes; what is changed goes to its data directory.
    #[must_use]
    pub fn new(base: Config) -> Self {
        Self::with(base, Overlay::default())
    }

    fn with(base: Config, overlay: Overlay) -> Self {
        Self(Arc::new(Inner {
            path: base.server.data_dir.join(Overlay::FILE),
            base,
            overlay: Mutex::new(overlay),
            turn: Arc::default(),
        }))
    }

    /// A configuration with the changes that its data directory keeps.
    ///
    /// # Errors
    /// What is wrong with the file, and where.
    pub fn load(base: Config) -> Result<Self, String> {
        let path = base.server.data_dir.join(Overlay::FILE);
        let name = path.display().to_string();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::new(base)),
            Err(error) => return Err(format!("can't read {name}: {error}")),
        };
        let overlay = Overlay::parse(&name, &text).map_err(|errors| errors.to_string())?;
        let mut changed = base.clone();
        let applied = overlay.apply(&name, &text, &mut changed);
        applied.map_err(|errors| errors.to_string())?;
        for (exchange, one) in &overlay.exchanges {
            tracing::info!(exchange, file = name, changes = ?one, "settings that were changed while it ran");
        }
        Ok(Self::with(base, overlay))
    }

    fn overlay(&self) -> Overlay {
        let overlay = self.0.overlay.lock();
        overlay.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The configuration with all changes.
    #[must_use]
    pub fn effective(&self) -> Config {
        effective(&self.0.base, &self.overlay())
    }

    /// One change at a time.
    pub(crate) fn turn(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.0.turn.clone()
    }

    /// What there would be after a change.
    ///
    /// # Errors
    /// The first field that is not accepted.
    pub(crate) fn changed(
        &self,
        id: ProviderId,
        change: &ExchangeChange,
    ) -> Result<(ExchangeOverlay, Config), Refusal> {
        let mut overlay = self.overlay();
        let unknown = || Refusal {
            field: "exchange_name".to_owned(),
            value: id.name().to_owned(),
            accepted: "an exchange of the configuration".to_owned(),
        };
        let provider = self.0.base.providers.get(id.name()).ok_or_else(unknown)?;
        let old = overlay.exchanges.remove(id.name()).unwrap_or_default();
        let new = old.changed(id, provider, change)?;
        overlay.exchanges.insert(id.name().to_owned(), new.clone());
        Ok((new, effective(&self.0.base, &overlay)))
    }

    /// Puts a change on the disk, and remembers it. Blocks.
    ///
    /// # Errors
    /// The disk refuses; nothing has changed then.
    pub(crate) fn keep(&self, id: ProviderId, new: ExchangeOverlay) -> io::Result<()> {
        let mut overlay = self.overlay();
        overlay.exchanges.insert(id.name().to_owned(), new);
        replace(&self.0.path, overlay.render().as_bytes())?;
        *self
            .0
            .overlay
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = overlay;
        Ok(())
    }

    /// What is shown.
    #[must_use]
    pub fn shown(&self) -> Shown {
        shown(&self.effective())
    }
}

fn effective(base: &Config, overlay: &Overlay) -> Config {
    let mut config = base.clone();
    for (exchange, one) in &overlay.exchanges {
        if let Some(provider) = config.providers.get_mut(exchange) {
            one.apply(provider);
        }
    }
    config
}

/// What is shown of a configuration.
#[must_use]
pub fn shown(config: &Config) -> Shown {
    let exchanges = ProviderId::all().filter_map(|id| {
        let provider = config.providers.get(id.name())?;
        let at = |host: &str, base: &str| {
            let mapped = provider.hosts.get(host).map_or(base, String::as_str);
            mapped.trim_end_matches('/').to_owned()
        };
        let endpoints: BTreeMap<String, String> = match primary(id) {
            Some(_) => default_bases(id)
                .into_iter()
                .map(|(host, base)| (host.to_owned(), at(host, base)))
                .collect(),
            None => provider.hosts.clone(),
        };
        let (per_minute, burst) = exchange_limits(id);
        let of = |host: fn((&'static str, &'static str)) -> &'static str| {
            endpoints.get(host(primary(id)?)).cloned()
        };
        let requests_per_minute = match provider.requests_per_minute {
            0 => per_minute,
            limit => u64::from(limit),
        };
        let exchange = Exchange {
            api_endpoint: of(|(rest, _)| rest),
            websocket_endpoint: of(|(_, stream)| stream),
            rate_limits: RateLimits {
                requests_per_minute,
                burst_limit: match provider.burst_limit {
                    0 => u32::try_from(requests_per_minute).map_or(burst, |limit| limit.min(burst)),
                    limit => limit,
                },
            },
            endpoints,
            enabled: provider.enabled,
        };
        Some((id.name().to_owned(), exchange))
    });
    let data = &config.data_collection;
    Shown {
        exchanges: exchanges.collect(),
        data_collection: Collection {
            default_backfill_days: data.default_backfill_days,
            max_concurrent_streams: data.max_concurrent_streams,
            data_quality_checks_enabled: data.data_quality_checks_enabled,
        },
    }
}

impl Shown {
    /// Tells one state from another, quotes included.
    #[must_use]
    pub fn etag(&self) -> String {
        // Texts and numbers can't fail.
        let text = serde_json::to_vec(self).unwrap_or_default();
        let digest = Sha256::digest(text);
        format!("\"{}\"", data_encoding::HEXLOWER.encode(&digest[..16]))
    }
}

/// Replaces a file whole: a crash leaves the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let new = path.with_extension("json.new");
    let written = write_synced(&new, bytes).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written?;
    // Not every file system can; then the rename lasts a little later.
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
