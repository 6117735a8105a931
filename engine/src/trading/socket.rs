//! Orders over an exchange's own WebSocket: what an adapter has to say of it.
//!
//! A command is the same [`NativeRequest`] on either way. [`super::venue::TradingVenue::order_frame`]
//! makes a frame of it, and an answer on the socket is put into the form that the answer over HTTP has
//! ([`OrderAnswer`]), so that what it tells and what it proves is decided once, by
//! [`super::venue::TradingVenue::failure`] and [`super::venue::TradingVenue::parse_command`].

use super::keys::Keys;
use crate::error::CryptoError;
use crate::exchange::{DecodeError, Keepalive};
use crate::instrument::Market;
use crate::time::TsNanos;

#[cfg(doc)]
use super::venue::NativeRequest;

/// A connection on which an exchange takes orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRoute {
    /// Name in logs: `orders_spot`.
    pub name: &'static str,
    /// Host name that the configuration can map to another address.
    pub host: &'static str,
    /// Default base: `wss://ws-api.binance.com:443`.
    pub base_url: &'static str,
    /// Path (and query) to connect to.
    pub path: &'static str,
    /// Markets whose orders it takes.
    pub markets: &'static [Market],
    /// Without any inbound frame for this long the connection is dead, seconds.
    pub silence_secs: u64,
    /// The exchange ends connections of some age: it is made anew at this one, seconds, while nothing is
    /// under way. `None`: they live on.
    pub lifetime_secs: Option<u64>,
}

/// A command as it is written to a socket. No `Debug`: keys and signatures are in it.
#[derive(Clone)]
pub struct OrderFrame {
    /// Index into [`super::venue::TradingVenue::order_routes`].
    pub route: usize,
    /// The text.
    pub text: String,
}

/// An answer to a command, in the form that the same answer over HTTP has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderAnswer {
    /// The request's number.
    pub id: u64,
    /// HTTP status.
    pub status: u16,
    /// What the header `retry-after` would say, seconds.
    pub retry_after: Option<String>,
    /// Headers that tell budgets; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The exchange takes nothing more on this connection.
    pub is_last: bool,
}

/// What a frame on such a connection says.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Nothing of importance.
    Nothing,
    /// It is logged in: commands can be sent.
    Ready,
    /// It was refused: the key is wrong, or something of that kind.
    Refused(CryptoError),
    /// The exchange ends it: nothing more is to be sent, answers may still come.
    Leave(String),
    /// An answer to a command.
    Answer(OrderAnswer),
}

/// One life of a connection that takes orders.
pub trait OrderSession: Send {
    /// Frames to send when it is open; empty: it takes commands at once, and no [`Heard::Ready`] comes.
    /// `now` is the exchange's clock.
    ///
    /// # Errors
    /// The key is of a kind that the exchange does not take.
    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Result<Vec<String>, CryptoError>;

    /// Takes a frame.
    ///
    /// # Errors
    /// [`DecodeError`] when the frame is not what the exchange documents: it answers nothing then.
    fn frame(&mut self, frame: &[u8]) -> Result<Heard, DecodeError>;

    /// What has to be sent from time to time; `None`: control frames are enough.
    fn keepalive(&self) -> Option<Keepalive> {
        None
    }
}
