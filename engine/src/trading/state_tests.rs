//! The table of order states, cell by cell, and what orders make of news in any order.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::order::{OrderId, OrderTerms, OrderType, TradingMode};
use super::*;
use crate::event::Side;
use crate::exchange::ProviderId;
use crate::instrument::Market;

fn order(quantity: i64) -> Order {
    let terms = OrderTerms {
        provider: ProviderId::BINANCE,
        account: "default".to_owned(),
        entity_id: "cryptopair_binance_btcusdt".to_owned(),
        market: Market::Spot,
        symbol: "btcusdt".to_owned(),
        native_symbol: "BTCUSDT".to_owned(),
        side: Side::Buy,
        order_type: OrderType::Limit,
        quantity: quantity.into(),
        price: Some(100.into()),
        stop_price: None,
        time_in_force: TimeInForce::Gtc,
        post_only: false,
        reduce_only: false,
        margin_trading: false,
        position_side: None,
        leverage: None,
        client_order_id: Some("a".to_owned()),
    };
    let id = OrderId::new(TsNanos(1), 1);
    Order::new(id, terms, id.to_string(), TradingMode::Live, TsNanos(1))
}

fn fill(id: &str, quantity: i64, price: i64) -> Fill {
    let order = order(1);
    Fill {
        fill_id: id.to_owned(),
        order_id: order.id,
        provider: order.terms.provider,
        account: order.terms.account,
        entity_id: order.terms.entity_id,
        symbol: order.terms.symbol,
        side: Side::Buy,
        price: price.into(),
        quantity: quantity.into(),
        fee: Some(1.into()),
        fee_asset: Some("USDT".to_owned()),
        is_maker: Some(false),
        at: TsNanos(5),
    }
}

/// Every cell. A row is a status, a column a word, in the order of [`Word::ALL`]: `.` stale, a letter
/// where it goes, `!` before the letter a correction.
#[test]
fn the_table_is_this_one() {
    // lost works part done canceled expired refused not-there
    const TABLE: [(OrderStatus, [&str; 8]); 8] = [
        (Pending, ["U", "O", "P", "F", "C", "E", "R", "R"]),
        (Open, [".", "O", "P", "F", "C", "E", "R", "!C"]),
        (PartiallyFilled, [".", ".", "P", "F", "C", "E", "C", "!C"]),
        (Filled, [".", ".", ".", "F", ".", ".", ".", "."]),
        (Canceled, [".", ".", ".", "!F", "C", ".", ".", "."]),
        (Rejected, [".", "!O", "!P", "!F", "!C", "!E", "R", "."]),
        (Expired, [".", ".", ".", "!F", ".", "E", ".", "."]),
        (Unknown, ["U", "O", "P", "F", "C", "E", "R", "R"]),
    ];
    let letter = |status| match status {
        Pending => "?",
        Open => "O",
        PartiallyFilled => "P",
        Filled => "F",
        Canceled => "C",
        Rejected => "R",
        Expired => "E",
        Unknown => "U",
    };
    assert_eq!(TABLE.len(), OrderStatus::ALL.len());
    for (from, row) in TABLE {
        for (word, cell) in Word::ALL.iter().zip(row) {
            let shown = match next(from, *word) {
                Next::To(status) => letter(status).to_owned(),
                Next::Stale => ".".to_owned(),
                Next::Corrects(status) => format!("!{}", letter(status)),
            };
            assert_eq!(shown, cell, "{from} {word:?}");
        }
    }
}

#[test]
fn nothing_goes_back_to_pending() {
    for from in OrderStatus::ALL {
        for word in Word::ALL {
            let to = next(*from, *word);
            assert!(!matches!(to, Next::To(Pending) | Next::Corrects(Pending)));
        }
    }
}

#[test]
fn a_lost_answer_is_no_rejection() {
    let mut order = order(2);
    order.apply(&OrderNews::new(Word::Lost, TsNanos(2)));
    assert_eq!(order.status, Unknown);
    let news = OrderNews {
        filled: Some(2.into()),
        average_price: Some(99.into()),
        exchange_order_id: Some("7".to_owned()),
        ..OrderNews::new(Word::Done, TsNanos(3))
    };
    let change = order.apply(&news);
    assert!(change.is_visible && !change.is_correction);
    assert_eq!(order.status, Filled);
    assert_eq!(order.average_price, Some(99.into()));
    assert_eq!(order.exchange_order_id.as_deref(), Some("7"));
    assert_eq!(order.missing_fills(), 2.into());
}

#[test]
fn fills_before_the_acknowledgement_count_once() {
    let mut order = order(3);
    order.take_fill(&fill("1", 1, 100));
    assert_eq!(order.status, PartiallyFilled);
    // The acknowledgement, made before the fill.
    order.apply(&OrderNews {
        filled: Some(0.into()),
        ..OrderNews::new(Word::Works, TsNanos(4))
    });
    assert_eq!(
        (order.status, order.filled_quantity),
        (PartiallyFilled, 1.into())
    );
    // A sum that knows of it and of another fill, whose details come later.
    order.apply(&OrderNews {
        filled: Some(3.into()),
        average_price: Some(98.into()),
        ..OrderNews::new(Word::Done, TsNanos(6))
    });
    order.take_fill(&fill("2", 2, 97));
    assert_eq!((order.status, order.filled_quantity), (Filled, 3.into()));
    assert_eq!(order.average_price, Some(98.into()));
    assert_eq!(order.fees.of("USDT"), Some(2.into()));
    assert_eq!(order.missing_fills(), Decimal::ZERO);
}

#[test]
fn a_cancellation_that_lost_the_race_changes_nothing() {
    let mut order = order(1);
    order.apply(&OrderNews::new(Word::Done, TsNanos(2)));
    let change = order.apply(&OrderNews::new(Word::Canceled, TsNanos(3)));
    assert_eq!(order.status, Filled);
    assert!(!change.is_visible);
}

#[test]
fn terms_in_force_change_and_the_first_are_kept() {
    let mut order = order(5);
    order.apply(&OrderNews {
        quantity: Some(4.into()),
        price: Some(90.into()),
        ..OrderNews::new(Word::Works, TsNanos(2))
    });
    assert_eq!(order.terms.quantity, 4.into());
    assert_eq!(order.asked().quantity, 5.into());
    assert_eq!(order.asked().price, Some(100.into()));
    // An older word tells older terms.
    order.take_fill(&fill("1", 1, 90));
    order.apply(&OrderNews {
        quantity: Some(5.into()),
        ..OrderNews::new(Word::Lost, TsNanos(2))
    });
    assert_eq!(order.terms.quantity, 4.into());
}

/// Coinbase calls both ends canceled, and whoever cancels what is over already hears that it is not there.
#[test]
fn what_never_rests_is_not_canceled() {
    for (time_in_force, order_type, expected) in [
        (TimeInForce::Ioc, OrderType::Limit, Expired),
        (TimeInForce::Fok, OrderType::Limit, Expired),
        (TimeInForce::Gtc, OrderType::Limit, Canceled),
        // It waits until then.
        (TimeInForce::Ioc, OrderType::StopLimit, Canceled),
    ] {
        for word in [Word::Canceled, Word::NotThere] {
            let mut order = self::order(5);
            order.terms.time_in_force = time_in_force;
            order.terms.order_type = order_type;
            order.apply(&OrderNews::new(Word::Works, TsNanos(2)));
            order.apply(&OrderNews::new(word, TsNanos(3)));
            assert_eq!(order.status, expected, "{time_in_force:?} {word:?}");
        }
    }
}

/// Whatever an exchange says that was executed, and at which price.
#[test]
fn executions_beyond_a_decimal_do_no_harm() {
    let mut order = order(3);
    for (id, price) in [("1", Decimal::MAX), ("2", 1.into()), ("3", Decimal::MAX)] {
        let mut huge = fill(id, 1, 1);
        (huge.price, huge.quantity) = (price, Decimal::MAX);
        huge.fee = Some(Decimal::MAX);
        order.take_fill(&huge);
    }
    assert_eq!(order.filled_quantity, Decimal::MAX);
    assert_eq!(order.average_price, None);
    // A sum, and an execution that takes away from it.
    let mut order = self::order(3);
    order.apply(&OrderNews {
        filled: Some(Decimal::MAX),
        ..OrderNews::new(Word::WorksInPart, TsNanos(2))
    });
    let mut huge = fill("4", 1, 1);
    huge.quantity = Decimal::MIN;
    order.take_fill(&huge);
    assert_eq!(order.missing_fills(), Decimal::MAX);
    assert_eq!(order.remaining_quantity(), Decimal::ZERO);
}

/// A push that says how it ended overtakes the answer that it was taken. Without a number it may have been a
/// mistake of ours.
#[test]
fn an_acknowledgement_does_not_bring_back_what_was_refused() {
    for (number, expected, is_correction) in [(Some("7"), Rejected, false), (None, Open, true)] {
        let mut order = self::order(5);
        order.apply(&OrderNews {
            exchange_order_id: number.map(str::to_owned),
            ..OrderNews::new(Word::Refused, TsNanos(2))
        });
        let change = order.apply(&OrderNews {
            exchange_order_id: Some("7".to_owned()),
            ..OrderNews::new(Word::Works, TsNanos(3))
        });
        assert_eq!(
            (order.status, change.is_correction),
            (expected, is_correction)
        );
    }
}

/// The answer to an amendment was lost, and the next that is heard is the order's end.
#[test]
fn an_end_tells_the_terms_that_were_in_force() {
    for (word, filled) in [(Word::Canceled, 0), (Word::Expired, 1), (Word::Done, 7)] {
        let mut order = self::order(5);
        order.apply(&OrderNews::new(Word::Works, TsNanos(2)));
        order.apply(&OrderNews {
            quantity: Some(7.into()),
            price: Some(90.into()),
            filled: Some(filled.into()),
            ..OrderNews::new(word, TsNanos(3))
        });
        let terms = (order.terms.quantity, order.terms.price);
        assert_eq!(terms, (7.into(), Some(90.into())), "{word:?}");
        assert_eq!(order.asked().quantity, 5.into());
        // What comes after the end is older.
        order.apply(&OrderNews {
            quantity: Some(5.into()),
            ..OrderNews::new(Word::Works, TsNanos(4))
        });
        assert_eq!(order.terms.quantity, 7.into(), "{word:?}");
    }
    // All of it, where the exchange does not say how much that is.
    let mut order = self::order(5);
    order.apply(&OrderNews {
        quantity: Some(7.into()),
        ..OrderNews::new(Word::Done, TsNanos(3))
    });
    assert_eq!(order.filled_quantity, 7.into());
    // Nothing was in force of what was refused.
    let mut order = self::order(5);
    order.apply(&OrderNews {
        quantity: Some(0.into()),
        ..OrderNews::new(Word::Refused, TsNanos(3))
    });
    assert_eq!(order.terms.quantity, 5.into());
}

#[test]
fn an_order_is_read_back_from_its_text() {
    let mut order = order(5);
    order.take_fill(&fill("1", 1, 90));
    order.terms.quantity = Decimal::new(123_456_789, 12);
    let text = serde_json::to_string(&order).unwrap();
    assert_eq!(serde_json::from_str::<Order>(&text).unwrap(), order);
}

proptest! {
    /// Whatever is said in whatever order: what executed never becomes less, an order that is over
    /// stays over unless that is called a correction, and all that is filled is filled.
    #[test]
    fn orders_only_go_forward(said in prop::collection::vec((0..8_usize, prop::option::of(0..6_i64)), 1..12)) {
        let mut order = order(5);
        for (index, (word, filled)) in said.into_iter().enumerate() {
            let (was, had) = (order.status, order.filled_quantity);
            let at = TsNanos(index as i64);
            let news = OrderNews {
                filled: filled.map(Decimal::from),
                ..OrderNews::new(Word::ALL[word], at)
            };
            let change = order.apply(&news);
            prop_assert!(order.filled_quantity >= had);
            if was.is_final() && order.status != was {
                prop_assert!(change.is_correction);
            }
            if order.status == Rejected {
                prop_assert!(Word::ALL[word] == Word::Refused || Word::ALL[word] == Word::NotThere || was == Rejected);
            }
        }
    }
}

#[test]
fn fees_are_the_same_in_whatever_order_they_come() {
    let paid = |assets: [&str; 3]| {
        let mut fees = crate::trading::order::Fees::default();
        for asset in assets {
            fees.add(asset, 1.into());
        }
        fees
    };
    let fees = paid(["USDT", "BNB", "USDT"]);
    assert_eq!(fees, paid(["BNB", "USDT", "USDT"]));
    assert_eq!(fees.of("USDT"), Some(2.into()));
    let text = serde_json::to_string(&fees).unwrap();
    assert_eq!(
        serde_json::from_str::<crate::trading::order::Fees>(&text).unwrap(),
        fees
    );
}
