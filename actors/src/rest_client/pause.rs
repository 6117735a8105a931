//! How exchanges write down for how long, or until when, they want to be left alone.

use std::time::Duration;

use bookwire_engine::time::TsNanos;

/// Longest pause that is believed; the longest ban known is three days.
const PAUSE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A `Retry-After` header as seconds: it may also be a date (RFC 9110, section 10.2.3). What is
/// neither stays as it is, and is left to the exchange's own reading.
pub(super) fn in_seconds(text: &str, now: TsNanos) -> String {
    let text = text.trim();
    match http_date(text) {
        Some(at) => {
            let left = at.saturating_sub(now.as_ms().div_euclid(1000)).max(0);
            left.to_string()
        }
        None => text.to_owned(),
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since the epoch.
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (time, zone) = (parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    if zone != "GMT" {
        return None;
    }
    let at = TsNanos::parse(&format!("{year}-{month:02}-{day}T{time}Z"))?;
    Some(at.as_ms().div_euclid(1000))
}

/// The time until a moment in milliseconds since the epoch; `None` when it is past, or unbelievable.
pub(super) fn until(text: &str, now: TsNanos) -> Option<Duration> {
    let at: u64 = text.trim().parse().ok()?;
    let left = at.checked_sub(u64::try_from(now.as_ms()).ok()?)?;
    let left = Duration::from_millis(left);
    (!left.is_zero() && left <= PAUSE_MAX).then_some(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        let now = TsNanos::parse("1994-11-06T08:49:07Z").unwrap();
        for (text, expected) in [
            ("17", "17"),
            (" 3 ", "3"),
            ("Sun, 06 Nov 1994 08:49:37 GMT", "30"),
            ("Sun, 06 Nov 1994 08:49:00 GMT", "0"),
            (
                "Sun, 06 Nov 1994 08:49:37 CET",
                "Sun, 06 Nov 1994 08:49:37 CET",
            ),
            ("soon", "soon"),
        ] {
            assert_eq!(in_seconds(text, now), expected, "{text}");
        }
    }

    #[test]
    fn moments() {
        let now = TsNanos::from_ms(1_700_000_000_000);
        let left = |text| until(text, now);
        assert_eq!(left("1700000000250"), Some(Duration::from_millis(250)));
        for text in ["1700000000000", "1699999999999", "9999999999999", "", "x"] {
            assert_eq!(left(text), None, "{text}");
        }
    }
}
