//! Memory over time: the first, the last and the most of it, and the slope of its line, which tells a
//! leak from noise.

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
