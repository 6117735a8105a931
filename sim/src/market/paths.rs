//! Latent prices: one market factor and one factor per asset. Before the start they are a pure
//! function of the seed (random walk over days, bridged within a day); from the start on they
//! step forward with a volatility of their own. Both are zero at the start, so they join.

use super::catalog::{AssetSpec, FlowSpec};
use super::kline::{DAY_MINUTES, DAY_MS, MINUTE_MS};
use super::rng::Rng;

/// Standard deviation of the market factor's daily log return.
const MARKET_DAILY_VOL: f64 = 0.022;
/// Live step of the factors.
pub(super) const STEP_US: i64 = 100_000;

const PURPOSE_DAYS: u64 = 1;
const PURPOSE_WITHIN_DAY: u64 = 2;
const PURPOSE_LIVE: u64 = 3;
const PURPOSE_BASIS: u64 = 4;

/// How an instrument's log price depends on the factors.
#[derive(Clone, Debug)]
pub(super) struct Coupling {
    /// Log price in ticks at the start, without basis.
    ln_ticks: f64,
    /// Factor numbers and weights; factor 0 is the market.
    weights: Vec<(usize, f64)>,
    basis: Basis,
}

impl Coupling {
    pub(super) fn new(assets: &[AssetSpec], flow: &FlowSpec, tick: f64, basis: Basis) -> Self {
        let base = &assets[flow.base];
        let mut price = base.usd * flow.multiplier;
        let mut weights = vec![
            (0, base.beta * MARKET_DAILY_VOL),
            (flow.base + 1, base.daily_vol),
        ];
        if let Some(quote_at) = flow.quote {
            let quote = &assets[quote_at];
            price /= quote.usd;
            weights[0].1 -= quote.beta * MARKET_DAILY_VOL;
            weights.push((quote_at + 1, -quote.daily_vol));
        }
        Self {
            ln_ticks: (price / tick).ln(),
            weights,
            basis,
        }
    }

    fn log_factors(&self, factor: impl Fn(usize) -> f64) -> f64 {
        self.weights
            .iter()
            .map(|(at, weight)| factor(*at) * weight)
            .sum()
    }

    /// Standard deviation of a daily log return.
    pub(super) fn daily_vol(&self) -> f64 {
        self.weights
            .iter()
            .map(|(_, weight)| weight * weight)
            .sum::<f64>()
            .sqrt()
    }

    /// The relative basis to spot.
    pub(super) fn basis_at(&self, ts_ms: i64) -> f64 {
        self.basis.at(ts_ms)
    }

    /// Latent price in ticks.
    pub(super) fn live_ticks(&self, live: &LiveFactors, ts_ms: i64) -> f64 {
        let log = self.ln_ticks + self.log_factors(|at| live.values[at]);
        log.exp() * (1.0 + self.basis.at(ts_ms))
    }

    /// Latent price in ticks without the basis.
    pub(super) fn live_index_ticks(&self, live: &LiveFactors) -> f64 {
        (self.ln_ticks + self.log_factors(|at| live.values[at])).exp()
    }
}

/// A relative price difference that wanders: a sum of slow waves, so that it is known for any
/// time before and after the start, plus a carry that melts toward a delivery.
#[derive(Clone, Debug)]
pub(super) struct Basis {
    waves: [(f64, f64, f64); 5],
    delivery_ms: Option<i64>,
    /// Spot: saves the work.
    is_none: bool,
}

/// Yearly carry of a dated future.
const CARRY: f64 = 0.06;

impl Basis {
    pub(super) fn new(seed: u64, ix: u16, size_bp: f64, delivery_ms: Option<i64>) -> Self {
        let mut rng = Rng::new(seed, PURPOSE_BASIS, i64::from(ix));
        // Periods in minutes, shares of the size; deliberately without common multiple.
        let shape = [
            (11.3, 0.2),
            (37.1, 0.3),
            (191.7, 0.5),
            (1_739.0, 0.8),
            (7_631.0, 0.7),
        ];
        let waves = shape.map(|(minutes, share)| {
            let omega = std::f64::consts::TAU / (minutes * MINUTE_MS as f64);
            (
                share * size_bp * 1e-4,
                omega,
                rng.unit() * std::f64::consts::TAU,
            )
        });
        Self {
            waves,
            delivery_ms,
            is_none: size_bp == 0.0 && delivery_ms.is_none(),
        }
    }

    fn at(&self, ts_ms: i64) -> f64 {
        if self.is_none {
            return 0.0;
        }
        let t = ts_ms as f64;
        let wave: f64 = self
            .waves
            .iter()
            .map(|(size, omega, at)| size * (omega * t + at).sin())
            .sum();
        let years = self.delivery_ms.map_or(0.0, |end| {
            (end - ts_ms).max(0) as f64 / (365.0 * DAY_MS as f64)
        });
        wave + CARRY * years
    }
}

/// Factors before the start.
#[derive(Debug)]
pub(super) struct PastFactors {
    seed: u64,
    first_day: i64,
    /// Per factor, its value at each midnight from `first_day` on.
    midnights: Vec<Vec<f64>>,
    at_start: Vec<f64>,
}

impl PastFactors {
    pub(super) fn new(seed: u64, factors: usize, first_ms: i64, start_ms: i64) -> Self {
        let first_day = first_ms.div_euclid(DAY_MS);
        let days = (start_ms.div_euclid(DAY_MS) - first_day).max(0) + 2;
        let walk = |factor: usize| {
            let mut rng = Rng::new(seed, PURPOSE_DAYS, factor as i64);
            let step = |value: &mut f64, _| {
                let here = *value;
                *value += rng.normal();
                Some(here)
            };
            (0..days).scan(0.0, step).collect::<Vec<f64>>()
        };
        let midnights = (0..factors).map(walk).collect();
        let mut past = Self {
            seed,
            first_day,
            midnights,
            at_start: vec![0.0; factors],
        };
        let day = start_ms.div_euclid(DAY_MS);
        let minutes = start_ms.rem_euclid(DAY_MS) as f64 / MINUTE_MS as f64;
        past.at_start = (0..factors)
            .map(|factor| {
                let path = past.day(factor, day);
                let at = minutes as usize;
                path[at] + (path[at + 1] - path[at]) * minutes.fract()
            })
            .collect();
        past
    }

    /// A factor at the 1441 minute marks of a day, relative to the start.
    fn day(&self, factor: usize, day: i64) -> Vec<f64> {
        let midnight = |day: i64| {
            usize::try_from(day - self.first_day)
                .ok()
                .and_then(|at| self.midnights[factor].get(at).copied())
                .unwrap_or(0.0)
        };
        let (from, to) = (midnight(day), midnight(day + 1));
        let index = day * 1_024 + factor as i64;
        let mut rng = Rng::new(self.seed, PURPOSE_WITHIN_DAY, index);
        let step = (1.0 / DAY_MINUTES as f64).sqrt();
        let mut path = Vec::with_capacity(DAY_MINUTES as usize + 1);
        let mut walk = 0.0;
        for _ in 0..=DAY_MINUTES {
            path.push(walk);
            walk += rng.normal() * step;
        }
        // Bend the free walk so that it ends where the next day begins.
        let bend = (to - from - path[DAY_MINUTES as usize]) / DAY_MINUTES as f64;
        let shift = from - self.at_start[factor];
        for (minute, value) in path.iter_mut().enumerate() {
            *value += shift + bend * minute as f64;
        }
        path
    }

    /// An instrument's latent price in ticks at the 1441 minute marks of a day; with or without
    /// its basis.
    pub(super) fn day_ticks(&self, coupling: &Coupling, day: i64, with_basis: bool) -> Vec<f64> {
        let mut logs = vec![coupling.ln_ticks; DAY_MINUTES as usize + 1];
        for (factor, weight) in &coupling.weights {
            for (log, value) in logs.iter_mut().zip(self.day(*factor, day)) {
                *log += weight * value;
            }
        }
        for (minute, log) in logs.iter_mut().enumerate() {
            let ts_ms = day * DAY_MS + minute as i64 * MINUTE_MS;
            let basis = if with_basis {
                coupling.basis.at(ts_ms)
            } else {
                0.0
            };
            *log = log.exp() * (1.0 + basis);
        }
        logs
    }
}

/// Factors from the start on.
#[derive(Debug)]
pub(super) struct LiveFactors {
    rng: Rng,
    values: Vec<f64>,
    /// Logarithm of the volatility, relative to its mean: mean-reverting.
    log_vol: f64,
    /// Extra activity after a jump, fading.
    shock: f64,
}

/// Log volatility: time constant 10 minutes, standard deviation 0.45.
const VOL_REVERSION: f64 = 0.1 / 600.0;
const VOL_SD: f64 = 0.45;
/// A market-wide jump every five minutes on average, of 20 typical steps.
const JUMP_CHANCE: f64 = 0.1 / 300.0;
const JUMP_STEPS: f64 = 20.0;

impl LiveFactors {
    pub(super) fn new(seed: u64, factors: usize) -> Self {
        let rng = Rng::new(seed, PURPOSE_LIVE, 0);
        Self {
            rng,
            values: vec![0.0; factors],
            log_vol: 0.0,
            shock: 0.0,
        }
    }

    /// One step of [`STEP_US`].
    pub(super) fn step(&mut self) {
        let vol_step = VOL_SD * (2.0 * VOL_REVERSION).sqrt();
        self.log_vol += -VOL_REVERSION * self.log_vol + vol_step * self.rng.normal();
        let sd = (STEP_US as f64 / (DAY_MS as f64 * 1_000.0)).sqrt() * self.log_vol.exp();
        for value in &mut self.values {
            *value += sd * self.rng.normal();
        }
        self.shock *= 0.93;
        if self.rng.chance(JUMP_CHANCE) {
            self.values[0] += JUMP_STEPS * sd * self.rng.normal();
            self.shock = 4.0;
        }
    }

    /// How busy the market is; about 1 in calm.
    pub(super) fn activity(&self) -> f64 {
        self.log_vol.exp().clamp(0.3, 4.0) + self.shock
    }
}
