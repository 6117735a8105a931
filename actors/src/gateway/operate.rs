//! What an operator can have done, and how it went.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::book::sync::BookState;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Instrument;
use futures_util::future::{Either, join, join_all, select, try_join_all};

use super::{Gateway, SHARD_TIMEOUT};
use crate::endpoints::Endpoints;
use crate::incidents::{IncidentView, Moment, Subject};
use crate::shard::messages::{
    BookObservation, ConnectionView, LookAtBook, Observe, Reconnect, Resync, ShardObservation,
};

/// Pause between two looks at what is being waited for.
const LOOK: Duration = Duration::from_millis(25);

/// A connection that was to be opened anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionOutcome {
    /// Number of the shard that has it.
    pub shard: usize,
    /// `spot/public/0`.
    pub name: String,
    /// It was up before.
    pub was_up: bool,
    /// How it ended.
    pub result: ConnectionResult,
    /// Streams wanted on it.
    pub streams: usize,
    /// Of these, acknowledged at the last look.
    pub live: usize,
}

/// How the opening of a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionResult {
    /// A new link is up, so long after the order.
    Up(Duration),
    /// Nobody wants it any more.
    Ended,
    /// Not yet, and why, where that is known.
    Down(Option<String>),
}

/// How a reconnect went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReconnectReport {
    /// Each connection; empty when none is wanted.
    pub connections: Vec<ConnectionOutcome>,
    /// How long it took, or was waited for.
    pub took: Duration,
}

impl ReconnectReport {
    /// Nothing that is wanted is down.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let is_down = |row: &ConnectionOutcome| matches!(row.result, ConnectionResult::Down(_));
        !self.connections.iter().any(is_down)
    }
}

/// How a resync went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResyncReport {
    /// How often the book had become trusted before.
    pub epoch_before: u32,
    /// And afterwards.
    pub epoch_after: u32,
    /// How far it is.
    pub state: BookState,
    /// What hinders it, where that is known and it is not trusted.
    pub hindrance: Option<String>,
    /// How long it took, or was waited for.
    pub took: Duration,
}

impl ResyncReport {
    /// The book is another and is trusted.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == BookState::Synced && self.epoch_after != self.epoch_before
    }
}

type ConnectionKey = (usize, String);

impl Gateway {
    /// A provider that is switched off can't be commanded.
    ///
    /// # Errors
    /// `CRYPTO_PROVIDER_UNAVAILABLE`.
    pub fn check_enabled(&self, provider: ProviderId) -> Result<(), CryptoError> {
        match self.meter(provider) {
            Some(_) => Ok(()),
            None => Err(self.unavailable(provider)),
        }
    }

    /// Whether every market data thread and every account answers in time.
    pub async fn is_answering(&self) -> bool {
        let shards = join_all(self.0.shards.iter().map(|shard| self.ask(shard, Observe)));
        let accounts = pin!(async {
            match self.0.trading.get() {
                Some(trading) => trading.is_answering().await,
                None => true,
            }
        });
        let accounts = select(accounts, self.0.clock.sleep(SHARD_TIMEOUT));
        let (shards, accounts) = join(shards, accounts).await;
        matches!(accounts, Either::Left((true, _))) && shards.iter().all(Result::is_ok)
    }

    /// What the shards are doing; one that does not answer in time is missing.
    pub async fn observe(&self) -> Vec<ShardObservation> {
        let asked = self.0.shards.iter().map(|shard| self.ask(shard, Observe));
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Base address of a host of the exchange, as it is now.
    #[must_use]
    pub fn base_url(&self, provider: ProviderId, host: &str, default: &str) -> String {
        self.0.rest.endpoints().base(provider, host, default)
    }

    /// Where hosts live and how fast they are asked; changes are in force with the next connection
    /// and the next request.
    #[must_use]
    pub fn endpoints(&self) -> &Endpoints {
        self.0.rest.endpoints()
    }

    /// Whether orders of the provider go to the exchange.
    #[must_use]
    pub fn trades_live(&self, provider: ProviderId) -> bool {
        let accounts = self.0.options.trading.iter().flat_map(|one| &one.accounts);
        let mut of_provider = accounts.filter(|account| account.provider == provider);
        of_provider.any(|account| account.keys.is_some())
    }

    /// Closes and opens all stream connections of a provider, and waits up to `limit` until they
    /// are up.
    ///
    /// # Errors
    /// `CRYPTO_PROVIDER_UNAVAILABLE` for a provider that is switched off, `CRYPTO_INTERNAL_ERROR`
    /// when a shard does not answer.
    pub async fn reconnect(
        &self,
        provider: ProviderId,
        limit: Duration,
    ) -> Result<ReconnectReport, CryptoError> {
        self.check_enabled(provider)?;
        let before = self.connections(provider).await?;
        let start = self.0.clock.monotonic();
        for shard in &self.0.shards {
            self.ask(shard, Reconnect(provider)).await?;
        }
        let mut up: BTreeMap<ConnectionKey, Duration> = BTreeMap::new();
        loop {
            let now = self.connections(provider).await?;
            let took = self.0.clock.monotonic().saturating_sub(start);
            let connections: Vec<ConnectionOutcome> = before
                .iter()
                .map(|(key, old)| outcome(key, old, now.get(key), took, &mut up))
                .collect();
            let report = ReconnectReport { connections, took };
            if report.is_complete() || took >= limit {
                return Ok(report);
            }
            self.0.clock.sleep(LOOK).await;
        }
    }

    async fn connections(
        &self,
        provider: ProviderId,
    ) -> Result<BTreeMap<ConnectionKey, ConnectionView>, CryptoError> {
        let asked = self.0.shards.iter().map(|shard| self.ask(shard, Observe));
        let shards = try_join_all(asked).await?;
        let rows = shards.into_iter().flat_map(|observed| {
            let shard = observed.shard;
            let rows = observed.connections.into_iter();
            rows.map(move |row| ((shard, row.name.clone()), row))
        });
        Ok(rows.filter(|(_, row)| row.provider == provider).collect())
    }

    /// Gives a book up, has it made anew, and waits up to `limit` until it is trusted.
    ///
    /// # Errors
    /// `CRYPTO_NOT_FOUND` when no book of the instrument is kept, `CRYPTO_INTERNAL_ERROR` when the
    /// shard does not answer.
    pub async fn resync(
        &self,
        instrument: &Arc<Instrument>,
        limit: Duration,
    ) -> Result<ResyncReport, CryptoError> {
        let shard = self.shard_of(instrument.id);
        let no_book = || {
            let symbol = instrument.stream_symbol();
            CryptoError::new(
                CryptoCode::NotFound,
                format!("no book of {symbol} is kept: nobody has subscribed to it"),
            )
            .with("provider", instrument.spec.provider.name())
            .with("symbol", symbol)
            .suggest("subscribe to crypto.orderbook of the symbol, or ask for its CryptoOrderbook")
        };
        let look = async || {
            let book = self.ask(shard, LookAtBook(instrument.id)).await?;
            book.ok_or_else(no_book)
        };
        let before: BookObservation = look().await?;
        let start = self.0.clock.monotonic();
        self.ask(shard, Resync(instrument.id)).await??;
        loop {
            let book = look().await?;
            let took = self.0.clock.monotonic().saturating_sub(start);
            let mut report = ResyncReport {
                epoch_before: before.epoch,
                epoch_after: book.epoch,
                state: book.state,
                hindrance: None,
                took,
            };
            if report.is_complete() {
                return Ok(report);
            }
            if took >= limit {
                report.hindrance = self.hindrance(instrument);
                return Ok(report);
            }
            self.0.clock.sleep(LOOK).await;
        }
    }

    /// What is known to hinder the repair of a book.
    fn hindrance(&self, instrument: &Instrument) -> Option<String> {
        let meter = self.meter(instrument.spec.provider)?;
        let view: IncidentView = meter.incidents.view(Moment::of(&*self.0.clock));
        let of_book = Subject::Book(instrument.id);
        let own = view
            .open
            .iter()
            .find(|incident| incident.subject == of_book);
        let own = own.and_then(|incident| incident.last_error.clone());
        own.or_else(|| {
            let is_connection = |subject: &Subject| matches!(subject, Subject::Connection(..));
            let mut open = view.open.iter();
            let down = open.find(|incident| is_connection(&incident.subject))?;
            Some(format!("a connection is down: {}", down.reason))
        })
    }
}

fn outcome(
    key: &ConnectionKey,
    old: &ConnectionView,
    now: Option<&ConnectionView>,
    took: Duration,
    up: &mut BTreeMap<ConnectionKey, Duration>,
) -> ConnectionOutcome {
    let result = match now {
        None => ConnectionResult::Ended,
        Some(now) if now.is_up && now.opened > old.opened => {
            ConnectionResult::Up(*up.entry(key.clone()).or_insert(took))
        }
        Some(now) => ConnectionResult::Down(now.trouble.clone()),
    };
    let shown = now.unwrap_or(old);
    ConnectionOutcome {
        shard: key.0,
        name: key.1.clone(),
        was_up: old.is_up,
        result,
        streams: shown.streams,
        live: now.map_or(0, |now| now.live),
    }
}
