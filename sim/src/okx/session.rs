//! One connection: subscriptions and their answers.

use std::sync::Arc;
use std::time::Duration;

use super::protocol::{self, Arg, Op, Request};
use super::server::Exchange;
use super::stream::{Kind, Path, Topic};
use super::trade::auth::{self, Who};
use super::trade::stream::{self as private, Heard};
use super::trade::{self, Call};
use super::venue::{Connection, Core};
use crate::config::OkxLimits;
use crate::market::Segment;
use crate::venue::SessionId;
use crate::venue::server::{Carried, Socket, carry_out_now};
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
    /// Who logged in.
    who: Option<Who>,
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
        who: None,
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
        if let Some(op) = request.op.trading() {
            // It takes the lock itself: faults may strike before and after it.
            drop(core);
            self.trade(op, &request);
            return None;
        }
        if !self.may_request() {
            let id = request.id.as_deref();
            let refusal = protocol::error("60014", "Requests too frequent", id, &self.name);
            core.hub.reply(self.id, refusal);
            return None;
        }
        if request.op == Op::Login {
            self.login(&mut core, &request);
            return None;
        }
        for arg in &request.args {
            if private::is_private(arg.channel()) && self.path != Path::Public {
                self.on_private(&mut core, &request, arg);
                continue;
            }
            self.on_arg(&mut core, &request, arg);
        }
        None
    }

    fn silence_end(&self) -> End {
        End::Close(4004, "No data received in 30s.")
    }

    fn closed(&mut self) {
        let mut core = self.exchange.core.lock();
        core.leave_private(|listener| listener.session == self.id);
        core.hub.close(self.id);
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

    fn login(&mut self, core: &mut Core, request: &Request) {
        let id = request.id.as_deref();
        let field = |name| {
            let arg = request.args.first();
            arg.and_then(|arg| arg.get(name)).unwrap_or_default()
        };
        let fields = ["apiKey", "passphrase", "timestamp", "sign"].map(field);
        let done = match self.path {
            Path::Public => Err(("60009", "Login failed.")),
            _ => auth::check_login(&core.accounts, fields, core.clock.now_ms()),
        };
        let answer = match done {
            Ok(who) => {
                self.who = Some(who);
                protocol::login(id, &self.name)
            }
            Err((code, msg)) => protocol::error(code, msg, id, &self.name),
        };
        core.hub.reply(self.id, answer);
    }

    /// A channel of an account.
    fn on_private(&self, core: &mut Core, request: &Request, arg: &Arg) {
        let id = request.id.as_deref();
        let Some(who) = self.who else {
            let refusal = protocol::error("60011", "Please log in", id, &self.name);
            return core.hub.reply(self.id, refusal);
        };
        let name = arg.name();
        if request.op == Op::Unsubscribe {
            core.leave_private(|it| it.session == self.id && it.channel == name);
            let ack = protocol::ack("unsubscribe", arg, id, &self.name);
            return core.hub.reply(self.id, ack);
        }
        match private::listen(core, self.id, who, self.path, arg) {
            Heard::Down => core.hub.cut(self.id),
            Heard::Unknown => {
                let refusal = protocol::unknown(arg, id, &self.name);
                core.hub.reply(self.id, refusal);
            }
            Heard::WrongPath => {
                let code = match self.path {
                    Path::Business => "64002",
                    _ => "64001",
                };
                let msg = "This channel is not supported by this URL. Please use the correct one.";
                let refusal = protocol::error(code, msg, id, &self.name);
                core.hub.reply(self.id, refusal);
            }
            Heard::From(first) => {
                let ack = protocol::ack("subscribe", arg, id, &self.name);
                core.hub.reply(self.id, ack);
                let all = core.private.listeners().iter();
                let count = all
                    .filter(|it| it.account == who.id && it.channel == name)
                    .count();
                let count = protocol::count(arg.channel(), count, &self.name);
                core.hub.reply(self.id, count);
                for text in first {
                    core.hub.tell(self.id, &name, text);
                }
            }
        }
    }

    /// A trading request.
    fn trade(&self, op: &'static str, request: &Request) {
        let (id, exchange) = (request.id.clone(), Arc::clone(&self.exchange));
        let refuse = |code, msg| {
            let refusal = protocol::error(code, msg, id.as_deref(), &self.name);
            exchange.core.lock().hub.reply(self.id, refusal);
        };
        if self.path != Path::Private {
            return refuse("60012", "Illegal request");
        }
        let Some(who) = self.who else {
            return refuse("60011", "Please log in");
        };
        let found = {
            let core = exchange.core.lock();
            trade::named(&core, &request.args)
        };
        let (market, symbol) = found.map_or((Segment::Spot, None), |(it, name)| (it, Some(name)));
        let in_us = exchange.core.lock().clock.now_ms() * 1_000;
        let act = || {
            let mut core = exchange.core.lock();
            let mut call = Call {
                core: &mut core,
                who,
                by_code: true,
            };
            private::operate(&mut call, op, &request.args)
        };
        let (carried, wait) = carry_out_now(&*exchange, market, op, symbol.as_deref(), act);
        let session = self.id;
        let give = {
            let exchange = Arc::clone(&exchange);
            move || {
                let mut core = exchange.core.lock();
                let times = (in_us, core.clock.now_ms() * 1_000 + 999);
                let text = match &carried {
                    Carried::Cut => return core.hub.cut(session),
                    Carried::Done(done) => {
                        let told = (done.code, done.msg, &done.data[..]);
                        protocol::traded(op, id.as_deref(), told, times)
                    }
                    Carried::Failed(_) => {
                        let msg = "Service temporarily unavailable. Please try again later.";
                        protocol::traded(op, id.as_deref(), ("50001", msg, &[]), times)
                    }
                };
                core.hub.reply(session, text);
            }
        };
        if wait.is_zero() {
            return give();
        }
        // Others are answered meanwhile.
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            give();
        });
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
        if self.path == Path::Private && self.who.is_none() {
            return Err(refuse("60011", "Please log in"));
        }
        if self.path == Path::Private {
            return Err(unknown());
        }
        if op != Op::Unsubscribe && private::is_private(arg.channel()) {
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
