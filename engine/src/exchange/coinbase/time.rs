//! RFC 3339 instants as Coinbase writes them, exactly.
//!
//! Fractions have as many digits as are left when trailing zeros are taken off, none up to nine
//! (`…:42.514318Z`, `…:00Z`), so that they are no fixed-width fields.

use crate::time::TsNanos;

const NANOS: i64 = 1_000_000_000;

/// Reads `2026-08-09T21:05:48.228568804Z`; an offset in place of `Z` is taken too. `None` for
/// anything else and for instants that nanoseconds in 64 bits don't reach (1677 to 2262).
pub(super) fn parse(text: &str) -> Option<TsNanos> {
    let bytes = text.as_bytes();
    let (head, rest) = bytes.split_at_checked(19)?;
    let is_shape = head[4] == b'-'
        && head[7] == b'-'
        && matches!(head[10], b'T' | b't' | b' ')
        && head[13] == b':'
        && head[16] == b':';
    if !is_shape {
        return None;
    }
    let (year, month, day) = (
        number(&head[..4])?,
        number(&head[5..7])?,
        number(&head[8..10])?,
    );
    let (hour, minute, second) = (
        number(&head[11..13])?,
        number(&head[14..16])?,
        number(&head[17..19])?,
    );
    let is_date = (1..=12).contains(&month) && (1..=month_days(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (nanos, zone) = fraction(rest)?;
    let secs = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second
        - offset_secs(zone)?;
    secs.checked_mul(NANOS)?.checked_add(nanos).map(TsNanos)
}

/// Nanoseconds of an optional `.123`, and what follows it.
fn fraction(rest: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = rest.strip_prefix(b".") else {
        return Some((0, rest));
    };
    let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    if !(1..=9).contains(&len) {
        return None;
    }
    let (digits, zone) = digits.split_at(len);
    let missing = u32::try_from(9 - len).ok()?;
    Some((number(digits)? * 10_i64.pow(missing), zone))
}

/// Seconds that the zone is ahead of UTC.
fn offset_secs(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" | b"z" => Some(0),
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (number(&[*h1, *h2])?, number(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let ahead = hours * 3_600 + minutes * 60;
            Some(if *sign == b'-' { -ahead } else { ahead })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0_i64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        Some(value * 10 + digit)
    })
}

fn month_days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years begin in March here, so that
/// the leap day is a year's last; 400 years are a cycle of 146,097 days.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month_of_year = (month + 9) % 12;
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    let day_of_year = (153 * month_of_year + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    cycle * 146_097 + day_of_cycle - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_every_digit() {
        let base = 1_786_309_548_000_000_000;
        for (text, nanos) in [
            ("2026-08-09T21:05:48Z", 0),
            ("2026-08-09T21:05:48.2Z", 200_000_000),
            ("2026-08-09T21:05:48.228Z", 228_000_000),
            ("2026-08-09T21:05:48.170326Z", 170_326_000),
            ("2026-08-09T21:05:48.82310097Z", 823_100_970),
            ("2026-08-09T21:05:48.228568804Z", 228_568_804),
            ("2026-08-09T23:05:48.000000001+02:00", 1),
            ("2026-08-09T15:35:48-05:30", 0),
        ] {
            assert_eq!(parse(text), Some(TsNanos(base + nanos)), "{text}");
        }
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(TsNanos(0)));
        assert_eq!(
            parse("2000-02-29T00:00:00Z"),
            Some(TsNanos(951_782_400 * NANOS))
        );
    }

    #[test]
    fn refuses_what_is_no_instant() {
        for text in [
            "",
            "soon",
            "2026-08-09",
            "2026-08-09T21:05:48",
            "2026-08-09T21:05:48.Z",
            "2026-08-09T21:05:48.1234567891Z",
            "2026-08-09T21:05:48.12 Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+02",
            "2026-01-01T00:00:00ZZ",
            "2O26-01-01T00:00:00Z",
            "2026-01-01T00:00:00é",
            // The placeholder for "never" of the older feed.
            "0001-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_general_reader(nanos in -9_000_000_000_000_000_000_i64..=9_000_000_000_000_000_000, digits in 0_u32..=9) {
            let unit = 10_i64.pow(9 - digits);
            let ts = TsNanos(nanos.div_euclid(unit) * unit);
            let text = jiff::Timestamp::from_nanosecond(i128::from(ts.0)).unwrap().to_string();
            prop_assert_eq!(parse(&text), Some(ts));
            prop_assert_eq!(TsNanos::parse(&text), Some(ts));
        }

        #[test]
        fn never_fails_badly(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }
    }
}
