//! Order-book snapshots as every store keeps them.

use std::sync::Arc;

use super::Entity;
use super::varint::{fold, put, take, unfold};
use crate::event::BookLevel;
use crate::num::{Price, Qty};
use crate::time::TsNanos;

/// Most levels a side of a snapshot; the largest book that is served.
pub const BOOK_LEVELS_MAX: usize = 5_000;

/// The top of an order book at an instant. Key: entity and time; a later row of a key replaces the
/// earlier one.
///
/// Levels keep the form of the hot path, mantissas at scales that the row carries: an instrument's
/// steps can change, and rows that were written before stay what they were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookRow {
    /// Whose.
    pub entity: Arc<Entity>,
    /// The exchange's time of the last change before the snapshot.
    pub ts: TsNanos,
    /// The exchange's sequence number.
    pub sequence: u64,
    /// Digits behind the point of prices.
    pub price_scale: u8,
    /// Digits behind the point of quantities.
    pub qty_scale: u8,
    /// Bids, best first.
    pub bids: Box<[BookLevel]>,
    /// Asks, best first.
    pub asks: Box<[BookLevel]>,
}

/// Levels of a side, best first.
type Levels = Box<[BookLevel]>;

/// First byte of packed levels.
const PACKED_V1: u8 = 1;

impl BookRow {
    /// The levels in few bytes: two counts, then for each level the distance of its price from the
    /// one before (of bids downwards) and its quantity, all as variable-length integers (LEB128;
    /// signed ones folded, so that small ones of either sign are short).
    #[must_use]
    pub fn pack_levels(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 + 6 * (self.bids.len() + self.asks.len()));
        out.push(PACKED_V1);
        for (levels, sign) in [(&self.bids, -1i128), (&self.asks, 1)] {
            put(&mut out, levels.len() as u128);
            let mut before = 0i64;
            for level in levels {
                put(
                    &mut out,
                    fold((i128::from(level.price.0) - i128::from(before)) * sign),
                );
                put(&mut out, fold(i128::from(level.qty.0)));
                before = level.price.0;
            }
        }
        out
    }

    /// The levels of [`Self::pack_levels`], at most `depth` a side; `None`: they are damaged.
    #[must_use]
    pub fn unpack_levels(mut bytes: &[u8], depth: usize) -> Option<(Levels, Levels)> {
        let (version, rest) = bytes.split_first()?;
        if *version != PACKED_V1 {
            return None;
        }
        bytes = rest;
        let mut side = |sign: i128| {
            let count = usize::try_from(take(&mut bytes)?).ok()?;
            if count > BOOK_LEVELS_MAX {
                return None;
            }
            let mut levels = Vec::with_capacity(count.min(depth));
            let mut before = 0i64;
            for at in 0..count {
                let step = unfold(take(&mut bytes)?) * sign;
                let price = i64::try_from(i128::from(before) + step).ok()?;
                let qty = i64::try_from(unfold(take(&mut bytes)?)).ok()?;
                before = price;
                if at < depth {
                    levels.push(BookLevel {
                        price: Price(price),
                        qty: Qty(qty),
                    });
                }
            }
            Some(levels.into_boxed_slice())
        };
        let (bids, asks) = (side(-1)?, side(1)?);
        bytes.is_empty().then_some((bids, asks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(bids: Vec<(i64, i64)>, asks: Vec<(i64, i64)>) -> BookRow {
        let levels = |side: Vec<(i64, i64)>| {
            side.into_iter()
                .map(|(price, qty)| BookLevel {
                    price: Price(price),
                    qty: Qty(qty),
                })
                .collect()
        };
        BookRow {
            entity: Arc::new(Entity {
                provider: "binance".to_owned(),
                entity_id: "cryptopair_binance_btcusdt".to_owned(),
                code: "btcusdt".to_owned(),
            }),
            ts: TsNanos(1),
            sequence: 1,
            price_scale: 2,
            qty_scale: 5,
            bids: levels(bids),
            asks: levels(asks),
        }
    }

    #[test]
    fn twenty_levels_take_few_bytes() {
        let bids = (0..20).map(|at| (6_173_763 - at * 7, 12_345 * (at + 1)));
        let asks = (0..20).map(|at| (6_173_770 + at * 7, 54_321 * (at + 1)));
        let packed = row(bids.collect(), asks.collect()).pack_levels();
        assert!(packed.len() < 200, "{}", packed.len());
    }

    proptest! {
        #[test]
        fn levels_come_back(
            bids in prop::collection::vec((any::<i64>(), any::<i64>()), 0..40),
            asks in prop::collection::vec((any::<i64>(), any::<i64>()), 0..40),
            depth in 0usize..50,
        ) {
            let row = row(bids, asks);
            let (bids, asks) = BookRow::unpack_levels(&row.pack_levels(), depth).unwrap();
            prop_assert_eq!(&bids[..], &row.bids[..row.bids.len().min(depth)]);
            prop_assert_eq!(&asks[..], &row.asks[..row.asks.len().min(depth)]);
        }

        #[test]
        fn any_bytes_are_levels_or_damaged(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some((bids, asks)) = BookRow::unpack_levels(&bytes, 5_000) {
                prop_assert!(bids.len() + asks.len() <= bytes.len());
            }
        }
    }
}
