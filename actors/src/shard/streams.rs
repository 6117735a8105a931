//! Which streams of a shard run: demand, connections and books, and the actors behind them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use ahash::{AHashMap, AHashSet};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::levels::{BarSource, feed_of, live_bars};
use bookwire_engine::exchange::{Feed, NativeStream, ProviderId};
use bookwire_engine::instrument::{Instrument, InstrumentId, Market, Scope};
use bookwire_engine::time::Level;
use futures_util::future::LocalBoxFuture;

use super::ShardShared;
use crate::book::{BookSetup, OrderBook, StopBook};
use crate::connection::{
    Address, ConnectionSetup, ExchangeConnection, Nudge, Renew, StopConnection,
};
use crate::incidents::{Moment, Subject};
use crate::options::ProviderOptions;
use crate::rest_client::budget::Priority;
use crate::ring::StatusState;
use crate::state::ShardState;
use crate::supervisor::{ChildId, Supervisor};
use crate::upstream::{Change, Demand, Place, SharedPlan, StreamKey, Upstream};

/// Where the current incarnation of a supervised actor is reached.
type Reach<A> = Rc<RefCell<Option<Addr<A>>>>;

struct Running<A: Actor> {
    child: ChildId,
    reach: Reach<A>,
}

/// What a feed comes from.
enum Supply {
    /// Streams of the exchange.
    Streams(Vec<NativeStream>),
    /// Another feed, of which its bars are made.
    Built {
        level: Level,
        source: BarSource,
        from: StreamKey,
    },
}

/// The streams of a shard.
pub(super) struct Streams {
    index: usize,
    of: usize,
    shared: ShardShared,
    state: Rc<RefCell<ShardState>>,
    supervisor: Supervisor,
    demand: Demand,
    upstream: Upstream,
    connections: Vec<(SharedPlan, Running<ExchangeConnection>)>,
    books: AHashMap<InstrumentId, Running<OrderBook>>,
    /// Bars that are built here, and what they are made of.
    built: AHashMap<StreamKey, StreamKey>,
    /// Has a book's stream asked for again; set once the streams can be reached by themselves.
    renew: Option<Rc<dyn Fn(InstrumentId)>>,
    unresolved: AHashSet<String>,
    is_stopping: bool,
}

impl Streams {
    pub(super) fn new(
        index: usize,
        of: usize,
        shared: ShardShared,
        state: Rc<RefCell<ShardState>>,
        supervisor: Supervisor,
    ) -> Rc<RefCell<Self>> {
        let streams = Rc::new(RefCell::new(Self {
            index,
            of,
            shared,
            state,
            supervisor,
            demand: Demand::default(),
            upstream: Upstream::default(),
            connections: Vec::new(),
            books: AHashMap::new(),
            built: AHashMap::new(),
            renew: None,
            unresolved: AHashSet::new(),
            is_stopping: false,
        }));
        let weak = Rc::downgrade(&streams);
        streams.borrow_mut().renew = Some(Rc::new(move |instrument| {
            if let Some(streams) = weak.upgrade() {
                streams.borrow().renew(StreamKey {
                    instrument,
                    feed: Feed::Book,
                });
            }
        }));
        streams
    }

    fn options(&self, provider: ProviderId) -> Result<&ProviderOptions, CryptoError> {
        self.shared.options.provider(provider).ok_or_else(|| {
            CryptoError::new(
                CryptoCode::ProviderUnavailable,
                format!("provider {} is disabled", provider.name()),
            )
            .with("provider", provider.name())
        })
    }

    fn resolve(&self, key: StreamKey) -> Result<(Arc<Instrument>, Supply), CryptoError> {
        let table = self.state.borrow().table().clone();
        let instrument = table.get(key.instrument).ok_or_else(|| {
            CryptoError::new(CryptoCode::PairNotFound, "no instrument has this id")
        })?;
        let provider = instrument.spec.provider;
        self.options(provider)?;
        let exchange = provider.exchange();
        let streams = exchange.streams(instrument, key.feed);
        let source = match key.feed {
            Feed::Klines(level) => live_bars(exchange, instrument, level),
            _ => None,
        };
        if let (Feed::Klines(level), Some(source)) = (key.feed, source)
            && let Some(feed) = feed_of(source)
        {
            return Ok((
                instrument.clone(),
                Supply::Built {
                    level,
                    source,
                    from: StreamKey { feed, ..key },
                },
            ));
        }
        match streams.is_empty() {
            false => Ok((instrument.clone(), Supply::Streams(streams))),
            true if key.feed == Feed::Funding => Err(CryptoError::new(
                CryptoCode::FundingRateMissing,
                format!("{} has no funding", instrument.stream_symbol()),
            )
            .with("symbol", instrument.stream_symbol())),
            true => Err(CryptoError::new(
                CryptoCode::Unsupported,
                format!("{} has no such stream", provider.name()),
            )
            .with("provider", provider.name())),
        }
    }

    /// Whether a stream can be had.
    pub(super) fn check(&self, key: StreamKey) -> Result<(), CryptoError> {
        if self.is_stopping {
            return Err(CryptoError::new(
                CryptoCode::ProviderUnavailable,
                "the engine is stopping",
            ));
        }
        self.resolve(key).map(|_| ())
    }

    /// One more user of a stream.
    pub(super) fn acquire(&mut self, key: StreamKey) -> Result<(), CryptoError> {
        if !self.demand.acquire(key) {
            return Ok(());
        }
        let started = self.start(key).or_else(|error| {
            // Streams that nobody wants any more make room.
            let is_full = error.code == CryptoCode::SubscriptionLimit;
            match is_full && self.end_idle() {
                true => self.start(key),
                false => Err(error),
            }
        });
        if started.is_err() {
            self.demand.forget(key);
        }
        started
    }

    /// One user less.
    pub(super) fn release(&mut self, key: StreamKey, now: Duration) {
        self.demand.release(key, now);
    }

    fn start(&mut self, key: StreamKey) -> Result<(), CryptoError> {
        let (instrument, supply) = self.resolve(key)?;
        let native = match supply {
            Supply::Streams(native) => native,
            Supply::Built {
                level,
                source,
                from,
            } => return self.start_built(key, level, source, from),
        };
        let options = self.options(instrument.spec.provider)?;
        let (provider, market) = (instrument.spec.provider, instrument.spec.market);
        let limits = provider.exchange().limits(market);
        let place = Place {
            provider,
            market,
            route: native.first().map_or(0, |stream| stream.route),
            room: options
                .streams_per_connection
                .min(limits.streams_per_connection),
        };
        let depth = options.snapshot_depth;
        if self.upstream.width(key) == 0 {
            self.shared.room.take(native.len())?;
        }
        if key.feed == Feed::Book {
            self.state.borrow_mut().open_book(key.instrument)?;
            self.start_book(&instrument, depth);
        } else {
            self.state.borrow_mut().open_feed(key.instrument)?;
        }
        let change = {
            let names = native.iter().map(|stream| stream.name.as_str());
            self.upstream.add(key, names, place)
        };
        self.apply(change);
        Ok(())
    }

    /// Starts bars that are built here: what they are made of is used like by a subscriber.
    fn start_built(
        &mut self,
        key: StreamKey,
        level: Level,
        source: BarSource,
        from: StreamKey,
    ) -> Result<(), CryptoError> {
        self.acquire(from)?;
        self.built.insert(key, from);
        let mut state = self.state.borrow_mut();
        state.open_bars(key.instrument, level, source)
    }

    fn start_book(&mut self, instrument: &Arc<Instrument>, depth: usize) {
        let id = instrument.id;
        let provider = instrument.spec.provider;
        let (Some(permits), Some(renew)) = (
            self.shared.snapshots.get(&provider).cloned(),
            self.renew.clone(),
        ) else {
            return;
        };
        if self.books.contains_key(&id) {
            return;
        }
        let setup = BookSetup {
            instrument: id,
            state: self.state.clone(),
            clock: self.shared.clock.clone(),
            rest: self.shared.rest.clone(),
            permits,
            depth,
            renew,
        };
        let reach: Reach<OrderBook> = Rc::default();
        let name = format!("book {}", instrument.entity_id());
        let child = self.supervisor.supervise(name, {
            let reach = reach.clone();
            move |life| {
                let addr = OrderBook::new(setup.clone(), life).start();
                *reach.borrow_mut() = Some(addr);
            }
        });
        self.books.insert(id, Running { child, reach });
    }

    fn apply(&mut self, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::Open(plan)) => self.open(plan),
            Some(Change::Update(plan)) => {
                if let Some(addr) = self.reach(&plan) {
                    // Full: it looks at its plan ten times a second anyway.
                    let _ = addr.try_send(Nudge);
                }
            }
            Some(Change::Close(plan)) => self.close(&plan),
        }
    }

    fn open(&mut self, plan: SharedPlan) {
        let (provider, market, route, name) = {
            let plan = plan.borrow();
            (plan.provider, plan.market, plan.route, plan.name())
        };
        let exchange = provider.exchange();
        let (Some(route), Ok(options), Some(meter)) = (
            exchange.routes(market).get(route),
            self.options(provider),
            self.shared.meter(provider).cloned(),
        ) else {
            return;
        };
        let mut limits = exchange.limits(market);
        if let Some(lifetime) = options.connection_lifetime {
            limits.lifetime_secs = Some(lifetime.as_secs());
        }
        let (shared, probed) = (self.shared.clone(), meter.clone());
        let probe = move || -> LocalBoxFuture<'static, ()> {
            let (shared, meter) = (shared.clone(), probed.clone());
            Box::pin(async move {
                // What they find out is in the meter.
                let _ = shared
                    .rest
                    .clock_offset(provider, market, Priority::Background)
                    .await;
                let _ = shared.rest.list_maintenance(provider, market).await;
                let now = Moment::of(&*shared.clock);
                if let Some(text) = meter.incidents.listed(now) {
                    meter.maintained(now, &text);
                }
            })
        };
        let setup = ConnectionSetup {
            probe: Rc::new(probe),
            address: match self.shared.rest.bridge(provider) {
                Some(bridge) => Address::Bridge(bridge.clone(), route.path),
                None => {
                    let endpoints = self.shared.rest.endpoints().clone();
                    Address::Host(endpoints, provider, route)
                }
            },
            host: route.host,
            shard: self.index,
            route: route.name,
            limits,
            plan: plan.clone(),
            state: self.state.clone(),
            clock: self.shared.clock.clone(),
            meter: meter.clone(),
            budgets: self.shared.budgets.clone(),
            tls: self.shared.tls.clone(),
            tap: self.shared.options.tap.clone(),
        };
        meter.connection_wanted(true);
        let reach: Reach<ExchangeConnection> = Rc::default();
        let child = self.supervisor.supervise(format!("connection {name}"), {
            let reach = reach.clone();
            move |life| {
                let addr = ExchangeConnection::new(setup.clone(), life).start();
                *reach.borrow_mut() = Some(addr);
            }
        });
        self.connections.push((plan, Running { child, reach }));
    }

    fn close(&mut self, plan: &SharedPlan) {
        let at = self
            .connections
            .iter()
            .position(|(p, _)| Rc::ptr_eq(p, plan));
        let Some(at) = at else { return };
        let (plan, running) = self.connections.swap_remove(at);
        self.supervisor.forget(running.child);
        if let Some(addr) = running.reach.take() {
            stop(addr, StopConnection);
        }
        let (provider, was_up) = {
            let plan = plan.borrow();
            (plan.provider, plan.is_up)
        };
        let Some(meter) = self.shared.meter(provider) else {
            return;
        };
        meter.connection_wanted(false);
        let name = plan.borrow().name();
        meter
            .incidents
            .forget(&Subject::Connection(self.index, name));
        // The only one that was down is not wanted any more: that trouble is over.
        if !was_up && meter.all_up() {
            let reason = "all connections that are wanted are up";
            let mut state = self.state.borrow_mut();
            state.announce(provider, None, StatusState::Connected, reason);
        }
    }

    fn reach(&self, plan: &SharedPlan) -> Option<Addr<ExchangeConnection>> {
        let mut connections = self.connections.iter();
        let (_, running) = connections.find(|(p, _)| Rc::ptr_eq(p, plan))?;
        running.reach.borrow().clone()
    }

    fn renew(&self, key: StreamKey) {
        let plan = self.upstream.plan_of(key);
        if let Some(addr) = plan.and_then(|plan| self.reach(plan)) {
            // Full: its silence will be noticed again.
            let _ = addr.try_send(Renew(key));
        }
    }

    /// Ends streams whose linger is over.
    pub(super) fn end_unwanted(&mut self, now: Duration) {
        let table = self.state.borrow().table().clone();
        let shared = self.shared.clone();
        let linger = |key: StreamKey| {
            let instrument = table.get(key.instrument);
            let options = instrument.and_then(|row| shared.options.provider(row.spec.provider));
            options.map_or(Duration::ZERO, |options| options.linger)
        };
        let over = self.demand.expire(now, linger);
        self.end(over);
    }

    /// Ends streams that nobody wants now, linger or not. True when there was one.
    fn end_idle(&mut self) -> bool {
        let over = self.demand.expire(Duration::MAX, |_| Duration::ZERO);
        let has_ended = !over.is_empty();
        self.end(over);
        has_ended
    }

    fn end(&mut self, over: Vec<StreamKey>) {
        for key in over {
            if let Some(from) = self.built.remove(&key) {
                let now = self.shared.clock.monotonic();
                self.release(from, now);
            }
            self.shared.room.give_back(self.upstream.width(key));
            let change = self.upstream.remove(key);
            self.apply(change);
            if key.feed == Feed::Book
                && let Some(book) = self.books.remove(&key.instrument)
            {
                self.supervisor.forget(book.child);
                if let Some(addr) = book.reach.take() {
                    stop(addr, StopBook);
                }
            }
            self.state.borrow_mut().forget(key.instrument, key.feed);
        }
    }

    /// Starts the configured symbols that this shard owns and that are listed by now.
    pub(super) fn pin_configured(&mut self) {
        if self.is_stopping {
            return;
        }
        let table = self.state.borrow().table().clone();
        let shared = self.shared.clone();
        for provider in &shared.options.providers {
            for symbol in &provider.symbols {
                let scope = Scope {
                    provider: Some(provider.id),
                    exchange: None,
                    market: bare_market(provider, symbol),
                };
                match table.resolve(symbol, scope) {
                    Ok(row) if row.id.0 as usize % self.of == self.index => self.pin(row.id),
                    Ok(_) => {}
                    Err(error) => self.tell_unresolved(&table, provider, symbol, &error),
                }
            }
        }
    }

    /// Says it once, and only when the list that should have it is there.
    fn tell_unresolved(
        &mut self,
        table: &bookwire_engine::instrument::InstrumentTable,
        provider: &ProviderOptions,
        symbol: &str,
        error: &bookwire_engine::instrument::SymbolError,
    ) {
        let is_loaded = provider.markets.iter().all(|market| {
            let is_of = |row: &Arc<Instrument>| {
                row.spec.provider == provider.id && row.spec.market == *market
            };
            table.iter().any(is_of)
        });
        if is_loaded
            && self
                .unresolved
                .insert(format!("{}/{symbol}", provider.id.name()))
        {
            tracing::error!(
                provider = provider.id.name(), symbol, %error,
                "configured symbol left out"
            );
        }
    }

    fn pin(&mut self, instrument: InstrumentId) {
        let feeds = [
            Feed::Book,
            Feed::Trades,
            Feed::Klines(Level::M1),
            Feed::Ticker,
            Feed::Funding,
        ];
        for feed in feeds {
            let key = StreamKey { instrument, feed };
            if self.resolve(key).is_err() || !self.demand.pin(key) {
                continue;
            }
            if let Err(error) = self.start(key) {
                self.demand.forget(key);
                tracing::error!(?key, %error, "configured stream not started");
            }
        }
    }

    pub(super) fn book(&self, id: InstrumentId) -> Option<Addr<OrderBook>> {
        self.books.get(&id)?.reach.borrow().clone()
    }

    pub(super) fn connections(&self, of: Option<ProviderId>) -> Vec<Addr<ExchangeConnection>> {
        self.connections
            .iter()
            .filter(|(plan, _)| of.is_none_or(|provider| plan.borrow().provider == provider))
            .filter_map(|(_, running)| running.reach.borrow().clone())
            .collect()
    }

    pub(super) fn plans(&self) -> &[SharedPlan] {
        self.upstream.plans()
    }

    /// Ends everything.
    pub(super) fn stop_all(&mut self) {
        self.is_stopping = true;
        for (plan, running) in std::mem::take(&mut self.connections) {
            self.supervisor.forget(running.child);
            if let Some(addr) = running.reach.take() {
                stop(addr, StopConnection);
            }
            let provider = plan.borrow().provider;
            if let Some(meter) = self.shared.meter(provider) {
                meter.connection_wanted(false);
            }
        }
        for (_, book) in self.books.drain() {
            self.supervisor.forget(book.child);
            if let Some(addr) = book.reach.take() {
                stop(addr, StopBook);
            }
        }
    }
}

/// A stop must arrive, however full the mailbox is.
fn stop<A, M>(addr: Addr<A>, message: M)
where
    A: Actor<Context = actix::Context<A>> + actix::Handler<M>,
    M: actix::Message<Result = ()> + Send + 'static,
{
    crate::alive::spawn(async move {
        // An error means that it has ended already.
        let _ = addr.send(message).await;
    });
}

/// In the configuration a bare code means spot where the provider has it: which list is loaded
/// first must not decide.
fn bare_market(provider: &ProviderOptions, symbol: &str) -> Option<Market> {
    let symbol = symbol.to_lowercase();
    let names_perp = symbol.ends_with("-perp")
        || symbol.ends_with("-swap")
        || symbol.contains(':')
        || symbol.starts_with(Market::Perp.entity_type());
    match names_perp {
        true => Some(Market::Perp),
        false if provider.markets.contains(&Market::Spot) => Some(Market::Spot),
        false => None,
    }
}
