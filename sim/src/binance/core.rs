//! The exchange behind the wire: the market, its clock, who listens, and what goes wrong.
//!
//! [`Core::run_to_now`] moves market time in steps of [`STEP_MS`] on a fixed grid and publishes
//! what happened, so what is published, and in which order, depends on the seed and not on when
//! the caller came round.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::board::{self, Board};
use super::encode::{self, Times};
use super::hub::{Hub, SessionId};
use super::stream::{self, Bar, Kind, Parsed, SymbolIx, Topic};
use super::tape::{Due, Next, TapeMarket};
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::fault::FaultKind;
use crate::market::{
    Depth, Event, EventKind, Instrument, InstrumentIx, Market, Segment, Status, TimeRange,
};

/// Grid of market time.
pub(crate) const STEP_MS: i64 = 5;
/// Steps worked through in one go before others get their turn.
const STEPS_MAX: usize = 200;
/// Bars and tickers are looked at this often.
const CHECK_MS: i64 = 50;
/// Real time between two kept books for stale snapshots, and how many are kept.
const PAST_EVERY: Duration = Duration::from_secs(5);
const PAST_MAX: usize = 13;
const PAST_LEVELS: usize = 5_000;

/// Where a symbol's data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The seeded market.
    Market(InstrumentIx),
    /// Recorded messages: place in [`TapeMarket::symbols`].
    Tape(usize),
}

pub(crate) struct Symbol {
    pub(crate) market: Segment,
    pub(crate) name: String,
    pub(crate) source: Source,
}

struct BarState {
    open_ms: i64,
    trades: u64,
}

/// One exchange.
pub(crate) struct Core {
    pub(crate) market: Market,
    pub(crate) clock: Clock,
    pub(crate) hub: Hub,
    pub(crate) faults: FaultDesk,
    pub(crate) symbols: Vec<Symbol>,
    lookup: HashMap<(Segment, String), SymbolIx>,
    pub(crate) tapes: HashMap<Segment, TapeMarket>,
    boards: Vec<Board>,
    now_ms: i64,
    events: Vec<Event>,
    bars: HashMap<Topic, BarState>,
    /// Books of the past, oldest first; the first is the one of the start and stays.
    past: VecDeque<(Instant, Vec<Depth>)>,
    is_down: HashMap<Segment, bool>,
}

impl Core {
    pub(crate) fn new(
        market: Market,
        clock: Clock,
        faults: FaultDesk,
        tapes: HashMap<Segment, TapeMarket>,
    ) -> Self {
        let ix = |at: usize| InstrumentIx(u16::try_from(at).unwrap_or(u16::MAX));
        let instruments = market.instruments();
        let board =
            |(at, it): (usize, &Instrument)| Board::new(it, at, market.bbo(ix(at)).update_id);
        let boards = instruments.iter().enumerate().map(board).collect();
        let mut symbols: Vec<Symbol> = Vec::new();
        for (at, it) in instruments.iter().enumerate() {
            if !tapes.contains_key(&it.segment) {
                let source = Source::Market(ix(at));
                symbols.push(Symbol {
                    market: it.segment,
                    name: it.symbol.clone(),
                    source,
                });
            }
        }
        for market in [Segment::Spot, Segment::Linear] {
            for (at, symbol) in tapes
                .get(&market)
                .iter()
                .flat_map(|t| t.symbols.iter().enumerate())
            {
                let source = Source::Tape(at);
                symbols.push(Symbol {
                    market,
                    name: symbol.name.clone(),
                    source,
                });
            }
        }
        let lookup = symbols
            .iter()
            .zip(0_u32..)
            .map(|(symbol, at)| ((symbol.market, symbol.name.to_lowercase()), SymbolIx(at)))
            .collect();
        let now_ms = market.now_ms();
        let mut core = Self {
            market,
            clock,
            hub: Hub::default(),
            faults,
            symbols,
            lookup,
            tapes,
            boards,
            now_ms,
            events: Vec::new(),
            bars: HashMap::new(),
            past: VecDeque::new(),
            is_down: HashMap::new(),
        };
        core.remember();
        core
    }

    /// Market time reached, Unix ms.
    pub(crate) fn now_ms(&self) -> i64 {
        self.now_ms
    }

    /// The listed symbol of that name, as REST writes it.
    pub(crate) fn find(&self, market: Segment, name: &str) -> Option<&Symbol> {
        let at = self.lookup.get(&(market, name.to_lowercase()))?;
        self.symbols
            .get(at.0 as usize)
            .filter(|symbol| symbol.name == name)
    }

    /// The seeded instrument of a symbol.
    pub(crate) fn instrument(&self, ix: InstrumentIx) -> Option<&Instrument> {
        self.market.instrument(ix)
    }

    /// Seeded instruments of a market that is not replayed.
    pub(crate) fn listed(
        &self,
        market: Segment,
    ) -> impl Iterator<Item = (InstrumentIx, &Instrument)> {
        self.symbols
            .iter()
            .filter(move |s| s.market == market)
            .filter_map(|s| match s.source {
                Source::Market(ix) => self.market.instrument(ix).map(|it| (ix, it)),
                Source::Tape(_) => None,
            })
    }

    /// Reads a stream name: `None` if it has not the form of one, `Some(None)` if it carries
    /// nothing here.
    pub(crate) fn topic(&self, market: Segment, name: &str, micros: bool) -> Option<Option<Topic>> {
        Some(match stream::parse(market, name)? {
            Parsed::Silent => None,
            Parsed::All(kind) => Some(Topic {
                market,
                symbol: None,
                kind,
                micros,
            }),
            Parsed::One(symbol, kind) => {
                let symbol = self.lookup.get(&(market, symbol.to_owned())).copied();
                symbol.map(|at| Topic {
                    market,
                    symbol: Some(at),
                    kind,
                    micros,
                })
            }
        })
    }

    pub(crate) fn subscribe(&mut self, id: SessionId, name: &str, topic: Option<Topic>) {
        self.hub.subscribe(id, name, topic);
        if let Some(topic) = topic
            && let Some(tape) = self.tapes.get_mut(&topic.market)
        {
            tape.note_subscription();
        }
    }

    /// Whether maintenance is on for a market.
    pub(crate) fn is_down(&self, market: Segment) -> bool {
        self.faults.is_in_force(FaultKind::Maintenance, market)
    }

    /// Moves market time to the clock's; returns whether there is more to do at once.
    pub(crate) fn run_to_now(&mut self) -> bool {
        let target = self.clock.now_ms();
        for _ in 0..STEPS_MAX {
            let next = (self.now_ms.div_euclid(STEP_MS) + 1) * STEP_MS;
            if next > target {
                break;
            }
            self.step(next);
        }
        self.strike_connections();
        self.hub.release();
        let is_old = self
            .past
            .back()
            .is_none_or(|(at, _)| at.elapsed() >= PAST_EVERY);
        if is_old {
            self.remember();
        }
        self.now_ms + STEP_MS <= target
    }

    /// Publishes what is pending, whatever its slot, so that listeners have all that happened.
    pub(crate) fn flush(&mut self) {
        for at in 0..self.boards.len() {
            self.flush_depth(at, |_| true);
            self.flush_aggs(at);
        }
    }

    /// Sends recorded messages that are due.
    pub(super) fn play(&mut self, market: Segment) -> Next {
        let room = self.hub.room(market);
        let Some(tape) = self.tapes.get_mut(&market) else {
            return Next::Never;
        };
        let mut due = Vec::new();
        let next = tape.take_due(room, &mut due);
        for message in due {
            self.publish_recorded(market, message);
        }
        next
    }

    fn publish_recorded(&mut self, market: Segment, message: Due) {
        let source = Source::Tape(message.symbol);
        let is_it = |s: &Symbol| s.market == market && s.source == source;
        let Some(at) = self.symbols.iter().position(is_it) else {
            return;
        };
        // Whatever speed was recorded is what listeners of any speed get.
        let kinds: &[Kind] = match message.kind {
            Kind::Depth(_) => &[0, 100, 250, 500, 1_000].map(Kind::Depth),
            Kind::MarkPrice(_) => &[Kind::MarkPrice(1), Kind::MarkPrice(3)],
            ref kind => std::slice::from_ref(kind),
        };
        for kind in kinds {
            for micros in [false, true] {
                let symbol = Some(SymbolIx(at as u32));
                let topic = Topic {
                    market,
                    symbol,
                    kind: *kind,
                    micros,
                };
                if self.hub.is_wanted(&topic) {
                    let name = Some(self.symbols[at].name.as_str());
                    self.hub
                        .publish(&mut self.faults, topic, name, message.body.clone());
                }
            }
        }
    }

    fn step(&mut self, to_ms: i64) {
        let before_ms = self.now_ms;
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        self.market.advance(to_ms, &mut events);
        self.now_ms = to_ms;
        for event in &events {
            self.tell(event);
        }
        self.events = events;
        for at in 0..self.boards.len() {
            let phase = self.boards[at].phase_ms;
            let due = |every_ms: i64| board::is_due(before_ms, to_ms, phase, every_ms);
            self.flush_depth(at, |speed| due(i64::from(speed)));
            if due(100) {
                self.flush_aggs(at);
            }
        }
        if board::is_due(before_ms, to_ms, 0, CHECK_MS) {
            self.bars(to_ms);
        }
        self.tickers(before_ms, to_ms);
    }

    fn symbol_ix(&self, ix: InstrumentIx) -> Option<SymbolIx> {
        let it = self.market.instrument(ix)?;
        let at = self
            .lookup
            .get(&(it.segment, it.symbol.to_lowercase()))
            .copied()?;
        let is_seeded = matches!(self.symbols.get(at.0 as usize)?.source, Source::Market(_));
        is_seeded.then_some(at)
    }

    /// Publishes one message of an instrument to whoever wants it.
    fn emit(
        &mut self,
        ix: InstrumentIx,
        kind: Kind,
        encode: impl Fn(&Self, &Instrument, Times) -> Option<String>,
    ) {
        let Some(at) = self.symbol_ix(ix) else { return };
        for micros in [false, true] {
            let Some(it) = self.market.instrument(ix) else {
                return;
            };
            let topic = Topic {
                market: it.segment,
                symbol: Some(at),
                kind,
                micros,
            };
            if !self.hub.is_wanted(&topic) {
                continue;
            }
            if let Some(body) = encode(self, it, Times { micros }) {
                self.hub
                    .publish(&mut self.faults, topic, Some(&it.symbol), body);
            }
        }
    }

    fn tell(&mut self, event: &Event) {
        let (ix, ts_us) = (event.instrument, event.ts_us);
        let at = usize::from(ix.0);
        let Some(board) = self.boards.get_mut(at) else {
            return;
        };
        match event.kind {
            EventKind::Book(change) => board.change(&change, ts_us),
            EventKind::Trade(trade) => {
                if let Some(second) = board.trade(&trade) {
                    self.emit_second(ix, second, ts_us);
                }
                self.emit(ix, Kind::Trade, |_, it, times| {
                    Some(encode::trade(it, &trade, ts_us, times))
                });
            }
            EventKind::AggTrade(agg) => {
                if self
                    .market
                    .instrument(ix)
                    .is_some_and(|it| it.segment == Segment::Linear)
                {
                    board.aggs.push(agg);
                } else {
                    self.emit(ix, Kind::AggTrade, |_, it, times| {
                        Some(encode::agg_trade(it, &agg, ts_us, times))
                    });
                }
            }
            EventKind::Bbo(bbo) => {
                board.touch_moves += 1;
                self.emit(ix, Kind::BookTicker, |_, it, _| {
                    Some(encode::book_ticker(it, &bbo, ts_us, ts_us))
                });
            }
            EventKind::Mark(premium) => {
                let every_third = premium.ts_ms.div_euclid(1_000) % 3 == 0;
                for kind in [Kind::MarkPrice(1), Kind::MarkPrice(3)] {
                    if kind == Kind::MarkPrice(1) || every_third {
                        self.emit(ix, kind, |_, it, _| {
                            Some(encode::mark_price(it, &premium, ts_us))
                        });
                    }
                }
            }
            EventKind::Fill(_) | EventKind::Funding(_) => {}
        }
    }

    fn emit_second(&mut self, ix: InstrumentIx, bar: crate::market::Kline, event_us: i64) {
        self.emit(ix, Kind::Kline(Bar::Second), |_, it, times| {
            Some(encode::kline(it, &bar, "1s", event_us, times))
        });
    }

    fn flush_depth(&mut self, at: usize, is_due: impl Fn(u16) -> bool) {
        let ix = InstrumentIx(at as u16);
        let event_us = self.now_ms * 1_000;
        for n in 0..self.boards[at].batches.len() {
            let batch = &self.boards[at].batches[n];
            // Speed 0 means: with every step.
            if batch.is_empty() || !(batch.speed_ms == 0 || is_due(batch.speed_ms)) {
                continue;
            }
            let speed = batch.speed_ms;
            self.emit(ix, Kind::Depth(speed), |core, it, times| {
                core.boards[at].batches[n].encode(it, event_us, times)
            });
            for levels in [5, 10, 20] {
                self.emit(ix, Kind::Partial(levels, speed), |core, it, times| {
                    let depth = core.market.depth(ix, usize::from(levels));
                    Some(match it.segment {
                        Segment::Spot => encode::snapshot(it, &depth, false),
                        Segment::Linear => encode::depth(
                            it,
                            &core.boards[at].batches[n].span()?,
                            event_us,
                            times,
                            depth.bids.iter(),
                            depth.asks.iter(),
                        ),
                    })
                });
            }
            self.boards[at].batches[n].clear();
        }
    }

    fn flush_aggs(&mut self, at: usize) {
        let aggs = std::mem::take(&mut self.boards[at].aggs);
        let event_us = self.now_ms * 1_000;
        for agg in aggs {
            self.emit(InstrumentIx(at as u16), Kind::AggTrade, |_, it, times| {
                Some(encode::agg_trade(it, &agg, event_us, times))
            });
        }
    }

    /// Where a topic's data comes from, if it is the seeded market.
    fn seeded(&self, topic: &Topic) -> Option<InstrumentIx> {
        match self.symbols.get(topic.symbol?.0 as usize)?.source {
            Source::Market(ix) => Some(ix),
            Source::Tape(_) => None,
        }
    }

    fn bars(&mut self, now_ms: i64) {
        for at in 0..self.boards.len() {
            if let Some(second) = self.boards[at].end_second(now_ms) {
                self.emit_second(InstrumentIx(at as u16), second, now_ms * 1_000);
            }
        }
        let hub = &self.hub;
        self.bars.retain(|topic, _| hub.is_wanted(topic));
        for topic in self
            .hub
            .wanted(|topic| matches!(topic.kind, Kind::Kline(Bar::Of(_))))
        {
            let (Kind::Kline(Bar::Of(interval)), Some(ix)) = (topic.kind, self.seeded(&topic))
            else {
                continue;
            };
            let board = &self.boards[usize::from(ix.0)];
            let every_ms = if topic.market == Segment::Spot {
                2_000
            } else {
                250
            };
            let (trades, phase) = (board.trades, board.phase_ms);
            let open_ms = interval.open_of(now_ms);
            // A new listener hears of the running bar at the next slot, changed or not.
            let fresh = BarState {
                open_ms,
                trades: u64::MAX,
            };
            let state = self.bars.entry(topic).or_insert(fresh);
            let ended = (open_ms > state.open_ms).then_some(state.open_ms);
            state.open_ms = open_ms;
            let is_slot = board::is_due(now_ms - CHECK_MS, now_ms, phase, every_ms);
            let is_news = is_slot && state.trades != trades;
            if is_news {
                state.trades = trades;
            }
            let running = is_news.then_some(open_ms);
            for open_ms in [ended, running].into_iter().flatten() {
                self.publish_bar(topic, ix, interval, open_ms, now_ms);
            }
        }
    }

    fn publish_bar(
        &mut self,
        topic: Topic,
        ix: InstrumentIx,
        interval: crate::market::Interval,
        open_ms: i64,
        now_ms: i64,
    ) {
        let range = TimeRange {
            start_ms: Some(open_ms),
            end_ms: Some(open_ms),
            limit: 1,
        };
        let Some(bar) = self.market.klines(ix, interval, range).pop() else {
            return;
        };
        // Futures say nothing about a bar in which nothing happened.
        if topic.market == Segment::Linear && bar.trades == 0 {
            return;
        }
        let Some(it) = self.market.instrument(ix) else {
            return;
        };
        let times = Times {
            micros: topic.micros,
        };
        let body = encode::kline(it, &bar, interval.as_str(), now_ms * 1_000, times);
        self.hub
            .publish(&mut self.faults, topic, Some(&it.symbol), body);
    }

    fn tickers(&mut self, before_ms: i64, now_ms: i64) {
        // Slots end on multiples of 50 ms: nothing to do in between.
        if !board::is_due(before_ms, now_ms, 0, CHECK_MS) {
            return;
        }
        let before_ms = now_ms - CHECK_MS;
        let event_us = now_ms * 1_000;
        let kinds = |t: &Topic| matches!(t.kind, Kind::Ticker | Kind::MiniTicker | Kind::AvgPrice);
        let arrays = |t: &Topic| t.symbol.is_none();
        for topic in self.hub.wanted(|t| kinds(t) || arrays(t)) {
            let times = Times {
                micros: topic.micros,
            };
            let Some(symbol) = topic.symbol else {
                let every_ms = match topic.kind {
                    Kind::MarkPrice(secs) => i64::from(secs) * 1_000,
                    Kind::BookTicker => 5_000,
                    _ => 1_000,
                };
                if board::is_due(before_ms, now_ms, 0, every_ms) {
                    self.publish_array(topic, event_us, times);
                }
                continue;
            };
            let Some(ix) = self.seeded(&topic) else {
                continue;
            };
            let phase = self.boards[usize::from(ix.0)].phase_ms;
            let every_ms = if topic.market == Segment::Spot {
                1_000
            } else {
                2_000
            };
            if !board::is_due(before_ms, now_ms, phase, every_ms) {
                continue;
            }
            if let Some(body) = self.day_message(topic.kind, ix, event_us, times) {
                let name = &self.symbols[symbol.0 as usize].name;
                self.hub.publish(&mut self.faults, topic, Some(name), body);
            }
        }
    }

    fn day_message(
        &self,
        kind: Kind,
        ix: InstrumentIx,
        event_us: i64,
        times: Times,
    ) -> Option<String> {
        let it = self.market.instrument(ix)?;
        Some(match kind {
            Kind::MiniTicker => encode::mini_ticker(it, &self.market.ticker(ix)?, event_us, times),
            Kind::Ticker => {
                let bbo = self.market.bbo(ix);
                encode::ticker(it, &self.market.ticker(ix)?, &bbo, event_us, times)
            }
            Kind::AvgPrice => {
                let (price, last_us) = super::rest::average_price(self, ix)?;
                format!(
                    "{{\"e\":\"avgPrice\",\"E\":{},\"s\":\"{}\",\"i\":\"5m\",\"w\":\"{price}\",\
                     \"T\":{}}}",
                    times.us(event_us),
                    it.symbol,
                    times.us(last_us)
                )
            }
            Kind::MarkPrice(_) => encode::mark_price(it, &self.market.premium_index(ix)?, event_us),
            Kind::BookTicker => encode::book_ticker(it, &self.market.bbo(ix), event_us, event_us),
            _ => return None,
        })
    }

    fn publish_array(&mut self, topic: Topic, event_us: i64, times: Times) {
        let trading: Vec<InstrumentIx> = self
            .listed(topic.market)
            .filter(|(_, it)| it.status == Status::Trading)
            .map(|(ix, _)| ix)
            .collect();
        let parts: Vec<String> = trading
            .into_iter()
            .filter_map(|ix| self.day_message(topic.kind, ix, event_us, times))
            .collect();
        if topic.kind == Kind::BookTicker {
            // This one sends one message for each symbol.
            for part in parts {
                self.hub.publish(&mut self.faults, topic, None, part);
            }
        } else {
            let body = format!("[{}]", parts.join(","));
            self.hub.publish(&mut self.faults, topic, None, body);
        }
    }

    fn strike_connections(&mut self) {
        let (hub, symbols) = (&self.hub, &self.symbols);
        let name = |topic: &Topic| Some(symbols.get(topic.symbol?.0 as usize)?.name.clone());
        let struck = self
            .faults
            .strike_connections(|spec| !hub.concerned(spec, name).is_empty());
        for spec in struck {
            let ids = self.hub.concerned(&spec, name);
            self.hub.strike_sessions(&spec, &ids, self.now_ms);
        }
        for market in [Segment::Spot, Segment::Linear] {
            let is_down = self.is_down(market);
            if self.is_down.insert(market, is_down) != Some(is_down) && is_down {
                self.hub.close_market(market);
            }
        }
    }

    fn remember(&mut self) {
        let ixs = 0..self.boards.len();
        let books = ixs
            .map(|at| self.market.depth(InstrumentIx(at as u16), PAST_LEVELS))
            .collect();
        if self.past.len() >= PAST_MAX {
            // The first one stays: whatever age is asked for, there is a book of the past.
            self.past.remove(1);
        }
        self.past.push_back((Instant::now(), books));
    }

    /// The newest kept book that is at least so old, or the oldest there is.
    pub(crate) fn past_depth(&self, ix: InstrumentIx, age: Duration) -> Option<&Depth> {
        let fits = self.past.iter().rev().find(|(at, _)| at.elapsed() >= age);
        let (_, books) = fits.or_else(|| self.past.front())?;
        books.get(usize::from(ix.0))
    }

    /// Whether the fastest batched diff stream (100 ms) has nothing pending.
    pub(crate) fn is_at_edge(&self, ix: InstrumentIx) -> bool {
        let board = self.boards.get(usize::from(ix.0));
        board.is_none_or(|b| {
            b.batches
                .iter()
                .all(|batch| batch.speed_ms != 100 || batch.is_empty())
        })
    }
}
