//! Faults: what a test or a user may ask an exchange to do wrong, and the text form of it.
//!
//! A fault is one line, `KIND[:KEY=VALUE[,KEY=VALUE…]]`; [`HELP`] is its reference and
//! [`FaultSpec`] its parsed form. Which messages a fault strikes follows from the seed alone, in
//! the order in which the messages are published, so a failing run can be repeated.

use std::str::FromStr;
use std::time::Duration;

use crate::config::Exchange;
use crate::market::Segment;

/// What `--fault help` prints.
pub const HELP: &str = "\
A fault is  KIND[:KEY=VALUE[,KEY=VALUE...]]  and may be given many times.

Kinds that strike WebSocket messages:
  drop            the message is never sent
  gap             like drop, for diff depth only (stream=depth): the sequence has a hole
  duplicate       the message is sent twice
  reorder         the message is sent after its successor in the same stream
  delay           the message is sent ms=N later; later ones may overtake it
  malformed       the message is cut in half: no valid JSON
Kinds that strike WebSocket connections:
  disconnect      the TCP connection ends, without a close frame
  half-open       the connection stays up, but nothing is sent, read or answered any more
  server-shutdown the serverShutdown event, and a close frame ms=N later (default 1000)
Kinds that strike REST:
  http            answers with status=N (default 500); 429 and 418 carry Retry-After
                  (retry_after=SECONDS, default 1); short: `429`, `418`, `500`, `503`, ...
  slow            the answer comes ms=N later (default 2000)
  stale-snapshot  depth as it was at least age=T ago (default 10s; at most the start)
  edge-snapshot   depth whose lastUpdateId is the u of the diff event just sent
  malformed-rest  the body is cut in half
Kinds that strike trading requests, by REST or WebSocket (path=: REST path or method):
  cut-request     the connection is cut before the request is carried out
  drop-reply      the request is carried out, then the connection is cut without an answer
  late-reply      the request is carried out, the answer comes ms=N later (default 2000)
  fail-reply      the request is carried out, the answer is status=N (default 503)
  reject-orders   new orders are refused; code=N: with that code, where codes are numbers
                  (Binance, Bybit)
Kinds that strike private streams (others do too: stream=private, order, account):
  private-outage  private connections are cut and refused, what happens meanwhile is not told
Everything:
  restart         all connections are cut, none is taken for ms=N (default 1000); what the
                  exchange knows is kept
  maintenance     REST answers 503 with code -10001, streams are closed and refused

Keys, all optional:
  exchange=NAME            default: all that are simulated
  market=spot|usdm         default: both
  symbol=BTCUSDT           native symbol, any case; default: all
  stream=KIND              trade, aggTrade, kline, bookTicker, depth (diffs), depthN (partial),
                           miniTicker, ticker, markPrice; private streams: private (all),
                           order, account; default: all
                           for connections: those subscribed to such a stream
  path=/api/v3/depth       REST path begins with this; default: all
  p=0.01                   probability for each message or request; default 1
  count=3                  ends after so many strikes; default: unlimited, except for
                           gap, disconnect, half-open, server-shutdown, restart, cut-request,
                           drop-reply, fail-reply: 1
  after=5s                 waits so long after it was given
  for=30s                  ends so long after it began
  every=10s                no two strikes closer than this
  ms=N, status=N, retry_after=N, age=T, code=N   as said above
Times: 250ms, 5s, 2m, 1h.

Examples:
  gap:market=usdm,symbol=BTCUSDT,after=3s
  drop:stream=trade,p=0.01
  half-open:market=spot,stream=depth,after=10s
  429:path=/api/v3/depth,count=2,retry_after=3
  maintenance:market=usdm,after=20s,for=10s
  drop-reply:path=/api/v3/order
  private-outage:market=spot,after=5s,for=3s
";

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// A message is not sent.
    Drop,
    /// A diff depth message is not sent.
    Gap,
    /// A message is sent twice.
    Duplicate,
    /// A message is sent after its successor.
    Reorder,
    /// A message is sent later.
    Delay,
    /// A message is cut in half.
    Malformed,
    /// Connections end without a close frame.
    Disconnect,
    /// Connections go silent but stay up.
    HalfOpen,
    /// The server says that it goes down, then closes.
    ServerShutdown,
    /// REST answers with an error status.
    Http,
    /// REST answers late.
    Slow,
    /// A depth snapshot of the past.
    StaleSnapshot,
    /// A depth snapshot that ends exactly where a diff event ended.
    EdgeSnapshot,
    /// A REST body is cut in half.
    MalformedRest,
    /// Everything is down, and says so.
    Maintenance,
    /// A connection is cut before its trading request is carried out.
    CutRequest,
    /// A trading request is carried out and never answered: the connection is cut.
    DropReply,
    /// A trading request is carried out and answered late.
    LateReply,
    /// A trading request is carried out and answered with an error status.
    FailReply,
    /// New orders are refused.
    RejectOrders,
    /// Private streams are cut and refused, and what happens meanwhile is not told.
    PrivateOutage,
    /// All connections are cut and none is taken for a while; what the exchange knows is kept.
    Restart,
}

/// What faults call private streams: all of them, and their kinds.
pub(crate) const PRIVATE: [&str; 3] = ["private", "order", "account"];

impl FaultKind {
    const NAMES: [(&'static str, Self); 22] = [
        ("drop", Self::Drop),
        ("gap", Self::Gap),
        ("duplicate", Self::Duplicate),
        ("reorder", Self::Reorder),
        ("delay", Self::Delay),
        ("malformed", Self::Malformed),
        ("disconnect", Self::Disconnect),
        ("half-open", Self::HalfOpen),
        ("server-shutdown", Self::ServerShutdown),
        ("http", Self::Http),
        ("slow", Self::Slow),
        ("stale-snapshot", Self::StaleSnapshot),
        ("edge-snapshot", Self::EdgeSnapshot),
        ("malformed-rest", Self::MalformedRest),
        ("maintenance", Self::Maintenance),
        ("cut-request", Self::CutRequest),
        ("drop-reply", Self::DropReply),
        ("late-reply", Self::LateReply),
        ("fail-reply", Self::FailReply),
        ("reject-orders", Self::RejectOrders),
        ("private-outage", Self::PrivateOutage),
        ("restart", Self::Restart),
    ];

    /// The word of the text form.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    /// Whether it strikes single WebSocket messages.
    pub(crate) const fn strikes_messages(self) -> bool {
        matches!(
            self,
            Self::Drop
                | Self::Gap
                | Self::Duplicate
                | Self::Reorder
                | Self::Delay
                | Self::Malformed
        )
    }

    const fn is_once(self) -> bool {
        matches!(
            self,
            Self::Gap
                | Self::Disconnect
                | Self::HalfOpen
                | Self::ServerShutdown
                | Self::CutRequest
                | Self::DropReply
                | Self::FailReply
                | Self::Restart
        )
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKind,
    /// At which exchange; `None`: at all. Only looked at when a simulator starts.
    pub exchange: Option<Exchange>,
    /// In which market; `None`: in all.
    pub market: Option<Segment>,
    /// For which native symbol, upper case; `None`: for all.
    pub symbol: Option<String>,
    /// In which kind of stream (`depth`, `trade`, …); `None`: in all.
    pub stream: Option<String>,
    /// For which REST paths or WebSocket methods, by their beginning; `None`: for all.
    pub path: Option<String>,
    /// Probability of a strike for each candidate, 0 to 1.
    pub probability: f64,
    /// Ends after so many strikes; `None`: unlimited.
    pub count: Option<u64>,
    /// Waits so long after it was given.
    pub after: Duration,
    /// Ends so long after it began; `None`: never.
    pub duration: Option<Duration>,
    /// Shortest time between two strikes.
    pub every: Duration,
    /// Length of a delay.
    pub delay: Duration,
    /// HTTP status of [`FaultKind::Http`] and [`FaultKind::FailReply`].
    pub status: u16,
    /// `Retry-After` of a 429 or 418, in seconds.
    pub retry_after_secs: u64,
    /// Least age of a stale snapshot.
    pub age: Duration,
    /// The exchange's own code of a [`FaultKind::RejectOrders`].
    pub code: Option<i32>,
}

/// Why a fault text was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    /// No such kind.
    #[error("unknown fault `{kind}`; `--fault help` lists them")]
    UnknownKind {
        /// What was written.
        kind: String,
    },
    /// No such key.
    #[error("unknown key `{key}` in fault `{kind}`; `--fault help` lists them")]
    UnknownKey {
        /// The fault's kind.
        kind: String,
        /// What was written.
        key: String,
    },
    /// A value that the key does not take.
    #[error("fault key `{key}` does not take `{value}`: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What was written.
        value: String,
        /// What the key takes.
        expected: &'static str,
    },
}

impl FaultSpec {
    /// That fault for everything, now and for good (or once, where a kind says so).
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        let delay_ms = match kind {
            FaultKind::Slow | FaultKind::LateReply => 2_000,
            FaultKind::ServerShutdown | FaultKind::Restart => 1_000,
            _ => 100,
        };
        Self {
            kind,
            exchange: None,
            market: None,
            symbol: None,
            stream: (kind == FaultKind::Gap).then(|| "depth".to_owned()),
            path: None,
            probability: 1.0,
            count: kind.is_once().then_some(1),
            after: Duration::ZERO,
            duration: None,
            every: Duration::ZERO,
            delay: Duration::from_millis(delay_ms),
            status: match kind {
                FaultKind::FailReply => 503,
                _ => 500,
            },
            retry_after_secs: 1,
            age: Duration::from_secs(10),
            code: None,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), FaultError> {
        let refuse = |expected| FaultError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
            expected,
        };
        let number = || value.parse::<u64>().map_err(|_| refuse("a whole number"));
        let time = || parse_duration(value).ok_or_else(|| refuse("a time such as 250ms, 5s, 2m"));
        match key {
            "exchange" => {
                let exchange = Exchange::parse(value);
                self.exchange = Some(exchange.ok_or_else(|| refuse("a simulated exchange"))?);
            }
            "market" => {
                self.market = Some(match value {
                    "spot" => Segment::Spot,
                    "usdm" | "perp" => Segment::Linear,
                    _ => return Err(refuse("spot or usdm")),
                });
            }
            "symbol" => self.symbol = Some(value.to_ascii_uppercase()),
            "stream" => self.stream = Some(value.to_owned()),
            "path" => self.path = Some(value.to_owned()),
            "p" => {
                self.probability = value
                    .parse()
                    .ok()
                    .filter(|p| (0.0..=1.0).contains(p))
                    .ok_or_else(|| refuse("a number from 0 to 1"))?;
            }
            "count" => self.count = Some(number()?),
            "after" => self.after = time()?,
            "for" => self.duration = Some(time()?),
            "every" => self.every = time()?,
            "ms" => self.delay = Duration::from_millis(number()?),
            "status" => {
                self.status = value
                    .parse()
                    .ok()
                    .filter(|status| (400..=599).contains(status))
                    .ok_or_else(|| refuse("an HTTP status from 400 to 599"))?;
            }
            "retry_after" => self.retry_after_secs = number()?,
            "age" => self.age = time()?,
            "code" => self.code = Some(value.parse().map_err(|_| refuse("a whole number"))?),
            _ => {
                return Err(FaultError::UnknownKey {
                    kind: self.kind.as_str().to_owned(),
                    key: key.to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl FromStr for FaultSpec {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, rest) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let named = FaultKind::NAMES.iter().find(|(word, _)| *word == name);
        let status = name
            .parse::<u16>()
            .ok()
            .filter(|status| (400..=599).contains(status));
        let mut spec = match (named, status) {
            (Some((_, kind)), _) => Self::new(*kind),
            (None, Some(status)) => Self {
                status,
                ..Self::new(FaultKind::Http)
            },
            (None, None) => {
                return Err(FaultError::UnknownKind {
                    kind: name.to_owned(),
                });
            }
        };
        for pair in rest.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            spec.set(key.trim(), value.trim())?;
        }
        Ok(spec)
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let amount: u64 = text[..digits].parse().ok()?;
    let unit_ms = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    amount.checked_mul(unit_ms).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_examples_of_the_help() {
        let examples = HELP.split("Examples:").nth(1).unwrap();
        let specs: Vec<FaultSpec> = examples
            .lines()
            .filter(|l| !l.trim().is_empty())
            .map(|l| l.parse().unwrap())
            .collect();
        assert_eq!(specs.len(), 7);
        assert_eq!(specs[0].kind, FaultKind::Gap);
        assert_eq!(specs[0].market, Some(Segment::Linear));
        assert_eq!(specs[0].stream.as_deref(), Some("depth"));
        assert_eq!(
            (specs[0].count, specs[0].after),
            (Some(1), Duration::from_secs(3))
        );
        assert!((specs[1].probability - 0.01).abs() < 1e-12);
        assert_eq!((specs[3].kind, specs[3].status), (FaultKind::Http, 429));
        assert_eq!((specs[3].count, specs[3].retry_after_secs), (Some(2), 3));
        assert_eq!(specs[4].duration, Some(Duration::from_secs(10)));
        assert_eq!(
            (specs[5].kind, specs[5].count),
            (FaultKind::DropReply, Some(1))
        );
        assert_eq!(specs[6].kind, FaultKind::PrivateOutage);
    }

    #[test]
    fn help_names_every_kind() {
        for (name, kind) in FaultKind::NAMES {
            assert!(HELP.contains(&format!("\n  {name} ")), "{name}");
            assert_eq!(name.parse::<FaultSpec>().unwrap().kind, kind);
            assert_eq!(kind.as_str(), name);
        }
    }

    #[test]
    fn says_what_it_does_not_understand() {
        let check = |text: &str, part: &str| {
            let error = text.parse::<FaultSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        };
        check("explode", "unknown fault `explode`");
        check("600", "unknown fault `600`");
        check("drop:colour=red", "unknown key `colour` in fault `drop`");
        check("drop:p=2", "a number from 0 to 1");
        check("drop:p=NaN", "a number from 0 to 1");
        check("drop:market=moon", "spot or usdm");
        check("drop:exchange=moon", "a simulated exchange");
        check("delay:after=5", "a time such as");
        check("delay:after=99999999999999999999h", "a time such as");
        check("http:status=200", "from 400 to 599");
        check("reject-orders:code=x", "a whole number");
    }
}
