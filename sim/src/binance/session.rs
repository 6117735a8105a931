//! One stream connection: control requests, pings, limits, and the end of it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::core::Core;
use super::hub::{Fate, HALF_OPEN_MAX, Port};
use super::protocol::{self, Request};
use super::server::{Exchange, stopped};
use super::stream::Opening;
use crate::config::ConnectionLimits;

/// Messages written before the socket is flushed.
const BATCH: usize = 64;
/// How long a close frame may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Why a connection ends.
enum End {
    /// The peer went, or the socket failed.
    Gone,
    /// Close frame with this code and text.
    Close(u16, &'static str),
    /// Without a word.
    Abort,
    /// Not at all: it is only dead.
    HalfOpen,
}

struct Session<S> {
    socket: WebSocketStream<S>,
    exchange: Arc<Exchange>,
    port: Port,
    limits: ConnectionLimits,
    opening: Opening,
    /// Unanswered pings and when each of them is overdue.
    pings: VecDeque<(Bytes, Instant)>,
    next_ping: Instant,
    lifetime_end: Instant,
    /// When the last messages of the client came.
    inbound: VecDeque<Instant>,
}

/// Serves a connection until it ends.
pub(crate) async fn run<S>(
    socket: WebSocketStream<S>,
    exchange: Arc<Exchange>,
    opening: Opening,
    limits: ConnectionLimits,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let now = Instant::now();
    let port = {
        let mut core = exchange.core.lock();
        let port = core
            .hub
            .open(opening.route, opening.is_combined, limits.queue_max);
        for name in &opening.streams {
            // A name that is none is ignored here: the URL has no answer to put an error in.
            let topic = core
                .topic(opening.route.market(), name, opening.micros)
                .flatten();
            core.subscribe(port.id, name, topic);
        }
        port
    };
    let id = port.id;
    let mut session = Session {
        socket,
        exchange: Arc::clone(&exchange),
        port,
        limits,
        opening,
        pings: VecDeque::new(),
        next_ping: now + limits.ping_every,
        lifetime_end: now + limits.lifetime,
        inbound: VecDeque::new(),
    };
    let end = session.serve().await;
    exchange.core.lock().hub.close(id);
    session.finish(end).await;
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    async fn serve(&mut self) -> End {
        let mut batch = Vec::with_capacity(BATCH);
        let mut stop = self.exchange.stop.clone();
        loop {
            let wake = self.next_wake();
            tokio::select! {
                biased;
                _ = self.port.fate.changed() => return self.fate(),
                () = stopped(&mut stop) => return End::Close(1001, "going away"),
                () = tokio::time::sleep_until(wake) => {
                    if let Some(end) = self.on_time().await {
                        return end;
                    }
                }
                incoming = self.socket.next() => match incoming {
                    Some(Ok(message)) => {
                        if let Some(end) = self.on_message(message) {
                            return end;
                        }
                    }
                    Some(Err(_)) | None => return End::Gone,
                },
                count = self.port.queue.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return self.fate();
                    }
                    if let Some(end) = self.write(&mut batch).await {
                        return end;
                    }
                }
            }
        }
    }

    fn fate(&self) -> End {
        match *self.port.fate.borrow() {
            Fate::Live | Fate::Abort => End::Abort,
            Fate::HalfOpen => End::HalfOpen,
            Fate::Close(code) => End::Close(code, "going away"),
        }
    }

    fn next_wake(&self) -> Instant {
        let overdue = self.pings.front().map_or(self.lifetime_end, |(_, at)| *at);
        self.next_ping.min(self.lifetime_end).min(overdue)
    }

    async fn on_time(&mut self) -> Option<End> {
        let now = Instant::now();
        if now >= self.lifetime_end {
            return Some(End::Close(1001, "connection lifetime reached"));
        }
        if self
            .pings
            .front()
            .is_some_and(|(_, overdue)| now >= *overdue)
        {
            return Some(End::Close(1008, "Pong timeout"));
        }
        if now >= self.next_ping {
            self.next_ping = now + self.limits.ping_every;
            let payload = Bytes::from(self.exchange.core.lock().clock.now_ms().to_string());
            self.pings
                .push_back((payload.clone(), now + self.limits.pong_within));
            let send = self.socket.send(Message::Ping(payload));
            return within_life(&mut self.port.fate, send).await;
        }
        None
    }

    async fn write(&mut self, batch: &mut Vec<Utf8Bytes>) -> Option<End> {
        let socket = &mut self.socket;
        let send = async {
            for text in batch.drain(..) {
                socket.feed(Message::Text(text)).await?;
            }
            socket.flush().await
        };
        within_life(&mut self.port.fate, send).await
    }

    fn on_message(&mut self, message: Message) -> Option<End> {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        while self.inbound.front().is_some_and(|at| now - *at >= second) {
            self.inbound.pop_front();
        }
        self.inbound.push_back(now);
        if self.inbound.len() > self.limits.inbound_per_second as usize {
            return Some(End::Close(1008, "Too many requests"));
        }
        match message {
            Message::Text(text) => self.on_request(&text),
            Message::Binary(_) => self.on_request("\0"),
            Message::Pong(payload) => {
                // Only an echo of our own payload counts; it settles the pings before it too.
                if let Some(at) = self.pings.iter().position(|(sent, _)| *sent == payload) {
                    self.pings.drain(..=at);
                }
            }
            Message::Close(_) => return Some(End::Gone),
            Message::Ping(_) | Message::Frame(_) => {}
        }
        None
    }

    fn on_request(&mut self, text: &str) {
        let (id, request) = protocol::parse(text);
        let mut core = self.exchange.core.lock();
        let core = &mut *core;
        let session = self.port.id;
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
                core.hub.set_combined(session, is_combined);
                Value::Null
            }
            Ok(Request::GetCombined) => Value::from(core.hub.is_combined(session)),
        };
        core.hub.reply(session, protocol::answer(&result, &id));
    }

    fn subscribe(&self, core: &mut Core, names: &[String], id: &Value) {
        let session = self.port.id;
        let (market, micros) = (self.opening.route.market(), self.opening.micros);
        let topics: Option<Vec<_>> = names
            .iter()
            .map(|name| core.topic(market, name, micros))
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
            core.subscribe(session, name, topic);
        }
    }

    async fn finish(&mut self, end: End) {
        match end {
            End::Gone | End::Abort => {}
            End::Close(code, reason) => {
                let frame = CloseFrame {
                    code: CloseCode::from(code),
                    reason: reason.to_owned().into(),
                };
                let close = async {
                    let _ = self.socket.close(Some(frame)).await;
                    // The peer's answer to it, if it gives one.
                    while let Some(Ok(_)) = self.socket.next().await {}
                };
                let _ = tokio::time::timeout(CLOSE_WITHIN, close).await;
            }
            End::HalfOpen => {
                let mut stop = self.exchange.stop.clone();
                let _ = tokio::time::timeout(HALF_OPEN_MAX, stopped(&mut stop)).await;
            }
        }
    }
}

/// Waits for a write, unless the connection's fate comes first: a client that does not read would
/// hold it up for good.
async fn within_life<E>(
    fate: &mut watch::Receiver<Fate>,
    write: impl Future<Output = Result<(), E>>,
) -> Option<End> {
    let sealed = async {
        match fate
            .wait_for(|fate| *fate != Fate::Live)
            .await
            .map(|fate| *fate)
        {
            Ok(Fate::HalfOpen) => End::HalfOpen,
            Ok(Fate::Close(code)) => End::Close(code, "going away"),
            _ => End::Abort,
        }
    };
    tokio::select! {
        biased;
        end = sealed => Some(end),
        written = write => written.err().map(|_| End::Gone),
    }
}
