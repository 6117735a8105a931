//! Topics of public streams.

use crate::market::{InstrumentIx, Interval, Segment};
use crate::venue;

/// What a topic tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// Matches.
    Trades,
    /// Bars.
    Kline(Interval),
    /// A book of so many levels.
    Book(u16),
    /// Prices of the day; on linear also mark price and funding.
    Tickers,
}

/// A stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Topic {
    pub(super) market: Segment,
    pub(super) ix: InstrumentIx,
    pub(super) kind: Kind,
}

impl venue::Topic for Topic {
    fn market(&self) -> Segment {
        self.market
    }

    fn family(&self) -> &'static str {
        match self.kind {
            Kind::Trades => "trade",
            Kind::Kline(_) => "kline",
            Kind::Book(1) => "bookTicker",
            Kind::Book(_) => "depth",
            Kind::Tickers if self.market == Segment::Linear => "markPrice",
            Kind::Tickers => "ticker",
        }
    }

    fn suffix(&self) -> String {
        self.kind.prefix()
    }

    fn is_diff(&self) -> bool {
        matches!(self.kind, Kind::Book(depth) if depth > 1)
    }
}

/// Depths of books, and how often changes of them are told, ms.
const DEPTHS: [(u16, i64); 4] = [(1, 10), (50, 20), (200, 100), (1_000, 200)];

impl Kind {
    /// The part of the name before the symbol: `orderbook.50`.
    pub(super) fn prefix(self) -> String {
        match self {
            Self::Trades => "publicTrade".to_owned(),
            Self::Kline(interval) => format!("kline.{}", interval_name(interval)),
            Self::Book(depth) => format!("orderbook.{depth}"),
            Self::Tickers => "tickers".to_owned(),
        }
    }

    /// How often it is told at most, ms.
    pub(super) fn every_ms(self, market: Segment) -> i64 {
        match self {
            Self::Trades => 0,
            Self::Kline(_) => 1_000,
            Self::Book(depth) => DEPTHS
                .iter()
                .find(|(known, _)| *known == depth)
                .map_or(100, |(_, every)| *every),
            Self::Tickers if market == Segment::Spot => 50,
            Self::Tickers => 100,
        }
    }
}

/// Bybit's name of a bar length; `None` for lengths that it has not.
pub(super) const fn interval_name(interval: Interval) -> &'static str {
    match interval {
        Interval::M1 => "1",
        Interval::M3 => "3",
        Interval::M5 => "5",
        Interval::M15 => "15",
        Interval::M30 => "30",
        Interval::H1 => "60",
        Interval::H2 => "120",
        Interval::H4 => "240",
        Interval::H6 => "360",
        Interval::H12 => "720",
        Interval::D1 => "D",
        Interval::W1 => "W",
        Interval::Month1 => "M",
        // Not Bybit's.
        Interval::H8 | Interval::D3 => "",
    }
}

/// The bar length of Bybit's name.
pub(super) fn interval(name: &str) -> Option<Interval> {
    let mut all = Interval::ALL.into_iter();
    all.find(|interval| !name.is_empty() && interval_name(*interval) == name)
}

/// Kind and symbol of a topic's name; `None` when there is no such topic.
pub(super) fn parse(name: &str) -> Option<(Kind, &str)> {
    let (channel, rest) = name.split_once('.')?;
    match channel {
        "publicTrade" => Some((Kind::Trades, rest)),
        "tickers" => Some((Kind::Tickers, rest)),
        "kline" => {
            let (name, symbol) = rest.split_once('.')?;
            Some((Kind::Kline(interval(name)?), symbol))
        }
        "orderbook" => {
            let (depth, symbol) = rest.split_once('.')?;
            let known = DEPTHS
                .iter()
                .find(|(known, _)| known.to_string() == depth)?;
            Some((Kind::Book(known.0), symbol))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (name, kind) in [
            ("publicTrade.BTCUSDT", Kind::Trades),
            ("tickers.BTCUSDT", Kind::Tickers),
            ("kline.D.BTCUSDT", Kind::Kline(Interval::D1)),
            ("kline.240.BTCUSDT", Kind::Kline(Interval::H4)),
            ("orderbook.1.BTCUSDT", Kind::Book(1)),
            ("orderbook.1000.BTCUSDT", Kind::Book(1_000)),
        ] {
            assert_eq!(parse(name), Some((kind, "BTCUSDT")));
            assert_eq!(format!("{}.BTCUSDT", kind.prefix()), name);
        }
        for none in [
            "orderbook.500.BTCUSDT",
            "orderbook.050.BTCUSDT",
            "kline.2.BTCUSDT",
            "kline..BTCUSDT",
            "liquidation.BTCUSDT",
            "publicTrade",
            "",
        ] {
            assert_eq!(parse(none), None, "{none}");
        }
    }
}
