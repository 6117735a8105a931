//! A floor of `decode`: the digits of a depth update's levels and nothing else, by AVX2 and by somebody who
//! knows how such a frame is written.
//!
//! It takes no field by its name, checks no text, keeps no sequence, looks up no instrument and delivers no
//! event; a frame that is written in another way gives nothing. Both numbers of a level are read at once:
//! the places of points and quotes from a mask of 64 bytes, their digits moved to where they belong at the
//! scale by a shuffle, sixteen of each made one number by three multiplications (Mula and Lemire, "Faster
//! Base64 Encoding and Decoding using AVX2 Instructions", pack by such multiplications).
//!
//! It shares no code with the decoder: a floor that used what it stands beside would move with it.

use std::arch::x86_64::*;

use fearless_simd::{Avx2, Level};

/// Bytes that are looked at from the beginning of a level on.
const WINDOW: usize = 80;
/// `","`, between price and quantity.
const BETWEEN: u64 = u64::from_le_bytes(*b"\",\"\0\0\0\0\0");
/// `"],["`, between two levels.
const NEXT: u64 = u64::from_le_bytes(*b"\"],[\"\0\0\0");
/// Digits of a number, before and behind its point.
const DIGITS: usize = 16;

type Vector = [u8; 16];

/// Which byte of a number goes where, by the place of its point: the last digit of the scale to the end.
struct Shuffles([Vector; DIGITS + 1]);

impl Shuffles {
    fn new(scale: usize) -> Self {
        let mut all = [[0x80; 16]; DIGITS + 1];
        for (point, shuffle) in all.iter_mut().enumerate() {
            for (to, from) in shuffle.iter_mut().enumerate() {
                // Places are counted from the point, which is stepped over.
                let place = (point + scale + to).checked_sub(DIGITS);
                let place = place.map(|place| place + usize::from(place >= point));
                if let Some(place) = place.filter(|place| *place < 16) {
                    *from = place as u8;
                }
            }
        }
        Self(all)
    }
}

/// Keeps so many bytes.
const KEPT: [Vector; DIGITS + 1] = {
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

/// The scanner.
pub struct Scanner {
    simd: Avx2,
    shuffles: Shuffles,
    scale: usize,
}

/// What it found in frames: how many levels, and their numbers added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Levels.
    pub levels: usize,
    /// Price exclusive-or quantity of each, added up.
    pub sum: u64,
}

impl Scanner {
    /// One for numbers at this scale; `None`: the processor has no AVX2.
    pub fn new(scale: u8) -> Option<Self> {
        let scale = usize::from(scale);
        Some(Self {
            simd: Level::new().as_avx2()?,
            shuffles: Shuffles::new(scale),
            scale,
        })
    }

    /// Reads all levels of a frame; `None`: it is written in another way.
    pub fn frame(&self, frame: &[u8], into: &mut Scanned) -> Option<()> {
        sides(self.simd, &self.shuffles, self.scale, frame, into)
    }
}

fn word(window: &[u8; WINDOW], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*window.get(at..)?.first_chunk()?))
}

/// Sixteen bytes; the compiler makes one load of it.
#[inline]
#[target_feature(enable = "avx2")]
fn vector(bytes: &Vector) -> __m128i {
    let [low, high] = *bytes.as_chunks::<8>().0 else {
        return _mm_setzero_si128();
    };
    _mm_set_epi64x(i64::from_le_bytes(high), i64::from_le_bytes(low))
}

#[inline]
#[target_feature(enable = "avx2")]
fn both(low: &Vector, high: &Vector) -> __m256i {
    _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(vector(low)), vector(high))
}

/// A bit for each of 32 bytes that is no digit.
#[inline]
#[target_feature(enable = "avx2")]
fn stops(low: &Vector, high: &Vector) -> u32 {
    // Moved up so far, the digits are the ten highest numbers of a signed byte.
    let moved = _mm256_add_epi8(both(low, high), _mm256_set1_epi8(0x7F - 0x39));
    let digits = _mm256_cmpgt_epi8(moved, _mm256_set1_epi8(0x75));
    !(_mm256_movemask_epi8(digits) as u32)
}

/// Price and quantity of the level at the start, and where it ends.
#[inline]
#[target_feature(enable = "avx2")]
fn level(shuffles: &Shuffles, scale: usize, window: &[u8; WINDOW]) -> Option<(u64, u64, usize)> {
    let [a, b, c, d, _] = window.as_chunks::<16>().0 else {
        return None;
    };
    let stops = u64::from(stops(a, b)) | u64::from(stops(c, d)) << 32;
    let next = |stops: u64| {
        (
            stops.trailing_zeros() as usize,
            stops & stops.wrapping_sub(1),
        )
    };
    let (point, rest) = next(stops);
    let (end, rest) = next(rest);
    let (_, rest) = next(rest);
    let (_, rest) = next(rest);
    let (second_point, rest) = next(rest);
    let (second_end, _) = next(rest);
    let second = end + 3;
    // What is out of order comes out as more than there can be.
    let (whole, length) = (
        second_point.wrapping_sub(second),
        second_end.wrapping_sub(second),
    );
    let (fraction, second_fraction) = (end - point, second_end.wrapping_sub(second_point));
    let is_known = word(window, end)? & 0xFF_FFFF == BETWEEN
        && point.max(whole) <= DIGITS - scale
        && fraction.max(second_fraction) <= scale + 1
        && end.max(length) <= DIGITS;
    if !is_known {
        return None;
    }
    let digits = both(window.first_chunk()?, window.get(second..)?.first_chunk()?);
    let kept = both(KEPT.get(end)?, KEPT.get(length)?);
    let shuffle = both(shuffles.0.get(point)?, shuffles.0.get(whole)?);
    let digits = _mm256_sub_epi8(digits, _mm256_set1_epi8(0x30));
    let digits = _mm256_shuffle_epi8(_mm256_and_si256(digits, kept), shuffle);
    let pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi16(0x010A));
    let fours = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x0001_0064));
    let fours = _mm256_packus_epi32(fours, fours);
    let eights = _mm256_madd_epi16(fours, _mm256_set1_epi32(0x0001_2710));
    let price = _mm_cvtsi128_si64(_mm256_castsi256_si128(eights)) as u64;
    let quantity = _mm_cvtsi128_si64(_mm256_extracti128_si256::<1>(eights)) as u64;
    let number = |two: u64| (two & 0xFFFF_FFFF) * 100_000_000 + (two >> 32);
    Some((number(price), number(quantity), second_end))
}

fearless_simd::kernel!(
    fn sides(
        simd: Avx2,
        shuffles: &Shuffles,
        scale: usize,
        frame: &[u8],
        into: &mut Scanned,
    ) -> Option<()> {
        let _ = simd;
        let mut rest = frame;
        for _ in 0..2 {
            rest = rest.get(memchr::memchr(b'[', rest)? + 1..)?;
            if rest.first() == Some(&b']') {
                continue;
            }
            rest = rest.get(2..)?;
            loop {
                let mut padded = [0; WINDOW];
                let window = match rest.first_chunk::<WINDOW>() {
                    Some(window) => window,
                    None => {
                        padded.get_mut(..rest.len())?.copy_from_slice(rest);
                        &padded
                    }
                };
                let (price, quantity, end) = level(shuffles, scale, window)?;
                into.levels += 1;
                into.sum = into.sum.wrapping_add(price ^ quantity);
                let is_next = word(window, end)? & 0xFF_FFFF_FFFF == NEXT;
                rest = rest.get(end + if is_next { 5 } else { 3 }..)?;
                if !is_next {
                    break;
                }
            }
        }
        Some(())
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Option<Scanned> {
        let scanner = Scanner::new(8)?;
        let mut found = Scanned::default();
        scanner.frame(text.as_bytes(), &mut found)?;
        Some(found)
    }

    #[test]
    fn digits_become_numbers() {
        if Level::new().as_avx2().is_none() {
            return;
        }
        let text =
            r#"{"u":7,"b":[["61837.63000000","0.02000000"],["1.5","1234567.12345678"]],"a":[]}"#;
        let sum = (6_183_763_000_000 ^ 2_000_000) + (150_000_000 ^ 123_456_712_345_678);
        assert_eq!(scan(text), Some(Scanned { levels: 2, sum }));
        // Another way of writing is not read as something else.
        for text in [
            r#"{"b":[["123456789.5","0.02"]],"a":[]}"#,
            r#"{"b":[["1.123456789","0.02"]],"a":[]}"#,
            r#"{"b":[["1.5" ,"0.02"]],"a":[]}"#,
            r#"{"b":[["15","0.02"]],"a":[]}"#,
            r#"{"b":7}"#,
        ] {
            assert_eq!(scan(text), None, "{text}");
        }
    }
}
