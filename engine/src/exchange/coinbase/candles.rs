//! Bars of the `candles` channel: five-minute buckets that never say that they are over.
//!
//! A bucket is over when a later one appears, so the last bar of each instrument is kept. The image
//! that a subscription begins with holds the buckets of the hours before: those that ended since the
//! last bar told on the connection are closed with it, each once.

use ahash::AHashMap;

use crate::event::{Event, EventSink, Kline, Skipped};
use crate::exchange::DecodeError;
use crate::instrument::InstrumentId;
use crate::time::{Level, TsNanos};

use super::symbols::Symbol;
use super::wire::CandleRow;

/// The only level that is streamed.
pub(super) const STREAMED: Level = Level::M5;

/// A bar out of a row. Coinbase tells neither its value in quote units nor its number of matches.
///
/// # Errors
/// [`DecodeError`] when a number can't be read or does not fit.
pub(super) fn kline(
    row: &CandleRow<'_>,
    symbol: Symbol,
    level: Level,
    ts_event: TsNanos,
) -> Result<Kline, DecodeError> {
    let start = row.start.parse::<i64>().ok();
    let open_time = start.and_then(|secs| secs.checked_mul(1_000_000_000));
    Ok(Kline {
        level,
        open_time: TsNanos(open_time.ok_or(DecodeError::Field { field: "start" })?),
        open: symbol.price(&row.open, "open")?,
        high: symbol.price(&row.high, "high")?,
        low: symbol.price(&row.low, "low")?,
        close: symbol.price(&row.close, "close")?,
        volume: symbol.qty(&row.volume, "volume")?,
        volume_quote: None,
        trade_count: None,
        is_closed: false,
        ts_event,
    })
}

/// The last bar of each instrument of a connection.
#[derive(Debug, Default)]
pub(super) struct LastBars(AHashMap<InstrumentId, Kline>);

impl LastBars {
    /// Tells what the bars of one event mean. `is_image`: they are the past that a subscription
    /// begins with.
    pub(super) fn take(
        &mut self,
        mut bars: Vec<(InstrumentId, Kline)>,
        is_image: bool,
        sink: &mut dyn EventSink,
    ) {
        bars.sort_by_key(|(id, bar)| (*id, bar.open_time));
        for (at, &(id, bar)) in bars.iter().enumerate() {
            let is_newest = bars.get(at + 1).is_none_or(|(next, _)| *next != id);
            match self.0.get_mut(&id) {
                Some(last) if bar.open_time < last.open_time => sink.skipped(Skipped::History),
                None if is_image && !is_newest => sink.skipped(Skipped::History),
                Some(last) => {
                    if bar.open_time > last.open_time {
                        let closed = Kline {
                            is_closed: true,
                            ts_event: bar.ts_event,
                            ..*last
                        };
                        sink.event(id, Event::Kline(closed));
                    }
                    *last = bar;
                    sink.event(id, Event::Kline(bar));
                }
                None => {
                    self.0.insert(id, bar);
                    sink.event(id, Event::Kline(bar));
                }
            }
        }
    }
}
