//! Clients by the hundred on one thread, which read all that comes, count it, and notice whatever is
//! missing, out of order or not what it should be.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use crate::fake::trade_price;
use crate::histogram::Curve;
use crate::ws::{self, Frames};

/// What a client is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// bookwire's trades.
    Trades,
    /// bookwire's trades, with the price that each number stands for.
    PricedTrades,
    /// bookwire's books as changes.
    Books,
    /// Messages of a floor: `{"trade_id":"…`, in order.
    Numbered,
    /// Messages of a floor that are only counted.
    Counted,
}

/// When messages were due: number `first` at `start`, so many a second from there.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Number of the first message.
    pub first: u64,
    /// When it is due.
    pub start: Instant,
    /// Messages a second.
    pub rate: u64,
    /// Numbers from here on are measured.
    pub measured: u64,
    /// And below this one.
    pub end: u64,
}

impl Schedule {
    /// When a message is due.
    #[must_use]
    pub fn due(&self, number: u64) -> Instant {
        let index = number.saturating_sub(self.first);
        self.start + Duration::from_nanos(index * 1_000_000_000 / self.rate)
    }
}

/// What all clients together have seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Messages that were dropped for some client, by their numbers.
    pub missing: u64,
    /// Of those, told by `system.flow`.
    pub told: u64,
    /// `system.status` messages.
    pub statuses: u64,
    /// Bytes of the last message.
    pub message_bytes: usize,
    /// Latencies, while a schedule is set.
    pub curve: Option<Curve>,
    /// The longest latency of each tenth of a second, microseconds, with when the tenth began.
    pub tenths: Vec<(Instant, f64)>,
}

#[derive(Default)]
struct Shared {
    /// Market messages, all clients together.
    delivered: AtomicU64,
    /// Book snapshots.
    snapshots: AtomicU64,
    /// Clients whose subscription was answered.
    subscribed: AtomicU64,
    stop: AtomicBool,
    seen: Mutex<Seen>,
    schedule: Mutex<Option<Schedule>>,
    error: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The clients.
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    size: usize,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Crowd {
    /// Connects so many clients; each sends the request, when there is one.
    ///
    /// # Errors
    /// When one can't connect within half a minute.
    pub fn connect(
        address: SocketAddr,
        size: usize,
        request: Option<&str>,
        kind: Kind,
    ) -> Result<Self> {
        let mut sockets = Vec::with_capacity(size);
        let end = Instant::now() + Duration::from_secs(30);
        while sockets.len() < size {
            match ws::connect(address, "/ws") {
                Ok(mut socket) => {
                    if let Some(request) = request {
                        ws::send_text(&mut socket, request)?;
                    }
                    sockets.push(socket);
                }
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(20)),
            }
        }
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            if let Err(error) = read_all(sockets, kind, &for_thread) {
                *lock(&for_thread.error) = Some(format!("{error:#}"));
            }
        });
        let crowd = Self {
            shared,
            thread: Some(thread),
            size,
        };
        if request.is_some() {
            let all = size as u64;
            let of = &crowd.shared.subscribed;
            crate::fake::wait_until(Duration::from_secs(60), || {
                crowd.well()?;
                Ok(of.load(Ordering::Relaxed) >= all)
            })
            .context("not all clients were subscribed")?;
        }
        Ok(crowd)
    }

    /// How many there are.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Market messages so far, all clients together.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.shared.delivered.load(Ordering::Relaxed)
    }

    /// Snapshots of books so far.
    #[must_use]
    pub fn snapshots(&self) -> u64 {
        self.shared.snapshots.load(Ordering::Relaxed)
    }

    /// No client has noticed anything wrong.
    ///
    /// # Errors
    /// The first that was wrong.
    pub fn well(&self) -> Result<()> {
        match &*lock(&self.shared.error) {
            Some(error) => bail!("a client: {error}"),
            None => Ok(()),
        }
    }

    /// What they have seen so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        lock(&self.shared.seen).clone()
    }

    /// Measures latencies by a schedule from now on, into a new curve.
    ///
    /// # Errors
    /// Never with the digits of curves.
    pub fn measure(&self, name: &str, schedule: Schedule) -> Result<()> {
        let mut seen = lock(&self.shared.seen);
        seen.curve = Some(Curve::new(name)?);
        seen.tenths.clear();
        *lock(&self.shared.schedule) = Some(schedule);
        Ok(())
    }

    /// Ends measuring. The curve.
    ///
    /// # Errors
    /// When nothing was measured.
    pub fn measured(&self) -> Result<Curve> {
        *lock(&self.shared.schedule) = None;
        let mut curve = lock(&self.shared.seen).curve.take().context("no curve")?;
        curve.took = curve.began.elapsed().unwrap_or_default();
        ensure!(!curve.histogram.is_empty(), "no message was measured");
        Ok(curve)
    }

    /// Waits until all clients have so many messages in all.
    ///
    /// # Errors
    /// When they don't get them, or too many.
    pub fn wait_for(&self, delivered: u64, within: Duration) -> Result<()> {
        let waited = crate::fake::wait_until(within, || {
            self.well()?;
            Ok(self.delivered() >= delivered)
        });
        waited.with_context(|| format!("{} of {delivered} messages came", self.delivered()))?;
        Ok(())
    }
}

/// One client.
struct Client {
    socket: tokio::net::TcpStream,
    frames: Frames,
    kind: Kind,
    /// Where the number of a message stands in it, once that is known.
    seq_at: usize,
    last_seq: u64,
    /// A trade's number, or a book's sequence.
    last: u64,
}

/// What one read brought.
#[derive(Default)]
struct Brought {
    messages: u64,
    snapshots: u64,
    subscribed: u64,
    missing: u64,
    told: u64,
    statuses: u64,
    bytes: usize,
}

fn read_all(sockets: Vec<TcpStream>, kind: Kind, shared: &Arc<Shared>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let mut clients = tokio::task::JoinSet::new();
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let client = Client {
                socket: tokio::net::TcpStream::from_std(socket)?,
                frames: Frames::default(),
                kind,
                seq_at: 0,
                last_seq: 0,
                last: 0,
            };
            clients.spawn_local(client.run(Arc::clone(shared)));
        }
        while !shared.stop.load(Ordering::Relaxed) {
            let pause = tokio::time::sleep(Duration::from_millis(20));
            tokio::select! {
                ended = clients.join_next() => match ended {
                    Some(Ok(result)) => result?,
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(()),
                },
                () = pause => {}
            }
        }
        Ok(())
    }))
}

impl Client {
    async fn run(mut self, shared: Arc<Shared>) -> Result<()> {
        loop {
            self.socket.readable().await?;
            let read = match self.socket.try_read(self.frames.room()) {
                Ok(0) => bail!("the connection was closed"),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            self.frames.filled(read);
            self.take(&shared)?;
        }
    }

    fn take(&mut self, shared: &Shared) -> Result<()> {
        let schedule = *lock(&shared.schedule);
        let now = Instant::now();
        let mut brought = Brought::default();
        let mut late: Vec<u64> = Vec::new();
        let mut frames = std::mem::take(&mut self.frames);
        while let Some((opcode, payload)) = frames.next_frame()? {
            match opcode {
                ws::TEXT => {
                    let number = self.message(payload, &mut brought)?;
                    let is_measured = |s: &Schedule| number >= s.measured && number < s.end;
                    if let Some(schedule) = schedule.filter(is_measured) {
                        let late_by = now.saturating_duration_since(schedule.due(number));
                        late.push(u64::try_from(late_by.as_nanos())?);
                    }
                }
                ws::PING => {
                    let mut pong = Vec::new();
                    ws::push_masked(&mut pong, ws::PONG, payload);
                    // A few bytes on a socket that is otherwise silent: there is always room.
                    self.socket.try_write(&pong)?;
                }
                ws::CLOSE => bail!(
                    "closed: {}",
                    String::from_utf8_lossy(payload.get(2..).unwrap_or_default())
                ),
                _ => {}
            }
        }
        self.frames = frames;
        add(shared, &brought, &late, now)
    }

    /// Looks at a message. Returns its number: a trade's id, 0 without one.
    fn message(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        match self.kind {
            Kind::Counted => {
                brought.messages += 1;
                brought.bytes = payload.len();
                Ok(0)
            }
            Kind::Numbered => {
                let id = digits(payload, b"{\"trade_id\":\"".len()).context("no number")?;
                let is_next = self.last == 0 || id == self.last + 1;
                ensure!(is_next, "number {id} after {}", self.last);
                self.last = id;
                brought.messages += 1;
                brought.bytes = payload.len();
                Ok(id)
            }
            Kind::Trades | Kind::PricedTrades | Kind::Books => self.bookwire(payload, brought),
        }
    }

    fn bookwire(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        const SEQ: &[u8] = b"\"seq\":";
        let Some(seq_at) = self.find_seq(payload, SEQ) else {
            return self.other(payload, brought);
        };
        let seq = digits(payload, seq_at).context("no seq")?;
        let gap = seq.checked_sub(self.last_seq + 1);
        let gap = gap.with_context(|| format!("seq {seq} after {}", self.last_seq))?;
        self.last_seq = seq;
        brought.missing += gap;
        brought.bytes = payload.len();
        if self.kind == Kind::Books {
            return self.book(payload, brought);
        }
        brought.messages += 1;
        let rest = &payload[seq_at..];
        let key = b"\"trade_id\":\"";
        let found = rest.windows(key.len()).position(|at| at == key);
        let id = found
            .and_then(|at| digits(rest, at + key.len()))
            .context("no id")?;
        let wanted = self.last + 1 + gap;
        ensure!(
            self.last == 0 || id == wanted,
            "trade {id} where {wanted} is due: {}",
            String::from_utf8_lossy(payload)
        );
        self.last = id;
        if self.kind == Kind::PricedTrades && id.is_multiple_of(16) {
            let price = format!("\"price\":{},", trade_price(id));
            let is_there = rest.windows(price.len()).any(|at| at == price.as_bytes());
            let text = String::from_utf8_lossy(payload);
            ensure!(is_there, "{price} is not in {text}");
        }
        Ok(id)
    }

    /// Where the digits of `seq` begin: in the same place in all messages of a subscription.
    fn find_seq(&mut self, payload: &[u8], key: &[u8]) -> Option<usize> {
        let at = self.seq_at;
        if at >= key.len() && payload.get(at - key.len()..at) == Some(key) {
            return Some(at);
        }
        let found = payload.windows(key.len()).position(|at| at == key)?;
        self.seq_at = found + key.len();
        Some(self.seq_at)
    }

    fn book(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        let behind = |key: &[u8]| {
            let found = payload.windows(key.len()).rposition(|at| at == key)?;
            digits(payload, found + key.len())
        };
        let sequence = behind(b"\"sequence\":").context("no sequence")?;
        match behind(b"\"prev_sequence\":") {
            Some(prev) => {
                ensure!(
                    prev == self.last,
                    "a change of {prev} after {}, which it does not apply to",
                    self.last
                );
                brought.messages += 1;
            }
            None => brought.snapshots += 1,
        }
        self.last = sequence;
        Ok(sequence)
    }

    /// Answers to requests, and what is told besides the data.
    fn other(&mut self, payload: &[u8], brought: &mut Brought) -> Result<u64> {
        let message: Value = serde_json::from_slice(payload)?;
        match message["stream"].as_str() {
            Some("system.flow") => {
                brought.told += message["data"]["dropped"].as_u64().context("no dropped")?;
            }
            Some("system.status") => brought.statuses += 1,
            _ => {
                let is_good = message["status"] == "subscribed";
                ensure!(is_good, "not subscribed: {message}");
                brought.subscribed += 1;
            }
        }
        Ok(0)
    }
}

fn add(shared: &Shared, brought: &Brought, late: &[u64], now: Instant) -> Result<()> {
    let relaxed = Ordering::Relaxed;
    shared.subscribed.fetch_add(brought.subscribed, relaxed);
    shared.snapshots.fetch_add(brought.snapshots, relaxed);
    let mut seen = lock(&shared.seen);
    seen.missing += brought.missing;
    seen.told += brought.told;
    seen.statuses += brought.statuses;
    seen.message_bytes = brought.bytes.max(seen.message_bytes);
    if !late.is_empty() {
        let curve = seen.curve.as_mut().context("measured without a curve")?;
        for late in late {
            curve.histogram.record(*late)?;
        }
        let worst = late.iter().copied().max().unwrap_or(0) as f64 / 1000.0;
        match seen.tenths.last_mut() {
            Some((began, most)) if now.duration_since(*began) < Duration::from_millis(100) => {
                *most = most.max(worst);
            }
            _ => seen.tenths.push((now, worst)),
        }
    }
    drop(seen);
    // Last, so that whoever sees the count sees the rest.
    shared.delivered.fetch_add(brought.messages, relaxed);
    Ok(())
}

/// The number whose digits begin there.
fn digits(text: &[u8], at: usize) -> Option<u64> {
    let digits = text
        .get(at..)?
        .iter()
        .take_while(|byte| byte.is_ascii_digit());
    let (mut value, mut count) = (0u64, 0);
    for digit in digits {
        value = value
            .checked_mul(10)?
            .checked_add(u64::from(digit - b'0'))?;
        count += 1;
    }
    (count > 0).then_some(value)
}

/// A thread's panic as an error.
///
/// # Errors
/// When it panicked.
pub fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    /// A server that sends some texts to its one client.
    fn told(kind: Kind, texts: &[&str]) -> (Crowd, JoinHandle<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut frames = Vec::new();
        for text in texts {
            ws::push_frame(&mut frames, ws::TEXT, text.as_bytes());
        }
        let server = thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            ws::accept(&mut socket).unwrap();
            socket.write_all(&frames).unwrap();
            socket
        });
        (Crowd::connect(address, 1, None, kind).unwrap(), server)
    }

    fn trade(seq: u64, id: u64, price: &str) -> String {
        format!(
            "{{\"stream\":\"crypto.trades\",\"provider\":\"binance\",\"symbol\":\"btcusdt\",\
             \"seq\":{seq},\"data\":{{\"trade_id\":\"{id}\",\"price\":{price},\"volume\":0.02}}}}"
        )
    }

    fn flow(dropped: u64) -> String {
        format!("{{\"stream\":\"system.flow\",\"data\":{{\"dropped\":{dropped}}}}}")
    }

    #[test]
    fn what_is_missing_is_counted_and_what_is_told_too() {
        let price = trade_price(32);
        let texts = [
            trade(1, 30, "1"),
            flow(1),
            trade(3, 32, &price),
            trade(4, 33, "1"),
        ];
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let (crowd, _server) = told(Kind::PricedTrades, &texts);
        crowd.wait_for(3, Duration::from_secs(5)).unwrap();
        let seen = crowd.seen();
        assert_eq!((seen.missing, seen.told), (1, 1));
    }

    #[test]
    fn whatever_is_wrong_is_noticed() {
        let one = trade(1, 30, "1");
        let book = |sequence: u64, prev: u64, seq: u64| {
            format!(
                "{{\"seq\":{seq},\"data\":{{\"type\":\"update\",\"bids\":[],\"asks\":[],\
                 \"sequence\":{sequence},\"prev_sequence\":{prev}}}}}"
            )
        };
        for (kind, second, reason) in [
            (Kind::Trades, trade(2, 32, "1"), "trade 32 where 31 is due"),
            (Kind::Trades, trade(2, 30, "1"), "trade 30 where 31 is due"),
            (Kind::Trades, trade(1, 31, "1"), "seq 1 after 1"),
            (Kind::PricedTrades, trade(3, 32, "1"), "is not in"),
            (
                Kind::Numbered,
                "{\"trade_id\":\"9\"".to_owned(),
                "number 9 after 7",
            ),
            (Kind::Books, book(9, 6, 2), "a change of 6 after 7"),
            (
                Kind::Trades,
                "{\"status\":\"error\"}".to_owned(),
                "not subscribed",
            ),
        ] {
            let first = match kind {
                Kind::Numbered => "{\"trade_id\":\"7\"".to_owned(),
                Kind::Books => book(7, 0, 1),
                _ => one.clone(),
            };
            let (crowd, _server) = told(kind, &[&first, &second]);
            let error = crowd.wait_for(9, Duration::from_secs(5)).unwrap_err();
            let error = format!("{error:#}");
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
