//! Orders over the private connection: the arguments are the REST request's body, but that instruments
//! are named by number, and the answer is the REST answer with the request's number beside it. Stops
//! are not taken there.
//!
//! Source: "WS / Place order", "Cancel order" and "Amend order" of the v5 documentation; that `instId` is
//! not taken since March 2026: its change log.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::{DecodeError, Keepalive};
use crate::instrument::Market;
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::socket::{Heard, OrderAnswer, OrderFrame, OrderRoute, OrderSession};
use crate::trading::venue::{Command, NativeRequest};

use super::json::{Text, read};
use super::private::{BASE_URL, HOST, KEEPALIVE, SILENCE_SECS};
use super::{errors, sign};

pub(super) const ROUTES: &[OrderRoute] = &[OrderRoute {
    name: "orders",
    host: HOST,
    base_url: BASE_URL,
    path: "/ws/v5/private",
    markets: &[Market::Spot, Market::Perp],
    silence_secs: SILENCE_SECS,
    lifetime_secs: None,
}];

/// What stands before the request in the text of an error that names no number.
const ILLEGAL: &str = "Illegal request: ";

/// The operation of a request, and whether it may carry a deadline; `None`: there is none.
fn operation(request: &NativeRequest) -> Option<(&'static str, bool)> {
    Some(match &*request.path {
        "/api/v5/trade/order" => ("order", true),
        "/api/v5/trade/cancel-order" => ("cancel-order", false),
        "/api/v5/trade/amend-order" => ("amend-order", true),
        _ => return None,
    })
}

pub(super) fn frame(
    command: &Command<'_>,
    request: &NativeRequest,
    id: u64,
    now: TsNanos,
    window_ms: u32,
) -> Result<Option<OrderFrame>, CryptoError> {
    let instrument = match command {
        Command::Place { instrument, .. }
        | Command::Cancel { instrument, .. }
        | Command::Amend { instrument, .. } => instrument,
        _ => return Ok(None),
    };
    let (Some((op, has_deadline)), Some(code)) = (operation(request), instrument.spec.native_code)
    else {
        return Ok(None);
    };
    let unwritable = |_| CryptoError::new(CryptoCode::InternalError, "a request can't be written");
    let mut arg: Map<String, Value> = serde_json::from_str(&request.body).map_err(unwritable)?;
    arg.remove("instId");
    arg.insert("instIdCode".to_owned(), code.into());
    let mut frame = json!({ "id": id.to_string(), "op": op, "args": [arg] });
    if has_deadline {
        let deadline = now.as_ms().saturating_add(i64::from(window_ms));
        frame["expTime"] = deadline.to_string().into();
    }
    Ok(Some(OrderFrame {
        route: 0,
        text: frame.to_string(),
    }))
}

/// An answer, or something that OKX says of the connection.
#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow, default)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    op: Option<Text<'a>>,
    #[serde(borrow)]
    event: Option<Text<'a>>,
    #[serde(borrow, default)]
    code: Text<'a>,
    #[serde(borrow, default)]
    msg: Text<'a>,
}

impl Frame<'_> {
    /// The request's number; an error tells it in its text alone at times.
    fn number(&self) -> Option<u64> {
        #[derive(Deserialize)]
        struct Request<'a> {
            #[serde(borrow)]
            id: Text<'a>,
        }
        let own = self.id.as_ref().and_then(Text::filled);
        if let Some(id) = own {
            return id.parse().ok();
        }
        let text = self.msg.0.strip_prefix(ILLEGAL)?;
        let request: Request<'_> = serde_json::from_str(text).ok()?;
        request.id.0.parse().ok()
    }

    fn answer(&self, frame: &[u8]) -> Option<Heard> {
        Some(Heard::Answer(OrderAnswer {
            id: self.number()?,
            status: status(&self.code.0),
            retry_after: None,
            headers: Vec::new(),
            body: frame.to_vec(),
            // Not logged in (any more).
            is_last: self.code.0 == "60011",
        }))
    }
}

/// The HTTP status that a code comes with over REST, where that says more than the code: of these nobody
/// knows what was done.
fn status(code: &str) -> u16 {
    match code {
        "50001" => 503,
        "50026" => 500,
        _ => 200,
    }
}

#[derive(Default)]
pub(super) struct Session {
    is_logged_in: bool,
}

impl OrderSession for Session {
    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Result<Vec<String>, CryptoError> {
        Ok(vec![sign::login(keys, now)?])
    }

    fn frame(&mut self, frame: &[u8]) -> Result<Heard, DecodeError> {
        // The answer to `ping`, as bare text.
        if frame.trim_ascii() == b"pong" {
            return Ok(Heard::Nothing);
        }
        let told: Frame<'_> = read(frame, "frame")?;
        let Some(event) = &told.event else {
            if told.op.is_none() {
                return Err(DecodeError::Field { field: "op" });
            }
            return told.answer(frame).ok_or(DecodeError::Field { field: "id" });
        };
        let (code, text) = (&*told.code.0, &*told.msg.0);
        Ok(match &*event.0 {
            "login" if code == "0" => {
                self.is_logged_in = true;
                Heard::Ready
            }
            "error" | "login" if !self.is_logged_in => match errors::refusal(code, text) {
                Some(error) => Heard::Refused(error),
                None => Heard::Leave(format!("okx: {code} {text}")),
            },
            // Of which request it is may not be told: then all that are under way are in doubt.
            "error" => told
                .answer(frame)
                .unwrap_or_else(|| Heard::Leave(format!("okx: {code} {text}"))),
            "notice" => Heard::Leave(format!("okx: {code} {text}")),
            _ => Heard::Nothing,
        })
    }

    fn keepalive(&self) -> Option<Keepalive> {
        Some(KEEPALIVE)
    }
}
