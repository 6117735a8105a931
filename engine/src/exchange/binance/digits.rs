//! Decimal text to mantissas, eight digits at a time.
//!
//! Binance writes prices and quantities as plain decimal text inside quotes. Reading them is most
//! of the work of decoding a book, so it is done here on 64-bit words without a branch per digit.
//! What this file can't read in that way it hands to [`crate::num::parse_fixed`], which defines
//! the meaning; the two are compared by a property test.

use crate::num::{NumError, POW10, SCALE_MAX, parse_fixed};

/// `0x30` (`'0'`) in every byte.
pub(super) const ZEROS: u64 = 0x3030_3030_3030_3030;
/// The high bit of every byte.
const HIGH: u64 = 0x8080_8080_8080_8080;
/// One in every byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// The first eight bytes, the first in the lowest place; missing ones are 0.
#[inline(always)]
pub(super) fn word(tail: &[u8]) -> u64 {
    match tail.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => short_word(tail),
    }
}

#[cold]
fn short_word(tail: &[u8]) -> u64 {
    tail.iter()
        .take(8)
        .rev()
        .fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// Index of the first byte of `text` that is not an ASCII digit, 8 when all are; `text` has been
/// xor-ed with [`ZEROS`].
#[inline(always)]
fn digit_count(digits: u64) -> usize {
    // A digit is at most 9, so that adding 0x76 leaves its high bit clear. A carry can only come
    // out of a byte that is itself no digit, and only the first one is looked for.
    let stops = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & HIGH;
    (stops.trailing_zeros() / 8) as usize
}

/// The value of eight digits, the most significant in the lowest byte.
#[inline(always)]
pub(super) fn eight_digits(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let low = (pairs & 0x0000_00FF_0000_00FF).wrapping_mul(0x000F_4240_0000_0064);
    let high = ((pairs >> 16) & 0x0000_00FF_0000_00FF).wrapping_mul(0x0000_2710_0000_0001);
    low.wrapping_add(high) >> 32
}

/// Index of the first byte that ends or complicates a JSON string: a quote, a backslash, a control
/// character or a byte that is not ASCII; 8 when there is none.
#[inline(always)]
pub(super) fn string_stop(word: u64) -> usize {
    let zero_bytes = |value: u64| value.wrapping_sub(ONES) & !value & HIGH;
    let quote = zero_bytes(word ^ (ONES * b'"' as u64));
    let backslash = zero_bytes(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    ((quote | backslash | control | (word & HIGH)).trailing_zeros() / 8) as usize
}

/// What is needed of a scale to read a number at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) digits: u8,
    /// Bytes of the fraction's first word that must be zero: those beyond the scale.
    beyond: u64,
    /// Moves the fraction's digits to the end of their word.
    shift: u32,
    /// What a fraction of eight digits is worth at this scale.
    fraction_unit: i64,
    /// What 1 is worth at this scale.
    unit: i64,
    /// How to read a number of eight digits in all, by how many of them are before the point.
    pub(super) joined: [Joined; 8],
    /// How to read a number of sixteen bytes.
    #[cfg(target_arch = "x86_64")]
    pub(super) shuffles: super::avx2::Shuffles,
}

/// How the digits before and behind a point become one word of eight and a mantissa: as many of the
/// fraction as there is room for and the scale has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Joined {
    /// Bytes of the fraction's word that must be zero.
    pub(super) beyond: u64,
    /// Makes room for the fraction behind the whole digits.
    pub(super) room: u32,
    /// Moves the fraction there.
    pub(super) shift: u32,
    /// What the last of the eight digits is worth at the scale.
    pub(super) unit: i64,
}

impl Joined {
    const fn new(scale: u8, whole_len: usize) -> Self {
        let room = 8 - whole_len;
        let digits = if (scale as usize) < room {
            scale as usize
        } else {
            room
        };
        Self {
            beyond: if digits == 8 {
                0
            } else {
                u64::MAX << (8 * digits)
            },
            // Without digits on one of the sides any shift will do.
            room: if digits == 8 { 0 } else { 8 * digits as u32 },
            shift: if digits == 0 {
                0
            } else {
                64 - 8 * digits as u32
            },
            unit: POW10[scale as usize - digits],
        }
    }
}

impl Scale {
    const fn new(digits: u8) -> Self {
        let capped = if digits < 8 { digits as u32 } else { 8 };
        Self {
            digits,
            beyond: if capped == 8 {
                0
            } else {
                u64::MAX << (8 * capped)
            },
            // A scale of 0 leaves no fraction, so that any shift will do.
            shift: if capped == 0 { 0 } else { 64 - 8 * capped },
            fraction_unit: if digits > 8 {
                POW10[digits as usize - 8]
            } else {
                1
            },
            unit: POW10[digits as usize],
            joined: [
                Joined::new(digits, 0),
                Joined::new(digits, 1),
                Joined::new(digits, 2),
                Joined::new(digits, 3),
                Joined::new(digits, 4),
                Joined::new(digits, 5),
                Joined::new(digits, 6),
                Joined::new(digits, 7),
            ],
            #[cfg(target_arch = "x86_64")]
            shuffles: super::avx2::shuffles(digits as usize),
        }
    }

    /// The scale of `digits` after the point; more than [`SCALE_MAX`] is cut to it.
    #[inline(always)]
    pub(super) fn of(digits: u8) -> &'static Self {
        &SCALES[usize::from(digits.min(SCALE_MAX))]
    }
}

static SCALES: [Scale; SCALE_MAX as usize + 1] = {
    let mut all = [Scale::new(0); SCALE_MAX as usize + 1];
    let mut digits = 0;
    while digits <= SCALE_MAX {
        all[digits as usize] = Scale::new(digits);
        digits += 1;
    }
    all
};

/// Reads `digits[.digits]` from the start of `tail` and tells how many bytes it took.
///
/// `None` when there is no such number, or when it does not fit `scale` exactly: the caller asks
/// [`parse_fixed`] for the reason.
#[inline(always)]
pub(super) fn fixed_prefix(tail: &[u8], scale: &Scale) -> Option<(i64, usize)> {
    let first = word(tail);
    let whole_digits = first ^ ZEROS;
    let whole_len = digit_count(whole_digits);
    if whole_len == 0 {
        return None;
    }
    if whole_len == 8 {
        return fixed_prefix_long(tail, scale);
    }
    let whole = eight_digits(whole_digits << (64 - 8 * whole_len)) as i64;
    let whole = whole.checked_mul(scale.unit)?;
    if (first >> (8 * whole_len)) as u8 != b'.' {
        return Some((whole, whole_len));
    }
    let fraction_tail = tail.get(whole_len + 1..)?;
    let fraction_digits = word(fraction_tail) ^ ZEROS;
    let fraction_len = digit_count(fraction_digits);
    if fraction_len == 0 {
        return None;
    }
    let kept = if fraction_len == 8 {
        if fraction_tail.get(8).is_some_and(u8::is_ascii_digit) {
            return fixed_prefix_long(tail, scale);
        }
        fraction_digits
    } else {
        fraction_digits & !(u64::MAX << (8 * fraction_len))
    };
    if kept & scale.beyond != 0 {
        return None;
    }
    let fraction = eight_digits(kept << scale.shift) as i64;
    let fraction = fraction.checked_mul(scale.fraction_unit)?;
    Some((whole.checked_add(fraction)?, whole_len + 1 + fraction_len))
}

/// [`fixed_prefix`] for eight and more digits before the point or more than eight after it.
#[inline(never)]
fn fixed_prefix_long(tail: &[u8], scale: &Scale) -> Option<(i64, usize)> {
    let len = tail
        .iter()
        .position(|&byte| !byte.is_ascii_digit() && byte != b'.')
        .unwrap_or(tail.len());
    let mantissa = parse_fixed(tail.get(..len)?, scale.digits).ok()?;
    Some((mantissa, len))
}

/// Reads an unsigned integer without leading zeros from the start of `tail` and tells how many
/// bytes it took. `None` for anything else and for more than 18 digits.
#[inline(always)]
pub(super) fn integer_prefix(tail: &[u8]) -> Option<(u64, usize)> {
    let (value, len) = match two_words(tail) {
        // Times and ids have nine to fifteen digits.
        Some((low, high)) if digit_count(low) == 8 && digit_count(high) < 8 => {
            let more = digit_count(high);
            // In two steps: there may be nothing more.
            let rest = eight_digits(high << (56 - 8 * more) << 8);
            let value = eight_digits(low) * POW10[more] as u64 + rest;
            (value, if low as u8 == 0 { 0 } else { 8 + more })
        }
        _ => integer_prefix_any(tail),
    };
    (len > 0).then_some((value, len))
}

/// As [`integer_prefix`], of which only the length is wanted.
#[inline(always)]
pub(super) fn integer_len(tail: &[u8]) -> Option<usize> {
    let len = match two_words(tail) {
        Some((low, high)) if digit_count(low) == 8 && digit_count(high) < 8 => {
            if low as u8 == 0 {
                0
            } else {
                8 + digit_count(high)
            }
        }
        _ => integer_prefix_any(tail).1,
    };
    (len > 0).then_some(len)
}

/// The first sixteen bytes, xor-ed with [`ZEROS`].
#[inline(always)]
fn two_words(tail: &[u8]) -> Option<(u64, u64)> {
    let chunk = tail.first_chunk::<16>()?;
    let (low, high) = (chunk.first_chunk::<8>()?, chunk.last_chunk::<8>()?);
    let digits = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) ^ ZEROS;
    Some((digits(low), digits(high)))
}

/// [`integer_prefix`] of any length, anywhere; a length of 0 where there is none.
#[inline(never)]
fn integer_prefix_any(tail: &[u8]) -> (u64, usize) {
    let mut value = 0_u64;
    let mut taken = 0;
    while let Some(rest) = tail.get(taken..) {
        let digits = word(rest) ^ ZEROS;
        let len = digit_count(digits);
        taken += len;
        if taken > 18 {
            return (0, 0);
        }
        if len > 0 {
            value = value * POW10[len] as u64 + eight_digits(digits << (64 - 8 * len));
        }
        if len < 8 {
            break;
        }
    }
    let is_plain = taken == 1 || (taken > 1 && tail.first() != Some(&b'0'));
    if is_plain { (value, taken) } else { (0, 0) }
}

/// Reads unsigned text as a whole at `scale`.
///
/// # Errors
/// As [`parse_fixed`]; a minus sign is [`NumError::Malformed`], since Binance sends no negative
/// price or quantity.
pub(super) fn fixed(text: &[u8], scale: u8) -> Result<i64, NumError> {
    if text.first() == Some(&b'-') {
        return Err(NumError::Malformed);
    }
    parse_fixed(text, scale)
}

/// Reads unsigned text at a scale of up to 36 digits, for values in quote units of bars.
///
/// # Errors
/// As [`fixed`].
pub(super) fn fixed_wide(text: &[u8], scale: u8) -> Result<i128, NumError> {
    let (whole, fraction) = match memchr::memchr(b'.', text) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, &b"0"[..]),
    };
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !is_number(whole) || !is_number(fraction) {
        return Err(NumError::Malformed);
    }
    let (kept, beyond) = fraction.split_at(fraction.len().min(usize::from(scale)));
    if beyond.iter().any(|&byte| byte != b'0') {
        return Err(NumError::TooPrecise);
    }
    let padding = usize::from(scale) - kept.len();
    let zeros = std::iter::repeat_n(&b'0', padding);
    whole
        .iter()
        .chain(kept)
        .chain(zeros)
        .try_fold(0_i128, |value, &byte| {
            value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))
        })
        .ok_or(NumError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, scale: u8) {
        let expected = fixed(text.as_bytes(), scale).ok().map(|m| (m, text.len()));
        for end in ["", "\"", "\",\"0.5\"],[\"", "\u{0}", "x23456789"] {
            let tail = format!("{text}{end}");
            let got = fixed_prefix(tail.as_bytes(), Scale::of(scale));
            assert_eq!(
                got.filter(|&(_, len)| len == text.len()),
                expected,
                "{tail} at {scale}"
            );
        }
    }

    #[test]
    fn reads_what_the_definition_reads() {
        for text in [
            "0",
            "1",
            "0.0",
            "1.5",
            "61737.63000000",
            "0.00000074528",
            "1234567",
            "12345678",
            "123456789",
            "12345678.12345678",
            "1.123456789",
            "0.12345678",
            "9223372036854775807",
            "9223372036854775808",
            "99999999999999999999999",
            "00012.50",
            "7.",
            ".5",
            "",
            "-1",
            "1e5",
            "1.2.3",
            "1234567.",
            "0.000000000000000001",
        ] {
            for scale in 0..=SCALE_MAX {
                check(text, scale);
            }
        }
    }

    #[test]
    fn reads_integers() {
        let row = |text: &str| {
            let short = integer_prefix(text.as_bytes());
            let long = format!("{text}}}\"abcdefghijklmno");
            let rows = [integer_prefix(long.as_bytes()), short];
            assert!(text.is_empty() || rows[0] == rows[1], "{text}: {rows:?}");
            assert_eq!(integer_len(long.as_bytes()), rows[0].map(|number| number.1));
            short
        };
        assert_eq!(row("0,"), Some((0, 1)));
        assert_eq!(row("1723161255208,\"s\""), Some((1_723_161_255_208, 13)));
        assert_eq!(row("12345678"), Some((12_345_678, 8)));
        assert_eq!(row("1234567890123456}"), Some((1_234_567_890_123_456, 16)));
        assert_eq!(
            row("999999999999999999"),
            Some((999_999_999_999_999_999, 18))
        );
        for text in [
            "",
            "-1",
            "01",
            "00",
            "x",
            "1234567890123456789",
            "999999999999999999999999",
        ] {
            assert_eq!(row(text), None, "{text}");
        }
    }

    #[test]
    fn finds_the_end_of_a_string() {
        for (text, expected) in [
            ("abcdefgh", 8),
            ("abc\"defg", 3),
            ("ab\\cdefg", 2),
            ("a\ncdefgh", 1),
            ("abcdéf", 4),
            ("\"\"\"\"\"\"\"\"", 0),
            ("abcdefg\"", 7),
            (" !#[]~\u{7f}\"", 7),
        ] {
            assert_eq!(string_stop(word(text.as_bytes())), expected, "{text}");
        }
    }

    #[test]
    fn reads_wide_numbers() {
        assert_eq!(fixed_wide(b"70846.76968900", 6), Ok(70_846_769_689));
        assert_eq!(fixed_wide(b"70846.7", 10), Ok(708_467_000_000_000));
        assert_eq!(fixed_wide(b"12", 0), Ok(12));
        assert_eq!(fixed_wide(b"0.5", 0), Err(NumError::TooPrecise));
        assert_eq!(
            fixed_wide(b"99999999999999999999", 36),
            Err(NumError::Overflow)
        );
        for text in ["", ".", "1.", ".1", "-1", "1e3", "1.1.1"] {
            assert_eq!(
                fixed_wide(text.as_bytes(), 8),
                Err(NumError::Malformed),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(text in "[0-9]{0,20}(\\.[0-9]{0,20})?", scale in 0u8..=18) {
            check(&text, scale);
        }

        #[test]
        fn integers_agree_with_std(value in any::<u64>()) {
            let text = format!("{value},");
            let expected = (value < 1_000_000_000_000_000_000).then_some((value, text.len() - 1));
            prop_assert_eq!(integer_prefix(text.as_bytes()), expected);
            // Where more follows, whole words are read.
            let text = format!("{text}\"s\":\"BTCUSDT\"");
            prop_assert_eq!(integer_prefix(text.as_bytes()), expected);
            prop_assert_eq!(integer_len(text.as_bytes()), expected.map(|number| number.1));
        }

        #[test]
        fn wide_agrees_with_narrow(text in "[0-9]{1,9}(\\.[0-9]{1,12})?", scale in 0u8..=9) {
            let narrow = fixed(text.as_bytes(), scale).map(i128::from);
            prop_assert_eq!(fixed_wide(text.as_bytes(), scale), narrow);
        }
    }
}
