use std::sync::Arc;

use bookwire_engine::event::Side;
use bookwire_engine::store::{Row, Store, open_embedded};
use bookwire_engine::time::Level;
use rust_decimal::Decimal;

use super::sink::{About, Format};
use super::*;

fn entity(entity_id: &str) -> Entity {
    let code = entity_id.rsplit('_').next().unwrap();
    Entity {
        provider: "binance".to_owned(),
        entity_id: entity_id.to_owned(),
        code: code.to_owned(),
    }
}

fn ids(schema: Schema, texts: &[&str]) -> Result<Vec<String>, String> {
    let stored = [
        "cryptopair_binance_btcusdt",
        "cryptopair_binance_ethusdt",
        "cryptoperp_binance_btcusdt",
        "cryptoperp_binance_solusdt",
    ];
    let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
    let chosen = choose(schema, stored.map(entity).to_vec(), &texts)?;
    Ok(chosen.into_iter().map(|entity| entity.entity_id).collect())
}

#[test]
fn symbols_are_found_in_every_spelling() {
    let spot = "cryptopair_binance_btcusdt";
    let perp = "cryptoperp_binance_btcusdt";
    for text in ["btcusdt", "BTC/USDT", " btc-usdt", "BTC_USDT", spot] {
        assert_eq!(ids(Schema::Trades, &[text]).unwrap(), [spot], "{text}");
    }
    for text in ["btcusdt-perp", "BTC-USDT-SWAP", "BTC/USDT:USDT", perp] {
        assert_eq!(ids(Schema::Trades, &[text]).unwrap(), [perp], "{text}");
    }
    // Where only the perpetual has rows, the bare code is the perpetual.
    let sol = ids(Schema::Trades, &["solusdt"]).unwrap();
    assert_eq!(sol, ["cryptoperp_binance_solusdt"]);
    assert_eq!(ids(Schema::Funding, &["btcusdt"]).unwrap(), [perp]);
    let bars = Schema::Klines(Market::Perp, Level::M1);
    assert_eq!(ids(bars, &["btcusdt"]).unwrap(), [perp]);
    assert_eq!(ids(bars, &[]).unwrap().len(), 2);
    assert_eq!(ids(Schema::Orderbook, &[]).unwrap().len(), 4);
    assert_eq!(
        ids(Schema::Trades, &["eth-usdt", "btcusdt", "BTCUSDT"]).unwrap(),
        [spot, "cryptopair_binance_ethusdt"],
        "sorted, each once"
    );
    let error = ids(Schema::Funding, &["ethusdt"]).unwrap_err();
    assert!(error.contains("ethusdt") && error.contains(perp), "{error}");
    let two = ["cryptopair_kraken_btcusd", "cryptopair_bitget_btcusd"].map(entity);
    let error = choose(Schema::Trades, two.to_vec(), &["btcusd".to_owned()]).unwrap_err();
    assert!(
        error.contains("kraken") && error.contains("--entity-ids"),
        "{error}"
    );
}

/// What pages of `size` make of rows with these instants.
fn paged(instants: &[i64], size: usize) -> Vec<Vec<i64>> {
    let mut found = Vec::new();
    let window = TimeWindow {
        start: Some(TsNanos(0)),
        end: None,
        limit: 0,
        order: Order::Ascending,
    };
    pages(
        window,
        size,
        |row: &TsNanos| *row,
        |window| {
            let rows = instants.iter().map(|ts| TsNanos(*ts));
            let rows = rows.filter(|ts| Some(*ts) >= window.start);
            Ok(rows.take(window.limit).collect())
        },
        |page| {
            found.push(page.iter().map(|ts| ts.0).collect());
            Ok(())
        },
    )
    .unwrap();
    found
}

#[test]
fn pages_hold_each_row_once_and_cut_no_instant() {
    assert_eq!(paged(&[], 3), [[0i64; 0]]);
    assert_eq!(paged(&[1, 2], 3), [[1, 2]]);
    assert_eq!(paged(&[1, 2, 3, 4], 3), [vec![1, 2], vec![3, 4]]);
    assert_eq!(paged(&[1, 2, 2, 2, 3], 3), [vec![1], vec![2, 2, 2, 3]]);
    assert_eq!(paged(&[2, 2, 2, 2, 2, 2, 2], 2), [[2; 7]]);
    for size in 2..9 {
        let instants: Vec<i64> = (0..60).map(|at| at * at / 97).collect();
        let pages = paged(&instants, size);
        assert_eq!(pages.concat(), instants, "{size}");
        for two in pages.windows(2) {
            assert_ne!(two[0].last(), two[1].first(), "{size}");
        }
    }
}

#[test]
fn only_a_range_is_written_and_a_stop_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = open_embedded(folder.path().join("rows.db")).unwrap();
    let whose = Arc::new(entity("cryptopair_binance_btcusdt"));
    let rows: Vec<Row> = (0..120_000u64)
        .map(|id| {
            Row::Trade(TradeRow {
                entity: whose.clone(),
                ts: TsNanos(1_000 + id as i64 / 3),
                trade_id: id.into(),
                price: Decimal::new(6_173_763, 2),
                volume: Decimal::new(id as i64, 5),
                side: Side::Sell,
            })
        })
        .collect();
    store.write(&rows).unwrap();
    let reader = store.reader().unwrap();
    let mut selection = Selection {
        schema: Schema::Trades,
        entities: vec![(*whose).clone()],
        start: None,
        end: None,
    };
    let about = About {
        schema: "CryptoTrade".to_owned(),
        provider: "binance".to_owned(),
    };
    let csv = |selection: &Selection, stop: bool| {
        let columns = columns(selection.schema);
        let mut sink = Sink::new(Format::Csv, columns, &about, Vec::new())?;
        let mut progress = |_| {
            if stop {
                Err(ExportError::Interrupted)
            } else {
                Ok(())
            }
        };
        let provider = ProviderId::BINANCE;
        let rows = write(&*reader, provider, selection, &mut sink, &mut progress)?;
        Ok::<_, ExportError>((rows, String::from_utf8(sink.finish()?).unwrap()))
    };
    // Three pages.
    let (count, text) = csv(&selection, false).unwrap();
    assert_eq!(count, 120_000);
    let ids: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(5).unwrap())
        .collect();
    let all: Vec<String> = (0..120_000).map(|id: u64| id.to_string()).collect();
    assert_eq!(ids, all, "each once, by time and id");
    let error = csv(&selection, true).unwrap_err();
    assert!(matches!(error, ExportError::Interrupted));
    (selection.start, selection.end) = (Some(TsNanos(1_001)), Some(TsNanos(1_001)));
    let (count, text) = csv(&selection, false).unwrap();
    assert_eq!(count, 3, "both ends belong to it");
    assert_eq!(
        text.lines().nth(1).unwrap(),
        "cryptopair_binance_btcusdt_3,cryptopair_binance_btcusdt,1970-01-01T00:00:00.000001001Z,\
         binance,btcusdt,3,61737.63,0.00003,sell,true"
    );
    selection.start = Some(TsNanos(i64::MAX));
    selection.end = None;
    let (count, text) = csv(&selection, false).unwrap();
    assert_eq!((count, text.lines().count()), (0, 1), "a header alone");
}
