//! Instants as integer nanoseconds since the Unix epoch, their text forms, and bar levels.

use std::fmt;

use jiff::Timestamp;

/// Nanoseconds since 1970-01-01T00:00:00Z, leap seconds ignored; valid to the year 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct TsNanos(pub i64);

impl TsNanos {
    /// From an exchange's milliseconds; saturates outside the representable range.
    #[must_use]
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// Whole milliseconds, rounded towards the past.
    #[must_use]
    pub const fn as_ms(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Whole seconds, rounded towards the past.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Start of the bar of `level` that holds this instant.
    #[must_use]
    pub const fn floor_to(self, level: Level) -> Self {
        Self(self.0.saturating_sub(self.0.rem_euclid(level.nanos())))
    }

    fn timestamp(self) -> Timestamp {
        Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or(Timestamp::UNIX_EPOCH)
    }

    /// `2024-08-01T12:34:56Z`: the form of kline rows.
    #[must_use]
    pub fn to_rfc3339_seconds(self) -> String {
        format!("{:.0}", self.timestamp())
    }

    /// `2024-08-01T12:34:56.789Z`; more digits only when the instant has them.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let stamp = self.timestamp();
        if self.0 % 1_000_000 == 0 {
            format!("{stamp:.3}")
        } else if self.0 % 1_000 == 0 {
            format!("{stamp:.6}")
        } else {
            format!("{stamp:.9}")
        }
    }

    /// `2024-08-01`: the form used in the ids of daily bars.
    #[must_use]
    pub fn to_date(self) -> String {
        self.to_rfc3339_seconds()[..10].to_owned()
    }

    /// Reads RFC 3339 (no offset means UTC), a date, or epoch s/ms/us/ns told apart by magnitude.
    ///
    /// Magnitudes: below 10^11 seconds, below 10^14 milliseconds, below 10^17 microseconds, else
    /// nanoseconds. `None` when it is none of these.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            let factor = match number.unsigned_abs() {
                0..100_000_000_000 => 1_000_000_000,
                100_000_000_000..100_000_000_000_000 => 1_000_000,
                100_000_000_000_000..100_000_000_000_000_000 => 1_000,
                _ => 1,
            };
            return number.checked_mul(factor).map(Self);
        }
        let zoned = text.parse::<Timestamp>().ok();
        let stamp = zoned.or_else(|| {
            let civil = text.parse::<jiff::civil::DateTime>().ok()?;
            jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()
        })?;
        i64::try_from(stamp.as_nanosecond()).ok().map(Self)
    }
}

/// A bar level. The seven that the public contract serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// One minute.
    M1,
    /// Five minutes.
    M5,
    /// Fifteen minutes.
    M15,
    /// Thirty minutes.
    M30,
    /// One hour.
    H1,
    /// Four hours.
    H4,
    /// One day, UTC.
    D1,
}

impl Level {
    /// All levels, shortest first.
    pub const ALL: [Self; 7] = [
        Self::M1,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H4,
        Self::D1,
    ];

    /// The public name: `1m`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::M1 => "1m",
            Self::M5 => "5m",
            Self::M15 => "15m",
            Self::M30 => "30m",
            Self::H1 => "1h",
            Self::H4 => "4h",
            Self::D1 => "1d",
        }
    }

    /// The level of a public name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == text)
    }

    /// Length of a bar in nanoseconds.
    #[must_use]
    pub const fn nanos(self) -> i64 {
        const MINUTE: i64 = 60_000_000_000;
        MINUTE
            * match self {
                Self::M1 => 1,
                Self::M5 => 5,
                Self::M15 => 15,
                Self::M30 => 30,
                Self::H1 => 60,
                Self::H4 => 240,
                Self::D1 => 1440,
            }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_documented_form() {
        let expected = Some(TsNanos(1_722_515_696_789_000_000));
        for text in [
            "2024-08-01T12:34:56.789Z",
            "2024-08-01T12:34:56.789",
            "2024-08-01 12:34:56.789",
            "2024-08-01T14:34:56.789+02:00",
            "1722515696789",
            "1722515696789000",
            "1722515696789000000",
        ] {
            assert_eq!(TsNanos::parse(text), expected, "{text}");
        }
        assert_eq!(
            TsNanos::parse("2024-08-01"),
            Some(TsNanos(1_722_470_400_000_000_000))
        );
        assert_eq!(
            TsNanos::parse("1722515696"),
            Some(TsNanos(1_722_515_696_000_000_000))
        );
        for text in ["", "soon", "2024-13-01", "99999999999999999999"] {
            assert_eq!(TsNanos::parse(text), None, "{text}");
        }
    }

    #[test]
    fn prints_rfc3339() {
        let ts = TsNanos(1_722_515_696_789_000_000);
        assert_eq!(ts.to_rfc3339(), "2024-08-01T12:34:56.789Z");
        assert_eq!(ts.to_rfc3339_seconds(), "2024-08-01T12:34:56Z");
        assert_eq!(ts.to_date(), "2024-08-01");
        assert_eq!(
            TsNanos(ts.0 + 1).to_rfc3339(),
            "2024-08-01T12:34:56.789000001Z"
        );
        assert_eq!(TsNanos(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn floors_to_bars() {
        let ts = TsNanos(1_722_515_696_789_000_000);
        assert_eq!(
            ts.floor_to(Level::M1).to_rfc3339_seconds(),
            "2024-08-01T12:34:00Z"
        );
        assert_eq!(
            ts.floor_to(Level::H4).to_rfc3339_seconds(),
            "2024-08-01T12:00:00Z"
        );
        assert_eq!(
            ts.floor_to(Level::D1).to_rfc3339_seconds(),
            "2024-08-01T00:00:00Z"
        );
        for level in Level::ALL {
            assert_eq!(Level::parse(level.as_str()), Some(level));
        }
        assert_eq!(Level::parse("1M"), None);
    }
}
