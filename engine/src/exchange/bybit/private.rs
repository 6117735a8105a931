//! The connection that tells an account's events, of both markets together.
//!
//! Source: `docs/v5/websocket/private/*` and `docs/v5/websocket/wss-authentication` of the exchange's
//! documentation repository (2026-07-24).

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::{DecodeError, Keepalive};
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::venue::{Facts, PrivateRoute, PrivateSession, Proof, Step};

use super::answer::read;
use super::report::{ExecutionRow, OrderRow, PositionRow, Wallet};
use super::{BASE_URL, HOST, sign, trading};

pub(super) const ROUTES: &[PrivateRoute] = &[PrivateRoute {
    name: "private",
    host: HOST,
    base_url: BASE_URL,
    markets: &[Market::Spot, Market::Perp],
    // Each of our pings is answered.
    silence_secs: 60,
}];

/// A connection on which nothing is sent for ten minutes is closed; a pong is sooner there.
pub(super) const KEEPALIVE: Keepalive = Keepalive {
    every_secs: 20,
    text: r#"{"op":"ping"}"#,
};

/// The number of requests about [`PrivateSession::watch`], whose refusal is no reason to do without events.
const WATCH: &str = "watch";

const SUBSCRIBE: &str = r#"{"op":"subscribe","args":["order","execution","position","wallet"]}"#;

#[derive(Debug, Default)]
pub(super) struct Session;

/// Any frame. Answers come in two spellings.
#[derive(Deserialize)]
struct Frame<'a> {
    topic: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    op: Option<String>,
    req_id: Option<String>,
    success: Option<bool>,
    #[serde(rename = "retCode")]
    ret_code: Option<i64>,
    #[serde(alias = "retMsg", default)]
    ret_msg: Option<String>,
}

impl Frame<'_> {
    fn has_failed(&self) -> bool {
        self.success == Some(false) || self.ret_code.is_some_and(|code| code != 0)
    }
}

impl PrivateSession for Session {
    fn path(&self) -> String {
        "/v5/private".to_owned()
    }

    fn opened(&mut self, keys: &Keys, now: TsNanos) -> Vec<String> {
        // A kind of key that is not taken has been refused before anything was opened.
        sign::login(keys, now).into_iter().collect()
    }

    fn frame(
        &mut self,
        frame: &[u8],
        table: &InstrumentTable,
        _keys: &Keys,
        now: TsNanos,
        facts: &mut Facts,
    ) -> Result<Step, DecodeError> {
        let told: Frame<'_> = read(frame, "op")?;
        if let Some(topic) = &told.topic {
            let data = told.data.ok_or(DecodeError::Field { field: "data" })?;
            event(topic, data.get().as_bytes(), table, now, facts)?;
            return Ok(Step::Wait);
        }
        let text = told.ret_msg.as_deref().unwrap_or_default();
        Ok(match told.op.as_deref() {
            Some("auth") if told.has_failed() => refused(told.ret_code, text, frame),
            Some("auth") => Step::Send(vec![SUBSCRIBE.to_owned()]),
            // Whether orders are taken back is for institutions to ask; the setting's own refusal is told.
            Some("subscribe") if told.req_id.as_deref() == Some(WATCH) => Step::Wait,
            Some("subscribe") if told.has_failed() => {
                Step::Reconnect(format!("bybit refused the subscription: {text}"))
            }
            Some("subscribe") => Step::Ready,
            Some(_) => Step::Wait,
            None => return Err(DecodeError::Field { field: "op" }),
        })
    }

    fn keepalive(&self) -> Option<Keepalive> {
        Some(KEEPALIVE)
    }

    /// `docs/v5/websocket/private/dcp`: of all connections with these topics the end of the last one
    /// counts.
    fn watch(&self, is_wanted: bool) -> Option<String> {
        let op = if is_wanted {
            "subscribe"
        } else {
            "unsubscribe"
        };
        Some(format!(
            r#"{{"req_id":"{WATCH}","op":"{op}","args":["dcp.spot","dcp.future"]}}"#
        ))
    }
}

/// A login that failed: the key, or something that passes.
fn refused(code: Option<i64>, text: &str, frame: &[u8]) -> Step {
    if code.is_none() {
        // The older spelling tells no code.
        if text.to_lowercase().contains("expire") {
            return Step::Reconnect(format!("bybit refused the login: {text}"));
        }
        let error = CryptoError::new(
            CryptoCode::Unauthorized,
            format!("bybit refused the login: {text}"),
        );
        return Step::Refused(error.with("provider", "bybit"));
    }
    match trading::failure_of(Market::Spot, false, 200, None, frame) {
        Some(failure) if failure.proof == Proof::Refused => Step::Refused(failure.error),
        Some(failure) => Step::Reconnect(failure.error.message),
        None => Step::Reconnect(format!("bybit refused the login: {text}")),
    }
}

fn event(
    topic: &str,
    data: &[u8],
    table: &InstrumentTable,
    now: TsNanos,
    facts: &mut Facts,
) -> Result<(), DecodeError> {
    // Put together first: what can't be read as a whole tells nothing.
    let mut told = Facts::default();
    match topic {
        "order" => {
            for row in read::<Vec<OrderRow>>(data, "order")? {
                // Inverse contracts and options are of no market here.
                if let Some(market) = row.market() {
                    told.orders.push(row.report(market, now)?);
                }
            }
        }
        "execution" => {
            for row in read::<Vec<ExecutionRow>>(data, "execution")? {
                if let Some(market) = row.market().filter(|_| row.is_fill()) {
                    told.fills.push(row.report(market, table)?);
                }
            }
        }
        "position" => {
            for row in read::<Vec<PositionRow>>(data, "position")? {
                if row.is_ours() {
                    told.positions.push(row.told()?);
                }
            }
        }
        "wallet" => {
            for wallet in read::<Vec<Wallet>>(data, "wallet")? {
                told.balances.append(&mut wallet.told()?);
            }
        }
        _ => {}
    }
    facts.orders.append(&mut told.orders);
    facts.fills.append(&mut told.fills);
    facts.positions.append(&mut told.positions);
    facts.balances.append(&mut told.balances);
    Ok(())
}
