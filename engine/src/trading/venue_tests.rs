//! What holds for every exchange that orders can be sent to, and help for the tests of each.

use proptest::prelude::*;

use super::*;
use crate::exchange::ProviderId;
use crate::instrument::InstrumentSpec;
use crate::trading::exact;
use crate::trading::keys::KeyKind;

pub(crate) const NOW: TsNanos = TsNanos(1_700_000_000_123_000_000);

/// The instrument `base``quote` of an exchange, spelled as it spells it.
pub(crate) fn instrument(provider: ProviderId, market: Market, native: &str) -> Instrument {
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
    };
    let table = InstrumentTable::default().with_market(provider, market, vec![spec]);
    let row = table.iter().next().unwrap();
    (**row).clone()
}

pub(crate) fn decimal(text: &str) -> Decimal {
    exact::parse(text).unwrap()
}

/// A limit order that buys 0.5 for 100 each; tests change what they are about.
pub(crate) fn terms(instrument: &Instrument) -> OrderTerms {
    OrderTerms {
        provider: instrument.spec.provider,
        account: "default".to_owned(),
        entity_id: instrument.entity_id(),
        market: instrument.spec.market,
        symbol: instrument.stream_symbol(),
        native_symbol: instrument.spec.native_symbol.clone(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: decimal("0.50000"),
        price: Some(decimal("100.00")),
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

pub(crate) fn order_ref(client_id: &str, order_type: OrderType) -> OrderRef<'_> {
    OrderRef {
        client_id,
        exchange_id: None,
        trigger_id: None,
        order_type,
        side: Side::Buy,
        created_at: NOW,
    }
}

/// A request as one line: method, path, query, body.
pub(crate) fn line(request: &NativeRequest) -> String {
    let mut text = format!("{} {}", request.method.as_str(), request.path);
    for (mark, part) in [('?', &request.query), (' ', &request.body)] {
        if !part.is_empty() {
            text.push(mark);
            text.push_str(part);
        }
    }
    text
}

pub(crate) fn lines(requests: &[NativeRequest]) -> Vec<String> {
    requests.iter().map(line).collect()
}

pub(crate) fn hmac(key: &str, secret: &str) -> Keys {
    Keys::new(KeyKind::Hmac, key, secret, None).ok().unwrap()
}

/// Gives a text to everything that reads what an exchange sends. Nothing of it may panic, and the
/// same text means the same.
pub(crate) fn read_everywhere(provider: ProviderId, body: &[u8]) {
    let exchange = provider.exchange();
    let Some(venue) = exchange.trading() else {
        return;
    };
    let keys = hmac("key", "secret");
    for market in exchange.markets() {
        let row = instrument(provider, *market, "BTCUSDT");
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

/// Documented texts, cut short and with bytes exchanged, which is what reaches deepest.
pub(crate) fn read_damaged(provider: ProviderId, texts: &[&str]) {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut dice = |end: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % end
    };
    for text in texts {
        read_everywhere(provider, text.as_bytes());
        for _ in 0..8 {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..=dice(3) {
                let at = dice(bytes.len());
                let with = b"\"0123456789-.eE{}[],:nul "[dice(25)];
                match dice(3) {
                    0 => bytes.truncate(at.max(1)),
                    1 => bytes.insert(at, with),
                    _ => bytes[at] = with,
                }
            }
            read_everywhere(provider, &bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for provider in ProviderId::all() {
            read_everywhere(provider, &bytes);
        }
    }

    #[test]
    fn quantities_and_prices_are_sent_as_they_are(
        quantity in 1_i64..1_000_000_000_000_000, price in 1_i64..1_000_000_000_000_000,
        scales in (0_u32..=12, 0_u32..=12),
    ) {
        let (quantity, price) = (Decimal::new(quantity, scales.0), Decimal::new(price, scales.1));
        for provider in ProviderId::all() {
            let exchange = provider.exchange();
            let Some(venue) = exchange.trading() else { continue };
            for market in exchange.markets() {
                let row = instrument(provider, *market, "BTCUSDT");
                let terms = OrderTerms { quantity, price: Some(price), ..terms(&row) };
                let command = Command::Place {
                    instrument: &row, terms: &terms, client_id: "bw1", touch: Touch::default(), is_hedged: false,
                };
                let Ok(requests) = venue.command(&command) else { continue };
                let text = lines(&requests).join(" ");
                for number in [quantity, price] {
                    let plain = exact::plain(number);
                    let is_end = |c: char| !c.is_ascii_digit() && c != '.';
                    prop_assert!(text.split(is_end).any(|part| part == plain), "{} lacks {}", text, plain);
                }
            }
        }
    }
}

#[test]
fn a_stop_price_is_above_or_below() {
    let touch = |bid: i64, ask: i64, last: Option<i64>| Touch {
        bid: Some(bid.into()),
        ask: Some(ask.into()),
        last: last.map(Decimal::from),
    };
    let book = touch(99, 101, Some(100));
    assert!(book.rises_to(102.into(), Side::Buy) && book.rises_to(102.into(), Side::Sell));
    assert!(!book.rises_to(98.into(), Side::Buy) && !book.rises_to(98.into(), Side::Sell));
    // At the price, or without one, it is what stops are made for.
    assert!(book.rises_to(100.into(), Side::Buy) && !book.rises_to(100.into(), Side::Sell));
    assert!(Touch::default().rises_to(1.into(), Side::Buy));
    assert!(!Touch::default().rises_to(1.into(), Side::Sell));
    // The last trade counts; without one the side that the order would meet.
    assert!(touch(99, 101, Some(90)).rises_to(95.into(), Side::Sell));
    assert!(!touch(99, 101, None).rises_to(100.into(), Side::Buy));
    assert!(touch(99, 101, None).rises_to(100.into(), Side::Sell));
}

#[test]
fn a_position_fits_the_mode_and_the_direction() {
    use PositionSide::{Long, Net, Short};
    let row = instrument(ProviderId::BINANCE, Market::Perp, "BTCUSDT");
    for (side, reduce_only, asked, hedged, expected) in [
        (Side::Buy, false, None, false, Some(Net)),
        (Side::Buy, true, Some(Net), false, Some(Net)),
        (Side::Buy, false, Some(Long), false, None),
        (Side::Buy, false, None, true, Some(Long)),
        (Side::Sell, false, None, true, Some(Short)),
        (Side::Buy, true, None, true, Some(Short)),
        (Side::Sell, true, Some(Net), true, Some(Long)),
        (Side::Sell, false, Some(Long), true, Some(Long)),
        (Side::Buy, true, Some(Long), true, None),
        (Side::Sell, true, Some(Short), true, None),
    ] {
        let terms = OrderTerms {
            side,
            reduce_only,
            position_side: asked,
            ..terms(&row)
        };
        let found = position_of(&terms, hedged);
        assert_eq!(found.as_ref().ok(), expected.as_ref(), "{side:?} {asked:?}");
        if let Err(error) = found {
            assert_eq!(error.details["parameter"], "position_side");
        }
    }
}
