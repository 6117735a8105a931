//! Every refusal before an order is sent, with what its error names; rounding.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::super::funds::{Need, need, opening};
use super::super::order::Balance;
use super::super::testing::{ALL, d, instrument, instrument_of, market_order, spec, terms, touch};
use super::super::venue::Amend;
use super::*;

fn against(instrument: &Instrument) -> Against<'_> {
    Against {
        instrument,
        support: &ALL,
        touch: touch(),
        is_hedged: false,
        leverage: Some(d("10")),
        funds: None,
        funding_lock: None,
        now: TsNanos::from_ms(1_000_000),
    }
}

fn balance(asset: &str, free: &str) -> Balance {
    Balance {
        market: None,
        asset: asset.to_owned(),
        free: d(free),
        locked: Decimal::ZERO,
        total: d(free),
    }
}

/// Code and the named parameter (or field) of the refusal.
fn refusal(terms: &OrderTerms, against: &Against<'_>) -> (CryptoCode, String) {
    let error = order(terms, against).unwrap_err();
    let name = error
        .details
        .get("parameter")
        .or(error.details.get("field"));
    let name = name.and_then(Value::as_str).unwrap_or_default().to_owned();
    assert!(!error.recovery_suggestions[0].is_empty());
    (error.code, name)
}

type Change = fn(&mut OrderTerms);

#[test]
fn what_contradicts_itself_is_refused_by_name() {
    let rows: &[(Market, &str, Change)] = &[
        (Market::Spot, "quantity", |t| t.quantity = d("0")),
        (Market::Spot, "quantity", |t| t.quantity = d("-1")),
        (Market::Spot, "quantity", |t| t.quantity = d("0.001")),
        (Market::Spot, "quantity", |t| t.quantity = d("1000.001")),
        (Market::Spot, "quantity", |t| t.quantity = Decimal::MAX),
        (Market::Spot, "price", |t| t.price = None),
        (Market::Spot, "price", |t| t.price = Some(d("0"))),
        (Market::Spot, "price", |t| t.order_type = OrderType::Market),
        (Market::Spot, "stop_price", |t| t.stop_price = Some(d("1"))),
        (Market::Spot, "stop_price", |t| {
            t.order_type = OrderType::StopLimit
        }),
        (Market::Spot, "stop_price", |t| {
            t.order_type = OrderType::StopLimit;
            t.stop_price = Some(d("-1"));
        }),
        (Market::Spot, "time_in_force", |t| {
            (t.order_type, t.price) = (OrderType::Market, None);
        }),
        (Market::Spot, "post_only", |t| {
            (t.post_only, t.time_in_force) = (true, TimeInForce::Ioc);
        }),
        (Market::Spot, "post_only", |t| {
            (t.post_only, t.order_type, t.stop_price) = (true, OrderType::StopLimit, Some(d("9")));
        }),
        (Market::Spot, "position_side", |t| {
            t.position_side = Some(PositionSide::Net)
        }),
        (Market::Spot, "reduce_only", |t| t.reduce_only = true),
        (Market::Spot, "leverage", |t| t.leverage = Some(3)),
        (Market::Perp, "margin_trading", |t| t.margin_trading = true),
        (Market::Perp, "position_side", |t| {
            t.position_side = Some(PositionSide::Long)
        }),
        (Market::Perp, "leverage", |t| t.leverage = Some(3)),
    ];
    for (index, (market, field, change)) in rows.iter().enumerate() {
        let instrument = instrument(*market);
        let mut terms = terms(*market);
        assert_eq!(order(&terms, &against(&instrument)), Ok(()));
        change(&mut terms);
        let found = refusal(&terms, &against(&instrument));
        assert_eq!(
            found,
            (CryptoCode::InvalidParameter, (*field).to_owned()),
            "row {index}"
        );
    }
}

#[test]
fn money_is_lent_where_the_exchange_lends() {
    let lends = OrderSupport {
        has_margin: true,
        ..ALL
    };
    let of = |is_lent: bool| {
        let mut spec = spec(Market::Spot);
        spec.margin_enabled = is_lent;
        instrument_of(spec)
    };
    let instrument = of(true);
    let mut terms = terms(Market::Spot);
    // An account that has nothing.
    let nothing = Funds {
        balances: &[],
        position: Decimal::ZERO,
        fee: Decimal::ZERO,
    };
    let asks = |instrument: &Instrument, terms: &OrderTerms| {
        let against = Against {
            support: &lends,
            funds: Some(nothing),
            ..against(instrument)
        };
        order(terms, &against).map_err(|error| error.code)
    };
    let poor = Err(CryptoCode::InsufficientBalance);
    assert_eq!(asks(&instrument, &terms), poor);
    terms.margin_trading = true;
    assert_eq!(asks(&instrument, &terms), Ok(()));
    // Of this pair nothing is lent.
    let refused = Err(CryptoCode::Unsupported);
    assert_eq!(asks(&of(false), &terms), refused);
}

#[test]
fn what_an_exchange_cannot_do_is_unsupported() {
    let poor = OrderSupport {
        types: &[OrderType::Limit],
        times_in_force: &[TimeInForce::Gtc],
        has_post_only: false,
        has_reduce_only: false,
        has_hedge_mode: false,
        amend: Amend::Replace,
        ..ALL
    };
    let rows: &[(Market, &str, Change)] = &[
        (Market::Perp, "type", |t| {
            (t.order_type, t.price, t.time_in_force) = (OrderType::Market, None, TimeInForce::Ioc);
        }),
        (Market::Perp, "time_in_force", |t| {
            t.time_in_force = TimeInForce::Fok
        }),
        (Market::Perp, "post_only", |t| t.post_only = true),
        (Market::Perp, "reduce_only", |t| t.reduce_only = true),
        (Market::Perp, "position_side", |t| {
            t.position_side = Some(PositionSide::Short)
        }),
        (Market::Spot, "margin_trading", |t| t.margin_trading = true),
    ];
    for (market, field, change) in rows {
        let instrument = instrument(*market);
        let mut terms = terms(*market);
        let against = Against {
            support: &poor,
            ..against(&instrument)
        };
        assert_eq!(order(&terms, &against), Ok(()));
        change(&mut terms);
        let found = refusal(&terms, &against);
        assert_eq!(found, (CryptoCode::Unsupported, (*field).to_owned()));
    }
}

#[test]
fn hedge_mode_wants_a_side() {
    let instrument = instrument(Market::Perp);
    let hedged = Against {
        is_hedged: true,
        ..against(&instrument)
    };
    let mut terms = terms(Market::Perp);
    let refused = (CryptoCode::InvalidParameter, "position_side".to_owned());
    assert_eq!(refusal(&terms, &hedged), refused);
    terms.position_side = Some(PositionSide::Net);
    assert_eq!(refusal(&terms, &hedged), refused);
    terms.position_side = Some(PositionSide::Long);
    assert_eq!(order(&terms, &hedged), Ok(()));
    terms.reduce_only = true;
    assert_eq!(refusal(&terms, &hedged).1, "reduce_only");
    terms.side = Side::Sell;
    assert_eq!(order(&terms, &hedged), Ok(()));
}

#[test]
fn an_inactive_instrument_takes_no_orders() {
    let mut spec = spec(Market::Spot);
    spec.is_active = false;
    let instrument = instrument_of(spec);
    let error = order(&terms(Market::Spot), &against(&instrument)).unwrap_err();
    assert_eq!(error.code, CryptoCode::OrderRejected);
    assert_eq!(error.details["reason"], "inactive");
}

#[test]
fn off_the_step_names_the_neighbours() {
    let instrument = instrument(Market::Spot);
    let rows: &[(&str, &str, &str, Value, &str, Change)] = &[
        ("price", "100.15", "0.1", "100.1".into(), "100.2", |t| {
            t.price = Some(d("100.15"))
        }),
        ("price", "0.05", "0.1", Value::Null, "0.1", |t| {
            t.price = Some(d("0.05"))
        }),
        ("quantity", "1.0005", "0.001", "1".into(), "1.001", |t| {
            t.quantity = d("1.0005")
        }),
        ("quantity", "0.0004", "0.001", Value::Null, "0.001", |t| {
            t.quantity = d("0.00040")
        }),
        ("stop_price", "99.99", "0.1", "99.9".into(), "100", |t| {
            (t.order_type, t.stop_price) = (OrderType::StopLimit, Some(d("99.99")));
        }),
    ];
    for (field, value, step, lower, higher, change) in rows {
        let mut terms = terms(Market::Spot);
        change(&mut terms);
        let error = order(&terms, &against(&instrument)).unwrap_err();
        assert_eq!(error.code, CryptoCode::PrecisionError);
        assert_eq!(error.details["field"], *field);
        assert_eq!(error.details["value"], *value);
        assert_eq!(error.details["step"], *step);
        assert_eq!(error.details["nearest_lower"], *lower);
        assert_eq!(error.details["nearest_higher"], *higher);
    }
}

#[test]
fn a_stop_is_reached_from_where_the_market_is() {
    let rows = [
        (Side::Buy, "110", Some("100"), true),
        (Side::Buy, "90", Some("100"), false),
        (Side::Sell, "90", Some("100"), false),
        (Side::Sell, "110", Some("100"), true),
        (Side::Buy, "100", Some("100"), true),
        (Side::Sell, "100", None, false),
    ];
    for (side, stop, last, rises) in rows {
        assert_eq!(
            waits_for_rise(side, d(stop), last.map(d)),
            rises,
            "{side:?} {stop}"
        );
    }
}

#[test]
fn rounding_never_harms_the_sender() {
    let instrument = instrument(Market::Spot);
    let rows = [
        (Side::Buy, "100.19", "100.1", "105.01", "105.1"),
        (Side::Sell, "100.11", "100.2", "94.99", "94.9"),
        // A stop on the other side of the market is reached from there.
        (Side::Buy, "100.19", "100.1", "95.01", "95"),
        (Side::Sell, "100.11", "100.2", "105.01", "105.1"),
    ];
    for (side, price, price_after, stop, stop_after) in rows {
        let mut terms = OrderTerms {
            side,
            order_type: OrderType::StopLimit,
            quantity: d("1.0009"),
            price: Some(d(price)),
            stop_price: Some(d(stop)),
            ..terms(Market::Spot)
        };
        round(&mut terms, &instrument, touch());
        assert_eq!(terms.quantity, d("1"));
        assert_eq!(terms.price, Some(d(price_after)));
        assert_eq!(terms.stop_price, Some(d(stop_after)));
    }
}

#[test]
fn the_minimum_notional_is_that_of_the_reference_price() {
    let rows: &[(bool, Change)] = &[
        // 0.05 × 100 = 5 reaches it, 0.049 × 100 = 4.9 does not.
        (true, |t| t.quantity = d("0.05")),
        (false, |t| t.quantity = d("0.049")),
        // 0.05 × ask 100.1 = 5.005; 0.05 × bid 99.9 = 4.995.
        (true, |t| *t = market_order(Market::Perp, Side::Buy, "0.05")),
        (false, |t| {
            *t = market_order(Market::Perp, Side::Sell, "0.05")
        }),
        // 0.05 × stop 90 = 4.5.
        (false, |t| {
            t.quantity = d("0.05");
            (t.order_type, t.price, t.stop_price) = (OrderType::StopMarket, None, Some(d("90")));
        }),
        // A rest of a position can be closed.
        (true, |t| (t.quantity, t.reduce_only) = (d("0.002"), true)),
    ];
    for (index, (is_fine, change)) in rows.iter().enumerate() {
        let instrument = instrument(Market::Perp);
        let mut terms = terms(Market::Perp);
        change(&mut terms);
        match order(&terms, &against(&instrument)) {
            Ok(()) => assert!(is_fine, "row {index}"),
            Err(error) => {
                assert!(!is_fine, "row {index}: {error}");
                assert_eq!(error.code, CryptoCode::MinNotionalNotMet);
                assert_eq!(error.details["min_notional"], "5");
            }
        }
    }
    // Without a price of the market it is the exchange that knows.
    let instrument = instrument(Market::Spot);
    let terms = market_order(Market::Spot, Side::Buy, "0.002");
    assert_eq!(amounts(&terms, &instrument, Touch::default()), Ok(()));
}

#[test]
fn an_order_needs_money_coins_or_margin() {
    let spot = instrument(Market::Spot);
    let perp = instrument(Market::Perp);
    let fee = d("0.001");
    let of = |terms: &OrderTerms, instrument: &Instrument, position: &str| {
        let price = reference_price(terms, touch());
        need(terms, instrument, price, Some(d("20")), d(position), fee).unwrap()
    };
    let some = |asset: &str, amount: &str| {
        Some(Need {
            asset: asset.to_owned(),
            amount: d(amount),
        })
    };
    // 1 × 100 × 1.001
    let mut terms = terms(Market::Spot);
    assert_eq!(of(&terms, &spot, "0"), some("USDT", "100.1"));
    terms.side = Side::Sell;
    assert_eq!(of(&terms, &spot, "0"), some("BTC", "1"));
    // 2 × 100.1 × 1.001
    let buy = market_order(Market::Spot, Side::Buy, "2");
    assert_eq!(of(&buy, &spot, "0"), some("USDT", "200.4002"));
    // 2 × 100 / 20 + 2 × 100 × 0.001
    terms.market = Market::Perp;
    (terms.side, terms.quantity) = (Side::Buy, d("2"));
    assert_eq!(of(&terms, &perp, "0"), some("USDT", "10.2"));
    assert_eq!(of(&terms, &perp, "5"), some("USDT", "10.2"));
    // Half of it closes a short position: 1 × 100 / 20 + 0.2.
    assert_eq!(of(&terms, &perp, "-1"), some("USDT", "5.2"));
    assert_eq!(of(&terms, &perp, "-3"), some("USDT", "0.2"));
    terms.reduce_only = true;
    assert_eq!(of(&terms, &perp, "-3"), None);
    terms.reduce_only = false;
    terms.position_side = Some(PositionSide::Long);
    assert_eq!(opening(&terms, d("-3")), d("2"));
    terms.position_side = Some(PositionSide::Short);
    assert_eq!(opening(&terms, d("-3")), d("0"));
    // Nobody knows.
    let unknown = need(&buy, &spot, None, None, d("0"), fee);
    assert_eq!(unknown, Ok(None));
}

#[test]
fn what_is_not_free_can_not_be_spent() {
    let instrument = instrument(Market::Spot);
    let with = |balances: &[Balance]| {
        let funds = Funds {
            balances,
            position: Decimal::ZERO,
            fee: d("0.001"),
        };
        let against = Against {
            funds: Some(funds),
            ..against(&instrument)
        };
        order(&terms(Market::Spot), &against)
    };
    assert_eq!(with(&[balance("USDT", "100.1")]), Ok(()));
    let error = with(&[balance("BTC", "5"), balance("USDT", "100.09")]).unwrap_err();
    assert_eq!(error.code, CryptoCode::InsufficientBalance);
    assert_eq!(error.details["asset"], "USDT");
    assert_eq!(error.details["needed"], "100.1");
    assert_eq!(error.details["free"], "100.09");
    let mut other = balance("USDT", "1000");
    other.market = Some(Market::Perp);
    assert_eq!(with(&[other]).unwrap_err().details["free"], "0");
}

#[test]
fn settlements_are_locked_on_both_sides() {
    let instrument = instrument(Market::Perp);
    const HOUR: i64 = 3_600_000;
    let check = |terms: &OrderTerms, now_ms: i64, next_ms: i64| {
        let lock = FundingLock {
            next: TsNanos::from_ms(next_ms),
            secs: 30,
        };
        let against = Against {
            funding_lock: Some(lock),
            now: TsNanos::from_ms(now_ms),
            ..against(&instrument)
        };
        order(terms, &against)
    };
    let open = terms(Market::Perp);
    let at = 80 * HOUR;
    assert_eq!(check(&open, at - 30_001, at), Ok(()));
    let error = check(&open, at - 30_000, at).unwrap_err();
    assert_eq!(error.code, CryptoCode::FundingSettlement);
    assert_eq!(error.details["retry_after_seconds"], 61);
    assert_eq!(error.details["lock_seconds"], 30);
    // The exchange still names the one that is past, or names the next already.
    for next in [at, at + 8 * HOUR] {
        assert!(check(&open, at + 30_000, next).is_err());
        assert_eq!(check(&open, at + 30_001, next), Ok(()));
    }
    let mut close = open.clone();
    close.reduce_only = true;
    assert_eq!(check(&close, at, at), Ok(()));
}

#[test]
fn an_absurd_funding_interval_locks_nothing() {
    let mut spec = spec(Market::Perp);
    spec.funding_interval_hours = Some(u32::MAX);
    let instrument = instrument_of(spec);
    let lock = FundingLock {
        next: TsNanos(i64::MAX),
        secs: 30,
    };
    let against = Against {
        funding_lock: Some(lock),
        ..against(&instrument)
    };
    assert_eq!(order(&terms(Market::Perp), &against), Ok(()));
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    (any::<i128>(), 0u32..=28).prop_filter_map("within 96 bits", |(mantissa, scale)| {
        Decimal::try_from_i128_with_scale(mantissa >> 31, scale).ok()
    })
}

proptest! {
    /// Whatever the numbers are, there is an answer and no panic; what was rounded is on the step.
    #[test]
    fn any_numbers_have_an_answer(
        quantity in any_decimal(), price in any_decimal(), stop in any_decimal(),
        kind in prop::sample::select(OrderType::ALL), is_buy: bool, is_perp: bool,
    ) {
        let market = if is_perp { Market::Perp } else { Market::Spot };
        let instrument = instrument(market);
        let mut terms = OrderTerms {
            side: if is_buy { Side::Buy } else { Side::Sell },
            order_type: kind,
            quantity,
            price: kind.has_price().then_some(price),
            stop_price: kind.is_stop().then_some(stop),
            ..terms(market)
        };
        if kind == OrderType::Market {
            terms.time_in_force = TimeInForce::Ioc;
        }
        let balances = [balance("USDT", "1000")];
        let funds = Funds { balances: &balances, position: quantity, fee: d("0.001") };
        let against = Against { funds: Some(funds), ..against(&instrument) };
        let _ = order(&terms, &against);
        round(&mut terms, &instrument, touch());
        if let Err(error) = order(&terms, &against) {
            prop_assert_ne!(error.code, CryptoCode::PrecisionError);
        }
    }

    #[test]
    fn neighbours_enclose_the_value(value in 1_i64..1_000_000_000, step in 1_i64..10_000) {
        let (value, step) = (Decimal::new(value, 5), Decimal::new(step, 4));
        let near = Step::of(value, step);
        prop_assert!(near.lower <= value && value <= near.higher);
        prop_assert!(near.higher - near.lower == step || near.lower == value);
        prop_assert!((near.lower / step).fract().is_zero());
    }
}
