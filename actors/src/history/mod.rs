//! History on demand: what a query needs and the store does not hold is fetched from the exchange,
//! stored with a promise of completeness, and then read like everything else.
//!
//! Only what is over is stored: the forming bar and the last two seconds are left to the live
//! streams.

pub mod backfill;
pub(crate) mod bars;
pub mod gaps;
pub(crate) mod pages;

use std::sync::Arc;

use ahash::AHashMap;
use bookwire_engine::error::CryptoError;
use bookwire_engine::instrument::{Instrument, InstrumentId};
use bookwire_engine::store::{
    CoverageRow, Entity, KlineQuery, Order, Row, Series, Span, StoreError, StoreReader, TimeWindow,
    TradeQuery,
};
use bookwire_engine::time::{Level, TsNanos};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::quarantine::Quarantine;
use crate::recorder::Recorder;
use crate::rest_client::RestClient;
use crate::rest_client::budget::Priority;
use pages::{Page, Pages};

/// What ended less than this ago may not be final at the exchange yet, nanoseconds.
const SETTLE_NANOS: i64 = 2_000_000_000;
/// Trades stored up to so long ago count as the latest: live ones are being recorded, or the exchange was asked
/// just now. It is not asked again for each question of a client that polls.
const RECENT_NANOS: i64 = 3_000_000_000;
/// Length of an hour, nanoseconds.
const HOUR_NANOS: i64 = 3_600_000_000_000;
/// Funding is settled this often where the exchange does not say, hours.
const FUNDING_HOURS: i64 = 8;

/// Rows of a query, and why they may not be all: a provider that can't be reached does not hide
/// what is stored.
#[derive(Clone, Debug)]
pub struct Rows<T> {
    /// What the store holds now.
    pub rows: Vec<T>,
    /// Why something that the provider has could not be fetched.
    pub incomplete: Option<CryptoError>,
}

type Turn = Arc<tokio::sync::Mutex<()>>;

/// Fetches history. One fetch of a series at a time: a second query waits and finds it stored.
pub struct History {
    rest: RestClient,
    recorder: Option<Recorder>,
    clock: Arc<dyn Clock>,
    quarantine: Quarantine,
    turns: Mutex<AHashMap<(InstrumentId, Series), Turn>>,
}

/// What a step of a long fetch did.
pub(crate) struct Step {
    /// Where the next one begins.
    pub(crate) reached: TsNanos,
    /// Rows that came.
    pub(crate) rows: usize,
    /// From which id trades go on.
    pub(crate) hint: Option<(TsNanos, u64)>,
    /// What was missing before it, nanoseconds.
    pub(crate) missing: i64,
    /// Holes between what the store has, seen before it.
    pub(crate) holes: usize,
}

/// A part of a series that has to be in the store.
pub(crate) struct Need {
    entity_id: String,
    series: Series,
    span: Span,
    refused: Vec<Span>,
}

impl Need {
    /// Whether the store promises all of it.
    ///
    /// # Errors
    /// The store fails.
    pub(crate) fn is_met(
        &self,
        reader: &dyn StoreReader,
        provider: &str,
    ) -> Result<bool, StoreError> {
        let missing = reader.missing(provider, &self.entity_id, self.series, self.span)?;
        Ok(without(missing, &self.refused).is_empty())
    }
}

impl History {
    pub(crate) fn new(
        rest: RestClient,
        recorder: Option<Recorder>,
        clock: Arc<dyn Clock>,
        quarantine: Quarantine,
    ) -> Self {
        Self {
            rest,
            recorder,
            clock,
            quarantine,
            turns: Mutex::default(),
        }
    }

    /// One fetch of a series at a time.
    fn turn(&self, instrument: &Instrument, series: Series) -> Turn {
        let mut turns = self.turns.lock();
        turns.entry((instrument.id, series)).or_default().clone()
    }

    /// What is over and final by now.
    pub(crate) fn settled(&self, series: Series) -> TsNanos {
        let settled = TsNanos(self.clock.now().0.saturating_sub(SETTLE_NANOS));
        match series {
            Series::Klines(level) => settled.floor_to(level),
            Series::Trades | Series::Funding => settled,
        }
    }

    fn pages<'a>(
        &'a self,
        instrument: &'a Arc<Instrument>,
        series: Series,
        priority: Priority,
    ) -> Pages<'a> {
        Pages {
            rest: &self.rest,
            instrument,
            series,
            priority,
            quarantine: &self.quarantine,
            now: TsNanos(self.clock.now().0.saturating_sub(SETTLE_NANOS)),
            hint: None,
        }
    }

    /// Fetches and stores all that is missing of a span, what is in quarantine too.
    ///
    /// # Errors
    /// Why it could not be fetched or stored; the pages before are stored.
    pub(crate) async fn repair(
        &self,
        gateway: &Gateway,
        instrument: &Arc<Instrument>,
        series: Series,
        span: Span,
    ) -> Result<(), CryptoError> {
        let end = span.end.min(self.settled(series));
        let mut at = span.start;
        while at < end {
            let span = Span { start: at, end };
            let turn = self.turn(instrument, series);
            let _turn = turn.lock().await;
            let missing = missing(gateway, instrument, series, span).await?;
            let Some(gap) = missing.first() else { break };
            let mut pages = self.pages(instrument, series, Priority::Background);
            let page = pages.fetch(*gap).await?;
            at = page.reached;
            self.store(instrument, series, page).await?;
            self.settle().await?;
        }
        Ok(())
    }

    /// Fetches and stores the first page of what is missing of a span, or with `is_anew` of the
    /// span, at the lowest priority. `None`: nothing is missing.
    pub(crate) async fn step(
        &self,
        gateway: &Gateway,
        instrument: &Arc<Instrument>,
        series: Series,
        span: Span,
        hint: Option<(TsNanos, u64)>,
        is_anew: bool,
    ) -> Result<Option<Step>, CryptoError> {
        // Takes no turn: it may wait long for its share of the budget, and a query must not wait
        // with it. That both fetch a page once in a while does no harm.
        let gaps = match is_anew {
            true if span.is_empty() => Vec::new(),
            true => vec![span],
            false => self.wanted(gateway, instrument, series, span).await?,
        };
        let Some(gap) = gaps.first() else {
            return Ok(None);
        };
        let mut pages = self.pages(instrument, series, Priority::Backfill);
        pages.hint = hint;
        let page = pages.fetch(*gap).await?;
        let (reached, rows, hint) = (page.reached, page.rows.len(), pages.hint);
        self.store(instrument, series, page).await?;
        let lengths = gaps.iter().map(|gap| gap.end.0.saturating_sub(gap.start.0));
        let is_hole = |gap: &&Span| gap.start > span.start && gap.end < span.end;
        Ok(Some(Step {
            reached,
            rows,
            hint,
            missing: lengths.sum(),
            holes: gaps.iter().filter(is_hole).count(),
        }))
    }

    /// Where the latest `count` trades of a span begin, and from which id they can be had.
    pub(crate) async fn latest_trades(
        &self,
        instrument: &Arc<Instrument>,
        span: Span,
        count: usize,
    ) -> Result<(TsNanos, Option<(TsNanos, u64)>), CryptoError> {
        let mut pages = self.pages(instrument, Series::Trades, Priority::Backfill);
        let start = pages.latest_start(span, count).await?;
        Ok((start, pages.hint))
    }

    async fn store(
        &self,
        instrument: &Instrument,
        series: Series,
        page: Page,
    ) -> Result<(), CryptoError> {
        match &self.recorder {
            Some(recorder) => store(recorder, instrument, series, page).await,
            None => Ok(()),
        }
    }

    async fn settle(&self) -> Result<(), CryptoError> {
        match &self.recorder {
            Some(recorder) => recorder.settle().await,
            None => Ok(()),
        }
    }

    /// What is missing of a span and worth a request: what is in quarantine has had one.
    async fn wanted(
        &self,
        gateway: &Gateway,
        instrument: &Arc<Instrument>,
        series: Series,
        span: Span,
    ) -> Result<Vec<Span>, CryptoError> {
        let missing = missing(gateway, instrument, series, span).await?;
        let Series::Klines(level) = series else {
            return Ok(missing);
        };
        let entity = Entity::of(instrument);
        let refused = self.quarantine.spans(&entity, level, span);
        Ok(without(missing, &refused))
    }

    /// The part of a series that `window` can show and that has to be in the store; `None`: whatever is
    /// there is all that there can be.
    fn needed(
        &self,
        gateway: &Gateway,
        instrument: &Instrument,
        series: Series,
        window: TimeWindow,
    ) -> Option<Span> {
        self.recorder.as_ref()?;
        gateway.options().provider(instrument.spec.provider)?;
        needed(instrument, series, window, self.clock.now())
    }

    /// What has to be promised before the store alone can answer `window`: what is in quarantine aside.
    pub(crate) fn needs(
        &self,
        gateway: &Gateway,
        instrument: &Instrument,
        series: Series,
        window: TimeWindow,
    ) -> Option<Need> {
        let span = self.needed(gateway, instrument, series, window)?;
        let refused = match series {
            Series::Klines(level) => self.quarantine.spans(&Entity::of(instrument), level, span),
            Series::Trades | Series::Funding => Vec::new(),
        };
        Some(Need {
            entity_id: instrument.entity_id(),
            series,
            span,
            refused,
        })
    }

    /// Sees to it that the store holds all that `window` can show of a series.
    ///
    /// # Errors
    /// Why the provider's part could not be fetched or stored.
    pub async fn ensure(
        &self,
        gateway: &Gateway,
        instrument: &Arc<Instrument>,
        series: Series,
        window: TimeWindow,
    ) -> Result<(), CryptoError> {
        let Some(recorder) = &self.recorder else {
            return Ok(());
        };
        let Some(span) = self.needed(gateway, instrument, series, window) else {
            return Ok(());
        };
        let turn = self.turn(instrument, series);
        let _turn = turn.lock().await;
        let mut pages = self.pages(instrument, series, Priority::Background);
        let mut missing = self.wanted(gateway, instrument, series, span).await?;
        if series == Series::Trades && window.start.is_none() {
            // The latest trades: those that the store has count, and only what leads up to the end
            // is worth fetching, else each query would dig deeper into the past.
            if has_latest(gateway, instrument, window, span.end).await? {
                return Ok(());
            }
            missing.retain(|gap| gap.end == span.end);
            for gap in &mut missing {
                gap.start = pages.latest_start(*gap, window.limit).await?;
            }
        }
        // Pages overlap where several trades share an instant: one page more than the limit.
        let mut room = window.limit.saturating_add(1000);
        let is_complete = missing.is_empty();
        for gap in missing {
            if let Series::Klines(level) = series
                && self.roll_up(gateway, instrument, level, gap).await?
            {
                continue;
            }
            let mut at = gap;
            while !at.is_empty() && room > 0 {
                let page = pages.fetch(at).await?;
                // Trades are as many as they are: no more than the query can show.
                if series == Series::Trades {
                    room = room.saturating_sub(page.rows.len());
                }
                at.start = page.reached;
                store(recorder, instrument, series, page).await?;
            }
        }
        match is_complete {
            true => Ok(()),
            false => recorder.settle().await,
        }
    }

    /// Adds up bars whose minutes are all stored, instead of fetching them. False: they are not.
    async fn roll_up(
        &self,
        gateway: &Gateway,
        instrument: &Arc<Instrument>,
        level: Level,
        span: Span,
    ) -> Result<bool, CryptoError> {
        let minutes = Series::Klines(Level::M1);
        let (Some(recorder), false) = (&self.recorder, level == Level::M1) else {
            return Ok(false);
        };
        if !missing(gateway, instrument, minutes, span)
            .await?
            .is_empty()
        {
            return Ok(false);
        }
        let bars = span.end.0.saturating_sub(span.start.0) / level.nanos();
        let last = TsNanos(span.end.0.saturating_sub(1));
        let query = KlineQuery {
            provider: instrument.spec.provider.name().to_owned(),
            entity_ids: vec![instrument.entity_id()],
            level,
            window: TimeWindow::between(span.start, last, usize::try_from(bars).unwrap_or(0)),
        };
        let rows = gateway
            .query_store(move |reader| reader.rolled_up(&query))
            .await?;
        let page = Page {
            rows: rows.into_iter().map(Row::Kline).collect(),
            covered: vec![span],
            reached: span.end,
        };
        store(recorder, instrument, Series::Klines(level), page).await?;
        Ok(true)
    }
}

/// The part of a series that a window can show and that is over; `None`: nothing.
fn needed(
    instrument: &Instrument,
    series: Series,
    window: TimeWindow,
    now: TsNanos,
) -> Option<Span> {
    let settled = TsNanos(now.0.saturating_sub(SETTLE_NANOS));
    let limit = i64::try_from(window.limit).unwrap_or(i64::MAX);
    // Both bounds of a window are inclusive, a span's end is not.
    let end = window
        .end
        .map_or(settled, |end| TsNanos(end.0.saturating_add(1)));
    let mut span = match series {
        Series::Klines(level) => {
            let step = level.nanos();
            let end = TsNanos(end.0.saturating_add(step - 1)).floor_to(level);
            let end = end.min(settled.floor_to(level));
            let reach = limit.saturating_mul(step);
            let start = match window.start {
                Some(start) => TsNanos(start.0.saturating_add(step - 1)).floor_to(level),
                None => TsNanos(end.0.saturating_sub(reach)),
            };
            cut(Span { start, end }, reach, window.order)
        }
        Series::Funding => {
            let hours = instrument
                .spec
                .funding_interval_hours
                .map_or(FUNDING_HOURS, i64::from);
            let reach = limit.saturating_mul(hours.saturating_mul(HOUR_NANOS));
            let end = end.min(settled);
            let start = window.start.unwrap_or(TsNanos(end.0.saturating_sub(reach)));
            Span { start, end }
        }
        Series::Trades => {
            let end = end.min(settled);
            // How far back the latest trades reach is not known before they are fetched.
            let start = window.start.unwrap_or(TsNanos(0));
            Span { start, end }
        }
    };
    span.start = span.start.max(TsNanos(0));
    (!span.is_empty()).then_some(span)
}

/// No more than `reach` of a span, at the side that is shown first.
fn cut(span: Span, reach: i64, order: Order) -> Span {
    match order {
        Order::Ascending => Span {
            end: span.end.min(TsNanos(span.start.0.saturating_add(reach))),
            ..span
        },
        Order::Descending => Span {
            start: span.start.max(TsNanos(span.end.0.saturating_sub(reach))),
            ..span
        },
    }
}

/// Spans without the parts that others hold; both ascending.
pub(crate) fn without(spans: Vec<Span>, others: &[Span]) -> Vec<Span> {
    let mut left = Vec::with_capacity(spans.len());
    for span in spans {
        let mut start = span.start;
        let overlapping = others
            .iter()
            .filter(|other| other.start < span.end && span.start < other.end);
        for other in overlapping {
            let end = other.start;
            left.push(Span { start, end });
            start = start.max(other.end);
        }
        let end = span.end;
        left.push(Span { start, end });
    }
    left.retain(|span| !span.is_empty());
    left
}

pub(crate) async fn missing(
    gateway: &Gateway,
    instrument: &Arc<Instrument>,
    series: Series,
    span: Span,
) -> Result<Vec<Span>, CryptoError> {
    let provider = instrument.spec.provider.name();
    let entity_id = instrument.entity_id();
    gateway
        .query_store(move |reader: &dyn StoreReader| {
            reader.missing(provider, &entity_id, series, span)
        })
        .await
}

/// True when the store has as many of the latest trades as are asked for, up to the present.
async fn has_latest(
    gateway: &Gateway,
    instrument: &Arc<Instrument>,
    window: TimeWindow,
    end: TsNanos,
) -> Result<bool, CryptoError> {
    let query = TradeQuery {
        provider: instrument.spec.provider.name().to_owned(),
        entity_ids: vec![instrument.entity_id()],
        window,
        side: None,
        min_volume: None,
    };
    let rows = gateway
        .query_store(move |reader| reader.trades(&query))
        .await?;
    let newest = rows.iter().map(|row| row.ts).max();
    let is_recent = newest.is_some_and(|ts| end.0.saturating_sub(ts.0) < RECENT_NANOS);
    Ok(is_recent && rows.len() >= window.limit)
}

/// Stores a page, and then the promise that nothing is missing in what it covers.
pub(crate) async fn store(
    recorder: &Recorder,
    instrument: &Instrument,
    series: Series,
    page: Page,
) -> Result<(), CryptoError> {
    let mut rows = page.rows;
    let entity = Entity::of(instrument);
    let promised = page.covered.into_iter().filter(|span| !span.is_empty());
    rows.extend(promised.map(|span| {
        let entity = entity.clone();
        Row::Coverage(CoverageRow {
            entity,
            series,
            span,
        })
    }));
    recorder.write(rows).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::{row, table};
    use bookwire_engine::instrument::Market;

    const MINUTE: i64 = 60_000_000_000;

    fn instrument() -> Arc<Instrument> {
        row(&table(Market::Perp), 0)
    }

    /// Window of minutes, now in milliseconds → span of minutes.
    fn check(
        window: (Option<i64>, Option<i64>, usize, Order),
        now_ms: i64,
        expected: Option<(i64, i64)>,
    ) {
        let (start, end, limit, order) = window;
        let window = TimeWindow {
            start: start.map(|minute| TsNanos(minute * MINUTE)),
            end: end.map(|minute| TsNanos(minute * MINUTE)),
            limit,
            order,
        };
        let now = TsNanos::from_ms(now_ms);
        let span = needed(&instrument(), Series::Klines(Level::M1), window, now);
        let minutes = span.map(|span| (span.start.0 / MINUTE, span.end.0 / MINUTE));
        assert_eq!(minutes, expected, "{window:?} at {now_ms}");
    }

    #[test]
    fn only_closed_bars_are_needed() {
        let up = Order::Ascending;
        let at = 100 * 60_000;
        // Both bounds inclusive; the bar that opens at the end belongs to it.
        check((Some(10), Some(19), 1000, up), at, Some((10, 20)));
        check((Some(10), Some(19), 3, up), at, Some((10, 13)));
        check(
            (Some(10), Some(19), 3, Order::Descending),
            at,
            Some((17, 20)),
        );
        // Minute 99 has just ended: it may not be final yet; minute 100 is forming.
        check((Some(98), None, 1000, up), at + 1_999, Some((98, 99)));
        check((Some(98), None, 1000, up), at + 2_000, Some((98, 100)));
        check((None, None, 5, up), at + 30_000, Some((95, 100)));
        check((None, Some(49), 5, up), at, Some((45, 50)));
        check((Some(100), None, 5, up), at + 30_000, None);
        check((Some(200), Some(300), 5, up), at, None);
        check((None, None, usize::MAX, up), at, Some((0, 99)));
    }

    #[test]
    fn parts_are_cut_out_of_spans() {
        let span = |start, end| Span {
            start: TsNanos(start),
            end: TsNanos(end),
        };
        let cut = |others: &[Span]| without(vec![span(0, 10), span(20, 30)], others);
        assert_eq!(cut(&[]), [span(0, 10), span(20, 30)]);
        assert_eq!(
            cut(&[span(2, 3), span(3, 5), span(9, 21), span(29, 40)]),
            [span(0, 2), span(5, 9), span(21, 29)]
        );
        assert_eq!(cut(&[span(0, 30)]), []);
    }

    #[test]
    fn funding_reaches_back_by_its_interval() {
        let now = TsNanos(HOUR_NANOS * 1000);
        let span = needed(&instrument(), Series::Funding, TimeWindow::latest(3), now).unwrap();
        assert_eq!(span.end, TsNanos(now.0 - SETTLE_NANOS));
        assert_eq!(span.end.0 - span.start.0, 24 * HOUR_NANOS);
    }
}
