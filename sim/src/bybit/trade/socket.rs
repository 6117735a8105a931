//! Private connections: `/v5/private`, which tells, and `/v5/trade`, which takes orders.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::account::private::Listener;
use crate::fault::FaultSpec;
use crate::market::Segment;
use crate::venue::SessionId;
use crate::venue::server::{Carried, Service as _, Socket, carry_out_now};
use crate::venue::session::{self, Dialog, End, Pace};

use super::super::rest::Refusal;
use super::super::server::Service;
use super::super::venue::Connection;
use super::auth::{self, Who};
use super::{Call, Fields, Left, Outcome, stream};

/// Messages that may wait for a slow client before it is cut off.
const QUEUE_MAX: usize = 20_000;
/// A client that says nothing for so long is cut off.
const SILENCE: Duration = Duration::from_secs(600);

struct Talk {
    service: Arc<Service>,
    id: SessionId,
    conn_id: String,
    /// It takes orders.
    trades: bool,
    who: Option<Who>,
}

/// Serves a connection until it ends.
pub(crate) async fn run(socket: Socket, service: Arc<Service>, trades: bool) {
    let port = {
        let mut core = service.core().lock();
        core.hub.open(Connection { market: None }, QUEUE_MAX)
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
        conn_id,
        trades,
        who: None,
    };
    session::run(socket, talk, port, pace, stop).await;
}

impl Dialog for Talk {
    fn on_text(&mut self, text: &str) -> Option<End> {
        let request: Value = serde_json::from_str(text).unwrap_or_default();
        match request["op"].as_str().unwrap_or_default() {
            "ping" => self.pong(&request),
            "auth" => self.auth(&request),
            "subscribe" if !self.trades => self.subscribe(&request),
            "unsubscribe" if !self.trades => self.unsubscribe(&request),
            op if self.trades && op.starts_with("order.") => self.trade(op.to_owned(), &request),
            _ if self.trades => self.fail(&request, 10_404, "op type is not found."),
            op => self.tell(false, "error:invalid op", op, &request),
        }
        None
    }

    fn closed(&mut self) {
        let mut core = self.service.core().lock();
        let watched: Vec<Listener> = core
            .private
            .listeners()
            .iter()
            .filter(|listener| listener.session == self.id)
            .filter(|listener| stream::watched(&listener.channel).is_some())
            .cloned()
            .collect();
        core.leave_private(|listener| listener.session == self.id);
        core.hub.close(self.id);
        let Some(who) = self.who.as_ref().filter(|_| !self.trades) else {
            return;
        };
        // Of the connections with the topic the end of the last one counts: orders are taken back unless
        // another comes.
        let now_ms = core.clock.now_ms();
        for listener in watched {
            let mut others = core.private.listeners().iter();
            let is_left = others.any(|other| {
                other.account == listener.account && other.channel == listener.channel
            });
            let Some(market) = stream::watched(&listener.channel).filter(|_| !is_left) else {
                continue;
            };
            let wait = core
                .venue
                .trading
                .disconnect
                .get(&(who.id, market))
                .copied();
            if let Some(seconds) = wait {
                let due_ms = Some(now_ms + seconds * 1_000);
                core.accounts.count_down(who.id, (market, None), due_ms);
            }
        }
    }
}

impl Talk {
    fn reply(&self, answer: &Value) {
        self.service
            .core()
            .lock()
            .hub
            .reply(self.id, answer.to_string());
    }

    /// The answer of a connection that tells.
    fn tell(&self, is_success: bool, text: &str, op: &str, request: &Value) {
        let mut answer = json!({
            "success": is_success, "ret_msg": text, "op": op, "conn_id": self.conn_id,
        });
        if !request["req_id"].is_null() {
            answer["req_id"] = request["req_id"].clone();
        }
        self.reply(&answer);
    }

    /// The refusal of a connection that takes orders.
    fn fail(&self, request: &Value, code: i32, text: &str) {
        self.reply(&json!({
            "reqId": request["reqId"].as_str().unwrap_or_default(), "retCode": code,
            "retMsg": text, "op": request["op"], "data": {}, "connId": self.conn_id,
        }));
    }

    fn pong(&self, request: &Value) {
        let now = self.service.core().lock().clock.now_ms().to_string();
        let answer = match self.trades {
            true => json!({ "retCode": 0, "retMsg": "OK", "op": "pong", "data": [now],
                "connId": self.conn_id }),
            false => json!({ "req_id": request["req_id"].as_str().unwrap_or_default(),
                "op": "pong", "args": [now], "conn_id": self.conn_id }),
        };
        self.reply(&answer);
    }

    fn auth(&mut self, request: &Value) {
        let said = |at: usize| match &request["args"][at] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => String::new(),
        };
        let fields = [said(0), said(1), said(2)];
        let done = {
            let core = self.service.core().lock();
            let fields = [0, 1, 2].map(|at: usize| fields[at].as_str());
            auth::check_socket(&core.accounts, fields, core.clock.now_ms())
        };
        match done {
            Ok(who) => {
                self.who = Some(who);
                match self.trades {
                    true => self.reply(&json!({ "retCode": 0, "retMsg": "OK", "op": "auth",
                        "connId": self.conn_id })),
                    false => self.tell(true, "", "auth", request),
                }
            }
            Err(Refusal(code, text)) if self.trades => self.reply(&json!({
                "retCode": code, "retMsg": text, "op": "auth", "connId": self.conn_id,
            })),
            Err(Refusal(_, text)) => self.tell(false, &text, "auth", request),
        }
    }

    fn topics(request: &Value) -> Vec<String> {
        let args = request["args"].as_array().into_iter().flatten();
        args.filter_map(|arg| arg.as_str().map(str::to_owned))
            .collect()
    }

    fn subscribe(&self, request: &Value) {
        let Some(who) = &self.who else {
            return self.tell(false, "Request not authorized", "subscribe", request);
        };
        let mut found = Vec::new();
        for name in Self::topics(request) {
            let Some((_, market)) = stream::parse(&name) else {
                let text = format!("error:handler not found,topic:{name}");
                return self.tell(false, &text, "subscribe", request);
            };
            found.push((name, market));
        }
        let mut core = self.service.core().lock();
        let is_down = |market: Option<Segment>| match market {
            Some(market) => core.is_private_down(market),
            None => core.is_private_down(Segment::Spot) || core.is_private_down(Segment::Linear),
        };
        if found.iter().any(|(_, market)| is_down(*market)) {
            return core.hub.cut(self.id);
        }
        for (channel, market) in found {
            if let Some(market) = stream::watched(&channel) {
                core.accounts.count_down(who.id, (market, None), None);
            }
            core.listen_private(Listener {
                session: self.id,
                account: who.id,
                market,
                channel,
            });
        }
        drop(core);
        self.tell(true, "", "subscribe", request);
    }

    fn unsubscribe(&self, request: &Value) {
        for name in Self::topics(request) {
            let mut core = self.service.core().lock();
            core.leave_private(|it| it.session == self.id && it.channel == name);
        }
        self.tell(true, "", "unsubscribe", request);
    }

    /// A trading request.
    fn trade(&self, op: String, request: &Value) {
        let Some(who) = self.who.clone() else {
            return self.fail(request, 10_003, "not authorized");
        };
        let endpoint = match op.as_str() {
            "order.create" => "order/create",
            "order.amend" => "order/amend",
            "order.cancel" => "order/cancel",
            "order.create-batch" => "order/create-batch",
            "order.amend-batch" => "order/amend-batch",
            "order.cancel-batch" => "order/cancel-batch",
            _ => return self.fail(request, 10_404, "op type is not found."),
        };
        let fields = match request["args"].get(0) {
            Some(Value::Object(fields)) => fields.clone(),
            _ => Map::new(),
        };
        let market = Fields(&fields).market().unwrap_or(Segment::Linear);
        let symbol = Fields(&fields).text("symbol");
        let time = match &request["header"]["X-BAPI-TIMESTAMP"] {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let window = request["header"]["X-BAPI-RECV-WINDOW"]
            .as_str()
            .unwrap_or_default();
        let act = || -> Result<(Outcome, Left), Refusal> {
            let mut core = self.service.core().lock();
            auth::check_time((&time, window), core.clock.now_ms())?;
            if !who.may.may_trade(market) {
                return Err(auth::forbidden());
            }
            let mut call = Call {
                core: &mut core,
                who: &who,
            };
            let late = |_| Refusal(10_006, "Too many visits!".to_owned());
            let left = call.charge(endpoint, market, 1).map_err(late)?;
            Ok((call.route(endpoint, Fields(&fields))?, left))
        };
        let service = &*self.service;
        let (carried, wait) = carry_out_now(service, market, &op, symbol.as_deref(), act);
        let (session, conn_id) = (self.id, self.conn_id.clone());
        let req_id = request["reqId"].as_str().unwrap_or_default().to_owned();
        let service = Arc::clone(&self.service);
        let give = move || {
            let mut core = service.core().lock();
            let now = core.clock.now_ms().to_string();
            match answer(carried, &now) {
                None => core.hub.cut(session),
                Some(mut answer) => {
                    answer["reqId"] = req_id.into();
                    answer["op"] = op.into();
                    answer["connId"] = conn_id.into();
                    core.hub.reply(session, answer.to_string());
                }
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
}

/// The answer to a trading request; `None`: the connection is cut instead.
fn answer(carried: Carried<Result<(Outcome, Left), Refusal>>, now: &str) -> Option<Value> {
    let failed = |code: i32, text: &str| {
        json!({ "retCode": code, "retMsg": text, "data": {}, "retExtInfo": {},
            "header": { "Timenow": now } })
    };
    Some(match carried {
        Carried::Cut => return None,
        Carried::Failed(fault) => {
            let FaultSpec { status, .. } = *fault;
            let code = if status == 429 { 10_429 } else { 10_016 };
            failed(code, "Server error.")
        }
        Carried::Done(Err(Refusal(code, text))) => failed(code, &text),
        Carried::Done(Ok((outcome, left))) => json!({
            "retCode": 0, "retMsg": "OK", "data": outcome.result, "retExtInfo": outcome.more,
            "header": {
                "X-Bapi-Limit": left.limit.to_string(),
                "X-Bapi-Limit-Status": left.left.to_string(),
                "X-Bapi-Limit-Reset-Timestamp": left.reset_ms.to_string(), "Timenow": now,
            },
        }),
    })
}
