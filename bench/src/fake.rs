//! An exchange that can send faster than any: just enough of Binance's spot interface, REST and
//! streams, for what is measured to come up and to be flooded with bytes that were made beforehand.
//!
//! It acknowledges what it is asked, remembers on which connection a stream was subscribed, and
//! hands that connection out. What is written there is a scenario's own affair.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::ws::{self, CLOSE, Frames, PING, PONG, TEXT};

/// Instruments, as the exchange lists them: one, with a tick of a cent.
const EXCHANGE_INFO: &str = r#"{"timezone":"UTC","serverTime":1700000000000,"rateLimits":[],"exchangeFilters":[],"symbols":[{"symbol":"BTCUSDT","status":"TRADING","baseAsset":"BTC","baseAssetPrecision":8,"quoteAsset":"USDT","quotePrecision":8,"quoteAssetPrecision":8,"baseCommissionPrecision":8,"quoteCommissionPrecision":8,"orderTypes":["LIMIT","MARKET"],"icebergAllowed":true,"ocoAllowed":true,"isSpotTradingAllowed":true,"isMarginTradingAllowed":true,"filters":[{"filterType":"PRICE_FILTER","minPrice":"0.01000000","maxPrice":"1000000.00000000","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","minQty":"0.00001000","maxQty":"9000.00000000","stepSize":"0.00001000"},{"filterType":"NOTIONAL","minNotional":"5.00000000","applyMinToMarket":true,"maxNotional":"9000000.00000000","applyMaxToMarket":false,"avgPriceMins":5}],"permissions":["SPOT"],"permissionSets":[["SPOT"]],"defaultSelfTradePreventionMode":"NONE","allowedSelfTradePreventionModes":["NONE"]}]}"#;

/// A minute, milliseconds.
const MINUTE: u64 = 60_000;

/// The trades' stream of the one instrument.
pub const TRADES: &str = "btcusdt@trade";
/// The stream of the book's changes.
pub const DEPTH: &str = "btcusdt@depth@100ms";

type Socket = Arc<Mutex<TcpStream>>;

#[derive(Default)]
struct Shared {
    /// By the stream's name: the latest connection that asked for it.
    streams: Mutex<HashMap<String, Socket>>,
    changed: Condvar,
    snapshot: Mutex<Vec<u8>>,
    /// Close frames that came from clients.
    closed: Mutex<usize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exchange. Its threads end with the process.
pub struct Fake {
    shared: Arc<Shared>,
    rest: SocketAddr,
    stream: SocketAddr,
}

/// A connection that streams are written to.
#[derive(Clone)]
pub struct Outlet(Socket);

impl Outlet {
    /// A connection of any kind.
    #[must_use]
    pub fn of(socket: TcpStream) -> Self {
        Self(Arc::new(Mutex::new(socket)))
    }

    /// Writes whole frames.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn write(&self, frames: &[u8]) -> Result<()> {
        Ok(lock(&self.0).write_all(frames)?)
    }
}

impl Fake {
    /// Starts it with the book's snapshot, as the exchange tells it.
    ///
    /// # Errors
    /// When it can't listen.
    pub fn start(snapshot: &[u8]) -> Result<Self> {
        let rest = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpListener::bind("127.0.0.1:0")?;
        let shared = Arc::new(Shared::default());
        *lock(&shared.snapshot) = snapshot.to_vec();
        let fake = Self {
            rest: rest.local_addr()?,
            stream: stream.local_addr()?,
            shared: Arc::clone(&shared),
        };
        let for_rest = Arc::clone(&shared);
        thread::spawn(move || {
            for socket in rest.incoming().flatten() {
                let shared = Arc::clone(&for_rest);
                thread::spawn(move || answer(socket, &shared));
            }
        });
        thread::spawn(move || {
            for socket in stream.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A connection that breaks is its client's affair.
                thread::spawn(move || drop(serve(socket, &shared)));
            }
        });
        Ok(fake)
    }

    /// Where its streams are.
    #[must_use]
    pub const fn stream(&self) -> SocketAddr {
        self.stream
    }

    /// Where its REST interface is.
    #[must_use]
    pub const fn rest(&self) -> SocketAddr {
        self.rest
    }

    /// A gateway's configuration for it: `always` are the instruments whose streams are always on.
    #[must_use]
    pub fn config(&self, always: &[&str]) -> String {
        let mut text = format!(
            "[providers.binance]\nmarkets = [\"spot\"]\nsymbols = {always:?}\n\n\
             [providers.binance.hosts]\n\"api.binance.com\" = \"http://{}\"\n\
             \"stream.binance.com:9443\" = \"ws://{}\"\n\n",
            self.rest, self.stream
        );
        // It has no history.
        text.push_str("[data_collection]\ndefault_backfill_days = 0\n\n");
        text.push_str(&others_are_off());
        text
    }

    /// The connection on which a stream was subscribed.
    ///
    /// # Errors
    /// When nobody subscribes in time.
    pub fn outlet(&self, stream: &str, within: Duration) -> Result<Outlet> {
        let end = Instant::now() + within;
        let mut streams = lock(&self.shared.streams);
        loop {
            if let Some(socket) = streams.get(stream) {
                return Ok(Outlet(Arc::clone(socket)));
            }
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "nobody subscribed to {stream} within {within:?}; there are {:?}",
                streams.keys()
            );
            let waited = self.shared.changed.wait_timeout(streams, left);
            streams = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Forgets who subscribed, so that the next one is waited for.
    pub fn forget(&self) {
        lock(&self.shared.streams).clear();
        *lock(&self.shared.closed) = 0;
    }

    /// Waits for a client's close frame.
    ///
    /// # Errors
    /// When none comes in time.
    pub fn wait_for_close(&self, within: Duration) -> Result<()> {
        let mut closed = lock(&self.shared.closed);
        let end = Instant::now() + within;
        while *closed == 0 {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "no close frame came within {within:?}");
            let waited = self.shared.changed.wait_timeout(closed, left);
            closed = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }
}

/// A gateway's configuration in which nothing looks for other exchanges, the real ones.
pub(crate) fn others_are_off() -> String {
    let all = bookwire_engine::exchange::ProviderId::all();
    all.filter(|id| id.name() != "binance")
        .map(|id| format!("[providers.{}]\nenabled = false\n\n", id.name()))
        .collect()
}

/// Reads what a client of the streams asks for, and answers.
fn serve(mut socket: TcpStream, shared: &Shared) -> Result<()> {
    socket.set_nodelay(true)?;
    let path = ws::accept(&mut socket)?;
    let writer: Socket = Arc::new(Mutex::new(socket.try_clone()?));
    // Streams may be named in the path too.
    if let Some((_, names)) = path.split_once("streams=") {
        let names: Vec<&str> = names.split('/').collect();
        subscribed(shared, &names, &writer);
    }
    let mut frames = Frames::default();
    loop {
        let read = socket.read(frames.room())?;
        if read == 0 {
            return Ok(());
        }
        frames.filled(read);
        while let Some((opcode, payload)) = frames.next_frame()? {
            let mut out = Vec::new();
            match opcode {
                TEXT => {
                    let request: Value = serde_json::from_slice(payload)?;
                    let answer = format!("{{\"result\":null,\"id\":{}}}", request["id"]);
                    ws::push_frame(&mut out, TEXT, answer.as_bytes());
                    lock(&writer).write_all(&out)?;
                    // Only now may data follow.
                    if request["method"] == "SUBSCRIBE" {
                        let names = request["params"].as_array().context("no params")?;
                        let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                        subscribed(shared, &names, &writer);
                    }
                }
                PING => {
                    ws::push_frame(&mut out, PONG, payload);
                    lock(&writer).write_all(&out)?;
                }
                CLOSE => {
                    *lock(&shared.closed) += 1;
                    shared.changed.notify_all();
                    return Ok(());
                }
                _ => {}
            }
        }
    }
}

fn subscribed(shared: &Shared, names: &[&str], writer: &Socket) {
    let mut streams = lock(&shared.streams);
    for name in names {
        streams.insert((*name).to_owned(), Arc::clone(writer));
    }
    shared.changed.notify_all();
}

/// One answer a connection.
fn answer(mut socket: TcpStream, shared: &Shared) {
    let mut request = Vec::new();
    let mut buffer = [0u8; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match socket.read(&mut buffer) {
            Ok(read) if read > 0 && request.len() < 65_536 => {
                request.extend_from_slice(&buffer[..read]);
            }
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let target = request.split(' ').nth(1).unwrap_or_default();
    let body = body(target, &lock(&shared.snapshot));
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    let _ = socket.write_all(&[head.as_bytes(), &body].concat());
}

/// What a request for public data is answered with.
pub(crate) fn body(target: &str, snapshot: &[u8]) -> Vec<u8> {
    match target.split('?').next().unwrap_or_default() {
        path if path.ends_with("/exchangeInfo") => EXCHANGE_INFO.as_bytes().to_vec(),
        path if path.ends_with("/time") => {
            format!("{{\"serverTime\":{}}}", unix_millis()).into_bytes()
        }
        path if path.ends_with("/depth") => snapshot.to_vec(),
        path if path.ends_with("/klines") => klines(target).into_bytes(),
        _ => b"[]".to_vec(),
    }
}

/// Milliseconds since the Unix epoch.
#[must_use]
pub fn unix_millis() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| since.as_millis() as u64)
}

/// Bars of a minute in a range, each of them made from its time.
fn klines(path: &str) -> String {
    let value = |name: &str| -> Option<u64> {
        let query = path.split('?').nth(1)?;
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(key, _)| *key == name)?.1.parse().ok()
    };
    let now = unix_millis();
    let limit = value("limit").unwrap_or(500).clamp(1, 1000);
    let end = value("endTime").unwrap_or(now).min(now) / MINUTE;
    let start = match value("startTime") {
        Some(start) => start.div_ceil(MINUTE),
        None => (end + 1).saturating_sub(limit),
    };
    let bars = (start..=end).take(limit as usize).map(kline);
    format!("[{}]", bars.collect::<Vec<_>>().join(","))
}

fn kline(minute: u64) -> String {
    let cents = 6_000_000 + minute * 7_919 % 100_000;
    let price = |cents: u64| format!("{}.{:02}000000", cents / 100, cents % 100);
    let open_ms = minute * MINUTE;
    let volume = (10 + minute % 90) * 100_000 + minute * 31 % 100_000;
    // What was traded has to fit to prices and volume, else the bar is not stored.
    let turnover = cents * volume;
    let volume = format!("{}.{:05}000", volume / 100_000, volume % 100_000);
    let turnover = format!("{}.{:07}0", turnover / 10_000_000, turnover % 10_000_000);
    format!(
        "[{open_ms},\"{}\",\"{}\",\"{}\",\"{}\",\"{volume}\",{},\"{turnover}\",{},\"5.10000000\",\
         \"310000.00000000\",\"0\"]",
        price(cents),
        price(cents + 900),
        price(cents - 800),
        price(cents + 300),
        open_ms + MINUTE - 1,
        1_000 + minute % 500,
    )
}

/// A trade's frame, whole: id, price and time are what the id says.
pub fn push_trade(out: &mut Vec<u8>, id: u64) {
    let payload = format!(
        "{{\"stream\":\"{TRADES}\",\"data\":{{\"e\":\"trade\",\"E\":{time},\"s\":\"BTCUSDT\",\
         \"t\":{id},\"p\":\"{}.{:02}000000\",\"q\":\"0.02000000\",\"T\":{time},\"m\":true,\
         \"M\":true}}}}",
        60_000 + id % 1_000,
        10 + id % 90,
        time = 1_700_000_000_000 + id,
    );
    ws::push_frame(out, TEXT, payload.as_bytes());
}

/// The price that a client has to be told for a trade of [`push_trade`].
#[must_use]
pub fn trade_price(id: u64) -> String {
    let text = format!("{}.{:02}", 60_000 + id % 1_000, 10 + id % 90);
    text.trim_end_matches('0').to_owned()
}

/// Waits for a condition, asked every few milliseconds.
///
/// # Errors
/// When it does not come true in time; what was asked last is told.
pub fn wait_until(within: Duration, mut is_true: impl FnMut() -> Result<bool>) -> Result<()> {
    let end = Instant::now() + within;
    while !is_true()? {
        if Instant::now() > end {
            bail!("not within {within:?}");
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_fill_the_range_that_is_asked_for() {
        let text =
            klines("/api/v3/klines?symbol=BTCUSDT&startTime=60000&endTime=299999&limit=1000");
        let bars: Vec<Value> = serde_json::from_str(&text).unwrap();
        let times: Vec<u64> = bars.iter().map(|bar| bar[0].as_u64().unwrap()).collect();
        assert_eq!(times, [60_000, 120_000, 180_000, 240_000]);
        let latest: Vec<Value> = serde_json::from_str(&klines("/k?limit=3")).unwrap();
        assert_eq!(latest.len(), 3);
        for bar in bars.iter().chain(&latest) {
            let price = |at: usize| bar[at].as_str().unwrap().parse::<f64>().unwrap();
            assert!(price(3) <= price(1) && price(4) <= price(2), "{bar}");
            let mean = price(7) / price(5);
            assert!(price(3) <= mean && mean <= price(2), "{bar}");
        }
    }

    #[test]
    fn a_subscriber_is_found_and_gets_what_is_written() {
        let fake = Fake::start(b"{}").unwrap();
        let within = Duration::from_secs(5);
        assert!(fake.outlet(TRADES, Duration::ZERO).is_err());
        let mut socket = ws::connect(fake.stream(), "/stream").unwrap();
        let request = r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":7}"#;
        ws::send_text(&mut socket, request).unwrap();
        let outlet = fake.outlet(TRADES, within).unwrap();
        let mut bytes = Vec::new();
        push_trade(&mut bytes, 12);
        outlet.write(&bytes).unwrap();
        let (mut frames, mut texts) = (Frames::default(), Vec::new());
        while texts.len() < 2 {
            let read = socket.read(frames.room()).unwrap();
            frames.filled(read);
            while let Some((_, payload)) = frames.next_frame().unwrap() {
                texts.push(serde_json::from_slice::<Value>(payload).unwrap());
            }
        }
        assert_eq!(texts[0]["id"], 7);
        assert_eq!(texts[1]["data"]["t"], 12);
        assert_eq!(texts[1]["data"]["p"], "60012.22000000");
        assert_eq!(trade_price(12), "60012.22");
        let mut close = Vec::new();
        ws::push_masked(&mut close, CLOSE, &[]);
        socket.write_all(&close).unwrap();
        fake.wait_for_close(within).unwrap();
    }
}
