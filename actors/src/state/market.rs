//! Events on their way through: applied, published, handed to the recorder.

use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::book::sync::{BookState, DeltaOutcome, DesyncReason};
use bookwire_engine::event::{
    BookDelta, BookImage, BookSide, Control, Event, EventSink, Funding, Kline, Skipped, Ticker,
    Trade,
};
use bookwire_engine::exchange::{DecodeError, Decoder, Feed};
use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::kline::{GateOutcome, MissedBars};
use bookwire_engine::store::{CoverageRow, Entity, KlineRow, Row, Series, Span, TradeRow};
use bookwire_engine::time::{Level, TsNanos};
use bookwire_engine::wire;

use super::books::{gain_book, mark, tell_loss};
use super::feeds::{Held, InstrumentState, TradeNews, feed_index};
use super::outlet::Outlet;
use super::{ShardState, paper};
use crate::quarantine::{Source, Verdict};
use crate::recorder::RecorderPort;
use crate::ring::PubKind;
use crate::state::effect::Effect;
use crate::upstream::StreamKey;

/// Longest time that bars wait for bars before them.
const HOLD: Duration = Duration::from_secs(10);
/// Closed bars that may wait like this.
const HELD_MAX: usize = 64;

/// When a frame was read from its socket.
#[derive(Clone, Copy, Debug)]
pub struct ReadAt {
    /// Wall clock.
    pub wall: TsNanos,
    /// Monotonic.
    pub monotonic: Duration,
}

/// Takes what a decoder finds in one frame.
pub struct FrameSink<'a> {
    state: &'a mut ShardState,
    at: ReadAt,
    controls: &'a mut Vec<Control>,
    ts_event: Option<TsNanos>,
}

impl EventSink for FrameSink<'_> {
    #[inline]
    fn event(&mut self, instrument: InstrumentId, event: Event<'_>) {
        self.state.out.decoded();
        let ts_event = self.state.on_event(instrument, &event, self.at);
        self.ts_event = ts_event.or(self.ts_event);
    }

    fn control(&mut self, control: Control) {
        self.controls.push(control);
    }

    fn skipped(&mut self, _: Skipped) {
        self.state.out.counters.skipped.add(1);
    }
}

impl ShardState {
    /// Takes a frame through the decoder and all that follows from it. Control messages are left in
    /// `controls` for the connection. True when there was market data in it.
    ///
    /// # Errors
    /// What the decoder answers; the frame has been counted as malformed.
    pub fn on_frame(
        &mut self,
        decoder: &mut dyn Decoder,
        frame: &[u8],
        at: ReadAt,
        controls: &mut Vec<Control>,
    ) -> Result<bool, DecodeError> {
        let counters = &self.out.counters;
        counters.frames.add(1);
        counters.bytes.add(frame.len() as u64);
        self.out.begin_frame(at.monotonic);
        let mut sink = FrameSink {
            state: self,
            at,
            controls,
            ts_event: None,
        };
        let result = decoder.decode(frame, &mut sink);
        let ts_event = sink.ts_event;
        if let Some(ts_event) = ts_event {
            let lag = u64::try_from(at.wall.0.saturating_sub(ts_event.0)).unwrap_or(0);
            self.out.latency().lag.record(lag);
        }
        // Frames that are found to be lost, or parts of this one, may have held trades of bars that
        // look as if they were over.
        let is_whole = result.is_ok()
            && !controls
                .iter()
                .any(|control| matches!(control, Control::Lost { .. }));
        if is_whole && !self.stirred.is_empty() {
            self.drain_trade_bars(at);
        }
        self.out.end_frame();
        match result {
            Ok(()) => Ok(ts_event.is_some()),
            Err(error) => {
                self.out.counters.malformed.add(1);
                Err(error)
            }
        }
    }

    /// A frame could not be read. Books that it may have been meant for are fetched anew, and bars
    /// of trades begin anew: those of `keys` whose native symbol occurs in it. A frame without any of them can't be told apart
    /// from noise; if it was a delta, the sequence check of the next one finds the hole.
    pub fn on_malformed(&mut self, frame: &[u8], keys: impl Iterator<Item = StreamKey>) {
        let hit: Vec<StreamKey> = keys
            .filter(|key| matches!(key.feed, Feed::Book | Feed::Trades))
            .filter(|key| {
                self.table.get(key.instrument).is_some_and(|row| {
                    let symbol = row.spec.native_symbol.as_bytes();
                    !symbol.is_empty()
                        && frame
                            .windows(symbol.len())
                            .any(|part| part.eq_ignore_ascii_case(symbol))
                })
            })
            .collect();
        for StreamKey { instrument, feed } in hit {
            match feed {
                Feed::Book => {
                    self.desync(instrument, DesyncReason::Decode);
                }
                _ => {
                    let state = self.known_mut(instrument);
                    if let Some(bars) = state.and_then(InstrumentState::trade_bars) {
                        bars.lose();
                    }
                }
            }
        }
    }

    /// Takes one event; returns the exchange's time of it (the time of reading where it sends
    /// none), `None` when nobody keeps this feed.
    #[inline]
    fn on_event(&mut self, id: InstrumentId, event: &Event<'_>, at: ReadAt) -> Option<TsNanos> {
        let state = self.instruments.get_mut(id.0 as usize)?.as_deref_mut()?;
        let (feed, ts_event) = match event {
            Event::Book(delta) => (Feed::Book, delta.ts_event),
            Event::BookImage(image) => (Feed::Book, image.ts_event),
            Event::Trade(trade) => (Feed::Trades, trade.ts_event),
            Event::Kline(kline) => (Feed::Klines(kline.level), kline.ts_event),
            Event::Ticker(ticker) => (Feed::Ticker, ticker.ts_event.unwrap_or(at.wall)),
            Event::Funding(funding) => (Feed::Funding, funding.ts_event),
        };
        state.heard[feed_index(feed)] = at.monotonic;
        match event {
            Event::Book(delta) => {
                self.on_delta(id, delta, at);
                self.after_book(id, at);
            }
            Event::BookImage(image) => {
                self.on_image(id, image, at);
                self.after_book(id, at);
            }
            Event::Trade(trade) => self.on_trade(id, trade, at),
            Event::Kline(kline) => self.on_kline(id, kline, at),
            Event::Ticker(ticker) => on_ticker(state, &mut self.out, ticker, at),
            Event::Funding(funding) => on_funding(state, &mut self.out, funding, at),
        }
        Some(ts_event)
    }

    /// What follows for orders on paper and for who reads the best prices, where there are any.
    #[inline]
    fn after_book(&mut self, id: InstrumentId, at: ReadAt) {
        if let Some(Some(state)) = self.instruments.get_mut(id.0 as usize) {
            if state.paper.is_some() {
                paper::on_book(state, at.wall);
            }
            state.publish_touch();
        }
    }

    #[inline]
    fn on_delta(&mut self, id: InstrumentId, delta: &BookDelta<'_>, at: ReadAt) {
        let Self {
            instruments,
            out,
            effects,
            clock,
            ..
        } = self;
        let Some(Some(state)) = instruments.get_mut(id.0 as usize) else {
            return;
        };
        let Some(feed) = &mut state.book else { return };
        let was_synced = feed.synced.state() == BookState::Synced;
        feed.ts_recv = at.wall;
        feed.behind_since = None;
        match feed.synced.on_delta(delta) {
            DeltaOutcome::Applied => {
                out.counters.book_deltas.add(1);
                let levels = delta.bids.len() + delta.asks.len();
                out.counters.book_levels.add(levels as u64);
                out.book_changed();
                if !was_synced {
                    return gain_book(state, out, &**clock);
                }
                if let (Some(book), Some(mark)) = (feed.synced.book(), mark(feed)) {
                    for topic in &mut state.book_topics.0 {
                        topic.advance(out, &state.instrument, book, mark);
                    }
                }
            }
            DeltaOutcome::Ignored => {}
            DeltaOutcome::Buffered { needs_snapshot } => {
                if needs_snapshot {
                    effects.push(Effect::Snapshot(id));
                }
            }
            DeltaOutcome::Desynced(reason) => {
                tell_loss(state, reason, was_synced, out, &**clock);
                effects.push(Effect::Snapshot(id));
            }
        }
    }

    /// A whole book by the stream: the beginning of a book's life, or its replacement.
    fn on_image(&mut self, id: InstrumentId, image: &BookImage<'_>, at: ReadAt) {
        let Self {
            instruments,
            out,
            effects,
            clock,
            image_senders,
            ..
        } = self;
        let Some(Some(state)) = instruments.get_mut(id.0 as usize) else {
            return;
        };
        let Some(feed) = &mut state.book else { return };
        let sender = (state.instrument.spec.provider, state.instrument.spec.market);
        if !image_senders.contains(&sender) {
            image_senders.push(sender);
        }
        let was_synced = feed.synced.state() == BookState::Synced;
        feed.ts_recv = at.wall;
        feed.behind_since = None;
        match feed.synced.on_image(image) {
            Ok(()) => {
                out.book_changed();
                gain_book(state, out, &**clock);
            }
            Err(reason) => {
                tell_loss(state, reason, was_synced, out, &**clock);
                effects.push(Effect::Snapshot(id));
            }
        }
    }

    #[inline]
    fn on_trade(&mut self, id: InstrumentId, trade: &Trade, at: ReadAt) {
        let Some(Some(state)) = self.instruments.get_mut(id.0 as usize) else {
            return;
        };
        let out = &mut self.out;
        // A reconnect and a change-over bring trades that were there before.
        let TradeNews::New { after } = state.trades.recent.judge(trade.trade_id) else {
            out.counters.trades_repeated.add(1);
            return;
        };
        let spec = &state.instrument.spec;
        let mut lost_at = state.trades.lost_at.take();
        let is_consecutive = spec.provider.exchange().has_consecutive_trades(spec.market);
        if let (Some(last), Some(number)) = (after, trade.trade_id.number())
            && is_consecutive
        {
            let missing = number - last - 1;
            if missing > 0 {
                out.counters.trades_missed.add(missing);
                if let Some(bars) = state.trade_bars() {
                    bars.lose();
                }
                lost_at = lost_at.or(Some(state.trades.last_ts));
            } else if let Some(from) = lost_at.take() {
                // The numbers show that nothing came while the stream was lost.
                state.trades.covered_from = Some(from);
            }
        }
        if let Some(start) = lost_at {
            let (entity, trades) = (&state.entity, &mut state.trades);
            let covered = trades.covered_from.take();
            promise(&mut self.recorder, out, entity, covered, trades.last_ts);
            // Others of this instant may have been missed too. Where numbers don't tell them, they
            // may also be parts of this trade, which a stream can tell as one (OKX).
            let end = trade.ts_event.0.saturating_add(i64::from(is_consecutive));
            let end = TsNanos(end);
            let span = Span { start, end };
            if self.recorder.is_some() && !span.is_empty() {
                self.effects.push(Effect::FetchTrades {
                    instrument: id,
                    span,
                    after,
                });
            }
        }
        out.counters.trades.add(1);
        if state.paper.is_some() {
            paper::on_trade(state, trade, at.wall);
        }
        state.trades.last_ts = state.trades.last_ts.max(trade.ts_event);
        if let Some(bars) = state.trade_bars() {
            if bars.on_trade(trade) {
                self.stirred.push(id);
            }
            out.counters.trades_late.add(bars.take_late());
        }
        let instrument = &state.instrument;
        state
            .trades
            .topics
            .publish(out, PubKind::Event, at.wall, |buffer, numbers| {
                wire::trade_data(buffer, instrument, trade, numbers);
            });
        if let Some(port) = &mut self.recorder {
            // Others of the same instant may have come before this one.
            let from = TsNanos(trade.ts_event.0.saturating_add(1));
            state.trades.covered_from.get_or_insert(from);
            let row = Row::Trade(TradeRow::new(&state.entity, instrument, trade));
            if !record(port, out, row) {
                state.trades.covered_from = None;
            }
        }
    }

    /// Takes a bar, streamed or built.
    pub(super) fn on_kline(&mut self, id: InstrumentId, kline: &Kline, at: ReadAt) {
        let Some(Some(state)) = self.instruments.get_mut(id.0 as usize) else {
            return;
        };
        self.out.counters.klines.add(1);
        let feed = state.kline_feed(kline.level);
        let (outcome, missed) = feed.gate.on_kline(kline);
        if outcome == GateOutcome::Stale {
            return;
        }
        if let Some(missed) = missed {
            self.miss_bars(id, kline.level, missed, at.monotonic);
        }
        let Some(state) = self.known_mut(id) else {
            return;
        };
        match &mut state.kline_feed(kline.level).held {
            Some(held) if kline.is_closed && held.closed.len() < HELD_MAX => {
                held.closed.push((*kline, at.wall));
                held.forming = None;
            }
            Some(held) if !kline.is_closed => held.forming = Some((*kline, at.wall)),
            Some(_) => {
                // More bars closed than are worth waiting with: let them go in order.
                self.give_up_bars(id, kline.level);
                self.pass_kline(id, kline, at.wall);
            }
            None => self.pass_kline(id, kline, at.wall),
        }
    }

    /// Asks for bars whose close has been missed; those that follow wait for them.
    pub(super) fn miss_bars(
        &mut self,
        id: InstrumentId,
        level: Level,
        missed: MissedBars,
        now: Duration,
    ) {
        let bars = (missed.last.0 - missed.first.0) / level.nanos() + 1;
        let bars = u64::try_from(bars).unwrap_or(0);
        self.out.counters.klines_missed.add(bars);
        let Some(state) = self.known_mut(id) else {
            return;
        };
        state.kline_feed(level).held.get_or_insert_with(|| Held {
            until: now + HOLD,
            closed: Vec::new(),
            forming: None,
        });
        self.effects.push(Effect::FetchBars {
            instrument: id,
            level,
            missed,
        });
    }

    /// Publishes a bar that the gate let through, hands it to the recorder when it is closed, and
    /// adds it to the bars that it is a part of.
    fn pass_kline(&mut self, id: InstrumentId, kline: &Kline, ts_recv: TsNanos) {
        let Some(Some(state)) = self.instruments.get_mut(id.0 as usize) else {
            return;
        };
        let instrument = state.instrument.clone();
        let feed = state.kline_feed(kline.level);
        let is_newest = feed
            .last
            .is_none_or(|(last, _)| last.open_time <= kline.open_time);
        if is_newest {
            feed.last = Some((*kline, ts_recv));
        }
        let kind = match kline.is_closed {
            true => PubKind::ClosedBar,
            false => PubKind::Event,
        };
        feed.topics
            .publish(&mut self.out, kind, ts_recv, |buffer, numbers| {
                wire::kline_data(buffer, &instrument, kline, numbers);
            });
        if kline.is_closed {
            self.record_bar(id, kline);
        }
        self.add_to_sums(id, kline, ts_recv);
    }

    /// Checks a closed bar and hands it to the recorder. One that is doubtful waits for the next.
    fn record_bar(&mut self, id: InstrumentId, kline: &Kline) {
        let Some(Some(state)) = self.instruments.get_mut(id.0 as usize) else {
            return;
        };
        let Some(port) = &mut self.recorder else {
            return;
        };
        let (instrument, entity) = (state.instrument.clone(), state.entity.clone());
        let check = &mut state.kline_feed(kline.level).check;
        let verdicts = match self.quarantine.is_on() {
            true => check.judge(&instrument, kline),
            false => [None, Some(Verdict::Store(*kline))],
        };
        for verdict in verdicts.into_iter().flatten() {
            let (Verdict::Store(bar) | Verdict::Refuse(bar, _)) = verdict;
            let row = match KlineRow::new(&entity, &instrument, &bar) {
                Ok(row) => row,
                Err(error) => {
                    tracing::warn!(symbol = %instrument.code, %error, "bar can't be stored");
                    continue;
                }
            };
            if let Verdict::Refuse(_, fault) = verdict {
                let now = self.clock.now();
                self.quarantine.put(row, fault, Source::Live, now);
                continue;
            }
            if check.is_gap(&bar) {
                self.out.counters.kline_gaps.add(1);
            }
            let end = TsNanos(bar.open_time.0.saturating_add(bar.level.nanos()));
            let promise = CoverageRow {
                entity: entity.clone(),
                series: Series::Klines(bar.level),
                span: Span {
                    start: bar.open_time,
                    end,
                },
            };
            // Without the row there must be no promise of it.
            if record(port, &self.out, Row::Kline(row)) {
                record(port, &self.out, Row::Coverage(promise));
            }
        }
    }

    /// Takes bars that were fetched because their close was missed, ascending, and lets go what
    /// waited for them.
    pub fn on_bars(&mut self, id: InstrumentId, level: Level, bars: &[Kline]) {
        let now = self.clock.now();
        for bar in bars
            .iter()
            .filter(|bar| bar.is_closed && bar.level == level)
        {
            let Some(state) = self.known_mut(id) else {
                return;
            };
            let (outcome, _) = state.kline_feed(level).gate.on_kline(bar);
            if outcome == GateOutcome::Closed {
                self.pass_kline(id, bar, now);
            }
        }
        self.release_bars(id, level);
    }

    /// Bars that were missed can't be had, or not soon: lets go those that waited for them.
    pub fn give_up_bars(&mut self, id: InstrumentId, level: Level) {
        let Some(state) = self.known_mut(id) else {
            return;
        };
        if state.kline_feed(level).held.is_none() {
            // A bar whose close is overdue is not lost.
            return;
        }
        for (_, sum) in state.sums_of(level) {
            sum.lose();
        }
        self.release_bars(id, level);
    }

    /// Lets go bars that waited for bars before them.
    fn release_bars(&mut self, id: InstrumentId, level: Level) {
        let Some(state) = self.known_mut(id) else {
            return;
        };
        let Some(held) = state.kline_feed(level).held.take() else {
            return;
        };
        for (kline, ts_recv) in held.closed.iter().chain(&held.forming) {
            self.pass_kline(id, kline, *ts_recv);
        }
    }

    /// Closes that should have come by now: asks for the bars.
    pub(super) fn look_for_overdue(&mut self, now: Duration, wall: TsNanos, patience: Duration) {
        let patience_nanos = i64::try_from(patience.as_nanos()).unwrap_or(i64::MAX);
        for state in self.instruments.iter_mut().flatten() {
            let id = state.instrument.id;
            for feed in state.klines.iter_mut().flatten() {
                if feed.topics.is_empty() && self.recorder.is_none() || now < feed.check_at {
                    continue;
                }
                let Some(open_time) = feed.gate.overdue(wall, patience_nanos) else {
                    continue;
                };
                let level = feed.gate.level();
                feed.check_at = now + patience;
                self.effects.push(Effect::FetchBars {
                    instrument: id,
                    level,
                    missed: MissedBars {
                        first: open_time,
                        last: open_time,
                    },
                });
            }
        }
    }

    /// Promises the store what has been recorded without a hole since the last promise.
    pub(super) fn promise_trades(&mut self) {
        for state in self.instruments.iter_mut().flatten() {
            let trades = &mut state.trades;
            let Some(from) = trades.covered_from else {
                continue;
            };
            promise(
                &mut self.recorder,
                &self.out,
                &state.entity,
                Some(from),
                trades.last_ts,
            );
            if trades.last_ts > from {
                trades.covered_from = Some(trades.last_ts);
            }
        }
    }
}

/// Hands a row over; false when it was lost.
pub(super) fn record(port: &mut RecorderPort, out: &Outlet, row: Row) -> bool {
    let is_taken = port.push(row);
    match is_taken {
        true => out.counters.rows.add(1),
        false => out.counters.rows_lost.add(1),
    }
    is_taken
}

/// Promises that all trades from `from` to just before `to` have been handed over. Those of the
/// instant `to` itself may go on.
pub(super) fn promise(
    port: &mut Option<RecorderPort>,
    out: &Outlet,
    entity: &Arc<Entity>,
    from: Option<TsNanos>,
    to: TsNanos,
) {
    if let (Some(port), Some(start)) = (port, from.filter(|from| *from < to)) {
        let row = Row::Coverage(CoverageRow {
            entity: entity.clone(),
            series: Series::Trades,
            span: Span { start, end: to },
        });
        record(port, out, row);
    }
}

#[inline]
fn on_ticker(state: &mut InstrumentState, out: &mut Outlet, ticker: &Ticker, at: ReadAt) {
    out.counters.tickers.add(1);
    if let Some((last, _)) = &state.ticker {
        // Two connections during a change-over deliver the same twice.
        if ticker.seq.is_some() && ticker.seq <= last.seq && ticker.ts_event <= last.ts_event {
            return;
        }
    }
    state.ticker = Some((*ticker, at.wall));
    let instrument = &state.instrument;
    state
        .ticker_topics
        .publish(out, PubKind::Event, at.wall, |buffer, numbers| {
            wire::ticker_data(buffer, instrument, ticker, at.wall, numbers);
        });
    let (Some(feed), Some(seq)) = (&mut state.book, ticker.seq) else {
        return;
    };
    let Some(book) = feed.synced.book() else {
        return;
    };
    if seq > feed.synced.seq() {
        feed.behind_since.get_or_insert(at.monotonic);
    } else if seq == feed.synced.seq() {
        out.counters.bbo_checks.add(1);
        let best = (book.best(BookSide::Bid), book.best(BookSide::Ask));
        if best != (Some(ticker.bid), Some(ticker.ask)) {
            out.counters.bbo_mismatches.add(1);
            tracing::warn!(symbol = %instrument.code, seq, "best prices differ from the book");
        }
    }
}

fn on_funding(state: &mut InstrumentState, out: &mut Outlet, funding: &Funding, at: ReadAt) {
    out.counters.fundings.add(1);
    if let Some((last, _)) = &state.funding
        && funding.ts_event <= last.ts_event
    {
        return;
    }
    state.funding = Some((*funding, at.wall));
    if let Some(bench) = &state.paper {
        bench.on_funding(&state.instrument, funding);
    }
    state
        .funding_topics
        .publish(out, PubKind::Event, at.wall, |buffer, numbers| {
            wire::funding_data(buffer, funding, numbers);
        });
}
