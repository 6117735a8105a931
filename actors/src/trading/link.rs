//! What private connections and those that take orders have in common: when one is silent for too long,
//! when something has to be sent on it, and how long to wait before the next.

use std::time::Duration;

use bookwire_engine::exchange::Keepalive;
use bookwire_engine::instrument::Market;
use futures_util::SinkExt as _;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};

use super::live::Live;
use crate::connection::socket::{Wire as Socket, dial};
use crate::rest_client::tls_config;

/// Longest time until a connection is open, and until it is logged in.
pub(super) const LOGIN: Duration = Duration::from_secs(15);
/// A silent connection is pinged this often.
const PING: Duration = Duration::from_secs(10);

/// Opens a connection, when the exchange's limit of connections has room for it: market data's count as
/// well. The address can have a key in it: only the reason is told.
pub(super) async fn open(
    live: &Live,
    host: &'static str,
    markets: &[Market],
    url: &str,
) -> Result<Socket, String> {
    if let Some(market) = markets.first() {
        let limits = live.provider.exchange().limits(*market);
        while let Err(wait) = live
            .connects
            .take(host, &limits, None, live.clock.monotonic())
        {
            live.clock.sleep(wait).await;
        }
    }
    match tokio::time::timeout(LOGIN, dial(url, tls_config())).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(format!("can't connect: {}", error.reason)),
        Err(_) => Err("can't connect in time".to_owned()),
    }
}

/// The text in what a socket delivers; `None`: only a sign of life. The error is why it ended.
pub(super) async fn text_of(
    message: Option<Result<Message, Error>>,
    socket: &mut Socket,
) -> Result<Option<Utf8Bytes>, String> {
    match message {
        None => Err("the exchange closed it".to_owned()),
        Some(Err(error)) => Err(error.to_string()),
        Some(Ok(Message::Text(text))) => Ok(Some(text)),
        Some(Ok(Message::Close(frame))) => {
            let reason = frame.map_or_else(String::new, |frame| frame.reason.to_string());
            Err(format!("the exchange closed it: {reason}"))
        }
        // Pings are answered by the library with the next thing sent.
        Some(Ok(_)) => match socket.flush().await {
            Ok(()) => Ok(None),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// When what is due by time is looked at.
pub(super) fn ticks() -> Interval {
    let mut ticks = tokio::time::interval(Duration::from_millis(500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The signs of life of one connection, by a monotonic clock.
pub(super) struct Pulse {
    begun: Duration,
    heard: Duration,
    pinged: Duration,
    kept: Duration,
}

impl Pulse {
    /// Of a connection that was opened just now.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            begun: now,
            heard: now,
            pinged: now,
            kept: now,
        }
    }

    /// Something came.
    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = now;
    }

    /// How old it is.
    pub(super) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.begun)
    }

    /// Sends what is due by time. The error is why it ended.
    pub(super) async fn beat(
        &mut self,
        socket: &mut Socket,
        now: Duration,
        silence_secs: u64,
        keepalive: Option<Keepalive>,
    ) -> Result<(), String> {
        if now.saturating_sub(self.heard) > Duration::from_secs(silence_secs) {
            return Err(format!("silent for {silence_secs} s"));
        }
        if let Some(keepalive) = keepalive
            && now.saturating_sub(self.kept) >= Duration::from_secs(keepalive.every_secs)
        {
            self.kept = now;
            let sent = socket.send(Message::text(keepalive.text)).await;
            sent.map_err(|error| error.to_string())?;
        }
        if now.saturating_sub(self.heard.max(self.pinged)) > PING {
            self.ping(socket, now).await?;
        }
        Ok(())
    }

    /// Asks for a sign of life.
    async fn ping(&mut self, socket: &mut Socket, now: Duration) -> Result<(), String> {
        self.pinged = now;
        let sent = socket.send(Message::Ping(Default::default())).await;
        sent.map_err(|error| format!("can't send: {error}"))
    }

    /// Asks for a sign of life where none has come since something was sent, once. The error is that the
    /// time `patience` for one is over.
    pub(super) async fn doubt(
        &mut self,
        socket: &mut Socket,
        now: Duration,
        sent: Duration,
        patience: Duration,
    ) -> Result<(), String> {
        let age = now.saturating_sub(sent);
        if self.heard > sent {
            return Ok(());
        }
        if age > patience {
            return Err("silent since a request".to_owned());
        }
        if age > patience / 4 && self.pinged <= sent {
            self.ping(socket, now).await?;
        }
        Ok(())
    }
}

/// Pauses between the lives of a connection.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST)
    }
}

const FIRST: Duration = Duration::from_millis(250);

impl Pauses {
    /// The next pause. A link that was good is tried again at once, and of what hangs on it nothing goes
    /// on meanwhile: a few seconds are the longest that it is left alone, but for one that was refused.
    pub(super) fn next(&mut self, was_up: bool, is_refused: bool) -> Duration {
        if was_up {
            self.0 = FIRST;
        }
        let least = match is_refused {
            true => Duration::from_secs(10),
            false => Duration::ZERO,
        };
        let pause = self.0.max(least).mul_f64(rand::random_range(0.5..1.0));
        self.0 = (self.0 * 2).min(Duration::from_secs(5));
        pause
    }
}
