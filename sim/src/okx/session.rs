//! One connection: subscriptions and their answers.

use std::sync::Arc;
use std::time::Duration;

use super::protocol::{self, Arg, Op, Request};
use super::server::Exchange;
use super::stream::{Kind, Path, Topic};
use super::venue::{Connection, Core};
use crate::config::OkxLimits;
use crate::venue::SessionId;
use crate::venue::server::Socket;
use crate::venue::session::{self, Dialog, End, Pace};

/// Requests that a connection may make in an hour.
const HOUR: Duration = Duration::from_secs(3_600);

struct Talk {
    exchange: Arc<Exchange>,
    id: SessionId,
    name: String,
    path: Path,
    limits: OkxLimits,
    /// When the requests of the last hour came.
    requests: std::collections::VecDeque<tokio::time::Instant>,
}

/// Serves a connection until it ends.
pub(crate) async fn run(socket: Socket, exchange: Arc<Exchange>, path: Path) {
    let limits = exchange.limits;
    let (port, name) = {
        let mut core = exchange.core.lock();
        // Names are eight hexadecimal digits, different for each connection.
        let number = core.hub.counters.connections.wrapping_mul(0x9E37_79B1);
        let name = format!("{:08x}", number as u32);
        let connection = Connection { name: name.clone() };
        (core.hub.open(connection, limits.queue_max), name)
    };
    let pace = Pace {
        silence: Some(limits.silence),
        ..Pace::default()
    };
    let stop = exchange.stop.clone();
    let talk = Talk {
        exchange,
        id: port.id,
        name,
        path,
        limits,
        requests: std::collections::VecDeque::new(),
    };
    session::run(socket, talk, port, pace, stop).await;
}

impl Dialog for Talk {
    fn on_text(&mut self, text: &str) -> Option<End> {
        let exchange = Arc::clone(&self.exchange);
        let mut core = exchange.core.lock();
        if text == "ping" {
            core.hub.reply(self.id, "pong".to_owned());
            return None;
        }
        let Some(request) = protocol::parse(text) else {
            core.hub.reply(self.id, protocol::illegal(text, &self.name));
            return None;
        };
        if !self.may_request() {
            let id = request.id.as_deref();
            let refusal = protocol::error("60014", "Requests too frequent", id, &self.name);
            core.hub.reply(self.id, refusal);
            return None;
        }
        for arg in &request.args {
            self.on_arg(&mut core, &request, arg);
        }
        None
    }

    fn silence_end(&self) -> End {
        End::Close(4004, "No data received in 30s.")
    }

    fn closed(&mut self) {
        self.exchange.core.lock().hub.close(self.id);
    }
}

impl Talk {
    fn may_request(&mut self) -> bool {
        let now = tokio::time::Instant::now();
        while self.requests.front().is_some_and(|at| now - *at >= HOUR) {
            self.requests.pop_front();
        }
        let is_free = self.requests.len() < self.limits.requests_per_hour;
        if is_free {
            self.requests.push_back(now);
        }
        is_free
    }

    fn on_arg(&self, core: &mut Core, request: &Request, arg: &Arg) {
        let id = request.id.as_deref();
        let topic = match self.topic(core, request.op, arg, id) {
            Ok(topic) => topic,
            Err(refusal) => return core.hub.reply(self.id, refusal),
        };
        let name = arg.name();
        if request.op == Op::Unsubscribe {
            core.hub.unsubscribe(self.id, &name);
            let ack = protocol::ack("unsubscribe", arg, id, &self.name);
            return core.hub.reply(self.id, ack);
        }
        let ack = protocol::ack("subscribe", arg, id, &self.name);
        core.hub.reply(self.id, ack);
        // What others wait for goes out before this one listens: its image is past that.
        let first = topic.and_then(|topic| core.first(topic));
        core.hub.subscribe(self.id, &name, topic);
        let is_book = topic.is_some_and(|topic| topic.kind == Kind::Books);
        if let Some(first) = first
            && (self.limits.has_images || !is_book)
        {
            core.hub.tell(self.id, &name, first);
        }
    }

    /// The channel of an arg; `None` inside for one that is quiet here.
    fn topic(
        &self,
        core: &Core,
        op: Op,
        arg: &Arg,
        id: Option<&str>,
    ) -> Result<Option<Topic>, String> {
        let refuse = |code, msg: &str| protocol::error(code, msg, id, &self.name);
        let unknown = || protocol::unknown(arg, id, &self.name);
        if op == Op::Login {
            return Err(refuse("60009", "Login failed."));
        }
        if self.path == Path::Private {
            return Err(refuse("60011", "Please log in"));
        }
        let channel = arg.channel();
        match channel {
            "books-l2-tbt" => {
                let msg = "Only users who are VIP5 and above in trading fee tier are allowed to \
                           subscribe to books-l2-tbt channel";
                return Err(refuse("60029", msg));
            }
            "books50-l2-tbt" => {
                let msg = "Only users who are VIP4 and above in trading fee tier are allowed to \
                           subscribe to books50-l2-tbt channel";
                return Err(refuse("60030", msg));
            }
            // Announces maintenance, of which there is none to announce: it comes as a fault.
            "status" if self.path == Path::Public => return Ok(None),
            "instruments" if self.path == Path::Public && arg.get("instType").is_some() => {
                return Ok(None);
            }
            _ => {}
        }
        let kind = Kind::parse(channel).ok_or_else(unknown)?;
        match (kind.is_business(), self.path) {
            (true, Path::Public) => {
                let msg = "This channel has been migrated to the '/business' URL. Please \
                           subscribe using the new URL.";
                return Err(refuse("64001", msg));
            }
            (false, Path::Business) => {
                let msg = "This channel is not supported by \"/business\" URL. Please use \
                           \"/private\" URL(for private channels), or \"/public\" URL(for public \
                           channels).";
                return Err(refuse("64002", msg));
            }
            _ => {}
        }
        let topic = core.topic(kind, arg.get("instId").unwrap_or_default());
        topic.map(Some).ok_or_else(unknown)
    }
}
