//! A source, what is measured, and its clients: bookwire once, a floor in its place the other time.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::crowd::{Crowd, Kind};
use crate::fake::{Fake, Outlet, TRADES};
use crate::floor::Floor;
use crate::gateway::{Gateway, Program, Usage, free_address};
use crate::source::{Numbered, Supply, Trades};

/// What a client asks for trades with.
pub const SUBSCRIBE: &str = r#"{"id":1,"method":"subscribe","params":{"stream":"crypto.trades","provider":"binance","symbols":["btcusdt"]}}"#;

/// Time that something may need to start.
const START: Duration = Duration::from_secs(30);

/// The number of the first trade.
pub const FIRST: u64 = 1_000_000;

/// What stands between the source and the clients.
enum Middle {
    Bookwire(Gateway),
    Floor(Floor),
}

/// One side of a comparison.
pub struct Contest {
    // Clients leave before what they are connected with ends.
    /// The clients.
    pub crowd: Crowd,
    middle: Middle,
    /// Where the source writes.
    pub outlet: Outlet,
    /// Messages for it.
    pub supply: Box<dyn Supply + Send>,
    _fake: Fake,
}

impl Contest {
    /// bookwire with so many clients of one symbol's trades. `more` are sections of its configuration.
    ///
    /// # Errors
    /// When something does not start.
    pub fn bookwire(program: &Program, more: &str, clients: usize) -> Result<Self> {
        let fake = Fake::start(b"{}")?;
        let config = format!("{more}{}", fake.config(&[]));
        let mut gateway = Gateway::start(program, "", &config)?;
        gateway.wait("binance")?;
        let crowd = Crowd::connect(gateway.api(), clients, Some(SUBSCRIBE), Kind::PricedTrades)
            .with_context(|| gateway.log())?;
        let outlet = fake.outlet(TRADES, START)?;
        Ok(Self {
            crowd,
            middle: Middle::Bookwire(gateway),
            outlet,
            supply: Box::new(Trades(FIRST)),
            _fake: fake,
        })
    }

    /// A broadcaster of frames with so many clients, and messages of so many bytes.
    ///
    /// # Errors
    /// When something does not start.
    pub fn broadcaster(clients: usize, message_bytes: usize) -> Result<Self> {
        let fake = Fake::start(b"{}")?;
        let at = free_address()?;
        let source = fake.stream().to_string();
        let number = clients.to_string();
        let floor = Floor::start(&["broadcast", &source, TRADES, &at.to_string(), &number])?;
        let crowd = Crowd::connect(at, clients, None, Kind::Numbered)?;
        let outlet = fake.outlet(TRADES, START)?;
        Ok(Self {
            crowd,
            middle: Middle::Floor(floor),
            outlet,
            supply: Box::new(Numbered {
                next: FIRST,
                size: message_bytes,
            }),
            _fake: fake,
        })
    }

    /// The gateway, when it is one.
    ///
    /// # Errors
    /// When it is a floor.
    pub fn gateway(&self) -> Result<&Gateway> {
        match &self.middle {
            Middle::Bookwire(gateway) => Ok(gateway),
            Middle::Floor(_) => anyhow::bail!("a floor is no gateway"),
        }
    }

    /// What the kernel says of what is in the middle.
    #[must_use]
    pub fn usage(&self) -> Usage {
        match &self.middle {
            Middle::Bookwire(gateway) => gateway.usage(),
            Middle::Floor(floor) => floor.usage(),
        }
    }

    /// No client lacks a message, and none was told that it does.
    ///
    /// # Errors
    /// When one does.
    pub fn nothing_lost(&self) -> Result<()> {
        self.crowd.well()?;
        let seen = self.crowd.seen();
        ensure!(
            seen.missing == 0 && seen.told == 0,
            "{} messages are missing, {} were told to be",
            seen.missing,
            seen.told
        );
        if let Middle::Bookwire(gateway) = &self.middle {
            let metrics = gateway.metrics()?;
            for name in ["malformed", "trades_missed", "publications_lost"] {
                let count = metrics.get(name)?;
                ensure!(count == 0, "{name}: {count}");
            }
        }
        Ok(())
    }
}

/// The configuration of a gateway with many clients on one address, whose queues take so many
/// messages.
#[must_use]
pub fn many_clients(outbox_messages: usize) -> String {
    format!(
        "[websocket]\nconnections_per_ip = 100000\noutbox_messages = {outbox_messages}\n\
         idle_secs = 3600\n\n"
    )
}
