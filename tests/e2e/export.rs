//! Exported files, read by those who use them: pandas, polars and DuckDB get every value exactly.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bookwire_api::export::columns;
use bookwire_api::rest::schema::Schema;
use bookwire_engine::event::{BookLevel, Side};
use bookwire_engine::num::{Price, Qty};
use bookwire_engine::store::{
    BookRow, Entity, FundingRow, KlineRow, Row, Store, TradeId, TradeRow, open_embedded,
};
use bookwire_engine::time::{Level, TsNanos};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::rig::python;

/// A Python with the readers.
fn readers() -> Option<PathBuf> {
    python::find_with(
        "import pandas, pyarrow, polars, duckdb",
        "pandas, polars and DuckDB",
        "BOOKWIRE_REQUIRE_EXPORT_READERS",
        "python3 -m venv .venv && .venv/bin/pip install pandas==3.1.1 pyarrow==26.0.1 polars==2.1.0 duckdb==2.0.1",
    )
}

fn dec(text: &str) -> Decimal {
    text.parse().unwrap()
}

fn d(text: &str) -> Value {
    json!({ "d": text })
}

fn t(ts: i64) -> Value {
    json!({ "t": ts })
}

fn entity(entity_id: &str) -> Arc<Entity> {
    Arc::new(Entity {
        provider: "binance".to_owned(),
        entity_id: entity_id.to_owned(),
        code: entity_id.rsplit('_').next().unwrap().to_owned(),
    })
}

/// 2024-08-01T12:34:00Z.
const AT: i64 = 1_722_515_640_000_000_000;
const MINUTE: i64 = 60_000_000_000;
const SPOT: &str = "cryptopair_binance_btcusdt";
const PERP: &str = "cryptoperp_binance_1000pepeusdt";

fn trades() -> (Vec<Row>, Vec<Value>) {
    let cases = [
        ("7", "61737.63", "0.00001", Side::Buy, AT + 1_000_000),
        (
            "8",
            "0.000000000000000001",
            "79228162514.264337593543950335",
            Side::Sell,
            AT + 123_456_789,
        ),
        (
            "a,\"b\" é",
            "79228162514264337593",
            "0",
            Side::Sell,
            AT + 123_456_789,
        ),
        (
            "18446744073709551615",
            "100",
            "1.50",
            Side::Buy,
            AT + 2_000_000_000,
        ),
    ];
    let whose = entity(SPOT);
    let rows = cases.map(|(id, price, volume, side, ts)| {
        Row::Trade(TradeRow {
            entity: whose.clone(),
            ts: TsNanos(ts),
            trade_id: TradeId::parse(id),
            price: dec(price),
            volume: dec(volume),
            side,
        })
    });
    let expected = cases.map(|(id, price, volume, side, ts)| {
        json!({
            "id": format!("{SPOT}_{id}"), "entity_id": SPOT, "timestamp": t(ts),
            "provider": "binance", "code": "btcusdt", "trade_id": id, "price": d(price),
            "volume": d(volume), "side": side.as_str(), "is_buyer_maker": side == Side::Sell,
        })
    });
    (rows.to_vec(), expected.to_vec())
}

fn klines() -> (Vec<Row>, Vec<Value>) {
    // Open, close, base and quote volume, count; vwap and change against the bar before.
    let cases = [
        (
            0,
            "100",
            "110",
            "4",
            Some("430"),
            Some(321),
            Some("107.5"),
            "0.1",
        ),
        (
            1,
            "110",
            "121",
            "0.3",
            Some("1"),
            Some(1),
            Some("3.333333333333333"),
            "0.1",
        ),
        (2, "121", "60.5", "8", None, None, None, "-0.5"),
        (3, "60.5", "60.5", "0", Some("0"), Some(0), None, "0"),
    ];
    let whose = entity(SPOT);
    let rows = cases.map(|(minute, open, close, base, quote, count, _, _)| {
        Row::Kline(KlineRow {
            entity: whose.clone(),
            level: Level::M1,
            ts: TsNanos(AT + minute * MINUTE),
            open: dec(open),
            high: dec("200.000000000000000001"),
            low: dec("0.00000001"),
            close: dec(close),
            volume_base: dec(base),
            volume_quote: quote.map(dec),
            trade_count: count,
        })
    });
    let expected = cases.map(|(minute, open, close, base, quote, count, vwap, change)| {
        json!({
            "id": format!("{SPOT}_2024-08-01T12:{}:00Z", 34 + minute), "entity_id": SPOT,
            "timestamp": t(AT + minute * MINUTE), "provider": "binance", "code": "btcusdt",
            "name": null, "level": "1m", "open": d(open), "high": d("200.000000000000000001"),
            "low": d("0.00000001"), "close": d(close), "volume": d(base),
            "turnover": quote.map(d), "volume_base": d(base), "volume_quote": quote.map(d),
            "trade_count": count, "vwap": vwap.map(d), "change_pct": d(change),
            "turnover_rate": null,
        })
    });
    (rows.to_vec(), expected.to_vec())
}

fn funding() -> (Vec<Row>, Vec<Value>) {
    let rows = [0, 1].map(|at| {
        let is_full = at == 0;
        Row::Funding(FundingRow {
            entity: entity(PERP),
            ts: TsNanos(AT + at * 480 * MINUTE),
            funding_rate: dec("-0.000123456789"),
            predicted_rate: is_full.then(|| dec("0.000000000001")),
            funding_interval_hours: is_full.then_some(8),
            mark_price: is_full.then(|| dec("0.01234567")),
            index_price: None,
            next_funding_time: is_full.then_some(TsNanos(AT + 480 * MINUTE)),
        })
    });
    let expected = [0, 1].map(|at| {
        let is_full = at == 0;
        let time = if is_full { "12" } else { "20" };
        json!({
            "id": format!("{PERP}_2024-08-01T{time}:34:00.000Z"), "entity_id": PERP,
            "timestamp": t(AT + at * 480 * MINUTE), "provider": "binance", "code": "1000pepeusdt",
            "funding_rate": d("-0.000123456789"),
            "predicted_rate": is_full.then(|| d("0.000000000001")),
            "funding_interval_hours": is_full.then_some(8),
            "mark_price": is_full.then(|| d("0.01234567")), "index_price": null,
            "next_funding_timestamp": is_full.then(|| t(AT + 480 * MINUTE)),
        })
    });
    (rows.to_vec(), expected.to_vec())
}

fn books() -> (Vec<Row>, Vec<Value>) {
    let levels = |side: &[(i64, i64)]| -> Box<[BookLevel]> {
        side.iter()
            .map(|(price, qty)| BookLevel {
                price: Price(*price),
                qty: Qty(*qty),
            })
            .collect()
    };
    let book = |entity_id, ts, sequence, price_scale, bids, asks| {
        Row::Book(BookRow {
            entity: entity(entity_id),
            ts: TsNanos(ts),
            sequence,
            price_scale,
            qty_scale: 5,
            bids: levels(bids),
            asks: levels(asks),
        })
    };
    let rows = vec![
        book(
            SPOT,
            AT + 1,
            u64::MAX,
            2,
            &[(6_173_763, 150_000), (6_173_000, 1)],
            &[(6_173_764, 7)],
        ),
        book(SPOT, AT + 2, 1, 2, &[], &[(6_173_764, 7)]),
        book(
            PERP,
            AT,
            9_007_199_254_740_993,
            18,
            &[(1, 5)],
            &[(i64::MAX, i64::MAX)],
        ),
    ];
    let row = |entity_id: &str, code: &str, ts: i64, time: &str, sequence: u64| {
        json!({
            "id": format!("{entity_id}_2024-08-01T12:34:00.{time}Z"), "entity_id": entity_id,
            "timestamp": t(ts), "provider": "binance", "code": code, "sequence": sequence,
        })
    };
    let with = |mut row: Value, prices: [Option<&str>; 4], bids: Value, asks: Value| {
        let names = ["best_bid", "best_ask", "mid_price", "spread"];
        for (name, price) in names.into_iter().zip(prices) {
            row[name] = price.map(d).into();
        }
        row["bids"] = json!({ "l": bids });
        row["asks"] = json!({ "l": asks });
        row
    };
    let expected = vec![
        with(
            row(SPOT, "btcusdt", AT + 1, "000000001", u64::MAX),
            [
                Some("61737.63"),
                Some("61737.64"),
                Some("61737.635"),
                Some("0.01"),
            ],
            json!([["61737.63", "1.5"], ["61730", "0.00001"]]),
            json!([["61737.64", "0.00007"]]),
        ),
        with(
            row(SPOT, "btcusdt", AT + 2, "000000002", 1),
            [None, Some("61737.64"), None, None],
            json!([]),
            json!([["61737.64", "0.00007"]]),
        ),
        with(
            row(PERP, "1000pepeusdt", AT, "000", 9_007_199_254_740_993),
            [
                Some("0.000000000000000001"),
                Some("9.223372036854775807"),
                Some("4.611686018427387904"),
                Some("9.223372036854775806"),
            ],
            json!([["0.000000000000000001", "0.00005"]]),
            json!([["9.223372036854775807", "92233720368547.75807"]]),
        ),
    ];
    (rows, expected)
}

#[test]
fn pandas_polars_and_duckdb_read_what_was_stored() {
    let Some(python) = readers() else { return };
    let folder = tempfile::tempdir().unwrap();
    // It stays open: an export needs nobody to stop.
    let mut store = open_embedded(folder.path().join("bookwire.db")).unwrap();
    let mut files = Vec::new();
    for (schema, (rows, expected)) in [
        ("CryptoTrade", trades()),
        ("CryptoPair1mKdata", klines()),
        ("CryptoFunding", funding()),
        ("CryptoOrderbook", books()),
        // Nothing is stored of it.
        ("CryptoPerp1dKdata", (Vec::new(), Vec::new())),
    ] {
        store.write(&rows).unwrap();
        let path = |form: &str| folder.path().join(format!("{schema}.{form}"));
        for form in ["parquet", "csv"] {
            let output = Command::new(env!("CARGO_BIN_EXE_gateway-under-test"))
                .args([
                    "export",
                    "--schema",
                    schema,
                    "--provider",
                    "binance",
                    "--output",
                ])
                .arg(path(form))
                .arg("--data-dir")
                .arg(folder.path())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(0), "{said}");
            let count = format!("{} rows in ", expected.len());
            assert!(said.contains(&count), "{said}");
        }
        files.push(json!({
            "parquet": path("parquet"),
            "csv": path("csv"),
            "columns": columns(Schema::of_path(schema).unwrap()),
            "rows": expected,
        }));
    }
    let list = folder.path().join("expected.json");
    std::fs::write(&list, Value::from(files).to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("export/read.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&list)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    // 4 × 10, 4 × 19, 2 × 11 and 3 × 12 values, by seven readers.
    assert_eq!(said.trim(), (7 * (40 + 76 + 22 + 36)).to_string());
}
