//! From market events to stream messages: what is told when.
//!
//! A book of each depth has an update id of its own, which grows by one with every message, and a
//! window of what its listeners have. A listener that comes later gets that window, so that the
//! next delta applies.

use std::collections::{BTreeMap, HashMap};

use crate::account::PrivateEvent;
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::market::{
    Event, EventKind, Instrument, InstrumentIx, Interval, Market, Price, Segment, Status,
    Ticker24h, TimeRange, Trade,
};
use crate::venue::control::BookTruth;
use crate::venue::window::Window;
use crate::venue::{self, Envelope, SessionId, is_due};

use super::encode::{self, Match};
use super::ticker::{self, Fields};
use super::topic::{self, Kind, Topic};
use super::trade::{self, Trading};

/// Bars are looked at this often.
const CHECK_MS: i64 = 50;
/// The touch is sent again after so long without a change.
const REPEAT_MS: i64 = 3_000;
/// Most matches in a message.
const TRADES_MAX: usize = 1_024;
/// Depth whose listeners [`crate::SimControl`] speaks of.
const TRUTH_DEPTH: u16 = 200;

/// Bybit behind the wire.
pub(crate) type Core = venue::Core<Bybit>;

/// A connection: one market, messages as they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// `None`: of an account, all markets.
    pub(super) market: Option<Segment>,
}

impl Envelope for Connection {
    const IS_SHARED: bool = true;

    fn market(&self) -> Option<Segment> {
        self.market
    }

    fn is_plain(&self) -> bool {
        true
    }

    fn seal(&mut self, _name: &str, body: &str) -> String {
        body.to_owned()
    }
}

/// What the exchange remembers between two messages.
pub(crate) struct Bybit {
    boards: Vec<Board>,
    pub(super) trading: Trading,
}

/// One instrument's.
struct Board {
    market: Segment,
    symbol: String,
    /// Cross sequence: one for every change and match.
    seq: u64,
    /// Time of the last change, ms.
    changed_ms: i64,
    /// Matches so far: tells a changed bar from an unchanged one.
    trades: u64,
    last: Option<Price>,
    direction: &'static str,
    /// Matches that have not been told.
    matches: Vec<Match>,
    books: BTreeMap<u16, BookFeed>,
    bars: HashMap<Interval, BarState>,
    /// What listeners of the ticker have.
    ticker: Fields,
    /// Prices of the day, computed once a second.
    day: Option<(i64, Ticker24h)>,
    /// Spreads the slots of the instruments over time.
    phase_ms: i64,
}

/// A book topic.
struct BookFeed {
    window: Window,
    update: u64,
    seq: u64,
    changed_ms: i64,
    told_ms: i64,
    is_changed: bool,
}

struct BarState {
    open_ms: i64,
    trades: u64,
}

/// Opens the exchange on a market.
pub(super) fn open(market: Market, clock: Clock, faults: FaultDesk, trading: Trading) -> Core {
    let now_ms = market.now_ms();
    let boards = market.instruments().iter().zip(0_i64..);
    let boards = boards
        .map(|(it, at)| Board {
            market: it.segment,
            symbol: it.symbol.clone(),
            seq: 100_000_000_000 + at.unsigned_abs() * 1_000_000_000,
            changed_ms: now_ms,
            trades: 0,
            last: None,
            direction: "ZeroPlusTick",
            matches: Vec::new(),
            books: BTreeMap::new(),
            bars: HashMap::new(),
            ticker: Fields::new(),
            day: None,
            phase_ms: at * 5 % 1_000,
        })
        .collect();
    Core::new(market, clock, faults, Bybit { boards, trading })
}

impl Board {
    fn on_trade(&mut self, trade: &Trade) {
        self.seq += 1;
        self.trades += 1;
        let is_plus = matches!(self.direction, "PlusTick" | "ZeroPlusTick");
        self.direction = match self.last {
            Some(last) if trade.price > last => "PlusTick",
            Some(last) if trade.price < last => "MinusTick",
            _ if is_plus => "ZeroPlusTick",
            _ => "ZeroMinusTick",
        };
        self.last = Some(trade.price);
    }
}

fn board(core: &mut Core, ix: InstrumentIx) -> Option<&mut Board> {
    core.venue.boards.get_mut(usize::from(ix.0))
}

fn publish(core: &mut Core, topic: Topic, body: String) {
    let Some(board) = core.venue.boards.get(usize::from(topic.ix.0)) else {
        return;
    };
    let symbol = Some(board.symbol.as_str());
    core.hub.publish(&mut core.faults, topic, symbol, body);
}

impl venue::Venue for Bybit {
    type Topic = Topic;
    type Envelope = Connection;

    fn on_event(core: &mut Core, event: &Event) {
        let ix = event.instrument;
        let ts_ms = event.ts_us.div_euclid(1_000);
        let Some(board) = core.venue.boards.get_mut(usize::from(ix.0)) else {
            return;
        };
        match event.kind {
            EventKind::Book(_) => {
                board.seq += 1;
                board.changed_ms = ts_ms;
                for feed in board.books.values_mut() {
                    feed.is_changed = true;
                }
            }
            EventKind::Trade(trade) => {
                board.on_trade(&trade);
                let topic = Topic {
                    market: board.market,
                    ix,
                    kind: Kind::Trades,
                };
                if core.hub.is_wanted(&topic) {
                    board.matches.push(Match {
                        trade,
                        direction: board.direction,
                        seq: board.seq,
                    });
                }
            }
            _ => {}
        }
    }

    fn on_private(core: &mut Core, event: &PrivateEvent) {
        trade::stream::tell(core, event);
    }

    fn on_step(core: &mut Core, before_ms: i64, now_ms: i64) {
        tell_trades(core, now_ms);
        let is_check = is_due(before_ms, now_ms, 0, CHECK_MS);
        let boards = &core.venue.boards;
        let is_slot = |topic: &Topic| {
            let phase = boards
                .get(usize::from(topic.ix.0))
                .map_or(0, |board| board.phase_ms);
            is_due(before_ms, now_ms, phase, topic.kind.every_ms(topic.market))
        };
        let due = core.hub.wanted(|topic| match topic.kind {
            Kind::Trades => false,
            Kind::Kline(_) => is_check,
            Kind::Book(_) | Kind::Tickers => is_slot(topic),
        });
        for topic in due {
            tell(core, topic, now_ms);
        }
        if is_check {
            forget(core);
        }
    }

    fn flush(core: &mut Core) {
        let now_ms = core.now_ms();
        tell_trades(core, now_ms);
        for topic in core.hub.wanted(|topic| topic.kind != Kind::Trades) {
            tell(core, topic, now_ms);
        }
    }

    fn symbol_of(&self, topic: &Topic) -> Option<String> {
        let board = self.boards.get(usize::from(topic.ix.0))?;
        Some(board.symbol.clone())
    }

    /// Bybit says nothing before it closes.
    fn goodbye(_: &mut Connection, _: i64) -> Option<String> {
        None
    }

    fn symbols(core: &Core, market: Segment) -> Vec<String> {
        listed(core, market)
            .map(|(_, it)| it.symbol.clone())
            .collect()
    }

    fn seeded(core: &Core, market: Segment, symbol: &str) -> Option<InstrumentIx> {
        core.market.find(market, symbol)
    }

    /// What listeners of 200 levels have, with the update id that they have it by; without such
    /// listeners the book as it is.
    fn book(core: &Core, market: Segment, symbol: &str) -> Option<BookTruth> {
        let ix = core.market.find(market, symbol)?;
        let it = core.market.instrument(ix)?;
        let topic = Topic {
            market,
            ix,
            kind: Kind::Book(TRUTH_DEPTH),
        };
        let feed = core.venue.boards.get(usize::from(ix.0))?;
        let feed = feed.books.get(&TRUTH_DEPTH);
        let (window, update) = match feed.filter(|_| core.hub.is_wanted(&topic)) {
            Some(feed) => (feed.window.clone(), feed.update),
            None => {
                let depth = core.market.depth(ix, usize::from(TRUTH_DEPTH));
                (Window::of(&depth), depth.update_id)
            }
        };
        let row = |(price, qty): &(_, _)| (it.price(*price).to_string(), it.qty(*qty).to_string());
        Some(BookTruth {
            last_update_id: update,
            bids: window.bids.iter().map(row).collect(),
            asks: window.asks.iter().map(row).collect(),
        })
    }
}

/// Instruments of a market in the order of the list.
pub(super) fn listed(
    core: &Core,
    market: Segment,
) -> impl Iterator<Item = (InstrumentIx, &Instrument)> {
    let all = core.market.instruments().iter().zip(0_u16..);
    all.map(|(it, at)| (InstrumentIx(at), it))
        .filter(move |(_, it)| it.segment == market && it.status == Status::Trading)
}

/// The topic of a name on a market's connection; `None` when there is none.
pub(super) fn find(core: &Core, market: Segment, name: &str) -> Option<Topic> {
    let (kind, symbol) = topic::parse(name)?;
    let ix = core.market.find(market, symbol)?;
    Some(Topic { market, ix, kind })
}

/// Adds a topic to a connection, and tells it what the others know already.
pub(super) fn subscribe(core: &mut Core, id: SessionId, name: &str, topic: Topic) {
    let is_first = !core.hub.is_wanted(&topic);
    core.hub.subscribe(id, name, Some(topic));
    if let Some(image) = image(core, topic, is_first) {
        core.hub.tell(id, name, image);
    }
}

/// The image that a topic begins with.
fn image(core: &mut Core, topic: Topic, is_first: bool) -> Option<String> {
    let now_ms = core.now_ms();
    match topic.kind {
        Kind::Trades | Kind::Kline(_) => None,
        Kind::Tickers => {
            if is_first {
                let fields = moment(core, topic.ix)?;
                board(core, topic.ix)?.ticker = fields;
            }
            let board = core.venue.boards.get(usize::from(topic.ix.0))?;
            let it = core.market.instrument(topic.ix)?;
            Some(ticker::message(it, &board.ticker, true, board.seq, now_ms))
        }
        Kind::Book(depth) => {
            if is_first {
                open_book(core, topic.ix, depth)?;
            }
            let board = core.venue.boards.get_mut(usize::from(topic.ix.0))?;
            let feed = board.books.get_mut(&depth)?;
            feed.told_ms = now_ms;
            let it = core.market.instrument(topic.ix)?;
            Some(encode::book(it, &whole(depth, feed, now_ms)))
        }
    }
}

fn whole(depth: u16, feed: &BookFeed, now_ms: i64) -> encode::Book<'_> {
    encode::Book {
        depth,
        is_snapshot: true,
        bids: &feed.window.bids,
        asks: &feed.window.asks,
        update: feed.update,
        seq: feed.seq,
        ts: now_ms,
        cts: feed.changed_ms,
    }
}

/// Brings the window of a book up to date for its first listener.
fn open_book(core: &mut Core, ix: InstrumentIx, depth: u16) -> Option<()> {
    let window = Window::of(&core.market.depth(ix, usize::from(depth)));
    let board = core.venue.boards.get_mut(usize::from(ix.0))?;
    let before = board.books.get(&depth).map(|feed| feed.update);
    let first = 1_000_000 + 7_919 * u64::from(ix.0) + u64::from(depth);
    let feed = BookFeed {
        window,
        update: before.map_or(first, |update| update + 1),
        seq: board.seq,
        changed_ms: board.changed_ms,
        told_ms: 0,
        is_changed: false,
    };
    board.books.insert(depth, feed);
    Some(())
}

/// Tells what is new of a topic.
fn tell(core: &mut Core, topic: Topic, now_ms: i64) {
    let body = match topic.kind {
        Kind::Trades => return,
        Kind::Kline(interval) => return tell_bars(core, topic, interval, now_ms),
        Kind::Tickers => ticker_news(core, topic.ix, now_ms),
        Kind::Book(depth) => book_news(core, topic.ix, depth, now_ms),
    };
    if let Some(body) = body {
        publish(core, topic, body);
    }
}

fn book_news(core: &mut Core, ix: InstrumentIx, depth: u16, now_ms: i64) -> Option<String> {
    let it = core.market.instrument(ix)?;
    let board = core.venue.boards.get_mut(usize::from(ix.0))?;
    let feed = board.books.get_mut(&depth)?;
    let changes = match std::mem::take(&mut feed.is_changed) {
        true => feed
            .window
            .move_to(&core.market.depth(ix, usize::from(depth))),
        false => Default::default(),
    };
    if changes.is_empty() {
        // What has not changed is sent again with the same update id.
        let is_late = depth == 1 && now_ms - feed.told_ms >= REPEAT_MS;
        feed.told_ms = if is_late { now_ms } else { feed.told_ms };
        return is_late.then(|| encode::book(it, &whole(depth, feed, now_ms)));
    }
    feed.update += 1;
    feed.seq = board.seq;
    feed.changed_ms = board.changed_ms;
    feed.told_ms = now_ms;
    // One level is always told whole.
    let mut message = whole(depth, feed, now_ms);
    if depth > 1 {
        message.is_snapshot = false;
        message.bids = &changes.bids;
        message.asks = &changes.asks;
    }
    Some(encode::book(it, &message))
}

/// The ticker of now.
pub(super) fn moment(core: &mut Core, ix: InstrumentIx) -> Option<Fields> {
    let second = core.now_ms().div_euclid(1_000);
    let it = core.market.instrument(ix)?;
    let board = core.venue.boards.get_mut(usize::from(ix.0))?;
    let mut day = match board.day {
        Some((at, day)) if at == second => day,
        _ => core.market.ticker(ix)?,
    };
    board.day = Some((second, day));
    if let Some(last) = board.last {
        day.last = last;
        day.high = day.high.max(last);
        day.low = day.low.min(last);
    }
    let moment = ticker::Moment {
        it,
        day,
        bbo: core.market.bbo(ix),
        premium: core.market.premium_index(ix),
        direction: board.direction,
    };
    Some(moment.fields())
}

fn ticker_news(core: &mut Core, ix: InstrumentIx, now_ms: i64) -> Option<String> {
    let fields = moment(core, ix)?;
    let it = core.market.instrument(ix)?;
    let board = core.venue.boards.get_mut(usize::from(ix.0))?;
    let news = ticker::differing(&board.ticker, &fields);
    board.ticker = fields;
    if news.is_empty() {
        return None;
    }
    // Spot tells all of it every time.
    let (told, is_snapshot) = match it.segment {
        Segment::Spot => (&board.ticker, true),
        Segment::Linear => (&news, false),
    };
    Some(ticker::message(it, told, is_snapshot, board.seq, now_ms))
}

fn tell_bars(core: &mut Core, topic: Topic, interval: Interval, now_ms: i64) {
    let Some(board) = board(core, topic.ix) else {
        return;
    };
    let (trades, phase) = (board.trades, board.phase_ms);
    let open_ms = interval.open_of(now_ms);
    // A new listener hears of the running bar at the next slot, changed or not.
    let fresh = BarState {
        open_ms,
        trades: u64::MAX,
    };
    let state = board.bars.entry(interval).or_insert(fresh);
    let ended = (open_ms > state.open_ms).then_some(state.open_ms);
    state.open_ms = open_ms;
    let every_ms = topic.kind.every_ms(topic.market);
    let is_slot = is_due(now_ms - CHECK_MS, now_ms, phase, every_ms);
    let is_news = ended.is_some() || (is_slot && state.trades != trades);
    if is_news {
        state.trades = trades;
    }
    for open_ms in ended.into_iter().chain(is_news.then_some(open_ms)) {
        let range = TimeRange {
            start_ms: Some(open_ms),
            end_ms: Some(open_ms),
            limit: 1,
        };
        let bar = core.market.klines(topic.ix, interval, range).pop();
        if let (Some(bar), Some(it)) = (bar, core.market.instrument(topic.ix)) {
            let body = encode::kline(it, &bar, interval, now_ms);
            publish(core, topic, body);
        }
    }
}

fn tell_trades(core: &mut Core, now_ms: i64) {
    let ixs = (0..core.venue.boards.len()).filter_map(|at| u16::try_from(at).ok());
    for ix in ixs.map(InstrumentIx) {
        let Some(board) = board(core, ix) else {
            continue;
        };
        if board.matches.is_empty() {
            continue;
        }
        let matches = std::mem::take(&mut board.matches);
        let topic = Topic {
            market: board.market,
            ix,
            kind: Kind::Trades,
        };
        for part in matches.chunks(TRADES_MAX) {
            let Some(it) = core.market.instrument(ix) else {
                continue;
            };
            let body = encode::trades(it, ix, part, now_ms);
            publish(core, topic, body);
        }
    }
}

/// Forgets bars that nobody listens to.
fn forget(core: &mut Core) {
    let hub = &core.hub;
    for (board, at) in core.venue.boards.iter_mut().zip(0_u16..) {
        let market = board.market;
        board.bars.retain(|interval, _| {
            hub.is_wanted(&Topic {
                market,
                ix: InstrumentIx(at),
                kind: Kind::Kline(*interval),
            })
        });
    }
}

/// The update id of the 1000-level topic, which is the one that REST tells.
pub(super) fn rest_update(core: &Core, ix: InstrumentIx) -> u64 {
    let board = core.venue.boards.get(usize::from(ix.0));
    let feed = board.and_then(|board| board.books.get(&1_000));
    feed.map_or(0, |feed| feed.update)
}

/// Cross sequence and time of the last change of an instrument.
pub(super) fn seq(core: &Core, ix: InstrumentIx) -> (u64, i64) {
    let board = core.venue.boards.get(usize::from(ix.0));
    board.map_or((0, 0), |board| (board.seq, board.changed_ms))
}
