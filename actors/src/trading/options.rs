//! What trading is started with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::config::Transport;
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::trading::keys::Keys;

/// An account at a provider.
#[derive(Clone)]
pub struct AccountOptions {
    /// The provider.
    pub provider: ProviderId,
    /// The markets that are used. Others are not asked about: its key may not be good for them.
    pub markets: Vec<Market>,
    /// Its name here: `default`.
    pub name: String,
    /// Of a live account behind a bridge to many exchanges: which of them it is of.
    pub exchange: Option<String>,
    /// The exchange's key; `None`: orders are filled on paper.
    pub keys: Option<Arc<Keys>>,
    /// Its revision.
    pub key_revision: u64,
    /// Where another one comes from; `None`: from nowhere.
    pub key_source: Option<Arc<dyn super::keys::KeySource>>,
    /// The exchange's host name → base address, where it lives elsewhere.
    pub hosts: BTreeMap<String, String>,
    /// File of its journal.
    pub journal: PathBuf,
    /// It is written anew when it has more bytes.
    pub journal_compact_bytes: u64,
    /// The journal is synced to the disk before each send, not only soon after.
    pub is_journal_synced: bool,
    /// How live orders travel.
    pub transport: Transport,
    /// How long an answer to an order is waited for.
    pub patience: Duration,
    /// How long a request may be under way, where the exchange takes such a limit.
    pub window_ms: u32,
    /// Pause between two reconciliations.
    pub reconcile: Duration,
    /// A key that can withdraw is used all the same.
    pub allows_withdrawal_keys: bool,
    /// Seconds around a funding settlement in which perpetuals take no orders; 0: none.
    pub funding_lock_secs: u32,
    /// The exchange cancels everything when it has heard nothing for so long, seconds; 0: never.
    pub dead_man_secs: u32,
    /// The user's limits.
    pub limits: super::limits::LimitOptions,
    /// The paper account, where it is one.
    pub paper: super::paper::PaperOptions,
}

impl AccountOptions {
    /// Whether one of these markets is used.
    #[must_use]
    pub fn uses(&self, markets: &[Market]) -> bool {
        markets.iter().any(|market| self.markets.contains(market))
    }

    /// Base address of a stream's host: the mapped one, else `default`.
    #[must_use]
    pub fn stream_base<'a>(&'a self, host: &str, default: &'a str) -> &'a str {
        let mapped = self.hosts.get(host).map_or(default, String::as_str);
        mapped.trim_end_matches('/')
    }
}

impl std::fmt::Debug for AccountOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountOptions")
            .field("provider", &self.provider.name())
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Trading as a whole.
#[derive(Clone, Debug, Default)]
pub struct TradingOptions {
    /// Accounts; one of each provider and name.
    pub accounts: Vec<AccountOptions>,
}
