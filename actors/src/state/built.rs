//! Bars that an exchange does not stream: built from its trades, or added up from shorter bars.
//! They take the same way as streamed ones from the gate on, so that a bar that could not be shown
//! is fetched when it is over, and each is closed once.

use std::time::Duration;

use bookwire_engine::error::CryptoError;
use bookwire_engine::event::{Kline, Trade};
use bookwire_engine::exchange::levels::BarSource;
use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::kline::{PartsNeeded, RollUp, TradeBars, TradesNeeded};
use bookwire_engine::time::{Level, TsNanos};

use super::feeds::{Built, KlineFeed};
use super::market::ReadAt;
use super::{Effect, ShardState};

/// An answer to what bars need of the past is awaited for so long.
const ASK_PATIENCE: Duration = Duration::from_secs(60);
/// Pause before it is asked for again when it could not be had.
const ASK_PAUSE: Duration = Duration::from_secs(5);

impl KlineFeed {
    /// What has been built so far has numbers of another scale.
    pub(super) fn begin_anew(&mut self) {
        let level = self.gate.level();
        match &mut self.built {
            Some(Built::Trades(bars)) => bars.lose(),
            Some(Built::Bars(_, sum)) => *sum = RollUp::new(level),
            None => {}
        }
    }
}

impl ShardState {
    /// Starts to build bars of a level, unless they are streamed.
    ///
    /// # Errors
    /// `CRYPTO_PAIR_NOT_FOUND` for an unknown instrument.
    pub fn open_bars(
        &mut self,
        id: InstrumentId,
        level: Level,
        source: BarSource,
    ) -> Result<(), CryptoError> {
        let state = self.state(id)?;
        let feed = state.kline_feed(level);
        feed.ask_at = Duration::ZERO;
        feed.built = match source {
            BarSource::Stream => None,
            BarSource::Trades => Some(Built::Trades(TradeBars::new(level))),
            BarSource::Bars(from) => Some(Built::Bars(from, RollUp::new(level))),
        };
        let BarSource::Bars(from) = source else {
            return Ok(());
        };
        // Where the shorter bars run already, the first one need not be waited for.
        let running = state.kline_feed(from);
        let last = running.last.filter(|_| running.held.is_none());
        if let Some((part, ts_recv)) = last {
            self.add_to_sums(id, &part, ts_recv);
        }
        Ok(())
    }

    /// Passes on what the trades of a frame have changed.
    pub(super) fn drain_trade_bars(&mut self, at: ReadAt) {
        let mut stirred = std::mem::take(&mut self.stirred);
        for id in stirred.drain(..) {
            self.drain_bars_of(id, at);
        }
        // Its room is used again.
        self.stirred = stirred;
    }

    fn drain_bars_of(&mut self, id: InstrumentId, at: ReadAt) {
        let level = Level::ALL[0];
        let Some(bars) = self.known_mut(id).and_then(|state| state.trade_bars()) else {
            return;
        };
        let mut changed: Vec<Kline> = Vec::new();
        bars.drain(|bar| changed.push(bar));
        let (needed, whole_from) = (bars.needed(), bars.whole_from());
        if let Some(needed) = needed {
            self.expect_bar(id, level, needed.from, at.monotonic);
            self.ask(
                id,
                level,
                at.monotonic,
                Effect::FetchFirstTrades {
                    instrument: id,
                    needed,
                },
            );
        }
        for bar in &changed {
            let state = self.known_mut(id);
            if let (Some(state), Some(from)) = (state, whole_from) {
                let gate = &mut state.kline_feed(level).gate;
                gate.pass_empty(from, bar.open_time);
            }
            self.on_kline(id, bar, at);
        }
    }

    /// Takes the trades that a bar began with; `None`: they can't be had.
    pub fn on_first_trades(
        &mut self,
        id: InstrumentId,
        needed: TradesNeeded,
        trades: Option<&[Trade]>,
    ) {
        let at = self.now();
        let Some(state) = self.known_mut(id) else {
            return;
        };
        let Some(bars) = state.trade_bars() else {
            return;
        };
        // Something else may be needed by now.
        let is_wanted = bars.needed() == Some(needed);
        let is_had = trades.is_some_and(|trades| bars.on_needed(needed, trades));
        state.kline_feed(Level::ALL[0]).ask_at = match is_wanted && !is_had {
            true => at.monotonic + ASK_PAUSE,
            false => at.monotonic,
        };
        if is_had {
            self.drain_bars_of(id, at);
        }
    }

    /// Adds a bar to those that it is a part of, and passes on what becomes of them.
    pub(super) fn add_to_sums(&mut self, id: InstrumentId, part: &Kline, ts_recv: TsNanos) {
        let Some(state) = self.known_mut(id) else {
            return;
        };
        let mut changed = [None; Level::ALL.len()];
        for (level, sum) in state.sums_of(part.level) {
            changed[level as usize] = Some((level, sum.on_part(part), sum.needed()));
        }
        let at = ReadAt {
            wall: ts_recv,
            monotonic: self.clock.monotonic(),
        };
        for (level, bars, needed) in changed.into_iter().flatten() {
            for bar in bars.iter().flatten() {
                self.on_kline(id, bar, at);
            }
            if let Some(needed) = needed {
                self.expect_bar(id, level, needed.from, at.monotonic);
                self.ask_parts(id, level, part.level, needed, at.monotonic);
            }
        }
    }

    fn ask_parts(
        &mut self,
        id: InstrumentId,
        level: Level,
        from: Level,
        needed: PartsNeeded,
        now: Duration,
    ) {
        self.ask(
            id,
            level,
            now,
            Effect::FetchParts {
                instrument: id,
                level,
                from,
                needed,
            },
        );
    }

    /// Takes the shorter bars that one began with, all that there are; `None`: they can't be had.
    pub fn on_parts(
        &mut self,
        id: InstrumentId,
        level: Level,
        needed: PartsNeeded,
        parts: Option<&[Kline]>,
    ) {
        let at = self.now();
        let Some(state) = self.known_mut(id) else {
            return;
        };
        let feed = state.kline_feed(level);
        let Some(Built::Bars(_, sum)) = &mut feed.built else {
            return;
        };
        let bar = parts.and_then(|parts| sum.on_needed(needed, parts));
        feed.ask_at = match parts {
            // What is needed now is something else.
            Some(_) => at.monotonic,
            None => at.monotonic + ASK_PAUSE,
        };
        if let Some(bar) = bar {
            self.on_kline(id, &bar, at);
        }
    }

    /// A bar has begun that can't be shown yet, or never: it is missed if its close does not come.
    fn expect_bar(&mut self, id: InstrumentId, level: Level, open_time: TsNanos, now: Duration) {
        let Some(state) = self.known_mut(id) else {
            return;
        };
        if let Some(missed) = state.kline_feed(level).gate.expect(open_time) {
            self.miss_bars(id, level, missed, now);
        }
    }

    /// Asks for what bars need of the past, unless that has just been done.
    fn ask(&mut self, id: InstrumentId, level: Level, now: Duration, effect: Effect) {
        let Some(state) = self.known_mut(id) else {
            return;
        };
        let feed = state.kline_feed(level);
        if now >= feed.ask_at {
            feed.ask_at = now + ASK_PATIENCE;
            self.effects.push(effect);
        }
    }

    fn now(&self) -> ReadAt {
        ReadAt {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }
}
