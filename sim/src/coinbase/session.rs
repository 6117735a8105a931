//! One stream connection: requests and their answers.
//!
//! Source: "WebSocket overview" and "WebSocket rate limits" of the Advanced Trade API (2026-07).
//! The texts of refusals other than the one of a wrong key are not documented.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::venue::SessionId;
use crate::venue::server::{Service as _, Socket};
use crate::venue::session::{self, Dialog, End, Pace};

use super::listing;
use super::server::Service;
use super::trade::auth;
use super::trade::stream as private;
use super::venue::{Connection, Core, Kind, Topic};

/// A connection that has not asked for anything so long after it was opened is cut off.
const FIRST_WORD: Duration = Duration::from_secs(5);
/// A connection without a message for so long is closed.
const SILENCE: Duration = Duration::from_secs(75);
/// Requests without a key in a second.
const MESSAGES: u32 = 8;
/// Messages that may wait for a slow client before it is cut off.
const QUEUE_MAX: usize = 8_192;

struct Talk {
    service: Arc<Service>,
    id: SessionId,
    /// A connection to the host of accounts, which has no products' channels.
    is_user: bool,
}

/// Serves a connection until it ends.
pub(super) async fn run(socket: Socket, service: Arc<Service>, is_user: bool) {
    let port = {
        let mut core = service.core().lock();
        core.hub.open(Connection::default(), QUEUE_MAX)
    };
    let pace = Pace {
        first_word: Some(FIRST_WORD),
        silence: Some(SILENCE),
        inbound_per_second: Some(MESSAGES),
        ..Pace::default()
    };
    let stop = service.stop().clone();
    let talk = Talk {
        service,
        id: port.id,
        is_user,
    };
    session::run(socket, talk, port, pace, stop).await;
}

/// A request that was read.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    is_subscribe: bool,
    kind: Kind,
    products: Vec<String>,
}

/// Reads a request, or tells why it is refused.
fn parse(text: &str) -> Result<Request, String> {
    let request: Value =
        serde_json::from_str(text).map_err(|_| "failed to parse the message".to_owned())?;
    let is_subscribe = match request["type"].as_str() {
        Some("subscribe") => true,
        Some("unsubscribe") => false,
        other => return Err(format!("unknown type: {}", other.unwrap_or_default())),
    };
    // One channel a message; a list of them is the older feed's form.
    let Some(channel) = request["channel"].as_str() else {
        return Err("channel is required".to_owned());
    };
    let kind = Kind::parse(channel).ok_or_else(|| format!("unknown channel: {channel}"))?;
    let products = match &request["product_ids"] {
        Value::Null => Vec::new(),
        Value::Array(all) => all
            .iter()
            .map(|product| product.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or("product_ids must be strings")?,
        _ => return Err("product_ids must be a list".to_owned()),
    };
    if products.is_empty() && kind != Kind::Heartbeats {
        return Err("product_ids is required".to_owned());
    }
    Ok(Request {
        is_subscribe,
        kind,
        products,
    })
}

/// Streams of a request by the name they are listed under; the name of a product that is none.
fn streams(core: &Core, request: &Request) -> Result<Vec<(String, Topic)>, String> {
    let kind = request.kind;
    if kind == Kind::Heartbeats {
        // They need no product and list themselves.
        return Ok(vec![(
            "heartbeats:heartbeats".to_owned(),
            Topic { kind, ix: None },
        )]);
    }
    let stream = |product: &String| {
        let ix = core.product(product).ok_or_else(|| product.clone())?;
        let topic = Topic { kind, ix: Some(ix) };
        Ok((format!("{}:{product}", kind.channel()), topic))
    };
    request.products.iter().map(stream).collect()
}

impl Dialog for Talk {
    fn on_text(&mut self, text: &str) -> Option<End> {
        let mut core = self.service.core().lock();
        let core = &mut *core;
        if let Some(done) = self.of_account(core, text) {
            if let Err(message) = done {
                let error = serde_json::json!({ "type": "error", "message": message });
                core.hub.reply(self.id, error.to_string());
            }
            return None;
        }
        let read = parse(text).and_then(|request| {
            let streams = streams(core, &request);
            let streams = streams.map_err(|product| format!("{product} is not a valid product"));
            Ok((request.is_subscribe, streams?))
        });
        match read {
            Ok((true, streams)) => {
                // What a channel begins with comes before the answer.
                for (name, topic) in streams {
                    core.subscribe(self.id, &name, topic);
                }
                core.tell_subscriptions(self.id);
            }
            Ok((false, streams)) => {
                for (name, _) in streams {
                    core.hub.unsubscribe(self.id, &name);
                }
                core.tell_subscriptions(self.id);
            }
            // Errors are not numbered.
            Err(message) => {
                let error = serde_json::json!({ "type": "error", "message": message });
                core.hub.reply(self.id, error.to_string());
            }
        }
        None
    }

    fn closed(&mut self) {
        let mut core = self.service.core().lock();
        core.leave_private(|listener| listener.session == self.id);
        core.hub.close(self.id);
    }
}

impl Talk {
    /// A request about the account; `None`: it is about something else.
    fn of_account(&self, core: &mut Core, text: &str) -> Option<Result<(), &'static str>> {
        let request: Value = serde_json::from_str(text).ok()?;
        let channel = request["channel"].as_str()?;
        if channel != private::LISTED {
            let is_known = channel == "heartbeats" || !self.is_user;
            return (!is_known).then_some(Err("the channel is not available on this host"));
        }
        let products = request["product_ids"].as_array().into_iter().flatten();
        let products = products.filter_map(|it| it.as_str());
        let products: Vec<String> = products.map(listing::owner_of).collect();
        if products.iter().any(|it| core.product(it).is_none()) {
            return Some(Err("an id is not a valid product"));
        }
        if request["type"] == "unsubscribe" {
            private::leave(core, self.id, &products);
            core.tell_subscriptions(self.id);
            return Some(Ok(()));
        }
        let token = request["jwt"].as_str().unwrap_or_default();
        let who = auth::check(&core.accounts, token, None, core.clock.now_ms());
        let Some(who) = who else {
            return Some(Err("authentication failure"));
        };
        match private::listen(core, self.id, who.id, &products) {
            true => core.tell_subscriptions(self.id),
            false => core.hub.cut(self.id),
        }
        Some(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read() {
        let text = r#"{"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"}"#;
        let expected = Request {
            is_subscribe: true,
            kind: Kind::Book,
            products: vec!["BTC-USD".to_owned()],
        };
        assert_eq!(parse(text), Ok(expected));
        let text = r#"{"type":"unsubscribe","channel":"heartbeats"}"#;
        let expected = Request {
            is_subscribe: false,
            kind: Kind::Heartbeats,
            products: Vec::new(),
        };
        assert_eq!(parse(text), Ok(expected));
    }

    #[test]
    fn refusals_say_why() {
        for (text, reason) in [
            ("[", "failed to parse the message"),
            (r#"{"type":"listen"}"#, "unknown type: listen"),
            (
                r#"{"type":"subscribe","channels":["level2"]}"#,
                "channel is required",
            ),
            (
                r#"{"type":"subscribe","channel":"l2_data","product_ids":["BTC-USD"]}"#,
                "unknown channel: l2_data",
            ),
            (
                r#"{"type":"subscribe","channel":"ticker"}"#,
                "product_ids is required",
            ),
            (
                r#"{"type":"subscribe","channel":"ticker","product_ids":[1]}"#,
                "product_ids must be strings",
            ),
            (
                r#"{"type":"subscribe","channel":"ticker","product_ids":"BTC-USD"}"#,
                "product_ids must be a list",
            ),
        ] {
            assert_eq!(parse(text), Err(reason.to_owned()), "{text}");
        }
    }
}
