//! An account whose orders are filled here: its money is kept by an
//! [`Account`], its orders by desks next to the books, on the shards.
//!
//! What desks tell comes through the router's mailbox in the order in which it happened. The account's
//! state goes into the journal with the orders that changed it, in one write, so that neither survives
//! without the other.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bookwire_engine::error::CryptoError;
use bookwire_engine::instrument::{Instrument, Market};
use bookwire_engine::time::TsNanos;
use bookwire_engine::trading::journal::Entry;
use bookwire_engine::trading::order::{
    Order, OrderId, OrderStatus, OrderTerms, OrderType, Origin, PositionSide, TimeInForce,
    TradingMode,
};
use bookwire_engine::trading::paper::Fees;
use bookwire_engine::trading::paper::account::{Account, AccountState, Setup};
use bookwire_engine::trading::paper::liquidate::Liquidation;
use bookwire_engine::trading::state::{OrderNews, Word};
use bookwire_engine::trading::venue::{
    Amend, Facts, OrderReport, OrderSupport, ReportTerms, Touch,
};
use rust_decimal::Decimal;
use tokio::sync::{Notify, mpsc};

use super::desk::{Desk, Readiness};
use crate::shard::paper::{PaperCommand, PaperEvent, PaperNews, PaperOrder, PaperTell};

/// How a paper account is.
#[derive(Clone, Debug)]
pub struct PaperOptions {
    /// How it begins.
    pub setup: Setup,
    /// Time from here to the exchange.
    pub latency: Duration,
    /// Where the exchange's are not public.
    pub fees: Fees,
}

impl Default for PaperOptions {
    fn default() -> Self {
        Self {
            setup: Setup {
                balances: BTreeMap::new(),
                is_hedged: false,
                leverage: 1,
                maintenance_rate: Decimal::new(5, 3),
            },
            latency: Duration::from_millis(5),
            fees: Fees::default(),
        }
    }
}

/// How long an order is waited for beyond its latency: the first one of an instrument starts its
/// streams, and its book has to come first.
const PATIENCE: Duration = Duration::from_secs(10);

/// What desks have told and the account has not taken yet: far more than its orders can cause.
const NEWS_MAX: usize = 1 << 16;

/// Pause between two looks whether an instrument is listed.
const LISTING: Duration = Duration::from_millis(100);

/// Longest time that an instrument is waited for at the start.
const TAKE_UP: Duration = Duration::from_secs(60);

/// A funding that is to come: rate, mark price, settlement.
#[derive(Clone, Copy, Debug)]
struct NextFunding {
    rate: Decimal,
    mark: Decimal,
    at: TsNanos,
}

/// The account. See the module's text.
pub(crate) struct PaperHouse {
    account: RefCell<Account>,
    options: PaperOptions,
    name: Arc<str>,
    tell: PaperTell,
    news: RefCell<Option<mpsc::Receiver<PaperNews>>>,
    /// Something that a desk told was lost: what is known of the account is not what is so.
    overrun: Arc<AtomicBool>,
    changed: Rc<Notify>,
    fundings: RefCell<BTreeMap<String, NextFunding>>,
    watched: RefCell<BTreeMap<(String, PositionSide), Decimal>>,
}

/// What can be done with orders on paper: what the exchange can, where that is known, and all
/// amendments in place.
pub(crate) fn support(market: Market, real: Option<OrderSupport>) -> OrderSupport {
    let all = OrderSupport {
        types: OrderType::ALL,
        times_in_force: TimeInForce::ALL,
        has_post_only: true,
        has_reduce_only: market == Market::Perp,
        has_margin: false,
        amend: Amend::Native,
        has_leverage: market == Market::Perp,
        dead_man_secs: None,
        has_hedge_mode: market == Market::Perp,
        has_client_id_lookup: true,
    };
    match real {
        Some(real) => OrderSupport {
            amend: Amend::Native,
            dead_man_secs: None,
            has_client_id_lookup: true,
            // Nobody lends on paper.
            has_margin: false,
            ..real
        },
        None => all,
    }
}

impl PaperHouse {
    /// An account that goes on from `state`.
    pub fn new(options: PaperOptions, name: &str, state: Option<AccountState>) -> Self {
        let (queue, news) = mpsc::channel(NEWS_MAX);
        let overrun: Arc<AtomicBool> = Arc::default();
        let flag = overrun.clone();
        let tell: PaperTell = Arc::new(move |news| {
            if queue.try_send(news).is_err() {
                flag.store(true, Ordering::Relaxed);
            }
        });
        let account = match state {
            Some(state) => Account::restored(options.setup.clone(), state),
            None => Account::new(options.setup.clone()),
        };
        Self {
            account: RefCell::new(account),
            options,
            name: name.into(),
            tell,
            news: RefCell::new(Some(news)),
            overrun,
            changed: Rc::new(Notify::new()),
            fundings: RefCell::default(),
            watched: RefCell::default(),
        }
    }

    /// Takes up what was open when the process ended.
    pub fn begin(&self, desk: &Rc<Desk>) {
        if let Some(news) = self.news.borrow_mut().take() {
            crate::alive::spawn(listen(desk.clone(), news));
        }
        let open: Vec<Order> = {
            let mut state = desk.state.borrow_mut();
            let account = self.account.borrow();
            state.is_hedged = account.is_hedged();
            state.ledger.open_orders().cloned().collect()
        };
        {
            let mut account = self.account.borrow_mut();
            account.keep_locks(|client| open.iter().any(|order| order.native_client_id == client));
        }
        let all = Facts {
            balances: self.account.borrow().balances(),
            has_all_balances: true,
            positions: self.account.borrow().positions(),
            has_all_positions: true,
            ..Facts::default()
        };
        desk.take(&all);
        let positions: Vec<(String, PositionSide, Decimal)> = all
            .positions
            .into_iter()
            .filter(|position| !position.quantity.is_zero())
            .map(|position| {
                (
                    position.native_symbol,
                    position.position_side,
                    position.quantity,
                )
            })
            .collect();
        if positions.is_empty() && open.is_empty() {
            return;
        }
        for (symbol, side, quantity) in &positions {
            self.watched
                .borrow_mut()
                .insert((symbol.clone(), *side), *quantity);
        }
        // Desks have to know positions before orders of theirs execute, and orders before somebody
        // cancels them.
        desk.state.borrow_mut().readiness = Readiness::Starting;
        let desk = desk.clone();
        crate::alive::spawn(async move {
            for (symbol, side, quantity) in positions {
                position(&desk, symbol, side, quantity, true).await;
            }
            for order in open {
                take_up(&desk, &order).await;
            }
            desk.state.borrow_mut().readiness = Readiness::Ready;
        });
    }

    /// What executions of an instrument cost.
    pub fn fees(&self, instrument: &Instrument) -> Fees {
        Fees::of(&instrument.spec, self.options.fees)
    }

    /// Leverage in force for an order; `None` for spot.
    pub fn leverage(&self, terms: &OrderTerms) -> Option<Decimal> {
        let is_perp = terms.market == Market::Perp;
        is_perp.then(|| Decimal::from(self.account.borrow().leverage(&terms.native_symbol)))
    }

    fn active_at(&self, now: TsNanos) -> TsNanos {
        let latency = i64::try_from(self.options.latency.as_nanos()).unwrap_or(i64::MAX);
        TsNanos(now.0.saturating_add(latency))
    }

    async fn send(
        &self,
        desk: &Desk,
        instrument: &Instrument,
        order: PaperOrder,
    ) -> Result<(), CryptoError> {
        let command = PaperCommand {
            instrument: instrument.id,
            account: self.name.clone(),
            tell: self.tell.clone(),
            fees: self.fees(instrument),
            order,
            active_at: self.active_at(desk.now()),
        };
        desk.market.paper(command).await
    }

    /// Places an order and waits until the desk has taken it, or refused it.
    pub async fn place(
        &self,
        desk: &Rc<Desk>,
        order: &Order,
        instrument: &Arc<Instrument>,
        touch: Touch,
    ) -> Result<(), CryptoError> {
        let client = &order.native_client_id;
        let fees = self.fees(instrument);
        let reserved =
            self.account
                .borrow_mut()
                .reserve(instrument, &order.terms, client, touch, fees);
        let budget = match reserved {
            Ok(budget) => budget,
            Err(error) => {
                self.refuse(desk, order, &error.message);
                return Err(error);
            }
        };
        let wanted = PaperOrder::Place {
            terms: Box::new(order.terms.clone()),
            client_id: client.clone(),
            budget,
            filled: Decimal::ZERO,
            average_price: None,
            is_triggered: false,
        };
        if let Err(error) = self.send(desk, instrument, wanted).await {
            self.refuse(desk, order, &error.message);
            return Err(error);
        }
        let is_taken = |order: &Order| order.status != OrderStatus::Pending;
        self.wait(desk, order.id, is_taken).await;
        Ok(())
    }

    /// Waits for an order to become something.
    async fn wait(&self, desk: &Desk, id: OrderId, is_done: impl Fn(&Order) -> bool) {
        let end = desk.clock.monotonic() + self.options.latency + PATIENCE;
        loop {
            let changed = self.changed.notified();
            let left = end.saturating_sub(desk.clock.monotonic());
            if left.is_zero() || desk.order(id).is_none_or(|order| is_done(&order)) {
                return;
            }
            let sleep = desk.clock.sleep(left);
            futures_util::future::select(std::pin::pin!(changed), sleep).await;
        }
    }

    fn refuse(&self, desk: &Rc<Desk>, order: &Order, reason: &str) {
        let news = OrderNews {
            reason: Some(reason.to_owned()),
            ..OrderNews::new(Word::Refused, desk.now())
        };
        let facts = Facts {
            orders: vec![OrderReport {
                market: order.terms.market,
                native_symbol: order.terms.native_symbol.clone(),
                client_id: Some(order.native_client_id.clone()),
                news,
                terms: ReportTerms::default(),
            }],
            ..Facts::default()
        };
        if let Ok(instrument) = desk.instrument(order) {
            self.facts(desk, &instrument, facts);
        } else {
            desk.take(&facts);
        }
    }

    /// Cancels an order and waits until it is over.
    pub async fn cancel(&self, desk: &Rc<Desk>, order: &Order) -> Result<(), CryptoError> {
        desk.is_taken_up()?;
        let instrument = desk.instrument(order)?;
        let wanted = PaperOrder::Cancel(order.native_client_id.clone());
        self.send(desk, &instrument, wanted).await?;
        self.wait(desk, order.id, |order| order.status.is_final())
            .await;
        Ok(())
    }

    /// Amends an order and waits until the desk has done so, or has told that it is as it was.
    pub async fn amend(
        &self,
        desk: &Rc<Desk>,
        order: &Order,
        wanted: &OrderTerms,
    ) -> Result<(), CryptoError> {
        desk.is_taken_up()?;
        let instrument = desk.instrument(order)?;
        let touch = desk.touch(&instrument).await;
        let client = &order.native_client_id;
        let remaining = wanted.quantity - order.filled_quantity;
        let fees = self.fees(&instrument);
        self.account
            .borrow_mut()
            .amend(&instrument, wanted, remaining, client, touch, fees)?;
        let (quantity, price) = (wanted.quantity, wanted.price);
        let command = PaperOrder::Amend {
            client_id: client.clone(),
            quantity,
            price,
        };
        self.send(desk, &instrument, command).await?;
        let is_done = |order: &Order| {
            order.status.is_final()
                || (order.terms.quantity == quantity && order.terms.price == price)
        };
        self.wait(desk, order.id, is_done).await;
        Ok(())
    }

    /// Sets a leverage.
    pub fn set_leverage(
        &self,
        desk: &Rc<Desk>,
        instrument: &Instrument,
        leverage: u32,
    ) -> Result<(), CryptoError> {
        self.account
            .borrow_mut()
            .set_leverage(instrument, leverage)?;
        self.save(desk)?;
        let facts = self.whole();
        desk.take(&facts);
        Ok(())
    }

    fn whole(&self) -> Facts {
        let account = self.account.borrow();
        Facts {
            balances: account.balances(),
            has_all_balances: true,
            positions: account.positions(),
            has_all_positions: true,
            ..Facts::default()
        }
    }

    fn entry(&self) -> Option<Entry> {
        let state = serde_json::to_value(self.account.borrow().state()).ok()?;
        Some(Entry::Paper { state })
    }

    fn save(&self, desk: &Desk) -> Result<(), CryptoError> {
        let entry = self.entry();
        desk.write(entry.as_slice())
    }

    /// Begins the account anew: its orders are canceled, its balances are those of the configuration.
    pub async fn reset(&self, desk: &Rc<Desk>) -> Result<(), CryptoError> {
        for outcome in super::flows::cancel_many(desk, None).await {
            if let Err((_, error)) = outcome {
                return Err(error);
            }
        }
        self.account.borrow_mut().reset();
        if self.overrun.swap(false, Ordering::Relaxed) {
            desk.state.borrow_mut().readiness = Readiness::Ready;
        }
        self.save(desk)?;
        let facts = self.whole();
        self.watch(desk, &facts);
        desk.take(&facts);
        Ok(())
    }

    /// Takes what a desk tells.
    fn told(&self, desk: &Rc<Desk>, news: PaperNews) {
        match news.what {
            PaperEvent::Facts(facts) => self.facts(desk, &news.instrument, facts),
            PaperEvent::Mark { price, rate, next } => {
                self.mark(desk, &news.instrument, price, rate, next);
            }
        }
    }

    fn facts(&self, desk: &Rc<Desk>, instrument: &Arc<Instrument>, mut facts: Facts) {
        self.account.borrow_mut().apply(instrument, &mut facts);
        desk.take_with(&facts, self.entry());
        self.watch(desk, &facts);
        self.changed.notify_waiters();
    }

    /// Has desks know positions, so that their mark prices are told.
    fn watch(&self, desk: &Rc<Desk>, facts: &Facts) {
        let mut watched = self.watched.borrow_mut();
        let mut changed: Vec<(String, PositionSide, Decimal)> = Vec::new();
        if facts.has_all_positions {
            for ((symbol, side), quantity) in watched.iter() {
                let is_there = facts.positions.iter().any(|position| {
                    position.native_symbol == *symbol && position.position_side == *side
                });
                if !is_there && !quantity.is_zero() {
                    changed.push((symbol.clone(), *side, Decimal::ZERO));
                }
            }
        }
        for position in &facts.positions {
            let key = (position.native_symbol.clone(), position.position_side);
            let before = watched.get(&key).copied().unwrap_or_default();
            if before.is_zero() != position.quantity.is_zero() {
                changed.push((key.0, key.1, position.quantity));
            }
        }
        for (symbol, side, quantity) in changed {
            watched.insert((symbol.clone(), side), quantity);
            crate::alive::spawn(position_of(desk.clone(), symbol, side, quantity));
        }
    }

    fn mark(
        &self,
        desk: &Rc<Desk>,
        instrument: &Arc<Instrument>,
        price: Decimal,
        rate: Option<Decimal>,
        next: Option<TsNanos>,
    ) {
        let now = desk.now();
        let symbol = &*instrument.spec.native_key();
        let mut facts = Facts::default();
        let due = {
            let mut fundings = self.fundings.borrow_mut();
            let before = fundings.get(symbol).copied();
            if let (Some(rate), Some(at)) = (rate, next) {
                let mark = price;
                fundings.insert(symbol.to_owned(), NextFunding { rate, mark, at });
            }
            // What was to be settled is, once its time has come and the next one is told.
            before.filter(|before| next.is_some_and(|next| next > before.at) && before.at <= now)
        };
        if let Some(due) = due {
            let paid = self
                .account
                .borrow_mut()
                .on_funding(instrument, due.rate, due.mark, due.at, &mut facts);
            tracing::info!(symbol, %paid, "funding on paper");
        }
        let liquidations = {
            let mut account = self.account.borrow_mut();
            account.on_mark(instrument, price, self.fees(instrument), now)
        };
        facts.positions = self.account.borrow().positions();
        facts
            .positions
            .retain(|position| position.native_symbol == *symbol);
        let entry = match due.is_some() || !liquidations.is_empty() {
            true => self.entry(),
            false => None,
        };
        desk.take_with(&facts, entry);
        for liquidation in liquidations {
            self.liquidate(desk, instrument, liquidation);
        }
    }

    fn liquidate(&self, desk: &Rc<Desk>, instrument: &Arc<Instrument>, liquidation: Liquidation) {
        tracing::warn!(symbol = instrument.code, "a paper position is liquidated");
        self.forced_order(desk, instrument, &liquidation);
        let (desk, instrument) = (desk.clone(), instrument.clone());
        crate::alive::spawn(async move {
            let super::desk::House::Paper(paper) = &desk.house else {
                return;
            };
            let order = PaperOrder::Liquidate(liquidation);
            if let Err(error) = paper.send(&desk, &instrument, order).await {
                tracing::error!(symbol = instrument.code, %error, "a paper position is not liquidated");
            }
        });
    }

    /// The order that the exchange would make of itself, so that its execution has one.
    fn forced_order(&self, desk: &Rc<Desk>, instrument: &Instrument, liquidation: &Liquidation) {
        let account = self.account.borrow();
        let quantity = account.position(&liquidation.native_symbol, liquidation.position_side);
        drop(account);
        let now = desk.now();
        let terms = OrderTerms {
            provider: desk.provider,
            account: desk.options.name.clone(),
            entity_id: instrument.entity_id(),
            market: Market::Perp,
            symbol: instrument.stream_symbol(),
            native_symbol: liquidation.native_symbol.clone(),
            side: match quantity.is_sign_negative() {
                true => bookwire_engine::event::Side::Buy,
                false => bookwire_engine::event::Side::Sell,
            },
            order_type: OrderType::Market,
            quantity: quantity.abs(),
            price: None,
            stop_price: None,
            time_in_force: TimeInForce::Ioc,
            post_only: false,
            reduce_only: true,
            margin_trading: false,
            position_side: Some(liquidation.position_side),
            leverage: None,
            client_order_id: None,
        };
        let id = OrderId::new(now, rand::random());
        let mut order = Order::new(
            id,
            terms,
            liquidation.client_id.clone(),
            TradingMode::Paper,
            now,
        );
        order.origin = Origin::Adopted;
        order.reject_reason = Some("liquidation".to_owned());
        // If it can't be written the next one can't either, and says so.
        let _ = desk.write(&[Entry::Order(Box::new(order.clone()))]);
        desk.state.borrow_mut().ledger.insert(order);
    }
}

/// Takes what desks tell, in order.
async fn listen(desk: Rc<Desk>, mut news: mpsc::Receiver<PaperNews>) {
    while let Some(told) = news.recv().await {
        let super::desk::House::Paper(paper) = &desk.house else {
            return;
        };
        paper.told(&desk, told);
        if paper.overrun.load(Ordering::Relaxed) {
            let reason = "more was executed than could be taken in: restart, or reset the account";
            let mut state = desk.state.borrow_mut();
            if state.readiness == Readiness::Ready {
                tracing::error!(account = %desk.options.name, "{reason}");
            }
            state.readiness = Readiness::NotReady(reason.to_owned());
        }
    }
}

async fn position_of(desk: Rc<Desk>, symbol: String, side: PositionSide, quantity: Decimal) {
    position(&desk, symbol, side, quantity, false).await;
}

/// The instrument of a symbol, once it is listed; `None` when it is not in time.
async fn listed(desk: &Desk, market: Market, symbol: &str) -> Option<Arc<Instrument>> {
    let end = desk.clock.monotonic() + TAKE_UP;
    loop {
        let table = desk.table();
        if let Some(instrument) = table.by_native(desk.provider, market, symbol) {
            return Some(instrument.clone());
        }
        if desk.clock.monotonic() >= end {
            tracing::error!(
                provider = desk.provider.name(),
                symbol,
                "not listed: what is on paper there stays as it is"
            );
            return None;
        }
        desk.clock.sleep(LISTING).await;
    }
}

/// Tells a desk of a position.
async fn position(
    desk: &Rc<Desk>,
    symbol: String,
    side: PositionSide,
    quantity: Decimal,
    is_restored: bool,
) {
    let super::desk::House::Paper(paper) = &desk.house else {
        return;
    };
    let Some(instrument) = listed(desk, Market::Perp, &symbol).await else {
        return;
    };
    let order = PaperOrder::Position {
        side,
        quantity,
        is_restored,
    };
    if let Err(error) = paper.send(desk, &instrument, order).await {
        tracing::warn!(symbol, %error, "no mark prices for a paper position");
    }
}

/// Puts an order of an earlier run back on its desk, once its instrument is listed.
async fn take_up(desk: &Rc<Desk>, order: &Order) {
    let super::desk::House::Paper(paper) = &desk.house else {
        return;
    };
    let terms = &order.terms;
    let Some(instrument) = listed(desk, terms.market, &terms.native_symbol).await else {
        return;
    };
    let wanted = PaperOrder::Place {
        terms: Box::new(terms.clone()),
        client_id: order.native_client_id.clone(),
        budget: paper.account.borrow().budget(&order.native_client_id),
        filled: order.filled_quantity,
        average_price: order.average_price,
        is_triggered: terms.order_type.is_stop() && order.exchange_order_id.is_some(),
    };
    while let Err(error) = paper.send(desk, &instrument, wanted.clone()).await {
        tracing::warn!(order = %order.id, %error, "a paper order of an earlier run is not taken up yet");
        desk.clock.sleep(Duration::from_secs(5)).await;
    }
}
