//! One stream connection: its pace, its limits, and the end of it. What a client's text means is
//! the exchange's [`Dialog`].

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::hub::{Fate, HALF_OPEN_MAX, Port};
use super::server::stopped;

/// Messages written before the socket is flushed.
const BATCH: usize = 64;
/// How long a close frame may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
/// When there is nothing to wait for.
const FAR: Duration = Duration::from_secs(365 * 86_400);

/// Why a connection ends.
pub(crate) enum End {
    /// The peer went, or the socket failed.
    Gone,
    /// Close frame with this code and text.
    Close(u16, &'static str),
    /// Without a word.
    Abort,
    /// Not at all: it is only dead.
    HalfOpen,
}

/// What an exchange expects of a connection, in real time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Pings of the server: how often, and how long a pong may take.
    pub(crate) ping: Option<(Duration, Duration)>,
    /// A connection is closed at this age.
    pub(crate) lifetime: Option<Duration>,
    /// Most messages a client may send in a second, pings and pongs included.
    pub(crate) inbound_per_second: Option<u32>,
    /// A connection on which no text went either way for so long is closed.
    pub(crate) silence: Option<Duration>,
    /// A connection whose client sent no text for so long is closed.
    pub(crate) client_silence: Option<Duration>,
    /// A connection whose client has sent no text at all so long after it was opened is cut off.
    pub(crate) first_word: Option<Duration>,
}

/// What a client's messages mean.
pub(crate) trait Dialog: Send {
    /// Handles a text; answers go into the connection's queue.
    fn on_text(&mut self, text: &str) -> Option<End>;

    /// Handles a binary message.
    fn on_binary(&mut self) -> Option<End> {
        None
    }

    /// Payload of the server's next ping.
    fn ping_payload(&self) -> Bytes {
        Bytes::new()
    }

    /// How a connection ends that was silent for too long.
    fn silence_end(&self) -> End {
        End::Close(1000, "no data for too long")
    }

    /// The connection is over: nothing may be put into its queue any more.
    fn closed(&mut self);
}

struct Session<S, D> {
    socket: WebSocketStream<S>,
    dialog: D,
    port: Port,
    pace: Pace,
    stop: watch::Receiver<bool>,
    /// Unanswered pings and when each of them is overdue.
    pings: VecDeque<(Bytes, Instant)>,
    opened: Instant,
    pinged: Instant,
    /// When the last text came, and when the last one came or went.
    heard: Instant,
    active: Instant,
    /// When the last messages of the client came.
    inbound: VecDeque<Instant>,
}

/// Serves a connection until it ends.
pub(crate) async fn run<S, D>(
    socket: WebSocketStream<S>,
    dialog: D,
    port: Port,
    pace: Pace,
    stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    D: Dialog,
{
    let now = Instant::now();
    let mut session = Session {
        socket,
        dialog,
        port,
        pace,
        stop,
        pings: VecDeque::new(),
        opened: now,
        pinged: now,
        heard: now,
        active: now,
        inbound: VecDeque::new(),
    };
    let end = session.serve().await;
    session.dialog.closed();
    session.finish(end).await;
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Dialog> Session<S, D> {
    async fn serve(&mut self) -> End {
        let mut batch = Vec::with_capacity(BATCH);
        let mut stop = self.stop.clone();
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
                    self.active = Instant::now();
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

    /// When a span that began at `since` is over.
    fn end_of(&self, since: Instant, span: Option<Duration>) -> Instant {
        match span {
            Some(span) => since + span,
            None => self.opened + FAR,
        }
    }

    /// When a client that has said nothing yet is late.
    fn end_of_patience(&self) -> Instant {
        let first_word = self.pace.first_word.filter(|_| self.heard == self.opened);
        self.end_of(self.opened, first_word)
    }

    fn next_wake(&self) -> Instant {
        let overdue = self.pings.front().map(|(_, at)| *at);
        let ends = [
            self.end_of(self.opened, self.pace.lifetime),
            self.end_of(self.pinged, self.pace.ping.map(|(every, _)| every)),
            self.end_of(self.active, self.pace.silence),
            self.end_of(self.heard, self.pace.client_silence),
            self.end_of_patience(),
        ];
        ends.into_iter()
            .chain(overdue)
            .min()
            .unwrap_or(self.opened + FAR)
    }

    async fn on_time(&mut self) -> Option<End> {
        let now = Instant::now();
        if now >= self.end_of(self.opened, self.pace.lifetime) {
            return Some(End::Close(1001, "connection lifetime reached"));
        }
        if now >= self.end_of_patience() {
            return Some(End::Abort);
        }
        let is_silent = now >= self.end_of(self.active, self.pace.silence)
            || now >= self.end_of(self.heard, self.pace.client_silence);
        if is_silent {
            return Some(self.dialog.silence_end());
        }
        if self
            .pings
            .front()
            .is_some_and(|(_, overdue)| now >= *overdue)
        {
            return Some(End::Close(1008, "Pong timeout"));
        }
        let (every, pong_within) = self.pace.ping?;
        if now >= self.pinged + every {
            self.pinged = now;
            let payload = self.dialog.ping_payload();
            self.pings.push_back((payload.clone(), now + pong_within));
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
        if let Some(most) = self.pace.inbound_per_second {
            let second = Duration::from_secs(1);
            while self.inbound.front().is_some_and(|at| now - *at >= second) {
                self.inbound.pop_front();
            }
            self.inbound.push_back(now);
            if self.inbound.len() > most as usize {
                return Some(End::Close(1008, "Too many requests"));
            }
        }
        match message {
            Message::Text(text) => {
                (self.heard, self.active) = (now, now);
                self.dialog.on_text(&text)
            }
            Message::Binary(_) => self.dialog.on_binary(),
            Message::Pong(payload) => {
                // Only an echo of our own payload counts; it settles the pings before it too.
                if let Some(at) = self.pings.iter().position(|(sent, _)| *sent == payload) {
                    self.pings.drain(..=at);
                }
                None
            }
            Message::Close(_) => Some(End::Gone),
            Message::Ping(_) | Message::Frame(_) => None,
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
                let mut stop = self.stop.clone();
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
