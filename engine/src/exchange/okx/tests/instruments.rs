//! Instrument lists: units, reasons, recorded lists.

use std::collections::BTreeMap;
use std::io::Read;

use rust_decimal::Decimal;

use super::super::instruments::parse;
use super::captures::{capture, lines, raw};
use super::{SWAP, instrument};
use crate::instrument::Market;
use crate::time::TsNanos;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

#[test]
fn swaps_are_told_in_base_units() {
    let rates = br#"{"code":"0","data":[{"instId":"BTC-USDT-SWAP","fundingTime":"1700726400000",
        "nextFundingTime":"1700740800000","fundingRate":"0.0001"},
        {"instId":"ETH-USDT-SWAP","fundingTime":"1700726400000","nextFundingTime":""}],"msg":""}"#;
    let bodies = [SWAP.as_bytes().to_vec(), rates.to_vec()];
    let (specs, left_out) = parse(Market::Perp, &bodies).unwrap();
    assert_eq!((specs.len(), left_out.len()), (1, 0));
    let swap = &specs[0];
    assert_eq!((&*swap.base_symbol, &*swap.quote_symbol), ("BTC", "USDT"));
    assert_eq!(swap.settlement_symbol.as_deref(), Some("USDT"));
    assert_eq!(swap.contract_size, decimal("0.01"));
    assert_eq!(swap.qty_step, decimal("0.0001"));
    assert_eq!(swap.min_qty, Some(decimal("0.0001")));
    assert_eq!(swap.max_qty, Some(decimal("1000000")));
    assert_eq!(swap.price_step, decimal("0.1"));
    assert_eq!(swap.min_notional, None);
    assert_eq!(swap.max_leverage, Some(100));
    assert_eq!(swap.funding_interval_hours, Some(4));
    assert_eq!(swap.list_date, Some(TsNanos::from_ms(1_573_557_408_000)));
    assert!(swap.is_active && swap.margin_enabled);
    assert_eq!(instrument(Market::Perp).stream_symbol(), "btcusdt-perp");
    assert_eq!(
        instrument(Market::Spot).entity_id(),
        "cryptopair_okx_btcusdt"
    );
}

#[test]
fn rows_are_left_out_for_a_reason() {
    let row = |changes: &[(&str, &str)]| {
        let mut row: BTreeMap<String, serde_json::Value> = serde_json::from_str(SWAP)
            .map(|list: serde_json::Value| serde_json::from_value(list["data"][0].clone()).unwrap())
            .unwrap();
        for (name, value) in changes {
            row.insert((*name).to_owned(), (*value).into());
        }
        serde_json::to_string(&row).unwrap()
    };
    let check = |row: &str, expected: &str| {
        let list = format!(r#"{{"code":"0","data":[{row}],"msg":""}}"#);
        let (specs, left_out) = parse(Market::Perp, &[list.into_bytes()]).unwrap();
        assert_eq!(specs, [], "{row}");
        assert_eq!(left_out, [(expected.to_owned(), 1)], "{row}");
    };
    check(&row(&[("ctType", "inverse")]), "inverse contract");
    check(&row(&[("instType", "FUTURES")]), "dated contract");
    check(&row(&[("instType", "OPTION")]), "instrument type OPTION");
    check(&row(&[("ctVal", "")]), "no contract value");
    check(
        &row(&[("ctValCcy", "ETH")]),
        "contract value not in the base asset",
    );
    check(
        &row(&[("settleCcy", "USDC")]),
        "not settled in the quote asset",
    );
    check(&row(&[("uly", ""), ("instFamily", "")]), "no underlying");
    check(&row(&[("tickSz", "")]), "no price or quantity step");
    check(
        &row(&[("tickSz", ""), ("lotSz", ""), ("state", "preopen")]),
        "not open yet and without steps",
    );
    check(
        r#"{"instId":"NEW-USDT-SWAP","instType":"SWAP","state":"preopen"}"#,
        "not open yet and without steps",
    );
    check(r#"{"instType":"SWAP"}"#, "row can't be read");
    check("5", "row can't be read");
}

/// Every row of every recorded list is an instrument or has a reason.
#[test]
fn recorded_lists_load_whole() {
    let mut lists: Vec<(Market, &str, Vec<u8>)> = Vec::new();
    for (market, name) in [
        (Market::Spot, "okx_spot_instruments_20250508.json.gz"),
        (Market::Perp, "okx_swap_instruments_20250508.json.gz"),
    ] {
        let Some(packed) = capture(name) else { return };
        let mut rows = Vec::new();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut rows)
            .unwrap();
        // The envelope was lost at the source.
        let mut body = br#"{"code":"0","data":"#.to_vec();
        body.extend(rows);
        body.push(b'}');
        lists.push((market, name, body));
    }
    let Some(old) = capture("okx_rest_instruments_20220228.jsonl") else {
        return;
    };
    let markets = [Market::Spot, Market::Perp, Market::Perp];
    for (line, market) in lines(&old).zip(markets) {
        lists.push((market, "2022", raw(line)));
    }
    let expected = [
        // One of them opens later, and has its steps already.
        (776, 0),
        (254, 30),
        (509, 0),
        // 40 inverse ones.
        (122, 40),
        // Dated ones, all of them.
        (0, 104),
    ];
    assert_eq!(lists.len(), expected.len());
    for ((market, name, body), (mapped, out)) in lists.into_iter().zip(expected) {
        let (specs, left_out) = parse(market, &[body]).unwrap();
        let left: usize = left_out.iter().map(|(_, count)| count).sum();
        assert!(!specs.iter().any(|spec| spec.qty_step <= Decimal::ZERO));
        let known = ["inverse contract", "dated contract"];
        assert!(
            left_out
                .iter()
                .all(|(reason, _)| known.contains(&&**reason)),
            "{name}: {left_out:?}"
        );
        assert_eq!((specs.len(), left), (mapped, out), "{name}: {left_out:?}");
    }
}
