//! Trading: an [`router::OrderRouter`] for each account at each provider.
//!
//! ```text
//! REST order ─► OrderRouter ─► checks, limits ─► journal ─► signed request ─► exchange
//!                  ▲   │                                                        │
//!       sessions ◄─┘   └──────────◄ private stream, answers, reconciliation ◄───┘
//! ```
//!
//! Routers live on a thread of their own (`orders`), or on one of those that serve clients
//! ([`Trading::host`]), each account's state on it alone. What they know they have from the exchange; what
//! they do they have written down before. A lost answer makes an order `unknown` and is followed by
//! questions, never by a second order.
//!
//! Accounts without a key of the exchange are filled on paper ([`paper`]), by the same rules.

mod dead_man;
pub(crate) mod desk;
mod flows;
pub mod guard;
mod ink;
pub mod keys;
pub mod limits;
mod line;
mod link;
mod live;
pub mod market;
pub mod options;
pub mod paper;
mod private;
mod resolve;
pub mod router;
pub mod steps;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use actix::Addr;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::trading::journal::JournalError;
use bookwire_engine::trading::order::{
    Balance, Fill, Order, OrderId, OrderTerms, Position, TradingMode,
};
use bookwire_engine::trading::venue::OrderSupport;
use parking_lot::Mutex;
use rust_decimal::Decimal;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::connection::backoff::ConnectBudgets;
use crate::latency::{StageHistogram, StageLatency, Stamp};
use crate::rest_client::RestClient;
use crate::status::ProviderMeter;
use crate::trace::{Traceable, Traced};
use market::MarketView;
use options::{AccountOptions, TradingOptions};
use router::OrderRouter;

/// An order that somebody wants.
#[derive(Clone)]
pub struct PlaceOrder {
    /// What; resolved and right in form.
    pub terms: OrderTerms,
    /// Its instrument.
    pub instrument: Arc<Instrument>,
    /// Amounts off the steps are rounded instead of refused.
    pub is_rounded: bool,
    /// Id of the key that asks.
    pub by: String,
    /// When it was received, by the engine's monotonic clock; none where nobody measures.
    pub received: Stamp,
}

/// An order that was placed, or had been before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// As it is now.
    pub order: Order,
    /// False: the same client order id had made it before.
    pub is_new: bool,
}

/// An order whose cancellation the exchange has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canceled {
    /// As it is now: canceled, or soon.
    pub order: Order,
}

/// An order that was amended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amended {
    /// As it is now; another order where it was replaced.
    pub order: Order,
    /// It was canceled, and this one took its place.
    pub is_replaced: bool,
}

/// What those who listen to an account are told.
#[derive(Clone, Debug)]
pub enum Published {
    /// An order changed, by this execution where it was one.
    Order(Box<(Order, Option<Fill>)>),
    /// Balances and positions changed.
    Account {
        /// Those that changed.
        balances: Vec<Balance>,
        /// Those that changed.
        positions: Vec<Position>,
    },
}

/// Figures of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskStats {
    /// Orders that went into the journal to be sent.
    pub placed: u64,
    /// Orders that the exchange refused.
    pub rejected: u64,
    /// Orders that a limit of the user refused.
    pub refused_by_risk: u64,
    /// Orders that were refused before anything was sent for what they say: amounts off the steps, too
    /// little money, what the exchange does not offer.
    pub refused_by_check: u64,
    /// Orders that were refused because the account takes none now: it is not ready, or halted.
    pub refused_not_ready: u64,
    /// Orders whose outcome was not known at first.
    pub unknown: u64,
    /// Cancellations asked for.
    pub cancels: u64,
    /// Times that the last session which watched over a key's orders ended without saying so before.
    pub disconnects: u64,
    /// Orders canceled because of that.
    pub disconnect_cancels: u64,
    /// Attempts at that which failed; they are repeated.
    pub disconnect_cancels_failed: u64,
    /// Executions.
    pub fills: u64,
    /// What was believed and was not so.
    pub corrections: u64,
    /// Executions of orders that are not known here.
    pub strange_fills: u64,
    /// Comparisons with the exchange.
    pub reconciliations: u64,
    /// Of these, failed.
    pub reconciliations_failed: u64,
    /// Private streams that were lost.
    pub private_reconnects: u64,
    /// Private messages that could not be read.
    pub unreadable: u64,
    /// Errors of the exchange with a code that is in none of our tables.
    pub unmapped: u64,
    /// Entries written to the journal.
    pub journal_entries: u64,
    /// Writes to the journal; each is all entries of one change.
    pub journal_writes: u64,
    /// Writes that failed.
    pub journal_errors: u64,
    /// Times that the journal could not be brought to the disk.
    pub journal_sync_errors: u64,
    /// Times that the journal was written anew while it was in use.
    pub journal_compactions: u64,
    /// Times that it could not be.
    pub journal_compact_errors: u64,
    pub(crate) wants_reconciliation: bool,
    pub(crate) wanted_fills: BTreeSet<OrderId>,
}

/// How an account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeskStatus {
    /// The provider.
    pub provider: ProviderId,
    /// The account's name.
    pub account: String,
    /// Paper or live.
    pub mode: TradingMode,
    /// What can be done with orders of each market that is used, in this mode.
    pub support: Vec<(Market, OrderSupport)>,
    /// The exchange's key can take money away. `None`: that is not known, as on paper, before it was asked,
    /// and where the exchange can't be asked.
    pub key_can_withdraw: Option<bool>,
    /// Orders are taken.
    pub is_ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// The kill switch is engaged, and by whom.
    pub halted_by: Option<String>,
    /// Orders that can still execute.
    pub open_orders: usize,
    /// Sessions with whose end orders are canceled.
    pub guards: usize,
    /// Figures.
    pub stats: DeskStats,
    /// The connections that take orders; `None`: orders go over HTTP alone.
    pub lines: Option<LinesStatus>,
}

/// How the connections that take an account's orders stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinesStatus {
    /// All of them are up.
    pub is_up: bool,
    /// Each that is used.
    pub lines: Vec<LineStatus>,
    /// Commands that were written to one.
    pub written: u64,
    /// Those of them that were answered.
    pub answered: u64,
    /// Commands that went by HTTP because one was not up, or had too much under way.
    pub by_rest: u64,
    /// How often one was lost that was up.
    pub reconnects: u64,
}

/// How one of them stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineStatus {
    /// Its name: `orders_spot`.
    pub name: &'static str,
    /// It takes orders.
    pub is_up: bool,
    /// Frames that were written and are not answered.
    pub in_flight: usize,
}

/// An account, seen from outside: how it stands and what was measured of it.
#[derive(Clone, Debug)]
pub struct DeskObservation {
    /// How it stands.
    pub status: DeskStatus,
    /// Orders whose outcome is not known now.
    pub unknown_orders: usize,
    /// The exchange's error codes that no table of ours has, each time that one came.
    pub unmapped_codes: u64,
    /// Private connections by name, and whether each is up. None on paper.
    pub private_streams: Vec<(&'static str, bool)>,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// How long orders took, in the order of [`ORDER_STAGES`].
    pub latencies: Vec<StageLatency>,
}

/// The stages of an order's way, and what each is.
pub const ORDER_STAGES: [(&str, &str); 2] = [
    (
        "entry",
        "order read by the server to on its way to the exchange: looked at, written down",
    ),
    (
        "answer",
        "on its way to the exchange to its answer understood; on paper to its confirmation",
    ),
];

/// What a router measures; written by its thread only.
#[derive(Debug, Default)]
pub(crate) struct OrderLatency {
    pub entry: StageHistogram,
    pub answer: StageHistogram,
}

impl OrderLatency {
    /// What was measured, in the order of [`ORDER_STAGES`].
    pub fn told(&self) -> Vec<StageLatency> {
        let parts = [&self.entry, &self.answer];
        let tell = |((name, _), part): (&(&'static str, _), &StageHistogram)| {
            let mut stage = StageLatency::new(name);
            part.add_to(&mut stage);
            stage
        };
        ORDER_STAGES.iter().zip(parts).map(tell).collect()
    }
}

/// Why trading does not start.
#[derive(Debug, thiserror::Error)]
pub enum TradingError {
    /// The thread can't be started.
    #[error("can't start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// An account's journal can't be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

type Routers = BTreeMap<(ProviderId, String), Addr<OrderRouter>>;

struct Inner {
    /// Once they run.
    routers: OnceLock<Routers>,
    /// What waits for a thread that hosts it.
    seed: Mutex<Option<Seed>>,
    /// Ends their own thread, where they have one.
    stop: Mutex<Option<oneshot::Sender<()>>>,
    ended: Mutex<Option<oneshot::Receiver<()>>>,
    is_stopped: AtomicBool,
}

/// Accounts before they run: their journals are open, so all that can fail has been done.
struct Seed {
    accounts: Vec<router::Prepared>,
    context: TradingContext,
}

/// All accounts. Clones are the same.
#[derive(Clone)]
pub struct Trading(Arc<Inner>);

/// What every account's router is made of.
pub struct TradingContext {
    /// The market.
    pub market: Arc<dyn MarketView>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Budgets and addresses.
    pub rest: RestClient,
    /// How often hosts may be connected to, market data included.
    pub connects: ConnectBudgets,
    /// Figures of the providers.
    pub meters: Vec<Arc<ProviderMeter>>,
}

impl Trading {
    /// Opens the journals and starts the routers on a thread of their own.
    ///
    /// # Errors
    /// [`TradingError`].
    pub fn start(options: TradingOptions, context: TradingContext) -> Result<Self, TradingError> {
        let trading = Self::prepare(options, context)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (end, ended) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::sync_channel(1);
        let hosted = trading.clone();
        std::thread::Builder::new()
            .name("orders".to_owned())
            .spawn(move || {
                let system = actix::System::new();
                system.block_on(async move {
                    hosted.host();
                    drop(hosted);
                    // The starter waits for it.
                    let _ = ready.send(());
                    // Both an order and the loss of whoever could give one.
                    let _ = stopped.await;
                });
                let _ = end.send(());
            })?;
        is_ready
            .recv()
            .map_err(|_| std::io::Error::other("the thread of orders ended at once"))?;
        *trading.0.stop.lock() = Some(stop);
        *trading.0.ended.lock() = Some(ended);
        Ok(trading)
    }

    /// Opens the journals. The routers run on the thread that calls [`Trading::host`] first; until then
    /// there are none.
    ///
    /// # Errors
    /// [`TradingError`].
    pub fn prepare(options: TradingOptions, context: TradingContext) -> Result<Self, TradingError> {
        let accounts = options.accounts.into_iter().map(router::Prepared::open);
        let accounts = accounts.collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner {
            routers: OnceLock::new(),
            seed: Mutex::new(Some(Seed { accounts, context })),
            stop: Mutex::default(),
            ended: Mutex::default(),
            is_stopped: AtomicBool::new(false),
        })))
    }

    /// Runs routers that have no thread yet on the calling one, which must be of an actix system; they live
    /// as long as it does. Routers that run already are left alone.
    pub fn host(&self) {
        let seed = self.0.seed.lock().take();
        if let Some(Seed { accounts, context }) = seed {
            let routers = router::start_all(accounts, &context);
            // It is empty: nobody else had the seed.
            let _ = self.0.routers.set(routers);
        }
    }

    fn running(&self) -> Option<&Routers> {
        self.0.routers.get()
    }

    /// The router of an account.
    ///
    /// # Errors
    /// `CRYPTO_INVALID_PARAMETER` naming the accounts there are, `CRYPTO_UNSUPPORTED` when the
    /// provider has none, `CRYPTO_PROVIDER_UNAVAILABLE` before the routers run.
    pub fn router(
        &self,
        provider: ProviderId,
        account: &str,
    ) -> Result<Addr<OrderRouter>, CryptoError> {
        let Some(routers) = self.running() else {
            let what = "orders are not taken yet";
            return Err(CryptoError::new(CryptoCode::ProviderUnavailable, what)
                .with("provider", provider.name())
                .suggest("retry in a second"));
        };
        let key = (provider, account.to_owned());
        if let Some(router) = routers.get(&key) {
            return Ok(router.clone());
        }
        let of_provider = routers.keys().filter(|(of, _)| *of == provider);
        let names: Vec<&str> = of_provider.map(|(_, name)| name.as_str()).collect();
        if names.is_empty() {
            let what = format!("nothing is traded on {}", provider.name());
            return Err(
                CryptoError::new(CryptoCode::Unsupported, what).with("provider", provider.name())
            );
        }
        Err(CryptoError::invalid_parameter(
            "account",
            account,
            names.join(", "),
        ))
    }

    /// All accounts, or those of a provider, or of a name.
    pub fn routers(
        &self,
        provider: Option<ProviderId>,
        account: Option<&str>,
    ) -> impl Iterator<Item = (&ProviderId, &str, &Addr<OrderRouter>)> {
        let all = self.running().into_iter().flatten();
        all.filter(move |((of, name), _)| {
            provider.is_none_or(|provider| provider == *of)
                && account.is_none_or(|account| account == name)
        })
        .map(|((of, name), router)| (of, name.as_str(), router))
    }

    /// Whether every account answers; waits for as long as they take. One whose router has ended does not.
    pub async fn is_answering(&self) -> bool {
        let routers = self.running().into_iter().flat_map(Routers::values);
        let asked = routers.map(|router| router.send(router::GetStatus));
        let answers = futures_util::future::join_all(asked).await;
        answers.iter().all(Result::is_ok)
    }

    /// Asks a router, waiting as long as it takes: flows have limits of their own.
    ///
    /// # Errors
    /// What it answers; `CRYPTO_INTERNAL_ERROR` when the thread has ended.
    pub async fn ask<M, T>(router: &Addr<OrderRouter>, message: M) -> Result<T, CryptoError>
    where
        M: actix::Message<Result = Result<T, CryptoError>> + Send + 'static,
        OrderRouter: actix::Handler<M>,
        T: Send + 'static,
    {
        match router.send(message).await {
            Ok(answer) => answer,
            Err(error) => {
                let what = format!("the thread of orders did not answer: {error}");
                Err(CryptoError::new(CryptoCode::InternalError, what))
            }
        }
    }

    /// As [`Trading::ask`], for what somebody wants done: what the router logs of it, and of the order that it
    /// makes, has the id of the request that is being handled here.
    ///
    /// # Errors
    /// As there.
    pub async fn command<M, T>(router: &Addr<OrderRouter>, message: M) -> Result<T, CryptoError>
    where
        M: Traceable<OrderRouter> + actix::Message<Result = Result<T, CryptoError>> + Send,
        T: Send + 'static,
    {
        Self::ask(router, Traced::new(message)).await
    }

    /// Stops the routers, after disarming what the exchanges would do about the silence.
    /// The second time it does nothing: a thread that hosts them may have ended since.
    pub async fn stop(&self) {
        // Those that never ran have nothing to end.
        drop(self.0.seed.lock().take());
        if self.0.is_stopped.swap(true, Ordering::AcqRel) {
            return;
        }
        for router in self.running().into_iter().flat_map(Routers::values) {
            let _ = router.send(router::Stop).await;
        }
        if let Some(stop) = self.0.stop.lock().take() {
            let _ = stop.send(());
        }
        let ended = self.0.ended.lock().take();
        if let Some(ended) = ended {
            let _ = ended.await;
        }
    }
}

/// A change of an order's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmendOrder {
    /// Which.
    pub id: OrderId,
    /// Total quantity, base units; `None`: as it is.
    pub quantity: Option<Decimal>,
    /// Limit price; `None`: as it is.
    pub price: Option<Decimal>,
    /// Id of the key that asks.
    pub by: String,
}

/// What an account is called when nothing is said.
pub const DEFAULT_ACCOUNT: &str = "default";

/// The provider and name of an account.
#[must_use]
pub fn account_key(options: &AccountOptions) -> (ProviderId, String) {
    (options.provider, options.name.clone())
}
