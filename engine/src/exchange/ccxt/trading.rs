//! Orders by way of the bridge: commands and questions to its requests, and its connection that tells
//! an account's events.
//!
//! The bridge signs, so it is handed the key: in the body of each request and in the first frame of
//! the connection, on loopback, below a path that nobody else knows. Nothing about an account is kept
//! in the child that it could not be told anew: it may die at any time.

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::DecodeError;
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::exact::plain;
use crate::trading::keys::{Handed, Keys};
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::venue::{
    Access, Amend, Command, Facts, Failure, Method, NativeRequest, OrderRef, OrderSupport,
    PrivateRoute, PrivateSession, Proof, Question, SignedRequest, Step, Touch, TradingVenue,
    position_of,
};

use super::account;
use super::errors::{self, BridgeError};
use super::rest::read;
use super::{BASE_URL, Ccxt, HOST};

const ROUTES: &[PrivateRoute] = &[PrivateRoute {
    name: "private",
    host: HOST,
    base_url: BASE_URL,
    markets: &[Market::Spot, Market::Perp],
    // The bridge pings every 20 s.
    silence_secs: 60,
}];

/// What some exchange of ccxt can do. What an account's own can is told by the bridge.
const ANY: OrderSupport = OrderSupport {
    types: OrderType::ALL,
    times_in_force: TimeInForce::ALL,
    has_post_only: true,
    has_reduce_only: false,
    amend: Amend::Replace,
    has_leverage: false,
    dead_man_secs: None,
    has_hedge_mode: false,
    has_client_id_lookup: false,
    has_margin: false,
};

const ANY_PERP: OrderSupport = OrderSupport {
    has_reduce_only: true,
    has_leverage: true,
    has_hedge_mode: true,
    ..ANY
};

/// Commands: after a lost answer nobody knows whether they were done.
const COMMANDS: [&str; 4] = ["/create", "/cancel", "/amend", "/leverage"];

fn ask(market: Market, path: &str, body: &Value) -> NativeRequest {
    NativeRequest {
        method: Method::Post,
        market,
        path: path.to_owned(),
        query: String::new(),
        body: body.to_string(),
        access: Access::Signed,
        budget: (0, 1),
        counts_for: None,
    }
}

fn of(instrument: &Instrument, path: &str, mut body: Value) -> NativeRequest {
    body["symbol"] = instrument.name().into();
    ask(instrument.spec.market, path, &body)
}

fn number(value: Option<Decimal>) -> Value {
    value.map_or(Value::Null, |value| plain(value).into())
}

/// How an order is named to the bridge: all that is known of it.
fn named(order: &OrderRef<'_>) -> Value {
    json!({
        "client": order.client_id,
        "id": order.exchange_id,
        "trigger_id": order.trigger_id,
        "is_stop": order.order_type.is_stop(),
        "created": order.created_at.as_ms(),
    })
}

fn place(
    instrument: &Instrument,
    terms: &OrderTerms,
    client_id: &str,
    touch: Touch,
    is_hedged: bool,
) -> Result<NativeRequest, CryptoError> {
    let is_perp = instrument.spec.market == Market::Perp;
    let position = match is_perp {
        true => position_of(terms, is_hedged)?,
        false => PositionSide::Net,
    };
    let stop = terms.stop_price.filter(|_| terms.order_type.is_stop());
    let has_price = terms.order_type.has_price();
    Ok(of(
        instrument,
        "/create",
        json!({
            "client": client_id,
            "side": terms.side.as_str(),
            "type": if has_price { "limit" } else { "market" },
            "amount": plain(terms.quantity),
            "price": number(terms.price.filter(|_| has_price)),
            "stop": number(stop),
            "rises": stop.map(|stop| touch.rises_to(stop, terms.side)),
            // Market orders have none.
            "tif": has_price.then(|| terms.time_in_force.as_str()),
            "post_only": terms.post_only,
            "reduce_only": terms.reduce_only,
            "margin": terms.margin_trading,
            "position": match position {
                PositionSide::Net => Value::Null,
                side => side.as_str().into(),
            },
        }),
    ))
}

fn unsupported(what: &str) -> CryptoError {
    CryptoError::new(CryptoCode::Unsupported, format!("ccxt: {what}")).with("provider", "ccxt")
}

impl TradingVenue for Ccxt {
    fn support(&self, market: Market) -> OrderSupport {
        match market {
            Market::Spot => ANY,
            Market::Perp => ANY_PERP,
        }
    }

    fn command(&self, command: &Command<'_>) -> Result<Vec<NativeRequest>, CryptoError> {
        Ok(match *command {
            Command::Place {
                instrument,
                terms,
                client_id,
                touch,
                is_hedged,
            } => vec![place(instrument, terms, client_id, touch, is_hedged)?],
            Command::Cancel { instrument, order } => {
                vec![of(instrument, "/cancel", named(&order))]
            }
            Command::Amend {
                instrument,
                order,
                terms,
                quantity,
                price,
            } => {
                let mut body = named(&order);
                body["side"] = terms.side.as_str().into();
                body["amount"] = plain(quantity).into();
                body["price"] = number(price);
                vec![of(instrument, "/amend", body)]
            }
            // One by one: few exchanges end conditional ones with the others.
            Command::CancelAll { .. } => Vec::new(),
            Command::SetLeverage {
                instrument,
                leverage,
            } => vec![of(instrument, "/leverage", json!({ "leverage": leverage }))],
            Command::DeadMan { .. } => {
                return Err(unsupported("orders can't be had canceled by themselves"));
            }
        })
    }

    fn parse_command(
        &self,
        command: &Command<'_>,
        _index: usize,
        body: &[u8],
        now: TsNanos,
    ) -> Result<Facts, DecodeError> {
        let is_placed = matches!(command, Command::Place { .. });
        let mut facts = account::parse(body, is_placed, now)?;
        if let Command::Place {
            instrument,
            client_id,
            ..
        } = *command
        {
            // Most exchanges do not repeat our id in their answer.
            for report in &mut facts.orders {
                report.client_id = Some(client_id.to_owned());
                report.native_symbol = instrument.spec.native_key().into_owned();
            }
        }
        Ok(facts)
    }

    fn question(&self, question: &Question<'_>, _now: TsNanos) -> Vec<NativeRequest> {
        match *question {
            Question::Order { instrument, order } => {
                vec![of(instrument, "/find", named(&order))]
            }
            Question::OpenOrders { market } => {
                vec![ask(market, "/open", &json!({ "market": market.as_str() }))]
            }
            Question::Fills {
                instrument,
                order,
                since,
            } => {
                let mut body = order.as_ref().map_or_else(|| json!({}), named);
                body["since"] = since.as_ms().into();
                vec![of(instrument, "/fills", body)]
            }
            Question::Balances { market } => {
                let body = json!({ "market": market.as_str() });
                vec![ask(market, "/balances", &body)]
            }
            Question::Positions => vec![ask(Market::Perp, "/positions", &json!({}))],
            Question::PositionMode => vec![ask(Market::Perp, "/mode", &json!({}))],
            // What the exchange can is asked at the same time; not all tell what a key may do.
            Question::Permissions { market } => {
                let body = json!({ "market": market.as_str() });
                vec![ask(market, "/abilities", &body)]
            }
        }
    }

    fn parse_answer(
        &self,
        question: &Question<'_>,
        _index: usize,
        body: &[u8],
        _table: &InstrumentTable,
        now: TsNanos,
    ) -> Result<Facts, DecodeError> {
        let mut facts = account::parse(body, false, now)?;
        if let Question::Order { order, .. } = question {
            for report in &mut facts.orders {
                report.client_id = Some(order.client_id.to_owned());
            }
        }
        if let Question::Fills {
            order: Some(order), ..
        } = question
        {
            // It was found by the exchange's id: whose it is is known.
            for fill in &mut facts.fills {
                if fill.exchange_id.as_deref() == order.exchange_id {
                    fill.client_id = Some(order.client_id.to_owned());
                }
            }
        }
        Ok(facts)
    }

    fn failure(
        &self,
        request: &NativeRequest,
        status: u16,
        _retry_after: Option<&str>,
        body: &[u8],
    ) -> Option<Failure> {
        let is_success = (200..300).contains(&status);
        let path = request.path.as_str();
        (!is_success).then(|| {
            let is_command = COMMANDS.contains(&path);
            errors::order_failure(request.market, is_command, path == "/create", status, body)
        })
    }

    fn sign(
        &self,
        keys: &Keys,
        request: &NativeRequest,
        _host: &str,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<SignedRequest, CryptoError> {
        let handed = keys.handed_on().ok_or_else(|| {
            let what = "the key was not prepared for a bridge";
            CryptoError::new(CryptoCode::InternalError, what)
        })?;
        let exchange = handed.exchange();
        // What is too old by then is not sent on, however long the child was busy.
        let until = now.as_ms().saturating_add(window_ms.into());
        let key = key_json(keys, handed);
        let ask = &request.body;
        Ok(SignedRequest {
            method: request.method,
            market: request.market,
            target: format!("/account/{exchange}{}", request.path),
            headers: vec![("content-type", "application/json".to_owned())],
            body: format!("{{\"key\":{key},\"until\":{until},\"ask\":{ask}}}"),
        })
    }

    fn private_routes(&self) -> &'static [PrivateRoute] {
        ROUTES
    }

    fn private_session(&self, _route: usize) -> Box<dyn PrivateSession> {
        Box::new(Session)
    }
}

/// What the bridge is handed of a key.
fn key_json(keys: &Keys, handed: &Handed) -> Value {
    json!({
        "key": keys.api_key(),
        "secret": handed.secret(),
        "passphrase": keys.passphrase(),
    })
}

/// The connection that tells an account's events.
struct Session;

#[derive(Deserialize)]
struct Frame {
    /// `ready`, `ask`, `lost`; missing where it tells facts.
    op: Option<String>,
    error: Option<BridgeError>,
}

impl PrivateSession for Session {
    fn path(&self) -> String {
        "/private".to_owned()
    }

    fn opened(&mut self, keys: &Keys, _now: TsNanos) -> Vec<String> {
        // A key that is none for a bridge has been refused before.
        let hello = keys.handed_on().map(|handed| {
            let markets: Vec<&str> = handed.markets().iter().map(|m| m.as_str()).collect();
            let key = key_json(keys, handed);
            json!({ "exchange": handed.exchange(), "markets": markets, "key": key }).to_string()
        });
        hello.into_iter().collect()
    }

    fn frame(
        &mut self,
        frame: &[u8],
        _table: &InstrumentTable,
        _keys: &Keys,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<Step, DecodeError> {
        let told: Frame = read(frame, "op")?;
        Ok(match told.op.as_deref() {
            None => {
                *facts = account::parse(frame, false, now)?;
                Step::Wait
            }
            Some("ready") => Step::Ready,
            Some("ask") => Step::Ask,
            Some("lost") => {
                let error = told.error.ok_or(DecodeError::Field { field: "error" })?;
                match errors::proof(&error, false) {
                    Proof::Refused => Step::Refused(error.shown()),
                    _ => Step::Reconnect(error.shown().message),
                }
            }
            Some(_) => return Err(DecodeError::Field { field: "op" }),
        })
    }
}
