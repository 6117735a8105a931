//! ExchangeConnection: one upstream connection for the life of its plan. It dials, subscribes, reads
//! frames into the shard's state, notices that the other side is gone or deaf, and comes back.
//!
//! At most two links exist at a time: the one in use and, during a planned change-over, its
//! successor. Both deliver; what comes twice is told apart further on, by sequence number, trade id
//! and the bars' gate.

pub mod backoff;
pub mod ledger;
mod setup;
pub mod socket;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, SpawnHandle,
    StreamHandler, WrapFuture,
};
use bookwire_engine::book::sync::DesyncReason;
use bookwire_engine::event::Control;
use bookwire_engine::exchange::{Decoder, Exchange, Feed, ProviderId};
use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream;
use rand::Rng;

use crate::alive::{Alive, Kind};
use crate::incidents::{Cause, Moment, Subject};
use crate::ring::StatusState;
use crate::state::{ReadAt, after};
use crate::status::ProviderMeter;
use crate::supervisor::Life;
use crate::tap::{RawMessage, RawSource};
use crate::upstream::{SharedPlan, StreamKey};
use backoff::Backoff;
use ledger::Ledger;
use socket::{DialError, Inbound, Outbound, Socket, Wire, dial};

pub use setup::{Address, ConnectionSetup, Nudge, ReconnectNow, Renew, StopConnection, UseTable};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(100);
/// Longest time for a handshake.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for one's turn to connect that is nothing to be told.
const QUEUE_MAX: Duration = Duration::from_secs(5);
/// Pauses before dialling again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Longest pause after a link that had carried data: the exchange serves, and nobody is told its
/// market until then.
const SERVED_RETRY_MAX: Duration = Duration::from_secs(5);
/// A link that carried data for this long was good: the next failure starts with a short pause.
const GOOD_AFTER: Duration = Duration::from_secs(60);
/// A successor without any data takes over after this long all the same: its streams are quiet.
const SUCCESSOR_PATIENCE: Duration = Duration::from_secs(15);
/// Control messages that may wait.
const MAILBOX: usize = 64;
/// Malformed frames told one by one; later ones are only counted.
const MALFORMED_TOLD: u64 = 20;

struct Tick;

/// Counts a link that is up; its end, by panic too, takes the count back.
struct UpGuard {
    meter: Arc<ProviderMeter>,
    plan: SharedPlan,
}

impl Drop for UpGuard {
    fn drop(&mut self) {
        self.meter.connection_up(false);
        if let Ok(mut plan) = self.plan.try_borrow_mut() {
            (plan.is_up, plan.live) = (false, 0);
        }
    }
}

struct Link {
    id: u32,
    reader: SpawnHandle,
    out: Outbound,
    decoder: Box<dyn Decoder>,
    ledger: Ledger,
    opened_at: Duration,
    inbound_at: Duration,
    has_pinged: bool,
    /// When the exchange's own keep-alive text was sent last.
    kept_at: Duration,
    /// When data came last; `None`: never.
    data_at: Option<Duration>,
    /// When the exchange will cut it, or some time before.
    replace_at: Option<Duration>,
}

/// The actor. See the module's text.
pub struct ExchangeConnection {
    setup: ConnectionSetup,
    exchange: &'static dyn Exchange,
    provider: ProviderId,
    life: Life,
    name: String,
    current: Option<(Link, UpGuard)>,
    successor: Option<Link>,
    is_dialing: bool,
    dial_at: Duration,
    next_link: u32,
    backoff: Backoff,
    is_down_told: bool,
    is_maintenance_told: bool,
    was_up: bool,
    controls: Vec<Control>,
    malformed: u64,
    silence_at: Duration,
    _alive: Alive,
}

impl ExchangeConnection {
    /// A connection that dials as soon as it is started.
    #[must_use]
    pub fn new(setup: ConnectionSetup, life: Life) -> Self {
        let (provider, name) = {
            let plan = setup.plan.borrow();
            (plan.provider, plan.name())
        };
        Self {
            exchange: provider.exchange(),
            provider,
            setup,
            life,
            name,
            current: None,
            successor: None,
            is_dialing: false,
            dial_at: Duration::ZERO,
            next_link: 1,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            is_down_told: false,
            is_maintenance_told: false,
            was_up: false,
            controls: Vec::new(),
            malformed: 0,
            silence_at: Duration::ZERO,
            _alive: Alive::new(Kind::ExchangeConnection),
        }
    }

    fn link_mut(&mut self, id: u32) -> Option<&mut Link> {
        let current = self.current.as_mut().map(|(link, _)| link);
        current
            .into_iter()
            .chain(self.successor.as_mut())
            .find(|link| link.id == id)
    }

    /// Everything that is due now.
    fn drive(&mut self, ctx: &mut Context<Self>) {
        let now = self.setup.clock.monotonic();
        self.check_links(now, ctx);
        if self.must_dial(now) {
            self.start_dial(now, ctx);
        }
        self.send_requests(now);
        self.change_over(now, ctx);
        if now >= self.silence_at {
            self.silence_at = now + Duration::from_secs(1);
            self.check_silence(now, ctx);
        }
    }

    fn must_dial(&self, now: Duration) -> bool {
        if self.is_dialing || now < self.dial_at {
            return false;
        }
        match &self.current {
            None => true,
            Some((link, _)) => {
                self.successor.is_none() && link.replace_at.is_some_and(|at| at <= now)
            }
        }
    }

    fn start_dial(&mut self, now: Duration, ctx: &mut Context<Self>) {
        let (setup, address) = (&self.setup, self.setup.address.clone());
        let messages = self.messages_per_address();
        let taken = setup.budgets.take(setup.host, &setup.limits, messages, now);
        if let Err(wait) = taken {
            let wait_ms = wait.as_millis();
            // At the start connections queue for a moment where few a second are allowed.
            match wait > QUEUE_MAX {
                true => {
                    tracing::warn!(connection = %self.name, wait_ms, "connection attempts used up");
                }
                false => tracing::debug!(connection = %self.name, wait_ms, "waits for its turn"),
            }
            self.dial_at = now + wait;
            return;
        }
        self.is_dialing = true;
        let (tls, clock) = (setup.tls.clone(), setup.clock.clone());
        let attempt = async move {
            let url = address.url().await.map_err(|reason| DialError {
                reason,
                refusal: None,
            })?;
            let dialing = std::pin::pin!(dial(&url, tls));
            match select(dialing, clock.sleep(DIAL_TIMEOUT)).await {
                Either::Left((Ok(wire), _)) => Ok(wire),
                Either::Left((Err(error), _)) => Err(error),
                Either::Right(_) => Err(DialError {
                    reason: "no answer to the handshake".to_owned(),
                    refusal: None,
                }),
            }
        };
        ctx.spawn(
            attempt
                .into_actor(self)
                .map(|result, actor, ctx| actor.dialed(result, ctx)),
        );
    }

    /// The host's limit on messages of all connections.
    fn messages_per_address(&self) -> Option<u32> {
        let market = self.setup.plan.borrow().market;
        self.exchange.messages_per_address(market)
    }

    fn dialed(&mut self, result: Result<Wire, DialError>, ctx: &mut Context<Self>) {
        self.is_dialing = false;
        let now = self.setup.clock.monotonic();
        self.setup.meter.attempt(now, result.is_ok());
        match result {
            Ok(wire) => self.open(wire, now, ctx),
            Err(DialError { reason, refusal }) => {
                let (setup, messages) = (&self.setup, self.messages_per_address());
                let pause = refusal.map(|refusal| refusal.pause(&setup.limits));
                if let Some(pause) = pause {
                    let budgets = &setup.budgets;
                    budgets.refuse(setup.host, &setup.limits, messages, now, pause);
                }
                let pause = self.backoff.fail().max(pause.unwrap_or_default());
                self.dial_at = now + pause;
                self.setup.plan.borrow_mut().trouble = Some(reason.clone());
                tracing::warn!(
                    provider = self.provider.name(), connection = %self.name, reason,
                    retry_ms = pause.as_millis(), "can't connect"
                );
                if self.current.is_none() {
                    self.tell_down(&reason);
                    self.look_for_maintenance(ctx);
                }
            }
        }
        self.drive(ctx);
    }

    fn open(&mut self, wire: Wire, now: Duration, ctx: &mut Context<Self>) {
        let id = self.next_link;
        self.next_link += 1;
        let (socket, out) = Socket::new(wire, id, self.setup.clock.clone());
        let market = self.setup.plan.borrow().market;
        let table = self.setup.state.borrow().table().clone();
        let setup = &self.setup;
        let messages = self.messages_per_address();
        let messages = setup.budgets.messages(setup.host, &setup.limits, messages);
        let per_hour = self.exchange.requests_per_hour(market);
        let mut link = Link {
            id,
            reader: ctx.add_stream(socket),
            out,
            decoder: self.exchange.decoder(market, table),
            ledger: Ledger::new(self.setup.limits, messages, per_hour),
            opened_at: now,
            inbound_at: now,
            has_pinged: false,
            kept_at: now,
            data_at: None,
            replace_at: self.setup.limits.lifetime_secs.map(|secs| {
                // A twentieth early, and not all at the same moment.
                let share = rand::rng().random_range(0.90..0.95);
                now + Duration::from_secs(secs).mul_f64(share)
            }),
        };
        tracing::info!(provider = self.provider.name(), connection = %self.name, link = id, "connected");
        let route = self.setup.plan.borrow().route;
        for text in self.exchange.on_open(market, route) {
            link.ledger.count_message(now);
            link.out.text(text);
        }
        {
            let mut plan = self.setup.plan.borrow_mut();
            plan.opened += 1;
            plan.trouble = None;
        }
        if self.current.is_some() {
            self.successor = Some(link);
            return;
        }
        let guard = UpGuard {
            meter: self.setup.meter.clone(),
            plan: self.setup.plan.clone(),
        };
        self.current = Some((link, guard));
        self.setup.plan.borrow_mut().is_up = true;
        let all_up = self.setup.meter.connection_up(true);
        let was = self
            .setup
            .meter
            .incidents
            .end(&self.subject(), self.moment());
        if self.is_down_told || !self.was_up {
            self.is_down_told = false;
            self.is_maintenance_told = false;
            self.was_up = true;
            if all_up {
                self.setup.state.borrow_mut().announce(
                    self.provider,
                    None,
                    StatusState::Connected,
                    after(&format!("{} connected", self.name), was.as_ref()),
                );
            }
        }
    }

    fn subject(&self) -> Subject {
        Subject::Connection(self.setup.shard, self.name.clone())
    }

    fn moment(&self) -> Moment {
        Moment::of(&*self.setup.clock)
    }

    fn tell_down(&mut self, reason: &str) {
        let (incidents, subject) = (&self.setup.meter.incidents, self.subject());
        incidents.begin(
            subject.clone(),
            Cause::Told(reason.to_owned()),
            self.moment(),
        );
        incidents.hinder(&subject, reason);
        if self.is_down_told {
            return;
        }
        self.is_down_told = true;
        self.is_maintenance_told = self.setup.meter.is_maintenance();
        let state = match self.is_maintenance_told {
            true => StatusState::Maintenance,
            false => StatusState::Disconnected,
        };
        let reason = format!("{}: {reason}", self.name);
        self.setup
            .state
            .borrow_mut()
            .announce(self.provider, None, state, reason);
    }

    /// A handshake does not say why it fails; the exchange's other interface does.
    fn look_for_maintenance(&mut self, ctx: &mut Context<Self>) {
        if self.is_maintenance_told {
            return;
        }
        let asked = (self.setup.probe)();
        ctx.spawn(asked.into_actor(self).map(|(), actor, _| {
            let is_down = actor.current.is_none() && !actor.is_maintenance_told;
            if is_down && actor.setup.meter.is_maintenance() {
                actor.is_down_told = false;
                actor.tell_down("the exchange is being maintained");
            }
        }));
    }

    /// A link has ended or is given up.
    fn lose(&mut self, id: u32, reason: &str, ctx: &mut Context<Self>) {
        let now = self.setup.clock.monotonic();
        if self.successor.as_ref().is_some_and(|link| link.id == id) {
            if let Some(link) = self.successor.take() {
                ctx.cancel_future(link.reader);
                self.dial_at = now + self.pause_after(&link);
            }
            tracing::warn!(connection = %self.name, link = id, reason, "successor lost");
            return;
        }
        if self.current.as_ref().is_none_or(|(link, _)| link.id != id) {
            return;
        }
        let Some((link, guard)) = self.current.take() else {
            return;
        };
        ctx.cancel_future(link.reader);
        tracing::warn!(
            provider = self.provider.name(), connection = %self.name, link = id, reason,
            "connection lost"
        );
        if let Some(successor) = self.successor.take() {
            // It has been delivering: streams it does not carry yet are the only ones lost.
            let carried: Vec<StreamKey> = successor.ledger.live().collect();
            self.streams_down(link.ledger.keys().filter(|key| !carried.contains(key)));
            self.current = Some((successor, guard));
            return;
        }
        self.setup.meter.reconnect(now, reason);
        self.setup.plan.borrow_mut().trouble = Some(reason.to_owned());
        drop(guard);
        self.streams_down(link.ledger.keys());
        if link.data_at.is_some() && now.saturating_sub(link.opened_at) >= GOOD_AFTER {
            self.backoff.reset();
        }
        self.dial_at = now + self.pause_after(&link);
        self.tell_down(reason);
    }

    /// Time to leave the exchange alone after this link.
    fn pause_after(&mut self, link: &Link) -> Duration {
        match link.data_at {
            Some(_) => self.backoff.fail_within(SERVED_RETRY_MAX),
            None => self.backoff.fail(),
        }
    }

    fn streams_down(&self, keys: impl Iterator<Item = StreamKey>) {
        let mut state = self.setup.state.borrow_mut();
        for key in keys {
            state.on_stream_down(key.instrument, key.feed);
        }
    }

    /// Sends what the exchange's limit allows now.
    fn send_requests(&mut self, now: Duration) {
        let plan = self.setup.plan.borrow();
        let mut dead = false;
        for link in links(&mut self.current, &mut self.successor) {
            link.ledger.want(&plan.streams, plan.revision);
            while let Some(text) = link.ledger.next_request(self.exchange, plan.market, now) {
                dead |= !link.out.text(text);
            }
            if link.ledger.is_used_up() && link.replace_at.is_none_or(|at| at > now) {
                tracing::info!(
                    connection = %self.name, link = link.id,
                    "has sent all that it may in an hour, changing over"
                );
                link.replace_at = Some(now);
            }
        }
        if dead {
            tracing::warn!(connection = %self.name, "the exchange does not read our requests");
        }
    }

    /// Puts the successor in place of the current link once it delivers.
    fn change_over(&mut self, now: Duration, ctx: &mut Context<Self>) {
        let is_ready = self.successor.as_ref().is_some_and(|link| {
            let is_patient = now.saturating_sub(link.opened_at) >= SUCCESSOR_PATIENCE;
            link.ledger.is_complete() && (link.data_at.is_some() || is_patient)
        });
        if !is_ready {
            return;
        }
        if let (Some(new), Some((current, _))) = (self.successor.take(), &mut self.current) {
            let (old, id) = (current.id, new.id);
            ctx.cancel_future(current.reader);
            *current = new;
            self.backoff.reset();
            tracing::info!(connection = %self.name, old, link = id, "changed over");
        }
    }

    fn on_text(&mut self, id: u32, at: ReadAt, text: &[u8], ctx: &mut Context<Self>) {
        if let Some(tap) = &self.setup.tap {
            tap.push(RawMessage {
                provider: self.provider,
                market: self.setup.plan.borrow().market,
                source: RawSource::Frame {
                    route: self.setup.route,
                },
                ts_recv: at.wall,
                raw: Bytes::copy_from_slice(text),
            });
        }
        let current = self.current.as_mut().map(|(link, _)| link);
        let link = current
            .into_iter()
            .chain(self.successor.as_mut())
            .find(|link| link.id == id);
        let Some(link) = link else { return };
        link.inbound_at = at.monotonic;
        link.has_pinged = false;
        let mut state = self.setup.state.borrow_mut();
        let result = state.on_frame(&mut *link.decoder, text, at, &mut self.controls);
        match result {
            Ok(has_data) => {
                if has_data {
                    link.data_at = Some(at.monotonic);
                    self.setup.meter.data(at.wall);
                }
            }
            Err(error) => {
                state.on_malformed(text, link.ledger.keys());
                self.malformed += 1;
                if self.malformed <= MALFORMED_TOLD {
                    tracing::warn!(
                        provider = self.provider.name(), connection = %self.name, %error,
                        bytes = text.len(), "frame can't be read"
                    );
                }
            }
        }
        drop(state);
        if !self.controls.is_empty() {
            let controls = std::mem::take(&mut self.controls);
            for control in &controls {
                self.on_control(id, control, ctx);
            }
            self.controls = controls;
            self.controls.clear();
            self.drive(ctx);
        }
    }

    fn on_control(&mut self, id: u32, control: &Control, ctx: &mut Context<Self>) {
        let now = self.setup.clock.monotonic();
        let name = self.name.clone();
        let Some(link) = self.link_mut(id) else {
            return;
        };
        match control {
            Control::Ack { id } => {
                let live = link.ledger.on_ack(*id, now);
                let mut state = self.setup.state.borrow_mut();
                for key in live {
                    state.on_stream_up(key.instrument, key.feed, now);
                }
            }
            Control::StreamAck {
                stream,
                is_subscribed: true,
            } => {
                if let Some(key) = link.ledger.on_stream_ack(stream, now) {
                    let mut state = self.setup.state.borrow_mut();
                    state.on_stream_up(key.instrument, key.feed, now);
                }
            }
            Control::Subscriptions { streams, .. } => {
                let live = link.ledger.on_list(streams, now);
                let mut state = self.setup.state.borrow_mut();
                for key in live {
                    state.on_stream_up(key.instrument, key.feed, now);
                }
            }
            Control::Error {
                id,
                stream,
                code,
                message,
            } => {
                let failed = match stream {
                    Some(name) => link.ledger.on_stream_error(name, now),
                    None => link.ledger.on_error(*id, now),
                };
                let reason = format!("{code} {message}");
                tracing::warn!(connection = %name, reason, "the exchange refuses a request");
                self.subscribe_failed(&failed, &reason);
            }
            Control::StreamLost { stream, reason } => {
                tracing::warn!(connection = %name, stream, reason, "stream lost");
                if let Some(key) = link.ledger.on_stream_lost(stream, now) {
                    let counters = self.setup.state.borrow();
                    counters.counters().subscribe_failures.add(1);
                    drop(counters);
                    self.streams_down(std::iter::once(key));
                    // A book's loss has been told with it.
                    if key.feed != Feed::Book {
                        self.setup.state.borrow_mut().announce(
                            self.provider,
                            Some(key.instrument),
                            StatusState::Stale,
                            reason.clone(),
                        );
                    }
                }
            }
            Control::Shutdown => {
                tracing::info!(connection = %name, "the exchange announces its shutdown");
                link.replace_at = Some(now);
                self.dial_at = now;
            }
            Control::Lost { expected, got } => {
                let reason = format!("frames lost: {expected} expected, {got} came");
                self.lose(id, &reason, ctx);
            }
            Control::BadBook { instrument } => {
                let mut state = self.setup.state.borrow_mut();
                state.desync(*instrument, DesyncReason::Checksum);
            }
            Control::Maintenance { message } => {
                tracing::warn!(connection = %name, message, "the exchange announces maintenance");
                let reason = format!("announced: {message}");
                self.setup.meter.maintained(self.moment(), &reason);
                self.setup.state.borrow_mut().announce(
                    self.provider,
                    None,
                    StatusState::Maintenance,
                    message.clone(),
                );
            }
            Control::StreamAck { .. } | Control::Heartbeat => {}
        }
    }
}

/// The links that exist.
fn links<'a>(
    current: &'a mut Option<(Link, UpGuard)>,
    successor: &'a mut Option<Link>,
) -> impl Iterator<Item = &'a mut Link> {
    let current = current.as_mut().map(|(link, _)| link);
    current.into_iter().chain(successor.as_mut())
}

impl Actor for ExchangeConnection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let keys: Vec<StreamKey> = {
            let mut plan = self.setup.plan.borrow_mut();
            plan.starts += 1;
            // Only after a panic: whatever was live is not any more.
            let was_started = plan.starts > 1;
            plan.streams
                .values()
                .copied()
                .filter(|_| was_started)
                .collect()
        };
        self.streams_down(keys.into_iter());
        let clock = self.setup.clock.clone();
        let ticks = stream::unfold(clock, |clock| async move {
            clock.sleep(TICK).await;
            Some((Tick, clock))
        });
        ctx.add_stream(ticks);
        self.drive(ctx);
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.life.stopped();
    }
}

impl StreamHandler<Tick> for ExchangeConnection {
    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.drive(ctx);
    }
}

impl StreamHandler<Inbound> for ExchangeConnection {
    fn handle(&mut self, inbound: Inbound, ctx: &mut Self::Context) {
        match inbound {
            Inbound::Text { link, at, text } => {
                self.on_text(link, at, text.as_bytes(), ctx);
            }
            Inbound::Alive { link, at } => {
                if let Some(link) = self.link_mut(link) {
                    link.inbound_at = at.monotonic;
                    link.has_pinged = false;
                }
            }
            Inbound::Binary { link, at } => {
                self.setup.state.borrow().counters().malformed.add(1);
                if let Some(link) = self.link_mut(link) {
                    link.inbound_at = at.monotonic;
                }
            }
            Inbound::Closed { link, reason } => {
                self.lose(link, &reason, ctx);
                self.drive(ctx);
            }
        }
    }

    /// A link's end is not the actor's.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl Handler<Nudge> for ExchangeConnection {
    type Result = ();

    fn handle(&mut self, _: Nudge, ctx: &mut Self::Context) {
        self.drive(ctx);
    }
}

impl Handler<ReconnectNow> for ExchangeConnection {
    type Result = ();

    fn handle(&mut self, _: ReconnectNow, ctx: &mut Self::Context) {
        if let Some(id) = self.successor.as_ref().map(|link| link.id) {
            self.lose(id, "requested", ctx);
        }
        if let Some(id) = self.current.as_ref().map(|(link, _)| link.id) {
            self.lose(id, "requested", ctx);
        }
        self.backoff.reset();
        self.dial_at = Duration::ZERO;
        self.drive(ctx);
    }
}

impl Handler<Renew> for ExchangeConnection {
    type Result = ();

    fn handle(&mut self, message: Renew, ctx: &mut Self::Context) {
        if let Some((link, _)) = &mut self.current {
            link.ledger.renew(message.0);
        }
        self.drive(ctx);
    }
}

impl Handler<UseTable> for ExchangeConnection {
    type Result = ();

    fn handle(&mut self, message: UseTable, _: &mut Self::Context) {
        for link in links(&mut self.current, &mut self.successor) {
            link.decoder.set_table(message.0.clone());
        }
    }
}

impl Handler<StopConnection> for ExchangeConnection {
    type Result = ();

    fn handle(&mut self, _: StopConnection, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests;
