//! Bars: built from trades, passed on from an exchange's own, rolled up to longer levels.
//!
//! Everything here takes time as an argument. A bar without a trade does not exist: builders make
//! no flat bars up.

mod live;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};

use crate::event::{Kline, Trade, TradeId};
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

pub use live::{PartsNeeded, RollUp, TradeBars, TradesNeeded};

/// Bars a [`KlineGate`] remembers as missed; older ones are given up.
pub const MISSED_BARS_MAX: usize = 2_000;

/// What became of a trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TradeOutcome {
    /// It is in its bar.
    Counted,
    /// Its bar has been closed already: it is in no bar.
    Late,
    /// The bar's volume would not fit its number: it is in no bar.
    Overflow,
}

/// Builds bars of one level out of trades of one instrument and one kind.
///
/// A bar stays open for `lateness` after its end, so that trades that arrive late still count; then
/// it is handed out closed, once. First and last price go by trade id, not by arrival.
#[derive(Clone, Debug)]
pub struct KlineBuilder {
    level: Level,
    lateness_ns: i64,
    /// Ascending by open time; the last one is the newest.
    open: VecDeque<Bar>,
    /// Bars that start before this are closed for good.
    closed_before: i64,
}

#[derive(Clone, Copy, Debug)]
struct Bar {
    kline: Kline,
    first: (TradeId, TsNanos),
    last: (TradeId, TsNanos),
}

impl Bar {
    fn start(level: Level, open_time: TsNanos, trade: &Trade, value: i128) -> Self {
        Self {
            kline: Kline {
                level,
                open_time,
                open: trade.price,
                high: trade.price,
                low: trade.price,
                close: trade.price,
                volume: trade.qty,
                volume_quote: Some(value),
                trade_count: Some(1),
                is_closed: false,
                ts_event: trade.ts_event,
            },
            first: (trade.trade_id, trade.ts_event),
            last: (trade.trade_id, trade.ts_event),
        }
    }

    /// Adds a trade; false when the volume would not fit.
    fn add(&mut self, trade: &Trade, value: i128) -> bool {
        let bar = &mut self.kline;
        let Some(volume) = bar.volume.0.checked_add(trade.qty.0) else {
            return false;
        };
        let Some(volume_quote) = bar.volume_quote.unwrap_or(0).checked_add(value) else {
            return false;
        };
        bar.volume = Qty(volume);
        bar.volume_quote = Some(volume_quote);
        bar.high = bar.high.max(trade.price);
        bar.low = bar.low.min(trade.price);
        bar.trade_count = bar.trade_count.map(|count| count + 1);
        bar.ts_event = bar.ts_event.max(trade.ts_event);
        let key = (trade.trade_id, trade.ts_event);
        if is_before(key, self.first) {
            self.first = key;
            bar.open = trade.price;
        }
        if !is_before(key, self.last) {
            self.last = key;
            bar.close = trade.price;
        }
        true
    }
}

/// The order of two trades: by number where ids are numbers, else by time. Of trades of the same
/// instant the one that came first is the earlier one.
fn is_before(trade: (TradeId, TsNanos), other: (TradeId, TsNanos)) -> bool {
    match (trade.0, other.0) {
        (TradeId::Number(id), TradeId::Number(other)) => id < other,
        _ => trade.1 < other.1,
    }
}

impl KlineBuilder {
    /// A builder whose bars wait `lateness_ns` nanoseconds after their end for late trades. The
    /// bars kept open are as many as fit that time; `i64::MAX` closes none before
    /// [`KlineBuilder::finish`].
    #[must_use]
    pub fn new(level: Level, lateness_ns: i64) -> Self {
        Self {
            level,
            lateness_ns: lateness_ns.max(0),
            open: VecDeque::new(),
            closed_before: i64::MIN,
        }
    }

    /// The level of its bars.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Puts a trade into its bar. Closes nothing: see [`KlineBuilder::close_due`].
    ///
    /// The caller keeps duplicates away; ids tell them.
    #[inline]
    pub fn on_trade(&mut self, trade: &Trade) -> TradeOutcome {
        let value = quote_value(trade.price, trade.qty);
        if let Some(bar) = self.open.back_mut() {
            let ahead = trade.ts_event.0.wrapping_sub(bar.kline.open_time.0);
            if (0..self.level.nanos()).contains(&ahead) {
                return match bar.add(trade, value) {
                    true => TradeOutcome::Counted,
                    false => TradeOutcome::Overflow,
                };
            }
        }
        self.on_other_bar(trade, value)
    }

    #[inline(never)]
    fn on_other_bar(&mut self, trade: &Trade, value: i128) -> TradeOutcome {
        let open_time = trade.ts_event.floor_to(self.level);
        if open_time.0 < self.closed_before {
            return TradeOutcome::Late;
        }
        let at = self
            .open
            .partition_point(|bar| bar.kline.open_time < open_time);
        match self.open.get_mut(at) {
            Some(bar) if bar.kline.open_time == open_time => match bar.add(trade, value) {
                true => TradeOutcome::Counted,
                false => TradeOutcome::Overflow,
            },
            _ => {
                let bar = Bar::start(self.level, open_time, trade, value);
                self.open.insert(at, bar);
                TradeOutcome::Counted
            }
        }
    }

    /// Hands out, oldest first and marked closed, every bar whose end lies at least the lateness
    /// before `now` (the exchange's clock: the newest event time seen, or a timer's).
    pub fn close_due(&mut self, now: TsNanos, mut close: impl FnMut(Kline)) {
        let due = now.0.saturating_sub(self.lateness_ns);
        if let Some(start) = due.checked_sub(self.level.nanos()) {
            let next = TsNanos(start).floor_to(self.level).0;
            let next = next.saturating_add(self.level.nanos());
            self.closed_before = self.closed_before.max(next);
        }
        while let Some(bar) = self.open.front() {
            if bar.kline.open_time.0 >= self.closed_before {
                return;
            }
            let mut kline = bar.kline;
            kline.is_closed = true;
            self.open.pop_front();
            close(kline);
        }
    }

    /// The newest bar, still open.
    #[must_use]
    pub fn forming(&self) -> Option<Kline> {
        self.open.back().map(|bar| bar.kline)
    }

    /// All bars that are still open, oldest first; every one but the newest is marked closed.
    #[must_use]
    pub fn finish(self) -> Vec<Kline> {
        let newest = self.open.len().saturating_sub(1);
        let close = |(index, bar): (usize, Bar)| Kline {
            is_closed: index < newest,
            ..bar.kline
        };
        self.open.into_iter().enumerate().map(close).collect()
    }
}

/// What to do with an exchange's own bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateOutcome {
    /// Pass it on: the bar is forming.
    Forming,
    /// Pass it on: the bar closed, and this is told once.
    Closed,
    /// Leave it out: the bar has been closed already, or something newer of it has been passed.
    Stale,
}

/// Bars that ended without their closing message: fetch them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissedBars {
    /// Open time of the first.
    pub first: TsNanos,
    /// Open time of the last.
    pub last: TsNanos,
}

/// Watches an exchange's own bars of one instrument and level: each open time is closed exactly
/// once, nothing of a bar follows its close, and bars whose close never came are told.
///
/// Fetched bars go through the same gate, so that a close that arrives twice, on the stream and by
/// request, is still passed once.
#[derive(Clone, Debug)]
pub struct KlineGate {
    level: Level,
    /// Newest bar seen and whether it is closed.
    newest: Option<(TsNanos, bool)>,
    newest_event: TsNanos,
    /// Open times before `newest` whose close has not been passed.
    missed: BTreeSet<TsNanos>,
}

impl KlineGate {
    /// A gate that has seen nothing.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            newest: None,
            newest_event: TsNanos::default(),
            missed: BTreeSet::new(),
        }
    }

    /// Judges a bar. The second value names the bars that this one shows to be missed, each told
    /// once; bars before the first one seen are not.
    pub fn on_kline(&mut self, kline: &Kline) -> (GateOutcome, Option<MissedBars>) {
        debug_assert_eq!(kline.level, self.level);
        let passed = match kline.is_closed {
            true => GateOutcome::Closed,
            false => GateOutcome::Forming,
        };
        match self.newest {
            Some((open_time, _)) if kline.open_time < open_time => {
                let is_awaited = kline.is_closed && self.missed.remove(&kline.open_time);
                let outcome = if is_awaited {
                    passed
                } else {
                    GateOutcome::Stale
                };
                (outcome, None)
            }
            Some((open_time, is_closed)) if kline.open_time == open_time => {
                let is_old = !kline.is_closed && kline.ts_event < self.newest_event;
                if is_closed || is_old {
                    return (GateOutcome::Stale, None);
                }
                self.newest = Some((open_time, kline.is_closed));
                self.newest_event = kline.ts_event;
                (passed, None)
            }
            _ => {
                let missed = self.step_to(kline.open_time, kline.is_closed, kline.ts_event);
                (passed, missed)
            }
        }
    }

    /// Makes a newer bar the newest; names those between it and the one before.
    fn step_to(
        &mut self,
        newest: TsNanos,
        is_closed: bool,
        ts_event: TsNanos,
    ) -> Option<MissedBars> {
        let step = self.level.nanos();
        let previous = self.newest.replace((newest, is_closed));
        self.newest_event = ts_event;
        let (open_time, was_closed) = previous?;
        let last = TsNanos(newest.0.saturating_sub(step));
        let oldest = (MISSED_BARS_MAX as i64 - 1).saturating_mul(step);
        let oldest = last.0.saturating_sub(oldest);
        let first = open_time
            .0
            .saturating_add(if was_closed { step } else { 0 });
        let missed = MissedBars {
            first: TsNanos(first.max(oldest)),
            last,
        };
        if missed.first > missed.last {
            return None;
        }
        let mut at = missed.first.0;
        while at <= missed.last.0 {
            self.missed.insert(TsNanos(at));
            at += step;
        }
        while self.missed.len() > MISSED_BARS_MAX {
            self.missed.pop_first();
        }
        Some(missed)
    }

    /// Takes note of a bar that has begun and can't be shown: its close will be missed if it does
    /// not come. Names the bars that are missed because of it, as [`KlineGate::on_kline`] does.
    pub fn expect(&mut self, open_time: TsNanos) -> Option<MissedBars> {
        match self.newest {
            Some((newest, _)) if open_time <= newest => None,
            _ => self.step_to(open_time, false, TsNanos::default()),
        }
    }

    /// Takes note that nothing was traded in the bars from `from` on and before `open_time` of
    /// which none has come: they are not missed.
    pub fn pass_empty(&mut self, from: TsNanos, open_time: TsNanos) {
        let step = self.level.nanos();
        if let Some((newest, true)) = self.newest {
            let next = newest.0.saturating_add(step);
            if from.0 <= next && next < open_time.0 {
                self.newest = Some((TsNanos(open_time.0 - step), true));
            }
        }
    }

    /// The level of its bars.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The newest bar, when it should have been closed `patience_ns` nanoseconds before `now` and
    /// was not: a quiet instrument's closing message can stay away until the next trade.
    #[must_use]
    pub fn overdue(&self, now: TsNanos, patience_ns: i64) -> Option<TsNanos> {
        let (open_time, is_closed) = self.newest?;
        let end = open_time.0.saturating_add(self.level.nanos());
        (!is_closed && end.saturating_add(patience_ns) <= now.0).then_some(open_time)
    }

    /// Open times whose close has been missed and not been passed since, oldest first.
    pub fn missed(&self) -> impl Iterator<Item = TsNanos> {
        self.missed.iter().copied()
    }
}

/// Why bars can't be rolled up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RollUpError {
    /// The longer level is not made of whole bars of the shorter.
    #[error("bars of {from} do not add up to {to}")]
    Level {
        /// Level of the bar at fault.
        from: Level,
        /// Level asked for.
        to: Level,
    },
    /// Open times do not ascend.
    #[error("bars are not in ascending order at {open_time:?}")]
    Order {
        /// Open time of the bar at fault.
        open_time: TsNanos,
    },
    /// A sum does not fit.
    #[error("the volume of the bar at {open_time:?} does not fit")]
    Overflow {
        /// Open time of the longer bar.
        open_time: TsNanos,
    },
}

/// Adds bars up to a longer level. `bars` ascend in time and have one level.
///
/// A longer bar is closed when a later bar follows it, or when the last bar inside its time is
/// closed and ends with it.
///
/// # Errors
/// [`RollUpError`] when levels or order do not fit, or a sum overflows.
pub fn roll_up(bars: &[Kline], level: Level) -> Result<Vec<Kline>, RollUpError> {
    let mut out: Vec<Kline> = Vec::new();
    let mut before: Option<&Kline> = None;
    for bar in bars {
        let from = bar.level;
        if level.nanos() % from.nanos() != 0 || before.is_some_and(|old| old.level != from) {
            return Err(RollUpError::Level { from, to: level });
        }
        if before.is_some_and(|old| old.open_time >= bar.open_time) {
            return Err(RollUpError::Order {
                open_time: bar.open_time,
            });
        }
        before = Some(bar);
        let open_time = bar.open_time.floor_to(level);
        let end = |open: TsNanos, level: Level| open.0.saturating_add(level.nanos());
        let is_closed = bar.is_closed && end(bar.open_time, from) == end(open_time, level);
        match out.last_mut() {
            Some(sum) if sum.open_time == open_time => {
                add_part(sum, bar)?;
                sum.is_closed = is_closed;
            }
            last => {
                if let Some(sum) = last {
                    sum.is_closed = true;
                }
                out.push(Kline {
                    level,
                    open_time,
                    is_closed,
                    ..*bar
                });
            }
        }
    }
    Ok(out)
}

/// Adds up bars whose time is over: the longer bars that end by `until`, all of them closed, each
/// built from the bars that exist. `bars` ascend, have one level and hold all that there are up to
/// `until`; where the first of them lies amid a longer bar, what it lacks is the caller's affair.
///
/// # Errors
/// As [`roll_up`].
pub fn roll_up_closed(
    bars: &[Kline],
    level: Level,
    until: TsNanos,
) -> Result<Vec<Kline>, RollUpError> {
    let mut out = roll_up(bars, level)?;
    out.retain(|bar| bar.open_time.0.saturating_add(level.nanos()) <= until.0);
    for bar in &mut out {
        bar.is_closed = true;
    }
    Ok(out)
}

/// Adds the bar that follows to a sum of bars; whether the sum is closed stays as it is.
fn add_part(sum: &mut Kline, part: &Kline) -> Result<(), RollUpError> {
    let overflow = RollUpError::Overflow {
        open_time: sum.open_time,
    };
    sum.high = sum.high.max(part.high);
    sum.low = sum.low.min(part.low);
    sum.close = part.close;
    let volume = sum.volume.0.checked_add(part.volume.0).ok_or(overflow)?;
    sum.volume = Qty(volume);
    // A sum of which a part is not known is not known.
    sum.volume_quote = match (sum.volume_quote, part.volume_quote) {
        (Some(sum), Some(part)) => Some(sum.checked_add(part).ok_or(overflow)?),
        _ => None,
    };
    sum.trade_count = match (sum.trade_count, part.trade_count) {
        (Some(sum), Some(part)) => Some(sum.saturating_add(part)),
        _ => None,
    };
    sum.ts_event = part.ts_event;
    Ok(())
}

/// Price × quantity as the sum behind [`Kline::volume_quote`]: scale `price_scale + qty_scale`.
#[must_use]
pub fn quote_value(price: Price, qty: Qty) -> i128 {
    i128::from(price.0) * i128::from(qty.0)
}
