//! One client's session: what it subscribed, its flow control, and whether it is still there.
//!
//! [`SubscriptionSession`] is a plain actor on the worker thread that owns the client's socket. It
//! is apart from the socket's pump because a pump is polled only while the client reads; the
//! session's timers run for a frozen client, too. Market data does not pass through it: the
//! dispatcher puts them into the [`outbox`] and the pump takes them out.

pub mod cell;
pub mod encode;
pub mod flow;
mod frame;
mod guards;
pub mod keys;
mod line;
pub mod outbox;
mod private;
pub mod request;
pub mod resolve;

mod sub;
mod subscriptions;

use std::rc::Rc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler, Message, WrapFuture,
};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bookwire_engine::exchange::ProviderId;
use bookwire_engine::keys::Identity;
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::Numbers;
use serde_json::{Map, Value};

use self::cell::OutboxCell;
use self::flow::{Close, OutboxLimits};
use self::guards::Guards;
use self::keys::{Identities, SessionKeys};
use self::private::PrivateStreams;
use self::request::{
    AuthRequest, BadRequest, ClientRequest, FlowRequest, FlowView, Outcome, PrivateEntry, Rejected,
    Reply, Request, StreamEntry,
};
use self::subscriptions::{Subscriptions, Wanted, not_subscribed};
use tracing::Span;

use crate::alive::{Alive, Kind};
use crate::dispatcher::{Claim, WorkerHub};

/// Requests that may wait for a session; the pump answers further ones itself.
pub const MAILBOX: usize = 256;

/// Seconds that a client has to take the close frame before its socket is shut down.
const CLOSE_GRACE_SECS: u32 = 5;

/// Seconds after which a book that still waits for its snapshot is asked for again.
const SNAPSHOT_RETRY_SECS: u64 = 3;

/// Smallest and largest queue that a client may ask for, messages.
pub const BUFFER_SIZES: std::ops::RangeInclusive<u32> = 16..=16_384;

/// Limits of a session; defaults are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Subscriptions on a connection.
    pub subscriptions: usize,
    /// Requests a second; twice as many in a burst.
    pub requests_per_second: u32,
    /// The outbox.
    pub outbox: OutboxLimits,
    /// Seconds between the server's pings.
    pub ping_secs: u32,
    /// Seconds without anything from the client after which it is disconnected.
    pub idle_secs: u32,
    /// Market data need no key; otherwise one with `data_access` for their provider.
    pub is_data_open: bool,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            subscriptions: 200,
            requests_per_second: 50,
            outbox: OutboxLimits::default(),
            ping_secs: 20,
            idle_secs: 60,
            is_data_open: true,
        }
    }
}

/// Prints an answer; the clock's time goes into errors.
pub type Encode = Box<dyn Fn(&Reply, TsNanos) -> Vec<u8>>;

/// What a session is started with.
pub struct SessionOptions {
    /// The worker's hub.
    pub hub: Rc<WorkerHub>,
    /// Limits.
    pub limits: SessionLimits,
    /// How prices are printed on this connection.
    pub numbers: Numbers,
    /// Proves API keys; `None`: there are none.
    pub keys: Option<Box<dyn SessionKeys>>,
    /// Prints answers.
    pub encode: Encode,
    /// Cuts the socket without asking the client.
    pub cut: Box<dyn Fn()>,
}

/// The actor. See the module's text.
pub struct SubscriptionSession {
    options: SessionOptions,
    cell: Rc<OutboxCell>,
    subscriptions: Subscriptions,
    private: PrivateStreams,
    identities: Identities,
    guards: Guards,
    silent_secs: u32,
    closing_secs: u32,
    ticks: u64,
    tenths: u64,
    has_pacer: bool,
    /// Of the client's connection.
    span: Span,
    _alive: Alive,
}

/// A running session as the pump knows it.
#[derive(Clone)]
pub struct SessionHandle {
    /// Takes requests.
    pub addr: Addr<SubscriptionSession>,
    /// What leaves for the client.
    pub cell: Rc<OutboxCell>,
}

/// A request to subscribe or unsubscribe.
struct Parts {
    channel: Option<String>,
    streams: Vec<StreamEntry>,
    private: Vec<PrivateEntry>,
}

/// A frame of the client, understood or not: answered in the order of arrival.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Inbound(pub Result<ClientRequest, BadRequest>);

/// Asks for the session's state.
#[derive(Debug, Message)]
#[rtype(result = "SessionState")]
pub struct Observe;

/// A session's state, for tests and metrics.
#[derive(Clone, Debug, PartialEq, Eq, actix::MessageResponse)]
pub struct SessionState {
    /// Subscriptions.
    pub subscriptions: usize,
    /// Market messages that wait.
    pub waiting: usize,
    /// Market messages handed to the socket.
    pub sent: u64,
    /// Market messages dropped or replaced.
    pub dropped: u64,
}

impl SubscriptionSession {
    /// Starts a session on this thread.
    #[must_use]
    pub fn launch(options: SessionOptions) -> SessionHandle {
        let limits = options.limits;
        let tokens = limits.requests_per_second.saturating_mul(2);
        let cell = options.hub.open(limits.outbox, tokens);
        let session = Self {
            subscriptions: Subscriptions::new(limits.subscriptions),
            private: PrivateStreams::default(),
            identities: Identities::default(),
            guards: Guards::default(),
            options,
            cell: cell.clone(),
            silent_secs: 0,
            closing_secs: 0,
            ticks: 0,
            tenths: 0,
            has_pacer: false,
            span: Span::current(),
            _alive: Alive::new(Kind::SubscriptionSession),
        };
        SessionHandle {
            addr: session.start(),
            cell,
        }
    }

    fn reply(&self, reply: &Reply) {
        self.span.in_scope(|| log(reply));
        let now = self.options.hub.source().now();
        self.cell.answer((self.options.encode)(reply, now));
    }

    /// Once a second: liveness, budgets, and the end of a connection that does not close.
    fn tick(&mut self) {
        self.ticks += 1;
        self.options.hub.keep_within_memory();
        let limits = self.options.limits;
        if self.cell.with(|outbox| outbox.closing().is_some()) {
            // The client is given up: its orders do not wait for its socket.
            self.guards.clear();
            self.closing_secs += 1;
            if self.closing_secs >= CLOSE_GRACE_SECS {
                (self.options.cut)();
            }
            return;
        }
        // A key that expires changes nothing that could wake anybody.
        self.end_with_key();
        let rate = limits.requests_per_second;
        self.cell.refill(rate, rate.saturating_mul(2));
        if self.cell.was_heard() {
            self.silent_secs = 0;
        } else {
            self.silent_secs += 1;
        }
        if self.silent_secs >= limits.idle_secs {
            let silent = self.silent_secs;
            self.options.hub.meter().closed_idle.add(1);
            self.cell.close(Close::policy(format!(
                "idle: nothing received for {silent} s"
            )));
            return;
        }
        if self
            .ticks
            .is_multiple_of(u64::from(limits.ping_secs.max(1)))
        {
            self.cell.with(outbox::Outbox::ping);
            self.cell.flush();
        }
        if self.ticks.is_multiple_of(SNAPSHOT_RETRY_SECS) {
            let waiting: Vec<_> = self.cell.with(|outbox| outbox.waiting().collect());
            for slot in waiting {
                self.options.hub.refresh(slot);
            }
        }
    }

    fn subscribe(&mut self, ctx: &mut Context<Self>, request: ClientRequest) {
        let ClientRequest { id, body } = request;
        let Request::Subscribe {
            channel,
            streams,
            private,
        } = body
        else {
            return;
        };
        let mut wanted = Parts {
            channel,
            streams,
            private,
        };
        self.check_data_access(&mut wanted.streams);
        let streams = &wanted.streams;
        let venues = resolve::venues(streams);
        if venues.is_empty() {
            return self.join(ctx, id, wanted);
        }
        let source = self.options.hub.source();
        let prepares = venues.into_iter().map(|(provider, venue)| {
            let prepared = source.prepare(provider, venue.clone());
            async move { (provider, venue, prepared.await) }
        });
        let prepared = futures_util::future::join_all(prepares.collect::<Vec<_>>());
        // As below: the next request waits, and each venue's loading is bounded in time.
        ctx.wait(prepared.into_actor(self).map(move |results, act, ctx| {
            let mut wanted = wanted;
            for (provider, venue, result) in results {
                let Err(error) = result else { continue };
                let is_of = |request: &request::StreamRequest| {
                    resolve::provider(request) == Ok(provider) && request.exchange == venue
                };
                for entry in &mut wanted.streams {
                    if entry.request.as_ref().is_ok_and(is_of) {
                        entry.request = Err(error.clone());
                    }
                }
            }
            act.join(ctx, id, wanted);
        }));
    }

    /// Refuses the streams that the client's keys do not give access to, where that takes a key.
    fn check_data_access(&self, streams: &mut [StreamEntry]) {
        if self.options.limits.is_data_open {
            return;
        }
        for entry in streams {
            let Ok(request) = &entry.request else {
                continue;
            };
            // What names no provider is refused as such.
            let Ok(provider) = resolve::provider(request) else {
                continue;
            };
            if let Err(error) = self.identities.may_read(provider) {
                entry.request = Err(error);
            }
        }
    }

    fn join(&mut self, ctx: &mut Context<Self>, id: Option<request::RequestId>, wanted: Parts) {
        let Parts {
            channel,
            streams,
            private,
        } = wanted;
        let plan_of_private = self.private.plan(
            &private::Basis {
                identities: &self.identities,
                has_keys: self.options.keys.is_some(),
                trading: self.options.hub.source().trading().as_ref(),
                most: self.options.limits.subscriptions,
                others: self.subscriptions.len(),
            },
            channel.as_deref(),
            private,
        );
        self.subscriptions.others = self.private.len() + plan_of_private.missing();
        let table = self.options.hub.source().instruments();
        let numbers = self.options.numbers;
        let plan = self
            .subscriptions
            .plan(&table, channel.as_deref(), streams, numbers);
        let hub = self.options.hub.clone();
        let joins = plan.missing().map(|topic| hub.clone().join_owned(topic));
        let joined = futures_util::future::join_all(joins.collect::<Vec<_>>());
        let begun = plan_of_private.begin();
        let both = futures_util::future::join(joined, begun);
        // Requests of one client are worked on in their order: the next waits for this one, which
        // the time-outs of shards and accounts bound.
        ctx.wait(both.into_actor(self).map(move |(claims, begun), act, _| {
            let (mut done, fresh) = act.subscriptions.finish(plan, claims, &act.cell);
            let begun = act.private.finish(begun, &mut done);
            let outcome = done.outcome(|subscriptions, rejected| Outcome::Subscribed {
                subscriptions,
                rejected,
            });
            // The answer is put first, so that no message of a subscription precedes it.
            act.reply(&Reply {
                id,
                method: Some(request::Method::Subscribe),
                outcome,
            });
            act.subscriptions.activate(&fresh, &act.cell);
            let (hub, numbers) = (&act.options.hub, act.options.numbers);
            act.private.activate(begun, hub, &act.cell, numbers);
        }));
    }

    fn unsubscribe(&mut self, wanted: Parts) -> Outcome {
        let Parts {
            channel,
            streams,
            private,
        } = wanted;
        let is_whole = streams.is_empty() && private.is_empty();
        let name = channel.clone().unwrap_or_default();
        let mut done = self.private.remove(channel.as_deref(), private, is_whole);
        let table = self.options.hub.source().instruments();
        let wanted = Wanted {
            channel,
            streams,
            is_whole,
        };
        let of_market = self.subscriptions.remove(&table, wanted, &self.cell);
        done.subscriptions.extend(of_market.subscriptions);
        done.rejected.extend(of_market.rejected);
        if is_whole && done.subscriptions.is_empty() {
            done.rejected.push(Rejected {
                echo: Map::from_iter([("channel".to_owned(), Value::from(&*name))]),
                error: not_subscribed(format!("nothing is subscribed in channel `{name}`")),
            });
        }
        done.outcome(|subscriptions, rejected| Outcome::Unsubscribed {
            subscriptions,
            rejected,
        })
    }

    fn configure(&mut self, ctx: &mut Context<Self>, wanted: FlowRequest) -> Outcome {
        let accepted = format!("{} to {}", BUFFER_SIZES.start(), BUFFER_SIZES.end());
        if let Some(size) = wanted.buffer_size
            && !BUFFER_SIZES.contains(&size)
        {
            let size = size.to_string();
            let error = CryptoError::invalid_parameter("buffer_size", &size, accepted);
            return failed(error);
        }
        let channel = wanted.channel.as_deref();
        let rate = wanted.max_messages_per_second;
        let messages = wanted.buffer_size.map(|size| size as usize);
        // What can fail comes first: a request that is refused changes nothing.
        let subscriptions = &mut self.subscriptions;
        if let Err(error) = subscriptions.check_policy(channel, wanted.drop_policy) {
            return failed(error);
        }
        let limited = self
            .cell
            .with(|outbox| outbox.configure(channel, rate, messages));
        if let Err(most) = limited {
            return failed(
                CryptoError::new(
                    CryptoCode::SubscriptionLimit,
                    format!("at most {most} channels have limits of their own"),
                )
                .with("limit", most)
                .suggest("set the limits of the connection, without `channel`"),
            );
        }
        subscriptions.set_policy(channel, wanted.drop_policy, &self.cell);
        if rate.is_some() {
            self.pace(ctx);
        }
        self.cell.flush();
        let mut names: Vec<Rc<str>> = self.cell.with(|outbox| outbox.channels().collect());
        names.extend(self.subscriptions.channels_with_policy());
        names.sort_unstable();
        names.dedup();
        let view = self.flow_view(channel);
        let channels = match channel {
            Some(_) => Vec::new(),
            None => names
                .iter()
                .map(|name| self.flow_view(Some(name)))
                .collect(),
        };
        Outcome::Configured(view, channels)
    }

    /// What is in force for a channel, or for the connection.
    fn flow_view(&self, channel: Option<&str>) -> FlowView {
        let (rate, buffer_size) = self.cell.with(|outbox| outbox.flow_of(channel));
        FlowView {
            channel: channel.map(str::to_owned),
            max_messages_per_second: rate,
            buffer_size,
            drop_policy: self.subscriptions.policy_in_force(channel),
        }
    }

    /// Renews the allowance of a limited rate ten times a second.
    fn pace(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.has_pacer, true) {
            return;
        }
        ctx.run_interval(Duration::from_millis(100), |act, _| {
            act.tenths += 1;
            let tenth = act.tenths;
            act.cell.with(|outbox| outbox.refill(tenth));
            act.cell.flush();
        });
    }
}

const fn failed(error: CryptoError) -> Outcome {
    Outcome::Failed {
        error,
        rejected: Vec::new(),
    }
}

impl SubscriptionSession {
    /// Who the client is for a provider: what its private streams need.
    #[must_use]
    pub fn identity(&self, provider: ProviderId) -> Option<&Identity> {
        self.identities.of(provider)
    }

    /// Answers by itself where accounts have to be asked first.
    fn authenticate(
        &mut self,
        ctx: &mut Context<Self>,
        id: Option<request::RequestId>,
        proof: &AuthRequest,
    ) {
        let method = Some(request::Method::Auth);
        let (provider, identity) = match self.prove(proof) {
            Ok(proven) => proven,
            Err(error) => return self.reply(&Reply::failed(id, method, error)),
        };
        let key = identity.key_id.clone();
        let wish = proof.cancel_on_disconnect;
        if wish != Some(true) || self.guards.has(provider) {
            if wish == Some(false) {
                self.guards.release(provider);
            }
            let outcome = self.accept(ctx, provider, identity);
            return self.reply(&Reply {
                id,
                method,
                outcome,
            });
        }
        let trading = self.options.hub.source().trading();
        let armed = guards::arm(trading, provider, key);
        // As for subscriptions: the next request waits, and the accounts' answer is bounded in time.
        ctx.wait(armed.into_actor(self).map(move |armed, act, ctx| {
            let outcome = match armed {
                Ok(guard) => {
                    act.guards.put(provider, guard);
                    act.accept(ctx, provider, identity)
                }
                Err(error) => failed(error),
            };
            act.reply(&Reply {
                id,
                method,
                outcome,
            });
        }));
    }

    /// Whose key it is; nothing has changed yet.
    fn prove(&self, proof: &AuthRequest) -> Result<(ProviderId, Identity), CryptoError> {
        let Some(keys) = &self.options.keys else {
            return Err(CryptoError::new(
                CryptoCode::Unsupported,
                "this server has no API keys: market data needs none",
            )
            .with("method", "auth")
            .suggest("subscribe to public streams without auth"));
        };
        let now = self.options.hub.source().now();
        let (provider, identity) = keys.authenticate(proof, now)?;
        tracing::debug!(
            key = &*identity.key_id,
            provider = provider.name(),
            "authenticated"
        );
        let may_see = identity.may_see(provider);
        if self.private.has(provider) && !may_see {
            let mut error = private::forbidden(&identity, provider);
            error.message += ", and private streams of it are subscribed";
            return Err(error.suggest("unsubscribe them before another key takes over"));
        }
        if proof.cancel_on_disconnect == Some(true) && !may_see {
            return Err(private::forbidden(&identity, provider));
        }
        self.guards.check(provider, &identity.key_id)?;
        Ok((provider, identity))
    }

    /// The client is this one from now on.
    fn accept(
        &mut self,
        ctx: &mut Context<Self>,
        provider: ProviderId,
        identity: Identity,
    ) -> Outcome {
        let permissions = identity.permissions.names();
        if self.identities.is_empty() {
            self.follow_keys(ctx);
        }
        self.identities.put(provider, identity);
        Outcome::Authenticated {
            provider: provider.name(),
            permissions,
            cancel_on_disconnect: self.guards.has(provider),
        }
    }

    /// Looks at the client's keys whenever any key has changed.
    fn follow_keys(&self, ctx: &mut Context<Self>) {
        let Some(keys) = &self.options.keys else {
            return;
        };
        let changed = keys.changed();
        ctx.spawn(changed.into_actor(self).map(|(), act, ctx| {
            // In this order: what changes in between wakes it again.
            act.follow_keys(ctx);
            act.end_with_key();
        }));
    }

    /// Closes the connection when a key of the client's is no good any more.
    fn end_with_key(&mut self) {
        let Some(keys) = &self.options.keys else {
            return;
        };
        let now = self.options.hub.source().now();
        let ended = self.identities.ended(|identity| keys.ended(identity, now));
        if let Some((key_id, ended)) = ended {
            self.span.in_scope(|| {
                tracing::info!(key = &*key_id, "a session was closed: {ended}");
            });
            self.private.clear();
            self.guards.clear();
            self.cell.close(Close::policy(format!("auth: {ended}")));
        }
    }
}

/// What became of a request of the client.
fn log(reply: &Reply) {
    let method = reply.method.map_or("unknown", request::Method::as_str);
    let rejected = match &reply.outcome {
        Outcome::Failed { error, .. } => {
            let code = error.code.as_str();
            tracing::debug!(method, code, "a request failed: {}", error.message);
            return;
        }
        Outcome::Subscribed { rejected, .. } | Outcome::Unsubscribed { rejected, .. } => {
            rejected.len()
        }
        _ => 0,
    };
    tracing::debug!(method, rejected, "a request was answered");
}

impl Actor for SubscriptionSession {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        ctx.run_interval(Duration::from_secs(1), |act, _| act.tick());
        let cell = self.cell.clone();
        let gone = async move { cell.hung_up().await };
        ctx.spawn(gone.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Drop for SubscriptionSession {
    fn drop(&mut self) {
        // Also when a handler panicked: the client must not be left with a silent socket.
        self.cell.close(Close {
            code: 1011,
            reason: "the session ended".to_owned(),
        });
    }
}

impl Handler<Inbound> for SubscriptionSession {
    type Result = ();

    fn handle(&mut self, Inbound(frame): Inbound, ctx: &mut Self::Context) {
        let span = self.span.clone();
        let _in = span.enter();
        let request = match frame {
            Ok(request) => request,
            Err(BadRequest { id, method, error }) => {
                return self.reply(&Reply::failed(id, method, error));
            }
        };
        let method = request.body.method();
        let outcome = match request.body {
            Request::Subscribe { .. } => return self.subscribe(ctx, request),
            Request::Unsubscribe {
                channel,
                streams,
                private,
            } => self.unsubscribe(Parts {
                channel,
                streams,
                private,
            }),
            Request::ListSubscriptions => {
                let mut views = self.subscriptions.views();
                views.extend(self.private.views());
                Outcome::Listed(views)
            }
            Request::Ping => Outcome::Pong,
            Request::ConfigureFlow(wanted) => self.configure(ctx, wanted),
            Request::Auth(proof) => return self.authenticate(ctx, request.id, &proof),
        };
        self.reply(&Reply {
            id: request.id,
            method: Some(method),
            outcome,
        });
    }
}

impl Handler<Observe> for SubscriptionSession {
    type Result = SessionState;

    fn handle(&mut self, _: Observe, _: &mut Self::Context) -> SessionState {
        let (waiting, stats) = self.cell.with(|outbox| (outbox.len(), outbox.stats()));
        SessionState {
            subscriptions: self.subscriptions.len() + self.private.len(),
            waiting,
            sent: stats.sent,
            dropped: stats.dropped,
        }
    }
}

/// A claim or why there is none, as [`WorkerHub::join`] brings it.
type Joined = Result<Claim, CryptoError>;
