//! Levels of a book as text: `[["61737.63","0.00100"],…]`.

use std::fmt::Write;

use rust_decimal::Decimal;

use crate::event::BookLevel;
use crate::num::{Price, Qty};

/// The text of one side, with all digits of the scales.
pub(super) fn text_of(levels: &[BookLevel], price_scale: u8, qty_scale: u8) -> String {
    let mut text = String::with_capacity(2 + levels.len() * 28);
    text.push('[');
    for (at, level) in levels.iter().enumerate() {
        let price = Decimal::new(level.price.0, u32::from(price_scale));
        let qty = Decimal::new(level.qty.0, u32::from(qty_scale));
        let comma = if at == 0 { "" } else { "," };
        // Writing into a string can't fail.
        let _ = write!(text, "{comma}[\"{price}\",\"{qty}\"]");
    }
    text.push(']');
    text
}

/// The levels of a text, at most `depth`; `None`: it is none.
pub(super) fn levels_of(
    text: &str,
    price_scale: u8,
    qty_scale: u8,
    depth: usize,
) -> Option<Box<[BookLevel]>> {
    let body = text.strip_prefix('[')?.strip_suffix(']')?;
    if body.is_empty() {
        return Some(Box::new([]));
    }
    let body = body.strip_prefix("[\"")?.strip_suffix("\"]")?;
    body.split("\"],[\"")
        .take(depth)
        .map(|level| {
            let (price, qty) = level.split_once("\",\"")?;
            Some(BookLevel {
                price: Price(mantissa(price, price_scale)?),
                qty: Qty(mantissa(qty, qty_scale)?),
            })
        })
        .collect()
}

fn mantissa(text: &str, scale: u8) -> Option<i64> {
    let value = Decimal::from_str_exact(text).ok()?;
    let is_whole = value.scale() == u32::from(scale);
    is_whole
        .then(|| i64::try_from(value.mantissa()).ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn levels(side: Vec<(i64, i64)>) -> Vec<BookLevel> {
        let level = |(price, qty)| BookLevel {
            price: Price(price),
            qty: Qty(qty),
        };
        side.into_iter().map(level).collect()
    }

    #[test]
    fn levels_are_json_that_people_read() {
        let side = levels(vec![(6_173_763, 100), (6_173_762, 2)]);
        let text = text_of(&side, 2, 5);
        assert_eq!(text, r#"[["61737.63","0.00100"],["61737.62","0.00002"]]"#);
        assert_eq!(text_of(&[], 2, 5), "[]");
        let damaged = ["", "[", "{}", "[[\"1\"]]", "[[\"1.0\",\"2\"]]", "[[1,2]]"];
        for text in damaged {
            assert_eq!(levels_of(text, 0, 0, 9), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn levels_come_back(
            side in prop::collection::vec((any::<i64>(), any::<i64>()), 0..40),
            price_scale in 0u8..=28,
            qty_scale in 0u8..=28,
            depth in 0usize..50,
        ) {
            let side = levels(side);
            let text = text_of(&side, price_scale, qty_scale);
            let found = levels_of(&text, price_scale, qty_scale, depth).unwrap();
            prop_assert_eq!(&found[..], &side[..side.len().min(depth)]);
        }
    }
}
