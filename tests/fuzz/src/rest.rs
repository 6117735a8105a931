//! REST answers of Binance.

use bookwire_engine::exchange::binance::{Binance, is_depth_snapshot};
use bookwire_engine::exchange::{DecodeError, Exchange as _};
use bookwire_engine::instrument::Market;
use bookwire_engine::time::{Level, TsNanos};

/// Every parser, in both markets, on the same bytes: none panics, and what is read is in order.
pub fn check(body: &[u8]) {
    let _ = is_depth_snapshot(body);
    let _ = Binance.parse_time(body);
    for market in [Market::Spot, Market::Perp] {
        let table = crate::table(market);
        for row in table.iter() {
            let copy = || body.to_vec();
            if let Ok(book) = Binance.parse_snapshot(row, &mut copy()) {
                let mut levels = book.bids.iter().chain(&book.asks);
                assert!(levels.all(|level| level.price.0 >= 0 && level.qty.0 >= 0));
                // Blanks make it go the other way, to the same end.
                let mut spaced = [b" ".as_slice(), body].concat();
                assert_eq!(Binance.parse_snapshot(row, &mut spaced), Ok(book));
            }
            let now = TsNanos(1_700_000_000_000_000_000);
            if let Ok(bars) = Binance.parse_klines(row, Level::M1, &mut copy(), now) {
                assert!(bars.is_sorted_by_key(|bar| bar.open_time));
            }
            if let Ok(trades) = Binance.parse_trades(row, &mut copy()) {
                assert!(trades.is_sorted_by_key(|trade| trade.trade_id.number()));
            }
            if let Ok(rows) = Binance.parse_funding(row, &mut copy()) {
                assert!(rows.is_sorted_by_key(|row| row.time));
                assert!(rows.iter().all(|row| row.time.0 % 1_000_000_000 == 0));
            }
        }
        instruments(market, body);
        for status in [200, 400, 418, 429, 503] {
            let text = std::str::from_utf8(body).ok();
            let failure = Binance.rest_failure(market, status, text, body);
            assert!(!failure.error.recovery_suggestions.is_empty());
        }
    }
}

fn instruments(market: Market, body: &[u8]) {
    for bodies in [vec![body.to_vec()], vec![body.to_vec(), body.to_vec()]] {
        match Binance.parse_instruments(market, &bodies) {
            Ok((specs, _)) => {
                for spec in &specs {
                    assert!(spec.price_step > 0.into() && spec.qty_step > 0.into());
                    assert!(!spec.native_symbol.is_empty());
                }
            }
            Err(DecodeError::Json { at }) => assert!(at <= body.len()),
            Err(_) => {}
        }
    }
}
