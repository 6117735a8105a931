//! Which bars of a series are missing, and why.

use std::sync::Arc;

use bookwire_engine::error::CryptoError;
use bookwire_engine::instrument::Instrument;
use bookwire_engine::store::{Entity, KlineQuery, Series, Span, StoreReader, TimeWindow};
use bookwire_engine::time::{Level, TsNanos};

use crate::gateway::Gateway;
use crate::history::missing;
use crate::uptime::Outage;

/// Bars that one question may be about.
pub const BARS_MAX: i64 = 100_000;
/// Rows read at once.
const ROWS: usize = 10_000;

/// Why bars are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GapReason {
    /// The exchange has been asked and has none: nothing traded, or the instrument was not listed.
    NoTrades,
    /// They are in quarantine.
    Quarantined,
    /// This program did not run.
    BookwireDown,
    /// The exchange could not be reached, or was being maintained.
    ExchangeDown,
    /// Nobody has wanted them so far.
    NotCollected,
}

impl GapReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::NoTrades,
        Self::Quarantined,
        Self::BookwireDown,
        Self::ExchangeDown,
        Self::NotCollected,
    ];

    /// The public name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTrades => "no_trades",
            Self::Quarantined => "quarantined",
            Self::BookwireDown => "bookwire_down",
            Self::ExchangeDown => "exchange_down",
            Self::NotCollected => "not_collected",
        }
    }
}

/// Bars in a row that are missing for one reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Open time of the first.
    pub first: TsNanos,
    /// Open time of the last.
    pub last: TsNanos,
    /// How many they are.
    pub bars: i64,
    /// Why.
    pub reason: GapReason,
}

/// What is there of a span and what is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GapReport {
    /// What is missing, ascending.
    pub gaps: Vec<Gap>,
    /// Bars that fit into the span.
    pub expected: i64,
    /// Of these, stored.
    pub present: i64,
}

impl GapReport {
    /// Bars that there never were.
    #[must_use]
    pub fn without_trades(&self) -> i64 {
        let quiet = self
            .gaps
            .iter()
            .filter(|gap| gap.reason == GapReason::NoTrades);
        quiet.map(|gap| gap.bars).sum()
    }

    /// Percent of the bars that are stored or proven not to exist; all of none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
    pub fn completeness_pct(&self) -> f64 {
        match self.expected {
            0 => 100.0,
            expected => (self.present + self.without_trades()) as f64 * 100.0 / expected as f64,
        }
    }
}

impl Gateway {
    /// The whole bars of a level that lie within two open times, both included, and are over.
    #[must_use]
    pub fn whole_bars(&self, level: Level, start: TsNanos, end: TsNanos) -> Span {
        let step = level.nanos();
        let after = TsNanos(end.0.saturating_add(1));
        let up = |ts: TsNanos| TsNanos(ts.0.saturating_add(step - 1)).floor_to(level);
        Span {
            start: up(start),
            end: up(after).min(self.0.history.settled(Series::Klines(level))),
        }
    }

    /// Fetches and stores the bars of a span that are missing, those in quarantine too.
    ///
    /// # Errors
    /// Why not all could be had; pages before are stored.
    pub async fn repair_bars(
        &self,
        instrument: &Arc<Instrument>,
        level: Level,
        span: Span,
    ) -> Result<(), CryptoError> {
        self.check_enabled(instrument.spec.provider)?;
        let series = Series::Klines(level);
        self.0.history.repair(self, instrument, series, span).await
    }

    /// What is missing of the bars of a span of [`Gateway::whole_bars`], and why.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn gaps(
        &self,
        instrument: &Arc<Instrument>,
        level: Level,
        span: Span,
    ) -> Result<GapReport, CryptoError> {
        let present = self.open_times(instrument, level, span).await?;
        let unproven = missing(self, instrument, Series::Klines(level), span).await?;
        let refused = self
            .0
            .quarantine
            .spans(&Entity::of(instrument), level, span);
        let (provider, market) = (instrument.spec.provider.name(), instrument.spec.market);
        let outages = self.0.uptime.outages(provider, market, span);
        let reason = move |bar: Span| {
            let touches = |span: &Span| span.start < bar.end && bar.start < span.end;
            if refused.iter().any(|span| span.start == bar.start) {
                return GapReason::Quarantined;
            }
            if !unproven.iter().any(touches) {
                return GapReason::NoTrades;
            }
            match outages.iter().find(|(span, _)| touches(span)) {
                Some((_, Outage::Bookwire)) => GapReason::BookwireDown,
                Some((_, Outage::Exchange)) => GapReason::ExchangeDown,
                None => GapReason::NotCollected,
            }
        };
        // Up to 100,000 bars are looked at: not on a thread with sockets to serve.
        let compare = move |_: &dyn StoreReader| Ok(report(&present, level, span, reason));
        self.query_store(compare).await
    }

    /// Open times of the stored bars of a span, ascending.
    async fn open_times(
        &self,
        instrument: &Arc<Instrument>,
        level: Level,
        span: Span,
    ) -> Result<Vec<TsNanos>, CryptoError> {
        let mut found = Vec::new();
        let mut at = span.start;
        let last = TsNanos(span.end.0.saturating_sub(1));
        while at <= last {
            let query = KlineQuery {
                provider: instrument.spec.provider.name().to_owned(),
                entity_ids: vec![instrument.entity_id()],
                level,
                window: TimeWindow::between(at, last, ROWS),
            };
            let rows = self
                .query_store(move |reader| reader.klines(&query))
                .await?;
            let count = rows.len();
            found.extend(rows.into_iter().map(|row| row.ts));
            match found.last() {
                Some(ts) if count == ROWS => at = TsNanos(ts.0.saturating_add(1)),
                _ => break,
            }
        }
        Ok(found)
    }
}

/// Compares what is there with what there could be.
fn report(
    present: &[TsNanos],
    level: Level,
    span: Span,
    reason: impl Fn(Span) -> GapReason,
) -> GapReport {
    let step = level.nanos();
    let mut report = GapReport {
        gaps: Vec::new(),
        expected: (span.end.0.saturating_sub(span.start.0) / step).max(0),
        present: 0,
    };
    let mut stored = present.iter().peekable();
    for index in 0..report.expected {
        let open = TsNanos(span.start.0 + index * step);
        // Stored rows that are no bars of the level's grid count for nothing.
        while stored.next_if(|ts| **ts < open).is_some() {}
        if stored.next_if(|ts| **ts == open).is_some() {
            report.present += 1;
            continue;
        }
        let bar = Span {
            start: open,
            end: TsNanos(open.0 + step),
        };
        let reason = reason(bar);
        match report.gaps.last_mut() {
            Some(gap) if gap.reason == reason && gap.last.0 + step == open.0 => {
                gap.last = open;
                gap.bars += 1;
            }
            _ => report.gaps.push(Gap {
                first: open,
                last: open,
                bars: 1,
                reason,
            }),
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: i64 = 60_000_000_000;

    fn check(present: &[i64], count: i64, quiet: &[i64]) -> GapReport {
        let minute = |minute: &i64| TsNanos(minute * MINUTE);
        let present: Vec<TsNanos> = present.iter().map(minute).collect();
        let span = Span {
            start: TsNanos(0),
            end: TsNanos(count * MINUTE),
        };
        report(&present, Level::M1, span, |bar| {
            match quiet.contains(&(bar.start.0 / MINUTE)) {
                true => GapReason::NoTrades,
                false => GapReason::NotCollected,
            }
        })
    }

    #[test]
    fn gaps_are_joined_by_their_reason() {
        let report = check(&[0, 1, 4, 8], 10, &[5, 9]);
        let gaps: Vec<(i64, i64, i64, GapReason)> = report
            .gaps
            .iter()
            .map(|gap| {
                (
                    gap.first.0 / MINUTE,
                    gap.last.0 / MINUTE,
                    gap.bars,
                    gap.reason,
                )
            })
            .collect();
        assert_eq!(
            gaps,
            [
                (2, 3, 2, GapReason::NotCollected),
                (5, 5, 1, GapReason::NoTrades),
                (6, 7, 2, GapReason::NotCollected),
                (9, 9, 1, GapReason::NoTrades),
            ]
        );
        assert_eq!((report.expected, report.present), (10, 4));
        assert!((report.completeness_pct() - 60.0).abs() < 1e-9);
        assert!((check(&[], 0, &[]).completeness_pct() - 100.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn every_bar_is_present_or_in_one_gap(
            present in prop::collection::btree_set(0i64..60, 0..60),
            quiet in prop::collection::vec(0i64..60, 0..30),
        ) {
            let present: Vec<i64> = present.into_iter().collect();
            let report = check(&present, 60, &quiet);
            let mut bars: Vec<i64> = present.clone();
            for gap in &report.gaps {
                let (first, last) = (gap.first.0 / MINUTE, gap.last.0 / MINUTE);
                prop_assert_eq!(last - first + 1, gap.bars);
                bars.extend(first..=last);
            }
            bars.sort_unstable();
            prop_assert_eq!(bars, (0..60).collect::<Vec<i64>>());
            prop_assert_eq!(report.present, i64::try_from(present.len()).unwrap());
        }
    }
}
