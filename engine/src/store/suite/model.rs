//! The random part: a store against sorted maps.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::{Fixture, MINUTE, T0, entity, kline, kline_query, put, trade, trade_query};
use crate::event::Side;
use crate::store::{
    CoverageRow, Entity, KlineRow, Order, Row, Series, Span, StoreReader, TimeWindow, TradeId,
    TradeRow,
};
use crate::time::{Level, TsNanos};

/// A small generator, so that other crates can run the suite without a property-test library.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn decimal(&mut self) -> Decimal {
        let bits = self.below(96) as u32;
        let wide = (u128::from(self.next()) << 64 | u128::from(self.next())) >> (128 - bits.max(1));
        Decimal::from_i128_with_scale(wide as i128, self.below(29) as u32)
    }
}

const CODES: [&str; 3] = ["aaa", "bbb", "ccc"];

/// The obvious store: sorted maps by key.
#[derive(Default)]
struct Model {
    trades: BTreeMap<(Arc<Entity>, TradeId), TradeRow>,
    klines: BTreeMap<(Arc<Entity>, Level, TsNanos), KlineRow>,
    covered: BTreeMap<(Arc<Entity>, i64), ()>,
}

impl Model {
    fn write(&mut self, row: &Row) {
        match row.clone() {
            Row::Trade(row) => {
                let key = (Arc::clone(&row.entity), row.trade_id.clone());
                self.trades.entry(key).or_insert(row);
            }
            Row::Kline(row) => {
                self.klines
                    .insert((Arc::clone(&row.entity), row.level, row.ts), row);
            }
            Row::Coverage(row) => {
                for at in row.span.start.0..row.span.end.0 {
                    self.covered.insert((Arc::clone(&row.entity), at), ());
                }
            }
            Row::Funding(_) | Row::Book(_) => {}
        }
    }

    fn answer<R: Clone>(
        rows: impl Iterator<Item = R>,
        window: TimeWindow,
        ts: impl Fn(&R) -> TsNanos,
        compare: impl Fn(&R, &R) -> std::cmp::Ordering,
    ) -> Vec<R> {
        let inside = |row: &R| {
            window.start.is_none_or(|start| ts(row) >= start)
                && window.end.is_none_or(|end| ts(row) <= end)
        };
        let mut rows: Vec<R> = rows.filter(inside).collect();
        rows.sort_by(&compare);
        if window.start.is_none() {
            rows.drain(..rows.len().saturating_sub(window.limit));
        }
        if window.order == Order::Descending {
            rows.reverse();
        }
        rows.truncate(window.limit);
        rows
    }
}

fn random_row(random: &mut Random, entities: &[Arc<Entity>], clock: i64) -> Row {
    let entity = &entities[random.below(3) as usize];
    // Mostly forward in id and time together, as exchanges do, with late and odd ones.
    let jitter = random.below(50) as i64;
    match random.below(10) {
        0 => Row::Kline(KlineRow {
            open: random.decimal(),
            close: random.decimal(),
            volume_base: random.decimal(),
            volume_quote: (!random.next().is_multiple_of(8)).then(|| random.decimal()),
            trade_count: (!random.next().is_multiple_of(8)).then(|| random.next() >> 1),
            ..kline(entity, Level::M1, T0 + random.below(30) as i64 * MINUTE)
        }),
        1 => {
            let start = random.below(200) as i64;
            let span = Span {
                start: TsNanos(start),
                end: TsNanos(start + random.below(40) as i64),
            };
            Row::Coverage(CoverageRow {
                entity: Arc::clone(entity),
                series: Series::Funding,
                span,
            })
        }
        kind => {
            let id = (clock + jitter) as u64;
            let trade_id = match kind {
                2 => TradeId::parse(&format!("x{}", id % 97)),
                3 => TradeId::Number(u64::MAX - id % 97),
                4 => TradeId::Number(random.below(5_000)),
                _ => TradeId::Number(id),
            };
            // Time is a function of the id, so that a repeated trade is the same trade; some ids
            // stand an hour and more apart from their neighbours.
            let text = trade_id.to_string();
            let digits = text
                .bytes()
                .fold(0i64, |sum, byte| (sum * 31 + i64::from(byte)) % 1_009);
            let base = match trade_id {
                TradeId::Number(id) if id < 1_000_000 => id as i64 * MINUTE / 10,
                _ => digits * MINUTE,
            };
            let odd = if digits % 50 == 0 { 90 * MINUTE } else { 0 };
            Row::Trade(TradeRow {
                price: Decimal::new(digits, 3),
                volume: Decimal::new(digits % 13, 1),
                ..TradeRow {
                    trade_id,
                    ..trade(entity, id % 2 + digits as u64 % 2, T0 + base + odd)
                }
            })
        }
    }
}

fn random_window(random: &mut Random) -> TimeWindow {
    let instant = |random: &mut Random| match random.below(3) {
        0 => None,
        _ => Some(TsNanos(T0 + random.below(1_200) as i64 * MINUTE)),
    };
    TimeWindow {
        start: instant(random),
        end: instant(random),
        limit: [0, 1, 7, 100, 100_000][random.below(5) as usize],
        order: [Order::Ascending, Order::Descending][random.below(2) as usize],
    }
}

pub(super) fn agrees(fixture: &mut dyn Fixture, seed: u64) {
    let mut random = Random(seed);
    let mut store = fixture.fresh();
    let mut model = Model::default();
    let entities = CODES.map(entity);
    let mut clock = 0;
    for step in 0..12 {
        let rows: Vec<Row> = (0..random.below(400))
            .map(|_| {
                clock += random.below(4) as i64;
                random_row(&mut random, &entities, clock)
            })
            .collect();
        // A backfill of older rows now and then.
        if random.below(4) == 0 {
            clock = random.below(4_000) as i64;
        }
        rows.iter().for_each(|row| model.write(row));
        put(&mut *store, rows);
        if random.below(3) == 0 {
            store = fixture.reopen(store);
        }
        let reader = store.reader().unwrap();
        let context = format!("seed {seed}, step {step}");
        compare(&mut random, &*reader, &model, &entities, &context);
    }
}

fn compare(
    random: &mut Random,
    reader: &dyn StoreReader,
    model: &Model,
    entities: &[Arc<Entity>],
    context: &str,
) {
    for _ in 0..6 {
        let codes = &CODES[..1 + random.below(3) as usize];
        let mut query = trade_query(codes, random_window(random));
        query.side = [None, Some(Side::Buy), Some(Side::Sell)][random.below(3) as usize];
        query.min_volume = (random.below(2) == 0).then(|| Decimal::new(5, 1));
        let wanted = model.trades.values().filter(|row| {
            codes.contains(&row.entity.code.as_str())
                && query.side.is_none_or(|side| row.side == side)
                && query.min_volume.is_none_or(|least| row.volume >= least)
        });
        let expected = Model::answer(
            wanted.cloned(),
            query.window,
            |row| row.ts,
            |a, b| (a.ts, &a.entity, &a.trade_id).cmp(&(b.ts, &b.entity, &b.trade_id)),
        );
        assert_eq!(
            reader.trades(&query).unwrap(),
            expected,
            "{context} {query:?}"
        );

        let query = kline_query(codes, Level::M1, random_window(random));
        let wanted = model
            .klines
            .values()
            .filter(|row| codes.contains(&row.entity.code.as_str()));
        let expected = Model::answer(
            wanted.cloned(),
            query.window,
            |row| row.ts,
            |a, b| (a.ts, &a.entity).cmp(&(b.ts, &b.entity)),
        );
        assert_eq!(
            reader.klines(&query).unwrap(),
            expected,
            "{context} {query:?}"
        );
    }
    for entity in entities {
        let span = Span {
            start: TsNanos(random.below(120) as i64),
            end: TsNanos(120 + random.below(130) as i64),
        };
        let missing = reader
            .missing(&entity.provider, &entity.entity_id, Series::Funding, span)
            .unwrap();
        let expected: Vec<i64> = (span.start.0..span.end.0)
            .filter(|at| !model.covered.contains_key(&(Arc::clone(entity), *at)))
            .collect();
        let found: Vec<i64> = missing
            .iter()
            .flat_map(|gap| gap.start.0..gap.end.0)
            .collect();
        assert_eq!(found, expected, "{context} {span:?}");
        assert!(
            missing.windows(2).all(|pair| pair[0].end < pair[1].start),
            "{context}"
        );
    }
}
