//! Limits of a connection, and its answers to what is no request.
//!
//! [`Guarded`] stands between a socket and the HTTP/1.1 dispatcher. It ends a connection on which a
//! request comes in too slowly, or whose client takes an answer too slowly, whatever the dispatcher waits
//! for. And where the dispatcher refuses what it can't read with a bare status, it sends an answer of the
//! contract's form instead.

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::rt::net::TcpStream;
use bookwire_engine::config::LimitsConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

use super::link::{Heard, Link};
use super::places::Place;

/// Pause between two looks at a connection whose request is being served.
const LOOK: Duration = Duration::from_secs(5);

/// Longest time that is waited for a client to close its end too. Without it what it still sends would
/// make the system throw away the last answer.
const LINGER: Duration = Duration::from_secs(1);

/// Most bytes that are thrown away meanwhile.
const LINGER_BYTES: usize = 128 << 10;

/// Bytes that a head may have besides: its first line, and that which makes it too large.
const HEAD_SLACK: usize = 4 << 10;

/// Longest bare answer of the dispatcher.
const BARE_MAX: usize = 256;

/// What is answered without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The dispatcher can't read what came.
    Unreadable(StatusCode),
    /// A request comes in too slowly.
    TooSlow,
    /// Its head is larger than it may be.
    TooLarge,
    /// There is no place for another connection, of so many.
    Full(usize),
    /// The address has so many connections already.
    AddressFull(u32),
    /// Plain HTTP where TLS is spoken.
    NotEncrypted,
}

/// Makes an answer of the contract's form, as it goes over the wire, for what is no request.
pub type Refuse = dyn Fn(Refusal, IpAddr) -> Vec<u8>;

/// Limits of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From a request's first byte to its last header.
    pub header: Duration,
    /// A connection without a request; that the dispatcher's own clock comes first.
    pub keep_alive: Duration,
    /// How long a client may take less than `rate`.
    pub answer: Duration,
    /// Bytes a second that a client has to take.
    pub rate: u64,
    /// Largest head of a request, bytes.
    pub head_max: usize,
}

impl From<&LimitsConfig> for Patience {
    fn from(limits: &LimitsConfig) -> Self {
        Self {
            header: Duration::from_millis(limits.header_timeout_ms),
            keep_alive: Duration::from_millis(limits.keep_alive_ms) + Duration::from_secs(2),
            answer: Duration::from_millis(limits.answer_timeout_ms),
            rate: limits.answer_rate_min,
            // What is a little too large is told in detail by the gate.
            head_max: limits.header_bytes_max + limits.uri_bytes_max + HEAD_SLACK,
        }
    }
}

/// A socket, encrypted or not.
pub enum Wire {
    /// As it is.
    Plain(TcpStream),
    /// Encrypted; much larger.
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! each {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Plain($io) => {
                let $io = Pin::new($io);
                $call
            }
            Wire::Tls($io) => {
                let $io = Pin::new(&mut **$io);
                $call
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, io => io.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, io => io.poll_shutdown(cx))
    }
}

/// How fast a client takes what is sent.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    /// Bytes that it has taken since.
    taken: u64,
}

/// An answer that is sent in place of the dispatcher's.
struct Instead {
    bytes: Vec<u8>,
    sent: usize,
}

/// A guarded connection. Its place is given back when it is dropped.
pub struct Guarded<W = Wire> {
    wire: W,
    link: Rc<Link>,
    patience: Patience,
    address: IpAddr,
    refuse: Rc<Refuse>,
    /// Wakes the connection for its next deadline of reading.
    clock: Pin<Box<Sleep>>,
    /// And of writing.
    write_clock: Pin<Box<Sleep>>,
    /// There while a client has not taken everything.
    pace: Option<Pace>,
    instead: Option<Instead>,
    /// Since when the client is waited for, and what it has sent since.
    lingering: Option<(Instant, usize)>,
    is_over: bool,
    _place: Option<Place>,
}

/// What a connection is guarded with.
pub struct GuardOptions {
    /// What it shares with its requests.
    pub link: Rc<Link>,
    /// Time limits.
    pub patience: Patience,
    /// Where it comes from.
    pub address: IpAddr,
    /// Answers to what is no request.
    pub refuse: Rc<Refuse>,
    /// Its place among all.
    pub place: Option<Place>,
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "cut off")
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client reads too slowly")
}

impl<W: AsyncRead + AsyncWrite + Unpin> Guarded<W> {
    /// Guards a connection.
    #[must_use]
    pub fn new(wire: W, options: GuardOptions) -> Self {
        let now = tokio::time::Instant::now();
        Self {
            wire,
            link: options.link,
            patience: options.patience,
            address: options.address,
            refuse: options.refuse,
            clock: Box::pin(sleep_until(now)),
            write_clock: Box::pin(sleep_until(now)),
            pace: None,
            instead: None,
            lingering: None,
            is_over: false,
            _place: options.place,
        }
    }

    /// What it shares with its requests.
    #[must_use]
    pub const fn link(&self) -> &Rc<Link> {
        &self.link
    }

    /// When a client that sends nothing more is given up; `None`: it is being served.
    fn deadline(&self) -> Option<Instant> {
        if self.link.is_upgraded() || self.link.is_serving() {
            return None;
        }
        Some(match self.link.first_byte() {
            Some(first) => first + self.patience.header,
            None => self.link.idle_since() + self.patience.keep_alive,
        })
    }

    /// Whether its time is up; otherwise the connection is woken when it is.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        if self.link.is_upgraded() {
            return false;
        }
        let now = Instant::now();
        let at = match self.deadline() {
            Some(at) if at <= now => return true,
            Some(at) => at,
            // What is left of a request that was served without its body must not stay for ever.
            None => now + LOOK,
        };
        self.clock.as_mut().reset(at.into());
        // Ready only when the deadline has passed just now.
        self.clock.as_mut().poll(cx).is_ready() && self.deadline().is_some_and(|at| at <= now)
    }

    /// The client is told, if it can be without waiting, and the dispatcher sees the end of the stream.
    fn give_up(&mut self, why: Refusal, cx: &mut Context<'_>) {
        self.is_over = true;
        let is_asked = self.link.first_byte().is_some() && !self.link.is_unread();
        if !is_asked || self.pace.is_some() {
            return;
        }
        let answer = (self.refuse)(why, self.address);
        let mut sent = 0;
        while sent < answer.len() {
            match Pin::new(&mut self.wire).poll_write(cx, &answer[sent..]) {
                Poll::Ready(Ok(count)) if count > 0 => sent += count,
                _ => return,
            }
        }
        let _ = Pin::new(&mut self.wire).poll_flush(cx);
    }

    /// Counts what a client takes, and looks whether it is fast enough when it has to be waited for.
    fn keep_pace(
        &mut self,
        cx: &mut Context<'_>,
        wrote: &Poll<io::Result<usize>>,
    ) -> io::Result<()> {
        if self.link.is_upgraded() {
            return Ok(());
        }
        match wrote {
            Poll::Ready(Ok(count)) => {
                if let Some(pace) = &mut self.pace {
                    pace.taken += *count as u64;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let now = Instant::now();
                let fresh = Pace {
                    since: now,
                    taken: 0,
                };
                let pace = self.pace.get_or_insert(fresh);
                let end = pace.since + self.patience.answer;
                if now >= end {
                    let seconds = self.patience.answer.as_secs_f64();
                    if (pace.taken as f64) < self.patience.rate as f64 * seconds {
                        return Err(too_slow());
                    }
                    *pace = fresh;
                }
                let end = pace.since + self.patience.answer;
                self.write_clock.as_mut().reset(end.into());
                if self.write_clock.as_mut().poll(cx).is_ready() {
                    // Passed just now: looked at again at once.
                    cx.waker().wake_by_ref();
                }
            }
        }
        Ok(())
    }

    /// The status of an answer that is the dispatcher's own.
    fn bare_status(&self, bytes: &[u8]) -> Option<StatusCode> {
        let is_candidate = bytes.len() <= BARE_MAX
            && bytes.starts_with(b"HTTP/1.")
            && bytes.ends_with(b"\r\n\r\n")
            && !self.link.is_serving()
            && !self.link.is_upgraded();
        // Ours have a trace id.
        let is_ours =
            |line: &[u8]| line.len() > 10 && line[..10].eq_ignore_ascii_case(b"x-trace-id");
        if !is_candidate || bytes.split(|byte| *byte == b'\n').any(is_ours) {
            return None;
        }
        let status = StatusCode::from_bytes(bytes.get(9..12)?).ok()?;
        (status.is_client_error() || status.is_server_error()).then_some(status)
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<W> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.link.remember(cx);
        if this.link.is_cut() {
            return Poll::Ready(Err(cut_off()));
        }
        if this.is_over {
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.wire).poll_read(cx, buf);
        let is_end = match &read {
            Poll::Ready(Ok(())) => buf.filled().len() == before,
            Poll::Ready(Err(_)) => true,
            Poll::Pending => false,
        };
        if is_end {
            return read;
        }
        let why = match read {
            // Time is looked at when nothing more is there: when we come to read only now what came in
            // time, that is not its client's fault.
            Poll::Pending => this.is_late(cx).then_some(Refusal::TooSlow),
            Poll::Ready(_) => match this.link.hear(&buf.filled()[before..], Instant::now()) {
                Heard::Part(head) if head > this.patience.head_max => Some(Refusal::TooLarge),
                _ => None,
            },
        };
        if let Some(why) = why {
            buf.set_filled(before);
            this.give_up(why, cx);
            return Poll::Ready(Ok(()));
        }
        read
    }
}

impl<W: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.link.remember(cx);
        if this.link.is_cut() {
            return Poll::Ready(Err(cut_off()));
        }
        if this.instead.is_none()
            && let Some(status) = this.bare_status(buf)
        {
            let bytes = (this.refuse)(Refusal::Unreadable(status), this.address);
            this.instead = Some(Instead { bytes, sent: 0 });
        }
        while let Some(instead) = &mut this.instead {
            let left = &instead.bytes[instead.sent..];
            if left.is_empty() {
                this.instead = None;
                return Poll::Ready(Ok(buf.len()));
            }
            let wrote = Pin::new(&mut this.wire).poll_write(cx, left);
            if let Poll::Ready(Ok(count)) = &wrote {
                instead.sent += *count;
            }
            this.keep_pace(cx, &wrote)?;
            if ready!(wrote)? == 0 {
                return Poll::Ready(Ok(0));
            }
        }
        let wrote = Pin::new(&mut this.wire).poll_write(cx, buf);
        this.keep_pace(cx, &wrote)?;
        wrote
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().find(|one| !one.is_empty());
        self.poll_write(cx, first.map_or(&[], |one| &**one))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.link.is_cut() {
            return Poll::Ready(Err(cut_off()));
        }
        let flushed = Pin::new(&mut this.wire).poll_flush(cx);
        match &flushed {
            // The dispatcher flushes when it has nothing more to write.
            Poll::Ready(_) => this.pace = None,
            Poll::Pending => this.keep_pace(cx, &Poll::Pending)?,
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.link.is_cut() {
            return Poll::Ready(Ok(()));
        }
        let (since, mut thrown) = match this.lingering {
            Some(known) => known,
            None => {
                let closed = Pin::new(&mut this.wire).poll_shutdown(cx);
                if closed.is_pending() {
                    this.keep_pace(cx, &Poll::Pending)?;
                }
                ready!(closed)?;
                let since = Instant::now();
                this.clock.as_mut().reset((since + LINGER).into());
                *this.lingering.insert((since, 0))
            }
        };
        let mut scratch = [0; 16 << 10];
        loop {
            if since.elapsed() >= LINGER || thrown >= LINGER_BYTES {
                return Poll::Ready(Ok(()));
            }
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut this.wire).poll_read(cx, &mut buf) {
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => thrown += buf.filled().len(),
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        this.lingering = Some((since, thrown));
        this.clock.as_mut().poll(cx).map(Ok)
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
