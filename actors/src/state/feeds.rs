//! What a shard knows of one instrument: its book, bars, last values, and who wants them.

use std::collections::VecDeque;
use std::hash::{Hash as _, Hasher as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::book::sync::SyncedBook;
use bookwire_engine::event::{Funding, Kline, Ticker, TradeId};
use bookwire_engine::exchange::Feed;
use bookwire_engine::instrument::Instrument;
use bookwire_engine::kline::{KlineGate, RollUp, TradeBars};
use bookwire_engine::store::Entity;
use bookwire_engine::time::{Level, TsNanos};
use tokio::sync::Notify;

use super::paper::Bench;
use super::topics::Topics;
use super::touch::TouchWriter;
use crate::quarantine::LiveCheck;
use crate::topic::StreamKind;

/// Number of feeds: four and one for each bar level.
const FEEDS: usize = 4 + Level::ALL.len();

/// Index of a feed in tables.
pub(crate) fn feed_index(feed: Feed) -> usize {
    match feed {
        Feed::Book => 0,
        Feed::Trades => 1,
        Feed::Ticker => 2,
        Feed::Funding => 3,
        Feed::Klines(level) => 4 + level as usize,
    }
}

/// A book and its surroundings.
#[derive(Debug)]
pub(crate) struct BookFeed {
    pub(crate) synced: SyncedBook,
    /// Told when the book becomes trusted.
    pub(crate) changed: Rc<Notify>,
    /// The stream is acknowledged and its connection up.
    pub(crate) is_stream_live: bool,
    /// The stream has been joined and its image, where it begins with one, has not come yet.
    pub(crate) awaits_image: bool,
    /// Workers have been told that it is not to be trusted.
    pub(crate) is_bad_told: bool,
    /// Best prices have been ahead of the book since then (monotonic).
    pub(crate) behind_since: Option<Duration>,
    /// When the last frame for it was received.
    pub(crate) ts_recv: TsNanos,
}

/// Bars held back while bars before them are being fetched.
#[derive(Debug)]
pub(crate) struct Held {
    /// They go out then at the latest (monotonic).
    pub(crate) until: Duration,
    pub(crate) closed: Vec<(Kline, TsNanos)>,
    pub(crate) forming: Option<(Kline, TsNanos)>,
}

/// Bars that are not streamed.
#[derive(Debug)]
pub(crate) enum Built {
    /// Out of the instrument's trades.
    Trades(TradeBars),
    /// Out of its bars of a shorter level.
    Bars(Level, RollUp),
}

/// Bars of one level.
#[derive(Debug)]
pub(crate) struct KlineFeed {
    pub(crate) gate: KlineGate,
    /// How they are made; `None`: as the exchange streams them.
    pub(crate) built: Option<Built>,
    /// What they need of the past is not asked for again before (monotonic).
    pub(crate) ask_at: Duration,
    pub(crate) last: Option<(Kline, TsNanos)>,
    pub(crate) held: Option<Held>,
    /// An overdue close is looked for again then (monotonic).
    pub(crate) check_at: Duration,
    /// What closed bars have to pass before they are stored.
    pub(crate) check: LiveCheck,
    pub(crate) topics: Topics,
}

impl KlineFeed {
    fn new(level: Level) -> Self {
        Self {
            gate: KlineGate::new(level),
            built: None,
            ask_at: Duration::ZERO,
            last: None,
            held: None,
            check_at: Duration::ZERO,
            check: LiveCheck::default(),
            topics: Topics::default(),
        }
    }
}

/// Ids remembered to tell repeated trades.
const RECENT_TRADES: usize = 1024;

/// What a trade's id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TradeNews {
    /// It has not been there before. `after`: the highest number before it, where its own is higher.
    New { after: Option<u64> },
    /// It has been there, or is older than all that is remembered.
    Repeated,
}

/// The last ids of one instrument's trades.
#[derive(Debug, Default)]
pub(crate) struct RecentTrades {
    newest: Option<u64>,
    ids: VecDeque<u64>,
}

impl RecentTrades {
    /// Judges an id and remembers it.
    #[inline]
    pub(crate) fn judge(&mut self, id: TradeId) -> TradeNews {
        let (key, after) = match id {
            TradeId::Number(number) if self.newest.is_none_or(|newest| number > newest) => {
                (number, self.newest.replace(number))
            }
            TradeId::Number(number) => {
                // Before the first one seen, or before all that is remembered: a repetition as far
                // as anybody can tell.
                if self.ids.iter().all(|old| number < *old) || self.ids.contains(&number) {
                    return TradeNews::Repeated;
                }
                (number, None)
            }
            TradeId::Uuid(_) | TradeId::Text(_) => {
                let key = digest(id);
                if self.ids.contains(&key) {
                    return TradeNews::Repeated;
                }
                (key, None)
            }
        };
        if self.ids.len() == RECENT_TRADES {
            self.ids.pop_front();
        }
        self.ids.push_back(key);
        TradeNews::New { after }
    }
}

/// 64 bits that stand for an id that is no number.
fn digest(id: TradeId) -> u64 {
    let mut hasher = ahash::AHasher::default();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Trades of one instrument.
#[derive(Debug, Default)]
pub(crate) struct TradeFeed {
    /// Ids of late, which tell a repeated trade from one that only came out of order.
    pub(crate) recent: RecentTrades,
    pub(crate) last_ts: TsNanos,
    /// All trades from here to `last_ts` have been handed to the recorder.
    pub(crate) covered_from: Option<TsNanos>,
    /// The stream was lost after this instant, and what came since may lack something.
    pub(crate) lost_at: Option<TsNanos>,
    pub(crate) topics: Topics,
}

/// One instrument's feeds.
#[derive(Debug)]
pub(crate) struct InstrumentState {
    pub(crate) instrument: Arc<Instrument>,
    pub(crate) entity: Arc<Entity>,
    pub(crate) book: Option<BookFeed>,
    pub(crate) book_topics: Topics,
    pub(crate) trades: TradeFeed,
    pub(crate) klines: [Option<Box<KlineFeed>>; Level::ALL.len()],
    pub(crate) ticker: Option<(Ticker, TsNanos)>,
    pub(crate) ticker_topics: Topics,
    pub(crate) funding: Option<(Funding, TsNanos)>,
    pub(crate) funding_topics: Topics,
    /// When each feed was last heard (monotonic); zero: never.
    pub(crate) heard: [Duration; FEEDS],
    /// Orders on paper; `None`: none.
    pub(crate) paper: Option<Box<Bench>>,
    /// Who reads the best prices; `None`: nobody.
    pub(crate) touch: Option<TouchWriter>,
}

impl InstrumentState {
    pub(crate) fn new(instrument: Arc<Instrument>) -> Self {
        Self {
            entity: Entity::of(&instrument),
            instrument,
            book: None,
            book_topics: Topics::default(),
            trades: TradeFeed::default(),
            klines: Default::default(),
            ticker: None,
            ticker_topics: Topics::default(),
            funding: None,
            funding_topics: Topics::default(),
            heard: [Duration::ZERO; FEEDS],
            paper: None,
            touch: None,
        }
    }

    /// The bars that are built from trades, where any are: only the shortest level is.
    #[inline]
    pub(crate) fn trade_bars(&mut self) -> Option<&mut TradeBars> {
        match &mut self.klines[Level::ALL[0] as usize].as_deref_mut()?.built {
            Some(Built::Trades(bars)) => Some(bars),
            _ => None,
        }
    }

    /// The sums of which bars of `from` are parts.
    pub(crate) fn sums_of(&mut self, from: Level) -> impl Iterator<Item = (Level, &mut RollUp)> {
        let feeds = self.klines.iter_mut().flatten();
        feeds.filter_map(move |feed| match &mut feed.built {
            Some(Built::Bars(level, sum)) if *level == from => Some((feed.gate.level(), sum)),
            _ => None,
        })
    }

    pub(crate) fn kline_feed(&mut self, level: Level) -> &mut KlineFeed {
        self.klines[level as usize].get_or_insert_with(|| Box::new(KlineFeed::new(level)))
    }

    pub(crate) fn topics(&mut self, kind: StreamKind) -> &mut Topics {
        match kind {
            StreamKind::OrderBook { .. } => &mut self.book_topics,
            StreamKind::Trades => &mut self.trades.topics,
            StreamKind::Klines(level) => &mut self.kline_feed(level).topics,
            StreamKind::Ticker => &mut self.ticker_topics,
            StreamKind::Funding => &mut self.funding_topics,
        }
    }

    pub(crate) fn has_topics(&self) -> bool {
        let has_bars = self.klines.iter().flatten().any(|k| !k.topics.is_empty());
        has_bars
            || !self.book_topics.is_empty()
            || !self.trades.topics.is_empty()
            || !self.ticker_topics.is_empty()
            || !self.funding_topics.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_trade_is_told_and_a_repeated_one_is_not() {
        let mut recent = RecentTrades::default();
        let mut judge = |id: u64| recent.judge(TradeId::Number(id));
        assert_eq!(judge(10), TradeNews::New { after: None });
        assert_eq!(judge(12), TradeNews::New { after: Some(10) });
        assert_eq!(judge(12), TradeNews::Repeated);
        // It was skipped, so it can't have been there.
        assert_eq!(judge(11), TradeNews::New { after: None });
        assert_eq!(judge(11), TradeNews::Repeated);
        assert_eq!(judge(10), TradeNews::Repeated);
        assert_eq!(judge(9), TradeNews::Repeated, "before the first one seen");
        assert_eq!(judge(13), TradeNews::New { after: Some(12) });
    }

    #[test]
    fn ids_that_are_no_numbers_are_remembered_as_they_come() {
        let mut recent = RecentTrades::default();
        let uuid = |value: u128| TradeId::Uuid(value);
        let new = TradeNews::New { after: None };
        assert_eq!(recent.judge(uuid(7)), new);
        assert_eq!(recent.judge(uuid(3)), new);
        assert_eq!(recent.judge(uuid(7)), TradeNews::Repeated);
        assert_eq!(recent.judge(TradeId::parse("x-7")), new);
        for value in 100..100 + RECENT_TRADES as u128 {
            assert_eq!(recent.judge(uuid(value)), new);
        }
        assert_eq!(recent.judge(uuid(100)), TradeNews::Repeated);
        assert_eq!(recent.ids.len(), RECENT_TRADES, "bounded");
    }
}
