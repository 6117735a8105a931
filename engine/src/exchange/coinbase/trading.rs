//! Coinbase as a place to send orders to: which request answers which question.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::error::CryptoError;
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::venue::{
    Access, Amend, Command, Facts, Failure, Method, NativeRequest, OrderSupport, PrivateRoute,
    PrivateSession, Question, SignedRequest, TradingVenue,
};

use super::orders::{self, ORDERS, PRIVATE};
use super::reports::{FillRow, OrderRow, filled};
use super::rest::escape;
use super::wire::{Text, read};
use super::{Coinbase, account, errors, private, sign};

/// Rows of a page of orders or executions, and of accounts.
const PAGE: u32 = 100;
const ACCOUNTS_PAGE: u32 = 250;
/// How much earlier than an order was made here its list begins: clocks differ.
const EARLIER_NANOS: i64 = 60_000_000_000;

/// A signed question; `query` is percent-encoded.
fn get(path: String, query: String) -> NativeRequest {
    NativeRequest {
        method: Method::Get,
        market: Market::Spot,
        path,
        query,
        body: String::new(),
        access: Access::Signed,
        budget: (PRIVATE, 1),
        counts_for: None,
    }
}

/// A list with a filter, from a cursor on.
fn list(path: &str, filter: &str, limit: u32, cursor: Option<&str>) -> NativeRequest {
    let mut query = filter.to_owned();
    let separator = if query.is_empty() { "" } else { "&" };
    // Writing to a string can't fail.
    let _ = write!(query, "{separator}limit={limit}");
    if let Some(cursor) = cursor {
        let _ = write!(query, "&cursor={}", escape(cursor));
    }
    get(path.to_owned(), query)
}

/// Orders of a filter.
fn orders_of(filter: &str, cursor: Option<&str>) -> NativeRequest {
    list(&format!("{ORDERS}/historical/batch"), filter, PAGE, cursor)
}

/// An instant as a query has it.
fn instant(at: TsNanos) -> String {
    escape(&at.to_rfc3339())
}

/// Filters of the lists in which an order is looked for whose id is not known: orders that are open,
/// then all since it was made. There is no question by the client's id.
fn lists_with(product: &str, created_at: TsNanos) -> [String; 2] {
    let product = escape(product);
    let since = instant(TsNanos(created_at.0.saturating_sub(EARLIER_NANOS).max(0)));
    [
        format!("order_status=OPEN&product_ids={product}"),
        format!("product_ids={product}&start_date={since}"),
    ]
}

const OPEN: &str = "order_status=OPEN&product_type=SPOT";

/// Executions of an order; or of an instrument since a time, when its id is not known: the two can't
/// be asked for together.
fn fills(question: &Question<'_>, cursor: Option<&str>) -> Option<NativeRequest> {
    let Question::Fills {
        instrument,
        order,
        since,
    } = question
    else {
        return None;
    };
    let filter = match order.and_then(|order| order.exchange_id) {
        Some(id) => format!("order_ids={}", escape(id)),
        None => format!(
            "product_ids={}&start_sequence_timestamp={}",
            escape(&instrument.spec.native_symbol),
            instant(TsNanos(since.0.max(0)))
        ),
    };
    let path = format!("{ORDERS}/historical/fills");
    Some(list(&path, &filter, PAGE, cursor))
}

fn accounts(cursor: Option<&str>) -> NativeRequest {
    list("/api/v3/brokerage/accounts", "", ACCOUNTS_PAGE, cursor)
}

/// `{"order":{…}}`
#[derive(Deserialize)]
struct OneOrder<'a> {
    #[serde(borrow)]
    order: OrderRow<'a>,
}

/// `{"orders":[…],"has_next":false,"cursor":""}`
#[derive(Deserialize)]
struct Orders<'a> {
    #[serde(borrow)]
    orders: Vec<OrderRow<'a>>,
    has_next: Option<bool>,
    #[serde(borrow)]
    cursor: Option<Text<'a>>,
}

impl Orders<'_> {
    /// Where the next page begins.
    fn next(&self) -> Option<&str> {
        filled(&self.cursor).filter(|_| self.has_next == Some(true))
    }
}

/// `{"fills":[…],"cursor":""}`
#[derive(Deserialize)]
struct Fills<'a> {
    #[serde(borrow)]
    fills: Vec<FillRow<'a>>,
    #[serde(borrow)]
    cursor: Option<Text<'a>>,
}

impl TradingVenue for Coinbase {
    fn support(&self, _market: Market) -> OrderSupport {
        OrderSupport {
            // A stop without a limit price does not exist.
            types: &[OrderType::Market, OrderType::Limit, OrderType::StopLimit],
            times_in_force: TimeInForce::ALL,
            has_post_only: true,
            has_reduce_only: false,
            has_margin: false,
            amend: Amend::Native,
            has_leverage: false,
            dead_man_secs: None,
            has_hedge_mode: false,
            has_client_id_lookup: false,
        }
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

    fn question(&self, question: &Question<'_>, _now: TsNanos) -> Vec<NativeRequest> {
        match *question {
            Question::Order { instrument, order } => match order.exchange_id {
                Some(id) => {
                    let path = format!("{ORDERS}/historical/{}", escape(id));
                    vec![get(path, String::new())]
                }
                None => lists_with(&instrument.spec.native_symbol, order.created_at)
                    .iter()
                    .map(|filter| orders_of(filter, None))
                    .collect(),
            },
            Question::OpenOrders { .. } => vec![orders_of(OPEN, None)],
            Question::Fills { .. } => fills(question, None).into_iter().collect(),
            Question::Balances { .. } => vec![accounts(None)],
            // Spot has none.
            Question::Positions | Question::PositionMode => Vec::new(),
            Question::Permissions { .. } => {
                let path = "/api/v3/brokerage/key_permissions";
                vec![get(path.to_owned(), String::new())]
            }
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
        match *question {
            Question::Order { order, .. } if order.exchange_id.is_some() => {
                let answer: OneOrder<'_> = read(body, "order")?;
                answer.order.tell(table, now, &mut facts)?;
            }
            Question::Order { instrument, order } => {
                let page: Orders<'_> = read(body, "orders")?;
                let mut rows = page.orders.iter();
                let is_it =
                    |row: &&OrderRow<'_>| filled(&row.client_order_id) == Some(order.client_id);
                match rows.find(is_it) {
                    Some(row) => row.tell(table, now, &mut facts)?,
                    None => {
                        let lists = lists_with(&instrument.spec.native_symbol, order.created_at);
                        let filter = lists.get(index).zip(page.next());
                        facts.next = filter.map(|(filter, next)| orders_of(filter, Some(next)));
                    }
                }
            }
            Question::OpenOrders { .. } => {
                let page: Orders<'_> = read(body, "orders")?;
                for row in &page.orders {
                    row.tell(table, now, &mut facts)?;
                }
                facts.next = page.next().map(|next| orders_of(OPEN, Some(next)));
            }
            Question::Fills { .. } => {
                let page: Fills<'_> = read(body, "fills")?;
                for row in &page.fills {
                    row.tell(table, &mut facts)?;
                }
                // Nothing else says that there is more.
                let next = filled(&page.cursor).filter(|_| !page.fills.is_empty());
                facts.next = next.and_then(|next| fills(question, Some(next)));
            }
            Question::Balances { .. } => {
                let next = account::balances(body, &mut facts)?;
                facts.next = next.map(|next| accounts(Some(&next)));
            }
            Question::Positions | Question::PositionMode => {}
            Question::Permissions { .. } => {
                facts.permissions = Some(account::permissions(body)?);
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
        host: &str,
        now: TsNanos,
        _window_ms: u32,
    ) -> Result<SignedRequest, CryptoError> {
        sign::request(keys, request, host, now)
    }

    fn private_routes(&self) -> &'static [PrivateRoute] {
        private::ROUTES
    }

    fn private_session(&self, _route: usize) -> Box<dyn PrivateSession> {
        Box::new(private::Session::default())
    }
}
