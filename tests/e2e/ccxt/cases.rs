//! ccxt's exchanges beside the gateway's markets, and in what the two differ.

/// One of ccxt's exchanges beside the gateway's market.
pub struct Case {
    /// The gateway's provider, and the simulated exchange.
    pub provider: &'static str,
    /// ccxt's class.
    pub exchange: &'static str,
    /// ccxt's symbol.
    pub symbol: &'static str,
    /// The gateway's.
    pub ours: &'static str,
    /// The gateway's schema of the market.
    pub entity: &'static str,
    /// ccxt's type of the market.
    pub kind: &'static str,
    /// Native symbols that ccxt lists and the gateway leaves out.
    pub left_out: &'static [&'static str],
    /// Base units in one of ccxt's units: it counts swaps of some exchanges in contracts.
    pub unit: &'static str,
    /// Whether ccxt's books carry the number that the gateway's do.
    pub numbers_books: bool,
    /// Whether the trades that ccxt watches are those of the gateway.
    pub same_trades: bool,
    /// Whether ccxt tells the maker's side of a trade; the gateway tells the taker's.
    pub tells_makers: bool,
    /// Whether the gateway's trades are numbered without holes.
    pub counts_trades: bool,
    /// The bar that is watched live.
    pub live: &'static str,
    /// Whether ccxt can watch bars.
    pub watches_bars: bool,
    /// Whether there is funding.
    pub has_funding: bool,
    /// Whether ccxt can watch it.
    pub watches_funding: bool,
}

/// A spot market of which ccxt and the gateway tell the same.
const SPOT: Case = Case {
    provider: "binance",
    exchange: "binance",
    symbol: "BTC/USDT",
    ours: "btcusdt",
    entity: "CryptoPair",
    kind: "spot",
    left_out: &[],
    unit: "1",
    numbers_books: true,
    same_trades: true,
    tells_makers: false,
    counts_trades: true,
    live: "1m",
    watches_bars: true,
    has_funding: false,
    watches_funding: false,
};

/// A perpetual of which ccxt and the gateway tell the same.
const PERP: Case = Case {
    symbol: "BTC/USDT:USDT",
    ours: "btcusdt-perp",
    entity: "CryptoPerp",
    kind: "swap",
    has_funding: true,
    ..SPOT
};

/// All of them, an exchange's one after the other.
pub const CASES: [Case; 7] = [
    SPOT,
    Case {
        exchange: "binanceusdm",
        // ccxt watches single trades of perpetuals; the gateway has aggregates, as its history.
        same_trades: false,
        ..PERP
    },
    Case {
        provider: "okx",
        exchange: "okx",
        // Trades of one taker come as one, under the last one's number.
        counts_trades: false,
        ..SPOT
    },
    Case {
        provider: "okx",
        exchange: "okx",
        unit: "0.01",
        counts_trades: false,
        watches_funding: true,
        ..PERP
    },
    Case {
        provider: "bybit",
        exchange: "bybit",
        numbers_books: false,
        ..SPOT
    },
    Case {
        provider: "bybit",
        exchange: "bybit",
        numbers_books: false,
        ..PERP
    },
    Case {
        provider: "coinbase",
        exchange: "coinbase",
        symbol: "BTC/USD",
        ours: "btcusd",
        // Other names of products in dollars, whose books they share.
        left_out: &[
            "BTC-USDC",
            "DOGE-USDC",
            "ETH-USDC",
            "GONE-USDC",
            "SHIB-USDC",
            "SOL-USDC",
        ],
        numbers_books: false,
        tells_makers: true,
        // The exchange streams no other.
        live: "5m",
        watches_bars: false,
        ..SPOT
    },
];

impl Case {
    /// The simulated market's own number of a trade: all of the id, or the end of it.
    pub fn ordinal(&self, id: &str) -> u64 {
        match (self.provider, id.rsplit_once('-')) {
            ("bybit", Some((_, end))) => u64::from_str_radix(end, 16).unwrap(),
            _ => id.parse().unwrap(),
        }
    }

    /// The code that REST knows the market by.
    pub fn code(&self) -> &'static str {
        self.ours.trim_end_matches("-perp")
    }
}
