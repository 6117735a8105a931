//! Built bars against an obvious computation from all trades, with beginnings amid a bar, losses,
//! and answers that come late.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::event::Side;
use crate::kline::{GateOutcome, KlineGate, quote_value, roll_up_closed};
use crate::num::{Price, Qty};

const MINUTE: i64 = 60_000_000_000;

fn trade(id: u64, ts: i64, price: i64, qty: i64) -> Trade {
    Trade {
        trade_id: TradeId::Number(id),
        price: Price(price),
        qty: Qty(qty),
        taker_side: Side::Buy,
        ts_event: TsNanos(ts),
        is_aggregate: false,
    }
}

/// The bar of `level` at `open_time` out of all trades up to now, the obvious way.
fn truth(trades: &[Trade], level: Level, open_time: TsNanos, is_closed: bool) -> Option<Kline> {
    let inside: Vec<&Trade> = trades
        .iter()
        .filter(|trade| trade.ts_event.floor_to(level) == open_time)
        .collect();
    let prices = || inside.iter().map(|trade| trade.price);
    let value = |trade: &&Trade| quote_value(trade.price, trade.qty);
    Some(Kline {
        level,
        open_time,
        open: inside.first()?.price,
        high: prices().max()?,
        low: prices().min()?,
        close: inside.last()?.price,
        volume: Qty(inside.iter().map(|trade| trade.qty.0).sum()),
        volume_quote: Some(inside.iter().map(value).sum()),
        trade_count: Some(inside.len() as u64),
        is_closed,
        ts_event: inside.last()?.ts_event,
    })
}

/// Trades in order, with pauses from none to several bars.
fn trades() -> impl Strategy<Value = Vec<Trade>> {
    let pause = prop_oneof![
        4 => 0..MINUTE / 3,
        2 => MINUTE / 3..3 * MINUTE,
        1 => 3 * MINUTE..40 * MINUTE,
    ];
    (
        0..90 * MINUTE,
        vec((pause, 1_i64..1_000, 1_i64..1_000), 1..120),
    )
        .prop_map(|(start, steps)| {
            let mut at = start;
            let steps = steps.into_iter().zip(1..);
            steps
                .map(|((pause, price, qty), id)| {
                    at += pause;
                    trade(id, at, price, qty)
                })
                .collect()
        })
}

/// Bars of a level whose time is over when the last trade comes.
fn closed_bars(trades: &[Trade], level: Level) -> Vec<Kline> {
    let now = trades.last().map_or(TsNanos(0), |trade| trade.ts_event);
    let mut opens: Vec<TsNanos> = trades.iter().map(|t| t.ts_event.floor_to(level)).collect();
    opens.dedup();
    opens.retain(|open| open.0 + level.nanos() <= now.0);
    let bar = |open| truth(trades, level, open, true);
    opens.into_iter().filter_map(bar).collect()
}

fn level() -> impl Strategy<Value = Level> {
    prop_oneof![Just(Level::M5), Just(Level::M15), Just(Level::H1)]
}

proptest! {
    #[test]
    fn closed_bars_add_up(trades in trades(), level in level()) {
        let minutes = closed_bars(&trades, Level::M1);
        let until = trades.last().unwrap().ts_event;
        let rolled = roll_up_closed(&minutes, level, until).unwrap();
        prop_assert_eq!(rolled, closed_bars(&trades, level));
    }

    /// Trades are seen from `start` on; at `losses` the stream breaks before a trade and some are
    /// not seen. What is needed is answered `delay` trades later.
    #[test]
    fn bars_of_trades_are_right_or_not_shown(
        trades in trades(),
        start in 0_usize..60,
        losses in vec((0_usize..120, 0_usize..5), 0..4),
        delay in 0_usize..6,
    ) {
        let mut bars = TradeBars::new(Level::M1);
        let mut asked: Option<(usize, TradesNeeded)> = None;
        let mut closed = Vec::new();
        let mut shown = 0;
        let is_seen = |at: usize| {
            at >= start && !losses.iter().any(|(from, count)| (*from..from + count).contains(&at))
        };
        for at in 0..trades.len() {
            if !is_seen(at) {
                if at >= start {
                    bars.lose();
                    asked = None;
                }
                continue;
            }
            bars.on_trade(&trades[at]);
            let known = &trades[..=at];
            if let Some(needed) = bars.needed() {
                let (since, needed) = *asked.get_or_insert((at, needed));
                if at - since >= delay {
                    let before = |trade: &&Trade| match (trade.trade_id, needed.before) {
                        (TradeId::Number(id), TradeId::Number(before)) => id < before,
                        _ => false,
                    };
                    let older: Vec<Trade> = known.iter().filter(before).copied().collect();
                    bars.on_needed(needed, &older);
                    asked = None;
                }
            }
            let mut found = Vec::new();
            bars.drain(|bar| found.push(bar));
            for bar in found {
                shown += 1;
                let expected = truth(known, Level::M1, bar.open_time, bar.is_closed);
                prop_assert_eq!(Some(bar), expected);
                if bar.is_closed {
                    closed.push(bar.open_time);
                }
            }
            if asked.is_none() {
                prop_assert!(shown > 0, "all is known and nothing is shown");
            }
        }
        let mut once = closed.clone();
        once.dedup();
        prop_assert_eq!(&once, &closed);
        if start == 0 && losses.is_empty() && delay == 0 {
            let all: Vec<TsNanos> = closed_bars(&trades, Level::M1)
                .iter()
                .map(|bar| bar.open_time)
                .collect();
            prop_assert_eq!(closed, all);
        }
    }

    /// Minutes as an exchange streams them, seen from `start` on, some of them lost.
    #[test]
    fn sums_of_bars_are_right_or_not_shown(
        trades in trades(),
        level in level(),
        start in 0_usize..60,
        losses in vec((0_usize..120, 1_usize..9), 0..4),
        delay in 0_usize..6,
    ) {
        let mut roll = RollUp::new(level);
        let mut gate = KlineGate::new(level);
        let mut asked: Option<(usize, PartsNeeded)> = None;
        let mut is_lost = false;
        let mut was_seen = false;
        let mut closed: Vec<TsNanos> = Vec::new();
        for at in start..trades.len() {
            let is_seen = !losses.iter().any(|(from, n)| (*from..from + n).contains(&at));
            if !is_seen {
                is_lost = true;
                continue;
            }
            let known = &trades[..=at];
            let minute = trades[at].ts_event.floor_to(Level::M1);
            let mut parts = Vec::new();
            if is_lost {
                // Its gate could not fetch what it missed, unless nothing closed meanwhile.
                let before = trades[..at].iter().rev().find(|t| t.ts_event.floor_to(Level::M1) < minute);
                let last_seen = (start..at)
                    .rev()
                    .find(|at| !losses.iter().any(|(from, n)| (*from..from + n).contains(at)));
                let same = last_seen.is_some_and(|at| trades[at].ts_event.floor_to(Level::M1) == minute);
                if was_seen && before.is_some() && !same {
                    roll.lose();
                }
            } else if at > start {
                let before = trades[at - 1].ts_event.floor_to(Level::M1);
                if before < minute {
                    let bar = truth(known, Level::M1, before, true);
                    parts.extend(bar.map(|bar| (&trades[..at], bar)));
                }
            }
            (is_lost, was_seen) = (false, true);
            let bar = truth(known, Level::M1, minute, false);
            parts.extend(bar.map(|bar| (known, bar)));
            let mut found: Vec<(&[Trade], Kline)> = Vec::new();
            for (known, part) in &parts {
                let bars = roll.on_part(part).into_iter().flatten();
                found.extend(bars.map(|bar| (*known, bar)));
            }
            if let Some(needed) = roll.needed() {
                let (since, first) = *asked.get_or_insert((at, needed));
                if first != needed {
                    asked = Some((at, needed));
                } else if at - since >= delay {
                    let bar = roll.on_needed(needed, &closed_bars(known, Level::M1));
                    found.extend(bar.map(|bar| (known, bar)));
                    asked = None;
                }
            } else {
                asked = None;
                prop_assert!(!found.is_empty(), "all is known and nothing is shown");
            }
            for (known, bar) in found {
                let expected = truth(known, level, bar.open_time, bar.is_closed);
                let expected = expected.map(|truth| Kline { ts_event: bar.ts_event, ..truth });
                prop_assert_eq!(Some(bar), expected);
                if gate.on_kline(&bar).0 == GateOutcome::Closed {
                    prop_assert!(bar.open_time.0 + level.nanos() <= trades[at].ts_event.0);
                    closed.push(bar.open_time);
                }
            }
        }
        let mut once = closed.clone();
        once.dedup();
        prop_assert_eq!(&once, &closed, "closed once");
        if losses.is_empty() && start == 0 && delay == 0 {
            let all = closed_bars(&trades, level);
            let all: Vec<TsNanos> = all.iter().map(|bar| bar.open_time).collect();
            prop_assert_eq!(closed, all);
        }
    }
}

#[test]
fn a_bar_that_ends_with_its_last_part_closes_with_it() {
    let all: Vec<Trade> = (0..5)
        .map(|minute| trade(minute, minute as i64 * MINUTE, 10, 1))
        .collect();
    let mut roll = RollUp::new(Level::M5);
    for minute in 0..5 {
        let open_time = TsNanos(minute * MINUTE);
        let part = truth(&all, Level::M1, open_time, true).unwrap();
        let [ended, bar] = roll.on_part(&part);
        assert_eq!(ended, None);
        assert_eq!(bar.unwrap().is_closed, minute == 4);
    }
}

#[test]
fn a_part_whose_close_never_came_is_asked_for() {
    let all = [
        trade(1, 0, 10, 1),
        trade(2, MINUTE, 11, 1),
        trade(3, 2 * MINUTE, 12, 1),
    ];
    let part = |minute: i64, is_closed| {
        truth(&all, Level::M1, TsNanos(minute * MINUTE), is_closed).unwrap()
    };
    let mut roll = RollUp::new(Level::M5);
    assert!(roll.on_part(&part(0, false))[1].is_some());
    assert_eq!(roll.on_part(&part(1, false)), [None, None]);
    let needed = roll.needed().unwrap();
    assert_eq!((needed.from, needed.before), (TsNanos(0), TsNanos(MINUTE)));
    let bar = roll.on_needed(needed, &[part(0, true)]).unwrap();
    assert_eq!((bar.volume, bar.is_closed), (Qty(2), false));
    assert_eq!(roll.on_needed(needed, &[]), None, "not asked any more");
}

#[test]
fn an_answer_to_an_older_question_changes_nothing() {
    let all = [trade(1, MINUTE, 10, 1), trade(2, 3 * MINUTE, 11, 1)];
    let part = |minute: i64| truth(&all, Level::M1, TsNanos(minute * MINUTE), false).unwrap();
    let mut roll = RollUp::new(Level::M5);
    roll.on_part(&part(1));
    let old = roll.needed().unwrap();
    roll.lose();
    roll.on_part(&part(3));
    assert_eq!(roll.on_needed(old, &[]), None);
    assert_ne!(roll.needed(), Some(old));
    assert!(roll.needed().is_some());
}
