//! What a connection and the requests on it tell each other. All of it lives on one worker thread.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;

use super::places::Permit;

/// All of the blank line that ends a head has come.
const BLANK_LINE: u8 = 4;

/// What bytes were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A part of a head, of which so many bytes are there.
    Part(usize),
    /// The end of a head.
    Whole,
    /// Something else: a body, requests behind another.
    Other,
}

/// A connection as its requests see it; `HttpRequest::conn_data` has it.
#[derive(Debug)]
pub struct Link {
    /// Requests that have begun and whose answer has not been made whole.
    serving: Cell<u32>,
    /// Since when there are none of them.
    idle_since: Cell<Instant>,
    /// When the first byte came that belongs to no request that has begun.
    first_byte: Cell<Option<Instant>>,
    /// Bytes of the head that is on its way in, and how much of the blank line at its end has come.
    head: Cell<(usize, u8)>,
    /// The last request has a body whose end nobody has read.
    is_unread: Cell<bool>,
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
            head: Cell::new((0, 0)),
            is_unread: Cell::new(false),
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
        self.head.set((0, 0));
        self.is_unread.set(false);
        Serving(self.clone())
    }

    /// The request's body begins, or has been read to its end.
    pub fn set_unread(&self, is_unread: bool) {
        self.is_unread.set(is_unread);
    }

    /// What comes is the rest of a body that nobody reads.
    pub(super) fn is_unread(&self) -> bool {
        self.is_unread.get()
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

    /// Bytes came. Those of a request under way are its body, for which there are other limits. Says
    /// how much of the head is there.
    pub(super) fn hear(&self, bytes: &[u8], now: Instant) -> Heard {
        if self.is_serving() || self.is_upgraded() {
            return Heard::Other;
        }
        if self.first_byte.get().is_none() {
            self.first_byte.set(Some(now));
        }
        let (mut length, mut matched) = self.head.get();
        let was_whole = matched == BLANK_LINE;
        for byte in bytes {
            if matched == BLANK_LINE {
                break;
            }
            // Empty lines before a request are passed over.
            if length == 0 && matches!(byte, b'\r' | b'\n') {
                continue;
            }
            length += 1;
            // A line may end with a line feed alone.
            matched = match (byte, matched) {
                (b'\n', 2 | 3) => BLANK_LINE,
                (b'\n', _) => 2,
                (b'\r', 2) => 3,
                _ => 0,
            };
        }
        self.head.set((length, matched));
        match matched {
            BLANK_LINE if was_whole => Heard::Other,
            BLANK_LINE => {
                // What is waited for now is the dispatcher.
                self.first_byte.set(Some(now));
                Heard::Whole
            }
            _ => Heard::Part(length),
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
            let now = Instant::now();
            self.0.idle_since.set(now);
            // The dispatcher waits for the rest of it, which may never come.
            if self.0.is_unread() {
                self.0.first_byte.set(Some(now));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_measured_until_its_end_and_what_follows_is_not() {
        let link = Link::new(None, Instant::now());
        let hear = |text: &str| link.hear(text.as_bytes(), Instant::now());
        assert_eq!(hear("GET / HTTP/1.1\r\n"), Heard::Part(16));
        assert_eq!(hear("a: b\r\n\r"), Heard::Part(23));
        assert_eq!(hear("\nbody"), Heard::Whole);
        assert_eq!(hear("more of the body"), Heard::Other);
        let serving = link.begin();
        assert_eq!(hear("the body of a request under way"), Heard::Other);
        drop(serving);
        assert_eq!(hear("GET"), Heard::Part(3));
        assert_eq!(hear("\n\n"), Heard::Whole, "line feeds alone");
        let serving = link.begin();
        drop(serving);
        assert_eq!(
            hear("\r\n\r\nx\r\r\n\r x\n"),
            Heard::Part(8),
            "no blank line behind it"
        );
    }
}
