//! What the engine is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bookwire_engine::exchange::{Exchange, ProviderId};
use bookwire_engine::instrument::Market;
use bookwire_engine::store::SpoolOptions;

use crate::bridge::BridgeOptions;
use crate::history::backfill::BackfillOptions;
use crate::tap::Tap;
use crate::trading::options::TradingOptions;

/// One provider's part of [`GatewayOptions`].
#[derive(Clone, Debug)]
pub struct ProviderOptions {
    /// Which.
    pub id: ProviderId,
    /// Product lines to load; those that the provider lacks are left out.
    pub markets: Vec<Market>,
    /// Symbols whose streams are always on, any spelling; perpetuals with `-perp`.
    pub symbols: Vec<String>,
    /// The exchange's host name → base address, where it lives elsewhere (`http://127.0.0.1:4100`,
    /// `ws://127.0.0.1:4101`).
    pub hosts: BTreeMap<String, String>,
    /// Levels a side that a book snapshot is asked for.
    pub snapshot_depth: usize,
    /// How long a stream that nobody wants any more is kept.
    pub linger: Duration,
    /// Streams on one connection; cut to the exchange's limit.
    pub streams_per_connection: usize,
    /// How long a connection is used before it is replaced; `None`: as the exchange says.
    pub connection_lifetime: Option<Duration>,
    /// Weight of requests a minute that we use at most, cancels aside; 0: as much as the exchange allows.
    pub requests_per_minute: u32,
    /// Weight that may go at once; 0: as much as the exchange allows.
    pub burst_limit: u32,
    /// How its bridge is run, where the provider is reached through one.
    pub bridge: BridgeOptions,
}

impl ProviderOptions {
    /// The provider with all its markets and nothing always on.
    #[must_use]
    pub fn new(id: ProviderId) -> Self {
        Self {
            id,
            markets: id.exchange().markets().to_vec(),
            symbols: Vec::new(),
            hosts: BTreeMap::new(),
            snapshot_depth: 1000,
            linger: Duration::from_secs(30),
            streams_per_connection: 200,
            connection_lifetime: None,
            requests_per_minute: 0,
            burst_limit: 0,
            bridge: BridgeOptions::default(),
        }
    }

    /// Base address of a host of the exchange: the mapped one, else `default`.
    #[must_use]
    pub fn base_url<'a>(&'a self, host: &str, default: &'a str) -> &'a str {
        self.hosts
            .get(host)
            .map_or(default, String::as_str)
            .trim_end_matches('/')
    }

    /// The exchange.
    #[must_use]
    pub fn exchange(&self) -> &'static dyn Exchange {
        self.id.exchange()
    }
}

/// How rows are handed to the store.
#[derive(Clone, Debug)]
pub struct RecorderOptions {
    /// Rows in one write.
    pub batch: usize,
    /// Longest time that a row waits for its batch to fill.
    pub flush: Duration,
    /// Rows of one shard between it and the writer.
    pub ring: usize,
    /// Rows of one shard kept when the ring is full, before rows are lost.
    pub overflow: usize,
    /// Where rows wait that the store can't take now; `None`: they wait in memory alone.
    pub spool: Option<SpoolOptions>,
    /// All rows go to the spool before they go to the store, so that a killed process loses none
    /// of them; without it the spool is used when the store is slow or away.
    pub is_spool_first: bool,
    /// How often the tops of the books are recorded; `None`: never.
    pub book_interval: Option<Duration>,
    /// Levels a side of recorded books.
    pub book_depth: usize,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            batch: 10_000,
            flush: Duration::from_millis(200),
            ring: 1 << 13,
            overflow: 1 << 17,
            spool: None,
            is_spool_first: false,
            book_interval: None,
            book_depth: 20,
        }
    }
}

/// What the engine is started with.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Shards; at least one.
    pub shards: usize,
    /// Shards and order routers run on the API workers' threads ([`crate::gateway::Gateway::host`]) instead
    /// of on threads of their own.
    pub share_threads: bool,
    /// Threads spin instead of sleeping: lower latency for a core each.
    pub busy_poll: bool,
    /// Each shard's thread is bound to a core of its own, as far as there are enough.
    pub core_pinning: bool,
    /// Messages on the lane between a shard and an API worker.
    pub lane_capacity: usize,
    /// Bytes that all sessions together may need.
    pub session_memory: u64,
    /// Streams of exchanges at the same time, all providers together.
    pub streams_max: usize,
    /// Enabled providers.
    pub providers: Vec<ProviderOptions>,
    /// How often the instrument lists are loaded anew.
    pub reload: Duration,
    /// How rows are handed to the store.
    pub recorder: RecorderOptions,
    /// What is fetched of the configured symbols at the start.
    pub backfill: BackfillOptions,
    /// Bars are checked before they are stored.
    pub has_quality_checks: bool,
    /// Folder of what is kept besides the rows: when we ran, what is in quarantine. `None`: that is
    /// forgotten with the end.
    pub data_dir: Option<PathBuf>,
    /// Takes a copy of everything that exchanges send.
    pub tap: Option<Tap>,
    /// Accounts that orders are placed on; `None`: nothing is traded.
    pub trading: Option<TradingOptions>,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            share_threads: false,
            busy_poll: false,
            core_pinning: false,
            lane_capacity: 1 << 14,
            session_memory: 512 << 20,
            streams_max: usize::MAX,
            providers: Vec::new(),
            reload: Duration::from_secs(3600),
            recorder: RecorderOptions::default(),
            backfill: BackfillOptions {
                days: 0,
                trades_max: 0,
            },
            has_quality_checks: true,
            data_dir: None,
            tap: None,
            trading: None,
        }
    }
}

impl GatewayOptions {
    /// The options of a provider, `None` when it is not enabled.
    #[must_use]
    pub fn provider(&self, id: ProviderId) -> Option<&ProviderOptions> {
        self.providers.iter().find(|provider| provider.id == id)
    }
}
