//! Binance behind the wire: its symbols, what is pending for its streams, recorded messages.

mod publish;

use std::collections::HashMap;

use super::account::{Trading, events};
use super::board::Board;
use super::encode;
use super::session::Wrapper;
use super::stream::{self, Parsed, Route, SymbolIx, Topic};
use super::tape::TapeMarket;
use crate::account::PrivateEvent;
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::market::{Event, Instrument, InstrumentIx, Market, Notional, Segment};
use crate::venue::control::BookTruth;
use crate::venue::{self, SessionId, Venue, is_due};

/// Bars and tickers are looked at this often.
const CHECK_MS: i64 = 50;

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

pub(super) struct BarState {
    open_ms: i64,
    trades: u64,
}

/// What is Binance's own.
pub(crate) struct Binance {
    pub(crate) symbols: Vec<Symbol>,
    lookup: HashMap<(Segment, String), SymbolIx>,
    pub(crate) tapes: HashMap<Segment, TapeMarket>,
    boards: Vec<Board>,
    bars: HashMap<Topic, BarState>,
    pub(crate) trading: Trading,
}

/// One exchange.
pub(crate) type Core = venue::Core<Binance>;

/// Binance with that market; a market with recorded messages is served from them alone.
pub(crate) fn open(
    market: Market,
    clock: Clock,
    faults: FaultDesk,
    tapes: HashMap<Segment, TapeMarket>,
    trading: Trading,
) -> Core {
    let ix = |at: usize| InstrumentIx(u16::try_from(at).unwrap_or(u16::MAX));
    let instruments = market.instruments();
    let board = |(at, it): (usize, &Instrument)| Board::new(it, at, market.bbo(ix(at)).update_id);
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
    let venue = Binance {
        symbols,
        lookup,
        tapes,
        boards,
        bars: HashMap::new(),
        trading,
    };
    Core::new(market, clock, faults, venue)
}

impl Venue for Binance {
    type Topic = Topic;
    type Envelope = Wrapper;

    fn on_event(core: &mut Core, event: &Event) {
        core.tell(event);
    }

    fn on_private(core: &mut Core, event: &PrivateEvent) {
        events::tell(core, event);
    }

    fn on_step(core: &mut Core, before_ms: i64, now_ms: i64) {
        for at in 0..core.venue.boards.len() {
            let phase = core.venue.boards[at].phase_ms;
            let due = |every_ms: i64| is_due(before_ms, now_ms, phase, every_ms);
            core.flush_depth(at, |speed| due(i64::from(speed)));
            if due(100) {
                core.flush_aggs(at);
            }
        }
        if is_due(before_ms, now_ms, 0, CHECK_MS) {
            core.bars(now_ms);
        }
        core.tickers(before_ms, now_ms);
    }

    fn flush(core: &mut Core) {
        for at in 0..core.venue.boards.len() {
            core.flush_depth(at, |_| true);
            core.flush_aggs(at);
        }
    }

    fn symbol_of(&self, topic: &Topic) -> Option<String> {
        Some(self.symbols.get(topic.symbol?.0 as usize)?.name.clone())
    }

    fn goodbye(envelope: &mut Wrapper, now_ms: i64) -> Option<String> {
        let event = format!("{{\"e\":\"serverShutdown\",\"E\":{now_ms}}}");
        Some(match envelope.is_combined {
            true => format!("{{\"stream\":\"!serverShutdown\",\"data\":{event}}}"),
            false => event,
        })
    }

    fn symbols(core: &Core, market: Segment) -> Vec<String> {
        let all = core.venue.symbols.iter();
        let of_market = all.filter(|symbol| symbol.market == market);
        of_market.map(|symbol| symbol.name.clone()).collect()
    }

    fn seeded(core: &Core, market: Segment, symbol: &str) -> Option<InstrumentIx> {
        match core.find(market, symbol)?.source {
            Source::Market(ix) => Some(ix),
            Source::Tape(_) => None,
        }
    }

    fn print_quote(it: &Instrument, value: Notional) -> String {
        encode::quote(it, value).to_string()
    }

    fn book(core: &Core, market: Segment, symbol: &str) -> Option<BookTruth> {
        match core.find(market, symbol)?.source {
            Source::Market(ix) => {
                let it = core.instrument(ix)?;
                let depth = core.market.depth(ix, usize::MAX);
                let row = |(price, qty): &(_, _)| {
                    (it.price(*price).to_string(), it.qty(*qty).to_string())
                };
                Some(BookTruth {
                    last_update_id: depth.update_id,
                    bids: depth.bids.iter().map(row).collect(),
                    asks: depth.asks.iter().map(row).collect(),
                })
            }
            Source::Tape(at) => {
                let tape = core.venue.tapes.get(&market)?;
                let (last_update_id, bids, asks) = tape.book(at, usize::MAX);
                Some(BookTruth {
                    last_update_id,
                    bids,
                    asks,
                })
            }
        }
    }

    fn is_replay_finished(core: &Core, market: Segment) -> bool {
        let tape = core.venue.tapes.get(&market);
        tape.is_none_or(TapeMarket::is_finished)
    }
}

impl Core {
    /// The listed symbol of that name, as REST writes it.
    pub(crate) fn find(&self, market: Segment, name: &str) -> Option<&Symbol> {
        let at = self.venue.lookup.get(&(market, name.to_lowercase()))?;
        self.venue
            .symbols
            .get(at.0 as usize)
            .filter(|symbol| symbol.name == name)
    }

    /// Seeded instruments of a market that is not replayed.
    pub(crate) fn listed(
        &self,
        market: Segment,
    ) -> impl Iterator<Item = (InstrumentIx, &Instrument)> {
        self.venue
            .symbols
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
                let symbol = self.venue.lookup.get(&(market, symbol.to_owned())).copied();
                symbol.map(|at| Topic {
                    market,
                    symbol: Some(at),
                    kind,
                    micros,
                })
            }
        })
    }

    pub(crate) fn subscribe(
        &mut self,
        id: SessionId,
        route: Route,
        name: &str,
        topic: Option<Topic>,
    ) {
        if let Some(topic) = topic
            && let Some(tape) = self.venue.tapes.get_mut(&topic.market)
        {
            tape.note_subscription();
        }
        let carried = topic.filter(|topic| route.carries(topic.kind));
        self.hub.subscribe(id, name, carried);
    }

    /// Whether the fastest batched diff stream (100 ms) has nothing pending.
    pub(crate) fn is_at_edge(&self, ix: InstrumentIx) -> bool {
        let board = self.venue.boards.get(usize::from(ix.0));
        board.is_none_or(|b| {
            b.batches
                .iter()
                .all(|batch| batch.speed_ms != 100 || batch.is_empty())
        })
    }
}
