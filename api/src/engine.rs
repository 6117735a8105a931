//! From the configuration to a running engine.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bookwire_actors::bridge::BridgeOptions;
use bookwire_actors::clock::SystemClock;
use bookwire_actors::gateway::{Gateway, GatewayError};
use bookwire_actors::history::backfill::BackfillOptions;
use bookwire_actors::options::{GatewayOptions, ProviderOptions, RecorderOptions};
use bookwire_engine::config::{BridgeConfig, Config, Durability, ProviderConfig, StoreKind};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::store::{
    QuestDbOptions, Secret, SpoolOptions, Store, StoreError, open_embedded, open_questdb,
};
use bookwire_engine::trading::order::TradingMode;
use bookwire_engine::vault::Vault;

use crate::trading;

/// Why the engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An account that trades live has no credential that can be used.
    #[error("{0}")]
    Credential(String),
    /// The data directory can't be made.
    #[error("can't create the data directory {path}: {source}")]
    DataDir {
        /// Its path.
        path: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The store's password can't be read.
    #[error("{0}")]
    Password(String),
    /// The store can't be opened.
    #[error("can't open the store: {0}")]
    Store(#[from] StoreError),
    /// The engine refuses.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
}

/// The environment's name of the password of QuestDB.
pub const QUESTDB_PASSWORD: &str = "BOOKWIRE_QUESTDB_PASSWORD";

/// The options of the QuestDB store with the password: the environment's, else that of
/// `store.questdb.password_file`, else the one that servers come with. `None`: another store is
/// configured.
///
/// # Errors
/// What is wrong with the file.
pub fn questdb(config: &Config) -> Result<Option<QuestDbOptions>, String> {
    if config.store.kind != StoreKind::QuestDb {
        return Ok(None);
    }
    let mut options = config.store.questdb.options.clone();
    let file = &config.store.questdb.password_file;
    // What is not text is no password of a server.
    let variable = std::env::var(QUESTDB_PASSWORD).unwrap_or_default();
    if !variable.is_empty() {
        options.password = Secret::new(variable);
    } else if !file.as_os_str().is_empty() {
        let place = format!("store.questdb.password_file {}", file.display());
        let text = std::fs::read_to_string(file).map_err(|error| format!("{place}: {error}"))?;
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() {
            return Err(format!(
                "{place}: the file is empty; accepted: the password in one line"
            ));
        }
        options.password = Secret::new(text);
    }
    Ok(Some(options))
}

fn open_store(config: &Config) -> Result<Box<dyn Store>, StartError> {
    Ok(match questdb(config).map_err(StartError::Password)? {
        Some(options) => Box::new(open_questdb(options)?),
        None => Box::new(open_embedded(config.store_file())?),
    })
}

/// Starts the engine with its store. A QuestDB server that is away is no error: rows wait for it.
///
/// # Errors
/// [`StartError`]. Exchanges that can't be reached are no error.
pub fn start(config: &Config, vault: &Vault) -> Result<Gateway, StartError> {
    let file = config.store_file();
    let dir = file.parent().unwrap_or(&config.server.data_dir);
    for dir in [dir, &config.server.data_dir] {
        std::fs::create_dir_all(dir).map_err(|source| StartError::DataDir {
            path: dir.display().to_string(),
            source,
        })?;
    }
    let store = open_store(config)?;
    let clock = Arc::new(SystemClock::new());
    let options = GatewayOptions {
        data_dir: Some(config.server.data_dir.clone()),
        trading: trading::options(config, vault).map_err(StartError::Credential)?,
        ..options(config)
    };
    Ok(Gateway::start(options, clock, Some(store))?)
}

/// The engine's part of the configuration, the data directory aside.
#[must_use]
pub fn options(config: &Config) -> GatewayOptions {
    let providers = config
        .providers
        .iter()
        .filter(|(_, provider)| provider.enabled)
        .filter_map(|(name, provider)| Some(provider_options(ProviderId::parse(name)?, provider)))
        .collect();
    GatewayOptions {
        shards: match config.engine.shards {
            0 => (cores() / 2).max(1),
            shards => shards,
        },
        share_threads: config.engine.share_threads,
        busy_poll: config.engine.busy_poll,
        core_pinning: config.engine.core_pinning,
        session_memory: config.websocket.memory_bytes_max,
        streams_max: config.data_collection.max_concurrent_streams,
        providers,
        backfill: BackfillOptions {
            days: config.data_collection.default_backfill_days,
            trades_max: config.data_collection.backfill_trades_max,
        },
        has_quality_checks: config.data_collection.data_quality_checks_enabled,
        recorder: RecorderOptions {
            batch: config.store.batch,
            flush: Duration::from_millis(config.store.flush_ms),
            spool: Some(SpoolOptions {
                bytes_max: config.store.spool_bytes_max,
                ..SpoolOptions::new(config.spool_dir())
            }),
            is_spool_first: config.store.durability == Durability::Spool,
            book_interval: Some(Duration::from_secs(config.store.book_snapshot_secs)),
            book_depth: config.store.book_snapshot_depth,
            ..RecorderOptions::default()
        },
        ..GatewayOptions::default()
    }
}

fn provider_options(id: ProviderId, config: &ProviderConfig) -> ProviderOptions {
    ProviderOptions {
        markets: config.markets.clone(),
        symbols: config.symbols.clone(),
        hosts: config.hosts.clone(),
        snapshot_depth: config.snapshot_depth,
        linger: Duration::from_secs(config.linger_secs),
        // The engine cuts it to what the exchange allows.
        streams_per_connection: match config.streams_per_connection {
            0 => usize::MAX,
            streams => streams,
        },
        requests_per_minute: config.requests_per_minute,
        burst_limit: config.burst_limit,
        bridge: config
            .bridge
            .as_ref()
            .map_or_else(BridgeOptions::default, |bridge| BridgeOptions {
                python: bridge.python.clone(),
                venues: first_venues(config, bridge),
                venues_max: bridge.venues_max,
                // Their form has been checked with the rest of the configuration.
                options: bridge
                    .options
                    .iter()
                    .filter_map(|(venue, text)| {
                        Some((venue.clone(), serde_json::from_str(text).ok()?))
                    })
                    .collect(),
            }),
        ..ProviderOptions::new(id)
    }
}

/// The venues that are loaded at the start: those that live accounts are of come first.
fn first_venues(config: &ProviderConfig, bridge: &BridgeConfig) -> Vec<String> {
    let mut venues = Vec::new();
    if config.trading.mode == TradingMode::Live {
        let accounts = config.trading.accounts.iter();
        venues.extend(accounts.filter_map(|name| config.trading.exchanges.get(name)));
    }
    venues.extend(&bridge.venues);
    let mut seen = BTreeSet::new();
    venues.retain(|venue| seen.insert(*venue));
    venues.into_iter().cloned().collect()
}

/// Cores that the process may use; 1 where the system does not say.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
