//! One account at one provider: its ledger, its journal, its limits, and what may be done now.
//!
//! All of it lives on one thread. Flows that wait (an answer, a question) hold the desk and never a
//! borrow of its state across the wait; what they find afterwards is what the state is then.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{Instrument, InstrumentTable, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::journal::{Entry, Journal, JournalError};
use bookwire_engine::trading::ledger::{Absorbed, Ledger};
use bookwire_engine::trading::order::{Balance, Fill, Order, OrderId, Position, TradingMode};
use bookwire_engine::trading::state::OrderNews;
use bookwire_engine::trading::venue::{Facts, OrderRef, OrderSupport, Touch, TradingVenue};
use tracing::Span;

use super::live::Live;
use super::market::MarketView;
use super::options::AccountOptions;
use super::paper::PaperHouse;
use super::steps::{Step, reached};
use super::{DeskStats, OrderLatency, Published};
use crate::clock::Clock;
use crate::latency::Stamp;

/// Where orders go.
pub(crate) enum House {
    /// To the exchange.
    Live(Live),
    /// Nowhere: they are filled here against the live book.
    Paper(PaperHouse),
}

/// Whether orders are taken, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// Orders, executions, positions and balances have not been fetched yet.
    Starting,
    /// They have, and the private streams are up.
    Ready,
    /// They were, and something is missing now.
    NotReady(String),
}

/// What changes.
pub(crate) struct State {
    pub ledger: Ledger,
    pub journal: Journal,
    pub readiness: Readiness,
    pub halted_by: Option<String>,
    pub is_hedged: bool,
    /// What can be done with orders of a market, where the exchange behind a bridge has told it.
    pub support: Vec<(Market, OrderSupport)>,
    /// The exchange's key can withdraw; `None`: nobody has told.
    pub key_can_withdraw: Option<bool>,
    pub stats: DeskStats,
    /// Orders that are being found out.
    pub resolving: BTreeSet<OrderId>,
    /// How often the exchange has said of an order that there is none.
    pub absent: BTreeMap<OrderId, u32>,
    pub is_fetching_balances: bool,
    pub is_reconciling: bool,
    /// Private connections that are up, by route.
    pub streams_up: Vec<bool>,
    /// Private connections with whose end the exchange begins to count.
    pub watched: usize,
    /// They are to be left alone: this is an end that is wanted.
    pub is_leaving: bool,
    pub sessions: Vec<Subscriber>,
    pub next_session: u64,
    pub is_journal_dirty: bool,
    pub risk: super::limits::Limits,
    pub guards: super::guard::Guards,
    /// The requests that open orders were made by.
    pub traces: Traces,
}

/// Which request made which order, so that what is heard of an order later can be told with its id. Kept
/// while the order is open, in memory alone.
#[derive(Debug, Default)]
pub(crate) struct Traces(BTreeMap<OrderId, Span>);

impl Traces {
    /// Orders whose request is known at most; of more the oldest are forgotten.
    const MAX: usize = 4_096;

    /// The order is made by the request that is being handled.
    pub fn keep(&mut self, id: OrderId) {
        let span = Span::current();
        if span.is_none() {
            return;
        }
        self.0.insert(id, span);
        if self.0.len() > Self::MAX {
            self.0.pop_first();
        }
    }

    fn of(&self, id: OrderId) -> Span {
        self.0.get(&id).cloned().unwrap_or_else(Span::none)
    }

    fn log(&mut self, order: &Order, fill: Option<&Fill>) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let span = match self.of(order.id) {
                known if known.is_none() => Span::current(),
                known => known,
            };
            span.in_scope(|| {
                tracing::debug!(order = %order.id, status = order.status.as_str(),
                    filled = %order.filled_quantity, fill = fill.map(|fill| fill.fill_id.as_str()),
                    reason = order.reject_reason, "the order has changed");
            });
        }
        if order.status.is_final() {
            self.0.remove(&order.id);
        }
    }
}

/// Somebody who is told what happens on this account.
pub(crate) struct Subscriber {
    pub number: u64,
    pub tell: Box<dyn Fn(&Published) -> bool>,
}

/// The desk. See the module's text.
pub(crate) struct Desk {
    pub provider: ProviderId,
    pub options: AccountOptions,
    pub house: House,
    pub clock: Arc<dyn Clock>,
    pub market: Arc<dyn MarketView>,
    pub state: RefCell<State>,
    /// How long orders take.
    pub latency: OrderLatency,
}

impl Desk {
    /// Paper or live.
    pub fn mode(&self) -> TradingMode {
        match &self.house {
            House::Live(_) => TradingMode::Live,
            House::Paper(_) => TradingMode::Paper,
        }
    }

    /// What the provider's adapter can do. Paper accounts offer what the exchange does.
    pub fn venue(&self) -> Option<&'static dyn TradingVenue> {
        self.provider.exchange().trading()
    }

    /// What can be done with orders of a market.
    pub fn support(&self, market: Market) -> OrderSupport {
        match (&self.house, self.venue()) {
            (House::Live(live), _) => {
                let state = self.state.borrow();
                let mut told = state.support.iter();
                let own = told.find(|(of, _)| *of == market).map(|(_, own)| *own);
                own.unwrap_or_else(|| live.venue.support(market))
            }
            (House::Paper(_), Some(venue)) => {
                super::paper::support(market, Some(venue.support(market)))
            }
            (House::Paper(_), None) => super::paper::support(market, None),
        }
    }

    /// The instruments as they are now.
    pub fn table(&self) -> Arc<InstrumentTable> {
        self.market.table()
    }

    /// Of an account at one of a bridge's exchanges: whether that exchange's instruments are there.
    pub fn knows_its_exchange(&self, table: &InstrumentTable) -> Result<(), CryptoError> {
        let Some(exchange) = &self.options.exchange else {
            return Ok(());
        };
        let is_own = |row: &Arc<Instrument>| {
            row.spec.provider == self.provider && row.spec.exchange == *exchange
        };
        if table.iter().any(is_own) {
            return Ok(());
        }
        let what = format!("the instruments of {exchange} are not loaded yet");
        Err(CryptoError::new(CryptoCode::ProviderUnavailable, what)
            .with("provider", self.provider.name())
            .with("exchange", exchange.clone()))
    }

    /// Whether an instrument can be traded on this account: one at a bridge's exchange is for that one.
    pub fn is_of_its_exchange(&self, instrument: &Instrument) -> Result<(), CryptoError> {
        match &self.options.exchange {
            Some(exchange) if *exchange != instrument.spec.exchange => {
                let account = &self.options.name;
                let wanted = &instrument.spec.exchange;
                let accepted = format!("an account of {wanted}; {account} is one of {exchange}");
                Err(CryptoError::invalid_parameter("account", account, accepted))
            }
            _ => Ok(()),
        }
    }

    /// The instrument of an order; an error when it is not listed any more.
    pub fn instrument(&self, order: &Order) -> Result<Arc<Instrument>, CryptoError> {
        let terms = &order.terms;
        let table = self.table();
        let found = table.by_native(terms.provider, terms.market, &terms.native_symbol);
        found.cloned().ok_or_else(|| {
            let what = format!("{} is not listed now", terms.entity_id);
            CryptoError::new(CryptoCode::PairNotFound, what)
                .with("entity_id", terms.entity_id.clone())
        })
    }

    /// Best prices of an instrument, as far as its book is trusted now.
    pub async fn touch(&self, instrument: &Instrument) -> Touch {
        self.market
            .touch(instrument.id, Duration::from_millis(500))
            .await
    }

    /// Writes entries down. Nothing may be done about an order when this fails.
    pub fn write(&self, entries: &[Entry]) -> Result<(), CryptoError> {
        if entries.is_empty() {
            return Ok(());
        }
        reached(Step::BeforeWrite);
        let mut state = self.state.borrow_mut();
        if let Err(error) = state.journal.append_all(entries) {
            state.stats.journal_errors += 1;
            drop(state);
            return Err(self.unwritten(&error));
        }
        state.stats.journal_entries += entries.len() as u64;
        state.stats.journal_writes += 1;
        state.is_journal_dirty = true;
        drop(state);
        reached(Step::Written);
        Ok(())
    }

    fn unwritten(&self, error: &JournalError) -> CryptoError {
        tracing::error!(provider = self.provider.name(), account = %self.options.name, %error,
            "the order journal can't be written");
        let what = format!("the order journal can't be written, so nothing is sent: {error}");
        CryptoError::new(CryptoCode::InternalError, what)
            .with("provider", self.provider.name())
            .with("account", self.options.name.clone())
            .suggest("free space on the disk of server.data_dir, or restart when it says so")
    }

    /// Has what was written reach the disk, where the options want it before anything is sent.
    pub async fn secure(&self) -> Result<(), CryptoError> {
        if !self.options.is_journal_synced {
            return Ok(());
        }
        let handle = self.state.borrow().journal.handle();
        let handle = handle.map_err(|error| self.unwritten(&error))?;
        let synced = tokio::task::spawn_blocking(move || handle.sync()).await;
        match synced {
            Ok(Ok(())) => {
                reached(Step::Synced);
                Ok(())
            }
            Ok(Err(source)) => {
                self.state.borrow_mut().stats.journal_sync_errors += 1;
                Err(self.unwritten(&JournalError::Io {
                    path: self.options.journal.clone(),
                    source,
                }))
            }
            Err(_) => Err(CryptoError::new(
                CryptoCode::InternalError,
                "the engine is stopping",
            )),
        }
    }

    /// Takes facts: into the ledger, the journal, and to whoever listens. What has to be asked because
    /// of them is asked.
    pub fn take(self: &Rc<Self>, facts: &Facts) {
        self.take_with(facts, None);
    }

    /// As [`Desk::take`], with another entry for the journal in the same write.
    pub fn take_with(self: &Rc<Self>, facts: &Facts, entry: Option<Entry>) {
        let table = self.table();
        let now = self.clock.now();
        let absorbed = {
            let mut state = self.state.borrow_mut();
            if let Some(is_hedged) = facts.is_hedged {
                state.is_hedged = is_hedged;
            }
            for (market, support) in &facts.support {
                state.support.retain(|(of, _)| of != market);
                state.support.push((*market, *support));
            }
            state.ledger.absorb(facts, &table, now)
        };
        self.after(absorbed, entry);
        reached(Step::Taken);
        if facts.balances_are_stale {
            super::resolve::fetch_balances_soon(self);
        }
    }

    /// Takes news of an order.
    pub fn tell(self: &Rc<Self>, id: OrderId, news: &OrderNews) {
        let absorbed = self.state.borrow_mut().ledger.tell(id, news);
        self.after(absorbed, None);
    }

    fn after(self: &Rc<Self>, absorbed: Absorbed, entry: Option<Entry>) {
        for correction in &absorbed.corrections {
            tracing::warn!(provider = self.provider.name(), account = %self.options.name, "{correction}");
        }
        let mut entries = Vec::from_iter(entry);
        let mut published = Vec::new();
        {
            let mut state = self.state.borrow_mut();
            state.stats.corrections += absorbed.corrections.len() as u64;
            state.stats.strange_fills += absorbed.strange_fills as u64;
            for (id, fill) in &absorbed.orders {
                let State {
                    ledger,
                    traces,
                    sessions,
                    ..
                } = &mut *state;
                let Some(order) = ledger.order(*id) else {
                    continue;
                };
                traces.log(order, fill.as_ref());
                entries.push(Entry::Order(Box::new(order.clone())));
                if let Some(fill) = fill {
                    entries.push(Entry::Fill(Box::new(fill.clone())));
                }
                if !sessions.is_empty() {
                    published.push(Published::Order(Box::new((order.clone(), fill.clone()))));
                }
            }
            state.stats.fills += absorbed
                .orders
                .iter()
                .filter(|(_, fill)| fill.is_some())
                .count() as u64;
        }
        // What happened at the exchange has happened, whether it can be written down or not: the next
        // start asks again.
        let _ = self.write(&entries);
        for message in &published {
            self.publish(message);
        }
        if !absorbed.balances.is_empty() || !absorbed.positions.is_empty() {
            self.publish(&Published::Account {
                balances: absorbed.balances,
                positions: absorbed.positions,
            });
        }
        for id in absorbed.wants_fills {
            super::resolve::fetch_fills_soon(self, id);
        }
    }

    /// Whether there is somebody to tell.
    pub fn is_listened_to(&self) -> bool {
        !self.state.borrow().sessions.is_empty()
    }

    /// Tells everybody who listens.
    pub fn publish(&self, message: &Published) {
        let mut sessions = std::mem::take(&mut self.state.borrow_mut().sessions);
        sessions.retain(|session| (session.tell)(message));
        let mut state = self.state.borrow_mut();
        sessions.append(&mut state.sessions);
        state.sessions = sessions;
    }

    /// An order as it is now.
    pub fn order(&self, id: OrderId) -> Option<Order> {
        self.state.borrow().ledger.order(id).cloned()
    }

    /// An order as it is now, or `CRYPTO_ORDER_NOT_FOUND`.
    pub fn expect_order(&self, id: OrderId) -> Result<Order, CryptoError> {
        self.order(id)
            .ok_or_else(|| order_not_found(&id.to_string()))
    }

    /// Executions, balances and positions for somebody who begins to listen.
    pub fn account(&self) -> (Vec<Balance>, Vec<Position>) {
        let state = self.state.borrow();
        (
            state.ledger.balances().cloned().collect(),
            state.ledger.positions().cloned().collect(),
        )
    }

    /// Whether orders may be sent now.
    pub fn may_trade(&self) -> Result<(), CryptoError> {
        let state = self.state.borrow();
        if let Some(by) = &state.halted_by {
            let what = format!("the kill switch of {} is engaged", self.provider.name());
            return Err(CryptoError::new(CryptoCode::TradingHalted, what)
                .with("provider", self.provider.name())
                .with("account", self.options.name.clone())
                .with("engaged_by", by.clone()));
        }
        drop(state);
        self.is_taken_up()
    }

    /// Whether what is known of the account is what is so.
    pub fn is_taken_up(&self) -> Result<(), CryptoError> {
        let state = self.state.borrow();
        let reason = match &state.readiness {
            Readiness::Ready => return Ok(()),
            Readiness::Starting => "its orders and balances are being fetched",
            Readiness::NotReady(reason) => reason,
        };
        let what = format!("trading on {} is not ready: {reason}", self.provider.name());
        Err(CryptoError::new(CryptoCode::ProviderUnavailable, what)
            .with("provider", self.provider.name())
            .with("account", self.options.name.clone())
            .with("reason", reason)
            .suggest("retry in a few seconds; GET /api/trading/accounts tells when it is ready"))
    }

    /// The moment, to measure with.
    pub fn stamp(&self) -> Stamp {
        Stamp::of(self.clock.monotonic())
    }

    /// The moment, by our clock.
    pub fn now(&self) -> TsNanos {
        self.clock.now()
    }
}

/// `CRYPTO_ORDER_NOT_FOUND`.
pub(crate) fn order_not_found(id: &str) -> CryptoError {
    let what = format!("there is no order {id}");
    CryptoError::new(CryptoCode::OrderNotFound, what).with("order_id", id)
}

/// How an order is named to its exchange.
pub(crate) fn order_ref(order: &Order) -> OrderRef<'_> {
    OrderRef {
        client_id: &order.native_client_id,
        exchange_id: order.exchange_order_id.as_deref(),
        trigger_id: order.trigger_id.as_deref(),
        order_type: order.terms.order_type,
        side: order.terms.side,
        created_at: order.created_at,
    }
}
