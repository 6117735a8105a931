//! Limits one by one, what passes them all, and that nothing passes by not being known.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::order::{PositionSide, TimeInForce};
use super::super::testing::{d, market_order, terms, touch};
use super::*;
use crate::instrument::Market;

fn admit_with(
    terms: &OrderTerms,
    limits: &Limits,
    exposure: Exposure,
    touch: Touch,
) -> Result<(), CryptoError> {
    let mut bucket = Bucket::default();
    let guard = Guard {
        scope: Scope::Account,
        limits,
        exposure,
        bucket: &mut bucket,
    };
    let switch = KillSwitch::default();
    admit(terms, touch, &switch, &mut [guard], TsNanos(1))
}

fn exposure(position: &str, open_buys: &str, open_sells: &str) -> Exposure {
    Exposure {
        position: d(position),
        open_buys: d(open_buys),
        open_sells: d(open_sells),
        open_orders: 2,
    }
}

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

/// What a refusal names: limit, value, allowed.
fn named(result: Result<(), CryptoError>) -> Option<(String, Value, Value)> {
    let error = result.err()?;
    assert_eq!(error.code, CryptoCode::RiskLimit);
    assert_eq!(error.details["scope"], "account");
    let details = &error.details;
    let limit = details["limit"].as_str().unwrap().to_owned();
    Some((limit, details["value"].clone(), details["allowed"].clone()))
}

fn refused(
    limit: &str,
    value: impl Into<Value>,
    allowed: impl Into<Value>,
) -> Option<(String, Value, Value)> {
    Some((limit.to_owned(), value.into(), allowed.into()))
}

#[test]
fn without_limits_everything_passes() {
    let result = admit_with(
        &terms(Market::Perp),
        &Limits::default(),
        exposure("1000000", "5", "5"),
        Touch::default(),
    );
    assert_eq!(result, Ok(()));
}

#[test]
fn the_value_of_an_order_is_limited() {
    let limits = limits(|l| l.max_order_notional = Some(d("100")));
    let check =
        |terms: &OrderTerms, touch| named(admit_with(terms, &limits, Exposure::default(), touch));
    let mut order = terms(Market::Spot);
    assert_eq!(check(&order, touch()), None);
    order.quantity = d("1.001");
    assert_eq!(
        check(&order, touch()),
        refused("max_order_notional", "100.1", "100")
    );
    // A market order is worth what it meets, and can't be judged without that.
    let buy = market_order(Market::Spot, Side::Buy, "1");
    assert_eq!(
        check(&buy, touch()),
        refused("max_order_notional", "100.1", "100")
    );
    let sell = market_order(Market::Spot, Side::Sell, "1");
    assert_eq!(check(&sell, touch()), None);
    let blind = check(&sell, Touch::default());
    assert_eq!(blind, refused("max_order_notional", Value::Null, "100"));
    // A sale far below the market brings the market's price.
    order.side = Side::Sell;
    (order.quantity, order.price) = (d("2"), Some(d("10")));
    assert_eq!(
        check(&order, touch()),
        refused("max_order_notional", "199.8", "100")
    );
    order.quantity = Decimal::MAX;
    assert_eq!(check(&order, touch()).unwrap().0, "max_order_notional");
}

#[test]
fn a_position_is_limited_with_all_that_is_open() {
    let limits = limits(|l| l.max_position = Some(d("10")));
    let check = |side, quantity: &str, exposure| {
        let order = OrderTerms {
            side,
            quantity: d(quantity),
            ..terms(Market::Perp)
        };
        named(admit_with(&order, &limits, exposure, touch()))
    };
    assert_eq!(check(Side::Buy, "3", exposure("5", "2", "0")), None);
    let found = check(Side::Buy, "3.001", exposure("5", "2", "0"));
    assert_eq!(found, refused("max_position", "10.001", "10"));
    // Open sells don't count for a buy: they may never execute.
    let found = check(Side::Buy, "4", exposure("5", "2", "9"));
    assert_eq!(found, refused("max_position", "11", "10"));
    assert_eq!(check(Side::Sell, "15", exposure("5", "2", "0")), None);
    let found = check(Side::Sell, "14", exposure("5", "2", "2"));
    assert_eq!(found, refused("max_position", "11", "10"));
    // A position beyond the limit may come down, however little.
    assert_eq!(check(Side::Sell, "1", exposure("50", "0", "0")), None);
    assert_eq!(check(Side::Buy, "1", exposure("-50", "0", "0")), None);
}

#[test]
fn a_position_is_limited_by_value() {
    let limits = limits(|l| l.max_position_notional = Some(d("1000")));
    let check = |side, quantity: &str, touch| {
        let order = OrderTerms {
            side,
            quantity: d(quantity),
            ..terms(Market::Perp)
        };
        named(admit_with(&order, &limits, exposure("5", "0", "0"), touch))
    };
    assert_eq!(check(Side::Buy, "5", touch()), None);
    let found = check(Side::Buy, "5.5", touch());
    assert_eq!(found, refused("max_position_notional", "1050", "1000"));
    let blind = Touch {
        last: Some(d("100")),
        ..Touch::default()
    };
    let found = check(Side::Buy, "1", blind);
    assert_eq!(found, refused("max_position_notional", Value::Null, "1000"));
    // What ends flat needs no price.
    assert_eq!(check(Side::Sell, "5", blind), None);
}

#[test]
fn open_orders_are_counted() {
    let check = |most| {
        let limits = limits(|l| l.max_open_orders = Some(most));
        named(admit_with(
            &terms(Market::Spot),
            &limits,
            exposure("0", "0", "0"),
            touch(),
        ))
    };
    assert_eq!(check(3), None);
    assert_eq!(check(2), refused("max_open_orders", 3, 2));
}

#[test]
fn only_listed_instruments_pass() {
    let check = |id: &str| {
        let limits = limits(|l| l.instruments = Some(BTreeSet::from([id.to_owned()])));
        named(admit_with(
            &terms(Market::Spot),
            &limits,
            Exposure::default(),
            touch(),
        ))
    };
    assert_eq!(check("cryptopair_binance_btcusdt"), None);
    let found = check("cryptopair_binance_ethusdt");
    let allowed = vec!["cryptopair_binance_ethusdt"];
    assert_eq!(
        found,
        refused("instruments", "cryptopair_binance_btcusdt", allowed)
    );
}

/// Bid 99.9, ask 100.1: the middle is 100.
#[test]
fn the_collar_guards_the_price_that_is_got() {
    let limits = limits(|l| l.price_collar_percent = Some(d("2")));
    let check = |side, price: &str, touch| {
        let order = OrderTerms {
            side,
            price: Some(d(price)),
            ..terms(Market::Spot)
        };
        named(admit_with(&order, &limits, Exposure::default(), touch))
    };
    assert_eq!(check(Side::Buy, "102", touch()), None);
    let found = check(Side::Buy, "102.1", touch());
    assert_eq!(found, refused("price_collar_percent", "2.1", "2"));
    assert_eq!(check(Side::Sell, "98", touch()), None);
    let found = check(Side::Sell, "97.9", touch());
    assert_eq!(found, refused("price_collar_percent", "2.1", "2"));
    // Far on the harmless side.
    assert_eq!(check(Side::Buy, "1", touch()), None);
    assert_eq!(check(Side::Sell, "900", touch()), None);
    // A last trade is no book.
    let blind = Touch {
        last: Some(d("100")),
        ..Touch::default()
    };
    let unknown = refused("price_collar_percent", Value::Null, "2");
    assert_eq!(check(Side::Buy, "100", blind), unknown);
    // A market order pays half the spread at least.
    let wide = Touch {
        bid: Some(d("90")),
        ask: Some(d("110")),
        last: None,
    };
    let buy = market_order(Market::Spot, Side::Buy, "1");
    let check = |touch| named(admit_with(&buy, &limits, Exposure::default(), touch));
    assert_eq!(check(touch()), None);
    assert_eq!(check(wide), refused("price_collar_percent", "10", "2"));
    assert_eq!(check(blind), unknown);
}

#[test]
fn a_stop_limit_is_measured_from_its_stop() {
    let limits = limits(|l| l.price_collar_percent = Some(d("2")));
    let check = |price: &str| {
        let order = OrderTerms {
            order_type: OrderType::StopLimit,
            price: Some(d(price)),
            stop_price: Some(d("200")),
            ..terms(Market::Spot)
        };
        named(admit_with(
            &order,
            &limits,
            Exposure::default(),
            Touch::default(),
        ))
    };
    assert_eq!(check("204"), None);
    assert_eq!(check("205"), refused("price_collar_percent", "2.5", "2"));
}

fn strictest() -> Limits {
    Limits {
        max_order_notional: Some(d("0")),
        max_position: Some(d("0")),
        max_position_notional: Some(d("0")),
        max_open_orders: Some(0),
        max_orders_per_second: Some(0),
        price_collar_percent: Some(d("2")),
        instruments: Some(BTreeSet::new()),
    }
}

#[test]
fn what_only_reduces_passes_all_but_the_collar() {
    let mut close = OrderTerms {
        side: Side::Sell,
        reduce_only: true,
        ..terms(Market::Perp)
    };
    let check =
        |order: &OrderTerms, touch| admit_with(order, &strictest(), exposure("9", "0", "9"), touch);
    assert_eq!(check(&close, touch()), Ok(()));
    assert_eq!(check(&close, Touch::default()), Ok(()));
    close.price = Some(d("50"));
    assert_eq!(
        named(check(&close, touch())).unwrap().0,
        "price_collar_percent"
    );
    // In hedge mode a sale of the long position closes by itself.
    (close.price, close.reduce_only) = (Some(d("100")), false);
    assert!(check(&close, touch()).is_err());
    close.position_side = Some(PositionSide::Long);
    assert_eq!(check(&close, touch()), Ok(()));
}

#[test]
fn as_many_orders_as_the_rate_says() {
    let limits = limits(|l| l.max_orders_per_second = Some(2));
    let (mut key, mut account) = (Bucket::default(), Bucket::default());
    let none = Limits::default();
    let mut send = |ms: i64| {
        let mut guards = [
            Guard {
                scope: Scope::Key,
                limits: &none,
                exposure: Exposure::default(),
                bucket: &mut key,
            },
            Guard {
                scope: Scope::Account,
                limits: &limits,
                exposure: Exposure::default(),
                bucket: &mut account,
            },
        ];
        let switch = KillSwitch::default();
        admit(
            &terms(Market::Spot),
            touch(),
            &switch,
            &mut guards,
            TsNanos::from_ms(ms),
        )
    };
    assert_eq!(send(1000), Ok(()));
    assert_eq!(send(1000), Ok(()));
    let error = send(1100).unwrap_err();
    assert_eq!(error.details["retry_after_ms"], 400);
    assert_eq!(error.details["limit"], "max_orders_per_second");
    assert_eq!(send(1499).unwrap_err().details["retry_after_ms"], 1);
    assert_eq!(send(1500), Ok(()));
    // A clock that goes back gives nothing.
    assert!(send(900).is_err());
    assert!(send(1999).is_err());
    assert_eq!(send(2000), Ok(()));
    // After a long pause one second's worth, not more.
    assert_eq!(
        [send(9000), send(9000), send(9000)]
            .iter()
            .filter(|r| r.is_ok())
            .count(),
        2
    );
}

#[test]
fn a_refused_order_takes_no_token() {
    let strict = limits(|l| l.max_order_notional = Some(d("1")));
    let limits = limits(|l| l.max_orders_per_second = Some(1));
    let (mut key, mut account) = (Bucket::default(), Bucket::default());
    let switch = KillSwitch::default();
    for (second, is_fine) in [(&strict, false), (&Limits::default(), true)] {
        let mut guards = [
            Guard {
                scope: Scope::Key,
                limits: &limits,
                exposure: Exposure::default(),
                bucket: &mut key,
            },
            Guard {
                scope: Scope::Account,
                limits: second,
                exposure: Exposure::default(),
                bucket: &mut account,
            },
        ];
        let result = admit(
            &terms(Market::Spot),
            touch(),
            &switch,
            &mut guards,
            TsNanos(5),
        );
        assert_eq!(result.is_ok(), is_fine);
    }
}

#[test]
fn the_kill_switch_holds_until_it_is_released() {
    let (binance, okx) = (ProviderId::BINANCE, ProviderId::OKX);
    let mut switch = KillSwitch::default();
    switch.set(Some(okx), true).unwrap();
    assert_eq!(switch.check(binance), Ok(()));
    assert_eq!(switch.check(okx).unwrap_err().details["engaged_for"], "okx");
    switch.set(None, true).unwrap();
    let saved = serde_json::to_string(&switch).unwrap();
    let mut switch: KillSwitch = serde_json::from_str(&saved).unwrap();
    let error = switch.check(binance).unwrap_err();
    assert_eq!(error.code, CryptoCode::TradingHalted);
    assert_eq!(error.details["engaged_for"], "all");
    assert_eq!(
        switch.set(Some(okx), false).unwrap_err().code,
        CryptoCode::TradingHalted
    );
    // Orders that only reduce are new orders too.
    let mut bucket = Bucket::default();
    let close = OrderTerms {
        reduce_only: true,
        ..terms(Market::Perp)
    };
    let guard = Guard {
        scope: Scope::Key,
        limits: &Limits::default(),
        exposure: Exposure::default(),
        bucket: &mut bucket,
    };
    assert!(admit(&close, touch(), &switch, &mut [guard], TsNanos(1)).is_err());
    switch.set(None, false).unwrap();
    assert_eq!(switch, KillSwitch::default());
}

#[test]
fn limits_are_read_from_text_and_unknown_names_refused() {
    let read: Limits =
        serde_json::from_str(r#"{"max_position":"1.5","max_open_orders":3}"#).unwrap();
    assert_eq!(read.max_position, Some(d("1.5")));
    assert_eq!(read.max_open_orders, Some(3));
    assert!(serde_json::from_str::<Limits>(r#"{"max_postion":"1"}"#).is_err());
}

fn some_terms() -> impl Strategy<Value = OrderTerms> {
    let kinds = prop::sample::select(OrderType::ALL);
    (
        kinds,
        any::<bool>(),
        1_i64..100_000,
        1_i64..3_000,
        1_i64..3_000,
    )
        .prop_map(|(kind, is_buy, quantity, price, stop)| OrderTerms {
            side: if is_buy { Side::Buy } else { Side::Sell },
            order_type: kind,
            quantity: Decimal::new(quantity, 3),
            price: kind.has_price().then(|| Decimal::new(price, 1)),
            stop_price: kind.is_stop().then(|| Decimal::new(stop, 1)),
            time_in_force: TimeInForce::Gtc,
            ..terms(Market::Perp)
        })
}

proptest! {
    /// What passes with a smaller limit passes with a larger one, and what passes keeps the limits.
    #[test]
    fn what_passes_keeps_the_limits(
        order in some_terms(), position in -50_i64..50, buys in 0_i64..20, sells in 0_i64..20,
        most in 1_i64..100, more in 0_i64..100,
    ) {
        let held = Exposure {
            position: position.into(),
            open_buys: buys.into(),
            open_sells: sells.into(),
            open_orders: 0,
        };
        let set = |most: i64| Limits {
            max_position: Some(most.into()),
            max_position_notional: Some((most * 100).into()),
            max_order_notional: Some((most * 50).into()),
            price_collar_percent: Some(most.into()),
            ..Limits::default()
        };
        if admit_with(&order, &set(most), held, touch()).is_ok() {
            prop_assert!(admit_with(&order, &set(most + more), held, touch()).is_ok());
            let size = match order.side {
                Side::Buy => held.position + held.open_buys + order.quantity,
                Side::Sell => held.open_sells + order.quantity - held.position,
            };
            prop_assert!(size <= most.into());
            if let Some(price) = order.price {
                prop_assert!(price * order.quantity <= (most * 50).into());
            }
        }
    }

    /// A limit that needs the book's price never passes an order without one, unless the order
    /// brings its own.
    #[test]
    fn nothing_passes_by_not_being_known(order in some_terms()) {
        let collar = limits(|l| l.price_collar_percent = Some(d("100")));
        let blind = admit_with(&order, &collar, Exposure::default(), Touch::default());
        let needs_book = matches!(order.order_type, OrderType::Limit | OrderType::Market);
        prop_assert!(blind.is_err() || !needs_book);
    }

    /// In any second no more than twice the rate, in the long run no more than the rate.
    #[test]
    fn the_bucket_keeps_its_rate(rate in 1_u32..50, steps in prop::collection::vec(0_i64..200, 1..200)) {
        let mut bucket = Bucket::default();
        let mut now = TsNanos::from_ms(1_000);
        bucket.set_rate(Some(rate), now);
        let mut taken = 0_i64;
        for step in steps {
            now = TsNanos(now.0 + step * 1_000_000);
            if bucket.has_token(now) {
                bucket.take();
                taken += 1;
                prop_assert!(taken * 1_000 <= i64::from(rate) * (now.as_ms() - 1_000 + 1_000));
            } else {
                prop_assert!(bucket.wait_ms(now) > 0);
            }
        }
    }
}
