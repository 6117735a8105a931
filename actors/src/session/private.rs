//! Private streams of a session: what happens on the accounts that its client has proven a key for.
//!
//! ```text
//! routers' thread │ Listen's closure ─► bounded queue ─│─► carrier ─► answers' queue ─► pump   │ worker
//! ```
//!
//! None of these messages is ever dropped. The carrier puts one into the outbox only while answers have
//! room there, so a client that does not read fills the bounded queue; then the closure, which never
//! waits, gives up, and the carrier closes the connection. What was missed is asked for over REST.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::{InstrumentTable, Market};
use bookwire_engine::keys::Identity;
use bookwire_engine::trading::order::{Balance, Position, TradingMode};
use bookwire_engine::wire::{self, BalanceView, Numbers, PositionView};
use futures_util::future::{Either, join_all, select};
use serde_json::{Map, Value};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::cell::OutboxCell;
use super::flow::Close;
use super::keys::Identities;
use super::request::{
    AnyView, Done, PrivateEntry, PrivateRequest, PrivateStream, PrivateView, Rejected,
};
use super::resolve::provider_named;
use super::subscriptions::{not_subscribed, too_many};
use crate::dispatcher::WorkerHub;
use crate::trading::router::{AccountSnapshot, Listen, OrderRouter, Unlisten};
use crate::trading::{DEFAULT_ACCOUNT, Published, Trading};

/// Changes that may wait for a client that reads slower than they happen.
const QUEUE: usize = 1_024;

/// How long an account may take to tell how it stands. Nothing that it does keeps it so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes what a router publishes.
type Tell = Box<dyn Fn(&Published) -> bool + Send>;

/// The worker's end of a listener.
struct Queue {
    changes: mpsc::Receiver<Published>,
    /// The queue was full once: something is missing.
    overrun: Arc<Notify>,
}

impl PrivateStream {
    const fn tells(self, published: &Published) -> bool {
        match published {
            Published::Order(_) => matches!(self, Self::Orders),
            Published::Account { .. } => matches!(self, Self::Account),
        }
    }
}

/// A queue of so many changes, and what fills it without ever waiting.
fn queue(stream: PrivateStream, size: usize) -> (Tell, Queue) {
    let (sender, changes) = mpsc::channel(size);
    let overrun = Arc::new(Notify::new());
    let queue = Queue {
        changes,
        overrun: overrun.clone(),
    };
    let tell = move |published: &Published| {
        if !stream.tells(published) {
            return !sender.is_closed();
        }
        match sender.try_send(published.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                // Before the sender goes: the carrier must not take this for the account's end.
                overrun.notify_one();
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    };
    (Box::new(tell), queue)
}

/// A listener at a router; dropping it ends that.
struct Listener {
    router: Addr<OrderRouter>,
    number: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        // When its mailbox is full, the router forgets the listener at the account's next change: its
        // queue is closed.
        let _ = self.router.try_send(Unlisten(self.number));
    }
}

/// An account that is listened to from its snapshot on.
pub(super) struct Begun {
    listener: Listener,
    snapshot: AccountSnapshot,
    queue: Queue,
}

async fn begin(router: Addr<OrderRouter>, stream: PrivateStream) -> Result<Begun, CryptoError> {
    let (answer, answered) = oneshot::channel();
    // On its own: were a session to end here, its listener would stay at the router.
    crate::alive::spawn(async move {
        let (tell, queue) = queue(stream, QUEUE);
        let begun = Trading::ask(&router, Listen(tell)).await;
        let begun = begun.map(|snapshot| Begun {
            listener: Listener {
                router,
                number: snapshot.number,
            },
            snapshot,
            queue,
        });
        // When nobody wants it any more, the listener ends with it.
        let _ = answer.send(begun);
    });
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(_)) | Err(_) => Err(CryptoError::new(
            CryptoCode::InternalError,
            "the account did not tell in time how it stands",
        )),
    }
}

/// Brings the changes of one account to the client.
struct Carrier {
    cell: Rc<OutboxCell>,
    view: PrivateView,
    mode: TradingMode,
    numbers: Numbers,
    seq: u64,
}

impl Carrier {
    /// Ends with the connection, which it closes when changes are missed or end.
    async fn run(
        mut self,
        snapshot: AccountSnapshot,
        queue: Queue,
        table: impl Fn() -> Arc<InstrumentTable>,
    ) {
        let Queue {
            mut changes,
            overrun,
        } = queue;
        let cell = self.cell.clone();
        let carry = async {
            self.snapshot(&snapshot, &table()).await;
            while let Some(published) = changes.recv().await {
                self.change(&published, &table()).await;
            }
        };
        match select(pin!(overrun.notified()), pin!(carry)).await {
            Either::Left(_) => cell.too_slow(Close::policy(format!(
                "slow: {QUEUE} private messages waited to be read; ask REST how things are"
            ))),
            Either::Right(_) => cell.close(Close::restart("trading has ended")),
        }
    }

    async fn snapshot(&mut self, snapshot: &AccountSnapshot, table: &InstrumentTable) {
        let mut data = Vec::new();
        match self.view.stream {
            PrivateStream::Orders => {
                wire::orders_snapshot_data(&mut data, &snapshot.orders, self.numbers);
            }
            PrivateStream::Account => {
                let open = snapshot.positions.iter();
                let open = open.filter(|position| !position.quantity.is_zero());
                self.account(&mut data, true, &snapshot.balances, open, table);
            }
        }
        self.send(None, &data).await;
    }

    async fn change(&mut self, published: &Published, table: &InstrumentTable) {
        let mut data = Vec::new();
        match published {
            Published::Order(change) => {
                let (order, fill) = &**change;
                wire::order_update_data(&mut data, order, fill.as_ref(), self.numbers);
                let about = (&*order.terms.symbol, &*order.terms.entity_id);
                self.send(Some(about), &data).await;
            }
            Published::Account {
                balances,
                positions,
            } => {
                self.account(&mut data, false, balances, positions, table);
                self.send(None, &data).await;
            }
        }
    }

    fn account<'a>(
        &self,
        data: &mut Vec<u8>,
        is_snapshot: bool,
        balances: &[Balance],
        positions: impl IntoIterator<Item = &'a Position>,
        table: &InstrumentTable,
    ) {
        let (of, mode) = (self.view.provider, self.mode.as_str());
        let account = &*self.view.account;
        let named: Vec<_> = positions
            .into_iter()
            .filter_map(|position| {
                // As over REST: of what is not listed, nobody could say what it is.
                let row = table.by_native(of, Market::Perp, &position.native_symbol)?;
                Some((position, row.entity_id(), row.stream_symbol()))
            })
            .collect();
        let positions = named
            .iter()
            .map(|(position, entity_id, symbol)| PositionView {
                provider: of.name(),
                account,
                mode,
                entity_id,
                symbol,
                position,
            });
        let balances = balances.iter().map(|balance| BalanceView {
            provider: of.name(),
            account,
            mode,
            balance,
        });
        wire::account_data(data, is_snapshot, balances, positions, self.numbers);
    }

    async fn send(&mut self, about: Option<(&str, &str)>, data: &[u8]) {
        self.cell.has_room().await;
        self.seq += 1;
        let view = &self.view;
        let (stream, provider) = (view.stream.as_str(), view.provider.name());
        let channel = view.channel.as_deref();
        let mut prefix = Vec::with_capacity(160);
        wire::private_prefix(&mut prefix, stream, provider, about, &view.account, channel);
        let mut out = Vec::new();
        wire::message(&mut out, &prefix, self.seq, data, None);
        self.cell.answer(out);
    }
}

/// One subscription.
struct Held {
    view: PrivateView,
    hub: Rc<WorkerHub>,
    carrier: JoinHandle<()>,
    _listener: Listener,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.carrier.abort();
        self.hub.meter().subscriptions.down();
    }
}

/// What a subscribe request is judged by.
pub(super) struct Basis<'a> {
    pub(super) identities: &'a Identities,
    /// Keys can be proven at all.
    pub(super) has_keys: bool,
    pub(super) trading: Option<&'a Trading>,
    /// Subscriptions of the connection, at most.
    pub(super) most: usize,
    /// Those of other kinds.
    pub(super) others: usize,
}

/// One subscription of a request.
struct Planned {
    view: PrivateView,
    echo: Map<String, Value>,
    /// `None`: it is held already.
    router: Option<Addr<OrderRouter>>,
}

/// A subscribe request, resolved.
#[derive(Default)]
pub(super) struct Plan {
    planned: Vec<Planned>,
    rejected: Vec<Rejected>,
}

/// What became of a plan.
pub(super) struct Asked {
    planned: Vec<(Planned, Option<Result<Begun, CryptoError>>)>,
    rejected: Vec<Rejected>,
}

impl Plan {
    /// Subscriptions that there would be more.
    pub(super) fn missing(&self) -> usize {
        let planned = self.planned.iter();
        planned.filter(|planned| planned.router.is_some()).count()
    }

    /// Begins to listen.
    pub(super) fn begin(self) -> impl Future<Output = Asked> {
        let Self { planned, rejected } = self;
        let begun = planned.into_iter().map(|mut planned| async {
            let begun = match planned.router.take() {
                Some(router) => Some(begin(router, planned.view.stream).await),
                None => None,
            };
            (planned, begun)
        });
        let begun = join_all(begun.collect::<Vec<_>>());
        async move {
            Asked {
                planned: begun.await,
                rejected,
            }
        }
    }
}

/// The private subscriptions of a session. See the module's text.
#[derive(Default)]
pub(super) struct PrivateStreams {
    held: Vec<Held>,
}

impl PrivateStreams {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is one of a provider.
    pub(super) fn has(&self, provider: ProviderId) -> bool {
        self.held.iter().any(|held| held.view.provider == provider)
    }

    /// All, in the order in which they were made.
    pub(super) fn views(&self) -> impl Iterator<Item = AnyView> {
        let held = self.held.iter();
        held.map(|held| AnyView::Private(held.view.clone()))
    }

    /// Ends them all.
    pub(super) fn clear(&mut self) {
        self.held.clear();
    }

    /// Resolves a request without changing anything.
    pub(super) fn plan(
        &self,
        basis: &Basis<'_>,
        channel: Option<&str>,
        entries: Vec<PrivateEntry>,
    ) -> Plan {
        let channel: Option<Rc<str>> = channel.map(Rc::from);
        let mut plan = Plan::default();
        for PrivateEntry { echo, request } in entries {
            let found = may_subscribe(basis, &request).and_then(|(provider, router)| {
                let account = request.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
                let view = PrivateView {
                    stream: request.stream,
                    provider,
                    account: account.into(),
                    channel: channel.clone(),
                };
                let is_held = self.held.iter().any(|held| held.view == view);
                let total = basis.others + self.held.len();
                if !is_held && total + plan.missing() >= basis.most {
                    return Err(too_many(basis.most, total));
                }
                Ok((view, (!is_held).then_some(router)))
            });
            match found {
                Ok((view, _)) if plan.planned.iter().any(|planned| planned.view == view) => {}
                Ok((view, router)) => plan.planned.push(Planned { view, echo, router }),
                Err(error) => plan.rejected.push(Rejected { echo, error }),
            }
        }
        plan
    }

    /// Puts what was done into the answer. What is returned begins to flow with
    /// [`PrivateStreams::activate`], after the answer.
    pub(super) fn finish(&self, asked: Asked, done: &mut Done) -> Vec<(PrivateView, Begun)> {
        done.rejected.extend(asked.rejected);
        let mut fresh = Vec::new();
        for (planned, begun) in asked.planned {
            let view = AnyView::Private(planned.view.clone());
            match begun {
                None => done.subscriptions.push(view),
                Some(Ok(begun)) => {
                    done.subscriptions.push(view);
                    fresh.push((planned.view, begun));
                }
                Some(Err(error)) => done.rejected.push(Rejected {
                    echo: planned.echo,
                    error,
                }),
            }
        }
        fresh
    }

    /// Has messages flow.
    pub(super) fn activate(
        &mut self,
        begun: Vec<(PrivateView, Begun)>,
        hub: &Rc<WorkerHub>,
        cell: &Rc<OutboxCell>,
        numbers: Numbers,
    ) {
        for (view, begun) in begun {
            let Begun {
                listener,
                snapshot,
                queue,
            } = begun;
            let carrier = Carrier {
                cell: cell.clone(),
                view: view.clone(),
                mode: snapshot.mode,
                numbers,
                seq: 0,
            };
            let of_hub = hub.clone();
            let table = move || of_hub.source().instruments();
            hub.meter().subscriptions.up();
            self.held.push(Held {
                view,
                hub: hub.clone(),
                carrier: crate::alive::spawn(carrier.run(snapshot, queue, table)),
                _listener: listener,
            });
        }
    }

    /// Takes subscriptions away. What of them waits in the outbox leaves before the answer, after it
    /// nothing does.
    pub(super) fn remove(
        &mut self,
        channel: Option<&str>,
        entries: Vec<PrivateEntry>,
        is_whole: bool,
    ) -> Done {
        let in_channel = |view: &PrivateView| {
            channel.is_none_or(|channel| view.channel.as_deref() == Some(channel))
        };
        let mut done = Done::default();
        if is_whole {
            done.subscriptions = self.take(in_channel);
        }
        for PrivateEntry { echo, request } in entries {
            let gone = provider_named(&request.provider).map(|provider| {
                self.take(|view| {
                    let of = request.account.as_deref();
                    view.stream == request.stream
                        && view.provider == provider
                        && of.is_none_or(|account| account == &*view.account)
                        && in_channel(view)
                })
            });
            let error = match gone {
                Ok(gone) if !gone.is_empty() => {
                    done.subscriptions.extend(gone);
                    continue;
                }
                Ok(_) => {
                    let (stream, provider) = (request.stream.as_str(), &request.provider);
                    not_subscribed(format!("`{stream}` of {provider} is not subscribed"))
                }
                Err(error) => error,
            };
            done.rejected.push(Rejected { echo, error });
        }
        done
    }

    fn take(&mut self, matches: impl Fn(&PrivateView) -> bool) -> Vec<AnyView> {
        let gone = self.held.extract_if(.., |held| matches(&held.view));
        gone.map(|held| AnyView::Private(held.view.clone()))
            .collect()
    }
}

/// The account's router, for a client that may see the account.
fn may_subscribe(
    basis: &Basis<'_>,
    request: &PrivateRequest,
) -> Result<(ProviderId, Addr<OrderRouter>), CryptoError> {
    let provider = provider_named(&request.provider)?;
    let name = provider.name();
    let Some(identity) = basis.identities.of(provider) else {
        let stream = request.stream.as_str();
        let what = format!("`{stream}` of {name} needs an API key, and none was proven");
        let how = match basis.has_keys {
            true => format!("send `auth` with provider {name} first"),
            false => "this server has no API keys".to_owned(),
        };
        return Err(CryptoError::new(CryptoCode::Unauthorized, what)
            .with("provider", name)
            .suggest(how));
    };
    if !identity.may_see(provider) {
        return Err(forbidden(identity, provider));
    }
    let trading = basis.trading.ok_or_else(|| {
        CryptoError::new(CryptoCode::Unsupported, "trading is switched off")
            .suggest("set trading.enabled = true")
    })?;
    let account = request.account.as_deref().unwrap_or(DEFAULT_ACCOUNT);
    Ok((provider, trading.router(provider, account)?))
}

/// `CRYPTO_FORBIDDEN` for a key that may not see the accounts of a provider.
pub(super) fn forbidden(identity: &Identity, provider: ProviderId) -> CryptoError {
    let name = provider.name();
    CryptoError::new(
        CryptoCode::Forbidden,
        format!("the API key may not trade on {name}"),
    )
    .with("provider", name)
    .with("permissions", identity.permissions.names())
    .suggest(format!(
        "use a key with spot_trading or futures_trading, as {name} has it, whose providers include {name}"
    ))
}

#[cfg(test)]
#[path = "private_tests.rs"]
mod tests;
