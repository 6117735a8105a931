//! One stream connection: control requests and their answers.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::core::Core;
use super::protocol::{self, Request};
use super::server::Exchange;
use super::stream::{Opening, Topic};
use crate::account::AccountId;
use crate::account::private::Listener;
use crate::config::ConnectionLimits;
use crate::market::Segment;
use crate::venue::server::Socket;
use crate::venue::session::{self, Dialog, End, Pace};
use crate::venue::{Envelope, SessionId};

/// What a connection makes of messages: the wrapper of combined streams.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wrapper {
    pub(crate) market: Segment,
    pub(crate) is_combined: bool,
}

impl Envelope for Wrapper {
    const IS_SHARED: bool = true;

    fn market(&self) -> Option<Segment> {
        Some(self.market)
    }

    fn is_plain(&self) -> bool {
        !self.is_combined
    }

    fn seal(&mut self, name: &str, body: &str) -> String {
        format!("{{\"stream\":\"{name}\",\"data\":{body}}}")
    }
}

struct Talk {
    exchange: Arc<Exchange>,
    id: SessionId,
    limits: ConnectionLimits,
    opening: Opening,
}

/// Serves a connection until it ends.
pub(crate) async fn run(
    socket: Socket,
    exchange: Arc<Exchange>,
    opening: Opening,
    listening: Option<(AccountId, String)>,
    limits: ConnectionLimits,
) {
    let port = {
        let mut core = exchange.core.lock();
        let wrapper = Wrapper {
            market: opening.route.market(),
            is_combined: opening.is_combined,
        };
        let port = core.hub.open(wrapper, limits.queue_max);
        for name in &opening.streams {
            // A name that is none is ignored here: the URL has no answer to put an error in.
            let topic = core
                .topic(opening.route.market(), name, opening.micros)
                .flatten();
            core.subscribe(port.id, opening.route, name, topic);
        }
        if let Some((account, channel)) = listening {
            core.listen_private(Listener {
                session: port.id,
                account,
                market: Some(opening.route.market()),
                channel,
            });
        }
        port
    };
    let pace = Pace {
        ping: Some((limits.ping_every, limits.pong_within)),
        lifetime: Some(limits.lifetime),
        inbound_per_second: Some(limits.inbound_per_second),
        ..Pace::default()
    };
    let stop = exchange.stop.clone();
    let talk = Talk {
        exchange,
        id: port.id,
        limits,
        opening,
    };
    session::run(socket, talk, port, pace, stop).await;
}

impl Dialog for Talk {
    fn on_text(&mut self, text: &str) -> Option<End> {
        self.on_request(text);
        None
    }

    fn on_binary(&mut self) -> Option<End> {
        self.on_request("\0");
        None
    }

    fn ping_payload(&self) -> Bytes {
        Bytes::from(self.exchange.core.lock().clock.now_ms().to_string())
    }

    fn closed(&mut self) {
        let mut core = self.exchange.core.lock();
        core.leave_private(|listener| listener.session == self.id);
        core.hub.close(self.id);
    }
}

impl Talk {
    fn on_request(&mut self, text: &str) {
        let (id, request) = protocol::parse(text);
        let mut core = self.exchange.core.lock();
        let core = &mut *core;
        let session = self.id;
        let result = match request {
            Err(refusal) => {
                return core.hub.reply(session, protocol::refusal(&refusal, &id));
            }
            Ok(Request::Subscribe(names)) => return self.subscribe(core, &names, &id),
            Ok(Request::Unsubscribe(names)) => {
                for name in &names {
                    core.hub.unsubscribe(session, name);
                }
                Value::Null
            }
            Ok(Request::List) => {
                let names = core.hub.streams(session);
                Value::Array(names.iter().map(|name| Value::from(&**name)).collect())
            }
            Ok(Request::SetCombined(is_combined)) => {
                if let Some(wrapper) = core.hub.envelope_mut(session) {
                    wrapper.is_combined = is_combined;
                }
                Value::Null
            }
            Ok(Request::GetCombined) => {
                let wrapper = core.hub.envelope(session);
                Value::from(wrapper.is_some_and(|wrapper| wrapper.is_combined))
            }
        };
        core.hub.reply(session, protocol::answer(&result, &id));
    }

    fn subscribe(&self, core: &mut Core, names: &[String], id: &Value) {
        let (session, route) = (self.id, self.opening.route);
        let topics: Option<Vec<Option<Topic>>> = names
            .iter()
            .map(|name| core.topic(route.market(), name, self.opening.micros))
            .collect();
        let refusal = match &topics {
            None => Some(protocol::invalid_stream()),
            Some(topics)
                if core.hub.stream_count(session) + topics.len() > self.limits.streams_max =>
            {
                Some(protocol::too_many_streams(self.limits.streams_max))
            }
            Some(_) => None,
        };
        if let Some(refusal) = refusal {
            return core.hub.reply(session, protocol::refusal(&refusal, id));
        }
        // The answer goes first; data can only follow it in the same queue.
        core.hub.reply(session, protocol::answer(&Value::Null, id));
        for (name, topic) in names.iter().zip(topics.into_iter().flatten()) {
            core.subscribe(session, route, name, topic);
        }
    }
}
