//! Private streams: one task for each connection that an exchange tells an account's events on.

use std::rc::Rc;
use std::time::Duration;

use bookwire_engine::trading::venue::{Facts, PrivateSession, Step};
use futures_util::future::{Either, select};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

use super::desk::{Desk, Readiness};
use super::live::Live;
use crate::connection::socket::{Wire as Socket, dial};
use crate::rest_client::budget::Priority;
use crate::rest_client::tls_config;

/// Longest time until a connection is logged in.
const LOGIN: Duration = Duration::from_secs(15);
/// A silent connection is pinged this often.
const PING: Duration = Duration::from_secs(10);

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
    let mut wait = Duration::from_millis(250);
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
        // A link that was good is tried again at once, and nobody trades meanwhile: a few seconds are
        // the longest that it is left alone.
        if was_up {
            wait = Duration::from_millis(250);
        }
        let least = match is_refused {
            true => Duration::from_secs(10),
            false => Duration::ZERO,
        };
        let jitter = rand::random_range(0.5..1.0);
        let pause = std::pin::pin!(desk.clock.sleep(wait.max(least).mul_f64(jitter)));
        // What was refused may be taken from another key at once.
        let rotated = std::pin::pin!(live.keys.after(epoch));
        if let Either::Right(_) = select(pause, rotated).await {
            wait = Duration::from_millis(250);
            continue;
        }
        wait = (wait * 2).min(Duration::from_secs(5));
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
    let base = desk.options.stream_base(place.host, place.base_url);
    let url = format!("{base}{}", session.path());
    let dialed = tokio::time::timeout(LOGIN, dial(&url, tls_config())).await;
    let mut socket = match dialed {
        Ok(Ok(socket)) => socket,
        // The address can have a key in it: only the reason is told.
        Ok(Err(error)) => return lost("can't connect", &error.reason),
        Err(_) => return End::Lost("can't connect in time".to_owned()),
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
    listen(desk, live, (route, is_ready), session.as_mut(), &mut socket).await
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
    session: &mut dyn PrivateSession,
    socket: &mut Socket,
) -> End {
    let clock = &desk.clock;
    let silence = Duration::from_secs(live.venue.private_routes()[route].silence_secs);
    let begun = clock.monotonic();
    let mut heard = begun;
    let mut renewed = begun;
    let mut kept = begun;
    let mut pinged = begun;
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            message = socket.next() => Some(message),
            _ = tick.tick() => None,
        };
        let now = clock.monotonic();
        let Some(message) = message else {
            if now.saturating_sub(heard) > silence {
                return End::Lost(format!("silent for {} s", silence.as_secs()));
            }
            if !is_ready && now.saturating_sub(begun) > LOGIN {
                return End::Lost("the login was not answered".to_owned());
            }
            if let Some(end) = due(live, session, socket, now, &mut kept, &mut renewed).await {
                return end;
            }
            if now.saturating_sub(heard.max(pinged)) > PING {
                pinged = now;
                if let Err(error) = socket.send(Message::Ping(Default::default())).await {
                    return End::Lost(format!("can't send: {error}"));
                }
            }
            continue;
        };
        heard = now;
        let text = match message {
            None => return End::Lost("the exchange closed it".to_owned()),
            Some(Err(error)) => return End::Lost(error.to_string()),
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => {
                let reason = frame.map_or_else(String::new, |frame| frame.reason.to_string());
                return End::Lost(format!("the exchange closed it: {reason}"));
            }
            // Pings are answered by the library with the next thing sent.
            Some(Ok(_)) => {
                if let Err(error) = socket.flush().await {
                    return End::Lost(error.to_string());
                }
                continue;
            }
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

/// What is due by time: a text that keeps it open, a renewal.
async fn due(
    live: &Live,
    session: &dyn PrivateSession,
    socket: &mut Socket,
    now: Duration,
    kept: &mut Duration,
    renewed: &mut Duration,
) -> Option<End> {
    if let Some(keepalive) = session.keepalive()
        && now.saturating_sub(*kept) >= Duration::from_secs(keepalive.every_secs)
    {
        *kept = now;
        if let Err(error) = socket.send(Message::text(keepalive.text)).await {
            return Some(End::Lost(error.to_string()));
        }
    }
    if let Some((secs, request)) = session.renewal()
        && now.saturating_sub(*renewed) >= Duration::from_secs(secs)
    {
        *renewed = now;
        if let Ok(Err(failure)) = live.attempt(&request, Priority::Live).await {
            return Some(End::Lost(failure.error.message));
        }
    }
    None
}
