//! REST answers of every exchange, whichever there are.

use bookwire_engine::exchange::ProviderId;
use bookwire_engine::instrument::Market;
use bookwire_engine::time::{Level, TsNanos};

/// The first byte chooses exchange and market, the rest is an answer to every request there is.
///
/// Nothing panics; rows come ascending; the same bytes mean the same; and every refusal says what can be done.
pub fn check(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else {
        return;
    };
    let all: Vec<(ProviderId, Market)> = ProviderId::all()
        .flat_map(|id| {
            id.exchange()
                .markets()
                .iter()
                .map(move |market| (id, *market))
        })
        .collect();
    let (id, market) = all[usize::from(*choice) % all.len()];
    let exchange = id.exchange();
    let table = crate::table_of(id, market);
    let is_failure = exchange.body_failure(market, body).is_some();
    let _ = exchange.recorded(None, body);
    let _ = exchange.next_instrument_request(market, body);
    let _ = exchange.parse_time(body);
    for status in [400, 401, 403, 404, 418, 429, 500, 503] {
        let failure = exchange.rest_failure(market, status, None, body);
        assert!(!failure.error.recovery_suggestions.is_empty());
        assert!(!failure.error.message.is_empty());
    }
    if is_failure {
        // Nobody reads it as an answer.
        return;
    }
    let now = TsNanos(1_700_000_000_000_000_000);
    let copy = || body.to_vec();
    for row in table.iter() {
        if let Ok(book) = exchange.parse_snapshot(row, &mut copy()) {
            let mut levels = book.bids.iter().chain(&book.asks);
            assert!(levels.all(|level| level.price.0 >= 0 && level.qty.0 >= 0));
            assert_eq!(exchange.parse_snapshot(row, &mut copy()), Ok(book));
        }
        for level in [Level::M1, Level::D1] {
            if let Ok(bars) = exchange.parse_klines(row, level, &mut copy(), now) {
                assert!(bars.is_sorted_by_key(|bar| bar.open_time));
            }
        }
        if let Ok(trades) = exchange.parse_trades(row, &mut copy()) {
            assert!(
                trades
                    .iter()
                    .all(|trade| trade.price.0 >= 0 && trade.qty.0 >= 0)
            );
            assert_eq!(exchange.parse_trades(row, &mut copy()), Ok(trades));
        }
        if let Ok(rows) = exchange.parse_funding(row, &mut copy()) {
            assert!(rows.is_sorted_by_key(|row| row.time));
        }
    }
    if let Ok((specs, _)) = exchange.parse_instruments(market, &[copy()]) {
        for spec in &specs {
            assert!(spec.price_step > 0.into() && spec.qty_step > 0.into());
            assert!(spec.contract_size > 0.into());
            assert!(!spec.native_symbol.is_empty());
        }
    }
}
