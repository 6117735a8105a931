//! Stream names: what they mean, and on which path they carry data.

use crate::market::{Interval, Segment};
use crate::venue::{self, percent_decode};

/// Bar length of a kline stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Bar {
    /// One second (spot).
    Second,
    /// All others.
    Of(Interval),
}

impl Bar {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        if name == "1s" {
            return Some(Self::Second);
        }
        Interval::parse(name).map(Self::Of)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Second => "1s",
            Self::Of(interval) => interval.as_str(),
        }
    }
}

/// What a stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Single trades.
    Trade,
    /// Trades of one taker at one price.
    AggTrade,
    /// Bars.
    Kline(Bar),
    /// Best bid and ask.
    BookTicker,
    /// Changes of the book, every so many ms; 0: as they come.
    Depth(u16),
    /// The top of the book, every so many ms.
    Partial(u8, u16),
    /// Rolling day, short.
    MiniTicker,
    /// Rolling day.
    Ticker,
    /// Mark price and funding, every so many seconds.
    MarkPrice(u8),
    /// Five minutes' average price (spot).
    AvgPrice,
}

impl Kind {
    /// The stream name's part after `symbol@`, or after `!` for all symbols together.
    pub(crate) fn parse(market: Segment, name: &str) -> Option<Self> {
        let spot = market == Segment::Spot;
        Some(match name {
            "trade" => Self::Trade,
            "aggTrade" => Self::AggTrade,
            "bookTicker" => Self::BookTicker,
            "miniTicker" => Self::MiniTicker,
            "ticker" => Self::Ticker,
            "avgPrice" if spot => Self::AvgPrice,
            "markPrice" if !spot => Self::MarkPrice(3),
            "markPrice@1s" if !spot => Self::MarkPrice(1),
            _ => {
                if let Some(bar) = name.strip_prefix("kline_") {
                    let bar = Bar::parse(bar).filter(|bar| spot || *bar != Bar::Second)?;
                    return Some(Self::Kline(bar));
                }
                let (levels, speed) = name
                    .strip_prefix("depth")
                    .map(|rest| rest.split_once('@').unwrap_or((rest, "")))?;
                let speed = match (spot, speed) {
                    (true, "") | (true, "1000ms") => 1_000,
                    (true, "100ms") | (false, "100ms") => 100,
                    (false, "") | (false, "250ms") => 250,
                    (false, "500ms") => 500,
                    (false, "0ms") if levels.is_empty() => 0,
                    _ => return None,
                };
                match levels {
                    "" => Self::Depth(speed),
                    "5" => Self::Partial(5, speed),
                    "10" => Self::Partial(10, speed),
                    "20" => Self::Partial(20, speed),
                    _ => return None,
                }
            }
        })
    }

    /// The word a fault names it by.
    pub(crate) const fn family(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::AggTrade => "aggTrade",
            Self::Kline(_) => "kline",
            Self::BookTicker => "bookTicker",
            Self::Depth(_) => "depth",
            Self::Partial(..) => "depthN",
            Self::MiniTicker => "miniTicker",
            Self::Ticker => "ticker",
            Self::MarkPrice(_) => "markPrice",
            Self::AvgPrice => "avgPrice",
        }
    }

    /// On futures: whether it belongs to the `public` path; all others are on `market`.
    const fn is_public(self) -> bool {
        matches!(
            self,
            Self::Depth(_) | Self::Partial(..) | Self::BookTicker | Self::Trade
        )
    }
}

/// A symbol's place in the exchange's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SymbolIx(pub(crate) u32);

/// A stream as the exchange publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic {
    pub(crate) market: Segment,
    /// `None`: all symbols in one array.
    pub(crate) symbol: Option<SymbolIx>,
    pub(crate) kind: Kind,
    /// Times in µs instead of ms.
    pub(crate) micros: bool,
}

impl venue::Topic for Topic {
    fn market(&self) -> Segment {
        self.market
    }

    fn family(&self) -> &'static str {
        self.kind.family()
    }

    fn suffix(&self) -> String {
        let spot = self.market == Segment::Spot;
        let speed = |ms: u16| match (spot, ms) {
            (true, 1_000) | (false, 250) => String::new(),
            (_, ms) => format!("@{ms}ms"),
        };
        match self.kind {
            Kind::Kline(bar) => format!("kline_{}", bar.as_str()),
            Kind::Depth(ms) => format!("depth{}", speed(ms)),
            Kind::Partial(levels, ms) => format!("depth{levels}{}", speed(ms)),
            Kind::MarkPrice(1) => "markPrice@1s".to_owned(),
            kind => kind.family().to_owned(),
        }
    }

    fn is_diff(&self) -> bool {
        matches!(self.kind, Kind::Depth(_))
    }
}

/// What a stream name says, before the symbol is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parsed<'a> {
    /// One symbol (as written) and a kind.
    One(&'a str, Kind),
    /// All symbols.
    All(Kind),
    /// Well formed, but not a stream that carries anything here.
    Silent,
}

/// Reads a stream name; `None` if it has not even the form of one.
pub(crate) fn parse(market: Segment, name: &str) -> Option<Parsed<'_>> {
    let printable = name
        .bytes()
        .all(|b| b > b' ' && b != b'"' && b != b'/' && b != b'?');
    if name.is_empty() || name.len() > 128 || !printable {
        return None;
    }
    if let Some(rest) = name.strip_prefix('!') {
        let all = match (market, rest) {
            (_, "miniTicker@arr") => Some(Kind::MiniTicker),
            // Spot retired its array of full tickers in 2026.
            (Segment::Linear, "ticker@arr") => Some(Kind::Ticker),
            (Segment::Linear, "markPrice@arr") => Some(Kind::MarkPrice(3)),
            (Segment::Linear, "markPrice@arr@1s") => Some(Kind::MarkPrice(1)),
            (Segment::Linear, "bookTicker") => Some(Kind::BookTicker),
            _ => None,
        };
        return Some(all.map_or(Parsed::Silent, Parsed::All));
    }
    let (symbol, kind) = name.split_once('@')?;
    if symbol.is_empty() || kind.is_empty() {
        return None;
    }
    // Names with an upper-case symbol are accepted and carry nothing.
    let lower = !symbol.bytes().any(|b| b.is_ascii_uppercase());
    Some(match Kind::parse(market, kind) {
        Some(kind) if lower => Parsed::One(symbol, kind),
        _ => Parsed::Silent,
    })
}

/// The path of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Spot.
    Spot,
    /// Futures `/public/…`.
    Public,
    /// Futures `/market/…`.
    Market,
    /// Futures `/private/…`: carries no public data.
    Private,
    /// The futures path of before 2026-04-23: answers, and carries nothing.
    Retired,
}

impl Route {
    pub(crate) const fn market(self) -> Segment {
        match self {
            Self::Spot => Segment::Spot,
            _ => Segment::Linear,
        }
    }

    /// Whether a stream carries data on this path.
    pub(crate) const fn carries(self, kind: Kind) -> bool {
        match self {
            Self::Spot => true,
            Self::Public => kind.is_public(),
            Self::Market => !kind.is_public(),
            Self::Private | Self::Retired => false,
        }
    }
}

/// A connection as its URL asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) route: Route,
    pub(crate) is_combined: bool,
    pub(crate) micros: bool,
    pub(crate) streams: Vec<String>,
}

/// Reads path and query of a stream connection; `None` for a path that does not exist.
pub(crate) fn opening(market: Segment, path: &str, query: &str) -> Option<Opening> {
    let path = without_host(market, path);
    let (route, rest) = match market {
        Segment::Spot => (Route::Spot, path),
        Segment::Linear => [
            ("/public", Route::Public),
            ("/market", Route::Market),
            ("/private", Route::Private),
        ]
        .into_iter()
        .find_map(|(prefix, route)| path.strip_prefix(prefix).map(|rest| (route, rest)))
        .unwrap_or((Route::Retired, path)),
    };
    let mut streams = Vec::new();
    let mut micros = false;
    for (key, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match key {
            "streams" => streams.extend(percent_decode(value).split('/').map(str::to_owned)),
            "timeUnit" => {
                // Futures have no such choice.
                micros = market == Segment::Spot && matches!(value, "MICROSECOND" | "microsecond");
            }
            _ => {}
        }
    }
    let is_combined = match rest {
        "/stream" | "/stream/" => true,
        "/ws" | "/ws/" => {
            streams.clear();
            false
        }
        _ => {
            let names = rest.strip_prefix("/ws/")?;
            streams.clear();
            // Some clients number their connections in the path: `/ws/0`.
            let named = percent_decode(names);
            let names = named.split('/').filter(|name| name.parse::<u32>().is_err());
            streams.extend(names.map(str::to_owned));
            false
        }
    };
    streams.retain(|name| !name.is_empty());
    Some(Opening {
        route,
        is_combined,
        micros,
        streams,
    })
}

/// The path without a first segment that names the host. Some clients tell markets apart by the
/// host in the URL of a connection; pointed here, they find it in the path
/// (`ws://127.0.0.1:1234/stream.binance.com/ws`).
fn without_host(market: Segment, path: &str) -> &str {
    let host = match market {
        Segment::Spot => "/stream.binance.com",
        Segment::Linear => "/fstream.binance.com",
    };
    let Some(rest) = path.strip_prefix(host) else {
        return path;
    };
    let rest = rest.strip_prefix(":9443").unwrap_or(rest);
    if rest.starts_with('/') { rest } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |market, name, expected| assert_eq!(parse(market, name), expected, "{name}");
        let (spot, usdm) = (Segment::Spot, Segment::Linear);
        let one = |kind| Some(Parsed::One("btcusdt", kind));
        check(spot, "btcusdt@depth", one(Kind::Depth(1_000)));
        check(spot, "btcusdt@depth@100ms", one(Kind::Depth(100)));
        check(usdm, "btcusdt@depth", one(Kind::Depth(250)));
        check(usdm, "btcusdt@depth@0ms", one(Kind::Depth(0)));
        check(spot, "btcusdt@depth20@100ms", one(Kind::Partial(20, 100)));
        check(spot, "btcusdt@depth@250ms", Some(Parsed::Silent));
        check(
            spot,
            "btcusdt@kline_1M",
            one(Kind::Kline(Bar::Of(Interval::Month1))),
        );
        check(spot, "btcusdt@kline_1s", one(Kind::Kline(Bar::Second)));
        check(usdm, "btcusdt@kline_1s", Some(Parsed::Silent));
        check(usdm, "btcusdt@markPrice@1s", one(Kind::MarkPrice(1)));
        check(spot, "btcusdt@markPrice", Some(Parsed::Silent));
        check(spot, "BTCUSDT@trade", Some(Parsed::Silent));
        check(
            usdm,
            "!markPrice@arr@1s",
            Some(Parsed::All(Kind::MarkPrice(1))),
        );
        check(spot, "!ticker@arr", Some(Parsed::Silent));
        for bad in [
            "",
            "btcusdt",
            "@trade",
            "btcusdt@",
            "a b@trade",
            "x\"@trade",
        ] {
            check(spot, bad, None);
        }
    }

    #[test]
    fn paths() {
        let open = |market, path, query| opening(market, path, query).unwrap();
        let (spot, usdm) = (Segment::Spot, Segment::Linear);
        let raw = open(spot, "/ws/btcusdt@trade", "");
        assert_eq!(
            (raw.is_combined, raw.streams),
            (false, vec!["btcusdt@trade".to_owned()])
        );
        let combined = open(
            spot,
            "/stream",
            "streams=a@trade/b@depth%40100ms&timeUnit=MICROSECOND",
        );
        assert_eq!(combined.streams, ["a@trade", "b@depth@100ms"]);
        assert!(combined.is_combined && combined.micros);
        assert!(open(spot, "/ws/0", "").streams.is_empty());
        assert_eq!(
            open(spot, "/stream.binance.com:9443/ws/0", ""),
            open(spot, "/ws/0", "")
        );
        let named = open(usdm, "/fstream.binance.com/market/ws", "");
        assert_eq!(named.route, Route::Market);
        assert_eq!(open(usdm, "/public/ws/0", "").route, Route::Public);
        assert_eq!(
            open(usdm, "/market/stream", "streams=x@ticker").route,
            Route::Market
        );
        assert_eq!(
            open(usdm, "/private/ws", "listenKey=k").route,
            Route::Private
        );
        assert_eq!(
            open(usdm, "/ws", "timeUnit=MICROSECOND").route,
            Route::Retired
        );
        assert!(!open(usdm, "/ws", "timeUnit=MICROSECOND").micros);
        assert_eq!(opening(spot, "/public/ws", ""), None);
        assert_eq!(opening(spot, "/", ""), None);
        assert_eq!(percent_decode("%5B%22A%22%5d%zz%4"), "[\"A\"]%zz%4");
    }

    #[test]
    fn futures_paths_carry_their_own_streams_only() {
        let bar = Kind::Kline(Bar::Of(Interval::M1));
        for kind in [Kind::Depth(100), Kind::Partial(5, 100), Kind::BookTicker] {
            assert!(
                Route::Public.carries(kind) && !Route::Market.carries(kind),
                "{kind:?}"
            );
        }
        for kind in [
            Kind::AggTrade,
            bar,
            Kind::MarkPrice(1),
            Kind::Ticker,
            Kind::MiniTicker,
        ] {
            assert!(
                !Route::Public.carries(kind) && Route::Market.carries(kind),
                "{kind:?}"
            );
        }
        for route in [Route::Private, Route::Retired] {
            assert!(!route.carries(Kind::Depth(100)) && !route.carries(Kind::AggTrade));
        }
    }
}
