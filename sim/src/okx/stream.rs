//! Channels: their names, what they carry, and on which path.

use crate::market::{InstrumentIx, Interval, Segment};
use crate::venue;

/// What a channel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// 400 levels: an image, then changes.
    Books,
    /// Five levels.
    Books5,
    /// Best bid and ask.
    BestPrices,
    /// Trades; those of one taker at one price as one.
    Trades,
    /// Single trades.
    AllTrades,
    /// Bars.
    Candle(Interval),
    /// The coming funding.
    FundingRate,
    /// Mark price.
    MarkPrice,
    /// Price of the index behind a swap.
    Index,
    /// Rolling day.
    Tickers,
}

/// A bar's name; from six hours on those that begin with a day of UTC.
pub(crate) const fn bar(interval: Interval) -> &'static str {
    match interval {
        Interval::M1 => "1m",
        Interval::M3 => "3m",
        Interval::M5 => "5m",
        Interval::M15 => "15m",
        Interval::M30 => "30m",
        Interval::H1 => "1H",
        Interval::H2 => "2H",
        Interval::H4 => "4H",
        Interval::H6 => "6Hutc",
        Interval::H8 => "8Hutc",
        Interval::H12 => "12Hutc",
        Interval::D1 => "1Dutc",
        Interval::D3 => "3Dutc",
        Interval::W1 => "1Wutc",
        Interval::Month1 => "1Mutc",
    }
}

/// The bar of a name. OKX has none of eight hours.
pub(crate) fn interval(name: &str) -> Option<Interval> {
    Interval::ALL
        .into_iter()
        .find(|interval| bar(*interval) == name && *interval != Interval::H8)
}

impl Kind {
    /// The channel of that name.
    pub(crate) fn parse(channel: &str) -> Option<Self> {
        Some(match channel {
            "books" => Self::Books,
            "books5" => Self::Books5,
            "bbo-tbt" => Self::BestPrices,
            "trades" => Self::Trades,
            "trades-all" => Self::AllTrades,
            "funding-rate" => Self::FundingRate,
            "mark-price" => Self::MarkPrice,
            "index-tickers" => Self::Index,
            "tickers" => Self::Tickers,
            _ => Self::Candle(interval(channel.strip_prefix("candle")?)?),
        })
    }

    /// Its name.
    pub(crate) fn channel(self) -> String {
        match self {
            Self::Books => "books",
            Self::Books5 => "books5",
            Self::BestPrices => "bbo-tbt",
            Self::Trades => "trades",
            Self::AllTrades => "trades-all",
            Self::FundingRate => "funding-rate",
            Self::MarkPrice => "mark-price",
            Self::Index => "index-tickers",
            Self::Tickers => "tickers",
            Self::Candle(interval) => return format!("candle{}", bar(interval)),
        }
        .to_owned()
    }

    /// Whether it lives on the business path; all others are on the public one.
    pub(crate) const fn is_business(self) -> bool {
        matches!(self, Self::Candle(_) | Self::AllTrades)
    }

    /// Whether spot has it too.
    pub(crate) const fn is_for(self, market: Segment) -> bool {
        match self {
            Self::FundingRate | Self::MarkPrice | Self::Index => {
                matches!(market, Segment::Linear)
            }
            _ => true,
        }
    }
}

/// A channel of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Topic {
    pub(crate) market: Segment,
    /// The instrument; of an index, its swap.
    pub(crate) ix: InstrumentIx,
    pub(crate) kind: Kind,
}

impl venue::Topic for Topic {
    fn market(&self) -> Segment {
        self.market
    }

    fn family(&self) -> &'static str {
        match self.kind {
            Kind::Books => "depth",
            Kind::Books5 => "depthN",
            Kind::BestPrices => "bookTicker",
            Kind::Trades => "trade",
            Kind::AllTrades => "aggTrade",
            Kind::Candle(_) => "kline",
            Kind::FundingRate | Kind::MarkPrice | Kind::Index => "markPrice",
            Kind::Tickers => "ticker",
        }
    }

    fn suffix(&self) -> String {
        self.kind.channel()
    }

    fn is_diff(&self) -> bool {
        self.kind == Kind::Books
    }
}

/// The path of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// `/ws/v5/public`
    Public,
    /// `/ws/v5/business`
    Business,
    /// `/ws/v5/private`: nothing without a login.
    Private,
}

impl Path {
    /// The path of a URL.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "/ws/v5/public" => Some(Self::Public),
            "/ws/v5/business" => Some(Self::Business),
            "/ws/v5/private" => Some(Self::Private),
            _ => None,
        }
    }
}
