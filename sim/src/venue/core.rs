//! An exchange behind the wire: the market, its clock, who listens, and what goes wrong.
//!
//! [`Core::run_to_now`] moves market time in steps of [`STEP_MS`] on a fixed grid and lets the
//! [`Venue`] publish what happened, so what is published, and in which order, depends on the seed
//! and not on when the caller came round.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::control::BookTruth;
use super::hub::{Envelope, Hub, Topic};
use crate::account::private::PrivateDesk;
use crate::account::{Accounts, Floor, PrivateEvent, Rules};
use crate::chaos::FaultDesk;
use crate::clock::Clock;
use crate::fault::FaultKind;
use crate::market::{Depth, Event, Fixed, Instrument, InstrumentIx, Market, Notional, Segment};

/// Grid of market time.
pub(crate) const STEP_MS: i64 = 5;
/// Steps worked through in one go before others get their turn.
const STEPS_MAX: usize = 200;
/// Real time between two kept books for stale snapshots, and how many are kept.
const PAST_EVERY: Duration = Duration::from_secs(5);
const PAST_MAX: usize = 13;
const PAST_LEVELS: usize = 5_000;

/// What an exchange's streams say about the market.
pub(crate) trait Venue: Send + Sized + 'static {
    /// Its streams.
    type Topic: Topic;
    /// What a connection makes of their messages.
    type Envelope: Envelope;

    /// Something happened.
    fn on_event(core: &mut Core<Self>, event: &Event);

    /// Something happened to an account.
    fn on_private(_core: &mut Core<Self>, _event: &PrivateEvent) {}

    /// Market time went on from `before_ms` to `now_ms`; the events of that time have been told.
    fn on_step(core: &mut Core<Self>, before_ms: i64, now_ms: i64);

    /// Publishes what is pending, whatever its slot, so that listeners have all that happened.
    fn flush(core: &mut Core<Self>);

    /// The native symbol of a stream, for faults that name one.
    fn symbol_of(&self, topic: &Self::Topic) -> Option<String>;

    /// What a connection is told before its server goes down; `None`: nothing.
    fn goodbye(envelope: &mut Self::Envelope, now_ms: i64) -> Option<String>;

    /// Native symbols of a market.
    fn symbols(core: &Core<Self>, market: Segment) -> Vec<String>;

    /// The seeded instrument of a native symbol.
    fn seeded(core: &Core<Self>, market: Segment, symbol: &str) -> Option<InstrumentIx>;

    /// A number as [`crate::SimControl`] tells it.
    fn print(number: Fixed) -> String {
        number.to_string()
    }

    /// A value in the quote asset as [`crate::SimControl`] tells it.
    fn print_quote(it: &Instrument, value: Notional) -> String {
        Self::print(it.notional(value))
    }

    /// The number that the exchange gives to a state of a book.
    fn sequence(update_id: u64) -> u64 {
        update_id
    }

    /// The whole book of a native symbol.
    fn book(core: &Core<Self>, market: Segment, symbol: &str) -> Option<BookTruth> {
        let ix = Self::seeded(core, market, symbol)?;
        let it = core.market.instrument(ix)?;
        let depth = core.market.depth(ix, usize::MAX);
        let row =
            |(price, qty): &(_, _)| (Self::print(it.price(*price)), Self::print(it.qty(*qty)));
        Some(BookTruth {
            last_update_id: Self::sequence(depth.update_id),
            bids: depth.bids.iter().map(row).collect(),
            asks: depth.asks.iter().map(row).collect(),
        })
    }

    /// Whether the recorded messages of a market have all been sent.
    fn is_replay_finished(_core: &Core<Self>, _market: Segment) -> bool {
        true
    }
}

/// One exchange.
pub(crate) struct Core<V: Venue> {
    pub(crate) market: Market,
    pub(crate) clock: Clock,
    pub(crate) hub: Hub<V::Topic, V::Envelope>,
    pub(crate) faults: FaultDesk,
    /// Who trades here; nobody until an account is opened.
    pub(crate) accounts: Accounts,
    pub(crate) private: PrivateDesk,
    /// Counts restarts, so that connections see them.
    pub(crate) restarts: watch::Sender<u64>,
    /// Until when no connection is taken.
    restarting: Option<Instant>,
    /// What is the exchange's own.
    pub(crate) venue: V,
    now_ms: i64,
    events: Vec<Event>,
    /// Books of the past, oldest first; the first is the one of the start and stays.
    past: VecDeque<(Instant, Vec<Depth>)>,
    is_down: HashMap<Segment, bool>,
}

impl<V: Venue> Core<V> {
    pub(crate) fn new(market: Market, clock: Clock, faults: FaultDesk, venue: V) -> Self {
        let now_ms = market.now_ms();
        let mut core = Self {
            market,
            clock,
            hub: Hub::default(),
            faults,
            accounts: Accounts::new(Rules::default()),
            private: PrivateDesk::default(),
            restarts: watch::Sender::new(0),
            restarting: None,
            venue,
            now_ms,
            events: Vec::new(),
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

    /// A listed instrument of the seeded market.
    pub(crate) fn instrument(&self, ix: InstrumentIx) -> Option<&Instrument> {
        self.market.instrument(ix)
    }

    /// Whether no connection is taken, because the exchange restarts.
    pub(crate) fn is_restarting(&self) -> bool {
        self.restarting.is_some_and(|until| Instant::now() < until)
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
        self.release_private();
        let is_old = self
            .past
            .back()
            .is_none_or(|(at, _)| at.elapsed() >= PAST_EVERY);
        if is_old {
            self.remember();
        }
        self.now_ms + STEP_MS <= target
    }

    fn step(&mut self, to_ms: i64) {
        let before_ms = self.now_ms;
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let mut floor = Floor {
            market: &mut self.market,
            now_ms: to_ms,
            events: &mut events,
            known: 0,
        };
        // An account reacts to a fill before market time goes on.
        while floor.market.advance_to_fill(to_ms, floor.events) {
            self.accounts.settle(&mut floor);
        }
        self.accounts.settle(&mut floor);
        self.accounts.on_time(&mut floor);
        self.accounts.settle(&mut floor);
        self.now_ms = to_ms;
        for event in &events {
            V::on_event(self, event);
        }
        self.events = events;
        self.tell_accounts();
        V::on_step(self, before_ms, to_ms);
    }

    fn strike_connections(&mut self) {
        let (hub, venue, private) = (&self.hub, &self.venue, &self.private);
        let name = |topic: &V::Topic| venue.symbol_of(topic);
        let struck = self.faults.strike_connections(|spec| {
            !hub.concerned(spec, name).is_empty() || !private.concerned(spec).is_empty()
        });
        let now_ms = self.now_ms;
        for spec in struck {
            if spec.kind == FaultKind::Restart {
                self.restarting = Some(Instant::now() + spec.delay);
                self.restarts.send_modify(|count| *count += 1);
                self.hub.cut_all();
                continue;
            }
            let venue = &self.venue;
            let mut ids = self
                .hub
                .concerned(&spec, |topic: &V::Topic| venue.symbol_of(topic));
            ids.extend(self.private.concerned(&spec));
            self.hub
                .strike_sessions(&spec, &ids, |envelope| V::goodbye(envelope, now_ms));
        }
        for market in [Segment::Spot, Segment::Linear] {
            let is_down = self.is_down(market);
            if self.is_down.insert(market, is_down) != Some(is_down) && is_down {
                self.hub.close_market(market);
            }
        }
    }

    fn remember(&mut self) {
        let ixs = (0..self.market.instruments().len()).filter_map(|at| u16::try_from(at).ok());
        let books = ixs
            .map(|at| self.market.depth(InstrumentIx(at), PAST_LEVELS))
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
}
