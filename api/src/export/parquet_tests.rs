use std::sync::Arc;

use bookwire_engine::event::Side;
use bookwire_engine::store::{Entity, TradeRow};
use bookwire_engine::time::TsNanos;
use bookwire_engine::wire::TradeView;
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::super::{columns, schemas};
use super::*;

fn about() -> About {
    About {
        schema: "CryptoTrade".to_owned(),
        provider: "binance".to_owned(),
    }
}

fn trade(id: u64, price: &str) -> TradeRow {
    TradeRow {
        entity: Arc::new(Entity {
            provider: "binance".to_owned(),
            entity_id: "cryptopair_binance_btcusdt".to_owned(),
            code: "btcusdt".to_owned(),
        }),
        ts: TsNanos(1_722_515_640_123_456_789),
        trade_id: id.into(),
        price: price.parse().unwrap(),
        volume: Decimal::ONE,
        side: Side::Sell,
    }
}

#[test]
fn every_column_of_every_schema_has_a_form() {
    for schema in schemas() {
        let names = columns(schema);
        assert!(!names.is_empty());
        for name in names {
            assert!(kind(name).is_some(), "{name}");
        }
        let sink = Parquet::new(names, &about(), Vec::new()).unwrap();
        let bytes = Bytes::from(sink.finish().unwrap());
        let file = SerializedFileReader::new(bytes).unwrap();
        assert_eq!(file.metadata().file_metadata().num_rows(), 0);
        let fields = file.metadata().file_metadata().schema().get_fields();
        let found: Vec<&str> = fields.iter().map(|field| field.name()).collect();
        assert_eq!(found, names);
    }
}

#[test]
fn numbers_fit_exactly_or_not_at_all() {
    let of = |mantissa, from, to| {
        fixed(mantissa, from, to).map(|bytes| i128::from_be_bytes(bytes.data().try_into().unwrap()))
    };
    assert_eq!(of(15, 1, 18), Ok(1_500_000_000_000_000_000));
    assert_eq!(of(-15, 1, 3), Ok(-1_500));
    // Trailing zeros are no digits.
    assert_eq!(of(1_500_000, 22, 18), Ok(150));
    let most = 10i128.pow(38) - 1;
    assert_eq!(of(most, 18, 18), Ok(most));
    assert_eq!(of(-most, 18, 18), Ok(-most));
    for (mantissa, from, to) in [
        (most + 1, 18, 18),
        (1, 19, 18),
        (10i128.pow(20), 0, 18),
        (i128::MAX, 0, 1),
        (79_228_162_514_264_337_593_543_950_335, 0, 18),
    ] {
        let misfit = Misfit::Digits { mantissa, from, to };
        assert_eq!(of(mantissa, from, to), Err(misfit));
    }
}

#[test]
fn a_row_that_does_not_fit_is_named() {
    let mut sink = Parquet::new(TradeView::COLUMNS, &about(), Vec::new()).unwrap();
    sink.row(&TradeView(&trade(1, "99999999999.999999999999999")))
        .unwrap();
    let row = trade(2, "0.0000000000000000001");
    let error = sink.row(&TradeView(&row)).unwrap_err().to_string();
    for part in [
        "cryptopair_binance_btcusdt_2: price is 0.0000000000000000001",
        "DECIMAL(38,18)",
        "--format csv",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn row_groups_are_bounded_and_the_file_says_what_it_is() {
    let mut sink = Parquet::new(TradeView::COLUMNS, &about(), Vec::new()).unwrap();
    let count = GROUP_ROWS + 1_000;
    for id in 0..count as u64 {
        sink.row(&TradeView(&trade(id, "61737.63"))).unwrap();
        assert!(sink.rows < GROUP_ROWS && sink.bytes < GROUP_BYTES + 1_000);
    }
    let bytes = sink.finish().unwrap();
    assert!(bytes.len() < count * 20, "{} bytes", bytes.len());
    let file = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let groups: Vec<i64> = file
        .metadata()
        .row_groups()
        .iter()
        .map(|group| group.num_rows())
        .collect();
    assert_eq!(groups.iter().sum::<i64>(), count as i64);
    assert!(groups.len() > 1 && groups.iter().all(|rows| *rows <= GROUP_ROWS as i64));
    let known = file.metadata().file_metadata();
    let entries = known.key_value_metadata().unwrap();
    let entry = |key: &str| {
        let found = entries.iter().find(|entry| entry.key == key);
        found.and_then(|entry| entry.value.as_deref())
    };
    assert_eq!(entry("bookwire.schema"), Some("CryptoTrade"));
    assert_eq!(entry("bookwire.provider"), Some("binance"));
    assert_eq!(entry("bookwire.version"), Some(env!("CARGO_PKG_VERSION")));
    let ids = file.get_row_iter(None).unwrap().map(|row| {
        use parquet::record::RowAccessor;
        let row = row.unwrap();
        assert_eq!(row.get_string(1).unwrap(), "cryptopair_binance_btcusdt");
        row.get_string(5).unwrap().clone()
    });
    assert!(ids.eq((0..count).map(|id| id.to_string())));
}
