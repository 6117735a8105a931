use proptest::prelude::*;

use super::*;
use crate::event::BookLevel;
use crate::num::{Price, Qty};

#[test]
fn levels_are_numbered_in_their_order() {
    for (at, expected) in Level::ALL.into_iter().enumerate() {
        assert_eq!(expected as usize, at);
        assert_eq!(level(at as u8), Some(expected));
    }
    assert!(Level::ALL.len() < usize::from(SERIES_TRADES));
}

fn decimals() -> impl Strategy<Value = Decimal> {
    (-(1i128 << 96) + 1..(1i128 << 96), 0u32..96, 0u32..=28)
        .prop_map(|(mantissa, bits, scale)| Decimal::from_i128_with_scale(mantissa >> bits, scale))
}

fn times() -> impl Strategy<Value = TsNanos> {
    any::<i64>().prop_map(TsNanos)
}

fn levels() -> impl Strategy<Value = Level> {
    (0..Level::ALL.len()).prop_map(|at| Level::ALL[at])
}

fn sides() -> impl Strategy<Value = Box<[BookLevel]>> {
    prop::collection::vec((any::<i64>(), any::<i64>()), 0..5).prop_map(|side| {
        side.into_iter()
            .map(|(price, qty)| BookLevel {
                price: Price(price),
                qty: Qty(qty),
            })
            .collect()
    })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let entities: Vec<Arc<Entity>> = ["btcusdt", "ethusdt", "ünïcode"]
        .iter()
        .map(|code| {
            Arc::new(Entity {
                provider: "binance".to_owned(),
                entity_id: format!("cryptopair_binance_{code}"),
                code: (*code).to_owned(),
            })
        })
        .collect();
    let entity = prop::sample::select(entities);
    let ids = prop_oneof![
        any::<u64>().prop_map(TradeId::Number),
        "[a-z0-9-]{0,12}".prop_map(|text| TradeId::Text(text.into())),
    ];
    let trade = (
        entity.clone(),
        times(),
        ids,
        decimals(),
        decimals(),
        any::<bool>(),
    )
        .prop_map(|(entity, ts, trade_id, price, volume, is_buy)| {
            Row::Trade(TradeRow {
                entity,
                ts,
                trade_id,
                price,
                volume,
                side: if is_buy { Side::Buy } else { Side::Sell },
            })
        });
    let kline = (
        entity.clone(),
        levels(),
        times(),
        prop::array::uniform5(decimals()),
        prop::option::of(decimals()),
        prop::option::of(any::<u64>()),
    )
        .prop_map(|(entity, level, ts, values, volume_quote, trade_count)| {
            let [open, high, low, close, volume_base] = values;
            Row::Kline(KlineRow {
                entity,
                level,
                ts,
                open,
                high,
                low,
                close,
                volume_base,
                volume_quote,
                trade_count,
            })
        });
    let funding = (
        entity.clone(),
        times(),
        decimals(),
        prop::array::uniform3(prop::option::of(decimals())),
        prop::option::of(any::<u32>()),
        prop::option::of(times()),
    )
        .prop_map(|(entity, ts, funding_rate, prices, hours, next)| {
            let [predicted_rate, mark_price, index_price] = prices;
            Row::Funding(FundingRow {
                entity,
                ts,
                funding_rate,
                predicted_rate,
                funding_interval_hours: hours,
                mark_price,
                index_price,
                next_funding_time: next,
            })
        });
    let book = (
        entity.clone(),
        times(),
        any::<u64>(),
        0u8..19,
        sides(),
        sides(),
    )
        .prop_map(|(entity, ts, sequence, scale, bids, asks)| {
            Row::Book(BookRow {
                entity,
                ts,
                sequence,
                price_scale: scale,
                qty_scale: 18 - scale,
                bids,
                asks,
            })
        });
    let series = prop_oneof![
        levels().prop_map(Series::Klines),
        Just(Series::Trades),
        Just(Series::Funding),
    ];
    let coverage = (entity, series, times(), times()).prop_map(|(entity, series, start, end)| {
        Row::Coverage(CoverageRow {
            entity,
            series,
            span: Span { start, end },
        })
    });
    prop::collection::vec(prop_oneof![trade, kline, funding, book, coverage], 0..30)
}

proptest! {
    #[test]
    fn rows_come_back(rows in rows()) {
        let mut bytes = Vec::new();
        encode(&rows, &mut bytes);
        prop_assert_eq!(decode(&bytes), Some(rows));
    }

    #[test]
    fn damaged_bytes_are_rows_or_none(
        rows in rows(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        encode(&rows, &mut bytes);
        let cut = cut.index(bytes.len());
        prop_assert_eq!(decode(&bytes[..cut]), None);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(&bytes);
    }
}
