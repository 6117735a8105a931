//! Requests and answers.

use super::super::{Okx, history, rest};
use super::instrument;
use crate::event::BookLevel;
use crate::exchange::{DecodeError, Exchange, PageRequest};
use crate::instrument::Market;
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

const fn ms(ms: i64) -> TsNanos {
    TsNanos::from_ms(ms)
}

#[test]
fn paths_and_budgets() {
    let spot = instrument(Market::Spot);
    let swap = instrument(Market::Perp);
    let budget = |request: &crate::exchange::RestRequest| {
        Okx.rest_budgets(Market::Spot)[request.budget].name
    };
    let check = |request: crate::exchange::RestRequest, path: &str, name: &str| {
        assert_eq!(request.path, format!("/api/v5/{path}"));
        assert_eq!((budget(&request), request.weight), (name, 1), "{path}");
    };
    let [list] = &rest::instruments(Market::Spot)[..] else {
        panic!()
    };
    check(
        list.clone(),
        "public/instruments?instType=SPOT",
        "instruments",
    );
    let [list, rates] = &rest::instruments(Market::Perp)[..] else {
        panic!()
    };
    check(
        list.clone(),
        "public/instruments?instType=SWAP",
        "instruments",
    );
    check(
        rates.clone(),
        "public/funding-rate?instId=ANY",
        "funding-rate",
    );
    // A deeper image would hold levels that no update ever takes away.
    check(
        rest::snapshot(&spot, 5000),
        "market/books?instId=BTC-USDT&sz=400",
        "books",
    );
    check(
        rest::snapshot(&swap, 20),
        "market/books?instId=BTC-USDT-SWAP&sz=20",
        "books",
    );
    check(rest::time(), "public/time", "time");
    let page = |start, end, limit| PageRequest {
        start,
        end,
        from_id: None,
        limit,
    };
    check(
        rest::klines(&spot, Level::D1, page(None, None, 1000)),
        "market/candles?instId=BTC-USDT&bar=1Dutc&limit=300",
        "candles",
    );
    check(
        rest::klines(&spot, Level::M1, page(Some(ms(60_000)), None, 10)),
        "market/candles?instId=BTC-USDT&bar=1m&before=59999&limit=10",
        "candles",
    );
    // OKX answers with the newest of a span: it is cut to a page that begins at the start.
    check(
        rest::klines(
            &spot,
            Level::M1,
            page(Some(ms(60_000)), Some(ms(60_000_000_000)), 500),
        ),
        "market/history-candles?instId=BTC-USDT&bar=1m&before=59999&after=6060000&limit=100",
        "history-candles",
    );
    check(
        rest::klines(&spot, Level::H1, page(None, Some(ms(3_600_000)), 5)),
        "market/history-candles?instId=BTC-USDT&bar=1H&after=3600001&limit=5",
        "history-candles",
    );
    check(
        rest::trades(&spot, page(None, None, 1000)),
        "market/trades?instId=BTC-USDT&limit=500",
        "trades",
    );
    let from_id = PageRequest {
        from_id: Some(700),
        limit: 1000,
        ..PageRequest::default()
    };
    check(
        rest::trades(&spot, from_id),
        "market/history-trades?instId=BTC-USDT&type=1&before=699&after=800&limit=100",
        "history-trades",
    );
    check(
        rest::trades(&spot, page(Some(TsNanos(1)), Some(TsNanos(2_500_000)), 7)),
        "market/history-trades?instId=BTC-USDT&type=2&before=0&after=3&limit=7",
        "history-trades",
    );
    check(
        rest::funding(&swap, page(Some(ms(10)), Some(ms(20)), 1000)),
        "public/funding-rate-history?instId=BTC-USDT-SWAP&before=9&after=21&limit=100",
        "funding-rate-history",
    );
    assert_eq!(Okx.funding_request(&spot, page(None, None, 1)), None);
}

#[test]
fn snapshots() {
    let swap = instrument(Market::Perp);
    let body = br#"{"code":"0","msg":"","data":[{"asks":[["29692.5","10","0","5"]],
        "bids":[["29692.4","2.5","0","2"]],"ts":"1654328918680","seqId":3235851742}]}"#;
    let image = history::snapshot(&swap, body).unwrap();
    let level = |price, qty| BookLevel {
        price: Price(price),
        qty: Qty(qty),
    };
    assert_eq!(
        (image.seq, image.ts_event),
        (3_235_851_742, Some(ms(1_654_328_918_680)))
    );
    // Price scale 3, quantity scale 5.
    assert_eq!(image.asks, [level(29_692_500, 10_000)]);
    assert_eq!(image.bids, [level(29_692_400, 2_500)]);
    let old = br#"{"code":"0","data":[{"asks":[],"bids":[],"ts":"1654328918680"}]}"#;
    let field = "seqId";
    assert_eq!(
        history::snapshot(&swap, old),
        Err(DecodeError::Field { field })
    );
    let cut = &body[..100];
    assert!(matches!(
        history::snapshot(&swap, cut),
        Err(DecodeError::Json { .. })
    ));
}

#[test]
fn bars_ascend_and_the_last_may_be_open() {
    let spot = instrument(Market::Spot);
    let body = br#"{"code":"0","msg":"","data":[
        ["1597026420000","3","4","2","3.5","10","30","30","0"],
        ["1597026360000","1","2","0.5","1.5","8","8","8","1"]]}"#;
    let now = ms(1_597_026_430_000);
    let bars = history::klines(&spot, Level::M1, body, now).unwrap();
    let told: Vec<_> = bars
        .iter()
        .map(|bar| (bar.open_time.as_ms(), bar.is_closed, bar.ts_event.as_ms()))
        .collect();
    assert_eq!(
        told,
        [
            (1_597_026_360_000, true, 1_597_026_420_000),
            (1_597_026_420_000, false, 1_597_026_430_000)
        ]
    );
    assert_eq!(bars[0].trade_count, None);
}

#[test]
fn trades_ascend() {
    let spot = instrument(Market::Spot);
    let body = br#"{"code":"0","msg":"","data":[
        {"instId":"BTC-USDT","side":"sell","sz":"0.00013669","px":"102537.9","tradeId":"734864334",
         "ts":"1747087163558"},
        {"instId":"BTC-USDT","side":"buy","sz":"0.1","px":"102537.8","tradeId":"734864333",
         "ts":"1747087163557"}]}"#;
    let trades = history::trades(&spot, body).unwrap();
    let times: Vec<i64> = trades.iter().map(|trade| trade.ts_event.as_ms()).collect();
    assert_eq!(times, [1_747_087_163_557, 1_747_087_163_558]);
    assert!(trades.iter().all(|trade| !trade.is_aggregate));
}

#[test]
fn the_charged_rate_counts() {
    let body = br#"{"code":"0","msg":"","data":[
        {"instType":"SWAP","instId":"BTC-USDT-SWAP","fundingRate":"0.0001515032",
         "realizedRate":"0.00015","fundingTime":"1704067200000"},
        {"instType":"SWAP","instId":"BTC-USDT-SWAP","fundingRate":"-0.0002","realizedRate":"",
         "fundingTime":"1704038400000"}]}"#;
    let rows = history::funding(body).unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.time.as_ms(), row.rate))
        .collect();
    assert_eq!(
        told,
        [
            (1_704_038_400_000, -200_000_000),
            (1_704_067_200_000, 150_000_000)
        ]
    );
}

#[test]
fn the_clock() {
    let body = br#"{"code":"0","msg":"","data":[{"ts":"1597026383085"}]}"#;
    assert_eq!(Okx.parse_time(body), Ok(ms(1_597_026_383_085)));
    assert!(Okx.parse_time(br#"{"code":"0","data":[]}"#).is_err());
}
