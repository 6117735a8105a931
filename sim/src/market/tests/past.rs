//! History, bars, tickers and funding.

use super::super::kline::{Bar, DAY_MS, MINUTE_MS};
use super::*;

const HOUR_MS: i64 = 3_600_000;

fn all(market: &Market) -> impl Iterator<Item = InstrumentIx> {
    (0..market.instruments().len() as u16).map(InstrumentIx)
}

fn bar_of(kline: &Kline) -> Bar {
    Bar {
        open: kline.open.0,
        high: kline.high.0,
        low: kline.low.0,
        close: kline.close.0,
        volume: kline.volume.0,
        quote: kline.quote_volume.0,
        buy_volume: kline.taker_buy_volume.0,
        buy_quote: kline.taker_buy_quote.0,
        first_id: kline.trade_ids.map_or(0, |ids| ids.0),
        trades: kline.trades,
    }
}

fn between(start_ms: i64, end_ms: i64) -> TimeRange {
    TimeRange {
        start_ms: Some(start_ms),
        end_ms: Some(end_ms),
        limit: 5_000,
    }
}

/// The minute bars from `start_ms` to before `end_ms`, in pages.
fn minutes(market: &Market, ix: InstrumentIx, start_ms: i64, end_ms: i64) -> Vec<Kline> {
    let mut rows: Vec<Kline> = Vec::new();
    let mut from = start_ms;
    loop {
        let page = market.klines(ix, Interval::M1, between(from, end_ms - 1));
        let Some(last) = page.last() else { return rows };
        from = last.open_ms + 1;
        rows.extend(page);
    }
}

#[test]
fn every_interval_is_the_sum_of_its_minutes() {
    let mut market = market(3);
    run(&mut market, 150_000);
    for symbol in ["BTCUSDT", "ETHBTC"] {
        let ix = market.find(Segment::Spot, symbol).unwrap();
        let list_ms = market.instrument(ix).unwrap().list_ms;
        for interval in Interval::ALL {
            let rows = market.klines(ix, interval, TimeRange::latest(4));
            assert!(rows.len() >= 3, "{symbol} {}", interval.as_str());
            for (n, row) in rows.iter().enumerate() {
                assert_eq!(row.close_ms + 1, interval.next_open(row.open_ms));
                assert_eq!(row.is_closed, row.close_ms < market.now_ms());
                if let Some(next) = rows.get(n + 1) {
                    assert_eq!(next.open_ms, row.close_ms + 1);
                }
                let parts = minutes(&market, ix, row.open_ms.max(list_ms), row.close_ms + 1);
                let mut sum = bar_of(&parts[0]);
                parts[1..].iter().for_each(|part| sum.join(&bar_of(part)));
                assert_eq!(
                    sum,
                    bar_of(row),
                    "{symbol} {} {}",
                    interval.as_str(),
                    row.open_ms
                );
            }
        }
    }
}

#[test]
fn bars_are_what_the_trades_say_before_and_after_the_start() {
    let mut market = market(4);
    let mut live: Vec<Trade> = Vec::new();
    let ix = market.find(Segment::Linear, "ETHUSDT").unwrap();
    for event in run(&mut market, 200_000) {
        if let EventKind::Trade(trade) = event.kind
            && event.instrument == ix
        {
            live.push(trade);
        }
    }
    let midnight = START_MS - START_MS.rem_euclid(DAY_MS);
    let now_ms = market.now_ms();
    let mut checked_live = 0;
    for (from, to) in [
        (midnight - 5 * MINUTE_MS, midnight + 5 * MINUTE_MS),
        (START_MS - 600_000, now_ms),
    ] {
        for row in market.klines(ix, Interval::M1, between(from, to)) {
            let (first, last) = row.trade_ids.unwrap();
            assert_eq!(last - first + 1, row.trades);
            let mut trades = Vec::new();
            while trades.len() < row.trades as usize {
                let missing = row.trades as usize - trades.len();
                trades.extend(market.trades_from(ix, first + trades.len() as u64, missing));
            }
            assert_eq!((trades[0].id, trades.last().unwrap().id), (first, last));
            let mut bar = Bar::flat(0);
            for trade in &trades {
                assert!((row.open_ms..=row.close_ms).contains(&trade.ts_us.div_euclid(1_000)));
                bar.add_trade(trade);
                if let Some(told) = live.iter().find(|told| told.id == trade.id) {
                    assert_eq!(told, trade);
                    checked_live += 1;
                }
            }
            assert_eq!(bar, bar_of(&row));
        }
    }
    assert_eq!(checked_live, live.len());
    assert!(live.len() > 100);
}

#[test]
fn ids_and_times_run_through_the_start_without_a_step() {
    let mut market = market(6);
    run(&mut market, 30_000);
    for ix in all(&market) {
        let trades = market.trades(ix, 3_000);
        let aggs = market.agg_trades(ix, 1_000);
        assert_eq!((trades.len(), aggs.len()), (3_000, 1_000));
        let symbol = &market.instruments()[usize::from(ix.0)].symbol;
        for pair in trades.windows(2) {
            assert_eq!(pair[1].id, pair[0].id + 1, "{symbol}");
            assert!(pair[1].ts_us >= pair[0].ts_us, "{symbol}");
        }
        for pair in aggs.windows(2) {
            assert_eq!(pair[1].id, pair[0].id + 1, "{symbol}");
            assert_eq!(
                pair[1].first_trade_id,
                pair[0].last_trade_id + 1,
                "{symbol}"
            );
        }
        assert_eq!(
            aggs.last().unwrap().last_trade_id,
            trades.last().unwrap().id
        );
        assert!(
            trades
                .iter()
                .all(|trade| trade.qty.0 > 0 && trade.price.0 > 0)
        );
    }
}

#[test]
fn the_book_starts_where_history_ends() {
    let market = market(7);
    for ix in all(&market).filter(|ix| market.trading(*ix)) {
        let close = market.klines(ix, Interval::M1, TimeRange::latest(1))[0]
            .close
            .0 as f64;
        let bbo = market.bbo(ix);
        let (bid, ask) = (bbo.bid.unwrap().0.0 as f64, bbo.ask.unwrap().0.0 as f64);
        let off = ((bid + ask) / 2.0 / close - 1.0).abs();
        assert!(off < 0.004, "{ix:?}: {close} against {bid} {ask}");
    }
}

#[test]
fn any_past_trade_is_found_by_its_id_and_time() {
    let market = market(8);
    for ix in all(&market).step_by(3) {
        let last = market.trades(ix, 1)[0].id;
        let first = market.trades_from(ix, 0, 1)[0];
        assert_eq!(
            first.ts_us.div_euclid(DAY_MS * 1_000) * DAY_MS,
            market.instrument(ix).unwrap().list_ms
        );
        for n in 0..40 {
            let id = first.id + (last - first.id) * n / 39;
            let rows = market.trades_from(ix, id, 3);
            assert_eq!(rows[0].id, id);
        }
        let agg = market.agg_trades(ix, 1)[0];
        for back in [1, 77, 4_000] {
            let one = market.agg_trades_from(ix, agg.id - back, 1)[0];
            assert_eq!(one.id, agg.id - back);
            let ts_ms = one.ts_us.div_euclid(1_000);
            let same = market.agg_trades_between(ix, ts_ms, ts_ms, 100);
            assert!(same.contains(&one));
            assert!(
                same.iter()
                    .all(|other| other.ts_us.div_euclid(1_000) == ts_ms)
            );
        }
        assert!(market.trades_from(ix, last + 1, 10).is_empty());
    }
}

#[test]
fn ranges_of_bars_as_a_venue_answers_them() {
    let market = market(9);
    let ix = market.find(Segment::Spot, "SOLUSDT").unwrap();
    let opens = |range| -> Vec<i64> {
        market
            .klines(ix, Interval::M5, range)
            .iter()
            .map(|row| row.open_ms)
            .collect()
    };
    let base = START_MS - START_MS.rem_euclid(HOUR_MS) - 10 * HOUR_MS;
    let step = 5 * MINUTE_MS;
    let range = |start_ms, end_ms, limit| TimeRange {
        start_ms,
        end_ms,
        limit,
    };
    assert_eq!(opens(range(Some(base), None, 2)), [base, base + step]);
    assert_eq!(opens(range(Some(base + 1), None, 1)), [base + step]);
    assert_eq!(opens(range(None, Some(base), 2)), [base - step, base]);
    assert_eq!(
        opens(range(Some(base), Some(base + step), 9)),
        [base, base + step]
    );
    assert_eq!(
        opens(range(Some(base + 1), Some(base + step - 1), 9)),
        [0_i64; 0]
    );
    assert_eq!(opens(range(Some(START_MS + DAY_MS), None, 9)), [0_i64; 0]);
    assert_eq!(opens(TimeRange::latest(0)), [0_i64; 0]);
    let list_ms = market.instrument(ix).unwrap().list_ms;
    assert_eq!(opens(range(Some(0), None, 1)), [list_ms]);
    assert_eq!(opens(range(None, Some(list_ms - 1), 9)), [0_i64; 0]);
    assert_eq!(
        opens(range(Some(i64::MIN / 4), Some(i64::MAX / 4), 1)),
        [list_ms]
    );
}

#[test]
fn a_halted_instrument_has_a_past_only() {
    let mut market = market(10);
    let ix = market.find(Segment::Spot, "GONEUSDT").unwrap();
    let halt_ms = market.instrument(ix).unwrap().halt_ms.unwrap();
    assert!(
        run(&mut market, 5_000)
            .iter()
            .all(|event| event.instrument != ix)
    );
    assert_eq!(market.levels(ix), (0, 0));
    assert_eq!(market.ticker(ix), None);
    let last = market.klines(ix, Interval::M1, TimeRange::latest(1))[0];
    assert_eq!(last.close_ms + 1, halt_ms);
    assert!(market.trades(ix, 1)[0].ts_us < halt_ms * 1_000);
    let order = NewOrder {
        instrument: ix,
        owner: OwnerId(7),
        side: Side::Buy,
        qty: Qty(10),
        kind: OrderKind::Market,
    };
    assert_eq!(
        market.submit(&order, &mut Vec::new()),
        Err(OrderReject::NotTrading)
    );
}

#[test]
fn ticker_is_the_day_of_minutes() {
    let mut market = market(13);
    run(&mut market, 90_000);
    for ix in all(&market).filter(|ix| market.trading(*ix)) {
        let ticker = market.ticker(ix).unwrap();
        let rows = market.klines(ix, Interval::M1, TimeRange::latest(1_441));
        assert_eq!(ticker.prev_close, rows[0].close);
        assert_eq!(ticker.open_ms, rows[1].open_ms);
        assert_eq!(
            ticker.volume.0,
            rows[1..].iter().map(|row| row.volume.0).sum::<i64>()
        );
        assert_eq!(
            ticker.trades,
            rows[1..].iter().map(|row| row.trades).sum::<u64>()
        );
        assert_eq!(
            ticker.high,
            rows[1..].iter().map(|row| row.high).max().unwrap()
        );
        assert_eq!(ticker.last, market.trades(ix, 1)[0].price);
    }
}

#[test]
fn funding_is_settled_once_and_joins_its_past() {
    // Ten seconds before 16:00 UTC.
    let start_ms = START_MS - START_MS.rem_euclid(DAY_MS) + 16 * HOUR_MS - 10_000;
    let mut config = MarketConfig::standard(21, start_ms);
    config.listings = listings(start_ms, 60);
    let mut market = Market::new(config).unwrap();
    let before = market
        .premium_index(market.find(Segment::Linear, "BTCUSDT").unwrap())
        .unwrap();
    assert_eq!(before.funding.unwrap().ts_ms, start_ms + 10_000);
    let events = run(&mut market, 25_000);
    let mut moved = 0;
    for ix in all(&market) {
        let instrument = market.instrument(ix).unwrap().clone();
        let settled: Vec<FundingRate> = events
            .iter()
            .filter(|event| event.instrument == ix)
            .filter_map(|event| match event.kind {
                EventKind::Funding(rate) => Some(rate),
                _ => None,
            })
            .collect();
        let rows = market.funding_rates(ix, TimeRange::latest(300));
        let Contract::Perpetual(terms) = instrument.contract else {
            assert!(rows.is_empty() && settled.is_empty());
            continue;
        };
        let interval = i64::from(terms.interval_hours) * HOUR_MS;
        for pair in rows.windows(2) {
            assert_eq!(pair[1].ts_ms, pair[0].ts_ms + interval);
            moved += i32::from(pair[1].rate != pair[0].rate);
        }
        for row in &rows {
            assert!(
                row.rate.0.abs() <= terms.cap_e8 && row.mark.0 > 0,
                "{row:?}"
            );
        }
        if instrument.status != Status::Trading {
            assert!(settled.is_empty());
            continue;
        }
        assert_eq!(settled.len(), 1);
        assert_eq!(rows.last(), settled.first());
        assert_eq!(settled[0].ts_ms, start_ms + 10_000);
        let premium = market.premium_index(ix).unwrap();
        assert_eq!(premium.funding.unwrap().ts_ms, settled[0].ts_ms + interval);
        let close = |a: E8, b: E8| (a.0 as f64 / b.0 as f64 - 1.0).abs() < 0.01;
        assert!(close(premium.mark, premium.index) && close(settled[0].mark, premium.index));
        // Paging forward from the listing, as a client does, gives the same rows.
        let mut paged = Vec::new();
        let mut from = 0;
        loop {
            let range = TimeRange {
                start_ms: Some(from),
                end_ms: None,
                limit: 7,
            };
            let page = market.funding_rates(ix, range);
            let Some(last) = page.last() else { break };
            from = last.ts_ms + 1;
            paged.extend(page);
        }
        assert!(paged.ends_with(&rows));
    }
    assert!(moved > 50, "rates hardly ever change: {moved}");
}
