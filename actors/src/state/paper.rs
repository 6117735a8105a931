//! Orders on paper, next to the book that fills them. An instrument without any costs its events one
//! look at an empty pointer.

use std::sync::Arc;

use bookwire_engine::book::Book;
use bookwire_engine::book::sync::SyncedBook;
use bookwire_engine::event::{Funding, Trade};
use bookwire_engine::instrument::{Instrument, InstrumentId};
use bookwire_engine::num::to_decimal;
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::order::{OrderTerms, PositionSide};
use bookwire_engine::trading::paper::desk::{Desk, Placement};
use bookwire_engine::trading::paper::liquidate::Liquidation;
use bookwire_engine::trading::paper::{Depth, Fees};
use bookwire_engine::trading::venue::Facts;
use rust_decimal::Decimal;

use super::ShardState;
use super::feeds::InstrumentState;

/// What a desk's account is told. Called on the shard's thread; must not wait.
pub type PaperTell = Arc<dyn Fn(PaperNews) + Send + Sync>;

/// What happens to an account's orders and positions of an instrument.
#[derive(Clone, Debug)]
pub struct PaperNews {
    /// Which instrument.
    pub instrument: Arc<Instrument>,
    /// What.
    pub what: PaperEvent,
}

/// See [`PaperNews`].
#[derive(Clone, Debug)]
pub enum PaperEvent {
    /// Orders changed, executions.
    Facts(Facts),
    /// A mark price, with the rate that is charged at the next settlement.
    Mark {
        /// Mark price, quote units.
        price: Decimal,
        /// The rate, where told.
        rate: Option<Decimal>,
        /// The settlement, where told.
        next: Option<TsNanos>,
    },
}

/// What an account has a desk do.
#[derive(Clone, Debug)]
pub enum PaperOrder {
    /// Takes an order.
    Place {
        /// What.
        terms: Box<OrderTerms>,
        /// The name of it in facts.
        client_id: String,
        /// What it may spend.
        budget: Option<Decimal>,
        /// Executed before a restart.
        filled: Decimal,
        /// Average price of that.
        average_price: Option<Decimal>,
        /// Its stop price was reached before a restart.
        is_triggered: bool,
    },
    /// Ends an order.
    Cancel(String),
    /// Changes an order.
    Amend {
        /// Which.
        client_id: String,
        /// Total quantity.
        quantity: Decimal,
        /// Limit price.
        price: Option<Decimal>,
    },
    /// Closes a position whose margin is used up.
    Liquidate(Liquidation),
    /// There is a position, or none any more: mark prices are told while there is.
    Position(PositionSide, Decimal),
}

/// The desks of an instrument.
#[derive(Default)]
pub(crate) struct Bench {
    desks: Vec<Seat>,
}

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench")
            .field("desks", &self.desks.len())
            .finish()
    }
}

struct Seat {
    account: Arc<str>,
    desk: Desk,
    tell: PaperTell,
    /// There are positions: mark prices are wanted.
    positions: [Decimal; PositionSide::ALL.len()],
}

impl Seat {
    fn say(&self, instrument: &Arc<Instrument>, facts: Facts) {
        if !facts.is_empty() {
            (self.tell)(PaperNews {
                instrument: instrument.clone(),
                what: PaperEvent::Facts(facts),
            });
        }
    }

    fn is_idle(&self) -> bool {
        self.desk.is_empty() && self.positions.iter().all(Decimal::is_zero)
    }
}

fn depth(book: Option<&Book>) -> Option<&dyn Depth> {
    book.map(|book| book as &dyn Depth)
}

impl Bench {
    pub(super) fn on_book(
        &mut self,
        instrument: &Arc<Instrument>,
        book: Option<&Book>,
        now: TsNanos,
    ) {
        for seat in &mut self.desks {
            if seat.desk.is_empty() {
                continue;
            }
            let mut facts = Facts::default();
            seat.desk.on_book(depth(book), now, &mut facts);
            seat.say(instrument, facts);
        }
    }

    pub(super) fn on_trade(
        &mut self,
        instrument: &Arc<Instrument>,
        trade: &Trade,
        book: Option<&Book>,
        now: TsNanos,
    ) {
        for seat in &mut self.desks {
            if seat.desk.is_empty() {
                continue;
            }
            let mut facts = Facts::default();
            seat.desk.on_trade(trade, depth(book), now, &mut facts);
            seat.say(instrument, facts);
        }
    }

    pub(super) fn on_funding(&self, instrument: &Arc<Instrument>, funding: &Funding) {
        for seat in &self.desks {
            if seat.positions.iter().all(Decimal::is_zero) {
                continue;
            }
            (seat.tell)(PaperNews {
                instrument: instrument.clone(),
                what: PaperEvent::Mark {
                    price: to_decimal(funding.mark_price, Funding::PRICE_SCALE),
                    rate: funding
                        .rate
                        .map(|rate| to_decimal(rate, Funding::RATE_SCALE)),
                    next: funding.next_funding_time,
                },
            });
        }
    }
}

/// What became of an order to a desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PaperState {
    /// Nothing of the instrument is wanted for paper any more.
    pub is_idle: bool,
    /// When the next command counts.
    pub due: Option<TsNanos>,
}

impl ShardState {
    /// Has a desk do something; `fees` are those of a desk that is made for it. `None`: no such
    /// instrument is kept.
    pub fn paper_order(
        &mut self,
        id: InstrumentId,
        account: &Arc<str>,
        tell: &PaperTell,
        fees: Fees,
        order: PaperOrder,
        active_at: TsNanos,
    ) -> Option<PaperState> {
        let now = self.clock.now();
        let state = self.known_mut(id)?;
        let instrument = state.instrument.clone();
        let scales = (instrument.price_scale, instrument.qty_scale);
        let bench = state.paper.get_or_insert_default();
        let of = |seat: &Seat| {
            let own = seat.desk.instrument();
            seat.account == *account
                && ((own.price_scale, own.qty_scale) == scales || !seat.desk.is_empty())
        };
        let index = match bench.desks.iter().position(of) {
            Some(index) => index,
            None => {
                bench.desks.retain(|seat| seat.account != *account);
                bench.desks.push(Seat {
                    account: account.clone(),
                    desk: Desk::new(instrument.clone(), fees, None),
                    tell: tell.clone(),
                    positions: Default::default(),
                });
                bench.desks.len() - 1
            }
        };
        let seat = &mut bench.desks[index];
        let mut facts = Facts::default();
        match order {
            PaperOrder::Place {
                terms,
                client_id,
                budget,
                filled,
                average_price,
                is_triggered,
            } => {
                let placement = Placement {
                    filled,
                    average_price,
                    is_triggered,
                    ..Placement::new(&terms, &client_id, budget)
                };
                seat.desk.place(&placement, active_at, &mut facts);
            }
            PaperOrder::Cancel(client_id) => seat.desk.cancel(&client_id, active_at),
            PaperOrder::Amend {
                client_id,
                quantity,
                price,
            } => seat
                .desk
                .amend(&client_id, quantity, price, active_at, &mut facts),
            PaperOrder::Liquidate(liquidation) => {
                seat.desk.liquidate(&liquidation, now, &mut facts);
            }
            PaperOrder::Position(side, quantity) => {
                // Its own executions are known to the desk; what was there before them is not.
                if seat.positions.iter().all(Decimal::is_zero) && seat.desk.is_empty() {
                    seat.desk.set_position(side, quantity);
                }
                seat.positions[side as usize] = quantity;
            }
        }
        let book = state.book.as_ref().and_then(|feed| feed.synced.book());
        seat.desk.advance(depth(book), now, &mut facts);
        seat.say(&instrument, facts);
        Some(self.paper_state(id))
    }

    /// Lets commands count whose time has come.
    pub fn paper_advance(&mut self, id: InstrumentId) -> PaperState {
        let now = self.clock.now();
        if let Some(state) = self.known_mut(id) {
            let InstrumentState {
                paper,
                book,
                instrument,
                ..
            } = state;
            let book = book.as_ref().and_then(|feed| feed.synced.book());
            for seat in paper.iter_mut().flat_map(|bench| &mut bench.desks) {
                let mut facts = Facts::default();
                seat.desk.advance(depth(book), now, &mut facts);
                seat.say(instrument, facts);
            }
        }
        self.paper_state(id)
    }

    /// What is wanted of an instrument for paper.
    #[must_use]
    pub fn paper_state(&self, id: InstrumentId) -> PaperState {
        let bench = self.known(id).and_then(|state| state.paper.as_ref());
        let desks = bench.map_or(&[][..], |bench| &bench.desks);
        PaperState {
            is_idle: desks.iter().all(Seat::is_idle),
            due: desks.iter().filter_map(|seat| seat.desk.next_due()).min(),
        }
    }

    /// Forgets the desks of an instrument that has nothing on paper.
    pub fn paper_forget(&mut self, id: InstrumentId) {
        if let Some(state) = self.known_mut(id) {
            state.paper = None;
        }
    }
}

/// A book changed.
#[inline]
pub(super) fn on_book(state: &mut InstrumentState, now: TsNanos) {
    let InstrumentState {
        paper: Some(bench),
        book,
        instrument,
        ..
    } = state
    else {
        return;
    };
    let book = book.as_ref().map(|feed| &feed.synced);
    bench.on_book(instrument, book.and_then(SyncedBook::book), now);
}

/// A trade came.
#[inline]
pub(super) fn on_trade(state: &mut InstrumentState, trade: &Trade, now: TsNanos) {
    let InstrumentState {
        paper: Some(bench),
        book,
        instrument,
        ..
    } = state
    else {
        return;
    };
    let book = book.as_ref().map(|feed| &feed.synced);
    bench.on_trade(instrument, trade, book.and_then(SyncedBook::book), now);
}
