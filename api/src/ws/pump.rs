//! Moves messages between one socket and its session; the only actor with a WebSocket context.
//!
//! It is polled as the body of the HTTP answer, and only while actix's write buffer has room: a
//! client that stops reading stops its pump. So nothing is ever pushed to it. It pulls what is
//! ready from the outbox, at most `ROOM` bytes a poll; actix encodes the frames of one poll into
//! one buffer and hands that to the socket in one write. What does not fit the socket stays in the
//! outbox, where the drop policy counts it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix::{Actor, ActorContext, AsyncContext, StreamHandler, dev::SendError};
use actix_http::ws::Item;
use actix_web_actors::ws::{CloseCode, CloseReason, Message, ProtocolError, WebsocketContext};
use bookwire_actors::dispatcher::WorkerHub;
use bookwire_actors::latency::Stamp;
use bookwire_actors::session::flow::Close;
use bookwire_actors::session::outbox::Batch;
use bookwire_actors::session::request::{BadRequest, Reply};
use bookwire_actors::session::{Inbound, SessionHandle};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bytes::Bytes;
use bytestring::ByteString;
use futures_util::Stream;

use super::protocol;
use crate::net::places::Permit;

/// Bytes pulled from the outbox at a time: twice the 32 KiB that actix-http collects before it
/// writes, so that a write is never waited for with less than it takes.
const ROOM: usize = 64 << 10;

/// Requests over the rate in one second, as a multiple of the rate, that end the connection.
const REFUSED_FACTOR: u32 = 5;

/// What a pump is made of.
pub struct Pump {
    hub: Rc<WorkerHub>,
    session: SessionHandle,
    trace_id: Rc<str>,
    requests_per_second: u32,
    message_bytes_max: usize,
    /// Nothing more is wanted from the client; shared with the guard of its inbound bytes.
    is_draining: Rc<Cell<bool>>,
    fragments: Option<Fragments>,
    _permit: Permit,
}

struct Fragments {
    is_text: bool,
    bytes: Vec<u8>,
}

/// What a pump is started with.
pub struct PumpOptions {
    /// The worker's hub.
    pub hub: Rc<WorkerHub>,
    /// The client's session.
    pub session: SessionHandle,
    /// Goes into errors.
    pub trace_id: Rc<str>,
    /// Limit of the client's messages, for the answer to those above.
    pub requests_per_second: u32,
    /// Most bytes of a message, fragments together.
    pub message_bytes_max: usize,
    /// Set when nothing more is wanted from the client.
    pub is_draining: Rc<Cell<bool>>,
    /// The connection's place.
    pub permit: Permit,
}

impl Pump {
    /// A pump that starts with its context.
    #[must_use]
    pub fn new(options: PumpOptions) -> Self {
        Self {
            hub: options.hub,
            session: options.session,
            trace_id: options.trace_id,
            requests_per_second: options.requests_per_second,
            message_bytes_max: options.message_bytes_max,
            is_draining: options.is_draining,
            fragments: None,
            _permit: options.permit,
        }
    }

    /// The client broke a rule: nothing more is read of it.
    fn close(&self, close: Close) {
        self.is_draining.set(true);
        self.session.cell.expel(close);
    }

    fn request(&mut self, frame: &[u8], ctx: &mut WebsocketContext<Self>) {
        self.pass(|| protocol::parse(frame).map_err(|bad| *bad), ctx);
    }

    /// Hands a request or the reason why it is none to the session, which answers in order.
    fn pass(
        &mut self,
        read: impl FnOnce() -> Result<bookwire_actors::session::request::ClientRequest, BadRequest>,
        ctx: &mut WebsocketContext<Self>,
    ) {
        if self.is_draining.get() {
            return;
        }
        let cell = &self.session.cell;
        if !cell.take_token() {
            return self.too_fast();
        }
        match self.session.addr.try_send(Inbound(read())) {
            Ok(()) => {}
            Err(SendError::Full(_)) => self.too_fast(),
            Err(SendError::Closed(_)) => ctx.stop(),
        }
    }

    fn too_fast(&self) {
        let rate = self.requests_per_second;
        let refused = self.session.cell.refused();
        if refused > rate.saturating_mul(REFUSED_FACTOR) {
            return self.close(Close::policy(format!(
                "rate: more than {rate} messages a second"
            )));
        }
        let error = CryptoError::new(
            CryptoCode::RateLimitExceeded,
            format!("more than {rate} messages a second"),
        )
        .with("rate_limit", rate)
        .with("retry_after_seconds", 1)
        .with("current_usage", rate.saturating_add(refused));
        let now = self.hub.source().now();
        let reply = Reply::failed(None, None, error);
        let answer = protocol::encode(&reply, &self.trace_id, now);
        self.session.cell.answer(answer);
    }

    fn fragment(&mut self, item: Item, ctx: &mut WebsocketContext<Self>) {
        let (bytes, is_last) = match item {
            Item::FirstText(bytes) => {
                self.fragments = Some(Fragments::new(true));
                (bytes, false)
            }
            Item::FirstBinary(bytes) => {
                self.fragments = Some(Fragments::new(false));
                (bytes, false)
            }
            Item::Continue(bytes) => (bytes, false),
            Item::Last(bytes) => (bytes, true),
        };
        let most = self.message_bytes_max;
        let Some(fragments) = &mut self.fragments else {
            return self.close(Close::protocol("a continuation without a beginning"));
        };
        if fragments.bytes.len() + bytes.len() > most {
            return self.close(Close::too_big(format!(
                "a message of more than {most} bytes"
            )));
        }
        fragments.bytes.extend_from_slice(&bytes);
        if is_last && let Some(whole) = self.fragments.take() {
            if whole.is_text {
                self.request(&whole.bytes, ctx);
            } else {
                self.binary(whole.bytes.len(), ctx);
            }
        }
    }

    fn binary(&mut self, size: usize, ctx: &mut WebsocketContext<Self>) {
        let error = CryptoError::invalid_parameter(
            "frame",
            &format!("a binary frame of {size} bytes"),
            "text frames with one JSON object",
        );
        let bad = BadRequest {
            id: None,
            method: None,
            error,
        };
        self.pass(|| Err(bad), ctx);
    }
}

impl Fragments {
    const fn new(is_text: bool) -> Self {
        Self {
            is_text,
            bytes: Vec::new(),
        }
    }
}

impl Actor for Pump {
    type Context = WebsocketContext<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.add_stream(Outgoing {
            hub: self.hub.clone(),
            session: self.session.clone(),
            has_yielded: false,
        });
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        // Whatever ended the connection, a panic included.
        self.session.cell.hang_up();
    }
}

impl StreamHandler<Result<Message, ProtocolError>> for Pump {
    fn handle(&mut self, frame: Result<Message, ProtocolError>, ctx: &mut Self::Context) {
        self.session.cell.hear();
        match frame {
            Ok(Message::Text(text)) => self.request(text.as_bytes(), ctx),
            Ok(Message::Binary(bytes)) => self.binary(bytes.len(), ctx),
            Ok(Message::Continuation(item)) => self.fragment(item, ctx),
            Ok(Message::Ping(bytes)) => {
                if self.session.cell.take_token() {
                    ctx.pong(&bytes);
                }
            }
            Ok(Message::Pong(_) | Message::Nop) => {}
            Ok(Message::Close(reason)) => {
                // Ours was first, or this is the answer that ends the dialogue.
                if !self.is_draining.replace(true) {
                    ctx.close(reason);
                }
                ctx.stop();
            }
            Err(ProtocolError::Overflow) => self.close(Close::too_big(format!(
                "at most {} bytes are accepted",
                self.message_bytes_max
            ))),
            Err(ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::Other => {
                // The decoder's way to say that a text is not UTF-8. A broken socket looks the
                // same; then nobody gets the frame and the stream's end follows.
                self.close(Close::not_text("a text frame that is not UTF-8"));
            }
            Err(error) => self.close(Close::protocol(error.to_string())),
        }
    }
}

impl StreamHandler<Batch> for Pump {
    fn handle(&mut self, batch: Batch, ctx: &mut Self::Context) {
        let text = Bytes::from(batch.text);
        let mut start = 0;
        for end in batch.ends {
            match ByteString::try_from(text.slice(start..end)) {
                Ok(message) => ctx.text(message),
                Err(error) => tracing::error!(%error, "a message that is not UTF-8"),
            }
            start = end;
        }
        if batch.ping {
            ctx.ping(b"");
        }
        if let Some(Close { code, reason }) = batch.close {
            // The client answers and the stream ends, or the session cuts the socket.
            self.is_draining.set(true);
            ctx.close(Some(CloseReason {
                code: CloseCode::from(code),
                description: Some(reason),
            }));
        }
    }
}

/// What is ready in the outbox, one batch a poll.
struct Outgoing {
    hub: Rc<WorkerHub>,
    session: SessionHandle,
    has_yielded: bool,
}

impl Stream for Outgoing {
    type Item = Batch;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Batch>> {
        let cell = &self.session.cell;
        if self.has_yielded && cell.with(|outbox| outbox.is_ready()) {
            // The context polls a stream until it has nothing more. Ending the round here lets the
            // socket take this batch before the next is pulled.
            self.has_yielded = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let mut batch = Batch::default();
        let source = self.hub.source();
        let now = (source.now(), Stamp::of(source.monotonic()));
        match cell.poll_pull(cx.waker(), now, ROOM, &mut batch) {
            Poll::Ready(()) => {
                self.has_yielded = true;
                Poll::Ready(Some(batch))
            }
            Poll::Pending => {
                self.has_yielded = false;
                Poll::Pending
            }
        }
    }
}
