//! Bybit as a place to trade: which function answers what, and what its refusals prove.

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::socket::{OrderFrame, OrderRoute, OrderSession};
use crate::trading::venue::{
    Amend, Command, Facts, Failure, Method, NativeRequest, OrderSupport, PrivateRoute,
    PrivateSession, Proof, Question, SignedRequest, TradingVenue,
};

use super::{Bybit, account, errors, orders, private, sign, socket};

/// Shortest and longest time until orders are taken back when no connection is left, seconds.
const DEAD_MAN_SECS: (u32, u32) = (3, 300);

const SPOT: OrderSupport = OrderSupport {
    types: OrderType::ALL,
    times_in_force: TimeInForce::ALL,
    has_post_only: true,
    has_reduce_only: false,
    has_margin: true,
    amend: Amend::Native,
    has_leverage: false,
    dead_man_secs: Some(DEAD_MAN_SECS),
    has_hedge_mode: false,
    has_client_id_lookup: true,
};

const PERP: OrderSupport = OrderSupport {
    has_reduce_only: true,
    has_margin: false,
    has_leverage: true,
    has_hedge_mode: true,
    ..SPOT
};

/// What an answer proves of a request. The limits by key are among what proves nothing: they are
/// counted at more than one place, and other programs take them so too.
fn proof(status: u16, code: Option<i64>, is_command: bool) -> Proof {
    let Some(code) = code else {
        return match status {
            // The address is shut out before anything is looked at.
            403 => Proof::NotNow,
            401 | 404 | 405 => Proof::Refused,
            // Overload, faults, and what the exchange itself has not written.
            _ => Proof::Nothing,
        };
    };
    match (status, errors::of_order(code)) {
        (403, _) => Proof::NotNow,
        (408 | 429 | 500.., _) => Proof::Nothing,
        (_, errors::OfOrder::Open) => Proof::Nothing,
        (_, errors::OfOrder::Limit) if is_command => Proof::Nothing,
        (_, errors::OfOrder::Limit | errors::OfOrder::NotNow) => Proof::NotNow,
        (_, errors::OfOrder::Clock) => Proof::ClockSkew,
        (_, errors::OfOrder::AlreadySo) => Proof::AlreadySo,
        (_, errors::OfOrder::NoSuchOrder) => Proof::NoSuchOrder,
        (_, errors::OfOrder::Other) => Proof::Refused,
    }
}

/// [`TradingVenue::failure`]; `is_command` where something would have been done.
pub(super) fn failure_of(
    market: Market,
    is_command: bool,
    status: u16,
    retry_after: Option<&str>,
    body: &[u8],
) -> Option<Failure> {
    let failure = match status {
        200..300 => errors::body_failure(market, body)?,
        _ => errors::rest_failure(market, status, retry_after, body),
    };
    let proof = proof(status, errors::code_of(body), is_command);
    let mut error = failure.error;
    if proof == Proof::Nothing && is_command {
        let code = CryptoCode::OrderStateUnknown;
        error.recovery_suggestions = vec![code.default_suggestion().to_owned()];
        error.code = code;
    }
    Some(Failure {
        error,
        proof,
        retry_after_secs: failure.retry_after_secs,
    })
}

impl TradingVenue for Bybit {
    fn support(&self, market: Market) -> OrderSupport {
        match market {
            Market::Spot => SPOT,
            Market::Perp => PERP,
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
            } => vec![orders::place(
                instrument, terms, client_id, touch, is_hedged,
            )?],
            Command::Cancel { instrument, order } => vec![orders::cancel(instrument, &order)],
            Command::Amend {
                instrument,
                order,
                terms,
                quantity,
                price,
            } => orders::amend(instrument, &order, terms, quantity, price)
                .into_iter()
                .collect(),
            Command::CancelAll { instrument } => orders::cancel_all(instrument),
            Command::SetLeverage {
                instrument,
                leverage,
            } => match instrument.spec.market {
                Market::Perp => vec![account::set_leverage(instrument, leverage)],
                Market::Spot => {
                    let what = "there is no leverage to set by pair";
                    return Err(orders::unsupported(Market::Spot, what));
                }
            },
            // The setting stays; it is the connection that is no longer watched over.
            Command::DeadMan { secs: 0, .. } => Vec::new(),
            Command::DeadMan { market, secs, .. } => {
                let (shortest, longest) = DEAD_MAN_SECS;
                if !(shortest..=longest).contains(&secs) {
                    let accepted = format!("0, or {shortest} to {longest}");
                    let secs = secs.to_string();
                    return Err(CryptoError::invalid_parameter("secs", &secs, accepted));
                }
                vec![orders::watch(market, secs)]
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
        match *command {
            Command::Place {
                instrument,
                terms,
                client_id,
                ..
            } => orders::placed(instrument, terms.order_type, client_id, body, now),
            Command::Cancel { .. } | Command::Amend { .. } => orders::taken(body),
            Command::CancelAll { .. } | Command::SetLeverage { .. } | Command::DeadMan { .. } => {
                orders::succeeded(body)
            }
        }
    }

    fn question(&self, question: &Question<'_>, now: TsNanos) -> Vec<NativeRequest> {
        match *question {
            Question::Order { instrument, order } => orders::find(instrument, &order, now),
            Question::OpenOrders { market } => orders::open(market),
            Question::Fills {
                instrument,
                order,
                since,
            } => orders::fills(instrument, order.as_ref(), since, now),
            Question::Balances { market } => vec![account::balances(market)],
            Question::Positions => account::positions(),
            Question::PositionMode => vec![account::position_mode()],
            Question::Permissions { market } => vec![account::permissions(market)],
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
        match *question {
            Question::Order { instrument, order } => {
                orders::found(instrument.spec.market, &order, body, now)
            }
            Question::OpenOrders { market } => orders::opened(market, index, body, now),
            Question::Fills {
                instrument,
                order,
                since,
            } => orders::filled(instrument, order.as_ref(), since, index, body, table, now),
            Question::Balances { .. } => account::parse_balances(body),
            Question::Positions => account::parse_positions(index, body),
            Question::PositionMode => account::parse_position_mode(body),
            Question::Permissions { market } => account::parse_permissions(market, body),
        }
    }

    fn failure(
        &self,
        request: &NativeRequest,
        status: u16,
        retry_after: Option<&str>,
        body: &[u8],
    ) -> Option<Failure> {
        let is_command = request.method != Method::Get;
        failure_of(request.market, is_command, status, retry_after, body)
    }

    fn sign(
        &self,
        keys: &Keys,
        request: &NativeRequest,
        _host: &str,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<SignedRequest, CryptoError> {
        sign::sign(keys, request, now, window_ms)
    }

    fn private_routes(&self) -> &'static [PrivateRoute] {
        private::ROUTES
    }

    fn private_session(&self, _route: usize) -> Box<dyn PrivateSession> {
        Box::new(private::Session)
    }

    fn order_routes(&self) -> &'static [OrderRoute] {
        socket::ROUTES
    }

    fn order_session(&self, route: usize) -> Option<Box<dyn OrderSession>> {
        (route == 0).then(|| Box::new(socket::Session) as Box<dyn OrderSession>)
    }

    fn order_frame(
        &self,
        _command: &Command<'_>,
        request: &NativeRequest,
        id: u64,
        _keys: &Keys,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<Option<OrderFrame>, CryptoError> {
        Ok(socket::frame(request, id, now, window_ms))
    }
}
