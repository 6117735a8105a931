//! When to try again: exponential pauses with jitter, and the exchange's limit on connection
//! attempts, shared by all connections to a host.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashMap;
use bookwire_engine::exchange::ConnectionLimits;
use parking_lot::Mutex;
use rand::Rng;

/// Exponential pauses, each drawn between half and the whole of its bound, so that what broke at
/// the same moment does not come back at the same moment. It never gives up.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses from `first`, doubled up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            failures: 0,
        }
    }

    /// Counts one more failure and answers the pause after it.
    pub fn fail(&mut self) -> Duration {
        self.fail_within(self.most)
    }

    /// As [`Backoff::fail`], with a bound of its own.
    pub fn fail_within(&mut self, most: Duration) -> Duration {
        let bound = self.bound().min(most);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    fn bound(&self) -> Duration {
        let factor = 1u32 << self.failures.min(20);
        self.first.saturating_mul(factor).min(self.most)
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It worked: the next failure starts anew.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Connection attempts to one host in a sliding window.
#[derive(Debug)]
struct ConnectBudget {
    most: usize,
    window: Duration,
    attempts: VecDeque<Duration>,
}

impl ConnectBudget {
    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        while self
            .attempts
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= self.window)
        {
            self.attempts.pop_front();
        }
        if self.attempts.len() < self.most {
            self.attempts.push_back(now);
            return Ok(());
        }
        let oldest = self.attempts.front().copied().unwrap_or(now);
        Err((oldest + self.window).saturating_sub(now))
    }
}

/// Budgets of all hosts, shared by all shards.
#[derive(Clone, Debug, Default)]
pub struct ConnectBudgets(Arc<Mutex<AHashMap<String, ConnectBudget>>>);

impl ConnectBudgets {
    /// Takes one connection attempt to `host`, or says how long to wait. A tenth of the exchange's
    /// limit is left for other programs behind the same address.
    ///
    /// # Errors
    /// The time until an attempt is free.
    pub fn take(
        &self,
        host: &str,
        limits: &ConnectionLimits,
        now: Duration,
    ) -> Result<(), Duration> {
        let mut budgets = self.0.lock();
        if let Some(budget) = budgets.get_mut(host) {
            return budget.take(now);
        }
        let most = limits.connects_per_window as usize;
        let mut budget = ConnectBudget {
            most: (most - most / 10).max(1),
            window: Duration::from_secs(limits.connect_window_secs),
            attempts: VecDeque::new(),
        };
        let taken = budget.take(now);
        budgets.insert(host.to_owned(), budget);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bookwire_engine::exchange::ProviderId;
    use bookwire_engine::instrument::Market;

    #[test]
    fn pauses_grow_to_a_bound_and_are_never_zero() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for bound in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.fail().as_millis();
            assert!((bound / 2..=bound).contains(&pause), "{pause} of {bound}");
        }
        for _ in 0..100 {
            backoff.fail();
        }
        assert!(backoff.fail() <= Duration::from_secs(1));
        backoff.reset();
        assert!(backoff.fail() <= Duration::from_millis(100));
    }

    #[test]
    fn a_bound_of_its_own_holds_for_one_pause() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let most = Duration::from_secs(2);
        for _ in 0..20 {
            assert!(backoff.fail_within(most) <= most);
        }
        assert!(backoff.fail() >= Duration::from_secs(15), "failures count");
    }

    #[test]
    fn attempts_are_limited_in_a_sliding_window() {
        let budgets = ConnectBudgets::default();
        let mut limits = ProviderId::BINANCE.exchange().limits(Market::Spot);
        (limits.connects_per_window, limits.connect_window_secs) = (10, 300);
        let at = Duration::from_secs;
        for second in 0..9 {
            assert_eq!(budgets.take("a", &limits, at(second)), Ok(()));
        }
        assert_eq!(budgets.take("a", &limits, at(9)), Err(at(291)));
        assert_eq!(budgets.take("b", &limits, at(9)), Ok(()), "another host");
        assert_eq!(budgets.take("a", &limits, at(300)), Ok(()));
        assert_eq!(budgets.take("a", &limits, at(300)), Err(at(1)));
    }
}
