//! A client of the feed that keeps what it is told, and notices whatever is missing.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bookwire_sim::Exchange;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::{DEPTH, Symbol};

/// What a client subscribes to, for all symbols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// `crypto.trades`.
    Trades,
    /// `crypto.orderbook` as changes.
    Books,
    /// `crypto.ticker`.
    Tickers,
}

/// Provider and symbol.
pub(super) type Name = (String, String);

/// A trade as it was told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// The market's own number.
    pub(super) id: u64,
    pub(super) price: Decimal,
    pub(super) qty: Decimal,
}

/// A book as its changes make it.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    pub(super) bids: BTreeMap<Decimal, Decimal>,
    pub(super) asks: BTreeMap<Decimal, Decimal>,
    pub(super) sequence: u64,
}

#[derive(Default)]
struct Kept {
    messages: u64,
    last_seq: HashMap<Name, u64>,
    trades: HashMap<Name, Vec<Told>>,
    books: HashMap<Name, Book>,
    /// Told by `system.status` and `system.flow`.
    news: Vec<String>,
}

/// A connected client on a thread of its own.
pub(super) struct Client {
    kept: Arc<Mutex<Kept>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Client {
    /// Connects and subscribes to every symbol.
    pub(super) fn start(api: SocketAddr, stream: Stream, symbols: &[Symbol]) -> Result<Self> {
        let socket = TcpStream::connect(api)?;
        socket.set_nodelay(true)?;
        let (mut socket, _) = tungstenite::client(format!("ws://{api}/ws?numbers=string"), socket)
            .map_err(|error| anyhow!("no feed: {error}"))?;
        for (exchange, id) in Exchange::ALL.into_iter().zip(1..) {
            let its = symbols.iter().filter(|symbol| symbol.exchange == exchange);
            let names: Vec<&str> = its.map(|symbol| symbol.symbol.as_str()).collect();
            let mut params = json!({"provider": exchange.as_str(), "symbols": names});
            match stream {
                Stream::Trades => params["stream"] = "crypto.trades".into(),
                Stream::Tickers => params["stream"] = "crypto.ticker".into(),
                Stream::Books => {
                    params["stream"] = "crypto.orderbook".into();
                    params["mode"] = "delta".into();
                    params["depth"] = DEPTH.into();
                }
            }
            let request = json!({"id": id, "method": "subscribe", "params": params});
            socket.send(Message::text(request.to_string()))?;
        }
        // So that a stop is noticed.
        socket
            .get_ref()
            .set_read_timeout(Some(Duration::from_millis(100)))?;
        let kept = Arc::new(Mutex::new(Kept::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (kept, stop) = (Arc::clone(&kept), Arc::clone(&stop));
            thread::spawn(move || read(socket, &kept, &stop))
        };
        Ok(Self { kept, stop, thread })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Market messages so far.
    pub(super) fn messages(&self) -> u64 {
        self.kept().messages
    }

    /// Waits until so many books have begun.
    pub(super) fn wait_for_books(&self, wanted: usize, within: Duration) -> Result<()> {
        let end = Instant::now() + within;
        loop {
            let begun = self.kept().books.len();
            if begun == wanted {
                return Ok(());
            }
            ensure!(
                !self.thread.is_finished() && Instant::now() < end,
                "{begun} of {wanted} books began within {within:?}: {:?}",
                self.kept().news
            );
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Forgets what happened while everything was starting, but for the last trade of each symbol,
    /// which the next one has to follow.
    pub(super) fn begin(&self) {
        let mut kept = self.kept();
        kept.news.clear();
        for trades in kept.trades.values_mut() {
            trades.drain(..trades.len() - 1);
        }
    }

    /// Nothing was dropped, nothing broke, and the client still reads.
    pub(super) fn nothing_lost(&self) -> Result<()> {
        let news = &self.kept().news;
        ensure!(news.is_empty(), "clients were told: {news:?}");
        ensure!(!self.thread.is_finished(), "a client has stopped reading");
        Ok(())
    }

    /// Trades of a symbol, in the order in which they came.
    pub(super) fn trades(&self, name: &Name) -> Vec<Told> {
        self.kept().trades.get(name).cloned().unwrap_or_default()
    }

    /// The book of a symbol.
    pub(super) fn book(&self, name: &Name) -> Option<Book> {
        self.kept().books.get(name).cloned()
    }

    /// Stops reading; what went wrong on the way is told here.
    pub(super) fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("a client panicked"))?
    }
}

fn read(mut socket: WebSocket<TcpStream>, kept: &Mutex<Kept>, stop: &AtomicBool) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        let message = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => continue,
            Err(tungstenite::Error::Io(error))
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
            {
                continue;
            }
            Err(error) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.news.push(format!("the feed broke: {error}"));
                return Err(error.into());
            }
        };
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = kept.take(&message) {
            kept.news.push(format!("{error:#}: {message}"));
            return Err(error);
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    stream: Option<Cow<'a, str>>,
    provider: Option<String>,
    symbol: Option<String>,
    seq: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct TradeData<'a> {
    #[serde(borrow)]
    trade_id: Cow<'a, str>,
    #[serde(borrow)]
    price: Cow<'a, str>,
    #[serde(borrow)]
    volume: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BookData<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    bids: Vec<[Cow<'a, str>; 2]>,
    #[serde(borrow)]
    asks: Vec<[Cow<'a, str>; 2]>,
    sequence: u64,
    prev_sequence: Option<u64>,
}

impl Kept {
    fn take(&mut self, text: &str) -> Result<()> {
        let frame: Frame<'_> = serde_json::from_str(text)?;
        let Some(stream) = frame.stream else {
            return answered(text);
        };
        if stream.starts_with("system.") {
            self.news.push(text.to_owned());
            return Ok(());
        }
        self.messages += 1;
        let provider = frame.provider.context("no provider")?;
        let name = (provider, frame.symbol.context("no symbol")?);
        let seq = frame.seq.context("no seq")?;
        let last = self.last_seq.insert(name.clone(), seq).unwrap_or(0);
        ensure!(seq == last + 1, "seq {seq} after {last}");
        let data = frame.data.context("no data")?.get();
        match &*stream {
            "crypto.trades" => {
                let trade: TradeData<'_> = serde_json::from_str(data)?;
                let told = Told {
                    id: market_number(&name, &trade.trade_id)?,
                    price: trade.price.parse()?,
                    qty: trade.volume.parse()?,
                };
                self.trades.entry(name).or_default().push(told);
            }
            "crypto.orderbook" => self.books.entry(name).or_default().take(data)?,
            _ => {}
        }
        Ok(())
    }
}

/// Answers to requests; a symbol that is refused makes the figures meaningless.
fn answered(text: &str) -> Result<()> {
    let answer: Value = serde_json::from_str(text)?;
    let is_good = answer["status"] == "subscribed" && answer["rejected"] == json!([]);
    ensure!(is_good, "not subscribed");
    Ok(())
}

/// The simulated market's own number of a trade: Bybit's ids are made of it.
fn market_number((provider, symbol): &Name, id: &str) -> Result<u64> {
    if provider == "bybit" && symbol.ends_with("-perp") {
        let last = id.rsplit('-').next().unwrap_or_default();
        return Ok(u64::from_str_radix(last, 16)?);
    }
    let number: u64 = id.parse()?;
    Ok(match provider.as_str() {
        "bybit" => number - 2_290_000_000_000_000_000,
        _ => number,
    })
}

impl Book {
    fn take(&mut self, data: &str) -> Result<()> {
        let data: BookData<'_> = serde_json::from_str(data)?;
        match &*data.kind {
            "snapshot" => {
                self.bids.clear();
                self.asks.clear();
            }
            "update" => ensure!(
                data.prev_sequence == Some(self.sequence),
                "an update that does not apply after {}",
                self.sequence
            ),
            other => bail!("a book's message of the type {other}"),
        }
        self.sequence = data.sequence;
        for (side, levels) in [(&mut self.bids, data.bids), (&mut self.asks, data.asks)] {
            for [price, qty] in levels {
                let (price, qty) = (price.parse::<Decimal>()?, qty.parse::<Decimal>()?);
                if qty.is_zero() {
                    ensure!(
                        side.remove(&price).is_some(),
                        "{price} is removed and not there"
                    );
                } else {
                    side.insert(price, qty);
                }
            }
        }
        Ok(())
    }
}
