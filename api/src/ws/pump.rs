//! Moves messages between one socket and its session; the only actor with a WebSocket context.
//!
//! [`Wire`] is polled as the body of the HTTP answer, and only while actix's write buffer has room: a
//! client that stops reading stops its pump. So nothing is ever pushed to it. It pulls what is
//! ready from the outbox, frames and all, at most `ROOM` bytes a poll, and actix hands that to the
//! socket in one write. What does not fit the socket stays in the outbox, where the drop policy
//! counts it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use actix::{Actor, ActorContext, StreamHandler, dev::SendError};
use actix_http::ws::{Codec, Item, OpCode, Parser};
use actix_web::Error;
use actix_web::error::PayloadError;
use actix_web_actors::ws::{CloseCode, CloseReason, Message, ProtocolError, WebsocketContext};
use bookwire_actors::alive::{Alive, Kind};
use bookwire_actors::dispatcher::WorkerHub;
use bookwire_actors::latency::Stamp;
use bookwire_actors::session::flow::Close;
use bookwire_actors::session::outbox::Batch;
use bookwire_actors::session::request::{BadRequest, Reply};
use bookwire_actors::session::{Inbound, SessionHandle};
use bookwire_engine::error::{CryptoCode, CryptoError};
use bytes::{Bytes, BytesMut};
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
    _alive: Alive,
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
            _alive: Alive::new(Kind::ClientSocket),
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

/// All that the client is sent: what the pump says by itself (pongs, its part of the closing), then what
/// is ready in the outbox, whose frames go to the socket's buffer as they are.
pub struct Wire {
    pump: Pin<Box<dyn Stream<Item = Result<Bytes, Error>>>>,
    hub: Rc<WorkerHub>,
    session: SessionHandle,
    is_draining: Rc<Cell<bool>>,
    /// Bytes of the batch before: the next one is likely to need as many.
    last: usize,
    /// The batch before was full: others have their turn before the next.
    is_others_turn: bool,
}

impl Wire {
    /// Starts the pump on what comes from the client.
    #[must_use]
    pub fn start<S>(pump: Pump, inbound: S) -> Self
    where
        S: Stream<Item = Result<Bytes, PayloadError>> + 'static,
    {
        let hub = pump.hub.clone();
        let session = pump.session.clone();
        let is_draining = pump.is_draining.clone();
        let codec = Codec::new().max_size(pump.message_bytes_max);
        Self {
            pump: Box::pin(WebsocketContext::with_codec(pump, inbound, codec)),
            hub,
            session,
            is_draining,
            last: 0,
            is_others_turn: false,
        }
    }
}

/// The control frames of a batch, behind its messages.
fn controls(batch: &mut Batch, is_draining: &Cell<bool>) {
    if !batch.ping && batch.close.is_none() {
        return;
    }
    let mut out = BytesMut::new();
    if batch.ping {
        Parser::write_message(&mut out, b"", OpCode::Ping, true, false);
    }
    if let Some(Close { code, reason }) = batch.close.take() {
        // The client answers and the stream ends, or the session cuts the socket.
        is_draining.set(true);
        let reason = CloseReason {
            code: CloseCode::from(code),
            description: Some(reason),
        };
        Parser::write_close(&mut out, Some(reason), false);
    }
    batch.frames.extend_from_slice(&out);
}

impl Stream for Wire {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Poll::Ready(said) = self.pump.as_mut().poll_next(cx) {
            return Poll::Ready(said);
        }
        if std::mem::take(&mut self.is_others_turn) {
            // As long as the socket takes everything we would be asked again and again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let source = self.hub.source();
        let now = (source.now(), Stamp::of(source.monotonic()));
        let mut batch = Batch {
            frames: Vec::with_capacity(self.last),
            ..Batch::default()
        };
        let cell = &self.session.cell;
        if cell
            .poll_pull(cx.waker(), now, ROOM, &mut batch)
            .is_pending()
        {
            return Poll::Pending;
        }
        controls(&mut batch, &self.is_draining);
        self.last = batch.frames.len();
        self.is_others_turn = self.last >= ROOM;
        Poll::Ready(Some(Ok(batch.frames.into())))
    }
}
