//! Memory over time: the slope of its line, and what a series has grown by, which tells a leak from
//! noise.

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Seconds since the start.
    pub seconds: f64,
    /// Bytes.
    pub bytes: u64,
}

/// The slope of the line that fits best by least squares, bytes a second; 0 for fewer than two
/// moments.
#[must_use]
pub fn slope(readings: &[Reading]) -> f64 {
    let count = readings.len() as f64;
    let mean = |of: fn(&Reading) -> f64| readings.iter().map(of).sum::<f64>() / count.max(1.0);
    let (time, bytes) = (mean(|r| r.seconds), mean(|r| r.bytes as f64));
    let (mut up, mut across) = (0.0, 0.0);
    for reading in readings {
        let apart = reading.seconds - time;
        up += apart * (reading.bytes as f64 - bytes);
        across += apart * apart;
    }
    if across > 0.0 { up / across } else { 0.0 }
}

/// The middle one of some values, 0 for none.
fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// What a level has grown by for good: from the median of the second quarter to that of the last. The
/// first quarter may still fill what is kept.
#[must_use]
pub fn grown(values: &[u64]) -> i64 {
    let count = values.len();
    let (early, late) = (&values[count / 4..count / 2], &values[count - count / 4..]);
    median(late).cast_signed() - median(early).cast_signed()
}

/// What a count that comes and goes has grown by beyond doubt: how far the least of the last quarter is
/// above the most of the first half; 0 when it is not.
#[must_use]
pub fn risen(values: &[u64]) -> u64 {
    let count = values.len();
    let most = values[..count / 2].iter().max();
    let least = values[count - count / 4..].iter().min();
    match (most, least) {
        (Some(most), Some(least)) => least.saturating_sub(*most),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(count: u32, of: impl Fn(f64) -> f64) -> Vec<Reading> {
        let reading = |n: u32| Reading {
            seconds: f64::from(n),
            bytes: of(f64::from(n)) as u64,
        };
        (0..count).map(reading).collect()
    }

    #[test]
    fn a_slope_is_found_through_noise() {
        for wanted in [0.0, 250.0, 4_000.0] {
            let clean = line(600, |x| 1e8 + wanted * x);
            assert!((slope(&clean) - wanted).abs() < 0.5, "{wanted}");
            let noisy = line(600, |x| 1e8 + wanted * x + 5_000.0 * (x * 1.7).sin());
            assert!(
                (slope(&noisy) - wanted).abs() < 5.0,
                "{wanted}: {}",
                slope(&noisy)
            );
        }
        assert!((slope(&line(100, |x| 1e8 - 30.0 * x)) + 30.0).abs() < 0.5);
    }

    #[test]
    fn what_comes_and_goes_is_no_growth_and_what_stays_is() {
        let comes_and_goes: Vec<u64> = (0..40).map(|n| 20 + n % 7).collect();
        assert_eq!(
            (risen(&comes_and_goes), grown(&comes_and_goes).abs() <= 3),
            (0, true)
        );
        // One that is lost every other round: ten from quarter to quarter, give or take what comes and goes.
        let leak: Vec<u64> = (0..40).map(|n| 20 + n % 3 + n / 2).collect();
        assert!(
            risen(&leak) >= 4 && grown(&leak) >= 8,
            "{} {}",
            risen(&leak),
            grown(&leak)
        );
        // A first quarter that fills something up, then nothing.
        let fills: Vec<u64> = (0..40).map(|n| 100 + 10 * n.min(9)).collect();
        assert_eq!((risen(&fills), grown(&fills)), (0, 0));
        let falls: Vec<u64> = (0..40).map(|n| 100 - n).collect();
        assert!(risen(&falls) == 0 && grown(&falls) < -10);
        for few in [&[][..], &[1], &[1, 2, 3]] {
            assert_eq!(risen(few), 0);
            let _ = grown(few);
        }
    }

    #[test]
    fn too_few_readings_have_no_slope() {
        assert!(slope(&[]).abs() < f64::EPSILON);
        assert!(slope(&line(1, |_| 7.0)).abs() < f64::EPSILON);
        let twice = [Reading {
            seconds: 1.0,
            bytes: 5,
        }; 2];
        assert!(slope(&twice).abs() < f64::EPSILON);
    }
}
