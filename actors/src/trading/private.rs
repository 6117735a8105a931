//! Private streams: one task for each connection that an exchange tells an account's events on.

use std::rc::Rc;
use std::time::Duration;

use bookwire_engine::trading::venue::{Facts, PrivateSession, Step};
use futures_util::future::{Either, select};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::desk::{Desk, Readiness};
use super::link::{self, LOGIN, Pauses, Pulse};
use super::live::Live;
use crate::connection::socket::Wire as Socket;
use crate::rest_client::budget::Priority;

/// Why a life ended.
enum End {
    /// Wrong key or the like: trying again soon is no use.
    Refused(String),
    /// Another key is in force.
    Rotated,
    /// Anything else.
    Lost(String),
}

/// Keeps a connection for ever.
pub(crate) async fn keep(desk: Rc<Desk>, live: Live, route: usize) {
    let mut pauses = Pauses::default();
    loop {
        let epoch = live.keys.epoch();
        let end = {
            let life = std::pin::pin!(life(&desk, &live, route));
            let rotated = std::pin::pin!(live.keys.after(epoch));
            match select(life, rotated).await {
                Either::Left((end, _)) => end,
                Either::Right(_) => End::Rotated,
            }
        };
        let was_up = desk.state.borrow().streams_up.get(route) == Some(&true);
        let (reason, is_refused) = match end {
            End::Refused(reason) => (reason, true),
            End::Lost(reason) => (reason, false),
            End::Rotated => ("it logs in with another key".to_owned(), false),
        };
        let name = live.venue.private_routes()[route].name;
        tracing::warn!(provider = desk.provider.name(), account = %desk.options.name, route = name,
            %reason, "the private stream is down");
        {
            let mut state = desk.state.borrow_mut();
            if let Some(up) = state.streams_up.get_mut(route) {
                *up = false;
            }
            state.stats.private_reconnects += u64::from(was_up);
            state.readiness = Readiness::NotReady(format!("the {name} stream is down: {reason}"));
        }
        let pause = std::pin::pin!(desk.clock.sleep(pauses.next(was_up, is_refused)));
        // What was refused may be taken from another key at once.
        let rotated = std::pin::pin!(live.keys.after(epoch));
        if let Either::Right(_) = select(pause, rotated).await {
            pauses = Pauses::default();
        }
    }
}

async fn life(desk: &Rc<Desk>, live: &Live, route: usize) -> End {
    let lost = |what: &str, error: &dyn std::fmt::Display| End::Lost(format!("{what}: {error}"));
    let place = &live.venue.private_routes()[route];
    let mut session = live.venue.private_session(route);
    if let Some(request) = session.ticket_request() {
        match live.attempt(&request, Priority::Live).await {
            Ok(Ok(body)) => {
                if let Err(error) = session.ticket(&body) {
                    return lost("the stream's key can't be read", &error);
                }
            }
            Ok(Err(failure)) => return lost("no key for the stream", &failure.error.message),
            Err(error) => return lost("no key for the stream", &error.message),
        }
    }
    let base = match live.stream_base(&desk.options, place).await {
        Ok(base) => base,
        Err(reason) => return End::Lost(reason),
    };
    let url = format!("{base}{}", session.path());
    let mut socket = match link::open(live, place.host, place.markets, &url).await {
        Ok(socket) => socket,
        Err(reason) => return End::Lost(reason),
    };
    for text in session.opened(&live.keys.get(), live.exchange_now()) {
        if let Err(error) = socket.send(Message::text(text)).await {
            return lost("can't send", &error);
        }
    }
    let is_ready = session.is_ready_once_open();
    if is_ready {
        up(desk, route);
    }
    let watched = Watched::default();
    listen(
        desk,
        live,
        (route, is_ready),
        (session.as_mut(), &mut socket),
        watched,
    )
    .await
}

/// Whether the exchange begins to count when this connection ends.
#[derive(Default)]
struct Watched(Option<Rc<Desk>>);

impl Watched {
    /// Has it do so from now on, where that is wanted, and no longer when the end is.
    async fn keep(
        &mut self,
        desk: &Rc<Desk>,
        session: &dyn PrivateSession,
        socket: &mut Socket,
    ) -> Result<(), String> {
        let is_wanted = desk.options.dead_man_secs > 0 && !desk.state.borrow().is_leaving;
        if is_wanted == self.0.is_some() {
            return Ok(());
        }
        let Some(text) = session.watch(is_wanted) else {
            return Ok(());
        };
        socket
            .send(Message::text(text))
            .await
            .map_err(|error| error.to_string())?;
        let mut state = desk.state.borrow_mut();
        match is_wanted {
            true => {
                state.watched += 1;
                self.0 = Some(desk.clone());
            }
            false => {
                state.watched -= 1;
                self.0 = None;
            }
        }
        Ok(())
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(desk) = &self.0 {
            desk.state.borrow_mut().watched -= 1;
        }
    }
}

/// A stream tells events from now on; what happened while it was down is asked for.
fn up(desk: &Desk, route: usize) {
    let mut state = desk.state.borrow_mut();
    if let Some(up) = state.streams_up.get_mut(route) {
        *up = true;
    }
    state.stats.wants_reconciliation = true;
}

async fn listen(
    desk: &Rc<Desk>,
    live: &Live,
    (route, mut is_ready): (usize, bool),
    (session, socket): (&mut dyn PrivateSession, &mut Socket),
    mut watched: Watched,
) -> End {
    let clock = &desk.clock;
    let silence_secs = live.venue.private_routes()[route].silence_secs;
    let mut pulse = Pulse::new(clock.monotonic());
    let mut renewed = clock.monotonic();
    let mut ticks = link::ticks();
    loop {
        if is_ready && let Err(reason) = watched.keep(desk, session, socket).await {
            return End::Lost(reason);
        }
        let message = tokio::select! {
            message = socket.next() => Some(message),
            _ = ticks.tick() => None,
        };
        let now = clock.monotonic();
        let Some(message) = message else {
            if !is_ready && pulse.age(now) > LOGIN {
                return End::Lost("the login was not answered".to_owned());
            }
            let beat = pulse.beat(socket, now, silence_secs, session.keepalive());
            if let Err(reason) = beat.await {
                return End::Lost(reason);
            }
            if let Some(end) = renew(live, session, now, &mut renewed).await {
                return end;
            }
            continue;
        };
        pulse.hear(now);
        let text = match link::text_of(message, socket).await {
            Ok(Some(text)) => text,
            Ok(None) => continue,
            Err(reason) => return End::Lost(reason),
        };
        let mut facts = Facts::default();
        let table = desk.table();
        let step = session.frame(
            text.as_bytes(),
            &table,
            &live.keys.get(),
            live.exchange_now(),
            &mut facts,
        );
        if !facts.is_empty() {
            desk.take(&facts);
        }
        match step {
            Ok(Step::Wait) => {}
            Ok(Step::Send(texts)) => {
                for text in texts {
                    if let Err(error) = socket.send(Message::text(text)).await {
                        return End::Lost(error.to_string());
                    }
                }
            }
            Ok(Step::Ready) => {
                is_ready = true;
                up(desk, route);
            }
            Ok(Step::Ask) => desk.state.borrow_mut().stats.wants_reconciliation = true,
            Ok(Step::Refused(error)) => return End::Refused(error.message),
            Ok(Step::Reconnect(reason)) => return End::Lost(reason),
            Err(error) => {
                // Something of an order may have been in it: what it was is asked for.
                tracing::warn!(provider = desk.provider.name(), %error, "a private message can't be read");
                let mut state = desk.state.borrow_mut();
                state.stats.unreadable += 1;
                state.stats.wants_reconciliation = true;
            }
        }
    }
}

/// Repeats what has to be repeated while it lives.
async fn renew(
    live: &Live,
    session: &dyn PrivateSession,
    now: Duration,
    renewed: &mut Duration,
) -> Option<End> {
    let (secs, request) = session.renewal()?;
    if now.saturating_sub(*renewed) < Duration::from_secs(secs) {
        return None;
    }
    *renewed = now;
    match live.attempt(&request, Priority::Live).await {
        Ok(Err(failure)) => Some(End::Lost(failure.error.message)),
        _ => None,
    }
}
