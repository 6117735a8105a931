//! Mantissas to decimal text, sixteen digits at a time.
//!
//! Most of encoding a book is writing its numbers. Scales have room for more digits than most
//! numbers use, so that zeros at the end have to go; both ends of what remains are found by counting
//! bits, and copied in pieces of a fixed length, of which the end is cut off again.

use super::SCALE_MAX;

/// `0x30` (`'0'`) in every byte.
const ZEROS: u64 = 0x3030_3030_3030_3030;
/// What eight digits can hold.
const EIGHT: u64 = 100_000_000;

/// Appends `mantissa × 10^-scale` in plain form: no exponent, no trailing zeros, no `-0`.
#[inline]
pub fn write_fixed(out: &mut Vec<u8>, mantissa: i64, scale: u8) {
    debug_assert!(scale <= SCALE_MAX);
    let magnitude = mantissa.unsigned_abs();
    let scale = usize::from(scale);
    // At least one digit has to be left before the point.
    if magnitude >= EIGHT * EIGHT || scale > 15 {
        return write_long(out, mantissa, scale);
    }
    if mantissa < 0 {
        out.push(b'-');
    }
    let (high, low) = (
        eight_digits(magnitude / EIGHT),
        eight_digits(magnitude % EIGHT),
    );
    if scale == 8 {
        // What most instruments have: the point lies between the words.
        let zeros_before = (high.trailing_zeros() as usize / 8).min(7);
        append(out, (high | ZEROS) >> (8 * zeros_before), 8 - zeros_before);
        if low != 0 {
            out.push(b'.');
            append(out, low | ZEROS, 8 - low.leading_zeros() as usize / 8);
        }
        return;
    }
    let digits = u128::from(high) | (u128::from(low) << 64);
    let text = digits | (u128::from(ZEROS) << 64) | u128::from(ZEROS);
    let point = 16 - scale;
    // The first digit is the lowest byte.
    let first = (digits.trailing_zeros() as usize / 8).min(point - 1);
    let last = (16 - digits.leading_zeros() as usize / 8).max(point);
    append_long(out, text >> (8 * first), point - first);
    if last > point {
        out.push(b'.');
        append_long(out, text >> (8 * point), last - point);
    }
}

/// Appends `len` of eight bytes: all of them, and takes what is too much away again, which is faster
/// than copying so many.
#[inline(always)]
fn append(out: &mut Vec<u8>, text: u64, len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(end);
}

/// [`append`] for up to sixteen bytes.
#[inline(always)]
fn append_long(out: &mut Vec<u8>, text: u128, len: usize) {
    let end = out.len() + len;
    out.extend_from_slice(&text.to_le_bytes());
    out.truncate(end);
}

/// The digits of a number below 10^8, a byte each, the most significant in the lowest byte.
#[inline(always)]
fn eight_digits(value: u64) -> u64 {
    // Halves, quarters, eighths: each step divides all parts by 100 or 10 at once, by multiplying
    // with a reciprocal that is exact for numbers of that size.
    let halves = (value / 10_000) | ((value % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let quarters = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((quarters - tens * 10) << 8)
}

/// [`write_fixed`] for any mantissa and scale.
fn write_long(out: &mut Vec<u8>, mantissa: i64, mut scale: usize) {
    let mut magnitude = mantissa.unsigned_abs();
    if mantissa < 0 {
        out.push(b'-');
    }
    // Scales are wider than most numbers: take zeros off in fours first.
    while scale >= 4 && magnitude.is_multiple_of(10_000) {
        magnitude /= 10_000;
        scale -= 4;
    }
    while scale > 0 && magnitude.is_multiple_of(10) {
        magnitude /= 10;
        scale -= 1;
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(magnitude).as_bytes();
    if scale == 0 {
        out.extend_from_slice(digits);
    } else if digits.len() > scale {
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    } else {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + scale - digits.len(), b'0');
        out.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(mantissa: i64, scale: u8) -> [String; 2] {
        let (mut short, mut long) = (b"x".to_vec(), b"x".to_vec());
        write_fixed(&mut short, mantissa, scale);
        write_long(&mut long, mantissa, usize::from(scale));
        [short, long].map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn writes_the_plain_form() {
        for (mantissa, scale, expected) in [
            (0, 0, "0"),
            (0, 8, "0"),
            (1, 8, "0.00000001"),
            (-1, 15, "-0.000000000000001"),
            (100_000_000, 8, "1"),
            (-5_871_020_000_000, 8, "-58710.2"),
            (9_999_999_999_999_999, 8, "99999999.99999999"),
            (10_000_000_000_000_000, 8, "100000000"),
            (9_999_999_999_999_999, 0, "9999999999999999"),
            (1_400_000, 8, "0.014"),
            (1_230, 0, "1230"),
            (120_000_000, 15, "0.00000012"),
            (i64::MIN, 18, "-9.223372036854775808"),
        ] {
            let [short, long] = both(mantissa, scale);
            assert_eq!(short, format!("x{expected}"), "{mantissa} at {scale}");
            assert_eq!(short, long);
        }
    }

    #[test]
    fn all_eight_digits_are_right() {
        let numbers = (0..100_000_000u64).step_by(9_973);
        for value in numbers.chain([9_999, 10_000, 99_999_999, 99_990_000]) {
            let text = (eight_digits(value) | ZEROS).to_le_bytes();
            assert_eq!(text, format!("{value:08}").as_bytes());
        }
        // Every half has all its values.
        for half in 0..10_000u64 {
            let text = (eight_digits(half * 10_000 + 9_999 - half) | ZEROS).to_le_bytes();
            assert_eq!(text, format!("{half:04}{:04}", 9_999 - half).as_bytes());
        }
    }

    proptest! {
        #[test]
        fn short_and_long_agree(mantissa in any::<i64>(), digits in 0u32..19, scale in 0u8..=18) {
            let mantissa = mantissa % 10i64.pow(digits);
            let [short, long] = both(mantissa, scale);
            prop_assert_eq!(short, long);
        }

        #[test]
        fn round_numbers_agree(mantissa in 0i64..1_000_000, zeros in 0u32..10, scale in 0u8..=18) {
            let [short, long] = both(mantissa * 10i64.pow(zeros), scale);
            prop_assert_eq!(short, long);
        }
    }
}
