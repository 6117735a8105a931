//! What the tests of orders have in common.

use rust_decimal::Decimal;

use super::super::Okx;
use super::{SPOT, SWAP};
use crate::error::CryptoError;
use crate::event::Side;
use crate::exchange::okx::instruments::parse;
use crate::exchange::{Exchange, ProviderId};
use crate::instrument::{Instrument, InstrumentTable, Market};
use crate::time::TsNanos;
use crate::trading::keys::{KeyKind, Keys};
use crate::trading::order::{OrderTerms, OrderType, PositionSide, TimeInForce};
use crate::trading::venue::{
    Command, Facts, Failure, Method, NativeRequest, OrderRef, Question, Touch, TradingVenue,
};

pub(super) const NOW: TsNanos = TsNanos::from_ms(1_760_000_000_000);
pub(super) const ID: &str = "bw01k9c3h8m2000000000000000a";

pub(super) fn venue() -> &'static dyn TradingVenue {
    Okx.trading().unwrap()
}

/// Both instruments of the tests in one table.
pub(super) fn both() -> InstrumentTable {
    let mut table = InstrumentTable::default();
    for (market, list) in [(Market::Spot, SPOT), (Market::Perp, SWAP)] {
        let (specs, _) = parse(market, &[list.as_bytes().to_vec()]).unwrap();
        table = table.with_market(ProviderId::OKX, market, specs);
    }
    table
}

pub(super) fn dec(text: &str) -> Decimal {
    Decimal::from_str_exact(text).unwrap()
}

pub(super) fn keys() -> Keys {
    let secret = "22582BD0CFF14C41EDBF1AB98506286D";
    Keys::new(KeyKind::Hmac, "the-key", secret, Some("the phrase"))
        .ok()
        .unwrap()
}

pub(super) fn terms(instrument: &Instrument, order_type: OrderType, quantity: &str) -> OrderTerms {
    OrderTerms {
        provider: ProviderId::OKX,
        account: "default".to_owned(),
        entity_id: instrument.entity_id(),
        market: instrument.spec.market,
        symbol: instrument.stream_symbol(),
        native_symbol: instrument.spec.native_symbol.clone(),
        side: Side::Buy,
        order_type,
        quantity: dec(quantity),
        price: order_type.has_price().then(|| dec("45000")),
        stop_price: order_type.is_stop().then(|| dec("44000")),
        time_in_force: match order_type.has_price() {
            true => TimeInForce::Gtc,
            false => TimeInForce::Ioc,
        },
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: (instrument.spec.market == Market::Perp).then_some(PositionSide::Net),
        leverage: None,
        client_order_id: None,
    }
}

pub(super) fn order(order_type: OrderType) -> OrderRef<'static> {
    OrderRef {
        client_id: ID,
        exchange_id: None,
        trigger_id: None,
        order_type,
        side: Side::Buy,
        created_at: NOW,
    }
}

pub(super) fn place(
    instrument: &Instrument,
    terms: &OrderTerms,
    is_hedged: bool,
) -> Result<Vec<NativeRequest>, CryptoError> {
    venue().command(&Command::Place {
        instrument,
        terms,
        client_id: ID,
        touch: Touch::default(),
        is_hedged,
    })
}

/// A request as `METHOD path?query body (budget)`.
pub(super) fn text(request: &NativeRequest) -> String {
    let budgets = Okx.rest_budgets(request.market);
    let mark = if request.query.is_empty() { "" } else { "?" };
    format!(
        "{} {}{mark}{} {}({} {})",
        request.method.as_str(),
        request.path.strip_prefix("/api/v5/").unwrap(),
        request.query,
        request.body,
        budgets[request.budget.0].name,
        request.market,
    )
}

pub(super) fn asked(question: Question<'_>) -> Vec<String> {
    venue().question(&question, NOW).iter().map(text).collect()
}

pub(super) fn answer(question: Question<'_>, index: usize, body: &str) -> Facts {
    venue()
        .parse_answer(&question, index, body.as_bytes(), &both(), NOW)
        .unwrap()
}

pub(super) fn failure(method: Method, path: &str, status: u16, body: &str) -> Option<Failure> {
    let request = NativeRequest {
        method,
        market: Market::Spot,
        path: format!("/api/v5/{path}"),
        query: String::new(),
        body: String::new(),
        access: crate::trading::venue::Access::Signed,
        budget: (0, 1),
        counts_for: None,
    };
    venue().failure(&request, status, None, body.as_bytes())
}
