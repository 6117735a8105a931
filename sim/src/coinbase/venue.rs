//! From market events to frames: what is told when.
//!
//! Books are told in batches of 50 ms: a level that came and went within one is told as gone
//! although nobody has heard of it. Matches are told in batches of 250 ms, bars once a second.

use std::collections::{BTreeMap, BTreeSet};

use crate::account::PrivateEvent;
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::market::{
    BookSide, Event, EventKind, Fixed, InstrumentIx, Interval, Kline, Market, Price, Segment,
    Ticker24h, TimeRange, Trade,
};
use crate::venue::{self, Envelope, SessionId, is_due};

use super::encode::{self, Change, Figures, NUMBER};
use super::listing;
use super::trade::{self, Trading};

/// Batches of books and of best prices.
const BOOK_MS: i64 = 50;
/// Batches of matches.
const TRADES_MS: i64 = 250;
/// Bars and heartbeats.
const SECOND_MS: i64 = 1_000;
/// `ticker_batch`.
const TICKER_BATCH_MS: i64 = 5_000;
/// Matches that a subscription begins with.
const TRADES_FIRST: usize = 100;
/// Bars that a subscription begins with.
const BARS_FIRST: usize = 100;

/// What a channel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Book,
    Trades,
    Ticker,
    TickerBatch,
    Candles,
    Heartbeats,
}

impl Kind {
    const NAMES: [(&'static str, Self); 6] = [
        ("level2", Self::Book),
        ("market_trades", Self::Trades),
        ("ticker", Self::Ticker),
        ("ticker_batch", Self::TickerBatch),
        ("candles", Self::Candles),
        ("heartbeats", Self::Heartbeats),
    ];

    /// The channel of that name.
    pub(super) fn parse(channel: &str) -> Option<Self> {
        let mut names = Self::NAMES.iter();
        names
            .find(|(name, _)| *name == channel)
            .map(|(_, kind)| *kind)
    }

    /// The name that it is subscribed by.
    pub(super) fn channel(self) -> &'static str {
        let mut names = Self::NAMES.iter();
        names
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }
}

/// A channel of a product; heartbeats have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Topic {
    pub(super) kind: Kind,
    pub(super) ix: Option<InstrumentIx>,
}

impl venue::Topic for Topic {
    fn market(&self) -> Segment {
        Segment::Spot
    }

    fn family(&self) -> &'static str {
        match self.kind {
            Kind::Book => "depth",
            Kind::Trades => "trade",
            Kind::Ticker => "bookTicker",
            Kind::TickerBatch => "ticker",
            Kind::Candles => "kline",
            Kind::Heartbeats => "heartbeat",
        }
    }

    fn suffix(&self) -> String {
        self.kind.channel().to_owned()
    }

    fn is_diff(&self) -> bool {
        self.kind == Kind::Book
    }
}

/// A connection: it numbers its frames from 0, whatever their channel.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    sequence: u64,
}

impl Envelope for Connection {
    const IS_SHARED: bool = false;
    const IS_NUMBERED: bool = true;

    fn market(&self) -> Option<Segment> {
        Some(Segment::Spot)
    }

    fn is_plain(&self) -> bool {
        false
    }

    fn seal(&mut self, _name: &str, body: &str) -> String {
        let number = self.sequence;
        self.sequence += 1;
        match body.split_once(NUMBER) {
            Some((head, tail)) => format!("{head}{number}{tail}"),
            None => body.to_owned(),
        }
    }

    fn lose(&mut self) {
        self.sequence += 1;
    }
}

/// What the exchange remembers between two frames.
pub(crate) struct Coinbase {
    boards: Vec<Board>,
    pub(super) trading: Trading,
}

/// One product's.
struct Board {
    symbol: String,
    /// Levels changed since the last batch.
    changes: BTreeMap<(u8, Price), Change>,
    /// Matches since the last batch.
    trades: Vec<Trade>,
    /// Matches so far: tells a changed bar from an unchanged one.
    count: u64,
    /// The best prices or the last one moved since the last batch.
    is_moved: bool,
    bar: Option<BarState>,
    /// Prices of the day, computed once a second.
    day: Option<(i64, Ticker24h)>,
    /// Lowest and highest price of the year before, computed when first asked for.
    year: Option<(Price, Price)>,
    /// Spreads the slots of the products over time.
    phase_ms: i64,
}

struct BarState {
    open_ms: i64,
    count: u64,
}

/// Coinbase behind the wire.
pub(crate) type Core = venue::Core<Coinbase>;

/// Opens the exchange on a market.
pub(super) fn open(market: Market, clock: Clock, faults: FaultDesk, trading: Trading) -> Core {
    let boards = (0_i64..)
        .zip(market.instruments())
        .map(|(at, it)| Board {
            symbol: it.symbol.clone(),
            changes: BTreeMap::new(),
            trades: Vec::new(),
            count: 0,
            is_moved: false,
            bar: None,
            day: None,
            year: None,
            phase_ms: at * 15 % SECOND_MS,
        })
        .collect();
    Core::new(market, clock, faults, Coinbase { boards, trading })
}

impl venue::Venue for Coinbase {
    type Topic = Topic;
    type Envelope = Connection;

    fn on_event(core: &mut Core, event: &Event) {
        let Some(board) = core.venue.boards.get_mut(usize::from(event.instrument.0)) else {
            return;
        };
        match event.kind {
            EventKind::Book(change) => {
                let key = (u8::from(change.side == BookSide::Ask), change.price);
                let told = Change {
                    side: change.side,
                    price: change.price,
                    qty: change.qty,
                    ts_us: event.ts_us,
                };
                board.changes.insert(key, told);
            }
            EventKind::Trade(trade) => {
                board.count += 1;
                board.is_moved = true;
                board.trades.push(trade);
            }
            EventKind::Bbo(_) => board.is_moved = true,
            _ => {}
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
                core.tell_book(at);
                core.tell_ticker(at);
            }
            if due(TRADES_MS) {
                core.tell_trades(at);
            }
            if due(SECOND_MS) {
                core.tell_bars(at);
            }
            if due(TICKER_BATCH_MS) {
                core.tell_figures(at, Kind::TickerBatch);
            }
        }
        if is_due(before_ms, now_ms, 0, SECOND_MS) {
            trade::expire(core, now_ms);
            let body = encode::heartbeat(now_ms * 1_000, now_ms.div_euclid(SECOND_MS) % 100_000);
            let topic = Topic {
                kind: Kind::Heartbeats,
                ix: None,
            };
            core.hub.publish(&mut core.faults, topic, None, body);
        }
    }

    fn flush(core: &mut Core) {
        for at in 0..core.venue.boards.len() {
            core.tell_book(at);
            core.tell_trades(at);
            core.tell_ticker(at);
            core.tell_bars(at);
        }
    }

    fn symbol_of(&self, topic: &Topic) -> Option<String> {
        let board = self.boards.get(usize::from(topic.ix?.0))?;
        Some(board.symbol.clone())
    }

    /// Coinbase says nothing before it closes.
    fn goodbye(_: &mut Connection, _: i64) -> Option<String> {
        None
    }

    fn symbols(core: &Core, market: Segment) -> Vec<String> {
        let all = core.market.instruments().iter();
        all.filter(|it| it.segment == market)
            .map(|it| it.symbol.clone())
            .collect()
    }

    fn seeded(core: &Core, market: Segment, symbol: &str) -> Option<InstrumentIx> {
        core.market.find(market, symbol)
    }

    fn print(number: Fixed) -> String {
        number.trimmed().to_string()
    }
}

impl Core {
    /// The product of a name, or the one whose book it shares.
    pub(super) fn product(&self, name: &str) -> Option<InstrumentIx> {
        let owner = listing::owner_of(name);
        self.market.find(Segment::Spot, &owner)
    }

    fn publish(&mut self, ix: InstrumentIx, kind: Kind, body: String) {
        let topic = Topic { kind, ix: Some(ix) };
        let name = self.market.instrument(ix).map(|it| it.symbol.as_str());
        self.hub.publish(&mut self.faults, topic, name, body);
    }

    fn is_wanted(&self, ix: InstrumentIx, kind: Kind) -> bool {
        self.hub.is_wanted(&Topic { kind, ix: Some(ix) })
    }

    fn tell_book(&mut self, at: usize) {
        let ix = InstrumentIx(at as u16);
        let changes = std::mem::take(&mut self.venue.boards[at].changes);
        if changes.is_empty() || !self.is_wanted(ix, Kind::Book) {
            return;
        }
        let changes: Vec<Change> = changes.into_values().collect();
        let now_us = self.now_ms() * 1_000;
        let Some(it) = self.market.instrument(ix) else {
            return;
        };
        let body = encode::book(it, "update", now_us, &changes);
        self.publish(ix, Kind::Book, body);
    }

    fn tell_trades(&mut self, at: usize) {
        let ix = InstrumentIx(at as u16);
        let trades = std::mem::take(&mut self.venue.boards[at].trades);
        if trades.is_empty() || !self.is_wanted(ix, Kind::Trades) {
            return;
        }
        let now_us = self.now_ms() * 1_000;
        let Some(it) = self.market.instrument(ix) else {
            return;
        };
        let body = encode::trades(it, "update", now_us, trades.iter());
        self.publish(ix, Kind::Trades, body);
    }

    fn tell_ticker(&mut self, at: usize) {
        if std::mem::take(&mut self.venue.boards[at].is_moved) {
            self.tell_figures(at, Kind::Ticker);
        }
    }

    fn tell_figures(&mut self, at: usize, kind: Kind) {
        let ix = InstrumentIx(at as u16);
        if self.is_wanted(ix, kind)
            && let Some(body) = self.figures(ix, kind, "update")
        {
            self.publish(ix, kind, body);
        }
    }

    fn figures(&mut self, ix: InstrumentIx, kind: Kind, event: &str) -> Option<String> {
        let now_ms = self.now_ms();
        let day = self.day(ix)?;
        let year = self.year(ix)?;
        let figures = Figures {
            it: self.market.instrument(ix)?,
            day: &day,
            year,
            bbo: self.market.bbo(ix),
        };
        Some(figures.frame(kind.channel(), event, now_ms * 1_000))
    }

    /// Figures of the last 24 hours, as of this second.
    pub(super) fn day(&mut self, ix: InstrumentIx) -> Option<Ticker24h> {
        let second = self.now_ms().div_euclid(SECOND_MS);
        let board = self.venue.boards.get_mut(usize::from(ix.0))?;
        if let Some((at, day)) = board.day
            && at == second
        {
            return Some(day);
        }
        let day = self.market.ticker(ix)?;
        board.day = Some((second, day));
        Some(day)
    }

    fn year(&mut self, ix: InstrumentIx) -> Option<(Price, Price)> {
        let board = self.venue.boards.get_mut(usize::from(ix.0))?;
        if board.year.is_none() {
            let range = TimeRange {
                start_ms: None,
                end_ms: None,
                limit: 364,
            };
            let days = self.market.klines(ix, Interval::D1, range);
            let low = days.iter().map(|day| day.low).min()?;
            let high = days.iter().map(|day| day.high).max()?;
            board.year = Some((low, high));
        }
        board.year
    }

    /// Tells a bar that moved, and the last of one that has ended.
    fn tell_bars(&mut self, at: usize) {
        let ix = InstrumentIx(at as u16);
        let is_wanted = self.is_wanted(ix, Kind::Candles);
        let now_ms = self.now_ms();
        let board = &mut self.venue.boards[at];
        if !is_wanted {
            board.bar = None;
            return;
        }
        let open_ms = Interval::M5.open_of(now_ms);
        let before = board.bar.replace(BarState {
            open_ms,
            count: board.count,
        });
        let mut opens = BTreeSet::new();
        match before {
            Some(old) if old.count == board.count => {}
            Some(old) => opens.extend([old.open_ms, open_ms]),
            None => opens.extend([open_ms]),
        }
        for open_ms in opens {
            let bars = self.bars(ix, Some(open_ms), 1);
            if let Some(it) = self.market.instrument(ix)
                && !bars.is_empty()
            {
                let body = encode::candles(it, "update", now_ms * 1_000, &bars);
                self.publish(ix, Kind::Candles, body);
            }
        }
    }

    /// Bars of five minutes; those without trades don't exist.
    fn bars(&self, ix: InstrumentIx, open_ms: Option<i64>, limit: usize) -> Vec<Kline> {
        let range = TimeRange {
            start_ms: open_ms,
            end_ms: open_ms,
            limit,
        };
        let mut bars = self.market.klines(ix, Interval::M5, range);
        bars.retain(|bar| bar.trades > 0);
        bars
    }

    /// Adds a channel to a connection and tells what it begins with.
    pub(super) fn subscribe(&mut self, id: SessionId, name: &str, topic: Topic) {
        let known = self.hub.streams(id);
        if known.iter().any(|stream| &**stream == name) {
            return;
        }
        self.hub.subscribe(id, name, Some(topic));
        if let Some(body) = topic.ix.and_then(|ix| self.first(topic.kind, ix)) {
            self.hub.tell(id, name, body);
        }
    }

    fn first(&mut self, kind: Kind, ix: InstrumentIx) -> Option<String> {
        let now_us = self.now_ms() * 1_000;
        let board = self.venue.boards.get(usize::from(ix.0))?;
        let it = self.market.instrument(ix)?;
        Some(match kind {
            // The next batch tells again what is pending; quantities are absolute.
            Kind::Book => encode::image(it, &self.market.depth(ix, usize::MAX)),
            Kind::Trades => {
                // Without what the next batch will tell.
                let pending = board.trades.first().map_or(u64::MAX, |trade| trade.id);
                let newest = self.market.trades(ix, TRADES_FIRST + board.trades.len());
                let told = newest.iter().filter(|trade| trade.id < pending);
                encode::trades(it, "snapshot", now_us, told)
            }
            Kind::Candles => {
                let bars = self.bars(ix, None, BARS_FIRST);
                encode::candles(it, "snapshot", now_us, &bars)
            }
            Kind::Ticker | Kind::TickerBatch => return self.figures(ix, kind, "snapshot"),
            Kind::Heartbeats => return None,
        })
    }

    /// All that a connection is subscribed to, as the answer to each request tells it.
    pub(super) fn tell_subscriptions(&mut self, id: SessionId) {
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in self.hub.streams(id) {
            let (channel, product) = name.split_once(':').unwrap_or((&name, ""));
            let products = all.entry(channel.to_owned()).or_default();
            products.push(product.to_owned());
        }
        let event = serde_json::json!({ "subscriptions": all }).to_string();
        let body = encode::frame("subscriptions", self.now_ms() * 1_000, &event);
        self.hub.tell(id, "", body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_numbers_what_it_sends_and_what_is_lost() {
        let mut connection = Connection::default();
        let body = encode::frame("ticker", 0, "");
        assert!(connection.seal("", &body).contains("\"sequence_num\":0,"));
        connection.lose();
        assert!(connection.seal("", &body).contains("\"sequence_num\":2,"));
    }

    #[test]
    fn channels_are_known_by_name() {
        for (name, kind) in Kind::NAMES {
            assert_eq!((Kind::parse(name), kind.channel()), (Some(kind), name));
        }
        assert_eq!(Kind::parse("l2_data"), None);
    }
}
