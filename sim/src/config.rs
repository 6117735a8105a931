//! What to simulate.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use crate::fault::FaultSpec;
use crate::market::Segment;

/// Makes the exchanges out of one line for each.
macro_rules! exchanges {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// An exchange that can be simulated.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Exchange { $($(#[$doc])* $name,)+ }

        impl Exchange {
            /// All of them.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$name),+];

            /// Its name in commands and in the endpoints file.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

exchanges! {
    /// Binance spot and USDⓈ-M futures.
    Binance = "binance",
    /// OKX spot and linear swaps.
    Okx = "okx",
    /// Bybit spot and linear futures.
    Bybit = "bybit",
    /// Coinbase Advanced Trade: spot.
    Coinbase = "coinbase",
}

impl Exchange {
    /// The exchange of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|exchange| exchange.as_str() == name)
    }
}

/// A file of recorded messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayFile {
    /// Where it is. `.gz` and `.zst` are unpacked. A sidecar with the receive times, named like
    /// the file with `.recv_ts` instead of `.jsonl`, is used when it lies beside it.
    pub path: PathBuf,
    /// Which market it belongs to; `None`: seen from its name or its messages.
    pub market: Option<Segment>,
}

/// How fast recorded messages are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReplaySpeed {
    /// At the recorded pace times this factor.
    Paced(f64),
    /// As fast as the clients take them.
    Maximum,
}

/// When recorded messages begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayStart {
    /// So long after the first subscription to a recorded stream of that market, so that a client
    /// can open all it wants.
    Subscribed(Duration),
    /// When the exchange starts.
    AtOnce,
}

/// What an exchange allows and expects of a connection. Real time, whatever the market's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Time between server pings.
    pub ping_every: Duration,
    /// A connection without a pong for so long after a ping is closed.
    pub pong_within: Duration,
    /// A connection is closed at this age.
    pub lifetime: Duration,
    /// Most messages a client may send in a second, pings and pongs included.
    pub inbound_per_second: u32,
    /// Most streams of a connection.
    pub streams_max: usize,
    /// Most connection attempts of an address in five minutes.
    pub attempts_per_five_minutes: u32,
    /// Messages that may wait for a slow client before it is cut off.
    pub queue_max: usize,
}

/// REST limits of a market. Real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestLimits {
    /// Request weight an address may use in a minute.
    pub weight_per_minute: u32,
    /// Requests answered 429 before the address is banned (418).
    pub ignored_before_ban: u32,
    /// Length of a ban.
    pub ban: Duration,
    /// Orders that an account may place in ten seconds.
    pub orders_per_ten_seconds: u32,
    /// `fundingRate` and `fundingInfo` requests an address may send in five minutes.
    pub funding_per_five_minutes: u32,
}

/// Limits of one market.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarketLimits {
    /// Streams.
    pub connection: ConnectionLimits,
    /// Requests.
    pub rest: RestLimits,
}

const MINUTE: Duration = Duration::from_secs(60);

impl MarketLimits {
    /// Binance spot.
    #[must_use]
    pub const fn binance_spot() -> Self {
        Self {
            connection: ConnectionLimits {
                ping_every: Duration::from_secs(20),
                pong_within: MINUTE,
                lifetime: Duration::from_secs(24 * 3_600),
                inbound_per_second: 5,
                streams_max: 1_024,
                attempts_per_five_minutes: 300,
                queue_max: 8_192,
            },
            rest: RestLimits {
                weight_per_minute: 6_000,
                ignored_before_ban: 5,
                ban: Duration::from_secs(120),
                orders_per_ten_seconds: 100,
                funding_per_five_minutes: 500,
            },
        }
    }

    /// Binance USDⓈ-M futures.
    #[must_use]
    pub const fn binance_usdm() -> Self {
        let spot = Self::binance_spot();
        Self {
            connection: ConnectionLimits {
                ping_every: Duration::from_secs(180),
                pong_within: Duration::from_secs(600),
                inbound_per_second: 10,
                ..spot.connection
            },
            rest: RestLimits {
                weight_per_minute: 2_400,
                orders_per_ten_seconds: 300,
                ..spot.rest
            },
        }
    }
}

/// What OKX allows and expects, and how it behaves. Real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OkxLimits {
    /// A connection on which no text went either way for so long is closed.
    pub silence: Duration,
    /// Requests that a connection may make in an hour.
    pub requests_per_hour: usize,
    /// Connections that an address may open in a second.
    pub connects_per_second: u32,
    /// Messages that may wait for a slow client before it is cut off.
    pub queue_max: usize,
    /// Whether books carry checksums; the exchange sends 0 since 2026-06-23.
    pub has_checksums: bool,
    /// Whether a book's channel begins with an image; the exchange has announced that it will not.
    pub has_images: bool,
}

impl Default for OkxLimits {
    fn default() -> Self {
        Self {
            silence: Duration::from_secs(30),
            requests_per_hour: 480,
            connects_per_second: 3,
            queue_max: 8_192,
            has_checksums: false,
            has_images: true,
        }
    }
}

/// What to simulate.
#[derive(Clone, Debug)]
pub struct SimConfig {
    /// Which exchanges.
    pub exchanges: Vec<Exchange>,
    /// Everything random follows from it.
    pub seed: u64,
    /// Where market time starts, Unix ms; `None`: now.
    pub start_ms: Option<i64>,
    /// Seconds of market time in a second; 1 is real time.
    pub time_scale: f64,
    /// Multiplier of the market's event rates; 1 gives about 1 000 book changes a second in all.
    pub intensity: f64,
    /// Most trades, and most aggregates, that an instrument keeps as they were. What is older is made
    /// anew from the seed, and is not what was told when it was new.
    pub trades_kept: usize,
    /// Instruments that each exchange lists at least, dated and halted ones aside: coins that only
    /// exist to fill the list are added, half of them as perpetuals where the exchange has those.
    /// 0 to 400.
    pub symbols: usize,
    /// Address to listen on.
    pub address: IpAddr,
    /// First port; the hosts take consecutive ones. `None`: free ports.
    pub base_port: Option<u16>,
    /// Recorded messages. A market with a file is served from its files alone.
    pub replay: Vec<ReplayFile>,
    /// How fast they are sent.
    pub replay_speed: ReplaySpeed,
    /// When they begin.
    pub replay_start: ReplayStart,
    /// Faults in force from the start.
    pub faults: Vec<FaultSpec>,
    /// Limits of spot.
    pub spot: MarketLimits,
    /// Limits of futures.
    pub usdm: MarketLimits,
    /// Limits and behaviour of OKX.
    pub okx: OkxLimits,
    /// Threads of the simulator's runtime.
    pub threads: usize,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            exchanges: Exchange::ALL.to_vec(),
            seed: 1,
            start_ms: None,
            time_scale: 1.0,
            intensity: 1.0,
            trades_kept: 20_000,
            symbols: 0,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            base_port: None,
            replay: Vec::new(),
            replay_speed: ReplaySpeed::Paced(1.0),
            replay_start: ReplayStart::Subscribed(Duration::from_millis(300)),
            faults: Vec::new(),
            spot: MarketLimits::binance_spot(),
            usdm: MarketLimits::binance_usdm(),
            okx: OkxLimits::default(),
            threads: 2,
        }
    }
}
