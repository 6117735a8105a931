//! The market as desks see it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::instrument::{InstrumentId, InstrumentTable};
use bookwire_engine::num::to_decimal;
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::venue::Touch;
use futures_util::future::LocalBoxFuture;
use parking_lot::Mutex;

use super::{Gateway, Inner};
use crate::shard::messages::ShareTouch;
use crate::shard::paper::PaperCommand;
use crate::state::touch::{TouchCell, touch};
use crate::trading::market::MarketView;

/// A stream that is read by its cell alone is kept by asking for its book this often.
const KEEP: Duration = Duration::from_secs(5);

/// A view that does not keep the engine alive.
pub(super) struct View {
    gateway: Weak<Inner>,
    cells: Arc<Cells>,
}

/// Where best prices are read without asking their shard, and when that was asked last.
type Cells = Mutex<AHashMap<InstrumentId, (Arc<TouchCell>, Duration)>>;

impl View {
    /// Of a gateway.
    pub fn of(gateway: &Gateway) -> Self {
        Self {
            gateway: Arc::downgrade(&gateway.0),
            cells: Arc::default(),
        }
    }

    fn gateway(&self) -> Option<Gateway> {
        self.gateway.upgrade().map(Gateway)
    }

    /// Best prices that can be read here and now, and whether their stream has to be kept.
    fn read(&self, gateway: &Gateway, instrument: InstrumentId) -> Option<(Touch, bool)> {
        let now = gateway.0.clock.monotonic();
        let mut cells = self.cells.lock();
        let (cell, asked) = cells.get_mut(&instrument)?;
        let touch = cell.read()?;
        let is_due = now.saturating_sub(*asked) >= KEEP;
        if is_due {
            *asked = now;
        }
        Some((touch, is_due))
    }
}

/// Asks the shard: starts the stream when nobody has yet, and waits for its book up to `limit`.
async fn ask(
    gateway: Gateway,
    cells: Arc<Cells>,
    instrument: InstrumentId,
    limit: Duration,
) -> Touch {
    let Ok(book) = gateway.order_book(instrument, 1, limit).await else {
        return Touch::default();
    };
    let shard = gateway.shard_of(instrument);
    if let Ok(Some(cell)) = gateway.ask(shard, ShareTouch(instrument)).await {
        let now = gateway.0.clock.monotonic();
        cells.lock().insert(instrument, (cell, now));
    }
    let scale = book.instrument.price_scale;
    let best = |side: &[bookwire_engine::event::BookLevel]| {
        side.first().map(|level| to_decimal(level.price.0, scale))
    };
    touch(best(&book.bids), best(&book.asks))
}

impl MarketView for View {
    fn table(&self) -> Arc<InstrumentTable> {
        self.gateway()
            .map(|gateway| gateway.instruments())
            .unwrap_or_default()
    }

    fn touch(&self, instrument: InstrumentId, limit: Duration) -> LocalBoxFuture<'static, Touch> {
        let Some(gateway) = self.gateway() else {
            return Box::pin(std::future::ready(Touch::default()));
        };
        let found = self.read(&gateway, instrument);
        let asked = ask(gateway, self.cells.clone(), instrument, limit);
        match found {
            None => Box::pin(asked),
            Some((touch, is_due)) => {
                if is_due {
                    // The stream would be stopped for want of interest; nobody waits for this.
                    crate::alive::spawn(asked);
                }
                Box::pin(std::future::ready(touch))
            }
        }
    }

    fn paper(&self, command: PaperCommand) -> LocalBoxFuture<'static, Result<(), CryptoError>> {
        let gateway = self.gateway();
        Box::pin(async move {
            let Some(gateway) = gateway else {
                let what = "the engine is stopping";
                return Err(CryptoError::new(CryptoCode::ProviderUnavailable, what));
            };
            let shard = gateway.shard_of(command.instrument);
            gateway.ask(shard, command).await?
        })
    }

    fn next_funding(&self, instrument: InstrumentId) -> Option<TsNanos> {
        let gateway = self.gateway()?;
        let table = gateway.instruments();
        let hours = table.get(instrument)?.spec.funding_interval_hours?;
        // All exchanges settle at full multiples of the interval, counted from midnight UTC.
        let interval = i64::from(hours)
            .checked_mul(3_600_000_000_000)
            .filter(|i| *i > 0)?;
        let now = gateway.0.clock.now().0;
        now.div_euclid(interval)
            .checked_add(1)?
            .checked_mul(interval)
            .map(TsNanos)
    }
}
