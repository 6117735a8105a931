//! Levels of a book one after the other, with AVX2: what [`super::level`] does, in half the instructions.
//!
//! Both numbers of a level are read at once. The places of points and quotes come from a mask of 64 bytes.
//! One shuffle moves the digits of each number to where they belong at the scale, so that nothing has to be
//! multiplied afterwards, and three multiplications make a number of sixteen digits. What is not written
//! as simply as that is left to [`super::level`]; property tests hold the two together. Chosen when the
//! processor has it; figures: docs/decisions/008-reading-levels.md.

use std::arch::x86_64::*;
use std::sync::LazyLock;

use fearless_simd::{Avx2, Level};

use crate::event::BookLevel;
use crate::num::{Price, Qty};

use super::digits::Scale;
use super::level::{BETWEEN, LAST_LEN, NEXT_LEN, WINDOW, is_last, is_next, word_at};

/// Digits of a number, point included.
pub(super) const DIGITS: usize = 16;

/// Sixteen bytes.
pub(super) type Vector = [u8; 16];

/// Where each byte of a number comes from, by the place of its point, for one scale: the last digit of
/// the scale goes to the end.
pub(super) type Shuffles = [Vector; DIGITS + 1];

/// The processor's AVX2, where it has it.
static SIMD: LazyLock<Option<Avx2>> = LazyLock::new(|| Level::new().as_avx2());

/// The shuffles of a scale.
pub(super) const fn shuffles(scale: usize) -> Shuffles {
    let mut all = [[0x80; 16]; DIGITS + 1];
    let mut point = 0;
    while point <= DIGITS {
        let mut to = 0;
        while to < DIGITS {
            // Counted from the number's start as if it had no point; that is stepped over.
            if point + scale + to >= DIGITS {
                let digit = point + scale + to - DIGITS;
                let from = if digit < point { digit } else { digit + 1 };
                if from < DIGITS {
                    all[point][to] = from as u8;
                }
            }
            to += 1;
        }
        point += 1;
    }
    all
}

/// Keeps so many bytes.
static KEPT: Shuffles = {
    let mut all = [[0; 16]; DIGITS + 1];
    let mut length = 0;
    while length <= DIGITS {
        let mut at = 0;
        while at < length {
            all[length][at] = 0xFF;
            at += 1;
        }
        length += 1;
    }
    all
};

/// How far levels were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The side has ended: behind its end.
    Side(usize),
    /// Up to a level that is not as simple, or of which too little is there.
    Level(usize),
}

/// Reads levels from the start of `rest` while they are simple. `None`: the processor can't.
#[inline(always)]
pub(super) fn levels(
    rest: &[u8],
    price: &Scale,
    qty: &Scale,
    out: &mut Vec<BookLevel>,
) -> Option<Read> {
    (*SIMD).map(|simd| run(simd, rest, price, qty, out))
}

fearless_simd::kernel!(
    fn run(simd: Avx2, rest: &[u8], price: &Scale, qty: &Scale, out: &mut Vec<BookLevel>) -> Read {
        // It stands for what the processor can.
        let _ = simd;
        let mut at = 0;
        loop {
            let window = rest.get(at..).and_then(|rest| rest.first_chunk::<WINDOW>());
            let Some((level, end)) = window.and_then(|window| level(window, price, qty)) else {
                return Read::Level(at);
            };
            let behind = window.map_or(0, |window| word_at(window, end));
            if is_next(behind) {
                out.push(level);
                at += end + NEXT_LEN;
            } else if is_last(behind) {
                out.push(level);
                return Read::Side(at + end + LAST_LEN);
            } else {
                return Read::Level(at);
            }
        }
    }
);

/// The level at the start, and where its quantity ends.
#[inline]
#[target_feature(enable = "avx2")]
fn level(window: &[u8; WINDOW], price: &Scale, qty: &Scale) -> Option<(BookLevel, usize)> {
    let [a, b, c, d, _] = window.as_chunks::<16>().0 else {
        return None;
    };
    let stops = u64::from(stops(a, b)) | u64::from(stops(c, d)) << 32;
    let next = |stops: u64| {
        let place = stops.trailing_zeros() as usize;
        (place, stops & stops.wrapping_sub(1))
    };
    // Six bytes that are no digits: `.` `"` `,` `"` `.` `"`.
    let (point, rest) = next(stops);
    let (end, rest) = next(rest);
    let (_, rest) = next(rest);
    let (_, rest) = next(rest);
    let (second_point, rest) = next(rest);
    let (second_end, _) = next(rest);
    let second = end + 3;
    // What is out of order comes out as more than there may be.
    let first = Places::of(0, point, end);
    let other = Places::of(second, second_point, second_end);
    if !first.fit(price) || !other.fit(qty) {
        return None;
    }
    if word_at(window, end) & 0xFF_FFFF != BETWEEN
        || *window.get(point)? != b'.'
        || *window.get(second_point)? != b'.'
    {
        return None;
    }
    let digits = both(window.first_chunk()?, window.get(second..)?.first_chunk()?);
    let kept = both(KEPT.get(first.len)?, KEPT.get(other.len)?);
    let shuffle = both(
        price.shuffles.get(first.whole)?,
        qty.shuffles.get(other.whole)?,
    );
    let digits = _mm256_sub_epi8(digits, _mm256_set1_epi8(0x30));
    let digits = _mm256_shuffle_epi8(_mm256_and_si256(digits, kept), shuffle);
    let pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010A));
    let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_0064));
    let fours = _mm256_packus_epi32(fours, fours);
    let eights = _mm256_madd_epi16(fours, _mm256_set1_epi32(0x0001_2710));
    let first = _mm_cvtsi128_si64(_mm256_castsi256_si128(eights));
    let other = _mm_cvtsi128_si64(_mm256_extracti128_si256::<1>(eights));
    // Two numbers of eight digits, the higher in the lower half: below 10^16 together.
    let number = |two: i64| (two & 0xFFFF_FFFF) * 100_000_000 + (two >> 32);
    let level = BookLevel {
        price: Price(number(first)),
        qty: Qty(number(other)),
    };
    Some((level, second_end))
}

/// The lengths of a number.
#[derive(Clone, Copy)]
struct Places {
    whole: usize,
    fraction: usize,
    len: usize,
}

impl Places {
    #[inline(always)]
    fn of(start: usize, point: usize, end: usize) -> Self {
        Self {
            whole: point.wrapping_sub(start),
            fraction: end.wrapping_sub(point).wrapping_sub(1),
            len: end.wrapping_sub(start),
        }
    }

    /// Whether the number has digits on both sides of the point and room at the scale.
    #[inline(always)]
    fn fit(self, scale: &Scale) -> bool {
        let digits = usize::from(scale.digits);
        self.whole.wrapping_sub(1) < DIGITS.saturating_sub(digits)
            && self.fraction.wrapping_sub(1) < digits
            && self.len <= DIGITS
    }
}

/// Sixteen bytes; the compiler makes one load of it.
#[inline]
#[target_feature(enable = "avx2")]
fn vector(bytes: &Vector) -> __m128i {
    let number = u128::from_le_bytes(*bytes);
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

#[inline]
#[target_feature(enable = "avx2")]
fn both(low: &Vector, high: &Vector) -> __m256i {
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(vector(low)), vector(high))
}

/// A bit for each of 32 bytes that is no ASCII digit.
#[inline]
#[target_feature(enable = "avx2")]
fn stops(low: &Vector, high: &Vector) -> u32 {
    // Moved up so far, the digits are the ten highest numbers of a signed byte.
    let moved = _mm256_add_epi8(both(low, high), _mm256_set1_epi8(0x7F - 0x39));
    let digits = _mm256_cmpgt_epi8(moved, _mm256_set1_epi8(0x75));
    !(_mm256_movemask_epi8(digits) as u32)
}

#[cfg(test)]
mod tests {
    use super::super::digits::fixed_prefix;
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str, price: u8, qty: u8) -> Option<(Vec<(i64, i64)>, Read)> {
        let mut padded = text.as_bytes().to_vec();
        padded.resize(text.len() + WINDOW, b'7');
        let mut out = Vec::new();
        let read = levels(&padded, Scale::of(price), Scale::of(qty), &mut out)?;
        let out = out.iter().map(|level| (level.price.0, level.qty.0));
        Some((out.collect(), read))
    }

    #[test]
    fn reads_sides() {
        if SIMD.is_none() {
            return;
        }
        let text =
            "58710.20\",\"0.014\"],[\"61837.63000000\",\"0.02000000\"],[\"0.1\",\"00.5\"]],\"a\"";
        let levels = vec![
            (5_871_020_000_000, 1_400_000),
            (6_183_763_000_000, 2_000_000),
            (10_000_000, 50_000_000),
        ];
        let len = text.len() - 4;
        assert_eq!(read(text, 8, 8), Some((levels, Read::Side(len))));
        let text = "12345678.1\",\"1234567.12345678\"],[\"7";
        let levels = vec![(1_234_567_810_000_000, 123_456_712_345_678)];
        assert_eq!(
            read(text, 8, 8),
            Some((levels, Read::Level(text.len() - 1)))
        );
        // Little of the scale is used, or much.
        let text = "1.5\",\"7.5\"]]";
        let side = |level| Some((vec![level], Read::Side(text.len())));
        assert_eq!(read(text, 1, 2), side((15, 750)));
        assert_eq!(
            read(text, 15, 14),
            side((1_500_000_000_000_000, 750_000_000_000_000))
        );
    }

    #[test]
    fn leaves_what_is_not_simple() {
        if SIMD.is_none() {
            return;
        }
        for text in [
            // No point.
            "58710\",\"0.014\"],[\"",
            "58710.20\",\"1\"],[\"",
            // Finer than the scale, or more digits than there is room for.
            "58710.21000\",\"0.014\"],[\"",
            "1.1000000000\",\"0.014\"],[\"",
            "12345678901234.5\",\"0.014\"],[\"",
            // Not a number, not a pair, not a level's end.
            ".5\",\"0.014\"],[\"",
            "5.\",\"0.014\"],[\"",
            "5.5.5\",\"0.014\"],[\"",
            "5:5\",\"0.014\"],[\"",
            "5.5\",\"0/014\"],[\"",
            "-5.5\",\"0.014\"],[\"",
            "5e5\",\"0.014\"],[\"",
            "5.5\" ,\"0.014\"],[\"",
            "5.5\",\"0.014\",\"3\"],[\"",
            "5.5\",\"0.014\"]}",
            "5.5\",\"0.014",
            "",
        ] {
            assert_eq!(read(text, 4, 3), Some((vec![], Read::Level(0))), "{text}");
        }
        // Scales that leave no room for a whole part, or have no fraction.
        for scales in [(16, 3), (18, 3), (3, 0), (0, 0)] {
            let read = read("1.0\",\"2.0\"]]", scales.0, scales.1);
            assert_eq!(read, Some((vec![], Read::Level(0))), "{scales:?}");
        }
        let mut out = Vec::new();
        let cut = b"1.5\",\"7.5\"]]";
        let read = levels(cut, Scale::of(8), Scale::of(8), &mut out);
        assert_eq!((read, out.len()), (Some(Read::Level(0)), 0));
    }

    proptest! {
        /// Whatever is read means what the definition says.
        #[test]
        fn agrees_with_the_definition(
            rows in proptest::collection::vec(("[0-9]{1,9}\\.[0-9]{1,10}", "[0-9]{1,9}\\.[0-9]{1,10}"), 1..5),
            behind in "(\"\\],\\[\"|\"\\]\\]|[\"\\],0-9.]{0,6})",
            scales in (0u8..=18, 0u8..=18),
        ) {
            let rows: Vec<String> = rows.iter().map(|(p, q)| format!("{p}\",\"{q}")).collect();
            let text = format!("{}{behind}", rows.join("\"],[\""));
            let Some((found, read)) = read(&text, scales.0, scales.1) else { return Ok(()) };
            let number = |text: &str, scale| {
                let number = fixed_prefix(text.as_bytes(), Scale::of(scale));
                number.filter(|number| number.1 == text.len()).map(|number| number.0)
            };
            let mut at = 0;
            for (level, row) in found.iter().zip(&rows) {
                let (price, qty) = row.split_once("\",\"").unwrap();
                prop_assert_eq!(number(price, scales.0), Some(level.0));
                prop_assert_eq!(number(qty, scales.1), Some(level.1));
                at += row.len() + NEXT_LEN;
            }
            match read {
                Read::Level(end) => prop_assert_eq!(end, at),
                Read::Side(end) => {
                    prop_assert_eq!(found.len(), rows.len());
                    prop_assert_eq!(end, at - NEXT_LEN + LAST_LEN);
                    prop_assert!(text[..end].ends_with("\"]]"));
                }
            }
        }

        /// What exchanges send is read.
        #[test]
        fn reads_what_is_usual(whole in 0u32..1_000_000, tick in 0u32..100, qty in 0u32..1_000_000) {
            if SIMD.is_none() { return Ok(()) }
            let text = format!("{whole}.{tick:02}000000\",\"{}.{:03}\"]]", qty / 1000, qty % 1000);
            let price = i64::from(whole) * 100_000_000 + i64::from(tick) * 1_000_000;
            let expected = (vec![(price, i64::from(qty) * 100_000)], Read::Side(text.len()));
            prop_assert_eq!(read(&text, 8, 8), Some(expected));
        }

        #[test]
        fn arbitrary_bytes_do_no_harm(
            bytes in proptest::collection::vec(prop_oneof![any::<u8>(), proptest::sample::select(b"0123456789.\",[]".to_vec())], 0..300),
            scales in (0u8..=18, 0u8..=18),
        ) {
            let mut out = Vec::new();
            if let Some(Read::Level(at) | Read::Side(at)) =
                levels(&bytes, Scale::of(scales.0), Scale::of(scales.1), &mut out)
            {
                prop_assert!(at <= bytes.len());
            }
        }
    }
}
