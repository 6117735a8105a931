//! One WebSocket to an exchange as a stream of what comes in, with a small queue of what goes out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bookwire_engine::exchange::ConnectionLimits;
use futures_util::{Sink, Stream};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message, Utf8Bytes};
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
};

use crate::clock::Clock;
use crate::state::ReadAt;

/// Largest message taken from an exchange.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages that may wait to be sent: requests and pings only.
const OUTBOUND_MAX: usize = 64;
/// Pause after a refusal by a ban or a limit that does not say for how long.
const REFUSED: Duration = Duration::from_secs(60);

/// An open connection.
pub type Wire = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialError {
    /// Lower case.
    pub reason: String,
    /// The host wants to be left alone.
    pub refusal: Option<Refusal>,
}

/// For how long a host wants to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// As it says, or as its answer asks for.
    For(Duration),
    /// Too many attempts (429), and no word of when another is allowed.
    TooMany,
}

impl Refusal {
    /// The pause that is due: too many attempts are forgotten with the window that they are counted in.
    #[must_use]
    pub fn pause(self, limits: &ConnectionLimits) -> Duration {
        match self {
            Self::For(pause) => pause,
            Self::TooMany => Duration::from_secs(limits.connect_window_secs).min(REFUSED),
        }
    }
}

impl From<Error> for DialError {
    fn from(error: Error) -> Self {
        let refusal = match &error {
            Error::Http(answer) => {
                let header = answer.headers().get("retry-after");
                let told = header.and_then(|value| value.to_str().ok());
                let told = told.and_then(|text| text.trim().parse().ok());
                match (told, answer.status().as_u16()) {
                    (Some(secs), _) => Some(Refusal::For(Duration::from_secs(secs))),
                    (None, 429) => Some(Refusal::TooMany),
                    // A ban costs more when it is ignored.
                    (None, 403 | 418) => Some(Refusal::For(REFUSED)),
                    _ => None,
                }
            }
            _ => None,
        };
        Self {
            reason: error.to_string(),
            refusal,
        }
    }
}

/// Opens a connection; `ws://` for simulators, `wss://` for everything else.
///
/// # Errors
/// When the host can't be reached, or refuses the handshake.
pub async fn dial(url: &str, tls: Arc<rustls::ClientConfig>) -> Result<Wire, DialError> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let connector = Connector::Rustls(tls);
    // `true`: no Nagle, a request or pong must not wait.
    let (wire, _) = connect_async_tls_with_config(url, Some(config), true, Some(connector)).await?;
    Ok(wire)
}

/// What a socket delivers.
#[derive(Debug)]
pub enum Inbound {
    /// A text frame.
    Text {
        /// Of which link.
        link: u32,
        /// When it was read.
        at: ReadAt,
        /// Its text.
        text: Utf8Bytes,
    },
    /// A ping, a pong: proves that the other side is there, not that data flow.
    Alive {
        /// Of which link.
        link: u32,
        /// When it was read.
        at: ReadAt,
    },
    /// A frame that no exchange of ours sends.
    Binary {
        /// Of which link.
        link: u32,
        /// When it was read.
        at: ReadAt,
    },
    /// The end. Nothing follows.
    Closed {
        /// Of which link.
        link: u32,
        /// Why, lower case.
        reason: String,
    },
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Message>,
    waker: Option<Waker>,
}

/// The way to send on a socket.
#[derive(Clone, Debug, Default)]
pub struct Outbound(Rc<RefCell<Queue>>);

impl Outbound {
    fn push(&self, message: Message) -> bool {
        let mut queue = self.0.borrow_mut();
        if queue.waiting.len() >= OUTBOUND_MAX {
            return false;
        }
        queue.waiting.push_back(message);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        true
    }

    /// Sends a text. False when too much waits already: the other side does not read.
    pub fn text(&self, text: String) -> bool {
        self.push(Message::text(text))
    }

    /// Sends a ping. False as above.
    pub fn ping(&self) -> bool {
        self.push(Message::Ping(Bytes::new()))
    }
}

/// The reading and writing half in one, so that a pong that the library owes leaves with the next
/// turn and no lock lies between the two.
pub struct Socket {
    wire: Wire,
    out: Outbound,
    link: u32,
    clock: Arc<dyn Clock>,
    must_flush: bool,
    is_over: bool,
}

impl Socket {
    /// A socket for `link`, and the way to send on it.
    #[must_use]
    pub fn new(wire: Wire, link: u32, clock: Arc<dyn Clock>) -> (Self, Outbound) {
        let out = Outbound::default();
        let socket = Self {
            wire,
            out: out.clone(),
            link,
            clock,
            must_flush: false,
            is_over: false,
        };
        (socket, out)
    }

    fn at(&self) -> ReadAt {
        ReadAt {
            wall: self.clock.now(),
            monotonic: self.clock.monotonic(),
        }
    }

    /// Sends what waits, as far as the socket takes it now.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        loop {
            if self.out.0.borrow().waiting.is_empty() {
                break;
            }
            match Pin::new(&mut self.wire).poll_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => break,
            }
            let message = self.out.0.borrow_mut().waiting.pop_front();
            if let Some(message) = message {
                Pin::new(&mut self.wire).start_send(message)?;
                self.must_flush = true;
            }
        }
        if self.must_flush && Pin::new(&mut self.wire).poll_flush(cx)?.is_ready() {
            self.must_flush = false;
        }
        Ok(())
    }

    fn end(&mut self, reason: String) -> Poll<Option<Inbound>> {
        self.is_over = true;
        let link = self.link;
        Poll::Ready(Some(Inbound::Closed { link, reason }))
    }
}

impl Stream for Socket {
    type Item = Inbound;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Inbound>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Err(error) = this.write(cx) {
            return this.end(error.to_string());
        }
        loop {
            let message = match Pin::new(&mut this.wire).poll_next(cx) {
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return this.end(error.to_string()),
                Poll::Ready(None) => return this.end("connection ended".to_owned()),
                Poll::Pending => {
                    // A pong that was queued by the reading above.
                    if this.must_flush
                        && let Err(error) = this.write(cx)
                    {
                        return this.end(error.to_string());
                    }
                    this.out.0.borrow_mut().waker = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            let link = this.link;
            return Poll::Ready(Some(match message {
                Message::Text(text) => Inbound::Text {
                    link,
                    at: this.at(),
                    text,
                },
                Message::Binary(_) => Inbound::Binary {
                    link,
                    at: this.at(),
                },
                Message::Ping(_) => {
                    // The library has queued the pong; it leaves with the next flush.
                    this.must_flush = true;
                    Inbound::Alive {
                        link,
                        at: this.at(),
                    }
                }
                Message::Pong(_) => Inbound::Alive {
                    link,
                    at: this.at(),
                },
                Message::Close(frame) => {
                    let reason = frame.map_or_else(
                        || "closed by the exchange".to_owned(),
                        |frame| format!("closed by the exchange: {} {}", frame.code, frame.reason),
                    );
                    return this.end(reason);
                }
                Message::Frame(_) => continue,
            }));
        }
    }
}
