//! Pages put together are the answer that is built whole.

use bookwire_engine::event::Side;
use bookwire_engine::store::{Embedded, Row, Store, open_embedded};
use bookwire_engine::wire::Numbers;
use rust_decimal::Decimal;

use super::*;
use crate::rest::answer::Listing;

const T0: i64 = 1_722_470_400_000_000_000;

fn entity(code: &str) -> Arc<Entity> {
    Arc::new(Entity {
        provider: "binance".to_owned(),
        entity_id: format!("cryptopair_binance_{code}"),
        code: code.to_owned(),
    })
}

fn trade(entity: &Arc<Entity>, id: u64, ts: i64) -> TradeRow {
    let trade_id = match id % 7 {
        0 => TradeId::Text(format!("x{id}").into()),
        _ => TradeId::Number(id),
    };
    TradeRow {
        entity: Arc::clone(entity),
        ts: TsNanos(ts),
        trade_id,
        price: Decimal::new(6_000_000 + i64::try_from(id).unwrap(), 2),
        volume: Decimal::new(1 + i64::try_from(id % 13).unwrap(), 5),
        side: if id.is_multiple_of(3) {
            Side::Sell
        } else {
            Side::Buy
        },
    }
}

/// Two instruments whose trades share instants; one instant has more of them than a page.
fn store(folder: &tempfile::TempDir) -> Embedded {
    let mut store = open_embedded(folder.path().join("test.db")).unwrap();
    let (btc, eth) = (entity("btcusdt"), entity("ethusdt"));
    let mut rows = Vec::new();
    for id in 0..5_000 {
        // Ids and times do not grow together.
        let place = (id * 7_919) % 5_000;
        rows.push(trade(
            &btc,
            id,
            T0 + i64::try_from(place / 40).unwrap() * 1_000_000,
        ));
        if id % 2 == 0 {
            rows.push(trade(
                &eth,
                id,
                T0 + i64::try_from(place / 40).unwrap() * 1_000_000,
            ));
        }
    }
    for id in 10_000..13_000 {
        rows.push(trade(&btc, id, T0 + 60_000_000));
    }
    let rows: Vec<Row> = rows.into_iter().map(Row::Trade).collect();
    store.write(&rows).unwrap();
    store
}

fn query(codes: &[&str], window: TimeWindow) -> TradeQuery {
    TradeQuery {
        provider: "binance".to_owned(),
        entity_ids: codes
            .iter()
            .map(|code| entity(code).entity_id.clone())
            .collect(),
        window,
        side: None,
        min_volume: None,
    }
}

fn shape(page: usize, page_size: usize, format: Format) -> Shape {
    Shape {
        limit: 100_000,
        page,
        page_size,
        format,
        numbers: Numbers::Number,
        columns: None,
        is_bare: false,
    }
}

#[test]
fn pages_put_together_are_the_whole_answer() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let reader = store.reader().unwrap();
    let all = TimeWindow::between(TsNanos(T0), TsNanos(i64::MAX), 100_000);
    let latest = TimeWindow::latest(7_000);
    let down = |window| TimeWindow {
        order: Order::Descending,
        ..window
    };
    let cut = TimeWindow {
        limit: 4_321,
        ..all
    };
    let both = ["btcusdt", "ethusdt"];
    let warned = ["`nope` is not listed".to_owned()];
    for (codes, window, warnings) in [
        (&both[..1], all, &[][..]),
        (&both[..], all, &warned[..]),
        (&both[..], down(all), &[]),
        (&both[..], latest, &[]),
        (&both[..1], down(latest), &[]),
        (&both[..], cut, &[]),
        (&both[..], down(cut), &warned[..]),
    ] {
        for (page, page_size, format) in [
            (1, 100_000, Format::Json),
            (1, 100_000, Format::Csv),
            (2, 2_111, Format::Json),
            (1, PAGE + 1, Format::Csv),
        ] {
            let asked = query(codes, window);
            let shape = shape(page, page_size, format);
            let rows = reader.trades(&asked).unwrap();
            let columns = shape.columns::<TradeView<'_>>().unwrap();
            let whole = Listing::encode(&shape, &columns, &rows, TradeView, warnings.to_vec());
            let outline = Outline::of(&asked, &shape, &rows, warnings).unwrap();
            assert!(outline.pages.len() > 1);
            let mut joined = Vec::new();
            for index in 0..outline.pages.len() {
                joined.extend_from_slice(&outline.page(&*reader, index).unwrap());
            }
            let same = joined == whole.body();
            assert!(same, "{codes:?} {window:?} {page} {page_size} {format:?}");
            assert_eq!(outline.facts.total, whole.facts().total);
            assert_eq!(outline.facts.has_more, whole.facts().has_more);
        }
    }
}

#[test]
fn a_small_page_of_a_large_result_is_built_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    let reader = store.reader().unwrap();
    let asked = query(&["btcusdt"], TimeWindow::latest(100_000));
    let rows = reader.trades(&asked).unwrap();
    for (page, page_size) in [(1, PAGE), (4, 2_600), (9, 1_000), (99, 5_000)] {
        let shape = shape(page, page_size, Format::Json);
        assert!(Outline::of(&asked, &shape, &rows, &[]).is_none());
    }
}

#[test]
fn trades_that_come_behind_the_answer_are_not_in_it_and_those_in_its_middle_end_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    let reader = store.reader().unwrap();
    let asked = query(&["btcusdt"], TimeWindow::latest(100_000));
    let shape = shape(1, 100_000, Format::Json);
    let rows = reader.trades(&asked).unwrap();
    let outline = Outline::of(&asked, &shape, &rows, &[]).unwrap();
    let last = outline.pages.len() - 1;
    let before = outline.page(&*reader, last).unwrap();
    let newest = rows.last().unwrap().ts.0;
    let btc = entity("btcusdt");
    let mut same_instant = trade(&btc, 20_001, newest);
    same_instant.trade_id = TradeId::Text("z".into());
    let behind = [same_instant, trade(&btc, 20_002, newest + 1)];
    store.write(&behind.map(Row::Trade)).unwrap();
    assert_eq!(outline.page(&*reader, last).unwrap(), before);
    store
        .write(&[Row::Trade(trade(&btc, 20_003, newest - 1))])
        .unwrap();
    let error = outline.page(&*reader, last).unwrap_err();
    assert!(error.message.contains("were added"), "{error}");
    assert!(
        outline.page(&*reader, 0).is_ok(),
        "the others are as they were"
    );
}

#[test]
fn what_has_waited_longest_makes_room() {
    let shelf = Shelf::with_places(2);
    let page = |byte: u8| Bytes::from(vec![byte; 10]);
    let (first, second) = (shelf.put(page(1)), shelf.put(page(2)));
    assert_eq!(shelf.len(), 2);
    let third = shelf.put(page(3));
    assert!(first.lock().is_none() && second.lock().is_some() && third.lock().is_some());
    // One that was taken needs no room.
    second.lock().take();
    let fourth = shelf.put(page(4));
    assert!(third.lock().is_some() && fourth.lock().is_some());
    drop((third, fourth));
    assert!(shelf.is_empty());
}
