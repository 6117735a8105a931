//! What the data path can't notice because nothing happens: losses to be told, bars that never
//! closed, books that fall behind.

use std::time::Duration;

use bookwire_engine::book::sync::BookState;
use bookwire_engine::exchange::Feed;
use bookwire_engine::instrument::InstrumentId;
use bookwire_engine::time::Level;

use super::ShardState;

/// A bar's closing message may be this late before the bar is asked for (5 to 10 s were reported).
const CLOSE_PATIENCE: Duration = Duration::from_secs(12);
/// Best prices may be ahead of the book for this long: its deltas come ten times a second.
const BEHIND_MAX: Duration = Duration::from_secs(5);

impl ShardState {
    /// Ten times a second: what did not fit on a lane or the recorder's ring, and bars whose
    /// waiting is over.
    pub fn sweep(&mut self, now: Duration) {
        self.out.retry_notes();
        if let Some(port) = &mut self.recorder {
            port.drain();
            let is_losing = port.waiting() > 0 && port.lost() > 0;
            if is_losing != self.is_losing_rows {
                self.is_losing_rows = is_losing;
                let lost = port.lost();
                match is_losing {
                    true => tracing::error!(lost, "recorder too far behind: rows are being lost"),
                    false => tracing::info!(lost, "recorder has caught up"),
                }
            }
        }
        if self.out.has_losses {
            self.repair();
        }
        let mut due: Vec<(InstrumentId, Level)> = Vec::new();
        for state in self.instruments.iter().flatten() {
            let is_due = |feed: &super::feeds::KlineFeed| {
                feed.held.as_ref().is_some_and(|held| held.until <= now)
            };
            for (level, feed) in Level::ALL.iter().zip(&state.klines) {
                if feed.as_deref().is_some_and(is_due) {
                    due.push((state.instrument.id, *level));
                }
            }
        }
        for (id, level) in due {
            self.give_up_bars(id, level);
        }
    }

    fn repair(&mut self) {
        let Self {
            instruments, out, ..
        } = self;
        out.has_losses = false;
        let mut is_clean = true;
        for state in instruments.iter_mut().flatten() {
            if !state.has_topics() {
                continue;
            }
            let instrument = &state.instrument;
            is_clean &= state.book_topics.repair(out, instrument);
            is_clean &= state.trades.topics.repair(out, instrument);
            is_clean &= state.ticker_topics.repair(out, instrument);
            is_clean &= state.funding_topics.repair(out, instrument);
            for feed in state.klines.iter_mut().flatten() {
                is_clean &= feed.topics.repair(out, instrument);
            }
        }
        out.has_losses |= !is_clean;
    }

    /// Once a second: closes that never came.
    pub fn sweep_bars(&mut self, now: Duration) {
        let wall = self.clock.now();
        self.look_for_overdue(now, wall, CLOSE_PATIENCE);
    }

    /// Every ten seconds: promises about recorded trades.
    pub fn sweep_promises(&mut self) {
        self.promise_trades();
    }

    /// True when a feed is known to be deaf although its silence alone would prove nothing: best
    /// prices have been ahead of the book for too long.
    #[must_use]
    pub fn is_behind(&self, id: InstrumentId, feed: Feed, now: Duration) -> bool {
        let book = self.known(id).and_then(|state| state.book.as_ref());
        feed == Feed::Book
            && book.is_some_and(|book| {
                book.synced.state() == BookState::Synced
                    && book
                        .behind_since
                        .is_some_and(|since| now.saturating_sub(since) > BEHIND_MAX)
            })
    }
}
