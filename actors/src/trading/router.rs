//! The actor in front of an account: takes requests, one flow each, and runs what keeps the account
//! true.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Message, ResponseFuture};
use bookwire_engine::config::Transport;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Instrument;
use bookwire_engine::trading::journal::{Entry, Journal, Limits, Replayed};
use bookwire_engine::trading::ledger::{FINAL_MAX, Ledger, LedgerOf, OrderFilter};
use bookwire_engine::trading::order::{
    Balance, Fill, Order, OrderId, OrderStatus, Position, TradingMode,
};
use bookwire_engine::trading::socket::OrderRoute;
use bookwire_engine::trading::venue::{Command, Failure, Proof};

use super::desk::{Desk, House, Readiness, State, Subscriber};
use super::keys::{self, KeyInForce};
use super::line::Lines;
use super::live::{Live, Outcome};
use super::paper::PaperHouse;
use super::wire::Wire;
use super::{
    AmendOrder, Amended, Canceled, DeskObservation, DeskStats, DeskStatus, PlaceOrder, Placed,
    Published, TradingContext, TradingError, dead_man, flows, guard, ink, private, resolve,
};
use crate::alive::{Alive, Kind};
use crate::rest_client::tls_config;
use crate::trace::{Traceable, Traced};
use crate::trading::options::AccountOptions;

/// Requests that wait for an account.
const MAILBOX: usize = 1_024;
/// How long private connections have at the end to tell that it is wanted, and how often that is looked at.
const LEAVE: (Duration, Duration) = (Duration::from_millis(1_500), Duration::from_millis(50));

/// The actor. See the module's text.
pub struct OrderRouter {
    desk: Rc<Desk>,
    _alive: Alive,
}

impl OrderRouter {
    /// Its account.
    pub(super) const fn desk(&self) -> &Rc<Desk> {
        &self.desk
    }
}

impl Actor for OrderRouter {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(MAILBOX);
        let desk = self.desk.clone();
        crate::alive::spawn(ink::sync(desk.clone()));
        crate::alive::spawn(ink::compact(desk.clone()));
        match &self.desk.house {
            House::Live(live) => {
                for (index, route) in live.venue.private_routes().iter().enumerate() {
                    if desk.options.uses(route.markets) {
                        crate::alive::spawn(private::keep(desk.clone(), live.clone(), index));
                    }
                }
                if let Some(lines) = &live.lines {
                    lines.keep(live, &desk.options.name);
                }
                crate::alive::spawn(resolve::keep(desk.clone()));
                if let Some(source) = desk.options.key_source.clone() {
                    crate::alive::spawn(keys::follow(desk.clone(), live.clone(), source));
                }
                if self.desk.options.dead_man_secs > 0 {
                    crate::alive::spawn(dead_man::keep(desk, live.clone()));
                }
            }
            House::Paper(paper) => paper.begin(&desk),
        }
        guard::resume(&self.desk);
    }
}

/// An account whose journal is open, which runs nowhere yet.
pub(super) struct Prepared {
    options: AccountOptions,
    journal: Journal,
    replayed: Replayed,
}

impl Prepared {
    /// Opens an account's journal.
    pub fn open(options: AccountOptions) -> Result<Self, TradingError> {
        let limits = Limits {
            compact_bytes: options.journal_compact_bytes,
            final_max: FINAL_MAX,
        };
        let (journal, replayed) = Journal::open(&options.journal, limits)?;
        if replayed.cut_off > 0 {
            tracing::warn!(provider = options.provider.name(), account = %options.name,
                bytes = replayed.cut_off,
                "the order journal ended within an entry, which was cut off");
        }
        Ok(Self {
            options,
            journal,
            replayed,
        })
    }
}

/// Starts all routers on the arbiter that it is called on.
pub(super) fn start_all(
    accounts: Vec<Prepared>,
    context: &TradingContext,
) -> BTreeMap<(ProviderId, String), Addr<OrderRouter>> {
    let wire = Wire::new(tls_config());
    let mut routers = BTreeMap::new();
    for account in accounts {
        let key = super::account_key(&account.options);
        let router = OrderRouter {
            desk: Rc::new(desk(account, context, &wire)),
            _alive: Alive::new(Kind::OrderRouter),
        };
        routers.insert(key, router.start());
    }
    routers
}

fn desk(account: Prepared, context: &TradingContext, wire: &Wire) -> Desk {
    let Prepared {
        options,
        journal,
        replayed,
    } = account;
    let provider = options.provider;
    let venue = provider.exchange().trading();
    let house = match (&options.keys, venue) {
        (Some(keys), Some(venue)) => House::Live(Live {
            provider,
            venue,
            keys: KeyInForce::new(keys.clone()),
            wire: wire.clone(),
            lines: (options.transport == Transport::Websocket).then(|| {
                let base =
                    |route: &OrderRoute| options.stream_base(route.host, route.base_url).to_owned();
                let is_used = |route: &OrderRoute| options.uses(route.markets);
                Rc::new(Lines::new(venue, base, is_used))
            }),
            rest: context.rest.clone(),
            clock: context.clock.clone(),
            connects: context.connects.clone(),
            meter: context
                .meters
                .iter()
                .find(|m| m.provider == provider)
                .cloned(),
            patience: options.patience,
            window_ms: options.window_ms,
            unmapped: Rc::default(),
        }),
        _ => {
            let state = match replayed.paper.clone().map(serde_json::from_value) {
                Some(Ok(state)) => Some(state),
                None => None,
                Some(Err(error)) => {
                    tracing::error!(provider = provider.name(), account = %options.name, %error,
                        "the paper account's state can't be read: it begins anew");
                    None
                }
            };
            House::Paper(PaperHouse::new(options.paper.clone(), &options.name, state))
        }
    };
    let (mode, streams, readiness) = match &house {
        House::Live(live) => (
            TradingMode::Live,
            live.venue.private_routes().len(),
            Readiness::Starting,
        ),
        House::Paper(_) => (TradingMode::Paper, 0, Readiness::Ready),
    };
    let of = LedgerOf {
        provider,
        account: options.name.clone(),
        mode,
    };
    let halted_by = replayed.halted_by.clone();
    let risk = super::limits::Limits::new(options.limits.clone());
    let state = State {
        ledger: Ledger::new(of, replayed),
        journal,
        readiness,
        halted_by,
        is_hedged: false,
        support: Vec::new(),
        key_can_withdraw: None,
        stats: DeskStats::default(),
        resolving: std::collections::BTreeSet::new(),
        absent: BTreeMap::new(),
        is_fetching_balances: false,
        is_reconciling: false,
        streams_up: vec![false; streams],
        watched: 0,
        is_leaving: false,
        sessions: Vec::new(),
        next_session: 0,
        is_journal_dirty: false,
        risk,
        guards: super::guard::Guards::default(),
        traces: super::desk::Traces::default(),
    };
    Desk {
        provider,
        options,
        house,
        clock: context.clock.clone(),
        market: context.market.clone(),
        state: RefCell::new(state),
        latency: super::OrderLatency::default(),
    }
}

impl Message for PlaceOrder {
    type Result = Result<Placed, CryptoError>;
}

impl Handler<PlaceOrder> for OrderRouter {
    type Result = ResponseFuture<Result<Placed, CryptoError>>;

    fn handle(&mut self, request: PlaceOrder, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { flows::place(&desk, request).await })
    }
}

macro_rules! traceable {
    ($($message:ty),*) => {$(
        impl Traceable<OrderRouter> for $message {
            fn handled(
                self,
                router: &mut OrderRouter,
                context: &mut Context<OrderRouter>,
            ) -> ResponseFuture<Self::Result> {
                router.handle(self, context)
            }
        }
    )*};
}

traceable!(
    PlaceOrder,
    CancelOrder,
    CancelMany,
    AmendOrder,
    SetLeverage,
    Halt,
    ResetPaper
);

impl<M: Traceable<Self>> Handler<Traced<M>> for OrderRouter {
    type Result = ResponseFuture<M::Result>;

    fn handle(&mut self, message: Traced<M>, context: &mut Self::Context) -> Self::Result {
        message.handled(self, context)
    }
}

/// Cancels an order.
#[derive(Message)]
#[rtype(result = "Result<Canceled, CryptoError>")]
pub struct CancelOrder(
    /// Which.
    pub OrderId,
);

impl Handler<CancelOrder> for OrderRouter {
    type Result = ResponseFuture<Result<Canceled, CryptoError>>;

    fn handle(&mut self, CancelOrder(id): CancelOrder, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { flows::cancel(&desk, id).await })
    }
}

/// Cancels all open orders, or those of an instrument. The answer has each by itself.
#[derive(Message)]
#[rtype(result = "Result<Vec<Result<Order, (OrderId, CryptoError)>>, CryptoError>")]
pub struct CancelMany(
    /// Of which instrument.
    pub Option<String>,
);

impl Handler<CancelMany> for OrderRouter {
    type Result = ResponseFuture<Result<Vec<Result<Order, (OrderId, CryptoError)>>, CryptoError>>;

    fn handle(&mut self, CancelMany(entity): CancelMany, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { Ok(flows::cancel_many(&desk, entity.as_deref()).await) })
    }
}

impl Message for AmendOrder {
    type Result = Result<Amended, CryptoError>;
}

impl Handler<AmendOrder> for OrderRouter {
    type Result = ResponseFuture<Result<Amended, CryptoError>>;

    fn handle(&mut self, request: AmendOrder, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move {
            let AmendOrder {
                id,
                quantity,
                price,
                by,
            } = request;
            flows::amend(&desk, id, quantity, price, &by).await
        })
    }
}

/// An order by a name; `None`: not known here.
#[derive(Clone, Message)]
#[rtype(result = "Result<Option<Order>, CryptoError>")]
pub enum FindOrder {
    /// Our id.
    Id(OrderId),
    /// The client's id.
    ClientId(String),
}

impl Handler<FindOrder> for OrderRouter {
    type Result = Result<Option<Order>, CryptoError>;

    fn handle(&mut self, find: FindOrder, _: &mut Self::Context) -> Self::Result {
        use bookwire_engine::trading::ledger::Known;
        let state = self.desk.state.borrow();
        Ok(match find {
            FindOrder::Id(id) => state.ledger.order(id).cloned(),
            FindOrder::ClientId(client) => match state.ledger.known(&client) {
                Known::Order(order) => Some(order.clone()),
                _ => None,
            },
        })
    }
}

/// Orders, newest first.
#[derive(Message)]
#[rtype(result = "Result<Vec<Order>, CryptoError>")]
pub struct ListOrders(
    /// Which.
    pub OrderFilter,
);

impl Handler<ListOrders> for OrderRouter {
    type Result = Result<Vec<Order>, CryptoError>;

    fn handle(&mut self, ListOrders(filter): ListOrders, _: &mut Self::Context) -> Self::Result {
        let state = self.desk.state.borrow();
        Ok(state.ledger.list(&filter).into_iter().cloned().collect())
    }
}

/// Executions, newest first.
#[derive(Message)]
#[rtype(result = "Result<Vec<Fill>, CryptoError>")]
pub struct ListFills(
    /// Which.
    pub OrderFilter,
);

impl Handler<ListFills> for OrderRouter {
    type Result = Result<Vec<Fill>, CryptoError>;

    fn handle(&mut self, ListFills(filter): ListFills, _: &mut Self::Context) -> Self::Result {
        let state = self.desk.state.borrow();
        Ok(state.ledger.fills(&filter).into_iter().cloned().collect())
    }
}

/// Balances and positions.
#[derive(Message)]
#[rtype(result = "Result<(Vec<Balance>, Vec<Position>), CryptoError>")]
pub struct GetAccount;

impl Handler<GetAccount> for OrderRouter {
    type Result = Result<(Vec<Balance>, Vec<Position>), CryptoError>;

    fn handle(&mut self, _: GetAccount, _: &mut Self::Context) -> Self::Result {
        Ok(self.desk.account())
    }
}

/// Sets the leverage of an instrument.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct SetLeverage {
    /// Of which.
    pub instrument: Arc<Instrument>,
    /// To what.
    pub leverage: u32,
}

impl Handler<SetLeverage> for OrderRouter {
    type Result = ResponseFuture<Result<(), CryptoError>>;

    fn handle(&mut self, request: SetLeverage, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move { set_leverage(&desk, &request.instrument, request.leverage).await })
    }
}

async fn set_leverage(
    desk: &Rc<Desk>,
    instrument: &Instrument,
    leverage: u32,
) -> Result<(), CryptoError> {
    desk.is_of_its_exchange(instrument)?;
    if !desk.support(instrument.spec.market).has_leverage {
        let what = format!("leverage can't be set for {}", instrument.entity_id());
        return Err(CryptoError::new(CryptoCode::Unsupported, what)
            .with("entity_id", instrument.entity_id()));
    }
    let most = instrument.spec.max_leverage.unwrap_or(125);
    if !(1..=most).contains(&leverage) {
        let accepted = format!("1 to {most}");
        return Err(CryptoError::invalid_parameter(
            "leverage",
            &leverage.to_string(),
            accepted,
        ));
    }
    let live = match &desk.house {
        House::Live(live) => live.clone(),
        House::Paper(paper) => return paper.set_leverage(desk, instrument, leverage),
    };
    let command = Command::SetLeverage {
        instrument,
        leverage,
    };
    match live.command(&command).await {
        Outcome::Done(facts) => {
            desk.take(&facts);
            Ok(())
        }
        Outcome::Failed(failure) if failure.proof == Proof::AlreadySo => Ok(()),
        Outcome::Failed(Failure { error, .. }) | Outcome::Unknown(error) => Err(error),
    }
}

/// Engages or releases the account's kill switch. Engaging cancels everything.
#[derive(Message)]
#[rtype(result = "Result<Vec<Result<Order, (OrderId, CryptoError)>>, CryptoError>")]
pub struct Halt {
    /// Engage.
    pub is_engaged: bool,
    /// Id of the key that asks.
    pub by: String,
}

impl Handler<Halt> for OrderRouter {
    type Result = ResponseFuture<Result<Vec<Result<Order, (OrderId, CryptoError)>>, CryptoError>>;

    fn handle(&mut self, halt: Halt, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move {
            let entry = Entry::Halt {
                is_engaged: halt.is_engaged,
                by: halt.by.clone(),
                at: desk.now().0,
            };
            // Refusing comes first, then the paper: a full disk must not keep orders coming.
            let before = desk.state.borrow().halted_by.clone();
            desk.state.borrow_mut().halted_by = match halt.is_engaged {
                true => Some(halt.by.clone()),
                false => before,
            };
            desk.write(&[entry])?;
            tracing::warn!(provider = desk.provider.name(), account = %desk.options.name, by = %halt.by,
                is_engaged = halt.is_engaged, "kill switch");
            if halt.is_engaged {
                return Ok(flows::cancel_many(&desk, None).await);
            }
            desk.state.borrow_mut().halted_by = None;
            Ok(Vec::new())
        })
    }
}

/// How the account stands.
#[derive(Message)]
#[rtype(result = "Result<DeskStatus, CryptoError>")]
pub struct GetStatus;

impl Handler<GetStatus> for OrderRouter {
    type Result = Result<DeskStatus, CryptoError>;

    fn handle(&mut self, _: GetStatus, _: &mut Self::Context) -> Self::Result {
        Ok(status(&self.desk))
    }
}

fn status(desk: &Desk) -> DeskStatus {
    let markets = desk.options.markets.iter();
    let support = markets.map(|market| (*market, desk.support(*market)));
    let support = support.collect();
    let state = desk.state.borrow();
    let mut stats = state.stats.clone();
    if let House::Live(live) = &desk.house {
        stats.unmapped = live.unmapped.get();
    }
    DeskStatus {
        provider: desk.provider,
        account: desk.options.name.clone(),
        mode: desk.mode(),
        support,
        key_can_withdraw: state.key_can_withdraw,
        is_ready: state.readiness == Readiness::Ready && state.halted_by.is_none(),
        reason: match &state.readiness {
            Readiness::Ready => None,
            Readiness::Starting => Some("its orders and balances are being fetched".to_owned()),
            Readiness::NotReady(reason) => Some(reason.clone()),
        },
        halted_by: state.halted_by.clone(),
        open_orders: state.ledger.open_orders().count(),
        guards: state.guards.sessions(),
        stats,
        lines: match &desk.house {
            House::Live(live) => live.lines.as_ref().map(|lines| lines.status()),
            House::Paper(_) => None,
        },
    }
}

/// How the account stands, and what was measured of it.
#[derive(Message)]
#[rtype(result = "Result<DeskObservation, CryptoError>")]
pub struct Observe;

impl Handler<Observe> for OrderRouter {
    type Result = Result<DeskObservation, CryptoError>;

    fn handle(&mut self, _: Observe, _: &mut Self::Context) -> Self::Result {
        let desk = &self.desk;
        let status = status(desk);
        let state = desk.state.borrow();
        let (routes, unmapped_codes) = match &desk.house {
            House::Live(live) => (live.venue.private_routes(), live.unmapped.get()),
            House::Paper(_) => (&[][..], 0),
        };
        let open = state.ledger.open_orders();
        Ok(DeskObservation {
            status,
            unknown_orders: open.filter(|o| o.status == OrderStatus::Unknown).count(),
            unmapped_codes,
            private_streams: routes
                .iter()
                .zip(&state.streams_up)
                .filter(|(route, _)| desk.options.uses(route.markets))
                .map(|(route, is_up)| (route.name, *is_up))
                .collect(),
            journal_bytes: state.journal.length(),
            latencies: desk.latency.told(),
        })
    }
}

/// What somebody who begins to listen is told first.
#[derive(Clone, Debug)]
pub struct AccountSnapshot {
    /// Number to stop listening with.
    pub number: u64,
    /// Paper or live.
    pub mode: TradingMode,
    /// Orders that can still execute.
    pub orders: Vec<Order>,
    /// Balances.
    pub balances: Vec<Balance>,
    /// Positions.
    pub positions: Vec<Position>,
}

/// Begins to listen: from the snapshot on, nothing is missed. The listener is called on the routers'
/// thread and must not wait; it is forgotten when it answers false.
#[derive(Message)]
#[rtype(result = "Result<AccountSnapshot, CryptoError>")]
pub struct Listen(
    /// Takes what happens.
    pub Box<dyn Fn(&Published) -> bool + Send>,
);

impl Handler<Listen> for OrderRouter {
    type Result = Result<AccountSnapshot, CryptoError>;

    fn handle(&mut self, Listen(tell): Listen, _: &mut Self::Context) -> Self::Result {
        let (balances, positions) = self.desk.account();
        let mut state = self.desk.state.borrow_mut();
        state.next_session += 1;
        let number = state.next_session;
        let orders = state.ledger.open_orders().cloned().collect();
        state.sessions.push(Subscriber { number, tell });
        Ok(AccountSnapshot {
            number,
            mode: self.desk.mode(),
            orders,
            balances,
            positions,
        })
    }
}

/// Stops listening.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Unlisten(
    /// The snapshot's number.
    pub u64,
);

impl Handler<Unlisten> for OrderRouter {
    type Result = ();

    fn handle(&mut self, Unlisten(number): Unlisten, _: &mut Self::Context) {
        let mut state = self.desk.state.borrow_mut();
        state.sessions.retain(|session| session.number != number);
    }
}

/// Begins a paper account anew.
#[derive(Message)]
#[rtype(result = "Result<(), CryptoError>")]
pub struct ResetPaper;

impl Handler<ResetPaper> for OrderRouter {
    type Result = ResponseFuture<Result<(), CryptoError>>;

    fn handle(&mut self, _: ResetPaper, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move {
            match &desk.house {
                House::Paper(paper) => paper.reset(&desk).await,
                House::Live(_) => {
                    let what = "the account is no paper account";
                    Err(CryptoError::new(CryptoCode::Unsupported, what)
                        .with("provider", desk.provider.name())
                        .with("account", desk.options.name.clone()))
                }
            }
        })
    }
}

/// The end: what the exchange would do about our silence is disarmed, the journal reaches the disk.
/// Open orders stay, but for those that sessions watch over.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

impl Handler<Stop> for OrderRouter {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        let desk = self.desk.clone();
        Box::pin(async move {
            guard::end_all(&desk).await;
            desk.state.borrow_mut().readiness =
                Readiness::NotReady("it is being stopped".to_owned());
            if let (House::Live(live), true) = (&desk.house, desk.options.dead_man_secs > 0) {
                dead_man::arm(&desk, live, 0).await;
                desk.state.borrow_mut().is_leaving = true;
                let mut waited = Duration::ZERO;
                while desk.state.borrow().watched > 0 && waited < LEAVE.0 {
                    desk.clock.sleep(LEAVE.1).await;
                    waited += LEAVE.1;
                }
            }
            let handle = desk.state.borrow().journal.handle();
            if let Ok(handle) = handle {
                let _ = tokio::task::spawn_blocking(move || handle.sync()).await;
            }
        })
    }
}
