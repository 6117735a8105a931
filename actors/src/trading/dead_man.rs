//! The exchanges' own timers: an exchange cancels everything when it hears nothing of us for so long.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::trading::venue::{Command, Failure, Proof};

use super::desk::Desk;
use super::live::{Live, Outcome};

/// A timer that could not be set is tried again so soon: OKX takes one a second, so that just then it would be
/// refused once more, by our own count.
const AGAIN: Duration = Duration::from_millis(1_250);
/// One that the exchange refused, as it does for accounts that may not have it, is not tried sooner.
const REFUSED: Duration = Duration::from_secs(60);

/// Tells the exchange again and again that we are there, so that it cancels everything when we are
/// not.
pub(super) async fn keep(desk: Rc<Desk>, live: Live) {
    let every = Duration::from_secs(u64::from(desk.options.dead_man_secs).div_ceil(3).max(1));
    loop {
        let pause = match arm(&desk, &live, desk.options.dead_man_secs).await {
            Armed::Set => every,
            // A timer that was not set runs on: what is left of it is for trying again.
            Armed::Failed => every.min(AGAIN),
            Armed::Refused => every.max(REFUSED),
        };
        desk.clock.sleep(pause).await;
    }
}

/// Whether the exchange's timers were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Armed {
    /// All were.
    Set,
    /// The exchange does not do that for this account.
    Refused,
    /// Not now.
    Failed,
}

/// Sets the exchange's timers, or disarms them with 0 seconds. What came of it is the worst of all markets.
pub(super) async fn arm(desk: &Desk, live: &Live, secs: u32) -> Armed {
    let mut armed = Armed::Set;
    for market in &desk.options.markets {
        let Some((least, most)) = live.venue.support(*market).dead_man_secs else {
            continue;
        };
        let instruments = open_instruments(desk, *market);
        let instruments: Vec<&Instrument> = instruments.iter().map(|one| &**one).collect();
        let command = Command::DeadMan {
            market: *market,
            instruments: &instruments,
            secs: match secs {
                0 => 0,
                secs => secs.clamp(least, most),
            },
        };
        let outcome = live.command(&command).await;
        let refused = match outcome {
            Outcome::Done(_) => None,
            Outcome::Failed(failure) if failure.proof == Proof::Refused => {
                Some((failure.error, Armed::Refused))
            }
            Outcome::Failed(Failure { error, .. }) | Outcome::Unknown(error) => {
                Some((error, Armed::Failed))
            }
        };
        if let Some((error, came_to)) = refused {
            tracing::warn!(provider = desk.provider.name(), %market, %error,
                "the exchange's own timer could not be set");
            armed = armed.max(came_to);
        }
        // The same timer once more would only use its limit up.
        if live.venue.has_one_dead_man() {
            break;
        }
    }
    armed
}

fn open_instruments(desk: &Desk, market: Market) -> Vec<Arc<Instrument>> {
    let table = desk.table();
    let state = desk.state.borrow();
    let mut symbols: Vec<&str> = state
        .ledger
        .open_orders()
        .filter(|order| order.terms.market == market)
        .map(|order| order.terms.native_symbol.as_str())
        .collect();
    symbols.sort_unstable();
    symbols.dedup();
    symbols
        .into_iter()
        .filter_map(|symbol| table.by_native(desk.provider, market, symbol).cloned())
        .collect()
}

#[cfg(test)]
#[path = "dead_man_tests.rs"]
mod tests;
