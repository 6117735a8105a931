//! Reading the market: what a venue's REST endpoints answer from. History and live part are one.

use super::desk::OpenOrder;
use super::event::{AggTrade, Bbo, BookSide, OrderId, Ticker24h, Trade};
use super::funding::{self, FundingRate, PremiumIndex};
use super::instrument::{
    Contract, Instrument, InstrumentIx, Notional, Price, Qty, Segment, Status,
};
use super::kline::{Bar, DAY_MINUTES, Interval, Kline, MINUTE_MS, TimeRange};
use super::{Market, Stall};

/// Most rows of one answer.
const ROWS_MAX: usize = 5_000;
/// Most minutes of history searched for trades in one call.
const SEARCH_MINUTES: i64 = 2 * DAY_MINUTES;

/// Levels of a book, best first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Depth {
    /// Number of the last change in it.
    pub update_id: u64,
    /// When it was read, Unix µs.
    pub ts_us: i64,
    /// Bids, highest first.
    pub bids: Vec<(Price, Qty)>,
    /// Asks, lowest first.
    pub asks: Vec<(Price, Qty)>,
}

impl Market {
    /// Everything listed; [`InstrumentIx`] is the place in it.
    #[must_use]
    pub fn instruments(&self) -> &[Instrument] {
        &self.instruments
    }

    /// The instrument of a native symbol (exact spelling).
    #[must_use]
    pub fn find(&self, segment: Segment, symbol: &str) -> Option<InstrumentIx> {
        let at = self
            .instruments
            .iter()
            .position(|it| it.segment == segment && it.symbol == symbol)?;
        u16::try_from(at).ok().map(InstrumentIx)
    }

    /// An instrument; `None` for a foreign index.
    #[must_use]
    pub fn instrument(&self, ix: InstrumentIx) -> Option<&Instrument> {
        self.instruments.get(usize::from(ix.0))
    }

    fn stall(&self, ix: InstrumentIx) -> Option<&Stall> {
        self.stalls.get(usize::from(ix.0))
    }

    pub(super) fn trading(&self, ix: InstrumentIx) -> bool {
        self.instrument(ix)
            .is_some_and(|it| it.status == Status::Trading)
    }

    /// Best bid and ask now; empty for a halted or foreign instrument.
    #[must_use]
    pub fn bbo(&self, ix: InstrumentIx) -> Bbo {
        self.stall(ix)
            .map(|stall| stall.desk.bbo())
            .unwrap_or_default()
    }

    /// Up to `limit` levels of each side.
    #[must_use]
    pub fn depth(&self, ix: InstrumentIx, limit: usize) -> Depth {
        let mut depth = Depth {
            ts_us: self.now_us,
            ..Depth::default()
        };
        if let Some(stall) = self.stall(ix) {
            depth.update_id = stall.desk.bbo().update_id;
            stall.desk.book.top(BookSide::Bid, limit, &mut depth.bids);
            stall.desk.book.top(BookSide::Ask, limit, &mut depth.asks);
        }
        depth
    }

    /// Number of bid and ask levels.
    #[must_use]
    pub fn levels(&self, ix: InstrumentIx) -> (usize, usize) {
        self.stall(ix).map_or((0, 0), |stall| {
            (
                stall.desk.book.levels(BookSide::Bid),
                stall.desk.book.levels(BookSide::Ask),
            )
        })
    }

    /// A resting order.
    #[must_use]
    pub fn open_order(&self, ix: InstrumentIx, order_id: OrderId) -> Option<OpenOrder> {
        self.stall(ix)?.desk.open_order(order_id)
    }

    /// Bars, oldest first, the running one included. Every interval is summed from the same
    /// minutes. Minutes without trades have a flat bar. Empty before the listing and after a
    /// halt; bars shorter than a day are missing where the live part is older than
    /// [`super::MarketConfig::minutes_kept`].
    #[must_use]
    pub fn klines(&self, ix: InstrumentIx, interval: Interval, range: TimeRange) -> Vec<Kline> {
        if self.stall(ix).is_none() || range.limit == 0 {
            return Vec::new();
        }
        let (first, last) = self.minute_span(ix);
        let now_ms = self.now_ms();
        let limit = range.limit.min(ROWS_MAX);
        let first_open = interval.open_of(first * MINUTE_MS);
        let last_open = interval.open_of(last * MINUTE_MS);
        let end = range
            .end_ms
            .map_or(last_open, |end| last_open.min(interval.open_of(end)));
        let mut rows = Vec::with_capacity(limit.min(1_024));
        let mut push = |open: i64| {
            let next = interval.next_open(open);
            let (from, to) = (open / MINUTE_MS, next / MINUTE_MS);
            if let Some(bar) = self.span(ix, from.max(first), to.min(last + 1)) {
                rows.push(Kline::from_bar(&bar, open, next, now_ms));
            }
        };
        match range.start_ms {
            Some(start) => {
                let mut open = interval.open_of(start.max(first_open));
                // Both bounds are on open times.
                if open < start {
                    open = interval.next_open(open);
                }
                for _ in 0..limit {
                    if open > end {
                        break;
                    }
                    push(open);
                    open = interval.next_open(open);
                }
            }
            None => {
                let mut open = end;
                for _ in 0..limit {
                    if open < first_open {
                        break;
                    }
                    push(open);
                    open = interval.open_of(open - 1);
                }
                rows.reverse();
            }
        }
        rows
    }

    /// First and last minute with bars.
    fn minute_span(&self, ix: InstrumentIx) -> (i64, i64) {
        let last = match self.trading(ix) {
            true => self.now_ms().div_euclid(MINUTE_MS),
            false => self.history.end_minute(ix) - 1,
        };
        (self.history.first_minute(ix), last)
    }

    /// The sum of the minutes `from..to`, all of which have happened; `None` if some of them are
    /// no longer kept.
    fn span(&self, ix: InstrumentIx, from: i64, to: i64) -> Option<Bar> {
        let live = &self.stall(ix)?.desk.bars;
        let past_end = self.history.end_minute(ix);
        let mut sum: Option<Bar> = None;
        let mut at = from;
        while at < to {
            let (bar, next) = if at < past_end {
                if at % 60 == 0 && at + 60 <= to.min(past_end) {
                    (self.history.hour(ix, at / 60), at + 60)
                } else {
                    (self.history.minute(ix, at)?, at + 1)
                }
            } else if at < live.first_minute() {
                let day = at.div_euclid(DAY_MINUTES);
                let part_end = ((day + 1) * DAY_MINUTES).min(live.first_minute());
                let whole_part = at == (day * DAY_MINUTES).max(past_end) && part_end <= to;
                match live.folded(day) {
                    Some(bar) if whole_part => (*bar, part_end),
                    _ => return None,
                }
            } else {
                match live.minute(at) {
                    Some(bar) => (*bar, at + 1),
                    // The minute has begun but nothing has rolled into it yet.
                    None => (Bar::flat(live.last_price()), at + 1),
                }
            };
            match sum.as_mut() {
                Some(sum) => sum.join(&bar),
                None => sum = Some(bar),
            }
            at = next;
        }
        sum
    }

    /// The newest `limit` trades, oldest first.
    #[must_use]
    pub fn trades(&self, ix: InstrumentIx, limit: usize) -> Vec<Trade> {
        let Some(stall) = self.stall(ix) else {
            return Vec::new();
        };
        self.newest(ix, limit, &stall.desk.trades, |trades, _| trades)
    }

    /// The newest `limit` aggregates, oldest first.
    #[must_use]
    pub fn agg_trades(&self, ix: InstrumentIx, limit: usize) -> Vec<AggTrade> {
        let Some(stall) = self.stall(ix) else {
            return Vec::new();
        };
        self.newest(ix, limit, &stall.desk.aggs, |_, aggs| aggs)
    }

    fn newest<T: Copy>(
        &self,
        ix: InstrumentIx,
        limit: usize,
        ring: &std::collections::VecDeque<T>,
        pick: impl Fn(Vec<Trade>, Vec<AggTrade>) -> Vec<T>,
    ) -> Vec<T> {
        let limit = limit.min(ROWS_MAX);
        let mut rows: Vec<T> = ring.iter().rev().take(limit).copied().collect();
        // Only while the ring has all since the start does history come right before it.
        let has_all = ring.len() < self.config.trades_kept.max(1);
        if has_all && rows.len() == ring.len() {
            let last = self.history.end_minute(ix);
            for back in 0..SEARCH_MINUTES {
                if rows.len() >= limit {
                    break;
                }
                let (mut trades, mut aggs) = (Vec::new(), Vec::new());
                self.history.trades(ix, last - back, &mut trades, &mut aggs);
                let missing = limit - rows.len();
                rows.extend(pick(trades, aggs).into_iter().rev().take(missing));
            }
        }
        rows.reverse();
        rows
    }

    /// Up to `limit` trades from `from_id` on, oldest first. Any trade before the start can be
    /// had; since the start only the kept ones: a gap is skipped.
    #[must_use]
    pub fn trades_from(&self, ix: InstrumentIx, from_id: u64, limit: usize) -> Vec<Trade> {
        let Some(stall) = self.stall(ix) else {
            return Vec::new();
        };
        let from_minute = self.history.minute_of_id(ix, from_id, false);
        let is_wanted = |trade: &Trade| trade.id >= from_id;
        self.forward(
            ix,
            (from_minute, i64::MAX),
            limit,
            &stall.desk.trades,
            |t, _| t,
            is_wanted,
        )
    }

    /// Up to `limit` aggregates from `from_id` on, as [`Market::trades_from`].
    #[must_use]
    pub fn agg_trades_from(&self, ix: InstrumentIx, from_id: u64, limit: usize) -> Vec<AggTrade> {
        let Some(stall) = self.stall(ix) else {
            return Vec::new();
        };
        let from_minute = self.history.minute_of_id(ix, from_id, true);
        let is_wanted = |agg: &AggTrade| agg.id >= from_id;
        self.forward(
            ix,
            (from_minute, i64::MAX),
            limit,
            &stall.desk.aggs,
            |_, a| a,
            is_wanted,
        )
    }

    /// Up to `limit` aggregates with `start_ms <= time <= end_ms`, oldest first; at most two days
    /// of history are searched.
    #[must_use]
    pub fn agg_trades_between(
        &self,
        ix: InstrumentIx,
        start_ms: i64,
        end_ms: i64,
        limit: usize,
    ) -> Vec<AggTrade> {
        let Some(stall) = self.stall(ix) else {
            return Vec::new();
        };
        let minutes = (start_ms.div_euclid(MINUTE_MS), end_ms.div_euclid(MINUTE_MS));
        let is_wanted = |agg: &AggTrade| {
            let ts_ms = agg.ts_us.div_euclid(1_000);
            ts_ms >= start_ms && ts_ms <= end_ms
        };
        self.forward(ix, minutes, limit, &stall.desk.aggs, |_, a| a, is_wanted)
    }

    fn forward<T: Copy>(
        &self,
        ix: InstrumentIx,
        (from, to): (i64, i64),
        limit: usize,
        ring: &std::collections::VecDeque<T>,
        pick: impl Fn(Vec<Trade>, Vec<AggTrade>) -> Vec<T>,
        is_wanted: impl Fn(&T) -> bool,
    ) -> Vec<T> {
        let limit = limit.min(ROWS_MAX);
        let mut rows = Vec::new();
        let first = from.max(self.history.first_minute(ix));
        let last = self.history.end_minute(ix);
        for minute in first..=last.min(to).min(first.saturating_add(SEARCH_MINUTES)) {
            if rows.len() >= limit {
                break;
            }
            let (mut trades, mut aggs) = (Vec::new(), Vec::new());
            self.history.trades(ix, minute, &mut trades, &mut aggs);
            rows.extend(pick(trades, aggs).into_iter().filter(&is_wanted));
        }
        // The live part follows only where the search reached it.
        if last <= first.saturating_add(SEARCH_MINUTES) {
            rows.extend(ring.iter().copied().filter(&is_wanted).take(limit));
        }
        rows.truncate(limit);
        rows
    }

    /// Rolling 24 hours; `None` for a halted or foreign instrument.
    #[must_use]
    pub fn ticker(&self, ix: InstrumentIx) -> Option<Ticker24h> {
        if !self.trading(ix) {
            return None;
        }
        let (first, last) = self.minute_span(ix);
        let from = (last + 1 - DAY_MINUTES).max(first);
        let bar = self.span(ix, from, last + 1)?;
        let prev_close = self
            .span(ix, (from - 1).max(first), from)
            .map_or(bar.open, |b| b.close);
        Some(Ticker24h {
            open_ms: from * MINUTE_MS,
            close_ms: self.now_ms(),
            open: Price(bar.open),
            high: Price(bar.high),
            low: Price(bar.low),
            last: Price(bar.close),
            last_qty: self.trades(ix, 1).last().map_or(Qty(0), |trade| trade.qty),
            prev_close: Price(prev_close),
            volume: Qty(bar.volume),
            quote_volume: Notional(bar.quote),
            trade_ids: (bar.trades > 0).then(|| (bar.first_id, bar.first_id + bar.trades - 1)),
            trades: bar.trades,
        })
    }

    /// Mark, index and coming funding; `None` unless it is a trading future.
    #[must_use]
    pub fn premium_index(&self, ix: InstrumentIx) -> Option<PremiumIndex> {
        self.stall(ix)?.mark.as_ref().map(|mark| mark.current())
    }

    /// Settled fundings, oldest first; empty unless it is a perpetual.
    #[must_use]
    pub fn funding_rates(&self, ix: InstrumentIx, range: TimeRange) -> Vec<FundingRate> {
        let (Some(stall), Some(instrument)) = (self.stall(ix), self.instrument(ix)) else {
            return Vec::new();
        };
        let Contract::Perpetual(terms) = &instrument.contract else {
            return Vec::new();
        };
        let interval = funding::interval_ms(terms);
        let limit = range.limit.min(ROWS_MAX);
        let first = funding::next_settlement(terms, instrument.list_ms);
        let past_end = instrument
            .halt_ms
            .unwrap_or(i64::MAX)
            .min(self.config.start_ms);
        let end = range.end_ms.unwrap_or(i64::MAX);
        // A settlement at the very start is history.
        let last_past = past_end.min(end).div_euclid(interval) * interval;
        let past = |ts_ms: i64| self.history.funding(ix, terms, ts_ms);
        let live = stall
            .mark
            .iter()
            .flat_map(|mark| mark.settled.iter().copied());
        match range.start_ms {
            Some(start) => {
                let from = first.max((start.max(0) + interval - 1) / interval * interval);
                let count = ((last_past - from).div_euclid(interval) + 1).clamp(0, limit as i64);
                let mut rows: Vec<_> = (0..count).map(|n| past(from + n * interval)).collect();
                rows.extend(live.filter(|row| row.ts_ms >= start && row.ts_ms <= end));
                rows.truncate(limit);
                rows
            }
            None => {
                let mut rows: Vec<_> = live.filter(|row| row.ts_ms <= end).collect();
                rows.drain(..rows.len().saturating_sub(limit));
                let wanted = (limit - rows.len()) as i64;
                let count = ((last_past - first).div_euclid(interval) + 1).clamp(0, wanted);
                let mut all: Vec<_> = (0..count)
                    .rev()
                    .map(|n| past(last_past - n * interval))
                    .collect();
                all.append(&mut rows);
                all
            }
        }
    }

    /// Checks that the books are not crossed and add up order by order.
    ///
    /// # Errors
    /// Names the instrument and what does not agree.
    pub fn audit(&self) -> Result<(), String> {
        for (stall, instrument) in self.stalls.iter().zip(&self.instruments) {
            let named = |problem| format!("{}: {problem}", instrument.symbol);
            stall.desk.book.audit().map_err(named)?;
        }
        Ok(())
    }
}
