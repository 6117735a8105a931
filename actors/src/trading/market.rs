//! What a desk needs of the market: instruments, best prices, the next funding.

use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::error::CryptoError;
use bookwire_engine::instrument::{InstrumentId, InstrumentTable};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::venue::Touch;
use futures_util::future::LocalBoxFuture;

use crate::shard::paper::PaperCommand;

/// The market as a desk sees it.
pub trait MarketView: Send + Sync {
    /// The instruments as they are now.
    fn table(&self) -> Arc<InstrumentTable>;
    /// Best prices, waited for up to `limit`; empty when the book is not trusted by then. Starts the
    /// stream when nobody has yet.
    fn touch(&self, instrument: InstrumentId, limit: Duration) -> LocalBoxFuture<'static, Touch>;
    /// Has the desk of a paper account do something, next to the instrument's book.
    fn paper(&self, command: PaperCommand) -> LocalBoxFuture<'static, Result<(), CryptoError>>;
    /// When a perpetual's funding is settled next, where known.
    fn next_funding(&self, instrument: InstrumentId) -> Option<TsNanos>;
}
