//! Bars against an obvious computation, and the gate's promise of one close a bar.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::event::Side;

const MINUTE: i64 = 60_000_000_000;

fn trade(id: u64, ts: i64, price: i64, qty: i64) -> Trade {
    Trade {
        trade_id: crate::event::TradeId::Number(id),
        price: Price(price),
        qty: Qty(qty),
        taker_side: Side::Buy,
        ts_event: TsNanos(ts),
        is_aggregate: false,
    }
}

fn bar(minute: i64, is_closed: bool) -> Kline {
    Kline {
        level: Level::M1,
        open_time: TsNanos(minute * MINUTE),
        open: Price(10 + minute),
        high: Price(20 + minute),
        low: Price(5 + minute),
        close: Price(12 + minute),
        volume: Qty(100),
        volume_quote: Some(1_000),
        trade_count: Some(3),
        is_closed,
        ts_event: TsNanos(minute * MINUTE + 1),
    }
}

fn closed(builder: &mut KlineBuilder, now: i64) -> Vec<Kline> {
    let mut out = Vec::new();
    builder.close_due(TsNanos(now), |bar| out.push(bar));
    out
}

#[test]
fn a_bar_closes_once_and_after_its_time() {
    let mut builder = KlineBuilder::new(Level::M1, 0);
    assert_eq!(builder.forming(), None);
    builder.on_trade(&trade(1, 5, 100, 2));
    builder.on_trade(&trade(2, MINUTE - 1, 90, 3));
    assert_eq!(closed(&mut builder, MINUTE - 1), []);
    let bars = closed(&mut builder, MINUTE);
    assert_eq!(bars.len(), 1);
    let first = bars[0];
    assert!(first.is_closed);
    assert_eq!((first.open, first.high), (Price(100), Price(100)));
    assert_eq!((first.low, first.close), (Price(90), Price(90)));
    assert_eq!((first.volume, first.volume_quote), (Qty(5), Some(470)));
    assert_eq!(first.trade_count, Some(2));
    assert_eq!(first.ts_event, TsNanos(MINUTE - 1));
    assert_eq!(closed(&mut builder, MINUTE), []);
    assert_eq!(closed(&mut builder, 9 * MINUTE), []);
    assert_eq!(
        builder.on_trade(&trade(3, MINUTE / 2, 1, 1)),
        TradeOutcome::Late
    );
    // Minutes without a trade leave no bar.
    builder.on_trade(&trade(4, 12 * MINUTE, 7, 1));
    let opens: Vec<TsNanos> = closed(&mut builder, 20 * MINUTE)
        .iter()
        .map(|bar| bar.open_time)
        .collect();
    assert_eq!(opens, [TsNanos(12 * MINUTE)]);
}

#[test]
fn lateness_keeps_the_last_bar_open_for_stragglers() {
    let mut builder = KlineBuilder::new(Level::M1, 2_000_000_000);
    builder.on_trade(&trade(1, 10, 100, 1));
    builder.on_trade(&trade(3, MINUTE + 1, 300, 1));
    assert_eq!(closed(&mut builder, MINUTE + 1), []);
    let straggler = trade(2, MINUTE - 1, 200, 1);
    assert_eq!(builder.on_trade(&straggler), TradeOutcome::Counted);
    let bars = closed(&mut builder, MINUTE + 2_000_000_000);
    assert_eq!(bars.len(), 1);
    assert_eq!((bars[0].close, bars[0].trade_count), (Price(200), Some(2)));
    assert_eq!(builder.on_trade(&straggler), TradeOutcome::Late);
    assert_eq!(builder.forming().map(|bar| bar.open), Some(Price(300)));
}

/// First and last price go by id: arrival may be out of order.
#[test]
fn open_and_close_go_by_trade_id() {
    let mut builder = KlineBuilder::new(Level::M1, 0);
    for (id, price) in [(5, 50), (4, 40), (7, 70), (6, 60)] {
        builder.on_trade(&trade(id, 1, price, 1));
    }
    let bar = builder.forming().unwrap();
    assert_eq!((bar.open, bar.close), (Price(40), Price(70)));
}

#[test]
fn a_volume_that_does_not_fit_is_refused_not_wrapped() {
    let mut builder = KlineBuilder::new(Level::M1, 0);
    builder.on_trade(&trade(1, 1, 1, i64::MAX));
    assert_eq!(builder.on_trade(&trade(2, 2, 1, 1)), TradeOutcome::Overflow);
    assert_eq!(builder.forming().unwrap().volume, Qty(i64::MAX));
    assert_eq!(builder.forming().unwrap().trade_count, Some(1));
}

#[test]
fn times_at_the_ends_of_the_range_do_not_panic() {
    for ts in [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX] {
        for level in Level::ALL {
            let mut builder = KlineBuilder::new(level, i64::MAX);
            builder.on_trade(&trade(1, 0, 1, 1));
            builder.on_trade(&trade(2, ts, 1, 1));
            closed(&mut builder, ts);
            let mut builder = KlineBuilder::new(level, 0);
            builder.on_trade(&trade(1, ts, 1, 1));
            closed(&mut builder, i64::MAX);
            assert!(builder.finish().len() <= 1);
            let mut gate = KlineGate::new(level);
            for open_time in [0, ts, 0] {
                let kline = Kline {
                    level,
                    open_time: TsNanos(open_time),
                    ..bar(0, false)
                };
                gate.on_kline(&kline);
                assert_eq!(gate.overdue(TsNanos(0), i64::MAX), None);
            }
        }
    }
}

#[test]
fn the_gate_passes_one_close_a_bar_and_nothing_after_it() {
    let mut gate = KlineGate::new(Level::M1);
    let mut pass = |kline: Kline| gate.on_kline(&kline);
    assert_eq!(pass(bar(1, false)), (GateOutcome::Forming, None));
    assert_eq!(pass(bar(1, false)), (GateOutcome::Forming, None));
    assert_eq!(pass(bar(1, true)), (GateOutcome::Closed, None));
    assert_eq!(pass(bar(1, true)), (GateOutcome::Stale, None));
    assert_eq!(pass(bar(1, false)), (GateOutcome::Stale, None));
    assert_eq!(pass(bar(2, false)), (GateOutcome::Forming, None));
    assert_eq!(pass(bar(0, true)), (GateOutcome::Stale, None));
    let older = Kline {
        ts_event: TsNanos(0),
        ..bar(2, false)
    };
    assert_eq!(pass(older), (GateOutcome::Stale, None));
}

#[test]
fn the_gate_tells_missed_bars_once_and_takes_them_later() {
    let missed = |first: i64, last: i64| {
        Some(MissedBars {
            first: TsNanos(first * MINUTE),
            last: TsNanos(last * MINUTE),
        })
    };
    let mut gate = KlineGate::new(Level::M1);
    gate.on_kline(&bar(1, true));
    assert_eq!(
        gate.on_kline(&bar(4, false)),
        (GateOutcome::Forming, missed(2, 3))
    );
    assert_eq!(gate.on_kline(&bar(4, false)), (GateOutcome::Forming, None));
    // The forming bar 4 never closed: it is missed as well.
    assert_eq!(
        gate.on_kline(&bar(6, true)),
        (GateOutcome::Closed, missed(4, 5))
    );
    assert_eq!(gate.on_kline(&bar(3, false)), (GateOutcome::Stale, None));
    for minute in [2, 5, 3, 4] {
        let row = bar(minute, true);
        assert_eq!(gate.on_kline(&row), (GateOutcome::Closed, None));
        assert_eq!(gate.on_kline(&row), (GateOutcome::Stale, None));
    }
    assert_eq!(gate.missed().count(), 0);
}

#[test]
fn the_gate_remembers_a_bounded_number_of_missed_bars() {
    let mut gate = KlineGate::new(Level::M1);
    gate.on_kline(&bar(0, true));
    let (_, missed) = gate.on_kline(&bar(1_000_000, false));
    assert_eq!(gate.missed().count(), MISSED_BARS_MAX);
    assert_eq!(missed.map(|bars| bars.first), gate.missed().next());
    gate.on_kline(&bar(2_000_000, false));
    assert_eq!(gate.missed().count(), MISSED_BARS_MAX);
}

#[test]
fn a_bar_that_can_not_be_shown_is_expected() {
    let mut gate = KlineGate::new(Level::M1);
    assert_eq!(gate.expect(TsNanos(MINUTE)), None);
    assert_eq!(gate.overdue(TsNanos(2 * MINUTE), 0), Some(TsNanos(MINUTE)));
    let missed = |first: i64, last: i64| MissedBars {
        first: TsNanos(first * MINUTE),
        last: TsNanos(last * MINUTE),
    };
    assert_eq!(gate.expect(TsNanos(3 * MINUTE)), Some(missed(1, 2)));
    assert_eq!(gate.expect(TsNanos(2 * MINUTE)), None, "older");
    // Whatever its time, what comes of it first is shown.
    let first = Kline {
        ts_event: TsNanos(i64::MIN),
        ..bar(3, false)
    };
    assert_eq!(gate.on_kline(&bar(3, false)).0, GateOutcome::Forming);
    assert_eq!(gate.on_kline(&first).0, GateOutcome::Stale);
    assert_eq!(gate.on_kline(&bar(1, true)).0, GateOutcome::Closed);
}

#[test]
fn bars_without_trades_are_not_missed() {
    let minute = |minute: i64| TsNanos(minute * MINUTE);
    let mut gate = KlineGate::new(Level::M1);
    gate.on_kline(&bar(1, true));
    gate.pass_empty(minute(0), minute(5));
    assert_eq!(gate.on_kline(&bar(5, true)).1, None);
    // Nobody knows of the sixth: trades are known from the seventh on.
    gate.pass_empty(minute(7), minute(9));
    let (_, missed) = gate.on_kline(&bar(9, false));
    assert_eq!(missed.map(|bars| bars.first), Some(minute(6)));
    // A bar that has not closed is missed whatever follows.
    gate.pass_empty(minute(0), minute(12));
    let (_, missed) = gate.on_kline(&bar(12, false));
    assert_eq!(missed.map(|bars| bars.first), Some(minute(9)));
}

#[test]
fn the_gate_tells_when_a_close_is_overdue() {
    let mut gate = KlineGate::new(Level::M1);
    let at = |ns: i64| TsNanos(2 * MINUTE + ns);
    assert_eq!(gate.overdue(at(0), 0), None);
    gate.on_kline(&bar(1, false));
    assert_eq!(gate.overdue(at(4), 5), None);
    assert_eq!(gate.overdue(at(5), 5), Some(TsNanos(MINUTE)));
    gate.on_kline(&bar(1, true));
    assert_eq!(gate.overdue(at(99), 5), None);
}

#[test]
fn bars_roll_up() {
    let minutes: Vec<Kline> = [0, 1, 4, 5, 9, 14].map(|minute| bar(minute, true)).to_vec();
    let rolled = roll_up(&minutes, Level::M5).unwrap();
    let opens: Vec<i64> = rolled.iter().map(|bar| bar.open_time.0 / MINUTE).collect();
    assert_eq!(opens, [0, 5, 10]);
    assert_eq!(
        rolled[0],
        Kline {
            level: Level::M5,
            open_time: TsNanos(0),
            open: Price(10),
            high: Price(24),
            low: Price(5),
            close: Price(16),
            volume: Qty(300),
            volume_quote: Some(3_000),
            trade_count: Some(9),
            is_closed: true,
            ts_event: minutes[2].ts_event,
        }
    );
    assert!(rolled.iter().all(|bar| bar.is_closed));
    // Not closed: the last minute is missing, or still forming.
    assert!(!roll_up(&minutes[..2], Level::M5).unwrap()[0].is_closed);
    assert!(!roll_up(&[bar(4, false)], Level::M5).unwrap()[0].is_closed);
    // A later bar closes what came before it.
    assert!(roll_up(&[bar(2, true), bar(5, false)], Level::M5).unwrap()[0].is_closed);
    assert_eq!(roll_up(&minutes, Level::M1).as_deref(), Ok(&minutes[..]));
}

#[test]
fn roll_up_refuses_what_does_not_fit() {
    let order = roll_up(&[bar(2, true), bar(1, true)], Level::M5);
    assert!(matches!(order, Err(RollUpError::Order { .. })));
    let shorter = Kline {
        level: Level::H1,
        ..bar(0, true)
    };
    let level = roll_up(&[shorter], Level::M5);
    assert!(matches!(level, Err(RollUpError::Level { .. })));
    let huge = |minute| Kline {
        volume: Qty(i64::MAX),
        ..bar(minute, true)
    };
    let overflow = roll_up(&[huge(0), huge(1)], Level::M5);
    assert!(matches!(overflow, Err(RollUpError::Overflow { .. })));
}

proptest! {
    /// Trades in any order, bars by an obvious grouping; and longer bars built from trades are the
    /// rolled up shorter ones.
    #[test]
    fn bars_are_the_grouped_trades(
        rows in vec((0i64..40 * MINUTE, 1i64..1_000_000, 0i64..1_000_000_000_000), 1..200),
    ) {
        let mut minutes: BTreeMap<i64, Vec<Trade>> = BTreeMap::new();
        let mut builder = KlineBuilder::new(Level::M1, i64::MAX);
        let mut longer = KlineBuilder::new(Level::M15, i64::MAX);
        for (id, (ts, price, qty)) in rows.iter().enumerate() {
            let row = trade(id as u64, *ts, *price, *qty);
            minutes.entry(ts.div_euclid(MINUTE)).or_default().push(row);
            prop_assert_eq!(builder.on_trade(&row), TradeOutcome::Counted);
            prop_assert_eq!(longer.on_trade(&row), TradeOutcome::Counted);
        }
        let bars = builder.finish();
        prop_assert_eq!(bars.len(), minutes.len());
        for (bar, (minute, trades)) in bars.iter().zip(&minutes) {
            prop_assert_eq!(bar.open_time, TsNanos(minute * MINUTE));
            prop_assert_eq!(bar.open, trades[0].price);
            prop_assert_eq!(bar.close, trades[trades.len() - 1].price);
            prop_assert_eq!(Some(bar.high), trades.iter().map(|row| row.price).max());
            prop_assert_eq!(Some(bar.low), trades.iter().map(|row| row.price).min());
            prop_assert_eq!(bar.volume.0, trades.iter().map(|row| row.qty.0).sum::<i64>());
            let value: i128 = trades.iter().map(|row| quote_value(row.price, row.qty)).sum();
            prop_assert_eq!(bar.volume_quote, Some(value));
            prop_assert_eq!(bar.trade_count, Some(trades.len() as u64));
        }
        // Only arrival in time order makes the rolled-up first and last prices those by id.
        let prices = |bar: &Kline| (bar.open_time, bar.high, bar.low, bar.volume, bar.volume_quote);
        let rolled = roll_up(&bars, Level::M15).unwrap();
        let longer = longer.finish();
        prop_assert!(rolled.iter().map(prices).eq(longer.iter().map(prices)));
    }
}
