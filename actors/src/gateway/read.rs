//! Rows out of the store, with what it lacks fetched before.

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Scope;
use bookwire_engine::store::{
    FundingQuery, FundingRow, KlineQuery, KlineRow, Series, Store, StoreError, StoreReader,
    TimeWindow, TradeQuery, TradeRow,
};
use crossbeam_channel::{Receiver, Sender};

use super::Gateway;
use crate::history::Rows;

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

impl Gateway {
    /// Closed bars, after what the store lacks has been fetched. Entities that are not listed are
    /// read from the store alone.
    ///
    /// # Errors
    /// What the store answers; or why nothing could be fetched, when nothing is stored either.
    pub async fn klines(&self, query: KlineQuery) -> Result<Rows<KlineRow>, CryptoError> {
        let series = Series::Klines(query.level);
        let incomplete = self
            .ensure(&query.provider, &query.entity_ids, series, query.window)
            .await;
        let rows = self
            .query_store(move |reader| reader.klines(&query))
            .await?;
        answer(rows, incomplete)
    }

    /// Matches, as [`Gateway::klines`].
    ///
    /// # Errors
    /// As there.
    pub async fn trades(&self, query: TradeQuery) -> Result<Rows<TradeRow>, CryptoError> {
        let incomplete = self
            .ensure(
                &query.provider,
                &query.entity_ids,
                Series::Trades,
                query.window,
            )
            .await;
        let rows = self
            .query_store(move |reader| reader.trades(&query))
            .await?;
        answer(rows, incomplete)
    }

    /// Settled funding, as [`Gateway::klines`].
    ///
    /// # Errors
    /// As there.
    pub async fn funding(&self, query: FundingQuery) -> Result<Rows<FundingRow>, CryptoError> {
        let incomplete = self
            .ensure(
                &query.provider,
                &query.entity_ids,
                Series::Funding,
                query.window,
            )
            .await;
        let rows = self
            .query_store(move |reader| reader.funding(&query))
            .await?;
        answer(rows, incomplete)
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

fn answer<T>(rows: Vec<T>, incomplete: Option<CryptoError>) -> Result<Rows<T>, CryptoError> {
    match incomplete {
        Some(error) if rows.is_empty() => Err(error),
        incomplete => Ok(Rows { rows, incomplete }),
    }
}
