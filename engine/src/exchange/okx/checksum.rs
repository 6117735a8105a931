//! The checksum of OKX's books: CRC32 over the best 25 levels as OKX wrote them.
//!
//! Source: order book channel of the documentation as of 2022; recomputed for every message of the
//! recordings of 2022-02-28. Since 2026-06-23 the field is 0: not computed.

use std::collections::BTreeMap;

use crate::event::BookLevel;
use crate::num::Price;

use super::json::Levels;

/// Levels of each side that are summed.
const DEPTH: usize = 25;

/// CRC32 (IEEE 802.3, reflected) by byte.
static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                crc >> 1 ^ 0xEDB8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// A running CRC32.
struct Crc(u32);

impl Crc {
    fn add(&mut self, text: &[u8]) {
        for byte in text {
            self.0 = self.0 >> 8 ^ TABLE[usize::from(self.0 as u8 ^ byte)];
        }
    }
}

/// A level as OKX wrote it: `price:size` and the length of the price.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Written(Box<str>);

/// The texts of a book.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts {
    bids: BTreeMap<Price, Written>,
    asks: BTreeMap<Price, Written>,
}

/// Changes of one side, as numbers and as texts.
#[derive(Clone, Debug, Default)]
pub(super) struct WrittenLevels {
    pub(super) levels: Vec<BookLevel>,
    texts: Vec<Written>,
}

impl WrittenLevels {
    pub(super) fn clear(&mut self) {
        self.levels.clear();
        self.texts.clear();
    }
}

impl Levels for WrittenLevels {
    fn level(&mut self, level: BookLevel, price: &str, size: &str) {
        self.levels.push(level);
        self.texts
            .push(Written(format!("{price}:{size}").into_boxed_str()));
    }
}

impl Texts {
    /// Applies changes; a snapshot is applied to an empty book.
    pub(super) fn apply(&mut self, bids: &WrittenLevels, asks: &WrittenLevels) {
        for (side, changes) in [(&mut self.bids, bids), (&mut self.asks, asks)] {
            for (level, text) in changes.levels.iter().zip(&changes.texts) {
                if level.qty.0 == 0 {
                    side.remove(&level.price);
                } else {
                    side.insert(level.price, text.clone());
                }
            }
        }
    }

    /// What OKX would send for this book: bid and ask of each rank in turn, joined by colons; where
    /// one side is shorter the other goes on alone.
    pub(super) fn checksum(&self) -> i32 {
        let mut bids = self.bids.values().rev();
        let mut asks = self.asks.values();
        let mut crc = Crc(u32::MAX);
        let mut separator: &[u8] = b"";
        for _ in 0..DEPTH {
            for Written(text) in bids.next().into_iter().chain(asks.next()) {
                crc.add(separator);
                crc.add(text.as_bytes());
                separator = b":";
            }
        }
        !crc.0 as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::{Qty, parse_fixed};

    fn written(rows: &[(&str, &str)]) -> WrittenLevels {
        let mut side = WrittenLevels::default();
        for (price, size) in rows {
            let level = BookLevel {
                price: Price(parse_fixed(price.as_bytes(), 8).unwrap()),
                qty: Qty(parse_fixed(size.as_bytes(), 8).unwrap()),
            };
            side.level(level, price, size);
        }
        side
    }

    fn checksum(bids: &[(&str, &str)], asks: &[(&str, &str)]) -> i32 {
        let mut texts = Texts::default();
        texts.apply(&written(bids), &written(asks));
        texts.checksum()
    }

    #[test]
    fn agrees_with_worked_examples() {
        // Computed with zlib over the strings in the comments.
        // 0.07014:56:0.07026:5:0.07011:608:0.07027:765:0.07009:110
        let bids = [("0.07014", "56"), ("0.07011", "608"), ("0.07009", "110")];
        let asks = [("0.07026", "5"), ("0.07027", "765")];
        assert_eq!(checksum(&bids, &asks), 1_416_963_334);
        // 3366.1:7:3366.8:9:3368:8:3372:8
        let asks = [("3366.8", "9"), ("3368", "8"), ("3372", "8")];
        assert_eq!(checksum(&[("3366.1", "7")], &asks), 831_078_360);
        // 3366.1:7:3366.8:9:3366:6:3368:8
        let bids = [("3366.1", "7"), ("3366", "6")];
        assert_eq!(checksum(&bids, &asks[..2]), -1_881_014_294);
        assert_eq!(checksum(&[], &[]), 0);
    }

    #[test]
    fn zeros_at_the_end_count_and_levels_go() {
        let mut texts = Texts::default();
        texts.apply(&written(&[("2", "1.50"), ("1", "1")]), &written(&[]));
        assert_ne!(texts.checksum(), checksum(&[("2", "1.5"), ("1", "1")], &[]));
        texts.apply(&written(&[("2", "0")]), &written(&[]));
        assert_eq!(texts.checksum(), checksum(&[("1", "1")], &[]));
    }
}
