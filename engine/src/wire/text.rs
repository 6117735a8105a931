//! Text building blocks: escaped strings, exact numbers, timestamps. All append, none allocates.

use std::cell::Cell;

use rust_decimal::Decimal;

use super::Numbers;
use crate::num::write_fixed;
use crate::time::TsNanos;

/// Appends `text` as a JSON string, quotes included.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    escape_json(out, text);
    out.push(b'"');
}

/// Appends `text` with JSON's escapes, without quotes.
pub(super) fn escape_json(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    // Nearly always. Without a way out of the loop it looks at many bytes at once.
    let is_plain = |byte: u8| (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
    if bytes.iter().fold(true, |all, &byte| all & is_plain(byte)) {
        return out.extend_from_slice(bytes);
    }
    let mut plain = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[plain..at]);
        plain = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[plain..]);
}

/// Appends an integer.
pub(super) fn write_int(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends `mantissa × 10^-scale` in plain form without trailing zeros, for mantissas and scales
/// beyond what [`write_fixed`] takes.
pub(super) fn write_wide(out: &mut Vec<u8>, mantissa: i128, scale: u32) {
    if let (Ok(narrow), Ok(scale @ 0..=18)) = (i64::try_from(mantissa), u8::try_from(scale)) {
        return write_fixed(out, narrow, scale);
    }
    let magnitude = mantissa.unsigned_abs();
    if mantissa < 0 {
        out.push(b'-');
    }
    // Zeros are taken off the text: 128-bit divisions cost more than all the rest.
    let mut buffer = itoa::Buffer::new();
    let text = match u64::try_from(magnitude) {
        Ok(narrow) => buffer.format(narrow),
        Err(_) => buffer.format(magnitude),
    };
    let digits = text.as_bytes();
    let zeros = digits
        .iter()
        .rev()
        .take_while(|&&digit| digit == b'0')
        .count();
    let zeros = zeros.min(scale as usize);
    let scale = scale as usize - zeros;
    let digits = &digits[..digits.len() - zeros.min(digits.len() - 1)];
    if scale == 0 || magnitude == 0 {
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

/// Appends a decimal in plain form: no exponent, no trailing zeros, no `-0`, no quotes.
pub fn write_decimal(out: &mut Vec<u8>, value: Decimal) {
    write_wide(out, value.mantissa(), value.scale());
}

/// Appends a mantissa as a JSON number or as a JSON string.
#[inline]
pub(super) fn write_number(out: &mut Vec<u8>, mantissa: i64, scale: u8, numbers: Numbers) {
    match numbers {
        Numbers::Number => write_fixed(out, mantissa, scale),
        Numbers::String => {
            out.push(b'"');
            write_fixed(out, mantissa, scale);
            out.push(b'"');
        }
    }
}

/// Appends a wide mantissa as a JSON number or as a JSON string.
#[inline]
pub(super) fn write_wide_number(out: &mut Vec<u8>, mantissa: i128, scale: u32, numbers: Numbers) {
    match numbers {
        Numbers::Number => write_wide(out, mantissa, scale),
        Numbers::String => {
            out.push(b'"');
            write_wide(out, mantissa, scale);
            out.push(b'"');
        }
    }
}

/// `000102…99`: two digits at a time.
const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

#[inline]
fn put2(target: &mut [u8], value: u32) {
    let at = (value % 100) as usize * 2;
    target.copy_from_slice(&PAIRS[at..at + 2]);
}

/// `YYYY-MM-DD` of a day number; 1970-01-01 is day 0.
///
/// Howard Hinnant's `civil_from_days` (chrono-Compatible Low-Level Date Algorithms): the year is
/// counted from March, so that the leap day is the last one.
fn put_date(target: &mut [u8], day: i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    } as u32;
    // Nanoseconds in an i64 span the years 1677 to 2262: always four digits.
    let year = (era * 400 + year_of_era + i64::from(month <= 2)) as u32;
    put2(&mut target[0..2], year / 100);
    put2(&mut target[2..4], year);
    target[4] = b'-';
    put2(&mut target[5..7], month);
    target[7] = b'-';
    put2(&mut target[8..10], day_of_month);
}

const SECOND: i64 = 1_000_000_000;

thread_local! {
    /// The last second that was written and its text: what a thread writes is mostly of now.
    static LAST: Cell<(i64, [u8; 19])> = const { Cell::new((0, *b"1970-01-01T00:00:00")) };
}

/// `YYYY-MM-DDTHH:MM:SS` of whole seconds.
#[inline]
fn put_seconds(target: &mut [u8], secs: i64) {
    let (last, mut text) = LAST.get();
    if last != secs {
        compute_seconds(&mut text, secs);
        LAST.set((secs, text));
    }
    target[..19].copy_from_slice(&text);
}

fn compute_seconds(target: &mut [u8], secs: i64) {
    put_date(&mut target[..10], secs.div_euclid(86_400));
    let of_day = secs.rem_euclid(86_400) as u32;
    target[10] = b'T';
    put2(&mut target[11..13], of_day / 3_600);
    target[13] = b':';
    put2(&mut target[14..16], of_day / 60 % 60);
    target[16] = b':';
    put2(&mut target[17..19], of_day % 60);
}

/// Appends `2024-08-01T12:34:56.789Z`: milliseconds, six or nine digits only when the instant has
/// them. No quotes.
pub fn write_timestamp(out: &mut Vec<u8>, ts: TsNanos) {
    let mut text = [0u8; 30];
    put_seconds(&mut text, ts.0.div_euclid(SECOND));
    let mut fraction = ts.0.rem_euclid(SECOND) as u32;
    let digits = if fraction.is_multiple_of(1_000_000) {
        fraction /= 1_000_000;
        3
    } else if fraction.is_multiple_of(1_000) {
        fraction /= 1_000;
        6
    } else {
        9
    };
    text[19] = b'.';
    for place in (20..20 + digits).rev() {
        text[place] = b'0' + (fraction % 10) as u8;
        fraction /= 10;
    }
    text[20 + digits] = b'Z';
    out.extend_from_slice(&text[..21 + digits]);
}

/// Appends `2024-08-01T12:34:56Z`, the form of kline rows. No quotes.
pub fn write_timestamp_secs(out: &mut Vec<u8>, ts: TsNanos) {
    let mut text = [b'Z'; 20];
    put_seconds(&mut text, ts.as_secs());
    out.extend_from_slice(&text);
}

/// Appends `2024-08-01`. No quotes.
pub fn write_date(out: &mut Vec<u8>, ts: TsNanos) {
    let mut text = [0u8; 10];
    put_date(&mut text, ts.as_secs().div_euclid(86_400));
    out.extend_from_slice(&text);
}

/// Appends a timestamp with quotes.
pub(super) fn quoted_timestamp(out: &mut Vec<u8>, ts: TsNanos) {
    out.push(b'"');
    write_timestamp(out, ts);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn check_time(ns: i64) {
        let ts = TsNanos(ns);
        assert_eq!(
            text(|out| write_timestamp(out, ts)),
            ts.to_rfc3339(),
            "{ns}"
        );
        let whole = TsNanos(ts.as_secs() * SECOND);
        let seconds = text(|out| write_timestamp_secs(out, ts));
        assert_eq!(seconds, whole.to_rfc3339_seconds(), "{ns}");
        assert_eq!(text(|out| write_date(out, ts)), seconds[..10], "{ns}");
    }

    #[test]
    fn every_day_of_the_range_agrees_with_jiff() {
        let day = 86_400 * SECOND;
        for number in (i64::MIN / day + 1)..(i64::MAX / day) {
            check_time(number * day + 3_723_004_005_006);
        }
    }

    #[test]
    fn escapes_what_json_must_escape() {
        let nasty: String = (0..0x80)
            .filter_map(char::from_u32)
            .chain("é币\u{2028}".chars())
            .collect();
        let written = text(|out| write_json_string(out, &nasty));
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), nasty);
    }

    #[test]
    fn wide_numbers_keep_every_digit() {
        for (mantissa, scale, expected) in [
            (0, 28, "0"),
            (
                79_228_162_514_264_337_593_543_950_335,
                0,
                "79228162514264337593543950335",
            ),
            (
                79_228_162_514_264_337_593_543_950_335,
                28,
                "7.9228162514264337593543950335",
            ),
            (-12_345_678_901_234_567_890_000, 7, "-1234567890123456.789"),
            (5, 28, "0.0000000000000000000000000005"),
            (100, 28, "0.00000000000000000000000001"),
        ] {
            assert_eq!(text(|out| write_wide(out, mantissa, scale)), expected);
        }
    }

    proptest! {
        #[test]
        fn times_agree_with_jiff(ns in any::<i64>(), unit in prop::sample::select(vec![1, 1_000, 1_000_000])) {
            // jiff's own range ends a little inside that of 64-bit nanoseconds at neither end.
            check_time(ns / unit * unit);
        }

        #[test]
        fn strings_round_trip(nasty in any::<String>()) {
            let written = text(|out| write_json_string(out, &nasty));
            prop_assert_eq!(serde_json::from_str::<String>(&written).ok(), Some(nasty));
        }

        #[test]
        fn decimals_agree_with_display(mantissa in -(1i128 << 95)..(1i128 << 95), scale in 0u32..=28) {
            let value = Decimal::from_i128_with_scale(mantissa, scale);
            prop_assert_eq!(text(|out| write_decimal(out, value)), value.normalize().to_string());
        }
    }
}
