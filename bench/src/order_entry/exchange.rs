//! An exchange that takes orders and says when each request reached it: as much of Binance's spot
//! interface as a gateway with a live account needs, in its real words, and nothing behind it.
//!
//! It does not check signatures and matches nothing: an order rests until it is canceled. The number of
//! an order is in its price, so that a request can be followed through whoever passes it on. As at the
//! real one, each change is told on the private stream too, with the balance that it changed.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::http::{Message, Talk, answer};
use crate::fake::{self, DEPTH, Fake, unix_millis, wait_until};
use crate::ws::{self, CLOSE, Frames, PING, PONG, TEXT};

/// The one pair's book: its middle is far above all orders.
const SNAPSHOT: &str = r#"{"lastUpdateId":1000,"bids":[["59999.00000000","1.00000000"],["59998.00000000","2.00000000"]],"asks":[["60001.00000000","1.00000000"],["60002.00000000","2.00000000"]]}"#;

/// The weight that may be used.
const LIMITS: &str = r#""rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":100000000}]"#;

/// Price of order 0, cents; each further one costs a cent more.
pub const FIRST_CENTS: u64 = 2_000_000;
/// Orders that there are prices for: up to half of the market's.
pub const ORDERS_MAX: u64 = 1_000_000;
/// Quantity of each order, base units, as written and in units of 10⁻³.
pub const QUANTITY: &str = "0.001";
const WALLET_MICROS: u64 = 1_000_000_000_000;

/// The price of an order, as a client writes it.
#[must_use]
pub fn price(number: u64) -> String {
    let cents = FIRST_CENTS + number;
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// The order whose price that is.
fn number_of(price: &str) -> Option<u64> {
    let (whole, part) = price.split_once('.').unwrap_or((price, ""));
    let part = format!("{part:0<2}");
    let (cents, rest) = part.split_at(2);
    let cents = whole.parse::<u64>().ok()? * 100 + cents.parse::<u64>().ok()?;
    let is_whole = rest.bytes().all(|digit| digit == b'0');
    cents.checked_sub(FIRST_CENTS).filter(|_| is_whole)
}

/// A request about an order, seen from the exchange.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Its last byte was read.
    pub arrived: Instant,
    /// The answer was about to be written.
    pub answered: Instant,
}

/// Order's number, and whether it was canceled → when.
pub type Log = BTreeMap<(u64, bool), Seen>;

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    /// Client's id → number of orders that rest.
    resting: Mutex<BTreeMap<String, u64>>,
    /// Connections that a spot account's events are told on.
    private: Mutex<Vec<TcpStream>>,
    /// What went wrong, first of all.
    trouble: Mutex<Option<String>>,
    is_over: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The exchange. Its threads end with the process, its market's when it is dropped.
pub struct Exchange {
    shared: Arc<Shared>,
    fake: Fake,
    rest: SocketAddr,
    private: SocketAddr,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
    }
}

impl Exchange {
    /// Starts it.
    ///
    /// # Errors
    /// When it can't listen.
    pub fn start() -> Result<Self> {
        let rest = TcpListener::bind("127.0.0.1:0")?;
        let private = TcpListener::bind("127.0.0.1:0")?;
        let exchange = Self {
            shared: Arc::default(),
            fake: Fake::start(SNAPSHOT.as_bytes())?,
            rest: rest.local_addr()?,
            private: private.local_addr()?,
        };
        let shared = exchange.shared.clone();
        thread::spawn(move || {
            for socket in rest.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || {
                    // A connection that its client has closed is that one's affair.
                    if let Err(error) = serve(socket, &shared) {
                        let is_over = shared.is_over.load(Ordering::Relaxed);
                        if !is_over && error.downcast_ref::<std::io::Error>().is_none() {
                            lock(&shared.trouble).get_or_insert(format!("{error:#}"));
                        }
                    }
                });
            }
        });
        let shared = exchange.shared.clone();
        thread::spawn(move || {
            for socket in private.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || drop(tell(socket, &shared)));
            }
        });
        Ok(exchange)
    }

    /// Where requests go.
    #[must_use]
    pub const fn rest(&self) -> SocketAddr {
        self.rest
    }

    /// A gateway's configuration for it, with a live account.
    #[must_use]
    pub fn config(&self) -> String {
        let (rest, private, stream) = (self.rest, self.private, self.fake.stream());
        let mut text = format!(
            "[providers.binance]\nsymbols = [\"btcusdt\"]\n\n[providers.binance.trading]\n\
             mode = \"live\"\n\n[providers.binance.hosts]\n\
             \"api.binance.com\" = \"http://{rest}\"\n\"fapi.binance.com\" = \"http://{rest}\"\n\
             \"stream.binance.com:9443\" = \"ws://{stream}\"\n\
             \"fstream.binance.com\" = \"ws://{private}\"\n\
             \"ws-api.binance.com:443\" = \"ws://{private}\"\n\n\
             [data_collection]\ndefault_backfill_days = 0\n\n"
        );
        text.push_str(&fake::others_are_off());
        text
    }

    /// Keeps the book alive as the real one does, ten changes a second.
    ///
    /// # Errors
    /// When nobody subscribes to it in time.
    pub fn run_market(&self, within: Duration) -> Result<()> {
        let outlet = self.fake.outlet(DEPTH, within)?;
        let shared = self.shared.clone();
        thread::spawn(move || {
            let mut update = 1_001u64;
            while !shared.is_over.load(Ordering::Relaxed) {
                let text = format!(
                    "{{\"stream\":\"{DEPTH}\",\"data\":{{\"e\":\"depthUpdate\",\"E\":{},\
                     \"s\":\"BTCUSDT\",\"U\":{update},\"u\":{update},\
                     \"b\":[[\"59998.00000000\",\"{}.00000000\"]],\"a\":[]}}}}",
                    unix_millis(),
                    1 + update % 9
                );
                let mut frame = Vec::new();
                ws::push_frame(&mut frame, TEXT, text.as_bytes());
                if outlet.write(&frame).is_err() {
                    return;
                }
                update += 1;
                thread::sleep(Duration::from_millis(100));
            }
        });
        Ok(())
    }

    /// Waits until somebody listens to the account.
    ///
    /// # Errors
    /// When nobody does in time.
    pub fn wait_for_listener(&self, within: Duration) -> Result<()> {
        wait_until(within, || Ok(!lock(&self.shared.private).is_empty()))
            .context("nobody listens to the account")
    }

    /// What has been seen since this was asked before.
    ///
    /// # Errors
    /// When a request was not understood, or came twice.
    pub fn take(&self) -> Result<Log> {
        if let Some(trouble) = lock(&self.shared.trouble).take() {
            anyhow::bail!("the exchange: {trouble}");
        }
        Ok(std::mem::take(&mut *lock(&self.shared.log)))
    }
}

/// The value of a parameter, wherever it travels.
fn parameter<'a>(target: &'a str, body: &'a str, name: &str) -> Option<&'a str> {
    let query = target.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query
        .split('&')
        .chain(body.split('&'))
        .filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn serve(socket: TcpStream, shared: &Shared) -> Result<()> {
    let mut talk = Talk::new(socket)?;
    while let Some(message) = talk.next()? {
        let arrived = Instant::now();
        let path = message.word(1).split('?').next().unwrap_or_default();
        let order = match (message.word(0), path) {
            ("POST", "/api/v3/order") => Some(Order::placed(&message, shared)?),
            ("DELETE", "/api/v3/order") => Some(Order::canceled(&message, shared)?),
            _ => None,
        };
        let Some(order) = order else {
            let body = match standing(path) {
                Some(text) => text.to_owned(),
                None => {
                    let body = fake::body(message.word(1), SNAPSHOT.as_bytes());
                    // Nobody is held up by a limit that only the real exchange has.
                    String::from_utf8(body)?.replace("\"rateLimits\":[]", LIMITS)
                }
            };
            talk.write(&answer("200 OK", &body))?;
            continue;
        };
        let bytes = answer("200 OK", &order.answer());
        let seen = Seen {
            arrived,
            answered: Instant::now(),
        };
        talk.write(&bytes)?;
        let key = (order.number, order.cancel_id.is_some());
        let before = lock(&shared.log).insert(key, seen);
        ensure!(before.is_none(), "order {key:?} came twice");
        order.tell(shared);
    }
    Ok(())
}

/// What does not change while it is measured.
fn standing(path: &str) -> Option<&'static str> {
    Some(match path {
        "/fapi/v1/exchangeInfo" => r#"{"timezone":"UTC","rateLimits":[],"symbols":[]}"#,
        "/api/v3/account" => {
            r#"{"makerCommission":10,"takerCommission":10,"canTrade":true,"accountType":"SPOT","balances":[{"asset":"USDT","free":"1000000.00000000","locked":"0.00000000"}],"permissions":["SPOT"],"uid":1}"#
        }
        "/fapi/v1/positionSide/dual" => r#"{"dualSidePosition":false}"#,
        "/fapi/v1/listenKey" => r#"{"listenKey":"benchbenchbenchbench"}"#,
        "/sapi/v1/account/apiRestrictions" => {
            r#"{"ipRestrict":false,"createTime":1700000000000,"enableReading":true,"enableWithdrawals":false,"enableInternalTransfer":false,"enableMargin":false,"enableFutures":true,"enableSpotAndMarginTrading":true}"#
        }
        _ => return None,
    })
}

/// An order that was placed or canceled just now.
struct Order {
    number: u64,
    client_id: String,
    /// The id of its cancellation.
    cancel_id: Option<String>,
    at: u64,
    /// Held by all that rest, millionths of a dollar.
    held: u64,
}

impl Order {
    fn placed(message: &Message, shared: &Shared) -> Result<Self> {
        let (target, body) = (message.word(1), std::str::from_utf8(&message.body)?);
        let of = |name: &str| {
            parameter(target, body, name).with_context(|| format!("no {name}: {target} {body}"))
        };
        let number = number_of(of("price")?);
        let number = number.with_context(|| format!("another price: {target} {body}"))?;
        ensure!(
            of("quantity")?.trim_end_matches('0') == QUANTITY,
            "another quantity: {target} {body}"
        );
        let client_id = of("newClientOrderId")?.to_owned();
        let mut resting = lock(&shared.resting);
        resting.insert(client_id.clone(), number);
        Ok(Self {
            number,
            client_id,
            cancel_id: None,
            at: unix_millis(),
            held: held(&resting),
        })
    }

    fn canceled(message: &Message, shared: &Shared) -> Result<Self> {
        let (target, body) = (message.word(1), std::str::from_utf8(&message.body)?);
        let mut resting = lock(&shared.resting);
        let client_id = match parameter(target, body, "orderId") {
            Some(id) => {
                let number = id.parse::<u64>()? - 1;
                let mut all = resting.iter();
                all.find(|(_, of)| **of == number).map(|(id, _)| id.clone())
            }
            None => parameter(target, body, "origClientOrderId").map(str::to_owned),
        };
        let client_id = client_id.with_context(|| format!("no such order: {target} {body}"))?;
        let number = resting.remove(&client_id);
        let number = number.with_context(|| format!("no order {client_id}"))?;
        Ok(Self {
            number,
            client_id,
            cancel_id: Some(format!("cancel{number}")),
            at: unix_millis(),
            held: held(&resting),
        })
    }

    /// What the request is answered with, in the form of `FULL`.
    fn answer(&self) -> String {
        let Self {
            number,
            client_id,
            at,
            ..
        } = self;
        let (id, price) = (number + 1, price(*number));
        let terms = "\"executedQty\":\"0.00000000\",\"origQuoteOrderQty\":\"0.00000000\",\
                     \"cummulativeQuoteQty\":\"0.00000000\"";
        let more = "\"timeInForce\":\"GTC\",\"type\":\"LIMIT\",\"side\":\"BUY\"";
        match &self.cancel_id {
            None => format!(
                "{{\"symbol\":\"BTCUSDT\",\"orderId\":{id},\"orderListId\":-1,\
                 \"clientOrderId\":\"{client_id}\",\"transactTime\":{at},\"price\":\"{price}000000\",\
                 \"origQty\":\"0.00100000\",{terms},\"status\":\"NEW\",{more},\"workingTime\":{at},\
                 \"fills\":[],\"selfTradePreventionMode\":\"NONE\"}}"
            ),
            Some(cancel) => format!(
                "{{\"symbol\":\"BTCUSDT\",\"origClientOrderId\":\"{client_id}\",\"orderId\":{id},\
                 \"orderListId\":-1,\"clientOrderId\":\"{cancel}\",\"transactTime\":{at},\
                 \"price\":\"{price}000000\",\"origQty\":\"0.00100000\",{terms},\
                 \"status\":\"CANCELED\",{more},\"selfTradePreventionMode\":\"NONE\"}}"
            ),
        }
    }

    /// Tells whoever listens to the account.
    fn tell(&self, shared: &Shared) {
        let Self {
            number, at, held, ..
        } = self;
        let (id, price) = (number + 1, price(*number));
        let (own, original, word) = match &self.cancel_id {
            None => (&*self.client_id, "", "NEW"),
            Some(cancel) => (&**cancel, &*self.client_id, "CANCELED"),
        };
        let dollars = |micros: u64| format!("{}.{:06}00", micros / 1_000_000, micros % 1_000_000);
        let (free, held) = (dollars(WALLET_MICROS - held), dollars(*held));
        let events = [
            format!(
                "{{\"e\":\"executionReport\",\"E\":{at},\"s\":\"BTCUSDT\",\"c\":\"{own}\",\"S\":\"BUY\",\
                 \"o\":\"LIMIT\",\"f\":\"GTC\",\"q\":\"0.00100000\",\"p\":\"{price}000000\",\
                 \"P\":\"0.00000000\",\"F\":\"0.00000000\",\"g\":-1,\"C\":\"{original}\",\"x\":\"{word}\",\
                 \"X\":\"{word}\",\"r\":\"NONE\",\"i\":{id},\"l\":\"0.00000000\",\"z\":\"0.00000000\",\
                 \"L\":\"0.00000000\",\"n\":\"0\",\"N\":null,\"T\":{at},\"t\":-1,\"I\":{id},\"w\":true,\
                 \"m\":false,\"M\":false,\"O\":{at},\"Z\":\"0.00000000\",\"Y\":\"0.00000000\",\
                 \"Q\":\"0.00000000\",\"W\":{at},\"V\":\"NONE\"}}"
            ),
            format!(
                "{{\"e\":\"outboundAccountPosition\",\"E\":{at},\"u\":{at},\
                 \"B\":[{{\"a\":\"USDT\",\"f\":\"{free}\",\"l\":\"{held}\"}}]}}"
            ),
        ];
        let mut frames = Vec::new();
        for event in events {
            let text = format!("{{\"subscriptionId\":0,\"event\":{event}}}");
            ws::push_frame(&mut frames, TEXT, text.as_bytes());
        }
        let write = |mut socket: &TcpStream| std::io::Write::write_all(&mut socket, &frames);
        lock(&shared.private).retain(|socket| write(socket).is_ok());
    }
}

/// What all orders that rest hold, millionths of a dollar: a cent of price is ten of them.
fn held(resting: &BTreeMap<String, u64>) -> u64 {
    let one = |number: &u64| (FIRST_CENTS + number) * 10;
    resting.values().map(one).sum()
}

/// A private connection: of spot one that subscribes, of futures one that has nothing to tell.
fn tell(mut socket: TcpStream, shared: &Shared) -> Result<()> {
    socket.set_nodelay(true)?;
    ws::accept(&mut socket)?;
    let mut frames = Frames::default();
    loop {
        let read = std::io::Read::read(&mut socket, frames.room())?;
        if read == 0 {
            return Ok(());
        }
        frames.filled(read);
        while let Some((opcode, payload)) = frames.next_frame()? {
            let mut out = Vec::new();
            match opcode {
                TEXT => {
                    let request: serde_json::Value = serde_json::from_slice(payload)?;
                    let text = format!(
                        "{{\"id\":{},\"status\":200,\"result\":{{\"subscriptionId\":0}},\
                         \"rateLimits\":[]}}",
                        request["id"]
                    );
                    ws::push_frame(&mut out, TEXT, text.as_bytes());
                    std::io::Write::write_all(&mut socket, &out)?;
                    // Only now may events follow.
                    lock(&shared.private).push(socket.try_clone()?);
                }
                PING => {
                    ws::push_frame(&mut out, PONG, payload);
                    std::io::Write::write_all(&mut socket, &out)?;
                }
                CLOSE => return Ok(()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_known_by_its_price() {
        for number in [0, 1, 99, 100, 123_456, ORDERS_MAX] {
            assert_eq!(number_of(&price(number)), Some(number));
            assert_eq!(number_of(&format!("{}0000", price(number))), Some(number));
        }
        assert_eq!(number_of("20000.5"), Some(50));
        assert_eq!(number_of("20000"), Some(0));
        for other in ["19999.99", "20000.001", "x", ""] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    #[test]
    fn what_orders_hold_is_counted_and_let_go() {
        let mut resting = BTreeMap::from([("a".to_owned(), 0), ("b".to_owned(), 5)]);
        // 0.001 of 20000.00 and of 20000.05 dollars.
        assert_eq!(held(&resting), 20_000_000 + 20_000_050);
        resting.remove("a");
        assert_eq!(held(&resting), 20_000_050);
    }
}
