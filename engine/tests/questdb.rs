//! The QuestDB store against a real server, which `tests/questdb/run` starts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "questdb/server.rs"]
mod server;

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bookwire_engine::store::suite::{self, Fixture, entity, trade};
use bookwire_engine::store::{
    CoverageRow, KlineQuery, KlineRow, Order, QuestDbOptions, QuestDbReader, Row, Secret, Series,
    Span, Store, StoreClass, StoreError, StoreReader, TimeWindow, TradeQuery, TradeRow,
    open_questdb,
};
use bookwire_engine::time::{Level, TsNanos};
use rust_decimal::Decimal;

use server::{Server, free_port, local};

const T0: i64 = 1_722_515_640_000_000_000;

/// Stores of one server, each with tables of its own.
struct Tables<'s> {
    server: &'s Server,
    stores: usize,
}

impl Tables<'_> {
    fn open(&self) -> Box<dyn Store> {
        let options = self.server.options(&format!("t{}_", self.stores));
        Box::new(open_questdb(options).unwrap())
    }
}

impl Fixture for Tables<'_> {
    fn fresh(&mut self) -> Box<dyn Store> {
        self.stores += 1;
        self.open()
    }

    fn seeds(&self) -> u64 {
        // Each store of the suite has tables to make and statements to compile.
        3
    }

    fn reopen(&mut self, store: Box<dyn Store>) -> Box<dyn Store> {
        drop(store);
        self.open()
    }
}

#[test]
fn passes_the_suite_of_all_stores() {
    let Some(server) = Server::shared() else {
        return;
    };
    let mut tables = Tables {
        server: &server,
        stores: 0,
    };
    suite::run(&mut tables);
}

fn latest(code: &str, limit: usize) -> TradeQuery {
    TradeQuery {
        provider: "binance".to_owned(),
        entity_ids: vec![entity(code).entity_id.clone()],
        window: TimeWindow::latest(limit),
        side: None,
        min_volume: None,
    }
}

fn one_trade() -> Vec<Row> {
    vec![Row::Trade(trade(&entity("btcusdt"), 1, T0))]
}

/// What a write and the flush after it failed with.
fn failure(store: &mut dyn Store) -> StoreError {
    match store.write(&one_trade()) {
        Ok(_) => store.flush().expect_err("it works"),
        Err(error) => error,
    }
}

#[test]
fn a_server_that_is_away_costs_no_start() {
    let options = QuestDbOptions {
        http: local(free_port()),
        pg: local(free_port()),
        password: Secret::new("hush-hush"),
        ..QuestDbOptions::default()
    };
    assert!(!format!("{options:?}").contains("hush"));
    let mut store = open_questdb(options).unwrap();
    store.flush().unwrap();
    let reader = store.reader().unwrap();
    let errors = [
        failure(&mut store),
        reader.trades(&latest("btcusdt", 1)).unwrap_err(),
        reader.ping().unwrap_err(),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{text}");
        assert_eq!(error.class(), StoreClass::Retry);
        assert!(text.contains("127.0.0.1:") && text.contains("store.questdb.pg"));
        assert!(text.contains("refused") && !text.contains("hush"), "{text}");
    }
}

#[test]
fn a_server_that_never_answers_is_an_error_and_no_hung_thread() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let options = QuestDbOptions {
        pg: local(silent.local_addr().unwrap().port()),
        request_timeout: Duration::from_millis(100),
        ..QuestDbOptions::default()
    };
    let reader = open_questdb(options).unwrap().reader().unwrap();
    let started = Instant::now();
    let error = reader.ping().unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    // No second connection while the first one hangs.
    for _ in 0..100 {
        reader.ping().unwrap_err();
    }
    assert!(started.elapsed() < Duration::from_secs(10));
    silent.set_nonblocking(true).unwrap();
    assert_eq!(silent.incoming().take_while(Result::is_ok).count(), 1);
}

#[test]
fn what_a_server_refuses_is_told_with_what_to_do() {
    let users = [
        ("QDB_HTTP_USER", "desk"),
        ("QDB_HTTP_PASSWORD", "hush-hush"),
        ("QDB_PG_USER", "desk"),
        ("QDB_PG_PASSWORD", "hush-hush"),
    ];
    let Some(mut server) = Server::start(&users) else {
        return;
    };
    let open = |server: &Server, password: &str| {
        open_questdb(QuestDbOptions {
            user: "desk".to_owned(),
            password: Secret::new(password),
            ..server.options("bookwire_")
        })
        .unwrap()
    };
    let error = failure(&mut open(&server, "wrong-word"));
    let text = error.to_string();
    assert!(matches!(error, StoreError::Denied { .. }), "{text}");
    assert_eq!(error.class(), StoreClass::Fatal);
    assert!(text.contains("BOOKWIRE_QUESTDB_PASSWORD") && !text.contains("wrong-word"));
    let mut store = open(&server, "hush-hush");
    store.write(&one_trade()).unwrap();
    store.flush().unwrap();
    let reader = store.reader().unwrap();
    assert_eq!(reader.trades(&latest("btcusdt", 9)).unwrap().len(), 1);

    // The password of HTTP alone is another one.
    server.kill();
    server.restart_with(&[&[("QDB_HTTP_PASSWORD", "other")], &users[2..], &users[..1]].concat());
    let another = |id: u64| [Row::Trade(trade(&entity("btcusdt"), id, T0 + 1))];
    let error = store.write(&another(2)).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");

    // Read-only: with the tables there, HTTP says it; without them, the first statement.
    server.kill();
    server.restart_with(&[&users[..], &[("QDB_READONLY", "true")]].concat());
    let error = store.write(&another(3)).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
    assert_eq!(error.class(), StoreClass::Fatal);
    assert_eq!(reader.trades(&latest("btcusdt", 9)).unwrap().len(), 1);
    let mut fresh = open_questdb(QuestDbOptions {
        user: "desk".to_owned(),
        password: Secret::new("hush-hush"),
        ..server.options("fresh_")
    })
    .unwrap();
    let error = failure(&mut fresh);
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error}");
}

#[test]
fn tables_that_are_not_as_they_should_be() {
    let Some(server) = Server::shared() else {
        return;
    };
    let open = |prefix: &str| open_questdb(server.options(prefix)).unwrap();

    // Somebody else's.
    server.execute("CREATE TABLE foreign_klines (ts TIMESTAMP, price DOUBLE)");
    let error = failure(&mut open("foreign_"));
    let text = error.to_string();
    assert!(matches!(error, StoreError::ForeignTable { .. }), "{text}");
    assert!(
        text.contains("`foreign_klines`") && text.contains("table_prefix"),
        "{text}"
    );

    // A newer program's.
    let mut store = open("newer_");
    store.write(&one_trade()).unwrap();
    server.execute("INSERT INTO newer_schema VALUES (0, 99)");
    let error = failure(&mut open("newer_"));
    assert!(
        matches!(error, StoreError::NewerTables { found: 99, .. }),
        "{error}"
    );

    // Suspended: rows are taken, and can't be read until somebody resumes.
    let mut store = open("suspended_");
    store.write(&one_trade()).unwrap();
    store.flush().unwrap();
    server.execute("ALTER TABLE suspended_trades SUSPEND WAL");
    store
        .write(&[Row::Trade(trade(&entity("btcusdt"), 2, T0 + 1))])
        .unwrap();
    let error = store.flush().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, StoreError::Suspended { .. }), "{text}");
    assert_eq!(error.class(), StoreClass::Fatal);
    let cure = "ALTER TABLE suspended_trades RESUME WAL";
    assert!(text.contains(cure), "{text}");
    server.execute(cure);
    store.flush().unwrap();
    let reader = store.reader().unwrap();
    assert_eq!(reader.trades(&latest("btcusdt", 9)).unwrap().len(), 2);

    // Dropped: made again as they have to be, not as the line protocol would guess.
    let mut store = open("dropped_");
    store.write(&one_trade()).unwrap();
    store.flush().unwrap();
    server.execute("DROP TABLE dropped_trades");
    let late = Row::Trade(trade(&entity("btcusdt"), 3, T0 + 2));
    store.write(&[late]).unwrap();
    store.flush().unwrap();
    let reader = store.reader().unwrap();
    let found = reader.trades(&latest("btcusdt", 9)).unwrap();
    assert_eq!(found, [trade(&entity("btcusdt"), 3, T0 + 2)]);
}

#[test]
fn a_match_told_with_two_precisions_is_one_row() {
    let Some(server) = Server::shared() else {
        return;
    };
    let mut store = open_questdb(server.options("twins_")).unwrap();
    let btc = entity("btcusdt");
    let precise = trade(&btc, 7, T0 + 123_456_789);
    let coarse = trade(&btc, 7, T0 + 123_000_000);
    let mut write = |row: &TradeRow| {
        let report = store.write(&[Row::Trade(row.clone())]).unwrap();
        store.flush().unwrap();
        (report.written, report.known)
    };
    assert_eq!(write(&precise), (1, 0));
    assert_eq!(write(&coarse), (0, 1));
    // The same out of the database instead of memory, and far behind the newest trade.
    let newest = trade(&btc, 90_000, T0 + 3_600_000_000_000);
    assert_eq!(write(&newest), (1, 0));
    let mut store = open_questdb(server.options("twins_")).unwrap();
    let report = store.write(&[Row::Trade(newest.clone()), Row::Trade(coarse)]);
    assert_eq!(report.unwrap().known, 2);
    store.flush().unwrap();
    let found = store.reader().unwrap().trades(&latest("btcusdt", 9));
    assert_eq!(found.unwrap(), [precise, newest]);
}

#[test]
fn rows_that_are_forgotten_are_promised_no_more() {
    const DAY: i64 = 86_400_000_000_000;
    let Some(server) = Server::shared() else {
        return;
    };
    let options = QuestDbOptions {
        keep_trades_days: 2,
        ..server.options("short_")
    };
    let mut store = open_questdb(options).unwrap();
    let btc = entity("btcusdt");
    let span = |start, end| Span {
        start: TsNanos(start),
        end: TsNanos(end),
    };
    let promise = Row::Coverage(CoverageRow {
        entity: Arc::clone(&btc),
        series: Series::Trades,
        span: span(T0, T0 + 5 * DAY),
    });
    let mut rows: Vec<Row> = (0..5)
        .map(|day| Row::Trade(trade(&btc, day as u64, T0 + day * DAY)))
        .collect();
    rows.push(promise);
    store.write(&rows).unwrap();
    store.flush().unwrap();
    let reader = store.reader().unwrap();
    let missing = reader.missing(
        "binance",
        &btc.entity_id,
        Series::Trades,
        span(T0, T0 + 5 * DAY),
    );
    // The newest trade is of the fourth day: two days before it are kept for certain.
    assert_eq!(missing.unwrap(), [span(T0, T0 + 2 * DAY)]);
    let found = reader.trades(&latest("btcusdt", 9)).unwrap();
    assert!(found.len() >= 3 && found.len() < 5, "{found:?}");
}

/// The server dies at any moment, and what it had accepted is there; what it had not is repeated.
#[test]
fn rows_survive_the_death_of_the_server() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let options = QuestDbOptions {
        request_timeout: Duration::from_secs(2),
        ..server.options("bookwire_")
    };
    let entities = ["aaa", "bbb", "ccc"].map(entity);
    let is_done = Arc::new(AtomicBool::new(false));
    let batches = Arc::new(AtomicUsize::new(0));
    let writer = std::thread::spawn({
        let (is_done, options) = (Arc::clone(&is_done), options.clone());
        let batches = Arc::clone(&batches);
        let entities = entities.clone();
        move || {
            let mut store = open_questdb(options).unwrap();
            let (mut expected, mut failed) = (Vec::new(), 0u32);
            let mut id = 0u64;
            while !is_done.load(Ordering::Relaxed) {
                let batch: Vec<Row> = (0..300)
                    .map(|_| {
                        id += 1;
                        let entity = &entities[(id % 3) as usize];
                        Row::Trade(trade(entity, id, T0 + id as i64 * 1_000_003))
                    })
                    .collect();
                // As the recorder does it: until it is taken.
                while let Err(error) = store.write(&batch) {
                    assert_eq!(error.class(), StoreClass::Retry, "{error}");
                    failed += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                expected.extend(batch);
                batches.fetch_add(1, Ordering::Relaxed);
            }
            while store.flush().is_err() {
                std::thread::sleep(Duration::from_millis(20));
            }
            (expected, failed)
        }
    });
    let more_batches = |count: usize| {
        let wanted = batches.load(Ordering::Relaxed) + count;
        let deadline = Instant::now() + Duration::from_secs(60);
        while batches.load(Ordering::Relaxed) < wanted {
            assert!(Instant::now() < deadline, "no batch is taken");
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    for (count, micros) in [(10, 700), (3, 3_100)] {
        more_batches(count);
        std::thread::sleep(Duration::from_micros(micros));
        server.kill();
        server.restart();
    }
    more_batches(3);
    is_done.store(true, Ordering::Relaxed);
    let (expected, failed) = writer.join().unwrap();
    assert!(failed > 0, "the deaths were not noticed");
    let query = TradeQuery {
        entity_ids: entities.map(|entity| entity.entity_id.clone()).to_vec(),
        ..latest("aaa", usize::MAX)
    };
    let reader = open_questdb(options).unwrap().reader().unwrap();
    let found: Vec<Row> = reader
        .trades(&query)
        .unwrap()
        .into_iter()
        .map(Row::Trade)
        .collect();
    // Times grow with the ids: the order of writing is the order of the answer.
    assert_eq!(found.len(), expected.len());
    assert!(found == expected);
}

/// Minutes drawn from a seed: holes, quiet ones, values that are not told.
fn minutes(seed: u64, from: i64, count: i64) -> Vec<Row> {
    let mut state = seed;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % 1_000
    };
    let entity = entity("btcusdt");
    let mut rows = Vec::new();
    for minute in from..from + count {
        // The second day has no holes.
        if next() < 3 && minute < 1_440 {
            continue;
        }
        let mut price = || Decimal::new(1_000_000 + i64::try_from(next()).unwrap(), 2);
        let (open, high, low, close) = (price(), price(), price(), price());
        let volume_base = match next() {
            0..=150 => Decimal::ZERO,
            volume => Decimal::new(i64::try_from(volume).unwrap(), 20),
        };
        rows.push(Row::Kline(KlineRow {
            entity: Arc::clone(&entity),
            level: Level::M1,
            ts: TsNanos(DAY0 + minute * MINUTE),
            open,
            high,
            low,
            close,
            volume_base,
            volume_quote: (next() > 2).then(|| Decimal::new(i64::try_from(next()).unwrap(), 25)),
            trade_count: Some(next()).filter(|count| *count > 2),
        }));
    }
    rows
}

const MINUTE: i64 = 60_000_000_000;
/// 2024-08-01.
const DAY0: i64 = 1_722_470_400_000_000_000;

/// Waits until the views have taken everything in, and compares what they say with what the code says.
fn same_by_views(with: &QuestDbReader, without: &dyn StoreReader, what: &str) {
    let windows = [
        TimeWindow::latest(10_000),
        TimeWindow::latest(3),
        TimeWindow::between(
            TsNanos(DAY0 + 7 * MINUTE),
            TsNanos(DAY0 + 2_000 * MINUTE),
            50,
        ),
        TimeWindow {
            order: Order::Descending,
            ..TimeWindow::between(TsNanos(DAY0), TsNanos(DAY0 + 2_700 * MINUTE), 7)
        },
    ];
    let end = Instant::now() + Duration::from_secs(60);
    for level in [
        Level::M5,
        Level::M15,
        Level::M30,
        Level::H1,
        Level::H4,
        Level::D1,
    ] {
        // All of them with the shortest and the longest bars: the code reads every minute each time.
        let count = if [Level::M5, Level::D1].contains(&level) {
            4
        } else {
            1
        };
        for window in windows.into_iter().take(count) {
            let query = KlineQuery {
                provider: "binance".to_owned(),
                entity_ids: vec![entity("btcusdt").entity_id.clone()],
                level,
                window,
            };
            let expected = without.rolled_up(&query).unwrap();
            let found = loop {
                if let Some(found) = with.rolled_up_by_views(&query).unwrap() {
                    break found;
                }
                assert!(Instant::now() < end, "{what}: {level} is not refreshed");
                std::thread::sleep(Duration::from_millis(50));
            };
            assert_eq!(found, expected, "{what}: {level} {window:?}");
            assert_eq!(with.rolled_up(&query).unwrap(), expected);
        }
    }
}

#[test]
fn views_say_what_the_code_says() {
    let Some(server) = Server::shared() else {
        return;
    };
    let options = QuestDbOptions {
        materialized_views: true,
        ..server.options("views_")
    };
    let mut store = open_questdb(options.clone()).unwrap();
    let with = store.own_reader();
    let without = open_questdb(QuestDbOptions {
        materialized_views: false,
        ..options
    })
    .unwrap();
    let without = without.reader().unwrap();
    store.write(&minutes(1, 0, 2_880)).unwrap();
    store.flush().unwrap();
    same_by_views(&with, &*without, "first");
    // A hole is promised to have been quiet; minutes are corrected; others come late.
    let promise = Row::Coverage(CoverageRow {
        entity: entity("btcusdt"),
        series: Series::Klines(Level::M1),
        span: Span {
            start: TsNanos(DAY0),
            end: TsNanos(DAY0 + 1_000 * MINUTE),
        },
    });
    store.write(&[promise]).unwrap();
    store.write(&minutes(2, 1_400, 400)).unwrap();
    store.write(&minutes(3, -20_000, 300)).unwrap();
    store.flush().unwrap();
    same_by_views(&with, &*without, "corrected");
    // A sum that no number holds is the code's error.
    let huge = (0..5).map(|minute| {
        let mut rows = minutes(4, 5_000 + minute, 1);
        if let Row::Kline(row) = &mut rows[0] {
            row.volume_base = "50000000000000000000000000000".parse().unwrap();
        }
        rows.remove(0)
    });
    store.write(&huge.collect::<Vec<_>>()).unwrap();
    store.flush().unwrap();
    let query = KlineQuery {
        provider: "binance".to_owned(),
        entity_ids: vec![entity("btcusdt").entity_id.clone()],
        level: Level::M5,
        window: TimeWindow::latest(1),
    };
    let error = with.rolled_up(&query).unwrap_err();
    assert!(error.to_string().contains("volume_base"), "{error}");
}
