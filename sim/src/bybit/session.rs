//! One stream connection: control requests and their answers.
//!
//! Source: `docs/v5/ws/connect` (2026-07-24); texts of refusals from `bybit-exchange/pybit` issue
//! 333, `ccxt/ccxt` issue 30284 and `yufuquant/rust-bybit` issue 24.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::market::Segment;
use crate::venue::SessionId;
use crate::venue::server::{Service as _, Socket};
use crate::venue::session::{self, Dialog, End, Pace};

use super::server::Service;
use super::venue::{self, Connection};

/// Most topics in a request on spot.
const SPOT_ARGS_MAX: usize = 10;
/// Messages that may wait for a slow client before it is cut off.
const QUEUE_MAX: usize = 20_000;
/// A client that says nothing for so long is cut off.
const SILENCE: Duration = Duration::from_secs(600);

struct Talk {
    service: Arc<Service>,
    id: SessionId,
    market: Segment,
    conn_id: String,
}

/// Serves a connection until it ends.
pub(super) async fn run(socket: Socket, service: Arc<Service>, market: Segment) {
    let port = {
        let mut core = service.core().lock();
        core.hub.open(
            Connection {
                market: Some(market),
            },
            QUEUE_MAX,
        )
    };
    let pace = Pace {
        client_silence: Some(SILENCE),
        ..Pace::default()
    };
    let stop = service.stop().clone();
    let conn_id = format!("{:020x}-{:x}", 0xce1e_a55f_0000_0000 + port.id, port.id);
    let talk = Talk {
        service,
        id: port.id,
        market,
        conn_id,
    };
    session::run(socket, talk, port, pace, stop).await;
}

impl Dialog for Talk {
    fn on_text(&mut self, text: &str) -> Option<End> {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        let op = request["op"].as_str().unwrap_or_default();
        let id = id_of(&request);
        match op {
            "ping" => self.answer(true, "pong", op, id.as_deref()),
            "subscribe" | "unsubscribe" => match topics(&request, self.market) {
                Ok(names) if op == "subscribe" => self.subscribe(&names, id.as_deref()),
                Ok(names) => self.unsubscribe(&names, id.as_deref()),
                Err(refusal) => self.answer(false, refusal, op, id.as_deref()),
            },
            _ => self.answer(false, "error:invalid op", op, id.as_deref()),
        }
        None
    }

    fn closed(&mut self) {
        self.service.core().lock().hub.close(self.id);
    }
}

/// The request's id as it is repeated: numbers become text.
fn id_of(request: &Value) -> Option<String> {
    match &request["req_id"] {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The topics of a request, or the text of its refusal.
fn topics(request: &Value, market: Segment) -> Result<Vec<String>, &'static str> {
    let args = request["args"].as_array().ok_or("error:invalid args")?;
    if market == Segment::Spot && args.len() > SPOT_ARGS_MAX {
        return Err("args size >10");
    }
    let names = args.iter().map(|arg| arg.as_str().map(str::to_owned));
    names.collect::<Option<_>>().ok_or("error:invalid args")
}

impl Talk {
    fn answer(&self, is_success: bool, message: &str, op: &str, id: Option<&str>) {
        let text = answer(self.market, &self.conn_id, is_success, message, op, id);
        self.service.core().lock().hub.reply(self.id, text);
    }

    /// One wrong topic refuses the whole request, and so does one that is subscribed already.
    fn subscribe(&self, names: &[String], id: Option<&str>) {
        let mut core = self.service.core().lock();
        let core = &mut *core;
        let known: HashSet<String> = core
            .hub
            .streams(self.id)
            .iter()
            .map(|name| name.to_string())
            .collect();
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let problem = match venue::find(core, self.market, name) {
                None => "handler not found",
                Some(_) if known.contains(name) => "already subscribed",
                Some(topic) => {
                    found.push((name, topic));
                    continue;
                }
            };
            let message = format!("error:{problem},topic:{name}");
            let market = self.market;
            let text = answer(market, &self.conn_id, false, &message, "subscribe", id);
            return core.hub.reply(self.id, text);
        }
        // The answer goes first; images can only follow it in the same queue.
        let message = match self.market {
            Segment::Spot => "subscribe",
            Segment::Linear => "",
        };
        let text = answer(self.market, &self.conn_id, true, message, "subscribe", id);
        core.hub.reply(self.id, text);
        for (name, topic) in found {
            venue::subscribe(core, self.id, name, topic);
        }
    }

    fn unsubscribe(&self, names: &[String], id: Option<&str>) {
        for name in names {
            self.service.core().lock().hub.unsubscribe(self.id, name);
        }
        let message = match self.market {
            Segment::Spot => "unsubscribe",
            Segment::Linear => "",
        };
        self.answer(true, message, "unsubscribe", id);
    }
}

/// Spot repeats an id that was given, linear has an empty one where none was.
fn answer(
    market: Segment,
    conn_id: &str,
    is_success: bool,
    message: &str,
    op: &str,
    id: Option<&str>,
) -> String {
    let text = |text: &str| Value::from(text).to_string();
    let id = match (market, id) {
        (_, Some(id)) => format!("\"req_id\":{},", text(id)),
        (Segment::Linear, None) => "\"req_id\":\"\",".to_owned(),
        (Segment::Spot, None) => String::new(),
    };
    format!(
        "{{\"success\":{is_success},\"ret_msg\":{},\"conn_id\":\"{conn_id}\",{id}\"op\":{}}}",
        text(message),
        text(op)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_as_recorded() {
        let linear = answer(
            Segment::Linear,
            "d8bu1ol-j6akw",
            true,
            "",
            "subscribe",
            None,
        );
        assert_eq!(
            linear,
            r#"{"success":true,"ret_msg":"","conn_id":"d8bu1ol-j6akw","req_id":"","op":"subscribe"}"#
        );
        let spot = answer(
            Segment::Spot,
            "d9avt8s-4zd1x",
            true,
            "subscribe",
            "subscribe",
            None,
        );
        assert_eq!(
            spot,
            r#"{"success":true,"ret_msg":"subscribe","conn_id":"d9avt8s-4zd1x","op":"subscribe"}"#
        );
        let pong = answer(Segment::Spot, "c", true, "pong", "ping", Some("100001"));
        assert_eq!(
            pong,
            r#"{"success":true,"ret_msg":"pong","conn_id":"c","req_id":"100001","op":"ping"}"#
        );
    }

    #[test]
    fn requests_are_read() {
        let read = |text: &str, market| {
            let request: Value = serde_json::from_str(text).unwrap();
            (
                id_of(&request),
                topics(&request, market).map(|all| all.len()),
            )
        };
        let eleven = format!(r#"{{"req_id":1,"args":{:?}}}"#, ["publicTrade.X"; 11]);
        assert_eq!(
            read(&eleven, Segment::Linear),
            (Some("1".to_owned()), Ok(11))
        );
        assert_eq!(read(&eleven, Segment::Spot).1, Err("args size >10"));
        assert_eq!(
            read(r#"{"op":"subscribe"}"#, Segment::Spot).1,
            Err("error:invalid args")
        );
        assert_eq!(
            read(r#"{"args":[1]}"#, Segment::Spot).1,
            Err("error:invalid args")
        );
    }
}
