//! QuestDB: rows go in over HTTP (line protocol, version 3), answers come out over the PostgreSQL
//! wire.
//!
//! Nothing is dialled before the first write or question: a server that is away when bookwire starts
//! is a [`StoreError::Unreachable`] of that write, and the recorder repeats it. The tables are made
//! and migrated with the first contact of each connection (`schema.rs`).
//!
//! # Numbers
//! Columns are `DECIMAL(57,28)`: 29 digits before the point and 28 behind it, which is every number
//! that a [`rust_decimal::Decimal`] can hold, so no row is refused or rounded for its numbers.
//! QuestDB keeps such a value in 32 bytes. Times are `TIMESTAMP_NS`: from 1970 to 2262, to the
//! nanosecond; a row before 1970 is an [`StoreError::InvalidRow`].
//!
//! # One row for a trade
//! QuestDB replaces a row with the same key, and its key has to hold the time. The writer therefore
//! leaves out trades that are there already (`known.rs`): an id that stands at most a second away
//! from a stored one with the same id is the same trade, and the first one stays. Bars and funding
//! are replaced by the database itself (`DEDUP UPSERT KEYS`), as their contract asks.
//!
//! # What is promised
//! `write` returns when the server has the rows in its log: they survive its death. They survive a
//! loss of power only with the server's `cairo.commit.mode=sync`; its default leaves that to the
//! operating system. `flush` returns when the rows can be read, and only then writes the promises of
//! [`super::CoverageRow`]s: a crash in between forgets promises, never rows.

mod books;
mod known;
mod read;
mod schema;
mod session;
mod spans;
mod value;
mod views;
mod write;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use read::QuestDbReader;
pub use write::QuestDb;

use super::StoreError;

/// A password: neither printed nor serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text over.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An address: `host` and `port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an address; IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Reads `host:port`, `[::1]:port`, or a host alone.
    #[must_use]
    pub fn parse(text: &str, port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(v6) => {
                let (host, rest) = v6.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, port.parse().ok()?),
                    None if rest.is_empty() => (host, port),
                    None => return None,
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, port),
            },
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        (!host.is_empty() && port > 0 && host.chars().all(is_name)).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Where the server is and how its tables are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestDbOptions {
    /// Where rows are written to.
    pub http: HostPort,
    /// `https`: a proxy in front of the server, or QuestDB Enterprise.
    pub is_tls: bool,
    /// Where questions go: the PostgreSQL wire, not encrypted.
    pub pg: HostPort,
    /// User of both.
    pub user: String,
    /// Their password.
    pub password: Secret,
    /// What the names of all tables begin with: lower-case letters, digits and `_`.
    pub table_prefix: String,
    /// Days that trades are kept; 0: for good.
    pub keep_trades_days: u32,
    /// Days that snapshots of books are kept; 0: for good.
    pub keep_books_days: u32,
    /// Months that bars are kept; 0: for good.
    pub keep_klines_months: u32,
    /// Months that settled funding is kept; 0: for good.
    pub keep_funding_months: u32,
    /// Longer bars are added up by materialised views of the server; else by the code that all stores
    /// share. The answers are the same.
    pub materialized_views: bool,
    /// Limit of a single request or question.
    pub request_timeout: Duration,
    /// Limit of a flush: how long accepted rows may take until they can be read.
    pub flush_timeout: Duration,
}

impl QuestDbOptions {
    /// Port of HTTP.
    pub const HTTP_PORT: u16 = 9_000;
    /// Port of the PostgreSQL wire.
    pub const PG_PORT: u16 = 8_812;
    /// What a prefix looks like, in words.
    pub const PREFIX_FORM: &str =
        "a table prefix of a letter and at most 31 more lower-case letters, digits and _";

    /// Whether names of tables can begin with it.
    #[must_use]
    pub fn is_prefix(text: &str) -> bool {
        let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        (1..=32).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && text.bytes().all(is_part)
    }
}

impl Default for QuestDbOptions {
    /// A server of this machine as it comes.
    fn default() -> Self {
        let local = |port| HostPort {
            host: "127.0.0.1".to_owned(),
            port,
        };
        Self {
            http: local(Self::HTTP_PORT),
            is_tls: false,
            pg: local(Self::PG_PORT),
            user: "admin".to_owned(),
            password: Secret::new("quest"),
            table_prefix: "bookwire_".to_owned(),
            materialized_views: false,
            keep_trades_days: 0,
            keep_books_days: 0,
            keep_klines_months: 0,
            keep_funding_months: 0,
            request_timeout: Duration::from_secs(10),
            flush_timeout: Duration::from_secs(30),
        }
    }
}

/// The store of a server, which is dialled with the first write.
///
/// # Errors
/// [`StoreError::Server`] for options that the client library refuses.
pub fn open_questdb(options: QuestDbOptions) -> Result<QuestDb, StoreError> {
    QuestDb::open(Arc::new(options))
}
