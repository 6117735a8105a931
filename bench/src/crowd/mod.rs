//! Clients by the hundred on one thread, which read all that comes, count it, and notice whatever is
//! missing, out of order or not what it should be.

mod client;

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::histogram::Curve;
use crate::ws;
use client::{Brought, Client};

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

fn read_all(sockets: Vec<TcpStream>, kind: Kind, shared: &Arc<Shared>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        let mut clients = tokio::task::JoinSet::new();
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let client = Client::new(tokio::net::TcpStream::from_std(socket)?, kind);
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
        // Between two phases some are still on their way: they belong to neither.
        if let Some(curve) = seen.curve.as_mut() {
            for late in late {
                curve.histogram.record(*late)?;
            }
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
    use crate::fake::trade_price;

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
