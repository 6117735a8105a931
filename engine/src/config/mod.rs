//! The configuration: one typed tree, its defaults, and how files, environment and flags make it.
//!
//! Later sources win: defaults, the file's TOML, the environment
//! (`BOOKWIRE_SERVER__LISTEN=…`: sections and keys in upper case with two underscores between),
//! flags. Nothing here opens a file or reads the environment; [`Config::load`] takes their content.
//! A load finds every problem there is and names its place; a configuration with a problem is
//! never returned. `config/default.toml` documents every key; a test holds it to [`Config`].

mod change;
mod keys;
mod log;
mod problem;
mod read;
mod source;
mod trading;
mod url;
mod zvt;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use rust_decimal::Decimal;

pub use change::{
    ExchangeChange, ExchangeOverlay, Overlay, Refusal, default_bases, exchange_limits,
};
pub use log::{FILTER_FORM, LogFilter, Severity};
pub use problem::{ConfigErrors, ConfigProblem, Place};
pub use source::{FileText, Override};
pub use trading::{JournalSync, PaperConfig, ProviderTradingConfig, TradingConfig, Transport};
pub use zvt::ZvtConfig;

use crate::exchange::ProviderId;
use crate::instrument::Market;
use crate::keys::Network;
use crate::prices;
use crate::store::QuestDbOptions;

/// The whole configuration. Units and meanings of the keys are in `config/default.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[engine]`
    pub engine: EngineConfig,
    /// `[providers.<name>]`: one for each provider there is.
    pub providers: BTreeMap<String, ProviderConfig>,
    /// `[websocket]`
    pub websocket: WebsocketConfig,
    /// `[store]`
    pub store: StoreConfig,
    /// `[trading]`
    pub trading: TradingConfig,
    /// `[limits]`
    pub limits: LimitsConfig,
    /// `[keys]`
    pub keys: KeysConfig,
    /// `[data_collection]`
    pub data_collection: DataCollectionConfig,
    /// `[audit]`
    pub audit: AuditConfig,
    /// `[zvt]`
    pub zvt: ZvtConfig,
    /// `[log]`
    pub log: LogConfig,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Address and port of REST and WebSocket.
    pub listen: SocketAddr,
    /// API worker threads; 0: one for each core.
    pub workers: usize,
    /// Where the store and other state live; relative to the working directory.
    pub data_dir: PathBuf,
    /// File with the operator's key; empty: none. The key itself is never part of a configuration.
    pub admin_key_file: PathBuf,
    /// PEM file with the certificate and its chain; empty: no TLS.
    pub tls_certificate_file: PathBuf,
    /// PEM file with the certificate's private key; empty: no TLS.
    pub tls_key_file: PathBuf,
    /// Host names under which the server may be addressed, besides addresses and `localhost`.
    pub allowed_hosts: Vec<String>,
    /// Origins whose pages may read REST answers; `*`: all.
    pub cors_origins: Vec<String>,
    /// Proxies whose word about a client's address counts.
    pub trusted_proxies: Vec<Network>,
    /// The header in which they tell it.
    pub proxy_header: ProxyHeader,
    /// Who may read market data without a key.
    pub open_data: OpenData,
}

/// How proxies tell for whom they ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

impl ProxyHeader {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 2] = [
        ("x-forwarded-for", Self::XForwardedFor),
        ("forwarded", Self::Forwarded),
    ];

    /// The header's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        name_of(&Self::ALL, self)
    }
}

/// `[engine]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// Market data threads; 0: half of the cores, at least one.
    pub shards: usize,
    /// Market data is read and decoded on the API workers' threads.
    pub share_threads: bool,
    /// Spin instead of sleeping: lower latency for a whole core per thread.
    pub busy_poll: bool,
    /// Bind shards to cores.
    pub core_pinning: bool,
}

/// `[providers.<name>]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderConfig {
    /// Used at all.
    pub enabled: bool,
    /// Product lines that are used; a part of what the provider has.
    pub markets: Vec<Market>,
    /// Instruments whose streams are always on, in any spelling.
    pub symbols: Vec<String>,
    /// The exchange's host names and the base URLs to use instead of the real ones.
    pub hosts: BTreeMap<String, String>,
    /// Levels a side of the snapshot that a book starts from.
    pub snapshot_depth: usize,
    /// Seconds that a stream stays on after its last subscriber left.
    pub linger_secs: u64,
    /// Streams on one connection; 0: as many as the exchange allows.
    pub streams_per_connection: usize,
    /// Weight of requests a minute that we use at most; 0: as much as the exchange allows.
    pub requests_per_minute: u32,
    /// Weight that may go at once; 0: as much as the exchange allows.
    pub burst_limit: u32,
    /// Hosts, with or without a port, that endpoints may be moved to while the engine runs.
    pub endpoint_hosts: Vec<String>,
    /// How its bridge is run; `None` for a provider that needs none.
    pub bridge: Option<BridgeConfig>,
    /// `[providers.<name>.trading]`
    pub trading: ProviderTradingConfig,
}

/// The part of `[providers.<name>]` that only a provider behind a child process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BridgeConfig {
    /// The Python interpreter that has the package.
    pub python: String,
    /// Venues that are loaded at the start; others with their first use.
    pub venues: Vec<String>,
    /// Venues at the same time.
    pub venues_max: usize,
    /// Per venue a JSON object that its class is constructed with.
    pub options: BTreeMap<String, String>,
}

/// `[websocket]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebsocketConfig {
    /// Connections of one address.
    pub connections_per_ip: u32,
    /// Subscriptions on one connection.
    pub subscriptions_per_connection: usize,
    /// Largest inbound frame, bytes.
    pub frame_bytes_max: usize,
    /// Requests a second on one connection; twice as many in a burst.
    pub messages_per_second: u32,
    /// Messages that wait for one client before its drop policy acts.
    pub outbox_messages: usize,
    /// Bytes that all sessions together may need.
    pub memory_bytes_max: u64,
    /// Seconds between the server's pings.
    pub ping_secs: u32,
    /// Seconds of silence after which a client is disconnected.
    pub idle_secs: u32,
    /// Origins whose pages may connect, besides our own; `*`: all.
    pub allowed_origins: Vec<String>,
}

/// Which store keeps the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A file of ours; nothing to install.
    Embedded,
    /// A QuestDB server.
    QuestDb,
}

/// `[store.questdb]`: the options of the store, and where their password is. The password itself is
/// never part of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestDbConfig {
    /// All but the password.
    pub options: QuestDbOptions,
    /// File with the password; empty: none.
    pub password_file: PathBuf,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which.
    pub kind: StoreKind,
    /// `[store.questdb]`
    pub questdb: QuestDbConfig,
    /// File of the embedded store; a relative path is inside `server.data_dir`.
    pub path: PathBuf,
    /// Rows that are written in one transaction at most.
    pub batch: usize,
    /// Milliseconds that a row waits for others at most.
    pub flush_ms: u64,
    /// What the death of the process may cost.
    pub durability: Durability,
    /// Bytes of rows on disk that the store could not take yet.
    pub spool_bytes_max: u64,
    /// Seconds between recorded snapshots of each book; 0: none.
    pub book_snapshot_secs: u64,
    /// Levels a side of a recorded book.
    pub book_snapshot_depth: usize,
    /// Bytes of answers with bars that are kept, to be given again; 0: none.
    pub answer_cache_bytes: usize,
}

/// What the death of the process may cost of the rows that were received last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The batch that is being collected and the one that is being written.
    Batch,
    /// The batch that is being collected: each goes to the spool before it goes to the store.
    Spool,
}

impl Durability {
    /// All, with their names.
    pub const ALL: [(&'static str, Self); 2] = [("batch", Self::Batch), ("spool", Self::Spool)];
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// REST requests a minute of one address.
    pub requests_per_minute: u32,
    /// Trading requests a minute of one API key.
    pub trading_per_minute: u32,
    /// Cancels a minute of one API key; not counted with the others.
    pub cancels_per_minute: u32,
    /// Wrong keys and signatures a minute of one address.
    pub wrong_keys_per_minute: u32,
    /// Connections of all clients at once, WebSockets included.
    pub connections_max: usize,
    /// Connections of one address at once, WebSockets and trusted proxies aside.
    pub connections_per_ip: u32,
    /// Largest body of a request, bytes.
    pub body_bytes_max: usize,
    /// Headers of a request.
    pub headers_max: usize,
    /// Names and values of a request's headers together, bytes.
    pub header_bytes_max: usize,
    /// Path and query of a request, bytes.
    pub uri_bytes_max: usize,
    /// Milliseconds from a request's first byte to its last header; of a TLS handshake too.
    pub header_timeout_ms: u64,
    /// Milliseconds for the whole body.
    pub body_timeout_ms: u64,
    /// Milliseconds in which a client that reads slowly has to take `answer_rate_min` each second.
    pub answer_timeout_ms: u64,
    /// Bytes a second that a client has to take of an answer.
    pub answer_rate_min: u64,
    /// Milliseconds that a connection without a request stays open.
    pub keep_alive_ms: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            requests_per_minute: 1000,
            trading_per_minute: 100,
            cancels_per_minute: 500,
            wrong_keys_per_minute: 20,
            connections_max: 10_000,
            connections_per_ip: 500,
            body_bytes_max: 64 << 10,
            headers_max: 64,
            header_bytes_max: 16 << 10,
            uri_bytes_max: 8 << 10,
            header_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            answer_timeout_ms: 20_000,
            answer_rate_min: 1_024,
            keep_alive_ms: 75_000,
        }
    }
}

/// `[keys]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysConfig {
    /// File with the master key; empty: `master.key` in `server.data_dir`. The key itself is never part
    /// of a configuration.
    pub master_key_file: PathBuf,
    /// Milliseconds that a signature's time may differ from ours.
    pub signature_window_ms: u32,
}

/// `[data_collection]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataCollectionConfig {
    /// Days of history of the configured symbols that are fetched at the start.
    pub default_backfill_days: u32,
    /// Trades of each of them, counted from the newest.
    pub backfill_trades_max: usize,
    /// Streams of exchanges at the same time, all providers together.
    pub max_concurrent_streams: usize,
    /// Check prices and series while they are collected.
    pub data_quality_checks_enabled: bool,
    /// Seconds between two comparisons of exchanges' live prices; 0: never.
    pub price_check_secs: u64,
    /// Percent of their mean by which prices of one pair may differ.
    pub price_deviation_percent: Decimal,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Commands are recorded.
    pub enabled: bool,
    /// Orders are refused when that can't be done.
    pub required: bool,
    /// Bytes after which another file is begun.
    pub file_bytes_max: u64,
}

/// Who may read market data without a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenData {
    /// Everybody while the server is bound to a loopback address, else nobody.
    Loopback,
    /// Everybody.
    Always,
    /// Nobody.
    Never,
}

impl OpenData {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 3] = [
        ("loopback", Self::Loopback),
        ("always", Self::Always),
        ("never", Self::Never),
    ];

    /// Whether no key is needed on a server that is reachable on loopback only, or not.
    #[must_use]
    pub const fn is_open(self, is_loopback: bool) -> bool {
        match self {
            Self::Loopback => is_loopback,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The least severe lines that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may become a failure.
    Warn,
    /// What happens.
    Info,
    /// Why it happens.
    Debug,
    /// Every step.
    Trace,
}

impl LogFormat {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

impl LogLevel {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];

    /// The name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        name_of(&Self::ALL, self)
    }
}

impl StoreKind {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 2] =
        [("embedded", Self::Embedded), ("questdb", Self::QuestDb)];
}

fn name_of<T: Copy + PartialEq>(all: &'static [(&'static str, T)], value: T) -> &'static str {
    all.iter()
        .find(|(_, one)| *one == value)
        .map_or("", |(name, _)| name)
}

impl ProviderConfig {
    /// The defaults of a provider: on, with all its markets.
    #[must_use]
    pub fn of(provider: ProviderId) -> Self {
        Self {
            enabled: true,
            markets: provider.exchange().markets().to_vec(),
            symbols: Vec::new(),
            hosts: BTreeMap::new(),
            snapshot_depth: match provider.exchange().bridge() {
                None => 1000,
                // Each change is looked for in all of them, in Python.
                Some(_) => 100,
            },
            linger_secs: 30,
            streams_per_connection: 0,
            requests_per_minute: 0,
            burst_limit: 0,
            endpoint_hosts: Vec::new(),
            bridge: provider.exchange().bridge().map(|_| BridgeConfig {
                python: "python3".to_owned(),
                venues: Vec::new(),
                venues_max: 16,
                options: BTreeMap::new(),
            }),
            trading: ProviderTradingConfig::default(),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
                workers: 0,
                data_dir: PathBuf::from("data"),
                admin_key_file: PathBuf::new(),
                tls_certificate_file: PathBuf::new(),
                tls_key_file: PathBuf::new(),
                allowed_hosts: Vec::new(),
                cors_origins: Vec::new(),
                trusted_proxies: Vec::new(),
                proxy_header: ProxyHeader::XForwardedFor,
                open_data: OpenData::Loopback,
            },
            engine: EngineConfig {
                shards: 0,
                share_threads: false,
                busy_poll: false,
                core_pinning: false,
            },
            providers: ProviderId::all()
                .map(|id| (id.name().to_owned(), ProviderConfig::of(id)))
                .collect(),
            websocket: WebsocketConfig {
                connections_per_ip: 5,
                subscriptions_per_connection: 200,
                frame_bytes_max: 64 << 10,
                messages_per_second: 50,
                outbox_messages: 1024,
                memory_bytes_max: 512 << 20,
                ping_secs: 20,
                idle_secs: 60,
                allowed_origins: Vec::new(),
            },
            store: StoreConfig {
                kind: StoreKind::Embedded,
                questdb: QuestDbConfig {
                    options: QuestDbOptions::default(),
                    password_file: PathBuf::new(),
                },
                path: PathBuf::from("bookwire.db"),
                batch: 10_000,
                flush_ms: 50,
                durability: Durability::Batch,
                spool_bytes_max: 4 << 30,
                book_snapshot_secs: 60,
                book_snapshot_depth: 20,
                answer_cache_bytes: 16 << 20,
            },
            trading: TradingConfig::default(),
            limits: LimitsConfig::default(),
            keys: KeysConfig {
                master_key_file: PathBuf::new(),
                signature_window_ms: 5_000,
            },
            data_collection: DataCollectionConfig {
                default_backfill_days: 7,
                backfill_trades_max: 20_000,
                max_concurrent_streams: 10_000,
                data_quality_checks_enabled: true,
                price_check_secs: 10,
                price_deviation_percent: prices::THRESHOLD_PCT,
            },
            audit: AuditConfig {
                enabled: true,
                required: false,
                file_bytes_max: 64 << 20,
            },
            zvt: ZvtConfig::default(),
            log: LogConfig {
                format: LogFormat::Text,
                level: LogLevel::Info,
                modules: Vec::new(),
            },
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// The least severe lines that are logged.
    pub level: LogLevel,
    /// Modules that have another level: what their names begin with.
    pub modules: Vec<(String, Severity)>,
}

impl LogConfig {
    /// Which lines are written.
    #[must_use]
    pub fn filter(&self) -> LogFilter {
        LogFilter {
            level: Some(self.level),
            modules: self.modules.clone(),
        }
    }
}

impl Config {
    /// The configuration of a file's text, the environment and flags, in rising precedence.
    ///
    /// Of the environment only names that begin with `BOOKWIRE_` and have two underscores in a row
    /// are keys; the rest may be given too.
    ///
    /// # Errors
    /// Every problem of all sources: what can't be read, unknown keys with the nearest known one,
    /// wrong types, values out of range, contradictions between keys.
    pub fn load(
        file: Option<FileText<'_>>,
        env: impl IntoIterator<Item = (String, String)>,
        overrides: &[Override],
    ) -> Result<Self, ConfigErrors> {
        let mut problems = Vec::new();
        let tree = source::merge(file, env, overrides, &mut problems);
        let mut config = Self::default();
        let mut reader = read::Reader::new(&tree, &mut problems);
        keys::visit(&mut config, &mut reader);
        reader.finish();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigErrors(problems))
        }
    }

    /// Every key that can be set, in the order in which they are documented; `<host>` stands for
    /// the free keys of a table.
    #[must_use]
    pub fn keys() -> Vec<String> {
        let tree = source::Node::default();
        let mut problems = Vec::new();
        let mut reader = read::Reader::new(&tree, &mut problems);
        keys::visit(&mut Self::default(), &mut reader);
        reader.into_known()
    }

    /// Points providers at other hosts: `endpoints` is the object that `bookwire sim --endpoints`
    /// writes. Returns how many hosts were taken; those that no provider uses are left out.
    ///
    /// # Errors
    /// A problem for every base URL that can't be used, and when the object has another form.
    pub fn use_endpoints(
        &mut self,
        source: &str,
        endpoints: &serde_json::Value,
    ) -> Result<usize, ConfigErrors> {
        keys::use_endpoints(self, source, endpoints)
    }

    /// The folder of the journals of orders.
    #[must_use]
    pub fn trading_dir(&self) -> PathBuf {
        self.server.data_dir.join("trading")
    }

    /// The folder of the rows that the store could not take yet.
    #[must_use]
    pub fn spool_dir(&self) -> PathBuf {
        self.server.data_dir.join("spool")
    }

    /// The file of the embedded store.
    #[must_use]
    pub fn store_file(&self) -> PathBuf {
        self.server.data_dir.join(&self.store.path)
    }
}

#[cfg(test)]
mod tests;
