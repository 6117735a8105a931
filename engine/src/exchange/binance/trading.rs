//! Binance as a place to trade: which function answers what, and what its refusals prove.

use serde::Deserialize;

use crate::error::{CryptoCode, CryptoError};
use crate::exchange::DecodeError;
use crate::instrument::{InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::Keys;
use crate::trading::order::{OrderType, TimeInForce};
use crate::trading::socket::{OrderFrame, OrderRoute, OrderSession};
use crate::trading::venue::{
    Access, Amend, Command, Facts, Failure, Method, NativeRequest, OrderSupport, PrivateRoute,
    PrivateSession, Proof, Question, SignedRequest, TradingVenue,
};

use super::{Binance, account, errors, orders, private, sign, socket};

/// The countdown is in milliseconds and has no documented end; what makes sense of it.
const DEAD_MAN_SECS: (u32, u32) = (5, 3600);

const SPOT: OrderSupport = OrderSupport {
    types: OrderType::ALL,
    times_in_force: TimeInForce::ALL,
    has_post_only: true,
    has_reduce_only: false,
    has_margin: false,
    amend: Amend::NativeReduce,
    has_leverage: false,
    dead_man_secs: None,
    has_hedge_mode: false,
    has_client_id_lookup: true,
};

const PERP: OrderSupport = OrderSupport {
    types: OrderType::ALL,
    times_in_force: TimeInForce::ALL,
    has_post_only: true,
    has_reduce_only: true,
    has_margin: false,
    // Stops that wait can't be amended: `command` says so.
    amend: Amend::Native,
    has_leverage: true,
    dead_man_secs: Some(DEAD_MAN_SECS),
    has_hedge_mode: true,
    has_client_id_lookup: true,
};

/// What an answer proves of a request. Statuses from 500 on tell that nobody knows, on USDⓈ-M but for
/// two texts.
fn proof(market: Market, status: u16, code: Option<i64>, text: &str) -> Proof {
    let is_definite = market == Market::Perp
        && (text.contains("Service Unavailable")
            || text.contains("unable to process your request"));
    match (status, code) {
        (418 | 429, _) | (_, Some(-1003 | -1008 | -1015)) => Proof::NotNow,
        (500.., _) if is_definite => Proof::NotNow,
        (..500, _) if text.contains("System is under maintenance") => Proof::NotNow,
        (408 | 500.., _) | (_, Some(-1000 | -1001 | -1006 | -1007 | -1016)) => Proof::Nothing,
        // The firewall in front of everything.
        (403, None) => Proof::NotNow,
        (401 | 404 | 451, None) => Proof::Refused,
        // Nothing that the exchange itself has written.
        (_, None) => Proof::Nothing,
        (_, Some(-10001)) => Proof::NotNow,
        (_, Some(code)) => match errors::of_order(market, code) {
            errors::OfOrder::Clock => Proof::ClockSkew,
            errors::OfOrder::AlreadySo => Proof::AlreadySo,
            errors::OfOrder::NoSuchOrder => Proof::NoSuchOrder,
            errors::OfOrder::Other => Proof::Refused,
        },
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
    #[derive(Deserialize)]
    struct Body {
        code: i64,
        #[serde(default)]
        msg: String,
    }
    if (200..300).contains(&status) {
        return None;
    }
    let parsed: Option<Body> = serde_json::from_slice(body).ok();
    let text = match &parsed {
        Some(body) => body.msg.clone(),
        None => String::from_utf8_lossy(body.get(..300).unwrap_or(body)).into_owned(),
    };
    let code = parsed.map(|body| body.code);
    let failure = errors::rest_failure(market, status, retry_after, body);
    let proof = proof(market, status, code, &text);
    let mut error = failure.error;
    let recode = match proof {
        Proof::Nothing if is_command => Some(CryptoCode::OrderStateUnknown),
        Proof::Nothing if error.code == CryptoCode::OrderStateUnknown => {
            Some(CryptoCode::ProviderUnavailable)
        }
        _ => None,
    };
    if let Some(code) = recode {
        error.recovery_suggestions = vec![code.default_suggestion().to_owned()];
        error.code = code;
    }
    Some(Failure {
        error,
        proof,
        retry_after_secs: failure.retry_after_secs,
    })
}

impl TradingVenue for Binance {
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
            } => orders::amend(instrument, &order, terms, quantity, price)?
                .into_iter()
                .collect(),
            Command::CancelAll { instrument } => orders::cancel_all(instrument),
            Command::SetLeverage {
                instrument,
                leverage,
            } => match instrument.spec.market {
                Market::Perp => vec![account::set_leverage(instrument, leverage)],
                Market::Spot => {
                    return Err(orders::unsupported(
                        instrument,
                        "there is no leverage to set",
                    ));
                }
            },
            Command::DeadMan {
                market,
                instruments,
                secs,
            } => match market {
                Market::Perp => {
                    let ask = |row: &&_| account::countdown(row, secs);
                    instruments.iter().map(ask).collect()
                }
                Market::Spot => {
                    let error = CryptoError::new(
                        CryptoCode::Unsupported,
                        "binance spot: orders can't be made to end by themselves",
                    );
                    return Err(error.with("provider", "binance").with("market", "spot"));
                }
            },
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
            } => match instrument.spec.market {
                Market::Perp if terms.order_type.is_stop() => orders::placed_algo(body, now),
                market => orders::done(market, body, client_id, now),
            },
            Command::Cancel { instrument, order } => {
                orders::canceled(instrument, &order, body, now)
            }
            Command::Amend {
                instrument, order, ..
            } => match instrument.spec.market {
                Market::Spot => orders::reduced(body, order.client_id, now),
                Market::Perp => orders::done(Market::Perp, body, order.client_id, now),
            },
            Command::CancelAll { instrument } => {
                orders::canceled_all(instrument.spec.market, body, now)
            }
            Command::SetLeverage { .. } => account::leverage_is_set(body),
            Command::DeadMan { .. } => account::countdown_runs(body),
        }
    }

    fn question(&self, question: &Question<'_>, now: TsNanos) -> Vec<NativeRequest> {
        match *question {
            Question::Order { instrument, order } => orders::find(instrument, &order),
            Question::OpenOrders { market } => orders::open(market),
            Question::Fills {
                instrument,
                order,
                since,
            } => orders::fills(instrument, order.as_ref(), since, now),
            Question::Balances { market } => vec![account::balances(market)],
            Question::Positions => vec![account::positions()],
            Question::PositionMode => vec![account::position_mode()],
            Question::Permissions { .. } => vec![account::permissions()],
        }
    }

    fn parse_answer(
        &self,
        question: &Question<'_>,
        index: usize,
        body: &[u8],
        _table: &InstrumentTable,
        now: TsNanos,
    ) -> Result<Facts, DecodeError> {
        match *question {
            Question::Order { instrument, order } => orders::found(instrument, &order, body, now),
            Question::OpenOrders { market } => orders::opened(market, index, body, now),
            Question::Fills {
                instrument, order, ..
            } => orders::filled(instrument, order.as_ref(), body),
            Question::Balances { market } => account::parse_balances(market, body),
            Question::Positions => account::parse_positions(body),
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
        // Listen keys are no orders, whatever their method.
        let is_command = request.method != Method::Get && request.access == Access::Signed;
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

    fn private_session(&self, route: usize) -> Box<dyn PrivateSession> {
        match route {
            0 => Box::new(private::SpotSession),
            _ => Box::new(private::PerpSession::default()),
        }
    }

    /// Spot orders that are taken cost no weight since 2026-04-02 (changelog of the spot API).
    fn is_free_when_taken(&self, request: &NativeRequest) -> bool {
        request.market == Market::Spot
            && request.method == Method::Post
            && request.path == "/api/v3/order"
    }

    fn order_routes(&self) -> &'static [OrderRoute] {
        socket::ROUTES
    }

    fn order_session(&self, route: usize) -> Option<Box<dyn OrderSession>> {
        let session = socket::Session::new(route)?;
        Some(Box::new(session))
    }

    fn order_frame(
        &self,
        _command: &Command<'_>,
        request: &NativeRequest,
        id: u64,
        keys: &Keys,
        now: TsNanos,
        window_ms: u32,
    ) -> Result<Option<OrderFrame>, CryptoError> {
        socket::frame(request, id, keys, now, window_ms)
    }
}
