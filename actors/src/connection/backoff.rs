//! When to try again: exponential pauses with jitter, and the exchange's limits by address on
//! connection attempts and messages, shared by all connections to a host.

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

/// So many of something in any span of a length.
#[derive(Debug)]
pub struct SlidingCount {
    most: usize,
    window: Duration,
    times: VecDeque<Duration>,
}

impl SlidingCount {
    /// At most `most` in any `window`; at least one.
    #[must_use]
    pub fn new(most: usize, window: Duration) -> Self {
        Self {
            most: most.max(1),
            window,
            times: VecDeque::new(),
        }
    }

    /// Counts one, or says how long to wait.
    ///
    /// # Errors
    /// The time until one is free.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.check(now)?;
        self.times.push_back(now);
        Ok(())
    }

    /// Counts one that has happened, free or not.
    pub fn count(&mut self, now: Duration) {
        let _ = self.check(now);
        self.times.push_back(now);
    }

    /// Whether one is free, without counting it.
    ///
    /// # Errors
    /// As [`SlidingCount::take`].
    pub fn check(&mut self, now: Duration) -> Result<(), Duration> {
        let is_over = |at: &Duration| now.saturating_sub(*at) >= self.window;
        while self.times.front().is_some_and(is_over) {
            self.times.pop_front();
        }
        match self.times.front() {
            Some(oldest) if self.times.len() >= self.most => {
                Err((*oldest + self.window).saturating_sub(now))
            }
            _ => Ok(()),
        }
    }
}

/// A tenth, and where that is none, one of several, is left for other programs behind the same
/// address and for clocks that differ.
fn most_of(limit: u32) -> usize {
    let limit = limit as usize;
    let left = (limit / 10).max(usize::from(limit > 1));
    (limit - left).max(1)
}

/// Messages of all connections to a host.
pub type HostMessages = Arc<Mutex<SlidingCount>>;

#[derive(Debug)]
struct HostBudget {
    attempts: SlidingCount,
    messages: Option<HostMessages>,
    /// The host refuses connections until then (monotonic).
    refused_until: Duration,
}

fn message_count(limit: u32) -> HostMessages {
    let count = SlidingCount::new(most_of(limit), Duration::from_secs(1));
    Arc::new(Mutex::new(count))
}

/// Budgets of all hosts by the exchanges' own names of them, shared by all shards: limits count by
/// address, whatever path a connection has.
#[derive(Clone, Debug, Default)]
pub struct ConnectBudgets(Arc<Mutex<AHashMap<&'static str, HostBudget>>>);

impl ConnectBudgets {
    fn with<T>(
        &self,
        host: &'static str,
        limits: &ConnectionLimits,
        messages: Option<u32>,
        use_it: impl FnOnce(&mut HostBudget) -> T,
    ) -> T {
        let mut budgets = self.0.lock();
        let budget = budgets.entry(host).or_insert_with(|| HostBudget {
            attempts: SlidingCount::new(
                most_of(limits.connects_per_window),
                Duration::from_secs(limits.connect_window_secs),
            ),
            messages: messages.map(message_count),
            refused_until: Duration::ZERO,
        });
        // Who came first may not have known of it.
        if let (None, Some(limit)) = (&budget.messages, messages) {
            budget.messages = Some(message_count(limit));
        }
        use_it(budget)
    }

    /// Takes one connection attempt to `host`, or says how long to wait.
    ///
    /// # Errors
    /// The time until an attempt is free.
    pub fn take(
        &self,
        host: &'static str,
        limits: &ConnectionLimits,
        messages: Option<u32>,
        now: Duration,
    ) -> Result<(), Duration> {
        self.with(host, limits, messages, |budget| {
            match budget.refused_until.checked_sub(now) {
                Some(left) if !left.is_zero() => Err(left),
                _ => budget.attempts.take(now),
            }
        })
    }

    /// The host's limit on messages of all connections; `None` where each counts for itself.
    #[must_use]
    pub fn messages(
        &self,
        host: &'static str,
        limits: &ConnectionLimits,
        messages: Option<u32>,
    ) -> Option<HostMessages> {
        self.with(host, limits, messages, |budget| budget.messages.clone())
    }

    /// The host wants no connection for `pause`.
    pub fn refuse(
        &self,
        host: &'static str,
        limits: &ConnectionLimits,
        messages: Option<u32>,
        now: Duration,
        pause: Duration,
    ) {
        self.with(host, limits, messages, |budget| {
            budget.refused_until = budget.refused_until.max(now + pause);
        });
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

    /// Private streams and lines for orders share the limit, and know nothing of messages.
    #[test]
    fn a_limit_of_messages_holds_whoever_connects_first() {
        let budgets = ConnectBudgets::default();
        let limits = ProviderId::OKX.exchange().limits(Market::Spot);
        assert_eq!(budgets.take("a", &limits, None, Duration::ZERO), Ok(()));
        assert!(budgets.messages("a", &limits, None).is_none());
        assert!(budgets.messages("a", &limits, Some(5)).is_some());
        // Of three a second one is left for others.
        assert_eq!(budgets.take("a", &limits, Some(5), Duration::ZERO), Ok(()));
        assert!(budgets.take("a", &limits, None, Duration::ZERO).is_err());
    }

    #[test]
    fn attempts_are_limited_in_a_sliding_window() {
        let budgets = ConnectBudgets::default();
        let mut limits = ProviderId::BINANCE.exchange().limits(Market::Spot);
        (limits.connects_per_window, limits.connect_window_secs) = (10, 300);
        let at = Duration::from_secs;
        let take = |host, now| budgets.take(host, &limits, None, at(now));
        for second in 0..9 {
            assert_eq!(take("a", second), Ok(()));
        }
        assert_eq!(take("a", 9), Err(at(291)));
        assert_eq!(take("b", 9), Ok(()), "another host");
        assert_eq!(take("a", 300), Ok(()));
        assert_eq!(take("a", 300), Err(at(1)));
    }

    #[test]
    fn small_limits_keep_a_distance_too() {
        for (limit, most) in [(1, 1), (2, 1), (3, 2), (8, 7), (10, 9), (500, 450)] {
            assert_eq!(most_of(limit), most, "{limit}");
        }
    }

    #[test]
    fn a_host_that_refuses_is_left_alone() {
        let budgets = ConnectBudgets::default();
        let limits = ProviderId::OKX.exchange().limits(Market::Spot);
        let at = Duration::from_secs;
        budgets.refuse("a", &limits, None, at(10), at(60));
        budgets.refuse("a", &limits, None, at(11), at(1));
        assert_eq!(budgets.take("a", &limits, None, at(20)), Err(at(50)));
        assert_eq!(budgets.take("b", &limits, None, at(20)), Ok(()));
        assert_eq!(budgets.take("a", &limits, None, at(70)), Ok(()));
    }

    #[test]
    fn messages_count_over_all_connections_where_the_exchange_counts_so() {
        let budgets = ConnectBudgets::default();
        for provider in ProviderId::all() {
            let exchange = provider.exchange();
            for market in exchange.markets() {
                let (limits, limit) = (
                    exchange.limits(*market),
                    exchange.messages_per_address(*market),
                );
                let host = exchange.routes(*market)[0].host;
                let one = budgets.messages(host, &limits, limit);
                let other = budgets.messages(host, &limits, limit);
                let (Some(one), Some(other), Some(limit)) = (one, other, limit) else {
                    assert_eq!(limit, None);
                    continue;
                };
                let mut sent = 0;
                let mut turn = [one, other].into_iter().cycle();
                while turn.next().unwrap().lock().take(Duration::ZERO).is_ok() {
                    sent += 1;
                }
                assert!(sent < limit && sent >= limit / 2, "{sent} of {limit}");
            }
        }
    }
}
