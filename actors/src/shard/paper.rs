//! Orders on paper: the streams that they need, and the time from which they count.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Handler, Message};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::Feed;
use bookwire_engine::instrument::{InstrumentId, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::paper::Fees;

use super::Shard;
use crate::clock::Clock;
use crate::state::ShardState;
pub use crate::state::paper::{PaperEvent, PaperNews, PaperOrder, PaperTell};
use crate::upstream::StreamKey;

/// Has the desk of an account do something. The first one of an instrument starts its streams.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct PaperCommand {
    /// Which instrument.
    pub instrument: InstrumentId,
    /// Whose desk.
    pub account: Arc<str>,
    /// Who is told.
    pub tell: PaperTell,
    /// What executions cost.
    pub fees: Fees,
    /// What.
    pub order: PaperOrder,
    /// From when on it counts.
    pub active_at: TsNanos,
}

fn feeds(market: Market) -> &'static [Feed] {
    match market {
        Market::Spot => &[Feed::Book, Feed::Trades],
        Market::Perp => &[Feed::Book, Feed::Trades, Feed::Funding],
    }
}

impl Shard {
    fn paper(&mut self, command: PaperCommand) -> Result<(), CryptoError> {
        let id = command.instrument;
        if !self.paper.borrow().contains(&id) {
            let table = self.state.borrow().table().clone();
            let market = table.get(id).map_or(Market::Spot, |row| row.spec.market);
            for (index, feed) in feeds(market).iter().enumerate() {
                let key = StreamKey {
                    instrument: id,
                    feed: *feed,
                };
                let acquired = self.streams.borrow_mut().acquire(key);
                // Without funding orders are filled all the same.
                if let (Err(error), Feed::Book | Feed::Trades) = (acquired, feed) {
                    let now = self.shared.clock.monotonic();
                    for feed in &feeds(market)[..index] {
                        let key = StreamKey {
                            instrument: id,
                            feed: *feed,
                        };
                        self.streams.borrow_mut().release(key, now);
                    }
                    return Err(error);
                }
            }
            self.paper.borrow_mut().push(id);
        }
        let PaperCommand {
            account,
            tell,
            fees,
            order,
            active_at,
            ..
        } = command;
        let state = self
            .state
            .borrow_mut()
            .paper_order(id, &account, &tell, fees, order, active_at)
            .ok_or_else(|| {
                CryptoError::new(
                    CryptoCode::InternalError,
                    "the instrument's streams did not start",
                )
            })?;
        if let Some(due) = state.due {
            let (clock, state) = (self.shared.clock.clone(), self.state.clone());
            crate::alive::spawn(advance(clock, state, id, due));
        }
        Ok(())
    }

    /// Ends the streams of instruments that have nothing on paper any more.
    pub(super) fn end_papers(&mut self) {
        let idle: Vec<InstrumentId> = {
            let state = self.state.borrow();
            let papers = self.paper.borrow();
            let all = papers.iter().copied();
            all.filter(|id| state.paper_state(*id).is_idle).collect()
        };
        let now = self.shared.clock.monotonic();
        for id in idle {
            let market = {
                let mut state = self.state.borrow_mut();
                state.paper_forget(id);
                state
                    .table()
                    .get(id)
                    .map_or(Market::Spot, |row| row.spec.market)
            };
            self.paper.borrow_mut().retain(|kept| *kept != id);
            for feed in feeds(market) {
                let key = StreamKey {
                    instrument: id,
                    feed: *feed,
                };
                self.streams.borrow_mut().release(key, now);
            }
        }
    }
}

async fn advance(
    clock: Arc<dyn Clock>,
    state: Rc<RefCell<ShardState>>,
    id: InstrumentId,
    due: TsNanos,
) {
    let left = due.0.saturating_sub(clock.now().0).max(0);
    clock.sleep(Duration::from_nanos(left.unsigned_abs())).await;
    state.borrow_mut().paper_advance(id);
}

impl Handler<PaperCommand> for Shard {
    type Result = Result<(), CryptoError>;

    fn handle(&mut self, command: PaperCommand, _: &mut Self::Context) -> Self::Result {
        self.paper(command)
    }
}

/// Instruments with something on paper. Outlives a panic of the actor, as their streams do.
pub(super) type Papers = Rc<RefCell<Vec<InstrumentId>>>;
