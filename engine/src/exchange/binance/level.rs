//! `price","quantity` of a book's level, found and read as a whole.
//!
//! Most of decoding a book is reading such pairs. Which bytes of the next 48 are no digits is
//! computed at once (SSE2 on x86-64, NEON on ARM: every such processor has them, so that nothing is
//! chosen at run time); from then on every place is known by counting bits, and both numbers are
//! read independently of each other. The digits of a number's two parts are put one behind the
//! other and read as one, which is exact for up to eight of them, zeros at the end apart: nearly every level. Everything else is left to [`super::digits::fixed_prefix`]; a property test
//! compares the two. Figures: docs/decisions/008-reading-levels.md.

use wide::i8x16;

use crate::event::BookLevel;
use crate::num::{Price, Qty};

use super::digits::{Scale, ZEROS, eight_digits};

/// Bytes that are looked at: 48 that a level may have and what reading whole words needs behind.
pub(super) const WINDOW: usize = 80;

/// `"],["`, between two levels.
const NEXT: u64 = u64::from_le_bytes(*b"\"],[\"\0\0\0");
/// `"]]`, behind the last one.
const LAST: u64 = u64::from_le_bytes(*b"\"]]\0\0\0\0\0");
/// Bytes between two levels.
pub(super) const NEXT_LEN: usize = 5;
/// Bytes behind the last one.
pub(super) const LAST_LEN: usize = 3;
/// `","`, between price and quantity.
pub(super) const BETWEEN: u64 = u64::from_le_bytes(*b"\",\"\0\0\0\0\0");

/// Reads the level at the start of `window` and tells where it ends and the eight bytes from there on,
/// to be looked at with [`is_next`] and [`is_last`]. `None`: it is not as simple as that, which does
/// not mean that it is wrong.
#[inline(always)]
pub(super) fn short_level(
    window: &[u8; WINDOW],
    price: &Scale,
    qty: &Scale,
) -> Option<(BookLevel, usize, u64)> {
    // Six bytes that are no digits: `.` `"` `,` `"` `.` `"`. Of fewer, some place comes out as 0,
    // where a digit has to be.
    let stops = stops(window);
    let (price_point, rest) = next(stops);
    let (price_end, rest) = next(rest);
    let (_, rest) = next(rest);
    let (_, rest) = next(rest);
    let (qty_point, rest) = next(rest);
    let (qty_end, _) = next(rest);
    if word_at(window, price_end) & 0xFF_FFFF != BETWEEN
        || window[price_point] != b'.'
        || window[qty_point] != b'.'
    {
        return None;
    }
    let level = BookLevel {
        price: Price(number(window, 0, price_point, price_end, price)?),
        qty: Qty(number(window, price_end + 3, qty_point, qty_end, qty)?),
    };
    Some((level, qty_end, word_at(window, qty_end)))
}

/// Whether the bytes behind a level lead to another one; they are [`NEXT_LEN`].
#[inline(always)]
pub(super) fn is_next(behind: u64) -> bool {
    behind & 0xFF_FFFF_FFFF == NEXT
}

/// Whether the bytes behind a level end its side; they are [`LAST_LEN`].
#[inline(always)]
pub(super) fn is_last(behind: u64) -> bool {
    behind & 0xFF_FFFF == LAST
}

/// Bytes of a window of two numbers with a field's name between them: 48 that they may have, and what reading
/// whole words needs behind.
pub(super) const PAIR_WINDOW: usize = 64;

/// Reads `price`, `between` (in the low `BETWEEN` bytes of a word) and `quantity` at the start of `window`, and
/// tells where they end, at a byte that is no digit. `None`: as [`short_level`].
#[inline(always)]
pub(super) fn short_pair<const BETWEEN: usize>(
    window: &[u8; PAIR_WINDOW],
    between: u64,
    price: &Scale,
    qty: &Scale,
) -> Option<(Price, Qty, usize)> {
    let stops = stops(window);
    let (price_point, rest) = next(stops);
    let (price_end, _) = next(rest);
    let from = price_end + BETWEEN;
    let (qty_point, rest) = next(stops & (u64::MAX << (from & 63)));
    let (qty_end, _) = next(rest);
    if word_at(window, price_end) & (u64::MAX >> (64 - 8 * BETWEEN)) != between
        || window[price_point] != b'.'
        || window[qty_point] != b'.'
    {
        return None;
    }
    let price = number(window, 0, price_point, price_end, price)?;
    let qty = number(window, from, qty_point, qty_end, qty)?;
    Some((Price(price), Qty(qty), qty_end))
}

/// A bit for each of the first 48 bytes that is no ASCII digit.
#[inline(always)]
fn stops<const N: usize>(window: &[u8; N]) -> u64 {
    let mut stops = 0;
    for (block, at) in window.as_chunks::<16>().0.iter().zip([0, 16, 32]) {
        // Moved up so far, the digits are the ten highest numbers of a signed byte.
        let moved = i8x16::from(block.map(u8::cast_signed)) + i8x16::splat(0x7F - 0x39);
        let digits = moved.simd_gt(i8x16::splat(0x75)).to_bitmask();
        stops |= u64::from(!digits as u16) << at;
    }
    stops
}

/// Place of the lowest bit, 0 when there is none, and the bits above it.
#[inline(always)]
fn next(bits: u64) -> (usize, u64) {
    (
        (bits.trailing_zeros() & 63) as usize,
        bits & bits.wrapping_sub(1),
    )
}

/// Eight bytes; `at` is at most 66, in a window of a pair 56.
#[inline(always)]
pub(super) fn word_at<const N: usize>(window: &[u8; N], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&window[at..at + 8]);
    u64::from_le_bytes(word)
}

/// The number from `at` to `end` with its point at `point`; all between are digits.
#[inline(always)]
fn number<const N: usize>(
    window: &[u8; N],
    at: usize,
    point: usize,
    end: usize,
    scale: &Scale,
) -> Option<i64> {
    let whole_len = point.wrapping_sub(at);
    let len = end.wrapping_sub(point).wrapping_sub(1);
    if whole_len.wrapping_sub(1) >= 7 || len.wrapping_sub(1) >= 8 {
        return None;
    }
    let joined = &scale.joined[whole_len];
    let whole = word_at(window, at) ^ ZEROS;
    let digits = word_at(window, point + 1) ^ ZEROS;
    let fraction = digits & (u64::MAX >> ((64 - 8 * len) & 63));
    if fraction & joined.beyond != 0 {
        return None;
    }
    let whole = (whole << ((64 - 8 * whole_len) & 63)) >> (joined.room & 63);
    let eight = eight_digits(whole | (fraction << (joined.shift & 63))) as i64;
    eight.checked_mul(joined.unit)
}

#[cfg(test)]
mod tests {
    use super::super::digits::fixed_prefix;
    use super::*;
    use proptest::prelude::*;

    fn window(text: &str) -> [u8; WINDOW] {
        let mut window = [b'7'; WINDOW];
        let len = text.len().min(WINDOW);
        window[..len].copy_from_slice(&text.as_bytes()[..len]);
        window
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum After {
        Next,
        Last,
    }

    fn read(text: &str, price: u8, qty: u8) -> Option<((i64, i64), usize, After)> {
        let (level, end, behind) = short_level(&window(text), Scale::of(price), Scale::of(qty))?;
        let after = match (is_next(behind), is_last(behind)) {
            (true, false) => After::Next,
            (false, true) => After::Last,
            _ => return None,
        };
        Some(((level.price.0, level.qty.0), end, after))
    }

    #[test]
    fn reads_levels() {
        let next = |level, end| Some((level, end, After::Next));
        assert_eq!(
            read("58710.20\",\"0.014\"],[\"61496.50", 1, 3),
            next((587_102, 14), 16)
        );
        assert_eq!(
            read("61837.63000000\",\"0.02000000\"]],\"a\":[", 2, 6),
            Some(((6_183_763, 20_000), 27, After::Last))
        );
        assert_eq!(
            read("0.1\",\"00.5\"],[\"", 7, 6),
            next((1_000_000, 500_000), 10)
        );
        assert_eq!(read("1.0\",\"2.0\"],[\"", 0, 0), next((1, 2), 9));
    }

    #[test]
    fn leaves_what_is_not_simple() {
        for text in [
            // No point.
            "58710\",\"0.014\"],[\"",
            "58710.20\",\"1\"],[\"",
            // Finer than the scale, or more digits than one word.
            "58710.21\",\"0.014\"],[\"",
            "12345678.5\",\"0.014\"],[\"",
            "1.1000000000\",\"0.014\"],[\"",
            // Not a number, not a pair, not a level's end.
            ".5\",\"0.014\"],[\"",
            "5.\",\"0.014\"],[\"",
            "5.5.5\",\"0.014\"],[\"",
            "-5.5\",\"0.014\"],[\"",
            "5e5\",\"0.014\"],[\"",
            "5.5\" ,\"0.014\"],[\"",
            "5.5\",\"0.014\",\"3\"],[\"",
            "5.5\",\"0.014\"]}",
            "5.5\",\"0.014",
            "",
            "7777777777777777777777777777777777777777777777777.7\",\"1.0\"],[\"",
        ] {
            assert_eq!(read(text, 1, 3), None, "{text}");
        }
    }

    proptest! {
        /// Whatever is read means what the definition says, wherever the window is cut.
        #[test]
        fn agrees_with_the_definition(
            price in "[0-9]{1,9}\\.[0-9]{1,10}",
            qty in "[0-9]{1,9}\\.[0-9]{1,10}",
            behind in "(\"\\],\\[\"|\"\\]\\]|[\"\\],0-9.]{0,6})",
            scales in (0u8..=10, 0u8..=10),
        ) {
            let text = format!("{price}\",\"{qty}{behind}");
            if let Some((level, end, after)) = read(&text, scales.0, scales.1) {
                let number = |text: &str, scale| fixed_prefix(text.as_bytes(), Scale::of(scale));
                let whole = |text: &str, scale| number(text, scale).filter(|n| n.1 == text.len());
                prop_assert_eq!(whole(&price, scales.0).map(|n| n.0), Some(level.0));
                let (read_qty, _) = text[..end].rsplit_once('"').map(|(_, qty)| {
                    (whole(qty, scales.1).map(|n| n.0), qty)
                }).unwrap_or((None, ""));
                prop_assert_eq!(read_qty, Some(level.1));
                let stop = match after { After::Next => "\"],[\"", After::Last => "\"]]" };
                prop_assert!(text[end..].starts_with(stop));
            }
        }

        /// What exchanges send is read: short numbers with a point.
        #[test]
        fn reads_what_is_usual(whole in 0u32..100_000, tick in 0u32..100, qty in 0u32..1_000_000) {
            let text = format!("{whole}.{tick:02}000000\",\"{}.{:03}\"],[\"1", qty / 1000, qty % 1000);
            let expected = (i64::from(whole * 100 + tick), i64::from(qty));
            prop_assert_eq!(read(&text, 2, 3).map(|(level, ..)| level), Some(expected));
        }

        /// As `agrees_with_the_definition`, of two numbers with a name between them.
        #[test]
        fn pairs_agree_with_the_definition(
            price in "[0-9]{1,9}(\\.[0-9]{1,10})?",
            between in "(\",\"q\":\"|\",\"B\":\"|[\",q:.0]{0,8})",
            qty in "[0-9]{1,9}(\\.[0-9]{1,10})?",
            behind in "[\",T:.0-9]{0,9}",
            scales in (0u8..=10, 0u8..=10),
        ) {
            let text = format!("{price}{between}{qty}{behind}");
            let mut window = [b'x'; PAIR_WINDOW];
            let len = text.len().min(PAIR_WINDOW);
            window[..len].copy_from_slice(&text.as_bytes()[..len]);
            let wanted = u64::from_le_bytes(*b"\",\"q\":\"\0");
            let (price_scale, qty_scale) = (Scale::of(scales.0), Scale::of(scales.1));
            if let Some((price, qty, end)) = short_pair::<7>(&window, wanted, price_scale, qty_scale) {
                let (first, second) = text[..end].split_once("\",\"q\":\"").unwrap();
                let whole = |text: &str, scale| {
                    fixed_prefix(text.as_bytes(), scale).filter(|number| number.1 == text.len())
                };
                prop_assert_eq!(whole(first, price_scale).map(|number| number.0), Some(price.0));
                prop_assert_eq!(whole(second, qty_scale).map(|number| number.0), Some(qty.0));
                prop_assert!(!window[end].is_ascii_digit());
            }
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), WINDOW)) {
            let mut window = [0; WINDOW];
            window.copy_from_slice(&bytes);
            let _ = short_level(&window, Scale::of(2), Scale::of(3));
            let mut window = [0; PAIR_WINDOW];
            window.copy_from_slice(&bytes[..PAIR_WINDOW]);
            let between = u64::from_le_bytes(*b"\",\"q\":\"\0");
            let _ = short_pair::<7>(&window, between, Scale::of(2), Scale::of(3));
        }
    }
}
