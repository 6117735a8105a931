//! Requests over WebSocket: orders, queries, and on spot the user's stream.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::account::auth;
use super::account::endpoint::{self, Act};
use super::core::Core;
use super::rest::{self, ApiError, Params};
use super::server::Exchange;
use super::session::Wrapper;
use crate::account::auth::Proof;
use crate::account::private::Listener;
use crate::account::{AccountId, Permissions};
use crate::config::ConnectionLimits;
use crate::market::Segment;
use crate::venue::SessionId;
use crate::venue::server::{self, Carried, Socket};
use crate::venue::session::{self, Dialog, End, Pace};

/// Subscriptions that a connection may have made.
const SUBSCRIPTIONS_MAX: u32 = 65_535;

struct Talk {
    exchange: Arc<Exchange>,
    address: IpAddr,
    market: Segment,
    id: SessionId,
    /// Who has logged on, and with which key.
    user: Option<(AccountId, String)>,
    next_subscription: u32,
}

/// Serves a connection until it ends.
pub(crate) async fn run(
    socket: Socket,
    exchange: Arc<Exchange>,
    address: IpAddr,
    market: Segment,
    limits: ConnectionLimits,
) {
    let port = {
        let mut core = exchange.core.lock();
        let wrapper = Wrapper {
            market,
            is_combined: false,
        };
        core.hub.open(wrapper, limits.queue_max)
    };
    let pace = Pace {
        ping: Some((limits.ping_every, limits.pong_within)),
        lifetime: Some(limits.lifetime),
        ..Pace::default()
    };
    let stop = exchange.stop.clone();
    let talk = Talk {
        exchange,
        address,
        market,
        id: port.id,
        user: None,
        next_subscription: 0,
    };
    session::run(socket, talk, port, pace, stop).await;
}

impl Dialog for Talk {
    fn on_text(&mut self, text: &str) -> Option<End> {
        let request: Result<Value, _> = serde_json::from_str(text);
        let method = |request: &Value| Some(request.get("method")?.as_str()?.to_owned());
        let read = request
            .ok()
            .and_then(|request| method(&request).map(|method| (request, method)));
        let Some((request, method)) = read else {
            let error = ApiError::new(-1135, "JSON Request is not valid.");
            self.reply(&Value::Null, Err(error));
            return None;
        };
        let id = request.get("id").cloned().unwrap_or_default();
        let empty = json!({});
        let params = Params::of_object(request.get("params").unwrap_or(&empty));
        let Some(params) = params else {
            let error = ApiError::new(-1135, "JSON Request is not valid.");
            self.reply(&id, Err(error));
            return None;
        };
        self.on_request(&id, &method, &params)
    }

    fn ping_payload(&self) -> Bytes {
        Bytes::from(self.exchange.core.lock().clock.now_ms().to_string())
    }

    fn closed(&mut self) {
        let mut core = self.exchange.core.lock();
        core.leave_private(|listener| listener.session == self.id);
        core.hub.close(self.id);
    }
}

/// The text of an answer.
fn form(id: &Value, result: Result<Value, ApiError>, limits: &Value) -> String {
    let answer = match result {
        Ok(result) => json!({ "id": id, "status": 200, "result": result, "rateLimits": limits }),
        Err(error) => {
            let mut told = json!({ "code": error.code, "msg": error.msg });
            let data = error.data.and_then(|data| serde_json::from_str(&data).ok());
            if let Some(data) = data {
                told["data"] = data;
            }
            json!({ "id": id, "status": error.status, "error": told, "rateLimits": limits })
        }
    };
    answer.to_string()
}

impl Talk {
    fn reply(&self, id: &Value, result: Result<Value, ApiError>) {
        let text = form(id, result, &json!([]));
        self.exchange.core.lock().hub.reply(self.id, text);
    }

    fn on_request(&mut self, id: &Value, method: &str, params: &Params) -> Option<End> {
        if let Some(endpoint) = endpoint::of_socket(self.market, method) {
            return self.on_endpoint(id, method, endpoint, params);
        }
        let now_ms = self.exchange.core.lock().clock.now_ms();
        let result = match method {
            "ping" => Ok(json!({})),
            "time" => Ok(json!({ "serverTime": now_ms })),
            "session.logon" => self.log_on(params, now_ms),
            "session.status" => Ok(self.status(now_ms)),
            "session.logout" => {
                self.user = None;
                Ok(self.status(now_ms))
            }
            "userDataStream.subscribe.signature" if self.market == Segment::Spot => {
                self.subscribe(params, now_ms)
            }
            "userDataStream.subscribe" if self.market == Segment::Spot => {
                let user = self.user.as_ref().map(|(id, _)| *id);
                let user = user.ok_or_else(auth::forbidden);
                user.and_then(|user| self.listen(user))
            }
            "userDataStream.unsubscribe" if self.market == Segment::Spot => {
                self.unsubscribe(params)
            }
            "session.subscriptions" if self.market == Segment::Spot => Ok(self.subscriptions()),
            _ => Err(ApiError::new(-1020, "This operation is not supported.")),
        };
        self.reply(id, result);
        None
    }

    /// The account of a request: by its own signature, or of whom has logged on.
    fn user(
        &self,
        core: &Core,
        params: &Params,
        is_signed: bool,
        now_ms: i64,
    ) -> Result<(AccountId, Permissions), ApiError> {
        if let (Some((_, name)), None) = (&self.user, params.get("apiKey")) {
            let (id, key) = core.accounts.key(name).ok_or_else(auth::forbidden)?;
            if is_signed {
                auth::check_time(params, now_ms)?;
            }
            return Ok((id, key.may));
        }
        let (id, key) = auth::find(&core.accounts, params.get("apiKey"))?;
        if is_signed {
            auth::check_socket(key, params, now_ms)?;
        }
        Ok((id, key.may))
    }

    fn on_endpoint(
        &mut self,
        id: &Value,
        method: &str,
        endpoint: &'static endpoint::Endpoint,
        params: &Params,
    ) -> Option<End> {
        let (exchange, market) = (Arc::clone(&self.exchange), self.market);
        let weight = endpoint.weight(params);
        let used = match rest::charge(&exchange, market, self.address, weight, false) {
            Ok(used) => used,
            Err(reply) => {
                let error = ApiError {
                    status: reply.status,
                    ..ApiError::new(-1003, "Too much request weight used.")
                };
                self.reply(id, Err(error));
                return None;
            }
        };
        let act = || {
            let mut core = exchange.core.lock();
            core.run_to_now();
            let now_ms = core.clock.now_ms();
            let is_signed = endpoint.act != Act::Open;
            let (user, may) = self.user(&core, params, is_signed, now_ms)?;
            endpoint.run(&mut core, user, may, params)
        };
        let (carried, wait) = match endpoint.is_trading() {
            true => server::carry_out_now(&*exchange, market, method, params.get("symbol"), act),
            false => (Carried::Done(act()), std::time::Duration::ZERO),
        };
        let result = match carried {
            Carried::Cut => return Some(End::Abort),
            Carried::Done(result) => result,
            Carried::Failed(fault) => Err(ApiError {
                status: fault.status,
                ..ApiError::new(
                    -1007,
                    "Timeout waiting for response from backend server. Send status unknown; \
                     execution status unknown.",
                )
            }),
        };
        let limits = json!([{
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1,
            "limit": exchange.weight_limit(market), "count": used,
        }]);
        let text = form(id, result, &limits);
        exchange.core.lock().hub.counters.requests += 1;
        if wait.is_zero() {
            exchange.core.lock().hub.reply(self.id, text);
        } else {
            let session = self.id;
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                exchange.core.lock().hub.reply(session, text);
            });
        }
        None
    }

    fn status(&self, now_ms: i64) -> Value {
        let key = self.user.as_ref().map(|(_, name)| name.as_str());
        json!({
            "apiKey": key, "authorizedSince": key.map(|_| now_ms), "connectedSince": now_ms,
            "returnRateLimits": true, "serverTime": now_ms, "userDataStream": false,
        })
    }

    /// Only keys that sign with a private key may log on.
    fn log_on(&mut self, params: &Params, now_ms: i64) -> Result<Value, ApiError> {
        let user = {
            let core = self.exchange.core.lock();
            let (id, key) = auth::find(&core.accounts, params.get("apiKey"))?;
            if !matches!(key.proof, Proof::Ed25519(_)) {
                let msg = "Unsupported API-key type: session.logon is only for Ed25519 keys.";
                return Err(ApiError::new(-4056, msg));
            }
            auth::check_socket(key, params, now_ms)?;
            (id, key.name.clone())
        };
        self.user = Some(user);
        Ok(self.status(now_ms))
    }

    fn subscribe(&mut self, params: &Params, now_ms: i64) -> Result<Value, ApiError> {
        let id = {
            let core = self.exchange.core.lock();
            let (id, key) = auth::find(&core.accounts, params.get("apiKey"))?;
            auth::check_socket(key, params, now_ms)?;
            id
        };
        self.listen(id)
    }

    fn listen(&mut self, account: AccountId) -> Result<Value, ApiError> {
        let mut core = self.exchange.core.lock();
        if core.is_private_down(Segment::Spot) {
            let error = ApiError::new(
                -1000,
                "An unknown error occurred while processing the request.",
            );
            return Err(ApiError {
                status: 503,
                ..error
            });
        }
        let mut mine = core.private.listeners().iter();
        if mine.any(|it| it.session == self.id && it.account == account) {
            let msg = "User Data Stream subscription already active.";
            return Err(ApiError::new(-2035, msg));
        }
        if self.next_subscription >= SUBSCRIPTIONS_MAX {
            let msg = "Too many subscriptions on this connection.";
            return Err(ApiError::new(-2042, msg));
        }
        let number = self.next_subscription;
        self.next_subscription += 1;
        core.listen_private(Listener {
            session: self.id,
            account,
            market: Some(Segment::Spot),
            channel: number.to_string(),
        });
        Ok(json!({ "subscriptionId": number }))
    }

    fn unsubscribe(&self, params: &Params) -> Result<Value, ApiError> {
        let number = params.filled("subscriptionId")?.map(str::to_owned);
        let mut core = self.exchange.core.lock();
        let ended = core.leave_private(|it| {
            it.session == self.id && number.as_ref().is_none_or(|number| *number == it.channel)
        });
        match ended {
            0 => Err(ApiError::new(
                -2036,
                "User Data Stream subscription does not exist.",
            )),
            _ => Ok(json!({})),
        }
    }

    fn subscriptions(&self) -> Value {
        let core = self.exchange.core.lock();
        let all = core.private.listeners().iter();
        let mine = all.filter(|it| it.session == self.id);
        let number = |it: &Listener| it.channel.parse::<u32>().unwrap_or_default();
        mine.map(|it| json!({ "subscriptionId": number(it) }))
            .collect()
    }
}
