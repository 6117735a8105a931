//! Connections that tell an account's events.
//!
//! Spot: a subscription on the WebSocket API, signed once, nothing to keep alive. USDⓈ-M: a listen key
//! that is fetched first, is part of the path, and has to be renewed within the hour.
//! Sources: spot `user-data-stream.md` and `web-socket-api.md` (2026-07-21); USDⓈ-M user data
//! documentation of the official connector 64.0.0 (2026-07-22); that `events` is needed:
//! `oliver-zehentleitner/unicorn-binance-websocket-api` pull request 446.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::exact::{Exact, average};
use crate::trading::keys::Keys;
use crate::trading::state::{OrderNews, Word};
use crate::trading::venue::{
    Facts, FillReport, Method, NativeRequest, OrderReport, PrivateRoute, PrivateSession, Proof,
    ReportTerms, Step,
};

use super::account::{PositionEvent, SpotBalance};
use super::fields::stamp;
use super::instruments::read;
use super::report::{Names, algo_word, order_number, reason, side, word};
use super::rest::escape;
use super::sign::{self, Ask};
use super::trading;

pub(super) const ROUTES: &[PrivateRoute] = &[
    PrivateRoute {
        name: "private_spot",
        host: "ws-api.binance.com:443",
        base_url: "wss://ws-api.binance.com:443",
        markets: &[Market::Spot],
        // A ping every 20 seconds.
        silence_secs: 65,
    },
    PrivateRoute {
        name: "private_perp",
        host: "fstream.binance.com",
        base_url: "wss://fstream.binance.com",
        markets: &[Market::Perp],
        // A ping every 3 minutes.
        silence_secs: 200,
    },
];

/// Events of USDⓈ-M that are asked for. `TRADE_LITE` is left out: it repeats fills without their fees.
const EVENTS: &str =
    "ORDER_TRADE_UPDATE/ACCOUNT_UPDATE/ALGO_UPDATE/ACCOUNT_CONFIG_UPDATE/listenKeyExpired";

/// A listen key lives for an hour.
const RENEWAL_SECS: u64 = 1800;

/// Our number of the one request on a connection of spot.
const SUBSCRIPTION_ID: u64 = 1;

fn field(field: &'static str) -> DecodeError {
    DecodeError::Field { field }
}

/// Spot's connection.
#[derive(Debug, Default)]
pub(super) struct SpotSession;

/// An answer, or an event.
#[derive(Deserialize)]
struct SpotFrame<'a> {
    #[serde(default)]
    id: Value,
    status: Option<u16>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    event: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind {
    e: String,
}

impl PrivateSession for SpotSession {
    fn path(&self) -> String {
        "/ws-api/v3".to_owned()
    }

    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Vec<String> {
        // A kind of key that is not taken has been refused before anything was opened.
        let request = sign::subscription(keys, SUBSCRIPTION_ID, now);
        request.into_iter().collect()
    }

    fn frame(
        &mut self,
        frame: &[u8],
        _table: &InstrumentTable,
        _keys: &Keys,
        _now: TsNanos,
        facts: &mut Facts,
    ) -> Result<Step, DecodeError> {
        let told: SpotFrame<'_> = read(frame, "event")?;
        if let Some(event) = told.event {
            return spot_event(event.get().as_bytes(), facts);
        }
        match told.status {
            Some(200) if told.id == SUBSCRIPTION_ID => Ok(Step::Ready),
            Some(200) => Ok(Step::Wait),
            Some(status) => Ok(refused(status, told.error)),
            None => Err(field("event")),
        }
    }
}

/// An answer that is no success: the key, or something that passes.
fn refused(status: u16, error: Option<&RawValue>) -> Step {
    let body = error.map_or("", RawValue::get).as_bytes();
    let failure = trading::failure_of(Market::Spot, false, status, None, body);
    match failure {
        Some(failure) if failure.proof == Proof::Refused => Step::Refused(failure.error),
        Some(failure) => Step::Reconnect(failure.error.message),
        None => Step::Reconnect(format!("the subscription was answered with {status}")),
    }
}

fn spot_event(event: &[u8], facts: &mut Facts) -> Result<Step, DecodeError> {
    let kind: Kind = read(event, "e")?;
    match kind.e.as_str() {
        "executionReport" => read::<Execution>(event, "executionReport")?.tell(facts)?,
        "outboundAccountPosition" => {
            #[derive(Deserialize)]
            struct Changed {
                #[serde(rename = "B")]
                balances: Vec<SpotBalance>,
            }
            let changed: Changed = read(event, "B")?;
            let told: Result<Vec<_>, _> = changed
                .balances
                .into_iter()
                .map(SpotBalance::told)
                .collect();
            facts.balances.append(&mut told?);
        }
        // Locked by something else than orders: tells how much, not what is left.
        "externalLockUpdate" => facts.balances_are_stale = true,
        "eventStreamTerminated" => {
            return Ok(Step::Reconnect("the subscription ended".to_owned()));
        }
        "serverShutdown" => return Ok(Step::Reconnect("the server goes down".to_owned())),
        // What a deposit changed is told by the account's position too.
        _ => {}
    }
    Ok(Step::Wait)
}

/// A change of an order of spot.
#[derive(Deserialize)]
struct Execution {
    s: String,
    /// The order's id, or that of its cancellation or amendment.
    c: String,
    /// The order's own id where `c` is another's.
    #[serde(rename = "C")]
    own_id: Option<String>,
    #[serde(rename = "S")]
    side: String,
    o: String,
    f: String,
    q: Exact,
    p: Exact,
    #[serde(default, rename = "P")]
    stop_price: Exact,
    x: String,
    #[serde(rename = "X")]
    status: String,
    r: Option<String>,
    #[serde(rename = "eR")]
    expiry_reason: Option<Value>,
    i: u64,
    #[serde(default)]
    l: Exact,
    z: Exact,
    #[serde(default, rename = "L")]
    last_price: Exact,
    #[serde(default)]
    n: Exact,
    #[serde(rename = "N")]
    fee_asset: Option<String>,
    #[serde(rename = "T")]
    time: u64,
    #[serde(default)]
    t: i64,
    m: Option<bool>,
    #[serde(rename = "O")]
    created: Option<u64>,
    #[serde(default, rename = "Z")]
    value: Exact,
}

/// A reason as text or as a number.
fn reason_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => reason(Some(text)),
        Value::Number(number) => reason(Some(&number.to_string())),
        _ => None,
    }
}

impl Execution {
    fn tell(self, facts: &mut Facts) -> Result<(), DecodeError> {
        let at = stamp(self.time);
        let word = word(&self.status).ok_or_else(|| field("X"))?;
        let own = self.own_id.filter(|id| !id.is_empty());
        let client_id = Some(own.unwrap_or(self.c));
        let exchange_id = Some(self.i.to_string());
        let side = side(&self.side);
        let fill = match u64::try_from(self.t) {
            Ok(id) if self.x == "TRADE" => Some(FillReport {
                market: Market::Spot,
                native_symbol: self.s.clone(),
                fill_id: id.to_string(),
                client_id: client_id.clone(),
                exchange_id: exchange_id.clone(),
                side,
                price: self.last_price.needed("L")?,
                quantity: self.l.needed("l")?,
                fee: self.n.0,
                fee_asset: self.fee_asset,
                is_maker: self.m,
                at,
            }),
            _ => None,
        };
        let filled = self.z.needed("z")?;
        let names = Names {
            side: Some(&self.side),
            order_type: Some(&self.o),
            time_in_force: Some(&self.f),
            position_side: None,
        };
        facts.orders.push(OrderReport {
            market: Market::Spot,
            native_symbol: self.s,
            client_id,
            news: OrderNews {
                filled: Some(filled),
                average_price: self.value.0.and_then(|value| average(value, filled)),
                quantity: self.q.above_zero(),
                price: self.p.above_zero(),
                exchange_order_id: exchange_id,
                reason: reason(self.r.as_deref()).or(reason_of(self.expiry_reason.as_ref())),
                ..OrderNews::new(word, at)
            },
            terms: ReportTerms {
                stop_price: self.stop_price.above_zero(),
                created_at: self.created.map(stamp),
                ..names.terms_of(Market::Spot)
            },
        });
        facts.fills.extend(fill);
        Ok(())
    }
}

/// The connection of USDⓈ-M.
#[derive(Default)]
pub(super) struct PerpSession {
    listen_key: String,
}

impl PrivateSession for PerpSession {
    fn ticket_request(&self) -> Option<NativeRequest> {
        let ask = Ask::new(Method::Post, Market::Perp, "/fapi/v1/listenKey", 1);
        Some(ask.unsigned().build())
    }

    fn ticket(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Ticket {
            listen_key: String,
        }
        let ticket: Ticket = read(body, "listenKey")?;
        if ticket.listen_key.is_empty() {
            return Err(field("listenKey"));
        }
        self.listen_key = ticket.listen_key;
        Ok(())
    }

    fn renewal(&self) -> Option<(u64, NativeRequest)> {
        let ask = Ask::new(Method::Put, Market::Perp, "/fapi/v1/listenKey", 1);
        Some((RENEWAL_SECS, ask.unsigned().build()))
    }

    fn path(&self) -> String {
        let key = escape(&self.listen_key);
        format!("/private/ws?listenKey={key}&events={EVENTS}")
    }

    fn is_ready_once_open(&self) -> bool {
        true
    }

    fn opened(&mut self, _keys: &Keys, _now: TsNanos) -> Vec<String> {
        Vec::new()
    }

    fn frame(
        &mut self,
        frame: &[u8],
        _table: &InstrumentTable,
        _keys: &Keys,
        _now: TsNanos,
        facts: &mut Facts,
    ) -> Result<Step, DecodeError> {
        let kind: Kind = read(frame, "e")?;
        match kind.e.as_str() {
            "ORDER_TRADE_UPDATE" => read::<PerpEvent<PerpOrder>>(frame, "o")?.o.tell(facts)?,
            "ALGO_UPDATE" => {
                let event: PerpEvent<AlgoEvent> = read(frame, "o")?;
                let at = stamp(event.time);
                facts.orders.push(event.o.report(at)?);
            }
            "ACCOUNT_UPDATE" => read::<AccountUpdate>(frame, "a")?.tell(facts)?,
            "listenKeyExpired" => {
                return Ok(Step::Reconnect("the listen key expired".to_owned()));
            }
            "serverShutdown" => return Ok(Step::Reconnect("the server goes down".to_owned())),
            // TRADE_LITE repeats fills that come with their fees; the leverage that
            // ACCOUNT_CONFIG_UPDATE tells is asked for with the positions.
            _ => {}
        }
        Ok(Step::Wait)
    }
}

#[derive(Deserialize)]
struct PerpEvent<T> {
    #[serde(rename = "T")]
    time: u64,
    o: T,
}

/// A change of an order of USDⓈ-M.
#[derive(Deserialize)]
struct PerpOrder {
    s: String,
    /// The order's own id, when it is canceled too.
    c: String,
    #[serde(rename = "S")]
    side: String,
    o: String,
    f: Option<String>,
    q: Exact,
    p: Exact,
    #[serde(default)]
    ap: Exact,
    #[serde(default)]
    sp: Exact,
    x: String,
    #[serde(rename = "X")]
    status: String,
    i: u64,
    #[serde(default)]
    l: Exact,
    z: Exact,
    #[serde(default, rename = "L")]
    last_price: Exact,
    /// Missing where there is no fee.
    #[serde(default)]
    n: Exact,
    #[serde(rename = "N")]
    fee_asset: Option<String>,
    #[serde(rename = "T")]
    time: u64,
    #[serde(default)]
    t: i64,
    m: Option<bool>,
    #[serde(rename = "R")]
    reduce_only: Option<bool>,
    ot: Option<String>,
    ps: Option<String>,
    er: Option<Value>,
}

impl PerpOrder {
    fn tell(self, facts: &mut Facts) -> Result<(), DecodeError> {
        let at = stamp(self.time);
        let word = word(&self.status).ok_or_else(|| field("X"))?;
        let exchange_id = Some(self.i.to_string());
        // Liquidations are told as calculated, and are executions like others.
        let is_execution = matches!(self.x.as_str(), "TRADE" | "CALCULATED");
        let fill = match u64::try_from(self.t) {
            Ok(id) if is_execution && id > 0 => Some(FillReport {
                market: Market::Perp,
                native_symbol: self.s.clone(),
                fill_id: id.to_string(),
                client_id: Some(self.c.clone()),
                exchange_id: exchange_id.clone(),
                side: side(&self.side),
                price: self.last_price.needed("L")?,
                quantity: self.l.needed("l")?,
                fee: self.n.0,
                fee_asset: self.fee_asset,
                is_maker: self.m,
                at,
            }),
            _ => None,
        };
        let names = Names {
            side: Some(&self.side),
            order_type: self.ot.as_deref().or(Some(&self.o)),
            time_in_force: self.f.as_deref(),
            position_side: self.ps.as_deref(),
        };
        facts.orders.push(OrderReport {
            market: Market::Perp,
            native_symbol: self.s,
            client_id: Some(self.c),
            news: OrderNews {
                filled: Some(self.z.needed("z")?),
                average_price: self.ap.above_zero(),
                // Of a reduce-only order larger than the position only what was left of it.
                quantity: self.q.above_zero(),
                price: self.p.above_zero(),
                exchange_order_id: exchange_id,
                reason: reason_of(self.er.as_ref()),
                ..OrderNews::new(word, at)
            },
            terms: ReportTerms {
                stop_price: self.sp.above_zero(),
                reduce_only: self.reduce_only,
                ..names.terms_of(Market::Perp)
            },
        });
        facts.fills.extend(fill);
        Ok(())
    }
}

/// A change of a conditional order.
#[derive(Deserialize)]
struct AlgoEvent {
    caid: String,
    aid: u64,
    o: Option<String>,
    s: String,
    #[serde(rename = "S")]
    side: Option<String>,
    ps: Option<String>,
    f: Option<String>,
    #[serde(default)]
    q: Exact,
    #[serde(rename = "X")]
    status: String,
    /// Number of the order that it became; empty before.
    ai: Option<Value>,
    /// Average price of that order's executions.
    #[serde(default)]
    ap: Exact,
    /// What that order has executed.
    #[serde(default)]
    aq: Exact,
    #[serde(default)]
    tp: Exact,
    #[serde(default)]
    p: Exact,
    #[serde(rename = "R")]
    reduce_only: Option<bool>,
    /// Why it could not become an order.
    rm: Option<String>,
}

impl AlgoEvent {
    fn report(self, at: TsNanos) -> Result<OrderReport, DecodeError> {
        let word = algo_word(&self.status).ok_or_else(|| field("X"))?;
        let is_over = !matches!(word, Word::Works);
        let names = Names {
            side: self.side.as_deref(),
            order_type: self.o.as_deref(),
            time_in_force: self.f.as_deref(),
            position_side: self.ps.as_deref(),
        };
        Ok(OrderReport {
            market: Market::Perp,
            native_symbol: self.s,
            client_id: Some(self.caid),
            news: OrderNews {
                filled: self.aq.above_zero(),
                average_price: self.ap.above_zero(),
                quantity: self.q.above_zero(),
                price: self.p.above_zero(),
                exchange_order_id: self.ai.as_ref().and_then(order_number),
                trigger_id: Some(self.aid.to_string()),
                reason: reason(self.rm.as_deref()).filter(|_| is_over),
                ..OrderNews::new(word, at)
            },
            terms: ReportTerms {
                stop_price: self.tp.above_zero(),
                reduce_only: self.reduce_only,
                ..names.terms_of(Market::Perp)
            },
        })
    }
}

/// What changed of a USDⓈ-M account.
#[derive(Deserialize)]
struct AccountUpdate {
    #[serde(rename = "T")]
    time: u64,
    a: Changes,
}

#[derive(Deserialize)]
struct Changes {
    #[serde(default, rename = "B")]
    balances: Vec<serde::de::IgnoredAny>,
    #[serde(default, rename = "P")]
    positions: Vec<PositionEvent>,
}

impl AccountUpdate {
    fn tell(self, facts: &mut Facts) -> Result<(), DecodeError> {
        let at = stamp(self.time);
        let told: Result<Vec<_>, _> = self.a.positions.into_iter().map(|p| p.told(at)).collect();
        facts.positions.append(&mut told?);
        // The wallet is told, but not how much of it is free.
        facts.balances_are_stale |= !self.a.balances.is_empty();
        Ok(())
    }
}
