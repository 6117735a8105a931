//! Every recorded list of instruments through its parser: each row is mapped or counted with a
//! reason.

use std::path::Path;

use bookwire_engine::exchange::{DecodeError, ProviderId};
use bookwire_engine::instrument::{InstrumentTable, Market};
use serde_json::Value;

use crate::support::{BYBIT_LIST, OKX_LIST, captures, lines};

/// Where a recorded list of instruments is and what becomes of its rows.
struct List {
    file: &'static str,
    /// Word in the URL of the answer; empty: the file is the bare list.
    url: &'static str,
    provider: &'static str,
    market: Market,
    rows: usize,
    mapped: usize,
    active: usize,
    left_out: &'static [(&'static str, usize)],
}

const fn list(
    (file, url): (&'static str, &'static str),
    provider: &'static str,
    market: Market,
    (rows, mapped, active): (usize, usize, usize),
    left_out: &'static [(&'static str, usize)],
) -> List {
    List {
        file,
        url,
        provider,
        market,
        rows,
        mapped,
        active,
        left_out,
    }
}

const COINBASE_LIST: &str = "coinbase_advtrade_rest_products_20260809.jsonl.gz";
/// Products of the interface that is not served: refused as a whole, see the test of it.
const COINBASE_EXCHANGE_LIST: &str = "coinbase_exchange_rest_products_20210417.jsonl";

const LISTS: &[List] = &[
    list(
        ("binance_spot_rest_4alts_20210814.jsonl.gz", "exchangeInfo"),
        "binance",
        Market::Spot,
        (1589, 1589, 1153),
        &[],
    ),
    list(
        ("binance_usdm_rest_4alts_20210722.jsonl", "exchangeInfo"),
        "binance",
        Market::Perp,
        (122, 119, 119),
        &[
            ("contract type CURRENT_QUARTER", 2),
            ("contract type not given", 1),
        ],
    ),
    list(
        (OKX_LIST, "SPOT"),
        "okx",
        Market::Spot,
        (509, 509, 509),
        &[],
    ),
    list(
        (OKX_LIST, "SWAP"),
        "okx",
        Market::Perp,
        (162, 122, 122),
        &[("inverse contract", 40)],
    ),
    list(
        (OKX_LIST, "FUTURES"),
        "okx",
        Market::Perp,
        (104, 0, 0),
        &[("dated contract", 104)],
    ),
    list(
        ("okx_spot_instruments_20250508.json.gz", ""),
        "okx",
        Market::Spot,
        (776, 776, 775),
        &[],
    ),
    list(
        ("okx_swap_instruments_20250508.json.gz", ""),
        "okx",
        Market::Perp,
        (284, 254, 254),
        &[("inverse contract", 30)],
    ),
    list(
        (BYBIT_LIST, "category=spot"),
        "bybit",
        Market::Spot,
        (557, 557, 557),
        &[],
    ),
    list(
        (BYBIT_LIST, "category=linear"),
        "bybit",
        Market::Perp,
        (800, 760, 760),
        &[("contract type LinearFutures", 40)],
    ),
    list(
        (COINBASE_LIST, "products"),
        "coinbase",
        Market::Spot,
        (920, 520, 516),
        &[("alias of another product", 400)],
    ),
];

/// The answer of a list, and how many rows it has.
fn body(folder: &Path, file: &str, url: &str) -> (Vec<u8>, usize) {
    let rows = lines(&folder.join(file));
    let body = if url.is_empty() {
        // The collector kept the list without the envelope around it.
        [
            b"{\"code\":\"0\",\"msg\":\"\",\"data\":",
            &rows.concat()[..],
            b"}",
        ]
        .concat()
    } else {
        let wrapped = rows
            .iter()
            .map(|row| serde_json::from_slice::<Value>(row).unwrap());
        let mut wanted = wrapped.filter(|row| row["url"].as_str().unwrap().contains(url));
        let row = wanted.next().unwrap();
        assert!(wanted.next().is_none(), "{file}: more than one {url}");
        row["raw"].as_str().unwrap().as_bytes().to_vec()
    };
    let parsed: Value = serde_json::from_slice(&body).unwrap();
    let places = ["/symbols", "/data", "/result/list", "/products", ""];
    let mut lists = places
        .iter()
        .filter_map(|place| parsed.pointer(place)?.as_array());
    let rows = lists.next().unwrap().len();
    (body, rows)
}

#[test]
fn every_recorded_instrument_is_mapped_or_counted_with_a_reason() {
    let Some(folder) = captures() else { return };
    for row in LISTS {
        let place = format!("{} {}", row.file, row.url);
        let (body, rows) = body(&folder, row.file, row.url);
        let provider = ProviderId::parse(row.provider).unwrap();
        let parsed = provider.exchange().parse_instruments(row.market, &[body]);
        let (specs, left_out) = parsed.unwrap();
        let active = specs.iter().filter(|spec| spec.is_active).count();
        let expected = (row.rows, row.mapped, row.active);
        assert_eq!((rows, specs.len(), active), expected, "{place}");
        let mut left_out: Vec<(&str, usize)> = left_out
            .iter()
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect();
        left_out.sort_unstable();
        assert_eq!(left_out, row.left_out, "{place}");
        let missing: usize = left_out.iter().map(|(_, count)| count).sum();
        assert_eq!(rows, specs.len() + missing, "{place}: a row is neither");
        // Every one can be asked for by its public name.
        let table = InstrumentTable::default().with_market(provider, row.market, specs.clone());
        assert!(table.collisions().is_empty(), "{place}");
        for spec in &specs {
            let known = table.by_native(provider, row.market, &spec.native_symbol);
            assert!(known.is_some(), "{place}: {}", spec.native_symbol);
        }
    }
}

/// A file of lists that is not in the table would be a row that nobody looked at.
#[test]
fn every_recorded_list_of_instruments_is_in_the_table() {
    let Some(folder) = captures() else { return };
    let entries = std::fs::read_dir(&folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_list = |name: &String| name.contains("_rest_") || name.contains("_instruments_");
    let mut found: Vec<String> = names.filter(is_list).collect();
    found.sort_unstable();
    let mut known: Vec<&str> = LISTS.iter().map(|row| row.file).collect();
    known.push(COINBASE_EXCHANGE_LIST);
    known.sort_unstable();
    known.dedup();
    assert_eq!(found, known);
}

#[test]
fn products_of_the_older_coinbase_interface_are_refused() {
    let Some(folder) = captures() else { return };
    let (body, rows) = body(&folder, COINBASE_EXCHANGE_LIST, "products");
    assert_eq!(rows, 162);
    let coinbase = ProviderId::COINBASE.exchange();
    let refused = coinbase.parse_instruments(Market::Spot, &[body]);
    assert_eq!(refused, Err(DecodeError::Field { field: "products" }));
}
