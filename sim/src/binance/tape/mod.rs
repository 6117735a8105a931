//! A market served from recorded messages.
//!
//! The book is kept along the way, from the recorded snapshot and the diffs, so that a client that
//! comes late gets a snapshot that fits what follows. A client that comes before the recorded
//! snapshot gets that one.

mod read;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use rust_decimal::Decimal;
use serde::Deserialize;

use super::stream::Kind;
use crate::config::{ReplaySpeed, ReplayStart};
use crate::market::Segment;

pub(crate) use read::load;

/// Diffs kept until the snapshot comes.
const PENDING_MAX: usize = 100_000;
/// Messages handed out in one go.
pub(super) const CHUNK: usize = 256;

/// Price text and quantity text by price.
type Side = BTreeMap<Decimal, (String, String)>;

/// A recorded symbol.
#[derive(Debug, Default)]
pub(crate) struct TapeSymbol {
    pub(crate) name: String,
    /// Its entry of a recorded exchangeInfo.
    info: Option<String>,
    book: TapeBook,
    /// The snapshot that is still to come.
    ahead: Option<Snapshot>,
}

#[derive(Debug, Default)]
struct TapeBook {
    is_loaded: bool,
    last_id: u64,
    bids: Side,
    asks: Side,
    pending: Vec<Diff>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Snapshot {
    last_id: u64,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
struct Diff {
    last_id: u64,
    bids: Vec<(String, String)>,
    asks: Vec<(String, String)>,
}

#[derive(Debug)]
enum Content {
    /// A stream message.
    Stream(Kind),
    /// A REST depth answer.
    Snapshot(Box<Snapshot>),
}

#[derive(Debug)]
struct Message {
    recv_ns: Option<i64>,
    symbol: usize,
    content: Content,
    body: String,
}

/// A message to be sent.
pub(super) struct Due {
    pub(super) symbol: usize,
    pub(super) kind: Kind,
    pub(super) body: String,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now,
    In(Duration),
    Never,
}

/// A market's recorded messages.
#[derive(Debug)]
pub(crate) struct TapeMarket {
    market: Segment,
    pub(crate) symbols: Vec<TapeSymbol>,
    messages: std::vec::IntoIter<Message>,
    next: Option<Message>,
    first_ns: i64,
    speed: ReplaySpeed,
    start: ReplayStart,
    wanted_since: Option<Instant>,
    started: Option<Instant>,
}

type Rows<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

#[derive(Deserialize)]
struct Depth<'a> {
    #[serde(borrow)]
    b: Rows<'a>,
    #[serde(borrow)]
    a: Rows<'a>,
    u: u64,
}

fn owned(rows: Rows<'_>) -> Vec<(String, String)> {
    rows.into_iter()
        .map(|(price, qty)| (price.into_owned(), qty.into_owned()))
        .collect()
}

impl TapeMarket {
    /// Somebody listens now.
    pub(crate) fn note_subscription(&mut self) {
        self.wanted_since.get_or_insert_with(Instant::now);
    }

    /// Whether it has begun and has nothing more to send.
    pub(crate) fn is_finished(&self) -> bool {
        self.next.is_none()
    }

    /// Takes what is due into `out`, at most [`CHUNK`] messages and only `room` at full speed.
    pub(super) fn take_due(&mut self, room: usize, out: &mut Vec<Due>) -> Next {
        const SOON: Next = Next::In(Duration::from_millis(2));
        let started = match self.started {
            Some(started) => started,
            None => {
                let is_time = match self.start {
                    ReplayStart::AtOnce => true,
                    ReplayStart::Subscribed(settle) => self
                        .wanted_since
                        .is_some_and(|since| since.elapsed() >= settle),
                };
                if !is_time {
                    return SOON;
                }
                *self.started.insert(Instant::now())
            }
        };
        for _ in 0..CHUNK {
            let Some(next) = &self.next else {
                return Next::Never;
            };
            let wait = match self.speed {
                ReplaySpeed::Maximum => {
                    (room < out.len() + CHUNK).then_some(Duration::from_micros(200))
                }
                ReplaySpeed::Paced(factor) => {
                    let offset_ns = next.recv_ns.unwrap_or(self.first_ns) - self.first_ns;
                    let at = Duration::from_nanos(offset_ns.max(0) as u64).div_f64(factor);
                    at.checked_sub(started.elapsed())
                        .filter(|wait| !wait.is_zero())
                }
            };
            if let Some(wait) = wait {
                return Next::In(wait.min(Duration::from_millis(20)));
            }
            let Some(message) = std::mem::replace(&mut self.next, self.messages.next()) else {
                return Next::Never;
            };
            self.pass(message, out);
        }
        Next::Now
    }

    fn pass(&mut self, message: Message, out: &mut Vec<Due>) {
        let market = self.market;
        let Some(symbol) = self.symbols.get_mut(message.symbol) else {
            return;
        };
        match message.content {
            Content::Snapshot(snapshot) => {
                symbol.ahead = None;
                if !symbol.book.is_loaded {
                    symbol.book.load(market, *snapshot);
                }
            }
            Content::Stream(kind) => {
                if let (Kind::Depth(_), Ok(depth)) =
                    (kind, serde_json::from_str::<Depth<'_>>(&message.body))
                {
                    let diff = Diff {
                        last_id: depth.u,
                        bids: owned(depth.b),
                        asks: owned(depth.a),
                    };
                    symbol.book.pass(market, diff, symbol.ahead.is_some());
                }
                out.push(Due {
                    symbol: message.symbol,
                    kind,
                    body: message.body,
                });
            }
        }
    }

    /// The REST depth answer of a symbol.
    pub(super) fn depth(&self, at: usize, limit: usize) -> String {
        let (last_id, bids, asks) = self.book(at, limit);
        let rows = |rows: &[(String, String)]| {
            super::rest::list(rows, |out, (price, qty)| {
                let _ = write!(out, "[\"{price}\",\"{qty}\"]");
            })
        };
        let (bids, asks) = (rows(&bids), rows(&asks));
        match self.market {
            Segment::Spot => {
                format!("{{\"lastUpdateId\":{last_id},\"bids\":{bids},\"asks\":{asks}}}")
            }
            Segment::Linear => format!(
                "{{\"lastUpdateId\":{last_id},\"E\":0,\"T\":0,\"bids\":{bids},\"asks\":{asks}}}"
            ),
        }
    }

    /// Last update id, bids and asks, best first, as recorded text.
    #[allow(clippy::type_complexity)]
    pub(crate) fn book(
        &self,
        at: usize,
        limit: usize,
    ) -> (u64, Vec<(String, String)>, Vec<(String, String)>) {
        let Some(symbol) = self.symbols.get(at) else {
            return Default::default();
        };
        let cut = |rows: &[(String, String)]| rows.iter().take(limit).cloned().collect();
        if let (Some(ahead), false) = (&symbol.ahead, symbol.book.is_loaded) {
            return (ahead.last_id, cut(&ahead.bids), cut(&ahead.asks));
        }
        let bids = symbol
            .book
            .bids
            .values()
            .rev()
            .take(limit)
            .cloned()
            .collect();
        let asks = symbol.book.asks.values().take(limit).cloned().collect();
        (symbol.book.last_id, bids, asks)
    }

    /// The `symbols` list of exchangeInfo: as recorded, and made up from the prices seen where
    /// nothing was recorded.
    pub(super) fn listing(&self, market: Segment, wanted: impl Fn(&str) -> bool) -> String {
        let rows: Vec<&TapeSymbol> = self.symbols.iter().filter(|s| wanted(&s.name)).collect();
        super::rest::list(&rows, |out, symbol| match &symbol.info {
            Some(info) => out.push_str(info),
            None => out.push_str(&made_up_entry(market, symbol)),
        })
    }
}

impl TapeBook {
    fn load(&mut self, market: Segment, snapshot: Snapshot) {
        self.is_loaded = true;
        self.last_id = snapshot.last_id;
        self.bids.clear();
        self.asks.clear();
        set_rows(&mut self.bids, snapshot.bids);
        set_rows(&mut self.asks, snapshot.asks);
        for diff in std::mem::take(&mut self.pending) {
            self.apply(market, diff);
        }
    }

    fn pass(&mut self, market: Segment, diff: Diff, is_snapshot_ahead: bool) {
        if is_snapshot_ahead && !self.is_loaded {
            if self.pending.len() < PENDING_MAX {
                self.pending.push(diff);
            }
        } else {
            self.apply(market, diff);
        }
    }

    fn apply(&mut self, market: Segment, diff: Diff) {
        let is_old = match market {
            Segment::Spot => diff.last_id <= self.last_id,
            Segment::Linear => diff.last_id < self.last_id,
        };
        if !is_old {
            self.last_id = diff.last_id;
            set_rows(&mut self.bids, diff.bids);
            set_rows(&mut self.asks, diff.asks);
        }
    }
}

fn set_rows(side: &mut Side, rows: Vec<(String, String)>) {
    for (price, qty) in rows {
        let (Ok(key), Ok(amount)) = (price.parse::<Decimal>(), qty.parse::<Decimal>()) else {
            continue;
        };
        if amount.is_zero() {
            side.remove(&key);
        } else {
            side.insert(key, (price, qty));
        }
    }
}

fn decimals(texts: &[(String, String)], pick: impl Fn(&(String, String)) -> &String) -> u32 {
    let scale = |row| {
        pick(row)
            .parse::<Decimal>()
            .map_or(0, |value| value.normalize().scale())
    };
    texts.iter().map(scale).max().unwrap_or(8)
}

fn made_up_entry(market: Segment, symbol: &TapeSymbol) -> String {
    let name = &symbol.name;
    let quotes = [
        "FDUSD", "USDT", "USDC", "BUSD", "TUSD", "USD", "BTC", "ETH", "BNB", "EUR",
    ];
    let quote = quotes
        .iter()
        .find(|q| name.ends_with(**q) && name.len() > q.len());
    let quote = quote.copied().unwrap_or("USDT");
    let base = name.strip_suffix(quote).unwrap_or(name);
    let rows = match &symbol.ahead {
        Some(ahead) => [ahead.bids.as_slice(), ahead.asks.as_slice()].concat(),
        None => symbol
            .book
            .bids
            .values()
            .chain(symbol.book.asks.values())
            .cloned()
            .collect(),
    };
    let step = |scale| Decimal::new(1, scale).to_string();
    let tick = step(decimals(&rows, |(price, _)| price));
    let lot = step(decimals(&rows, |(_, qty)| qty));
    let (rules, notional) = match market {
        Segment::Spot => (
            "\"isSpotTradingAllowed\":true,\"isMarginTradingAllowed\":false,\"permissions\":[],\
             \"permissionSets\":[[\"SPOT\"]]"
                .to_owned(),
            "\"filterType\":\"NOTIONAL\",\"minNotional\":\"5\"",
        ),
        Segment::Linear => (
            format!(
                "\"pair\":\"{name}\",\"contractType\":\"PERPETUAL\",\"marginAsset\":\"{quote}\",\
                 \"deliveryDate\":4133404800000,\"onboardDate\":0"
            ),
            "\"filterType\":\"MIN_NOTIONAL\",\"notional\":\"5\"",
        ),
    };
    format!(
        "{{\"symbol\":\"{name}\",\"status\":\"TRADING\",\"baseAsset\":\"{base}\",\
         \"quoteAsset\":\"{quote}\",{rules},\"orderTypes\":[\"LIMIT\",\"MARKET\"],\"filters\":[\
         {{\"filterType\":\"PRICE_FILTER\",\"minPrice\":\"{tick}\",\"maxPrice\":\"10000000\",\
         \"tickSize\":\"{tick}\"}},{{\"filterType\":\"LOT_SIZE\",\"minQty\":\"{lot}\",\
         \"maxQty\":\"9000000000\",\"stepSize\":\"{lot}\"}},{{{notional}}}]}}"
    )
}
