//! Live bars that no exchange streams: built from trades, or added up from live shorter bars.
//!
//! Both begin amid a bar and may lose part of one. They say what they need of the past to be right
//! again, and hand out nothing of a bar that is not: whoever watches with a
//! [`KlineGate`](super::KlineGate) finds such a bar missing and fetches it when it is over.

#[cfg(test)]
#[path = "live_tests.rs"]
mod tests;

use std::collections::BTreeMap;

use crate::event::{Kline, Trade, TradeId};
use crate::time::{Level, TsNanos};

use super::{KlineBuilder, TradeOutcome, add_part};

/// The beginning of a bar that the stream did not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TradesNeeded {
    /// Open time of the bar: trades from here on …
    pub from: TsNanos,
    /// … up to this one, which the stream has shown.
    pub before: TradeId,
}

/// Bars of one level out of the live trades of one instrument.
///
/// A bar closes when a trade of a later one comes: within a connection trades come in order. That
/// a quiet bar's time is over proves nothing, for a connection can be deaf; such a bar is left to
/// those who look for overdue ones.
#[derive(Debug)]
pub struct TradeBars {
    builder: KlineBuilder,
    newest: TsNanos,
    /// Bars from this one on are whole; `None` until the first trade after a loss.
    whole_from: Option<TsNanos>,
    needed: Option<TradesNeeded>,
    is_changed: bool,
    late: u64,
}

impl TradeBars {
    /// No trade has come yet.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            builder: KlineBuilder::new(level, 0),
            newest: TsNanos::default(),
            whole_from: None,
            needed: None,
            is_changed: false,
            late: 0,
        }
    }

    /// Takes a trade; repeated ones are the caller's to keep away. True when
    /// [`TradeBars::drain`] has something to look at that it had not before.
    #[inline]
    pub fn on_trade(&mut self, trade: &Trade) -> bool {
        if self.whole_from.is_none() {
            let from = trade.ts_event.floor_to(self.builder.level());
            self.whole_from = Some(TsNanos(from.0.saturating_add(self.builder.level().nanos())));
            self.needed = Some(TradesNeeded {
                from,
                before: trade.trade_id,
            });
        }
        self.newest = self.newest.max(trade.ts_event);
        match self.builder.on_trade(trade) {
            TradeOutcome::Overflow => self.lose(),
            TradeOutcome::Late => self.late += 1,
            TradeOutcome::Counted => {}
        }
        !std::mem::replace(&mut self.is_changed, true)
    }

    /// Trades may be missing from here on, and before: no bar that is open now can be trusted.
    pub fn lose(&mut self) {
        *self = Self {
            late: self.late,
            ..Self::new(self.builder.level())
        };
    }

    /// Trades since the last call that came when their bar had been closed: it lacks them.
    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    /// What has to be known of the past before the running bar can be shown.
    #[must_use]
    pub fn needed(&self) -> Option<TradesNeeded> {
        self.needed
    }

    /// Bars from here on are whole, and one that does not exist had no trades.
    #[must_use]
    pub fn whole_from(&self) -> Option<TsNanos> {
        self.whole_from
    }

    /// Takes the trades that were needed. True when they came in time.
    pub fn on_needed(&mut self, needed: TradesNeeded, trades: &[Trade]) -> bool {
        if self.needed != Some(needed) {
            return false;
        }
        let fits = trades.iter().all(|trade| {
            trade.ts_event < needed.from || self.builder.on_trade(trade) == TradeOutcome::Counted
        });
        if !fits {
            // Its bar is over by now.
            self.needed = None;
            return false;
        }
        self.needed = None;
        self.whole_from = self.whole_from.map(|from| from.min(needed.from));
        self.is_changed = true;
        true
    }

    /// Hands out what has changed: bars that are over, oldest first, then the running one.
    pub fn drain(&mut self, mut out: impl FnMut(Kline)) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        let Some(whole_from) = self.whole_from else {
            return;
        };
        let is_right = |bar: &Kline| bar.open_time >= whole_from;
        self.builder.close_due(self.newest, |bar| {
            if is_right(&bar) {
                out(bar);
            }
        });
        if let Some(bar) = self.builder.forming().filter(is_right) {
            out(bar);
        }
        // A bar that is over is not worth its beginning any more.
        let running = self.newest.floor_to(self.builder.level());
        self.needed = self.needed.filter(|needed| needed.from >= running);
    }
}

/// The beginning of a longer bar that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartsNeeded {
    /// Open time of the longer bar: the shorter ones from here on …
    pub from: TsNanos,
    /// … up to the one that opens here, which is known.
    pub before: TsNanos,
}

/// Bars of one level as sums of live bars of a shorter one.
#[derive(Debug)]
pub struct RollUp {
    level: Level,
    /// Open time of the running bar.
    open_time: Option<TsNanos>,
    /// Its parts by open time: as many as fit into it at most.
    parts: BTreeMap<TsNanos, Kline>,
    /// Sum of all parts before the last one, while it is known: one addition an update.
    head: Option<Option<Kline>>,
    /// Parts before this one are not all known.
    unknown_before: Option<TsNanos>,
    /// Parts may be missing between the last one and the next; so they are before the first one.
    is_lost: bool,
}

impl RollUp {
    /// No part has come yet.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            open_time: None,
            parts: BTreeMap::new(),
            head: None,
            unknown_before: None,
            is_lost: true,
        }
    }

    /// Takes a shorter bar as its gate passes it, forming or closed. What it makes of it: the
    /// close of a bar that ended without one, and the running bar.
    pub fn on_part(&mut self, part: &Kline) -> [Option<Kline>; 2] {
        let open_time = part.open_time.floor_to(self.level);
        let mut ended = None;
        match self.open_time {
            // A bar that is over; whatever it lacked is fetched with it.
            Some(running) if open_time < running => return [None, None],
            Some(running) if open_time == running => {}
            _ => {
                let is_over = self.parts.values().all(|part| part.is_closed);
                ended = self.sum().filter(|_| is_over).map(|bar| Kline {
                    is_closed: true,
                    ..bar
                });
                self.open_time = Some(open_time);
                self.parts.clear();
                self.head = None;
                self.unknown_before = None;
            }
        }
        let newest = self.parts.last_key_value().map(|(at, _)| *at);
        let is_newest = newest.is_none_or(|at| at <= part.open_time);
        if self.is_lost && is_newest {
            self.is_lost = false;
            self.unknown_before = Some(part.open_time).filter(|at| *at > open_time);
        }
        self.insert(*part);
        [ended, self.sum()]
    }

    fn insert(&mut self, part: Kline) {
        if !newest_is(&self.parts, part.open_time) {
            self.head = None;
        }
        let known = self.parts.entry(part.open_time).or_insert(part);
        if part.is_closed || !known.is_closed {
            *known = part;
        }
    }

    /// Shorter bars may have been missed since the last one.
    pub fn lose(&mut self) {
        self.is_lost = true;
    }

    /// What has to be known of the past before the running bar can be shown.
    #[must_use]
    pub fn needed(&self) -> Option<PartsNeeded> {
        Some(PartsNeeded {
            from: self.open_time?,
            before: self.unknown_before?,
        })
    }

    /// Takes the closed bars that were needed, all that exist, and makes the running bar of them.
    pub fn on_needed(&mut self, needed: PartsNeeded, bars: &[Kline]) -> Option<Kline> {
        if self.needed() != Some(needed) {
            return None;
        }
        let within = |bar: &&Kline| needed.from <= bar.open_time && bar.open_time < needed.before;
        for bar in bars.iter().filter(within).filter(|bar| bar.is_closed) {
            // What the stream closed is as good, and what was forming is replaced.
            self.insert(*bar);
        }
        self.unknown_before = None;
        self.head = None;
        self.sum()
    }

    /// The running bar, as far as it is known to be right.
    fn sum(&mut self) -> Option<Kline> {
        if self.is_lost || self.unknown_before.is_some() {
            return None;
        }
        let (_, last) = self.parts.last_key_value()?;
        let last = *last;
        if self.head.is_none() {
            self.head = Some(self.sum_head(last.open_time)?);
        }
        let mut bar = Kline {
            level: self.level,
            open_time: self.open_time?,
            ..last
        };
        if let Some(mut head) = self.head? {
            add_part(&mut head, &last).ok()?;
            bar = head;
        }
        let end = last.open_time.0.saturating_add(last.level.nanos());
        let is_last = end == bar.open_time.0.saturating_add(self.level.nanos());
        bar.is_closed = last.is_closed && is_last;
        Some(bar)
    }

    /// The sum of all parts before one; `None` when it can't be known.
    fn sum_head(&mut self, before: TsNanos) -> Option<Option<Kline>> {
        let mut head: Option<Kline> = None;
        for part in self.parts.range(..before).map(|(_, part)| part) {
            if !part.is_closed {
                // It has been followed, and its close never came.
                self.unknown_before = Some(before);
                return None;
            }
            match &mut head {
                Some(sum) => add_part(sum, part).ok()?,
                None => {
                    head = Some(Kline {
                        level: self.level,
                        open_time: self.open_time?,
                        ..*part
                    });
                }
            }
        }
        Some(head)
    }
}

fn newest_is(parts: &BTreeMap<TsNanos, Kline>, open_time: TsNanos) -> bool {
    parts
        .last_key_value()
        .is_some_and(|(at, _)| *at == open_time)
}
