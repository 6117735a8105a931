//! What OKX's channels say about the market, and when.

use std::collections::HashMap;

use super::encode::{self, Listed};
use super::listing::Terms;
use super::protocol;
use super::stream::{Kind, Topic};
use super::trade::{self, Trading};
use crate::account::PrivateEvent;
use crate::config::OkxLimits;
use crate::market::{
    BookSide, Contract, Event, EventKind, Fixed, InstrumentIx, Interval, Market, Price, Segment,
    TimeRange,
};
use crate::venue::window::{Changes, Touched, Window};
use crate::venue::{self, Envelope, Venue, is_due};

/// Levels of `books`.
const DEPTH: usize = 400;
/// Time between two pushes of a book.
const BOOK_MS: i64 = 100;
/// A book that did not change for so long is confirmed.
const CONFIRM_MS: i64 = 60_000;
/// Time between two pushes of a bar or a ticker.
const SECOND_MS: i64 = 1_000;
/// Time between two pushes of a funding rate.
const RATE_MS: i64 = 60_000;

/// The exchange behind the wire.
pub(crate) type Core = venue::Core<Okx>;

/// A connection: messages go out as they are.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Its name in answers.
    pub(crate) name: String,
}

impl Envelope for Connection {
    const IS_SHARED: bool = true;

    fn market(&self) -> Option<Segment> {
        None
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn seal(&mut self, _name: &str, body: &str) -> String {
        body.to_owned()
    }
}

/// What listeners of a book have.
struct Shown {
    window: Window,
    /// Filled where listeners begin with an image by REST.
    touched: Touched,
    seq: u64,
    at_ms: i64,
}

/// One instrument's pending messages.
struct Board {
    name: String,
    market: Segment,
    terms: Terms,
    shown: Option<Shown>,
    /// Trades so far: tells a changed bar from an unchanged one.
    trades: u64,
    /// Spreads the slots of the instruments over time.
    phase_ms: i64,
}

struct BarState {
    open_ms: i64,
    trades: u64,
}

/// What is OKX's own.
pub(crate) struct Okx {
    boards: Vec<Board>,
    bars: HashMap<Topic, BarState>,
    has_checksums: bool,
    has_images: bool,
    pub(crate) trading: Trading,
}

impl Okx {
    pub(crate) fn new(
        market: &Market,
        terms: Vec<Terms>,
        limits: &OkxLimits,
        trading: Trading,
    ) -> Self {
        let boards = market.instruments().iter().zip(terms).zip(0_i64..);
        let boards = boards
            .map(|((it, terms), at)| Board {
                name: it.symbol.clone(),
                market: it.segment,
                terms,
                shown: None,
                trades: 0,
                phase_ms: (at * 30) % BOOK_MS,
            })
            .collect();
        Self {
            boards,
            bars: HashMap::new(),
            has_checksums: limits.has_checksums,
            has_images: limits.has_images,
            trading,
        }
    }

    /// The instrument of an OKX number.
    pub(crate) fn of_code(&self, code: u32) -> Option<InstrumentIx> {
        let mut boards = self.boards.iter();
        let at = boards.position(|board| board.terms.code == code)?;
        Some(ix(at))
    }

    /// The instrument of an OKX name.
    pub(crate) fn find(&self, name: &str) -> Option<(InstrumentIx, Segment)> {
        let at = self.boards.iter().position(|board| board.name == name)?;
        let ix = InstrumentIx(u16::try_from(at).ok()?);
        Some((ix, self.boards[at].market))
    }
}

fn ix(at: usize) -> InstrumentIx {
    InstrumentIx(u16::try_from(at).unwrap_or(u16::MAX))
}

/// `{"arg":{…},"data":[…]}`
fn push(kind: Kind, name: &str, action: &str, row: &str) -> String {
    let channel = kind.channel();
    format!(
        "{{\"arg\":{{\"channel\":\"{channel}\",\"instId\":\"{name}\"}},{action}\"data\":[{row}]}}"
    )
}

impl Core {
    /// An instrument with OKX's terms.
    pub(crate) fn listed(&self, ix: InstrumentIx) -> Option<Listed<'_>> {
        let it = self.instrument(ix)?;
        let terms = self.venue.boards.get(usize::from(ix.0))?.terms;
        Some(Listed { it, terms })
    }

    /// All of a market.
    pub(crate) fn all(&self, market: Segment) -> impl Iterator<Item = (InstrumentIx, Listed<'_>)> {
        let boards = self.venue.boards.iter().enumerate();
        boards
            .filter(move |(_, board)| board.market == market)
            .filter_map(|(at, _)| Some((ix(at), self.listed(ix(at))?)))
    }

    /// The channel that a request names; `None` when there is none for that instrument.
    pub(crate) fn topic(&self, kind: Kind, inst_id: &str) -> Option<Topic> {
        let (ix, market) = match kind {
            // An index is named like the pair, and told beside its swap.
            Kind::Index => self.venue.find(&format!("{inst_id}-SWAP"))?,
            _ => self.venue.find(inst_id)?,
        };
        kind.is_for(market).then_some(Topic { market, ix, kind })
    }

    /// The message that a new listener begins with.
    pub(crate) fn first(&mut self, topic: Topic) -> Option<String> {
        let at = usize::from(topic.ix.0);
        match topic.kind {
            Kind::Books => {
                // Whoever listens already gets the way to this image as an update.
                self.flush_book(at);
                if self.venue.boards[at].shown.is_none() {
                    let depth = self.market.depth(topic.ix, DEPTH);
                    self.venue.boards[at].shown = Some(Shown {
                        seq: encode::seq(depth.update_id),
                        window: Window::of(&depth),
                        touched: Touched::default(),
                        at_ms: self.now_ms(),
                    });
                }
                let (listed, shown) = (
                    self.listed(topic.ix)?,
                    self.venue.boards[at].shown.as_ref()?,
                );
                let sum = self.checksum(&listed, &shown.window);
                let sides = (&shown.window.bids[..], &shown.window.asks[..]);
                let row = listed.book(sides, self.now_ms(), sum, (shown.seq, -1));
                Some(push(
                    topic.kind,
                    &listed.it.symbol,
                    "\"action\":\"snapshot\",",
                    &row,
                ))
            }
            Kind::Candle(interval) => self.bar(topic, interval, self.now_ms()),
            Kind::Trades | Kind::AllTrades => None,
            kind => self.row(kind, topic.ix).map(|row| {
                let name = self.arg_name(topic);
                push(kind, &name, "", &row)
            }),
        }
    }

    /// What a channel's arg names.
    fn arg_name(&self, topic: Topic) -> String {
        let it = self.instrument(topic.ix);
        match topic.kind {
            Kind::Index => it.map(|it| it.pair.clone()),
            _ => it.map(|it| it.symbol.clone()),
        }
        .unwrap_or_default()
    }

    fn checksum(&self, listed: &Listed<'_>, window: &Window) -> i32 {
        match self.venue.has_checksums {
            true => listed.checksum(window),
            false => 0,
        }
    }

    /// The present state as a row of a channel or of a REST answer.
    pub(crate) fn row(&self, kind: Kind, ix: InstrumentIx) -> Option<String> {
        let listed = self.listed(ix)?;
        match kind {
            Kind::Books5 => {
                let depth = self.market.depth(ix, 5);
                Some(listed.image(&depth, encode::seq(depth.update_id)))
            }
            Kind::BestPrices => {
                Some(listed.best_prices(&self.market.bbo(ix), self.now_ms() * 1_000))
            }
            Kind::FundingRate => {
                let Contract::Perpetual(terms) = &listed.it.contract else {
                    return None;
                };
                listed.funding_rate(&self.market.premium_index(ix)?, terms)
            }
            Kind::MarkPrice => Some(listed.mark_price(&self.market.premium_index(ix)?)),
            Kind::Index => Some(listed.index(&self.market.premium_index(ix)?)),
            Kind::Tickers => Some(listed.ticker(&self.market.ticker(ix)?, &self.market.bbo(ix))),
            Kind::Books | Kind::Trades | Kind::AllTrades | Kind::Candle(_) => None,
        }
    }

    fn publish(&mut self, ix: InstrumentIx, kind: Kind, row: impl FnOnce(&Self) -> Option<String>) {
        let Some(board) = self.venue.boards.get(usize::from(ix.0)) else {
            return;
        };
        let market = board.market;
        let topic = Topic { market, ix, kind };
        if self.hub.is_wanted(&topic)
            && let Some(row) = row(self)
        {
            let body = push(kind, &self.arg_name(topic), "", &row);
            let name = &self.venue.boards[usize::from(ix.0)].name;
            self.hub.publish(&mut self.faults, topic, Some(name), body);
        }
    }

    /// Keeps in mind that something happened at a price.
    ///
    /// An image by REST is of a moment between two pushes, and the rule for it (prevSeqId <= seqId of
    /// the image < seqId) lets the later push be applied to it. That gives the book only when the
    /// push tells every level touched since the one before, also one that is as it was.
    fn note(&mut self, ix: InstrumentIx, side: BookSide, price: Price) {
        let venue = &mut self.venue;
        let board = venue.boards.get_mut(usize::from(ix.0));
        if !venue.has_images
            && let Some(shown) = board.and_then(|board| board.shown.as_mut())
        {
            shown.touched.note(side, price);
        }
    }

    /// Tells the listeners of a book what changed.
    fn flush_book(&mut self, at: usize) {
        let (ix, now_ms) = (ix(at), self.now_ms());
        let board = &mut self.venue.boards[at];
        let topic = Topic {
            market: board.market,
            ix,
            kind: Kind::Books,
        };
        if !self.hub.is_wanted(&topic) {
            board.shown = None;
            return;
        }
        let Some(shown) = board.shown.as_mut() else {
            return;
        };
        let seq = encode::seq(self.market.bbo(ix).update_id);
        let mut changes = Changes::default();
        if seq != shown.seq {
            // Nothing is noted where images come with the stream: these are net changes there.
            let touched = std::mem::take(&mut shown.touched);
            let depth = self.market.depth(ix, DEPTH + touched.most());
            changes = shown.window.move_past(&depth, DEPTH, &touched);
        }
        let prev = shown.seq;
        if !changes.is_empty() {
            shown.seq = seq;
        } else if now_ms - shown.at_ms < CONFIRM_MS {
            return;
        }
        shown.at_ms = now_ms;
        let seq = shown.seq;
        let (Some(listed), Some(shown)) = (self.listed(ix), &self.venue.boards[at].shown) else {
            return;
        };
        let sum = self.checksum(&listed, &shown.window);
        let sides = (&changes.bids[..], &changes.asks[..]);
        let prev = i64::try_from(prev).unwrap_or(i64::MAX);
        let row = listed.book(sides, now_ms, sum, (seq, prev));
        let body = push(
            topic.kind,
            &listed.it.symbol,
            "\"action\":\"update\",",
            &row,
        );
        let name = &self.venue.boards[at].name;
        self.hub.publish(&mut self.faults, topic, Some(name), body);
    }

    /// The id and window that listeners of a book have now.
    pub(crate) fn shown(&self, ix: InstrumentIx) -> Option<(u64, &Window)> {
        let shown = self.venue.boards.get(usize::from(ix.0))?.shown.as_ref()?;
        Some((shown.seq, &shown.window))
    }

    /// A message of the bar that runs at a time.
    fn bar(&self, topic: Topic, interval: Interval, at_ms: i64) -> Option<String> {
        let open_ms = interval.open_of(at_ms);
        let range = TimeRange {
            start_ms: Some(open_ms),
            end_ms: Some(open_ms),
            limit: 1,
        };
        let bar = self.market.klines(topic.ix, interval, range).pop()?;
        let listed = self.listed(topic.ix)?;
        Some(push(
            topic.kind,
            &listed.it.symbol,
            "",
            &listed.candle(&bar),
        ))
    }

    fn bars(&mut self, before_ms: i64, now_ms: i64) {
        let hub = &self.hub;
        self.venue.bars.retain(|topic, _| hub.is_wanted(topic));
        for topic in self
            .hub
            .wanted(|topic| matches!(topic.kind, Kind::Candle(_)))
        {
            let Kind::Candle(interval) = topic.kind else {
                continue;
            };
            let board = &self.venue.boards[usize::from(topic.ix.0)];
            let (trades, phase) = (board.trades, board.phase_ms);
            let open_ms = interval.open_of(now_ms);
            let fresh = BarState { open_ms, trades };
            let state = self.venue.bars.entry(topic).or_insert(fresh);
            let ended = (open_ms > state.open_ms).then_some(state.open_ms);
            let is_news = state.trades != trades && is_due(before_ms, now_ms, phase, SECOND_MS);
            state.open_ms = open_ms;
            if is_news {
                state.trades = trades;
            }
            let running = is_news.then_some(open_ms);
            for open_ms in [ended, running].into_iter().flatten() {
                if let Some(body) = self.bar(topic, interval, open_ms) {
                    let name = &self.venue.boards[usize::from(topic.ix.0)].name;
                    self.hub.publish(&mut self.faults, topic, Some(name), body);
                }
            }
        }
    }
}

impl Venue for Okx {
    type Topic = Topic;
    type Envelope = Connection;

    fn on_event(core: &mut Core, event: &Event) {
        let (ix, ts_us) = (event.instrument, event.ts_us);
        match event.kind {
            EventKind::Trade(trade) => {
                if let Some(board) = core.venue.boards.get_mut(usize::from(ix.0)) {
                    board.trades += 1;
                }
                core.publish(ix, Kind::AllTrades, |core| {
                    Some(core.listed(ix)?.trade(&trade))
                });
            }
            EventKind::AggTrade(agg) => core.publish(ix, Kind::Trades, |core| {
                Some(core.listed(ix)?.merged_trade(&agg))
            }),
            EventKind::Bbo(bbo) => core.publish(ix, Kind::BestPrices, |core| {
                Some(core.listed(ix)?.best_prices(&bbo, ts_us))
            }),
            EventKind::Mark(premium) => {
                core.publish(ix, Kind::Index, |core| {
                    Some(core.listed(ix)?.index(&premium))
                });
                core.publish(ix, Kind::MarkPrice, |core| {
                    Some(core.listed(ix)?.mark_price(&premium))
                });
            }
            EventKind::Funding(_) => core.publish(ix, Kind::FundingRate, |core| {
                core.row(Kind::FundingRate, ix)
            }),
            EventKind::Book(change) => core.note(ix, change.side, change.price),
            EventKind::Fill(_) => {}
        }
    }

    fn on_private(core: &mut Core, event: &PrivateEvent) {
        trade::stream::tell(core, event);
    }

    fn on_step(core: &mut Core, before_ms: i64, now_ms: i64) {
        for at in 0..core.venue.boards.len() {
            let phase = core.venue.boards[at].phase_ms;
            let due = |every_ms| is_due(before_ms, now_ms, phase, every_ms);
            if due(BOOK_MS) {
                core.flush_book(at);
                core.publish(ix(at), Kind::Books5, |core| core.row(Kind::Books5, ix(at)));
            }
            if due(SECOND_MS) {
                core.publish(ix(at), Kind::Tickers, |core| {
                    core.row(Kind::Tickers, ix(at))
                });
            }
            if due(RATE_MS) {
                core.publish(ix(at), Kind::FundingRate, |core| {
                    core.row(Kind::FundingRate, ix(at))
                });
            }
        }
        core.bars(before_ms, now_ms);
    }

    fn flush(core: &mut Core) {
        for at in 0..core.venue.boards.len() {
            core.flush_book(at);
        }
    }

    fn symbol_of(&self, topic: &Topic) -> Option<String> {
        let board = self.boards.get(usize::from(topic.ix.0))?;
        Some(board.name.clone())
    }

    fn goodbye(envelope: &mut Connection, _now_ms: i64) -> Option<String> {
        Some(protocol::notice(&envelope.name))
    }

    fn symbols(core: &Core, market: Segment) -> Vec<String> {
        let all = core.venue.boards.iter();
        let of_market = all.filter(|board| board.market == market);
        of_market.map(|board| board.name.clone()).collect()
    }

    fn seeded(core: &Core, market: Segment, symbol: &str) -> Option<InstrumentIx> {
        let (ix, its) = core.venue.find(symbol)?;
        (its == market).then_some(ix)
    }

    fn print(number: Fixed) -> String {
        number.trimmed().to_string()
    }

    fn sequence(update_id: u64) -> u64 {
        encode::seq(update_id)
    }
}
