//! Rows out of the store, with what it lacks fetched before.

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Scope;
use bookwire_engine::store::{Series, Store, StoreError, StoreReader, TimeWindow};
use bookwire_engine::time::{Level, TsNanos};
use crossbeam_channel::{Receiver, Sender};

use super::Gateway;
use crate::history::{Need, Rows};

/// Readers of the store, and so queries of it at the same time.
pub(super) const READERS: usize = 4;

pub(crate) struct ReaderPool {
    free: Receiver<Box<dyn StoreReader>>,
    back: Sender<Box<dyn StoreReader>>,
}

impl ReaderPool {
    pub(super) fn new(store: &dyn Store) -> Result<Self, StoreError> {
        let (back, free) = crossbeam_channel::bounded(READERS);
        for _ in 0..READERS {
            // The channel has room for all of them.
            let _ = back.try_send(store.reader()?);
        }
        Ok(Self { free, back })
    }
}

/// Rows that are asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Source of the data.
    pub provider: String,
    /// Whose. Those that are not listed are read from the store alone.
    pub entity_ids: Vec<String>,
    /// Which rows.
    pub series: Series,
    /// Which part.
    pub window: TimeWindow,
    /// What the store lacks is fetched before.
    pub is_fetched: bool,
}

impl Gateway {
    /// Reads rows and makes an answer of them, both on a thread that may block, after what the store
    /// lacks has been fetched.
    ///
    /// # Errors
    /// What `answer` does; what the store answers; or why nothing could be fetched, when nothing is stored
    /// either.
    pub async fn answer<R, T>(
        &self,
        asked: Asked,
        read: impl Fn(&dyn StoreReader) -> Result<Vec<R>, StoreError> + Send + 'static,
        answer: impl FnOnce(&dyn StoreReader, Rows<R>) -> Result<T, CryptoError> + Send + 'static,
    ) -> Result<T, CryptoError>
    where
        T: Send + 'static,
    {
        let mut work = (read, answer);
        if let Some(needs) = self.needs(&asked) {
            let provider = asked.provider.clone();
            // In one visit of the store, when it has all. Else the work comes back undone.
            let visit = self.query_store(move |reader| {
                for need in needs {
                    if !need.is_met(reader, &provider)? {
                        return Ok(Err(work));
                    }
                }
                let (read, answer) = work;
                let rows = read(reader)?;
                let incomplete = None;
                Ok(Ok(answer(reader, Rows { rows, incomplete })))
            });
            match visit.await? {
                Ok(done) => return done,
                Err(undone) => work = undone,
            }
        }
        let (read, answer) = work;
        let incomplete = self
            .ensure(
                &asked.provider,
                &asked.entity_ids,
                asked.series,
                asked.window,
            )
            .await;
        let answered = self.query_store(move |reader| {
            let rows = read(reader)?;
            Ok(match incomplete {
                Some(error) if rows.is_empty() => Err(error),
                incomplete => answer(reader, Rows { rows, incomplete }),
            })
        });
        answered.await?
    }

    /// Up to where bars of a level are over and final by now.
    #[must_use]
    pub fn settled(&self, level: Level) -> TsNanos {
        self.0.history.settled(Series::Klines(level))
    }

    /// What the store has to promise before it can answer alone; `None`: that takes more to find out.
    fn needs(&self, asked: &Asked) -> Option<Vec<Need>> {
        let mut needs = Vec::new();
        if !asked.is_fetched {
            return Some(needs);
        }
        let provider = ProviderId::parse(&asked.provider)?;
        let scope = Scope {
            provider: Some(provider),
            ..Scope::default()
        };
        let table = self.instruments();
        for entity_id in &asked.entity_ids {
            let Ok(instrument) = table.resolve(entity_id, scope) else {
                continue;
            };
            let history = &self.0.history;
            if let Some(need) = history.needs(self, instrument, asked.series, asked.window) {
                needs.push(need);
            }
        }
        // How far back the latest trades reach is not known before they are there.
        let is_open = asked.series == Series::Trades && asked.window.start.is_none();
        (needs.is_empty() || !is_open).then_some(needs)
    }

    /// Fetches what is missing of each entity; the last reason why something could not be.
    async fn ensure(
        &self,
        provider: &str,
        entity_ids: &[String],
        series: Series,
        window: TimeWindow,
    ) -> Option<CryptoError> {
        let provider = ProviderId::parse(provider)?;
        let scope = Scope {
            provider: Some(provider),
            ..Scope::default()
        };
        let table = self.instruments();
        let mut incomplete = None;
        for entity_id in entity_ids {
            let Ok(instrument) = table.resolve(entity_id, scope) else {
                continue;
            };
            let fetched = self.0.history.ensure(self, instrument, series, window);
            if let Err(error) = fetched.await {
                tracing::warn!(entity_id, ?series, %error, "history not fetched");
                incomplete = Some(error);
            }
        }
        incomplete
    }

    /// Runs a query of the store on a thread that may block.
    ///
    /// # Errors
    /// `CRYPTO_UNSUPPORTED` without a store, else what the query answers.
    pub async fn query_store<T: Send + 'static>(
        &self,
        query: impl FnOnce(&dyn StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, CryptoError> {
        let (Some(pool), Some(control)) = (&self.0.readers, self.0.control.handle()) else {
            return Err(CryptoError::new(
                CryptoCode::Unsupported,
                "no store is configured",
            ));
        };
        let (free, back) = (pool.free.clone(), pool.back.clone());
        let task = control.spawn_blocking(move || {
            let reader = free.recv().ok()?;
            let result = query(&*reader);
            // The pool has room for all readers that exist.
            let _ = back.try_send(reader);
            Some(result)
        });
        match task.await {
            Ok(Some(result)) => result.map_err(CryptoError::from),
            _ => Err(CryptoError::new(
                CryptoCode::InternalError,
                "the store's reader has stopped",
            )),
        }
    }
}
