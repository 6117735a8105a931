//! What a connection and the requests on it tell each other. All of it lives on one worker thread.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::places::Permit;

/// A connection as its requests see it; `HttpRequest::conn_data` has it.
#[derive(Debug)]
pub struct Link {
    /// Requests that have begun and whose answer has not been made whole.
    serving: Cell<u32>,
    /// Since when there are none of them.
    idle_since: Cell<Instant>,
    /// When the first byte came that belongs to no request that has begun.
    first_byte: Cell<Option<Instant>>,
    is_upgraded: Cell<bool>,
    is_cut: Cell<bool>,
    /// The place among the address's plain connections.
    permit: RefCell<Option<Permit>>,
    /// Of the task that drives the connection.
    waker: RefCell<Option<Waker>>,
}

impl Link {
    /// A connection that has just been accepted.
    #[must_use]
    pub fn new(permit: Option<Permit>, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            serving: Cell::new(0),
            idle_since: Cell::new(now),
            // It was opened for a request.
            first_byte: Cell::new(Some(now)),
            is_upgraded: Cell::new(false),
            is_cut: Cell::new(false),
            permit: RefCell::new(permit),
            waker: RefCell::new(None),
        })
    }

    /// A request begins; it ends when what is returned is dropped.
    #[must_use]
    pub fn begin(self: &Rc<Self>) -> Serving {
        self.serving.set(self.serving.get() + 1);
        self.first_byte.set(None);
        Serving(self.clone())
    }

    /// The connection speaks WebSocket from now on, which has limits of its own.
    pub fn upgrade(&self) {
        self.is_upgraded.set(true);
        self.permit.replace(None);
    }

    /// Ends the connection without asking the client.
    pub fn cut(&self) {
        self.is_cut.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// It was cut.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut.get()
    }

    /// It speaks WebSocket.
    pub(super) fn is_upgraded(&self) -> bool {
        self.is_upgraded.get()
    }

    /// A request has begun and is not answered.
    pub(super) fn is_serving(&self) -> bool {
        self.serving.get() > 0
    }

    /// Since when nothing was asked.
    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }

    /// Since when a request is on its way in.
    pub(super) fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get()
    }

    /// Bytes came. Those of a request under way are its body, for which there is another limit.
    pub(super) fn hear(&self, now: Instant) {
        if !self.is_serving() && self.first_byte.get().is_none() {
            self.first_byte.set(Some(now));
        }
    }

    /// Remembers whom to wake.
    pub(super) fn remember(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub struct Serving(Rc<Link>);

impl Serving {
    /// The connection.
    #[must_use]
    pub fn link(&self) -> &Link {
        &self.0
    }

    /// The answer's body: the request is served when it is gone.
    #[must_use]
    pub fn until_the_end_of(self, body: BoxBody) -> BoxBody {
        BoxBody::new(Served {
            body,
            _serving: self,
        })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let left = self.0.serving.get().saturating_sub(1);
        self.0.serving.set(left);
        if left == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}

/// A body that holds on to its request.
struct Served {
    body: BoxBody,
    _serving: Serving,
}

impl MessageBody for Served {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}
