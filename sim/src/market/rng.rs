//! The generator's own random numbers.
//!
//! Written out here, because a library's generator may change between versions and a seed
//! printed by a failing run must give the same market for years.

/// xoshiro256++ (Blackman and Vigna 2019), seeded through splitmix64.
#[derive(Clone, Debug)]
pub(super) struct Rng {
    state: [u64; 4],
}

fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// A stream of its own for each `(seed, purpose, index)`.
    pub(super) fn new(seed: u64, purpose: u64, index: i64) -> Self {
        let mut mix = seed;
        let a = splitmix64(&mut mix);
        let mut mix = a ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let b = splitmix64(&mut mix);
        let mut mix = b ^ (index as u64).wrapping_mul(0xa076_1d64_78bd_642f);
        Self {
            state: std::array::from_fn(|_| splitmix64(&mut mix)),
        }
    }

    pub(super) fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    /// Uniform in `0..bound`; 0 for an empty range.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponential with mean 1.
    pub(super) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// Close to standard normal: Irwin–Hall sum of twelve 16-bit parts, tails cut at 6. Good
    /// enough for a price path, needs no transcendental function and so is the same everywhere.
    pub(super) fn normal(&mut self) -> f64 {
        let mut sum = 0_u64;
        for _ in 0..3 {
            let word = self.next();
            sum += (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
        }
        (sum as f64 + 6.0) / 65_536.0 - 6.0
    }
}

/// Splits a quantity into parts of at least one lot.
pub(super) struct Split {
    pub(super) left: i64,
    pub(super) parts: u64,
}

impl Split {
    pub(super) fn next(&mut self, rng: &mut Rng) -> i64 {
        let parts = self.parts.max(1) as i64;
        self.parts = self.parts.saturating_sub(1);
        if parts == 1 {
            return std::mem::take(&mut self.left);
        }
        let spare = self.left - parts;
        let part = 1 + rng.below((2 * spare / parts + 1) as u64) as i64;
        let part = part.min(self.left - (parts - 1));
        self.left -= part;
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_reproducible_and_apart() {
        let take = |seed, purpose, index| Rng::new(seed, purpose, index).next();
        assert_eq!(take(1, 2, 3), take(1, 2, 3));
        let all = [
            take(1, 2, 3),
            take(2, 2, 3),
            take(1, 3, 3),
            take(1, 2, 4),
            take(1, 2, -4),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }

    #[test]
    fn a_split_loses_nothing() {
        let mut rng = Rng::new(3, 0, 0);
        for total in [7_i64, 8, 100, 1_000_000_007] {
            let mut split = Split {
                left: total,
                parts: 7,
            };
            let parts: Vec<i64> = (0..7).map(|_| split.next(&mut rng)).collect();
            assert_eq!(parts.iter().sum::<i64>(), total);
            assert!(parts.iter().all(|part| *part >= 1), "{parts:?}");
        }
    }

    #[test]
    fn moments() {
        let mut rng = Rng::new(7, 0, 0);
        let n = 200_000;
        let (mut sum, mut square, mut exp) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let x = rng.normal();
            sum += x;
            square += x * x;
            exp += rng.exponential();
            assert!(rng.below(3) < 3);
        }
        let n = f64::from(n);
        assert!((sum / n).abs() < 0.01, "{}", sum / n);
        assert!((square / n - 1.0).abs() < 0.02, "{}", square / n);
        assert!((exp / n - 1.0).abs() < 0.02, "{}", exp / n);
    }
}
