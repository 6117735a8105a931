//! The market as desks see it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::instrument::{InstrumentId, InstrumentTable};
use bookwire_engine::num::to_decimal;
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::venue::Touch;
use futures_util::future::LocalBoxFuture;

use super::{Gateway, Inner};
use crate::shard::paper::PaperCommand;
use crate::trading::market::MarketView;

/// A view that does not keep the engine alive.
pub(super) struct View(pub Weak<Inner>);

impl View {
    fn gateway(&self) -> Option<Gateway> {
        self.0.upgrade().map(Gateway)
    }
}

impl MarketView for View {
    fn table(&self) -> Arc<InstrumentTable> {
        self.gateway()
            .map(|gateway| gateway.instruments())
            .unwrap_or_default()
    }

    fn touch(&self, instrument: InstrumentId, limit: Duration) -> LocalBoxFuture<'static, Touch> {
        let gateway = self.gateway();
        Box::pin(async move {
            let Some(gateway) = gateway else {
                return Touch::default();
            };
            let Ok(book) = gateway.order_book(instrument, 1, limit).await else {
                return Touch::default();
            };
            let scale = book.instrument.price_scale;
            let best = |side: &[bookwire_engine::event::BookLevel]| {
                side.first().map(|level| to_decimal(level.price.0, scale))
            };
            let (bid, ask) = (best(&book.bids), best(&book.asks));
            let two = rust_decimal::Decimal::TWO;
            Touch {
                bid,
                ask,
                // The middle stands for the last price where a side of the market is asked for.
                last: bid.zip(ask).map(|(bid, ask)| (bid + ask) / two),
            }
        })
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
