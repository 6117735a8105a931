//! What holds for every exchange that orders can be sent to, and help for the tests of each.

use proptest::prelude::*;

use super::*;
use crate::exchange::ProviderId;
use crate::trading::exact;
use crate::trading::keys::KeyKind;
use crate::trading::probe::read_everywhere;
pub(crate) use crate::trading::probe::{NOW, instrument, order_ref, terms};

pub(crate) fn decimal(text: &str) -> Decimal {
    exact::parse(text).unwrap()
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
