//! Longer bars out of stored minutes.

use std::sync::Arc;

use rust_decimal::Decimal;

use super::{MINUTE, T0, dec, entity, kline, kline_query, put};
use crate::store::{CoverageRow, Entity, KlineRow, Order, Row, Series, Span, Store, TimeWindow};
use crate::time::{Level, TsNanos};

pub(super) fn longer_bars_out_of_minutes(store: &mut dyn Store) {
    let (btc, eth) = (entity("btcusdt"), entity("ethusdt"));
    let base = TsNanos(T0).floor_to(Level::H1).0;
    let minute = |entity: &Arc<Entity>, at: i64| KlineRow {
        open: Decimal::new(100 + at, 1),
        high: Decimal::new(200 + at, 1),
        low: Decimal::new(50 - at, 1),
        close: Decimal::new(110 + at, 1),
        volume_base: Decimal::new(1, 20),
        volume_quote: Some(Decimal::new(3, 1)),
        trade_count: Some(2),
        ..kline(entity, Level::M1, base + at * MINUTE)
    };
    let mut rows: Vec<KlineRow> = (0..5).map(|at| minute(&btc, at)).collect();
    // Minutes 5 to 9: one is not there.
    rows.extend([5, 6, 8, 9].map(|at| minute(&btc, at)));
    // 10 to 14: the first and the last one have no trades, one does not tell its value and count.
    let flat = |at: i64| KlineRow {
        open: dec("999"),
        high: dec("999"),
        low: dec("0.5"),
        close: dec("0.5"),
        volume_base: Decimal::ZERO,
        volume_quote: Some(Decimal::ZERO),
        trade_count: Some(0),
        ..minute(&btc, at)
    };
    rows.extend([flat(10), minute(&btc, 11), minute(&btc, 12), flat(14)]);
    rows.push(KlineRow {
        volume_quote: None,
        trade_count: None,
        ..minute(&btc, 13)
    });
    // 15 to 19: nothing but a promise; 20 to 24: no trades at all; 25: has just begun.
    rows.extend([20, 21, 22, 23, 24].map(flat));
    rows.push(minute(&btc, 25));
    rows.extend((0..5).map(|at| minute(&eth, at)));
    let mut rows: Vec<Row> = rows.into_iter().map(Row::Kline).collect();
    let promise = |from: i64, to: i64| {
        Row::Coverage(CoverageRow {
            entity: Arc::clone(&btc),
            series: Series::Klines(Level::M1),
            span: Span {
                start: TsNanos(base + from * MINUTE),
                end: TsNanos(base + to * MINUTE),
            },
        })
    };
    rows.push(promise(14, 26));
    put(store, rows);
    let ask = |store: &dyn Store, codes: &[&str], level, window| {
        let reader = store.reader().unwrap();
        let query = kline_query(codes, level, window);
        reader.rolled_up(&query).unwrap()
    };
    let all = TimeWindow::latest(99);
    let opens = |rows: &[KlineRow]| -> Vec<i64> {
        rows.iter().map(|row| (row.ts.0 - base) / MINUTE).collect()
    };
    let found = ask(store, &["btcusdt"], Level::M5, all);
    assert_eq!(
        opens(&found),
        [0, 10, 20],
        "minute 7 is not known to be empty"
    );
    let first = KlineRow {
        level: Level::M5,
        open: dec("10"),
        high: dec("20.4"),
        low: dec("4.6"),
        close: dec("11.4"),
        volume_base: Decimal::new(5, 20),
        volume_quote: Some(dec("1.5")),
        trade_count: Some(10),
        ..minute(&btc, 0)
    };
    let traded = KlineRow {
        ts: TsNanos(base + 10 * MINUTE),
        open: dec("11.1"),
        high: dec("21.3"),
        low: dec("3.7"),
        close: dec("12.3"),
        volume_base: Decimal::new(3, 20),
        volume_quote: None,
        trade_count: None,
        ..first.clone()
    };
    let untraded = KlineRow {
        level: Level::M5,
        ..flat(20)
    };
    assert_eq!(found, [first.clone(), traded.clone(), untraded]);
    // A promise turns a hole into a minute without trades.
    put(store, vec![promise(7, 8)]);
    let found = ask(store, &["btcusdt"], Level::M5, all);
    assert_eq!(opens(&found), [0, 5, 10, 20]);
    assert_eq!(found[1].volume_base, Decimal::new(4, 20));
    assert_eq!(
        ask(store, &["btcusdt"], Level::H1, all),
        [],
        "it is not over"
    );
    let found = ask(store, &["btcusdt"], Level::M15, all);
    assert_eq!((opens(&found), found[0].close), (vec![0], traded.close));
    assert_eq!(ask(store, &["btcusdt"], Level::M1, all).len(), 20);
    // Windows are of open times; limits count bars of all entities.
    let at = |minute: i64| TsNanos(base + minute * MINUTE);
    let between = TimeWindow::between(at(1), at(10), 99);
    assert_eq!(
        opens(&ask(store, &["btcusdt"], Level::M5, between)),
        [5, 10]
    );
    let both = ask(
        store,
        &["ethusdt", "btcusdt", "nope"],
        Level::M5,
        TimeWindow::latest(3),
    );
    assert_eq!(opens(&both), [5, 10, 20]);
    let early = TimeWindow::between(at(0), at(60), 3);
    let both = ask(store, &["ethusdt", "btcusdt"], Level::M5, early);
    assert_eq!(opens(&both), [0, 0, 5]);
    assert_eq!(both[0], first);
    let down = TimeWindow {
        order: Order::Descending,
        ..early
    };
    assert_eq!(
        opens(&ask(store, &["btcusdt"], Level::M5, down)),
        [20, 10, 5]
    );
    // More minutes than are read at a time, from both ends.
    let day = |days: i64| TsNanos(base).floor_to(Level::D1).0 + (100 + days) * 1_440 * MINUTE;
    let many = (0..8 * 1_440).map(|at| Row::Kline(kline(&eth, Level::M1, day(0) + at * MINUTE)));
    put(store, many.collect());
    let window = TimeWindow::between(TsNanos(day(0)), TsNanos(i64::MAX), 99);
    let up = ask(store, &["ethusdt"], Level::D1, window);
    let days: Vec<i64> = up.iter().map(|row| row.ts.0).collect();
    assert_eq!(days, (0..8).map(day).collect::<Vec<_>>());
    assert!(up.iter().all(|bar| bar.trade_count == Some(1_440 * 321)));
    assert_eq!(
        ask(store, &["ethusdt"], Level::D1, TimeWindow::latest(8)),
        up
    );
    assert_eq!(
        ask(store, &["ethusdt"], Level::D1, TimeWindow::latest(1)),
        up[7..]
    );
    // A sum that no number holds is an error, not a rounded bar.
    let far = day(20);
    let huge = (0..5).map(|at| KlineRow {
        volume_base: dec("50000000000000000000000000000"),
        ..kline(&eth, Level::M1, far + at * MINUTE)
    });
    put(store, huge.map(Row::Kline).collect());
    let reader = store.reader().unwrap();
    let query = kline_query(&["ethusdt"], Level::M5, TimeWindow::latest(1));
    let error = reader.rolled_up(&query).unwrap_err();
    assert!(error.to_string().contains("volume_base"), "{error}");
}
