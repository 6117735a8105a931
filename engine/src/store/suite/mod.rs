//! What every store must pass: the contract of [`Store`] and [`StoreReader`] as tests.
//!
//! A new store implements [`Fixture`] and calls [`run`] from a test. Failures panic with the rows
//! that differ; the random part prints its seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    missing_docs
)]

mod model;
mod rollup;

use std::sync::Arc;

use rust_decimal::Decimal;

use super::{
    BookQuery, BookRow, CoverageRow, Entity, FundingQuery, FundingRow, KlineQuery, KlineRow, Order,
    Row, Series, Span, Store, StoreReader, TimeWindow, TradeId, TradeQuery, TradeRow, WriteReport,
};
use crate::event::{BookLevel, Side};
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

/// Makes stores to test.
pub trait Fixture {
    /// A new, empty store.
    fn fresh(&mut self) -> Box<dyn Store>;
    /// The same data opened again after the store went away without a goodbye.
    fn reopen(&mut self, store: Box<dyn Store>) -> Box<dyn Store>;
    /// Random runs; a slow store can do with fewer of them, in which nothing is left out.
    fn seeds(&self) -> u64 {
        16
    }
}

/// Runs the whole suite.
pub fn run(fixture: &mut dyn Fixture) {
    rows_are_idempotent(&mut *fixture.fresh());
    numbers_are_exact(&mut *fixture.fresh());
    windows_limits_and_orders(&mut *fixture.fresh());
    filters(&mut *fixture.fresh());
    providers_are_apart(&mut *fixture.fresh());
    books_come_back(&mut *fixture.fresh());
    coverage_tells_what_is_missing(&mut *fixture.fresh());
    bars_before_a_window(&mut *fixture.fresh());
    rollup::longer_bars_out_of_minutes(&mut *fixture.fresh());
    data_survive(fixture);
    for seed in 0..fixture.seeds() {
        model::agrees(fixture, seed);
    }
}

const T0: i64 = 1_722_515_640_000_000_000;
const MINUTE: i64 = 60_000_000_000;

pub fn entity(code: &str) -> Arc<Entity> {
    Arc::new(Entity {
        provider: "binance".to_owned(),
        entity_id: format!("cryptopair_binance_{code}"),
        code: code.to_owned(),
    })
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

pub fn trade(entity: &Arc<Entity>, id: u64, ts: i64) -> TradeRow {
    TradeRow {
        entity: Arc::clone(entity),
        ts: TsNanos(ts),
        trade_id: TradeId::Number(id),
        price: Decimal::new(6_173_763 + (id % 1000) as i64, 2),
        volume: Decimal::new(1 + (id % 7) as i64, 5),
        side: if id.is_multiple_of(2) {
            Side::Buy
        } else {
            Side::Sell
        },
    }
}

pub fn kline(entity: &Arc<Entity>, level: Level, ts: i64) -> KlineRow {
    KlineRow {
        entity: Arc::clone(entity),
        level,
        ts: TsNanos(ts).floor_to(level),
        open: dec("61737.63"),
        high: dec("61800"),
        low: dec("61700.01"),
        close: dec("61750.5"),
        volume_base: dec("12.34567"),
        volume_quote: Some(dec("762345.6789012")),
        trade_count: Some(321),
    }
}

fn funding(entity: &Arc<Entity>, ts: i64) -> FundingRow {
    FundingRow {
        entity: Arc::clone(entity),
        ts: TsNanos(ts),
        funding_rate: dec("-0.000123456789"),
        predicted_rate: None,
        funding_interval_hours: Some(8),
        mark_price: Some(dec("61737.63123456")),
        index_price: None,
        next_funding_time: Some(TsNanos(ts + 8 * 60 * MINUTE)),
    }
}

fn put(store: &mut dyn Store, rows: Vec<Row>) -> WriteReport {
    let report = store.write(&rows).unwrap();
    store.flush().unwrap();
    report
}

fn trades(reader: &dyn StoreReader, codes: &[&str], window: TimeWindow) -> Vec<TradeRow> {
    reader.trades(&trade_query(codes, window)).unwrap()
}

fn trade_query(codes: &[&str], window: TimeWindow) -> TradeQuery {
    TradeQuery {
        provider: "binance".to_owned(),
        entity_ids: ids(codes),
        window,
        side: None,
        min_volume: None,
    }
}

fn kline_query(codes: &[&str], level: Level, window: TimeWindow) -> KlineQuery {
    KlineQuery {
        provider: "binance".to_owned(),
        entity_ids: ids(codes),
        level,
        window,
    }
}

fn ids(codes: &[&str]) -> Vec<String> {
    codes
        .iter()
        .map(|code| entity(code).entity_id.clone())
        .collect()
}

fn rows_are_idempotent(store: &mut dyn Store) {
    let btc = entity("btcusdt");
    let named = TradeRow {
        trade_id: TradeId::parse("2290000000061-a"),
        ..trade(&btc, 5, T0 + 5)
    };
    let wide = trade(&btc, u64::MAX, T0 + 6);
    let rows = || {
        vec![
            Row::Trade(trade(&btc, 1, T0)),
            Row::Trade(trade(&btc, 2, T0 + 1)),
            Row::Trade(named.clone()),
            Row::Trade(wide.clone()),
            Row::Kline(kline(&btc, Level::M1, T0)),
            Row::Funding(funding(&btc, T0)),
        ]
    };
    let first = put(store, rows());
    assert_eq!((first.written, first.known), (6, 0));
    let again = put(store, rows());
    assert_eq!(again.known, 4, "trades are known");

    // A trade stays as it was first written; a bar and a settlement are replaced.
    let mut late = trade(&btc, 2, T0 + 1);
    late.price = dec("1");
    let mut corrected = kline(&btc, Level::M1, T0);
    corrected.close = dec("61750.50000001");
    corrected.trade_count = Some(322);
    let mut settled = funding(&btc, T0);
    settled.mark_price = None;
    settled.index_price = Some(dec("61000"));
    put(
        store,
        vec![
            Row::Trade(late),
            Row::Kline(corrected.clone()),
            Row::Funding(settled.clone()),
        ],
    );
    let reader = store.reader().unwrap();
    let window = TimeWindow::latest(100);
    let expected = [trade(&btc, 1, T0), trade(&btc, 2, T0 + 1), named, wide];
    assert_eq!(trades(&*reader, &["btcusdt"], window), expected);
    let query = kline_query(&["btcusdt"], Level::M1, window);
    assert_eq!(reader.klines(&query).unwrap(), [corrected]);
    let query = FundingQuery {
        provider: "binance".to_owned(),
        entity_ids: ids(&["btcusdt"]),
        window,
        funding_interval_hours: None,
    };
    assert_eq!(reader.funding(&query).unwrap(), [settled]);
}

fn numbers_are_exact(store: &mut dyn Store) {
    let pepe = entity("pepeusdt");
    let mut bar = kline(&pepe, Level::H1, T0);
    bar.open = dec("0.00000074528");
    bar.high = dec("0.0000000000000000000000000001");
    bar.low = Decimal::ZERO;
    bar.close = dec("79228162514264337593543950335");
    bar.volume_base = dec("1234567890123456789.123456789");
    bar.volume_quote = Some(dec("9223372036854775808.7654321"));
    let mut big = trade(&pepe, 7, T0);
    big.price = dec("7.9228162514264337593543950335");
    big.volume = dec("99999999999999999999");
    let mut rate = funding(&pepe, T0);
    rate.funding_rate = dec("-0.0000000000000000000000000003");
    rate.predicted_rate = Some(dec("0.75"));
    rate.index_price = Some(Decimal::ZERO);
    put(
        store,
        vec![
            Row::Kline(bar.clone()),
            Row::Trade(big.clone()),
            Row::Funding(rate.clone()),
        ],
    );
    let reader = store.reader().unwrap();
    let window = TimeWindow::latest(10);
    let query = kline_query(&["pepeusdt"], Level::H1, window);
    assert_eq!(reader.klines(&query).unwrap(), [bar]);
    assert_eq!(trades(&*reader, &["pepeusdt"], window), [big]);
    let query = FundingQuery {
        provider: "binance".to_owned(),
        entity_ids: ids(&["pepeusdt"]),
        window,
        funding_interval_hours: None,
    };
    assert_eq!(reader.funding(&query).unwrap(), [rate]);
}

fn windows_limits_and_orders(store: &mut dyn Store) {
    let (btc, eth) = (entity("btcusdt"), entity("ethusdt"));
    let mut rows = Vec::new();
    for minute in 0..10 {
        for entity in [&btc, &eth] {
            rows.push(Row::Kline(kline(entity, Level::M1, T0 + minute * MINUTE)));
        }
    }
    rows.push(Row::Kline(kline(&btc, Level::M5, T0)));
    put(store, rows);
    let reader = store.reader().unwrap();
    let minutes = |codes: &[&str], window: TimeWindow| -> Vec<i64> {
        let query = kline_query(codes, Level::M1, window);
        let rows = reader.klines(&query).unwrap();
        rows.iter().map(|row| (row.ts.0 - T0) / MINUTE).collect()
    };
    let at = |minute: i64| TsNanos(T0 + minute * MINUTE);
    let btc = &["btcusdt"][..];
    let both = &["ethusdt", "btcusdt", "ethusdt", "nope"][..];
    let between = TimeWindow::between(at(2), at(4), 100);
    assert_eq!(minutes(btc, between), [2, 3, 4], "both ends are inclusive");
    assert_eq!(minutes(both, between), [2, 2, 3, 3, 4, 4]);
    let down = TimeWindow {
        order: Order::Descending,
        ..between
    };
    assert_eq!(minutes(btc, down), [4, 3, 2]);
    let two = |window| TimeWindow { limit: 2, ..window };
    assert_eq!(minutes(btc, two(between)), [2, 3]);
    assert_eq!(minutes(btc, two(down)), [4, 3]);
    assert_eq!(
        minutes(
            both,
            TimeWindow {
                limit: 3,
                ..between
            }
        ),
        [2, 2, 3]
    );
    // Without a start: the latest ones, in the asked order.
    assert_eq!(minutes(btc, TimeWindow::latest(3)), [7, 8, 9]);
    let latest_down = TimeWindow {
        order: Order::Descending,
        ..TimeWindow::latest(3)
    };
    assert_eq!(minutes(btc, latest_down), [9, 8, 7]);
    let until = TimeWindow {
        end: Some(at(5)),
        ..TimeWindow::latest(2)
    };
    assert_eq!(minutes(btc, until), [4, 5]);
    assert_eq!(minutes(both, TimeWindow::latest(3)), [8, 9, 9]);
    assert_eq!(minutes(&["nope"], between), [0i64; 0]);
    assert_eq!(
        minutes(btc, TimeWindow::between(at(4), at(2), 9)),
        [0i64; 0]
    );
    assert_eq!(
        minutes(
            btc,
            TimeWindow {
                limit: 0,
                ..between
            }
        ),
        [0i64; 0]
    );
    // Equal times: entity ids in order, reversed when descending.
    let order = |window| -> Vec<String> {
        let rows = reader
            .klines(&kline_query(both, Level::M1, window))
            .unwrap();
        rows.iter().map(|row| row.entity.code.clone()).collect()
    };
    assert_eq!(order(two(between)), ["btcusdt", "ethusdt"]);
    assert_eq!(order(two(down)), ["ethusdt", "btcusdt"]);
}

fn filters(store: &mut dyn Store) {
    let btc = entity("btcusdt");
    let rows = (0..100)
        .map(|id| Row::Trade(trade(&btc, id, T0 + id as i64)))
        .collect();
    put(store, rows);
    let mut query = trade_query(&["btcusdt"], TimeWindow::latest(3));
    query.side = Some(Side::Sell);
    query.min_volume = Some(dec("0.00007"));
    let reader = store.reader().unwrap();
    let found: Vec<TradeId> = reader
        .trades(&query)
        .unwrap()
        .into_iter()
        .map(|row| row.trade_id)
        .collect();
    // Odd ids sell; ids with remainder 6 of 7 have a volume of 7 × 10^-5.
    assert_eq!(found, [69, 83, 97].map(TradeId::Number));

    let perp = entity("perp");
    let mut rows = vec![
        Row::Funding(funding(&perp, T0)),
        Row::Funding(funding(&perp, T0 + 1)),
    ];
    if let Row::Funding(row) = &mut rows[1] {
        row.funding_interval_hours = Some(4);
    }
    put(store, rows);
    let query = |hours| FundingQuery {
        provider: "binance".to_owned(),
        entity_ids: ids(&["perp"]),
        window: TimeWindow::latest(10),
        funding_interval_hours: hours,
    };
    let reader = store.reader().unwrap();
    let count = |hours| reader.funding(&query(hours)).unwrap().len();
    assert_eq!(
        [count(None), count(Some(8)), count(Some(4)), count(Some(1))],
        [2, 1, 1, 0]
    );
}

fn providers_are_apart(store: &mut dyn Store) {
    let native = entity("btcusdt");
    let bridged = Arc::new(Entity {
        provider: "ccxt".to_owned(),
        ..(*native).clone()
    });
    let mut other = trade(&bridged, 1, T0);
    other.price = dec("5");
    put(
        store,
        vec![Row::Trade(trade(&native, 1, T0)), Row::Trade(other.clone())],
    );
    let reader = store.reader().unwrap();
    let mut query = trade_query(&["btcusdt"], TimeWindow::latest(10));
    assert_eq!(reader.trades(&query).unwrap(), [trade(&native, 1, T0)]);
    query.provider = "ccxt".to_owned();
    assert_eq!(reader.trades(&query).unwrap(), [other]);
    // Whatever kind of row it is; each once, by id.
    let rows = ["solusdt", "ethusdt", "btcusdt"].map(entity);
    put(
        store,
        vec![
            Row::Kline(kline(&rows[0], Level::M1, T0)),
            Row::Funding(funding(&rows[1], T0)),
            Row::Kline(kline(&rows[2], Level::M1, T0)),
        ],
    );
    let reader = store.reader().unwrap();
    let codes = |provider| -> Vec<String> {
        let found = reader.entities_of(provider).unwrap();
        found.into_iter().map(|entity| entity.code).collect()
    };
    assert_eq!(codes("binance"), ["btcusdt", "ethusdt", "solusdt"]);
    assert_eq!(codes("ccxt"), ["btcusdt"]);
    assert_eq!(codes("okx"), [""; 0]);
}

fn books_come_back(store: &mut dyn Store) {
    let (btc, eth) = (entity("btcusdt"), entity("ethusdt"));
    let levels = |side: &[(i64, i64)]| -> Box<[BookLevel]> {
        side.iter()
            .map(|&(price, qty)| BookLevel {
                price: Price(price),
                qty: Qty(qty),
            })
            .collect()
    };
    let book = |entity: &Arc<Entity>, ts| BookRow {
        entity: Arc::clone(entity),
        ts: TsNanos(ts),
        sequence: 7,
        price_scale: 2,
        qty_scale: 5,
        bids: levels(&[(6_173_763, 1), (6_173_762, 250_000), (1, i64::MAX)]),
        asks: levels(&[(6_173_764, 99), (6_200_000, 1)]),
    };
    let first = book(&btc, T0);
    let wide = BookRow {
        sequence: u64::MAX,
        price_scale: 18,
        qty_scale: 0,
        bids: levels(&[(i64::MAX, i64::MAX)]),
        asks: levels(&[]),
        ..book(&btc, T0 + 1)
    };
    let other = book(&eth, T0 + 1);
    let rows = [&first, &wide, &other].map(|row| Row::Book(row.clone()));
    put(store, rows.to_vec());
    let reader = store.reader().unwrap();
    let ask = |codes: &[&str], window, depth| {
        let query = BookQuery {
            provider: "binance".to_owned(),
            entity_ids: ids(codes),
            window,
            depth,
        };
        reader.books(&query).unwrap()
    };
    let all = TimeWindow::latest(9);
    assert_eq!(ask(&["btcusdt"], all, 10), [first.clone(), wide.clone()]);
    let both = ask(&["ethusdt", "btcusdt", "nope"], all, 10);
    assert_eq!(both, [first.clone(), wide.clone(), other]);
    let top = ask(
        &["btcusdt"],
        TimeWindow::between(TsNanos(T0), TsNanos(T0), 9),
        1,
    );
    assert_eq!(
        (&top[0].bids[..], &top[0].asks[..]),
        (&first.bids[..1], &first.asks[..1])
    );
    assert_eq!(ask(&["btcusdt"], TimeWindow::latest(1), 10), [wide]);
    // A later row of a key replaces; a repeated one changes nothing.
    let again = BookRow {
        asks: levels(&[(6_173_765, 1)]),
        ..first
    };
    put(
        store,
        vec![Row::Book(again.clone()), Row::Book(again.clone())],
    );
    let reader = store.reader().unwrap();
    let query = BookQuery {
        provider: "binance".to_owned(),
        entity_ids: ids(&["btcusdt"]),
        window: TimeWindow::between(TsNanos(0), TsNanos(T0), 9),
        depth: 10,
    };
    assert_eq!(reader.books(&query).unwrap(), [again]);
}

fn coverage_tells_what_is_missing(store: &mut dyn Store) {
    let btc = entity("btcusdt");
    let span = |start: i64, end: i64| Span {
        start: TsNanos(start),
        end: TsNanos(end),
    };
    let m1 = Series::Klines(Level::M1);
    let covered = |series, from, to| {
        Row::Coverage(CoverageRow {
            entity: Arc::clone(&btc),
            series,
            span: span(from, to),
        })
    };
    let missing = |store: &mut dyn Store, series, from, to| {
        store.flush().unwrap();
        let reader = store.reader().unwrap();
        reader
            .missing("binance", &btc.entity_id, series, span(from, to))
            .unwrap()
    };
    assert_eq!(
        missing(store, m1, 0, 100),
        [span(0, 100)],
        "nothing is known yet"
    );
    put(store, vec![covered(m1, 20, 30), covered(m1, 50, 60)]);
    assert_eq!(
        missing(store, m1, 0, 100),
        [span(0, 20), span(30, 50), span(60, 100)]
    );
    assert_eq!(missing(store, m1, 25, 55), [span(30, 50)]);
    assert_eq!(missing(store, m1, 21, 29), []);
    assert_eq!(missing(store, m1, 20, 30), []);
    assert_eq!(missing(store, m1, 19, 31), [span(19, 20), span(30, 31)]);
    assert_eq!(
        missing(store, m1, 30, 30),
        [],
        "an empty span misses nothing"
    );
    // Neighbours join, overlaps are swallowed, nothing is forgotten.
    put(
        store,
        vec![covered(m1, 30, 40), covered(m1, 45, 70), covered(m1, 0, 5)],
    );
    assert_eq!(
        missing(store, m1, 0, 100),
        [span(5, 20), span(40, 45), span(70, 100)]
    );
    put(
        store,
        vec![covered(m1, 3, 90), covered(m1, 50, 50), covered(m1, 60, 40)],
    );
    assert_eq!(missing(store, m1, 0, 100), [span(90, 100)]);
    // Series and entities are apart.
    for series in [Series::Klines(Level::M5), Series::Trades, Series::Funding] {
        assert_eq!(missing(store, series, 0, 100), [span(0, 100)]);
    }
    put(
        store,
        vec![
            covered(Series::Trades, 0, 10),
            covered(Series::Funding, 10, 20),
        ],
    );
    assert_eq!(missing(store, Series::Trades, 0, 20), [span(10, 20)]);
    assert_eq!(missing(store, Series::Funding, 0, 20), [span(0, 10)]);
    let reader = store.reader().unwrap();
    let other = reader.missing("binance", "nope", m1, span(0, 5)).unwrap();
    assert_eq!(other, [span(0, 5)]);
}

fn bars_before_a_window(store: &mut dyn Store) {
    let (btc, eth) = (entity("btcusdt"), entity("ethusdt"));
    let early = kline(&btc, Level::M1, T0);
    let late = kline(&btc, Level::M1, T0 + 5 * MINUTE);
    let rows = [&early, &late, &kline(&eth, Level::M1, T0 + 5 * MINUTE)];
    put(store, rows.map(|row| Row::Kline(row.clone())).to_vec());
    let reader = store.reader().unwrap();
    let from = |minute: i64| {
        let start = TsNanos(T0 + minute * MINUTE);
        let window = TimeWindow::between(start, TsNanos(i64::MAX), 9);
        let query = kline_query(&["btcusdt", "ethusdt"], Level::M1, window);
        reader.klines_before(&query).unwrap()
    };
    assert_eq!(from(5), [early], "the bar before, not the one at the start");
    assert_eq!(from(0), []);
    assert_eq!(from(9)[0], late);
    assert_eq!(from(9).len(), 2);
}

fn data_survive(fixture: &mut dyn Fixture) {
    let mut store = fixture.fresh();
    let btc = entity("btcusdt");
    let row = Row::Trade(trade(&btc, 1, T0));
    put(&mut *store, vec![row.clone()]);
    let mut store = fixture.reopen(store);
    assert_eq!(
        put(&mut *store, vec![row, Row::Trade(trade(&btc, 2, T0))]).known,
        1
    );
    let mut store = fixture.reopen(store);
    put(&mut *store, vec![Row::Trade(trade(&btc, 3, T0 - 1))]);
    let reader = store.reader().unwrap();
    reader.ping().unwrap();
    let found = trades(&*reader, &["btcusdt"], TimeWindow::latest(9));
    let expected = [
        trade(&btc, 3, T0 - 1),
        trade(&btc, 1, T0),
        trade(&btc, 2, T0),
    ];
    assert_eq!(found, expected);
}
