//! The exchange behind the wire: the market, its clock, who listens, and what goes wrong.
//!
//! [`Core::run_to_now`] moves market time in steps of [`STEP_MS`] on a fixed grid and publishes
//! what happened, so what is published, and in which order, depends on the seed and not on when
//! the caller came round.

mod publish;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::board::{self, Board};
use super::hub::{Hub, SessionId};
use super::stream::{self, Parsed, SymbolIx, Topic};
use super::tape::TapeMarket;
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::fault::FaultKind;
use crate::market::{Depth, Event, Instrument, InstrumentIx, Market, Segment};

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
