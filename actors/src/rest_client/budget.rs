//! Rate budget of one host: answers "when", never waits itself.

use std::time::Duration;

use bookwire_engine::exchange::RestBudget;
use bookwire_engine::time::TsNanos;

/// Part of a window's weight that is never used, per mille: others behind the same address count
/// on the same budget, and the exchange's clock is not exactly ours.
const HEADROOM_PER_MILLE: u32 = 100;
/// Part of the usable weight that only live repairs may use, per mille.
const RESERVE_PER_MILLE: u32 = 300;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// A book waits for it.
    Live,
    /// History and housekeeping: leaves a reserve for live repairs.
    Background,
}

/// Weight used in the running window. The windows are fixed: they begin at whole multiples of
/// their length on the wall clock (Binance: at the full minute).
#[derive(Debug)]
pub struct RateBudget {
    limit: u32,
    window_nanos: i64,
    window: i64,
    used: u32,
    in_flight: u32,
    blocked_until: TsNanos,
}

impl RateBudget {
    /// An unused budget.
    #[must_use]
    pub fn new(budget: RestBudget) -> Self {
        let secs = i64::try_from(budget.window_secs).unwrap_or(60).max(1);
        Self {
            limit: budget.weight_per_window.max(1),
            window_nanos: secs.saturating_mul(1_000_000_000),
            window: i64::MIN,
            used: 0,
            in_flight: 0,
            blocked_until: TsNanos(i64::MIN),
        }
    }

    /// Takes `weight`, or says how long to wait before asking again.
    ///
    /// # Errors
    /// The time after which the answer can be different.
    pub fn take(&mut self, now: TsNanos, weight: u32, priority: Priority) -> Result<(), Duration> {
        if now < self.blocked_until {
            return Err(nanos(self.blocked_until.0.saturating_sub(now.0)));
        }
        self.roll(now);
        let usable = self.limit - per_mille(self.limit, HEADROOM_PER_MILLE);
        let usable = match priority {
            Priority::Live => usable,
            Priority::Background => usable - per_mille(usable, RESERVE_PER_MILLE),
        };
        // A request that costs more than all there is may go when nothing else was used.
        if self.used > 0 && self.used.saturating_add(weight) > usable {
            let next = (self.window + 1).saturating_mul(self.window_nanos);
            return Err(nanos(next.saturating_sub(now.0)));
        }
        self.used = self.used.saturating_add(weight);
        self.in_flight = self.in_flight.saturating_add(weight);
        Ok(())
    }

    /// A request that took `weight` is over; `used` is what the exchange says is used now.
    pub fn settle(&mut self, now: TsNanos, weight: u32, used: Option<u32>) {
        self.roll(now);
        self.in_flight = self.in_flight.saturating_sub(weight);
        if let Some(used) = used {
            // What is still under way may not be counted there yet.
            self.used = used.saturating_add(self.in_flight);
        }
    }

    /// The exchange asks for a pause (429, 418).
    pub fn block(&mut self, now: TsNanos, pause: Duration) {
        let pause = i64::try_from(pause.as_nanos()).unwrap_or(i64::MAX);
        self.blocked_until = self.blocked_until.max(TsNanos(now.0.saturating_add(pause)));
    }

    /// When a pause that the exchange asked for ends; `None` when there is none.
    #[must_use]
    pub fn blocked_until(&self, now: TsNanos) -> Option<TsNanos> {
        (now < self.blocked_until).then_some(self.blocked_until)
    }

    /// Weight used in the window of `now`.
    pub fn used(&mut self, now: TsNanos) -> u32 {
        self.roll(now);
        self.used
    }

    /// Weight allowed in a window.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.limit
    }

    fn roll(&mut self, now: TsNanos) {
        let window = now.0.div_euclid(self.window_nanos);
        if window != self.window {
            self.window = window;
            self.used = self.in_flight;
        }
    }
}

fn per_mille(whole: u32, part: u32) -> u32 {
    u32::try_from(u64::from(whole) * u64::from(part) / 1000).unwrap_or(whole)
}

fn nanos(nanos: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> RateBudget {
        RateBudget::new(RestBudget {
            name: "weight",
            weight_per_window: 1000,
            window_secs: 60,
            used_header: Some("x-used"),
            remaining_header: None,
        })
    }

    fn at(secs: i64) -> TsNanos {
        TsNanos(secs * 1_000_000_000)
    }

    #[test]
    fn keeps_headroom_and_a_reserve_for_live() {
        let mut budget = budget();
        assert_eq!(budget.take(at(10), 600, Priority::Background), Ok(()));
        let full = Err(Duration::from_secs(50));
        assert_eq!(budget.take(at(10), 50, Priority::Background), full);
        assert_eq!(budget.take(at(10), 300, Priority::Live), Ok(()));
        assert_eq!(budget.take(at(10), 1, Priority::Live), full);
        budget.settle(at(11), 600, None);
        budget.settle(at(11), 300, None);
        assert_eq!(budget.take(at(60), 1, Priority::Live), Ok(()), "new window");
    }

    #[test]
    fn believes_the_exchange() {
        let mut budget = budget();
        assert_eq!(budget.take(at(1), 100, Priority::Live), Ok(()));
        assert_eq!(budget.take(at(1), 50, Priority::Live), Ok(()));
        // Somebody else behind the same address has used 600.
        budget.settle(at(2), 100, Some(700));
        assert_eq!(budget.used(at(2)), 750, "with what is under way");
        assert!(budget.take(at(2), 200, Priority::Live).is_err());
        // What is under way counts in the next window too: the answer may come from there.
        assert_eq!(budget.used(at(61)), 50);
    }

    #[test]
    fn a_ban_stops_everything() {
        let mut budget = budget();
        budget.block(at(5), Duration::from_secs(120));
        assert_eq!(
            budget.take(at(65), 1, Priority::Live),
            Err(Duration::from_secs(60))
        );
        assert_eq!(budget.blocked_until(at(65)), Some(at(125)));
        assert_eq!(budget.take(at(125), 1, Priority::Live), Ok(()));
        assert_eq!(budget.blocked_until(at(125)), None);
    }

    #[test]
    fn a_request_larger_than_the_budget_is_not_stuck_for_ever() {
        let mut budget = budget();
        assert_eq!(budget.take(at(1), 5000, Priority::Background), Ok(()));
    }
}
