//! Longer bars out of stored minutes, the same for all stores.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::answer::Answer;
use super::row::wide_decimal;
use super::{
    Entity, KlineQuery, KlineRow, Order, Series, Span, StoreError, StoreReader, TimeWindow,
};
use crate::time::{Level, TsNanos};

/// Minutes that are read at a time; more than a day, so that each page ends a bar.
const PAGE: usize = 10_000;

/// See [`StoreReader::rolled_up`].
pub(super) fn rolled_up<R: StoreReader + ?Sized>(
    reader: &R,
    query: &KlineQuery,
) -> Result<Vec<KlineRow>, StoreError> {
    let mut answer = Answer::new(query.window, |a: &KlineRow, b| {
        (a.ts, &a.entity).cmp(&(b.ts, &b.entity))
    });
    let ids: BTreeSet<&String> = query.entity_ids.iter().collect();
    for entity_id in ids {
        let mut walk = Walk {
            reader,
            provider: &query.provider,
            entity_id,
            level: query.level,
            window: query.window,
        };
        walk.bars(&mut answer.rows)?;
        answer.entity_done();
    }
    Ok(answer.finish())
}

/// Goes through an entity's minutes in the direction of the window.
struct Walk<'q, R: ?Sized> {
    reader: &'q R,
    provider: &'q str,
    entity_id: &'q String,
    level: Level,
    window: TimeWindow,
}

impl<R: StoreReader + ?Sized> Walk<'_, R> {
    /// Adds the first bars of the window's direction, as many as its limit.
    fn bars(&mut self, out: &mut Vec<KlineRow>) -> Result<(), StoreError> {
        let length = self.level.nanos();
        let backwards = self.window.is_scanned_backwards();
        // Of open times of bars to those of minutes: the first bar that begins in the window, the
        // last minute of the last one.
        let mut start = self
            .window
            .start
            .map(|ts| TsNanos(ts.0.saturating_add(length - 1)).floor_to(self.level));
        let mut end = self
            .window
            .end
            .map(|ts| TsNanos(ts.floor_to(self.level).0.saturating_add(length - 1)));
        let mut left = self.window.limit;
        while left > 0 {
            let mut minutes = self.page(start, end)?;
            let is_last = minutes.len() < PAGE;
            if backwards {
                minutes.reverse();
            }
            let cut = match (backwards, minutes.first(), minutes.last()) {
                (true, Some(edge), _) | (false, _, Some(edge)) => edge.ts.floor_to(self.level),
                _ => return Ok(()),
            };
            if !is_last {
                // The bar at the edge goes on outside of the page: it is read with the next one.
                minutes.retain(|minute| minute.ts.floor_to(self.level) != cut);
            }
            let mut bars = self.complete(&minutes)?;
            if backwards {
                bars.drain(..bars.len().saturating_sub(left));
                end = Some(TsNanos(cut.0.saturating_add(length - 1)));
            } else {
                bars.truncate(left);
                start = Some(cut);
            }
            left -= bars.len();
            out.extend(bars);
            if is_last {
                break;
            }
        }
        Ok(())
    }

    /// The next minutes in the direction of the walk.
    fn page(
        &self,
        start: Option<TsNanos>,
        end: Option<TsNanos>,
    ) -> Result<Vec<KlineRow>, StoreError> {
        let order = match self.window.is_scanned_backwards() {
            true => Order::Descending,
            false => Order::Ascending,
        };
        self.reader.klines(&KlineQuery {
            provider: self.provider.to_owned(),
            entity_ids: vec![self.entity_id.clone()],
            level: Level::M1,
            window: TimeWindow {
                start,
                end,
                limit: PAGE,
                order,
            },
        })
    }

    /// The bars of ascending minutes of which none can be missing.
    fn complete(&self, minutes: &[KlineRow]) -> Result<Vec<KlineRow>, StoreError> {
        let (Some(first), Some(last)) = (minutes.first(), minutes.last()) else {
            return Ok(Vec::new());
        };
        let length = self.level.nanos();
        let span = Span {
            start: first.ts.floor_to(self.level),
            end: TsNanos(last.ts.floor_to(self.level).0.saturating_add(length)),
        };
        let series = Series::Klines(Level::M1);
        let gaps = self
            .reader
            .missing(self.provider, self.entity_id, series, span)?;
        let mut bars = Vec::new();
        for part in minutes.chunk_by(|a, b| a.ts.floor_to(self.level) == b.ts.floor_to(self.level))
        {
            if is_complete(part, self.level, &gaps) {
                bars.extend(add_up(part, self.level)?);
            }
        }
        Ok(bars)
    }
}

/// Whether each minute of a bar is there, or promised and so known not to be.
fn is_complete(part: &[KlineRow], level: Level, gaps: &[Span]) -> bool {
    let (minute, length) = (Level::M1.nanos(), level.nanos());
    if i64::try_from(part.len()).is_ok_and(|count| count == length / minute) {
        return true;
    }
    let Some(open) = part.first().map(|row| row.ts.floor_to(level).0) else {
        return false;
    };
    let end = open.saturating_add(length);
    // Only what is missing has to be looked at.
    let first = gaps.partition_point(|gap| gap.end.0 <= open);
    let inside = gaps[first..].iter().take_while(|gap| gap.start.0 < end);
    inside.into_iter().all(|gap| {
        let from = TsNanos(gap.start.0.max(open)).floor_to(Level::M1).0;
        let mut at = from;
        while at < gap.end.0.min(end) {
            if part.binary_search_by_key(&at, |row| row.ts.0).is_err() {
                return false;
            }
            at += minute;
        }
        true
    })
}

/// The bar of the minutes of its time, ascending.
///
/// Prices are those of the traded minutes: one without volume repeats an older price. Where a part of
/// a sum is not known, the sum is not.
fn add_up(part: &[KlineRow], level: Level) -> Result<Option<KlineRow>, StoreError> {
    let is_traded = |row: &&KlineRow| !row.volume_base.is_zero();
    let any = part.iter().any(|row| is_traded(&row));
    let mut prices = part.iter().filter(|row| !any || is_traded(row));
    let Some(first) = prices.next() else {
        return Ok(None);
    };
    let mut bar = KlineRow {
        entity: Arc::clone(&first.entity),
        level,
        ts: first.ts.floor_to(level),
        volume_base: Decimal::ZERO,
        volume_quote: Some(Decimal::ZERO),
        trade_count: Some(0),
        ..first.clone()
    };
    for row in prices {
        bar.high = bar.high.max(row.high);
        bar.low = bar.low.min(row.low);
        bar.close = row.close;
    }
    for row in part {
        let overflow = |name: &str| too_large(&bar.entity, bar.ts, name);
        bar.volume_base =
            sum(bar.volume_base, row.volume_base).ok_or_else(|| overflow("volume_base"))?;
        bar.volume_quote = match (bar.volume_quote, row.volume_quote) {
            (Some(a), Some(b)) => Some(sum(a, b).ok_or_else(|| overflow("volume_quote"))?),
            _ => None,
        };
        bar.trade_count = match (bar.trade_count, row.trade_count) {
            (Some(a), Some(b)) => Some(a.checked_add(b).ok_or_else(|| overflow("trade_count"))?),
            _ => None,
        };
    }
    Ok(Some(bar))
}

fn too_large(entity: &Entity, ts: TsNanos, name: &str) -> StoreError {
    StoreError::InvalidRow {
        entity_id: entity.entity_id.clone(),
        reason: format!(
            "the sum of {name} of the bar at {} needs more digits than a number can have",
            ts.to_rfc3339_seconds()
        ),
    }
}

/// The exact sum; `None`: it needs more than 96 bits. The library's own addition would round.
fn sum(a: Decimal, b: Decimal) -> Option<Decimal> {
    let (a, b) = (a.normalize(), b.normalize());
    let scale = a.scale().max(b.scale());
    let at_scale = |value: Decimal| {
        let factor = 10i128.checked_pow(scale - value.scale())?;
        value.mantissa().checked_mul(factor)
    };
    let mantissa = at_scale(a)?.checked_add(at_scale(b)?)?;
    wide_decimal(mantissa, scale).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_or_none() {
        let dec = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(sum(dec("0.1"), dec("0.20")), Some(dec("0.3")));
        assert_eq!(sum(Decimal::MAX, Decimal::ZERO), Some(Decimal::MAX));
        assert_eq!(sum(Decimal::MAX, Decimal::ONE), None);
        let tiny = dec("0.0000000000000000000000000001");
        assert_eq!(
            sum(dec("7"), tiny),
            Some(dec("7.0000000000000000000000000001"))
        );
        assert_eq!(sum(dec("8"), tiny), None, "97 bits, which + would round");
        assert_eq!(sum(Decimal::MAX, tiny), None);
    }
}
