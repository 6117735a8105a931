//! OKX as a place to send orders to: which request answers which question, and what failures prove.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::CryptoError;
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::socket::{OrderFrame, OrderRoute, OrderSession};
use crate::trading::venue::{
    Amend, Command, Facts, Failure, NativeRequest, OrderSupport, PrivateRoute, PrivateSession,
    Question, SignedRequest, TradingVenue,
};

use super::account::{AccountRow, ConfigRow, PositionRow};
use super::json::read;
use super::orders::{self, DEAD_MAN_SECS, is_waiting};
use super::reports::{AlgoRow, FillRow, OrderRow, inst_type};
use super::rest::{self, Query, escape};
use super::{Okx, errors, private, sign, socket};

/// Most rows of a page.
const PAGE: usize = 100;
/// How far back `fills` reaches, with an hour to spare; `fills-history` reaches three months.
const FILLS_REACH_MS: i64 = (3 * 24 - 1) * 3_600_000;
/// Algo orders that are stops: each kind is a list of its own.
const STOP_KINDS: [&str; 2] = ["trigger", "conditional"];

/// `{"code":"0","msg":"","data":[…]}`
#[derive(Deserialize)]
struct Answer<T> {
    data: Vec<T>,
}

/// The rows of an answer.
fn rows<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<Vec<T>, DecodeError> {
    read::<Answer<T>>(body, "data").map(|answer| answer.data)
}

/// An order or what it was before: rows of ordinary orders tell what has executed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind<'a> {
    #[serde(borrow)]
    acc_fill_sz: Option<&'a RawValue>,
}

/// The ordinary order of an id, or of a client's id.
fn order_query(market: Market, inst_id: &str, name: &str, id: &str) -> NativeRequest {
    let mut query = Query::new("/api/v5/trade/order");
    query.add("instId", &escape(inst_id));
    query.add(name, &escape(id));
    query.signed(market, rest::ORDER_QUERY)
}

fn open_orders(market: Market, after: Option<&str>) -> NativeRequest {
    let mut query = Query::new("/api/v5/trade/orders-pending");
    query.add("instType", &inst_type(market));
    if let Some(after) = after {
        query.add("after", &escape(after));
    }
    query.add("limit", &PAGE);
    query.signed(market, rest::ORDERS_PENDING)
}

fn open_stops(market: Market, kind: &str, after: Option<&str>) -> NativeRequest {
    let mut query = Query::new("/api/v5/trade/orders-algo-pending");
    query.add("instType", &inst_type(market));
    query.add("ordType", &kind);
    if let Some(after) = after {
        query.add("after", &escape(after));
    }
    query.add("limit", &PAGE);
    query.signed(market, rest::ORDERS_ALGO_PENDING)
}

fn config(market: Market) -> NativeRequest {
    Query::new("/api/v5/account/config").signed(market, rest::CONFIG)
}

/// Executions of an instrument from a time on, newest first, from a page's last row on.
fn fills(question: &Question<'_>, now: TsNanos, after: Option<&str>) -> Option<NativeRequest> {
    let Question::Fills {
        instrument,
        order,
        since,
    } = question
    else {
        return None;
    };
    let (path, budget) = match now.as_ms().saturating_sub(since.as_ms()) > FILLS_REACH_MS {
        false => ("/api/v5/trade/fills", rest::FILLS),
        true => ("/api/v5/trade/fills-history", rest::FILLS_HISTORY),
    };
    let market = instrument.spec.market;
    let mut query = Query::new(path);
    query.add("instType", &inst_type(market));
    query.add("instId", &escape(&instrument.spec.native_symbol));
    if let Some(id) = order.and_then(|order| order.exchange_id) {
        query.add("ordId", &escape(id));
    }
    query.add("begin", &since.as_ms().max(0));
    if let Some(after) = after {
        query.add("after", &escape(after));
    }
    query.add("limit", &PAGE);
    Some(query.signed(market, budget))
}

impl TradingVenue for Okx {
    fn support(&self, market: Market) -> OrderSupport {
        let is_perp = market == Market::Perp;
        OrderSupport {
            types: OrderType::ALL,
            times_in_force: TimeInForce::ALL,
            has_post_only: true,
            has_reduce_only: is_perp,
            has_margin: !is_perp,
            amend: Amend::Native,
            has_leverage: is_perp,
            dead_man_secs: Some(DEAD_MAN_SECS),
            has_hedge_mode: is_perp,
            has_client_id_lookup: true,
        }
    }

    fn has_one_dead_man(&self) -> bool {
        true
    }

    fn command(&self, command: &Command<'_>) -> Result<Vec<NativeRequest>, CryptoError> {
        orders::command(command)
    }

    fn parse_command(
        &self,
        command: &Command<'_>,
        _index: usize,
        body: &[u8],
        now: TsNanos,
    ) -> Result<Facts, DecodeError> {
        orders::acknowledged(command, body, now)
    }

    fn question(&self, question: &Question<'_>, now: TsNanos) -> Vec<NativeRequest> {
        match *question {
            Question::Order { instrument, order } => {
                let market = instrument.spec.market;
                let inst_id = &instrument.spec.native_symbol;
                let mut requests = Vec::new();
                match order.exchange_id {
                    Some(id) => requests.push(order_query(market, inst_id, "ordId", id)),
                    None if is_waiting(&order) || order.client_id.is_empty() => {}
                    None => {
                        requests.push(order_query(market, inst_id, "clOrdId", order.client_id));
                    }
                }
                if order.order_type.is_stop() {
                    let (name, id) = match order.trigger_id {
                        Some(id) => ("algoId", id),
                        None => ("algoClOrdId", order.client_id),
                    };
                    if !id.is_empty() {
                        let mut query = Query::new("/api/v5/trade/order-algo");
                        query.add(name, &escape(id));
                        requests.push(query.signed(market, rest::ORDER_ALGO_QUERY));
                    }
                }
                requests
            }
            Question::OpenOrders { market } => {
                let mut requests = vec![open_orders(market, None)];
                requests.extend(STOP_KINDS.map(|kind| open_stops(market, kind, None)));
                requests
            }
            Question::Fills { .. } => fills(question, now, None).into_iter().collect(),
            Question::Balances { market } => {
                vec![Query::new("/api/v5/account/balance").signed(market, rest::BALANCE)]
            }
            Question::Positions => {
                let mut query = Query::new("/api/v5/account/positions");
                query.add("instType", &inst_type(Market::Perp));
                vec![query.signed(Market::Perp, rest::POSITIONS)]
            }
            Question::PositionMode => vec![config(Market::Perp)],
            Question::Permissions { market } => vec![config(market)],
        }
    }

    fn parse_answer(
        &self,
        question: &Question<'_>,
        index: usize,
        body: &[u8],
        table: &InstrumentTable,
        now: TsNanos,
    ) -> Result<Facts, DecodeError> {
        let mut facts = Facts::default();
        let facts_ref = &mut facts;
        match *question {
            Question::Order { instrument, order } => {
                for raw in rows::<&RawValue>(body)? {
                    let raw = raw.get().as_bytes();
                    if read::<Kind<'_>>(raw, "data")?.acc_fill_sz.is_some() {
                        read::<OrderRow<'_>>(raw, "data")?.tell(table, now, facts_ref)?;
                        continue;
                    }
                    let row: AlgoRow<'_> = read(raw, "data")?;
                    match row.child() {
                        None => row.tell(table, now, facts_ref)?,
                        // Triggered: what it became tells where it stands.
                        Some(id) => {
                            let (market, inst_id) =
                                (instrument.spec.market, &instrument.spec.native_symbol);
                            facts_ref.next = Some(order_query(market, inst_id, "ordId", id));
                        }
                    }
                }
                // What a stop became has another client's id, or none.
                if order.order_type.is_stop() && !order.client_id.is_empty() {
                    for report in &mut facts_ref.orders {
                        report.client_id = Some(order.client_id.to_owned());
                    }
                }
            }
            Question::OpenOrders { market } if index == 0 => {
                let rows: Vec<OrderRow<'_>> = rows(body)?;
                for row in &rows {
                    row.tell(table, now, facts_ref)?;
                }
                let last = rows.last().filter(|_| rows.len() >= PAGE);
                facts_ref.next = last.map(|row| open_orders(market, Some(&row.ord_id.0)));
            }
            Question::OpenOrders { market } => {
                let rows: Vec<AlgoRow<'_>> = rows(body)?;
                for row in &rows {
                    row.tell(table, now, facts_ref)?;
                }
                let last = rows.last().filter(|_| rows.len() >= PAGE);
                let kind = STOP_KINDS.get(index - 1).zip(last);
                facts_ref.next =
                    kind.map(|(kind, row)| open_stops(market, kind, Some(&row.algo_id.0)));
            }
            Question::Fills { .. } => {
                let rows: Vec<FillRow<'_>> = rows(body)?;
                for row in &rows {
                    row.tell(table, facts_ref)?;
                }
                let last = rows.last().filter(|_| rows.len() >= PAGE);
                facts_ref.next = last.and_then(|row| fills(question, now, Some(&row.bill_id.0)));
            }
            Question::Balances { .. } => {
                for row in rows::<AccountRow<'_>>(body)? {
                    row.tell(facts_ref)?;
                }
                facts_ref.has_all_balances = true;
            }
            Question::Positions => {
                for row in rows::<PositionRow<'_>>(body)? {
                    row.tell(table, facts_ref)?;
                }
                facts_ref.has_all_positions = true;
            }
            Question::PositionMode | Question::Permissions { .. } => {
                let rows: Vec<ConfigRow<'_>> = rows(body)?;
                let row = rows.first().ok_or(DecodeError::Field { field: "data" })?;
                match *question {
                    Question::Permissions { market } => {
                        facts_ref.permissions = Some(row.permissions(market));
                    }
                    _ => facts_ref.is_hedged = Some(row.is_hedged()?),
                }
            }
        }
        Ok(facts)
    }

    fn failure(
        &self,
        request: &NativeRequest,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> Option<Failure> {
        errors::failure(request, status, retry_after, body)
    }

    fn sign(
        &self,
        keys: &Keys,
        request: &NativeRequest,
        _host: &str,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<SignedRequest, CryptoError> {
        sign::request(keys, request, now, window_ms)
    }

    fn private_routes(&self) -> &'static [PrivateRoute] {
        private::ROUTES
    }

    fn private_session(&self, route: usize) -> Box<dyn PrivateSession> {
        Box::new(private::Session::new(route))
    }

    fn order_routes(&self) -> &'static [OrderRoute] {
        socket::ROUTES
    }

    fn order_session(&self, route: usize) -> Option<Box<dyn OrderSession>> {
        (route == 0).then(|| Box::new(socket::Session::default()) as Box<dyn OrderSession>)
    }

    fn order_frame(
        &self,
        command: &Command<'_>,
        request: &NativeRequest,
        id: u64,
        _keys: &Keys,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<Option<OrderFrame>, CryptoError> {
        socket::frame(command, request, id, now, window_ms)
    }
}
