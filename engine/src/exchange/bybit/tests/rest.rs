//! REST requests and answers.

use crate::event::{Side, TradeId};
use crate::exchange::{DecodeError, Exchange as _, PageRequest};
use crate::instrument::{Instrument, Market};
use crate::num::{Price, Qty};
use crate::time::{Level, TsNanos};

use super::super::Bybit;
use super::{instrument, level, spec};

fn btc(market: Market) -> Instrument {
    instrument(spec(market, "BTC", "USDT", 2, 6))
}

fn page(start_ms: Option<i64>, end_ms: Option<i64>, limit: u32) -> PageRequest {
    PageRequest {
        start: start_ms.map(TsNanos::from_ms),
        end: end_ms.map(TsNanos::from_ms),
        from_id: None,
        limit,
    }
}

fn answer(result: &str) -> Vec<u8> {
    format!(r#"{{"retCode":0,"retMsg":"OK","result":{result},"retExtInfo":{{}},"time":1}}"#)
        .into_bytes()
}

/// Answers come newest first: a span with more rows than fit would lose its oldest ones, so that
/// it is cut at its other end.
#[test]
fn bars_are_asked_for_in_spans_that_fit() {
    let path = |page, level| {
        let request = Bybit.kline_request(&btc(Market::Perp), level, page);
        let path = request.unwrap().path;
        path.strip_prefix("/v5/market/kline?category=linear&symbol=BTCUSDT&")
            .unwrap()
            .to_owned()
    };
    for (asked, level, expected) in [
        (page(None, None, 5), Level::M1, "interval=1&limit=5"),
        (
            page(None, Some(600_000), 5000),
            Level::H4,
            "interval=240&end=600000&limit=1000",
        ),
        (
            page(Some(60_000), Some(299_999), 1000),
            Level::M1,
            "interval=1&start=60000&end=299999&limit=1000",
        ),
        (
            page(Some(60_000), None, 3),
            Level::M1,
            "interval=1&start=60000&end=239999&limit=3",
        ),
        (
            page(Some(0), Some(9_000_000), 2),
            Level::M30,
            "interval=30&start=0&end=3599999&limit=2",
        ),
        (
            page(Some(0), None, 1),
            Level::D1,
            "interval=D&start=0&end=86399999&limit=1",
        ),
    ] {
        assert_eq!(path(asked, level), expected);
    }
    let spot = Bybit.kline_request(&btc(Market::Spot), Level::M5, page(None, None, 0));
    assert_eq!(
        spot.unwrap().path,
        "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=5&limit=1"
    );
}

/// A start without an end is refused by the exchange.
#[test]
fn funding_is_asked_for_with_an_end() {
    let path = |page| {
        let request = Bybit.funding_request(&btc(Market::Perp), page).unwrap();
        let path = request.path;
        path.strip_prefix("/v5/market/funding/history?category=linear&symbol=BTCUSDT&")
            .unwrap()
            .to_owned()
    };
    assert_eq!(path(page(None, None, 1000)), "limit=200");
    assert_eq!(path(page(None, Some(5), 10)), "endTime=5&limit=10");
    // Two hundred of the shortest intervals there are.
    assert_eq!(
        path(page(Some(0), None, 1000)),
        "startTime=0&endTime=719999999&limit=200"
    );
    assert_eq!(
        path(page(Some(0), Some(7_200_000), 1000)),
        "startTime=0&endTime=7200000&limit=200"
    );
    assert_eq!(
        Bybit.funding_request(&btc(Market::Spot), page(None, None, 1)),
        None
    );
}

#[test]
fn only_the_newest_trades_can_be_asked_for() {
    let path = |market, limit| {
        let request = Bybit.trade_request(&btc(market), page(None, None, limit));
        request.unwrap().path
    };
    assert_eq!(
        path(Market::Spot, 1000),
        "/v5/market/recent-trade?category=spot&symbol=BTCUSDT&limit=60"
    );
    assert_eq!(
        path(Market::Perp, 5000),
        "/v5/market/recent-trade?category=linear&symbol=BTCUSDT&limit=1000"
    );
    for asked in [
        page(Some(1), None, 5),
        page(None, Some(1), 5),
        PageRequest {
            from_id: Some(7),
            ..page(None, None, 5)
        },
    ] {
        assert_eq!(Bybit.trade_request(&btc(Market::Perp), asked), None);
    }
}

#[test]
fn other_requests() {
    let path = |depth| Bybit.snapshot_request(&btc(Market::Spot), depth).path;
    assert_eq!(
        path(50),
        "/v5/market/orderbook?category=spot&symbol=BTCUSDT&limit=50"
    );
    assert!(path(5000).ends_with("limit=1000") && path(0).ends_with("limit=1"));
    assert_eq!(Bybit.time_request(Market::Spot).path, "/v5/market/time");
    for market in [Market::Spot, Market::Perp] {
        let budgets = Bybit.rest_budgets(market);
        assert_eq!(
            (budgets[0].weight_per_window, budgets[0].window_secs),
            (600, 5)
        );
        let request = Bybit.time_request(market);
        assert_eq!((request.budget, request.weight), (0, 1));
    }
}

#[test]
fn bars_turn_ascending_and_the_last_one_is_open() {
    let mut body = answer(
        r#"{"symbol":"BTCUSDT","category":"linear","list":[["1670608800000","17071","17073","17027","17055.5","268.611","15.74462667"],["1670605200000","17071.5","17071.5","17061","17071","4.177","0.24469757"]]}"#,
    );
    let now = TsNanos::from_ms(1_670_608_800_000 + 60_000);
    let bars = Bybit
        .parse_klines(&btc(Market::Perp), Level::H1, &mut body, now)
        .unwrap();
    let found: Vec<_> = bars
        .iter()
        .map(|bar| (bar.open_time.as_ms(), bar.close, bar.volume, bar.is_closed))
        .collect();
    assert_eq!(
        found,
        [
            (1_670_605_200_000, Price(1_707_100), Qty(4_177_000), true),
            (1_670_608_800_000, Price(1_705_550), Qty(268_611_000), false),
        ]
    );
    assert_eq!(bars[0].volume_quote, Some(24_469_757));
    assert_eq!(bars[0].trade_count, None);
    assert_eq!(
        (bars[0].ts_event, bars[1].ts_event),
        (TsNanos(1_670_608_800_000 * 1_000_000 - 1), now,)
    );
}

#[test]
fn trades_turn_ascending_without_block_trades() {
    let mut body = answer(
        r#"{"category":"linear","list":[
        {"execId":"c6f055d9-7f21-4079-913d-e6523a9cfffa","symbol":"BTCUSDT","price":"16618.49","size":"0.00012","side":"Buy","time":"1672052955758","isBlockTrade":false,"isRPITrade":true,"seq":"123456"},
        {"execId":"2100000000007764263","symbol":"BTCUSDT","price":"16618.48","size":"1","side":"Sell","time":"1672052955758","isBlockTrade":false},
        {"execId":"2100000000007764262","symbol":"BTCUSDT","price":"1","size":"900","side":"Sell","time":"1672052955757","isBlockTrade":true},
        {"execId":"2100000000007764261","symbol":"BTCUSDT","price":"16618.47","size":"2","side":"Sell","time":"1672052955756"}]}"#,
    );
    let trades = Bybit.parse_trades(&btc(Market::Perp), &mut body).unwrap();
    let found: Vec<_> = trades
        .iter()
        .map(|trade| (trade.trade_id, trade.price, trade.taker_side))
        .collect();
    assert_eq!(
        found,
        [
            (
                TradeId::Number(2_100_000_000_007_764_261),
                Price(1_661_847),
                Side::Sell
            ),
            (
                TradeId::Number(2_100_000_000_007_764_263),
                Price(1_661_848),
                Side::Sell
            ),
            (
                TradeId::Uuid(0xc6f0_55d9_7f21_4079_913d_e652_3a9c_fffa),
                Price(1_661_849),
                Side::Buy
            ),
        ]
    );
}

#[test]
fn snapshot_funding_and_time() {
    let mut body = answer(
        r#"{"s":"BTCUSDT","a":[["65557.7","16.606555"]],"b":[["65485.47","47.081829"]],"ts":1716863719031,"u":230704,"seq":1432604333,"cts":1716863718905}"#,
    );
    let book = Bybit.parse_snapshot(&btc(Market::Spot), &mut body).unwrap();
    assert_eq!(
        (book.seq, book.ts_event),
        (230_704, Some(TsNanos::from_ms(1_716_863_718_905)))
    );
    assert_eq!(book.bids, [level(6_548_547, 47_081_829)]);
    assert_eq!(book.asks, [level(6_555_770, 16_606_555)]);

    let mut body = answer(
        r#"{"category":"linear","list":[{"symbol":"ETHPERP","fundingRate":"-0.0001","fundingRateTimestamp":"1672041600000"},{"symbol":"ETHPERP","fundingRate":"0.00005","fundingRateTimestamp":"1672012800000"}]}"#,
    );
    let rows = Bybit.parse_funding(&btc(Market::Perp), &mut body).unwrap();
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.time.as_ms(), row.rate))
        .collect();
    assert_eq!(
        found,
        [
            (1_672_012_800_000, 50_000_000),
            (1_672_041_600_000, -100_000_000)
        ]
    );

    let body = answer(r#"{"timeSecond":"1688639403","timeNano":"1688639403423213947"}"#);
    assert_eq!(
        Bybit.parse_time(&body),
        Ok(TsNanos(1_688_639_403_423_213_947))
    );
    let empty = answer(r#"{"category":"linear","list":[]}"#);
    assert_eq!(
        Bybit.parse_trades(&btc(Market::Perp), &mut empty.clone()),
        Ok(vec![])
    );
    assert_eq!(
        Bybit.parse_funding(&btc(Market::Perp), &mut empty.clone()),
        Ok(vec![])
    );
}

#[test]
fn a_failure_is_no_empty_answer() {
    let body = br#"{"retCode":10006,"retMsg":"Too many visits!","result":{"list":[]},"time":1}"#;
    let refused = DecodeError::Field { field: "retCode" };
    let found = Bybit.parse_funding(&btc(Market::Perp), &mut body.to_vec());
    assert_eq!(found, Err(refused.clone()));
    let found = Bybit.parse_trades(&btc(Market::Perp), &mut body.to_vec());
    assert_eq!(found, Err(refused));
}
