//! What an exchange sends, given to everything that reads it: for tests and fuzzing, which share it.

use rust_decimal::Decimal;

use super::keys::{KeyKind, Keys};
use super::order::{OrderTerms, OrderType, TimeInForce};
use super::socket::Heard;
use super::venue::{Command, Facts, NativeRequest, OrderRef, Question, Touch, TradingVenue};
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::{Instrument, InstrumentId, InstrumentSpec, InstrumentTable, Market};
use crate::time::TsNanos;

/// The moment at which all this happens.
pub const NOW: TsNanos = TsNanos(1_700_000_000_123_000_000);

/// Bitcoin in USDT on an exchange, spelled as it spells it, with steps of 0.01 and 0.00001.
#[must_use]
pub fn instrument(provider: ProviderId, market: Market, native: &str) -> Instrument {
    let spec = InstrumentSpec {
        provider,
        exchange: provider.name().to_owned(),
        market,
        native_symbol: native.to_owned(),
        base_symbol: "BTC".to_owned(),
        quote_symbol: "USDT".to_owned(),
        settlement_symbol: (market == Market::Perp).then(|| "USDT".to_owned()),
        price_step: Decimal::new(1, 2),
        qty_step: Decimal::new(1, 5),
        bar_levels: None,
        price_digits: 0,
        qty_digits: 0,
        min_qty: None,
        max_qty: None,
        min_notional: None,
        maker_fee: None,
        taker_fee: None,
        is_active: true,
        margin_enabled: false,
        list_date: None,
        contract_size: Decimal::ONE,
        max_leverage: None,
        funding_interval_hours: None,
        native_code: None,
    };
    Instrument {
        id: InstrumentId(0),
        code: "btcusdt".to_owned(),
        price_scale: 2,
        qty_scale: 5,
        spec,
    }
}

/// A limit order that buys 0.5 for 100 each; tests change what they are about.
#[must_use]
pub fn terms(instrument: &Instrument) -> OrderTerms {
    OrderTerms {
        provider: instrument.spec.provider,
        account: "default".to_owned(),
        entity_id: instrument.entity_id(),
        market: instrument.spec.market,
        symbol: instrument.stream_symbol(),
        native_symbol: instrument.spec.native_symbol.clone(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: Decimal::new(50_000, 5),
        price: Some(Decimal::new(10_000, 2)),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: None,
    }
}

/// An order as it is named before its exchange has given it a number.
#[must_use]
pub fn order_ref(client_id: &str, order_type: OrderType) -> OrderRef<'_> {
    OrderRef {
        client_id,
        exchange_id: None,
        trigger_id: None,
        order_type,
        side: Side::Buy,
        created_at: NOW,
    }
}

/// A frame of a connection that takes orders: the same text means the same, and what it answers is
/// read as an answer over HTTP is.
fn read_socket(
    venue: &dyn TradingVenue,
    command: &Command<'_>,
    request: &NativeRequest,
    body: &[u8],
) {
    for route in 0..venue.order_routes().len() {
        let told = || venue.order_session(route).map(|mut it| it.frame(body));
        let first = told();
        assert_eq!(first, told());
        let Some(Ok(Heard::Answer(answer))) = first else {
            continue;
        };
        let retry_after = answer.retry_after.as_deref();
        let failure = venue.failure(request, answer.status, retry_after, &answer.body);
        if let Some(failure) = failure {
            assert!(!failure.error.recovery_suggestions.is_empty());
        }
        let read = || venue.parse_command(command, 0, &answer.body, NOW);
        assert_eq!(read(), read());
    }
}

/// Gives a text to everything that reads what an exchange sends. Nothing of it may panic, and the
/// same text means the same.
///
/// # Panics
/// When one of these promises is broken.
pub fn read_everywhere(provider: ProviderId, body: &[u8]) {
    let exchange = provider.exchange();
    let Some(venue) = exchange.trading() else {
        return;
    };
    let Ok(keys) = Keys::new(KeyKind::Hmac, "key", "secret", None) else {
        return;
    };
    for market in exchange.markets() {
        // As the exchange spells it, or nothing of what it tells would be about it.
        let native = match (provider.name(), market) {
            ("okx", Market::Perp) => "BTC-USDT-SWAP",
            ("okx" | "coinbase", _) => "BTC-USDT",
            _ => "BTCUSDT",
        };
        let row = instrument(provider, *market, native);
        let table =
            InstrumentTable::default().with_market(provider, *market, vec![row.spec.clone()]);
        let terms = terms(&row);
        for order_type in &[OrderType::Limit, OrderType::StopLimit] {
            let order = order_ref("bw1", *order_type);
            let terms = OrderTerms {
                order_type: *order_type,
                ..terms.clone()
            };
            let commands = [
                Command::Place {
                    instrument: &row,
                    terms: &terms,
                    client_id: "bw1",
                    touch: Touch::default(),
                    is_hedged: false,
                },
                Command::Cancel {
                    instrument: &row,
                    order,
                },
                Command::Amend {
                    instrument: &row,
                    order,
                    terms: &terms,
                    quantity: Decimal::ONE,
                    price: None,
                },
                Command::CancelAll { instrument: &row },
                Command::SetLeverage {
                    instrument: &row,
                    leverage: 3,
                },
                Command::DeadMan {
                    market: *market,
                    instruments: &[&row],
                    secs: 30,
                },
            ];
            for command in &commands {
                for index in 0..3 {
                    let read = || venue.parse_command(command, index, body, NOW);
                    assert_eq!(read(), read());
                }
                for request in venue.command(command).unwrap_or_default() {
                    read_socket(venue, command, &request, body);
                }
            }
            let questions = [
                Question::Order {
                    instrument: &row,
                    order,
                },
                Question::OpenOrders { market: *market },
                Question::Fills {
                    instrument: &row,
                    order: Some(order),
                    since: NOW,
                },
                Question::Balances { market: *market },
                Question::Positions,
                Question::PositionMode,
                Question::Permissions { market: *market },
            ];
            for question in &questions {
                for request in venue.question(question, NOW) {
                    for status in [200, 400, 401, 403, 404, 418, 429, 500, 503] {
                        if let Some(failure) = venue.failure(&request, status, None, body) {
                            assert!(!failure.error.recovery_suggestions.is_empty());
                        }
                    }
                }
                for index in 0..3 {
                    let read = || venue.parse_answer(question, index, body, &table, NOW);
                    assert_eq!(read(), read());
                }
            }
        }
        for route in 0..venue.private_routes().len() {
            let mut session = venue.private_session(route);
            let _ = session.ticket(body);
            let _ = (session.path(), session.opened(&keys, NOW));
            let mut facts = Facts::default();
            let told = session.frame(body, &table, &keys, NOW, &mut facts);
            // A frame that can't be read tells nothing.
            assert!(told.is_ok() || facts.is_empty());
        }
    }
}
