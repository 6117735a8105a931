//! `bookwire export` as users call it: what it accepts, and what it leaves behind.

use std::path::Path;
use std::sync::Arc;

use bookwire_engine::event::Side;
use bookwire_engine::store::{Embedded, Entity, Row, Store, TradeRow, open_embedded};
use bookwire_engine::time::TsNanos;

use super::{bookwire, check, run, text};

fn store(folder: &Path, price: &str) -> Embedded {
    let mut store = open_embedded(folder.join("bookwire.db")).unwrap();
    let entity = Arc::new(Entity {
        provider: "binance".to_owned(),
        entity_id: "cryptopair_binance_btcusdt".to_owned(),
        code: "btcusdt".to_owned(),
    });
    let rows = [1u64, 2, 3].map(|id| {
        Row::Trade(TradeRow {
            entity: entity.clone(),
            ts: TsNanos(1_722_515_640_000_000_000 + id as i64 * 1_000_000_000),
            trade_id: id.into(),
            price: price.parse().unwrap(),
            volume: 1.into(),
            side: Side::Buy,
        })
    });
    store.write(&rows).unwrap();
    store
}

#[test]
fn what_is_wrong_is_named_with_what_is_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let with = |words: &[&str]| {
        let mut args = vec!["export"];
        args.extend_from_slice(words);
        args.extend_from_slice(&["--data-dir", data]);
        args.iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let says = |words: &[&str], code: i32, says: &str| {
        let words = with(words);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        check(&words, code, says);
    };
    let trades = ["--schema", "CryptoTrade", "--provider", "binance"];
    let of = |more: &[&'static str]| [&trades[..], more].concat();
    says(&["--provider", "binance"], 2, "--schema");
    let wrong = [
        "--schema",
        "CryptoPair",
        "--provider",
        "binance",
        "--format",
        "csv",
    ];
    says(&wrong, 2, "CryptoPerp1dKdata");
    let wrong = [
        "--schema",
        "CryptoTrade",
        "--provider",
        "mtgox",
        "--format",
        "csv",
    ];
    says(&wrong, 2, "one of binance");
    says(&of(&[]), 2, "--format");
    says(&of(&["--format", "xls"]), 2, "parquet, csv");
    says(&of(&["--format", "csv", "--start", "soon"]), 2, "--start");
    let wrong = [
        "--format",
        "csv",
        "--start",
        "2024-01-02",
        "--end",
        "2024-01-01",
    ];
    says(&of(&wrong), 2, "not after --end");
    says(&of(&["--format", "csv"]), 1, "--data-dir");
    assert!(!dir.path().join("bookwire.db").exists(), "it only reads");

    let _open = store(dir.path(), "100");
    let unknown = ["--format", "csv", "--codes", "ethusdt"];
    says(&of(&unknown), 2, "cryptopair_binance_btcusdt");
    says(
        &of(&["--format", "csv", "--codes", "BTC/USDT"]),
        0,
        "3 rows",
    );
    let range = [
        "--format",
        "csv",
        "--start",
        "2024-08-01T12:34:02Z",
        "--end",
        "2024-08-01T12:34:03Z",
    ];
    says(&of(&range), 0, "2 rows");
}

#[test]
fn a_file_is_whole_or_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    // Too fine for a Parquet column.
    let _open = store(&data, "0.0000000000000000001");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    let export = |file: &str, more: &[&str]| {
        bookwire()
            .args(["export", "--schema", "CryptoTrade", "--provider", "binance"])
            .arg("--output")
            .arg(out.join(file))
            .arg("--data-dir")
            .arg(&data)
            .args(more)
            .output()
            .unwrap()
    };
    let left = || std::fs::read_dir(&out).unwrap().count();
    if cfg!(feature = "parquet") {
        let output = export("a.parquet", &[]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("cryptopair_binance_btcusdt_1: price is"),
            "{said}"
        );
        assert_eq!(left(), 0, "nothing half done is left");
    } else {
        let output = export("a.parquet", &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains("--features parquet"));
    }
    let output = export("a.csv", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("3 rows in "));
    let whole = std::fs::read_to_string(out.join("a.csv")).unwrap();
    assert_eq!(whole.lines().count(), 4);
    assert!(
        whole.contains(",0.0000000000000000001,1,buy,false\r\n"),
        "{whole}"
    );

    std::fs::write(out.join("a.csv"), "precious").unwrap();
    let output = export("a.csv", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--overwrite"));
    assert_eq!(std::fs::read(out.join("a.csv")).unwrap(), b"precious");
    assert_eq!(export("a.csv", &["--overwrite"]).status.code(), Some(0));
    assert_eq!(std::fs::read_to_string(out.join("a.csv")).unwrap(), whole);
    assert_eq!(left(), 1);
    let output = export("none/a.csv", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("none"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_damaged_store_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("bookwire.db"), [0xa5; 8192]).unwrap();
    let output = run(&[
        "export",
        "--schema",
        "CryptoTrade",
        "--provider",
        "binance",
        "--format",
        "csv",
        "--data-dir",
        dir.path().to_str().unwrap(),
    ]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged"), "{said}");
}
